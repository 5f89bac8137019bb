//! What goes into the calls of validators, parsers and detectors, and what comes out.

use crate::message::{DeviceId, Item, Message, Publication, Rejection, Timestamp};

/// The number of one set of settings in an instance; the caller chooses it and configures
/// it before use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SettingsId(pub u32);

/// One message for a validator or a parser.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub settings: SettingsId,
    pub message: &'a Message,
    /// The device that the registry binds to the message.
    pub device: Option<&'a DeviceId>,
}

/// What belongs to a device whose messages come on a topic.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Companions {
    /// Topic filters to subscribe to beside it.
    pub also: Vec<String>,
    /// The one channel that the topic itself names.
    pub channel: Option<String>,
    /// The question that makes the device report now.
    pub ask: Option<Publication>,
}

/// One step of one key, to be made.
#[derive(Clone, Copy, Debug)]
pub struct Keyed<'a> {
    pub settings: SettingsId,
    pub key: &'a str,
    /// Never earlier than in the key's step before.
    pub at: Timestamp,
    pub retained: bool,
    /// What the key's last step returned.
    pub state: Option<&'a [u8]>,
    pub input: DetectInput<'a>,
}

/// Why a detector makes a step.
#[derive(Clone, Copy, Debug)]
pub enum DetectInput<'a> {
    Item(&'a Item),
    Message(&'a Message, Option<&'a DeviceId>),
    /// The wake-up that the step before asked for.
    Timer,
    /// The source could not be heard from then until now.
    DeafSince(Timestamp),
    /// The settings differ from the step before.
    Reconfigured,
    /// The last step of this key.
    Removed,
}

/// What a step came to. Its outputs were checked; the state is within its limit.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// `None` forgets the key.
    pub state: Option<Vec<u8>>,
    pub wake_at: Option<Timestamp>,
    pub outputs: Vec<Item>,
    /// The device should be asked to report now.
    pub ask: bool,
    /// Why the input was left aside.
    pub ignored: Option<Rejection>,
}
