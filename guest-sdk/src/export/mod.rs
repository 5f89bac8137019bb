//! What stands between an author's types and the component's exports.
//!
//! Hidden from authors; the `export_*` macros and the test kit use it.

pub mod bindings;
pub mod state;

use std::fmt;

use crate::log::Level;

#[cfg(not(target_family = "wasm"))]
pub(crate) fn log(level: Level, text: fmt::Arguments<'_>) {
    eprintln!("{level:?}: {text}");
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($module:ty, $role:ident) => {
        const _: fn() = || {
            fn has_role<M: $crate::$role>() {}
            has_role::<$module>();
        };
    };
}

/// Makes the crate a validator module; once per crate.
#[macro_export]
macro_rules! export_validator {
    ($module:ty) => {
        $crate::__export!($module, Validator);
    };
}
/// Makes the crate a parser module; once per crate.
#[macro_export]
macro_rules! export_parser {
    ($module:ty) => {
        $crate::__export!($module, Parser);
    };
}
/// Makes the crate a detector module; once per crate.
#[macro_export]
macro_rules! export_detector {
    ($module:ty) => {
        $crate::__export!($module, Detector);
    };
}
/// Makes the crate a sink module; once per crate.
#[macro_export]
macro_rules! export_sink {
    ($module:ty) => {
        $crate::__export!($module, Sink);
    };
}
