//! The wording of every problem, as cases: `host/tests-data/config/<kind>/<case>/`.
//!
//! Each case is one folder with `input.toml` (or `.json`, `.yaml`) and `expected.txt`.
//! `TAPLINE_RENEW=1 cargo test -p tapline --lib config` writes what the program says now;
//! read the difference before you commit it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::*;

fn data(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data").join(below)
}

fn check_cases(kind: &str, load: impl Fn(&str, &str) -> String) {
    let mut failed = Vec::new();
    let mut cases: Vec<_> = fs::read_dir(data("config").join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let input = ["toml", "json", "yaml"]
            .iter()
            .map(|extension| case.join("input").with_extension(extension))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("{} has no input", case.display()));
        let file = input.file_name().unwrap().to_str().unwrap();
        let actual = load(file, &fs::read_to_string(&input).unwrap());
        // The one secret of all inputs.
        assert!(!actual.contains("geheim"), "{}:\n{actual}", case.display());
        let expected = case.join("expected.txt");
        if std::env::var_os("TAPLINE_RENEW").is_some() {
            fs::write(&expected, &actual).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != actual {
            failed.push(format!("{}:\n{actual}", case.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn text_of(result: Result<Vec<Problem>, Vec<Problem>>) -> String {
    match result {
        Ok(warnings) if warnings.is_empty() => "fine\n".to_owned(),
        Ok(warnings) => render(&warnings, Severity::Warning, Look::Plain),
        Err(problems) => render(&problems, Severity::Error, Look::Plain),
    }
}

fn no_files(_: &str) -> io::Result<String> {
    Err(io::Error::new(io::ErrorKind::NotFound, "no such file"))
}

fn pipeline_text(file: &str, text: &str) -> String {
    let context = pipeline::Context { site: None, open: &no_files, topics: &BTreeMap::new() };
    text_of(pipeline::load(file, text, context).map(|(_, warnings)| warnings))
}

fn site_text(_: &str, text: &str) -> String {
    let env = [("TOKEN", "t")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let around = site::Around {
        dir: Some(Path::new("no-such-directory")),
        env: &env.into(),
        mqtt: None,
        generated_name: "tapline-4f2a",
        now: crate::message::Timestamp(1_790_000_000_000),
    };
    text_of(site::load(Some(text), around).map(|loaded| loaded.warnings))
}

fn push_text(file: &str, text: &str) -> String {
    let format = document::Format::of(Path::new(file));
    text_of(push::Pushed::parse(file, text, format).map(|_| Vec::new()))
}

fn example(file: &str) -> String {
    fs::read_to_string(data("examples").join(file)).unwrap()
}

#[test]
fn every_problem_of_a_site_file_has_place_and_remedy() {
    check_cases("site", site_text);
}

#[test]
fn every_problem_of_a_device_file_has_place_and_remedy() {
    check_cases("devices", |file, text| text_of(device::load(file, text).map(|_| Vec::new())));
}

#[test]
fn every_problem_of_a_push_has_place_and_remedy() {
    check_cases("push", push_text);
}

/// The example files load together; what they say beyond this version is named as such.
#[test]
fn the_examples_load() {
    let files = ["workshop.toml", "cold-chain.toml", "device-loop.toml"];
    let text = |file: &str| load::Text { file: file.into(), text: example(file).into() };
    // The examples of the wire speak of a secret's file, which is not there in a test.
    let site = example("tapline.toml").replace("{ file = \"/run/secrets/mqtt\" }", "\"pw\"");
    let schema = r#"{"type": "object"}"#.to_owned();
    let texts = Texts {
        site: Some(site.into()),
        pipelines: files.map(text).into(),
        devices: vec![text("devices.toml")],
        schemas: [("schemas/zigbee-sensor.json".to_owned(), schema)].into(),
        ..Texts::default()
    };
    let env = [("ODOO_API_KEY".to_owned(), "k".to_owned())].into();
    let around = Around {
        env: &env,
        pushed: None,
        generated_name: "x",
        now: crate::message::Timestamp(1_790_000_000_000),
    };
    let checked = check(&texts, around);
    let problems: Vec<_> = checked.problems().iter().map(ToString::to_string).collect();
    let beyond = |p: &&String| !p.contains("is not in this version");
    assert_eq!(problems.iter().filter(beyond).count(), 0, "{problems:#?}");
    assert_eq!(problems.len(), 4, "{problems:#?}");
    let publishes = |p: &&String| p.contains("publish");
    assert_eq!(problems.iter().filter(publishes).count(), 0, "{problems:#?}");
    assert_eq!(checked.registry.by_id.len(), 2);
    assert!(checked.pipelines[0].result.is_ok());
}

#[test]
fn the_shipped_pipelines_are_the_examples() {
    for shipped in shipped::SHIPPED {
        assert_eq!(shipped.text, example(&format!("{}.toml", shipped.name)));
    }
}

fn example_pipeline() -> &'static str {
    include_str!("../../../pipeline.example.toml")
}

#[test]
fn the_example_pipeline_loads() {
    assert_eq!(pipeline_text("pipeline.example.toml", example_pipeline()), "fine\n");
}

#[test]
fn the_example_pipeline_shows_every_key() {
    let schema: serde_json::Value =
        serde_json::from_str(&init::schema_text(init::Kind::Pipeline)).unwrap();
    let mut keys = Vec::new();
    collect_keys(&schema, &mut keys);
    assert!(keys.contains(&"retain_handling".to_owned()), "{keys:?}");
    for key in keys {
        let written = example_pipeline().lines().any(|line| {
            let line = line.trim_start_matches("# ");
            let starts = line.split([' ', '=', '.', ']', '[']).any(|word| word == key);
            let inside =
                line.contains(&format!(" {key} = ")) || line.contains(&format!("{{ {key} "));
            starts || inside
        });
        assert!(written, "pipeline.example.toml does not show `{key}`");
    }
}

fn collect_keys(schema: &serde_json::Value, keys: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            for (word, value) in map {
                if let ("properties", Some(properties)) = (word.as_str(), value.as_object()) {
                    keys.extend(properties.keys().cloned());
                }
                collect_keys(value, keys);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|v| collect_keys(v, keys)),
        _ => {}
    }
}

#[test]
fn every_kind_of_file_has_a_schema() {
    use init::Kind;
    for kind in [Kind::Pipeline, Kind::Site, Kind::Devices, Kind::Push] {
        let schema: serde_json::Value = serde_json::from_str(&init::schema_text(kind)).unwrap();
        assert!(jsonschema::validator_for(&schema).is_ok());
    }
}

#[test]
fn every_problem_of_a_pipeline_file_has_place_and_remedy() {
    check_cases("pipeline", pipeline_text);
}

#[test]
fn a_report_counts_what_it_says() {
    let problem = Problem::of("a", "what", "remedy");
    for (problems, warnings, last) in [
        (0, 0, "fine"),
        (0, 1, "fine, with 1 warning"),
        (2, 0, "2 problems"),
        (1, 2, "1 problem, 2 warnings"),
    ] {
        let (problems, warnings) =
            (vec![problem.clone(); problems], vec![problem.clone(); warnings]);
        assert_eq!(report(&problems, &warnings, Look::Plain).lines().last(), Some(last));
    }
}

/// Cut and bent texts of every kind are refused or read, and what is wrong can be shown.
#[test]
fn no_text_makes_it_panic() {
    let push = r#"{"mqtt": {"broker": "b", "password": "gehéim"}, "devices": [{"device_id": "ä",
        "machine_name": "Ü", "mqtt_topic": "a/ß", "parser_type": "x", "labels": {"a": "\u00e4"}}]}"#;
    let yaml =
        "mqtt:\n  broker: bü\ndevices:\n- device_id: ä\n  machine_name: A\n  mqtt_topic: t\n";
    let texts = [
        ("p.toml", example("cold-chain.toml")),
        ("p.toml", example_pipeline().to_owned()),
        ("s.toml", example("tapline.toml")),
        ("d.toml", example("devices.toml")),
        ("c.json", push.to_owned()),
        ("c.yaml", yaml.to_owned()),
    ];
    let bends =
        ["\"", "[", "]]", "{", "=", "\n", "ü", "'", "\0", "#", ".", "1e999", "\u{feff}", "\r"];
    for (file, text) in texts {
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)).step_by(7) {
            let bend = bends[at / 7 % bends.len()];
            let bent = [text[..at].to_owned(), format!("{}{bend}{}", &text[..at], &text[at..])];
            for text in bent {
                let shown = match &file[..1] {
                    "p" => pipeline_text(file, &text),
                    "s" => site_text(file, &text),
                    "d" => text_of(device::load(file, &text).map(|_| Vec::new())),
                    _ => push_text(file, &text),
                };
                assert!(!shown.contains("gehéim"), "{shown}");
            }
        }
    }
}
