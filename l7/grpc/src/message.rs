//! `grpc-message`: a text for people, percent-encoded.

/// Appends `text` to `out`: printable ASCII but `%` as it is, every other byte as `%` and two
/// upper-case digits.
pub fn encode(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.as_bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(byte);
        } else {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            out.extend_from_slice(&[b'%', digits[0], digits[1]]);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_that_a_field_value_must_not_hold_is_left() {
        let mut out = Vec::new();
        super::encode("100 % of é\r\n~", &mut out);
        assert_eq!(out, b"100 %25 of %C3%A9%0D%0A~");
    }
}
