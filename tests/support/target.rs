//! A server for load tests that answers as the test says: late, twice, changed, to others, or not at all.
//!
//! Owns a port, and two threads for each connection: one reads frames, one writes answers when they are due. What is
//! answered is a function of the message; everything it says is counted, so that a test knows what it must be told.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::wire::{Frame, Opcode, Socket, accept_for, header};

/// A message that has come.
pub struct Asked {
    /// Its number among all messages, from 0.
    pub number: u64,
    pub frame: Frame,
}

/// Whom an answer is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum To {
    Sender,
    Others,
    All,
}

/// What is sent, to whom and how much later.
pub struct Answer {
    pub to: To,
    pub delay: Duration,
    pub frame: Frame,
}

impl Answer {
    pub fn now(frame: Frame) -> Self {
        Self { to: To::Sender, delay: Duration::ZERO, frame }
    }

    pub fn late(frame: Frame, delay: Duration) -> Self {
        Self { to: To::Sender, delay, frame }
    }

    pub fn to(self, to: To) -> Self {
        Self { to, ..self }
    }
}

/// The message as it came, from the server.
pub fn same(asked: &Asked) -> Frame {
    Frame { masked: false, ..asked.frame.clone() }
}

type Behaviour = Arc<dyn Fn(&Asked) -> Vec<Answer> + Send + Sync>;
/// An answer that waits: its time, its number among those of one time, its bytes.
type Waiting = (Reverse<(Instant, u64)>, Vec<u8>);
type Lines = Arc<Mutex<Vec<Sender<(Instant, Vec<u8>)>>>>;

/// A running server. Its threads end with the test program.
pub struct Target {
    pub url: String,
    messages: Arc<AtomicU64>,
}

impl Target {
    /// Answers with what `behaviour` yields.
    pub fn new(behaviour: impl Fn(&Asked) -> Vec<Answer> + Send + Sync + 'static) -> Self {
        Self::greeting(Vec::new(), behaviour)
    }

    /// The same, saying these first on each connection.
    pub fn greeting(first: Vec<Frame>, behaviour: impl Fn(&Asked) -> Vec<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binding a port");
        let port = listener.local_addr().expect("its address").port();
        let messages = Arc::new(AtomicU64::new(0));
        let target = Self { url: format!("ws://127.0.0.1:{port}/"), messages: Arc::clone(&messages) };
        let behaviour: Behaviour = Arc::new(behaviour);
        let lines: Lines = Arc::default();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let (line, due) = channel();
                lines.lock().expect("lines").push(line.clone());
                let (behaviour, lines, messages) = (Arc::clone(&behaviour), Arc::clone(&lines), Arc::clone(&messages));
                let first = first.clone();
                std::thread::spawn(move || serve(stream, number, &first, due, &line, &behaviour, &lines, &messages));
            }
        });
        target
    }

    /// Messages that have come so far.
    pub fn asked(&self) -> u64 {
        self.messages.load(Ordering::SeqCst)
    }
}

#[allow(clippy::too_many_arguments)] // What a connection's thread is given.
fn serve(
    stream: TcpStream,
    number: usize,
    first: &[Frame],
    due: Receiver<(Instant, Vec<u8>)>,
    line: &Sender<(Instant, Vec<u8>)>,
    behaviour: &Behaviour,
    lines: &Lines,
    messages: &AtomicU64,
) {
    let mut socket = Socket::new(stream.try_clone().expect("a second handle"), false);
    let head = socket.read_head();
    let Some(key) = header(&head, "sec-websocket-key") else { return };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept_for(key)
    );
    let mut bytes = answer.into_bytes();
    bytes.extend(first.iter().flat_map(Frame::bytes));
    socket.write(bytes);
    std::thread::spawn(move || write_when_due(stream, &due));
    while let Some(frame) = socket.read_frame() {
        let now = Instant::now();
        if frame.is(Opcode::Close) {
            let _ = line.send((now, Frame { masked: false, ..frame }.bytes()));
            let _ = line.send((now, Vec::new()));
            return;
        }
        if frame.is(Opcode::Ping) {
            let _ = line.send((now, Frame::new(Opcode::Pong, frame.payload).bytes()));
            continue;
        }
        let asked = Asked { number: messages.fetch_add(1, Ordering::SeqCst), frame };
        for Answer { to, delay, frame } in behaviour(&asked) {
            let bytes = frame.bytes();
            let all = lines.lock().expect("lines");
            for (index, other) in all.iter().enumerate() {
                let meant = match to {
                    To::Sender => index == number,
                    To::Others => index != number,
                    To::All => true,
                };
                if meant {
                    // One that has gone gets nothing.
                    let _ = other.send((now + delay, bytes.clone()));
                }
            }
        }
    }
}

/// Writes each answer at its time, those of one time in order; an empty one ends the connection.
fn write_when_due(stream: TcpStream, answers: &Receiver<(Instant, Vec<u8>)>) {
    let mut socket = Socket::new(stream, false);
    let mut waiting: BinaryHeap<Waiting> = BinaryHeap::new();
    for order in 0.. {
        let wait = waiting.peek().map(|(Reverse((due, _)), _)| due.saturating_duration_since(Instant::now()));
        let next = match wait {
            Some(wait) => answers.recv_timeout(wait),
            None => answers.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok((due, bytes)) => waiting.push((Reverse((due, order)), bytes)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        while waiting.peek().is_some_and(|(Reverse((due, _)), _)| *due <= now) {
            let Some((_, bytes)) = waiting.pop() else { return };
            if bytes.is_empty() {
                socket.half_close();
                return;
            }
            if !socket.try_write(bytes) {
                return;
            }
        }
    }
}
