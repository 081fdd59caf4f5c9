//! TCP Fast Open, the passive side (RFC 7413): a request that comes with the SYN.
//!
//! ```text
//!   client                              server
//!     | SYN <request for a cookie>        |   an ordinary handshake, but
//!     |             SYN+ACK <cookie>      |   [`FastOpen::Grant`]: the answer carries one
//!     |              ...                  |
//!     | SYN <cookie>, request             |   [`FastOpen::Take`]: the request is the application's
//!     |  SYN+ACK of both, response ...    |   before the handshake is over
//!     | ACK                               |
//! ```
//!
//! A cookie is a MAC over the client's address and the hour, so nothing is kept of whom it was given
//! to. One of this hour or the last is good; who brings the last one's gets a new one. What has no
//! good cookie, or comes when as many are pending as may, is an ordinary SYN whose data was not taken:
//! the client sends it again behind the handshake.
//!
//! Nothing here keeps a network from repeating a SYN, nor a client from sending it again after we
//! forgot the connection: the same request may be served twice (RFC 7413, 6.3.1). So it is off
//! unless somebody wants it.

use sluice_base::{Instant, SipKey};
use sluice_buf::Chain;
use sluice_wire::FastOpenCookie;

use crate::congestion::initial_window;
use crate::connection::Connection;
use crate::context::Context;
use crate::recv::Push;
use crate::signals::Signals;

/// For how long cookies are made with one key, milliseconds. They are good for one to two of these:
/// long enough for a client that comes back, short enough for one that moved away and left its
/// address to another (RFC 7413, 4.1.2).
const KEY_LIFETIME_MS: u64 = 60 * 60 * 1_000;
/// Sets these hashes apart, as does their length, from those of sequence numbers and SYN cookies,
/// which have the same key.
const DOMAIN: u64 = 3;

/// What a listener with Fast Open does about a SYN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FastOpen {
    /// Nothing: the client does not ask for it.
    Ignore,
    /// The client asks for a cookie, and gets one.
    Grant,
    /// The cookie is not, or no more, one of ours: its data waits, and it gets a new one.
    Refuse,
    /// The cookie is good, and the data that came with it may be taken.
    Take {
        /// It was made with the last key: the client gets a new one.
        is_old: bool,
    },
}

impl FastOpen {
    /// What the option of a SYN asks for, and may have. `client` is its address in two words.
    #[must_use]
    pub fn judge(
        option: Option<FastOpenCookie>,
        key: &SipKey,
        client: [u64; 2],
        now: Instant,
    ) -> Self {
        let Some(cookie) = option else { return Self::Ignore };
        if cookie.is_request() {
            return Self::Grant;
        }
        let hour = hour(now);
        if cookie == cookie_of(key, client, hour) {
            Self::Take { is_old: false }
        } else if hour > 0 && cookie == cookie_of(key, client, hour - 1) {
            Self::Take { is_old: true }
        } else {
            Self::Refuse
        }
    }
}

/// The cookie that a client gets now.
#[must_use]
pub fn fast_open_cookie(key: &SipKey, client: [u64; 2], now: Instant) -> FastOpenCookie {
    cookie_of(key, client, hour(now))
}

fn cookie_of(key: &SipKey, [high, low]: [u64; 2], hour: u64) -> FastOpenCookie {
    let mac = key.hash(&[DOMAIN, high, low, hour, DOMAIN]);
    FastOpenCookie::new(&mac.to_be_bytes()).unwrap_or_default()
}

fn hour(now: Instant) -> u64 {
    now.as_millis() / KEY_LIFETIME_MS
}

/// How a connection began, as a set; and what the peer said of its user timeout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Opening(u8);

impl Opening {
    /// By us.
    pub(crate) const ACTIVE: Self = Self(0);
    /// By the peer: the SYN came to a listener.
    pub(crate) const PASSIVE: Self = Self(1);
    /// Data of the SYN was taken.
    const FAST: Self = Self(1 << 1);
    /// What the application says to it may leave before the handshake is over.
    const EARLY: Self = Self(1 << 2);
    /// The SYN+ACK carries a cookie.
    const GRANTS: Self = Self(1 << 3);
    /// The next segment without data says our user timeout.
    const TELLS: Self = Self(1 << 4);
    /// Where the doublings of the user timeout are.
    const DOUBLINGS_SHIFT: u32 = 5;

    pub(crate) const fn is_passive(self) -> bool {
        self.0 & Self::PASSIVE.0 != 0
    }

    pub(crate) const fn is_fast(self) -> bool {
        self.0 & Self::FAST.0 != 0
    }

    pub(crate) const fn is_early(self) -> bool {
        self.0 & Self::EARLY.0 != 0
    }

    #[inline]
    pub(crate) const fn tells_user_timeout(self) -> bool {
        self.0 & Self::TELLS.0 != 0
    }

    pub(crate) const fn set_tells_user_timeout(&mut self, tells: bool) {
        self.0 = (self.0 & !Self::TELLS.0) | if tells { Self::TELLS.0 } else { 0 };
    }

    /// How often the peer's user timeout doubles ours.
    pub(crate) const fn doublings(self) -> u8 {
        self.0 >> Self::DOUBLINGS_SHIFT
    }

