//! Modules that were built against the contract when it was published, and are never built again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tapline::module::Hash;
use tapline::replay::cases::{Surroundings, Verdict, find};
use tapline_tests::{Bench, COURSE, Machine, project};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];
/// Those that the pipeline which ships uses.
const NAMES: [&str; 3] = ["shelly", "session", "odoo"];

fn frozen() -> PathBuf {
    project().join("tests/contract/0.1.0")
}

fn wasm(name: &str) -> Vec<u8> {
    std::fs::read(frozen().join(name).with_extension("wasm")).expect("it is kept")
}

#[test]
fn pipelines_give_the_same_through_modules_of_the_first_contract() {
    let around = Surroundings {
        site: project().to_owned(),
        modules: Some(frozen()),
        compiled: None,
        env: BTreeMap::new(),
    };
    let cases = find(project()).expect("there are cases");
    assert!(cases.len() >= 4);
    for case in cases {
        match case.run(&around, false) {
            Verdict::Passed(items) => assert!(items > 0, "{} gives nothing", case.name),
            Verdict::Differs(difference) => panic!("{}:\n{}", case.name, difference.text),
            other => panic!("{}: {other:?}", case.name),
        }
    }
}

#[tokio::test]
async fn modules_of_the_first_contract_bring_a_session_to_odoo() {
    let press = Machine::new("press");
    let modules = frozen().display().to_string();
    let bench = Bench::with(|setup| setup.env("TAPLINE_MODULES", &modules)).await;
    bench.tapline.take(&[&press]).await;
    let status = bench.tapline.get("/api/v1/status").await.body;
    let running = status["modules"].as_array().expect("modules are listed");
    for (name, bytes) in NAMES.map(|name| (name, wasm(name))) {
        let hash = Hash::of(&bytes).short();
        assert!(
            running.iter().any(|one| one["module"] == name && one["hash"] == hash.as_str()),
            "{name} {hash} is not in {running:#?}"
        );
    }
    bench.devices.report(&press, &COURSE).await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[0].session_uid, events[1].session_uid);
    bench.odoo.is_content();
}
