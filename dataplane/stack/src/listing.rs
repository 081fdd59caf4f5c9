//! What `sluice show` asks for. Not for the packet path.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sluice_base::{ConnId, Instant, InterfaceId, ListenerId, UdpId};
use sluice_tcp::State;
use sluice_wire::MacAddress;

use crate::connection::Queued;
use crate::neighbor::NeighborState;
use crate::stack::Stack;

/// One neighbour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NeighborInfo {
    /// On which link.
    pub interface: InterfaceId,
    /// Its address.
    pub address: IpAddr,
    /// Its link-layer address, where one was ever known.
    pub mac: Option<MacAddress>,
    /// Where it stands. `Reachable` may have run out: that is found out at the next use.
    pub state: NeighborState,
}

/// One thing that a router told about a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LearnedInfo {
    /// Which link.
    pub interface: InterfaceId,
    /// What.
    pub what: LearnedWhat,
    /// Seconds for which it holds unless it is told again; `None`: for ever.
    pub expires_s: Option<u64>,
}

/// What a router told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LearnedWhat {
    /// It forwards.
    Router {
        /// Its address.
        address: Ipv6Addr,
        /// What has no other route goes to it, of all routers.
        is_used: bool,
    },
    /// A prefix is on the link.
    Prefix {
        /// Its address.
        prefix: Ipv6Addr,
        /// Its bits.
        prefix_len: u8,
    },
    /// An address of ours was made of a prefix.
    Address {
        /// Which.
        address: Ipv6Addr,
        /// Not for new connections of ours any more.
        is_deprecated: bool,
    },
}

/// One connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowInfo {
    /// Its id.
    pub id: ConnId,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// The listener that it came to, if a peer began it.
    pub listener: Option<ListenerId>,
    /// Its TCP state.
    pub state: State,
    /// Bytes that arrived and were not read.
    pub readable: usize,
    /// Bytes written that are not acknowledged.
    pub queued: usize,
    /// Smoothed round-trip time in microseconds, once measured.
    pub round_trip_us: Option<u32>,
    /// Congestion window, bytes.
    pub congestion_window: u32,
}

/// One flow of UDP datagrams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UdpFlowInfo {
    /// Its id.
    pub id: UdpId,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// The listener that it came to, if a peer began it.
    pub listener: Option<ListenerId>,
}

/// One listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListenerInfo {
    /// Its id.
    pub id: ListenerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections that are not acknowledged yet.
    pub half_open: u32,
}

impl Stack {
    /// All neighbours.
    pub fn neighbors(&self) -> impl Iterator<Item = NeighborInfo> + '_ {
        self.neighbors.iter().map(|neighbor| NeighborInfo {
            interface: self.interfaces[usize::from(neighbor.interface)].id,
            address: self.hosts.ip(neighbor.address),
            mac: (neighbor.mac != MacAddress::ZERO).then_some(neighbor.mac),
            state: neighbor.state,
        })
    }

    /// All that routers told (RFC 4861, 6.3.4) and that still holds. Worker 0 knows it.
    pub fn learned(&self, now: Instant) -> impl Iterator<Item = LearnedInfo> + '_ {
        let links = self.interfaces.iter();
        let listening = links.filter_map(|link| Some((link.id, link.discovery.as_ref()?)));
        listening.flat_map(move |(interface, discovery)| {
            let is_used = move |router| self.is_router(interface, router);
            let listed = discovery.listed(now, is_used);
            listed.map(move |(what, expires_s)| LearnedInfo { interface, what, expires_s })
        })
    }

    /// All connections, those in TIME-WAIT apart.
    pub fn flows(&self) -> impl Iterator<Item = FlowInfo> + '_ {
        let there = self.connections.iter().filter(|(_, entry)| entry.queued != Queued::Gone);
        there.map(|(key, entry)| FlowInfo {
            id: key.into(),
            local: self.local_address(&entry.tuple),
            peer: self.remote_address(&entry.tuple),
            listener: entry.origin().listener(),
            state: entry.tcp.state(),
            readable: entry.tcp.readable(),
            queued: entry.tcp.queued(),
            round_trip_us: entry.tcp.round_trip_us(),
            congestion_window: entry.tcp.congestion_window(),
        })
    }

    /// All flows of UDP.
    pub fn udp_flows(&self) -> impl Iterator<Item = UdpFlowInfo> + '_ {
        self.udp.flows.iter().map(|(key, flow)| {
            let (local, peer) = self.udp_addresses(&flow.tuple);
            UdpFlowInfo { id: key.into(), local, peer, listener: flow.listener }
        })
    }

    /// Buffers that hold fragments of packets that are not complete.
    #[must_use]
    pub fn reassembly_buffers(&self) -> u32 {
        self.reassembly.buffers()
    }

    /// All listeners.
    pub fn listeners(&self) -> impl Iterator<Item = ListenerInfo> + '_ {
        self.listeners.iter().map(|listener| ListenerInfo {
            id: listener.id,
            address: listener.address,
            half_open: listener.half_open,
        })
    }
}
