//! How `tapline replay --against` shows what differs: for a person, or as JSON lines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::replay::{Comparison, Difference, Findings, Group, Tally};

/// Differences of one group that are shown to a person.
const SHOWN: u64 = 3;
/// Values of one change that are shown to a person.
const VALUES: usize = 8;

/// Writes a table of what differs.
pub(super) struct Text<W> {
    out: W,
    device: Option<String>,
    /// Differences of this group so far.
    told: u64,
}

/// Writes one JSON object a difference.
pub(super) struct Json<W> {
    out: W,
}

impl<W: Write> Text<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, device: None, told: 0 }
    }

    pub(super) fn sum_up(&mut self, comparison: &Comparison) -> io::Result<()> {
        let Tally { same, gone, new, changed } = comparison.tally;
        for (by, (before, after)) in filtered(comparison) {
            writeln!(self.out, "filtered ({by}): {before} → {after}")?;
        }
        let (before, after) = (comparison.before.late, comparison.after.late);
        if before != after {
            writeln!(self.out, "too late for a detector: {before} → {after}")?;
        }
        if comparison.tally.differs() {
            let Comparison { devices, differing, .. } = comparison;
            writeln!(
                self.out,
                "{differing} of {devices} devices differ: {gone} gone, {new} new, {changed} \
                 changed, {same} the same"
            )?;
        } else if comparison.differs() {
            writeln!(self.out, "what comes out is the same ({same}), but not what is left aside")?;
        } else {
            writeln!(self.out, "no difference: {same} are the same")?;
        }
        self.out.flush()
    }
}

impl<W: Write> Findings for Text<W> {
    fn difference(&mut self, group: &Group, difference: Difference<'_>) -> io::Result<()> {
        if self.device.as_ref() != Some(&group.device) {
            let name = if group.device.is_empty() { "(no device)" } else { &group.device };
            writeln!(self.out, "{name}")?;
            self.device = Some(group.device.clone());
        }
        if self.told == 0 {
            let Group { item, name, channel, stage, .. } = group;
            write!(self.out, "  {item}")?;
            for (before, word) in [(" ", name), (" of ", channel), (" by ", stage)] {
                if !word.is_empty() {
                    write!(self.out, "{before}{word}")?;
                }
            }
            writeln!(self.out)?;
        }
        self.told += 1;
        if self.told > SHOWN {
            return Ok(());
        }
        match difference {
            Difference::Gone(line) => writeln!(self.out, "    - {}", brief(line)),
            Difference::New(line) => writeln!(self.out, "    + {}", brief(line)),
            Difference::Changed(before, after) => {
                writeln!(self.out, "    ~ {}", change(before, after))
            }
        }
    }

    fn group(&mut self, _group: &Group, tally: Tally) -> io::Result<()> {
        let told = std::mem::take(&mut self.told);
        if told > SHOWN {
            writeln!(self.out, "    … and {} more; --json shows all", told - SHOWN)?;
        }
        let Tally { same, gone, new, changed } = tally;
        writeln!(self.out, "    {gone} gone, {new} new, {changed} changed, {same} the same")
    }
}

impl<W: Write> Json<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    pub(super) fn sum_up(&mut self, comparison: &Comparison) -> io::Result<()> {
        let Tally { same, gone, new, changed } = comparison.tally;
        let Comparison { devices, differing, before, after, .. } = comparison;
        let filtered = filtered(comparison).into_iter().map(|(by, (before, after))| {
            (by.to_string(), json!({ "before": before, "after": after }))
        });
        let line = json!({ "summary": {
            "same": same, "gone": gone, "new": new, "changed": changed,
            "devices": devices, "devices_differing": differing,
            "filtered": filtered.collect::<BTreeMap<_, _>>(),
            "late": { "before": before.late, "after": after.late },
            "differs": comparison.differs(),
        }});
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }
}

impl<W: Write> Findings for Json<W> {
    fn difference(&mut self, group: &Group, difference: Difference<'_>) -> io::Result<()> {
        let word = match difference {
            Difference::Gone(_) => "gone",
            Difference::New(_) => "new",
            Difference::Changed(..) => "changed",
        };
        let Group { device, item, name, channel, stage } = group;
        write!(self.out, "{{\"difference\":\"{word}\",\"item\":\"{item}\"")?;
        let named = [("device", device), ("name", name), ("channel", channel), ("stage", stage)];
        for (key, value) in named.into_iter().filter(|(_, value)| !value.is_empty()) {
            write!(self.out, ",\"{key}\":{}", Value::from(value.as_str()))?;
        }
        // Lines are JSON objects already.
        match difference {
            Difference::Gone(line) => writeln!(self.out, ",\"before\":{line}}}"),
            Difference::New(line) => writeln!(self.out, ",\"after\":{line}}}"),
            Difference::Changed(before, after) => {
                writeln!(self.out, ",\"before\":{before},\"after\":{after}}}")
            }
        }
    }

    fn group(&mut self, _group: &Group, _tally: Tally) -> io::Result<()> {
        Ok(())
    }
}

