//! The kernel as the other end: net_tap, net_af_packet and net_af_xdp in a network namespace.

use std::net::UdpSocket;
use std::time::Duration;

use crate::support::{
    Place, assert_all_home, bytes_of, eal, ip, isolated, packet, receive, single,
};
use sluice_buf::{Batch, Chain, Device, L4Checksum, Packet, Pool, TxOffload};
use sluice_dpdk::{DeviceSpec, MbufPool, Port, PortOptions, QueuePair};

const KERNEL: [u8; 4] = [10, 77, 0, 1];
const OURS: [u8; 4] = [10, 77, 0, 2];

/// Answers ARP, then echoes datagrams that the kernel sends; the kernel's socket must get back what
/// it sent, which takes right addresses, lengths, checksums, and every segment of the payload.
fn echo_with_the_kernel(device: &mut QueuePair, tx: &Pool) {
    let socket = UdpSocket::bind("10.77.0.1:0").expect("the kernel's end has its address");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket.connect("10.77.0.2:7").expect("a route to us");
    socket.send(&[0x33; 65]).expect("the kernel takes it");
    let mut batch = Batch::burst();
    batch.push(turned_around(next_datagram(device, tx)));
    assert_eq!(device.tx_burst(&mut batch), 1);
    let mut answer = [0; 100];
    assert_eq!(socket.recv(&mut answer).expect("the kernel accepts the answer"), 65);
    assert_eq!(answer[..65], [0x33; 65]);
    for len in [1_usize, 100, 700, 1472] {
        let payload: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        socket.send(&payload).expect("the kernel takes it");
        let datagram = next_datagram(device, tx);
        assert_eq!(bytes_of(&datagram)[42..42 + len], payload);
        let (answer, chain) = echo_of(datagram, len, device, tx);
        let mut batch = Batch::burst();
        batch.push(answer);
        assert_eq!(device.tx_burst(&mut batch), 1);
        let mut answer = [0; 2000];
        let received = socket.recv(&mut answer).expect("the kernel accepts the answer");
        assert_eq!(answer[..received], payload);
        drop(chain);
    }
}

/// The next UDP datagram to port 7; ARP requests on the way are answered.
fn next_datagram(device: &mut QueuePair, tx: &Pool) -> Packet {
    loop {
        let mut batch = Batch::with_capacity(1);
        receive(device, &mut batch, 1);
        let received = batch.pop().expect("it was received");
        let bytes = bytes_of(&received);
        match bytes[12..14] {
            [0x08, 0x06] if bytes[38..42] == OURS => {
                let mut reply = Vec::from(&bytes[6..12]);
                reply.extend(device.mac());
                reply.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
                reply.extend(device.mac());
                reply.extend(OURS);
                reply.extend(&bytes[22..32]);
                let mut batch = Batch::burst();
                batch.push(packet(tx, &reply));
                assert_eq!(device.tx_burst(&mut batch), 1);
            }
            [0x08, 0x00] if bytes[23] == 17 && bytes[36..38] == [0, 7] => return received,
            // IPv6 router solicitations and the like.
            _ => {}
        }
    }
}

/// The datagram on its way back, in the buffer it arrived in.
fn turned_around(mut datagram: Packet) -> Packet {
    datagram.set_tx_offload(TxOffload::default());
    let len = 14 + usize::from(datagram.head()[17]);
    let bytes = &mut datagram.head_mut()[..len];
    for (one, other, count) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        for at in 0..count {
            bytes.swap(one + at, other + at);
        }
    }
    // On a veth the kernel leaves the checksum to hardware that is not there.
    bytes[40..42].fill(0);
    let udp = len as u32 - 34;
    let checksum = !fold(sum(&bytes[26..]) + 17 + udp);
    bytes[40..42].copy_from_slice(&checksum.to_be_bytes());
    datagram
}

