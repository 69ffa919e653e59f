//! What the body of an answer shows to a person (pure): content codings undone, what is not text named.
//!
//! Knows gzip, deflate and br (RFC 9110 section 8.4.1, RFC 7932). Invariant: whatever a body inflates to, no more is kept
//! than asked for.

use std::borrow::Cow;
use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{self, HeaderMap};

use crate::message::counted::counted;

/// Most that is kept between two codings.
const BETWEEN: u64 = 64 * 1024;

/// Returns the first `most` bytes of a body as text, or its size and type in words where it is none. `body` may be cut.
#[must_use]
pub(crate) fn readable(headers: &HeaderMap, body: &[u8], most: usize) -> String {
    if body.is_empty() {
        return String::new();
    }
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let kind = value(header::CONTENT_TYPE).unwrap_or("unknown type");
    let codings = codings(headers);
    let decoded =
        codings.iter().rev().try_fold(Cow::Borrowed(body), |body, coding| decode(coding, &body).map(Cow::Owned));
    match decoded {
        Some(decoded) if is_text(&decoded) => {
            String::from_utf8_lossy(&decoded[..decoded.len().min(most)]).trim_end_matches('\u{fffd}').to_owned()
        }
        _ => {
            let size = value(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()).unwrap_or(body.len());
            let coded = if codings.is_empty() { String::new() } else { format!(", {}", codings.join(", ")) };
            format!("(a body of {}: {kind}{coded})", counted(size, "byte"))
        }
    }
}

/// The content codings in the order in which they were applied, in lower case.
fn codings(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings = values.flat_map(|value| value.split(',')).map(|coding| coding.trim().to_ascii_lowercase());
    codings.filter(|coding| !matches!(coding.as_str(), "" | "identity")).collect()
}

/// Undoes one coding; what a cut body has lost is missing. `None`: an unknown coding, or nothing came of it.
fn decode(coding: &str, body: &[u8]) -> Option<Vec<u8>> {
    let decoded = match coding {
        "gzip" | "x-gzip" => all(MultiGzDecoder::new(body)),
        // Some servers mean it without the wrapper it has.
        "deflate" => Some(all(ZlibDecoder::new(body)))
            .filter(|all| !all.is_empty())
            .unwrap_or_else(|| all(DeflateDecoder::new(body))),
        "br" => all(Decompressor::new(body, 4096)),
        _ => return None,
    };
    Some(decoded).filter(|decoded| !decoded.is_empty())
}

fn all(coded: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = coded.take(BETWEEN).read_to_end(&mut bytes);
    bytes
}

/// Whether bytes are text, perhaps cut within a character or in an older coding of characters.
fn is_text(bytes: &[u8]) -> bool {
    let begun = match std::str::from_utf8(bytes) {
        Ok(_) => 0,
        Err(error) => bytes.len() - error.valid_up_to(),
    };
    let odd = |byte: &&u8| matches!(byte, 0..=8 | 14..=26 | 28..=31 | 127);
    // Latin letters here and there are no UTF-8, and text all the same.
    let foreign = bytes.iter().filter(|byte| **byte >= 0x80).count();
    !bytes.iter().any(|byte| odd(&byte)) && (begun < 4 || foreign * 4 < bytes.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("in memory")
    }

    /// `<h1>not you</h1>` in Brotli.
    const BROTLI: [u8; 20] = *b"\x8b\x07\x80<h1>not you</h1>\x03";

    #[test]
    fn codings_are_undone_and_what_is_no_text_is_named() {
        let text = b"<h1>not you</h1>";
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        let zlib = zlib.write_all(text).and_then(|()| zlib.finish()).expect("in memory");
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        let raw = raw.write_all(text).and_then(|()| raw.finish()).expect("in memory");
        let shown = "<h1>not you</h1>";
        let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 248]].concat();
        let table: [(&str, &[u8], &str); 12] = [
            ("", text, shown),
            ("identity", text, shown),
            ("gzip", &gzip(text), shown),
            ("X-GZIP", &gzip(text), shown),
            ("gzip, gzip", &gzip(&gzip(text)), shown),
            ("deflate", &zlib, shown),
            ("deflate", &raw, shown),
            ("br", &BROTLI, shown),
            ("gzip", &gzip(&text.repeat(400))[..40], "<h1>"),
            ("gzip", b"garbage", "(a body of 7 bytes: text/html, gzip)"),
            ("zstd", b"\x28\xb5\x2f\xfd", "(a body of 4 bytes: text/html, zstd)"),
            ("gzip", &gzip(&png), "(a body of "),
        ];
        for (coding, body, expected) in table {
            let mut headers = headers(&[("content-type", "text/html")]);
            if !coding.is_empty() {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            let read = readable(&headers, body, 1024);
            let is_begun = matches!(expected, "<h1>" | "(a body of ") && read.starts_with(expected);
            assert!(read == expected || is_begun, "{coding}: {read}");
        }
    }

    #[test]
    fn text_is_told_from_other_bytes_by_itself() {
        let png = headers(&[("content-type", "image/png"), ("content-length", "5120")]);
        assert_eq!(readable(&png, b"\x89PNG\r\n\x1a\n\0\0", 1024), "(a body of 5120 bytes: image/png)");
        let none = HeaderMap::new();
        assert_eq!(readable(&none, b"", 1024), "");
        assert_eq!(readable(&none, b"\0\x01", 1024), "(a body of 2 bytes: unknown type)");
        assert_eq!(readable(&none, "na\u{ef}ve\tcaf\u{e9}\r\n".as_bytes(), 4), "na\u{ef}");
        assert_eq!(readable(&none, "déjà vu".as_bytes().split_last().expect("bytes").1, 1024), "déjà v");
        assert!(readable(&none, b"a caf\xe9 in the old way", 1024).starts_with("a caf"));
    }

    #[test]
    fn a_bomb_costs_no_more_than_is_shown() {
        let bomb = gzip(&vec![b'x'; 50_000_000]);
        assert_eq!(readable(&headers(&[("content-encoding", "gzip")]), &bomb, 1024).len(), 1024);
    }
}
