//! The first route in order that takes the request, found without trying them all.

use proptest::prelude::*;
use sluice_base::RouteId;
use sluice_config_model::{
    Connect, HeaderMatch, PathMatch, QueryMatch, Route, RouteMatch, StringMatch,
};
use sluice_l7_core::{Head, Method};

use super::{exact, get, host, listener, prefix, regex, route, table};
use crate::{CompileError, ExplainStep, Path, RouteTable};

fn found(table: &RouteTable, head: &Head) -> Option<u32> {
    let found = match head.method() {
        Method::Connect => table.find_connect(head),
        _ => table.find(head, &Path::of(head)),
    };
    found.ok().map(|route| route.id.0)
}

#[test]
fn order_decides_and_not_how_specific_a_path_is() {
    let paths = [prefix("/a/b"), regex("/a/[0-9]+"), exact("/a/7"), prefix("/a"), exact("/a/b/c")];
    let table = table(vec![host("all", &["*"], paths.into_iter().map(route).collect())]);
    for (target, id) in [
        ("/a/b/c", Some(0)),
        ("/a/7?q", Some(1)),
        ("/a/7/", Some(3)),
        ("/ab", Some(3)),
        ("/A", None),
        ("/", None),
        ("*", None),
        ("", None),
    ] {
        assert_eq!(found(&table, &get("x", target)), id, "{target}");
    }
    let named = table.route(RouteId(2)).expect("a route");
    assert_eq!((named.id, &*named.name), (RouteId(2), "#3"));
    assert!(table.route(RouteId(5)).is_none());
}

/// Requests come decoded; a pattern that stays encoded would never match.
#[test]
fn patterns_are_normalised_like_requests() {
    let paths = [exact("/%7Euser"), prefix("/%61%2F"), prefix("/b%2")];
    let table = table(vec![host("all", &["*"], paths.into_iter().map(route).collect())]);
    for (target, id) in [("/~user", Some(0)), ("/a%2Fx", Some(1)), ("/b%20", Some(2))] {
        assert_eq!(found(&table, &get("x", target)), id, "{target}");
    }
}

fn with_header(name: &str, matcher: StringMatch) -> Route {
    let mut route = route(prefix("/"));
    route.matcher.headers.push(HeaderMatch { name: name.to_owned(), matcher });
    route
}

#[test]
fn conditions_on_headers() {
    let text = |text: &str| text.to_owned();
    let routes = vec![
        with_header("x-own", StringMatch::Exact(text("a,b"))),
        with_header("accept", StringMatch::Prefix(text("text/"))),
        with_header("x-own", StringMatch::Regex(text("[0-9]+(,[0-9]+)*"))),
        with_header("host", StringMatch::Exact(text("h.example"))),
        with_header("x-own", StringMatch::Present(false)),
        with_header("x-own", StringMatch::Exact(text(""))),
        with_header("x-own", StringMatch::Present(true)),
    ];
    let table = table(vec![host("all", &["*"], routes)]);
    type Case = (&'static str, &'static [(&'static str, &'static str)], u32);
    let cases: [Case; 10] = [
        ("x", &[("X-Own", "a"), ("x-other", "z"), ("x-own", "b")], 0),
        ("x", &[("x-own", "a,b")], 0),
        ("x", &[("x-own", "b"), ("x-own", "a")], 6),
        ("x", &[("x-own", "1"), ("X-OWN", "22")], 2),
        ("x", &[("x-own", "1,")], 6),
        ("x", &[("x-own", "z"), ("Accept", "text/html"), ("accept", "x")], 1),
        ("x", &[("x-own", "z"), ("accept", "x"), ("accept", "text/html")], 6),
        ("h.example", &[("x-own", "z")], 3),
        ("x", &[("x-owner", "z")], 4),
        ("x", &[("x-own", "")], 5),
    ];
    for (authority, fields, id) in cases {
        let mut head = get(authority, "/");
        for (name, value) in fields {
            head.append(*name, value.as_bytes());
        }
        assert_eq!(found(&table, &head), Some(id), "{head:?}");
    }
}