/// The answer to a datagram: a head of our own, and the payload where it arrived, shared with the
/// chain that is returned.
fn echo_of(datagram: Packet, len: usize, device: &QueuePair, tx: &Pool) -> (Packet, Chain) {
    let bytes = bytes_of(&datagram);
    let capabilities = device.capabilities();
    let mut chain = Chain::new();
    datagram.into_chain(42, len, &mut chain);
    // A second reference to its buffer makes `attach` borrow instead of link.
    let mut twice = Chain::new();
    twice.append(&mut chain);
    let slice = twice.pop_front().expect("one slice");
    chain.push(slice.clone());
    twice.push(slice);

    let mut head = Vec::from(&bytes[6..12]);
    head.extend(device.mac());
    head.extend([0x08, 0x00, 0x45, 0]);
    head.extend((28 + len as u16).to_be_bytes());
    head.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    head.extend(OURS);
    head.extend(KERNEL);
    head.extend([0, 7]);
    head.extend(&bytes[34..36]);
    head.extend((8 + len as u16).to_be_bytes());
    head.extend([0, 0]);
    let pseudo: u32 = sum(&head[26..34]) + 17 + 8 + len as u32;
    if !capabilities.tx_ipv4_checksum {
        let checksum = !fold(sum(&head[14..34]));
        head[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    let udp = match capabilities.tx_l4_checksum {
        true => fold(pseudo),
        false => !fold(pseudo + sum(&head[34..42]) + sum(&bytes[42..42 + len])),
    };
    head[40..42].copy_from_slice(&udp.to_be_bytes());
    let mut answer = packet(tx, &head);
    answer.attach(&chain, 0, len, tx).expect("buffers");
    answer.set_tx_offload(TxOffload {
        l2_len: 14,
        l3_len: 20,
        l4_len: 8,
        segment_size: 0,
        is_v6: false,
        ipv4_checksum: capabilities.tx_ipv4_checksum,
        l4_checksum: if capabilities.tx_l4_checksum { L4Checksum::Udp } else { L4Checksum::None },
    });
    (answer, twice)
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Returns the receive pools, after the close.
fn exchange(
    spec: &DeviceSpec,
    options: &PortOptions,
    check: impl FnOnce(&Port, &QueuePair),
) -> Vec<MbufPool> {
    let eal = eal();
    let _registered = eal.register_thread().expect("room for a thread");
    let rx: Vec<MbufPool> = (0..options.queues).map(|_| eal.pool(4096).expect("memory")).collect();
    let tx = eal.pool(256).expect("memory");
    let port = Port::open(&eal, spec, options, &rx);
    let (port, mut device) = single(port.unwrap_or_else(|error| panic!("{error}")));
    check(&port, &device);
    if matches!(spec, DeviceSpec::Vdev(_)) {
        ip("addr add 10.77.0.1/24 dev dtap0");
        ip("link set dev dtap0 up");
    }
    assert!(port.wait_for_link(Duration::from_secs(5)));
    echo_with_the_kernel(&mut device, &tx.handle());
    assert_eq!(device.statistics().tx_errors, 0);
    drop((device, port));
    assert_all_home(&[&tx]);
    rx
}

/// A receive pool that the driver would swallow whole is refused before it is.
#[test]
fn net_af_xdp_wants_a_pool_larger_than_its_fill_ring() {
    isolated("kernel::net_af_xdp_wants_a_pool_larger_than_its_fill_ring", Place::Namespace, || {
        veth();
        let eal = eal();
        let pools = [eal.pool(2048).expect("memory")];
        let spec = DeviceSpec::AfXdp { interface: "ours0".into() };
        let refused = Port::open(&eal, &spec, &PortOptions::default(), &pools).map(drop);
        let sentence = refused.expect_err("refused").to_string();
        assert!(sentence.contains("af_xdp:ours0, which keeps 2048 of them"), "{sentence}");
        assert!(sentence.ends_with("to at least 3072"), "{sentence}");
        assert_all_home(&[&pools[0]]);
    });
}

fn veth() {
    ip("link add dev ours0 type veth peer name kernel0");
    ip("addr add 10.77.0.1/24 dev kernel0");
    ip("link set dev ours0 up");
    ip("link set dev kernel0 up");
}

#[test]
fn net_tap_echoes() {
    isolated("kernel::net_tap_echoes", Place::Namespace, || {
        let spec = DeviceSpec::Vdev("net_tap0,iface=dtap0".into());
        let options = PortOptions { mtu: 1500, ..PortOptions::default() };
        let pools = exchange(&spec, &options, |port, device| {
            let capabilities = port.capabilities();
            // It offers a sum, which is wrong over segments of odd length.
            assert!(capabilities.multi_segment && !capabilities.tx_l4_checksum);
            assert!(device.wake_fd().is_some(), "a TAP queue can be slept on");
        });
        assert_all_home(&[&pools[0]]);
    });
}

#[test]
fn net_af_packet_echoes() {
    isolated("kernel::net_af_packet_echoes", Place::Namespace, || {
        veth();
        let spec = DeviceSpec::AfPacket { interface: "ours0".into() };
        let pools = exchange(&spec, &PortOptions::default(), |port, _| {
            assert!(port.capabilities().multi_segment);
        });
        assert_all_home(&[&pools[0]]);
    });
}

/// Two queues are asked for; a veth has one channel, so one is what comes.
#[test]
fn net_af_xdp_echoes() {
    isolated("kernel::net_af_xdp_echoes", Place::Namespace, || {
        veth();
        let spec = DeviceSpec::AfXdp { interface: "ours0".into() };
        let options = PortOptions { queues: 2, ..PortOptions::default() };
        let pools = exchange(&spec, &options, |port, _| {
            assert!(!port.capabilities().multi_segment, "it sends the first segment only");
        });
        // net_af_xdp 22.11 does not give back what it lent to the kernel: the 2,048 buffers of the
        // fill ring, and frames whose completion nobody fetched.
        let kept = pools[0].in_use();
        assert!((2_048..2_048 + 8).contains(&kept), "{kept}");
        assert_all_home(&[&pools[1]]);
    });
}

#[test]
fn net_tap_with_two_queues_and_its_own_mtu() {
    isolated("kernel::net_tap_with_two_queues_and_its_own_mtu", Place::Namespace, || {
        let eal = eal();
        let pools = [eal.pool(2048).expect("memory"), eal.pool(2048).expect("memory")];
        let spec = DeviceSpec::Vdev("net_tap0,iface=dtap0".into());
        let options = PortOptions { queues: 2, mtu: 1400, ..PortOptions::default() };
        let mut port = Port::open(&eal, &spec, &options, &pools).expect("net_tap opens");
        let queues = port.take_queues();
        assert_eq!((port.queue_count(), queues.len()), (2, 2));
        assert_ne!(queues[0].wake_fd(), queues[1].wake_fd());
        let output = std::process::Command::new("ip").args(["link", "show", "dtap0"]).output();
        let output = String::from_utf8(output.expect("iproute2 is installed").stdout);
        assert!(output.expect("text").contains("mtu 1400"));
        drop((queues, port));
        assert_all_home(&[&pools[0], &pools[1]]);
    });
}
