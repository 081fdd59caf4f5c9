//! Requests over a loopback socket, as probes, scrapers and people send them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use sluice_stack::DropReason;

use crate::control::{Exit, Order};
use crate::testing::{CONFIG, FakeWorker, Running, parts, start, until};

/// Status, head and body of what is answered to these bytes, on a connection of its own.
fn exchange(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
    stream.write_all(request.as_bytes()).expect("the socket takes it");
    let mut bytes = Vec::new();
    // The server may close while we write a body that it does not want.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), head.to_ascii_lowercase(), body.to_owned())
}

fn send(running: &Running, method: &str, path: &str) -> (u16, String, String) {
    let request = format!("{method} {path} HTTP/1.0\r\nhost: x\r\n\r\n");
    exchange(running.address, &request)
}

fn get(running: &Running, path: &str) -> (u16, String) {
    let (status, _, body) = send(running, "GET", path);
    (status, body)
}

fn json(running: &Running, path: &str) -> Value {
    let text = crate::client::get(running.address, path).expect(path);
    serde_json::from_str(&text).expect("JSON")
}

/// Running, and every worker has adopted.
fn live() -> (Running, Vec<FakeWorker>) {
    let (parts, mut fakes) = parts(CONFIG, "test.toml".as_ref(), 2);
    let running = start(parts);
    until("the first configuration", || fakes[0].adopt());
    until("the first configuration", || fakes[1].adopt());
    (running, fakes)
}

fn stop(running: Running) {
    running.order(Order::Stop("a test"));
    running.order(Order::Stop("a test"));
    running.end();
}

/// A probe must not send traffic to a process that does not listen on everything.
#[test]
fn ready_means_that_every_worker_listens() {
    let (parts, mut fakes) = parts(CONFIG, "test.toml".as_ref(), 2);
    let running = start(parts);
    let not_yet = (503, "PRE_INITIALIZING\n".to_owned());
    assert_eq!(get(&running, "/ready"), not_yet);
    until("the first configuration", || fakes[0].adopt());
    assert_eq!(get(&running, "/ready"), not_yet, "worker 1 has not");
    until("the first configuration", || fakes[1].adopt());
    assert_eq!(get(&running, "/ready"), (200, "LIVE\n".to_owned()));
    assert_eq!(json(&running, "/server_info")["state"], "LIVE");
    fakes[1].status.set_listening(1, 1);
    assert_eq!(get(&running, "/ready"), not_yet, "worker 1 failed on one");
    stop(running);
}

#[test]
fn a_wrong_method_and_a_wrong_path_say_what_is_right() {
    let (running, _fakes) = live();
    let (status, head, _) = send(&running, "POST", "/ready");
    assert_eq!(status, 405);
    assert!(head.contains("allow: get, head"), "{head}");
    let (status, head, _) = send(&running, "GET", "/quitquitquit");
    assert!(status == 405 && head.contains("allow: post"), "{head}");
    let (status, body) = get(&running, "/redy");
    assert_eq!(status, 404);
    for path in ["/ready", "/stats/prometheus", "/quitquitquit", "/show/WHAT"] {
        assert!(body.contains(path), "{body}");
    }
    let (status, head, body) = send(&running, "HEAD", "/ready");
    assert!(status == 200 && head.contains("content-length: 5") && body.is_empty());
    stop(running);
}

#[test]
fn levels_change_while_running() {
    let (running, _fakes) = live();
    let (status, _, body) = send(&running, "POST", "/logging");
    assert!(status == 200 && body.contains("  admin: info\n"), "{body}");
    let (status, _, body) = send(&running, "POST", "/logging?admin=debug");
    assert!(status == 200 && body.contains("  admin: debug\n"), "{body}");
    let (status, _, body) = send(&running, "POST", "/logging?level=loud");
    assert!(status == 400 && body.contains("there are trace, debug"), "{body}");
    stop(running);
}

/// A page on the web can make the operator's browser send a form to a loopback address.
#[test]
fn a_web_page_may_not_stop_the_process() {
    let (running, fakes) = live();
    let request = "POST /quitquitquit HTTP/1.1\r\nhost: x\r\norigin: http://evil.example\r\n\
                   connection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(exchange(running.address, request).0, 403);
    assert!(!fakes[0].told_to_drain());
    stop(running);
}

#[test]
fn drain_listeners_goes_on_and_quitquitquit_ends() {
    let (running, mut fakes) = live();
    assert_eq!(send(&running, "POST", "/drain_listeners").0, 200);
    assert!(fakes.iter().all(FakeWorker::told_to_drain));
    fakes.iter().for_each(|fake| fake.status.set_drained(true));
    assert_eq!(get(&running, "/ready"), (503, "DRAINING\n".to_owned()));
    assert_eq!(json(&running, "/server_info")["state"], "DRAINING");
    fakes[0].unpin();
    assert_eq!(send(&running, "POST", "/quitquitquit").0, 200);
    assert_eq!(running.end(), Exit::Drained);
}

#[test]
fn what_a_client_may_make_us_hold_is_bounded() {
    let (running, _fakes) = live();
    let big = "x".repeat(5_000);
    let request = format!(
        "POST /logging HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5000\r\n\r\n{big}"
    );
    assert_eq!(exchange(running.address, &request).0, 413);
    let long = "x".repeat(20_000);
    let request = format!("GET /ready HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n");
    assert_eq!(exchange(running.address, &request).0, 431);
    assert_eq!(exchange(running.address, "nonsense\r\n\r\n").0, 400);
    // Connections that say nothing take places until their time is over, and not all of them.
    let idle: Vec<_> =
        (0..60).map(|_| TcpStream::connect(running.address).expect("it listens")).collect();
    assert_eq!(get(&running, "/ready").0, 200);
    drop(idle);
    stop(running);
}

