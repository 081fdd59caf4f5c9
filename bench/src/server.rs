//! A server's stack without a device, among however many connections.
//!
//! `Server::round` gives a [`Crowd`]'s frames to the stack as one vector, lets a small echo
//! application answer, and takes what the stack sends: only that part ([`serve_vector`]) is measured.

use std::net::Ipv4Addr;

use sluice_arch::cycles;
use sluice_base::{Instant, InterfaceId, ListenerId, Rng};
use sluice_buf::{BURST, Batch, Capabilities, Packet, Pool};
use sluice_stack::{InterfaceConfig, RouteConfig, Secrets, Stack, StackConfig};
use sluice_tcp::Config;

use crate::crowd::{Closer, Crowd, vouch};
use crate::host::mac_of;
use crate::world::without_interruptions;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const PORT: InterfaceId = InterfaceId(0);
const LISTEN: u16 = 7;
/// Nanoseconds per round: 32 packets, as under full load.
const ROUND_NANOS: u64 = 20_000;
const BUFFERS: u32 = 8_192;
/// Until no timer of a handshake is left.
const SETTLE_NANOS: u64 = 1_500_000_000;
/// Rounds without news after which a run has failed.
const IDLE_ROUNDS_MAX: u32 = 100_000;
/// Clients beside the idle ones, whose connections come and go.
const VISITORS: u32 = 65_536;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// 64 bytes each way on one of the connections that exist, picked at random.
    Exchange,
    /// From SYN to FIN with 64 bytes each way, the client closing first.
    Connection,
    /// The same, the server closing first: its TIME-WAIT table is full and used again.
    ConnectionTimeWait,
}

impl Unit {
    /// Every one, by name.
    pub const ALL: [(&'static str, Self); 3] = [
        ("exchange", Self::Exchange),
        ("connection", Self::Connection),
        ("connection-time-wait", Self::ConnectionTimeWait),
    ];

    fn closer(self) -> Option<Closer> {
        match self {
            Self::Exchange => None,
            Self::Connection => Some(Closer::Client),
            Self::ConnectionTimeWait => Some(Closer::Server),
        }
    }
}

/// A run that stopped making progress.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// Units until then.
    pub done: u64,
}

/// The stack, its clients and the clock.
///
/// Everything that holds packets goes before the pools.
pub struct Server {
    /// The clients: those that stay, then the visitors.
    pub crowd: Crowd,
    stack: Stack,
    arriving: Vec<Packet>,
    into: Batch,
    out: Batch,
    now: Instant,
    staying: u32,
    unit: Option<Unit>,
    /// Clients that stay and have asked for the first time.
    acquainted: u32,
    rng: Rng,
    /// Cycles of each round.
    beats: Vec<u64>,
    wire: Pool,
    _pools: [Pool; 2],
}

/// What the stack and its application do with one vector of packets. Known to the counting tool by
/// this name.
#[inline(never)]
pub fn serve_vector(
    stack: &mut Stack,
    into: &mut Batch,
    out: &mut Batch,
    closes: bool,
    now: Instant,
) {
    stack.handle_batch(PORT, into, now);
    if stack.next_deadline() <= now {
        stack.handle_timers(now);
    }
    while let Some((conn, ready)) = stack.next_ready() {
        if ready.readable() {
            let mut bytes = stack.read(conn, usize::MAX);
            let count = bytes.len();
            stack.write(conn, &mut bytes, now);
            stack.credit(conn, count, now);
            if closes {
                stack.close(conn, now);
            }
        }
        if ready.peer_closed() && !ready.closed() {
            stack.close(conn, now);
        }
    }
    let room = out.room();
    stack.transmit(PORT, room, out, now);
}

impl Server {
    /// A server with room for `connections_max`, and `staying` clients that will open and stay.
    ///
    /// # Panics
    /// Never: its address is its own.
    #[must_use]
    pub fn new(connections_max: u32, staying: u32, tcp: &Config) -> Self {
        let pools = [Pool::heap(BUFFERS), Pool::heap(BUFFERS)];
        let wire = Pool::heap(BUFFERS);
        let [rx, tx] = &pools;
        let config = StackConfig {
            interfaces: vec![InterfaceConfig {
                id: PORT,
                mac: mac_of(ADDRESS),
                mtu: 1500,
                addresses: vec![(ADDRESS.into(), 24)],
                capabilities: Capabilities {
                    tx_l4_checksum: true,
                    rx_checksum: true,
                    multi_segment: true,
                    ..Capabilities::default()
                },
            }],
            routes: vec![RouteConfig {
                to: (Ipv4Addr::UNSPECIFIED.into(), 0),
                via: vec![ROUTER.into()],
                interface: None,
            }],
            secrets: Secrets { flow: [3, 1], iss: [3, 2], owner: [3, 3] },
            connections_max,
            ..StackConfig::default()
        };
        let mut stack = Stack::new(config, rx.share(), tx.share(), 17);
        let address = (ADDRESS, LISTEN);
        stack
            .listen(ListenerId(1), std::net::SocketAddr::from(address), tcp)
            .expect("an address of its own");
        Self {
            crowd: Crowd::new(staying + VISITORS, address, [mac_of(ROUTER), mac_of(ADDRESS)]),
            stack,
            arriving: Vec::new(),
            into: Batch::burst(),
            out: Batch::with_capacity(4 * BURST),
            now: Instant::from_millis(1_000),
            staying,
            unit: None,
            acquainted: 0,
            rng: Rng::new(23),
            beats: Vec::new(),
            wire,
            _pools: pools,
        }
    }

