//! From a URL to an open [`Connection`]: look-up, TCP, TLS, upgrade, redirects, all within one
//! time limit. Each step is another file's; this one puts them in order and names what failed.

use std::cell::{OnceCell, RefCell};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HeaderValue;

use super::connection::{Connection, ConnectionSettings, MessageLimits};
use super::credentials::{Credentials, Identity};
use super::deflate::{DeflateOffer, NegotiationError, Role, check_answer};
use super::dial::{DialError, DialOptions, dial};
use super::proxy::{Proxy, ProxyRules};
use super::tls::{ClientConnector, ClientTls, TlsError};
use super::transport::Transport;
use super::tunnel::{ProxyError, ProxyLeg, reach, tunnel};
use super::upgrade::{HeaderEdit, Refusal, UpgradeError, UpgradeRequest, upgrade};
use crate::endpoint::WsTarget;
use crate::message::har::{Exchange, Times};
use crate::redact;

/// Everything a client connection is made from.
#[derive(Debug, Clone)]
pub(crate) struct ConnectOptions {
    pub target: WsTarget,
    /// Look-up and sockets.
    pub dial: DialOptions,
    /// Which proxy leads there, if any.
    pub proxies: ProxyRules,
    /// Trust, identity and versions.
    pub tls: ClientTls,
    /// `-H`.
    pub headers: Vec<HeaderEdit>,
    /// Host header in place of the target's.
    pub host: Option<String>,
    pub origin: Option<String>,
    pub subprotocols: Vec<String>,
    /// Who the client is, read at every attempt.
    pub credentials: Credentials,
    pub cookies: Vec<String>,
    pub deflate: Option<DeflateOffer>,
    /// Largest message accepted, in bytes.
    pub max_message_size: usize,
    /// For look-up, TCP, TLS and the answer to the upgrade together.
    pub connect_timeout: Duration,
    /// Maximum number of redirects; `None` follows none.
    pub redirects: Option<u32>,
    /// Pings are left to the code that reads them.
    pub no_pong: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Look-up or TCP.
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The proxy cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The upgrade was refused.
    #[error("{}", refused_text(.0))]
    Refused(Box<Refusal>),
    /// The upgrade answer is invalid.
    #[error("{0}")]
    Malformed(String),
    /// Missing, or not HTTP.
    #[error("{0}")]
    NotHttp(&'static str),
    /// What says who the client is cannot be read.
    #[error("{0}")]
    Credentials(String),
    /// The connect timeout ran out, while waiting for what is said second.
    #[error("no connection within {0:?}; stuck at {1}")]
    Timeout(Duration, String),
    /// More redirects than allowed, or one that leads nowhere.
    #[error("redirect: {reason}")]
    Redirect {
        reason: String,
        /// Requests and answers so far, secrets redacted.
        heads: Vec<String>,
    },
}

fn refused_text(refusal: &Refusal) -> String {
    format!("the server refused the upgrade: {} {}", refusal.status, refusal.reason).trim_end().to_owned()
}

impl From<UpgradeError> for ConnectError {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::Refused(refusal) => Self::Refused(refusal),
            UpgradeError::NotHttp(text) => Self::NotHttp(text),
            UpgradeError::Tls(error) => Self::Tls(error),
            other => Self::Malformed(other.to_string()),
        }
    }
}

