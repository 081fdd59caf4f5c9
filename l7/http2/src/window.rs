//! Receiving windows (RFC 9113, 5.2, 6.9), and how they grow.
//!
//! What a peer may send is counted by what is outstanding: bytes received and not given back by a
//! WINDOW_UPDATE. A change of the initial window then changes every stream's at once, without a walk.
//!
//! A window is given back by the quarter. When that happens while no measurement runs, one begins:
//! a PING goes behind the WINDOW_UPDATE, and what has arrived and gone on until its answer, with what
//! did just before, is what the path carries in a round trip, on that stream and on all: what a reader
//! leaves where it is asks for no larger window. If that is two thirds of a
//! window or more, a stream's or the connection's, that window was the limit. Four times the measured is
//! wanted then: a sender that begins doubles what it has on its way in each of the two round trips
//! until the answer has an effect. The caller grants what its worker's bound allows.
//!
//! Bytes that a stream's reader leaves where they are take up the connection's window as well. A
//! client's streams belong to different readers, so where half of it is held it is made larger, for as
//! long as that lasts and as far as the same bound goes.

use sluice_base::Instant;
use sluice_l7_core::{CodecContext, Role, StreamId};

use crate::connection::Http2;
use crate::error::Fault;
use crate::frame;
use crate::limits::{WINDOW_DEFAULT, WINDOW_MAX};
use crate::settings::{Config, id};
use crate::state::Receive;
use crate::timer::Timer;

/// Both levels of what the peer may send.
#[derive(Debug)]
pub(crate) struct ConnectionWindow {
    /// Bytes that may be outstanding on all streams together.
    size: u32,
    outstanding: u32,
    credited: u32,
    /// Bytes of `size` that are not given back when they are credited: it shrinks.
    excess: u32,
    /// Bytes that may be outstanding on a stream.
    pub(crate) stream: u32,
    /// The stream window that holds when the peer has acknowledged it, if it is smaller.
    stream_next: Option<u32>,
    /// Granted beyond the configuration.
    granted: u32,
    /// Bytes of `size` that are there because others are held unread.
    lent: u32,
    /// More that would be used.
    wanted: u32,
    /// Bytes credited since the PING that measures, and those of the stream that it was sent for;
    /// `measuring`: one is on its way.
    sample: u32,
    stream_sample: u32,
    sampled: u32,
    pub(crate) measuring: bool,
    /// When body bytes arrived last, in seconds.
    last_data: u32,
}

impl ConnectionWindow {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            size: config.connection_window,
            outstanding: 0,
            credited: 0,
            excess: 0,
            stream: config.stream_window.max(1),
            stream_next: None,
            granted: 0,
            lent: 0,
            wanted: 0,
            sample: 0,
            stream_sample: 0,
            sampled: 0,
            measuring: false,
            last_data: 0,
        }
    }

    /// What the connection's window is more than every peer starts with. Until the peer has our
    /// SETTINGS it may use the default on streams as well.
    pub(crate) fn start(&mut self) -> Option<u32> {
        if self.stream < WINDOW_DEFAULT {
            self.stream_next = Some(self.stream);
            self.stream = WINDOW_DEFAULT;
        }
        self.size.checked_sub(WINDOW_DEFAULT).filter(|more| *more > 0)
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    pub(crate) fn outstanding(&self) -> u32 {
        self.outstanding
    }

    pub(crate) fn credited(&self) -> u32 {
        self.credited
    }

    /// What is credited beyond this is given back: a quarter of the window that holds, or that will
    /// hold as soon as the peer has heard of it; else it would wait for bytes that cannot come.
    #[inline]
    fn stream_quarter(&self) -> u32 {
        self.stream_next.map_or(self.stream, |next| next.min(self.stream)) / 4
    }

    /// Keeps back what was lent and is not needed any more, of `bytes` that would be given back; how
    /// many.
    fn take_back(&mut self, bytes: u32) -> u32 {
        let held = self.outstanding - self.credited;
        if self.lent == 0 || held > (self.size - self.lent) / 4 {
            return 0;
        }
        let kept = self.lent.min(bytes);
        self.lent -= kept;
        self.size -= kept;
        kept
    }

    /// So many bytes have come, which are within the window.
    #[inline]
    pub(crate) fn charge(&mut self, len: u32) {
        self.outstanding += len;
    }

    /// The peer has our SETTINGS.
    pub(crate) fn acknowledged(&mut self) {
        if let Some(next) = self.stream_next.take() {
            self.stream = next;
        }
    }
}

