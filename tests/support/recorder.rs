//! A WebSocket server that writes down what each connection sends, and that outlives whoever is connected.
//!
//! Connections are served one after the other, in the order they come. What fails in its thread fails the test that waits.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::DEADLINE;
use super::fake::next;
use super::wire::{Frame, Opcode};

/// What a connection sent, and whether it is gone.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub texts: Vec<String>,
    pub has_ended: bool,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Heard>>,
    changed: Condvar,
    is_over: AtomicBool,
}

/// The server.
pub struct Recorder {
    pub url: String,
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binding a port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(&listener, &writer));
        Self { url: format!("ws://127.0.0.1:{port}/"), port, shared, thread: Some(thread) }
    }

    /// Waits until `found` yields something of what was heard, connection by connection.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, found: impl Fn(&[Heard]) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut heard = self.shared.heard.lock().expect("what was heard");
        loop {
            if let Some(found) = found(&heard) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}; connections: {}, last: {:?}", heard.len(), heard.last());
            heard = self.shared.changed.wait_timeout(heard, left).expect("what was heard").0;
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, shared: &Shared) {
    loop {
        let request = next(listener);
        // The last one is its owner's word that it is over.
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        // Who was killed may not have asked for anything yet.
        if request.header("sec-websocket-key").is_none() {
            continue;
        }
        let mut socket = request.accept();
        let tell = |change: &dyn Fn(&mut Vec<Heard>)| {
            change(&mut shared.heard.lock().expect("what was heard"));
            shared.changed.notify_all();
        };
        tell(&|heard| heard.push(Heard::default()));
        while let Some(frame) = socket.read_frame() {
            if frame.is(Opcode::Close) {
                socket.try_write(Frame::close(frame.close_code(), "").bytes());
            } else if frame.is(Opcode::Text) {
                let text = frame.as_text();
                tell(&|heard| heard.last_mut().expect("a connection").texts.push(text.clone()));
            }
        }
        tell(&|heard| heard.last_mut().expect("a connection").has_ended = true);
    }
}
