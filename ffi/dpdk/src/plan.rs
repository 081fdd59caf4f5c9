//! What we ask of a port: the wanted features, as far as its driver has them.

use sluice_buf::{Capabilities, DATA_ROOM, HEADROOM};
use sluice_dpdk_sys as sys;

/// Ethernet header and two VLAN tags: what a frame has beyond the MTU.
pub(crate) const FRAME_OVERHEAD: u32 = 14 + 2 * 4;

/// What sets a driver apart beyond what it announces.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Quirks {
    /// Sends `pkt_len` bytes from the first segment, whatever is in the others (net_af_xdp 22.11).
    pub(crate) first_segment_only: bool,
    /// Gathers segments though it does not announce it.
    pub(crate) gathers: bool,
    /// Gives the very buffers to the receiver, who takes them to be his alone.
    pub(crate) hands_over: bool,
    /// Segments in software by allocating; our own stack does it better.
    pub(crate) slow_segmentation: bool,
    /// Sums segments in software one by one, as if each began at an even place: wrong as soon as one
    /// before the last has an odd length (net_tap 22.11).
    pub(crate) sums_wrongly: bool,
    /// Has a descriptor per receive queue that becomes readable.
    pub(crate) wakes: bool,
    /// Gives the MTU to its kernel interface only when asked by a call of its own.
    pub(crate) applies_mtu_late: bool,
    /// Gives its hardware address to the kernel's end too, so ours must be another: two stations of
    /// one address take each other's packets for their own.
    pub(crate) shares_mac: bool,
    /// Buffers that a receive queue keeps in the kernel, beside its descriptors.
    pub(crate) held_buffers: u32,
}

impl Quirks {
    pub(crate) fn of(driver: &str) -> Self {
        let none = Self::default();
        match driver {
            // ETH_AF_XDP_DFLT_NUM_DESCS is what the fill ring is primed with. Its close does not
            // give these back, so such a pool stays until the process ends.
            "net_af_xdp" => Self { first_segment_only: true, held_buffers: 2_048, ..none },
            "net_pcap" | "net_null" => Self { gathers: true, ..none },
            "net_ring" => Self { hands_over: true, ..none },
            "net_tap" => Self {
                slow_segmentation: true,
                sums_wrongly: true,
                wakes: true,
                applies_mtu_late: true,
                shares_mac: true,
                ..none
            },
            _ => none,
        }
    }
}

/// How a port will be configured.
pub(crate) struct Plan {
    pub(crate) conf: sys::rte_eth_conf,
    pub(crate) capabilities: Capabilities,
    pub(crate) queues: u16,
    /// Segments a packet may have when sent, unless the device cuts it up itself.
    pub(crate) segments_max: u16,
    /// Buffers that hold what is received need not hold a whole frame.
    pub(crate) scatters: bool,
}

impl Plan {
    /// The wanted queues and offloads, less what `info` lacks.
    pub(crate) fn new(info: &sys::rte_eth_dev_info, quirks: Quirks, queues: u16, mtu: u16) -> Self {
        let queues = queues.min(info.max_rx_queues).min(info.max_tx_queues).max(1);
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(mtu);
        conf.rxmode.offloads = wanted_rx(queues, mtu) & info.rx_offload_capa;
        conf.txmode.offloads = wanted_tx(quirks) & info.tx_offload_capa;
        if queues > 1 && info.flow_type_rss_offloads != 0 {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = wanted_rss() & info.flow_type_rss_offloads;
        }
        if quirks.wakes {
            conf.intr_conf.set_rxq(1);
        }
        let (rx, tx) = (conf.rxmode.offloads, conf.txmode.offloads);
        let announced = is_all(tx, constant(&raw const sys::SLUICE_TX_OFFLOAD_MULTI_SEGS));
        let multi_segment = (announced || quirks.gathers) && !quirks.first_segment_only;
        let limit = info.tx_desc_lim.nb_mtu_seg_max;
        let segments_max = match (multi_segment, limit) {
            (false, _) => 1,
            (true, 0) => u16::MAX,
            (true, limit) => limit,
        };
        let tso = is_all(tx, constant(&raw const sys::SLUICE_TX_OFFLOAD_TCP_TSO)) && multi_segment;
        let capabilities = Capabilities {
            tx_ipv4_checksum: is_all(tx, constant(&raw const sys::SLUICE_TX_OFFLOAD_IPV4_CKSUM)),
            tx_l4_checksum: is_all(tx, l4_checksums_tx()),
            tx_segmentation_max: if tso { u32::from(u16::MAX) } else { 0 },
            rx_checksum: is_all(rx, l4_checksums_rx()),
            multi_segment,
        };
        let scatters = is_all(rx, constant(&raw const sys::SLUICE_RX_OFFLOAD_SCATTER));
        Self { conf, capabilities, queues, segments_max, scatters }
    }
}

/// Bytes that one receive buffer holds.
pub(crate) const RECEIVE_BYTES: u32 = (DATA_ROOM - HEADROOM) as u32;

