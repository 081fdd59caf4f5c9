//! A backend's connection of HTTP/2: answers as each request's path says, in the terms of streams.

use std::collections::BTreeMap;

use sluice_base::{ConnId, Instant, Rng};
use sluice_l7_core::{BodyLength, ResetReason, Role, StreamId};
use sluice_l7_http2::frame::{FrameHeader, FrameKind};

use crate::app::Io;
use crate::backend::read_path;
use crate::hostile::{asked, noise};
use crate::http::{Message, pattern};
use crate::ledger::{Behaviour, Shared};
use crate::speaker::{Ending, Said, Speaker};

/// How long it takes its time over what a slow request brings.
const SLOW_NANOS: u64 = 3_000_000_000;

/// The connection.
pub struct Streams {
    speaker: Speaker,
    requests: BTreeMap<u32, Message>,
    /// Answers that are being said, by request.
    answers: BTreeMap<u32, u64>,
    /// It has said what nobody understands, and is closed then.
    raves_until: Option<Instant>,
    rng: Rng,
}

impl Streams {
    /// A connection whose first bytes were these, for so many streams at once.
    #[must_use]
    pub fn new(conn: ConnId, first: &[u8], streams_max: u32, io: &Io<'_>) -> Self {
        let mut speaker = Speaker::new(conn, Role::Server, streams_max);
        // Without memory the rest makes no sense, and the connection ends with a fault.
        speaker.push(first, io);
        let rng = Rng::new(io.now.as_nanos());
        let (requests, answers) = (BTreeMap::new(), BTreeMap::new());
        Self { speaker, requests, answers, raves_until: None, rng }
    }

    /// Does what there is to do.
    pub fn serve(&mut self, peer_closed: bool, ledger: &Shared, io: &mut Io<'_>) {
        for (said, fault) in [self.speaker.receive(io), self.speaker.wake(io)] {
            for one in said {
                self.hear(one, ledger, io);
            }
            if let Some(fault) = fault {
                if self.raves_until.is_none() {
                    ledger.borrow_mut().violation(format!("a backend's stream: {fault}"));
                }
                self.speaker.close(io);
            }
        }
        self.flush(ledger, io);
        if peer_closed || self.raves_until.is_some_and(|until| until <= io.now) {
            self.speaker.close(io);
        }
    }

    /// Says what there is to say.
    pub fn flush(&mut self, ledger: &Shared, io: &mut Io<'_>) {
        self.speaker.flush(io);
        for stream in std::mem::take(&mut self.speaker.said_all) {
            if let Some(id) = self.answers.remove(&stream) {
                ledger.borrow_mut().entries[id as usize].completed += 1;
            }
        }
    }

