//! TCP Fast Open with the kernel as client: the second connection's request travels in its SYN.

use crate::lab::{Backend, Lab, Sluice, tap_config};

const LISTENERS: &str = r#"
[[listener]]
name = "four"
address = "10.9.0.2:80"
fast_open = true
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"

[[listener]]
name = "six"
address = "[fd09::2]:80"
fast_open = true
fast_open_max_pending = 10
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"

[[listener]]
name = "off"
address = "10.9.0.2:81"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8080"]
"#;

/// Prints of each connection: the path, whether the kernel says that the request's data was
/// acknowledged with the SYN, and how many bytes the SYNs on the wire carried.
const CLIENT: &str = r#"
import os, socket, sys, threading, time

FAST_OPEN, INFO, SYN_DATA = 0x20000000, 11, 32
open("/proc/sys/net/ipv4/tcp_fastopen", "w").write("1")
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("sl0", 0))
wire.settimeout(0.2)

def syn_bytes():
    total = 0
    while True:
        try:
            frame, (_, _, direction, _, _) = wire.recvfrom(65536)
        except TimeoutError:
            return total
        if direction != 4:
            continue
        kind = frame[12:14]
        if kind == b"\x08\x00" and frame[23] == 6:
            at, end = 34, 14 + int.from_bytes(frame[16:18], "big")
        elif kind == b"\x86\xdd" and frame[20] == 6:
            at, end = 54, 54 + int.from_bytes(frame[18:20], "big")
        else:
            continue
        if frame[at + 13] & 0x12 == 2:
            total += end - at - (frame[at + 12] >> 4) * 4

for line in sys.argv[1:]:
    path, address, port = line.split(",")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    peer = socket.socket(family)
    request = f"GET /{path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n".encode()
    sent = peer.sendto(request, FAST_OPEN, (address, int(port)))
    assert sent == len(request), sent
    peer.settimeout(20)
    answer = b""
    while more := peer.recv(65536):
        answer += more
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert f"GET /{path}".encode() in answer, answer
    acknowledged = bool(peer.getsockopt(socket.IPPROTO_TCP, INFO, 104)[5] & SYN_DATA)
    peer.close()
    print(path, acknowledged, syn_bytes() == len(request), flush=True)
"#;

#[test]
fn the_second_request_of_a_kernel_travels_in_its_syn() {
    let lab = Lab::new();
    let config = tap_config(LISTENERS)
        .replace("addresses = [\"10.9.0.2/24\"]", "addresses = [\"10.9.0.2/24\", \"fd09::2/64\"]")
        .replace("[\"10.9.0.1/24\"]", "[\"10.9.0.1/24\", \"fd09::1/64\"]");
    let sluice = Sluice::start(&lab, &config);
    let _backend = Backend::echo("10.9.0.1:8080");
    let script = lab.write("client.py", CLIENT);
    let connections = "first,10.9.0.2,80 second,10.9.0.2,80 third,10.9.0.2,80 \
                       six,fd09::2,80 again,fd09::2,80 never,10.9.0.2,81 ever,10.9.0.2,81";
    let words = format!("python3 {} {connections}", script.display());
    let said = lab.run(60, &words).expect_success().stdout;
    // The kernel's cookies are for an address: at the listener that has Fast Open off they are nothing.
    let expected = "first False False\nsecond True True\nthird True True\n\
                    six False False\nagain True True\nnever False True\never False True\n";
    assert_eq!(said, expected);
    let metrics = sluice.metrics();
    let count = |name: &str| metrics.sum(&format!("sluice_stack_tcp_fast_open_{name}"), &[]);
    assert_eq!((count("cookies_total"), count("accepts_total")), (2, 3));
    assert_eq!((count("refused_total"), count("limited_total"), count("pending")), (0, 0, 0));
    sluice.stop();

    // Another start has other keys: what the kernel remembers is refused and replaced.
    let sluice = Sluice::start_named(&lab, "again", "run", &config);
    let words = format!("python3 {} old,10.9.0.2,80 new,10.9.0.2,80", script.display());
    let said = lab.run(60, &words).expect_success().stdout;
    assert_eq!(said, "old False True\nnew True True\n");
    assert_eq!(sluice.metrics().sum("sluice_stack_tcp_fast_open_refused_total", &[]), 1);
    sluice.stop();
}
