//! Creating a TAP, or attaching to an idle one.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use sluice_buf::{MacBytes, Pool};

use crate::error::TapError;
use crate::queue::TapQueue;

/// Offloads that we ask the kernel for: it may leave checksums open and send up to 64 KiB of TCP.
const OFFLOADS: libc::c_ulong = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
const TUN_F_CSUM: libc::c_ulong = 0x01;
const TUN_F_TSO4: libc::c_ulong = 0x02;
const TUN_F_TSO6: libc::c_ulong = 0x04;

/// `_IOW('T', 202, int)` and its neighbours.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;

/// An open TAP with a file descriptor per queue.
#[derive(Debug)]
pub struct TapInterface {
    pub(crate) name: String,
    queues: Vec<File>,
}

impl TapInterface {
    /// Opens TAP `name` with `queues` queues; makes it if there is none, and then it disappears
    /// with the last of its queues.
    ///
    /// # Errors
    /// [`TapError`] tells who is in the way and what to do.
    pub fn open(name: &str, queues: usize) -> Result<Self, TapError> {
        if !is_name(name) {
            return Err(TapError::Name { name: name.to_owned() });
        }
        // Another process's multi-queue TAP would take us as one more queue without a word, and we
        // would steal its flows; a TAP that somebody is attached to has a carrier.
        if has_carrier(name) {
            let busy = driver(name).is_some_and(|driver| driver == "tun");
            let name = name.to_owned();
            return Err(if busy { TapError::Busy { name } } else { TapError::NotATap { name } });
        }
        let mut opened = Vec::with_capacity(queues);
        for _ in 0..queues.max(1) {
            opened.push(open_queue(name, queues)?);
        }
        Ok(Self { name: name.to_owned(), queues: opened })
    }

    /// Has the kernel fill in every checksum and cut every segment itself.
    ///
    /// # Errors
    /// [`TapError::System`] if it refuses.
    pub fn without_offloads(&self) -> Result<(), TapError> {
        let off = |file| set_offloads(file, 0);
        self.queues.iter().try_for_each(off).map_err(|error| TapError::System {
            name: self.name.clone(),
            action: "switch its offloads off",
            error,
        })
    }

    /// The devices, in queue order; `pools` are the receive pools of the workers that get them.
    ///
    /// # Errors
    /// [`TapError::System`] if a queue cannot be set up.
    pub fn into_queues(self, pools: Vec<Pool>) -> Result<Vec<TapQueue>, TapError> {
        let mac = mac_for(&self.name);
        let queues = self.queues.into_iter().zip(pools);
        Ok(queues.map(|(file, pool)| TapQueue::new(file, pool, mac)).collect())
    }

    /// How many queues are open.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }
}

fn is_name(name: &str) -> bool {
    let fits = (1..libc::IFNAMSIZ).contains(&name.len());
    fits && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
}

/// Our end's address: locally administered, the same for the same name, and never the kernel's own
/// (which it draws at random).
fn mac_for(name: &str) -> MacBytes {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    [0x02, 0x53, a, b, c, d]
}

fn open_queue(name: &str, queues: usize) -> Result<File, TapError> {
    let file = open_driver()?;
    let attached = match attach(&file, name, libc::IFF_MULTI_QUEUE) {
        // A persistent TAP that was made for one queue takes nothing else.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let single = attach(&file, name, 0);
            if single.is_ok() && queues > 1 {
                return Err(TapError::SingleQueue { name: name.to_owned(), queues });
            }
            single
        }
        result => result,
    };
    attached.map_err(|error| refusal(name, error))?;
    let system = |action, error| TapError::System { name: name.to_owned(), action, error };
    set_offloads(&file, OFFLOADS).map_err(|error| system("set its offloads", error))?;
    Ok(file)
}

fn open_driver() -> Result<File, TapError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun");
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => TapError::Permission { name: "/dev/net/tun".to_owned() },
        _ => TapError::NoDriver { error },
    })
}

fn attach(file: &File, name: &str, extra: libc::c_int) -> io::Result<()> {
    let mut request = interface_request(name);
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | extra;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq, which is alive.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_offloads(file: &File, offloads: libc::c_ulong) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes an integer.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, offloads) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A request that names an interface; the name was checked to fit.
pub(crate) fn interface_request(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq is plain bytes, for which all zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *slot = byte as libc::c_char;
    }
    request
}

fn refusal(name: &str, error: io::Error) -> TapError {
    let name = name.to_owned();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TapError::Permission { name },
        Some(libc::EBUSY) => TapError::Busy { name },
        Some(libc::EINVAL | libc::EEXIST) if driver(&name).is_some() => TapError::NotATap { name },
        _ => TapError::System { name, action: "attach to it", error },
    }
}

/// Asks the kernel about an interface (`SIOCETHTOOL`); false if there is no answer.
///
/// Not by /sys/class/net: that shows the namespace in which /sys was mounted, not ours.
fn ethtool<T>(name: &str, question: &mut T) -> bool {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    let Ok(socket) = UdpSocket::bind(("0.0.0.0", 0)) else { return false };
    let mut request = interface_request(name);
    request.ifr_ifru.ifru_data = std::ptr::from_mut(question).cast();
    // SAFETY: the question is alive and as large as the command in its first word says.
    unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) == 0 }
}

fn has_carrier(name: &str) -> bool {
    const ETHTOOL_GLINK: u32 = 0x0a;
    let mut question = [ETHTOOL_GLINK, 0];
    ethtool(name, &mut question) && question[1] != 0
}

/// The driver of an interface; none if there is no such interface.
fn driver(name: &str) -> Option<String> {
    const ETHTOOL_GDRVINFO: u32 = 0x03;
    /// `struct ethtool_drvinfo`: the command, then the driver's name in 32 bytes, 196 in all.
    const WORDS: usize = 49;
    let mut question = [0u32; WORDS];
    question[0] = ETHTOOL_GDRVINFO;
    if !ethtool(name, &mut question) {
        return None;
    }
    let bytes = question[1..9].iter().flat_map(|word| word.to_ne_bytes());
    let text: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_the_kernel_sees_them() {
        for bad in ["", "a-name-that-is-16", "a/b", "a b", ".", "..", "a:b", "ä"] {
            assert!(!is_name(bad), "{bad:?}");
            assert!(matches!(TapInterface::open(bad, 1), Err(TapError::Name { .. })));
        }
        for good in ["sl0", "fifteen-bytes-x"] {
            assert!(is_name(good), "{good:?}");
        }
    }

    #[test]
    fn our_address_is_local_unicast_and_follows_the_name() {
        let mac = mac_for("sl0");
        assert_eq!(mac[0] & 3, 2, "locally administered, unicast");
        assert_eq!(mac, mac_for("sl0"));
        assert_ne!(mac, mac_for("sl1"));
    }
}
