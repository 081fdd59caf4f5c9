//! Which prefixes a path begins with.
//!
//! A radix trie in flat arrays: one walk down along the path meets every stored prefix of it, so
//! the cost is the length of the path, not the number of prefixes.
//!
//! ```text
//!   "/" ──┬── "api/" ──┬── "v1/"        nodes of one parent stand side by side, ordered by
//!         │            └── "v2/"        their first byte, which is kept apart for the
//!         └── "static/"                  binary search
//! ```

use std::collections::BTreeMap;

/// Lists of values by prefix; immutable.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrefixTrie {
    /// The root, which stands for the empty prefix, comes first.
    nodes: Box<[Node]>,
    /// The first byte of each node's text, by index of the node.
    firsts: Box<[u8]>,
    text: Box<[u8]>,
    values: Box<[u32]>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// What it adds to its parent's prefix.
    text: (u32, u32),
    children: (u32, u32),
    values: (u32, u32),
}

/// A node whose children are still to be made.
struct Pending<'a> {
    node: usize,
    entries: &'a [(&'a [u8], &'a [u32])],
    depth: usize,
}

impl PrefixTrie {
    pub(crate) fn new(entries: &BTreeMap<Vec<u8>, Vec<u32>>) -> Self {
        let entries: Vec<_> =
            entries.iter().map(|(prefix, values)| (&prefix[..], &values[..])).collect();
        if entries.is_empty() {
            return Self::default();
        }
        let root = Node { text: (0, 0), children: (0, 0), values: (0, 0) };
        let (mut nodes, mut firsts) = (vec![root], vec![0]);
        let (mut text, mut all_values) = (Vec::new(), Vec::new());
        let mut pending = vec![Pending { node: 0, entries: &entries, depth: 0 }];
        while let Some(Pending { node, mut entries, depth }) = pending.pop() {
            if let [(prefix, values), rest @ ..] = entries
                && prefix.len() == depth
            {
                nodes[node].values = (all_values.len() as u32, values.len() as u32);
                all_values.extend_from_slice(values);
                entries = rest;
            }
            nodes[node].children.0 = nodes.len() as u32;
            for group in entries.chunk_by(|(a, _), (b, _)| a[depth] == b[depth]) {
                // In sorted order the first and the last differ earliest.
                let end = depth + common(group, depth);
                let added = &group[0].0[depth..end];
                pending.push(Pending { node: nodes.len(), entries: group, depth: end });
                let at = (text.len() as u32, added.len() as u32);
                nodes.push(Node { text: at, children: (0, 0), values: (0, 0) });
                firsts.push(added[0]);
                text.extend_from_slice(added);
                nodes[node].children.1 += 1;
            }
        }
        Self {
            nodes: nodes.into(),
            firsts: firsts.into(),
            text: text.into(),
            values: all_values.into(),
        }
    }

    /// Shows the values of every stored prefix of `path`, shortest first.
    #[inline]
    pub(crate) fn visit(&self, path: &[u8], mut visit: impl FnMut(&[u32])) {
        let Some(mut node) = self.nodes.first() else { return };
        let mut rest = path;
        loop {
            if node.values.1 > 0 {
                visit(&self.values[range(node.values)]);
            }
            let Some(first) = rest.first() else { return };
            let children = range(node.children);
            let Ok(child) = self.firsts[children.clone()].binary_search(first) else { return };
            node = &self.nodes[children.start + child];
            let Some(behind) = rest.strip_prefix(&self.text[range(node.text)]) else { return };
            rest = behind;
        }
    }
}

#[inline]
fn range((start, len): (u32, u32)) -> std::ops::Range<usize> {
    start as usize..start as usize + len as usize
}

/// How many bytes all prefixes of a sorted group have in common behind `depth`.
fn common(group: &[(&[u8], &[u32])], depth: usize) -> usize {
    let (Some((first, _)), Some((last, _))) = (group.first(), group.last()) else { return 0 };
    first[depth..].iter().zip(&last[depth..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(trie: &PrefixTrie, path: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        trie.visit(path, |values| found.extend_from_slice(values));
        found
    }

    #[test]
    fn an_empty_trie_finds_nothing() {
        assert_eq!(found(&PrefixTrie::new(&BTreeMap::new()), b"/"), []);
    }

    proptest! {
        /// Few letters, so that prefixes share, end inside and contain each other.
        #[test]
        fn agrees_with_comparing_each(
            prefixes in prop::collection::vec("[/ab]{0,6}", 0..40),
            paths in prop::collection::vec("[/abc]{0,9}", 1..20),
        ) {
            let mut entries = BTreeMap::<Vec<u8>, Vec<u32>>::new();
            for (index, prefix) in prefixes.iter().enumerate() {
                entries.entry(prefix.clone().into_bytes()).or_default().push(index as u32);
            }
            let trie = PrefixTrie::new(&entries);
            for path in paths {
                let mut naive: Vec<_> = (0..prefixes.len() as u32)
                    .filter(|index| path.starts_with(&prefixes[*index as usize]))
                    .collect();
                naive.sort_by_key(|index| (prefixes[*index as usize].len(), *index));
                prop_assert_eq!(found(&trie, path.as_bytes()), naive);
            }
        }
    }
}
