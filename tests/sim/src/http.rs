//! HTTP/1.1 as naively as it can be written: the twin that the product is compared with.
//!
//! Nothing here shares a line with the product's codec. It is slow, allocates, and understands just
//! what clients and backends of the simulator say.

/// A parsed head and what follows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// First line.
    pub start: String,
    /// Fields with lower-case names.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// How the end of a message's body is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Head only.
    NoBody,
    /// By its fields.
    ByFields,
}

/// Why there is no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Incomplete {
    /// More bytes may complete it.
    NeedMore,
    /// Complete only if the connection ends now (body until close).
    UntilClose,
    /// No bytes will mend it.
    Garbage,
}

/// Parses the first message in `bytes`: the message and how many bytes it took.
pub fn parse(bytes: &[u8], end: End, closed: bool) -> Result<(Message, usize), Incomplete> {
    let Some(head_end) = find(bytes, b"\r\n\r\n") else { return Err(Incomplete::NeedMore) };
    let text = std::str::from_utf8(&bytes[..head_end]).map_err(|_| Incomplete::Garbage)?;
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let fields = lines.map(field).collect::<Option<Vec<_>>>().ok_or(Incomplete::Garbage)?;
    let mut message = Message { start, fields, body: Vec::new(), trailers: Vec::new() };
    let body_start = head_end + 4;
    let rest = &bytes[body_start..];
    if end == End::NoBody || message.status() / 100 == 1 {
        return Ok((message, body_start));
    }
    if message.field("transfer-encoding") == Some("chunked") {
        let used = parse_chunks(rest, &mut message)?;
        return Ok((message, body_start + used));
    }
    if let Some(length) = message.field("content-length") {
        let length: usize = length.parse().map_err(|_| Incomplete::Garbage)?;
        if rest.len() < length {
            return Err(Incomplete::NeedMore);
        }
        message.body = rest[..length].to_vec();
        return Ok((message, body_start + length));
    }
    if message.start.starts_with("HTTP/") {
        if !closed {
            return Err(Incomplete::UntilClose);
        }
        message.body = rest.to_vec();
        return Ok((message, bytes.len()));
    }
    Ok((message, body_start))
}

fn parse_chunks(mut rest: &[u8], message: &mut Message) -> Result<usize, Incomplete> {
    let all = rest.len();
    loop {
        let line_end = find(rest, b"\r\n").ok_or(Incomplete::NeedMore)?;
        let line = std::str::from_utf8(&rest[..line_end]).map_err(|_| Incomplete::Garbage)?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| Incomplete::Garbage)?;
        rest = &rest[line_end + 2..];
        if size == 0 {
            break;
        }
        if rest.len() < size + 2 {
            return Err(Incomplete::NeedMore);
        }
        message.body.extend_from_slice(&rest[..size]);
        if &rest[size..size + 2] != b"\r\n" {
            return Err(Incomplete::Garbage);
        }
        rest = &rest[size + 2..];
    }
    loop {
        let line_end = find(rest, b"\r\n").ok_or(Incomplete::NeedMore)?;
        let line = std::str::from_utf8(&rest[..line_end]).map_err(|_| Incomplete::Garbage)?;
        rest = &rest[line_end + 2..];
        if line.is_empty() {
            return Ok(all - rest.len());
        }
        message.trailers.push(field(line).ok_or(Incomplete::Garbage)?);
    }
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// `body` as chunks of `size` bytes, with trailers.
#[must_use]
pub fn chunked(body: &[u8], size: usize, trailers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / size.max(1) * 8 + 16);
    for chunk in body.chunks(size.max(1)) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The bytes that message number `id` carries: no two messages have the same.
#[must_use]
pub fn pattern(id: u64, len: usize) -> Vec<u8> {
    let mut rng = sluice_base::Rng::new(id);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chunked_is_parsed_back() {
        let body = pattern(7, 1000);
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        bytes.extend(chunked(&body, 77, &[("x-sum", "1")]));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut], End::ByFields, false), Err(Incomplete::NeedMore));
        }
        let (message, used) = parse(&bytes, End::ByFields, false).expect("complete");
        assert_eq!((message.body, used, message.trailers.len()), (body, bytes.len(), 1));
    }
}
