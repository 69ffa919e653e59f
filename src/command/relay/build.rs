//! From flags to a relay that can run: flows, lanes, and what they share.
//!
//! Leaves the ends to `ends`. Invariant: nothing runs before everything is built.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use super::args::{NonJsonArg, OnFull, RelayArgs};
use super::files::line_format;
use super::routes;
use crate::command::connect::plan::{colour, format};
use crate::command::options::ConnectionArgs;
use crate::command::settings;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::host::{Host, Stderr};
use crate::message::counted::counted;
use crate::message::render::Format;
use crate::pipeline::bins::BinSettings;
use crate::pipeline::flow::{Choice, Flow, FlowSettings, NonJson, Route};
use crate::pipeline::run::{Orders, Relay, Running};
use crate::pipeline::watch::{Seen, View, Watch};
use crate::queue::LaneSettings;
use crate::queue::OverflowPolicy;
use crate::queue::end::{EndIo, Ingress};
use crate::queue::lane::Lane;
use crate::queue::pace::Pacer;
use crate::queue::spool::{Leftover, Spool};
use crate::session::reconnect::{Limit, ReconnectSettings, Retries};
use crate::sink::stdout::{Output, SharedOutput};
use crate::source::shared::SharedInput;

/// What all pipelines of a process share.
pub(super) struct Surroundings {
    /// Streams and whether they are terminals.
    pub(super) host: Host,
    /// What is seen of all of them.
    pub(super) watch: Rc<Watch>,
    /// Sessions named so far.
    pub(super) sessions: Cell<usize>,
    /// Standard input, once somebody reads it.
    pub(super) input: OnceCell<Rc<SharedInput>>,
    /// Standard output, once somebody writes it.
    pub(super) output: OnceCell<SharedOutput>,
}

impl Surroundings {
    /// Standard output, which an end and lines about dropped messages have in common.
    pub(super) fn output(&self) -> Result<SharedOutput, Error> {
        if let Some(output) = self.output.get() {
            return Ok(Rc::clone(output));
        }
        let output = Output::stdout(&self.host.stdout)?;
        Ok(Rc::clone(self.output.get_or_init(|| Rc::new(RefCell::new(output)))))
    }

    pub(super) fn new(host: Host) -> Self {
        Self { host, watch: Rc::default(), sessions: Cell::new(0), input: OnceCell::new(), output: OnceCell::new() }
    }
}

/// What is needed while a relay is put together.
pub(super) struct Build<'a> {
    pub(super) args: &'a RelayArgs,
    pub(super) around: &'a Surroundings,
    /// The pipeline's name, where it has one.
    pub(super) name: Option<String>,
    pub(super) reads_stdin: bool,
    pub(super) writes_stdout: bool,
    pub(super) stderr: Stderr,
    pub(super) format: Format,
    pub(super) to_terminal: bool,
    pub(super) colour: bool,
    /// How messages become lines where no person reads them.
    pub(super) line_format: Format,
    /// Ends that profiles describe.
    pub(super) profiles: Vec<(Endpoint, ConnectionArgs)>,
    pub(super) views: Vec<Rc<View>>,
    pub(super) orders: Rc<Orders>,
    /// What the end that is being built is handed comes in these.
    pub(super) bins: Option<BinSettings>,
    /// The end that is being built is for dead letters.
    pub(super) takes_dead_letters: bool,
    /// Nothing is to be opened: it is only tried whether all fits together.
    pub(super) is_trial: bool,
}

impl<'a> Build<'a> {
    pub(super) fn new(args: &'a RelayArgs, around: &'a Surroundings, name: Option<String>) -> Result<Self, Error> {
        let host = &around.host;
        // What is wrong with it is told whether or not an end uses it.
        settings::opening(&args.connection)?;
        Ok(Self {
            args,
            around,
            name,
            format: format(&args.output, host, args.jq.is_some()),
            to_terminal: host.stdout_is_terminal,
            colour: colour(args.output.color, host),
            line_format: line_format(&args.output),
            stderr: host.stderr.clone(),
            reads_stdin: false,
            writes_stdout: false,
            profiles: Vec::new(),
            views: Vec::new(),
            orders: Rc::default(),
            bins: None,
            takes_dead_letters: false,
            is_trial: false,
        })
    }

