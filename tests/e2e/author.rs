//! An author's way, as each language's guide has it: from nothing to a live reading, and on to
//! changes of what runs.
//!
//! `--nocapture` shows how long that took.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use tapline_tests::{Mosquitto, Publisher, Setup, Talk, Tapline, typed_in, write};

/// What an author of a language does in the course of it.
struct Way {
    language: &'static str,
    guide: &'static str,
    source: &'static str,
    /// Code of the template, and the same with a slip.
    slip: (&'static str, &'static str),
    /// Twice as much comes out, and what is more than 9000 has no meaning.
    change: [(&'static str, &'static str); 2],
    /// Words and place of what such a value leads to.
    failure: &'static str,
}

const REPORT: &str = "{\"power\":12.5}";
const FIRST: &str = "→ reading of saw: power_w=12.5";
const CHANGED: &str = "→ reading of saw: power_w=25.0";

pub(super) fn edit(file: &Path, changes: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(file).expect("the project has it");
    for (from, to) in changes {
        assert!(text.contains(from), "{} has no `{from}`", file.display());
        text = text.replace(from, to);
    }
    std::fs::write(file, text).expect("scratch is writable");
}

/// The seconds in `my-meter runs, 1.5 s after the save`.
fn seconds(said: &str) -> f64 {
    let line = said.lines().last().expect("it has a line");
    let before = line.split(" s after the save").next().and_then(|text| text.rsplit(' ').next());
    before.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no seconds: {line}"))
}

