//! What has to hold whatever others wrote holds of what the repository has, whole and cut short.

use std::path::Path;

use tapline_tests::{fixtures, project, properties};

/// The files below a folder whose names end so.
fn files(folder: &Path, ending: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(std::fs::read(&path).expect("it can be read"));
            }
        }
    }
    assert!(!found.is_empty(), "{} has no file {ending}", folder.display());
    found
}

/// Each file whole, and cut at some places.
fn each(folders: &[(&str, &str)], holds: impl Fn(&[u8])) {
    for (folder, ending) in folders {
        for file in files(&project().join(folder), ending) {
            for part in 1..=8 {
                holds(&file[..file.len() * part / 8]);
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn pipeline_files_are_read_or_refused_in_words() {
    let folders = [("pipelines", ".toml"), ("host/tests-data/config/pipeline", ".toml")];
    each(&folders, |bytes| properties::pipeline_file(&text(bytes)));
}

#[test]
fn pushed_documents_read_back_as_the_same() {
    let folders = [("pipelines/tests", "devices.json"), ("host/tests-data/config/push", ".json")];
    each(&folders, |bytes| properties::config_document(&text(bytes)));
}

#[test]
fn messages_are_read_or_refused_in_words() {
    each(&[("parsers", ".jsonl"), ("pipelines/tests", ".jsonl")], |bytes| {
        properties::message_lines(bytes);
        bytes.split(|byte| *byte == b'\n').for_each(properties::message_lines);
    });
}

#[test]
fn modules_are_loaded_or_refused_in_words() {
    for module in files(&fixtures(), ".wasm") {
        for part in 1..=8 {
            properties::module_bytes(&module[..module.len() * part / 8]);
        }
    }
}

#[test]
fn topic_filters_take_what_the_broker_sends() {
    let texts = [
        "#",
        "+/a",
        "a/+",
        "a/#",
        "$share/g/a/+",
        "{m}/a",
        "a/{m}/b",
        "a",
        "a/b",
        "$SYS/a",
        "",
        "/",
    ];
    for one in texts {
        for other in texts {
            for topic in texts {
                properties::topic_filter((one, other, topic));
            }
        }
    }
}
