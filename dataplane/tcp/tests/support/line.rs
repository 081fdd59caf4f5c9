//! A segment as a line: `F. seq 1:101 ack 1 win 500 <mss 1460,wscale 7,TS val 3 ecr 4>`.
//!
//! Numbers are relative to the initial sequence number of whoever sends them, so a SYN has 0.

use std::time::Duration;

use sluice_wire::{FastOpenCookie, Flags, SeqNumber, TcpOptions, Timestamps};

/// What a line says; what it does not say is not checked (output) or has a default (input).
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    pub(crate) flags: Flags,
    pub(crate) seq: Option<(i64, i64)>,
    pub(crate) ack: Option<i64>,
    pub(crate) window: Option<u16>,
    pub(crate) options: Option<TcpOptions>,
    /// It carries the cookie that the peer was given so long ago (RFC 7413).
    pub(crate) cookie_age: Option<Duration>,
    /// What the ECN field of the IP header says (RFC 3168, 5).
    pub(crate) ip: Option<Ip>,
    /// The device is to cut it into pieces of this size.
    pub(crate) tso: Option<u16>,
}

/// The ECN field of an IP header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ip {
    None,
    Ect,
    Ce,
}

pub(crate) fn parse(text: &str) -> Result<Segment, String> {
    let mut cookie_age = None;
    let (text, options) = match text.split_once('<') {
        Some((head, tail)) => {
            let inside = tail.trim_end().strip_suffix('>').ok_or("options end with >")?;
            (head, Some(parse_options(inside, &mut cookie_age)?))
        }
        None => (text, None),
    };
    let mut words = text.split_whitespace();
    let flags = parse_flags(words.next().ok_or("flags are missing")?)?;
    let mut segment = Segment { flags, options, cookie_age, ..Segment::default() };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word {
            "seq" => {
                let (start, end) = value.split_once(':').unwrap_or((value, value));
                segment.seq = Some((number(start)?, number(end)?));
            }
            "ack" => segment.ack = Some(number(value)?),
            "win" => segment.window = Some(number(value)? as u16),
            "ip" => {
                segment.ip = Some(match value {
                    "none" => Ip::None,
                    "ect" => Ip::Ect,
                    "ce" => Ip::Ce,
                    _ => return Err(format!("{value} is not an ECN field")),
                });
            }
            "tso" => segment.tso = Some(number(value)? as u16),
            _ => return Err(format!("{word} is not part of a segment")),
        }
    }
    Ok(segment)
}

fn parse_flags(text: &str) -> Result<Flags, String> {
    text.chars().try_fold(Flags::NONE, |flags, letter| {
        let flag = match letter {
            'F' => Flags::FIN,
            'S' => Flags::SYN,
            'R' => Flags::RST,
            'P' => Flags::PSH,
            '.' => Flags::ACK,
            'U' => Flags::URG,
            'E' => Flags::ECE,
            'W' => Flags::CWR,
            '-' => Flags::NONE,
            _ => return Err(format!("{letter} is not a flag")),
        };
        Ok(flags | flag)
    })
}

fn parse_options(text: &str, cookie_age: &mut Option<Duration>) -> Result<TcpOptions, String> {
    let mut options = TcpOptions::NONE;
    for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        let words: Vec<_> = option.split_whitespace().collect();
        match words[..] {
            ["mss", value] => options.mss = Some(number(value)? as u16),
            ["wscale", value] => options.window_scale = Some(number(value)? as u8),
            ["sackOK"] => options.sack_permitted = true,
            ["TS", "val", value, "ecr", echo] => {
                let (value, echo) = (number(value)? as u32, number(echo)? as u32);
                options.timestamps = Some(Timestamps { value, echo });
            }
            ["sack", ref blocks @ ..] if !blocks.is_empty() => {
                for block in blocks {
                    let (left, right) = block.split_once(':').ok_or("sack LEFT:RIGHT")?;
                    let edge = |text| Ok::<_, String>(SeqNumber(number(text)? as u32));
                    options.sack.push(edge(left)?, edge(right)?);
                }
            }
            ["uto", value] => options.user_timeout = Some(number(value)? as u16),
            ["tfo", "request"] => options.fast_open = Some(FastOpenCookie::REQUEST),
            ["tfo", "cookie"] => *cookie_age = Some(Duration::ZERO),
            ["tfo", "cookie", "minutes-old", age] => {
                *cookie_age = Some(Duration::from_secs(60 * number(age)? as u64));
            }
            ["tfo", "forged"] => options.fast_open = FastOpenCookie::new(&[7; 8]),
            _ => return Err(format!("{option} is not an option")),
        }
    }
    Ok(options)
}

pub(crate) fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
