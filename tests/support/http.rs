//! Plain HTTP asked by hand, and the admin address of a server.
//!
//! Owns requests, the taking apart of answers, and server-sent events. Leaves sockets to `wire`. Invariant: what is
//! asked is sent as it stands, and an answer is whole before it is looked at.

use serde_json::Value;

use super::process::Server;
use super::wire::{RawClient, Socket, header};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Fails the test unless the status is this.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, String::from_utf8_lossy(&self.body));
        self
    }
}

/// Reads one answer, whose request was a HEAD when there is no body to expect.
#[track_caller]
pub fn read_answer(socket: &mut Socket, has_body: bool) -> Answer {
    let head = socket.read_head();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
    let mut body = Vec::new();
    if has_body && status != 304 && status != 204 {
        match header(&head, "content-length") {
            Some(length) => {
                let length = length.parse().expect("a length");
                body = socket.read_exactly(length);
                assert_eq!(body.len(), length, "the whole body of {head}");
            }
            None => body = read_chunks(socket),
        }
    }
    Answer { status, head, body }
}

/// A chunked body up to its end, or that of the stream.
fn read_chunks(socket: &mut Socket) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(chunk) = read_chunk(socket) {
        body.extend(chunk);
    }
    body
}

/// The next chunk; none after the last.
pub fn read_chunk(socket: &mut Socket) -> Option<Vec<u8>> {
    let mut line = String::new();
    while !line.ends_with("\r\n") {
        line.push(char::from(*socket.read_exactly(1).first()?));
    }
    let length = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("no length: {line:?}"));
    let chunk = socket.read_exactly(length);
    socket.read_exactly(2);
    (length > 0).then_some(chunk)
}

/// A request with further header lines, each ended by CRLF.
pub fn request(method: &str, path: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let host = if more.to_ascii_lowercase().contains("host:") { "" } else { "Host: 127.0.0.1\r\n" };
    [format!("{method} {path} HTTP/1.1\r\n{host}{length}{more}\r\n").as_bytes(), body].concat()
}

/// Asks on a connection of its own.
#[track_caller]
pub fn ask(port: u16, method: &str, path: &str, more: &str, body: &[u8]) -> Answer {
    let mut socket = RawClient::dial(port);
    socket.write(request(method, path, more, body));
    read_answer(&mut socket, method != "HEAD")
}

#[track_caller]
pub fn get(port: u16, path: &str) -> Answer {
    ask(port, "GET", path, "", b"")
}

/// The port of the admin address, as the server said it.
#[track_caller]
pub fn admin_port(server: &Server) -> u16 {
    let line = server.process.wait_for_stderr("admin on http://");
    line.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_else(|| panic!("no port in {line}"))
}

/// Asks again until the answer is as wanted.
#[track_caller]
pub fn wait_for(port: u16, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = std::time::Instant::now() + super::DEADLINE;
    loop {
        let answer = get(port, path);
        if wanted(&answer) {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "{path} never became as wanted: {}", answer.text());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The value of a sample of `/metrics`, by its name and labels as they stand there.
#[track_caller]
pub fn sample(metrics: &str, name: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

/// A live view.
pub struct Events {
    socket: Socket,
    unread: String,
}

impl Events {
    #[track_caller]
    pub fn open(port: u16) -> Self {
        let mut socket = RawClient::dial(port);
        socket.write(request("GET", "/events", "", b""));
        let head = socket.read_head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(header(&head, "content-type"), Some("text/event-stream; charset=utf-8"));
        Self { socket, unread: String::new() }
    }

    /// The next event: its name, empty for an event line, and its data. None at the orderly end.
    #[track_caller]
    pub fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let data = serde_json::from_str(&field("data: ").expect("data")).expect("JSON");
                let event = (field("event: ").unwrap_or_default(), data);
                self.unread = rest.to_owned();
                return Some(event);
            }
            let chunk = read_chunk(&mut self.socket)?;
            self.unread.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    /// The next event that is as wanted.
    #[track_caller]
    pub fn wait_for(&mut self, wanted: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next().expect("more events");
            if wanted(&name, &data) {
                return data;
            }
        }
    }
}
