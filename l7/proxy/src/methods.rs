//! What became of calls of gRPC, by method.
//!
//! A method is counted by itself from its first call on that an endpoint knew: what clients make up
//! takes no place, and where the places are used up, the rest is counted together.
//!
//! A call in flight costs a few bytes in its exchange. Its messages are counted as they pass, where
//! its method has a place, and all else when it is over.

use std::sync::OnceLock;

use sluice_base::{Counter, HashKey};
use sluice_l7_grpc::{Method, Status};

use crate::limits::{METHOD_TEXT_MAX, METHODS_MAX};

/// Slots of the table: twice as many as are used, so that no search is long.
const SLOTS: usize = 2 * METHODS_MAX;

/// As if it were a path: of what is counted with others.
const OTHER: &str = "/other/other";

/// Upper ends of the buckets of time, milliseconds: Envoy's.
pub const TIME_BUCKETS: [&str; 16] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
    "30000", "60000", "300000",
];
/// The same in microseconds.
const TIME_ENDS: [u64; TIME_BUCKETS.len()] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// What became of the calls of one method, on one worker.
#[derive(Debug)]
pub struct MethodCounters {
    /// As requests say it; both names are parts of it.
    path: Box<str>,
    /// Where the method begins.
    method_at: usize,
    /// Calls by their status.
    statuses: [Counter; Status::ALL.len()],
    /// Messages of callers.
    pub request_messages: Counter,
    /// Messages of endpoints.
    pub response_messages: Counter,
    /// Calls by the bucket that their time is in; those beyond all are in none.
    times: [Counter; TIME_BUCKETS.len()],
    /// Microseconds of all calls together.
    pub time_micros: Counter,
}

impl MethodCounters {
    fn new(path: &str) -> Self {
        Self {
            path: path.into(),
            method_at: path.rfind('/').map_or(0, |slash| slash + 1),
            statuses: std::array::from_fn(|_| Counter::new()),
            request_messages: Counter::new(),
            response_messages: Counter::new(),
            times: std::array::from_fn(|_| Counter::new()),
            time_micros: Counter::new(),
        }
    }

    /// The service, with its package; `other` for all that have no place.
    #[must_use]
    pub fn service(&self) -> &str {
        self.path.get(1..self.method_at.saturating_sub(1)).unwrap_or_default()
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.path.get(self.method_at..).unwrap_or_default()
    }

    /// Calls that ended with this status.
    #[must_use]
    pub fn calls(&self, status: Status) -> u64 {
        self.statuses[usize::from(status.code())].value()
    }

    /// Calls that took at most as long as the bucket's end, by bucket.
    pub fn times(&self) -> impl Iterator<Item = u64> {
        self.times.iter().scan(0, |sum: &mut u64, bucket| {
            *sum = sum.wrapping_add(bucket.value());
            Some(*sum)
        })
    }

    /// A call is over.
    pub fn count(&self, status: Status, took_nanos: u64) {
        self.statuses[usize::from(status.code())].increment();
        let micros = took_nanos / 1_000;
        self.time_micros.add(micros);
        if let Some(bucket) = TIME_ENDS.iter().position(|end| micros <= *end) {
            self.times[bucket].increment();
        }
    }
}

/// Place of a method in the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place(pub(crate) u16);

/// The methods of one cluster, on one worker; no memory before the first call.
///
/// One thread writes: it makes each entry, once, and whoever sees it sees it whole (`OnceLock`
/// publishes with release, and readers look with acquire).
#[derive(Debug, Default)]
pub struct Methods(OnceLock<Box<Table>>);

/// Entries where their name's hash says, or behind.
#[derive(Debug)]
struct Table {
    other: MethodCounters,
    used: Counter,
    slots: [OnceLock<Box<MethodCounters>>; SLOTS],
}

impl Methods {
    /// Every method that was called, what has no place of its own first.
    pub fn iter(&self) -> impl Iterator<Item = &MethodCounters> {
        self.0.get().into_iter().flat_map(|table| {
            let slots = table.slots.iter().filter_map(OnceLock::get);
            std::iter::once(&table.other).chain(slots.map(|entry| &**entry))
        })
    }

    /// Where a method is counted by itself, if it is.
    pub(crate) fn find(&self, path: &[u8]) -> Option<Place> {
        let table = self.0.get()?;
        let at = table.look(path);
        table.slots[at].get().map(|_| Place(at as u16))
    }

