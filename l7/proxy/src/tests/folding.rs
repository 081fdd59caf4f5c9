//! Exchanges that are folded: nobody can tell, and they take little.

use std::cell::Cell;

use sluice_config_model::RetryOn;
use sluice_l7_core::{BodyLength, Method, ResetReason};

use super::far::{Ended, Place, Version};
use super::net::Net;
use super::world::{routes, web};
use super::{connects, cuts, grpc, http2, multiplexed, refusals, tunnels, versions};
use crate::exchange::{Exchanges, is_folded};
use crate::{GrpcStatus, Text};

use Version::{One, Two};

/// Milliseconds after which they rest.
const REST: u64 = 1_100;

thread_local! {
    static HURRIED: Cell<bool> = const { Cell::new(false) };
}

/// Whether everything that may be folded is, between any two events.
pub(crate) fn is_hurried() -> bool {
    HURRIED.get()
}

/// What these tests say holds as well where every exchange rests before whatever happens next.
fn hurry(tests: &[fn()]) {
    HURRIED.set(true);
    for test in tests {
        test();
    }
    HURRIED.set(false);
}

#[test]
fn hurried_connects() {
    hurry(&[
        connects::a_tunnel_that_ends_here,
        connects::a_tunnel_s_early_bytes,
        connects::a_tunnel_that_is_cut,
        connects::a_tunnel_whose_endpoints_are_not_there,
        connects::a_connect_is_sent_on,
        connects::a_connect_that_is_declined_is_answered,
        connects::without_a_route_of_its_own_no_connect_passes,
        connects::a_connect_names_a_port_and_has_no_body,
    ]);
}

#[test]
fn hurried_cuts() {
    hurry(&[
        cuts::a_response_that_is_cut_never_looks_whole,
        cuts::a_response_until_close_is_whole_by_fin_alone,
        cuts::a_request_that_is_cut_never_looks_whole,
        cuts::a_request_that_is_cancelled_is_cancelled_at_its_endpoint,
        cuts::an_answer_that_comes_before_the_end_of_its_request,
        cuts::an_endpoint_that_wants_no_more_of_a_request,
        cuts::a_length_that_lies_about_a_response,
        cuts::a_length_that_lies_about_a_request,
        cuts::an_endpoint_that_breaks_the_rules_of_a_stream,
        cuts::an_endpoint_that_answers_first,
    ]);
}

#[test]
fn hurried_grpc() {
    hurry(&[
        grpc::a_long_lived_stream_outlives_idle_timeouts,
        grpc::calls_are_tried_again_between_all_versions,
        grpc::deadlines_between_all_versions,
    ]);
}

#[test]
fn hurried_http2() {
    hurry(&[
        http2::a_client_s_connection_carries_so_many_requests,
        http2::an_endpoint_s_connection_carries_so_many_requests,
        http2::connections_last_so_long,
        http2::a_reload_replaces_connections_to_endpoints,
    ]);
}

#[test]
fn hurried_multiplexed() {
    hurry(&[
        multiplexed::streams_take_turns,
        multiplexed::a_slow_reader_stalls_nobody_else,
        multiplexed::many_slow_readers_stall_nobody_else,
        multiplexed::a_slow_endpoint_stalls_no_other_upload,
        multiplexed::draining_with_streams_in_progress,
        multiplexed::a_connection_ends_with_many_streams,
        multiplexed::what_was_on_its_way_when_a_stream_was_reset,
        multiplexed::what_is_left_of_a_body_follows_by_itself,
    ]);
}

#[test]
fn hurried_refusals() {
    hurry(&[
        refusals::a_refused_stream_is_sent_again_once,
        refusals::a_refused_stream_that_cannot_be_sent_again,
        refusals::a_stream_that_was_reset_is_not_sent_again,
        refusals::goaway_in_the_middle_of_streams,
        refusals::goaway_at_once,
        refusals::an_endpoint_that_drains,
        refusals::settings_that_forbid_streams,
        refusals::an_endpoint_that_does_not_speak_it,
    ]);
}

