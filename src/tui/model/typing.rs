//! What keys do while a line is typed (pure).
//!
//! Owns what each kind of line means, as it grows and at its end. Leaves editing to `line`. Invariants: a filter holds
//! as soon as it is right; Esc restores the previous state; closing needs a y.

use super::line::Line;
use super::{Effect, Model, Purpose, Typing};
use crate::filter::PeerFilter;
use crate::message::Message;
use crate::message::control::is_for_applications;
use crate::tui::keymap::Key;

impl Model {
    pub(super) fn typing_key(&mut self, key: Key) -> Vec<Effect> {
        let Some(typing) = &mut self.typing else { return Vec::new() };
        match key {
            Key::Ctrl('c') => return vec![Effect::Interrupt],
            Key::Ctrl('z') => return vec![Effect::Suspend],
            Key::Esc => {
                let typing = self.typing.take();
                self.undo(typing);
                return Vec::new();
            }
            _ => {}
        }
        if let Purpose::Close { .. } = typing.purpose {
            return self.closing_key(key);
        }
        match (key, &typing.purpose) {
            (Key::Enter, _) => return self.entered(),
            (Key::Up | Key::Down, Purpose::Send(_)) => self.history.go(&mut typing.line, key == Key::Up),
            (Key::Tab, Purpose::Send(to)) => {
                let to = to.clone();
                let next = self.next_receiver(&to);
                if let Some(typing) = &mut self.typing {
                    typing.purpose = Purpose::Send(next);
                }
            }
            _ => {
                if typing.line.key(key) {
                    self.line_changed();
                }
            }
        }
        Vec::new()
    }

    fn closing_key(&mut self, key: Key) -> Vec<Effect> {
        let Some(typing) = &mut self.typing else { return Vec::new() };
        match key {
            Key::Char('y' | 'Y') => {
                let code = typing.line.text().parse().ok().filter(|code| is_for_applications(*code));
                let Some(code) = code else {
                    typing.error = Some("use close code 1000 or 3000-4999".to_owned());
                    return Vec::new();
                };
                let Purpose::Close { session, reason } = typing.purpose.clone() else { return Vec::new() };
                self.typing = None;
                return vec![Effect::Close(session, code, reason)];
            }
            Key::Char(c) if c.is_ascii_digit() && typing.line.text().len() < 4 => {
                typing.line.key(key);
            }
            Key::Char(c) if c.is_ascii_digit() => {
                // The first digit begins another code.
                typing.line = Line::of(&c.to_string());
            }
            Key::Char('n' | 'N' | 'q') => self.typing = None,
            Key::Char(_) => {}
            _ => {
                typing.line.key(key);
            }
        }
        Vec::new()
    }

    /// The line is another: filters follow while they are typed.
    pub(super) fn line_changed(&mut self) {
        let Some(typing) = &mut self.typing else { return };
        typing.error = None;
        let text = typing.line.text().to_owned();
        match typing.purpose {
            Purpose::Filter => self.filter_changed(text.trim()),
            Purpose::Search => {
                let search = Some(text.to_lowercase()).filter(|text| !text.is_empty());
                self.choose(|choice| choice.search = search);
            }
            Purpose::SessionFilter => self.sessions.set_filter(&text),
            Purpose::LogFilter => self.log.set_filter(&text),
            Purpose::Send(_) | Purpose::Close { .. } | Purpose::Limit(_) | Purpose::SaveAs => {}
        }
    }

    fn filter_changed(&mut self, source: &str) {
        if source.is_empty() {
            self.choose(|choice| choice.jq = None);
            return;
        }
        match PeerFilter::compile(source) {
            Ok(filter) => self.choose(|choice| choice.jq = Some((source.to_owned(), filter))),
            Err(error) => {
                if let Some(typing) = &mut self.typing {
                    typing.error = Some(error.to_string());
                }
            }
        }
    }

    /// Enter: what was typed holds, unless something is wrong with it.
    fn entered(&mut self) -> Vec<Effect> {
        let Some(typing) = self.typing.take_if(|typing| typing.error.is_none()) else { return Vec::new() };
        let text = typing.line.text().to_owned();
        match typing.purpose {
            Purpose::Send(to) => {
                self.history.add(&text);
                vec![Effect::Send(to, Message::text(text))]
            }
            Purpose::Limit(sessions) => {
                if let Ok(rate) = limit(&text) {
                    return vec![Effect::Limit(sessions, rate)];
                }
                let error = Some("use a number such as 10 or 2.5k; 0 or empty for no limit".to_owned());
                self.typing = Some(Typing { purpose: Purpose::Limit(sessions), error, ..typing });
                Vec::new()
            }
            Purpose::SaveAs if text.is_empty() => Vec::new(),
            Purpose::SaveAs => vec![self.save(Some(text))],
            _ => Vec::new(),
        }
    }

    /// Esc: it is as it was before.
    fn undo(&mut self, typing: Option<Typing>) {
        let Some(typing) = typing else { return };
        let before = typing.before.clone();
        match typing.purpose {
            Purpose::Filter => self.filter_changed(&before),
            Purpose::Search => {
                let search = Some(before).filter(|text| !text.is_empty());
                self.choose(|choice| choice.search = search);
            }
            Purpose::SessionFilter => self.sessions.set_filter(&before),
            Purpose::LogFilter => self.log.set_filter(&before),
            Purpose::Send(_) | Purpose::Close { .. } | Purpose::Limit(_) | Purpose::SaveAs => {}
        }
    }
}

/// Messages a second, as flags take them; none where that is nothing or 0.
fn limit(text: &str) -> Result<Option<f64>, ()> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let text = text.strip_suffix("/s").unwrap_or(text);
    let times = [('k', 1e3), ('K', 1e3), ('M', 1e6)].into_iter().find(|(unit, _)| text.ends_with(*unit));
    let number: f64 = text.strip_suffix(['k', 'K', 'M']).unwrap_or(text).parse().map_err(|_| ())?;
    let rate = number * times.map_or(1.0, |(_, times)| times);
    if rate.is_finite() && rate >= 0.0 { Ok((rate > 0.0).then_some(rate)) } else { Err(()) }
}
