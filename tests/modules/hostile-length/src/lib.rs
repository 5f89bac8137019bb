//! A parser whose results do not line up with its inputs: the SDK cannot express that, so
//! this one is written against the generated bindings, as a module in another language is.
//!
//! The payload of a batch's first message says how many outcomes to answer with: `less`
//! one too few, `more` one too many, `none` not a single one; else as many as inputs.

use tapline_sdk::export::bindings::module::exports::tapline::module::module;
use tapline_sdk::export::bindings::parser::exports::tapline::module::parser;

/// The parser.
pub struct HostileLength;

impl module::Guest for HostileLength {
    fn describe() -> module::Description {
        module::Description {
            name: String::from("hostile-length"),
            version: String::from(env!("CARGO_PKG_VERSION")),
            summary: String::from("Answers with too few outcomes or too many"),
            settings_schema: String::from(r#"{"type":"object","additionalProperties":false}"#),
            quantities: Vec::new(),
            state_version: 0,
        }
    }

    fn configure(_: u32, _: String) -> Result<(), String> {
        Ok(())
    }

    fn forget(_: u32) {}
}

impl parser::Guest for HostileLength {
    fn parse(batch: Vec<parser::Input>) -> Vec<Result<Vec<parser::Item>, parser::Rejection>> {
        let inputs = batch.len();
        let outcomes = match batch.first().map(|input| input.message.payload.as_slice()) {
            Some(b"less") => inputs.saturating_sub(1),
            Some(b"more") => inputs + 1,
            Some(b"none") => 0,
            _ => inputs,
        };
        (0..outcomes).map(|_| Ok(Vec::new())).collect()
    }

    fn companions_of(_: u32, _: String) -> parser::Companions {
        parser::Companions { also: Vec::new(), channel: None, ask: None }
    }
}

#[cfg(target_family = "wasm")]
#[allow(unsafe_code)]
const _: () = {
    use tapline_sdk::export::bindings;

    bindings::module::export_module_interface!(HostileLength with_types_in bindings::module);
    bindings::parser::export_parser_interface!(HostileLength with_types_in bindings::parser);
};
