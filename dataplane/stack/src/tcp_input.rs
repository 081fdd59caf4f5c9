//! Segments: to their connections, to a listener, or answered with a reset.
//!
//! The lines of a vector's flow-table buckets are asked for together, then those of the connections
//! of one group of segments while the group before it is worked on.

use std::time::Duration;

use sluice_arch::{prefetch_bytes, prefetch_read};
use sluice_base::{Instant, ListenerId, SlabKey};
use sluice_buf::{Chain, Packet, Pressure};
use sluice_tcp::{Connection, Cookie, FastOpen, Numbers, check_cookie, cookie_answer};
use sluice_wire::{Flags, PlainHeader, SeqNumber, TcpHeader, TcpView};

use crate::connection::{Connections, Entry, Origin, context};
use crate::drop_reason::DropReason;
use crate::fast_open;
use crate::fib::NextHop;
use crate::stack::Stack;
use crate::time_wait::TIME_WAIT;
use crate::tuple::Tuple;

/// RFC 9293, 3.7.1: 1280 less both headers.
const MSS_DEFAULT_V6: u16 = 1_220;
/// Segments whose connections are asked for together.
const GROUP: usize = 16;
/// Connections up to which asking early is not worth its instructions.
const NEAR_MAX: usize = 256;
/// More connections than lie in a core's own caches: see [`Stack::drop_vain_timer`].
const CROWDED: usize = 8_192;

/// A segment whose headers are good.
#[derive(Debug)]
pub(crate) struct Segment {
    /// None once it was worked on.
    pub(crate) packet: Option<Packet>,
    pub(crate) hash: u64,
    pub(crate) tuple: Tuple,
    /// Whether the header is a [`PlainHeader`]: no SYN, no options but timestamps.
    pub(crate) is_plain: bool,
    /// Whether a router marked it (RFC 3168); then it is not plain.
    pub(crate) is_marked: bool,
    /// Position of the interface it came in by.
    pub(crate) interface: u16,
    /// Where header and payload start, from the start of the packet.
    pub(crate) header_at: u16,
    pub(crate) payload_at: u16,
    pub(crate) payload_len: u16,
    /// A value of the flow table with the right tag, to be asked for early.
    pub(crate) candidate: Option<u32>,
}

impl Segment {
    /// The header, from where it lies, if it is plain.
    #[inline]
    fn plain_header(&self) -> Option<PlainHeader> {
        if !self.is_plain {
            return None;
        }
        PlainHeader::read(self.packet.as_ref()?.head().get(usize::from(self.header_at)..)?)
    }

    /// The header with all options.
    pub(crate) fn full_header(&self) -> Option<TcpHeader> {
        let bytes = self.packet.as_ref()?.head().get(usize::from(self.header_at)..)?;
        let mut header = TcpView::parse(bytes).and_then(|view| view.header()).ok()?;
        let is_syn = header.flags.contains(Flags::SYN);
        if is_syn && self.tuple.remote.is_v6() && header.options.mss.is_none() {
            // RFC 9293, 3.7.1: what IPv6 guarantees; TCP itself assumes what IPv4 does.
            header.options.mss = Some(MSS_DEFAULT_V6);
        }
        Some(header)
    }

    /// The payload, in the buffers that it arrived in.
    #[inline]
    fn take_payload(&mut self) -> Chain {
        match self.packet.take() {
            Some(packet) if self.payload_len > 0 => {
                packet.into_payload(self.payload_at.into(), self.payload_len.into())
            }
            _ => Chain::new(),
        }
    }
}

impl Stack {
    /// Works off the segments that were put on the list.
    #[inline]
    pub(crate) fn handle_segments(&mut self, now: Instant) {
        if !self.segments.is_empty() {
            self.handle_some_segments(now);
        }
    }

    fn handle_some_segments(&mut self, now: Instant) {
        let mut segments = std::mem::take(&mut self.segments);
        if segments.len() > 1 && self.connections.len() > NEAR_MAX {
            self.handle_far_segments(&mut segments, now);
        } else {
            for segment in &mut segments {
                segment.candidate = self.flows.find(segment.hash, |_| true);
                self.handle_segment(segment, now);
            }
        }
        segments.clear();
        self.segments = segments;
    }

