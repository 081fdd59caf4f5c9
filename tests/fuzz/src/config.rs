//! What an operator or a client writes: configuration files and paths.

use sluice_config_model::IdRegistry;
use sluice_l7_route::{Path, PathScratch};

/// Any bytes as a configuration file: a configuration, or errors that each name a place.
pub fn config_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut registry = IdRegistry::new();
    match sluice_config_toml::parse("fuzz.toml", text, &mut registry) {
        Ok((config, _)) => assert!(!config.runtime.cores.is_empty(), "somebody must work"),
        Err(errors) => {
            let all = errors.to_string();
            assert!(all.contains("fuzz.toml"), "an error names its file: {all}");
        }
    }
}

/// Any bytes as a request target: refused, or normal, and then normalising again changes nothing.
pub fn route_path(data: &[u8]) {
    let mut scratch = PathScratch::default();
    let Ok(path) = Path::normalize(data, &mut scratch) else { return };
    let target = path.target().to_vec();
    assert!(!path.path().windows(4).any(|part| part == b"/../"), "no way up is left");
    let mut scratch = PathScratch::default();
    let again = Path::normalize(&target, &mut scratch);
    assert_eq!(again.map(|path| path.target().to_vec()).ok(), Some(target));
}
