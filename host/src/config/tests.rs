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

#[test]
fn every_problem_of_a_pipeline_file_has_place_and_remedy() {
    check_cases("pipeline", pipeline_text);
}
