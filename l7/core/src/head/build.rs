//! For decoders: building a head from what arrived.

use sluice_buf::{Chain, Slice};

use super::{Head, NOWHERE, Start};
use crate::{Field, HeadPool, Run, RunAt, Span, Version};

impl Head {
    /// Takes the received bytes that spans will refer to.
    #[inline]
    pub fn set_received(&mut self, bytes: Slice) {
        self.received = Some(bytes);
    }

    /// Copies the first `len` bytes of `chain` into the own text, for a head that straddles
    /// buffers; the large buffer for it comes from `heads`.
    pub fn copy_received(&mut self, chain: &Chain, len: usize, heads: &mut HeadPool) {
        heads.enlarge(self, len);
        let mut left = len;
        for piece in chain.pieces() {
            let here = left.min(piece.len());
            self.own.extend_from_slice(&piece[..here]);
            left -= here;
        }
    }

    /// Lends out the own text, so that spans into it can be pushed while it is read.
    #[inline]
    #[must_use]
    pub fn take_own(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.own)
    }

    /// Gives back what [`Head::take_own`] lent.
    #[inline]
    pub fn set_own(&mut self, own: Vec<u8>) {
        self.own = own;
    }

    /// Sets what it starts with.
    #[inline]
    pub fn set_start(&mut self, start: Start, version: Version) {
        self.start = start;
        self.version = version;
        self.intact = 0;
    }

    /// Says whether what Connection fields there are name nothing but `close` and `keep-alive`.
    #[inline]
    pub fn set_nominates_none(&mut self, none: bool) {
        self.nominates_none = none;
    }

    /// Says that the first `len` received bytes are the first line and one line for each field, Host
    /// included, and all as a writer of HTTP/1.1 would write them: it may copy them in one piece.
    #[inline]
    pub fn set_intact(&mut self, len: usize) {
        debug_assert!(self.own.is_empty(), "said before anything is added");
        self.intact = len as u32;
    }

    /// Says that the own text is the lines of all fields from the first one on.
    #[inline]
    pub fn set_lines_own(&mut self) {
        self.lines_from = match self.fields.first() {
            Some(first) if first.name.is_own() => first.name.start() as u32,
            _ => NOWHERE,
        };
    }

    /// Says the value of the one Content-Length field.
    #[inline]
    pub fn set_content_length(&mut self, length: u64) {
        self.content_length = Some(length);
    }

    /// Notes that the sender asks to upgrade the connection.
    #[inline]
    pub fn set_upgrade(&mut self, upgrade: bool) {
        self.upgrade = upgrade;
    }

    /// Appends a field whose text is already there, and has been checked.
    #[inline]
    pub fn push_field(&mut self, field: Field) {
        debug_assert!(!self.removed.contains(field.id), "decoders push before anything is removed");
        self.known.insert(field.id);
        self.fields.push(field);
    }

    /// Appends the fields of a run, whose text lies from `at` on of the text that was lent out.
    #[inline]
    pub fn push_run(&mut self, run: &Run, at: usize) {
        debug_assert!(!run.names.meets(self.removed), "decoders push before anything is removed");
        self.known = self.known.or(run.names);
        if at == 0 {
            self.fields.extend_from_slice(&run.fields);
            return;
        }
        let moved = |field: &Field| Field {
            name: field.name.moved(at),
            value: field.value.moved(at),
            ..*field
        };
        self.fields.extend(run.fields.iter().map(moved));
    }

    /// Says which run is part of it; of several, the longest.
    #[inline]
    pub fn set_run(&mut self, run: RunAt) {
        self.run = Some(run);
    }

    /// Copies `text`, which has been checked, behind the own text.
    #[inline]
    #[must_use]
    pub fn add_text(&mut self, text: &[u8]) -> Span {
        // The own text is more than lines now, and must not be copied as if it were.
        (self.intact, self.lines_from) = (0, NOWHERE);
        let at = self.own.len();
        self.own.extend_from_slice(text);
        Span::own(at, text.len())
    }
}
