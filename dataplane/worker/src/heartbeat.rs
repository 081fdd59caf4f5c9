//! The heartbeat: every stage once, in order.

use std::time::Duration;

use sluice_base::{Counter, Instant};
use sluice_buf::BURST;
use sluice_stack::Target;

use crate::mesh::Parcel;
use crate::stages::Stage;
use crate::status::Command;
use crate::worker::Worker;

/// Parcels taken from other workers per heartbeat.
const PARCELS_PER_HEARTBEAT: usize = 256;
/// Rounds of building and sending per interface and heartbeat.
const TRANSMIT_ROUNDS: usize = 4;
/// Asking a device for its totals may mean reading registers.
const TOTALS_EVERY: Duration = Duration::from_millis(100);

/// Gauges that nobody reads more often than this are folded once in so many heartbeats.
const FOLD_EVERY: u64 = 256;

/// What a heartbeat found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beat {
    /// Whether there was anything to do: then another one is due at once.
    pub worked: bool,
    /// When the next timer is due, or packets that were left lying.
    pub deadline: Instant,
    /// Whether what the devices have was left for later, until the deadline at most.
    pub deferred: bool,
    /// Whether the worker was told to stop.
    pub stop: bool,
}

impl Worker {
    /// Does everything there is to do now, within the budgets of each stage.
    pub fn heartbeat(&mut self, now: Instant) -> Beat {
        self.stages.start();
        let mut worked = self.adopt(now);
        self.listing.serve(&self.stack, now);
        let stop = self.obey(now);

        let deferred = self.coalescing.defers(now);
        if !deferred {
            worked |= self.receive_burst(now);
        }
        worked |= self.receive_steered(now);
        worked |= self.twins.carry(&mut self.stack, now);

        let due = self.timer_deadline() <= now;
        if due {
            self.stack.handle_timers(now);
            self.proxy.handle_timers(now);
            self.stages.edge(Stage::Timers);
        }

        worked |= self.serve(now) | self.serve_datagrams(now) | due;
        self.stages.edge(Stage::Serve);

        worked |= self.transmit(now, worked);
        self.exchange_messages();
        self.stages.edge(Stage::Transmit);

        self.count(now, worked);
        Beat { worked, deadline: self.next_deadline(), deferred, stop }
    }

    /// When there is something to do again, if nothing comes: the next timer of stack or proxy, or
    /// packets that were left lying.
    #[inline]
    pub fn next_deadline(&self) -> Instant {
        self.timer_deadline().min(self.coalescing.next_look())
    }

    #[inline]
    fn timer_deadline(&self) -> Instant {
        self.stack.next_deadline().min(self.proxy.next_deadline())
    }

    /// Whether devices, rings, mailbox or command hold something new: asked once more before sleeping.
    pub(crate) fn has_mail(&self) -> bool {
        self.ports.iter().any(|port| port.device.has_pending()) || self.has_orders()
    }

    /// The same, but for what devices hold.
    pub(crate) fn has_orders(&self) -> bool {
        let unheard = match self.status.commanded() {
            Command::Run => false,
            Command::Drain => !self.draining,
            Command::Stop => true,
        };
        let asked = self.listing.is_asked();
        unheard
            || self.twins.has_output(&self.stack)
            || asked
            || self.mailbox.is_waiting()
            || self.mesh.has_mail()
    }

    fn obey(&mut self, now: Instant) -> bool {
        let command = self.status.commanded();
        if command != Command::Run && !self.draining {
            self.draining = true;
            self.stop_listening();
            self.proxy.start_drain(now);
        }
        command == Command::Stop
    }

    /// Stages 2 to 5, of what the devices have.
    fn receive_burst(&mut self, now: Instant) -> bool {
        let (mut received, mut is_more) = (0, false);
        for port in &mut self.ports {
            let count = port.device.rx_burst(&mut port.received);
            self.stages.edge(Stage::Receive);
            if count > 0 {
                received += count;
                is_more |= count >= BURST;
                self.stack.handle_batch(port.interface, &mut port.received, now);
                self.stages.edge(Stage::Input);
            }
        }
        if received > 0 {
            self.status.packets[0].add(received as u64);
            let completed = self.proxy.completed();
            self.coalescing.found(received as u64, is_more, completed, now);
        }
        received > 0
    }

