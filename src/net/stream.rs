//! Byte streams to servers that speak neither HTTP nor WebSocket, such as databases, and TLS on them when it is asked for.
//!
//! Leaves what is said over them to the caller. Invariant: certificates and keys are read once, when they are first needed.

use std::cell::OnceCell;
use std::time::Duration;

use super::connector::ConnectError;
use super::dial::{DialOptions, dial};
use super::proxy::ProxyRules;
use super::tls::{ClientConnector, ClientTls, TlsError};
use super::transport::Transport;
use super::tunnel::{ProxyError, tunnel};
use crate::endpoint::WsTarget;

/// Opens byte streams, as many as asked.
pub(crate) struct StreamConnector {
    /// Look-up and sockets.
    pub dial: DialOptions,
    /// Which proxy leads there, if any.
    pub proxies: ProxyRules,
    /// Limits everything until the server can be used.
    pub connect_timeout: Duration,
    tls: ClientTls,
    made: OnceCell<ClientConnector>,
    for_proxies: OnceCell<ClientConnector>,
}

impl StreamConnector {
    /// Returns a connector that has opened nothing.
    pub(crate) fn new(dial: DialOptions, proxies: ProxyRules, tls: ClientTls, connect_timeout: Duration) -> Self {
        Self { dial, proxies, connect_timeout, tls, made: OnceCell::new(), for_proxies: OnceCell::new() }
    }

    /// Returns what does TLS handshakes.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub(crate) fn tls(&self) -> Result<&ClientConnector, TlsError> {
        prepared(&self.made, || self.tls.build())
    }

    /// Opens a byte stream without TLS, directly or through a proxy.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub(crate) async fn open(&self, host: &str, port: u16) -> Result<Transport, ConnectError> {
        let target =
            WsTarget { secure: false, host: host.to_owned(), port, path_and_query: "/".to_owned(), user_info: None };
        let proxy = match self.dial.unix_socket {
            None => self.proxies.choose(&target).map_err(ProxyError::Setting)?,
            Some(_) => None,
        };
        match proxy {
            None => Ok(dial(host, port, &self.dial).await?.0),
            Some(proxy) => {
                let tls = || prepared(&self.for_proxies, || self.tls.without_identity().build());
                Ok(tunnel(proxy, &target, &self.dial, tls).await?.0)
            }
        }
    }
}

fn prepared(
    cell: &OnceCell<ClientConnector>,
    build: impl FnOnce() -> Result<ClientConnector, TlsError>,
) -> Result<&ClientConnector, TlsError> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = build()?;
    Ok(cell.get_or_init(|| made))
}
