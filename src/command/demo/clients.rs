//! The clients of the demo: one that reads all, one that reads slowly, one that comes and goes, one that sends.
//!
//! Each has a socket of its own, as if it were another program. Invariant: they end with the server.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout_at};

use crate::endpoint::WsTarget;
use crate::message::Message;
use crate::net::connection::{Connection, ConnectionSettings, MessageLimits};
use crate::net::deflate::Role;
use crate::net::transport::Transport;
use crate::net::upgrade::{UpgradeRequest, upgrade};

/// Between two messages that the slow one reads.
const SLOW: Duration = Duration::from_millis(300);
/// Buffers of the slow one: small ones, so that what it does not read waits with the server.
const SMALL: usize = 4096;
/// Segments of the slow one, for the same reason.
const SEGMENT: u32 = 536;
/// Between two messages of the one that sends.
const SENDING: Duration = Duration::from_millis(700);

/// Starts all of them.
pub(super) fn start(address: SocketAddr, seed: u64) {
    spawn_local(async move {
        let Some(mut all) = open(address, "/steady", false).await else { return };
        while receive(&mut all).await {}
    });
    spawn_local(async move {
        let Some(mut slow) = open(address, "/slow", true).await else { return };
        while receive(&mut slow).await {
            sleep(SLOW).await;
        }
    });
    spawn_local(come_and_go(address, Rng::with_seed(seed)));
    spawn_local(talk(address));
}

/// Reads for some seconds, is gone for some, and again.
async fn come_and_go(address: SocketAddr, mut random: Rng) {
    while let Some(mut connection) = open(address, "/comes-and-goes", false).await {
        let until = Instant::now() + Duration::from_secs(random.u64(4..12));
        while let Ok(true) = timeout_at(until, receive(&mut connection)).await {}
        // It goes without a word.
        drop(connection);
        sleep(Duration::from_secs(random.u64(2..5))).await;
    }
}

/// Says something now and then, and reads meanwhile.
async fn talk(address: SocketAddr) {
    let Some(mut connection) = open(address, "/talks", false).await else { return };
    for number in 1_u64.. {
        let until = Instant::now() + SENDING;
        loop {
            match timeout_at(until, receive(&mut connection)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => break,
            }
        }
        let message = Message::text(format!(r#"{{"type":"order","number":{number},"text":"hello from a client"}}"#));
        let sent = async {
            poll_fn(|cx| connection.poll_ready(cx)).await?;
            connection.start_send(message)?;
            poll_fn(|cx| connection.poll_flush(cx)).await
        };
        if sent.await.is_err() {
            return;
        }
    }
}

/// The next message; false at the end.
async fn receive(connection: &mut Connection) -> bool {
    let received = poll_fn(|cx| connection.poll_receive(cx)).await;
    // What was received may have been a ping, whose answer waits to be written.
    let flushed = poll_fn(|cx| connection.poll_flush(cx)).await;
    matches!(received, Ok(Some(_))) && flushed.is_ok()
}

fn socket(address: SocketAddr, small: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if small {
        socket.set_recv_buffer_size(SMALL)?;
        // Not every system lets it be set.
        let _ = socket.set_tcp_mss(SEGMENT);
    }
    // On loopback this takes no time: the server listens already.
    socket.connect(&address.into())?;
    socket.set_nonblocking(true)?;
    TcpStream::from_std(socket.into())
}

async fn open(address: SocketAddr, path: &str, small: bool) -> Option<Connection> {
    let stream = socket(address, small).ok()?;
    let target = WsTarget::parse(&format!("ws://{address}{path}")).ok()?;
    let request = UpgradeRequest {
        target: &target,
        headers: Vec::new(),
        host_override: None,
        origin: None,
        subprotocols: Vec::new(),
        authorization: None,
        cookies: Vec::new(),
        extensions: None,
    };
    let upgraded = upgrade(Transport::Tcp(stream), &request).await.ok()?;
    let settings =
        ConnectionSettings { role: Role::Client, limits: MessageLimits::both(1 << 20), no_pong: false, deflate: None };
    Some(Connection::new(upgraded.transport, &upgraded.prefix, &settings))
}
