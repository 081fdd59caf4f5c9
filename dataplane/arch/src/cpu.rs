//! Single instructions.

/// The time-stamp counter, or 0 where there is none.
///
/// About 35 cycles. Constant-rate on every processor we run on, but not the core clock.
#[inline]
#[must_use]
pub fn cycles() -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: RDTSC is part of the x86-64 baseline and reads no memory.
    return unsafe { std::arch::x86_64::_rdtsc() };
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    0
}

/// Asks for the cache line of `value` to be fetched into all levels.
#[inline]
pub fn prefetch_read<T>(value: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(value.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}

/// Asks for every cache line of the `len` bytes from `start`.
#[inline]
pub fn prefetch_bytes(start: *const u8, len: usize) {
    let first = start as usize % LINE;
    let mut at = 0;
    while at < len + first {
        prefetch_read(start.wrapping_add(at));
        at += LINE;
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Tells the core that this is a spinning loop (11 ns on the machines we measured).
#[inline]
pub fn relax() {
    std::hint::spin_loop();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn the_counter_moves() {
        let first = cycles();
        assert!((0..1000).any(|_| cycles() > first));
    }

    #[test]
    fn prefetching_nonsense_is_harmless() {
        prefetch_read(std::ptr::null::<u8>());
        prefetch_read(&7u64);
        prefetch_bytes(std::ptr::null(), 100);
    }
}
