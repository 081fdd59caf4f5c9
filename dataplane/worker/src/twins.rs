//! The kernel's twins of interfaces: a queue of a TAP each, between which and the stack packets are
//! carried now and then.
//!
//! A TAP is asked by a system call, so not in every heartbeat: 50 microseconds more are nothing to a
//! shell, and a worker that sleeps is woken by the TAP.

use std::time::Duration;

use sluice_base::Instant;
use sluice_stack::Stack;

use crate::port::Port;

/// How long what the kernel sends may wait.
const EVERY: Duration = Duration::from_micros(50);

/// The twins' queues.
#[derive(Debug)]
pub(crate) struct Twins {
    ports: Vec<Port>,
    next: Instant,
}

impl Twins {
    pub(crate) const fn new(ports: Vec<Port>) -> Self {
        Self { ports, next: Instant::ZERO }
    }

    /// What wakes a worker that sleeps.
    pub(crate) fn wake_fds(&self) -> impl Iterator<Item = i32> + '_ {
        self.ports.iter().filter_map(|port| port.device.wake_fd())
    }

    /// Carries packets both ways, if it is time. True if there were any.
    #[inline]
    pub(crate) fn carry(&mut self, stack: &mut Stack, now: Instant) -> bool {
        !self.ports.is_empty() && now >= self.next && self.carry_now(stack, now)
    }

    #[cold]
    fn carry_now(&mut self, stack: &mut Stack, now: Instant) -> bool {
        self.next = now + EVERY;
        let mut moved = 0;
        for port in &mut self.ports {
            let count = port.device.rx_burst(&mut port.received);
            if count > 0 {
                stack.handle_twin(port.interface, &mut port.received, now);
            }
            let room = port.device.tx_room().saturating_sub(port.to_send.len());
            let room = room.min(port.to_send.room());
            stack.transmit_twin(port.interface, room, &mut port.to_send);
            let before = port.to_send.len();
            if before > 0 {
                port.device.tx_burst(&mut port.to_send);
            }
            moved += count + before - port.to_send.len();
        }
        moved > 0
    }

    /// Whether something waits for the kernel: then a worker does not sleep past the next round.
    pub(crate) fn has_output(&self, stack: &Stack) -> bool {
        self.ports
            .iter()
            .any(|port| !port.to_send.is_empty() || stack.has_twin_output(port.interface))
    }
}
