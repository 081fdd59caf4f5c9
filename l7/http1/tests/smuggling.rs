//! Bytes that two recipients could read in two ways: each is refused, by the name of the rule it
//! breaks, however it is cut.

mod support;

use support::served;

/// (what it tries, bytes, the refusal)
const HEADS: &[(&str, &str, &str)] = &[
    (
        "both lengths",
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "400 content-length-and-transfer-encoding",
    ),
    (
        "both lengths, other order",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "400 content-length-and-transfer-encoding",
    ),
    ("two lengths", "Content-Length: 3\r\nContent-Length: 4", "400 content-length-repeated"),
    ("two equal lengths", "Content-Length: 3\r\nContent-Length: 3", "400 content-length-repeated"),
    ("length list", "Content-Length: 3, 3", "400 invalid-content-length"),
    ("length sign", "Content-Length: +3", "400 invalid-content-length"),
    ("length negative", "Content-Length: -3", "400 invalid-content-length"),
    ("length hex", "Content-Length: 0x3", "400 invalid-content-length"),
    ("length inner space", "Content-Length: 3 3", "400 invalid-content-length"),
    ("length empty", "Content-Length:", "400 invalid-content-length"),
    ("length letters", "Content-Length: 3a", "400 invalid-content-length"),
    ("length 2^63", "Content-Length: 9223372036854775808", "400 invalid-content-length"),
    ("length overflow", "Content-Length: 18446744073709551619", "400 invalid-content-length"),
    ("length vertical tab", "Content-Length: \x0b3", "400 control-in-field-value"),
    ("coding not chunked", "Transfer-Encoding: gzip", "400 transfer-encoding-not-chunked"),
    ("chunked not last", "Transfer-Encoding: chunked, gzip", "400 transfer-encoding-not-chunked"),
    ("coding identity", "Transfer-Encoding: identity", "400 transfer-encoding-not-chunked"),
    ("coding look-alike", "Transfer-Encoding: xchunked", "400 transfer-encoding-not-chunked"),
    ("coding quoted", "Transfer-Encoding: \"chunked\"", "400 transfer-encoding-not-chunked"),
    (
        "coding with parameter",
        "Transfer-Encoding: chunked;x=y",
        "400 transfer-encoding-not-chunked",
    ),
    ("coding empty", "Transfer-Encoding:", "400 transfer-encoding-not-chunked"),
    ("coding empty element", "Transfer-Encoding: ,chunked", "400 transfer-encoding-not-chunked"),
    ("coding trailing comma", "Transfer-Encoding: chunked,", "400 transfer-encoding-not-chunked"),
    (
        "coding twice in one line",
        "Transfer-Encoding: chunked, chunked",
        "400 transfer-encoding-repeated",
    ),
    (
        "coding in two lines",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "400 transfer-encoding-repeated",
    ),
    ("coding unknown", "Transfer-Encoding: gzip, chunked", "501 unknown-transfer-coding"),
    ("coding vertical tab", "Transfer-Encoding: \x0bchunked", "400 control-in-field-value"),
    ("coding bare LF", "Transfer-Encoding:\n chunked", "400 bare-lf"),
    ("space before colon", "Transfer-Encoding : chunked", "400 space-before-colon"),
    ("tab before colon", "Content-Length\t: 3", "400 space-before-colon"),
    ("folded", "X: y\r\n Content-Length: 3", "400 obs-fold"),
    ("folded by tab", "X: y\r\n\tTransfer-Encoding: chunked", "400 obs-fold"),
    ("bare CR in value", "X: y\rContent-Length: 3", "400 bare-cr"),
    ("bare CR at line start", "\rX: y", "400 bare-cr"),
    ("bare LF after value", "X: y\nContent-Length: 3", "400 bare-lf"),
    ("double CR", "X: y\r\r\nContent-Length: 3", "400 bare-cr"),
    ("NUL in value", "X: y\0z", "400 nul-in-head"),
    ("NUL in name", "X\0: y", "400 nul-in-head"),
    ("control in value", "X: \x01", "400 control-in-field-value"),
    ("DEL in value", "X: \x7f", "400 control-in-field-value"),
    ("no colon", "Content-Length", "400 invalid-field-name"),
    ("empty name", ": 3", "400 empty-field-name"),
    ("name with bracket", "X[0]: 3", "400 invalid-field-name"),
    ("name in quotes", "\"X\": 3", "400 invalid-field-name"),
    ("name with space", "X Y: 3", "400 invalid-field-name"),
    ("name not ASCII", "Content\u{2010}Length: 3", "400 invalid-field-name"),
    ("second Host", "Host: b", "400 host-repeated"),
    ("second Host, equal", "Host: a", "400 host-repeated"),
];

