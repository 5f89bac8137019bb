//! What stands between an author's types and the exports of the component.
//!
//! Hidden from authors: the `export_*` macros and the test kit use it. Invariant: an
//! author's code sees one input at a time and plain types; batches, numbers of settings and
//! generated types stay in here.

pub mod bindings;
mod convert;
mod host;
mod roles;
mod settings;
pub mod state;

pub(crate) use host::log;
pub use roles::{AsDetector, AsParser, AsSink, AsValidator, Component, Role};

/// Checks the role natively, and exports it where the target is WebAssembly: symbols like
/// `tapline:module/parser@0.1.0#parse` are of no use to a native test.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($module:ty, $role:ident, $adapter:ident, $interface:ident, $export:ident) => {
        const _: fn() = || {
            fn has_role<M: $crate::$role>() {}
            has_role::<$module>();
        };

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, clippy::all)]
        const _: () = {
            struct Exported;
            impl $crate::export::Component for Exported {
                type Role = $crate::export::$adapter<$module>;
                const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
            }
            $crate::export::bindings::module::export_module_interface!(
                Exported with_types_in $crate::export::bindings::module
            );
            $crate::export::bindings::$interface::$export!(
                Exported with_types_in $crate::export::bindings::$interface
            );
        };
    };
}

/// Makes the crate a validator module; once per crate. The module's version is the crate's.
#[macro_export]
macro_rules! export_validator {
    ($module:ty) => {
        $crate::__export!($module, Validator, AsValidator, validator, export_validator_interface);
    };
}

/// Makes the crate a parser module; once per crate. The module's version is the crate's.
#[macro_export]
macro_rules! export_parser {
    ($module:ty) => {
        $crate::__export!($module, Parser, AsParser, parser, export_parser_interface);
    };
}

/// Makes the crate a detector module; once per crate. The module's version is the crate's.
#[macro_export]
macro_rules! export_detector {
    ($module:ty) => {
        $crate::__export!($module, Detector, AsDetector, detector, export_detector_interface);
    };
}

/// Makes the crate a sink module; once per crate. The module's version is the crate's.
#[macro_export]
macro_rules! export_sink {
    ($module:ty) => {
        $crate::__export!($module, Sink, AsSink, sink, export_sink_interface);
    };
}
