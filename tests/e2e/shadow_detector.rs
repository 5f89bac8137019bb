//! A new version of a detector beside the live one: it has a state of its own, which goes along
//! with the live one, and is promoted with the state that there is.

use serde_json::Value;
use tapline_tests::{Bench, COURSE, Machine, eventually, shipped_modules, write};

use super::files::{counting, module};
use super::reload_load::numbered;
use super::shadow::said;

/// Gives the detector of `pipeline` a shadow, and waits until it runs.
async fn shadowed(bench: &Bench, pipeline: &str, bytes: Vec<u8>) {
    let site = bench.tapline.dir().join("site");
    write(&site, "modules/next.wasm", bytes);
    let file = format!("pipelines/{pipeline}.toml");
    let text = std::fs::read_to_string(site.join(&file)).expect("it is there");
    let place = text.find("[[detect]]").expect("it has a detector") + "[[detect]]\n".len();
    let text = format!("{}shadow = \"next.wasm\"\n{}", &text[..place], &text[place..]);
    write(&site, &file, text);
    eventually("the shadow runs", || async {
        let view = view(bench).await;
        if view.is_null() { Err(bench.tapline.health().await) } else { Ok(()) }
    })
    .await;
}

async fn view(bench: &Bench) -> Value {
    bench.tapline.get("/api/v1/shadow").await.body["shadows"][0].clone()
}

/// The view, once so many inputs have this outcome and none waits.
async fn compared(bench: &Bench, outcome: &str, inputs: u64) -> Value {
    eventually(&format!("{inputs} inputs are {outcome}"), || async {
        let view = view(bench).await;
        let is = |name: &str, count: u64| view[name] == count;
        if is(outcome, inputs) && is("waiting", 0) { Ok(view) } else { Err(view) }
    })
    .await
}

#[tokio::test]
async fn a_detectors_shadow_counts_on_from_the_live_state_and_takes_its_place() {
    let press = Machine::new("press");
    let bench = counting(&press, "counter").await;
    bench.devices.report(&press, &[(0.0, 100.0)]).await;
    bench.odoo.kinds(&press, &["counted"; 1]).await;
    shadowed(&bench, "count", module("counter-next")).await;
    bench.devices.report(&press, &[(1.0, 100.0), (2.0, 100.0)]).await;
    // Both count on from one; what each says of itself is another.
    let view = compared(&bench, "different", 2).await;
    assert_eq!((&view["role"], &view["inputs"]), (&"detector".into(), &2.into()), "{view}");
    let last = &view["last"][0];
    assert_eq!(last["key"], "press", "{view}");
    assert!(last["live"].to_string().contains("\\\"count\\\":2,\\\"version\\\":1"), "{view}");
    assert!(last["shadow"].to_string().contains("\\\"count\\\":2,\\\"version\\\":2"), "{view}");
    let (code, text, _) = said(&bench, &["shadow"]).await;
    assert_eq!(code, Some(1));
    for words in ["count.count", "different key press (press)"] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    // Nothing of it was delivered.
    let events = bench.odoo.kinds(&press, &["counted"; 3]).await;
    assert!(events.iter().all(|event| event.payload["version"] == 1), "{events:?}");

    // A count of three it does not read: promoting is refused, and all stays as it is.
    let (code, _, error) = said(&bench, &["shadow", "promote", "count.count"]).await;
    assert!(code == Some(4) && error.contains("a count of 3 cannot be brought over"), "{error}");
    bench.devices.report(&press, &[(3.0, 100.0)]).await;
    let events = bench.odoo.kinds(&press, &["counted"; 4]).await;
    assert_eq!(events[3].payload["count"], 4);

    let (code, _, error) = said(&bench, &["shadow", "promote", "count.count"]).await;
    assert_eq!(code, Some(0), "{error}");
    bench.devices.report(&press, &[(4.0, 100.0)]).await;
    let events = bench.odoo.kinds(&press, &["counted"; 5]).await;
    let last = &events[4].payload;
    assert_eq!((&last["count"], &last["version"]), (&5.into(), &2.into()));
    assert!(view_is_gone(&bench).await);
}

async fn view_is_gone(bench: &Bench) -> bool {
    view(bench).await.is_null()
}

#[tokio::test]
async fn a_detectors_shadow_that_cannot_read_the_state_begins_afresh_and_says_so() {
    let press = Machine::new("press");
    let bench = counting(&press, "counter").await;
    bench.devices.report(&press, &[(0.0, 100.0), (1.0, 100.0), (2.0, 100.0)]).await;
    bench.odoo.kinds(&press, &["counted"; 3]).await;
    shadowed(&bench, "count", module("counter-next")).await;
    bench.devices.report(&press, &[(3.0, 100.0)]).await;
    let view = compared(&bench, "different", 1).await;
    let afresh = view["afresh"].to_string();
    assert!(afresh.contains("one key afresh") && afresh.contains("a count of 3 cannot"), "{view}");
    let (_, text, _) = said(&bench, &["shadow"]).await;
    assert!(text.contains("a count of 3 cannot be brought over"), "{text}");
    assert!(bench.tapline.health().await["warnings"].is_null());
}

#[tokio::test]
async fn a_detectors_shadow_that_breaks_costs_nothing_but_itself() {
    let press = Machine::new("press");
    let bench = counting(&press, "counter").await;
    shadowed(&bench, "count", module("counter-broken")).await;
    for n in 0..30 {
        bench.devices.report(&press, &[(f64::from(n), 100.0)]).await;
    }
    let events = bench.odoo.kinds(&press, &["counted"; 30]).await;
    assert_eq!(events[29].payload["count"], 30);
    let view = eventually("it has stopped", || async {
        let view = view(&bench).await;
        if view["stopped"].is_null() || view["waiting"] != 0 { Err(view) } else { Ok(view) }
    })
    .await;
    assert!(view["stopped"].to_string().contains("the counter's wheel is stuck"), "{view}");
    let health = bench.tapline.health().await;
    assert_eq!((&health["status"], &health["problems"]), (&"ok".into(), &Value::Null), "{health}");
    assert!(health["warnings"].to_string().contains("of `count.count` has stopped"), "{health}");
    let (code, _, error) = said(&bench, &["shadow", "drop", "count.count"]).await;
    assert_eq!(code, Some(0), "{error}");
}

#[tokio::test]
async fn sessions_with_their_timers_are_the_same_on_both_sides() {
    let press = Machine::new("press");
    let site = include_str!("../../pipelines/workshop.toml");
    let bench = Bench::with(|setup| setup.site("pipelines/workshop.toml", site)).await;
    bench.tapline.take(&[&press]).await;
    let session = std::fs::read(shipped_modules().join("session.wasm")).expect("it was built");
    // A session that the shadow has not seen begin.
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.kinds(&press, &["session_started"]).await;
    shadowed(&bench, "workshop", numbered(&session, 1)).await;
    bench.devices.report(&press, &COURSE[2..]).await;
    bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    let view = eventually("nothing waits", || async {
        let view = view(&bench).await;
        let is_done = view["waiting"] == 0 && view["same"].as_u64() > Some(1);
        if is_done { Ok(view) } else { Err(view) }
    })
    .await;
    assert_eq!(view["same"], view["inputs"], "{view}");
    assert!(view["afresh"].is_null(), "{view}");
}
