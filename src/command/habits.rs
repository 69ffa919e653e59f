//! Flags people bring from other tools, and what `wsp` calls the same.
//!
//! Owns the tip behind an unknown argument: the table of habits first, else an option whose name is nearly the same. Leaves
//! everything that parses to clap, and wscat's whole command line to `wscat`. Invariant: every flag a tip names is one of the
//! subcommand it is for.

use std::ffi::{OsStr, OsString};

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::definition;
use crate::config::nearest::nearest;

/// What a flag of another tool is called here.
struct Habit {
    /// The subcommands that know no flag of this name.
    on: &'static [&'static str],
    /// As it is typed, without a value.
    flags: &'static [&'static str],
    /// What to write.
    write: &'static str,
}

const CLIENTS: &[&str] = &["connect", "bench", "relay"];
const ALL: &[&str] = &["connect", "listen", "bench", "relay"];

const fn habit(on: &'static [&'static str], flags: &'static [&'static str], write: &'static str) -> Habit {
    Habit { on, flags, write }
}

/// Sorted by what they are about.
const HABITS: &[Habit] = &[
    // Where to.
    habit(&["listen"], &["--port", "-p", "--address", "--bind", "--host", "--interface"], "wsp listen 0.0.0.0:8080"),
    habit(&["connect", "bench"], &["--port", "-p"], "the port in the URL, ws://HOST:PORT/"),
    habit(&["relay"], &["--port", "-p", "--bind", "--listen"], "ws-listen://0.0.0.0:8080 as one of the ends"),
    habit(&["connect", "bench"], &["--url", "--target", "--connect", "-U"], "the URL without a flag before it"),
    habit(&["connect"], &["--server-mode", "--server", "--listen", "-l"], "wsp listen 8080"),
    // TLS.
    habit(
        CLIENTS,
        &["--no-check", "--no-check-certificate", "--allow-insecure", "--skip-verify", "--insecure-skip-tls-verify"],
        "--insecure",
    ),
    habit(
        &["listen"],
        &["--cert", "--sslcert", "--certfile", "--tls-certificate", "-c"],
        "--tls-cert FILE --tls-key FILE",
    ),
    habit(&["listen"], &["--key", "--sslkey", "--keyfile", "-k"], "--tls-key FILE"),
    habit(&["listen"], &["--ssl", "--https", "--wss"], "--tls"),
    habit(&["listen"], &["--cacert", "--ca"], "--client-ca FILE"),
    habit(CLIENTS, &["--ca", "--ca-file", "--cafile"], "--cacert FILE"),
    habit(CLIENTS, &["--client-pkcs12-der", "--pkcs12-der"], "--pkcs12 FILE"),
    habit(CLIENTS, &["--tls-domain", "--servername", "--connect-to"], "--sni NAME, or --resolve HOST:PORT:ADDR"),
    habit(CLIENTS, &["--passphrase", "--pass"], "--passphrase-env VARIABLE"),
    habit(CLIENTS, &["--tlsv1.2", "--tlsv1.3"], "--tls-min 1.2 or 1.3"),
    // Headers and credentials.
    habit(CLIENTS, &["--auth", "--basic-auth", "--basic"], "--user NAME:PASSWORD"),
    habit(CLIENTS, &["--oauth2-bearer", "--token"], "--bearer TOKEN"),
    habit(CLIENTS, &["--user-agent", "-A"], "-H 'User-Agent: NAME'"),
    habit(CLIENTS, &["--referer", "-e"], "-H 'Referer: URL'"),
    habit(
        CLIENTS,
        &["--socks5", "--socks5-hostname", "--http-proxy"],
        "--proxy socks5://HOST:PORT or http://HOST:PORT",
    ),
    habit(CLIENTS, &["--subprotocols", "--ws-protocol"], "--subprotocol NAME"),
    habit(&["listen"], &["--origin", "--sameorigin", "--cors"], "--allow-origin ORIGIN, or --allow-origin same"),
    // Time.
    habit(&["connect", "bench", "relay"], &["--max-time", "-m"], "--timeout SECONDS"),
    habit(&["connect", "relay"], &["--autoreconnect", "--auto-reconnect", "--retry", "--retries"], "--reconnect"),
    habit(
        &["connect", "relay"],
        &["--autoreconnect-delay-millis", "--reconnect-delay"],
        "--reconnect --retry-delay DURATION",
    ),
    habit(
        ALL,
        &["--keepalive", "--keep-alive", "--keepalive-time", "--heartbeat-timeout", "--pingms"],
        "--ping-interval DURATION",
    ),
    habit(&["listen"], &["--closems", "--shutdown-timeout"], "--exec-grace DURATION, or --grace DURATION"),
    // Messages.
    habit(&["connect"], &["--data", "-d", "--message", "--send"], "--execute MESSAGE"),
    habit(&["connect"], &["--one-message", "-1", "--max-messages", "--exit-after"], "--count N"),
    habit(
        &["connect"],
        &["--exit-on-eof", "-E"],
        "nothing: the end of input ends it, --wait says how long it waits for answers",
    ),
    habit(&["connect"], &["--no-close", "--keep-open", "--hold"], "--wait -1"),
    habit(&["connect"], &["--text"], "nothing: messages are text unless --binary says otherwise"),
    habit(&["connect", "listen"], &["--output", "--out", "-O", "--log", "--logfile"], "--record FILE, or > FILE"),
    habit(ALL, &["--buffer-size", "--max-payload", "--max-frame-size", "--max-size", "-B"], "--max-message-size SIZE"),
    habit(CLIENTS, &["--compressed", "--deflate", "--permessage-deflate", "--per-message-deflate"], "--compress"),
    habit(&["connect", "relay"], &["--filter", "--select", "--query"], "--jq FILTER"),
    // Servers.
    habit(&["listen"], &["--mirror", "--echo-server"], "--echo"),
    habit(&["listen"], &["--command", "--cmd", "--cgi", "--cgidir", "--dir"], "--exec COMMAND"),
    habit(&["listen"], &["--staticdir", "--docroot", "--root", "--serve"], "--static DIRECTORY"),
    habit(&["listen"], &["--maxforks", "--max-forks"], "--exec-max N"),
    habit(&["listen"], &["--max-clients", "--max-conns", "--connections"], "--max-connections N"),
    habit(&["listen"], &["--oneshot", "--once", "-1"], "--max-connections 1 and Ctrl-C, or timeout(1)"),
    habit(&["listen"], &["--unix", "--unix-socket", "--uds"], "wsp listen unix:PATH"),
    // Load tests.
    habit(&["bench"], &["--vus", "--users", "--clients", "--concurrency", "--count"], "--connections N"),
    habit(&["bench"], &["-z", "--time", "--seconds"], "--duration DURATION"),
    habit(&["bench"], &["--iterations", "--requests", "--num", "--shared-iterations"], "--messages N"),
    habit(&["bench"], &["--rps", "--qps", "--arrival-rate", "--message-rate", "-r"], "--rate N"),
    habit(&["bench"], &["--channel-lifetime"], "--churn"),
    habit(
        &["bench"],
        &["--stage", "--ramp", "--ramp-up", "--ramp-to"],
        "--stages, for example --stages 0..1000/30s,1000/1m",
    ),
    habit(&["bench"], &["--out", "--output", "--summary-export"], "--json > FILE, --html FILE or --csv FILE"),
    habit(&["bench"], &["--message", "--data", "--body", "--first-message"], "--payload MESSAGE"),
    habit(&["bench"], &["--message-file", "-f"], "--payload @FILE"),
    habit(&["bench"], &["--pipeline", "--depth", "--inflight"], "--in-flight N"),
    habit(&["bench"], &["--workers", "-t", "-w"], "--threads N"),
    habit(&["bench"], &["--no-tui"], "nothing: the screen comes with --tui only"),
    // How it is told.
    habit(ALL, &["--silent", "--no-log", "-S"], "--quiet"),
    habit(
        &["connect", "listen", "relay"],
        &["--include", "--debug", "--loglevel", "--log-level", "--trace"],
        "--verbose",
    ),
    habit(&["connect", "listen", "relay"], &["--no-color", "--no-colour"], "--color never"),
];

