//! EAL: DPDK's environment, started once in a process.

use std::ffi::{CString, c_char, c_int};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sluice_dpdk_sys as sys;

use crate::hugepages::{self, Advice, Hugepages, Memory};
use crate::log;
use crate::pci::{self, PciAddress, PciError};

/// How EAL is to start.
#[derive(Clone, Debug)]
pub struct EalOptions {
    /// The core of EAL's own threads; by default the first this process may use. Workers pin
    /// themselves and need not be named here.
    pub control_core: Option<u32>,
    /// Huge pages or normal ones.
    pub hugepages: Hugepages,
    /// MiB of packet memory that pools and ports will need, see [`EalOptions::memory_mib_for`].
    pub memory_mib: u64,
    /// NICs to take. Without any the PCI bus is not even looked at.
    pub pci: Vec<PciAddress>,
    /// Tells this process's files from another's; by default made of the process id.
    pub file_prefix: Option<String>,
}

impl Default for EalOptions {
    fn default() -> Self {
        Self {
            control_core: None,
            hugepages: Hugepages::Auto,
            memory_mib: Self::memory_mib_for(16_384, 4),
            pci: Vec::new(),
            file_prefix: None,
        }
    }
}

impl EalOptions {
    /// MiB for `buffers` buffers in all pools together and `queues` queues of all ports.
    #[must_use]
    pub const fn memory_mib_for(buffers: u32, queues: u32) -> u64 {
        // A buffer with mempool header and ring slot is under 2.5 KiB; a queue with its driver's
        // bookkeeping under 1 MiB; EAL itself, a mempool's per-core caches and fragmentation: 32.
        (buffers as u64 * 2_560).div_ceil(1 << 20) + queues as u64 + 32
    }
}

/// Why EAL did not start.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EalError {
    /// It has been started before.
    #[error("DPDK has been started in this process before, and it starts only once")]
    AlreadyStarted,
    /// `hugepages = "required"` and there are too few.
    #[error(
        "{needed_mib} MiB of huge pages are required and {free_mib} MiB are free: {}, or set \
         hugepages = \"auto\"", Advice { needed_mib: *needed_mib }
    )]
    NoHugepages {
        /// MiB that are needed.
        needed_mib: u64,
        /// MiB that are free.
        free_mib: u64,
    },
    /// The control core does not exist or is not ours.
    #[error(
        "core {core} is not one this process may use ({allowed}): see `taskset -p` and cpusets"
    )]
    Core {
        /// The core asked for.
        core: u32,
        /// The cores that may be used.
        allowed: String,
    },
    /// A NIC cannot be taken.
    #[error(transparent)]
    Pci(#[from] PciError),
    /// A file prefix or another option that cannot be passed on.
    #[error("file prefix `{given}` cannot be used: letters, digits, `-` and `_` only")]
    FilePrefix {
        /// What was given.
        given: String,
    },
    /// The memory was not granted.
    #[error(
        "{needed_mib} MiB of packet memory were not granted: lower the number of buffers, or raise \
         the memory limit (`ulimit -v`, the container's); DPDK said: {cause}"
    )]
    Memory {
        /// MiB asked for.
        needed_mib: u64,
        /// DPDK's log.
        cause: String,
    },
    /// The user may not do what is needed.
    #[error(
        "no permission: run as root, or set RUNTIME_DIRECTORY to a directory the user may write and \
         let hugepages be reserved by root; DPDK said: {cause}"
    )]
    Permission {
        /// DPDK's log.
        cause: String,
    },
    /// Anything else.
    #[error("DPDK did not start ({error}); it said: {cause}")]
    Init {
        /// The error number in words.
        error: String,
        /// DPDK's log.
        cause: String,
    },
}

