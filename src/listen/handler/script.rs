//! `--script`: rules that say how a session is treated.
//!
//! What a rule does is decided at once and carried out when its delay is over. Leaves reading the file to the command
//! line. Invariants: what a session is sent keeps the order of what it answers, delays or not; what waits is bounded, and a
//! session for which too much waits is not read from; the first rule that matches decides, unless it says otherwise.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::told::{Input, Told};
use super::{Actions, Handler};
use crate::filter::Filter;
use crate::filter::apart::{Begun, Task, begin};
use crate::listen::hub::Hub;
use crate::listen::session_id::session_number;
use crate::message::Message;
use crate::message::event::Direction;
use crate::net::connection::CloseReason;
use crate::observe::counters::{DropReason, ErrorKind};

/// A rule of a script.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// When it is looked at.
    pub on: On,
    /// Matches where the first output is neither false nor null; `None` always does.
    pub when: Option<Filter>,
    /// What the session is sent.
    pub reply: Option<Reply>,
    /// Who is sent the message.
    pub forward: Option<Forward>,
    /// How the session is closed afterwards.
    pub close: Option<CloseReason>,
    /// Nothing is done, and the message counted as filtered.
    pub drop: bool,
    /// Until all this happens.
    pub delay: Duration,
    /// The first time only, in each session.
    pub once: bool,
    /// No other rule is looked at after it.
    pub stop: bool,
}

/// When a rule is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// The session has opened.
    Open,
    /// A message has arrived.
    Message,
}

/// What a session is sent.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A message for each output.
    Filter(Filter),
    /// This.
    Text(Message),
}

/// Who is sent a message.
#[derive(Debug, Clone)]
pub(crate) enum Forward {
    /// These.
    To(Receiver),
    /// Whom each output names, as in the script.
    Filter(Filter),
}

/// Some of the sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// Every one.
    All,
    /// All but the one whose message it is.
    Others,
    /// The one of this id, or all of this name.
    Named(Box<str>),
}

impl Receiver {
    /// `all`, `others`, or the id of a session, `s7`.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match Self::of(word) {
            Self::Named(word) if session_number(&word).is_none() => None,
            receiver => Some(receiver),
        }
    }

    /// `all`, `others`, the id of a session or a name.
    fn of(word: &str) -> Self {
        match word {
            "all" => Self::All,
            "others" => Self::Others,
            word => Self::Named(word.into()),
        }
    }
}

/// Something to do for a session, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Send(Message),
    Forward(Receiver, Message),
    Close(CloseReason),
    Filtered,
    Fault(String),
}

impl Step {
    fn size(&self) -> usize {
        match self {
            Self::Send(message) | Self::Forward(_, message) => message.len(),
            Self::Close(_) | Self::Filtered | Self::Fault(_) => 0,
        }
    }
}

/// What the rules want done with their delays, and those of `once` that are done.
type Decision = (Vec<(Duration, Step)>, Vec<usize>);

/// What the rules want done now that something happened; `done` holds the rules of `once` that are done.
fn decide(rules: &[Rule], on: On, input: &Input, message: Option<&Message>, mut done: Vec<usize>) -> Decision {
    let mut steps = Vec::new();
    for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.on == on) {
        let is_over = rule.once && done.contains(&number);
        if is_over || rule.when.as_ref().is_some_and(|filter| !input.matches(filter)) {
            continue;
        }
        if rule.once {
            done.push(number);
        }
        let mut add = |step| steps.push((rule.delay, step));
        if let (Some(forward), Some(message)) = (&rule.forward, message) {
            match forward {
                Forward::To(receiver) => add(Step::Forward(receiver.clone(), message.clone())),
                Forward::Filter(filter) => {
                    let result = input.run(filter, |value| {
                        add(match value.as_str() {
                            Some(word) => Step::Forward(Receiver::of(&word), message.clone()),
                            None => Step::Fault(format!("forward: {} is not a session", value.to_compact_string())),
                        });
                    });
                    result.unwrap_or_else(|error| add(Step::Fault(format!("forward: {error}"))));
                }
            }
        }
        match &rule.reply {
            None => {}
            Some(Reply::Text(text)) => add(Step::Send(text.clone())),
            Some(Reply::Filter(filter)) => {
                let result = input.run(filter, |value| add(Step::Send(Message::text(value.to_plain_string()))));
                result.unwrap_or_else(|error| add(Step::Fault(format!("reply: {error}"))));
            }
        }
        if rule.drop {
            add(Step::Filtered);
        }
        if let Some(close) = &rule.close {
            add(Step::Close(close.clone()));
        }
        if rule.stop {
            break;
        }
    }
    (steps, done)
}

/// What waits for its time, in order (pure).
#[derive(Debug, Default)]
struct Later {
    steps: VecDeque<(Instant, Step)>,
    bytes: usize,
}

impl Later {
    /// Due then, but not before what was pushed earlier.
    fn push(&mut self, due: Instant, step: Step) {
        let due = self.steps.back().map_or(due, |(before, _)| due.max(*before));
        self.bytes += step.size();
        self.steps.push_back((due, step));
    }

