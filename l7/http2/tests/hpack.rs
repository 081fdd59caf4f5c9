//! HPACK: the vectors of RFC 7541, appendix C; a naive twin; what a peer may not do.

mod twin;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_l7_core::NameId;
use sluice_l7_http2::hpack::{Decoded, Decoder, Encoder, HpackError, Kind, Pseudo};
use twin::Twin;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn decode_within(
    decoder: &mut Decoder,
    block: &[u8],
    limit: u32,
) -> Result<(Fields, Decoded), HpackError> {
    let (mut text, mut fields) = (Vec::new(), Vec::new());
    let decoded = decoder.decode(block, limit, &mut text, |text, line| {
        let end = line.value_at() as usize + line.value_len as usize;
        assert_eq!(&text[end..], b"\r\n", "a line is all of the text behind the others");
        fields.push((line.name(text).to_vec(), line.value(text).to_vec()));
    })?;
    assert!(text.len() <= limit as usize, "what is beyond the limit never exists");
    Ok((fields, decoded))
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, HpackError> {
    let (fields, decoded) = decode_within(decoder, block, 1 << 24)?;
    assert_eq!(decoded, Decoded::Complete);
    Ok(fields)
}

fn said(fields: &Fields) -> String {
    let line = |(name, value): &(Vec<u8>, Vec<u8>)| {
        format!("{}: {}\n", name.escape_ascii(), value.escape_ascii())
    };
    fields.iter().map(line).collect()
}

/// Blocks of one connection, what they say, and how large the table is behind each.
fn check(blocks: &[(&str, &str, u32)]) {
    let (mut decoder, mut twin) = (Decoder::default(), Twin::new());
    for (hex, text, size) in blocks {
        let block = bytes(hex);
        let fields = decode(&mut decoder, &block).expect("a vector of the RFC");
        assert_eq!(said(&fields), text.replace("            ", ""), "{hex}");
        assert_eq!(twin.decode(&block), Ok(fields));
        assert_eq!(decoder.table_size(), *size, "{hex}");
    }
}

/// RFC 7541, C.2.
#[test]
fn single_representations() {
    let key = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    check(&[(key, "custom-key: custom-header\n", 55)]);
    check(&[("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n", 0)]);
    check(&[("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret\n", 0)]);
    check(&[("82", ":method: GET\n", 0)]);
}

const REQUESTS: [(&str, u32); 3] = [
    (
        ":method: GET
            :scheme: http
            :path: /
            :authority: www.example.com\n",
        57,
    ),
    (
        ":method: GET
            :scheme: http
            :path: /
            :authority: www.example.com
            cache-control: no-cache\n",
        110,
    ),
    (
        ":method: GET
            :scheme: https
            :path: /index.html
            :authority: www.example.com
            custom-key: custom-value\n",
        164,
    ),
];

/// RFC 7541, C.3 and C.4.
#[test]
fn requests_of_the_rfc() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, coded] {
        let all: Vec<_> =
            blocks.iter().zip(REQUESTS).map(|(hex, (text, size))| (*hex, text, size)).collect();
        check(&all);
    }
}

/// RFC 7541, C.5 and C.6: with a table of 256 bytes, which evicts.
#[test]
fn responses_of_the_rfc() {
    let plain = [
        "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65
         2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0
         5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851
         5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad
         94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160
         65c0 03ed 4ee5 b106 3d50 07",
    ];
    let texts = [
        ":status: 302
            cache-control: private
            date: Mon, 21 Oct 2013 20:13:21 GMT
            location: https://www.example.com\n",
        ":status: 307
            cache-control: private
            date: Mon, 21 Oct 2013 20:13:21 GMT
            location: https://www.example.com\n",
        ":status: 200
            cache-control: private
            date: Mon, 21 Oct 2013 20:13:22 GMT
            location: https://www.example.com
            content-encoding: gzip
            set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
    ];
    for blocks in [plain, coded] {
        let sizes = [222, 222, 215];
        let all: Vec<_> = (0..3).map(|nth| (blocks[nth], texts[nth], sizes[nth])).collect();
        check(&all);
    }
}

