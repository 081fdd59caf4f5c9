//! Sessions of datagrams: whom they go to, how they end, what is counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_base::{ClusterId, Instant, ListenerId, Rng, Slab, SlabKey, UdpId};
use sluice_buf::{Packet, Pool};
use sluice_config_model::{
    AccessLog, Cluster, Config, Listener, LoadBalancing, Protocol, TcpSettings, defaults,
};

use super::world::{cluster, endpoint};
use crate::{ClusterCounters, ResponseFlags, UdpVerb};
use crate::{ConnectRefused, CounterRegistry, ListenerCounters, Proxy, ProxyConfig, Snapshot};

const DNS: ListenerId = ListenerId(2);
const NAMES: ClusterId = ClusterId(0);

/// One flow of the fake stack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Flow {
    token: u32,
    /// None: a client's.
    endpoint: Option<SocketAddr>,
    peer: SocketAddr,
}

/// A fake stack around a proxy.
struct Stack {
    proxy: Proxy,
    registry: CounterRegistry,
    config: Config,
    snapshot: Option<Arc<Snapshot>>,
    now: Instant,
    pool: Pool,
    flows: Slab<Flow>,
    refuses: Option<ConnectRefused>,
    /// Whom something was sent to.
    sent: Vec<SocketAddr>,
}

fn client(number: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits(0xc0a8_0000 + number).into(), 4_000)
}

fn local() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 9, 0, 2).into(), 53)
}

fn names(endpoints: &[u8]) -> Cluster {
    Cluster { load_balancing: LoadBalancing::Maglev, ..cluster(NAMES.0, endpoints) }
}

fn dns(max_sessions: u32) -> Listener {
    Listener {
        id: DNS,
        name: "dns".to_owned(),
        address: local(),
        protocol: Protocol::Udp { cluster: NAMES, max_sessions },
        idle_timeout: Some(defaults::UDP_IDLE_TIMEOUT),
        tcp: TcpSettings::default(),
    }
}

impl Stack {
    fn new(endpoints: &[u8], max_sessions: u32) -> Self {
        let pool = Pool::heap(64);
        let config = ProxyConfig { udp_sessions_max: 100, ..ProxyConfig::default() };
        let mut stack = Self {
            proxy: Proxy::new(config, pool.share()),
            registry: CounterRegistry::new(1),
            config: Config {
                listeners: vec![dns(max_sessions)],
                clusters: vec![names(endpoints)],
                ..Config::default()
            },
            snapshot: None,
            now: Instant::from_millis(1_000),
            pool,
            flows: Slab::new(1_000, 1_000),
            refuses: None,
            sent: Vec::new(),
        };
        stack.publish();
        stack
    }

    fn publish(&mut self) {
        let previous = self.snapshot.as_deref();
        let snapshot = Snapshot::compile(&self.config, &mut self.registry, previous);
        let snapshot = Arc::new(snapshot.expect("it compiles"));
        self.snapshot = Some(snapshot.clone());
        assert!(self.proxy.adopt(snapshot, self.now).is_ok());
        for _ in 0..10 {
            self.run(Duration::ZERO);
        }
    }

    fn run(&mut self, time: Duration) {
        self.now += time;
        self.proxy.handle_timers(self.now);
        self.carry();
        while self.proxy.pop_retired().is_some() {}
    }

    fn carry(&mut self) {
        while let Some(verb) = self.proxy.pop_udp_verb() {
            let (token, flow) = match verb {
                UdpVerb::Accept { token, local: to, peer } => {
                    assert_eq!((token & 1, to), (0, local()));
                    (token, Flow { token, endpoint: None, peer })
                }
                UdpVerb::Connect { token, remote } => {
                    assert_eq!(token & 1, 1);
                    (token, Flow { token, endpoint: Some(remote), peer: remote })
                }
                UdpVerb::Send { flow, .. } => {
                    let flow = self.flows.get(flow.into()).expect("a live flow");
                    self.sent.push(flow.peer);
                    continue;
                }
                UdpVerb::Close { flow } => {
                    assert!(self.flows.remove(flow.into()).is_some(), "closed once");
                    continue;
                }
            };
            let refused = self.refuses.filter(|_| flow.endpoint.is_some());
            let result = match refused {
                Some(why) => Err(why),
                None => Ok(self.flows.insert(flow).expect("room").into()),
            };
            self.proxy.udp_result(token, result, self.now);
        }
    }

