//! Stacks joined by wires in memory, on a virtual clock.
//!
//! A wire copies, like a NIC: what one host sent lies in buffers of the other's receive pool
//! afterwards. A frame that leaves with work for the device arrives as `virtio` would bring it:
//! checksum partial, or merged.

#![allow(dead_code, reason = "every test file uses another part")]

pub(crate) mod v6;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sluice_base::{ConnId, Instant, InterfaceId, ListenerId, WorkerId};
use sluice_buf::{
    Batch, Capabilities, Gso, L4Checksum, Packet, Pool, RxChecksum, chain_nodes_in_use,
};
use sluice_stack::{
    DropReason, InterfaceConfig, Ready, ReadySignals, RouteConfig, Secrets, Stack, StackConfig,
    Target,
};
use sluice_tcp::Config;
use sluice_wire::icmp::{self, IcmpMessage, Unreachable};
use sluice_wire::{
    EtherType, EthernetHeader, Flags, Frame, IpProtocol, Ipv4Header, MacAddress, SeqNumber,
    TcpHeader, VlanTags, tcp,
};

pub(crate) const IF0: InterfaceId = InterfaceId(0);
pub(crate) const IF1: InterfaceId = InterfaceId(1);
const BUFFERS: u32 = 4096;

/// A frame on a wire.
#[derive(Clone, Debug)]
pub(crate) struct OnWire {
    pub(crate) bytes: Vec<u8>,
    is_partial: bool,
    gso: u16,
}

impl OnWire {
    pub(crate) fn plain(bytes: Vec<u8>) -> Self {
        Self { bytes, is_partial: false, gso: 0 }
    }
}

/// One host: the stacks of its workers, and their pools.
pub(crate) struct Host {
    pub(crate) stacks: Vec<Stack>,
    pools: Vec<(Pool, Pool)>,
    /// To which worker the next frame of a queue goes: steering is wrong on purpose.
    next_queue: usize,
}

impl Host {
    pub(crate) fn stack(&mut self) -> &mut Stack {
        &mut self.stacks[0]
    }
}

struct Wire {
    ends: [(usize, InterfaceId); 2],
    latency: Duration,
}

type Filter = Box<dyn FnMut(&mut OnWire) -> bool>;

/// Hosts, wires and the clock.
pub(crate) struct Net {
    pub(crate) hosts: Vec<Host>,
    wires: Vec<Wire>,
    pub(crate) now: Instant,
    in_flight: BTreeMap<(Instant, u64), (usize, InterfaceId, OnWire)>,
    sequence: u64,
    /// Every frame, as tcpdump prints it, with who sent it.
    pub(crate) log: Vec<String>,
    pub(crate) keeps_log: bool,
    /// Whether a frame arrives; may change it.
    pub(crate) filter: Option<Filter>,
}

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

pub(crate) fn mac(host: u8, interface: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, host, interface])
}

/// An interface of host `host` with one /24 address.
pub(crate) fn interface(host: u8, id: u16, address: &str) -> InterfaceConfig {
    InterfaceConfig {
        id: InterfaceId(id),
        mac: mac(host, id as u8),
        mtu: 1500,
        addresses: vec![(ip(address).into(), 24)],
        capabilities: Capabilities { multi_segment: true, ..Capabilities::default() },
    }
}

pub(crate) fn config(interfaces: Vec<InterfaceConfig>) -> StackConfig {
    StackConfig {
        interfaces,
        secrets: Secrets { flow: [1, 2], iss: [3, 4], owner: [5, 6] },
        connections_max: 4096,
        time_wait_max: 2048,
        ..StackConfig::default()
    }
}

pub(crate) fn route(to: &str, len: u8, via: &str) -> RouteConfig {
    RouteConfig { to: (ip(to).into(), len), via: vec![ip(via).into()], interface: None }
}

