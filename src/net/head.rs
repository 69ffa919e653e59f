//! Heads of HTTP/1.1 messages: how large they may be, and how the names of their headers are written.
//!
//! Owns hyper's settings for both sides. hyper writes a name in title case or as it once read it, and shows nobody how it
//! read it. So it is given names by a head that it reads in memory ([`spell`]), and names are taken from it by one that it
//! writes there ([`spelled`]). Invariant: a name whose spelling is not known is in title case.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::future::ready;
use std::io::Cursor;
use std::ops::Deref;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue, InvalidHeaderName};
use http::{Extensions, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{client, server};
use hyper_util::rt::TokioIo;

/// Lines a head may have: 1,000 headers, and what a proxy on the way adds.
const MAX_LINES: usize = 1024;
/// Bytes a head may have: 256 KiB, and the same.
const MAX_HEAD: usize = 264 * 1024;
/// The same where nobody has reason to send much.
const SMALL_HEAD: usize = 32 * 1024;
/// What is said of a head over one of these.
pub(crate) const TOO_LARGE: &str = "its header has more than 1000 lines or 256 KiB";
/// Names that are not in title case, as their RFCs write them.
const STANDARD: [&str; 9] = [
    "DNT",
    "ETag",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version",
    "TE",
    "WWW-Authenticate",
];
/// Headers that decide how long a message is: they mean something in the heads that are read and written in memory.
const LENGTHS: [HeaderName; 2] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// Returns the settings of a client's side.
#[must_use]
pub(crate) fn client() -> client::conn::http1::Builder {
    let mut builder = client::conn::http1::Builder::new();
    builder.title_case_headers(true).preserve_header_case(true).max_headers(MAX_LINES).max_buf_size(MAX_HEAD);
    builder
}

/// Returns the settings of a server's side, which notes how names were spelled where `keeps_spelling`.
#[must_use]
pub(crate) fn server(keeps_spelling: bool) -> server::conn::http1::Builder {
    let mut builder = server::conn::http1::Builder::new();
    builder.title_case_headers(true).preserve_header_case(keeps_spelling);
    builder.max_headers(MAX_LINES).max_buf_size(MAX_HEAD);
    builder
}

/// Returns the settings of a server's side that programs of one's own ask for little.
#[must_use]
pub(crate) fn small_server() -> server::conn::http1::Builder {
    let mut builder = server::conn::http1::Builder::new();
    builder.title_case_headers(true).max_buf_size(SMALL_HEAD);
    builder
}

/// A header's name and how it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpelledName {
    name: HeaderName,
    spelling: Option<Box<str>>,
}

impl SpelledName {
    /// Reads a name, to be written as it stands.
    ///
    /// # Errors
    /// When it is not a token (RFC 9110 section 5.6.2).
    pub(crate) fn parse(text: &[u8]) -> Result<Self, InvalidHeaderName> {
        let name = HeaderName::from_bytes(text)?;
        Ok(Self { name, spelling: std::str::from_utf8(text).ok().map(Box::from) })
    }
}

impl From<HeaderName> for SpelledName {
    fn from(name: HeaderName) -> Self {
        Self { name, spelling: None }
    }
}

/// As it is written.
impl fmt::Display for SpelledName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.spelling {
            Some(spelling) => f.write_str(spelling),
            None => f.write_str(&title_case(&self.name)),
        }
    }
}

impl Deref for SpelledName {
    type Target = HeaderName;

    fn deref(&self) -> &HeaderName {
        &self.name
    }
}

/// How the names of an answer are to be written, as an extension of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spellings(pub Vec<SpelledName>);

fn standard(name: &HeaderName) -> Option<&'static str> {
    STANDARD.into_iter().find(|standard| standard.eq_ignore_ascii_case(name.as_str()))
}

/// Returns what makes hyper write the names of `headers` as `own` spells them, in the order of their values, or as their
/// RFCs do.
pub(crate) async fn spell(headers: &HeaderMap, own: &[SpelledName]) -> Extensions {
    thread_local! {
        static LAST: RefCell<(String, Extensions)> = RefCell::default();
    }
    let mut lines = String::new();
    for name in headers.keys().filter(|name| !LENGTHS.contains(name)) {
        let mut spellings = own.iter().filter(|own| own.name == *name).map(|own| own.spelling.as_deref());
        let spellings = headers.get_all(name).iter().map(|_| spellings.next().flatten().or_else(|| standard(name)));
        let spellings: Vec<_> = spellings.collect();
        if spellings.iter().any(Option::is_some) {
            for spelling in spellings {
                lines.push_str(spelling.map_or_else(|| title_case(name).into(), Cow::Borrowed).as_ref());
                lines.push_str(": \r\n");
            }
        }
    }
    if lines.is_empty() {
        return Extensions::new();
    }
    // Connections that come one after the other are alike.
    let known = LAST.with_borrow(|(last, kept)| (*last == lines).then(|| kept.clone()));
    if let Some(known) = known {
        return known;
    }
    let kept = read(&lines).await;
    LAST.set((lines, kept.clone()));
    kept
}

