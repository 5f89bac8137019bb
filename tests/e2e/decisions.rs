//! Changes of files that wait for a person: confirm mode, state that would lose its owner.

use serde_json::Value;
use tapline_tests::{COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline, write};

/// A pipeline as those that ship, whose detector is called this.
fn pipeline(detector: &str) -> String {
    format!(
        r#"
[[source]]
name = "meters"
broker = "main"
devices = true
[[parse]]
name = "shelly"
module = "shelly"
parser_types = ["shelly_pm"]
[[detect]]
name = {detector}
module = "session"
device_settings = "session_config"
settings = {{ standby_threshold_w = 5.0, working_threshold_w = 50.0 }}
[[sink]]
name = "odoo"
module = "odoo"
endpoint = "odoo"
take = ["event"]
"#
    )
}

struct Hall {
    _broker: Mosquitto,
    odoo: Odoo,
    devices: Publisher,
    tapline: Tapline,
    press: Machine,
}

impl Hall {
    /// One pipeline in a file, and a press that has been working for a while.
    async fn at_work(mode: &str) -> Self {
        let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
        let devices = Publisher::connect(broker.port()).await;
        let toml = format!(
            "shipped = []\n[broker.main]\nurl = \"mqtt://127.0.0.1:{}\"\npushed = true\n\
             [endpoint.odoo]\nurl = \"{}\"\n[reload]\nmode = \"{mode}\"\n",
            broker.port(),
            odoo.0.url()
        );
        let tapline = Setup::new()
            .site("tapline.toml", &toml)
            .site("pipelines/hall.toml", &pipeline("\"session\""))
            .start()
            .await;
        let press = Machine::new("press");
        tapline.take(&[&press]).await;
        devices.report(&press, &COURSE[..2]).await;
        odoo.kinds(&press, &["session_started"]).await;
        Self { _broker: broker, odoo, devices, tapline, press }
    }

    fn write(&self, file: &str, text: &str) {
        write(&self.tapline.dir().join("site"), file, text);
    }

    fn remove(&self, file: &str) {
        std::fs::remove_file(self.tapline.dir().join("site").join(file)).expect("it is there");
    }

    /// Runs `tapline reload`, which must end with this code.
    async fn reload(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.tapline.output(&[&["reload"], arguments].concat()).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    /// The press finishes, and it was one session from the beginning.
    async fn finish(&self) {
        self.devices.report(&self.press, &COURSE[2..]).await;
        let kinds = ["session_started", "session_stopped"];
        let events = self.odoo.kinds(&self.press, &kinds).await;
        assert_eq!(events[0].session_uid, events[1].session_uid);
        assert_eq!(events[1].payload["working_s"], 30.0);
        self.odoo.is_content();
    }

    async fn problems(&self) -> String {
        self.tapline.health().await["problems"].to_string()
    }
}

#[tokio::test]
async fn in_confirm_mode_changed_files_wait_and_are_named() {
    let hall = Hall::at_work("confirm").await;
    assert!(hall.reload(0, &["--plan"]).await.contains("nothing would change"));
    let settings = pipeline("\"session\"")
        .replace("working_threshold_w = 50.0", "working_threshold_w = 150.0");
    hall.write("pipelines/hall.toml", &settings);
    let plan = hall.reload(1, &["--plan"]).await;
    assert_eq!(
        plan,
        "~ pipeline hall (pipelines/hall.toml)\n    ~ detect session\n        \
         settings.working_threshold_w: 50.0 -> 150.0\n"
    );
    let json = hall.reload(1, &["--plan", "--json"]).await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["changes"]["pipelines"][0]["parts"][0]["fields"][0]["to"], 150.0);
    let done = hall.reload(0, &[]).await;
    assert_eq!(done, plan, "a reload says what it did");
    assert!(hall.reload(0, &["--plan"]).await.contains("nothing would change"));
    let log = hall.tapline.output(&["config", "log"]).await;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.lines().nth(1).is_some_and(|l| l.ends_with("pipeline hall changed")), "{log}");
    hall.finish().await;
}

