//! EAL starts on normal pages, and packets go round through net_ring and net_null.
//!
//! One test function, for EAL starts once in a process.

#![expect(unsafe_code, reason = "these are the raw bindings")]
#![expect(clippy::undocumented_unsafe_blocks, reason = "each call follows DPDK's documented order")]
#![expect(clippy::multiple_unsafe_ops_per_block, reason = "a linear C program, read as one")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::null_mut;

use sluice_dpdk_sys as sys;

const BURST: usize = 32;

#[test]
fn packets_move_through_ring_and_null() {
    let args = [
        "t",
        "--no-huge",
        "-m",
        "64",
        "--no-pci",
        "--no-telemetry",
        "--no-shconf",
        "--vdev=net_null0",
    ];
    let args: Vec<CString> =
        args.iter().map(|arg| CString::new(*arg).expect("no NUL inside")).collect();
    let mut argv: Vec<*mut c_char> = args.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    unsafe {
        let version = CStr::from_ptr(sys::rte_version()).to_string_lossy().into_owned();
        assert!(version.contains("22.11."), "{version}");
        assert!(sys::rte_eal_init(argv.len() as c_int, argv.as_mut_ptr()) >= 0, "EAL starts");

        let pool = sys::rte_pktmbuf_pool_create(c"pool".as_ptr(), 1023, 0, 64, 2048 + 128, -1);
        assert!(!pool.is_null(), "pool: errno {}", sys::sluice_errno());
        assert_eq!(sys::sluice_mempool_size(pool), 1023);
        assert_eq!(sys::rte_mempool_avail_count(pool), 1023);

        let flags = sys::RING_F_SP_ENQ | sys::RING_F_SC_DEQ;
        let mut ring = sys::rte_ring_create(c"loop".as_ptr(), 256, -1, flags);
        assert!(!ring.is_null(), "ring: errno {}", sys::sluice_errno());
        let looped =
            sys::rte_eth_from_rings(c"loop".as_ptr(), &raw mut ring, 1, &raw mut ring, 1, 0);
        assert!(looped >= 0, "net_ring is linked in");
        let looped = looped as u16;
        start(looped, pool);

        let mut null = 0_u16;
        let found = sys::rte_eth_dev_get_port_by_name(c"net_null0".as_ptr(), &raw mut null);
        assert_eq!(found, 0, "net_null is linked in");
        start(null, pool);

        let mut sent = [null_mut(); BURST];
        assert_eq!(sys::sluice_mbuf_alloc_bulk(pool, sent.as_mut_ptr(), BURST as u32), 0);
        assert_eq!(call_tx(looped, &mut sent), BURST);
        let mut received = [null_mut(); BURST];
        assert_eq!(call_rx(looped, &mut received), BURST);
        assert_eq!(sent, received, "a ring hands the same buffers over");
        assert_eq!(call_tx(null, &mut received), BURST, "net_null takes and frees them");
        assert_eq!(call_rx(null, &mut received), BURST, "and makes new ones");
        sys::sluice_mbuf_free_bulk(received.as_mut_ptr(), BURST as u32);

        for port in [looped, null] {
            assert_eq!(sys::rte_eth_dev_stop(port), 0);
            assert_eq!(sys::rte_eth_dev_close(port), 0);
        }
        assert_eq!(sys::rte_mempool_in_use_count(pool), 0, "every buffer is back");
        sys::rte_mempool_free(pool);
    }
}

unsafe fn start(port: u16, pool: *mut sys::rte_mempool) {
    let conf = sys::rte_eth_conf::default();
    unsafe {
        assert_eq!(sys::rte_eth_dev_configure(port, 1, 1, &raw const conf), 0);
        let rx = sys::rte_eth_rx_queue_setup(port, 0, 64, 0, std::ptr::null(), pool);
        assert_eq!(rx, 0);
        assert_eq!(sys::rte_eth_tx_queue_setup(port, 0, 64, 0, std::ptr::null()), 0);
        assert_eq!(sys::rte_eth_dev_start(port), 0);
    }
}

/// What DPDK's inline `rte_eth_rx_burst` does, from Rust.
unsafe fn call_rx(port: u16, mbufs: &mut [*mut sys::rte_mbuf; BURST]) -> usize {
    unsafe {
        let ops = &raw const sys::rte_eth_fp_ops[port as usize];
        let burst = (*ops).rx_pkt_burst.expect("the port is started");
        usize::from(burst(*(*ops).rxq.data, mbufs.as_mut_ptr(), BURST as u16))
    }
}

unsafe fn call_tx(port: u16, mbufs: &mut [*mut sys::rte_mbuf; BURST]) -> usize {
    unsafe {
        let ops = &raw const sys::rte_eth_fp_ops[port as usize];
        let burst = (*ops).tx_pkt_burst.expect("the port is started");
        usize::from(burst(*(*ops).txq.data, mbufs.as_mut_ptr(), BURST as u16))
    }
}
