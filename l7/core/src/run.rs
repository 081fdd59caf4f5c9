//! Fields that come together again and again.
//!
//! Clients of a mesh say nearly the same with every request, and header compression turns that into
//! the same few indexes one behind the other: a *run*. What a run stands for is found out once per
//! worker and kept in [`Runs`]; a decoder that meets it again copies its text and its index of
//! fields, and an encoder that has written it for the same peer copies what it wrote.
//!
//! The fields of a message of HTTP/1.1, from its first line's end to the empty line, are a run as
//! well. There they are found by comparing them with what came before on the connection.

use crate::{Field, Method, NameId, NameSet, Scheme, Span, Start};

/// Runs that a worker keeps.
const RUNS: usize = 256;
/// Text of a run at most, in bytes.
pub const RUN_TEXT_MAX: usize = 1_024;

/// What pseudo-header fields said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// `:method`, and its name.
    pub method: Option<(Method, Span)>,
    /// `:path`
    pub path: Option<Span>,
    /// `:authority`
    pub authority: Option<Span>,
    /// `:scheme`; within, None: one that is not known.
    pub scheme: Option<Option<Scheme>>,
    /// `:protocol`
    pub protocol: Option<Span>,
    /// `:status`
    pub status: Option<u16>,
}

impl Parts {
    /// Whether there is one.
    #[inline]
    #[must_use]
    pub const fn are_any(&self) -> bool {
        let Self { method, path, authority, scheme, protocol, status } = self;
        method.is_some()
            || status.is_some()
            || path.is_some()
            || authority.is_some()
            || scheme.is_some()
            || protocol.is_some()
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> usize {
        let Self { method, path, authority, scheme, protocol, status } = self;
        method.is_some() as usize
            + path.is_some() as usize
            + authority.is_some() as usize
            + scheme.is_some() as usize
            + protocol.is_some() as usize
            + status.is_some() as usize
    }

    /// Whether they are all of a request's but `:protocol`, or all of a response's.
    #[must_use]
    pub const fn are_all(&self) -> bool {
        let Self { method, path, authority, scheme, protocol, status } = self;
        let request = method.is_some() && path.is_some() && authority.is_some();
        (request && scheme.is_some() && protocol.is_none()) || status.is_some()
    }

    /// The same for a text that starts `by` bytes earlier.
    #[inline]
    #[must_use]
    pub fn moved(mut self, by: usize) -> Self {
        if by > 0 {
            self.each(|span| span.moved(by));
        }
        self
    }

    /// The same for a text of which the first `by` bytes are gone.
    #[must_use]
    pub fn moved_back(mut self, by: usize) -> Self {
        self.each(|span| span.moved_back(by));
        self
    }

    fn each(&mut self, to: impl Fn(Span) -> Span) {
        let method = self.method.as_mut().map(|(_, span)| span);
        let spans = [method, self.path.as_mut(), self.authority.as_mut(), self.protocol.as_mut()];
        spans.into_iter().flatten().for_each(|span| *span = to(*span));
    }
}

/// What the fields of a run, as lines of HTTP/1.1, say about framing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Framing {
    /// The value of Host, which is none of the fields.
    pub host: Option<Span>,
    /// The one Content-Length.
    pub content_length: Option<u64>,
    /// Whether Transfer-Encoding says `chunked`; it is none of the fields.
    pub chunked: bool,
    /// Whether Connection says `close`.
    pub close: bool,
    /// Whether Connection says `keep-alive`.
    pub keep_alive: bool,
    /// Whether a writer could copy all lines as they are.
    pub plain: bool,
    /// Lines, those included that are none of the fields.
    pub lines: u16,
}

/// What is the same for every request that starts with a run.
#[derive(Clone, Copy, Debug)]
pub struct Looked {
    /// Bytes of the path without the query; it stands there as it is to be compared.
    pub path_len: u32,
    /// Whether it is a call of gRPC.
    pub is_call: bool,
}

