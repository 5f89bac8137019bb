//! A parser whose results do not line up with its inputs: the SDK cannot express that, so
//! this one is written against the contract itself, as a module in another language is.
//!
//! The payload of a batch's first message says how many outcomes to answer with: `less`
//! one too few, `more` one too many, `none` not a single one; else as many as inputs.

// Generated code; see `wit-bindgen`.
#![allow(unsafe_code, unreachable_pub)]

wit_bindgen::generate!({
    world: "parser-module",
    path: "../../../wit",
    generate_all,
});

use exports::tapline::module::module::{Description, Guest as Module};
use exports::tapline::module::parser::{Companions, Guest as Parser, Input, Item, Rejection};

struct HostileLength;

impl Module for HostileLength {
    fn describe() -> Description {
        Description {
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

impl Parser for HostileLength {
    fn parse(batch: Vec<Input>) -> Vec<Result<Vec<Item>, Rejection>> {
        let inputs = batch.len();
        let outcomes = match batch.first().map(|input| input.message.payload.as_slice()) {
            Some(b"less") => inputs.saturating_sub(1),
            Some(b"more") => inputs + 1,
            Some(b"none") => 0,
            _ => inputs,
        };
        (0..outcomes).map(|_| Ok(Vec::new())).collect()
    }

    fn companions_of(_: u32, _: String) -> Companions {
        Companions { also: Vec::new(), channel: None, ask: None }
    }
}

#[cfg(target_family = "wasm")]
export!(HostileLength);
