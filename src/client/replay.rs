//! `--replay`: a recording in place of standard input, each step when it is due.
//!
//! The first step goes as soon as its session is open; from when it has left, the others follow at the times of the
//! recording, divided by the speed. Leaves reading to `source/replay`. Invariants: steps keep their order; they pass
//! through the same inboxes as standard input, so a peer that does not read stops the reading of the recording. A recorded
//! Close is sent only when that was asked for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::inbox::Inbox;
use super::inbox::Inboxes;
use super::shared::Shared;
use crate::error::Error;
use crate::message::counted::counted;
use crate::message::event::{Direction, InputEvent};
use crate::net::connection::CloseReason;
use crate::session::Outgoing;
use crate::source::replay::{Item, Recording, Step};

/// Time between progress lines that replace one another.
const PROGRESS: Duration = Duration::from_secs(1);
/// Time between progress lines that stand among payload.
const PROGRESS_LINES: Duration = Duration::from_secs(10);
/// A wait so long that it will not end.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// Times between messages are divided by this, which is above 0.
    Factor(f64),
    /// As fast as the peer takes them.
    Max,
}

impl Speed {
    /// Reads `1`, `0.5`, `10x` or `max`.
    ///
    /// # Errors
    /// A line that says what was expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
            Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Self::Factor(factor)),
            _ => Err("write a number above 0, such as 1, 2 or 0.5, or max".to_owned()),
        }
    }
}

/// `--replay` and what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct ReplayPlan {
    pub path: PathBuf,
    pub speed: Speed,
    pub direction: Direction,
    /// Of which session, from 0; `None` is of all.
    pub session: Option<usize>,
    /// The recorded Close is sent too.
    pub closes: bool,
}

/// A recording being sent.
pub(crate) struct Replay {
    items: mpsc::Receiver<Item>,
    steps: VecDeque<Step>,
    speed: Speed,
    /// The session whose messages are sent, and whether it was met.
    only: Option<usize>,
    met: bool,
    /// The first step's time, and when it had left.
    first: Option<Timestamp>,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    closes: bool,
    /// With one session, a Close in the middle of the recording is another connection's.
    held_close: Option<Step>,
    at_end: bool,
    skipped: u64,
    /// The direction that is sent, and how many messages of the other there are, once that is known.
    direction: Direction,
    others: u64,
    progress: Progress,
}

impl Replay {
    /// Opens the recording and starts to read it.
    ///
    /// # Errors
    /// A file that cannot be read or is not a recording.
    pub(crate) fn open(plan: &ReplayPlan) -> Result<Self, Error> {
        let recording = Recording::open(&plan.path, plan.direction).map_err(|error| {
            Error::usage(
                format!("--replay {error}"),
                "--replay reads a file written by --record, or a browser's HAR (also in a .zip)",
            )
        })?;
        let progress = Progress { timer: None, read: 0, size: recording.size(), sent: 0 };
        Ok(Self {
            items: recording.read(),
            steps: VecDeque::new(),
            speed: plan.speed,
            only: plan.session,
            met: false,
            first: None,
            since: None,
            timer: None,
            closes: plan.closes,
            held_close: None,
            at_end: false,
            skipped: 0,
            direction: plan.direction,
            others: 0,
            progress,
        })
    }

