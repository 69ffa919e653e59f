//! `wsp relay`: moves messages between endpoints.
//!
//! Turns flags into a running relay. Leaves moving to `pipeline/` and each endpoint to its own file.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

mod dashboard;
mod dead;
mod exec;
mod files;
mod http;

use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::dashboard::Ends;
use self::files::{FileArgs, line_format};
use self::http::HttpArgs;
use super::brokers::{self, Broker};
use super::connect::plan::{colour, format};
use super::options::{ConnectionArgs, OutputArgs};
use super::settings;
use super::spool::{SpoolArgs, print_status};
use super::values::{duration, size};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Host, Signals, Stderr};
use crate::message::render::Format;
use crate::net::connector::Connector;
use crate::pipeline::dispatch::{BatchSettings, Dispatch, RetrySettings};
use crate::pipeline::flow::{Flow, FlowSettings, NonJson, Route};
use crate::pipeline::run::{Relay, Running};
use crate::pipeline::ws::WsClient;
use crate::protocol;
use crate::queue::OverflowPolicy;
use crate::queue::end::{BatchSink, End, EndIo, Inlet};
use crate::queue::lane::{Lane, LaneSettings};
use crate::queue::spool::{Leftover, Spool};
use crate::queue::stop::Stop;
use crate::session::driver::DriverSettings;
use crate::session::opening::OpeningPlan;
use crate::sink::null::NullSink;
use crate::sink::stdio::StdioSink;
use crate::sink::stdout::Output;
use crate::source::framing::Framing;
use crate::source::lines::LineKind;
use crate::source::stdio::StdioSource;

/// Examples at the head of the help.
pub const EXAMPLES: &str = "\
Examples:
  wsp relay ws://localhost:8080/ - --jq '.price'       a stream to standard output
  seq 1000 | wsp relay - ws://localhost:8080/          lines to a server, none lost
  wsp relay ws://localhost:8080/ null: --reconnect     drain a stream, connect again when it breaks
  wsp relay ws://localhost:8080/ file:out.jsonl --json --rotate-size 100MB
";

/// Messages handed to a sink at a time, where that makes no difference to who gets them.
const BATCH: usize = 1000;

