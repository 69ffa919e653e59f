//! The cheapest echo server there can be: one read and one write each time, and no look at a frame.
//!
//! It knows the size of what comes, so its replies are built once. What it costs is the operating
//! system's share of every echo server's cost on this machine; no server can be cheaper.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::options::Options;
use crate::{Outcome, frame};

/// Most messages in flight on a connection.
const DEPTH: usize = 64;

/// Prints the port and serves until it is ended.
pub fn run(options: &Options) -> Outcome<()> {
    let size: usize = options.or("size", 20)?;
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    let payload = frame::json_text(size);
    frame::push(&mut request, frame::TEXT, &payload, true);
    frame::push(&mut reply, frame::TEXT, &payload, false);
    let replies = reply.repeat(DEPTH);

    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut sessions: Vec<Session> = Vec::new();
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let accepting = Token(usize::MAX >> 1);
    poll.registry().register(&mut listener, accepting, Interest::READABLE)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == accepting {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(sessions.len()), Interest::READABLE)?;
                    sessions.push(Session { stream, open: false, owed: 0 });
                }
            } else {
                sessions[event.token().0].serve(&mut buffer, request.len(), reply.len(), &replies)?;
            }
        }
    }
}

struct Session {
    stream: TcpStream,
    open: bool,
    /// Bytes of a message that has not come whole.
    owed: usize,
}

impl Session {
    fn serve(&mut self, buffer: &mut [u8], request: usize, reply: usize, replies: &[u8]) -> Outcome<()> {
        // A client that has left is of no interest.
        let Ok(len @ 1..) = self.stream.read(buffer) else { return Ok(()) };
        if !self.open {
            self.open = true;
            let head = String::from_utf8_lossy(&buffer[..len]);
            self.stream.write_all(frame::answer(&head)?.as_bytes())?;
            return Ok(());
        }
        let count = (self.owed + len) / request;
        self.owed = (self.owed + len) % request;
        self.stream.write_all(&replies[..count * reply])?;
        Ok(())
    }
}