    /// Hands out the next step when it is due; `None` at the end of the recording.
    ///
    /// # Errors
    /// A recording that cannot be read on.
    pub(crate) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        inboxes: &Inboxes,
    ) -> Poll<Option<Result<(), String>>> {
        self.progress.poll(cx, shared);
        while self.steps.is_empty() {
            match ready!(self.items.poll_recv(cx)) {
                Some(Item::Steps(mut steps)) => {
                    if self.only.is_some() {
                        steps.retain(|step| step.session == self.only);
                    }
                    self.met |= !steps.is_empty();
                    if !self.closes {
                        steps.retain(|step| !matches!(step.event, InputEvent::Close { .. }));
                    }
                    self.steps = steps.into();
                }
                Some(Item::Notice(text)) => shared.notice(format!("wsp: --replay {text}")),
                Some(Item::Ended(others)) => self.others = others,
                Some(Item::Failed(text)) => {
                    let sent = counted(self.progress.sent, "message");
                    return Poll::Ready(Some(Err(format!("--replay {text}; sent {sent} from before it"))));
                }
                None => {
                    if let (Some(number), false) = (self.only, self.met) {
                        let text = format!("--replay: no messages of session s{} to send", number + 1);
                        return Poll::Ready(Some(Err(text)));
                    }
                    self.at_end = true;
                    let Some(close) = self.held_close.take() else {
                        self.finish(shared);
                        return Poll::Ready(None);
                    };
                    self.steps.push_back(close);
                }
            }
        }
        let Some(time) = self.steps.front().map(|step| step.time) else { return Poll::Pending };
        ready!(self.poll_due(cx, inboxes, time));
        if let Some(step) = self.steps.pop_front() {
            self.hand_out(step, inboxes);
        }
        Poll::Ready(Some(Ok(())))
    }

    fn poll_due(&mut self, cx: &mut Context<'_>, inboxes: &Inboxes, time: Timestamp) -> Poll<()> {
        let Speed::Factor(speed) = self.speed else { return Poll::Ready(()) };
        let Some(first) = self.first else {
            self.first = Some(time);
            return Poll::Ready(());
        };
        let since = match self.since {
            Some(since) => since,
            // Code that takes it out of the inbox has the input polled again.
            None if !inboxes.iter().all(|inbox| inbox.borrow().is_empty()) => return Poll::Pending,
            None => *self.since.insert(Instant::now()),
        };
        let offset = time.duration_since(first).as_secs_f64() / speed;
        let offset = Duration::try_from_secs_f64(offset.max(0.0)).unwrap_or(FOR_EVER).min(FOR_EVER);
        let due = since + offset;
        if due <= Instant::now() {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }

    fn hand_out(&mut self, step: Step, inboxes: &Inboxes) {
        let targets = match (inboxes, self.only, step.session) {
            (all, Some(_), _) | (all @ [_], None, _) => all,
            (several, None, Some(session)) => several.get(session..=session).unwrap_or_default(),
            (_, None, None) => &[],
        };
        let Some((last, others)) = targets.split_last() else {
            self.skipped += 1;
            return;
        };
        if inboxes.len() == 1 && !self.at_end {
            self.held_close = None;
            if matches!(step.event, InputEvent::Close { .. }) {
                self.held_close = Some(step);
                return;
            }
        }
        self.progress.read = step.read;
        let mut push = |inbox: &RefCell<Inbox>, event| {
            if let Some(outgoing) = outgoing(event) {
                inbox.borrow_mut().push(outgoing);
                self.progress.sent += 1;
            }
        };
        for inbox in others {
            push(inbox, step.event.clone());
        }
        push(last, step.event);
    }

    fn finish(&mut self, shared: &Shared) {
        shared.stderr.progress("");
        if self.progress.sent == 0 && self.skipped == 0 {
            let (now, other) = match self.direction {
                Direction::Out => ("sent", "in"),
                Direction::In => ("received", "out"),
            };
            shared.notice(match self.others {
                0 => "wsp: --replay: nothing to send: the recording has no messages".to_owned(),
                others => format!(
                    "wsp: --replay: nothing to send: no recorded message was {now}; --dir {other} sends the {others}"
                ),
            });
        }
        if self.skipped > 0 {
            shared.notice(format!(
                "wsp: --replay: {} skipped: their sessions have no URL here",
                counted(self.skipped, "message")
            ));
        }
    }
}

/// What an event looks like when it is sent again.
fn outgoing(event: InputEvent) -> Option<Outgoing> {
    Some(match event {
        InputEvent::Message(message) => Outgoing::Message(message),
        InputEvent::Ping(payload) => Outgoing::Ping(payload),
        InputEvent::Pong(payload) => Outgoing::Pong(payload),
        InputEvent::Close { code, reason } => Outgoing::Close(CloseReason { code, reason }),
        InputEvent::Ignored => return None,
    })
}

/// How far it is, for a person who waits: nobody else sees it.
struct Progress {
    timer: Option<Pin<Box<Sleep>>>,
    read: u64,
    size: u64,
    sent: u64,
}

impl Progress {
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) {
        if shared.plan.quiet || !shared.stderr.is_terminal() {
            return;
        }
        // A line that is rewritten would be torn by payload on the same terminal.
        let alone = !shared.plan.to_terminal;
        let interval = if alone { PROGRESS } else { PROGRESS_LINES };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + interval)));
        if timer.as_mut().poll(cx).is_pending() {
            return;
        }
        timer.as_mut().reset(Instant::now() + interval);
        let _ = timer.as_mut().poll(cx);
        let text = self.text();
        if alone { shared.stderr.progress(&text) } else { shared.stderr.line(text) }
    }

    fn text(&self) -> String {
        let sent = format!("replay: {}", counted(self.sent, "message"));
        if self.size == 0 {
            return sent;
        }
        format!("{sent}, {} % of the recording", self.read.min(self.size) * 100 / self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_speeds() {
        for (text, speed) in [
            ("1", Some(Speed::Factor(1.0))),
            ("0.5", Some(Speed::Factor(0.5))),
            ("10x", Some(Speed::Factor(10.0))),
            ("max", Some(Speed::Max)),
            ("0", None),
            ("-1", None),
            ("inf", None),
            ("NaN", None),
            ("fast", None),
            ("", None),
        ] {
            assert_eq!(Speed::parse(text).ok(), speed, "{text}");
        }
    }

    #[test]
    fn progress_is_a_share_of_the_file_where_its_size_is_known() {
        let progress = |size| Progress { timer: None, read: 50, size, sent: 3 }.text();
        assert_eq!(progress(200), "replay: 3 messages, 25 % of the recording");
        assert_eq!(progress(0), "replay: 3 messages");
    }
}
