//! What a program learns of the request it serves: CGI's variables (RFC 3875), from the request's head (pure).
//!
//! Invariants: a variable's name is made of A to Z, digits and `_`; a header becomes `HTTP_NAME` and nothing else, and
//! never `HTTP_PROXY`, which programs take for the proxy they should use; no value holds a NUL.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;

use http::HeaderMap;
use http::header;
use http::request::Parts;
use http::uri::Authority;

use crate::net::listener::PeerAddr;
use crate::percent;

/// What the prefix of every header's variable is.
const HTTP: &str = "HTTP_";
/// Set by programs' users, never by a request.
const HTTP_PROXY: &str = "HTTP_PROXY";
/// Headers that hold a password or token, or that must not become a variable.
const LEFT_OUT: [&str; 3] = ["proxy", "authorization", "proxy-authorization"];

/// A name and its value.
pub(super) type Variable = (String, OsString);

/// What the head of a request says.
pub(super) fn of_request(head: &Parts, secure: bool) -> Vec<Variable> {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let port = host.as_ref().and_then(Authority::port_u16).unwrap_or(if secure { 443 } else { 80 });
    let path_and_query = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut variables: Vec<Variable> = [
        ("GATEWAY_INTERFACE", "CGI/1.1".into()),
        ("SERVER_SOFTWARE", concat!("wsp/", env!("CARGO_PKG_VERSION")).into()),
        ("SERVER_PROTOCOL", format!("{:?}", head.version).into()),
        ("SERVER_NAME", host.as_ref().map_or("localhost", Authority::host).into()),
        ("SERVER_PORT", port.to_string().into()),
        ("REQUEST_METHOD", head.method.as_str().into()),
        ("REQUEST_URI", path_and_query.into()),
        ("SCRIPT_NAME", OsString::new()),
        ("PATH_INFO", OsString::from_vec(percent::decode_bytes(head.uri.path()))),
        ("QUERY_STRING", head.uri.query().unwrap_or_default().into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if secure {
        variables.push(("HTTPS".to_owned(), "on".into()));
    }
    variables.extend(of_headers(&head.headers));
    variables
}

/// Who asks, and what the session is called.
pub(super) fn of_peer(peer: PeerAddr, session: &str) -> Vec<Variable> {
    let (address, port) = match peer {
        PeerAddr::Tcp(address) => (address.ip().to_canonical().to_string(), address.port().to_string()),
        PeerAddr::Unix => (peer.to_string(), String::new()),
    };
    let variables = [
        ("REMOTE_HOST", address.clone()),
        ("REMOTE_ADDR", address),
        ("REMOTE_PORT", port),
        ("UNIQUE_ID", session.into()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.into())).into()
}

/// Whether a program would take a variable of the server's own environment for one of its request.
pub(super) fn is_of_a_request(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    (name.starts_with(HTTP) && name != HTTP_PROXY)
        || matches!(name, "HTTPS" | "AUTH_TYPE" | "REMOTE_USER" | "REMOTE_IDENT")
}

/// Whether the request's path holds a NUL, which no variable can.
pub(super) fn has_nul(head: &Parts) -> bool {
    percent::decode_bytes(head.uri.path()).contains(&0)
}

/// A variable for each name, its values joined as if they had come in one line.
fn of_headers(headers: &HeaderMap) -> impl Iterator<Item = Variable> + '_ {
    headers.keys().filter_map(|name| {
        let text = name.as_str();
        // `X_Y` would pass for `X-Y`, and other signs are none of a variable's.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_plain || LEFT_OUT.contains(&text) {
            return None;
        }
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
        let separator: &[u8] = if name == header::COOKIE { b"; " } else { b", " };
        let variable = format!("{HTTP}{}", text.to_ascii_uppercase().replace('-', "_"));
        Some((variable, OsString::from_vec(values.join(separator))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, headers: &[(&str, &[u8])]) -> Parts {
        let mut request = http::Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn value<'v>(variables: &'v [Variable], name: &str) -> Option<&'v OsStr> {
        let mut found = variables.iter().filter(|(candidate, _)| candidate == name);
        let value = found.next().map(|(_, value)| value.as_os_str());
        assert_eq!(found.next(), None, "{name} is set once");
        value
    }

    #[test]
    fn the_request_line_and_the_host_become_variables() {
        let parts = head("/a%20b/%C3%BC?x=1&y=%20", &[("Host", b"example.org:8080")]);
        let variables = of_request(&parts, false);
        let table = [
            ("REQUEST_METHOD", Some("GET")),
            ("PATH_INFO", Some("/a b/ü")),
            ("QUERY_STRING", Some("x=1&y=%20")),
            ("REQUEST_URI", Some("/a%20b/%C3%BC?x=1&y=%20")),
            ("SCRIPT_NAME", Some("")),
            ("SERVER_NAME", Some("example.org")),
            ("SERVER_PORT", Some("8080")),
            ("SERVER_PROTOCOL", Some("HTTP/1.1")),
            ("GATEWAY_INTERFACE", Some("CGI/1.1")),
            ("HTTP_HOST", Some("example.org:8080")),
            ("HTTPS", None),
        ];
        for (name, expected) in table {
            assert_eq!(value(&variables, name), expected.map(OsStr::new), "{name}");
        }
        let variables = of_request(&head("/", &[]), true);
        assert_eq!(value(&variables, "SERVER_PORT"), Some(OsStr::new("443")));
        assert_eq!(value(&variables, "SERVER_NAME"), Some(OsStr::new("localhost")));
        assert_eq!(value(&variables, "HTTPS"), Some(OsStr::new("on")));
        assert_eq!(value(&variables, "QUERY_STRING"), Some(OsStr::new("")));
    }

    #[test]
    fn headers_become_variables_and_only_harmless_ones_do() {
        let parts = head(
            "/",
            &[
                ("X-Twice", b"a"),
                ("Cookie", b"one=1"),
                ("x-twice", b"b"),
                ("cookie", b"two=2"),
                ("Proxy", b"http://evil/"),
                ("Authorization", b"Bearer secret"),
                ("Proxy-Authorization", b"Basic c2VjcmV0"),
                ("X_Twice", b"smuggled"),
                ("X$id", b"x"),
                ("X`id`", b"x"),
                ("X-Value", b"$(id) `id` \xff"),
            ],
        );
        let variables = of_request(&parts, false);
        let mut names: Vec<&str> =
            variables.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with(HTTP)).collect();
        names.sort_unstable();
        assert_eq!(names, ["HTTP_COOKIE", "HTTP_X_TWICE", "HTTP_X_VALUE"]);
        assert_eq!(value(&variables, "HTTP_X_TWICE"), Some(OsStr::new("a, b")));
        assert_eq!(value(&variables, "HTTP_COOKIE"), Some(OsStr::new("one=1; two=2")));
        let raw = value(&variables, "HTTP_X_VALUE").expect("a value").as_encoded_bytes();
        assert_eq!(raw, b"$(id) `id` \xff");
    }

    #[test]
    fn a_peer_has_an_address_and_a_session_its_name() {
        let v4 = of_peer(PeerAddr::Tcp("[::ffff:1.2.3.4]:99".parse().expect("an address")), "s7");
        assert_eq!(value(&v4, "REMOTE_ADDR"), Some(OsStr::new("1.2.3.4")));
        assert_eq!(value(&v4, "REMOTE_PORT"), Some(OsStr::new("99")));
        assert_eq!(value(&v4, "UNIQUE_ID"), Some(OsStr::new("s7")));
        let unix = of_peer(PeerAddr::Unix, "s1");
        assert_eq!(value(&unix, "REMOTE_ADDR"), Some(OsStr::new("unix")));
    }

    #[test]
    fn what_looks_like_an_escape_and_is_none_stays() {
        for (text, expected) in [("/%", "/%"), ("/%4", "/%4"), ("/%zz%41", "/%zzA"), ("/%2541", "/%41"), ("", "")] {
            assert_eq!(percent::decode_bytes(text), expected.as_bytes(), "{text}");
        }
        assert!(has_nul(&head("/a%00b", &[])) && !has_nul(&head("/a%2500b", &[])));
    }

    #[test]
    fn the_servers_own_environment_does_not_pass_for_a_request() {
        for (name, ours) in [("HTTP_COOKIE", true), ("HTTP_PROXY", false), ("HTTPS", true), ("PATH", false)] {
            assert_eq!(is_of_a_request(OsStr::new(name)), ours, "{name}");
        }
    }
}
