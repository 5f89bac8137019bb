//! The host's part for one device: hands in the state that the step before returned and
//! wakes the detector when it wants to be woken.

use serde_json::Value;
use tapline_sdk::prelude::*;
use tapline_session::{Machine, Session, Settings};

/// 2026-02-02T02:40:00Z, so that times in tests can be told as seconds from here.
pub(crate) const START: u64 = 1_770_000_000_000;
pub(crate) const KEY: &str = "lathe";

/// When wake-ups come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakes {
    /// At the time asked for, before an input of that time.
    Exact,
    /// Never but at the end: each input finds all deadlines before it still to be acted on.
    Missing,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    /// When the device was asked to report.
    pub(crate) asks: Vec<u64>,
    pub(crate) ignored: Vec<String>,
    pub(crate) longest_state: usize,
}

pub(crate) struct Host {
    session: Session,
    wakes: Wakes,
    state: Option<Vec<u8>>,
    wake_at: Option<u64>,
    pub(crate) told: Told,
}

impl Host {
    pub(crate) fn new(settings: &Value, wakes: Wakes) -> Self {
        let told = Told::default();
        Self { session: session(settings), wakes, state: None, wake_at: None, told }
    }

    /// One input at a time; every wake-up due by then comes first.
    pub(crate) fn input(&mut self, at: u64, input: Input) {
        if self.wakes == Wakes::Exact {
            self.wake_until(at);
        }
        self.step(at, false, input);
    }

    /// A message that the broker had kept, of any age: no wake-up needs to come before it.
    pub(crate) fn retained(&mut self, at: u64, input: Input) {
        self.step(at, true, input);
    }

    /// Nothing could be heard from `from` to `until`; no wake-up acts in between.
    pub(crate) fn deaf(&mut self, from: u64, until: u64) {
        if self.wakes == Wakes::Exact {
            self.wake_until(from);
        }
        self.step(until, false, Input::DeafSince(from));
    }

    pub(crate) fn reconfigure(&mut self, at: u64, settings: &Value) {
        // Whatever the old rules made due had its wake-up before they changed.
        self.wake_until(at);
        self.session = session(settings);
        self.step(at, false, Input::Reconfigured);
    }

    /// Lets time pass.
    pub(crate) fn end(&mut self, at: u64) {
        match self.wakes {
            Wakes::Exact => self.wake_until(at),
            Wakes::Missing => self.step(at, false, Input::Timer),
        }
    }

    pub(crate) fn forgotten(&self) -> bool {
        self.state.is_none()
    }

    pub(crate) fn wake_until(&mut self, at: u64) {
        while let Some(wake_at) = self.wake_at.filter(|wake_at| *wake_at <= at) {
            self.step(wake_at, false, Input::Timer);
            assert_ne!(self.wake_at, Some(wake_at), "a wake-up asks for itself again");
        }
    }

    fn step(&mut self, at: u64, retained: bool, input: Input) {
        let state = self.state.take().map(|state| decode(&state));
        let next = self
            .session
            .step(Step { key: KEY, at, retained, state, input })
            .expect("the detector refuses nothing");
        self.state = next.state.map(|state| encode(&state));
        self.wake_at = next.wake_at;
        let length = self.state.as_ref().map_or(0, Vec::len);
        self.told.longest_state = self.told.longest_state.max(length);
        for item in next.outputs {
            match item {
                Item::Event(event) => self.told.events.push(event),
                other => panic!("{other:?} is no event"),
            }
        }
        if next.ask {
            self.told.asks.push(at);
        }
        self.told.ignored.extend(next.ignored.map(|rejection| rejection.to_string()));
    }
}

fn session(settings: &Value) -> Session {
    let settings: Settings = serde_json::from_value(settings.clone()).expect("settings");
    Session::new(settings).expect("settings")
}

fn encode(state: &Machine) -> Vec<u8> {
    postcard::to_allocvec(state).expect("a state can be written")
}

fn decode(state: &[u8]) -> Machine {
    postcard::from_bytes(state).expect("a state can be read")
}
