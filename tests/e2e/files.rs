//! Files of a site that change under a running Tapline, in every way that files change.

use std::os::unix::fs::symlink;
use std::path::Path;

use tapline_tests::{Bench, COURSE, Machine, Setup, copy_of_shipped, document, fixtures, write};

pub(super) const SITE: &str = "format = 1\n[reload]\nrescan = \"1s\"\n";
const DEAF: &str = "format = 1\n[reload]\nrescan = \"1s\"\nevents = false\n";
const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// The shipped pipeline whose sessions begin at so many watts.
fn pipeline(threshold: u32) -> String {
    let shipped = copy_of_shipped("workshop");
    let text = shipped
        .replace("standby_threshold_w  = 5.0", &format!("standby_threshold_w  = {threshold}.0"))
        .replace("working_threshold_w  = 50.0", "working_threshold_w  = 9000.0");
    assert_ne!(text, shipped);
    text
}

/// A machine that leaves its thresholds to the pipeline.
fn plain(machine: &Machine) -> serde_json::Value {
    let mut document = document(&[machine]);
    let config = document["devices"][0]["session_config"].as_object_mut().expect("an object");
    config.retain(|name, _| name == "message_timeout_s");
    document
}

async fn bench(machine: &Machine, change: impl FnOnce(Setup) -> Setup) -> Bench {
    let bench = Bench::with(change).await;
    bench.tapline.push(&plain(machine)).await;
    bench.tapline.subscribed(2).await;
    bench
}

/// Waits until files were taken up so often since the start.
async fn taken_up(bench: &Bench, times: usize) {
    bench
        .tapline
        .until("the change is taken up", |_| bench.tapline.logged("files_applied").len() >= times)
        .await;
}

/// A course at 100 W starts a session only where the threshold is lower.
async fn the_threshold_is_high(bench: &Bench, machine: &Machine, at: f64) {
    let before = bench.odoo.of(machine).len();
    let course = COURSE.map(|(second, power)| (at + second, power));
    bench.devices.report(machine, &course).await;
    bench.settle_beside(plain(machine)).await;
    assert_eq!(bench.odoo.of(machine).len(), before, "the old threshold is still in force");
}

#[tokio::test]
async fn a_change_acts_however_the_file_comes_there() {
    type Way = fn(&Path);
    let rewrite: Way = |site| write(site, "pipelines/workshop.toml", pipeline(8000));
    let rename: Way = |site| {
        write(site, "pipelines/.workshop.toml.new", pipeline(8000));
        std::fs::rename(
            site.join("pipelines/.workshop.toml.new"),
            site.join("pipelines/workshop.toml"),
        )
        .expect("scratch is writable");
    };
    for (site, way) in [(SITE, rewrite), (SITE, rename), (DEAF, rewrite), (DEAF, rename)] {
        let press = Machine::new("press");
        let bench = bench(&press, |setup| {
            setup.site("tapline.toml", site).site("pipelines/workshop.toml", &pipeline(5))
        })
        .await;
        bench.devices.report(&press, &COURSE).await;
        bench.odoo.kinds(&press, &WHOLE).await;
        way(&bench.tapline.dir().join("site"));
        taken_up(&bench, 1).await;
        the_threshold_is_high(&bench, &press, 100.0).await;
    }
}

#[tokio::test]
async fn a_mounted_configuration_is_swapped_by_its_link() {
    // As container platforms do: `pipelines` leads through `..data` to a dated folder.
    let press = Machine::new("press");
    let bench = Bench::with(|setup| {
        setup
            .site("tapline.toml", SITE)
            .site("one/workshop.toml", &pipeline(5))
            .site("two/workshop.toml", &pipeline(8000))
            .site("modules/README.md", "")
    })
    .await;
    let site = bench.tapline.dir().join("site");
    symlink("one", site.join("..data")).expect("scratch is writable");
    symlink("..data", site.join("pipelines")).expect("scratch is writable");
    bench.tapline.push(&plain(&press)).await;
    bench.tapline.subscribed(2).await;
    taken_up(&bench, 1).await;
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    symlink("two", site.join("..data.new")).expect("scratch is writable");
    std::fs::rename(site.join("..data.new"), site.join("..data")).expect("scratch is writable");
    taken_up(&bench, 2).await;
    the_threshold_is_high(&bench, &press, 100.0).await;
}

#[tokio::test]
async fn a_wrong_file_leaves_the_old_running_also_after_a_restart_until_it_is_mended() {
    let press = Machine::new("press");
    let mut bench = bench(&press, |setup| {
        setup.site("tapline.toml", SITE).site("pipelines/workshop.toml", &pipeline(5))
    })
    .await;
    let site = bench.tapline.dir().join("site");
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    write(&site, "pipelines/workshop.toml", pipeline(5).replace("[[parse]]", "[[prase]]"));
    let named = |health: &serde_json::Value| {
        let problems = health["problems"].to_string();
        problems.contains("pipelines/workshop.toml") && problems.contains("prase")
    };
    bench.tapline.until("the file is named", named).await;
    bench.tapline.terminate().await;
    bench.start_again(1).await;
    bench.tapline.until("it is named after a restart, too", named).await;
    let status = bench.tapline.output(&["status"]).await;
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stdout).contains("prase"), "{status:?}");
    // The session goes on in what was accepted last.
    bench.devices.report(&press, &COURSE[2..]).await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[0].session_uid, events[1].session_uid);
    write(&site, "pipelines/workshop.toml", pipeline(8000));
    bench.tapline.until("it is mended", |h| h["problems"].is_null()).await;
    the_threshold_is_high(&bench, &press, 100.0).await;
}

