//! Packet rules before a TAP, and fragments both ways through it.

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
    // No reset comes: the client waits in vain (curl's 28).
    lab.curl(&["--max-time", "1.5", "http://10.9.0.2:81/"]).expect_code(28);
    let rules = sluice.get("/show/rules");
    assert!(rules.contains("deny tcp from 10.9.0.0/24 to any port 81"), "{rules}");
    let denied = ["interface=\"net0\"", "action=\"deny\""];
    let before = sluice.metrics().sum("sluice_rule_packets_total", &denied);
    assert!(before >= 1, "{rules}");
    assert_eq!(sluice.metrics().sum("sluice_drops_total", &["reason=\"rule-denied\""]), before);
    let version = || sluice.metrics().sum("sluice_worker_config_version", &[]);
    sluice.reload(&base);
    wait_until(5, "the configuration without rules", || version() == 2);
    assert_eq!(lab.fetch(&["http://10.9.0.2:81/"]), "inner");
    // The kernel's SYN of the connection that was given up may still have been sent again.
    sluice.reload(&with_rules(&base, &format!("[[interface.rule]]\naction = \"deny\"\n")));
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
