//! The thread that writes.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing::{info, warn};

/// Chunks that may wait for the writer, 64 KiB or a little more each; beyond, lines are lost.
const QUEUE: usize = 64;

/// A descriptor that somebody else made non-blocking is asked again after this,
const RETRY_AFTER: Duration = Duration::from_millis(5);
/// this often, before its lines are given up.
const RETRIES: u32 = 200;

/// What happened to lines. Two writers at most for a moment while a log is replaced, hence no
/// [`sluice_base::Counter`]; relaxed, since nothing follows from them.
#[derive(Debug, Default)]
pub(crate) struct LogTotals {
    written: AtomicU64,
    lost: AtomicU64,
    errors: AtomicU64,
}

impl LogTotals {
    /// Lines that the kernel took.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Lines that could not be written, or found the writer too far behind.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes that failed.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

enum Job {
    Write(Vec<u8>, u64),
    Replace(File),
}

/// The control thread's end of the writer.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: SyncSender<Job>,
    /// Closed by the thread when it ends.
    ended: Receiver<()>,
    totals: Arc<LogTotals>,
    /// Whether the last chunk found the queue full: reported when it begins, not per chunk.
    behind: bool,
}

impl Writer {
    /// Starts the thread, which ends with the [`Writer`].
    pub(super) fn start(file: File, totals: Arc<LogTotals>) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let (end, ended) = sync_channel(0);
        let shared = totals.clone();
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            let mut target = Target { file, totals: shared, torn: false, failing: false };
            for job in queue {
                match job {
                    Job::Write(bytes, lines) => target.write(&bytes, lines),
                    Job::Replace(file) => target.replace(file),
                }
            }
            drop(end);
        })?;
        Ok(Self { jobs, ended, totals, behind: false })
    }

    /// Hands over whole lines.
    pub(super) fn write(&mut self, bytes: Vec<u8>, lines: u64) {
        match self.jobs.try_send(Job::Write(bytes, lines)) {
            Ok(()) => self.behind = false,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.totals.lost.fetch_add(lines, Ordering::Relaxed);
                if !self.behind {
                    warn!("access log: whoever takes the lines is too slow; lines are being lost");
                }
                self.behind = true;
            }
        }
    }

    /// Goes on in `file`, after what was handed over before.
    pub(super) fn replace(&mut self, file: File) -> io::Result<()> {
        let behind = || io::Error::new(io::ErrorKind::WouldBlock, "the writer is too far behind");
        self.jobs.try_send(Job::Replace(file)).map_err(|_| behind())
    }

    /// Lets the thread write what it has; waits for it, but not longer than `patience`.
    pub(super) fn close(self, patience: Duration) {
        let Self { jobs, ended, .. } = self;
        drop(jobs);
        if !patience.is_zero() && ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            warn!("access log: the last lines could not be written within {patience:?}");
        }
    }
}

/// What the thread writes into.
struct Target<W> {
    file: W,
    totals: Arc<LogTotals>,
    /// The last line in the file is incomplete.
    torn: bool,
    /// The last write failed, and that was reported.
    failing: bool,
}

impl<W: Write> Target<W> {
    fn write(&mut self, bytes: &[u8], lines: u64) {
        let (taken, result) = match self.mend() {
            Ok(()) => write_all(&mut self.file, bytes),
            Err(error) => (0, Err(error)),
        };
        let written = match result {
            Ok(()) => lines,
            Err(_) => bytes[..taken].iter().filter(|byte| **byte == b'\n').count() as u64,
        };
        if let Some(last) = bytes[..taken].last() {
            self.torn = *last != b'\n';
        }
        self.totals.written.fetch_add(written, Ordering::Relaxed);
        self.totals.lost.fetch_add(lines - written, Ordering::Relaxed);
        match result {
            Ok(()) if self.failing => {
                self.failing = false;
                let lost = self.totals.lost();
                info!("access log: lines are being written again; {lost} lines were lost so far");
            }
            Ok(()) => {}
            Err(error) => {
                self.totals.errors.fetch_add(1, Ordering::Relaxed);
                if !self.failing {
                    warn!("access log: {error}; lines are lost until that ends");
                }
                self.failing = true;
            }
        }
    }

    /// Ends a line that was cut by an error, so that the next one begins where it should.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            write_all(&mut self.file, b"\n").1?;
            self.torn = false;
        }
        Ok(())
    }

    fn replace(&mut self, file: W) {
        // A line that was cut ends in the old file.
        let _ = self.mend();
        self.torn = false;
        self.file = file;
    }
}

/// How many bytes were taken, and why not all.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let (mut taken, mut retries) = (0, 0);
    while taken < bytes.len() {
        match file.write(&bytes[taken..]) {
            Ok(0) => return (taken, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => (taken, retries) = (taken + count, 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && retries < RETRIES => {
                retries += 1;
                std::thread::park_timeout(RETRY_AFTER);
            }
            Err(error) => return (taken, Err(error)),
        }
    }
    (taken, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails until more room is made.
    #[derive(Default)]
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.bytes.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn target(room: usize) -> Target<Disk> {
        let file = Disk { bytes: Vec::new(), room };
        Target { file, totals: Arc::default(), torn: false, failing: false }
    }

    /// A full disk loses lines, and says how many; the file stays a file of lines.
    #[test]
    fn a_full_disk_is_counted_and_the_cut_line_ended() {
        let mut target = target(5);
        target.write(b"one\ntwo\nsix\n", 3);
        assert_eq!((target.totals.written(), target.totals.lost()), (1, 2));
        target.write(b"ten\n", 1);
        assert_eq!((target.totals.lost(), target.totals.errors()), (3, 2));
        target.file.room = 100;
        target.write(b"end\n", 1);
        assert_eq!(target.file.bytes, b"one\nt\nend\n");
        assert_eq!((target.totals.written(), target.totals.lost()), (2, 3));
        assert!(!target.failing);
    }

    #[test]
    fn a_cut_between_lines_needs_no_mending() {
        let mut target = target(4);
        target.write(b"one\ntwo\n", 2);
        target.file.room = 100;
        target.write(b"six\n", 1);
        assert_eq!(target.file.bytes, b"one\nsix\n");
    }

    /// The control thread must never wait for a reader of the log.
    #[test]
    fn a_reader_that_sleeps_costs_lines_and_no_time() {
        let (reader, pipe) = io::pipe().expect("a pipe");
        let file = File::from(std::os::fd::OwnedFd::from(pipe));
        let totals = Arc::<LogTotals>::default();
        let mut writer = Writer::start(file, totals.clone()).expect("a thread");
        let line = vec![b'\n'; 65_536];
        for _ in 0..2 * QUEUE {
            writer.write(line.clone(), 65_536);
        }
        assert!(totals.lost() > 0, "the pipe and the queue hold less than that");
        // The reader goes away: the thread fails on the rest and ends.
        drop(reader);
        writer.close(Duration::from_secs(10));
        assert!(totals.errors() > 0, "a broken pipe is an error, not a signal");
        assert_eq!(totals.written() + totals.lost(), 2 * QUEUE as u64 * 65_536);
    }
}
