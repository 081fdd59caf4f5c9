//! Where a thread runs and how exactly it sleeps.

use std::fmt;
use std::mem::MaybeUninit;

/// The kernel refused to pin the thread.
#[derive(Debug)]
pub struct PinError {
    /// The core that was asked for.
    pub core: usize,
    /// What the kernel said.
    pub error: std::io::Error,
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot pin a thread to core {}: {}; is the core there, online, and allowed for this \
             process (`taskset -p $$`, cgroup cpuset)?",
            self.core, self.error
        )
    }
}

impl std::error::Error for PinError {}

/// Pins the calling thread to one core. Threads it starts later inherit that.
///
/// # Errors
/// [`PinError`] if the core does not exist or is not allowed.
pub fn pin_current_thread(core: usize) -> Result<(), PinError> {
    let refused = |error| PinError { core, error };
    if core >= libc::CPU_SETSIZE as usize {
        return Err(refused(std::io::Error::from_raw_os_error(libc::EINVAL)));
    }
    // SAFETY: a cpu_set_t is plain bits; all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: `core` is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: 0 is the calling thread, and the set is alive and of the size given.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(refused(std::io::Error::last_os_error())) }
}

/// Lets the calling thread's sleeps end at most `nanos` late (the default is 50 us).
pub fn set_timer_slack(nanos: u32) {
    let slack = libc::c_ulong::from(nanos);
    // SAFETY: PR_SET_TIMERSLACK takes an integer and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_does_not_exist_is_refused_with_advice() {
        let error = pin_current_thread(100_000).expect_err("no machine has that many");
        assert!(error.to_string().contains("core 100000"));
    }
}
