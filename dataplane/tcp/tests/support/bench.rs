//! The bench: drives one connection the way a stack does, and checks on the way that `OUTPUT`,
//! `TIMER` and `has_output` tell the truth.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_base::{HashKey, Instant, SipKey};
use sluice_buf::{Chain, Pool, Pressure, chain_nodes_in_use};
use sluice_tcp::{
    ChallengeAcks, Config, Connection, Context, FastOpen, Numbers, Outgoing, Signals, Spares,
    TcpCounters, fast_open_cookie,
};
use sluice_wire::{FastOpenCookie, Flags, SeqNumber, TcpHeader};

/// A segment that left, with its data.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) header: TcpHeader,
    pub(crate) outgoing: Outgoing,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Bench {
    pub(crate) config: Config,
    pub(crate) pool: Pool,
    pub(crate) pressure: Pressure,
    pub(crate) counters: TcpCounters,
    pub(crate) spares: Spares,
    pub(crate) challenges: ChallengeAcks,
    pub(crate) now: Instant,
    pub(crate) connection: Option<Connection>,
    pub(crate) signals: Signals,
    pub(crate) sent: VecDeque<Sent>,
    /// What the device cuts by itself, bytes.
    pub(crate) max_payload: u32,
    pub(crate) iss: SeqNumber,
    pub(crate) irs: SeqNumber,
    /// Whether the listener does Fast Open (RFC 7413).
    pub(crate) has_fast_open: bool,
    /// Bytes written so far: where the next ones are in the pattern.
    pub(crate) written: u64,
    /// Bytes read so far.
    pub(crate) read: u64,
    /// The stack's wheel: lazily re-armed.
    wheel: Instant,
}

/// The byte at an offset of either direction's stream.
pub(crate) fn pattern(offset: u64) -> u8 {
    (offset ^ (offset >> 8) ^ (offset >> 16)) as u8
}

pub(crate) fn pattern_bytes(offset: u64, len: usize) -> Vec<u8> {
    (offset..offset + len as u64).map(pattern).collect()
}

/// What cookies of Fast Open are made with.
const COOKIE_KEY: SipKey = SipKey::new([5, 6]);
const PEER: [u64; 2] = [0, 0x0a00_0001];