/// Flags of `wsp relay`.
#[derive(Debug, Clone, Args)]
#[command(before_help = EXAMPLES)]
pub struct RelayArgs {
    /// Where messages come from: -, file:PATH, exec:COMMAND, ws://, wss://, nats://
    #[arg(value_name = "FROM", required_unless_present = "status")]
    pub from: Option<String>,
    /// Where they go: these, http://, https:// or null:; each gets everything
    #[arg(value_name = "TO", required_unless_present = "status")]
    pub to: Vec<String>,
    /// Choose and transform; each output is a message
    #[arg(short, long, value_name = "F", help_heading = "Messages")]
    pub jq: Option<String>,
    /// What --jq and --route cannot read: drop, pass, or error (a dead letter)
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "drop",
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Messages"
    )]
    pub non_json: NonJsonArg,
    /// JSON Schema of what is passed on; other messages are dead letters
    #[arg(long, value_name = "F", help_heading = "Messages")]
    pub schema: Option<std::path::PathBuf>,
    /// Messages that match go there, the others to TO
    #[arg(long = "route", value_name = "JQ=>ENDPOINT", help_heading = "Messages")]
    pub routes: Vec<String>,
    /// A message goes to every route that matches
    #[arg(long, requires = "routes", hide_short_help = true, help_heading = "Messages")]
    pub route_all: bool,
    /// Both ways: what comes from TO goes to FROM
    #[arg(long, help_heading = "Messages")]
    pub both: bool,
    /// How lines of standard input, files and programs are written: raw or json (event lines)
    ///
    /// By default standard input and programs are raw, and a file is what its first line is: a file of event lines, such as a recording
    /// or dead letters, is read as that.
    #[arg(long, value_name = "HOW", hide_possible_values = true, hide_short_help = true, help_heading = "Messages")]
    pub input: Option<InputArg>,
    /// Messages handed to a sink at a time
    #[arg(long, value_name = "N", help_heading = "Queue")]
    pub batch: Option<usize>,
    /// Payload bytes of a batch
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true, help_heading = "Queue")]
    pub batch_bytes: Option<usize>,
    /// How long a batch waits to become full
    #[arg(long, value_name = "DUR", value_parser = duration, hide_short_help = true, help_heading = "Queue")]
    pub batch_age: Option<Duration>,
    /// Messages that may wait for one destination
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = super::listen::parse_positive, help_heading = "Queue")]
    pub queue_size: usize,
    /// Bytes that may wait for one destination
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size, hide_short_help = true, help_heading = "Queue")]
    pub queue_bytes: usize,
    /// When a queue is full: block, drop-oldest, drop-newest or spool
    #[arg(long, value_name = "WHAT", default_value = "block", hide_possible_values = true, help_heading = "Queue")]
    pub on_full: OnFull,
    /// Keep what no destination takes: in a file, or at an endpoint
    ///
    /// They are event lines with the reason in error; wsp relay file:F TO sends them again. Messages that a destination
    /// refuses, that --schema does not allow or that cannot be read are dead letters (without this they are dropped),
    /// and so is what waits for a destination that fails for good (--reconnect=N).
    #[arg(long, value_name = "F|ENDPOINT", help_heading = "Queue")]
    pub dead_letter: Option<String>,
    /// What is kept on disk.
    #[command(flatten)]
    pub spool: SpoolArgs,
    /// Dropped messages are a failure (exit 31)
    #[arg(long, hide_short_help = true, help_heading = "Queue")]
    pub fail_on_drop: bool,
    /// Longest time to deliver what waits at the end
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true, help_heading = "Queue")]
    pub grace: Duration,
    /// Show ends, queues and messages on a dashboard; ? there shows the keys
    #[arg(long, hide_short_help = true, help_heading = "Monitoring")]
    pub tui: bool,
    /// `file:` ends.
    #[command(flatten)]
    pub files: FileArgs,
    /// `http://` ends.
    #[command(flatten)]
    pub http: HttpArgs,
    /// How messages are printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Client ends.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `--non-json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NonJsonArg {
    /// It is filtered out
    Drop,
    /// It goes on unchanged
    Pass,
    /// It is a dead letter
    Error,
}

/// `--input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputArg {
    /// A line is a message
    Raw,
    /// A line is an event line
    Json,
}

/// `--on-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFull {
    /// The source waits
    Block,
    /// The oldest waiting messages make room
    DropOldest,
    /// The new message is dropped
    DropNewest,
    /// What does not fit in memory goes to the spool
    Spool,
}

/// Runs `wsp relay`.
///
/// # Errors
/// Whatever keeps it from starting; what happens later is reported and becomes the code.
pub async fn run(args: &RelayArgs, mut host: Host) -> Result<Exit, Error> {
    if let (true, Some(directory)) = (args.spool.status, &args.spool.spool) {
        return print_status(directory, args.output.json, &mut host);
    }
    let mut signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let stderr = host.stderr.clone();
    let screen = if args.tui { Some(dashboard::screen(args, &host)?) } else { None };
    let mut build = Build::new(args, host)?;
    let mut relay = build.relay()?;
    let flows = relay.flows.clone();
    let shown = screen.map(|screen| build.dashboard.show(screen, &mut relay)).transpose()?;
    let ended = relay.run(&mut signals).await;
    if let Some(shown) = shown {
        shown.close();
    }
    for error in &ended.errors {
        stderr.line(format!("wsp: {error}"));
        if let Some(hint) = &error.hint {
            stderr.line(format!("hint: {hint}"));
        }
    }
    for flow in &flows {
        stderr.line(flow.ledger.to_string());
    }
    Ok(ended.exit)
}

/// What is needed while a relay is put together.
struct Build<'a> {
    args: &'a RelayArgs,
    stdin: Option<std::fs::File>,
    stdout: Option<std::fs::File>,
    stderr: Stderr,
    format: Format,
    to_terminal: bool,
    colour: bool,
    /// How messages become lines where no person reads them.
    line_format: Format,
    opening: Rc<OpeningPlan>,
    sessions: usize,
    dashboard: Ends,
}