impl From<NegotiationError> for ConnectError {
    fn from(error: NegotiationError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// What the handshake brought to light, for `-v` and `open` events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handshake {
    /// The URL reached in the end, without user info.
    pub url: String,
    /// The address reached: the proxy's where there is one.
    pub address: String,
    /// Requests and answers of the redirects that led there, secrets redacted.
    pub redirects: Vec<String>,
    /// The way through a proxy.
    pub proxy: Option<ProxyLeg>,
    pub dns: Duration,
    pub tcp: Duration,
    /// TLS handshake, zero without TLS.
    pub tls: Duration,
    /// Whether the TLS handshake took up an earlier session.
    pub resumed: bool,
    /// From the request to its answer.
    pub upgrade: Duration,
    pub total: Duration,
    /// Facts about TLS and the certificates.
    pub certificate: Vec<String>,
    /// The request as sent, secrets redacted.
    pub request_head: String,
    /// The answer, secrets redacted.
    pub response_head: String,
    /// The subprotocol agreed on.
    pub subprotocol: Option<String>,
    /// The extensions agreed on, as the server put them.
    pub extensions: Option<String>,
    /// The answer's headers.
    pub headers: http::HeaderMap,
    /// How their names were spelled, for [`super::head::spelled`].
    pub spelling: http::Extensions,
}

impl Handshake {
    /// What a recording shows of it.
    #[must_use]
    pub(crate) fn exchange(&self) -> Exchange<'_> {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Exchange {
            request: &self.request_head,
            response: &self.response_head,
            address: &self.address,
            times: Times { dns: ms(self.dns), tcp: ms(self.tcp), tls: ms(self.tls), upgrade: ms(self.upgrade) },
        }
    }
}

/// A byte stream whose upgrade is done.
#[derive(Debug)]
pub(crate) struct Opened {
    transport: Transport,
    /// What was read past the HTTP head.
    prefix: Bytes,
    settings: ConnectionSettings,
}

impl Opened {
    /// Starts speaking WebSocket on it.
    #[must_use]
    pub(crate) fn into_connection(self) -> Connection {
        Connection::new(self.transport, &self.prefix, &self.settings)
    }
}

/// Makes connections to one target, as often as asked.
pub(crate) struct Connector {
    options: ConnectOptions,
    /// Made when it is first needed: reading the system's trusted certificates takes longer than
    /// everything else a short run does.
    tls: OnceCell<ClientConnector>,
    /// As `tls`, without what belongs to the server alone.
    proxy_tls: OnceCell<ClientConnector>,
    /// What is waited for, in case the time runs out.
    step: RefCell<String>,
    identity: RefCell<Identity>,
}

impl Connector {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub(crate) fn new(options: ConnectOptions) -> Result<Self, TlsError> {
        let connector = Self {
            options,
            tls: OnceCell::new(),
            proxy_tls: OnceCell::new(),
            step: RefCell::default(),
            identity: RefCell::default(),
        };
        // Files of the user's are looked at even when the URL needs no TLS.
        if connector.options.target.secure || connector.options.tls.names_files() {
            connector.tls()?;
        }
        Ok(connector)
    }

    /// One for other options that agree with these on TLS, which is not prepared again.
    #[must_use]
    pub(crate) fn with(&self, options: ConnectOptions) -> Self {
        Self {
            options,
            tls: self.tls.clone(),
            proxy_tls: self.proxy_tls.clone(),
            step: RefCell::default(),
            identity: RefCell::default(),
        }
    }

