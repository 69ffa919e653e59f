//! Where what is shown comes from, and what acts on it: a run in this process.
//!
//! Owns the looks at it. Leaves the same from afar to `remote`. Invariants: a run is read through copies; acting goes the
//! way of any other message or wish to close.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::model::{Link, Look};
use crate::message::Message;
use crate::net::connection::CloseReason;
use crate::observe::control::{Delivery, Intake, Refusal, Steer};
use crate::observe::tap::Subscription;
use crate::observe::{Control, Snapshot};

/// How often the state is read.
const SNAPSHOT: Duration = Duration::from_millis(200);
const SESSIONS: usize = 5000;

/// What is to be done to sessions of one source.
#[derive(Debug, Clone)]
pub enum Act {
    Send(Option<Vec<String>>, Message),
    Close(String, CloseReason),
    Reconnect(String),
    /// Read nothing from these any more, or go on.
    Pause(Vec<String>, bool),
    /// Read so many messages a second from these at most, or as many as come.
    Limit(Vec<String>, Option<f64>),
}

impl Act {
    /// Of those that need no answer, what is said once it is done.
    pub(super) fn done(&self) -> String {
        let who = |names: &[String]| match names {
            [one] => one.clone(),
            names => format!("{} sessions", names.len()),
        };
        match self {
            Self::Pause(names, true) => format!("{} paused", who(names)),
            Self::Pause(names, false) => format!("{} resumed", who(names)),
            Self::Limit(names, Some(rate)) => format!("{} limited to {rate} messages/s", who(names)),
            Self::Limit(names, None) => format!("{} no longer limited", who(names)),
            Self::Close(name, _) => format!("closing {name}"),
            Self::Reconnect(name) => format!("connecting {name} again"),
            Self::Send(..) => "sent".to_owned(),
        }
    }
}

/// What became of it, in words.
pub(crate) type Acting = Pin<Box<dyn Future<Output = Result<String, String>>>>;

pub trait Source {
    /// What there is to see since the last look.
    fn look(&mut self, now: Instant) -> Look;

    fn act(&mut self, act: Act) -> Acting;
}

/// A run in this process.
pub(crate) struct Here {
    run: Rc<dyn Control>,
    subscription: Option<Subscription>,
    snapshot_at: Instant,
    told: bool,
}

impl Here {
    #[must_use]
    pub(crate) fn new(run: Rc<dyn Control>, now: Instant) -> Self {
        let subscription = run.tap().subscribe(now);
        Self { run, subscription, snapshot_at: now, told: false }
    }
}

impl Source for Here {
    fn look(&mut self, now: Instant) -> Look {
        let mut look = Look::default();
        if !std::mem::replace(&mut self.told, true) {
            look.link = Some(Link::Live);
        }
        if let Some(subscription) = &self.subscription {
            let seen = subscription.look(now);
            look.events = seen.events.into();
            look.missed = seen.missed;
        }
        if now >= self.snapshot_at {
            self.snapshot_at = now + SNAPSHOT;
            look.snapshot = Some(Snapshot::of(&*self.run, SESSIONS));
        }
        look
    }

    fn act(&mut self, act: Act) -> Acting {
        let run = Rc::clone(&self.run);
        let done = act.done();
        match act {
            Act::Pause(names, paused) => {
                each(&names, done, |name| run.steer(name, &Steer::Intake(Intake::Paused(paused))))
            }
            Act::Limit(names, rate) => {
                each(&names, done, |name| run.steer(name, &Steer::Intake(Intake::Limited(rate))))
            }
            Act::Send(None, message) => Box::pin(async move { told(run.broadcast(message).await) }),
            Act::Send(Some(names), message) => Box::pin(async move {
                let mut sum = Delivery::default();
                for name in names {
                    let delivering = Rc::clone(&run).send(&name, message.clone());
                    let delivery = delivering.map_err(|refusal| format!("{name}: {refusal}: not sent"))?.await;
                    sum.sent += delivery.sent;
                    sum.dropped += delivery.dropped;
                }
                told(sum)
            }),
            Act::Close(name, close) => each(&[name], done, |name| run.steer(name, &Steer::Close(close.clone()))),
            Act::Reconnect(name) => {
                let result =
                    if run.reconnect(&name) { Ok(done) } else { Err(format!("only the client can reconnect {name}")) };
                Box::pin(std::future::ready(result))
            }
        }
    }
}

/// Does something to each of these, as far as it can be done.
fn each(names: &[String], done: String, mut act: impl FnMut(&str) -> Result<(), Refusal>) -> Acting {
    let refused = names.iter().filter_map(|name| Some(format!("{name}: {}", act(name).err()?)));
    // A failure for one session does not stop the others.
    Box::pin(std::future::ready(refused.last().map_or(Ok(done), Err)))
}

/// A delivery in words.
///
/// # Errors
/// The same, where not all was sent.
pub(crate) fn told(delivery: Delivery) -> Result<String, String> {
    match (delivery.sent, delivery.dropped) {
        (0, 0) => Err("no session to send to".to_owned()),
        (1, 0) => Ok("sent".to_owned()),
        (sent, 0) => Ok(format!("sent to {sent}")),
        (sent, dropped) => Err(format!("sent to {sent}, dropped for {dropped}")),
    }
}
