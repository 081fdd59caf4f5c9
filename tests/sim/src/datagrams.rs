//! Datagrams through `protocol = "udp"`: what clients send, what endpoints send back, and what may arrive.
//!
//! Nobody repeats a datagram, so many are lost; but none arrives that was not sent, changed, or more often
//! than cables copied it. Large ones travel in fragments, on both sides of Sluice.

use std::net::SocketAddr;

use sluice_base::{Instant, UdpId};
use sluice_buf::{Packet, Pool};
use sluice_stack::UdpEvent;

use crate::app::Io;
use crate::http::pattern;
use crate::ledger::Shared;

/// Where datagrams go.
pub const DATAGRAM_PORT: u16 = 5_000;
/// Bytes of a buffer that a payload is given.
const PIECE: usize = 1_400;
/// What a datagram begins with: its number.
const HEAD: usize = 8;

/// One datagram as planned.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// When it is sent.
    pub at: Instant,
    /// Its number, unique in the run.
    pub id: u64,
    /// Bytes behind the number.
    pub len: usize,
    /// Which of the client's ports it leaves by.
    pub flow: usize,
}

/// How often a datagram arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrivals {
    /// Bytes behind the number.
    pub len: usize,
    /// At an endpoint.
    pub there: u32,
    /// Back at its client.
    pub back: u32,
}

/// A client's part.
#[derive(Debug)]
pub struct Datagrams {
    listener: SocketAddr,
    /// In order of time.
    planned: Vec<Planned>,
    flows: Vec<Option<UdpId>>,
}

/// Ports of one client.
pub const FLOWS: usize = 3;

impl Datagrams {
    /// Sends what is planned to `listener`.
    #[must_use]
    pub fn new(listener: SocketAddr, mut planned: Vec<Planned>) -> Self {
        planned.sort_by_key(|one| std::cmp::Reverse(one.at));
        Self { listener, planned, flows: vec![None; FLOWS] }
    }

    /// Whether all were sent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.planned.is_empty()
    }

    /// When the next one is sent.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        self.planned.last().map_or(Instant::NEVER, |next| next.at)
    }

    /// Sends what is due.
    pub fn poll(&mut self, io: &mut Io<'_>) {
        while let Some(next) = self.planned.pop_if(|next| next.at <= io.now) {
            let flow = &mut self.flows[next.flow];
            if flow.is_none() {
                *flow = io.stack.udp_connect(self.listener, 0, io.now).ok();
            }
            let payload = payload(&next, io.pool);
            if let (Some(flow), Some(payload)) = (*flow, payload) {
                // What cannot be sent is lost, like what is.
                let _ = io.stack.send_datagram(flow, payload, io.now);
            }
        }
    }
}

fn payload(planned: &Planned, pool: &Pool) -> Option<Packet> {
    let mut bytes = planned.id.to_be_bytes().to_vec();
    bytes.extend(pattern(planned.id ^ 0xda7a, planned.len));
    let mut chunks = bytes.chunks(PIECE);
    let mut packet = pool.alloc().ok()?;
    packet.append_bytes(chunks.next().unwrap_or_default());
    for chunk in chunks {
        let mut more = pool.alloc().ok()?;
        more.append_bytes(chunk);
        packet.append_packet(more);
    }
    Some(packet)
}

/// A client takes what came back.
pub fn handle_at_client(event: UdpEvent, ledger: &Shared) {
    if let UdpEvent::Datagram { payload, .. } | UdpEvent::Arrived { payload, .. } = event {
        let mut ledger = ledger.borrow_mut();
        let most = ledger.copies_back;
        if let Some(arrivals) = ledger.datagram(&bytes_of(&payload)) {
            arrivals.back += 1;
            let (times, there) = (arrivals.back, arrivals.there);
            if times > most || there == 0 {
                ledger.violation(format!("an answer came back {times} times, sent {there} times"));
            }
        }
    }
}

/// An endpoint sends back whatever comes.
pub fn handle_at_endpoint(event: UdpEvent, io: &mut Io<'_>, ledger: &Shared) {
    let (flow, payload) = match event {
        UdpEvent::Datagram { flow, payload, .. } => (Some(flow), payload),
        UdpEvent::Arrived { local, peer, payload, .. } => {
            (io.stack.udp_accept(local, peer, 0, io.now).ok(), payload)
        }
        UdpEvent::Unreachable { .. } => return,
    };
    {
        let mut ledger = ledger.borrow_mut();
        let most = ledger.copies_there;
        if let Some(arrivals) = ledger.datagram(&bytes_of(&payload)) {
            arrivals.there += 1;
            let times = arrivals.there;
            if times > most {
                ledger.violation(format!("a datagram came {times} times to its endpoint"));
            }
        }
    }
    if let Some(flow) = flow {
        let _ = io.stack.send_datagram(flow, payload, io.now);
    }
}

fn bytes_of(payload: &Packet) -> Vec<u8> {
    let mut bytes = vec![0; payload.len()];
    payload.copy_to(0, &mut bytes);
    bytes
}

/// Payload that surely fits a frame.
const FRAME: usize = 1_400;

impl crate::ledger::Ledger {
    /// The datagram that these bytes are; anything else is a violation.
    fn datagram(&mut self, bytes: &[u8]) -> Option<&mut Arrivals> {
        let id = bytes.first_chunk::<HEAD>().map(|head| u64::from_be_bytes(*head));
        let sent = id.and_then(|id| Some((id, self.datagrams.get(usize::try_from(id).ok()?)?.len)));
        let is_right = sent.is_some_and(|(id, len)| bytes[HEAD..] == pattern(id ^ 0xda7a, len));
        let may_be = is_right || (self.corrupts && bytes.len() > FRAME);
        if !may_be {
            self.violation(format!("a datagram of {} bytes that nobody sent", bytes.len()));
            return None;
        }
        self.datagrams.get_mut(id? as usize)
    }
}
