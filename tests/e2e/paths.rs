//! Files that are none, and names that lead elsewhere: each is named once, nothing hangs, and
//! nothing outside is read.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tapline_tests::{Bench, COURSE, Machine, copy_of_shipped, fixtures, shipped_modules, write};

use super::files::SITE;

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// A pipeline of this name whose parser is this module; further lines may follow.
fn parses_with(name: &str, module: &str, more: &str) -> String {
    format!(
        "format = 1\nname = \"{name}\"\n[[source]]\nname = \"orders\"\nbroker = \"main\"\n\
         topics = [\"{name}/{{device}}\"]\nunknown_devices = \"accept\"\n[[parse]]\n\
         name = \"parse\"\nmodule = \"{module}\"\ntopics = [\"{name}/#\"]\n{more}"
    )
}

/// Names of files in the modules folder, and what is said of each.
const FILES: [(&str, &str); 6] = [
    ("passwd", "outside its folder"),
    ("folder", "a folder stands in place of a file"),
    ("pipe", "a pipe"),
    ("sparse", "has 1073741824 bytes"),
    ("dangling", "cannot be read"),
    ("circle", "cannot be read"),
];

fn tricks(site: &Path) {
    let place = |name: &str| site.join("modules").join(name).with_extension("wasm");
    std::fs::create_dir_all(site.join("modules")).expect("scratch is writable");
    symlink("/etc/passwd", place("passwd")).expect("scratch is writable");
    std::fs::create_dir(place("folder")).expect("scratch is writable");
    let made = Command::new("mkfifo").arg(place("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()), "no pipe can be made");
    let sparse = std::fs::File::create(place("sparse")).expect("scratch is writable");
    sparse.set_len(1 << 30).expect("scratch is writable");
    symlink("nowhere", place("dangling")).expect("scratch is writable");
    symlink("circle.wasm", place("circle")).expect("scratch is writable");
    for (name, _) in FILES {
        write(site, &format!("pipelines/{name}.toml"), parses_with(name, name, ""));
    }
}

/// Names in pipeline files, and what is said of each.
fn names() -> Vec<(&'static str, String, &'static str)> {
    let long = "x".repeat(5000);
    let schema = |path: &str| format!("[[validate]]\nname = \"shape\"\nschema = \"{path}\"\n");
    let module = |name: &str, module: &str| parses_with(name, module, "");
    vec![
        ("up", module("up", "../session"), "is not a name"),
        ("absolute", module("absolute", "/etc/passwd"), "is not a name"),
        ("nul", module("nul", "a\\u0000b"), "is not a name"),
        ("schema-up", parses_with("schema-up", "hostile", &schema("../x.json")), "leads out of"),
        (
            "schema-absolute",
            parses_with("schema-absolute", "hostile", &schema("/etc/passwd")),
            "leads out of",
        ),
        (
            "schema-nul",
            parses_with("schema-nul", "hostile", &schema("a\\u0000b")),
            "cannot be read",
        ),
        ("schema-long", parses_with("schema-long", "hostile", &schema(&long)), "cannot be read"),
        ("schema-pipe", parses_with("schema-pipe", "hostile", &schema("pipe.json")), "a pipe"),
    ]
}

#[tokio::test]
async fn tricks_with_paths_are_named_once_each_and_hold_nobody_up() {
    let press = Machine::new("press");
    let hostile = std::fs::read(fixtures().join("hostile.wasm")).expect("it was built");
    let bench = Bench::with(|setup| {
        setup
            .site("tapline.toml", SITE)
            .site("pipelines/workshop.toml", &copy_of_shipped("workshop"))
            .site_bytes("modules/hostile.wasm", hostile)
    })
    .await;
    bench.tapline.take(&[&press]).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    let site = bench.tapline.dir().join("site");
    tricks(&site);
    let made = Command::new("mkfifo").arg(site.join("pipe.json")).status();
    assert!(made.is_ok_and(|status| status.success()), "no pipe can be made");
    for (name, text, _) in names() {
        write(&site, &format!("pipelines/{name}.toml"), text);
    }
    let output = bench.tapline.output(&["check", "--json", "site"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!said.contains("root:"), "{said}");
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let errors: Vec<Value> = lines.filter(|line| line["severity"] == "error").collect();
    let names = names();
    let all = FILES.iter().copied().chain(names.iter().map(|(name, _, what)| (*name, *what)));
    let expected: BTreeSet<_> = all.collect();
    for (name, what) in &expected {
        let file = format!("pipelines/{name}.toml");
        let of: Vec<_> = errors.iter().filter(|e| e.to_string().contains(&file)).collect();
        assert_eq!(of.len(), 1, "{name}: {of:#?}\n{said}");
        assert!(of[0].to_string().contains(what), "{name}: {:#}", of[0]);
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    // The running one names them, too, and goes on.
    bench
        .tapline
        .until("they are named", |health| {
            let problems = health["problems"].to_string();
            assert!(!problems.contains("root:"), "{problems}");
            problems.contains("pipelines/pipe.toml") && problems.contains("pipelines/up.toml")
        })
        .await;
    bench.devices.report(&press, &COURSE[2..]).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.is_content();
}

#[tokio::test]
async fn a_module_that_is_swapped_by_a_link_acts_or_the_one_before_goes_on() {
    let press = Machine::new("press");
    let session = std::fs::read(shipped_modules().join("session.wasm")).expect("it was built");
    let shipped = copy_of_shipped("workshop");
    let pipeline = shipped.replace("module = \"session\"", "module = \"own\"");
    assert_ne!(pipeline, shipped);
    let bench = Bench::with(|setup| {
        setup
            .site("tapline.toml", SITE)
            .site("pipelines/workshop.toml", &pipeline)
            .site("pipelines/README.md", "")
            .site_bytes("modules/own.wasm", session.clone())
            .site_bytes("builds/one/session.wasm", super::reload_load::numbered(&session, 1))
            .site_bytes("builds/two/session.wasm", super::reload_load::numbered(&session, 2))
            .site("modules/README.md", "")
    })
    .await;
    let site = bench.tapline.dir().join("site");
    let link = |to: &str| {
        symlink(to, site.join("modules/.new")).expect("scratch is writable");
        std::fs::rename(site.join("modules/.new"), site.join("modules/own.wasm"))
            .expect("scratch is writable");
    };
    bench.tapline.take(&[&press]).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    for (to, fits) in [
        ("../builds/two/session.wasm", true),
        ("/etc/passwd", false),
        ("../builds/one/session.wasm", true),
        ("../../../../../../../etc/passwd", false),
    ] {
        let before = bench.tapline.logged("files_applied").len();
        link(to);
        bench
            .tapline
            .until(to, |health| {
                let problems = health["problems"].to_string();
                assert!(!problems.contains("root:"), "{problems}");
                match fits {
                    true => {
                        health["problems"].is_null()
                            && bench.tapline.logged("files_applied").len() > before
                    }
                    false => problems.contains("outside its folder"),
                }
            })
            .await;
    }
    bench.devices.report(&press, &COURSE[2..]).await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[0].session_uid, events[1].session_uid);
    bench.odoo.is_content();
}
