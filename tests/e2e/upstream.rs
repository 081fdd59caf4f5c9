//! Backends that fail: the client gets a clear answer, the log says why, others go on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::lab::{Backend, Client, Lab, Sluice, respond, tap_config, wait_until};

const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/good/"
cluster = "good"
[[listener.virtual_host.route]]
prefix = "/refuses/"
cluster = "refuses"
[[listener.virtual_host.route]]
prefix = "/half/"
cluster = "half"
[[listener.virtual_host.route]]
prefix = "/half-no-retry/"
cluster = "half"
retries = 0
[[listener.virtual_host.route]]
prefix = "/absent/"
cluster = "absent"
[[listener.virtual_host.route]]
prefix = "/none/"
cluster = "none"
[[listener.virtual_host.route]]
prefix = "/bad/"
cluster = "bad"
timeout = "700ms"
[[listener.virtual_host.route]]
prefix = "/few/"
cluster = "few"

[[cluster]]
name = "good"
endpoints = ["10.9.0.1:8080"]
[[cluster]]
name = "refuses"
endpoints = ["10.9.0.1:1"]
[[cluster]]
name = "half"
endpoints = ["10.9.0.1:1", "10.9.0.1:8080"]
[[cluster]]
name = "absent"
endpoints = ["10.9.0.77:80"]
connect_timeout = "300ms"
[[cluster]]
name = "none"
endpoints = []
[[cluster]]
name = "bad"
endpoints = ["10.9.0.1:8081"]
[[cluster]]
name = "few"
endpoints = ["10.9.0.1:8082"]
max_connections = 1
max_pending = 1
"#;

/// Status and flags of a request for `path`.
#[track_caller]
fn expect_failure(sluice: &Sluice, path: &str, status: u16, flag: &str) {
    let response = Client::connect("10.9.0.2:80").get(path);
    assert_eq!(response.status, status, "{path}: {response:?}");
    assert!(response.complete, "{path}: {response:?}");
    expect_flag(sluice, path, status, flag);
}

#[track_caller]
fn expect_flag(sluice: &Sluice, path: &str, status: u16, flag: &str) {
    let line = sluice.log_of(path);
    assert_eq!(line["response_code"], status, "{line}");
    let flags = line["response_flags"].as_str().unwrap_or_default();
    assert!(flags.split(',').any(|have| have == flag), "no {flag} in {line}");
}

/// A connection that goes on through everything that happens to others.
struct Bystander(Client);

impl Bystander {
    fn new() -> Self {
        Self(Client::connect("10.9.0.2:80"))
    }

    #[track_caller]
    fn expect_well(&mut self) {
        assert_eq!(self.0.get("/good/").status, 200);
    }
}

#[test]
fn a_backend_that_refuses_is_absent_or_not_configured() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _good = Backend::echo("10.9.0.1:8080");
    let mut bystander = Bystander::new();
    bystander.expect_well();
    expect_failure(&sluice, "/refuses/1", 503, "UF");
    expect_failure(&sluice, "/absent/1", 503, "UF");
    expect_failure(&sluice, "/none/1", 503, "UH");
    expect_failure(&sluice, "/nowhere", 404, "NR");
    bystander.expect_well();
    drop(bystander);
    sluice.stop();
}

/// One of two endpoints refuses: nobody notices, unless retries are turned off.
#[test]
fn a_refused_request_is_tried_at_another_endpoint() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _good = Backend::http("10.9.0.1:8080", |request, stream| {
        // No connection is kept, so that every request has to connect.
        let _ = respond(stream, "200 OK", &["connection: close"], request.target.as_bytes());
        false
    });
    let mut client = Client::connect("10.9.0.2:80");
    for count in 0..20 {
        let path = format!("/half/{count}");
        let response = client.get(&path);
        assert_eq!((response.status, response.text()), (200, path));
    }
    sluice.wait_metric("envoy_cluster_upstream_rq_retry_success", &[], |saved| saved >= 5);
    // A body that arrived before the connection failed is sent to the other endpoint whole.
    for _ in 0..4 {
        client.send("POST /half/body HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello");
        assert_eq!(client.response().status, 200);
    }
    let mut failed = 0;
    for count in 0..20 {
        failed += u32::from(client.get(&format!("/half-no-retry/{count}")).status == 503);
    }
    assert!((5..=15).contains(&failed), "{failed} of 20 fail without retries");
    drop(client);
    sluice.stop();
}

