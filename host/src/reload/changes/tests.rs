//! What a change would do, from texts alone.

use std::sync::Arc;

use super::outline::Used;
use super::*;
use crate::config::load::{Around, Text, Texts, check};
use crate::message::Timestamp;

const SITE: &str = r#"
shipped = []
[broker.main]
url = "mqtt://broker.example:1883"
password = "old"
[endpoint.odoo]
url = "http://odoo:8069"
"#;

const WORKSHOP: &str = r#"
[[source]]
name = "meters"
broker = "main"
devices = true
[[parse]]
name = "shelly"
module = "shelly"
[[detect]]
name = "session"
module = "session"
settings = { standby_threshold_w = 5.0, working_threshold_w = 50.0 }
device_settings = "session_config"
[[sink]]
name = "odoo"
module = "odoo"
endpoint = "odoo"
take = ["event"]
"#;

const DEVICES: &str = r#"
[[device]]
device_id = "press"
machine_name = "Press"
mqtt_topic = "hall/press/status/pm1:0"
parser_type = "shelly"
session_config = { standby_threshold_w = 4.0 }
"#;

/// A site as it is written; modules are named in the order of their builds.
#[derive(Clone)]
struct Written {
    site: String,
    pipelines: Vec<(&'static str, String)>,
    devices: String,
    session: &'static str,
}

impl Written {
    fn new() -> Self {
        Self {
            site: SITE.to_owned(),
            pipelines: vec![("workshop", WORKSHOP.to_owned())],
            devices: DEVICES.to_owned(),
            session: "1.0.0",
        }
    }

    fn replaced(mut self, from: &str, to: &str) -> Self {
        let texts = [&mut self.site, &mut self.devices]
            .into_iter()
            .chain(self.pipelines.iter_mut().map(|(_, text)| text));
        let mut found = false;
        for text in texts {
            found |= text.contains(from);
            *text = text.replace(from, to);
        }
        assert!(found, "no `{from}`");
        self
    }

