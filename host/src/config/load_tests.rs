use super::*;
use crate::config::document::Format;
use crate::config::layers::Origin;
use crate::config::site::Transport;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn around<'a>(env: &'a Env, pushed: Option<&'a Pushed>) -> Around<'a> {
    let now = Timestamp(1_790_000_000_000);
    Around { env, pushed, generated_name: "tapline-4f2a", now }
}

fn push(mqtt: &str, device: &str) -> Pushed {
    let text = format!(
        r#"{{{mqtt} "devices": [{{"device_id": "{device}", "machine_name": "M",
        "mqtt_topic": "t/status/pm1:0", "parser_type": "shelly_pm"}}]}}"#
    );
    Pushed::parse("POST /config", &text, Format::Json).unwrap()
}

fn text(file: &str, text: &str) -> Text {
    Text { file: file.into(), text: text.into() }
}

fn said(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn starts_from_the_environment_alone() {
    let env = env(&[
        ("MQTT_BROKER", "broker"),
        ("MQTT_PASSWORD", "pw"),
        ("MQTT_CLIENT_ID", "iot_bridge"),
        ("ODOO_BASE_URL", "http://odoo:8069"),
        ("ODOO_API_KEY", "key"),
        ("BRIDGE_PORT", "9000"),
    ]);
    let checked = check(&Texts::default(), around(&env, None));
    assert!(checked.problems().is_empty(), "{:#?}", checked.problems());
    assert!(checked.warnings.is_empty(), "{:#?}", checked.warnings);
    let config = checked.config().unwrap();
    assert_eq!(config.site.name, "iot_bridge");
    let main = &config.site.brokers["main"];
    assert_eq!((main.host.as_str(), main.port, main.pushed), ("broker", 1883, true));
    assert_eq!(main.client_id, "iot_bridge");
    assert_eq!(main.password.as_ref().map(|p| p.reveal().to_owned()), Some("pw".to_owned()));
    assert_eq!(config.site.endpoints["odoo"].url.as_deref(), Some("http://odoo:8069"));
    assert_eq!(config.site.http.listen.port(), 9000);
    assert_eq!(&*config.pipelines[0].name, "workshop");
    assert_eq!(checked.origins.of("broker.main.host"), Origin::Environment("MQTT_BROKER"));
}

#[test]
fn runs_with_nothing_said_at_all() {
    let config = check(&Texts::default(), around(&Env::new(), None)).config().unwrap();
    assert_eq!(config.site.name, "tapline-4f2a");
    assert_eq!(config.site.brokers["main"].host, "localhost");
    assert_eq!(config.site.brokers["main"].client_id, "tapline-tapline-4f2a-main");
    assert_eq!(config.site.endpoints["odoo"].url, None);
    assert_eq!(config.pipelines.len(), 1);
}

#[test]
fn pushed_beats_file_beats_environment_field_by_field() {
    let env =
        env(&[("MQTT_BROKER", "from-env"), ("MQTT_USERNAME", "env-user"), ("MQTT_PORT", "1")]);
    let site =
        "[broker.main]\nurl = \"mqtt://from-file:1884\"\nkeepalive = \"30s\"\npushed = true\n";
    let texts = Texts { site: Some(site.into()), ..Texts::default() };
    let file = check(&texts, around(&env, None)).config().unwrap().site.brokers["main"].clone();
    assert_eq!((file.host.as_str(), file.port), ("from-file", 1884));
    assert_eq!(file.username.as_deref(), Some("env-user"));
    let pushed = push(r#""mqtt": {"broker": "from-push", "use_tls": true},"#, "a");
    let checked = check(&texts, around(&env, Some(&pushed)));
    let both = checked.config().unwrap().site.brokers["main"].clone();
    assert_eq!((both.host.as_str(), both.port), ("from-push", 1884));
    assert_eq!(both.transport, Transport::Tls);
    assert_eq!(both.keep_alive.as_secs(), 30);
    assert!(
        said(&checked.warnings)
            .iter()
            .any(|w| w.contains("hides this value of `broker.main.host`"))
    );
    assert_eq!(checked.origins.of("broker.main.host"), Origin::Pushed);
    assert_eq!(checked.origins.of("broker.main.username"), Origin::Environment("MQTT_USERNAME"));
}

#[test]
fn a_pushed_empty_user_clears_the_one_of_the_file() {
    let site =
        "[broker.main]\nurl = \"mqtt://b\"\nusername = \"u\"\npassword = \"p\"\npushed = true\n";
    let texts = Texts { site: Some(site.into()), ..Texts::default() };
    let pushed = push(r#""mqtt": {"username": "", "password": ""},"#, "a");
    let main = check(&texts, around(&Env::new(), Some(&pushed))).config().unwrap();
    assert_eq!(main.site.brokers["main"].username, None);
    assert_eq!(main.site.brokers["main"].password, None);
}

#[test]
fn one_bad_file_stops_only_itself() {
    let device = "[[device]]\ndevice_id = \"a\"\nmachine_name = \"A\"\nmqtt_topic = \"t/a\"\n\
                  parser_type = \"tasmota\"\n";
    let texts = Texts {
        pipelines: vec![text("pipelines/bad.toml", "nonsense = 1")],
        devices: vec![text("devices/bad.toml", "[[device]]"), text("devices/good.toml", device)],
        ..Texts::default()
    };
    let checked = check(&texts, around(&Env::new(), None));
    let config = checked.config().unwrap();
    assert_eq!(config.pipelines.len(), 1, "the shipped one runs");
    assert_eq!(config.devices.by_id.len(), 1);
    assert!(checked.pipelines[0].result.is_err() && checked.devices[0].result.is_err());
}

#[test]
fn a_device_has_one_owner() {
    let device = "[[device]]\ndevice_id = \"a\"\nmachine_name = \"A\"\nmqtt_topic = \"t/a\"\n\
                  parser_type = \"tasmota\"\n";
    let devices = vec![text("devices/1.toml", device), text("devices/2.toml", device)];
    let texts = Texts { devices, ..Texts::default() };
    let pushed = push("", "a");
    let checked = check(&texts, around(&Env::new(), Some(&pushed)));
    assert!(checked.devices[1].result.is_err());
    assert_eq!(checked.push[0].what, "device `a` belongs to devices/1.toml");
    assert_eq!(checked.push[0].pointer(), "devices[0].device_id");
    assert_eq!(checked.registry.by_id.len(), 1);
}

#[test]
fn a_push_of_an_unknown_parser_type_is_told_the_known_ones() {
    let text = r#"{"devices": [{"device_id": "a", "machine_name": "M", "mqtt_topic": "t",
        "parser_type": "shely_pm"}]}"#;
    let pushed = Pushed::parse("POST /config", text, Format::Json).unwrap();
    let checked = check(&Texts::default(), around(&Env::new(), Some(&pushed)));
    assert_eq!(
        checked.push[0].remedy,
        "did you mean `shelly_pm`? known are `shelly`, `shelly_pm`, `tasmota`"
    );
}

