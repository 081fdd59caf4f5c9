//! The control thread under real signals: SIGHUP reloads, SIGTERM drains and returns.
//!
//! One test, since signals are the process's.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtrb::RingBuffer;
use sluice_arch::Waker;
use sluice_base::{InterfaceId, WorkerId};
use sluice_config_control::{ControlParts, Exit, LogLevels, Publisher, WorkerLinks, get, run};
use sluice_config_model::IdRegistry;
use sluice_worker::{HOME_RING, LOG_RING, WorkerStatus, mailbox};

const CONFIG: &str = r#"
[[interface]]
name = "net0"
device = "tap:sl0"
addresses = ["10.9.0.2/24"]

[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
direct_response = { status = 200, body = "hello" }
"#;

fn signal(name: &str) {
    let pid = std::process::id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
    assert!(sent.success());
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("an address")
}

#[test]
fn hangup_reloads_and_terminate_drains() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("edge.toml");
    let admin = free_address();
    let text = format!("{CONFIG}[admin]\naddress = \"{admin}\"\n");
    std::fs::write(&path, &text).expect("a file");
    let mut registry = IdRegistry::new();
    let (config, _) = sluice_config_toml::load_with(&path, &mut registry).expect("it is valid");

    let (snapshots, mut mail) = mailbox();
    let (mut home, retired) = RingBuffer::new(HOME_RING);
    let (_log, log) = RingBuffer::new(LOG_RING);
    let status = Arc::new(WorkerStatus::new(
        Arc::default(),
        Arc::default(),
        std::iter::once(InterfaceId(0)),
    ));
    let waker = Arc::new(Waker::new().expect("an event descriptor"));
    let id = WorkerId(0);
    let (listing, _) = sluice_worker::listing();
    let shared = status.clone();
    let links = WorkerLinks { id, snapshots, retired, log, listing, status: shared, waker };
    let parts = ControlParts {
        config,
        path: path.clone(),
        publisher: Publisher::new(registry, 1),
        workers: vec![links],
        interfaces: Vec::new(),
        memory: String::new(),
        log_levels: LogLevels::fixed(),
    };
    let control = std::thread::spawn(move || run(parts));
    let mut first = None;
    until("the first configuration", || {
        first = mail.take();
        first.is_some()
    });
    status.set_listening(1, 0);
    until("the admin address", || get(admin, "/ready").is_ok_and(|text| text == "LIVE\n"));

    std::fs::write(&path, text.replace("hello", "good day")).expect("a file");
    signal("HUP");
    let mut second = None;
    until("the second configuration", || {
        second = mail.take();
        second.is_some()
    });
    home.push(first.take().expect("the first one")).expect("room");
    status.set_listening(2, 0);
    until("the way home", || {
        get(admin, "/stats?filter=outstanding").is_ok_and(|text| text.ends_with(": 0\n"))
    });

    signal("TERM");
    until("the order", || status.commanded() == sluice_worker::Command::Drain);
    status.set_drained(true);
    let exit = control.join().expect("no panic").expect("it started");
    assert_eq!(exit, Exit::Drained);
}
