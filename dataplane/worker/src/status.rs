//! What a worker shares with the control thread: counters out, commands in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use sluice_base::{Counter, InterfaceId};
use sluice_l7_proxy::WorkerCounters;
use sluice_stack::StackCounters;

use crate::port_counters::PortCounters;
use crate::stages::STAGES;

/// What the control thread wants a worker to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Command {
    /// Serve.
    Run,
    /// Take no new connections, finish what is running.
    Drain,
    /// Return from the loop.
    Stop,
}

/// One worker's state as others see it. The worker writes everything but the command.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerStatus {
    command: AtomicU8,
    /// Version of the snapshot whose listeners are all in place; 0 before the first.
    listening: AtomicU64,
    /// Listeners that could not be put in place.
    listen_failures: AtomicU64,
    exhausted: AtomicBool,
    drained: AtomicBool,
    /// Heartbeats, with and without work.
    pub heartbeats: Counter,
    /// Heartbeats that found something to do.
    pub busy_heartbeats: Counter,
    /// Cycles of the heartbeats that found something to do.
    pub busy_cycles: Counter,
    /// Nanoseconds of the heartbeats that found something to do.
    pub busy_nanos: Counter,
    /// Times the worker went to sleep.
    pub sleeps: Counter,
    /// The longest time between two heartbeats while awake, nanoseconds.
    pub longest_gap_nanos: Counter,
    /// How long packets are left lying at present, nanoseconds.
    pub receive_interval_nanos: Counter,
    /// Cycles per stage of the heartbeats that found something to do.
    pub stage_cycles: [Counter; STAGES],
    /// Packets received from and sent to devices.
    pub packets: [Counter; 2],
    /// Access log records dropped because the ring was full.
    pub log_dropped: Counter,
    /// Packets for another worker dropped because its ring was full.
    pub handoff_dropped: Counter,
    /// Packets sent to their owner over a ring.
    pub handed_off: Counter,
    /// Snapshots skipped because every slot was pinned.
    pub snapshots_skipped: Counter,
    /// Requests and relays that are running.
    pub active: Counter,
    /// Receive buffers that are not free, and all of them.
    pub rx_buffers: [Counter; 2],
    /// Transmit buffers that are not free, and all of them.
    pub tx_buffers: [Counter; 2],
    /// Totals of the worker's queues, at most a second old.
    pub ports: Box<[PortCounters]>,
    /// The stack's own counters.
    pub stack: Arc<StackCounters>,
    /// The proxy's own counters.
    pub proxy: Arc<WorkerCounters>,
}

impl WorkerStatus {
    /// The status of a worker that has not begun, around the counters of its stack and proxy; with
    /// a queue of each of `interfaces`.
    #[must_use]
    pub fn new(
        stack: Arc<StackCounters>,
        proxy: Arc<WorkerCounters>,
        interfaces: impl Iterator<Item = InterfaceId>,
    ) -> Self {
        Self {
            command: AtomicU8::new(Command::Run as u8),
            listening: AtomicU64::new(0),
            listen_failures: AtomicU64::new(0),
            exhausted: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            heartbeats: Counter::new(),
            busy_heartbeats: Counter::new(),
            busy_cycles: Counter::new(),
            busy_nanos: Counter::new(),
            sleeps: Counter::new(),
            longest_gap_nanos: Counter::new(),
            receive_interval_nanos: Counter::new(),
            stage_cycles: Default::default(),
            packets: Default::default(),
            log_dropped: Counter::new(),
            handoff_dropped: Counter::new(),
            handed_off: Counter::new(),
            snapshots_skipped: Counter::new(),
            active: Counter::new(),
            rx_buffers: Default::default(),
            tx_buffers: Default::default(),
            ports: interfaces.map(PortCounters::new).collect(),
            stack,
            proxy,
        }
    }

    /// Gives the worker a command; it is seen at the next heartbeat (wake the worker too).
    pub fn command(&self, command: Command) {
        self.command.store(command as u8, Ordering::Relaxed);
    }

    /// What the worker was told last.
    pub fn commanded(&self) -> Command {
        match self.command.load(Ordering::Relaxed) {
            0 => Command::Run,
            1 => Command::Drain,
            _ => Command::Stop,
        }
    }

    /// Version of the snapshot whose listeners are all in place; 0 before the first.
    pub fn listening_version(&self) -> u64 {
        self.listening.load(Ordering::Relaxed)
    }

    /// Version of the oldest snapshot whose ids a request, a relay or a connection of this worker
    /// still names; 0 before the first. Newer than a snapshot: its ids are nobody's here.
    pub fn oldest_named_version(&self) -> u64 {
        self.proxy.snapshot_oldest_named.value()
    }

    /// Listeners of that snapshot that could not be put in place.
    pub fn listen_failures(&self) -> u64 {
        self.listen_failures.load(Ordering::Relaxed)
    }

    /// All listeners of snapshot `version` are in place but `failures`. Only the worker may call it.
    pub fn set_listening(&self, version: u64, failures: u64) {
        self.listen_failures.store(failures, Ordering::Relaxed);
        self.listening.store(version, Ordering::Relaxed);
    }

    /// Whether every device of this worker said that no packet will come any more, and nothing is
    /// left to send.
    pub fn exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Whether the worker has heard that it shall drain, and nothing runs any more.
    pub fn drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Only the worker may call it.
    pub fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Relaxed);
    }

    /// Only the worker may call it.
    pub fn set_exhausted(&self, exhausted: bool) {
        self.exhausted.store(exhausted, Ordering::Relaxed);
    }
}