    fn outline(&self) -> Outline {
        let text = |file: String, text: &str| Text { file: file.into(), text: text.into() };
        let texts = Texts {
            site: Some(self.site.as_str().into()),
            pipelines: self
                .pipelines
                .iter()
                .map(|(name, written)| text(format!("pipelines/{name}.toml"), written))
                .collect(),
            devices: vec![text("devices/hall.toml".to_owned(), &self.devices)],
            ..Texts::default()
        };
        let env = BTreeMap::new();
        let around = Around { env: &env, pushed: None, generated_name: "box", now: Timestamp(1) };
        let checked = check(&texts, around);
        assert_eq!(checked.problems(), []);
        let config = checked.config().unwrap();
        let mut outline = Outline::of(&config, &[]);
        for file in &config.pipelines {
            let stages = file.detect.iter().map(|detect| &detect.stage.name);
            let used = |stage: &Arc<str>| {
                let hash = format!("hash-of-{}", self.session);
                (format!("detect {stage}"), Used { name: "session", version: self.session, hash })
            };
            outline.add_pipeline(file, &stages.map(used).collect::<Vec<_>>());
        }
        outline
    }
}

fn state(pipeline: &str, stage: &str, keys: u64) -> StageState {
    StageState { id: StageId::new(pipeline, stage), keys, bare: 0 }
}

fn kept(state: &[StageState]) -> Kept {
    Kept { state: state.to_vec(), ..Kept::default() }
}

#[test]
fn names_every_kind_of_difference_and_shows_no_secret() {
    let saw = DEVICES.replace("press", "saw");
    type Change = fn(Written) -> Written;
    let cases: [(&str, Change, &str); 13] = [
        ("nothing", |w| w, ""),
        ("a comment", |w| w.replaced("[[parse]]", "# words\n[[parse]]"), ""),
        (
            "a setting",
            |w| w.replaced("standby_threshold_w = 5.0", "standby_threshold_w = 6.0"),
            "~ pipeline workshop (pipelines/workshop.toml)\n    ~ detect session\n        \
             settings.standby_threshold_w: 5.0 -> 6.0\n",
        ),
        (
            "a setting that goes",
            |w| w.replaced("standby_threshold_w = 5.0, ", ""),
            "~ pipeline workshop (pipelines/workshop.toml)\n    ~ detect session\n        \
             settings.standby_threshold_w: no longer set (was 5.0)\n",
        ),
        (
            "a module",
            |w| Written { session: "1.1.0", ..w },
            "~ pipeline workshop (pipelines/workshop.toml)\n    ~ detect session\n        \
             module: \"session 1.0.0 (hash-of-1.0.0)\" -> \"session 1.1.0 (hash-of-1.1.0)\"\n",
        ),
        (
            "a source",
            |w| w.replaced("devices = true", "devices = true\nqos = 2"),
            "~ pipeline workshop (pipelines/workshop.toml)\n    ~ source meters\n        \
             qos: 2 (was not set)\n",
        ),
        (
            "a stage",
            |w| w.replaced("[[sink]]\nname = \"odoo\"", "[[sink]]\nname = \"erp\""),
            "~ pipeline workshop (pipelines/workshop.toml)\n    + sink erp\n    - sink odoo\n",
        ),
        (
            "a device's topic",
            |w| w.replaced("hall/press", "hall/2/press"),
            "~ device press\n    mqtt_topic: \"hall/press/status/pm1:0\" -> \
             \"hall/2/press/status/pm1:0\"\n",
        ),
        (
            "a device's settings",
            |w| w.replaced("standby_threshold_w = 4.0", "standby_threshold_w = 4.5"),
            "~ device press\n    session_config.standby_threshold_w: 4.0 -> 4.5\n",
        ),
        (
            "another device",
            |w| w.replaced("\"press\"", "\"drill\""),
            "+ device drill\n- device press\n",
        ),
        (
            "a broker",
            |w| w.replaced("broker.example:1883", "other:1884"),
            "~ broker main\n    host: \"broker.example\" -> \"other\"\n    port: 1883 -> 1884\n",
        ),
        (
            "a password",
            |w| w.replaced("password = \"old\"", "password = \"new\""),
            "~ broker main\n    password: another value\n",
        ),
        (
            "the site",
            |w| w.replaced("shipped = []", "shipped = []\n[log]\nlevel = \"debug\""),
            "~ log.level: \"info\" -> \"debug\"\n",
        ),
    ];
    let before = Written::new();
    for (what, change, expected) in cases {
        let after = change(before.clone());
        let changes = Changes::between(&before.outline(), &after.outline(), &Kept::default());
        assert_eq!(render(&changes), expected, "{what}");
        assert_eq!(changes.is_empty(), expected.is_empty(), "{what}");
        let read: Changes =
            serde_json::from_str(&serde_json::to_string(&changes).unwrap()).unwrap();
        assert_eq!(read, changes, "{what}: it is the same after a way through JSON");
    }
    let more = Written { devices: format!("{DEVICES}{saw}"), ..before.clone() };
    let changes = Changes::between(&before.outline(), &more.outline(), &Kept::default());
    assert_eq!(changes.in_short(), "1 device added");
}

#[test]
fn a_whole_plan_reads_like_this() {
    let before = Written::new();
    let mut after = before
        .clone()
        .replaced("name = \"session\"", "name = \"sessions\"")
        .replaced("broker.example:1883", "broker.example:1884");
    after.pipelines.push(("cold", WORKSHOP.replace("odoo\"\nmodule", "erp\"\nmodule")));
    after.devices = DEVICES.replace("\"press\"", "\"drill\"");
    let kept = Kept {
        state: vec![
            state("long-gone", "session", 1),
            state("workshop", "session", 12),
            state("workshop", "shelly", 0),
        ],
        parked: vec![ParkedState {
            id: StageId::new("cold", "session"),
            keys: 3,
            since: Timestamp(5),
        }],
        waiting: vec![(StageId::new("workshop", "odoo"), 4)],
        delivering: BTreeSet::from(["workshop".to_owned()]),
    };
    let changes = Changes::between(&before.outline(), &after.outline(), &kept);
    let expected = "\
~ broker main
    port: 1883 -> 1884
+ pipeline cold (pipelines/cold.toml)
    + detect session
    + parse shelly
    + sink erp
    + source meters
~ pipeline workshop (pipelines/workshop.toml)
    - detect session
    + detect sessions
+ device drill
- device press
+ state of cold/session: 3 keys come back
! state of long-gone/session: 1 key had no owner before; `tapline reload --drop-state` parks it \
for 7 days
! state of workshop/session: 12 keys would have no owner; give the stage that follows it \
`state_from = \"session\"`, or agree with `tapline reload --drop-state` (parked for 7 days)
";
    assert_eq!(render(&changes), expected);
    assert_eq!(
        changes.in_short(),
        "1 device added, 1 removed; pipeline cold added; pipeline workshop changed; broker main \
         changed"
    );
}

#[test]
fn state_is_orphaned_unless_a_stage_says_where_it_comes_from() {
    let heir = "name = \"sessions\"\nstate_from = \"session\"";
    let renamed = Written::new().replaced("name = \"session\"", "name = \"sessions\"");
    let with_heir = Written::new().replaced("name = \"session\"", heir);
    let gone = Written { pipelines: Vec::new(), ..Written::new() };
    let moved =
        |text: &str| Written { pipelines: vec![("hall", text.to_owned())], ..Written::new() };
    let new_name = moved(WORKSHOP);
    let with_pipeline = moved(&format!("state_from = \"workshop\"\n{WORKSHOP}"));
    let both = moved(
        &format!("state_from = \"workshop\"\n{WORKSHOP}").replace("name = \"session\"", heir),
    );
    let cases: [(&str, &Written, &[&str], &[&str]); 7] = [
        ("the same", &Written::new(), &[], &[]),
        ("a new name", &renamed, &["workshop/session"], &[]),
        ("a new name with an heir", &with_heir, &[], &["workshop/session -> workshop/sessions"]),
        ("a file that is gone", &gone, &["workshop/session"], &[]),
        ("a new pipeline", &new_name, &["workshop/session"], &[]),
        ("a pipeline that is heir", &with_pipeline, &[], &["workshop/session -> hall/session"]),
        ("both have new names", &both, &[], &["workshop/session -> hall/sessions"]),
    ];
    let before = Written::new().outline();
    let kept = kept(&[state("workshop", "session", 2)]);
    for (what, after, orphans, heirs) in cases {
        let after = after.outline();
        let changes = Changes::between(&before, &after, &kept);
        let orphaned: Vec<_> =
            changes.would_orphan().map(|o| format!("{}/{}", o.pipeline, o.stage)).collect();
        assert_eq!(orphaned, orphans, "{what}");
        let inherited: Vec<_> =
            changes.inherited.iter().map(|i| format!("{} -> {}", i.from, i.to)).collect();
        assert_eq!(inherited, heirs, "{what}");
        let named = |ids: &[StageId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(named(&succession(&after, &kept, Orphans::Park).park), orphans, "{what}");
        assert_eq!(named(&succession(&after, &kept, Orphans::Keep).park), [""; 0], "{what}");
    }
}

#[test]
fn deliveries_that_lose_their_sink_are_named() {
    let before = Written::new();
    let after = before.clone().replaced("[[sink]]\nname = \"odoo\"", "[[sink]]\nname = \"erp\"");
    let kept = Kept { waiting: vec![(StageId::new("workshop", "odoo"), 4)], ..Kept::default() };
    let changes = Changes::between(&before.outline(), &after.outline(), &kept);
    assert_eq!(changes.stranded, [Stranded { sink: "workshop/odoo".to_owned(), waiting: 4 }]);
    assert!(render(&changes).contains("4 deliveries wait for it"));
}

#[test]
fn a_long_list_is_cut_for_people_and_whole_for_programs() {
    let before = Written::new();
    let many: String =
        (0..200).map(|n| DEVICES.replace("\"press\"", &format!("\"press-{n:03}\""))).collect();
    let after = Written { devices: many, ..before.clone() };
    let changes = Changes::between(&before.outline(), &after.outline(), &Kept::default());
    assert_eq!(changes.devices.len(), 201);
    assert!(render(&changes).ends_with("… and 171 more\n"), "{}", render(&changes));
    assert_eq!(changes.in_short(), "200 devices added, 1 removed");
}
