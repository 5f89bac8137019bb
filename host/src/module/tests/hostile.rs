//! Everything that a module has tried against the host so far, in one list: each attack is
//! contained, costs one message or its own load at most, and is explained to its author.
//!
//! `cargo test -p tapline --lib module::tests::hostile -- --nocapture` prints the list.

use std::time::Duration;

use super::handmade::Handmade;
use super::*;
use crate::message::{Item, Reading};

/// What an attack may cost.
#[derive(Clone, Copy, Debug)]
enum Cost {
    /// The module is not taken.
    Load,
    /// The call and its instance; a fresh one goes on.
    Call(&'static str),
    /// Its own message, refused with this code; its neighbours in the batch go on.
    Message(&'static str),
    /// Nothing: what is too much is left out.
    Nothing,
}
use Cost::{Call, Load, Message as OneMessage, Nothing};

/// Attacks by a payload: the word, what it may cost, what its author reads. On a machine that
/// is busy elsewhere the wall clock's backstop may come first.
const BY_PAYLOAD: &[(&str, Cost, &str)] = &[
    ("loop", Call("module-timeout"), "more than 50 ms of processor time|did not end within"),
    ("memory", Call("module-memory"), "more than the 16777216 allowed"),
    ("recursion", Call("module-trap"), "call stack is full"),
    ("panic the tool broke", Call("module-trap"), "the tool broke"),
    ("silent", Call("module-trap"), "without a word"),
    ("outside", Call("module-trap"), "out of bounds memory access"),
    ("output 8", Call("module-output"), "more than the 4194304 bytes"),
    ("items 100000", Call("module-output"), "more than the 4194304 bytes"),
    ("line 8", Call("module-output"), "more than the 4194304 bytes"),
    ("not-utf8", Call("module-trap"), "a text that it gave back is no UTF-8"),
    ("nan", OneMessage("not-finite"), "power_w of NaN"),
    ("quantity", OneMessage("unknown-quantity"), "40000"),
    ("data", OneMessage("bad-event"), "no JSON object"),
    ("broken-data", OneMessage("bad-event"), "no JSON: EOF"),
    ("deep-data", OneMessage("bad-event"), "recursion limit"),
    ("huge-number", OneMessage("bad-event"), "number out of range"),
    ("kind 100000", OneMessage("bad-event"), "the kind has 100000 bytes, more than 256"),
    ("channel 100000", OneMessage("bad-reading"), "the channel has 100000 bytes"),
    ("device 100000", OneMessage("bad-reading"), "the device has 100000 bytes"),
    ("publish", OneMessage("bad-publication"), "an empty topic"),
    ("publish a/+/b", OneMessage("bad-publication"), "a wildcard"),
    ("publish #", OneMessage("bad-publication"), "a wildcard"),
    ("long-topic 70000", OneMessage("bad-publication"), "a topic of 70000 bytes"),
    ("qos", OneMessage("bad-publication"), "QoS 7"),
    ("code 100000", OneMessage("cccccccc"), "dddddddd"),
    ("log 2000", Nothing, ""),
    ("long-ago", Nothing, ""),
    ("far-ahead", Nothing, ""),
];

fn generous() -> Limits {
    // The output is reached before the time, on a slow machine too.
    Limits { memory: 256 << 20, time: Duration::from_secs(5), ..Limits::default() }
}

fn parse(instance: &mut Instance, payloads: &[&str]) -> Result<Vec<Outcome>, CallError> {
    let messages: Vec<_> = payloads.iter().map(|payload| message("t", payload)).collect();
    instance.parse(&inputs(&messages))
}

type Outcome = Result<Vec<Item>, crate::message::Rejection>;

fn is_good(outcome: &Outcome) -> bool {
    matches!(outcome.as_deref(), Ok([Item::Reading(Reading { measurements, .. })]) if measurements.len() == 1)
}

/// What the author reads if the attack is contained as it should, else what went wrong.
fn by_payload(payload: &str, cost: Cost) -> Result<String, String> {
    let limits = match cost {
        Call("module-timeout" | "module-memory") => Limits::default(),
        _ => generous(),
    };
    let mut instance = instance_within("hostile", limits);
    let outcomes = parse(&mut instance, &["1", payload, "2"]);
    let fresh = parse(&mut super::instance("hostile"), &["1"]);
    if !fresh.is_ok_and(|outcomes| is_good(&outcomes[0])) {
        return Err("a fresh instance does not go on".into());
    }
    match (cost, outcomes) {
        (Call(code), Err(error)) if error.code() == code && instance.is_dead() => {
            Ok(error.to_string())
        }
        (OneMessage(code), Ok(outcomes)) if is_good(&outcomes[0]) && is_good(&outcomes[2]) => {
            match &outcomes[1] {
                Err(refused) if refused.code.starts_with(code) && refused.code.len() <= 80 => {
                    Ok(refused.detail.clone())
                }
                other => Err(format!("{other:?}")),
            }
        }
        (Nothing, Ok(outcomes)) if is_good(&outcomes[0]) && is_good(&outcomes[2]) => {
            Ok(String::new())
        }
        (_, other) => Err(format!("{other:?}")),
    }
}

/// Modules that attack whoever loads them, and what their author reads.
fn at_load() -> Vec<(&'static str, Handmade, &'static str)> {
    let schema = |text: String| Handmade { schema: text.into_bytes(), ..Handmade::default() };
    let fields = |text: &str| Handmade { fields: text.into(), ..Handmade::default() };
    let forever = "(loop $again (br $again))";
    let doubling = |n: u32| {
        let next = format!(r##"{{"$ref":"#/$defs/a{}"}}"##, n + 1);
        format!(r#""a{n}":{{"allOf":[{next},{next}]}}"#)
    };
    let doubled: Vec<_> = (0..60).map(doubling).collect();
    vec![
        (
            "describe loops",
            Handmade { describe: forever.into(), ..Handmade::default() },
            "more than 2000 ms of processor time|did not end within",
        ),
        (
            "the start function loops",
            fields(&format!("(start $start) (func $start {forever})")),
            "more than 2000 ms of processor time|did not end within",
        ),
        (
            "the start function traps",
            fields("(start $start) (func $start unreachable)"),
            "stopped itself",
        ),
        (
            "describe takes all memory",
            Handmade {
                describe: "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 64)) \
                           (i32.const -1)))) unreachable"
                    .into(),
                ..Handmade::default()
            },
            "bytes of memory, more than the 268435456 allowed",
        ),
        (
            "the memory is huge from the start",
            Handmade { memory: 65_536, ..Handmade::default() },
            "4294967296 bytes of memory, more than the 268435456 allowed",
        ),
        ("a table of a million", fields("(table 1000000 funcref)"), "table"),
        ("17 memories", fields(&"(memory 1)".repeat(17)), "memor"),
        (
            "describe calls itself without end",
            Handmade {
                describe: "(call $deeper)".into(),
                fields: "(func $deeper (call $deeper))".into(),
                ..Handmade::default()
            },
            "call stack is full",
        ),
        (
            "a schema of 100 MB",
            Handmade { memory: 2_000, schema_length: Some(100_000_000), ..Handmade::default() },
            "more than the 1048576 bytes",
        ),
        (
            "a schema that lies outside the memory",
            Handmade { schema_length: Some(u32::MAX), ..Handmade::default() },
            "does not lie in its memory",
        ),
        (
            "a million quantities",
            Handmade { quantities: 1_000_000, ..Handmade::default() },
            "out of bounds",
        ),
        (
            "a name that is no UTF-8",
            Handmade { name: vec![0xff, 0xfe], ..Handmade::default() },
            "no UTF-8",
        ),
        (
            "a name that is a path",
            Handmade { name: b"../../etc/passwd".into(), ..Handmade::default() },
            "is not made of 1 to 64 small letters",
        ),
        (
            "a name of 10,000 letters",
            Handmade { name: vec![b'a'; 10_000], ..Handmade::default() },
            "a…` is not made of 1 to 64 small letters",
        ),
        ("a schema that is no JSON", schema("{".into()), "no JSON"),
        ("a schema that is no schema", schema(r#"{"type":"tabel"}"#.into()), "no JSON Schema"),
        ("a schema of 50,000 brackets", schema("[".repeat(50_000)), "no JSON"),
        ("a schema that is itself", schema(r##"{"$ref":"#"}"##.into()), "without end"),
        (
            "a schema that doubles 60 times",
            schema(format!(r#"{{"$defs":{{{},"a60":{{}}}}}}"#, doubled.join(","))),
            "more than 10000 rules",
        ),
        (
            "a schema from elsewhere",
            schema(r#"{"$ref":"http://localhost/schema.json"}"#.into()),
            "only references within it",
        ),
        (
            "a schema that reads a file",
            schema(r#"{"$ref":"file:///etc/passwd"}"#.into()),
            "only references within it",
        ),
        (
            "a pattern that backtracks for ever",
            schema(r#"{"properties":{"a":{"pattern":"^(a+)+\\1$"}}}"#.into()),
            "no JSON Schema",
        ),
        (
            "a pattern that is huge once compiled",
            schema(r#"{"properties":{"a":{"pattern":"((a{1000}){1000}){1000}"}}}"#.into()),
            "no JSON Schema",
        ),
    ]
}

#[test]
fn every_attack_is_contained_and_explained() {
    let mut list = Vec::new();
    for &(payload, cost, words) in BY_PAYLOAD {
        list.push((format!("message `{payload}`"), cost, words, by_payload(payload, cost)));
    }
    for (name, module, words) in at_load() {
        let said = match ENGINE.load(&module.build()) {
            Err(error) => Ok(crate::telemetry::words(&error)),
            Ok(module) => Err(format!("it was loaded: {module:?}")),
        };
        list.push((format!("load: {name}"), Load, words, said));
    }
    let mut contained = 0;
    for (name, cost, words, said) in &list {
        let has = |said: &String| words.split('|').any(|words| said.contains(words));
        let is_contained = said.as_ref().is_ok_and(has);
        contained += usize::from(is_contained);
        let mark = if is_contained { "contained" } else { "FAILED   " };
        let said: String = match said {
            Ok(said) | Err(said) => said.chars().take(160).collect(),
        };
        println!("{mark} {name:45} {cost:?}: {said}");
    }
    println!("{} attacks tried, {contained} contained", list.len());
    assert_eq!(contained, list.len(), "see the list above");
}

/// The host reads what the handmade module says: it is the attacks that fail, not the build.
#[test]
fn a_handmade_module_without_an_attack_loads() {
    let module = ENGINE.load(&Handmade { quantities: 1, ..Handmade::default() }.build()).unwrap();
    assert_eq!((module.name(), module.role()), ("handmade", Role::Parser));
    assert_eq!(module.quantities()[0].name, "own_w");
}

#[test]
fn names_no_more_companions_than_a_device_can_have() {
    let mut instance = instance("hostile");
    assert_eq!(instance.companions_of(SETTINGS, "a/b").unwrap().also, ["a/b/online"]);
    let error = instance.companions_of(SETTINGS, "flood").unwrap_err();
    assert!(error.to_string().contains("10000 companion topics of one device"), "{error}");
    assert!(instance.is_dead());
}

/// A wrong pointer in an answer is not followed.
#[test]
fn reads_no_answer_that_lies_outside_the_memory() {
    let answer = |parse: &str| Handmade { parse: parse.into(), ..Handmade::default() }.build();
    for (body, expected) in [
        ("(i32.const -16)", "out of bounds"),
        ("(i32.const 3)", "align"),
        // A list of four billion outcomes.
        (
            "(i32.store (i32.const 262000) (i32.const 8)) \
             (i32.store (i32.const 262004) (i32.const -1)) (i32.const 262000)",
            "out of bounds",
        ),
    ] {
        let module = ENGINE.load(&answer(body)).unwrap();
        let mut instance = module.instantiate(Limits::default(), log_context()).unwrap();
        instance.configure(SETTINGS, "{}").unwrap().unwrap();
        let error = parse(&mut instance, &["1"]).unwrap_err();
        assert!(error.to_string().contains(expected), "{body}: {error}");
        assert!(instance.is_dead());
    }
}
