//! The languages that modules are written in: the same template, built in each, gives the same.
//!
//! Compilers for Python and JavaScript come from their package registries. Where those cannot
//! be reached the test fails and says so; `TAPLINE_TEST_LANGUAGES=rust` leaves them out.

mod detectors;
mod sinks;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tapline::message::{DeviceId, Message, MessageId, Properties, Timestamp};
use tapline::module::{
    Engine, EngineOptions, Input, Instance, Limits, LogContext, Module, Role, SettingsId,
};
use tapline_tests::{Setup, Tapline, compiled_modules, project};

const SETTINGS: SettingsId = SettingsId(1);

/// What a meter says, and what it never should: each with its own refusal.
const PAYLOADS: [&[u8]; 50] = [
    br#"{"power": 125.5, "voltage": 230.1, "energy_kwh": 1.25, "on": true}"#,
    br#"{"power": 100, "on": false, "other": [1, {"a": null}, "\u00e4\ud83d\ude00"]}"#,
    br#"{"power": null, "voltage": -0.0}"#,
    br#"{"power": 0.1, "energy_kwh": 3}"#,
    br#"{"power": 1e3}"#,
    br#"{"firmware": "1.4.2"}"#,
    b"{}",
    b" \t\r\n{ } \n",
    br#"{"power": "much"}"#,
    br#"{"voltage": 230, "power": true}"#,
    b"{\"voltage\": 230,\n \"on\": 1}",
    br#"{"on": 1.5}"#,
    br#"{"on": 1e20}"#,
    br#"{"power": [1]}"#,
    br#"{"power": {"w": 1}}"#,
    b"null",
    b"17",
    b"\"it's\"",
    b"",
    b"   ",
    br#"{"power": "#,
    br#"{"power": nan}"#,
    br#"{"power": 1e999}"#,
    br#"{"power": 01}"#,
    br#"{"power": -}"#,
    br#"{"power": 1.}"#,
    br#"{"power": 1,}"#,
    br#"{"power": 1 "voltage": 2}"#,
    br#"{"power" 1}"#,
    br#"{power: 1}"#,
    br#"{"power": 1} x"#,
    br#"{"power": "\ud800"}"#,
    b"{\"power\": \"a\nb\"}",
    b"{\"power\": \"\xff\"}",
    // Numbers whose last bit depends on how they are read.
    br#"{"power": 0.1234567890123456789, "voltage": 230.10000000000002}"#,
    br#"{"power": 3.141592653589793238462643, "voltage": 1.00000005960464477539062501}"#,
    br#"{"power": 9007199254740993, "voltage": 18446744073709551615}"#,
    br#"{"power": 123456789012345678901234567890, "voltage": -9223372036854775809}"#,
    br#"{"power": 8.41e21, "voltage": 6.02214076e23, "energy_kwh": 2.2250738585072011e-308}"#,
    br#"{"power": 1.7976931348623157e308, "voltage": 4.9e-324, "energy_kwh": 1e-400}"#,
    br#"{"power": 1.7976931348623159e308}"#,
    br#"{"power": 31.245270191439438, "voltage": 61.98354370159265}"#,
    br#"{"power": 0.000001234567890123456789e6, "energy_kwh": 0.3}"#,
    br#"{"power": 100000000000000000000000000000000000000000000000000000000000000000000000000000000}"#,
    // Other shapes at the top.
    br#"[]"#,
    br#"[[1]]"#,
    b"true",
    b"\xef\xbb\xbf{}",
    br#"{"power": 1}{"power": 1}"#,
    br#"{"on": "yes", "power": "no"}"#,
];

