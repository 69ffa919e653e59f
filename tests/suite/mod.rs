//! The tests, a module per area. Each test is a sentence about what `wsp` does.

mod alive;
mod chromium;
mod compose;
mod compression;
mod config;
mod connect_events;
mod connect_framing;
mod connect_life;
mod connect_pipes;
mod connect_upgrade;
mod curl_import;
mod exec;
mod exit_codes;
mod generate;
mod identities;
mod imports;
mod install;
#[cfg(feature = "kafka")]
mod kafka;
mod listen;
mod listen_limits;
#[cfg(feature = "nats")]
mod nats;
mod peers;
mod prompt;
mod proxy;
mod push;
mod reach;
mod record;
mod relay;
mod rude_clients;
mod rude_servers;
mod schema;
mod sending;
mod tls;
mod wscat;
