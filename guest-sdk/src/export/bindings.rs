//! The code that wit-bindgen writes from `wit/`.
//!
//! The worlds of `wit/` all export `module` and differ in one more interface. Each
//! interface is generated here once, in a world of its own, and a module exports two of
//! them: wit-component joins what they say, and the result is the world in `wit/`. Worlds
//! as a whole would give four copies of `module`, whose macros clash in one crate.
#![allow(unsafe_code, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    inline: r#"
        package tapline:sdk;
        world imports {
            import tapline:module/types@0.1.0;
            import tapline:host/log@0.1.0;
        }
    "#,
    path: "../wit",
    generate_all,
    generate_unused_types: true,
    runtime_path: "wit_bindgen::rt",
});

macro_rules! interface {
    ($name:ident, $inline:literal, $export:literal $(, $with:tt)?) => {
        pub mod $name {
            wit_bindgen::generate!({
                inline: $inline,
                path: "../wit",
                $( with: $with, )?
                generate_all,
                pub_export_macro: true,
                export_macro_name: $export,
                runtime_path: "wit_bindgen::rt",
            });
        }
    };
}

interface!(
    module,
    "package tapline:sdk; world any-role { export tapline:module/module@0.1.0; }",
    "export_module_interface"
);
interface!(
    validator,
    "package tapline:sdk; world validator-role { export tapline:module/validator@0.1.0; }",
    "export_validator_interface",
    { "tapline:module/types@0.1.0": crate::export::bindings::tapline::module::types }
);
interface!(
    parser,
    "package tapline:sdk; world parser-role { export tapline:module/parser@0.1.0; }",
    "export_parser_interface",
    { "tapline:module/types@0.1.0": crate::export::bindings::tapline::module::types }
);
interface!(
    detector,
    "package tapline:sdk; world detector-role { export tapline:module/detector@0.1.0; }",
    "export_detector_interface",
    { "tapline:module/types@0.1.0": crate::export::bindings::tapline::module::types }
);
interface!(
    sink,
    "package tapline:sdk; world sink-role { export tapline:module/sink@0.1.0; }",
    "export_sink_interface",
    { "tapline:module/types@0.1.0": crate::export::bindings::tapline::module::types }
);
