//! Access records: what happened to one request, as plain data that crosses threads.
//!
//! A record is fixed in size and holds no reference: the worker fills it, a ring carries it, the
//! control thread prints it. Names of listener, route and cluster are ids; who prints knows them.

use std::fmt;
use std::net::SocketAddr;

use sluice_base::{ClusterId, ConnId, Instant, ListenerId, RouteId};
use sluice_l7_core::NameId;

use crate::exchange::{ExchangeKey, Kind};
use crate::flags::ResponseFlags;
use crate::proxy::Proxy;
use crate::relay::Relay;
use crate::responses::ReplyParts;
use crate::sessions::Upstream;
use crate::udp::UdpSession;

/// Text bytes of a record: all fields together.
const TEXT: usize = 720;

/// The texts of a record; with the bytes each may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Text {
    /// REQ(:METHOD)
    Method,
    /// REQ(X-ENVOY-ORIGINAL-PATH?:PATH)
    Path,
    /// REQ(X-FORWARDED-FOR)
    ForwardedFor,
    /// REQ(USER-AGENT)
    UserAgent,
    /// REQ(X-REQUEST-ID)
    RequestId,
    /// REQ(:AUTHORITY)
    Authority,
}

const TEXTS: usize = 6;
const ROOM: [usize; TEXTS] = [16, 320, 96, 160, 48, 80];
const START: [usize; TEXTS] = starts();
const _: () = assert!(START[TEXTS - 1] + ROOM[TEXTS - 1] == TEXT);

const fn starts() -> [usize; TEXTS] {
    let mut starts = [0; TEXTS];
    let mut index = 1;
    while index < TEXTS {
        starts[index] = starts[index - 1] + ROOM[index - 1];
        index += 1;
    }
    starts
}

/// What happened to one request, relay, or session of datagrams.
#[derive(Clone)]
pub struct AccessRecord {
    /// When it began: nanoseconds since 1970.
    pub start_time: u64,
    /// From its beginning to the last byte of the response; nanoseconds.
    pub duration: u64,
    /// From the request's last byte sent upstream to the response's head; nanoseconds.
    pub upstream_service_time: Option<u64>,
    /// `HTTP/1.1`, `UDP`; empty for a relay.
    pub protocol: &'static str,
    /// 0: no response was sent.
    pub status: u16,
    /// Why it ended as it did.
    pub flags: ResponseFlags,
    /// Body bytes from the client.
    pub bytes_received: u64,
    /// Body bytes to the client.
    pub bytes_sent: u64,
    /// The client.
    pub downstream: Option<SocketAddr>,
    /// The endpoint that was tried last.
    pub upstream: Option<SocketAddr>,
    /// Through which listener it came.
    pub listener: ListenerId,
    /// The route it took.
    pub route: Option<RouteId>,
    /// The cluster it went to.
    pub cluster: Option<ClusterId>,
    /// A text did not fit and was cut.
    pub cut: bool,
    lengths: [u16; TEXTS],
    text: [u8; TEXT],
}

impl AccessRecord {
    /// A record of which nothing but the listener is known.
    #[must_use]
    pub fn new(listener: ListenerId) -> Self {
        Self {
            start_time: 0,
            duration: 0,
            upstream_service_time: None,
            protocol: "",
            status: 0,
            flags: ResponseFlags::NONE,
            bytes_received: 0,
            bytes_sent: 0,
            downstream: None,
            upstream: None,
            listener,
            route: None,
            cluster: None,
            cut: false,
            lengths: [0; TEXTS],
            text: [0; TEXT],
        }
    }

    /// Sets a text, cut to the room that it has.
    pub fn set(&mut self, which: Text, value: &[u8]) {
        let at = which as usize;
        let len = value.len().min(ROOM[at]);
        self.cut |= len < value.len();
        self.text[START[at]..START[at] + len].copy_from_slice(&value[..len]);
        self.lengths[at] = len as u16;
    }

    /// A text as the client sent it; empty if it did not. Bytes of the network: escape them.
    #[must_use]
    pub fn text(&self, which: Text) -> &[u8] {
        let at = which as usize;
        &self.text[START[at]..START[at] + usize::from(self.lengths[at])]
    }
}

impl fmt::Display for AccessRecord {
    /// Envoy's default format.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |which| Quoted(self.text(which));
        write!(f, "[{}] \"{} ", Rfc3339(self.start_time), quoted(Text::Method))?;
        let protocol = if self.protocol.is_empty() { "-" } else { self.protocol };
        write!(f, "{} {protocol}\" ", quoted(Text::Path))?;
        write!(f, "{} {} ", self.status, self.flags)?;
        write!(f, "{} {} ", self.bytes_received, self.bytes_sent)?;
        write!(f, "{} ", self.duration / 1_000_000)?;
        match self.upstream_service_time {
            Some(time) => write!(f, "{} ", time / 1_000_000)?,
            None => f.write_str("- ")?,
        }
        write!(f, "\"{}\" ", quoted(Text::ForwardedFor))?;
        write!(f, "\"{}\" ", quoted(Text::UserAgent))?;
        write!(f, "\"{}\" ", quoted(Text::RequestId))?;
        write!(f, "\"{}\" ", quoted(Text::Authority))?;
        match self.upstream {
            Some(address) => write!(f, "\"{address}\""),
            None => f.write_str("\"-\""),
        }
    }
}

impl fmt::Debug for AccessRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes of the network inside quotes: nothing in them can end the line or the quotes.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for &byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                0x20..=0x7e => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// Nanoseconds since 1970 as `2026-01-31T12:34:56.789Z`.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub u64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        let millis = self.0 / 1_000_000 % 1_000;
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        // Days to a date by the calendar that repeats every 400 years and begins in March.
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

