//! What workers tell each other.

use std::net::Ipv4Addr;

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
    /// To worker 0, which alone speaks ARP: who is this neighbour?
    Resolve {
        /// Who asks.
        worker: WorkerId,
        /// On which link.
        interface: InterfaceId,
        /// Whom.
        address: Ipv4Addr,
    },
    /// From worker 0: what is known about a neighbour now.
    Neighbor {
        /// On which link.
        interface: InterfaceId,
        /// Whom.
        address: Ipv4Addr,
        /// Its link-layer address; none if it does not answer.
        mac: Option<MacAddress>,
    },
}
