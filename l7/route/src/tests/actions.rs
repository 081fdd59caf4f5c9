//! Weights, redirects, rewrites.

use sluice_base::{ClusterId, Rng};
use sluice_config_model::{
    DirectResponse, HeaderValue, PathMatch, Redirect, RedirectPath, Route, RouteAction, Scheme,
    WeightedCluster,
};
use sluice_l7_core::Head;

use super::{exact, get, host, listener, prefix, regex, route, table};
use crate::{Action, CompileError, Path, PathError, PathScratch, RouteTable};

fn weighted(weights: &[u32]) -> RouteAction {
    let cluster =
        |(id, weight): (u32, &u32)| WeightedCluster { cluster: ClusterId(id), weight: *weight };
    RouteAction::WeightedClusters((0..).zip(weights).map(cluster).collect())
}

fn with_action(path: PathMatch, action: RouteAction) -> RouteTable {
    let mut route = route(path);
    route.action = action;
    table(vec![host("all", &["*"], vec![route])])
}

#[test]
fn weights_are_shares() {
    let table = with_action(prefix("/"), weighted(&[90, 0, 10]));
    let head = get("x", "/");
    let action = &table.find(&head, &Path::of(&head)).expect("a route").action;
    let (mut rng, mut counts) = (Rng::new(1), [0; 3]);
    for _ in 0..10_000 {
        counts[action.cluster(rng.next_u32()).expect("a cluster").index()] += 1;
    }
    assert_eq!(counts[1], 0);
    assert!((8_850..9_150).contains(&counts[0]), "{counts:?}");
    assert_eq!(
        (action.cluster(0), action.cluster(u32::MAX)),
        (Some(ClusterId(0)), Some(ClusterId(2)))
    );
}

#[test]
fn weights_at_the_limit() {
    let table = with_action(prefix("/"), weighted(&[u32::MAX - 1, 1]));
    let head = get("x", "/");
    let Action::Weighted(clusters) = &table.find(&head, &Path::of(&head)).expect("a route").action
    else {
        panic!("weighted");
    };
    // The last of 2^32 numbers stands for the one share of the second.
    assert_eq!(
        (clusters.pick(u32::MAX - 1), clusters.pick(u32::MAX)),
        (ClusterId(0), ClusterId(1))
    );
    for bad in [&[0, 0][..], &[], &[u32::MAX, 1]] {
        let mut route = route(prefix("/"));
        route.action = weighted(bad);
        let error = RouteTable::compile(&listener(vec![host("v", &["*"], vec![route])])).err();
        assert!(matches!(error, Some(CompileError::Weights { .. })), "{bad:?}: {error:?}");
    }
}

#[test]
fn a_direct_response_goes_nowhere() {
    let response = DirectResponse { status: 200, body: "pong\n".to_owned() };
    let table = with_action(exact("/ping"), RouteAction::DirectResponse(response));
    let head = get("x", "/ping");
    let action = &table.find(&head, &Path::of(&head)).expect("a route").action;
    assert_eq!(action.cluster(7), None);
    assert!(
        matches!(action, Action::Direct(reply) if reply.status == 200 && *reply.body == *b"pong\n")
    );
}

const SAME: Redirect =
    Redirect { scheme: None, host: None, port: None, path: None, strip_query: false, status: 301 };

fn location(path: PathMatch, redirect: Redirect, authority: &str, target: &str) -> String {
    let table = with_action(path, RouteAction::Redirect(redirect));
    let head = get(authority, target);
    let mut out = b"before ".to_vec();
    match &table.find(&head, &Path::of(&head)).expect("a route").action {
        Action::Redirect(redirect) => redirect.location(&head, Scheme::Http, &mut out),
        other => panic!("{other:?}"),
    }
    String::from_utf8(out).expect("text").strip_prefix("before ").expect("kept").to_owned()
}

