//! The rules of one interface.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use sluice_base::WorkerId;
use sluice_config_model::{Rule, RuleAction};

use crate::counters::{Counters, Place};
use crate::family::Family;
use crate::prefixes::{V4Index, V6Index};

/// What is known of a packet behind its IP header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// A TCP segment, or its first fragment.
    Tcp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
    },
    /// A UDP datagram, or its first fragment.
    Udp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
    },
    /// A fragment that is not the first, whose ports are therefore unknown. A rule with ports that
    /// allows takes it by its other conditions, since it is of no use to anybody without the first
    /// one, which the rules saw whole; one that denies or counts does not.
    Later {
        /// The protocol above IP.
        protocol: u8,
    },
    /// Anything else.
    Other {
        /// The protocol above IP.
        protocol: u8,
    },
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It goes on.
    Allow,
    /// It is dropped.
    Deny,
}

/// A rule with what it counted.
#[derive(Clone, Copy, Debug)]
pub struct RuleCount<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Packets that it decided about or, for one that counts, that got as far as it.
    pub packets: u64,
}

/// The compiled rules of one interface. See the crate's tour.
#[derive(Debug)]
pub struct RuleTable {
    rules: Box<[Rule]>,
    /// Action and counter by number.
    decisions: Box<[Decision]>,
    counters: Counters,
    v4: Option<Family<V4Index>>,
    v6: Option<Family<V6Index>>,
}

#[derive(Clone, Copy, Debug)]
struct Decision {
    verdict: Verdict,
    place: Place,
}

impl RuleTable {
    /// Compiles `rules` for `workers` workers. A rule that `previous` had too goes on counting
    /// where it was.
    #[must_use]
    pub fn compile(rules: &[Rule], workers: u16, previous: Option<&Self>) -> Self {
        let kept = previous.map(|previous| (&*previous.rules, &previous.counters));
        let (counters, places) = Counters::new(rules, workers, kept);
        let decisions = rules.iter().zip(places).map(|(rule, place)| {
            let verdict = match rule.action {
                RuleAction::Allow | RuleAction::Count => Verdict::Allow,
                RuleAction::Deny => Verdict::Deny,
            };
            Decision { verdict, place }
        });
        Self {
            decisions: decisions.collect(),
            counters,
            v4: Family::compile(rules),
            v6: Family::compile(rules),
            rules: rules.into(),
        }
    }

    /// The same, to be shared, or what `previous` is if nothing would differ.
    #[must_use]
    pub fn compile_shared(
        rules: &[Rule],
        workers: u16,
        previous: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        match previous {
            _ if rules.is_empty() => None,
            Some(same) if *same.rules == *rules => Some(Arc::clone(same)),
            _ => Some(Arc::new(Self::compile(rules, workers, previous.map(|old| &**old)))),
        }
    }

    /// What becomes of an IPv4 packet; counts it as `worker`.
    #[inline]
    #[must_use]
    pub fn decide_v4(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        transport: Transport,
        worker: WorkerId,
    ) -> Verdict {
        let Some(family) = &self.v4 else { return Verdict::Allow };
        let rows = family.rows(source.to_bits(), destination.to_bits(), transport);
        self.decide(family.find(rows, |number| self.count(number, worker)), worker)
    }

    /// What becomes of an IPv6 packet; counts it as `worker`.
    #[inline]
    #[must_use]
    pub fn decide_v6(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        transport: Transport,
        worker: WorkerId,
    ) -> Verdict {
        let Some(family) = &self.v6 else { return Verdict::Allow };
        let rows = family.rows(source.to_bits(), destination.to_bits(), transport);
        self.decide(family.find(rows, |number| self.count(number, worker)), worker)
    }

    /// All rules in the operator's order, with what they counted on all workers.
    pub fn counts(&self) -> impl Iterator<Item = RuleCount<'_>> {
        self.rules
            .iter()
            .zip(&self.decisions)
            .map(|(rule, decision)| RuleCount { rule, packets: self.counters.sum(decision.place) })
    }

    /// Bytes of its tables, counters apart.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        let v4 = self.v4.as_ref().map_or(0, Family::bytes);
        let v6 = self.v6.as_ref().map_or(0, Family::bytes);
        v4 + v6
    }

    #[inline]
    fn decide(&self, found: Option<u32>, worker: WorkerId) -> Verdict {
        let Some(number) = found else { return Verdict::Allow };
        self.count(number, worker);
        self.decisions[number as usize].verdict
    }

    #[inline]
    fn count(&self, number: u32, worker: WorkerId) {
        self.counters.increment(self.decisions[number as usize].place, worker);
    }
}
