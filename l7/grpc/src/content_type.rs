//! Which requests and responses are gRPC.

/// The content type of what a proxy answers itself.
pub const CONTENT_TYPE: &[u8] = b"application/grpc";

/// Where its subtype begins.
const SUBTYPE: usize = "application/".len();

/// Whether this content type is gRPC's: `application/grpc`, with `+` and a format, or with
/// parameters. gRPC-Web (`application/grpc-web`) is not.
#[inline]
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    // Most others differ here, as most are of `application` too.
    if content_type.get(SUBTYPE).is_none_or(|byte| byte | 0x20 != CONTENT_TYPE[SUBTYPE]) {
        return false;
    }
    let Some((start, rest)) = content_type.split_at_checked(CONTENT_TYPE.len()) else {
        return false;
    };
    (start == CONTENT_TYPE || start.eq_ignore_ascii_case(CONTENT_TYPE))
        && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::is_grpc;

    #[test]
    fn by_the_whole_type() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=x"] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in ["", "application/grp", "application/grpc-web", "application/grpcx", "text/plain"]
        {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
    }
}
