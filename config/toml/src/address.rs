//! Addresses of both families in their spellings, and what people write instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sluice_config_model::IpCidr;

use crate::report::{At, Report, Span};
use crate::value::{Value, shown};

const NO_RESOLVER: &str =
    "there is no resolver yet, so host names do not work here; write the IP address";

/// `10.9.0.1` or `fd09::1`
pub(crate) fn ip(value: Value<'_>, report: &mut Report<'_>) -> Option<At<IpAddr>> {
    let key = value.key;
    let text = value.text(report)?;
    let address = parse_ip(key, &text.value, text.span, report)?;
    Some(At { value: address, span: text.span })
}

/// `10.9.0.2/24` or `fd09::2/64`
pub(crate) fn cidr(value: Value<'_>, report: &mut Report<'_>) -> Option<At<IpCidr>> {
    let key = value.key;
    let At { value: text, span } = value.text(report)?;
    let Some((address, prefix_len)) = text.split_once('/') else {
        // A whole address gets the hint about the prefix; anything else is refused as an address.
        let address = parse_ip(key, &text, span, report)?;
        let usual = if address.is_ipv4() { 24 } else { 64 };
        report
            .error(span, format!("`{key}` needs a prefix length behind the address {address}"))
            .hint(format!("write \"{address}/{usual}\" if the network has {usual} bits"));
        return None;
    };
    let address = parse_ip(key, address, span, report)?;
    let digits = !prefix_len.is_empty() && prefix_len.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix_len.parse().ok().filter(|_| digits);
    if let Some(value) = prefix.and_then(|prefix| IpCidr::new(address, prefix)) {
        return Some(At { value, span });
    }
    let (prefix_len, width) = (shown(prefix_len), if address.is_ipv4() { 32 } else { 128 });
    let problem = report
        .error(span, format!("`{key}` has a prefix length that is not 0 to {width}: {prefix_len}"));
    if let Some(bits) = prefix_len.parse().ok().and_then(netmask_bits) {
        problem.hint(format!("the netmask {prefix_len} is written as \"/{bits}\""));
    }
    None
}

/// `10.9.0.2:80` or `[fd09::2]:80`
pub(crate) fn socket(value: Value<'_>, report: &mut Report<'_>) -> Option<At<SocketAddr>> {
    let key = value.key;
    let At { value: text, span } = value.text(report)?;
    if text.parse::<Ipv6Addr>().is_ok() {
        // Its last group may be meant as the port, or not.
        report
            .error(span, format!("`{key}` needs brackets around an IPv6 address, and a port"))
            .hint("as in \"[fd09::2]:80\"");
        return None;
    }
    let (address, port) = match split_brackets(&text) {
        Some(split) => split,
        None => {
            let Some((address, port)) = text.rsplit_once(':') else {
                let address = parse_ip(key, &text, span, report)?;
                report
                    .error(span, format!("`{key}` needs a port behind the address {address}"))
                    .hint(format!("write \"{address}:80\" if the port is 80"));
                return None;
            };
            (address, Some(port))
        }
    };
    if address.is_empty() || address == "*" {
        report
            .error(span, format!("`{key}` needs an address before the port: \"{}\"", shown(&text)))
            .hint("write the IP address, as in \"10.9.0.2:80\" or \"[fd09::2]:80\"");
        return None;
    }
    let address = parse_ip(key, address, span, report)?;
    let Some(port) = port else {
        report
            .error(span, format!("`{key}` needs a port behind the address {address}"))
            .hint(format!("write \"[{address}]:80\" if the port is 80"));
        return None;
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse().ok().filter(|&port: &u16| digits && port != 0) {
        Some(port) => Some(At { value: SocketAddr::new(address, port), span }),
        None => {
            let port = shown(port);
            report.error(span, format!("`{key}` has a port that is not 1 to 65535: {port}"));
            None
        }
    }
}

/// What stands in brackets, and the port behind them. None if there are none.
fn split_brackets(text: &str) -> Option<(&str, Option<&str>)> {
    let (address, rest) = text.strip_prefix('[')?.split_once(']')?;
    Some((address, rest.strip_prefix(':')))
}

/// `127.0.0.1:9901` or `[::1]:9901`: an address of the kernel, which has both.
pub(crate) fn kernel_socket(value: Value<'_>, report: &mut Report<'_>) -> Option<At<SocketAddr>> {
    let key = value.key;
    let At { value: text, span } = value.text(report)?;
    match text.parse::<SocketAddr>() {
        Ok(value) if value.port() != 0 => return Some(At { value, span }),
        Ok(_) => {
            report.error(span, format!("`{key}` has a port that is not 1 to 65535: 0"));
        }
        Err(_) => {
            let message = format!("`{key}` is not an IP address and port: \"{}\"", shown(&text));
            let hint = match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => format!("add the port: \"{address}:9901\""),
                Ok(IpAddr::V6(address)) => format!("add the port: \"[{address}]:9901\""),
                Err(_) => "write it as \"127.0.0.1:9901\" or \"[::1]:9901\"".to_owned(),
            };
            report.error(span, message).hint(hint);
        }
    }
    None
}

fn parse_ip(key: &str, text: &str, span: Span, report: &mut Report<'_>) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let looks_like_a_name = text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let text = shown(text);
    if looks_like_a_name {
        report
            .error(span, format!("`{key}` holds a host name, not an IP address: \"{text}\""))
            .label("a host name")
            .hint(NO_RESOLVER);
    } else if text.contains('%') {
        report
            .error(span, format!("`{key}` names a link behind the address: \"{text}\""))
            .hint("link-local addresses are made by Sluice itself; give one of a wider scope");
    } else if text.contains(':') {
        report
            .error(span, format!("`{key}` is not an IPv6 address: \"{text}\""))
            .hint("an IPv6 address is up to eight groups of hexadecimal digits, as in \"fd09::2\"");
    } else {
        report
            .error(span, format!("`{key}` is not an IPv4 address: \"{text}\""))
            .hint("an IPv4 address is four numbers of 0 to 255, as in \"10.9.0.2\"");
    }
    None
}

/// The length of a prefix that was written as a netmask.
fn netmask_bits(mask: Ipv4Addr) -> Option<u32> {
    let bits = mask.to_bits();
    (bits.leading_ones() + bits.trailing_zeros() == 32).then_some(bits.leading_ones())
}
