//! `--devconsole`: a page at `/` that talks to this server.
//!
//! Owns the page, which is one file built in, and the policy it is served under. Invariants: it needs nothing from
//! elsewhere, connects to its own server only, and no script runs in it but its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{HeaderName, Response};
use sha2::{Digest as _, Sha256};

use crate::net::http::Body;

const PAGE: &str = include_str!("console.html");

/// The page of one server.
#[derive(Clone)]
pub(crate) struct Console {
    page: Bytes,
    /// Without what it may connect to.
    policy: String,
}

impl Console {
    /// One that connects to this path with these subprotocols, unless its user says otherwise.
    pub(crate) fn new(path: &str, subprotocols: &[String]) -> Self {
        let page = PAGE.replacen("{{path}}", &escaped(path), 1).replacen(
            "{{subprotocols}}",
            &escaped(&subprotocols.join(", ")),
            1,
        );
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            hash_of(PAGE, "script"),
            hash_of(PAGE, "style"),
        );
        Self { page: page.into(), policy }
    }

    /// The page, for a request with this head.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::whole(self.page.clone()));
        let policy = format!("{}; connect-src {}", self.policy, own_server(request));
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ];
        let fixed = headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
        response.headers_mut().extend(fixed);
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// Where the page may connect to: not every browser takes 'self' for that over WebSocket.
fn own_server(request: &HeaderMap) -> String {
    let host = request.get(header::HOST).and_then(|host| host.to_str().ok());
    let plain = |host: &&str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        host.bytes().all(known) && host.parse::<Authority>().is_ok()
    };
    match host.filter(plain) {
        Some(host) => format!("'self' ws://{host} wss://{host}"),
        None => "'self'".to_owned(),
    }
}

/// The source expression that allows what stands in the page's one element of this name.
fn hash_of(page: &str, element: &str) -> String {
    let content = page
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")))
        .map_or("", |(content, _)| content);
    format!("'sha256-{}'", BASE64.encode(Sha256::digest(content)))
}

/// As the value of an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
        }
        for outside in ["src=", "@import", "url(", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "onclick="]
        {
            assert!(!PAGE.contains(outside), "{outside}");
        }
        let links: Vec<_> = PAGE.matches("href=").collect();
        assert_eq!(links.len(), 1, "the icon, which is inside");
    }

    #[test]
    fn what_the_server_says_stays_text() {
        let console = Console::new("/a\"><script>x</script>", &["a&b".to_owned(), "c".to_owned()]);
        let page = std::str::from_utf8(&console.page).expect("text");
        assert!(page.contains("data-path=\"/a&quot;&gt;&lt;script&gt;x&lt;/script&gt;\""));
        assert!(page.contains("data-subprotocols=\"a&amp;b, c\""));
    }

    #[test]
    fn it_connects_to_its_own_server_only() {
        let table = [
            ("127.0.0.1:8080", "'self' ws://127.0.0.1:8080 wss://127.0.0.1:8080"),
            ("[::1]:80", "'self' ws://[::1]:80 wss://[::1]:80"),
            ("x; script-src *", "'self'"),
            ("x *", "'self'"),
            ("*", "'self'"),
            ("", "'self'"),
        ];
        for (host, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).expect("a value"));
            assert_eq!(own_server(&headers), expected, "{host}");
        }
    }
}
