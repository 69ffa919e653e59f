//! The way into a pipeline: filter, fold, schema, routes, and a copy for every destination.
//!
//! `work` is what filters make of a message, `held` keeps what waits for one that is not quick, `folding` the states of a
//! fold; `routes` chooses destinations.
//! Invariants: a message is received once and settled once, whatever the filter yields; order is kept to each
//! destination.

mod folding;
mod held;
mod routes;
mod work;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use jiff::Timestamp;

use crate::filter::jq::TOO_DEEP;
use crate::filter::{Filter, Fold, Json, Schema, States};
use crate::message::Message;
use crate::observe::counters::{Count, DropReason};
use crate::queue::end::{DeadLetters, Ingress};
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::lane::Lane;
use crate::queue::ledger::{AckCallback, Ledger, Receipt};
use crate::queue::settlement::Settlement;
use crate::queue::spool::Spool;
use crate::queue::spool::error::SpoolError;
use folding::Folding;
use held::Held;
use routes::Leg;
pub(crate) use routes::{Choice, Route};
use work::Work;

/// What happens to a message that is not JSON where a filter wants it to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonJson {
    Drop,
    Pass,
    /// It goes to the dead letters.
    Reject,
}

/// What a flow does with messages.
#[derive(Debug, Clone)]
pub(crate) struct FlowSettings {
    /// Chooses and transforms; each output is a message.
    pub filter: Option<Filter>,
    /// State from message to message, behind the filter.
    pub fold: Option<Fold>,
    /// Filters and routes get text that is not JSON as a string.
    pub raw_input: bool,
    pub non_json: NonJson,
    /// The shape of what comes out of the filter.
    pub schema: Option<Schema>,
    /// Destinations by content.
    pub routes: Vec<Route>,
    /// Send a message to every matching route, not only the first.
    pub route_all: bool,
    /// Destinations of what no route matched.
    pub lanes: Vec<Rc<Lane>>,
    /// Somebody behind it wants to know where messages came from.
    pub tells_sources: bool,
}

impl FlowSettings {
    /// The one destination of every message, as it comes.
    fn only_lane(&self) -> Option<&Rc<Lane>> {
        let is_plain = self.filter.is_none() && self.fold.is_none() && self.schema.is_none() && self.routes.is_empty();
        if let ([lane], true) = (&*self.lanes, is_plain) { Some(lane) } else { None }
    }
}

/// One direction of a pipeline.
pub(crate) struct Flow {
    settings: FlowSettings,
    pub ledger: Rc<Ledger>,
    /// Messages that could not be read, or that the filter failed on.
    pub rejected: Count,
    dead_letters: Rc<dyn DeadLetters>,
    sources: Cell<usize>,
    failed: Rc<dyn Fn(String)>,
    folding: Option<Folding>,
    work: Arc<Work>,
    held: Held,
}

impl Flow {
    /// A flow that `sources` sources push into.
    pub(crate) fn new(
        settings: FlowSettings,
        sources: usize,
        dead_letters: Rc<dyn DeadLetters>,
        failed: Rc<dyn Fn(String)>,
    ) -> Rc<Self> {
        let folding = settings.fold.as_ref().map(Folding::new);
        let flow = Rc::new_cyclic(|this| Self {
            work: Work::new(&settings, folding.as_ref()),
            folding,
            settings,
            ledger: Rc::new(Ledger::default()),
            rejected: Count::default(),
            dead_letters,
            sources: Cell::new(sources),
            failed,
            held: Held::of(this),
        });
        for lane in flow.lanes() {
            lane.join(&flow.ledger);
        }
        flow
    }

    /// A flow of its own that does the same and has the same account, for one source and one destination. Its fold begins
    /// anew.
    pub(crate) fn branch(&self, lane: Rc<Lane>) -> Rc<Self> {
        if let Some(account) = self.settings.lanes.first() {
            account.branch(&lane);
        }
        let folding = self.settings.fold.as_ref().map(Folding::new);
        Rc::new_cyclic(|this| Self {
            work: Work::new(&self.settings, folding.as_ref()),
            folding,
            settings: FlowSettings { lanes: vec![lane], ..self.settings.clone() },
            ledger: Rc::clone(&self.ledger),
            rejected: Count::default(),
            dead_letters: Rc::clone(&self.dead_letters),
            sources: Cell::new(1),
            failed: Rc::clone(&self.failed),
            held: Held::of(this),
        })
    }

