//! How things end: a connection or a stream by a fault, a stream by its last byte; and what is still
//! known of those that have ended.

use sluice_base::Instant;
use sluice_l7_core::{CodecContext, Event, ProtocolError, Role, StreamId};

use crate::budget::Class;
use crate::connection::{Drain, Http2, Reading};
use crate::error::{Fault, Scope};
use crate::frame;
use crate::limits::RESETS_REMEMBERED;
use crate::state::{Receive, Send};

/// Streams of ours that were reset: their late frames are no mistake.
#[derive(Debug, Default)]
pub(crate) struct Resets {
    ids: Vec<u32>,
    next: usize,
    /// The highest id that had to be forgotten: up to there we are lenient.
    forgotten: u32,
}

impl Resets {
    pub(crate) fn remember(&mut self, id: u32) {
        if self.ids.len() < RESETS_REMEMBERED {
            self.ids.push(id);
            return;
        }
        let place = &mut self.ids[self.next];
        self.forgotten = self.forgotten.max(*place);
        *place = id;
        self.next = (self.next + 1) % RESETS_REMEMBERED;
    }

    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        (self.next, self.forgotten) = (0, 0);
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.ids.capacity() * size_of::<u32>()
    }

    fn may_be(&self, id: u32) -> bool {
        id <= self.forgotten || self.ids.contains(&id)
    }
}

impl Http2 {
    /// The peer broke a rule of the connection: GOAWAY, and nothing is decoded any more.
    #[cold]
    pub(crate) fn fail(&mut self, fault: Fault, cx: &mut CodecContext<'_>) -> ProtocolError {
        if !matches!(self.reading, Reading::Failed) {
            self.reading = Reading::Failed;
            if let Some(block) = self.block.take() {
                cx.heads.put_large(block.bytes);
            }
            self.ending = None;
            let mut out = cx.heads.take_large();
            let error = fault.error();
            let last = StreamId::new(self.peer_last);
            if self.started {
                frame::goaway(last, fault.code(), error.reason, &mut out);
                // Without memory the peer is told by the connection's end.
                if self.flush_unsent(cx) {
                    let _told = cx.output.append_copy(&out, cx.pool);
                }
            }
            cx.heads.put_large(out);
            self.timers.clear();
            self.unsent = Vec::new();
        }
        fault.error()
    }

    /// The peer broke a rule of a stream: RST_STREAM, and the others go on. What the caller is told.
    #[cold]
    pub(crate) fn fail_stream(
        &mut self,
        id: u32,
        fault: Fault,
        cx: &mut CodecContext<'_>,
    ) -> Result<Option<Event>, Fault> {
        debug_assert_eq!(fault.scope(), Scope::Stream, "the fault is a stream's");
        if self.role == Role::Server {
            // Resets that a client makes us send cost as much as its own.
            self.budgets.take(Class::Reset, cx.now)?;
        }
        let stream = StreamId::new(id);
        self.put(&frame::rst_stream(stream, fault.code()), cx);
        self.resets.remember(id);
        if let Some(slot) = self.streams.find(id) {
            self.leave(slot);
        }
        let reason = fault.code().reset_reason();
        Ok(Some(Event::Reset { stream, reason, fault: Some(fault.error()) }))
    }

    /// The stream is over, and the caller is told so with this call: it keeps its number until the
    /// next one.
    pub(crate) fn leave(&mut self, slot: u16) {
        self.flush_leaving();
        self.streams.unready(slot);
        let stream = self.streams.get_mut(slot);
        (stream.receive, stream.send) = (Receive::Done, Send::Done);
        stream.queue.clear();
        stream.tail.clear();
        if self.ending.is_some_and(|ending| ending.number() == stream.id) {
            self.ending = None;
        }
        self.leaving = Some(slot);
    }

    #[inline]
    pub(crate) fn flush_leaving(&mut self) {
        if let Some(slot) = self.leaving.take() {
            if self.opened == self.streams.get(slot).id {
                self.opened = 0;
            }
            self.streams.remove(slot);
        }
    }

    /// As [`Http2::settle`], where the caller is told with this call.
    #[inline]
    pub(crate) fn settle_later(&mut self, slot: u16) {
        let stream = self.streams.get(slot);
        if stream.receive == Receive::Done && stream.send == Send::Done {
            self.budgets.earn_reset();
            self.worn = self.worn.saturating_sub(1);
            self.leave(slot);
        }
    }

    /// Removes a stream both of whose messages are complete, unless the caller has not been told yet.
    #[inline]
    pub(crate) fn settle(&mut self, slot: u16) {
        let stream = self.streams.get(slot);
        let told = self.ending.is_none_or(|ending| ending.number() != stream.id);
        if stream.receive == Receive::Done
            && stream.send == Send::Done
            && told
            && self.leaving != Some(slot)
        {
            self.budgets.earn_reset();
            self.worn = self.worn.saturating_sub(1);
            self.streams.remove(slot);
        }
    }

    /// What a frame on a stream that is not in the table means (RFC 9113, 5.1): an error, or to be
    /// ignored within a budget.
    pub(crate) fn check_absent(&mut self, id: u32, now: Instant) -> Result<(), Fault> {
        let ours = (id & 1 == 1) == (self.role == Role::Client);
        let idle = if ours { id >= self.own_next } else { id > self.peer_last };
        if idle {
            return Err(if ours { Fault::StreamIdle } else { self.idle_of_peer() });
        }
        if self.resets.may_be(id) || (self.drain == Drain::Final && id > self.drain_last) {
            return self.budgets.take(Class::Closed, now);
        }
        Err(Fault::StreamClosed)
    }

    fn idle_of_peer(&self) -> Fault {
        match self.role {
            Role::Server => Fault::StreamIdle,
            // Only pushes would open streams towards a client.
            Role::Client => Fault::StreamParity,
        }
    }
}
