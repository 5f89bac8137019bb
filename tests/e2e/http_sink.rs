//! The sink that calls any HTTP endpoint, beside an Odoo that takes nothing.

use tapline::stand_in::{Behaviour, StandInOptions};
use tapline_tests::{COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, copy_of_shipped};

use super::erp_faults::{is_paused, waiting};

/// Method, path, headers and body by template; what is filled in is escaped for where it stands.
const PHONE: &str = "
[[sink]]
name     = \"phone\"
module   = \"http\"
endpoint = \"phone\"
take     = [\"event:session_*\"]
[sink.settings]
path    = \"/web/hook/{labels.hook}\"
headers = { content-type = \"application/json\", title = \"{machine}\" }
body    = '{{\"event_uid\": \"{id}\", \"event_type\": \"{kind}\", \"device_id\": \"{device}\", \"seq\": {seq}, \"timestamp\": \"{at}\", \"title\": \"{machine}\"}}'
";

#[tokio::test]
async fn an_alarm_by_http_does_not_wait_for_an_odoo_that_is_paused() {
    let hook = "cold chain".to_owned();
    let phone = Odoo::with(StandInOptions { hook: hook.clone(), ..StandInOptions::default() });
    let (broker, odoo, phone) = (Mosquitto::start().await, Odoo::start().await, phone.await);
    let press = Machine::new("press");
    let device = format!(
        "[[device]]\ndevice_id = \"press\"\nmachine_name = 'The \"old\" press'\n\
         mqtt_topic = \"{}\"\nparser_type = \"shelly_pm\"\nlabels = {{ hook = \"{hook}\" }}\n",
        press.topic()
    );
    let endpoint =
        |name: &str, odoo: &Odoo| format!("[endpoint.{name}]\nurl = \"{}\"\n", odoo.0.url());
    let endpoints = endpoint("odoo", &odoo) + &endpoint("phone", &phone);
    let tapline = Setup::new()
        .port(broker.port())
        .site("tapline.toml", &format!("format = 1\n{endpoints}"))
        .site("pipelines/workshop.toml", &(copy_of_shipped("workshop") + PHONE))
        .site("devices/hall.toml", &device)
        .start()
        .await;
    tapline.subscribed(2).await;
    let denied = Behaviour::Status { status: 401, name: "x".into(), retry_after: None };
    odoo.0.behave(u32::MAX, denied);
    // Busy, for a moment.
    phone.0.behave(1, Behaviour::Status { status: 503, name: "x".into(), retry_after: None });
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE[..2]).await;
    phone.kinds(&press, &["session_started"]).await;
    tapline.until("Odoo's sink is paused", is_paused).await;
    devices.report(&press, &COURSE[2..]).await;
    let events = phone.kinds(&press, &["session_started", "session_stopped"]).await;
    assert!(events.iter().all(|event| event.rest["title"] == "The \"old\" press"), "{events:#?}");
    phone.is_content();
    let health = tapline.until("Odoo's part waits", |health| waiting(health) == 2).await;
    assert_eq!(health["dead_letters"], 0, "{health}");

    odoo.0.behave_well();
    let call = tapline.call("POST", "/api/v1/sinks/workshop/odoo/resume", None);
    assert_eq!(call.send().await.expect("an answer").status, 200);
    odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    odoo.is_content();
}
