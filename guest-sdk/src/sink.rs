//! The sink's trait, and what passes between it and the host.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::item::Item;
use crate::message::{Message, Rejection, Timestamp};

/// Speaks the protocol of one outside system.
///
/// The sink writes requests and judges answers; the host sends, with the base URL and the
/// credentials of the endpoint, keeps what is not delivered, and retries.
///
/// ```
/// use tapline_sdk::prelude::*;
/// use tapline_sdk::serde_json::json;
///
/// /// Posts each event by itself.
/// struct Hook;
///
/// impl Sink for Hook {
///     type Settings = NoSettings;
///     const NAME: &'static str = "hook";
///     const SUMMARY: &'static str = "Posts each event as JSON";
///
///     fn new(_: NoSettings) -> Result<Self, String> {
///         Ok(Self)
///     }
///
///     fn encode(&self, _: Option<&[u8]>, deliveries: &[Delivery]) -> Encoding {
///         let mut encoding = Encoding::default();
///         for (index, delivery) in (0..).zip(deliveries) {
///             match &delivery.content {
///                 Content::Item(Item::Event(event)) => {
///                     let body = json!({ "id": delivery.id, "kind": event.kind });
///                     encoding.exchange([index], Request::post("/events").json(&body));
///                 }
///                 _ => encoding.refuse(index, Rejection::new("no-event", "only events go out")),
///             }
///         }
///         encoding
///     }
///
///     fn conclude(&self, _: Option<&[u8]>, sent: &[Delivery], response: &Response) -> Conclusion {
///         match response.status {
///             200..300 => Conclusion::verdicts(vec![Verdict::Delivered; sent.len()]),
///             401 | 403 => Conclusion::pause("the endpoint refuses the credentials"),
///             400 | 422 => Conclusion::split("refused", response.text()),
///             _ => Conclusion::retry_after_ms(0),
///         }
///     }
/// }
///
/// tapline_sdk::export_sink!(Hook);
/// # fn main() {}
/// ```
pub trait Sink: Sized + 'static {
    /// What a pipeline may set; see [`settings!`](crate::settings!).
    type Settings: DeserializeOwned + JsonSchema + Default;
    /// The name that pipelines use.
    const NAME: &'static str;
    /// One sentence for a person.
    const SUMMARY: &'static str;

    /// Takes one set of settings. Called once per distinct set.
    ///
    /// # Errors
    /// What is wrong with settings that satisfy the schema (one field against another).
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Writes the requests that carry `deliveries`, or the one that must come before them.
    /// `session` is what the last [`Conclusion`] remembered.
    fn encode(&self, session: Option<&[u8]>, deliveries: &[Delivery]) -> Encoding;

    /// Judges the answer to one request. `deliveries` are those of the exchange, none after
    /// [`Plan::Prepare`].
    fn conclude(
        &self,
        session: Option<&[u8]>,
        deliveries: &[Delivery],
        response: &Response,
    ) -> Conclusion;
}

/// The message that a delivery follows from.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Origin {
    pub source: String,
    pub topic: String,
    pub received_at: Timestamp,
    pub qos: u8,
    pub retained: bool,
}

/// What the registry knows of a device.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Device {
    pub id: String,
    pub name: String,
    pub labels: Vec<(String, String)>,
}

/// What is delivered.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    Item(Item),
    /// A message as it came, where the pipeline sends messages to the sink.
    Message(Message),
}

/// Something on its way out.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivery {
    /// The same on every attempt and after a replay.
    pub id: String,
    /// Name of the Tapline that sends it.
    pub bridge: String,
    /// A dead letter or recording that is sent again on a person's word.
    pub replayed: bool,
    pub key: String,
    /// Counts up by one per key and sink, in commit order.
    pub seq: u64,
    pub at: Timestamp,
    pub device: Option<Device>,
    pub content: Content,
    /// `None` where a wake-up or a call caused it.
    pub origin: Option<Origin>,
}

/// How the host writes a secret into a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Escaping {
    Raw,
    JsonString,
    UrlComponent,
}

/// One piece of a body. Secrets are filled in by the host and never seen by the sink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    Bytes(Vec<u8>),
    Secret { name: String, escaping: Escaping },
}

/// What to send.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query below the endpoint's base URL, starting with `/`.
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// The body is the concatenation of these.
    pub body: Vec<Part>,
}

