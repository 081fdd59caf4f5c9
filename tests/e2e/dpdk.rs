//! Over DPDK's devices, with the kernel at the other end: net_tap, af_packet, af_xdp; memif between
//! two Sluices; and what is said where there is no device.

use crate::lab::{Lab, Nginx, Sluice, core};

/// A web listener at 10.9.0.2 with a backend at 10.9.0.1 behind one device.
fn site(device: &str) -> String {
    format!(
        r#"[runtime]
cores = [{core}]
buffers = 12288
[[interface]]
name = "net0"
device = "{device}"
addresses = ["10.9.0.2/24"]

[access_log]
path = "access.log"
format = "json"

[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8080"]
"#,
        core = core()
    )
}

/// curl, a body of a megabyte, and a little wrk.
#[track_caller]
fn expect_works(lab: &Lab, base: &str) {
    let _nginx = Nginx::small(lab, 8080);
    let url = format!("{base}/");
    assert_eq!(lab.fetch(&[&url]), "hello from 8080\n");
    lab.write("www/large", (0..1_000_000u32).map(|i| (i % 253) as u8).collect::<Vec<_>>());
    lab.fetch(&["-o", "down", &format!("{base}/large")]);
    lab.run(5, "cmp www/large down").expect_success();
    let load = lab.run(20, &format!("wrk -t 1 -c 20 -d 2s {url}")).expect_success().stdout;
    assert!(!load.contains("Socket errors") && !load.contains("Non-2xx"), "{load}");
}

/// A cable: `sv0` is Sluice's end, `pv0` the kernel's with 10.9.0.1.
fn cable(lab: &Lab) {
    for words in [
        "ip link add sv0 type veth peer name pv0",
        "ip addr add 10.9.0.1/24 dev pv0",
        // A raw socket is handed frames as the kernel would hand them to hardware: without checksums.
        "ethtool -K pv0 tx off",
        "ip link set sv0 up",
        "ip link set pv0 up",
    ] {
        lab.run(10, words).expect_success();
    }
}

#[test]
fn net_tap() {
    let lab = Lab::new();
    let mut sluice = Sluice::spawn(&lab, "sluice", "run", &site("vdev:net_tap0,iface=dt0"));
    crate::lab::wait_until(30, "DPDK to make dt0", || {
        assert!(!sluice.has_ended(), "{}", sluice.stderr());
        lab.run(5, "ip link show dt0").code() == 0
    });
    lab.run(5, "ip addr add 10.9.0.1/24 dev dt0").expect_success();
    lab.run(5, "ip link set dt0 up").expect_success();
    sluice.wait_ready();
    expect_works(&lab, "http://10.9.0.2");
    sluice.stop();
}

#[test]
fn af_packet() {
    let lab = Lab::new();
    cable(&lab);
    let sluice = Sluice::start(&lab, &site("af_packet:sv0"));
    expect_works(&lab, "http://10.9.0.2");
    sluice.stop();
}

#[test]
fn af_xdp() {
    let lab = Lab::new();
    if !lab.may_become_nobody() {
        eprintln!("af_xdp needs BPF and so real root: not run");
        return;
    }
    cable(&lab);
    let sluice = Sluice::start(&lab, &site("af_xdp:sv0"));
    expect_works(&lab, "http://10.9.0.2");
    sluice.stop();
    // The program went with it: the kernel sees frames on sv0 again.
    let link = lab.run(5, "ip link show sv0").expect_success().stdout;
    assert!(!link.contains("xdp"), "{link}");
}

/// A veth has one queue; af_packet makes as many as it is asked for. Both carry two workers.
#[test]
fn two_workers_share_a_device() {
    for device in ["af_packet:sv0", "af_xdp:sv0"] {
        let lab = Lab::new();
        if device.starts_with("af_xdp") && !lab.may_become_nobody() {
            continue;
        }
        cable(&lab);
        let config = site(device);
        let cores = config.lines().find(|line| line.starts_with("cores")).expect("it says which");
        let sluice = Sluice::start(&lab, &config.replace(cores, "cores = [0, 1]"));
        expect_works(&lab, "http://10.9.0.2");
        let metrics = sluice.metrics();
        for worker in ["worker=\"0\"", "worker=\"1\""] {
            let busy = metrics.sum("sluice_worker_busy_heartbeats_total", &[worker]);
            assert!(busy > 100, "{device}: {worker} was busy {busy} times");
        }
        sluice.stop();
    }
}

/// kernel ── TAP ── router ── memif ── proxy: every packet of a request is forwarded by one Sluice
/// and ends at another, large segments from the TAP included.
#[test]
fn memif_between_two_sluices() {
    let lab = Lab::new();
    let socket = lab.path("memif.sock");
    let proxy =
        site(&format!("memif:{}", socket.display())).replace("10.9.0.2", "10.10.0.2").replace(
            "[access_log]",
            "[[ip_route]]\nto = \"0.0.0.0/0\"\nvia = \"10.10.0.1\"\n[access_log]",
        );
    let router = format!(
        r#"[runtime]
cores = [{core}]
buffers = 12288
[[interface]]
name = "net0"
device = "tap:sl0"
addresses = ["10.9.0.2/24"]
host_addresses = ["10.9.0.1/24"]
[[interface]]
name = "net1"
device = "vdev:net_memif0,role=client,id=0,socket-abstract=no,socket={socket}"
addresses = ["10.10.0.1/24"]
[admin]
address = "127.0.0.1:9902"
"#,
        core = core(),
        socket = socket.display(),
    );
    let proxy = Sluice::start_named(&lab, "proxy", "run", &proxy);
    let router = Sluice::start_named(&lab, "router", "run", &router);
    lab.run(5, "ip route add 10.10.0.0/24 via 10.9.0.2").expect_success();
    lab.run(10, "ping -c 3 -i 0.2 -W 2 10.10.0.2").expect_success();
    expect_works(&lab, "http://10.10.0.2");
    assert!(router.metrics().sum("sluice_stack_forwarded_total", &[]) > 1_000);
    router.stop();
    proxy.stop();
}

/// Without hugepages it runs on normal pages and says so.
#[test]
fn normal_pages_do() {
    let lab = Lab::new();
    cable(&lab);
    let config = site("af_packet:sv0").replace("[runtime]", "[runtime]\nhugepages = \"off\"");
    let sluice = Sluice::start(&lab, &config);
    let memory = Sluice::command(&lab, &["show", "memory"]).expect_success().stdout;
    assert!(memory.contains("pages"), "{memory}");
    let _nginx = Nginx::small(&lab, 8080);
    assert_eq!(lab.fetch(&["http://10.9.0.2/"]), "hello from 8080\n");
    sluice.stop();
}

#[test]
fn devices_that_are_not_there_end_the_start() {
    let lab = Lab::new();
    lab.write("empty.pcap", "");
    // A section header block, as Wireshark begins its files.
    let mut pcapng = vec![0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    pcapng.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 28, 0, 0, 0]);
    lab.write("ng.pcap", pcapng);
    for (device, said) in [
        ("pci:0000:ff:1f.7", "there is no PCI device 0000:ff:1f.7"),
        ("af_packet:nowhere", "nowhere"),
        ("af_xdp:nowhere", "nowhere"),
        ("pcap:absent.pcap", "absent.pcap cannot be read"),
        ("pcap:empty.pcap", "empty.pcap"),
        ("pcap:ng.pcap", "pcapng"),
        ("vdev:net_nonsense0", "`net_nonsense` is not a driver of this build"),
    ] {
        lab.write("refused.toml", site(device));
        let run = Sluice::command(&lab, &["run", "-c", "refused.toml"]).expect_code(1);
        assert!(run.stderr.contains(said), "{device}: no {said:?} in\n{}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    }
}