#[test]
fn fields() {
    for (what, fields, refusal) in HEADS {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let said = served(request.as_bytes());
        assert_eq!(said, [format!("error {refusal}")], "{what}");
    }
}

#[test]
fn start_lines() {
    for (what, start, refusal) in [
        ("no target", "GET HTTP/1.1", "400 invalid-request-line"),
        ("two spaces", "GET  / HTTP/1.1", "400 invalid-request-line"),
        ("space in target", "GET /a b HTTP/1.1", "400 invalid-request-line"),
        ("tab for space", "GET\t/ HTTP/1.1", "400 invalid-method"),
        ("tab in target", "GET /a\tb HTTP/1.1", "400 invalid-target"),
        ("trailing space", "GET / HTTP/1.1 ", "400 invalid-request-line"),
        ("leading space", " GET / HTTP/1.1", "400 invalid-method"),
        ("method with colon", "GET: / HTTP/1.1", "400 invalid-method"),
        ("control in target", "GET /\x01 HTTP/1.1", "400 invalid-target"),
        ("DEL in target", "GET /\x7f HTTP/1.1", "400 invalid-target"),
        ("NUL in target", "GET /\0 HTTP/1.1", "400 nul-in-head"),
        ("bare CR in line", "GET /\r HTTP/1.1", "400 bare-cr"),
        ("fragment", "GET /a#b HTTP/1.1", "400 fragment-in-target"),
        ("fragment in absolute", "GET http://a/#b HTTP/1.1", "400 fragment-in-target"),
        ("no leading slash", "GET a HTTP/1.1", "400 invalid-target"),
        ("asterisk", "GET * HTTP/1.1", "400 invalid-target"),
        ("other scheme", "GET ftp://a/ HTTP/1.1", "400 invalid-target"),
        ("absolute without host", "GET http:///x HTTP/1.1", "400 host-invalid"),
        ("user information", "GET http://b@a/ HTTP/1.1", "400 host-invalid"),
        ("CONNECT with path", "CONNECT /x HTTP/1.1", "400 invalid-target"),
        ("CONNECT without port", "CONNECT a HTTP/1.1", "400 invalid-target"),
        ("HTTP/0.9", "GET /", "400 invalid-request-line"),
        ("lower-case version", "GET / http/1.1", "400 invalid-version"),
        ("version with more digits", "GET / HTTP/1.10", "400 invalid-version"),
        ("version 1.2", "GET / HTTP/1.2", "505 unknown-version"),
        ("version 2.0", "PRI * HTTP/2.0", "505 unknown-version"),
        ("version 0.9", "GET / HTTP/0.9", "505 unknown-version"),
        ("TLS", "\x16\x03\x01\x02", "400 invalid-method"),
        ("empty", "", "400 invalid-method"),
    ] {
        let said = served(format!("{start}\r\nHost: a\r\n\r\n").as_bytes());
        if start.is_empty() {
            assert_eq!(said, ["error 400 invalid-method"], "Host: is no method");
            continue;
        }
        assert_eq!(said, [format!("error {refusal}")], "{what}");
    }
}

