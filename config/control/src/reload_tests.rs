//! What a reload takes, what it refuses, and that a refusal changes nothing.

use sluice_base::InterfaceId;

use super::*;
use crate::testing::{self, CONFIG, state};

/// As [`start`] does, on this thread.
fn reload(state: &mut State, text: &str) {
    let mut registry = state.publisher.lend_registry();
    let loaded = sluice_config_toml::parse("test.toml", text, &mut registry)
        .map(|(config, _)| (config, Vec::new()))
        .map_err(|errors| errors.render(Style::Plain));
    state.finish_reload(loaded, registry);
}

#[test]
fn what_workers_use_changes_while_running() {
    let (mut state, mut fakes) = state(CONFIG, 1);
    fakes[0].adopt();
    let text =
        CONFIG.replace("10.9.0.1:8082", "10.9.0.1:8083") + "[runtime]\ndrain_timeout = \"5s\"\n";
    reload(&mut state, &text);
    assert_eq!((state.reloads.accepted, state.reloads.rejected), (1, 0));
    assert_eq!(state.config.runtime.drain_timeout.as_secs(), 5);
    assert!(fakes[0].adopt());
    assert_eq!(fakes[0].held[0].version, 2);
}

#[test]
fn packet_rules_change_while_running() {
    let (mut state, mut fakes) = state(CONFIG, 1);
    fakes[0].adopt();
    let rule = "\n[[interface.rule]]\naction = \"deny\"\n[[ip_route]]";
    reload(&mut state, &CONFIG.replace("\n[[ip_route]]", rule));
    assert_eq!((state.reloads.accepted, state.reloads.rejected), (1, 0));
    assert!(fakes[0].adopt());
    let rules = |version: &std::sync::Arc<sluice_l7_proxy::Snapshot>| {
        version.rules(InterfaceId(0)).map(|table| table.counts().count())
    };
    assert_eq!(rules(fakes[0].held.last().expect("a snapshot")), Some(1));
    reload(&mut state, CONFIG);
    assert!(fakes[0].adopt());
    assert_eq!(rules(fakes[0].held.last().expect("a snapshot")), None);
}

#[test]
fn what_takes_a_restart_is_refused_and_named() {
    let runtime = format!("{CONFIG}[runtime]\ncores = [2]\n");
    let admin = format!("{CONFIG}[admin]\naddress = \"127.0.0.1:9902\"\n");
    let changes = [
        ("node", CONFIG.replace("edge-1", "edge-2")),
        ("runtime", runtime),
        ("interface", CONFIG.replace("tap:sl0", "tap:sl1")),
        ("ip_route", CONFIG.replace("10.20.0.0", "10.30.0.0")),
        ("admin", admin),
    ];
    for (section, text) in changes {
        let (mut state, mut fakes) = state(CONFIG, 1);
        fakes[0].adopt();
        let before = state.config.clone();
        reload(&mut state, &text);
        let why = state.reloads.last_error.as_deref().expect("it was refused");
        assert!(why.starts_with(&format!("[{section}] has changed")), "{why}");
        assert_eq!((state.reloads.rejected, &state.config), (1, &before));
        assert!(!fakes[0].adopt(), "nothing was published");
    }
}

#[test]
fn a_bad_file_keeps_the_old_configuration_and_says_why() {
    let (mut state, mut fakes) = state(CONFIG, 1);
    fakes[0].adopt();
    reload(&mut state, &CONFIG.replace("prefix = \"/\"", "prefx = \"/\""));
    let why = state.reloads.last_error.clone().expect("it was refused");
    assert!(why.contains("test.toml:22:1") && why.contains("prefx"), "{why}");
    assert!(!fakes[0].adopt());
    // The next good one is taken, and the error forgotten.
    reload(&mut state, CONFIG);
    assert_eq!((state.reloads.accepted, state.reloads.last_error.clone()), (1, None));
    assert!(fakes[0].adopt());
}

#[test]
fn a_log_that_cannot_be_opened_refuses_the_whole_file() {
    let (mut state, mut fakes) = state(CONFIG, 1);
    fakes[0].adopt();
    reload(&mut state, &format!("{CONFIG}[access_log]\npath = \"/nowhere/at/all.log\"\n"));
    let why = state.reloads.last_error.as_deref().expect("it was refused");
    assert!(why.contains("/nowhere/at/all.log") && why.contains("access_log"), "{why}");
    assert!(!fakes[0].adopt(), "nothing was published");
    assert!(state.config.access_log.is_none());
}

#[test]
fn a_log_may_appear_and_change_its_format() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    let (mut state, mut fakes) = state(CONFIG, 1);
    let with_log = |format: &str| {
        format!("{CONFIG}[access_log]\npath = \"{}\"\nformat = \"{format}\"\n", path.display())
    };
    for (before, format) in ["text", "json"].into_iter().enumerate() {
        reload(&mut state, &with_log(format));
        let listener = state.config.listeners[0].id;
        fakes[0].log.push(sluice_l7_proxy::AccessRecord::new(listener)).expect("room");
        state.tick();
        testing::until("the line", || state.log.totals().written() == before as u64 + 1);
    }
    assert_eq!(state.reloads.accepted, 2);
    let text = std::fs::read_to_string(&path).expect("the file");
    let second = text.lines().nth(1).expect("two lines");
    let line: serde_json::Value = serde_json::from_str(second).expect("an object");
    assert_eq!(line["listener"], "web");
}