fn refused(hex: &str) -> HpackError {
    let block = bytes(hex);
    let error = decode(&mut Decoder::default(), &block).expect_err("it breaks a rule");
    assert_eq!(Twin::new().decode(&block), Err(error), "{hex}");
    error
}

#[test]
fn broken_blocks() {
    for (hex, error) in [
        ("80", HpackError::Index),
        ("be", HpackError::Index),
        ("ff00", HpackError::Index),
        ("7f00 0161", HpackError::Index),
        ("ffff ffff ffff 0f", HpackError::Integer),
        ("ff80 8080 8000", HpackError::Integer),
        ("ff80", HpackError::Truncated),
        ("40", HpackError::Truncated),
        ("4001", HpackError::Truncated),
        ("4001 61", HpackError::Truncated),
        ("4001 6105 6162", HpackError::Truncated),
        ("4081 ff01 61", HpackError::Huffman),
        ("4084 ffff ffff 0161", HpackError::Huffman),
        ("0481 18", HpackError::Huffman),
        ("3fe2 1f", HpackError::TableSize),
        ("2020 20", HpackError::TableSize),
        ("8220", HpackError::TableSize),
        ("2082 20", HpackError::TableSize),
    ] {
        assert_eq!(refused(hex), error, "{hex}");
    }
    // 4,096 exactly, and twice, is allowed.
    assert_eq!(decode(&mut Decoder::default(), &bytes("203f e11f 82")).map(|all| all.len()), Ok(1));
}

/// A reference costs a byte and stands for a whole entry: 16 kB of them would be 64 MB.
#[test]
fn a_bomb_never_exists() {
    let mut decoder = Decoder::default();
    let value = [b'v'; 4_000];
    let mut block = bytes("4001 78 7f a1 1e");
    block.extend(value);
    assert_eq!(decode(&mut decoder, &block).expect("a large field").len(), 1);
    let (fields, decoded) =
        decode_within(&mut decoder, &[0xbe; 16_384], 10_000).expect("the tables stay alike");
    assert_eq!((fields.len(), decoded), (2, Decoded::TooLarge));
    // Exactly, and one less.
    let size = 4_000 + 1 + 32;
    assert_eq!(decode_within(&mut decoder, &[0xbe], size).map(|all| all.1), Ok(Decoded::Complete));
    assert_eq!(
        decode_within(&mut decoder, &[0xbe], size - 1).map(|all| all.1),
        Ok(Decoded::TooLarge)
    );
}

/// What is beyond the limit still enters the table: the next block refers to it.
#[test]
fn tables_stay_alike_beyond_the_limit() {
    let mut decoder = Decoder::default();
    let block = bytes("4001 61 01 62 4001 63 01 64 4001 65 81 1f");
    let (fields, decoded) = decode_within(&mut decoder, &block, 40).expect("valid");
    assert_eq!((fields.len(), decoded), (1, Decoded::TooLarge));
    let next = decode(&mut decoder, &bytes("be bf c0")).expect("all three are there");
    assert_eq!(said(&next), "e: a\nc: d\na: b\n");
}

#[test]
fn validity_is_found_out_once_and_kept() {
    let mut decoder = Decoder::default();
    let mut kinds = Vec::new();
    let block = bytes(
        "4001 4101 62 4002 3a78 0162 4001 6103 2061 20 0004 3a70 6174 0161
                       0005 3a70 6174 6801 2f 1002 7465 0161 0003 7e7c 7c01 09 4001 6203 0d0a 62",
    );
    let mut text = Vec::new();
    decoder
        .decode(&block, 10_000, &mut text, |_, line| {
            kinds.push((line.kind, line.valid_value, line.never_indexed));
        })
        .expect("HPACK does not mind");
    let other = Kind::Field(NameId::OTHER);
    assert_eq!(
        kinds,
        [
            (Kind::Invalid, true, false),
            (Kind::Invalid, true, false),
            (other, false, false),
            (Kind::Invalid, true, false),
            (Kind::Pseudo(Pseudo::Path), true, false),
            (Kind::Field(NameId::TE), true, true),
            (other, false, false),
            (other, false, false),
        ]
    );
    kinds.clear();
    decoder
        .decode(&bytes("be bf c0 c1"), 10_000, &mut text, |_, line| {
            kinds.push((line.kind, line.valid_value, line.never_indexed));
        })
        .expect("they are in the table");
    assert_eq!(
        kinds,
        [
            (other, false, false),
            (other, false, false),
            (Kind::Invalid, true, false),
            (Kind::Invalid, true, false)
        ]
    );
}

