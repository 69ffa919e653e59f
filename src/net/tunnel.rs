//! The way through a proxy: CONNECT (RFC 9110 section 9.3.6), spoken by hyper, and SOCKS5.
//!
//! Leaves what a proxy's URL means to [`super::proxy`], the socket to [`super::dial`] and TLS to
//! [`super::tls`]. Invariants: every error names the proxy and none its password; of the byte stream
//! that comes out nothing of the server's has been read.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{IntoTargetAddr, TargetAddr};

use super::dial::{DialError, DialOptions, Timings, dial, look_up};
use super::head;
use super::http_client::{NoAnswer, USER_AGENT};
use super::proxy::{Proxy, ProxyScheme};
use super::tls::{ClientConnector, TlsError};
use super::transport::Transport;
use super::upgrade::{headers_text, reason};
use crate::endpoint::{WsTarget, bracketed};
use crate::message::io_text::io_text;

/// Why the proxy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The configured proxy is invalid.
    #[error("{0}")]
    Setting(String),
    /// The server's name has no address here, where a SOCKS5 proxy must be given one.
    #[error(transparent)]
    LookUp(#[from] DialError),
    /// The proxy itself cannot be reached.
    #[error("cannot reach the proxy {proxy}: {cause}")]
    Unreachable { proxy: String, cause: DialError },
    /// TLS with the proxy failed.
    #[error("the proxy {proxy}: {cause}")]
    Tls { proxy: String, cause: TlsError },
    /// An HTTP answer other than 2xx.
    #[error("the proxy {proxy} refused to connect to the server: {}", format!("{status} {reason}").trim_end())]
    Refused {
        proxy: String,
        /// The status code.
        status: u16,
        /// The reason in the proxy's words.
        reason: String,
        /// Request and answer for display, secrets redacted.
        head: String,
    },
    /// The proxy works; the server cannot be reached from it (SOCKS5).
    #[error("the proxy {proxy}: {reason}")]
    Server { proxy: String, reason: &'static str },
    /// The proxy wants other credentials, or some at all (SOCKS5).
    #[error("the proxy {proxy} {reason}")]
    Credentials { proxy: String, reason: &'static str },
    #[error("the proxy {proxy}: {reason}")]
    Failed { proxy: String, reason: String },
}

/// The part of the way that leads through a proxy, for `-v`.
#[derive(Debug, Clone)]
pub(crate) struct ProxyLeg {
    /// The proxy, without user info.
    pub name: String,
    /// TLS handshake with it, zero without TLS.
    pub tls: Duration,
    /// Facts about its certificate.
    pub certificate: Vec<String>,
    /// From the request for the tunnel to its answer.
    pub tunnel: Duration,
    /// What it was asked and answered, secrets redacted; empty for SOCKS.
    pub head: String,
}

/// Makes a byte stream to `target` through `proxy`. `tls` is used only for an https proxy.
///
/// # Errors
/// [`ProxyError`].
pub(crate) async fn tunnel<'t>(
    proxy: &Proxy,
    target: &WsTarget,
    options: &DialOptions,
    tls: impl Fn() -> Result<&'t ClientConnector, TlsError>,
) -> Result<(Transport, Timings, ProxyLeg), ProxyError> {
    let started = Instant::now();
    let destinations = destinations(proxy, target, options).await?;
    let look_up = started.elapsed();
    let mut last = None;
    for destination in &destinations {
        let (transport, mut timings, mut leg) = reach(proxy, options, &tls).await?;
        timings.dns += look_up;
        let started = Instant::now();
        let result = match proxy.scheme {
            ProxyScheme::Http | ProxyScheme::Https => connect(transport, destination, target.port, proxy).await,
            ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                socks(transport, destination, target.port, proxy).await.map(|transport| (transport, String::new()))
            }
        };
        match result {
            Ok((transport, head)) => {
                leg.tunnel = started.elapsed();
                leg.head = head;
                return Ok((transport, timings, leg));
            }
            // Of several addresses another one may be reached.
            Err(error @ (ProxyError::Server { .. } | ProxyError::Failed { .. })) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| ProxyError::Failed { proxy: proxy.to_string(), reason: "no address".to_owned() }))
}

/// Makes a byte stream to the proxy itself.
///
/// # Errors
/// [`ProxyError`].
pub(crate) async fn reach<'t>(
    proxy: &Proxy,
    options: &DialOptions,
    tls: impl Fn() -> Result<&'t ClientConnector, TlsError>,
) -> Result<(Transport, Timings, ProxyLeg), ProxyError> {
    let (mut transport, timings) = dial(&proxy.host, proxy.port, options)
        .await
        .map_err(|cause| ProxyError::Unreachable { proxy: proxy.to_string(), cause })?;
    let mut leg = ProxyLeg {
        name: proxy.to_string(),
        tls: Duration::ZERO,
        certificate: Vec::new(),
        tunnel: Duration::ZERO,
        head: String::new(),
    };
    if proxy.scheme == ProxyScheme::Https {
        let started = Instant::now();
        let failed = |cause| ProxyError::Tls { proxy: proxy.to_string(), cause };
        transport = tls().map_err(failed)?.handshake(&proxy.host, transport).await.map_err(failed)?;
        leg.tls = started.elapsed();
        leg.certificate = transport.describe_certificate();
    }
    Ok((transport, timings, leg))
}

