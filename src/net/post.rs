//! HTTP POST (RFC 9110), spoken by hyper: one request at a time over a connection that is kept.
//!
//! Leaves the way there to [`super::connector`] and what an answer means to the caller. Invariants: a request whose
//! connection broke before its answer is repeated here only when that connection had been used before, and once;
//! credentials stay with the host they were given for; no answer is waited for beyond the time limit.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::connector::{ConnectError, Connector, is_same_place};
use super::content::readable;
use super::head::spell;
use super::http_client::{HttpLink, NoAnswer};
use super::retry_after::retry_after;
use super::upgrade::{edit_headers, spellings};
use crate::endpoint::WsTarget;
use crate::redact;

/// Most that is read of an answer's body, so that its connection can be kept.
const MAX_BODY: usize = 256 * 1024;
/// How long to wait for it.
const BODY_TIME: Duration = Duration::from_secs(5);
/// What of it is kept for the person who must act.
const KEPT: usize = 1024;

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: StatusCode,
    /// How long the server wants us to wait before the next try.
    pub retry_after: Option<Duration>,
    /// The beginning of its body as text, or what it is where it is none.
    pub body: String,
    /// As much of its body as was asked for, as it came.
    pub bytes: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    /// No connection could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke, or what came is not HTTP.
    #[error("{0}")]
    Broken(String),
    /// More redirects than allowed, or one that leads nowhere.
    #[error("redirect: {0}")]
    Redirect(String),
    /// The request cannot be written as asked for.
    #[error("cannot send the request: {0}")]
    Request(String),
}

impl From<NoAnswer> for PostError {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Tls(error) => Self::Connect(error.into()),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// Sends requests to one target.
pub(crate) struct Poster {
    connector: Connector,
    /// Where it has permanently moved to.
    moved: Option<WsTarget>,
    timeout: Duration,
    /// Most bytes of an answer's body that are kept.
    keeps: usize,
    kept: Option<Kept>,
}

/// A connection and where it leads.
struct Kept {
    target: WsTarget,
    link: HttpLink,
}

impl Poster {
    /// Nothing is opened yet. `timeout` is for each request, from the moment its connection is there.
    pub(crate) fn new(connector: Connector, timeout: Duration) -> Self {
        Self { connector, moved: None, timeout, keeps: KEPT, kept: None }
    }

    /// Keeps this many bytes of each answer's body.
    #[must_use]
    pub(crate) fn keeping(self, keeps: usize) -> Self {
        Self { keeps, ..self }
    }

    /// Sends a body and waits for the answer; follows redirects where that was asked for.
    ///
    /// # Errors
    /// [`PostError`].
    pub(crate) async fn post(&mut self, body: &Bytes, content_type: &'static str) -> Result<Answer, PostError> {
        let mut target = self.moved.clone().unwrap_or_else(|| self.connector.target().clone());
        let mut hops = 0;
        let mut is_permanent = true;
        loop {
            let (answer, location) = self.try_twice(&target, body, content_type).await?;
            // 303 says that the body was taken, and what came of it can be looked up elsewhere.
            let leads_on = matches!(answer.status.as_u16(), 301 | 302 | 307 | 308);
            let (Some(most), Some(location), true) = (self.connector.options().redirects, location, leads_on) else {
                return Ok(answer);
            };
            if hops >= most {
                return Err(PostError::Redirect(format!("more than {most} of them")));
            }
            hops += 1;
            is_permanent &= matches!(answer.status.as_u16(), 301 | 308);
            target = target.join(&location).map_err(|error| {
                PostError::Redirect(format!(
                    "cannot follow redirect to '{}': {error}",
                    redact::broken_url(&location).escape_debug()
                ))
            })?;
            if is_permanent {
                self.moved = Some(target.clone());
            }
        }
    }

    /// A connection that was kept may have been closed meanwhile: then a new one is tried at once.
    async fn try_twice(
        &mut self,
        target: &WsTarget,
        body: &Bytes,
        content_type: &'static str,
    ) -> Result<(Answer, Option<String>), PostError> {
        if let Some(kept) = self.kept.take_if(|kept| kept.target == *target && !kept.link.sender.is_closed()) {
            self.connector.identify_again().await?;
            match self.attempt(kept, body, content_type).await {
                Err(PostError::Broken(_)) => {}
                result => return result,
            }
        }
        self.kept = None;
        let (transport, proxy) = self.connector.open_for_http(target).await?;
        let kept = Kept { target: target.clone(), link: HttpLink::open(transport, proxy).await? };
        self.attempt(kept, body, content_type).await
    }

    async fn attempt(
        &mut self,
        mut kept: Kept,
        body: &Bytes,
        content_type: &'static str,
    ) -> Result<(Answer, Option<String>), PostError> {
        let mut request =
            self.request(&kept, body.clone(), content_type).map_err(|e| PostError::Request(e.to_string()))?;
        let own = spellings(self.connector.header_edits(true).iter());
        let spelling = spell(request.headers(), &own).await;
        request.extensions_mut().extend(spelling);
        let limit = self.timeout;
        let exchange = async {
            kept.link.sender.ready().await?;
            kept.link.sender.send_request(request).await
        };
        let response = match tokio::time::timeout(limit, exchange).await {
            Ok(response) => response.map_err(NoAnswer::from)?,
            Err(_) => return Err(PostError::Timeout(limit)),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let (kept_body, is_whole) = read_body(response, self.keeps).await;
        // Who was not let in reads its credentials anew before it comes again.
        if is_whole && status != StatusCode::UNAUTHORIZED {
            self.kept = Some(kept);
        }
        let retry_after = retry_after(&headers, SystemTime::now());
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = readable(&headers, &kept_body[..kept_body.len().min(KEPT)], KEPT);
        Ok((Answer { status, retry_after, body, bytes: kept_body }, location))
    }

    fn request(
        &self,
        kept: &Kept,
        body: Bytes,
        content_type: &'static str,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let options = self.connector.options();
        let target = &kept.target;
        let same_place = is_same_place(target, self.connector.target());
        let host = options.host.clone().filter(|_| same_place).unwrap_or_else(|| target.host_header());
        let link = &kept.link;
        let mut builder = link
            .request(Method::POST, target, &target.path_and_query, &host)
            .header(header::ACCEPT, "*/*")
            .header(header::CONTENT_TYPE, content_type)
            // An empty body has a length too.
            .header(header::CONTENT_LENGTH, body.len());
        if let Some(origin) = &options.origin {
            builder = builder.header(header::ORIGIN, origin);
        }
        if same_place && let Some(authorization) = self.connector.authorization() {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        if same_place && !options.cookies.is_empty() {
            builder = builder.header(header::COOKIE, options.cookies.join("; "));
        }
        let mut request = builder.body(Full::new(body))?;
        let headers: &mut HeaderMap = request.headers_mut();
        let edits = self.connector.header_edits(same_place);
        edit_headers(headers, edits.iter());
        Ok(request)
    }
}

/// The beginning of a body, and whether all of it was read.
async fn read_body(response: Response<Incoming>, keeps: usize) -> (Bytes, bool) {
    let mut body = response.into_body();
    let mut kept = Vec::new();
    let mut read = 0;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            if let Ok(data) = frame.into_data() {
                read += data.len();
                kept.extend_from_slice(&data[..data.len().min(keeps - kept.len())]);
            }
            if read > MAX_BODY.max(keeps) {
                return false;
            }
        }
        true
    };
    let is_whole = tokio::time::timeout(BODY_TIME, reading).await.unwrap_or(false);
    (kept.into(), is_whole)
}
