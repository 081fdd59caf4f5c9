//! `[admin]` and `[access_log]`.

use std::path::PathBuf;

use sluice_config_model::{AccessLog, AccessLogFormat, AccessLogPath, Admin};

use crate::address;
use crate::report::Report;
use crate::section::Section;

pub(super) fn admin(mut section: Section<'_>, report: &mut Report<'_>) -> Admin {
    let address = section.take("address");
    let address = address.and_then(|value| address::kernel_socket(value, report));
    section.close(report);
    if let Some(at) = address.as_ref().filter(|at| !at.value.ip().is_loopback()) {
        report
            .warning(at.span, format!("the admin address {} is not a loopback address", at.value))
            .hint("whoever reaches it can read everything and stop the process");
    }
    address.map_or_else(Admin::default, |at| Admin { address: at.value })
}

pub(super) fn access_log(mut section: Section<'_>, report: &mut Report<'_>) -> AccessLog {
    let path = section.take("path").and_then(|value| value.text(report));
    if let Some(at) = path.as_ref().filter(|at| at.value.is_empty() || at.value.contains('\0')) {
        report.error(at.span, "`path` is not the path of a file").hint("\"-\" is standard output");
    }
    let words = [("text", AccessLogFormat::Text), ("json", AccessLogFormat::Json)];
    let format = section.take("format").and_then(|value| value.word(&words, &[], report));
    section.close(report);
    AccessLog {
        path: match path {
            Some(at) if at.value != "-" => AccessLogPath::File(PathBuf::from(at.value)),
            _ => AccessLogPath::Stdout,
        },
        format: format.map(|at| at.value).unwrap_or_default(),
    }
}
