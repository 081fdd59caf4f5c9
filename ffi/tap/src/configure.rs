//! Setting up the kernel's end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use sluice_buf::MacBytes;

use crate::address_v6;
use crate::error::TapError;
use crate::open::{TapInterface, interface_request};

impl TapInterface {
    /// Sets the MTU, gives the kernel's end its addresses (address, prefix length) and brings it up.
    ///
    /// What is already as wanted is left alone, so a TAP that root prepared needs no privilege.
    ///
    /// # Errors
    /// [`TapError::Address`] or [`TapError::System`] with what the kernel said.
    pub fn configure(&self, mtu: u16, addresses: &[(IpAddr, u8)]) -> Result<(), TapError> {
        let system =
            |action| move |error| TapError::System { name: self.name.clone(), action, error };
        // Any socket answers interface requests.
        let socket = UdpSocket::bind(("0.0.0.0", 0)).map_err(system("open a socket for it"))?;
        self.set_mtu(&socket, mtu).map_err(system("set its MTU"))?;
        let mut labels = 0;
        for (address, prefix_len) in addresses.iter().copied() {
            let set = match address {
                IpAddr::V4(address) => {
                    let label = match labels {
                        0 => self.name.clone(),
                        _ => format!("{}:{labels}", self.name),
                    };
                    labels += 1;
                    set_address(&socket, &label, address, prefix_len)
                }
                IpAddr::V6(address) => address_v6::set(&self.name, address, prefix_len),
            };
            set.map_err(|error| {
                let name = self.name.clone();
                TapError::Address { name, address, prefix_len, error }
            })?;
        }
        self.bring_up(&socket).map_err(system("bring it up"))
    }

    /// Gives the kernel's end a link-layer address.
    ///
    /// # Errors
    /// [`TapError::System`] with what the kernel said.
    pub fn set_mac(&self, mac: MacBytes) -> Result<(), TapError> {
        let system =
            |action| move |error| TapError::System { name: self.name.clone(), action, error };
        let socket = UdpSocket::bind(("0.0.0.0", 0)).map_err(system("open a socket for it"))?;
        let mut data = [0; 14];
        for (slot, byte) in data.iter_mut().zip(mac) {
            *slot = byte as libc::c_char;
        }
        let mut request = interface_request(&self.name);
        request.ifr_ifru.ifru_hwaddr =
            libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: data };
        ioctl(&socket, libc::SIOCSIFHWADDR, &mut request)
            .map_err(system("give it the link-layer address of its port"))
    }

    fn set_mtu(&self, socket: &UdpSocket, mtu: u16) -> io::Result<()> {
        let mut request = interface_request(&self.name);
        ioctl(socket, libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: SIOCGIFMTU filled in `ifru_mtu`.
        let current = unsafe { request.ifr_ifru.ifru_mtu };
        if current == i32::from(mtu) {
            return Ok(());
        }
        request.ifr_ifru.ifru_mtu = i32::from(mtu);
        ioctl(socket, libc::SIOCSIFMTU, &mut request)
    }

    fn bring_up(&self, socket: &UdpSocket) -> io::Result<()> {
        let mut request = interface_request(&self.name);
        ioctl(socket, libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS filled in `ifru_flags`.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        if flags & libc::IFF_UP as libc::c_short != 0 {
            return Ok(());
        }
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        ioctl(socket, libc::SIOCSIFFLAGS, &mut request)
    }
}

fn set_address(
    socket: &UdpSocket,
    label: &str,
    address: Ipv4Addr,
    prefix_len: u8,
) -> io::Result<()> {
    let mut request = interface_request(label);
    if ioctl(socket, libc::SIOCGIFADDR, &mut request).is_ok() {
        // SAFETY: SIOCGIFADDR filled in `ifru_addr`.
        let current = unsafe { request.ifr_ifru.ifru_addr };
        if current.sa_data == socket_address(address).sa_data {
            return Ok(());
        }
    }
    request.ifr_ifru.ifru_addr = socket_address(address);
    ioctl(socket, libc::SIOCSIFADDR, &mut request)?;
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
    request.ifr_ifru.ifru_netmask = socket_address(Ipv4Addr::from(mask));
    ioctl(socket, libc::SIOCSIFNETMASK, &mut request)
}

/// A `sockaddr_in` in the form that an ifreq has room for: port (2 bytes), address (4), zero.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (slot, byte) in data[2..6].iter_mut().zip(address.octets()) {
        *slot = byte as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

fn ioctl(socket: &UdpSocket, request: libc::c_ulong, argument: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: interface requests read and write an ifreq, which is alive.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
