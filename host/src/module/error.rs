//! What goes wrong with a module: when it is loaded, and when it is called. The texts are
//! for the module's author.

use std::time::Duration;

use tapline_kit::contract::Difference;

use super::loaded::Role;

const REBUILD: &str = concat!(
    "build it with version ",
    env!("CARGO_PKG_VERSION"),
    " of the SDK, which `tapline build` brings"
);
/// Differences that one message names.
const TOLD: usize = 3;

/// Why the WebAssembly engine does not start.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start on this machine: {what}")]
pub struct EngineError {
    pub(super) what: String,
}

/// Why a file is not taken as a module.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the module has {size} bytes, more than the {limit} allowed")]
    TooLarge { size: usize, limit: usize },
    #[error("this is not a WebAssembly module: {what}")]
    NotWebAssembly { what: String },
    #[error("the core module cannot be made a component: {what}")]
    NotWrapped { what: String },
    #[error("the module does not compile: {what}")]
    NotCompiled { what: String },
    #[error("the module did not compile within {limit:?}")]
    CompileTimeout { limit: Duration },
    #[error("{running} modules are still being compiled, each for longer than it may take")]
    CompilersBusy { running: usize },
    #[error("the module imports {}, but a module may import nothing except `{allowed}`", listed(.names))]
    ForbiddenImports { names: Vec<String>, allowed: &'static str },
    #[error("the module was made for `{found}`, and this program speaks `{spoken}`{}", told(.differences))]
    OtherVersion { found: String, spoken: String, differences: Vec<Difference> },
    #[error("the module was made for another contract{}", told(.differences))]
    OtherContract { differences: Vec<Difference> },
    #[error("the module exports {}, which is no role of a module", listed(.exports))]
    NoRole { exports: Vec<String> },
    #[error("the module exports `{0}` and `{1}`, but a module has one role", .roles[0], .roles[1])]
    TwoRoles { roles: [Role; 2] },
    #[error("a function of the module has another shape than the contract's: {what}")]
    WrongShape { what: String },
    #[error("the module could not describe itself")]
    Describe(#[source] CallError),
    #[error("the module's description of itself is wrong: {what}")]
    Description { what: String },
    #[error("this machine gives no thread to compile the module: {0}")]
    NoThread(#[source] std::io::Error),
}

impl LoadError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "build it in release with `strip`, or raise the limit",
            Self::NotWebAssembly { .. } => {
                "give a component, or a core module built for wasm32-unknown-unknown"
            }
            Self::NotWrapped { .. } => {
                "build it as a `cdylib` with `tapline_sdk::export_parser!` or its like"
            }
            Self::NotCompiled { .. } => "build the file anew",
            Self::CompileTimeout { .. } => "make it smaller: build it in release, or cut it in two",
            Self::CompilersBusy { .. } => {
                "remove the modules that take too long to compile, and start Tapline again"
            }
            Self::ForbiddenImports { .. } => {
                "build for wasm32-unknown-unknown, without WASI: time, randomness and input come from the host"
            }
            Self::OtherVersion { .. } | Self::OtherContract { .. } => REBUILD,
            Self::NoRole { .. } => "export one of validator, parser, detector and sink",
            Self::TwoRoles { .. } => "make two modules of it",
            Self::WrongShape { .. } => REBUILD,
            Self::Describe(_) | Self::Description { .. } => "correct its `describe`",
            Self::NoThread(_) => "give the process more threads or memory",
        }
    }
}

/// By which clock a call was too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// What its thread computed.
    Processor,
    /// What passed in the room; the backstop.
    Wall,
}

/// Why a call gave no results. The instance is dead afterwards, except where
/// [`CallError::is_callers`] says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The panic's words and place where the module's SDK logged them.
    #[error("the module failed: {message}")]
    Trap { message: String },
    #[error("{}", overdue(*.limit, *.clock))]
    Timeout { limit: Duration, clock: Clock },
    #[error("the module wanted {wanted} bytes of memory, more than the {limit} allowed")]
    OutOfMemory { wanted: u64, limit: u64 },
    #[error("the module gave back more than the {limit} bytes allowed for one call")]
    OutputTooLarge { limit: u64 },
    #[error("the module gave {got} results for {expected} inputs")]
    WrongLength { expected: usize, got: usize },
    #[error("the module's answer makes no sense: {what}")]
    Nonsense { what: String },
    #[error("the instance is dead: an earlier call failed")]
    Dead,
    #[error("this is a {is}, not a {wanted}")]
    WrongRole { is: Role, wanted: Role },
}

impl CallError {
    /// A stable word to count by, and the code of the dead letter that it leads to.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "module-trap",
            Self::Timeout { .. } => "module-timeout",
            Self::OutOfMemory { .. } => "module-memory",
            Self::OutputTooLarge { .. } => "module-output",
            Self::WrongLength { .. } => "module-length",
            Self::Nonsense { .. } => "module-answer",
            Self::Dead | Self::WrongRole { .. } => "module-misused",
        }
    }

    /// Whether the caller asked for what cannot be; the module had no part in it.
    pub fn is_callers(&self) -> bool {
        matches!(self, Self::Dead | Self::WrongRole { .. })
    }
}

fn overdue(limit: Duration, clock: Clock) -> String {
    let ms = limit.as_millis();
    match clock {
        Clock::Processor => {
            format!("the module took more than {ms} ms of processor time for one call")
        }
        Clock::Wall => format!("a call of the module did not end within {ms} ms"),
    }
}

/// The first few differences, as the end of a sentence.
fn told(differences: &[Difference]) -> String {
    let mut text = String::new();
    for (index, difference) in differences.iter().take(TOLD).enumerate() {
        text.push_str(if index == 0 { ": " } else { "; " });
        text.push_str(&difference.to_string());
    }
    if let Some(more) = differences.len().checked_sub(TOLD).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
