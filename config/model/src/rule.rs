//! `[[interface.rule]]`: what may come in by an interface.

use std::fmt;
use std::net::IpAddr;

/// One packet rule. The first that matches and allows or denies decides; without one, a packet is
/// allowed.
///
/// An empty list is a condition that always holds. Ports are named only together with TCP or UDP.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Rule {
    /// What becomes of a packet that matches.
    pub action: RuleAction,
    /// The number of the protocol above IP (IANA); none: any.
    pub protocol: Option<u8>,
    /// Where it comes from.
    pub from: Vec<IpNetwork>,
    /// Where it goes to.
    pub to: Vec<IpNetwork>,
    /// The port it comes from.
    pub from_ports: Vec<PortRange>,
    /// The port it goes to.
    pub to_ports: Vec<PortRange>,
}

impl Rule {
    /// The number of TCP.
    pub const TCP: u8 = 6;
    /// The number of UDP.
    pub const UDP: u8 = 17;

    /// A rule that every packet matches.
    #[must_use]
    pub const fn any(action: RuleAction) -> Self {
        Self {
            action,
            protocol: None,
            from: Vec::new(),
            to: Vec::new(),
            from_ports: Vec::new(),
            to_ports: Vec::new(),
        }
    }

    /// Whether it looks at ports.
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        !self.from_ports.is_empty() || !self.to_ports.is_empty()
    }
}

impl fmt::Display for Rule {
    /// For listings: `deny tcp from 10.0.0.0/8 to any port 22,8000-8080`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action.name())?;
        match self.protocol {
            None => {}
            Some(Self::TCP) => f.write_str(" tcp")?,
            Some(Self::UDP) => f.write_str(" udp")?,
            Some(1) => f.write_str(" icmp")?,
            Some(58) => f.write_str(" icmpv6")?,
            Some(number) => write!(f, " protocol {number}")?,
        }
        for (word, networks, ports) in
            [("from", &self.from, &self.from_ports), ("to", &self.to, &self.to_ports)]
        {
            write!(f, " {word} ")?;
            list(f, networks, "any")?;
            if !ports.is_empty() {
                f.write_str(" port ")?;
                list(f, ports, "")?;
            }
        }
        Ok(())
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], none: &str) -> fmt::Result {
    let Some((first, rest)) = items.split_first() else { return f.write_str(none) };
    write!(f, "{first}")?;
    rest.iter().try_for_each(|item| write!(f, ",{item}"))
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RuleAction {
    /// The packet goes on; no further rule is asked.
    Allow,
    /// The packet is dropped, without a word to its sender; no further rule is asked.
    Deny,
    /// The packet is counted, and the next rules are asked.
    Count,
}

impl RuleAction {
    /// The spelling of the configuration file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Count => "count",
        }
    }
}

/// Addresses with a common prefix; host bits are zero.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IpNetwork {
    address: IpAddr,
    prefix_len: u8,
}

impl IpNetwork {
    /// The network, or `None` if the prefix is longer than an address or bits behind it are set.
    #[must_use]
    pub fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        (Self::masked(address, prefix_len)? == address).then_some(Self { address, prefix_len })
    }

    /// The network that holds `address`, or `None` if the prefix is longer than an address.
    #[must_use]
    pub fn around(address: IpAddr, prefix_len: u8) -> Option<Self> {
        Some(Self { address: Self::masked(address, prefix_len)?, prefix_len })
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits of the prefix.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether `address` lies in it. Addresses of the other family do not.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Self::masked(address, self.prefix_len) == Some(self.address)
    }

    fn masked(address: IpAddr, prefix_len: u8) -> Option<IpAddr> {
        match address {
            IpAddr::V4(address) => {
                let host_bits = 32_u32.checked_sub(u32::from(prefix_len))?;
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                Some(std::net::Ipv4Addr::from_bits(address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let host_bits = 128_u32.checked_sub(u32::from(prefix_len))?;
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                Some(std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into())
            }
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Ports from one to another, both included.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last, not below the first.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` lies in it.
    #[must_use]
    pub const fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str, prefix_len: u8) -> Option<IpNetwork> {
        IpNetwork::new(text.parse().expect("an address"), prefix_len)
    }

    #[test]
    fn networks_have_no_host_bits() {
        assert!(network("10.0.0.0", 8).is_some() && network("10.0.0.1", 8).is_none());
        assert!(network("10.0.0.1", 32).is_some() && network("10.0.0.1", 33).is_none());
        assert!(network("0.0.0.0", 0).is_some() && network("fd00::", 8).is_some());
        assert!(network("::", 0).is_some() && network("::1", 128).is_some());
        assert!(network("::1", 129).is_none() && network("::1", 127).is_none());
    }

    /// 0.0.0.0/0 and ::/0 are different questions.
    #[test]
    fn families_do_not_mix() {
        let v4 = network("0.0.0.0", 0).expect("a network");
        assert!(v4.contains("1.2.3.4".parse().expect("an address")));
        assert!(!v4.contains("::ffff:1.2.3.4".parse().expect("an address")));
    }

    #[test]
    fn a_rule_reads_like_a_sentence() {
        let rule = Rule {
            protocol: Some(Rule::TCP),
            from: network("10.0.0.0", 8).into_iter().collect(),
            to_ports: vec![
                PortRange { first: 22, last: 22 },
                PortRange { first: 8000, last: 8080 },
            ],
            ..Rule::any(RuleAction::Deny)
        };
        assert_eq!(rule.to_string(), "deny tcp from 10.0.0.0/8 to any port 22,8000-8080");
        assert_eq!(Rule::any(RuleAction::Count).to_string(), "count from any to any");
    }
}
