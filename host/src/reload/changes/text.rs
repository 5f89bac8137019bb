//! Changes as a person reads them: `+` added, `~` changed, `-` removed, `!` needs a decision.

use std::fmt::Write;

use serde_json::Value;

use super::{Change, Changes, Difference, How, Stranded};

/// Things of one kind that are listed; more are counted.
const LISTED: usize = 30;
/// Characters of a value; a list of topics may be long.
const LONGEST: usize = 80;

/// Everything, a line for each thing; empty where nothing would change.
pub fn render(changes: &Changes) -> String {
    let mut text = String::new();
    let Changes { pipelines, devices, brokers, endpoints, modules, .. } = changes;
    for all in [brokers, endpoints] {
        list(&mut text, all, 0);
    }
    for difference in &changes.site {
        let _ = writeln!(text, "~ {}", line(difference));
    }
    for all in [modules, pipelines, devices] {
        list(&mut text, all, 0);
    }
    for inheritance in &changes.inherited {
        let (from, to, keys) = (&inheritance.from, &inheritance.to, keys(inheritance.keys));
        let _ = match from == to {
            true => writeln!(text, "+ state of {to}: {keys} come back"),
            false => writeln!(text, "~ state of {from}: {keys} go to {to}"),
        };
    }
    for orphan in &changes.orphaned {
        let (pipeline, stage, keys) = (&orphan.pipeline, &orphan.stage, keys(orphan.keys));
        let _ = match orphan.by_this_change {
            true => writeln!(
                text,
                "! state of {pipeline}/{stage}: {keys} would have no owner; give the stage that \
                 follows it `state_from = \"{stage}\"`, or agree with `tapline reload \
                 --drop-state` (parked for 7 days)"
            ),
            false => writeln!(
                text,
                "! state of {pipeline}/{stage}: {keys} had no owner before; \
                 `tapline reload --drop-state` parks it for 7 days"
            ),
        };
    }
    for Stranded { sink, waiting } in &changes.stranded {
        let _ = writeln!(
            text,
            "! sink {sink}: {waiting} deliveries wait for it; they are kept until it comes back"
        );
    }
    for problem in &changes.problems {
        let _ = writeln!(text, "! {problem}");
    }
    text
}

impl Changes {
    /// In one line: `2 devices added, 1 changed; pipeline workshop changed`.
    pub fn in_short(&self) -> String {
        let mut said = Vec::new();
        said.extend(devices_in_short(&self.devices));
        for all in [&self.pipelines, &self.modules, &self.brokers, &self.endpoints] {
            if all.len() > 5 {
                said.push(format!("{} {}s changed", all.len(), all[0].kind));
                continue;
            }
            said.extend(all.iter().map(|one| format!("{} {} {}", one.kind, one.name, one.change)));
        }
        if let Some(first) = self.site.first() {
            said.push(match self.site.len() {
                1 => format!("{} changed", first.field),
                more => format!("{} and {} more changed", first.field, more - 1),
            });
        }
        if said.is_empty() { "nothing".to_owned() } else { said.join("; ") }
    }
}

/// `2 devices added, 1 changed`.
fn devices_in_short(devices: &[Change]) -> Option<String> {
    let count = |how| devices.iter().filter(|device| device.change == how).count();
    let counted = [How::Added, How::Changed, How::Removed].map(|how| (count(how), how));
    let mut said = Vec::new();
    for (count, how) in counted.into_iter().filter(|(count, _)| *count > 0) {
        let noun = match (said.is_empty(), count) {
            (false, _) => "",
            (true, 1) => " device",
            (true, _) => " devices",
        };
        said.push(format!("{count}{noun} {how}"));
    }
    (!said.is_empty()).then(|| said.join(", "))
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        })
    }
}

fn list(text: &mut String, changes: &[Change], depth: usize) {
    let indent = "    ".repeat(depth);
    for change in changes.iter().take(LISTED) {
        let sign = match change.change {
            How::Added => '+',
            How::Changed => '~',
            How::Removed => '-',
        };
        let _ = write!(text, "{indent}{sign} {} {}", change.kind, change.name);
        match &change.file {
            Some(file) => {
                let _ = writeln!(text, " ({file})");
            }
            None => text.push('\n'),
        }
        for difference in &change.fields {
            let _ = writeln!(text, "{indent}    {}", line(difference));
        }
        list(text, &change.parts, depth + 1);
    }
    if let Some(more) = changes.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let _ = writeln!(text, "{indent}… and {more} more");
    }
}

fn line(difference: &Difference) -> String {
    let Difference { field, from, to } = difference;
    match (from, to) {
        (Some(from), Some(to)) if from == to => format!("{field}: another value"),
        (Some(from), Some(to)) => format!("{field}: {} -> {}", value(from), value(to)),
        (None, Some(to)) => format!("{field}: {} (was not set)", value(to)),
        (Some(from), None) => format!("{field}: no longer set (was {})", value(from)),
        (None, None) => field.clone(),
    }
}

fn value(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn keys(count: u64) -> String {
    match count {
        1 => "1 key".to_owned(),
        count => format!("{count} keys"),
    }
}