/// RST instead of FIN.
fn reset(stream: &TcpStream) {
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

#[test]
fn a_backend_that_hangs_resets_or_talks_nonsense() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _good = Backend::echo("10.9.0.1:8080");
    let _bad = Backend::http("10.9.0.1:8081", |request, stream| {
        let mut say = |bytes: &[u8]| {
            let _ = stream.write_all(bytes);
        };
        match request.target.trim_start_matches("/bad/") {
            "hangs" => std::thread::sleep(Duration::from_secs(3)),
            "hangs-in-body" => {
                say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
                std::thread::sleep(Duration::from_secs(3));
            }
            "resets" => reset(stream),
            "ends" => {}
            "resets-in-body" => {
                say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
                std::thread::sleep(Duration::from_millis(100));
                reset(stream);
            }
            "ends-in-body" => say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
            "ends-in-chunks" => {
                say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\nhalf");
            }
            "nonsense" => say(b"SSH-2.0-OpenSSH_9.2\r\n"),
            "two-lengths" => {
                say(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab");
            }
            "huge-head" => {
                say(b"HTTP/1.1 200 OK\r\nx: ");
                say(&vec![b'y'; 100_000]);
                say(b"\r\n\r\n");
            }
            "bad-chunk" => {
                say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalfXX-5\r\n");
            }
            // The response is whole, and what follows it was never asked for.
            "too-much" => {
                say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n");
            }
            other => panic!("{other}"),
        }
        false
    });
    let mut bystander = Bystander::new();
    bystander.expect_well();

    expect_failure(&sluice, "/bad/hangs", 504, "UT");
    expect_failure(&sluice, "/bad/resets", 503, "UC");
    expect_failure(&sluice, "/bad/ends", 503, "UC");
    expect_failure(&sluice, "/bad/nonsense", 502, "UPE");
    expect_failure(&sluice, "/bad/two-lengths", 502, "UPE");
    expect_failure(&sluice, "/bad/huge-head", 502, "UPE");
    bystander.expect_well();

    // The head is out already: the client sees that the body is cut.
    for (name, flag) in [
        ("hangs-in-body", "UT"),
        ("resets-in-body", "UC"),
        ("ends-in-body", "UC"),
        ("ends-in-chunks", "UC"),
        ("bad-chunk", "UPE"),
    ] {
        let path = format!("/bad/{name}");
        let mut client = Client::connect("10.9.0.2:80");
        let response = client.get(&path);
        assert_eq!((response.status, response.text().as_str()), (200, "half"), "{name}");
        assert!(!response.complete, "{name}: {response:?}");
        client.expect_end();
        expect_flag(&sluice, &path, 200, flag);
        bystander.expect_well();
    }
    let curl = lab.curl(&["http://10.9.0.2/bad/ends-in-body"]);
    assert!([18, 56].contains(&curl.code()), "curl sees the cut: {curl:?}");
    let response = Client::connect("10.9.0.2:80").get("/bad/too-much");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    bystander.expect_well();
    drop(bystander);
    sluice.stop();
}

/// One connection, one that waits for it, and the third is refused at once.
#[test]
fn a_full_cluster_refuses_with_a_flag() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _good = Backend::echo("10.9.0.1:8080");
    let few = Backend::http("10.9.0.1:8082", |_, stream| {
        std::thread::sleep(Duration::from_millis(1_500));
        respond(stream, "200 OK", &[], b"slow")
    });
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect("10.9.0.2:80")).collect();
    clients[0].send("GET /few/1 HTTP/1.1\r\nhost: x\r\n\r\n");
    wait_until(5, "the first to arrive", || few.requests() == 1);
    clients[1].send("GET /few/2 HTTP/1.1\r\nhost: x\r\n\r\n");
    sluice.wait_metric("envoy_cluster_upstream_rq_pending_active", &[], |waiting| waiting == 1);
    let asked = Instant::now();
    expect_failure(&sluice, "/few/3", 503, "UO");
    assert!(asked.elapsed() < Duration::from_millis(1_400), "refused at once");
    Bystander::new().expect_well();
    for client in &mut clients {
        assert_eq!(client.response().text(), "slow");
    }
    assert_eq!(few.connections(), 1);
    drop(clients);
    sluice.stop();
}

/// A backend that closes a pooled connection while it is idle costs no request.
#[test]
fn an_idle_connection_that_the_backend_closed_is_not_used() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _good = Backend::raw("10.9.0.1:8080", |mut stream| {
        let mut bytes = [0; 4_096];
        let _ = stream.read(&mut bytes);
        // Kept alive by its words, closed by its deeds.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        std::thread::sleep(Duration::from_millis(30));
    });
    let mut client = Client::connect("10.9.0.2:80");
    for _ in 0..20 {
        assert_eq!(client.get("/good/").status, 200);
        std::thread::sleep(Duration::from_millis(60));
    }
    drop(client);
    sluice.stop();
}
