//! Reading a file within bounds, and finding lines and columns in it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::ConfigErrors;
use crate::limits::FILE_BYTES_MAX;

/// The text of the file.
pub(crate) fn read(path: &Path) -> Result<String, ConfigErrors> {
    let name = path.display().to_string();
    let refuse = |message: String, hint: &str| {
        Err(ConfigErrors::without_position(&name, message, Some(hint.to_owned())))
    };
    let cannot_read = |error: &std::io::Error| match error.kind() {
        ErrorKind::NotFound => refuse(
            "the file does not exist".to_owned(),
            "check the path given with -c; examples/demo.toml is a file to start from",
        ),
        ErrorKind::PermissionDenied => refuse(
            "no permission to read the file".to_owned(),
            "check the owner and mode of the file and of the directories above it",
        ),
        ErrorKind::IsADirectory => refuse(
            "this is a directory, not a file".to_owned(),
            "give the path of a TOML file in it",
        ),
        _ => refuse(format!("cannot read the file: {error}"), "give the path of a TOML file"),
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return cannot_read(&error),
    };
    let mut bytes = Vec::new();
    if let Err(error) = file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes) {
        return cannot_read(&error);
    }
    if bytes.len() > FILE_BYTES_MAX {
        return refuse(
            format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20),
            "a configuration of this size belongs into a control plane",
        );
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid_up_to = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let before = String::from_utf8_lossy(bytes.get(..valid_up_to).unwrap_or_default());
        let byte = bytes.get(valid_up_to).copied().unwrap_or_default();
        let (line, column) = Lines::new(&before).position(before.len());
        ConfigErrors::at(
            &name,
            line,
            column,
            format!("the file is not UTF-8: byte 0x{byte:02x}"),
            Some("TOML is UTF-8; save the file in that encoding".to_owned()),
        )
    })
}

/// The beginnings of lines.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let after_newline = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let starts = std::iter::once(0).chain(after_newline.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Line and column of a byte offset, both from 1; columns count characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|&start| start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// Bytes of the line that holds `offset`.
    pub(crate) fn line_len(&self, offset: usize) -> usize {
        let (line, _) = self.position(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        self.starts.get(line).copied().unwrap_or(self.text.len()).saturating_sub(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let lines = Lines::new("ä = 1\nöö = 2");
        assert_eq!(lines.position(0), (1, 1));
        assert_eq!(lines.position(2), (1, 2));
        assert_eq!(lines.position("ä = 1\nöö".len()), (2, 3));
        assert_eq!(lines.line_len(0), 7);
        assert_eq!(lines.line_len(8), 8);
    }

    #[test]
    fn the_end_of_the_text_is_a_place() {
        assert_eq!(Lines::new("").position(0), (1, 1));
        assert_eq!(Lines::new("a\n").position(2), (2, 1));
    }
}