#[test]
fn hurried_tunnels() {
    hurry(&[
        tunnels::a_websocket_through_a_stream,
        tunnels::a_websocket_that_does_not_come_about,
        tunnels::a_websocket_that_is_cut,
        tunnels::a_websocket_to_an_endpoint_of_http2,
        tunnels::one_direction_of_a_websocket_ends_before_the_other,
        tunnels::an_endpoint_s_fin_ends_one_direction,
        tunnels::a_half_open_websocket_has_no_deadline_but_the_idle_one,
        tunnels::an_endpoint_that_agrees_and_says_no_more,
        tunnels::an_endpoint_of_http2_that_refuses,
        tunnels::an_endpoint_is_asked_when_it_has_said_what_it_takes,
        tunnels::an_endpoint_that_takes_no_websockets,
        tunnels::waiting_for_an_endpoint_s_word_ends,
        tunnels::a_websocket_to_an_endpoint_of_http2_that_is_cut,
        tunnels::what_is_no_websocket,
        tunnels::a_stalled_reader_of_a_websocket_pushes_back,
    ]);
}

#[test]
fn hurried_versions() {
    hurry(&[
        versions::a_get_is_answered,
        versions::bodies_of_either_framing_go_both_ways,
        versions::trailers_go_both_ways,
        versions::responses_without_a_body,
        versions::informational_responses_pass,
        versions::a_hundred_continue_comes_from_the_endpoint,
        versions::an_expectation_that_is_refused,
        versions::cookie_crumbs_are_joined,
        versions::a_body_that_came_before_its_connection,
    ]);
}

/// How many are folded, and how many slots those at hand have taken so far.
fn folded(net: &Net) -> (usize, u32) {
    let exchanges = &net.world.proxy.exchanges;
    let slots = 0..exchanges.folded_slots();
    (slots.filter_map(|slot| exchanges.folded_at(slot)).count(), exchanges.slots())
}

/// A request without its end has been sent on, with the first part of its body, and rests.
fn upload() -> (Net, Place, Place) {
    let mut net = Net::single(Two);
    let client = net.client(Two);
    let fields = [("x-own", "mine"), ("user-agent", "curl/8")];
    let place = net.ask(client, Method::Put, "/a?b=c", &fields, BodyLength::Chunked);
    let at = net.only();
    net.advance(REST);
    assert_eq!(folded(&net), (1, 1));
    (net, place, at)
}

/// A request that is whole, and rests.
fn watch(change: impl FnOnce(&mut sluice_config_model::Config)) -> (Net, Place, Place) {
    let mut net = Net::with(Two, change);
    let client = net.client(Two);
    let place = net.get(client, "/a?b=c");
    let at = net.only();
    net.advance(REST);
    assert_eq!(folded(&net), (1, 1));
    (net, place, at)
}

#[test]
fn each_part_of_both_messages_comes_after_a_rest() {
    let (mut net, place, at) = upload();
    for part in ["one ", "two ", "three"] {
        net.body(place, part.as_bytes());
        assert_eq!(folded(&net).0, 0, "it is at hand when something happens");
        net.advance(REST);
        assert_eq!(folded(&net).0, 1);
    }
    net.answer(at, 103, &[], BodyLength::None);
    net.advance(REST);
    net.end(place, &[("x-sum", "1")]);
    net.advance(REST);
    assert_eq!((net.seen(at).ended, &*net.seen(at).body), (Ended::Whole, &b"one two three"[..]));
    assert_eq!(net.seen(at).trailers, [("x-sum".to_owned(), "1".to_owned())]);
    net.answer(at, 200, &[("x-who", "me")], BodyLength::Chunked);
    for part in ["four ", "five"] {
        net.advance(REST);
        assert_eq!(folded(&net).0, 1);
        net.body(at, part.as_bytes());
    }
    net.advance(REST);
    net.end(at, &[("x-sum", "2")]);
    let seen = net.seen(place);
    assert_eq!(
        (seen.ended, &*seen.body, seen.field("x-who")),
        (Ended::Whole, &b"four five"[..], Some("me"))
    );
    assert_eq!((&*seen.informational, seen.trailers.len()), (&[103][..], 1));
    assert_eq!(folded(&net), (0, 1));
    let record = net.world.logs.pop().expect("a record");
    for (text, said) in [
        (Text::Method, "PUT"),
        (Text::Path, "/a?b=c"),
        (Text::Authority, "example.com"),
        (Text::UserAgent, "curl/8"),
    ] {
        assert_eq!(record.text(text), said.as_bytes(), "{text:?}");
    }
    assert_eq!((record.status, record.bytes_received, record.bytes_sent), (200, 13, 9));
    assert_eq!(record.upstream, net.world.streams[at.0].remote);
    // All of these rests, but the one behind the head.
    assert!(record.duration >= 7 * REST * 1_000_000, "{}", record.duration);
    let waited = record.upstream_service_time.expect("a time");
    assert!((4 * REST..7 * REST).contains(&(waited / 1_000_000)), "{waited}");
    net.census();
}

