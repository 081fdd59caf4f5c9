//! What gRPC hears from the proxy itself.

use sluice_base::ConnId;
use sluice_l7_core::{BodyLength, Head, Method, NameId, StreamId};
use sluice_l7_filter::FilterResult;
use sluice_l7_grpc::{CONTENT_TYPE, Status, is_grpc, message};

use crate::exchange::ExchangeKey;
use crate::proxy::Proxy;
use crate::responses::ReplyParts;

/// Status of every answer of ours to a call: what happened is in `grpc-status`.
pub(crate) const GRPC_REPLY_STATUS: u16 = 200;

/// Whether a request is a call of gRPC.
fn is_call(head: &Head) -> bool {
    head.method() == Method::Post && head.get(NameId::CONTENT_TYPE).is_some_and(is_grpc)
}

impl Proxy {
    /// The status of a call that is to hear of these parts; None: it is no call, or one that the
    /// parts are meant for as they are.
    pub(crate) fn grpc_status(&self, key: ExchangeKey, parts: &ReplyParts<'_>) -> Option<Status> {
        let head = self.exchanges.get(key)?.head.as_deref()?;
        let is_error = parts.status != 200 && parts.location.is_none();
        (is_error && is_call(head)).then(|| Status::of_http(parts.status))
    }

    /// An answer without a body: all that there is to say is in its head ("Trailers-Only").
    #[cold]
    pub(crate) fn write_grpc_reply(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        key: ExchangeKey,
        status: Status,
        parts: &ReplyParts<'_>,
    ) -> bool {
        let mut head = self.wires.heads.take();
        head.reset_to_response(GRPC_REPLY_STATUS);
        head.append(NameId::CONTENT_TYPE, CONTENT_TYPE);
        let code = status.code();
        let digits = [b'0' + code / 10, b'0' + code % 10];
        head.append(NameId::GRPC_STATUS, &digits[usize::from(code < 10)..]);
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        message::encode(&String::from_utf8_lossy(parts.body), &mut text);
        if !text.is_empty() {
            head.append(NameId::GRPC_MESSAGE, &text);
        }
        self.text = text;
        let (FilterResult::Continue | FilterResult::StopWithReply(_)) =
            self.filter_response(key, &mut head, BodyLength::None);
        let written = self.sessions.get_mut(conn).is_some_and(|session| {
            session.encode_head(stream, &head, BodyLength::None, &mut self.wires).is_ok()
        });
        self.wires.put_head(head);
        self.flush(conn);
        written
    }
}
