//! Reads off an error of a connection what a retry depends on.

use crate::net::connector::ConnectError;
use crate::net::dial::DialError;
use crate::net::tls::TlsErrorKind;
use crate::net::tunnel::ProxyError;
use crate::session::End;

/// The code of a Close frame that has none (RFC 6455 section 7.4.1).
const NO_CODE: u16 = 1005;

/// Why something failed, as far as a retry depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A loss, a silence or an address that is not there: it may pass.
    Passing,
    /// A refusal with this HTTP status.
    Status(u16),
    /// A Close of the peer with this code.
    Close(u16),
    /// No other attempt can change it.
    Final,
}

/// Returns why there was no connection.
#[must_use]
pub(crate) fn of_connect(error: &ConnectError) -> Cause {
    match error {
        ConnectError::Dial(
            DialError::NoAddress { .. } | DialError::LookupFailed { .. } | DialError::Refused { .. },
        )
        | ConnectError::Malformed(_)
        | ConnectError::NotHttp(_)
        | ConnectError::Credentials(_)
        | ConnectError::Timeout(..) => Cause::Passing,
        ConnectError::Refused(refusal) => Cause::Status(refusal.status),
        ConnectError::Tls(error) => of_tls(error.kind()),
        ConnectError::Proxy(error) => of_proxy(error),
        ConnectError::Redirect { .. } => Cause::Final,
    }
}

fn of_proxy(error: &ProxyError) -> Cause {
    match error {
        ProxyError::LookUp(_)
        | ProxyError::Unreachable { .. }
        | ProxyError::Server { .. }
        | ProxyError::Failed { .. } => Cause::Passing,
        ProxyError::Refused { status, .. } => Cause::Status(*status),
        ProxyError::Tls { cause, .. } => of_tls(cause.kind()),
        ProxyError::Setting(_) | ProxyError::Credentials { .. } => Cause::Final,
    }
}

fn of_tls(kind: TlsErrorKind) -> Cause {
    if matches!(kind, TlsErrorKind::Other | TlsErrorKind::HungUp) { Cause::Passing } else { Cause::Final }
}

/// Returns why a session ended; `Final` where this side ended it.
#[must_use]
pub(crate) fn of_end(end: &End) -> Cause {
    match end {
        End::Closed { by_us: true, .. } | End::CloseTimeout | End::Aborted => Cause::Final,
        End::Closed { close, by_us: false } => Cause::Close(close.code.unwrap_or(NO_CODE)),
        End::Unresponsive | End::Idle | End::Failed(_) => Cause::Passing,
    }
}
