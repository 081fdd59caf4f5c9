//! Conditions on a value: a header field's, a query parameter's, or a whole path.
//!
//! Expressions become dense automata when they are compiled: matching is then one table look-up per
//! byte, without a cache, a lock or an allocation, and it takes a value in pieces. Where that
//! automaton would be too large (many Unicode classes) or cannot be built (`\b` on Unicode text),
//! the `regex` crate's lazy engines serve, which keep caches of their own.

use std::fmt;

use regex_automata::Anchored;
use regex_automata::MatchKind;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_syntax::hir::literal::Extractor;

use sluice_config_model::StringMatch;

/// Memory of one dense automaton, in bytes; beyond, the lazy engines.
const DFA_BYTES_MAX: usize = 256 * 1_024;
/// Memory while one is built: bounds how long configuration takes to compile.
const DETERMINIZE_BYTES_MAX: usize = 1_024 * 1_024;
/// Memory of a compiled expression, in bytes: twice what `config/toml` allows, so that nothing it
/// let pass is refused here because bytes take a little more than text.
const REGEX_BYTES_MAX: usize = 2 * 1_024 * 1_024;

/// A condition on a value.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// It is this text.
    Exact(Box<[u8]>),
    /// It begins with this text.
    Prefix(Box<[u8]>),
    /// All of it matches.
    Regex(Box<Regex>),
    /// It exists, or does not.
    Present(bool),
}

impl Pattern {
    /// # Errors
    /// The expression and why it cannot be used.
    pub(crate) fn compile(matcher: &StringMatch) -> Result<Self, RegexError> {
        Ok(match matcher {
            StringMatch::Exact(text) => Self::Exact(text.as_bytes().into()),
            StringMatch::Prefix(text) => Self::Prefix(text.as_bytes().into()),
            StringMatch::Regex(text) => Self::Regex(Box::new(Regex::compile(text)?)),
            StringMatch::Present(present) => Self::Present(*present),
        })
    }

    /// Whether a value in one piece fulfils it.
    #[inline]
    pub(crate) fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == &**text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Regex(regex) => regex.is_match(value),
            Self::Present(present) => *present,
        }
    }

    /// Whether a value that has to be put together or decoded first fulfils it.
    pub(crate) fn takes_bytes(&self, mut value: impl Iterator<Item = u8>) -> bool {
        match self {
            Self::Exact(text) => value.eq(text.iter().copied()),
            Self::Prefix(text) => text.iter().all(|byte| value.next() == Some(*byte)),
            Self::Regex(regex) => regex.is_match_bytes(value),
            Self::Present(present) => *present,
        }
    }

    /// Whether the absence of a value fulfils it.
    #[inline]
    pub(crate) const fn takes_none(&self) -> bool {
        matches!(self, Self::Present(false))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "is \"{}\"", text.escape_ascii()),
            Self::Prefix(text) => write!(f, "begins with \"{}\"", text.escape_ascii()),
            Self::Regex(regex) => write!(f, "matches \"{}\"", regex.text),
            Self::Present(true) => f.write_str("is present"),
            Self::Present(false) => f.write_str("is absent"),
        }
    }
}

/// A regular expression that takes a whole value, as Envoy's do.
#[derive(Clone)]
pub(crate) struct Regex {
    text: Box<str>,
    /// What every match begins with.
    prefix: Box<[u8]>,
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    Dense { dfa: Box<dense::DFA<Vec<u32>>>, start: StateID },
    Lazy(regex::bytes::Regex),
}

/// An expression that cannot be used.
#[derive(Clone, Debug)]
pub(crate) struct RegexError {
    pub(crate) text: String,
    pub(crate) reason: String,
}

impl Regex {
    /// # Errors
    /// The expression and why it cannot be used.
    pub(crate) fn compile(text: &str) -> Result<Self, RegexError> {
        // The last line says it; those above show the place with a caret.
        let refuse = |error: &dyn fmt::Display| {
            let lines = error.to_string();
            let reason = lines.lines().last().unwrap_or_default().trim_start_matches("error: ");
            RegexError { text: text.to_owned(), reason: reason.to_owned() }
        };
        let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
        let hir = parser.parse(text).map_err(|error| refuse(&error))?;
        let literals = Extractor::new().extract(&hir);
        let prefix = literals.longest_common_prefix().unwrap_or_default().into();
        let engine = match dense(&hir) {
            Some(engine) => engine,
            None => regex::bytes::RegexBuilder::new(&format!("^(?:{text})$"))
                .size_limit(REGEX_BYTES_MAX)
                .dfa_size_limit(REGEX_BYTES_MAX)
                .build()
                .map(Engine::Lazy)
                .map_err(|error| refuse(&error))?,
        };
        Ok(Self { text: text.into(), prefix, engine })
    }