/// A frame that carries `payload` to the host that ends in the last byte of `to`.
fn frame(from: &str, to: &str, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (ip(from), ip(to));
    let ethernet = EthernetHeader {
        destination: mac(to.octets()[3], 0),
        source: mac(99, 0),
        tags: VlanTags::None,
        ether_type: EtherType::Ipv4,
    };
    let mut frame = vec![0; 34];
    ethernet.emit(&mut frame);
    Ipv4Header::new(from, to, protocol, payload.len() as u16).emit(&mut frame[14..]);
    frame.extend_from_slice(payload);
    frame
}

/// A segment without data.
pub(crate) fn segment(from: (&str, u16), to: (&str, u16), seq: u32, flags: Flags) -> Vec<u8> {
    let (seq, window) = (SeqNumber(seq), 1_000);
    data_segment(from, to, &TcpHeader { seq, flags, window, ..TcpHeader::default() }, &[])
}

/// A segment with data; the ports of `header` do not matter.
pub(crate) fn data_segment(
    from: (&str, u16),
    to: (&str, u16),
    header: &TcpHeader,
    data: &[u8],
) -> Vec<u8> {
    let header = TcpHeader { src_port: from.1, dst_port: to.1, ..*header };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes);
    bytes.extend_from_slice(data);
    tcp::fill_checksum(ip(from.0), ip(to.0), &mut bytes);
    frame(from.0, to.0, IpProtocol::Tcp, &bytes)
}

/// An echo request without data.
pub(crate) fn ping(from: &str, to: &str) -> Vec<u8> {
    let mut message = vec![0; icmp::HEADER_LEN];
    IcmpMessage::EchoRequest { ident: 1, sequence: 1 }.emit(&mut message);
    icmp::fill_checksum(&mut message);
    let mut bytes = frame(from, to, IpProtocol::Icmp, &message);
    // To the router, whose station is not named after its address.
    bytes[..6].copy_from_slice(&mac(2, 0).0);
    bytes
}

/// An echo request with `len` bytes of data, for the station named after its address.
pub(crate) fn echo_request(from: &str, to: &str, sequence: u16, len: usize) -> Vec<u8> {
    let mut message = vec![0x5a; icmp::HEADER_LEN + len];
    IcmpMessage::EchoRequest { ident: 1, sequence }.emit(&mut message);
    icmp::fill_checksum(&mut message);
    frame(from, to, IpProtocol::Icmp, &message)
}

/// Somebody's word that a packet of `len` bytes, a segment of `to`'s with these ports and this
/// number, was larger than `mtu`.
pub(crate) fn too_big(
    from: &str,
    to: &str,
    ports: (u16, u16),
    seq: u32,
    len: u16,
    mtu: u16,
) -> Vec<u8> {
    let mut message = vec![0; icmp::HEADER_LEN + 28];
    IcmpMessage::DestinationUnreachable(Unreachable::FragmentationNeeded { mtu })
        .emit(&mut message);
    Ipv4Header::new(ip(to), ip(from), IpProtocol::Tcp, len - 20)
        .emit(&mut message[icmp::HEADER_LEN..]);
    message[28..30].copy_from_slice(&ports.0.to_be_bytes());
    message[30..32].copy_from_slice(&ports.1.to_be_bytes());
    message[32..36].copy_from_slice(&seq.to_be_bytes());
    icmp::fill_checksum(&mut message);
    frame(from, to, IpProtocol::Icmp, &message)
}

impl Net {
    pub(crate) fn new() -> Self {
        Self {
            hosts: Vec::new(),
            wires: Vec::new(),
            now: Instant::from_millis(1000),
            in_flight: BTreeMap::new(),
            sequence: 0,
            log: Vec::new(),
            keeps_log: true,
            filter: None,
        }
    }

