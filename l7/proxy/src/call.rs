//! What gRPC adds to an exchange: a deadline, and how often it was tried.

use std::time::Duration;

use sluice_base::Instant;
use sluice_config_model::{GrpcTimeout, RetryOn};
use sluice_l7_core::{Head, Method, NameId};
use sluice_l7_grpc::{Status, is_grpc, timeout};
use sluice_l7_route::CompiledRoute;

use crate::plan::Plan;

/// How often a call was made before, as who makes it again says (gRPC's proposal A6).
const PREVIOUS_ATTEMPTS: &[u8] = b"grpc-previous-rpc-attempts";

/// Whether a request is a call of gRPC.
pub(crate) fn is_call(head: &Head) -> bool {
    head.method() == Method::Post && head.get(NameId::CONTENT_TYPE).is_some_and(is_grpc)
}

/// A call of gRPC; of any other request, nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// When its caller stops waiting.
    deadline: Instant,
}

impl Call {
    /// No call.
    pub(crate) const NONE: Self = Self { deadline: Instant::NEVER };

    #[inline]
    pub(crate) fn clear(&mut self) {
        *self = Self::NONE;
    }

    /// A call has found its route: takes over what the route says about calls.
    pub(crate) fn begin(
        &mut self,
        started: Instant,
        head: &Head,
        route: &CompiledRoute,
        plan: &mut Plan,
    ) {
        plan.retry_on = route.retry_on.iter().map(|condition| status_of(*condition)).collect();
        // What cannot be read is the endpoint's to refuse.
        let Some(wanted) = head.get(NameId::GRPC_TIMEOUT).and_then(timeout::parse) else { return };
        let allowed = match route.grpc_timeout {
            GrpcTimeout::Besides => wanted,
            GrpcTimeout::Instead(max) => {
                plan.timeout = None;
                max.map_or(wanted, |max| wanted.min(max))
            }
        };
        self.deadline = started + allowed;
    }

    /// When its caller stops waiting; never, if it did not say.
    #[inline]
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether its caller has stopped waiting.
    #[inline]
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.deadline <= now
    }

    /// Tells the endpoint how long it has, which is less than the caller said. What a filter took
    /// out stays out.
    pub(crate) fn say_time_left(&self, head: Option<&mut Head>, now: Instant) {
        let Some(head) = head.filter(|head| head.contains(NameId::GRPC_TIMEOUT)) else { return };
        let mut text = [0; timeout::TEXT_MAX];
        let len = timeout::write(Duration::from_nanos(self.deadline.nanos_since(now)), &mut text);
        head.set(NameId::GRPC_TIMEOUT, &text[..len]);
    }

    /// Tells the next endpoint that it is not the first.
    pub(crate) fn count_attempt(&self, head: Option<&mut Head>) {
        let Some(head) = head else { return };
        let before = head.find(PREVIOUS_ATTEMPTS).and_then(|text| {
            let digits = text.len() <= 4 && text.iter().all(u8::is_ascii_digit);
            digits
                .then(|| text.iter().fold(0, |sum: u32, digit| sum * 10 + u32::from(digit - b'0')))
        });
        let mut count = before.unwrap_or(0) + 1;
        let mut text = [0; 10];
        let mut at = text.len();
        while count > 0 {
            at -= 1;
            text[at] = b'0' + (count % 10) as u8;
            count /= 10;
        }
        head.set(PREVIOUS_ATTEMPTS, &text[at..]);
    }
}

const fn status_of(condition: RetryOn) -> Status {
    match condition {
        RetryOn::Cancelled => Status::Cancelled,
        RetryOn::DeadlineExceeded => Status::DeadlineExceeded,
        RetryOn::Internal => Status::Internal,
        RetryOn::ResourceExhausted => Status::ResourceExhausted,
        RetryOn::Unavailable => Status::Unavailable,
    }
}
