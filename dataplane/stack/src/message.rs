//! What workers tell each other.

use std::net::{IpAddr, Ipv6Addr};

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
    /// From worker 0: another station has this address of ours, so it is not to be used.
    Duplicate {
        /// On which link.
        interface: InterfaceId,
        /// Which address.
        address: Ipv6Addr,
    },
}