    /// Works off a vector among so many connections that each is far from the caches next to the
    /// core.
    #[inline(never)]
    fn handle_far_segments(&mut self, segments: &mut [Segment], now: Instant) {
        for segment in &*segments {
            self.flows.prefetch(segment.hash);
        }
        let is_crowded = self.connections.len() > CROWDED;
        let count = segments.len();
        self.look_up(&mut segments[..count.min(GROUP)]);
        for at in 0..count {
            if at % GROUP == 0 {
                let next = (at + GROUP).min(count)..(at + 2 * GROUP).min(count);
                self.look_up(&mut segments[next]);
            }
            self.handle_segment(&mut segments[at], now);
            if let Some(index) = segments[at].candidate.filter(|_| is_crowded) {
                self.drop_vain_timer(index);
            }
        }
    }

    /// Finds whose segments these may be, and asks for the connections.
    #[inline]
    fn look_up(&self, group: &mut [Segment]) {
        let mut found = [0; GROUP];
        let mut count = 0;
        for segment in group {
            segment.candidate = self.flows.find(segment.hash, |_| true);
            if let Some(index) = segment.candidate.filter(|value| value & TIME_WAIT == 0) {
                found[count] = index;
                count += 1;
            }
        }
        self.prefetch_connections(&found[..count]);
    }

    /// Asks for everything that a segment or a verb will touch of the connections in these slots.
    ///
    /// A core waits at a request for a line whose page it does not know until it has walked the page
    /// tables. In short loops the walks of several connections go on side by side; a connection's
    /// other lines are asked for when its page is known.
    #[inline]
    pub fn prefetch_connections(&self, slots: &[u32]) {
        for slot in slots {
            if let Some(address) = self.connections.address_of(*slot) {
                prefetch_read(address);
            }
        }
        for slot in slots {
            if let Some(address) = self.connections.address_of(*slot) {
                prefetch_bytes(address, Connections::slot_len());
            }
        }
    }

    #[inline]
    fn handle_segment(&mut self, segment: &mut Segment, now: Instant) {
        let remote = segment.tuple.remote;
        // A connection that ended since has another tuple, or none.
        if let Some(index) = segment.candidate
            && self.is_connection(index, &segment.tuple)
            && let Some(header) = segment.plain_header()
        {
            let payload = segment.take_payload();
            self.drive(index, now, |tcp, cx| tcp.handle_plain(&header, payload, cx));
        } else {
            let handled = self.tcp_input(segment, now);
            self.note(handled);
        }
        if remote.is_v6() {
            // The segment in hand was a user of its number.
            self.hosts.release(remote);
        }
    }

    /// What is not a plain segment of a connection that was found at once.
    #[cold]
    fn tcp_input(&mut self, segment: &mut Segment, now: Instant) -> Result<(), DropReason> {
        let Segment { hash, tuple, .. } = *segment;
        match self.flows.find(hash, |value| self.is_flow(value, &tuple)) {
            Some(value) if value & TIME_WAIT == 0 => {
                let header = segment.full_header().ok_or(DropReason::TcpMalformed)?;
                let payload = segment.take_payload();
                let is_marked = segment.is_marked;
                self.drive(value, now, |tcp, cx| {
                    let signals = tcp.handle_segment(&header, payload, cx);
                    if is_marked {
                        tcp.note_congestion_mark(cx);
                    }
                    signals
                });
                Ok(())
            }
            Some(value) => self.time_wait_input(value & !TIME_WAIT, segment, now),
            None if self.give_back(segment) => Ok(()),
            None => self.open(segment, None, now),
        }
    }

    /// Gives a segment of no flow to the worker that had its port before a listener took it; false
    /// if there is none.
    fn give_back(&mut self, segment: &mut Segment) -> bool {
        if self.workers == 1 {
            return false;
        }
        if segment.full_header().is_none_or(|header| is_opening(header.flags)) {
            return false;
        }
        let before = self.owners.owner_before(segment.tuple.local_port);
        let Some(owner) = before.filter(|owner| *owner != self.worker) else { return false };
        let Some(packet) = segment.packet.take() else { return false };
        self.hand_off(owner, segment.interface, packet);
        true
    }

