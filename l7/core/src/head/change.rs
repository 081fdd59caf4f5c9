//! Changing a head.

use sluice_arch::{Lanes, none};

use super::look::{bytes, name_of};
use super::{Head, NOWHERE, Start};
use crate::{Field, Name, NameId, NameSet, Run, RunAt, Span};

impl Head {
    /// Adds a field behind the others. The authority, for [`NameId::HOST`] of a request.
    // Inlined always: for a well-known name little is left of it.
    #[inline(always)]
    pub fn append<'a>(&mut self, name: impl Into<Name<'a>>, value: &[u8]) {
        let name = name.into();
        let id = name.id();
        if id == NameId::HOST && self.is_request() {
            self.set_authority(value);
            return;
        }
        // As a line, so that writers of HTTP/1.1 copy what was added in one piece.
        match name {
            Name::Text(text) if id == NameId::OTHER => self.append_other(text, value),
            Name::Text(_) | Name::Known(_) => self.append_line(id, value, value.len()),
        }
    }

    /// The first look is cheap and sees too much: few values have controls.
    #[inline(always)]
    fn check_value(&mut self, value: &[u8]) {
        if !none(value, |lanes| lanes.at_most(b'\r')) {
            self.look_for_line_ends(value);
        }
    }

    #[cold]
    fn look_for_line_ends(&mut self, value: &[u8]) {
        self.unprintable |= value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    }

    /// Really removes what was removed: another field of the name comes.
    #[cold]
    fn purge(&mut self, id: NameId) {
        self.forget_order();
        self.removed = self.removed.without(id);
        self.fields.retain(|field| field.id != id);
    }

    /// Adds a field and removes all others of the name.
    #[inline(always)]
    pub fn set<'a>(&mut self, name: impl Into<Name<'a>>, value: &[u8]) {
        let name = name.into();
        match name.id() {
            // Nearly always it is not there.
            id if id != NameId::OTHER && !self.known.contains(id) => {}
            _ => drop(self.remove(name)),
        }
        self.append(name, value);
    }

    /// Adds a field with the first `len` bytes of `value`, which holds nothing that ends a line
    /// behind them either: copying all of a few bytes takes fewer instructions than some of them.
    #[inline(always)]
    pub fn append_padded<const N: usize>(&mut self, id: NameId, value: &[u8; N], len: usize) {
        self.append_line(id, value, len.min(N));
    }

    #[inline(always)]
    fn append_line(&mut self, id: NameId, value: &[u8], len: usize) {
        if self.removed.contains(id) {
            self.purge(id);
        }
        match id {
            NameId::CONTENT_LENGTH => self.content_length = None,
            NameId::CONNECTION => self.nominates_none = false,
            _ => {}
        }
        self.check_value(value);
        let (at, start) = (self.own.len(), id.line_start());
        self.own.reserve(start.len() + value.len() + 2);
        self.own.extend_from_slice(start);
        let value_at = self.own.len();
        self.own.extend_from_slice(value);
        if len < value.len() {
            self.own.truncate(value_at + len);
        }
        self.own.extend_from_slice(b"\r\n");
        self.added.insert(id);
        let (name, value) = (Span::own(at, start.len() - 2), Span::own(value_at, len));
        self.push_field(Field { id, name, value, plain: true, never_indexed: false, hash: 0 });
    }

    /// Adds the fields of a run, whose text is lines of HTTP/1.1. False: one of them is not there for
    /// the first time, and nothing was added.
    #[inline]
    #[must_use]
    pub fn append_run(&mut self, run: &Run) -> bool {
        if run.names.meets(self.known.or(self.removed)) || self.added_run.is_some() {
            return false;
        }
        let (at, first) = (self.own.len(), self.fields.len() as u16);
        self.own.extend_from_slice(&run.text);
        self.push_run(run, at);
        self.added = self.added.or(run.names);
        let (id, names, count) = (run.id(), run.names, run.fields.len() as u16);
        self.added_run = Some(RunAt { id, names, hides: false, first, count, starts: false });
        true
    }

    /// Fields do not stand where they stood.
    fn forget_order(&mut self) {
        (self.intact, self.lines_from) = (0, NOWHERE);
        (self.run, self.added_run) = (None, None);
    }

    /// Adds a field whose name is not well known.
    fn append_other(&mut self, name: &[u8], value: &[u8]) {
        self.unprintable |= !is_token(name);
        self.check_value(value);
        let at = self.own.len();
        for part in [name, b": ", value, b"\r\n"] {
            self.own.extend_from_slice(part);
        }
        let (name, value) =
            (Span::own(at, name.len()), Span::own(at + name.len() + 2, value.len()));
        self.push_field(Field {
            id: NameId::OTHER,
            name,
            value,
            plain: true,
            never_indexed: false,
            hash: 0,
        });
    }

    /// Removes every field of the name; returns how many there were.
    #[inline]
    pub fn remove<'a>(&mut self, name: impl Into<Name<'a>>) -> usize {
        let name = name.into();
        match (name.id(), name) {
            (NameId::OTHER, Name::Text(text)) => self.remove_text(text),
            (NameId::OTHER, Name::Known(_)) => 0,
            (id, _) => {
                let count = self.get_all_fields(id).count();
                self.remove_all(NameSet::of(&[id]));
                count
            }
        }
    }

    /// Removes every field of these well-known names.
    #[inline]
    pub fn remove_all(&mut self, names: NameSet) {
        let present = names.without(NameId::OTHER).and(self.known);
        self.known = self.known.minus(present);
        self.removed = self.removed.or(present);
    }

    fn remove_text(&mut self, text: &[u8]) -> usize {
        self.forget_order();
        let before = self.fields.len();
        let (received, own) = (self.received.as_deref(), &self.own);
        self.fields.retain(|field| {
            field.id != NameId::OTHER
                || !bytes(received, own, field.name).eq_ignore_ascii_case(text)
        });
        before - self.fields.len()
    }

    /// Keeps the fields for which `keep` says so, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(NameId, &[u8], &[u8]) -> bool) {
        self.forget_order();
        let (received, own, removed) = (self.received.as_deref(), &self.own, self.removed);
        self.fields.retain(|field| {
            !removed.contains(field.id)
                && keep(field.id, name_of(received, own, field), bytes(received, own, field.value))
        });
        self.removed = NameSet::EMPTY;
    }

    /// Replaces a request's path and query.
    pub fn set_path(&mut self, text: &[u8]) {
        let text = self.add_word(text);
        self.starts_anew();
        if let Start::Request { path, .. } = &mut self.start {
            *path = text;
        }
    }

    /// Replaces a request's host and port.
    pub fn set_authority(&mut self, text: &[u8]) {
        let text = self.add_word(text);
        self.starts_anew();
        if let Start::Request { authority, .. } = &mut self.start {
            *authority = text;
        }
    }

    /// Replaces a response's status; its phrase becomes the usual one.
    pub fn set_status(&mut self, to: u16) {
        self.starts_anew();
        if let Start::Response { status, reason } = &mut self.start {
            *status = to;
            *reason = Span::EMPTY;
        }
    }

    /// What it starts with is not what was received.
    fn starts_anew(&mut self) {
        self.intact = 0;
        if let Some(run) = &mut self.run {
            run.starts = false;
        }
    }

    /// Adds a part of a request line, which no white space may split.
    pub(super) fn add_word(&mut self, text: &[u8]) -> Span {
        self.unprintable |= !none(text, ends_word);
        self.add_text(text)
    }
}

/// What must not stand in a target or a host: it would end the word.
#[inline(always)]
fn ends_word(lanes: Lanes) -> Lanes {
    lanes.at_most(b' ') | lanes.equal(0x7f)
}

/// RFC 9110, 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let is_special = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || is_special(byte))
}
