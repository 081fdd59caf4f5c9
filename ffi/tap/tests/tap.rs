//! A TAP against the real kernel, each test in a network namespace of its own. Needs root.

#![expect(unsafe_code, reason = "unshare(2)")]
#![allow(clippy::disallowed_methods, reason = "a namespace belongs to a thread")]

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use sluice_buf::{Batch, Device, L4Checksum, Pool, RxChecksum, TxOffload};
use sluice_tap::{TapError, TapInterface, TapQueue};

/// Runs `test` on a thread that is alone in a new network namespace.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: unshare changes the calling thread's namespaces only.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "a network namespace: this test needs root");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn open_one(name: &str, pool: &Pool) -> TapQueue {
    let tap = TapInterface::open(name, 1).expect("a new TAP");
    tap.configure(1500, &[(Ipv4Addr::new(10, 9, 0, 1).into(), 24)]).expect("the kernel's end");
    tap.into_queues(vec![pool.share()]).expect("one queue").remove(0)
}

/// Receives until a UDP packet for `port` comes; gives its UDP payload and what is known of it.
fn receive_udp(queue: &mut TapQueue, port: u16) -> (Vec<u8>, RxChecksum) {
    let mut batch = Batch::burst();
    for _ in 0..1_000_000 {
        queue.rx_burst(&mut batch);
        for packet in batch.drain() {
            let bytes: Vec<u8> = packet.segments().flatten().copied().collect();
            let is_udp = bytes[12..14] == [8, 0] && bytes[23] == 17;
            if is_udp && bytes[36..38] == port.to_be_bytes() {
                return (bytes[42..].to_vec(), packet.rx_checksum());
            }
        }
    }
    panic!("no packet for port {port} arrived");
}

#[test]
fn packets_pass_both_ways_with_open_checksums() {
    in_namespace(|| {
        let pool = Pool::heap(256);
        let mut queue = open_one("sl0", &pool);
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev sl0");
        let socket = UdpSocket::bind("10.9.0.1:5000").expect("the kernel's end has the address");
        socket.send_to(b"from the kernel", "10.9.0.2:6000").expect("sent");
        let (payload, checksum) = receive_udp(&mut queue, 6000);
        assert_eq!(payload, b"from the kernel");
        assert_eq!(checksum, RxChecksum::Partial, "the kernel leaves the checksum to us");

        // And back, with the checksum left to the kernel: pseudo-header sum in the field.
        let mut packet = pool.alloc().expect("a buffer");
        let payload = b"to the kernel";
        let udp_len = 8 + payload.len() as u16;
        let total = 20 + udp_len;
        let mut frame = vec![0xff; 6];
        frame.extend(queue.mac());
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1]);
        let header_sum = ones_complement(&frame[14..34]);
        frame[24..26].copy_from_slice(&(!header_sum).to_be_bytes());
        frame.extend([0x17, 0x70, 0x13, 0x88]);
        frame.extend(udp_len.to_be_bytes());
        let mut pseudo = vec![10, 9, 0, 2, 10, 9, 0, 1, 0, 17];
        pseudo.extend(udp_len.to_be_bytes());
        frame.extend(ones_complement(&pseudo).to_be_bytes());
        frame.extend(payload);
        assert!(packet.append_bytes(&frame));
        packet.set_tx_offload(TxOffload {
            l2_len: 14,
            l3_len: 20,
            l4_len: 8,
            l4_checksum: L4Checksum::Udp,
            ..TxOffload::default()
        });
        let mut out = Batch::burst();
        out.push(packet);
        assert_eq!(queue.tx_burst(&mut out), 1);
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("a timeout");
        let mut buffer = [0; 64];
        let (len, from) = socket.recv_from(&mut buffer).expect("the kernel took it");
        assert_eq!((&buffer[..len], from.port()), (&payload[..], 6000));

        let statistics = queue.statistics();
        assert_eq!(statistics.tx_packets, 1);
        assert!(statistics.rx_packets >= 1 && queue.wake_fd().is_some());
        drop((queue, out));
        assert_eq!(pool.in_use(), 0, "every buffer is home");
    });
}

fn ones_complement(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn a_frame_longer_than_a_buffer_arrives_in_segments() {
    in_namespace(|| {
        let pool = Pool::heap(256);
        let tap = TapInterface::open("sl0", 1).expect("a new TAP");
        tap.configure(9_000, &[(Ipv4Addr::new(10, 9, 0, 1).into(), 24)]).expect("jumbo frames");
        let mut queue = tap.into_queues(vec![pool.share()]).expect("one queue").remove(0);
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev sl0");
        let socket = UdpSocket::bind("10.9.0.1:5000").expect("bound");
        let sent: Vec<u8> = (0..8_000u32).map(|at| (at % 251) as u8).collect();
        socket.send_to(&sent, "10.9.0.2:6000").expect("sent");
        assert_eq!(receive_udp(&mut queue, 6000).0, sent);
    });
}

#[test]
fn an_idle_persistent_tap_is_attached_and_a_busy_one_refused() {
    in_namespace(|| {
        ip("tuntap add dev sl0 mode tap multi_queue");
        let pool = Pool::heap(64);
        let first = open_one("sl0", &pool);
        let error = TapInterface::open("sl0", 1).expect_err("it is in use");
        assert!(matches!(error, TapError::Busy { .. }), "{error}");
        assert!(error.to_string().contains("in use by another process"));
        drop(first);
        TapInterface::open("sl0", 2).expect("it is idle again");
    });
}

#[test]
fn a_single_queue_tap_serves_one_worker_only() {
    in_namespace(|| {
        ip("tuntap add dev sl0 mode tap");
        let error = TapInterface::open("sl0", 2).expect_err("two queues");
        assert!(matches!(error, TapError::SingleQueue { queues: 2, .. }), "{error}");
        assert_eq!(TapInterface::open("sl0", 1).expect("one queue").queue_count(), 1);
    });
}

#[test]
fn another_kind_of_interface_is_not_taken() {
    in_namespace(|| {
        ip("link add sl0 type veth peer name sl0-peer");
        ip("link set sl0-peer up");
        for state in ["down", "up"] {
            ip(&format!("link set sl0 {state}"));
            let error = TapInterface::open("sl0", 1).expect_err("it is a veth");
            assert!(matches!(error, TapError::NotATap { .. }), "{state}: {error}");
            assert!(error.to_string().contains("af_packet:sl0"));
        }
    });
}

#[test]
fn without_privilege_the_error_says_how_to_get_on() {
    in_namespace(|| {
        // SAFETY: plain system calls on this thread alone (not the C library's process-wide ones).
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        assert_eq!(result, 0);
        let error = TapInterface::open("sl0", 1).expect_err("nobody may not");
        assert!(matches!(error, TapError::Permission { .. }), "{error}");
        assert!(error.to_string().contains("unshare -Urn"));
    });
}

#[test]
fn an_empty_pool_loses_nothing_but_time() {
    in_namespace(|| {
        let pool = Pool::heap(40);
        let mut queue = open_one("sl0", &pool);
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev sl0");
        let held: Vec<_> = std::iter::from_fn(|| pool.alloc().ok()).collect();
        let socket = UdpSocket::bind("10.9.0.1:5000").expect("bound");
        socket.send_to(b"waits", "10.9.0.2:6000").expect("sent");
        let mut batch = Batch::burst();
        assert_eq!(queue.rx_burst(&mut batch), 0, "there is no buffer to receive into");
        drop(held);
        assert_eq!(receive_udp(&mut queue, 6000).0, b"waits");
    });
}
