//! Clients that misbehave: refused by the status that says why, and others go on.

use std::time::{Duration, Instant};

use crate::lab::{Backend, Client, Lab, Sluice, tap_config, wait_until};

const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
max_request_line = "1KiB"
max_header_bytes = "4KiB"
max_headers = 20
max_body = "10KiB"
header_timeout = "600ms"
idle_timeout = "1500ms"
stream_idle_timeout = "800ms"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8080"]
"#;

/// Sends bytes; expects this status and then the end of the connection.
#[track_caller]
fn expect_refused(what: &str, bytes: &[u8], status: u16) {
    let mut client = Client::connect("10.9.0.2:80");
    client.send(bytes);
    let response = client.try_response().unwrap_or_else(|| panic!("{what}: no response"));
    assert_eq!(response.status, status, "{what}: {response:?}");
    assert_eq!(response.header("connection"), Some("close"), "{what}: {response:?}");
    // What came after the message must not be taken for another request.
    client.expect_end();
}

#[test]
fn malformed_requests_are_refused_and_the_connection_closed() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let backend = Backend::echo("10.9.0.1:8080");
    let cases: &[(&str, &str)] = &[
        ("nonsense", "nonsense\r\n\r\n"),
        ("TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
        ("a space before the colon", "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n"),
        ("a folded field", "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n"),
        ("a bare CR", "GET / HTTP/1.1\r\nhost: a\r\nx: y\rz\r\n\r\n"),
        ("bare LFs", "GET / HTTP/1.1\nhost: a\n\n"),
        ("a NUL", "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        ),
        ("a negative length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"),
        (
            "a length too long",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
        ),
        (
            "length and chunks",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n\
             0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "chunked is not last",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, x\r\n\r\n",
        ),
    ];
    let mut bystander = Client::connect("10.9.0.2:80");
    for (what, bytes) in cases {
        let mut client = Client::connect("10.9.0.2:80");
        client.send(bytes);
        let response = client.try_response().unwrap_or_else(|| panic!("{what}: no response"));
        assert!([400, 501].contains(&response.status), "{what}: {response:?}");
        client.expect_end();
        assert_eq!(bystander.get("/well").status, 200, "after {what}");
    }
    // None of them got through.
    assert_eq!(backend.requests(), cases.len());
    expect_refused("HTTP/3.0", b"GET / HTTP/3.0\r\nhost: a\r\n\r\n", 505);
    let line = sluice.log_of("/well");
    assert_eq!(line["response_flags"], "-", "{line}");
    sluice.wait_metric("envoy_http_downstream_cx_protocol_error", &[], |count| {
        count >= cases.len() as u64
    });
    drop(bystander);
    sluice.stop();
}

/// A chunk size that is none, in a body that has begun: the backend sees a cut, not a whole request.
#[test]
fn a_bad_chunk_ends_the_request() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let backend = Backend::echo("10.9.0.1:8080");
    let start =
        "POST /chunks HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for bad in ["-5\r\nhello\r\n", "zz\r\n", "ffffffffffffffffff\r\n", "5\r\nhelloXX0\r\n\r\n"] {
        let mut client = Client::connect("10.9.0.2:80");
        client.send(format!("{start}{bad}"));
        if let Some(response) = client.try_response() {
            assert_eq!(response.status, 400, "{bad:?}: {response:?}");
        }
        client.expect_end();
    }
    assert_eq!(backend.requests(), 0, "no whole request may arrive");
    sluice.stop();
}

#[test]
fn what_is_too_large_is_refused_by_its_status() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _backend = Backend::echo("10.9.0.1:8080");
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n").into_bytes()
    };
    let long = |bytes: usize| "x".repeat(bytes);
    expect_refused("a long line", &get(&format!("/{}", long(1_100)), ""), 414);
    expect_refused("a line without end", long(5_000).as_bytes(), 414);
    expect_refused("a large head", &get("/", &format!("x: {}\r\n", long(4_200))), 431);
    expect_refused("many fields", &get("/", &"x: y\r\n".repeat(20)), 431);
    // Exactly as many as are allowed, with host.
    let mut client = Client::connect("10.9.0.2:80");
    client.send(get("/", &"x: y\r\n".repeat(19)));
    assert_eq!(client.response().status, 200);
    let post = |length: usize| {
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{}", long(length))
    };
    client.send(post(10 * 1_024));
    assert_eq!(client.response().status, 200);
    let mut client = Client::connect("10.9.0.2:80");
    client.send(post(10 * 1_024 + 1));
    assert_eq!(client.response().status, 413);
    // In chunks, nobody knows before it is too late.
    let mut client = Client::connect("10.9.0.2:80");
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("1000\r\n{}\r\n", long(0x1000));
    for _ in 0..4 {
        let _ = client.try_send(chunk.as_bytes());
    }
    assert_eq!(client.response().status, 413);
    sluice.wait_metric("envoy_http_downstream_rq_too_large", &[], |count| count == 2);
    drop(client);
    sluice.stop();
}

#[test]
fn slow_clients_run_into_timeouts() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _backend = Backend::echo("10.9.0.1:8080");
    // A byte now and then does not extend the time for a head.
    let began = Instant::now();
    let mut slow = Client::connect("10.9.0.2:80");
    for byte in b"GET / HTTP/1.1\r\nx: aaaa" {
        if slow.try_send(&[*byte]).is_none() || began.elapsed() > Duration::from_secs(3) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    if let Some(response) = slow.try_response() {
        assert_eq!(response.status, 408);
    }
    slow.expect_end();
    sluice.wait_metric("envoy_http_downstream_rq_header_timeout", &[], |count| count == 1);

    // A body that stops coming.
    let mut stuck = Client::connect("10.9.0.2:80");
    stuck.send("POST /stuck HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf");
    let began = Instant::now();
    if let Some(response) = stuck.try_response() {
        assert_eq!(response.status, 408, "{response:?}");
    }
    stuck.expect_end();
    assert!(began.elapsed() < Duration::from_secs(5));
    sluice.wait_metric("envoy_http_downstream_rq_idle_timeout", &[], |count| count == 1);

    // A connection that says nothing.
    let mut idle = Client::connect("10.9.0.2:80");
    assert_eq!(idle.get("/").status, 200);
    let began = Instant::now();
    idle.expect_end();
    let took = began.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&took), "{took:?}");
    sluice.wait_metric("envoy_http_downstream_cx_idle_timeout", &[], |count| count >= 1);
    sluice.stop();
}

/// Clients that go away in every phase leave nothing behind.
#[test]
fn clients_that_go_away_leave_nothing() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _backend = Backend::http("10.9.0.1:8080", |_, stream| {
        std::thread::sleep(Duration::from_millis(300));
        crate::lab::respond(stream, "200 OK", &[], &vec![b'x'; 500_000])
    });
    let starts = [
        "",
        "GET / HT",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
    ];
    for round in 0..20 {
        for start in starts {
            let mut client = Client::connect("10.9.0.2:80");
            client.send(start);
            // Some at once, some in the middle of the response.
            if round % 4 == 0 && start.starts_with("GET / HTTP/1.1") {
                let _ = client.read_exactly(10_000);
            }
        }
    }
    wait_until(10, "connections to be gone", || {
        sluice.metrics().sum("envoy_http_downstream_cx_active", &[]) == 0
    });
    sluice.stop();
}