    /// Adds a host with one stack per worker; returns its number.
    pub(crate) fn add(&mut self, config: &StackConfig) -> usize {
        let mut host = Host { stacks: Vec::new(), pools: Vec::new(), next_queue: 0 };
        for worker in 0..config.workers {
            let (rx, tx) = (Pool::heap(BUFFERS), Pool::heap(BUFFERS));
            let config = StackConfig { worker: WorkerId(worker), ..config.clone() };
            let seed = self.hosts.len() as u64 * 100 + u64::from(worker);
            let handles = (rx.share(), tx.share().with_reserve(BUFFERS / 8));
            host.stacks.push(Stack::new(config, handles.0, handles.1, seed));
            host.pools.push((rx, tx));
        }
        self.hosts.push(host);
        self.hosts.len() - 1
    }

    pub(crate) fn join(&mut self, a: (usize, InterfaceId), b: (usize, InterfaceId)) {
        self.wires.push(Wire { ends: [a, b], latency: Duration::from_micros(50) });
    }

    /// Two hosts, 10.0.0.1 and 10.0.0.2, on one wire.
    pub(crate) fn pair() -> Self {
        Self::pair_of(&Capabilities { multi_segment: true, ..Capabilities::default() })
    }

    pub(crate) fn pair_of(capabilities: &Capabilities) -> Self {
        Self::pair_with(|interface| interface.capabilities = *capabilities, |_| {})
    }

    pub(crate) fn pair_with(
        change_interface: impl Fn(&mut InterfaceConfig),
        change: impl Fn(&mut StackConfig),
    ) -> Self {
        let mut net = Self::new();
        for host in 1..=2 {
            let mut interface = interface(host, 0, &format!("10.0.0.{host}"));
            change_interface(&mut interface);
            let mut config = config(vec![interface]);
            change(&mut config);
            net.add(&config);
        }
        net.join((0, IF0), (1, IF0));
        net
    }

    /// Host 0 (10.0.0.1), a router (10.0.0.254, 10.0.1.254) as host 1, host 2 (10.0.1.2).
    pub(crate) fn routed() -> Self {
        Self::routed_with(|_| {})
    }

    pub(crate) fn routed_with(change_router: impl Fn(&mut StackConfig)) -> Self {
        let mut net = Self::new();
        let mut left = config(vec![interface(1, 0, "10.0.0.1")]);
        left.routes = vec![route("0.0.0.0", 0, "10.0.0.254")];
        let mut right = config(vec![interface(3, 0, "10.0.1.2")]);
        right.routes = vec![route("0.0.0.0", 0, "10.0.1.254")];
        let mut router = config(vec![interface(2, 0, "10.0.0.254"), interface(2, 1, "10.0.1.254")]);
        change_router(&mut router);
        net.add(&left);
        net.add(&router);
        net.add(&right);
        net.join((0, IF0), (1, IF0));
        net.join((1, IF1), (2, IF0));
        net
    }

    pub(crate) fn stack(&mut self, host: usize) -> &mut Stack {
        self.hosts[host].stack()
    }

    pub(crate) fn drops(&self, host: usize, reason: DropReason) -> u64 {
        self.hosts[host].stacks.iter().map(|stack| stack.counters().drops.value(reason)).sum()
    }

    /// Gives a frame to a host as if it had come over the wire.
    pub(crate) fn inject(&mut self, host: usize, interface: InterfaceId, bytes: &[u8]) {
        self.deliver(host, interface, &OnWire::plain(bytes.to_vec()));
        self.transmit();
    }

    fn deliver(&mut self, host: usize, interface: InterfaceId, frame: &OnWire) {
        let now = self.now;
        let host = &mut self.hosts[host];
        host.next_queue = (host.next_queue + 1) % host.stacks.len();
        let worker = host.next_queue;
        let Some(packet) = receive(&host.pools[worker].0, frame) else { return };
        let mut batch = Batch::burst();
        batch.push(packet);
        host.stacks[worker].handle_batch(interface, &mut batch, now);
        host.between_workers(now);
    }

    /// Everything that can leave goes onto the wires.
    pub(crate) fn transmit(&mut self) {
        // What one worker asks of another may leave by that one.
        while self.transmit_once() {}
    }

