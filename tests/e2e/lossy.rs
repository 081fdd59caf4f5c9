//! Bulk both ways and 1,000 mixed connections over bad cables, and what tshark says about every packet.
//!
//! Clients and backends are kernels, and the capture is theirs: it holds what they sent before some of
//! it was lost, and of what Sluice sent what arrived. So nothing may be acknowledged that was not
//! captured, and whatever is sent again needs a loss that explains it.
//!
//! ```text
//!   kernel --- sl0 --- capture --- impairment --- Sluice
//! ```

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::lab::{Backend, Capture, Expertise, Lab, Sluice, respond, tap_config, wait_until};

const LISTENERS: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"
timeout = "90s"

[[listener]]
name = "web6"
address = "[fd09::2]:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"
timeout = "90s"

[[listener]]
name = "raw"
address = "10.9.0.2:9000"
protocol = "tcp"
cluster = "echo"

[[listener]]
name = "bulk"
address = "10.9.0.2:9010"
protocol = "tcp"
cluster = "bulk"

[[listener]]
name = "datagrams"
address = "10.9.0.2:9053"
protocol = "udp"
cluster = "datagrams"
idle_timeout = "2s"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8080"]
connect_timeout = "60s"
max_pending = 4096
[[cluster]]
name = "echo"
endpoints = ["[fd09::1]:9001"]
connect_timeout = "60s"
[[cluster]]
name = "bulk"
endpoints = ["10.9.0.1:9011"]
connect_timeout = "60s"
[[cluster]]
name = "datagrams"
endpoints = ["10.9.0.1:9054"]
"#;

/// Nothing takes longer, however much is lost.
const PATIENCE: Duration = Duration::from_secs(120);
const CONNECTIONS: usize = 1_000;
/// Of these so many at a time.
const CLIENTS: usize = 125;

/// A cable, and how much goes over it in bulk.
struct Cable {
    loss: &'static str,
    round_trip_ms: u32,
    bulk_bytes: usize,
}

fn pattern(seed: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| ((at + seed) * (at + 7 * seed + 1) / 7 + at) as u8).collect()
}

/// Everything arrives as it was sent, and every packet is one that loss explains.
#[track_caller]
fn play(cable: &Cable) {
    let lab = Lab::new();
    let Cable { loss, round_trip_ms, bulk_bytes } = *cable;
    // Microseconds: half of a round trip each way.
    let latency = round_trip_ms * 500;
    let section = format!(
        "[interface.impairment]\nloss = \"{loss}\"\nlatency = \"{latency}us\"\n\n[access_log]"
    );
    let config = tap_config(LISTENERS)
        .replace("[access_log]", &section)
        .replace("\"10.9.0.2/24\"", "\"10.9.0.2/24\", \"fd09::2/64\"")
        .replace("\"10.9.0.1/24\"", "\"10.9.0.1/24\", \"fd09::1/64\"");
    let sluice = Sluice::start(&lab, &config);
    let capture = Capture::start(&lab, "sl0");
    let _backends = backends(bulk_bytes);
    let ours = learn_mac(&lab);

    bulk_both_ways(bulk_bytes);
    mixed_connections();
    datagrams();
    // The last bytes were read; FINs and their ACKs may still be lost and come again.
    wait_until(90, "the end of every relay and request", || {
        let metrics = sluice.metrics();
        metrics.sum("sluice_worker_active", &[]) == 0
            && metrics.sum("envoy_http_downstream_rq_active", &[]) == 0
    });
    // Totals are copied ten times a second while something happens, and once a second else.
    std::thread::sleep(Duration::from_millis(1_200));
    let metrics = sluice.metrics();
    let lost = Lost {
        received: metrics.sum("sluice_interface_rx_missed_total", &["interface=\"net0\""]),
        sent: metrics.sum("sluice_interface_tx_errors_total", &["interface=\"net0\""]),
    };
    let expertise = capture.ask(&lab, &ours);
    judge(&expertise, &lost, loss);
    sluice.stop();
}

