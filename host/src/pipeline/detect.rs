//! Steps of a detector: rounds in which each key comes at most once, and between two
//! inputs of a key every wake-up that is due by then.
//!
//! Invariant: how inputs were cut into batches never changes a result. Everything that a
//! step depends on is the key's row, its input and its settings.

use std::collections::HashMap;
use std::sync::Arc;

use super::item::Identity;
use super::keys::StageKeys;
use super::plan::ModuleStage;
use super::runner::Runner;
use super::settings::SettingsSet;
use crate::message::{DeviceId, Item, Message, Rejection, Timestamp};
use crate::module::{DetectInput, Keyed, Step};
use crate::store::KeyRow;

/// An input this much earlier than the key's last step still counts, at that step's time.
pub(super) const LATE_MS: u64 = 60_000;

/// Wake-ups that one key may have between two of its inputs; a detector that asks for more
/// is not waiting for anything.
const MAX_WAKES: usize = 100_000;

/// What a key is to be told.
#[derive(Debug)]
pub(super) struct StepInput<'a> {
    pub key: Arc<str>,
    pub device: Option<DeviceId>,
    pub settings: Arc<SettingsSet>,
    pub what: What<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    Item {
        item: &'a Item,
        dating: Dating,
    },
    Message {
        message: &'a Arc<Message>,
        device: Option<&'a DeviceId>,
        dating: Dating,
    },
    /// Whatever is due by the wall clock `now` and was asked for by `until`; each acts at the
    /// time that it asked for.
    WakeUp {
        now: Timestamp,
        until: Timestamp,
    },
    /// The source was not heard from the first time until the second, by the wall clock.
    Deaf(Timestamp, Timestamp),
    /// The wall clock, where it may act: the source is connected and drained.
    Reconfigured(Option<Timestamp>),
    Removed(Option<Timestamp>),
}

/// When an input counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dating {
    pub stated: Option<Timestamp>,
    pub received_at: Timestamp,
    pub retained: bool,
    pub qos: u8,
}

/// What became of one input, or of a wake-up before it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub outputs: Vec<Output>,
    /// Why the input itself is refused.
    pub rejections: Vec<Rejection>,
    /// Why wake-ups before it are refused.
    pub refused_wakes: Vec<Rejection>,
    pub ignored: Vec<Rejection>,
    /// The device should report now.
    pub ask: bool,
    /// How the module failed, if it could not bear an input.
    pub failed: Option<String>,
    /// More than a minute earlier than the key's last step: seen by no detector.
    pub late: bool,
}

/// An item that a step gave.
#[derive(Debug)]
pub(super) struct Output {
    pub item: Item,
    pub identity: Identity,
    /// A wake-up's, also of one that acted on the way to an input.
    pub woken: bool,
}

/// The stage that steps.
pub(super) struct Stepper<'a> {
    pub bridge: &'a str,
    pub pipeline: &'a str,
    pub stage: &'a ModuleStage,
    pub keys: &'a mut StageKeys,
    pub runner: &'a mut Runner,
}

/// What waits for each key, in order.
struct Queues {
    queues: Vec<Queue>,
    /// By input: the next one of the same key.
    following: Vec<Option<usize>>,
}

struct Queue {
    /// Its next input.
    first: Option<usize>,
    last: usize,
    /// Wake-ups since its last input.
    wakes: usize,
}

impl Queues {
    fn of(inputs: &[StepInput<'_>]) -> Self {
        let mut queues: Vec<Queue> = Vec::with_capacity(inputs.len());
        let mut following = vec![None; inputs.len()];
        let mut by_key: HashMap<&str, usize> = HashMap::with_capacity(inputs.len());
        for (index, input) in inputs.iter().enumerate() {
            let number = *by_key.entry(&input.key).or_insert(queues.len());
            match queues.get_mut(number) {
                Some(queue) => {
                    following[queue.last] = Some(index);
                    queue.last = index;
                }
                None => queues.push(Queue { first: Some(index), last: index, wakes: 0 }),
            }
        }
        Self { queues, following }
    }
}

/// One call's worth of one key.
struct Turn<'a> {
    input: usize,
    key: Arc<str>,
    at: Timestamp,
    retained: bool,
    state: Option<Vec<u8>>,
    /// Start of the silence in the key's own time.
    deaf_from: Timestamp,
    call: Call<'a>,
}

#[derive(Clone, Copy)]
enum Call<'a> {
    Timer,
    Input(What<'a>),
}

/// Why a key's wake-ups before an input are left out.
fn too_many_wakes(key: &str) -> Rejection {
    let detail = format!(
        "`{key}` asked for more than {MAX_WAKES} wake-ups between two inputs; \
         the rest of them is left out"
    );
    Rejection::new("too-many-wake-ups", detail)
}

