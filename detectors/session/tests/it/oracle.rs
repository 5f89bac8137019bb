//! What sessions must come of a run, worked out the slow way: tick by tick, with every value
//! of every tick kept, and each total summed up from the ticks. Shares nothing with the
//! detector but the words of the rules.

use serde_json::{Value, json};

/// Settings of a run, in ticks and watts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) standby_w: f64,
    pub(crate) working_w: f64,
    pub(crate) start: u64,
    pub(crate) stop: u64,
    pub(crate) message: u64,
    pub(crate) silence: u64,
    pub(crate) heartbeat: u64,
}

/// What happens at a tick, in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Happening {
    Power(f64),
    Energy(f64),
    Online(bool),
    KeptOnline(bool),
    /// Nothing could be heard since that tick.
    DeafSince(u64),
}

/// An event with its time in ticks; `data` has the fields of the detector's but for the id,
/// and times in ticks as well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expected {
    pub(crate) kind: &'static str,
    pub(crate) at: u64,
    pub(crate) data: Value,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    from: u64,
    opened: u64,
}

/// Works out a run from tick 0 to `end`; `ticks_per_s` ticks make a second.
pub(crate) fn sessions(
    rules: Rules,
    happenings: &[(u64, Happening)],
    end: u64,
    ticks_per_s: u64,
) -> Vec<Expected> {
    let deaf: Vec<(u64, u64)> = happenings
        .iter()
        .filter_map(|(until, what)| match what {
            Happening::DeafSince(from) => Some((*from, *until)),
            _ => None,
        })
        .collect();
    let mut events = Vec::new();
    // One entry a tick: the power that is held from this tick to the next.
    let mut held: Vec<f64> = Vec::new();
    let mut powers: Vec<(u64, f64)> = Vec::new();
    let mut counter: Vec<(u64, f64)> = Vec::new();
    let mut power: Option<f64> = None;
    let mut online = None;
    let mut last_sign = 0;
    let mut silent_from = 0;
    let mut up_since: Option<u64> = None;
    let mut down_since: Option<u64> = None;
    let mut session: Option<Session> = None;
    let mut next = 0;

    let totals =
        |held: &[f64], powers: &[(u64, f64)], counter: &[(u64, f64)], from: u64, to: u64| {
            let ticks = &held[from as usize..to as usize];
            let working = ticks.iter().filter(|power| **power >= rules.working_w).count() as u64;
            let sum: f64 = ticks.iter().sum();
            let within = |at: u64| from <= at && at <= to;
            let peak = powers.iter().filter(|(at, _)| within(*at)).map(|(_, power)| *power);
            let peak = peak.fold(f64::MIN, f64::max);
            let seconds = |ticks: u64| ticks as f64 / ticks_per_s as f64;
            let base = counter.iter().rposition(|(at, _)| *at <= from);
            let (energy, source) = match base {
                Some(base) => {
                    let mut grown = 0.0;
                    for pair in counter[base..].windows(2).filter(|pair| pair[1].0 <= to) {
                        let (before, now) = (pair[0].1, pair[1].1);
                        grown += if now < before { now } else { now - before };
                    }
                    (grown, "counter")
                }
                None => (sum / ticks_per_s as f64 / 3600.0, "integral"),
            };
            json!({
                "working_s": seconds(working),
                "standby_s": seconds(to - from - working),
                "energy_wh": energy,
                "energy_source": source,
                "peak_w": peak,
                "average_w": if to == from { peak } else { sum / (to - from) as f64 },
            })
        };
    let with = |mut data: Value, more: Value| {
        for (name, value) in more.as_object().expect("an object") {
            data[name] = value.clone();
        }
        data
    };

    for now in 0..=end {
        let heard = !deaf.iter().any(|(from, until)| *from < now && now <= *until);
        // What time does at this tick, then what arrives, then what that makes due.
        let mut arrived = false;
        loop {
            if let Some(from) = up_since
                && now >= from + rules.start
            {
                up_since = None;
                session = Some(Session { from, opened: now });
                let working = power >= Some(rules.working_w);
                events.push(Expected {
                    kind: "session_started",
                    at: now,
                    data: json!({
                        "started_at": from,
                        "state": if working { "working" } else { "standby" },
                    }),
                });
            }
            if let (Some(running), Some(fall)) = (session, down_since)
                && now >= fall + rules.stop
            {
                (session, down_since) = (None, None);
                let data = json!({
                    "started_at": running.from, "ended_at": fall, "state": "idle", "reason": "power",
                });
                let totals = totals(&held, &powers, &counter, running.from, fall);
                events.push(Expected {
                    kind: "session_stopped",
                    at: now,
                    data: with(data, totals),
                });
                powers.clear();
            }
            let longest = last_sign + rules.silence;
            let over = if heard && online != Some(true) && now >= silent_from + rules.message {
                Some(("message_timeout", silent_from + rules.message))
            } else if now >= longest {
                Some(("max_silence", longest))
            } else {
                None
            };
            if let (Some(running), Some((reason, due))) = (session, over) {
                (session, down_since, power) = (None, None, None);
                let ended = last_sign.max(running.from);
                let data = json!({
                    "started_at": running.from, "ended_at": ended, "state": "idle", "reason": reason,
                });
                let totals = totals(&held, &powers, &counter, running.from, ended);
                let at = due.max(running.opened);
                events.push(Expected { kind: "session_timeout", at, data: with(data, totals) });
                powers.clear();
            }
            if let Some(running) = session
                && !arrived
                && now > running.opened
                && (now - running.opened).is_multiple_of(rules.heartbeat)
            {
                let state = match (down_since, power >= Some(rules.working_w)) {
                    (Some(_), _) => "stopping",
                    (None, true) => "working",
                    (None, false) => "standby",
                };
                let data = json!({ "started_at": running.from, "state": state });
                let totals = totals(&held, &powers, &counter, running.from, now);
                events.push(Expected {
                    kind: "session_heartbeat",
                    at: now,
                    data: with(data, totals),
                });
            }
            if happenings.get(next).is_none_or(|(at, _)| *at > now) {
                break;
            }
            arrived = true;
            let (_, what) = happenings[next];
            next += 1;
            match what {
                Happening::Power(watts) => {
                    power = Some(watts);
                    (last_sign, silent_from) = (now, now);
                    let up = watts >= rules.standby_w;
                    if up {
                        powers.push((now, watts));
                    }
                    match (session, up) {
                        (None, true) => up_since = up_since.or(Some(now)),
                        (None, false) => {
                            up_since = None;
                            powers.clear();
                        }
                        (Some(_), true) => down_since = None,
                        (Some(_), false) => down_since = down_since.or(Some(now)),
                    }
                }
                Happening::Energy(wh) => {
                    counter.push((now, wh));
                    (last_sign, silent_from) = (now, now);
                }
                Happening::Online(is) => {
                    online = Some(is);
                    if is {
                        (last_sign, silent_from) = (now, now);
                    }
                }
                Happening::KeptOnline(is) => online = Some(is),
                Happening::DeafSince(_) => silent_from = now,
            }
        }
        held.push(power.unwrap_or_default());
    }
    events
}
