//! From a port to the row of the rules whose ranges hold it.

use sluice_config_model::PortRange;

use crate::rows::{Bits, RowBuilder};

const PORTS: usize = 1 << 16;

/// The row of every port.
#[derive(Debug)]
pub(crate) struct PortIndex(Box<[u32; PORTS]>);

impl PortIndex {
    /// `ranges` says which ports the rule at a position names; none means any, and no answer that
    /// the rule never holds.
    pub(crate) fn new<'r>(
        rules: usize,
        ranges: impl Fn(usize) -> Option<&'r [PortRange]>,
        rows: &mut RowBuilder,
    ) -> Self {
        let mut now = Bits::of(rules, |at| ranges(at).is_some_and(<[_]>::is_empty));
        // Where a rule begins and ceases to hold, by port.
        let mut changes: Vec<(usize, usize, bool)> = Vec::new();
        for at in 0..rules {
            for (first, end) in disjoint(ranges(at).unwrap_or_default()) {
                changes.extend([(first, at, true), (end, at, false)]);
            }
        }
        changes.sort_unstable();
        let mut table = Box::new([0; PORTS]);
        let (mut from, mut next) = (0, 0);
        while from < PORTS {
            while let Some((_, at, holds)) = changes.get(next).filter(|change| change.0 <= from) {
                if *holds {
                    now.set(*at);
                } else {
                    now.clear(*at);
                }
                next += 1;
            }
            let until = changes.get(next).map_or(PORTS, |change| change.0.min(PORTS));
            table[from..until].fill(rows.add(&now));
            from = until;
        }
        Self(table)
    }

    #[inline]
    pub(crate) fn find(&self, port: u16) -> u32 {
        self.0[usize::from(port)]
    }

    pub(crate) const BYTES: usize = PORTS * 4;
}

/// Ranges as first and end, in order, without overlap: a rule must not be cleared by one range
/// while another still holds.
fn disjoint(ranges: &[PortRange]) -> Vec<(usize, usize)> {
    let mut sorted: Vec<(usize, usize)> =
        ranges.iter().map(|range| (range.first.into(), usize::from(range.last) + 1)).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::with_capacity(sorted.len());
    for (first, end) in sorted {
        match merged.last_mut() {
            Some(last) if first <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((first, end)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_ranges_become_one() {
        let range = |first, last| PortRange { first, last };
        let ranges = [range(10, 20), range(21, 30), range(5, 12), range(65_535, 65_535)];
        assert_eq!(disjoint(&ranges), [(5, 31), (65_535, 65_536)]);
    }
}