    fn pop(&mut self, now: Instant) -> Option<Step> {
        let (due, _) = self.steps.front()?;
        if *due > now {
            return None;
        }
        let (_, step) = self.steps.pop_front()?;
        self.bytes -= step.size();
        Some(step)
    }

    fn next(&self) -> Option<Instant> {
        self.steps.front().map(|(due, _)| *due)
    }
}

/// The handler of a session that is treated by rules.
pub(crate) struct Script {
    rules: Arc<[Rule]>,
    told: Told,
    done: Vec<usize>,
    /// A decision that is not made yet; nothing is read meanwhile.
    deciding: Option<Task<Decision>>,
    later: Later,
    timer: Option<Pin<Box<Sleep>>>,
    hub: Option<Rc<Hub>>,
    session: u64,
}

impl Script {
    /// By these rules.
    pub(crate) fn new(rules: Arc<[Rule]>) -> Self {
        Self {
            rules,
            told: Told::default(),
            done: Vec::new(),
            deciding: None,
            later: Later::default(),
            timer: None,
            hub: None,
            session: 0,
        }
    }

    fn happened(&mut self, on: On, input: &Input, message: Option<&Message>, actions: &mut Actions) {
        let (rules, done) = (&self.rules, &self.done);
        let begun = begin(
            || decide(rules, on, input, message, done.clone()),
            || {
                let (rules, input, done) = (Arc::clone(rules), input.detached(), done.clone());
                let message = message.cloned();
                move || decide(&rules, on, &input, message.as_ref(), done)
            },
        );
        match begun {
            Begun::Done(decision) => self.take_decision(decision, actions),
            Begun::Apart(task) => self.deciding = Some(task),
        }
    }

    fn take_decision(&mut self, (steps, done): Decision, actions: &mut Actions) {
        self.done = done;
        self.take_steps(steps, actions);
    }

    fn poll_decision(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        let Some(Poll::Ready(decision)) = self.deciding.as_ref().map(|task| task.poll(cx)) else { return };
        self.deciding = None;
        match decision {
            Ok(decision) => self.take_decision(decision, actions),
            Err(error) => actions.hub.fault(actions.mailbox.id, ErrorKind::Filter, &format!("script: {error}")),
        }
    }

    fn take_steps(&mut self, steps: Vec<(Duration, Step)>, actions: &mut Actions) {
        for (delay, step) in steps {
            if delay.is_zero() && self.later.steps.is_empty() && !actions.is_closing() {
                carry_out(step, actions);
            } else {
                self.later.push(Instant::now() + delay, step);
            }
        }
    }

    /// The time when a step is due; else wakes the task when the next one is.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        let next = self.later.next()?;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        timer.as_mut().poll(cx).is_ready().then(|| Instant::now().max(next))
    }
}

fn carry_out(step: Step, actions: &mut Actions) {
    match step {
        Step::Send(message) => actions.send(message),
        Step::Close(close) => actions.close(close),
        Step::Filtered => actions.hub.counters.filtered.one(),
        Step::Fault(text) => actions.hub.fault(actions.mailbox.id, ErrorKind::Filter, &text),
        Step::Forward(Receiver::All, message) => actions.send_to_all(&message, None),
        Step::Forward(Receiver::Others, message) => actions.send_to_all(&message, Some(actions.mailbox.id)),
        Step::Forward(Receiver::Named(word), message) => actions.send_to(&word, &message),
    }
}

