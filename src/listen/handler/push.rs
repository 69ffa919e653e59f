//! `--push`: messages made at a rate, the same ones for all sessions.
//!
//! One task makes them for the whole server, so that a rate costs one timer whatever the number of clients; mailboxes
//! and their policy do the rest. Invariants: nothing is made while nobody is connected; what the policy drops shows as a
//! gap in `seq`.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::filter::Template;
use crate::listen::hub::Hub;
use crate::listen::push_schedule::PushSchedule;
use crate::message::Message;
use crate::message::clock;
use crate::message::counted::counted;
use crate::message::event::push_time;
use crate::observe::counters::ErrorKind;

/// What is made, and how often.
#[derive(Debug)]
pub(crate) struct PushSettings {
    /// Messages a second, above zero.
    pub rate: f64,
    /// What they hold.
    pub payload: Payload,
}

/// What the messages hold.
#[derive(Debug)]
pub(crate) enum Payload {
    /// `{"seq":1,"time":"…"}`
    Numbered,
    /// These in turn, at least one.
    Plain(Vec<Message>),
    /// These in turn, at least one, filled in each time.
    Templates(Vec<Arc<Template>>),
    /// Whatever this makes of their numbers.
    Made(Maker),
}

/// Makes a message of its number.
pub(crate) struct Maker(pub Box<dyn Fn(u64) -> Message>);

impl std::fmt::Debug for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Maker")
    }
}

impl Payload {
    /// The message of this number, counted from 1.
    fn make(&self, seq: u64) -> Result<Message, String> {
        let turn = |length: usize| usize::try_from((seq - 1) % length as u64).unwrap_or_default();
        match self {
            Self::Numbered => {
                let mut text = format!("{{\"seq\":{seq},\"time\":\"").into_bytes();
                push_time(&mut text, Timestamp::now());
                text.extend_from_slice(b"\"}");
                Message::text_from_bytes(text).map_err(|error| error.to_string())
            }
            Self::Made(maker) => Ok((maker.0)(seq)),
            Self::Plain(messages) => Ok(messages[turn(messages.len())].clone()),
            Self::Templates(templates) => {
                let text = templates[turn(templates.len())].render(seq).map_err(|error| error.to_string())?;
                Ok(Message::text(text))
            }
        }
    }
}

/// Makes messages and places them before every session, for as long as it is polled.
pub(crate) async fn generate(hub: Rc<Hub>, settings: Rc<PushSettings>) {
    let mut maker = Making { hub, settings, seq: 0, left_out: 0, failed: false };
    loop {
        maker.hub.wait_for(|hub| hub.active() > 0).await;
        let mut schedule = PushSchedule::new(maker.settings.rate, clock::now());
        while maker.hub.active() > 0 {
            let due = schedule.take(clock::now());
            maker.leave_out(due.left_out);
            for _ in 0..due.now {
                maker.make_one().await;
            }
            // The sessions get their turn, however late it is.
            tokio::task::yield_now().await;
            sleep_until(Instant::from_std(schedule.next())).await;
        }
    }
}

struct Making {
    hub: Rc<Hub>,
    settings: Rc<PushSettings>,
    seq: u64,
    left_out: u64,
    failed: bool,
}

impl Making {
    async fn make_one(&mut self) {
        self.seq += 1;
        let message = match self.settings.payload.make(self.seq) {
            Ok(message) => message,
            Err(error) => {
                self.hub.counters.errors.one(ErrorKind::Message);
                if !std::mem::replace(&mut self.failed, true) {
                    self.hub.stderr.line(format!("wsp: --template: message {}: {error}", self.seq));
                }
                return;
            }
        };
        let mut unplaced = self.hub.to_all(&message, None);
        if !unplaced.is_empty() {
            let hub = &self.hub;
            poll_fn(|cx| if hub.place_again(&mut unplaced, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
    }

    fn leave_out(&mut self, count: u64) {
        if self.left_out == 0 && count > 0 {
            self.hub.notice(format!("wsp: {} a second cannot be kept up", counted(self.settings.rate, "message")));
        }
        self.left_out += count;
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if self.left_out > 0 {
            self.hub.notice(format!("{} left out: their time had passed", counted(self.left_out, "message")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_take_turns() {
        let texts = |payload: &Payload| -> Vec<String> {
            (1..=4).map(|seq| payload.make(seq).expect("a message").as_text().expect("text").to_owned()).collect()
        };
        let plain = Payload::Plain(["a", "b", "c"].map(Message::text).into());
        assert_eq!(texts(&plain), ["a", "b", "c", "a"]);
        let template = |source| Arc::new(Template::compile(source).expect("a template"));
        let templates = Payload::Templates(vec![template("one {{seq}}"), template("two {{seq}}")]);
        assert_eq!(texts(&templates), ["one 1", "two 2", "one 3", "two 4"]);
        let numbered = texts(&Payload::Numbered);
        assert!(numbered[2].starts_with("{\"seq\":3,\"time\":\"2") && numbered[2].ends_with("Z\"}"), "{numbered:?}");
    }
}
