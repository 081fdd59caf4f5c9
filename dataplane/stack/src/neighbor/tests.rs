use std::net::Ipv4Addr;

use super::*;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 8]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

fn neighbors() -> (Neighbors, SlabKey) {
    let mut neighbors = Neighbors::new(4, 2, 8, HashKey::new([1, 2]));
    let key = neighbors.insert(0, MacAddress([2, 0, 0, 0, 0, 1]), ADDRESS.into()).expect("room");
    (neighbors, key)
}

fn seconds(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000 + 10)
}

fn state(neighbors: &Neighbors, key: SlabKey) -> NeighborState {
    neighbors.get(key).expect("an entry").state
}

#[test]
fn silence_is_asked_three_times_and_then_fails() {
    let (mut neighbors, key) = neighbors();
    let ask = Ask { interface: 0, address: ADDRESS.into(), mac: None };
    assert_eq!(neighbors.reach(key, seconds(10)), (Reach::Waiting, Some(ask)));
    assert_eq!(neighbors.reach(key, seconds(10)), (Reach::Waiting, None), "asked once");
    for ms in [11_100, 12_200] {
        let now = Instant::from_millis(ms);
        neighbors.advance(now);
        assert_eq!(neighbors.next_event(now), Some(NeighborEvent::Ask(ask)));
        assert_eq!(neighbors.next_event(now), None);
    }
    neighbors.advance(seconds(14));
    assert_eq!(neighbors.next_event(seconds(14)), Some(NeighborEvent::Failed(key)));
    assert_eq!(neighbors.reach(key, seconds(14)), (Reach::Failed, None), "not asked at once");
    assert_eq!(neighbors.reach(key, seconds(16)), (Reach::Waiting, Some(ask)), "but again");
}

#[test]
fn an_answer_counts_for_thirty_seconds() {
    let (mut neighbors, key) = neighbors();
    neighbors.reach(key, seconds(1));
    assert!(neighbors.learn(key, MAC, Learned::Answer, seconds(1)), "packets can go");
    assert_eq!(neighbors.reach(key, seconds(30)), (Reach::Usable, None));
    assert_eq!(neighbors.next_deadline(), Instant::NEVER, "reachable holds no timer");
    let probe = Ask { interface: 0, address: ADDRESS.into(), mac: Some(MAC) };
    assert_eq!(neighbors.reach(key, seconds(32)), (Reach::Usable, Some(probe)));
    assert_eq!(state(&neighbors, key), NeighborState::Probe);
    assert!(neighbors.learn(key, MAC, Learned::Answer, seconds(33)));
    assert_eq!(state(&neighbors, key), NeighborState::Reachable);
    let template = neighbors.get(key).expect("an entry").template;
    assert_eq!(template, [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0]);
}

/// A question from a station shows where it is but not that it hears us (RFC 4861, 7.2.3).
#[test]
fn a_question_makes_it_stale() {
    let (mut neighbors, key) = neighbors();
    assert!(neighbors.learn(key, MAC, Learned::Question, seconds(1)));
    assert_eq!(state(&neighbors, key), NeighborState::Stale);
    let (reach, ask) = neighbors.reach(key, seconds(1));
    assert_eq!((reach, ask.and_then(|ask| ask.mac)), (Reach::Usable, Some(MAC)));
}

#[test]
fn a_moved_address_is_used_and_doubted() {
    let (mut neighbors, key) = neighbors();
    neighbors.reach(key, seconds(1));
    neighbors.learn(key, MAC, Learned::Answer, seconds(1));
    assert!(!neighbors.learn(key, MAC, Learned::Announcement, seconds(2)), "nothing new");
    assert_eq!(state(&neighbors, key), NeighborState::Reachable);
    assert!(neighbors.learn(key, OTHER, Learned::Announcement, seconds(2)));
    assert_eq!(state(&neighbors, key), NeighborState::Stale);
    assert_eq!(neighbors.get(key).map(|neighbor| neighbor.mac), Some(OTHER));
}

/// A damaged answer, or a station that was replaced: asked where it was, and then everywhere.
#[test]
fn who_is_sent_to_in_vain_is_asked_and_in_the_end_everybody_is() {
    let (mut neighbors, key) = neighbors();
    neighbors.reach(key, seconds(1));
    neighbors.learn(key, MAC, Learned::Answer, seconds(1));
    assert_eq!(neighbors.suspect(key, seconds(2)), None, "it has just answered");
    let alone = Ask { interface: 0, address: ADDRESS.into(), mac: Some(MAC) };
    assert_eq!(neighbors.suspect(key, seconds(4)), Some(alone));
    assert_eq!(neighbors.suspect(key, seconds(4)), None, "asked once");
    assert_eq!(neighbors.reach(key, seconds(4)), (Reach::Usable, None), "and used meanwhile");
    let all = Ask { mac: None, ..alone };
    for (now, ask) in [(seconds(6), alone), (seconds(8), all)] {
        neighbors.advance(now);
        assert_eq!(neighbors.next_event(now), Some(NeighborEvent::Ask(ask)));
    }
    assert!(neighbors.learn(key, OTHER, Learned::Answer, seconds(8)));
    assert_eq!(state(&neighbors, key), NeighborState::Reachable);
    neighbors.fail(key, seconds(9));
    assert_eq!(neighbors.suspect(key, seconds(20)), None, "it is known to be silent");
}

#[test]
fn the_entry_unused_for_longest_gives_way() {
    let (mut neighbors, first) = neighbors();
    let mac = MacAddress([2, 0, 0, 0, 0, 1]);
    let more: Vec<SlabKey> = (1..4)
        .map(|last| neighbors.insert(0, mac, Ipv4Addr::new(10, 0, 0, last).into()).expect("room"))
        .collect();
    assert!(neighbors.is_full());
    assert!(neighbors.insert(0, mac, Ipv4Addr::new(10, 0, 0, 200).into()).is_none());
    neighbors.reach(first, seconds(9));
    neighbors.reach(more[0], seconds(8));
    neighbors.reach(more[1], seconds(3));
    neighbors.reach(more[2], seconds(7));
    assert_eq!(neighbors.victim(seconds(9)), Some(more[1]));
    neighbors.remove(more[1]);
    assert_eq!(neighbors.find(0, Ipv4Addr::new(10, 0, 0, 2).into()), None);
    for last in [1, 3, 9] {
        assert!(neighbors.find(0, Ipv4Addr::new(10, 0, 0, last).into()).is_some(), "others stay");
    }
    assert!(neighbors.find(1, ADDRESS.into()).is_none(), "another link is another neighbour");
}
