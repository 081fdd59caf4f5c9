//! Pools, threads, links of rings, and the way home of shared and borrowed buffers.

use crate::support::{Place, assert_all_home, bytes_of, eal, isolated, packet, receive, single};
use sluice_buf::{Batch, Chain, Device, Pool};
use sluice_dpdk::{DeviceSpec, Eal, EalError, EalOptions, Port, PortOptions, ring_link};

#[test]
fn eal_starts_once_and_says_where_memory_is() {
    isolated("memory::eal_starts_once_and_says_where_memory_is", Place::Process, || {
        // "auto" with more than any test machine has reserved would not start on normal pages
        // either, so this asks for little and accepts both answers, but only the right one.
        let options = EalOptions { memory_mib: 64, ..EalOptions::default() };
        let eal = Eal::start(&options).expect("EAL starts with or without huge pages");
        let sentence = eal.to_string();
        assert!(sentence.starts_with("DPDK 22.11."), "{sentence}");
        let free: u64 = std::fs::read_to_string("/proc/meminfo")
            .expect("/proc is mounted")
            .lines()
            .filter(|line| line.starts_with("HugePages_Total:"))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum();
        if free == 0 {
            assert!(eal.memory().is_fallback(), "{sentence}");
            assert!(sentence.contains("NORMAL pages"), "{sentence}");
        }
        let directory = format!("dpdk/sluice-{}", std::process::id());
        for parent in ["/var/run", "/tmp"] {
            assert!(!std::path::Path::new(parent).join(&directory).exists(), "no file is left");
        }
        assert_eq!(Eal::start(&options).expect_err("once"), EalError::AlreadyStarted);
        let _ = eal.take_log();
        assert!(eal.take_log().is_empty(), "a log is read once");
    });
}

#[test]
fn registered_threads_allocate_and_free_across() {
    isolated("memory::registered_threads_allocate_and_free_across", Place::Process, || {
        let eal = eal();
        let refused = eal.pool(1 << 20).expect_err("a million buffers are not in 96 MiB");
        assert!(refused.to_string().contains("no memory for 1048576 buffers"), "{refused}");
        let pool = eal.pool(512).expect("memory for a small pool");
        let main = eal.register_thread().expect("room for a thread");
        let handle = pool.handle();
        let packets: Vec<_> = (0..100)
            .map(|_| handle.alloc().expect("buffers").try_into_send().expect("not shared"))
            .collect();
        let (other, theirs) = (eal.clone(), pool.clone());
        let lcore = std::thread::spawn(move || {
            let guard = other.register_thread().expect("room for another");
            for packet in packets {
                drop(packet.into_packet());
            }
            // They lie in this thread's cache now, and are free all the same.
            assert_eq!(theirs.in_use(), 0);
            guard.lcore()
        });
        assert_ne!(lcore.join().expect("no panic"), main.lcore());
        let all: Vec<_> = std::iter::from_fn(|| handle.alloc().ok()).collect();
        // At most the other thread's cache is out of reach: an eighth, and half as much again.
        assert!(all.len() >= 512 - 96, "{} of 512", all.len());
        assert_eq!(pool.in_use() as usize, all.len());
        drop(all);
        assert_all_home(&[&pool]);
    });
}

