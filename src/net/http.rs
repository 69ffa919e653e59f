//! A small HTTP/1.1 server on one byte stream: requests in, answers out (RFC 9110, RFC 9112), by hyper.
//!
//! Owns the limits on heads, bodies and time, keep-alive, bodies that stream, and an end that lets the peer read its
//! last answer. Leaves what is answered to the caller, which sees the types of `http` and the two bodies here.
//! Invariants: heads are bounded in size and time; no body is read that nobody asked for; a peer that neither reads
//! nor writes is let go ([`HttpTimeouts`]).

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::head::{Spellings, spell};
use super::http_client::cause;
use super::http_timeouts::{HttpTimeouts, Progress};
use super::transport::Transport;
use crate::message::clock::now;
use crate::message::counted::counted;

/// What is read and thrown away at the end, so that the peer gets to read our last answer, and for how long.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

type BoxedBody = Pin<Box<dyn hyper::body::Body<Data = Bytes, Error = io::Error>>>;

/// The body of an answer: in one piece, or as it comes.
pub(crate) struct Body(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Boxed(BoxedBody),
}

impl Body {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty())))
    }

    /// Piece by piece, until there is none.
    pub(crate) fn polled(mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + 'static) -> Self {
        let frames = futures_util::stream::poll_fn(move |cx| {
            next(cx).map(|piece| piece.map(|piece| Ok::<_, io::Error>(Frame::data(piece))))
        });
        Self(Kind::Boxed(Box::pin(StreamBody::new(frames))))
    }

    /// A body that another library made.
    pub(crate) fn wrap<B>(body: B) -> Self
    where
        B: hyper::body::Body<Data = Bytes, Error = io::Error> + 'static,
    {
        Self(Kind::Boxed(Box::pin(body)))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

/// The body of a request, not yet read.
pub(crate) struct RequestBody {
    incoming: Incoming,
    limit: Duration,
}

/// Why a request's body could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than {}", counted(*.0, "byte"))]
    TooLarge(usize),
    #[error("the body came too slowly")]
    TooSlow,
    /// It is broken, or the peer left.
    #[error("the body was truncated")]
    Broken,
}

impl RequestBody {
    /// Whether it says of itself that it is larger than `max` bytes.
    #[must_use]
    pub(crate) fn is_larger_than(&self, max: usize) -> bool {
        hyper::body::Body::size_hint(&self.incoming).lower() > max as u64
    }

    /// Reads all of it, up to `max` bytes.
    ///
    /// # Errors
    /// [`BodyError`].
    pub(crate) async fn read(mut self, max: usize) -> Result<Bytes, BodyError> {
        if self.is_larger_than(max) {
            return Err(BodyError::TooLarge(max));
        }
        let mut whole = Vec::new();
        let mut progress = Progress::new(now());
        loop {
            let deadline = progress.deadline(self.limit).into();
            let frame = tokio::time::timeout_at(deadline, self.incoming.frame()).await;
            let Some(frame) = frame.map_err(|_| BodyError::TooSlow)? else { return Ok(whole.into()) };
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            if data.len() > max - whole.len() {
                return Err(BodyError::TooLarge(max));
            }
            progress.on_moved(data.len(), now());
            whole.extend_from_slice(&data);
        }
    }
}

/// A byte stream after [`serve`].
pub(crate) struct Served {
    pub transport: Transport,
    /// What came after the last request.
    pub unread: Bytes,
    pub result: Result<(), HttpError>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// What came is not HTTP, or the peer left.
    #[error("{0}")]
    Broken(String),
    /// No request was whole in time.
    #[error("no complete request within the time limit")]
    NoRequest,
    /// The peer read its answer too slowly.
    #[error("the answer was read too slowly")]
    TooSlow,
}

