//! Reading files: the demo, reloads, what cannot be read, and what is nonsense.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use sluice_base::{ClusterId, InterfaceId, ListenerId};
use sluice_config_model::{
    AccessLog, DeviceSpec, DomainPattern, IdRegistry, LoadBalancing, PathMatch, Protocol,
    RedirectPath, RouteAction, StringMatch,
};
use sluice_config_toml::{Style, load, load_with, parse};

fn demo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo.toml")
}

#[test]
fn the_demo_says_what_it_shows() {
    let (config, warnings) = load(&demo()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(warnings, [], "the demo is without a warning");
    let net0 = config.interface_by_name("net0").expect("net0");
    assert_eq!(net0.device, DeviceSpec::Tap { name: "sl0".to_owned() });
    assert_eq!(net0.addresses.len(), 1);
    assert_eq!(net0.host_addresses[0].to_string(), "10.9.0.1/24");
    let web = config.listener_by_name("web").expect("web");
    assert_eq!(web.address.to_string(), "10.9.0.2:80");
    let http = web.http().expect("web speaks http");
    assert_eq!(http.max_body, Some(64 << 20));
    assert_eq!(http.virtual_hosts.len(), 1);
    assert_eq!(http.virtual_hosts[0].domains, [DomainPattern::Any]);
    let app = config.cluster_by_name("app").expect("app");
    let canary = config.cluster_by_name("canary").expect("canary");
    assert_eq!(app.load_balancing, LoadBalancing::LeastRequest);
    assert_eq!(app.connect_timeout, Duration::from_secs(1));
    let endpoints: Vec<_> = app.endpoints.iter().map(|e| e.address.to_string()).collect();
    assert_eq!(endpoints, ["10.9.0.1:8081", "10.9.0.1:8082"]);
    let [ping, old, weighted, api, blue, rest] = http.virtual_hosts[0].routes.as_slice() else {
        panic!("six routes, not {}", http.virtual_hosts[0].routes.len());
    };
    assert_eq!(ping.matcher.path, PathMatch::Exact("/ping".to_owned()));
    assert!(matches!(&ping.action, RouteAction::DirectResponse(r) if r.body == "pong\n"));
    let RouteAction::Redirect(redirect) = &old.action else { panic!("a redirect") };
    assert_eq!(redirect.path, Some(RedirectPath::Prefix("/new/".to_owned())));
    assert_eq!(redirect.status, 302);
    let RouteAction::WeightedClusters(shares) = &weighted.action else { panic!("weights") };
    let shares: Vec<_> = shares.iter().map(|share| (share.cluster, share.weight)).collect();
    assert_eq!(shares, [(app.id, 90), (canary.id, 10)]);
    assert_eq!(api.timeout, Some(Duration::from_secs(5)));
    assert_eq!(api.prefix_rewrite.as_deref(), Some("/"));
    assert_eq!(blue.matcher.headers[0].matcher, StringMatch::Exact("blue".to_owned()));
    assert_eq!(rest.action, RouteAction::Cluster(app.id));
    assert_eq!(rest.timeout, Some(Duration::from_secs(15)));
    let raw = config.listener_by_name("raw").expect("raw");
    assert_eq!(raw.protocol, Protocol::Tcp { cluster: app.id });
    assert_eq!(config.access_log, Some(AccessLog::default()));
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9901");
}

const BASE: &str = r#"
[[interface]]
name = "net0"
device = "tap:sl0"
addresses = ["10.9.0.2/24"]
"#;

fn with_clusters(names: &[&str]) -> String {
    let mut text = BASE.to_owned();
    for (port, name) in (9_000..).zip(names) {
        text += &format!("[[cluster]]\nname = \"{name}\"\nendpoints = [\"10.9.0.1:80\"]\n");
        text += &format!("[[listener]]\nname = \"to-{name}\"\naddress = \"10.9.0.2:{port}\"\n");
        text += &format!("protocol = \"tcp\"\ncluster = \"{name}\"\n");
    }
    text
}

/// Counters and pools are arrays by id: an id that moved would show another's numbers.
#[test]
fn ids_survive_a_reload_and_references_follow() {
    let mut registry = IdRegistry::new();
    let (first, _) = parse("a", &with_clusters(&["a", "b", "c"]), &mut registry).expect("valid");
    let (second, _) = parse("a", &with_clusters(&["c", "d", "a"]), &mut registry).expect("valid");
    for name in ["a", "c"] {
        let (old, new) = (first.cluster_by_name(name), second.cluster_by_name(name));
        assert_eq!(old.map(|c| (c.id, c.endpoints[0].id)), new.map(|c| (c.id, c.endpoints[0].id)));
        let listener = format!("to-{name}");
        let (old, new) = (first.listener_by_name(&listener), second.listener_by_name(&listener));
        assert_eq!(old.map(|l| l.id), new.map(|l| l.id));
    }
    for config in [&first, &second] {
        for listener in &config.listeners {
            let Protocol::Tcp { cluster } = listener.protocol else { panic!("tcp") };
            let cluster = config.cluster(cluster).expect("a reference leads to a cluster");
            assert_eq!(listener.name, format!("to-{}", cluster.name));
        }
    }
    assert_eq!(second.cluster_by_name("d").map(|c| c.id), Some(ClusterId(3)), "b is not free yet");
    let retired = registry.take_retired();
    assert_eq!((retired.clusters.len(), retired.listeners.len()), (1, 1));
    assert_eq!(second.interfaces[0].id, InterfaceId(0));
}

#[test]
fn a_bad_file_leaves_the_registry_as_it_was() {
    let mut registry = IdRegistry::new();
    parse("a", &with_clusters(&["a", "b"]), &mut registry).expect("valid");
    let bad = with_clusters(&["b", "x"]) + "colour = 1\n";
    parse("a", &bad, &mut registry).expect_err("an unknown key");
    assert!(registry.take_retired().is_empty());
    let (config, _) = parse("a", &with_clusters(&["a", "b"]), &mut registry).expect("valid");
    assert_eq!(config.listener_by_name("to-a").map(|listener| listener.id), Some(ListenerId(0)));
}

fn message_of(path: &Path) -> String {
    load_with(path, &mut IdRegistry::new()).expect_err("not a valid file").to_string()
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("missing.toml");
    let shown = message_of(&missing);
    assert!(
        shown.starts_with(&format!("{}: the file does not exist", missing.display())),
        "{shown}"
    );
    assert!(shown.contains("help: "), "{shown}");

    let shown = message_of(folder.path());
    assert!(shown.contains("this is a directory, not a file"), "{shown}");

    let shown = message_of(&missing.join("below"));
    assert!(shown.contains("the file does not exist"), "{shown}");

    let empty = folder.path().join("empty.toml");
    std::fs::write(&empty, "").expect("writable");
    let shown = message_of(&empty);
    assert!(shown.starts_with(&format!("{}:1:1: the file is empty", empty.display())), "{shown}");

    let latin = folder.path().join("latin.toml");
    std::fs::write(&latin, b"[node]\nid = \"\xe4\"\n").expect("writable");
    let shown = message_of(&latin);
    let expected = format!("{}:2:7: the file is not UTF-8: byte 0xe4", latin.display());
    assert!(shown.starts_with(&expected), "{shown}");

    let huge = folder.path().join("huge.toml");
    let file = std::fs::File::create(&huge).expect("writable");
    file.set_len(65 << 20).expect("a sparse file");
    let shown = message_of(&huge);
    assert!(shown.contains("the file is larger than 64 MiB"), "{shown}");
}

#[test]
fn a_file_without_permission_says_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(BASE.as_bytes()).expect("writable");
    let nobody = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(file.path(), nobody).expect("our own file");
    if std::fs::File::open(file.path()).is_ok() {
        return; // root reads everything
    }
    let shown = message_of(file.path());
    assert!(shown.contains("no permission to read the file"), "{shown}");
}

