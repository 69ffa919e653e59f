//! A relay as the admin address and other viewers see and steer it.
//!
//! Owns the readings, and messages from outside, which go to destinations without passing filters. Invariant: such a
//! message is received and has its outcome in the ledger of the destination's pipeline, like any other.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::{Seen, View, Watch};
use crate::filter::States;
use crate::listen::hub::Hub;
use crate::listen::session_id::{session_id, session_number};
use crate::message::Message;
use crate::message::event::Direction;
use crate::observe::Control;
use crate::observe::control::{
    BatchReading, Delivering, Delivery, FoldReading, QueueReading, Refusal, SessionReading, Steer, milliseconds,
};
use crate::observe::counters::{Counters, DropReason};
use crate::observe::tap::Tap;
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::lane::Lane;
use crate::queue::ledger::Ledger;
use crate::queue::settlement::Settlement;

/// How long to wait for room in full queues.
const WAIT: Duration = Duration::from_secs(10);
/// What messages from outside have as their session and endpoint.
const OUTSIDE: &str = "admin";

impl Control for Watch {
    fn mode(&self) -> &'static str {
        "relay"
    }

    fn is_server(&self) -> bool {
        self.pipelines.borrow().iter().flat_map(|seen| &seen.views).any(|view| view.hub().is_some())
    }

    fn counters(&self) -> &Counters {
        self.counted()
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    fn active(&self) -> usize {
        self.pipelines
            .borrow()
            .iter()
            .flat_map(|seen| &seen.views)
            .map(|view| view.hub().map_or(usize::from(view.is_connected()), |hub| hub.active()))
            .sum()
    }

    fn queues(&self) -> Vec<QueueReading> {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut queues = Vec::new();
        self.each_lane(|seen, lane, is_dead_letters| {
            let mut name = lane.name.clone();
            if is_dead_letters {
                name = format!("dead letters: {name}");
            }
            if let Some(pipeline) = self.shown_name(seen) {
                name = format!("{pipeline}: {name}");
            }
            let count = names.entry(name.clone()).or_default();
            *count += 1;
            if *count > 1 {
                name = format!("{name} ({count})");
            }
            queues.push(reading(lane, name));
        });
        queues
    }

    fn waiting(&self) -> u64 {
        self.sums().waiting
    }

    fn lags(&self) -> Vec<(String, u64)> {
        let mut lags: BTreeMap<String, u64> = BTreeMap::new();
        for seen in self.pipelines.borrow().iter() {
            let name = self.shown_name(seen);
            for (source, lag) in seen.views.iter().filter_map(|view| Some((view.endpoint(), view.lag()?))) {
                let source = name.map_or_else(|| source.to_owned(), |name| format!("{name}: {source}"));
                *lags.entry(source).or_default() += lag;
            }
        }
        lags.into_iter().collect()
    }

    fn published(&self) -> Vec<(String, u64)> {
        let mut published: BTreeMap<String, u64> = BTreeMap::new();
        self.each_lane(|_, lane, is_dead_letters| {
            if !is_dead_letters {
                let delivered: u64 = lane.branches().iter().map(|lane| lane.delivered.get()).sum();
                *published.entry(subject(&lane.name).to_owned()).or_default() += delivered;
            }
        });
        published.into_iter().collect()
    }

    fn max_sessions(&self) -> Option<usize> {
        let pipelines = self.pipelines.borrow();
        let hubs = pipelines.iter().flat_map(|seen| &seen.views).filter_map(|view| view.hub());
        let limits: Vec<_> = hubs.map(|hub| Control::max_sessions(&*hub)).collect();
        limits.iter().copied().sum::<Option<usize>>().filter(|_| !limits.is_empty())
    }

    fn folds(&self) -> Option<FoldReading> {
        let pipelines = self.pipelines.borrow();
        let flows = pipelines.iter().flat_map(|seen| &seen.flows);
        let reading = |states: &States| FoldReading {
            states: states.len() as u64,
            most: states.most() as u64,
            evicted: states.evicted(),
        };
        flows.filter_map(|flow| flow.states(reading)).reduce(|sum, one| FoldReading {
            states: sum.states + one.states,
            most: sum.most + one.most,
            evicted: sum.evicted + one.evicted,
        })
    }

    fn each_full_queue(&self, full: &mut dyn FnMut(u64)) {
        self.each_lane(|_, lane, _| {
            for lane in lane.branches().iter().filter(|lane| lane.is_full()) {
                full(Rc::as_ptr(lane).addr() as u64);
            }
        });
    }

    fn has_spent_retries(&self) -> bool {
        self.has_failed.get()
    }

    fn listed(&self) -> usize {
        let clients = |view: &Rc<View>| view.hub().map_or(0, |hub| hub.active());
        self.pipelines.borrow().iter().flat_map(|seen| &seen.views).map(|view| 1 + clients(view)).sum()
    }

    fn sessions(&self, limit: usize) -> Vec<SessionReading> {
        let pipelines = self.pipelines.borrow();
        let views = pipelines.iter().flat_map(|seen| seen.views.iter().map(move |view| (seen, view)));
        let mut readings = Vec::new();
        for (seen, view) in views {
            let pipeline = self.shown_name(seen).map(str::to_owned);
            readings.push(view.reading(pipeline.clone()));
            // Clients of a server follow it.
            for mut client in view.hub().map(|hub| Control::sessions(&*hub, limit)).unwrap_or_default() {
                client.id = format!("{}.{}", view.id, client.id.trim_start_matches('s'));
                client.pipeline.clone_from(&pipeline);
                readings.push(client);
            }
            if readings.len() >= limit {
                break;
            }
        }
        readings.truncate(limit);
        readings
    }

    fn send(self: Rc<Self>, session: &str, message: Message) -> Result<Delivering, Refusal> {
        let clients = self.clients(session);
        if !clients.is_empty() {
            let sends = clients.into_iter().map(|(hub, client)| Control::send(hub, &client, message.clone()));
            let sends = sends.collect::<Result<Vec<_>, _>>()?;
            return Ok(Box::pin(async { join_all(sends).await.into_iter().sum() }));
        }
        let (seen, view) = self.find(session).ok_or(Refusal::Unknown)?;
        let lane = view.lane.clone().ok_or(Refusal::Unfit("this end only provides messages"))?;
        let flow = seen.flows.iter().find(|flow| flow.lanes().iter().any(|known| Rc::ptr_eq(known, &lane)));
        let flow = flow.ok_or(Refusal::Unfit("this end only takes dead letters"))?;
        Ok(Box::pin(deliver(vec![(Rc::clone(&flow.ledger), vec![lane])], message)))
    }

    fn broadcast(self: Rc<Self>, message: Message) -> Delivering {
        let mut all = Vec::new();
        for flow in self.pipelines.borrow().iter().flat_map(|seen| &seen.flows) {
            all.push((Rc::clone(&flow.ledger), flow.lanes()));
        }
        Box::pin(deliver(all, message))
    }

    fn reconnect(&self, session: &str) -> bool {
        self.find(session).is_some_and(|(_, view)| view.ask_to_reopen())
    }

    fn steer(&self, session: &str, steer: &Steer) -> Result<(), Refusal> {
        let clients = self.clients(session);
        if clients.is_empty() {
            let (_, view) = self.find(session).ok_or(Refusal::Unknown)?;
            return view.steer(steer);
        }
        clients.iter().try_for_each(|(hub, client)| hub.steer(client, steer))
    }
}

