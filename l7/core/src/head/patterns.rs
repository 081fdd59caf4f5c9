//! Heads that rest and are alike: each as its difference from one of them.
//!
//! ```text
//!   packed head: start | method text | path | authority | protocol | field | field ...    (items)
//!
//!   difference:  number of items | 2 bits for each | the items that are not the pattern's
//!                same as the pattern's next, or as the one behind | instead of it | put in front of it
//! ```
//!
//! Thousands of requests that wait for news come from a few programs, and differ in an id. Patterns are
//! bounded in number and size; what is like none of them stays as it is.

use sluice_base::HashKey;

use super::packed::{PackedHead, item};

/// Patterns at a time.
const PATTERNS: usize = 64;
/// Bytes of one.
const PATTERN_MAX: usize = 4_096;

/// What to do for an item, in two bits.
const SAME: u8 = 0;
const SAME_BEHIND: u8 = 1;
const INSTEAD: u8 = 2;
const BEFORE: u8 = 3;

/// Heads that others are like, and how many are written down as differences from each.
#[derive(Debug, Default)]
pub struct HeadPatterns {
    /// None before the first head; then `PATTERNS`.
    patterns: Vec<Pattern>,
    /// Items of a pattern, by where they begin and end; empty between calls.
    items: Vec<(u32, u32)>,
}

#[derive(Clone, Debug, Default)]
struct Pattern {
    text: Box<[u8]>,
    users: u32,
}

impl HeadPatterns {
    /// No pattern.
    #[must_use]
    pub const fn new() -> Self {
        Self { patterns: Vec::new(), items: Vec::new() }
    }

    /// Appends what tells `head` from a pattern, which stays until [`HeadPatterns::restore`] is told
    /// of it; which one. None: it is like none, and nothing was appended.
    pub fn reduce(&mut self, head: &PackedHead, out: &mut Vec<u8>) -> Option<u8> {
        let head = head.as_bytes();
        if self.patterns.is_empty() {
            self.patterns.resize(PATTERNS, Pattern::default());
        }
        let home = home_of(head);
        let places = [home, (home + 1) % PATTERNS];
        let start = out.len();
        for place in places {
            self.write_difference(place, head, out);
            if (out.len() - start) * 4 <= head.len() * 3 {
                self.patterns[place].users += 1;
                return Some(place as u8);
            }
            out.truncate(start);
        }
        let free = places.into_iter().find(|place| self.patterns[*place].users == 0);
        let place = free.filter(|_| head.len() <= PATTERN_MAX)?;
        self.patterns[place] = Pattern { text: head.into(), users: 1 };
        self.write_difference(place, head, out);
        Some(place as u8)
    }

    /// Appends the bytes of the head whose difference from a pattern this is, and lets go of that.
    pub fn restore(&mut self, pattern: u8, difference: &[u8], out: &mut Vec<u8>) {
        let Some(pattern) = self.patterns.get_mut(usize::from(pattern)) else { return };
        debug_assert!(pattern.users > 0, "each head is restored once");
        pattern.users = pattern.users.saturating_sub(1);
        // We wrote it: what does not fit ends it.
        let _all = read_difference(&pattern.text, difference, out);
    }

    /// Heads that are written down as differences.
    #[must_use]
    pub fn users(&self) -> u32 {
        self.patterns.iter().map(|pattern| pattern.users).sum()
    }

    fn write_difference(&mut self, place: usize, head: &[u8], out: &mut Vec<u8>) {
        let pattern = &self.patterns[place].text;
        self.items.clear();
        let mut from = 0;
        while let Some(len) = item(&pattern[from..], self.items.len()) {
            self.items.push((from as u32, (from + len) as u32));
            from += len;
        }
        let known = |at: usize| {
            let (from, to) = *self.items.get(at)?;
            pattern.get(from as usize..to as usize)
        };
        let mut count = 0;
        let mut rest = head;
        while let Some(len) = item(rest, count) {
            rest = &rest[len..];
            count += 1;
        }
        put_count(count, out);
        let bits_at = out.len();
        out.resize(bits_at + count.div_ceil(4), 0);
        let (mut rest, mut at) = (head, 0);
        for number in 0..count {
            let Some(len) = item(rest, number) else { break };
            let (this, behind) = rest.split_at(len);
            rest = behind;
            let what = if known(at) == Some(this) {
                SAME
            } else if known(at + 1) == Some(this) {
                SAME_BEHIND
            } else if item(behind, number + 1).is_some_and(|len| known(at) == behind.get(..len)) {
                BEFORE
            } else {
                INSTEAD
            };
            at += steps(what);
            out[bits_at + number / 4] |= what << (number % 4 * 2);
            if matches!(what, BEFORE | INSTEAD) {
                out.extend_from_slice(this);
            }
        }
    }
}

/// How far an item goes in the pattern.
fn steps(what: u8) -> usize {
    match what {
        BEFORE => 0,
        SAME_BEHIND => 2,
        _ => 1,
    }
}

fn read_difference(pattern: &[u8], difference: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (count, mut rest) = take_count(difference)?;
    let (bits, literals) = rest.split_at_checked(count.div_ceil(4))?;
    rest = literals;
    // The pattern's next item: its bytes begin here, and so many are in front of it.
    let (mut ahead, mut at) = (pattern, 0);
    for number in 0..count {
        let what = bits[number / 4] >> (number % 4 * 2) & 3;
        if what == SAME_BEHIND {
            ahead = ahead.get(item(ahead, at)?..)?;
            at += 1;
        }
        let from_pattern = matches!(what, SAME | SAME_BEHIND);
        let source = if from_pattern { &mut ahead } else { &mut rest };
        let len = item(source, if from_pattern { at } else { number })?;
        out.extend_from_slice(source.get(..len)?);
        *source = source.get(len..)?;
        if from_pattern {
            at += 1;
        } else if what == INSTEAD
            && let Some(len) = item(ahead, at)
        {
            ahead = ahead.get(len..)?;
            at += 1;
        }
    }
    Some(())
}

