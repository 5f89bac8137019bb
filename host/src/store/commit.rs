//! What goes into the store: everything that follows from one batch, in one [`Commit`].

use std::sync::Arc;

use uuid::Uuid;

use super::history::Block;

use crate::message::{Content, DeviceId, Message, MessageId, Origin, Timestamp};

/// Identity of one key's state: independent of file names and process numbers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyId {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    pub key: Arc<str>,
}

/// All that is kept of a key between two steps.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyRow {
    pub device: Option<DeviceId>,
    pub state: Option<Vec<u8>>,
    /// Version of the module's state that `state` is written in.
    pub state_version: u32,
    /// Counted time of the last step.
    pub at: Option<Timestamp>,
    /// Number of the last step within the millisecond `at`.
    pub ordinal: u32,
    /// Inputs that came too late to count.
    pub late: u32,
    /// Receipt minus counted time of the last input.
    pub lag_ms: u64,
    pub wake_at: Option<Timestamp>,
    /// Content hash of the settings that the last step ran with.
    pub settings: [u8; 16],
    /// The last input stated no time or came with QoS 0, so an outage may have hidden others.
    pub undated_or_qos0: bool,
}

/// A sink of a pipeline. Publications to a broker go to the stage `publish:<broker>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SinkId {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
}

impl SinkId {
    /// The sink `stage` of `pipeline`.
    pub fn new(pipeline: impl Into<Arc<str>>, stage: impl Into<Arc<str>>) -> Self {
        Self { pipeline: pipeline.into(), stage: stage.into() }
    }

    /// The sink that takes `pipeline`'s publications to `broker`.
    pub fn publish(pipeline: impl Into<Arc<str>>, broker: &str) -> Self {
        Self { pipeline: pipeline.into(), stage: format!("publish:{broker}").into() }
    }

    /// The broker, if this sink publishes.
    pub fn broker(&self) -> Option<&str> {
        self.stage.strip_prefix("publish:")
    }
}

impl std::fmt::Display for SinkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pipeline, self.stage)
    }
}

/// Something to deliver. Its place among the deliveries of its key (`seq`) is given inside
/// the transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct NewDelivery {
    pub sink: SinkId,
    /// Derived from the input; one that the sink's outbox holds already, or that was
    /// delivered in the last seven days, is not added again.
    pub id: Uuid,
    pub key: Arc<str>,
    pub at: Timestamp,
    pub device: Option<DeviceId>,
    pub content: Content,
    pub origin: Option<Origin>,
    /// The message that it follows from.
    pub message: Option<MessageId>,
    /// From then on it is a dead letter and never sent.
    pub expires_at: Option<Timestamp>,
    /// Sent again on a person's word.
    pub replayed: bool,
}

/// A delivery's place in the outbox, over all sinks in commit order. Never used twice
/// within one run of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RowId(pub(crate) i64);

impl RowId {
    /// Before every row.
    pub const START: Self = Self(0);
}

/// What became of a row of the outbox.
#[derive(Clone, PartialEq, Debug)]
pub struct Settlement {
    pub sink: SinkId,
    pub row: RowId,
    pub fate: Fate,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Fate {
    /// The row goes, its id is remembered for seven days from `at`.
    Delivered { at: Timestamp },
    /// The row goes, the dead letter comes, in one transaction.
    Dead(Box<DeadLetter>),
    /// It stays and counts one more try.
    Tried { error: String },
}

/// The module that refused an input or failed on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModuleTag {
    pub name: String,
    pub version: String,
    /// SHA-256 of its bytes.
    pub hash: [u8; 32],
}

