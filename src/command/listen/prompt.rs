//! What the lines typed at the prompt of `listen` do: messages to sessions, slash commands to everything else.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::rc::Rc;
use std::task::{Context, Poll};

use jiff::Timestamp;

use super::slash::{COMMANDS, Command, parse};
use crate::command::console;
use crate::command::slash::Common;
use crate::host::{Host, Stderr};
use crate::listen::hub::{Hub, Unplaced};
use crate::listen::input::{Console, OpenConsole};
use crate::listen::mailbox::Mailbox;
use crate::listen::session_id::{session_id, session_number};
use crate::message::Message;
use crate::message::event::Direction;
use crate::net::connection::CloseReason;
use crate::observe::counters::DropReason;
use crate::prompt::{Prompt, PromptSettings, SessionState, Status, Typed, history_file};
use crate::redact;

/// Sessions that `/sessions` shows.
const SHOWN: usize = 100;
/// Messages that may be held while nobody is connected or a mailbox is full.
const HELD: usize = 1000;

/// The prompt of a server.
struct ServerConsole {
    prompt: Prompt,
    stderr: Stderr,
    address: String,
    /// Sessions there had ever been, were, and had names, when they were shown last: without one more, a change is one less.
    shown: Option<(u64, usize, usize)>,
    /// Typed and not sent yet, to those a word means or to all.
    held: VecDeque<(Option<String>, Message)>,
    /// The last that was sent, for those whose mailbox is full.
    unplaced: Unplaced,
}

/// The way to open the prompt, once it is known where the server listens.
pub(super) fn opener(host: &Host, colour: bool) -> OpenConsole {
    let (state, stderr) = (host.state.clone(), host.stderr.clone());
    Box::new(move |address| {
        let settings = PromptSettings {
            history: state.map(|state| history_file(&state, "listen")),
            colour,
            status: status(address, 0),
            hosts: Vec::new(),
            commands: &COMMANDS,
        };
        let (prompt, output) = console::open(settings, &stderr)?;
        let console = ServerConsole {
            prompt,
            stderr,
            address: address.to_owned(),
            shown: None,
            held: VecDeque::new(),
            unplaced: Unplaced::new(),
        };
        Some((Box::new(console) as Box<dyn Console>, output))
    })
}

fn status(address: &str, sessions: usize) -> Status {
    Status { host: address.to_owned(), state: SessionState::Serving(sessions), round_trip: None }
}

impl Console for ServerConsole {
    fn poll(&mut self, cx: &mut Context<'_>, hub: &Rc<Hub>) -> Poll<()> {
        loop {
            self.show_sessions(hub);
            self.send_held(cx, hub);
            let Poll::Ready(typed) = self.prompt.poll_typed(cx) else { return Poll::Pending };
            match typed {
                Some(Typed::Line(line)) => match parse(&line).and_then(|command| self.act(command, hub)) {
                    Ok(true) => {}
                    Ok(false) => return Poll::Ready(()),
                    Err(error) => self.say(&error),
                },
                Some(Typed::Interrupt | Typed::End) | None => return Poll::Ready(()),
                Some(Typed::Failed(error)) => {
                    self.stderr.line(format!("wsp: cannot read the terminal: {error}"));
                    return Poll::Ready(());
                }
            }
        }
    }

