//! Requests over a TAP: curl through Sluice to backends on the kernel's sockets.

use std::io::Write;

use crate::lab::{Backend, Client, Lab, Sluice, respond, tap_config, wait_until};

/// Routes of all kinds to two echo backends.
const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
max_body = "1MiB"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
path = "/ping"
direct_response = { status = 200, body = "pong\n" }
[[listener.virtual_host.route]]
prefix = "/old/"
redirect = { prefix_rewrite = "/new/", status = 302 }
[[listener.virtual_host.route]]
prefix = "/canary"
weighted_clusters = [{ cluster = "a", weight = 80 }, { cluster = "b", weight = 20 }]
[[listener.virtual_host.route]]
prefix = "/api/"
cluster = "a"
prefix_rewrite = "/"
host_rewrite = "inner.example"
request_headers_add = [{ name = "x-edge", value = "sluice" }]
request_headers_remove = ["x-secret"]
response_headers_add = [{ name = "x-served-by", value = "sluice" }]
response_headers_remove = ["x-internal"]
[[listener.virtual_host.route]]
prefix = "/"
headers = [{ name = "x-team", exact = "blue" }]
cluster = "b"
[[listener.virtual_host.route]]
prefix = "/"
cluster = "a"
[[listener.virtual_host]]
domains = ["*.shop.example"]
[[listener.virtual_host.route]]
prefix = "/"
direct_response = { status = 200, body = "shop\n" }

[[cluster]]
name = "a"
endpoints = ["10.9.0.1:8081"]
[[cluster]]
name = "b"
endpoints = ["10.9.0.1:8082"]
"#;

const URL: &str = "http://10.9.0.2";

#[test]
fn requests_of_every_kind_reach_a_backend() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let a = Backend::echo("10.9.0.1:8081");

    let text = lab.fetch(&[&format!("{URL}/hello?q=1")]);
    assert!(text.starts_with("backend: 10.9.0.1:8081\nGET /hello?q=1\n"), "{text}");
    assert!(text.contains("\nhost: 10.9.0.2\n"), "{text}");
    assert!(text.contains("\nx-forwarded-for: 10.9.0.1\n"), "{text}");
    assert!(text.contains("\nx-forwarded-proto: http\n"), "{text}");
    let id = text.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
    assert_eq!(sluice.log_of("/hello?q=1")["request_id"], id);

    // A length that curl knows, and chunks, since it does not know standard input's.
    let text = lab.fetch(&["-d", "name=value", &format!("{URL}/form")]);
    assert!(text.contains("POST /form") && text.ends_with("\nname=value"), "{text}");
    let text = lab.fetch(&[
        "-H",
        "transfer-encoding: chunked",
        "-d",
        "in chunks",
        &format!("{URL}/chunks"),
    ]);
    assert!(text.contains("POST /chunks") && text.ends_with("\nin chunks"), "{text}");

    let head = lab.fetch(&["-I", &format!("{URL}/head")]);
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: "), "{head}");

    // A body of this size makes curl wait for 100 (Continue).
    let body = lab.write("body", vec![b'x'; 600_000]);
    let body = format!("@{}", body.display());
    let expect = ["-H", "expect: 100-continue", "--expect100-timeout", "20"];
    let put = ["-v", "--data-binary", &body, "-o", "/dev/null", "-w", "%{http_code}"];
    let url = format!("{URL}/continue");
    let arguments: Vec<&str> = expect.iter().chain(&put).copied().chain([url.as_str()]).collect();
    let put = lab.curl(&arguments).expect_success();
    assert_eq!(put.stdout, "200");
    assert!(put.stderr.contains("< HTTP/1.1 100"), "{}", put.stderr);

    // Several requests of one curl share a connection, towards the backend too.
    let (first, second) = (format!("{URL}/1"), format!("{URL}/2"));
    let before = a.connections();
    let twice = lab.curl(&["-v", &first, &second]).expect_success();
    assert!(twice.stderr.contains("Re-using existing connection"), "{}", twice.stderr);
    assert!(a.connections() <= before + 1, "the pooled connection is used again");
    assert_eq!(lab.fetch(&["--http1.0", &format!("{URL}/ping")]), "pong\n");
    sluice.stop();
}

