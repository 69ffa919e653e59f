//! The connection core: bytes on one side, messages on the other.
//!
//! The only place that sees tokio-tungstenite, hyper and native-tls. Owns look-up, sockets, TLS,
//! the upgrade (RFC 6455 section 4), permessage-deflate (RFC 7692) and framing. Knows nothing of
//! commands, sessions or what messages mean.

pub mod connection;
pub mod connector;
pub mod content;
pub mod credentials;
pub mod deflate;
pub mod dial;
pub mod fetch;
pub mod frames;
pub mod head;
pub mod http;
pub mod listener;
pub mod origin;
pub mod pace;
pub mod post;
pub mod proxy;
pub mod retry_after;
pub mod self_signed;
pub mod stream;
pub mod tls;
pub mod transport;
pub mod tunnel;
pub mod upgrade;
