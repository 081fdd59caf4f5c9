//! An IPv6 address for the kernel's end.
//!
//! By netlink and not by an interface request, since only that can ask for an address without
//! duplicate address detection (RFC 4862, 5.4): nobody but us is on the link, and a socket could not
//! be bound to the address for a second.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Gives an interface an address, unless it has it.
pub(crate) fn set(name: &str, address: Ipv6Addr, prefix_len: u8) -> io::Result<()> {
    if has(name, address, prefix_len) {
        return Ok(());
    }
    let index = index_of(name)?;
    let socket = netlink()?;
    send(&socket, &new_address(index, address, prefix_len))?;
    acknowledged(&socket)
}

/// Whether the kernel lists the address with this length.
fn has(name: &str, address: Ipv6Addr, prefix_len: u8) -> bool {
    std::fs::read_to_string("/proc/self/net/if_inet6")
        .is_ok_and(|table| is_listed(&table, name, address, prefix_len))
}

/// Rows are: address, index, prefix length, scope, flags (all hexadecimal), name.
fn is_listed(table: &str, name: &str, address: Ipv6Addr, prefix_len: u8) -> bool {
    let (address, len) = (format!("{:032x}", address.to_bits()), format!("{prefix_len:02x}"));
    table.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some(&address) && words.nth(1) == Some(&len) && words.nth(2) == Some(name)
    })
}

fn index_of(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name).map_err(io::Error::other)?;
    // SAFETY: the name is a C string and alive.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 { Err(io::Error::last_os_error()) } else { Ok(index) }
}

fn netlink() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: makes a socket from three numbers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    // SAFETY: the message is alive and as long as is said.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads the kernel's answer, which carries an errno, 0 for done.
fn acknowledged(socket: &OwnedFd) -> io::Result<()> {
    let mut answer = [0u8; 512];
    let (start, len) = (answer.as_mut_ptr().cast(), answer.len());
    // SAFETY: the buffer is alive and as long as is said.
    let received = unsafe { libc::recv(socket.as_raw_fd(), start, len, 0) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let code = answer.get(HEADER..).and_then(<[u8]>::first_chunk);
    match i32::from_ne_bytes(*code.unwrap_or(&[0; 4])) {
        0 => Ok(()),
        error if -error == libc::EEXIST => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// Bytes of `struct nlmsghdr`, and of `struct ifaddrmsg`.
const HEADER: usize = 16;
const BODY: usize = 8;
/// Bytes of an attribute with an address.
const ATTRIBUTE: usize = 4 + 16;

/// `RTM_NEWADDR` with the address as `IFA_LOCAL` and `IFA_ADDRESS`.
fn new_address(index: u32, address: Ipv6Addr, prefix_len: u8) -> Vec<u8> {
    let len = (HEADER + BODY + 2 * ATTRIBUTE) as u32;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut message = Vec::with_capacity(len as usize);
    message.extend(len.to_ne_bytes());
    message.extend(libc::RTM_NEWADDR.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([libc::AF_INET6 as u8, prefix_len, libc::IFA_F_NODAD as u8, 0]);
    message.extend(index.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        message.extend((ATTRIBUTE as u16).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(address.octets());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        00000000000000000000000000000001 01 80 10 80       lo\n\
        fd090000000000000000000000000001 04 40 00 82      sl0\n";

    #[test]
    fn what_is_there_is_seen() {
        let address = "fd09::1".parse().expect("an address");
        assert!(is_listed(TABLE, "sl0", address, 64));
        assert!(!is_listed(TABLE, "sl0", address, 48));
        assert!(!is_listed(TABLE, "sl1", address, 64));
        assert!(is_listed(TABLE, "lo", Ipv6Addr::LOCALHOST, 128));
    }

    #[test]
    fn the_message_says_its_length() {
        let message = new_address(4, Ipv6Addr::LOCALHOST, 64);
        assert_eq!(message.len(), 64);
        assert_eq!(message[..4], 64u32.to_ne_bytes());
    }
}
