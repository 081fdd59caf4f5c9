//! Stage 7: stream events up, verbs down.

use sluice_arch::cycles;
use sluice_base::{ConnId, Instant};
use sluice_buf::Chain;
use sluice_config_model::{Congestion, Ecn, TcpSettings};
use sluice_l7_proxy::{CloseReason, ConnectRefused, StreamEvent, UdpVerb, Verb};
use sluice_stack::{ConnectError, Ready, UdpEvent};

use crate::worker::Worker;

/// Connections served per heartbeat; the rest stay on the ready list, oldest first.
const READY_PER_HEARTBEAT: usize = 256;
/// Of so many heartbeats the turns of one are timed, for the cycles that floods take: a prime, so that
/// nobody's turns keep in step with it.
const TIMED_EVERY: u64 = 61;
/// Connections up to which asking early for what is known of them is not worth its instructions.
const NEAR_MAX: usize = 256;
/// Connections whose turn is prepared together.
const VECTOR: usize = 32;
/// Datagrams passed on per heartbeat: as many as can wait.
const DATAGRAMS_PER_HEARTBEAT: usize = 1024;
/// Bytes taken from a connection per turn, so that a bulk transfer shares the core.
const BYTES_PER_TURN: usize = 256 * 1024;

impl Worker {
    /// Serves ready connections within the budget; true if there were any.
    pub(crate) fn serve(&mut self, now: Instant) -> bool {
        let mut served = 0;
        let interrupted = self.proxy.interrupted().min(READY_PER_HEARTBEAT);
        if self.status.heartbeats.value().is_multiple_of(TIMED_EVERY) {
            served = self.serve_timed(now);
        } else if self.proxy.connections() > NEAR_MAX {
            served = self.serve_far(now);
        }
        while served < READY_PER_HEARTBEAT && self.serve_next(now) {
            served += 1;
        }
        for _ in 0..interrupted {
            self.resume(now);
            served += 1;
        }
        // What timers or connect results asked for, and what was written to many streams.
        self.carry(now);
        while self.proxy.settle(now) {
            self.carry(now);
        }
        self.flush_log();
        self.retire();
        served > 0
    }

    /// The next turn of a connection that had one in an earlier heartbeat, and had more than that. So
    /// many cycles are worth two looks at the counter.
    #[cold]
    fn resume(&mut self, now: Instant) {
        let begun = cycles();
        if let Some(conn) = self.proxy.resume(now) {
            self.carry(now);
            self.proxy.note_cycles(conn, cycles().saturating_sub(begun));
        }
    }

    #[inline]
    fn serve_next(&mut self, now: Instant) -> bool {
        self.turn(now).is_some()
    }

    /// The turn of the connection that has had something to tell for longest.
    #[inline(always)]
    fn turn(&mut self, now: Instant) -> Option<ConnId> {
        let (conn, ready, bytes) = self.stack.next_ready_with_bytes(BYTES_PER_TURN)?;
        if bytes.is_empty() {
            self.deliver(conn, ready, now);
        } else {
            self.hand_on(conn, bytes, now);
        }
        self.carry(now);
        Some(conn)
    }

    /// Among so many connections that what is known of each is far from every cache: the sessions of
    /// those whose turn it is are asked for, then what the other sides of relays will touch.
    fn serve_far(&mut self, now: Instant) -> usize {
        let mut served = 0;
        while served < READY_PER_HEARTBEAT {
            let count = self.look_ahead();
            if count == 0 {
                break;
            }
            for _ in 0..count {
                served += usize::from(self.serve_next(now));
            }
        }
        served
    }

    /// Asks for what the next turns will touch; how many those are.
    #[inline]
    fn look_ahead(&mut self) -> usize {
        let mut ahead = [0; VECTOR];
        let count = self.stack.ready_ahead(&mut ahead);
        if count == 0 {
            return 0;
        }
        self.proxy.prefetch(&ahead[..count]);
        let mut others = [0; VECTOR];
        let mut relayed = 0;
        for slot in &ahead[..count] {
            if let Some(other) = self.proxy.partner_of(*slot) {
                others[relayed] = other;
                relayed += 1;
            }
        }
        self.proxy.prefetch(&others[..relayed]);
        self.stack.prefetch_connections(&others[..relayed]);
        count
    }

