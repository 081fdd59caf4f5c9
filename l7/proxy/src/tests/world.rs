//! Fake streams around a proxy: bytes and virtual time in, verbs out.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_base::{ClusterId, ConnId, EndpointId, Instant, ListenerId, RouteId, VirtualHostId};
use sluice_buf::{Chain, Pool, chain_nodes_in_use};
use sluice_config_model::{
    AccessLog, BackOff, Cluster, Config, ConnectionLife, DomainPattern, Endpoint, GrpcTimeout,
    Http2Settings, HttpListener, HttpVersion, Listener, LoadBalancing, PathMatch, Protocol, Route,
    RouteAction, RouteMatch, TcpSettings, VirtualHost, defaults,
};

use crate::{
    AccessRecord, CloseReason, ClusterCounters, ConnectRefused, CounterRegistry, ListenerCounters,
    Proxy, ProxyConfig, Snapshot, StreamEvent, Verb,
};

pub(crate) const WEB: ListenerId = ListenerId(0);
pub(crate) const TCP: ListenerId = ListenerId(1);
pub(crate) const APP: ClusterId = ClusterId(0);

/// What an endpoint does with our SYN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Behaviour {
    Accept,
    Refuse,
    Silent,
    NoPort,
}

/// One fake connection, seen from its far end.
pub(crate) struct Stream {
    pub(crate) conn: ConnId,
    pub(crate) remote: Option<SocketAddr>,
    /// Bytes the proxy wrote and the test has not taken.
    pub(crate) received: Vec<u8>,
    /// In how many pieces it wrote.
    pub(crate) writes: usize,
    /// Bytes the test sent.
    pub(crate) sent: usize,
    /// Bytes the proxy gave back.
    pub(crate) credited: usize,
    /// The proxy closed its side.
    pub(crate) fin: bool,
    /// The proxy reset it.
    pub(crate) aborted: bool,
    /// We closed our side.
    pub(crate) we_fin: bool,
    /// The stack has told that it is gone.
    pub(crate) dead: bool,
    /// Send room that the stack reports after each write.
    pub(crate) room: usize,
}

pub(crate) struct World {
    pub(crate) proxy: Proxy,
    pub(crate) now: Instant,
    pub(crate) streams: Vec<Stream>,
    pub(crate) rx: Pool,
    tx: Pool,
    pub(crate) registry: CounterRegistry,
    pub(crate) config: Config,
    snapshot: Arc<Snapshot>,
    behaviours: Vec<(SocketAddr, Behaviour)>,
    slots: Vec<(u32, bool)>,
    pub(crate) logs: Vec<AccessRecord>,
    pub(crate) retired: usize,
}

pub(crate) fn endpoint(last: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 0, 0, last).into(), 80)
}

