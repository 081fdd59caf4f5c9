//! HTTP/2 on either side, and between the versions: curl and h2load as clients, nginx as a backend;
//! h2spec, and gRPC's own interoperability tests through Sluice.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::lab::{Backend, Client, Lab, Nginx, Sluice, peer, respond, tap_config, wait_until};

const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/one/"
cluster = "one"
[[listener.virtual_host.route]]
prefix = "/two/"
cluster = "two"
[[listener.virtual_host.route]]
prefix = "/same/"
cluster = "same"
[[listener.virtual_host.route]]
prefix = "/sink/"
cluster = "sink"
[[listener.virtual_host.route]]
prefix = "/direct"
direct_response = { status = 200, body = "ours\n" }

[[cluster]]
name = "one"
endpoints = ["10.9.0.1:8081"]
[[cluster]]
name = "two"
http = "2"
endpoints = ["10.9.0.1:8082"]
[[cluster]]
name = "same"
http = "same"
endpoints = ["10.9.0.1:8083"]
[[cluster]]
name = "sink"
endpoints = ["10.9.0.1:8084"]
"#;

/// nginx 1.22 speaks either version on a port, not both: `same` gets one that speaks HTTP/2.
fn nginx(lab: &Lab) -> Nginx {
    let server = |port: u16, protocol: &str| {
        format!(
            "server {{ listen 10.9.0.1:{port} {protocol} backlog=8192; http2_max_requests 10000000; \
             location ~ ^/[a-z]+/large$ {{ try_files /large =404; }} \
             location / {{ return 200 \"$server_protocol $http_host $request_uri\\n\"; }} }}"
        )
    };
    lab.write("www/large", (0..3_000_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let servers = [server(8081, ""), server(8082, "http2"), server(8083, "http2")];
    Nginx::start(lab, 8081, &servers.concat())
}

const URL: &str = "http://10.9.0.2/sink/x";
const TWO: &str = "--http2-prior-knowledge";
const ONE: &str = "--http1.1";

#[test]
fn both_versions_meet_both_versions() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path("www")).expect("the folder is ours");
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _nginx = nginx(&lab);
    for client in [ONE, TWO] {
        for (cluster, spoken) in [("one", "HTTP/1.1"), ("two", "HTTP/2.0")] {
            let url = format!("http://10.9.0.2/{cluster}/x?y");
            let text = lab.fetch(&[client, &url]);
            assert_eq!(text, format!("{spoken} 10.9.0.2 /{cluster}/x?y\n"), "{client}");
            let url = format!("http://10.9.0.2/{cluster}/large");
            lab.fetch(&[client, "-o", "down", &url]);
            lab.run(5, "cmp www/large down").expect_success();
            let head = lab.fetch(&[client, "-I", &url]);
            assert!(head.to_lowercase().contains("content-length: 3000000"), "{head}");
        }
        let version = lab.fetch(&[client, "-w", "%{http_version}", "http://10.9.0.2/direct"]);
        assert_eq!(version, format!("ours\n{}", if client == TWO { "2" } else { "1.1" }));
    }
    assert!(lab.fetch(&[TWO, "http://10.9.0.2/same/x"]).starts_with("HTTP/2.0 "));
    // What speaks HTTP/2 alone is no backend for a request of HTTP/1.1.
    let status = ["-o", "/dev/null", "-w", "%{http_code}", ONE, "http://10.9.0.2/same/x"];
    assert_eq!(lab.fetch(&status), "502");
    let line = sluice.log_of("/two/x?y");
    assert_eq!(line["protocol"], "HTTP/1.1", "{line}");
    let metrics = sluice.metrics();
    assert!(metrics.sum("envoy_http_downstream_cx_http2_total", &[]) >= 6);
    let two = ["envoy_cluster_name=\"two\""];
    assert_eq!(metrics.sum("envoy_cluster_upstream_cx_http2_total", &two), 1, "one for all");
    assert_eq!(metrics.sum("envoy_cluster_upstream_cx_protocol_error", &two), 0);
    sluice.stop();
}

