//! `sluice explain`: what would happen to a request, and why.

use std::process::ExitCode;

use sluice_config_model::{Config, IdRegistry, Listener, LoadBalancing, Protocol};
use sluice_l7_core::{Head, Method};
use sluice_l7_route::{Action, CompiledRoute, Path, PathScratch, RouteTable};

use crate::cli::Explain;
use crate::start::load;
use crate::{FAILED, NO_ROUTE};

/// A request that cannot be explained.
#[derive(Debug, thiserror::Error)]
enum Unclear {
    #[error("`{0}` is not a URL; write http://HOST[:PORT]/PATH[?QUERY]")]
    Url(String),
    #[error("`{0}` is not a header; write 'name: value'")]
    Header(String),
    #[error("`{0}` is not a method: letters, digits and - only")]
    Method(String),
    #[error("there is no listener `{name}`; there are {known}")]
    NoListener { name: String, known: String },
    #[error("no listener has port {port}; name one by --listener: {known}")]
    NoListenerOnPort { port: u16, known: String },
    #[error("several listeners have port {port}; name one by --listener: {known}")]
    Ambiguous { port: u16, known: String },
    #[error("the path cannot be normalised ({0}): the request is answered with 400")]
    Path(#[from] sluice_l7_route::PathError),
    #[error("listener `{listener}`: {error}")]
    Compile { listener: String, error: sluice_l7_route::CompileError },
}

/// Prints the way of a request; exit status 0 with a route, 3 without one, 1 if it is unclear.
pub(crate) fn explain(request: &Explain) -> ExitCode {
    let Some(config) = load(&request.config, &mut IdRegistry::new()) else {
        return ExitCode::from(FAILED);
    };
    match walk(&config, request) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NO_ROUTE),
        Err(unclear) => {
            eprintln!("{unclear}");
            ExitCode::from(FAILED)
        }
    }
}

/// The parts of a URL.
struct Url<'a> {
    authority: &'a str,
    port: u16,
    target: &'a str,
    /// Whether it is about datagrams: `udp://10.9.0.2:53`.
    is_udp: bool,
}

fn walk(config: &Config, request: &Explain) -> Result<bool, Unclear> {
    let url = parse_url(&request.url)?;
    let listener = find_listener(config, request.listener.as_deref(), &url)?;
    println!("listener `{}` on {}", listener.name, listener.address);
    let http = match &listener.protocol {
        Protocol::Http(http) => http,
        Protocol::Tcp { cluster } => {
            println!("  protocol = \"tcp\": every connection is relayed, whatever its bytes say");
            print_cluster(config, *cluster);
            return Ok(true);
        }
        Protocol::Udp { cluster, .. } => {
            println!(
                "  protocol = \"udp\": all datagrams of a client's address and port go to one endpoint"
            );
            print_cluster(config, *cluster);
            return Ok(true);
        }
    };
    let table = RouteTable::compile(http)
        .map_err(|error| Unclear::Compile { listener: listener.name.clone(), error })?;
    let head = head(request, &url)?;
    let mut scratch = PathScratch::default();
    let path = Path::normalize(url.target.as_bytes(), &mut scratch)?;
    if path.is_changed() {
        println!("  path {} is normalised to {}", url.target, path.target().escape_ascii());
    }
    for step in table.explain(&head, &path) {
        println!("  {step}");
    }
    let found = match head.method() {
        Method::Connect => table.find_connect(&head),
        _ => table.find(&head, &path),
    };
    match found {
        Ok(route) => {
            if let Some(connect) = route.connect() {
                println!("  connect = \"{}\"", connect.as_str());
            }
            print_action(config, route, &head);
            Ok(true)
        }
        Err(why) => {
            println!("  answered with 404, response flag NR: {why}");
            Ok(false)
        }
    }
}

fn parse_url(text: &str) -> Result<Url<'_>, Unclear> {
    let bad = || Unclear::Url(text.to_owned());
    if text.starts_with('/') {
        return Ok(Url { authority: "", port: 80, target: text, is_udp: false });
    }
    let schemes = [("http://", 80), ("https://", 443), ("udp://", 0)];
    let known = |(scheme, port): (&str, u16)| Some((text.strip_prefix(scheme)?, port));
    let (rest, default_port) = schemes.into_iter().find_map(known).ok_or_else(bad)?;
    let is_udp = text.starts_with("udp://");
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.is_empty() || authority.contains('@') {
        return Err(bad());
    }
    let (_, port) = split_port(authority).ok_or_else(bad)?;
    let port = match port {
        Some(port) => port.parse().map_err(|_| bad())?,
        None => default_port,
    };
    let target = if target.is_empty() { "/" } else { target };
    if !target.starts_with('/') {
        return Err(bad());
    }
    Ok(Url { authority, port, target, is_udp })
}

