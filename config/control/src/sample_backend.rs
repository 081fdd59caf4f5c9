//! Sample backends for `sluice demo`: small HTTP servers on sockets of the kernel.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Request bodies are counted up to this, and the connection ends beyond.
const BODY_MAX: usize = 1 << 30;

/// A backend could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the sample backend on {address}: {error}")]
pub struct SampleBackendError {
    /// Its address.
    pub address: SocketAddr,
    /// What the kernel said.
    pub error: std::io::Error,
}

/// Servers on a thread of their own, until the process ends.
#[derive(Debug)]
pub struct SampleBackends {
    addresses: Vec<SocketAddr>,
}

impl SampleBackends {
    /// Starts one server per address. Each answers every request with its own address, the request
    /// line, the fields that Sluice added, and how many body bytes came.
    ///
    /// # Errors
    /// [`SampleBackendError`] if an address is not to be had.
    pub fn start(addresses: &[SocketAddr]) -> Result<Self, SampleBackendError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        let mut bound = Vec::with_capacity(addresses.len());
        for address in addresses {
            let refused = |error| SampleBackendError { address: *address, error };
            let listener = std::net::TcpListener::bind(address).map_err(refused)?;
            listener.set_nonblocking(true).map_err(refused)?;
            bound.push(listener.local_addr().map_err(refused)?);
            listeners.push(listener);
        }
        if let Some(first) = addresses.first() {
            let refused = |error| SampleBackendError { address: *first, error };
            std::thread::Builder::new()
                .name("sample-backends".to_owned())
                .spawn(move || serve_all(listeners))
                .map_err(refused)?;
        }
        Ok(Self { addresses: bound })
    }

    /// Where they listen: as asked for, with the port that a port of 0 became.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

fn serve_all(listeners: Vec<std::net::TcpListener>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    let local = tokio::task::LocalSet::new();
    for listener in listeners {
        local.spawn_local(async move {
            if let Ok(listener) = TcpListener::from_std(listener) {
                serve(listener).await;
            }
        });
    }
    runtime.block_on(local);
}

async fn serve(listener: TcpListener) {
    let name = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely; give the others time to end.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let name = name.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(name.clone(), request));
            // A connection that breaks is the client's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    name: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = format!("sample backend {name}: {} {}\n", request.method(), request.uri());
    for field in ["host", "x-forwarded-for", "x-request-id"] {
        if let Some(value) = request.headers().get(field) {
            text.push_str(&format!("{field}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
    }
    let mut body = request.into_body();
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > BODY_MAX {
            break;
        }
    }
    if bytes > 0 {
        text.push_str(&format!("body: {bytes} bytes\n"));
    }
    Ok(Response::new(Full::new(Bytes::from(text))))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn exchange(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(request).expect("the socket takes it");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer and the end");
        text
    }

    #[test]
    fn each_says_who_it_is_and_what_came() {
        let port = SocketAddr::from(([127, 0, 0, 1], 0));
        let backends = SampleBackends::start(&[port, port]).expect("loopback ports");
        assert_eq!(backends.addresses().len(), 2);
        for address in backends.addresses() {
            let request = b"POST /x?y=1 HTTP/1.1\r\nhost: shop\r\nx-request-id: id-7\r\n\
                            connection: close\r\ncontent-length: 5\r\n\r\nhello";
            let answer = exchange(*address, request);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            let body = format!(
                "sample backend {address}: POST /x?y=1\nhost: shop\nx-request-id: id-7\nbody: 5 bytes\n"
            );
            assert!(answer.ends_with(&body), "{answer}");
        }
    }

    #[test]
    fn keep_alive_and_chunked_bodies_work() {
        let port = SocketAddr::from(([127, 0, 0, 1], 0));
        let backends = SampleBackends::start(&[port]).expect("a loopback port");
        let requests = b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
                         3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n\
                         GET /b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answers = exchange(backends.addresses()[0], requests);
        assert!(answers.contains("POST /a\nhost: x\nbody: 7 bytes\n"), "{answers}");
        assert!(answers.ends_with("GET /b\nhost: x\n"), "{answers}");
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = taken.local_addr().expect("an address");
        let error = SampleBackends::start(&[address]).expect_err("it is taken");
        assert!(error.to_string().contains(&address.to_string()));
    }
}