#[test]
fn uploads_of_known_and_of_unknown_length() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _sink = Backend::http("10.9.0.1:8084", |request, stream| {
        let sum =
            request.body.iter().fold(0u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte));
        let chunked = request.header("transfer-encoding").is_some();
        respond(stream, "200 OK", &[], format!("{} {sum} {chunked}", request.body.len()).as_bytes())
    });
    let body: Vec<u8> = (0..2_000_000u32).map(|i| (i % 241) as u8).collect();
    let sum = body.iter().fold(0u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte));
    lab.write("body", body);
    for (source, chunked) in [("-T body", false), ("-T - < body", true)] {
        for client in [ONE, TWO] {
            let script = format!("curl -sS -m 30 {client} -H Expect: -X POST {URL} {source}\n");
            lab.write("upload.sh", script);
            let said = lab.run(40, "sh upload.sh").expect_success().stdout;
            assert_eq!(said, format!("2000000 {sum} {chunked}"), "{client} {source}");
        }
    }
    sluice.stop();
}

#[test]
fn many_streams_of_many_connections() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path("www")).expect("the folder is ours");
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _nginx = nginx(&lab);
    for path in ["one/x", "two/x", "direct"] {
        let load = format!("h2load -n 5000 -c 10 -m 20 http://10.9.0.2/{path}");
        let said = lab.run(60, &load).expect_success().stdout;
        assert!(said.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
        assert!(said.contains("status codes: 5000 2xx"), "{said}");
    }
    let load = lab.run(60, "wrk -t 1 -c 20 -d 2s http://10.9.0.2/two/x").expect_success().stdout;
    assert!(!load.contains("Socket errors") && !load.contains("Non-2xx"), "{load}");
    let two = ["envoy_cluster_name=\"two\""];
    let made = sluice.metrics().sum("envoy_cluster_upstream_cx_http2_total", &two);
    assert!((1..=6).contains(&made), "{made} connections for at most 200 streams at a time");
    sluice.stop();
}

#[test]
fn the_preface_may_come_in_pieces_and_what_only_begins_like_it_is_refused() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut client = Client::connect("10.9.0.2:80");
    for cut in [0..3, 3..17, 17..24] {
        client.send(&preface[cut]);
        std::thread::sleep(Duration::from_millis(30));
    }
    client.send(settings);
    let header = client.read_exactly(9);
    assert_eq!((header[3], header[5..9].to_vec()), (4, vec![0; 4]), "SETTINGS come first");
    let mut other = Client::connect("10.9.0.2:80");
    other.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert!(other.response().status >= 400);
    other.expect_end();
    sluice.stop();
    // What carries nothing is closed with a GOAWAY that says so.
    let rest = client.read_to_end();
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(rest.ends_with(&goaway), "{rest:?}");
}

/// What h2spec asks for and does not get, with the reason.
const NOT_AS_H2SPEC_WANTS: [&str; 2] = [
    // 3.5, 2: what does not begin as HTTP/2 is HTTP/1.1 here, and is answered in it (RFC 9113, 3.4
    // lets an endpoint do that where both are spoken).
    "Sends invalid connection preface",
    // 5.3.1, 2: RFC 9113, 5.3.2 deprecates priorities; what PRIORITY says on an idle stream, where there
    // is nothing to reset, is ignored.
    "Sends PRIORITY frame that depend on itself",
];

#[test]
fn h2spec_is_content_but_for_a_list() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _sink = Backend::http("10.9.0.1:8084", |_, stream| respond(stream, "200 OK", &[], b"done"));
    let command = format!("{} -h 10.9.0.2 -p 80 -P /sink/x -o 3", peer("h2spec"));
    let said = lab.run(300, &command).stdout;
    let failed: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once("\u{d7} ")?.1.split_once(": "))
        .map(|(_, what)| what)
        .collect();
    let passed = said.lines().find(|line| line.contains(" passed, ")).unwrap_or_default();
    assert!(passed.starts_with("145 tests, "), "{said}");
    for what in &failed {
        assert!(NOT_AS_H2SPEC_WANTS.contains(what), "{what}: {said}");
    }
    sluice.stop();
}

/// Those of the list that need neither TLS nor somebody's cloud.
const CASES: [&str; 16] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
    "channel_soak",
];