impl<'a> Build<'a> {
    fn new(args: &'a RelayArgs, host: Host) -> Result<Self, Error> {
        Ok(Self {
            args,
            format: format(&args.output, &host, args.jq.is_some()),
            to_terminal: host.stdout_is_terminal,
            colour: colour(args.output.color, &host),
            line_format: line_format(&args.output),
            stderr: host.stderr,
            stdin: Some(host.stdin),
            stdout: Some(host.stdout),
            opening: Rc::new(settings::opening(&args.connection)?),
            sessions: 0,
            dashboard: Ends::default(),
        })
    }

    fn relay(&mut self) -> Result<Relay, Error> {
        let args = self.args;
        let from = endpoint(args.from.as_deref().unwrap_or_default())?;
        let to = args.to.iter().map(|text| endpoint(text)).collect::<Result<Vec<_>, _>>()?;
        if args.both && (to.len() > 1 || !args.routes.is_empty()) {
            return Err(Error::usage("--both joins one FROM and one TO", "leave --both or the other destinations out"));
        }
        if args.both
            && let Some(mute) = to.iter().find(|endpoint| !gives(endpoint))
        {
            return Err(Error::usage(format!("--both: {mute} gives no messages"), "leave --both out"));
        }
        let stop = Rc::new(Stop::default());
        let (dead_letters, mut ends) = self.dead_letters(&stop)?;
        let notice = self.notice();
        let spool = args.spool.open(args.on_full)?;
        let lane = |endpoint: &Endpoint| Rc::new(self.lane(endpoint, spool.as_deref()));
        let lanes: Vec<_> = to.iter().map(lane).collect();
        let mut sinks: Vec<_> = to.into_iter().zip(lanes.iter().cloned()).collect();
        let mut routes = Vec::new();
        for text in &args.routes {
            let (source, target) = text
                .rsplit_once("=>")
                .ok_or_else(|| Error::usage(format!("--route '{text}' has no =>"), "write --route 'JQ=>ENDPOINT'"))?;
            let target = endpoint(target.trim())?;
            let known = sinks.iter().find(|(endpoint, _)| *endpoint == target).map(|(_, lane)| Rc::clone(lane));
            let lane = known.unwrap_or_else(|| {
                let lane = lane(&target);
                sinks.push((target, Rc::clone(&lane)));
                lane
            });
            routes.push(Route { when: settings::filter("--route", source.trim())?, lane });
        }
        let flow = Flow::new(
            FlowSettings {
                filter: args.jq.as_deref().map(|source| settings::filter("--jq", source)).transpose()?,
                non_json: match args.non_json {
                    NonJsonArg::Drop => NonJson::Drop,
                    NonJsonArg::Pass => NonJson::Pass,
                    NonJsonArg::Error => NonJson::Reject,
                },
                schema: args.schema.as_deref().map(|path| settings::schema("--schema", path)).transpose()?,
                routes,
                route_all: args.route_all,
                lanes,
            },
            1,
            Rc::clone(&dead_letters),
            Rc::clone(&notice),
        );
        let io = |inlet: Option<&Rc<Flow>>, lane: Option<Rc<Lane>>| EndIo {
            inlet: inlet.map(|flow| Rc::clone(flow) as Rc<dyn Inlet>),
            lane,
            stop: Rc::clone(&stop),
            dead_letters: Rc::clone(&dead_letters),
            notice: Rc::clone(&notice),
        };
        let mut flows = vec![Rc::clone(&flow)];
        let mut back = None;
        if args.both {
            let lane = Rc::new(self.lane(&from, spool.as_deref()));
            let settings = FlowSettings {
                filter: None,
                non_json: NonJson::Pass,
                schema: None,
                routes: Vec::new(),
                route_all: false,
                lanes: vec![Rc::clone(&lane)],
            };
            let flow = Flow::new(settings, 1, Rc::clone(&dead_letters), Rc::clone(&notice));
            flows.push(Rc::clone(&flow));
            back = Some((flow, lane));
        }
        if let Some(spool) = &spool {
            self.begin(spool, &flows)?;
        }
        let back_flow = back.as_ref().map(|(flow, _)| flow);
        for (endpoint, lane) in sinks {
            let back = back_flow.filter(|_| gives(&endpoint));
            ends.extend(self.ends(&endpoint, &io(back, Some(lane)), false)?);
        }
        let back_lane = back.as_ref().map(|(_, lane)| Rc::clone(lane));
        ends.extend(self.ends(&from, &io(Some(&flow), back_lane), true)?);
        Ok(Relay {
            flows,
            ends,
            spool,
            stop,
            grace: args.grace,
            timeout: args.connection.timeout,
            fail_on_drop: args.fail_on_drop,
            quit: None,
        })
    }

