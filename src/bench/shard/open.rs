//! Opens the connections of a shard, at the pace asked for, and keeps each alive to its end.
//!
//! Owns the order of opening, the times of its steps, init messages and opening anew under `--churn`. Leaves the steps
//! themselves to `net/`. Invariant: no more handshakes are under way than the run allows.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::task::spawn_local;

use super::link::Link;
use super::{Event, Shard};
use crate::bench::errors;
use crate::bench::plan::Compose;
use crate::client::opening::wait_after;
use crate::filter::apart::{Begun, begin};
use crate::filter::{Filter, Json};
use crate::message::Message;
use crate::net::connection::{Connection, ConnectionError, Incoming};
use crate::net::connector::Handshake;

/// Wait before a connection that failed is opened again, under `--churn`.
const PAUSE: Duration = Duration::from_millis(100);

/// Most messages that wait behind one that `--init-wait` is looking at.
const MOST_HELD: usize = 16;

/// What a handshake brought to light.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The address reached.
    pub address: String,
    /// Version and cipher.
    pub tls: Option<String>,
    pub subprotocol: Option<String>,
    pub extensions: Option<String>,
}

/// How often the number of connections is adjusted, where it changes over time.
const ADJUST: Duration = Duration::from_millis(10);

/// Opens all of them, at the start of a run.
pub(super) async fn all(shard: Rc<Shard>) {
    if shard.plan.connection_course.is_some() {
        shard.attempts_left.set(0);
        return;
    }
    let began = shard.now();
    for link in &shard.links {
        if let Some(rate) = shard.plan.connect_rate {
            // The whole run has one pace: each connection has its time in it.
            let due = Duration::from_secs_f64(f64::from(link.number) / rate);
            let passed = Duration::from_nanos(shard.now() - began);
            if let Some(wait) = due.checked_sub(passed) {
                tokio::time::sleep(wait).await;
            }
        }
        let Ok(permit) = shard.handshakes.acquire().await else { return };
        permit.forget();
        spawn_local(tokio::task::coop::unconstrained(life(Rc::clone(&shard), Rc::clone(link))));
    }
}

/// Opens and closes connections as their number changes over time.
pub(super) async fn follow(shard: Rc<Shard>) {
    let Some(course) = &shard.plan.connection_course else { return };
    let mut ticks = tokio::time::interval(ADJUST);
    while !shard.stopped.get() && !shard.ending.get() {
        let second = shard.now().saturating_sub(shard.measure_from.get()) as f64 / 1e9;
        if second > course.seconds() {
            return;
        }
        let wanted = course.rate_at(second).round();
        for link in &shard.links {
            match (f64::from(link.number) < wanted, link.wanted.get()) {
                // One that failed is not tried again before its next turn.
                (true, false) if !link.lives.get() => {
                    let Ok(permit) = shard.handshakes.try_acquire() else { break };
                    permit.forget();
                    link.wanted.set(true);
                    spawn_local(tokio::task::coop::unconstrained(life(Rc::clone(&shard), Rc::clone(link))));
                }
                (false, true) => {
                    link.wanted.set(false);
                    link.retire();
                }
                _ => {}
            }
        }
        ticks.tick().await;
    }
}

/// One connection from its opening to its end, again and again under `--churn`.
async fn life(shard: Rc<Shard>, link: Rc<Link>) {
    link.lives.set(true);
    live(&shard, &link).await;
    link.lives.set(false);
}

async fn live(shard: &Rc<Shard>, link: &Rc<Link>) {
    let mut first = true;
    loop {
        // Boxed, and gone when it is done: it is much larger than all that follows.
        let opened = Box::pin(open(shard, link)).await;
        shard.handshakes.add_permits(1);
        if std::mem::take(&mut first) {
            shard.attempts_left.set(shard.attempts_left.get().saturating_sub(1));
        }
        if opened {
            shard.open.set(shard.open.get() + 1);
            let end = poll_fn(|cx| link.poll(shard, cx)).await;
            shard.open.set(shard.open.get() - 1);
            link.ended(shard, &end);
        }
        if shard.plan.churn.is_none() || shard.stopped.get() || shard.ending.get() {
            return;
        }
        if !opened {
            tokio::time::sleep(PAUSE).await;
        }
        let Ok(permit) = shard.handshakes.acquire().await else { return };
        permit.forget();
    }
}