    fn payload(&self) -> Packet {
        let mut packet = self.pool.alloc().expect("a buffer");
        packet.append_bytes(b"question");
        packet
    }

    fn flow_with(&self, peer: SocketAddr) -> Option<(SlabKey, Flow)> {
        self.flows.iter().find(|(_, flow)| flow.peer == peer).map(|(key, flow)| (key, *flow))
    }

    /// A client sends; who got it.
    fn ask(&mut self, from: SocketAddr) -> Option<SocketAddr> {
        self.sent.clear();
        match self.flow_with(from) {
            Some((_, flow)) => self.pass(flow.token),
            None => {
                let payload = self.payload();
                self.proxy.handle_stranger(DNS, local(), from, payload, self.now);
                self.carry();
            }
        }
        self.sent.pop()
    }

    fn pass(&mut self, token: u32) {
        let payload = self.payload();
        if let Some((flow, _)) = self.proxy.handle_datagram(token, payload, self.now) {
            let flow = self.flows.get(flow.into()).expect("a live flow");
            self.sent.push(flow.peer);
        }
    }

    /// The endpoint's flow of a client's session.
    fn upstream_of(&self, from: SocketAddr) -> (SlabKey, Flow) {
        let (_, own) = self.flow_with(from).expect("a session");
        let mut flows = self.flows.iter();
        let found = flows.find(|(_, flow)| flow.token == own.token + 1);
        found.map(|(key, flow)| (key, *flow)).expect("the other side")
    }

    fn listener(&self) -> &ListenerCounters {
        &self.registry.find_listener(DNS).expect("it has counters")[0]
    }

    fn cluster(&self) -> &ClusterCounters {
        &self.registry.find_cluster(NAMES).expect("it has counters")[0]
    }

    /// Sessions are counted right everywhere, and have two flows each.
    fn sessions(&self) -> u64 {
        let sessions = self.proxy.udp_sessions();
        assert_eq!(self.flows.len(), 2 * sessions);
        assert_eq!(self.listener().downstream_sess_active.value(), sessions as u64);
        assert_eq!(self.cluster().upstream_cx_active.value(), sessions as u64);
        assert_eq!(self.proxy.active(), sessions);
        sessions as u64
    }
}

#[test]
fn a_client_keeps_its_endpoint_and_answers_find_it() {
    let mut stack = Stack::new(&[1, 2, 3], 100);
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..40 {
        let first = stack.ask(client(number)).expect("an endpoint");
        seen.insert(first);
        assert_eq!(stack.ask(client(number)), Some(first));
        // Another port of the same address goes to the same one, in a session of its own.
        let other = SocketAddr::new(client(number).ip(), 4_001);
        assert_eq!(stack.ask(other), Some(first));
        stack.sent.clear();
        let (_, upstream) = stack.upstream_of(client(number));
        stack.pass(upstream.token);
        assert_eq!(stack.sent, [client(number)]);
    }
    assert_eq!((seen.len(), stack.sessions()), (3, 80));
    let counters = stack.listener();
    assert_eq!(counters.downstream_sess_total.value(), 80);
    assert_eq!(counters.downstream_sess_rx_datagrams.value(), 120);
    assert_eq!(counters.downstream_sess_rx_bytes.value(), 120 * 8);
    assert_eq!(counters.downstream_sess_tx_datagrams.value(), 40);
    assert_eq!(counters.downstream_sess_tx_bytes.value(), 40 * 8);
    assert_eq!(stack.cluster().udp_sess_tx_datagrams.value(), 120);
    assert_eq!(stack.cluster().udp_sess_rx_datagrams.value(), 40);
    assert_eq!(stack.pool.in_use(), 0);
}

