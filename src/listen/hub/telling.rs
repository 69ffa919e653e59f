//! What a hub says of what happens: counted, recorded, printed, told on stderr, offered to whoever looks.
//!
//! Leaves who is connected to the hub itself. Invariants: whatever goes wrong is counted before it is told; a message is
//! printed and recorded in the order it came.

use std::task::Context;

use http::StatusCode;

use super::Hub;
use crate::listen::mailbox::{Mailbox, Way};
use crate::listen::recording::Recording;
use crate::listen::session_id::{SessionId, session_id};
use crate::message::Message;
use crate::message::event::{Direction, Event, EventBody, EventSession, write_message_line};
use crate::message::render::{self, Format};
use crate::net::listener::{AcceptError, PeerAddr, Refuse};
use crate::observe::counters::{DropReason, ErrorKind, Label as _};
use crate::observe::drops::DropLines;
use crate::observe::tap::Tap;
use crate::sink::stdout::{Output, OutputFailure};

/// Bytes of lines about dropped messages that are written at a time.
const DROP_BYTES: usize = 64 * 1024;

impl Hub {
    /// Prints through another output from now on.
    pub(crate) fn print_through(&self, output: Output) {
        *self.output.borrow_mut() = output;
    }

    /// Whether messages are printed.
    pub(crate) fn prints(&self) -> bool {
        self.settings.print
    }

    /// The recording of this run.
    pub(crate) fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What happens, for whoever looks.
    pub(crate) fn tap(&self) -> &Tap {
        &self.tap
    }

    fn offer(&self, id: u64, dir: Option<Direction>, bytes: usize, body: impl FnOnce() -> EventBody) {
        self.tap.offer(bytes, || self.make_event(id, dir, body()));
    }

    /// What happened to a session, as an event line says it.
    pub(crate) fn make_event(&self, id: u64, dir: Option<Direction>, body: EventBody) -> Event {
        let name = self.name_of(id).as_ref().map(ToString::to_string);
        Event { time: self.clock.now(), session: session_id(id), name, dir, body }
    }

    /// Prints a message of session `id`, where messages are printed; yields up to where the output must be
    /// [written](Hub::written) for it to have arrived.
    pub(crate) fn print(&self, id: u64, message: &Message) -> Option<u64> {
        if !self.prints() {
            return None;
        }
        let mut output = self.output.borrow_mut();
        let (settings, name) = (&self.settings, self.name_of(id));
        if settings.format == Format::Json {
            let session = EventSession { id: &SessionId::of(id), name: name.as_deref() };
            write_message_line(output.buffer(), self.clock.now(), session, Direction::In, message);
        } else {
            if settings.prefix_sessions {
                let (on, off) = if settings.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
                output.buffer().extend_from_slice(format!("{on}{}{off} ", self.label(id)).as_bytes());
            }
            render::message(output.buffer(), message, settings.format, settings.to_terminal, settings.colour);
        }
        output.wrote();
        Some(output.appended())
    }

    /// Bytes of output written so far.
    pub(crate) fn written(&self) -> u64 {
        self.output.borrow().written()
    }

    /// Counts and records a message received from a session.
    pub(crate) fn received(&self, mailbox: &Mailbox, message: &Message) {
        self.record(mailbox, Direction::In, message);
        self.offer(mailbox.id, Some(Direction::In), message.len(), || EventBody::Message(message.detached()));
        self.counters.received.message(message.len());
        mailbox.received.message(message.len());
        mailbox.save(Way::In, message.saved());
    }

    fn record(&self, mailbox: &Mailbox, dir: Direction, message: &Message) {
        let session = EventSession { id: &SessionId::of(mailbox.id), name: mailbox.name().map(|name| &**name) };
        self.recording.message(self.clock.now(), session, dir, message);
    }

    /// Counts, records and prints a message sent to a session.
    pub(crate) fn sent(&self, mailbox: &Mailbox, message: &Message) {
        self.counters.sent.message(message.len());
        mailbox.sent.message(message.len());
        mailbox.save(Way::Out, message.saved());
        self.counters.delivered.one();
        let id = mailbox.id;
        self.record(mailbox, Direction::Out, message);
        self.offer(id, Some(Direction::Out), message.len(), || EventBody::Message(message.detached()));
        self.print_event(id, Some(Direction::Out), || EventBody::Message(message.clone()));
    }

