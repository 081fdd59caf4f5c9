//! Bad cables: every byte arrives, and the faults were really there.

use crate::lab::{Backend, Lab, Sluice, respond, tap_config};

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

const BODY_BYTES: usize = 400_000;

/// Client and backend are both behind the cable. Says how many packets the cable lost.
#[track_caller]
fn echo_over(impairment: &str) -> u64 {
    let lab = Lab::new();
    let section = format!("[interface.impairment]\n{impairment}\n\n[access_log]");
    let config = tap_config(PROXY).replace("[access_log]", &section);
    let sluice = Sluice::start(&lab, &config);
    let _backend = Backend::http("10.9.0.1:8080", |request, stream| {
        respond(stream, "200 OK", &[], &request.body)
    });
    let body: Vec<u8> = (0..BODY_BYTES).map(|at| (at * at / 7 + at) as u8).collect();
    lab.write("body", body);
    for _ in 0..3 {
        lab.fetch(&["--max-time", "50", "-T", "body", "-o", "back", "http://10.9.0.2/"]);
        lab.run(20, "cmp body back").expect_success();
    }
    let lost = || {
        let metrics = sluice.metrics();
        metrics.sum("sluice_interface_rx_missed_total", &["interface=\"net0\""])
            + metrics.sum("sluice_interface_tx_errors_total", &["interface=\"net0\""])
    };
    // Totals are copied ten times a second while something happens, and once a second else.
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let lost = lost();
    sluice.stop();
    lost
}

#[test]
fn single_losses() {
    assert!(echo_over("loss = \"2%\"\nlatency = \"2ms\"") > 5);
}

#[test]
fn bursts_of_losses() {
    assert!(echo_over("loss = \"2%\"\nloss_burst = 4\nlatency = \"2ms\"") > 5);
}

#[test]
fn reordering_and_jitter() {
    let plan = "reorder = \"10%\"\nlatency = \"4ms\"\njitter = \"1ms\"";
    assert_eq!(echo_over(plan), 0);
}

#[test]
fn duplicates() {
    assert_eq!(echo_over("duplicate = \"20%\""), 0);
}

/// Wrong bits are found by checksums, ours and the kernel's, or the bytes would differ.
#[test]
fn wrong_bits() {
    echo_over("corrupt = \"2%\"\nlatency = \"1ms\"");
}

#[test]
fn a_bottleneck_with_a_short_queue() {
    assert!(echo_over("rate = \"40Mbit/s\"\nqueue = \"16KiB\"\nlatency = \"2ms\"") > 0);
}

#[test]
fn one_direction_alone() {
    assert!(echo_over("direction = \"transmit\"\nloss = \"2%\"") > 3);
    assert!(echo_over("direction = \"receive\"\nloss = \"2%\"") > 3);
}

/// Large packets of ours vanish and no router says so (RFC 4821).
#[test]
fn a_black_hole_for_large_packets() {
    assert!(echo_over("direction = \"transmit\"\nblack_hole_mtu = 1400") > 3);
}
