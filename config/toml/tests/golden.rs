//! Every kind of error, and what the operator reads about it.
//!
//! `tests/golden/config/NAME.toml` is a file with a fault, `NAME.stderr` the text about it; names
//! that begin with `warn-` are valid files with warnings. After a wanted change of the texts,
//! `SLUICE_BLESS=1 cargo test -p sluice-config-toml` writes them anew; read the diff.

use std::fmt::Write as _;
use std::path::PathBuf;

use sluice_config_model::IdRegistry;

fn cases() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/config");
    let mut cases: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of golden files is in the repository")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    cases
}

/// What `sluice check` writes to standard error about a file.
fn stderr_of(name: &str, text: &str) -> Result<String, String> {
    match sluice_config_toml::parse(name, text, &mut IdRegistry::new()) {
        Ok((_, warnings)) => {
            let mut text = String::new();
            for warning in warnings {
                let _ = writeln!(text, "{warning}");
            }
            Ok(text)
        }
        Err(errors) => Err(format!("{errors}\n")),
    }
}

#[test]
fn errors_read_as_they_did() {
    let bless = std::env::var_os("SLUICE_BLESS").is_some();
    let mut differing = String::new();
    for path in cases() {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable golden file");
        let result = stderr_of(&name, &text);
        assert_eq!(
            result.is_ok(),
            name.starts_with("warn-"),
            "{name}: only a file whose name begins with warn- is valid: {result:?}"
        );
        let actual = result.unwrap_or_else(|errors| errors);
        let expected_path = path.with_extension("stderr");
        if bless {
            std::fs::write(&expected_path, &actual).expect("a writable golden file");
            continue;
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if expected != actual {
            let _ = writeln!(differing, "--- {name}, expected:\n{expected}--- actual:\n{actual}");
        }
    }
    assert!(differing.is_empty(), "{differing}");
}

#[test]
fn every_text_begins_with_the_place() {
    let cases = cases();
    assert!(cases.len() >= 100, "only {} golden files were found", cases.len());
    for path in cases {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable golden file");
        let shown = stderr_of(&name, &text).unwrap_or_else(|errors| errors);
        let first = shown.lines().next().expect("a bad file has a text");
        let place = first.strip_prefix(&format!("{name}:")).expect("the name of the file");
        let mut numbers = place.splitn(3, ':');
        for what in ["line", "column"] {
            let number = numbers.next().and_then(|number| number.parse::<u32>().ok());
            assert!(number.is_some_and(|number| number > 0), "{first}: no {what}");
        }
        let message = numbers.next().expect("a message behind the place");
        assert!(message.len() > 10, "{first}: no message");
        assert!(!shown.contains('\u{1b}'), "{name}: colours in plain text");
    }
}

/// A golden text without its file would never be compared again.
#[test]
fn no_text_is_left_over() {
    if std::env::var_os("SLUICE_BLESS").is_some() {
        return;
    }
    for case in cases() {
        assert!(case.with_extension("stderr").exists(), "{} has no text", case.display());
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/config");
    for entry in std::fs::read_dir(folder).expect("the folder of golden files") {
        let path = entry.expect("a readable entry").path();
        assert!(path.with_extension("toml").exists(), "{} has no file", path.display());
    }
}
