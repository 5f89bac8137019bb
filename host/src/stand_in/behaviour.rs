//! How the stand-in fails on demand.

use std::collections::VecDeque;
use std::time::Duration;

/// What a request meets instead of a normal answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// As if nothing had been asked for; to let requests pass between others.
    Normal,
    /// This status, with a JSON error as `/json/2` words it; nothing takes effect.
    Status { status: u16, name: String, retry_after: Option<u32> },
    /// Status 200 and this JSON, as `/jsonrpc` words its errors; nothing takes effect.
    Answer(String),
    /// A web page with this status; nothing takes effect.
    Html { status: u16 },
    /// A redirect to this address; nothing takes effect.
    Redirect(String),
    /// The head of an answer and then nothing; nothing takes effect.
    HangAfterHeaders,
    /// No answer at all; nothing takes effect.
    Hang,
    /// The connection is closed before anything takes effect.
    CutBefore,
    /// Everything takes effect, then the connection is closed without an answer.
    CutAfterCommit,
    /// Everything takes effect; the answer has this many bytes.
    Huge(usize),
    /// Everything takes effect after `wait`; the answer comes byte by byte, `drip` apart.
    Slow { wait: Duration, drip: Duration },
    /// Everything takes effect, and is answered, once [`super::StandIn::let_go`] is called.
    Held,
}

impl Behaviour {
    /// A bare status.
    pub fn status(status: u16) -> Self {
        Self::Status { status, name: "odoo.exceptions.Scripted".into(), retry_after: None }
    }
}

/// Which events are refused, with the words of the verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// `None`: whatever device.
    pub device: Option<String>,
    /// `None`: whatever event.
    pub event_uid: Option<String>,
    /// `true`: not by a verdict on the event but by a status 500 for the whole request, as a
    /// fault in Odoo's own code would.
    pub breaks_request: bool,
    pub code: String,
    pub message: String,
}

impl Refusal {
    /// Refuses all events of `device`.
    pub fn of_device(device: &str) -> Self {
        Self {
            device: Some(device.into()),
            event_uid: None,
            breaks_request: false,
            code: "unknown_device".into(),
            message: format!("no machine for device `{device}`"),
        }
    }

    /// Refuses the event with this id.
    pub fn of_event(uid: &str) -> Self {
        let message = format!("event `{uid}` is not wanted");
        Self { device: None, event_uid: Some(uid.into()), message, ..Self::of_device("") }
    }

    /// The same, by breaking the whole request.
    pub fn breaking(self) -> Self {
        Self { breaks_request: true, ..self }
    }

    fn hits(&self, device: &str, uid: &str) -> bool {
        self.device.as_deref().is_none_or(|refused| refused == device)
            && self.event_uid.as_deref().is_none_or(|refused| refused == uid)
    }
}

/// What is still to come.
#[derive(Default)]
pub(crate) struct Script {
    next: VecDeque<(u32, Behaviour)>,
    refusals: Vec<Refusal>,
}

impl Script {
    pub(crate) fn push(&mut self, times: u32, behaviour: Behaviour) {
        if times > 0 {
            self.next.push_back((times, behaviour));
        }
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.refusals.push(refusal);
    }

    /// The behaviour that the next request meets.
    pub(crate) fn next(&mut self) -> Behaviour {
        let Some((times, behaviour)) = self.next.front_mut() else { return Behaviour::Normal };
        let behaviour = behaviour.clone();
        *times -= 1;
        if *times == 0 {
            self.next.pop_front();
        }
        behaviour
    }

    /// Why this event is refused, if it is.
    pub(crate) fn refusal(&self, device: &str, uid: &str) -> Option<&Refusal> {
        self.refusals.iter().find(|refusal| refusal.hits(device, uid))
    }
}
