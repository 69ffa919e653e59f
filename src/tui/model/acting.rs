//! What is done to sessions and with what is shown: sending, closing, pausing, limits, saving, copying (pure).
//!
//! Leaves which key asks for it to `keys`, and what is typed meanwhile to `typing`.
//! Invariant: who only looks changes nothing.

use super::sessions::SessionKey;
use super::{Effect, Model, Overlay, Pane, Purpose, To, detail};
use crate::observe::control::SessionState;

/// Most bytes that are copied: terminals take no more.
const COPIED: usize = 74_000;

impl Model {
    pub(super) fn may_act(&mut self) -> bool {
        if !self.can_control() {
            self.complain("read-only: start wsp top with --control to act on sessions");
        }
        self.can_control()
    }

    pub(super) fn begin_sending(&mut self) {
        if !self.may_act() {
            return;
        }
        let marked: Vec<SessionKey> = self.sessions.marked().iter().cloned().collect();
        let to = match self.sessions.current() {
            _ if !marked.is_empty() => To::Marked(marked),
            Some(row) => To::One(row.key.clone()),
            None => To::All,
        };
        self.ask(Purpose::Send(to), "");
    }

    pub(super) fn next_receiver(&self, to: &To) -> To {
        let marked: Vec<SessionKey> = self.sessions.marked().iter().cloned().collect();
        match (to, self.sessions.current()) {
            (To::One(_), _) if !marked.is_empty() => To::Marked(marked),
            (To::One(_) | To::Marked(_), _) | (To::All, None) => To::All,
            (To::All, Some(row)) => To::One(row.key.clone()),
        }
    }

    pub(super) fn ask_to_close(&mut self, code: u16, reason: &'static str) {
        if !self.may_act() {
            return;
        }
        match self.sessions.current() {
            Some(row) => {
                let purpose = Purpose::Close { session: row.key.clone(), reason };
                self.ask(purpose, &code.to_string());
            }
            None => self.say("no session to close"),
        }
    }

    pub(super) fn reconnect(&mut self) -> Vec<Effect> {
        if !self.may_act() {
            return Vec::new();
        }
        match self.sessions.current() {
            Some(row) => vec![Effect::Reconnect(row.key.clone())],
            None => Vec::new(),
        }
    }

    /// The sessions that something is done to: the marked ones, or the one under the cursor.
    pub(super) fn chosen_sessions(&mut self) -> Vec<SessionKey> {
        let mut chosen: Vec<SessionKey> = self.sessions.marked().iter().cloned().collect();
        if chosen.is_empty() {
            chosen.extend(self.sessions.current().map(|row| row.key.clone()));
        }
        if chosen.is_empty() {
            self.say("no session");
        }
        chosen
    }

    pub(super) fn pause_reading(&mut self) -> Vec<Effect> {
        if !self.may_act() {
            return Vec::new();
        }
        let chosen = self.chosen_sessions();
        if chosen.is_empty() {
            return Vec::new();
        }
        let is_paused =
            |key: &SessionKey| self.sessions.get(key).is_some_and(|row| row.reading.state == SessionState::Paused);
        // Where some are read from and some are not, all are paused first.
        let pauses = !chosen.iter().all(is_paused);
        vec![Effect::Pause(chosen, pauses)]
    }

    pub(super) fn ask_for_limit(&mut self) {
        if !self.may_act() {
            return;
        }
        let chosen = self.chosen_sessions();
        if let Some(first) = chosen.first() {
            let limit = self.sessions.get(first).and_then(|row| row.reading.rate_limit);
            let limit = limit.map_or_else(String::new, |rate| rate.to_string());
            self.ask(Purpose::Limit(chosen), &limit);
        }
    }

    pub(super) fn save(&self, name: Option<String>) -> Effect {
        if let Overlay::Detail(detail) = &self.overlay {
            let ending = match detail.form {
                detail::Form::Json => "json",
                detail::Form::Text => "txt",
                detail::Form::Hex => "bin",
            };
            let content = detail.entry.payload().to_vec();
            let what = format!("{} bytes", content.len());
            return Effect::Save { name, kind: ("message", ending), content, what };
        }
        if self.pane == Pane::Log {
            let lines = self.log.shown(usize::MAX);
            let what = format!("{} lines", lines.len());
            let texts: Vec<_> = lines.iter().map(|line| format!("{:.3} {}\n", line.time, line.text)).collect();
            return Effect::Save { name, kind: ("log", "txt"), content: texts.concat().into_bytes(), what };
        }
        let mut content = Vec::new();
        self.messages.chosen().for_each(|entry| entry.event.write_line(&mut content));
        let what = format!("{} messages", self.messages.len());
        Effect::Save { name, kind: ("messages", "jsonl"), content, what }
    }

    pub(super) fn copy(&mut self) -> Vec<Effect> {
        if let Overlay::LogLine(line, _) = &self.overlay {
            return vec![Effect::Copy(line.text.clone().into_bytes())];
        }
        let entry = match &self.overlay {
            Overlay::Detail(detail) => Some(&detail.entry),
            _ => self.messages.current(),
        };
        match entry.map(|entry| entry.payload().to_vec()) {
            None => self.say("no message to copy"),
            Some(payload) if payload.len() > COPIED => {
                self.complain(format!("{} bytes are too large for the clipboard; save them with w", payload.len()));
            }
            Some(payload) => return vec![Effect::Copy(payload)],
        }
        Vec::new()
    }
}
