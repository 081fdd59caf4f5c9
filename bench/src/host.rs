//! A host with our stack and a small application, at the copying end of a link or on a device.

use std::net::{Ipv4Addr, SocketAddrV4};

use sluice_base::{ConnId, Instant, InterfaceId, ListenerId};
use sluice_buf::{Batch, Chain, Device, LinkPeer, Pool};
use sluice_stack::{InterfaceConfig, Ready, RouteConfig, Secrets, Stack, StackConfig};
use sluice_wire::MacAddress;

/// What an application does when its stack tells it something.
pub trait App {
    /// Something happened on a connection.
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>);
    /// Called once per step, after what happened.
    fn poll(&mut self, io: &mut Io<'_>);
}

/// What an application may do.
pub struct Io<'a> {
    /// The verbs.
    pub stack: &'a mut Stack,
    /// For bytes that it sends.
    pub pool: &'a Pool,
    /// The time.
    pub now: Instant,
}

impl Io<'_> {
    /// Sends a copy of `bytes`.
    ///
    /// # Panics
    /// When the host's memory runs out: the scenario gave it too little.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        let copy = Chain::copy_from(bytes, self.pool);
        let mut chain = copy.expect("a host has memory for what its scenario sends");
        self.stack.write(conn, &mut chain, self.now);
    }

    /// Shows what arrived to `see`, piece by piece, and gives its memory back; says how much it was.
    pub fn receive(&mut self, conn: ConnId, mut see: impl FnMut(&[u8])) -> usize {
        let chain = self.stack.read(conn, usize::MAX);
        let count = chain.len();
        for piece in chain.pieces() {
            see(piece);
        }
        drop(chain);
        if count > 0 {
            self.stack.credit(conn, count, self.now);
        }
        count
    }
}

/// A host: one interface, one stack, one application.
pub struct Host<A, D = LinkPeer> {
    /// The application.
    pub app: A,
    stack: Stack,
    pool: Pool,
    received: Batch,
    to_send: Batch,
    device: D,
}

/// Where a host is.
#[derive(Clone, Copy, Debug)]
pub struct HostConfig {
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of its network.
    pub prefix_len: u8,
    /// Its way out.
    pub gateway: Ipv4Addr,
    /// Connections that it has room for.
    pub connections_max: u32,
}

/// The address of a port, made of its IP address.
#[must_use]
pub fn mac_of(address: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = address.octets();
    MacAddress([2, 0, a, b, c, d])
}

/// The only interface of a host.
const PORT: InterfaceId = InterfaceId(0);

impl<A: App> Host<A> {
    /// A host at `address`/24 on `device`, with `gateway` as its way out; `pool` is what the device
    /// copies into, too.
    #[must_use]
    pub fn new(
        app: A,
        address: Ipv4Addr,
        gateway: Ipv4Addr,
        connections_max: u32,
        pool: &Pool,
        device: LinkPeer,
    ) -> Self {
        let config = HostConfig { address, prefix_len: 24, gateway, connections_max };
        Self::with_mac(app, &config, pool, device, mac_of(address))
    }
}

impl<A: App, D: Device> Host<A, D> {
    /// A host on a device that has an address of its own; `pool` is what the device receives into.
    #[must_use]
    pub fn on(app: A, config: &HostConfig, pool: &Pool, device: D) -> Self {
        let mac = MacAddress(device.mac());
        Self::with_mac(app, config, pool, device, mac)
    }

    fn with_mac(app: A, at: &HostConfig, pool: &Pool, device: D, mac: MacAddress) -> Self {
        let route = RouteConfig {
            to: (Ipv4Addr::UNSPECIFIED.into(), 0),
            via: vec![at.gateway.into()],
            interface: None,
        };
        let config = StackConfig {
            interfaces: vec![InterfaceConfig {
                id: PORT,
                mac,
                mtu: 1500,
                addresses: vec![(at.address.into(), at.prefix_len)],
                capabilities: device.capabilities(),
            }],
            routes: vec![route],
            secrets: Secrets { flow: [3, 1], iss: [3, 2], owner: [3, 3] },
            forwarding: false,
            // Who floods a port that nobody has is not to be told.
            icmp_errors_per_second: 0,
            connections_max: at.connections_max,
            ..StackConfig::default()
        };
        let stack = Stack::new(config, pool.share(), pool.share(), u64::from(at.address.to_bits()));
        Self {
            app,
            stack,
            pool: pool.share(),
            received: Batch::burst(),
            to_send: Batch::with_capacity(64),
            device,
        }
    }

    /// Listens.
    ///
    /// # Panics
    /// If the address is taken: the scenario's mistake.
    pub fn listen(&mut self, address: SocketAddrV4, config: &sluice_tcp::Config) {
        let id = ListenerId(u32::from(address.port()));
        self.stack.listen(id, address, config).expect("an address of its own");
    }

    /// Everything there is to do now; true if there was something.
    pub fn step(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while self.device.rx_burst(&mut self.received) > 0 {
            self.stack.handle_batch(PORT, &mut self.received, now);
            worked = true;
        }
        if self.stack.next_deadline() <= now {
            self.stack.handle_timers(now);
        }
        let mut io = Io { stack: &mut self.stack, pool: &self.pool, now };
        while let Some((conn, ready)) = io.stack.next_ready() {
            self.app.handle(conn, ready, &mut io);
            worked = true;
        }
        self.app.poll(&mut io);
        worked | self.transmit(now)
    }

    /// Sends what there is to send, as far as the device takes it; true if there was something.
    fn transmit(&mut self, now: Instant) -> bool {
        let mut sent = false;
        loop {
            let room = self.device.tx_room().min(self.to_send.room());
            self.stack.transmit(PORT, room, &mut self.to_send, now);
            if self.to_send.is_empty() || self.device.tx_burst(&mut self.to_send) == 0 {
                return sent;
            }
            sent = true;
        }
    }

    /// Resets every connection, and sends that.
    pub fn abort_all(&mut self, now: Instant) {
        let all: Vec<ConnId> = self.stack.flows().map(|flow| flow.id).collect();
        for conn in all {
            self.stack.abort(conn, now);
        }
        self.transmit(now);
    }

    /// Packets that arrived.
    #[must_use]
    pub fn packets_received(&self) -> u64 {
        self.device.statistics().rx_packets
    }
}