#[tokio::test]
async fn a_renamed_stage_waits_until_it_says_where_its_state_comes_from() {
    let hall = Hall::at_work("confirm").await;
    hall.write("pipelines/hall.toml", &pipeline("\"sessions\""));
    let plan = hall.reload(1, &["--plan"]).await;
    assert!(plan.contains("! state of hall/session: 1 key would have no owner"), "{plan}");
    let refused = hall.reload(4, &[]).await;
    assert!(refused.contains("state_from = \"session\""), "{refused}");
    assert!(refused.contains("--drop-state"), "{refused}");
    assert!(hall.problems().await.contains("hall/session"));

    hall.write("pipelines/hall.toml", &pipeline("\"sessions\"\nstate_from = \"session\""));
    let plan = hall.reload(1, &["--plan"]).await;
    assert!(plan.contains("~ state of hall/session: 1 key go to hall/sessions"), "{plan}");
    hall.reload(0, &[]).await;
    assert!(!hall.problems().await.contains("hall/session"));
    hall.finish().await;
}

#[tokio::test]
async fn a_stage_that_was_renamed_while_nobody_ran_goes_on_with_its_state() {
    let mut hall = Hall::at_work("auto").await;
    hall.tapline.terminate().await;
    hall.write("pipelines/hall.toml", &pipeline("\"sessions\"\nstate_from = \"session\""));
    hall.tapline.start_again().await;
    hall.tapline.subscribed(2).await;
    hall.finish().await;
}

#[tokio::test]
async fn a_renamed_pipeline_goes_on_with_the_state_of_the_old() {
    let hall = Hall::at_work("confirm").await;
    hall.remove("pipelines/hall.toml");
    let heir = format!("state_from = \"hall\"\n{}", pipeline("\"session\""));
    hall.write("pipelines/workshop.toml", &heir);
    hall.reload(0, &[]).await;
    let health = hall.tapline.health().await;
    assert!(health["pipelines"]["workshop"]["running"] == true, "{health}");
    assert!(health["pipelines"]["hall"].is_null(), "{health}");
    hall.finish().await;
}

#[tokio::test]
async fn a_pipeline_that_is_gone_runs_on_until_somebody_agrees_and_can_come_back() {
    let hall = Hall::at_work("confirm").await;
    hall.remove("pipelines/hall.toml");
    let refused = hall.reload(4, &[]).await;
    assert!(refused.contains("1 key of `hall/session`"), "{refused}");
    assert_eq!(hall.tapline.health().await["pipelines"]["hall"]["running"], true);
    let dropped = hall.reload(0, &["--drop-state"]).await;
    assert!(dropped.starts_with("- pipeline hall"), "{dropped}");
    assert!(hall.tapline.health().await["pipelines"].as_object().is_some_and(|p| p.is_empty()));

    hall.write("pipelines/hall.toml", &pipeline("\"session\""));
    let plan = hall.reload(1, &["--plan"]).await;
    assert!(plan.contains("+ state of hall/session: 1 key come back"), "{plan}");
    hall.reload(0, &[]).await;
    hall.tapline.subscribed(2).await;
    hall.finish().await;
}

#[tokio::test]
async fn a_broken_file_leaves_its_pipeline_running_and_is_named_until_it_is_mended() {
    let hall = Hall::at_work("confirm").await;
    hall.write("pipelines/hall.toml", &pipeline("\"session\"").replace("broker = ", "brokr = "));
    let said = hall.reload(1, &[]).await;
    assert!(said.contains("pipelines/hall.toml:4") && said.contains("brokr"), "{said}");
    assert!(hall.problems().await.contains("brokr"));
    assert_eq!(hall.tapline.health().await["pipelines"]["hall"]["running"], true);
    hall.write("pipelines/hall.toml", &pipeline("\"session\""));
    hall.reload(0, &[]).await;
    assert!(!hall.problems().await.contains("brokr"));
    hall.finish().await;
}