impl Request {
    /// An empty `POST` to `path`.
    pub fn post(path: impl Into<String>) -> Self {
        Self { method: String::from("POST"), path: path.into(), ..Self::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Carries `body` as JSON and says so.
    ///
    /// What cannot be written as JSON (a map whose keys are no strings) is logged and sent
    /// as `null`.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(body).unwrap_or_else(|error| {
            crate::log::error!("the body for {} cannot be written as JSON: {error}", self.path);
            b"null".to_vec()
        });
        self.body = vec![Part::Bytes(bytes)];
        self.header("content-type", "application/json")
    }
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text for a person, at most 200 characters of it.
    pub fn text(&self) -> String {
        const BYTES: usize = 800; // 200 characters of at most four bytes
        let start = self.body.get(..BYTES).unwrap_or(&self.body);
        String::from_utf8_lossy(start).chars().take(200).collect()
    }

    /// The body read from JSON.
    ///
    /// # Errors
    /// What serde_json says.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// What to do with a batch of deliveries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Do this first (a login), conclude it, then encode the same deliveries again.
    Prepare(Request),
    /// Each delivery in at most one exchange, by index; sent in this order.
    Exchanges(Vec<(Vec<u32>, Request)>),
}

/// The answer of [`Sink::encode`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoding {
    pub plan: Plan,
    /// Deliveries, by index, that can never be expressed; the others are in the plan.
    pub refused: Vec<(u32, Rejection)>,
}

impl Default for Encoding {
    /// No exchanges yet.
    fn default() -> Self {
        Self { plan: Plan::Exchanges(Vec::new()), refused: Vec::new() }
    }
}

impl Encoding {
    /// Asks for `request` before any delivery.
    pub fn prepare(request: Request) -> Self {
        Self { plan: Plan::Prepare(request), refused: Vec::new() }
    }

    /// Adds a request that carries the deliveries at `indices`.
    pub fn exchange(&mut self, indices: impl Into<Vec<u32>>, request: Request) {
        let exchange = (indices.into(), request);
        match &mut self.plan {
            Plan::Exchanges(exchanges) => exchanges.push(exchange),
            Plan::Prepare(_) => self.plan = Plan::Exchanges(vec![exchange]),
        }
    }

    /// Says that the delivery at `index` can never be expressed.
    pub fn refuse(&mut self, index: u32, why: Rejection) {
        self.refused.push((index, why));
    }
}

/// What became of one delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Delivered,
    /// The other side has it already.
    Duplicate,
    /// Try again, not before this many milliseconds; 0 leaves it to the host.
    Retry(u32),
    /// Refused for good: to the dead letters.
    Rejected(Rejection),
}

/// What became of an exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// One per delivery of the exchange, in order.
    Verdicts(Vec<Verdict>),
    /// The request of [`Plan::Prepare`] succeeded.
    Prepared,
    /// Refused as a whole, nothing took effect: the host sends halves; a delivery that is
    /// refused alone is rejected with this.
    Split(Rejection),
    /// Nothing took effect: all again, not before this many milliseconds.
    Retry(u32),
    /// Nothing will be accepted until a person acts (credentials, missing addon).
    Pause(String),
}

/// The answer of [`Sink::conclude`].
#[derive(Clone, PartialEq, Debug)]
pub struct Conclusion {
    pub outcome: Outcome,
    /// Replaces what was remembered (a user id; nothing secret); `None` forgets it.
    pub session: Option<Vec<u8>>,
    /// What the answer itself says, e.g. a configuration to publish to a device.
    pub outputs: Vec<Item>,
}

impl From<Outcome> for Conclusion {
    /// Remembers nothing and emits nothing.
    fn from(outcome: Outcome) -> Self {
        Self { outcome, session: None, outputs: Vec::new() }
    }
}

impl Conclusion {
    /// One verdict per delivery, in order.
    pub fn verdicts(verdicts: Vec<Verdict>) -> Self {
        Outcome::Verdicts(verdicts).into()
    }

    /// The request of [`Plan::Prepare`] succeeded.
    pub fn prepared() -> Self {
        Outcome::Prepared.into()
    }

    /// Refused as a whole; the host sends halves.
    pub fn split(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Outcome::Split(Rejection::new(code, detail)).into()
    }

    /// Nothing took effect: all again, not before `ms` milliseconds; 0 leaves it to the host.
    pub fn retry_after_ms(ms: u32) -> Self {
        Outcome::Retry(ms).into()
    }

    /// Nothing will be accepted until a person acts.
    pub fn pause(reason: impl Into<String>) -> Self {
        Outcome::Pause(reason.into()).into()
    }

    /// Remembers `session` for the next call.
    #[must_use]
    pub fn remember(mut self, session: impl Into<Vec<u8>>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// Emits one more item.
    #[must_use]
    pub fn emit(mut self, item: impl Into<Item>) -> Self {
        self.outputs.push(item.into());
        self
    }
}