fn encoded(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        match Pseudo::parse(name.as_bytes()) {
            Some(pseudo) => encoder.pseudo(pseudo, value.as_bytes(), &mut out),
            None => {
                let id = NameId::lookup(name.as_bytes());
                encoder.field(id, name.as_bytes(), value.as_bytes(), false, &mut out);
            }
        }
    }
    out
}

#[test]
fn what_comes_again_becomes_an_index() {
    let (mut encoder, mut twin) = (Encoder::default(), Twin::new());
    assert_eq!(encoder.memory(), 0, "a connection that has sent nothing has no table");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/helloworld.Greeter/SayHello"),
        (":authority", "greeter.example:50051"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go/1.60.0"),
        ("te", "trailers"),
        ("x-own", "some value"),
    ];
    let sizes: Vec<usize> = (0..4)
        .map(|_| {
            let block = encoded(&mut encoder, &fields);
            let decoded = twin.decode(&block).expect("what we write can be read");
            let text = |pair: &(&str, &str)| (pair.0.into(), pair.1.into());
            assert_eq!(decoded, fields.iter().map(text).collect::<Fields>());
            block.len()
        })
        .collect();
    assert_eq!(sizes[2..], [8, 8], "one byte each");
    assert!(sizes[1] < sizes[0], "inserted by Huffman: {sizes:?}");
}

#[test]
fn secrets_never_enter_a_table() {
    let mut encoder = Encoder::default();
    for _ in 0..4 {
        let fields = [("authorization", "Basic x"), ("cookie", "a=b")];
        let block = encoded(&mut encoder, &fields);
        assert_eq!(block[0] & 0xf0, 0x10, "never indexed");
        assert_eq!(block[10] & 0xf0, 0x10, "never indexed: {block:x?}");
        let mut out = Vec::new();
        encoder.field(NameId::OTHER, b"x-own", b"v", true, &mut out);
        assert_eq!(out[0], 0x10, "kept as it was received");
    }
    assert_eq!(encoder.table_size(), 0);
}

