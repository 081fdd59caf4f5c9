//! UDP: addresses that datagrams may come to, flows, and what waits to be worked on (RFC 768).
//!
//! A *flow* is a pair of addresses and ports that somebody here cares for: one begun by
//! [`Stack::udp_connect`](crate::Stack::udp_connect), or a peer's at a bound address that was taken
//! by [`Stack::udp_accept`](crate::Stack::udp_accept). A datagram of a flow carries the number that
//! the application gave it, so one look-up finds everything. What comes to a bound address and
//! belongs to no flow is given out with its addresses.
//!
//! Packets come out as payload alone, in the buffers in which they arrived and exclusively owned, so
//! that sending one on writes new headers in front of bytes that stay where they are.

use std::net::SocketAddr;

use sluice_base::{ListenerId, Ring, Slab, SlabKey, UdpId};
use sluice_buf::{BURST, Packet};

use crate::flow::FlowTable;
use crate::host::Host;
use crate::listener::Listeners;
use crate::tuple::Tuple;

/// What happened with UDP.
#[derive(Debug)]
pub enum UdpEvent {
    /// A datagram of a flow.
    Datagram {
        /// The flow.
        flow: UdpId,
        /// What the flow was made with.
        token: u32,
        /// Its payload.
        payload: Packet,
    },
    /// A datagram to a bound address, from a peer without a flow.
    Arrived {
        /// Whose address it is.
        listener: ListenerId,
        /// Our address.
        local: SocketAddr,
        /// Who sent it. A link-local address carries its link in `scope_id`.
        peer: SocketAddr,
        /// Its payload.
        payload: Packet,
    },
    /// A router, the peer or its link said that what a flow sent did not arrive.
    Unreachable {
        /// The flow.
        flow: UdpId,
        /// What the flow was made with.
        token: u32,
    },
}

/// One flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UdpFlow {
    pub(crate) tuple: Tuple,
    /// The next hop's entry when it was last looked for.
    pub(crate) neighbor: Option<SlabKey>,
    pub(crate) next_hop: Host,
    /// Where datagrams leave.
    pub(crate) interface: u16,
    /// What a router said that the path carries (RFC 8201); 0: what the link does.
    pub(crate) mtu: u16,
    pub(crate) token: u32,
    /// The bound address that a peer began it at.
    pub(crate) listener: Option<ListenerId>,
}

/// A datagram that was found to be good.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) packet: Packet,
    pub(crate) hash: u64,
    /// Position of the interface it came in by.
    pub(crate) interface: u16,
    /// A user of the remote host, until the datagram is given out or dropped.
    pub(crate) tuple: Tuple,
    pub(crate) flow: Option<SlabKey>,
    pub(crate) l2_len: u16,
    pub(crate) payload_at: u16,
    pub(crate) payload_len: u16,
}

/// What waits for [`Stack::next_datagram`](crate::Stack::next_datagram).
#[derive(Debug)]
pub(crate) enum Pending {
    Datagram(Arrived),
    Unreachable(SlabKey),
}

/// All of a stack's UDP.
#[derive(Debug)]
pub(crate) struct Udp {
    pub(crate) index: FlowTable,
    pub(crate) flows: Slab<UdpFlow>,
    pub(crate) bound: Listeners,
    /// Those of the vector in hand, whose buckets were asked for.
    pub(crate) vector: Vec<Arrived>,
    pub(crate) pending: Ring<Pending>,
    /// Names the next datagram for who may cut it (RFC 791, 3.2); they need not be secret, only
    /// apart.
    pub(crate) identification: u16,
}

impl Udp {
    pub(crate) fn new(
        flows_max: u32,
        pending_max: u32,
        bound_max: u32,
        identification: u16,
    ) -> Self {
        Self {
            index: FlowTable::new(flows_max),
            flows: Slab::new(flows_max, flows_max),
            bound: Listeners::new(bound_max),
            vector: Vec::with_capacity(BURST),
            pending: Ring::with_capacity(pending_max as usize),
            identification,
        }
    }

    /// The flow with this tuple.
    #[inline]
    pub(crate) fn find(&self, hash: u64, tuple: &Tuple) -> Option<SlabKey> {
        let is_it = |index| {
            let flow = self.flows.key_at(index).and_then(|key| self.flows.get(key));
            flow.is_some_and(|flow| flow.tuple == *tuple)
        };
        self.flows.key_at(self.index.find(hash, is_it)?)
    }
}
