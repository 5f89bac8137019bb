//! The detector's trait, and one step of one key.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::item::Item;
use crate::message::{Message, Rejection, Timestamp};
use crate::quantity::OwnQuantity;

/// Follows each key (a device, or a device's channel) through time.
///
/// State goes in with each step and comes out again; the host keeps it, together with the
/// wake-up that was asked for. It is written with `postcard`, which is compact but tells
/// neither names nor versions: count [`STATE_VERSION`](Self::STATE_VERSION) up with every
/// change of the type, and read older ones in [`migrate`](Self::migrate).
///
/// ```
/// use tapline_sdk::prelude::*;
/// use tapline_sdk::testing::Bench;
///
/// tapline_sdk::settings! {
///     struct Settings {
///         /// Silence after which a device counts as lost, in ms.
///         limit_ms: u64 = 60_000,
///     }
/// }
///
/// /// Says once when a device falls silent.
/// struct Silence(Settings);
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(crate = "tapline_sdk::serde")]
/// struct Heard {
///     at: u64,
/// }
///
/// impl Detector for Silence {
///     type Settings = Settings;
///     type State = Heard;
///     const NAME: &'static str = "silence";
///     const SUMMARY: &'static str = "Says once when a device falls silent";
///     const STATE_VERSION: u32 = 1;
///
///     fn new(settings: Settings) -> Result<Self, String> {
///         Ok(Self(settings))
///     }
///
///     fn step(&self, step: Step<'_, Heard>) -> Result<Next<Heard>, Rejection> {
///         Ok(match (step.input, step.state) {
///             (Input::Item(_) | Input::Message(_) | Input::DeafSince(_), _) => {
///                 Next::keep(Heard { at: step.at }).wake_at(step.at + self.0.limit_ms)
///             }
///             (Input::Reconfigured, Some(heard)) => {
///                 let due = heard.at + self.0.limit_ms;
///                 Next::keep(heard).wake_at(due)
///             }
///             (Input::Timer, _) => Next::forget().emit(Event::new("fell_silent").at_ms(step.at)),
///             (Input::Removed | Input::Reconfigured, _) => Next::forget(),
///         })
///     }
/// }
///
/// tapline_sdk::export_detector!(Silence);
///
/// # fn main() {
/// let mut bench = Bench::<Silence>::new(Settings::default());
/// bench.reading("lathe", 1_000, Reading::channel("").power_w(5.0));
/// bench.advance_to(61_000);
/// assert_eq!(bench.outputs()[0].at, 61_000);
/// # }
/// ```
pub trait Detector: Sized + 'static {
    /// What a pipeline or a device may set; see [`settings!`](crate::settings!).
    type Settings: DeserializeOwned + JsonSchema + Default;
    /// What is remembered of one key. Keep it small: it is stored with every step.
    type State: Serialize + DeserializeOwned;
    /// The name that pipelines use.
    const NAME: &'static str;
    /// One sentence for a person.
    const SUMMARY: &'static str;
    /// From 1 on; the version of [`State`](Self::State) as it is written.
    const STATE_VERSION: u32;
    /// Quantities that `wit/quantities.toml` lacks.
    const QUANTITIES: &'static [OwnQuantity] = &[];

    /// Takes one set of settings. Called once per distinct set, so what is costly to
    /// prepare belongs here.
    ///
    /// # Errors
    /// What is wrong with settings that satisfy the schema (one field against another).
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Takes one step of one key. State, outputs and wake-up of the step are committed
    /// together or not at all.
    ///
    /// # Errors
    /// Why the input is refused for good. The key keeps the state and the wake-up it had.
    fn step(&self, step: Step<'_, Self::State>) -> Result<Next<Self::State>, Rejection>;

    /// Reads state that version `from` of this module wrote.
    ///
    /// # Errors
    /// Why it cannot be read. By default every version but the present one is refused.
    fn migrate(from: u32, bytes: &[u8]) -> Result<Self::State, String> {
        let _ = bytes;
        Err(format!(
            "{} writes state of version {} and cannot read version {from}",
            Self::NAME,
            Self::STATE_VERSION
        ))
    }
}

/// One step of one key.
#[derive(Clone, PartialEq, Debug)]
pub struct Step<'a, S> {
    pub key: &'a str,
    /// Never earlier than in the step before.
    pub at: Timestamp,
    /// The broker had kept it, so it may be old: no sign of life, and it dates nothing.
    pub retained: bool,
    /// What the last step of this key returned; `None` the first time.
    pub state: Option<S>,
    pub input: Input,
}

/// What a step is about.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    Item(Item),
    Message(Message),
    /// The wake-up that the step before asked for; this step's time is the time asked for.
    Timer,
    /// The source could not be heard from the given time until this step's time: silence in
    /// between says nothing. Given before the key's next input or wake-up.
    DeafSince(Timestamp),
    /// The settings differ from the step before. Act on it now.
    Reconfigured,
    /// The device or the stage is gone: the last step of this key.
    Removed,
}

/// What a step leads to.
#[derive(Clone, PartialEq, Debug)]
pub struct Next<S> {
    /// `None` forgets the key.
    pub state: Option<S>,
    /// When to call again if nothing else arrives; replaces any earlier wish.
    pub wake_at: Option<Timestamp>,
    pub outputs: Vec<Item>,
    /// The device should report now: the host publishes the question that its parser names.
    pub ask: bool,
    /// Why the input was left aside; counted and shown to the operator, not a refusal.
    pub ignored: Option<Rejection>,
}

impl<S> Default for Next<S> {
    fn default() -> Self {
        Self { state: None, wake_at: None, outputs: Vec::new(), ask: false, ignored: None }
    }
}

impl<S> Next<S> {
    /// Remembers `state`, without a wake-up.
    pub fn keep(state: S) -> Self {
        Self { state: Some(state), ..Self::default() }
    }

    /// Forgets the key.
    pub fn forget() -> Self {
        Self::default()
    }

    /// Asks to be called at `at` if nothing else arrives; `None` takes the wish back.
    #[must_use]
    pub fn wake_at(mut self, at: impl Into<Option<Timestamp>>) -> Self {
        self.wake_at = at.into();
        self
    }

    /// Emits one more item.
    #[must_use]
    pub fn emit(mut self, item: impl Into<Item>) -> Self {
        self.outputs.push(item.into());
        self
    }

    /// Asks the device to report now.
    #[must_use]
    pub fn ask(mut self) -> Self {
        self.ask = true;
        self
    }

    /// Says why the input was left aside.
    #[must_use]
    pub fn ignored(mut self, code: impl Into<String>, detail: impl Into<String>) -> Self {
        self.ignored = Some(Rejection::new(code, detail));
        self
    }
}