    /// Puts everything together and throws it away: nothing is opened.
    pub(super) fn try_out(mut self) -> Result<(), Error> {
        self.is_trial = true;
        let sessions = self.around.sessions.get();
        let tried = self.relay().map(drop);
        self.around.sessions.set(sessions);
        tried
    }

    pub(super) fn relay(&mut self) -> Result<Relay, Error> {
        let args = self.args;
        let from = self.endpoint(args.from.as_deref().unwrap_or_default())?;
        let to = args.to.iter().map(|text| self.endpoint(text)).collect::<Result<Vec<_>, _>>()?;
        let targets = self.routed()?;
        if args.both && (to.len() > 1 || !args.routes.is_empty()) {
            return Err(Error::usage("--both joins one FROM and one TO", "leave --both or the other destinations out"));
        }
        if args.both
            && let Some(mute) = to.iter().find(|endpoint| !gives(endpoint))
        {
            return Err(Error::usage(format!("--both: {mute} provides no messages"), "leave --both out"));
        }
        args.check_protocols(&from, &to)?;
        self.check_servers(&from, &to)?;
        self.check_proxy(&from, &to)?;
        let (stop, session) = (Rc::clone(&self.orders.stop), self.session());
        let (dead_letters, dead_lane, mut ends) = self.dead_letters(&stop)?;
        let notice = self.notice();
        let spool = if self.is_trial {
            args.queue.spool.settings(args.queue.on_full).map(|_| None)?
        } else {
            args.queue.spool.open(args.queue.on_full)?
        };
        // Where there is a route, there is another destination.
        let has_company = to.len() > 1 || !targets.is_empty();
        let lane = |endpoint: &Endpoint| Rc::new(self.lane(endpoint, has_company, spool.as_deref()));
        let lanes: Vec<_> = to.iter().map(lane).collect();
        let mut sinks: Vec<_> = to.into_iter().zip(lanes.iter().cloned()).collect();
        let routes = join_routes(targets, &mut sinks, &lane);
        let settings = self.flow_settings(routes, lanes)?;
        let flow = Flow::new(settings, 1, Rc::clone(&dead_letters), Rc::clone(&notice));
        let io = |ingress: Option<&Rc<Flow>>, lane: Option<Rc<Lane>>| EndIo {
            ingress: ingress.map(|flow| Rc::clone(flow) as Rc<dyn Ingress>),
            lane,
            stop: Rc::clone(&stop),
            dead_letters: Rc::clone(&dead_letters),
            notice: Rc::clone(&notice),
        };
        self.set_pace(&flow);
        let mut flows = vec![Rc::clone(&flow)];
        let mut back = None;
        if args.both {
            let lane = Rc::new(self.lane(&from, false, spool.as_deref()));
            let settings = FlowSettings {
                filter: None,
                fold: None,
                raw_input: false,
                non_json: NonJson::Pass,
                schema: None,
                routes: Vec::new(),
                route_all: false,
                lanes: vec![Rc::clone(&lane)],
                tells_sources: self.tells_sources(),
            };
            let flow = Flow::new(settings, 1, Rc::clone(&dead_letters), Rc::clone(&notice));
            self.set_pace(&flow);
            flows.push(Rc::clone(&flow));
            back = Some((flow, lane));
        }
        for flow in &flows {
            let watch = Rc::clone(&self.around.watch);
            flow.ledger.on_drop(move |session, dir, reason, size| watch.dropped(session, dir, reason, size));
        }
        if let Some(spool) = &spool {
            self.begin(spool, &flows)?;
        }
        let back_flow = back.as_ref().map(|(flow, _)| flow);
        if let (Some(to), Some(back)) =
            (sinks.first().map(|(to, _)| to).filter(|to| self.is_proxy(&from, to)), back_flow)
        {
            let (name, io) = (from.to_string(), io(Some(&flow), None));
            let view = View::new(&self.around.watch, session.clone(), &name, false, &io);
            let proxy = self.proxy(&from, to, (&flow, back), &view)?;
            self.views.push(Rc::clone(&view));
            ends.push(Running { name, end: Box::new(proxy), io, is_last: false, is_from: true, view });
            sinks.clear();
        }
        let is_proxy = sinks.is_empty();
        for (endpoint, lane) in sinks {
            let back = back_flow.filter(|_| gives(&endpoint));
            let session = self.session();
            ends.extend(self.ends(&endpoint, &io(back, Some(lane)), session, false)?);
        }
        let back_lane = back.as_ref().map(|(_, lane)| Rc::clone(lane));
        if !is_proxy {
            ends.extend(self.ends(&from, &io(Some(&flow), back_lane), session, true)?);
        }
        let mut views = std::mem::take(&mut self.views);
        // FROM comes first.
        views.rotate_right(1);
        Ok(Relay {
            seen: Rc::new(Seen { name: self.name.clone(), flows, views, dead_letters: dead_lane }),
            ends,
            spool,
            orders: Rc::clone(&self.orders),
            grace: args.queue.grace,
            timeout: args.connection.timeout,
            fail_on_drop: args.queue.fail_on_drop,
        })
    }

