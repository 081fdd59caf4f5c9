//! A proxy that relays, among however many pairs of connections.
//!
//! The product's worker between a [`Crowd`] of clients and an [`Echo`] that plays all origins, over
//! the same links as the other scenarios.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use sluice_arch::cycles;
use sluice_base::{Instant, Rng};
use sluice_buf::{BURST, Batch, Device, LinkPeer, Packet, Pool};
use sluice_stack::RouteConfig;
use sluice_worker::Worker;

use crate::crowd::{Crowd, Echo};
use crate::host::mac_of;
use crate::server::Stopped;
use crate::sluice::{FRONT, Sluice, SluiceConfig};
use crate::world::without_interruptions;

const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
const PORT: u16 = 7;
/// Endpoints, so that source ports suffice for 1,800,000 connections.
const ENDPOINTS: u16 = 64;
const ROUND_NANOS: u64 = 20_000;
const BUFFERS: u32 = 8_192;
/// As many as the product has: relays need one until they are up.
const EXCHANGES: u32 = 65_536;
/// Until no timer of a handshake is left.
const SETTLE: Duration = Duration::from_millis(1_500);
const IDLE_ROUNDS_MAX: u32 = 100_000;

/// The proxy, its clients, its origins and the clock.
pub struct Pairs {
    /// The clients.
    pub crowd: Crowd,
    echo: Echo,
    ends: [LinkPeer; 2],
    to_front: Vec<Packet>,
    to_back: Vec<Packet>,
    batch: Batch,
    sluice: Sluice,
    now: Instant,
    staying: u32,
    asking: bool,
    /// Clients that stay and have asked for the first time.
    acquainted: u32,
    /// Spoofed SYNs that are still to be sent, and that were.
    flood: [u32; 2],
    rng: Rng,
    beats: Vec<u64>,
    rounds: u64,
    wire: [Pool; 2],
}

impl Pairs {
    /// A proxy with room for `pairs_max` relays, `staying` clients that will open and stay, and
    /// `newcomers` that come during a flood.
    #[must_use]
    pub fn new(pairs_max: u32, staying: u32, newcomers: u32) -> Self {
        let wire = [Pool::heap(BUFFERS), Pool::heap(BUFFERS)];
        let [front_pool, back_pool] = &wire;
        let config = SluiceConfig {
            text: config(),
            // The clients, and everybody else, are behind a router.
            routes: vec![RouteConfig {
                to: (Ipv4Addr::UNSPECIFIED.into(), 0),
                via: vec![CLIENTS.into()],
                interface: None,
            }],
            connections_max: 2 * pairs_max,
            exchanges_max: EXCHANGES,
            buffers: BUFFERS,
            segmentation_max: 0,
        };
        let (sluice, ends) = Sluice::start(&config, [front_pool, back_pool]);
        let mut pairs = Self {
            crowd: Crowd::new(staying + newcomers, (FRONT, PORT), [mac_of(CLIENTS), mac_of(FRONT)]),
            echo: Echo { mac: mac_of(ORIGIN) },
            ends,
            to_front: Vec::new(),
            to_back: Vec::new(),
            batch: Batch::burst(),
            sluice,
            now: Instant::from_millis(1_000),
            staying,
            asking: false,
            acquainted: 0,
            flood: [0, 0],
            rng: Rng::new(29),
            beats: Vec::new(),
            rounds: 0,
            wire,
        };
        // Sluice listens before anybody asks.
        for _ in 0..8 {
            pairs.round();
        }
        pairs
    }

    fn round(&mut self) {
        self.now = self.now.plus_nanos(ROUND_NANOS);
        self.rounds += 1;
        let now = self.now;
        let fresh = BURST.saturating_sub(self.to_front.len());
        for _ in 0..fresh {
            let Some(packet) = self.begin() else { break };
            self.to_front.push(packet);
        }
        send(&mut self.to_front, &mut self.ends[0], &mut self.batch);
        send(&mut self.to_back, &mut self.ends[1], &mut self.batch);
        let before = cycles();
        if self.sluice.step(now) {
            self.beats.push(cycles().saturating_sub(before));
        }
        while self.ends[0].rx_burst(&mut self.batch) > 0 {
            for packet in self.batch.drain() {
                self.to_front.extend(self.crowd.handle(packet.head(), now, &self.wire[0]));
            }
        }
        while self.ends[1].rx_burst(&mut self.batch) > 0 {
            for packet in self.batch.drain() {
                self.to_back.extend(self.echo.handle(packet.head(), now, &self.wire[1]));
            }
        }
        if self.rounds.is_multiple_of(1024) {
            self.sluice.collect();
        }
    }

