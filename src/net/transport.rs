//! The byte stream below a WebSocket: one type, whatever it is made of.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::{ClientStream, ServerStream};

/// A byte stream to the peer.
#[derive(Debug)]
pub enum Transport {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// A server's side of TLS over any of the others.
    Tls(Box<ServerStream>),
    /// A client's side of TLS over any of the others.
    ClientTls(Box<ClientStream>),
    /// In memory, for tests.
    Memory(DuplexStream),
}

macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Transport::Tcp($stream) => $call,
            Transport::Unix($stream) => $call,
            Transport::Tls($stream) => {
                let $stream = &mut **$stream;
                $call
            }
            Transport::ClientTls($stream) => {
                let $stream = &mut **$stream;
                $call
            }
            Transport::Memory($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) | Self::ClientTls(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl Transport {
    /// Waits until the peer has said something or left.
    pub async fn readable(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
            _ => Ok(()),
        };
    }

    /// Ends our half and discards what still comes, up to so many bytes, until the peer has ended its own.
    pub async fn linger(&mut self, most: usize) {
        let mut scrap = [0_u8; 4096];
        let mut left = most;
        if self.shutdown().await.is_err() {
            return;
        }
        while left > 0
            && let Ok(read @ 1..) = self.read(&mut scrap).await
        {
            left = left.saturating_sub(read);
        }
    }

    /// Whom the client's certificate names, on the server's side.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        match self {
            Self::Tls(stream) => super::tls::subject(stream),
            _ => None,
        }
    }

    /// Facts about TLS and the server's certificates, a line each; none without TLS.
    #[must_use]
    pub fn describe_certificate(&self) -> Vec<String> {
        match self {
            Self::ClientTls(stream) => super::tls::describe(stream),
            _ => Vec::new(),
        }
    }
}
