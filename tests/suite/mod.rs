//! The tests, a module per area. Each test is a sentence about what `wsp` does.

mod alive;
mod chromium;
mod compression;
mod config;
mod connect_events;
mod connect_framing;
mod connect_life;
mod connect_pipes;
mod connect_upgrade;
mod curl_import;
mod exit_codes;
mod generate;
mod imports;
mod install;
mod listen;
mod listen_limits;
mod peers;
mod prompt;
mod record;
mod rude_clients;
mod rude_servers;
mod schema;
mod sending;
mod tls;
mod wscat;
