//! IPv6 over a TAP, with the kernel as neighbour, client and backend; both families mixed.

use std::io::Write;

use crate::lab::{Backend, Lab, Nginx, Sluice, respond, tap_config, wait_until};

/// Two listeners, each towards a backend of the other family, and one of IPv6 alone.
const MIXED: &str = r#"
[[listener]]
name = "six"
address = "[fd09::2]:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/four"
cluster = "four"
[[listener.virtual_host.route]]
prefix = "/"
cluster = "six"
timeout = "60s"

[[listener]]
name = "four"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "six"

[[cluster]]
name = "six"
endpoints = ["[fd09::1]:8080"]
[[cluster]]
name = "four"
endpoints = ["10.9.0.1:8081"]
"#;

fn config(rest: &str) -> String {
    tap_config(rest)
        .replace("addresses = [\"10.9.0.2/24\"]", "addresses = [\"10.9.0.2/24\", \"fd09::2/64\"]")
        .replace("[\"10.9.0.1/24\"]", "[\"10.9.0.1/24\", \"fd09::1/64\"]")
}

/// nginx on both families, with files of `www`.
fn nginx(lab: &Lab) -> Nginx {
    let server = "server { listen 10.9.0.1:8080; listen [fd09::1]:8080 backlog=8192; \
                  location = / { return 200 \"hello\\n\"; } location / { try_files $uri =404; } }";
    Nginx::start(lab, 8080, server)
}

#[test]
fn requests_cross_between_the_families() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &config(MIXED));
    let _six = Backend::echo("[fd09::1]:8080");
    let _four = Backend::echo("10.9.0.1:8081");
    let text = lab.fetch(&["-g", "http://[fd09::2]/hello"]);
    assert!(text.starts_with("backend: [fd09::1]:8080\nGET /hello\n"), "{text}");
    assert!(text.contains("\nx-forwarded-for: fd09::1\n"), "{text}");
    assert!(text.contains("\nhost: [fd09::2]\n"), "{text}");
    let line = sluice.log_of("/hello");
    assert_eq!(line["upstream_host"], "[fd09::1]:8080", "{line}");
    let client = line["downstream_remote_address"].as_str().unwrap_or_default().to_owned();
    assert!(client.starts_with("[fd09::1]:"), "{line}");

    let text = lab.fetch(&["-g", "http://[fd09::2]/four"]);
    assert!(text.starts_with("backend: 10.9.0.1:8081\n"), "{text}");
    assert!(text.contains("\nx-forwarded-for: fd09::1\n"), "{text}");
    let text = lab.fetch(&["http://10.9.0.2/there"]);
    assert!(text.starts_with("backend: [fd09::1]:8080\n"), "{text}");
    assert!(text.contains("\nx-forwarded-for: 10.9.0.1\n"), "{text}");

    lab.run(15, "ping -6 -c 3 -i 0.2 -W 5 fd09::2").expect_success();
    lab.run(15, "ping -6 -c 3 -i 0.2 -W 5 -s 1400 fd09::2").expect_success();
    let known = lab.run(5, "ip -6 neighbor show dev sl0").expect_success().stdout;
    assert!(known.contains("fd09::2 lladdr") && known.contains("router"), "{known}");
    let show = |what| Sluice::command(&lab, &["show", what]).expect_success().stdout;
    assert!(show("neighbors").contains("fd09::1"), "{}", show("neighbors"));
    assert!(show("listeners").contains("[fd09::2]:80"), "{}", show("listeners"));
    assert!(show("routes").contains("fd09::/64"), "{}", show("routes"));
    assert_eq!(sluice.metrics().sum("sluice_stack_duplicate_addresses_total", &[]), 0);
    let file = lab.path("sluice.toml");
    let file = file.to_str().expect("a path in UTF-8");
    let explain = ["explain", "-c", file, "GET", "http://[fd09::2]/x"];
    let explained = Sluice::command(&lab, &explain).expect_success().stdout;
    assert!(explained.contains("[fd09::1]:8080"), "{explained}");
    sluice.stop();
}

