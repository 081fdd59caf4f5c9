//! `[node]` and `[runtime]`.

use sluice_config_model::{Buffers, Hugepages, Idle, Node, Runtime};
use toml::de::DeValue;

use crate::limits::{BUFFERS, CORE_MAX, CORES_MAX, RECEIVE_COALESCING_MAX};
use crate::report::{At, Report};
use crate::section::Section;
use crate::value::{Value, shown};

pub(super) fn node(mut section: Section<'_>, report: &mut Report<'_>) -> Node {
    let mut name = |key| {
        let name = section.take(key).and_then(|value| value.name(report));
        name.map(|name| name.value).unwrap_or_default()
    };
    let node = Node { id: name("id"), cluster: name("cluster") };
    section.close(report);
    node
}

pub(super) fn runtime(mut section: Section<'_>, report: &mut Report<'_>) -> Runtime {
    let mut runtime = Runtime::default();
    let cores = section.take("cores").map(|value| cores(value, report));
    let control = section.take("control_core").and_then(|value| core(value, report));
    if let Some(cores) = &cores {
        runtime.cores = cores.iter().map(|core| core.value).collect();
    }
    if let Some(control) = &control {
        runtime.control_core = control.value;
    }
    let shared = cores.unwrap_or_default().into_iter().find(|at| at.value == runtime.control_core);
    if let Some(at) =
        control.as_ref().filter(|at| runtime.cores.contains(&at.value)).or(shared.as_ref())
    {
        report
            .warning(at.span, format!("core {} runs a worker and the control thread", at.value))
            .hint("the worker stops whenever the control thread runs; give each a core of its own");
    }
    if let Some(value) = section.take("hugepages") {
        let words =
            [("auto", Hugepages::Auto), ("required", Hugepages::Required), ("off", Hugepages::Off)];
        runtime.hugepages = value.word(&words, &[], report).map(|at| at.value).unwrap_or_default();
    }
    if let Some(value) = section.take("buffers") {
        runtime.buffers = buffers(value, report).unwrap_or_default();
    }
    if let Some(value) = section.take("idle") {
        let words =
            [("spin", Idle::Spin), ("adaptive", Idle::Adaptive), ("interrupt", Idle::Interrupt)];
        runtime.idle = value.word(&words, &[], report).map(|at| at.value).unwrap_or_default();
    }
    if let Some(at) = section.take("receive_coalescing").and_then(|value| value.duration(report)) {
        runtime.receive_coalescing = at.value;
        if at.value > RECEIVE_COALESCING_MAX {
            let message = format!("`receive_coalescing` is longer than {RECEIVE_COALESCING_MAX:?}");
            report.error(at.span, message).hint("every packet may lie so long; \"0s\": none does");
        }
    }
    if let Some(at) = section.take("drain_timeout").and_then(|value| value.duration(report)) {
        runtime.drain_timeout = at.value;
    }
    section.close(report);
    runtime
}

fn core(value: Value<'_>, report: &mut Report<'_>) -> Option<At<u32>> {
    value.integer(0..=i64::from(CORE_MAX), report)
}

fn cores(value: Value<'_>, report: &mut Report<'_>) -> Vec<At<u32>> {
    let (span, is_list) = (value.span(), matches!(value.value.get_ref(), DeValue::Array(_)));
    let entries = value.list(CORES_MAX, report);
    if entries.is_empty() && is_list {
        report
            .error(span, "`cores` needs at least one core")
            .hint("one worker runs on each core that is listed, as in [1, 2]");
    }
    let mut cores: Vec<At<u32>> = Vec::new();
    for entry in entries {
        let Some(at) = core(entry, report) else { continue };
        if cores.iter().any(|seen| seen.value == at.value) {
            report.error(at.span, format!("core {} is listed twice", at.value));
        }
        cores.push(at);
    }
    cores
}

fn buffers(value: Value<'_>, report: &mut Report<'_>) -> Option<Buffers> {
    match value.value.get_ref() {
        DeValue::String(text) if text == "auto" => Some(Buffers::Auto),
        DeValue::String(text) => {
            let message = format!("`buffers` does not know the value \"{}\"", shown(text));
            report.error(value.span(), message).hint("\"auto\", or a number without quotes");
            None
        }
        _ => value.integer(BUFFERS, report).map(|at| Buffers::Count(at.value)),
    }
}
