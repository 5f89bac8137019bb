//! A stage that takes items, and why it does or does not take one, in the words of its file.
//!
//! Detectors, sinks and publishers say the same things under the same keys; here they are one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Place;
use crate::config::document::Anchor;
use crate::config::pipeline::{Detect, Pipeline, Publisher, Sink, Take};
use crate::config::topic::Pattern;
use crate::message::Item;
use crate::pipeline::directory::Bound;
use crate::pipeline::inputs::carries;
use crate::pipeline::item::Emitted;
use crate::quantity;

/// All sinks: those that call endpoints, and those that publish.
pub(super) fn sinks(file: &Pipeline) -> Vec<Taker<'_>> {
    let sinks = file.sinks.iter().map(Taker::sink);
    sinks.chain(file.publishers.iter().map(Taker::publisher)).collect()
}

/// A stage that takes items: a detector or a sink, with where it says what it takes.
pub(super) struct Taker<'a> {
    kind: &'static str,
    pub(super) name: &'a Arc<str>,
    pub(super) anchor: &'a Anchor,
    pub(super) place: &'a Place,
    pub(super) from: &'a [Arc<str>],
    pub(super) take: &'a [Take],
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) topics: &'a [Pattern],
}

impl<'a> Taker<'a> {
    pub(super) fn detector(detect: &'a Detect) -> Self {
        Self {
            kind: "detector",
            name: &detect.stage.name,
            anchor: &detect.anchor,
            place: &detect.stage.place,
            from: &detect.from,
            take: &detect.take,
            labels: &detect.labels,
            topics: &detect.topics,
        }
    }

    fn sink(sink: &'a Sink) -> Self {
        Self {
            kind: "sink",
            name: &sink.stage.name,
            anchor: &sink.anchor,
            place: &sink.stage.place,
            from: &sink.from,
            take: &sink.take,
            labels: &sink.labels,
            topics: &[],
        }
    }

    fn publisher(publisher: &'a Publisher) -> Self {
        Self {
            kind: "sink",
            name: &publisher.name,
            anchor: &publisher.anchor,
            place: &publisher.place,
            from: &publisher.from,
            take: &publisher.take,
            labels: &publisher.labels,
            topics: &[],
        }
    }

    pub(super) fn title(&self) -> String {
        format!("{} `{}`", self.kind, self.name)
    }

    pub(super) fn takes(&self) -> String {
        self.take.iter().map(|take| format!("`{}`", words(take))).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn takes_only_events(&self) -> bool {
        self.take.iter().all(|take| matches!(take, Take::Event(_)))
    }

    pub(super) fn takes_messages(&self) -> bool {
        self.take.contains(&Take::Message)
    }

    /// Whether it waits for events that `stages` may still say of this device.
    pub(super) fn awaits(&self, stages: &[Arc<str>], bound: Option<&Arc<Bound>>) -> bool {
        self.take.iter().any(|take| matches!(take, Take::Event(_)))
            && stages.iter().any(|stage| self.from.is_empty() || self.from.contains(stage))
            && carries(bound, self.labels)
    }

    /// Why it does not take an item, and the key of its table that says so; `None`: it does.
    /// `of_detector`: a detector emitted the item.
    pub(super) fn refuses(
        &self,
        item: &Emitted,
        of_detector: bool,
    ) -> Option<(String, &'static str)> {
        if self.from.is_empty() && of_detector && self.kind == "detector" {
            return Some(("takes only what parsers emit".to_owned(), "/take"));
        }
        if !self.from.is_empty() && !self.from.contains(&item.stage) {
            return Some((format!("takes only what {} emit", ticked(self.from)), "/from"));
        }
        let fits = |take: &Take| match (take, &item.item) {
            (Take::Reading(None), Item::Reading(_)) | (Take::Publication, Item::Publication(_)) => {
                true
            }
            (Take::Reading(Some(name)), Item::Reading(reading)) => {
                let wanted = quantity::by_name(name);
                reading.measurements.iter().any(|m| Some(m.quantity) == wanted)
            }
            (take, Item::Event(event)) => take.takes_event(&event.kind),
            _ => false,
        };
        if !self.take.iter().any(fits) {
            let what = format!("takes {}, and this is {}", self.takes(), item_words(&item.item));
            return Some((what, "/take"));
        }
        if !carries(item.bound.as_ref(), self.labels) {
            return Some((self.label_words(item.bound.as_ref()), "/labels"));
        }
        None
    }

    pub(super) fn label_words(&self, bound: Option<&Arc<Bound>>) -> String {
        let wanted = labels(self.labels);
        match bound {
            Some(bound) => format!(
                "takes only devices with the labels {wanted}; `{}` has {}",
                bound.device.id,
                labels(&bound.device.labels)
            ),
            None => {
                format!("takes only devices with the labels {wanted}; this one is not registered")
            }
        }
    }
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "none".to_owned();
    }
    labels.iter().map(|(key, value)| format!("`{key} = {value}`")).collect::<Vec<_>>().join(", ")
}

pub(super) fn ticked(names: &[Arc<str>]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn words(take: &Take) -> String {
    match take {
        Take::Message => "message".to_owned(),
        Take::Reading(None) => "reading".to_owned(),
        Take::Reading(Some(quantity)) => format!("reading:{quantity}"),
        Take::Event(None) => "event".to_owned(),
        Take::Event(Some(glob)) => format!("event:{glob}"),
        Take::Publication => "publication".to_owned(),
    }
}

fn item_words(item: &Item) -> String {
    match item {
        Item::Reading(reading) => {
            let names = reading.measurements.iter().map(|m| {
                quantity::entry(m.quantity)
                    .map_or_else(|| m.quantity.0.to_string(), |e| e.name.clone())
            });
            format!("a reading of `{}`", names.collect::<Vec<_>>().join("`, `"))
        }
        Item::Event(event) => format!("an event `{}`", event.kind),
        Item::Publication(publication) => format!("a publication to `{}`", publication.topic),
    }
}