/// What was set aside, with all that is needed to understand it and to run it again.
#[derive(Clone, PartialEq, Debug)]
pub struct DeadLetter {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    /// A stable word to count by, e.g. `not-json`, `trap`, `expired`.
    pub code: String,
    /// One sentence for a person.
    pub detail: String,
    pub at: Timestamp,
    pub device: Option<DeviceId>,
    /// The key of the input, where a detector refused it.
    pub key: Option<Arc<str>>,
    /// The message with its raw bytes, where an input was refused.
    pub message: Option<Message>,
    /// The delivery, where a sink refused it.
    pub delivery: Option<DeadDelivery>,
    pub module: Option<ModuleTag>,
    pub attempts: u32,
    /// An excerpt of what the other side answered.
    pub answer: Option<String>,
    /// The bytes of a row that this program cannot read, where that is what was set aside.
    pub raw: Option<Vec<u8>>,
}

impl DeadLetter {
    /// Claims that this is the message that was set aside.
    pub fn is_of(&self, message: &Message) -> bool {
        self.message.as_ref().is_some_and(|own| own.id == message.id)
    }
}

/// Something that was done on a person's word, for whoever asks later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audit {
    pub at: Timestamp,
    /// Who asked for it.
    pub author: String,
    /// A stable word: `dead-letter.discarded`, `publication.replayed`.
    pub action: &'static str,
    /// One line that names it.
    pub what: String,
}

/// The last that a detector said of a key's session, so that it is known after a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub id: KeyId,
    pub device: Option<DeviceId>,
    pub kind: String,
    pub at: Timestamp,
    /// The event's data, a JSON object.
    pub data: String,
}

/// A delivery that left the outbox without having been accepted.
#[derive(Clone, PartialEq, Debug)]
pub struct DeadDelivery {
    pub delivery: NewDelivery,
    /// Its place among its key's deliveries.
    pub seq: u64,
}

/// That a QoS 1/2 message has been committed: a redelivery with the same packet id, epoch
/// and hash is known. One per broker, pipeline and packet id; the next use replaces it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    pub broker: Arc<str>,
    pub pipeline: Arc<str>,
    pub packet_id: u16,
    pub epoch: u64,
    pub hash: u64,
    /// The message's receipt sequence: packet ids come round, an old mark means nothing.
    pub sequence: u64,
}

/// All effects of a batch: written together or not at all.
#[derive(Default, Debug)]
pub struct Commit {
    /// Whose it is: it may go before what is large of another pipeline's. Without, it stays
    /// behind everything that was handed in before it.
    pub pipeline: Option<Arc<str>>,
    /// `None` forgets the key.
    pub keys: Vec<(KeyId, Option<KeyRow>)>,
    pub outbox: Vec<NewDelivery>,
    pub dead: Vec<DeadLetter>,
    /// Dead letters that leave, by number: replayed or discarded on a person's word.
    pub dead_removed: Vec<u64>,
    /// Dead letters that stay under their number with a new reason: a replay failed.
    pub dead_again: Vec<(u64, DeadLetter)>,
    pub audit: Vec<Audit>,
    /// A key that is forgotten in the same commit takes what was said of it along.
    pub said: Vec<Said>,
    pub marks: Vec<Mark>,
    pub settle: Vec<Settlement>,
    pub meta: Vec<(String, Vec<u8>)>,
    /// Messages that came, for the history; those that were sent follow from `settle`.
    pub history: Vec<Block>,
}

impl Commit {
    /// Claims that there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.outbox.is_empty()
            && self.dead.is_empty()
            && self.dead_removed.is_empty()
            && self.dead_again.is_empty()
            && self.audit.is_empty()
            && self.said.is_empty()
            && self.marks.is_empty()
            && self.settle.is_empty()
            && self.meta.is_empty()
            && self.history.is_empty()
    }
}

/// What a [`Commit`] has become, once it is durable.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Committed {
    /// Deliveries that were added to the outbox.
    pub queued: usize,
    /// Deliveries whose id was known already.
    pub known: usize,
    /// Dead letters written, those of settled deliveries included.
    pub dead: usize,
}

/// Called on the writer's thread once the commit is durable, so it must not wait. It is
/// dropped uncalled if the process ends first.
pub type Done = Box<dyn FnOnce(Committed) + Send>;