#[test]
fn both_sides_may_give_it_up() {
    for answered in [false, true] {
        let (mut net, place, at) = upload();
        if answered {
            net.answer(at, 200, &[], BodyLength::Chunked);
            net.advance(REST);
        }
        net.reset(place, ResetReason::Cancelled);
        assert_eq!(net.seen(at).ended, Ended::Reset(ResetReason::Cancelled));
        assert_eq!(folded(&net).0, 0);
        net.census();

        let (mut net, place, at) = upload();
        if answered {
            net.answer(at, 200, &[], BodyLength::Chunked);
            net.advance(REST);
        }
        net.reset(at, ResetReason::Internal);
        let expected = if answered { "200 Reset(Internal)" } else { "503 Whole" };
        assert_eq!(net.outcome(place), expected);
        assert_eq!(folded(&net).0, 0);
        net.census();
    }
}

#[test]
fn connections_end_with_all_that_rests_on_them() {
    for client_s in [true, false] {
        let mut net = Net::single(Two);
        let client = net.client(Two);
        let places: Vec<_> = (0..20).map(|_| net.get(client, "/watch")).collect();
        let asked = net.asked();
        for at in &asked[..10] {
            net.answer(*at, 200, &[], BodyLength::Chunked);
        }
        net.advance(REST);
        assert_eq!(folded(&net).0, 20);
        if client_s {
            net.abort(client);
            let resets = &net.world.cluster_counters().upstream_rq_tx_reset;
            assert_eq!(resets.value(), 20, "their endpoint has been told");
        } else {
            net.abort(asked[0].0);
            let cut = |place: &&Place| net.outcome(**place) == "200 Reset(Internal)";
            assert_eq!(places.iter().filter(cut).count(), 10);
            let again = net.asked();
            assert_eq!(again.len(), 10, "the others are sent once more");
            for at in again {
                net.answer_all(at, 200, b"late");
            }
            let whole = |place: &&Place| net.outcome(**place) == "200 Whole";
            assert_eq!(places.iter().filter(whole).count(), 10);
        }
        assert_eq!(folded(&net).0, 0);
        net.census();
    }
}

/// What was sent is sent again as it was.
#[test]
fn it_is_sent_again() {
    let (mut net, place, at) = watch(|_| {});
    let before = net.seen(at).fields.clone();
    net.reset(at, ResetReason::Refused);
    let again = net.only();
    assert_ne!(
        net.world.streams[again.0].remote, net.world.streams[at.0].remote,
        "it knows whom it asked"
    );
    assert_eq!(net.seen(again).fields, before);
    net.advance(REST);
    assert_eq!(folded(&net).0, 1, "and rests again");
    net.answer_all(again, 200, b"hi");
    assert_eq!(net.outcome(place), "200 Whole");
    assert_eq!(net.world.last_log(), "200 -");

    // With GOAWAY and a status as well.
    let other = net.get(place.0, "/b");
    let at = net.only();
    net.advance(REST);
    net.drain(at.0);
    assert_eq!(folded(&net).0, 1, "it may still be answered");
    net.answer_all(at, 200, b"hi");
    assert_eq!(net.outcome(other), "200 Whole");
    net.census();
}

#[test]
fn a_call_knows_its_time_and_its_tries() {
    let fields = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "9S")];
    let mut net = Net::with(Two, |config| {
        let route = &mut routes(config)[0];
        (route.retry_on, route.retries) = (vec![RetryOn::Unavailable], 1);
    });
    let client = net.client(Two);
    let place = net.ask(client, Method::Post, "/shop.Cart/Watch", &fields, BodyLength::None);
    let first = net.only();
    net.advance(2_000);
    assert_eq!(folded(&net).0, 1);
    net.answer(first, 200, &[("grpc-status", "14")], BodyLength::None);
    let second = net.only();
    assert_ne!(first, second);
    assert_eq!(net.seen(second).field("grpc-previous-rpc-attempts"), Some("1"));
    let left = net.seen(second).field("grpc-timeout").expect("it is told");
    let left: u64 = left.trim_end_matches('u').parse().expect("microseconds");
    assert!((6_900_000..=7_000_000).contains(&left), "{left}");
    // A message and a half, then a rest, then the other half.
    net.answer(second, 200, &fields[..1], BodyLength::Chunked);
    net.body(second, b"\0\0\0\0\x02hi\0\0\0");
    net.advance(REST);
    assert_eq!(folded(&net).0, 1);
    net.body(second, b"\0\x02yo");
    net.advance(10_000);
    assert_eq!(net.outcome(place), "200 Whole");
    assert_eq!(net.seen(place).trailers[0], ("grpc-status".to_owned(), "4".to_owned()));
    assert_eq!(net.world.cluster_counters().upstream_rq_tx_reset.value(), 1);
    assert_eq!(net.world.listener_counters().downstream_rq_max_duration_reached.value(), 1);
    let methods = &net.world.cluster_counters().methods;
    let method = methods.iter().find(|it| it.method() == "Watch").expect("it was called");
    assert_eq!(method.response_messages.value(), 2);
    assert_eq!(method.calls(GrpcStatus::DeadlineExceeded), 1);
    net.census();
}

