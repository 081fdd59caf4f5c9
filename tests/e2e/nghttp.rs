//! nghttp: requests that depend on each other, trailers, and many at once on one connection.

use crate::lab::{Lab, Nginx, Sluice, tap_config};

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
[[cluster]]
name = "one"
endpoints = ["10.9.0.1:8081"]
[[cluster]]
name = "two"
http = "2"
endpoints = ["10.9.0.1:8082"]
"#;

#[test]
fn many_requests_with_priorities_and_trailers_on_one_connection() {
    let lab = Lab::new();
    let sluice = Sluice::start(&lab, &tap_config(SITE));
    std::fs::create_dir_all(lab.path("www")).expect("the folder is ours");
    lab.write("www/part", vec![b'p'; 100_000]);
    let server = |port: u16, protocol: &str| {
        format!(
            "server {{ listen 10.9.0.1:{port} {protocol}; large_client_header_buffers 16 64k; \
             location ~ ^/[a-z]+/part$ {{ try_files /part =404; }} \
             location / {{ return 200 \"$request_method $http_te $http_priority\\n\"; }} }}"
        )
    };
    let _nginx = Nginx::start(&lab, 8081, &[server(8081, ""), server(8082, "http2")].concat());
    lab.write("upload", vec![b'b'; 200_000]);
    let summed = |words: &[&str]| {
        let mut all = vec!["nghttp", "-s", "-n"];
        all.extend_from_slice(words);
        let said = lab.run_words(30, &all).expect_success().stdout;
        let rows = said.lines().filter(|line| line.contains(" 200 ")).count();
        (rows, said)
    };
    for path in ["one", "two"] {
        let url = format!("http://10.9.0.2/{path}/part");
        // Fifty times the same on one connection, with nghttp's tree of idle streams (PRIORITY on
        // streams that are never opened), then with weights of their own, then without any.
        for extra in [&["-p", "200"][..], &["-p", "1"], &["--no-dep"]] {
            let words = [&["-m", "50"], extra, &[&url]].concat();
            let (rows, said) = summed(&words);
            assert_eq!(rows, 50, "{words:?}: {said}");
            assert_eq!(said.matches(" 97K ").count(), 50, "{words:?}: {said}");
        }
        // Small windows: WINDOW_UPDATEs in great number.
        let (rows, said) = summed(&["-m", "20", "-w", "14", "-W", "15", &url]);
        assert_eq!(rows, 20, "{said}");
        // Padding, and another size of the table.
        let (rows, said) = summed(&["-b", "200", "--header-table-size=0", "-m", "5", &url]);
        assert_eq!(rows, 5, "{said}");
        // A head that takes more than a frame.
        let words = ["nghttp", "-n", "-v", "--continuation", &url];
        let said = lab.run_words(30, &words).expect_success().stdout;
        let length = said
            .split("send HEADERS frame <length=")
            .nth(1)
            .and_then(|text| text.split(',').next());
        let length: u32 =
            length.and_then(|length| length.parse().ok()).expect("nghttp says what it sends");
        assert!(length > 16_384, "{said}");
        assert!(said.contains(":status: 200"), "{said}");
        // Uploads in DATA of unknown length, with a trailer behind them.
        let url = format!("http://10.9.0.2/{path}/say");
        let words =
            ["-m", "10", "-d", "upload", "--no-content-length", "--trailer", "x-sum: 5", &url];
        let (rows, said) = summed(&words);
        assert_eq!(rows, 10, "{said}");
    }
    // RFC 9218's urgency goes on.
    let url = "http://10.9.0.2/two/say";
    let said =
        lab.run_words(10, &["nghttp", "-H", "priority: u=1, i", url]).expect_success().stdout;
    assert_eq!(said.trim(), "GET  u=1, i");
    let metrics = sluice.metrics();
    assert_eq!(metrics.sum("sluice_http2_downstream_faults_total", &[]), 0);
    assert_eq!(metrics.sum("sluice_http2_upstream_faults_total", &[]), 0);
    sluice.stop();
}
