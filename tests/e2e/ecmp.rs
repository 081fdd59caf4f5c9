//! A route with two next hops: connections share them. What happens when one is silent takes half a
//! minute to notice, and is shown in virtual time: `dataplane/stack/tests/ecmp.rs`.

use crate::lab::{Lab, Nginx, Sluice, tap_config};

const REST: &str = r#"
[[interface]]
name = "left"
device = "tap:sl1"
addresses = ["10.9.1.2/24"]
host_addresses = ["10.9.1.1/24"]

[[interface]]
name = "right"
device = "tap:sl2"
addresses = ["10.9.2.2/24"]
host_addresses = ["10.9.2.1/24"]

[[ip_route]]
to = "10.50.0.0/24"
via = ["10.9.1.1", "10.9.2.1"]

[[listener]]
name = "raw"
address = "10.9.0.2:80"
protocol = "tcp"
cluster = "far"

[[cluster]]
name = "far"
endpoints = ["10.50.0.1:8080"]
"#;

#[test]
fn connections_share_two_next_hops() {
    let lab = Lab::new();
    lab.run(5, "ip link set lo up").expect_success();
    lab.run(5, "ip addr add 10.50.0.1/32 dev lo").expect_success();
    let sluice = Sluice::start(&lab, &tap_config(REST));
    let server = "server { listen 10.50.0.1:8080; listen 10.9.0.1:8080; location / { return 200 \"far\"; } }\n";
    let _nginx = Nginx::start(&lab, 8080, server);
    let sent = |name: &str| {
        let label = [&*format!("interface=\"{name}\"")];
        sluice.metrics().sum("sluice_interface_tx_packets_total", &label)
    };
    let fetch = |count: usize| {
        for _ in 0..count {
            assert_eq!(lab.fetch(&["http://10.9.0.2/"]), "far");
        }
    };
    fetch(30);
    let (left, right) = (sent("left"), sent("right"));
    assert!(left > 20 && right > 20, "left {left}, right {right}");
    sluice.stop();
}
