//! What a newcomer runs: `sluice demo`, as root and as nobody, and the script behind `make run`.

use std::path::Path;

use rustix::process::Signal;

use crate::lab::{Lab, Sluice, wait_until};

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn demo_file() -> String {
    std::fs::read_to_string(repository("examples/demo.toml"))
        .expect("the demo is part of the house")
}

/// The lines that the file tells newcomers to try.
#[test]
fn the_demo_does_what_its_file_says() {
    let lab = Lab::new();
    let sluice = Sluice::start_named(&lab, "demo", "demo", &demo_file());
    let page = lab.fetch(&["http://10.9.0.2/"]);
    assert!(page.starts_with("sample backend 10.9.0.1:808"), "{page}");
    let api = lab.fetch(&["-i", "http://10.9.0.2/api/users"]);
    assert!(api.contains("GET /users\n") && api.contains("x-served-by: sluice\r\n"), "{api}");
    assert_eq!(lab.fetch(&["http://10.9.0.2/ping"]), "pong\n");
    let moved = lab.fetch(&["-i", "http://10.9.0.2/old/page"]);
    assert!(moved.starts_with("HTTP/1.1 302") && moved.contains("/new/page\r\n"), "{moved}");
    assert!(lab.fetch(&["http://10.9.0.2/canary"]).starts_with("sample backend"));
    let blue = lab.fetch(&["-H", "x-team: blue", "http://10.9.0.2/"]);
    assert!(blue.starts_with("sample backend 10.9.0.1:8082"), "{blue}");
    assert!(lab.fetch(&["http://10.9.0.2:9000/"]).starts_with("sample backend"));
    let large = lab.write("large", vec![b'x'; 5_000_000]);
    let posted = lab.fetch(&["-T", large.to_str().expect("UTF-8"), "http://10.9.0.2/up"]);
    assert!(posted.contains("body: 5000000 bytes"), "{posted}");
    // The access log of the demo is standard output.
    wait_until(5, "the access log", || sluice.stdout().contains("GET /ping"));
    sluice.stop();
}

/// The script behind `make run`: prints what to try, and Ctrl-C leaves nothing behind.
#[test]
fn the_script_prints_what_to_try_and_cleans_up() {
    let lab = Lab::new();
    let script = repository("tests/scripts/demo");
    let file = repository("examples/demo.toml");
    let binary = Sluice::binary();
    let words = format!("{} {} {}", script.display(), binary.display(), file.display());
    let mut demo = lab.spawn("script", &words);
    wait_until(30, "the demo to be ready", || {
        lab.curl(&["-f", "http://127.0.0.1:9901/ready"]).code() == 0
    });
    assert_eq!(lab.fetch(&["http://10.9.0.2/ping"]), "pong\n");
    let said = || format!("{}{}", demo.stdout(), demo.stderr());
    wait_until(5, "the lines to try", || said().contains("curl http://10.9.0.2/"));
    demo.signal(Signal::INT);
    assert_eq!(demo.wait(10), 0, "{}", demo.stderr());
    lab.run(5, "ip link show sl0").expect_code(1);
}

/// No root, no NIC, no hugepages: nobody, in namespaces of its own.
#[test]
fn nobody_can_run_the_demo() {
    let lab = Lab::new();
    let binary = lab.path("sluice-copy");
    std::fs::copy(Sluice::binary(), &binary).expect("the binary can be read");
    lab.write("demo.toml", demo_file());
    // Inside: lo up, Sluice, then curl until it answers; SIGTERM and its exit status at the end.
    lab.write(
        "inside",
        r#"set -eu
ip link set lo up
./sluice-copy demo -c demo.toml >log 2>messages &
sluice=$!
tries=0
until curl -sf --max-time 2 http://127.0.0.1:9901/ready >/dev/null; do
    tries=$((tries + 1)); [ $tries -lt 100 ] || { cat messages; kill $sluice; exit 1; }
    sleep 0.1
done
curl -sS --max-time 5 http://10.9.0.2/ping
curl -sS --max-time 5 http://10.9.0.2/
kill -TERM $sluice
wait $sluice
echo "exit status $?"
"#,
    );
    lab.open_to_all();
    let words = if rustix::process::geteuid().is_root() && lab.may_become_nobody() {
        &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"][..]
    } else {
        &[]
    };
    let mut all = words.to_vec();
    all.extend_from_slice(&["unshare", "-Urn", "sh", "inside"]);
    let output = lab.run_words(40, &all).expect_success();
    assert!(output.stdout.contains("pong\nsample backend 10.9.0.1:808"), "{output:?}");
    assert!(output.stdout.ends_with("exit status 0\n"), "{output:?}");
}
