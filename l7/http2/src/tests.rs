//! Heads from one connection to another, by runs and field by field: both must say the same.

use sluice_base::Rng;
use sluice_l7_core::{Field, Head, HeadLimits, HeadPool, Method, NameId, NameSet, Run, Runs, Span};

use crate::decode::{self, Facts, Section};
use crate::encode::{self, Length};
use crate::error::Fault;
use crate::hpack::{Decoder, Encoder, Pseudo};

/// What a head says: its start, its fields.
fn said(head: &Head) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let start = [head.method_text(), b" ", head.authority(), b" ", head.path(), b" "].concat();
    let start = [start, format!("{:?} {}", head.scheme(), head.status()).into()].concat();
    let lower = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    (start, head.iter().map(|(name, value)| (lower(name), value.to_vec())).collect())
}

/// One end that receives.
struct Reader {
    decoder: Decoder,
    heads: HeadPool,
    /// Whether nothing is remembered from one block to the next.
    forgets: bool,
}

impl Reader {
    fn new(forgets: bool) -> Self {
        Self { decoder: Decoder::default(), heads: HeadPool::new(1, 16), forgets }
    }

    fn read(&mut self, block: &[u8], section: Section) -> (Box<Head>, Facts) {
        self.try_read(block, section).expect("a good head")
    }

    fn try_read(&mut self, block: &[u8], section: Section) -> Result<(Box<Head>, Facts), Fault> {
        if self.forgets {
            self.heads = HeadPool::new(1, 16);
        }
        let mut head = self.heads.take();
        let limits = HeadLimits::default();
        let facts =
            decode::head(&mut self.decoder, block, section, &mut head, &limits, &mut self.heads);
        facts.expect("both tables are alike").map(|facts| (head, facts))
    }
}

/// A message as many send it: much of it is as in the one before.
fn message(rng: &mut Rng, section: Section) -> Head {
    let mut head = Head::new();
    let mut pick = |most: u64| rng.next_u64() % most;
    match section {
        Section::Request => {
            let path = format!("/service/method-{}", pick(4));
            head.reset_to_request(Method::Post, b"shop.example", path.as_bytes());
        }
        Section::Response => head.reset_to_response(if pick(5) == 0 { 503 } else { 200 }),
        Section::Trailers => head.append(NameId::GRPC_STATUS, b"0"),
    }
    for name in ["x-a", "x-b", "x-c", "x-d", "x-e", "x-f"] {
        match pick(12) {
            0 => {}
            // New entries move the others, and push some out.
            1 => head.append(name, format!("{}", pick(1 << 20)).as_bytes()),
            2 => head.append(name, &[b'v'; 400][..pick(400) as usize]),
            _ => head.append(name, b"the same as ever"),
        }
    }
    if section == Section::Request {
        if pick(3) > 0 {
            head.append(NameId::TE, b"trailers");
        }
        if pick(4) == 0 {
            head.append(NameId::PRIORITY, format!("u={}", pick(8)).as_bytes());
        }
        if pick(4) == 0 {
            head.append(NameId::COOKIE, b"a=1");
            head.append(NameId::COOKIE, b"b=2");
        }
        if pick(3) > 0 {
            head.append(NameId::X_REQUEST_ID, format!("{:x}", pick(1 << 40)).as_bytes());
        }
    }
    head
}

/// What filters and routes do to a head, now and then.
fn change(rng: &mut Rng, heads: [&mut Head; 2]) {
    let kind = rng.next_u64() % 12;
    for head in heads {
        match kind {
            0 => drop(head.remove("x-c")),
            1 => head.remove_all(NameSet::of(&[NameId::TE, NameId::PRIORITY])),
            2 => head.set("x-b", b"another"),
            3 if head.is_request() => head.set_path(b"/elsewhere"),
            4 if head.is_request() => head.set_authority(b"other.example"),
            5 if head.status() > 0 => head.set_status(418),
            6 => head.retain(|_, name, _| name != b"x-a"),
            7 if head.is_request() => head.set(NameId::TE, b"trailers"),
            _ => head.append("x-forwarded-proto", b"http"),
        }
    }
}

fn write(encoder: &mut Encoder, head: &Head, section: Section) -> Vec<u8> {
    write_of(&mut Runs::default(), encoder, head, section)
}

