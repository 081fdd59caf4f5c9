//! Fields that concern one connection and not the message (RFC 9110, 7.6.1).
//!
//! | field | request | response |
//! |---|---|---|
//! | Connection, and what it nominates | removed | removed |
//! | Keep-Alive, Proxy-Connection, Transfer-Encoding, HTTP2-Settings | removed | removed |
//! | TE | `trailers` stays (RFC 9110, 10.1.4: we do pass trailers on), the rest goes | removed |
//! | Upgrade | stays if the request asks for it and may | stays in a 101 to such a request |
//! | Trailer | stays: it speaks of the message | stays |
//!
//! What a codec needs of these it writes itself.

use sluice_l7_core::{BodyLength, Head, NameId, NameSet, equal_lower};

use crate::filter::{Filter, FilterContext, FilterResult, FilterState, LocalReply};

/// Connection options that are looked at. Each costs a pass over the fields, so that a head full of
/// them would cost the square of its size; honest ones have two or three.
const OPTIONS_MAX: usize = 32;

/// Protocols that must not be changed to through us. After a 101 we relay without a look, and a
/// client that speaks HTTP/2 to the endpoint behind our back reaches what no route allows.
const UPGRADES_REFUSED: [&[u8]; 3] = [b"h2c", b"http", b"tls"];

/// Removed from every message.
const ALWAYS: NameSet = NameSet::of(&[
    NameId::CONNECTION,
    NameId::KEEP_ALIVE,
    NameId::PROXY_CONNECTION,
    NameId::TRANSFER_ENCODING,
    NameId::HTTP2_SETTINGS,
]);

/// Every name that is looked at: a head without any of them is left alone.
const CONCERNED: NameSet = ALWAYS.with(NameId::TE).with(NameId::UPGRADE);

/// Removes what concerns the hop before us.
#[derive(Clone, Copy, Debug, Default)]
pub struct HopByHop;

impl HopByHop {
    /// A final response without any of these names is left alone.
    pub(crate) const CONCERNED: NameSet = CONCERNED;
}

impl Filter for HopByHop {
    #[inline]
    fn decode_head(
        &self,
        state: &mut FilterState,
        head: &mut Head,
        _body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        let upgrade = head.is_upgrade() && may_upgrade(head);
        *state = if upgrade { FilterState::Upgrade } else { FilterState::None };
        // Said anew, so that the codec upstream does not ask for what was refused here.
        head.set_upgrade(upgrade);
        clean(head, upgrade, cx.scratch)
    }

    #[inline]
    fn encode_head(
        &self,
        state: &mut FilterState,
        head: &mut Head,
        _body: BodyLength,
        cx: &mut FilterContext<'_>,
    ) -> FilterResult {
        let upgraded = *state == FilterState::Upgrade && head.status() == 101;
        match clean(head, upgraded, cx.scratch) {
            FilterResult::Continue => FilterResult::Continue,
            // The same mistake, made by the endpoint.
            FilterResult::StopWithReply(reply) => {
                FilterResult::StopWithReply(LocalReply { status: 502, ..reply })
            }
        }
    }
}

/// Whether the request offers protocols, none of which is refused.
fn may_upgrade(head: &Head) -> bool {
    let refused = |offer: &[u8]| {
        let name = offer.split(|byte| *byte == b'/').next().unwrap_or_default();
        UPGRADES_REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused))
    };
    let offers = || head.get_all(NameId::UPGRADE).flat_map(elements);
    offers().next().is_some() && !offers().any(refused)
}

#[inline]
fn clean(head: &mut Head, upgrade: bool, scratch: &mut Vec<u8>) -> FilterResult {
    if head.names().meets(CONCERNED) && !clean_concerned(head, upgrade, scratch) {
        return FilterResult::StopWithReply(LocalReply {
            status: 400,
            reason: "too-many-connection-options",
            body: "too many connection options\n",
        });
    }
    FilterResult::Continue
}

