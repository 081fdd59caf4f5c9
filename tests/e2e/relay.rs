//! `protocol = "tcp"`: bytes both ways, whatever they are.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::lab::{Backend, Client, Lab, Sluice, tap_config};

const RELAY: &str = r#"
[[listener]]
name = "raw"
address = "10.9.0.2:9000"
protocol = "tcp"
cluster = "app"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:9001"]
connect_timeout = "500ms"
"#;

#[test]
fn bytes_pass_both_ways_and_half_closes_are_kept() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(RELAY));
    // Says hello first, then answers only after the client's end: a half-close must come through.
    let _backend = Backend::raw("10.9.0.1:9001", |mut stream| {
        let _ = stream.write_all(b"hello\n");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = stream.write_all(format!("{} bytes\n", bytes.len()).as_bytes());
        bytes.reverse();
        let _ = stream.write_all(&bytes);
    });
    for size in [0, 1, 1_448, 3_000_000] {
        let mut client = Client::connect("10.9.0.2:9000");
        assert_eq!(client.read_exactly(6), b"hello\n");
        let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        client.send(&bytes);
        client.finish();
        let answer = client.read_to_end();
        let head = format!("{size} bytes\n");
        let reversed: Vec<u8> = bytes.into_iter().rev().collect();
        assert!(answer.starts_with(head.as_bytes()), "{size}: {} bytes came", answer.len());
        assert!(answer[head.len()..] == reversed, "{size} bytes came back changed");
    }
    sluice.stop();
}

/// The other direction: the backend ends first and goes on reading.
#[test]
fn a_backend_may_end_first() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(RELAY));
    let counted = lab.path("counted");
    let _backend = Backend::raw("10.9.0.1:9001", move |mut stream| {
        let _ = stream.write_all(b"bye\n");
        let _ = stream.shutdown(Shutdown::Write);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = std::fs::write(&counted, bytes.len().to_string());
    });
    let mut client = Client::connect("10.9.0.2:9000");
    assert_eq!(client.read_to_end(), b"bye\n");
    client.send(vec![1; 100_000]);
    client.finish();
    crate::lab::wait_until(10, "the backend to have read all", || {
        std::fs::read_to_string(lab.path("counted")).is_ok_and(|text| text == "100000")
    });
    drop(client);
    sluice.stop();
}

/// openssl in front and behind: Sluice relays what it cannot read.
#[test]
fn tls_passes_through() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(RELAY));
    lab.run(
        20,
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 \
         -subj /CN=sluice.test",
    )
    .expect_success();
    let _server = lab.spawn(
        "openssl",
        "openssl s_server -quiet -accept 10.9.0.1:9001 -key key.pem -cert cert.pem -www",
    );
    crate::lab::wait_until(10, "openssl to listen", || {
        std::net::TcpStream::connect("10.9.0.1:9001").is_ok()
    });
    let text = lab.fetch(&[
        "--cacert",
        "cert.pem",
        "--connect-to",
        "sluice.test:443:10.9.0.2:9000",
        "https://sluice.test/",
    ]);
    assert!(text.contains("s_server"), "{text}");
    sluice.stop();
}

#[test]
fn a_backend_that_refuses_ends_the_connection() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(RELAY));
    // The reset may be faster than the client's next instruction.
    let _ = std::net::TcpStream::connect("10.9.0.2:9000").map(|mut stream| {
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes);
        assert!(bytes.is_empty(), "{ended:?}: {bytes:?}");
    });
    sluice.wait_metric("envoy_cluster_upstream_cx_connect_fail", &[], |count| count >= 1);
    sluice.stop();
}