    /// The same, of what other workers have sent.
    fn receive_steered(&mut self, now: Instant) -> bool {
        while let Some((owner, interface, packet)) = self.stack.pop_handoff() {
            match self.mesh.send(owner, interface, packet) {
                Ok(()) => self.status.handed_off.increment(),
                Err(packet) => {
                    self.status.handoff_dropped.increment();
                    self.stack.handoff_failed(packet);
                }
            }
        }
        let mut parcels = 0;
        while parcels < PARCELS_PER_HEARTBEAT {
            let Some(parcel) = self.mesh.pop() else { break };
            parcels += 1;
            match parcel {
                Parcel::Packet(interface, packet) => {
                    self.stack.handle_steered(interface, packet.into_packet(), now);
                }
                Parcel::Message(message) => self.stack.handle_message(message, now),
            }
        }
        if parcels > 0 {
            self.stages.edge(Stage::Input);
        }
        parcels > 0
    }

    /// Stages 8 and 9: asks each device for room and builds only what fits.
    fn transmit(&mut self, now: Instant, worked: bool) -> bool {
        let mut sent = 0;
        for port in &mut self.ports {
            // A device that has nothing to send is asked for its room only when there is time.
            if worked && port.to_send.is_empty() && !self.stack.has_output(port.interface) {
                continue;
            }
            for _ in 0..TRANSMIT_ROUNDS {
                let room = port.device.tx_room().saturating_sub(port.to_send.len());
                let room = room.min(port.to_send.room());
                if room > 0 {
                    self.stack.transmit(port.interface, room, &mut port.to_send, now);
                }
                if port.to_send.is_empty() {
                    break;
                }
                let before = port.to_send.len();
                port.device.tx_burst(&mut port.to_send);
                sent += before - port.to_send.len();
                if !port.to_send.is_empty() || !self.stack.has_output(port.interface) {
                    break;
                }
            }
        }
        add(&self.status.packets[1], sent);
        sent > 0
    }

    fn exchange_messages(&mut self) {
        while let Some((target, message)) = self.stack.pop_message() {
            let lost = match target {
                Target::All => self.mesh.tell_all(message),
                Target::Worker(worker) => usize::from(!self.mesh.tell(worker, message)),
            };
            add(&self.status.handoff_dropped, lost);
        }
        self.mesh.wake_receivers();
    }

    /// Stage 10: counters.
    #[inline]
    fn count(&mut self, now: Instant, worked: bool) {
        self.status.heartbeats.increment();
        if worked {
            self.status.busy_heartbeats.increment();
        } else {
            self.stages.forget();
        }
        if !worked || self.status.heartbeats.value().is_multiple_of(FOLD_EVERY) {
            self.fold(now);
        }
        self.last_beat = now;
    }

    /// Sums and gauges for the control thread.
    #[cold]
    fn fold(&mut self, now: Instant) {
        let spent = self.stages.take();
        for (counter, spent) in self.status.stage_cycles.iter().zip(spent) {
            counter.add(spent);
        }
        self.status.busy_cycles.add(spent.iter().sum());
        if now >= self.next_totals {
            self.next_totals = now + TOTALS_EVERY;
            for (counters, port) in self.status.ports.iter().zip(&self.ports) {
                counters.copy(port.device());
            }
        }
        let (rx, tx) = (self.stack.rx_pool(), self.stack.tx_pool());
        self.status.rx_buffers[0].set(u64::from(rx.in_use()));
        self.status.rx_buffers[1].set(u64::from(rx.capacity()));
        self.status.tx_buffers[0].set(u64::from(tx.in_use()));
        self.status.tx_buffers[1].set(u64::from(tx.capacity()));
        self.status.receive_interval_nanos.set(self.coalescing.interval());
        self.status.active.set(self.proxy.active() as u64);
        let idle = self.ports.iter().all(|port| port.to_send.is_empty());
        let ended = !self.ports.is_empty() && self.ports.iter().all(|p| p.device.exhausted());
        self.status.set_exhausted(ended && idle);
        self.status.set_drained(self.draining && idle && self.proxy.active() == 0);
    }
}

fn add(counter: &Counter, amount: usize) {
    if amount > 0 {
        counter.add(amount as u64);
    }
}
