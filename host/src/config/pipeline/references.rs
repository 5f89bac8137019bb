//! What the stages of a pipeline file say of each other: names, order, captures, overlaps.

use std::collections::BTreeMap;

use super::build::Build;
use super::{Detect, KeyPart, Parse, Source};
use crate::config::problem::{Place, Problem};
use crate::config::schema::{nearest, ticked};
use crate::config::topic::Pattern;

impl Build<'_> {
    /// Names are unique among sources, among validators, among sinks, and among the stages
    /// that others may take from.
    pub(super) fn check_duplicates(&mut self) {
        for lists in [&["/source"][..], &["/validate"], &["/parse", "/detect"], &["/sink"]] {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            let entries: Vec<_> = lists.iter().flat_map(|l| self.reader.entries(l)).collect();
            for entry in entries {
                let at = format!("{entry}/name");
                let Some(name) = self.reader.text(&at).map(str::to_owned) else { continue };
                let (line, _) = self.reader.place(&at).line_and_column();
                match seen.get(&name) {
                    Some(first) => {
                        let kind = entry.split('/').nth(1).unwrap_or("stage");
                        let kind = if lists.len() > 1 { "stage" } else { kind };
                        let what =
                            format!("a {kind} named `{name}` stands in line {first} already");
                        self.reader.problem(&at, what, "give one of the two another name");
                    }
                    None => {
                        seen.insert(name, line);
                    }
                }
            }
        }
    }

    /// `from` names stages further up: so stages form no circle, and the order of the file is
    /// the order of work.
    pub(super) fn check_order(&mut self) {
        let names = |build: &Self, list: &str| -> Vec<(String, String)> {
            let named = |at: String| {
                let name = build.reader.text(&format!("{at}/name"))?.to_owned();
                Some((at, name))
            };
            build.reader.entries(list).into_iter().filter_map(named).collect()
        };
        let mut earlier: Vec<String> = names(self, "/parse").into_iter().map(|(_, n)| n).collect();
        let detectors = names(self, "/detect");
        for (position, (at, name)) in detectors.iter().enumerate() {
            let later: Vec<&str> = detectors[position..].iter().map(|(_, n)| n.as_str()).collect();
            self.check_from(at, name, &earlier, &later);
            earlier.push(name.clone());
        }
        for (at, name) in names(self, "/sink") {
            self.check_from(&at, &name, &earlier, &[]);
        }
    }

    fn check_from(&mut self, at: &str, name: &str, earlier: &[String], later: &[&str]) {
        for entry in self.reader.entries(&format!("{at}/from")) {
            let Some(from) = self.reader.text(&entry).map(str::to_owned) else { continue };
            if earlier.contains(&from) {
                continue;
            }
            let known: Vec<&str> = earlier.iter().map(String::as_str).collect();
            let (what, remedy) = if from == name && later.contains(&name) {
                (format!("`{name}` takes from itself"), "remove it from `from`".to_owned())
            } else if later.contains(&from.as_str()) {
                let circle = self.leads_to(&from, name);
                if circle {
                    let what = format!("`{name}` and `{from}` take from each other");
                    (what, "remove one of the two: stages form no circle".to_owned())
                } else {
                    let what = format!("stage `{from}` stands further down");
                    (what, format!("move `{from}` above `{name}`"))
                }
            } else if let Some(near) = nearest(&from, &known) {
                (format!("no stage is called `{from}`"), format!("did you mean `{near}`?"))
            } else if known.is_empty() {
                let remedy = "remove it: no stage stands further up".to_owned();
                (format!("no stage is called `{from}`"), remedy)
            } else {
                let remedy = format!("stages further up are {}", ticked(&known));
                (format!("no stage is called `{from}`"), remedy)
            };
            self.reader.problem(&entry, what, remedy);
        }
    }

    /// Whether `stage` takes from `target`, at whatever distance.
    fn leads_to(&self, stage: &str, target: &str) -> bool {
        let mut seen: Vec<String> = Vec::new();
        let mut next = vec![stage.to_owned()];
        while let Some(stage) = next.pop() {
            for at in self.reader.entries("/detect") {
                if self.reader.text(&format!("{at}/name")) != Some(&stage) {
                    continue;
                }
                for entry in self.reader.entries(&format!("{at}/from")) {
                    let Some(from) = self.reader.text(&entry) else { continue };
                    if from == target {
                        return true;
                    }
                    if !seen.iter().any(|known| known == from) {
                        seen.push(from.to_owned());
                        next.push(from.to_owned());
                    }
                }
            }
        }
        false
    }

    /// State is taken over from what is gone: a stage that stands in the file keeps its own.
    pub(super) fn check_state_from(&mut self) {
        let name = self.reader.text("/name").map(str::to_owned);
        let before = self.reader.text("/state_from").map(str::to_owned);
        if before.is_some() && before == name {
            let remedy = "name the pipeline's former name, or remove the key";
            self.reader.problem("/state_from", "that is the pipeline's own name", remedy);
        }
        let stages: Vec<String> = ["/parse", "/detect"]
            .iter()
            .flat_map(|list| self.reader.entries(list))
            .filter_map(|at| self.reader.text(&format!("{at}/name")).map(str::to_owned))
            .collect();
        for at in self.reader.entries("/detect") {
            let at = format!("{at}/state_from");
            let Some(from) = self.reader.text(&at).map(str::to_owned) else { continue };
            if before.is_none() && stages.contains(&from) {
                let what = format!("stage `{from}` stands in this file and keeps its state");
                let remedy = "name the stage's former name, or remove the key";
                self.reader.problem(&at, what, remedy);
            }
        }
    }

    pub(super) fn check_captures(&mut self, sources: &[Source], detect: &[Detect]) {
        for stage in detect {
            let patterns = sources.iter().flat_map(|source| &source.topics).chain(&stage.topics);
            let known: Vec<&str> = patterns.flat_map(Pattern::names).map(|name| &**name).collect();
            for part in &stage.key {
                let KeyPart::Capture(name) = part else { continue };
                if known.contains(&&**name) {
                    continue;
                }
                let mut possible = vec!["device", "channel"];
                possible.extend(known.iter().copied().filter(|name| *name != "device"));
                let remedy = match nearest(name, &possible) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "possible are {}, and any `{{capture}}` of a source's topics",
                        ticked(&possible)
                    ),
                };
                let what = format!("no topic captures `{name}`");
                let problem = Problem::at(self.key_place(&stage.stage.name, name), what, remedy);
                self.reader.add(problem);
            }
        }
    }

    fn key_place(&self, stage: &str, part: &str) -> Place {
        let at = self.reader.entries("/detect").into_iter().find_map(|at| {
            if self.reader.text(&format!("{at}/name")) != Some(stage) {
                return None;
            }
            let mut parts = self.reader.entries(&format!("{at}/key")).into_iter();
            parts.find(|entry| self.reader.text(entry) == Some(part))
        });
        self.reader.place(&at.unwrap_or_default())
    }

    pub(super) fn warn_of_overlaps(&mut self, parse: &[Parse]) {
        for (i, later) in parse.iter().enumerate() {
            for earlier in &parse[..i] {
                let pair = later.topics.iter().find_map(|topic| {
                    let other = earlier.topics.iter().find(|other| other.overlaps(topic))?;
                    Some((topic, other))
                });
                if let Some((topic, other)) = pair {
                    let what = format!(
                        "`{topic}` of `{}` and `{other}` of `{}` match the same topics",
                        later.stage.name, earlier.stage.name
                    );
                    let remedy = format!(
                        "`{}` reads them, being further up; narrow one of the two if that is \
                         not meant",
                        earlier.stage.name
                    );
                    self.warnings.push(Problem::at(later.stage.place.clone(), what, remedy));
                }
            }
        }
    }
}
