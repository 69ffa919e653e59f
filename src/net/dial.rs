//! From a name to a byte stream: one look-up, then happy eyeballs (RFC 8305).
//!
//! Address families alternate; each attempt gets a head start of 250 ms, a failure starts the next
//! at once, the first to connect wins and the others are dropped.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::transport::Transport;
use crate::message::io_text::io_text;

/// Head start of each attempt over the next (RFC 8305 section 8).
const HEAD_START: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    #[default]
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// How a byte stream is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct DialOptions {
    /// Addresses that stand in for a look-up, by host and port.
    pub resolve: Vec<(String, u16, IpAddr)>,
    /// A unix socket in place of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// The local address to connect from.
    pub interface: Option<IpAddr>,
    pub family: Family,
}

impl DialOptions {
    /// The same for a socket bound to the local address, which reaches addresses of its own family only.
    fn as_bound(&self) -> Self {
        let family = match (self.family, self.interface) {
            (Family::Any, Some(IpAddr::V4(_))) => Family::V4,
            (Family::Any, Some(IpAddr::V6(_))) => Family::V6,
            (family, _) => family,
        };
        Self { family, ..self.clone() }
    }

    /// The addresses given for `host:port`, of any family.
    pub(crate) fn overrides(&self, host: &str, port: u16) -> Vec<IpAddr> {
        let meant = self.resolve.iter().filter(|(name, at, _)| name.eq_ignore_ascii_case(host) && *at == port);
        meant.map(|(_, _, address)| *address).collect()
    }
}

/// Reads `HOST:PORT:ADDR`; an IPv6 address may stand in brackets.
///
/// # Errors
/// A line that says what is wrong.
pub(crate) fn parse_resolve(text: &str) -> Result<(String, u16, IpAddr), String> {
    let mut parts = text.splitn(3, ':');
    let (Some(host), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("expected HOST:PORT:ADDRESS".to_owned());
    };
    let port = port.parse().map_err(|_| format!("invalid port '{port}'"))?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| format!("invalid address '{address}'"))?;
    Ok((host.to_ascii_lowercase(), port, address))
}

/// Why there is no byte stream.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name is unknown, or has no address of the family wanted.
    #[error("{host} has no {}address", match family { Family::Any => "", Family::V4 => "IPv4 ", Family::V6 => "IPv6 \
    " })]
    NoAddress {
        host: String,
        /// The family wanted.
        family: Family,
    },
    /// The look-up itself failed.
    #[error("lookup of {host} failed: {reason}")]
    LookupFailed {
        host: String,
        /// In the words of the system.
        reason: String,
    },
    /// No address could be connected to.
    #[error("{reason} ({tried})")]
    Refused {
        /// The first cause, in the words of the system.
        reason: String,
        /// The addresses tried.
        tried: String,
    },
}

/// How long it took, and where it led.
#[derive(Debug, Clone)]
pub(crate) struct Timings {
    pub dns: Duration,
    /// From the first attempt to the connection.
    pub tcp: Duration,
    /// The address reached.
    pub address: String,
}

/// Makes a byte stream to `host:port`.
///
/// # Errors
/// [`DialError`].
pub(crate) async fn dial(host: &str, port: u16, options: &DialOptions) -> Result<(Transport, Timings), DialError> {
    let started = Instant::now();
    if let Some(path) = &options.unix_socket {
        let address = format!("unix:{}", path.display());
        let stream = UnixStream::connect(path)
            .await
            .map_err(|error| DialError::Refused { reason: io_text(&error), tried: address.clone() })?;
        return Ok((Transport::Unix(stream), Timings { dns: Duration::ZERO, tcp: started.elapsed(), address }));
    }
    let addresses = look_up(host, port, &options.as_bound()).await?;
    let dns = started.elapsed();
    let started = Instant::now();
    let stream = race(&interleave(addresses), port, options.interface).await?;
    let address = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
    Ok((Transport::Tcp(stream), Timings { dns, tcp: started.elapsed(), address }))
}