/// RFC 7541, 4.2: the smallest size in between is said first, then the one to use.
#[test]
fn sizes_are_announced_at_the_start_of_the_next_block() {
    let (mut encoder, mut twin) = (Encoder::default(), Twin::new());
    let fields = [("x-own", "some value")];
    for _ in 0..2 {
        twin.decode(&encoded(&mut encoder, &fields)).expect("valid");
    }
    assert_eq!(encoder.table_size(), 47);
    encoder.set_size_max(0);
    encoder.set_size_max(1_000_000);
    let block = encoded(&mut encoder, &fields);
    assert_eq!(block[..4], [0x20, 0x3f, 0xe1, 0x1f], "0, then 4,096 and not what was offered");
    twin.decode(&block).expect("valid");
    assert_eq!(encoded(&mut encoder, &[]), [0; 0], "said once");
    encoder.set_size_max(4_096);
    assert_eq!(encoded(&mut encoder, &[]), [0; 0], "nothing changed");
    encoder.set_size_max(100);
    assert_eq!(encoded(&mut encoder, &[]), [0x3f, 0x45]);
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let name = prop::sample::select(
        &[
            ":authority",
            ":path",
            ":method",
            ":status",
            "accept",
            "cookie",
            "te",
            "x-a",
            "x-b",
            "x-request-id",
            "content-type",
            "a-rather-long-name-of-a-field-that-nobody-knows",
        ][..],
    );
    let value = prop_oneof![
        prop::sample::select(&["", "a", "GET", "/", "200", "text/html"][..])
            .prop_map(str::to_owned),
        "[ -~]{0,40}",
        "[ -~]{900,1100}",
    ];
    vec((name, value), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever we write, the twin and our decoder read the same fields, with tables alike.
    #[test]
    fn what_is_written_is_read(
        blocks in vec((fields(), prop::option::of(0..5_000_u32)), 1..20)
    ) {
        let (mut encoder, mut decoder, mut twin) = (Encoder::default(), Decoder::default(), Twin::new());
        for (fields, size) in blocks {
            if let Some(size) = size {
                encoder.set_size_max(size);
            }
            let pairs: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let block = encoded(&mut encoder, &pairs);
            let read = decode(&mut decoder, &block).expect("valid");
            prop_assert_eq!(&twin.decode(&block), &Ok(read.clone()));
            let sent: Fields = pairs.iter().map(|pair| (pair.0.into(), pair.1.into())).collect();
            prop_assert_eq!(read, sent);
            prop_assert_eq!(encoder.table_size(), decoder.table_size());
            prop_assert!(encoder.memory() + decoder.memory() < 40_000);
        }
    }

    /// Whatever arrives, the twin says the same: fields or error.
    #[test]
    fn what_arrives_is_read_as_the_twin_reads_it(
        blocks in vec(vec(prop_oneof![
            any::<u8>(), 0x3c..0x44_u8, 0xbc..0xc4_u8, 0..4_u8, prop::sample::select(&[0x82, 0x83, 0x1f, 0x61][..])
        ], 0..60), 1..8)
    ) {
        let (mut decoder, mut twin) = (Decoder::default(), Twin::new());
        for block in blocks {
            let read = decode(&mut decoder, &block);
            prop_assert_eq!(&twin.decode(&block), &read, "{:x?}", block);
            if read.is_err() {
                break;
            }
            prop_assert_eq!(decoder.table_size(), twin.size());
        }
    }
}

/// RFC 7541, 4.2: who was told to use less says so at the start of its next block.
#[test]
fn a_table_that_is_made_smaller() {
    let decode = |decoder: &mut Decoder, block: &[u8]| {
        decoder.decode(block, 10_000, &mut Vec::new(), |_, _| {})
    };
    let mut decoder = Decoder::default();
    // x: y, indexed.
    assert_eq!(decode(&mut decoder, &[0x40, 1, b'x', 1, b'y']), Ok(Decoded::Complete));
    assert_eq!(decoder.table_size(), 34);
    decoder.set_size_max(33);
    assert_eq!(decode(&mut decoder, &[0x82]), Err(HpackError::TableSize), "no update");
    let mut decoder = Decoder::default();
    decoder.set_size_max(33);
    assert_eq!(decode(&mut decoder, &[0x3f, 3]), Err(HpackError::TableSize), "34 is too much");
    let mut decoder = Decoder::default();
    assert_eq!(decode(&mut decoder, &[0x40, 1, b'x', 1, b'y']), Ok(Decoded::Complete));
    decoder.set_size_max(33);
    assert_eq!(decode(&mut decoder, &[0x3f, 2, 0x82]), Ok(Decoded::Complete));
    assert_eq!(decoder.table_size(), 0);
    assert_eq!(decode(&mut decoder, &[0x82]), Ok(Decoded::Complete), "once is enough");
}

#[test]
fn an_encoder_that_uses_less_says_so_first() {
    let mut out = Vec::new();
    let mut encoder = Encoder::with_size_max(0);
    encoder.begin(&mut out);
    assert_eq!(out, [0x20]);
    // The peer allows more than that.
    encoder.set_size_max(0);
    out.clear();
    encoder.begin(&mut out);
    assert_eq!(out, []);
}
