//! The trait, and what its hooks are given and give back.

use std::net::SocketAddr;

use sluice_base::Rng;
use sluice_buf::Chain;
use sluice_config_model::Scheme;
use sluice_l7_core::{BodyLength, Head, HeaderEdits, Runs};

/// What a hook may look at and use; lives for one call.
#[derive(Debug)]
pub struct FilterContext<'a> {
    /// The client's address.
    pub peer: SocketAddr,
    /// How the client's connection is secured.
    pub scheme: Scheme,
    /// The route's changes to the request; None: answered without a route.
    pub request_edits: Option<&'a HeaderEdits>,
    /// The route's changes to the response; None: answered without a route.
    pub response_edits: Option<&'a HeaderEdits>,
    /// The worker's random source.
    pub rng: &'a mut Rng,
    /// For text that is put together; one per worker, with anything in it.
    pub scratch: &'a mut Vec<u8>,
    /// What is said about every request of the connection; None: on the way back.
    pub said: Option<(&'a mut Said, &'a mut Runs)>,
}

/// What filters add to every request of one connection alike, by its number among the worker's runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    pub(crate) forwarded: u64,
    pub(crate) missed: u8,
}

/// What becomes of the exchange after a hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a filter that stops an exchange must be obeyed"]
pub enum FilterResult {
    /// On to the next filter.
    Continue,
    /// No further: answer with this. On the encode side the endpoint's response is dropped.
    StopWithReply(LocalReply),
}

/// A response made here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LocalReply {
    /// 200 to 599.
    pub status: u16,
    /// Why, for counters and the access log; kebab-case.
    pub reason: &'static str,
    /// Sent as `text/plain`.
    pub body: &'static str,
}

/// What one filter remembers of one exchange.
///
/// One enum for all filters, so that an exchange holds a plain array and can be written out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FilterState {
    /// Nothing.
    #[default]
    None,
    /// [`HopByHop`](crate::HopByHop): the request asked to change the protocol, and may.
    Upgrade,
}

/// One step of what messages pass through. Hooks that are not overridden let everything pass.
pub trait Filter {
    /// A request's head, on its way to the endpoint.
    fn decode_head(
        &self,
        _state: &mut FilterState,
        _head: &mut Head,
        _body: BodyLength,
        _cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        FilterResult::Continue
    }

    /// Some of a request's body; `end`: no more follows.
    fn decode_body(
        &self,
        _state: &mut FilterState,
        _bytes: &mut Chain,
        _end: bool,
        _cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        FilterResult::Continue
    }

    /// A response's final head (or 101), on its way to the client.
    fn encode_head(
        &self,
        _state: &mut FilterState,
        _head: &mut Head,
        _body: BodyLength,
        _cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        FilterResult::Continue
    }

    /// Some of a response's body; `end`: no more follows.
    fn encode_body(
        &self,
        _state: &mut FilterState,
        _bytes: &mut Chain,
        _end: bool,
        _cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        FilterResult::Continue
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use sluice_l7_core::Method;

    use super::*;

    /// What a worker would lend to a call.
    pub(crate) struct Harness {
        rng: Rng,
        scratch: Vec<u8>,
        peer: IpAddr,
        said: Said,
        runs: Runs,
    }

    impl Default for Harness {
        fn default() -> Self {
            let peer = Ipv4Addr::new(192, 0, 2, 7).into();
            let (rng, scratch) = (Rng::new(1), b"left over".to_vec());
            Self { rng, scratch, peer, said: Said::default(), runs: Runs::default() }
        }
    }

    impl Harness {
        pub(crate) fn context(&mut self) -> FilterContext<'_> {
            FilterContext {
                peer: SocketAddr::new(self.peer, 4_711),
                scheme: Scheme::Http,
                request_edits: None,
                response_edits: None,
                rng: &mut self.rng,
                scratch: &mut self.scratch,
                said: Some((&mut self.said, &mut self.runs)),
            }
        }

        /// Lets the client have another address.
        pub(crate) fn peer(&mut self, peer: IpAddr) {
            self.peer = peer;
        }

        /// Fields as text, names in lower case.
        pub(crate) fn fields(head: &Head) -> String {
            let field = |(name, value): (&[u8], &[u8])| {
                format!("{}: {}", name.to_ascii_lowercase().escape_ascii(), value.escape_ascii())
            };
            head.iter().map(field).collect::<Vec<_>>().join(" | ")
        }
    }

    /// A request with these fields.
    pub(crate) fn head(fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new();
        head.reset_to_request(Method::Get, b"a.example", b"/");
        for (name, value) in fields {
            head.append(*name, value.as_bytes());
        }
        head
    }
}
