//! The worker and what it is made of.

use std::sync::Arc;
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_arch::Waker;
use sluice_base::{Instant, WorkerId};
use sluice_l7_proxy::{AccessRecord, Proxy, Snapshot};
use sluice_stack::Stack;

use crate::adopt::Adoption;
use crate::coalesce::Coalescing;
use crate::listing::{ListingDesk, ListingLink, listing};
use crate::mailbox::{MailboxReceiver, MailboxSender, mailbox};
use crate::mesh::Mesh;
use crate::port::Port;
use crate::stages::StageClock;
use crate::status::WorkerStatus;
use crate::twins::Twins;

/// Retired snapshots on their way home. One slot per pin slot of the proxy and some to spare, so
/// that a worker never has to keep, let alone free, one.
pub const HOME_RING: usize = 128;
/// Access log records on their way to the writer; beyond that they are dropped and counted.
pub const LOG_RING: usize = 8_192;

/// What a worker is made of.
pub struct WorkerParts {
    /// Its number.
    pub id: WorkerId,
    /// Its queue of each interface.
    pub ports: Vec<Port>,
    /// Its queue of each kernel's twin, with the interface that it is the twin of.
    pub twins: Vec<Port>,
    /// Its stack.
    pub stack: Stack,
    /// Its proxy.
    pub proxy: Proxy,
    /// Its ends of the rings between workers.
    pub mesh: Mesh,
    /// What wakes it.
    pub waker: Arc<Waker>,
}

/// The control thread's ends.
#[derive(Debug)]
pub struct WorkerLinks {
    /// Which worker.
    pub id: WorkerId,
    /// Where new snapshots go.
    pub snapshots: MailboxSender<Arc<Snapshot>>,
    /// Where old ones come from.
    pub retired: Consumer<Arc<Snapshot>>,
    /// Where access log records come from.
    pub log: Consumer<AccessRecord>,
    /// Lists for `sluice show`.
    pub listing: ListingLink,
    /// Counters and commands.
    pub status: Arc<WorkerStatus>,
    /// What wakes it.
    pub waker: Arc<Waker>,
}

/// One core's worth of Sluice. See the crate's page.
pub struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) ports: Vec<Port>,
    pub(crate) twins: Twins,
    pub(crate) stack: Stack,
    pub(crate) proxy: Proxy,
    pub(crate) mesh: Mesh,
    pub(crate) waker: Arc<Waker>,
    pub(crate) mailbox: MailboxReceiver<Arc<Snapshot>>,
    pub(crate) home: Producer<Arc<Snapshot>>,
    pub(crate) log: Producer<AccessRecord>,
    pub(crate) listing: ListingDesk,
    pub(crate) status: Arc<WorkerStatus>,
    pub(crate) adoption: Adoption,
    pub(crate) coalescing: Coalescing,
    pub(crate) stages: StageClock,
    pub(crate) draining: bool,
    pub(crate) last_beat: Instant,
    /// When to ask devices for their totals again.
    pub(crate) next_totals: Instant,
}

impl Worker {
    /// A worker, and the control thread's ends of what connects them.
    #[must_use]
    pub fn new(parts: WorkerParts) -> (Self, WorkerLinks) {
        let (snapshots, receiver) = mailbox();
        let (home, retired) = RingBuffer::new(HOME_RING);
        let (log_in, log) = RingBuffer::new(LOG_RING);
        let status = Arc::new(WorkerStatus::new(
            parts.stack.counters().clone(),
            parts.proxy.counters().clone(),
            parts.ports.iter().map(|port| port.interface),
        ));
        let (listing_link, listing_desk) = listing();
        let links = WorkerLinks {
            listing: listing_link,
            id: parts.id,
            snapshots,
            retired,
            log,
            status: status.clone(),
            waker: parts.waker.clone(),
        };
        let worker = Self {
            id: parts.id,
            ports: parts.ports,
            twins: Twins::new(parts.twins),
            stack: parts.stack,
            proxy: parts.proxy,
            mesh: parts.mesh,
            waker: parts.waker,
            mailbox: receiver,
            home,
            log: log_in,
            listing: listing_desk,
            status,
            adoption: Adoption::default(),
            coalescing: Coalescing::default(),
            stages: StageClock::default(),
            draining: false,
            last_beat: Instant::ZERO,
            next_totals: Instant::ZERO,
        };
        (worker, links)
    }

    /// Has packets lie for up to `longest` under load, so that more of them are worked on together;
    /// zero, as at first, has them taken as they come.
    pub fn coalesce(&mut self, longest: Duration) {
        self.coalescing = Coalescing::new(longest);
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Its queues.
    #[must_use]
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// Its stack, to look at.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Its proxy, to look at.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Requests and relays that are running.
    #[must_use]
    pub fn active(&self) -> usize {
        self.proxy.active()
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("id", &self.id).field("ports", &self.ports).finish()
    }
}
