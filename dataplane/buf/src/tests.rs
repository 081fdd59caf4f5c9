//! Every test ends with a census: all buffers home, no chain node held.

use super::*;

fn census(pool: &Pool) {
    assert_eq!(pool.in_use(), 0, "every buffer is home");
    assert_eq!(chain_nodes_in_use(), 0, "no chain node is held");
}

fn packet(pool: &Pool, bytes: &[u8]) -> Packet {
    let mut packet = pool.alloc().expect("the pool has buffers");
    assert!(packet.append_bytes(bytes));
    packet
}

#[test]
fn a_packet_grows_at_both_ends_and_goes_home() {
    let pool = Pool::heap(2);
    let mut packet = packet(&pool, b"payload");
    packet.prepend(4).expect("headroom").copy_from_slice(b"head");
    assert_eq!((packet.head(), packet.len()), (&b"headpayload"[..], 11));
    assert!(packet.prepend(HEADROOM).is_none(), "only 124 bytes of headroom are left");
    assert!(packet.append(DATA_ROOM).is_none());
    assert!(packet.trim_front(4) && !packet.trim_front(8));
    packet.truncate(3);
    assert_eq!(packet.head(), b"pay");
    drop(packet);
    census(&pool);
}

#[test]
fn an_empty_pool_refuses_and_counts() {
    let pool = Pool::heap(4).with_reserve(1);
    let held: Vec<_> = (0..3).map(|_| pool.alloc().expect("three are free")).collect();
    assert!(pool.alloc().is_err(), "the last one is the reserve");
    let last = pool.alloc_reserved().expect("the reserve");
    assert!(pool.alloc_reserved().is_err());
    assert_eq!((pool.refused(), pool.in_use(), pool.pressure()), (2, 4, Pressure::Critical));
    drop((held, last));
    assert_eq!(pool.refresh(), 4);
    assert_eq!(pool.pressure(), Pressure::None);
    census(&pool);
}

#[test]
fn pressure_names_the_four_levels() {
    let pool = Pool::heap(100);
    let mut held = Vec::new();
    let mut levels = Vec::new();
    for _ in 0..100 {
        held.push(pool.alloc().expect("100 buffers"));
        levels.push(pool.pressure());
    }
    let count = |level| levels.iter().filter(|l| **l == level).count();
    assert_eq!(count(Pressure::None), 74);
    assert_eq!(count(Pressure::Tight), 13);
    assert_eq!(count(Pressure::Scarce), 6);
    assert_eq!(count(Pressure::Critical), 7);
    drop(held);
    census(&pool);
}

#[test]
fn a_received_packet_becomes_slices_without_a_copy() {
    let pool = Pool::heap(4);
    let mut first = packet(&pool, b"headers|hello ");
    first.append_packet(packet(&pool, b"world|trailer"));
    let address = first.head().as_ptr();
    let mut chain = Chain::new();
    first.into_chain(8, 11, &mut chain);
    assert_eq!(chain.to_vec(), b"hello world");
    assert_eq!(chain.front().as_ptr(), address.wrapping_add(8), "the bytes stay where they are");
    assert_eq!((chain.len(), chain.buffers(), pool.in_use()), (11, 2, 2));
    drop(chain);
    census(&pool);
}

#[test]
fn segments_outside_the_range_go_home_at_once() {
    let pool = Pool::heap(4);
    let mut packet = packet(&pool, b"headers");
    packet.append_packet(self::packet(&pool, b"payload"));
    packet.append_packet(self::packet(&pool, b"padding"));
    let mut chain = Chain::new();
    packet.into_chain(7, 7, &mut chain);
    assert_eq!((chain.to_vec().as_slice(), pool.in_use()), (&b"payload"[..], 1));
    drop(chain);
    census(&pool);
}

