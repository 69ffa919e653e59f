//! What can end a run early, and the one place where an error becomes an exit code and a hint.

use crate::exit::Exit;
use crate::host::OutputError;
use crate::message::counted::counted;
use crate::net::connection::ConnectionError;
use crate::net::connector::ConnectError;
use crate::net::dial::DialError;
use crate::net::tls::{TlsError, TlsErrorKind};
use crate::net::tunnel::ProxyError;
use crate::queue::spool::error::SpoolError;
use crate::session::End;

/// A failure with a line for the person who must act.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or a file it names is wrong.
    #[error("{message}")]
    Usage { message: String, hint: String },
    /// A filter or template does not compile.
    #[error("{flag}: {reason}")]
    Compile {
        /// The flag that brought it.
        flag: &'static str,
        reason: String,
    },
    /// No connection could be opened.
    #[error("cannot connect to {url}: {cause}")]
    Connect { url: String, cause: ConnectError },
    /// None of many connections could be opened.
    #[error("no connection to {url}: {text}")]
    NoConnection {
        url: String,
        /// What most of them failed of.
        kind: String,
        /// The first of these.
        text: String,
        hint: String,
    },
    /// TLS files cannot be read or used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// An open connection ended badly.
    #[error("{url}: {}", end_text(.end))]
    Ended { url: String, end: End },
    #[error("{url}: gave up after {}", counted(*attempts, "retry"))]
    RetriesSpent {
        url: String,
        /// Retries in a row.
        attempts: u32,
    },
    /// Could not bind the listen address.
    #[error("cannot listen on {address}: {cause}")]
    Bind { address: String, cause: String },
    /// A recording or dead letters cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Several things are wrong, reported together; at least one.
    #[error("{}", lines(.0))]
    Several(Vec<Error>),
    /// Something wrong that stands in a file.
    #[error("{place} {error}")]
    At {
        /// File and line.
        place: String,
        error: Box<Error>,
    },
    /// A spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A report cannot be written.
    #[error("cannot write the report {path}: {cause}")]
    Report { path: String, cause: String },
    #[error("{0}")]
    Internal(String),
}

impl Error {
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// Each thing that is wrong, for a line and a hint of its own.
    #[must_use]
    pub fn each(&self) -> &[Self] {
        match self {
            Self::Several(errors) => errors,
            one => std::slice::from_ref(one),
        }
    }