    fn notice(&self) -> Rc<dyn Fn(String)> {
        let (stderr, quiet) = (self.stderr.clone(), self.args.output.quiet);
        Rc::new(move |text| {
            if !quiet {
                stderr.line(format!("wsp: {text}"));
            }
        })
    }

    fn lane(&self, endpoint: &Endpoint, spool: Option<&Spool>) -> Lane {
        let (name, settings) = (endpoint.to_string(), self.lane_settings());
        match spool {
            Some(spool) => Lane::spooled(name, settings, spool),
            None => Lane::new(name, settings),
        }
    }

    /// Every lane is there: says what an earlier run left.
    fn begin(&self, spool: &Spool, flows: &[Rc<Flow>]) -> Result<(), Error> {
        let notice = self.notice();
        for left in spool.begin()? {
            let Leftover { name, messages } = left;
            notice(format!("spool: {messages} messages wait for {name}, which this relay does not serve; they stay"));
        }
        let recovered: u64 = flows.iter().map(|flow| flow.ledger.received.get()).sum();
        if recovered > 0 {
            notice(format!("spool: {recovered} messages recovered"));
        }
        Ok(())
    }

    fn lane_settings(&self) -> LaneSettings {
        LaneSettings {
            max_messages: self.args.queue_size,
            max_bytes: self.args.queue_bytes,
            policy: match self.args.on_full {
                // The spool has its own.
                OnFull::Block | OnFull::Spool => OverflowPolicy::Block,
                OnFull::DropOldest => OverflowPolicy::DropOldest,
                OnFull::DropNewest => OverflowPolicy::DropNewest,
            },
        }
    }

    fn session(&mut self) -> String {
        self.sessions += 1;
        format!("s{}", self.sessions)
    }

    fn retry(&self) -> Result<RetrySettings, Error> {
        let connection = &self.args.connection;
        Ok(RetrySettings { backoff: settings::backoff(connection)?, most: connection.reconnect })
    }

