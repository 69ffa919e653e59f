//! The connection core: bytes on one side, messages on the other.
//!
//! The only place that sees tokio-tungstenite, hyper and native-tls. Owns look-up, sockets, TLS,
//! the upgrade (RFC 6455 section 4), permessage-deflate (RFC 7692) and framing. Knows nothing of
//! commands, sessions or what messages mean.

pub(crate) mod connection;
pub(crate) mod connector;
pub(crate) mod content;
pub(crate) mod credentials;
pub(crate) mod deflate;
pub(crate) mod dial;
pub(crate) mod fetch;
pub(crate) mod frames;
pub(crate) mod head;
pub(crate) mod http;
mod http_client;
pub(crate) mod http_timeouts;
pub(crate) mod listener;
pub(crate) mod origin;
pub(crate) mod post;
pub(crate) mod proxy;
pub(crate) mod retry_after;
pub(crate) mod self_signed;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod tunnel;
pub(crate) mod upgrade;