#[test]
fn cutting_a_chain_is_arithmetic() {
    let pool = Pool::heap(4);
    let mut chain = Chain::new();
    for bytes in [&b"abcd"[..], b"efgh", b"ijkl"] {
        packet(&pool, bytes).into_chain(0, 4, &mut chain);
    }
    let front = chain.split_to(6);
    assert_eq!((front.to_vec(), chain.to_vec()), (b"abcdef".to_vec(), b"ghijkl".to_vec()));
    chain.advance(3);
    assert_eq!(chain.to_vec(), b"jkl");
    let again = chain.clone_range(1, 5);
    assert_eq!(again.to_vec(), b"kl", "a range is cut at the end");
    chain.truncate(1);
    chain.push_front(front.clone_range(0, 1).pop_front().expect("one slice"));
    assert_eq!(chain.to_vec(), b"aj");
    let mut joined = front;
    joined.append(&mut chain);
    assert_eq!((joined.to_vec(), chain.len()), (b"abcdefaj".to_vec(), 0));
    drop((joined, chain, again));
    census(&pool);
}

#[test]
fn small_bytes_are_copied_together_while_nobody_else_reads_the_buffer() {
    let pool = Pool::heap(4);
    let mut chain = Chain::copy_from(b"one", &pool).expect("room");
    chain.append_copy(b" two", &pool).expect("room");
    assert_eq!((chain.to_vec().as_slice(), chain.buffers()), (&b"one two"[..], 1));
    let shared = chain.clone_range(0, 7);
    chain.append_copy(b" three", &pool).expect("room");
    assert_eq!((chain.to_vec().as_slice(), chain.buffers()), (&b"one two three"[..], 2));
    assert_eq!(shared.to_vec(), b"one two");
    let long = vec![7; 7000];
    assert_eq!(chain.append_copy(&long, &pool), Err(PoolEmpty), "two buffers are left");
    assert_eq!(chain.len(), 13, "a copy that fails leaves nothing behind");
    drop((chain, shared));
    census(&pool);
}

/// A reference to a few bytes would cost more than they do, and one more buffer.
#[test]
fn few_bytes_join_the_last_buffer_and_many_are_referred_to() {
    let pool = Pool::heap(8);
    let body = |len: usize| Chain::copy_from(&vec![b'b'; len], &pool).expect("room");
    let mut chain = Chain::copy_from(b"head", &pool).expect("room");
    let room = chain.tail_room();
    assert!(room > 1_000 && Chain::new().tail_room() == 0);
    let mut small = body(COPY_MAX);
    chain.append_small(&mut small);
    assert_eq!((chain.len(), chain.buffers(), small.len()), (4 + COPY_MAX, 1, 0));
    assert_eq!(chain.tail_room(), room - COPY_MAX);
    let mut large = body(COPY_MAX + 1);
    chain.append_small(&mut large);
    assert_eq!((chain.len(), chain.buffers(), large.len()), (5 + 2 * COPY_MAX, 2, 0));
    // Nothing is written behind bytes that somebody else reads as well, and nothing is cut in two.
    let shared = chain.clone_range(0, chain.len());
    assert_eq!(chain.tail_room(), 0);
    chain.append_small(&mut body(1));
    assert_eq!(chain.buffers(), 3);
    assert!(chain.to_vec()[4..].iter().all(|byte| *byte == b'b'));
    let mut full = Chain::copy_from(&vec![b'f'; room], &pool).expect("room");
    let left = full.tail_room();
    full.append_small(&mut body(left + 1));
    assert_eq!(full.buffers(), 2);
    drop((chain, shared, full));
    census(&pool);
}