pub(crate) fn route(id: u32, prefix: &str, action: RouteAction) -> Route {
    Route {
        id: RouteId(id),
        name: None,
        matcher: RouteMatch {
            path: PathMatch::Prefix(prefix.to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        action,
        host_rewrite: None,
        prefix_rewrite: None,
        request_headers_add: Vec::new(),
        request_headers_remove: Vec::new(),
        response_headers_add: Vec::new(),
        response_headers_remove: Vec::new(),
        timeout: Some(defaults::ROUTE_TIMEOUT),
        retries: defaults::RETRIES,
        retry_back_off: BackOff::NONE,
        retry_on: Vec::new(),
        grpc_timeout: GrpcTimeout::Besides,
    }
}

pub(crate) fn cluster(id: u32, endpoints: &[u8]) -> Cluster {
    Cluster {
        id: ClusterId(id),
        name: format!("cluster-{id}"),
        endpoints: endpoints
            .iter()
            .map(|&last| Endpoint { id: EndpointId(u32::from(last)), address: endpoint(last) })
            .collect(),
        load_balancing: LoadBalancing::RoundRobin,
        connect_timeout: defaults::CONNECT_TIMEOUT,
        idle_timeout: Some(defaults::CLUSTER_IDLE_TIMEOUT),
        http: HttpVersion::Http11,
        life: ConnectionLife::default(),
        http2: Http2Settings::default(),
        max_connections: defaults::MAX_CONNECTIONS,
        max_pending: defaults::MAX_PENDING,
        // As many as anybody wants: `retries.rs` is about fewer.
        max_retries: 1_000,
        tcp: TcpSettings::default(),
    }
}

fn listener(id: ListenerId, protocol: Protocol) -> Listener {
    Listener {
        id,
        name: format!("listener-{}", id.0),
        address: SocketAddr::new(Ipv4Addr::new(10, 9, 0, 2).into(), 80 + id.0 as u16),
        protocol,
        idle_timeout: Some(defaults::LISTENER_IDLE_TIMEOUT),
        tcp: TcpSettings::default(),
    }
}

/// One HTTP listener whose every path goes to one cluster of two endpoints; one TCP listener.
pub(crate) fn config() -> Config {
    let http = HttpListener {
        virtual_hosts: vec![VirtualHost {
            id: VirtualHostId(0),
            name: "all".to_owned(),
            domains: vec![DomainPattern::Any],
            routes: vec![route(0, "/", RouteAction::Cluster(APP))],
        }],
        header_timeout: Some(defaults::HEADER_TIMEOUT),
        stream_idle_timeout: Some(defaults::STREAM_IDLE_TIMEOUT),
        max_request_line: defaults::MAX_REQUEST_LINE,
        max_header_bytes: defaults::MAX_HEADER_BYTES,
        max_headers: defaults::MAX_HEADERS,
        max_body: None,
        allow_connect: false,
        life: ConnectionLife::default(),
        http2: Http2Settings::default(),
    };
    Config {
        listeners: vec![
            listener(WEB, Protocol::Http(http)),
            listener(TCP, Protocol::Tcp { cluster: APP }),
        ],
        clusters: vec![cluster(0, &[1, 2])],
        access_log: Some(AccessLog::default()),
        ..Config::default()
    }
}

pub(crate) fn web(config: &mut Config) -> &mut HttpListener {
    match &mut config.listeners[0].protocol {
        Protocol::Http(http) => http,
        Protocol::Tcp { .. } | Protocol::Udp { .. } => panic!("the first listener speaks HTTP"),
    }
}

pub(crate) fn routes(config: &mut Config) -> &mut Vec<Route> {
    &mut web(config).virtual_hosts[0].routes
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let mut registry = CounterRegistry::new(1);
        let snapshot =
            Arc::new(Snapshot::compile(&config, &mut registry, None).expect("it compiles"));
        let (rx, tx) = (Pool::heap(512), Pool::heap(512));
        let settings = ProxyConfig {
            connections_max: 256,
            exchanges_max: 120,
            seed: 1,
            ..ProxyConfig::default()
        };
        let mut proxy = Proxy::new(settings, tx.share());
        let now = Instant::from_millis(1_000);
        proxy.adopt(Arc::clone(&snapshot), now).expect("room for one");
        proxy.handle_timers(now);
        Self {
            proxy,
            now,
            streams: Vec::new(),
            rx,
            tx,
            registry,
            config,
            snapshot,
            behaviours: Vec::new(),
            slots: Vec::new(),
            logs: Vec::new(),
            retired: 0,
        }
    }

    /// Compiles and adopts a changed configuration.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        let next = Snapshot::compile(&self.config, &mut self.registry, Some(&self.snapshot));
        self.snapshot = Arc::new(next.expect("it compiles"));
        self.proxy.adopt(Arc::clone(&self.snapshot), self.now).expect("a free slot");
        self.pump();
    }

    pub(crate) fn behave(&mut self, last: u8, behaviour: Behaviour) {
        self.behaviours.retain(|(address, _)| *address != endpoint(last));
        self.behaviours.push((endpoint(last), behaviour));
    }

    fn slot(&mut self) -> ConnId {
        let free = self.slots.iter().position(|(_, used)| !used);
        let index = free.unwrap_or_else(|| {
            self.slots.push((0, false));
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        *slot = (slot.0 + 1, true);
        ConnId { index: index as u32, generation: slot.0 }
    }

    fn open(&mut self, remote: Option<SocketAddr>) -> usize {
        let conn = self.slot();
        self.streams.push(Stream {
            conn,
            remote,
            received: Vec::new(),
            writes: 0,
            sent: 0,
            credited: 0,
            fin: false,
            aborted: false,
            we_fin: false,
            dead: false,
            room: 1 << 20,
        });
        self.streams.len() - 1
    }

    /// A client connects.
    pub(crate) fn client_of(&mut self, listener: ListenerId) -> usize {
        self.client_from(100, listener)
    }

    /// A client with another address.
    pub(crate) fn client_from(&mut self, host: u8, listener: ListenerId) -> usize {
        let at = self.open(None);
        let conn = self.streams[at].conn;
        let (local, peer) = (endpoint(200), endpoint(host));
        self.proxy.handle(conn, StreamEvent::Accepted { listener, local, peer }, self.now);
        self.pump();
        at
    }

    pub(crate) fn client(&mut self) -> usize {
        self.client_of(WEB)
    }

    /// The far end sends bytes.
    pub(crate) fn send(&mut self, at: usize, bytes: impl AsRef<[u8]>) {
        let chain = Chain::copy_from(bytes.as_ref(), &self.rx).expect("receive buffers");
        self.streams[at].sent += bytes.as_ref().len();
        self.event(at, StreamEvent::Data(chain));
    }

    pub(crate) fn event(&mut self, at: usize, event: StreamEvent) {
        let conn = self.streams[at].conn;
        self.proxy.handle(conn, event, self.now);
        self.pump();
    }

    /// The far end closes its side.
    pub(crate) fn fin(&mut self, at: usize) {
        self.streams[at].we_fin = true;
        self.event(at, StreamEvent::PeerClosed);
        self.settle_close(at);
    }

    /// The far end resets.
    pub(crate) fn reset(&mut self, at: usize) {
        self.die(at, CloseReason::Reset);
    }

    fn die(&mut self, at: usize, reason: CloseReason) {
        let stream = &mut self.streams[at];
        if std::mem::replace(&mut stream.dead, true) {
            return;
        }
        self.slots[stream.conn.index as usize].1 = false;
        self.event(at, StreamEvent::Closed(reason));
    }

    fn settle_close(&mut self, at: usize) {
        let stream = &self.streams[at];
        if stream.fin && stream.we_fin && !stream.dead {
            self.die(at, CloseReason::Normal);
        }
    }

    fn find(&self, conn: ConnId) -> Option<usize> {
        self.streams.iter().position(|stream| stream.conn == conn && !stream.dead)
    }

    fn credit(&mut self, conn: ConnId, bytes: usize) {
        // The stack may have buried it while the verb was on its way.
        let Some(at) = self.find(conn) else { return };
        let stream = &mut self.streams[at];
        stream.credited += bytes;
        assert!(stream.credited <= stream.sent, "no more than was received");
    }

    /// Carries verbs out until there is none.
    pub(crate) fn pump(&mut self) {
        while let Some(verb) = self.proxy.pop_verb() {
            match verb {
                Verb::Connect { token, remote, .. } => self.connect(token, remote),
                Verb::Write { conn, bytes } => {
                    let at = self.find(conn).expect("writes go to live connections");
                    let stream = &mut self.streams[at];
                    assert!(!stream.fin, "nothing is written after Close");
                    assert!(!bytes.is_empty(), "a write has bytes");
                    stream.received.extend(bytes.to_vec());
                    stream.writes += 1;
                    let room = stream.room;
                    drop(bytes);
                    if let Some((partner, bytes)) = self.proxy.wrote(conn, room) {
                        self.credit(partner, bytes);
                    }
                }
                Verb::Credit { conn, bytes } => self.credit(conn, bytes),
                Verb::Close { conn } => {
                    let at = self.find(conn).expect("a live connection is closed");
                    assert!(!std::mem::replace(&mut self.streams[at].fin, true), "closed once");
                    self.settle_close(at);
                }
                Verb::Abort { conn } => {
                    let at = self.find(conn).expect("a live connection is reset");
                    let stream = &mut self.streams[at];
                    (stream.aborted, stream.dead) = (true, true);
                    self.slots[conn.index as usize].1 = false;
                }
            }
        }
        if super::folding::is_hurried() {
            self.proxy.fold_all();
        }
        while let Some(record) = self.proxy.pop_log() {
            self.logs.push(record);
        }
        while let Some(snapshot) = self.proxy.pop_retired() {
            drop(snapshot);
            self.retired += 1;
        }
    }

    fn connect(&mut self, token: u32, remote: SocketAddr) {
        let found = self.behaviours.iter().find(|(address, _)| *address == remote);
        let behaviour = found.map_or(Behaviour::Accept, |(_, behaviour)| *behaviour);
        if behaviour == Behaviour::NoPort {
            self.proxy.connect_result(token, Err(ConnectRefused::NoPort), self.now);
            return;
        }
        let at = self.open(Some(remote));
        let conn = self.streams[at].conn;
        self.proxy.connect_result(token, Ok(conn), self.now);
        match behaviour {
            Behaviour::Accept => self.proxy.handle(conn, StreamEvent::Connected, self.now),
            Behaviour::Refuse => {
                self.streams[at].dead = true;
                self.slots[conn.index as usize].1 = false;
                let event = StreamEvent::ConnectFailed(CloseReason::Refused);
                self.proxy.handle(conn, event, self.now);
            }
            Behaviour::Silent | Behaviour::NoPort => {}
        }
    }

    /// What the far end has received since the last call.
    pub(crate) fn take(&mut self, at: usize) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.streams[at].received)).into_owned()
    }

    /// Connections to endpoints, in the order they were opened.
    pub(crate) fn upstreams(&self) -> Vec<usize> {
        (0..self.streams.len()).filter(|&at| self.streams[at].remote.is_some()).collect()
    }

    /// The youngest connection to an endpoint.
    pub(crate) fn upstream(&self) -> usize {
        *self.upstreams().last().expect("a connection to an endpoint")
    }

    /// The connection to an endpoint that has a request to answer.
    pub(crate) fn asked(&self) -> usize {
        let unread = |at: &usize| {
            let stream = &self.streams[*at];
            !stream.received.is_empty() && !stream.dead
        };
        self.upstreams().into_iter().find(unread).expect("a request arrived")
    }

    /// Takes the request that arrived at an endpoint and answers it.
    pub(crate) fn answer(&mut self, response: &str) -> String {
        let at = self.asked();
        let request = self.take(at);
        self.send(at, response);
        request
    }

    /// Takes every transmit buffer.
    pub(crate) fn exhaust_transmit(&mut self) -> Vec<sluice_buf::Packet> {
        std::iter::from_fn(|| self.tx.alloc().ok()).collect()
    }

    /// One that had its turn, and has more, has another one.
    pub(crate) fn resume(&mut self) {
        assert!(self.proxy.resume(self.now).is_some(), "one was interrupted");
        while self.proxy.settle(self.now) {}
        self.pump();
    }

    /// Lets time pass, with every timer at its time.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let next = self.proxy.next_deadline();
            if next > end {
                break;
            }
            self.now = next.max(self.now);
            self.proxy.handle_timers(self.now);
            self.pump();
            for _ in 0..self.proxy.interrupted() {
                self.resume();
            }
            if self.proxy.next_deadline() <= self.now {
                self.now = self.now.plus_nanos(1_000_000);
            }
        }
        self.now = end.max(self.now);
    }

    pub(crate) fn listener_counters(&self) -> &ListenerCounters {
        self.listener_counters_of(WEB)
    }

    pub(crate) fn listener_counters_of(&self, id: ListenerId) -> &ListenerCounters {
        &self.registry.find_listener(id).expect("it has counters")[0]
    }

    pub(crate) fn cluster_counters(&self) -> &ClusterCounters {
        &self.registry.find_cluster(APP).expect("it has counters")[0]
    }

    /// The flags of the only record since the last call, with its status.
    pub(crate) fn last_log(&mut self) -> String {
        let record = self.logs.pop().expect("a record");
        format!("{} {}", record.status, record.flags)
    }

    /// Everything ends: nothing may be left anywhere.
    pub(crate) fn census(mut self) {
        // Who waited may get a connection when another one ends: until there is none.
        let mut at = 0;
        while at < self.streams.len() {
            if !self.streams[at].dead {
                self.die(at, CloseReason::Reset);
            }
            at += 1;
        }
        self.pump();
        assert_eq!(self.proxy.active(), 0, "exchanges left");
        assert_eq!(self.proxy.connections(), 0, "sessions left");
        assert_eq!(self.proxy.pinned(), 0, "pins left");
        let listeners = self.config.listeners.iter().filter_map(|listener| {
            self.registry.find_listener(listener.id).map(|counters| &counters[0])
        });
        for counters in listeners {
            assert_eq!(counters.downstream_cx_active.value(), 0, "downstream_cx_active");
            assert_eq!(counters.downstream_rq_active.value(), 0, "downstream_rq_active");
        }
        for cluster in &self.config.clusters {
            let Some(counters) = self.registry.find_cluster(cluster.id) else { continue };
            assert_eq!(counters[0].upstream_cx_active.value(), 0, "upstream_cx_active");
            assert_eq!(counters[0].upstream_rq_active.value(), 0, "upstream_rq_active");
            assert_eq!(counters[0].upstream_rq_pending_active.value(), 0, "pending_active");
        }
        for (id, state) in self.config.clusters.iter().filter_map(|cluster| {
            self.proxy.pools.cluster(cluster.id).map(|state| (cluster.id, state))
        }) {
            // Before the proxy ends, which gives back what it holds.
            assert_eq!(state.connections.in_use(), 0, "{id}: connection permits left");
            assert_eq!(state.pending.in_use(), 0, "{id}: pending permits left");
            assert_eq!(state.retries.in_use(), 0, "{id}: retry permits left");
        }
        let leases: Vec<_> =
            self.snapshot.clusters().map(|cluster| (cluster.leases.clone(), cluster.id)).collect();
        drop(self.proxy);
        for (leases, id) in leases {
            let of =
                |lease: &sluice_l7_balance::Lease| lease.available() == i64::from(lease.limit());
            assert!(of(&leases.connections), "{id}: connection permits left");
            assert!(of(&leases.pending), "{id}: pending permits left");
            assert!(of(&leases.retries), "{id}: retry permits left");
        }
        drop(self.streams);
        assert_eq!(self.rx.in_use(), 0, "receive buffers left");
        assert_eq!(self.tx.in_use(), 0, "transmit buffers left");
        assert_eq!(chain_nodes_in_use(), 0, "chain nodes left");
    }
}
