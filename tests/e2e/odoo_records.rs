//! Records in Odoo itself, without an addon: over `/jsonrpc`, over `/json/2`, by a webhook; on
//! the stand-in, and on a real server where `ODOO_URL`, `ODOO_DB`, `ODOO_LOGIN` and `ODOO_KEY`
//! name one.

use std::collections::BTreeMap;

use tapline::stand_in::{Behaviour, Refusal, StandInOptions};
use tapline_tests::{
    COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline, copy_of_shipped, eventually,
};

pub(super) const KEY: &str = "0d00-k3y";
const PRODUCTIVITY: &str = "mrp.workcenter.productivity";

pub(super) fn options(version: u16) -> StandInOptions {
    StandInOptions {
        key: Some(KEY.into()),
        database: Some("acme".into()),
        login: Some("bot".into()),
        version,
        ..StandInOptions::default()
    }
}

/// The pipeline that ships, with these settings of its sink.
fn pipeline(settings: &str) -> String {
    let text = copy_of_shipped("workshop");
    let at = text.find("[sink.settings]").expect("the sink has settings");
    format!("{}[sink.settings]\n{settings}", &text[..at])
}

fn device(machine: &Machine) -> String {
    format!(
        "[[device]]\ndevice_id = \"{id}\"\nmachine_name = \"Machine {id}\"\n\
         mqtt_topic = \"{topic}\"\nparser_type = \"shelly_pm\"\n\
         labels = {{ workcenter = \"plant.{id}\" }}\n\
         session_config = {{ message_timeout_s = 7200.0 }}\n",
        id = machine.id(),
        topic = machine.topic()
    )
}

/// A site whose sink has these settings, with these machines.
pub(super) fn site(
    broker: &Mosquitto,
    endpoint: &str,
    settings: &str,
    machines: &[&Machine],
) -> Setup {
    let devices: Vec<_> = machines.iter().map(|machine| device(machine)).collect();
    Setup::new()
        .port(broker.port())
        .env("THE_KEY", KEY)
        .site("tapline.toml", &format!("format = 1\n[endpoint.odoo]\n{endpoint}"))
        .site("pipelines/workshop.toml", &pipeline(settings))
        .site("devices/hall.toml", &devices.concat())
}

pub(super) fn endpoint(odoo: &Odoo) -> String {
    format!(
        "url = \"{}\"\ndatabase = \"acme\"\nlogin = \"bot\"\nkey = {{ env = \"THE_KEY\" }}\n\
         key_in_body = true\n",
        odoo.0.url()
    )
}

