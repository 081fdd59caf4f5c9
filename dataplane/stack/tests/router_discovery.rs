//! What routers may tell an interface that listens to them, and what strangers may not.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::v6::*;
use common::*;
use sluice_stack::{ConnectError, DropReason, LearnedWhat};
use sluice_tcp::Config;
use sluice_wire::ndp::{PREFIXES_MAX, PrefixInfo, RouterInfo, RouterPreference};
use sluice_wire::{MacAddress, NdpMessage, NdpOptions};

/// Host 0's address of the prefix below, made of its link-layer address.
const FORMED: &str = "2001:db8:1::ff:fe00:100";
/// Host 1 answers for this address, so it is not silent.
const ROUTER: &str = "fe80::ff:fe00:200";
const ROUTER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 2, 0]);
const FAR: &str = "2001:db8:9::1";
const HOUR: u64 = 3_600;

/// Host 0 speaks IPv4 by configuration and listens to routers; host 1 is one, but does not say so.
fn listening(workers: u16, forms_addresses: bool) -> Net {
    let mut net = Net::new();
    let mut first = config(vec![interface(1, 0, "10.0.0.1")]);
    first.workers = workers;
    net.add(&first);
    net.add(&config(vec![interface_v6(2, 0, "fd00::2")]));
    net.join((0, IF0), (1, IF0));
    for stack in &mut net.hosts[0].stacks {
        stack.discover_routers(IF0, forms_addresses);
    }
    net
}

fn prefix(text: &str, valid_s: u32, preferred_s: u32) -> PrefixInfo {
    PrefixInfo {
        prefix: ip6(text),
        prefix_len: 64,
        on_link: true,
        autonomous: true,
        valid_s,
        preferred_s,
    }
}

/// An advertisement of a router that others know as `mac`.
fn from_router(
    source: &str,
    mac: MacAddress,
    router: RouterInfo,
    mtu: Option<u32>,
    told: &[PrefixInfo],
) -> Vec<u8> {
    let mut prefixes = [None; PREFIXES_MAX];
    told.iter().zip(&mut prefixes).for_each(|(prefix, place)| *place = Some(*prefix));
    let options = NdpOptions { mtu, prefixes, ..NdpOptions::source(mac) };
    nd(source, "ff02::1", 255, &NdpMessage::RouterAdvertisement { router, options })
}

fn router(lifetime_s: u16) -> RouterInfo {
    RouterInfo { hop_limit: 64, lifetime_s, ..RouterInfo::default() }
}

fn advert(told: &[PrefixInfo]) -> Vec<u8> {
    from_router(ROUTER, ROUTER_MAC, router(1800), None, told)
}

/// Where frames to `address` went.
fn stations(net: &mut Net, address: &'static str) -> Rc<RefCell<Vec<MacAddress>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let kept = seen.clone();
    net.filter = Some(Box::new(move |frame| {
        if frame.bytes.len() > 54 && frame.bytes[38..54] == ip6(address).octets() {
            let mut mac = [0; 6];
            mac.copy_from_slice(&frame.bytes[..6]);
            kept.borrow_mut().push(MacAddress(mac));
        }
        true
    }));
    seen
}

fn ping_host_0(net: &mut Net, source: &str, destination: &str) {
    let mut frame = ping_from(source, destination);
    frame[..6].copy_from_slice(&mac(1, 0).0);
    net.inject(0, IF0, &frame);
    net.settle();
}

fn answers(net: &mut Net, source: &str, destination: &str) -> usize {
    net.log.clear();
    ping_host_0(net, source, destination);
    net.logged(&format!("0 IP6 {destination} > {source}: ICMP6, echo reply")).len()
}

/// RFC 4861, 6.3.7 and RFC 7559: about 0.5, 4, 12, 28 and 60 s after the start, and no more once a
/// router is known.
#[test]
fn routers_are_asked_for_until_one_answers() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(70));
    let asked = net.logged("0 IP6").iter().filter(|l| l.contains("router solicitation")).count();
    assert_eq!(asked, 5, "{:#?}", net.log);
    let first = "0 IP6 :: > ff02::2: ICMP6, router solicitation";
    assert!(has(&net, first), "the first one has no address yet: {:#?}", net.log);
    let later = "0 IP6 fe80::ff:fe00:100 > ff02::2: ICMP6, router solicitation, source";
    assert!(has(&net, later), "{:#?}", net.log);
    net.inject(0, IF0, &advert(&[]));
    net.log.clear();
    net.run(Duration::from_secs(1000));
    assert!(!has(&net, "router solicitation"), "{:#?}", net.log);
    net.run(Duration::from_secs(1000));
    assert!(has(&net, "router solicitation"), "its lifetime is over: {:#?}", net.log);
    net.census_idle();
}

