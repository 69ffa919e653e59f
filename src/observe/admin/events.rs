//! The live view: what happens, as server-sent events.
//!
//! A `data:` line is an event line; an event `snapshot` is the state of the run, at first and then every second; an
//! event `dropped` tells how many event lines are missing there. Leaves bounds to the tap. Invariant: nothing is
//! gathered for a viewer that does not read, but for what its subscription holds.

use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use super::{State, now, routes};
use crate::message::event::time_text;
use crate::net::http::Body;
use crate::observe::Snapshot;
use crate::observe::tap::Subscription;

pub(super) const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";

/// How often what happened is passed on, in one piece.
const TICK: Duration = Duration::from_millis(100);
/// How often the state is sent.
const SNAPSHOT: Duration = Duration::from_secs(1);
const SESSIONS: usize = 500;

/// The view, unless as many are open as may be.
pub(super) fn body(state: Rc<State>) -> Option<Body> {
    let subscription = state.run.tap().subscribe(now())?;
    state.views.set(state.views.get() + 1);
    let mut view = View { state, subscription, snapshot_at: now(), ended: false };
    let mut timer: Pin<Box<Sleep>> = Box::pin(sleep(Duration::ZERO));
    Some(Body::polled(move |cx| {
        loop {
            if view.ended {
                return Poll::Ready(None);
            }
            std::task::ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(tokio::time::Instant::now() + TICK);
            let piece = view.piece(now());
            if !piece.is_empty() {
                return Poll::Ready(Some(Bytes::from(piece)));
            }
        }
    }))
}

struct View {
    state: Rc<State>,
    subscription: Subscription,
    snapshot_at: Instant,
    ended: bool,
}

impl View {
    /// What there is to tell now.
    fn piece(&mut self, now: Instant) -> Vec<u8> {
        let mut piece = Vec::new();
        let seen = self.subscription.look(now);
        for event in seen.events {
            piece.extend_from_slice(b"data: ");
            event.write_seen_line(&mut piece);
            piece.push(b'\n');
        }
        if seen.missed > 0 {
            push(&mut piece, "dropped", &json!({ "dropped": seen.missed }));
        }
        self.ended = self.state.closing.get();
        if self.ended || now >= self.snapshot_at {
            self.snapshot_at = now + SNAPSHOT;
            push(&mut piece, "snapshot", &snapshot(&self.state));
        }
        piece
    }
}

fn push(piece: &mut Vec<u8>, event: &str, data: &Value) {
    piece.extend_from_slice(format!("event: {event}\ndata: {data}\n\n").as_bytes());
}

impl Drop for View {
    fn drop(&mut self) {
        self.state.views.set(self.state.views.get() - 1);
        self.state.view_ended.notify_waiters();
    }
}

/// The state of a run.
fn snapshot(state: &State) -> Value {
    let (_, health) = routes::health_of(state);
    let mut told = json!({
        "time": time_text(Timestamp::now()),
        "started": time_text(state.started),
        "healthy": health["healthy"],
        "status": health["status"],
        "details": health["details"],
    });
    if let (Value::Object(told), Ok(Value::Object(reading))) =
        (&mut told, serde_json::to_value(Snapshot::of(&*state.run, SESSIONS)))
    {
        told.extend(reading);
    }
    told
}