    fn transmit_once(&mut self) -> bool {
        let now = self.now;
        let (mut sent, mut any) = (Vec::new(), false);
        for (number, host) in self.hosts.iter_mut().enumerate() {
            host.between_workers(now);
            for (wire, (end, interface)) in ends_of(&self.wires, number) {
                for stack in &mut host.stacks {
                    let mut out = Batch::with_capacity(256);
                    stack.transmit(interface, 256, &mut out, now);
                    for packet in out.drain() {
                        sent.push((wire, end, number, frame_of(&packet)));
                    }
                }
            }
            any |= host.between_workers(now);
        }
        any |= !sent.is_empty();
        for (wire, end, number, mut frame) in sent {
            if self.keeps_log {
                self.log.push(format!("{number} {}", Frame(&frame.bytes)));
            }
            if self.filter.as_mut().is_some_and(|filter| !filter(&mut frame)) {
                continue;
            }
            let (host, interface) = self.wires[wire].ends[1 - end];
            let due = now + self.wires[wire].latency;
            self.sequence += 1;
            self.in_flight.insert((due, self.sequence), (host, interface, frame));
        }
        any
    }

    /// Goes on to the next thing that happens; false if nothing will before `limit`.
    pub(crate) fn step(&mut self, limit: Instant) -> bool {
        self.transmit();
        let arrival = self.in_flight.keys().next().map_or(Instant::NEVER, |(due, _)| *due);
        let timers = self.hosts.iter().flat_map(|host| &host.stacks).map(Stack::next_deadline);
        let next = timers.min().unwrap_or(Instant::NEVER).min(arrival);
        if next > limit {
            self.now = self.now.max(limit);
            return false;
        }
        self.now = self.now.max(next);
        while let Some(entry) = self.in_flight.first_entry().filter(|e| e.key().0 <= self.now) {
            let (host, interface, frame) = entry.remove();
            self.deliver(host, interface, &frame);
        }
        for host in &mut self.hosts {
            for stack in &mut host.stacks {
                stack.handle_timers(self.now);
            }
        }
        self.transmit();
        true
    }

    /// Runs for a while.
    pub(crate) fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    /// Runs until nothing happens any more for a millisecond (timers further ahead do not count).
    pub(crate) fn settle(&mut self) {
        while self.step(self.now + Duration::from_millis(1)) {}
    }

    /// Everything that has become ready on a host, with its worker.
    pub(crate) fn ready(&mut self, host: usize) -> Vec<(usize, ConnId, Ready)> {
        let mut all = Vec::new();
        for (worker, stack) in self.hosts[host].stacks.iter_mut().enumerate() {
            while let Some((id, ready)) = stack.next_ready() {
                all.push((worker, id, ready));
            }
        }
        all
    }

    pub(crate) fn listen(&mut self, host: usize, address: &str) {
        let address = at(address);
        for stack in &mut self.hosts[host].stacks {
            let id = ListenerId(u32::from(address.port()));
            stack.listen(id, address, &Config::default()).expect("a free address");
        }
    }

    pub(crate) fn connect(&mut self, host: usize, address: &str) -> ConnId {
        let now = self.now;
        let stack = self.stack(host);
        stack.connect(at(address), &Config::default(), 7, now).expect("a connection")
    }

    pub(crate) fn write(&mut self, host: usize, id: ConnId, bytes: &[u8]) -> usize {
        let now = self.now;
        let stack = self.stack(host);
        let chain = sluice_buf::Chain::copy_from(bytes, stack.tx_pool());
        stack.write(id, &mut chain.expect("buffers"), now)
    }

    pub(crate) fn read(&mut self, host: usize, id: ConnId) -> Vec<u8> {
        let now = self.now;
        let stack = self.stack(host);
        let bytes = stack.read(id, usize::MAX).to_vec();
        stack.credit(id, bytes.len(), now);
        bytes
    }

