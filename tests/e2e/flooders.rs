//! An attacker who comes again at once is held back by his address; others are served, and he is too
//! when he has calmed down. The kernel is both of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::lab::{Lab, Sluice, tap_config, wait_until};

const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[listener.http2]
max_ping_frames = 100
max_floods_per_source = 5
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
direct_response = { status = 200, body = "ours\n" }
"#;

const URL: &str = "http://10.9.0.2/";
/// Another address of the kernel's, for those who do no harm.
const CALM: &str = "10.9.0.7";

/// The preface, empty SETTINGS, and more PING than may come at once.
fn flood() -> Vec<u8> {
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"pingpong"].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &*ping.repeat(200)].concat()
}

/// Connects and floods; what came back until the end: nothing, if it was refused.
fn attack() -> Vec<u8> {
    // A handshake and the reset behind it may be seen as one.
    let Ok(mut stream) = TcpStream::connect("10.9.0.2:80") else { return Vec::new() };
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    // It may be reset while it writes, or reads.
    let _ = stream.write_all(&flood());
    let mut said = Vec::new();
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
    }
    said
}

#[test]
fn who_floods_again_and_again_is_held_back_and_nobody_else() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    lab.run(5, &format!("ip addr add {CALM}/24 dev sl0")).expect_success();
    let calm = || lab.fetch(&["--http2-prior-knowledge", "--interface", CALM, URL]);
    assert_eq!(calm(), "ours\n");
    let (mut served, mut refused) = (0, 0);
    while refused < 50 {
        let said = attack();
        if said.is_empty() {
            refused += 1;
        } else {
            served += 1;
            let is_told = said.windows(14).any(|bytes| bytes == b"\0\0\0\x0bping-flood");
            assert!(is_told, "ENHANCE_YOUR_CALM, and why: {said:?}");
            assert!(served < 5_000, "nobody is refused");
        }
        if (served + refused) % 20 == 0 {
            assert_eq!(calm(), "ours\n", "others notice nothing");
        }
    }
    assert!(served >= 6, "five may be, and the next finds out: {served}");
    let page = |filter: &str| sluice.get(&format!("/stats?filter={filter}"));
    let name = |counter: &str| format!("envoy_http_downstream_cx_flood_{counter}");
    sluice.wait_metric(&name("close"), &[], |count| count == served);
    sluice.wait_metric(&name("reject"), &[], |count| count >= refused);
    let faults = "sluice_http2_downstream_faults_total";
    sluice.wait_metric(faults, &["reason=\"ping-flood\""], |count| count == served);
    assert!(page("flood_cycles").contains("downstream_cx_flood_cycles"), "what it cost is there");
    assert_eq!(calm(), "ours\n");
    // Everything that comes from there, for some seconds.
    wait_until(30, "the end of being held back", || {
        let again = lab.curl(&["--http1.1", "--interface", "10.9.0.1", URL]);
        again.stdout == "ours\n"
    });
    wait_until(30, "three in a row", || {
        (0..3).all(|_| lab.curl(&["--http2-prior-knowledge", URL]).stdout == "ours\n")
    });
}