#[test]
fn few_bytes_are_copied_into_the_head_and_many_are_linked() {
    let (rx, tx) = (Pool::heap(4), Pool::heap(4));
    let body = vec![b'x'; 1000];
    let chain = Chain::copy_from(&body, &rx).expect("room");
    let mut small = packet(&tx, b"head");
    small.attach(&chain, 10, COPY_MAX, &tx).expect("room");
    assert_eq!((small.len(), small.segment_count()), (4 + COPY_MAX, 1));
    let mut large = packet(&tx, b"head");
    large.attach(&chain, 0, 1000, &tx).expect("room");
    assert_eq!((large.len(), large.segment_count()), (1004, 2));
    assert_eq!(tx.in_use(), 2, "a buffer nobody else holds is linked as it is");
    let mut again = packet(&tx, b"head");
    again.attach(&chain, 500, 500, &tx).expect("room");
    assert_eq!(tx.in_use(), 4, "while the driver holds it, it is lent by an indirect buffer");
    let sent: Vec<u8> = again.segments().flatten().copied().collect();
    assert_eq!(sent, [b"head", &body[500..]].concat());
    drop((chain, small, large));
    assert_eq!(rx.in_use(), 1, "the indirect segment still borrows it");
    drop(again);
    census(&rx);
    census(&tx);
}

/// Without this a head and a small body would take a buffer each to be linked in.
#[test]
fn bytes_in_several_slices_are_copied_while_they_are_few() {
    let (rx, tx) = (Pool::heap(4), Pool::heap(8));
    let mut chain = Chain::copy_from(&[b'h'; COPY_MANY_MAX - 100], &rx).expect("room");
    chain.append(&mut Chain::copy_from(&[b'b'; 101], &rx).expect("room"));
    let mut few = packet(&tx, b"head");
    few.attach(&chain, 0, COPY_MANY_MAX, &tx).expect("room");
    assert_eq!((few.len(), few.segment_count(), tx.in_use()), (4 + COPY_MANY_MAX, 1, 1));
    assert_eq!(few.head()[4..], chain.to_vec()[..COPY_MANY_MAX]);
    let mut many = packet(&tx, b"head");
    many.attach(&chain, 0, COPY_MANY_MAX + 1, &tx).expect("room");
    assert_eq!((many.len(), many.segment_count()), (5 + COPY_MANY_MAX, 3));
    drop((chain, few, many));
    census(&rx);
    census(&tx);
}

#[test]
fn a_retransmission_of_a_retransmission_borrows_from_the_owner() {
    let (rx, tx) = (Pool::heap(2), Pool::heap(8));
    let chain = Chain::copy_from(&[1; 600], &rx).expect("room");
    let mut sent = Vec::new();
    for _ in 0..3 {
        let mut copy = packet(&tx, b"h");
        copy.attach(&chain, 0, 600, &tx).expect("room");
        sent.push(copy);
    }
    // An indirect segment that became a slice (a loop-back link does that) is lent out again.
    let mut received = Chain::new();
    sent.pop().expect("three were sent").into_chain(1, 600, &mut received);
    let mut again = packet(&tx, b"h");
    again.attach(&received, 100, 500, &tx).expect("room");
    assert_eq!(again.segments().last().map(<[u8]>::len), Some(500));
    drop((chain, sent, received, again));
    census(&rx);
    census(&tx);
}

#[test]
fn linearising_keeps_the_bytes() {
    let (rx, tx) = (Pool::heap(2), Pool::heap(2));
    let chain = Chain::copy_from(&[9; 1500], &rx).expect("room");
    let mut frame = packet(&tx, b"head");
    frame.attach(&chain, 0, 1500, &tx).expect("room");
    assert!(frame.linearise());
    assert_eq!((frame.segment_count(), frame.head().len()), (1, 1504));
    let mut wide = packet(&rx, &[1; 2000]);
    wide.append_packet(frame);
    assert!(!wide.linearise(), "3,504 bytes do not fit one buffer");
    assert_eq!(wide.len(), 3504);
    drop((wide, chain));
    census(&rx);
    census(&tx);
}