    pub(crate) const fn set_doublings(&mut self, doublings: u8) {
        let rest = self.0 & ((1 << Self::DOUBLINGS_SHIFT) - 1);
        self.0 = rest | doublings << Self::DOUBLINGS_SHIFT;
    }
}

impl Connection {
    /// The SYN+ACK is to carry a cookie.
    pub fn grant_cookie(&mut self) {
        self.opening.0 |= Opening::GRANTS.0;
    }

    /// Whether the SYN+ACK that leaves now carries a cookie: only the caller knows for whom.
    #[must_use]
    pub fn grants_cookie(&self) -> bool {
        self.opening.0 & Opening::GRANTS.0 != 0
    }

    /// RFC 7413, 4.2.2: takes the data of the SYN that [`accept`](Self::accept) was just called with,
    /// whose cookie was good. If there is memory for it the connection is as good as open for the
    /// application, and [`Signals::ACKNOWLEDGED`] is said when it really is.
    pub fn take_early(&mut self, payload: Chain, cx: &Context<'_>) -> Signals {
        let len = payload.len() as u32;
        if len == 0
            || len > self.receive.window()
            || self.receive.push(payload, cx) == Push::Refused
        {
            return self.finish(Signals::NONE, cx);
        }
        self.opening.0 |= Opening::FAST.0 | Opening::EARLY.0;
        // The SYN+ACK that is owed acknowledges it.
        self.receive.acknowledged = self.receive.next;
        self.finish(Signals::CONNECTED | Signals::READABLE, cx)
    }

    /// Whether the data of its SYN was taken.
    #[must_use]
    pub fn is_fast_open(&self) -> bool {
        self.opening.is_fast()
    }

    /// Bytes of the queue that may leave although our SYN is not acknowledged: as many as fit the
    /// initial window (RFC 7413, 4.2.2), of which the SYN itself takes nothing.
    #[cold]
    pub(crate) fn early_data_to_send(&self) -> u32 {
        if !self.opening.is_early() || !self.send.is_syn_pending {
            return 0;
        }
        let sent = self.send.next.since(self.send.start());
        let window = self.send.window.min(initial_window(self.options.mss.into()));
        let (unsent, usable) = (self.send.unsent(), window.saturating_sub(sent));
        let len = unsent.min(usable);
        // Silly window avoidance: RFC 9293, 3.8.6.2.1 (1) and (2).
        if len == unsent || len >= self.options.mss.into() { len } else { 0 }
    }

    /// RFC 7413, 4.2.2: our SYN+ACK leaves again, and so was lost, or something on the way does not
    /// like what it carried. Now it carries nothing, and the data that followed it, which the peer
    /// had to drop, waits for the end of the handshake.
    pub(crate) fn begin_plainly(&mut self) {
        self.opening.0 &= !(Opening::EARLY.0 | Opening::GRANTS.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SipKey = SipKey::new([3, 4]);
    const CLIENT: [u64; 2] = [0, 0x0a00_0001];

    fn at(minutes: u64) -> Instant {
        Instant::from_millis(minutes * 60_000)
    }

    fn judge(cookie: FastOpenCookie, minutes: u64) -> FastOpen {
        FastOpen::judge(Some(cookie), &KEY, CLIENT, at(minutes))
    }

    #[test]
    fn a_cookie_is_good_for_one_to_two_hours_and_refreshed_in_the_second() {
        let cookie = fast_open_cookie(&KEY, CLIENT, at(61));
        assert_eq!(cookie.bytes().len(), 8);
        assert_eq!(judge(cookie, 61), FastOpen::Take { is_old: false });
        assert_eq!(judge(cookie, 119), FastOpen::Take { is_old: false });
        assert_eq!(judge(cookie, 120), FastOpen::Take { is_old: true });
        assert_eq!(judge(cookie, 179), FastOpen::Take { is_old: true });
        assert_eq!(judge(cookie, 180), FastOpen::Refuse);
        // Of the future: the clock of another start.
        assert_eq!(judge(cookie, 59), FastOpen::Refuse);
    }

    #[test]
    fn a_cookie_is_for_one_address_and_one_key() {
        let cookie = fast_open_cookie(&KEY, CLIENT, at(5));
        let other = SipKey::new([4, 3]);
        let judge = |key, client| FastOpen::judge(Some(cookie), key, client, at(5));
        assert_eq!(judge(&KEY, CLIENT), FastOpen::Take { is_old: false });
        assert_eq!(judge(&KEY, [0, 0x0a00_0002]), FastOpen::Refuse);
        assert_eq!(judge(&KEY, [0x0a00_0001, 0]), FastOpen::Refuse);
        assert_eq!(judge(&other, CLIENT), FastOpen::Refuse);
        // A prefix of it, or more than it, is another.
        let short = FastOpenCookie::new(&cookie.bytes()[..4]).expect("four bytes are allowed");
        assert_eq!(FastOpen::judge(Some(short), &KEY, CLIENT, at(5)), FastOpen::Refuse);
    }

    #[test]
    fn who_asks_gets_one_and_who_does_not_is_left_alone() {
        assert_eq!(judge(FastOpenCookie::REQUEST, 5), FastOpen::Grant);
        assert_eq!(FastOpen::judge(None, &KEY, CLIENT, at(5)), FastOpen::Ignore);
    }
}
