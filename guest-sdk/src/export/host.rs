//! The one thing that the host gives to modules: lines for the operator.

use std::fmt;

use crate::log::Level;

#[cfg(target_family = "wasm")]
pub(crate) fn log(level: Level, text: fmt::Arguments<'_>) {
    use super::bindings::tapline::host::log;

    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    match text.as_str() {
        Some(text) => log::write(level, text),
        None => log::write(level, &text.to_string()),
    }
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn log(level: Level, text: fmt::Arguments<'_>) {
    eprintln!("{level:?}: {text}");
}

/// Logs message and place of a panic, which the host otherwise sees as a bare
/// `unreachable`. Installed once per instance; natively the test runner's hook stays.
pub(crate) fn explain_panics() {
    #[cfg(target_family = "wasm")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                let message = panic.payload_as_str().unwrap_or("without a message");
                match panic.location() {
                    Some(place) => crate::log::error!("panicked at {place}: {message}"),
                    None => crate::log::error!("panicked: {message}"),
                }
            }));
        });
    }
}
