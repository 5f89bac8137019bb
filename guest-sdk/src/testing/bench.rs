//! A detector under virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::detector::{Detector, Input, Next, Step};
use crate::export::state;
use crate::item::{Item, Reading};
use crate::message::{Message, Rejection, Timestamp};

/// An input this much earlier than its key's last step counts at that step's time; an
/// older one is late and no detector sees it.
const PATIENCE_MS: u64 = 60_000;

/// Wake-ups of a key in a row at one time, after which it counts as an endless loop.
const WAKE_UPS_AT_ONE_TIME: u32 = 1_000;

/// One item that a detector emitted.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    pub key: String,
    /// Time of the step that emitted it.
    pub at: Timestamp,
    pub item: Item,
}

/// Drives a detector as the host does: state is written and read back between steps, a
/// wake-up that is due acts before a later input of its key, time never goes back. A wake-up
/// whose time is past by then (the key heard of deafness) acts at the time of the last step.
///
/// Inputs act at once, or in rounds of [`batches_of`](Self::batches_of) inputs, which must
/// not change a result.
pub struct Bench<D: Detector> {
    settings: Rc<D>,
    keys: BTreeMap<String, Key<D>>,
    waiting: VecDeque<Given<D>>,
    batch: usize,
    outputs: Vec<Output>,
    ignored: Vec<(String, Rejection)>,
    rejected: Vec<(String, Rejection)>,
    asked: Vec<(String, Timestamp)>,
    late: usize,
    largest_state: usize,
}

struct Key<D> {
    settings: Rc<D>,
    state: Option<Vec<u8>>,
    wake_at: Option<Timestamp>,
    at: Timestamp,
    /// How many wake-ups acted at `at`.
    woken: u32,
}

struct Given<D> {
    key: String,
    at: Timestamp,
    retained: bool,
    input: Input,
    settings: Option<Rc<D>>,
}

impl<D: Detector> Bench<D> {
    /// A bench whose keys have `settings` until they are reconfigured.
    ///
    /// # Panics
    /// If the detector refuses the settings.
    pub fn new(settings: D::Settings) -> Self {
        Self {
            settings: configured(settings),
            keys: BTreeMap::new(),
            waiting: VecDeque::new(),
            batch: 1,
            outputs: Vec::new(),
            ignored: Vec::new(),
            rejected: Vec::new(),
            asked: Vec::new(),
            late: 0,
            largest_state: 0,
        }
    }

    /// Like [`new`](Self::new) with settings as a pipeline file has them.
    ///
    /// # Panics
    /// If the settings cannot be read or the detector refuses them.
    pub fn from_json(settings: serde_json::Value) -> Self {
        match serde_json::from_value(settings) {
            Ok(settings) => Self::new(settings),
            Err(error) => panic!("{} cannot read the settings: {error}", D::NAME),
        }
    }

    /// Collects `size` inputs before it works them off, in rounds that hold each key once.
    #[must_use]
    pub fn batches_of(mut self, size: usize) -> Self {
        self.batch = size.max(1);
        self
    }

    /// Gives `key` a reading at `at`.
    pub fn reading(&mut self, key: &str, at: Timestamp, reading: Reading) {
        self.give(key, at, false, Input::Item(reading.into()), None);
    }

    /// Gives `key` a reading that the broker had kept.
    pub fn retained(&mut self, key: &str, at: Timestamp, reading: Reading) {
        self.give(key, at, true, Input::Item(reading.into()), None);
    }

    /// Gives `key` any item at `at`.
    pub fn item(&mut self, key: &str, at: Timestamp, item: impl Into<Item>) {
        self.give(key, at, false, Input::Item(item.into()), None);
    }

    /// Gives `key` a message at `at`.
    pub fn message(&mut self, key: &str, at: Timestamp, message: Message) {
        self.give(key, at, message.retained, Input::Message(message), None);
    }

    /// Gives `key` other settings at `at`.
    ///
    /// # Panics
    /// If the detector refuses the settings.
    pub fn reconfigure(&mut self, key: &str, at: Timestamp, settings: D::Settings) {
        self.give(key, at, false, Input::Reconfigured, Some(configured(settings)));
    }

    /// Takes `key` away at `at`.
    pub fn remove(&mut self, key: &str, at: Timestamp) {
        self.give(key, at, false, Input::Removed, None);
    }

    /// The source could not be heard in between: wake-ups due by `from` act, and each known
    /// key is told so at `until`, before anything else.
    pub fn deaf(&mut self, from: Timestamp, until: Timestamp) {
        self.advance_to(from);
        let keys: Vec<_> = self.keys.keys().cloned().collect();
        for key in keys {
            self.take(&key, until, false, Input::DeafSince(from));
        }
    }

    /// Lets the clock run to `at`: what waits is worked off, then every wake-up due by then
    /// acts, in order of time.
    pub fn advance_to(&mut self, at: Timestamp) {
        self.work();
        while let Some((due, key)) = self
            .keys
            .iter()
            .filter_map(|(key, known)| Some((known.wake_at?, key)))
            .filter(|(due, _)| *due <= at)
            .min()
            .map(|(due, key)| (due, key.clone()))
        {
            self.wake(&key, due);
        }
    }

    /// What was emitted so far, in order.
    pub fn outputs(&mut self) -> &[Output] {
        self.work();
        &self.outputs
    }