fn title_case(name: &HeaderName) -> String {
    let mut begins = true;
    let case = |char: char| {
        let char = if begins { char.to_ascii_uppercase() } else { char };
        begins = char == '-';
        char
    };
    name.as_str().chars().map(case).collect()
}

/// Has hyper read header lines and returns what it keeps of them; nothing where it cannot.
async fn read(lines: &str) -> Extensions {
    let kept = RefCell::new(Extensions::new());
    let keep = service_fn(|request: Request<Incoming>| {
        kept.replace(request.into_parts().0.extensions);
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
    let mut builder = server::conn::http1::Builder::new();
    // Every head that was accepted is read again, whatever was added to it.
    builder.preserve_header_case(true).max_headers(2 * MAX_LINES).max_buf_size(2 * MAX_HEAD);
    let io = TokioIo::new(tokio::io::join(Cursor::new(head), tokio::io::sink()));
    let _ = builder.serve_connection(io, keep).await;
    let mut kept = kept.into_inner();
    // An Upgrade among them means nothing here.
    kept.remove::<OnUpgrade>();
    kept
}

/// Returns the headers of a message, `extensions` and all, with their names as hyper has read them or will write them.
pub(crate) async fn spelled(headers: &HeaderMap, extensions: &Extensions) -> Vec<(SpelledName, HeaderValue)> {
    let mut copy = headers.clone();
    for name in LENGTHS {
        copy.remove(name);
    }
    copy.values_mut().for_each(|value| *value = HeaderValue::from_static(""));
    let answer = RefCell::new(Some((copy, extensions.clone())));
    let write = service_fn(|_: Request<Incoming>| {
        let mut response = Response::new(Empty::<Bytes>::new());
        if let Some((headers, extensions)) = answer.take() {
            *response.headers_mut() = headers;
            *response.extensions_mut() = extensions;
        }
        ready(Ok::<_, Infallible>(response))
    });
    let mut written = Vec::new();
    let ask = Cursor::new("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    let io = TokioIo::new(tokio::io::join(ask, &mut written));
    let mut builder = server::conn::http1::Builder::new();
    // Who has asked says no more, and is answered all the same.
    builder.title_case_headers(true).half_close(true);
    let _ = builder.serve_connection(io, write).await;
    let lines = written.split(|byte| *byte == b'\n').skip(1);
    let names = lines.filter_map(|line| line.split(|byte| *byte == b':').next());
    let mut read: HashMap<HeaderName, VecDeque<SpelledName>> = HashMap::new();
    for name in names.filter_map(|name| SpelledName::parse(name).ok()) {
        read.entry(name.name.clone()).or_default().push_back(name);
    }
    let with_spelling = |(name, value): (&HeaderName, &HeaderValue)| {
        let spelled = read.get_mut(name).and_then(VecDeque::pop_front);
        (spelled.unwrap_or_else(|| name.clone().into()), value.clone())
    };
    headers.iter().map(with_spelling).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<SpelledName> {
        texts.iter().map(|text| SpelledName::parse(text.as_bytes()).expect("a name")).collect()
    }

    #[tokio::test]
    async fn names_are_written_as_they_are_spelled() {
        let own = names(&["X-API-KEY", "x-twice", "X-TWICE", "etag"]);
        let mut headers = HeaderMap::new();
        for name in ["x-api-key", "x-twice", "x-twice", "etag", "sec-websocket-key", "x-plain", "content-length"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("0"));
        }
        let kept = spell(&headers, &own).await;
        let read: Vec<_> = spelled(&headers, &kept).await.into_iter().map(|(name, _)| name.spelling).collect();
        let read: Vec<_> = read.iter().map(Option::as_deref).collect();
        let expected = ["X-API-KEY", "x-twice", "X-TWICE", "etag", "Sec-WebSocket-Key", "X-Plain", "Content-Length"];
        assert_eq!(read, expected.map(Some));
    }

    #[tokio::test]
    async fn names_of_rfcs_need_nobody_to_spell_them() {
        let mut headers = HeaderMap::new();
        assert!(spell(&headers, &[]).await.is_empty());
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        for _ in 0..2 {
            let kept = spell(&headers, &[]).await;
            let read = spelled(&headers, &kept).await;
            let written: Vec<_> =
                read.iter().map(|(name, value)| (name.spelling.as_deref(), value.as_bytes())).collect();
            assert_eq!(
                written,
                [(Some("WWW-Authenticate"), &b"Basic"[..]), (Some("WWW-Authenticate"), &b"Bearer"[..])]
            );
        }
    }

    #[tokio::test]
    async fn a_thousand_names_are_spelled() {
        let own: Vec<_> = (0..1000).map(|number| format!("X-nuMBer-{number}")).collect();
        let own = names(&own.iter().map(String::as_str).collect::<Vec<_>>());
        let headers: HeaderMap = own.iter().map(|own| (own.name.clone(), HeaderValue::from_static("v"))).collect();
        let kept = spell(&headers, &own).await;
        let read = spelled(&headers, &kept).await;
        assert!(read.iter().all(|(name, _)| own.contains(name)) && read.len() == 1000, "{:?}", &read[..3]);
    }
}
