//! What a WebSocket is asked for and agreed to with, in HTTP/1.1 (RFC 6455, 4) and in HTTP/2
//! (RFC 8441, 5).

use sha1_smol::Sha1;
use sluice_base::Rng;
use sluice_l7_core::{Head, Method, NameId, Scheme, Span, Start};

/// What is spoken through it.
const PROTOCOL: &[u8] = b"websocket";
const KEY: &[u8] = b"sec-websocket-key";
const ACCEPT: &[u8] = b"sec-websocket-accept";

/// Behind the key, what the answer is the hash of (RFC 6455, 1.3).
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key is 16 bytes as text.
const KEY_LEN: usize = 24;

/// Whether a request of HTTP/1.1 asks for one.
pub(crate) fn is_asked(head: &Head) -> bool {
    head.is_upgrade() && head.method() == Method::Get && head.has_token(NameId::UPGRADE, PROTOCOL)
}

/// Turns an extended CONNECT into the request that HTTP/1.1 has for it; false: it asks for something
/// else.
pub(crate) fn begin(head: &mut Head) -> bool {
    if head.protocol() != PROTOCOL {
        return false;
    }
    ask_by_get(head);
    head.set_upgrade(true);
    head.remove(NameId::CONTENT_LENGTH);
    head.remove(KEY);
    head.set(NameId::UPGRADE, PROTOCOL);
    true
}

/// Makes the request complete for HTTP/1.1, if it came by HTTP/2.
pub(crate) fn ask_one(head: &mut Head, rng: &mut Rng) {
    if head.find(KEY).is_none() {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&rng.next_u64().to_be_bytes());
        head.set(KEY, &base64::<KEY_LEN>(&bytes));
    }
}

/// Makes an extended CONNECT a GET, which is what routes and the log call it.
pub(crate) fn ask_by_get(head: &mut Head) {
    let Start::Request { path, authority, scheme, protocol, .. } = *head.start() else { return };
    if protocol.is_empty() {
        return;
    }
    let (method, method_text, protocol) = (Method::Get, Span::EMPTY, Span::EMPTY);
    let start = Start::Request { method, method_text, path, authority, scheme, protocol };
    let version = head.version();
    head.set_start(start, version);
}

/// Makes it an extended CONNECT.
pub(crate) fn ask_two(head: &mut Head) {
    let Start::Request { path, authority, scheme, .. } = *head.start() else { return };
    let scheme = if scheme == Scheme::Implied { Scheme::Http } else { scheme };
    let (method, method_text, protocol) = (Method::Connect, Span::EMPTY, head.add_text(PROTOCOL));
    let start = Start::Request { method, method_text, path, authority, scheme, protocol };
    let version = head.version();
    head.set_start(start, version);
    head.set_upgrade(false);
    head.remove(NameId::UPGRADE);
    head.remove(KEY);
}

/// What the client expects in answer to its key, added to the head's text. None: it sent no key, or
/// what is none.
pub(crate) fn accept_of(head: &mut Head) -> Option<Span> {
    let is_key = |(name, _): &(&[u8], _)| name.eq_ignore_ascii_case(KEY);
    let count = head.iter().filter(is_key).count();
    let key = head.find(KEY).filter(|key| key.len() == KEY_LEN && count == 1)?;
    let mut text = [0; KEY_LEN + GUID.len()];
    let (start, end) = text.split_at_mut(KEY_LEN);
    start.copy_from_slice(key);
    end.copy_from_slice(GUID);
    let accept: [u8; 28] = base64(&Sha1::from(text).digest().bytes());
    Some(head.add_text(&accept))
}

/// The endpoint's 101, for a client of HTTP/2.
pub(crate) fn answer_to_two(head: &mut Head) {
    head.set_status(200);
    head.remove(NameId::UPGRADE);
    head.remove(ACCEPT);
}

/// The endpoint's 2xx, for a client of HTTP/1.1.
pub(crate) fn answer_to_one(head: &mut Head, accept: &[u8]) {
    head.set_status(101);
    head.set_upgrade(true);
    head.set(NameId::UPGRADE, PROTOCOL);
    head.set(ACCEPT, accept);
}

/// Bytes as text (RFC 4648, 4), all of `N` characters.
fn base64<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [b'='; N];
    for (three, four) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        // As many digits as there are bytes, and one.
        for (at, digit) in four.iter_mut().enumerate().take(three.len() + 1) {
            *digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, 1.3: the key of the example, and its answer.
    #[test]
    fn a_key_and_its_answer() {
        assert_eq!(&base64::<KEY_LEN>(b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
        let mut head = Head::new();
        head.reset_to_request(Method::Get, b"a", b"/");
        assert_eq!(accept_of(&mut head), None);
        head.append(KEY, b"dGhlIHNhbXBsZSBub25jZQ==");
        let accept = accept_of(&mut head).expect("a key");
        assert_eq!(head.text(accept), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        head.append(KEY, b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept_of(&mut head), None, "two keys");
        head.set(KEY, b"dGhlIHNhbXBsZSBub25jZQ=");
        assert_eq!(accept_of(&mut head), None, "too short");
    }
}
