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
    levels: HashMap<Box<str>, Node<T>>,
    plus: Option<Box<Node<T>>>,
    /// Filters that end here.
    here: Vec<T>,
    /// Filters that end here in `#`.
    rest: Vec<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { levels: HashMap::new(), plus: None, here: Vec::new(), rest: Vec::new() }
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
                    node.rest.push(value);
                    return;
                }
                "+" => node.plus.get_or_insert_default(),
                _ => node.levels.entry(level.into()).or_default(),
            };
        }
        node.here.push(value);
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
}