#[test]
fn colours_are_for_those_who_ask() {
    let errors = parse("x.toml", "colour = 1\n", &mut IdRegistry::new()).expect_err("unknown");
    assert!(errors.render(Style::Colored).contains('\u{1b}'));
    assert!(!errors.render(Style::Plain).contains('\u{1b}'));
    assert_eq!(errors.errors()[0].position, Some((1, 1)));
}

/// What an endless file costs must be bounded, and so must be what is said about it.
#[test]
fn a_hundred_thousand_faults_give_a_short_answer() {
    let mut text = BASE.to_owned();
    for number in 0..20_000 {
        text +=
            &format!("[[cluster]]\nname = \"c{number}\"\nendpoints = [\"10.9.0.1:80\"]\nx = 1\n");
        text += "[[listener]]\nname = \"l\"\naddress = \"10.9.0.2:80\"\nprotocol = \"tcp\"\ncluster = \"d\"\n";
    }
    let errors = parse("big.toml", &text, &mut IdRegistry::new()).expect_err("all wrong");
    assert!(errors.errors().len() <= 50);
    assert!(errors.to_string().ends_with("too many errors; the rest is not shown"));
}

#[test]
fn a_hundred_thousand_clusters_load() {
    let mut text = BASE.to_owned();
    for number in 0..100_000 {
        text += &format!("[[cluster]]\nname = \"c{number}\"\nendpoints = [\"10.9.0.1:80\"]\n");
    }
    let (config, warnings) = parse("big", &text, &mut IdRegistry::new()).expect("valid");
    assert_eq!(config.clusters.len(), 100_000);
    assert_eq!(warnings.len(), 50, "unused clusters, as many as are shown");
    text += "[[cluster]]\nname = \"one-more\"\nendpoints = []\n";
    let errors = parse("big", &text, &mut IdRegistry::new()).expect_err("one too many");
    assert!(errors.to_string().contains("100000 is the limit"), "{errors}");
}

