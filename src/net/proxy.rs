//! Forward proxies: what their URLs mean, and which one leads to a target.
//!
//! Owns the rules of `--proxy` and of the environment's variables, which are curl's; the variables
//! themselves are handed in. Leaves the way through a proxy to [`super::tunnel`]. Invariant: no
//! password is ever displayed, by `Display` or by `Debug`.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Uri;
use http::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;

use crate::endpoint::{WsTarget, bracketed};
use crate::percent::decode;
use crate::redact;

/// The port of a proxy whose URL names none, as in curl; 443 for https.
const DEFAULT_PORT: u16 = 1080;

/// What is spoken with a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyScheme {
    /// CONNECT in the clear.
    Http,
    /// CONNECT inside TLS.
    Https,
    /// SOCKS5 (RFC 1928); names are looked up here.
    Socks5,
    /// SOCKS5; names are looked up by the proxy.
    Socks5h,
}

impl ProxyScheme {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "http" => Self::Http,
            "https" => Self::Https,
            "socks5" => Self::Socks5,
            "socks5h" => Self::Socks5h,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }
}

/// A proxy's URL, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub scheme: ProxyScheme,
    /// Name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// User and password, decoded.
    credentials: Option<(String, String)>,
}

impl Proxy {
    /// Reads `[http|https|socks5|socks5h://][USER[:PASSWORD]@]HOST[:PORT]`; without a scheme it is http.
    ///
    /// # Errors
    /// A line that says what is wrong, without user info.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let malformed = || format!("invalid proxy URL '{}'", redact::broken_url(text).escape_debug());
        let uri: Uri = full.parse().map_err(|_| malformed())?;
        let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
        let scheme = ProxyScheme::parse(&scheme)
            .ok_or_else(|| format!("invalid proxy scheme '{scheme}'; use http, https, socks5 or socks5h"))?;
        let authority = uri.authority().ok_or_else(malformed)?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let user_info = authority.as_str().rsplit_once('@').map(|(user_info, _)| user_info);
        let place = authority.as_str().rsplit('@').next().unwrap_or_default();
        // A colon that no number in range follows would otherwise pass for a missing port.
        let names_port = place.rsplit(']').next().unwrap_or_default().contains(':');
        if host.is_empty() || names_port && authority.port_u16().is_none() {
            return Err(malformed());
        }
        let credentials = user_info.map(|user_info| {
            let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            (decode(user), decode(password))
        });
        let default = if scheme == ProxyScheme::Https { 443 } else { DEFAULT_PORT };
        Ok(Self { scheme, host: host.to_owned(), port: authority.port_u16().unwrap_or(default), credentials })
    }

    /// Whether it can pass on plain HTTP requests itself.
    #[must_use]
    pub(crate) fn is_http(&self) -> bool {
        matches!(self.scheme, ProxyScheme::Http | ProxyScheme::Https)
    }

    /// User and password.
    #[must_use]
    pub(crate) fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// Basic authentication (RFC 7617) with the proxy.
    #[must_use]
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let (user, password) = self.credentials()?;
        let mut value =
            HeaderValue::from_str(&format!("Basic {}", BASE64.encode(format!("{user}:{password}")))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.name(), bracketed(&self.host), self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// A proxy, or why what was set is none: that is an error only for a connection it was meant for.
pub(crate) type ProxySetting = Result<Proxy, String>;

/// Which connections go through which proxy.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProxyRules {
    ws: Option<ProxySetting>,
    wss: Option<ProxySetting>,
    /// Intercepts whatever must not go directly.
    bypass: Option<Arc<Matcher>>,
}

/// Stands for every host. It is looked at here because the matcher would not have it mean addresses.
const EVERYWHERE: &str = "*";

impl ProxyRules {
    /// One proxy for ws and one for wss, and the hosts that are reached directly: names (with all below
    /// them), addresses, networks in CIDR or `*`, separated by commas or white space.
    #[must_use]
    pub(crate) fn new(ws: Option<ProxySetting>, wss: Option<ProxySetting>, no_proxy: &str) -> Self {
        let entries: Vec<&str> = no_proxy
            .split([',', ' ', '\t', '\n'])
            .map(|entry| entry.trim_end_matches('.'))
            .filter(|entry| !entry.is_empty())
            .collect();
        if entries.contains(&EVERYWHERE) {
            return Self::default();
        }
        let matcher = || Arc::new(Matcher::builder().all("http://any").no(entries.join(",")).build());
        Self { ws, wss, bypass: (!entries.is_empty()).then(matcher) }
    }

