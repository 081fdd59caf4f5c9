//! Two workers on one TAP: its queues are hints that the kernel forgets, flows keep their worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::lab::{Client, Lab, Nginx, Sluice, with_cores};

const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"

[[listener]]
name = "raw"
address = "10.9.0.2:9000"
protocol = "tcp"
cluster = "relayed"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8080"]
[[cluster]]
name = "relayed"
endpoints = ["10.9.0.1:8080"]
max_connections = 10000
"#;

const CLIENT_THREADS: usize = 3;
/// 3,000 connections to each listener; the relayed ones have as many flows behind Sluice again.
const PER_LISTENER: usize = 3_000;
/// Longer than TAP remembers which queue a flow came from (3 s).
const IDLE: Duration = Duration::from_secs(10);

#[test]
fn six_thousand_flows_survive_ten_seconds_of_idleness() {
    let lab = Lab::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = [0, 1 % cores];
    assert_ne!(cores[0], cores[1], "two workers take two cores");
    let config = with_cores(&cores, SITE).replace("buffers = 24576", "buffers = 49152");
    let sluice = Sluice::start(&lab, &config);
    // Upstream ports beyond what the kernel itself would offer a client.
    let _nginx = Nginx::small(&lab, 8080);
    let answered = Arc::<AtomicUsize>::default();
    let threads: Vec<_> = (0..CLIENT_THREADS)
        .map(|_| {
            let answered = answered.clone();
            std::thread::spawn(move || {
                let mut clients = Vec::new();
                for _ in 0..PER_LISTENER / CLIENT_THREADS {
                    clients.push(Client::connect("10.9.0.2:80"));
                    clients.push(Client::connect("10.9.0.2:9000"));
                }
                // Twice over: right after the start, and when every queue was forgotten.
                for round in 0..2 {
                    if round == 1 {
                        std::thread::sleep(IDLE);
                    }
                    for client in &mut clients {
                        let response = client.get("/");
                        assert_eq!(response.text(), "hello from 8080\n", "round {round}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
                clients
            })
        })
        .collect();
    let threads: Vec<_> = threads.into_iter().map(std::thread::JoinHandle::join).collect();
    let flows = sluice.metrics().sum("sluice_stack_tcp_connections", &[]);
    assert!(flows >= 3 * PER_LISTENER as u64, "{flows} flows");
    for thread in threads {
        drop(thread.expect("a client thread had no error"));
    }
    assert_eq!(answered.load(Ordering::Relaxed), 4 * PER_LISTENER);
    let metrics = sluice.metrics();
    for worker in ["worker=\"0\"", "worker=\"1\""] {
        assert!(metrics.sum("sluice_worker_handed_off_total", &[worker]) > 0, "{worker} steers");
        let received = ["direction=\"rx\"", worker];
        assert!(metrics.sum("sluice_worker_packets_total", &received) > 0, "{worker} receives");
    }
    assert_eq!(metrics.sum("sluice_worker_handoff_dropped_total", &[]), 0);
    sluice.stop();
}

/// Both workers at full load, with a reload's worth of cross traffic.
#[test]
fn two_workers_carry_wrk() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &with_cores(&[0, 1], SITE));
    let _nginx = Nginx::small(&lab, 8080);
    let output = lab.run(30, "wrk -t 2 -c 100 -d 3s http://10.9.0.2/").expect_success().stdout;
    assert!(!output.contains("Socket errors") && !output.contains("Non-2xx"), "{output}");
    sluice.stop();
}