#[test]
fn the_access_log_has_a_line_of_a_session_that_is_over() {
    let mut stack = Stack::new(&[1, 2], 100);
    stack.config.access_log = Some(AccessLog::default());
    stack.publish();
    stack.ask(client(1));
    let to = stack.ask(client(1)).expect("an endpoint");
    let (_, upstream) = stack.upstream_of(client(1));
    stack.pass(upstream.token);
    assert!(stack.proxy.pop_log().is_none(), "not before it ends");
    stack.run(Duration::from_secs(61));
    let record = stack.proxy.pop_log().expect("a record");
    assert_eq!((record.protocol, record.status, record.flags), ("UDP", 0, ResponseFlags::NONE));
    assert_eq!((record.bytes_received, record.bytes_sent), (16, 8));
    assert_eq!((record.downstream, record.upstream), (Some(client(1)), Some(to)));
    assert_eq!((record.listener, record.cluster), (DNS, Some(NAMES)));
    assert_eq!(record.duration, 61_000_000_000);
    // An endpoint that does not listen, a client that has gone, an endpoint without a port of ours.
    for (side, why) in
        [(1, ResponseFlags::UPSTREAM_TERMINATION), (0, ResponseFlags::DOWNSTREAM_TERMINATION)]
    {
        stack.ask(client(1));
        let (_, own) = stack.flow_with(client(1)).expect("a session");
        stack.proxy.handle_unreachable(own.token + side, stack.now);
        stack.carry();
        assert_eq!(stack.proxy.pop_log().expect("a record").flags, why);
    }
    stack.refuses = Some(ConnectRefused::NoPort);
    stack.ask(client(1));
    let record = stack.proxy.pop_log().expect("a record");
    assert_eq!(record.flags, ResponseFlags::UPSTREAM_CONNECT_FAILURE);
    assert!(stack.proxy.pop_log().is_none());
}

#[test]
fn a_session_ends_when_nothing_happens_either_way() {
    let mut stack = Stack::new(&[1], 100);
    stack.ask(client(1));
    stack.ask(client(2));
    for _ in 0..4 {
        stack.run(Duration::from_secs(40));
        // An answer keeps it as well as a question.
        let (_, upstream) = stack.upstream_of(client(2));
        stack.pass(upstream.token);
    }
    assert_eq!((stack.sessions(), stack.listener().idle_timeout.value()), (1, 1));
    assert!(stack.flow_with(client(1)).is_none());
    stack.run(Duration::from_secs(59));
    assert_eq!(stack.sessions(), 1);
    stack.run(Duration::from_secs(2));
    assert_eq!((stack.sessions(), stack.listener().idle_timeout.value()), (0, 2));
    assert!(stack.ask(client(1)).is_some(), "and begins again");
}

#[test]
fn sessions_end_at_their_limit_and_at_the_table_s() {
    let mut stack = Stack::new(&[1], 5);
    let begun = (0..9).filter(|number| stack.ask(client(*number)).is_some()).count();
    assert_eq!((begun, stack.sessions()), (5, 5));
    assert_eq!(stack.listener().downstream_sess_overflow.value(), 4);
    assert!(stack.ask(client(0)).is_some(), "those that are there go on");
    stack.config.listeners = vec![dns(1_000)];
    stack.publish();
    let begun = (0..120).filter(|number| stack.ask(client(*number)).is_some()).count();
    assert_eq!((begun, stack.sessions()), (100, 100));
    assert_eq!(stack.proxy.counters().udp_session_table_full.value(), 20);
    stack.run(Duration::from_secs(61));
    assert_eq!(stack.sessions(), 0);
    let begun = (0..120).filter(|number| stack.ask(client(*number)).is_some()).count();
    assert_eq!(begun, 100, "every permit came back");
}