#[test]
fn stats_are_named_as_in_envoy_and_can_be_filtered() {
    let (running, fakes) = live();
    fakes[0].status.stack.drops.count(DropReason::NoRoute);
    fakes[1].status.stack.drops.count(DropReason::NoRoute);
    let (status, all) = get(&running, "/stats");
    assert_eq!(status, 200);
    for line in [
        "http.web.downstream_rq_2xx: 0",
        "tcp.raw.downstream_cx_total: 0",
        "cluster.app.upstream_cx_active: 0",
        "cluster.app.membership_total: 2",
        "server.live: 1",
        "sluice_drops_total.no-route: 2",
        "sluice_worker_stage_cycles_total.1.serve: 0",
    ] {
        assert!(all.lines().any(|found| found == line), "{line} in\n{all}");
    }
    assert!(!all.contains("tcp.raw.downstream_rq"), "a relay has no requests");
    let (_, some) = get(&running, "/stats?filter=^sluice_drops&usedonly");
    assert_eq!(some, "sluice_drops_total.no-route: 2\n");
    let stats = json(&running, "/stats?format=json&filter=no-route");
    assert_eq!(stats["stats"][0]["value"], 2);
    let (status, why) = get(&running, "/stats?filter=(");
    assert!(status == 400 && why.contains("regex parse error"), "{why}");
    let (_, prometheus) = get(&running, "/stats?format=prometheus&filter=drops");
    assert!(prometheus.contains("sluice_drops_total{reason=\"no-route\"} 2\n"), "{prometheus}");
    stop(running);
}

#[test]
fn resources_are_listed() {
    let (running, _fakes) = live();
    assert_eq!(get(&running, "/listeners").1, "web::10.9.0.2:80\nraw::10.9.0.2:9000\n");
    let listeners = json(&running, "/listeners?format=json");
    let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
    assert_eq!(address["port_value"], 80);
    let (_, clusters) = get(&running, "/clusters");
    assert!(clusters.contains("app::10.9.0.1:8081::health_flags::healthy\n"), "{clusters}");
    assert!(clusters.contains("app::default_priority::max_connections::1024\n"));
    let clusters = json(&running, "/clusters?format=json");
    assert_eq!(clusters["cluster_statuses"][0]["host_statuses"][1]["weight"], 1);
    stop(running);
}

#[test]
fn the_dump_has_everything_but_secrets() {
    let (running, _fakes) = live();
    let (_, text) = get(&running, "/config_dump");
    assert!(!text.contains("s3cret"), "{text}");
    let dump: Value = serde_json::from_str(&text).expect("JSON");
    let route = &dump["listener"][0]["virtual_host"][0]["route"][0];
    assert_eq!((&route["prefix"], &route["cluster"]), (&"/".into(), &"app".into()));
    assert_eq!(route["request_headers_add"][0]["value"], "[redacted]");
    assert_eq!((&route["timeout"], &route["retries"]), (&"15s".into(), &1.into()));
    assert_eq!(dump["listener"][1]["protocol"], "tcp");
    assert_eq!(dump["cluster"][0]["endpoints"][1], "10.9.0.1:8082");
    assert_eq!(dump["ip_route"][0]["to"], "10.20.0.0/16");
    assert_eq!((&dump["config_version"], &dump["access_log"]), (&1.into(), &Value::Null));
    stop(running);
}

#[test]
fn every_table_can_be_shown() {
    let (running, fakes) = live();
    fakes[0].status.rx_buffers[1].set(4_096);
    fakes[1].status.stack.drops.count(DropReason::TcpChecksum);
    for what in super::show::WHAT {
        let (status, text) = get(&running, &format!("/show/{what}"));
        if matches!(what, "neighbors" | "flows") {
            // These workers answer nobody; the control thread says so and goes on.
            assert!(status == 200 && text.contains("did not answer in time"), "{text}");
            continue;
        }
        assert_eq!(status, 200, "{what}");
        assert!(
            json(&running, &format!("/show/{what}?json")).is_array()
                || what == "memory"
                || what == "runtime",
            "{what}"
        );
    }
    let interfaces = json(&running, "/show/interfaces?json");
    assert_eq!(interfaces[0]["mac"], "02:00:00:00:ab:01");
    let routes = json(&running, "/show/routes?json");
    assert_eq!(
        (&routes[0]["to"], &routes[0]["kind"]),
        (&"10.9.0.0/24".into(), &"connected".into())
    );
    assert_eq!(
        (&routes[1]["via"][0], &routes[1]["interface"]),
        (&"10.9.0.1".into(), &"net0".into())
    );
    assert_eq!(json(&running, "/show/memory?json")["pools"][0]["buffers"], 4_096);
    assert_eq!(json(&running, "/show/workers?json")[1]["config_version"], 1);
    assert_eq!(json(&running, "/show/endpoints?json")[1]["address"], "10.9.0.1:8082");
    let (_, drops) = get(&running, "/show/drops");
    assert!(drops.contains("tcp-checksum") && drops.lines().count() == 2, "{drops}");
    let (status, text) = get(&running, "/show/dropps");
    assert!(status == 404 && text.contains("interfaces workers"), "{text}");
    assert_eq!(get(&running, "/show/xds").0, 501);
    stop(running);
}