    /// Records an event, and prints its line where event lines are printed.
    pub(crate) fn event(&self, id: u64, dir: Option<Direction>, body: EventBody) {
        self.recording.event(|| self.make_event(id, dir, body.clone()));
        self.offer(id, dir, 0, || body.clone());
        self.print_event(id, dir, || body);
    }

    /// Something went wrong with a session that goes on: counted, told and an event.
    pub(crate) fn fault(&self, id: u64, kind: ErrorKind, text: &str) {
        self.counters.errors.one(kind);
        self.notice(format!("{}: {text}", self.label(id)));
        self.event(id, None, EventBody::Error { error: text.to_owned() });
    }

    /// A message of a session goes no further: kept among the dead letters, or dropped; counted, an event and, under
    /// `-v`, told.
    pub(crate) fn not_taken(&self, id: u64, message: &Message, error: &str) {
        let (own, name) = (SessionId::of(id), self.name_of(id));
        let session = EventSession { id: &own, name: name.as_deref() };
        let is_kept = self.recording.dead_letter(self.clock.now(), session, message, error);
        self.offence(id, ErrorKind::Invalid, error);
        if is_kept {
            self.counters.dead_letters.one(DropReason::Invalid);
        } else {
            self.dropped(id, Direction::In, DropReason::Invalid, message.len());
        }
    }

    /// A session did what it may not: counted, an event and, under `-v`, told.
    pub(crate) fn offence(&self, id: u64, kind: ErrorKind, text: &str) {
        self.counters.errors.one(kind);
        if self.settings.verbose {
            self.notice(format!("{}: {text}", self.label(id)));
        }
        self.event(id, None, EventBody::Error { error: text.to_owned() });
    }

    /// A request was refused: counted, an event and, under `-v`, told.
    pub(crate) fn refused(&self, peer: PeerAddr, refuse: &Refuse) {
        self.counters.refused.one();
        self.counters.errors.one(match refuse.status {
            StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized,
            StatusCode::TOO_MANY_REQUESTS => ErrorKind::Rate,
            _ => ErrorKind::Refused,
        });
        let error = format!("{peer}: refused with {}: {}", refuse.status.as_u16(), refuse.text);
        match refuse.hint {
            // Whoever runs the server can change it, and may not see it otherwise.
            Some(hint) if self.settings.verbose || !self.hinted.replace(true) => {
                self.notice(format!("{}\nhint: {hint}", error.escape_debug()));
            }
            None if self.settings.verbose => self.notice(error.escape_debug().to_string()),
            _ => {}
        }
        self.fault_before_session(error);
    }

    /// A connection came to nothing: counted, an event and, where it is `told`, a notice.
    pub(crate) fn handshake_failed(&self, peer: PeerAddr, error: &AcceptError, told: bool) {
        self.counters.refused.one();
        self.counters.errors.one(ErrorKind::Handshake);
        let error = format!("{peer}: {error}");
        if told {
            self.notice(error.escape_debug().to_string());
        }
        self.fault_before_session(error);
    }

    fn fault_before_session(&self, error: String) {
        // Nobody holds these back as sessions are held back, so where there is no room they are counted only.
        if self.output.borrow().has_room() && self.recording.has_room() {
            self.event(0, None, EventBody::Error { error });
            self.flush();
        }
    }

    /// A message was meant for a session that is not there: counted and told.
    pub(crate) fn no_receiver(&self, name: &str, size: usize) {
        self.counters.dropped.one(DropReason::NoReceiver);
        self.tell_drop(name.into(), Direction::Out, DropReason::NoReceiver, size);
        self.notice(format!("wsp: no session {}; its messages were dropped", name.escape_debug()));
    }

    /// Messages for a session are dropped because its queue is full: under `-v` told, the first time.
    pub(crate) fn queue_full(&self, mailbox: &Mailbox) {
        if self.settings.verbose && mailbox.dropped.get() == 0 {
            self.notice(format!(
                "{}: message queue full, dropping messages; later ones are counted only",
                self.label(mailbox.id)
            ));
        }
    }

    /// A message of a session was dropped: counted, and an event.
    pub(crate) fn dropped(&self, id: u64, dir: Direction, reason: DropReason, size: usize) {
        self.counters.dropped.one(reason);
        let name = self.name_of(id);
        self.tell_drop(EventSession { id: &SessionId::of(id), name: name.as_deref() }, dir, reason, size);
    }

