//! What stops a start: exit status 1, and a sentence that says what to do.

use crate::lab::{Client, Lab, Sluice, tap_config, with_cores};

const PING: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
direct_response = { status = 200, body = "pong\n" }
"#;

/// `sluice run` must end with 1 and say all of `texts`.
#[track_caller]
fn expect_refused(lab: &Lab, config: &str, texts: &[&str]) {
    lab.write("refused.toml", config);
    let run = Sluice::command(lab, &["run", "-c", "refused.toml"]).expect_code(1);
    for text in texts {
        assert!(run.stderr.contains(text), "no {text:?} in\n{}", run.stderr);
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn a_file_with_errors() {
    let lab = Lab::new();
    expect_refused(&lab, &tap_config("[runtme]\n"), &["refused.toml:", "runtme", "runtime"]);
    expect_refused(
        &lab,
        &tap_config(PING).replace("\"10s\"", "\"10\""),
        &["refused.toml:", "`drain_timeout` has no unit"],
    );
    let missing = Sluice::command(&lab, &["run", "-c", "missing.toml"]).expect_code(1);
    assert!(missing.stderr.contains("missing.toml"), "{}", missing.stderr);
}

#[test]
fn a_tap_that_is_not_to_be_had() {
    let lab = Lab::new();
    // Another Sluice has it.
    let first = Sluice::start(&lab, &tap_config(PING));
    let other_admin = format!("{}\n[admin]\naddress = \"127.0.0.1:9902\"\n", tap_config(PING));
    expect_refused(&lab, &other_admin, &["`sl0` is in use by another process"]);
    assert_eq!(lab.fetch(&["http://10.9.0.2/"]), "pong\n", "the first goes on");
    first.stop();
    // Gone with its owner.
    lab.run(5, "ip link show sl0").expect_code(1);
    // An interface of another kind.
    lab.run(5, "ip link add sl0 type veth peer name sl1").expect_success();
    expect_refused(&lab, &tap_config(PING), &["`sl0` exists and is not a TAP"]);
    lab.run(5, "ip link del sl0").expect_success();
    // A TUN is not a TAP either.
    lab.run(5, "ip tuntap add dev sl0 mode tun").expect_success();
    expect_refused(&lab, &tap_config(PING), &["`sl0` exists and is not a TAP"]);
}

/// What an administrator does for an unprivileged process: make the TAP and keep it.
#[test]
fn an_idle_persistent_tap_is_attached() {
    let lab = Lab::new();
    lab.run(5, "ip tuntap add dev sl0 mode tap multi_queue").expect_success();
    for _ in 0..2 {
        let sluice = Sluice::start(&lab, &tap_config(PING));
        assert_eq!(lab.fetch(&["http://10.9.0.2/"]), "pong\n");
        sluice.stop();
        lab.run(5, "ip link show sl0").expect_success();
    }
}

/// Two workers want a queue each.
#[test]
fn a_persistent_tap_with_one_queue_carries_one_worker() {
    let lab = Lab::new();
    lab.run(5, "ip tuntap add dev sl0 mode tap").expect_success();
    let config = with_cores(&[0, 1], PING);
    expect_refused(&lab, &config, &["`sl0` was made with a single queue", "multi_queue"]);
    let sluice = Sluice::start(&lab, &tap_config(PING));
    assert_eq!(lab.fetch(&["http://10.9.0.2/"]), "pong\n");
    sluice.stop();
}

#[test]
fn no_permission() {
    let lab = Lab::new();
    lab.write("refused.toml", tap_config(PING));
    // The binary may lie where others cannot look.
    let binary = lab.path("sluice-copy");
    std::fs::copy(Sluice::binary(), &binary).expect("the binary can be read");
    lab.open_to_all();
    let binary = binary.to_str().expect("a path in UTF-8");
    // A user namespace of one's own, without any right in the network namespace.
    let words = ["unshare", "--user", binary, "run", "-c", "refused.toml"];
    let run = lab.run_words(20, &words).expect_code(1);
    assert!(run.stderr.contains("no permission to open TAP `sl0`"), "{}", run.stderr);
}

#[test]
fn addresses_and_cores_that_are_taken_or_absent() {
    let lab = Lab::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:9901").expect("nobody else is here");
    expect_refused(&lab, &tap_config(PING), &["127.0.0.1:9901", "[admin]"]);
    drop(taken);
    let config = tap_config(PING);
    let cores = config.lines().find(|line| line.starts_with("cores")).expect("it says which");
    expect_refused(&lab, &config.replace(cores, "cores = [999]"), &["999"]);
    let control = config.replace("control_core = 0", "control_core = 998");
    expect_refused(&lab, &control, &["998"]);
    let log = config.replace("\"access.log\"", "\"/nowhere/access.log\"");
    expect_refused(&lab, &log, &["/nowhere/access.log", "[access_log]"]);
    let buffers = config.replace("buffers = 24576", "buffers = 1024");
    expect_refused(&lab, &buffers, &["buffers = 1024", "at least"]);
    // None of them left anything behind.
    let sluice = Sluice::start(&lab, &config);
    assert_eq!(Client::connect("10.9.0.2:80").get("/").status, 200);
    sluice.stop();
}