impl Http2 {
    /// A DATA frame of `len` bytes, padding included, has begun.
    #[inline]
    pub(crate) fn charge_connection(&mut self, len: u32) -> Result<(), Fault> {
        let outstanding = self.window.outstanding + len;
        if outstanding > self.window.size {
            return Err(Fault::ConnectionWindowExceeded);
        }
        self.window.charge(len);
        Ok(())
    }

    /// Bytes of a stream are done with. It may be gone: then the connection alone gets them back.
    #[inline]
    pub(crate) fn credit_received(
        &mut self,
        stream: StreamId,
        bytes: u32,
        cx: &mut CodecContext<'_>,
    ) {
        if bytes == 0 {
            return;
        }
        // Streams that have ended have no window: all they had was the connection's.
        let (mut of, mut given_back) = (StreamId::CONNECTION, self.credit_connection(bytes, cx));
        if let Some(slot) = self.streams.find(stream.number()) {
            let quarter = self.window.stream_quarter();
            let state = self.streams.get_mut(slot);
            state.credited += bytes;
            if self.window.sampled == stream.number() {
                self.window.stream_sample = self.window.stream_sample.saturating_add(bytes);
            }
            if state.receive != Receive::Done {
                // What arrives in a round trip comes in one go behind a window that limits: a
                // measurement that began anywhere in there would miss what came before.
                (of, given_back) = (stream, 0);
                if state.credited > quarter {
                    given_back = std::mem::take(&mut state.credited);
                    state.outstanding = state.outstanding.saturating_sub(given_back);
                    self.put(&frame::window_update(stream, given_back), cx);
                }
            }
        }
        if given_back > 0 {
            self.measure(of, given_back, cx);
        }
    }

    /// The last bytes of a stream's body came, and have gone on: they are charged and credited.
    #[inline]
    pub(crate) fn pass_ended(&mut self, slot: u16, len: u32, cx: &mut CodecContext<'_>) {
        let state = self.streams.get_mut(slot);
        state.receive = Receive::Done;
        state.moved = state.moved.saturating_add(len);
        state.outstanding += len;
        state.credited += len;
        if self.window.sampled == state.id {
            self.window.stream_sample = self.window.stream_sample.saturating_add(len);
        }
        self.window.charge(len);
        let given_back = self.credit_connection(len, cx);
        if given_back > 0 {
            self.measure(StreamId::CONNECTION, given_back, cx);
        }
    }

    /// Gives bytes back to the connection's window; how many, if now.
    pub(crate) fn credit_connection(&mut self, bytes: u32, cx: &mut CodecContext<'_>) -> u32 {
        let window = &mut self.window;
        window.credited += bytes;
        window.sample = window.sample.saturating_add(bytes);
        if window.credited <= window.size / 4 {
            return 0;
        }
        window.last_data = (cx.now.as_millis() / 1_000) as u32;
        let all = std::mem::take(&mut window.credited).min(window.outstanding);
        window.outstanding -= all;
        let kept = window.excess.min(all);
        window.excess -= kept;
        window.size -= kept;
        let kept = kept + window.take_back(all - kept);
        if all > kept {
            self.put(&frame::window_update(StreamId::CONNECTION, all - kept), cx);
        }
        all
    }

    /// Starts to measure what the path carries in a round trip, and of it on a stream; `given_back` just now
    /// is a part of that.
    fn measure(&mut self, stream: StreamId, given_back: u32, cx: &mut CodecContext<'_>) {
        self.window.last_data = (cx.now.as_millis() / 1_000) as u32;
        let room = self.window.stream < self.config.stream_window_max;
        if !room || self.window.measuring || self.timers.is_set(Timer::Ping) {
            return;
        }
        self.window.measuring = true;
        self.window.sample = given_back;
        self.window.stream_sample = if stream == StreamId::CONNECTION { 0 } else { given_back };
        self.window.sampled = stream.number();
        self.send_ping(cx);
    }

    /// The PING that measured came back.
    pub(crate) fn measured(&mut self) {
        if !std::mem::take(&mut self.window.measuring) {
            return;
        }
        let window = &mut self.window;
        window.sampled = 0;
        let more = |sample: u32, size: u32| match u64::from(sample) * 3 >= u64::from(size) * 2 {
            true => sample.saturating_mul(4).saturating_sub(size),
            false => 0,
        };
        let (of_stream, of_all) =
            (more(window.stream_sample, window.stream), more(window.sample, window.size));
        let most = self.config.stream_window_max.saturating_sub(window.stream);
        window.wanted = of_stream.max(of_all).min(most);
    }

    /// Bytes of window that would be used, beyond those there are. The caller, who knows how much
    /// memory its worker has for this, answers with [`Http2::grant_window`].
    #[must_use]
    pub fn window_wanted(&self) -> u32 {
        self.window.wanted
    }