    /// Every receiver has a branch of its own.
    pub(crate) fn spread(&self) {
        self.settings.lanes.iter().for_each(|lane| lane.spread());
    }

    /// The states of its fold go on from what an earlier run kept in this spool, and are kept there. Returns how many there
    /// are, where there is a fold.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub(crate) fn keep_states_in(&self, spool: &Rc<Spool>) -> Result<Option<usize>, SpoolError> {
        self.folding.as_ref().map(|folding| folding.keep_in(spool)).transpose()
    }

    /// Looks at the states of its fold, where it has one.
    pub(crate) fn states<T>(&self, look: impl FnOnce(&States) -> T) -> Option<T> {
        self.folding.as_ref().map(|folding| look(&folding.states()))
    }

    /// Every destination once.
    pub(crate) fn lanes(&self) -> Vec<Rc<Lane>> {
        let mut lanes = self.settings.lanes.clone();
        for route in &self.settings.routes {
            if !lanes.iter().any(|lane| Rc::ptr_eq(lane, &route.lane)) {
                lanes.push(Rc::clone(&route.lane));
            }
        }
        lanes
    }

    /// No destination gets it: the dead letters do.
    fn dead_letter(&self, lineage: &Lineage, message: Message, error: &str, receipt: &Receipt) {
        self.reject_at(&lineage.origin.endpoint, lineage.envelope(message, receipt.share()), error);
    }

    fn reject_at(&self, endpoint: &str, envelope: Envelope, error: &str) {
        if self.rejected.get() == 0 {
            (self.failed)(format!("{endpoint}: {error}; later ones are only counted"));
        }
        self.rejected.one();
        self.dead_letters.dead_letter(envelope, DropReason::Invalid, endpoint, error);
    }

    /// A message of a session whose messages all come from one place, with that place, where somebody asks.
    fn with_source(&self, origin: &Origin, message: Message) -> Message {
        match origin.source.get() {
            Some(source) if self.settings.tells_sources => message.with_source(Some(Arc::clone(source))),
            _ => message,
        }
    }

    fn needs_json(&self) -> bool {
        self.settings.filter.is_some() || self.folding.is_some() || !self.settings.routes.is_empty()
    }

    /// Runs the filter; every output goes on. What has to be awaited is kept.
    fn transform(&self, lineage: Lineage, message: Message, receipt: Receipt) {
        let settings = &self.settings;
        if !self.needs_json() {
            self.deliver(&lineage, message, Vec::new(), &receipt);
            return receipt.settle(Settlement::Filtered);
        }
        let json = match self.read(&message) {
            Ok(json) => json,
            Err(reason) => {
                match settings.non_json {
                    // It fits no schema, with a filter before that as without.
                    NonJson::Drop if settings.schema.is_some() => self.deliver(&lineage, message, Vec::new(), &receipt),
                    NonJson::Pass => self.deliver(&lineage, message, Vec::new(), &receipt),
                    NonJson::Drop => {}
                    NonJson::Reject if reason.starts_with(TOO_DEEP) => {
                        self.dead_letter(&lineage, message, &reason, &receipt);
                    }
                    NonJson::Reject => self.dead_letter(&lineage, message, "not JSON", &receipt),
                }
                return receipt.settle(Settlement::Filtered);
            }
        };
        self.work_on(lineage, message, json, receipt);
    }

    /// A message as filters are given it. What a fold keeps of it must not keep its memory.
    fn read(&self, message: &Message) -> Result<Json, String> {
        let raw_input = self.settings.raw_input;
        if self.folding.is_some() {
            Json::apart_from_message(message, raw_input)
        } else {
            Json::of_message(message, raw_input)
        }
    }

    /// Hands a message to the routes that were chosen, or to the destinations of what has none.
    fn deliver(&self, lineage: &Lineage, message: Message, legs: Vec<Leg>, receipt: &Receipt) {
        let settings = &self.settings;
        if let Some(schema) = &settings.schema
            && let Err(error) = schema.check(message.payload())
        {
            let envelope = lineage.envelope(message, receipt.share());
            self.dead_letters.dead_letter(envelope, DropReason::Invalid, "schema", &error);
            return;
        }
        if legs.is_empty()
            && let Some((last, others)) = settings.lanes.split_last()
        {
            for lane in others {
                lane.push(lineage.envelope(message.clone(), receipt.share()));
            }
            last.push(lineage.envelope(message, receipt.share()));
            return;
        }
        for leg in legs {
            let Some(route) = settings.routes.get(leg.route) else { continue };
            let Some((outputs, result)) = leg.projected else {
                route.lane.push(lineage.envelope(message.clone(), receipt.share()));
                continue;
            };
            for output in outputs {
                route.lane.push(lineage.envelope(output, receipt.share()));
            }
            if let Err(error) = result {
                let envelope = lineage.envelope(message.clone(), receipt.share());
                self.reject_at(&route.lane.name, envelope, &format!("--route: jq: {error}"));
            }
        }
    }

    fn end_lanes(&self) {
        for lane in self.lanes() {
            lane.end();
        }
    }
}

