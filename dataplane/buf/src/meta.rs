//! What travels with a packet beside its bytes.

use crate::header::flags;

/// What the device found out about the layer-4 checksum.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RxChecksum {
    /// Nobody looked; verify it.
    Unknown,
    /// Verified by the device.
    Good,
    /// Wrong; drop and count.
    Bad,
    /// Not filled in because the packet never left memory (virtio `NEEDS_CSUM`); the data is right,
    /// and whoever sends the packet on must have the checksum computed.
    Partial,
}

/// Which layer-4 checksum the device shall fill in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum L4Checksum {
    /// None: it is there already.
    #[default]
    None,
    /// TCP; the field holds the pseudo-header sum.
    Tcp,
    /// UDP; the field holds the pseudo-header sum.
    Udp,
}

/// A request to the device that sends the packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TxOffload {
    /// Bytes of link-layer header.
    pub l2_len: u8,
    /// Bytes of IP header.
    pub l3_len: u16,
    /// Bytes of TCP or UDP header.
    pub l4_len: u8,
    /// Payload bytes per segment, 0 for no segmentation.
    pub segment_size: u16,
    /// Whether the IP header is IPv6's.
    pub is_v6: bool,
    /// Whether the IPv4 header checksum is to be filled in.
    pub ipv4_checksum: bool,
    /// Which layer-4 checksum is to be filled in.
    pub l4_checksum: L4Checksum,
}

/// A received packet that stands for several segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gso {
    /// Payload bytes of each of the segments it was merged from (the last may be shorter).
    pub segment_size: u16,
}

impl TxOffload {
    pub(crate) fn flags(self) -> u64 {
        let mut bits = 0;
        if self.ipv4_checksum || self.l4_checksum != L4Checksum::None || self.segment_size > 0 {
            bits |= if self.is_v6 { flags::TX_IPV6 } else { flags::TX_IPV4 };
        }
        if self.ipv4_checksum {
            bits |= flags::TX_IP_CKSUM;
        }
        bits |= match self.l4_checksum {
            L4Checksum::None => 0,
            L4Checksum::Tcp => flags::TX_TCP_CKSUM,
            L4Checksum::Udp => flags::TX_UDP_CKSUM,
        };
        if self.segment_size > 0 {
            bits |= flags::TX_TCP_SEG;
        }
        bits
    }

    /// `rte_mbuf.tx_offload`: l2 7 bits, l3 9 bits, l4 8 bits, segment size 16 bits.
    pub(crate) fn packed(self) -> u64 {
        u64::from(self.l2_len & 0x7f)
            | u64::from(self.l3_len & 0x1ff) << 7
            | u64::from(self.l4_len) << 16
            | u64::from(self.segment_size) << 24
    }

    pub(crate) fn unpack(bits: u64, packed: u64) -> Self {
        let l4_checksum = match bits & flags::TX_L4_MASK {
            flags::TX_TCP_CKSUM => L4Checksum::Tcp,
            flags::TX_UDP_CKSUM => L4Checksum::Udp,
            _ => L4Checksum::None,
        };
        let segmented = bits & flags::TX_TCP_SEG != 0;
        Self {
            l2_len: (packed & 0x7f) as u8,
            l3_len: ((packed >> 7) & 0x1ff) as u16,
            l4_len: ((packed >> 16) & 0xff) as u8,
            segment_size: if segmented { ((packed >> 24) & 0xffff) as u16 } else { 0 },
            is_v6: bits & flags::TX_IPV6 != 0,
            ipv4_checksum: bits & flags::TX_IP_CKSUM != 0,
            l4_checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offload_request_survives_packing() {
        let request = TxOffload {
            l2_len: 18,
            l3_len: 60,
            l4_len: 32,
            segment_size: 1448,
            is_v6: false,
            ipv4_checksum: true,
            l4_checksum: L4Checksum::Tcp,
        };
        assert_eq!(TxOffload::unpack(request.flags(), request.packed()), request);
        let v6 = TxOffload { is_v6: true, ipv4_checksum: false, ..request };
        assert_eq!(TxOffload::unpack(v6.flags(), v6.packed()), v6);
        let none = TxOffload::default();
        assert_eq!((none.flags(), TxOffload::unpack(0, 0)), (0, none));
    }
}
