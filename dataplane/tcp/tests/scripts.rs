//! Runs every transcript in `tests/scripts`. `SCRIPT=part-of-a-name` picks some of them.

mod support;

use std::path::Path;

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let wanted = std::env::var("SCRIPT").unwrap_or_default();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "script"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 50, "the scripts are found: {}", paths.len());
    let mut failures = Vec::new();
    for path in paths {
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        if !name.contains(&wanted) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a readable script");
        let outcome = std::panic::catch_unwind(|| support::script::run(&text))
            .unwrap_or_else(|_| Err("panicked, see above".into()));
        if let Err(why) = outcome {
            failures.push(format!("{name}: {why}"));
        }
    }
    assert!(failures.is_empty(), "{} failed\n\n{}", failures.len(), failures.join("\n\n"));
}
