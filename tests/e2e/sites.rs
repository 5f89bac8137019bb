//! Site directories and the commands about them, and which layer of configuration wins.

use std::process::Output;

use serde_json::{Value, json};
use tapline_tests::{
    Bench, COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline, document, free_port, write,
};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

#[track_caller]
fn check(output: &Output, code: i32, stdout: &[&str], stderr: &[&str]) {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    for part in stdout {
        assert!(out.contains(part), "no `{part}` in {out}");
    }
    for part in stderr {
        assert!(err.contains(part), "no `{part}` in {err}");
    }
}

#[tokio::test]
async fn a_fresh_site_checks_clean_and_each_fault_has_place_and_remedy() {
    let tapline = Setup::new().prepare();
    let output = tapline.output(&["init", "hall"]).await;
    check(&output, 0, &["hall/tapline.toml", "hall/pipelines/workshop.toml"], &["tapline check"]);
    let hall = tapline.dir().join("hall");
    check(&tapline.output(&["check", "hall"]).await, 0, &["ok: 1 pipeline(s) (workshop)"], &[]);

    // A second `init` touches nothing.
    write(&hall, "tapline.toml", "format = 1\n");
    check(&tapline.output(&["init", "hall"]).await, 4, &[], &["exists already"]);
    let kept = std::fs::read_to_string(hall.join("tapline.toml"));
    assert_eq!(kept.expect("it is there"), "format = 1\n");

    write(
        &hall,
        "tapline.toml",
        "format = 1\n[broker.main]\nurl = \"mqtt://b\"\nusernam = \"x\"\n",
    );
    let devices = "[[device]]\ndevice_id = \"press\"\nmachine_name = \"Press\"\n\
                   mqtt_topic = \"a/#/b\"\nparser_type = \"shelly\"\n";
    write(&hall, "devices/devices.toml", devices);
    let output = tapline.output(&["check", "hall"]).await;
    check(
        &output,
        1,
        &[],
        &["tapline.toml:4", "usernam", "username", "devices/devices.toml:4", "a/#/b"],
    );

    check(&tapline.output(&["check", "nowhere"]).await, 1, &[], &["nowhere", "tapline init"]);
    check(&tapline.output(&["check", "--no-such-option"]).await, 2, &[], &["--no-such-option"]);
}

#[tokio::test]
async fn a_module_that_is_not_there_is_named_with_the_stage_that_wants_it() {
    let tapline = Setup::new().prepare();
    let site = tapline.dir().join("hall");
    let pipeline = tapline_tests::copy_of_shipped("workshop")
        .replace("module       = \"tasmota\"", "module       = \"tasmotta\"");
    write(&site, "tapline.toml", "format = 1\n");
    write(&site, "pipelines/workshop.toml", &pipeline);
    let output = tapline.output(&["check", "hall"]).await;
    check(&output, 1, &[], &["pipelines/workshop.toml", "tasmotta"]);
}

#[tokio::test]
async fn schemas_for_editors_are_json_schemas() {
    let tapline = Setup::new().prepare();
    for kind in ["pipeline", "site", "devices"] {
        let output = tapline.output(&["schema", kind]).await;
        check(&output, 0, &["$schema"], &[]);
        let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(schema.is_object());
    }
}

#[tokio::test]
async fn health_as_a_command_tells_by_its_exit_code() {
    let mut tapline = Setup::new().port(free_port()).start().await;
    let url = tapline.url();
    let output = tapline.output(&["health", "--url", &url]).await;
    check(&output, 0, &["\"last_config_update\":null"], &[]);
    check(&tapline.output(&["health"]).await, 0, &["\"status\""], &[]);
    let quiet = tapline.output(&["health", "--quiet", "--url", &url]).await;
    assert!(quiet.status.success() && quiet.stdout.is_empty());
    tapline.terminate().await;
    check(&tapline.output(&["health", "--url", &url]).await, 3, &[], &["does not answer", "--url"]);
}

#[tokio::test]
async fn a_site_whose_one_file_is_broken_runs_with_the_others() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let press = Machine::new("press");
    let tapline = Setup::s3(&broker, &odoo.0)
        .site("tapline.toml", "format = 1\n")
        .site("pipelines/broken.toml", "format = 1\nname = \"broken\"\n[[sorce]]\n")
        .start()
        .await;
    tapline.push(&document(&[&press])).await;
    let health = tapline.subscribed(2).await;
    assert_eq!(health["status"], "degraded");
    assert!(health["problems"].to_string().contains("pipelines/broken.toml"), "{health}");
    Publisher::connect(broker.port()).await.report(&press, &COURSE).await;
    odoo.kinds(&press, &WHOLE).await;
}

#[tokio::test]
async fn a_site_file_that_is_broken_ends_the_start_with_its_place() {
    let setup = Setup::new().site("tapline.toml", "format = 1\n[brokr.main]\n");
    let mut tapline = setup.prepare();
    tapline.spawn();
    assert_eq!(tapline.ended().await.code(), Some(1));
    let said = tapline.stderr();
    assert!(said.contains("tapline.toml:2") && said.contains("broker"), "{said}");
}

