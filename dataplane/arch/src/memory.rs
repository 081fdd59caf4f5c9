//! Where large tables lie.
//!
//! A table of a million entries is hundreds of megabytes, of which every packet touches a few lines
//! somewhere. With pages of 4 KiB each of them costs a walk through the page tables as well; with
//! pages of 2 MiB the walks end in the second-level TLB, or nearly.

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// Asks the kernel to put the memory on huge pages, as far as it fills whole ones and was not
/// touched yet. It may refuse (`/sys/kernel/mm/transparent_hugepage/enabled`): nothing but speed
/// depends on it.
pub fn prefer_huge_pages((start, len): (*const u8, usize)) {
    let first = (start as usize).next_multiple_of(HUGE);
    let end = (start as usize).saturating_add(len) / HUGE * HUGE;
    if first < end {
        advise(first, end - first);
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
fn advise(start: usize, len: usize) {
    // SAFETY: the advice changes no byte of any memory, whosever it is.
    unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_HUGEPAGE) };
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise(_start: usize, _len: usize) {}

/// `count` times `value`, on huge pages where that is worth it.
#[must_use]
pub fn huge_table<T: Clone>(count: usize, value: T) -> Vec<T> {
    let mut table = huge_capacity(count);
    table.resize(count, value);
    table
}

/// An empty vector for `count` values, on huge pages where that is worth it.
#[must_use]
pub fn huge_capacity<T>(count: usize) -> Vec<T> {
    let table: Vec<T> = Vec::with_capacity(count);
    prefer_huge_pages((table.as_ptr().cast(), table.capacity() * size_of::<T>()));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_what_it_would_be_without() {
        for count in [0, 1, 3 << 20] {
            let table = huge_table(count, 7u8);
            assert!(table.len() == count && table.iter().all(|value| *value == 7));
        }
        prefer_huge_pages((std::ptr::null(), 0));
    }
}