/// What says its type, and what does not.
const TYPES: [&[u8]; 42] = [
    br#"{"type": "status", "power": 12.5}"#,
    br#"{"power": 12.5, "type": "status"}"#,
    br#"{"type": ""}"#,
    br#"{"type": " "}"#,
    br#"{"type": null}"#,
    br#"{"type": 1}"#,
    br#"{"type": 1.5}"#,
    br#"{"type": 1e300}"#,
    br#"{"type": -1.5e-7}"#,
    br#"{"type": 1e16}"#,
    br#"{"type": 1e15}"#,
    br#"{"type": -1.25e-5}"#,
    br#"{"type": 0.00001}"#,
    br#"{"type": 0.000009}"#,
    br#"{"type": 1e21}"#,
    br#"{"type": -0}"#,
    br#"{"type": 0.0001}"#,
    br#"{"type": 12345678901234567890123}"#,
    br#"{"type": 31.245270191439438}"#,
    br#"{"type": true}"#,
    br#"{"type": ["status"]}"#,
    br#"{"type": {"of": "status"}}"#,
    br#"{"power": 12.5}"#,
    b"{}",
    b"null",
    b"17",
    b"status",
    b"\"status\"",
    b"",
    br#"{"type": "\u00e4\ud83d\ude00 \"\\\/\b\f\n\r\t"}"#,
    "{\"type\": \"Stra\u{df}e \u{1f600}\"}".as_bytes(),
    br#"{"type": "\ud800"}"#,
    br#"{"type": "\udc00\ud800"}"#,
    br#"{"type": "\u12"}"#,
    br#"{"type": "\u12g4"}"#,
    br#"{"type": "\q"}"#,
    br#"{"type": "status"#,
    b"{\"type\": \"a\nb\"}",
    b"{\"type\": \"a\x00b\"}",
    b"{\"type\": \"a\xffb\"}",
    b"{\"type\": \"\xe2\x82\"}",
    br#"{"type": "status", "nested": [[[{"a": [1, 2, {"b": null}]}]]]}"#,
];

/// Tests that compile whole interpreters take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The languages to test, by their names.
fn languages() -> Vec<&'static str> {
    let wanted = std::env::var("TAPLINE_TEST_LANGUAGES");
    let all = ["rust", "python", "javascript"];
    all.into_iter()
        .filter(|name| wanted.as_ref().map_or(true, |wanted| wanted.contains(name)))
        .collect()
}

/// Whether a language is not to be tested on this machine.
pub(super) fn is_left_out(language: &str) -> bool {
    !languages().contains(&language)
}

/// What is built in each language.
#[derive(Clone, Copy, PartialEq)]
enum Code {
    /// What an author begins with.
    Template,
    /// `tests/languages`: uses all that a module of its role can.
    Whole,
}

/// Writes a project and builds it, as its author would; its component's bytes.
async fn built(tapline: &Tapline, code: Code, role: &str, language: &str) -> Vec<u8> {
    // Of one name in all languages, because some words name the module.
    let name = if code == Code::Whole { format!("whole-{role}") } else { format!("same-{role}") };
    let folder = format!("{language}/{name}");
    tapline.types(&format!("tapline new {role} {folder} --language {language}")).await;
    let folder = tapline.dir().join(folder);
    if code == Code::Whole {
        let (extension, source) = match language {
            "rust" => ("rs", "src/lib.rs"),
            "python" => ("py", "src/module.py"),
            _ => ("js", "src/module.js"),
        };
        let from = project().join("tests/languages").join(role).with_extension(extension);
        std::fs::copy(from, folder.join(source)).expect("scratch is writable");
        // They are of the template.
        std::fs::remove_dir_all(folder.join("samples")).expect("scratch is writable");
    }
    let build = format!(
        "tapline build {language}/{name} || \
         {{ echo 'TAPLINE_TEST_LANGUAGES=rust leaves other languages out' >&2; exit 1; }}"
    );
    tapline.types(&build).await;
    std::fs::read(folder.join("dist").join(format!("{name}.wasm"))).expect("the build wrote it")
}

/// A module of a role in each language. Whatever imports more than the log is not loaded; and
/// the samples that an author begins with pass.
async fn in_every_language(code: Code, role: Role) -> Vec<(&'static str, Arc<Module>)> {
    let _turn = TURN.lock().await;
    let tapline = Setup::new().prepare();
    let engine = engine(Some(&compiled_modules()));
    let mut all = Vec::new();
    for language in languages() {
        let module = engine
            .load(&built(&tapline, code, role.name(), language).await)
            .unwrap_or_else(|error| panic!("{language}: {error}: {:?}", error.remedy()));
        assert_eq!(module.role(), role);
        if code == Code::Template {
            let tested = tapline.types(&format!("tapline test {language}/same-{role}")).await;
            assert!(tested.contains("ok      samples/"), "{language}: {tested}");
        }
        all.push((language, module));
    }
    all
}