#[tokio::test]
async fn devices_of_a_file_come_change_and_go() {
    let press = Machine::new("press");
    let file = |topic: &str| {
        format!(
            "[[device]]\ndevice_id = \"press\"\nmachine_name = \"Press\"\nmqtt_topic = \"{topic}\"\n\
             parser_type = \"shelly_pm\"\nsession_config = {{ message_timeout_s = 7200.0 }}\n"
        )
    };
    let bench = Bench::with(|setup| {
        setup.site("tapline.toml", SITE).site("devices/hall.toml", &file("elsewhere/events/rpc"))
    })
    .await;
    let site = bench.tapline.dir().join("site");
    bench.tapline.subscribed(2).await;
    write(&site, "devices/hall.toml", file(&press.topic()));
    taken_up(&bench, 1).await;
    bench.tapline.subscribed(2).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    std::fs::remove_file(site.join("devices/hall.toml")).expect("it is there");
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[1].payload["reason"], "device_removed");
    bench.tapline.subscribed(0).await;
}

/// A pipeline that counts readings with the module `counter`.
const COUNT: &str = "format = 1
name = \"count\"
[[source]]
name = \"meters\"
broker = \"main\"
devices = true
[[parse]]
name = \"shelly\"
module = \"shelly\"
parser_types = [\"shelly_pm\"]
[[detect]]
name = \"count\"
module = \"counter\"
take = [\"reading:power_w\"]
key = [\"device\"]
[[sink]]
name = \"odoo\"
module = \"odoo\"
endpoint = \"odoo\"
take = [\"event:counted\"]
";

/// A module of the tests.
pub(super) fn module(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name).with_extension("wasm")).expect("it was built")
}

/// A pipeline that counts the machine's readings with this version of the detector.
pub(super) async fn counting(press: &Machine, version: &str) -> Bench {
    let bench = counting_with(press, SITE, &module(version)).await;
    bench.tapline.subscribed(2).await;
    bench
}

/// The same with these bytes for the detector, which need not run.
pub(super) async fn counting_with(press: &Machine, site: &str, module: &[u8]) -> Bench {
    let device = format!(
        "[[device]]\ndevice_id = \"press\"\nmachine_name = \"Press\"\nmqtt_topic = \"{}\"\n\
         parser_type = \"shelly_pm\"\n",
        press.topic()
    );
    Bench::with(|setup| {
        setup
            .site("tapline.toml", &site.replace("format = 1", "format = 1\nshipped = []"))
            .site("pipelines/count.toml", COUNT)
            .site("devices/hall.toml", &device)
            .site_bytes("modules/counter.wasm", module.to_vec())
    })
    .await
}

/// It has counted so many readings in its first version; then the second one lies in its place.
async fn counted_then_replaced(press: &Machine, readings: usize) -> Bench {
    let bench = counting(press, "counter").await;
    for n in 0..readings {
        bench.devices.report(press, &[(n as f64, 100.0)]).await;
    }
    bench.odoo.kinds(press, &vec!["counted"; readings]).await;
    let site = bench.tapline.dir().join("site");
    write(&site, "modules/counter.wasm", module("counter-next"));
    bench
}

#[tokio::test]
async fn a_newer_detector_goes_on_with_the_state_of_the_older_one() {
    let press = Machine::new("press");
    let mut bench = counted_then_replaced(&press, 2).await;
    taken_up(&bench, 1).await;
    bench.devices.report(&press, &[(10.0, 100.0)]).await;
    let events = bench.odoo.kinds(&press, &["counted"; 3]).await;
    let last = &events[2].payload;
    assert_eq!((&last["count"], &last["version"]), (&3.into(), &2.into()));
    // Its own state is kept like any other.
    bench.tapline.kill().await;
    bench.start_again(1).await;
    bench.devices.report(&press, &[(20.0, 100.0)]).await;
    let events = bench.odoo.kinds(&press, &["counted"; 4]).await;
    assert_eq!(events[3].payload["count"], 4);
}

#[tokio::test]
async fn a_site_that_disappears_changes_nothing_until_it_is_back() {
    let press = Machine::new("press");
    let bench = counting(&press, "counter").await;
    let counts = async |readings: usize| {
        bench.devices.report(&press, &[(readings as f64, 100.0)]).await;
        bench.odoo.kinds(&press, &vec!["counted"; readings]).await;
    };
    let told = async |words: &str| {
        let told = |health: &serde_json::Value| health["problems"].to_string().contains(words);
        bench.tapline.until(words, told).await;
    };
    let [site, away] = ["site", "away"].map(|name| bench.tapline.dir().join(name));
    std::fs::rename(&site, &away).expect("scratch is writable");
    told("is no directory").await;
    counts(1).await;
    // A disk that is gone leaves an empty folder where it was mounted.
    std::fs::create_dir(&site).expect("scratch is writable");
    told("has no files any more").await;
    counts(2).await;
    std::fs::remove_dir(&site).expect("scratch is writable");
    std::fs::rename(&away, &site).expect("scratch is writable");
    bench.tapline.until("it is back", |health| health["problems"].is_null()).await;
    counts(3).await;
    assert_eq!(bench.tapline.logged("files_applied").len(), 0);
}

#[tokio::test]
async fn a_detector_that_cannot_read_the_older_state_is_not_taken_up() {
    let press = Machine::new("press");
    let bench = counted_then_replaced(&press, 3).await;
    let health = bench
        .tapline
        .until("the reason is named", |health| {
            health["problems"].to_string().contains("a count of 3 cannot be brought over")
        })
        .await;
    assert_eq!(health["pipelines"]["count"]["running"], true);
    bench.devices.report(&press, &[(10.0, 100.0)]).await;
    let events = bench.odoo.kinds(&press, &["counted"; 4]).await;
    let last = &events[3].payload;
    assert_eq!((&last["count"], &last["version"]), (&4.into(), &1.into()));
}