#[test]
fn grpc_s_own_interoperability_tests_pass() {
    let lab = Lab::new();
    let sluice = Sluice::start(
        &lab,
        &tap_config(&SITE.replace("prefix = \"/same/\"", "prefix = \"/grpc.testing\"")),
    );
    let _server = lab.spawn("grpc", &format!("{} -port 8083", peer("server")));
    wait_until(10, "the server to listen", || {
        std::net::TcpStream::connect(("10.9.0.1", 8083)).is_ok()
    });
    for case in CASES {
        let client = peer("client");
        let command = format!("{client} -server_host 10.9.0.2 -server_port 80 -test_case {case}");
        let done = lab.run(60, &command);
        assert_eq!(done.code(), 0, "{case}: {}", done.stderr);
    }
    let metrics = sluice.metrics();
    let made = metrics.sum("envoy_cluster_upstream_cx_http2_total", &[]);
    let method = |name: &str, counter: &str| {
        let service = "envoy_grpc_bridge_service=\"grpc.testing.TestService\"";
        metrics.sum(counter, &[service, &format!("envoy_grpc_bridge_method=\"{name}\"")])
    };
    // server_streaming has one message for four, ping_pong four for four.
    assert_eq!(method("StreamingOutputCall", "envoy_cluster_grpc_success"), 1);
    assert_eq!(method("StreamingOutputCall", "envoy_cluster_grpc_request_message_count"), 1);
    assert_eq!(method("StreamingOutputCall", "envoy_cluster_grpc_response_message_count"), 4);
    assert!(method("FullDuplexCall", "envoy_cluster_grpc_success") >= 2);
    assert!(method("FullDuplexCall", "envoy_cluster_grpc_response_message_count") >= 4);
    // status_code_and_message, by either kind of call.
    assert!(method("UnaryCall", "envoy_cluster_grpc_failure") >= 1);
    assert_eq!(method("UnimplementedCall", "envoy_cluster_grpc_total"), 0, "among the others");
    // What we answer ourselves is told as gRPC has it: no route, then an endpoint that is gone.
    let call = |path: &str| {
        let url = format!("http://10.9.0.2{path}");
        let words = [TWO, "-i", "-X", "POST", "-H", "content-type: application/grpc+proto", &url];
        lab.fetch(&words)
    };
    let nowhere = call("/other.Service/Method");
    assert!(nowhere.starts_with("HTTP/2 200"), "{nowhere}");
    assert!(nowhere.contains("content-type: application/grpc\r\n"), "{nowhere}");
    assert!(nowhere.contains("grpc-status: 12\r\n"), "{nowhere}");
    let refused = call("/one/x");
    assert!(
        refused.starts_with("HTTP/2 200") && refused.contains("grpc-status: 14\r\n"),
        "{refused}"
    );
    assert!(refused.contains("grpc-message: upstream connect error"), "{refused}");
    assert_eq!(sluice.log_of("/one/x")["response_flags"], "UF,URX");
    assert!((1..=3).contains(&made), "{made} connections for all calls");
    sluice.stop();
}

/// GOAWAY in two steps, and a new connection: no call fails by it, with gRPC's own client and server.
#[test]
fn connections_of_grpc_are_replaced() {
    let lab = Lab::new();
    let site = SITE
        .replace("prefix = \"/same/\"", "prefix = \"/grpc.testing\"")
        .replace(
            "address = \"10.9.0.2:80\"\n",
            "address = \"10.9.0.2:80\"\nhttp2 = { max_requests_per_connection = 3 }\n",
        )
        .replace(
            "http = \"same\"\n",
            "http = \"same\"\nhttp2 = { max_requests_per_connection = 2, ping_interval = \"1s\" }\n",
        );
    let sluice = Sluice::start(&lab, &tap_config(&site));
    let _server = lab.spawn("grpc", &format!("{} -port 8083", peer("server")));
    wait_until(10, "the server to listen", || {
        std::net::TcpStream::connect(("10.9.0.1", 8083)).is_ok()
    });
    for case in ["rpc_soak", "channel_soak", "ping_pong", "large_unary", "server_streaming"] {
        let client = peer("client");
        let command = format!("{client} -server_host 10.9.0.2 -server_port 80 -test_case {case}");
        let done = lab.run(60, &command);
        assert_eq!(done.code(), 0, "{case}: {}", done.stderr);
    }
    let metrics = sluice.metrics();
    assert_eq!(metrics.sum("envoy_cluster_grpc_failure", &[]), 0);
    let calls = metrics.sum("envoy_cluster_grpc_success", &[]);
    assert!(calls >= 20, "{calls} calls");
    assert!(metrics.sum("envoy_http_downstream_cx_max_requests_reached", &[]) >= 2);
    assert!(metrics.sum("envoy_cluster_upstream_cx_max_requests", &[]) >= calls / 2 - 1);
    sluice.stop();
}

