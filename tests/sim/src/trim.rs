//! Making a failing scenario smaller.

use std::fmt;
use std::str::FromStr;

use sluice_buf::Impairment;

use crate::scenario::Scenario;

/// A simplification of a scenario.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trim {
    /// Nothing but one worker.
    OneWorker,
    /// One client host.
    OneClient,
    /// One backend host.
    OneBackend,
    /// Every client host has one user, and no opaque echoes.
    OneUser,
    /// No opaque echoes.
    NoEchoes,
    /// No datagrams.
    NoDatagrams,
    /// No user speaks HTTP/2.
    OneUsers,
    /// The cluster speaks HTTP/1.1.
    OneCluster,
    /// Whatever comes is read at once.
    NoStalls,
    /// Nobody wants to do harm by HTTP/2.
    NoHostiles,
    /// The configuration stays.
    NoReloads,
    /// The cables of clients only take their time.
    GoodClients,
    /// The cables of backends only take their time.
    GoodBackends,
    /// No cable loses anything.
    NoLoss,
    /// No cable inverts bits.
    NoCorruption,
    /// No frame arrives twice.
    NoDuplication,
    /// Frames keep their order.
    NoReordering,
    /// No cable is narrow.
    NoBottleneck,
    /// Cables are never cut.
    NoPartitions,
    /// Sluice is never stopped.
    NoPauses,
    /// Rings are long and memory is plenty.
    Plenty,
    /// Nobody attacks.
    NoAttacker,
}

const NAMES: &[(Trim, &str)] = &[
    (Trim::OneWorker, "one-worker"),
    (Trim::OneClient, "one-client"),
    (Trim::OneBackend, "one-backend"),
    (Trim::OneUser, "one-user"),
    (Trim::NoEchoes, "no-echoes"),
    (Trim::NoDatagrams, "no-datagrams"),
    (Trim::OneUsers, "users-1.1"),
    (Trim::OneCluster, "cluster-1.1"),
    (Trim::NoStalls, "no-stalls"),
    (Trim::NoHostiles, "no-hostiles"),
    (Trim::NoReloads, "no-reloads"),
    (Trim::GoodClients, "good-clients"),
    (Trim::GoodBackends, "good-backends"),
    (Trim::NoLoss, "no-loss"),
    (Trim::NoCorruption, "no-corruption"),
    (Trim::NoDuplication, "no-duplication"),
    (Trim::NoReordering, "no-reordering"),
    (Trim::NoBottleneck, "no-bottleneck"),
    (Trim::NoPartitions, "no-partitions"),
    (Trim::NoPauses, "no-pauses"),
    (Trim::Plenty, "plenty"),
    (Trim::NoAttacker, "no-attacker"),
];

impl Trim {
    /// All of them, those that make the most smaller first.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(trim, _)| *trim)
    }

    /// Makes a scenario simpler.
    pub fn apply(self, scenario: &mut Scenario) {
        let weather = &mut scenario.weather;
        let every = |change: fn(&mut Impairment), weather: &mut crate::weather::Weather| {
            for cable in [&mut weather.clients, &mut weather.backends] {
                change(&mut cable.up);
                change(&mut cable.down);
            }
        };
        match self {
            Self::OneWorker => scenario.workers = 1,
            Self::OneClient => scenario.clients = 1,
            Self::OneBackend => scenario.backends = 1,
            Self::OneUser => scenario.one_user = true,
            Self::NoEchoes => scenario.no_echoes = true,
            Self::NoDatagrams => scenario.no_datagrams = true,
            Self::OneUsers => scenario.http2_users = 0,
            Self::OneCluster => scenario.http = ["1.1"; 2],
            Self::NoStalls => scenario.stalls = 0,
            Self::NoHostiles => scenario.hostiles = 0,
            Self::NoReloads => scenario.reloads.clear(),
            Self::GoodClients => weather.clients.calm(),
            Self::GoodBackends => weather.backends.calm(),
            Self::NoLoss => every(|way| way.loss = 0, weather),
            Self::NoCorruption => every(|way| way.corruption = 0, weather),
            Self::NoDuplication => every(|way| way.duplication = 0, weather),
            Self::NoReordering => every(|way| (way.reordering, way.jitter_nanos) = (0, 0), weather),
            Self::NoBottleneck => every(|way| way.bits_per_second = 0, weather),
            Self::NoPartitions => {
                weather.clients.partitions.clear();
                weather.backends.partitions.clear();
            }
            Self::NoPauses => weather.pauses.clear(),
            Self::NoAttacker => weather.attacked = false,
            Self::Plenty => (weather.ring_depth, weather.buffers) = (512, 8_192),
        }
    }
}

impl fmt::Display for Trim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(trim, _)| trim == self).map_or("?", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Trim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(trim, _)| *trim);
        found.ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
            format!("one of {}", names.join(", "))
        })
    }
}

/// Leaves out whatever can be left out so that `fails` still holds; what remains left out.
pub fn shrink(mut fails: impl FnMut(&[Trim]) -> bool) -> Vec<Trim> {
    let mut kept = Vec::new();
    for trim in Trim::all() {
        kept.push(trim);
        if !fails(&kept) {
            kept.pop();
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_keeps_what_the_failure_needs() {
        let needs = [Trim::NoLoss, Trim::OneWorker];
        let kept = shrink(|trims| !trims.iter().any(|trim| needs.contains(trim)));
        assert_eq!(kept.len(), NAMES.len() - 2);
        assert!(needs.iter().all(|trim| !kept.contains(trim)));
    }

    #[test]
    fn names_read_back() {
        for trim in Trim::all() {
            assert_eq!(trim.to_string().parse(), Ok(trim));
        }
        assert!("no-such".parse::<Trim>().is_err_and(|text| text.contains("one-worker")));
    }

    /// Every simplification takes something away from some scenario.
    #[test]
    fn every_trim_changes_some_scenario() {
        for trim in Trim::all() {
            let changes = (1..200).any(|seed| {
                let mut scenario = Scenario::new(seed);
                let before = format!("{scenario:?}");
                trim.apply(&mut scenario);
                format!("{scenario:?}") != before
            });
            assert!(changes, "{trim}");
        }
    }
}