/// Puts the right tip into an error that speaks of an argument nobody knows.
pub(super) fn explain(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    // What begins with a dash is hardly ever meant as a URL or an address.
    error.remove(ContextKind::Suggested);
    let mut command = definition();
    command.build();
    let Some(subcommand) = arguments.get(1).and_then(|word| word.to_str()) else { return error };
    let Some(command) = command.find_subcommand_mut(subcommand) else { return error };
    if let Some(rate) = rate_of_oha(subcommand, error.kind(), arguments) {
        tip(&mut error, &format!("-q is --quiet here; for oha's -q write --rate {rate}"));
        return error;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else { return error };
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let unknown = unknown.split(['=', ' ']).next().unwrap_or_default().to_owned();
    if let Some(write) = write_instead(subcommand, &unknown) {
        forget_the_nearest(&mut error, command);
        tip(&mut error, &format!("for {unknown} write {write}"));
        return error;
    }
    let is_near = match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(near)) => nearest(&unknown, [near.as_str()]).is_some(),
        _ => true,
    };
    if !is_near {
        forget_the_nearest(&mut error, command);
    }
    error
}

/// What to write for a flag of another tool.
fn write_instead(subcommand: &str, flag: &str) -> Option<&'static str> {
    let is_it = |habit: &&Habit| habit.on.contains(&subcommand) && habit.flags.contains(&flag);
    HABITS.iter().find(is_it).map(|habit| habit.write)
}