    /// The code the process ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            // What does not compile is distinguished only where that is all there is.
            Self::Several(errors) => {
                let other = errors.iter().find(|error| error.exit() != Exit::Compile);
                other.or(errors.first()).map_or(Exit::Internal, Self::exit)
            }
            Self::At { error, .. } => error.exit(),
            Self::Usage { .. } => Exit::Usage,
            Self::Compile { .. } => Exit::Compile,
            Self::Tls(_) => Exit::Tls,
            Self::NoConnection { .. } => Exit::Connect,
            Self::Connect { cause, .. } => match cause {
                ConnectError::Dial(DialError::NoAddress { .. }) => Exit::NoAddress,
                ConnectError::Dial(DialError::LookupFailed { .. }) => Exit::LookupFailed,
                ConnectError::Dial(DialError::Refused { .. }) | ConnectError::Timeout(..) => Exit::Connect,
                ConnectError::Credentials(_) => Exit::Usage,
                ConnectError::Tls(_) => Exit::Tls,
                ConnectError::Proxy(error) => proxy_exit(error),
                ConnectError::Refused(_) | ConnectError::Redirect { .. } => Exit::UpgradeRefused,
                ConnectError::Malformed(_) | ConnectError::NotHttp(_) => Exit::UpgradeMalformed,
            },
            Self::Ended { end, .. } => end_exit(end),
            Self::RetriesSpent { .. } => Exit::Lost,
            Self::Bind { .. } => Exit::Bind,
            Self::Record(_) | Self::Report { .. } | Self::Spool(_) => Exit::Storage,
            Self::Internal(_) => Exit::Internal,
        }
    }

    /// Returns what happened, less where.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Connect { cause, .. } => cause.to_string(),
            Self::Ended { end, .. } => end_text(end),
            other => other.to_string(),
        }
    }

    /// What to add where connecting is tried again, for the first time or a later one: the first time the hint, unless the
    /// server may only not be there yet.
    #[must_use]
    pub fn hint_of_retry(&self, retry: u32) -> String {
        match self {
            Self::Connect { cause: ConnectError::NotHttp(_) | ConnectError::Tls(_), .. } if retry == 1 => {
                self.hint().map_or_else(String::new, |hint| format!("; hint: {hint}"))
            }
            _ => String::new(),
        }
    }

    /// The flag or command that helps, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Usage { hint, .. } => hint.as_str(),
            Self::NoConnection { url, kind, hint, .. } => match kind.as_str() {
                "not tls" => return Some(format!("try {}", other_scheme(url))),
                "not http" if url.starts_with("ws://") => {
                    return Some(format!("is this a WebSocket server? with TLS use {}", other_scheme(url)));
                }
                _ => hint.as_str(),
            },
            Self::At { error, .. } => return error.hint(),
            Self::Tls(error) => tls_hint(error)?,
            Self::Connect { url, cause } => match cause {
                ConnectError::Tls(error) => match error.kind() {
                    TlsErrorKind::NotTls => return Some(format!("try {}", other_scheme(url))),
                    TlsErrorKind::HungUp => return Some(format!("without TLS use {}", other_scheme(url))),
                    kind => tls_hint_for(kind)?,
                },
                ConnectError::Proxy(error) => proxy_hint(error)?,
                ConnectError::Refused(refusal) => match refusal.status {
                    // In nginx's words and numbers; HTTP has none.
                    400 | 495 | 496 if refusal.text(SEARCHED).contains("SSL certificate") => {
                        return tls_hint_for(TlsErrorKind::CertificateWanted).map(str::to_owned);
                    }
                    // In the words of nginx, Go and Apache.
                    400 if WANTS_TLS.iter().any(|words| refusal.text(SEARCHED).contains(words)) => {
                        return Some(format!("the server requires TLS: try {}", other_scheme(url)));
                    }
                    401 => "-u USER:PASSWORD, --bearer TOKEN or -H 'Authorization: …' sends credentials",
                    403 => "-o URL sets the Origin header, -H others",
                    404 => "check the path of the URL",
                    300..=399 => "-L follows redirects",
                    _ => "-v shows the request and the answer",
                },
                ConnectError::Redirect { .. } => "--max-redirects allows more; -v shows the answers",
                ConnectError::Credentials(_) => "--bearer, --bearer-command, -u and -H @FILE are read at every attempt",
                ConnectError::Timeout(..) => "--connect-timeout DUR waits longer",
                ConnectError::Dial(DialError::Refused { .. }) => "is the server running there? wsp listen starts one",
                ConnectError::Dial(_) => "check the name, or give its address with --resolve HOST:PORT:ADDR",
                ConnectError::NotHttp(_) if url.starts_with("ws://") => {
                    return Some(format!("is this a WebSocket server? with TLS use {}", other_scheme(url)));
                }
                ConnectError::NotHttp(_) | ConnectError::Malformed(_) => {
                    "-v shows the request and the answer; is this a WebSocket server?"
                }
            },
            Self::Ended { end, .. } => match end {
                End::Failed(ConnectionError::TooLarge { .. }) => "--max-message-size SIZE accepts larger ones",
                End::Failed(ConnectionError::Lost(_)) => "--reconnect connects again",
                End::Unresponsive => "--ping-timeout DUR waits longer, --reconnect connects again",
                End::Idle => "--idle-timeout DUR waits longer",
                _ => return None,
            },
            Self::Bind { .. } => "use another port, or 0 for any free one",
            Self::Spool(error) => error.hint(),
            Self::Record(error) => match error.kind {
                Kind::Recording => "--record FILE writes to another file",
                Kind::DeadLetters => "--dead-letter FILE writes to another file",
            },
            Self::Report { .. } => "use another path, or print it with --json",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What is written: for what is said when that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Recording,
    /// Messages that were not taken.
    DeadLetters,
}

/// A file cannot be written: which, and what the system says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot write the {} {path}: {cause}", match .kind { Kind::Recording => "recording", Kind::DeadLetters => "dead letters" })]
pub struct RecordError {
    pub kind: Kind,
    pub path: String,
    pub cause: String,
}

impl From<OutputError> for Error {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Closed => {
                Self::usage(error.to_string(), "redirect it to a file, or to /dev/null to discard it")
            }
            OutputError::Failed(text) => Self::Internal(text),
        }
    }
}

/// How servers say that they were spoken to without TLS.
const WANTS_TLS: [&str; 3] = [
    "plain HTTP request was sent to HTTPS port",
    "HTTP request to an HTTPS server",
    "speaking plain HTTP to an SSL-enabled server port",
];
/// Bytes of a refusal's body that are searched for such words.
const SEARCHED: usize = 64 * 1024;

/// The same address with TLS where there was none, and without where there was.
fn other_scheme(url: &str) -> String {
    match url.split_once("://") {
        Some(("ws", rest)) => format!("wss://{rest}"),
        Some(("wss", rest)) => format!("ws://{rest}"),
        Some(("http", rest)) => format!("https://{rest}"),
        Some(("https", rest)) => format!("http://{rest}"),
        _ => url.to_owned(),
    }
}

fn lines(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn tls_hint(error: &TlsError) -> Option<&'static str> {
    tls_hint_for(error.kind())
}

