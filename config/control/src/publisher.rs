//! Snapshots out, retired ones home.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_config_model::{Config, IdRegistry, Protocol, Retired};
use sluice_l7_proxy::{ClusterCounters, CompileError, CounterRegistry, ListenerCounters, Snapshot};
use sluice_worker::WorkerLinks;

/// Compiles configurations, publishes the results, and knows when an old one is gone.
///
/// ```text
///   publish ──> current ──(replaced)──> outstanding ──(all home)──> quarantine ──(quiet)──> ids free
///                                       workers hold it             connections hold its ids
/// ```
///
/// A snapshot is freed here and nowhere else: workers send their references back. The ids that it
/// was the last to name may still be held by requests and connections that began under it: a plan, a
/// pool, a relay. So they are free only when every worker has said that what it names is of newer
/// snapshots ([`WorkerStatus::oldest_named_version`](sluice_worker::WorkerStatus)), and when the
/// gauges of the listeners and clusters among them say that nothing is left.
#[derive(Debug)]
pub struct Publisher {
    registry: IdRegistry,
    /// A copy of the registry is with a file that is being read; nothing may be released meanwhile.
    lent: bool,
    counters: CounterRegistry,
    current: Option<Arc<Snapshot>>,
    /// Snapshots that a worker may still hold, by version, with the ids that were retired when
    /// they were replaced.
    outstanding: BTreeMap<u64, Replaced>,
    /// Ids of snapshots that are gone, of which a request or connection may still hold some; with
    /// the version of the last snapshot that had them.
    quarantine: Vec<(u64, Retired)>,
}

#[derive(Debug)]
struct Replaced {
    snapshot: Arc<Snapshot>,
    retired: Retired,
}

impl Publisher {
    /// A publisher that has published nothing, for `workers` workers.
    #[must_use]
    pub fn new(registry: IdRegistry, workers: u16) -> Self {
        Self {
            registry,
            lent: false,
            counters: CounterRegistry::new(workers),
            current: None,
            outstanding: BTreeMap::new(),
            quarantine: Vec::new(),
        }
    }

    /// Compiles `config`, whose ids are from the registry that this publisher was made with, and
    /// hands the result to every worker; returns its version.
    ///
    /// # Errors
    /// What could not be compiled; the workers keep what they have.
    pub fn publish(
        &mut self,
        config: &Config,
        workers: &[WorkerLinks],
    ) -> Result<u64, CompileError> {
        let previous = self.current.as_deref();
        let snapshot = Arc::new(Snapshot::compile(config, &mut self.counters, previous)?);
        let version = snapshot.version;
        let retired = self.registry.take_retired();
        if let Some(replaced) = self.current.replace(snapshot.clone()) {
            let entry = Replaced { snapshot: replaced, retired };
            self.outstanding.insert(entry.snapshot.version, entry);
        } else {
            // Nothing was published before, so nobody can hold these.
            self.registry.release(retired);
        }
        for worker in workers {
            // An unread one comes back and is simply not held by that worker.
            drop(worker.snapshots.publish(snapshot.clone()));
            worker.waker.wake();
        }
        Ok(version)
    }

    /// A copy of the registry, to read the next configuration with. Until it comes back by
    /// [`Self::publish_lent`] or is given up by [`Self::keep_registry`], no id is released, so the
    /// copy stays true; and a configuration that is refused in the end leaves no trace in the ids.
    pub fn lend_registry(&mut self) -> IdRegistry {
        self.lent = true;
        self.registry.clone()
    }

    /// The copy was not needed.
    pub fn keep_registry(&mut self) {
        self.lent = false;
    }