/// The number behind `-q` in a load test: oha's rate, which here is a second address.
fn rate_of_oha<'a>(subcommand: &str, kind: ErrorKind, arguments: &'a [OsString]) -> Option<&'a str> {
    let may_be = subcommand == "bench" && matches!(kind, ErrorKind::ArgumentConflict | ErrorKind::UnknownArgument);
    let quiet = arguments.iter().position(|word| word == OsStr::new("-q")).filter(|_| may_be)?;
    let number = arguments.get(quiet + 1)?.to_str()?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(number)
}

/// Returns whether what was given as `-o`, an origin, is a file to write to for somebody used to curl.
pub(super) fn is_a_file_name(origin: &str) -> bool {
    const ENDINGS: [&str; 9] = ["txt", "json", "jsonl", "ndjson", "log", "csv", "out", "har", "bin"];
    let ending = std::path::Path::new(origin).extension().and_then(OsStr::to_str);
    !origin.contains("://") && (origin.contains('/') || ending.is_some_and(|ending| ENDINGS.contains(&ending)))
}

fn tip(error: &mut clap::Error, text: &str) {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(text.to_owned())]));
}

/// Takes back the suggestion of an option that only sounds alike, also from the usage line.
fn forget_the_nearest(error: &mut clap::Error, command: &mut Command) {
    error.remove(ContextKind::SuggestedArg);
    error.insert(ContextKind::Usage, ContextValue::StyledStr(command.render_usage()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_a_tip_names_exists_and_none_it_explains_does() {
        let mut definition = definition();
        definition.build();
        for habit in HABITS {
            for subcommand in habit.on {
                let command = definition.find_subcommand(subcommand).expect("a subcommand");
                let knows = |flag: &str| {
                    command.get_arguments().any(|arg| match flag.strip_prefix("--") {
                        Some(long) => {
                            arg.get_long() == Some(long) || arg.get_all_aliases().unwrap_or_default().contains(&long)
                        }
                        None => arg.get_short().is_some_and(|short| flag == format!("-{short}")),
                    })
                };
                for flag in habit.flags {
                    assert!(!knows(flag), "{subcommand} knows {flag}");
                }
                let named = habit.write.split([' ', ',', '>']).filter(|word| word.starts_with("--") && word.len() > 2);
                for flag in named {
                    assert!(knows(flag), "{subcommand} knows no {flag}");
                }
            }
        }
    }

    #[test]
    fn no_flag_has_two_tips() {
        let mut seen = std::collections::BTreeSet::new();
        for habit in HABITS {
            for subcommand in habit.on {
                for flag in habit.flags {
                    assert!(seen.insert((subcommand, flag)), "{subcommand} {flag}");
                }
            }
        }
    }
}
