//! Publications that come back as messages: a pipeline that feeds its own source, and pipelines
//! that feed each other.
//!
//! (Sinks that publish by a template are checked where they are read; here they count for
//! circles.) What a module publishes is known only while it runs, but `[publish] allow` bounds it. Where
//! every topic that an entry allows is one that a source reads, what is published comes back
//! for certain; where only some are, it may.

use super::build::Build;
use super::{Pipeline, Source};
use crate::config::problem::Problem;
use crate::config::topic::Pattern;

impl Build<'_> {
    /// Where a pipeline has several brokers it may carry messages from one to the other, so a
    /// topic that it both reads and publishes is no mistake for certain.
    pub(super) fn check_loops(&mut self, publish: &[Pattern], sources: &[Source]) {
        let brokers = self.context.site.map_or(1, |site| site.brokers.len());
        for (index, allowed) in publish.iter().enumerate() {
            let fed = sources.iter().find_map(|source| {
                let topic = fed_by(source, allowed)?;
                Some((source, topic))
            });
            let Some((source, topic)) = fed else { continue };
            let place = self.reader.place(&format!("/publish/allow/{index}"));
            if covers(&topic.filter(), &allowed.filter()) && brokers == 1 {
                let what = format!(
                    "what is published to `{allowed}` comes back through `{topic}` of source `{}`",
                    source.name
                );
                let remedy = format!("add `except = [\"{allowed}\"]` to the source, or narrow one");
                self.reader.add(Problem::at(place, what, remedy));
            } else {
                let what = format!(
                    "what is published to `{allowed}` may come back through `{topic}` of source `{}`",
                    source.name
                );
                let remedy = "narrow one of the two if that is not meant";
                self.warnings.push(Problem::at(place, what, remedy));
            }
        }
    }
}

/// The topic of `source` by which a publication to `allowed` comes in, unless an exception
/// keeps all of them out.
fn fed_by<'s>(source: &'s Source, allowed: &Pattern) -> Option<&'s Pattern> {
    let filter = allowed.filter();
    if source.except.iter().any(|except| covers(&except.filter(), &filter)) {
        return None;
    }
    source.topics.iter().find(|topic| topic.overlaps(allowed))
}

/// Whether each topic that `narrow` matches is one that `wide` matches; both are filters.
fn covers(wide: &str, narrow: &str) -> bool {
    let mut narrow = narrow.split('/');
    for level in wide.split('/') {
        match (level, narrow.next()) {
            ("#", _) => return true,
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (word, Some(other)) if word == other => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

/// Pipelines that publish what another reads, around to the first: each circle once.
pub(in crate::config) fn circles<'p>(
    pipelines: impl Iterator<Item = &'p Pipeline>,
) -> Vec<Problem> {
    let pipelines: Vec<&Pipeline> = pipelines.collect();
    let feeds = |from: &Pipeline, to: &Pipeline| {
        from.outflows().any(|out| {
            let mut sources = to.sources.iter();
            sources.any(|source| {
                out.broker.is_none_or(|broker| *broker == source.broker)
                    && fed_by(source, out.filter).is_some()
            })
        })
    };
    let next: Vec<Vec<usize>> = pipelines
        .iter()
        .map(|from| {
            let others = pipelines.iter().enumerate();
            others
                .filter(|(_, to)| to.name != from.name && feeds(from, to))
                .map(|(i, _)| i)
                .collect()
        })
        .collect();
    let mut said = vec![false; pipelines.len()];
    let mut problems = Vec::new();
    for start in 0..pipelines.len() {
        let Some(way) = way_back(start, &next).filter(|way| way.iter().all(|&i| !said[i])) else {
            continue;
        };
        way.iter().for_each(|&i| said[i] = true);
        let names: Vec<_> = way.iter().map(|&i| format!("`{}`", pipelines[i].name)).collect();
        let what = format!("pipelines {} may feed each other in a circle", names.join(", "));
        let remedy = "narrow `[publish] allow` or `topics` of one of them if that is not meant";
        problems.push(Problem::of(&*pipelines[start].file, what, remedy));
    }
    problems
}

/// The shortest way from a pipeline back to itself.
fn way_back(start: usize, next: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut came_from = vec![None; next.len()];
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(here) = queue.pop_front() {
        for &there in &next[here] {
            if there == start {
                let mut way = vec![here];
                while let Some(before) = came_from[*way.last().unwrap_or(&start)] {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if came_from[there].is_none() {
                came_from[there] = Some(here);
                queue.push_back(there);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_covers_what_it_matches_in_full() {
        for (wide, narrow, expected) in [
            ("#", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "a/+/c", true),
            ("a/+", "a/b", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("a/+/c", "a/b", false),
            ("a/b", "a/b/c", false),
        ] {
            assert_eq!(covers(wide, narrow), expected, "{wide} {narrow}");
        }
    }
}
