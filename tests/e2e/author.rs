//! An author's way, as the guide has it: a project, a build, and the module in a running
//! Tapline.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tapline_tests::{
    Mosquitto, Publisher, Setup, Tapline, eventually, program, project, shipped_modules, write,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A shell as an author has it, with the program in its path; and the compilers that the
/// modules of this project were built with, so that nothing is fetched or compiled twice.
pub(super) fn shell(tapline: &Tapline, script: &str) -> Command {
    let modules = shipped_modules();
    let target = modules.parent().expect("modules lie in the target directory");
    let mut path = program().parent().expect("the program lies in a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    // What the running Tapline knows from its environment, commands find there as well.
    let like = tapline.command(&[]);
    let mut command = Command::new("sh");
    command
        .args(["-ec", script])
        .envs(like.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", path)
        .env("TAPLINE_CACHE", target.join("tools"))
        .env("CARGO_TARGET_DIR", target.join("tmp/projects"))
        .current_dir(tapline.dir())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(super) async fn succeeds(tapline: &Tapline, script: &str) {
    let output = shell(tapline, script).output().await.expect("there is a shell");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{stderr}");
}

/// What a guide tells its reader to type, block by block.
pub(super) fn commands(guide: &str) -> Vec<String> {
    let path = project().join("docs/guides").join(guide);
    let text = std::fs::read_to_string(path).expect("the guide is there");
    let blocks = text.split("```sh\n").skip(1);
    blocks.filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

pub(super) fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).expect("the project has it");
    assert!(text.contains(from), "{} has no `{from}`", file.display());
    std::fs::write(file, text.replace(from, to)).expect("scratch is writable");
}

#[tokio::test]
async fn a_new_parser_is_built_swapped_in_and_shows_what_live_messages_become() {
    let broker = Mosquitto::start().await;
    let mut tapline = Setup::new()
        .port(broker.port())
        .site("tapline.toml", "format = 1\n")
        .site("modules/.keep", "")
        .start()
        .await;
    let guide = commands("write-a-parser.md");
    let [new, build, run, dev] = guide.as_slice() else { panic!("another guide: {guide:#?}") };

    succeeds(&tapline, new).await;
    let folder = tapline.dir().join("my-meter");
    let samples = std::fs::read_to_string(folder.join("samples/my-meter.jsonl"));
    let sample: Value = serde_json::from_str(&samples.expect("it has samples")).expect("one line");
    assert_eq!(sample["topic"], "plant/saw");
    let again = tapline.output(&["new", "parser", "my-meter"]).await;
    assert_eq!(again.status.code(), Some(4), "nothing is overwritten");

    succeeds(&tapline, build).await;
    succeeds(&tapline, run).await;
    tapline
        .until("the pipeline runs", |health| health["pipelines"]["plant"]["running"] == true)
        .await;
    tapline.subscribed(1).await;

    let mut dev = shell(&tapline, &format!("exec {dev}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be run");
    let mut said = BufReader::new(dev.stderr.take().expect("piped")).lines();
    let mut shown = BufReader::new(dev.stdout.take().expect("piped")).lines();
    let devices = Publisher::connect(broker.port()).await;

    until(&mut said, "showing what `meter` of `plant`").await;
    sends_until(&devices, &mut shown, "→ reading of saw: power_w=12.5").await;

    // A fault of the author's comes with its line, and what ran before runs on.
    let source = folder.join("src/lib.rs");
    edit(&source, "watts * self.0.ratio", "watts * self.0.ratioo");
    until(&mut said, "src/lib.rs:").await;
    until(&mut said, "waiting for the next save").await;
    sends_until(&devices, &mut shown, "→ reading of saw: power_w=12.5").await;

    edit(&source, "watts * self.0.ratioo", "watts * self.0.ratio * 2.0");
    until(&mut said, "my-meter runs").await;
    sends_until(&devices, &mut shown, "→ reading of saw: power_w=25.0").await;
    dev.kill().await.expect("a child can be killed");
    tapline.terminate().await;
}

type Lines<R> = tokio::io::Lines<BufReader<R>>;

/// Reads on until a line has these words.
async fn until<R: tokio::io::AsyncRead + Unpin>(lines: &mut Lines<R>, words: &str) {
    let mut all = String::new();
    let found = async {
        while let Some(line) = lines.next_line().await.expect("it can be read") {
            if line.contains(words) {
                return;
            }
            all.push_str(&line);
            all.push('\n');
        }
        panic!("it ended");
    };
    let found = tokio::time::timeout(tapline_tests::PATIENCE, found).await;
    assert!(found.is_ok(), "`{words}` is not in:\n{all}");
}

/// A tap sees what comes after it was opened: the device reports until it is shown.
async fn sends_until<R: tokio::io::AsyncRead + Unpin>(
    devices: &Publisher,
    lines: &mut Lines<R>,
    words: &str,
) {
    let lines = tokio::sync::Mutex::new(lines);
    eventually(words, || async {
        devices.send("plant/saw", "{\"power\":12.5}").await;
        let mut lines = lines.lock().await;
        let mut last = String::new();
        let wait = std::time::Duration::from_secs(1);
        while let Ok(Ok(Some(line))) = tokio::time::timeout(wait, lines.next_line()).await {
            if line.contains(words) {
                return Ok(());
            }
            last = line;
        }
        Err(last)
    })
    .await;
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
        succeeds(
            &tapline,
            &format!(
                "tapline new {role} {name}; tapline build {name}; mkdir -p site/modules; \
                 cp {name}/dist/{name}.wasm site/modules"
            ),
        )
        .await;
        let pipeline = format!(
            "format = 1\nname = \"{name}\"\n\n\
             [[source]]\nname = \"plant\"\nbroker = \"main\"\n\
             topics = [\"plant/{{device}}\"]\nunknown_devices = \"accept\"\n\n\
             [[parse]]\nname = \"shelly\"\nmodule = \"shelly\"\ntopics = [\"plant/+\"]\n\n\
             {stage}\nname = \"mine\"\nmodule = \"{name}\"\n"
        );
        write(tapline.dir(), &format!("site/pipelines/{name}.toml"), pipeline);
    }
    succeeds(&tapline, "tapline check site").await;
}