/// What the cable lost, as the impairment counted it.
#[derive(Debug)]
struct Lost {
    received: u64,
    sent: u64,
}

#[track_caller]
fn judge(expertise: &Expertise, lost: &Lost, loss: &str) {
    let all = lost.received + lost.sent;
    let said = format!("{lost:?}, {expertise:#?}");
    println!("loss {loss}: {said}");
    assert_eq!(expertise.missed, 0, "the capture is whole: {said}");
    assert!(expertise.packets > 10_000, "{said}");
    assert!(all > 0, "something was lost: {said}");
    assert!(expertise.faults.is_empty(), "malformed, or a wrong checksum: {said}");
    assert!(expertise.beyond_window.is_empty(), "sent beyond a window: {said}");
    assert!(expertise.withdrawn.is_empty(), "a window was taken back: {said}");
    assert!(expertise.acked_unseen.is_empty(), "acknowledged what is not there: {said}");
    // What is missing in the capture is what was lost on the way to it, and no gap is of less than one.
    assert!(expertise.of_ours("lost_segment") <= lost.sent, "{said}");
    assert_eq!(expertise.of_theirs("lost_segment"), 0, "the kernel's are all captured: {said}");
    // Needless repetitions come of ACKs that were lost, or late on a machine with other things to do.
    let late = expertise.packets / 500;
    assert!(expertise.of_ours("spurious_retransmission") <= all + late, "{said}");
    // Whatever was sent again, lost itself perhaps, was lost before, or its ACK was.
    let again = ["retransmission", "out_of_order"].map(|event| expertise.of_ours(event));
    assert!(again.iter().sum::<u64>() <= all + late, "{said}");
}

/// The link-layer address of Sluice, as the kernel finds it.
#[track_caller]
fn learn_mac(lab: &Lab) -> String {
    let mut mac = None;
    wait_until(20, "an answer to a ping", || {
        lab.run(5, "ping -c 1 -W 1 10.9.0.2").code();
        let text = lab.run(5, "ip neigh show 10.9.0.2").expect_success().stdout;
        mac =
            text.split("lladdr ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        mac.is_some()
    });
    mac.expect("it was waited for")
}

fn backends(bulk_bytes: usize) -> [Backend; 3] {
    let socket = std::net::UdpSocket::bind("10.9.0.1:9054").expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    std::thread::spawn(move || {
        let mut datagram = [0; 2_000];
        while let Ok((len, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..len], from);
        }
    });
    let web = Backend::http("10.9.0.1:8080", |request, stream| {
        let body = match request.target.strip_prefix("/bytes/") {
            Some(count) => pattern(3, count.parse().unwrap_or(0)),
            None => request.body.clone(),
        };
        respond(stream, "200 OK", &[], &body)
    });
    let echo = Backend::raw("[fd09::1]:9001", |mut stream| {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = stream.write_all(&bytes);
    });
    let bulk = Backend::raw("10.9.0.1:9011", move |stream| {
        let _ = exchange(&stream, &pattern(2, bulk_bytes), &pattern(1, bulk_bytes));
    });
    [web, echo, bulk]
}

/// Sends the one and reads the other, at the same time.
fn exchange(stream: &TcpStream, to_send: &[u8], expected: &[u8]) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut reader, mut writer) = (stream, stream);
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || {
            writer.write_all(to_send)?;
            writer.shutdown(Shutdown::Write)
        });
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        sending.join().expect("it does not panic")?;
        Ok(bytes == expected)
    })
}

