//! Headers and options against hand-made bytes, at the edges, and as a round trip.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const DST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A SYN as Linux sends it: 49152 > 80, mss, sackOK, TS, nop, wscale.
const SYN: [u8; 40] = [
    0xc0, 0x00, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x02, 0xfa, 0xf0,
    0xbe, 0xef, 0x00, 0x00, // options
    0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0x00, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x03, 0x03, 0x07,
];

fn parse(bytes: &[u8]) -> Result<TcpHeader, TcpError> {
    TcpView::parse(bytes)?.header()
}

fn emitted(header: &TcpHeader) -> Vec<u8> {
    let mut bytes = vec![0xaa; HEADER_LEN_MAX];
    let len = header.emit(&mut bytes);
    assert_eq!(len, header.header_len(), "emit and header_len agree");
    assert!(bytes[len..].iter().all(|&byte| byte == 0xaa), "nothing is written behind the header");
    bytes.truncate(len);
    bytes
}

fn round_trip(options: TcpOptions) -> TcpOptions {
    let header = TcpHeader { flags: Flags::SYN, options, ..TcpHeader::default() };
    parse(&emitted(&header)).expect("what we emit is valid").options
}

/// A header with these option bytes, which must be a multiple of 4.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut bytes = SYN[..HEADER_LEN_MIN].to_vec();
    bytes[12] = ((5 + options.len() / 4) as u8) << 4;
    bytes.extend_from_slice(options);
    bytes
}

#[test]
fn syn_reads_field_by_field() {
    let view = TcpView::parse(&SYN).expect("valid");
    assert_eq!(view.header_len(), 40);
    assert_eq!(view.checksum(), 0xbeef);
    let expected = TcpHeader {
        src_port: 49152,
        dst_port: 80,
        seq: SeqNumber(0x0102_0304),
        ack: SeqNumber::ZERO,
        flags: Flags::SYN,
        window: 64240,
        urgent: 0,
        options: TcpOptions {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 100, echo: 0 }),
            ..TcpOptions::NONE
        },
    };
    assert_eq!(view.header(), Ok(expected));
}

#[test]
fn syn_is_emitted_in_the_layout_of_linux() {
    let mut expected = SYN;
    expected[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].fill(0);
    assert_eq!(emitted(&parse(&SYN).expect("valid")), expected);
}

#[test]
fn prints_like_tcpdump() {
    let syn = parse(&SYN).expect("valid");
    assert_eq!(
        syn.to_string(),
        "49152 > 80: Flags [S], seq 16909060, win 64240, \
         options [mss 1460,sackOK,TS val 100 ecr 0,wscale 7]"
    );
    let data = TcpHeader {
        src_port: 80,
        dst_port: 4000,
        seq: SeqNumber(1),
        ack: SeqNumber(2),
        flags: Flags::PSH | Flags::ACK | Flags::URG,
        window: 502,
        urgent: 3,
        options: TcpOptions {
            sack: [(SeqNumber(10), SeqNumber(20)), (SeqNumber(30), SeqNumber(40))]
                .into_iter()
                .collect(),
            fast_open: FastOpenCookie::new(&[1, 2, 3, 0xff]),
            user_timeout: Some(0x8001),
            ..TcpOptions::NONE
        },
    };
    assert_eq!(
        data.display(10).to_string(),
        "80 > 4000: Flags [P.U], seq 1:11, ack 2, win 502, urg 3, \
         options [uto 0x8001,tfo cookie 010203ff,sack 2 {10:20} {30:40}], length 10"
    );
    assert_eq!(
        TcpHeader::default().display(0).to_string(),
        "0 > 0: Flags [none], seq 0, win 0, length 0"
    );
}

#[test]
fn header_one_less_exact_one_more() {
    assert_eq!(parse(&SYN[..19]), Err(TcpError::Truncated));
    assert_eq!(parse(&SYN[..20]), Err(TcpError::HeaderOverrun));
    assert_eq!(parse(&SYN[..39]), Err(TcpError::HeaderOverrun));
    assert!(parse(&SYN).is_ok());
    let mut with_data = SYN.to_vec();
    with_data.push(b'x');
    assert_eq!(parse(&with_data), parse(&SYN), "data is not the header's business");
}

