//! `[runtime]`: cores, memory, sleep.

use std::time::Duration;

use crate::defaults;

/// How the process uses its machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Runtime {
    /// The cores of the workers, one pinned worker each; at least one, none twice.
    pub cores: Vec<u32>,
    /// The core of the control thread.
    pub control_core: u32,
    /// Whether packet memory lies on huge pages.
    pub hugepages: Hugepages,
    /// How many packet buffers a worker gets.
    pub buffers: Buffers,
    /// What a worker does when nothing happens.
    pub idle: Idle,
    /// How long packets may lie under load, so that more of them are worked on together.
    pub receive_coalescing: Duration,
    /// How long a drain may take before what is left is closed.
    pub drain_timeout: Duration,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            cores: vec![defaults::WORKER_CORE],
            control_core: defaults::CONTROL_CORE,
            hugepages: Hugepages::default(),
            buffers: Buffers::default(),
            idle: Idle::default(),
            receive_coalescing: defaults::RECEIVE_COALESCING,
            drain_timeout: defaults::DRAIN_TIMEOUT,
        }
    }
}

/// Whether packet memory lies on huge pages.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Hugepages {
    /// Use them; without them, run on normal pages and say so. The default, because a laptop has
    /// none and should still run.
    #[default]
    Auto,
    /// Refuse to start without them.
    Required,
    /// Do not ask for them.
    Off,
}

/// How many packet buffers a worker gets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Buffers {
    /// Sized from the machine's memory and the devices' rings at start.
    #[default]
    Auto,
    /// This many per worker, receive and transmit pool together.
    Count(u32),
}

/// What a worker does when nothing happens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Idle {
    /// Never sleep: the lowest latency for a whole core.
    Spin,
    /// Spin, then sleep ever longer or on the device's wake-up descriptor. The default, because an
    /// idle proxy should cost next to nothing.
    #[default]
    Adaptive,
    /// Sleep on the wake-up descriptors as soon as there is nothing to do.
    Interrupt,
}