    fn tls(&self) -> Result<&ClientConnector, TlsError> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let made = self.options.tls.build()?;
        Ok(self.tls.get_or_init(|| made))
    }

    /// For https proxies: the same trust and versions, but the certificate and the name are the server's.
    fn proxy_tls(&self) -> Result<&ClientConnector, TlsError> {
        if let Some(tls) = self.proxy_tls.get() {
            return Ok(tls);
        }
        let made = self.options.tls.without_identity().build()?;
        Ok(self.proxy_tls.get_or_init(|| made))
    }

    /// The target, whose display leaves user info out.
    #[must_use]
    pub(crate) fn target(&self) -> &WsTarget {
        &self.options.target
    }

    /// Makes one connection.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub(crate) async fn connect(&self) -> Result<(Connection, Handshake), ConnectError> {
        let (opened, handshake) = self.open(self.options.dial.interface).await?;
        Ok((opened.into_connection(), handshake))
    }

    /// Makes one connection, from this local address where one is given, and leaves open how it is used.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub(crate) async fn open(&self, source: Option<IpAddr>) -> Result<(Opened, Handshake), ConnectError> {
        let limit = self.options.connect_timeout;
        let opening = async {
            self.identify().await?;
            self.follow(source).await
        };
        tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(ConnectError::Timeout(limit, self.step.borrow().clone())))
    }

    /// Reads anew who the client is.
    async fn identify(&self) -> Result<(), ConnectError> {
        self.step.replace("reading the credentials".to_owned());
        let identity = self.options.credentials.read().await.map_err(ConnectError::Credentials)?;
        self.identity.replace(identity);
        Ok(())
    }

    /// Reads anew what is in files, for another request over a connection that is kept.
    pub(super) async fn identify_again(&self) -> Result<(), ConnectError> {
        if self.options.credentials.are_in_files() { self.identify().await } else { Ok(()) }
    }

    async fn follow(&self, source: Option<IpAddr>) -> Result<(Opened, Handshake), ConnectError> {
        let started = Instant::now();
        let mut target = self.options.target.clone();
        let mut heads = Vec::new();
        let mut hops = 0;
        loop {
            let same_place = is_same_place(&target, &self.options.target);
            let refusal = match self.attempt(&target, same_place, source).await {
                Ok((opened, mut handshake)) => {
                    handshake.total = started.elapsed();
                    handshake.redirects = heads;
                    return Ok((opened, handshake));
                }
                Err(ConnectError::Refused(refusal)) => refusal,
                Err(error) => return Err(error),
            };
            let redirect = matches!(refusal.status, 301 | 302 | 303 | 307 | 308);
            let (Some(most), Some(location), true) = (self.options.redirects, refusal.location(), redirect) else {
                return Err(ConnectError::Refused(refusal));
            };
            heads.push(refusal.head.clone());
            if hops >= most {
                return Err(ConnectError::Redirect { reason: format!("more than {most} of them"), heads });
            }
            hops += 1;
            target = match target.join(&location) {
                Ok(target) => target,
                Err(error) => {
                    let reason = format!(
                        "cannot follow redirect to '{}': {error}",
                        redact::broken_url(&location).escape_debug()
                    );
                    return Err(ConnectError::Redirect { reason, heads });
                }
            };
        }
    }

    async fn attempt(
        &self,
        target: &WsTarget,
        same_place: bool,
        source: Option<IpAddr>,
    ) -> Result<(Opened, Handshake), ConnectError> {
        let options = &self.options;
        let (transport, mut handshake) = self.open_stream(target, source).await?;
        let started = Instant::now();
        let request = UpgradeRequest {
            target,
            headers: self.header_edits(same_place),
            host_override: options.host.clone().filter(|_| same_place),
            origin: options.origin.clone(),
            subprotocols: options.subprotocols.clone(),
            authorization: if same_place { self.authorization() } else { None },
            cookies: if same_place { options.cookies.clone() } else { Vec::new() },
            extensions: options.deflate.as_ref().map(DeflateOffer::to_header),
        };
        self.step.replace("the answer to the upgrade".to_owned());
        let upgraded = upgrade(transport, &request).await?;
        handshake.upgrade = started.elapsed();
        let answers: Vec<&str> = upgraded.extensions.iter().map(String::as_str).collect();
        let deflate = check_answer(options.deflate.as_ref(), &answers)?;
        handshake.extensions = (!answers.is_empty()).then(|| answers.join(", "));
        handshake.subprotocol = upgraded.subprotocol;
        handshake.request_head = upgraded.request_head;
        handshake.response_head = upgraded.response_head;
        handshake.headers = upgraded.headers;
        handshake.spelling = upgraded.spelling;
        let settings = ConnectionSettings {
            role: Role::Client,
            limits: MessageLimits::both(options.max_message_size),
            deflate,
            no_pong: options.no_pong,
        };
        Ok((Opened { transport: upgraded.transport, prefix: upgraded.prefix, settings }, handshake))
    }

    /// A byte stream to the target that says what the target says, TLS included where it is meant.
    async fn open_stream(
        &self,
        target: &WsTarget,
        source: Option<IpAddr>,
    ) -> Result<(Transport, Handshake), ConnectError> {
        let (transport, mut handshake) = self.reach(target, source).await?;
        if !target.secure {
            return Ok((transport, handshake));
        }
        self.step.replace("the TLS handshake".to_owned());
        let started = Instant::now();
        let transport = self.tls()?.handshake(&target.host, transport).await?;
        handshake.tls = started.elapsed();
        handshake.resumed = transport.is_resumed();
        handshake.certificate = transport.describe_certificate();
        Ok((transport, handshake))
    }

    /// A byte stream for plain HTTP requests to the target, and the proxy it leads to when that passes them on itself, as
    /// HTTP proxies do with what is not encrypted.
    pub(super) async fn open_for_http(&self, target: &WsTarget) -> Result<(Transport, Option<&Proxy>), ConnectError> {
        let limit = self.options.connect_timeout;
        let opening = async {
            self.identify().await?;
            match self.proxy(target)?.filter(|proxy| !target.secure && proxy.is_http()) {
                None => {
                    self.open_stream(target, self.options.dial.interface).await.map(|(transport, _)| (transport, None))
                }
                Some(proxy) => {
                    self.step.replace(format!("the proxy {proxy}"));
                    let (transport, ..) = reach(proxy, &self.options.dial, || self.proxy_tls()).await?;
                    Ok((transport, Some(proxy)))
                }
            }
        };
        tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(ConnectError::Timeout(limit, self.step.borrow().clone())))
    }

    fn proxy(&self, target: &WsTarget) -> Result<Option<&Proxy>, ConnectError> {
        let options = &self.options;
        Ok(match options.dial.unix_socket {
            None => options.proxies.choose(target).map_err(ProxyError::Setting)?,
            Some(_) => None,
        })
    }

    #[must_use]
    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// A byte stream to the target, directly or through a proxy.
    async fn reach(&self, target: &WsTarget, source: Option<IpAddr>) -> Result<(Transport, Handshake), ConnectError> {
        let options = &self.options;
        let from_source;
        let dial_options = if source == options.dial.interface {
            &options.dial
        } else {
            from_source = DialOptions { interface: source, ..options.dial.clone() };
            &from_source
        };
        let (transport, timings, leg) = match self.proxy(target)? {
            None => {
                self.step.replace("look-up or TCP".to_owned());
                let (transport, timings) = dial(&target.host, target.port, dial_options).await?;
                (transport, timings, None)
            }
            Some(proxy) => {
                self.step.replace(format!("the proxy {proxy}"));
                let (transport, timings, leg) = tunnel(proxy, target, dial_options, || self.proxy_tls()).await?;
                (transport, timings, Some(leg))
            }
        };
        let handshake = Handshake {
            url: target.to_string(),
            address: timings.address,
            proxy: leg,
            dns: timings.dns,
            tcp: timings.tcp,
            ..Handshake::default()
        };
        Ok((transport, handshake))
    }

    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.identity.borrow().authorization.clone()
    }

    /// The user's headers, those that are secret only for the host they were given for.
    pub(super) fn header_edits(&self, same_place: bool) -> Vec<HeaderEdit> {
        let identity = self.identity.borrow();
        let edits = self.options.headers.iter().chain(&identity.headers);
        edits.filter(|edit| same_place || !edit.is_secret()).cloned().collect()
    }
}

/// Credentials go to the host and port they were given for, and nowhere else.
pub(super) fn is_same_place(one: &WsTarget, other: &WsTarget) -> bool {
    one.host == other.host && one.port == other.port && (one.secure || !other.secure)
}