    fn begin(&mut self) -> Option<Packet> {
        let now = self.now;
        if self.rounds <= 8 {
            return None;
        }
        // Three of four packets of a flood are spoofed.
        if self.flood[0] > 0 && !self.rng.below(4).is_multiple_of(4) {
            let [left, sent] = self.flood;
            self.flood = [left - 1, sent + 1];
            return self.crowd.spoofed(sent, now, &self.wire[0]);
        }
        let is_newcomer = self.flood[0] > 0 && self.rng.below(16) == 0;
        if is_newcomer && self.crowd.begun < u64::from(self.crowd.len()) {
            return self.crowd.open(self.crowd.begun as u32, now, &self.wire[0]);
        }
        if self.asking {
            let index = self.rng.below(self.staying);
            let idle = self.crowd.is_idle(index);
            return idle.then(|| self.crowd.ask(index, now, &self.wire[0]))?;
        }
        let index = self.crowd.begun as u32;
        if index < self.staying {
            return self.crowd.open(index, now, &self.wire[0]);
        }
        let index = self.acquainted;
        let asks = index < self.staying && self.crowd.is_idle(index);
        self.acquainted += u32::from(asks);
        asks.then(|| self.crowd.ask(index, now, &self.wire[0]))?
    }

    /// Lets all clients open, each relayed to an endpoint, and ask once.
    ///
    /// # Errors
    /// [`Stopped`] when they do not.
    pub fn fill(&mut self) -> Result<(), Stopped> {
        self.asking = false;
        let goal = 2 * self.staying as usize;
        self.until(|pairs| pairs.worker().stack().connection_count() as u64, goal as u64)?;
        self.until(|pairs| pairs.crowd.answered, self.staying.into())?;
        self.rest(SETTLE);
        Ok(())
    }

    /// 64 bytes each way through `units` relays picked at random; cycles per exchange, and how many
    /// heartbeats others interrupted.
    ///
    /// # Errors
    /// [`Stopped`] when nothing is answered any more.
    pub fn play(&mut self, units: u64) -> Result<(f64, u64), Stopped> {
        self.asking = true;
        self.beats.clear();
        let before = self.crowd.answered;
        self.until(|pairs| pairs.crowd.answered, before + units)?;
        let units = self.crowd.answered - before;
        let (cycles, interrupted) = without_interruptions(&mut self.beats);
        Ok((cycles / units as f64, interrupted))
    }

    /// `syns` spoofed SYNs among exchanges of those that are there, and newcomers.
    ///
    /// # Errors
    /// [`Stopped`] when somebody is not answered.
    pub fn flood(&mut self, syns: u32) -> Result<(), Stopped> {
        self.asking = true;
        self.flood = [syns, 0];
        self.until(|pairs| u64::from(pairs.flood[1]), syns.into())?;
        // The newcomers that are under way, on both sides.
        self.until(|pairs| pairs.crowd.opened, self.crowd.begun)
    }

    /// Lets `time` pass without anybody doing anything new, in steps from timer to timer.
    pub fn rest(&mut self, time: Duration) {
        let (asking, staying) = (self.asking, self.staying);
        (self.asking, self.staying) = (false, 0);
        let until = self.now + time;
        while self.now < until {
            let next = self.worker().next_deadline().min(until);
            self.now = self.now.max(next);
            // Whatever it leads to, too.
            for _ in 0..8 {
                self.round();
            }
        }
        (self.asking, self.staying) = (asking, staying);
    }

    /// Buffers of the proxy that are in use.
    #[must_use]
    pub fn buffers(&self) -> [u32; 2] {
        let stack = self.worker().stack();
        [stack.rx_pool().in_use(), stack.tx_pool().in_use()]
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

    /// The proxy's worker, to look at.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        self.sluice.worker()
    }
}

fn send(packets: &mut Vec<Packet>, end: &mut LinkPeer, batch: &mut Batch) {
    let count = packets.len().min(batch.room());
    for packet in packets.drain(..count) {
        batch.push(packet);
    }
    end.tx_burst(batch);
    // What the ring had no room for goes first the next time.
    while let Some(packet) = batch.pop() {
        packets.insert(0, packet);
    }
}

fn config() -> String {
    let mut text = String::from(
        "[[interface]]\nname = \"front\"\ndevice = \"tap:front\"\naddresses = [\"10.1.0.1/24\"]\n\
         [[interface]]\nname = \"back\"\ndevice = \"tap:back\"\naddresses = [\"10.2.0.1/24\"]\n\
         [runtime]\ncores = [0]\n\
         [[listener]]\nname = \"raw\"\naddress = \"10.1.0.1:7\"\nprotocol = \"tcp\"\ncluster = \"raw\"\n\
         [[cluster]]\nname = \"raw\"\nmax_connections = 4000000\nmax_pending = 4000000\nendpoints = [",
    );
    for endpoint in 0..ENDPOINTS {
        let _ = write!(text, "\"{ORIGIN}:{}\", ", 7_000 + endpoint);
    }
    text.push_str("]\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_opens_and_answers() {
        let mut pairs = Pairs::new(2_048, 200, 0);
        pairs.fill().expect("all open");
        pairs.play(1_000).expect("answers");
        assert_eq!((pairs.crowd.failures, pairs.crowd.opened), (0, 200));
        assert_eq!(pairs.worker().stack().connection_count(), 400);
    }
}
