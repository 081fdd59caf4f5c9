//! The stack of one worker: its parts, and the calls of a heartbeat.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sluice_arch::prefer_huge_pages;
use sluice_base::{HashKey, Instant, InterfaceId, Ring, Rng, SipKey, Slab, WorkerId};
use sluice_buf::{BURST, Batch, Packet, Pool, Pressure};
use sluice_tcp::{ChallengeAcks, Spares};

use crate::common_input::Vector;
use crate::config::{InterfaceConfig, RouteConfig, StackConfig};
use crate::connection::Connections;
use crate::counters::StackCounters;
use crate::drop_reason::DropReason;
use crate::ecmp::Group;
use crate::ethernet_input::Arrival;
use crate::fib::{Fib, NextHop, Route, mask};
use crate::fib_v6::{self, FibV6, RouteV6};
use crate::flow::FlowTable;
use crate::host::{Host, Hosts, zone_of};
use crate::interface::Interface;
use crate::learned::Learned;
use crate::line::{Line, READY};
use crate::listener::Listeners;
use crate::message::{Message, Target};
use crate::neighbor::Neighbors;
use crate::owner::Owners;
use crate::ports::Ports;
use crate::rate_limit::TokenBucket;
use crate::reassembly::Reassembly;
use crate::tcp_configs::TcpConfigs;
use crate::tcp_input::Segment;
use crate::time_wait::TimeWaits;
use crate::udp::Udp;
use crate::vlan::VlanCounters;
use crate::wheel::Wheel;

/// The share of the receive pool that fragments may hold.
const REASSEMBLY_SHARE: u32 = 16;

/// One worker's stack. See the crate's tour for the order of calls.
#[derive(Debug)]
pub struct Stack {
    pub(crate) worker: WorkerId,
    pub(crate) workers: u16,
    /// The latest time that was passed in.
    pub(crate) now: Instant,
    pub(crate) pressure: Pressure,
    /// When to look at the pool again.
    pub(crate) next_look: Instant,
    /// Where the search for holders of buffers goes on.
    pub(crate) shed_hand: u32,
    pub(crate) forwarding: bool,
    /// Whether any interface has packet rules.
    pub(crate) is_filtering: bool,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) fib: Fib,
    pub(crate) fib_v6: FibV6,
    pub(crate) hosts: Hosts,
    /// What routers told.
    pub(crate) learned: Learned,
    /// When the next address of ours counts as nobody else's, or something is due about routers.
    pub(crate) next_detection: Instant,
    pub(crate) owners: Owners,
    pub(crate) neighbors: Neighbors,
    pub(crate) reassembly: Reassembly,
    /// Next hops that share flows, and what spreads those.
    pub(crate) groups: Vec<Group>,
    pub(crate) spread_key: HashKey,
    // Connections: slab, index, and lists threaded through arrays by slot.
    pub(crate) flow_key: HashKey,
    pub(crate) flows: FlowTable,
    pub(crate) connections: Connections,
    pub(crate) timers: Wheel,
    pub(crate) ready: Line<READY>,
    pub(crate) time_waits: TimeWaits,
    pub(crate) listeners: Listeners,
    pub(crate) configs: TcpConfigs,
    pub(crate) udp: Udp,
    pub(crate) half_open_max: u32,
    pub(crate) number_key: SipKey,
    /// Until when a cookie of ours may come back (RFC 4987).
    pub(crate) cookies_until: Instant,
    pub(crate) ports: Ports,
    pub(crate) rng: Rng,
    pub(crate) spares: Spares,
    pub(crate) challenges: ChallengeAcks,
    pub(crate) icmp_limit: TokenBucket,
    pub(crate) echo_limit: TokenBucket,
    pub(crate) reset_limit: TokenBucket,
    /// What VLANs give out, before it is tagged, and which one is first.
    pub(crate) vlan_batch: Batch,
    pub(crate) vlan_turn: usize,
    /// Segments of the vector in hand.
    pub(crate) segments: Vec<Segment>,
    pub(crate) handoff: Ring<(WorkerId, InterfaceId, Packet)>,
    pub(crate) messages: Ring<(Target, Message)>,
    pub(crate) rx_pool: Pool,
    pub(crate) tx_pool: Pool,
    pub(crate) counters: Arc<StackCounters>,
}

