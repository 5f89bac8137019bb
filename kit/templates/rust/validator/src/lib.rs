//! Accepts or refuses messages before anything reads them.

use serde::Deserialize;
use tapline_sdk::prelude::*;

tapline_sdk::settings! {
    /// What a pipeline may set.
    pub struct Settings {
        /// Bytes that a payload may have.
        #[schemars(range(min = 1))]
        pub max_bytes: u32 = 4096,
    }
}

/// Every message has to say what it is; other fields are no matter here.
#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
}

struct MyModule(Settings);

impl Validator for MyModule {
    type Settings = Settings;
    const NAME: &'static str = "my-module";
    const SUMMARY: &'static str = "Refuses payloads that are too large or do not say what they are";

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn validate(&self, message: &Message) -> Result<(), Rejection> {
        let (bytes, most) = (message.payload.len(), self.0.max_bytes as usize);
        if bytes > most {
            // A stable word to count by, and a sentence with the value for a person.
            let detail = format!("the payload has {bytes} bytes, of {most} at most");
            return Err(Rejection::new("too-large", detail));
        }
        let Payload { kind } = message.json()?;
        if kind.is_empty() {
            return Err(Rejection::new("no-type", "`type` is empty"));
        }
        Ok(())
    }
}

tapline_sdk::export_validator!(MyModule);
