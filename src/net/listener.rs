//! The listening side: sockets, and the upgrade (RFC 6455 section 4.2).
//!
//! Owns the checks on a request and the answers to those that are not WebSocket upgrades. Leaves binding to `socket`, to
//! the caller which sessions may join ([`UpgradeSettings::admit`]) and what plain requests get
//! ([`UpgradeSettings::site`]), and HTTP itself to `http`. Invariant: TLS and request head are whole within the
//! handshake time limit, or the socket closes.

mod socket;

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::future::Either;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use sha1::{Digest, Sha1};

pub(crate) use self::socket::{Listener, PeerAddr};
use super::deflate::{Agreed, DeflateOffer, accept};
use super::head::{self, SpelledName, Spellings};
use super::http::{self as server, Body, HttpError, RequestBody};
use super::http_timeouts::HttpTimeouts;
use super::origin::Origins;
use super::tls::ServerTls;
use super::transport::Transport;

/// A refusal: a status and a line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refuse {
    pub status: StatusCode,
    /// The status text; also the body, with a newline, unless that is given.
    pub text: String,
    /// A hint for the operator of the server; it follows the text in the body.
    pub hint: Option<&'static str>,
    pub headers: Vec<(SpelledName, HeaderValue)>,
    pub body: Option<Bytes>,
}

impl Refuse {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), hint: None, headers: Vec::new(), body: None }
    }

    /// With one more header.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name.into(), value));
        self
    }
}

/// What a session holds for as long as it lives, such as its place among others.
pub(crate) type Pass = Option<Box<dyn std::any::Any>>;

/// Decides, after every other check, whether a session may join: called with the request's head, into whose extensions it may
/// put what it learned, and the peer's address.
pub(crate) type Admit = dyn Fn(&mut Parts, PeerAddr) -> Result<Pass, Refuse>;

/// Answers requests that are not upgrades.
pub(crate) type Site = dyn Fn(Request<RequestBody>, PeerAddr) -> Pin<Box<dyn Future<Output = Response<Body>>>>;

/// Called for each refused request.
pub(crate) type OnRefused = dyn Fn(PeerAddr, &Refuse);

/// What stands behind a session that is admitted: what it agreed to, which the answer to the client repeats.
pub(crate) struct Bridged {
    /// The subprotocol agreed on.
    pub subprotocol: Option<String>,
    /// permessage-deflate, when it may be used.
    pub deflate: Option<DeflateOffer>,
    /// Headers added to the answer.
    pub headers: Vec<(SpelledName, HeaderValue)>,
    /// For the code that takes the session over.
    pub far: Box<dyn Any>,
}

/// Goes to what stands behind a request that was admitted, before it is answered.
pub(crate) type Bridge = dyn Fn(&Parts, PeerAddr) -> Pin<Box<dyn Future<Output = Result<Bridged, Refuse>>>>;

/// What an upgrade must look like and what is answered.
pub(crate) struct UpgradeSettings {
    /// Paths served; empty serves every path.
    pub paths: Vec<String>,
    /// Pages let in. No browser leaves the header out, so a request without it comes from elsewhere and is admitted.
    pub origins: Origins,
    /// Subprotocols, in order of preference.
    pub subprotocols: Vec<String>,
    /// Headers added to the answer.
    pub headers: Vec<(SpelledName, HeaderValue)>,
    /// permessage-deflate, when it may be used.
    pub deflate: Option<DeflateOffer>,
    /// Time for TLS and the request head together; for each further request head; and for each piece of an answer.
    pub handshake_timeout: Duration,
    /// The last word on who may join.
    pub admit: Box<Admit>,
    /// What answers requests that are not upgrades; without it they get 426. Where paths are named, those speak
    /// WebSocket only.
    pub site: Option<Box<Site>>,
    pub on_refused: Box<OnRefused>,
    /// What decides after all others, and in place of `subprotocols` and `deflate`.
    pub bridge: Option<Rc<Bridge>>,
}

