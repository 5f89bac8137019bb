//! The project as it is written: which part may know which, and that documents name what is
//! there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tapline_tests::project;

/// From the top down, as in ARCHITECTURE.md; parts of one row know nothing of each other.
const ROWS: [&[&str]; 11] = [
    &["cli"],
    &["demo"],
    &["api"],
    &["replay"],
    &["reload"],
    &["backup", "pipeline", "delivery", "simulate", "stand_in"],
    &["broker", "module", "store"],
    &["telemetry"],
    &["config"],
    &["quantity"],
    &["message"],
];

fn files_below(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder);
    for entry in entries.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first names after each `crate::`, those in braces too.
fn named(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let inside = rest.strip_prefix('{').and_then(|r| r.split('}').next());
        let parts: Vec<_> = inside.map_or_else(|| vec![rest], |list| list.split(',').collect());
        for part in parts {
            let word: String =
                part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            names.push(word);
        }
    }
    names
}

#[test]
fn parts_of_the_host_know_only_parts_below_them() {
    let row: BTreeMap<_, _> = ROWS
        .iter()
        .enumerate()
        .flat_map(|(n, row)| row.iter().map(move |name| (*name, n)))
        .collect();
    let source = project().join("host/src");
    let mut files = Vec::new();
    files_below(&source, "rs", &mut files);
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&source).expect("found below it");
        let part = relative.components().next().expect("a file has a name").as_os_str();
        let part = part.to_string_lossy().trim_end_matches(".rs").to_owned();
        if ["main", "lib"].contains(&part.as_str()) {
            continue;
        }
        let Some(from) = row.get(&*part) else {
            wrong.push(format!("`{part}` stands in no row: add it here and to ARCHITECTURE.md"));
            continue;
        };
        seen.insert(part.clone());
        if is_test(relative) {
            continue;
        }
        let text = text_of(&file);
        let code = text.split("#[cfg(test)]\nmod ").next().expect("a split has a first part");
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for to in named(line) {
                let Some(below) = row.get(&*to) else { continue };
                if part != to && below <= from {
                    wrong.push(format!("{}: `{part}` knows `{to}`", relative.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies point down:\n{}", wrong.join("\n"));
    assert!(seen.contains("pipeline"), "the host's source was not found");
}

#[test]
fn an_outside_crate_is_named_in_one_part_alone() {
    let source = project().join("host/src");
    let mut files = Vec::new();
    files_below(&source, "rs", &mut files);
    for (outside, inside) in [
        ("rumqttc", "broker"),
        ("rumqttd", "broker"),
        ("wasmtime", "module"),
        ("rusqlite", "store"),
    ] {
        for file in &files {
            let relative = file.strip_prefix(&source).expect("found below it");
            if relative.starts_with(inside) || is_test(relative) {
                continue;
            }
            let text = text_of(file);
            let used = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let used: Vec<_> = used.filter(|line| names(line, outside)).collect();
            assert!(used.is_empty(), "{} names {outside}: {used:?}", relative.display());
        }
    }
}

/// Tests may look wherever they like.
fn is_test(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str().to_string_lossy().contains("test"))
}

/// Whether code on a line speaks to a crate, as `name::` or `name_v5::`.
fn names(line: &str, outside: &str) -> bool {
    line.match_indices(outside).any(|(at, _)| {
        let rest = &line[at + outside.len()..];
        rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').starts_with("::")
    })
}

#[test]
fn documents_name_only_files_that_are_there() {
    let mut documents: Vec<_> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(|n| project().join(n))
        .into();
    files_below(&project().join("docs"), "md", &mut documents);
    files_below(&project().join("wit"), "md", &mut documents);
    let mut missing = Vec::new();
    for document in documents {
        let text = text_of(&document);
        let folder = document.parent().expect("a file lies in a folder");
        for target in links(&text) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !folder.join(target).exists() {
                missing.push(format!("{}: {target}", document.display()));
            }
        }
        for path in paths(&text) {
            if !project().join(&path).exists() && !folder.join(&path).exists() {
                missing.push(format!("{}: `{path}`", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "named and not there:\n{}", missing.join("\n"));
}

#[test]
fn every_guarantee_names_tests_that_are_there() {
    let mut sources = Vec::new();
    for folder in ["tests/e2e", "host/src", "kit/src", "detectors", "sinks"] {
        files_below(&project().join(folder), "rs", &mut sources);
    }
    let code: String = sources.iter().map(|file| text_of(file)).collect();
    let text = text_of(&project().join("docs/guarantees.md"));
    let table = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| stage"));
    let mut missing = Vec::new();
    for line in table {
        let tests = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test holds `{line}`");
        missing.extend(named.into_iter().filter(|name| !code.contains(&format!("fn {name}("))));
    }
    assert_eq!(missing, Vec::<&str>::new(), "named and not there");
}

/// Targets of Markdown links.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// What stands in backticks and begins with one of the project's folders.
fn paths(text: &str) -> Vec<String> {
    const FOLDERS: [&str; 12] = [
        "host/",
        "guest-sdk/",
        "parsers/",
        "validators/",
        "detectors/",
        "sinks/",
        "pipelines/",
        "tests/",
        "xtask/",
        "docs/",
        "kit/",
        "wit/",
    ];
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)))
        .filter(|span| !span.contains(|c: char| c.is_whitespace() || "*<{…$".contains(c)))
        .map(str::to_owned)
        .collect()
}