/// The addresses of `host` that may be used: those given for it, else the system's, once each.
pub(crate) async fn look_up(host: &str, port: u16, options: &DialOptions) -> Result<Vec<IpAddr>, DialError> {
    let family = options.family;
    let overrides = options.overrides(host, port);
    let found = if !overrides.is_empty() {
        overrides
    } else if let Ok(address) = host.parse() {
        vec![address]
    } else {
        system_look_up(host).await?
    };
    let mut addresses: Vec<IpAddr> = found.into_iter().filter(|address| family.allows(*address)).collect();
    let mut seen = Vec::new();
    addresses.retain(|address| {
        !seen.contains(address) && {
            seen.push(*address);
            true
        }
    });
    if addresses.is_empty() { Err(DialError::NoAddress { host: host.to_owned(), family }) } else { Ok(addresses) }
}

/// getaddrinfo(3), on a thread because it blocks.
async fn system_look_up(host: &str) -> Result<Vec<IpAddr>, DialError> {
    let name = host.to_owned();
    let failed = |reason: String| DialError::LookupFailed { host: host.to_owned(), reason };
    let found = tokio::task::spawn_blocking(move || {
        let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
        let entries = dns_lookup::getaddrinfo(Some(&name), None, Some(hints))?;
        Ok(entries.filter_map(Result::ok).map(|entry| entry.sockaddr.ip()).collect::<Vec<_>>())
    })
    .await
    .map_err(|error| failed(error.to_string()))?;
    found.map_err(|error: dns_lookup::LookupError| match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => {
            DialError::NoAddress { host: host.to_owned(), family: Family::Any }
        }
        _ => failed(io_text(&io::Error::from(error))),
    })
}

/// Alternates families, beginning with the system's first choice.
fn interleave(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = Vec::new();
    while !one.is_empty() || !other.is_empty() {
        order.extend(one.pop_front());
        order.extend(other.pop_front());
    }
    order
}

async fn race(addresses: &[IpAddr], port: u16, interface: Option<IpAddr>) -> Result<TcpStream, DialError> {
    let mut rest = addresses.iter();
    let mut under_way = FuturesUnordered::new();
    let mut first_error = None;
    loop {
        if let Some(address) = rest.next() {
            under_way.push(attempt(SocketAddr::new(*address, port), interface));
        } else if under_way.is_empty() {
            break;
        }
        let more = !rest.as_slice().is_empty();
        tokio::select! {
            Some(result) = under_way.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
        }
    }
    let tried: Vec<String> = addresses.iter().map(|address| SocketAddr::new(*address, port).to_string()).collect();
    let reason = first_error.map_or_else(|| "no address".to_owned(), |error| io_text(&error));
    Err(DialError::Refused { reason, tried: tried.join(", ") })
}

async fn attempt(address: SocketAddr, interface: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(interface) = interface {
        // The port is chosen while connecting, so that one may serve many targets.
        #[cfg(target_os = "linux")]
        let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true);
        socket.bind(SocketAddr::new(interface, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let order = interleave(["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"].map(address).to_vec());
        assert_eq!(order, ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"].map(address));
    }

    #[test]
    fn reads_overrides() {
        assert_eq!(parse_resolve("H:80:127.0.0.1"), Ok(("h".to_owned(), 80, "127.0.0.1".parse().expect("v4"))));
        assert_eq!(parse_resolve("h:80:[::1]"), Ok(("h".to_owned(), 80, "::1".parse().expect("v6"))));
        for wrong in ["h", "h:80", "h:x:::1", "h:80:name"] {
            assert!(parse_resolve(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let resolve = |text: &str| parse_resolve(&format!("two:{port}:{text}")).expect("an override");
        let options =
            DialOptions { resolve: vec![resolve("127.0.0.2"), resolve("127.0.0.1")], ..DialOptions::default() };
        let (_, timings) = dial("two", port, &options).await.expect("one of two listens");
        assert_eq!(timings.address, format!("127.0.0.1:{port}"));
    }

    #[tokio::test]
    async fn each_failure_has_its_name() {
        let v6_only = DialOptions { family: Family::V6, ..DialOptions::default() };
        assert!(matches!(dial("127.0.0.1", 1, &v6_only).await, Err(DialError::NoAddress { .. })));
        assert!(matches!(dial("127.0.0.1", 1, &DialOptions::default()).await, Err(DialError::Refused { .. })));
    }
}
