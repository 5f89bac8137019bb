//! Topic filters in a tree by level, so that finding a message's devices does not depend
//! on how many devices there are.

use std::collections::HashMap;

/// Filters (`+`, `#`) and what hangs on each.
#[derive(Debug)]
pub(super) struct Trie<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    levels: Levels<T>,
    plus: Option<Box<Node<T>>>,
    /// Filters that end here.
    here: Vec<T>,
    /// Filters that end here in `#`.
    rest: Vec<T>,
}

/// The next levels of a node. Most nodes have one, and a table for it would be the largest part of
/// a hundred thousand devices' topics.
#[derive(Debug)]
enum Levels<T> {
    Few(Vec<(Box<str>, Node<T>)>),
    Many(HashMap<Box<str>, Node<T>>),
}

/// From so many on there is a table.
const MANY: usize = 8;

impl<T> Levels<T> {
    fn get(&self, level: &str) -> Option<&Node<T>> {
        match self {
            Self::Few(nodes) => {
                nodes.iter().find(|(name, _)| **name == *level).map(|(_, node)| node)
            }
            Self::Many(nodes) => nodes.get(level),
        }
    }

    fn get_or_insert(&mut self, level: &str) -> &mut Node<T> {
        if let Self::Few(nodes) = self
            && nodes.len() == MANY
            && !nodes.iter().any(|(name, _)| **name == *level)
        {
            *self = Self::Many(std::mem::take(nodes).into_iter().collect());
        }
        match self {
            Self::Few(nodes) => {
                let known = nodes.iter().position(|(name, _)| **name == *level);
                let at = known.unwrap_or_else(|| {
                    nodes.reserve_exact(1);
                    nodes.push((level.into(), Node::default()));
                    nodes.len() - 1
                });
                &mut nodes[at].1
            }
            Self::Many(nodes) => nodes.entry(level.into()).or_default(),
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { levels: Levels::Few(Vec::new()), plus: None, here: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T: Copy + Ord> Trie<T> {
    /// Hangs `value` on an MQTT filter, which must be valid.
    pub(super) fn insert(&mut self, filter: &str, value: T) {
        let mut node = &mut self.root;
        for level in filter.split('/') {
            node = match level {
                "#" => {
                    push(&mut node.rest, value);
                    return;
                }
                "+" => node.plus.get_or_insert_default(),
                _ => node.levels.get_or_insert(level),
            };
        }
        push(&mut node.here, value);
    }

    /// What hangs on the filters that match `topic`: in order, each once.
    pub(super) fn find(&self, topic: &str) -> Vec<T> {
        let mut found = Vec::new();
        // A leading wildcard does not match topics that start with `$` (MQTT 4.7.2).
        let wild = !topic.starts_with('$');
        self.root.collect(Some(topic), wild, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Mostly the only one.
fn push<T>(values: &mut Vec<T>, value: T) {
    if values.is_empty() {
        values.reserve_exact(1);
    }
    values.push(value);
}

impl<T: Copy> Node<T> {
    fn collect(&self, topic: Option<&str>, wild: bool, found: &mut Vec<T>) {
        if wild {
            found.extend_from_slice(&self.rest);
        }
        let Some(topic) = topic else {
            found.extend_from_slice(&self.here);
            return;
        };
        let (level, rest) = match topic.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (topic, None),
        };
        if let Some(node) = self.levels.get(level) {
            node.collect(rest, true, found);
        }
        if wild && let Some(node) = &self.plus {
            node.collect(rest, true, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_filter_that_matches_and_no_other() {
        let filters = ["a/b", "a/+", "a/#", "#", "+/b", "a/b/c", "a/b/#", "+", "$SYS/#"];
        let mut trie = Trie::default();
        for (i, filter) in filters.iter().enumerate() {
            trie.insert(filter, i);
        }
        let find = |topic| trie.find(topic).into_iter().map(|i| filters[i]).collect::<Vec<_>>();
        assert_eq!(find("a/b"), ["a/b", "a/+", "a/#", "#", "+/b", "a/b/#"]);
        assert_eq!(find("a"), ["a/#", "#", "+"]);
        assert_eq!(find("a/b/c"), ["a/#", "#", "a/b/c", "a/b/#"]);
        assert_eq!(find("$SYS/x"), ["$SYS/#"]);
        assert_eq!(find("x/y/z"), ["#"]);
    }

    #[test]
    fn finds_among_few_and_among_many_alike() {
        let mut trie = Trie::default();
        for n in 0..100 {
            trie.insert(&format!("hall/m{n}/status"), n);
            for other in 0..=n {
                assert_eq!(trie.find(&format!("hall/m{other}/status")), [other], "of {n}");
            }
        }
        trie.insert("hall/m7/status", 1000);
        assert_eq!(trie.find("hall/m7/status"), [7, 1000]);
        assert!(trie.find("hall/m100/status").is_empty());
    }
}
