//! HTTP requests to one address whose answers are read as they come, spoken by hyper.
//!
//! Leaves the way there to [`super::connector`] and what an answer means to the caller. Invariants: a request has a
//! connection of its own, which ends with its answer; nothing is followed or repeated.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::connector::{ConnectError, Connector};
use super::http_client::{HttpLink, NoAnswer};

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No connection could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke, or what came is not HTTP.
    #[error("{0}")]
    Broken(String),
}

impl From<NoAnswer> for FetchError {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Tls(error) => Self::Connect(error.into()),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub status: StatusCode,
    body: Incoming,
    /// Ends the connection when dropped.
    _link: HttpLink,
}

impl Fetched {
    /// The next piece of the body; none at its end, or where the connection broke.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Ok(data) = self.body.frame().await?.ok()?.into_data() {
                return Some(data);
            }
        }
    }

    /// The beginning of the body as text.
    pub(crate) async fn text(mut self, most: usize) -> String {
        let mut text = Vec::new();
        while let Some(piece) = self.next().await {
            text.extend_from_slice(&piece[..piece.len().min(most - text.len())]);
            if text.len() == most {
                break;
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Sends a request to the connector's host and waits for the head of its answer.
///
/// # Errors
/// [`FetchError`].
pub(crate) async fn fetch(
    connector: &Connector,
    method: Method,
    path: &str,
    content_type: Option<&'static str>,
    body: Bytes,
) -> Result<Fetched, FetchError> {
    let (transport, proxy) = connector.open_for_http(connector.target()).await?;
    let mut link = HttpLink::open(transport, proxy).await?;
    let target = connector.target();
    let mut builder = link.request(method, target, path, &target.host_header());
    if let Some(content_type) = content_type {
        builder = builder.header(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(authorization) = connector.authorization() {
        builder = builder.header(header::AUTHORIZATION, authorization);
    }
    let request = builder.body(Full::new(body)).map_err(|error| FetchError::Broken(error.to_string()))?;
    let (head, body) = link.sender.send_request(request).await.map_err(NoAnswer::from)?.into_parts();
    Ok(Fetched { status: head.status, body, _link: link })
}