/// DPDK, running. Clones are handles.
///
/// It runs until the process ends. `rte_eal_cleanup` of 22.11 unmaps memory that EAL's interrupt
/// thread still reads, and there is nothing to clean: ports close when they are dropped, memory is
/// the kernel's again with the last breath, files there are none.
#[derive(Clone, Debug)]
pub struct Eal {
    memory: Memory,
    pci: Arc<[PciAddress]>,
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts DPDK.
    ///
    /// EAL pins the thread it starts on, and threads inherit that, so it gets a thread of its own
    /// which ends here.
    ///
    /// # Errors
    /// [`EalError`]; after one that came from DPDK itself, no second start is possible.
    pub fn start(options: &EalOptions) -> Result<Self, EalError> {
        let core = control_core(options.control_core)?;
        let prefix = file_prefix(options.file_prefix.as_deref())?;
        for &address in &options.pci {
            pci::check(address)?;
        }
        let memory = choose_memory(options)?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }
        ignore_realtime_signals();
        log::capture();
        let arguments = arguments(core, &prefix, memory, options);
        let started = std::thread::Builder::new()
            .name("eal-init".to_owned())
            .spawn(move || init(&arguments))
            .ok()
            .and_then(|thread| thread.join().ok());
        match started {
            Some(Ok(())) => {
                remove_runtime_directory();
                Ok(Self { memory, pci: options.pci.clone().into() })
            }
            Some(Err(errno)) => Err(init_error(errno, options.memory_mib)),
            None => {
                let error = "no thread for it".to_owned();
                Err(EalError::Init { error, cause: log::take_cause() })
            }
        }
    }

    /// What packet memory lives on. If [`Memory::is_fallback`], print it for the operator.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// What DPDK logged since the last call, one message per line; for the control thread to log.
    #[must_use]
    pub fn take_log(&self) -> String {
        log::take()
    }

    /// Whether `address` was given at start.
    pub(crate) fn has_pci(&self, address: PciAddress) -> bool {
        self.pci.contains(&address)
    }
}

impl fmt::Display for Eal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", version(), self.memory)
    }
}

/// The linked DPDK's name and version, `DPDK 22.11.11`.
#[must_use]
pub fn version() -> String {
    // SAFETY: returns a pointer to a static C string.
    let version = unsafe { sys::rte_version() };
    // SAFETY: as above.
    let version = unsafe { std::ffi::CStr::from_ptr(version) };
    version.to_string_lossy().into_owned()
}

fn control_core(wanted: Option<u32>) -> Result<u32, EalError> {
    let allowed = allowed_cores();
    let Some(core) = wanted else { return Ok(allowed.first().copied().unwrap_or(0)) };
    if allowed.contains(&core) {
        return Ok(core);
    }
    let allowed: Vec<String> = allowed.iter().map(u32::to_string).collect();
    Err(EalError::Core { core, allowed: allowed.join(",") })
}

/// The cores in this thread's affinity mask.
fn allowed_cores() -> Vec<u32> {
    // SAFETY: all-zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the set, whose size it is told.
    let read = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if read != 0 {
        return Vec::new();
    }
    // SAFETY: every index is below the size of the set.
    let is_set = |core: u32| unsafe { libc::CPU_ISSET(core as usize, &set) };
    (0..libc::CPU_SETSIZE as u32).filter(|&core| is_set(core)).collect()
}

fn file_prefix(given: Option<&str>) -> Result<String, EalError> {
    let Some(given) = given else { return Ok(format!("sluice-{}", std::process::id())) };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !given.is_empty() && given.len() <= 64 && given.bytes().all(is_plain) {
        return Ok(given.to_owned());
    }
    Err(EalError::FilePrefix { given: given.to_owned() })
}

fn choose_memory(options: &EalOptions) -> Result<Memory, EalError> {
    let needed_mib = options.memory_mib;
    let free_mib = hugepages::free_mib();
    match options.hugepages {
        Hugepages::Off => Ok(Memory::NormalByChoice),
        _ if free_mib >= needed_mib => Ok(Memory::Hugepages { free_mib }),
        Hugepages::Auto => Ok(Memory::NormalForLack { needed_mib, free_mib }),
        Hugepages::Required => Err(EalError::NoHugepages { needed_mib, free_mib }),
    }
}

