//! What one worker knows about load.

use sluice_base::{ClusterId, EndpointId};

/// Requests in flight per endpoint and round robin's place per cluster, on one worker.
///
/// Dense arrays by id. They belong to the ids, not to a snapshot, so a reload changes nothing that
/// is in flight. Memory moves only in [`LoadTable::grow`].
#[derive(Debug, Default)]
pub struct LoadTable {
    /// By `EndpointId`.
    active: Vec<u32>,
    /// By `ClusterId`; `UNSET` until first used.
    cursors: Vec<u32>,
}

/// A cursor that has not been given its random start.
pub(crate) const UNSET: u32 = u32::MAX;

impl LoadTable {
    /// A table that knows no id.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for ids below the two bounds (one more than the highest id); never shrinks.
    pub fn grow(&mut self, endpoints: usize, clusters: usize) {
        if self.active.len() < endpoints {
            self.active.resize(endpoints, 0);
        }
        if self.cursors.len() < clusters {
            self.cursors.resize(clusters, UNSET);
        }
    }

    /// A request goes to `endpoint`.
    #[inline]
    pub fn begin(&mut self, endpoint: EndpointId) {
        let slot = self.active.get_mut(endpoint.index());
        debug_assert!(slot.is_some(), "{endpoint} was picked from a set the table has grown for");
        if let Some(active) = slot {
            *active += 1;
        }
    }

    /// A request that was begun is over.
    #[inline]
    pub fn end(&mut self, endpoint: EndpointId) {
        let slot = self.active.get_mut(endpoint.index());
        debug_assert!(slot.as_deref().is_some_and(|a| *a > 0), "{endpoint} has a request to end");
        if let Some(active) = slot {
            *active = active.saturating_sub(1);
        }
    }

    /// Requests of this worker in flight to `endpoint`.
    #[inline]
    #[must_use]
    pub fn active(&self, endpoint: EndpointId) -> u32 {
        self.active.get(endpoint.index()).copied().unwrap_or(0)
    }

    /// Where round robin stands in `cluster`; None if the table has not grown for it.
    #[inline]
    pub(crate) fn cursor(&mut self, cluster: ClusterId) -> Option<&mut u32> {
        self.cursors.get_mut(cluster.index())
    }

    /// A retired cluster's id is free again: its next owner starts at a random place of its own.
    pub fn forget_cluster(&mut self, cluster: ClusterId) {
        if let Some(cursor) = self.cursors.get_mut(cluster.index()) {
            *cursor = UNSET;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_growth() {
        let mut load = LoadTable::new();
        assert_eq!(load.active(EndpointId(3)), 0);
        load.grow(2, 0);
        load.begin(EndpointId(1));
        load.begin(EndpointId(1));
        load.grow(1_000, 10);
        load.grow(5, 1);
        assert_eq!((load.active(EndpointId(1)), load.active(EndpointId(999))), (2, 0));
        load.end(EndpointId(1));
        assert_eq!(load.active(EndpointId(1)), 1);
    }
}
