//! Packet rules before a TAP, fragments both ways through it, VLANs on it.

use crate::lab::{Lab, Sluice, tap_config, wait_until};

const SITES: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
direct_response = { status = 200, body = "web" }

[[listener]]
name = "inner"
address = "10.9.0.2:81"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
direct_response = { status = 200, body = "inner" }
"#;

/// The rules belong to the interface of the same file.
fn with_rules(base: &str, rules: &str) -> String {
    base.replacen("\n[access_log]", &format!("\n{rules}\n[access_log]"), 1)
}

const DENY_INNER: &str = r#"
[[interface.rule]]
action = "count"
[[interface.rule]]
action = "deny"
proto = "tcp"
from = ["10.9.0.0/24"]
to_ports = 81
"#;

#[test]
fn packet_rules_hold_from_the_start_and_change_on_sighup() {
    let lab = Lab::new();
    let base = tap_config(SITES);
    let sluice = Sluice::start(&lab, &with_rules(&base, DENY_INNER));
    assert_eq!(lab.fetch(&["http://10.9.0.2/"]), "web");
    // Before the rules come, nothing passes: the TAP's own IPv6 may have met a worker without them.
    let dropped = || sluice.metrics().sum("sluice_drops_total", &["reason=\"rule-denied\""]);
    let before = dropped();
    // No reset comes: the client waits in vain (curl's 28).
    lab.curl(&["--max-time", "1.5", "http://10.9.0.2:81/"]).expect_code(28);
    let rules = sluice.get("/show/rules");
    assert!(rules.contains("deny tcp from 10.9.0.0/24 to any port 81"), "{rules}");
    let denied = ["interface=\"net0\"", "action=\"deny\""];
    // The kernel may be sending its SYN again right now.
    wait_until(5, "what was denied is counted, by the rule and as dropped", || {
        let count = sluice.metrics().sum("sluice_rule_packets_total", &denied);
        count >= 1 && dropped() - before == count
    });
    let version = || sluice.metrics().sum("sluice_worker_config_version", &[]);
    sluice.reload(&base);
    wait_until(5, "the configuration without rules", || version() == 2);
    assert_eq!(lab.fetch(&["http://10.9.0.2:81/"]), "inner");
    // The kernel's SYN of the connection that was given up may still have been sent again.
    sluice.reload(&with_rules(&base, "[[interface.rule]]\naction = \"deny\"\n"));
    wait_until(5, "the configuration that denies", || version() == 3);
    lab.curl(&["--max-time", "1.5", "http://10.9.0.2/"]).expect_code(28);
    sluice.reload(&base);
    wait_until(5, "the configuration without rules", || version() == 4);
    assert_eq!(lab.fetch(&["http://10.9.0.2/"]), "web");
    sluice.stop();
}

/// The kernel cuts the question into three, and puts the three pieces of the answer together.
#[test]
fn large_pings_go_both_ways_in_fragments() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITES));
    lab.run(20, "ping -c 5 -i 0.2 -s 4000 10.9.0.2").expect_success();
    lab.run(20, "ping -c 1 -s 65507 10.9.0.2").expect_success();
    let metrics = sluice.metrics();
    assert_eq!(metrics.sum("sluice_stack_reassembled_total", &[]), 6);
    assert!(metrics.sum("sluice_stack_fragments_out_total", &[]) >= 5 * 3 + 45);
    // Nothing is left of them.
    assert_eq!(metrics.sum("sluice_stack_reassembly_timeouts_total", &[]), 0);
    sluice.stop();
}

/// Two Sluices on a bridge of the kernel, which passes tagged frames on as they are: requests come
/// untagged to one of them, and go on to the other in a VLAN, tagged once and twice.
#[test]
fn vlans_carry_requests_between_two() {
    let lab = Lab::new();
    let vlans = |host: u8| {
        format!(
            r#"
[[interface]]
name = "blue"
parent = "net0"
vlan = 100
addresses = ["10.100.0.{host}/24"]

[[interface]]
name = "customer"
parent = "net0"
vlan = [200, 7]
addresses = ["10.200.7.{host}/24"]
"#
        )
    };
    let sites = SITES.replace("10.9.0.2:81", "10.200.7.2:81");
    let server = with_rules(&tap_config(&sites.replace("10.9.0.2:80", "10.100.0.2:80")), &vlans(2));
    let server = server.replace("host_addresses = [\"10.9.0.1/24\"]\n", "");
    let relays = r#"
[admin]
address = "127.0.0.1:9902"
[[listener]]
name = "once"
address = "10.9.0.3:80"
protocol = "tcp"
cluster = "once"
[[listener]]
name = "twice"
address = "10.9.0.3:81"
protocol = "tcp"
cluster = "twice"
[[cluster]]
name = "once"
endpoints = ["10.100.0.2:80"]
[[cluster]]
name = "twice"
endpoints = ["10.200.7.2:81"]
"#;
    let relay = with_rules(&tap_config(relays), &vlans(3));
    let relay = relay
        .replace("host_addresses = [\"10.9.0.1/24\"]\n", "")
        .replace("10.9.0.2/24", "10.9.0.3/24")
        .replace("tap:sl0", "tap:sl1")
        .replace("access.log", "relay.log");
    let server = Sluice::start_named(&lab, "server", "run", &server);
    let relay = Sluice::start_named(&lab, "relay", "run", &relay);
    for words in [
        "ip link add br0 type bridge",
        "ip addr add 10.9.0.1/24 dev br0",
        "ip link set sl0 master br0",
        "ip link set sl1 master br0",
        "ip link set br0 up",
    ] {
        lab.run(5, words).expect_success();
    }
    for _ in 0..5 {
        assert_eq!(lab.fetch(&["http://10.9.0.3/"]), "web");
        assert_eq!(lab.fetch(&["http://10.9.0.3:81/"]), "inner");
    }
    for sluice in [&server, &relay] {
        let metrics = sluice.metrics();
        for name in ["blue", "customer"] {
            let label = [&*format!("interface=\"{name}\"")];
            assert!(metrics.sum("sluice_interface_rx_packets_total", &label) > 10);
            assert!(metrics.sum("sluice_interface_tx_bytes_total", &label) > 1_000);
        }
        assert_eq!(metrics.sum("sluice_drops_total", &["reason=\"vlan-not-configured\""]), 0);
    }
    relay.stop();
    server.stop();
}