/// A sequence of fields, decoded and found good.
#[derive(Debug, Default)]
pub struct Run {
    /// Which one this is, of all there ever were; 0: none.
    id: u64,
    hash: u32,
    /// Whether it was met since the last look for one to give up.
    used: bool,
    /// Its lines.
    pub text: Vec<u8>,
    /// The index of its fields into `text`.
    pub fields: Vec<Field>,
    /// The names of these.
    pub names: NameSet,
    /// What pseudo-header fields in it said, by `text`.
    pub parts: Parts,
    /// What a message starts with that begins with it, if it says all of that.
    pub start: Option<Start>,
    /// Cookie fields among them.
    pub cookies: u32,
    /// `u=` of a Priority field.
    pub urgency: Option<u8>,
    /// Bytes of all fields as RFC 9113, 6.5.2 counts.
    pub size: u32,
    /// Of lines of HTTP/1.1, whose text ends with an empty one.
    pub framing: Framing,
    /// What a look at the request that it starts has shown.
    pub looked: Option<Looked>,
    /// What is written of it for everybody alike when it goes out compressed, once somebody has
    /// worked it out.
    pub literals: Option<Box<[u8]>>,
}

impl Run {
    /// Its number.
    #[inline]
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }
}

/// The runs of a worker: a bounded number, of which those that nobody meets any more are given up.
#[derive(Debug, Default)]
pub struct Runs {
    slots: Vec<Run>,
    /// Where the next look for one to give up starts.
    hand: usize,
    kept: u64,
    /// Memory for the next one to be looked at.
    draft: Run,
    /// Those that connections met last, for connections that have not met any.
    hints: [u64; 2],
}

impl Runs {
    /// The run of this number, unless it was given up.
    #[inline]
    #[must_use]
    pub fn get(&mut self, id: u64) -> Option<&Run> {
        let run = self.slots.get_mut(id as usize % RUNS)?;
        run.used = true;
        (run.id == id).then_some(&*run)
    }

    /// The same, to be completed.
    #[must_use]
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Run> {
        self.slots.get_mut(id as usize % RUNS).filter(|run| run.id == id)
    }

    /// The first of the runs of these numbers that `text` begins with, and its place among them.
    #[inline]
    pub fn beginning<const N: usize>(
        &mut self,
        ids: [u64; N],
        text: &[u8],
    ) -> Option<(usize, &Run)> {
        let slots = &self.slots;
        let begins = |id: u64| {
            let run = slots.get(id as usize % RUNS).filter(|run| run.id == id && id != 0);
            run.is_some_and(|run| text.starts_with(&run.text))
        };
        let at = ids.into_iter().position(begins)?;
        let run = self.slots.get_mut(ids[at] as usize % RUNS)?;
        run.used = true;
        Some((at, run))
    }

    /// What a connection has met last, of one direction.
    #[inline]
    #[must_use]
    pub fn hint(&self, direction: usize) -> u64 {
        self.hints.get(direction).copied().unwrap_or(0)
    }

    /// Tells who has not met any yet.
    pub fn set_hint(&mut self, direction: usize, id: u64) {
        if let Some(hint) = self.hints.get_mut(direction) {
            *hint = id;
        }
    }

    /// An empty run, to be filled and offered to [`Runs::keep`]; [`Runs::put_draft`] takes its memory
    /// back.
    #[must_use]
    pub fn draft(&mut self) -> Run {
        std::mem::take(&mut self.draft)
    }

    /// Takes back what [`Runs::draft`] lent.
    pub fn put_draft(&mut self, mut draft: Run) {
        draft.text.clear();
        draft.fields.clear();
        self.draft = Run { text: draft.text, fields: draft.fields, ..Run::default() };
    }

