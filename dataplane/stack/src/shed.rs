//! Giving memory back when receive buffers are scarce.
//!
//! Windows stop growing and queues of out-of-order data are dropped by the connections themselves,
//! as soon as a segment shows them how scarce buffers are. What a silent connection holds is found
//! here: a hand goes round over the slab, a bounded number of entries at a time. Below 12 % free,
//! each entry it passes gives up what it can; below 6 %, the one of them that holds most is reset.

use sluice_base::Instant;
use sluice_buf::Pressure;
use sluice_tcp::Connection;

use crate::connection::context;
use crate::stack::Stack;

/// How often the pool is asked how full it is, and the hand moves on: 100 microseconds.
pub(crate) const LOOK_NS: u64 = 100_000;
/// Entries that the hand passes at a time.
const ENTRIES: u32 = 64;
/// Who holds no more buffers than this is not reset: it would hardly help.
const HOLDER_MIN: u32 = 16;

impl Stack {
    /// Looks at the pool, unless that was done a moment ago, and does what its state asks for.
    #[inline]
    pub(crate) fn look_at_memory(&mut self, now: Instant) {
        if now >= self.next_look {
            self.next_look = now.plus_nanos(LOOK_NS);
            self.rx_pool.refresh();
            self.pressure = self.rx_pool.pressure();
            if self.pressure >= Pressure::Scarce {
                self.shed(now);
            }
        }
    }

    #[cold]
    fn shed(&mut self, now: Instant) {
        let slots = self.connections.slots() as u32;
        let mut largest = (HOLDER_MIN, None);
        for _ in 0..ENTRIES.min(slots) {
            self.shed_hand = (self.shed_hand + 1) % slots;
            let Some(key) = self.connections.key_at(self.shed_hand) else { continue };
            let Some(entry) = self.connections.get_mut(key) else { continue };
            let cx = context!(self, entry.config, now);
            if entry.tcp.shed(&cx) {
                self.counters.tcp_shed.increment();
            }
            let held = entry.tcp.buffers_held();
            if held > largest.0 {
                largest = (held, Some(key.index));
            }
        }
        if self.pressure < Pressure::Critical {
            return;
        }
        if let (_, Some(index)) = largest {
            self.counters.tcp_shed_resets.increment();
            self.drive(index, now, Connection::abort);
        }
    }
}
