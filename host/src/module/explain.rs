//! Why a call failed, in words that the module's author understands.

use wasmtime::{Trap, WasmBacktrace};

use super::deadline::Overdue;
use super::error::CallError;
use super::host::{Host, Limits};
use super::log::truncate;

/// Functions of a trap's place that are named, innermost first.
const NAMED_FRAMES: usize = 3;

/// Bytes of the whole explanation.
const LENGTH: usize = 4096;

/// Says what happened in words that the module's author understands.
pub(super) fn explain(error: wasmtime::Error, host: &mut Host, limits: &Limits) -> CallError {
    if let Some(&overdue) = error.downcast_ref::<Overdue>() {
        return overdue.into();
    }
    let trap = error.downcast_ref::<Trap>().copied();
    if let Some(wanted) = host.memory.refused {
        return CallError::OutOfMemory { wanted, limit: limits.memory };
    }
    // wasmtime keeps the type of this error to itself; a test pins its words.
    if error.root_cause().to_string().contains("fuel allocated for hostcalls") {
        return CallError::OutputTooLarge { limit: limits.output };
    }
    let what = match (host.log.take_last_words(), trap) {
        (Some(words), Some(Trap::UnreachableCodeReached)) => words,
        (_, Some(Trap::UnreachableCodeReached)) => {
            "it stopped itself (`unreachable`) without a word".to_owned()
        }
        (_, Some(Trap::StackOverflow)) => {
            "its call stack is full: a function calls itself without end, or keeps too much there"
                .to_owned()
        }
        (_, Some(trap)) => trap.to_string(),
        (_, None) => answer(error.root_cause().to_string()),
    };
    let mut message = what;
    if let Some(place) = place(&error) {
        message.push_str(", in ");
        message.push_str(&place);
    }
    truncate(&mut message, LENGTH);
    CallError::Trap { message }
}

/// What wasmtime has against an answer, said of the answer.
fn answer(said: String) -> String {
    if said.contains("utf-8") {
        return format!("a text that it gave back is no UTF-8 ({said})");
    }
    if said.contains("pointer") {
        return format!("what it gave back does not lie in its memory ({said})");
    }
    said
}

/// The innermost functions of the module's own code.
fn place(error: &wasmtime::Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    let names: Vec<String> = backtrace
        .frames()
        .iter()
        .filter_map(|frame| Some(format!("{:#}", rustc_demangle::demangle(frame.func_name()?))))
        .filter(|name| !is_runtime(name))
        .map(|name| format!("`{name}`"))
        .take(NAMED_FRAMES)
        .collect();
    (!names.is_empty()).then(|| names.join(" called by "))
}

/// Whether a function belongs to Rust's runtime, where every panic passes.
fn is_runtime(name: &str) -> bool {
    let name = name.trim_start_matches('<');
    ["core::", "std::", "alloc::", "rust_", "__rust", "__rg_", "_RN", "dlmalloc::", "abort"]
        .iter()
        .any(|runtime| name.starts_with(runtime))
}
