//! Why a port did not open.

use std::path::PathBuf;

use crate::pcap::PcapError;
use crate::pci::{PciAddress, PciError};
use crate::spec::SpecError;

/// Why a port did not open; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The device string is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The PCI device cannot be taken.
    #[error(transparent)]
    Pci(#[from] PciError),
    /// A capture file cannot be used.
    #[error(transparent)]
    Pcap(#[from] PcapError),
    /// The NIC was not named when EAL started, so it was not looked for.
    #[error(
        "PCI device {address} was not given to EAL at start: NICs cannot be added to a running process"
    )]
    PciNotGiven {
        /// The address.
        address: PciAddress,
    },
    /// No driver took the NIC.
    #[error(
        "no driver in this build takes PCI device {address}, or its start failed; build with the \
         feature `dpdk-shared` for every driver of libdpdk; DPDK said: {cause}"
    )]
    PciNotProbed {
        /// The address.
        address: PciAddress,
        /// DPDK's log.
        cause: String,
    },
    /// No such kernel interface.
    #[error("there is no network interface `{interface}` here: `ip link` lists those that exist")]
    NoInterface {
        /// The interface.
        interface: String,
    },
    /// The user may not open the kernel's packet sockets.
    #[error("no permission to {action}: run as root or with the capabilities {capabilities}")]
    NoPermission {
        /// What was tried.
        action: &'static str,
        /// What it takes.
        capabilities: &'static str,
    },
    /// The kernel has no AF_XDP.
    #[error("this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS): use af_packet: instead")]
    NoAfXdp,
    /// The kernel has no TUN device.
    #[error("/dev/net/tun is missing: `modprobe tun`, or pass the device to the container")]
    NoTun,
    /// The kernel's interface carries smaller packets.
    #[error(
        "MTU {mtu} is more than the {max} that `{device}` carries: lower mtu, or raise the interface's"
    )]
    Mtu {
        /// The device.
        device: String,
        /// MTU asked for.
        mtu: u16,
        /// MTU possible.
        max: u32,
    },
    /// The kernel refused an AF_XDP socket.
    #[error(
        "{device}: the kernel refused the AF_XDP socket ({error}): it takes root outside of user \
         namespaces, `ulimit -l` above the receive pool's size, and no other XDP program on the \
         interface (`ip link` shows one); DPDK said: {cause}"
    )]
    AfXdp {
        /// The device.
        device: String,
        /// The error number in words.
        error: String,
        /// DPDK's log.
        cause: String,
    },
    /// The driver's name is unknown.
    #[error(
        "`{driver}` is not a driver of this build: it has net_af_packet, net_af_xdp, net_memif, \
         net_null, net_pcap, net_ring, net_tap, net_vhost, net_virtio_user; the feature \
         `dpdk-shared` has all"
    )]
    UnknownDriver {
        /// The name.
        driver: String,
    },
    /// A device of that name exists in this process.
    #[error("device {name} is open already: each interface needs a device of its own")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Somebody else has it.
    #[error("{device} is in use by another process; DPDK said: {cause}")]
    Busy {
        /// The device.
        device: String,
        /// DPDK's log.
        cause: String,
    },
    /// The name of the kernel interface to be made is taken.
    #[error(
        "network interface `{interface}` exists and cannot be opened as a TAP: choose another name, \
         stop the process that holds it, or delete it with `ip link del {interface}`"
    )]
    InterfaceTaken {
        /// The interface.
        interface: String,
    },
    /// A live server, or a file of another kind, is at the path.
    #[error("memif socket {path} is taken: stop the process that serves it, or choose another path", path = path.display())]
    SocketTaken {
        /// The path.
        path: PathBuf,
    },
    /// The directory of the socket does not exist.
    #[error("the directory of memif socket {path} does not exist: create it", path = path.display())]
    SocketDirectory {
        /// The path.
        path: PathBuf,
    },
    /// The driver refused its arguments or its device.
    #[error("{device} did not open ({error}); DPDK said: {cause}")]
    Probe {
        /// The device.
        device: String,
        /// The error number in words.
        error: String,
        /// DPDK's log.
        cause: String,
    },
    /// The pool is smaller than what the driver keeps for itself.
    #[error(
        "a receive pool of {buffers} buffers is too small for {device}, which keeps {held} of them: \
         raise `buffers` to at least {needed}"
    )]
    PoolTooSmall {
        /// The device.
        device: String,
        /// Buffers in the pool.
        buffers: u32,
        /// Buffers that the driver holds.
        held: u32,
        /// Buffers that make sense.
        needed: u32,
    },
    /// Fewer pools than queues.
    #[error("{queues} queues need a receive pool each, and {pools} were given")]
    Pools {
        /// Queues.
        queues: u16,
        /// Pools given.
        pools: usize,
    },
    /// A step of setting the port up failed.
    #[error("{device}: {step} failed ({error}); DPDK said: {cause}")]
    Setup {
        /// The device.
        device: String,
        /// Which step.
        step: &'static str,
        /// The error number in words.
        error: String,
        /// DPDK's log.
        cause: String,
    },
}
