//! What `sluice` prints and how it exits, by golden files: `tests/golden/cli/NAME.txt` holds the
//! command line, the exit status, stdout and stderr. `SLUICE_BLESS=1` writes them anew.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Name, exit status, and arguments; `FILE` is `tests/golden/cli/sample.toml`.
const CASES: &[(&str, i32, &[&str])] = &[
    ("no-arguments", 2, &[]),
    ("help", 0, &["--help"]),
    ("help-run", 0, &["run", "--help"]),
    ("help-explain", 0, &["explain", "--help"]),
    ("help-show", 0, &["show", "--help"]),
    ("unknown-command", 2, &["runn"]),
    ("unknown-flag", 2, &["check", "--confg", "FILE"]),
    ("run-without-config", 2, &["run"]),
    ("show-nonsense", 2, &["show", "dropps"]),
    ("show-nobody-there", 1, &["show", "drops", "--admin", "127.0.0.1:1"]),
    ("check-valid", 0, &["check", "-c", "FILE"]),
    ("check-missing", 1, &["check", "-c", "tests/golden/cli/no-such-file.toml"]),
    ("check-broken", 1, &["check", "-c", "tests/golden/cli/broken.toml"]),
    ("run-broken", 1, &["run", "-c", "tests/golden/cli/broken.toml"]),
    (
        "explain-first-route",
        0,
        &["explain", "-c", "FILE", "GET", "http://shop.example/cart?item=7"],
    ),
    (
        "explain-header",
        0,
        &["explain", "-c", "FILE", "GET", "http://shop.example/", "-H", "x-team: blue"],
    ),
    ("explain-normalised", 0, &["explain", "-c", "FILE", "GET", "http://shop.example/a/../cart"]),
    ("explain-redirect", 0, &["explain", "-c", "FILE", "GET", "http://shop.example/old/page"]),
    ("explain-direct", 0, &["explain", "-c", "FILE", "GET", "http://shop.example/ping"]),
    ("explain-weighted", 0, &["explain", "-c", "FILE", "POST", "http://shop.example/split"]),
    ("explain-tcp", 0, &["explain", "-c", "FILE", "--listener", "raw", "GET", "/"]),
    (
        "explain-connect",
        0,
        &["explain", "-c", "FILE", "--listener", "web", "CONNECT", "http://db.example:5432"],
    ),
    ("explain-udp", 0, &["explain", "-c", "FILE", "GET", "udp://10.9.0.2:53"]),
    ("explain-no-host", 3, &["explain", "-c", "FILE", "GET", "http://other.example/"]),
    ("explain-no-route", 3, &["explain", "-c", "FILE", "DELETE", "http://api.example/only-get"]),
    ("explain-no-listener", 1, &["explain", "-c", "FILE", "GET", "http://shop.example:81/"]),
    ("explain-wrong-listener", 1, &["explain", "-c", "FILE", "--listener", "wob", "GET", "/"]),
    ("explain-bad-url", 1, &["explain", "-c", "FILE", "GET", "shop.example"]),
    ("explain-bad-header", 1, &["explain", "-c", "FILE", "GET", "http://shop.example/", "-H", "x"]),
    ("explain-bad-method", 1, &["explain", "-c", "FILE", "G T", "http://shop.example/"]),
    ("explain-bad-path", 1, &["explain", "-c", "FILE", "GET", "http://shop.example/%zz"]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli")
}

#[test]
fn every_command_line_answers_as_written_down() {
    let bless = std::env::var_os("SLUICE_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, status, arguments) in CASES {
        let arguments: Vec<&str> = arguments
            .iter()
            .map(
                |argument| {
                    if *argument == "FILE" { "tests/golden/cli/sample.toml" } else { argument }
                },
            )
            .collect();
        let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(&arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .env_remove("RUST_LOG")
            .output()
            .expect("the binary runs");
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let code = output.status.code();
        let text = format!(
            "$ sluice {}\nexit status {}\n--- stdout\n{out}--- stderr\n{err}",
            arguments.join(" "),
            code.map_or_else(|| "none".to_owned(), |code| code.to_string()),
        );
        let path = folder().join(format!("{name}.txt"));
        if bless {
            std::fs::write(&path, &text).expect("the golden file can be written");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        if golden != text {
            wrong.push(format!("{name}: expected\n{golden}\nbut got\n{text}"));
        }
        if code != Some(*status) {
            wrong.push(format!("{name}: exit status {code:?}, not {status}\n{text}"));
        }
        let panicked = err.contains("panicked") || out.contains("panicked");
        if panicked {
            wrong.push(format!("{name}: it panicked\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_golden_file_has_its_case() {
    for entry in std::fs::read_dir(folder()).expect("the folder exists") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let is_golden = path.extension().is_some_and(|extension| extension == "txt");
        let known = CASES.iter().any(|(case, _, _)| *case == name);
        assert!(!is_golden || known, "{} belongs to no case", path.display());
    }
}