/// What the proxy is asked for: the target's name, or addresses where they are known here.
async fn destinations(proxy: &Proxy, target: &WsTarget, options: &DialOptions) -> Result<Vec<String>, ProxyError> {
    let given = options.overrides(&target.host, target.port);
    let addresses: Vec<IpAddr> = if !given.is_empty() {
        given
    } else if proxy.scheme == ProxyScheme::Socks5 {
        look_up(&target.host, target.port, options).await?
    } else {
        return Ok(vec![target.host.clone()]);
    };
    Ok(addresses.iter().map(ToString::to_string).collect())
}

async fn connect(
    transport: Transport,
    host: &str,
    port: u16,
    proxy: &Proxy,
) -> Result<(Transport, String), ProxyError> {
    let failed = |reason: String| ProxyError::Failed { proxy: proxy.to_string(), reason };
    let place = format!("{}:{port}", bracketed(host));
    let mut request = Request::connect(&place).header(header::HOST, &place).header(header::USER_AGENT, USER_AGENT);
    if let Some(authorization) = proxy.authorization() {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(error.to_string()))?;
    let asked = format!("CONNECT {place} HTTP/1.1\n{}", headers_text(request.headers(), request.extensions()).await);
    let broken = |error: hyper::Error| failed(NoAnswer::from(error).to_string());
    let (mut sender, connection) = head::client().handshake(TokioIo::new(transport)).await.map_err(broken)?;
    let mut connection = Box::pin(connection.without_shutdown());
    let mut answer = Box::pin(sender.send_request(request));
    // The connection must be driven while the answer is awaited; it ends by itself after a 2xx.
    let (response, parts) = tokio::select! {
        biased;
        response = &mut answer => (response.map_err(broken)?, None),
        parts = &mut connection => (answer.await.map_err(broken)?, Some(parts)),
    };
    let shown = format!("{asked}{}", answer_text(&response).await);
    if !response.status().is_success() {
        let (status, reason) = (response.status().as_u16(), reason(&response));
        return Err(ProxyError::Refused { proxy: proxy.to_string(), status, reason, head: shown });
    }
    let parts = match parts {
        Some(parts) => parts,
        None => connection.await,
    };
    let parts = parts.map_err(broken)?;
    if !parts.read_buf.is_empty() {
        // In TLS and in HTTP the client speaks first.
        return Err(failed("it sent unexpected bytes after its answer".to_owned()));
    }
    Ok((parts.io.into_inner(), shown))
}

async fn answer_text(response: &Response<Incoming>) -> String {
    let headers = headers_text(response.headers(), response.extensions()).await;
    format!("{:?} {} {}\n{headers}", response.version(), response.status().as_u16(), reason(response))
}

async fn socks(transport: Transport, host: &str, port: u16, proxy: &Proxy) -> Result<Transport, ProxyError> {
    let failed = |error: tokio_socks::Error| socks_error(&error, proxy);
    let destination: TargetAddr<'_> = match host.parse::<IpAddr>() {
        Ok(address) => TargetAddr::Ip(SocketAddr::new(address, port)),
        Err(_) => (host, port).into_target_addr().map_err(failed)?,
    };
    let stream = match proxy.credentials() {
        None => Socks5Stream::connect_with_socket(transport, destination).await,
        Some((user, password)) => {
            Socks5Stream::connect_with_password_and_socket(transport, destination, user, password).await
        }
    };
    stream.map(Socks5Stream::into_inner).map_err(failed)
}

fn socks_error(error: &tokio_socks::Error, proxy: &Proxy) -> ProxyError {
    use tokio_socks::Error as Socks;
    let credentials = |reason| ProxyError::Credentials { proxy: proxy.to_string(), reason };
    let server = |reason| ProxyError::Server { proxy: proxy.to_string(), reason };
    let reason = match error {
        Socks::PasswordAuthFailure(_) => return credentials("rejected the user name and password"),
        Socks::NoAcceptableAuthMethods if proxy.credentials().is_some() => {
            return credentials("does not support a user name and password");
        }
        Socks::NoAcceptableAuthMethods | Socks::AuthorizationRequired => {
            return credentials("requires a user name and password");
        }
        Socks::InvalidAuthValues(_) => {
            return credentials("requires a user name and password of 1 to 255 bytes each");
        }
        Socks::ConnectionNotAllowedByRuleset => return server("its rules do not allow the connection"),
        Socks::ConnectionRefused => return server("the server refused its connection"),
        Socks::HostUnreachable => return server("it cannot reach the server or resolve its name"),
        Socks::NetworkUnreachable => return server("it cannot reach the server's network"),
        Socks::TtlExpired => return server("it cannot reach the server in time"),
        Socks::GeneralSocksServerFailure => return server("it reports a general failure"),
        Socks::AddressTypeNotSupported => return server("it does not support this address type"),
        Socks::InvalidResponseVersion => "its answer is not SOCKS5".to_owned(),
        Socks::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "it closed the connection without an answer".to_owned()
        }
        Socks::Io(error) => io_text(error),
        other => other.to_string(),
    };
    ProxyError::Failed { proxy: proxy.to_string(), reason }
}
