//! Parsed addresses: where a client goes, and where a server listens.
//!
//! After parsing nothing has to be checked again. Displaying never shows a secret.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use crate::percent::decode;
use crate::redact;

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Nothing was given.
    #[error("the address is empty")]
    Empty,
    /// Not a URL.
    #[error("invalid WebSocket URL '{0}': {1}")]
    Malformed(String, String),
    /// A scheme this is not made for.
    #[error("unknown scheme '{0}'; use ws, wss, http or https")]
    UnknownScheme(String),
    /// No endpoint of a relay.
    #[error(
        "invalid endpoint '{0}'; use -, null:, file:, exec:, ws[s]://, ws[s]-listen://, http[s]://, kafka://, \
         nats://, postgres:// or opensearch+http[s]://"
    )]
    UnknownEndpoint(String),
    /// RFC 6455 section 3 forbids fragments.
    #[error("a WebSocket URL has no fragment (the part after #)")]
    Fragment,
    /// Where to listen was given as a URL.
    #[error("a server's address has no scheme and no path; write {0}")]
    ListenUrl(String),
    /// A port outside 0 to 65535.
    #[error("invalid port '{0}'")]
    Port(String),
}

impl EndpointError {
    /// Suggests a correction: a server's address or a file's name without a scheme before it.
    #[must_use]
    pub(crate) fn suggestion(&self) -> Option<String> {
        let Self::UnknownEndpoint(text) = self else { return None };
        if text.contains("://") {
            return None;
        }
        let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.split_once(':').map_or(text.as_str(), |(_, rest)| rest.split('/').next().unwrap_or_default());
        match text.split_once(':') {
            None if is_port(text) => {
                Some(format!("ws://localhost:{text} connects to a server, ws-listen://{text} is one"))
            }
            Some(_) if is_port(port) => Some(format!("ws://{text} connects to a server, ws-listen://{text} is one")),
            None => Some(format!("file:{text} is the file of that name")),
            Some(_) => None,
        }
    }
}

/// A WebSocket URL (RFC 6455 section 3), taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsTarget {
    /// wss rather than ws.
    pub secure: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port; 80 or 443 when the URL named none.
    pub port: u16,
    /// What the request line asks for.
    pub path_and_query: String,
    /// User and password in the URL, decoded.
    pub user_info: Option<(String, String)>,
}

impl WsTarget {
    /// Reads ws, wss, http and https URLs, and bare `host[:port][/path]`.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EndpointError::Empty);
        }
        let full = match text.split_once("://") {
            Some(_) => text.to_owned(),
            None if text.starts_with(':') => format!("ws://localhost{text}"),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => format!("ws://localhost:{text}"),
            None => format!("ws://{text}"),
        };
        let url =
            Url::parse(&full).map_err(|error| EndpointError::Malformed(redact::broken_url(text), error.to_string()))?;
        Self::from_url(&url)
    }

    /// Where a redirect to `location` leads from here.
    ///
    /// # Errors
    /// As [`WsTarget::parse`].
    pub fn join(&self, location: &str) -> Result<Self, EndpointError> {
        let malformed =
            |error: url::ParseError| EndpointError::Malformed(redact::broken_url(location), error.to_string());
        let base = Url::parse(&format!("{}{}", self.place(), self.path_and_query)).map_err(malformed)?;
        let mut url = base.join(location).map_err(malformed)?;
        url.set_fragment(None);
        Self::from_url(&url)
    }

    fn from_url(url: &Url) -> Result<Self, EndpointError> {
        let secure = match url.scheme() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            other => return Err(EndpointError::UnknownScheme(other.to_owned())),
        };
        if url.fragment().is_some() {
            return Err(EndpointError::Fragment);
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(EndpointError::Malformed(url.scheme().to_owned(), "no host".to_owned())),
        };
        let user_info = (!url.username().is_empty() || url.password().is_some())
            .then(|| (decode(url.username()), decode(url.password().unwrap_or_default())));
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let port = url.port().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { secure, host, port, path_and_query, user_info })
    }

    /// The URL up to its path.
    fn place(&self) -> String {
        format!("{}://{}", if self.secure { "wss" } else { "ws" }, self.host_header())
    }

    /// The Host header: the port only where it is not the scheme's own.
    #[must_use]
    pub fn host_header(&self) -> String {
        let default = if self.secure { 443 } else { 80 };
        let host = bracketed(&self.host);
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for WsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place(), redact::target(&self.path_and_query))
    }
}

