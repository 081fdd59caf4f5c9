//! Datagrams over a TAP, with the kernel as client and endpoints: sessions of both families,
//! fragments, endpoints that refuse, reloads, two workers.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::lab::{Lab, Sluice, tap_config, wait_until, with_cores};

const DNS: &str = r#"
[[listener]]
name = "four"
address = "10.9.0.2:53"
protocol = "udp"
cluster = "names"
max_sessions = 5000

[[listener]]
name = "six"
address = "[fd09::2]:53"
protocol = "udp"
cluster = "names"
max_sessions = 5000

[[cluster]]
name = "names"
endpoints = ["10.9.0.1:5301", "[fd09::1]:5302"]
load_balancing = "round_robin"
"#;

const PATIENCE: Duration = Duration::from_secs(10);

fn both_families(config: &str) -> String {
    config
        .replace("addresses = [\"10.9.0.2/24\"]", "addresses = [\"10.9.0.2/24\", \"fd09::2/64\"]")
        .replace("[\"10.9.0.1/24\"]", "[\"10.9.0.1/24\", \"fd09::1/64\"]")
}

/// Answers every datagram with its own name and what was asked.
struct Echo {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    #[track_caller]
    fn start(address: &str) -> Self {
        let mut socket = UdpSocket::bind(address);
        for _ in 0..50 {
            if socket.is_ok() {
                break;
            }
            // An IPv6 address is not usable until its link was asked.
            std::thread::sleep(Duration::from_millis(100));
            socket = UdpSocket::bind(address);
        }
        let socket = socket.expect("an address of the kernel's end");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, count) = (stop.clone(), asked.clone());
        let name = address.rsplit(':').next().unwrap_or_default().to_owned();
        let thread = std::thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut bytes) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let answer = [name.as_bytes(), b" ", &bytes[..len]].concat();
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { stop, asked, thread: Some(thread) }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[track_caller]
fn client(to: &str) -> UdpSocket {
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.connect(to).expect("a route to Sluice");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Asks and gives back the name of who answered.
#[track_caller]
fn ask(socket: &UdpSocket, question: &[u8]) -> String {
    socket.send(question).expect("sent");
    let mut bytes = vec![0; 65_536];
    let len = socket.recv(&mut bytes).expect("an answer in time");
    let at = bytes.iter().position(|byte| *byte == b' ').expect("a name in front");
    assert!(&bytes[at + 1..len] == question, "the same {} bytes", question.len());
    String::from_utf8_lossy(&bytes[..at]).into_owned()
}

/// SIGTERM with sessions that are there: nobody waits for their idle timeout.
#[track_caller]
fn end(mut sluice: Sluice) {
    sluice.signal(Signal::TERM);
    assert_eq!(sluice.wait(8), 0, "the exit status after SIGTERM");
}

#[test]
fn a_thousand_sessions_of_both_families() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &both_families(&tap_config(DNS)));
    let (four, six) = (Echo::start("10.9.0.1:5301"), Echo::start("[fd09::1]:5302"));
    let clients: Vec<_> = (0..1_000)
        .map(|number| client(if number % 2 == 0 { "10.9.0.2:53" } else { "[fd09::2]:53" }))
        .collect();
    let first: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(number, socket)| ask(socket, format!("question {number}").as_bytes()))
        .collect();
    for (socket, first) in clients.iter().zip(&first) {
        assert_eq!(ask(socket, b"again"), *first, "a session keeps its endpoint");
    }
    assert!(four.asked() >= 900 && six.asked() >= 900, "{} {}", four.asked(), six.asked());
    assert_eq!(four.asked() + six.asked(), 2_000, "nothing twice, nothing lost");
    let metrics = sluice.metrics();
    for listener in ["envoy_udp_prefix=\"four\"", "envoy_udp_prefix=\"six\""] {
        assert_eq!(metrics.sum("envoy_udp_downstream_sess_active", &[listener]), 500);
        assert_eq!(metrics.sum("envoy_udp_downstream_sess_rx_datagrams", &[listener]), 1_000);
        assert_eq!(metrics.sum("envoy_udp_downstream_sess_tx_datagrams", &[listener]), 1_000);
    }
    assert_eq!(metrics.sum("envoy_cluster_udp_sess_tx_datagrams", &[]), 2_000);
    let flows = Sluice::command(&lab, &["show", "flows"]).expect_success().stdout;
    assert!(flows.contains("udp") && flows.contains("four"), "{flows}");
    let listeners = Sluice::command(&lab, &["show", "listeners"]).expect_success().stdout;
    assert!(listeners.contains("udp"), "{listeners}");
    end(sluice);
}

