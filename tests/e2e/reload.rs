//! SIGHUP while traffic flows: a good file takes effect without a lost request, a bad one changes
//! nothing and says why.

use std::time::Duration;

use crate::lab::{Backend, Client, Lab, Nginx, Sluice, tap_config, wait_until, with_cores};

/// `web` on port 80 with a page that says `word`, and everything else to the cluster `app`.
fn site(word: &str, extra: &str) -> String {
    format!(
        r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
path = "/word"
direct_response = {{ status = 200, body = "{word}" }}
[[listener.virtual_host.route]]
prefix = "/"
cluster = "app"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8080"]
{extra}"#
    )
}

const SECOND: &str = r#"
[[listener]]
name = "second"
address = "10.9.0.2:81"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
direct_response = { status = 200, body = "second" }
"#;

#[test]
fn reloads_under_load_lose_no_request() {
    let lab = Lab::new();
    let base = with_cores(&[0, 1], "");
    // A listener, an endpoint and the balancing come and go.
    let with = |round: u32| {
        let extra = if round.is_multiple_of(2) { SECOND } else { "" };
        let config = format!("{base}{}", site(&round.to_string(), extra));
        let one = "endpoints = [\"10.9.0.1:8080\"]";
        let two = "endpoints = [\"10.9.0.1:8081\", \"10.9.0.1:8080\"]\n\
                   load_balancing = \"least_request\"";
        if round.is_multiple_of(3) { config.replace(one, two) } else { config }
    };
    let sluice = Sluice::start(&lab, &with(0));
    let server = |port| {
        format!("server {{ listen 10.9.0.1:{port}; location / {{ return 200 \"{port}\"; }} }}\n")
    };
    let _nginx = Nginx::start(&lab, 8080, &format!("{}{}", server(8080), server(8081)));
    let load = lab.spawn("wrk", "timeout 30 wrk -t 1 -c 50 -d 6s http://10.9.0.2/");
    // Of both workers together: each puts it in place by itself.
    let version = || sluice.metrics().sum("sluice_worker_config_version", &[]);
    for round in 1..=20 {
        let before = version();
        sluice.reload(&with(round));
        wait_until(5, "the new configuration", || version() == before + 2);
        assert_eq!(lab.fetch(&["http://10.9.0.2/word"]), round.to_string());
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = finish(load);
    assert!(!output.contains("Socket errors") && !output.contains("Non-2xx"), "{output}");
    let metrics = sluice.metrics();
    assert_eq!(metrics.sum("sluice_config_reloads_total", &["result=\"accepted\""]), 20);
    // Old configurations come home and are freed.
    sluice.wait_metric("sluice_snapshots_outstanding", &[], |held| held == 0);
    sluice.stop();
}

#[track_caller]
fn finish(mut load: crate::lab::Spawned) -> String {
    assert_eq!(load.wait(40), 0, "{}", load.stderr());
    load.stdout()
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let lab = Lab::new();
    let base = tap_config("");
    let with = |word: &str, extra: &str| format!("{base}{}", site(word, extra));
    let sluice = Sluice::start(&lab, &with("old", ""));
    let _app = Backend::echo("10.9.0.1:8080");
    let mut kept = Client::connect("10.9.0.2:80");
    assert_eq!(kept.get("/word").text(), "old");

    let expect_kept = |config: &str, rejected: u64, said: &[&str]| {
        sluice.reload(config);
        let label = ["result=\"rejected\""];
        sluice.wait_metric("sluice_config_reloads_total", &label, |count| count == rejected);
        let stderr = sluice.stderr();
        for text in said {
            assert!(stderr.contains(text), "no {text:?} in\n{stderr}");
        }
        assert_eq!(lab.fetch(&["http://10.9.0.2/word"]), "old");
    };
    expect_kept(&with("new", "unknown_key = 1\n"), 1, &["unknown_key", "sluice.toml:"]);
    expect_kept("not toml at all [", 2, &["sluice.toml:1"]);
    let dangling = with("new", "").replace("cluster = \"app\"", "cluster = \"apq\"");
    expect_kept(&dangling, 3, &["apq"]);
    // What takes a restart is refused as a whole.
    let restart = with("new", "").replace("buffers = 24576", "buffers = 20000");
    expect_kept(&restart, 4, &["[runtime] has changed, which takes a restart"]);
    assert_eq!(kept.get("/word").text(), "old");

    sluice.reload(&with("new", ""));
    wait_until(5, "the new configuration", || kept.get("/word").text() == "new");
    drop(kept);
    sluice.stop();
}

#[test]
fn listeners_come_and_go() {
    let lab = Lab::new();
    let base = tap_config("");
    let with = |word: &str, extra: &str| format!("{base}{}", site(word, extra));
    let sluice = Sluice::start(&lab, &with("1", ""));
    let _app = Backend::echo("10.9.0.1:8080");
    let refused = || lab.curl(&["http://10.9.0.2:81/"]).code() == 7;
    assert!(refused(), "nobody listens on 81 yet");
    sluice.reload(&with("2", SECOND));
    wait_until(5, "the second listener", || !refused());
    let mut kept = Client::connect("10.9.0.2:81");
    assert_eq!(kept.get("/").text(), "second");

    // Gone for new connections; one that is open is answered once more at most, and never hangs.
    sluice.reload(&with("3", ""));
    wait_until(5, "the second listener to go", refused);
    kept.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    if let Some(response) = kept.try_response() {
        assert!([200, 404, 503].contains(&response.status), "{response:?}");
    }
    assert_eq!(lab.fetch(&["http://10.9.0.2/word"]), "3");
    // The same name on another port moves the listener.
    let moved = with("4", SECOND).replace(":81\"", ":82\"");
    sluice.reload(&moved);
    wait_until(5, "the listener on its new port", || {
        lab.curl(&["http://10.9.0.2:82/"]).code() == 0
    });
    drop(kept);
    sluice.stop();
}

/// A request that is under way ends under the configuration it began with.
#[test]
fn a_request_in_flight_survives_the_end_of_its_cluster() {
    let lab = Lab::new();
    let base = tap_config("");
    let sluice = Sluice::start(&lab, &format!("{base}{}", site("1", "")));
    let slow = Backend::http("10.9.0.1:8080", |_, stream| {
        std::thread::sleep(Duration::from_millis(1_200));
        crate::lab::respond(stream, "200 OK", &[], b"slow")
    });
    let mut client = Client::connect("10.9.0.2:80");
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
    wait_until(5, "the request at the backend", || slow.requests() == 1);
    let only = site("2", "");
    let only = only.split("[[listener.virtual_host.route]]\nprefix").next().expect("a first part");
    sluice.reload(&format!("{base}{only}"));
    wait_until(5, "the new configuration", || lab.fetch(&["http://10.9.0.2/word"]) == "2");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "slow"));
    assert_eq!(
        lab.fetch(&["-o", "/dev/null", "-w", "%{http_code}", "http://10.9.0.2/slow"]),
        "404"
    );
    drop(client);
    sluice.wait_metric("sluice_snapshots_outstanding", &[], |held| held == 0);
    sluice.stop();
}

/// Log rotation: after a move and SIGHUP, lines go into a new file.
#[test]
fn the_access_log_is_opened_again() {
    let lab = Lab::new();
    let config = tap_config(&site("1", ""));
    let sluice = Sluice::start(&lab, &config);
    let _app = Backend::echo("10.9.0.1:8080");
    lab.fetch(&["http://10.9.0.2/before"]);
    sluice.log_of("/before");
    std::fs::rename(lab.path("access.log"), lab.path("access.log.1")).expect("it is there");
    sluice.reload(&config);
    wait_until(5, "the new file", || lab.path("access.log").exists());
    lab.fetch(&["http://10.9.0.2/after"]);
    sluice.log_of("/after");
    assert!(sluice.log().iter().all(|line| line["path"] != "/before"));
    sluice.stop();
}