#[test]
fn a_router_gives_a_way_a_link_and_an_address() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    assert_eq!(answers(&mut net, "fe80::99", FORMED), 0);
    net.inject(0, IF0, &advert(&[prefix("2001:db8:1::", 7200, 3600)]));
    assert!(has(
        &net,
        &format!("0 IP6 :: > ff02::1:ff00:100: ICMP6, neighbor solicitation, who has {FORMED}")
    ));
    net.run(Duration::from_secs(2));
    assert!(has(&net, &format!("0 IP6 {FORMED} > ff02::1: ICMP6, neighbor advertisement")));
    let far = stations(&mut net, FAR);
    assert_eq!(answers(&mut net, FAR, FORMED), 1, "{:#?}", net.log);
    assert_eq!(*far.borrow(), [ROUTER_MAC], "by the router");
    ping_host_0(&mut net, "2001:db8:1::77", FORMED);
    assert!(has(&net, "who has 2001:db8:1::77"), "it is on the link: {:#?}", net.log);
    // Our own connections begin with the address of the widest scope.
    net.log.clear();
    let id = net.connect(0, &format!("[{FAR}]:80"));
    net.settle();
    assert!(has(&net, &format!("0 IP6 {FORMED}.")), "{:#?}", net.log);
    let stack = net.stack(0);
    assert_eq!(stack.connection(id).map(|info| info.local.ip()), Some(ip6(FORMED).into()));
    let counters = stack.counters();
    let learned =
        [&counters.default_routers, &counters.learned_prefixes, &counters.formed_addresses];
    assert_eq!(learned.map(sluice_base::Counter::value), [1, 1, 1]);
}

#[test]
fn what_routers_told_can_be_listed() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    let now = net.now;
    assert_eq!(net.stack(0).learned(now).count(), 0);
    net.inject(0, IF0, &advert(&[prefix("2001:db8:1::", 7200, 50)]));
    let silent = from_router("fe80::9", MacAddress([2; 6]), router(9000), None, &[]);
    net.inject(0, IF0, &silent);
    net.run(Duration::from_secs(100));
    let now = net.now;
    let listed: Vec<_> = net.stack(0).learned(now).collect();
    assert!(listed.iter().all(|learned| learned.interface == IF0));
    let listed: Vec<_> = listed.iter().map(|learned| (learned.what, learned.expires_s)).collect();
    let (prefix, address) = (ip6("2001:db8:1::"), ip6(FORMED));
    assert_eq!(
        listed,
        [
            (LearnedWhat::Router { address: ip6(ROUTER), is_used: true }, Some(1_700)),
            (LearnedWhat::Router { address: ip6("fe80::9"), is_used: false }, Some(8_900)),
            (LearnedWhat::Prefix { prefix, prefix_len: 64 }, Some(7_100)),
            (LearnedWhat::Address { address, is_deprecated: true }, Some(7_100)),
        ]
    );
}

#[test]
fn without_slaac_nothing_is_formed() {
    let mut net = listening(1, false);
    net.run(Duration::from_secs(3));
    net.inject(0, IF0, &advert(&[prefix("2001:db8:1::", 7200, 3600)]));
    assert_eq!(net.stack(0).counters().formed_addresses.value(), 0);
    assert_eq!(net.stack(0).counters().learned_prefixes.value(), 1);
}

