use tapline_sdk::prelude::*;
use tapline_sdk::testing::{item_json, message};

use super::ASK_ID;
use crate::Shelly;

/// Items as JSON, or the code of the refusal.
fn parsed(topic: &str, payload: impl AsRef<[u8]>) -> String {
    let shown = match Shelly.parse(&message(topic, payload)) {
        Ok(items) => items.iter().map(|item| item_json(item).to_string()).collect(),
        Err(refused) => vec![refused.code],
    };
    shown.join(" ")
}

fn check_status(component: &str, payload: &str, expected: &str) {
    let got = parsed(&format!("a/b/status/{component}"), payload);
    assert_eq!(got, expected, "{component}: {payload}");
}

fn check_frame(payload: &str, expected: &str) {
    assert_eq!(parsed("a/b/events/rpc", payload), expected, "{payload}");
}

#[test]
fn what_is_not_there_or_null_is_not_measured() {
    check_status(
        "switch:0",
        r#"{"id":0,"output":true}"#,
        r#"{"channel":"switch:0","output_on":1.0}"#,
    );
    check_status("switch:0", r#"{"id":0,"apower":null,"aenergy":{"total":null}}"#, "");
    check_status("pm1:0", r#"{"aenergy":null,"temperature":{"tC":null}}"#, "");
    check_status("cover:0", r#"{"current_pos":null,"state":"stopped"}"#, "");
    check_status("temperature:100", r#"{"id":100,"tC":null,"tF":null}"#, "");
    check_status("input:0", r#"{"id":0,"state":null}"#, "");
    check_status("switch:0", "null", "");
    check_status("switch:0", "{}", "");
}

#[test]
fn components_of_every_kind_are_known() {
    for (component, payload, expected) in [
        (
            "em1data:1",
            r#"{"total_act_energy":5.5,"total_act_ret_energy":1}"#,
            r#"{"channel":"em1:1","energy_exported_wh":1.0,"energy_wh":5.5}"#,
        ),
        (
            "em:0",
            r#"{"n_current":0.5,"total_act_power":-3,"c_act_power":-3}"#,
            r#"{"channel":"em:0.total","power_w":-3.0} {"channel":"em:0.c","power_w":-3.0} {"channel":"em:0.n","current_a":0.5}"#,
        ),
        (
            "light:0",
            r#"{"output":false,"brightness":30,"apower":2}"#,
            r#"{"channel":"light:0","output_on":0.0,"power_w":2.0}"#,
        ),
        ("rgbw:0", r#"{"output":true}"#, r#"{"channel":"rgbw:0","output_on":1.0}"#),
        (
            "voltmeter:100",
            r#"{"voltage":4.321,"xvoltage":86}"#,
            r#"{"channel":"voltmeter:100","voltage_v":4.321}"#,
        ),
        (
            "devicepower:0",
            r#"{"battery":{"V":5.1,"percent":81},"external":{"present":false}}"#,
            r#"{"32768":0.0,"battery_pct":81.0,"battery_v":5.1,"channel":"devicepower:0"}"#,
        ),
        (
            "blutrv:200",
            r#"{"battery":100,"current_C":21,"target_C":19,"rssi":-74,"pos":0}"#,
            r#"{"battery_pct":100.0,"channel":"blutrv:200","rssi_dbm":-74.0,"target_temperature_c":19.0,"temperature_c":21.0}"#,
        ),
        ("flood:0", r#"{"alarm":true,"mute":false}"#, r#"{"channel":"flood:0","input_on":1.0}"#),
        ("wifi", r#"{"sta_ip":null,"rssi":-60}"#, r#"{"channel":"device","rssi_dbm":-60.0}"#),
    ] {
        check_status(component, payload, expected);
    }
}

#[test]
fn unknown_components_are_left_aside_whatever_they_hold() {
    for component in [
        "script:1",
        "ble",
        "sys",
        "cloud",
        "switch",
        "switch:",
        "switch:x",
        "switch:+1",
        "switch:-1",
        "switch:99999999999",
        "em",
        "",
        "#",
        "pm1:0:0",
    ] {
        check_status(component, "\u{0}{[", "");
    }
}

#[test]
fn a_condition_is_an_event_beside_the_reading() {
    check_status(
        "switch:0",
        r#"{"output":false,"errors":["overpower"]}"#,
        r#"{"channel":"switch:0","output_on":0.0} {"channel":"switch:0","data":{"error":"overpower"},"kind":"device_error"}"#,
    );
}

#[test]
fn a_delta_gives_only_what_changed_at_the_devices_time() {
    check_frame(
        r#"{"method":"NotifyStatus","params":{"ts":1700000000.25,"switch:0":{"apower":1}}}"#,
        r#"{"at":1700000000250,"channel":"switch:0","power_w":1.0}"#,
    );
    // Whatever the order of the keys, and without a time.
    check_frame(
        r#"{"params":{"pm1:0":{"apower":-1.5},"ts":null},"dst":"a/b/events","method":"NotifyStatus"}"#,
        r#"{"channel":"pm1:0","power_w":-1.5}"#,
    );
    check_frame(
        r#"{"params":{"pm1:0":{"apower":2},"ts":1700000000},"method":"NotifyStatus"}"#,
        r#"{"at":1700000000000,"channel":"pm1:0","power_w":2.0}"#,
    );
}

#[test]
fn a_time_that_is_none_is_left_out() {
    for ts in ["-1", "1e18", "null"] {
        check_frame(
            &format!(
                r#"{{"method":"NotifyStatus","params":{{"ts":{ts},"pm1:0":{{"apower":1}}}}}}"#
            ),
            r#"{"channel":"pm1:0","power_w":1.0}"#,
        );
    }
}

#[test]
fn a_full_status_does_not_say_that_the_device_stays_reachable() {
    let params = r#"{"ts":5,"mqtt":{"connected":true},"input:0":{"state":true}}"#;
    let reading = r#"{"at":5000,"channel":"input:0","input_on":1.0}"#;
    check_frame(&format!(r#"{{"method":"NotifyFullStatus","params":{params}}}"#), reading);
    let online = r#"{"at":5000,"channel":"device","online":1.0}"#;
    check_frame(
        &format!(r#"{{"method":"NotifyStatus","params":{params}}}"#),
        &format!("{reading} {online}"),
    );
}

#[test]
fn events_carry_their_own_time_and_what_a_script_adds() {
    check_frame(
        r#"{"method":"NotifyEvent","params":{"ts":10.0,"events":[
            {"component":"input:1","id":1,"event":"long_push","ts":9.5},
            {"component":"script:2","id":2,"event":"part_done","data":{"n":[1]}}]}}"#,
        r#"{"at":9500,"channel":"input:1","data":{"event":"long_push"},"kind":"device_event"} {"at":10000,"channel":"script:2","data":{"data":{"n":[1]},"event":"part_done"},"kind":"device_event"}"#,
    );
}

#[test]
fn the_answer_to_our_question_is_a_full_status() {
    let result =
        r#"{"mqtt":{"connected":true},"pm1:0":{"apower":7.5},"sys":{"unixtime":1700000000}}"#;
    check_frame(
        &format!(r#"{{"id":{ASK_ID},"src":"shelly","dst":"a/b/events","result":{result}}}"#),
        r#"{"at":1700000000000,"channel":"pm1:0","power_w":7.5}"#,
    );
    for id in ["1", r#""4251""#, "null", "-4251", "4251.5", "[]"] {
        check_frame(&format!(r#"{{"id":{id},"result":{result}}}"#), "");
    }
    check_frame(&format!(r#"{{"id":{ASK_ID},"result":null}}"#), "");
    check_frame(&format!(r#"{{"id":{ASK_ID},"error":{{"code":401,"message":"no"}}}}"#), "");
}

#[test]
fn frames_of_other_kinds_are_left_aside() {
    check_frame(r#"{"id":1,"src":"user","method":"Switch.Set","params":{"id":0,"on":true}}"#, "");
    check_frame(r#"{"method":"NotifyStatus"}"#, "");
    check_frame("{}", "");
    assert_eq!(parsed("user_1/rpc", "not read at all"), "");
    assert_eq!(parsed("a/b/command", "status_update"), "");
    assert_eq!(parsed("a/b/command/switch:0", "on"), "");
}

#[test]
fn hostile_payloads_are_refused() {
    let deep = "[".repeat(100_000);
    let nested = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    let long_key = format!(r#"{{"{}":1}}"#, "k".repeat(1_000_000));
    let huge = format!(r#"{{"apower":1{}}}"#, "0".repeat(400));
    for (payload, code) in [
        ("{", "not-json"),
        ("{\"apower\":nan}", "not-json"),
        ("{\"apower\":1e999}", "not-json"),
        (&huge, "not-json"),
        ("{\"apower\":1}{", "not-json"),
        ("{\"apower\":\"1\"}", "wrong-shape"),
        ("{\"apower\":1,\"apower\":2}", "wrong-shape"),
        ("[1]", "wrong-shape"),
        ("7", "wrong-shape"),
        ("true", "wrong-shape"),
        (&deep, "wrong-shape"),
        (&long_key, ""),
    ] {
        let shown: String = payload.chars().take(40).collect();
        assert_eq!(parsed("x/status/switch:0", payload), code, "{shown}");
    }
    for payload in [&deep, &nested] {
        for frame in [
            payload.to_string(),
            format!(r#"{{"method":"NotifyStatus","params":{payload}"#),
            format!(r#"{{"method":"NotifyStatus","params":{{"switch:0":{payload}"#),
            format!(r#"{{"method":"NotifyEvent","params":{{"events":{payload}"#),
            format!(r#"{{"method":"NotifyEvent","params":{{"events":[{{"data":{payload}"#),
            format!(r#"{{"id":{payload}"#),
        ] {
            let _outcome = Shelly.parse(&message("x/events/rpc", frame));
        }
    }
    for topic in ["x/status/switch:0", "x/events/rpc", "x/online"] {
        let refused = Shelly.parse(&message(topic, b"\xff\xfe{")).unwrap_err();
        assert!(["not-json", "not-utf8"].contains(&&*refused.code), "{refused}");
    }
}

#[test]
fn a_refusal_names_the_place() {
    let refused = Shelly.parse(&message("x/status/pm1:0", "{\"apower\":\n nan}")).unwrap_err();
    assert_eq!(refused.code, "not-json");
    assert!(refused.detail.contains("line 2 column 3"), "{refused}");
    let refused = Shelly.parse(&message("x/status/pm1:0", "{\"apower\":\n \"x\"}")).unwrap_err();
    assert_eq!(refused.code, "wrong-shape");
    assert!(refused.detail.contains("line 2"), "{refused}");
}