#[test]
fn routes_do_what_they_say() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _a = Backend::http("10.9.0.1:8081", |request, stream| {
        let text = format!("a\n{}", request.head());
        respond(stream, "200 OK", &["x-internal: 1", "x-kept: 1"], text.as_bytes())
    });
    let _b = Backend::echo("10.9.0.1:8082");

    assert_eq!(lab.fetch(&[&format!("{URL}/ping")]), "pong\n");
    let moved = lab.fetch(&["-i", &format!("{URL}/old/page?x=1")]);
    assert!(moved.starts_with("HTTP/1.1 302"), "{moved}");
    assert!(moved.contains("location: http://10.9.0.2/new/page?x=1\r\n"), "{moved}");
    assert_eq!(lab.fetch(&["-H", "host: eu.shop.example", URL]), "shop\n");

    let url = format!("{URL}/api/users?all");
    let api = lab.fetch(&["-i", "-H", "x-secret: 7", "-H", "x-forwarded-for: 1.2.3.4", &url]);
    assert!(api.contains("\nGET /users?all\n"), "{api}");
    assert!(api.contains("\nhost: inner.example\n") && api.contains("\nx-edge: sluice\n"), "{api}");
    assert!(api.replace(", ", ",").contains("\nx-forwarded-for: 1.2.3.4,10.9.0.1\n"), "{api}");
    assert!(!api.contains("x-secret") && !api.contains("x-internal"), "{api}");
    assert!(api.contains("x-served-by: sluice\r\n") && api.contains("x-kept: 1\r\n"), "{api}");
    let blue = lab.fetch(&["-H", "x-team: blue", &format!("{URL}/any")]);
    assert!(blue.starts_with("backend: 10.9.0.1:8082\n"), "{blue}");
    // A path is normalised before it is matched.
    assert_eq!(lab.fetch(&["--path-as-is", &format!("{URL}/api/../ping")]), "pong\n");

    let mut client = Client::connect("10.9.0.2:80");
    let total = 500;
    let to_b = (0..total).filter(|_| client.get("/canary").text().starts_with("backend")).count();
    // Twenty of a hundred, give or take five standard deviations.
    assert!((55..=145).contains(&to_b), "{to_b} of {total}");
    drop(client);
    sluice.stop();
}

#[test]
fn a_connection_carries_many_requests_and_chunked_responses() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _a = Backend::http("10.9.0.1:8081", |request, stream| {
        let kind = request.target.as_str();
        match kind {
            "/chunked" => stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                      5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n",
                )
                .is_ok(),
            "/close" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
                false
            }
            "/empty" => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_ok(),
            "/early" => stream
                .write_all(
                    b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n\
                      HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate",
                )
                .is_ok(),
            _ => respond(stream, "200 OK", &[], kind.as_bytes()),
        }
    });
    let mut client = Client::connect("10.9.0.2:80");
    for _ in 0..3 {
        assert_eq!(client.get("/chunked").text(), "hello world");
        assert_eq!(client.get("/empty").status, 204);
        // The backend ends its connection; towards the client, chunks tell where the body ends.
        let closed = client.get("/close");
        assert!(closed.complete && closed.text() == "until the end", "{closed:?}");
    }
    // Pipelined: answered in order.
    client.send(
        "GET /one HTTP/1.1\r\nhost: x\r\n\r\nPOST /two HTTP/1.1\r\nhost: x\r\n\
         content-length: 3\r\n\r\nabcGET /three HTTP/1.1\r\nhost: x\r\n\r\n",
    );
    for path in ["/one", "/two", "/three"] {
        assert_eq!(client.response().text(), path);
    }
    client.send("GET /early HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut response = client.response();
    if response.status == 103 {
        response = client.response();
    }
    assert_eq!(response.text(), "late");
    // Asked to close, it closes after the response.
    client.send("GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let last = client.response();
    assert_eq!((last.text().as_str(), last.header("connection")), ("/last", Some("close")));
    client.expect_end();
    sluice.stop();
}

/// What WebSocket needs: after 101, bytes pass both ways until either side ends.
#[test]
fn an_upgrade_becomes_a_relay() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _a = Backend::http("10.9.0.1:8081", |request, stream| {
        if request.header("upgrade") != Some("websocket") {
            return respond(stream, "400 Bad Request", &[], b"no upgrade");
        }
        let _ = stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\
              server first\n",
        );
        let Ok(mut reader) = stream.try_clone() else { return false };
        // Everything comes back, until the client ends.
        let _ = std::io::copy(&mut reader, stream);
        false
    });
    let mut client = Client::connect("10.9.0.2:80");
    client.send(
        "GET /chat HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(response.status, 101, "{response:?}");
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert_eq!(client.read_exactly(13), b"server first\n");
    for size in [1, 1_000, 100_000] {
        let bytes = vec![b'0' + (size % 7) as u8; size];
        client.send(&bytes);
        assert_eq!(client.read_exactly(size), bytes);
    }
    client.finish();
    client.expect_end();
    sluice.wait_metric("envoy_http_downstream_cx_upgrades_total", &[], |count| count == 1);
    sluice.stop();
}

