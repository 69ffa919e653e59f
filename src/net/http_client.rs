//! What every HTTP request of ours has in common, spoken by hyper.
//!
//! Owns the name we give ourselves, the connection a request goes out on, and why there is no answer. Leaves the way
//! there to [`super::connector`], and what is asked for to each user.

use std::io;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, request};
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::head;
use super::proxy::Proxy;
use super::tls::TlsError;
use super::transport::Transport;
use crate::endpoint::WsTarget;
use crate::message::io_text::io_text;

/// The value of `User-Agent`.
pub(super) const USER_AGENT: &str = concat!("wscat-plus/", env!("CARGO_PKG_VERSION"));

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The server refused us once TLS was up, as it does for want of a certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The head of the answer is too large.
    #[error("the answer is too large: {}", head::TOO_LARGE)]
    TooLarge,
    #[error("the answer is not valid HTTP")]
    NotHttp,
    /// The connection ended first.
    #[error("the connection was closed without an answer")]
    Closed,
    /// Anything else, as the system says it.
    #[error("no answer: {0}")]
    Other(String),
}

impl From<hyper::Error> for NoAnswer {
    fn from(error: hyper::Error) -> Self {
        // A request that was not yet on its way counts as cancelled, whatever the reason was.
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        if let Some(alert) = causes.map(ToString::to_string).find_map(|text| TlsError::of_alert(&text)) {
            Self::Tls(alert)
        } else if error.is_parse_too_large() {
            Self::TooLarge
        } else if error.is_parse() {
            Self::NotHttp
        } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            Self::Closed
        } else {
            Self::Other(cause(&error))
        }
    }
}

/// Returns what lies behind an error of hyper, in the words of the system where it is the system's.
pub(super) fn cause(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error);
    match source.and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => io_text(source),
        None => source.map_or_else(|| error.to_string(), ToString::to_string),
    }
}

/// A connection for requests, which ends when dropped.
#[derive(Debug)]
pub(super) struct HttpLink {
    /// Takes the requests.
    pub sender: SendRequest<Full<Bytes>>,
    /// Whether a proxy passes the requests on.
    is_proxied: bool,
    proxy_authorization: Option<HeaderValue>,
    driver: JoinHandle<()>,
}

impl Drop for HttpLink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl HttpLink {
    /// Speaks HTTP on a byte stream, which leads to `proxy` where there is one.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(super) async fn open(transport: Transport, proxy: Option<&Proxy>) -> Result<Self, NoAnswer> {
        let (sender, connection) = head::client().handshake(TokioIo::new(transport)).await?;
        let driver = tokio::task::spawn_local(async move {
            // What goes wrong is told to the code that waits for the answer.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            is_proxied: proxy.is_some(),
            proxy_authorization: proxy.and_then(Proxy::authorization),
            driver,
        })
    }

    /// Begins a request for a path: its line, `Host`, `User-Agent` and what the proxy must be told.
    pub(super) fn request(&self, method: Method, target: &WsTarget, path: &str, host: &str) -> request::Builder {
        let uri = if self.is_proxied { format!("http://{}{path}", target.host_header()) } else { path.to_owned() };
        let builder = request::Builder::new()
            .method(method)
            .uri(uri)
            .header(header::HOST, host)
            .header(header::USER_AGENT, USER_AGENT);
        match &self.proxy_authorization {
            None => builder,
            Some(authorization) => builder.header(header::PROXY_AUTHORIZATION, authorization),
        }
    }
}
