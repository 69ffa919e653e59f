//! `wsp`, a WebSocket client and server for terminals, pipes and scripts.
//!
//! A map, from what the user sees down to the socket; imports go down only:
//!
//! - [`command`]: what the user types, a file per subcommand; the only place that sees clap.
//! - [`prompt`]: line editing at a terminal, on a thread of its own.
//! - [`tui`]: the dashboard.
//! - [`listen`]: what the test server does with messages. [`mod@bench`]: the load tester.
//! - [`client`]: what a client session is: connect, opening, reconnect, close.
//! - [`protocol`]: what sessions may speak on top of messages, sans-io.
//! - [`process`]: programs run by `sh -c`, and their end.
//! - [`session`]: one peer's life, keep-alive and backoff in pure code and a thin driver.
//! - [`observe`]: counters, and who sees them: metrics, health, the admin address.
//! - [`filter`]: jq and templates. [`queue`]: bounded queues. [`source`], [`sink`]: stdin, stdout.
//! - [`broker`]: Kafka and NATS, as far as both their sides share it.
//! - [`config`]: how a setting is decided, and where from.
//! - [`net`]: the connection core, bytes to messages; the only place that sees tokio-tungstenite.
//! - [`message`]: messages, event lines, terminal-safe rendering. [`endpoint`]: parsed addresses.
//! - [`redact`]: what is shown without the secrets in it. [`rate`]: the one rate limiter. [`percent`] decodes percent-encoding.
//! - [`host`]: streams and signals. [`error`], [`exit`]: what ends a run, and with which code.

// A build without some of the features leaves unused what only they need: the whole one finds what nothing needs.
#![cfg_attr(not(all(feature = "kafka", feature = "nats", feature = "postgres", feature = "tui")), allow(unused))]
#![cfg_attr(all(feature = "kafka", feature = "nats", feature = "postgres", feature = "tui"), warn(unreachable_pub))]

mod bench;
mod broker;
mod client;
mod command;
mod config;
mod endpoint;
mod error;
mod exit;
mod filter;
mod host;
mod listen;
mod message;
mod net;
mod observe;
mod percent;
mod pipeline;
mod process;
mod prompt;
mod protocol;
mod queue;
mod rate;
mod redact;
mod session;
mod sink;
mod source;
#[cfg(feature = "tui")]
mod tui;

/// Opens a few rooms to tests and fuzz targets. Nothing else may rely on it.
#[doc(hidden)]
pub mod internals {
    #[cfg(feature = "tui")]
    pub use crate::command::dashboard::Screen;
    pub use crate::endpoint::{ListenAddr, WsTarget};
    pub use crate::host::Host;
    pub use crate::message::event::{Event as EventLine, InputEvent, parse_input_line};
    pub use crate::message::{Message, MessageKind};
    pub use crate::net::deflate::{Agreed, DeflateOffer, Deflater, Inflater, Role, accept, check_answer};
    pub use crate::net::frames::{CloseReason, Decoder, Event as FrameEvent, FrameError, MessageLimits};
    pub use crate::observe::Control;
    pub use crate::observe::control::{Delivering, Delivery, QueueReading, Refusal, SessionReading, Steer};
    pub use crate::observe::counters::Counters;
    pub use crate::observe::tap::Tap;
    pub use crate::prompt::{Prompt, PromptSettings, Status};
}

use std::ffi::OsString;
use std::time::Duration;

use command::Action;
use command::layers::Stop;
use config::Setting;
use config::variables::Environment;
use error::Error;
use exit::Exit;
use host::{Host, Stderr};
use tokio::runtime::LocalOptions;

/// How long to wait for threads at the end; reading stdin cannot be cancelled.
const THREADS: Duration = Duration::from_millis(10);

/// Runs the program with these arguments, the first being its own name.
#[must_use]
pub fn run(arguments: Vec<OsString>) -> Exit {
    let Ok(mut host) = Host::of_this_process() else { return Exit::Internal };
    let environment = Environment::of_this_process();
    let command::Read { cli, settings, foreign } = match command::read(arguments, &environment) {
        Ok(read) => read,
        Err(stop) => return stopped(stop, &mut host),
    };
    let stderr = host.stderr.clone();
    if stderr.is_closed() && cli.action.has_much_to_tell() {
        return Exit::Usage;
    }
    if !foreign.is_empty() && cli.action.has_much_to_tell() {
        stderr.line(format!("wsp: {}: not a wsp option, ignored", foreign.join(", ")));
    }
    let result = match cli.action {
        Action::Config(args) => match command::config::run(&args, &environment, &host) {
            Ok(text) => host.print(text).map(|()| Exit::Done).map_err(Into::into),
            Err(stop) => return stopped(stop, &mut host),
        },
        Action::Generate(args) => command::generate::run(&args, &mut host),
        Action::Help(args) => command::help::run(&args, &mut host),
        Action::Version(args) => command::version::run(&args, &mut host),
        Action::Connect(args) => block_on(command::connect::run(&args, host)),
        Action::Listen(args) => block_on(command::listen::run(&args, host)),
        #[cfg(feature = "tui")]
        Action::Top(args) => block_on(command::top::run(&args, host)),
        #[cfg(feature = "tui")]
        Action::Demo(args) => block_on(command::demo::run(&args, host)),
        Action::Relay(args) => block_on(command::relay::run(&args, host)),
        Action::Bench(args) => block_on(command::bench::run(&args, host)),
    };
    if let Some(text) = filter::apart::fatal() {
        stderr.line(format!("wsp: {text}"));
        return Exit::Compile;
    }
    result.unwrap_or_else(|error| failed(&error, &settings, &stderr))
}

/// Says on stderr what failed and a hint.
fn failed(error: &Error, settings: &[Setting], stderr: &Stderr) -> Exit {
    for error in error.each() {
        stderr.line(format!("wsp: {error}"));
        let cause = command::layers::cause(settings, error);
        let cause = cause.map(|setting| format!("it was set by {}", setting.place()));
        let hints: Vec<String> = error.hint().into_iter().chain(cause).collect();
        if !hints.is_empty() {
            stderr.line(format!("hint: {}", hints.join("; ")));
        }
    }
    error.exit()
}

/// Prints why there is nothing to run: help goes to stdout, all that is wrong to stderr.
fn stopped(stop: Stop, host: &mut Host) -> Exit {
    match stop {
        Stop::Clap(error) if error.use_stderr() => {
            host.stderr.line(error.render().to_string().trim_end());
        }
        Stop::Clap(help) => {
            let printed = host.print(help.render().to_string());
            return printed.map_or_else(|error| failed(&error.into(), &[], &host.stderr), |()| Exit::Done);
        }
        Stop::Faults(faults) => {
            for fault in faults {
                host.stderr.line(format!("wsp: {fault}"));
                host.stderr.line(format!("hint: {}", fault.hint));
            }
        }
    }
    Exit::Usage
}

fn block_on(work: impl Future<Output = Result<Exit, Error>>) -> Result<Exit, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(|error| Error::Internal(format!("cannot start: {error}")))?;
    let result = runtime.block_on(Box::pin(work));
    runtime.shutdown_timeout(THREADS);
    result
}
