//! SIGTERM: what runs may end, nothing new begins, exit status 0.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::lab::{Backend, Client, Lab, Nginx, Sluice, respond, tap_config, wait_until};

const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8080"]
"#;

/// A backend that takes its time.
fn slow(time: Duration) -> Backend {
    Backend::http("10.9.0.1:8080", move |_, stream| {
        std::thread::sleep(time);
        respond(stream, "200 OK", &[], b"slow")
    })
}

#[test]
fn a_request_in_flight_is_answered_before_the_end() {
    let lab = Lab::new();
    let mut sluice = Sluice::start(&lab, &tap_config(SITE));
    let backend = slow(Duration::from_millis(1_500));
    let mut idle = Client::connect("10.9.0.2:80");
    assert_eq!(idle.get("/first").status, 200);
    let mut client = Client::connect("10.9.0.2:80");
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
    wait_until(5, "the request at the backend", || backend.requests() == 2);
    sluice.signal(Signal::TERM);
    // A connection without a request is ended, and the prober is told.
    idle.expect_end();
    assert!(!sluice.is_ready(), "/ready says 503 while draining");
    let refused = lab.curl(&["--max-time", "1", "http://10.9.0.2/"]);
    assert!([7, 28, 56].contains(&refused.code()), "nothing new begins: {refused:?}");
    assert!(!sluice.has_ended(), "it waits for the request");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "slow"));
    client.expect_end();
    assert_eq!(sluice.wait(5), 0);
    assert_eq!(sluice.log_of("/slow")["response_code"], 200, "the last lines are written");
}

#[test]
fn a_second_signal_stops_at_once() {
    let lab = Lab::new();
    let mut sluice = Sluice::start(&lab, &tap_config(SITE));
    let backend = slow(Duration::from_secs(8));
    let mut client = Client::connect("10.9.0.2:80");
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
    wait_until(5, "the request at the backend", || backend.requests() == 1);
    sluice.signal(Signal::TERM);
    wait_until(5, "the drain to begin", || sluice.stderr().contains("draining"));
    assert!(!sluice.has_ended());
    let asked = Instant::now();
    sluice.signal(Signal::TERM);
    assert_eq!(sluice.wait(3), 0);
    assert!(asked.elapsed() < Duration::from_secs(3));
}

#[test]
fn what_outlasts_the_drain_timeout_is_cut() {
    let lab = Lab::new();
    let config = tap_config(SITE).replace("drain_timeout = \"10s\"", "drain_timeout = \"700ms\"");
    let mut sluice = Sluice::start(&lab, &config);
    let backend = slow(Duration::from_secs(8));
    let mut client = Client::connect("10.9.0.2:80");
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
    wait_until(5, "the request at the backend", || backend.requests() == 1);
    sluice.signal(Signal::TERM);
    assert_eq!(sluice.wait(5), 0);
    assert!(sluice.stderr().contains("cut"), "{}", sluice.stderr());
}

/// Under load every request that began is answered; wrk then sees closed connections and refusals,
/// but never a response that is cut or not 2xx.
#[test]
fn a_drain_under_load_ends_soon() {
    let lab = Lab::new();
    let mut sluice = Sluice::start(&lab, &tap_config(SITE));
    let _nginx = Nginx::small(&lab, 8080);
    let mut load = lab.spawn("wrk", "timeout 20 wrk -t 1 -c 50 -d 3s http://10.9.0.2/");
    sluice.wait_metric("envoy_http_downstream_rq_total", &[], |count| count > 1_000);
    sluice.signal(Signal::TERM);
    assert_eq!(sluice.wait(8), 0);
    load.wait(25);
    assert!(!load.stdout().contains("Non-2xx"), "{}", load.stdout());
    let failed = sluice.log().iter().filter(|line| line["response_code"] != 200).count();
    assert_eq!(failed, 0, "every request that began was answered");
}

#[test]
fn sigint_drains_too() {
    let lab = Lab::new();
    let mut sluice = Sluice::start(&lab, &tap_config(SITE));
    sluice.signal(Signal::INT);
    assert_eq!(sluice.wait(5), 0);
}

/// Envoy's doors: no new connections, and the end.
#[test]
fn the_admin_address_drains_and_quits() {
    let lab = Lab::new();
    let mut sluice = Sluice::start(&lab, &tap_config(SITE));
    lab.fetch(&["-X", "POST", "http://127.0.0.1:9901/drain_listeners"]);
    wait_until(5, "503 on /ready", || !sluice.is_ready());
    assert!(!sluice.has_ended());
    lab.fetch(&["-X", "POST", "http://127.0.0.1:9901/quitquitquit"]);
    assert_eq!(sluice.wait(5), 0);
}

/// Messages of a process that runs: none, then again.
#[test]
fn log_levels_change_while_running() {
    let lab = Lab::new();
    let config = tap_config(SITE);
    let sluice = Sluice::start(&lab, &config);
    let reloaded = |times: u64| {
        sluice.reload(&config);
        let name = "sluice_config_reloads_total";
        sluice.wait_metric(name, &["result=\"accepted\""], |count| count == times);
    };
    let logging =
        |query: &str| lab.fetch(&["-X", "POST", &format!("http://127.0.0.1:9901/logging{query}")]);
    assert!(logging("").contains("  config: info\n"));
    assert!(logging("?level=error").contains("  config: error\n"));
    let before = sluice.stderr();
    reloaded(1);
    assert_eq!(sluice.stderr(), before);
    logging("?config=info");
    reloaded(2);
    assert_ne!(sluice.stderr(), before);
    sluice.stop();
}
