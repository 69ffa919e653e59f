//! `envelope`: data that is acknowledged, and requests. Both sides speak it in the same way.
//!
//! Owns what a session knows: what it sent and the peer has not answered for, what it delivered and nobody has decided on,
//! and what the peer requested. Leaves the text of envelopes to `wire`. A session outlives its connection: after a new
//! [`Protocol::on_open`] everything unacknowledged goes out again, in order, so delivery is at least once. While a connection
//! lives nothing is sent twice: TCP loses nothing, and a peer that answers late is busy, so sending again would only add to
//! its work; the window then holds the sender up, and a peer that says `slow` makes it narrower. What a peer requests holds for the connection it came on.
//! Invariants: every data envelope is answered by exactly one ack or nack once its outcome is known; every message sent is
//! kept until it is answered for; the window, what is undecided, what is remembered and what is replayed are bounded.

mod history;
mod requests;
mod seen;
mod settings;
mod status;
mod throttle;
mod window;
mod wire;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::requests::{Call, Rate, Subscription, label, method, reply};
use self::seen::{Arrival, Fingerprint, Seen};
pub(crate) use self::settings::{EnvelopeSettings, Limits, Request};
use self::throttle::Throttle;
use self::window::{Origin, Window};
use self::wire::{Id, Incoming, Malformed};
use super::{Depth, Effect, Measure, Now, Outcome, Protocol, Ticket};
use crate::filter::{Json, PeerFilter};
use crate::message::Message;
use crate::message::counted::counted;
use crate::message::event::Direction;

/// Deliveries whose outcome may be open; the code that carries them out has queues that end long before.
const MAX_UNDECIDED: usize = 65_536;
/// A queue this full is told to the peer as `slow`,
const SLOW_ABOVE: f64 = 0.8;
/// and again only after it was emptier than this.
const SLOW_BELOW: f64 = 0.6;

/// A message that was delivered and not decided on.
#[derive(Debug)]
struct Undecided {
    id: Id,
    fingerprint: Fingerprint,
}

/// Messages on their way again.
#[derive(Debug)]
struct Replay {
    messages: VecDeque<Message>,
    asked: Instant,
}

/// A request of ours without a reply.
#[derive(Debug)]
struct Asked {
    method: String,
    at: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    resent: u64,
    acknowledged: u64,
    rejected: u64,
    filtered: u64,
    received: u64,
    duplicates: u64,
    /// Times the peer said that it is slow.
    slowed: u64,
}

/// One session of the protocol, across its connections.
#[derive(Debug)]
pub(crate) struct Envelope {
    settings: Rc<EnvelopeSettings>,
    /// What our ids begin with, so that they differ from those of any other session.
    prefix: String,
    next: u64,
    opened: Option<Instant>,
    /// What the peer has not answered for.
    window: Window,
    seen: Seen,
    undecided: HashMap<Ticket, Undecided>,
    next_ticket: Ticket,
    throttle: Throttle,
    rate: Option<Rate>,
    subscription: Option<Subscription>,
    replays: VecDeque<Replay>,
    asked: BTreeMap<u64, Asked>,
    to_ask: VecDeque<Request>,
    depth: Option<Depth>,
    slow: bool,
    counts: Counts,
}

