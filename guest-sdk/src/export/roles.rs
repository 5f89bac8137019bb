//! The four roles, as the host calls them.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::bindings::tapline::module::types as wit;
use super::bindings::{detector, module, parser, sink, validator};
use super::{host, settings, state};
use crate::detector::{Detector, Next, Step};
use crate::message::Rejection;
use crate::parser::{Companions, Parser};
use crate::quantity::OwnQuantity;
use crate::sink::{Delivery, Response, Sink};
use crate::validator::Validator;

use detector::exports::tapline::module::detector as wit_detector;
use module::exports::tapline::module::module as wit_module;
use parser::exports::tapline::module::parser as wit_parser;
use sink::exports::tapline::module::sink as wit_sink;
use validator::exports::tapline::module::validator as wit_validator;

/// What an `export_*` macro says about the author's crate.
pub trait Component: 'static {
    type Role: Role;
    const VERSION: &'static str;
}

/// What all roles have in common.
pub trait Role: 'static {
    type Settings: DeserializeOwned + JsonSchema;
    /// What settings are made into: the author's type.
    type Configured: 'static;
    const NAME: &'static str;
    const SUMMARY: &'static str;
    const QUANTITIES: &'static [OwnQuantity];
    /// 0 where the role keeps no state.
    const STATE_VERSION: u32;

    /// See the author's `new`.
    ///
    /// # Errors
    /// What is wrong with the settings.
    fn new(settings: Self::Settings) -> Result<Self::Configured, String>;
}

macro_rules! role {
    ($adapter:ident, $trait:ident, $quantities:expr, $state_version:expr) => {
        #[doc = concat!("A [`", stringify!($trait), "`] as a role.")]
        pub struct $adapter<M>(PhantomData<M>);

        impl<M: $trait> Role for $adapter<M> {
            type Settings = M::Settings;
            type Configured = M;
            const NAME: &'static str = M::NAME;
            const SUMMARY: &'static str = M::SUMMARY;
            const QUANTITIES: &'static [OwnQuantity] = $quantities;
            const STATE_VERSION: u32 = $state_version;

            fn new(settings: M::Settings) -> Result<M, String> {
                M::new(settings)
            }
        }
    };
}

role!(AsValidator, Validator, &[], 0);
role!(AsParser, Parser, M::QUANTITIES, 0);
role!(AsDetector, Detector, M::QUANTITIES, M::STATE_VERSION);
role!(AsSink, Sink, &[], 0);

impl<C: Component> wit_module::Guest for C {
    fn describe() -> wit_module::Description {
        host::explain_panics();
        wit_module::Description {
            name: C::Role::NAME.to_owned(),
            version: C::VERSION.to_owned(),
            summary: C::Role::SUMMARY.to_owned(),
            settings_schema: settings::schema::<C::Role>(),
            quantities: C::Role::QUANTITIES.iter().map(Into::into).collect(),
            state_version: C::Role::STATE_VERSION,
        }
    }

    fn configure(id: u32, settings: String) -> Result<(), String> {
        settings::configure::<C::Role>(id, &settings)
    }

    fn forget(id: u32) {
        settings::forget(id);
    }
}

impl<C: Component<Role = AsValidator<V>>, V: Validator> wit_validator::Guest for C {
    fn validate(batch: Vec<wit_validator::Input>) -> Vec<Result<(), wit::Rejection>> {
        settings::for_each::<C::Role, _, _>(
            batch,
            |input| input.settings,
            |validator, input| Ok(validator.validate(&input.message.into())?),
        )
    }
}

impl<C: Component<Role = AsParser<P>>, P: Parser> wit_parser::Guest for C {
    fn parse(batch: Vec<wit_parser::Input>) -> Vec<Result<Vec<wit::Item>, wit::Rejection>> {
        settings::for_each::<C::Role, _, _>(
            batch,
            |input| input.settings,
            |parser, input| {
                let items = parser.parse(&input.message.into())?;
                Ok(items.into_iter().map(Into::into).collect())
            },
        )
    }

    fn companions_of(settings: u32, topic_filter: String) -> wit_parser::Companions {
        let Companions { also, channel, ask } =
            settings::with::<C::Role, _>(settings, |parser| parser.companions(&topic_filter));
        wit_parser::Companions { also, channel, ask: ask.map(Into::into) }
    }
}

impl<C: Component<Role = AsDetector<D>>, D: Detector> wit_detector::Guest for C {
    fn detect(batch: Vec<wit_detector::Keyed>) -> Vec<Result<wit_detector::Step, wit::Rejection>> {
        settings::for_each::<C::Role, _, _>(
            batch,
            |keyed| keyed.settings,
            |detector, keyed| Ok(step(detector, keyed)?),
        )
    }

    fn migrate(from_version: u32, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        host::explain_panics();
        let migrated = D::migrate(from_version, &bytes)?;
        state::write(&migrated).map_err(|why| why.detail)
    }
}

fn step<D: Detector>(
    detector: &D,
    keyed: wit_detector::Keyed,
) -> Result<wit_detector::Step, Rejection> {
    let wit_detector::Keyed { settings: _, key, at, retained, state, input } = keyed;
    let state = state.as_deref().map(state::read).transpose()?;
    let step = Step { key: &key, at, retained, state, input: input.into() };
    let Next { state, wake_at, outputs, ask, ignored } = detector.step(step)?;
    Ok(wit_detector::Step {
        state: state.as_ref().map(state::write).transpose()?,
        wake_at,
        outputs: outputs.into_iter().map(Into::into).collect(),
        ask,
        ignored: ignored.map(Into::into),
    })
}

impl<C: Component<Role = AsSink<S>>, S: Sink> wit_sink::Guest for C {
    fn encode(
        settings: u32,
        session: Option<Vec<u8>>,
        deliveries: Vec<wit_sink::Delivery>,
    ) -> wit_sink::Encoding {
        let deliveries: Vec<Delivery> = deliveries.into_iter().map(Into::into).collect();
        settings::with::<C::Role, _>(settings, |sink| sink.encode(session.as_deref(), &deliveries))
            .into()
    }

    fn conclude(
        settings: u32,
        session: Option<Vec<u8>>,
        deliveries: Vec<wit_sink::Delivery>,
        response: wit_sink::Response,
    ) -> wit_sink::Conclusion {
        let deliveries: Vec<Delivery> = deliveries.into_iter().map(Into::into).collect();
        let response: Response = response.into();
        settings::with::<C::Role, _>(settings, |sink| {
            sink.conclude(session.as_deref(), &deliveries, &response)
        })
        .into()
    }
}

#[cfg(test)]
mod tests;
