//! Holds the house together: the dependency direction of the architecture page, the lint table that
//! every crate inherits, the crates that may contain unsafe code, the size of files, and the paths
//! that the architecture page names.
//!
//! What it compares with is `TABLE`, the written form of the picture in `docs/architecture.md`. A
//! change here is a change of the architecture: it goes with the page, in the same commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a crate is, for the rules that depend on it.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    /// Functions of (state, input, now): no clock, thread, socket or randomness of its own.
    SansIo,
    /// Touches the machine: clocks, mappings, devices.
    Machine,
    /// Sockets, threads and the async runtime.
    Control,
    /// Puts the others together.
    Top,
}

use Kind::{Control, Machine, SansIo, Top};

/// Crate, kind, and the workspace crates it may depend on. A row names only rows above it, so the
/// graph cannot have a cycle; a crate may use less than its row allows.
const TABLE: &[(&str, Kind, &[&str])] = &[
    // config/model is data and its ids; l7 and dataplane/rules compile it.
    // dataplane: base, arch <- buf, wire <- tcp <- stack
    ("sluice-base", SansIo, &[]),
    ("sluice-config-model", SansIo, &["sluice-base"]),
    ("sluice-rules", SansIo, &["sluice-base", "sluice-config-model"]),
    ("sluice-arch", Machine, &["sluice-base"]),
    ("sluice-buf", SansIo, &["sluice-base", "sluice-arch"]),
    ("sluice-wire", SansIo, &["sluice-base"]),
    ("sluice-tcp", SansIo, &["sluice-base", "sluice-arch", "sluice-buf", "sluice-wire"]),
    (
        "sluice-stack",
        SansIo,
        &["sluice-base", "sluice-arch", "sluice-buf", "sluice-wire", "sluice-rules", "sluice-tcp"],
    ),
    ("sluice-config-toml", SansIo, &["sluice-base", "sluice-config-model"]),
    // l7: base, arch, buf <- core <- codecs, filter, route, balance <- proxy
    ("sluice-l7-core", SansIo, &["sluice-base", "sluice-arch", "sluice-buf"]),
    ("sluice-l7-grpc", SansIo, &["sluice-buf"]),
    ("sluice-l7-http1", SansIo, &["sluice-base", "sluice-arch", "sluice-buf", "sluice-l7-core"]),
    ("sluice-l7-http2", SansIo, &["sluice-base", "sluice-arch", "sluice-buf", "sluice-l7-core"]),
    (
        "sluice-l7-filter",
        SansIo,
        &["sluice-base", "sluice-buf", "sluice-l7-core", "sluice-config-model"],
    ),
    (
        "sluice-l7-route",
        SansIo,
        &["sluice-base", "sluice-arch", "sluice-buf", "sluice-l7-core", "sluice-config-model"],
    ),
    (
        "sluice-l7-balance",
        SansIo,
        &["sluice-base", "sluice-buf", "sluice-l7-core", "sluice-config-model"],
    ),
    (
        "sluice-l7-proxy",
        SansIo,
        &[
            "sluice-arch",
            "sluice-base",
            "sluice-buf",
            "sluice-config-model",
            "sluice-l7-core",
            "sluice-l7-grpc",
            "sluice-l7-http1",
            "sluice-l7-http2",
            "sluice-l7-filter",
            "sluice-l7-route",
            "sluice-l7-balance",
            "sluice-rules",
        ],
    ),
    // Only the worker knows both TCP and L7.
    (
        "sluice-worker",
        Machine,
        &[
            "sluice-base",
            "sluice-arch",
            "sluice-buf",
            "sluice-wire",
            "sluice-tcp",
            "sluice-stack",
            "sluice-config-model",
            "sluice-l7-core",
            "sluice-l7-proxy",
        ],
    ),
    // The Snapshot that travels is l7/proxy's, built by config/control.
    (
        "sluice-config-control",
        Control,
        &[
            "sluice-base",
            "sluice-arch",
            "sluice-config-model",
            "sluice-config-toml",
            "sluice-l7-core",
            "sluice-l7-filter",
            "sluice-l7-route",
            "sluice-l7-balance",
            "sluice-l7-proxy",
            "sluice-rules",
            "sluice-stack",
            "sluice-worker",
        ],
    ),
    // ffi: implements buf's Device and knows nothing above it.
    ("sluice-tap", Machine, &["sluice-base", "sluice-arch", "sluice-buf"]),
    ("sluice-dpdk-sys", Machine, &[]),
    ("sluice-dpdk", Machine, &["sluice-base", "sluice-arch", "sluice-buf", "sluice-dpdk-sys"]),
    // Tops: whatever they need, but DPDK reaches the binary and the load generator alone, behind their feature.
    ("sluice-sim", Top, TOP),
    ("sluice-bench", Top, TOP),
    ("sluice-pktgen", Top, GENERATOR),
    ("sluice", Top, BINARY),
];

