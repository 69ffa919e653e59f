//! A server that sends as fast as it is read from: the other end of the receive benchmark.
//!
//! Sends messages in blocks of about 53 KB, then Close, waits for the client's Close and ends the
//! stream. Blocking on purpose: one client at a time, nothing else to do. Prints `{"port":N}` first.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::{Outcome, frame, process};

/// What a busy server's socket buffer hands over at a time.
const BLOCK: usize = 53 * 1024;
/// No client keeps this server longer than this without reading.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves `--rounds` clients, then ends.
pub fn run(options: &Options) -> Outcome<()> {
    let count: usize = options.or("count", 1_000_000)?;
    let size: usize = options.or("size", 200)?;
    let rounds: usize = options.or("rounds", 1)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{{\"port\":{}}}", listener.local_addr()?.port());

    let mut message = Vec::new();
    frame::push(&mut message, frame::TEXT, &frame::json_text(size), false);
    let per_block = (BLOCK / message.len()).max(1);
    let block = message.repeat(per_block);
    for _ in 0..rounds {
        let (stream, _) = listener.accept()?;
        serve(stream, count, &block, message.len())?;
    }
    Ok(())
}

fn serve(mut stream: TcpStream, count: usize, block: &[u8], message_len: usize) -> Outcome<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    upgrade(&mut stream)?;
    let own = std::process::id();
    let (start, cpu) = (Instant::now(), process::cpu_us(own)?);
    let mut bytes_left = count * message_len;
    while bytes_left > 0 {
        let len = bytes_left.min(block.len());
        stream.write_all(&block[..len])?;
        bytes_left -= len;
    }
    let mut close = Vec::new();
    frame::push(&mut close, frame::CLOSE, &1000u16.to_be_bytes(), false);
    stream.write_all(&close)?;
    // Its Close, after which it is the server that ends the stream (RFC 6455 section 7.1.1).
    let _ = stream.read(&mut [0; 128]);
    drop(stream);
    let seconds = start.elapsed().as_secs_f64();
    let own_us = (process::cpu_us(own)? - cpu) / count as f64;
    println!("{{\"messages\":{count},\"seconds\":{seconds:.6},\"own_us\":{own_us:.4}}}");
    Ok(())
}

/// Reads a request and answers it. A client that speaks before it has the answer is not one of ours.
pub fn upgrade(stream: &mut TcpStream) -> Outcome<()> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while frame::head_end(&head).is_none() {
        match stream.read(&mut piece)? {
            0 => return Err("the client left during the upgrade".into()),
            len => head.extend(&piece[..len]),
        }
    }
    Ok(stream.write_all(frame::answer(&String::from_utf8_lossy(&head))?.as_bytes())?)
}