impl Handler for Script {
    fn on_open(&mut self, actions: &mut Actions) {
        (self.hub, self.session) = (Some(Rc::clone(actions.hub)), actions.mailbox.id);
        self.happened(On::Open, &Told::opening((&**actions.mailbox).into()), None, actions);
    }

    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        let input = self.told.message(&message, (&**actions.mailbox).into());
        // What is kept must not keep the buffer it was read into.
        self.happened(On::Message, &input, Some(&message.detached()), actions);
    }

    fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        self.poll_decision(cx, actions);
        while actions.is_idle()
            && let Some(now) = self.poll_timer(cx)
        {
            while !actions.is_closing()
                && let Some(step) = self.later.pop(now)
            {
                carry_out(step, actions);
            }
        }
    }

    fn poll_can_receive(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        let Some(hub) = &self.hub else { return Poll::Ready(()) };
        let settings = &hub.settings;
        let has_room = self.later.steps.len() < settings.queue_size && self.later.bytes < settings.queue_bytes;
        // There is room again after `poll`, which goes before this in each pass of the session.
        if has_room { Poll::Ready(()) } else { Poll::Pending }
    }

    fn is_answering(&self) -> bool {
        self.deciding.is_some()
    }

    fn is_busy(&self) -> bool {
        self.deciding.is_some()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        for (_, step) in &self.later.steps {
            if let (Step::Send(message) | Step::Forward(_, message), Some(hub)) = (step, &self.hub) {
                hub.dropped(self.session, Direction::Out, DropReason::ReceiverGone, message.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::handler::told::Sender;
    use crate::net::listener::PeerAddr;

    const SENDER: Sender<'static> =
        Sender { id: 1, peer: PeerAddr::Unix, target: "/", subprotocol: None, name: None, subject: None };

    fn rule() -> Rule {
        Rule {
            on: On::Message,
            when: None,
            reply: None,
            forward: None,
            close: None,
            drop: false,
            delay: Duration::ZERO,
            once: false,
            stop: true,
        }
    }

    fn filter(source: &str) -> Filter {
        Filter::compile(source).expect("a filter")
    }

    fn text(text: &str) -> Reply {
        Reply::Text(Message::text(text))
    }

    /// What the rules do with these messages of one session, without their delays.
    fn run(rules: &[Rule], messages: &[&str]) -> Vec<Vec<Step>> {
        let (mut told, mut done) = (Told::default(), Vec::new());
        messages
            .iter()
            .map(|text| {
                let message = Message::text(*text);
                let input = told.message(&message, SENDER);
                let steps;
                (steps, done) = decide(rules, On::Message, &input, Some(&message), std::mem::take(&mut done));
                steps.into_iter().map(|(_, step)| step).collect()
            })
            .collect()
    }

    fn sent(text: &str) -> Step {
        Step::Send(Message::text(text))
    }

    #[test]
    fn the_first_rule_that_matches_decides_unless_it_goes_on() {
        let rules = [
            Rule { on: On::Open, reply: Some(text("never for a message")), ..rule() },
            Rule { when: Some(filter(".a")), reply: Some(text("a")), ..rule() },
            Rule { when: Some(filter(".b")), reply: Some(text("b")), stop: false, ..rule() },
            Rule { when: Some(filter(". == \"text\"")), drop: true, ..rule() },
            Rule { reply: Some(text("rest")), ..rule() },
        ];
        let steps = run(&rules, &[r#"{"a":1,"b":1}"#, r#"{"b":1}"#, "text", "[1", "false"]);
        assert_eq!(steps[0], [sent("a")]);
        assert_eq!(steps[1], [sent("b"), sent("rest")]);
        assert_eq!(steps[2], [Step::Filtered]);
        // An error in `when` is no match.
        assert_eq!((&steps[3], &steps[4]), (&vec![sent("rest")], &vec![sent("rest")]));
    }

    #[test]
    fn once_is_once_a_session() {
        let rules =
            [Rule { once: true, reply: Some(text("first")), ..rule() }, Rule { reply: Some(text("later")), ..rule() }];
        assert_eq!(run(&rules, &["1", "2", "3"]), [[sent("first")], [sent("later")], [sent("later")]]);
        assert_eq!(run(&rules, &["1"]), [[sent("first")]]);
    }

    #[test]
    fn a_rule_forwards_replies_and_closes_in_this_order() {
        let close = CloseReason::new(4000, "bye");
        let rules = [Rule {
            forward: Some(Forward::Filter(filter(".to[]"))),
            reply: Some(Reply::Filter(filter("$meta.seq, $prev"))),
            close: Some(close.clone()),
            ..rule()
        }];
        let text = r#"{"to":["s2","others","anna",3]}"#;
        let message = Message::text(text);
        let steps = run(&rules, &[text, text]);
        let forward = |receiver| Step::Forward(receiver, message.clone());
        let fault = |what: &str| Step::Fault(format!("forward: {what} is not a session"));
        let named = |word: &str| forward(Receiver::Named(word.into()));
        let forwards = vec![named("s2"), forward(Receiver::Others), named("anna"), fault("3")];
        let expected = |rest: Vec<Step>| [forwards.clone(), rest, vec![Step::Close(close.clone())]].concat();
        assert_eq!(steps[0], expected(vec![sent("1"), sent("null")]));
        assert_eq!(steps[1], expected(vec![sent("2"), sent(text)]));
    }

    #[test]
    fn what_waits_keeps_its_order_whatever_the_delays() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut later = Later::default();
        for (due, text) in [(100, "late"), (10, "early, but asked for later"), (200, "last")] {
            later.push(at(due), sent(text));
        }
        assert_eq!(later.pop(at(99)), None);
        assert_eq!(later.pop(at(100)), Some(sent("late")));
        assert_eq!(later.pop(at(100)), Some(sent("early, but asked for later")));
        assert_eq!((later.pop(at(100)), later.next()), (None, Some(at(200))));
        assert_eq!((later.pop(at(300)), later.bytes), (Some(sent("last")), 0));
    }

    #[test]
    fn receivers_are_named() {
        for (name, receiver) in [
            ("all", Some(Receiver::All)),
            ("others", Some(Receiver::Others)),
            ("s12", Some(Receiver::Named("s12".into()))),
            ("s0", None),
            ("s", None),
            ("s+1", None),
            ("s01", None),
            ("12", None),
            ("All", None),
            ("anna", None),
        ] {
            assert_eq!(Receiver::parse(name), receiver, "{name}");
        }
    }
}