/// An upgraded byte stream and what was agreed.
pub(crate) struct Accepted {
    /// The stream, TLS included.
    pub transport: Transport,
    /// Bytes that came after the request head.
    pub prefix: Bytes,
    /// Path and query of the request.
    pub target: String,
    /// The request's head.
    pub head: Box<Parts>,
    /// The subprotocol agreed on.
    pub subprotocol: Option<String>,
    /// permessage-deflate as agreed.
    pub deflate: Option<Agreed>,
    /// What [`UpgradeSettings::admit`] gave.
    pub pass: Pass,
    /// What [`UpgradeSettings::bridge`] led to.
    pub far: Option<Box<dyn Any>>,
}

/// Why no session came of a byte stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("{0}")]
    Tls(String),
    /// Not HTTP, or the peer left.
    #[error("{0}")]
    Http(String),
    /// TLS or the request head took longer than the limit.
    #[error("no complete request within the handshake time limit")]
    Timeout,
    /// It was not done when others needed its place.
    #[error("handshake too slow: too many connections are being opened")]
    Displaced,
}

/// Does TLS and the upgrade on a fresh byte stream; nothing comes of one whose requests got plain answers. `on_request` is
/// called when a request's head is whole.
///
/// # Errors
/// [`AcceptError`]; the peer has had its answer where it can be given one.
pub(crate) async fn upgrade(
    transport: Transport,
    peer: PeerAddr,
    tls: Option<&ServerTls>,
    settings: &UpgradeSettings,
    on_request: impl Fn(),
) -> Result<Option<Accepted>, AcceptError> {
    let started = tokio::time::Instant::now();
    let deadline = started + settings.handshake_timeout;
    let in_time = tokio::time::timeout_at(deadline, transport.readable());
    // Nothing is set up for a peer that says nothing: a burst of connections then costs what
    // its sessions cost, not what as many handshakes at a time would.
    in_time.await.map_err(|_| AcceptError::Timeout)?;
    let handshake = async {
        let transport = match tls {
            Some(tls) => {
                let accepted = tokio::time::timeout_at(deadline, tls.accept(transport)).await;
                accepted.map_err(|_| AcceptError::Timeout)?.map_err(|error| AcceptError::Tls(error.to_string()))?
            }
            None => transport,
        };
        serve(transport, peer, settings, started.into_std(), on_request).await
    };
    Box::pin(handshake).await
}

/// All that was agreed on with a client.
struct Agreement {
    head: Box<Parts>,
    subprotocol: Option<String>,
    deflate: Option<Agreed>,
    pass: Pass,
    far: Option<Box<dyn Any>>,
}

/// What the answers leave behind for the code around the HTTP connection.
#[derive(Default)]
struct Outcome {
    agreed: Option<Agreement>,
    answered: bool,
}

async fn serve(
    transport: Transport,
    peer: PeerAddr,
    settings: &UpgradeSettings,
    started: Instant,
    on_request: impl Fn(),
) -> Result<Option<Accepted>, AcceptError> {
    let outcome = RefCell::new(Outcome::default());
    let timeouts = HttpTimeouts::new(settings.handshake_timeout, started);
    let served = server::serve(transport, timeouts, head::server(settings.bridge.is_some()), |request| {
        outcome.borrow_mut().answered = true;
        on_request();
        match &settings.site {
            Some(site) if is_plain(&request, settings) => Either::Left(site(request, peer)),
            _ => Either::Right(answer(request.into_parts().0, peer, settings, &outcome)),
        }
    })
    .await;
    let Outcome { agreed, answered } = outcome.into_inner();
    if let (Ok(()), Some(Agreement { head, subprotocol, deflate, pass, far })) = (&served.result, agreed) {
        return Ok(Some(Accepted {
            transport: served.transport,
            prefix: served.unread,
            target: head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            head,
            subprotocol,
            deflate,
            pass,
            far,
        }));
    }
    let result = match served.result {
        Err(HttpError::NoRequest) => return Err(AcceptError::Timeout),
        Err(HttpError::TooSlow) => return Ok(None),
        Err(HttpError::Broken(text)) if !answered => Err(AcceptError::Http(text)),
        Ok(()) if !answered => Err(AcceptError::Http("the peer disconnected without a request".to_owned())),
        Ok(()) | Err(HttpError::Broken(_)) => Ok(None),
    };
    server::linger(served.transport).await;
    result
}

