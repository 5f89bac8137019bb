//! Messages and modules that misbehave cost themselves alone.

use tapline_tests::{Bench, COURSE, Machine, copy_of_shipped, fixtures, shipped_modules};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

#[tokio::test]
async fn a_message_that_is_broken_is_set_aside_and_the_rest_goes_on() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    let broken: [&[u8]; 3] = [b"{\"method\":", b"\xff\xfe\x00", b"[1, 2"];
    for payload in broken {
        bench.devices.send(&press.topic(), payload).await;
    }
    bench.devices.report(&press, &COURSE[2..]).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    let health = bench.tapline.until("three are set aside", |h| h["dead_letters"] == 3).await;
    assert_eq!(health["pipelines"]["workshop"]["running"], true);
    let letters = bench.tapline.logged("dead_letter");
    assert_eq!(letters.len(), 3, "{letters:#?}");
    for letter in letters {
        assert_eq!(letter["topic"], press.topic());
        assert_eq!(letter["device_id"], "press");
        assert!(letter["code"].is_string() && letter["detail"].is_string(), "{letter}");
    }
    bench.odoo.is_content();
}

/// A pipeline whose parser does what its payloads say, beside the one that ships.
const HOSTILE: &str = "format = 1
name = \"hostile\"
[[source]]
name = \"orders\"
broker = \"main\"
topics = [\"hostile/{device}\"]
unknown_devices = \"accept\"
[[parse]]
name = \"hostile\"
module = \"hostile\"
topics = [\"hostile/#\"]
[[detect]]
name = \"session\"
module = \"session\"
take = [\"reading:power_w\"]
key = [\"device\"]
";

#[tokio::test]
async fn a_module_that_traps_or_never_returns_costs_one_message_alone() {
    let press = Machine::new("press");
    let bench = Bench::with(|setup| {
        let setup = setup
            .site("tapline.toml", "format = 1\n")
            .site("pipelines/hostile.toml", HOSTILE)
            .site("pipelines/workshop.toml", &copy_of_shipped("workshop"));
        // Modules that misbehave come from the site, those that ship from where they were built.
        let modules = fixtures().join("hostile.wasm");
        let bytes = std::fs::read(&modules).expect("it was built");
        setup.site_bytes("modules/hostile.wasm", bytes)
    })
    .await;
    assert!(shipped_modules().is_dir());
    bench.tapline.push(&tapline_tests::document(&[&press])).await;
    bench.tapline.subscribed(3).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    let bad = ["panic the tool broke", "loop", "memory", "recursion", "nan", "broken-data"];
    let mut good = 0;
    for word in bad {
        for _ in 0..10 {
            bench.devices.send("hostile/lathe", "100").await;
            good += 1;
        }
        bench.devices.send("hostile/lathe", word).await;
    }
    bench.devices.send("hostile/lathe", "100").await;
    good += 1;
    let health = bench
        .tapline
        .until("all are worked off", |health| {
            let counts = &health["pipelines"]["hostile"];
            counts["committed"] == good && counts["dead_lettered"] == bad.len()
        })
        .await;
    assert_eq!(health["pipelines"]["hostile"]["running"], true);
    let letters = bench.tapline.logged("dead_letter");
    let said = format!("{letters:#?}");
    assert_eq!(letters.len(), bad.len(), "{said}");
    assert!(said.contains("the tool broke"), "{said}");
    bench.devices.report(&press, &COURSE[2..]).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.is_content();
}

/// What a workshop's meters may say, as a schema that the host applies.
const SHAPE: &str = r#"{
  "type": "object",
  "required": ["id", "apower"],
  "properties": {"apower": {"type": "number", "maximum": 10000}}
}"#;

#[tokio::test]
async fn validators_refuse_by_format_and_by_schema_and_say_where() {
    let press = Machine::new("press");
    let bench = Bench::with(|setup| {
        let checked = copy_of_shipped("workshop").replace(
            "[[parse]]\nname         = \"shelly\"",
            "[[validate]]\nname = \"json\"\nmodule = \"payload-format\"\n\
             topics = [\"+/status/+\"]\nsettings.format = \"json\"\n\
             [[validate]]\nname = \"shape\"\nschema = \"schemas/pm.json\"\n\
             topics = [\"+/status/+\"]\n\
             [[parse]]\nname         = \"shelly\"",
        );
        setup
            .site("tapline.toml", "format = 1\n")
            .site("schemas/pm.json", SHAPE)
            .site("pipelines/workshop.toml", &checked)
    })
    .await;
    let mut document = tapline_tests::document(&[&press]);
    document["devices"][0]["mqtt_topic"] = "meter/status/pm1:0".into();
    bench.tapline.push(&document).await;
    bench.tapline.subscribed(2).await;
    let fine = r#"{"id": 0, "apower": 120.5}"#;
    let refused = [r#"{"id": 0, "#, r#"{"id": 0}"#, r#"{"id": 0, "apower": 20000.0}"#];
    for payload in refused {
        bench.devices.send("meter/status/pm1:0", payload).await;
        bench.devices.send("meter/status/pm1:0", fine).await;
    }
    bench
        .tapline
        .until("all are worked off", |health| {
            let counts = &health["pipelines"]["workshop"];
            counts["committed"] == refused.len() && counts["dead_lettered"] == refused.len()
        })
        .await;
    let letters = bench.tapline.logged("dead_letter");
    let said = |n: usize, field: &str| letters[n][field].as_str().unwrap_or_default().to_owned();
    assert_eq!((said(0, "stage"), said(0, "code")), ("json".into(), "not-json".into()));
    assert_eq!((said(1, "stage"), said(1, "code")), ("shape".into(), "schema".into()));
    assert!(said(1, "detail").contains("apower"), "{letters:#?}");
    assert_eq!((said(2, "stage"), said(2, "code")), ("shape".into(), "schema".into()));
    assert!(said(2, "detail").contains("/apower"), "{letters:#?}");
}
