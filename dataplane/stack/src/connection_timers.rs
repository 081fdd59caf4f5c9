//! The timers of connections, as they come up on the wheel.
//!
//! Most come up for nothing: what they were armed for was acknowledged long ago, and the connection
//! has been left alone since (see [`wheel`](crate::wheel)). Among a million connections nothing of
//! such a one lies in a cache, so those that are due are taken together, asked for together, and then
//! only looked at where their deadlines are.

use sluice_arch::prefetch_read;
use sluice_base::Instant;
use sluice_tcp::Connection;

use crate::connection::Entry;
use crate::stack::Stack;

/// Timers that are worked on together.
const VECTOR: usize = 32;
/// From the start of an entry to the deadlines of its connection.
const DEADLINES_AT: usize = std::mem::offset_of!(Entry, tcp) + Connection::DEADLINES_AT;

impl Stack {
    /// Does what is due at `now`, to which the wheel was advanced.
    pub(crate) fn handle_connection_timers(&mut self, now: Instant) {
        let mut due = [0; VECTOR];
        loop {
            let count = self.timers.take_expired(&mut self.connections, &mut due);
            if count == 0 {
                return;
            }
            for index in &due[..count] {
                if let Some(address) = self.connections.address_of(*index) {
                    prefetch_read(address);
                    prefetch_read(address.wrapping_add(DEADLINES_AT));
                }
            }
            for index in &due[..count] {
                self.handle_connection_timer(*index, now);
            }
        }
    }

    /// Takes the timer of a connection that waits for nothing away, while both are in the caches:
    /// later it would come up for nothing, and fetch them for that. Few connections cost less if
    /// theirs stay, and are found armed by the next segment.
    #[inline]
    pub(crate) fn drop_vain_timer(&mut self, index: u32) {
        let Some(entry) = self.connections.at_mut(index) else { return };
        if entry.tcp.waits_for_nothing() {
            self.timers.disarm(&mut self.connections, index);
        }
    }

    fn handle_connection_timer(&mut self, index: u32, now: Instant) {
        let Some(entry) = self.connections.at_mut(index) else { return };
        if let Some(deadline) = entry.tcp.later_deadline(now) {
            return self.timers.arm(&mut self.connections, index, deadline);
        }
        self.drive(index, now, Connection::handle_timer);
        let Some(entry) = self.connections.at_mut(index) else { return };
        let (deadline, doubts_path) = (entry.tcp.next_deadline(), entry.tcp.doubts_path());
        self.timers.arm(&mut self.connections, index, deadline);
        if doubts_path {
            self.doubt_path(index, now);
        }
    }
}
