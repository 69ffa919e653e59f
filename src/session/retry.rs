//! Which failures to connect are worth another try.

use crate::net::connector::ConnectError;
use crate::net::dial::DialError;
use crate::net::tls::TlsErrorKind;
use crate::net::tunnel::ProxyError;

/// Whether connecting again may help.
#[must_use]
pub fn is_worth_retrying(cause: &ConnectError) -> bool {
    match cause {
        ConnectError::Dial(
            DialError::NoAddress { .. } | DialError::LookupFailed { .. } | DialError::Refused { .. },
        )
        | ConnectError::Malformed(_)
        | ConnectError::NotHttp(_)
        | ConnectError::Timeout(..) => true,
        ConnectError::Refused(refusal) => refusal.status >= 500 || matches!(refusal.status, 408 | 425 | 429),
        ConnectError::Tls(error) => matches!(error.kind(), TlsErrorKind::Other | TlsErrorKind::HungUp),
        ConnectError::Proxy(error) => is_proxy_worth_retrying(error),
        ConnectError::Redirect { .. } => false,
    }
}

fn is_proxy_worth_retrying(error: &ProxyError) -> bool {
    match error {
        ProxyError::LookUp(_)
        | ProxyError::Unreachable { .. }
        | ProxyError::Server { .. }
        | ProxyError::Failed { .. } => true,
        ProxyError::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
        ProxyError::Tls { cause, .. } => matches!(cause.kind(), TlsErrorKind::Other | TlsErrorKind::HungUp),
        ProxyError::Setting(_) | ProxyError::Credentials { .. } => false,
    }
}
