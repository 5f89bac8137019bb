//! The languages that modules are written in: the same template, built in each, gives the same.
//!
//! Compilers for Python and JavaScript come from their package registries. Where those cannot
//! be reached the test fails and says so; `TAPLINE_TEST_LANGUAGES=rust` leaves them out.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tapline::message::{Item, Message, MessageId, Properties, Rejection, Timestamp};
use tapline::module::{
    Engine, EngineOptions, Input, Instance, LogContext, Module, Role, SettingsId,
};
use tapline_tests::{Setup, Tapline, compiled_modules, shipped_modules};

const SETTINGS: SettingsId = SettingsId(1);

/// What a meter says, and what it never should: each with its own refusal.
const PAYLOADS: [&[u8]; 34] = [
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
];

/// The languages to test, by their names.
fn languages() -> Vec<&'static str> {
    let wanted = std::env::var("TAPLINE_TEST_LANGUAGES");
    let all = ["rust", "python", "javascript"];
    all.into_iter()
        .filter(|name| wanted.as_ref().map_or(true, |wanted| wanted.contains(name)))
        .collect()
}

/// Writes a project of the template and builds it, as its author would; its component's bytes.
fn built(tapline: &Tapline, role: &str, language: &str) -> Vec<u8> {
    let name = format!("{role}-in-{language}");
    let target = shipped_modules().parent().expect("it lies in the target directory").to_owned();
    let run = |arguments: &[&str]| {
        let given = tapline.command(arguments);
        let mut command = Command::new(given.as_std().get_program());
        command
            .args(given.as_std().get_args())
            .current_dir(tapline.dir())
            .envs(std::env::vars().filter(|(name, _)| !name.starts_with("CARGO_PKG_")))
            // Compilers are fetched once, not for each test.
            .env("TAPLINE_CACHE", target.join("tools"))
            .env("CARGO_TARGET_DIR", target.join("tmp/projects"));
        let output = command.output().expect("the program can be run");
        assert!(
            output.status.success(),
            "{arguments:?}: {}\nTAPLINE_TEST_LANGUAGES=rust leaves the other languages out",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run(&["new", role, &name, "--language", language]);
    run(&["build", &name]);
    let file = tapline.dir().join(&name).join("dist").join(format!("{name}.wasm"));
    std::fs::read(file).expect("the build wrote it")
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
    let refused = instance.configure(SETTINGS, "{}").expect("it takes settings");
    assert_eq!(refused, Ok(()), "the defaults are good");
    instance
}

fn messages(payloads: &[&'static [u8]]) -> Vec<Message> {
    payloads
        .iter()
        .map(|payload| Message {
            id: MessageId { source: "main".into(), epoch: 1, sequence: 1 },
            topic: "meters/7/data".into(),
            payload: bytes::Bytes::from_static(payload),
            received_at: Timestamp(1_770_000_000_000),
            qos: 1,
            retained: false,
            properties: Arc::new(Properties::default()),
        })
        .collect()
}

fn inputs(messages: &[Message]) -> Vec<Input<'_>> {
    messages.iter().map(|message| Input { settings: SETTINGS, message, device: None }).collect()
}

#[test]
fn a_parser_gives_the_same_in_every_language_and_imports_nothing_but_the_log() {
    let tapline = Setup::new().prepare();
    let engine = engine(Some(&compiled_modules()));
    let messages = messages(&PAYLOADS);
    let mut first: Option<Vec<Result<Vec<Item>, Rejection>>> = None;
    for language in languages() {
        // Whatever imports more than the log is not loaded.
        let module = engine
            .load(&built(&tapline, "parser", language))
            .unwrap_or_else(|error| panic!("{language}: {error}: {:?}", error.remedy()));
        assert_eq!(module.role(), Role::Parser);
        assert_eq!(module.name(), format!("parser-in-{language}"));
        let schema = module.settings_schema();
        assert_eq!(schema["properties"]["ratio"]["default"], 1.0, "{language}");
        assert_eq!(module.check_settings(&serde_json::json!({ "ration": 1 })).len(), 1);
        let outcomes = instance(&module).parse(&inputs(&messages)).expect("nothing breaks it");
        assert!(outcomes[0].is_ok() && outcomes[8].is_err(), "{language}: {outcomes:?}");
        let Some(first) = &first else {
            first = Some(outcomes);
            continue;
        };
        for ((message, outcome), expected) in messages.iter().zip(&outcomes).zip(first) {
            assert_eq!(outcome, expected, "{language}: {:?}", message.payload);
        }
    }
}

/// What a language costs; nothing is asserted but that it works.
#[test]
#[ignore = "measures; cargo xtask bench"]
fn cost() {
    const BATCHES: u32 = 200;
    let tapline = Setup::new().prepare();
    for language in languages() {
        let begun = Instant::now();
        let bytes = built(&tapline, "parser", language);
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
    }
}
