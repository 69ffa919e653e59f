//! HTTP requests to one address whose answers are read as they come, spoken by hyper.
//!
//! Leaves the way there to [`super::connector`] and what an answer means to the caller. Invariants: a request has a
//! connection of its own, which ends with its answer; nothing is followed or repeated.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::connector::{ConnectError, Connector};
use super::head;
use super::proxy::Proxy;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No connection came about.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke, or what came is not HTTP.
    #[error("{0}")]
    Broken(String),
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The status code.
    pub status: StatusCode,
    body: Incoming,
    driver: JoinHandle<()>,
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

impl Drop for Fetched {
    fn drop(&mut self) {
        self.driver.abort();
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
    let broken = |error: &hyper::Error| FetchError::Broken(format!("no answer: {error}"));
    let (transport, proxy) = connector.open_for_http(connector.target()).await?;
    let (mut sender, connection) =
        head::client().handshake(TokioIo::new(transport)).await.map_err(|error| broken(&error))?;
    let driver = tokio::task::spawn_local(async move {
        // What goes wrong is told to whoever reads the answer.
        let _ = connection.await;
    });
    let host = connector.target().host_header();
    let uri = if proxy.is_some() { format!("http://{host}{path}") } else { path.to_owned() };
    let mut builder = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("wscat-plus/", env!("CARGO_PKG_VERSION")));
    if let Some(content_type) = content_type {
        builder = builder.header(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(authorization) = connector.authorization() {
        builder = builder.header(header::AUTHORIZATION, authorization);
    }
    if let Some(authorization) = proxy.and_then(Proxy::authorization) {
        builder = builder.header(header::PROXY_AUTHORIZATION, authorization);
    }
    let request = builder.body(Full::new(body)).map_err(|error| FetchError::Broken(error.to_string()))?;
    match sender.send_request(request).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            Ok(Fetched { status: head.status, body, driver })
        }
        Err(error) => {
            driver.abort();
            Err(broken(&error))
        }
    }
}
