//! The client's side of the upgrade (RFC 6455 section 4.1), spoken by hyper.
//!
//! Owns the request head, the checks on the answer and what is kept of a refusal. Invariants:
//! nothing of hyper is left once the upgrade is done; heads for display have their secrets redacted.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;

use super::content::readable;
use super::head::{self, SpelledName, spell, spelled};
use super::http_client::{NoAnswer, USER_AGENT};
use super::listener::accept_key;
use super::retry_after::retry_after;
use super::tls::TlsError;
use super::transport::Transport;
use crate::endpoint::WsTarget;
use crate::redact;

/// Most that is kept of a refusal's body.
const MAX_BODY: usize = 64 * 1024;
/// How long to wait for a refusal's body.
const BODY_TIME: Duration = Duration::from_secs(2);

/// One `-H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeaderEdit {
    /// Send it, in place of a default of the same name.
    Set(SpelledName, HeaderValue),
    /// Leave a default one out.
    Remove(HeaderName),
}

impl HeaderEdit {
    /// Whether it carries credentials, which stay with the host they were given for.
    #[must_use]
    pub(crate) fn is_secret(&self) -> bool {
        match self {
            Self::Set(name, _) => redact::is_secret_header(name.as_str()),
            Self::Remove(name) => redact::is_secret_header(name.as_str()),
        }
    }
}

/// Reads `Name: value`; `Name:` leaves a default header out, `Name;` sends it empty.
///
/// # Errors
/// A line that says what is wrong.
pub(crate) fn parse_header(text: &str) -> Result<HeaderEdit, String> {
    let name = |text: &str| SpelledName::parse(text.trim().as_bytes()).map_err(|_| "invalid header name".to_owned());
    if let Some((key, value)) = text.split_once(':') {
        let value = value.trim();
        if value.is_empty() {
            return Ok(HeaderEdit::Remove(HeaderName::clone(&*name(key)?)));
        }
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| "a header value has no control characters".to_owned())?;
        return Ok(HeaderEdit::Set(name(key)?, value));
    }
    match text.strip_suffix(';') {
        Some(key) => Ok(HeaderEdit::Set(name(key)?, HeaderValue::from_static(""))),
        None => Err("a colon is missing".to_owned()),
    }
}

#[derive(Debug, Clone)]
pub(crate) struct UpgradeRequest<'a> {
    pub target: &'a WsTarget,
    /// Headers of the user's own.
    pub headers: Vec<HeaderEdit>,
    /// Host header in place of the target's.
    pub host_override: Option<String>,
    pub origin: Option<String>,
    /// Subprotocols offered, in order of preference.
    pub subprotocols: Vec<String>,
    pub authorization: Option<HeaderValue>,
    pub cookies: Vec<String>,
    /// The extensions offered.
    pub extensions: Option<String>,
}

/// A byte stream that speaks WebSocket from here on.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub transport: Transport,
    /// Bytes that came after the answer's head.
    pub prefix: Bytes,
    /// The subprotocol the server chose.
    pub subprotocol: Option<String>,
    /// The values of Sec-WebSocket-Extensions.
    pub extensions: Vec<String>,
    pub headers: HeaderMap,
    /// How their names were spelled, for [`head::spelled`].
    pub spelling: Extensions,
    /// The request, secrets redacted.
    pub request_head: String,
    /// The answer, secrets redacted.
    pub response_head: String,
}

/// An answer other than 101.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The reason in the server's words, safe to show.
    pub reason: String,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// How their names were spelled, for [`head::spelled`].
    pub spelling: Extensions,
    /// The first bytes of the body.
    pub body: Bytes,
    /// Request and answer head for display, secrets redacted.
    pub head: String,
}

impl Refusal {
    /// How long the server asks to stay away.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, SystemTime::now())
    }

    /// Returns the first `most` bytes of the body as text, or what it is where it is none.
    #[must_use]
    pub fn text(&self, most: usize) -> String {
        readable(&self.headers, &self.body, most)
    }

    #[must_use]
    pub fn location(&self) -> Option<String> {
        self.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }
}

