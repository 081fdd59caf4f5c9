//! One target for both versions of HTTP: a request that HTTP/1.1 understands is understood as the same
//! when it comes over HTTP/2. It takes the same route, and an endpoint of either version gets the same.

use sluice_config_model::{IdRegistry, Protocol};
use sluice_l7_core::{BodyLength, Codec, Event, Head, HeadLimits, Method, NameId, Role};
use sluice_l7_http1::Http1;
use sluice_l7_http2::{Config, Http2};
use sluice_l7_route::{Path, PathScratch, RouteTable};

use crate::peer::{Peer, census};

const INPUT_MAX: usize = 2_048;
const LIMITS: HeadLimits = HeadLimits { request_line: 4_096, header_bytes: 16_384, headers: 100 };

/// Routes of every kind of condition, some of which rewrite.
const ROUTES: &str = r#"
[[interface]]
name = "net0"
device = "tap:sl0"
addresses = ["10.9.0.2/24"]
[runtime]
cores = [1]
[[cluster]]
name = "one"
endpoints = ["10.9.0.1:80"]
[[listener]]
name = "web"
address = "10.9.0.2:80"
protocol = "http"
[[listener.virtual_host]]
domains = ["a", "*.b", "c.*"]
[[listener.virtual_host.route]]
path = "/exact"
cluster = "one"
host_rewrite = "inside"
[[listener.virtual_host.route]]
prefix = "/p/"
method = "POST"
cluster = "one"
prefix_rewrite = "/q"
request_headers_add = [{ name = "x-added", value = "yes" }]
request_headers_remove = ["x-secret"]
[[listener.virtual_host.route]]
prefix = "/"
headers = [{ name = "x-team", exact = "blue" }, { name = "cookie", prefix = "a=" }]
cluster = "one"
[[listener.virtual_host.route]]
regex = "/r[0-9]+"
query = [{ name = "q", present = true }]
cluster = "one"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
headers = [{ name = "te", present = true }]
direct_response = { status = 200, body = "te" }
[[listener.virtual_host.route]]
prefix = "/"
cluster = "one"
"#;

thread_local! {
    static TABLE: RouteTable = table();
}

fn table() -> RouteTable {
    let mut registry = IdRegistry::new();
    let (config, _) = sluice_config_toml::parse("routes.toml", ROUTES, &mut registry)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let Protocol::Http(http) = &config.listeners[0].protocol else { panic!("it speaks HTTP") };
    RouteTable::compile(http).expect("these routes are valid")
}

/// The first request of a connection.
pub fn http_versions(data: &[u8]) {
    let data = &data[..data.len().min(INPUT_MAX)];
    let mut first = Peer::new(Http1::new(Role::Server), LIMITS);
    first.receive(data);
    if let Some(plain) = first.request()
        && !plain.is_of_one_version()
    {
        let framed = over_http2(&plain);
        assert_eq!(plain.said(), framed.said());
        let [plain, framed] = [plain, framed].map(|mut request| (request.route(), request));
        assert_eq!(plain.0, framed.0, "one route for both");
        for written in [Written::Http1, Written::Http2] {
            let [one, other] = [&plain.1, &framed.1].map(|request| request.write(written));
            assert_eq!(one, other, "{written:?}");
        }
    }
    drop(first);
    census();
}

/// Through a client that writes it as HTTP/2, and a server that reads that.
fn over_http2(request: &Request) -> Request {
    let config = Config::default();
    between(Http2::new(Role::Client, &config), Http2::new(Role::Server, &config), request)
}

fn between<C: Codec>(client: C, server: C, request: &Request) -> Request {
    let (mut client, mut server) = (Peer::new(client, LIMITS), Peer::new(server, LIMITS));
    client.send(request);
    server.input = std::mem::take(&mut client.output);
    server.request().unwrap_or_else(|| panic!("the other end does not take {request:?}"))
}

/// Which version goes upstream.
#[derive(Clone, Copy, Debug)]
enum Written {
    Http1,
    Http2,
}

/// A whole request.
#[derive(Debug)]
struct Request {
    head: Box<Head>,
    length: BodyLength,
    body: Vec<u8>,
    trailers: Option<Box<Head>>,
}