#[test]
fn its_times_are_what_they_would_have_been() {
    // The idle time runs from the last byte.
    let (mut net, place, at) = watch(|config| {
        routes(config)[0].timeout = None;
        web(config).stream_idle_timeout = Some(std::time::Duration::from_secs(10));
    });
    net.answer(at, 200, &[], BodyLength::Chunked);
    for _ in 0..4 {
        net.advance(9_000);
        assert_eq!(folded(&net).0, 1);
        net.body(at, b"x");
    }
    net.advance(9_900);
    assert_eq!(net.seen(place).ended, Ended::No);
    net.advance(200);
    assert_eq!(net.outcome(place), "200 Reset(Internal)");
    assert_eq!(net.world.last_log(), "200 SI");
    assert_eq!(folded(&net).0, 0);
    net.census();

    // The route's from the request's end.
    let (mut net, place, _) = watch(|config| {
        routes(config)[0].timeout = Some(std::time::Duration::from_secs(5));
    });
    net.advance(3_800);
    assert_eq!(net.seen(place).ended, Ended::No);
    net.advance(200);
    assert_eq!(net.outcome(place), "504 Whole");
    net.census();
}

/// What a waiting call has said is needed again, and must not keep the buffers that it came in.
#[test]
fn what_was_sent_of_a_body_is_sent_again() {
    for (len, at_rest) in [(1, true), (1_024, true), (1_025, false)] {
        let (mut net, place, at) = upload();
        let body = versions::pattern(len);
        net.body(place, &body);
        net.end(place, &[]);
        assert_eq!(net.world.rx.in_use(), 1);
        net.advance(REST);
        assert_eq!((net.world.rx.in_use() == 0, folded(&net).0 == 1), (at_rest, at_rest));
        net.reset(at, ResetReason::Refused);
        let again = net.only();
        assert_eq!((net.seen(again).ended, &net.seen(again).body), (Ended::Whole, &body));
        net.answer_all(again, 200, b"hi");
        assert_eq!(net.outcome(place), "200 Whole");
        net.census();
    }
    // Without memory it is not sent with less than all.
    let (mut net, place, at) = upload();
    net.body(place, b"all");
    net.end(place, &[]);
    net.advance(REST);
    let all = net.world.exhaust_transmit();
    net.reset(at, ResetReason::Refused);
    drop(all);
    assert!(net.asked().is_empty());
    assert_eq!(net.world.proxy.active(), 0, "it has been answered, or would have been");
    net.census();
}

/// Bytes that wait for a window are paid for when they go.
#[test]
fn a_reader_that_stalls_for_long_gets_all_of_it() {
    let (mut net, place, at) = watch(|_| {});
    net.far(place.0).stalled.insert(place.1);
    net.answer(at, 200, &[], BodyLength::Chunked);
    let body = versions::pattern(60_000);
    for part in body.chunks(5_000) {
        net.body(at, part);
    }
    net.advance(REST);
    assert_eq!(folded(&net).0, 1);
    net.read_on(place);
    for part in body.chunks(5_000) {
        net.body(at, part);
    }
    net.advance(REST);
    net.end(at, &[]);
    assert_eq!(net.seen(place).body, [&body[..], &body[..]].concat());
    assert_eq!(net.outcome(place), "200 Whole");
    net.census();
}

/// Many that came one after the other take as many slots as were not resting at a time, and bounds
/// hold for all together.
#[test]
fn slots_are_for_those_that_do_not_rest() {
    let mut net = Net::with(Two, |config| {
        config.clusters[0].endpoints.truncate(1);
        routes(config)[0].timeout = None;
    });
    let clients = [net.client(Two), net.client(Two)];
    let mut places = Vec::new();
    for round in 0..20 {
        places.extend((0..5).map(|_| net.get(clients[round % 2], "/watch")));
        net.advance(REST);
    }
    assert_eq!(folded(&net), (100, 5));
    assert_eq!((net.world.proxy.active(), net.world.proxy.exchanges.alike()), (100, 100));
    for at in net.asked() {
        net.answer_all(at, 200, b"hi");
    }
    assert!(places.iter().all(|place| net.outcome(*place) == "200 Whole"));
    assert_eq!((folded(&net), net.world.proxy.active()), ((0, 5), 0));
    assert_eq!(net.world.proxy.exchanges.alike(), 0, "patterns are free for others");
    net.census();
}