    /// What --route says.
    fn routed(&mut self) -> Result<Vec<(Choice, Endpoint)>, Error> {
        let args = self.args;
        args.routes.iter().map(|text| routes::parse(text)?.compile(|target| self.endpoint(target))).collect()
    }

    /// What happens to messages on their way from FROM.
    fn flow_settings(&self, routes: Vec<Route>, lanes: Vec<Rc<Lane>>) -> Result<FlowSettings, Error> {
        let args = self.args;
        Ok(FlowSettings {
            filter: args.jq.as_deref().map(|source| settings::filter("--jq", source)).transpose()?,
            fold: args.fold.fold()?,
            raw_input: args.connection.filters.raw_input,
            non_json: match args.non_json {
                NonJsonArg::Drop => NonJson::Drop,
                NonJsonArg::Pass => NonJson::Pass,
                NonJsonArg::Error => NonJson::Reject,
            },
            schema: args
                .schema
                .as_deref()
                .map(|path| settings::schema("--schema", path, args.assert_format))
                .transpose()?,
            routes,
            route_all: args.route_all,
            lanes,
            tells_sources: self.tells_sources(),
        })
    }

    /// Whether a filter, event lines or dead letters may say where messages came from.
    fn tells_sources(&self) -> bool {
        let args = self.args;
        let has_key = |text: &String| {
            ["kafka:", "postgres", "opensearch+", "elasticsearch+"].iter().any(|scheme| text.starts_with(scheme))
                && text.contains("meta")
        };
        args.output.json
            || args.output.format.is_some()
            || args.queue.dead_letter.is_some()
            || args.jq.iter().chain(&args.routes).any(|filter| filter.contains("meta"))
            || args.fold.fold.iter().chain(&args.fold.state_key).any(|filter| filter.contains("meta"))
            || args.to.iter().any(has_key)
            || args.connection.key.as_ref().is_some_and(|key| key.to_string_lossy().contains("meta"))
    }

    /// All that leaves a flow has one pace.
    fn set_pace(&self, flow: &Flow) {
        if let Some(rate) = self.args.queue.rate {
            let pacer = Rc::new(Pacer::new(rate));
            for lane in flow.lanes() {
                lane.pace_by(&pacer);
            }
        }
    }

