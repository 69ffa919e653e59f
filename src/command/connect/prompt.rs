//! What the prompt's lines do: messages to sessions, slash commands to everything else.

use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::slash::{COMMANDS, Command, parse};
use crate::client::inbox::Inboxes;
use crate::client::info::SessionInfo;
use crate::client::input::{Console, OpenConsole, PieceName, hand_out};
use crate::client::plan::Plan;
use crate::client::run::recorder;
use crate::client::shared::Shared;
use crate::command::slash::Common;
use crate::command::{console, settings};
use crate::exit::Exit;
use crate::host::{Host, Stderr};
use crate::message::Message;
use crate::message::counted::counted;
use crate::message::input;
use crate::net::connection::CloseReason;
use crate::observe::control::SessionState;
use crate::prompt::{self, Prompt, PromptSettings, Status, Typed, history_file};
use crate::session::Outgoing;

/// Input that a person types.
pub(super) struct PromptConsole {
    prompt: Prompt,
    sessions: Vec<Rc<SessionInfo>>,
    /// The session that gets what is typed; `None` means all.
    target: Option<usize>,
    ended: bool,
    shown: Option<(Option<usize>, prompt::SessionState, Option<Duration>)>,
}

impl PromptConsole {
    /// Opens the prompt, whose screen is where is printed; `None` where the terminal cannot be driven.
    pub(super) fn open(plan: &Plan, host: &Host, sessions: &[Rc<SessionInfo>]) -> Option<OpenConsole> {
        let settings = PromptSettings {
            history: host.state.as_deref().zip(sessions.first()).map(|(state, info)| {
                let host = info.host.rsplit_once(':').map_or(info.host.as_str(), |(host, _)| host);
                history_file(state, host.trim_matches(['[', ']']))
            }),
            colour: plan.colour,
            status: Self::first_status(sessions),
            hosts: sessions.iter().map(|info| info.host.clone()).collect(),
            commands: &COMMANDS,
        };
        let (prompt, output) = console::open(settings, &host.stderr)?;
        let target = (sessions.len() == 1).then_some(0);
        let console = Self { prompt, sessions: sessions.to_vec(), target, ended: false, shown: None };
        Some((Box::new(console), output))
    }

    /// What the prompt shows at first.
    fn first_status(sessions: &[Rc<SessionInfo>]) -> Status {
        let host = match sessions {
            [only] => only.host.clone(),
            several => format!("all {} sessions", several.len()),
        };
        Status { host, ..Status::default() }
    }

