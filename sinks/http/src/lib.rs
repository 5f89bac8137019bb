//! Calls any HTTP endpoint: method, path, headers and body by template, one request for each
//! delivery, and the status of the answer decides.
//!
//! `request` writes, `conclude` judges. The base URL, credentials, retries and dead letters are
//! the host's. Invariant: nothing counts as delivered without a status of success.

mod conclude;
mod request;
mod settings;

pub use settings::{Method, Settings};
use tapline_sdk::prelude::*;

use request::Form;

/// The sink: see the crate's documentation.
#[derive(Debug)]
pub struct Http {
    form: Form,
}

impl Sink for Http {
    type Settings = Settings;
    const NAME: &'static str = "http";
    const SUMMARY: &'static str =
        "Sends each delivery as a request of its own to any HTTP endpoint.";

    fn new(settings: Settings) -> Result<Self, String> {
        Form::new(&settings).map(|form| Self { form })
    }

    fn encode(&self, _: Option<&[u8]>, deliveries: &[Delivery]) -> Encoding {
        let mut encoding = Encoding::default();
        for (index, delivery) in (0..).zip(deliveries) {
            match self.form.request(delivery) {
                Ok(request) => encoding.exchange([index], request),
                Err(why) => encoding.refuse(index, why),
            }
        }
        encoding
    }

    fn conclude(&self, _: Option<&[u8]>, sent: &[Delivery], response: &Response) -> Conclusion {
        conclude::outcome(self.form.path(), self.form.is_same_for_all(), sent.len(), response)
            .into()
    }
}

tapline_sdk::export_sink!(Http);
