//! Hosts, networks, and time.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use sluice_base::{Instant, Rng};
use sluice_buf::{LinkConfig, Pool};

use crate::app::{AppHost, Io};
use crate::attacker::Attacker;
use crate::backend::{Backend, ECHO_PORT};
use crate::client::Client;
use crate::datagrams::{DATAGRAM_PORT, Datagrams};
use crate::ledger::{Ledger, Shared};
use crate::network::{Cable, Network};
use crate::pcap::Capture;
use crate::scenario::{BACK, FRONT, Scenario};
use crate::sluice::Sluice;
use crate::weather::Weather;

/// Rounds at one instant before we say that the world does not come to rest.
const ROUNDS_MAX: u32 = 100_000;
/// Buffers that the networks copy frames with.
const WIRE_BUFFERS: u32 = 1_024;

/// Everything that exists in a run.
pub struct World {
    /// The time.
    pub now: Instant,
    /// The product.
    pub sluice: Sluice,
    /// The ledger.
    pub ledger: Shared,
    clients: Vec<AppHost<Client>>,
    backends: Vec<AppHost<Backend>>,
    attacker: Option<Attacker>,
    front: Network,
    back: Network,
    wire: Pool,
    weather: Weather,
    /// Rounds played.
    pub rounds: u64,
}

impl World {
    /// The world that a scenario describes, at time zero.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let mut rng = Rng::new(scenario.seed ^ 0x5eed);
        let weather = scenario.weather.clone();
        let wire = Pool::heap(WIRE_BUFFERS);
        let link_config = LinkConfig {
            checksum_offload: scenario.checksum_offload,
            depth: weather.ring_depth,
            ..LinkConfig::default()
        };
        let ledger: Shared = Rc::new(RefCell::new(Ledger {
            lossy: weather.loses(),
            corrupts: weather.corrupts(),
            copies_there: weather.copies_there(),
            copies_back: weather.copies_there() * weather.copies_back(),
            ..Ledger::default()
        }));
        let until = Some(weather.ends);
        let mut front = Network::new(rng.fork(1), wire.share(), until);
        let mut back = Network::new(rng.fork(2), wire.share(), until);
        let (sluice, [to_clients, to_backends]) = Sluice::start(
            &scenario.config(0),
            &mut rng.fork(3),
            &wire,
            link_config,
            weather.buffers,
        );
        front.plug(to_clients, Cable::default(), "sluice-front");
        back.plug(to_backends, Cable::default(), "sluice-back");

