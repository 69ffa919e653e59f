//! The tests, a module per area. Each test is a sentence about what `wsp` does.

mod ack;
mod admin;
mod admin_hostile;
mod alive;
mod batches;
mod bench;
mod bench_answers;
mod bench_reports;
mod bench_targets;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod broker_gateways;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod broker_kills;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod broker_lag;
mod chromium;
mod closing;
mod completions;
mod compose;
mod compression;
mod config;
mod connect_events;
mod connect_framing;
mod connect_life;
mod connect_pipes;
mod connect_upgrade;
mod console;
mod credentials;
mod curl_import;
#[cfg(feature = "tui")]
mod dashboard;
mod docs;
mod drops;
mod exec;
mod exit_codes;
mod faults;
mod filter_limits;
mod filter_waits;
mod filters;
mod folds;
mod generate;
#[cfg(feature = "tui")]
mod gone_terminals;
mod guards;
mod habits;
mod heads;
mod hostile;
mod identities;
mod imports;
mod install;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_topics;
mod listen;
mod listen_input;
mod listen_limits;
mod listen_prompt;
mod monitoring;
#[cfg(feature = "nats")]
mod nats;
mod packaging;
mod peers;
mod prompt;
mod protocols;
mod proxy;
mod push;
mod reach;
mod recipes;
mod reconnect;
mod record;
mod redaction;
mod relay;
mod relay_admin;
mod relay_chain;
mod relay_conformance;
mod relay_dead_letters;
mod relay_envelopes;
mod relay_exec;
mod relay_files;
mod relay_http;
mod relay_kills;
mod relay_many;
#[cfg(feature = "postgres")]
mod relay_postgres;
mod relay_protocols;
mod relay_proxy;
mod relay_reload;
mod relay_search;
mod relay_servers;
mod routes;
mod rude_clients;
mod rude_servers;
mod schema;
mod script;
mod sending;
mod session_names;
mod sources;
mod spool;
mod spool_kills;
mod static_files;
mod streams;
mod tls;
#[cfg(feature = "kafka")]
mod trading;
mod trust_stores;
mod validation;
mod wording;
mod wscat;
