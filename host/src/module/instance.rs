//! One instance of a module: calls its functions within the limits and explains failures.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::exports::tapline::module::{detector, module, parser, sink, validator};
use super::call::{Companions, DetectInput, Input, Keyed, SettingsId, Step};
use super::convert::{self, Shaped};
use super::error::{CallError, LoadError};
use super::host::{Host, Limits, LogContext};
use super::live::{Live, LiveError, RoleGuest};
use super::load::Functions;
use super::loaded::{Module, Role};
use super::log::Log;
use super::runtime::Runtime;
use super::sink::{Conclusion, Delivery, Encoding, Response};
use crate::message::{Item, Rejection, Timestamp};

/// Topics beside its own that one device may have; each is a subscription.
const MAX_COMPANIONS: usize = 32;

/// An instance. It keeps nothing between calls but its settings; after a failed call it is
/// dead, and a fresh one takes over.
pub struct Instance {
    module: Arc<Module>,
    limits: Limits,
    /// Bytes of memory that it began with.
    begun_with: u64,
    /// `None` once dead.
    live: Option<Live>,
}

impl Instance {
    pub(super) fn new(
        module: &Arc<Module>,
        limits: Limits,
        context: LogContext,
    ) -> Result<Self, CallError> {
        let log = Log::new(context, Arc::clone(&module.description.name));
        let live = Live::new(&module.runtime, &module.pre, &module.functions, &limits, log)
            .map_err(|error| match error {
                LiveError::Call(error) => error,
                // The shape was checked when the module was loaded.
                LiveError::Shape(error) => CallError::Trap { message: format!("{error:#}") },
            })?;
        let begun_with = live.store.data().memory.used();
        Ok(Self { module: Arc::clone(module), limits, begun_with, live: Some(live) })
    }

    /// Asks a module that is being loaded what it is, and with how much memory it begins.
    pub(super) fn describe(
        runtime: &Runtime,
        pre: &InstancePre<Host>,
        functions: &Functions,
        limits: &Limits,
    ) -> Result<(module::Description, u64), LoadError> {
        let context = LogContext::new(&"".into(), &"".into());
        let mut live = Live::new(runtime, pre, functions, limits, Log::new(context, "".into()))
            .map_err(|error| match error {
                LiveError::Call(error) => LoadError::Describe(error),
                LiveError::Shape(error) => LoadError::WrongShape { what: format!("{error:#}") },
            })?;
        let begins_with = live.store.data().memory.used();
        live.call(runtime, limits, |store, module, _| module.call_describe(store))
            .map(|description| (description, begins_with))
            .map_err(LoadError::Describe)
    }

    /// Whether an earlier call failed.
    pub fn is_dead(&self) -> bool {
        self.live.is_none()
    }

    /// Bytes of memory that it holds; memory only grows.
    pub fn memory(&self) -> u64 {
        self.live.as_ref().map_or(0, |live| live.store.data().memory.used())
    }

    /// Whether it has taken so much of what it may that a fresh one should take over before
    /// it runs into the limit: more than half of the room that it began with. (Some
    /// languages' modules begin with most of their limit and then stay there.)
    pub fn is_bloated(&self) -> bool {
        let room = self.limits.memory.saturating_sub(self.begun_with);
        self.memory() > self.begun_with + room / 2
    }

    /// Gives the module a set of settings (a JSON object that satisfies its schema) under
    /// a number. `Ok(Err)` is the module's own refusal.
    pub fn configure(
        &mut self,
        id: SettingsId,
        settings: &str,
    ) -> Result<Result<(), String>, CallError> {
        self.call(|store, module, _| module.call_configure(store, id.0, settings))
    }

    /// Tells the module that a number will not be used again.
    pub fn forget(&mut self, id: SettingsId) -> Result<(), CallError> {
        self.call(|store, module, _| module.call_forget(store, id.0))
    }

