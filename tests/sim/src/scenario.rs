//! From a seed to a plan.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_base::{Instant, Rng};
use sluice_buf::Impairment;

use crate::client::{Echo, Session};
use crate::datagrams::{Arrivals, DATAGRAM_PORT, FLOWS, Planned};
use crate::hostile::Hostile;
use crate::ledger::{Behaviour, Entry, Ledger, Request};
use crate::weather::Weather;

/// Everything that a run is made of, drawn from one seed.
#[derive(Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// Client hosts.
    pub clients: usize,
    /// Backend hosts.
    pub backends: usize,
    /// Workers of Sluice.
    pub workers: usize,
    /// What goes wrong around the hosts.
    pub weather: Weather,
    /// When the configuration is replaced, in order.
    pub reloads: Vec<Instant>,
    /// Whether links leave checksums open, as between virtual machines.
    pub checksum_offload: bool,
    /// Retries of each route.
    pub retries: u32,
    /// One user per client host and no echoes.
    pub one_user: bool,
    /// No opaque echoes.
    pub no_echoes: bool,
    /// No datagrams.
    pub no_datagrams: bool,
    /// `least_request` or `round_robin`.
    pub load_balancing: &'static str,
    /// Whether a network speaks IPv6, by its number less one.
    pub is_v6: [bool; 2],
    /// How many users in a million speak HTTP/2.
    pub http2_users: u32,
    /// What the cluster says of HTTP, and what every second configuration does.
    pub http: [&'static str; 2],
    /// How many requests in a million are left unread for a while.
    pub stalls: u32,
    /// Most clients of HTTP/2 at a host that only want to do harm.
    pub hostiles: u32,
    /// Users who all do the same, instead of those that are drawn.
    pub crowd: Option<Crowd>,
}

/// Users of HTTP/2 who share one connection to one backend, and how many of their first streams are
/// not read for a while.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// How many.
    pub users: usize,
    /// Streams that each has at once.
    pub streams: usize,
    /// Requests of each, one after the other on each stream.
    pub rounds: usize,
    /// Bytes of each answer.
    pub bytes: usize,
    /// Streams that are not read.
    pub stalled: usize,
    /// For how long, nanoseconds.
    pub stalls_nanos: u64,
}

/// The number of the network of clients.
pub const FRONT: u8 = 1;
/// The number of the network of backends.
pub const BACK: u8 = 2;

const MILLISECOND: u64 = 1_000_000;

