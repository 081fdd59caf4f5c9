//! The transcript language. `tests/scripts/README.md` describes it for its writers.

use std::time::Duration;

use sluice_base::Instant;
use sluice_buf::Pressure;
use sluice_tcp::{Config, CongestionKind, Connection, EcnMode, Keepalive, Signals};
use sluice_wire::{Flags, SeqNumber, TcpHeader, TcpOptions};

use super::bench::{Bench, Sent, pattern_bytes};
use super::line::{self, Ip, Segment, number};

/// How each state is reached. Numbers go on from where these lines leave them.
const GIVEN: [(&str, &str); 11] = [
    ("syn-sent", "connect\n> S seq 0"),
    ("syn-received", "< S seq 0 win 65535 <mss 1460>\n> S. seq 0 ack 1"),
    ("established", "connect\n> S seq 0\n< S. seq 0 ack 1 win 65535 <mss 1460>\n> . seq 1 ack 1"),
    (
        "established-10-ms",
        "connect\n> S seq 0\n+0.010 < S. seq 0 ack 1 win 65535 <mss 1460>\n> . seq 1 ack 1",
    ),
    ("fin-wait-1", "given established\nclose\n> F. seq 1 ack 1"),
    ("fin-wait-2", "given fin-wait-1\n< . seq 1 ack 2"),
    ("closing", "given fin-wait-1\n< F. seq 1 ack 1\n> . seq 2 ack 2"),
    ("time-wait", "given fin-wait-2\n< F. seq 1 ack 2\n> . seq 2 ack 2"),
    ("close-wait", "given established\n< F. seq 1 ack 1\n> . seq 1 ack 2"),
    ("last-ack", "given close-wait\nclose\n> F. seq 1 ack 2"),
    ("closed", "given last-ack\n< . seq 2 ack 2"),
];

/// What may be asked at any time, also before what left is looked at.
const QUESTIONS: [&str; 10] =
    ["state", "reason", "signals", "readable", "queued", "room", "held", "cwnd", "rtt", "counter"];

/// Settings that keep transcripts readable: no options, round windows.
pub(crate) fn plain_config() -> Config {
    Config {
        mss: 1_460,
        receive_buffers: 44,
        receive_buffers_max: 0,
        window_scale: 0,
        timestamps: false,
        sack: false,
        quick_acks: 0,
        congestion: CongestionKind::NewReno,
        ..Config::default()
    }
}

/// A bench whose connection is in that state.
pub(crate) fn given(state: &str, config: Config) -> Bench {
    let mut script = Script { bench: Bench::new(config), ..Script::default() };
    script.run(&format!("given {state}")).expect("the state can be reached");
    script.bench
}

/// Runs a whole script, to the census at its end.
pub(crate) fn run(text: &str) -> Result<(), String> {
    let mut script = Script::default();
    script.run(text)?;
    script.expect_nothing()?;
    script.bench.census();
    Ok(())
}

struct Script {
    bench: Bench,
    at: Instant,
    /// Our timestamp clock at millisecond 0, learnt from the first segment that shows it.
    stamp_base: Option<u32>,
    peer_window: u16,
    transcript: Vec<String>,
}

impl Default for Script {
    fn default() -> Self {
        let bench = Bench::new(plain_config());
        let at = bench.now;
        Self { bench, at, stamp_base: None, peer_window: u16::MAX, transcript: Vec::new() }
    }
}

impl Script {
    fn run(&mut self, text: &str) -> Result<(), String> {
        for (index, raw) in text.lines().enumerate() {
            let code = raw.split('#').next().unwrap_or("").trim();
            if code.is_empty() {
                continue;
            }
            self.line(code).map_err(|why| {
                let history = self.transcript.join("\n");
                format!("line {}: {raw}\n  {why}\n  so far:\n{history}", index + 1)
            })?;
        }
        Ok(())
    }

