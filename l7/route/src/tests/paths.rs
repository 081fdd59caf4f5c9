//! Normalisation: the examples of RFC 3986, hostile targets, and a twin that follows the letter.

use proptest::prelude::*;

use super::get;
use crate::{Path, PathError, PathScratch};

fn normalized(target: &str) -> Result<String, PathError> {
    let mut scratch = PathScratch::default();
    let path = Path::normalize(target.as_bytes(), &mut scratch)?;
    Ok(String::from_utf8_lossy(path.target()).into_owned())
}

#[test]
fn the_same_place_has_one_name() {
    for (target, expected) in [
        // RFC 3986, 5.2.4, and the absolute ones of 5.4.
        ("/a/b/c/./../../g", "/a/g"),
        ("/b/c/..", "/b/"),
        ("/b/c/.", "/b/c/"),
        ("/b/c/../../../g", "/g"),
        ("/./g", "/g"),
        ("/../g", "/g"),
        ("/..", "/"),
        ("/.", "/"),
        ("/g.", "/g."),
        ("/.g", "/.g"),
        ("/g..", "/g.."),
        ("/..g", "/..g"),
        ("/...", "/..."),
        // Empty segments are segments.
        ("//", "//"),
        ("//a", "//a"),
        ("/a//../b", "/a/b"),
        ("//..", "/"),
        ("/a/..//b", "//b"),
        // Unreserved characters are decoded, others are not, and the query is nobody's business.
        ("/%7Euser/%61%2d%2E%5f", "/~user/a-._"),
        ("/%2e%2E/secret", "/secret"),
        ("/public/%2e%2e/admin", "/admin"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2f..%2fb", "/a%2f..%2fb"),
        ("/a/%2e%2e%2fb", "/a/..%2fb"),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/a%20b%3Fc%23d", "/a%20b%3Fc%23d"),
        ("/a/../b?x=/../%61%zz&y", "/b?x=/../%61%zz&y"),
        ("/a?%2e", "/a?%2e"),
        ("/?/..", "/?/.."),
        ("/..?x", "/?x"),
        ("/caf\u{e9}/..\\x", "/caf\u{e9}/..\\x"),
        ("*", "*"),
        ("", ""),
    ] {
        assert_eq!(normalized(target), Ok(expected.to_owned()), "{target}");
        assert_eq!(normalized(expected), Ok(expected.to_owned()), "a fixed point of {target}");
    }
}

#[test]
fn what_has_no_normal_form_is_refused() {
    for (target, error) in [
        ("/a%", PathError::BadPercentEncoding),
        ("/a%2", PathError::BadPercentEncoding),
        ("/a%2?", PathError::BadPercentEncoding),
        ("/%2x", PathError::BadPercentEncoding),
        ("/%x2", PathError::BadPercentEncoding),
        ("/%+1", PathError::BadPercentEncoding),
        ("/a%00", PathError::Nul),
        ("/a\0", PathError::Nul),
        ("/a?\0", PathError::Nul),
        ("/a b", PathError::ControlCharacter),
        ("/a?b c", PathError::ControlCharacter),
        ("/a\r\nx: y", PathError::ControlCharacter),
        ("/\x7f", PathError::ControlCharacter),
        ("/a#b", PathError::Fragment),
        ("/a?b#c", PathError::Fragment),
        ("a", PathError::NotAbsolute),
        ("?a", PathError::NotAbsolute),
        ("**", PathError::NotAbsolute),
        ("http://a/", PathError::NotAbsolute),
        ("%2Fa", PathError::NotAbsolute),
    ] {
        assert_eq!(normalized(target), Err(error), "{target:?}");
        assert!(error.reason().starts_with("path-"));
    }
}

#[test]
fn a_normal_target_is_borrowed_and_cut_at_the_query() {
    let target = b"/a/b?c=d?e";
    let mut scratch = PathScratch::default();
    let path = Path::normalize(target, &mut scratch).expect("normal");
    assert!(std::ptr::eq(path.target(), &target[..]), "not copied");
    assert_eq!((path.path(), path.query()), (&b"/a/b"[..], Some(&b"c=d?e"[..])));
    let path = Path::normalize(b"/a/../b?", &mut scratch).expect("a path");
    assert_eq!((path.path(), path.query(), path.is_changed()), (&b"/b"[..], Some(&b""[..]), true));
    let path = Path::normalize(b"/b", &mut scratch).expect("a path");
    assert_eq!((path.query(), path.is_changed()), (None, false));
}

#[test]
fn what_is_routed_is_what_is_sent_on() {
    let (mut head, mut scratch) = (get("a", "/x/../y?z"), PathScratch::default());
    Path::normalize_head(&mut head, &mut scratch).expect("a path");
    assert_eq!(head.path(), b"/y?z");
    assert_eq!(Path::of(&head).path(), b"/y");
    let mut head = get("a", "/x%");
    assert!(Path::normalize_head(&mut head, &mut scratch).is_err());
    assert_eq!(head.path(), b"/x%", "as it was");
}

/// RFC 3986, 5.2.4, step by step, with its two buffers.
fn remove_dot_segments_by_the_letter(path: &str) -> String {
    let (mut input, mut output) = (path.to_owned(), String::new());
    while !input.is_empty() {
        let step = |prefix: &str| input.strip_prefix(prefix).map(|rest| format!("/{rest}"));
        if let Some(rest) = step("/./") {
            input = rest;
        } else if input == "/." {
            input = "/".to_owned();
        } else if let Some(rest) = step("/../").or((input == "/..").then(|| "/".to_owned())) {
            input = rest;
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.push_str(&input[..end]);
            input.drain(..end);
        }
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_the_letter_of_the_rfc(path in "/(\\.|/|a|%2e|%2E|%61|%2f){0,12}") {
        let decoded = path.replace("%2e", ".").replace("%2E", ".").replace("%61", "a");
        prop_assert_eq!(normalized(&path), Ok(remove_dot_segments_by_the_letter(&decoded)));
    }

    #[test]
    fn any_bytes_are_refused_or_normalised_for_good(
        target in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut scratch = PathScratch::default();
        for target in [&target[..], &[b"/", &target[..]].concat()] {
            let Ok(path) = Path::normalize(target, &mut scratch) else { continue };
            let (once, path_text) = (path.target().to_vec(), path.path().to_vec());
            prop_assert!(once.len() <= target.len());
            let dots = |segment: &[u8]| matches!(segment, b"." | b"..");
            prop_assert!(!path_text.split(|byte| *byte == b'/').any(dots));
            let again = Path::normalize(&once, &mut scratch).expect("normal");
            prop_assert!(!again.is_changed());
        }
    }
}

/// Targets of every length, since sixteen bytes are looked at together: with one byte that is
/// refused, or a dot segment, at every place.
#[test]
fn what_needs_a_look_is_seen_at_every_place() {
    for len in 1..70 {
        let plain = format!("/{}", "x".repeat(len));
        assert_eq!(normalized(&plain), Ok(plain.clone()));
        for at in 1..len {
            let (front, back) = plain.split_at(at);
            for refused in [" ", "#", "\0", "\x7f", "%"] {
                let target = format!("{front}{refused}{}", &back[1..]);
                assert!(normalized(&target).is_err(), "{target:?}");
            }
            // One dot segment, and dots that are none.
            let (dotted, without) = (format!("{front}/./y{back}"), format!("{front}/y{back}"));
            assert_eq!(normalized(&dotted), Ok(without), "{dotted}");
            let kept = format!("{front}{}{back}/.a?/../", &".x"[usize::from(at == 1)..]);
            assert_eq!(normalized(&kept), Ok(kept.clone()));
        }
    }
}