const TOP: &[&str] = &[
    "sluice-base",
    "sluice-arch",
    "sluice-buf",
    "sluice-wire",
    "sluice-rules",
    "sluice-tcp",
    "sluice-stack",
    "sluice-worker",
    "sluice-l7-core",
    "sluice-l7-http1",
    "sluice-l7-http2",
    "sluice-l7-filter",
    "sluice-l7-route",
    "sluice-l7-balance",
    "sluice-l7-proxy",
    "sluice-config-model",
    "sluice-config-toml",
    "sluice-config-control",
    "sluice-tap",
];

/// Hosts of the benches on devices of the binary.
const GENERATOR: &[&str] = &[
    "sluice-arch",
    "sluice-base",
    "sluice-bench",
    "sluice-buf",
    "sluice-config-model",
    "sluice-config-toml",
    "sluice-dpdk",
    "sluice-tap",
    "sluice-tcp",
];

const BINARY: &[&str] = &[
    "sluice-base",
    "sluice-arch",
    "sluice-buf",
    "sluice-wire",
    "sluice-rules",
    "sluice-stack",
    "sluice-worker",
    "sluice-l7-core",
    "sluice-l7-route",
    "sluice-l7-balance",
    "sluice-l7-proxy",
    "sluice-config-model",
    "sluice-config-toml",
    "sluice-config-control",
    "sluice-tap",
    "sluice-dpdk",
];

/// Crates that would bring a clock, a thread, a socket, a lock or randomness into a sans-IO crate.
const NOT_SANS_IO: &[&str] = &[
    "async-std",
    "core_affinity",
    "crossbeam",
    "getrandom",
    "libc",
    "memmap2",
    "mio",
    "nix",
    "parking_lot",
    "rand",
    "socket2",
    "tokio",
    "tracing",
];

/// Crates in which the `unsafe_code` lint may be lifted, each behind safe functions.
const UNSAFE_ALLOWED: &[&str] =
    &["dataplane/buf", "dataplane/arch", "ffi/dpdk-sys", "ffi/dpdk", "ffi/tap"];

/// Folders with our Rust code, below the root.
const CODE: &[&str] = &["src", "dataplane", "ffi", "l7", "config", "bench", "tests"];

/// Nine in ten files are below 600 lines; beyond this one a second concept hides inside.
const FILE_LINES_MAX: usize = 900;

struct Crate {
    name: String,
    dir: PathBuf,
    /// (dependency, kind), kind being "normal", "dev" or "build".
    dependencies: Vec<(String, String)>,
}

