//! Exit statuses, and what goes where: results to standard output, messages to standard error.

use crate::lab::{Lab, Sluice, tap_config};

const SITE: &str = r#"
[[listener]]
name = "web"
address = "10.9.0.2:80"
[[listener.virtual_host]]
name = "shop"
domains = ["shop.example"]
[[listener.virtual_host.route]]
name = "api"
prefix = "/api/"
cluster = "app"

[[cluster]]
name = "app"
endpoints = ["10.9.0.1:8080"]
"#;

#[test]
fn usage_errors_are_two() {
    let lab = Lab::new();
    for arguments in [
        &[][..],
        &["fly"],
        &["run"],
        &["run", "-c"],
        &["check", "--unknown"],
        &["show", "nonsense"],
        &["explain", "-c", "x.toml"],
    ] {
        let output = Sluice::command(&lab, arguments).expect_code(2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
    }
    let version = Sluice::command(&lab, &["--version"]).expect_success();
    assert!(version.stdout.starts_with("sluice "), "{version:?}");
}

#[test]
fn check_is_zero_or_one() {
    let lab = Lab::new();
    lab.write("good.toml", tap_config(SITE));
    let good = Sluice::command(&lab, &["check", "-c", "good.toml"]).expect_success();
    assert!(good.stdout.contains("good.toml: valid"), "{good:?}");
    lab.write("bad.toml", tap_config(&SITE.replace("prefix", "prefxi")));
    let bad = Sluice::command(&lab, &["check", "-c", "bad.toml"]).expect_code(1);
    assert!(bad.stdout.is_empty(), "{bad:?}");
    for text in ["bad.toml:", "prefxi", "prefix"] {
        assert!(bad.stderr.contains(text), "no {text:?} in {}", bad.stderr);
    }
    Sluice::command(&lab, &["check", "-c", "absent.toml"]).expect_code(1);
}

#[test]
fn explain_tells_the_way_or_three() {
    let lab = Lab::new();
    lab.write("a.toml", tap_config(SITE));
    let explain = |url: &str| Sluice::command(&lab, &["explain", "-c", "a.toml", "GET", url]);
    let way = explain("http://shop.example/api/cart").expect_success().stdout;
    for text in ["listener `web`", "shop", "api", "cluster `app`", "10.9.0.1:8080"] {
        assert!(way.contains(text), "no {text:?} in\n{way}");
    }
    let none = explain("http://shop.example/other").expect_code(3);
    assert!(none.stdout.contains("404"), "{none:?}");
    explain("http://other.example/api/").expect_code(3);
    explain("shop.example/no-scheme").expect_code(1);
    explain("http://shop.example:81/").expect_code(1);
}

#[test]
fn show_without_a_process_is_one() {
    let lab = Lab::new();
    let show = Sluice::command(&lab, &["show", "drops"]).expect_code(1);
    assert!(show.stderr.contains("127.0.0.1:9901"), "{show:?}");
}