#[test]
fn whole_heads() {
    for (what, head, refusal) in [
        ("no Host", "GET / HTTP/1.1\r\n\r\n", "400 host-missing"),
        ("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 host-invalid"),
        ("Host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 host-invalid"),
        ("Host with user", "GET / HTTP/1.1\r\nHost: b@a\r\n\r\n", "400 host-invalid"),
        ("Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400 host-invalid"),
        ("Host with bad port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "400 host-invalid"),
        ("Host missing, absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", "400 host-missing"),
        (
            "coding in 1.0",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400 transfer-encoding-in-http-1.0",
        ),
        (
            "CONNECT with length",
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1\r\n\r\nx",
            "400 connect-with-body",
        ),
        (
            "CONNECT with chunks",
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400 connect-with-body",
        ),
        (
            "two empty lines",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 empty-lines-before-request",
        ),
        ("leading LF", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bare-lf"),
        ("leading CR", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bare-cr"),
        ("leading NUL", "\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 nul-in-head"),
        ("LF line ends", "GET / HTTP/1.1\nHost: a\n\n", "400 bare-lf"),
        ("LF at the very end", "GET / HTTP/1.1\r\nHost: a\r\n\n", "400 bare-lf"),
        ("CR LF LF", "GET / HTTP/1.1\r\n\nHost: a\r\n\r\n", "400 bare-lf"),
    ] {
        assert_eq!(served(head.as_bytes()), [format!("error {refusal}")], "{what}");
    }
}

#[test]
fn chunks() {
    for (what, body, refusal) in [
        ("sign", "+1\r\na\r\n", "invalid-chunk-size"),
        ("negative", "-1\r\na\r\n", "invalid-chunk-size"),
        ("0x", "0x1\r\na\r\n", "invalid-chunk-size"),
        ("leading space", " 1\r\na\r\n", "invalid-chunk-size"),
        ("trailing space", "1 \r\na\r\n", "invalid-chunk-size"),
        ("empty size", "\r\na\r\n", "invalid-chunk-size"),
        ("size of extension alone", ";a\r\n", "invalid-chunk-size"),
        ("letters", "g\r\na\r\n", "invalid-chunk-size"),
        ("underscore", "1_0\r\n", "invalid-chunk-size"),
        ("17 digits", "00000000000000001\r\na\r\n", "invalid-chunk-size"),
        ("2^63", "8000000000000000\r\n", "invalid-chunk-size"),
        ("overflow", "10000000000000001\r\n", "invalid-chunk-size"),
        ("bare LF behind size", "1\na\r\n", "invalid-chunk-size"),
        ("bare CR behind size", "1\ra\r\n", "bare-cr"),
        ("double CR behind size", "1\r\r\na", "bare-cr"),
        ("empty extension", "1;\r\na\r\n", "invalid-chunk-extension"),
        ("bare LF in extension", "1;a\nb\r\n", "invalid-chunk-extension"),
        ("bare CR in extension", "1;a\rb\r\n", "bare-cr"),
        ("NUL in extension", "1;a\0\r\n", "invalid-chunk-extension"),
        ("semicolons", "1;;a\r\n", "invalid-chunk-extension"),
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let said = served(request.as_bytes());
        let refusal = format!("error 400 {refusal}");
        assert_eq!(said, ["POST / host=a => Chunked".to_owned(), refusal], "{what}");
    }
}

#[test]
fn ends_of_chunks() {
    for (what, body, refusal) in [
        ("longer than its size", "1\r\nab\r\n0\r\n\r\n", "invalid-chunk-end"),
        ("LF alone", "1\r\na\n0\r\n\r\n", "invalid-chunk-end"),
        ("CR alone", "1\r\na\r0\r\n\r\n", "invalid-chunk-end"),
        ("last chunk with LF", "1\r\na\r\n0\n\n", "invalid-chunk-size"),
        ("trailer with LF", "1\r\na\r\n0\r\nX: y\n\r\n", "bare-lf"),
        ("empty trailer with LF", "1\r\na\r\n0\r\n\n", "bare-lf"),
        ("trailer without colon", "1\r\na\r\n0\r\nX\r\n\r\n", "invalid-field-name"),
        ("trailer folded", "1\r\na\r\n0\r\nX: y\r\n z\r\n\r\n", "obs-fold"),
        ("trailer with NUL", "1\r\na\r\n0\r\nX: \0\r\n\r\n", "nul-in-head"),
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let mut said = served(request.as_bytes());
        assert_eq!(said.remove(1), "body a", "{what}");
        assert_eq!(said.remove(1), format!("error 400 {refusal}"), "{what}");
    }
}

#[test]
fn extensions_are_bounded_over_all_chunks() {
    let with = |bytes: usize| {
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(bytes));
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        served(format!("{head}{}0\r\n\r\n", chunk.repeat(4)).as_bytes()).pop().expect("an end")
    };
    assert_eq!(with(1_023), "end", "4 times 1,023 and the semicolon are the limit");
    assert_eq!(with(1_024), "error 400 chunk-extensions-too-long");
}
