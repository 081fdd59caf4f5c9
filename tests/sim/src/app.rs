//! A host with our stack and a small application on it.

use std::net::{IpAddr, SocketAddr};

use sluice_base::{ConnId, Instant, InterfaceId, ListenerId};
use sluice_buf::{Batch, Chain, Device, LinkConfig, LinkHost, LinkPeer, Pool, link};
use sluice_stack::{InterfaceConfig, Ready, Secrets, Stack, StackConfig, UdpEvent};
use sluice_wire::MacAddress;

/// Buffers of each pool of an application host.
const BUFFERS: u32 = 4_096;
/// Frames in flight at a host's port.
const DEPTH: usize = 256;

/// What an application does when its stack tells it something.
pub trait App {
    /// Something happened on a connection.
    fn handle(&mut self, conn: ConnId, ready: Ready, io: &mut Io<'_>);
    /// Something happened with datagrams.
    fn handle_datagram(&mut self, event: UdpEvent, io: &mut Io<'_>);
    /// Time has passed; called once per step, after events.
    fn poll(&mut self, io: &mut Io<'_>);
    /// When it wants to be polled at the latest.
    fn next_deadline(&self) -> Instant;
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
    /// Sends a copy of `bytes`; false if no memory is left (the connection is aborted then).
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        match Chain::copy_from(bytes, self.pool) {
            Ok(mut chain) => {
                self.stack.write(conn, &mut chain, self.now);
                true
            }
            Err(_) => {
                self.stack.abort(conn, self.now);
                false
            }
        }
    }

    /// Takes everything that arrived, and gives its memory back.
    pub fn receive(&mut self, conn: ConnId, into: &mut Vec<u8>) -> usize {
        let chain = self.stack.read(conn, usize::MAX);
        let count = chain.len();
        for piece in chain.pieces() {
            into.extend_from_slice(piece);
        }
        drop(chain);
        if count > 0 {
            self.stack.credit(conn, count, self.now);
        }
        count
    }
}

/// A host: one interface, one stack, one application.
pub struct AppHost<A> {
    /// The application.
    pub app: A,
    /// Its stack.
    pub stack: Stack,
    pool: Pool,
    census: [Pool; 2],
    device: LinkHost,
    received: Batch,
    to_send: Batch,
}

/// The address of an application host's port, made of its IP address.
#[must_use]
pub fn mac_of(address: impl Into<IpAddr>) -> MacAddress {
    match address.into() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            MacAddress([2, 0, a, b, c, d])
        }
        IpAddr::V6(address) => {
            let [_, net, .., last] = address.octets();
            MacAddress([2, 6, 0, 0, net, last])
        }
    }
}

/// The only interface of an application host.
pub const PORT: InterfaceId = InterfaceId(0);

impl<A: App> AppHost<A> {
    /// A host at `address`, a /24 or a /64, and the network's end of its port.
    pub fn new(
        app: A,
        address: IpAddr,
        seed: u64,
        wire: &Pool,
        link_config: LinkConfig,
    ) -> (Self, LinkPeer) {
        Self::with_buffers(app, address, seed, wire, link_config, BUFFERS)
    }

    /// The same with so many buffers in each pool; windows grow to an eighth of them.
    pub fn with_buffers(
        app: A,
        address: IpAddr,
        seed: u64,
        wire: &Pool,
        link_config: LinkConfig,
        buffers: u32,
    ) -> (Self, LinkPeer) {
        let (rx, tx) = (Pool::heap(buffers), Pool::heap(buffers));
        let mac = mac_of(address);
        let link_config = LinkConfig { depth: DEPTH, ..link_config };
        let (device, peer) = link(link_config, (mac.0, rx.share()), (mac.0, wire.share()));
        let config = StackConfig {
            interfaces: vec![InterfaceConfig {
                id: PORT,
                mac,
                mtu: 1500,
                addresses: vec![(address, if address.is_ipv4() { 24 } else { 64 })],
                capabilities: device.capabilities(),
            }],
            secrets: Secrets { flow: [seed, 1], iss: [seed, 2], owner: [seed, 3] },
            forwarding: false,
            ..StackConfig::default()
        };
        let census = [rx.share(), tx.share()];
        let pool = tx.share();
        let stack = Stack::new(config, rx, tx, seed);
        let batches = (Batch::burst(), Batch::with_capacity(64));
        let host =
            Self { app, stack, pool, census, device, received: batches.0, to_send: batches.1 };
        (host, peer)
    }

    /// Listens; panics if the address is taken, which only a mistake in the scenario can cause.
    pub fn listen(&mut self, address: SocketAddr) {
        let id = ListenerId(u32::from(address.port()));
        self.stack
            .listen(id, address, &sluice_tcp::Config::default())
            .expect("the scenario gives every listener an address of its own");
    }

    /// Lets datagrams come; panics as [`Self::listen`] does.
    pub fn bind(&mut self, address: SocketAddr) {
        let id = ListenerId(u32::from(address.port()));
        self.stack.bind(id, address).expect("the scenario gives every listener an address");
    }

    /// Everything there is to do now; true if there was something.
    pub fn step(&mut self, now: Instant) -> bool {
        let mut worked = self.device.rx_burst(&mut self.received) > 0;
        if worked {
            self.stack.handle_batch(PORT, &mut self.received, now);
        }
        if self.stack.next_deadline() <= now {
            self.stack.handle_timers(now);
        }
        while let Some((conn, ready)) = self.stack.next_ready() {
            let mut io = Io { stack: &mut self.stack, pool: &self.pool, now };
            self.app.handle(conn, ready, &mut io);
            worked = true;
        }
        while let Some(event) = self.stack.next_datagram() {
            let mut io = Io { stack: &mut self.stack, pool: &self.pool, now };
            self.app.handle_datagram(event, &mut io);
            worked = true;
        }
        self.app.poll(&mut Io { stack: &mut self.stack, pool: &self.pool, now });
        loop {
            let room = self.device.tx_room().min(self.to_send.room());
            self.stack.transmit(PORT, room, &mut self.to_send, now);
            if self.to_send.is_empty() || self.device.tx_burst(&mut self.to_send) == 0 {
                return worked;
            }
            worked = true;
        }
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Instant {
        self.stack.next_deadline().min(self.app.next_deadline())
    }

    /// Pools to be counted when the host is gone.
    #[must_use]
    pub fn census(&self) -> [Pool; 2] {
        [self.census[0].share(), self.census[1].share()]
    }
}

impl<A> AppHost<A> {
    /// Lets the application do something of its own accord.
    pub fn with_io(&mut self, now: Instant, f: impl FnOnce(&mut A, &mut Io<'_>)) {
        f(&mut self.app, &mut Io { stack: &mut self.stack, pool: &self.pool, now });
    }
}
