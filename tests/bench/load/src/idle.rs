//! Connections that are opened, perhaps used once, and then held: what one costs a server.
//!
//! With `--message BYTES` every connection sends one message and reads its echo before the count;
//! with `--deflate` that message is compressed (a stored block) and the connection offers the
//! extension. The server's resident memory is read before the first connection and after all have
//! fallen idle.

use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::options::Options;
use crate::peer::{self, Peer, Plan};
use crate::{Outcome, frame, process};

/// Longest wait for the echo of all messages.
const PATIENCE: Duration = Duration::from_secs(45);
/// Messages larger than this are sent by a few connections at a time.
const LARGE: usize = 64 * 1024;
/// That many.
const FEW: usize = 8;

/// Opens, uses, holds and measures.
pub fn run(options: &Options) -> Outcome<()> {
    let plan = Plan {
        port: options.must("port")?,
        connections: options.or("connections", 5000)?,
        sources: options.or("sources", 1)?,
        deflate: options.has("deflate"),
    };
    let message: Option<usize> = options.maybe("message")?;
    let settle = Duration::from_secs_f64(options.or("settle", 2.0)?);
    let pid: Option<u32> = options.maybe("pid")?;
    let resident = || pid.map_or(Ok(0), process::resident_kib);

    let before = resident()?;
    let mut poll = Poll::new()?;
    let opening = Instant::now();
    let mut peers = peer::open(&mut poll, plan)?;
    let opened = peers.len() as f64 / opening.elapsed().as_secs_f64();
    if let Some(size) = message {
        use_once(&mut poll, &mut peers, size, plan.deflate)?;
    }
    hold(&mut poll, &mut peers, settle, message.unwrap_or_default())?;
    let after = resident()?;
    let compressed: u64 = peers.iter().map(|peer| peer.replies.compressed).sum();
    let each = (after as f64 - before as f64) / peers.len() as f64;
    println!(
        "{{\"connections\":{},\"before_kib\":{before},\"after_kib\":{after},\"each_kib\":{each:.3},\"compressed_replies\":{compressed},\"opened_per_second\":{opened:.0}}}",
        peers.len()
    );
    Ok(())
}

/// Sends one message on every connection and waits for its echo.
fn use_once(poll: &mut Poll, peers: &mut [Peer], size: usize, deflate: bool) -> Outcome<()> {
    let text = frame::json_text(size);
    let mut message = Vec::new();
    if deflate {
        frame::push(&mut message, frame::TEXT | frame::RSV1, &frame::stored(&text)?, true);
    } else {
        frame::push(&mut message, frame::TEXT, &text, true);
    }
    let batch = if size > LARGE { FEW } else { peers.len() };
    for from in (0..peers.len()).step_by(batch) {
        let to = peers.len().min(from + batch);
        for peer in &mut peers[from..to] {
            peer.unsent.extend(&message);
            peer.write()?;
        }
        let deadline = Instant::now() + PATIENCE;
        while peers[from..to].iter().any(|peer| peer.replies.messages == 0) {
            if Instant::now() > deadline {
                return Err("not every echo came back in time".into());
            }
            turn(poll, peers, Duration::from_secs(1), size)?;
        }
    }
    Ok(())
}

/// Stays until the time is over; pings are read and left unanswered.
fn hold(poll: &mut Poll, peers: &mut [Peer], time: Duration, size: usize) -> Outcome<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        turn(poll, peers, end.saturating_duration_since(Instant::now()), size)?;
    }
    Ok(())
}

fn turn(poll: &mut Poll, peers: &mut [Peer], time: Duration, size: usize) -> Outcome<()> {
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    poll.poll(&mut events, Some(time))?;
    for event in &events {
        let peer = &mut peers[event.token().0];
        if event.is_writable() && !peer.unsent.is_empty() {
            peer.write()?;
        }
        if event.is_readable() {
            while let Some(len) = peer.read(&mut buffer)? {
                peer.replies.follow(&buffer[..len], size as u64)?;
            }
        }
    }
    Ok(())
}