#[test]
fn data_offset_below_five_is_refused() {
    let mut bytes = SYN;
    for offset in 0..5 {
        bytes[12] = offset << 4;
        assert_eq!(parse(&bytes), Err(TcpError::HeaderLength));
    }
    bytes[12] = 5 << 4;
    assert_eq!(parse(&bytes).map(|header| header.options), Ok(TcpOptions::NONE));
}

#[test]
fn reserved_bits_are_ignored() {
    // RFC 9293, 3.1: reserved for future use, ignored when received.
    let mut bytes = SYN;
    bytes[12] |= 0x0f;
    assert_eq!(parse(&bytes), parse(&SYN));
}

#[test]
fn checksum_of_a_whole_segment() {
    let mut segment = SYN.to_vec();
    segment.extend_from_slice(b"odd");
    assert!(!checksum_ok(SRC, DST, &segment));
    fill_checksum(SRC, DST, &mut segment);
    assert!(checksum_ok(SRC, DST, &segment));
    assert!(!checksum_ok(SRC, SRC, &segment), "the addresses are covered");
    segment[42] ^= 1;
    assert!(!checksum_ok(SRC, DST, &segment));
}

#[test]
fn timestamps_alone_take_the_fast_path_and_mean_the_same_in_any_layout() {
    let expected = TcpOptions::with_timestamps(0x0102_0304, 0x0506_0708);
    let aligned = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    let behind = [8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0];
    assert_eq!(TcpOptions::parse(&aligned), Ok(expected));
    assert_eq!(TcpOptions::parse(&behind), Ok(expected));
    let mut out = [0xaa; OPTIONS_LEN_MAX];
    assert_eq!(expected.emit(&mut out), 12);
    assert_eq!(out[..12], aligned);
}

#[test]
fn unknown_options_are_skipped_by_their_length() {
    // RFC 9293, 3.1, MUST-6: kind 253 (experimental) of 6 bytes, then MSS.
    let bytes = with_options(&[253, 6, 0xde, 0xad, 0xbe, 0xef, 2, 4, 0x02, 0x18, 0, 0]);
    let options = parse(&bytes).expect("valid").options;
    assert_eq!(options, TcpOptions { mss: Some(536), ..TcpOptions::NONE });
    // The shortest unknown option has no data.
    let bytes = with_options(&[253, 2, 4, 2]);
    assert!(parse(&bytes).expect("valid").options.sack_permitted);
}

#[test]
fn option_lengths_below_two_are_errors() {
    // RFC 9293, 3.1, MUST-7: a length of 0 would loop for ever where it is believed.
    for len in [0, 1] {
        let bytes = with_options(&[1, 253, len, 0]);
        assert_eq!(parse(&bytes), Err(TcpError::OptionLength { kind: 253 }));
    }
    assert_eq!(parse(&with_options(&[2, 0, 5, 180])), Err(TcpError::OptionLength { kind: 2 }));
}

#[test]
fn option_overrun_one_less_exact_one_more() {
    let len = |len: u8| parse(&with_options(&[1, 1, 1, 1, 253, len, 7, 7])).map(|_| ());
    assert_eq!(len(3), Err(TcpError::OptionOverrun { kind: 7 }), "the rest is read as kind 7");
    assert_eq!(len(4), Ok(()));
    assert_eq!(len(5), Err(TcpError::OptionOverrun { kind: 253 }));
    assert_eq!(len(255), Err(TcpError::OptionOverrun { kind: 253 }));
    // A kind as the very last byte has no length at all.
    assert_eq!(parse(&with_options(&[1, 1, 1, 8])), Err(TcpError::OptionOverrun { kind: 8 }));
}

#[test]
fn nothing_is_read_behind_the_end_of_options() {
    let bytes = with_options(&[0, 2, 4, 5, 180, 0, 0, 0]);
    assert_eq!(parse(&bytes).map(|header| header.options), Ok(TcpOptions::NONE));
}