/// RFC 4861, 6.1.2.
#[test]
fn what_no_router_of_the_link_said_is_not_believed() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    let told = [prefix("2001:db8:1::", 7200, 3600)];
    let message = |source: &str, hop_limit, mac| {
        let mut prefixes = [None; PREFIXES_MAX];
        prefixes[0] = Some(told[0]);
        let options = NdpOptions { prefixes, ..NdpOptions::source(mac) };
        let router = router(1800);
        nd(source, "ff02::1", hop_limit, &NdpMessage::RouterAdvertisement { router, options })
    };
    net.inject(0, IF0, &message("fe80::99", 254, STRANGER));
    assert_eq!(net.drops(0, DropReason::NdHopLimit), 1);
    net.inject(0, IF0, &message("2001:db8:1::99", 255, STRANGER));
    assert_eq!(net.drops(0, DropReason::NdSender), 1, "not link-local");
    net.inject(0, IF0, &message("fe80::99", 255, mac(1, 0)));
    assert_eq!(net.drops(0, DropReason::NdSender), 2, "our own station");
    net.inject(0, IF0, &message("fe80::ff:fe00:100", 255, STRANGER));
    assert_eq!(net.drops(0, DropReason::Ipv6SourceOwn), 1, "our own address");
    let mut short = message("fe80::99", 255, STRANGER);
    short.truncate(54 + 15);
    short[18..20].copy_from_slice(&15u16.to_be_bytes());
    net.inject(0, IF0, &short);
    let refused = net.drops(0, DropReason::NdMalformed) + net.drops(0, DropReason::IcmpChecksum);
    assert_eq!(refused, 1);
    // Host 1 was not told to listen.
    let mut other = advert(&told);
    other[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    let before = net.drops(1, DropReason::NdIgnored);
    net.inject(1, IF0, &other);
    assert_eq!(net.drops(1, DropReason::NdIgnored), before + 1);
    let counters = net.stack(0).counters();
    assert_eq!((counters.default_routers.value(), counters.learned_prefixes.value()), (0, 0));
}

/// What a prefix may not say is not taken, while the rest of the message is (RFC 4862, 5.5.3).
#[test]
fn prefixes_that_make_no_sense_are_passed_over() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    let long = PrefixInfo { prefix_len: 65, ..prefix("2001:db8:2::", 7200, 3600) };
    let group = prefix("ff05::", 7200, 3600);
    let told = [prefix("fe80::", 7200, 3600), prefix("2001:db8:3::", 60, 61), long, group];
    net.inject(0, IF0, &advert(&told));
    let counters = net.stack(0).counters();
    assert_eq!(counters.formed_addresses.value(), 0);
    assert_eq!(counters.learned_prefixes.value(), 1, "the long one may be on the link");
    assert_eq!(counters.default_routers.value(), 1);
}

#[test]
fn an_address_ages_and_ends() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    let old = prefix("2001:db8:1::", 300, 100);
    net.inject(0, IF0, &advert(&[old, prefix("2001:db8:8::", 9000, 9000)]));
    net.run(Duration::from_secs(2));
    let begin = |net: &mut Net| {
        let id = net.connect(0, "[2001:db8:1::77]:80");
        net.settle();
        net.stack(0).connection(id).map(|info| info.local.ip())
    };
    assert_eq!(begin(&mut net), Some(ip6(FORMED).into()), "the nearest address");
    net.run(Duration::from_secs(100));
    let other = "2001:db8:8::ff:fe00:100";
    assert_eq!(begin(&mut net), Some(ip6(other).into()), "the nearest one is deprecated");
    assert_eq!(answers(&mut net, FAR, FORMED), 1, "and answers still");
    net.run(Duration::from_secs(200));
    assert_eq!(answers(&mut net, FAR, FORMED), 0, "{:#?}", net.log);
    let counters = net.stack(0).counters();
    assert_eq!((counters.formed_addresses.value(), counters.learned_prefixes.value()), (1, 1));
}

/// RFC 4862, 5.5.3 (e): without it, one forged packet would end every connection.
#[test]
fn nobody_takes_the_last_two_hours_of_an_address() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    net.inject(0, IF0, &advert(&[prefix("2001:db8:1::", 86_400, 86_400)]));
    net.run(Duration::from_secs(2));
    net.inject(0, IF0, &advert(&[prefix("2001:db8:1::", 1, 0)]));
    net.run(Duration::from_secs(2 * HOUR - 60));
    net.inject(0, IF0, &advert(&[]));
    assert_eq!(answers(&mut net, FAR, FORMED), 1, "{:#?}", net.log);
    // What is left of the two hours is not lengthened by less, and is by more.
    net.inject(0, IF0, &advert(&[prefix("2001:db8:1::", 5, 5)]));
    net.run(Duration::from_secs(30));
    assert_eq!(answers(&mut net, FAR, FORMED), 1, "{:#?}", net.log);
    net.run(Duration::from_secs(40));
    assert_eq!(answers(&mut net, FAR, FORMED), 0, "{:#?}", net.log);
}

