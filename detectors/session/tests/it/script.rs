//! Runs of a device as text, one line a step, and what came of them as text again.
//!
//! ```text
//! 0 100          100 W at second 0, on channel `switch:0`
//! 0 100 e=1500   with the energy counter
//! 0 em:0.a=100   on another channel; `em:0.a=-,e=5` the counter alone
//! 5 online       5 offline       5 alive (a voltage)
//! 5 retained online              kept by the broker; also `retained 100`
//! 9 deaf 5       nothing could be heard from second 5 to 9
//! 9 set {"standby_threshold_w": 3}   added to the settings
//! 9 removed      9 end           time passes
//! ```

use serde_json::{Value, json};
use tapline_sdk::prelude::*;

use crate::host::{Host, START, Told, Wakes};

/// Runs `script` with `settings`; wakes as told.
pub(crate) fn run(settings: &Value, script: &str, wakes: Wakes) -> Told {
    let mut settings = settings.clone();
    let mut host = Host::new(&settings, wakes);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (at, what) = line.split_once(' ').expect(line);
        let at = ms(at);
        match what.split_once(' ').unwrap_or((what, "")) {
            ("retained", what) => host.retained(at, Input::Item(reading(what).into())),
            ("deaf", from) => host.deaf(ms(from), at),
            ("removed", _) => host.input(at, Input::Removed),
            ("end", _) => host.end(at),
            ("set", patch) => {
                let patch: Value = serde_json::from_str(patch).expect(line);
                for (name, value) in patch.as_object().expect(line) {
                    settings[name] = value.clone();
                }
                host.reconfigure(at, &settings);
            }
            _ => host.input(at, Input::Item(reading(what).into())),
        }
    }
    if !host.forgotten() {
        assert!(host.told.longest_state <= 200, "{script}: {} bytes", host.told.longest_state);
    }
    host.told
}

/// Each event as one line, times in seconds from the start.
pub(crate) fn lines(told: &Told) -> Vec<String> {
    told.events.iter().map(line).collect()
}

fn line(event: &Event) -> String {
    let data: Value = event.read().expect("data is JSON");
    let at = seconds(event.at.expect("an event has its time"));
    let kind = event.kind.strip_prefix("session_").expect("a session's event");
    let started = seconds(millis(&data["started_at"]));
    let mut line = format!("{at} {kind} {started}");
    if let Some(ended) = data.get("ended_at") {
        line += &format!("..{}", seconds(millis(ended)));
    }
    if let Some(reason) = data.get("reason") {
        assert_eq!(data["state"], json!("idle"));
        line += &format!(" {}", reason.as_str().expect("a reason is text"));
    } else {
        line += &format!(" {}", data["state"].as_str().expect("a state is text"));
    }
    if data.get("working_s").is_some() {
        line += &format!(
            " w{} s{} {}Wh {} peak {} mean {}",
            number(&data["working_s"]),
            number(&data["standby_s"]),
            number(&data["energy_wh"]),
            data["energy_source"].as_str().expect("a source is text"),
            number(&data["peak_w"]),
            number(&data["average_w"]),
        );
    }
    line
}

/// A number as the host writes it: `10`, not `10.0`.
fn number(value: &Value) -> f64 {
    value.as_f64().expect("a plain number")
}

fn reading(what: &str) -> Reading {
    match what {
        "online" => return Reading::channel("device").online(true),
        "offline" => return Reading::channel("device").online(false),
        "alive" => return Reading::channel("device").voltage_v(230.0),
        _ => {}
    }
    let (channel, values) =
        what.split_once('=').filter(|(name, _)| name.contains(':')).unwrap_or(("switch:0", what));
    let mut reading = Reading::channel(channel);
    for value in values.split([' ', ',']) {
        reading = match value.split_once('=') {
            Some(("e", energy)) => reading.energy_wh(energy.parse::<f64>().expect(what)),
            Some((other, _)) => panic!("`{other}` in `{what}`"),
            None if value == "-" => reading,
            None => reading.power_w(value.parse::<f64>().expect(what)),
        };
    }
    reading
}

/// Seconds from the start as a time.
fn ms(seconds: &str) -> u64 {
    let seconds: f64 = seconds.parse().expect("seconds");
    START + (seconds * 1000.0).round() as u64
}

/// A time as seconds from the start.
fn seconds(ms: u64) -> f64 {
    (ms as f64 - START as f64) / 1000.0
}

/// Milliseconds of an RFC 3339 time.
pub(crate) fn millis(time: &Value) -> u64 {
    let text = time.as_str().expect("a time is text");
    tapline_sdk::time::parse_rfc3339(text).expect("RFC 3339")
}