    /// When something is due.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        self.speaker.next_deadline().min(self.raves_until.unwrap_or(Instant::NEVER))
    }

    /// What is wrong with it, where nothing has moved for long.
    #[must_use]
    pub fn fault_at_rest(&self) -> Option<String> {
        self.speaker.fault_at_rest()
    }

    fn hear(&mut self, said: Said, ledger: &Shared, io: &mut Io<'_>) {
        match said {
            Said::Head(stream, start, fields) => {
                if start.split(' ').nth(1).is_some_and(asked) {
                    return self.bait(stream, io);
                }
                let message = Message { start, fields, body: Vec::new(), trailers: Vec::new() };
                let Some((id, _, behaviour)) = read_request(&message) else {
                    let text = format!("a backend received {:?}", message.start);
                    return ledger.borrow_mut().violation(text);
                };
                // Nobody hears it any more from who raves.
                let refuses = behaviour == Behaviour::Refuse && self.raves_until.is_none();
                let refused = refuses && {
                    let mut ledger = ledger.borrow_mut();
                    let entry = &mut ledger.entries[id as usize];
                    entry.refused += 1;
                    entry.refused_at = io.now;
                    entry.refused % 2 == 1
                };
                if refused {
                    return self.speaker.reset(stream, ResetReason::Refused, io);
                }
                {
                    let mut ledger = ledger.borrow_mut();
                    let entry = &mut ledger.entries[id as usize];
                    entry.begun += 1;
                    entry.http2.1 = true;
                }
                self.requests.insert(stream, message);
                if behaviour == Behaviour::Early {
                    self.answer(stream, ledger, io);
                }
            }
            Said::Body(stream, bytes) => {
                let request = self.requests.get_mut(&stream);
                let id = request.as_ref().and_then(|message| read_request(message)).map(|it| it.0);
                let late = id
                    .is_some_and(|id| ledger.borrow().entries[id as usize].request.is_read_late());
                let count = bytes.len();
                if let Some(message) = request {
                    message.body.extend(bytes);
                }
                if late {
                    self.speaker.credit_at(io.now.plus_nanos(SLOW_NANOS), stream, count);
                } else {
                    self.speaker.credit(stream, count, io);
                }
            }
            Said::End(stream, trailers) => {
                let Some(message) = self.requests.get_mut(&stream) else { return };
                message.trailers = trailers;
                self.answer(stream, ledger, io);
            }
            Said::Reset(stream) => {
                self.requests.remove(&stream);
                self.answers.remove(&stream);
            }
            Said::Informational(_) => {}
        }
    }

    /// Something for who wants to do harm to leave lying about.
    fn bait(&mut self, stream: u32, io: &Io<'_>) {
        if self.speaker.answer(stream, 200, 0, BodyLength::Chunked, io) {
            self.speaker.say(stream, vec![b'x'; 2_000], Ending::Whole(None));
        }
    }

    fn answer(&mut self, stream: u32, ledger: &Shared, io: &mut Io<'_>) {
        let Some(message) = self.requests.remove(&stream) else { return };
        let Some((id, download, behaviour)) = read_request(&message) else { return };
        if behaviour != Behaviour::Early {
            ledger.borrow_mut().arrived(id, &message);
        }
        let cuts = [Behaviour::CloseInBody, Behaviour::CloseAtOnce, Behaviour::Garbage];
        if cuts.contains(&behaviour) {
            ledger.borrow_mut().cuts.push(io.now);
        }
        let body = pattern(id, download);
        let half = body[..body.len() / 2].to_vec();
        let known = BodyLength::Known(download as u64);
        let (length, bytes, ending) = match behaviour {
            Behaviour::Length | Behaviour::Refuse | Behaviour::Early => {
                (known, body, Ending::Whole(None))
            }
            Behaviour::Continue => {
                // Two, so that the final one cannot be taken for the second.
                for _ in 0..2 {
                    self.speaker.answer(stream, 103, id, BodyLength::None, io);
                }
                (known, body, Ending::Whole(None))
            }
            Behaviour::Chunked => (BodyLength::Chunked, body, Ending::Whole(Some(("x-end", id)))),
            Behaviour::UntilClose => (BodyLength::Chunked, body, Ending::Drain),
            Behaviour::ResetInBody => (known, half, Ending::Reset(ResetReason::Internal)),
            Behaviour::CloseInBody => (known, half, Ending::Close),
            Behaviour::Garbage => return self.rave(stream, id, io),
            Behaviour::CloseAtOnce if id % 2 == 0 => {
                return self.speaker.reset(stream, ResetReason::Internal, io);
            }
            Behaviour::CloseAtOnce => return self.speaker.close(io),
            Behaviour::Hang => return,
        };
        let head_only = message.start.starts_with("HEAD ");
        if !self.speaker.answer(stream, 200, id, length, io) {
            return;
        }
        if head_only || length.is_none() {
            ledger.borrow_mut().entries[id as usize].completed += 1;
        } else {
            self.answers.insert(stream, id);
            self.speaker.say(stream, bytes, ending);
        }
    }

    /// Something that nobody understands.
    fn rave(&mut self, stream: u32, id: u64, io: &Io<'_>) {
        let stream = StreamId::new(stream);
        let frame = |kind, flags, stream, payload: &[u8]| {
            let len = payload.len() as u32;
            [&FrameHeader { len, kind, flags, stream }.write()[..], payload].concat()
        };
        self.raves_until = Some(io.now.plus_nanos(SLOW_NANOS));
        let bytes = match id % 8 {
            0 => b"SSH-2.0-OpenSSH_9.2\r\n\x00\x01\x02\r\n\r\n".to_vec(),
            // A body without a head: a fault of the stream alone.
            1 => frame(FrameKind::Data, 0, stream, b"early"),
            // An index that names nothing.
            2 => frame(FrameKind::Headers, 4, stream, &[0xff, 0xff, 0xff, 0x01]),
            // A stream that nobody has opened.
            3 => frame(FrameKind::Data, 0, StreamId::new(99_999), b"what?"),
            _ => (0..1 + self.rng.below(20)).flat_map(|_| noise(&mut self.rng, false)).collect(),
        };
        self.speaker.scribble(&bytes, io);
    }
}

fn read_request(message: &Message) -> Option<(u64, usize, Behaviour)> {
    read_path(message.start.split(' ').nth(1)?)
}
