//! Many requests, many connections, large bodies: no error.

use std::io::Write;

use crate::lab::{Backend, Lab, Nginx, Sluice, respond, tap_config};

const PROXY: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"
timeout = "60s"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8080"]
"#;

const BODY_BYTES: usize = 100_000_000;

/// Bytes that repeat nowhere near a segment, so that a lost or doubled one shows.
fn pattern(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

#[test]
fn five_hundred_connections_of_wrk() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(PROXY));
    let _nginx = Nginx::small(&lab, 8080);
    let output = lab.run(30, "wrk -t 2 -c 500 -d 5s http://10.9.0.2/").expect_success().stdout;
    // wrk has a line for either, only if there was one.
    assert!(!output.contains("Socket errors"), "{output}");
    assert!(!output.contains("Non-2xx"), "{output}");
    let requests =
        output.split(" requests in").next().and_then(|text| text.split_whitespace().last());
    let requests: u64 = requests.and_then(|count| count.parse().ok()).expect(&output);
    assert!(requests > 5_000, "{output}");
    // wrk cuts its connections at the end; nothing may be left of them.
    sluice.stop();
}

#[test]
fn ten_thousand_connections_open_and_close() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(PROXY));
    let _nginx = Nginx::small(&lab, 8080);
    let output =
        lab.run(60, "ab -q -n 10000 -c 100 -s 20 http://10.9.0.2/").expect_success().stdout;
    let value = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name)).expect(&output);
        line.trim().to_owned()
    };
    assert_eq!(value("Complete requests:"), "10000");
    assert_eq!(value("Failed requests:"), "0", "{output}");
    assert!(!output.contains("Non-2xx"), "{output}");
    sluice.wait_metric("envoy_http_downstream_cx_total", &[], |count| count >= 10_000);
    sluice.wait_metric("envoy_http_downstream_cx_active", &[], |count| count == 0);
    sluice.stop();
}

#[test]
fn a_hundred_megabytes_down() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(PROXY));
    let _nginx = Nginx::small(&lab, 8080);
    lab.write("www/large", pattern(BODY_BYTES));
    lab.fetch(&["-o", "down", "http://10.9.0.2/large"]);
    lab.run(20, "cmp www/large down").expect_success();
    sluice.stop();
}

#[test]
fn a_hundred_megabytes_up() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(PROXY));
    let arrived = lab.path("arrived");
    let _backend = Backend::http("10.9.0.1:8080", move |request, stream| {
        let kept = std::fs::File::create(&arrived).and_then(|mut f| f.write_all(&request.body));
        let status = if kept.is_ok() { "200 OK" } else { "500 Internal Server Error" };
        respond(stream, status, &[], b"kept\n")
    });
    lab.write("up", pattern(BODY_BYTES));
    // First with a length, then in chunks.
    assert_eq!(lab.fetch(&["-T", "up", "http://10.9.0.2/up"]), "kept\n");
    lab.run(20, "cmp up arrived").expect_success();
    let chunked = ["-H", "transfer-encoding: chunked", "-T", "up", "http://10.9.0.2/up"];
    assert_eq!(lab.fetch(&chunked), "kept\n");
    lab.run(20, "cmp up arrived").expect_success();
    sluice.stop();
}

/// A client that reads slowly holds back the backend instead of filling memory.
#[test]
fn a_slow_reader_pushes_back() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(PROXY));
    let _nginx = Nginx::small(&lab, 8080);
    lab.write("www/large", pattern(20_000_000));
    let url = "http://10.9.0.2/large";
    lab.fetch(&["--limit-rate", "8M", "-o", "down", url]);
    lab.run(20, "cmp www/large down").expect_success();
    sluice.stop();
}

/// Small packets and jumbo frames, in both directions.
#[test]
fn bodies_pass_whatever_the_mtu() {
    for mtu in [576, 1_280, 9_000] {
        let lab = Lab::new();
        let address = "addresses = [\"10.9.0.2/24\"]";
        let config = tap_config(PROXY).replace(address, &format!("mtu = {mtu}\n{address}"));
        let sluice = Sluice::start(&lab, &config);
        let link = lab.run(5, "ip link show sl0").expect_success().stdout;
        assert!(link.contains(&format!("mtu {mtu} ")), "the kernel's end has it too: {link}");
        let _backend = Backend::http("10.9.0.1:8080", |request, stream| {
            respond(stream, "200 OK", &[], &request.body)
        });
        lab.write("body", pattern(5_000_000));
        lab.fetch(&["-T", "body", "-o", "back", "http://10.9.0.2/"]);
        lab.run(20, "cmp body back").expect_success();
        sluice.stop();
    }
}