/// Why the byte stream does not speak WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// An HTTP answer other than 101.
    #[error("the server refused the upgrade: {}", .0.status)]
    Refused(Box<Refusal>),
    /// The answer is invalid.
    #[error("{0}")]
    Malformed(String),
    /// Missing, or not HTTP: as from a server that wants TLS.
    #[error("{0}")]
    NotHttp(&'static str),
    /// The server refused us in TLS, once we had asked.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The request cannot be written as asked for.
    #[error("cannot send the request: {0}")]
    Request(String),
}

/// Asks for the upgrade and checks the answer.
///
/// # Errors
/// [`UpgradeError`].
pub(crate) async fn upgrade(transport: Transport, request: &UpgradeRequest<'_>) -> Result<Upgraded, UpgradeError> {
    let mut nonce = [0_u8; 16];
    getrandom::fill(&mut nonce).map_err(|error| UpgradeError::Request(error.to_string()))?;
    let key = BASE64.encode(nonce);
    let mut http_request = build(request, &key).map_err(|error| UpgradeError::Request(error.to_string()))?;
    let spelling = spell(http_request.headers(), &spellings(request.headers.iter())).await;
    http_request.extensions_mut().extend(spelling);
    let request_head = request_head(&http_request).await;
    let (mut sender, connection) =
        head::client().handshake::<_, Empty<Bytes>>(TokioIo::new(transport)).await.map_err(NoAnswer::from)?;
    let mut connection = Box::pin(connection.without_shutdown());
    let mut answer = Box::pin(sender.send_request(http_request));
    // The connection must be driven while the answer is awaited; it ends by itself after a 101.
    let (response, parts) = tokio::select! {
        biased;
        response = &mut answer => (response.map_err(NoAnswer::from)?, None),
        parts = &mut connection => {
            (answer.await.map_err(NoAnswer::from)?, Some(parts))
        }
    };
    let response_head = response_head(&response).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // What came behind a refusal, or how the connection ended, is not what is asked about.
        let connection = parts.is_none().then_some(connection);
        return Err(UpgradeError::Refused(Box::new(
            refusal(response, connection, request_head + &response_head).await,
        )));
    }
    let (subprotocol, extensions) = check(response.headers(), &key, &request.subprotocols)?;
    let parts = match parts {
        Some(parts) => parts,
        None => connection.await,
    };
    let parts = parts.map_err(NoAnswer::from)?;
    Ok(Upgraded {
        transport: parts.io.into_inner(),
        prefix: Bytes::copy_from_slice(&parts.read_buf),
        subprotocol,
        extensions,
        headers: response.headers().clone(),
        spelling: response.extensions().clone(),
        request_head,
        response_head,
    })
}

async fn refusal<C: Future>(
    response: Response<Incoming>,
    mut connection: Option<std::pin::Pin<Box<C>>>,
    head: String,
) -> Refusal {
    let (status, reason) = (response.status(), reason(&response));
    let (parts, mut body) = response.into_parts();
    let mut kept = Vec::new();
    let reading = async {
        while kept.len() < MAX_BODY {
            let frame = match &mut connection {
                Some(driver) => tokio::select! {
                    biased;
                    frame = body.frame() => frame,
                    _ = driver.as_mut() => {
                        connection = None;
                        continue;
                    }
                },
                None => body.frame().await,
            };
            let Some(Ok(frame)) = frame else { return };
            if let Ok(data) = frame.into_data() {
                kept.extend_from_slice(&data[..data.len().min(MAX_BODY - kept.len())]);
            }
        }
    };
    let _ = tokio::time::timeout(BODY_TIME, reading).await;
    Refusal {
        status: status.as_u16(),
        reason,
        headers: parts.headers,
        spelling: parts.extensions,
        body: kept.into(),
        head,
    }
}

/// The reason in the peer's words, or in those of the status where it has none; safe to show.
pub(super) fn reason<B>(response: &Response<B>) -> String {
    match response.extensions().get::<ReasonPhrase>() {
        Some(reason) => String::from_utf8_lossy(reason.as_bytes()).trim().escape_debug().to_string(),
        None => response.status().canonical_reason().unwrap_or_default().to_owned(),
    }
}