/// One end of a relay, as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `-`: standard input or output.
    Stdio,
    /// `null:`: takes everything, gives nothing.
    Null,
    /// `ws://`, `wss://`: a client; the URL as written.
    Ws(String),
    /// `ws-listen://`, `wss-listen://`: a server.
    WsListen {
        /// wss rather than ws.
        secure: bool,
        address: ListenAddr,
        /// The path it serves; empty serves all.
        path: String,
    },
    File(PathBuf),
    /// `exec:CMD`.
    Exec(String),
    /// `http://`, `https://`: the URL as written.
    Http(String),
    /// `kafka://`: the URL as written.
    Kafka(String),
    /// `nats://`: the URL as written.
    Nats(String),
    /// `postgres://`, `postgresql://`: the URL as written.
    Postgres(String),
    /// `opensearch+http://`, `opensearch+https://`, and the same with `elasticsearch`: the URL as written.
    Search(String),
}

impl Endpoint {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// [`EndpointError`]; for a scheme that is none of these, by its name.
    pub(crate) fn parse(text: &str) -> Result<Self, EndpointError> {
        if text == "-" {
            return Ok(Self::Stdio);
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(if text.is_empty() {
                EndpointError::Empty
            } else {
                EndpointError::UnknownEndpoint(redact::broken_url(text))
            });
        };
        let after_slashes = rest.strip_prefix("//");
        match (scheme.to_ascii_lowercase().as_str(), after_slashes) {
            ("null", _) => Ok(Self::Null),
            // A URL of a file has three slashes; two are taken as they are meant.
            ("file", path) if !path.unwrap_or(rest).is_empty() => Ok(Self::File(PathBuf::from(path.unwrap_or(rest)))),
            ("exec", _) if !rest.trim().is_empty() => Ok(Self::Exec(rest.to_owned())),
            ("ws" | "wss", Some(_)) => WsTarget::parse(text).map(|_| Self::Ws(text.to_owned())),
            ("ws-listen" | "wss-listen", Some(place)) => {
                let (address, path) = match place.find('/') {
                    Some(slash) if !place.starts_with("unix:") => place.split_at(slash),
                    _ => (place, ""),
                };
                Ok(Self::WsListen {
                    secure: scheme.eq_ignore_ascii_case("wss-listen"),
                    address: ListenAddr::parse(address)?,
                    path: if path == "/" { String::new() } else { path.to_owned() },
                })
            }
            ("http" | "https", Some(_)) => {
                Url::parse(text)
                    .map_err(|error| EndpointError::Malformed(redact::broken_url(text), error.to_string()))?;
                Ok(Self::Http(text.to_owned()))
            }
            ("kafka", Some(_)) => Ok(Self::Kafka(text.to_owned())),
            ("nats", Some(_)) => Ok(Self::Nats(text.to_owned())),
            ("postgres" | "postgresql", Some(_)) => Ok(Self::Postgres(text.to_owned())),
            ("opensearch+http" | "opensearch+https" | "elasticsearch+http" | "elasticsearch+https", Some(_)) => {
                Ok(Self::Search(text.to_owned()))
            }
            _ => Err(EndpointError::UnknownEndpoint(redact::broken_url(text))),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio => f.write_str("-"),
            Self::Null => f.write_str("null:"),
            Self::Ws(url)
            | Self::Http(url)
            | Self::Kafka(url)
            | Self::Nats(url)
            | Self::Postgres(url)
            | Self::Search(url) => f.write_str(&redact::url(url)),
            Self::WsListen { secure, address, path } => {
                let scheme = if *secure { "wss-listen" } else { "ws-listen" };
                write!(f, "{scheme}://{address}{}", redact::target(path))
            }
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Exec(command) => write!(f, "exec:{}", redact::text(command)),
        }
    }
}

