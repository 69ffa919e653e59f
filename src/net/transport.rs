//! The byte stream below a WebSocket: one type, whatever it is made of.
//!
//! Invariant: TLS is ended with a `close_notify`, whichever way its stream is let go.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[cfg(test)]
use tokio::io::DuplexStream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::{ClientStream, ServerStream};

/// A byte stream to the peer.
pub(crate) enum Transport {
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// A server's side of TLS over any of the others.
    Tls(Secure<ServerStream>),
    /// A client's side of TLS over any of the others.
    ClientTls(Secure<ClientStream>),
    #[cfg(test)]
    Memory(DuplexStream),
}

/// TLS that ends in order: without a `close_notify` the peer cannot tell an end from a cut (RFC 8446 section 6.1), and a
/// session is not to be resumed (RFC 5246 section 7.2.1).
pub(crate) struct Secure<S: AsyncWrite + Unpin>(Box<S>);

impl<S: AsyncWrite + Unpin> Secure<S> {
    /// Takes over a stream whose handshake is done.
    pub(crate) fn new(stream: Box<S>) -> Self {
        Self(stream)
    }
}

impl<S: AsyncWrite + Unpin> Deref for Secure<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

impl<S: AsyncWrite + Unpin> DerefMut for Secure<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.0
    }
}

impl<S: AsyncWrite + Unpin> Drop for Secure<S> {
    fn drop(&mut self) {
        // As far as that goes at once: a full socket takes no more.
        let _ = Pin::new(&mut *self.0).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Unix(_) => "Unix",
            Self::Tls(_) => "Tls",
            Self::ClientTls(_) => "ClientTls",
            #[cfg(test)]
            Self::Memory(_) => "Memory",
        })
    }
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
            #[cfg(test)]
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
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::ClientTls(stream) => stream.is_write_vectored(),
            #[cfg(test)]
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
    /// Writes what is taken at once; `WouldBlock` when nothing is. Code that needs the rest written polls.
    ///
    /// # Errors
    /// What the byte stream says.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            other => {
                let cx = &mut Context::from_waker(Waker::noop());
                match Pin::new(&mut *other).poll_write(cx, bytes) {
                    Poll::Ready(result) => {
                        let _ = Pin::new(other).poll_flush(cx);
                        result
                    }
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// Makes dropping a TCP connection reset it, so that its ports are free at once.
    pub(crate) fn reset_on_drop(&self) {
        if let Self::Tcp(stream) = self {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Waits until the peer has said something or left.
    pub(crate) async fn readable(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
            _ => Ok(()),
        };
    }

    /// Ends our half and discards what still comes, up to `most` bytes and for at most `limit`, until the peer has ended
    /// its own: a stream dropped before would be reset, and the peer might lose what was last sent to it.
    pub(crate) async fn linger(&mut self, most: usize, limit: Duration) {
        let discard = async {
            let _ = self.shutdown().await;
            let mut scrap = vec![0; 16 * 1024];
            let mut left = most;
            while left > 0
                && let Ok(read @ 1..) = self.read(&mut scrap).await
            {
                left = left.saturating_sub(read);
            }
        };
        let _ = tokio::time::timeout(limit, discard).await;
    }

    /// Whom the client's certificate names, on the server's side.
    #[must_use]
    pub(crate) fn subject(&self) -> Option<String> {
        match self {
            Self::Tls(stream) => super::tls::subject(stream),
            _ => None,
        }
    }

    /// Facts about TLS and the server's certificates, a line each; none without TLS.
    #[must_use]
    pub(crate) fn describe_certificate(&self) -> Vec<String> {
        match self {
            Self::ClientTls(stream) => super::tls::describe(stream),
            _ => Vec::new(),
        }
    }

    /// Whether the server took up an earlier TLS session.
    #[must_use]
    pub(crate) fn is_resumed(&self) -> bool {
        matches!(self, Self::ClientTls(stream) if super::tls::is_resumed(stream))
    }
}
