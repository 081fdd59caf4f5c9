//! grpc-python through Sluice alone, and with an Envoy on either side of it.

use crate::lab::{Envoy, Lab, Sluice, Spawned, peer, tap_config, wait_until};

/// `direct` goes to gRPC's server, `envoy` to Envoy's :9003 before it.
fn site(cluster: &str) -> String {
    format!(
        r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/peers.Calls/"
cluster = "{cluster}"
timeout = "0s"
[[cluster]]
name = "direct"
http = "2"
endpoints = ["10.9.0.1:8083"]
[[cluster]]
name = "envoy"
http = "2"
endpoints = ["10.9.0.1:9003"]
"#
    )
}

fn calls(role: &str, address: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/calls.py");
    format!("{} -B {script} {role} {address}", peer("python/bin/python"))
}

fn server(lab: &Lab) -> Spawned {
    let server = lab.spawn("server", &calls("server", "10.9.0.1:8083"));
    wait_until(20, "grpc-python to listen", || server.stdout().contains("ready"));
    server
}

#[track_caller]
fn expect_all(lab: &Lab, sluice: &Sluice, address: &str) {
    let said = lab.run(60, &calls("client", address)).expect_success().stdout;
    assert!(said.ends_with("all calls as they should be\n"), "{said}");
    let metrics = sluice.metrics();
    let of = |method: &str, counter: &str| {
        metrics.sum(
            &format!("envoy_cluster_grpc_{counter}"),
            &[&format!("envoy_grpc_bridge_method=\"{method}\"")],
        )
    };
    // Of check_messages, check_turns and check_many.
    assert_eq!(of("Counts", "success"), 22);
    assert_eq!(of("Counts", "response_message_count"), 300 + 20 * 40);
    assert_eq!(of("Echoes", "request_message_count"), 450);
    assert_eq!(of("Echoes", "response_message_count"), 450);
    assert_eq!(of("Sums", "request_message_count"), 5);
    assert_eq!((of("Fails", "success"), of("Fails", "failure")), (0, 16 * 3));
    assert_eq!(of("BreaksOff", "failure"), 1);
    for name in ["sluice_http2_downstream_faults_total", "sluice_http2_upstream_faults_total"] {
        assert_eq!(metrics.sum(name, &[]), 0, "{name}");
    }
}

#[test]
fn grpc_python_calls_grpc_python() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(&site("direct")));
    let _server = server(&lab);
    expect_all(&lab, &sluice, "10.9.0.2:80");
    sluice.stop();
}

#[test]
fn grpc_python_calls_grpc_python_through_two_envoys_as_well() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(&site("envoy")));
    let _server = server(&lab);
    let envoy = Envoy::start(&lab, 0);
    expect_all(&lab, &sluice, "10.9.0.1:9001");
    assert_eq!(envoy.sum("protocol_error|messaging_error"), 0);
    sluice.stop();
}