    fn line(&mut self, code: &str) -> Result<(), String> {
        let code = self.advance_clock(code)?;
        let (verb, rest) = code.split_once(' ').unwrap_or((code, ""));
        let rest = rest.trim();
        if verb == ">" {
            return self.expect(&line::parse(rest)?);
        }
        if verb == "config" {
            return self.configure(rest);
        }
        self.bench.run_until(self.at);
        if QUESTIONS.contains(&verb) {
            return self.check(verb, rest);
        }
        self.expect_nothing()?;
        if verb != "given" {
            self.note(code);
        }
        let count =
            || if rest.is_empty() { Ok(usize::MAX) } else { number(rest).map(|n| n as usize) };
        match verb {
            "<" => self.inject(&line::parse(rest)?),
            "given" => return self.given(rest),
            "connect" => self.bench.connect(),
            "write" => self.bench.write(count()?),
            "read" => {
                let (wanted, got) = (count()?, self.bench.read(count()?));
                if wanted != usize::MAX && wanted != got {
                    return Err(format!("read {got} bytes"));
                }
            }
            "credit" => self.bench.credit(count()?),
            "consume" => {
                let (wanted, got) = (count()?, self.bench.read(count()?));
                if wanted != usize::MAX && wanted != got {
                    return Err(format!("read {got} bytes"));
                }
                self.bench.credit(got);
            }
            "close" => self.bench.act(Connection::close),
            "abort" => self.bench.act(Connection::abort),
            "stop-reading" => self.bench.act(Connection::stop_reading),
            "shed" => {
                self.bench.with(Connection::shed);
            }
            "pressure" => {
                self.bench.pressure = match rest {
                    "none" => Pressure::None,
                    "tight" => Pressure::Tight,
                    "scarce" => Pressure::Scarce,
                    "critical" => Pressure::Critical,
                    _ => return Err(format!("{rest} is not a pressure")),
                };
            }
            "max-payload" => self.bench.max_payload = number(rest)? as u32,
            "silence" => {}
            _ => return Err(format!("{verb} is not a verb")),
        }
        Ok(())
    }

    /// Questions about the connection.
    fn check(&mut self, verb: &str, rest: &str) -> Result<(), String> {
        let Some(connection) = &self.bench.connection else {
            return Err("there is no connection yet".into());
        };
        let (wanted, is) = match verb {
            "state" => (rest.to_owned(), connection.state().name().to_owned()),
            "reason" => {
                let reason = connection.close_reason();
                (rest.to_owned(), reason.map_or("none".to_owned(), |it| format!("{it:?}")))
            }
            "signals" => {
                let signals = std::mem::replace(&mut self.bench.signals, Signals::NONE);
                (rest.to_owned(), signals.to_string())
            }
            "readable" => (rest.to_owned(), connection.readable().to_string()),
            "queued" => (rest.to_owned(), connection.queued().to_string()),
            "room" => (rest.to_owned(), self.bench.send_room().to_string()),
            "held" => (rest.to_owned(), connection.buffers_held().to_string()),
            "cwnd" => (rest.to_owned(), connection.congestion_window().to_string()),
            "rtt" => (rest.to_owned(), format!("{:?}", connection.round_trip_us())),
            "counter" => {
                let (name, value) = rest.split_once(' ').ok_or("counter NAME VALUE")?;
                let found = self.bench.counters.iter().find(|(it, _)| *it == name);
                let found = found.ok_or_else(|| format!("no counter {name}"))?;
                (value.trim().to_owned(), found.1.to_string())
            }
            _ => return Err(format!("{verb} is not a question")),
        };
        if wanted == is { Ok(()) } else { Err(format!("is {is}")) }
    }

