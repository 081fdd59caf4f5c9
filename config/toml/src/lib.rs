//! From a TOML file to the model, with errors that point at file, line and column.
//!
//! [`load`] reads a file, [`parse`] a text that is already in memory. Both give a validated
//! [`Config`] and [`Warning`]s, or every error of the file at once as [`ConfigErrors`], whose
//! `Display` is what the operator reads:
//!
//! ```text
//! edge.toml:9:1: unknown key `adress`
//!    ╭─[edge.toml:9:1]
//!  8 │ name = "web"
//!  9 │ adress = "10.9.0.2:80"
//!    · ───┬──
//!    ·    ╰── not a key of [[listener]]
//!    ╰────
//!   help: did you mean `address`?
//! ```
//!
//! The way of a file: `source` reads it within bounds; the `toml` crate makes a tree in which
//! everything knows its span; `read` takes the tree apart section by section, each `section`
//! knowing its keys from [`schema`]; `check` looks at what spans sections; `assign` asks the
//! [`IdRegistry`] for ids. The registry is not touched when there is an error, so a bad file
//! leaves a running process as it was.
//!
//! [`schema`] is also what `docs/configuration.md` is compared with by a test.

mod address;
mod assign;
mod check;
mod diagnostic;
mod http;
mod limits;
mod read;
mod report;
pub mod schema;
mod section;
mod source;
mod units;
mod value;

use std::path::Path;

use sluice_config_model::{Config, IdRegistry};

pub use diagnostic::{ConfigError, ConfigErrors, Style, Warning};

/// Reads and validates a file, with ids from a fresh registry.
///
/// For tools that run once (`sluice check`, `sluice explain`); a process that reloads keeps its
/// registry and calls [`load_with`].
///
/// # Errors
/// The file cannot be read, or what is in it is not a valid configuration.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    load_with(path, &mut IdRegistry::new())
}

/// Reads and validates a file, with ids from `registry`.
///
/// # Errors
/// As [`load`]; the registry is then unchanged.
pub fn load_with(
    path: &Path,
    registry: &mut IdRegistry,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let text = source::read(path)?;
    parse(&path.display().to_string(), &text, registry)
}

/// Validates `text`; errors call it `source_name`.
///
/// # Errors
/// The text is not a valid configuration; the registry is then unchanged.
pub fn parse(
    source_name: &str,
    text: &str,
    registry: &mut IdRegistry,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let mut report = report::Report::new(text);
    let config = read::file(text, &mut report);
    let (errors, warnings) = report.finish();
    if !errors.is_empty() {
        return Err(ConfigErrors::new(source_name, text, errors));
    }
    let mut config = config;
    assign::ids(&mut config, registry);
    Ok((config, diagnostic::warnings(source_name, text, warnings)))
}
