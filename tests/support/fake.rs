//! A server made of plain sockets: the test decides every byte it answers.
//!
//! Owns a listening port and a thread that plays the test's part for each connection in turn. Leaves frames to `wire`.
//! Invariants: what fails in the thread fails the test, at `join`; connections are served one after the other.

use std::net::TcpListener;
use std::thread::JoinHandle;

use super::DEADLINE;
use super::wire::{Socket, accept_for, header};

/// What a client asked for, not yet answered.
pub struct Request {
    pub head: String,
    pub socket: Socket,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).expect("a request line")
    }

    /// Answers 101 with further header lines, each ended by CRLF.
    pub fn accept_with(mut self, more: &str) -> Socket {
        let key = self.header("sec-websocket-key").expect("a key").to_owned();
        self.socket.write(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n{more}\r\n",
            accept_for(&key)
        ));
        self.socket
    }

    pub fn accept(self) -> Socket {
        self.accept_with("")
    }

    /// Answers with these bytes and lets go.
    pub fn refuse(mut self, answer: &str) {
        self.socket.write(answer);
        self.socket.half_close();
        self.socket.read_rest();
    }
}

/// A listening port played by the test.
pub struct FakeServer {
    pub port: u16,
    pub url: String,
    thread: JoinHandle<()>,
}

impl FakeServer {
    /// Serves one connection.
    pub fn once(serve: impl FnOnce(Request) + Send + 'static) -> Self {
        Self::listening(move |listener| serve(next(&listener)))
    }

    /// Serves `count` connections, each told its number from 0.
    pub fn times(count: usize, serve: impl Fn(usize, Request) + Send + 'static) -> Self {
        Self::listening(move |listener| (0..count).for_each(|number| serve(number, next(&listener))))
    }

    /// Plays with the bare listener.
    pub fn listening(play: impl FnOnce(TcpListener) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binding a port");
        let port = listener.local_addr().expect("its address").port();
        // Holds for accept too: a client that never comes fails the test instead of hanging it.
        socket2::SockRef::from(&listener).set_read_timeout(Some(DEADLINE)).expect("setting a deadline");
        let thread = std::thread::spawn(move || play(listener));
        Self { port, url: format!("ws://127.0.0.1:{port}/"), thread }
    }

    /// Waits for the server to have played its part; fails when it failed.
    pub fn join(self) {
        if let Err(failure) = self.thread.join() {
            std::panic::resume_unwind(failure);
        }
    }
}

/// The next connection with its request head.
pub fn next(listener: &TcpListener) -> Request {
    let (stream, _) = listener.accept().expect("a connection");
    let mut socket = Socket::new(stream, false);
    let head = socket.read_head();
    Request { head, socket }
}