    pub(crate) fn at(&self, place: Place) -> Option<&MethodCounters> {
        Some(self.0.get()?.slots.get(usize::from(place.0))?.get()?)
    }

    /// The counters of a method, which gets a place if it is `known` to the endpoint and there is
    /// one.
    pub fn entry(&self, path: &[u8], known: bool) -> &MethodCounters {
        let table = self.0.get_or_init(|| {
            Box::new(Table {
                other: MethodCounters::new(OTHER),
                used: Counter::new(),
                slots: std::array::from_fn(|_| OnceLock::new()),
            })
        });
        let Some(path) = called(path) else { return &table.other };
        let slot = &table.slots[table.look(path.as_bytes())];
        match slot.get() {
            Some(entry) => entry,
            None if known && table.used.value() < METHODS_MAX as u64 => {
                table.used.increment();
                slot.get_or_init(|| Box::new(MethodCounters::new(path)))
            }
            None => &table.other,
        }
    }
}

impl Table {
    /// Where the method is, or would be: there is always a slot that is free.
    #[inline]
    fn look(&self, path: &[u8]) -> usize {
        // The end says most.
        let end = path.last_chunk::<8>().map_or(0, |end| u64::from_le_bytes(*end));
        let hash = HashKey::new([0, 0]).hash_pair(end, path.len() as u64) as usize;
        let mut at = hash % SLOTS;
        while self.slots[at].get().is_some_and(|entry| entry.path.as_bytes() != path) {
            at = (at + 1) % SLOTS;
        }
        at
    }
}

/// The path of a request without its query, if it names a method whose names can be labels.
fn called(path: &[u8]) -> Option<&str> {
    let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    let path = &path[..end];
    let fits = end <= METHOD_TEXT_MAX && path.iter().all(u8::is_ascii_graphic);
    let named = fits && Method::of_path(path).is_some();
    named.then(|| std::str::from_utf8(path).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_for_what_endpoints_know_and_are_not_endless() {
        let methods = Methods::default();
        assert_eq!(methods.iter().count(), 0);
        assert_eq!(methods.entry(b"/a.B/C", false).method(), "other");
        assert_eq!(methods.find(b"/a.B/C"), None);
        for number in 0..METHODS_MAX {
            let path = format!("/a.B/M{number}");
            let entry = methods.entry(path.as_bytes(), true);
            assert_eq!((entry.service(), entry.method()), ("a.B", &path[5..]));
            entry.request_messages.increment();
        }
        assert_eq!(methods.entry(b"/a.B/late", true).method(), "other");
        assert_eq!(methods.iter().count(), 1 + METHODS_MAX);
        for number in 0..METHODS_MAX {
            let path = format!("/a.B/M{number}");
            let place = methods.find(path.as_bytes()).expect("its place");
            assert_eq!(methods.at(place).expect("an entry").request_messages.value(), 1);
            let with_query = format!("{path}?x=1");
            assert_eq!(methods.entry(with_query.as_bytes(), false).method(), &path[5..]);
        }
    }

    #[test]
    fn what_cannot_be_a_label_has_no_place() {
        let long = format!("/a/{}", "b".repeat(METHOD_TEXT_MAX));
        for path in ["", "/", "/a", "/a/b/c", "/a/\u{e9}", &long] {
            assert_eq!(Methods::default().entry(path.as_bytes(), true).method(), "other", "{path}");
        }
    }

    #[test]
    fn times_are_cumulative() {
        let methods = Methods::default();
        let entry = methods.entry(b"/a/b", true);
        for millis in [0, 1, 7, 7, 1_000_000] {
            entry.count(Status::Ok, millis * 1_000_000);
        }
        assert_eq!(entry.times().collect::<Vec<_>>()[..4], [1, 2, 2, 4]);
        assert_eq!(entry.times().last(), Some(4), "the last one is beyond all");
        assert_eq!((entry.calls(Status::Ok), entry.time_micros.value()), (5, 1_000_015_000));
        for (text, end) in TIME_BUCKETS.iter().zip(TIME_ENDS) {
            assert_eq!(text.parse::<f64>().map(|millis| (millis * 1_000.0) as u64), Ok(end));
        }
    }
}