    /// RFC 9293, 3.10.7.1 and 3.10.7.2: a segment for which there is no connection.
    ///
    /// `iss_min` is where the last connection with these addresses ended.
    pub(crate) fn open(
        &mut self,
        segment: &mut Segment,
        iss_min: Option<SeqNumber>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Segment { tuple, hash, payload_len, .. } = *segment;
        let header = segment.full_header().ok_or(DropReason::TcpMalformed)?;
        match self.destination(tuple.remote) {
            // Nobody but us has our addresses, and we do not talk to ourselves over a wire.
            Some(NextHop::Local { .. }) => return Err(DropReason::Ipv4SourceOwn),
            Some(NextHop::Broadcast { .. }) => return Err(DropReason::Ipv4Source),
            Some(NextHop::Connected { .. } | NextHop::Via { .. } | NextHop::Group { .. })
            | None => {}
        }
        let is_opening = is_opening(header.flags);
        let remote = self.hosts.ip(tuple.remote);
        let interface = &mut self.interfaces[usize::from(segment.interface)];
        let limit = interface.syn_limit.as_mut().filter(|_| is_opening);
        if limit.is_some_and(|limit| !limit.take(remote, now)) {
            return Err(DropReason::SourceSynRate);
        }
        let listener = self.listeners.find(tuple.local, tuple.local_port);
        if let Some(listener) = listener
            && now < self.cookies_until
            && is_answer(header.flags)
            && let Some(done) = self.take_cookie(listener, &header, segment, now)
        {
            return done;
        }
        let Some(listener) = listener.filter(|_| is_opening) else {
            if self.has_twin(segment.interface)
                && let Some(packet) = segment.packet.take()
            {
                return self.unowned(segment.interface, packet, DropReason::TcpNoConnection);
            }
            self.reset(&header, &tuple, payload_len.into(), now);
            return Err(DropReason::TcpNoConnection);
        };
        let limit = self.interfaces[usize::from(segment.interface)].connection_limit.as_mut();
        if limit.is_some_and(|limit| !limit.take(remote, now)) {
            return Err(DropReason::SourceConnectionRate);
        }
        let payload = segment.take_payload();
        self.accept(listener, (&header, payload), (tuple, hash), iss_min, now)
    }

    fn accept(
        &mut self,
        listener_key: SlabKey,
        (header, payload): (&TcpHeader, Chain),
        (tuple, hash): (Tuple, u64),
        iss_min: Option<SeqNumber>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(listener) = self.listeners.get(listener_key) else {
            return Err(DropReason::TcpNoConnection);
        };
        if self.pressure >= Pressure::Critical {
            return Err(DropReason::TcpMemoryPressure);
        }
        if listener.half_open >= self.half_open_max || self.pressure >= Pressure::Scarce {
            let config = listener.config;
            return self.send_cookie(config, header, &tuple, now);
        }
        let (id, config) = (listener.id, listener.config);
        let (interface, next_hop) = self.route(tuple.remote)?;
        let mtu = self.mtu_for(interface, tuple.remote);
        let config = self.configs.acquire_for(config, mtu).ok_or(DropReason::TcpTableFull)?;
        let mut numbers = Numbers::new(&self.number_key, self.number_words(&tuple), now);
        numbers.iss = iss_min.map_or(numbers.iss, |min| min.max(numbers.iss));
        let has_data = !payload.is_empty();
        let judged = self.judge_fast_open(listener_key, header, tuple.remote, has_data, now);
        let cx = context!(self, config, now);
        let mut tcp = Connection::accept(numbers, header, &cx);
        let is_early = fast_open::apply(judged, &mut tcp, payload, &cx);
        let way = (interface, next_hop);
        let mut entry = Entry::new(Origin::Peer(id), tuple, config, way, tcp);
        entry.is_half_open = true;
        if is_early {
            entry.open_early();
        }
        let Some(key) = self.insert(entry, hash) else {
            self.configs.release(config);
            return Err(DropReason::TcpTableFull);
        };
        if let Some(listener) = self.listeners.get_mut(listener_key) {
            listener.half_open += 1;
        }
        self.counters.tcp_half_open.increment();
        self.counters.tcp_accepts.increment();
        self.begin(key);
        if judged != FastOpen::Ignore {
            self.begin_fast_open(key, judged, now);
        }
        Ok(())
    }

