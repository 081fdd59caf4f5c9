//! Accepting connections, and what a client may make us hold.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::answer::{Answer, AnswerBody};
use super::listing::{Asked, list};
use super::paths;
use super::query::Query;
use crate::state::State;

/// Connections at once; more wait in the kernel's backlog. A scraper, a prober and a few people
/// need ten; a flood must not take the descriptors that the process needs.
const CONNECTIONS_MAX: usize = 64;
/// For a request's head, and between requests: idle connections make room for others.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For a request's body, of which no path needs one.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's body; beyond, 413.
const BODY_MAX: usize = 4 * 1_024;
/// Bytes of a request's head; beyond, 431.
const HEAD_MAX: usize = 16 * 1_024;
/// A connection that has lived so long ends with the response in progress,
const LIFETIME: Duration = Duration::from_secs(300);
/// which may take so long: a client that reads too slowly must not hold its place for ever.
const LAST_RESPONSE: Duration = Duration::from_secs(60);
/// When no descriptor is left, others get this long to give theirs back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, state: Rc<RefCell<State>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = state.clone();
                tokio::task::spawn_local(async move {
                    serve_connection(stream, state).await;
                    drop(place);
                });
            }
            Err(error) => {
                debug!("admin: accept: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Rc<RefCell<State>>) {
    // Small answers to people and probes: without it, Nagle and delayed ACK cost 40 ms.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(respond(&state, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // A connection that breaks is its client's business.
    if timeout(LIFETIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_RESPONSE, connection).await;
    }
}

async fn respond(state: &RefCell<State>, request: Request<Incoming>) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let body = timeout(BODY_TIMEOUT, Limited::new(body, BODY_MAX).collect()).await;
    let asked = Asked::of(head.uri.path(), &state.borrow()).filter(|_| is_read(&head.method));
    let answer = match body {
        // No path looks at it; it was read so that the connection can carry the next request.
        Ok(Ok(_)) => match asked {
            Some(asked) => list(state, asked, &Query::parse(head.uri.query())).await,
            None => paths::answer(&mut state.borrow_mut(), &head),
        },
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Answer::status(StatusCode::PAYLOAD_TOO_LARGE, "no path here needs a request body\n")
        }
        Ok(Err(_)) => Answer::status(StatusCode::BAD_REQUEST, "the request body is broken\n"),
        Err(_) => Answer::status(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive\n"),
    };
    answer.into_response()
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}