#[test]
fn a_ring_link_is_a_cable_with_a_length() {
    isolated("memory::a_ring_link_is_a_cable_with_a_length", Place::Process, || {
        let eal = eal();
        let pools = [eal.pool(512).expect("memory"), eal.pool(512).expect("memory")];
        let options = PortOptions { descriptors: 64, ..PortOptions::default() };
        let ends = ring_link(&eal, &options, (&pools[..1], &pools[1..])).expect("a link");
        let ((first, mut a), (second, mut b)) = (single(ends.0), single(ends.1));
        assert!(first.link_up() && second.link_up());
        assert_ne!(a.mac(), b.mac());
        assert_eq!(a.mac()[0] & 3, 2, "locally administered, unicast");

        let pool = pools[0].handle();
        let mut batch = Batch::with_capacity(128);
        for number in 0..100_u8 {
            batch.push(packet(&pool, &[number; 60]));
        }
        assert_eq!(a.tx_room(), 63);
        assert_eq!(a.tx_burst(&mut batch), 63, "64 slots hold 63");
        assert_eq!((a.tx_room(), batch.len()), (0, 37));
        assert_eq!(batch.iter().next().expect("the rest").head()[0], 63, "the front went first");
        let mut received = Batch::with_capacity(128);
        receive(&mut b, &mut received, 63);
        assert!(received.iter().enumerate().all(|(at, packet)| packet.head() == [at as u8; 60]));
        assert_eq!(b.tx_burst(&mut received), 63, "and back");
        let mut home = Batch::burst();
        assert_eq!(a.rx_burst(&mut home), 32, "as many as the batch holds");
        let sent = a.statistics();
        assert_eq!((sent.tx_packets, sent.tx_bytes, sent.rx_packets), (63, 63 * 60, 32));

        // Packets still on the wire go home when both ends have closed.
        a.tx_burst(&mut batch);
        drop((batch, received, home));
        drop((a, second, b, first));
        drop(eal);
        assert_all_home(&[&pools[0], &pools[1]]);
    });
}

/// A driver frees a linked buffer that a chain still holds, and an indirect one that borrows from
/// it: each must come home exactly once, to its own pool.
#[test]
fn shared_and_borrowed_buffers_come_home() {
    isolated("memory::shared_and_borrowed_buffers_come_home", Place::Process, || {
        let eal = eal();
        let (data, heads) = (eal.pool(512).expect("memory"), eal.pool(512).expect("memory"));
        let null = DeviceSpec::Vdev("net_null0,copy=1".into());
        let rx = [eal.pool(1024).expect("memory")];
        let port = Port::open(&eal, &null, &PortOptions::default(), &rx).expect("net_null opens");
        let (port, mut device) = single(port);
        assert!(device.capabilities().multi_segment);

        let body: Vec<u8> = (0..1000_u32).map(|at| at as u8).collect();
        let mut chain = Chain::copy_from(&body, &data.handle()).expect("buffers");
        let (data_pool, head_pool) = (data.handle(), heads.handle());
        let mut batch = Batch::burst();
        for offset in [0, 300, 300] {
            let mut packet = packet(&head_pool, &[7; 54]);
            packet.attach(&chain, offset, 600, &head_pool).expect("buffers");
            assert_eq!(packet.segment_count(), 2);
            assert_eq!(bytes_of(&packet)[54..], body[offset..offset + 600]);
            batch.push(packet);
        }
        assert_eq!((data.in_use(), heads.in_use()), (1, 3 + 2), "one linked, two borrowed");
        assert_eq!(device.tx_burst(&mut batch), 3);
        assert_eq!((data.in_use(), heads.in_use()), (1, 0), "the chain still has its reference");
        // The buffer that the driver let go of is as good as before.
        let mut again = packet(&head_pool, &[7; 54]);
        again.attach(&chain, 100, 500, &head_pool).expect("buffers");
        assert_eq!(bytes_of(&again)[54..], body[100..600]);
        // Now the chain goes first and the driver gives the last reference up.
        chain.truncate(0);
        drop(chain);
        assert_eq!(data.in_use(), 1);
        batch.push(again);
        assert_eq!(device.tx_burst(&mut batch), 1);
        assert_all_home(&[&data, &heads]);
        // A buffer that came home with a stale link would show as a packet of two segments.
        let fresh: Vec<_> = std::iter::from_fn(|| data_pool.alloc().ok()).collect();
        assert!(fresh.iter().all(|packet| packet.segment_count() == 1 && packet.is_empty()));
        drop((fresh, device, port));
        assert_all_home(&[&data, &heads, &rx[0]]);
    });
}