#[test]
fn metrics_and_show_tell_what_happened() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    let _a = Backend::echo("10.9.0.1:8081");
    for _ in 0..5 {
        lab.fetch(&[&format!("{URL}/x")]);
    }
    lab.fetch(&[&format!("{URL}/old/x")]);
    let class = |digit| format!("envoy_response_code_class=\"{digit}\"");
    let (ok, moved) = (class(2), class(3));
    let web = "envoy_http_conn_manager_prefix=\"web\"";
    let rq_xx = "envoy_http_downstream_rq_xx";
    sluice.wait_metric(rq_xx, &[&ok, web], |count| count == 5);
    sluice.wait_metric(rq_xx, &[&moved, web], |count| count == 1);
    let cluster = "envoy_cluster_name=\"a\"";
    sluice.wait_metric("envoy_cluster_upstream_rq_xx", &[&ok, cluster], |count| count == 5);
    sluice.wait_metric("sluice_worker_busy_nanoseconds_total", &[], |nanos| nanos > 0);
    // Not among them: what only the workers know (neighbors, flows), which says so.
    for what in [
        "interfaces",
        "workers",
        "routes",
        "listeners",
        "clusters",
        "endpoints",
        "counters",
        "drops",
        "memory",
        "runtime",
    ] {
        let shown = Sluice::command(&lab, &["show", what]).expect_success().stdout;
        assert!(!shown.is_empty(), "show {what}");
        let json = Sluice::command(&lab, &["show", what, "--json"]).expect_success().stdout;
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&json);
        assert!(parsed.is_ok(), "show {what} --json: {json}");
    }
    for page in ["/stats", "/clusters", "/listeners", "/server_info", "/config_dump"] {
        assert!(!sluice.get(page).is_empty(), "{page}");
    }
    sluice.stop();
}

/// `idle = "interrupt"` and `"spin"` serve as `"adaptive"` does.
#[test]
fn every_idle_strategy_serves() {
    for idle in ["interrupt", "spin"] {
        let lab = Lab::new();
        let config =
            tap_config(SITE).replace("[runtime]", &format!("[runtime]\nidle = \"{idle}\""));
        let sluice = Sluice::start(&lab, &config);
        let _a = Backend::echo("10.9.0.1:8081");
        for _ in 0..3 {
            lab.fetch(&[&format!("{URL}/x")]);
        }
        sluice.stop();
    }
}

/// An idle Sluice sleeps: DESIGN's budget is 2 % of a core, this is a generous bound on it.
#[test]
fn an_idle_process_costs_next_to_nothing() {
    let lab = Lab::new();
    let mut sluice = Sluice::start(&lab, &tap_config(SITE));
    let path = format!("/proc/{}/stat", sluice.id());
    let ticks = || {
        let stat = std::fs::read_to_string(&path).expect("it runs");
        let after = stat.rsplit_once(") ").expect("a name in parentheses").1.to_owned();
        let fields: Vec<u64> = after.split(' ').filter_map(|word| word.parse().ok()).collect();
        // utime and stime, the 14th and 15th of all; three are before or not numbers.
        fields[10] + fields[11]
    };
    std::thread::sleep(std::time::Duration::from_millis(500));
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let used = ticks() - before;
    assert!(used <= 30, "{used} ticks of 10 ms in 3 s of idleness");
    assert!(!sluice.has_ended());
    wait_until(5, "readiness", || sluice.is_ready());
    sluice.stop();
}
