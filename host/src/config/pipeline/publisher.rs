//! A sink that publishes: broker, topic and payload in place of module and endpoint.

use std::time::Duration;

use super::build::{Build, YEAR};
use super::file::SinkFile;
use super::{Publisher, Source, Take};
use crate::config::problem::Problem;
use crate::config::schema::nearest;
use crate::config::template::Template;
use crate::config::topic::Pattern;

impl Build<'_> {
    pub(super) fn publisher(&mut self, at: &str) -> Option<Publisher> {
        let sink: SinkFile = self.reader.read(at)?;
        let target = sink.publish?;
        for key in ["module", "endpoint", "settings", "limits", "batch", "shadow"] {
            let key_at = format!("{at}/{key}");
            if self.reader.value.pointer(&key_at).is_some() {
                let what = format!("a sink that publishes has no `{key}`");
                self.reader.key_problem(&key_at, what, "remove it, or remove `publish`");
            }
        }
        let take = self.takes(&format!("{at}/take"), sink.take);
        if let Some(i) = take.iter().position(|take| *take == Take::Publication) {
            let what = "a publication goes out by itself";
            let remedy = "take readings, events or messages, and allow publications in [publish]";
            self.reader.problem(&format!("{at}/take/{i}"), what, remedy);
        }
        let expire_at = format!("{at}/expire");
        let shortest = Duration::from_millis(1);
        let expire = self.reader.duration(&expire_at, sink.expire, shortest, YEAR);
        let broker_at = format!("{at}/publish/broker");
        let known = self.context.site.map(|site| site.brokers.keys().map(String::as_str).collect());
        self.check_known(&broker_at, "broker", &target.broker.0, known);
        let topic_at = format!("{at}/publish/topic");
        let topic = self.topic(&topic_at, &target.topic);
        let payload = match &target.payload {
            None => Some(None),
            Some(text) => match Template::parse(text) {
                Ok(template) => Some(Some(template)),
                Err((what, remedy)) => {
                    self.reader.problem(&format!("{at}/publish/payload"), what, remedy);
                    None
                }
            },
        };
        let topic = topic?;
        Some(Publisher {
            anchor: crate::config::document::Anchor::new(&self.reader.document, at),
            filter: topic.topic_filter()?,
            name: sink.name.0.into(),
            place: self.reader.place(&format!("{at}/name")),
            from: sink.from.into_iter().map(std::sync::Arc::from).collect(),
            take,
            labels: sink.labels,
            broker: target.broker.0.into(),
            broker_place: self.reader.place(&broker_at),
            topic,
            topic_place: self.reader.place(&topic_at),
            payload: payload?,
            qos: target.qos.unwrap_or(1),
            retain: target.retain,
            expire,
        })
    }

    /// What a sink publishes to its own pipeline would never end.
    pub(super) fn check_echoes(&mut self, publishers: &[Publisher], sources: &[Source]) {
        for publisher in publishers {
            let filter = publisher.filter.filter();
            let echo = sources.iter().filter(|source| source.broker == publisher.broker).find_map(
                |source| {
                    let topic = source.topics.iter().find(|t| t.overlaps(&publisher.filter))?;
                    let kept_out = source.except.iter().any(|except| covers(except, &filter));
                    (!kept_out).then_some((source, topic))
                },
            );
            let Some((source, topic)) = echo else { continue };
            let what = format!(
                "what is published to `{filter}` comes back through `{topic}` of source `{}`",
                source.name
            );
            let remedy =
                format!("add `except = [\"{filter}\"]` to the source, or publish elsewhere");
            self.reader.add(Problem::at(publisher.topic_place.clone(), what, remedy));
        }
    }

    /// A topic's template, `@name` looked up.
    fn topic(&mut self, at: &str, text: &str) -> Option<Template> {
        let text = match text.strip_prefix('@') {
            None => text.to_owned(),
            Some(name) => match self.topics.get(name) {
                Some(topic) => topic.clone(),
                None => {
                    let known: Vec<&str> = self.topics.keys().map(String::as_str).collect();
                    let remedy = match nearest(name, &known) {
                        Some(near) => format!("did you mean `@{near}`?"),
                        None => format!("add `{name}` to [topics]"),
                    };
                    self.reader.problem(at, format!("no topic is called `{name}`"), remedy);
                    return None;
                }
            },
        };
        match Template::parse_topic(&text) {
            Ok(template) => Some(template),
            Err((what, remedy)) => {
                self.reader.problem(at, what, remedy);
                None
            }
        }
    }
}

/// Whether a pattern matches every topic of a filter whose wildcards are `+` alone.
fn covers(pattern: &Pattern, filter: &str) -> bool {
    // A level that no pattern spells out stands for all of them.
    pattern.matches(&filter.replace('+', "\u{1}"))
}
