//! What `-v` says about how a connection was opened or failed.
//!
//! Owns the wording only: the facts are the connector's, which has redacted their secrets. Lines
//! begin with `*` for facts, `>` for what was asked and `<` for what was answered, as in curl; what
//! a peer wrote is escaped.

use std::time::Duration;

use super::shared::Shared;
use crate::message::render;
use crate::net::connector::{ConnectError, Handshake};
use crate::net::tunnel::{ProxyError, ProxyLeg};

/// An open connection.
pub(super) fn show(shared: &Shared, session: &str, handshake: &Handshake) {
    handshake.redirects.iter().for_each(|head| heads(shared, session, head));
    let through = handshake.proxy.as_ref().map(|leg| format!(" through the proxy {}", leg.name)).unwrap_or_default();
    line(shared, session, &format!("* connected to {} at {}{through}", handshake.url, handshake.address));
    if let Some(leg) = &handshake.proxy {
        leg.certificate.iter().for_each(|text| line(shared, session, &format!("* proxy {text}")));
        heads(shared, session, &leg.head);
    }
    handshake.certificate.iter().for_each(|text| line(shared, session, &format!("* {text}")));
    heads(shared, session, &handshake.request_head);
    heads(shared, session, &handshake.response_head);
    line(shared, session, &format!("* subprotocol: {}", handshake.subprotocol.as_deref().unwrap_or("none")));
    line(shared, session, &format!("* extensions: {}", handshake.extensions.as_deref().unwrap_or("none")));
    line(
        shared,
        session,
        &format!(
            "* lookup {}, TCP {},{} TLS {}, upgrade {}, total {}",
            milliseconds(handshake.dns),
            milliseconds(handshake.tcp),
            handshake.proxy.as_ref().map(leg_times).unwrap_or_default(),
            milliseconds(handshake.tls),
            milliseconds(handshake.upgrade),
            milliseconds(handshake.total),
        ),
    );
}

/// A time as `1.5 ms`.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn leg_times(leg: &ProxyLeg) -> String {
    if leg.tls.is_zero() {
        format!(" proxy {},", milliseconds(leg.tunnel))
    } else {
        format!(" proxy TLS {}, proxy {},", milliseconds(leg.tls), milliseconds(leg.tunnel))
    }
}

/// What was said before it failed.
pub(super) fn show_failure(shared: &Shared, session: &str, cause: &ConnectError) {
    match cause {
        ConnectError::Refused(refusal) => heads(shared, session, &refusal.head),
        ConnectError::Redirect { heads: all, .. } => all.iter().for_each(|head| heads(shared, session, head)),
        ConnectError::Proxy(ProxyError::Refused { head, .. }) => heads(shared, session, head),
        ConnectError::Tls(error) => {
            error.presented().iter().for_each(|text| line(shared, session, &format!("* {text}")));
        }
        ConnectError::Proxy(ProxyError::Tls { cause, .. }) => {
            cause.presented().iter().for_each(|text| line(shared, session, &format!("* proxy {text}")));
        }
        _ => {}
    }
}

/// A request's head, an answer's, or both in this order.
fn heads(shared: &Shared, session: &str, head: &str) {
    let mut mark = '>';
    for text in head.lines().filter(|text| !text.is_empty()) {
        if text.starts_with("HTTP/") {
            mark = '<';
        }
        line(shared, session, &format!("{mark} {text}"));
    }
}

fn line(shared: &Shared, session: &str, text: &str) {
    let mut safe = Vec::new();
    render::escape_for_terminal(&mut safe, text.as_bytes());
    shared.line_of(session, &String::from_utf8_lossy(&safe));
}
