//! Every kind of device that this machine can have, and every way of not getting one.

use std::path::Path;
use std::time::Duration;

use crate::support::{
    Place, assert_all_home, bytes_of, eal, ip, isolated, packet, receive, single,
};
use sluice_buf::{Batch, Device};
use sluice_dpdk::{DeviceSpec, MemifRole, PciAddress, Port, PortOptions};

/// A classic capture of `frames`.
fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut bytes: Vec<u8> = Vec::new();
    for value in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1_u32] {
        bytes.extend(value.to_le_bytes());
    }
    for frame in frames {
        for value in [0, 0, frame.len() as u32, frame.len() as u32] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(frame);
    }
    std::fs::write(path, bytes).expect("a temporary file");
}

/// The frames of a classic capture in this machine's byte order.
fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).expect("the file was written");
    let (mut at, mut frames) = (24, Vec::new());
    while at < bytes.len() {
        let len = bytes[at + 8..at + 12].try_into().expect("four bytes");
        let len = u32::from_le_bytes(len) as usize;
        frames.push(bytes[at + 16..at + 16 + len].to_vec());
        at += 16 + len;
    }
    frames
}

#[test]
fn a_capture_goes_in_and_another_comes_out() {
    isolated("devices::a_capture_goes_in_and_another_comes_out", Place::Process, || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
        let frames: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; 60 + usize::from(n) * 14]).collect();
        write_pcap(&input, &frames);
        let eal = eal();
        let pools = [eal.pool(2048).expect("memory")];
        let spec = DeviceSpec::Pcap { input, output: Some(output.clone()), infinite: false };
        let options = PortOptions { queues: 4, ..PortOptions::default() };
        let four = [pools[0].clone(), pools[0].clone(), pools[0].clone(), pools[0].clone()];
        let port = Port::open(&eal, &spec, &options, &four).expect("net_pcap opens");
        let (port, mut device) = single(port);
        assert_eq!(device.mac()[0] & 1, 0);

        let (mut batch, mut seen) = (Batch::burst(), 0);
        while !device.exhausted() {
            assert!(!port.exhausted());
            seen += device.rx_burst(&mut batch);
            let count = batch.len();
            assert_eq!(device.tx_burst(&mut batch), count, "net_pcap takes all");
            assert!(seen <= frames.len());
        }
        assert_eq!(seen, frames.len());
        assert!(port.exhausted());
        assert_eq!(device.rx_burst(&mut batch), 0);
        drop((device, port));
        assert_eq!(read_pcap(&output), frames);
        assert_all_home(&[&pools[0]]);
    });
}

#[test]
fn an_empty_capture_is_exhausted_at_once() {
    isolated("devices::an_empty_capture_is_exhausted_at_once", Place::Process, || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let input = directory.path().join("in.pcap");
        write_pcap(&input, &[]);
        let eal = eal();
        let pools = [eal.pool(1024).expect("memory")];
        let spec = DeviceSpec::Pcap { input, output: None, infinite: false };
        let port = Port::open(&eal, &spec, &PortOptions::default(), &pools).expect("it opens");
        let (_port, device) = single(port);
        assert!(device.exhausted());
    });
}

#[test]
fn a_capture_without_end_is_never_exhausted() {
    isolated("devices::a_capture_without_end_is_never_exhausted", Place::Process, || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let input = directory.path().join("in.pcap");
        write_pcap(&input, &[vec![1; 60], vec![2; 60]]);
        let eal = eal();
        let pools = [eal.pool(2048).expect("memory")];
        let spec = DeviceSpec::Pcap { input, output: None, infinite: true };
        let port = Port::open(&eal, &spec, &PortOptions::default(), &pools).expect("it opens");
        let (_port, mut device) = single(port);
        let mut batch = Batch::with_capacity(100);
        receive(&mut device, &mut batch, 100);
        assert!(!device.exhausted());
        assert!(
            batch.iter().enumerate().all(|(at, packet)| packet.head()[0] == 1 + (at % 2) as u8)
        );
    });
}