impl From<NoAnswer> for UpgradeError {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Tls(error) => Self::Tls(error),
            NoAnswer::TooLarge => {
                Self::Malformed(format!("the answer to the upgrade is too large: {}", head::TOO_LARGE))
            }
            NoAnswer::NotHttp => Self::NotHttp("the answer to the upgrade is not valid HTTP"),
            NoAnswer::Closed => Self::NotHttp("the server closed the connection without answering the upgrade"),
            NoAnswer::Other(cause) => Self::Malformed(format!("no answer to the upgrade: {cause}")),
        }
    }
}

fn build(request: &UpgradeRequest<'_>, key: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let host = request.host_override.clone().unwrap_or_else(|| request.target.host_header());
    let mut builder = Request::builder()
        .uri(&request.target.path_and_query)
        .header(header::HOST, host)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(header::SEC_WEBSOCKET_KEY, key)
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::USER_AGENT, USER_AGENT);
    if let Some(origin) = &request.origin {
        builder = builder.header(header::ORIGIN, origin);
    }
    if !request.subprotocols.is_empty() {
        builder = builder.header(header::SEC_WEBSOCKET_PROTOCOL, request.subprotocols.join(", "));
    }
    if let Some(authorization) = &request.authorization {
        builder = builder.header(header::AUTHORIZATION, authorization);
    }
    if !request.cookies.is_empty() {
        builder = builder.header(header::COOKIE, request.cookies.join("; "));
    }
    if let Some(extensions) = &request.extensions {
        builder = builder.header(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
    }
    let mut built = builder.body(Empty::new())?;
    edit_headers(built.headers_mut(), request.headers.iter());
    Ok(built)
}

/// The names of edits, as they are to be written.
pub(super) fn spellings<'e>(edits: impl Iterator<Item = &'e HeaderEdit>) -> Vec<SpelledName> {
    let mut names: Vec<SpelledName> = Vec::new();
    for edit in edits {
        match edit {
            HeaderEdit::Set(name, _) => names.push(name.clone()),
            HeaderEdit::Remove(removed) => names.retain(|name| **name != *removed),
        }
    }
    names
}

/// Makes headers what the user wants them to be.
pub(super) fn edit_headers<'e>(headers: &mut HeaderMap, edits: impl Iterator<Item = &'e HeaderEdit>) {
    // The first of a name replaces a default, further ones of the same name are added.
    let mut seen: Vec<&HeaderName> = Vec::new();
    for edit in edits {
        match edit {
            HeaderEdit::Remove(name) => {
                headers.remove(name);
            }
            HeaderEdit::Set(name, value) if seen.contains(&&**name) => {
                headers.append(&**name, value.clone());
            }
            HeaderEdit::Set(name, value) => {
                headers.insert(&**name, value.clone());
                seen.push(name);
            }
        }
    }
}

async fn request_head<B>(request: &Request<B>) -> String {
    let headers = headers_text(request.headers(), request.extensions()).await;
    format!("GET {} HTTP/1.1\n{headers}", redact::target(&request.uri().to_string()))
}

async fn response_head<B>(response: &Response<B>) -> String {
    let (status, reason) = (response.status().as_u16(), reason(response));
    let headers = headers_text(response.headers(), response.extensions()).await;
    format!("{}\n{headers}", format!("HTTP/1.1 {status} {reason}").trim_end())
}

/// The headers of a message, one a line, as they are on the wire but for secrets.
pub(super) async fn headers_text(headers: &HeaderMap, extensions: &Extensions) -> String {
    let shown = |(name, value): (SpelledName, HeaderValue)| {
        format!("{name}: {}\n", redact::header_value(name.as_str(), &String::from_utf8_lossy(value.as_bytes())))
    };
    spelled(headers, extensions).await.into_iter().map(shown).collect()
}

type Chosen = (Option<String>, Vec<String>);