#[test]
fn only_unshared_packets_change_threads() {
    let (rx, tx) = (Pool::heap(2), Pool::heap(4));
    let chain = Chain::copy_from(&[5; 700], &rx).expect("room");
    let mut shared = packet(&tx, b"head");
    shared.attach(&chain, 0, 700, &tx).expect("room");
    let shared = shared.try_into_send().expect_err("a slice refers to its second segment");
    let own = packet(&tx, b"mine").try_into_send().expect("nobody else refers to it");
    std::thread::spawn(move || assert_eq!(own.into_packet().head(), b"mine"))
        .join()
        .expect("the other thread frees it");
    assert_eq!(tx.in_use(), 1, "a buffer freed elsewhere is home again");
    drop((shared, chain));
    census(&rx);
    census(&tx);
}

#[test]
fn a_pool_serves_one_allocating_thread_until_it_is_unbound() {
    let pool = Pool::heap(2);
    let held = pool.alloc().expect("bound to this thread");
    let other = pool.share();
    let other = std::thread::spawn(move || {
        assert!(other.alloc().is_err(), "another thread may not allocate");
        other
    })
    .join()
    .expect("no panic");
    drop(held);
    pool.unbind();
    std::thread::spawn(move || drop(other.alloc().expect("bound to the new thread")))
        .join()
        .expect("no panic");
    census(&pool);
}

#[test]
fn buffers_freed_by_many_threads_are_all_found_again() {
    let rounds = if cfg!(miri) { 3 } else { 200 };
    let pool = Pool::heap(64);
    for _ in 0..rounds {
        let mut threads = Vec::new();
        for _ in 0..4 {
            let batch: Vec<_> = (0..16)
                .map(|_| pool.alloc().expect("64 buffers").try_into_send().expect("own"))
                .collect();
            threads.push(std::thread::spawn(move || drop(batch)));
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
    }
    census(&pool);
}

#[test]
fn a_pool_outlives_its_handle_while_buffers_are_out() {
    let pool = Pool::heap(1);
    let packet = packet(&pool, b"late");
    drop(pool);
    assert_eq!(packet.head(), b"late");
}

#[test]
fn metadata_travels_with_the_packet() {
    let pool = Pool::heap(1);
    let mut packet = packet(&pool, b"x");
    for state in [RxChecksum::Good, RxChecksum::Bad, RxChecksum::Partial, RxChecksum::Unknown] {
        packet.set_rx_checksum(state);
        assert_eq!(packet.rx_checksum(), state);
    }
    packet.set_rx_checksum(RxChecksum::Partial);
    packet.set_gso(Gso { segment_size: 1448 });
    packet.rx_to_tx((14, 20, 32), L4Checksum::Tcp, false);
    let request = packet.tx_offload();
    assert_eq!((request.segment_size, request.l4_checksum), (1448, L4Checksum::Tcp));
    assert_eq!((packet.gso(), packet.rx_checksum()), (None, RxChecksum::Unknown));
    packet.trace_mut()[55] = 7;
    assert_eq!(packet.trace_mut()[55], 7);
    drop(packet);
    census(&pool);
}

/// Copies share buffers, large slices are linked, and the order stays: tiny, large, tiny, shared.
#[test]
fn slices_of_all_sizes_are_attached_in_few_buffers() {
    let pool = Pool::heap(64);
    let bytes: Vec<u8> = (0..4_000).map(|i| (i % 251) as u8).collect();
    let mut whole = Chain::copy_from(&bytes, &pool).expect("buffers");
    let mut chain = Chain::new();
    for len in [3, 200, 900, 5, 256, 257, 1, 1_000] {
        chain.append(&mut whole.split_to(len));
    }
    chain.append(&mut whole);
    let mut packet = pool.alloc().expect("a buffer");
    packet.attach(&chain, 1, 3_998, &pool).expect("buffers");
    let mut out = vec![0; packet.len()];
    assert_eq!(packet.copy_to(0, &mut out), 3_998);
    assert_eq!(out, bytes[1..3_999]);
    assert_eq!(
        packet.segment_count(),
        8,
        "head, 900, copies, 257, copies, 1000, two that are left"
    );
    drop(packet);
    assert_eq!(chain.to_vec(), bytes);
    drop(chain);
    assert_eq!(pool.in_use(), 0);
}