    /// As ever, and tells the proxy what each connection's turn took: one heartbeat in
    /// [`TIMED_EVERY`] stands for all of them, since every turn of every connection cannot be timed.
    #[cold]
    fn serve_timed(&mut self, now: Instant) -> usize {
        let is_far = self.proxy.connections() > NEAR_MAX;
        let (mut served, mut ahead) = (0, 0);
        let mut begun = cycles();
        while served < READY_PER_HEARTBEAT {
            if is_far && ahead == 0 {
                ahead = self.look_ahead();
            }
            let Some(conn) = self.turn(now) else { break };
            (served, ahead) = (served + 1, ahead.saturating_sub(1));
            let ended = cycles();
            self.proxy.note_cycles(conn, ended.saturating_sub(begun) * TIMED_EVERY);
            begun = ended;
        }
        served
    }

    /// Passes datagrams on within the budget; true if there were any.
    #[inline]
    pub(crate) fn serve_datagrams(&mut self, now: Instant) -> bool {
        let mut served = 0;
        while served < DATAGRAMS_PER_HEARTBEAT {
            let Some(event) = self.stack.next_datagram() else { break };
            served += 1;
            match event {
                UdpEvent::Datagram { token, payload, .. } => {
                    if let Some((flow, payload)) = self.proxy.handle_datagram(token, payload, now)
                        && self.stack.send_datagram(flow, payload, now).is_err()
                    {
                        self.proxy.datagram_dropped(token);
                    }
                    continue;
                }
                UdpEvent::Arrived { listener, local, peer, payload } => {
                    self.proxy.handle_stranger(listener, local, peer, payload, now);
                }
                UdpEvent::Unreachable { token, .. } => self.proxy.handle_unreachable(token, now),
            }
            self.carry_datagrams(now);
        }
        // What timers or a sweep asked for.
        self.carry_datagrams(now);
        served > 0
    }

    /// Does what the proxy asked for about datagrams, until it asks for nothing more.
    #[inline]
    fn carry_datagrams(&mut self, now: Instant) {
        while let Some(verb) = self.proxy.pop_udp_verb() {
            self.carry_udp_verb(verb, now);
        }
    }

    #[cold]
    fn carry_udp_verb(&mut self, verb: UdpVerb, now: Instant) {
        match verb {
            UdpVerb::Accept { token, local, peer } => {
                let result = self.stack.udp_accept(local, peer, token, now);
                self.proxy.udp_result(token, result.map_err(refused), now);
            }
            UdpVerb::Connect { token, remote } => {
                let result = self.stack.udp_connect(remote, token, now);
                self.proxy.udp_result(token, result.map_err(refused), now);
            }
            UdpVerb::Send { token, flow, payload } => {
                if self.stack.send_datagram(flow, payload, now).is_err() {
                    self.proxy.datagram_dropped(token);
                }
            }
            UdpVerb::Close { flow } => self.stack.udp_close(flow),
        }
    }

    /// Hands bytes that were read to the proxy.
    #[inline]
    fn hand_on(&mut self, conn: ConnId, bytes: Chain, now: Instant) {
        let count = bytes.len();
        let credit = self.proxy.handle_bytes(conn, bytes, now);
        if credit > 0 {
            self.stack.credit(conn, credit, now);
        }
        if count >= BYTES_PER_TURN && self.stack.readable(conn) > 0 {
            self.stack.again(conn);
        }
    }

    /// Tells the proxy what happened on one connection, in the order in which it happened.
    #[inline(never)]
    fn deliver(&mut self, conn: ConnId, ready: Ready, now: Instant) {
        if ready.accepted()
            && let Some(info) = self.stack.connection(conn)
            && let Some(listener) = info.listener
        {
            let event = StreamEvent::Accepted { listener, local: info.local, peer: info.peer };
            self.proxy.handle(conn, event, now);
        } else if ready.connected() {
            self.proxy.handle(conn, StreamEvent::Connected, now);
        }
        if ready.readable() {
            // The end of the stream is told after all of its bytes, however many there are.
            let last = ready.peer_closed() || ready.closed();
            let bytes = self.stack.read(conn, if last { usize::MAX } else { BYTES_PER_TURN });
            if !bytes.is_empty() {
                self.hand_on(conn, bytes, now);
            }
        }
        if ready.peer_closed() {
            self.proxy.handle(conn, StreamEvent::PeerClosed, now);
        }
        if ready.writable() {
            self.proxy.handle(conn, StreamEvent::Writable, now);
        }
        if ready.closed() {
            self.proxy.handle(conn, StreamEvent::Closed(close_reason(ready)), now);
        }
    }

