//! Many client connections on one thread: opening them, and their sockets' readiness.
//!
//! Owns connecting and the upgrade, a batch at a time so that no listen backlog overflows. Leaves
//! frames to the jobs. Invariant: when [`open`] returns, every connection is upgraded and nothing
//! behind the answers has been lost.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Outcome, frame};

/// Connections that are being opened at the same time.
const BATCH: usize = 64;
/// Longest wait for a batch.
const PATIENCE: Duration = Duration::from_secs(20);

/// One client connection.
#[derive(Debug)]
pub struct Peer {
    /// Its socket.
    pub stream: TcpStream,
    /// What still has to be written.
    pub unsent: Vec<u8>,
    /// How much of it is written.
    pub sent: usize,
    /// The frames that came back.
    pub replies: frame::Replies,
    /// The head of the answer, until it is whole.
    head: Vec<u8>,
    open: bool,
}

impl Peer {
    /// Writes as much as the socket takes; true when nothing is left.
    pub fn write(&mut self) -> Outcome<bool> {
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Reads once; `None` when nothing is there.
    pub fn read(&mut self, buffer: &mut [u8]) -> Outcome<Option<usize>> {
        match self.stream.read(buffer) {
            Ok(0) => Err("the server closed a connection".into()),
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What all connections have in common.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The server's port on loopback.
    pub port: u16,
    /// How many connections.
    pub connections: usize,
    /// From how many addresses, 127.0.0.1 onward.
    pub sources: u8,
    /// Offer permessage-deflate, and insist on it.
    pub deflate: bool,
}

/// Opens all connections; they stay registered under their index.
pub fn open(poll: &mut Poll, plan: Plan) -> Outcome<Vec<Peer>> {
    let mut peers = Vec::with_capacity(plan.connections);
    let mut events = Events::with_capacity(1024);
    while peers.len() < plan.connections {
        let from = peers.len();
        for index in from..plan.connections.min(from + BATCH) {
            let mut peer = connect(index, plan)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut peer.stream, Token(index), interest)?;
            peers.push(peer);
        }
        let deadline = Instant::now() + PATIENCE;
        while peers[from..].iter().any(|peer| !peer.open) {
            poll.poll(&mut events, Some(Duration::from_secs(1)))?;
            if Instant::now() > deadline {
                return Err("the server did not upgrade in time".into());
            }
            for event in &events {
                // Those of earlier batches are quiet, or say what they say to the job.
                if let Some(peer) = peers.get_mut(event.token().0).filter(|peer| !peer.open) {
                    upgrade(peer, plan.deflate)?;
                }
            }
        }
    }
    Ok(peers)
}

fn connect(index: usize, plan: Plan) -> Outcome<Peer> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let sources = plan.sources.max(1);
    if sources > 1 {
        let last = 1 + u8::try_from(index % usize::from(sources))?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
    }
    let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, plan.port);
    match socket.connect(&SocketAddr::V4(server).into()) {
        Ok(()) => {}
        // EINPROGRESS has no kind of its own.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(115) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Peer {
        stream: TcpStream::from_std(socket.into()),
        unsent: frame::request(plan.port, plan.deflate),
        sent: 0,
        replies: frame::Replies::default(),
        head: Vec::new(),
        open: false,
    })
}

fn upgrade(peer: &mut Peer, deflate: bool) -> Outcome<()> {
    if let Some(error) = peer.stream.take_error()? {
        return Err(error.into());
    }
    if peer.stream.peer_addr().is_err() || !peer.write()? {
        return Ok(());
    }
    let mut buffer = [0; 2048];
    while let Some(len) = peer.read(&mut buffer)? {
        peer.head.extend(&buffer[..len]);
        if let Some(end) = frame::head_end(&peer.head) {
            let head = String::from_utf8_lossy(&peer.head[..end]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 101") {
                return Err(format!("refused: {}", head.lines().next().unwrap_or_default()).into());
            }
            if deflate != head.contains("permessage-deflate") {
                return Err("the server's answer about permessage-deflate is not what was asked for".into());
            }
            if peer.head.len() > end {
                return Err("the server spoke before it was spoken to".into());
            }
            peer.head = Vec::new();
            peer.open = true;
            return Ok(());
        }
    }
    Ok(())
}