    fn sink<S: BatchSink + 'static>(&self, sink: S, most: usize) -> Result<Box<dyn End>, Error> {
        let args = self.args;
        let batch = BatchSettings {
            count: args.batch.unwrap_or(most).max(1),
            bytes: args.batch_bytes.unwrap_or(1 << 20),
            age: args.batch_age.unwrap_or_default(),
        };
        Ok(Box::new(Dispatch::new(sink, batch, self.retry()?)))
    }

    /// The ends of an endpoint, known to whoever looks.
    fn ends(&mut self, endpoint: &Endpoint, io: &EndIo, is_from: bool) -> Result<Vec<Running>, Error> {
        let before = self.sessions;
        self.dashboard.begin();
        let made = self.make_ends(endpoint, io, is_from)?;
        let session = (self.sessions > before).then_some(self.sessions);
        self.dashboard.add(session, endpoint, io, is_from);
        Ok(made)
    }

    /// The ends an endpoint is made of: one that does both, or a source and a sink.
    fn make_ends(&mut self, endpoint: &Endpoint, io: &EndIo, is_from: bool) -> Result<Vec<Running>, Error> {
        let name = endpoint.to_string();
        let running = |end: Box<dyn End>, io: EndIo| Running { name: name.clone(), end, io, is_last: false };
        let as_source = || EndIo { lane: None, ..io.clone() };
        let as_sink = || EndIo { inlet: None, ..io.clone() };
        let mut ends = Vec::new();
        match endpoint {
            Endpoint::Ws(url) => {
                let end = self.ws(url)?;
                return Ok(vec![running(Box::new(end), io.clone())]);
            }
            Endpoint::Http(url) => {
                if io.inlet.is_some() {
                    return Err(Error::usage(format!("{name} gives no messages"), "it stands as TO"));
                }
                let (sink, most) = self.http(url, &name)?;
                ends.push(running(self.sink(sink, most)?, as_sink()));
            }
            Endpoint::Exec(command) => {
                let end = self.exec(command, &name, is_from)?;
                return Ok(vec![running(Box::new(end), io.clone())]);
            }
            Endpoint::Stdio => {
                if io.inlet.is_some() {
                    ends.push(running(Box::new(self.stdin()?), as_source()));
                }
                if io.lane.is_some() {
                    let sink = self.stdout()?;
                    ends.push(running(self.sink(sink, BATCH)?, as_sink()));
                }
            }
            Endpoint::Null => {
                if io.inlet.is_some() {
                    return Err(Error::usage("null: gives no messages", "it stands as TO"));
                }
                ends.push(running(self.sink(NullSink, BATCH)?, as_sink()));
            }
            Endpoint::File(path) => {
                if io.inlet.is_some() && io.lane.is_some() {
                    return Err(Error::usage(
                        format!("--both: {name} can be read or written, not both"),
                        "leave --both out, or join other endpoints",
                    ));
                }
                if io.inlet.is_some() {
                    ends.push(running(Box::new(self.file_source(path, &name)), as_source()));
                } else {
                    ends.push(running(Box::new(self.file_sink(path)?), as_sink()));
                }
            }
            Endpoint::Nats(url) => {
                let found = brokers::nats(&self.broker(url), io)?;
                ends.extend(found.into_iter().map(|(end, io)| running(end, io)));
            }
            other => {
                return Err(Error::usage(format!("{other}: this endpoint is not there yet"), "see wsp relay --help"));
            }
        }
        Ok(ends)
    }

    fn broker<'u>(&mut self, url: &'u str) -> Broker<'u>
    where
        'a: 'u,
    {
        let args = self.args;
        Broker {
            url,
            connection: &args.connection,
            session: self.session(),
            bytes: args.queue_bytes,
            batch: args.batch,
            batch_bytes: args.batch_bytes,
            batch_age: args.batch_age,
        }
    }

    fn ws(&mut self, url: &str) -> Result<WsClient, Error> {
        let connection = &self.args.connection;
        let connector = Connector::new(settings::connect_options(url, connection, false)?)?;
        let mut retry = self.retry()?;
        // What was not asked for is not done: as for connect.
        retry.most = Some(connection.reconnect.unwrap_or(0));
        Ok(WsClient {
            connector,
            session: self.session(),
            opening: Rc::clone(&self.opening),
            protocol: protocol::Settings::Raw.session(),
            driver: DriverSettings {
                keepalive: settings::keepalive(connection, false),
                close_timeout: connection.close_timeout,
                fragment: None,
            },
            retry,
            life: self.dashboard.life(),
        })
    }

    fn stdin(&mut self) -> Result<StdioSource, Error> {
        Ok(StdioSource {
            file: self.stdin.take().ok_or_else(|| twice("input"))?,
            session: self.session(),
            framing: Framing::Lines,
            kind: match self.args.input {
                Some(InputArg::Json) => LineKind::Events,
                Some(InputArg::Raw) | None => LineKind::Raw,
            },
            max_message_size: self.args.connection.max_message_size,
        })
    }

    fn stdout(&mut self) -> Result<StdioSink, Error> {
        Ok(StdioSink {
            output: Output::new(self.stdout.take().ok_or_else(|| twice("output"))?),
            format: self.format,
            to_terminal: self.to_terminal,
            colour: self.colour,
        })
    }
}

fn twice(stream: &str) -> Error {
    Error::usage(format!("standard {stream} is used twice"), "one endpoint may be -")
}

fn endpoint(text: &str) -> Result<Endpoint, Error> {
    Endpoint::parse(text).map_err(|error| Error::usage(error.to_string(), "see wsp relay --help"))
}

/// Whether an endpoint can give messages.
fn gives(endpoint: &Endpoint) -> bool {
    !matches!(endpoint, Endpoint::Null | Endpoint::Http(_))
}
