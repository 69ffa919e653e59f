//! What happens to a client session, as events.

use std::time::Duration;

use crate::error::end_text;
use crate::message::event::EventBody;
use crate::net::connection::CloseReason;
use crate::net::connector::Handshake;
use crate::observe::control::milliseconds;
use crate::session::End;

/// A connection opened.
pub(crate) fn opened(handshake: &Handshake) -> EventBody {
    EventBody::Open {
        url: Some(handshake.url.clone()),
        peer: None,
        path: None,
        subprotocol: handshake.subprotocol.clone(),
        extensions: handshake.extensions.clone(),
        handshake_ms: Some(milliseconds(handshake.total)),
        subject: None,
    }
}

/// A Close went one way or the other.
pub(crate) fn closing(close: &CloseReason) -> EventBody {
    EventBody::Close { code: close.code, reason: close.reason.clone(), clean: true }
}

/// A connection ended without a Close.
pub(crate) fn lost(end: &End) -> EventBody {
    EventBody::Close { code: None, reason: end_text(end), clean: false }
}

/// Another attempt follows after this time, because of what failed.
pub(crate) fn retry(attempt: u32, delay: Duration, cause: String) -> EventBody {
    EventBody::Retry { attempt, delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), cause }
}
