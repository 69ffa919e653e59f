//! Opens the connection behind a client of a proxy, before the client is answered.
//!
//! Decides what is carried over: path, query, subprotocols, compression, and every header that does not belong to one
//! connection alone. Leaves connecting to `net/`. Invariant: a refusal becomes the client's, with its status and its body.

use std::rc::Rc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Extensions, StatusCode, Uri};

use crate::net::connector::{ConnectError, ConnectOptions, Connector};
use crate::net::deflate::{DeflateOffer, accept};
use crate::net::head::{SpelledName, spelled};
use crate::net::listener::{Bridged, PeerAddr, Refuse};
use crate::net::upgrade::{HeaderEdit, Refusal};

/// Headers that belong to one connection (RFC 9110 section 7.6.1) or to the message's length.
const HOP: [&str; 10] = [
    "connection",
    "upgrade",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "content-length",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
];

/// Headers of a request that are said anew to the server behind.
const ASKED_ANEW: [&str; 9] = [
    "host",
    "expect",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

/// Headers of a 101 that the client gets from this side.
const AGREED_ANEW: [&str; 3] = ["sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-protocol"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// The path of the client end, then the client's.
    Before,
    /// The path of the client end.
    Instead,
}

pub(super) struct Reach {
    pub connector: Connector,
    pub path: Path,
    /// permessage-deflate is offered where the client offers it.
    pub may_compress: bool,
    /// The client's credentials are for the proxy.
    pub keeps_credentials: bool,
    /// Clients come by TLS.
    pub is_secure: bool,
}

impl Reach {
    /// What is asked for on behalf of a client.
    pub(super) async fn request(&self, head: Parts, peer: PeerAddr) -> ConnectOptions {
        let mut options = self.connector.options().clone();
        options.target.path_and_query = target(self.path, &options.target.path_and_query, &head.uri);
        let offers = list(&head.headers, &header::SEC_WEBSOCKET_EXTENSIONS, false);
        let offers: Vec<&str> = offers.iter().map(String::as_str).collect();
        options.deflate =
            Some(DeflateOffer::default()).filter(|ours| self.may_compress && accept(ours, &offers).is_some());
        options.subprotocols = list(&head.headers, &header::SEC_WEBSOCKET_PROTOCOL, true);
        options.no_pong = true;
        let spelled = spelled(&head.headers, &head.extensions).await;
        let carried = self.carried(&head.headers, spelled, peer, &options);
        options.headers.splice(0..0, carried);
        options
    }

    /// The client's headers, but for those that are set or left out by the user.
    fn carried(
        &self,
        headers: &HeaderMap,
        spelled: Vec<(SpelledName, HeaderValue)>,
        peer: PeerAddr,
        options: &ConnectOptions,
    ) -> Vec<HeaderEdit> {
        let own = list(headers, &header::CONNECTION, true);
        // What cannot be read is told when the connection is opened.
        let from_files = options.credentials.header_edits().unwrap_or_default();
        let is_edited = |name: &HeaderName| {
            options.headers.iter().chain(&from_files).any(|edit| match edit {
                HeaderEdit::Set(edited, _) => **edited == *name,
                HeaderEdit::Remove(edited) => edited == name,
            })
        };
        let has_credentials = options.credentials.authorizes();
        let is_ours = |name: &HeaderName| match *name {
            header::AUTHORIZATION => self.keeps_credentials || has_credentials,
            header::COOKIE => !options.cookies.is_empty(),
            header::ORIGIN => options.origin.is_some(),
            _ => {
                HOP.contains(&name.as_str())
                    || ASKED_ANEW.contains(&name.as_str())
                    || own.iter().any(|own| own.eq_ignore_ascii_case(name.as_str()))
            }
        };
        let mut carried = spelled;
        carried.retain(|(name, _)| !is_ours(name));
        let mut forwarded = list(headers, &HeaderName::from_static("x-forwarded-for"), true);
        forwarded.extend(peer.ip().map(|ip| ip.to_canonical().to_string()));
        let scheme = if self.is_secure { "https" } else { "http" };
        let first = |name: &'static str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let host = first("x-forwarded-host").or_else(|| first("host"));
        for (name, value) in [
            ("x-forwarded-for", Some(forwarded.join(", ")).filter(|text| !text.is_empty())),
            ("x-forwarded-proto", first("x-forwarded-proto").or(Some(scheme.to_owned()))),
            ("x-forwarded-host", host),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                carried.push((HeaderName::from_static(name).into(), value));
            }
        }
        carried.retain(|(name, _)| !is_edited(name));
        carried.into_iter().map(|(name, value)| HeaderEdit::Set(name, value)).collect()
    }

    pub(super) async fn open(self: Rc<Self>, options: ConnectOptions) -> Result<Bridged, Refuse> {
        let compresses = options.deflate.is_some();
        let connector = self.connector.with(options);
        match connector.connect().await {
            Ok((connection, handshake)) => Ok(Bridged {
                subprotocol: handshake.subprotocol,
                deflate: (compresses && handshake.extensions.is_some()).then(DeflateOffer::default),
                headers: passed_on(&handshake.headers, &handshake.spelling, &AGREED_ANEW).await,
                far: Box::new(connection),
            }),
            Err(ConnectError::Refused(refusal)) => Err(refused(&refusal).await),
            Err(error @ ConnectError::Timeout(..)) => {
                Err(Refuse::new(StatusCode::GATEWAY_TIMEOUT, format!("the upstream server does not answer: {error}")))
            }
            Err(error) => {
                Err(Refuse::new(StatusCode::BAD_GATEWAY, format!("cannot reach the upstream server: {error}")))
            }
        }
    }
}

