//! `/stats`: a line per value, named as in Envoy.
//!
//! `http.web.downstream_rq_2xx: 5`, `cluster.app.upstream_cx_active: 1`; what only Sluice has is
//! named as in Prometheus, with the values of its labels behind: `sluice_drops_total.no-route: 0`.

use std::fmt::Write;

use bytes::Bytes;
use hyper::StatusCode;
use regex::{Regex, RegexBuilder};

use super::answer::Answer;
use super::metrics;
use super::query::Query;
use super::scrape::{Family, Scrape, Table};
use crate::state::State;

/// Bytes of a compiled filter: a page of text, not a way to exhaust us.
const FILTER_MAX: usize = 1 << 20;
/// Rows printed at once.
const ROWS_PER_PIECE: usize = 64;

/// Which values are wanted.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    name: Option<Regex>,
    used_only: bool,
}

/// `?filter=` is not a regular expression.
#[derive(Debug)]
pub(crate) struct FilterError(regex::Error);

impl FilterError {
    /// 400, with the reason.
    pub(crate) fn into_answer(self) -> Answer {
        Answer::status(StatusCode::BAD_REQUEST, format!("?filter=: {}\n", self.0))
    }
}

impl Filter {
    /// What the query asks for.
    pub(crate) fn of(query: &Query) -> Result<Self, FilterError> {
        let name = match query.value("filter") {
            Some(text) => {
                let name = RegexBuilder::new(text).size_limit(FILTER_MAX).build();
                Some(name.map_err(FilterError)?)
            }
            None => None,
        };
        Ok(Self { name, used_only: query.has("usedonly") })
    }

    /// Whether values called `name` are wanted.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|regex| regex.is_match(name))
    }

    /// Whether zeros are left out.
    pub(crate) const fn used_only(&self) -> bool {
        self.used_only
    }
}

/// `GET /stats`
pub(super) fn stats(state: &mut State, query: &Query) -> Answer {
    if query.value("format") == Some("prometheus") {
        return metrics::metrics(state, query);
    }
    let filter = match Filter::of(query) {
        Ok(filter) => filter,
        Err(error) => return error.into_answer(),
    };
    let lines = lines(Scrape::take(state), filter);
    if query.wants_json() {
        let mut separator = "";
        let lines = lines.map(move |piece| {
            let mut text = String::new();
            for (name, value) in piece {
                let name = serde_json::Value::from(name);
                let _ = write!(text, "{separator}\n{{\"name\":{name},\"value\":{value}}}");
                separator = ",";
            }
            Bytes::from(text)
        });
        let first = std::iter::once(Bytes::from_static(b"{\"stats\":["));
        let last = std::iter::once(Bytes::from_static(b"\n]}\n"));
        return Answer::pieces("application/json", first.chain(lines).chain(last));
    }
    let lines = lines.map(|piece| {
        let mut text = String::new();
        for (name, value) in piece {
            let _ = writeln!(text, "{name}: {value}");
        }
        Bytes::from(text)
    });
    Answer::pieces("text/plain; charset=UTF-8", lines)
}

/// A few lines.
pub(super) type Piece = Vec<(String, u64)>;

/// Every wanted value under its name, a few at once.
pub(super) fn lines(scrape: Scrape, filter: Filter) -> impl Iterator<Item = Piece> {
    let Scrape { families, tables } = scrape;
    let singles = families.into_iter().map(|family| family_lines(&family));
    let rows = tables.into_iter().flat_map(|table| {
        let count = table.rows.len();
        (0..count).step_by(ROWS_PER_PIECE).map(move |first| row_lines(&table, first))
    });
    singles.chain(rows).map(move |mut piece| {
        piece.retain(|(name, value)| !(filter.used_only && *value == 0) && filter.takes(name));
        piece
    })
}

fn family_lines(family: &Family) -> Piece {
    let base = match family.name.strip_prefix("envoy_") {
        // `server.live`
        Some(name) => envoy_name(name),
        None => family.name.to_string(),
    };
    let samples = family.samples.iter().map(|sample| {
        let mut name = base.clone();
        for (_, value) in &sample.labels {
            name.push('.');
            name.push_str(value);
        }
        (name, sample.value)
    });
    samples.collect()
}

/// Envoy's tree: the subsystem, a dot, the value.
fn envoy_name(name: &str) -> String {
    for subsystem in ["server", "listener_manager", "cluster_manager"] {
        if let Some(value) = name.strip_prefix(subsystem).and_then(|name| name.strip_prefix('_')) {
            return format!("{subsystem}.{value}");
        }
    }
    name.to_owned()
}

fn row_lines(table: &Table, first: usize) -> Piece {
    let end = table.rows.len().min(first + ROWS_PER_PIECE);
    let mut piece = Vec::with_capacity((end - first) * table.columns.len());
    for row in &table.rows[first..end] {
        for (index, column) in table.columns.iter().enumerate() {
            let value = row.values.get(index).copied().unwrap_or_default();
            piece.push((format!("{}.{}.{}", table.stat, row.name, column.name), value));
        }
    }
    piece
}
