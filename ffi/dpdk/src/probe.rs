//! From a device's description to a port number: checks that can name the cause first, DPDK then.

use std::ffi::{CString, c_int};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use sluice_dpdk_sys as sys;

use crate::eal::{Eal, error_text};
use crate::log;
use crate::pcap;
use crate::pci::{self, PciAddress};
use crate::port::PortOptions;
use crate::port_error::PortError;
use crate::spec::{DeviceSpec, MemifRole, SpecError, Vdev};

/// A port that exists and is not configured.
pub(crate) struct Found {
    pub(crate) number: u16,
    pub(crate) device: String,
    /// The name to unplug it by.
    pub(crate) vdev: Option<CString>,
    /// Packets in its input file.
    pub(crate) input_packets: Option<u64>,
}

/// Makes DPDK know the device.
pub(crate) fn find(
    eal: &Eal,
    spec: &DeviceSpec,
    options: &PortOptions,
) -> Result<Found, PortError> {
    // What was logged before is not the cause of what may fail now.
    let _ = log::take();
    let Some(vdev) = spec.vdev(options.queues)? else {
        return match spec {
            DeviceSpec::Pci(address) => find_pci(eal, *address),
            _ => Err(SpecError::Vdev { given: spec.to_string() }.into()),
        };
    };
    let mut input_packets = None;
    match spec {
        DeviceSpec::AfPacket { interface } | DeviceSpec::AfXdp { interface } => {
            check_interface(spec, interface, options)?;
        }
        DeviceSpec::Pcap { input, output, infinite } => {
            let packets = pcap::count_packets(input)?;
            input_packets = (!infinite).then_some(packets);
            if let Some(output) = output {
                pcap::check_output(output)?;
            }
        }
        DeviceSpec::Memif { socket, role, .. } => check_socket(socket, *role)?,
        DeviceSpec::Vdev(_) | DeviceSpec::Pci(_) => {}
    }
    let mut result = plug(spec, &vdev);
    // A kernel interface with fewer channels than wanted queues (a veth has one) refuses the number.
    let is_refused = matches!(result, Err(PortError::Probe { .. })) && options.queues > 1;
    if let (true, DeviceSpec::AfXdp { .. }, Some(single)) = (is_refused, spec, spec.vdev(1)?) {
        result = plug(spec, &single);
    }
    let vdev = c_string(&vdev.name)?;
    Ok(Found { number: result?, device: spec.to_string(), vdev: Some(vdev), input_packets })
}

fn find_pci(eal: &Eal, address: PciAddress) -> Result<Found, PortError> {
    pci::check(address)?;
    if !eal.has_pci(address) {
        return Err(PortError::PciNotGiven { address });
    }
    // EAL probed it at start.
    let name = c_string(&address.to_string())?;
    match port_by_name(&name) {
        Some(number) => {
            let device = DeviceSpec::Pci(address).to_string();
            Ok(Found { number, device, vdev: None, input_packets: None })
        }
        None => Err(PortError::PciNotProbed { address, cause: log::take_cause() }),
    }
}

/// Plugs the virtual device in; returns its port.
fn plug(spec: &DeviceSpec, vdev: &Vdev) -> Result<u16, PortError> {
    let (name, arguments) = (c_string(&vdev.name)?, c_string(&vdev.arguments)?);
    if port_by_name(&name).is_some() {
        return Err(PortError::NameTaken { name: vdev.name.clone() });
    }
    // SAFETY: EAL runs; all three are C strings.
    let result =
        unsafe { sys::rte_eal_hotplug_add(c"vdev".as_ptr(), name.as_ptr(), arguments.as_ptr()) };
    if result < 0 {
        return Err(plug_error(spec, vdev, result));
    }
    port_by_name(&name).ok_or_else(|| plug_error(spec, vdev, -libc::ENODEV))
}

fn plug_error(spec: &DeviceSpec, vdev: &Vdev, result: c_int) -> PortError {
    let cause = log::take_cause();
    let device = spec.to_string();
    if result == -libc::EEXIST {
        PortError::NameTaken { name: vdev.name.clone() }
    } else if cause.contains("failed to parse device") {
        // EAL reads the name by asking every driver of the bus whether it knows it.
        PortError::UnknownDriver { driver: vdev.driver().to_owned() }
    } else if cause.contains("Operation not permitted") || cause.contains("Permission denied") {
        let (action, capabilities) = ("open the device", "CAP_NET_ADMIN and CAP_NET_RAW");
        PortError::NoPermission { action, capabilities }
    } else if let Some(error) = tun_error(vdev) {
        error
    } else if let Some(interface) = tap_interface(vdev).filter(|name| exists(name)) {
        PortError::InterfaceTaken { interface: interface.to_owned() }
    } else if cause.contains("resource busy") {
        PortError::Busy { device, cause }
    } else {
        PortError::Probe { device, error: error_text(result), cause }
    }
}

