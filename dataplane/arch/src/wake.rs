//! Sleeping until something happens, and waking a sleeper.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// Wakes one sleeping thread from any other; costs a load while the thread is awake.
///
/// The sleeper announces, fences, looks at its queues once more, and waits. A producer queues,
/// fences, and writes the event only after it has seen the announcement. With both fences
/// sequentially consistent, at least one of the two sees the other's store, so no wake-up is lost.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
    sleeping: AtomicBool,
}

impl Waker {
    /// A waker for one thread.
    ///
    /// # Errors
    /// What `eventfd(2)` says: no descriptors or no memory left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers and returns a descriptor or -1.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is fresh and ours.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { event, sleeping: AtomicBool::new(false) })
    }

    /// Wakes the thread if it sleeps or is about to. Call it after queueing.
    #[inline]
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // A full counter means that the sleeper is being woken already.
        // SAFETY: eight bytes that are alive, to a descriptor that is open.
        unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Announces that the calling thread is going to sleep. It must look at its queues once more
    /// before [`Waker::wait`], and call [`Waker::awake`] in every case.
    pub fn announce(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Waits until a descriptor of `fds` is readable, the waker is rung, or `timeout` is over.
    pub fn wait(&self, fds: &[i32], timeout: Duration) {
        const FDS_MAX: usize = 64;
        let mut set = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; FDS_MAX];
        set[0].fd = self.event.as_raw_fd();
        let count = fds.len().min(FDS_MAX - 1);
        for (slot, fd) in set[1..].iter_mut().zip(fds) {
            slot.fd = *fd;
        }
        let timeout = libc::timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        // SAFETY: the set holds at least `count + 1` entries, the timeout is alive, no signal mask.
        unsafe {
            libc::ppoll(
                set.as_mut_ptr(),
                count as libc::nfds_t + 1,
                &raw const timeout,
                std::ptr::null(),
            )
        };
    }

    /// Takes the announcement back.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
        let mut count = [0u8; 8];
        // SAFETY: eight bytes that are alive and ours; the descriptor is open and does not block.
        unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// If a wake-up could be lost, this test would hang (the runner's limit ends it).
    #[test]
    fn no_wake_up_is_lost() {
        use std::sync::atomic::AtomicU32;
        const ROUNDS: u32 = 2_000;
        let waker = Arc::new(Waker::new().expect("an eventfd"));
        let queued = Arc::new(AtomicU32::new(0));
        let seen = Arc::new(AtomicU32::new(0));
        let producer = {
            let (waker, queued, seen) = (waker.clone(), queued.clone(), seen.clone());
            std::thread::spawn(move || {
                for round in 1..=ROUNDS {
                    queued.store(round, Ordering::Relaxed);
                    waker.wake();
                    while seen.load(Ordering::Relaxed) < round {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let mut last = 0;
        while last < ROUNDS {
            waker.announce();
            if queued.load(Ordering::Relaxed) == last {
                waker.wait(&[], Duration::from_secs(3_600));
            }
            waker.awake();
            last = queued.load(Ordering::Relaxed);
            seen.store(last, Ordering::Relaxed);
        }
        producer.join().expect("the producer ends");
    }

    #[test]
    fn a_wake_up_while_awake_costs_nothing_later() {
        let waker = Waker::new().expect("an eventfd");
        waker.wake();
        waker.announce();
        waker.wait(&[], Duration::from_millis(1));
        waker.awake();
    }
}