    /// What was emitted since it was last taken, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        self.work();
        std::mem::take(&mut self.outputs)
    }

    /// Which inputs were left aside, by key.
    pub fn ignored(&mut self) -> &[(String, Rejection)] {
        self.work();
        &self.ignored
    }

    /// Which inputs were refused, by key.
    pub fn rejected(&mut self) -> &[(String, Rejection)] {
        self.work();
        &self.rejected
    }

    /// Which keys asked their device to report, and when.
    pub fn asked(&mut self) -> &[(String, Timestamp)] {
        self.work();
        &self.asked
    }

    /// How many inputs came too late to be seen.
    pub fn late(&mut self) -> usize {
        self.work();
        self.late
    }

    /// When `key` wants to be woken.
    pub fn wake_at(&mut self, key: &str) -> Option<Timestamp> {
        self.work();
        self.keys.get(key)?.wake_at
    }

    /// What `key` remembers.
    ///
    /// # Panics
    /// If the state cannot be read back.
    pub fn state(&mut self, key: &str) -> Option<D::State> {
        self.work();
        let bytes = self.keys.get(key)?.state.as_deref()?;
        Some(state::read::<D::State>(bytes).unwrap_or_else(|why| panic!("{key}: {why}")))
    }

    /// Size of the largest state that any key ever had, in bytes.
    pub fn largest_state(&mut self) -> usize {
        self.work();
        self.largest_state
    }

    fn give(
        &mut self,
        key: &str,
        at: Timestamp,
        retained: bool,
        input: Input,
        settings: Option<Rc<D>>,
    ) {
        self.waiting.push_back(Given { key: key.to_owned(), at, retained, input, settings });
        if self.waiting.len() >= self.batch {
            self.work();
        }
    }

    /// Works the batch off in rounds, each key at most once a round; what it emits is in
    /// the order of the inputs all the same.
    fn work(&mut self) {
        let mut waiting: Vec<_> = self.waiting.drain(..).enumerate().collect();
        let earlier = std::mem::take(&mut self.outputs);
        let mut emitted = Vec::new();
        while !waiting.is_empty() {
            let mut round = BTreeMap::new();
            let mut rest = Vec::new();
            for (index, given) in waiting {
                if round.contains_key(&given.key) {
                    rest.push((index, given));
                } else {
                    round.insert(given.key.clone(), (index, given));
                }
            }
            waiting = rest;
            for (index, given) in round.into_values() {
                self.input(given);
                emitted.extend(self.outputs.drain(..).map(|output| (index, output)));
            }
        }
        emitted.sort_by_key(|(index, _)| *index);
        self.outputs = earlier;
        self.outputs.extend(emitted.into_iter().map(|(_, output)| output));
    }

    fn input(&mut self, given: Given<D>) {
        let Given { key, mut at, retained, input, settings } = given;
        if let Some(known) = self.keys.get(&key) {
            let from_outside = matches!(input, Input::Item(_) | Input::Message(_));
            if from_outside && at.saturating_add(PATIENCE_MS) < known.at {
                self.late += 1;
                return;
            }
            at = at.max(known.at);
        }
        while let Some(due) = self.keys.get(&key).and_then(|known| known.wake_at)
            && due <= at
        {
            self.wake(&key, due);
        }
        if let Some(settings) = settings {
            self.key(&key, at).settings = settings;
        }
        self.take(&key, at, retained, input);
    }

    fn wake(&mut self, key: &str, due: Timestamp) {
        if let Some(known) = self.keys.get_mut(key) {
            known.wake_at = None;
            let at = due.max(known.at);
            known.woken = if at == known.at { known.woken + 1 } else { 1 };
            assert!(
                known.woken <= WAKE_UPS_AT_ONE_TIME,
                "`{key}` asks again and again to be woken at {due}, which is past"
            );
            self.take(key, at, false, Input::Timer);
        }
    }

    fn key(&mut self, key: &str, at: Timestamp) -> &mut Key<D> {
        let settings = &self.settings;
        self.keys.entry(key.to_owned()).or_insert_with(|| Key {
            settings: Rc::clone(settings),
            state: None,
            wake_at: None,
            at,
            woken: 0,
        })
    }

    fn take(&mut self, key: &str, at: Timestamp, retained: bool, input: Input) {
        let removed = input == Input::Removed;
        let known = self.key(key, at);
        known.at = at;
        let before = known.state.as_deref().map(state::read::<D::State>).transpose();
        let detector = Rc::clone(&known.settings);
        let outcome = before.and_then(|before| {
            let step = Step { key, at, retained, state: before, input };
            let Next { state, wake_at, outputs, ask, ignored } = detector.step(step)?;
            let state = state.as_ref().map(state::write).transpose()?;
            Ok((state, wake_at, outputs, ask, ignored))
        });
        match outcome {
            Ok((state, wake_at, outputs, ask, ignored)) => {
                self.largest_state = self.largest_state.max(state.as_ref().map_or(0, Vec::len));
                let known = self.key(key, at);
                known.state = state;
                known.wake_at = wake_at;
                let key = || key.to_owned();
                self.outputs.extend(outputs.into_iter().map(|item| Output {
                    key: key(),
                    at,
                    item,
                }));
                self.ignored.extend(ignored.map(|why| (key(), why)));
                if ask {
                    self.asked.push((key(), at));
                }
            }
            Err(why) => self.rejected.push((key.to_owned(), why)),
        }
        if removed {
            self.keys.remove(key);
        }
    }
}

fn configured<D: Detector>(settings: D::Settings) -> Rc<D> {
    match D::new(settings) {
        Ok(detector) => Rc::new(detector),
        Err(why) => panic!("{} refuses the settings: {why}", D::NAME),
    }
}

#[cfg(test)]
mod tests;