/// What keeps net_tap from making interfaces; it does not log it.
fn tun_error(vdev: &Vdev) -> Option<PortError> {
    const TUN: &str = "/dev/net/tun";
    const CAP_NET_ADMIN: u32 = 12;
    if !vdev.name.starts_with("net_tap") {
        return None;
    }
    match fs::OpenOptions::new().read(true).write(true).open(TUN) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(PortError::NoTun),
        Ok(_) if has_capability(CAP_NET_ADMIN) => None,
        Ok(_) | Err(_) => {
            let (action, capabilities) = ("create a TAP interface", "CAP_NET_ADMIN");
            Some(PortError::NoPermission { action, capabilities })
        }
    }
}

/// Whether this process has the capability; assumed where it cannot be read.
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    set.is_none_or(|set| set >> number & 1 == 1)
}

/// The kernel interface that a net_tap device makes.
fn tap_interface(vdev: &Vdev) -> Option<&str> {
    let arguments = vdev.name.starts_with("net_tap").then_some(&vdev.arguments)?;
    arguments.split(',').find_map(|argument| argument.strip_prefix("iface="))
}

fn exists(interface: &str) -> bool {
    // SAFETY: the name is a C string.
    CString::new(interface).is_ok_and(|name| unsafe { libc::if_nametoindex(name.as_ptr()) } != 0)
}

fn port_by_name(name: &CString) -> Option<u16> {
    let mut number = 0;
    // SAFETY: the name is a C string and the number is written.
    let found = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut number) };
    (found == 0).then_some(number)
}

fn c_string(text: &str) -> Result<CString, PortError> {
    CString::new(text).map_err(|_| SpecError::Vdev { given: text.to_owned() }.into())
}

/// The kernel's interface exists, carries the MTU, and we may open sockets of the kind.
fn check_interface(
    spec: &DeviceSpec,
    interface: &str,
    options: &PortOptions,
) -> Result<(), PortError> {
    let name = c_string(interface)?;
    if !exists(interface) {
        return Err(PortError::NoInterface { interface: interface.to_owned() });
    }
    let is_xdp = matches!(spec, DeviceSpec::AfXdp { .. });
    let family = if is_xdp { libc::AF_XDP } else { libc::AF_PACKET };
    match (open_socket(family, libc::SOCK_RAW), is_xdp) {
        (Err(libc::EPERM | libc::EACCES), true) => {
            let (action, capabilities) =
                ("open AF_XDP sockets", "CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF");
            return Err(PortError::NoPermission { action, capabilities });
        }
        (Err(libc::EPERM | libc::EACCES), false) => {
            let (action, capabilities) = ("open AF_PACKET sockets", "CAP_NET_RAW");
            return Err(PortError::NoPermission { action, capabilities });
        }
        (Err(libc::EAFNOSUPPORT), true) => return Err(PortError::NoAfXdp),
        // Anything else the driver meets again and reports.
        (Ok(_) | Err(_), _) => {}
    }
    let max = interface_mtu(&name).unwrap_or(u32::MAX);
    if u32::from(options.mtu) > max {
        return Err(PortError::Mtu { device: spec.to_string(), mtu: options.mtu, max });
    }
    Ok(())
}

/// Asks the socket layer rather than sysfs, which may show another network namespace.
fn interface_mtu(name: &CString) -> Option<u32> {
    let socket = open_socket(libc::AF_INET, libc::SOCK_DGRAM).ok()?;
    // SAFETY: all-zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes().iter().take(request.ifr_name.len() - 1);
    for (to, &from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request is of the kind that this call reads and writes.
    let read = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) };
    if read != 0 {
        return None;
    }
    // SAFETY: the call has written this member.
    u32::try_from(unsafe { request.ifr_ifru.ifru_mtu }).ok()
}

/// A socket, or the errno.
fn open_socket(family: c_int, kind: c_int) -> Result<OwnedFd, c_int> {
    // SAFETY: a plain system call.
    let raw = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Removes the socket that a dead server left behind; refuses when a live one is there.
fn check_socket(path: &Path, role: MemifRole) -> Result<(), PortError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if directory.is_some_and(|directory| !directory.is_dir()) {
        return Err(PortError::SocketDirectory { path: path.to_owned() });
    }
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    let taken = || PortError::SocketTaken { path: path.to_owned() };
    if !metadata.file_type().is_socket() {
        return Err(taken());
    }
    if role == MemifRole::Client {
        return Ok(());
    }
    match connect(path) {
        Err(libc::ECONNREFUSED) => fs::remove_file(path).map_err(|_| taken()),
        // A server of this very process may serve several links on one socket.
        Ok(()) | Err(_) => Err(taken()),
    }
}

fn connect(path: &Path) -> Result<(), c_int> {
    let socket = open_socket(libc::AF_UNIX, libc::SOCK_SEQPACKET)?;
    // SAFETY: all-zero is a valid address to be filled in.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_encoded_bytes().iter().take(address.sun_path.len() - 1);
    for (to, &from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from as libc::c_char;
    }
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address is of the kind and length that is said.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if result == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
