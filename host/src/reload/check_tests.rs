//! The wording of what `tapline check` says of whole sites: `host/tests-data/check/<case>/`.
//!
//! Each case is a site directory beside `expected.txt`; modules that its pipelines name are
//! put there by the test. `TAPLINE_RENEW=1 cargo test -p tapline --lib reload::check` writes
//! what the program says now; read the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::{Look, report};
use crate::module::tests::{forbidden, of_another_version, wasm};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/check")
}

/// The modules that cases may name, beside those that ship.
fn module(name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "forbidden" => forbidden(),
        "older" => of_another_version(),
        "hostile" => wasm("hostile"),
        "text" => b"-----BEGIN CERTIFICATE-----\nMIIB\n".to_vec(),
        "program" => b"\x7fELF\x02\x01\x01\x00".to_vec(),
        "packed" => b"\x1f\x8b\x08\x00".to_vec(),
        "empty" => Vec::new(),
        "cut" => {
            // Kept as it was built: what is said names places in it.
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/contract/0.1.0");
            let whole = fs::read(Path::new(folder).join("payload-format.wasm")).unwrap();
            whole[..whole.len() / 2].to_vec()
        }
        _ => return None,
    })
}

fn copy(from: &Path, to: &Path, texts: &mut String) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target, texts);
        } else {
            texts.push_str(&String::from_utf8_lossy(&fs::read(&source).unwrap()));
            fs::copy(&source, &target).unwrap();
        }
    }
}

fn said(case: &Path, engine: &Engine) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let site = scratch.path().join("site");
    let mut texts = String::new();
    copy(&case.join("site"), &site, &mut texts);
    for name in ["forbidden", "older", "hostile", "text", "program", "packed", "empty", "cut"] {
        let is_named = |key: &str| texts.contains(&format!("{key} = \"{name}"));
        if is_named("module") || is_named("shadow") {
            fs::create_dir_all(site.join("modules")).unwrap();
            fs::write(
                site.join("modules").join(name).with_extension("wasm"),
                module(name).unwrap(),
            )
            .unwrap();
        }
    }
    let options = Options {
        site: Some(site.clone()),
        data: scratch.path().join("data"),
        env: Default::default(),
        config_file: None,
        modules: None,
    };
    let found = check_with(&options, engine, Timestamp(1_790_000_000_000));
    report(&found.problems, &found.warnings, Look::Plain)
}

#[test]
fn every_problem_of_a_site_is_said_at_once_with_place_and_remedy() {
    // Compiles what ships once for all cases.
    let cache = tempfile::tempdir().unwrap();
    let engine = Engine::new(Some(cache.path().into()), EngineOptions::default()).unwrap();
    let mut failed = Vec::new();
    let mut all: Vec<_> = fs::read_dir(cases()).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    for case in &all {
        let said = said(case, &engine);
        let expected = case.join("expected.txt");
        if std::env::var_os("TAPLINE_RENEW").is_some() {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            failed.push(format!("{}:\n{said}", case.display()));
        }
    }
    assert!(!all.is_empty() && failed.is_empty(), "{}", failed.join("\n"));
}