/// The same where the worker knows these runs.
fn write_of(runs: &mut Runs, encoder: &mut Encoder, head: &Head, section: Section) -> Vec<u8> {
    let mut block = Vec::new();
    match section {
        Section::Request => encode::request(encoder, head, Length::Unsaid, runs, &mut block),
        Section::Response => encode::response(encoder, head, Length::Unsaid, runs, &mut block),
        Section::Trailers => encode::trailers(encoder, head, runs, &mut block),
    }
    block
}

/// Fields that are added to many requests.
fn added(runs: &mut Runs, number: u64) -> u64 {
    let (mut run, mut text) = (Run::default(), Vec::new());
    let ids = [NameId::X_FORWARDED_FOR, NameId::X_FORWARDED_PROTO, NameId::DATE];
    for id in &ids[..=number as usize] {
        let (at, name) = (text.len(), id.as_str());
        text.extend_from_slice(format!("{name}: 10.0.0.{number}\r\n").as_bytes());
        let (name, value) = (Span::own(at, name.len()), Span::own(at + name.len() + 2, 8));
        run.fields.push(Field { id: *id, name, value, plain: true, never_indexed: false, hash: 0 });
        run.names = run.names.with(*id);
    }
    run.text = text;
    runs.keep(&run).expect("it is short")
}

/// Passes messages from a client by two proxies to a server, one of which knows no runs.
fn pass(section: Section, seed: u64) -> (u32, u32) {
    let mut rng = Rng::new(seed);
    let mut client = Encoder::default();
    let (mut by_run, mut plain) = (Reader::new(false), Reader::new(true));
    let (mut to, mut to_plain) = (Encoder::default(), Encoder::default());
    let (mut server, mut server_plain) = (Reader::new(true), Reader::new(true));
    let (mut runs, mut in_one_piece, mut all) = (0, 0, 0);
    for round in 0..2_000 {
        if rng.next_u64().is_multiple_of(100) {
            // The peer of each lets it use less, or again more.
            let size = (rng.next_u64() % 4_096) as u32;
            client.set_size_max(size);
            to.set_size_max(size / 2);
            to_plain.set_size_max(size / 2);
        }
        let mut block = write(&mut client, &message(&mut rng, section), section);
        if section == Section::Request && rng.next_u64().is_multiple_of(8) {
            block.extend_from_slice(b"\x00\x02te\x08trailers");
        }
        if section == Section::Request && rng.next_u64().is_multiple_of(8) {
            block.extend_from_slice(b"\x0f\x17\x0cshop.example");
        }
        let (mut head, facts) = by_run.read(&block, section);
        let (mut twin, twin_facts) = plain.read(&block, section);
        assert_eq!(said(&head), said(&twin), "round {round} of {seed}");
        assert_eq!(format!("{facts:?}"), format!("{twin_facts:?}"), "round {round} of {seed}");
        assert!(twin.run(NameSet::EMPTY).is_none(), "it forgets");
        let te = head.get_all(NameId::TE).count();
        let says_te = head.run(NameSet::EMPTY).is_some_and(|run| run.contains(NameId::TE));
        assert!(!says_te || te == 1, "a run with it says all that is said");
        change(&mut rng, [&mut head, &mut twin]);
        if section == Section::Request && rng.next_u64().is_multiple_of(2) {
            let run = added(by_run.heads.runs(), rng.next_u64() % 3);
            let run = by_run.heads.runs().get(run).expect("just kept");
            if head.append_run(run) {
                let text = String::from_utf8(run.text.clone()).expect("text");
                for line in text.lines() {
                    let (name, value) = line.split_once(": ").expect("a line");
                    twin.append(name, value.as_bytes());
                }
            }
        }
        if rng.next_u64().is_multiple_of(4) {
            change(&mut rng, [&mut head, &mut twin]);
        }
        if let Some(lines) = head.own_lines(NameSet::EMPTY) {
            let line = |(name, value): (&[u8], &[u8])| [name, b": ", value, b"\r\n"].concat();
            assert_eq!(lines, head.iter().flat_map(line).collect::<Vec<_>>(), "round {round}");
            in_one_piece += 1;
        }
        all += 1;
        runs += u32::from(head.run(NameSet::EMPTY).is_some());
        let sent = write_of(by_run.heads.runs(), &mut to, &head, section);
        let sent_plain = write(&mut to_plain, &twin, section);
        let (there, _) = server.read(&sent, section);
        let (there_plain, _) = server_plain.read(&sent_plain, section);
        let sorted = |head: &Head| {
            let (start, mut fields) = said(head);
            fields.sort();
            (start, fields)
        };
        assert_eq!(sorted(&there), sorted(&there_plain), "round {round} of {seed}");
        by_run.heads.put(head);
    }
    assert!(section == Section::Trailers || in_one_piece * 10 > all, "{in_one_piece} of {all}");
    (runs, all)
}

