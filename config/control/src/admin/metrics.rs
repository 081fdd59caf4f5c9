//! `/stats/prometheus`: names, types, labels as Envoy's Prometheus page has them.
//!
//! A class of status codes is a label there: `downstream_rq_2xx` of listener `web` is
//! `envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="web"}`.

use bytes::Bytes;
use prometheus::TextEncoder;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use sluice_l7_proxy::MetricKind;

use super::answer::Answer;
use super::query::Query;
use super::scrape::{Family, Scrape, Table};
use super::stats::{Filter, FilterError};
use crate::state::State;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const CLASS_LABEL: &str = "envoy_response_code_class";

/// `GET /stats/prometheus`
pub(super) fn metrics(state: &mut State, query: &Query) -> Answer {
    match Filter::of(query) {
        Ok(filter) => {
            let families = families(Scrape::take(state), filter);
            Answer::pieces(CONTENT_TYPE, families.filter_map(|family| exposition(&family)))
        }
        Err(error) => FilterError::into_answer(error),
    }
}

/// The text of a family; none for one without samples.
fn exposition(family: &MetricFamily) -> Option<Bytes> {
    let mut text = String::new();
    if family.get_metric().is_empty() {
        return None;
    }
    // Writing into a string cannot fail, and no family is empty or nameless.
    TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut text).ok()?;
    Some(text.into())
}

/// Every family, made when it is asked for.
pub(super) fn families(scrape: Scrape, filter: Filter) -> impl Iterator<Item = MetricFamily> {
    let Scrape { families, tables } = scrape;
    let singles = families.into_iter().map(|family| family_of(&family));
    let columns = tables.into_iter().flat_map(|table| {
        let count = table.columns.len();
        (0..count).filter_map(move |column| column_of(&table, column))
    });
    singles.chain(columns).filter_map(move |mut family| {
        if !filter.takes(family.name()) {
            return None;
        }
        if filter.used_only() {
            family.mut_metric().retain(|metric| {
                metric.get_counter().get_value() + metric.get_gauge().get_value() != 0.0
            });
        }
        Some(family)
    })
}

fn family_of(family: &Family) -> MetricFamily {
    let samples = family.samples.iter().map(|sample| {
        let labels = sample.labels.iter().map(|(name, value)| label(name, value)).collect();
        metric(family.kind, labels, sample.value)
    });
    let samples = samples.collect();
    make(family.name.to_string(), &family.help, family.kind, samples)
}

/// The family of a column; the five classes of status codes are one.
fn column_of(table: &Table, index: usize) -> Option<MetricFamily> {
    let column = &table.columns[index];
    let (name, classes) = match class_of(column.name) {
        None => (column.name.to_owned(), None),
        Some((base, b'1')) => {
            let classes = table.columns.iter().enumerate().filter_map(move |(index, column)| {
                let (other, class) = class_of(column.name)?;
                (other == base).then_some((index, class))
            });
            (format!("{base}xx"), Some(classes.collect::<Vec<_>>()))
        }
        // Said with the first.
        Some(_) => return None,
    };
    let mut samples = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let value = |index: usize| row.values.get(index).copied().unwrap_or_default();
        match &classes {
            None => {
                let labels = vec![label(table.label, &row.name)];
                samples.push(metric(column.kind, labels, value(index)));
            }
            Some(classes) => samples.extend(classes.iter().map(|(index, class)| {
                let class = char::from(*class).to_string();
                let labels = vec![label(CLASS_LABEL, &class), label(table.label, &row.name)];
                metric(column.kind, labels, value(*index))
            })),
        }
    }
    let help = if classes.is_some() { "Responses by class of status." } else { column.help };
    Some(make(format!("{}_{name}", table.prefix), help, column.kind, samples))
}

/// `downstream_rq_2xx` is `downstream_rq_` and the digit.
fn class_of(name: &str) -> Option<(&str, u8)> {
    let base = name.strip_suffix("xx")?;
    let class = *base.as_bytes().last()?;
    class.is_ascii_digit().then(|| (&base[..base.len() - 1], class))
}

fn make(name: String, help: &str, kind: MetricKind, samples: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name);
    family.set_help(help.to_owned());
    family.set_field_type(match kind {
        MetricKind::Counter => MetricType::COUNTER,
        MetricKind::Gauge => MetricType::GAUGE,
    });
    family.set_metric(samples);
    family
}

/// Values above 2^53 lose their last digits: Prometheus counts in floating point.
fn metric(kind: MetricKind, labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut metric = Metric::from_label(labels);
    match kind {
        MetricKind::Counter => {
            let mut counter = proto::Counter::default();
            counter.set_value(value as f64);
            metric.set_counter(counter);
        }
        MetricKind::Gauge => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value as f64);
            metric.set_gauge(gauge);
        }
    }
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
