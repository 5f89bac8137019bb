use super::*;
use crate::prelude::*;
use wit_detector::Guest as _;
use wit_module::Guest as _;
use wit_parser::Guest as _;

crate::settings! {
    /// How much.
    struct Settings {
        /// What a number is multiplied with.
        #[schemars(range(min = 1.0))]
        factor: f64 = 1.0,
    }
}

struct Times(f64);

impl Parser for Times {
    type Settings = Settings;
    const NAME: &'static str = "times";
    const SUMMARY: &'static str = "Multiplies";
    const QUANTITIES: &'static [OwnQuantity] = &[OwnQuantity {
        quantity: Quantity::own(32768),
        name: "spindle_load_pct",
        unit: "%",
        kind: quantity::Kind::Gauge,
        meaning: "load of the spindle",
    }];

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.factor == 13.0 {
            Err("13 is unlucky".to_owned())
        } else {
            Ok(Self(settings.factor))
        }
    }

    fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
        let number = message.json::<f64>()?;
        Ok(vec![Reading::channel("").power_w(number * self.0).into()])
    }

    fn companions(&self, topic_filter: &str) -> Companions {
        Companions { also: vec![format!("{topic_filter}/{}", self.0)], ..Companions::default() }
    }
}

struct TimesModule;

impl Component for TimesModule {
    type Role = AsParser<Times>;
    const VERSION: &'static str = "1.2.3";
}

fn input(settings: u32, payload: &str) -> wit_parser::Input {
    let properties = wit::Properties {
        payload_is_text: None,
        message_expiry: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        subscription_identifiers: Vec::new(),
        user: Vec::new(),
    };
    let message = wit::Message {
        source: "test".to_owned(),
        topic: "t".to_owned(),
        payload: payload.into(),
        received_at: 1,
        qos: 1,
        retained: false,
        device: None,
        properties,
    };
    wit_parser::Input { settings, message }
}

#[test]
fn describes_the_module_and_its_settings() {
    let description = TimesModule::describe();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("times", "1.2.3"));
    assert_eq!(description.quantities[0].kind, "gauge");
    let schema: serde_json::Value = serde_json::from_str(&description.settings_schema).unwrap();
    assert_eq!(
        schema,
        serde_json::json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Settings",
            "description": "How much.",
            "type": "object",
            "additionalProperties": false,
            "properties": { "factor": {
                "description": "What a number is multiplied with.",
                "type": "number",
                "format": "double",
                "minimum": 1.0,
                "default": 1.0,
            } },
        })
    );
}

#[test]
fn each_input_of_a_batch_has_its_own_settings_and_outcome() {
    TimesModule::configure(1, "{}".to_owned()).unwrap();
    TimesModule::configure(2, r#"{"factor": 3}"#.to_owned()).unwrap();
    let outcomes = TimesModule::parse(vec![input(1, "2"), input(2, "nan"), input(2, "2")]);
    let watts = |index: usize| match outcomes[index].as_deref() {
        Ok([wit::Item::Reading(reading)]) => reading.measurements[0].value,
        other => panic!("{other:?}"),
    };
    assert_eq!((watts(0), watts(2)), (2.0, 6.0));
    assert_eq!(outcomes[1].as_ref().unwrap_err().code, "not-json");
    assert_eq!(TimesModule::companions_of(2, "t".to_owned()).also, ["t/3"]);
}

#[test]
fn settings_are_replaced_under_their_number_and_kept_where_new_ones_are_refused() {
    let also = || TimesModule::companions_of(7, "t".to_owned()).also;
    TimesModule::configure(7, r#"{"factor": 2}"#.to_owned()).unwrap();
    TimesModule::configure(7, r#"{"factor": 4}"#.to_owned()).unwrap();
    assert_eq!(
        TimesModule::configure(7, r#"{"factor": 13}"#.to_owned()).unwrap_err(),
        "13 is unlucky"
    );
    let unknown = TimesModule::configure(7, r#"{"faktor": 5}"#.to_owned()).unwrap_err();
    assert!(unknown.starts_with("unknown field `faktor`"), "{unknown}");
    assert_eq!(also(), ["t/4"]);
}

#[test]
#[should_panic(expected = "the host uses settings 7 without having configured them")]
fn forgotten_settings_are_gone() {
    TimesModule::configure(7, "{}".to_owned()).unwrap();
    TimesModule::forget(7);
    TimesModule::parse(vec![input(7, "1")]);
}

struct Count;

impl Detector for Count {
    type Settings = NoSettings;
    type State = u32;
    const NAME: &'static str = "count";
    const SUMMARY: &'static str = "Counts its steps";
    const STATE_VERSION: u32 = 2;

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn step(&self, step: Step<'_, u32>) -> Result<Next<u32>, Rejection> {
        Ok(Next::keep(step.state.unwrap_or(0) + 1).wake_at(step.at + 5).ask())
    }

    fn migrate(from: u32, bytes: &[u8]) -> Result<u32, String> {
        match (from, bytes) {
            (1, &[count]) => Ok(count.into()),
            _ => Err(format!("no version {from}")),
        }
    }
}

struct CountModule;

impl Component for CountModule {
    type Role = AsDetector<Count>;
    const VERSION: &'static str = "0.0.0";
}

#[test]
fn state_goes_out_as_bytes_and_comes_in_again() {
    CountModule::configure(0, "{}".to_owned()).unwrap();
    let step = |state: Option<Vec<u8>>| {
        let input = wit_detector::Input::Timer;
        let key = "k".to_owned();
        let keyed = wit_detector::Keyed { settings: 0, key, at: 1, retained: false, state, input };
        CountModule::detect(vec![keyed]).remove(0)
    };
    let first = step(None).unwrap();
    assert_eq!((first.wake_at, first.ask), (Some(6), true));
    let second = step(first.state).unwrap();
    assert_eq!(second.state, step(Some(vec![1])).unwrap().state);
    let refused = step(Some(vec![1, 2, 3])).unwrap_err();
    assert_eq!(refused.code, "state-unreadable");
    assert_eq!(refused.detail, "3 bytes of state: the last 2 belong to nothing");
    assert_eq!(CountModule::describe().state_version, 2);
}

#[test]
fn state_of_an_older_version_is_migrated_or_refused() {
    assert_eq!(CountModule::migrate(1, vec![200]), Ok(vec![0xc8, 0x01]));
    assert_eq!(CountModule::migrate(9, vec![]), Err("no version 9".to_owned()));
}