fn is_all(offloads: u64, wanted: u64) -> bool {
    offloads & wanted == wanted
}

/// Reads one of the shim's constants.
fn constant(value: *const u64) -> u64 {
    // SAFETY: the shim's constants are initialised, aligned and never written.
    unsafe { *value }
}

fn l4_checksums_tx() -> u64 {
    constant(&raw const sys::SLUICE_TX_OFFLOAD_TCP_CKSUM)
        | constant(&raw const sys::SLUICE_TX_OFFLOAD_UDP_CKSUM)
}

fn l4_checksums_rx() -> u64 {
    constant(&raw const sys::SLUICE_RX_OFFLOAD_TCP_CKSUM)
        | constant(&raw const sys::SLUICE_RX_OFFLOAD_UDP_CKSUM)
}

fn wanted_rx(queues: u16, mtu: u16) -> u64 {
    let mut wanted = constant(&raw const sys::SLUICE_RX_OFFLOAD_IPV4_CKSUM) | l4_checksums_rx();
    if queues > 1 {
        wanted |= constant(&raw const sys::SLUICE_RX_OFFLOAD_RSS_HASH);
    }
    if u32::from(mtu) + FRAME_OVERHEAD > RECEIVE_BYTES {
        wanted |= constant(&raw const sys::SLUICE_RX_OFFLOAD_SCATTER);
    }
    wanted
}

fn wanted_tx(quirks: Quirks) -> u64 {
    // Never MBUF_FAST_FREE: it forbids counts above one and more than one pool.
    let mut wanted = constant(&raw const sys::SLUICE_TX_OFFLOAD_IPV4_CKSUM)
        | constant(&raw const sys::SLUICE_TX_OFFLOAD_MULTI_SEGS);
    if !quirks.sums_wrongly {
        wanted |= l4_checksums_tx();
    }
    if !quirks.slow_segmentation {
        wanted |= constant(&raw const sys::SLUICE_TX_OFFLOAD_TCP_TSO);
    }
    wanted
}

fn wanted_rss() -> u64 {
    constant(&raw const sys::SLUICE_RSS_IPV4)
        | constant(&raw const sys::SLUICE_RSS_NONFRAG_IPV4_TCP)
        | constant(&raw const sys::SLUICE_RSS_NONFRAG_IPV4_UDP)
        | constant(&raw const sys::SLUICE_RSS_IPV6)
        | constant(&raw const sys::SLUICE_RSS_NONFRAG_IPV6_TCP)
        | constant(&raw const sys::SLUICE_RSS_NONFRAG_IPV6_UDP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(rx: u64, tx: u64) -> sys::rte_eth_dev_info {
        sys::rte_eth_dev_info {
            rx_offload_capa: rx,
            tx_offload_capa: tx,
            max_rx_queues: 4,
            max_tx_queues: 2,
            ..Default::default()
        }
    }

    #[test]
    fn takes_what_there_is_and_never_fast_free() {
        let plan = Plan::new(&info(u64::MAX, u64::MAX), Quirks::default(), 8, 1500);
        let fast_free = constant(&raw const sys::SLUICE_TX_OFFLOAD_MBUF_FAST_FREE);
        assert_eq!(plan.conf.txmode.offloads & fast_free, 0);
        assert_eq!(plan.queues, 2, "as many as both directions have");
        let expected = Capabilities {
            tx_ipv4_checksum: true,
            tx_l4_checksum: true,
            tx_segmentation_max: 65_535,
            rx_checksum: true,
            multi_segment: true,
        };
        assert_eq!(plan.capabilities, expected);
        assert!(!plan.scatters, "1500 bytes fit one buffer");
        assert!(Plan::new(&info(u64::MAX, 0), Quirks::default(), 1, 9000).scatters);
    }

    #[test]
    fn asks_for_nothing_that_is_not_offered() {
        let plan = Plan::new(&info(0, 0), Quirks::default(), 1, 9000);
        assert_eq!((plan.conf.rxmode.offloads, plan.conf.txmode.offloads), (0, 0));
        assert_eq!(plan.capabilities, Capabilities::default());
        assert_eq!((plan.segments_max, plan.scatters), (1, false));
    }

    /// net_af_xdp 22.11 would send what lies behind the first segment instead of the second one.
    #[test]
    fn quirks_overrule_what_drivers_announce() {
        let plan = Plan::new(&info(0, u64::MAX), Quirks::of("net_af_xdp"), 1, 1500);
        assert_eq!((plan.capabilities.multi_segment, plan.segments_max), (false, 1));
        assert_eq!(plan.capabilities.tx_segmentation_max, 0, "a big packet has many segments");
        let plan = Plan::new(&info(0, 0), Quirks::of("net_pcap"), 1, 1500);
        assert!(plan.capabilities.multi_segment);
        let plan = Plan::new(&info(0, u64::MAX), Quirks::of("net_tap"), 1, 1500);
        assert_eq!(plan.capabilities.tx_segmentation_max, 0);
        assert!(!plan.capabilities.tx_l4_checksum, "it sums odd segments wrongly");
    }
}
