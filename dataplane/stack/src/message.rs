//! What workers tell each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_base::{InterfaceId, WorkerId};
use sluice_wire::MacAddress;

/// Whom a message is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// Every other worker.
    All,
    /// One worker.
    Worker(WorkerId),
}

/// A message; plain data that may cross threads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message {
    /// To worker 0, which alone speaks ARP and neighbour discovery: who is this neighbour?
    Resolve {
        /// Who asks.
        worker: WorkerId,
        /// On which link.
        interface: InterfaceId,
        /// Whom.
        address: IpAddr,
    },
    /// To worker 0: what is sent through this neighbour is in vain, is it still there?
    Suspect {
        /// On which link.
        interface: InterfaceId,
        /// Whom.
        address: IpAddr,
    },
    /// From worker 0: what is known about a neighbour now.
    Neighbor {
        /// On which link.
        interface: InterfaceId,
        /// Whom.
        address: IpAddr,
        /// Its link-layer address; none if it does not answer.
        mac: Option<MacAddress>,
    },
    /// From worker 0: the router of last resort, as routers' advertisements have it.
    Router {
        /// On which link.
        interface: InterfaceId,
        /// Which router; none if there is none.
        address: Option<Ipv6Addr>,
    },
    /// From worker 0: a router says that a prefix is on a link, or is no more.
    OnLink {
        /// On which link.
        interface: InterfaceId,
        /// The prefix, host bits zero.
        prefix: Ipv6Addr,
        /// Its length, bits.
        prefix_len: u8,
        /// Whether it is.
        is_on_link: bool,
    },
    /// From worker 0: an address of ours that was made of a router's prefix.
    Formed {
        /// On which link.
        interface: InterfaceId,
        /// Which address.
        address: Ipv6Addr,
        /// What holds for it now.
        state: FormedState,
    },
    /// From worker 0: what a router says about a link.
    Link {
        /// Which link.
        interface: InterfaceId,
        /// The largest IPv6 packet, bytes.
        mtu: u16,
        /// How long a neighbour counts as reachable, milliseconds.
        reachable_ms: u32,
        /// Between questions, milliseconds.
        retransmit_ms: u32,
    },
    /// From worker 0: whether an IPv4 address that was asked about is ours.
    Claim {
        /// On which link.
        interface: InterfaceId,
        /// Which address.
        address: Ipv4Addr,
        /// If not, another station has it.
        is_ours: bool,
    },
    /// From worker 0: another station has this address of ours, so it is not to be used.
    Duplicate {
        /// On which link.
        interface: InterfaceId,
        /// Which address.
        address: Ipv6Addr,
    },
}

/// What holds for an address that was made of a prefix (RFC 4862, 5.5.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FormedState {
    /// Use it.
    Preferred,
    /// Use it for what has begun with it.
    Deprecated,
    /// Its time is over.
    Gone,
}