    /// `+1.5 verb` means 1.5 s after the line before.
    fn advance_clock<'a>(&mut self, code: &'a str) -> Result<&'a str, String> {
        let Some(code) = code.strip_prefix('+') else { return Ok(code) };
        let (time, rest) = code.split_once(char::is_whitespace).ok_or("a verb is missing")?;
        let seconds: f64 = time.parse().map_err(|_| format!("{time} is not a time"))?;
        self.at += Duration::from_nanos((seconds * 1e6).round() as u64 * 1_000);
        Ok(rest.trim_start())
    }

    fn given(&mut self, state: &str) -> Result<(), String> {
        let found = GIVEN.iter().find(|(name, _)| *name == state);
        let (_, lines) = found.ok_or_else(|| format!("{state} is not a state"))?;
        // What the configuration offers, the peer wants too.
        let sack = if self.bench.config.sack { "<mss 1460,sackOK>" } else { "<mss 1460>" };
        for line in lines.lines() {
            self.line(&line.replace("<mss 1460>", sack))?;
        }
        self.bench.signals = Signals::NONE;
        Ok(())
    }

    fn configure(&mut self, text: &str) -> Result<(), String> {
        let config = &mut self.bench.config;
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or("key=value")?;
            let seconds = || -> Result<Duration, String> {
                value.parse().map(Duration::from_secs_f64).map_err(|_| format!("{value}: seconds"))
            };
            match key {
                "mss" => config.mss = number(value)? as u16,
                "buffers" => config.receive_buffers = number(value)? as u32,
                "buffers_max" => config.receive_buffers_max = number(value)? as u32,
                "wscale" => config.window_scale = number(value)? as u8,
                "send_queue" => config.send_queue_max = number(value)? as u32,
                "send_queue_min" => config.send_queue_min = number(value)? as u32,
                "syn_retries" => config.syn_retries = number(value)? as u8,
                "data_retries" => config.data_retries = number(value)? as u8,
                "time_wait" => config.time_wait = seconds()?,
                "fin_wait_2" => config.fin_wait_2 = seconds()?,
                "delayed_ack" => config.delayed_ack = seconds()?,
                "rto_min" => config.rto_min_us = seconds()?.as_micros() as u32,
                "rto_max" => config.rto_max_us = seconds()?.as_micros() as u32,
                "ecn" => {
                    config.ecn = match value {
                        "off" => EcnMode::Off,
                        "accept" => EcnMode::Accept,
                        "offer" => EcnMode::Offer,
                        _ => return Err(format!("{value} is not an ECN mode")),
                    }
                }
                "quick_acks" => config.quick_acks = number(value)? as u8,
                "user_timeout" => config.user_timeout = Some(seconds()?),
                "user_timeout_max" => config.user_timeout_max = seconds()?,
                // idle/interval/probes, seconds.
                "keepalive" => {
                    let parts: Vec<_> = value.split('/').map(number).collect::<Result<_, _>>()?;
                    let [idle, interval, probes] = parts[..] else {
                        return Err("keepalive=IDLE/INTERVAL/PROBES".into());
                    };
                    config.keepalive = Some(Keepalive {
                        idle: Duration::from_secs(idle as u64),
                        interval: Duration::from_secs(interval as u64),
                        probes: probes as u8,
                    });
                }
                "sack" => config.sack = value == "on",
                "fast_open" => self.bench.has_fast_open = value == "on",
                "timestamps" => config.timestamps = value == "on",
                "congestion" => {
                    config.congestion = match value {
                        "cubic" => CongestionKind::Cubic,
                        "newreno" => CongestionKind::NewReno,
                        _ => return Err(format!("{value} is not an algorithm")),
                    }
                }
                "iss" => self.bench.iss = SeqNumber(number(value)? as u32),
                "irs" => self.bench.irs = SeqNumber(number(value)? as u32),
                _ => return Err(format!("{key} is not a setting")),
            }
        }
        Ok(())
    }

    fn inject(&mut self, segment: &Segment) {
        let (start, end) = segment.seq.unwrap_or((0, 0));
        self.peer_window = segment.window.unwrap_or(self.peer_window);
        let mut options = segment.options.unwrap_or(TcpOptions::NONE);
        options.sack = options.sack.iter().map(|block| moved(block, self.bench.iss.0)).collect();
        if let Some(stamp) = &mut options.timestamps {
            stamp.echo = stamp.echo.wrapping_add(self.stamp_base.unwrap_or(0));
        }
        if let Some(age) = segment.cookie_age {
            options.fast_open = Some(Bench::cookie(before(self.at, age)));
        }
        let header = TcpHeader {
            seq: relative(self.bench.irs, start),
            ack: relative(self.bench.iss, segment.ack.unwrap_or(0)),
            flags: segment.flags,
            window: self.peer_window,
            options,
            ..TcpHeader::default()
        };
        // The peer's first byte is number 1; what it sends in front of that is not data.
        let offset = u64::try_from(start - 1).unwrap_or(0);
        let payload = pattern_bytes(offset, (end - start) as usize);
        if self.bench.connection.is_none() {
            self.bench.accept(&header, &payload);
        } else {
            self.bench.marked_segment(&header, &payload, segment.ip == Some(Ip::Ce));
        }
    }

    fn expect(&mut self, segment: &Segment) -> Result<(), String> {
        self.bench.run_until_sent(self.at);
        let Some(sent) = self.bench.sent.pop_front() else {
            return Err("nothing was sent".into());
        };
        let printed = self.print(&sent);
        if sent.at != self.at {
            let early = if sent.at < self.at { "earlier" } else { "later" };
            let by = if sent.at < self.at { self.at - sent.at } else { sent.at - self.at };
            return Err(format!("{printed}\n  left {by:?} {early}"));
        }
        self.compare(segment, &sent).map_err(|why| format!("{printed}\n  {why}"))?;
        self.transcript.push(printed);
        Ok(())
    }

    fn compare(&mut self, wanted: &Segment, sent: &Sent) -> Result<(), String> {
        let header = &sent.header;
        let differs = |what: &str, is: String| Err(format!("{what} is {is}"));
        if header.flags != wanted.flags {
            return differs("flags", header.flags.to_string());
        }
        // A RST answers with a number of the peer's choosing, which is ours too.
        let seq = i64::from(header.seq - self.bench.iss);
        let range = (seq, seq + sent.payload.len() as i64);
        if wanted.seq.is_some_and(|it| it != range) {
            return differs("seq", format!("{}:{}", range.0, range.1));
        }
        let ack = i64::from(header.ack - self.bench.irs);
        if header.flags.contains(Flags::ACK) && wanted.ack.is_some_and(|it| it != ack) {
            return differs("ack", ack.to_string());
        }
        if wanted.window.is_some_and(|it| it != header.window) {
            return differs("win", header.window.to_string());
        }
        let ip = if sent.outgoing.is_ect { Ip::Ect } else { Ip::None };
        if wanted.ip.is_some_and(|it| it != ip) {
            return differs("ip", format!("{ip:?}"));
        }
        if wanted.tso.unwrap_or(0) != sent.outgoing.segment_size {
            return differs("tso", sent.outgoing.segment_size.to_string());
        }
        if let Some(mut options) = wanted.options {
            if let Some(age) = wanted.cookie_age {
                options.fast_open = Some(Bench::cookie(before(sent.at, age)));
            }
            let is = self.relative_options(&header.options, sent.at);
            if is != options {
                return differs("options", is.to_string());
            }
        }
        if !sent.payload.is_empty() {
            let expected = pattern_bytes((seq - 1) as u64, sent.payload.len());
            if sent.payload != expected {
                return Err("the payload is not what was written there".into());
            }
        }
        Ok(())
    }

    fn relative_options(&mut self, options: &TcpOptions, at: Instant) -> TcpOptions {
        let mut options = *options;
        let back = self.bench.irs.0.wrapping_neg();
        options.sack = options.sack.iter().map(|block| moved(block, back)).collect();
        if let Some(stamp) = &mut options.timestamps {
            let now = at.as_millis() as u32;
            let base = *self.stamp_base.get_or_insert(stamp.value.wrapping_sub(now));
            stamp.value = stamp.value.wrapping_sub(base);
        }
        options
    }

    fn expect_nothing(&mut self) -> Result<(), String> {
        match self.bench.sent.front().cloned() {
            None => Ok(()),
            Some(sent) => Err(format!("also sent:\n{}", self.print(&sent))),
        }
    }

    fn note(&mut self, code: &str) {
        let since = self.at.as_micros() as f64 / 1e6 - 1.0;
        self.transcript.push(format!("    {since:9.6} {code}"));
    }

    fn print(&self, sent: &Sent) -> String {
        let header = &sent.header;
        let seq = header.seq - self.bench.iss;
        let end = i64::from(seq) + sent.payload.len() as i64;
        let ack = header.ack - self.bench.irs;
        let since = sent.at.as_micros() as f64 / 1e6 - 1.0;
        let mut text = format!("    {since:9.6} > {} seq {seq}", header.flags);
        if end != i64::from(seq) {
            text += &format!(":{end}");
        }
        if header.flags.contains(Flags::ACK) {
            text += &format!(" ack {ack}");
        }
        text += &format!(" win {}", header.window);
        if !header.options.is_empty() {
            let mut options = header.options;
            let back = self.bench.irs.0.wrapping_neg();
            options.sack = options.sack.iter().map(|block| moved(block, back)).collect();
            text += &format!(" <{options}>");
        }
        text
    }
}

/// A SACK block whose numbers count from elsewhere.
fn moved((left, right): (SeqNumber, SeqNumber), by: u32) -> (SeqNumber, SeqNumber) {
    (SeqNumber(left.0.wrapping_add(by)), SeqNumber(right.0.wrapping_add(by)))
}

fn before(at: Instant, age: Duration) -> Instant {
    Instant::from_millis(at.as_millis() - age.as_millis() as u64)
}

fn relative(base: SeqNumber, offset: i64) -> SeqNumber {
    SeqNumber(base.0.wrapping_add(offset as u32))
}
