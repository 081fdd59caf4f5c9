//! Packets per rule and worker.
//!
//! A counter has one writer, so every worker has its own, and those of one worker lie together: no
//! line is written by two. They come in pages that tables share, so that a rule which stays in the
//! configuration keeps its counter while tables come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_base::{Counter, WorkerId};
use sluice_config_model::Rule;

/// Rules whose counters lie together.
pub const RULES_PER_PAGE: usize = 64;

/// Where a rule's counters are: page of its table, and position in the page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    page: u32,
    at: u32,
}

#[derive(Debug)]
pub(crate) struct Counters {
    pages: Vec<Arc<Page>>,
    places: Vec<Place>,
}

/// The counters of up to 64 rules, by worker.
#[derive(Debug)]
struct Page(Box<[Lines]>);

/// Whole cache lines of one worker.
#[derive(Debug)]
#[repr(align(64))]
struct Lines([Counter; RULES_PER_PAGE]);

impl Counters {
    /// Counters for `rules`; those that were there `before` keep theirs.
    pub(crate) fn new(
        rules: &[Rule],
        workers: u16,
        before: Option<(&[Rule], &Self)>,
    ) -> (Self, Vec<Place>) {
        let mut old: BTreeMap<&Rule, Vec<(&Arc<Page>, u32)>> = BTreeMap::new();
        if let Some((rules, counters)) = before {
            // From behind, so that the first of equal rules is the first to be taken.
            for (rule, place) in rules.iter().zip(&counters.places).rev() {
                let page = &counters.pages[place.page as usize];
                old.entry(rule).or_default().push((page, place.at));
            }
        }
        let mut made = Self { pages: Vec::new(), places: Vec::with_capacity(rules.len()) };
        let mut numbers: BTreeMap<*const Page, u32> = BTreeMap::new();
        let (mut fresh, mut used) = (0, RULES_PER_PAGE as u32);
        for rule in rules {
            let place = if let Some((page, at)) = old.get_mut(rule).and_then(Vec::pop) {
                let number = numbers.entry(Arc::as_ptr(page)).or_insert_with(|| {
                    made.pages.push(page.clone());
                    made.pages.len() as u32 - 1
                });
                Place { page: *number, at }
            } else {
                if used == RULES_PER_PAGE as u32 {
                    (fresh, used) = (made.pages.len() as u32, 0);
                    made.pages.push(Arc::new(Page::new(workers)));
                }
                used += 1;
                Place { page: fresh, at: used - 1 }
            };
            made.places.push(place);
        }
        let places = made.places.clone();
        (made, places)
    }

    /// Counts one packet; only `worker` may call it for itself. A worker that the table was not made
    /// for counts nothing.
    #[inline]
    pub(crate) fn increment(&self, place: Place, worker: WorkerId) {
        let page = &self.pages[place.page as usize];
        debug_assert!(worker.index() < page.0.len(), "the table was compiled for fewer workers");
        if let Some(lines) = page.0.get(worker.index()) {
            lines.0[place.at as usize % RULES_PER_PAGE].increment();
        }
    }

    pub(crate) fn sum(&self, place: Place) -> u64 {
        let page = &self.pages[place.page as usize];
        let counters = page.0.iter().map(|lines| &lines.0[place.at as usize % RULES_PER_PAGE]);
        counters.fold(0, |sum, counter| sum.wrapping_add(counter.value()))
    }
}

impl Page {
    fn new(workers: u16) -> Self {
        let lines = || Lines(std::array::from_fn(|_| Counter::new()));
        Self((0..workers.max(1)).map(|_| lines()).collect())
    }
}