fn numbers(iss: SeqNumber) -> Numbers {
    Numbers { iss, stamp_offset: 0x1234_5678 }
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_pool(config, 2_048)
    }

    pub(crate) fn with_pool(config: Config, buffers: u32) -> Self {
        Self {
            config,
            pool: Pool::heap(buffers),
            pressure: Pressure::None,
            counters: TcpCounters::default(),
            spares: Spares::new(1),
            challenges: ChallengeAcks::new(HashKey::new([0x1234_5678, 0x9abc_def0])),
            now: Instant::from_millis(1_000),
            connection: None,
            signals: Signals::NONE,
            sent: VecDeque::new(),
            max_payload: 0,
            iss: SeqNumber(0x0001_0000),
            irs: SeqNumber(0x8000_0000),
            has_fast_open: false,
            written: 0,
            read: 0,
            wheel: Instant::NEVER,
        }
    }

    pub(crate) fn with<R>(&mut self, verb: impl FnOnce(&mut Connection, &Context<'_>) -> R) -> R {
        let cx = Context {
            config: &self.config,
            pool: &self.pool,
            pressure: self.pressure,
            counters: &self.counters,
            spares: &self.spares,
            challenges: &self.challenges,
            now: self.now,
        };
        verb(self.connection.as_mut().expect("there is a connection"), &cx)
    }

    pub(crate) fn connect(&mut self) {
        let cx = Context {
            config: &self.config,
            pool: &self.pool,
            pressure: self.pressure,
            counters: &self.counters,
            spares: &self.spares,
            challenges: &self.challenges,
            now: self.now,
        };
        self.connection = Some(Connection::connect(numbers(self.iss), &cx));
        self.flush();
    }

    /// A SYN comes to a listener, with data perhaps.
    pub(crate) fn accept(&mut self, syn: &TcpHeader, payload: &[u8]) {
        let cx = Context {
            config: &self.config,
            pool: &self.pool,
            pressure: self.pressure,
            counters: &self.counters,
            spares: &self.spares,
            challenges: &self.challenges,
            now: self.now,
        };
        let mut connection = Connection::accept(numbers(self.iss), syn, &cx);
        let asked = syn.options.fast_open.filter(|_| self.has_fast_open);
        let judged = FastOpen::judge(asked, &COOKIE_KEY, PEER, self.now);
        if matches!(judged, FastOpen::Grant | FastOpen::Refuse | FastOpen::Take { is_old: true }) {
            connection.grant_cookie();
        }
        if matches!(judged, FastOpen::Take { .. }) {
            let bytes = Chain::copy_from(payload, &self.pool).expect("the pool has buffers");
            let signals = connection.take_early(bytes, &cx);
            self.signals |= signals.without(Signals::OUTPUT | Signals::TIMER);
        }
        self.connection = Some(connection);
        self.flush();
    }

    /// The cookie of the peer, as of `now`.
    pub(crate) fn cookie(now: Instant) -> FastOpenCookie {
        fast_open_cookie(&COOKIE_KEY, PEER, now)
    }

    /// Runs a verb, keeps its signals, sends what is owed.
    pub(crate) fn act(&mut self, verb: impl FnOnce(&mut Connection, &Context<'_>) -> Signals) {
        let signals = self.with(verb);
        let now = self.now;
        let connection = self.connection.as_ref().expect("there is a connection");
        assert_eq!(signals.contains(Signals::OUTPUT), connection.has_output(now), "OUTPUT is true");
        if signals.contains(Signals::TIMER) {
            self.wheel = self.wheel.min(connection.next_deadline());
        }
        assert!(self.wheel <= connection.next_deadline(), "TIMER was not forgotten");
        self.signals |= signals.without(Signals::OUTPUT | Signals::TIMER);
        self.flush();
    }

    pub(crate) fn segment(&mut self, header: &TcpHeader, payload: &[u8]) {
        self.marked_segment(header, payload, false);
    }

    pub(crate) fn marked_segment(&mut self, header: &TcpHeader, payload: &[u8], is_marked: bool) {
        // As it arrives: in packets of its own, a merged one in several.
        let mut chain = Chain::new();
        for part in payload.chunks(1_460) {
            let mut packet = self.pool.alloc().expect("the pool has buffers");
            assert!(packet.append_bytes(part));
            packet.into_chain(0, part.len(), &mut chain);
        }
        self.act(|connection, cx| {
            let signals = connection.handle_segment(header, chain, cx);
            if is_marked {
                connection.note_congestion_mark(cx);
            }
            signals
        });
    }

    pub(crate) fn write(&mut self, len: usize) {
        let bytes = pattern_bytes(self.written, len);
        self.written += len as u64;
        let mut chain = Chain::copy_from(&bytes, &self.pool).expect("the pool has buffers");
        self.act(|connection, cx| connection.write(&mut chain, cx));
        assert!(chain.is_empty(), "a write takes all");
    }

    /// Writes bytes whose values do not matter.
    pub(crate) fn write_any(&mut self, len: usize) {
        let mut chain = Chain::copy_from(&vec![0; len], &self.pool).expect("the pool has buffers");
        self.written += len as u64;
        self.act(|connection, cx| connection.write(&mut chain, cx));
    }

    /// Reads up to `max` bytes, checks that they are the right ones, and says how many there were.
    pub(crate) fn read(&mut self, max: usize) -> usize {
        let chain = self.with(|connection, _| connection.read(max));
        let expected = pattern_bytes(self.read, chain.len());
        assert!(chain.to_vec() == expected, "the bytes at {} are the ones sent", self.read);
        self.read += chain.len() as u64;
        chain.len()
    }

    pub(crate) fn credit(&mut self, bytes: usize) {
        self.act(|connection, cx| connection.credit(bytes, cx));
    }

    /// Takes everything that may be sent now.
    pub(crate) fn flush(&mut self) {
        let max_payload = self.max_payload;
        loop {
            let now = self.now;
            let promised = self.connection.as_ref().is_some_and(|it| it.has_output(now));
            let Some(outgoing) =
                self.with(|connection, cx| connection.poll_output(max_payload, cx))
            else {
                // A retransmission may have become pointless between promise and sending.
                assert!(!promised, "has_output promised a segment");
                break;
            };
            assert!(promised, "a segment came unannounced");
            let mut payload = vec![0; outgoing.payload_len];
            let queue = self.connection.as_ref().expect("it is there").send_queue();
            let copied = queue.copy_to(outgoing.payload_offset, &mut payload);
            assert_eq!(copied, outgoing.payload_len, "the payload lies in the send queue");
            let header = self.with(|connection, cx| {
                let header = outgoing.header.with_ports(0, 0);
                let mut options = header.options;
                if outgoing.has_more_options {
                    options = connection.options_of(&outgoing, cx);
                }
                if header.flags.contains(Flags::SYN) && connection.grants_cookie() {
                    options.fast_open = Some(Self::cookie(cx.now));
                }
                TcpHeader { options, ..header }
            });
            self.sent.push_back(Sent { at: now, header, outgoing, payload });
            assert!(self.sent.len() < 10_000, "output ends");
        }
        let next = self.connection.as_ref().expect("it is there").next_deadline();
        self.wheel = self.wheel.min(next);
    }

    /// Lets time pass, timers included, up to and with `until`.
    pub(crate) fn run_until(&mut self, until: Instant) {
        while self.connection.is_some() && self.wheel <= until {
            self.now = self.now.max(self.wheel);
            self.wheel = Instant::NEVER;
            self.act(Connection::handle_timer);
        }
        self.now = self.now.max(until);
    }

    /// Lets time pass until something leaves, or until `until`.
    pub(crate) fn run_until_sent(&mut self, until: Instant) {
        while self.sent.is_empty() && self.wheel <= until {
            let wheel = self.wheel;
            self.run_until(wheel);
        }
        if self.sent.is_empty() {
            self.now = self.now.max(until);
        }
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        self.run_until(until);
    }

    pub(crate) fn send_room(&mut self) -> usize {
        self.with(|connection, cx| connection.send_room(cx))
    }

    /// When a timer is due next.
    pub(crate) fn wheel(&self) -> Instant {
        self.wheel
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("there is a connection")
    }

    /// Drops the connection: every buffer must be home, every node free.
    pub(crate) fn census(mut self) {
        self.connection = None;
        assert_eq!(self.spares.lent(), 0, "every scoreboard is back");
        assert_eq!(self.pool.in_use(), 0, "every buffer is home");
        assert_eq!(chain_nodes_in_use(), 0, "no chain node is held");
    }
}