#[test]
fn large_datagrams_pass_in_fragments() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &both_families(&tap_config(DNS)));
    let (_four, _six) = (Echo::start("10.9.0.1:5301"), Echo::start("[fd09::1]:5302"));
    for to in ["10.9.0.2:53", "[fd09::2]:53"] {
        // Two sessions, so that each family carries them to an endpoint as well.
        for _ in 0..2 {
            let socket = client(to);
            for len in [0, 1, 1_400, 1_472, 1_473, 4_000, 20_000] {
                let question: Vec<u8> = (0..len).map(|at| (at % 253) as u8).collect();
                ask(&socket, &question);
            }
        }
    }
    let metrics = sluice.metrics();
    assert!(metrics.sum("sluice_stack_reassembled_total", &[]) >= 24);
    assert!(metrics.sum("sluice_stack_fragments_out_total", &[]) >= 48);
    end(sluice);
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &both_families(&tap_config(DNS)));
    // The other endpoint's port is closed: the kernel says so.
    let _six = Echo::start("[fd09::1]:5302");
    for _ in 0..20 {
        let socket = client("10.9.0.2:53");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let mut answered = false;
        for _ in 0..5 {
            socket.send(b"anybody?").expect("sent");
            if socket.recv(&mut [0; 64]).is_ok() {
                answered = true;
                break;
            }
        }
        assert!(answered, "the second question goes elsewhere at the latest");
    }
    let metrics = sluice.metrics();
    let refused = metrics.sum("envoy_cluster_udp_sess_rx_errors", &[]);
    assert!((1..=5).contains(&refused), "{refused}: it is not tried again at once");
    // Where nobody listens, Sluice says so itself.
    let socket = client("10.9.0.2:54");
    socket.send(b"anybody?").expect("sent");
    let error = socket.recv(&mut [0; 64]).expect_err("nobody is there");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    end(sluice);
}

#[test]
fn sessions_survive_a_reload_that_is_not_about_them_and_end_when_idle() {
    let lab = Lab::new();
    let config = both_families(&tap_config(DNS));
    let sluice = Sluice::start(&lab, &config);
    let (_four, _six) = (Echo::start("10.9.0.1:5301"), Echo::start("[fd09::1]:5302"));
    let clients: Vec<_> = (0..20).map(|_| client("10.9.0.2:53")).collect();
    let first: Vec<_> = clients.iter().map(|socket| ask(socket, b"who?")).collect();
    let active = |sluice: &Sluice| sluice.metrics().sum("envoy_udp_downstream_sess_active", &[]);
    // One endpoint leaves: its sessions end, the others go on.
    sluice.reload(&config.replace(", \"[fd09::1]:5302\"", ""));
    let stayed = first.iter().filter(|name| *name == "5301").count() as u64;
    assert_eq!(stayed, 10);
    wait_until(10, "the sessions of the endpoint that left ended", || active(&sluice) == stayed);
    for socket in &clients {
        assert_eq!(ask(socket, b"who now?"), "5301");
    }
    assert_eq!(active(&sluice), 20);
    let total = sluice.metrics().sum("envoy_udp_downstream_sess_total", &[]);
    assert_eq!(total, 30, "ten began again");
    // A shorter timeout holds for those that are there.
    let short = "max_sessions = 5000\nidle_timeout = \"300ms\"";
    sluice.reload(&config.replace("max_sessions = 5000", short));
    wait_until(10, "nothing happened for long enough", || active(&sluice) == 0);
    let idle = sluice.metrics().sum("envoy_udp_idle_timeout", &[]);
    assert_eq!(idle, 20);
    end(sluice);
}

#[test]
fn two_workers_keep_sessions_apart() {
    let lab = Lab::new();
    let config = both_families(&with_cores(&[0, 1], DNS));
    let sluice = Sluice::start(&lab, &config);
    let (four, six) = (Echo::start("10.9.0.1:5301"), Echo::start("[fd09::1]:5302"));
    let clients: Vec<_> = (0..400)
        .map(|number| client(if number % 2 == 0 { "10.9.0.2:53" } else { "[fd09::2]:53" }))
        .collect();
    for round in 0..3 {
        for (number, socket) in clients.iter().enumerate() {
            // Some in fragments, which come to whoever owns the addresses first.
            let len = if number % 10 == 0 { 3_000 } else { 100 };
            let mut question = vec![round; len];
            question[0] = number as u8;
            ask(socket, &question);
        }
    }
    assert_eq!(four.asked() + six.asked(), 1_200);
    let metrics = sluice.metrics();
    assert_eq!(metrics.sum("envoy_udp_downstream_sess_total", &[]), 400, "one worker for each");
    for worker in ["worker=\"0\"", "worker=\"1\""] {
        assert!(metrics.sum("sluice_worker_active", &[worker]) > 50, "{worker} has its share");
    }
    end(sluice);
}