#[test]
fn mqtt_needs_a_broker_that_may_be_pushed() {
    let texts = Texts { site: Some("[broker.b]\nurl = \"mqtt://b\"\n".into()), ..Texts::default() };
    let pushed = push(r#""mqtt": {"broker": "c"},"#, "a");
    let checked = check(&texts, around(&Env::new(), Some(&pushed)));
    assert!(checked.push.iter().any(|p| p.what.contains("marked `pushed`")));
    assert!(
        said(&checked.warnings).iter().any(|w| w.contains("`workshop` does not run")),
        "{:#?}",
        checked.warnings
    );
}

#[test]
fn two_pipelines_of_one_name_are_not_both_run() {
    let one = "name = \"x\"\n[[source]]\nname = \"s\"\nbroker = \"main\"\ntopics = [\"a\"]\n";
    let pipelines = vec![text("pipelines/1.toml", one), text("pipelines/2.toml", one)];
    let texts = Texts { pipelines, site: Some("shipped = []".into()), ..Texts::default() };
    let checked = check(&texts, around(&Env::new(), None));
    assert_eq!(checked.config().unwrap().pipelines.len(), 1);
    assert_eq!(
        said(&checked.problems()),
        [
            "pipelines/2.toml:1:8: pipeline `x` is pipelines/1.toml already; give one of the two another `name`"
        ]
    );
}

#[test]
fn a_fresh_site_is_right_and_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let files = crate::config::init::init(dir.path()).unwrap();
    assert_eq!(files.len(), 4);
    let checked = check(&Texts::read(dir.path()), around(&Env::new(), None));
    assert!(checked.problems().is_empty(), "{:#?}", checked.problems());
    assert!(checked.warnings.is_empty(), "{:#?}", checked.warnings);
    assert!(crate::config::init::init(dir.path()).is_err());
    // Every line that is commented out is right too once it is not.
    let text = std::fs::read_to_string(dir.path().join("tapline.toml")).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(code) if code.contains(" = ") && !code.contains("Secrets:") => format!("{code}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let env = env(&[
        ("MQTT_PASSWORD", "p"),
        ("ODOO_API_KEY", "k"),
        ("X_API_KEY", "x"),
        ("BRIDGE_API_TOKEN", "t"),
    ]);
    let texts = Texts { site: Some(uncommented.into()), ..Texts::default() };
    let checked = check(&texts, around(&env, None));
    assert!(checked.problems().is_empty(), "{:#?}", said(&checked.problems()));
}

