//! Who may ask the admin address (pure).
//!
//! Owns the checks on Host (a page that had its name point to loopback), the token and Origin (a page of elsewhere).
//! Leaves what is asked to `routes`. Invariant: no answer tells how far a token was right.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Uri};
use subtle::ConstantTimeEq as _;

use crate::net::origin::{is_foreign, is_local_name};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It was meant for another host.
    Host,
    /// No token, or another one.
    Token,
    /// A page of another origin wants something done.
    Origin,
}

/// Checks what a request says of itself.
///
/// # Errors
/// What keeps it out.
pub(super) fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    is_loopback: bool,
    token: Option<&str>,
) -> Result<(), Denied> {
    if is_loopback && !hosts(uri, headers).all(is_local_name) {
        return Err(Denied::Host);
    }
    if let Some(token) = token
        && !headers.get(header::AUTHORIZATION).is_some_and(|value| is_token(value, token))
    {
        return Err(Denied::Token);
    }
    let acts = !matches!(*method, Method::GET | Method::HEAD);
    if acts && headers.get_all(header::ORIGIN).iter().any(|origin| is_foreign(origin, headers)) {
        return Err(Denied::Origin);
    }
    Ok(())
}

/// Every host that the request names: a browser cannot leave it out.
fn hosts<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> impl Iterator<Item = &'r [u8]> {
    let named = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    uri.authority().map(|authority| authority.as_str().as_bytes()).into_iter().chain(named)
}

fn is_token(value: &HeaderValue, token: &str) -> bool {
    let value = value.as_bytes();
    let (scheme, given) = value.split_at(value.len().min(7));
    scheme.eq_ignore_ascii_case(b"Bearer ") && given.ct_eq(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        method: &Method,
        headers: &[(&'static str, &str)],
        is_loopback: bool,
        token: Option<&str>,
    ) -> Option<Denied> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        check(method, &Uri::from_static("/sessions"), &map, is_loopback, token).err()
    }

    #[test]
    fn only_local_names_reach_a_loopback_address() {
        let table = [
            ("127.0.0.1:9090", true),
            ("localhost", true),
            ("LOCALHOST:1", true),
            ("[::1]:9090", true),
            ("192.168.0.1", true),
            ("evil.example", false),
            ("evil.example:9090", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("user@evil.example", false),
            ("", false),
            ("a b", false),
        ];
        for (host, welcome) in table {
            let denied = asked(&Method::GET, &[("host", host)], true, None);
            assert_eq!(denied, (!welcome).then_some(Denied::Host), "{host}");
            assert_eq!(asked(&Method::GET, &[("host", host)], false, None), None, "{host}");
        }
        assert_eq!(asked(&Method::GET, &[], true, None), None);
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(asked(&Method::GET, &two, true, None), Some(Denied::Host));
        let uri = Uri::from_static("http://evil.example/");
        assert_eq!(check(&Method::GET, &uri, &HeaderMap::new(), true, None), Err(Denied::Host));
    }

    #[test]
    fn the_token_must_be_right() {
        let table = [
            (Some("Bearer s3cret"), true),
            (Some("bearer s3cret"), true),
            (Some("Bearer s3cre"), false),
            (Some("Bearer s3cret2"), false),
            (Some("Bearer"), false),
            (Some("Bearer "), false),
            (Some("Basic s3cret"), false),
            (Some(""), false),
            (None, false),
        ];
        for (value, welcome) in table {
            let headers: Vec<_> = value.map(|value| ("authorization", value)).into_iter().collect();
            let denied = asked(&Method::GET, &headers, false, Some("s3cret"));
            assert_eq!(denied, (!welcome).then_some(Denied::Token), "{value:?}");
        }
    }

    #[test]
    fn pages_of_elsewhere_may_do_nothing() {
        let table = [
            ("http://127.0.0.1:9090", true),
            ("https://127.0.0.1:9090", true),
            ("http://127.0.0.1:9091", false),
            ("http://127.0.0.1", false),
            ("http://evil.example", false),
            ("null", false),
            ("", false),
        ];
        for (origin, welcome) in table {
            let headers = [("host", "127.0.0.1:9090"), ("origin", origin)];
            for method in [Method::POST, Method::DELETE] {
                assert_eq!(asked(&method, &headers, true, None), (!welcome).then_some(Denied::Origin), "{origin}");
            }
            assert_eq!(asked(&Method::GET, &headers, true, None), None);
        }
    }
}
