//! Heads that come again.
//!
//! What a peer says in one message it says in the next one: of a client's requests the first lines
//! differ, of an endpoint's responses once a second the date. So the fields that came before are
//! kept, once for a worker's connections ([`Runs`]), and those of the next head are compared with
//! them before they are read. Which fields are the same lines as others needs no parser.

use sluice_l7_core::{
    Field, Framing, Head, HeadLimits, NameId, NameSet, RUN_TEXT_MAX, Role, RunAt, Runs, Span,
    run_hash,
};

use crate::decode::Seen;
use crate::limits;

/// Fields that are about this connection, which nobody sends on.
const CONNECTION_FIELDS: NameSet =
    NameSet::of(&[NameId::CONNECTION, NameId::KEEP_ALIVE, NameId::PROXY_CONNECTION]);

/// Fields of which no other connection is to find out that they were said.
const SECRETS: NameSet = NameSet::of(&[
    NameId::AUTHORIZATION,
    NameId::COOKIE,
    NameId::PROXY_AUTHORIZATION,
    NameId::SET_COOKIE,
]);

/// Of so many heads that were not known ...
const PERIOD: u8 = 32;
/// ... so many are looked at: whether they come again costs a little to find out.
const LOOKED_AT: u8 = 6;

/// What a connection remembers of the fields that it received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recurring {
    /// What was met last, and before that; 0: nothing.
    known: [u64; 2],
    /// Hash of what came last and was not known.
    seen: u32,
    /// Heads that were not known.
    missed: u8,
}

impl Recurring {
    /// Takes the fields at `at` of `text` for what they were before; what they say about framing,
    /// and where they end. None: they have to be read.
    #[inline]
    pub(crate) fn take<'t>(
        &mut self,
        role: Role,
        text: &'t [u8],
        at: usize,
        (head, limits): (&mut Head, &HeadLimits),
        runs: &mut Runs,
    ) -> Option<(Seen<'t>, usize)> {
        let [last, before] = self.known;
        let known = if last == 0 { [runs.hint(direction(role)), 0] } else { self.known };
        let (place, run) = runs.beginning(known, text.get(at..)?)?;
        if usize::from(run.framing.lines) > limits::fields(limits) {
            return None;
        }
        match place {
            _ if last == 0 => self.known[0] = run.id(),
            0 => {}
            _ => self.known = [before, last],
        }
        head.push_run(run, at);
        let (id, count) = (run.id(), run.fields.len() as u16);
        let names = run.names.minus(CONNECTION_FIELDS);
        let hides = names != run.names;
        head.set_run(RunAt { id, names, hides, first: 0, count, starts: false });
        Some((Seen::of(&run.framing, text, at), at + run.text.len()))
    }

    /// Looks whether fields that were read, from `at` on and to the end of `text`, come again.
    #[inline]
    pub(crate) fn missed(
        &mut self,
        role: Role,
        (text, at): (&[u8], usize),
        seen: &Seen<'_>,
        head: &Head,
        runs: &mut Runs,
    ) {
        self.missed = self.missed.wrapping_add(1);
        if self.missed % PERIOD < LOOKED_AT {
            self.look(role, text.get(at..).unwrap_or_default(), at, seen, head, runs);
        }
    }

    #[cold]
    fn look(
        &mut self,
        role: Role,
        lines: &[u8],
        at: usize,
        seen: &Seen<'_>,
        head: &Head,
        runs: &mut Runs,
    ) {
        if lines.len() > RUN_TEXT_MAX {
            return;
        }
        let hash = run_hash(lines);
        if std::mem::replace(&mut self.seen, hash) != hash {
            return;
        }
        let Some(framing) = seen.framing(lines, head.all_fields().len()) else { return };
        let mut run = runs.draft();
        run.text.extend_from_slice(lines);
        let moved = |field: &Field| Field {
            name: field.name.moved_back(at),
            value: field.value.moved_back(at),
            ..*field
        };
        run.fields.extend(head.all_fields().iter().map(moved));
        run.names = run.fields.iter().fold(NameSet::EMPTY, |names, field| names.with(field.id));
        run.framing = framing;
        // Who sends it on has looked at that, and takes it as it stands.
        let is_said = |field: &Field| {
            let value = lines.get(field.value.start()..field.value.end()).unwrap_or_default();
            field.id != NameId::TE || value == b"trailers"
        };
        if run.fields.iter().all(is_said)
            && let Some(id) = runs.keep(&run)
        {
            self.known = [id, self.known[0]];
            if !run.names.meets(SECRETS) {
                runs.set_hint(direction(role), id);
            }
        }
        runs.put_draft(run);
    }
}

fn direction(role: Role) -> usize {
    match role {
        Role::Server => 0,
        Role::Client => 1,
    }
}

impl<'t> Seen<'t> {
    /// What known fields at `at` of `text` say.
    #[inline]
    fn of(framing: &Framing, text: &'t [u8], at: usize) -> Self {
        let value = |span: Span| text.get(at + span.start()..at + span.end());
        Self {
            host: framing.host.and_then(value),
            plain: framing.plain,
            content_length: framing.content_length,
            transfer_encoding: framing.chunked.then_some(b"chunked"),
            close: framing.close,
            keep_alive: framing.keep_alive,
            ..Self::default()
        }
    }

    /// The same, to be kept with `fields` fields that were read of `lines`; None if they mean more
    /// than that.
    fn framing(&self, lines: &[u8], fields: usize) -> Option<Framing> {
        let more = self.upgrade_token || self.upgrade || self.expect || self.options || self.padded;
        if more {
            return None;
        }
        let host = match self.host {
            Some(host) => {
                let from = host.as_ptr().addr().checked_sub(lines.as_ptr().addr())?;
                lines.get(from..from + host.len())?;
                Some(Span::received(from, host.len()))
            }
            None => None,
        };
        let apart = usize::from(host.is_some()) + usize::from(self.transfer_encoding.is_some());
        Some(Framing {
            host,
            content_length: self.content_length,
            chunked: self.transfer_encoding.is_some(),
            close: self.close,
            keep_alive: self.keep_alive,
            plain: self.plain,
            lines: u16::try_from(fields + apart).ok()?,
        })
    }
}