/// Where heads like this one are looked for: by method, authority and number of fields.
fn home_of(head: &[u8]) -> usize {
    let (mut rest, mut count, mut authority) = (head, 0, &[][..]);
    while let Some(len) = item(rest, count) {
        let (this, behind) = rest.split_at(len);
        if count == 3 {
            authority = this;
        }
        (rest, count) = (behind, count + 1);
    }
    let method = head.first().copied().unwrap_or(0);
    let key = HashKey::new([count as u64, method.into()]);
    key.hash_bytes(authority) as usize % PATTERNS
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(count as u16).to_be_bytes());
}

fn take_count(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*count).into(), rest))
}

#[cfg(test)]
mod tests {
    use sluice_base::Rng;

    use super::*;
    use crate::{Head, Method};

    fn head(path: &str, fields: &[(&str, &str)]) -> PackedHead {
        let mut head = Head::new();
        head.reset_to_request(Method::Post, b"shop.example", path.as_bytes());
        for (name, value) in fields {
            head.append(*name, value.as_bytes());
        }
        head.pack(&mut Vec::new()).expect("a request")
    }

    const USUAL: [(&str, &str); 5] = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "grpc-go/1.68.0"),
        ("x-tenant", "blue"),
        ("x-request-id", "0123456789abcdef"),
    ];

    #[test]
    fn what_is_alike_costs_what_differs() {
        let mut patterns = HeadPatterns::new();
        let (mut out, mut again) = (Vec::new(), Vec::new());
        let mut reduced = Vec::new();
        for number in 0..100 {
            let id = format!("{number:016x}");
            let mut fields = USUAL;
            fields[4].1 = &id;
            let head = head("/shop.Cart/Watch", &fields);
            out.clear();
            let pattern = patterns.reduce(&head, &mut out).expect("it is like the others");
            assert!(out.len() <= 2 + 3 + 19, "{number}: {} bytes", out.len());
            reduced.push((head, pattern, out.clone()));
        }
        assert_eq!(patterns.users(), 100);
        for (head, pattern, difference) in reduced {
            again.clear();
            patterns.restore(pattern, &difference, &mut again);
            assert_eq!(again, head.as_bytes());
        }
        assert_eq!(patterns.users(), 0);
    }

    #[test]
    fn a_pattern_stays_while_it_is_used() {
        let mut patterns = HeadPatterns::new();
        let mut out = Vec::new();
        let kinds: Vec<_> = (0..3).map(|kind| head(&format!("/{kind}").repeat(90), &[])).collect();
        let first = patterns.reduce(&kinds[0], &mut out).expect("there is room");
        let mut second = Vec::new();
        let other = patterns.reduce(&kinds[1], &mut second).expect("there is room");
        assert_ne!(first, other);
        let mut third = Vec::new();
        assert_eq!(patterns.reduce(&kinds[2], &mut third), None, "both places are used");
        assert!(third.is_empty());
        let mut again = Vec::new();
        patterns.restore(first, &out, &mut again);
        assert_eq!(again, kinds[0].as_bytes());
        assert_eq!(patterns.reduce(&kinds[2], &mut third), Some(first));
        again.clear();
        patterns.restore(other, &second, &mut again);
        assert_eq!(again, kinds[1].as_bytes());
        let long = head(&"/x".repeat(PATTERN_MAX), &[("a", "b")]);
        assert_eq!(patterns.reduce(&long, &mut out), None, "too long");
    }

    /// Fields that come and go, and change: whatever the pattern is, the head is what it was.
    #[test]
    fn heads_come_out_as_they_went_in() {
        let mut rng = Rng::new(5);
        let mut patterns = HeadPatterns::new();
        let mut reduced: Vec<(PackedHead, u8, Vec<u8>)> = Vec::new();
        let mut saved = 0;
        for _ in 0..3_000 {
            if rng.below(3) == 0 && !reduced.is_empty() {
                let at = rng.below(reduced.len() as u32) as usize;
                let (head, pattern, difference) = reduced.swap_remove(at);
                let mut again = Vec::new();
                patterns.restore(pattern, &difference, &mut again);
                assert_eq!(again, head.as_bytes());
                continue;
            }
            let more = (rng.below(6) == 0).then_some(("x-more", "and more"));
            let fields: Vec<_> =
                more.into_iter().chain(USUAL).filter(|_| rng.below(8) > 0).collect();
            let path = format!("/shop.Cart/Watch{}", rng.below(3));
            let mut head = head(&path, &fields);
            if rng.below(5) == 0 {
                let mut unpacked = Head::new();
                unpacked.unpack(&head);
                unpacked.append("content-length", b"17");
                head = unpacked.pack(&mut Vec::new()).expect("a request");
            }
            let mut difference = Vec::new();
            if let Some(pattern) = patterns.reduce(&head, &mut difference) {
                saved += head.len() - difference.len();
                reduced.push((head, pattern, difference));
            }
        }
        assert!(reduced.len() > 500 && saved > 100_000, "{} {saved}", reduced.len());
        assert_eq!(patterns.users() as usize, reduced.len());
    }
}