impl Stack {
    /// A stack with all of its memory. Worker 0's announces every address on its link.
    ///
    /// # Panics
    /// When an interface's id is not its position: only our own code can cause that.
    #[must_use]
    pub fn new(config: StackConfig, rx_pool: Pool, tx_pool: Pool, seed: u64) -> Self {
        for (at, interface) in config.interfaces.iter().enumerate() {
            assert_eq!(interface.id.index(), at, "an interface's id is its position");
        }
        let mut rng = Rng::new(seed);
        let vlans = config.interfaces.iter().map(|_| VlanCounters::default()).collect();
        let connections = config.connections_max;
        let flow_key = HashKey::new(config.secrets.flow);
        let egress_max = config.egress_queue_max;
        let mut hosts = Hosts::new(hosts_max(&config), flow_key);
        let spread_key = HashKey::new(config.secrets.owner);
        let (fib, fib_v6, groups) = routes(&config, &mut hosts, &spread_key);
        let ports = Ports::new(&config.upstream_ports, config.worker, config.workers);
        let mut stack = Self {
            worker: config.worker,
            workers: config.workers.max(1),
            now: Instant::ZERO,
            pressure: rx_pool.pressure(),
            next_look: Instant::ZERO,
            shed_hand: 0,
            forwarding: config.forwarding,
            is_filtering: false,
            interfaces: config
                .interfaces
                .into_iter()
                .map(|interface| Interface::new(interface, egress_max, &mut hosts))
                .collect(),
            fib,
            fib_v6,
            hosts,
            learned: Learned::default(),
            next_detection: Instant::ZERO,
            owners: Owners::new(config.secrets.owner, config.workers, config.upstream_ports),
            neighbors: Neighbors::new(
                config.neighbors_max.max(1),
                config.neighbor_queue_max,
                config.parked_max,
                flow_key,
            ),
            groups,
            spread_key,
            reassembly: Reassembly::new(
                config.reassembly_datagrams_max,
                config.reassembly_buffers_max.min(rx_pool.capacity() / REASSEMBLY_SHARE),
                flow_key,
            ),
            flow_key,
            flows: FlowTable::new(connections.saturating_add(config.time_wait_max)),
            connections: connections_slab(connections),
            timers: Wheel::new(connections, YOUNG_MAX),
            ready: Line::new(),
            time_waits: TimeWaits::new(config.time_wait_max),
            listeners: Listeners::new(config.listeners_max),
            configs: TcpConfigs::new(),
            udp: Udp::new(
                config.udp_flows_max,
                config.datagrams_max,
                config.listeners_max,
                rng.next_u64() as u16,
            ),
            half_open_max: config.half_open_max,
            number_key: SipKey::new(config.secrets.iss),
            cookies_until: Instant::ZERO,
            ports,
            spares: Spares::new(connections),
            challenges: ChallengeAcks::new(HashKey::new([rng.next_u64(), rng.next_u64()])),
            rng,
            icmp_limit: TokenBucket::new(config.icmp_errors_per_second),
            echo_limit: TokenBucket::new(config.icmp_echoes_per_second),
            reset_limit: TokenBucket::new(config.resets_per_second),
            vlan_batch: Batch::with_capacity(2 * BURST),
            vlan_turn: 0,
            segments: Vec::with_capacity(BURST),
            handoff: Ring::with_capacity(config.handoff_queue_max as usize),
            messages: Ring::with_capacity(config.message_queue_max as usize),
            rx_pool,
            tx_pool,
            counters: Arc::new(StackCounters { vlans, ..StackCounters::default() }),
        };
        if stack.speaks_arp() {
            stack.announce();
            stack.detect_duplicates();
        } else {
            stack.trust_addresses();
        }
        stack
    }

    /// Takes in the packets of a receive queue, all of them. What belongs to another worker waits
    /// for [`Stack::pop_handoff`].
    pub fn handle_batch(&mut self, interface: InterfaceId, batch: &mut Batch, now: Instant) {
        self.begin_input(now);
        self.handle_vectors(interface, batch, Arrival::Device, now);
    }

