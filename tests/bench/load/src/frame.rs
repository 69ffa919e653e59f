//! Frames and upgrades (RFC 6455), as much as the load side needs.
//!
//! Owns building whole frames and following the frames of a reply stream. Payloads are ASCII;
//! nothing is unmasked or inflated. Invariant: a reply that is not what was asked for is an error,
//! so no figure is ever made of something else.

use base64::Engine as _;
use sha1::{Digest as _, Sha1};

use crate::Outcome;

/// First byte of a whole text message.
pub const TEXT: u8 = 0x81;
/// First byte of a Close frame.
pub const CLOSE: u8 = 0x88;
/// Marks the first frame of a compressed message.
pub const RSV1: u8 = 0x40;

const MASK: u8 = 0x80;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Appended to the client's key before hashing (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Appends a frame; clients mask theirs.
pub fn push(out: &mut Vec<u8>, first: u8, payload: &[u8], masked: bool) {
    out.push(first);
    let mask = if masked { MASK } else { 0 };
    match payload.len() {
        len @ 0..126 => out.push(mask | len as u8),
        len @ 126..0x1_0000 => {
            out.push(mask | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(mask | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend(KEY);
        out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        out.extend(payload);
    }
}

/// A text of this many bytes that looks like live data: a few fields of every kind, and a note that fills it up.
pub fn json_text(size: usize) -> Vec<u8> {
    let mut text = br#"{"type":"trade","symbol":"BTC-USD","price":64012.37,"size":"0.2500","buy":true,"seq":9876543210,"#.to_vec();
    text.extend(br#""time":"2026-01-02T03:04:05.678901Z","venue":null,"note":""#);
    // Shorter ones are cut anywhere: no peer here parses them.
    let is_whole = size >= text.len() + 2;
    let letters = b"the quick brown fox jumps over a lazy dog; ".iter().cycle();
    let missing = size.saturating_sub(text.len());
    text.extend(letters.take(missing));
    text.truncate(size);
    if is_whole {
        text[size - 2..].copy_from_slice(b"\"}");
    }
    text
}

/// `payload` as a permessage-deflate message made of one stored block (RFC 7692 section 7.2.3.3).
pub fn stored(payload: &[u8]) -> Outcome<Vec<u8>> {
    let len = u16::try_from(payload.len()).map_err(|_| "a stored block holds at most 65535 bytes")?;
    let mut out = vec![0];
    out.extend(len.to_le_bytes());
    out.extend((!len).to_le_bytes());
    out.extend(payload);
    // The empty block whose last four bytes the sender leaves out.
    out.push(0);
    Ok(out)
}

/// What a server says to the first masked frame in `bytes`, and how many of them that takes: a text or binary frame goes
/// back as it is, a Close too, anything else is passed over.
pub fn reply(bytes: &[u8]) -> Outcome<Option<(Vec<u8>, usize)>> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    let (start, len) = match second & !MASK {
        126 => match bytes.get(2..4) {
            Some(len) => (4, usize::from(u16::from_be_bytes([len[0], len[1]]))),
            None => return Ok(None),
        },
        127 => return Err("a frame larger than this server takes".into()),
        len => (2, usize::from(len)),
    };
    let Some(key) = bytes.get(start..start + 4) else { return Ok(None) };
    let Some(masked) = bytes.get(start + 4..start + 4 + len) else { return Ok(None) };
    let payload: Vec<u8> = masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    let mut out = Vec::new();
    if matches!(first & 0x0f, 1 | 2 | 8) {
        push(&mut out, first, &payload, false);
    }
    Ok(Some((out, start + 4 + len)))
}

/// A client's upgrade request.
pub fn request(port: u16, deflate: bool) -> Vec<u8> {
    let extensions = if deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
    format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extensions}\r\n"
    )
    .into_bytes()
}

/// A server's answer to a request head.
pub fn answer(head: &str) -> Outcome<String> {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let key = key.ok_or("a request without Sec-WebSocket-Key")?;
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

/// Where the head ends, behind its blank line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// Counts the whole messages in a stream of frames, however it is cut. A server's are not masked.
#[derive(Debug, Default)]
pub struct Replies {
    masked: bool,
    head: [u8; 14],
    seen: usize,
    payload: u64,
    payload_left: u64,
    first: u8,
    /// Messages that have ended.
    pub messages: u64,
    /// Of these, those that were compressed.
    pub compressed: u64,
    /// A client's Close has come.
    pub closed: bool,
    message_bytes: u64,
    in_compressed: bool,
}

impl Replies {
    /// Follows what a client sends, up to its Close.
    pub fn of_client() -> Self {
        Self { masked: true, ..Self::default() }
    }

    /// Follows more of the stream. `size`: what every plain message must have as its payload.
    pub fn follow(&mut self, mut bytes: &[u8], size: u64) -> Outcome<()> {
        while !bytes.is_empty() {
            if self.payload_left == 0 {
                let needed = self.head_len();
                let take = (needed - self.seen).min(bytes.len());
                self.head[self.seen..self.seen + take].copy_from_slice(&bytes[..take]);
                self.seen += take;
                bytes = &bytes[take..];
                if self.seen < self.head_len() {
                    continue;
                }
                self.start_frame()?;
            }
            let take = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            self.payload_left -= take as u64;
            bytes = &bytes[take..];
            if self.payload_left == 0 {
                self.end_frame(size)?;
            }
        }
        Ok(())
    }

    fn head_len(&self) -> usize {
        let key = if self.masked { KEY.len() } else { 0 };
        match (self.seen, self.head[1] & !MASK) {
            (0 | 1, _) => 2,
            (_, 126) => 4 + key,
            (_, 127) => 10 + key,
            _ => 2 + key,
        }
    }

    fn start_frame(&mut self) -> Outcome<()> {
        self.first = self.head[0];
        let len = self.head[1];
        if (len & MASK != 0) != self.masked {
            return Err("a frame masked by a server, or not masked by a client".into());
        }
        self.payload = match len & !MASK {
            126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            127 => self.head[2..10].iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
            len => u64::from(len),
        };
        self.payload_left = self.payload;
        self.seen = 0;
        Ok(())
    }

    fn end_frame(&mut self, size: u64) -> Outcome<()> {
        match self.first & 0x0f {
            0..=2 => {}
            9 | 10 => return Ok(()),
            8 if self.masked => {
                self.closed = true;
                return Ok(());
            }
            _ => return Err(format!("the peer sent an unexpected frame {:#04x}", self.first).into()),
        }
        if self.first & 0x0f != 0 {
            self.in_compressed = self.first & RSV1 != 0;
            self.message_bytes = 0;
        }
        self.message_bytes += self.payload;
        if self.first & 0x80 == 0 {
            return Ok(());
        }
        if !self.in_compressed && self.message_bytes != size {
            return Err(format!("a reply of {} bytes, expected {size}", self.message_bytes).into());
        }
        self.messages += 1;
        self.compressed += u64::from(self.in_compressed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_messages_however_they_are_cut() {
        let mut stream = Vec::new();
        for _ in 0..3 {
            push(&mut stream, TEXT, &json_text(200), false);
        }
        push(&mut stream, 0x89, b"ping", false);
        push(&mut stream, 0x01, &json_text(150), false);
        push(&mut stream, 0x80, &json_text(50), false);
        push(&mut stream, TEXT | RSV1, b"xyz", false);
        for step in 1..stream.len() {
            let mut replies = Replies::default();
            for piece in stream.chunks(step) {
                replies.follow(piece, 200).unwrap();
            }
            assert_eq!((replies.messages, replies.compressed), (5, 1), "{step}");
        }
        let mut empty = Vec::new();
        push(&mut empty, TEXT, b"", false);
        let mut replies = Replies::default();
        replies.follow(&empty, 0).unwrap();
        assert_eq!(replies.messages, 1);
        assert!(Replies::default().follow(&stream, 199).is_err());
    }

    #[test]
    fn follows_a_client_up_to_its_close() {
        let mut stream = Vec::new();
        push(&mut stream, TEXT, &json_text(20), true);
        push(&mut stream, TEXT, &json_text(20), true);
        push(&mut stream, CLOSE, &[3, 232], true);
        for step in 1..stream.len() {
            let mut sent = Replies::of_client();
            for piece in stream.chunks(step) {
                assert!(!sent.closed);
                sent.follow(piece, 20).unwrap();
            }
            assert_eq!((sent.messages, sent.closed), (2, true), "{step}");
        }
    }

    #[test]
    fn answers_the_sample_of_the_rfc() {
        let head = String::from_utf8(request(80, false)).unwrap();
        assert!(answer(&head).unwrap().contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn a_stored_block_has_its_length_twice() {
        assert_eq!(stored(b"ab").unwrap(), [0, 2, 0, 0xfd, 0xff, b'a', b'b', 0]);
    }
}