    fn targets<'a>(&self, inboxes: &'a Inboxes) -> &'a Inboxes {
        self.target.map_or(inboxes, |index| &inboxes[index..=index])
    }

    fn targeted(&self) -> &[Rc<SessionInfo>] {
        self.target.map_or(&self.sessions, |index| &self.sessions[index..=index])
    }

    fn show_status(&mut self) {
        let targeted = self.targeted();
        let waiting = targeted.iter().find(|session| session.state.get() != SessionState::Open);
        let state = waiting.or(targeted.first()).map(|session| state(session)).unwrap_or_default();
        let round_trip = match targeted {
            [only] => only.round_trip.get(),
            _ => None,
        };
        if self.shown == Some((self.target, state, round_trip)) {
            return;
        }
        self.shown = Some((self.target, state, round_trip));
        let host = Self::first_status(self.targeted()).host;
        self.prompt.set_status(Status { host, state, round_trip });
    }

    fn line(&mut self, line: &str, shared: &Shared, inboxes: &Inboxes) {
        let done = parse(line).and_then(|command| self.act(command, shared, inboxes));
        if let Err(error) = done {
            say(shared, &error);
        }
    }

    fn act(&mut self, command: Command, shared: &Shared, inboxes: &Inboxes) -> Result<(), String> {
        let send = |outgoing: &dyn Fn() -> Outgoing| {
            for inbox in self.targets(inboxes) {
                inbox.borrow_mut().push(outgoing());
            }
        };
        match command {
            Command::Send(text) => {
                hand_out(shared, self.targets(inboxes), text.into_bytes(), PieceName::Typed)
                    .map_err(|error| error.to_string())?;
                self.tell_when_held(shared);
            }
            Command::Ping(payload) => send(&|| Outgoing::Ping(Bytes::from(payload.clone()))),
            Command::Close { code, reason } => send(&|| Outgoing::Close(CloseReason::new(code, &reason))),
            Command::Binary(text) => {
                let bytes = match text.strip_prefix('@') {
                    Some(path) => read(path)?,
                    None => input::hex(text.as_bytes())?,
                };
                let message = Message::binary(bytes);
                send(&|| Outgoing::Message(message.clone()));
                self.tell_when_held(shared);
            }
            Command::SendFile(path) => {
                let bytes = read(&path)?;
                let size = bytes.len();
                let message = Message::text_from_bytes(bytes.clone()).unwrap_or_else(|_| Message::binary(bytes));
                send(&|| Outgoing::Message(message.clone()));
                say(shared, &format!("{path}: {}", counted(size, "byte")));
                self.tell_when_held(shared);
            }
            Command::Filter(source) => {
                let filter = source.as_deref().map(|source| settings::filter("/jq", source)).transpose();
                *shared.filter.borrow_mut() = filter.map_err(|error| error.to_string())?;
            }
            Command::Record(path) => self.record(path.as_deref(), shared)?,
            Command::Use(number) => self.choose(number)?,
            Command::Common(Common::Quit) => shared.stop(Exit::Done),
            Command::Common(Common::Help) => console::help(&shared.stderr, &COMMANDS),
            Command::Headers => self.headers(shared),
            Command::Common(Common::Stats) => {
                for line in self.targeted().iter().flat_map(|session| stats(session)) {
                    say(shared, &line);
                }
            }
            Command::Common(Common::Sessions) => {
                for (index, session) in self.sessions.iter().enumerate() {
                    let mark = if self.target.is_none_or(|target| target == index) { '*' } else { ' ' };
                    say(shared, &format!("{mark} {}", line(session)));
                }
            }
        }
        Ok(())
    }

    /// Ends the recording under way, if there is one, and begins another where a file is named.
    fn record(&mut self, path: Option<&str>, shared: &Shared) -> Result<(), String> {
        let path = path.map(place);
        if let Some(path) = path.as_ref().filter(|path| shared.is_recorded_into(path)) {
            return Err(format!("already recording to {}; /record without a file stops", path.display()));
        }
        let recording = path.map(|path| recorder(&path, None, &self.sessions)).transpose();
        shared.record_into(recording.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn choose(&mut self, number: Option<usize>) -> Result<(), String> {
        match number {
            Some(number) if number > self.sessions.len() => {
                return Err(format!("no session {number}; /sessions lists them"));
            }
            Some(number) => self.target = Some(number - 1),
            None => self.target = (self.sessions.len() == 1).then_some(0),
        }
        Ok(())
    }

    fn tell_when_held(&self, shared: &Shared) {
        if self.targeted().iter().any(|session| session.state.get() != SessionState::Open) {
            say(shared, "queued until the connection is open");
        }
    }

    fn headers(&self, shared: &Shared) {
        for session in self.targeted() {
            let handshake = session.handshake.borrow();
            let Some(handshake) = handshake.as_ref() else {
                say(shared, &format!("{}: not connected yet", session.url));
                continue;
            };
            say(shared, &format!("{} at {}", handshake.url, handshake.address));
            for (mark, head) in [('>', &handshake.request_head), ('<', &handshake.response_head)] {
                for line in head.lines().filter(|line| !line.is_empty()) {
                    say(shared, &format!("{mark} {line}"));
                }
            }
        }
    }
}

impl Console for PromptConsole {
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared, inboxes: &Inboxes) {
        while !self.ended {
            self.show_status();
            let stopping = shared.stopping().is_some();
            if !stopping && !self.targets(inboxes).iter().all(|inbox| inbox.borrow().has_room()) {
                return;
            }
            let Poll::Ready(typed) = self.prompt.poll_typed(cx) else { return };
            shared.changed.set(true);
            match typed {
                Some(Typed::Interrupt) => shared.signal(Exit::Interrupted),
                _ if stopping => {}
                Some(Typed::Line(line)) => self.line(&line, shared, inboxes),
                Some(Typed::End) | None => self.ended = true,
                Some(Typed::Failed(error)) => {
                    shared.stderr.line(format!("wsp: cannot read the terminal: {error}"));
                    self.ended = true;
                }
            }
            if self.ended {
                shared.input_ended.set(true);
            }
        }
        self.show_status();
    }

    fn close(self: Box<Self>, stderr: &Stderr) {
        self.prompt.close();
        stderr.restore();
    }
}

/// The state as the prompt shows it.
fn state(session: &SessionInfo) -> prompt::SessionState {
    match session.state.get() {
        SessionState::Connecting => prompt::SessionState::Connecting,
        SessionState::Retrying => prompt::SessionState::Retrying(session.failures.get()),
        SessionState::Closed => prompt::SessionState::Closed,
        SessionState::Open | SessionState::Throttled | SessionState::Paused | SessionState::Closing => {
            prompt::SessionState::Open
        }
    }
}

/// One line: name, state, URL.
fn line(session: &SessionInfo) -> String {
    format!("{} {:<6} {}", session.id, state(session).name(), session.url)
}

/// Counters and times.
fn stats(session: &SessionInfo) -> Vec<String> {
    let mut lines = vec![
        line(session),
        format!("  received {}", session.received),
        format!("  sent {}", session.sent),
        format!("  connections {}", session.connections.get()),
    ];
    if let Some(since) = session.since.get() {
        lines.push(format!("  open for {:.1} s", since.elapsed().as_secs_f64()));
    }
    if let Some(time) = session.round_trip.get() {
        lines.push(format!("  round trip {:.3} ms", time.as_secs_f64() * 1e3));
    }
    lines
}

fn say(shared: &Shared, text: &str) {
    console::say(&shared.stderr, text);
}

/// A path as typed: `~/` is the user's home, since no shell has seen it.
fn place(path: &str) -> PathBuf {
    let home = || std::env::home_dir().map(|home| home.join(path.trim_start_matches("~/")));
    let place = if path.starts_with("~/") { home() } else { None };
    place.unwrap_or_else(|| path.into())
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(place(path))
        .map_err(|error| format!("cannot read {path}: {}", crate::message::io_text::io_text(&error)))
}