impl Scenario {
    /// The plan that `seed` names.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        // Drawn apart, so that what a seed meant before it still means.
        let mut versions = Rng::new(seed ^ 0x4854_5450_2f32);
        // Only then can be told who starved.
        let fair = versions.chance(200_000);
        let mut weather = Weather::new(&mut rng);
        if fair {
            weather.calm();
        }
        let mut version = || ["1.1", "2", "same"][versions.below(3) as usize];
        let (first, second) = (version(), version());
        let (corrupts, attacked) = (weather.corrupts(), weather.attacked);
        let reloads =
            (0..rng.below(4)).map(|_| Instant::from_millis(u64::from(rng.below(8_000)))).collect();
        Self {
            seed,
            clients: 1 + rng.below(3) as usize,
            backends: 1 + rng.below(3) as usize,
            workers: 1 + rng.below(3) as usize,
            weather,
            reloads,
            // An open checksum cannot tell a flipped bit.
            checksum_offload: !corrupts && rng.chance(500_000),
            retries: rng.below(2),
            one_user: false,
            no_echoes: false,
            no_datagrams: false,
            load_balancing: if rng.chance(500_000) { "least_request" } else { "round_robin" },
            // The attacker speaks IPv4.
            is_v6: [!attacked && rng.chance(400_000), rng.chance(400_000)],
            http2_users: [0, 500_000, 1_000_000][versions.below(3) as usize],
            http: if versions.chance(200_000) { [first, second] } else { [first; 2] },
            stalls: [0, 100_000][versions.below(2) as usize],
            hostiles: [0, 0, 0, 3][versions.below(4) as usize],
            crowd: None,
        }
    }

    /// A crowd in good weather: its cable to the backend has a latency and a width.
    #[must_use]
    pub fn crowd(crowd: Crowd, backends: Impairment) -> Self {
        let mut scenario = Self::new(1);
        scenario.weather.calm();
        let cable = &mut scenario.weather.backends;
        (cable.up, cable.down) = (backends, backends);
        (scenario.clients, scenario.backends, scenario.workers) = (1, 1, 1);
        scenario.reloads.clear();
        (scenario.no_echoes, scenario.no_datagrams) = (true, true);
        (scenario.http, scenario.hostiles, scenario.crowd) = (["2"; 2], 0, Some(crowd));
        scenario
    }

    /// Streams that a backend takes on a connection.
    #[must_use]
    pub fn streams_max(&self) -> u32 {
        if self.crowd.is_some() { 1_000 } else { 20 }
    }

    /// The address of a host of a network; Sluice is the first.
    #[must_use]
    pub fn address(&self, network: u8, host: u8) -> IpAddr {
        if self.is_v6[usize::from(network) - 1] {
            Ipv6Addr::new(0xfd00 | u16::from(network), 0, 0, 0, 0, 0, 0, host.into()).into()
        } else {
            Ipv4Addr::new(10, network, 0, host).into()
        }
    }

    /// As a configuration writes it with a port.
    fn socket(&self, network: u8, host: u8, port: u16) -> String {
        std::net::SocketAddr::new(self.address(network, host), port).to_string()
    }

    /// What the users of client number `client` do; requests are entered into `ledger`.
    #[must_use]
    pub fn sessions(&self, client: usize, ledger: &mut Ledger) -> Vec<Session> {
        if let Some(crowd) = self.crowd {
            return crowd.sessions(ledger);
        }
        let mut rng = Rng::new(self.seed ^ (client as u64 + 1).wrapping_mul(0x1234_5678_9abc));
        let mut versions = Rng::new(self.seed ^ (client as u64 + 1).wrapping_mul(0x5354_5245_414d));
        let drawn = 1 + rng.below(8);
        let users = if self.one_user { 1 } else { drawn };
        (0..users)
            .map(|_| {
                let count = 1 + rng.below(8);
                let first = ledger.entries.len();
                let mut requests: VecDeque<Request> =
                    (0..count).map(|_| request(&mut rng, ledger)).collect();
                let http2 = versions.chance(self.http2_users);
                // Only what may be asked again without harm is pipelined (RFC 9112, 9.3.2).
                let safe = requests.iter().all(|request| request.method != "POST");
                let starts = Instant::from_nanos(u64::from(rng.below(3_000)) * MILLISECOND);
                let pipeline = if safe && rng.chance(300_000) { 4 } else { 1 };
                let leaves = rng.chance(50_000);
                for request in &mut requests {
                    let stalls = 1 + u64::from(versions.below(8_000));
                    if request.is_read_late() && versions.chance(300_000) {
                        request.upload = 70_000 + versions.below(130_000) as usize;
                    }
                    if versions.chance(self.stalls) && http2 {
                        request.stalls_nanos = stalls * MILLISECOND;
                        // More than windows let through unread.
                        request.download = 70_000 + versions.below(230_000) as usize;
                    }
                }
                for (entry, request) in ledger.entries[first..].iter_mut().zip(&requests) {
                    entry.request = request.clone();
                }
                // Streams need not wait for each other, whatever they ask.
                let streams = 1 + versions.below(8) as usize;
                let pipeline = if http2 { streams } else { pipeline };
                Session { starts, pipeline, requests, leaves, http2 }
            })
            .collect()
    }

    /// Who at client number `client` wants to do harm.
    #[must_use]
    pub fn hostiles(&self, client: usize) -> Vec<Hostile> {
        let mut rng = Rng::new(self.seed ^ (client as u64 + 1).wrapping_mul(0x4841_524d));
        let count = if self.hostiles > 0 { 1 + rng.below(self.hostiles) } else { 0 };
        (0..count)
            .map(|number| {
                let starts = Instant::from_nanos(u64::from(rng.below(3_000)) * MILLISECOND);
                Hostile::new(starts, rng.fork(u64::from(number)))
            })
            .collect()
    }

    /// Whether nothing but what backends do can keep an answer from a client.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        !self.weather.loses() && self.hostiles == 0
    }

    /// The opaque exchanges of client number `client`.
    #[must_use]
    pub fn echoes(&self, client: usize) -> Vec<Echo> {
        let mut rng = Rng::new(self.seed ^ (client as u64 + 1).wrapping_mul(0xfeed_beef));
        let drawn = rng.below(3);
        let count = if self.one_user || self.no_echoes { 0 } else { drawn };
        (0..count)
            .map(|_| {
                let starts = Instant::from_nanos(u64::from(rng.below(3_000)) * MILLISECOND);
                let (id, bytes) = (rng.next_u64(), size(&mut rng));
                let pause = u64::from(rng.below(12_000)) * u64::from(rng.below(2)) * MILLISECOND;
                Echo { starts, id, bytes, resumes: starts.plus_nanos(pause) }
            })
            .collect()
    }

    /// What client number `client` sends by UDP; each is entered into `ledger`.
    #[must_use]
    pub fn datagrams(&self, client: usize, ledger: &mut Ledger) -> Vec<Planned> {
        let mut rng = Rng::new(self.seed ^ (client as u64 + 1).wrapping_mul(0xda7a_6ea5));
        let drawn = rng.below(24);
        let count = if self.no_datagrams { 0 } else { drawn };
        (0..count)
            .map(|_| {
                let at = Instant::from_nanos(u64::from(rng.below(9_000)) * MILLISECOND);
                // Every third is larger than a frame, and some are many.
                let len = [400, 1_400, 9_000][rng.below(3) as usize];
                let len = rng.below(len) as usize;
                let id = ledger.datagrams.len() as u64;
                ledger.datagrams.push(Arrivals { len, ..Arrivals::default() });
                Planned { at, id, len, flow: rng.below(FLOWS as u32) as usize }
            })
            .collect()
    }

    /// Sluice's configuration; `version` changes what a reload changes.
    #[must_use]
    pub fn config(&self, version: usize) -> String {
        let mut text = String::new();
        for (name, network) in [("front", FRONT), ("back", BACK)] {
            let address = self.address(network, 1);
            let prefix_len = if address.is_ipv4() { 24 } else { 64 };
            let _ = write!(
                text,
                "[[interface]]\nname = \"{name}\"\ndevice = \"tap:{name}\"\n\
                 addresses = [\"{address}/{prefix_len}\"]\n"
            );
        }
        let cores: Vec<String> = (0..self.workers).map(|core| core.to_string()).collect();
        let _ = writeln!(text, "[runtime]\ncores = [{}]", cores.join(", "));
        let _ = write!(
            text,
            "[[listener]]\nname = \"web\"\naddress = \"{}\"\nprotocol = \"http\"\n\
             stream_idle_timeout = \"40s\"\n\
             [[listener.virtual_host]]\ndomains = [\"sim.test\"]\n",
            self.socket(FRONT, 1, 80)
        );
        // A reload adds and removes routes in front; ids move with them.
        for extra in 0..version % 3 {
            let _ = write!(
                text,
                "[[listener.virtual_host.route]]\npath = \"/extra/{extra}\"\n\
                 direct_response = {{ status = 204 }}\n"
            );
        }
        let _ = write!(
            text,
            "[[listener.virtual_host.route]]\nprefix = \"/\"\ncluster = \"app\"\ntimeout = \"30s\"\n\
             retries = {}\n",
            self.retries
        );
        let _ = write!(
            text,
            "[[listener]]\nname = \"raw\"\naddress = \"{}\"\nprotocol = \"tcp\"\n\
             cluster = \"echo\"\n",
            self.socket(FRONT, 1, crate::backend::ECHO_PORT)
        );
        let _ = write!(
            text,
            "[[listener]]\nname = \"datagrams\"\naddress = \"{}\"\nprotocol = \"udp\"\n\
             cluster = \"datagrams\"\nidle_timeout = \"5s\"\n",
            self.socket(FRONT, 1, DATAGRAM_PORT)
        );
        let clusters =
            [("app", 80), ("echo", crate::backend::ECHO_PORT), ("datagrams", DATAGRAM_PORT)];
        for (name, port) in clusters {
            // The first reload takes an endpoint from both clusters, under requests and relays that are
            // at it; the second gives one back, which could get the other's id; the third both.
            let gone = match version % 3 {
                1 => true,
                2 => name == "app",
                _ => false,
            };
            let gone = (gone && self.backends > 1).then_some(version / 3 % self.backends);
            let endpoints: Vec<String> = (0..self.backends)
                .filter(|backend| Some(*backend) != gone)
                .map(|backend| format!("\"{}\"", self.socket(BACK, backend as u8 + 2, port)))
                .collect();
            let _ = write!(
                text,
                "[[cluster]]\nname = \"{name}\"\nendpoints = [{}]\nload_balancing = \"{}\"\n\
                 connect_timeout = \"20s\"\nidle_timeout = \"{}s\"\n",
                endpoints.join(", "),
                self.load_balancing,
                20 + version,
            );
            if name == "app" {
                let _ = writeln!(text, "http = \"{}\"", self.http[version % 2]);
            }
        }
        text
    }
}