    /// What every match begins with; may be empty.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The expression.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    #[inline]
    pub(crate) fn is_match(&self, value: &[u8]) -> bool {
        match &self.engine {
            Engine::Dense { dfa, start } => run(dfa, *start, value.iter().copied()),
            Engine::Lazy(regex) => regex.is_match(value),
        }
    }

    pub(crate) fn is_match_bytes(&self, value: impl Iterator<Item = u8>) -> bool {
        match &self.engine {
            Engine::Dense { dfa, start } => run(dfa, *start, value),
            Engine::Lazy(regex) => regex.is_match(&value.collect::<Vec<_>>()),
        }
    }
}

/// None: too large, or of a kind that no such automaton can decide.
fn dense(hir: &regex_syntax::hir::Hir) -> Option<Engine> {
    let nfa = thompson::Config::new().utf8(false).nfa_size_limit(Some(REGEX_BYTES_MAX));
    let nfa = thompson::Compiler::new().configure(nfa).build_from_hir(hir).ok()?;
    // All matches, not the leftmost-first one: the question is whether any ends with the value.
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .match_kind(MatchKind::All)
        .dfa_size_limit(Some(DFA_BYTES_MAX))
        .determinize_size_limit(Some(DETERMINIZE_BYTES_MAX));
    let dfa = dense::Builder::new().configure(config).build_from_nfa(&nfa).ok()?;
    let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
    Some(Engine::Dense { dfa: Box::new(dfa), start })
}

/// Feeds every byte, and asks at the end whether a match ends here.
#[inline]
fn run(dfa: &dense::DFA<Vec<u32>>, start: StateID, value: impl Iterator<Item = u8>) -> bool {
    let mut state = start;
    for byte in value {
        state = dfa.next_state(state, byte);
        if dfa.is_dead_state(state) {
            return false;
        }
    }
    dfa.is_match_state(dfa.next_eoi_state(state))
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> Regex {
        Regex::compile(text).expect("an expression")
    }

    #[test]
    fn the_whole_value_must_match() {
        for (text, yes, no) in [
            ("/a", "/a", "/ab"),
            ("/a|/ab", "/ab", "/abc"),
            ("a*?", "aaa", "aab"),
            ("(?i)/[a-c]+", "/aBC", "/abd"),
            ("/v[0-9]{1,3}/.*", "/v12/", "/v1234/"),
            ("", "", "x"),
            ("(?x) /a # a comment", "/a", "/a # a comment"),
            ("/caf\u{e9}", "/caf\u{e9}", "/cafe"),
            (r"\bfoo\b", "foo", "foo "),
            (r"\w{10}", "abcdefghij", "abc"),
        ] {
            // `(?x)` with a comment cannot be wrapped; the dense engine needs no wrapping.
            let regex = regex(text);
            assert!(regex.is_match(yes.as_bytes()), "{text} takes {yes}");
            assert!(!regex.is_match(no.as_bytes()), "{text} does not take {no}");
            assert!(!regex.is_match(format!("x{yes}").as_bytes()), "{text} from the start");
            assert!(!regex.is_match(format!("{yes}\n").as_bytes()), "{text} to the very end");
            assert_eq!(regex.is_match_bytes(yes.bytes()), regex.is_match(yes.as_bytes()));
        }
    }

    #[test]
    fn both_engines_are_in_use() {
        assert!(matches!(regex("/a.*").engine, Engine::Dense { .. }));
        assert!(matches!(regex(r"\bfoo\b").engine, Engine::Lazy(_)));
        assert!(matches!(regex(r"\w{10}").engine, Engine::Lazy(_)));
    }

    #[test]
    fn what_every_match_begins_with() {
        for (text, prefix) in [
            ("/api/v[0-9]+/users", "/api/v"),
            ("/a(b|c)", "/a"),
            ("/ab|/ac", "/a"),
            ("/ab*", "/a"),
            ("(?i)/ab", "/"),
            (".*", ""),
            ("a|b", ""),
            ("/a{0,2}b", "/"),
            ("", ""),
        ] {
            assert_eq!(regex(text).prefix().escape_ascii().to_string(), prefix, "{text}");
        }
    }

    #[test]
    fn refusals_say_what_and_why() {
        let error = Regex::compile("/a(b").expect_err("unbalanced");
        assert_eq!((&*error.text, &*error.reason), ("/a(b", "unclosed group"));
        let error = Regex::compile(r"(\w{100}){100}").expect_err("enormous");
        assert!(error.reason.contains("size limit"), "{}", error.reason);
        assert!(Regex::compile("a)(?:b").is_err(), "only valid once it is wrapped");
    }

    /// Exponential for a backtracking engine.
    #[test]
    fn hostile_values_take_linear_time() {
        let regex = regex("(a|a)*(a|aa)*b");
        assert!(!regex.is_match(&[b'a'; 60_000]));
    }
}
