//! Request targets in one form, so that a route cannot be slipped past by writing a path otherwise.
//!
//! Percent-encoded unreserved characters are decoded (RFC 3986, 6.2.2.2), then dot segments are
//! removed (5.2.4). Nothing else is: `%2F` stays what it is, empty segments stay, letters keep
//! their case, and the query is passed on as it came. A target that is normal already, which is
//! nearly every one, costs one pass and no copy.

use sluice_arch::Lanes;
use sluice_l7_core::Head;

use crate::PathError;

/// Where normalised targets are written; one per worker, so that nothing is allocated per request.
#[derive(Debug, Default)]
pub struct PathScratch {
    text: Vec<u8>,
}

impl PathScratch {
    /// Lends out the text, emptied.
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        self.text.clear();
        &mut self.text
    }
}

/// A normalised request target: path and query.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    target: &'a [u8],
    /// Where the path ends: at the first `?`, or at the end.
    path_len: usize,
    changed: bool,
}

impl<'a> Path<'a> {
    /// Normalises a request target: origin-form, `*`, or nothing at all (CONNECT).
    ///
    /// # Errors
    /// [`PathError`]: answer 400.
    #[inline]
    pub fn normalize(target: &'a [u8], scratch: &'a mut PathScratch) -> Result<Self, PathError> {
        match scan(target)? {
            Scan::Normal { path_len } => Ok(Self { target, path_len, changed: false }),
            Scan::Other { path_len } => {
                let (path, query) = target.split_at(path_len);
                let text = scratch.begin();
                decode_unreserved(path, text);
                remove_dot_segments(text);
                let path_len = text.len();
                text.extend_from_slice(query);
                Ok(Self { target: text, path_len, changed: true })
            }
        }
    }

    /// Normalises a request's path in the head itself, so that what is routed is what is sent on.
    ///
    /// # Errors
    /// [`PathError`]: answer 400; the head is as it was.
    pub fn normalize_head(head: &mut Head, scratch: &mut PathScratch) -> Result<(), PathError> {
        Self::normalize_len(head, scratch).map(drop)
    }

    /// As [`Path::normalize_head`]; the result says where the path ends, for [`Path::with_len`].
    ///
    /// # Errors
    /// [`PathError`]: answer 400; the head is as it was.
    #[inline]
    pub fn normalize_len(head: &mut Head, scratch: &mut PathScratch) -> Result<usize, PathError> {
        let path = Path::normalize(head.path(), scratch)?;
        let (changed, path_len) = (path.changed, path.path_len);
        if changed {
            head.set_path(&scratch.text);
        }
        Ok(path_len)
    }

    /// The path of a head that [`Path::normalize_len`] has just normalised.
    #[inline]
    #[must_use]
    pub fn with_len(head: &'a Head, path_len: usize) -> Self {
        let target = head.path();
        Self { target, path_len: path_len.min(target.len()), changed: false }
    }

    /// The path of a head that has been normalised.
    #[inline]
    #[must_use]
    pub fn of(head: &'a Head) -> Self {
        let target = head.path();
        let path_len = memchr::memchr(b'?', target).unwrap_or(target.len());
        Self { target, path_len, changed: false }
    }

    /// The path, without the query.
    #[inline]
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        &self.target[..self.path_len]
    }

    /// What follows the `?`; None without one.
    #[inline]
    #[must_use]
    pub fn query(&self) -> Option<&'a [u8]> {
        self.target.get(self.path_len + 1..)
    }

    /// Path and query.
    #[inline]
    #[must_use]
    pub fn target(&self) -> &'a [u8] {
        self.target
    }

    /// Whether it differs from what was received.
    #[inline]
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }
}

enum Scan {
    Normal { path_len: usize },
    Other { path_len: usize },
}

/// Looks for everything that is refused or needs a change.
fn scan(target: &[u8]) -> Result<Scan, PathError> {
    match target {
        [] => return Ok(Scan::Normal { path_len: 0 }),
        [b'*'] => return Ok(Scan::Normal { path_len: 1 }),
        [b'/', ..] => {}
        _ => return Err(PathError::NotAbsolute),
    }
    let mut normal = true;
    let mut at = 0;
    let path_len = loop {
        at += plain_len(&target[at..]);
        let Some(&byte) = target.get(at) else { break at };
        match byte {
            b'?' => break at,
            b'%' => {
                let decoded = decode(&target[at..]).ok_or(PathError::BadPercentEncoding)?;
                if decoded == 0 {
                    return Err(PathError::Nul);
                }
                normal &= !is_unreserved(decoded);
                at += 2;
            }
            // At least one byte precedes: a target begins with `/`.
            b'.' if target[at - 1] == b'/' => normal &= !is_dot_segment(&target[at..]),
            _ => refuse(byte)?,
        }
        at += 1;
    };
    let mut query = &target[path_len..];
    while let Some((&byte, rest)) = query[plain_len(query)..].split_first() {
        refuse(byte)?;
        query = rest;
    }
    Ok(if normal { Scan::Normal { path_len } } else { Scan::Other { path_len } })
}