fn fields(head: &Head) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let is_kept = |name: &[u8]| !ENDS.iter().any(|other| name.eq_ignore_ascii_case(other));
    let fields = head.iter().filter(|(name, _)| is_kept(name));
    let mut fields: Vec<_> =
        fields.map(|(name, value)| (text(name).to_lowercase(), text(value))).collect();
    // Order counts between fields of one name.
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

/// What is said to the next hop alone, and how a message ends.
const ENDS: [&[u8]; 8] = [
    b"connection",
    b"content-length",
    b"host",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
];

impl Request {
    /// What has another form in the other version: tunnels and upgrades, the server itself (`*`), a
    /// host that HTTP/1.0 may leave out, crumbs, codings of transfer, and fields that `Connection`
    /// names.
    fn is_of_one_version(&self) -> bool {
        let head = &self.head;
        let nominates = head.get_all(NameId::CONNECTION).any(|value| !value.is_empty());
        head.method() == Method::Connect
            || head.path() == b"*"
            || head.authority().is_empty()
            || head.get_all(NameId::COOKIE).count() > 1
            || nominates
            || head.get_all(NameId::TE).any(|value| !value.eq_ignore_ascii_case(b"trailers"))
            || head.contains(NameId::UPGRADE)
    }

    fn said(&self) -> String {
        let Self { head, length, body, trailers } = self;
        let trailers = trailers.as_deref().map(fields);
        let start = [head.method_text(), head.authority(), head.path()];
        let start = start.map(|part| String::from_utf8_lossy(part).into_owned());
        format!("{start:?} {:?} {length:?} {body:?} {trailers:?}", fields(head))
    }

    /// What becomes of it; the head is changed as the route says.
    fn route(&mut self) -> String {
        let mut scratch = PathScratch::default();
        if let Err(error) = Path::normalize_head(&mut self.head, &mut scratch) {
            return format!("{error:?}");
        }
        TABLE.with(|table| {
            let found = table.find(&self.head, &Path::of(&self.head));
            let route = match found {
                Ok(route) => route,
                Err(error) => return format!("{error:?}"),
            };
            let rewritten = route.rewrite(&mut self.head, &mut scratch);
            route.request_edits.apply(&mut self.head);
            format!("{:?} {rewritten:?}", route.id)
        })
    }

    /// What an endpoint gets.
    fn write(&self, version: Written) -> String {
        let got = match version {
            Written::Http1 => {
                let (client, server) = (Http1::new(Role::Client), Http1::new(Role::Server));
                between(client, server, self)
            }
            Written::Http2 => over_http2(self),
        };
        let te: Vec<_> = got.head.get_all(NameId::TE).map(<[u8]>::to_ascii_lowercase).collect();
        format!("{} {te:?}", got.said())
    }
}

impl<C: Codec> Peer<C> {
    /// The first request, if all of it is there and good.
    fn request(&mut self) -> Option<Request> {
        let (mut begun, mut bytes) = (None, Vec::new());
        loop {
            match self.with(Codec::decode).ok()?? {
                Event::Head { head, body, .. } if body.is_none() => {
                    return Some(Request { head, length: body, body: bytes, trailers: None });
                }
                Event::Head { head, body, .. } => begun = Some((head, body)),
                Event::Body { stream, bytes: piece } => {
                    bytes.extend(piece.to_vec());
                    self.with(|codec, _, cx| codec.credit(stream, piece.len(), cx));
                }
                Event::End { trailers, .. } => {
                    let (head, length) = begun?;
                    return Some(Request { head, length, body: bytes, trailers });
                }
                Event::Reset { .. } | Event::GoAway { .. } => return None,
                Event::Informational { .. } => {}
            }
        }
    }

    fn send(&mut self, request: &Request) {
        let stream = self.codec.open_stream().expect("a fresh connection is free");
        let head = &request.head;
        self.with(|codec, _, cx| codec.encode_head(stream, head, request.length, cx))
            .unwrap_or_else(|error| panic!("{error:?}: {request:?}"));
        if request.length.is_none() {
            return;
        }
        let mut body = self.chain(&request.body);
        let sent = self.with(|codec, _, cx| {
            if !body.is_empty() {
                codec.encode_body(stream, &mut body, cx)?;
            }
            codec.encode_end(stream, request.trailers.as_deref(), cx)
        });
        assert_eq!(sent, Ok(()), "{request:?}");
    }
}
