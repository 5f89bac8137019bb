//! `tapline explain` without a running Tapline: at which rule a topic ends, and where it stands.

use std::process::Stdio;

use tapline_tests::{Machine, Setup, Tapline};
use tokio::io::AsyncWriteExt;

const SITE: &str = "format = 1
[broker.main]
url = \"mqtt://127.0.0.1\"
[endpoint.odoo]
url = \"http://127.0.0.1\"
";

/// Every rule at which a message can end stands on a line of its own.
const PIPELINE: &str = "format = 1
name = \"hall\"
[[source]]
name = \"meters\"
broker = \"main\"
devices = true
topics = [\"open/{device}/#\", \"loose/#\"]
except = [\"open/test/#\"]
[[validate]]
name = \"shape\"
schema = \"schemas/object.json\"
topics = [\"+/+/events/rpc\"]
[[parse]]
name = \"shelly\"
module = \"shelly\"
parser_types = [\"shelly_pm\"]
topics = [\"open/#\"]
[[detect]]
name = \"session\"
module = \"session\"
take = [\"reading:power_w\"]
labels = { line = \"1\" }
[[sink]]
name = \"odoo\"
module = \"odoo\"
endpoint = \"odoo\"
take = [\"event:session_*\"]
";

const DEVICES: &str = "[[device]]
device_id = \"press-01\"
machine_name = \"Press\"
mqtt_topic = \"hall/press-01/events/rpc\"
parser_type = \"shelly_pm\"
labels = { line = \"1\" }
[[device]]
device_id = \"saw-02\"
machine_name = \"Saw\"
mqtt_topic = \"hall/saw-02/events/rpc\"
parser_type = \"shelly_pm\"
channel = \"switch:1\"
labels = { line = \"2\" }
[[device]]
device_id = \"oven-03\"
machine_name = \"Oven\"
mqtt_topic = \"hall/oven-03/events/rpc\"
parser_type = \"ovens\"
";

fn site() -> Tapline {
    Setup::new()
        .site("tapline.toml", SITE)
        .site("pipelines/hall.toml", PIPELINE)
        .site("schemas/object.json", "{\"type\": \"object\"}")
        .site("devices/hall.toml", DEVICES)
        .prepare()
}

async fn explain(tapline: &Tapline, topic: &str, payload: Option<&[u8]>) -> (Option<i32>, String) {
    let mut arguments = vec!["explain", topic, "--site", "site", "--pipeline", "hall"];
    if payload.is_some() {
        arguments.extend(["--payload", "-"]);
    }
    let mut command = tapline.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be run");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that reads no payload may be gone already.
    let _gone = stdin.write_all(payload.unwrap_or_default()).await;
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), text)
}

#[tokio::test]
async fn a_topic_is_followed_to_the_sink_with_the_lines_that_let_it_through() {
    let (code, text) = explain(&site(), "hall/press-01/events/rpc", None).await;
    assert_eq!(
        text,
        "hall/press-01/events/rpc

pipeline hall   [pipelines/hall.toml]
  yes   source `meters` of broker `main` takes it for its devices   [pipelines/hall.toml:6]
  yes   it is the mqtt_topic of device `press-01`   [devices/hall.toml:4]
  maybe validator `shape` looks at the payload first   [pipelines/hall.toml:10]
  yes   parser `shelly` (module `shelly`) reads it, by the parser_type `shelly_pm` of `press-01`   [pipelines/hall.toml:14]
  maybe detector `session` takes `reading:power_w`   [pipelines/hall.toml:21]
  maybe sink `odoo` takes `event:session_*`   [pipelines/hall.toml:27]

It reaches hall/odoo.
"
    );
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn the_first_no_is_named_with_file_and_line() {
    let tapline = site();
    let press = Machine::new("press-01").report(0.0, 40.0);
    let cases: [(&str, Option<&[u8]>, &str); 13] = [
        (
            "hall/nobody/at/all",
            None,
            "NO    source `meters` of broker `main` does not take it: it takes the topics of its 2 \
             devices and `open/{device}/#`, `loose/#`   [pipelines/hall.toml:4]",
        ),
        (
            "hall/press-02/events/rpc",
            None,
            "device `press-01` has mqtt_topic `hall/press-01/events/rpc`, which differs in one \
             level, the 2nd: `press-01` there, `press-02` here   [devices/hall.toml:4]",
        ),
        (
            "Hall/press-01/events/rpc",
            None,
            "which differs in upper and lower case alone   [devices/hall.toml:4]",
        ),
        (
            "open/test/x",
            None,
            "NO    source `meters` leaves it out by `except`: `open/test/#`   [pipelines/hall.toml:8]",
        ),
        (
            "hall/oven-03/events/rpc",
            None,
            "NO    device `oven-03` has this topic, but no parse stage here reads its parser_type \
             `ovens`; they read `shelly_pm`   [devices/hall.toml:18]",
        ),
        (
            "loose/x",
            None,
            "NO    it belongs to no registered device, and no parse stage has a filter for it \
             (`unmatched`)   [pipelines/hall.toml:4]",
        ),
        (
            "open/lathe/events/rpc",
            None,
            "maybe source `meters`: a device that is not registered is only reported: see \
             `tapline devices --unknown`",
        ),
        (
            "open/lathe/events/rpc",
            Some(&press),
            "NO    device `lathe` is not registered, and source `meters` only reports such \
             (`unknown-device`): see `tapline devices --unknown`",
        ),
        (
            "hall/saw-02/events/rpc",
            None,
            "NO    detector `session` takes only devices with the labels `line = 1`; `saw-02` has \
             `line = 2`   [pipelines/hall.toml:22]",
        ),
        (
            "hall/saw-02/events/rpc",
            Some(&press),
            "NO    channel `switch:0` is not that of device `saw-02`, which is `switch:1`   \
             [devices/hall.toml:12]",
        ),
        (
            "hall/press-01/events/rpc",
            Some(b"[1]"),
            "NO    validator `shape` refuses it: ``: [1] is not of type \"object\" (`schema`)   \
             [pipelines/hall.toml:10]",
        ),
        ("hall/press-01/events/rpc", Some(b"{}"), "NO    parser `shelly` "),
        (
            "hall/press-01/online",
            Some(b"true"),
            "NO    detector `session` takes `reading:power_w`, and this is a reading of `online`   \
             [pipelines/hall.toml:21]",
        ),
    ];
    for (topic, payload, expected) in cases {
        let (code, text) = explain(&tapline, topic, payload).await;
        assert!(text.contains(expected), "{topic}: expected\n{expected}\nin\n{text}");
        assert_eq!(code, Some(1), "{topic}: {text}");
    }
}

#[tokio::test]
async fn a_payload_is_really_run_and_what_stages_emit_is_shown() {
    let press = Machine::new("press-01");
    let report = press.report(0.0, 40.0);
    let (code, text) = explain(&site(), "hall/press-01/events/rpc", Some(&report)).await;
    assert_eq!(code, Some(0), "{text}");
    for words in [
        "yes   validator `shape` accepts it   [pipelines/hall.toml:10]",
        "yes   parser `shelly` emits, for `press-01`:",
        "\"measurements\":{\"power_w\":40.0}",
        "yes   detector `session` takes it and says nothing yet (tried with a fresh state, not \
         that of the running one)   [pipelines/hall.toml:19]",
        "maybe sink `odoo` takes `event:session_*` when a detector says such   \
         [pipelines/hall.toml:27]",
        "It reaches hall/odoo.",
    ] {
        assert!(text.contains(words), "expected\n{words}\nin\n{text}");
    }
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_is_refused_in_words() {
    let tapline = site();
    let (code, text) = explain(&tapline, "hall/+/events/rpc", None).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("`hall/+/events/rpc` is not the topic of a message"), "{text}");
    let output =
        tapline.output(&["explain", "hall/x", "--site", "site", "--pipeline", "hall2"]).await;
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("no pipeline `hall2` can run; those that can: "), "{words}");
}