    /// One verdict per message, in order.
    pub fn validate(
        &mut self,
        batch: &[Input<'_>],
    ) -> Result<Vec<Result<(), Rejection>>, CallError> {
        let shaped = shaped(batch);
        let lent: Vec<_> = batch
            .iter()
            .zip(&shaped)
            .map(|(input, shaped)| validator::Input {
                settings: input.settings.0,
                message: shaped.lend_message(input.message, input.device),
            })
            .collect();
        let results = self.call_role(Role::Validator, |store, role| match role {
            RoleGuest::Validator(guest) => Some(guest.call_validate(store, &lent)),
            _ => None,
        })?;
        self.as_many(results, batch.len(), |result| result.map_err(convert::rejection))
    }

    /// One outcome per message, in order.
    pub fn parse(
        &mut self,
        batch: &[Input<'_>],
    ) -> Result<Vec<Result<Vec<Item>, Rejection>>, CallError> {
        let shaped = shaped(batch);
        let lent: Vec<_> = batch
            .iter()
            .zip(&shaped)
            .map(|(input, shaped)| parser::Input {
                settings: input.settings.0,
                message: shaped.lend_message(input.message, input.device),
            })
            .collect();
        let results = self.call_role(Role::Parser, |store, role| match role {
            RoleGuest::Parser(guest) => Some(guest.call_parse(store, &lent)),
            _ => None,
        })?;
        let module = Arc::clone(&self.module);
        self.as_many(results, batch.len(), |result| match result {
            Ok(items) => convert::items(items, module.quantities()),
            Err(rejection) => Err(convert::rejection(rejection)),
        })
    }

    /// What belongs to a device whose messages come on a topic. A question that cannot be
    /// published is left out.
    pub fn companions_of(
        &mut self,
        settings: SettingsId,
        topic_filter: &str,
    ) -> Result<Companions, CallError> {
        let given = self.call_role(Role::Parser, |store, role| match role {
            RoleGuest::Parser(guest) => {
                Some(guest.call_companions_of(store, settings.0, topic_filter))
            }
            _ => None,
        })?;
        if given.also.len() > MAX_COMPANIONS {
            let count = given.also.len();
            let what = format!(
                "it names {count} companion topics of one device, more than {MAX_COMPANIONS}"
            );
            return self.or_dead(Err(CallError::Nonsense { what }));
        }
        let ask = given.ask.map(convert::publication).transpose().unwrap_or_else(|rejection| {
            tracing::warn!(
                module = self.module.name(),
                topic = topic_filter,
                reason = rejection.detail,
                "module_question_refused"
            );
            None
        });
        Ok(Companions { also: given.also, channel: given.channel, ask })
    }

    /// One step per element, in order; a batch holds each key at most once.
    pub fn detect(
        &mut self,
        batch: &[Keyed<'_>],
    ) -> Result<Vec<Result<Step, Rejection>>, CallError> {
        debug_assert_eq!(
            batch.iter().map(|keyed| keyed.key).collect::<HashSet<_>>().len(),
            batch.len(),
            "a batch holds each key at most once"
        );
        let shaped: Vec<_> = batch
            .iter()
            .map(|keyed| match keyed.input {
                DetectInput::Item(item) => Shaped::item(item),
                DetectInput::Message(message, _) => Shaped::message(message),
                _ => Shaped::default(),
            })
            .collect();
        let lent: Vec<_> = batch.iter().zip(&shaped).map(|(k, s)| lend_keyed(k, s)).collect();
        let results = self.call_role(Role::Detector, |store, role| match role {
            RoleGuest::Detector(guest) => Some(guest.call_detect(store, &lent)),
            _ => None,
        })?;
        let (module, limit) = (Arc::clone(&self.module), self.limits.state);
        self.as_many(results, batch.len(), |result| match result {
            Ok(given) => step(given, &module, limit),
            Err(rejection) => Err(convert::rejection(rejection)),
        })
    }

    /// Brings state of an older version up to date. `Ok(Err)` is the module's own refusal.
    pub fn migrate(
        &mut self,
        from: u32,
        state: &[u8],
    ) -> Result<Result<Vec<u8>, String>, CallError> {
        let migrated = self.call_role(Role::Detector, |store, role| match role {
            RoleGuest::Detector(guest) => Some(guest.call_migrate(store, from, state)),
            _ => None,
        })?;
        Ok(migrated.and_then(|state| match too_large(&state, self.limits.state) {
            Some(what) => Err(what),
            None => Ok(state),
        }))
    }

    /// How the deliveries are to be sent.
    pub fn encode(
        &mut self,
        settings: SettingsId,
        session: Option<&[u8]>,
        deliveries: &[Delivery],
    ) -> Result<Encoding, CallError> {
        let shaped = convert::sink::shaped(deliveries);
        let lent = convert::sink::lend(&shaped);
        let given = self.call_role(Role::Sink, |store, role| match role {
            RoleGuest::Sink(guest) => Some(guest.call_encode(store, settings.0, session, &lent)),
            _ => None,
        })?;
        let encoding = convert::sink::encoding(given, deliveries.len());
        self.or_dead(encoding)
    }

    /// What an answer means for the deliveries of its exchange; none after a preparation.
    pub fn conclude(
        &mut self,
        settings: SettingsId,
        session: Option<&[u8]>,
        deliveries: &[Delivery],
        response: &Response,
    ) -> Result<Conclusion, CallError> {
        let shaped = convert::sink::shaped(deliveries);
        let lent = convert::sink::lend(&shaped);
        let headers = convert::pairs(&response.headers);
        let response =
            sink::Response { status: response.status, headers: &headers, body: &response.body };
        let given = self.call_role(Role::Sink, |store, role| match role {
            RoleGuest::Sink(guest) => {
                Some(guest.call_conclude(store, settings.0, session, &lent, response))
            }
            _ => None,
        })?;
        let module = Arc::clone(&self.module);
        let conclusion = convert::sink::conclusion(given, deliveries.len(), module.quantities());
        self.or_dead(conclusion)
    }

    fn call<T>(
        &mut self,
        function: impl FnOnce(&mut Store<Host>, &module::Guest, &RoleGuest) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let live = self.live.as_mut().ok_or(CallError::Dead)?;
        let result = live.call(&self.module.runtime, &self.limits, function);
        self.or_dead(result)
    }

    /// `function` answers `None` where the module has another role.
    fn call_role<T>(
        &mut self,
        wanted: Role,
        function: impl FnOnce(&mut Store<Host>, &RoleGuest) -> Option<wasmtime::Result<T>>,
    ) -> Result<T, CallError> {
        let is = self.module.role();
        if is != wanted {
            return Err(CallError::WrongRole { is, wanted });
        }
        self.call(|store, _, role| {
            function(store, role)
                .unwrap_or_else(|| Err(wasmtime::Error::msg("the instance has another role")))
        })
    }

    fn as_many<G, T>(
        &mut self,
        given: Vec<G>,
        expected: usize,
        take: impl FnMut(G) -> T,
    ) -> Result<Vec<T>, CallError> {
        if given.len() != expected {
            return self.or_dead(Err(CallError::WrongLength { expected, got: given.len() }));
        }
        Ok(given.into_iter().map(take).collect())
    }

    /// After a failure the module's memory is in no known state: it goes.
    fn or_dead<T>(&mut self, result: Result<T, CallError>) -> Result<T, CallError> {
        if result.as_ref().is_err_and(|error| !error.is_callers()) {
            self.live = None;
        }
        result
    }
}

fn shaped<'a>(batch: &[Input<'a>]) -> Vec<Shaped<'a>> {
    batch.iter().map(|input| Shaped::message(input.message)).collect()
}

