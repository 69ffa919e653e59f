//! `wsp demo`: a feed on loopback with a few clients and the dashboard on it; in a pipe the feed alone.
//!
//! Owns the run: the server is that of `listen`, its clients speak to it through sockets like any other. Invariant:
//! nothing leaves this machine.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

mod clients;
mod feed;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use clap::{Args, FromArgMatches as _};
use tokio::time::{MissedTickBehavior, interval};

use self::feed::Feed;
use super::dashboard::{self, Screen};
use super::options::ColorArg;
use super::values::rate;
use super::{Action, Cli, connect};
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Host, Signals, StopSignal};
use crate::listen::handler::Mode;
use crate::listen::handler::push::{Maker, Payload, PushSettings};
use crate::listen::input::OpenConsole;
use crate::listen::run::Server;
use crate::message::Message;
use crate::sink::stdout::{Output, OutputFailure};

const EXAMPLES: &str = "\
Examples:
  wsp demo                             look around: ? lists the keys, q quits
  wsp demo | head -5                   print the feed
  wsp demo --seed 7 -n 100 > feed.jsonl
";

/// Messages that may wait for a client: few, so that the slow one is seen to be slow.
const QUEUE: &str = "200";

/// Flags of `wsp demo`.
#[derive(Debug, Clone, Args)]
#[command(before_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Seed of the feed; the same seed makes the same feed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Messages a second
    #[arg(long, value_name = "RATE", value_parser = rate, default_value = "50")]
    pub rate: f64,
    /// In a pipe: end after N messages
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// auto, always or never
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub color: ColorArg,
}

/// Runs `wsp demo`.
///
/// # Errors
/// No terminal to show it on, or none that can be used.
pub(crate) async fn run(args: &DemoArgs, host: Host) -> Result<Exit, Error> {
    if !host.stdout_is_terminal {
        return print(args, host).await;
    }
    let screen = Screen::of(&host, "wsp demo", "wsp demo")?;
    let screen = if connect::plan::colour(args.color, &host) { screen } else { screen.without_colours() };
    let server = server(args, &host)?;
    crate::listen::run::run(server, host, Some(opener(screen, args.seed))).await
}

/// The feed, line by line, until nobody reads it.
async fn print(args: &DemoArgs, host: Host) -> Result<Exit, Error> {
    let mut signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let mut output = Output::stdout(&host.stdout)?;
    let mut feed = Feed::new(args.seed);
    let mut ticks = interval(Duration::from_secs_f64(1.0 / args.rate).max(Duration::from_micros(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let next = std::future::poll_fn(|cx| {
            output.watch(cx);
            match (signals.poll_next(cx), output.failure()) {
                (Poll::Ready(StopSignal::Interrupt), _) => Poll::Ready(Some(Exit::Interrupted)),
                (Poll::Ready(StopSignal::Terminate), _) => Poll::Ready(Some(Exit::Terminated)),
                (Poll::Pending, Some(_)) => Poll::Ready(Some(Exit::Done)),
                (Poll::Pending, None) if !output.has_room() => Poll::Pending,
                (Poll::Pending, None) => ticks.poll_tick(cx).map(|_| None),
            }
        });
        if let Some(exit) = next.await {
            return ended(output.failure(), exit);
        }
        output.buffer().extend_from_slice(format!("{}\n", feed.next()).as_bytes());
        output.wrote();
    }
    let finished = std::future::poll_fn(|cx| match signals.poll_next(cx) {
        Poll::Ready(_) => Poll::Ready(Ok(())),
        Poll::Pending => output.poll_finish(cx),
    });
    ended(finished.await.err(), Exit::Done)
}

/// A reader that closes early is not an error.
fn ended(failure: Option<OutputFailure>, exit: Exit) -> Result<Exit, Error> {
    match failure {
        Some(OutputFailure::Failed(text)) => Err(Error::Internal(format!("cannot write to standard output: {text}"))),
        _ => Ok(exit),
    }
}

/// What `wsp listen` would be told for this.
fn server(args: &DemoArgs, host: &Host) -> Result<Server, Error> {
    let words = [
        "wsp",
        "listen",
        "127.0.0.1:0",
        "--push",
        "1",
        "--queue-size",
        QUEUE,
        "--quiet",
        "--ping-interval",
        "2s",
        "--close-timeout",
        "300ms",
        "--grace",
        "500ms",
    ];
    let wrong = |error: clap::Error| Error::Internal(format!("the demo's own flags: {error}"));
    let matches = super::definition().try_get_matches_from(words).map_err(wrong)?;
    let Action::Listen(listen) = Cli::from_arg_matches(&matches).map_err(wrong)?.action else {
        return Err(Error::Internal("the demo is not a server".to_owned()));
    };
    let mut server = super::listen::server(&listen, host)?;
    let feed = RefCell::new(Feed::new(args.seed));
    let made = Maker(Box::new(move |_| Message::text(feed.borrow_mut().next())));
    server.config.mode = Mode::Push(Rc::new(PushSettings { rate: args.rate, payload: Payload::Made(made) }));
    Ok(server)
}

/// The dashboard and the clients, once it is known where the server listens.
fn opener(screen: Screen, seed: u64) -> OpenConsole {
    Box::new(move |address| {
        if let Ok(address) = address.parse() {
            clients::start(address, seed);
        }
        dashboard::opener_titled(screen, format!("wsp demo ws://{address}/"))(address)
    })
}
