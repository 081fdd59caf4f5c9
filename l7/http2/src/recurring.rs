//! Runs of fields that were met before, and those that are worth keeping.

use sluice_l7_core::{
    Field, HEAD_BYTES_MAX, Head, HeadLimits, HeadPool, Method, NameId, NameSet, Parts, RunAt, Span,
    Start, Version,
};

use crate::decode::{Facts, Section, urgency};
use crate::hpack::{Decoder, FreshRun};
use crate::state::URGENCY;

/// A run that is worth keeping, if all of it can be.
#[derive(Clone, Copy)]
pub(crate) struct Fresh {
    pub(crate) run: FreshRun,
    /// Where it starts and ends in the text and among the fields.
    pub(crate) text: (usize, usize),
    pub(crate) fields: (usize, usize),
    /// What was said when it began, and when it ended.
    pub(crate) before: Said,
    pub(crate) after: Said,
}

/// What is not among the fields.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    pub(crate) parts: Parts,
    pub(crate) cookies: u32,
    pub(crate) content_length: bool,
}

/// A block that is one known run, and nothing else: as most responses and trailers are.
#[inline]
pub(crate) fn run_alone(
    decoder: &mut Decoder,
    block: &[u8],
    section: Section,
    head: &mut Head,
    limits: &HeadLimits,
    heads: &mut HeadPool,
) -> Option<Facts> {
    let run = heads.runs().get(decoder.known_run(block, section as u8)?)?;
    let start = if section == Section::Trailers { Start::Trailers } else { run.start? };
    let (method, status, path_len) = match start {
        Start::Request { method, path, .. } => (method, 0, path.len()),
        Start::Response { status, .. } => (Method::Other, status, 0),
        Start::Trailers => (Method::Other, 0, 0),
    };
    if run.fields.len() > usize::from(limits.headers)
        || run.size > limits.header_bytes.min(HEAD_BYTES_MAX)
        || path_len > limits.request_line as usize
        || run.cookies > 1
    {
        return None;
    }
    let mut text = head.take_own();
    text.extend_from_slice(&run.text);
    head.set_own(text);
    head.push_run(run, 0);
    head.set_lines_own();
    head.set_nominates_none(true);
    head.set_start(start, Version::Http2);
    let count = run.fields.len() as u16;
    let starts = section != Section::Trailers;
    let (id, names) = (run.id(), run.names);
    head.set_run(RunAt { id, names, hides: false, first: 0, count, starts });
    let urgency = run.urgency.unwrap_or(URGENCY);
    Some(Facts { method, status, content_length: None, urgency })
}

/// Keeps a run that was met again, in a message without fault.
#[cold]
pub(crate) fn keep_run(
    decoder: &mut Decoder,
    fresh: &Fresh,
    text: &[u8],
    head: &Head,
    heads: &mut HeadPool,
) {
    let (before, after, all) = (&fresh.before, &fresh.after, text);
    let head_text = |span: Span| all.get(span.start()..span.end()).unwrap_or_default();
    let (Some(text), Some(fields)) = (
        all.get(fresh.text.0..fresh.text.1),
        head.all_fields().get(fresh.fields.0..fresh.fields.1),
    ) else {
        return;
    };
    let (at, count) = (fresh.text.0, fresh.run.len());
    let has_parts = !before.parts.are_any() && after.parts.are_any();
    let said = if has_parts { after.parts.count() } else { 0 };
    // Something was left out, or means more than a field.
    if said + fields.len() != count || before.content_length != after.content_length {
        return;
    }
    // Who sends it on takes it as it stands.
    let te = |field: &Field| field.id != NameId::TE || head_text(field.value) == b"trailers";
    if !fields.iter().all(te) {
        return;
    }
    let mut run = heads.runs().draft();
    run.text.extend_from_slice(text);
    if has_parts {
        run.parts = after.parts.moved_back(at);
        let extended =
            matches!(head.start(), Start::Request { protocol, .. } if !protocol.is_empty());
        let whole = at == 0 && run.parts.are_all() && !extended;
        run.start = whole.then(|| *head.start());
    }
    let moved = |field: &Field| Field {
        name: field.name.moved_back(at),
        value: field.value.moved_back(at),
        ..*field
    };
    run.fields.extend(fields.iter().map(moved));
    run.names = fields.iter().fold(NameSet::EMPTY, |names, field| names.with(field.id));
    run.cookies = after.cookies - before.cookies;
    let priorities = fields.iter().filter(|field| field.id == NameId::PRIORITY);
    run.urgency = priorities.rev().find_map(|field| urgency(head_text(field.value)));
    // Each has a line end and a colon where RFC 9113, 6.5.2 has 32 bytes.
    run.size = (text.len() + count * (32 - b": \r\n".len())) as u32;
    if let Some(id) = heads.runs().keep(&run) {
        decoder.learn(fresh.run, id);
    }
    heads.runs().put_draft(run);
}