/// Opens one; false when that failed, which is counted.
async fn open(shard: &Shard, link: &Link) -> bool {
    shard.interval.borrow_mut().connections.tried += 1;
    let sources = &shard.plan.sources;
    let source = sources.get(link.number as usize % sources.len().max(1)).copied();
    let source = source.or(shard.plan.connect.dial.interface);
    let (opened, handshake) = match shard.connector.open(source).await {
        Ok(opened) => opened,
        Err(error) => {
            fail(shard, &errors::of_connect(&error), error.to_string());
            return false;
        }
    };
    let mut connection = opened.into_connection();
    if !shard.plan.init.is_empty() {
        let limit = shard.plan.connect.connect_timeout;
        match tokio::time::timeout(limit, greet(shard, &mut connection)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                fail(shard, &errors::of_connection(&error), error.to_string());
                return false;
            }
            Err(_) => {
                fail(shard, "init", format!("no message that --init-wait matches within {limit:?}"));
                return false;
            }
        }
    }
    record(shard, &handshake);
    tell(shard, handshake);
    let now = shard.now();
    shard.opened.set(shard.opened.get() + 1);
    shard.last_opened.set(now);
    link.opened(connection, now);
    true
}

fn fail(shard: &Shard, kind: &str, text: String) {
    let mut interval = shard.interval.borrow_mut();
    interval.connections.failed += 1;
    *interval.failed.entry(kind.to_owned()).or_default() += 1;
    interval.errors.count(kind, || text);
}

fn record(shard: &Shard, handshake: &Handshake) {
    let mut interval = shard.interval.borrow_mut();
    interval.connections.opened += 1;
    interval.connections.resumed += u64::from(handshake.resumed);
    let opening = interval.opening.get_or_insert_default();
    let nanos = |time: Duration| time.as_nanos() as u64;
    opening.total.record(nanos(handshake.total));
    opening.tcp.record(nanos(handshake.tcp));
    opening.upgrade.record(nanos(handshake.upgrade));
    if !handshake.tls.is_zero() {
        opening.tls.record(nanos(handshake.tls));
    }
}

/// Passes on what is to be known of the target, once.
fn tell(shard: &Shard, handshake: Handshake) {
    if shard.told_facts.replace(true) {
        return;
    }
    let facts = Facts {
        address: handshake.address,
        tls: handshake.certificate.first().map(|line| line.trim_start_matches("TLS: ").to_owned()),
        subprotocol: handshake.subprotocol,
        extensions: handshake.extensions,
    };
    let _ = shard.events.try_send(Event::Facts(Box::new(facts)));
}

/// Sends the init messages in order, with what is to be waited for behind each.
async fn greet(shard: &Shard, connection: &mut Connection) -> Result<(), ConnectionError> {
    let plan = &shard.plan;
    for (index, message) in plan.init.iter().enumerate() {
        let message = match message {
            Compose::Fixed(message) => message.clone(),
            Compose::Template(template, kind) => {
                let text = template.render(shard.next_number()).unwrap_or_default();
                Message::checked(*kind, text.into_bytes())
            }
        };
        connection.start_send(message)?;
        poll_fn(|cx| connection.poll_flush(cx)).await?;
        let is_last = index + 1 == plan.init.len();
        if let Some(wait) = wait_after(plan.init_waits.len(), index + 1, is_last).and_then(|at| plan.init_waits.get(at))
        {
            await_match(wait, connection).await?;
        }
    }
    Ok(())
}

/// Waits for a message that matches. While a filter takes its time, pings are answered.
async fn await_match(wait: &Filter, connection: &mut Connection) -> Result<(), ConnectionError> {
    let mut held: VecDeque<Message> = VecDeque::new();
    let mut looking: Option<Begun<bool>> = None;
    poll_fn(|cx| {
        loop {
            if looking.is_none()
                && let Some(message) = held.pop_front()
            {
                looking = Some(begin_matching(wait, message.payload()));
            }
            if let Some(Poll::Ready(found)) = looking.as_mut().map(|begun| begun.poll_any(cx)) {
                if found.is_ok_and(|found| *found) {
                    return Poll::Ready(Ok(()));
                }
                looking = None;
                continue;
            }
            if held.len() >= MOST_HELD {
                return Poll::Pending;
            }
            if let Poll::Ready(Err(error)) = connection.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            match ready!(connection.poll_receive(cx))? {
                Some(Incoming::Message(message)) => held.push_back(message.into_detached()),
                Some(Incoming::Close(_)) | None => {
                    return Poll::Ready(Err(ConnectionError::Lost("closed by the peer".to_owned())));
                }
                Some(_) => {}
            }
        }
    })
    .await
}

fn begin_matching(wait: &Filter, payload: &[u8]) -> Begun<bool> {
    let Ok(value) = Json::parse(payload) else { return Begun::Done(false) };
    let null = Json::null();
    begin(
        || wait.matches(&value, &null, &null),
        || {
            let (wait, value, null) = (wait.clone(), value.clone(), null.clone());
            move || wait.matches(&value, &null, &null)
        },
    )
}
