//! The census: what is held is not freed, what is not held is, and ids follow.

use std::sync::Weak;

use super::*;
use crate::testing::{CONFIG, FakeWorker, config, workers};

struct House {
    publisher: Publisher,
    links: Vec<WorkerLinks>,
    fakes: Vec<FakeWorker>,
    config: Config,
}

impl House {
    fn new(count: u16) -> Self {
        let mut registry = IdRegistry::new();
        let config = config(CONFIG, &mut registry);
        let (links, fakes) = workers(count);
        let mut publisher = Publisher::new(registry, count);
        assert_eq!(publisher.publish(&config, &links).expect("it compiles"), 1);
        Self { publisher, links, fakes, config }
    }

    /// Reads and publishes another text as a reload does.
    fn publish(&mut self, text: &str) -> u64 {
        let mut registry = self.publisher.lend_registry();
        let next = config(text, &mut registry);
        let published = self.publisher.publish_lent(registry, &next, &self.config, &self.links);
        self.config = next;
        published.expect("it compiles")
    }

    fn collect(&mut self) -> usize {
        self.publisher.collect(&mut self.links)
    }

    fn current(&self) -> Weak<Snapshot> {
        Arc::downgrade(self.publisher.current().expect("a snapshot"))
    }
}

fn without_raw() -> String {
    let (before, rest) = CONFIG.split_once("[[listener]]\nname = \"raw\"").expect("the listener");
    let (_, after) = rest.split_once("[[cluster]]").expect("the cluster");
    format!("{before}[[cluster]]{after}")
}

#[test]
fn a_replaced_snapshot_is_freed_when_the_last_worker_sent_it_home() {
    let mut house = House::new(2);
    house.fakes.iter_mut().for_each(|fake| assert!(fake.adopt()));
    let first = house.current();
    assert_eq!(house.publish(CONFIG), 2);
    assert_eq!((house.collect(), house.publisher.outstanding()), (0, 1), "nobody has adopted");
    house.fakes[0].adopt();
    assert_eq!(house.collect(), 0, "worker 1 holds it");
    assert!(first.upgrade().is_some());
    house.fakes[1].adopt();
    assert_eq!((house.collect(), house.publisher.outstanding()), (1, 0));
    assert!(first.upgrade().is_none(), "freed, and here");
}

/// A worker that was asleep through two reloads never saw the middle one.
#[test]
fn an_unread_snapshot_comes_back() {
    let mut house = House::new(1);
    house.fakes[0].adopt();
    house.publish(CONFIG);
    let middle = house.current();
    house.publish(CONFIG);
    assert_eq!(house.publisher.outstanding(), 2);
    house.fakes[0].adopt();
    assert_eq!(house.fakes[0].held[0].version, 3);
    assert_eq!((house.collect(), house.publisher.outstanding()), (2, 0));
    assert!(middle.upgrade().is_none());
}

/// An id that was retired by a later change may be named by any older snapshot.
#[test]
fn a_pinned_old_snapshot_holds_the_newer_ones() {
    let mut house = House::new(1);
    house.fakes[0].adopt();
    for _ in 0..3 {
        house.publish(CONFIG);
        house.fakes[0].adopt_and_pin();
    }
    // The second and third go home, the first is pinned by a slow request.
    let fake = &mut house.fakes[0];
    for _ in 0..2 {
        fake.home.push(fake.held.remove(1)).expect("room");
    }
    assert_eq!((house.collect(), house.publisher.outstanding()), (0, 3));
    house.fakes[0].unpin();
    assert_eq!((house.collect(), house.publisher.outstanding()), (3, 0));
}

