//! One message in full, as lines (pure).
//!
//! Owns which form suits it. Leaves colours to the view. Invariant: no line holds anything that could drive a terminal.

use std::fmt::Write as _;

use crate::message::{Message, MessageKind, render};

/// Bytes in a line of hexadecimal.
pub(crate) const HEX_BYTES: usize = 16;

/// How the lines are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Text,
    /// Offsets, bytes and their characters.
    Hex,
}

#[must_use]
pub(crate) fn lines(payload: &[u8], kind: MessageKind, hex: bool) -> (Form, Vec<String>) {
    if hex || kind == MessageKind::Binary {
        return (Form::Hex, hex_lines(payload));
    }
    let mut text = Vec::new();
    let is_json =
        Message::text_from_bytes(payload.to_vec()).is_ok_and(|message| render::pretty(&mut text, &message, false));
    if !is_json {
        render::escape_for_terminal(&mut text, payload);
    }
    let text = String::from_utf8_lossy(&text).replace('\t', "    ");
    (if is_json { Form::Json } else { Form::Text }, text.lines().map(str::to_owned).collect())
}

fn hex_lines(payload: &[u8]) -> Vec<String> {
    let line = |(place, bytes): (usize, &[u8])| {
        let mut line = format!("{:08x} ", place * HEX_BYTES);
        for column in 0..HEX_BYTES {
            if column % 8 == 0 {
                line.push(' ');
            }
            match bytes.get(column) {
                Some(byte) => {
                    let _ = write!(line, "{byte:02x} ");
                }
                None => line.push_str("   "),
            }
        }
        line.push('|');
        line.extend(
            bytes.iter().map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { *byte as char } else { '.' }),
        );
        line.push('|');
        line
    };
    payload.chunks(HEX_BYTES).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_binary_has_offsets_and_nothing_drives_the_terminal() {
        let (form, lines) = super::lines(br#"{"a":[1,"\u001b"]}"#, MessageKind::Text, false);
        assert_eq!(form, Form::Json);
        assert_eq!(lines, ["{", "  \"a\": [", "    1,", "    \"\\u001b\"", "  ]", "}"]);
        let (form, lines) = super::lines(b"a\x1b[2Jb\n\tc", MessageKind::Text, false);
        assert_eq!((form, lines), (Form::Text, vec!["a\\u001b[2Jb".to_owned(), "    c".to_owned()]));
        let (form, lines) = super::lines(&(0..20).collect::<Vec<u8>>(), MessageKind::Binary, false);
        assert_eq!(form, Form::Hex);
        assert_eq!(lines[0], "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f |................|");
        assert_eq!(lines[1], "00000010  10 11 12 13                                      |....|");
    }
}