#[test]
fn a_formed_address_that_somebody_has_is_given_up() {
    let mut net = listening(2, true);
    net.run(Duration::from_secs(3));
    net.inject(0, IF0, &advert(&[prefix("2001:db8:1::", 7200, 3600)]));
    let options = NdpOptions::target(STRANGER);
    let taken = NdpMessage::NeighborAdvertisement {
        target: ip6(FORMED),
        router: false,
        solicited: false,
        overrides: true,
        options,
    };
    net.inject(0, IF0, &nd(FORMED, "ff02::1", 255, &taken));
    net.run(Duration::from_secs(2));
    assert_eq!(net.stack(0).counters().duplicate_addresses.value(), 1);
    assert_eq!(answers(&mut net, FAR, FORMED), 0);
    net.inject(0, IF0, &advert(&[prefix("2001:db8:1::", 7200, 3600)]));
    net.run(Duration::from_secs(2));
    assert_eq!(answers(&mut net, FAR, FORMED), 0, "not even when it is advertised again");
}

/// Every worker knows what worker 0 heard.
#[test]
fn all_workers_hear_of_it() {
    let mut net = listening(3, true);
    net.run(Duration::from_secs(3));
    net.inject(
        0,
        IF0,
        &from_router(
            ROUTER,
            ROUTER_MAC,
            router(1800),
            Some(1400),
            &[prefix("2001:db8:1::", 300, 200)],
        ),
    );
    net.run(Duration::from_secs(2));
    let far = stations(&mut net, FAR);
    for worker in 0..3 {
        let now = net.now;
        let stack = &mut net.hosts[0].stacks[worker];
        let id = stack.connect(at(&format!("[{FAR}]:80")), &Config::default(), 7, now);
        let local = stack.connection(id.expect("a way")).map(|info| info.local.ip());
        assert_eq!(local, Some(ip6(FORMED).into()), "worker {worker}");
        net.settle();
    }
    assert_eq!(*far.borrow(), [ROUTER_MAC; 3]);
    assert_eq!(net.logged("mss 1340").len(), 3, "{:#?}", net.log);
    net.run(Duration::from_secs(300));
    for worker in 0..3 {
        let now = net.now;
        let stack = &mut net.hosts[0].stacks[worker];
        let refused = stack.connect(at(&format!("[{FAR}]:80")), &Config::default(), 7, now);
        assert_eq!(refused, Err(ConnectError::NoRoute), "no address is left to worker {worker}");
    }
    let counters = net.stack(0).counters();
    assert_eq!((counters.formed_addresses.value(), counters.learned_prefixes.value()), (0, 0));
}

/// RFC 4191 and RFC 4861, 6.3.6.
#[test]
fn the_best_router_that_answers_is_used() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    let stations_of = |last: u8| MacAddress([2, 0, 0, 0, 98, last]);
    let told = [prefix("2001:db8:1::", 7200, 3600)];
    for (last, preference) in
        [(1, RouterPreference::Low), (2, RouterPreference::High), (3, RouterPreference::Medium)]
    {
        let info = RouterInfo { preference, ..router(1800) };
        let source = format!("fe80::{last}");
        net.inject(0, IF0, &from_router(&source, stations_of(last), info, None, &told));
    }
    net.run(Duration::from_secs(2));
    let far = stations(&mut net, FAR);
    assert_eq!(answers(&mut net, FAR, FORMED), 1, "{:#?}", net.log);
    assert_eq!(far.borrow().last(), Some(&stations_of(2)));
    // Nobody answers for it: after three questions the next one is used.
    net.run(Duration::from_secs(6));
    assert_eq!(answers(&mut net, FAR, FORMED), 1, "{:#?}", net.log);
    assert_eq!(far.borrow().last(), Some(&stations_of(3)));
    // It withdraws. The high one is silent still.
    let gone = RouterInfo { preference: RouterPreference::Medium, ..router(0) };
    net.inject(0, IF0, &from_router("fe80::3", stations_of(3), gone, None, &[]));
    assert_eq!(answers(&mut net, FAR, FORMED), 1, "{:#?}", net.log);
    assert_eq!(far.borrow().last(), Some(&stations_of(1)));
}

/// RFC 4861, 6.3.6: if none is known to answer, each is tried in turn.
#[test]
fn when_all_are_silent_each_has_its_turn() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    let told = [prefix("2001:db8:1::", 7200, 3600)];
    for last in 1..=2 {
        let station = MacAddress([2, 0, 0, 0, 98, last]);
        net.inject(
            0,
            IF0,
            &from_router(&format!("fe80::{last}"), station, router(1800), None, &told),
        );
    }
    net.run(Duration::from_secs(2));
    let mut tried = Vec::new();
    for _ in 0..4 {
        net.log.clear();
        ping_host_0(&mut net, FAR, FORMED);
        tried.push([1, 2].map(|last| has(&net, &format!("who has fe80::{last},"))));
        net.run(Duration::from_secs(6));
    }
    assert_eq!(tried, [[true, false], [false, true], [true, false], [false, true]]);
}