    /// Takes in a packet that another worker found to be ours.
    pub fn handle_steered(&mut self, interface: InterfaceId, packet: Packet, now: Instant) {
        self.begin_input(now);
        self.counters.steered.increment();
        self.counters.packets_in.increment();
        let Some(known) = self.interfaces.get(interface.index()) else {
            return self.note(Err(DropReason::InterfaceUnknown));
        };
        let mut vector = Vector::new(known, Arrival::Steered, now);
        self.handle_packet(packet, &mut vector);
        self.end_vector(&mut vector);
        self.handle_segments(now);
        self.handle_datagrams(now);
    }

    /// Does everything that is due at `now`.
    pub fn handle_timers(&mut self, now: Instant) {
        self.begin_input(now);
        self.timers.advance(&mut self.connections, now);
        self.handle_connection_timers(now);
        self.handle_neighbor_timers(now);
        self.handle_reassembly_timers(now);
        self.handle_time_wait_timers(now);
        if now >= self.next_detection {
            self.handle_detection(now);
        }
    }

    /// When [`Stack::handle_timers`] wants to be called next; may be earlier than needed.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        self.timers
            .next_deadline()
            .min(self.neighbors.next_deadline())
            .min(self.reassembly.next_deadline())
            .min(self.time_wait_deadline())
            .min(self.next_detection)
    }

    /// The stack's counters, to be read by anybody.
    #[must_use]
    pub fn counters(&self) -> &Arc<StackCounters> {
        &self.counters
    }

    /// Which worker's stack this is.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// The pool that segments are built in.
    #[must_use]
    pub fn tx_pool(&self) -> &Pool {
        &self.tx_pool
    }

    /// The pool that packets arrive in.
    #[must_use]
    pub fn rx_pool(&self) -> &Pool {
        &self.rx_pool
    }

    fn begin_input(&mut self, now: Instant) {
        self.now = now;
        self.look_at_memory(now);
    }

    fn handle_vectors(
        &mut self,
        interface: InterfaceId,
        batch: &mut Batch,
        arrival: Arrival,
        now: Instant,
    ) {
        self.counters.packets_in.add(batch.len() as u64);
        let Some(known) = self.interfaces.get(interface.index()) else {
            for packet in batch.drain() {
                drop(packet);
                self.note(Err(DropReason::InterfaceUnknown));
            }
            return;
        };
        let mut vector = Vector::new(known, arrival, now);
        if self.is_filtering && arrival == Arrival::Device {
            self.filter(interface.0, batch);
        }
        while !batch.is_empty() {
            for packet in batch.take(BURST) {
                self.handle_packet(packet, &mut vector);
            }
            self.end_vector(&mut vector);
            self.handle_segments(now);
            self.handle_datagrams(now);
        }
    }

    /// Neighbours have one writer.
    #[inline]
    pub(crate) fn speaks_arp(&self) -> bool {
        self.worker == WorkerId(0)
    }

    /// Whether an address is one of ours.
    pub(crate) fn is_local(&self, address: Ipv4Addr) -> bool {
        matches!(self.fib.find(address), Some(NextHop::Local { .. }))
    }
}

/// Timers of connections that are young at a time: a tick is a thousand microseconds.
const YOUNG_MAX: u32 = 4_096;

/// The table of connections, of which every segment touches another one.
fn connections_slab(limit: u32) -> Connections {
    let slab = Slab::new(limit, limit);
    prefer_huge_pages(slab.memory());
    slab
}

/// IPv6 hosts that can be needed at a time; none where no interface speaks IPv6.
fn hosts_max(config: &StackConfig) -> u32 {
    let own: usize = config.interfaces.iter().map(|interface| interface.addresses.len() + 1).sum();
    let is_v6 = |interface: &InterfaceConfig| interface.addresses.iter().any(|(a, _)| a.is_ipv6());
    if !config.interfaces.iter().any(is_v6) {
        return 0;
    }
    // A connection may need its peer and a router that nobody else needs; a packet in hand, its
    // source.
    let routers = config.routes.iter().map(|route| route.via.len()).sum::<usize>();
    (config.connections_max + config.time_wait_max)
        .saturating_add(config.neighbors_max)
        .saturating_add(config.udp_flows_max)
        .saturating_add(config.datagrams_max)
        .saturating_add((own + routers + 2 * BURST) as u32)
}

