//! Workers without packets, and a control thread around them, for tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::{Producer, RingBuffer};
use sluice_arch::Waker;
use sluice_base::{InterfaceId, WorkerId};
use sluice_config_model::{Config, IdRegistry};
use sluice_l7_proxy::{AccessRecord, Snapshot};
use sluice_worker::{
    Command, HOME_RING, LOG_RING, MailboxReceiver, WorkerLinks, WorkerStatus, mailbox,
};
use tokio::sync::mpsc;

use crate::access_log::LogSink;
use crate::control::{ControlError, ControlParts, Exit, InterfaceInfo, Order, serve};
use crate::log_levels::LogLevels;
use crate::publisher::Publisher;
use crate::state::State;

/// One listener of each kind, one cluster.
pub(crate) const CONFIG: &str = r#"
[node]
id = "edge-1"
cluster = "edge"

[[interface]]
name = "net0"
device = "tap:sl0"
addresses = ["10.9.0.2/24"]

[[ip_route]]
to = "10.20.0.0/16"
via = "10.9.0.1"

[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
name = "home"
prefix = "/"
cluster = "app"
request_headers_add = [{ name = "authorization", value = "Bearer s3cret" }]

[[listener]]
name = "raw"
address = "10.9.0.2:9000"
protocol = "tcp"
cluster = "app"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8081", "10.9.0.1:8082"]
"#;

/// A valid configuration, ids from `registry`.
pub(crate) fn config(text: &str, registry: &mut IdRegistry) -> Config {
    sluice_config_toml::parse("test.toml", text, registry).expect("a valid configuration").0
}

/// The worker's ends, moved by hand.
pub(crate) struct FakeWorker {
    pub(crate) snapshots: MailboxReceiver<Arc<Snapshot>>,
    pub(crate) home: Producer<Arc<Snapshot>>,
    pub(crate) log: Producer<AccessRecord>,
    pub(crate) status: Arc<WorkerStatus>,
    /// Oldest first; the last is the current one.
    pub(crate) held: Vec<Arc<Snapshot>>,
}

impl FakeWorker {
    /// Takes the newest snapshot, keeps the older ones as if requests pinned them.
    pub(crate) fn adopt_and_pin(&mut self) -> bool {
        let Some(snapshot) = self.snapshots.take() else { return false };
        self.status.set_listening(snapshot.version, 0);
        self.held.push(snapshot);
        self.name_oldest();
        true
    }

    /// Sends everything but the current one home.
    pub(crate) fn unpin(&mut self) {
        while self.held.len() > 1 {
            self.home.push(self.held.remove(0)).expect("the ring home has room");
        }
        self.name_oldest();
    }

    /// As if what it holds were what it names.
    fn name_oldest(&self) {
        let oldest = self.held.first().map_or(0, |snapshot| snapshot.version);
        self.status.proxy.snapshot_oldest_named.set(oldest);
    }

    /// Takes the newest snapshot and sends the older one home.
    pub(crate) fn adopt(&mut self) -> bool {
        let adopted = self.adopt_and_pin();
        self.unpin();
        adopted
    }

    /// Whether it was told to drain.
    pub(crate) fn told_to_drain(&self) -> bool {
        self.status.commanded() == Command::Drain
    }
}

/// So many workers, and the control thread's ends.
pub(crate) fn workers(count: u16) -> (Vec<WorkerLinks>, Vec<FakeWorker>) {
    let pairs = (0..count).map(|id| {
        let (snapshots, receiver) = mailbox();
        let (home, retired) = RingBuffer::new(HOME_RING);
        let (log_in, log) = RingBuffer::new(LOG_RING);
        let status = Arc::new(WorkerStatus::new(
            Arc::default(),
            Arc::default(),
            std::iter::once(InterfaceId(0)),
        ));
        let waker = Arc::new(Waker::new().expect("an event descriptor"));
        let id = WorkerId(id);
        let (listing, _) = sluice_worker::listing();
        let shared = status.clone();
        let links = WorkerLinks { id, snapshots, retired, log, listing, status: shared, waker };
        let held = Vec::new();
        (links, FakeWorker { snapshots: receiver, home, log: log_in, status, held })
    });
    pairs.unzip()
}

/// What the control thread is given.
pub(crate) fn parts(text: &str, path: &Path, count: u16) -> (ControlParts, Vec<FakeWorker>) {
    let mut registry = IdRegistry::new();
    let config = config(text, &mut registry);
    let (workers, fakes) = workers(count);
    let interfaces = vec![InterfaceInfo {
        name: "net0".to_owned(),
        device: "tap:sl0".to_owned(),
        mac: [2, 0, 0, 0, 0xab, 1],
        mtu: 1_500,
        addresses: vec!["10.9.0.2/24".to_owned()],
    }];
    let publisher = Publisher::new(registry, count);
    let memory = "normal pages".to_owned();
    let path = path.to_owned();
    let log_levels = LogLevels::new("info", |_| Ok(()));
    (ControlParts { config, path, publisher, workers, interfaces, memory, log_levels }, fakes)
}

/// The state that the loop begins with.
pub(crate) fn state(text: &str, count: u16) -> (State, Vec<FakeWorker>) {
    let (parts, fakes) = parts(text, &PathBuf::from("test.toml"), count);
    let log = LogSink::open(parts.config.access_log.as_ref()).expect("the log opens");
    (State::start(parts, log).expect("the configuration compiles"), fakes)
}

/// A control thread that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) orders: mpsc::Sender<Order>,
    thread: JoinHandle<Result<Exit, ControlError>>,
}

/// Starts one on a loopback port of its own.
pub(crate) fn start(parts: ControlParts) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.set_nonblocking(true).expect("a socket option");
    let address = listener.local_addr().expect("an address");
    let (orders, receiver) = mpsc::channel(8);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            serve(parts, listener, receiver).await
        })
    });
    Running { address, orders, thread }
}

impl Running {
    /// Gives an order.
    pub(crate) fn order(&self, order: Order) {
        self.orders.blocking_send(order).expect("the loop listens");
    }

    /// Why it returned.
    pub(crate) fn end(self) -> Exit {
        self.thread.join().expect("the loop does not panic").expect("the loop started")
    }
}

/// Waits for another thread, but not for ever.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