/// A host as it stands before a port: an IPv6 address in brackets.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// An address that a server listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddr {
    /// A name or address and a port; port 0 picks a free one.
    Tcp {
        /// The host without brackets.
        host: String,
        /// The port; 0 picks a free one.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl ListenAddr {
    /// Reads `8080`, `:8080` (both loopback), `HOST:PORT`, `[V6]:PORT` and `unix:PATH`.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        if text.is_empty() {
            return Err(EndpointError::Empty);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(EndpointError::Empty) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some((_, place)) = text.split_once("://") {
            return Err(EndpointError::ListenUrl(place.split('/').next().unwrap_or_default().to_owned()));
        }
        let (host, port) = match text.rsplit_once(':') {
            None => ("", text),
            Some((host, port)) => (host, port),
        };
        let port = port.parse().map_err(|_| EndpointError::Port(port.to_owned()))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host,
            None if host.contains(':') => {
                let reason = "put an IPv6 address in brackets: [::1]:8080".to_owned();
                return Err(EndpointError::Malformed(text.to_owned(), reason));
            }
            None => host,
        };
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{}:{port}", bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls_and_bare_hosts() {
        let table = [
            ("ws://h", "ws://h/"),
            ("wss://h:443/a?b=c", "wss://h/a?b=c"),
            ("http://h:80/", "ws://h/"),
            ("https://h:8443/x", "wss://h:8443/x"),
            ("localhost:8080", "ws://localhost:8080/"),
            ("localhost:8080/p?q", "ws://localhost:8080/p?q"),
            (":8080", "ws://localhost:8080/"),
            ("8080", "ws://localhost:8080/"),
            ("[::1]:9", "ws://[::1]:9/"),
            ("ws://user:p%40ss@h/", "ws://h/"),
        ];
        for (text, shown) in table {
            assert_eq!(WsTarget::parse(text).map(|target| target.to_string()), Ok(shown.to_owned()), "{text}");
        }
        let target = WsTarget::parse("ws://user:p%40ss@h/").expect("a target");
        assert_eq!(target.user_info, Some(("user".to_owned(), "p@ss".to_owned())));
    }

    #[test]
    fn refuses_what_is_no_websocket_url_and_shows_no_secret() {
        for text in ["", " ", "ftp://h/", "ws://h/#frag", "ws://", "ws://u:secret@h:99999/", "ws://[::1"] {
            let error = WsTarget::parse(text).expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_redirect_is_relative_to_where_it_came_from() {
        let from = WsTarget::parse("ws://h:1/a/b?c").expect("a target");
        for (location, to) in
            [("/x", "ws://h:1/x"), ("y", "ws://h:1/a/y"), ("https://o/z", "wss://o/z"), ("//o:2/", "ws://o:2/")]
        {
            assert_eq!(from.join(location).map(|target| target.to_string()), Ok(to.to_owned()), "{location}");
        }
    }

    #[test]
    fn reads_where_to_listen() {
        let table = [
            ("8080", Some("127.0.0.1:8080")),
            (":0", Some("127.0.0.1:0")),
            ("0.0.0.0:80", Some("0.0.0.0:80")),
            ("[::1]:7", Some("[::1]:7")),
            ("localhost:7", Some("localhost:7")),
            ("unix:/tmp/s", Some("unix:/tmp/s")),
            ("", None),
            ("unix:", None),
            ("::1:80", None),
            ("h:65536", None),
            ("h", None),
        ];
        for (text, shown) in table {
            assert_eq!(ListenAddr::parse(text).ok().map(|address| address.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_secret_and_what_is_asked_for_does() {
        let target = WsTarget::parse("ws://u:pw@h/a?token=abc&b=c").expect("a target");
        assert_eq!(target.to_string(), "ws://h/a?token=[redacted]&b=c");
        assert_eq!(target.path_and_query, "/a?token=abc&b=c");
        let next = target.join("?key=def").expect("a target");
        assert_eq!(
            (next.path_and_query.as_str(), next.to_string().as_str()),
            ("/a?key=def", "ws://h/a?key=[redacted]")
        );
        for (text, shown) in [
            ("ws://u:pw@h/?token=abc", "ws://h/?token=[redacted]"),
            ("https://u:pw@h/in?sig=abc", "https://h/in?sig=[redacted]"),
            ("nats://u:pw@h:1/s?token=abc", "nats://h:1/s?token=[redacted]"),
            ("kafka://h/t?rdkafka.sasl.password=abc", "kafka://h/t?rdkafka.sasl.password=[redacted]"),
            ("exec:curl https://u:pw@h/?key=abc", "exec:curl https://h/?key=[redacted]"),
        ] {
            assert_eq!(Endpoint::parse(text).expect("an endpoint").to_string(), shown);
        }
    }
}
