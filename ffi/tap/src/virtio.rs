//! The header in front of each frame: virtio 1.2, 5.1.6 (`struct virtio_net_hdr`, 10 bytes, in the
//! machine's byte order on a TAP).

use sluice_buf::{Gso, L4Checksum, Packet, RxChecksum};

/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 10;

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// Where the TCP header has its checksum.
const TCP_CHECKSUM_OFFSET: u16 = 16;
/// Where the UDP header has its checksum.
const UDP_CHECKSUM_OFFSET: u16 = 6;

/// Tells the packet what the kernel knows about it.
pub(crate) fn read(header: &[u8; HEADER_LEN], packet: &mut Packet) {
    let flags = header[0];
    if flags & F_NEEDS_CSUM != 0 {
        packet.set_rx_checksum(RxChecksum::Partial);
    } else if flags & F_DATA_VALID != 0 {
        packet.set_rx_checksum(RxChecksum::Good);
    }
    if header[1] & !GSO_ECN != GSO_NONE {
        packet.set_gso(Gso { segment_size: u16::from_ne_bytes([header[4], header[5]]) });
    }
}

/// Tells the kernel what the packet still needs.
pub(crate) fn write(packet: &Packet) -> [u8; HEADER_LEN] {
    let request = packet.tx_offload();
    let mut header = [0; HEADER_LEN];
    let checksum_offset = match request.l4_checksum {
        L4Checksum::None => return header,
        L4Checksum::Tcp => TCP_CHECKSUM_OFFSET,
        L4Checksum::Udp => UDP_CHECKSUM_OFFSET,
    };
    let start = u16::from(request.l2_len) + request.l3_len;
    header[0] = F_NEEDS_CSUM;
    header[6..8].copy_from_slice(&start.to_ne_bytes());
    header[8..10].copy_from_slice(&checksum_offset.to_ne_bytes());
    if request.segment_size > 0 {
        let headers = start + u16::from(request.l4_len);
        header[1] = if request.is_v6 { GSO_TCPV6 } else { GSO_TCPV4 };
        header[2..4].copy_from_slice(&headers.to_ne_bytes());
        header[4..6].copy_from_slice(&request.segment_size.to_ne_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use sluice_buf::{Pool, TxOffload};

    use super::*;

    #[test]
    fn a_plain_packet_asks_for_nothing() {
        let pool = Pool::heap(1);
        let packet = pool.alloc().expect("one buffer");
        assert_eq!(write(&packet), [0; HEADER_LEN]);
    }

    #[test]
    fn a_segmentation_request_names_the_headers() {
        let pool = Pool::heap(1);
        let mut packet = pool.alloc().expect("one buffer");
        packet.set_tx_offload(TxOffload {
            l2_len: 14,
            l3_len: 20,
            l4_len: 32,
            segment_size: 1448,
            is_v6: false,
            ipv4_checksum: false,
            l4_checksum: L4Checksum::Tcp,
        });
        let header = write(&packet);
        assert_eq!((header[0], header[1]), (F_NEEDS_CSUM, GSO_TCPV4));
        let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        assert_eq!((word(2), word(4), word(6), word(8)), (66, 1448, 34, 16));
        packet.set_tx_offload(TxOffload { l3_len: 40, is_v6: true, ..packet.tx_offload() });
        assert_eq!(write(&packet)[1], GSO_TCPV6);
    }

    #[test]
    fn what_the_kernel_knows_reaches_the_packet() {
        let pool = Pool::heap(1);
        let mut packet = pool.alloc().expect("one buffer");
        read(&[F_DATA_VALID, 0, 0, 0, 0, 0, 0, 0, 0, 0], &mut packet);
        assert_eq!((packet.rx_checksum(), packet.gso()), (RxChecksum::Good, None));
        let size = 1448u16.to_ne_bytes();
        read(&[F_NEEDS_CSUM, GSO_TCPV4, 66, 0, size[0], size[1], 34, 0, 16, 0], &mut packet);
        assert_eq!(packet.rx_checksum(), RxChecksum::Partial);
        assert_eq!(packet.gso(), Some(Gso { segment_size: 1448 }));
    }
}
