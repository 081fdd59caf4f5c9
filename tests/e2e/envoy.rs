//! Envoy on either side, over HTTP/2.
//!
//! ```text
//!   curl, nghttp, h2load ── Envoy :9001 ── Sluice :80 ── Envoy :9002 ── a backend of HTTP/1.1
//! ```

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::lab::{Backend, Envoy, Lab, Sluice, respond, tap_config, wait_until};

/// `/sink/` goes to Envoy's :9002 and from there to a backend; `/plain/` to that backend itself.
const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/sink/"
cluster = "envoy"
timeout = "0s"
[[listener.virtual_host.route]]
prefix = "/plain/"
cluster = "plain"
[[cluster]]
name = "envoy"
http = "2"
endpoints = ["10.9.0.1:9002"]
[[cluster]]
name = "plain"
endpoints = ["10.9.0.1:8084"]
"#;

const TWO: &str = "--http2-prior-knowledge";
const FRONT: &str = "http://10.9.0.1:9001";
const DIRECT: &str = "http://10.9.0.2";

/// Nobody said that the other broke a rule.
#[track_caller]
fn expect_no_faults(sluice: &Sluice, envoy: &Envoy<'_>) {
    let metrics = sluice.metrics();
    for name in [
        "sluice_http2_downstream_faults_total",
        "sluice_http2_upstream_faults_total",
        "envoy_http_downstream_cx_protocol_error",
        "envoy_cluster_upstream_cx_protocol_error",
    ] {
        assert_eq!(metrics.sum(name, &[]), 0, "{name}");
    }
    // Of what it speaks with Sluice; Backend's answers to HEAD and cut bodies are another matter.
    let errors = r"^(cluster\.sluice|http\.l900.)\..*protocol_error|http2\..*(error|flood|violation|overflow)";
    assert_eq!(envoy.stats(errors), "");
}

#[test]
fn requests_pass_envoy_on_both_sides() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _sink = Backend::http("10.9.0.1:8084", |request, stream| {
        let sum =
            request.body.iter().fold(7u64, |sum, byte| (sum * 31 + u64::from(*byte)) % 1_000_003);
        let body = format!("{} {} {} {sum}", request.method, request.target, request.body.len());
        let large = vec![b'y'; 2_000_000];
        let body = if request.target.ends_with("large") { &large[..] } else { body.as_bytes() };
        respond(stream, "200 OK", &["x-kept: yes", "set-cookie: a=1", "set-cookie: b=2"], body)
    });
    let envoy = Envoy::start(&lab, 0);
    let body: Vec<u8> = (0..1_500_000u32).map(|i| (i % 241) as u8).collect();
    let sum = body.iter().fold(7u64, |sum, byte| (sum * 31 + u64::from(*byte)) % 1_000_003);
    lab.write("upload", body);
    // Both sides, one side, the other.
    for url in
        [format!("{FRONT}/sink/x?y"), format!("{FRONT}/plain/x?y"), format!("{DIRECT}/sink/x?y")]
    {
        let path = &url[url.find("10.9.0.").expect("all have it")..];
        let path = &path[path.find('/').expect("all have one")..];
        let got = lab.fetch(&[TWO, "-i", &url]);
        assert!(got.ends_with(&format!("GET {path} 0 7")), "{got}");
        assert!(
            got.contains("x-kept: yes\r\n") && got.matches("set-cookie: ").count() == 2,
            "{got}"
        );
        let head = lab.fetch(&[TWO, "-I", &url]);
        assert!(head.starts_with("HTTP/2 200") && head.contains("content-length: "), "{head}");
        let posted = lab.fetch(&[TWO, "--data-binary", "@upload", &url]);
        assert_eq!(posted, format!("POST {path} 1500000 {sum}"));
        let large = lab.fetch(&[TWO, &format!("{url}=large")]);
        assert_eq!(large.len(), 2_000_000);
    }
    let metrics = sluice.metrics();
    let to = ["envoy_cluster_name=\"envoy\""];
    assert_eq!(metrics.sum("envoy_cluster_upstream_cx_http2_total", &to), 1);
    assert_eq!(metrics.sum("envoy_cluster_upstream_rq_total", &to), 8);
    assert_eq!(envoy.sum("^cluster.sluice.upstream_cx_http2_total"), 1);
    assert_eq!(envoy.sum("^http.l9002.downstream_rq_2xx"), 8);
    expect_no_faults(&sluice, &envoy);
    sluice.stop();
}

