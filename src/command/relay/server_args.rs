//! The flags of a server as relay's server ends have them.
//!
//! They are those of [`ServerArgs`]. What clients and servers of a relay have in common is a connection option, given
//! once for both; the rest is declared here, with words of its own where a relay has more to say.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::ops::Deref;
use std::time::Duration;

use clap::builder::{EnumValueParser, Str, TypedValueParser};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::http::HttpArgs;
use crate::command::options::{ConnectionArgs, ProtocolArg};
use crate::command::server_args::ServerArgs;
use crate::command::values::duration;
use crate::queue::OverflowPolicy;

const HEADING: &str = "Server ends";
/// Flags that are called after clients here, since the names that `wsp listen` has for them mean destinations.
const CLIENT_QUEUE: [&str; 3] = ["client_queue_size", "client_queue_bytes", "client_on_full"];
/// What help says of a server end where it differs from that of `wsp listen`; the first line is the short one.
const WORDS: [(&str, &str); 12] = [
    ("paths", "Also serve this path; paths not listed here or in the address get 404"),
    (
        "allow_origin",
        "Accept only pages of this origin (others get 403); '*' accepts all, 'same' those of the requested address

Without this option a server on loopback whose clients' messages can reach exec: or - accepts only pages of this machine: those of localhost, a loopback address, or its own address. Other server ends accept every page.",
    ),
    ("handshake_timeout", "Time limit for TLS and the request head together"),
    ("max_text_size", "Maximum size of a client's text messages, if different from --max-message-size"),
    ("max_binary_size", "Maximum size of a client's binary messages, if different from --max-message-size"),
    (
        "tls_cert",
        "wss-listen: certificate chain, PEM; without it --pkcs12 is also the server's certificate and key",
    ),
    ("tls_key", "wss-listen: key of the certificate, PEM; decrypted with --passphrase-env"),
    ("tls", "wss-listen: self-signed certificate for localhost, 127.0.0.1 and ::1"),
    ("client_queue_size", "Queue size per client of a server, in messages"),
    ("client_queue_bytes", "Queue size per client of a server, in bytes"),
    (
        "client_on_full",
        "When a client's queue is full: block, drop-oldest, drop-newest or disconnect [default: see --client-patience]

With several TO, a server end never holds up the others: when its own queue is full (no client, or only slow ones), the oldest messages are dropped and counted. block and --protocol envelope make the others wait.",
    ),
    (
        "protocol",
        "Speak feed, envelope or gateway at every WebSocket end

feed (servers): clients register with filters and get the messages that pass. envelope: data is acknowledged once a destination has it; unacknowledged data is sent again on a new connection; either side may request status, capabilities, back pressure, a subscription or a replay. gateway (servers): each client message is validated and answered with ACK once a destination has it, else ERROR; messages from the other end go to every client.",
    ),
];

/// Flags of a server, at a server end.
///
/// The options it shares with others must still be in the matches when it is read, so in a struct it stands before those.
#[derive(Debug, Clone)]
pub(crate) struct EndServerArgs(ServerArgs);

impl Deref for EndServerArgs {
    type Target = ServerArgs;

    fn deref(&self) -> &ServerArgs {
        &self.0
    }
}

impl Args for EndServerArgs {
    fn augment_args(command: Command) -> Command {
        let elsewhere = HttpArgs::augment_args(ConnectionArgs::augment_args(Command::new("")));
        let is_elsewhere = |arg: &&Arg| elsewhere.get_arguments().any(|other| other.get_id() == arg.get_id());
        let server = ServerArgs::augment_args(Command::new(""));
        let own = server.get_arguments().filter(|arg| !is_elsewhere(arg)).cloned();
        // --client-patience comes behind them.
        let (queue, rest): (Vec<_>, Vec<_>) = own.partition(|arg| CLIENT_QUEUE.contains(&arg.get_id().as_str()));
        command.args(rest.into_iter().chain(queue).map(at_an_end))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for EndServerArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        ServerArgs::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// A flag of a server, as help and command lines of a relay know it.
fn at_an_end(arg: Arg) -> Arg {
    let id = arg.get_id().as_str().to_owned();
    let mut arg = arg.hide_short_help(true).display_order(None::<usize>);
    if arg.get_help_heading() == Some("Connections") {
        arg = arg.help_heading(HEADING);
    }
    if CLIENT_QUEUE.contains(&id.as_str()) {
        arg = arg.long(Str::from(id.replace('_', "-")));
    }
    if id == "client_on_full" {
        arg = arg.value_parser(EnumValueParser::<ClientOnFull>::new().map(ClientOnFull::policy));
    }
    match WORDS.iter().find(|(flag, _)| *flag == id) {
        Some((_, text)) => {
            let short = text.split_once('\n').map(|(short, _)| short);
            arg.help(short.unwrap_or(text)).long_help(short.map(|_| *text))
        }
        None => arg,
    }
}

/// Flags that only server ends have, or either side of a relay.
#[derive(Debug, Clone, Args)]
pub(crate) struct EndArgs {
    /// How long a client that does not read may hold up the others
    ///
    /// Without --client-on-full all wait for a client whose queue is full, for this long; then its oldest messages are
    /// dropped until it reads again. If it is the only client, or no client reads, all keep waiting.
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = duration, conflicts_with = "client_on_full", hide_short_help = true, help_heading = HEADING)]
    pub client_patience: Duration,
    /// --protocol for FROM only
    #[arg(long, value_name = "P", hide_possible_values = true, hide_short_help = true, help_heading = "Messages")]
    pub from_protocol: Option<ProtocolArg>,
    /// --protocol for TO only
    #[arg(long, value_name = "P", hide_possible_values = true, hide_short_help = true, help_heading = "Messages")]
    pub to_protocol: Option<ProtocolArg>,
}