impl Envelope {
    /// A session that has no connection yet; its ids begin with `prefix`, which no other session may have.
    #[must_use]
    pub(crate) fn new(settings: Rc<EnvelopeSettings>, prefix: String) -> Self {
        Self {
            seen: Seen::new(settings.limits.remembered),
            window: Window::new(settings.limits.window, settings.limits.window_bytes),
            settings,
            prefix,
            next: 1,
            opened: None,
            undecided: HashMap::new(),
            next_ticket: 1,
            throttle: Throttle::default(),
            rate: None,
            subscription: None,
            replays: VecDeque::new(),
            asked: BTreeMap::new(),
            to_ask: VecDeque::new(),
            depth: None,
            slow: false,
            counts: Counts::default(),
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// The id with this number, as JSON.
    fn id(&self, number: u64) -> String {
        format!("\"{}-{number}\"", self.prefix)
    }

    /// The number of an id of ours.
    fn number_of(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.prefix)?.strip_prefix('-')?.parse().ok()
    }

    fn has_room(&self, now: Now) -> bool {
        self.opened.is_some() && self.window.has_room() && self.throttle.is_open(now.instant)
    }

    fn send(&mut self, message: &Message, origin: Origin, now: Now, effects: &mut Vec<Effect>) {
        let number = self.number();
        let envelope = wire::data(&self.id(number), now.time.as_millisecond(), message);
        self.window.sent(number, envelope.clone(), origin);
        self.throttle.spend(envelope.len(), now.instant);
        // Without a connection it goes out with the next one.
        if self.opened.is_some() {
            self.counts.sent += 1;
            effects.push(Effect::Send(envelope));
        }
    }

    /// The peer answered for a message.
    fn settle(&mut self, number: u64, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some(origin) = self.window.answered(number) else { return };
        match outcome {
            Outcome::Taken => self.counts.acknowledged += 1,
            Outcome::Rejected(_) => self.counts.rejected += 1,
        }
        if let Origin::Given(ticket) = origin {
            effects.push(Effect::Settled(ticket, outcome));
        }
    }

    fn on_data(&mut self, id: Id, message: Message, now: Now, effects: &mut Vec<Effect>) {
        self.counts.received += 1;
        let fingerprint = self.seen.fingerprint(&id, &message);
        if self.undecided.len() >= MAX_UNDECIDED {
            let why = "too many messages are queued".to_owned();
            effects.push(nack(&id, "overloaded", &why, now));
            effects.push(Effect::Fault(why));
            return;
        }
        match self.seen.arrive(fingerprint) {
            Arrival::New => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.undecided.insert(ticket, Undecided { id, fingerprint });
                effects.push(Effect::Deliver(message, Some(ticket)));
            }
            // It is answered when its outcome is known.
            Arrival::Undecided => self.counts.duplicates += 1,
            Arrival::Taken => {
                self.counts.duplicates += 1;
                effects.push(ack(&id, now));
            }
        }
    }

    fn on_request(&mut self, id: &Id, payload: &Value, now: Now, effects: &mut Vec<Effect>) {
        let method = label(method(payload));
        effects.push(Effect::Measured(Measure::Request(Direction::In, method)));
        let replays = self.replays.len();
        let result = Call::read(payload).and_then(|call| self.carry_out(call, now));
        let ok = result.is_ok();
        let payload = reply(result);
        effects.push(Effect::Send(wire::envelope("reply", id.as_json(), now.time.as_millisecond(), Some(&payload))));
        effects.push(Effect::Measured(Measure::Reply { dir: Direction::Out, ok }));
        // A replay's time is taken when it has ended.
        if self.replays.len() == replays {
            effects.push(Effect::Measured(Measure::RequestTime(method, Duration::ZERO)));
        }
    }

    fn carry_out(&mut self, call: Call, now: Now) -> Result<Value, String> {
        match call {
            Call::Backpressure(rate) => {
                self.throttle.set(rate.as_ref().map(|rate| rate.limit));
                let shown = rate.as_ref().map(|rate| (rate.asked.clone(), rate.unit));
                self.rate = rate;
                Ok(match shown {
                    Some((rate, unit)) => json!({"adjusted_to": rate, "rate_limit": rate, "unit": unit}),
                    None => json!({"adjusted_to": null, "rate_limit": null}),
                })
            }
            Call::Subscribe(subscription) => {
                self.subscription = subscription;
                Ok(json!({"jq": self.subscription.as_ref().map(|subscription| &subscription.source)}))
            }
            Call::Replay { span, most } => {
                if self.replays.len() >= self.settings.limits.max_requests {
                    return Err(format!("{} pending: wait until it ends", counted(self.replays.len(), "request")));
                }
                let filter = self.subscription.as_ref().map(|subscription| &subscription.filter);
                let wanted = |message: &Message| filter.is_none_or(|filter| matches(filter, message));
                let messages = self.settings.within(&span, most, wanted);
                let count = messages.len();
                if count > 0 {
                    self.replays.push_back(Replay { messages, asked: now.instant });
                }
                Ok(json!({"messages": count}))
            }
            Call::Status => Ok(self.status(now)),
            Call::Capabilities => Ok(self.capabilities()),
        }
    }

