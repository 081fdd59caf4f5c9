//! `docs/configuration.md` says what the program does: every key has its row, with type and
//! default, and the defaults, written out, change nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use sluice_config_model::{Config, IdRegistry};
use sluice_config_toml::schema::{self, Default, Schema};

/// Rows of the tables with four columns: section title to key to (type, default).
fn reference() -> BTreeMap<String, BTreeMap<String, (String, String)>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(path).expect("the reference is in the repository");
    let mut sections = BTreeMap::new();
    let mut title = None;
    for line in text.lines() {
        if line.starts_with('#') {
            title = line.strip_prefix("### ").map(str::to_owned);
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let (Some(title), [_, key, kind, default, meaning, _]) = (&title, cells.as_slice()) else {
            continue;
        };
        let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`')) else {
            continue;
        };
        assert!(meaning.len() > 3, "{title}: `{key}` has no meaning");
        let rows: &mut BTreeMap<_, _> = sections.entry(title.clone()).or_default();
        let row = ((*kind).to_owned(), (*default).to_owned());
        assert!(rows.insert(key.to_owned(), row).is_none(), "{title}: `{key}` has two rows");
    }
    sections
}

#[test]
fn every_key_has_its_row_and_every_row_its_key() {
    let mut expected: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
    for schema in schema::SCHEMAS {
        let rows = schema
            .keys
            .iter()
            .map(|key| (key.name.to_owned(), (key.kind.to_owned(), key.default.to_string())));
        expected.insert(schema.title.to_owned(), rows.collect());
    }
    let found = reference();
    for (title, rows) in &expected {
        assert_eq!(found.get(title), Some(rows), "the table under ### {title}");
    }
    assert_eq!(found.len(), expected.len(), "sections: {:?}", found.keys());
}

fn parse(text: &str) -> Config {
    match sluice_config_toml::parse("test.toml", text, &mut IdRegistry::new()) {
        Ok((config, _)) => config,
        Err(errors) => panic!("{errors}\nin:\n{text}"),
    }
}

/// A section with its required keys, and its defaults written out or not.
fn section(schema: &Schema, header: &str, given: &str, with_defaults: bool) -> String {
    let mut text = format!("{header}\n{given}");
    for key in schema.keys {
        match key.default {
            Default::Value(value) if with_defaults && value != "\"\"" => {
                let _ = writeln!(text, "{} = {value}", key.name);
            }
            Default::Value(_) | Default::Phrase(_) | Default::Required(_) => {}
        }
    }
    text
}

fn file(with_defaults: bool) -> String {
    use schema::{ACCESS_LOG, ADMIN, CLUSTER, HTTP2, INTERFACE, LISTENER, NODE, ROUTE, RUNTIME};
    let section = |schema, header, given| section(schema, header, given, with_defaults);
    let redirect = if with_defaults {
        "redirect = { host = \"a\", strip_query = false, status = 301 }\n"
    } else {
        "redirect = { host = \"a\" }\n"
    };
    [
        section(&NODE, "[node]", ""),
        section(&RUNTIME, "[runtime]", ""),
        section(
            &INTERFACE,
            "[[interface]]",
            "name = \"net0\"\ndevice = \"tap:sl0\"\naddresses = [\"10.9.0.2/24\"]\n",
        ),
        section(&LISTENER, "[[listener]]", "name = \"web\"\naddress = \"10.9.0.2:80\"\n"),
        section(&HTTP2, "[listener.http2]", ""),
        "[[listener.virtual_host]]\ndomains = [\"*\"]\n".to_owned(),
        section(&ROUTE, "[[listener.virtual_host.route]]", "path = \"/\"\ncluster = \"app\"\n"),
        format!("[[listener.virtual_host.route]]\npath = \"/a\"\n{redirect}"),
        section(&CLUSTER, "[[cluster]]", "name = \"app\"\nendpoints = [\"10.9.0.1:8080\"]\n"),
        section(&HTTP2, "[cluster.http2]", ""),
        section(&ADMIN, "[admin]", ""),
        section(&ACCESS_LOG, "[access_log]", ""),
    ]
    .join("\n")
}

#[test]
fn defaults_written_out_change_nothing() {
    let (bare, full) = (file(false), file(true));
    assert!(full.len() > bare.len() + 500, "the defaults were written out");
    assert_eq!(parse(&bare), parse(&full));
}

/// An example that does not load is worse than none.
#[test]
fn the_examples_of_the_reference_are_valid() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(path).expect("the reference is in the repository");
    let blocks: Vec<_> = text
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("an end of the block"))
        .collect();
    assert!(blocks.len() >= 8, "only {} examples", blocks.len());
    let interface = "[[interface]]\nname = \"net0\"\ndevice = \"tap:s\"\n\
                     addresses = [\"10.9.0.2/24\", \"fd09::2/64\"]\n";
    let clusters: String = ["app", "api-v1", "api-v2", "postgres"]
        .iter()
        .map(|name| format!("[[cluster]]\nname = \"{name}\"\nendpoints = [\"10.9.0.1:80\"]\n"))
        .collect();
    let listener = "[[listener]]\nname = \"web\"\naddress = \"10.9.0.2:80\"\n";
    for block in blocks {
        let mut file = String::new();
        if !block.contains("[[interface]]") {
            file.push_str(interface);
        }
        if !block.contains("[[cluster]]") {
            file.push_str(&clusters);
        }
        if block.starts_with("[[listener.virtual_host]]") {
            file.push_str(listener);
        } else if block.starts_with("redirect") {
            file.push_str(listener);
            file.push_str("[[listener.virtual_host]]\ndomains = [\"*\"]\n");
            file.push_str("[[listener.virtual_host.route]]\nprefix = \"/\"\n");
        }
        file.push_str(block);
        let _ = parse(&file);
    }
}