#[test]
fn runs_say_what_their_fields_say() {
    for section in [Section::Request, Section::Response, Section::Trailers] {
        for seed in 0..6 {
            let (runs, all) = pass(section, seed);
            assert!(runs * 20 > all, "{runs} of {all} {section:?} by runs: too few to say much");
        }
    }
}

/// What stands behind a run is no part of it: neither on the way in nor out.
#[test]
fn an_extended_connect_is_none_without_its_protocol() {
    let (mut client, mut to) = (Encoder::default(), Encoder::default());
    let (mut proxy, mut server) = (Reader::new(false), Reader::new(true));
    let protocol = [&[0x00, 9][..], b":protocol", &[9], b"websocket"].concat();
    let mut start = |method: &[u8]| {
        let mut block = Vec::new();
        for (pseudo, value) in [
            (Pseudo::Method, method),
            (Pseudo::Scheme, b"http"),
            (Pseudo::Path, b"/chat"),
            (Pseudo::Authority, b"shop.example"),
        ] {
            client.pseudo(pseudo, value, &mut block);
        }
        block
    };
    for round in 0..20 {
        let block = [start(b"CONNECT"), protocol.clone()].concat();
        let (head, _) = proxy.read(&block, Section::Request);
        assert_eq!(head.protocol(), b"websocket", "round {round}");
        let sent = write_of(proxy.heads.runs(), &mut to, &head, Section::Request);
        let (there, _) = server.read(&sent, Section::Request);
        assert_eq!((there.protocol(), there.path()), (&b"websocket"[..], &b"/chat"[..]));
        proxy.heads.put(head);
        // A start that is known to be good is not, where it is another message's.
        proxy.read(&start(b"POST"), Section::Request);
        let wrong = [start(b"POST"), protocol.clone()].concat();
        let fault = proxy.try_read(&wrong, Section::Request).expect_err("no CONNECT");
        assert_eq!(fault, Fault::ProtocolName, "round {round}");
        let fault = proxy.try_read(&start(b"CONNECT"), Section::Request).expect_err("a path");
        assert_eq!(fault, Fault::PseudoUnexpected, "round {round}");
    }
}

/// The same request again and again: everything but what is new in it is one copy, also where what
/// is new moves the indexes of all the rest.
#[test]
fn what_comes_again_is_written_as_it_was_written() {
    let mut client = Encoder::default();
    let (mut proxy, mut server) = (Reader::new(false), Reader::new(true));
    let mut to = Encoder::default();
    for round in 0..40_u32 {
        let mut request = Head::new();
        request.reset_to_request(Method::Post, b"shop.example", b"/service/method");
        request.append(NameId::CONTENT_TYPE, b"application/grpc");
        request.append(NameId::TE, b"trailers");
        request.append("x-tenant", b"blue");
        request.append("x-new", format!("{}", round / 2).as_bytes());
        let block = write(&mut client, &request, Section::Request);
        let (head, _) = proxy.read(&block, Section::Request);
        let sent = write_of(proxy.heads.runs(), &mut to, &head, Section::Request);
        let (there, _) = server.read(&sent, Section::Request);
        assert_eq!(said(&there).0, said(&head).0);
        if round > 8 {
            let run = head.run(NameSet::EMPTY).expect("a run");
            assert!(run.starts && run.count >= 2, "{run:?} in round {round}");
            assert!(sent.len() < 32, "{} bytes in round {round}", sent.len());
        }
        proxy.heads.put(head);
    }
}