    pub(super) fn notice(&self) -> Rc<dyn Fn(String)> {
        let (stderr, quiet) = (self.stderr.clone(), self.args.output.quiet);
        let (watch, name) = (Rc::clone(&self.around.watch), self.name.clone());
        Rc::new(move |text| match &name {
            _ if quiet => {}
            Some(name) if watch.names_pipelines() => stderr.line(format!("wsp: {name}: {text}")),
            _ => stderr.line(format!("wsp: {text}")),
        })
    }

    /// The queue of a destination, which may have company.
    fn lane(&self, endpoint: &Endpoint, has_company: bool, spool: Option<&Spool>) -> Lane {
        let (name, mut settings) = (endpoint.to_string(), self.lane_settings());
        if has_company && settings.policy == OverflowPolicy::Block && self.gives_way(endpoint) {
            settings.policy = OverflowPolicy::DropOldest;
            if !self.is_trial {
                (self.notice())(format!(
                    "{name}: when its queue is full the oldest messages are dropped, so that the other destinations \
                     never wait for its clients; --client-on-full block makes them wait"
                ));
            }
        }
        match spool {
            Some(spool) => Lane::spooled(name, settings, spool),
            None => Lane::new(name, settings),
        }
    }

    /// Every lane is there: says what an earlier run left.
    fn begin(&self, spool: &Rc<Spool>, flows: &[Rc<Flow>]) -> Result<(), Error> {
        let notice = self.notice();
        for flow in flows {
            let states = flow.keep_states_in(spool)?.unwrap_or_default();
            if states > 0 {
                notice(format!("spool: --fold goes on with {}", counted(states as u64, "state")));
            }
        }
        for left in spool.begin()? {
            let Leftover { name, messages } = left;
            let messages = counted(messages, "message");
            notice(format!("spool: {messages} for {name} stay in it: this relay has no such destination"));
        }
        let recovered: u64 = flows.iter().map(|flow| flow.ledger.received.get()).sum();
        if recovered > 0 {
            notice(format!("spool: {} recovered", counted(recovered, "message")));
        }
        Ok(())
    }

    pub(super) fn lane_settings(&self) -> LaneSettings {
        LaneSettings {
            max_messages: self.args.queue.queue_size,
            max_bytes: self.args.queue.queue_bytes,
            policy: match self.args.queue.on_full {
                // The spool has its own.
                OnFull::Block | OnFull::Spool => OverflowPolicy::Block,
                OnFull::DropOldest => OverflowPolicy::DropOldest,
                OnFull::DropNewest => OverflowPolicy::DropNewest,
            },
        }
    }

    pub(super) fn session(&self) -> String {
        let sessions = &self.around.sessions;
        sessions.set(sessions.get() + 1);
        format!("s{}", sessions.get())
    }

    /// How what is not a WebSocket client is tried again: until it works, unless the user has set a limit.
    pub(super) fn reconnect(&self) -> Result<ReconnectSettings, Error> {
        settings::reconnect(&self.args.connection, Retries::up_to(Limit::Unlimited))
    }
}

/// Routes, with lanes for destinations that are not known yet.
fn join_routes(
    routed: Vec<(Choice, Endpoint)>,
    sinks: &mut Vec<(Endpoint, Rc<Lane>)>,
    lane: &dyn Fn(&Endpoint) -> Rc<Lane>,
) -> Vec<Route> {
    let route = |(choice, target): (Choice, Endpoint)| {
        let known = sinks.iter().find(|(endpoint, _)| *endpoint == target).map(|(_, lane)| Rc::clone(lane));
        let lane = known.unwrap_or_else(|| {
            let lane = lane(&target);
            sinks.push((target, Rc::clone(&lane)));
            lane
        });
        Route { choice, lane }
    };
    routed.into_iter().map(route).collect()
}

/// Whether an endpoint can give messages.
pub(super) fn gives(endpoint: &Endpoint) -> bool {
    !matches!(endpoint, Endpoint::Null | Endpoint::Http(_) | Endpoint::Search(_) | Endpoint::Postgres(_))
}