#[test]
fn ids_are_used_again_only_when_no_connection_holds_them() {
    let mut house = House::new(1);
    house.fakes[0].adopt();
    let raw = house.config.listener_by_name("raw").expect("the listener").id;
    let block = house.publisher.counters().find_listener(raw).expect("counters")[0].clone();
    block.downstream_cx_total.add(5);
    block.downstream_cx_active.set(1);

    house.publish(&without_raw());
    house.fakes[0].adopt();
    assert_eq!(house.collect(), 1, "the snapshot is gone");
    assert_eq!(house.publisher.quarantined(), 1, "a relay of the old listener runs");
    house.publish(CONFIG);
    let back = house.config.listener_by_name("raw").expect("the listener").id;
    assert_ne!(back, raw, "its name is back, its id is in use");

    house.fakes[0].adopt();
    block.downstream_cx_active.set(0);
    house.collect();
    assert_eq!(house.publisher.quarantined(), 0);
    assert!(house.publisher.counters().find_listener(raw).is_none(), "the next one starts at 0");

    let again = CONFIG.replace("name = \"raw\"", "name = \"other\"");
    house.publish(&again);
    assert_eq!(house.config.listener_by_name("other").expect("the listener").id, raw);
}

/// An endpoint goes from a cluster that stays: no gauge says whether a pool still has it.
#[test]
fn ids_wait_until_no_worker_names_them() {
    let with = |port: u16| CONFIG.replace("10.9.0.1:8082", &format!("10.9.0.1:{port}"));
    let second = |house: &House| house.config.clusters[0].endpoints[1].id.0;
    let mut house = House::new(2);
    let name_and_collect = |house: &mut House, oldest: u64| {
        house.fakes[1].status.proxy.snapshot_oldest_named.set(oldest);
        house.collect();
        house.publisher.quarantined()
    };
    assert_eq!(second(&house), 1);
    house.fakes.iter_mut().for_each(|fake| assert!(fake.adopt()));
    house.publish(&with(8083));
    house.fakes.iter_mut().for_each(|fake| assert!(fake.adopt()));
    // The snapshot is home, but a request of worker 1 runs on its plan.
    assert_eq!(name_and_collect(&mut house, 1), 1);
    assert_eq!(house.publisher.outstanding(), 0);
    assert_eq!(second(&house), 2);
    house.publish(&with(8084));
    assert_eq!(second(&house), 3, "1 is named, 2 has just been");
    house.fakes.iter_mut().for_each(|fake| assert!(fake.adopt()));
    assert_eq!(name_and_collect(&mut house, 1), 2, "what names the first may name the second");
    assert_eq!(name_and_collect(&mut house, 2), 1, "nobody names the first");
    house.publish(&with(8085));
    assert_eq!(second(&house), 1, "and its id is used again");
    house.fakes.iter_mut().for_each(|fake| assert!(fake.adopt()));
    assert_eq!(name_and_collect(&mut house, 4), 0);
}

/// Listeners are put in place a few per heartbeat, so a connection may still arrive on an old one
/// after its snapshot came home.
#[test]
fn ids_wait_until_the_newer_listeners_are_in_place() {
    let mut house = House::new(1);
    house.fakes[0].adopt();
    house.publish(&without_raw());
    let fake = &mut house.fakes[0];
    fake.adopt();
    fake.status.set_listening(1, 0);
    assert_eq!(house.collect(), 0);
    house.fakes[0].status.set_listening(2, 0);
    assert_eq!(house.collect(), 1);
}

/// Otherwise a file that is refused would give its names new ids and its counters a new start.
#[test]
fn a_refused_configuration_leaves_no_trace() {
    let mut house = House::new(1);
    house.fakes[0].adopt();
    let mut registry = house.publisher.lend_registry();
    let refused = config(&without_raw(), &mut registry);
    assert_eq!(refused.listeners.len(), 1);
    house.publisher.keep_registry();
    let raw = house.config.listener_by_name("raw").expect("the listener").id;
    house.publish(CONFIG);
    assert_eq!(house.config.listener_by_name("raw").expect("the listener").id, raw);
    assert_eq!(house.publisher.quarantined(), 0);
}

/// The copy would bring released ids back as taken.
#[test]
fn nothing_is_released_while_the_registry_is_lent() {
    let mut house = House::new(1);
    house.fakes[0].adopt();
    house.publish(&without_raw());
    house.fakes[0].adopt();
    let _copy = house.publisher.lend_registry();
    assert_eq!(house.collect(), 1);
    assert_eq!(house.publisher.quarantined(), 1);
    house.publisher.keep_registry();
    house.collect();
    assert_eq!(house.publisher.quarantined(), 0);
}
