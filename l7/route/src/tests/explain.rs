//! What people read.

use sluice_config_model::{HeaderMatch, QueryMatch, StringMatch};

use super::{exact, get, host, prefix, regex, route, table};
use crate::{Path, RouteTable};

fn explained(table: &RouteTable, authority: &str, target: &str) -> String {
    let mut head = get(authority, target);
    head.append("x-team", b"red");
    let steps = table.explain(&head, &Path::of(&head));
    steps.iter().map(|step| format!("{step}\n")).collect()
}

#[test]
fn every_step_says_why() {
    let mut team = route(prefix("/"));
    let blue = StringMatch::Exact("blue".into());
    team.matcher.headers.push(HeaderMatch { name: "x-team".into(), matcher: blue });
    let mut version = route(prefix("/"));
    let number = StringMatch::Regex("[0-9]+".into());
    version.matcher.query.push(QueryMatch { name: "v".into(), matcher: number });
    let mut post = route(prefix("/"));
    post.matcher.method = Some("POST".into());
    post.name = Some("upload".into());
    let routes = vec![
        route(exact("/ping")),
        route(regex("/v[0-9]/.*")),
        team,
        version,
        post,
        route(prefix("/a")),
        route(prefix("/")),
    ];
    let table = table(vec![host("web", &["www.example.com", "*.example.org"], routes)]);
    assert_eq!(
        explained(&table, "WWW.example.org:80", "/a/b?v=x"),
        "virtual host `web`: domain \"*.example.org\" takes host \"WWW.example.org\"\n\
         route `#1` no: wants a path that is \"/ping\"\n\
         route `#2` no: wants a path that matches \"/v[0-9]/.*\"\n\
         route `#3` no: wants a header x-team that is \"blue\" (it is \"red\")\n\
         route `#4` no: wants a query parameter v that matches \"[0-9]+\" (it is \"x\")\n\
         route `upload` no: wants method POST\n\
         route `#6` yes: the path begins with \"/a\"\n"
    );
    assert!(
        explained(&table, "www.example.com", "/")
            .contains("that matches \"[0-9]+\" (there is none)")
    );
    assert_eq!(
        explained(&table, "example.org", "/"),
        "no virtual host has a domain for host \"example.org\"\n"
    );
    assert!(
        explained(&table, "www.example.com", "*")
            .ends_with("no route of the virtual host takes the request\n")
    );
}