    /// RFC 4987, 3.6: answers a SYN without keeping anything of it.
    fn send_cookie(
        &mut self,
        config: u16,
        syn: &TcpHeader,
        tuple: &Tuple,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (interface, _) = self.route(tuple.remote)?;
        let mtu = self.mtu_for(interface, tuple.remote);
        let config = self.configs.acquire_for(config, mtu).ok_or(DropReason::TcpTableFull)?;
        let settings = self.configs.get(config);
        let words = self.number_words(tuple);
        let answer = cookie_answer(&self.number_key, words, syn, settings, now);
        self.configs.release(config);
        self.cookies_until = now + COOKIE_LIFETIME;
        self.counters.tcp_cookies_sent.increment();
        self.send_bare(&answer, tuple, now)
    }

    /// An ACK for a listener, while cookies are out: a connection if it brings one back.
    fn take_cookie(
        &mut self,
        listener: SlabKey,
        header: &TcpHeader,
        segment: &mut Segment,
        now: Instant,
    ) -> Option<Result<(), DropReason>> {
        let listener = self.listeners.get(listener)?;
        let Segment { tuple, hash, .. } = *segment;
        let (id, config) = (listener.id, listener.config);
        let settings = self.configs.get(config);
        let words = self.number_words(&tuple);
        let cookie = check_cookie(&self.number_key, words, header, settings, now)?;
        Some(self.accept_cookie((id, config), &cookie, (tuple, hash), now).map(|key| {
            let (header, payload) = (*header, segment.take_payload());
            self.drive(key.index, now, |tcp, cx| tcp.handle_segment(&header, payload, cx));
        }))
    }

    fn accept_cookie(
        &mut self,
        (id, config): (ListenerId, u16),
        cookie: &Cookie,
        (tuple, hash): (Tuple, u64),
        now: Instant,
    ) -> Result<SlabKey, DropReason> {
        if self.pressure >= Pressure::Critical {
            return Err(DropReason::TcpMemoryPressure);
        }
        let (interface, next_hop) = self.route(tuple.remote)?;
        let mtu = self.mtu_for(interface, tuple.remote);
        let config = self.configs.acquire_for(config, mtu).ok_or(DropReason::TcpTableFull)?;
        let tcp = Connection::accept_cookie(cookie, &context!(self, config, now));
        let way = (interface, next_hop);
        let entry = Entry::new(Origin::Peer(id), tuple, config, way, tcp);
        let Some(key) = self.insert(entry, hash) else {
            self.configs.release(config);
            return Err(DropReason::TcpTableFull);
        };
        self.counters.tcp_accepts.increment();
        self.counters.tcp_cookies_accepted.increment();
        Ok(key)
    }

    /// Puts a new connection into slab and flow table.
    pub(crate) fn insert(&mut self, entry: Entry, hash: u64) -> Option<SlabKey> {
        let (tuple, next_hop) = (entry.tuple, entry.next_hop);
        let key = self.connections.insert(entry).ok()?;
        if self.flows.insert(hash, key.index).is_err() {
            self.connections.remove(key);
            return None;
        }
        if next_hop.is_v6() {
            self.keep_hosts(&tuple);
            self.hosts.retain(next_hop);
        }
        self.counters.tcp_connections.increment();
        Some(key)
    }

    /// Lets a new connection send and wait.
    pub(crate) fn begin(&mut self, key: SlabKey) {
        self.want_output(key.index);
        if let Some(entry) = self.connections.get(key) {
            let deadline = entry.tcp.next_deadline();
            self.timers.arm(&mut self.connections, key.index, deadline);
        }
    }
}

/// Whether a segment may begin a connection.
fn is_opening(flags: Flags) -> bool {
    flags.contains(Flags::SYN) && !flags.intersects(Flags::ACK | Flags::RST | Flags::FIN)
}

/// Whether a segment may be the last one of a handshake.
fn is_answer(flags: Flags) -> bool {
    flags.contains(Flags::ACK) && !flags.intersects(Flags::SYN | Flags::RST)
}

/// For how long a cookie is good at most: two of its ticks.
const COOKIE_LIFETIME: Duration = Duration::from_secs(128);
