//! Asking a running process over its admin address.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "no answer from the admin address {address}: {error}; is Sluice running, and is this its \
         `[admin] address`?"
    )]
    Unreachable {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        error: String,
    },
    /// It answered with an error.
    #[error("{address} answered {status}: {text}")]
    Status {
        /// The address.
        address: SocketAddr,
        /// The status.
        status: u16,
        /// The body.
        text: String,
    },
}

/// `GET path` from the admin address.
///
/// # Errors
/// [`ClientError`] if there is no answer within ten seconds or the answer is an error.
pub fn get(address: SocketAddr, path: &str) -> Result<String, ClientError> {
    let unreachable = |error: String| ClientError::Unreachable { address, error };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unreachable(error.to_string()))?;
    let answer = runtime.block_on(async {
        match tokio::time::timeout(PATIENCE, exchange(address, path)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("it took more than ten seconds".to_owned()),
        }
    });
    let (status, text) = answer.map_err(unreachable)?;
    if status == 200 { Ok(text) } else { Err(ClientError::Status { address, status, text }) }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(address: SocketAddr, path: &str) -> Result<(u16, String), AnyError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, address.to_string())
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, AnyError>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