/// What came out in one language is compared with the first.
struct Same<T>(Option<(&'static str, Vec<T>)>);

impl<T: PartialEq + Debug> Same<T> {
    fn take(&mut self, language: &'static str, found: Vec<T>, given: &[impl Debug]) {
        let Some((first, expected)) = &self.0 else {
            self.0 = Some((language, found));
            return;
        };
        assert_eq!(found.len(), expected.len());
        for ((found, expected), given) in found.iter().zip(expected).zip(given) {
            assert_eq!(found, expected, "{language}, not as {first}: {given:?}");
        }
    }
}

fn engine(cache: Option<&Path>) -> Engine {
    // An unoptimised compiler takes minutes for a whole interpreter.
    let options =
        EngineOptions { compile_time: Duration::from_secs(1200), ..EngineOptions::default() };
    Engine::new(cache.map(Path::to_owned), options).expect("it starts")
}

fn instance(module: &Arc<Module>) -> Instance {
    let context = LogContext::new(&"languages".into(), &"test".into());
    let mut limits = module.usual_limits();
    // Here it is what comes out that matters, and this machine may be slow.
    limits.time = Duration::from_secs(60);
    let mut instance = module.instantiate(limits, context).expect("it begins within its limits");
    set(&mut instance, SETTINGS, "{}");
    instance
}

fn set(instance: &mut Instance, id: SettingsId, settings: &str) {
    let refused = instance.configure(id, settings).expect("it takes settings");
    assert_eq!(refused, Ok(()), "{settings} are good");
}

fn message(payload: &[u8]) -> Message {
    Message {
        id: MessageId { source: "main".into(), epoch: 1, sequence: 1 },
        topic: "meters/7/data".into(),
        payload: bytes::Bytes::copy_from_slice(payload),
        received_at: Timestamp(1_770_000_000_000),
        qos: 1,
        retained: false,
        properties: Arc::new(Properties::default()),
    }
}

fn messages(payloads: &[&[u8]]) -> Vec<Message> {
    payloads.iter().map(|payload| message(payload)).collect()
}

fn inputs(messages: &[Message]) -> Vec<Input<'_>> {
    messages.iter().map(|message| Input { settings: SETTINGS, message, device: None }).collect()
}

#[tokio::test]
async fn a_parser_gives_the_same_in_every_language_and_imports_nothing_but_the_log() {
    let mut messages = messages(&PAYLOADS);
    messages.push(message(format!("{{\"power\": 1{}}}", "0".repeat(400)).as_bytes()));
    let deep = format!("{{\"x\": {}1{}}}", "[".repeat(200), "]".repeat(200));
    messages.push(message(deep.as_bytes()));
    let payloads: Vec<_> = messages.iter().map(|message| &message.payload).collect();
    let mut same = Same(None);
    for (language, module) in in_every_language(Code::Template, Role::Parser).await {
        let schema = module.settings_schema();
        assert_eq!(schema["properties"]["ratio"]["default"], 1.0, "{language}");
        assert_eq!(module.check_settings(&serde_json::json!({ "ration": 1 })).len(), 1);
        let outcomes = instance(&module).parse(&inputs(&messages)).expect("nothing breaks it");
        assert!(outcomes[0].is_ok() && outcomes[8].is_err(), "{language}: {outcomes:?}");
        same.take(language, outcomes, &payloads);
    }
}

#[tokio::test]
async fn all_that_a_parser_can_do_is_the_same_in_every_language() {
    let full = Properties {
        payload_is_text: Some(true),
        message_expiry: Some(7),
        content_type: Some("application/json".into()),
        response_topic: Some("a/b".into()),
        correlation_data: Some(vec![1, 2, 255]),
        subscription_identifiers: vec![1, 268_435_455],
        user: vec![("ä".into(), "1".into()), ("ä".into(), String::new())],
    };
    let mut messages =
        messages(&[b"t\xc3\xa4xt \"\\\x00", b"", b"refuse it-is", b"\xff", b"a\xc3"]);
    messages[1].properties = Arc::new(full);
    messages[1].retained = true;
    let device = DeviceId::from("Säge");
    let mut given = inputs(&messages);
    given[0].device = Some(&device);
    let (mut same, mut companions) = (Same(None), Same(None));
    for (language, module) in in_every_language(Code::Whole, Role::Parser).await {
        assert_eq!(module.quantities().len(), 1, "{language}");
        let mut parser = instance(&module);
        let refused =
            parser.configure(SettingsId(2), "{\"words\": []}").expect("nothing breaks it");
        assert_eq!(refused, Err("`words` are none".to_owned()), "{language}");
        let outcomes = parser.parse(&given).expect("nothing breaks it");
        let items: Vec<_> =
            outcomes.iter().map(|found| found.as_ref().map_or(0, Vec::len)).collect();
        assert_eq!(items, [6, 6, 0, 0, 0], "{language}: {outcomes:?}");
        same.take(language, outcomes, &messages);
        let found = parser.companions_of(SETTINGS, "meters/+/data").expect("nothing breaks it");
        companions.take(language, vec![found], &["meters/+/data"]);
    }
}

#[tokio::test]
async fn a_validator_gives_the_same_verdicts_in_every_language() {
    let messages = messages(&[&TYPES[..], &PAYLOADS[..]].concat());
    let payloads: Vec<_> = messages.iter().map(|message| &message.payload).collect();
    let (mut same, mut narrow) = (Same(None), Same(None));
    for (language, module) in in_every_language(Code::Template, Role::Validator).await {
        let mut validator = instance(&module);
        let outcomes = validator.validate(&inputs(&messages)).expect("nothing breaks it");
        assert!(outcomes[0].is_ok() && outcomes[2].is_err(), "{language}: {outcomes:?}");
        same.take(language, outcomes, &payloads);
        set(&mut validator, SETTINGS, "{\"max_bytes\": 16}");
        let outcomes = validator.validate(&inputs(&messages)).expect("nothing breaks it");
        assert!(outcomes[0].is_err(), "{language}: {outcomes:?}");
        narrow.take(language, outcomes, &payloads);
    }
}

/// What a language costs; nothing is asserted but that it works.
#[tokio::test]
#[ignore = "measures; cargo xtask bench"]
async fn cost() {
    const BATCHES: u32 = 200;
    let tapline = Setup::new().prepare();
    for language in languages() {
        let begun = Instant::now();
        let bytes = built(&tapline, Code::Template, "parser", language).await;
        let building = begun.elapsed();
        let cache = tapline.dir().join("compiled");
        let begun = Instant::now();
        engine(Some(&cache)).load(&bytes).expect("it is a module");
        let compiling = begun.elapsed();
        let begun = Instant::now();
        let module = engine(Some(&cache)).load(&bytes).expect("it is a module");
        let loading = begun.elapsed();
        let begun = Instant::now();
        for _ in 0..100 {
            instance(&module);
        }
        let instantiating = begun.elapsed() / 100;
        let messages = messages(&[PAYLOADS[0]; 256]);
        let batch = inputs(&messages);
        let mut parser = instance(&module);
        let begins_with = parser.memory();
        let (begun, mut replaced) = (Instant::now(), 0);
        for _ in 0..BATCHES {
            parser.parse(&batch).expect("it reads what it is for");
            // As a pipeline does.
            if parser.is_bloated() {
                (parser, replaced) = (instance(&module), replaced + 1);
            }
        }
        let each = begun.elapsed() / (BATCHES * 256);
        println!(
            "language: {language}: {} KiB, built in {building:.1?}, compiled in {compiling:.2?}, \
             loaded compiled in {loading:.1?}, instantiated and configured in {instantiating:.1?}, \
             begins with {} KiB of memory, {each:.2?} a message in batches of 256, instance \
             replaced {replaced} times in {BATCHES} batches",
            bytes.len() / 1024,
            begins_with / 1024,
        );
        // Whether memory levels off, where nobody replaces the instance.
        let context = LogContext::new(&"languages".into(), &"test".into());
        let limits = Limits { memory: 512 << 20, ..module.usual_limits() };
        let mut parser = module.instantiate(limits, context).expect("it begins");
        set(&mut parser, SETTINGS, "{}");
        let mut grown = Vec::new();
        for _ in 0..8 {
            for _ in 0..BATCHES {
                parser.parse(&batch).expect("it reads what it is for");
            }
            grown.push(parser.memory() / 1024);
        }
        println!("language: {language}: {grown:?} KiB after each {} messages", BATCHES * 256);
    }
}
