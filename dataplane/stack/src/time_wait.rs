//! Connections in TIME-WAIT: small records in a table of fixed size, oldest used again first.

use sluice_base::Instant;
use sluice_tcp::{TimeWait, TimeWaitAction};

use crate::drop_reason::DropReason;
use crate::queue::{Links, Queue};
use crate::stack::Stack;
use crate::tcp_input::Segment;
use crate::tuple::Tuple;

/// Set in a value of the flow table that names a record here.
pub(crate) const TIME_WAIT: u32 = 1 << 31;

/// How long a record stands before a connection of ours may take its place: 1 second.
const SUCCEED_NS: u64 = 1_000_000_000;

#[derive(Debug)]
struct Record {
    tuple: Tuple,
    began: Instant,
    time_wait: TimeWait,
}

/// The table. Records end in the order in which they began, or were last heard of.
#[derive(Debug)]
pub(crate) struct TimeWaits {
    records: Vec<Option<Record>>,
    links: Links,
    free: Queue,
    order: Queue,
}

impl TimeWaits {
    pub(crate) fn new(limit: u32) -> Self {
        let mut links = Links::new(limit);
        let mut free = Queue::new();
        for at in 0..limit {
            free.push(&mut links, at);
        }
        Self { records: (0..limit).map(|_| None).collect(), links, free, order: Queue::new() }
    }

    #[inline]
    pub(crate) fn is_tuple(&self, at: u32, tuple: &Tuple) -> bool {
        self.record(at).is_some_and(|record| record.tuple == *tuple)
    }

    /// Whether a connection of ours may take the record's place: old segments are no danger to one
    /// that has timestamps, once its clock has moved on (RFC 6191, 2; RFC 7323, appendix B.2).
    pub(crate) fn may_succeed(&self, at: u32, now: Instant) -> bool {
        self.record(at).is_some_and(|record| now.nanos_since(record.began) >= SUCCEED_NS)
    }

    pub(crate) fn len(&self) -> u32 {
        self.order.len()
    }

    fn is_full(&self) -> bool {
        self.free.len() == 0
    }

    /// The record that ends first.
    fn oldest(&self) -> Option<(u32, Tuple, Instant)> {
        let at = self.order.peek()?;
        let record = self.record(at)?;
        Some((at, record.tuple, record.time_wait.expires()))
    }

    /// Adds a record; none if all places are taken.
    fn insert(&mut self, record: Record) -> Option<u32> {
        let at = self.free.pop(&mut self.links)?;
        self.records[at as usize] = Some(record);
        self.order.push(&mut self.links, at);
        Some(at)
    }

    fn remove(&mut self, at: u32) {
        if self.records[at as usize].take().is_some() {
            self.order.remove(&mut self.links, at);
            self.free.push(&mut self.links, at);
        }
    }

    /// Puts a record that was heard of behind the others.
    fn renew(&mut self, at: u32) {
        self.order.remove(&mut self.links, at);
        self.order.push(&mut self.links, at);
    }

    fn record(&self, at: u32) -> Option<&Record> {
        self.records.get(at as usize)?.as_ref()
    }
}

impl Stack {
    /// Keeps a record of a connection that ended here first.
    pub(crate) fn begin_time_wait(
        &mut self,
        tuple: Tuple,
        hash: u64,
        time_wait: TimeWait,
        now: Instant,
    ) {
        if self.time_waits.is_full() {
            let Some((oldest, ..)) = self.time_waits.oldest() else { return };
            self.end_time_wait(oldest);
            self.counters.tcp_time_waits_reused.increment();
        }
        let Some(at) = self.time_waits.insert(Record { tuple, began: now, time_wait }) else {
            return;
        };
        if self.flows.insert(hash, at | TIME_WAIT).is_err() {
            self.time_waits.remove(at);
        } else {
            self.keep_hosts(&tuple);
        }
        self.counters.tcp_time_waits.set(self.time_waits.len().into());
    }

    pub(crate) fn time_wait_input(
        &mut self,
        at: u32,
        segment: &mut Segment,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(record) = self.time_waits.records[at as usize].as_mut() else {
            return Err(DropReason::TcpTimeWait);
        };
        let payload_len = segment.payload_len.into();
        let header = segment.full_header().ok_or(DropReason::TcpMalformed)?;
        let before = record.time_wait.expires();
        let action = record.time_wait.handle_segment(&header, payload_len, now);
        let is_renewed = record.time_wait.expires() != before;
        match action {
            TimeWaitAction::Drop => Err(DropReason::TcpTimeWait),
            TimeWaitAction::Ack(answer) => {
                // Bare ACKs that two ends do not agree on could go to and fro for ever.
                let is_bare = header.segment_len(payload_len) == 0;
                if is_bare && !self.challenges.take(now) {
                    return Err(DropReason::TcpTimeWait);
                }
                if is_renewed {
                    self.time_waits.renew(at);
                }
                self.send_bare(&answer, &segment.tuple, now)
            }
            TimeWaitAction::Reopen(iss) => {
                // RFC 9293, 3.6.1, MAY-2 is about a listener; elsewhere the record stays.
                let Tuple { local, local_port, .. } = segment.tuple;
                if self.listeners.find(local, local_port).is_none() {
                    return Err(DropReason::TcpTimeWait);
                }
                self.end_time_wait(at);
                self.open(segment, Some(iss), now)
            }
            TimeWaitAction::Forget => {
                self.end_time_wait(at);
                self.open(segment, None, now)
            }
        }
    }

    /// Ends the records whose time has come.
    pub(crate) fn handle_time_wait_timers(&mut self, now: Instant) {
        while let Some((at, _, deadline)) = self.time_waits.oldest() {
            if deadline > now {
                break;
            }
            self.end_time_wait(at);
        }
    }

    /// When the first record ends.
    pub(crate) fn time_wait_deadline(&self) -> Instant {
        self.time_waits.oldest().map_or(Instant::NEVER, |(.., deadline)| deadline)
    }

    /// Ends the record with this tuple, if there is one, for a new connection.
    pub(crate) fn succeed_time_wait(&mut self, tuple: &Tuple, hash: u64) {
        let is_it =
            |value| value & TIME_WAIT != 0 && self.time_waits.is_tuple(value & !TIME_WAIT, tuple);
        if let Some(value) = self.flows.find(hash, is_it) {
            self.end_time_wait(value & !TIME_WAIT);
            self.counters.tcp_time_waits_reused.increment();
        }
    }

    fn end_time_wait(&mut self, at: u32) {
        let Some(record) = self.time_waits.record(at) else { return };
        let tuple = record.tuple;
        let removed = self.flows.remove(tuple.hash(&self.flow_key), at | TIME_WAIT);
        debug_assert!(removed, "every record is in the flow table");
        self.time_waits.remove(at);
        self.forget_hosts(&tuple);
        self.counters.tcp_time_waits.set(self.time_waits.len().into());
    }
}