    /// One vector of at most 32 packets: answers to what was sent before, then what is new.
    fn round(&mut self) {
        self.now = self.now.plus_nanos(ROUND_NANOS);
        let now = self.now;
        let fresh = BURST.saturating_sub(self.arriving.len());
        for _ in 0..fresh {
            let Some(packet) = self.begin() else { break };
            self.arriving.push(packet);
        }
        let count = self.arriving.len().min(self.into.room());
        for mut packet in self.arriving.drain(..count) {
            vouch(&mut packet);
            self.into.push(packet);
        }
        let closes = self.unit == Some(Unit::ConnectionTimeWait);
        let before = cycles();
        serve_vector(&mut self.stack, &mut self.into, &mut self.out, closes, now);
        if count > 0 {
            self.beats.push(cycles().saturating_sub(before));
        }
        for packet in self.out.drain() {
            self.arriving.extend(self.crowd.handle(packet.head(), now, &self.wire));
        }
    }

    /// What somebody picked at random begins to do, or who opens next.
    fn begin(&mut self) -> Option<Packet> {
        let now = self.now;
        match self.unit {
            None if self.crowd.opened < u64::from(self.staying) => {
                let index = (self.crowd.opened + self.opening()) as u32;
                (index < self.staying).then(|| self.crowd.open(index, now, &self.wire))?
            }
            None => {
                let index = self.acquainted;
                let asks = index < self.staying && self.crowd.is_idle(index);
                self.acquainted += u32::from(asks);
                asks.then(|| self.crowd.ask(index, now, &self.wire))?
            }
            Some(Unit::Exchange) => {
                let index = self.rng.below(self.staying);
                let idle = self.crowd.is_idle(index);
                idle.then(|| self.crowd.ask(index, now, &self.wire))?
            }
            Some(Unit::Connection | Unit::ConnectionTimeWait) => {
                let index = self.staying + self.rng.below(VISITORS);
                let closed = self.crowd.is_closed(index);
                closed.then(|| self.crowd.open(index, now, &self.wire))?
            }
        }
    }

    /// Clients that have sent a SYN and are not open yet: opened in order, so it is a count.
    fn opening(&self) -> u64 {
        self.crowd.begun - self.crowd.opened
    }

    /// Lets all clients that stay open, and ask once: what a connection does but once is no part of
    /// what is measured, and nor are timers of its beginning.
    ///
    /// # Errors
    /// [`Stopped`] when they do not.
    pub fn fill(&mut self) -> Result<(), Stopped> {
        self.unit = None;
        let goal = u64::from(self.staying);
        self.until(|server| server.crowd.opened, goal)?;
        self.until(|server| server.crowd.answered, goal)?;
        let settled_at = self.now.plus_nanos(SETTLE_NANOS);
        while self.now < settled_at {
            self.round();
        }
        Ok(())
    }

    /// Plays until `units` more are done; cycles per unit, and of how many rounds some were taken
    /// away by others.
    ///
    /// # Errors
    /// [`Stopped`] when nothing is answered any more.
    pub fn play(&mut self, unit: Unit, units: u64) -> Result<(f64, u64), Stopped> {
        self.unit = Some(unit);
        if let Some(closer) = unit.closer() {
            self.crowd.close_after_answer(closer);
        }
        self.beats.clear();
        let done = |server: &Self| match unit {
            Unit::Exchange => server.crowd.answered,
            Unit::Connection | Unit::ConnectionTimeWait => server.crowd.closed,
        };
        let before = done(self);
        self.until(done, before + units)?;
        let units = done(self) - before;
        let (cycles, interrupted) = without_interruptions(&mut self.beats);
        Ok((cycles / units as f64, interrupted))
    }

    fn until(&mut self, done: impl Fn(&Self) -> u64, goal: u64) -> Result<(), Stopped> {
        let (mut last, mut idle) = (done(self), 0);
        while last < goal {
            self.round();
            idle += 1;
            if done(self) > last {
                (last, idle) = (done(self), 0);
            }
            if idle > IDLE_ROUNDS_MAX {
                return Err(Stopped { done: last });
            }
        }
        Ok(())
    }

    /// The stack, to look at.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a run counts, and that nothing is left behind.
    #[test]
    fn every_unit_comes_to_its_end() {
        for (name, unit) in Unit::ALL {
            let mut server = Server::new(4_096, 400, &Config::default());
            server.fill().expect("all open");
            assert_eq!(server.stack.connection_count(), 400, "{name}");
            server.play(unit, 500).expect("answers");
            assert_eq!(server.crowd.failures, 0, "{name}");
            let counters = server.stack.counters();
            assert_eq!(counters.tcp.retransmitted_bytes.value(), 0, "{name}");
            let ended = unit != Unit::Exchange;
            assert_eq!(counters.tcp_accepts.value() > 500, ended, "{name}");
        }
    }
}
