//! WebSocket spoken by hand, so that a test can send what no library would and see what is really on the wire.
//!
//! Owns frames (built and taken apart byte by byte), the HTTP head of an upgrade, and a client made of a plain socket.
//! Leaves servers to `fake`. Invariants: nothing is checked or corrected on the way out; whoever waits for something gets it
//! by `DEADLINE` or fails, also when the peer goes on sending something else.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::DEADLINE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// One frame, whatever its bits say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    /// The three reserved bits as a number: RSV1 is 4.
    pub reserved: u8,
    pub opcode: u8,
    pub masked: bool,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(opcode: Opcode, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, reserved: 0, opcode: opcode as u8, masked: false, payload: payload.into() }
    }

    pub fn text(payload: &str) -> Self {
        Self::new(Opcode::Text, payload)
    }

    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(Opcode::Close, [&code.to_be_bytes()[..], reason.as_bytes()].concat())
    }

    /// Not the last of its message.
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    pub fn reserved(mut self, bits: u8) -> Self {
        self.reserved = bits;
        self
    }

    pub fn opcode(mut self, opcode: u8) -> Self {
        self.opcode = opcode;
        self
    }

    pub fn masked(mut self) -> Self {
        self.masked = true;
        self
    }

    pub fn is(&self, opcode: Opcode) -> bool {
        self.opcode == opcode as u8
    }

    /// The status code of a Close frame, 1005 when it has none.
    pub fn close_code(&self) -> u16 {
        match self.payload[..] {
            [high, low, ..] => u16::from_be_bytes([high, low]),
            _ => 1005,
        }
    }

    pub fn as_text(&self) -> String {
        String::from_utf8(self.payload.clone()).expect("text is UTF-8")
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(self.payload.len() as u64);
        if self.masked {
            let key = [0x37, 0xfa, 0x21, 0x3d];
            bytes.extend(key);
            bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }

    /// The head for a payload of `length` bytes, which need not be the payload's.
    pub fn head(&self, length: u64) -> Vec<u8> {
        let mask = u8::from(self.masked) << 7;
        let mut head = vec![u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => head.push(mask | short),
            (_, Ok(medium)) => {
                head.push(mask | 0x7e);
                head.extend(medium.to_be_bytes());
            }
            _ => {
                head.push(mask | 0x7f);
                head.extend(length.to_be_bytes());
            }
        }
        head
    }

    /// The first frame in `bytes` and how many of them it takes.
    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, mut at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let masked = second & 0x80 != 0;
        let key: [u8; 4] = if masked {
            at += 4;
            bytes.get(at - 4..at)?.try_into().ok()?
        } else {
            [0; 4]
        };
        let end = at + usize::try_from(length).ok()?;
        let payload = bytes.get(at..end)?.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let frame = Self { fin: first & 0x80 != 0, reserved: first >> 4 & 7, opcode: first & 0xf, masked, payload };
        Some((frame, end))
    }
}

/// A socket with what was read from it and not yet used.
pub struct Socket {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Whether frames sent by `say` are masked, as a client's must be.
    masks: bool,
    /// Whether this side has said its Close.
    closed: bool,
}

impl Socket {
    pub fn new(stream: TcpStream, masks: bool) -> Self {
        stream.set_write_timeout(Some(DEADLINE)).expect("setting a write deadline");
        stream.set_nodelay(true).expect("setting TCP_NODELAY");
        Self { stream, unread: Vec::new(), masks, closed: false }
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("writing to the peer");
    }

    /// The same, when the peer may already have turned away.
    pub fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends a frame exactly as it is.
    pub fn frame(&mut self, frame: &Frame) {
        self.write(frame.bytes());
    }

    /// Sends a frame with the masking that this side owes.
    pub fn say(&mut self, frame: Frame) {
        let masked = self.masks;
        self.closed |= frame.is(Opcode::Close);
        self.frame(&Frame { masked, ..frame });
    }

    /// False at the end of the stream; a reset counts as an end. Fails once it is `until`, whatever has come by then.
    #[track_caller]
    fn fill(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let mut block = [0; 16 * 1024];
        let read = if left.is_zero() {
            Err(std::io::ErrorKind::TimedOut.into())
        } else {
            self.stream.set_read_timeout(Some(left)).expect("setting a read deadline");
            self.stream.read(&mut block)
        };
        match read {
            Ok(read) => {
                self.unread.extend_from_slice(&block[..read]);
                read > 0
            }
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(e) => {
                let last = &self.unread[self.unread.len().saturating_sub(500)..];
                panic!(
                    "what is waited for did not come in time: {e}; the last unused bytes: {:?}",
                    last.escape_ascii().to_string()
                )
            }
        }
    }

    /// Becomes a tunnel to `upstream` until both sides have ended.
    pub fn splice(self, mut upstream: TcpStream) {
        use std::io::copy;
        use std::net::Shutdown;
        let mut down = self.stream.try_clone().expect("a second handle");
        let mut up = upstream.try_clone().expect("a second handle");
        let back = std::thread::spawn(move || {
            let _ = copy(&mut up, &mut down);
            let _ = down.shutdown(Shutdown::Write);
        });
        upstream.write_all(&self.unread).expect("what was read already");
        let mut stream = self.stream;
        // What was read before had a time limit.
        stream.set_read_timeout(Some(DEADLINE)).expect("setting a read deadline");
        let _ = copy(&mut stream, &mut upstream);
        let _ = upstream.shutdown(Shutdown::Write);
        back.join().expect("the way back");
    }

