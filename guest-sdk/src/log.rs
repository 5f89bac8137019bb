//! Lines for the operator: `log::warn!("no unit in `{name}`")`.
//!
//! The host adds pipeline, stage and module, limits rate and length, and drops what is
//! below the configured level. In native tests lines go to stderr.

use std::fmt;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Trace,
    Debug,
    Info,
    /// Something was wrong, and it went on.
    Warn,
    /// Data is at risk or a person is needed.
    Error,
}

/// Writes one line; the macros of this module call it.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    crate::export::log(level, text);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace { ($($text:tt)+) => { $crate::log::write($crate::log::Level::Trace, ::core::format_args!($($text)+)) }; }
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug { ($($text:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($text)+)) }; }
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info { ($($text:tt)+) => { $crate::log::write($crate::log::Level::Info, ::core::format_args!($($text)+)) }; }
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn { ($($text:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($text)+)) }; }
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error { ($($text:tt)+) => { $crate::log::write($crate::log::Level::Error, ::core::format_args!($($text)+)) }; }

pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace,
    __log_warn as warn,
};