impl Proxy {
    pub(crate) fn logs(&self) -> bool {
        self.pins.current().is_some_and(|snapshot| snapshot.access_log)
    }

    /// Leaves a record of an exchange that is over.
    #[inline]
    pub(crate) fn record(&mut self, key: ExchangeKey) {
        if self.logs() {
            self.record_exchange(key);
        }
    }

    fn record_exchange(&mut self, key: ExchangeKey) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        let now = self.wires.now;
        let downstream = self.sessions.get(exchange.downstream).and_then(|s| s.downstream());
        let listener = downstream.map_or(exchange.plan.listener, |part| part.listener);
        let mut record = AccessRecord::new(listener);
        record.start_time = self.wall_clock_origin + exchange.started.as_nanos();
        record.duration = now.nanos_since(exchange.started);
        if exchange.kind != Kind::Tcp && exchange.head_at != Instant::NEVER {
            record.upstream_service_time = Some(exchange.head_at.nanos_since(exchange.sent_at));
        }
        record.status = exchange.status;
        record.flags = exchange.flags;
        record.bytes_received = exchange.request_bytes;
        record.bytes_sent = exchange.response_bytes;
        record.downstream = downstream.map(|part| part.peer.into());
        record.route = exchange.plan.route;
        record.cluster = exchange.plan.cluster;
        record.upstream = exchange.remote.map(SocketAddr::from);
        if let Some(head) = &exchange.head {
            record.protocol = head.version().as_str();
            let path = head.get(NameId::X_ENVOY_ORIGINAL_PATH).unwrap_or(head.path());
            record.set(Text::Method, head.method_text());
            record.set(Text::Path, path);
            record.set(Text::Authority, head.authority());
            let fields = [
                (Text::ForwardedFor, NameId::X_FORWARDED_FOR),
                (Text::UserAgent, NameId::USER_AGENT),
                (Text::RequestId, NameId::X_REQUEST_ID),
            ];
            for (text, name) in fields {
                record.set(text, head.get(name).unwrap_or_default());
            }
        }
        self.push_record(record);
    }

    /// Leaves a record of a relay that is over.
    pub(crate) fn record_relay(
        &mut self,
        client: ConnId,
        relay: &Relay,
        upstream: &Upstream,
        flags: ResponseFlags,
    ) {
        if !self.logs() {
            return;
        }
        let Some(downstream) = self.sessions.get(client).and_then(|s| s.downstream()) else {
            return;
        };
        let mut record = AccessRecord::new(downstream.listener);
        record.start_time = self.wall_clock_origin + relay.started.as_nanos();
        record.duration = self.wires.now.nanos_since(relay.started);
        record.flags = flags;
        record.bytes_received = relay.request_bytes;
        record.bytes_sent = relay.response_bytes;
        record.downstream = Some(downstream.peer.into());
        record.cluster = Some(upstream.cluster);
        record.upstream = Some(upstream.remote.into());
        self.push_record(record);
    }

    /// Leaves a record of a request that never became an exchange.
    pub(crate) fn record_without_exchange(&mut self, conn: ConnId, parts: &ReplyParts<'_>) {
        if !self.logs() {
            return;
        }
        let Some(downstream) = self.sessions.get(conn).and_then(|s| s.downstream()) else { return };
        let mut record = AccessRecord::new(downstream.listener);
        record.start_time = self.wall_clock_origin + self.wires.now.as_nanos();
        record.downstream = Some(downstream.peer.into());
        record.status = parts.status;
        record.flags = parts.flags;
        record.bytes_sent = parts.body.len() as u64;
        self.push_record(record);
    }

    /// Leaves a record of a session of datagrams that is over.
    pub(crate) fn record_udp_session(&mut self, session: &UdpSession, flags: ResponseFlags) {
        if !self.logs() {
            return;
        }
        let mut record = AccessRecord::new(session.listener);
        record.start_time = self.wall_clock_origin + session.started.as_nanos();
        record.duration = self.wires.now.nanos_since(session.started);
        record.protocol = "UDP";
        record.flags = flags;
        record.bytes_received = session.received;
        record.bytes_sent = session.sent;
        record.downstream = Some(session.peer);
        record.upstream = Some(session.remote);
        record.cluster = Some(session.cluster);
        self.push_record(record);
    }

    fn push_record(&mut self, record: AccessRecord) {
        if record.cut {
            self.counters.log_text_cut.increment();
        }
        if self.log.push(record).is_err() {
            self.counters.log_overflow.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_envoys_default_format() {
        let mut record = AccessRecord::new(ListenerId(0));
        record.start_time = 1_780_000_000_123_000_000;
        record.duration = 12_900_000;
        record.protocol = "HTTP/1.1";
        record.status = 503;
        record.flags = ResponseFlags::NO_HEALTHY_UPSTREAM;
        record.bytes_sent = 19;
        record.set(Text::Method, b"GET");
        record.set(Text::Path, b"/a?b=\"\n");
        record.set(Text::Authority, b"example.com");
        assert_eq!(
            record.to_string(),
            "[2026-05-28T20:26:40.123Z] \"GET /a?b=\\\"\\x0a HTTP/1.1\" 503 UH 0 19 12 - \
             \"-\" \"-\" \"-\" \"example.com\" \"-\""
        );
    }

    #[test]
    fn dates() {
        let text = |seconds: u64| Rfc3339(seconds * 1_000_000_000).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(4_102_444_799), "2099-12-31T23:59:59.000Z");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let mut record = AccessRecord::new(ListenerId(0));
        record.set(Text::Path, &[b'a'; 1_000]);
        assert!(record.cut);
        assert_eq!(record.text(Text::Path).len(), 320);
    }

    #[test]
    fn crosses_threads() {
        fn check<T: Send>() {}
        check::<AccessRecord>();
    }
}