/// A message with what a filter made of another.
fn made_of(value: &Json, message: &Message) -> Message {
    Message::text(value.to_plain_string()).with_source(message.source().cloned())
}

/// What all messages made from one have in common.
struct Lineage {
    origin: Rc<Origin>,
    seq: u64,
    time: Timestamp,
}

impl Lineage {
    fn envelope(&self, message: Message, receipt: Receipt) -> Envelope {
        Envelope { message, origin: Rc::clone(&self.origin), time: self.time, seq: self.seq, attempts: 0, receipt }
    }

    fn meta(&self, message: &Message) -> Json {
        self.origin.meta(message, self.time, self.seq)
    }
}

impl Ingress for Flow {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        std::task::ready!(self.held.poll_room(cx));
        if let Some(folding) = &self.folding {
            std::task::ready!(folding.poll_room(cx));
        }
        std::task::ready!(self.dead_letters.poll_room(cx));
        for lane in self.settings.lanes.iter().chain(self.settings.routes.iter().map(|route| &route.lane)) {
            if lane.poll_ready(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn push(&self, origin: &Rc<Origin>, seq: u64, message: Message, on_settled: Option<AckCallback>) {
        let receipt = self.ledger.receive(message.len(), on_settled);
        let lineage = Lineage { origin: Rc::clone(origin), seq, time: origin.clock.now() };
        let message = self.with_source(origin, message);
        if let Some(lane) = self.settings.only_lane() {
            lane.push(lineage.envelope(message, receipt));
            return;
        }
        // Destinations share one copy; and where some messages go elsewhere, what stays keeps none of them alive.
        let message = message.into_detached();
        if self.held.is_busy() {
            return self.held.keep(lineage, message, receipt);
        }
        self.transform(lineage, message, receipt);
    }

    fn reject(&self, origin: &Rc<Origin>, seq: u64, message: Message, error: &str) {
        let message = self.with_source(origin, message);
        let receipt = self.ledger.receive(message.len(), None);
        self.dead_letter(
            &Lineage { origin: Rc::clone(origin), seq, time: origin.clock.now() },
            message,
            error,
            &receipt,
        );
        receipt.settle(Settlement::Filtered);
    }

    fn refuse(
        &self,
        origin: &Rc<Origin>,
        seq: u64,
        message: Message,
        on_settled: Option<AckCallback>,
        reason: DropReason,
        error: &str,
    ) {
        let message = self.with_source(origin, message);
        let receipt = self.ledger.receive(message.len(), on_settled);
        let envelope =
            Envelope { message, origin: Rc::clone(origin), time: origin.clock.now(), seq, attempts: 0, receipt };
        self.dead_letters.dead_letter(envelope, reason, &origin.endpoint, error);
    }

    fn lose(&self, session: &str, count: u64, size: Option<usize>, reason: DropReason) {
        self.ledger.lose(session, count, size, reason);
    }

    fn asks_for_sources(&self) -> bool {
        self.settings.tells_sources
    }

    fn end(&self) {
        self.sources.set(self.sources.get().saturating_sub(1));
        if self.sources.get() == 0 && !self.held.is_busy() {
            self.end_lanes();
        }
    }

    fn depth(&self) -> (u64, u64) {
        let fullest = self
            .lanes()
            .iter()
            .map(|lane| lane.depth())
            .max_by(|a, b| (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1))));
        let (waiting, most) = fullest.unwrap_or((0, 1));
        // What waits for a filter waits for the queue behind it.
        ((waiting + self.held.len() as u64).min(most), most)
    }

    fn full_since(&self) -> Option<Timestamp> {
        self.lanes().iter().filter_map(|lane| lane.full_since()).min()
    }
}