/// Its snapshot stays readable while its answer may need it, and its ids named as long as it lives.
#[test]
fn snapshots_stay_for_those_that_rest() {
    let (mut net, place, at) = watch(|_| {});
    let oldest = |net: &mut Net| {
        net.advance(REST);
        net.world.proxy.counters().snapshot_oldest_named.value()
    };
    assert_eq!((oldest(&mut net), net.world.proxy.pinned()), (1, 1));
    net.world.reload(|_| {});
    assert_eq!((oldest(&mut net), net.world.retired), (1, 0));
    net.answer(at, 200, &[], BodyLength::Chunked);
    assert_eq!((net.world.proxy.pinned(), net.world.retired), (0, 1));
    assert_eq!((oldest(&mut net), folded(&net).0), (1, 1), "its plan names them");
    net.end(at, &[]);
    assert_eq!(net.outcome(place), "200 Whole");
    assert_eq!(oldest(&mut net), 2);
    net.census();
}

/// The walk over all exchanges takes several calls: one that is unfolded behind it is not overlooked.
#[test]
fn the_walk_meets_who_changes_places() {
    let mut net = Net::with(Two, |config| {
        routes(config)[0].timeout = None;
        (config.clusters[0].max_connections, config.clusters[0].max_pending) = (1_000, 1_000);
    });
    net.world.proxy.exchanges = Exchanges::new(400);
    net.world.proxy.exchanges.adopt(1);
    let client = net.client(Two);
    let place = net.get(client, "/a");
    let at = net.only();
    net.advance(REST);
    assert_eq!(folded(&net), (1, 1));
    net.world.reload(|_| {});
    net.advance(10);
    let counters = net.world.proxy.counters().clone();
    assert_eq!(counters.snapshot_oldest_named.value(), 1);
    net.advance(500);
    // As many of the newest snapshot as two calls look at, and a place free among the first.
    let clients: Vec<_> = (0..4).map(|_| net.client(Two)).collect();
    let places: Vec<_> =
        (0..320).map(|number| net.get(clients[number % 4], &format!("/{number}"))).collect();
    net.reset(places[0], ResetReason::Cancelled);
    let exchanges = &net.world.proxy.exchanges;
    assert_eq!((exchanges.slots(), exchanges.len()), (320, 320));
    let later = net.world.now.plus_nanos(510_000_000);
    net.world.now = later;
    net.world.proxy.handle_timers(later);
    net.world.pump();
    net.answer(at, 200, &[], BodyLength::Chunked);
    net.body(at, b"x");
    assert_eq!(folded(&net).0, 0);
    net.advance(10);
    assert_eq!(counters.snapshot_oldest_named.value(), 1, "it names them still");
    net.end(at, &[]);
    assert_eq!(net.outcome(place), "200 Whole");
    net.advance(REST);
    assert_eq!(counters.snapshot_oldest_named.value(), 2);
    net.census();
}

/// Beside a connection of its own an exchange is small.
#[test]
fn with_http1_on_one_side_it_stays_at_hand() {
    for (client, endpoint) in [(One, Two), (Two, One), (One, One)] {
        let mut net = Net::single(endpoint);
        let client = net.client(client);
        let place = net.get(client, "/a");
        let at = net.only();
        net.advance(REST);
        assert_eq!(folded(&net), (0, 1));
        net.answer_all(at, 200, b"hi");
        assert_eq!(net.outcome(place), "200 Whole");
        net.census();
    }
}

#[test]
fn a_stale_name_names_nothing() {
    let (mut net, place, at) = watch(|_| {});
    let key = net.world.proxy.exchanges.folded_at(0).expect("it is folded");
    assert!(is_folded(key) && net.world.proxy.exchanges.contains(key));
    net.answer_all(at, 200, b"hi");
    assert_eq!(net.outcome(place), "200 Whole");
    let proxy = &mut net.world.proxy;
    assert!(!proxy.exchanges.contains(key) && proxy.at_hand(key) == key);
    assert!(proxy.exchanges.get(key).is_none());
    net.census();
}