/// What a ring hands over must be the receiver's alone, so shared segments are copied.
#[test]
fn a_ring_link_hands_over_nothing_shared() {
    isolated("memory::a_ring_link_hands_over_nothing_shared", Place::Process, || {
        let eal = eal();
        let pools = [eal.pool(512).expect("memory"), eal.pool(512).expect("memory")];
        let ends = ring_link(
            &eal,
            &PortOptions { descriptors: 64, ..PortOptions::default() },
            (&pools[..1], &pools[1..]),
        )
        .expect("a link");
        let ((first, mut a), (second, mut b)) = (single(ends.0), single(ends.1));
        let tx = eal.pool(256).expect("memory");
        let body = [0x5a; 900];
        let chain = Chain::copy_from(&body, &tx.handle()).expect("buffers");
        let mut segment = packet(&tx.handle(), &[1; 54]);
        segment.attach(&chain, 0, 900, &tx.handle()).expect("buffers");
        let mut batch = Batch::burst();
        batch.push(segment);
        // A packet from a heap pool must not reach a driver either.
        let heap = Pool::heap(4);
        batch.push(packet(&heap, &[2; 60]));
        // Nor one that is longer than the device sends.
        batch.push(packet(&tx.handle(), &[3; 1600]));
        assert_eq!(a.tx_burst(&mut batch), 2);
        assert_eq!((heap.in_use(), batch.len()), (0, 0));
        let mut received = Batch::burst();
        receive(&mut b, &mut received, 2);
        let packets: Vec<_> = received.drain().collect();
        assert_eq!(bytes_of(&packets[0])[54..], body);
        assert_eq!(bytes_of(&packets[1]), [2; 60]);
        for packet in packets {
            drop(packet.try_into_send().expect("nobody else refers to it"));
        }
        assert_eq!(a.tx_drops().too_long, 1);
        assert_eq!(a.statistics().tx_errors, 1);
        drop((chain, a, b, first, second));
        assert_all_home(&[&pools[0], &pools[1], &tx]);
    });
}

#[test]
fn each_worker_has_a_queue_of_its_own() {
    isolated("memory::each_worker_has_a_queue_of_its_own", Place::Process, || {
        const ROUNDS: usize = 2_000;
        let eal = eal();
        let pools: Vec<_> = (0..4).map(|_| eal.pool(512).expect("memory")).collect();
        let options = PortOptions { queues: 2, descriptors: 128, ..PortOptions::default() };
        let (mut near, mut far) =
            ring_link(&eal, &options, (&pools[..2], &pools[2..])).expect("a link");
        let workers: Vec<_> = far
            .take_queues()
            .into_iter()
            .map(|mut queue| {
                let eal = eal.clone();
                std::thread::spawn(move || {
                    let _registered = eal.register_thread().expect("room for a thread");
                    let (mut batch, mut count) = (Batch::burst(), 0);
                    while count < ROUNDS * 8 || !batch.is_empty() {
                        count += queue.rx_burst(&mut batch);
                        batch.iter_mut().for_each(|packet| packet.head_mut()[0] ^= 0xff);
                        while !batch.is_empty() {
                            queue.tx_burst(&mut batch);
                        }
                    }
                })
            })
            .collect();
        let mut queues = near.take_queues();
        assert_eq!((queues.len(), workers.len()), (2, 2));
        let (mut out, mut back) = (Batch::burst(), Batch::with_capacity(8));
        for round in 0..ROUNDS {
            for (queue, pool) in queues.iter_mut().zip(&pools) {
                let value = round as u8 ^ queue.number() as u8;
                let pool = pool.handle();
                (0..8).for_each(|_| assert!(out.push(packet(&pool, &[value; 64]))));
                assert_eq!(queue.tx_burst(&mut out), 8);
                receive(queue, &mut back, 8);
                assert!(back.iter().all(|packet| packet.head()[..2] == [!value, value]));
                back.clear();
            }
        }
        for worker in workers {
            worker.join().expect("the worker saw all packets");
        }
        drop((queues, near, far));
        assert_all_home(&pools.iter().collect::<Vec<_>>());
    });
}