#[test]
fn dependencies_point_one_way() {
    let crates = workspace();
    let mut wrong = Vec::new();
    for krate in &crates {
        let Some((_, kind, allowed)) = TABLE.iter().find(|row| row.0 == krate.name) else {
            wrong
                .push(format!("{} has no row in tests/house.rs: where does it stand?", krate.name));
            continue;
        };
        for (dependency, edge) in &krate.dependencies {
            let ours = crates.iter().any(|other| &other.name == dependency);
            if edge == "normal" && ours && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{} may not depend on {dependency}", krate.name));
            }
            if edge == "normal" && *kind == SansIo && NOT_SANS_IO.contains(&dependency.as_str()) {
                wrong.push(format!("{} is sans-IO and depends on {dependency}", krate.name));
            }
            if edge == "dev" && *kind == SansIo && dependency == "tokio" {
                wrong.push(format!("{} is sans-IO and tests itself with tokio", krate.name));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_table_is_ordered_and_has_no_row_without_a_crate() {
    let crates = workspace();
    for (position, (name, _, allowed)) in TABLE.iter().enumerate() {
        assert!(crates.iter().any(|krate| &krate.name == name), "{name} is not in the workspace");
        for dependency in *allowed {
            let above = TABLE[..position].iter().any(|row| &row.0 == dependency);
            assert!(above, "{name} names {dependency}, which is not above it");
        }
    }
}

#[test]
fn doors_to_the_outside_have_one_owner() {
    let owners: &[(&str, &[&str])] = &[
        ("tokio", &["sluice-config-control"]),
        ("sluice-dpdk-sys", &["sluice-dpdk"]),
        ("sluice-dpdk", &["sluice", "sluice-pktgen"]),
        ("bindgen", &["sluice-dpdk-sys"]),
    ];
    for krate in workspace() {
        for (dependency, edge) in &krate.dependencies {
            let owned = owners.iter().find(|(name, _)| name == dependency);
            if let Some((door, allowed)) = owned
                && edge != "dev"
            {
                let name = krate.name.as_str();
                assert!(allowed.contains(&name), "only {allowed:?} may use {door}, not {name}");
            }
        }
    }
}

#[test]
fn every_crate_inherits_the_lint_table() {
    for krate in workspace() {
        let manifest = read(&krate.dir.join("Cargo.toml"));
        let inherits = manifest
            .split("\n[")
            .any(|table| table.starts_with("lints]") && table.contains("workspace = true"));
        assert!(inherits, "{}: Cargo.toml lacks `[lints] workspace = true`", krate.name);
    }
}

#[test]
fn sans_io_folders_share_one_clippy_table() {
    let table = read(&root().join("dataplane/clippy.toml"));
    for other in ["l7/clippy.toml", "config/clippy.toml"] {
        assert_eq!(read(&root().join(other)), table, "{other} differs from dataplane/clippy.toml");
    }
    // A table of its own replaces the folder's: only what is not sans-IO may have one.
    for krate in workspace() {
        let kind = TABLE.iter().find(|row| row.0 == krate.name).map(|row| row.1);
        let own = krate.dir.join("clippy.toml").exists();
        assert!(!(own && kind == Some(SansIo)), "{} has a clippy.toml of its own", krate.name);
    }
}

#[test]
fn unsafe_code_stays_in_its_crates() {
    for path in rust_files() {
        let relative = path.strip_prefix(root()).expect("listed below the root");
        if UNSAFE_ALLOWED.iter().any(|dir| relative.starts_with(dir)) {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let place = format!("{}:{}", relative.display(), number + 1);
            // The compiler refuses the rest, as long as nobody lifts its lint.
            let lifts = ["allow", "expect", "warn"]
                .iter()
                .any(|level| code.contains(&format!("{level}(unsafe_code")));
            assert!(!lifts, "{place} lifts the unsafe_code lint; allowed in {UNSAFE_ALLOWED:?}");
            let opens = ["{", "fn", "impl", "extern", "trait"].iter().any(|next| {
                code.contains(&format!("unsafe {next} ")) || code.ends_with("unsafe {")
            });
            assert!(!opens, "{place} has unsafe code; allowed in {UNSAFE_ALLOWED:?}");
        }
    }
}

#[test]
fn files_hold_one_concept() {
    let long: Vec<String> = rust_files()
        .iter()
        .map(|path| (read(path).lines().count(), path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{lines} lines: {}", path.display()))
        .collect();
    assert!(long.is_empty(), "look for the second concept in\n{}", long.join("\n"));
}

#[test]
fn the_architecture_page_names_what_exists() {
    let page = read(&root().join("docs/architecture.md"));
    // Between backticks are names of all kinds; a path starts with one of our folders.
    let paths: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| CODE.iter().any(|dir| name.starts_with(&format!("{dir}/"))))
        .filter(|name| !name.contains('*'))
        .collect();
    assert!(paths.len() > TABLE.len(), "the code map and the life-of-a-packet table name paths");
    for path in paths {
        assert!(
            root().join(path).exists(),
            "docs/architecture.md names {path}, which is not there"
        );
    }
    for krate in workspace() {
        assert!(page.contains(&format!("`{}`", krate.name)), "the code map lacks {}", krate.name);
    }
}

fn workspace() -> Vec<Crate> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs: it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("format version 1 has packages");
    packages.iter().map(krate).collect()
}

fn krate(package: &Value) -> Crate {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let dependencies = package["dependencies"].as_array().expect("a package lists dependencies");
    // One crate may stand in several sections; the map keeps one entry for each.
    let edges: BTreeMap<(String, String), ()> = dependencies
        .iter()
        .map(|dependency| {
            let kind = dependency["kind"].as_str().unwrap_or("normal");
            ((text(&dependency["name"]), kind.to_owned()), ())
        })
        .collect();
    Crate {
        name: text(&package["name"]),
        dir: manifest.parent().expect("a manifest has a folder").to_owned(),
        dependencies: edges.into_keys().collect(),
    }
}

fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = CODE.iter().map(|dir| root().join(dir)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder can be listed").path();
            let generated = path.ends_with("target") || path.ends_with("corpus");
            if path.is_dir() && !generated {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > TABLE.len(), "every crate has at least one file");
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