    /// The proxy on the way to `target`.
    ///
    /// # Errors
    /// The proxy configured for it is invalid.
    pub(crate) fn choose(&self, target: &WsTarget) -> Result<Option<&Proxy>, String> {
        let setting = if target.secure { &self.wss } else { &self.ws };
        match setting {
            Some(setting) if !self.goes_directly(&target.host) => setting.as_ref().map(Some).map_err(Clone::clone),
            _ => Ok(None),
        }
    }

    fn goes_directly(&self, host: &str) -> bool {
        let Some(matcher) = &self.bypass else { return false };
        let host = bracketed(host.trim_end_matches('.'));
        let uri = Uri::builder().scheme("http").authority(host).path_and_query("/").build();
        uri.is_ok_and(|uri| matcher.intercept(&uri).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proxy_urls() {
        let table = [
            ("http://h:3128", "http://h:3128", None),
            ("h:3128", "http://h:3128", None),
            ("h", "http://h:1080", None),
            ("https://h", "https://h:443", None),
            ("HTTPS://h:1/", "https://h:1", None),
            ("socks5://127.0.0.1", "socks5://127.0.0.1:1080", None),
            ("socks5h://[::1]:9", "socks5h://[::1]:9", None),
            ("http://u:p%40:w@h:1", "http://h:1", Some(("u", "p@:w"))),
            ("u:p@h:1", "http://h:1", Some(("u", "p"))),
            ("socks5://u@h:1", "socks5://h:1", Some(("u", ""))),
        ];
        for (text, shown, credentials) in table {
            let proxy = Proxy::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((proxy.to_string().as_str(), proxy.credentials()), (shown, credentials), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_proxy_and_shows_no_secret() {
        for text in ["", "ftp://u:secret@h", "http://u:secret@", "http://u:secret@h:99999", "http://u:secret@h:x", "h:"]
        {
            let error = Proxy::parse(text).expect_err(text);
            assert!(!error.contains("secret"), "{text}: {error}");
        }
        let proxy = Proxy::parse("http://u:secret@h:1").expect("a proxy");
        assert!(!format!("{proxy} {proxy:?}").contains("secret"));
        assert_eq!(proxy.authorization().expect("a header"), "Basic dTpzZWNyZXQ=");
    }

    #[test]
    fn some_hosts_are_reached_directly() {
        let table = [
            ("", "ws://h/", false),
            ("*", "ws://h/", true),
            ("x, *", "ws://127.0.0.1/", true),
            ("*", "ws://[::1]/", true),
            ("h", "ws://h/", true),
            ("H", "ws://h./", true),
            ("h", "ws://a.h/", true),
            (".h", "ws://a.h/", true),
            ("a.h", "ws://h/", false),
            ("h", "ws://ah/", false),
            ("x, h", "ws://h/", true),
            ("x h", "ws://h/", true),
            ("127.0.0.1", "ws://127.0.0.1:9/", true),
            ("127.0.0.0/8", "ws://127.1.2.3/", true),
            ("10.0.0.0/8", "ws://127.1.2.3/", false),
            ("::1", "ws://[::1]:9/", true),
            ("fe80::/10", "ws://[fe80::1]/", true),
            ("localhost", "ws://127.0.0.1/", false),
        ];
        for (no_proxy, url, directly) in table {
            let rules = ProxyRules::new(Some(Proxy::parse("p")), None, no_proxy);
            let target = WsTarget::parse(url).expect("a target");
            assert_eq!(rules.choose(&target).expect("a proxy").is_none(), directly, "{no_proxy:?} {url}");
        }
    }

    #[test]
    fn what_is_no_proxy_fails_only_the_connections_it_was_set_for() {
        let rules = ProxyRules::new(None, Some(Err("no".to_owned())), "direct");
        let choose = |url: &str| rules.choose(&WsTarget::parse(url).expect("a target")).map(|proxy| proxy.is_some());
        assert_eq!(choose("ws://h/"), Ok(false));
        assert_eq!(choose("wss://direct/"), Ok(false));
        assert_eq!(choose("wss://h/"), Err("no".to_owned()));
    }
}
