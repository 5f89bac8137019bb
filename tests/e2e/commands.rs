//! Commands about a running Tapline: over its socket, over the network, and without one.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use tapline_tests::{Bench, Setup};

#[tokio::test]
async fn commands_speak_over_a_socket_that_only_the_owner_may_open() {
    let mut bench = Bench::with(|setup| setup.env("BRIDGE_API_TOKEN", "secret")).await;
    let socket = bench.tapline.data().join("tapline.sock");
    let rights = std::fs::metadata(&socket).expect("the socket is there").permissions().mode();
    assert_eq!(rights & 0o777, 0o600);
    // A kill leaves the file behind; the next start takes its place.
    bench.tapline.kill().await;
    assert!(socket.exists());
    bench.tapline.start_again().await;

    let output = bench.tapline.output(&["sinks", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(line["waiting"], 0, "{line}");
    let name = line["sink"].as_str().expect("its name").to_owned();
    let table = bench.tapline.output(&["sinks"]).await;
    let table = String::from_utf8(table.stdout).expect("text");
    assert!(table.starts_with("SINK") && table.contains(&name), "{table}");

    let resumed = bench.tapline.output(&["sinks", "resume", &name]).await;
    assert_eq!(resumed.status.code(), Some(0), "{resumed:?}");
    let unknown = bench.tapline.output(&["sinks", "resume", "no/such"]).await;
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no sink `such`"));

    bench.tapline.terminate().await;
    assert!(!socket.exists(), "a clean end takes the socket away");
}

#[tokio::test]
async fn commands_over_the_network_send_the_token() {
    let mut bench = Bench::with(|setup| setup.env("BRIDGE_API_TOKEN", "secret")).await;
    let url = bench.tapline.url();
    let name = "shipped/odoo";
    let arguments = ["sinks", "resume", name, "--url", &url, "--token", "guess"];
    let refused = bench.tapline.output(&arguments).await;
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--token"), "{refused:?}");
    // The environment of the command has the right one.
    let known = bench.tapline.output(&["sinks", "--json", "--url", &url]).await;
    assert_eq!(known.status.code(), Some(0), "{known:?}");
    bench.tapline.terminate().await;
}

#[tokio::test]
async fn a_command_says_when_nobody_runs() {
    let tapline = Setup::new().prepare();
    let output = tapline.output(&["sinks"]).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("tapline.sock") && words.contains("tapline run"), "{words}");
}