/// A GET on a stream, by hand.
fn get(stream: u8, path: &str) -> Vec<u8> {
    // :method GET, :scheme http by number; :path and :authority as literals that are not indexed.
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(&[0x01, 8]);
    block.extend_from_slice(b"10.9.0.2");
    let mut frame = vec![0, 0, block.len() as u8, 1, 5, 0, 0, 0, stream];
    frame.append(&mut block);
    frame
}

#[test]
fn a_stalled_stream_stalls_no_other() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path("www")).expect("the folder is ours");
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _nginx = nginx(&lab);
    let mut client = Client::connect("10.9.0.2:80");
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // The connection's window is large; every stream's is 65,535 bytes and never opens again.
    client.send([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0x40, 0, 0]);
    let mut received = [0usize; 256];
    let mut ended = [false; 256];
    // Sixty wait for ever, with more than any window of TCP between them; those behind them share
    // their connection to the endpoint, and end.
    let stalls = |stream: u8| stream < 120;
    for stream in (1..=159).step_by(2) {
        client.send(get(stream, if stalls(stream) { "/two/large" } else { "/two/x" }));
        let at = usize::from(stream);
        while !(ended[at] || stalls(stream) && received[at] == 65_535) {
            let header = client.read_exactly(9);
            let len =
                usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            client.read_exactly(len);
            let of = usize::from(header[8]);
            assert!(header[3] != 3 && header[3] != 7, "RST_STREAM or GOAWAY on {of}");
            if header[3] == 0 {
                received[of] += len;
                ended[of] = header[4] & 1 != 0;
            }
        }
    }
    let all = (1..120).step_by(2).all(|stream| received[stream] == 65_535);
    assert!(all, "as much as their windows allow: {received:?}");
    let two = ["envoy_cluster_name=\"two\""];
    assert_eq!(sluice.metrics().sum("envoy_cluster_upstream_cx_http2_total", &two), 1);
    assert_eq!(sluice.metrics().sum("envoy_cluster_upstream_rq_active", &two), 60);
    // What waits for its window is let go with the connection.
    drop(client);
    sluice.stop();
}