    fn poll_hurry(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(typed)) = self.prompt.poll_typed(cx) {
            if typed == Typed::Interrupt {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn close(self: Box<Self>, hub: &Hub) {
        for (receiver, message) in &self.held {
            let number = receiver.as_deref().and_then(session_number).unwrap_or_default();
            hub.dropped(number, Direction::Out, DropReason::ReceiverGone, message.len());
        }
        for (mailbox, message) in &self.unplaced {
            hub.dropped(mailbox.id, Direction::Out, DropReason::ReceiverGone, message.len());
        }
        self.prompt.close();
        self.stderr.restore();
    }
}

impl ServerConsole {
    fn say(&self, text: &str) {
        console::say(&self.stderr, text);
    }

    /// In the prompt, and as what Tab completes.
    fn show_sessions(&mut self, hub: &Hub) {
        let now = (hub.counters.connections.get(), hub.active(), hub.named_sessions());
        if self.shown.replace(now) == Some(now) {
            return;
        }
        self.prompt.set_names(words(hub));
        self.prompt.set_status(status(&self.address, hub.active()));
    }

    /// Sends what was typed, as far as mailboxes take it. Keys are read all the same: the person may want to leave.
    fn send_held(&mut self, cx: &mut Context<'_>, hub: &Hub) {
        while hub.active() > 0 && (self.unplaced.is_empty() || hub.place_again(&mut self.unplaced, cx)) {
            match self.held.pop_front() {
                None => return,
                Some((None, message)) => self.unplaced = hub.to_all(&message, None),
                Some((Some(word), message)) => {
                    let receivers = meant(hub, &word);
                    if receivers.is_empty() {
                        hub.no_receiver(&word, message.len());
                    }
                    for mailbox in receivers {
                        let full = hub.place(&mailbox, message.clone());
                        self.unplaced.extend(full.map(|message| (mailbox, message)));
                    }
                }
            }
        }
    }

    fn hold(&mut self, receiver: Option<String>, text: String) -> Result<(), String> {
        if self.held.len() >= HELD {
            return Err("not sent: the send queue is full".to_owned());
        }
        self.held.push_back((receiver, Message::text(text)));
        Ok(())
    }

    /// False when the server should end.
    fn act(&mut self, command: Command, hub: &Rc<Hub>) -> Result<bool, String> {
        match command {
            Command::Send(text) => {
                self.hold(None, text)?;
                if hub.active() == 0 {
                    self.say("queued until a client connects");
                }
            }
            Command::SendTo(word, text) => {
                known(hub, &word)?;
                self.hold(Some(word), text)?;
            }
            Command::Kick { session, code, reason } => {
                let close = CloseReason::new(code, &reason);
                known(hub, &session)?.iter().for_each(|mailbox| mailbox.ask_to_close(close.clone()));
            }
            Command::Common(Common::Help) => console::help(&self.stderr, &COMMANDS),
            Command::Common(Common::Sessions) => {
                let sessions = hub.sessions();
                if sessions.is_empty() {
                    self.say("nobody is connected");
                }
                for mailbox in sessions.iter().take(SHOWN) {
                    self.say(&describe(mailbox));
                }
                if sessions.len() > SHOWN {
                    self.say(&format!("and {} more", sessions.len() - SHOWN));
                }
            }
            Command::Common(Common::Stats) => {
                self.say(&format!("connected {}; {}", hub.active(), hub.summary()));
                for (what, traffic) in [("received", &hub.counters.received), ("sent", &hub.counters.sent)] {
                    self.say(&format!("  {what} {traffic}"));
                }
            }
            Command::Common(Common::Quit) => return Ok(false),
        }
        Ok(true)
    }
}

/// The sessions that a typed word means: an id, a name, or a bare number for an id.
fn meant(hub: &Hub, word: &str) -> Vec<Rc<Mailbox>> {
    let sessions = hub.named(word);
    if sessions.is_empty() {
        session_number(&format!("s{word}")).and_then(|number| hub.session(number)).into_iter().collect()
    } else {
        sessions
    }
}

/// The same, one at least.
fn known(hub: &Hub, word: &str) -> Result<Vec<Rc<Mailbox>>, String> {
    let sessions = meant(hub, word);
    let none = || format!("no session {}; /sessions lists them", word.escape_debug());
    Some(sessions).filter(|sessions| !sessions.is_empty()).ok_or_else(none)
}

/// What Tab completes: ids, and names that are one plain word.
fn words(hub: &Hub) -> Vec<String> {
    let (mut ids, mut names) = (Vec::new(), BTreeSet::new());
    let is_plain = |name: &str| !name.contains(|sign: char| sign == '"' || sign.is_whitespace() || sign.is_control());
    hub.each_session(|mailbox| {
        ids.push(session_id(mailbox.id));
        names.extend(mailbox.name().filter(|name| is_plain(name)).map(ToString::to_string));
    });
    ids.extend(names);
    ids
}

fn describe(mailbox: &Mailbox) -> String {
    let open = Timestamp::now().duration_since(mailbox.since).as_secs_f64();
    let mut line = format!(
        "{} {} {}, open for {open:.1} s",
        session_id(mailbox.id),
        mailbox.peer,
        redact::target(&mailbox.target).escape_debug()
    );
    for (what, text) in [("named", mailbox.name().map(|name| &**name)), ("subject", mailbox.subject())] {
        if let Some(text) = text {
            let _ = write!(line, "; {what} {}", text.escape_debug());
        }
    }
    let _ = write!(line, "; received {}; sent {}", mailbox.received, mailbox.sent);
    for (what, count) in [("waiting", mailbox.waiting() as u64), ("dropped", mailbox.dropped.get())] {
        if count > 0 {
            let _ = write!(line, "; {what} {count}");
        }
    }
    if let Some(time) = mailbox.round_trip.get() {
        let _ = write!(line, "; round trip {:.3} ms", time.as_secs_f64() * 1e3);
    }
    line
}