/// How many bytes come before the first that needs a closer look. In the first part of a target, a
/// dot needs one only behind a slash; `text` does not start with such a dot.
#[inline]
fn plain_len(text: &[u8]) -> usize {
    let Some(first) = text.first_chunk() else { return plain_len_of_few(text) };
    let mut slash = 0;
    let hits = special_in(Lanes::load(first), &mut slash);
    if hits != 0 {
        return hits.trailing_zeros() as usize;
    }
    let mut at = 16;
    while let Some(window) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let hits = special_in(Lanes::load(window), &mut slash);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize;
        }
        at += 16;
    }
    // The last ones, with some before them that need none.
    let Some(last) = text.last_chunk() else { return at };
    let hits = special_in(Lanes::load(last), &mut 0);
    if hits == 0 { text.len() } else { text.len() - 16 + hits.trailing_zeros() as usize }
}

/// Which of sixteen bytes need a closer look; `slash`: whether the byte before them is one, and then
/// whether their last is.
#[inline(always)]
fn special_in(lanes: Lanes, slash: &mut u32) -> u32 {
    let ends = lanes.at_most(b' ') | lanes.equal(0x7f) | lanes.equal(b'#');
    let special = ends | lanes.equal(b'%') | lanes.equal(b'?');
    let slashes = lanes.equal(b'/').bits();
    let dots = lanes.equal(b'.').bits() & (slashes << 1 | *slash);
    *slash = slashes >> 15;
    special.bits() | dots
}

/// The same with one look-up per byte, which sees too much: every dot.
#[inline]
fn plain_len_of_few(text: &[u8]) -> usize {
    static SPECIAL: [bool; 256] = {
        let mut special = [false; 256];
        let mut byte = 0;
        while byte < special.len() {
            special[byte] = matches!(byte as u8, 0..=b' ' | 0x7f | b'#' | b'%' | b'.' | b'?');
            byte += 1;
        }
        special
    };
    text.iter().position(|byte| SPECIAL[usize::from(*byte)]).unwrap_or(text.len())
}

#[inline]
fn refuse(byte: u8) -> Result<(), PathError> {
    match byte {
        b'#' => Err(PathError::Fragment),
        0 => Err(PathError::Nul),
        1..=b' ' | 0x7f => Err(PathError::ControlCharacter),
        _ => Ok(()),
    }
}

/// Whether `rest`, which follows a `/`, begins with a segment `.` or `..`.
#[inline]
fn is_dot_segment(rest: &[u8]) -> bool {
    let rest = rest.strip_prefix(b"..").or(rest.strip_prefix(b".")).unwrap_or(rest);
    matches!(rest, [] | [b'/' | b'?', ..])
}

/// The byte that a leading `%xx` stands for.
#[inline]
pub(crate) fn decode(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// RFC 3986, 2.3.
#[inline]
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends `path` to `to` with percent-encoded unreserved characters decoded. What is not a valid
/// encoding stays.
pub(crate) fn decode_unreserved(path: &[u8], to: &mut Vec<u8>) {
    let mut rest = path;
    while let Some(&byte) = rest.first() {
        match decode(rest) {
            Some(decoded) if is_unreserved(decoded) => {
                to.push(decoded);
                rest = &rest[3..];
            }
            _ => {
                to.push(byte);
                rest = &rest[1..];
            }
        }
    }
}

/// RFC 3986, 5.2.4, on an absolute path, in place: segments are moved up, never down.
fn remove_dot_segments(path: &mut Vec<u8>) {
    let (mut read, mut write) = (0, 0);
    while read < path.len() {
        // `read` stands on the `/` before a segment, and `write` behind what is kept.
        let end = memchr::memchr(b'/', &path[read + 1..]).map_or(path.len(), |at| read + 1 + at);
        match &path[read + 1..end] {
            // 2B and 2C, at the end of the path: the `/` stays.
            b"." if end == path.len() => write = put_slash(path, write),
            b"." => {}
            b".." => {
                write = memchr::memrchr(b'/', &path[..write]).unwrap_or(0);
                if end == path.len() {
                    write = put_slash(path, write);
                }
            }
            _ => {
                path.copy_within(read..end, write);
                write += end - read;
            }
        }
        read = end;
    }
    path.truncate(write);
}

fn put_slash(path: &mut [u8], at: usize) -> usize {
    path[at] = b'/';
    at + 1
}