/// False: Connection names too many.
fn clean_concerned(head: &mut Head, upgrade: bool, scratch: &mut Vec<u8>) -> bool {
    if head.names().contains(NameId::CONNECTION)
        && !head.nominates_none()
        && !remove_nominated(head, scratch)
    {
        return false;
    }
    let mut names = ALWAYS;
    if head.names().contains(NameId::TE) {
        if head.is_request() && has_te_alone(head) {
            // As every client of gRPC says it.
        } else if head.is_request() && head.has_token(NameId::TE, b"trailers") {
            head.set(NameId::TE, b"trailers");
        } else {
            names = names.with(NameId::TE);
        }
    }
    if !upgrade {
        names = names.with(NameId::UPGRADE);
    }
    head.remove_all(names);
    true
}

/// Whether there is one TE field, which says what it may.
fn has_te_alone(head: &Head) -> bool {
    // A run with it says nothing else, and then no other field does.
    if head.run(NameSet::EMPTY).is_some_and(|run| run.contains(NameId::TE)) {
        return true;
    }
    let mut fields = head.get_all(NameId::TE);
    fields.next() == Some(b"trailers") && fields.next().is_none()
}

/// Removes the fields that Connection names. False: it names too many.
fn remove_nominated(head: &mut Head, scratch: &mut Vec<u8>) -> bool {
    if has_usual_options(head) {
        return true;
    }
    scratch.clear();
    let mut count = 0;
    for option in head.get_all(NameId::CONNECTION).flat_map(elements) {
        // What `clean` decides, and what names no field.
        let known: [&[u8]; 4] = [b"close", b"keep-alive", b"upgrade", b"te"];
        if known.iter().any(|known| option.eq_ignore_ascii_case(known)) {
            continue;
        }
        count += 1;
        scratch.extend_from_slice(option);
        scratch.push(b',');
    }
    if count > OPTIONS_MAX {
        return false;
    }
    for name in elements(scratch) {
        head.remove(name);
    }
    true
}

/// Whether there is one Connection field with one word that `clean` decides: what nearly every peer
/// sends.
fn has_usual_options(head: &Head) -> bool {
    let mut fields = head.get_all(NameId::CONNECTION);
    let (Some(only), None) = (fields.next(), fields.next()) else { return false };
    equal_lower(only, b"keep-alive") || equal_lower(only, b"close")
}