#[test]
fn memif_ends_meet_in_one_process() {
    isolated("devices::memif_ends_meet_in_one_process", Place::Process, || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("memif.sock");
        let eal = eal();
        let pools = [eal.pool(2048).expect("memory"), eal.pool(2048).expect("memory")];
        let spec = |role| DeviceSpec::Memif { socket: socket.clone(), role, id: 0 };
        let options = PortOptions::default();
        let server = Port::open(&eal, &spec(MemifRole::Server), &options, &pools[..1]);
        let (server, mut a) = single(server.expect("the server opens"));
        assert!(!server.link_up(), "nobody has connected yet");
        let mut batch = Batch::burst();
        batch.push(packet(&pools[0].handle(), &[9; 60]));
        assert_eq!((a.tx_burst(&mut batch), batch.len()), (0, 1), "a down link takes nothing");
        assert_eq!(a.tx_room(), 1, "and is tried with little");
        let client = Port::open(&eal, &spec(MemifRole::Client), &options, &pools[1..]);
        let (client, mut b) = single(client.expect("the client opens"));
        assert!(client.wait_for_link(Duration::from_secs(10)), "{}", eal.take_log());
        assert!(server.wait_for_link(Duration::from_secs(10)), "{}", eal.take_log());

        // The client lends the buffers for this direction when it first looks for packets.
        let mut received = Batch::burst();
        assert_eq!(b.rx_burst(&mut received), 0);
        for number in 0..20_u8 {
            batch.push(packet(&pools[0].handle(), &[number; 1400]));
        }
        assert_eq!(a.tx_burst(&mut batch), 21);
        receive(&mut b, &mut received, 21);
        assert_eq!(bytes_of(received.iter().nth(20).expect("the last")), [19; 1400]);
        assert_eq!(b.tx_burst(&mut received), 21);
        receive(&mut a, &mut batch, 21);
        batch.clear();
        drop((a, server, b, client));
        assert_all_home(&[&pools[0], &pools[1]]);
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    isolated("devices::what_cannot_be_opened_says_why", Place::Namespace, || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let eal = eal();
        let pools = [eal.pool(4096).expect("memory")];
        let options = PortOptions::default();
        let refused = |spec: &DeviceSpec, options: &PortOptions| {
            Port::open(&eal, spec, options, &pools).map(drop).expect_err("refused").to_string()
        };
        let vdev = |text: &str| DeviceSpec::Vdev(text.into());
        let cases = [
            (vdev("net_bogus0"), "`net_bogus` is not a driver of this build"),
            (vdev("net_null0,bogus=1"), "vdev:net_null0,bogus=1 did not open"),
            (vdev("=,"), "is not a virtual device"),
            (DeviceSpec::AfPacket { interface: "nope0".into() }, "no network interface `nope0`"),
            (DeviceSpec::AfXdp { interface: "nope0".into() }, "no network interface `nope0`"),
            (
                DeviceSpec::Pcap { input: "/nope/in.pcap".into(), output: None, infinite: false },
                "/nope/in.pcap cannot be read",
            ),
            (
                DeviceSpec::Memif { socket: "/nope/x".into(), role: MemifRole::Server, id: 0 },
                "directory of memif socket /nope/x does not exist",
            ),
            (
                DeviceSpec::Pci(PciAddress::parse("ffff:ff:1f.7").expect("an address")),
                "there is no PCI device ffff:ff:1f.7",
            ),
        ];
        for (spec, expected) in cases {
            let sentence = refused(&spec, &options);
            assert!(sentence.contains(expected), "{sentence}");
        }

        let null = vdev("net_null0");
        let open = Port::open(&eal, &null, &options, &pools).expect("net_null opens");
        assert!(refused(&null, &options).contains("device net_null0 is open already"));
        drop(open);
        drop(Port::open(&eal, &null, &options, &pools).expect("free again after the close"));
        let jumbo = PortOptions { mtu: 9000, ..options };
        assert!(refused(&null, &jumbo).contains("MTU 9000 is more than the 2026"));
        let deep = PortOptions { descriptors: 4096, ..options };
        assert!(refused(&null, &deep).contains("a receive pool of 4096 buffers is too small"));

        let input = directory.path().join("in.pcap");
        write_pcap(&input, &[]);
        let output = Some("/nope/out.pcap".into());
        let pcap = DeviceSpec::Pcap { input, output, infinite: false };
        assert!(refused(&pcap, &options).contains("/nope/out.pcap cannot be written"));

        let socket = directory.path().join("file.sock");
        std::fs::write(&socket, "not a socket").expect("a temporary file");
        let memif = |role| DeviceSpec::Memif { socket: socket.clone(), role, id: 0 };
        assert!(refused(&memif(MemifRole::Server), &options).contains("is taken"));
        assert!(refused(&memif(MemifRole::Client), &options).contains("is taken"));

        // A name that another process, or the kernel, already has.
        ip("link add dev taken0 type veth peer name other0");
        let tap = vdev("net_tap0,iface=taken0");
        let sentence = refused(&tap, &options);
        assert!(sentence.contains("interface `taken0` exists and cannot be opened"), "{sentence}");
        ip("link set dev taken0 mtu 1400");
        let small = DeviceSpec::AfPacket { interface: "taken0".into() };
        assert!(refused(&small, &options).contains("MTU 1500 is more than the 1400"));
        assert_all_home(&[&pools[0]]);
    });
}

