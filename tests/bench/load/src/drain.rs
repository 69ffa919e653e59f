//! A server that reads as fast as it can and counts: the other end of the replay benchmark.
//!
//! Follows frame headers and nothing else, answers the client's Close and ends the stream. One client; blocking on
//! purpose. Prints `{"port":N}` first and `{"messages":N}` last, and with `--count N` in between `{"seconds":S}`: what lay
//! between the first message and that one. A message that is not `--size` bytes is an error.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::{Outcome, flood, frame};

/// No client keeps this server longer than this without sending.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves one client, then ends.
pub fn run(options: &Options) -> Outcome<()> {
    let (size, count): (u64, u64) = (options.or("size", 200)?, options.or("count", u64::MAX)?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{{\"port\":{}}}", listener.local_addr()?.port());
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    flood::upgrade(&mut stream)?;
    let mut sent = frame::Replies::of_client();
    let mut block = vec![0; 256 * 1024];
    let (mut began, mut is_told) = (None, false);
    while !sent.closed {
        match stream.read(&mut block)? {
            0 => return Err("the client left without a Close".into()),
            len => sent.follow(&block[..len], size)?,
        }
        if sent.messages > 0 {
            let began = *began.get_or_insert_with(Instant::now);
            if sent.messages >= count && !std::mem::replace(&mut is_told, true) {
                println!("{{\"seconds\":{}}}", began.elapsed().as_secs_f64());
            }
        }
    }
    let mut close = Vec::new();
    frame::push(&mut close, frame::CLOSE, &1000u16.to_be_bytes(), false);
    stream.write_all(&close)?;
    println!("{{\"messages\":{}}}", sent.messages);
    Ok(())
}