#[test]
fn conditions_on_the_query_and_the_method() {
    let query = |name: &str, matcher| {
        let mut route = route(prefix("/"));
        route.matcher.query.push(QueryMatch { name: name.to_owned(), matcher });
        route
    };
    let text = |text: &str| text.to_owned();
    let mut purge = route(prefix("/"));
    purge.matcher.method = Some(text("PURGE"));
    let mut put = route(prefix("/"));
    put.matcher.method = Some(text("PUT"));
    let routes = vec![
        query("v", StringMatch::Exact(text("a b"))),
        query("v", StringMatch::Prefix(text("a+"))),
        query("v", StringMatch::Regex(text("[0-9]+"))),
        query("a&b", StringMatch::Present(true)),
        purge,
        put,
        query("v", StringMatch::Present(false)),
    ];
    let table = table(vec![host("all", &["*"], routes)]);
    for (target, id) in [
        ("/?v=a%20b", Some(0)),
        ("/?%76=a%20%62&v=1", Some(0)),
        ("/?v=a+b", Some(1)),
        ("/?x&v=%31%32&v=x", Some(2)),
        ("/?v=x&v=1&a%26b", Some(3)),
        ("/?v=x&v=1&a&b", None),
        ("/?v", None),
        ("/?V=a", Some(6)),
        ("/?", Some(6)),
        ("/", Some(6)),
        ("/?vv=1&=&&", Some(6)),
        ("/?v=%", None),
    ] {
        assert_eq!(found(&table, &get("x", target)), id, "{target}");
    }
    let mut head = get("x", "/?v=x");
    head.reset_to_request(Method::Put, b"x", b"/?v=x");
    assert_eq!(found(&table, &head), Some(5));
    assert_eq!(found(&table, &other_method("PURGE")), Some(4));
    assert_eq!(found(&table, &other_method("purge")), None);
}

/// A request with `?v` and a method that has no number.
fn other_method(method: &str) -> Head {
    use sluice_l7_core::{Scheme, Span, Start, Version};

    let mut head = Head::new();
    let (method_text, path) = (head.add_text(method.as_bytes()), head.add_text(b"/?v"));
    let start = Start::Request {
        method: Method::parse(method.as_bytes()),
        method_text,
        path,
        authority: Span::EMPTY,
        scheme: Scheme::Implied,
        protocol: Span::EMPTY,
    };
    head.set_start(start, Version::Http11);
    head
}

#[test]
fn refusals_name_the_route() {
    let mut named = with_header("x", StringMatch::Regex("a(".to_owned()));
    named.name = Some("mine".to_owned());
    for (bad, expected) in [
        (
            named,
            "virtual host `v`, route `mine`: \"a(\" is not a usable regular expression: \
             unclosed group",
        ),
        (
            route(regex("/[")),
            "virtual host `v`, route `#2`: \"/[\" is not a usable regular expression: \
             unclosed character class",
        ),
    ] {
        let routes = vec![route(prefix("/")), bad];
        let error = RouteTable::compile(&listener(vec![host("v", &["*"], routes)])).err();
        assert!(matches!(error, Some(CompileError::Regex { .. })));
        assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(expected));
    }
}

/// The cost must not grow with the number of routes: of ten thousand, a path selects two.
#[test]
fn ten_thousand_routes() {
    let mut routes: Vec<_> = (0..5_000)
        .flat_map(|n| [route(exact(&format!("/exact/{n}"))), route(prefix(&format!("/p/{n}/")))])
        .chain((0..200).map(|n| route(regex(&format!("/r/{n}/[a-z]+")))))
        .collect();
    routes.push(route(prefix("/")));
    let last = routes.len() as u32 - 1;
    let table = table(vec![host("all", &["*"], routes)]);
    for n in 0..5_000u32 {
        assert_eq!(found(&table, &get("x", &format!("/exact/{n}"))), Some(2 * n));
        assert_eq!(found(&table, &get("x", &format!("/p/{n}/a"))), Some(2 * n + 1));
        assert_eq!(found(&table, &get("x", &format!("/p/{n}"))), Some(last));
    }
    for n in 0..200 {
        assert_eq!(found(&table, &get("x", &format!("/r/{n}/abc"))), Some(10_000 + n));
        assert_eq!(found(&table, &get("x", &format!("/r/{n}/ab1"))), Some(last));
    }
}

