//! Every corpus file through its target, on any toolchain and without libFuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sluice_fuzz::TARGETS;

/// Files up to this many bytes are also run cut and changed; larger ones would take too long.
const MUTATED_LEN_MAX: usize = 512;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = root().join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("the folder can be listed").path();
            let bytes = fs::read(&path).expect("a corpus file can be read");
            (path, bytes)
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder:?} is empty");
    files
}

#[test]
fn every_target_has_its_binary_and_every_binary_its_target() {
    let named: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let names = |folder: &str| -> BTreeSet<String> {
        fs::read_dir(root().join(folder))
            .expect("the folder exists")
            .filter_map(|entry| stem(entry.expect("the folder can be listed").path()))
            .collect()
    };
    assert_eq!(named.len(), TARGETS.len(), "names are unique");
    assert_eq!(names("fuzz_targets"), named);
    assert_eq!(names("corpus"), named);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it was built from it");
    for name in &named {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "no [[bin]] for {name}");
    }
}

#[test]
fn corpus_files_as_they_are() {
    for (name, target) in TARGETS {
        for (path, bytes) in corpus(name) {
            println!("{}", path.display());
            target(&bytes);
        }
    }
}

#[test]
fn corpus_files_cut_at_every_length() {
    for (name, target) in TARGETS {
        for (path, bytes) in corpus(name) {
            println!("{}", path.display());
            (0..bytes.len().min(MUTATED_LEN_MAX)).for_each(|len| target(&bytes[..len]));
        }
    }
}

#[test]
fn corpus_files_with_every_byte_changed() {
    for (name, target) in TARGETS {
        for (path, mut bytes) in corpus(name) {
            println!("{}", path.display());
            for at in 0..bytes.len().min(MUTATED_LEN_MAX) {
                let kept = bytes[at];
                let bits = (0..8).map(|bit| kept ^ (1 << bit));
                for value in bits.chain([0x00, 0xff, kept.wrapping_add(1), kept.wrapping_sub(1)]) {
                    bytes[at] = value;
                    target(&bytes);
                }
                bytes[at] = kept;
            }
        }
    }
}