#[test]
fn an_endpoint_that_is_unreachable_is_passed_over_for_a_while() {
    let mut stack = Stack::new(&[1, 2], 100);
    let first = stack.ask(client(1)).expect("an endpoint");
    let (_, upstream) = stack.upstream_of(client(1));
    stack.proxy.handle_unreachable(upstream.token, stack.now);
    stack.carry();
    assert_eq!((stack.sessions(), stack.cluster().udp_sess_rx_errors.value()), (0, 1));
    let second = stack.ask(client(1)).expect("the other one");
    assert_ne!(first, second);
    stack.run(Duration::from_secs(11));
    assert_eq!(stack.ask(client(1)), Some(second), "a session stays where it is");
    stack.run(Duration::from_secs(61));
    assert_eq!(stack.ask(client(1)), Some(first), "a later one comes back");
    // With nobody else, the only one is tried all the same.
    let mut stack = Stack::new(&[1], 100);
    for _ in 0..3 {
        assert_eq!(stack.ask(client(1)), Some(endpoint(1)));
        let (_, upstream) = stack.upstream_of(client(1));
        stack.proxy.handle_unreachable(upstream.token, stack.now);
        stack.carry();
    }
    assert_eq!(stack.sessions(), 0);
}

#[test]
fn a_client_that_is_gone_ends_its_session() {
    let mut stack = Stack::new(&[1], 100);
    stack.ask(client(1));
    let (_, own) = stack.flow_with(client(1)).expect("a session");
    stack.proxy.handle_unreachable(own.token, stack.now);
    stack.carry();
    assert_eq!((stack.sessions(), stack.listener().downstream_sess_tx_errors.value()), (0, 1));
    // A token that names nothing any more.
    stack.pass(own.token);
    assert_eq!(stack.proxy.counters().stale_event.value(), 1);
    stack.proxy.handle_unreachable(own.token, stack.now);
    stack.proxy.datagram_dropped(own.token);
    assert!(stack.proxy.pop_udp_verb().is_none());
}

#[test]
fn without_a_port_or_an_endpoint_there_is_no_session() {
    let mut stack = Stack::new(&[1], 100);
    stack.refuses = Some(ConnectRefused::NoPort);
    assert_eq!(stack.ask(client(1)), None);
    assert_eq!((stack.sessions(), stack.cluster().upstream_cx_connect_fail.value()), (0, 1));
    let mut stack = Stack::new(&[], 100);
    assert_eq!(stack.ask(client(1)), None);
    assert_eq!((stack.sessions(), stack.listener().downstream_sess_no_route.value()), (0, 1));
    assert_eq!(stack.cluster().upstream_cx_none_healthy.value(), 1);
    assert_eq!(stack.pool.in_use(), 0);
}

#[test]
fn what_could_not_be_sent_is_counted_on_its_side() {
    let mut stack = Stack::new(&[1], 100);
    stack.ask(client(1));
    let (_, own) = stack.flow_with(client(1)).expect("a session");
    stack.proxy.datagram_dropped(own.token);
    assert_eq!(stack.cluster().udp_sess_tx_errors.value(), 1);
    stack.proxy.datagram_dropped(own.token + 1);
    assert_eq!(stack.listener().downstream_sess_tx_errors.value(), 1);
}

#[test]
fn a_reload_ends_the_sessions_whose_endpoint_is_gone_and_no_others() {
    let mut stack = Stack::new(&[1, 2, 3], 100);
    let before: Vec<_> = (0..50).map(|number| stack.ask(client(number)).expect("one")).collect();
    stack.config.clusters = vec![names(&[1, 3, 4])];
    stack.publish();
    let orphans = before.iter().filter(|to| **to == endpoint(2)).count() as u64;
    assert!(orphans > 0);
    assert_eq!(stack.sessions(), 50 - orphans);
    for (number, to) in (0..).zip(&before) {
        let is_known = stack.flow_with(client(number)).is_some();
        assert_eq!(is_known, *to != endpoint(2));
        let now = stack.ask(client(number));
        assert!(if is_known { now == Some(*to) } else { now.is_some_and(|now| now != *to) });
    }
    // Nothing that concerns them: all go on.
    stack.config.listeners[0].idle_timeout = Some(Duration::from_secs(5));
    stack.publish();
    assert_eq!(stack.sessions(), 50);
    stack.run(Duration::from_secs(6));
    assert_eq!(stack.sessions(), 0, "with the new timeout");
}

