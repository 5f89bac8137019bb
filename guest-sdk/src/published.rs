//! Holds `wit/` to what was published (`wit/published.txt`).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::quantity::ALL;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Hash of a file without comments, indentation and empty lines: those may change.
fn hash(file: &str) -> String {
    let text = read(file);
    let lines = text.lines().map(str::trim);
    let meant: Vec<_> = lines.filter(|line| !line.is_empty() && !line.starts_with("//")).collect();
    Sha256::digest(meant.join("\n")).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[test]
fn what_was_published_still_holds() {
    let mut now: Vec<_> = ["frozen/0.1.0/module.wit", "frozen/0.1.0/host.wit"]
        .map(|file| format!("{file} {}", hash(file)))
        .into_iter()
        .collect();
    now.extend(ALL.iter().map(|known| {
        let kind = format!("{:?}", known.kind).to_lowercase();
        format!("quantity {} {} {} {kind}", known.quantity.number(), known.name, known.unit)
    }));
    let published = read("published.txt");
    let lines = published.lines().filter(|line| !line.starts_with('#'));
    let gone: Vec<_> = lines.clone().filter(|line| !now.iter().any(|now| now == line)).collect();
    let fresh: Vec<_> = now.iter().filter(|now| !lines.clone().any(|line| line == *now)).collect();
    assert!(gone.is_empty(), "published, but no longer so: {gone:#?}\nnow: {fresh:#?}");
    assert!(fresh.is_empty(), "to be added to wit/published.txt: {fresh:#?}");
}

#[test]
fn numbers_and_names_of_quantities_are_unique() {
    for pair in ALL.windows(2) {
        assert!(pair[0].quantity < pair[1].quantity, "{:?} twice", pair[1].quantity);
    }
    let mut names: Vec<_> = ALL.iter().map(|known| known.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(ALL.iter().all(|known| known.quantity.number() < crate::Quantity::FIRST_OWN));
}