#[test]
fn locations() {
    let to_https = Redirect { scheme: Some(Scheme::Https), ..SAME };
    let host_to = |host: &str| Redirect { host: Some(host.to_owned()), ..SAME };
    let port = |port| Redirect { port: Some(port), ..SAME };
    let full = |path: &str| Redirect { path: Some(RedirectPath::Full(path.to_owned())), ..SAME };
    let moved = |with: &str| Redirect { path: Some(RedirectPath::Prefix(with.to_owned())), ..SAME };
    let stripped = Redirect { strip_query: true, ..SAME };
    for (path, redirect, authority, target, expected) in [
        (prefix("/"), SAME, "a.example:8080", "/x?y", "http://a.example:8080/x?y"),
        (prefix("/"), to_https.clone(), "a.example:8080", "/x?y=1", "https://a.example/x?y=1"),
        (prefix("/"), to_https, "a.example", "/", "https://a.example/"),
        (prefix("/"), host_to("b.example"), "a.example:81", "/x", "http://b.example:81/x"),
        (prefix("/"), host_to("b.example"), "", "/x", "http://b.example/x"),
        (prefix("/"), port(8443), "a.example:81", "/x", "http://a.example:8443/x"),
        (prefix("/"), port(80), "a.example:81", "/x", "http://a.example/x"),
        (prefix("/"), port(443), "[::1]:81", "/x", "http://[::1]:443/x"),
        (prefix("/"), full("/new"), "a", "/x?y", "http://a/new?y"),
        (prefix("/"), full("/new?z"), "a", "/x?y", "http://a/new?z"),
        (prefix("/old/"), moved("/new/"), "a", "/old/page?y", "http://a/new/page?y"),
        (prefix("/old"), moved("/new"), "a", "/old", "http://a/new"),
        (exact("/old"), moved("/new"), "a", "/old?y", "http://a/new?y"),
        (regex("/o.*"), moved("/new"), "a", "/old", "http://a/new"),
        (prefix("/"), stripped, "a", "/x?y", "http://a/x"),
        // Without a host, and with one that could not stand in a URI.
        (prefix("/"), full("/new"), "", "/x", "/new"),
        (prefix("/"), SAME, "a/b@c", "/x", "/x"),
    ] {
        assert_eq!(location(path, redirect, authority, target), expected);
    }
}

/// `//evil.example` as a Location names a host: whoever sends a victim there chooses it.
#[test]
fn a_location_without_a_host_cannot_name_one() {
    assert_eq!(location(prefix("/"), SAME, "", "//evil.example/x"), "/.//evil.example/x");
    let moved = Redirect { path: Some(RedirectPath::Prefix("/".to_owned())), ..SAME };
    assert_eq!(location(prefix("/a"), moved, "", "/a/evil.example"), "/.//evil.example");
}

fn rewritten(path: PathMatch, with: &str, target: &str) -> Result<String, PathError> {
    let mut route = route(path);
    route.prefix_rewrite = Some(with.to_owned());
    apply(route, target).map(|head| String::from_utf8(head.path().to_vec()).expect("text"))
}

fn apply(route: Route, target: &str) -> Result<Head, PathError> {
    let table = table(vec![host("all", &["*"], vec![route])]);
    let (mut head, mut scratch) = (get("a.example", target), PathScratch::default());
    Path::normalize_head(&mut head, &mut scratch)?;
    let route = table.find(&head, &Path::of(&head)).expect("a route");
    route.rewrite(&mut head, &mut scratch)?;
    Ok(head)
}

#[test]
fn prefixes_are_replaced() {
    for (path, with, target, expected) in [
        (prefix("/api/"), "/", "/api/users?x", "/users?x"),
        (prefix("/api/"), "/", "/api/", "/"),
        (prefix("/api"), "/v2", "/api/users", "/v2/users"),
        (prefix("/api"), "/v2", "/apiary", "/v2ary"),
        (prefix("/api"), "/", "/api/users", "//users"),
        (prefix("/%61pi/"), "/", "/x/../api/%7Eme?/..", "/~me?/.."),
        (exact("/old"), "/new", "/old?q=/old", "/new?q=/old"),
        (prefix("/a"), "/b", "/a..", "/b.."),
    ] {
        assert_eq!(rewritten(path, with, target), Ok(expected.to_owned()), "{target}");
    }
}

/// The off-by-slash traversal: `/files` to `/srv/` would let `/files../secret` leave `/srv`.
#[test]
fn a_rewrite_never_makes_a_dot_segment() {
    let refused = Err(PathError::RewriteMakesDotSegment);
    assert_eq!(rewritten(prefix("/files"), "/srv/", "/files../secret"), refused);
    assert_eq!(rewritten(prefix("/files"), "/srv/", "/files."), refused);
    assert_eq!(rewritten(prefix("/files/"), "/srv/", "/x/../files/y"), Ok("/srv/y".into()));
}

#[test]
fn host_and_fields_change() {
    let mut route = route(prefix("/"));
    route.host_rewrite = Some("b.example:81".to_owned());
    let field = |name: &str, value: &str| HeaderValue { name: name.into(), value: value.into() };
    route.request_headers_add = vec![field("x-a", "1")];
    route.request_headers_remove = vec!["accept".into()];
    route.response_headers_add = vec![field("x-b", "2")];
    let table = table(vec![host("all", &["*"], vec![route])]);
    let (mut head, mut scratch) = (get("a.example", "/"), PathScratch::default());
    head.append("accept", b"x");
    let route = table.find(&head, &Path::of(&head)).expect("a route");
    route.rewrite(&mut head, &mut scratch).expect("nothing to refuse");
    route.request_edits.apply(&mut head);
    assert_eq!(format!("{head:?}"), "GET / host=b.example:81 | x-a: 1");
    head.reset_to_response(200);
    route.response_edits.apply(&mut head);
    assert_eq!(format!("{head:?}"), "200 | x-b: 2");
}
