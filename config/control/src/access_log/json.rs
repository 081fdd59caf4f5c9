//! One JSON object per line, for machines. Keys are Envoy's command operators in snake_case.

use std::net::SocketAddr;

use serde_json::{Map, Value};
use sluice_l7_proxy::{AccessRecord, Rfc3339, Text};

use super::names::Names;

/// Appends a line.
pub(super) fn write(out: &mut Vec<u8>, record: &AccessRecord, names: &Names) {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    let text = |which| text(record.text(which));
    put("start_time", Rfc3339(record.start_time).to_string().into());
    put("method", text(Text::Method));
    put("path", text(Text::Path));
    put("protocol", if record.protocol.is_empty() { Value::Null } else { record.protocol.into() });
    put("response_code", record.status.into());
    put("response_flags", record.flags.to_string().into());
    put("bytes_received", record.bytes_received.into());
    put("bytes_sent", record.bytes_sent.into());
    put("duration_ms", millis(record.duration));
    put("upstream_service_time_ms", record.upstream_service_time.map_or(Value::Null, millis));
    put("x_forwarded_for", text(Text::ForwardedFor));
    put("user_agent", text(Text::UserAgent));
    put("request_id", text(Text::RequestId));
    put("authority", text(Text::Authority));
    put("upstream_host", address(record.upstream));
    put("downstream_remote_address", address(record.downstream));
    put("listener", name(names.listener(record.listener)));
    put("route_name", name(record.route.and_then(|id| names.route(id))));
    put("upstream_cluster", name(record.cluster.and_then(|id| names.cluster(id))));
    // Serialising a map of strings and numbers into a vector cannot fail.
    let _ = serde_json::to_writer(&mut *out, &object);
    out.push(b'\n');
}

/// Milliseconds with three decimals.
fn millis(nanos: u64) -> Value {
    ((nanos / 1_000) as f64 / 1_000.0).into()
}

fn address(address: Option<SocketAddr>) -> Value {
    address.map_or(Value::Null, |address| address.to_string().into())
}

fn name(name: Option<&str>) -> Value {
    name.map_or(Value::Null, Value::from)
}

/// Header bytes are not always UTF-8; what is not becomes U+FFFD.
fn text(bytes: &[u8]) -> Value {
    if bytes.is_empty() { Value::Null } else { String::from_utf8_lossy(bytes).into() }
}