impl Crowd {
    fn sessions(&self, ledger: &mut Ledger) -> Vec<Session> {
        (0..self.users)
            .map(|user| {
                // Nobody has many more than others: their own windows are their own affair.
                let stalled = (self.stalled + self.users - 1 - user) / self.users;
                let requests = (0..self.streams * self.rounds)
                    .map(|number| {
                        let stalls = number < stalled;
                        let request = Request {
                            id: ledger.entries.len() as u64,
                            method: "GET",
                            upload: 0,
                            upload_chunked: false,
                            download: self.bytes,
                            behaviour: Behaviour::Length,
                            stalls_nanos: if stalls { self.stalls_nanos } else { 0 },
                        };
                        ledger.entries.push(Entry::new(request.clone()));
                        request
                    })
                    .collect();
                let starts = Instant::from_millis(2_000);
                Session { starts, pipeline: self.streams, requests, leaves: false, http2: true }
            })
            .collect()
    }
}

fn request(rng: &mut Rng, ledger: &mut Ledger) -> Request {
    let id = ledger.entries.len() as u64;
    let method = match rng.below(10) {
        0 => "HEAD",
        1..4 => "POST",
        _ => "GET",
    };
    let mut pick = rng.below(100);
    let mut behaviour = Behaviour::Length;
    for (one, share) in Behaviour::ALL {
        if pick < share {
            behaviour = one;
            break;
        }
        pick -= share;
    }
    let request = Request {
        id,
        method,
        upload: if method == "POST" { size(rng) } else { 0 },
        upload_chunked: rng.chance(500_000),
        // A cut must leave something to miss.
        download: size(rng) + if behaviour.is_whole() { 0 } else { 2 },
        behaviour,
        stalls_nanos: 0,
    };
    ledger.entries.push(Entry::new(request.clone()));
    request
}

/// Mostly small, sometimes large.
fn size(rng: &mut Rng) -> usize {
    let limit = match rng.below(20) {
        0 => 300_000,
        1..5 => 20_000,
        _ => 1_500,
    };
    rng.below(limit) as usize
}