/// Whether a request is the site's to answer.
fn is_plain(request: &Request<RequestBody>, settings: &UpgradeSettings) -> bool {
    !has_token(request.headers(), &header::UPGRADE, "websocket")
        && !settings.paths.iter().any(|path| path == request.uri().path())
}

async fn answer(
    mut request: Parts,
    peer: PeerAddr,
    settings: &UpgradeSettings,
    outcome: &RefCell<Outcome>,
) -> Response<Body> {
    let checked = check(&request, settings);
    let mut admitted = checked.and_then(|key| (settings.admit)(&mut request, peer).map(|pass| (key, pass, None)));
    if let (Ok((_, _, bridged)), Some(bridge)) = (&mut admitted, &settings.bridge) {
        match bridge(&request, peer).await {
            Ok(far) => *bridged = Some(far),
            Err(refuse) => admitted = Err(refuse),
        }
    }
    let (key, pass, bridged) = match admitted {
        Ok(admitted) => admitted,
        Err(refuse) => {
            (settings.on_refused)(peer, &refuse);
            return refusal(&refuse);
        }
    };
    let offers = values(&request.headers, &header::SEC_WEBSOCKET_EXTENSIONS);
    let (subprotocol, ours, bridged_headers, far) = match bridged {
        Some(Bridged { subprotocol, deflate, headers, far }) => (subprotocol, deflate, headers, Some(far)),
        None => {
            (choose_subprotocol(&settings.subprotocols, &request.headers), settings.deflate.clone(), Vec::new(), None)
        }
    };
    let deflate = ours.as_ref().and_then(|ours| accept(ours, &offers));
    let mut response = Response::new(Body::whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    insert(headers, header::SEC_WEBSOCKET_ACCEPT, &accept_key(&key));
    if let Some(subprotocol) = &subprotocol {
        insert(headers, header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    if let Some(agreed) = &deflate {
        insert(headers, header::SEC_WEBSOCKET_EXTENSIONS, &agreed.to_header());
    }
    let mut spellings = Spellings::default();
    for (name, value) in settings.headers.iter().chain(&bridged_headers) {
        headers.append(&**name, value.clone());
        spellings.0.push(name.clone());
    }
    if !spellings.0.is_empty() {
        response.extensions_mut().insert(spellings);
    }
    outcome.borrow_mut().agreed = Some(Agreement { head: Box::new(request), subprotocol, deflate, pass, far });
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn refusal(refuse: &Refuse) -> Response<Body> {
    let hint = refuse.hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
    let body = refuse.body.clone().unwrap_or_else(|| format!("{}\n{hint}", refuse.text).into());
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = refuse.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    match refuse.status {
        StatusCode::UPGRADE_REQUIRED => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        _ => {}
    }
    // What is given takes the place of what is said above.
    for (name, _) in &refuse.headers {
        headers.remove(&**name);
    }
    for (name, value) in &refuse.headers {
        headers.append(&**name, value.clone());
    }
    if !refuse.headers.is_empty() {
        let names = refuse.headers.iter().map(|(name, _)| name.clone());
        response.extensions_mut().insert(Spellings(names.collect()));
    }
    response
}

/// The checks of RFC 6455 section 4.2.1; yields the key.
fn check(request: &Parts, settings: &UpgradeSettings) -> Result<String, Refuse> {
    let headers = &request.headers;
    if request.method != Method::GET {
        return Err(Refuse::new(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here"));
    }
    if !settings.paths.is_empty() && !settings.paths.iter().any(|path| path == request.uri.path()) {
        return Err(Refuse::new(StatusCode::NOT_FOUND, "nothing at this path"));
    }
    if !has_token(headers, &header::UPGRADE, "websocket") || !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(Refuse::new(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint"));
    }
    if request.version != Version::HTTP_11 {
        return Err(Refuse::new(StatusCode::BAD_REQUEST, "a WebSocket upgrade needs HTTP/1.1"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
        return Err(Refuse::new(StatusCode::UPGRADE_REQUIRED, "only WebSocket version 13 is supported"));
    }
    if !settings.origins.let_in(headers, settings.site.is_some()) {
        return Err(foreign_page(headers));
    }
    let keys = values(headers, &header::SEC_WEBSOCKET_KEY);
    match keys.as_slice() {
        [key] if BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16) => Ok((*key).to_owned()),
        _ => Err(Refuse::new(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64, once")),
    }
}

/// The answer to a page that may not connect.
fn foreign_page(headers: &HeaderMap) -> Refuse {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/.-_[]".contains(&byte);
    let of = match headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()) {
        Some(origin) if origin.len() <= 200 && origin.bytes().all(is_plain) => format!("the origin {origin}"),
        _ => "this origin".to_owned(),
    };
    Refuse {
        hint: Some("accept its pages with --allow-origin ORIGIN, or all pages with --allow-origin '*'"),
        ..Refuse::new(StatusCode::FORBIDDEN, format!("pages of {of} may not connect"))
    }
}

fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    values(headers, name).iter().flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The first of ours that the client offers.
fn choose_subprotocol(ours: &[String], headers: &HeaderMap) -> Option<String> {
    let offered = values(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<&str> = offered.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
    ours.iter().find(|protocol| offered.contains(&protocol.as_str())).cloned()
}

/// The proof that the request was understood (RFC 6455 section 4.2.2, item 5.4).
pub(crate) fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(paths: &[&str]) -> UpgradeSettings {
        UpgradeSettings {
            paths: paths.iter().map(ToString::to_string).collect(),
            origins: Origins::Every,
            subprotocols: vec!["b".to_owned(), "a".to_owned()],
            headers: Vec::new(),
            deflate: None,
            handshake_timeout: Duration::from_secs(1),
            admit: Box::new(|_, _| Ok(None)),
            site: None,
            on_refused: Box::new(|_, _| ()),
            bridge: None,
        }
    }

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request").into_parts().0
    }

    const GOOD: [(&str, &str); 4] = [
        ("Upgrade", "WebSocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn answers_the_example_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_fault_has_its_status() {
        let without = |name: &str| GOOD.into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>();
        let with = |name: &'static str, value: &'static str| {
            let mut headers = without(name);
            headers.push((name, value));
            headers
        };
        let table = [
            ("GET", "/ws", GOOD.to_vec(), None),
            ("POST", "/ws", GOOD.to_vec(), Some(405)),
            ("GET", "/other", GOOD.to_vec(), Some(404)),
            ("GET", "/ws", without("Upgrade"), Some(426)),
            ("GET", "/ws", without("Connection"), Some(426)),
            ("GET", "/ws", without("Sec-WebSocket-Version"), Some(426)),
            ("GET", "/ws", with("Sec-WebSocket-Version", "8"), Some(426)),
            ("GET", "/ws", without("Sec-WebSocket-Key"), Some(400)),
            ("GET", "/ws", with("Sec-WebSocket-Key", "short"), Some(400)),
        ];
        for (method, path, headers, status) in table {
            let result = check(&request(method, path, &headers), &settings(&["/ws"]));
            assert_eq!(result.err().map(|refuse| refuse.status.as_u16()), status, "{method} {path} {headers:?}");
        }
    }

    #[test]
    fn the_first_subprotocol_of_ours_that_is_offered_wins() {
        let offered = request("GET", "/", &[("Sec-WebSocket-Protocol", "x, a"), ("Sec-WebSocket-Protocol", "b")]);
        assert_eq!(choose_subprotocol(&settings(&[]).subprotocols, &offered.headers).as_deref(), Some("b"));
        let other = request("GET", "/", &[("Sec-WebSocket-Protocol", "x")]);
        assert_eq!(choose_subprotocol(&settings(&[]).subprotocols, &other.headers), None);
    }
}