impl Watch {
    fn shown_name<'s>(&self, seen: &'s Seen) -> Option<&'s str> {
        seen.name.as_deref().filter(|_| self.names_pipelines())
    }

    fn find(&self, session: &str) -> Option<(Rc<Seen>, Rc<View>)> {
        let pipelines = self.pipelines.borrow();
        pipelines.iter().find_map(|seen| {
            let view = seen.views.iter().find(|view| view.id == session)?;
            Some((Rc::clone(seen), Rc::clone(view)))
        })
    }

    /// A client of a server by its id: who has it, and its number there.
    fn client(&self, id: &str) -> Option<(Rc<Hub>, u64)> {
        let (server, number) = client_id(id)?;
        let (_, view) = self.find(server)?;
        Some((view.hub()?, number))
    }

    /// Clients of servers, the one of this id or all of this name: who has them, and what they are called there.
    fn clients(&self, session: &str) -> Vec<(Rc<Hub>, String)> {
        if let Some((hub, number)) = self.client(session) {
            return vec![(hub, session_id(number))];
        }
        if session_number(session).is_some() || client_id(session).is_some() {
            return Vec::new();
        }
        let pipelines = self.pipelines.borrow();
        let hubs = pipelines.iter().flat_map(|seen| &seen.views).filter_map(|view| view.hub());
        hubs.filter(|hub| !hub.named(session).is_empty()).map(|hub| (hub, session.to_owned())).collect()
    }

    /// The name of a client of a server, where it has one.
    pub(super) fn name_of(&self, id: &str) -> Option<Rc<str>> {
        let (hub, number) = self.client(id)?;
        hub.name_of(number)
    }

    /// Every queue, and whether it is that of dead letters.
    fn each_lane(&self, mut see: impl FnMut(&Seen, &Rc<Lane>, bool)) {
        for seen in self.pipelines.borrow().iter() {
            for lane in seen.flows.iter().flat_map(|flow| flow.lanes()) {
                see(seen, &lane, false);
            }
            if let Some(lane) = &seen.dead_letters {
                see(seen, lane, true);
            }
        }
    }
}

/// The id of a server and the number of a client of it, from the client's id: `s2.7`.
fn client_id(id: &str) -> Option<(&str, u64)> {
    let (server, number) = id.split_once('.')?;
    session_number(server)?;
    Some((server, session_number(&format!("s{number}"))?))
}

