//! What a request of a browser says about where it comes from (pure).
//!
//! Owns comparing Origin (RFC 6454) with Host, and telling names that nobody else decides about. Leaves what follows
//! from it to whoever serves the request.

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;

/// A name that no foreign name server decides about.
#[must_use]
pub fn is_local_name(host: &[u8]) -> bool {
    let Some(authority) = std::str::from_utf8(host).ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Whether an origin is another than that of the address asked.
#[must_use]
pub fn is_foreign(origin: &HeaderValue, headers: &HeaderMap) -> bool {
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
pub fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    !is_foreign(origin, headers) && hosts.all(|host| is_local_name(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