/// Answers requests until the peer leaves, asks for an end or is too slow, or until an answer is 101: then the stream
/// is the caller's. Names of answers are written as a [`Spellings`] among their extensions says; those of requests can be
/// had by [`super::head::spelled`] where `settings` keep it.
pub(crate) async fn serve<F, A>(transport: Transport, timeouts: HttpTimeouts, settings: Builder, answer: F) -> Served
where
    F: Fn(Request<RequestBody>) -> A,
    A: Future<Output = Response<Body>>,
{
    let limit = timeouts.limit();
    let timeouts = Rc::new(RefCell::new(timeouts));
    let service = service_fn(|request: Request<Incoming>| {
        timeouts.borrow_mut().on_request();
        let answer = answer(request.map(|incoming| RequestBody { incoming, limit }));
        let timeouts = Rc::clone(&timeouts);
        Box::pin(async move {
            let mut answer = answer.await.map(|body| TimedBody { body, timeouts });
            let Spellings(own) = answer.extensions_mut().remove().unwrap_or_default();
            let spelling = spell(answer.headers(), &own).await;
            answer.extensions_mut().extend(spelling);
            Ok::<_, Infallible>(answer)
        })
    });
    let io = TokioIo::new(TimedStream { transport, timeouts: Rc::clone(&timeouts) });
    let mut connection = settings.serve_connection(io, service);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let result = std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
            return Poll::Ready(result.map_err(|error| HttpError::Broken(cause(&error))));
        }
        let timeouts = timeouts.borrow();
        let Some(deadline) = timeouts.deadline() else { return Poll::Pending };
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if timer.deadline() != deadline.into() {
            timer.as_mut().reset(deadline.into());
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(match (timeouts.is_blocked(), timeouts.has_answered()) {
            (true, _) => Err(HttpError::TooSlow),
            (false, true) => Ok(()),
            (false, false) => Err(HttpError::NoRequest),
        })
    })
    .await;
    let parts = connection.into_parts();
    Served { transport: parts.io.into_inner().transport, unread: Bytes::copy_from_slice(&parts.read_buf), result }
}

/// Ends a stream so that the peer gets to read what was last sent to it, even if it is still sending.
pub(crate) async fn linger(mut transport: Transport) {
    transport.linger(LINGER_BYTES, LINGER_TIME).await;
}

/// A body whose end is noted.
struct TimedBody {
    body: Body,
    timeouts: Rc<RefCell<HttpTimeouts>>,
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        // Not where the whole connection is dropped, which may be in the midst of a look at the time limits.
        if let Ok(mut timeouts) = self.timeouts.try_borrow_mut() {
            timeouts.on_answered(now());
        }
    }
}

impl hyper::body::Body for TimedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A byte stream whose progress is noted.
struct TimedStream {
    transport: Transport,
    timeouts: Rc<RefCell<HttpTimeouts>>,
}

impl TimedStream {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let mut timeouts = self.timeouts.borrow_mut();
        match &written {
            Poll::Ready(Ok(bytes)) => timeouts.on_written(*bytes, now()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => timeouts.on_blocked(now()),
        }
        written
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_read(cx, buf)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.transport).poll_flush(cx);
        match &flushed {
            Poll::Ready(_) => self.timeouts.borrow_mut().on_flushed(),
            Poll::Pending => self.timeouts.borrow_mut().on_blocked(now()),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::head;
    use super::*;
    use http::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    const LIMIT: Duration = Duration::from_secs(10);

    /// Lets a client talk to a server that answers `/large` with a megabyte, `/endless` without an end, and everything
    /// else with path and body; what the server ended with.
    async fn with_client<C: Future<Output = ()>>(client: impl FnOnce(DuplexStream) -> C) -> Result<(), HttpError> {
        let (ours, theirs) = tokio::io::duplex(4096);
        let server = async {
            let answer = |request: Request<RequestBody>| async move {
                let (head, body) = request.into_parts();
                match head.uri.path() {
                    "/large" => Response::new(Body::whole(vec![b'x'; 1 << 20])),
                    "/endless" => Response::new(Body::polled(|_| Poll::Ready(Some(Bytes::from_static(&[b'x'; 4096]))))),
                    path => match body.read(10).await {
                        Ok(body) => Response::new(Body::whole([path.as_bytes(), b":", &body, b";"].concat())),
                        Err(error) => {
                            let mut response = Response::new(Body::whole(error.to_string()));
                            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                            response
                        }
                    },
                }
            };
            let served =
                serve(Transport::Memory(ours), HttpTimeouts::new(LIMIT, now()), head::small_server(), answer).await;
            drop(served.transport);
            served.result
        };
        tokio::join!(server, client(theirs)).0
    }

    async fn read_until(stream: &mut DuplexStream, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            match stream.read_u8().await {
                Ok(byte) => text.push(char::from(byte)),
                Err(_) => return text,
            }
        }
        text
    }

