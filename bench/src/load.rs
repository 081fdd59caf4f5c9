//! The client: connections that ask, wait for the answer, and ask again.

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use hdrhistogram::Histogram;
use sluice_base::{ConnId, Instant};
use sluice_stack::Ready;

use crate::host::{App, Io};

/// What is asked, and what counts as the answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Bytes of the request.
    pub request: Vec<u8>,
    /// How the answer ends.
    pub answer: Expected,
    /// Whether every request has a connection of its own.
    pub connection_per_request: bool,
    /// Settings of the client's connections.
    pub tcp: sluice_tcp::Config,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// A response 200 with a body of so many bytes.
    Http(usize),
    /// So many bytes.
    Bytes(usize),
    /// Never: bytes are counted, in units of so many.
    Bulk(usize),
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// As soon as the connection's last answer is there.
    Closed,
    /// One every so many nanoseconds, on any idle connection. One that finds none waits, and its
    /// latency counts from when it was due (no coordinated omission).
    Open(u64),
}

/// The load generator.
pub struct Load {
    exchange: Exchange,
    target: SocketAddrV4,
    pace: Pace,
    slots: Vec<Slot>,
    /// Slots without a request, for [`Pace::Open`].
    idle: Vec<u32>,
    /// Which slot a connection belongs to, by its own slot.
    slot_of: Vec<u32>,
    due: VecDeque<Instant>,
    next_due: Instant,
    opened: bool,
    bulk_bytes: u64,
    /// Answers that came.
    pub done: u64,
    /// Connections that ended otherwise than they should, and answers that were not expected.
    pub failures: u64,
    /// Nanoseconds from when a request was sent, or due, to the end of its answer.
    pub latency: Histogram<u64>,
}

#[derive(Default)]
struct Slot {
    conn: Option<ConnId>,
    since: Option<Instant>,
    head: Vec<u8>,
    /// Bytes that miss; none before the head's end.
    left: Option<usize>,
}

impl Load {
    /// `connections` clients of `target`.
    ///
    /// # Panics
    /// Never: the histogram's bounds are constants.
    #[must_use]
    pub fn new(exchange: Exchange, target: SocketAddrV4, connections: u32, pace: Pace) -> Self {
        Self {
            exchange,
            target,
            pace,
            slots: (0..connections).map(|_| Slot::default()).collect(),
            idle: Vec::new(),
            slot_of: Vec::new(),
            due: VecDeque::new(),
            next_due: Instant::ZERO,
            opened: false,
            bulk_bytes: 0,
            done: 0,
            failures: 0,
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds"),
        }
    }

    fn connect(&mut self, index: u32, io: &mut Io<'_>) {
        let result = io.stack.connect(self.target, &self.exchange.tcp, index, io.now);
        let conn = result.expect("a client has ports and memory for its scenario");
        let place = conn.index as usize;
        if self.slot_of.len() <= place {
            self.slot_of.resize(place + 1, 0);
        }
        self.slot_of[place] = index;
        self.slots[index as usize].conn = Some(conn);
    }

    fn ask(&mut self, index: u32, since: Instant, io: &mut Io<'_>) {
        let slot = &mut self.slots[index as usize];
        slot.since = Some(since);
        slot.head.clear();
        slot.left = match self.exchange.answer {
            Expected::Http(_) => None,
            Expected::Bytes(count) => Some(count),
            Expected::Bulk(_) => Some(usize::MAX),
        };
        match slot.conn {
            Some(conn) => io.send(conn, &self.exchange.request),
            None => self.connect(index, io),
        }
    }

    fn receive(&mut self, index: u32, conn: ConnId, io: &mut Io<'_>) {
        let slot = &mut self.slots[index as usize];
        let mut wrong = slot.since.is_none();
        let body = match self.exchange.answer {
            Expected::Bulk(unit) => {
                self.bulk_bytes += io.receive(conn, |_| {}) as u64;
                self.done = self.bulk_bytes / unit as u64;
                return;
            }
            Expected::Http(body) => body,
            Expected::Bytes(_) => 0,
        };
        io.receive(conn, |piece| {
            if let Some(left) = &mut slot.left {
                wrong |= *left < piece.len();
                *left = left.saturating_sub(piece.len());
                return;
            }
            slot.head.extend_from_slice(piece);
            if let Some(end) = memchr::memmem::find(&slot.head, b"\r\n\r\n") {
                wrong |= !slot.head.starts_with(b"HTTP/1.1 200 ");
                let got = slot.head.len() - end - 4;
                wrong |= got > body;
                slot.left = Some(body.saturating_sub(got));
            }
        });
        self.failures += u64::from(wrong);
        if slot.left == Some(0) {
            self.finish(index, io);
        }
    }

    fn finish(&mut self, index: u32, io: &mut Io<'_>) {
        let slot = &mut self.slots[index as usize];
        let Some(since) = slot.since.take() else { return };
        self.latency.saturating_record(io.now.nanos_since(since).max(1));
        self.done += 1;
        if self.exchange.connection_per_request
            && let Some(conn) = slot.conn.take()
        {
            io.stack.close(conn, io.now);
        }
        match self.pace {
            Pace::Closed => self.ask(index, io.now, io),
            Pace::Open(_) => self.idle.push(index),
        }
    }
}

impl App for Load {
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>) {
        let Some(index) = self.slot_of.get(conn.index as usize).copied() else { return };
        let is_current = self.slots[index as usize].conn == Some(conn);
        if ready.connected() && is_current {
            if self.slots[index as usize].since.is_some() {
                io.send(conn, &self.exchange.request);
            } else {
                self.idle.push(index);
            }
        }
        if ready.readable() && is_current {
            self.receive(index, conn, io);
        }
        let over = ready.peer_closed() || ready.closed();
        if over && self.slots[index as usize].conn == Some(conn) {
            // An answered connection is no longer the current one.
            self.failures += 1;
            self.slots[index as usize].conn = None;
        }
        if ready.peer_closed() && !ready.closed() {
            io.stack.close(conn, io.now);
        }
    }

    fn poll(&mut self, io: &mut Io<'_>) {
        if !self.opened {
            self.opened = true;
            self.next_due = io.now;
            for index in 0..self.slots.len() as u32 {
                match self.pace {
                    Pace::Closed => self.ask(index, io.now, io),
                    Pace::Open(_) if self.exchange.connection_per_request => self.idle.push(index),
                    Pace::Open(_) => self.connect(index, io),
                }
            }
        }
        let Pace::Open(interval) = self.pace else { return };
        while self.next_due <= io.now {
            self.due.push_back(self.next_due);
            self.next_due = self.next_due.plus_nanos(interval);
        }
        while let Some(due) = self.due.front().copied() {
            let Some(index) = self.idle.pop() else { return };
            self.due.pop_front();
            self.ask(index, due, io);
        }
    }
}
