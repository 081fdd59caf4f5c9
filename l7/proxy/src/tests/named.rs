//! Ids of older snapshots: named while something lives that has them, and not a moment longer.

use std::time::Duration;

use super::world::{Behaviour, TCP, World, cluster};
use super::{GET, OK};

/// Long enough for another walk.
const POLL: Duration = Duration::from_millis(1_100);

fn oldest(world: &mut World, after: Duration) -> u64 {
    world.advance(after);
    world.proxy.counters().snapshot_oldest_named.value()
}

const SOON: Duration = Duration::from_millis(10);

#[test]
fn who_has_nothing_old_says_so_at_once() {
    let mut world = World::new();
    assert_eq!(oldest(&mut world, SOON), 1);
    world.reload(|config| config.clusters = vec![cluster(0, &[3])]);
    assert_eq!(oldest(&mut world, SOON), 2);
    world.census();
}

/// Its snapshot went home with the response head; its plan and its connection still name endpoint 1.
#[test]
fn a_long_response_names_its_ids_until_it_ends() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    let client = world.client();
    world.send(client, GET);
    let upstream = world.asked();
    world.take(upstream);
    world.send(upstream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1");
    world.reload(|config| config.clusters = vec![cluster(0, &[2])]);
    assert_eq!((oldest(&mut world, POLL), world.retired), (1, 1), "home, and named");
    world.reload(|config| config.clusters = vec![cluster(0, &[3])]);
    assert_eq!((oldest(&mut world, POLL), world.retired), (1, 2));
    assert_eq!(world.proxy.named_endpoints().count(), 2, "the exchange and its connection");
    world.send(upstream, "2");
    world.fin(upstream);
    assert_eq!(oldest(&mut world, POLL), 3);
    world.census();
}

#[test]
fn a_pool_that_is_kept_is_stamped_anew() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    let client = world.client();
    world.send(client, GET);
    world.answer(OK);
    world.reload(|config| config.clusters = vec![cluster(0, &[1, 2])]);
    assert_eq!(oldest(&mut world, SOON), 2, "an idle connection to an endpoint that stays");
    assert!(!world.upstreams().is_empty());
    // A connection that is busy when the walk comes by, too: its request alone is old.
    world.send(client, GET);
    let upstream = world.asked();
    world.reload(|config| config.clusters = vec![cluster(0, &[1, 3])]);
    assert_eq!(oldest(&mut world, SOON), 2);
    world.take(upstream);
    world.send(upstream, OK);
    assert_eq!(oldest(&mut world, POLL), 3);
    world.census();
}

/// Relays run for days.
#[test]
fn a_relay_holds_no_ids_while_the_newest_snapshot_has_its_own() {
    let mut world = World::with(|config| config.clusters = vec![cluster(0, &[1])]);
    let client = world.client_of(TCP);
    world.upstream();
    world.reload(|config| config.clusters = vec![cluster(0, &[1, 2])]);
    assert_eq!(oldest(&mut world, SOON), 2, "its endpoint stayed");
    world.reload(|config| config.clusters = vec![cluster(0, &[2])]);
    assert_eq!(oldest(&mut world, POLL), 2, "its endpoint is gone");
    world.reload(|config| config.clusters = vec![cluster(0, &[2, 3])]);
    assert_eq!(oldest(&mut world, POLL), 2);
    let upstream = world.upstream();
    world.fin(client);
    world.fin(upstream);
    assert_eq!(oldest(&mut world, POLL), 4);
    world.census();
}

/// A connection that is asked for after the reload, by a request from before it, is as old as that.
#[test]
fn a_late_connection_is_as_old_as_its_request() {
    let mut world = World::with(|config| {
        config.clusters = vec![cluster(0, &[1])];
        config.clusters[0].max_connections = 1;
    });
    let (first, second) = (world.client(), world.client());
    world.send(first, GET);
    world.send(second, GET);
    let upstream = world.asked();
    world.reload(|config| config.clusters = vec![cluster(0, &[2])]);
    assert_eq!(oldest(&mut world, SOON), 1);
    // The second request now goes where its own snapshot says.
    world.take(upstream);
    world.behave(1, Behaviour::Accept);
    world.send(upstream, OK);
    let late = world.asked();
    assert_eq!(world.streams[late].remote, Some(super::world::endpoint(1)));
    world.fin(upstream);
    assert_eq!(oldest(&mut world, POLL), 1);
    world.take(late);
    world.send(late, OK);
    world.fin(late);
    assert_eq!(oldest(&mut world, POLL), 2);
    world.census();
}