    /// Bytes of window granted and lent so far: to be counted as free when the connection is gone.
    #[must_use]
    pub fn window_granted(&self) -> u32 {
        self.window.granted + self.window.lent
    }

    /// Bytes by which a client's connection should grow so that what some streams hold unread stalls
    /// no others: they belong to others. Answered with [`Http2::lend_window`].
    #[inline]
    #[must_use]
    pub fn loan_wanted(&self) -> u32 {
        let window = &self.window;
        let held = window.outstanding - window.credited;
        let is_tight = held > window.size / 2 && self.role == Role::Client;
        if is_tight { held.min((WINDOW_MAX / 2).saturating_sub(window.size)) } else { 0 }
    }

    /// Makes the connection's window larger by `bytes`, of what was wanted, until less is held.
    #[cold]
    pub fn lend_window(&mut self, bytes: u32, cx: &mut CodecContext<'_>) {
        let bytes = bytes.min(self.loan_wanted());
        if bytes == 0 {
            return;
        }
        let window = &mut self.window;
        window.lent += bytes;
        let kept = window.excess.min(bytes);
        window.excess -= kept;
        window.size += bytes - kept;
        if bytes > kept {
            self.put(&frame::window_update(StreamId::CONNECTION, bytes - kept), cx);
        }
    }

    /// Makes every stream's window, and the connection's, larger by `bytes` (at most what was
    /// wanted); 0: there is none to give.
    pub fn grant_window(&mut self, bytes: u32, cx: &mut CodecContext<'_>) {
        let bytes = bytes.min(std::mem::take(&mut self.window.wanted));
        if bytes == 0 || self.window.stream_next.is_some() {
            return;
        }
        let window = &mut self.window;
        window.stream += bytes;
        window.granted += bytes;
        let stream = window.stream;
        // What is about to be kept back is given after all.
        let kept = window.excess.min(bytes);
        window.excess -= kept;
        window.size += bytes - kept;
        let mut out = cx.heads.take_large();
        frame::settings(&[(id::INITIAL_WINDOW_SIZE, stream)], &mut out);
        if bytes > kept {
            out.extend_from_slice(&frame::window_update(StreamId::CONNECTION, bytes - kept));
        }
        self.settings_sent(cx.now);
        self.put_scratch(out, cx);
        let idle = u64::from(self.config.stall_timeout_ms);
        self.timers.set(Timer::Shrink, cx.now.plus_nanos(idle * 1_000_000));
    }

    /// Gives back what was granted, when nothing large has arrived for a while.
    pub(crate) fn shrink(&mut self, cx: &mut CodecContext<'_>) {
        let now = (cx.now.as_millis() / 1_000) as u32;
        let idle = self.config.stall_timeout_ms / 1_000;
        if now.saturating_sub(self.window.last_data) < idle {
            let next = u64::from(self.config.stall_timeout_ms) * 1_000_000;
            self.timers.set(Timer::Shrink, cx.now.plus_nanos(next));
            return;
        }
        self.take_window_back(cx);
    }

    /// Makes windows as small as they were configured; returns the bytes that were granted beyond.
    pub fn take_window_back(&mut self, cx: &mut CodecContext<'_>) -> u32 {
        let granted = std::mem::take(&mut self.window.granted);
        if granted == 0 {
            return 0;
        }
        let window = &mut self.window;
        window.wanted = 0;
        window.excess += granted;
        let stream = window.stream - granted;
        window.stream_next = Some(stream);
        let mut out = cx.heads.take_large();
        frame::settings(&[(id::INITIAL_WINDOW_SIZE, stream)], &mut out);
        self.settings_sent(cx.now);
        self.put_scratch(out, cx);
        self.flush_credit(cx);
        granted
    }

    /// Gives back what every stream has been credited: it may be more than its window will be.
    fn flush_credit(&mut self, cx: &mut CodecContext<'_>) {
        let mut from = 0;
        while let Some(slot) = self.streams.next_used(from) {
            from = slot + 1;
            let state = self.streams.get_mut(slot);
            if state.credited == 0 || state.receive == Receive::Done {
                continue;
            }
            let more = std::mem::take(&mut state.credited);
            state.outstanding = state.outstanding.saturating_sub(more);
            let stream = StreamId::new(state.id);
            self.put(&frame::window_update(stream, more), cx);
        }
    }

    /// Until when our SETTINGS must be acknowledged.
    pub(crate) fn settings_sent(&mut self, now: Instant) {
        let deadline = now.plus_nanos(u64::from(self.config.answer_timeout_ms) * 1_000_000);
        self.timers.settings_unanswered += 1;
        if !self.timers.is_set(Timer::Settings) {
            self.timers.set(Timer::Settings, deadline);
        }
    }
}
