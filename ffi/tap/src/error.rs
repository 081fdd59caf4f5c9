//! What can go wrong, and what to do about it.

use std::io;
use std::net::IpAddr;

/// Why a TAP could not be opened or set up.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name is not one the kernel takes.
    #[error("`{name}` is not an interface name: 1 to 15 bytes, no `/`, no space, not `.` or `..`")]
    Name {
        /// The name.
        name: String,
    },
    /// There is no TUN/TAP driver.
    #[error(
        "/dev/net/tun: {error}; load the driver with `modprobe tun`, or give the container /dev/net/tun"
    )]
    NoDriver {
        /// What the kernel said.
        error: io::Error,
    },
    /// We may not create or attach to it.
    #[error(
        "no permission to open TAP `{name}`; run as root, inside `unshare -Urn`, or let root make \
         it for you: `ip tuntap add dev {name} mode tap multi_queue user $USER`"
    )]
    Permission {
        /// The interface.
        name: String,
    },
    /// Somebody else is attached to it.
    #[error(
        "TAP `{name}` is in use by another process; choose another name in `device = \"tap:...\"` \
         or stop that process (`ip -d link show {name}` and `lsof /dev/net/tun` tell which)"
    )]
    Busy {
        /// The interface.
        name: String,
    },
    /// There is an interface of that name, and it is something else.
    #[error(
        "interface `{name}` exists and is not a TAP; choose another name, or use it by \
         `device = \"af_packet:{name}\"` or `device = \"af_xdp:{name}\"`"
    )]
    NotATap {
        /// The interface.
        name: String,
    },
    /// It was made with one queue and we want more.
    #[error(
        "TAP `{name}` was made with a single queue, and {queues} workers want one each; make it \
         again with `ip tuntap add dev {name} mode tap multi_queue`, or use one core"
    )]
    SingleQueue {
        /// The interface.
        name: String,
        /// Queues that were wanted.
        queues: usize,
    },
    /// The kernel's end could not be given an address.
    #[error("cannot give `{name}` the address {address}/{prefix_len}: {error}")]
    Address {
        /// The interface.
        name: String,
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        prefix_len: u8,
        /// What the kernel said.
        error: io::Error,
    },
    /// Anything else.
    #[error("TAP `{name}`: cannot {action}: {error}")]
    System {
        /// The interface.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}
