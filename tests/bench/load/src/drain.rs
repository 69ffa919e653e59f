//! A server that reads as fast as it can and counts: the other end of the replay benchmark.
//!
//! Follows frame headers and nothing else, answers the client's Close and ends the stream. One client; blocking on
//! purpose. Prints `{"port":N}` first and `{"messages":N}` last; a message that is not `--size` bytes is an error.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::options::Options;
use crate::{Outcome, flood, frame};

/// No client keeps this server longer than this without sending.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves one client, then ends.
pub fn run(options: &Options) -> Outcome<()> {
    let size: u64 = options.or("size", 200)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{{\"port\":{}}}", listener.local_addr()?.port());
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    flood::upgrade(&mut stream)?;
    let mut sent = frame::Replies::of_client();
    let mut block = vec![0; 256 * 1024];
    while !sent.closed {
        match stream.read(&mut block)? {
            0 => return Err("the client left without a Close".into()),
            len => sent.follow(&block[..len], size)?,
        }
    }
    let mut close = Vec::new();
    frame::push(&mut close, frame::CLOSE, &1000u16.to_be_bytes(), false);
    stream.write_all(&close)?;
    println!("{{\"messages\":{}}}", sent.messages);
    Ok(())
}