async fn loaded(
    odoo: &Odoo,
    model: &str,
    records: usize,
) -> BTreeMap<String, tapline::stand_in::Fields> {
    let what = format!("{records} records are in `{model}`");
    eventually(&what, || async {
        let found = odoo.0.loaded(model);
        let ended = found.values().all(|fields| fields.contains_key("date_end"));
        if found.len() == records && ended { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

async fn nothing_waits(tapline: &Tapline) {
    tapline
        .until("nothing waits", |health| {
            let sinks = health["sinks"].as_object();
            sinks.is_some_and(|all| all.values().all(|sink| sink["waiting"] == 0))
        })
        .await;
}

#[tokio::test]
async fn sessions_become_times_of_work_centers_whatever_odoos_version() {
    for (version, logins) in [(17, 1), (19, 0), (22, 0)] {
        let (broker, odoo) = (Mosquitto::start().await, Odoo::with(options(version)).await);
        let (press, lathe) = (Machine::new("press"), Machine::new("lathe"));
        let settings = "protocol = \"load\"\npreset = \"productivity\"\n";
        let tapline = site(&broker, &endpoint(&odoo), settings, &[&press, &lathe]).start().await;
        tapline.subscribed(4).await;
        let devices = Publisher::connect(broker.port()).await;
        // The answer to one attempt is lost, and an upsert writes the same again.
        odoo.0.behave(3, Behaviour::Normal);
        odoo.0.behave(1, Behaviour::CutAfterCommit);
        devices.report(&press, &COURSE).await;
        devices.report(&lathe, &COURSE).await;
        let records = loaded(&odoo, PRODUCTIVITY, 4).await;
        let standby = records.iter().find(|(id, fields)| {
            id.ends_with("_standby") && fields["workcenter_id/id"] == "plant.press"
        });
        let (_, fields) = standby.unwrap_or_else(|| panic!("no standby: {records:?}"));
        assert_eq!(fields["loss_id/id"], "mrp.block_reason4");
        nothing_waits(&tapline).await;
        assert_eq!(odoo.0.logins(), logins, "Odoo {version}");
        assert_eq!(tapline.health().await["dead_letters"], 0);
        assert!(!tapline.log().contains(KEY));
    }
}

#[tokio::test]
async fn one_record_that_odoo_refuses_holds_up_no_other() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::with(options(19)).await);
    let (press, lathe) = (Machine::new("press"), Machine::new("lathe"));
    let settings = "protocol = \"json2\"\nmodel = \"maintenance.request\"\n\
                    external_id = \"iot.{device}_{kind}\"\n\
                    fields = { name = \"{machine}: {kind}\" }\n";
    odoo.0.refuse(Refusal::of_event("iot.press_session_started"));
    let tapline = site(&broker, &endpoint(&odoo), settings, &[&press, &lathe]).start().await;
    tapline.subscribed(4).await;
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE).await;
    devices.report(&lathe, &COURSE).await;
    tapline.until("one is set aside", |health| health["dead_letters"] == 1).await;
    nothing_waits(&tapline).await;
    let records = odoo.0.loaded("maintenance.request");
    let names: Vec<_> = records.values().map(|fields| &*fields["name"]).collect();
    assert_eq!(
        names,
        [
            "Machine lathe: session_started",
            "Machine lathe: session_stopped",
            "Machine press: session_stopped"
        ]
    );
}

#[tokio::test]
async fn a_key_may_stand_in_a_body_only_where_the_endpoint_says_so() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::with(options(18)).await);
    let press = Machine::new("press");
    let settings = "protocol = \"jsonrpc\"\npreset = \"productivity\"\n";
    let endpoint = endpoint(&odoo).replace("key_in_body = true\n", "");
    let tapline = site(&broker, &endpoint, settings, &[&press]).start().await;
    tapline.subscribed(2).await;
    Publisher::connect(broker.port()).await.report(&press, &COURSE).await;
    let health = tapline
        .until("the sink is paused", |health| {
            health["problems"].to_string().contains("key_in_body = true")
        })
        .await;
    assert_eq!(health["dead_letters"], 0, "{health}");
    assert_eq!(odoo.0.requests(), 0);
}

#[tokio::test]
async fn a_webhook_gets_each_event_once() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::with(options(17)).await);
    let press = Machine::new("press");
    let hook = options(17).hook;
    let settings = format!("protocol = \"webhook\"\npath = \"/web/hook/{hook}\"\n");
    let tapline = site(&broker, &endpoint(&odoo), &settings, &[&press]).start().await;
    tapline.subscribed(2).await;
    Publisher::connect(broker.port()).await.report(&press, &COURSE).await;
    odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    odoo.is_content();
}

/// Against the real server that the environment names, or not at all: then it says so.
#[tokio::test]
async fn a_real_odoo_takes_records_where_one_is_named() {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let all = ["ODOO_URL", "ODOO_DB", "ODOO_LOGIN", "ODOO_KEY"].map(named);
    let [Some(url), Some(database), Some(login), Some(key)] = all else {
        eprintln!("no real Odoo: set ODOO_URL, ODOO_DB, ODOO_LOGIN and ODOO_KEY");
        return;
    };
    let broker = Mosquitto::start().await;
    let press = Machine::new("press");
    // A model that every database has, and every user of the settings may write.
    let settings = "protocol = \"load\"\nmodel = \"res.partner.category\"\n\
                    external_id = \"tapline.{id}\"\nfields = { name = \"{machine}: {kind}\" }\n";
    let endpoint = format!(
        "url = \"{url}\"\ndatabase = \"{database}\"\nlogin = \"{login}\"\n\
         key = {{ env = \"THE_KEY\" }}\nkey_in_body = true\n"
    );
    let setup = site(&broker, &endpoint, settings, &[&press]).env("THE_KEY", &key);
    let tapline = setup.start().await;
    tapline.subscribed(2).await;
    Publisher::connect(broker.port()).await.report(&press, &COURSE).await;
    tapline
        .until("both events are delivered", |health| {
            let sinks = health["sinks"].as_object();
            sinks.is_some_and(|all| all.values().any(|sink| sink["delivered"] == 2))
        })
        .await;
}