    /// A request of ours has ended.
    fn on_reply(&mut self, id: &str, result: Result<String, String>, now: Now, effects: &mut Vec<Effect>) {
        let Some(asked) = self.number_of(id).and_then(|number| self.asked.remove(&number)) else { return };
        effects.push(Effect::Measured(Measure::Reply { dir: Direction::In, ok: result.is_ok() }));
        let took = now.instant.saturating_duration_since(asked.at);
        effects.push(Effect::Measured(Measure::RequestTime(label(&asked.method), took)));
        match result {
            Err(why) => effects.push(Effect::Fault(format!("the peer refused the request {}: {why}", asked.method))),
            // What was to be done shows by itself.
            Ok(_) if ["subscribe", "backpressure", "replay"].contains(&&*asked.method) => {}
            Ok(result) => effects.push(Effect::Answered(format!("{}: {result}", asked.method))),
        }
    }

    fn expire(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let limit = self.settings.limits.request_timeout;
        while let Some(asked) = self.asked.first_entry() {
            if now.instant < asked.get().at + limit {
                break;
            }
            let asked = asked.remove();
            effects.push(Effect::Measured(Measure::RequestTimeout));
            effects.push(Effect::Fault(format!(
                "no reply to the request {} within {} s",
                asked.method,
                limit.as_secs_f64()
            )));
        }
    }

    /// Sends what there is room for now, beside what is handed over.
    fn pump(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while self.has_room(now) {
            let Some(replay) = self.replays.front_mut() else { break };
            let next = replay.messages.pop_front();
            if replay.messages.is_empty() {
                let took = now.instant.saturating_duration_since(replay.asked);
                effects.push(Effect::Measured(Measure::RequestTime("replay", took)));
                self.replays.pop_front();
            }
            if let Some(message) = next {
                self.send(&message, Origin::Replay, now, effects);
            }
        }
        while self.opened.is_some() && self.asked.len() < self.settings.limits.max_requests {
            let Some(request) = self.to_ask.pop_front() else { break };
            let number = self.number();
            let payload = json!({"method": request.method, "params": request.params}).to_string();
            let envelope = wire::envelope("request", &self.id(number), now.time.as_millisecond(), Some(&payload));
            effects.push(Effect::Send(envelope));
            effects.push(Effect::Measured(Measure::Request(Direction::Out, label(&request.method))));
            self.asked.insert(number, Asked { method: request.method, at: now.instant });
        }
    }

    /// Tells the peer once when the queue fills.
    fn watch_depth(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(depth) = self.depth.filter(|_| self.opened.is_some()) else { return };
        let utilization = utilization(depth);
        if self.slow {
            self.slow = utilization >= SLOW_BELOW;
        } else if utilization > SLOW_ABOVE {
            self.slow = true;
            let number = self.number();
            let payload =
                json!({"queue_depth": depth.waiting, "queue_capacity": depth.capacity, "utilization": utilization});
            let time = now.time.as_millisecond();
            effects.push(Effect::Send(wire::envelope("slow", &self.id(number), time, Some(&payload.to_string()))));
        }
    }
}

fn ack(id: &Id, now: Now) -> Effect {
    Effect::Send(wire::envelope("ack", id.as_json(), now.time.as_millisecond(), None))
}

fn nack(id: &Id, reason: &str, error: &str, now: Now) -> Effect {
    let payload = json!({"reason": reason, "error": error}).to_string();
    Effect::Send(wire::envelope("nack", id.as_json(), now.time.as_millisecond(), Some(&payload)))
}

/// From 0 to 1, in ten thousandths.
fn utilization(depth: Depth) -> f64 {
    if depth.capacity == 0 { 0.0 } else { (depth.waiting as f64 / depth.capacity as f64 * 10_000.0).round() / 10_000.0 }
}