#[test]
fn known_options_of_another_length_are_ignored() {
    let bytes = with_options(&[
        2, 3, 5, 3, 4, 1, 1, 4, 3, 9, 8, 9, 1, 1, 1, 1, 1, 1, 1, 28, 3, 9, 5, 2, 5, 9, 1, 1, 1, 1,
        1, 1, 1, 0, 0, 0,
    ]);
    assert_eq!(parse(&bytes).map(|header| header.options), Ok(TcpOptions::NONE));
}

#[test]
fn window_scale_is_clamped_to_fourteen() {
    // RFC 7323, 2.3.
    let scale = |shift: u8| parse(&with_options(&[1, 3, 3, shift])).map(|h| h.options.window_scale);
    assert_eq!(scale(0), Ok(Some(0)));
    assert_eq!(scale(13), Ok(Some(13)));
    assert_eq!(scale(14), Ok(Some(14)));
    assert_eq!(scale(15), Ok(Some(14)));
    assert_eq!(scale(255), Ok(Some(14)));
}

#[test]
fn the_last_of_repeated_options_counts() {
    let bytes = with_options(&[2, 4, 5, 180, 2, 4, 2, 24]);
    assert_eq!(parse(&bytes).map(|header| header.options.mss), Ok(Some(536)));
}

#[test]
fn sack_holds_one_to_four_blocks() {
    let block = |i: u32| (SeqNumber(i * 100), SeqNumber(i * 100 + 50));
    for count in 1..=4u32 {
        let sack: SackBlocks = (0..count).map(block).collect();
        assert_eq!(sack.len(), count as usize);
        assert_eq!(round_trip(TcpOptions { sack, ..TcpOptions::NONE }).sack, sack);
    }
    let mut full: SackBlocks = (0..9).map(block).collect();
    assert_eq!(full.len(), SackBlocks::MAX);
    assert!(!full.push(SeqNumber(1), SeqNumber(2)));
}

#[test]
fn three_sack_blocks_fit_beside_timestamps() {
    // RFC 2018, 3: "a SACK option with timestamps can specify at most 3 blocks".
    let sack: SackBlocks = (0..4).map(|i| (SeqNumber(i), SeqNumber(i + 1))).collect();
    let options = TcpOptions { sack, ..TcpOptions::with_timestamps(1, 2) };
    assert_eq!(options.len(), 40);
    let read = round_trip(options);
    assert_eq!(read.sack.as_slice(), &sack.as_slice()[..3]);
    assert_eq!(read.timestamps, options.timestamps);
}

#[test]
fn fast_open_cookies_have_the_lengths_of_rfc_7413() {
    for len in 0..=17usize {
        let is_valid = len == 0 || (4..=16).contains(&len) && len % 2 == 0;
        let cookie = FastOpenCookie::new(&vec![7; len]);
        assert_eq!(cookie.is_some(), is_valid, "{len} bytes");
        let mut bytes = vec![34, len as u8 + 2];
        bytes.resize(2 + len, 7);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        assert_eq!(parse(&with_options(&bytes)).map(|h| h.options.fast_open), Ok(cookie));
    }
    assert!(FastOpenCookie::REQUEST.is_request());
}

#[test]
fn fast_open_without_syn_is_ignored() {
    // RFC 7413, 4.1.1.
    let mut bytes = with_options(&[34, 2, 1, 1]);
    assert_eq!(parse(&bytes).map(|h| h.options.fast_open), Ok(Some(FastOpenCookie::REQUEST)));
    bytes[13] = Flags::ACK.0;
    assert_eq!(parse(&bytes).map(|h| h.options.fast_open), Ok(None));
}

#[test]
fn a_full_syn_is_packed_when_alignment_does_not_fit() {
    // 4 + 2 + 10 + 3 + 4 + 16 = 39 bytes packed, 40 with padding; aligned it would take 44.
    let options = TcpOptions {
        mss: Some(1460),
        window_scale: Some(14),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 1, echo: 2 }),
        fast_open: FastOpenCookie::new(&[9; 14]),
        user_timeout: Some(30),
        ..TcpOptions::NONE
    };
    assert_eq!(options.len(), 40);
    assert_eq!(round_trip(options), options);
}

