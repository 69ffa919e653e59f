//! An echo server that answers each message a known time after it came: what latencies are checked against.
//!
//! It sleeps until shortly before an answer is due and passes the rest turning, so that the time is kept to a few
//! microseconds. One thread; small messages only.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::options::Options;
use crate::{Outcome, frame};

/// The kernel's wait goes by milliseconds: the last of it is not slept.
const TURNING: Duration = Duration::from_millis(2);

struct Session {
    stream: TcpStream,
    open: bool,
    unread: Vec<u8>,
}

/// Prints the port and serves until it is ended.
pub fn run(options: &Options) -> Outcome<()> {
    let delay = Duration::from_secs_f64(options.or("ms", 5.0)? / 1000.0);
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let accepting = Token(usize::MAX >> 1);
    poll.registry().register(&mut listener, accepting, Interest::READABLE)?;
    let mut sessions: Vec<Session> = Vec::new();
    // Each waits as long: the first to come is the first to go.
    let mut answers: VecDeque<(Instant, usize, Vec<u8>)> = VecDeque::new();
    loop {
        let left = answers.front().map(|(due, ..)| due.saturating_duration_since(Instant::now()));
        let wait = left.map(|left| left.saturating_sub(TURNING));
        poll.poll(&mut events, wait)?;
        let now = Instant::now();
        for event in &events {
            if event.token() == accepting {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(sessions.len()), Interest::READABLE)?;
                    sessions.push(Session { stream, open: false, unread: Vec::new() });
                }
            } else {
                let number = event.token().0;
                for reply in sessions[number].take()? {
                    answers.push_back((now + delay, number, reply));
                }
            }
        }
        while answers.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
            let Some((_, number, reply)) = answers.pop_front() else { break };
            // A client that has left is of no interest.
            let _ = sessions[number].stream.write(&reply);
        }
    }
}

impl Session {
    /// Reads all there is; the answers to the whole frames in it.
    fn take(&mut self) -> Outcome<Vec<Vec<u8>>> {
        let mut buffer = [0; 16 * 1024];
        while let Ok(len @ 1..) = self.stream.read(&mut buffer) {
            self.unread.extend(&buffer[..len]);
        }
        if !self.open {
            let Some(end) = frame::head_end(&self.unread) else { return Ok(Vec::new()) };
            let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
            self.stream.write_all(frame::answer(&head)?.as_bytes())?;
            self.unread.drain(..end);
            self.open = true;
        }
        let mut replies = Vec::new();
        while let Some((reply, used)) = frame::reply(&self.unread)? {
            self.unread.drain(..used);
            replies.push(reply);
        }
        Ok(replies)
    }
}