/// Whether a peer's filter matches a message: JSON as it is, anything else as a text. A run that fails matches nothing.
fn matches(filter: &PeerFilter, message: &Message) -> bool {
    let json = if let Some(text) = message.as_text() {
        Json::parse(text.as_bytes()).unwrap_or_else(|_| Json::from_text(text))
    } else {
        let mut base64 = Vec::new();
        crate::message::event::push_base64(&mut base64, message.payload());
        Json::from_text(&String::from_utf8_lossy(&base64))
    };
    filter.matches(&json).unwrap_or(false)
}

impl Protocol for Envelope {
    fn on_open(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.on_lost();
        self.opened = Some(now.instant);
        for envelope in self.window.open() {
            self.counts.resent += 1;
            effects.push(Effect::Send(envelope.clone()));
        }
        self.to_ask = self.settings.requests.iter().cloned().collect();
        self.pump(now, effects);
        self.watch_depth(now, effects);
    }

    fn on_message(&mut self, message: Message, now: Now, effects: &mut Vec<Effect>) {
        let incoming = Incoming::read(&message);
        effects.extend(incoming.as_ref().ok().map(|incoming| Effect::Measured(Measure::Envelope(incoming.kind()))));
        match incoming {
            Ok(Incoming::Data(id, message)) => self.on_data(id, message, now, effects),
            Ok(Incoming::Request(id, payload)) => self.on_request(&id, &payload, now, effects),
            Ok(Incoming::Reply(id, result)) => self.on_reply(&id, result, now, effects),
            Ok(Incoming::Ack(id)) => {
                if let Some(number) = self.number_of(&id) {
                    self.settle(number, Outcome::Taken, effects);
                }
            }
            Ok(Incoming::Nack(id, why)) => {
                if let Some(number) = self.number_of(&id) {
                    self.settle(number, Outcome::Rejected(why.clone()), effects);
                }
                self.on_reply(&id, Err(why), now, effects);
            }
            Ok(Incoming::Slow) => {
                self.counts.slowed += 1;
                self.window.narrow();
            }
            Err(Malformed { id, why }) => {
                effects.extend(id.map(|id| nack(&id, "malformed", &why, now)));
                effects.push(Effect::Fault(why));
            }
        }
        self.pump(now, effects);
    }

    fn takes_outgoing(&self, now: Now) -> bool {
        self.replays.is_empty() && self.has_room(now)
    }

    fn on_outgoing(&mut self, message: Message, ticket: Option<Ticket>, now: Now, effects: &mut Vec<Effect>) {
        if self.subscription.as_ref().is_some_and(|subscription| !matches(&subscription.filter, &message)) {
            self.counts.filtered += 1;
            effects.push(Effect::Filtered);
        } else {
            self.send(&message, Origin::Given(ticket), now, effects);
        }
    }

    fn acknowledges(&self) -> bool {
        true
    }

    fn on_lost(&mut self) {
        self.opened = None;
        self.window.widen();
        self.throttle.set(None);
        self.rate = None;
        self.subscription = None;
        self.replays.clear();
        self.asked.clear();
        self.to_ask.clear();
        self.slow = false;
    }

    fn on_outcome(&mut self, ticket: Ticket, outcome: Outcome, now: Now, effects: &mut Vec<Effect>) {
        let Some(message) = self.undecided.remove(&ticket) else { return };
        let answer = match outcome {
            Outcome::Taken => {
                self.seen.take(message.fingerprint);
                ack(&message.id, now)
            }
            Outcome::Rejected(why) => {
                self.seen.forget(message.fingerprint);
                nack(&message.id, "rejected", &why, now)
            }
        };
        // Without a connection there is nobody to tell; the peer sends the message again and is told then.
        if self.opened.is_some() {
            effects.push(answer);
        }
    }

    fn on_depth(&mut self, depth: Depth, now: Now, effects: &mut Vec<Effect>) {
        self.depth = Some(depth);
        self.watch_depth(now, effects);
    }

    fn deadline(&self) -> Option<Instant> {
        let reply = self.asked.values().next().map(|asked| asked.at + self.settings.limits.request_timeout);
        self.throttle.due().into_iter().chain(reply).min()
    }

    fn on_time(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.throttle.on_time(now.instant);
        self.expire(now, effects);
        self.pump(now, effects);
    }

    fn unsettled(&self) -> usize {
        self.window.len()
    }
}

#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod tests;
