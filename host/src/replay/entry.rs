//! What a line tells a pipeline, whichever pipeline that is.

use std::sync::Arc;

use bytes::Bytes;

use super::Fault;
use super::written::{Deaf, Letter, Line, STOPPED, Said, Wake};
use crate::message::{DeviceId, Message, MessageId, Properties, Timestamp};

/// One line, decoded. It may be told to several pipelines.
#[derive(Clone)]
pub(super) enum Entry {
    Message(Unplaced),
    Deaf(Deaf),
    Wake(Wake),
    /// The recording ends; why, unless somebody wished it.
    End(Option<String>),
}

/// A message whose broker may be a matter of the pipeline.
#[derive(Clone)]
pub(super) struct Unplaced {
    pub(super) number: u64,
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) received_at: Timestamp,
    pub(super) qos: u8,
    pub(super) retained: bool,
    pub(super) properties: Arc<Properties>,
    /// Where its line says so.
    pub(super) broker: Option<Arc<str>>,
    pub(super) device: Option<DeviceId>,
    pub(super) letter: Option<Letter>,
}

impl Unplaced {
    pub(super) fn place(self, broker: Arc<str>) -> Message {
        Message {
            id: MessageId { source: broker, epoch: 0, sequence: self.number },
            topic: self.topic,
            payload: self.payload,
            received_at: self.received_at,
            qos: self.qos,
            retained: self.retained,
            properties: self.properties,
        }
    }
}

/// Decodes lines.
#[derive(Default)]
pub(super) struct Decoder {
    is_recording: bool,
    /// What most messages have.
    properties: Arc<Properties>,
    /// The broker that was said last; most lines say the same.
    broker: Option<Arc<str>>,
}

impl Decoder {
    pub(super) fn new(is_recording: bool) -> Self {
        Self { is_recording, ..Self::default() }
    }

    /// What a line says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn entry(&mut self, number: u64, bytes: &[u8]) -> Result<Entry, Fault> {
        let misplaced =
            |what: &str, remedy| Err(Fault { line: number, what: what.to_owned(), remedy });
        match Line::read(number, bytes)? {
            Said::Message(line) => self.message(number, line).map(Entry::Message),
            Said::Deaf(deaf) => Ok(Entry::Deaf(*deaf)),
            Said::Wake(wake) if self.is_recording => Ok(Entry::Wake(*wake)),
            Said::Wake(_) => misplaced(
                "`wake` stands in no recording",
                "leave it out: in a capture the replay's own clock makes wake-ups act",
            ),
            Said::End(end) => Ok(Entry::End((end.reason != STOPPED).then_some(end.detail))),
            Said::Start(_) | Said::Registered(_) | Said::Key(_) => misplaced(
                "`recording`, `registered` and `key` stand only at the beginning of a recording",
                "replay one recording at a time",
            ),
        }
    }

    fn message(&mut self, number: u64, mut line: Line<'_>) -> Result<Unplaced, Fault> {
        let fault = |what: String, remedy| Fault { line: number, what, remedy };
        let topic = line.topic.take().map(|topic| topic.0).unwrap_or_default();
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            let what = format!("`{}` is no topic of a message", topic.escape_debug());
            return Err(fault(what, "give the topic that the message came on, without wildcards"));
        }
        let Some(received_at) = line.received_at else {
            return Err(fault(
                "`received_at` is missing".to_owned(),
                "say when the message came, in RFC 3339 or in milliseconds",
            ));
        };
        let qos = line.qos.unwrap_or(0);
        if qos > 2 {
            return Err(fault(format!("`{qos}` is no QoS"), "give 0, 1 or 2"));
        }
        let broker = line.broker.take().map(|broker| self.named(&broker.0));
        Ok(Unplaced {
            number,
            topic: (&*topic).into(),
            payload: line.bytes(number)?,
            received_at: received_at.0,
            qos,
            retained: line.retained.unwrap_or(false),
            properties: line.properties.take().unwrap_or_else(|| self.properties.clone()),
            broker,
            device: line.device.take().map(|device| DeviceId::from(&*device.0)),
            letter: line.letter.take().map(|letter| *letter),
        })
    }

    fn named(&mut self, name: &str) -> Arc<str> {
        match &self.broker {
            Some(last) if **last == *name => last.clone(),
            _ => self.broker.insert(name.into()).clone(),
        }
    }
}
