//! Whole frames as one line, for traces and test failures. Not for the hot path.

use std::fmt;

use crate::{ArpView, EtherType, EthernetView, IcmpView, IpProtocol, Ipv4View, TcpView, UdpView};

/// Prints a frame like `tcpdump -n`: tags, then what the innermost header that we know says.
///
/// A header that does not parse is named by its drop reason in brackets, so a trace of bad input
/// reads like the counters that it moves.
#[derive(Clone, Copy)]
pub struct Frame<'a>(pub &'a [u8]);

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = match EthernetView::parse(self.0) {
            Ok(view) => view,
            Err(error) => return write!(f, "[{error}], length {}", self.0.len()),
        };
        for tag in view.tags().iter() {
            write!(f, "{tag}, ")?;
        }
        match view.ether_type() {
            EtherType::Arp => match ArpView::parse(view.payload()) {
                Ok(arp) => write!(f, "{}", arp.packet()),
                Err(error) => write!(f, "ARP [{error}]"),
            },
            EtherType::Ipv4 => fmt_ipv4(view.payload(), f),
            EtherType::Ipv6 | EtherType::Other(_) => {
                write!(f, "{}, length {}", view.header(), self.0.len())
            }
        }
    }
}

fn fmt_ipv4(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let view = match Ipv4View::parse(bytes) {
        Ok(view) => view,
        Err(error) => return write!(f, "IP [{error}]"),
    };
    if !view.checksum_ok() {
        f.write_str("[ipv4-checksum] ")?;
    }
    let header = view.header();
    if header.is_fragment() {
        return write!(f, "{header}");
    }
    let (src, dst, payload) = (header.src, header.dst, view.payload());
    match header.protocol {
        IpProtocol::Tcp => {
            let parsed = TcpView::parse(payload).and_then(|tcp| Ok((tcp, tcp.header()?)));
            match parsed {
                Ok((view, tcp)) => {
                    write!(f, "IP {src}.{} > {dst}.{}: ", tcp.src_port, tcp.dst_port)?;
                    tcp.fmt_behind_ports(Some((payload.len() - view.header_len()) as u32), f)
                }
                Err(error) => write!(f, "IP {src} > {dst}: TCP [{error}]"),
            }
        }
        IpProtocol::Udp => match UdpView::parse(payload) {
            Ok(view) => {
                let udp = view.header();
                write!(f, "IP {src}.{} > {dst}.{}: ", udp.src_port, udp.dst_port)?;
                write!(f, "UDP, length {}", udp.payload_len)
            }
            Err(error) => write!(f, "IP {src} > {dst}: UDP [{error}]"),
        },
        IpProtocol::Icmp => match IcmpView::parse(payload) {
            Ok(view) => {
                write!(f, "IP {src} > {dst}: {}", view.message())?;
                write!(f, ", length {}", payload.len())
            }
            Err(error) => write!(f, "IP {src} > {dst}: ICMP [{error}]"),
        },
        IpProtocol::Icmpv6 | IpProtocol::Other(_) => write!(f, "{header}"),
    }
}

#[cfg(test)]
mod tests;
