//! Proof at compile time that a `sluice_buf` buffer is an mbuf of the installed DPDK.

use std::mem::{align_of, offset_of, size_of};

use sluice_buf::{DATA_ROOM, HEADROOM, Header, PRIVATE_SIZE, flags};
use sluice_dpdk_sys as sys;

macro_rules! same_offset {
    ($($ours:ident = $theirs:ident),+ $(,)?) => {
        $(const _: () = assert!(
            offset_of!(Header, $ours) == offset_of!(sys::rte_mbuf, $theirs),
            "a header field lies where rte_mbuf has it"
        );)+
    };
}

same_offset!(
    buf_addr = buf_addr,
    buf_iova = buf_iova,
    data_off = data_off,
    refcnt = refcnt,
    nb_segs = nb_segs,
    port = port,
    ol_flags = ol_flags,
    packet_type = __bindgen_anon_1,
    pkt_len = pkt_len,
    data_len = data_len,
    vlan_tci = vlan_tci,
    hash = __bindgen_anon_2,
    vlan_tci_outer = vlan_tci_outer,
    buf_len = buf_len,
    pool = pool,
    next = next,
    tx_offload = __bindgen_anon_3,
    shinfo = shinfo,
    priv_size = priv_size,
    timesync = timesync,
    dynfield1 = dynfield1,
);

const _: () = assert!(size_of::<Header>() == size_of::<sys::rte_mbuf>());
const _: () = assert!(align_of::<Header>() >= align_of::<sys::rte_mbuf>());
const _: () = assert!(HEADROOM == sys::RTE_PKTMBUF_HEADROOM as usize);
const _: () = assert!(DATA_ROOM <= u16::MAX as usize);
// RTE_MBUF_PRIV_ALIGN: rte_pktmbuf_pool_create refuses anything else.
const _: () = assert!(PRIVATE_SIZE.is_multiple_of(8));

const _: () = assert!(flags::RX_RSS_HASH == sys::RTE_MBUF_F_RX_RSS_HASH as u64);
const _: () = assert!(flags::RX_L4_CKSUM_BAD == sys::RTE_MBUF_F_RX_L4_CKSUM_BAD as u64);
const _: () = assert!(flags::RX_L4_CKSUM_GOOD == sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD as u64);
const _: () = assert!(flags::RX_L4_CKSUM_NONE == sys::RTE_MBUF_F_RX_L4_CKSUM_NONE as u64);
const _: () = assert!(flags::RX_IP_CKSUM_BAD == sys::RTE_MBUF_F_RX_IP_CKSUM_BAD as u64);
const _: () = assert!(flags::RX_IP_CKSUM_GOOD == sys::RTE_MBUF_F_RX_IP_CKSUM_GOOD as u64);
const _: () = assert!(flags::RX_LRO == sys::RTE_MBUF_F_RX_LRO as u64);
const _: () = assert!(flags::TX_TCP_SEG == sys::RTE_MBUF_F_TX_TCP_SEG);
const _: () = assert!(flags::TX_TCP_CKSUM == sys::RTE_MBUF_F_TX_TCP_CKSUM);
const _: () = assert!(flags::TX_UDP_CKSUM == sys::RTE_MBUF_F_TX_UDP_CKSUM);
const _: () = assert!(flags::TX_L4_MASK == sys::RTE_MBUF_F_TX_L4_MASK);
const _: () = assert!(flags::TX_IP_CKSUM == sys::RTE_MBUF_F_TX_IP_CKSUM);
const _: () = assert!(flags::TX_IPV4 == sys::RTE_MBUF_F_TX_IPV4);
const _: () = assert!(flags::TX_IPV6 == sys::RTE_MBUF_F_TX_IPV6);
const _: () = assert!(flags::INDIRECT == sys::RTE_MBUF_F_INDIRECT);
