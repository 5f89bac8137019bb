//! Pushes that race with each other and with files that change: one of them wins as a whole.

use serde_json::Value;
use tapline_tests::{
    Bench, COURSE, Machine, PATIENCE, Tapline, copy_of_shipped, document, eventually, write,
};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];
const ROUNDS: usize = 8;

fn hall(machine: &Machine, name: &str) -> String {
    format!(
        "[[device]]\ndevice_id = \"{}\"\nmachine_name = \"{name}\"\nmqtt_topic = \"{}\"\n\
         parser_type = \"shelly_pm\"\nsession_config = {{ message_timeout_s = 7200.0 }}\n",
        machine.id(),
        machine.topic()
    )
}

async fn names(tapline: &Tapline) -> String {
    tapline.get("/api/v1/devices").await.body.to_string()
}

#[tokio::test]
async fn pushes_that_race_with_each_other_and_with_files_end_as_the_last_of_each_says() {
    let (press, saw, lathe) = (Machine::new("press"), Machine::new("saw"), Machine::new("lathe"));
    let mut bench = Bench::with(|setup| {
        setup
            .site("tapline.toml", "format = 1\n[reload]\nrescan = \"1s\"\n")
            .site("pipelines/workshop.toml", &copy_of_shipped("workshop"))
            .site("devices/hall.toml", &hall(&lathe, "at first"))
    })
    .await;
    bench.tapline.subscribed(2).await;
    let one = document(&[&press]);
    let other = document(&[&press, &saw]);
    let mut last = String::new();
    for round in 0..ROUNDS {
        last = format!("lathe of round {round}");
        let site = bench.tapline.dir().join("site");
        let racing = async {
            tokio::join!(
                bench.tapline.try_push(&one),
                async { write(&site, "devices/hall.toml", hall(&lathe, &last)) },
                bench.tapline.try_push(&other),
            )
        };
        let raced = tokio::time::timeout(PATIENCE, racing).await;
        let (first, (), second) = raced.expect("nobody hangs");
        for answer in [first, second] {
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }
    eventually("the last text of the file is in force", || async {
        let devices = names(&bench.tapline).await;
        if devices.contains(&last) { Ok(()) } else { Err(devices) }
    })
    .await;
    // The registry's last revision is what is answered, runs, and runs after a restart.
    let stands = bench.tapline.get("/config").await.body;
    assert!(stands == one || stands == other, "{stands}");
    let revisions = bench.tapline.get("/api/v1/config/revisions").await.body;
    // Taken up files stand in the same list, without a revision of their own.
    let entries = revisions["revisions"].as_array().expect("a list");
    let number = entries.iter().find_map(|entry| entry["revision"].as_u64());
    let number = number.unwrap_or_else(|| panic!("no push is listed: {revisions}"));
    let written = bench.tapline.get(&format!("/api/v1/config/revisions/{number}")).await.body;
    let document = if written["devices"].is_array() { &written } else { &written["document"] };
    assert_eq!(document["devices"], stands["devices"], "{written}");
    let pushed = stands["devices"].as_array().map_or(0, Vec::len) as u64;
    bench.tapline.subscribed(2 * (pushed + 1)).await;
    bench.tapline.terminate().await;
    bench.tapline.start_again().await;
    let health: Value = bench.tapline.subscribed(2 * (pushed + 1)).await;
    assert_eq!(health["devices"], pushed + 1);
    assert_eq!(bench.tapline.get("/config").await.body, stands);
    assert!(names(&bench.tapline).await.contains(&last));
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.devices.report(&lathe, &COURSE).await;
    bench.odoo.kinds(&lathe, &WHOLE).await;
    bench.odoo.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_while_configuration_changes_gets_an_answer() {
    let bench = Bench::with(|setup| {
        setup.site("tapline.toml", "format = 1\n[http]\nrate_limit = 1000000\n")
    })
    .await;
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let documents = [document(&[&press]), document(&[&press, &saw])];
    let changing = async {
        for document in documents.iter().cycle().take(100) {
            let answer = bench.tapline.try_push(document).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    };
    let asking = async |path: &str| {
        loop {
            assert_eq!(bench.tapline.get(path).await.status, 200, "{path}");
        }
    };
    let [one, two, three, four] = ["/health", "/metrics", "/api/v1/status", "/health"].map(asking);
    let raced = async {
        tokio::select! {
            () = changing => {}
            () = async { tokio::join!(one, two, three, four); } => {}
        }
    };
    tokio::time::timeout(PATIENCE, raced).await.expect("nobody waits for ever");
}
