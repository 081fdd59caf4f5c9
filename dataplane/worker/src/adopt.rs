//! Adopting a snapshot: a pointer now, its listeners a few per heartbeat.

use std::sync::Arc;

use sluice_base::{ClusterId, Instant, InterfaceId, ListenerId};
use sluice_config_model::TcpSettings;
use sluice_l7_proxy::Snapshot;

use crate::worker::Worker;

/// Listener ids looked at per heartbeat, so that a large change never stalls traffic.
const CHANGES_PER_HEARTBEAT: u32 = 256;

/// How far the worker is with the newest snapshot's listeners.
#[derive(Debug, Default)]
pub(crate) struct Adoption {
    newest: Option<Arc<Snapshot>>,
    /// The next listener id to look at; none when all is in place.
    next: Option<(Phase, u32)>,
    failures: u64,
    /// What listens now, by id.
    listening: Vec<Option<Listening>>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    LetGo,
    Take,
}

/// What a listener asks of the stack: where, how, and whether for datagrams; anything else about it
/// is the proxy's business.
type Listening = (std::net::SocketAddr, TcpSettings, bool);

impl Worker {
    /// Takes the newest snapshot out of the mailbox, if there is one, and works off its listeners.
    /// True if there was something to do.
    #[inline]
    pub(crate) fn adopt(&mut self, now: Instant) -> bool {
        if let Some(snapshot) = self.mailbox.take() {
            self.adopt_snapshot(snapshot, now);
        }
        if self.adoption.next.is_some() {
            self.reconcile();
            return true;
        }
        false
    }

    #[cold]
    fn adopt_snapshot(&mut self, snapshot: Arc<Snapshot>, now: Instant) {
        let reference = snapshot.clone();
        if let Err(skipped) = self.proxy.adopt(snapshot, now) {
            // Every slot is pinned by requests that wait; the next one finds room.
            self.status.snapshots_skipped.increment();
            self.send_home(skipped);
            self.send_home(reference);
            return;
        }
        for index in 0..self.stack.interface_count() {
            let id = InterfaceId(index);
            // The older table is still held by the older snapshot: nothing is freed here.
            self.stack.set_rules(id, reference.rules(id).cloned());
        }
        if let Some(older) = self.adoption.newest.replace(reference) {
            self.send_home(older);
        }
        self.adoption.next = Some((Phase::LetGo, 0));
        self.adoption.failures = 0;
    }

    /// Looks at the next few listener ids and makes the stack listen as the snapshot says: first it
    /// lets go of what changed, then it takes what is new, since an address may change hands.
    #[cold]
    fn reconcile(&mut self) {
        let (Some(snapshot), Some((phase, first))) =
            (self.adoption.newest.take(), self.adoption.next)
        else {
            return;
        };
        let end = snapshot.listener_bound().max(self.adoption.listening.len()) as u32;
        let stop = end.min(first.saturating_add(CHANGES_PER_HEARTBEAT));
        self.adoption.listening.resize(end as usize, None);
        for index in first..stop {
            let id = ListenerId(index);
            let wanted = match snapshot.listener(id) {
                Some(compiled) if !self.draining => {
                    let listener = &compiled.listener;
                    Some((listener.address, listener.tcp, listener.is_udp()))
                }
                _ => None,
            };
            match phase {
                Phase::LetGo => self.let_go(id, wanted),
                Phase::Take => self.take(id, wanted),
            }
        }
        self.adoption.next = match phase {
            _ if stop < end => Some((phase, stop)),
            Phase::LetGo => Some((Phase::Take, 0)),
            Phase::Take => {
                self.status.set_listening(snapshot.version, self.adoption.failures);
                None
            }
        };
        self.adoption.newest = Some(snapshot);
    }

    fn let_go(&mut self, id: ListenerId, wanted: Option<Listening>) {
        let current = self.adoption.listening[id.index()];
        if current.is_some() && current != wanted {
            self.stack.unlisten(id);
            self.stack.unbind(id);
            self.adoption.listening[id.index()] = None;
        }
    }

    fn take(&mut self, id: ListenerId, wanted: Option<Listening>) {
        if self.adoption.listening[id.index()].is_some() {
            return;
        }
        if let Some((address, tcp, is_udp)) = wanted {
            let taken = if is_udp {
                self.stack.bind(id, address)
            } else {
                self.stack.listen(id, address, &crate::serve::tcp_config(&tcp))
            };
            match taken {
                Ok(()) => self.adoption.listening[id.index()] = wanted,
                Err(_) => self.adoption.failures += 1,
            }
        }
    }

    /// What the connections of a cluster are made with; the default if it is gone.
    pub(crate) fn cluster_tcp(&self, cluster: ClusterId) -> TcpSettings {
        let newest = self.adoption.newest.as_ref();
        let cluster = newest.and_then(|snapshot| snapshot.cluster(cluster));
        cluster.map(|cluster| cluster.source().tcp).unwrap_or_default()
    }

    /// Stops listening everywhere; connections go on.
    pub(crate) fn stop_listening(&mut self) {
        for index in 0..self.adoption.listening.len() {
            self.let_go(ListenerId(index as u32), None);
        }
    }

    /// Sends snapshots that nothing pins any more back to the control thread.
    #[inline]
    pub(crate) fn retire(&mut self) {
        while let Some(retired) = self.proxy.pop_retired() {
            self.send_home(retired);
        }
    }

    /// The ring holds more than can be pinned at once; if the control thread sleeps so long that it
    /// is full all the same, freeing here is the lesser evil.
    fn send_home(&mut self, snapshot: Arc<Snapshot>) {
        let _ = self.home.push(snapshot);
    }
}