/// The checks of RFC 6455 section 4.1 on a 101.
fn check(headers: &HeaderMap, key: &str, offered: &[String]) -> Result<Chosen, UpgradeError> {
    let malformed = |text: &str| Err(UpgradeError::Malformed(text.to_owned()));
    let values = |name: &HeaderName| -> Vec<String> {
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let has_token = |name: &HeaderName, token: &str| {
        values(name).iter().flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    if !has_token(&header::UPGRADE, "websocket") || !has_token(&header::CONNECTION, "upgrade") {
        return malformed("the 101 answer lacks 'Upgrade: websocket' or 'Connection: Upgrade'");
    }
    let accept = values(&header::SEC_WEBSOCKET_ACCEPT);
    if accept.len() != 1 || accept[0].trim() != accept_key(key) {
        return malformed("the 101 answer has a missing or wrong Sec-WebSocket-Accept");
    }
    let subprotocols = values(&header::SEC_WEBSOCKET_PROTOCOL);
    let subprotocol = match subprotocols.as_slice() {
        [] => None,
        [one] if offered.contains(one) => Some(one.clone()),
        _ => return malformed("the server chose a subprotocol that was not offered"),
    };
    Ok((subprotocol, values(&header::SEC_WEBSOCKET_EXTENSIONS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Lets a server answer with what `answer` makes of the client's key.
    async fn ask(subprotocols: &[&str], answer: impl Fn(&str) -> String) -> Result<Upgraded, UpgradeError> {
        let target = WsTarget::parse("ws://h/x").expect("a target");
        let request = UpgradeRequest {
            target: &target,
            headers: vec![parse_header("User-Agent:").expect("an edit"), parse_header("X-A: 1").expect("an edit")],
            host_override: None,
            origin: None,
            subprotocols: subprotocols.iter().map(ToString::to_string).collect(),
            authorization: Some(HeaderValue::from_static("Bearer s3cret")),
            cookies: vec!["a=b".to_owned()],
            extensions: None,
        };
        let (ours, mut theirs) = tokio::io::duplex(65536);
        let server = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(theirs.read_u8().await.expect("a request head"));
            }
            let head = String::from_utf8(head).expect("text");
            assert!(!head.contains("User-Agent") && head.contains("X-A: 1"), "{head}");
            let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
            theirs.write_all(answer(key).as_bytes()).await.expect("written");
            drop(theirs);
        };
        tokio::join!(upgrade(Transport::Memory(ours), &request), server).0
    }

    fn good(key: &str, more: &str) -> String {
        let accept = accept_key(key);
        format!(
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \
             {accept}\r\n{more}\r\n"
        )
    }

    #[tokio::test]
    async fn keeps_what_came_with_the_answer_and_shows_no_secret() {
        let upgraded =
            ask(&["a"], |key| good(key, "Sec-WebSocket-Protocol: a\r\n") + "frames").await.expect("upgraded");
        assert_eq!(upgraded.prefix.as_ref(), b"frames");
        assert_eq!(upgraded.subprotocol.as_deref(), Some("a"));
        assert!(!upgraded.request_head.contains("s3cret") && upgraded.request_head.contains("[redacted]"));
    }

    #[tokio::test]
    async fn refuses_answers_that_are_not_valid() {
        let answers: [fn(&str) -> String; 5] = [
            |_| good("wrong", ""),
            |key| good(key, "Sec-WebSocket-Protocol: b\r\n"),
            |key| good(key, "").replace("Upgrade: websocket\r\n", ""),
            |_| "what is this\r\n\r\n".to_owned(),
            |_| String::new(),
        ];
        for (index, answer) in answers.into_iter().enumerate() {
            let result = ask(&["a"], answer).await;
            assert!(
                matches!(result, Err(UpgradeError::Malformed(_) | UpgradeError::NotHttp(_))),
                "{index}: {result:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_refusal_keeps_status_headers_and_body() {
        let answer = "HTTP/1.1 401 No\r\nX-Why: because\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let Err(UpgradeError::Refused(refusal)) = ask(&[], |_| answer.to_owned()).await else { panic!("refused") };
        assert_eq!((refusal.status, refusal.body.as_ref()), (401, b"hello".as_ref()));
        assert_eq!(refusal.headers["x-why"], "because");
    }

    #[test]
    fn reads_header_flags() {
        assert!(matches!(parse_header("A: b"), Ok(HeaderEdit::Set(..))));
        assert!(matches!(parse_header("A:"), Ok(HeaderEdit::Remove(_))));
        assert!(matches!(parse_header("A;"), Ok(HeaderEdit::Set(..))));
        for wrong in ["A", "a b: c", ": x", "A: b\r\nC: d"] {
            assert!(parse_header(wrong).is_err(), "{wrong}");
        }
    }
}
