//! `sluice show`: asks the running process.

use std::process::ExitCode;

use crate::FAILED;
use crate::cli::Show;

/// Prints what the process answers.
pub(crate) fn show(question: &Show) -> ExitCode {
    let format = if question.json { "?json" } else { "" };
    let path = format!("/show/{}{format}", question.what);
    match sluice_config_control::get(question.admin, &path) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(FAILED)
        }
    }
}
