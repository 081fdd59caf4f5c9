//! Which pages packet memory lives on.

use std::fmt;
use std::fs;
use std::path::Path;

/// What to do about huge pages. Only pages that the administrator has reserved are used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Hugepages {
    /// Use them where enough are free, else normal pages, and say so.
    #[default]
    Auto,
    /// Refuse to start without.
    Required,
    /// Normal pages.
    Off,
}

/// What packet memory lives on, with the reason; its `Display` is for the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Memory {
    /// Huge pages: full speed.
    Hugepages {
        /// MiB that were free at start.
        free_mib: u64,
    },
    /// Normal pages, because huge pages were switched off.
    NormalByChoice,
    /// Normal pages, because too few huge pages were free.
    NormalForLack {
        /// MiB that were needed.
        needed_mib: u64,
        /// MiB that were free.
        free_mib: u64,
    },
}

impl Memory {
    /// Whether the operator wanted something better.
    #[must_use]
    pub const fn is_fallback(&self) -> bool {
        matches!(self, Self::NormalForLack { .. })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hugepages { free_mib } => {
                write!(f, "packet memory is on huge pages ({free_mib} MiB were free)")
            }
            Self::NormalByChoice => {
                f.write_str("packet memory is on normal pages (hugepages = \"off\")")
            }
            Self::NormalForLack { needed_mib, free_mib } => write!(
                f,
                "packet memory is on NORMAL pages, up to 2x slower: {needed_mib} MiB of huge pages \
                 are needed and {free_mib} MiB are free; {}",
                Advice { needed_mib: *needed_mib }
            ),
        }
    }
}

/// How to get huge pages.
pub(crate) struct Advice {
    pub(crate) needed_mib: u64,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages = self.needed_mib.div_ceil(2);
        write!(f, "reserve them as root with `sysctl vm.nr_hugepages={pages}`")
    }
}

/// Free huge pages of all sizes and nodes, in MiB.
pub(crate) fn free_mib() -> u64 {
    free_mib_under(Path::new("/sys/kernel/mm/hugepages"))
}

fn free_mib_under(root: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(root) else { return 0 };
    let free_kib = sizes.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let size_kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = fs::read_to_string(entry.path().join("free_hugepages")).ok()?;
        Some(size_kib * count.trim().parse::<u64>().ok()?)
    });
    free_kib.sum::<u64>() / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_sizes_and_survives_their_absence() {
        let root = std::env::temp_dir().join(format!("sluice-huge-{}", std::process::id()));
        assert_eq!(free_mib_under(&root), 0);
        for (name, free) in [("hugepages-2048kB", "3\n"), ("hugepages-1048576kB", "1\n")] {
            fs::create_dir_all(root.join(name)).expect("a temporary directory");
            fs::write(root.join(name).join("free_hugepages"), free).expect("a file in it");
        }
        assert_eq!(free_mib_under(&root), 6 + 1024);
        fs::remove_dir_all(&root).expect("it was just made");
    }

    #[test]
    fn a_fallback_tells_the_command() {
        let memory = Memory::NormalForLack { needed_mib: 101, free_mib: 0 };
        assert!(memory.is_fallback());
        assert!(memory.to_string().ends_with("`sysctl vm.nr_hugepages=51`"), "{memory}");
    }
}