/// `--client-on-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClientOnFull {
    /// All wait
    Block,
    /// Its oldest messages make room
    DropOldest,
    /// It does not get the new message
    DropNewest,
    /// It is closed with 1008
    Disconnect,
}

impl ClientOnFull {
    fn policy(self) -> OverflowPolicy {
        match self {
            Self::Block => OverflowPolicy::Block,
            Self::DropOldest => OverflowPolicy::DropOldest,
            Self::DropNewest => OverflowPolicy::DropNewest,
            Self::Disconnect => OverflowPolicy::Disconnect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Action, Cli, definition};

    /// Flags of `wsp listen` that server ends do not have as such, and why.
    const NOT_AT_ENDS: [(&[&str], &str); 9] = [
        (
            &[
                "echo",
                "broadcast",
                "no_self",
                "forward_jq",
                "reply",
                "reply_jq",
                "sink",
                "exec",
                "exec_max",
                "exec_grace",
                "push",
                "payload",
                "payload_size",
                "payload_file",
                "script",
                "ack",
            ],
            "what happens to messages is up to the other end",
        ),
        (&["template"], "a template is for what client ends send by themselves"),
        (&["input"], "FROM says what is read, and the relay's own --input how"),
        (
            &["files", "devconsole"],
            "a server end serves no pages: they would need a path that may be that of the server behind",
        ),
        (&["headers"], "in a relay -H is a header of requests, which must not go to clients"),
        (
            &["schema", "assert_format", "on_invalid", "dead_letter"],
            "a relay checks messages between its ends, and keeps dead letters of all of them",
        ),
        (&["record", "tui", "require_clients", "grace"], "a relay has them for all its ends"),
        (
            &[
                "delay",
                "loss",
                "corrupt",
                "duplicate",
                "stall",
                "close_after",
                "close",
                "reject",
                "no_pong",
                "fragment",
                "seed",
            ],
            "a relay loses and changes nothing on purpose",
        ),
        (&["address"], "the endpoint has it"),
    ];

    fn subcommand(name: &str) -> Command {
        let mut definition = definition();
        definition.build();
        definition.find_subcommand(name).expect("a subcommand").clone()
    }

    #[test]
    fn every_flag_of_listen_is_one_of_server_ends_or_has_a_reason_not_to_be() {
        let (listen, relay) = (subcommand("listen"), subcommand("relay"));
        let server = ServerArgs::augment_args(Command::new("server"));
        let is_of_servers = |id: &str| server.get_arguments().any(|arg| arg.get_id() == id);
        let reasons: Vec<&str> = NOT_AT_ENDS.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
        for arg in listen.get_arguments().filter(|arg| arg.get_id() != "help") {
            let id = arg.get_id().as_str();
            let at_ends = relay.get_arguments().find(|other| other.get_id() == id);
            if reasons.contains(&id) {
                assert!(
                    !is_of_servers(id),
                    "{id} is a flag of every server, and has a reason not to be at server ends"
                );
                continue;
            }
            let at_ends = at_ends.unwrap_or_else(|| {
                panic!("--{id} of wsp listen is not known at server ends: move it to ServerArgs, or say why not")
            });
            let spelled = arg.get_long().expect("a long flag");
            let expected = if CLIENT_QUEUE.contains(&id) { format!("client-{spelled}") } else { spelled.to_owned() };
            assert_eq!(at_ends.get_long(), Some(expected.as_str()), "{id}");
            // What is not of servers alone must be the very same flag in both, such as --jq-timeout.
            assert!(
                is_of_servers(id) || at_ends.get_help() == arg.get_help(),
                "--{spelled} means another thing in a relay"
            );
        }
        for id in reasons {
            assert!(listen.get_arguments().any(|arg| arg.get_id() == id), "wsp listen has no {id} any more");
        }
        for (id, _) in WORDS {
            assert!(is_of_servers(id), "{id} stands in WORDS, and no server has a flag of that name");
        }
    }

    #[test]
    fn options_that_client_ends_have_too_reach_server_ends() {
        let line = "wsp relay ws-listen://127.0.0.1:0 ws://localhost --max-message-size 5 --ping-interval 3s \
        --compress \
                    -s chat --tls-min 1.3 --request-timeout 7s --client-queue-size 8 --client-on-full block --path /a \
                    --max-connections 9 --session-name .path";
        let matches = definition().try_get_matches_from(line.split_whitespace()).expect("flags of a relay");
        let Action::Relay(args) = Cli::from_arg_matches(&matches).expect("a relay").action else {
            panic!("it is a relay");
        };
        let (server, connection) = (&args.server, &args.connection);
        assert_eq!((server.max_message_size, connection.max_message_size), (5, 5));
        assert_eq!((server.ping_interval, connection.ping_interval), (Duration::from_secs(3), Duration::from_secs(3)));
        assert_eq!((&server.compress, &connection.compress), (&Some(String::new()), &Some(String::new())));
        assert_eq!(
            (&server.subprotocols, &connection.subprotocols),
            (&vec!["chat".to_owned()], &vec!["chat".to_owned()])
        );
        assert_eq!(server.tls_min, connection.tls_min);
        assert!(server.tls_min.is_some());
        let request_timeout = Duration::from_secs(7);
        assert_eq!((server.protocol.request_timeout, args.http.request_timeout), (request_timeout, request_timeout));
        assert_eq!((server.queue_size, server.on_full), (8, Some(OverflowPolicy::Block)));
        assert_eq!((&server.paths[..], server.guards.max_connections), (&["/a".to_owned()][..], Some(9)));
        assert_eq!(server.names.session_name.as_deref(), Some(".path"));
        assert_eq!((args.queue.queue_size, args.server.ping_timeout), (10_000, args.connection.ping_timeout));
    }
}
