//! Speaks to another system: writes the requests that carry deliveries, and judges the answers.
//! The host sends them, with the endpoint's address and credentials, keeps what is not
//! delivered, and retries.

use tapline_sdk::prelude::*;
use tapline_sdk::serde_json::json;

tapline_sdk::settings! {
    /// What a pipeline may set.
    pub struct Settings {
        /// The path of the requests, below the endpoint's address.
        #[schemars(length(min = 1))]
        pub path: String = String::from("/events"),
    }
}

struct MyModule(Settings);

impl Sink for MyModule {
    type Settings = Settings;
    const NAME: &'static str = "my-module";
    const SUMMARY: &'static str = "Posts each event as JSON";

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn encode(&self, _: Option<&[u8]>, deliveries: &[Delivery]) -> Encoding {
        let mut encoding = Encoding::default();
        for (index, delivery) in (0..).zip(deliveries) {
            match &delivery.content {
                Content::Item(Item::Event(event)) => {
                    // The same delivery has the same id however often it is sent: the other
                    // side can tell a repeat by it.
                    let body = json!({ "id": delivery.id, "device": delivery.key, "kind": event.kind });
                    encoding.exchange([index], Request::post(self.0.path.clone()).json(&body));
                }
                _ => encoding.refuse(index, Rejection::new("no-event", "only events go out")),
            }
        }
        encoding
    }

    fn conclude(&self, _: Option<&[u8]>, sent: &[Delivery], response: &Response) -> Conclusion {
        match response.status {
            200..300 => Conclusion::verdicts(vec![Verdict::Delivered; sent.len()]),
            409 => Conclusion::verdicts(vec![Verdict::Duplicate; sent.len()]),
            401 | 403 => Conclusion::pause("the endpoint refuses the credentials"),
            // One of them is bad: they come again one by one, and the bad one is set aside.
            400 | 422 => Conclusion::split("refused", response.text()),
            // Where it is not sure, it is sent again.
            _ => Conclusion::retry_after_ms(0),
        }
    }
}

tapline_sdk::export_sink!(MyModule);