    /// Keeps a run, or finds it among those that are kept; its number. None: it is too long.
    #[must_use]
    pub fn keep(&mut self, run: &Run) -> Option<u64> {
        if run.text.len() > RUN_TEXT_MAX {
            return None;
        }
        let hash = run_hash(&run.text);
        let same = |kept: &Run| {
            kept.hash == hash && kept.text == run.text && kept.fields.len() == run.fields.len()
        };
        if let Some(kept) = self.slots.iter_mut().find(|kept| same(kept)) {
            kept.start = kept.start.or(run.start);
            return Some(kept.id);
        }
        let slot = self.free_slot();
        self.kept += 1;
        let kept = self.slots.get_mut(slot)?;
        // Never 0, and never the same again.
        kept.id = self.kept * RUNS as u64 + slot as u64;
        (kept.hash, kept.used) = (hash, false);
        kept.text.clear();
        kept.text.extend_from_slice(&run.text);
        kept.fields.clear();
        kept.fields.extend_from_slice(&run.fields);
        (kept.names, kept.parts, kept.start) = (run.names, run.parts, run.start);
        (kept.cookies, kept.urgency, kept.size) = (run.cookies, run.urgency, run.size);
        (kept.framing, kept.looked, kept.literals) = (run.framing, None, None);
        Some(kept.id)
    }

    /// A new one, or that of a run which was not met of late.
    fn free_slot(&mut self) -> usize {
        if self.slots.len() < RUNS {
            self.slots.push(Run::default());
            return self.slots.len() - 1;
        }
        loop {
            self.hand = (self.hand + 1) % RUNS;
            if !std::mem::take(&mut self.slots[self.hand].used) {
                return self.hand;
            }
        }
    }
}

/// Which run is part of a head, and where: for who writes the head.
#[derive(Clone, Copy, Debug)]
pub struct RunAt {
    /// Its number.
    pub id: u64,
    /// The names of its fields that go from one connection to another.
    pub names: NameSet,
    /// Whether it has others, which are about one connection of HTTP/1.1.
    pub hides: bool,
    /// The place of its first field among the head's, and how many they are.
    pub first: u16,
    /// How many fields it has.
    pub count: u16,
    /// Whether what the head starts with is what the run says.
    pub starts: bool,
}

impl RunAt {
    /// Whether it has a field of this name.
    #[inline]
    #[must_use]
    pub const fn contains(&self, id: NameId) -> bool {
        self.names.contains(id)
    }
}

/// Tells texts apart that are compared if it does not: nothing depends on it but work.
#[must_use]
pub fn run_hash(text: &[u8]) -> u32 {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (words, rest) = text.as_chunks::<8>();
    let mixed = words.iter().fold(text.len() as u64, |hash, word| {
        step(hash.rotate_left(29), u64::from_le_bytes(*word))
    });
    let last = rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte));
    (step(mixed.rotate_left(29), last) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Run {
        Run { text: text.into(), ..Run::default() }
    }

    #[test]
    fn a_run_is_kept_once_and_found_by_its_number() {
        let mut runs = Runs::default();
        assert!(runs.get(0).is_none());
        let first = runs.keep(&run("a: b\r\n")).expect("it is short");
        let second = runs.keep(&run("a: c\r\n")).expect("it is short");
        assert_ne!(first, second);
        assert_eq!(runs.keep(&run("a: b\r\n")), Some(first));
        assert_eq!(runs.get(first).map(|run| run.text.as_slice()), Some(b"a: b\r\n".as_slice()));
        assert!(runs.get(0).is_none() && runs.get(first + RUNS as u64).is_none());
        assert_eq!(runs.keep(&run(&"x".repeat(RUN_TEXT_MAX + 1))), None);
    }

    #[test]
    fn those_that_are_met_stay_and_numbers_are_used_once() {
        let mut runs = Runs::default();
        let busy = runs.keep(&run("busy: 1\r\n")).expect("it is short");
        let mut ids = std::collections::BTreeSet::new();
        for number in 0..10 * RUNS {
            let id = runs.keep(&run(&format!("n: {number}\r\n"))).expect("it is short");
            assert!(ids.insert(id), "{id} twice");
            assert!(runs.get(busy).is_some(), "given up at {number}");
        }
        assert_eq!(runs.slots.len(), RUNS);
        let last = ids.into_iter().next_back();
        assert!(last.is_some_and(|id| runs.get(id).is_some()));
    }
}
