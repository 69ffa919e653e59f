//! What a request of a browser says about where it comes from, and which pages a server lets in (pure).
//!
//! Owns comparing Origin (RFC 6454) with Host, telling names that nobody else decides about, and the rule for pages.
//! Leaves what follows from it to the code that serves the request.

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;

/// Which pages may connect. A request without an Origin comes from no page and is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Origins {
    #[default]
    Every,
    /// Pages of this machine, and of the address that was asked where no foreign name server decides about it.
    Local,
    /// Pages of these origins; `same` stands for that of the address that was asked.
    Listed(Vec<String>),
}

impl Origins {
    /// What the user listed, or `otherwise` where nothing is listed.
    #[must_use]
    pub(crate) fn listed(list: &[String], otherwise: Self) -> Self {
        match list {
            [] => otherwise,
            list if list.iter().any(|origin| origin == "*") => Self::Every,
            list => Self::Listed(list.to_vec()),
        }
    }

    /// Whether a request with these headers is admitted; `serves_pages` says that the server has pages of its own.
    #[must_use]
    pub(crate) fn let_in(&self, headers: &HeaderMap, serves_pages: bool) -> bool {
        let is_welcome = |origin: &HeaderValue| match self {
            Self::Every => true,
            Self::Local => is_of_this_machine(origin) || is_own(origin, headers),
            Self::Listed(list) => {
                let named = |allowed: &String| match allowed.as_str() {
                    "same" => !is_foreign(origin, headers),
                    allowed => allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()),
                };
                list.iter().any(named) || serves_pages && is_own(origin, headers)
            }
        };
        headers.get_all(header::ORIGIN).iter().all(is_welcome)
    }
}

/// Whether an origin's host is a loopback address or localhost.
fn is_of_this_machine(origin: &HeaderValue) -> bool {
    let text = origin.to_str().unwrap_or_default();
    let authority = text.split_once("://").and_then(|(_, place)| place.parse::<Authority>().ok());
    let Some(authority) = authority.filter(|authority| !authority.as_str().contains('@')) else { return false };
    let name = authority.host().to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    let is_loopback = |address: std::net::IpAddr| address.to_canonical().is_loopback();
    name == "localhost" || name.ends_with(".localhost") || bare.parse().is_ok_and(is_loopback)
}

/// A name that no foreign name server decides about.
#[must_use]
pub(crate) fn is_local_name(host: &[u8]) -> bool {
    let Some(authority) = std::str::from_utf8(host).ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Whether an origin is another than that of the address asked.
#[must_use]
pub(crate) fn is_foreign(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let own = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let origin = origin.as_bytes();
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    match (authority, own) {
        (Some(authority), Some(own)) => !authority.eq_ignore_ascii_case(own),
        _ => true,
    }
}

/// Whether an origin is that of the address asked, under a name that no page can have had pointed there.
#[must_use]
pub(crate) fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    !is_foreign(origin, headers) && hosts.all(|host| is_local_name(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_let_in_are_those_of_this_machine_or_those_listed() {
        let list = |names: &[&str]| {
            Origins::listed(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), Origins::Local)
        };
        let (local, every) = (list(&[]), list(&["https://a.example", "*"]));
        let (named, same) = (list(&["https://a.example"]), list(&["same"]));
        assert_eq!(every, Origins::Every);
        // Host, Origin, and whether it is admitted: local, every, named, same.
        let table = [
            ("localhost:1", "http://localhost:3000", [true, true, false, false]),
            ("localhost:1", "https://app.localhost", [true, true, false, false]),
            ("localhost:1", "http://127.0.0.5", [true, true, false, false]),
            ("localhost:1", "http://[::1]:9", [true, true, false, false]),
            ("localhost:1", "http://[::ffff:127.0.0.1]", [true, true, false, false]),
            ("localhost:1", "http://LOCALHOST:1", [true, true, false, true]),
            ("192.168.1.2:1", "http://192.168.1.2:1", [true, true, false, true]),
            ("192.168.1.2:1", "http://192.168.1.2:2", [false, true, false, false]),
            ("localhost:1", "https://a.example", [false, true, true, false]),
            ("localhost:1", "HTTPS://A.example", [false, true, true, false]),
            ("localhost:1", "null", [false, true, false, false]),
            ("localhost:1", "file://", [false, true, false, false]),
            ("localhost:1", "http://127.0.0.1.evil.example", [false, true, false, false]),
            ("localhost:1", "http://localhost@evil.example", [false, true, false, false]),
            ("localhost:1", "http://evil.example@localhost", [false, true, false, false]),
            ("localhost:1", "http://notlocalhost", [false, true, false, false]),
            ("localhost:1", "chrome-extension://abcdef", [false, true, false, false]),
            // Its name server may point to this machine.
            ("evil.example:1", "http://evil.example:1", [false, true, false, true]),
        ];
        for (host, origin, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            let all = [&local, &every, &named, &same];
            assert!(
                all.iter().all(|origins| origins.let_in(&headers, false)),
                "a request without Origin comes from no page"
            );
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            assert_eq!(all.map(|origins| origins.let_in(&headers, false)), expected, "{host} {origin}");
        }
    }

    #[test]
    fn a_page_is_known_by_the_name_it_was_asked_by() {
        let table = [
            ("localhost:8080", "http://localhost:8080", true),
            ("localhost:8080", "https://LOCALHOST:8080", true),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("localhost:8080", "http://localhost:8081", false),
            ("localhost:8080", "null", false),
            // Its name server may point anywhere.
            ("evil.example", "http://evil.example", false),
        ];
        for (host, origin, own) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(is_own(&HeaderValue::from_static(origin), &headers), own, "{host} {origin}");
        }
    }
}
