//! What DPDK says while it works: its log is the only place where most causes of failure appear.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use sluice_dpdk_sys as sys;

/// A driver that logs in a loop fills this and no more; what comes after is lost until it is read.
const LOG_BYTES_MAX: i64 = 64 * 1024;

static LOG: OnceLock<Option<OwnedFd>> = OnceLock::new();

/// Sends DPDK's log to memory of bounded size from now on. Without memory for it, DPDK logs to
/// stderr as it always does.
pub(crate) fn capture() {
    LOG.get_or_init(open);
}

/// What DPDK logged since the last call, one message per line.
pub(crate) fn take() -> String {
    let mut text = String::new();
    if let Some(Some(fd)) = LOG.get() {
        // Another description of the same memory would have its own offset; the file must share it.
        if let Ok(duplicate) = fd.try_clone() {
            let mut file = File::from(duplicate);
            let mut bytes = Vec::new();
            let written = file.stream_position().unwrap_or(0);
            let rewound = file.seek(SeekFrom::Start(0)).is_ok();
            if rewound && file.take(written).read_to_end(&mut bytes).is_ok() {
                text = String::from_utf8_lossy(&bytes).into_owned();
            }
            rewind(fd);
        }
    }
    text
}

/// The last messages that say more than how the machine looks, on one line, for an error.
pub(crate) fn take_cause() -> String {
    let text = take();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !NOISE.iter().any(|noise| line.starts_with(noise)))
        .collect();
    let from = lines.len().saturating_sub(4);
    if lines.is_empty() { "nothing".to_owned() } else { lines[from..].join("; ") }
}

const NOISE: &[&str] = &[
    "EAL: Detected ",
    "EAL: Selected IOVA",
    "EAL: Multi-process socket",
    "EAL: Physical addresses are unavailable",
    "EAL: VFIO support initialized",
    "EAL: Using IOMMU type",
    "TELEMETRY: ",
];

fn open() -> Option<OwnedFd> {
    // SAFETY: the name is a C string; the result is checked.
    let raw = unsafe {
        libc::memfd_create(c"dpdk-log".as_ptr(), libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC)
    };
    if raw < 0 {
        return None;
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: a plain system call on our descriptor.
    let sized = unsafe { libc::ftruncate(raw, LOG_BYTES_MAX) };
    let seals = libc::F_SEAL_GROW | libc::F_SEAL_SHRINK;
    // SAFETY: a plain system call on our descriptor.
    let sealed = unsafe { libc::fcntl(raw, libc::F_ADD_SEALS, seals) };
    let stream_fd = fd.try_clone().ok()?;
    // SAFETY: the stream takes a descriptor of its own over; the mode is a C string.
    let stream = unsafe { libc::fdopen(stream_fd.as_raw_fd(), c"w".as_ptr()) };
    if sized != 0 || sealed != 0 || stream.is_null() {
        return None;
    }
    std::mem::forget(stream_fd);
    // SAFETY: the stream is open. Unbuffered, so that what was logged can be read at once.
    unsafe { libc::setvbuf(stream, std::ptr::null_mut(), libc::_IONBF, 0) };
    // SAFETY: the stream stays open for the life of the process.
    let opened = unsafe { sys::rte_openlog_stream(stream.cast()) };
    (opened == 0).then_some(fd)
}

/// The stream writes at the shared offset, so moving it back is all that emptying takes.
fn rewind(fd: &OwnedFd) {
    // SAFETY: a plain system call on our descriptor.
    unsafe { libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_SET) };
}