impl Stepper<'_> {
    /// Works the inputs off; outcomes line up with them.
    pub(super) fn run(&mut self, inputs: &[StepInput<'_>]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = inputs.iter().map(|_| Outcome::default()).collect();
        let Queues { mut queues, following } = Queues::of(inputs);
        let mut order: Vec<usize> = (0..queues.len()).collect();
        while !order.is_empty() {
            let mut turns: Vec<(Arc<SettingsSet>, Turn<'_>)> = Vec::with_capacity(order.len());
            order.retain(|&queue| {
                let queue = &mut queues[queue];
                while let Some(index) = queue.first {
                    let next = self.next_turn(&inputs[index], index, &mut queue.wakes);
                    match next {
                        Next::Turn(turn) => {
                            if matches!(turn.call, Call::Input(_)) {
                                if std::mem::take(&mut queue.wakes) == MAX_WAKES {
                                    let refused = too_many_wakes(&inputs[index].key);
                                    outcomes[index].refused_wakes.push(refused);
                                }
                                queue.first = following[index];
                            }
                            turns.push((inputs[index].settings.clone(), turn));
                            return true;
                        }
                        Next::Late => {
                            outcomes[index].late = true;
                            self.count_late(&inputs[index].key);
                        }
                        Next::Nothing => {}
                        Next::Refused(rejection) => outcomes[index].rejections.push(rejection),
                    }
                    queue.first = following[index];
                }
                false
            });
            self.runner.stats.rounds.add(u64::from(!turns.is_empty()));
            self.step(&turns, inputs, &mut outcomes);
        }
        outcomes
    }

    fn next_turn<'a>(&self, input: &StepInput<'a>, index: usize, wakes: &mut usize) -> Next<'a> {
        let row = self.keys.get(&input.key);
        let last = row.and_then(|r| r.at);
        let lag = row.map_or(0, |r| r.lag_ms);
        let after_last = |at: Timestamp| last.map_or(at, |last| last.max(at));
        // Up to when wake-ups act first, and the time of the input's own step.
        let (first, at, retained) = match input.what {
            What::Item { dating, .. } | What::Message { dating, .. } => {
                if row.is_none() && !self.keys.has_room() {
                    return Next::Refused(Rejection::new(
                        "too-many-keys",
                        format!(
                            "stage `{}` already follows {} keys",
                            self.stage.name,
                            super::keys::MAX_KEYS
                        ),
                    ));
                }
                if dating.retained {
                    // It dates nothing: the key's own time, or the earliest a device can state.
                    let at = last.unwrap_or_else(|| dating.received_at.minus_ms(7 * 86_400_000));
                    (Timestamp(0), at, true)
                } else {
                    let counted = dating.stated.unwrap_or(dating.received_at);
                    if last.is_some_and(|last| last.since(counted) > LATE_MS) {
                        return Next::Late;
                    }
                    let at = after_last(counted);
                    (at, at, false)
                }
            }
            What::WakeUp { now, until } => {
                let due = now.minus_ms(lag).minus_ms(super::keys::GRACE_MS).min(until);
                (due, due, false)
            }
            What::Deaf(from, until) => match row {
                // What was due before the silence acts; within it, the detector judges.
                Some(row) if row.state.is_some() => {
                    (from.minus_ms(lag), after_last(until.minus_ms(lag)), false)
                }
                _ => return Next::Nothing,
            },
            What::Reconfigured(now) | What::Removed(now) => {
                let Some(row) = row.filter(|r| r.state.is_some()) else { return Next::Nothing };
                let own = row.at.unwrap_or(Timestamp(0));
                // Behind the grace, so that no wake-up by the old settings is left before it.
                let grace = super::keys::GRACE_MS;
                let at = now.map_or(own, |now| after_last(now.minus_ms(row.lag_ms + grace)));
                (Timestamp(0), at, false)
            }
        };
        let state = row.and_then(|r| r.state.clone());
        if let Some(wake) = row.and_then(|r| r.wake_at).filter(|&w| w <= first)
            && *wakes < MAX_WAKES
        {
            *wakes += 1;
            let at = after_last(wake);
            let key = input.key.clone();
            return Next::Turn(Turn {
                input: index,
                key,
                at,
                retained: false,
                state,
                deaf_from: first,
                call: Call::Timer,
            });
        }
        if matches!(input.what, What::WakeUp { .. }) {
            return Next::Nothing;
        }
        Next::Turn(Turn {
            input: index,
            key: input.key.clone(),
            at,
            retained,
            state,
            deaf_from: first,
            call: Call::Input(input.what),
        })
    }

    fn step(
        &mut self,
        turns: &[(Arc<SettingsSet>, Turn<'_>)],
        inputs: &[StepInput<'_>],
        outcomes: &mut [Outcome],
    ) {
        let results = self.runner.run(turns, |instance, turns| {
            let batch: Vec<_> = turns
                .iter()
                .map(|(settings, turn)| Keyed {
                    settings: *settings,
                    key: &turn.key,
                    at: turn.at,
                    retained: turn.retained,
                    state: turn.state.as_deref(),
                    input: match turn.call {
                        Call::Timer | Call::Input(What::WakeUp { .. }) => DetectInput::Timer,
                        Call::Input(What::Item { item, .. }) => DetectInput::Item(item),
                        Call::Input(What::Message { message, device, .. }) => {
                            DetectInput::Message(message, device)
                        }
                        Call::Input(What::Deaf(..)) => DetectInput::DeafSince(turn.deaf_from),
                        Call::Input(What::Reconfigured(_)) => DetectInput::Reconfigured,
                        Call::Input(What::Removed(_)) => DetectInput::Removed,
                    },
                })
                .collect();
            instance.detect(&batch)
        });
        for ((settings, turn), result) in turns.iter().zip(results) {
            let outcome = &mut outcomes[turn.input];
            if let Err(failure) = &result {
                outcome.failed = Some(failure.detail.clone());
            }
            match result.and_then(|step| step) {
                Ok(step) => self.accept(turn, &inputs[turn.input], settings, step, outcome),
                Err(rejection) => self.refuse(turn, settings, rejection, outcome),
            }
        }
    }

    fn accept(
        &mut self,
        turn: &Turn<'_>,
        input: &StepInput<'_>,
        settings: &SettingsSet,
        step: Step,
        outcome: &mut Outcome,
    ) {
        let old = self.keys.get(&turn.key);
        let ordinal = match old {
            Some(row) if row.at == Some(turn.at) || turn.retained => row.ordinal.wrapping_add(1),
            _ => 0,
        };
        for (output, item) in step.outputs.into_iter().enumerate() {
            let place = (self.bridge, self.pipeline, &*self.stage.name);
            let identity = Identity::new(place, &turn.key, turn.at, ordinal, output);
            let woken = matches!(turn.call, Call::Timer);
            outcome.outputs.push(Output { item, identity, woken });
        }
        outcome.ignored.extend(step.ignored);
        outcome.ask |= step.ask;
        if matches!(turn.call, Call::Input(What::Removed(_))) {
            self.keys.set(&turn.key, None);
            return;
        }
        self.keys.change(&turn.key, |row| {
            if row.device != input.device {
                row.device.clone_from(&input.device);
            }
            row.state = step.state;
            row.state_version = self.stage.module.state_version();
            row.ordinal = ordinal;
            row.settings = settings.hash;
            // A wake-up that does not lie ahead would never let the key move on.
            row.wake_at = step.wake_at.map(|at| at.max(turn.at.plus_ms(1)));
            if !turn.retained {
                row.at = Some(turn.at);
            }
            if let Call::Input(What::Item { dating, .. } | What::Message { dating, .. }) = turn.call
                && !dating.retained
            {
                row.lag_ms = dating.received_at.since(turn.at);
                row.undated_or_qos0 = dating.qos == 0 || dating.stated.is_none();
            }
        });
    }

    /// The state stays as it was; a wake-up that was refused is not tried for ever.
    fn refuse(
        &mut self,
        turn: &Turn<'_>,
        settings: &SettingsSet,
        rejection: Rejection,
        outcome: &mut Outcome,
    ) {
        match turn.call {
            Call::Timer | Call::Input(What::WakeUp { .. }) => outcome.refused_wakes.push(rejection),
            Call::Input(_) => outcome.rejections.push(rejection),
        }
        match turn.call {
            Call::Input(What::Removed(_)) => self.keys.set(&turn.key, None),
            Call::Timer => {
                self.change_known(&turn.key, |row| {
                    row.wake_at = None;
                    row.at = Some(turn.at);
                });
            }
            Call::Input(What::Reconfigured(_)) => {
                self.change_known(&turn.key, |row| row.settings = settings.hash);
            }
            Call::Input(_) => {}
        }
    }

    fn count_late(&mut self, key: &Arc<str>) {
        self.change_known(key, |row| row.late = row.late.wrapping_add(1));
    }

    /// Changes the row of a key that has one.
    fn change_known(&mut self, key: &Arc<str>, change: impl FnOnce(&mut KeyRow)) {
        if self.keys.get(key).is_some() {
            self.keys.change(key, change);
        }
    }
}

enum Next<'a> {
    Turn(Turn<'a>),
    Late,
    Nothing,
    Refused(Rejection),
}
