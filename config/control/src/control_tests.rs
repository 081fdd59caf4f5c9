//! The loop from start to end, with workers moved by hand and orders instead of signals.

use std::fs;

use super::*;
use crate::client::get;
use crate::testing::{CONFIG, FakeWorker, parts, start, until};

const STOP: Order = Order::Stop("a test");

/// `sluice run` exits 0 on this.
#[test]
fn draining_ends_when_nothing_runs() {
    let (parts, mut fakes) = parts(CONFIG, "test.toml".as_ref(), 2);
    let running = start(parts);
    until("the first configuration", || fakes[0].adopt());
    fakes[0].status.active.set(1);
    running.order(STOP);
    until("the order", || fakes.iter().all(FakeWorker::told_to_drain));
    fakes[0].status.set_drained(true);
    fakes[1].status.set_drained(true);
    let answer = get(running.address, "/ready").expect_err("a request runs");
    assert!(answer.to_string().contains("503: DRAINING"), "{answer}");
    fakes[0].status.active.set(0);
    assert_eq!(running.end(), Exit::Drained);
}

#[test]
fn the_second_order_ends_at_once() {
    let (parts, fakes) = parts(CONFIG, "test.toml".as_ref(), 1);
    let running = start(parts);
    fakes[0].status.active.set(3);
    running.order(STOP);
    running.order(STOP);
    assert_eq!(running.end(), Exit::DrainTimeout(3));
}

#[test]
fn draining_ends_after_its_timeout() {
    let text = format!("{CONFIG}[runtime]\ndrain_timeout = \"10ms\"\n");
    let (parts, fakes) = parts(&text, "test.toml".as_ref(), 1);
    let running = start(parts);
    fakes[0].status.active.set(1);
    running.order(STOP);
    assert_eq!(running.end(), Exit::DrainTimeout(1));
}

/// A device that reads a capture file ends; so does the process.
#[test]
fn the_end_of_every_input_is_the_end() {
    let (parts, fakes) = parts(CONFIG, "test.toml".as_ref(), 2);
    let running = start(parts);
    fakes[0].status.set_exhausted(true);
    assert!(get(running.address, "/server_info").is_ok(), "worker 1 goes on");
    fakes[1].status.set_exhausted(true);
    assert_eq!(running.end(), Exit::Exhausted);
}

#[test]
fn a_file_is_read_again_and_the_old_snapshot_comes_home() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("edge.toml");
    fs::write(&path, CONFIG).expect("a file");
    let (parts, mut fakes) = parts(CONFIG, &path, 1);
    let running = start(parts);
    until("the first configuration", || fakes[0].adopt());

    fs::write(&path, CONFIG.replace("8082", "8083")).expect("a file");
    running.order(Order::Reload);
    until("the second configuration", || fakes[0].adopt());
    let show = |what: &str| get(running.address, what).expect("an answer");
    until("the way home", || {
        show("/stats?filter=snapshots_outstanding").ends_with("outstanding: 0\n")
    });
    assert!(show("/clusters").contains("10.9.0.1:8083"));

    fs::write(&path, "nonsense").expect("a file");
    running.order(Order::Reload);
    until("the refusal", || show("/stats?filter=rejected").ends_with(": 1\n"));
    let runtime: serde_json::Value =
        serde_json::from_str(&show("/show/runtime?json")).expect("JSON");
    let why = runtime["last_reload_error"].as_str().expect("a reason");
    assert!(why.contains("edge.toml:1:") && runtime["config_version"] == 2, "{runtime}");
    assert!(!fakes[0].adopt(), "nothing was published");

    fs::remove_file(&path).expect("it is there");
    running.order(Order::Reload);
    until("the refusal", || show("/stats?filter=rejected").ends_with(": 2\n"));
    running.order(STOP);
    running.order(STOP);
    running.end();
}

#[test]
fn an_admin_address_in_use_is_an_error_that_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = taken.local_addr().expect("an address");
    let text = format!("{CONFIG}[admin]\naddress = \"{address}\"\n");
    let (parts, mut fakes) = parts(&text, "test.toml".as_ref(), 1);
    let error = run(parts).expect_err("the address is taken").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("[admin] address"), "{error}");
    assert!(!fakes[0].adopt(), "nothing was published");
}
