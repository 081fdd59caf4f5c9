//! Records in, lines out.

use std::net::SocketAddr;

use sluice_base::{ClusterId, ListenerId, RouteId};
use sluice_config_model::IdRegistry;
use sluice_l7_proxy::{ResponseFlags, Text};

use super::*;
use crate::testing;

const PATIENCE: Duration = Duration::from_secs(10);

fn record() -> AccessRecord {
    let mut record = AccessRecord::new(ListenerId(0));
    record.start_time = 1_780_000_000_123_000_000;
    record.duration = 12_345_678;
    record.upstream_service_time = Some(11_000_000);
    record.protocol = "HTTP/1.1";
    record.status = 503;
    record.flags = ResponseFlags::UPSTREAM_CONNECT_FAILURE.with(ResponseFlags::RETRY_LIMIT);
    record.bytes_received = 7;
    record.bytes_sent = 91;
    record.downstream = Some(SocketAddr::new([10, 9, 0, 1].into(), 40_000));
    record.upstream = Some(SocketAddr::new([10, 9, 0, 1].into(), 8_081));
    record.route = Some(RouteId(0));
    record.cluster = Some(ClusterId(0));
    record.set(Text::Method, b"GET");
    record.set(Text::Path, b"/a\"b\n?c=\xff");
    record.set(Text::ForwardedFor, b"10.9.0.1");
    record.set(Text::UserAgent, b"curl/8");
    record.set(Text::RequestId, b"id-1");
    record.set(Text::Authority, b"example.com");
    record
}

/// What `records` become in a file.
fn logged(format: AccessLogFormat, records: Vec<AccessRecord>) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    let config = AccessLog { path: AccessLogPath::File(path.clone()), format };
    let mut sink = LogSink::open(Some(&config)).expect("the file opens");
    sink.learn(&testing::config(testing::CONFIG, &mut IdRegistry::new()));
    let (mut send, mut receive) = rtrb::RingBuffer::new(records.len());
    let count = records.len() as u64;
    for record in records {
        send.push(record).expect("room");
    }
    sink.drain(&mut receive);
    sink.close(PATIENCE);
    assert_eq!((sink.totals().written(), sink.totals().lost()), (count, 0));
    std::fs::read_to_string(path).expect("UTF-8")
}

/// Tools that read Envoy's log read this one, and a client cannot forge a line.
#[test]
fn text_is_envoys_default_line() {
    assert_eq!(
        logged(AccessLogFormat::Text, vec![record()]),
        "[2026-05-28T20:26:40.123Z] \"GET /a\\\"b\\x0a?c=\\xff HTTP/1.1\" 503 UF,URX 7 91 12 11 \
         \"10.9.0.1\" \"curl/8\" \"id-1\" \"example.com\" \"10.9.0.1:8081\"\n"
    );
}

#[test]
fn json_is_an_object_per_line() {
    let mut relay = AccessRecord::new(ListenerId(1));
    relay.flags = ResponseFlags::NONE;
    let text = logged(AccessLogFormat::Json, vec![record(), relay]);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(
        lines[0],
        serde_json::json!({
            "start_time": "2026-05-28T20:26:40.123Z",
            "method": "GET",
            "path": "/a\"b\n?c=\u{fffd}",
            "protocol": "HTTP/1.1",
            "response_code": 503,
            "response_flags": "UF,URX",
            "bytes_received": 7,
            "bytes_sent": 91,
            "duration_ms": 12.345,
            "upstream_service_time_ms": 11.0,
            "x_forwarded_for": "10.9.0.1",
            "user_agent": "curl/8",
            "request_id": "id-1",
            "authority": "example.com",
            "upstream_host": "10.9.0.1:8081",
            "downstream_remote_address": "10.9.0.1:40000",
            "listener": "web",
            "route_name": "home",
            "upstream_cluster": "app",
        })
    );
    assert_eq!((&lines[1]["listener"], &lines[1]["method"]), (&"raw".into(), &().into()));
}

#[test]
fn without_a_section_records_are_dropped_unread() {
    let (mut send, mut receive) = rtrb::RingBuffer::new(4);
    send.push(record()).expect("room");
    let mut sink = LogSink::open(None).expect("nothing to open");
    sink.drain(&mut receive);
    assert!(receive.is_empty());
    sink.flush();
    sink.reopen().expect("nothing to reopen");
    assert_eq!(sink.totals().written(), 0);
}

/// logrotate moves the file away and sends SIGHUP.
#[test]
fn reopen_goes_on_in_a_new_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let format = AccessLogFormat::Text;
    let config = AccessLog { path: AccessLogPath::File(path.clone()), format };
    let mut sink = LogSink::open(Some(&config)).expect("the file opens");
    let (mut send, mut receive) = rtrb::RingBuffer::new(4);
    send.push(record()).expect("room");
    sink.drain(&mut receive);
    std::fs::rename(&path, &moved).expect("the file is there from the start");
    sink.reopen().expect("the path can be opened again");
    for _ in 0..2 {
        send.push(record()).expect("room");
    }
    sink.drain(&mut receive);
    // The directory is gone: the file that is open goes on.
    sink.close(PATIENCE);
    let lines = |path| std::fs::read_to_string(path).expect("a file").lines().count();
    assert_eq!((lines(&moved), lines(&path)), (1, 2));
}

#[test]
fn a_path_that_cannot_be_opened_is_named() {
    let path = AccessLogPath::File("/nowhere/at/all.log".into());
    let config = AccessLog { path, format: AccessLogFormat::Text };
    let error = LogSink::open(Some(&config)).expect_err("there is no such directory");
    let text = error.to_string();
    assert!(text.contains("/nowhere/at/all.log") && text.contains("No such file"), "{text}");
}

/// A named pipe without a reader must not hold up the start.
#[test]
fn a_named_pipe_without_a_reader_opens() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    let config = AccessLog { path: AccessLogPath::File(path), format: AccessLogFormat::Text };
    let mut sink = LogSink::open(Some(&config)).expect("it opens at once");
    let (mut send, mut receive) = rtrb::RingBuffer::new(4);
    send.push(record()).expect("room");
    sink.drain(&mut receive);
    sink.close(PATIENCE);
    assert_eq!(sink.totals().written(), 1, "the kernel keeps it for a reader");
}