    /// As [`Self::publish`], with ids from the copy that was lent; `current` is what runs now.
    ///
    /// # Errors
    /// What could not be compiled; workers, ids and limits are then as they were.
    pub fn publish_lent(
        &mut self,
        registry: IdRegistry,
        config: &Config,
        current: &Config,
        workers: &[WorkerLinks],
    ) -> Result<u64, CompileError> {
        debug_assert!(self.lent, "a registry comes back only after it was lent");
        let kept = std::mem::replace(&mut self.registry, registry);
        self.lent = false;
        let published = self.publish(config, workers);
        if published.is_err() {
            self.registry = kept;
            // Limits are shared by all snapshots and were set while compiling.
            for cluster in &current.clusters {
                self.counters.cluster(cluster);
            }
            for listener in &current.listeners {
                if let Protocol::Udp { max_sessions, .. } = listener.protocol {
                    self.counters.sessions(listener.id, max_sessions);
                }
            }
        }
        published
    }

    /// Takes retired snapshots home and frees those that nobody holds any more, oldest first;
    /// returns how many were freed.
    pub fn collect(&mut self, workers: &mut [WorkerLinks]) -> usize {
        for worker in &mut *workers {
            while let Ok(home) = worker.retired.pop() {
                drop(home);
            }
        }
        let mut freed = 0;
        // A worker has let go of a snapshot's listeners only when those of a newer one are in place.
        let in_place = workers.iter().map(|worker| worker.status.listening_version()).min();
        // In order of version: an id retired by a later change may be named by any older snapshot.
        while let Some(oldest) = self.outstanding.first_entry() {
            let last = *oldest.key();
            let adopted = in_place.is_none_or(|version| version > last);
            if !adopted || Arc::strong_count(&oldest.get().snapshot) > 1 {
                break;
            }
            let Replaced { snapshot, retired } = oldest.remove();
            drop(snapshot);
            if !retired.is_empty() {
                self.quarantine.push((last, retired));
            }
            freed += 1;
        }
        if !self.lent && !self.quarantine.is_empty() {
            let named = workers.iter().map(|worker| worker.status.oldest_named_version()).min();
            self.release_quiet(named.unwrap_or(u64::MAX));
        }
        freed
    }

    /// Releases ids that nothing can hold any more; `oldest`: of all snapshots whose ids are named.
    fn release_quiet(&mut self, oldest: u64) {
        let (quiet, held) = std::mem::take(&mut self.quarantine)
            .into_iter()
            .partition::<Vec<_>, _>(|(last, retired)| *last < oldest && self.is_quiet(retired));
        self.quarantine = held;
        for (_, retired) in quiet {
            for id in &retired.listeners {
                self.counters.forget_listener(*id);
            }
            for id in &retired.clusters {
                self.counters.forget_cluster(*id);
            }
            self.registry.release(retired);
        }
    }

    fn is_quiet(&self, retired: &Retired) -> bool {
        let listeners = retired.listeners.iter().filter_map(|id| self.counters.find_listener(*id));
        let clusters = retired.clusters.iter().filter_map(|id| self.counters.find_cluster(*id));
        listeners.flatten().all(|block| is_quiet_listener(block))
            && clusters.flatten().all(|block| is_quiet_cluster(block))
    }

    /// The newest snapshot.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Snapshot>> {
        self.current.as_ref()
    }

    /// Version of the newest snapshot; 0 before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.current.as_ref().map_or(0, |snapshot| snapshot.version)
    }

    /// The counters of every worker, listener and cluster.
    #[must_use]
    pub fn counters(&self) -> &CounterRegistry {
        &self.counters
    }

    /// How many replaced snapshots a worker still holds.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// How many replaced configurations are gone but have ids that requests or connections still hold.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.quarantine.len()
    }
}

fn is_quiet_listener(block: &ListenerCounters) -> bool {
    block.downstream_cx_active.value() == 0
        && block.downstream_rq_active.value() == 0
        && block.downstream_sess_active.value() == 0
}

fn is_quiet_cluster(block: &ClusterCounters) -> bool {
    block.upstream_cx_active.value() == 0
        && block.upstream_rq_active.value() == 0
        && block.upstream_rq_pending_active.value() == 0
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