#[test]
fn a_file_that_is_no_text_is_a_unit_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["pipelines", "devices"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join("a.toml"), b"name = \"\xff\"").unwrap();
        std::fs::write(dir.path().join(folder).join(".a.toml.swp"), b"\xff").unwrap();
    }
    let checked = check(&Texts::read(dir.path()), around(&Env::new(), None));
    let said = said(&checked.problems());
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(
        said[0].starts_with("pipelines/a.toml: is no UTF-8: line 1 holds the byte 0xff"),
        "{said:#?}"
    );
    assert_eq!(checked.config().unwrap().pipelines.len(), 1, "the shipped one runs");
    std::fs::write(dir.path().join("tapline.toml"), b"\xff").unwrap();
    let checked = check(&Texts::read(dir.path()), around(&Env::new(), None));
    assert!(checked.site.is_err() && checked.config().is_none());
}

#[test]
fn a_copy_of_a_shipped_pipeline_says_whether_the_original_changed() {
    let shipped = &SHIPPED[0];
    assert_eq!(shipped.compared_with(&shipped.copy()), None);
    let edited = shipped.copy().replace("100", "50");
    let (_, remedy) = shipped.compared_with(&edited).unwrap();
    assert!(remedy.ends_with("it is the one that this was copied from"), "{remedy}");
    let older = edited.replace(&shipped.version(), "0123456789ab");
    let (_, remedy) = shipped.compared_with(&older).unwrap();
    assert!(remedy.contains("changed since it was copied"), "{remedy}");
}

#[test]
fn a_misspelt_field_of_a_pushed_device_is_named() {
    let text = r#"{"devices": [{"device_id": "a", "machine_name": "M", "mqtt_topic": "t",
        "parser_type": "shelly_pm", "sesion_config": {}, "settings": {"sesion": {}}}]}"#;
    let pushed = Pushed::parse("POST /config", text, Format::Json).unwrap();
    let checked = check(&Texts::default(), around(&Env::new(), Some(&pushed)));
    let found: Vec<_> = checked.push.iter().map(|p| (p.pointer(), p.what.as_str())).collect();
    assert_eq!(
        found,
        [
            ("devices[0].sesion_config", "no stage takes its settings from `sesion_config`"),
            ("devices[0].settings.sesion", "no parse or detect stage is called `sesion`"),
        ]
    );
}