/// The subject of a NATS destination; of others its name as it is.
fn subject(name: &str) -> &str {
    let subject = name.strip_prefix("nats://").and_then(|rest| rest.split_once('/')).map(|(_, subject)| subject);
    subject.map_or(name, |subject| subject.split('?').next().unwrap_or(subject))
}

/// A queue, or all queues of one destination.
fn reading(lane: &Rc<Lane>, name: String) -> QueueReading {
    let mut sum = QueueReading { name: Cow::Owned(name), ..QueueReading::default() };
    for one in lane.branches().iter().map(|lane| reading_of_one(lane)) {
        sum.depth += one.depth;
        sum.bytes += one.bytes;
        sum.capacity += one.capacity;
        sum.utilization = sum.utilization.max(one.utilization);
        sum.high_water = sum.high_water.max(one.high_water);
        sum.spool_bytes = sum.spool_bytes.or(one.spool_bytes);
        sum.batches = sum.batches.or(one.batches);
        let gathering = sum.gathering.into_iter().chain(one.gathering);
        sum.gathering = gathering.reduce(|one, other| BatchReading {
            messages: one.messages + other.messages,
            age_ms: one.age_ms.max(other.age_ms),
        });
        let oldest = sum.oldest_ms.into_iter().chain(one.oldest_ms);
        sum.oldest_ms = oldest.reduce(f64::max);
    }
    sum
}

fn reading_of_one(lane: &Lane) -> QueueReading {
    let age = |since: Timestamp| Timestamp::now().duration_since(since).try_into().unwrap_or(Duration::ZERO);
    QueueReading {
        name: Cow::Borrowed(""),
        depth: lane.len(),
        bytes: lane.bytes(),
        capacity: usize::try_from(lane.depth().1).unwrap_or(usize::MAX),
        utilization: lane.utilization(),
        high_water: Some(lane.high_water()),
        spool_bytes: lane.stored_bytes(),
        batches: Some(lane.batches.get()).filter(|batches| *batches > 0),
        gathering: lane.gathering().map(|(messages, since)| BatchReading {
            messages: messages as u64,
            age_ms: if messages > 0 { milliseconds(age(since)) } else { 0.0 },
        }),
        oldest_ms: lane.oldest().map(|since| milliseconds(age(since))),
    }
}

/// A message to each of these lanes, received once by each account.
async fn deliver(destinations: Vec<(Rc<Ledger>, Vec<Rc<Lane>>)>, message: Message) -> Delivery {
    let mut delivery = Delivery::default();
    let deadline = tokio::time::Instant::now() + WAIT;
    let origin = Origin::new(OUTSIDE, OUTSIDE);
    for (ledger, lanes) in destinations {
        let whole = ledger.receive(message.len(), None);
        for lane in lanes.iter().flat_map(Lane::branches) {
            let room = std::future::poll_fn(|cx| lane.poll_ready(cx));
            let has_room = tokio::time::timeout_at(deadline, room).await.is_ok();
            let receipt = whole.share();
            if lane.has_ended() || !has_room {
                let reason = if has_room { DropReason::ReceiverGone } else { DropReason::QueueFull };
                let receiver = lane.receiver().unwrap_or(OUTSIDE);
                receipt.tell_drop(receiver, Direction::Out, reason, message.len());
                receipt.settle(Settlement::Dropped(reason));
                delivery.dropped += 1;
                continue;
            }
            let before = lane.len() as u64;
            let (origin, time) = (Rc::clone(&origin), Timestamp::now());
            lane.push(Envelope { message: message.clone(), origin, time, seq: 1, attempts: 0, receipt });
            let dropped = (before + 1).saturating_sub(lane.len() as u64);
            if lane.drops_newest() && dropped > 0 {
                delivery.dropped += 1;
            } else {
                delivery.sent += 1;
                delivery.displaced += dropped;
            }
        }
        whole.settle(Settlement::Filtered);
    }
    delivery
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_a_server_has_an_id_of_two_numbers() {
        for (id, expected) in [
            ("s2.7", Some(("s2", 7))),
            ("s10.1", Some(("s10", 1))),
            ("s2", None),
            ("s2.", None),
            ("s2.07", None),
            ("s2.s7", None),
            ("s2.7.1", None),
            ("anna.7", None),
            (".7", None),
        ] {
            assert_eq!(client_id(id), expected, "{id}");
        }
    }

    #[test]
    fn a_destination_in_nats_is_called_by_its_subject() {
        for (name, expected) in [
            ("nats://h:4222/federated.data", "federated.data"),
            ("nats://a:1,b:2/orders.new?stream=S&create", "orders.new"),
            ("nats://h:4222", "nats://h:4222"),
            ("kafka://h:9092/topic", "kafka://h:9092/topic"),
            ("null:", "null:"),
        ] {
            assert_eq!(subject(name), expected);
        }
    }
}
