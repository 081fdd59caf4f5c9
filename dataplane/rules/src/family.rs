//! The rules that can hold for packets of one family of addresses.

use sluice_config_model::{IpNetwork, Rule, RuleAction};

use crate::order::order;
use crate::ports::PortIndex;
use crate::prefixes::{Index, index};
use crate::rows::{BITS, Bits, RowBuilder, Rows};
use crate::table::Transport;

#[derive(Debug)]
pub(crate) struct Family<I> {
    source: I,
    destination: I,
    from_port: PortIndex,
    tcp_to_port: PortIndex,
    udp_to_port: PortIndex,
    /// Rows of what has no ports.
    without_ports: WithoutPorts,
    rows: Rows,
    /// The operator's number of the rule at a position.
    numbers: Box<[u32]>,
    /// Per word of positions: the lowest number there, and which of them decide.
    words: Box<[Word]>,
    has_counting: bool,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    first: u32,
    deciding: u64,
}

#[derive(Debug)]
struct WithoutPorts {
    /// In the place of `from_port`: for packets without ports, and for later fragments.
    from_none: u32,
    from_later: u32,
    /// In the place of the port that a packet goes to, by protocol.
    to_none: Box<[u32; 256]>,
    to_later_tcp: u32,
    to_later_udp: u32,
}

impl<I: Index> Family<I> {
    /// None if no rule can hold for a packet of this family.
    pub(crate) fn compile(rules: &[Rule]) -> Option<Self> {
        let numbers = order(rules, |rule| applies::<I>(&rule.from) && applies::<I>(&rule.to));
        if numbers.is_empty() {
            return None;
        }
        let count = numbers.len();
        let at = |position: usize| &rules[numbers[position] as usize];
        let mut rows = RowBuilder::new(count);
        let source = index(count, |position| at(position).from.as_slice(), &mut rows);
        let destination = index(count, |position| at(position).to.as_slice(), &mut rows);
        let from_port = PortIndex::new(count, |p| Some(at(p).from_ports.as_slice()), &mut rows);
        let is_for = |position: usize, protocol: u8| {
            at(position).protocol.is_none_or(|named| named == protocol)
        };
        let mut to_port = |protocol: u8| {
            let ranges = |p| is_for(p, protocol).then(|| at(p).to_ports.as_slice());
            PortIndex::new(count, ranges, &mut rows)
        };
        let (tcp_to_port, udp_to_port) = (to_port(Rule::TCP), to_port(Rule::UDP));
        let allows = |position: usize| at(position).action == RuleAction::Allow;
        let mut row = |holds: &dyn Fn(usize) -> bool| rows.add(&Bits::of(count, holds));
        let to_later = |protocol: u8| {
            move |p: usize| is_for(p, protocol) && (at(p).to_ports.is_empty() || allows(p))
        };
        let without_ports = WithoutPorts {
            from_none: row(&|p| at(p).from_ports.is_empty()),
            from_later: row(&|p| at(p).from_ports.is_empty() || allows(p)),
            to_none: {
                let unnamed = row(&|p| at(p).protocol.is_none() && at(p).to_ports.is_empty());
                let mut to_none = Box::new([unnamed; 256]);
                let mut named: Vec<u8> = (0..count).filter_map(|p| at(p).protocol).collect();
                named.sort_unstable();
                named.dedup();
                for protocol in named {
                    to_none[usize::from(protocol)] =
                        row(&|p| is_for(p, protocol) && at(p).to_ports.is_empty());
                }
                to_none
            },
            to_later_tcp: row(&to_later(Rule::TCP)),
            to_later_udp: row(&to_later(Rule::UDP)),
        };
        let deciding = Bits::of(count, |p| at(p).action != RuleAction::Count).into_words();
        let words = numbers.chunks(BITS).zip(deciding).map(|(numbers, deciding)| {
            // Positions of a word are in the operator's order.
            Word { first: numbers[0], deciding }
        });
        Some(Self {
            source,
            destination,
            from_port,
            tcp_to_port,
            udp_to_port,
            without_ports,
            rows: rows.finish(),
            words: words.collect(),
            has_counting: rules.iter().any(|rule| rule.action == RuleAction::Count),
            numbers: numbers.into(),
        })
    }

    /// The four rows that hold for a packet.
    #[inline]
    pub(crate) fn rows(
        &self,
        source: I::Address,
        destination: I::Address,
        transport: Transport,
    ) -> [u32; 4] {
        let without = &self.without_ports;
        let (from, to) = match transport {
            Transport::Tcp { from, to } => (self.from_port.find(from), self.tcp_to_port.find(to)),
            Transport::Udp { from, to } => (self.from_port.find(from), self.udp_to_port.find(to)),
            Transport::Later { protocol: Rule::TCP } => (without.from_later, without.to_later_tcp),
            Transport::Later { protocol: Rule::UDP } => (without.from_later, without.to_later_udp),
            Transport::Later { protocol } | Transport::Other { protocol } => {
                (without.from_none, without.to_none[usize::from(protocol)])
            }
        };
        [self.source.find(source), self.destination.find(destination), from, to]
    }

    /// The number of the first rule that decides; those that count, as far as that one, are told.
    #[inline]
    pub(crate) fn find(&self, rows: [u32; 4], count: impl FnMut(u32)) -> Option<u32> {
        let mut first = u32::MAX;
        self.rows.intersect(rows, |word, common| {
            let Word { first: lowest, deciding } = self.words[word];
            let deciding = common & deciding;
            if lowest < first && deciding != 0 {
                let position = word * BITS + deciding.trailing_zeros() as usize;
                first = first.min(self.numbers[position]);
            }
        });
        if self.has_counting {
            self.tell(rows, first, count);
        }
        (first != u32::MAX).then_some(first)
    }

    #[inline(never)]
    fn tell(&self, rows: [u32; 4], before: u32, mut count: impl FnMut(u32)) {
        self.rows.intersect(rows, |word, common| {
            let mut counting = common & !self.words[word].deciding;
            while counting != 0 {
                let number = self.numbers[word * BITS + counting.trailing_zeros() as usize];
                counting &= counting - 1;
                if number < before {
                    count(number);
                }
            }
        });
    }

    pub(crate) fn bytes(&self) -> usize {
        let indexes = self.source.bytes() + self.destination.bytes() + 3 * PortIndex::BYTES;
        indexes + self.rows.bytes() + self.numbers.len() * 4 + self.words.len() * 16 + 1024
    }
}

/// Whether a condition can hold for addresses of the family.
fn applies<I: Index>(networks: &[IpNetwork]) -> bool {
    let is_ours = |network: &IpNetwork| I::left_aligned(network.address()).is_some();
    networks.is_empty() || networks.iter().any(is_ours)
}