/// One route after the other, by the model's own words and other code.
fn first_match(routes: &[Route], head: &Head) -> Option<u32> {
    let target = String::from_utf8(head.path().to_vec()).expect("text");
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let full = |text: &str, value: &str| {
        regex::Regex::new(&format!("^(?:{text})$")).expect("an expression").is_match(value)
    };
    let holds = |matcher: &StringMatch, value: Option<&str>| match (matcher, value) {
        (StringMatch::Present(present), value) => *present == value.is_some(),
        (_, None) => false,
        (StringMatch::Exact(text), Some(value)) => text == value,
        (StringMatch::Prefix(text), Some(value)) => value.starts_with(text),
        (StringMatch::Regex(text), Some(value)) => full(text, value),
    };
    let takes = |RouteMatch { path: wanted, method, headers, query: parameters }: &RouteMatch| {
        let connect = head.method() == Method::Connect;
        let path_holds = match wanted {
            PathMatch::Connect(_) => connect,
            _ if connect => false,
            PathMatch::Exact(text) => path == text,
            PathMatch::Prefix(text) => path.starts_with(text),
            PathMatch::Regex(text) => full(text, path),
        };
        let method_holds =
            method.as_ref().is_none_or(|method| method.as_bytes() == head.method_text());
        let headers_hold = headers.iter().all(|header| {
            let named =
                |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(header.name.as_bytes());
            let values: Vec<_> = head.iter().filter(named).map(|(_, value)| value).collect();
            let joined = String::from_utf8(values.join(&b','.clone())).expect("text");
            holds(&header.matcher, (!values.is_empty()).then_some(&joined))
        });
        let query_holds = parameters.iter().all(|parameter| {
            let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            let value = pairs.find(|(name, _)| *name == parameter.name).map(|(_, value)| value);
            holds(&parameter.matcher, value)
        });
        path_holds && method_holds && headers_hold && query_holds
    };
    routes.iter().position(|route| takes(&route.matcher)).map(|position| position as u32)
}

fn any_string_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        "[ab]{0,2}".prop_map(StringMatch::Exact),
        "[ab]{0,2}".prop_map(StringMatch::Prefix),
        "(a|b|a\\*|\\[ab\\]|,){1,3}".prop_map(StringMatch::Regex),
        any::<bool>().prop_map(StringMatch::Present),
    ]
}

fn any_route() -> impl Strategy<Value = Route> {
    let path = prop_oneof![
        3 => "/[ab/]{0,4}".prop_map(PathMatch::Exact),
        3 => "/[ab/]{0,3}".prop_map(PathMatch::Prefix),
        2 => "/([ab/]|a\\*|\\(a\\|b\\)|\\[ab\\]\\+|\\.|b\\?|a\\|/b){0,4}"
            .prop_map(PathMatch::Regex),
        1 => Just(PathMatch::Connect(Connect::Terminate)),
        1 => Just(PathMatch::Regex(".*".into())),
    ];
    let method = prop_oneof![3 => Just(None), 1 => Just(Some("GET")), 1 => Just(Some("PUT"))];
    let method = method.prop_map(|method| method.map(str::to_owned));
    let headers = prop::collection::vec(
        ("x-a|accept", any_string_match())
            .prop_map(|(name, matcher)| HeaderMatch { name, matcher }),
        0..2,
    );
    let query = prop::collection::vec(
        ("q|r", any_string_match()).prop_map(|(name, matcher)| QueryMatch { name, matcher }),
        0..2,
    );
    (path, method, headers, query).prop_map(|(path, method, headers, query)| {
        let mut route = route(path);
        (route.matcher.method, route.matcher.headers, route.matcher.query) =
            (method, headers, query);
        route
    })
}

fn any_request() -> impl Strategy<Value = Head> {
    let fields = prop::collection::vec(("x-a|X-A|accept|x-b", "[ab]{0,2}"), 0..4);
    let target = "/[abc/]{0,5}(\\?([qr]=?[ab]{0,2}&?){0,3}|)";
    let methods = prop_oneof![Just(Method::Get), Just(Method::Put), Just(Method::Connect)];
    (methods, target, fields).prop_map(|(method, target, fields)| {
        let target = if method == Method::Connect { String::new() } else { target };
        let mut head = Head::new();
        head.reset_to_request(method, b"any", target.as_bytes());
        for (name, value) in fields {
            head.append(name.as_str(), value.as_bytes());
        }
        head
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn agrees_with_trying_each(
        routes in prop::collection::vec(any_route(), 0..25),
        requests in prop::collection::vec(any_request(), 20),
    ) {
        let table = table(vec![host("all", &["*"], routes.clone())]);
        for head in requests {
            let naive = first_match(&routes, &head);
            prop_assert_eq!(found(&table, &head), naive, "{:?}", head);
            let explained = match table.explain(&head, &Path::of(&head)).pop() {
                Some(ExplainStep::Taken { id, .. }) => Some(id.0),
                _ => None,
            };
            prop_assert_eq!(explained, naive, "{:?}", head);
        }
    }
}