/// All routes: our addresses, their subnets and broadcast addresses, and the configured ones, which
/// come first in so far as they may say something else about a subnet of ours.
fn routes(config: &StackConfig, hosts: &mut Hosts, key: &HashKey) -> (Fib, FibV6, Vec<Group>) {
    let (mut routes, mut routes_v6) = (Vec::new(), Vec::new());
    let mut groups = Vec::new();
    for (at, interface) in config.interfaces.iter().enumerate() {
        let at = at as u16;
        let (local, connected) =
            (NextHop::Local { interface: at }, NextHop::Connected { interface: at });
        for (address, prefix_len) in &interface.addresses {
            match *address {
                IpAddr::V4(address) => {
                    routes.push(Route { prefix: address, prefix_len: 32, next_hop: local });
                    subnet(&mut routes, at, address, *prefix_len);
                }
                IpAddr::V6(prefix) => {
                    routes_v6.push(RouteV6 { prefix, prefix_len: 128, next_hop: local });
                    let prefix_len = *prefix_len;
                    routes_v6.push(RouteV6 { prefix, prefix_len, next_hop: connected });
                }
            }
        }
    }
    // An address of ours is local, whatever a subnet's ends say.
    routes.sort_by_key(|route| !matches!(route.next_hop, NextHop::Local { .. }));
    for RouteConfig { to: (prefix, prefix_len), via, interface: link } in &config.routes {
        let hops = via.iter().filter(|gateway| gateway.is_ipv4() == prefix.is_ipv4());
        let hops: Vec<_> = hops.filter_map(|gateway| hop(config, hosts, *gateway, *link)).collect();
        let next_hop = match hops[..] {
            [] => continue,
            [(interface, _, gateway)] => NextHop::Via { interface, gateway },
            _ => {
                groups.push(Group::new(hops, key));
                NextHop::Group { group: groups.len() as u16 - 1 }
            }
        };
        let prefix_len = *prefix_len;
        match *prefix {
            IpAddr::V4(prefix) => routes.push(Route { prefix, prefix_len, next_hop }),
            IpAddr::V6(prefix) => routes_v6.push(RouteV6 { prefix, prefix_len, next_hop }),
        }
    }
    (Fib::new(routes), FibV6::new(routes_v6), groups)
}

/// A router and its interface: the one that is named, or that reaches it by the longest prefix.
fn hop(
    config: &StackConfig,
    hosts: &mut Hosts,
    gateway: IpAddr,
    link: Option<InterfaceId>,
) -> Option<(u16, IpAddr, Host)> {
    let links = (0u16..).zip(&config.interfaces);
    let nearest = links
        .filter_map(|(at, interface)| reaches(interface, gateway).map(|len| (len, at)))
        .max_by_key(|(len, at)| (*len, std::cmp::Reverse(*at)));
    let interface = match link {
        Some(link) => link.0,
        None => nearest?.1,
    };
    let host = match gateway {
        IpAddr::V4(gateway) => gateway.into(),
        // Kept for good: routes do not change.
        IpAddr::V6(gateway) => hosts.acquire(gateway, zone_of(gateway, interface))?,
    };
    Some((interface, gateway, host))
}

fn subnet(routes: &mut Vec<Route>, interface: u16, address: Ipv4Addr, prefix_len: u8) {
    let next_hop = NextHop::Connected { interface };
    routes.push(Route { prefix: address, prefix_len, next_hop });
    // RFC 3021: a link of two has no broadcast address.
    if prefix_len <= 30 {
        let network = mask(address, prefix_len);
        let host_bits = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
        let last = Ipv4Addr::from_bits(network.to_bits() | host_bits);
        let next_hop = NextHop::Broadcast { interface };
        routes.push(Route { prefix: last, prefix_len: 32, next_hop });
        routes.push(Route { prefix: network, prefix_len: 32, next_hop });
    }
}

/// The longest prefix of an interface that a gateway lies in.
fn reaches(interface: &InterfaceConfig, gateway: IpAddr) -> Option<u8> {
    let holds = |(own, len): &&(IpAddr, u8)| match (*own, gateway) {
        (IpAddr::V4(own), IpAddr::V4(gateway)) => mask(own, *len) == mask(gateway, *len),
        (IpAddr::V6(own), IpAddr::V6(gateway)) => {
            fib_v6::mask(own, *len) == fib_v6::mask(gateway, *len)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    };
    interface.addresses.iter().filter(holds).map(|(_, len)| *len).max()
}