/// Host and port of an authority; the colons of an IPv6 address stand in brackets.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let Some(bracketed) = authority.strip_prefix('[') else {
        return Some(match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        });
    };
    let (host, rest) = bracketed.split_once(']')?;
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

fn find_listener<'a>(
    config: &'a Config,
    name: Option<&str>,
    url: &Url<'_>,
) -> Result<&'a Listener, Unclear> {
    let known = || {
        let names = config.listeners.iter().map(|one| format!("`{}` ({})", one.name, one.address));
        names.collect::<Vec<_>>().join(", ")
    };
    if let Some(name) = name {
        let missing = || Unclear::NoListener { name: name.to_owned(), known: known() };
        return config.listener_by_name(name).ok_or_else(missing);
    }
    let port = url.port;
    let is_there = |one: &&Listener| one.address.port() == port && one.is_udp() == url.is_udp;
    let there = || config.listeners.iter().filter(is_there);
    // Where several have the port, the address that the URL names decides.
    let ip = split_port(url.authority).and_then(|(host, _)| host.parse::<std::net::IpAddr>().ok());
    if let Some(named) = there().find(|one| Some(one.address.ip()) == ip) {
        return Ok(named);
    }
    let mut there = there();
    match (there.next(), there.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Unclear::NoListenerOnPort { port, known: known() }),
        (Some(_), Some(_)) => Err(Unclear::Ambiguous { port, known: known() }),
    }
}

fn head(request: &Explain, url: &Url<'_>) -> Result<Box<Head>, Unclear> {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !is_token(&request.method) {
        return Err(Unclear::Method(request.method.clone()));
    }
    let mut head = Box::new(Head::new());
    let method = Method::parse(request.method.as_bytes());
    head.reset_to_request(method, url.authority.as_bytes(), url.target.as_bytes());
    for header in &request.headers {
        let bad = || Unclear::Header(header.clone());
        let (name, value) = header.split_once(':').ok_or_else(bad)?;
        let (name, value) = (name.trim(), value.trim());
        if !is_token(&name.replace('_', "-")) {
            return Err(bad());
        }
        if name.eq_ignore_ascii_case("host") {
            head.set_authority(value.as_bytes());
        } else {
            head.append(name.as_bytes(), value.as_bytes());
        }
    }
    Ok(head)
}

fn print_action(config: &Config, route: &CompiledRoute, head: &Head) {
    match &route.action {
        Action::Cluster(cluster) => print_cluster(config, *cluster),
        Action::Weighted(weighted) => {
            println!("  one of several clusters, by weight:");
            for cluster in weighted.clusters() {
                print_cluster(config, cluster);
            }
        }
        Action::Redirect(redirect) => {
            let mut location = Vec::new();
            redirect.location(head, sluice_config_model::Scheme::Http, &mut location);
            println!("  redirect {} to {}", redirect.status, location.escape_ascii());
        }
        Action::Direct(direct) => println!("  answered by Sluice with {}", direct.status),
    }
}

fn print_cluster(config: &Config, id: sluice_base::ClusterId) {
    let Some(cluster) = config.cluster(id) else { return };
    let balancing = match cluster.load_balancing {
        LoadBalancing::RoundRobin => "round_robin",
        LoadBalancing::LeastRequest => "least_request",
        LoadBalancing::Maglev => "maglev",
    };
    println!("  cluster `{}`, load balancing {balancing}", cluster.name);
    for endpoint in &cluster.endpoints {
        println!("    endpoint {}", endpoint.address);
    }
    if cluster.endpoints.is_empty() {
        println!("    no endpoints: answered with 503, response flag UH");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_an_authority_a_port_and_a_target() {
        let url = parse_url("http://shop.example:8080/cart?item=7#top").expect("a URL");
        assert_eq!(
            (url.authority, url.port, url.target),
            ("shop.example:8080", 8080, "/cart?item=7")
        );
        let url = parse_url("https://shop.example").expect("a URL");
        assert_eq!((url.port, url.target), (443, "/"));
        for bad in ["shop.example/x", "ftp://x/", "http:///x", "http://x:port/", "http://u@x/"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