fn lend_keyed<'a>(keyed: &'a Keyed<'a>, shaped: &'a Shaped<'a>) -> detector::Keyed<'a> {
    detector::Keyed {
        settings: keyed.settings.0,
        key: keyed.key,
        at: keyed.at.0,
        retained: keyed.retained,
        state: keyed.state,
        input: match keyed.input {
            DetectInput::Item(item) => detector::Input::Item(shaped.lend_item(item)),
            DetectInput::Message(message, device) => {
                detector::Input::Message(shaped.lend_message(message, device))
            }
            DetectInput::Timer => detector::Input::Timer,
            DetectInput::DeafSince(since) => detector::Input::DeafSince(since.0),
            DetectInput::Reconfigured => detector::Input::Reconfigured,
            DetectInput::Removed => detector::Input::Removed,
        },
    }
}

fn step(given: detector::Step, module: &Module, limit: u64) -> Result<Step, Rejection> {
    if let Some(what) = given.state.as_ref().and_then(|state| too_large(state, limit)) {
        return Err(Rejection::new("state-too-large", what));
    }
    Ok(Step {
        state: given.state,
        wake_at: given.wake_at.map(Timestamp),
        outputs: convert::items(given.outputs, module.quantities())?,
        ask: given.ask,
        ignored: given.ignored.map(convert::rejection),
    })
}

fn too_large(state: &[u8], limit: u64) -> Option<String> {
    (state.len() as u64 > limit)
        .then(|| format!("the state has {} bytes, more than the {limit} allowed", state.len()))
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("module", &self.module)
            .field("dead", &self.is_dead())
            .finish_non_exhaustive()
    }
}
