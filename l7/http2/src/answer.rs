//! Answers that are all here and like earlier ones, passed from one connection to another in one
//! piece.
//!
//! ```text
//!   | HEADERS | a known run | DATA | few bytes | HEADERS, END_STREAM | a known run |
//! ```
//!
//! That is what an endpoint says to nearly every unary call of gRPC, and what its client is told.
//! Nothing is taken in or written unless all of it can be: whatever is not so is decoded and
//! encoded frame by frame, with the same result.

use sluice_buf::{COPY_MAX, Chain};
use sluice_l7_core::{
    CodecContext, HEAD_BYTES_MAX, HeadLimits, HeadPool, Role, Run, Start, StreamId, status,
};

use crate::connection::{Http2, Reading};
use crate::decode::Section;
use crate::encode;
use crate::frame::{FrameHeader, FrameKind, HEADER_LEN, flag};
use crate::state::{Receive, Send};

/// An answer that is all in a connection's input, in front of anything else.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its stream.
    pub stream: StreamId,
    /// What the caller attached to that.
    pub token: u64,
    /// Its status: of a final answer that has a body.
    pub status: u16,
    /// The run that its head is.
    pub head: u64,
    /// The run that its trailers are, of which there are some.
    pub trailers: u64,
    slot: u16,
    body_at: usize,
    body_len: usize,
    /// Bytes of its frames.
    len: usize,
}

impl Answer {
    /// Its body, in the input that it was found in.
    #[inline]
    #[must_use]
    pub fn body<'i>(&self, input: &'i Chain) -> &'i [u8] {
        input.front().get(self.body_at..self.body_at + self.body_len).unwrap_or_default()
    }
}

/// Type and flags of a frame, its stream, its payload, and what is behind it.
#[inline]
fn split_frame(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let (&[a, b, c, kind, flags, e, f, g, h], behind) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let len = u32::from_be_bytes([a, b, c, kind]) >> 8;
    let (payload, behind) = behind.split_at_checked(len as usize)?;
    Some((u16::from_be_bytes([kind, flags]), u32::from_be_bytes([e, f, g, h]), payload, behind))
}

const fn kind_and_flags(kind: FrameKind, flags: u8) -> u16 {
    u16::from_be_bytes([kind.number(), flags])
}

const HEAD: u16 = kind_and_flags(FrameKind::Headers, flag::END_HEADERS);
const BODY: u16 = kind_and_flags(FrameKind::Data, 0);
const TRAILERS: u16 = kind_and_flags(FrameKind::Headers, flag::END_HEADERS | flag::END_STREAM);

/// Whether `front` begins with a whole header block and goes on with a body that does not end with
/// its first frame: a look at what most often is not so, before anything else.
#[inline]
fn may_be_answer(front: &[u8]) -> bool {
    let Some(&[a, b, c, kind, flags, ..]) = front.first_chunk::<HEADER_LEN>() else { return false };
    let second = HEADER_LEN + (u32::from_be_bytes([a, b, c, 0]) >> 8) as usize;
    u16::from_be_bytes([kind, flags]) == HEAD
        && front.get(second + 3..second + 5) == Some(&BODY.to_be_bytes())
}

impl Http2 {
    /// The answer that comes next, if it is all there, within every window and limit, and made of
    /// runs that are known. Nothing is taken.
    #[inline]
    pub fn find_answer(
        &mut self,
        input: &Chain,
        limits: &HeadLimits,
        heads: &mut HeadPool,
    ) -> Option<Answer> {
        let front = input.front();
        if may_be_answer(front) { self.find_in(front, limits, heads) } else { None }
    }

