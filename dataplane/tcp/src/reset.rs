//! Answers to segments that no connection wants (RFC 9293, 3.10.7.1).

use sluice_wire::{Flags, SeqNumber, TcpHeader, TcpOptions};

/// The RST for a segment without a connection; None for a RST, which is never answered.
///
/// The ports are those of the answer: swapped.
#[must_use]
pub fn reset_for(header: &TcpHeader, payload_len: u32) -> Option<TcpHeader> {
    if header.flags.contains(Flags::RST) {
        return None;
    }
    let (seq, ack, flags) = if header.flags.contains(Flags::ACK) {
        (header.ack, SeqNumber::ZERO, Flags::RST)
    } else {
        let end = header.seq + header.segment_len(payload_len);
        (SeqNumber::ZERO, end, Flags::RST | Flags::ACK)
    };
    Some(TcpHeader {
        src_port: header.dst_port,
        dst_port: header.src_port,
        seq,
        ack,
        flags,
        window: 0,
        urgent: 0,
        options: TcpOptions::NONE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: Flags) -> TcpHeader {
        let (seq, ack) = (SeqNumber(u32::MAX), SeqNumber(77));
        TcpHeader { src_port: 1, dst_port: 2, seq, ack, flags, ..TcpHeader::default() }
    }

    #[test]
    fn an_ack_is_answered_with_its_own_number() {
        let reset = reset_for(&segment(Flags::ACK), 10).expect("an answer");
        assert_eq!((reset.seq, reset.flags), (SeqNumber(77), Flags::RST));
        assert_eq!((reset.src_port, reset.dst_port), (2, 1));
    }

    #[test]
    fn without_ack_everything_the_segment_takes_is_acknowledged() {
        let reset = reset_for(&segment(Flags::SYN | Flags::FIN), 10).expect("an answer");
        assert_eq!(reset.seq, SeqNumber::ZERO);
        assert_eq!(reset.ack, SeqNumber(11), "10 bytes, SYN and FIN from 2^32 - 1 on");
        assert_eq!(reset.flags, Flags::RST | Flags::ACK);
    }

    #[test]
    fn a_reset_is_not_answered() {
        assert_eq!(reset_for(&segment(Flags::RST | Flags::ACK), 0), None);
    }
}