/// A line that nobody could read is named, not shown.
#[test]
fn endless_lines_are_not_printed() {
    let text = format!("x = \"{}\"\n{BASE}", "y".repeat(100_000));
    let errors = parse("x.toml", &text, &mut IdRegistry::new()).expect_err("unknown key");
    let shown = errors.to_string();
    assert!(shown.starts_with("x.toml:1:1: unknown key `x`"), "{shown}");
    assert!(shown.len() < 1_000, "{} bytes", shown.len());
}

#[test]
fn deep_nesting_is_an_error() {
    let text = format!("x = {}1{}\n", "[".repeat(10_000), "]".repeat(10_000));
    parse("x.toml", &text, &mut IdRegistry::new()).expect_err("too deep");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The demo with a piece replaced: a configuration or an error with a place, never a panic.
    #[test]
    fn mangled_files_never_panic(at in 0.0..1.0_f64, cut in 0_usize..40, put in "\\PC{0,12}") {
        let mut text = std::fs::read_to_string(demo()).expect("the demo");
        let mut start = (text.len() as f64 * at) as usize;
        while !text.is_char_boundary(start) { start -= 1; }
        let mut end = (start + cut).min(text.len());
        while !text.is_char_boundary(end) { end += 1; }
        text.replace_range(start..end, &put);
        if let Err(errors) = parse("m.toml", &text, &mut IdRegistry::new()) {
            for error in errors.errors() {
                let (line, column) = error.position.expect("a place");
                prop_assert!(line >= 1 && column >= 1 && line <= text.lines().count() + 1);
            }
        }
    }

    #[test]
    fn nonsense_never_panics(text in "(\\[|\\]|=|\"|\\.|,|\\{|\\}|\n|listener|route|1|é){0,60}") {
        let _ = parse("n.toml", &text, &mut IdRegistry::new()).map_err(|errors| errors.to_string());
    }
}

/// What a listener or cluster says of its connections holds for both versions, unless its `http2` says
/// otherwise.
#[test]
fn lives_of_connections_are_inherited_by_http2() {
    let file = |own: &str| {
        format!(
            "[[interface]]\nname = \"n\"\ndevice = \"tap:t\"\naddresses = [\"10.9.0.2/24\"]\n\
             [[listener]]\nname = \"web\"\naddress = \"10.9.0.2:80\"\n\
             max_requests_per_connection = 7\nmax_connection_duration = \"3s\"\n\
             [listener.http2]\n{own}\n[[listener.virtual_host]]\ndomains = [\"*\"]\n\
             [[listener.virtual_host.route]]\nprefix = \"/\"\ndirect_response = {{ status = 200 }}\n"
        )
    };
    let three = Some(Duration::from_secs(3));
    for (own, requests, duration) in [
        ("", Some(7), three),
        ("max_requests_per_connection = 9", Some(9), three),
        ("max_requests_per_connection = 0\nmax_connection_duration = \"0s\"", None, None),
    ] {
        let (config, _) = parse("a", &file(own), &mut IdRegistry::new()).expect("valid");
        let http = config.listeners[0].http().expect("it speaks HTTP");
        assert_eq!((http.life.max_requests, http.life.max_duration), (Some(7), three));
        let http2 = &http.http2;
        let found = (http2.max_requests_per_connection, http2.max_connection_duration);
        assert_eq!(found, (requests, duration), "{own}");
    }
}