    fn tell_drop(&self, session: EventSession<'_>, dir: Direction, reason: DropReason, size: usize) {
        let event = || Event {
            time: self.clock.now(),
            session: session.id.to_owned(),
            name: session.name.map(str::to_owned),
            dir: Some(dir),
            body: EventBody::Drop { reason: reason.name().into(), size: Some(size) },
        };
        self.tap.offer(0, event);
        if self.recording.is_on() && self.recording.has_room() {
            self.recording.event(event);
        }
        if self.settings.format == Format::Json && self.prints() {
            let mut drops = self.drops.borrow_mut();
            drops.push(self.clock.now(), session, dir, reason, Some(size));
            if let Ok(mut output) = self.output.try_borrow_mut() {
                write_drops(&mut drops, &mut output);
            }
            // Whoever tends the output writes them.
            if let Some(waker) = self.output_waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    fn print_event(&self, id: u64, dir: Option<Direction>, body: impl FnOnce() -> EventBody) {
        if self.settings.format != Format::Json || !self.prints() {
            return;
        }
        let mut output = self.output.borrow_mut();
        self.make_event(id, dir, body()).write_line(output.buffer());
        output.wrote();
    }

    /// Nothing more is ready: what was printed goes out.
    pub(crate) fn flush(&self) {
        self.output.borrow_mut().flush();
        if let Some(waker) = self.output_waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Ready when more may be printed; else the waker is called then.
    pub(crate) fn has_room_to_print(&self, cx: &mut Context<'_>) -> bool {
        // The output has one waker of its own, the tending task's; sessions wait with the hub.
        if self.output.borrow().has_room() {
            return true;
        }
        self.flush();
        self.wait(cx);
        false
    }

    /// As [`Hub::has_room_to_print`], for the recording.
    pub(crate) fn has_room_to_record(&self, cx: &mut Context<'_>) -> bool {
        if self.recording.has_room() {
            return true;
        }
        self.flush();
        self.wait(cx);
        false
    }

    /// Keeps standard output and the recording moving until one of them fails.
    pub(crate) async fn tend_output(&self) -> OutputFailure {
        std::future::poll_fn(|cx| {
            let mut output = self.output.borrow_mut();
            write_drops(&mut self.drops.borrow_mut(), &mut output);
            output.watch(cx);
            *self.output_waker.borrow_mut() = Some(cx.waker().clone());
            let may_record = match self.recording.poll_tend(cx) {
                Ok(room) => room.is_ready(),
                Err(failure) => return std::task::Poll::Ready(OutputFailure::Failed(failure)),
            };
            if let Some(failure) = output.failure() {
                return std::task::Poll::Ready(failure);
            }
            if output.has_room() && may_record {
                drop(output);
                self.wake_waiting();
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Writes the rest of the output.
    pub(crate) async fn finish_output(&self) {
        // A failure was told where it happened.
        let _ = std::future::poll_fn(|cx| {
            let mut output = self.output.borrow_mut();
            loop {
                write_drops(&mut self.drops.borrow_mut(), &mut output);
                let finished = output.poll_finish(cx);
                if finished.is_pending() || self.drops.borrow().is_empty() {
                    return finished;
                }
            }
        })
        .await;
    }

    /// A line on stderr that `-q` silences.
    pub(crate) fn notice(&self, text: impl AsRef<str>) {
        if !self.settings.quiet {
            self.stderr.line(text);
        }
    }

    /// What the run amounted to, in a line.
    pub(crate) fn summary(&self) -> String {
        let counters = &self.counters;
        let dead_letters = if self.settings.validation.is_some() {
            format!(", dead-lettered {}{}", counters.dead_letters.total(), counters.dead_letters.in_brackets())
        } else {
            String::new()
        };
        let faults = if self.settings.faults.is_some() || self.settings.reject.is_some() {
            format!(", faults {}{}", counters.faults.total(), counters.faults.in_brackets())
        } else {
            String::new()
        };
        format!(
            "connections {}, refused {}, received {}, sent {}, dropped {}{}{dead_letters}{faults}",
            counters.connections.get(),
            counters.refused.get(),
            counters.received.messages.get(),
            counters.sent.messages.get(),
            counters.dropped.total(),
            counters.dropped.in_brackets(),
        )
    }
}

/// Appends lines about dropped messages that wait, as far as there is room.
fn write_drops(drops: &mut DropLines, output: &mut Output) {
    while !drops.is_empty() && output.has_room() {
        let most = output.buffer().len() + DROP_BYTES;
        drops.write(output.buffer(), most);
        output.wrote();
        if output.failure().is_some() {
            drops.clear();
        }
    }
}
