//! Backends that do what a test says, on sockets of the kernel.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A server with a thread per connection, until it is dropped.
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// A request as the backend saw it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// In order, names as they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A connection that carries nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Backend {
    /// Hands every connection to `serve`, on a thread of its own.
    #[track_caller]
    pub(crate) fn raw(address: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::start(address, move |stream, _| serve(stream))
    }

    /// Speaks HTTP/1.1; `answer` writes the response and says whether the connection stays.
    #[track_caller]
    pub(crate) fn http(
        address: &str,
        answer: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::start(address, move |mut stream, shared| {
            let Ok(copy) = stream.try_clone() else { return };
            let mut reader = BufReader::new(copy);
            while let Some(request) = Request::read(&mut reader, &mut stream) {
                shared.requests.fetch_add(1, Ordering::Relaxed);
                if !answer(&request, &mut stream) {
                    return;
                }
            }
        })
    }

    /// Answers with its own address and the request that it saw, head and body.
    #[track_caller]
    pub(crate) fn echo(address: &str) -> Self {
        let name = address.to_owned();
        Self::http(address, move |request, stream| {
            let mut body = format!("backend: {name}\n{}\n", request.head()).into_bytes();
            body.extend_from_slice(&request.body);
            respond(stream, "200 OK", &[], &body)
        })
    }

    #[track_caller]
    fn start(address: &str, serve: impl Fn(TcpStream, &Shared) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::<Shared>::default();
        let (ours, serve) = (shared.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ours.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                ours.connections.fetch_add(1, Ordering::Relaxed);
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let (serve, shared) = (serve.clone(), ours.clone());
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Requests that were read.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Request {
    /// The next request of a connection; none when it has ended.
    fn read(reader: &mut BufReader<TcpStream>, stream: &mut TcpStream) -> Option<Self> {
        let line = read_line(reader)?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = read_line(reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut request = Self { method, target, headers, body: Vec::new() };
        if request.header("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        if let Some(length) = request.header("content-length") {
            request.body = vec![0; length.parse().ok()?];
            reader.read_exact(&mut request.body).ok()?;
        } else if request.header("transfer-encoding").is_some() {
            request.body = read_chunked(reader)?;
        }
        Some(request)
    }

    /// The first header field of a name, whatever its case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        fields.find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Request line and fields, a line each, names in lower case.
    pub(crate) fn head(&self) -> String {
        let mut text = format!("{} {}\n", self.method, self.target);
        for (name, value) in &self.headers {
            text.push_str(&format!("{}: {value}\n", name.to_ascii_lowercase()));
        }
        text
    }
}

/// Writes a response with a length; says that the connection stays if that worked.
pub(crate) fn respond(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) -> bool {
    let mut bytes = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        bytes.push_str(header);
        bytes.push_str("\r\n");
    }
    bytes.push_str("\r\n");
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).is_ok()
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    line.strip_suffix("\r\n").map(str::to_owned)
}

fn read_chunked(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let size = usize::from_str_radix(line.split(';').next()?, 16).ok()?;
        if size == 0 {
            while !read_line(reader)?.is_empty() {}
            return Some(body);
        }
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..]).ok()?;
        read_line(reader)?;
    }
}