#[test]
fn what_cannot_fit_is_left_out_cookie_first() {
    let options = TcpOptions {
        mss: Some(1460),
        window_scale: Some(14),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 1, echo: 2 }),
        fast_open: FastOpenCookie::new(&[9; 16]),
        user_timeout: Some(30),
        ..TcpOptions::NONE
    };
    assert_eq!(round_trip(options), TcpOptions { fast_open: None, ..options });
}

#[test]
fn segment_length_counts_syn_and_fin() {
    let with = |flags| TcpHeader { flags, ..TcpHeader::default() };
    assert_eq!(with(Flags::ACK).segment_len(10), 10);
    assert_eq!(with(Flags::SYN).segment_len(0), 1);
    assert_eq!(with(Flags::SYN | Flags::FIN).segment_len(1), 3);
}

#[test]
fn reasons_are_unique_and_kebab_case() {
    let reasons = TcpError::REASONS;
    assert_eq!(reasons.len(), 5);
    for (i, reason) in reasons.iter().enumerate() {
        assert!(reason.starts_with("tcp-"));
        assert!(reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        assert!(!reasons[..i].contains(reason));
    }
    assert_eq!(TcpError::OptionLength { kind: 3 }.reason(), "tcp-option-length");
}

prop_compose! {
    /// Options that fit: whatever does not is tested by name above.
    fn any_options()(
        mss in any::<Option<u16>>(),
        window_scale in proptest::option::of(0..=WINDOW_SCALE_MAX),
        sack_permitted in any::<bool>(),
        timestamps in any::<Option<(u32, u32)>>(),
        sack in proptest::collection::vec(any::<(u32, u32)>(), 0..=4),
        cookie in proptest::option::of((0usize..=8).prop_map(|half| match half { 1 => 0, n => n * 2 })),
        user_timeout in any::<Option<u16>>(),
    ) -> TcpOptions {
        let mut options = TcpOptions {
            mss,
            window_scale,
            sack_permitted,
            timestamps: timestamps.map(|(value, echo)| Timestamps { value, echo }),
            sack: SackBlocks::NONE,
            fast_open: cookie.and_then(|len| FastOpenCookie::new(&[0x5a; 16][..len])),
            user_timeout,
        };
        let mut room: usize = 40 - 4 * usize::from(mss.is_some())
            - 3 * usize::from(window_scale.is_some())
            - 2 * usize::from(sack_permitted)
            - 10 * usize::from(timestamps.is_some())
            - 4 * usize::from(user_timeout.is_some());
        if let Some(cookie) = options.fast_open {
            if room < 2 + cookie.bytes().len() {
                options.fast_open = None;
            } else {
                room -= 2 + cookie.bytes().len();
            }
        }
        options.sack = sack
            .into_iter()
            .take(room.saturating_sub(2) / 8)
            .map(|(left, right)| (SeqNumber(left), SeqNumber(right)))
            .collect();
        options
    }
}

proptest! {
    #[test]
    fn emit_then_parse_is_identity(
        ports in any::<(u16, u16)>(), numbers in any::<(u32, u32)>(), flags in any::<u8>(),
        window in any::<u16>(), urgent in any::<u16>(), mut options in any_options(),
    ) {
        let flags = Flags(flags);
        if !flags.contains(Flags::SYN) {
            options.fast_open = None;
        }
        let header = TcpHeader {
            src_port: ports.0,
            dst_port: ports.1,
            seq: SeqNumber(numbers.0),
            ack: SeqNumber(numbers.1),
            flags,
            window,
            urgent,
            options,
        };
        prop_assert_eq!(parse(&emitted(&header)), Ok(header));
    }

    #[test]
    fn arbitrary_options_never_panic_and_settle(
        bytes in proptest::collection::vec(any::<u8>(), 0..=10), flags in any::<u8>(),
    ) {
        // Small values make valid lengths likely.
        let options: Vec<u8> = bytes.iter().flat_map(|&b| [b % 36, b % 13, b, b ^ 0x55]).collect();
        let mut bytes = with_options(&options);
        bytes[13] = flags;
        if let Ok(header) = parse(&bytes) {
            prop_assert_eq!(parse(&emitted(&header)), Ok(header), "what was understood is kept");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&bytes);
    }
}
