//! Which rules of HTTP/2 peers break, and how often.

use std::sync::OnceLock;

use sluice_base::{ConnId, Counter};
use sluice_l7_core::ProtocolError;
use sluice_l7_http2::Fault;

use crate::proxy::Proxy;
use crate::sessions::Role;

/// How often peers broke each rule, on one worker.
///
/// Most peers break none: there is memory for it from the first fault on. One thread writes: it
/// makes the table, once, and whoever sees it sees it whole (`OnceLock` publishes with release, and
/// readers look with acquire).
#[derive(Debug, Default)]
pub struct FaultCounters(OnceLock<Box<[Counter; Fault::ALL.len()]>>);

impl FaultCounters {
    /// One more.
    #[cold]
    pub fn count(&self, fault: Fault) {
        self.count_error(fault.error());
    }

    #[cold]
    fn count_error(&self, error: ProtocolError) {
        let Some(at) = place_of(error) else { return };
        let table = self.0.get_or_init(|| Box::new(std::array::from_fn(|_| Counter::new())));
        table[at].increment();
    }

    /// Whether any rule was ever broken.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.get().is_some()
    }

    /// Each rule by its name, with how often it was broken.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let table = self.0.get();
        Fault::ALL.iter().enumerate().map(move |(at, fault)| {
            (fault.error().reason, table.map_or(0, |table| table[at].value()))
        })
    }
}

/// Where in [`Fault::ALL`] the broken rule is.
fn place_of(error: ProtocolError) -> Option<usize> {
    Fault::ALL.iter().position(|fault| fault.error().reason == error.reason)
}

/// Whether it says that a peer sent too much of something.
pub(crate) fn is_flood(error: ProtocolError) -> bool {
    place_of(error).is_some_and(|at| Fault::ALL[at].is_flood())
}

impl Proxy {
    /// The peer of this connection broke a rule of HTTP/2, of a stream or of the connection.
    #[cold]
    pub(crate) fn count_fault(&mut self, conn: ConnId, error: ProtocolError) {
        match self.sessions.get(conn).map(|session| &session.role) {
            Some(Role::Downstream(downstream)) => {
                if let Some(state) = self.listener(downstream.listener) {
                    state.counters.faults.count_error(error);
                }
            }
            Some(Role::Upstream(upstream)) => {
                if let Some(state) = self.pools.cluster(upstream.cluster) {
                    state.counters.faults.count_error(error);
                }
            }
            Some(Role::Vacant) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_a_name_of_its_own_and_is_found_by_it() {
        let counters = FaultCounters::default();
        assert!(!counters.any() && counters.iter().all(|(_, count)| count == 0));
        for (at, fault) in Fault::ALL.iter().enumerate() {
            counters.count(*fault);
            let ones = counters.iter().filter(|(_, count)| *count == 1).count();
            assert_eq!(ones, at + 1, "{}", fault.error().reason);
        }
    }
}