#[test]
fn a_refused_port_is_told() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &config(MIXED));
    // Nobody listens on the backend: the kernel resets, Sluice answers 503.
    let code = lab.fetch(&["-g", "-o", "/dev/null", "-w", "%{http_code}", "http://[fd09::2]/"]);
    assert_eq!(code, "503");
    // Nobody listens on Sluice's port either.
    let refused = lab.curl(&["-g", "http://[fd09::2]:81/"]);
    assert_eq!(refused.code(), 7, "{}", refused.stderr);
    // UDP is answered by ICMPv6: port unreachable.
    let socket = std::net::UdpSocket::bind("[fd09::1]:0").expect("an address of the TAP");
    socket.connect("[fd09::2]:53").expect("a route");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("a socket");
    socket.send(b"anybody?").expect("room");
    let answer = socket.recv(&mut [0; 16]).expect_err("nobody");
    assert_eq!(answer.kind(), std::io::ErrorKind::ConnectionRefused);
    sluice.stop();
}

#[test]
fn a_hundred_megabytes_both_ways() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &config(MIXED));
    let bytes: Vec<u8> =
        (0..25_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    {
        let _nginx = nginx(&lab);
        lab.write("www/large", &bytes);
        lab.fetch(&["-g", "-o", "down", "http://[fd09::2]/large"]);
        lab.run(20, "cmp www/large down").expect_success();
    }
    let arrived = lab.path("arrived");
    let _backend = Backend::http("[fd09::1]:8080", move |request, stream| {
        let kept = std::fs::File::create(&arrived).and_then(|mut f| f.write_all(&request.body));
        let status = if kept.is_ok() { "200 OK" } else { "500 Internal Server Error" };
        respond(stream, status, &[], b"kept\n")
    });
    assert_eq!(lab.fetch(&["-g", "-T", "www/large", "http://[fd09::2]/up"]), "kept\n");
    lab.run(20, "cmp www/large arrived").expect_success();
    sluice.stop();
}

#[test]
fn a_hundred_connections_of_wrk_over_ipv6() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &config(MIXED));
    let _nginx = nginx(&lab);
    let output = lab.run(30, "wrk -t 1 -c 100 -d 4s http://[fd09::2]/").expect_success().stdout;
    assert!(!output.contains("Socket errors") && !output.contains("Non-2xx"), "{output}");
    sluice.wait_metric("envoy_http_downstream_rq_total", &[], |count| count > 2_000);
    sluice.stop();
}

/// Bodies pass whatever the MTU, the smallest of IPv6 included.
#[test]
fn bodies_pass_over_ipv6_whatever_the_mtu() {
    for mtu in [1_280, 9_000] {
        let lab = Lab::new();
        let config = config(MIXED)
            .replace("device = \"tap:sl0\"", &format!("device = \"tap:sl0\"\nmtu = {mtu}"));
        let sluice = Sluice::start(&lab, &config);
        let _backend = Backend::http("[fd09::1]:8080", |request, stream| {
            respond(stream, "200 OK", &[], &request.body)
        });
        let body: Vec<u8> = (0..2_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
        lab.write("body", body);
        lab.fetch(&["-g", "-T", "body", "-o", "back", "http://[fd09::2]/"]);
        lab.run(20, "cmp body back").expect_success();
        sluice.stop();
    }
}

/// The kernel's end has the address already: Sluice gives it up and says so.
#[test]
fn an_address_of_the_neighbour_is_given_up() {
    let lab = Lab::new();
    lab.run(5, "ip tuntap add dev sl0 mode tap multi_queue vnet_hdr").expect_success();
    lab.run(5, "ip link set sl0 up").expect_success();
    lab.run(5, "ip -6 address add fd09::2/64 dev sl0 nodad").expect_success();
    let sluice = Sluice::start(&lab, &config(MIXED));
    wait_until(10, "the duplicate address to be found", || {
        sluice.metrics().sum("sluice_stack_duplicate_addresses_total", &[]) == 1
    });
    wait_until(5, "the operator to hear of it", || {
        sluice.stderr().contains("belong(s) to another station")
    });
    // IPv4 goes on.
    let _four = Backend::echo("10.9.0.1:8081");
    lab.run(15, "ping -c 1 -W 5 10.9.0.2").expect_success();
    sluice.stop();
}