#[test]
fn sessions_end_with_their_listener_and_with_what_it_says() {
    let changes: [fn(&mut Config); 4] = [
        |config| config.listeners.clear(),
        |config| config.listeners[0].address.set_port(54),
        |config| config.listeners[0].protocol = Protocol::Tcp { cluster: NAMES },
        |config| {
            config.clusters.push(cluster(1, &[9]));
            let protocol = &mut config.listeners[0].protocol;
            *protocol = Protocol::Udp { cluster: ClusterId(1), max_sessions: 10 };
        },
    ];
    for change in changes {
        let mut stack = Stack::new(&[1], 100);
        for number in 0..5 {
            stack.ask(client(number));
        }
        change(&mut stack.config);
        stack.publish();
        assert_eq!((stack.proxy.udp_sessions(), stack.flows.len()), (0, 0));
        assert_eq!(stack.cluster().upstream_cx_active.value(), 0);
        assert_eq!(stack.proxy.counters().snapshot_oldest_named.value(), 2, "ids are free again");
    }
}

#[test]
fn a_drain_waits_for_answers_and_not_for_the_idle_timeout() {
    let mut stack = Stack::new(&[1], 100);
    stack.ask(client(1));
    stack.ask(client(2));
    stack.proxy.start_drain(stack.now);
    stack.run(Duration::ZERO);
    stack.run(Duration::from_millis(500));
    assert_eq!(stack.ask(client(3)), None, "nobody new");
    let (_, upstream) = stack.upstream_of(client(1));
    stack.sent.clear();
    stack.pass(upstream.token);
    assert_eq!(stack.sent, [client(1)]);
    stack.run(Duration::from_millis(700));
    assert_eq!(stack.sessions(), 1, "the one that was answered goes on for a while");
    stack.run(Duration::from_millis(700));
    assert_eq!(stack.proxy.active(), 0);
}

/// Whatever happens in whatever order, sessions, flows, permits and gauges agree.
#[test]
fn what_happens_at_random_adds_up() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut stack = Stack::new(&[1, 2, 3], 30);
        for _ in 0..400 {
            let who = client(rng.below(60));
            match rng.below(12) {
                0..=5 => drop(stack.ask(who)),
                6 => stack.run(Duration::from_millis(u64::from(rng.below(40_000)))),
                7 | 8 => {
                    if let Some((_, flow)) = stack.flow_with(who) {
                        let side = rng.below(2);
                        stack.proxy.handle_unreachable(flow.token + side, stack.now);
                        stack.carry();
                    }
                }
                9 => stack.refuses = (rng.below(3) == 0).then_some(ConnectRefused::NoPort),
                10 => {
                    let all = [1, 2, 3, 4];
                    let from = rng.below(3) as usize;
                    stack.config.clusters = vec![names(&all[from..from + 2])];
                    stack.publish();
                }
                _ => {
                    stack.config.listeners = vec![dns(1 + rng.below(40))];
                    stack.publish();
                }
            }
            stack.sessions();
            assert_eq!(stack.pool.in_use(), 0, "seed {seed}");
        }
        stack.run(Duration::from_secs(100));
        assert_eq!(stack.sessions(), 0, "seed {seed}");
        let named: Vec<UdpId> = stack.flows.iter().map(|(key, _)| key.into()).collect();
        assert_eq!(named, []);
    }
}
