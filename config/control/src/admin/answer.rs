//! What a handler gives back, and its body on the way out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde_json::Value;

const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";

/// A response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: AnswerBody,
    /// For 405.
    pub(crate) allow: Option<&'static str>,
}

impl Answer {
    /// 200 with text.
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::status(StatusCode::OK, text)
    }

    /// A status with text.
    pub(crate) fn status(status: StatusCode, text: impl Into<Bytes>) -> Self {
        let body = AnswerBody::Whole(Some(text.into()));
        Self { status, content_type: TEXT, body, allow: None }
    }

    /// 200 with JSON, indented for people.
    pub(crate) fn json(value: &Value) -> Self {
        let mut text = format!("{value:#}");
        text.push('\n');
        Self { content_type: JSON, ..Self::text(text) }
    }

    /// 200 with a body that is made piece by piece, as the client takes it.
    pub(crate) fn pieces(
        content_type: &'static str,
        pieces: impl Iterator<Item = Bytes> + 'static,
    ) -> Self {
        let body = AnswerBody::Pieces { pieces: Box::new(pieces), rested: true };
        Self { status: StatusCode::OK, content_type, body, allow: None }
    }

    /// As hyper sends it.
    pub(crate) fn into_response(self) -> Response<AnswerBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// A body that is there, or that is made while it is sent: the metrics of 100,000 clusters are
/// hundreds of megabytes.
pub(crate) enum AnswerBody {
    Whole(Option<Bytes>),
    Pieces {
        pieces: Box<dyn Iterator<Item = Bytes>>,
        /// The loop had its turn since the last piece.
        rested: bool,
    },
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces { rested, .. } if !*rested => {
                // Between two pieces the rings are emptied and probes answered.
                *rested = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Pieces { pieces, rested } => {
                *rested = false;
                Poll::Ready(pieces.next().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Pieces { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Pieces { .. } => SizeHint::default(),
        }
    }
}