/// The elements of a comma-separated list that are not empty (RFC 9110, 5.6.1).
fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let elements = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::tests::{Harness, head};

    fn request(fields: &[(&str, &str)]) -> (FilterResult, FilterState, String) {
        let mut head = head(fields);
        head.set_upgrade(head.has_token(NameId::CONNECTION, b"upgrade"));
        let (mut harness, mut state) = (Harness::default(), FilterState::None);
        let result =
            HopByHop.decode_head(&mut state, &mut head, BodyLength::None, &mut harness.context());
        (result, state, Harness::fields(&head))
    }

    fn cleaned(fields: &[(&str, &str)]) -> String {
        let (result, _, text) = request(fields);
        assert_eq!(result, FilterResult::Continue);
        text
    }

    #[test]
    fn fields_of_the_connection_go_and_others_stay() {
        assert_eq!(
            cleaned(&[
                ("Accept", "a"),
                ("Connection", "close , X-Own,, keep-alive"),
                ("X-Own", "nominated"),
                ("x-owner", "not nominated"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Connection", "keep-alive"),
                ("CONNECTION", "Accept-Language"),
                ("Accept-Language", "nominated by the second"),
                ("HTTP2-Settings", "AAMA"),
                ("Upgrade", "nothing asked for it"),
                ("Trailer", "x-sum"),
            ]),
            "accept: a | x-owner: not nominated | trailer: x-sum"
        );
    }

    #[test]
    fn only_trailers_stay_of_te() {
        assert_eq!(
            cleaned(&[("TE", "gzip;q=0.5, Trailers"), ("Connection", "TE")]),
            "te: trailers"
        );
        assert_eq!(cleaned(&[("TE", "gzip"), ("Connection", "te")]), "");
    }

    #[test]
    fn an_upgrade_passes_with_its_answer() {
        let fields = [("Connection", "Upgrade, x-a"), ("Upgrade", "websocket"), ("x-a", "b")];
        let (_, mut state, text) = request(&fields);
        assert_eq!((state, text.as_str()), (FilterState::Upgrade, "upgrade: websocket"));
        let answer = |status, state: &mut FilterState| {
            let mut head = Head::new();
            head.reset_to_response(status);
            head.append(NameId::CONNECTION, b"upgrade");
            head.append(NameId::UPGRADE, b"websocket");
            let mut harness = Harness::default();
            let mut cx = harness.context();
            assert_eq!(
                HopByHop.encode_head(state, &mut head, BodyLength::None, &mut cx),
                FilterResult::Continue
            );
            Harness::fields(&head)
        };
        assert_eq!(answer(101, &mut state), "upgrade: websocket");
        assert_eq!(answer(426, &mut state), "");
        assert_eq!(answer(101, &mut FilterState::None), "");
    }

    /// HTTP/2 in cleartext, negotiated through us, would carry requests that no route sees.
    #[test]
    fn another_http_is_not_upgraded_to() {
        for offer in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2", "", ","] {
            let (_, state, text) = request(&[("Connection", "upgrade"), ("Upgrade", offer)]);
            assert_eq!((state, text.as_str()), (FilterState::None, ""), "{offer}");
        }
    }

    #[test]
    fn a_head_full_of_options_is_refused() {
        let options = |count: usize| vec!["x-a"; count].join(",");
        assert_eq!(cleaned(&[("Connection", &options(OPTIONS_MAX)), ("x-a", "1")]), "");
        let (result, ..) = request(&[("Connection", &options(OPTIONS_MAX + 1))]);
        assert!(matches!(result, FilterResult::StopWithReply(LocalReply { status: 400, .. })));
        let mut head = Head::new();
        head.reset_to_response(200);
        head.append(NameId::CONNECTION, options(20_000).as_bytes());
        let mut harness = Harness::default();
        let (mut state, mut cx) = (FilterState::None, harness.context());
        let result = HopByHop.encode_head(&mut state, &mut head, BodyLength::None, &mut cx);
        assert!(matches!(result, FilterResult::StopWithReply(LocalReply { status: 502, .. })));
    }

    /// RFC 9110, 7.6.1 on a plain list of names, by other code.
    fn naive(fields: &[(String, String)]) -> Vec<String> {
        let lower = |text: &str| text.to_ascii_lowercase();
        let nominated: Vec<_> = fields
            .iter()
            .filter(|(name, _)| lower(name) == "connection")
            .flat_map(|(_, value)| value.split(',').map(|part| lower(part.trim_ascii())))
            .collect();
        let hop = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
        fields
            .iter()
            .map(|(name, _)| lower(name))
            .filter(|name| !hop.contains(&name.as_str()) && !nominated.contains(name))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn agrees_with_a_plain_list(fields in prop::collection::vec(
            prop_oneof![
                ("[Cc]onnection", "(x-a|X-B|accept|close|Keep-Alive|,| |via|x-|upgrade){0,6}"),
                ("x-a|X-a|x-b|x-|Accept|VIA|keep-alive|Proxy-Connection", "[a-c]{0,3}"),
            ],
            0..12,
        )) {
            let pairs: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let (result, _, _) = request(&pairs);
            prop_assert_eq!(result, FilterResult::Continue);
            let mut head = head(&pairs);
            prop_assert!(remove_and_list(&mut head) == naive(&fields), "{:?}", fields);
        }
    }

    fn remove_and_list(head: &mut Head) -> Vec<String> {
        let (mut harness, mut state) = (Harness::default(), FilterState::None);
        let _ = HopByHop.decode_head(&mut state, head, BodyLength::None, &mut harness.context());
        head.iter().map(|(name, _)| name.to_ascii_lowercase().escape_ascii().to_string()).collect()
    }
}
