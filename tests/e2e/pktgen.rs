//! `sluice-pktgen` on both sides of a Sluice, over memif: three stacks of ours, none of the kernel's.

use serde_json::Value;

use crate::lab::{Lab, Sluice, core};

fn config(lab: &Lab) -> String {
    // A worker that sleeps does not read the rings of a generator that goes (DPDK's driver takes them
    // away under whoever does).
    let mut text =
        format!("[runtime]\ncores = [{}]\nbuffers = 12288\nidle = \"interrupt\"\n", core());
    for (name, network) in [("front", 9), ("back", 10)] {
        let socket = lab.path(&format!("{name}.sock"));
        text.push_str(&format!(
            "[[interface]]\nname = \"{name}\"\ndevice = \"memif:{}\"\n\
             addresses = [\"10.{network}.0.2/24\"]\n",
            socket.display()
        ));
    }
    for (name, port, http) in [("one", 8001, "1.1"), ("two", 8002, "2")] {
        text.push_str(&format!(
            "[[listener]]\nname = \"{name}\"\naddress = \"10.9.0.2:{port}\"\n\
             [[listener.virtual_host]]\ndomains = [\"*\"]\n\
             [[listener.virtual_host.route]]\nprefix = \"/\"\ncluster = \"{name}\"\n\
             [[cluster]]\nname = \"{name}\"\nhttp = \"{http}\"\nendpoints = [\"10.10.0.1:8080\"]\n"
        ));
    }
    text.push_str(
        "[[listener]]\nname = \"raw\"\naddress = \"10.9.0.2:8003\"\nprotocol = \"tcp\"\n\
         cluster = \"one\"\n",
    );
    text
}

/// What the generator says of a run of it.
fn play(lab: &Lab, more: &str) -> Value {
    let binary = Sluice::binary().with_file_name("sluice-pktgen");
    assert!(binary.exists(), "{} is not there: make build", binary.display());
    let (front, back) = (lab.path("front.sock"), lab.path("back.sock"));
    let words = format!(
        "{} --device memif:{} --address 10.9.0.1/24 --origin-device memif:{} \
         --origin-address 10.10.0.1/24 --warm-up 1 --duration 1 --json {more}",
        binary.display(),
        front.display(),
        back.display()
    );
    let run = lab.run(40, &words).expect_success();
    serde_json::from_str(&run.stdout).expect("it speaks JSON")
}

#[test]
fn requests_pass_without_the_kernel() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &config(&lab));
    for (listener, more) in [
        ("one", "--to 10.9.0.2:8001 --connections 8"),
        ("two", "--to 10.9.0.2:8002 --protocol http2 --connections 2"),
        ("one", "--to 10.9.0.2:8001 --protocol http2 --origin-protocol http1 --connections 2"),
        // The last one: what it leaves in TIME-WAIT has the ports of others.
        ("one", "--to 10.9.0.2:8001 --connections 4 --connection-per-request --body 2000"),
    ] {
        let completed = |sluice: &Sluice| {
            let label = format!("envoy_http_conn_manager_prefix=\"{listener}\"");
            let class = "envoy_response_code_class=\"2\"";
            sluice.metrics().sum("envoy_http_downstream_rq_xx", &[&label, class])
        };
        let before = completed(&sluice);
        let said = play(&lab, more);
        let requests = said["requests"].as_u64().expect("a number");
        assert!(requests > 20 && said["failures"] == 0, "{more}: {said}");
        // Those of the warm-up come on top.
        assert!(completed(&sluice) - before >= requests, "{more}: {said}");
        assert!(said["latency_us"]["p99"].as_f64() >= said["latency_us"]["p50"].as_f64());
    }
    sluice.stop();
}

#[test]
fn bytes_come_back() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &config(&lab));
    let said = play(&lab, "--to 10.9.0.2:8003 --protocol tcp --connections 4 --body 64");
    assert!(said["requests"].as_u64() > Some(20) && said["failures"] == 0, "{said}");
    sluice.stop();
}

/// At a rate that anything can serve, so many requests are sent and no more.
#[test]
fn a_rate_is_kept() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &config(&lab));
    let said = play(&lab, "--to 10.9.0.2:8001 --connections 8 --rate 200");
    let requests = said["requests"].as_u64().expect("a number");
    // What the warm-up did not get answered in time comes on top.
    assert!((100..=400).contains(&requests) && said["failures"] == 0, "{said}");
    sluice.stop();
}

#[test]
fn who_does_not_answer_is_told_by_the_status() {
    let lab = Lab::new();
    let binary = Sluice::binary().with_file_name("sluice-pktgen");
    let run = |more: &str| lab.run(20, &format!("{} --to 10.9.0.2:80 {more}", binary.display()));
    let alone = "--address 10.9.0.1/24 --connections 1 --warm-up 0 --duration 0.3";
    let silent = run(&format!("--device tap:pg0 {alone}")).expect_code(1);
    assert!(silent.stdout.starts_with("0 requests in 0."), "{silent:?}");
    for (device, said) in [("tun:pg0", "tun:pg0"), ("af_packet:nowhere", "nowhere")] {
        let refused = run(&format!("--device {device} {alone}")).expect_code(1);
        assert!(refused.stderr.contains(said), "{device}: {refused:?}");
    }
    let both = run(&format!("--device tap:pg0 {alone} --protocol http2 --rate 5")).expect_code(1);
    assert!(both.stderr.contains("--rate goes with http1 and tcp"), "{both:?}");
    run("--device tap:pg0").expect_code(2);
}