/// What was filtered differently, by stage or rule.
fn filtered(comparison: &Comparison) -> BTreeMap<Arc<str>, (u64, u64)> {
    let (before, after) = (&comparison.before.filtered, &comparison.after.filtered);
    let by: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    let count =
        |counts: &BTreeMap<Arc<str>, u64>, by: &Arc<str>| counts.get(by).copied().unwrap_or(0);
    let both = by.into_iter().map(|by| {
        let counts = (count(before, &by), count(after, &by));
        (by, counts)
    });
    both.filter(|(_, (before, after))| before != after).collect()
}

/// The values of a line, by where they stand in it. What names its group is left out.
fn values(line: &str) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    if let Ok(value) = serde_json::from_str::<Value>(line) {
        flatten(String::new(), value, &mut values);
    }
    for named in ["item", "stage", "device", "channel", "kind", "topic"] {
        values.remove(named);
    }
    values
}

fn flatten(path: String, value: Value, values: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => map.into_iter().for_each(|(key, value)| {
            let path = if path.is_empty() { key } else { format!("{path}.{key}") };
            flatten(path, value, values);
        }),
        value => drop(values.insert(path, value)),
    }
}

/// A line for a person: its time or line, and its values.
fn brief(line: &str) -> String {
    let mut values = values(line);
    let at = values.remove("at").map(|at| word(&at)).unwrap_or_default();
    let words = values.iter().map(|(path, value)| format!("{} {}", short(path), word(value)));
    let words: Vec<_> = (!at.is_empty()).then_some(at).into_iter().chain(cut(words)).collect();
    words.join("  ")
}

/// A change for a person: when, and which values are others.
fn change(before: &str, after: &str) -> String {
    let (old, new) = (values(before), values(after));
    let paths: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differ = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    let words = differ.filter(|path| *path != "at").map(|path| {
        let side = |values: &BTreeMap<String, Value>| {
            values.get(path).map_or_else(|| "nothing".to_owned(), word)
        };
        format!("{} {} → {}", short(path), side(&old), side(&new))
    });
    let at = |values: &BTreeMap<String, Value>| values.get("at").map(word).unwrap_or_default();
    let at = if at(&old) == at(&new) { at(&old) } else { format!("{} → {}", at(&old), at(&new)) };
    let words: Vec<_> = (!at.is_empty()).then_some(at).into_iter().chain(cut(words)).collect();
    words.join("  ")
}

fn cut(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut words: Vec<_> = words.collect();
    let more = words.len().saturating_sub(VALUES);
    words.truncate(VALUES);
    if more > 0 {
        words.push(format!("… and {more} more"));
    }
    words
}

/// A path without the part that all of its kind have.
fn short(path: &str) -> &str {
    path.strip_prefix("measurements.").or(path.strip_prefix("data.")).unwrap_or(path)
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"item":"event","stage":"session","kind":"session_stopped","device":"press","at":"2026-03-03T06:00:05.000Z","data":{"energy_wh":12.5,"reason":"power"}}"#;
    const NEW: &str = r#"{"item":"event","stage":"session","kind":"session_stopped","device":"press","at":"2026-03-03T06:00:09.000Z","data":{"energy_wh":13,"reason":"power"}}"#;

    fn group() -> Group {
        Group {
            device: "press".to_owned(),
            item: "event",
            name: "session_stopped".to_owned(),
            channel: String::new(),
            stage: "session".to_owned(),
        }
    }

    #[test]
    fn a_person_sees_per_device_and_event_what_differs() {
        let mut bytes = Vec::new();
        let mut text = Text::new(&mut bytes);
        text.difference(&group(), Difference::Changed(OLD, NEW)).unwrap();
        for _ in 0..SHOWN {
            text.difference(&group(), Difference::Gone(OLD)).unwrap();
        }
        let tally = Tally { same: 7, gone: SHOWN, new: 0, changed: 1 };
        text.group(&group(), tally).unwrap();
        let comparison = Comparison { tally, devices: 2, differing: 1, ..Comparison::default() };
        text.sum_up(&comparison).unwrap();
        let gone = "    - 2026-03-03T06:00:05.000Z  energy_wh 12.5  reason power\n";
        let expected = format!(
            "press\n  event session_stopped by session\n    ~ 2026-03-03T06:00:05.000Z → \
             2026-03-03T06:00:09.000Z  energy_wh 12.5 → 13\n{gone}{gone}    … and 1 more; --json \
             shows all\n    3 gone, 0 new, 1 changed, 7 the same\n1 of 2 devices differ: 3 gone, 0 \
             new, 1 changed, 7 the same\n"
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn a_program_reads_every_difference_as_a_json_line() {
        let mut bytes = Vec::new();
        let mut lines = Json::new(&mut bytes);
        lines.difference(&group(), Difference::Changed(OLD, NEW)).unwrap();
        lines.difference(&group(), Difference::New(NEW)).unwrap();
        let mut comparison = Comparison::default();
        comparison.after.filtered.insert("except".into(), 3);
        lines.sum_up(&comparison).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["difference"], "changed");
        assert_eq!(lines[0]["before"]["data"]["energy_wh"], 12.5);
        assert_eq!(lines[0]["after"]["data"]["energy_wh"], 13);
        assert_eq!((&lines[1]["device"], &lines[1]["before"]), (&"press".into(), &Value::Null));
        let summary = &lines[2]["summary"];
        assert_eq!(summary["filtered"]["except"], json!({ "before": 0, "after": 3 }));
        assert_eq!(summary["differs"], true);
    }
}