    /// An HTTP head with its empty line; what came before the end when it is cut short.
    #[track_caller]
    pub fn read_head(&mut self) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.unread.drain(..at + 4).collect();
                return String::from_utf8(head).expect("an HTTP head");
            }
            if !self.fill(until) {
                return String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned();
            }
        }
    }

    /// So many bytes, or what there is before the end.
    #[track_caller]
    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let until = Instant::now() + 3 * DEADLINE;
        while self.unread.len() < count && self.fill(until) {}
        let count = count.min(self.unread.len());
        self.unread.drain(..count).collect()
    }

    /// Everything up to the end of the stream.
    #[track_caller]
    pub fn read_rest(&mut self) -> Vec<u8> {
        let until = Instant::now() + 3 * DEADLINE;
        while self.fill(until) {}
        std::mem::take(&mut self.unread)
    }

    /// The next frame; none at the end of the stream.
    #[track_caller]
    pub fn read_frame(&mut self) -> Option<Frame> {
        self.read_frame_until(Instant::now() + DEADLINE)
    }

    #[track_caller]
    fn read_frame_until(&mut self, until: Instant) -> Option<Frame> {
        loop {
            if let Some((frame, used)) = Frame::parse(&self.unread) {
                self.unread.drain(..used);
                return Some(frame);
            }
            if !self.fill(until) {
                return None;
            }
        }
    }

    /// The next text or binary frame; pings on the way are answered.
    #[track_caller]
    pub fn read_data(&mut self) -> Frame {
        let until = Instant::now() + DEADLINE;
        loop {
            let frame = self.read_frame_until(until).expect("a message, not the end of the stream");
            match frame.opcode {
                9 => self.say(Frame::new(Opcode::Pong, frame.payload)),
                10 => {}
                8 => panic!("a message, not Close {}: {:?}", frame.close_code(), frame.payload),
                _ => return frame,
            }
        }
    }

    #[track_caller]
    pub fn read_text(&mut self) -> String {
        let frame = self.read_data();
        assert!(frame.is(Opcode::Text), "a text message, not {frame:?}");
        frame.as_text()
    }

    /// The peer's Close frame, whatever comes before it.
    #[track_caller]
    pub fn read_close(&mut self) -> Frame {
        let until = Instant::now() + 3 * DEADLINE;
        loop {
            let frame = self.read_frame_until(until).expect("a Close frame, not just the end of the stream");
            if frame.is(Opcode::Close) {
                return frame;
            }
        }
    }

    /// Reads the peer's Close, answers it in kind unless it is an answer itself, and lets go; its code.
    #[track_caller]
    pub fn answer_close(mut self) -> u16 {
        let close = self.read_close();
        let code = close.close_code();
        if !self.closed {
            self.try_write(Frame { masked: self.masks, ..close }.bytes());
        }
        code
    }

    /// Writes these bytes over and over from a thread of its own, as far as the peer takes them; how many it took.
    pub fn pour(&self, bytes: Vec<u8>) -> Arc<AtomicUsize> {
        let mut stream = self.stream.try_clone().expect("a second handle");
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        std::thread::spawn(move || {
            while let Ok(count) = stream.write(&bytes[counted.load(Ordering::Relaxed) % bytes.len()..]) {
                counted.fetch_add(count, Ordering::Relaxed);
            }
        });
        taken
    }

    /// Whether the peer ends the stream within this time, or says anything; for what must not happen.
    #[track_caller]
    pub fn stirs_within(&mut self, time: std::time::Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("setting a read deadline");
        let read = self.stream.read(&mut [0; 16]);
        !read.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    }

    /// Hangs up in both directions, whoever else holds the socket.
    pub fn hang_up(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Nothing more comes from this side.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("closing one direction");
    }
}

/// A header of an HTTP head, by its name in any case.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// The value of `Sec-WebSocket-Accept` for a key.
pub fn accept_for(key: &str) -> String {
    STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

/// A client without any manners of its own.
pub struct RawClient;

impl RawClient {
    /// A connection that has said nothing yet.
    pub fn dial(port: u16) -> Socket {
        Socket::new(TcpStream::connect(("127.0.0.1", port)).expect("connecting to the server"), true)
    }

    /// An upgrade request with further header lines, each ended by CRLF.
    pub fn request(path: &str, more: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    }

    /// Upgrades; the socket and the head of the answer, which must be 101.
    #[track_caller]
    pub fn open(port: u16, path: &str, more: &str) -> (Socket, String) {
        let mut socket = Self::dial(port);
        socket.write(Self::request(path, more));
        let head = socket.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "upgraded: {head}");
        assert_eq!(header(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        (socket, head)
    }

    #[track_caller]
    pub fn connect(port: u16) -> Socket {
        Self::open(port, "/", "").0
    }

    /// One whose kernel buffers next to nothing.
    pub fn narrow(port: u16) -> Socket {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        socket.connect(&address.into()).expect("connecting");
        let mut client = Socket::new(TcpStream::from(socket), true);
        client.write(Self::request("/", ""));
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// Sends `request` as it is; the head of the answer, empty when there is none.
    pub fn ask(port: u16, request: &str) -> String {
        let mut socket = Self::dial(port);
        socket.write(request);
        socket.read_head()
    }
}
