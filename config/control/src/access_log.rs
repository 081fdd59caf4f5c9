//! The access log: one line per request, off the data path.
//!
//! ```text
//!   worker ──ring of records──> drain() ──text | json──> pending ──flush()──> writer.rs
//!            full: dropped,                (control thread)       full: lost,    thread, file
//!            counted by the worker                                counted here
//! ```
//!
//! The text format is the record's own `Display`: Envoy's default line, with everything a client sent
//! escaped. Formatting happens on the control thread; writing on a thread of its own, because a disk, a pipe
//! or a terminal may block for as long as it likes. What cannot be written is counted and reported
//! once, and nothing else suffers.

mod json;
mod names;
mod writer;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sluice_config_model::{AccessLog, AccessLogFormat, AccessLogPath, Config};
use sluice_l7_proxy::AccessRecord;

use self::names::Names;
pub(crate) use self::writer::LogTotals;
use self::writer::Writer;

/// Bytes that are handed to the writer at once, at least, while there are more.
const CHUNK: usize = 64 * 1_024;

/// The access log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the access log {}: {error}; see `[access_log] path` (\"-\" is standard output)",
    path.display()
)]
pub struct LogError {
    /// The path as configured.
    pub path: PathBuf,
    /// What the kernel said.
    pub error: io::Error,
}

/// Where access log records end.
#[derive(Debug)]
pub struct LogSink {
    /// Without one, records are dropped unread: no log was asked for.
    output: Option<Output>,
    totals: Arc<LogTotals>,
    names: Names,
}

#[derive(Debug)]
struct Output {
    format: AccessLogFormat,
    path: AccessLogPath,
    writer: Writer,
    /// Whole lines that the writer does not have yet.
    pending: Vec<u8>,
    pending_lines: u64,
}

impl LogSink {
    /// Opens what `[access_log]` says; without the section, a sink that drops records unread.
    ///
    /// # Errors
    /// [`LogError`] if the file cannot be opened for appending, or no thread can be had.
    pub fn open(config: Option<&AccessLog>) -> Result<Self, LogError> {
        Self::open_with(config, Arc::default(), Names::default())
    }

    /// What ids are called from here on.
    pub(crate) fn learn(&mut self, config: &Config) {
        self.names.learn(config);
    }

    /// A sink for another configuration that goes on with this one's totals.
    pub(crate) fn open_another(&self, config: Option<&AccessLog>) -> Result<Self, LogError> {
        Self::open_with(config, self.totals.clone(), self.names.clone())
    }

    fn open_with(
        config: Option<&AccessLog>,
        totals: Arc<LogTotals>,
        names: Names,
    ) -> Result<Self, LogError> {
        let Some(AccessLog { path, format }) = config else {
            return Ok(Self { output: None, totals, names });
        };
        let writer = open_file(path)
            .and_then(|file| Writer::start(file, totals.clone()))
            .map_err(|error| LogError { path: shown(path).to_owned(), error })?;
        let output = Output {
            format: *format,
            path: path.clone(),
            writer,
            pending: Vec::with_capacity(CHUNK + CHUNK / 4),
            pending_lines: 0,
        };
        Ok(Self { output: Some(output), totals, names })
    }

    /// Takes every record that waits in `records`.
    pub fn drain(&mut self, records: &mut rtrb::Consumer<AccessRecord>) {
        // What arrives meanwhile waits for the next call, so that a busy worker cannot hold us.
        for _ in 0..records.slots() {
            let Ok(record) = records.pop() else { break };
            if let Some(output) = &mut self.output {
                output.write(&record, &self.names);
                if output.pending.len() >= CHUNK {
                    output.hand_over();
                }
            }
        }
    }

    /// Hands what was formatted to the writer. Never waits: lines that find it a whole queue behind
    /// are lost and counted.
    pub fn flush(&mut self) {
        if let Some(output) = &mut self.output {
            output.hand_over();
        }
    }

    /// Opens the path again, for log rotation; lines from before go into the old file.
    ///
    /// # Errors
    /// [`LogError`]; the old file is then kept.
    pub fn reopen(&mut self) -> Result<(), LogError> {
        let Some(output) = &mut self.output else { return Ok(()) };
        if output.path == AccessLogPath::Stdout {
            return Ok(());
        }
        output.hand_over();
        let failed = |error| LogError { path: shown(&output.path).to_owned(), error };
        let file = open_file(&output.path).map_err(failed)?;
        output.writer.replace(file).map_err(failed)
    }

    /// Writes what there is and ends, or gives up after `patience`.
    pub(crate) fn close(&mut self, patience: Duration) {
        if let Some(mut output) = self.output.take() {
            output.hand_over();
            output.writer.close(patience);
        }
    }

    /// What was written and lost so far.
    pub(crate) fn totals(&self) -> &LogTotals {
        &self.totals
    }
}

impl Drop for LogSink {
    /// A replaced log writes what it has in the background.
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

impl Output {
    fn write(&mut self, record: &AccessRecord, names: &Names) {
        match self.format {
            // Writing into a vector cannot fail.
            AccessLogFormat::Text => drop(writeln!(self.pending, "{record}")),
            AccessLogFormat::Json => json::write(&mut self.pending, record, names),
        }
        self.pending_lines += 1;
    }

    fn hand_over(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let chunk = std::mem::replace(&mut self.pending, Vec::with_capacity(CHUNK + CHUNK / 4));
        self.writer.write(chunk, std::mem::take(&mut self.pending_lines));
    }
}

fn shown(path: &AccessLogPath) -> &Path {
    match path {
        AccessLogPath::Stdout => Path::new("-"),
        AccessLogPath::File(path) => path,
    }
}

fn open_file(path: &AccessLogPath) -> io::Result<File> {
    let path = match path {
        // A descriptor of our own: no line buffer, and nobody else's lock.
        AccessLogPath::Stdout => return Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        AccessLogPath::File(path) => path,
    };
    let mut options = OpenOptions::new();
    // Opening a named pipe for writing alone waits for a reader; on Linux, for both, it does not.
    let pipe = path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
    if pipe {
        options.read(true).write(true);
    } else {
        options.append(true).create(true);
    }
    options.open(path)
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;