#[test]
fn trailers_pass_envoy_both_ways() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    // A request in chunks, with a trailer; an answer likewise.
    let _sink = Backend::raw("10.9.0.1:8084", |mut stream| {
        let (mut request, mut bytes) = (Vec::new(), [0; 4_096]);
        loop {
            while !request.windows(5).any(|end| end == b"0\r\nx-")
                || !request.ends_with(b"\r\n\r\n")
            {
                match stream.read(&mut bytes) {
                    Ok(count @ 1..) => request.extend_from_slice(&bytes[..count]),
                    _ => return,
                }
            }
            let text = String::from_utf8_lossy(&request);
            let trailer = text.rsplit("0\r\n").next().unwrap_or_default().trim().to_owned();
            request.clear();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-came: {trailer}\r\n\r\n\
                 5\r\nhello\r\n0\r\nx-sum: 99\r\n\r\n"
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let envoy = Envoy::start(&lab, 0);
    lab.write("upload", "12345");
    for url in [format!("{FRONT}/sink/x"), format!("{FRONT}/plain/x"), format!("{DIRECT}/sink/x")] {
        let words =
            ["nghttp", "-v", "--no-content-length", "-d", "upload", "--trailer", "x-last: 7", &url];
        let said = lab.run_words(20, &words).expect_success().stdout;
        assert!(said.contains("x-came: x-last: 7\n"), "{url}: {said}");
        assert!(said.contains("x-sum: 99\n"), "{url}: {said}");
    }
    expect_no_faults(&sluice, &envoy);
    sluice.stop();
}

#[test]
fn a_reset_passes_envoy_and_ends_one_stream() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let endless = Backend::raw("10.9.0.1:8084", |mut stream| {
        let mut bytes = [0; 4_096];
        let Ok(count @ 1..) = stream.read(&mut bytes) else { return };
        if !bytes[..count].windows(7).any(|word| word == b"endless") {
            respond(&mut stream, "200 OK", &[], b"fine");
            return;
        }
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while stream.write_all(b"4\r\nmore\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let envoy = Envoy::start(&lab, 0);
    for url in [FRONT, DIRECT] {
        let url = format!("{url}/sink/endless");
        // 28: its time is over; what it does then is RST_STREAM or the end of its connection.
        lab.curl(&[TWO, "-m", "1", "-o", "got", &url]).expect_code(28);
        let got = std::fs::read(lab.path("got")).expect("some came");
        assert!(got.len() > 100 && got.starts_with(b"moremore"), "{} bytes", got.len());
    }
    // The reset went all the way, on connections that live on.
    wait_until(10, "both downloads to be given up", || {
        envoy.sum("^http.l9002.downstream_rq_active") == 0
    });
    assert_eq!(lab.fetch(&[TWO, &format!("{FRONT}/sink/x")]), "fine");
    assert_eq!(envoy.sum("^http.l9002.downstream_rq_rx_reset"), 2);
    assert_eq!(envoy.sum("^cluster.sluice.upstream_cx_total"), 1);
    let metrics = sluice.metrics();
    assert_eq!(metrics.sum("envoy_cluster_upstream_cx_http2_total", &[]), 1);
    assert_eq!(metrics.sum("envoy_http_downstream_rq_rx_reset", &[]), 2);
    assert_eq!(endless.connections(), 3);
    expect_no_faults(&sluice, &envoy);
    sluice.stop();
}

/// The other way: what the endpoint cuts reaches the client as cut, through Envoy's RST_STREAM.
#[test]
fn what_is_cut_behind_envoy_is_cut_for_the_client() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _cut = Backend::http("10.9.0.1:8084", |request, stream| {
        if request.target.ends_with("cut") {
            let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
            return false;
        }
        respond(stream, "200 OK", &[], b"fine")
    });
    let envoy = Envoy::start(&lab, 0);
    for url in [FRONT, DIRECT] {
        let cut = lab.curl(&[TWO, &format!("{url}/sink/cut")]);
        assert_eq!(cut.code(), 92, "a stream that was not closed cleanly: {cut:?}");
        assert_eq!(lab.fetch(&[TWO, &format!("{url}/sink/x")]), "fine");
    }
    let metrics = sluice.metrics();
    assert_eq!(metrics.sum("envoy_cluster_upstream_rq_rx_reset", &[]), 2);
    assert_eq!(metrics.sum("envoy_cluster_upstream_cx_http2_total", &[]), 1);
    expect_no_faults(&sluice, &envoy);
    sluice.stop();
}

/// Sluice says it to the Envoy before it, the Envoy behind says it to Sluice; no request is lost.
#[test]
fn goaways_of_either_lose_no_request() {
    let lab = Lab::new();
    let site = SITE.replace(
        "address = \"10.9.0.2:80\"\n",
        "address = \"10.9.0.2:80\"\nhttp2 = { max_requests_per_connection = 70 }\n",
    );
    let sluice = Sluice::start(&lab, &tap_config(&site));
    let _sink = Backend::http("10.9.0.1:8084", |_, stream| respond(stream, "200 OK", &[], b"fine"));
    let envoy = Envoy::start(&lab, 50);
    let said =
        lab.run(60, &format!("h2load -n 600 -c 2 -m 8 {FRONT}/sink/x")).expect_success().stdout;
    assert!(said.contains("600 succeeded, 0 failed, 0 errored"), "{said}");
    assert!(said.contains("status codes: 600 2xx"), "{said}");
    let metrics = sluice.metrics();
    assert!(metrics.sum("envoy_http_downstream_cx_max_requests_reached", &[]) >= 600 / 80);
    let made = metrics.sum("envoy_cluster_upstream_cx_http2_total", &[]);
    assert!((10..=40).contains(&made), "{made} connections to Envoy for 600 requests, 50 on each");
    assert!(envoy.sum("^cluster.sluice.upstream_cx_close_notify") >= 600 / 80, "GOAWAYs of Sluice");
    assert_eq!(envoy.sum("^cluster.sluice.upstream_rq_5xx"), 0);
    // What it counts as protocol errors are connections that it closed itself, with the last response,
    // before it had read the GOAWAY behind that.
    let resets =
        "^(cluster.sluice.upstream_rq_(rx|tx)_reset|http.l9002.downstream_rq_(rx|tx)_reset)";
    assert_eq!(envoy.stats(resets), "");
    sluice.stop();
}

/// Connections stay open, and nothing else does.
#[test]
fn a_client_that_is_gone_leaves_nothing_in_envoy() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _silent = Backend::raw("10.9.0.1:8084", |mut stream: TcpStream| {
        let mut bytes = [0; 4_096];
        while matches!(stream.read(&mut bytes), Ok(1..)) {}
    });
    let envoy = Envoy::start(&lab, 0);
    let mut load = lab.spawn("load", &format!("h2load -n 40 -c 4 -m 10 {DIRECT}/sink/x"));
    wait_until(10, "40 requests to wait", || envoy.sum("^http.l9002.downstream_rq_active") == 40);
    load.kill();
    wait_until(10, "all to be given up", || envoy.sum("^http.l9002.downstream_rq_active") == 0);
    assert_eq!(envoy.sum("^http.l9002.downstream_rq_rx_reset"), 40);
    assert_eq!(envoy.sum("^http.l9002.downstream_cx_http2_active"), 1);
    expect_no_faults(&sluice, &envoy);
    sluice.stop();
}
