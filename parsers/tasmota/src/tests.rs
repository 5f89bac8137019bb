//! Messages that the samples lack, and such as no device sends.

use tapline_sdk::prelude::*;
use tapline_sdk::testing::{item_json, message};

use crate::Tasmota;

/// What comes out, in short: `channel name=value …`.
fn short(topic: &str, payload: impl AsRef<[u8]>) -> String {
    match Tasmota.parse(&message(topic, payload)) {
        Err(why) => why.to_string(),
        Ok(items) => {
            let items = items.iter().map(|item| match item {
                Item::Reading(reading) => {
                    reading.measurements.iter().fold(reading.channel.clone(), |text, measured| {
                        format!("{text} {:?}={}", measured.quantity, measured.value)
                    })
                }
                other => item_json(other).to_string(),
            });
            items.collect::<Vec<_>>().join("; ")
        }
    }
}

fn check(topic: &str, payload: &str, expected: &str) {
    assert_eq!(short(topic, payload), expected, "{topic} {payload}");
}

#[test]
fn a_total_comes_before_its_phases_and_a_common_value_belongs_to_each() {
    check(
        "tele/meter/SENSOR",
        r#"{"ENERGY":{"Power":[100,-20],"Voltage":230,"Total":1.5,"ExportActive":[0.1,nan]}}"#,
        "energy:total energy_wh=1500; \
         energy:0 power_w=100 voltage_v=230 energy_exported_wh=100; \
         energy:1 power_w=-20 voltage_v=230",
    );
    check("tele/meter/SENSOR", r#"{"ENERGY":{"Power":[7]}}"#, "energy:0 power_w=7");
    check("tele/meter/SENSOR", r#"{"ENERGY":{"Power":7,"Power":8}}"#, "energy:0 power_w=8");
    check("tele/meter/SENSOR", r#"{"ENERGY":{"Power":null,"Voltage":[]}}"#, "");
    check("tele/meter/SENSOR", r#"{"ENERGY":null}"#, "");
}

#[test]
fn a_bare_nan_is_absent_and_costs_nothing_else() {
    check(
        "tele/x/SENSOR",
        r#"{"nan":{"Id":"nan, -nan","Temperature":-nan,"Humidity":50},"B":{"Temperature":NaN}}"#,
        "nan humidity_pct=50",
    );
    check(
        "tele/x/SENSOR",
        r#"{"A":{"Temperature":nan},"#,
        "not-json: EOF while parsing a value at line 1 column 25",
    );
}

#[test]
fn power_is_watts_in_a_meter_and_a_switch_in_a_zigbee_device() {
    check(
        "tele/bridge/SENSOR",
        r#"{"ZbReceived":{"0x4773":{"Power":true,"BatteryVoltage":2.9,"Illuminance":9000,
            "LinkQuality":52},"Lamp":{"Power":0}}}"#,
        "ZbReceived.0x4773 output_on=1 battery_v=2.9 link_quality=52; ZbReceived.Lamp output_on=0",
    );
    check("tele/bridge/RESULT", r#"{"ZbReceived":{"a":{"Power":1}}}"#, "ZbReceived.a output_on=1");
    check("tele/bridge/SENSOR", r#"{"ZbInfo":{"0xECD0":{"Power":1,"Temperature":3}}}"#, "");
    check("tele/bridge/SENSOR", r#"{"0x4773":{"Device":"0x4773","Power":1}}"#, "");
    check(
        "tele/bridge/SENSOR",
        r#"{"LwReceived":{"n":{"Battery":3.0,"Humidity":4}}}"#,
        "LwReceived.n humidity_pct=4",
    );
}

#[test]
fn a_sensor_is_named_by_its_place() {
    check(
        "tele/x/SENSOR",
        r#"{"ANALOG":{"Temperature1":1,"Temperature2":2,"Humidity2":40,"CTEnergy":{"Power":9}},
            "SCD30":{"CarbonDioxide":512,"eCO2":400}}"#,
        "ANALOG:0 temperature_c=1; ANALOG:1 temperature_c=2 humidity_pct=40; \
         ctenergy:0 power_w=9; SCD30 co2_ppm=512",
    );
    check(
        "tele/x/SENSOR",
        r#"{"A":{"Pressure":30,"PressureUnit":"inHg"},"B":{"Pressure":1000},"PressureUnit":"hPa"}"#,
        "A pressure_hpa=1015.9167; B pressure_hpa=1000",
    );
    check("tele/x/SENSOR", r#"{"A":{"Temperature":294},"TempUnit":"K"}"#, "");
}

#[test]
fn a_status_is_read_by_its_parts() {
    check(
        "stat/x/STATUS0",
        r#"{"Status":{"Power":1},"StatusSNS":{"ENERGY":{"Power":5}},
            "StatusSTS":{"POWER2":"ON","Wifi":{"RSSI":80,"Signal":-60}},"StatusNET":null}"#,
        "energy:0 power_w=5; relay:1 output_on=1; device wifi_quality_pct=80 rssi_dbm=-60",
    );
    check(
        "stat/x/STATUS8",
        r#"{"StatusPWR":{"Total":1.25,"Power":3}}"#,
        "energy:0 energy_wh=1250 power_w=3",
    );
    check("stat/x/STATUS8", r#"{"StatusSNS":"off"}"#, "");
}

#[test]
fn switches_relays_and_shutters_count_from_0() {
    check(
        "stat/x/RESULT",
        r#"{"Switch2":{"Action":"ON"},"Switch3":{"Action":"TOGGLE"}}"#,
        "switch:1 input_on=1",
    );
    check(
        "stat/x/RESULT",
        r#"{"Shutter1":{"Position":56,"Target":60}}"#,
        "shutter:0 position_pct=56",
    );
    check("stat/x/POWER3", r#"{"POWER3":"off"}"#, "relay:2 output_on=0");
    check("stat/x/POWER", "on", "relay:0 output_on=1");
    check("stat/x/POWER", "HOLD", "");
    check("stat/x/POWER", "", "");
    check("stat/x/POWER", "Ein\n?", "unknown-state: `Ein\\n?` is neither ON nor OFF");
    check("tele/x/LWT", "Connected", "unknown-state: `Connected` is neither Online nor Offline");
}

#[test]
fn a_limit_that_is_crossed_is_an_event() {
    let event = r#"{"channel":"energy:0","data":{"active":true},"kind":"power_high"}"#;
    check("tele/x/POWER_HIGH", "ON", event);
    check("tele/x/MARGINS", r#"{"MARGINS":{"PowerDelta":5,"PowerHigh":"ON"}}"#, event);
    check("tele/x/MARGINS", r#"{"PowerHigh":1}"#, "");
}

#[test]
fn hostile_payloads_are_refused_or_read_and_never_panic() {
    let refused = |payload: &[u8]| {
        let outcome = short("tele/x/SENSOR", payload);
        assert!(outcome.starts_with("not-json: "), "{outcome}");
        assert!(outcome.contains(" at line "), "{outcome}");
    };
    refused(b"PWR: Voltage 228 V");
    refused(b"{\"A\":{\"Temperature\":1e999}}");
    refused(b"{\"A\xff\":{}}");
    refused("{\"A\":".repeat(200).as_bytes());
    refused("[".repeat(100_000).as_bytes());
    refused(b"{} {}");
    let shape = "wrong-shape: the payload is JSON, but no object";
    check("tele/x/SENSOR", "[1,2]", shape);
    check("tele/x/SENSOR", "null", shape);
    let deep = format!("{}1{}", r#"{"A":"#.repeat(100), "}".repeat(100));
    check("tele/x/SENSOR", &deep, "");
    check(
        "tele/x/SENSOR",
        r#"{"ENERGY":{"Total":1e308,"Voltage":230,"Period":-0.0}}"#,
        "energy:0 voltage_v=230 energy_period_wh=-0",
    );
    check("tele/x/SENSOR", r#"{"Time":1e300,"A":{"Temperature":1}}"#, "A temperature_c=1");
    let long = "x".repeat(1_000_000);
    assert!(short("stat/x/POWER", &long).len() < 200);
    let phases = format!(r#"{{"ENERGY":{{"Power":[{}0]}}}}"#, "0,".repeat(100_000));
    assert_eq!(short("tele/x/SENSOR", &phases).split("; ").count(), 32);
    assert_eq!(short("stat/x/POWER", b"\xff"), "not-utf8: byte 0xff at offset 0 is not UTF-8");
    assert_eq!(short("tele/x/SENSOR", b"\xef\xbb\xbf{}").split(':').next(), Some("not-json"));
}

#[test]
fn what_is_not_known_is_of_no_interest() {
    for topic in ["tele/x/UPTIME", "stat/x/DEEPSLEEP", "a/b", "", "tele/x/INFO1", "cmnd/x/SENSOR"] {
        check(topic, "no JSON", "");
    }
}