/// net_tap arms every packet with a signal to the whole process, unless it finds no real-time
/// signal that is still at its default (2,300 against 1,340 ns per packet); then it just reads.
fn ignore_realtime_signals() {
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: all-zero is a valid sigaction to be overwritten.
        let mut current: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: reads the disposition of a signal that exists.
        let read = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut current) };
        if read == 0 && current.sa_sigaction == libc::SIG_DFL {
            // SAFETY: ignoring a signal that nobody handles runs no code.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

fn arguments(core: u32, prefix: &str, memory: Memory, options: &EalOptions) -> Vec<String> {
    let mut arguments = vec![
        "sluice".to_owned(),
        format!("--lcores=0@{core}"),
        format!("--file-prefix={prefix}"),
        "--no-telemetry".to_owned(),
    ];
    match memory {
        // Pages from memfd need no mount and no root, and vanish with the process.
        // One file per page size, for vhost and memif hand a descriptor per file to their peers.
        Memory::Hugepages { .. } => {
            arguments.extend(["--in-memory", "--single-file-segments"].map(str::to_owned));
        }
        Memory::NormalByChoice | Memory::NormalForLack { .. } => {
            let memory = format!("{}", options.memory_mib);
            arguments.extend(["--no-huge", "--no-shconf", "-m"].map(str::to_owned));
            arguments.push(memory);
        }
    }
    if options.pci.is_empty() {
        arguments.push("--no-pci".to_owned());
    }
    for address in &options.pci {
        arguments.extend(["-a".to_owned(), address.to_string()]);
    }
    arguments
}

/// Runs `rte_eal_init`; the error is an errno.
fn init(arguments: &[String]) -> Result<(), c_int> {
    // EAL keeps pointers into its arguments, so they live for ever.
    let mut argv: Vec<*mut c_char> = arguments
        .iter()
        .filter_map(|argument| CString::new(argument.as_str()).ok())
        .map(CString::into_raw)
        .collect();
    let argc = argv.len() as c_int;
    argv.push(std::ptr::null_mut());
    // SAFETY: `argc` strings and a null pointer, all of which live for ever.
    let result = unsafe { sys::rte_eal_init(argc, argv.leak().as_mut_ptr()) };
    if result >= 0 {
        return Ok(());
    }
    // SAFETY: reads this thread's variable.
    Err(unsafe { sys::sluice_errno() })
}

/// EAL makes a directory for files that it then, told to share nothing, does not write.
fn remove_runtime_directory() {
    // SAFETY: EAL runs; returns a static C string.
    let path = unsafe { sys::rte_eal_get_runtime_dir() };
    // SAFETY: as above.
    let path = unsafe { std::ffi::CStr::from_ptr(path) };
    // It goes only if it is empty; if it stays, nothing is lost.
    let _ = std::fs::remove_dir(path.to_string_lossy().as_ref());
}

fn init_error(errno: c_int, needed_mib: u64) -> EalError {
    let cause = log::take_cause();
    let lower = cause.to_lowercase();
    if errno == libc::ENOMEM || lower.contains("cannot init memory") {
        EalError::Memory { needed_mib, cause }
    } else if matches!(errno, libc::EACCES | libc::EPERM) || lower.contains("permission denied") {
        EalError::Permission { cause }
    } else {
        EalError::Init { error: error_text(errno), cause }
    }
}

/// DPDK's or the system's words for an error number.
pub(crate) fn error_text(errno: c_int) -> String {
    // SAFETY: returns a pointer to a string that this thread keeps until its next call.
    let text = unsafe { sys::rte_strerror(errno.abs()) };
    // SAFETY: as above.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_before_dpdk_is_asked() {
        let start = |options: EalOptions| Eal::start(&options).expect_err("refused").to_string();
        let core = EalOptions { control_core: Some(9_999), ..EalOptions::default() };
        assert!(start(core).starts_with("core 9999 is not one this process may use (0"));
        let prefix = EalOptions { file_prefix: Some("a/b".into()), ..EalOptions::default() };
        assert!(start(prefix).contains("file prefix `a/b` cannot be used"));
        let memory_mib = 1 << 40;
        let hugepages = Hugepages::Required;
        let pages = EalOptions { hugepages, memory_mib, ..EalOptions::default() };
        assert!(start(pages).contains("sysctl vm.nr_hugepages=549755813888"));
        let absent = PciAddress::parse("ffff:ff:1f.7").expect("an address");
        let nic = EalOptions { pci: vec![absent], ..EalOptions::default() };
        assert!(start(nic).contains("there is no PCI device ffff:ff:1f.7"));
    }

    #[test]
    fn memory_grows_with_buffers() {
        assert_eq!(EalOptions::memory_mib_for(0, 0), 32);
        assert_eq!(EalOptions::memory_mib_for(8_192, 2), 20 + 2 + 32);
    }
}
