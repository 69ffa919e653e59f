//! From flags to a relay that can run: flows, lanes, and what they share.
//!
//! Leaves the ends to `ends`. Invariant: nothing runs before everything is built.

use std::rc::Rc;

use super::args::{NonJsonArg, OnFull, RelayArgs};
use super::files::line_format;
use crate::command::connect::plan::{colour, format};
use crate::command::settings;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::host::{Host, Stderr};
use crate::message::render::Format;
use crate::pipeline::dispatch::RetrySettings;
use crate::pipeline::flow::{Flow, FlowSettings, NonJson, Route};
use crate::pipeline::run::{Relay, Running};
use crate::queue::OverflowPolicy;
use crate::queue::end::{EndIo, Inlet};
use crate::queue::lane::{Lane, LaneSettings};
use crate::queue::pace::Pacer;
use crate::queue::spool::{Leftover, Spool};
use crate::queue::stop::Stop;
use crate::session::opening::OpeningPlan;

/// What is needed while a relay is put together.
pub(super) struct Build<'a> {
    pub(super) args: &'a RelayArgs,
    pub(super) stdin: Option<std::fs::File>,
    pub(super) stdout: Option<std::fs::File>,
    pub(super) stderr: Stderr,
    pub(super) format: Format,
    pub(super) to_terminal: bool,
    pub(super) colour: bool,
    /// How messages become lines where no person reads them.
    pub(super) line_format: Format,
    pub(super) opening: Rc<OpeningPlan>,
    pub(super) sessions: usize,
}

impl<'a> Build<'a> {
    pub(super) fn new(args: &'a RelayArgs, host: Host) -> Result<Self, Error> {
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
        })
    }

    pub(super) fn relay(&mut self) -> Result<Relay, Error> {
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
        args.check_protocols(&from, &to)?;
        self.check_servers(&from, &to)?;
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
        self.set_pace(&flow);
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
            self.set_pace(&flow);
            flows.push(Rc::clone(&flow));
            back = Some((flow, lane));
        }
        if let Some(spool) = &spool {
            self.begin(spool, &flows)?;
        }
        let back_flow = back.as_ref().map(|(flow, _)| flow);
        if let (Some(to), Some(back)) =
            (sinks.first().map(|(to, _)| to).filter(|to| self.is_proxy(&from, to)), back_flow)
        {
            let proxy = self.proxy(&from, to, (&flow, back))?;
            let name = from.to_string();
            ends.push(Running { name, end: Box::new(proxy), io: io(Some(&flow), None), is_last: false });
            sinks.clear();
        }
        let is_proxy = sinks.is_empty();
        for (endpoint, lane) in sinks {
            let back = back_flow.filter(|_| gives(&endpoint));
            ends.extend(self.ends(&endpoint, &io(back, Some(lane)), false)?);
        }
        let back_lane = back.as_ref().map(|(_, lane)| Rc::clone(lane));
        if !is_proxy {
            ends.extend(self.ends(&from, &io(Some(&flow), back_lane), true)?);
        }
        Ok(Relay {
            flows,
            ends,
            spool,
            stop,
            grace: args.grace,
            timeout: args.connection.timeout,
            fail_on_drop: args.fail_on_drop,
        })
    }

    /// All that leaves a flow has one pace.
    fn set_pace(&self, flow: &Flow) {
        if let Some(rate) = self.args.rate {
            let pacer = Rc::new(Pacer::new(rate));
            for lane in flow.lanes() {
                lane.pace_by(&pacer);
            }
        }
    }

    pub(super) fn notice(&self) -> Rc<dyn Fn(String)> {
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

    pub(super) fn lane_settings(&self) -> LaneSettings {
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

    pub(super) fn session(&mut self) -> String {
        self.sessions += 1;
        format!("s{}", self.sessions)
    }

    pub(super) fn retry(&self) -> Result<RetrySettings, Error> {
        let connection = &self.args.connection;
        Ok(RetrySettings { backoff: settings::backoff(connection)?, most: connection.reconnect })
    }
}

pub(super) fn endpoint(text: &str) -> Result<Endpoint, Error> {
    Endpoint::parse(text).map_err(|error| Error::usage(error.to_string(), "see wsp relay --help"))
}

/// Whether an endpoint can give messages.
pub(super) fn gives(endpoint: &Endpoint) -> bool {
    !matches!(endpoint, Endpoint::Null | Endpoint::Http(_))
}