    fn find_in(
        &mut self,
        front: &[u8],
        limits: &HeadLimits,
        heads: &mut HeadPool,
    ) -> Option<Answer> {
        let (HEAD, id, head, behind) = split_frame(front)? else { return None };
        let (BODY, body_id, body, behind) = split_frame(behind)? else { return None };
        let (TRAILERS, trailers_id, trailers, behind) = split_frame(behind)? else { return None };
        if body_id != id || trailers_id != id || !(1..=COPY_MAX).contains(&body.len()) {
            return None;
        }
        if self.role != Role::Client
            || !matches!(self.reading, Reading::Frame { first: false })
            || self.block.is_some()
            || self.ending.is_some()
            || self.broken.is_some()
            || self.tell_goaway
            || self.refused_from.is_some()
        {
            return None;
        }
        self.flush_leaving();
        let slot = self.streams.find(id)?;
        let (state, window) = (self.streams.get(slot), &self.window);
        let (body_at, body_len) = (2 * HEADER_LEN + head.len(), body.len());
        if state.receive != Receive::Head
            || self.opened == id
            || state.head
            || state.connect
            || state.outstanding + body_len as u32 > window.stream
            || window.outstanding() + body_len as u32 > window.size()
        {
            return None;
        }
        let head = self.decoder.known_run(head, Section::Response as u8)?;
        let trailers = self.decoder.known_run(trailers, Section::Trailers as u8)?;
        let run = heads.runs().get(head).filter(|run| is_within(run, limits))?;
        let Some(Start::Response { status, .. }) = run.start else { return None };
        if !(200..600).contains(&status) || status::forbids_body(status) {
            return None;
        }
        heads
            .runs()
            .get(trailers)
            .filter(|run| is_within(run, limits) && !run.fields.is_empty())?;
        let (stream, token) = (StreamId::new(id), state.token);
        let len = front.len() - behind.len();
        Some(Answer { stream, token, status, head, trailers, slot, body_at, body_len, len })
    }

    /// Takes the answer that [`Http2::find_answer`] has just found off the input; its body has gone
    /// on.
    #[inline]
    pub fn take_answer(&mut self, answer: &Answer, input: &mut Chain, cx: &mut CodecContext<'_>) {
        let len = answer.body_len as u32;
        self.heard(cx.now);
        self.credit += answer.len;
        input.advance(answer.len);
        self.pass_ended(answer.slot, len, cx);
        self.settle_later(answer.slot);
    }

    /// Writes an answer of another connection, with its body, as ours on `stream`; whether it was
    /// written, all of it. Names that we say otherwise must not be in it.
    #[inline]
    pub fn write_answer(
        &mut self,
        stream: StreamId,
        answer: &Answer,
        body: &[u8],
        cx: &mut CodecContext<'_>,
    ) -> bool {
        let Some(slot) = self.streams.find(stream.number()) else { return false };
        let (state, count) = (self.streams.get(slot), body.len() as i32);
        let may_be = state.send == Send::Head && !state.head && !state.connect;
        if !may_be
            || self.role != Role::Server
            || count > state.send_window.min(self.send_window)
            || self.hold
            || self.streams.any_ready()
            || !self.unsent.is_empty()
        {
            return false;
        }
        let (kind, id) = (FrameKind::Headers, stream);
        let mut out = cx.heads.take_large();
        let runs = cx.heads.runs();
        out.extend_from_slice(&[0; HEADER_LEN]);
        let mut written = encode::run_again(&mut self.encoder, answer.head, true, runs, &mut out);
        let len = (out.len() - HEADER_LEN) as u32;
        let header = FrameHeader { len, kind, flags: flag::END_HEADERS, stream: id };
        out[..HEADER_LEN].copy_from_slice(&header.write());
        let data = FrameHeader { len: count as u32, kind: FrameKind::Data, flags: 0, stream: id };
        out.extend_from_slice(&data.write());
        out.extend_from_slice(body);
        let at = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        written &= encode::run_again(&mut self.encoder, answer.trailers, false, runs, &mut out);
        let len = (out.len() - at - HEADER_LEN) as u32;
        let flags = flag::END_HEADERS | flag::END_STREAM;
        let header = FrameHeader { len, kind, flags, stream: id };
        out[at..at + HEADER_LEN].copy_from_slice(&header.write());
        written = written && cx.output.append_copy(&out, cx.pool).is_ok();
        cx.heads.put_large(out);
        if written {
            // A head, a body and trailers.
            (0..3).for_each(|_| self.budgets.earn_ping());
            self.send_window -= count;
            let state = self.streams.get_mut(slot);
            state.send_window -= count;
            state.moved = state.moved.saturating_add(count as u32);
            self.sent_all(slot, cx.now);
        }
        written
    }
}

/// As every head and trailer section must be.
#[inline]
fn is_within(run: &Run, limits: &HeadLimits) -> bool {
    run.fields.len() <= usize::from(limits.headers)
        && run.size <= limits.header_bytes.min(HEAD_BYTES_MAX)
        && run.cookies <= 1
}
