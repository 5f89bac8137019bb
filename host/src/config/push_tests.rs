use super::*;

fn document(mqtt: &str) -> String {
    format!(
        r#"{{{mqtt} "devices": [{{"device_id": "a", "machine_name": "CNC Mill (Workshop)",
        "mqtt_topic": "shellypmminig3-48f6eeb73a1c/status/pm1:0", "parser_type": "shelly_pm",
        "labels": {{"company": "acme"}},
        "session_config": {{"standby_threshold_w": 5.0, "start_debounce_s": 3.0}}}}],
        "timestamp": "2026-02-12T19:40:18.456789", "version": "1.0"}}"#
    )
}

fn parse(text: &str) -> Pushed {
    match Pushed::parse("POST /config", text, Format::Json) {
        Ok(pushed) => pushed,
        Err(problems) => panic!("{problems:#?}"),
    }
}

#[test]
fn a_document_comes_back_as_it_was_sent_but_for_the_password() {
    let text = document(r#""mqtt": {"broker": "b", "port": 1883, "password": "pw"},"#);
    let pushed = parse(&text);
    let mut expected: Value = serde_json::from_str(&text).unwrap();
    expected["mqtt"]["password"] = HIDDEN.into();
    assert_eq!(pushed.document().value(), expected);
    assert_eq!(pushed.password().map(Secret::reveal), Some("pw"));
    let device = &pushed.devices()[0];
    assert_eq!(device.fields["session_config"]["standby_threshold_w"], 5.0);
    assert_eq!(device.labels["company"], "acme");
    assert_eq!(
        &*device.place("/session_config/start_debounce_s").path,
        "devices[0].session_config.start_debounce_s"
    );
}

#[test]
fn what_is_not_said_stays_as_it_was() {
    let first = parse(&document(r#""mqtt": {"broker": "b", "password": "pw"},"#));
    let unchanged = parse(&document("")).after(Some(&first));
    assert_eq!(unchanged.mqtt(), first.mqtt());
    assert!(unchanged.document().value().get("mqtt").is_none());
    for said in [r#""mqtt": {"broker": "c", "password": "***"},"#, r#""mqtt": {"broker": "c"},"#] {
        let kept = parse(&document(said)).after(Some(&first));
        assert_eq!(kept.password().map(Secret::reveal), Some("pw"));
        assert_eq!(kept.mqtt().unwrap().broker.as_deref(), Some("c"));
    }
    let cleared = parse(&document(r#""mqtt": {"password": ""},"#)).after(Some(&first));
    assert!(cleared.password().is_none());
}

#[test]
fn a_stored_document_holds_no_password_and_comes_back_whole() {
    let first = parse(&document(r#""mqtt": {"broker": "b", "password": "pw", "port": 1},"#));
    let pushed = parse(&document("")).after(Some(&first));
    let stored = pushed.stored();
    assert!(!stored.to_string().contains("pw"));
    let back = Pushed::restore(&stored, pushed.password().cloned()).unwrap();
    assert_eq!(back.mqtt(), pushed.mqtt());
    assert_eq!(back.document(), pushed.document());
    assert!(back.devices()[0].is_same(&pushed.devices()[0]));
}

#[test]
fn yaml_and_toml_say_the_same_as_json() {
    let yaml = "mqtt:\n  broker: b\n  port: 1883\ndevices:\n- device_id: a\n  machine_name: A\n  \
                mqtt_topic: t/a\n  parser_type: shelly_pm\n  session_config:\n    stop_debounce_s: 15.0\n";
    let toml = "[mqtt]\nbroker = \"b\"\nport = 1883\n[[devices]]\ndevice_id = \"a\"\n\
                machine_name = \"A\"\nmqtt_topic = \"t/a\"\nparser_type = \"shelly_pm\"\n\
                session_config.stop_debounce_s = 15.0\n";
    let yaml = Pushed::parse("c.yaml", yaml, Format::Yaml).unwrap();
    let toml = Pushed::parse("c.toml", toml, Format::Toml).unwrap();
    assert_eq!(yaml.document(), toml.document());
}

#[test]
fn times_come_with_and_without_zone() {
    let at = parse_time("2026-02-12T19:40:18Z").unwrap();
    assert_eq!(parse_time("2026-02-12T19:40:18"), Some(at));
    assert_eq!(parse_time("2026-02-12T20:40:18+01:00"), Some(at));
    assert_eq!(parse_time("2026-02-12T19:40:18.456789"), Some(at.plus_ms(456)));
    assert_eq!(parse_time("yesterday"), None);
    assert_eq!(parse_time("1969-12-31T00:00:00Z"), None);
}

#[test]
fn a_push_of_very_many_wrong_devices_is_refused_quickly() {
    let one = r#"{"device_id": 5, "machine_name": "A", "mqtt_topic": "a/#/b", "x": 1}"#;
    let devices = vec![one; 20_000].join(",");
    let text = format!(r#"{{"devices": [{devices}]}}"#);
    let problems = Pushed::parse("POST /config", &text, Format::Json).unwrap_err();
    assert!((100..=200).contains(&problems.len()), "{}", problems.len());
}