    /// Does what the proxy asked for, until it asks for nothing more.
    #[inline]
    pub(crate) fn carry(&mut self, now: Instant) {
        while let Some((conn, bytes)) = self.proxy.pop_write() {
            self.write(conn, bytes, now);
        }
        if self.proxy.has_verbs() {
            self.carry_verbs(now);
        }
    }

    #[inline(always)]
    fn write(&mut self, conn: ConnId, mut bytes: Chain, now: Instant) {
        let room = self.stack.write(conn, &mut bytes, now);
        if let Some((partner, bytes)) = self.proxy.wrote(conn, room) {
            self.stack.credit(partner, bytes, now);
        }
    }

    /// The rest of `carry`, where there is more than a write to be done.
    #[inline(never)]
    fn carry_verbs(&mut self, now: Instant) {
        while let Some(verb) = self.proxy.pop_verb() {
            match verb {
                Verb::Write { conn, bytes } => self.write(conn, bytes, now),
                Verb::Credit { conn, bytes } => self.stack.credit(conn, bytes, now),
                Verb::Close { conn } => self.stack.close(conn, now),
                Verb::Abort { conn } => self.stack.abort(conn, now),
                Verb::Connect { token, remote, cluster } => {
                    let config = tcp_config(&self.cluster_tcp(cluster));
                    let result = self.stack.connect(remote, &config, token, now);
                    self.proxy.connect_result(token, result.map_err(refused), now);
                }
            }
        }
    }

    fn flush_log(&mut self) {
        while let Some(record) = self.proxy.pop_log() {
            if self.log.push(record).is_err() {
                self.status.log_dropped.increment();
            }
        }
    }
}

/// The TCP configuration of a listener or cluster.
pub(crate) fn tcp_config(tcp: &TcpSettings) -> sluice_tcp::Config {
    let congestion = match tcp.congestion {
        Congestion::Cubic => sluice_tcp::CongestionKind::Cubic,
        Congestion::NewReno => sluice_tcp::CongestionKind::NewReno,
        Congestion::Bbr => sluice_tcp::CongestionKind::Bbr,
    };
    let ecn = match tcp.ecn {
        Ecn::Off => sluice_tcp::EcnMode::Off,
        Ecn::Accept => sluice_tcp::EcnMode::Accept,
        Ecn::Offer => sluice_tcp::EcnMode::Offer,
    };
    let keepalive = tcp.keepalive.map(|keepalive| sluice_tcp::Keepalive {
        idle: keepalive.time,
        interval: keepalive.interval,
        probes: keepalive.probes,
    });
    sluice_tcp::Config {
        congestion,
        ecn,
        keepalive,
        user_timeout: tcp.user_timeout,
        user_timeout_max: tcp.user_timeout_max,
        fast_open_max: tcp.fast_open_max_pending,
        ..sluice_tcp::Config::default()
    }
}

fn close_reason(ready: Ready) -> CloseReason {
    match ready.reason {
        None | Some(sluice_tcp::CloseReason::Normal) => CloseReason::Normal,
        Some(sluice_tcp::CloseReason::Reset) => CloseReason::Reset,
        Some(sluice_tcp::CloseReason::Refused) => CloseReason::Refused,
        Some(sluice_tcp::CloseReason::TimedOut) => CloseReason::TimedOut,
        Some(sluice_tcp::CloseReason::Aborted) => CloseReason::Aborted,
    }
}

fn refused(error: ConnectError) -> ConnectRefused {
    match error {
        ConnectError::NoRoute => ConnectRefused::NoRoute,
        ConnectError::NoPort => ConnectRefused::NoPort,
        ConnectError::TableFull => ConnectRefused::TableFull,
        ConnectError::NoMemory => ConnectRefused::NoMemory,
    }
}
