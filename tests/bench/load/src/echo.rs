//! Clients of an echo server: a fixed number of messages in flight on every connection.
//!
//! Frames are built once and sent again and again; replies are followed frame by frame and counted.
//! Closed loop: a reply lets the next message go. The server's CPU time is read at both ends of the
//! measured time only, so warm-up and opening do not count.

use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::options::Options;
use crate::peer::{self, Peer, Plan};
use crate::{Outcome, frame, process};

/// Runs the load and prints what was measured.
pub fn run(options: &Options) -> Outcome<()> {
    let plan =
        Plan { port: options.must("port")?, connections: options.or("connections", 100)?, sources: 1, deflate: false };
    let size: usize = options.or("size", 20)?;
    let depth: usize = options.or("depth", 1)?;
    let warmup = Duration::from_secs_f64(options.or("warmup", 0.5)?);
    let time = Duration::from_secs_f64(options.or("seconds", 2.0)?);
    let pid: Option<u32> = options.maybe("pid")?;

    let mut message = Vec::new();
    frame::push(&mut message, frame::TEXT, &frame::json_text(size), true);
    let window = message.repeat(depth);
    let mut poll = Poll::new()?;
    let mut peers = peer::open(&mut poll, plan)?;
    for peer in &mut peers {
        peer.unsent.extend(&window);
        peer.write()?;
    }
    let mut load = Load { poll, peers, window, message_len: message.len(), size: size as u64, replies: 0 };
    load.run_for(warmup)?;

    let own = std::process::id();
    let server_us = |pid: Option<u32>| pid.map_or(Ok(0.0), process::cpu_us);
    let (start, replies) = (Instant::now(), load.replies);
    let (server, client) = (server_us(pid)?, process::cpu_us(own)?);
    load.run_for(time)?;
    let seconds = start.elapsed().as_secs_f64();
    let (server, client) = (server_us(pid)? - server, process::cpu_us(own)? - client);
    let messages = load.replies - replies;
    if messages == 0 {
        return Err("no reply came".into());
    }
    let each = |us: f64| us / messages as f64;
    println!(
        "{{\"messages\":{messages},\"seconds\":{seconds:.6},\"rate\":{:.0},\"server_us\":{:.4},\"own_us\":{:.4}}}",
        messages as f64 / seconds,
        each(server),
        each(client)
    );
    Ok(())
}

struct Load {
    poll: Poll,
    peers: Vec<Peer>,
    window: Vec<u8>,
    message_len: usize,
    size: u64,
    replies: u64,
}

impl Load {
    fn run_for(&mut self, time: Duration) -> Outcome<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.poll.poll(&mut events, Some(left))?;
            for event in &events {
                let peer = &mut self.peers[event.token().0];
                if event.is_readable() {
                    answer(peer, &mut buffer, self.size, &self.window, self.message_len, &mut self.replies)?;
                }
                if event.is_writable() && !peer.unsent.is_empty() {
                    peer.write()?;
                }
            }
        }
    }
}

/// Reads all there is and sends as many messages as came back.
fn answer(
    peer: &mut Peer,
    buffer: &mut [u8],
    size: u64,
    window: &[u8],
    message_len: usize,
    replies: &mut u64,
) -> Outcome<()> {
    let before = peer.replies.messages;
    // Readiness is edge-triggered: only a short or failed read says that the socket is empty.
    while let Some(len) = peer.read(buffer)? {
        peer.replies.follow(&buffer[..len], size)?;
        if len < buffer.len() {
            break;
        }
    }
    let fresh = usize::try_from(peer.replies.messages - before)?;
    if fresh > 0 {
        *replies += fresh as u64;
        peer.unsent.extend(&window[..fresh * message_len]);
        peer.write()?;
    }
    Ok(())
}