async fn follow(way: Way) {
    let broker = Mosquitto::start().await;
    let site = Setup::new().port(broker.port()).site("tapline.toml", "format = 1\n");
    let mut tapline = site.site("modules/.keep", "").start().await;
    let guide = typed_in(way.guide);
    let [new, build, keep, run, dev] = guide.as_slice() else {
        panic!("another guide: {guide:#?}")
    };

    let begun = Instant::now();
    tapline.types(new).await;
    let folder = tapline.dir().join("my-meter");
    let samples = folder.join("samples/my-meter.jsonl");
    let sample = || {
        let text = std::fs::read_to_string(&samples).expect("it has samples");
        serde_json::from_str::<Value>(&text).expect("one line")
    };
    assert_eq!(sample()["topic"], "plant/saw");
    tapline.types(build).await;
    tapline.types(keep).await;
    assert_eq!(sample()["expect"][0]["power_w"], 12.5);
    tapline.types(run).await;
    tapline
        .until("the pipeline runs", |health| health["pipelines"]["plant"]["running"] == true)
        .await;
    tapline.subscribed(1).await;
    let mut dev = Talk::start(&mut tapline.shell(&format!("exec {dev}")));
    let devices = Publisher::connect(broker.port()).await;
    dev.says("showing what `meter` of `plant`").await;
    dev.shows(&devices, "plant/saw", REPORT, FIRST).await;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let source = folder.join(way.source);
    let lines = std::fs::read_to_string(&source).expect("the project has it").lines().count();
    let typed: usize = guide.iter().map(|block| block.lines().count()).sum();

    // A slip comes with its line, and what ran before runs on.
    edit(&source, &[way.slip]);
    let said = dev.says("waiting for the next save").await;
    assert!(said.contains(&format!("{}:", way.source)), "{said}");
    dev.shows(&devices, "plant/saw", REPORT, FIRST).await;

    // So does what breaks a promise, until the author takes it back.
    let change = way.change;
    edit(&source, &[(way.slip.1, way.slip.0), change[0], change[1]]);
    let said = dev.says("waiting for the next save").await;
    for words in ["FAILED  samples/my-meter.jsonl:1", "`power_w`\n-   12.5\n+   25.0\n", "--accept"]
    {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    dev.shows(&devices, "plant/saw", REPORT, FIRST).await;
    tapline.types(keep).await;
    let promise = seconds(&dev.says("my-meter runs").await);
    dev.shows(&devices, "plant/saw", REPORT, CHANGED).await;

    // What fails on a live message is told in the author's words.
    let told = dev.shows(&devices, "plant/saw", "{\"power\":9999}", "✗ refused").await;
    assert!(told.contains("too hot: 9999") && told.contains(way.failure), "{told}");

    dev.says("first live result").await;
    edit(&source, &[("9000", "8000")]);
    let runs = seconds(&dev.says("my-meter runs").await);
    dev.shows(&devices, "plant/saw", REPORT, CHANGED).await;
    let live = seconds(&dev.says("first live result").await);
    println!(
        "author: {}: {minutes:.1} minutes and {typed} lines typed from `tapline new` to the first \
         live reading, with a module of {lines} lines; from save to running {runs:.1} s, to the \
         first live reading {live:.1} s; from the save of a sample to running {promise:.1} s",
        way.language
    );
    dev.end().await;
    tapline.terminate().await;
}

#[tokio::test]
async fn the_guide_leads_from_nothing_to_a_live_reading_in_rust() {
    follow(Way {
        language: "rust",
        guide: "write-a-parser.md",
        source: "src/lib.rs",
        slip: ("watts * self.0.ratio", "watts * self.0.ratioo"),
        change: [
            ("|watts| watts", "|watts| 2.0 * watts"),
            (
                "= message.json()?;\n",
                "= message.json()?;\n        assert!(power < Some(9000.0), \"too hot: {}\", power.unwrap_or(0.0));\n",
            ),
        ],
        failure: "src/lib.rs:",
    })
    .await;
}

#[tokio::test]
async fn the_guide_leads_from_nothing_to_a_live_reading_in_python() {
    if super::languages::is_left_out("python") {
        return;
    }
    follow(Way {
        language: "python",
        guide: "write-a-parser-python.md",
        source: "src/module.py",
        slip: ("payload.power, payload.energy_kwh", "payload.power, payload.energy_kwh)"),
        change: [
            ("else power * self", "else 2 * power * self"),
            (
                "= message.json(Payload)\n",
                "= message.json(Payload)\n        if payload.power and payload.power > 9000:\n            \
                 raise ValueError(f\"too hot: {payload.power}\")\n",
            ),
        ],
        failure: "src/module.py:",
    })
    .await;
}

#[tokio::test]
async fn the_guide_leads_from_nothing_to_a_live_reading_in_javascript() {
    if super::languages::is_left_out("javascript") {
        return;
    }
    follow(Way {
        language: "javascript",
        guide: "write-a-parser-javascript.md",
        source: "src/module.js",
        slip: (".power_w(power * this", ".power_w(power * * this"),
        change: [
            (".power_w(power *", ".power_w(2 * power *"),
            (
                "= message.json(Payload);\n",
                "= message.json(Payload);\n    if (power > 9000) throw new RangeError(`too hot: \
                 ${power}`);\n",
            ),
        ],
        failure: "src/module.js:",
    })
    .await;
}

#[tokio::test]
async fn a_version_that_the_running_tapline_refuses_is_told_and_changes_nothing() {
    let broker = Mosquitto::start().await;
    let site = Setup::new().port(broker.port()).site("tapline.toml", "format = 1\n");
    let mut tapline = site.site("modules/.keep", "").start().await;
    let guide = typed_in("write-a-parser.md");
    let other = |text: &str| text.replace("my-meter", "your-meter");
    for block in &guide[..3] {
        tapline.types(&other(block)).await;
    }
    let module = "module = \"your-meter\"";
    let run = other(&guide[3]).replace(module, &format!("{module}\nsettings = {{ ratio = 3.0 }}"));
    tapline.types(&run).await;
    tapline.subscribed(1).await;
    let mut dev = Talk::start(&mut tapline.shell(&format!("exec {}", other(&guide[4]))));
    let devices = Publisher::connect(broker.port()).await;
    dev.says("showing what").await;
    let tripled = "→ reading of saw: power_w=37.5";
    dev.shows(&devices, "plant/saw", REPORT, tripled).await;

    let source = tapline.dir().join("your-meter/src/lib.rs");
    edit(&source, &[("ratio: f64", "factor: f64"), ("self.0.ratio", "self.0.factor")]);
    let said = dev.says("waiting for the next save").await;
    assert!(said.contains("refused:") && said.contains("ratio"), "{said}");
    dev.shows(&devices, "plant/saw", REPORT, tripled).await;

    edit(&source, &[("factor: f64", "ratio: f64"), ("self.0.factor", "10.0 + self.0.ratio")]);
    let said = dev.says("waiting for the next save").await;
    assert!(said.contains("FAILED"), "the sample says otherwise: {said}");
    dev.end().await;
    tapline.terminate().await;
}

/// What `tapline test` of a project ends with, and says.
async fn tested(tapline: &Tapline, project: &str) -> (Option<i32>, String) {
    let output = tapline.shell(&format!("tapline test {project}")).output().await;
    let output = output.expect("there is a shell");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn a_test_builds_the_module_first_where_a_source_is_newer() {
    let tapline = Setup::new().prepare();
    tapline.types("tapline new parser tested-meter").await;
    let (code, said) = tested(&tapline, "tested-meter").await;
    assert!(code == Some(0) && said.contains("5 of 5 samples passed"), "{said}");
    let file = tapline.dir().join("tested-meter/dist/tested-meter.wasm");
    let built = || std::fs::metadata(&file).and_then(|file| file.modified()).expect("it is built");
    let before = built();
    assert_eq!(tested(&tapline, "tested-meter").await.0, Some(0));
    assert_eq!(built(), before, "nothing is newer");
    let source = tapline.dir().join("tested-meter/src/lib.rs");
    edit(&source, &[("kwh * 1000.0", "kwh * 999.0")]);
    let (code, said) = tested(&tapline, "tested-meter").await;
    assert!(code == Some(1) && said.contains("+   1248.75"), "{said}");
    edit(&source, &[("kwh * 999.0", "kwh * 1000.0 +")]);
    let (code, said) = tested(&tapline, "tested-meter").await;
    assert!(code == Some(1) && said.contains("src/lib.rs:"), "{said}");
    edit(&source, &[("kwh * 1000.0 +", "kwh * 1000.0")]);
    assert_eq!(tested(&tapline, "tested-meter").await.0, Some(0));
}

#[tokio::test]
async fn projects_of_one_name_that_share_a_target_directory_keep_their_modules_apart() {
    let tapline = Setup::new().prepare();
    tapline
        .types("mkdir one two; for d in one two; do cd $d; tapline new parser twin; cd ..; done")
        .await;
    edit(&tapline.dir().join("two/twin/src/lib.rs"), &[("kwh * 1000.0", "kwh * 999.0")]);
    let built = async |folder: &str| {
        tapline.types(&format!("tapline build {folder}/twin")).await;
        std::fs::read(tapline.dir().join(folder).join("twin/dist/twin.wasm")).expect("it is built")
    };
    let one = built("one").await;
    let two = built("two").await;
    assert_ne!(one, two);
    assert_eq!(built("one").await, one, "cargo finds nothing to compile");
    assert_eq!(built("two").await, two);
}

#[tokio::test]
async fn a_redacted_capture_begins_a_module_whose_samples_name_no_device() {
    let broker = Mosquitto::start().await;
    let devices = Publisher::connect(broker.port()).await;
    let tapline = Setup::new().prepare();
    for (device, power) in [("press-01", 10.5), ("saw-02", 11.5), ("press-01", 12.5)] {
        let topic = format!("hall/{device}/status");
        let payload = format!("{{\"power\":{power},\"ssid\":\"Home\",\"src\":\"{device}\"}}");
        devices.retain(&format!("{topic}/{power}"), payload).await;
    }
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let record = format!(
        "exec tapline record --topic 'hall/#' --broker {url} --redact topic:2,ssid,src \
         --redact-key ours -o day.jsonl"
    );
    let recorder = Talk::start(&mut tapline.shell(&record));
    tapline_tests::eventually("three messages are captured", || async {
        let text = std::fs::read_to_string(tapline.dir().join("day.jsonl")).unwrap_or_default();
        let messages = text.lines().filter(|line| line.contains("\"topic\":\"hall/")).count();
        if messages == 3 { Ok(()) } else { Err(text) }
    })
    .await;
    recorder.end().await;

    tapline.types("tapline new parser shared-meter --from day.jsonl").await;
    let (code, said) = tested(&tapline, "shared-meter").await;
    assert!(code == Some(1) && said.contains("it does not say what is to come out"), "{said}");
    tapline.types("tapline test shared-meter --accept").await;
    let (code, said) = tested(&tapline, "shared-meter").await;
    assert!(code == Some(0) && said.contains("3 of 3 samples passed"), "{said}");
    let samples = tapline.dir().join("shared-meter/samples/shared-meter.jsonl");
    let samples = std::fs::read_to_string(samples).expect("it has samples");
    for secret in ["press", "saw", "Home"] {
        assert!(!samples.contains(secret), "{secret}: {samples}");
    }
    for power in ["10.5", "11.5", "12.5"] {
        assert!(samples.contains(&format!("\"power_w\":{power}")), "{power}: {samples}");
    }
}

#[tokio::test]
async fn every_role_begins_with_a_project_that_builds_and_fits_a_pipeline() {
    let site = "format = 1\n[endpoint.main]\nurl = \"http://127.0.0.1:1\"\n";
    let tapline = Setup::new().port(1883).site("tapline.toml", site).prepare();
    for (role, stage) in [
        ("validator", "[[validate]]\ntopics = [\"plant/#\"]"),
        ("detector", "[[detect]]\ntake = [\"reading:power_w\"]\nkey = [\"device\"]"),
        ("sink", "[[sink]]\nendpoint = \"main\"\ntake = [\"event\"]"),
    ] {
        let name = format!("my-{role}");
        tapline
            .types(&format!(
                "tapline new {role} {name}; tapline build {name}; tapline test {name}; \
                 mkdir -p site/modules; cp {name}/dist/{name}.wasm site/modules"
            ))
            .await;
        let again = tapline.output(&["new", role, &name]).await;
        assert_eq!(again.status.code(), Some(4), "nothing is overwritten");
        let pipeline = format!(
            "format = 1\nname = \"{name}\"\n\n\
             [[source]]\nname = \"plant\"\nbroker = \"main\"\n\
             topics = [\"plant/{{device}}\"]\nunknown_devices = \"accept\"\n\n\
             [[parse]]\nname = \"shelly\"\nmodule = \"shelly\"\ntopics = [\"plant/+\"]\n\n\
             {stage}\nname = \"mine\"\nmodule = \"{name}\"\n"
        );
        write(tapline.dir(), &format!("site/pipelines/{name}.toml"), pipeline);
    }
    tapline.types("tapline check site").await;
}