#[test]
fn without_privileges_files_work_and_the_rest_says_what_is_missing() {
    let name = "devices::without_privileges_files_work_and_the_rest_says_what_is_missing";
    isolated(name, Place::Unprivileged, || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let eal = eal();
        let pools = [eal.pool(1024).expect("memory")];
        let input = directory.path().join("in.pcap");
        write_pcap(&input, &[vec![1; 60]]);
        let pcap = DeviceSpec::Pcap { input, output: None, infinite: false };
        let options = PortOptions::default();
        drop(Port::open(&eal, &pcap, &options, &pools).expect("a file takes no privileges"));
        let cases = [
            (DeviceSpec::AfPacket { interface: "lo".into() }, "no permission to open AF_PACKET"),
            (DeviceSpec::AfXdp { interface: "lo".into() }, "no permission to open AF_XDP sockets"),
            (DeviceSpec::Vdev("net_tap0,iface=dtap0".into()), "no permission to create"),
        ];
        for (spec, expected) in cases {
            let refused = Port::open(&eal, &spec, &options, &pools).map(drop);
            let sentence = refused.expect_err("refused").to_string();
            assert!(sentence.contains(expected), "{sentence}");
        }
    });
}

#[test]
fn a_closed_device_opens_again() {
    isolated("devices::a_closed_device_opens_again", Place::Namespace, || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (input, socket) = (directory.path().join("in.pcap"), directory.path().join("m.sock"));
        write_pcap(&input, &[vec![1; 60]]);
        ip("link add dev ours0 type veth peer name other0");
        ip("link set dev ours0 up");
        let eal = eal();
        let pools = [eal.pool(2048).expect("memory")];
        let specs = [
            DeviceSpec::AfPacket { interface: "ours0".into() },
            DeviceSpec::Vdev("net_tap0,iface=dtap0".into()),
            DeviceSpec::Memif { socket, role: MemifRole::Server, id: 0 },
            DeviceSpec::Pcap { input, output: None, infinite: false },
            DeviceSpec::Vdev("net_ring0".into()),
        ];
        for round in 0..3 {
            for spec in &specs {
                let port = Port::open(&eal, spec, &PortOptions::default(), &pools);
                let (_port, mut device) =
                    single(port.unwrap_or_else(|error| panic!("round {round}: {error}")));
                device.rx_burst(&mut Batch::burst());
                assert_ne!(device.mac(), [0; 6]);
            }
            assert_all_home(&[&pools[0]]);
        }
    });
}