/// A connection goes on by another router when its own withdraws (RFC 4861, 6.3.5).
#[test]
fn connections_follow_the_router_of_last_resort() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    let other = MacAddress([2, 0, 0, 0, 98, 1]);
    let told = [prefix("2001:db8:1::", 7200, 3600)];
    net.inject(0, IF0, &advert(&told));
    net.run(Duration::from_secs(2));
    let far = stations(&mut net, FAR);
    net.connect(0, &format!("[{FAR}]:80"));
    net.settle();
    assert_eq!(*far.borrow(), [ROUTER_MAC]);
    net.inject(0, IF0, &from_router("fe80::1", other, router(1800), None, &[]));
    net.inject(0, IF0, &from_router(ROUTER, ROUTER_MAC, router(0), None, &[]));
    net.run(Duration::from_millis(1500));
    assert_eq!(*far.borrow(), [ROUTER_MAC, other], "the SYN again, by the other one");
    net.inject(0, IF0, &from_router("fe80::1", other, router(0), None, &[]));
    assert_eq!(net.stack(0).counters().default_routers.value(), 0);
}

/// RFC 4861, 6.3.4: no router says more than the link carries, or less than IPv6 needs.
#[test]
fn an_mtu_is_believed_within_bounds() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    for (mtu, expected) in [(1279, 1440), (1501, 1440), (65_536 + 1400, 1440), (1280, 1220)] {
        let told = [prefix("2001:db8:1::", 7200, 3600)];
        net.inject(0, IF0, &from_router(ROUTER, ROUTER_MAC, router(1800), Some(mtu), &told));
        net.run(Duration::from_secs(1));
        net.log.clear();
        net.connect(0, &format!("[{FAR}]:80"));
        net.settle();
        assert!(has(&net, &format!("mss {expected}")), "{mtu}: {:#?}", net.log);
    }
}

/// A flood takes a bounded number of look-ups per second, and bounded memory.
#[test]
fn floods_are_bounded_and_counted() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    for number in 0..200u16 {
        let told = [prefix(&format!("2001:db8:{number:x}::"), 7200, 3600)];
        let source = format!("fe80::1:{number:x}");
        net.inject(0, IF0, &from_router(&source, STRANGER, router(1800), None, &told));
        net.run(Duration::from_millis(100));
    }
    let counters = net.stack(0).counters().clone();
    assert_eq!(counters.formed_addresses.value(), 8);
    assert_eq!(counters.learned_prefixes.value(), 8);
    assert_eq!(net.drops(0, DropReason::NdRouterLimit), 192);
    for _ in 0..200 {
        net.inject(0, IF0, &advert(&[]));
    }
    let read = counters.router_advertisements_in.value();
    assert!((200..=212).contains(&read), "{read}");
    assert_eq!(net.drops(0, DropReason::NdRouterFlood), 400 - read);
    let neighbors = net.stack(0).neighbors().count();
    assert!(neighbors <= 8, "{neighbors}");
}

/// RFC 6980, 5: what guards on the way could not look into is not believed.
#[test]
fn discovery_in_fragments_is_ignored() {
    let mut net = listening(1, true);
    net.run(Duration::from_secs(3));
    let whole = advert(&[prefix("2001:db8:1::", 7200, 3600)]);
    let with_fragment = |offset: u16, has_more: bool, payload: &[u8]| {
        let mut frame = whole[..54].to_vec();
        frame[18..20].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        frame[20] = 44;
        frame.extend([58, 0]);
        frame.extend((offset << 3 | u16::from(has_more)).to_be_bytes());
        frame.extend([0, 0, 0, 7]);
        frame.extend_from_slice(payload);
        frame
    };
    net.inject(0, IF0, &with_fragment(0, false, &whole[54..]));
    assert_eq!(net.drops(0, DropReason::NdFragmented), 1);
    net.inject(0, IF0, &with_fragment(0, true, &whole[54..54 + 16]));
    net.inject(0, IF0, &with_fragment(2, false, &whole[54 + 16..]));
    assert_eq!(net.drops(0, DropReason::NdFragmented), 2);
    assert_eq!(net.stack(0).counters().default_routers.value(), 0);
}
