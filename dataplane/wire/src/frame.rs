//! Whole frames as one line, for traces and test failures. Not for the hot path.

use std::fmt;
use std::net::IpAddr;

use crate::ipv6::extension;
use crate::{
    ArpView, EtherType, EthernetView, IcmpView, Icmpv6View, IpProtocol, Ipv4View, Ipv6View,
    NdpMessage, TcpView, UdpView, ndp,
};

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
            EtherType::Ipv6 => fmt_ipv6(view.payload(), f),
            EtherType::Other(_) => {
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
        IpProtocol::Tcp => fmt_tcp("IP", src.into(), dst.into(), payload, f),
        IpProtocol::Udp => fmt_udp("IP", src.into(), dst.into(), payload, f),
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

fn fmt_ipv6(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let view = match Ipv6View::parse(bytes) {
        Ok(view) => view,
        Err(error) => return write!(f, "IP6 [{error}]"),
    };
    let header = view.header();
    let (src, dst) = (header.src, header.dst);
    let upper = match extension::walk(header.next_header, view.payload()) {
        Ok(upper) => upper,
        Err(error) => return write!(f, "IP6 {src} > {dst}: [{error}]"),
    };
    if let Some(fragment) = upper.fragment.filter(|fragment| !fragment.is_atomic()) {
        let (offset, id) = (u32::from(fragment.offset) * 8, fragment.identification);
        let more = if fragment.more { ", more" } else { "" };
        return write!(f, "{header}, frag id {id:#x}, offset {offset}{more}");
    }
    let payload = &view.payload()[usize::from(upper.offset)..];
    match upper.protocol {
        IpProtocol::Tcp => fmt_tcp("IP6", src.into(), dst.into(), payload, f),
        IpProtocol::Udp => fmt_udp("IP6", src.into(), dst.into(), payload, f),
        IpProtocol::Icmpv6 => {
            write!(f, "IP6 {src} > {dst}: ")?;
            match Icmpv6View::parse(payload) {
                Ok(view)
                    if (ndp::KIND_ROUTER_SOLICITATION..=ndp::KIND_REDIRECT)
                        .contains(&view.kind()) =>
                {
                    match NdpMessage::parse(payload) {
                        Ok(message) => write!(f, "{message}")?,
                        Err(error) => write!(f, "ICMP6 [{error}]")?,
                    }
                }
                Ok(view) => write!(f, "{}", view.message())?,
                Err(error) => write!(f, "ICMP6 [{error}]")?,
            }
            write!(f, ", length {}", payload.len())
        }
        IpProtocol::Icmp | IpProtocol::Other(_) => write!(f, "{header}"),
    }
}

fn fmt_tcp(
    name: &str,
    src: IpAddr,
    dst: IpAddr,
    payload: &[u8],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match TcpView::parse(payload).and_then(|tcp| Ok((tcp, tcp.header()?))) {
        Ok((view, tcp)) => {
            write!(f, "{name} {src}.{} > {dst}.{}: ", tcp.src_port, tcp.dst_port)?;
            tcp.fmt_behind_ports(Some((payload.len() - view.header_len()) as u32), f)
        }
        Err(error) => write!(f, "{name} {src} > {dst}: TCP [{error}]"),
    }
}

fn fmt_udp(
    name: &str,
    src: IpAddr,
    dst: IpAddr,
    payload: &[u8],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match UdpView::parse(payload) {
        Ok(view) => {
            let udp = view.header();
            write!(f, "{name} {src}.{} > {dst}.{}: ", udp.src_port, udp.dst_port)?;
            write!(f, "UDP, length {}", udp.payload_len)
        }
        Err(error) => write!(f, "{name} {src} > {dst}: UDP [{error}]"),
    }
}

#[cfg(test)]
mod tests;