/// A backend of HTTP/2, by hand: `answer` says what to write for the head of a stream, of the how
/// manieth request of all connections.
fn by_hand(
    address: &str,
    answer: impl Fn(usize, [u8; 4]) -> Vec<u8> + Send + Sync + 'static,
) -> Backend {
    let count = AtomicUsize::new(0);
    Backend::raw(address, move |mut stream| {
        let mut preface = [0; 24];
        let mut header = [0; 9];
        if stream.read_exact(&mut preface).is_err() || stream.write_all(&SETTINGS).is_err() {
            return;
        }
        while stream.read_exact(&mut header).is_ok() {
            let mut payload = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
            if stream.read_exact(&mut payload).is_err() {
                return;
            }
            if header[3] == 1 {
                let id = [header[5], header[6], header[7], header[8]];
                let bytes = answer(count.fetch_add(1, Ordering::Relaxed), id);
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
        }
    })
}

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// `:status: 200`, and nothing more.
fn fine([a, b, c, d]: [u8; 4]) -> Vec<u8> {
    vec![0, 0, 1, 1, 5, a, b, c, d, 0x88]
}

/// RFC 9113, 8.7: even a POST, and without a retry in the configuration; but once.
#[test]
fn what_an_endpoint_did_not_look_at_is_sent_once_more() {
    let lab = Lab::new();
    let mut site = String::new();
    for (name, port) in [("refuses", 8085), ("leaves", 8086), ("never", 8087)] {
        site.push_str(&format!(
            "[[listener.virtual_host.route]]\nprefix = \"/{name}\"\ncluster = \"{name}\"\nretries = 0\n\
             [[cluster]]\nname = \"{name}\"\nhttp = \"2\"\nendpoints = [\"10.9.0.1:{port}\"]\n"
        ));
    }
    let head = "[[listener]]\nname = \"web\"\naddress = \"10.9.0.2:80\"\n\
                [[listener.virtual_host]]\ndomains = [\"*\"]\n";
    let sluice = Sluice::start(&lab, &tap_config(&format!("{head}{site}")));
    let reset = |[a, b, c, d]: [u8; 4]| vec![0, 0, 4, 3, 0, a, b, c, d, 0, 0, 0, 7];
    let _refuses =
        by_hand("10.9.0.1:8085", move |nth, id| if nth == 0 { reset(id) } else { fine(id) });
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let _leaves =
        by_hand("10.9.0.1:8086", move |nth, id| if nth == 0 { goaway.to_vec() } else { fine(id) });
    let _never = by_hand("10.9.0.1:8087", move |_, id| reset(id));
    for (path, status) in [("refuses", "200"), ("leaves", "200"), ("never", "503")] {
        let url = format!("http://10.9.0.2/{path}");
        let said = lab.fetch(&["-X", "POST", "-o", "/dev/null", "-w", "%{http_code}", &url]);
        assert_eq!(said, status, "{path}");
    }
    let never = ["envoy_cluster_name=\"never\""];
    assert_eq!(sluice.metrics().sum("envoy_cluster_upstream_rq_total", &never), 2, "once more");
    sluice.stop();
}

/// `:status: 200` and a status of gRPC, and nothing more.
fn status_alone([a, b, c, d]: [u8; 4], status: &str) -> Vec<u8> {
    let mut block = vec![0x88, 0x00, 11];
    block.extend_from_slice(b"grpc-status");
    block.push(status.len() as u8);
    block.extend_from_slice(status.as_bytes());
    let mut frame = vec![0, 0, block.len() as u8, 1, 5, a, b, c, d];
    frame.append(&mut block);
    frame
}

#[test]
fn calls_have_deadlines_and_are_made_again() {
    let lab = Lab::new();
    let mut site = String::new();
    for (name, port) in [("late", 8085), ("busy", 8086)] {
        site.push_str(&format!(
            "[[listener.virtual_host.route]]\nprefix = \"/{name}\"\ncluster = \"{name}\"\n\
             retry_on = [\"unavailable\"]\n\
             [[cluster]]\nname = \"{name}\"\nhttp = \"2\"\nendpoints = [\"10.9.0.1:{port}\"]\n"
        ));
    }
    let head = "[[listener]]\nname = \"web\"\naddress = \"10.9.0.2:80\"\n\
                [[listener.virtual_host]]\ndomains = [\"*\"]\n";
    let sluice = Sluice::start(&lab, &tap_config(&format!("{head}{site}")));
    let _late = by_hand("10.9.0.1:8085", |_, _| Vec::new());
    let _busy =
        by_hand("10.9.0.1:8086", |nth, id| status_alone(id, if nth == 0 { "14" } else { "0" }));
    let call = |path: &str| {
        let url = format!("http://10.9.0.2{path}");
        let kind = "content-type: application/grpc";
        let time = "grpc-timeout: 400m";
        lab.fetch(&[TWO, "-i", "-H", kind, "-H", time, "--data-binary", "12345", &url])
    };
    let late = call("/late");
    assert!(late.contains("grpc-status: 4\r\n"), "{late}");
    let busy = call("/busy");
    assert!(busy.contains("grpc-status: 0\r\n"), "{busy}");
    let of = |name: &str, counter: &str| {
        sluice.metrics().sum(counter, &[&format!("envoy_cluster_name=\"{name}\"")])
    };
    assert_eq!(of("late", "envoy_cluster_upstream_cx_active"), 1, "its stream alone is reset");
    assert_eq!(of("busy", "envoy_cluster_upstream_rq_total"), 2);
    assert_eq!(of("busy", "envoy_cluster_upstream_rq_retry_success"), 1);
    sluice.stop();
}
