//! What a stack is made with.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use sluice_base::{InterfaceId, WorkerId};
use sluice_buf::Capabilities;
use sluice_wire::MacAddress;

/// Everything that is fixed at start. Every table is sized by it and never grows.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Which worker this stack belongs to.
    pub worker: WorkerId,
    /// How many workers there are.
    pub workers: u16,
    /// Interfaces; each one's id is its position.
    pub interfaces: Vec<InterfaceConfig>,
    /// Static routes, beside those of the interfaces' own subnets.
    pub routes: Vec<RouteConfig>,
    /// Keys, drawn from the operating system at start.
    pub secrets: Secrets,
    /// Whether packets for others are forwarded. On: an interface pair is a router.
    pub forwarding: bool,
    /// Connections of this worker, half-open ones included.
    pub connections_max: u32,
    /// Records of connections that ended here first; the oldest are used again.
    pub time_wait_max: u32,
    /// UDP flows of this worker, of both sides.
    pub udp_flows_max: u32,
    /// Datagrams that wait to be worked on.
    pub datagrams_max: u32,
    /// Addresses listened on, by TCP and by UDP each.
    pub listeners_max: u32,
    /// Half-open connections of one listener; further SYNs are answered with cookies. Linux has 4096 for all.
    pub half_open_max: u32,
    /// Neighbours on all links together.
    pub neighbors_max: u32,
    /// Packets that wait for one neighbour's address (Linux: about 100 full ones).
    pub neighbor_queue_max: u32,
    /// Packets that wait for neighbours altogether.
    pub parked_max: u32,
    /// Buffers that fragments may hold, but never more than a sixteenth of the receive pool.
    pub reassembly_buffers_max: u32,
    /// Datagrams that are put together at a time.
    pub reassembly_datagrams_max: u32,
    /// Local ports of connections that we open (Linux's default range).
    pub upstream_ports: RangeInclusive<u16>,
    /// ICMP errors that we send per second (RFC 1812, 4.3.2.8; RFC 4443, 2.4 (f); Linux: 1,000).
    pub icmp_errors_per_second: u32,
    /// Pings that we answer per second.
    pub icmp_echoes_per_second: u32,
    /// Resets for segments without a connection, per second.
    pub resets_per_second: u32,
    /// Control and forwarded packets that wait for one interface.
    pub egress_queue_max: u32,
    /// Packets that wait to be handed to other workers.
    pub handoff_queue_max: u32,
    /// Messages that wait to be sent to other workers.
    pub message_queue_max: u32,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            worker: WorkerId(0),
            workers: 1,
            interfaces: Vec::new(),
            routes: Vec::new(),
            secrets: Secrets::default(),
            forwarding: true,
            connections_max: 65_536,
            time_wait_max: 32_768,
            udp_flows_max: 65_536,
            datagrams_max: 1024,
            listeners_max: 1024,
            half_open_max: 4096,
            neighbors_max: 1024,
            neighbor_queue_max: 64,
            parked_max: 512,
            reassembly_buffers_max: 4096,
            reassembly_datagrams_max: 256,
            upstream_ports: 32_768..=60_999,
            icmp_errors_per_second: 1000,
            icmp_echoes_per_second: 10_000,
            resets_per_second: 1000,
            egress_queue_max: 1024,
            handoff_queue_max: 1024,
            message_queue_max: 1024,
        }
    }
}

/// One interface.
#[derive(Clone, Debug)]
pub struct InterfaceConfig {
    /// Its name in every call.
    pub id: InterfaceId,
    /// Its link-layer address.
    pub mac: MacAddress,
    /// The largest IP packet on its link, bytes.
    pub mtu: u16,
    /// Our addresses with the lengths of their subnets' prefixes, bits. With an IPv6 address among
    /// them it has a link-local one as well, made from `mac`; without, it does not speak IPv6.
    pub addresses: Vec<(IpAddr, u8)>,
    /// What its device can do.
    pub capabilities: Capabilities,
}

/// One static route.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// Destination: address and prefix length, bits.
    pub to: (IpAddr, u8),
    /// Routers, each on one of our links. The first is used.
    pub via: Vec<IpAddr>,
    /// The link that they are on, where it cannot be told from their addresses: of link-local ones.
    pub interface: Option<InterfaceId>,
}

/// Keys that a peer must not know.
#[derive(Clone, Copy, Default)]
pub struct Secrets {
    /// Places in tables; each worker may have its own.
    pub flow: [u64; 2],
    /// Initial sequence numbers (RFC 6528); the same in all workers.
    pub iss: [u64; 2],
    /// Owners of packets; the same in all workers.
    pub owner: [u64; 2],
}

impl std::fmt::Debug for Secrets {
    /// Keeps the secrets out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}
