//! The tests, a module per area. Each test is a sentence about what `wsp` does.

mod chromium;
mod compression;
mod connect_events;
mod connect_framing;
mod connect_life;
mod connect_pipes;
mod connect_upgrade;
mod exit_codes;
mod generate;
mod identities;
mod imports;
mod install;
mod listen;
mod listen_limits;
mod peers;
mod proxy;
mod reach;
mod rude_clients;
mod rude_servers;
mod tls;