#[track_caller]
fn bulk_both_ways(bytes: usize) {
    let stream = connect("10.9.0.2:9010").expect("a connection");
    let is_right = exchange(&stream, &pattern(1, bytes), &pattern(2, bytes));
    assert!(is_right.expect("a whole exchange"), "the bytes that came are those that were sent");
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let address: SocketAddr = address.parse().expect("an address and a port");
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Requests of both families, uploads, relays, and connections for nothing.
#[track_caller]
fn mixed_connections() {
    let next = AtomicUsize::new(0);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut failed = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= CONNECTIONS {
                            return failed;
                        }
                        match one_connection(number) {
                            Ok(true) => {}
                            Ok(false) => failed.push(format!("{number}: other bytes came")),
                            Err(error) => failed.push(format!("{number}: {error}")),
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("it does not panic")).collect()
    });
    assert!(failed.is_empty(), "{} of {CONNECTIONS} connections failed: {failed:#?}", failed.len());
}

fn one_connection(number: usize) -> std::io::Result<bool> {
    let size = number * 37 % 20_000;
    match number % 10 {
        0..=2 => {
            let head =
                format!("GET /bytes/{size} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            request("10.9.0.2:80", head.as_bytes(), &pattern(3, size))
        }
        3 | 4 => {
            let head =
                format!("GET /bytes/{size} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            request("[fd09::2]:80", head.as_bytes(), &pattern(3, size))
        }
        5 | 6 => {
            let body = pattern(number, size);
            let mut bytes = format!(
                "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n"
            )
            .into_bytes();
            bytes.extend_from_slice(&body);
            request("10.9.0.2:80", &bytes, &body)
        }
        7 | 8 => {
            let bytes = pattern(number, size);
            exchange(&connect("10.9.0.2:9000")?, &bytes, &bytes)
        }
        _ => {
            drop(connect("10.9.0.2:80")?);
            Ok(true)
        }
    }
}

/// Whether the answer is a 200 with this body.
fn request(address: &str, bytes: &[u8], body: &[u8]) -> std::io::Result<bool> {
    let mut stream = connect(address)?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let is_ok = answer.starts_with(b"HTTP/1.1 200 ");
    Ok(is_ok
        && answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .is_some_and(|end| &answer[end + 4..] == body))
}

/// Some of them are lost, and those that come back are as they were.
#[track_caller]
fn datagrams() {
    let socket = std::net::UdpSocket::bind("10.9.0.1:0").expect("a free port");
    socket.connect("10.9.0.2:9053").expect("a route");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("not zero");
    for size in 1..=100 {
        socket.send(&datagram(size * 13)).expect("it is sent");
    }
    let (mut count, mut bytes) = (0, [0; 2_000]);
    while let Ok(len) = socket.recv(&mut bytes) {
        assert_eq!(bytes[..len], datagram(len), "a datagram of {len} bytes");
        count += 1;
    }
    assert!(count > 50, "{count} of 100 datagrams came back");
}

/// Begins with what no reader takes for a protocol that it knows.
fn datagram(len: usize) -> Vec<u8> {
    let mut bytes = pattern(len, len);
    bytes[..8].fill(7);
    bytes
}

const MEGABYTE: usize = 1_000_000;

#[test]
fn a_thousandth_lost_at_20_ms() {
    play(&Cable { loss: "0.1%", round_trip_ms: 20, bulk_bytes: 12 * MEGABYTE });
}

#[test]
fn a_hundredth_lost_at_50_ms() {
    play(&Cable { loss: "1%", round_trip_ms: 50, bulk_bytes: 3 * MEGABYTE });
}

#[test]
fn a_twentieth_lost_at_200_ms() {
    play(&Cable { loss: "5%", round_trip_ms: 200, bulk_bytes: MEGABYTE / 4 });
}

/// All of them one after the other take some ten minutes: `make nightly`.
#[test]
#[ignore = "minutes of waiting for round trips"]
fn every_loss_at_every_distance() {
    for (loss, bulk_bytes) in [("0.1%", 12 * MEGABYTE), ("1%", 4 * MEGABYTE), ("5%", MEGABYTE)] {
        for round_trip_ms in [1, 10, 50, 100, 200] {
            let bulk_bytes = if round_trip_ms > 50 { bulk_bytes / 4 } else { bulk_bytes };
            play(&Cable { loss, round_trip_ms, bulk_bytes });
        }
    }
}