async fn refused(refusal: &Refusal) -> Refuse {
    let status = StatusCode::from_u16(refusal.status).ok().filter(|status| status.as_u16() >= 300);
    let text = format!("the upstream server refused the upgrade: {}", refusal.status);
    let mut refuse = Refuse::new(status.unwrap_or(StatusCode::BAD_GATEWAY), text);
    refuse.headers = passed_on(&refusal.headers, &refusal.spelling, &[]).await;
    refuse.body = Some(refusal.body.clone());
    refuse
}

/// Headers of an answer that are the client's business, which those `anew` are not.
async fn passed_on(headers: &HeaderMap, spelling: &Extensions, anew: &[&str]) -> Vec<(SpelledName, HeaderValue)> {
    let own = list(headers, &header::CONNECTION, true);
    let is_own = |name: &HeaderName| {
        HOP.contains(&name.as_str())
            || anew.contains(&name.as_str())
            || own.iter().any(|own| own.eq_ignore_ascii_case(name.as_str()))
    };
    let mut kept = spelled(headers, spelling).await;
    kept.retain(|(name, _)| !is_own(name));
    kept
}

/// The values of a header, each or each of their parts.
fn list(headers: &HeaderMap, name: &HeaderName, split: bool) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    if !split {
        return values.map(str::to_owned).collect();
    }
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Path and query that are asked for behind.
fn target(path: Path, base: &str, asked: &Uri) -> String {
    let (own_path, own_query) = base.split_once('?').map_or((base, None), |(path, query)| (path, Some(query)));
    let path = match path {
        Path::Instead => own_path.to_owned(),
        Path::Before => format!("{}{}", own_path.trim_end_matches('/'), asked.path()),
    };
    let queries: Vec<&str> = own_query.into_iter().chain(asked.query()).collect();
    if queries.is_empty() { path } else { format!("{path}?{}", queries.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_are_carried() {
        for (path, base, asked, expected) in [
            (Path::Before, "/", "/chat?room=1", "/chat?room=1"),
            (Path::Before, "/", "/", "/"),
            (Path::Before, "/api/", "/chat", "/api/chat"),
            (Path::Before, "/api?key=k", "/chat?room=1", "/api/chat?key=k&room=1"),
            (Path::Instead, "/feed", "/ws?room=1", "/feed?room=1"),
            (Path::Instead, "/feed", "/ws", "/feed"),
        ] {
            assert_eq!(target(path, base, &asked.parse().expect("a URI")), expected, "{base} {asked}");
        }
    }

    #[tokio::test]
    async fn an_answer_keeps_what_is_the_clients_business() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Hop"),
            ("x-hop", "1"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("date", "then"),
            ("content-length", "7"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-version", "7"),
            ("sec-websocket-protocol", "chat"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let table: [(&[&str], &[&str]); 2] =
            [(&[], &["a=b", "c=d", "then", "8", "7", "chat"]), (&AGREED_ANEW, &["a=b", "c=d", "then", "8", "7"])];
        for (anew, expected) in table {
            let kept = passed_on(&headers, &Extensions::new(), anew).await;
            let kept: Vec<_> = kept.iter().map(|(_, value)| value.to_str().expect("text")).collect();
            assert_eq!(kept, expected);
        }
    }
}