#[tokio::test]
async fn a_site_that_is_not_there_ends_the_start_in_words() {
    let mut tapline = Setup::new().site("tapline.toml", "format = 1\n").prepare();
    std::fs::remove_dir_all(tapline.dir().join("site")).expect("scratch is writable");
    tapline.spawn();
    assert_eq!(tapline.ended().await.code(), Some(1));
    let said = tapline.stderr();
    assert!(said.contains("site` is no directory") && said.contains("tapline init"), "{said}");
}

#[tokio::test]
async fn devices_of_a_file_work_without_a_push() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let press = Machine::new("press");
    let file = format!(
        "[[device]]\ndevice_id = \"press\"\nmachine_name = \"Press\"\nmqtt_topic = \"{}\"\n\
         parser_type = \"shelly_pm\"\nsession_config = {{ message_timeout_s = 7200.0 }}\n",
        press.topic()
    );
    let tapline = Setup::s3(&broker, &odoo.0)
        .site("tapline.toml", "format = 1\n")
        .site("devices/hall.toml", &file)
        .start()
        .await;
    tapline.subscribed(2).await;
    Publisher::connect(broker.port()).await.report(&press, &COURSE).await;
    odoo.kinds(&press, &WHOLE).await;
}

/// As S3 kept it.
fn yaml(port: u16, press: &Machine) -> String {
    format!(
        "mqtt:\n  broker: 127.0.0.1\n  port: {port}\n  username: ''\n  password: ''\ndevices:\n\
         - device_id: press\n  machine_name: Press\n  mqtt_topic: {}\n  parser_type: shelly_pm\n\
         \x20 session_config:\n    standby_threshold_w: 5.0\n    message_timeout_s: 7200.0\n\
         timestamp: '2026-02-12T19:40:18.456789'\nversion: '1.0'\n",
        press.topic()
    )
}

async fn works(tapline: &Tapline, broker: &Mosquitto, odoo: &Odoo, press: &Machine) {
    tapline.subscribed(2).await;
    Publisher::connect(broker.port()).await.report(press, &COURSE).await;
    odoo.kinds(press, &WHOLE).await;
}

#[tokio::test]
async fn a_configuration_in_yaml_is_read_at_the_first_start_and_a_push_wins_over_it() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let setup = Setup::new().odoo(&odoo.0).kept("../config.yaml", &yaml(broker.port(), &press));
    let mut tapline = setup.argument("--config").argument("config.yaml").start().await;
    works(&tapline, &broker, &odoo, &press).await;
    tapline.push(&document(&[&saw])).await;
    tapline.terminate().await;
    tapline.start_again().await;
    let devices = tapline.get("/config").await.body["devices"].clone();
    assert_eq!(devices[0]["device_id"], "saw");
    works(&tapline, &broker, &odoo, &saw).await;
}

#[tokio::test]
async fn the_configuration_that_s3_left_in_the_data_directory_is_taken_over() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let press = Machine::new("press");
    let s3 = yaml(broker.port(), &press);
    let tapline = Setup::new().odoo(&odoo.0).kept("config-active.yaml", &s3).start().await;
    works(&tapline, &broker, &odoo, &press).await;
}

#[tokio::test]
async fn what_is_pushed_wins_over_the_file_and_the_file_over_the_environment() {
    let (by_file, by_push) = (Mosquitto::start().await, Mosquitto::start().await);
    let odoo = Odoo::start().await;
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let site = format!(
        "format = 1\n[broker.main]\nurl = \"mqtt://127.0.0.1:{}\"\npushed = true\n",
        by_file.port()
    );
    let setup = Setup::new().port(free_port()).odoo(&odoo.0).site("tapline.toml", &site);
    let mut tapline = setup.start().await;
    tapline.push(&document(&[&press])).await;
    works(&tapline, &by_file, &odoo, &press).await;

    let mut pushed = document(&[&saw]);
    pushed["mqtt"] = json!({"broker": "127.0.0.1", "port": by_push.port()});
    let answer = tapline.push(&pushed).await;
    assert_eq!(answer["mqtt_reconnected"], true);
    works(&tapline, &by_push, &odoo, &saw).await;

    tapline.terminate().await;
    tapline.start_again().await;
    let drill = Machine::new("drill");
    tapline.push(&document(&[&drill])).await;
    works(&tapline, &by_push, &odoo, &drill).await;
}

#[tokio::test]
async fn the_environment_of_s4_works_as_well() {
    let bench = Bench::start().await;
    let (odoo, press) = (Odoo::start().await, Machine::new("press"));
    let setup = Setup::new().odoo(&odoo.0).env("MQTT_BROKER_HOST", "127.0.0.1");
    let port = bench.broker.port().to_string();
    let tapline = setup.env("MQTT_BROKER_PORT", &port).env("MQTT_CLIENT_ID", "s4").start().await;
    tapline.push(&document(&[&press])).await;
    works(&tapline, &bench.broker, &odoo, &press).await;
}