    #[tokio::test(start_paused = true)]
    async fn requests_sent_together_are_answered_in_order_and_an_idle_connection_ends() {
        let mut took = Duration::ZERO;
        let result = with_client(async |mut client| {
            let posts = "POST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".repeat(2);
            client.write_all(format!("GET /1 HTTP/1.1\r\n\r\n{posts}").as_bytes()).await.expect("written");
            for end in ["/1:;", "/2:abc;", "/2:abc;"] {
                assert!(read_until(&mut client, end).await.starts_with("HTTP/1.1 200 OK\r\n"));
            }
            let idle = now();
            assert_eq!(read_until(&mut client, "\n").await, "", "nothing more");
            took = now() - idle;
        })
        .await;
        assert_eq!(result, Ok(()));
        assert!((LIMIT..2 * LIMIT).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_a_byte_a_second_is_given_up() {
        let result = with_client(async |mut client| {
            for byte in b"GET / HTTP/1.1\r\nX-Slow: yes\r\n\r\n" {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if client.write_u8(*byte).await.is_err() {
                    return;
                }
            }
            panic!("it was waited for");
        })
        .await;
        assert_eq!(result, Err(HttpError::NoRequest));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_and_time() {
        let ask = async |request: String| {
            let mut answer = String::new();
            let seen = &mut answer;
            let _ = with_client(async move |mut client| {
                let _ = client.write_all(request.as_bytes()).await;
                *seen = read_until(&mut client, "bytes").await;
            })
            .await;
            answer
        };
        let chunks = "6\r\nabcdef\r\n".repeat(1000);
        let chunked = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let declared = "POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n".to_owned();
        for request in [chunked, declared] {
            let answer = ask(request).await;
            assert!(answer.contains(" 413 ") && answer.ends_with("larger than 10 bytes"), "{answer}");
        }
        let started = now();
        let answer = ask("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab".to_owned()).await;
        assert!(answer.contains("too slowly"), "{answer}");
        assert!(now() - started < 3 * LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_download_is_not_cut_while_it_moves() {
        let result = with_client(async |mut client| {
            client.write_all(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n").await.expect("written");
            let mut total = 0;
            let mut piece = vec![0; 4096];
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                match client.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(bytes) => total += bytes,
                }
            }
            assert!(total > 1 << 20, "{total}");
        })
        .await;
        assert_eq!(result, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_read_a_byte_a_minute_is_cut() {
        for path in ["/large", "/endless"] {
            let result = with_client(async |mut client| {
                client.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.expect("written");
                for _ in 0..10 {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    let _ = client.read_u8().await;
                }
            })
            .await;
            assert_eq!(result, Err(HttpError::TooSlow), "{path}");
        }
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused_with_431() {
        let result = with_client(async |mut client| {
            let _ = client.write_all(b"GET / HTTP/1.1\r\n").await;
            let line = format!("X-Long: {}\r\n", "x".repeat(2000));
            for _ in 0..100 {
                if client.write_all(line.as_bytes()).await.is_err() {
                    break;
                }
            }
            assert!(read_until(&mut client, "\n").await.starts_with("HTTP/1.1 431 "));
        })
        .await;
        assert!(matches!(result, Err(HttpError::Broken(_))), "{result:?}");
    }
}