        let sluice_at = scenario.address(FRONT, 1);
        let web = SocketAddr::new(sluice_at, 80);
        let raw = SocketAddr::new(sluice_at, ECHO_PORT);
        let mut clients = Vec::new();
        for index in 0..scenario.clients {
            let sessions = scenario.sessions(index, &mut ledger.borrow_mut());
            let echoes = scenario.echoes(index);
            let planned = scenario.datagrams(index, &mut ledger.borrow_mut());
            let datagrams = Datagrams::new(SocketAddr::new(sluice_at, DATAGRAM_PORT), planned);
            let app = Client::new(ledger.clone(), web, raw, sessions, echoes, datagrams)
                .with_hostiles(scenario.hostiles(index));
            let address = scenario.address(FRONT, 2 + index as u8);
            let seed = rng.next_u64();
            let (host, peer) = AppHost::new(app, address, seed, &wire, link_config);
            front.plug(peer, weather.clients.clone(), &format!("client-{index}"));
            clients.push(host);
        }
        let mut backends = Vec::new();
        for index in 0..scenario.backends {
            let app = Backend::new(ledger.clone(), scenario.streams_max());
            let address = scenario.address(BACK, 2 + index as u8);
            let seed = rng.next_u64();
            let (mut host, peer) = AppHost::new(app, address, seed, &wire, link_config);
            host.listen(SocketAddr::new(address, 80));
            host.listen(SocketAddr::new(address, ECHO_PORT));
            host.bind(SocketAddr::new(address, DATAGRAM_PORT));
            back.plug(peer, weather.backends.clone(), &format!("backend-{index}"));
            backends.push(host);
        }
        let attacker = weather.attacked.then(|| {
            let (attacker, peer) = Attacker::new(rng.fork(4), &wire, link_config);
            front.plug(peer, Cable::default(), "attacker");
            attacker
        });
        let now = Instant::from_millis(1);
        Self {
            now,
            sluice,
            ledger,
            clients,
            backends,
            attacker,
            front,
            back,
            wire,
            weather,
            rounds: 0,
        }
    }

    /// Plays what there is to do now until nothing is, then moves time to what comes next, at most
    /// to `limit`. False if the world does not come to rest.
    pub fn advance(&mut self, limit: Instant) -> bool {
        let mut rounds = 0;
        while self.round() {
            rounds += 1;
            if rounds > ROUNDS_MAX {
                return false;
            }
        }
        self.rounds += u64::from(rounds) + 1;
        let next = self.next_deadline().max(self.now.plus_nanos(1_000));
        self.now = next.min(limit);
        true
    }

    fn round(&mut self) -> bool {
        let now = self.now;
        let mut worked = self.front.deliver(now) | self.back.deliver(now);
        for client in &mut self.clients {
            worked |= client.step(now);
        }
        if self.weather.paused(now).is_none() {
            worked |= self.sluice.step(now);
        }
        for backend in &mut self.backends {
            worked |= backend.step(now);
        }
        if let Some(attacker) = &mut self.attacker {
            worked |= attacker.step(now);
        }
        worked | self.front.collect(now) | self.back.collect(now)
    }

    fn next_deadline(&self) -> Instant {
        let clients = self.clients.iter().map(AppHost::next_deadline);
        let backends = self.backends.iter().map(AppHost::next_deadline);
        let networks = [self.front.next_arrival(), self.back.next_arrival()];
        let resumes = self.weather.paused(self.now);
        let others = [resumes.unwrap_or_else(|| self.sluice.next_deadline())];
        let attacker = self.attacker.iter().map(Attacker::next_deadline);
        let hosts = clients.chain(backends).chain(attacker);
        hosts.chain(networks).chain(others).min().unwrap_or(Instant::NEVER)
    }

    /// Whether every client has done what it wanted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.clients.iter().all(|client| client.app.is_done())
    }

    /// What is wrong with connections of HTTP/2, where nothing has moved for long.
    #[must_use]
    pub fn faults_at_rest(&self) -> Vec<String> {
        let clients = self.clients.iter().flat_map(|host| host.app.faults_at_rest());
        let backends = self.backends.iter().flat_map(|host| host.app.faults_at_rest());
        let clients = clients.map(|fault| format!("a client's connection at rest: {fault}"));
        let backends = backends.map(|fault| format!("a backend's connection at rest: {fault}"));
        clients.chain(backends).collect()
    }

    /// Lets every client close what it still holds.
    pub fn close_clients(&mut self) {
        for client in &mut self.clients {
            client.close(self.now);
        }
    }

    /// The captures of all ports.
    pub fn captures(&self) -> impl Iterator<Item = &Capture> {
        self.front.captures().chain(self.back.captures())
    }

    /// Takes everything apart and counts: what is held although nothing exists any more.
    #[must_use]
    pub fn census(self) -> Vec<String> {
        let mut pools: Vec<(String, Pool)> = Vec::new();
        for (index, pool) in self.sluice.census().into_iter().enumerate() {
            let kind = if index % 2 == 0 { "receive" } else { "transmit" };
            pools.push((format!("worker {}'s {kind} pool", index / 2), pool));
        }
        for (index, host) in self.clients.iter().enumerate() {
            pools.extend(host.census().map(|pool| (format!("client {index}'s pool"), pool)));
        }
        for (index, host) in self.backends.iter().enumerate() {
            pools.extend(host.census().map(|pool| (format!("backend {index}'s pool"), pool)));
        }
        if let Some(attacker) = &self.attacker {
            pools.push(("the attacker's pool".to_owned(), attacker.census()));
        }
        let Self { sluice, clients, backends, attacker, front, back, wire, .. } = self;
        // The network first: it hands lent frames back (see `LinkPeer`).
        drop((front, back));
        drop((clients, backends, attacker));
        drop(sluice);
        pools.push(("the networks' pool".to_owned(), wire));
        let mut found: Vec<String> = pools
            .iter()
            .filter(|(_, pool)| pool.in_use() > 0)
            .map(|(name, pool)| format!("{} buffers of {name} are not home", pool.in_use()))
            .collect();
        let nodes = sluice_buf::chain_nodes_in_use();
        if nodes > 0 {
            found.push(format!("{nodes} chain nodes are held"));
        }
        found
    }
}

impl AppHost<Client> {
    fn close(&mut self, now: Instant) {
        self.with_io(now, |app, io: &mut Io<'_>| app.close_all(io));
    }
}