    /// Sends back what arrives and closes when the peer does; one round. Returns how many closed.
    pub(crate) fn echo(&mut self, host: usize) -> usize {
        let mut closed = 0;
        let now = self.now;
        for stack in &mut self.hosts[host].stacks {
            while let Some((id, ready)) = stack.next_ready() {
                if ready.signals.contains(ReadySignals::READABLE) {
                    let mut bytes = stack.read(id, usize::MAX);
                    let len = bytes.len();
                    stack.write(id, &mut bytes, now);
                    stack.credit(id, len, now);
                }
                if ready.signals.contains(ReadySignals::PEER_CLOSED) {
                    stack.close(id, now);
                }
                closed += usize::from(ready.signals.contains(ReadySignals::CLOSED));
            }
        }
        closed
    }

    /// The frames of the log that contain `text`.
    pub(crate) fn logged(&self, text: &str) -> Vec<&String> {
        self.log.iter().filter(|line| line.contains(text)).collect()
    }

    /// Every buffer is home once the stacks are gone, and every node.
    pub(crate) fn census(self) {
        for host in self.hosts {
            drop(host.stacks);
            for (rx, tx) in &host.pools {
                assert_eq!((rx.in_use(), tx.in_use()), (0, 0), "every buffer is home");
            }
        }
        assert_eq!(chain_nodes_in_use(), 0, "no chain node is held");
    }

    /// As [`Net::census`], while the stacks live on: nothing may be parked in them either.
    pub(crate) fn census_idle(self) {
        for host in &self.hosts {
            for (rx, tx) in &host.pools {
                assert_eq!((rx.in_use(), tx.in_use()), (0, 0), "an idle stack holds no buffer");
            }
        }
        self.census();
    }
}

impl Host {
    /// Carries packets and messages between the workers until there are none.
    fn between_workers(&mut self, now: Instant) -> bool {
        let mut any = false;
        loop {
            let (mut packets, mut messages) = (Vec::new(), Vec::new());
            for (worker, stack) in self.stacks.iter_mut().enumerate() {
                packets.extend(std::iter::from_fn(|| stack.pop_handoff()));
                let said = std::iter::from_fn(|| stack.pop_message());
                messages.extend(said.map(|(target, message)| (worker, target, message)));
            }
            if packets.is_empty() && messages.is_empty() {
                return any;
            }
            any = true;
            for (from, target, message) in messages {
                for worker in 0..self.stacks.len() {
                    let is_for = match target {
                        Target::All => worker != from,
                        Target::Worker(id) => worker == id.index(),
                    };
                    if is_for {
                        self.stacks[worker].handle_message(message, now);
                    }
                }
            }
            for (owner, interface, packet) in packets {
                let packet = packet.try_into_send().expect("nobody else refers to it");
                self.stacks[owner.index()].handle_steered(interface, packet.into_packet(), now);
            }
        }
    }
}

fn ends_of(wires: &[Wire], host: usize) -> Vec<(usize, (usize, InterfaceId))> {
    let mut ends = Vec::new();
    for (number, wire) in wires.iter().enumerate() {
        for (end, (other, interface)) in wire.ends.iter().enumerate() {
            if *other == host {
                ends.push((number, (end, *interface)));
            }
        }
    }
    ends
}

fn frame_of(packet: &Packet) -> OnWire {
    let offload = packet.tx_offload();
    let mut bytes = vec![0; packet.len()];
    packet.copy_to(0, &mut bytes);
    OnWire { bytes, is_partial: offload.l4_checksum != L4Checksum::None, gso: offload.segment_size }
}

fn receive(pool: &Pool, frame: &OnWire) -> Option<Packet> {
    let mut chunks = frame.bytes.chunks(2000);
    let mut packet = pool.alloc().ok()?;
    assert!(packet.append_bytes(chunks.next().unwrap_or_default()));
    for chunk in chunks {
        let mut more = pool.alloc().ok()?;
        assert!(more.append_bytes(chunk));
        packet.append_packet(more);
    }
    if frame.is_partial {
        packet.set_rx_checksum(RxChecksum::Partial);
    }
    if frame.gso > 0 {
        packet.set_gso(Gso { segment_size: frame.gso });
    }
    Some(packet)
}