fn tls_hint_for(kind: TlsErrorKind) -> Option<&'static str> {
    Some(match kind {
        TlsErrorKind::Untrusted => "--cacert FILE trusts its issuer, -k accepts any certificate",
        TlsErrorKind::NameMismatch => "--sni NAME asks for the name in the certificate, -k accepts any",
        TlsErrorKind::Expired => "accept it anyway with -k",
        TlsErrorKind::CertificateWanted => "--cert FILE --key FILE or --pkcs12 FILE shows a client certificate",
        TlsErrorKind::Passphrase => "--passphrase-env VAR takes it from the environment variable VAR",
        TlsErrorKind::TrustPassphrase => {
            "--cacert-passphrase-env VAR (of a server: --client-ca-passphrase-env VAR) names the variable that holds it"
        }
        TlsErrorKind::OldKey => {
            "if installed, run: openssl pkey -provider legacy -provider default -in OLD -aes256 -out NEW"
        }
        TlsErrorKind::OldPkcs12 => {
            "if installed, run: openssl pkcs12 -legacy -in OLD -nodes | openssl pkcs12 -export -out NEW"
        }
        TlsErrorKind::JavaStore => {
            "keytool -importkeystore -srckeystore OLD -destkeystore NEW.p12 -deststoretype PKCS12; then --pkcs12 \
             NEW.p12"
        }
        TlsErrorKind::JavaTrust => "keytool -list -rfc -keystore OLD > NEW.pem",
        TlsErrorKind::NotTls => "use http:// in place of https:// to connect to it without TLS",
        TlsErrorKind::HungUp | TlsErrorKind::Other => return None,
    })
}

fn proxy_exit(error: &ProxyError) -> Exit {
    match error {
        ProxyError::Setting(_) => Exit::Usage,
        ProxyError::LookUp(cause) | ProxyError::Unreachable { cause, .. } => match cause {
            DialError::NoAddress { .. } => Exit::NoAddress,
            DialError::LookupFailed { .. } => Exit::LookupFailed,
            DialError::Refused { .. } => Exit::Connect,
        },
        ProxyError::Tls { .. } => Exit::Tls,
        ProxyError::Refused { .. }
        | ProxyError::Server { .. }
        | ProxyError::Credentials { .. }
        | ProxyError::Failed { .. } => Exit::Connect,
    }
}

fn proxy_hint(error: &ProxyError) -> Option<&'static str> {
    Some(match error {
        ProxyError::Setting(_) => "correct the variable, or connect without a proxy with --proxy ''",
        ProxyError::LookUp(_) => "a socks5h:// proxy looks names up itself; --resolve HOST:PORT:ADDR gives the address",
        ProxyError::Unreachable { .. } => "is the proxy running there? --proxy '' connects without one",
        ProxyError::Tls { cause, .. } => return tls_hint(cause),
        // Tinyproxy answers wrong credentials with 401.
        ProxyError::Refused { status: 401 | 407, .. } => {
            "--proxy http://USER:PASSWORD@HOST:PORT sends credentials to the proxy"
        }
        ProxyError::Credentials { .. } => "--proxy socks5://USER:PASSWORD@HOST:PORT sends credentials to the proxy",
        ProxyError::Refused { .. } => "-v shows its answer; NO_PROXY=HOST or --proxy '' connects without it",
        ProxyError::Server { .. } => {
            "is the server running there? NO_PROXY=HOST or --proxy '' connects without the proxy"
        }
        ProxyError::Failed { .. } => "is it a proxy of this kind? NO_PROXY=HOST or --proxy '' connects without it",
    })
}

/// The code for how a connection ended.
#[must_use]
pub(crate) fn end_exit(end: &End) -> Exit {
    match end {
        End::Closed { by_us: true, .. } | End::CloseTimeout | End::Aborted => Exit::Done,
        End::Closed { close, .. } if close.is_normal() => Exit::Done,
        End::Closed { .. } | End::Unresponsive | End::Idle | End::Failed(ConnectionError::Lost(_)) => Exit::Lost,
        End::Failed(_) => Exit::Protocol,
    }
}

/// How a connection ended, for a person.
#[must_use]
pub(crate) fn end_text(end: &End) -> String {
    match end {
        End::Closed { close, by_us: false } => format!("closed by the peer: {close}"),
        End::Closed { close, by_us: true } => format!("closed: {close}"),
        End::CloseTimeout => "closed; the peer did not answer the close frame".to_owned(),
        End::Aborted => "cut off".to_owned(),
        End::Unresponsive => "the peer is unresponsive: no pong within the ping timeout".to_owned(),
        End::Idle => "no message within the idle timeout".to_owned(),
        End::Failed(error) => match error.close_code() {
            Some(code) => format!("{error} (closed with {code})"),
            None => error.to_string(),
        },
    }
}
