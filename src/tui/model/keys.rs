//! What keys change (pure).
//!
//! Owns what an action means in each pane. Leaves which key is which action to the keymap, what is done to sessions to
//! `acting`, and lines that are typed to `typing`.
//! Invariant: what cannot be undone asks first.

use super::choice::Choice;
use super::line::Line;
use super::{Detail, Effect, Hit, Model, Overlay, Pane, Purpose, Times, Typing, detail};
use crate::message::MessageKind;
use crate::message::event::{Direction, EventBody};
use crate::tui::keymap::{self, Action, Key};

/// What a session is thrown out with: forbidden.
const KICK: u16 = 3003;

impl Model {
    /// A key was pressed.
    pub(crate) fn key(&mut self, key: Key) -> Vec<Effect> {
        if self.typing.is_some() {
            return self.typing_key(key);
        }
        keymap::action(key).map_or_else(Vec::new, |action| self.act(action))
    }

    pub(crate) fn paste(&mut self, text: &str) {
        if let Some(typing) = &mut self.typing
            && !matches!(typing.purpose, Purpose::Close { .. })
        {
            typing.line.insert(text);
            self.line_changed();
        }
    }

    fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Quit => return vec![Effect::Quit],
            Action::Interrupt => return vec![Effect::Interrupt],
            Action::Suspend => return vec![Effect::Suspend],
            Action::Redraw => return vec![Effect::Redraw],
            Action::Help => {
                self.overlay = if matches!(self.overlay, Overlay::Help(_)) { Overlay::None } else { Overlay::Help(0) };
            }
            Action::NextPane => self.go_to_pane(1),
            Action::PreviousPane => self.go_to_pane(Pane::ALL.len() - 1),
            Action::Pane(number) => {
                self.overlay = Overlay::None;
                self.pane = Pane::ALL[usize::from(number).min(Pane::ALL.len() - 1)];
            }
            Action::Zoom => self.zoom = !self.zoom,
            Action::Up => self.go(-1),
            Action::Down => self.go(1),
            Action::PageUp => self.go(-self.page()),
            Action::PageDown => self.go(self.page()),
            Action::Top => self.go_to_first(),
            Action::End => self.go_to_last(),
            Action::Detail => self.look_closer(),
            Action::Back => self.back(),
            Action::Filter => match self.pane {
                Pane::Sessions => self.ask(Purpose::SessionFilter, &String::from(self.sessions.filter())),
                Pane::Log => self.ask(Purpose::LogFilter, &String::from(self.log.filter())),
                _ => {
                    let jq = self.messages.choice().jq.as_ref().map(|(source, _)| source.clone());
                    self.ask(Purpose::Filter, &jq.unwrap_or_default());
                }
            },
            Action::Clear => {
                self.messages.set_choice(Choice::default());
                self.sessions.set_filter("");
                self.log.set_filter("");
                self.say("everything is shown");
            }
            Action::Search => {
                self.ask(Purpose::Search, &self.messages.choice().search.clone().unwrap_or_default());
            }
            Action::Pause => self.messages.toggle_pause(),
            Action::Direction => self.choose(|choice| {
                choice.direction = match choice.direction {
                    None => Some(Direction::In),
                    Some(Direction::In) => Some(Direction::Out),
                    Some(Direction::Out) => None,
                };
            }),
            Action::Kind => self.choose(|choice| choice.kinds = choice.kinds.next()),
            Action::OnlySession => {
                let current = self.sessions.current().map(|row| row.key.clone());
                self.choose(|choice| choice.session = if choice.session == current { None } else { current });
            }
            Action::Times => {
                self.times = match self.times {
                    Times::Absolute => Times::Ago,
                    Times::Ago => Times::Since,
                    Times::Since => Times::Absolute,
                };
            }
            Action::Sort => self.sessions.sort_next(),
            Action::Reverse => self.sessions.reverse(),
            Action::Mark => {
                if self.may_act() {
                    self.sessions.mark();
                }
            }
            Action::Queue => self.queues.next(),
            Action::Theme => self.light = !self.light,
            Action::Mouse => {
                self.mouse = !self.mouse;
                let how = if self.mouse {
                    "mouse on: click and wheel; M turns it off"
                } else {
                    "mouse off (terminal selection works)"
                };
                self.say(how);
                return vec![Effect::Mouse(self.mouse)];
            }
            Action::Hex => self.toggle_hex(),
            Action::Send => self.begin_sending(),
            Action::Close => self.ask_to_close(1000, ""),
            Action::Kick => self.ask_to_close(KICK, "thrown out"),
            Action::Reconnect => return self.reconnect(),
            Action::PauseReading => return self.pause_reading(),
            Action::Limit => self.ask_for_limit(),
            Action::Save => return vec![self.save(None)],
            Action::SaveAs => self.ask(Purpose::SaveAs, ""),
            Action::Copy => return self.copy(),
        }
        Vec::new()
    }

    pub(crate) fn clicked(&mut self, hit: Hit) {
        self.remark = None;
        match hit {
            Hit::Pane(pane) => self.pane = pane,
            Hit::Session(place) => {
                self.pane = Pane::Sessions;
                let before = self.sessions.place();
                self.sessions.go_to(place);
                // A click on what is under the cursor looks at it, as Enter does.
                if before == Some(place) {
                    self.look_closer();
                }
            }
            Hit::Column(column) => {
                self.pane = Pane::Sessions;
                self.sessions.sort_by(column);
            }
            Hit::Message(place) => {
                self.pane = Pane::Messages;
                let before = self.messages.cursor();
                self.messages.go_to(place);
                if before == Some(place) {
                    self.look_closer();
                }
            }
            Hit::Log(back) => {
                self.pane = Pane::Log;
                self.overlay = self
                    .log
                    .newest()
                    .nth(back)
                    .cloned()
                    .map_or(Overlay::None, |line| Overlay::LogLine(Box::new(line), 0));
            }
        }
    }

    /// The wheel was turned over a pane, or over what lies over them.
    pub(crate) fn wheeled(&mut self, pane: Option<Pane>, by: isize) {
        match pane {
            Some(pane) => {
                let focused = std::mem::replace(&mut self.pane, pane);
                // Queues are not scrolled, they are leafed through.
                if pane != Pane::Queues {
                    self.go(by);
                }
                self.pane = focused;
            }
            None => self.go(by),
        }
    }

    fn page(&self) -> isize {
        isize::try_from((self.rows / 3).max(3)).unwrap_or(3)
    }

    fn go_to_pane(&mut self, by: usize) {
        self.overlay = Overlay::None;
        let place = Pane::ALL.iter().position(|pane| *pane == self.pane).unwrap_or(0);
        self.pane = Pane::ALL[(place + by) % Pane::ALL.len()];
    }

    fn go(&mut self, by: isize) {
        match &mut self.overlay {
            Overlay::Help(top) => *top = top.saturating_add_signed(by).min(keymap::offered(self.control).count() - 1),
            Overlay::LogLine(line, top) => *top = top.saturating_add_signed(by).min(line.text.len() / 20),
            Overlay::Detail(detail) => {
                detail.top = detail.top.saturating_add_signed(by).min(detail.lines.len().saturating_sub(1));
            }
            Overlay::None => match self.pane {
                Pane::Sessions => self.sessions.go(by),
                Pane::Queues => self.queues.next(),
                Pane::Messages => self.messages.go(by),
                Pane::Log => self.log.go(by),
            },
        }
    }

    fn go_to_first(&mut self) {
        match (&mut self.overlay, self.pane) {
            (Overlay::None, Pane::Messages) => self.messages.go_to_first(),
            _ => self.go(isize::MIN / 2),
        }
    }

    fn go_to_last(&mut self) {
        match (&mut self.overlay, self.pane) {
            (Overlay::None, Pane::Messages) => self.messages.follow(),
            (Overlay::None, Pane::Log) => self.log.end(),
            _ => self.go(isize::MAX / 2),
        }
    }

    fn back(&mut self) {
        if !matches!(self.overlay, Overlay::None) {
            self.overlay = Overlay::None;
        } else if self.zoom {
            self.zoom = false;
        } else if self.messages.is_held() {
            self.messages.follow();
        }
        self.remark = None;
    }

    fn look_closer(&mut self) {
        match (&self.overlay, self.pane) {
            (Overlay::None, Pane::Messages) => {
                if let Some(entry) = self.messages.current().cloned() {
                    // What is looked at stays where it is.
                    self.overlay = Overlay::Detail(Box::new(Detail {
                        entry,
                        hex: false,
                        form: detail::Form::Text,
                        lines: Vec::new(),
                        top: 0,
                    }));
                    self.lay_out_detail();
                } else {
                    self.say("no message to show");
                }
            }
            (Overlay::None, Pane::Sessions) => {
                let current = self.sessions.current().map(|row| row.key.clone());
                self.choose(|choice| choice.session = current);
                self.pane = Pane::Messages;
            }
            (Overlay::None, Pane::Queues) => self.queues.next(),
            (Overlay::None, Pane::Log) => {
                let line = self.log.newest().next().cloned();
                if let Some(line) = line {
                    self.overlay = Overlay::LogLine(Box::new(line), 0);
                } else {
                    self.say("the log is empty");
                }
            }
            _ => self.overlay = Overlay::None,
        }
    }

    fn toggle_hex(&mut self) {
        if let Overlay::Detail(detail) = &mut self.overlay {
            detail.hex = !detail.hex;
            detail.top = 0;
        }
        self.lay_out_detail();
    }

    fn lay_out_detail(&mut self) {
        if let Overlay::Detail(detail) = &mut self.overlay {
            let kind = match &detail.entry.event.body {
                EventBody::Message(message) => message.kind(),
                _ => MessageKind::Binary,
            };
            (detail.form, detail.lines) = detail::lines(detail.entry.payload(), kind, detail.hex);
        }
    }

    pub(super) fn choose(&mut self, change: impl FnOnce(&mut Choice)) {
        let mut choice = self.messages.choice().clone();
        change(&mut choice);
        self.messages.set_choice(choice);
    }

    pub(super) fn ask(&mut self, purpose: Purpose, text: &str) {
        self.typing = Some(Typing { purpose, line: Line::of(text), error: None, before: text.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::observe::control::SessionState;
    use crate::tui::keymap::tests::keys;
    use crate::tui::model::To;
    use crate::tui::model::tests::{model, reading};

    fn typed(model: &mut Model, text: &str) -> Vec<Effect> {
        let effects = keys(text).into_iter().flat_map(|key| model.key(key)).collect();
        while model.messages.step() {}
        effects
    }

    #[test]
    fn a_filter_holds_while_it_is_typed_and_says_what_is_wrong() {
        let mut model = model();
        assert_eq!(model.messages.len(), 5);
        typed(&mut model, "/.price > 50");
        assert_eq!(model.messages.len(), 1);
        typed(&mut model, " |");
        assert!(model.typing.as_ref().is_some_and(|typing| typing.error.is_some()));
        assert_eq!(model.messages.len(), 1, "the last one that was right holds");
        typed(&mut model, "<enter>");
        assert!(model.typing.is_some(), "a wrong filter stays to be mended");
        typed(&mut model, "<back><back><enter>");
        assert!(model.typing.is_none());
        typed(&mut model, "/<c-u>x<esc>");
        assert_eq!(model.messages.len(), 1, "it is as it was before");
        typed(&mut model, "/<c-u><enter>");
        assert_eq!(model.messages.len(), 5);
        typed(&mut model, "/def f: f; f");
        assert!(model.typing.as_ref().is_some_and(|typing| typing.error.is_some()), "nothing that may not end");
    }

    #[test]
    fn closing_asks_first() {
        let mut model = model();
        assert_eq!(typed(&mut model, "x<enter>n"), []);
        assert_eq!(typed(&mut model, "xy"), [Effect::Close((0, "s1".into()), 1000, "")]);
        assert_eq!(typed(&mut model, "x4001y"), [Effect::Close((0, "s1".into()), 4001, "")]);
        assert_eq!(typed(&mut model, "x1006y"), []);
        assert!(model.typing.as_ref().is_some_and(|typing| typing.error.is_some()));
        assert_eq!(typed(&mut model, "<esc>1jKy"), [Effect::Close((0, "s2".into()), KICK, "thrown out")]);
    }

    #[test]
    fn messages_go_to_one_to_the_marked_or_to_all() {
        let mut model = model();
        let sent = |to, text: &str| vec![Effect::Send(to, Message::text(text))];
        assert_eq!(typed(&mut model, "ihello q<enter>"), sent(To::One((0, "s1".into())), "hello q"));
        assert_eq!(typed(&mut model, "i<up><tab><enter>"), sent(To::All, "hello q"));
        let marked = To::Marked(vec![(0, "s1".into()), (0, "s2".into())]);
        assert_eq!(typed(&mut model, "1mjm3ia<enter>"), sent(marked, "a"));
        assert_eq!(typed(&mut model, "r"), [Effect::Reconnect((0, "s2".into()))]);
        model.control = false;
        assert_eq!(typed(&mut model, "i<esc>xr"), []);
        assert!(model.remark.as_ref().is_some_and(|(text, is_error, _)| *is_error && text.contains("--control")));
    }

    #[test]
    fn reading_is_paused_and_limited_for_one_or_the_marked() {
        let key = |id: &str| (0, id.to_owned());
        let mut model = model();
        assert_eq!(typed(&mut model, "p"), [Effect::Pause(vec![key("s1")], true)]);
        assert_eq!(typed(&mut model, "l2.5k<enter>"), [Effect::Limit(vec![key("s1")], Some(2500.0))]);
        assert_eq!(typed(&mut model, "lx<enter>"), []);
        assert!(model.typing.as_ref().is_some_and(|typing| typing.error.is_some()), "a wrong limit stays to be mended");
        assert_eq!(typed(&mut model, "<back>7/s<enter>"), [Effect::Limit(vec![key("s1")], Some(7.0))]);
        assert_eq!(typed(&mut model, "l0<enter>l<enter>"), [0, 1].map(|_| Effect::Limit(vec![key("s1")], None)));
        let mut paused = reading("s1", 1);
        paused.state = SessionState::Paused;
        paused.rate_limit = Some(20.0);
        model.sessions.set(0, vec![paused, reading("s2", 2)], model.now);
        assert_eq!(typed(&mut model, "p"), [Effect::Pause(vec![key("s1")], false)]);
        assert_eq!(
            typed(&mut model, "l0<enter>"),
            [Effect::Limit(vec![key("s1")], Some(200.0))],
            "it begins with what holds"
        );
        assert_eq!(typed(&mut model, "1mjmp"), [Effect::Pause(vec![key("s1"), key("s2")], true)]);
        model.control = false;
        assert_eq!(typed(&mut model, "pl"), []);
        assert!(model.typing.is_none());
    }

    #[test]
    fn what_is_shown_is_saved() {
        let mut model = model();
        let saved = |effects: Vec<Effect>| match &effects[..] {
            [Effect::Save { name, kind, content, what }] => {
                (name.clone(), kind.1, String::from_utf8_lossy(content).lines().count(), what.clone())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(saved(typed(&mut model, "w")), (None, "jsonl", 5, "5 messages".into()));
        assert_eq!(typed(&mut model, "dd"), []);
        assert_eq!(saved(typed(&mut model, "w")).2, 1, "only what goes out is shown");
        assert_eq!(typed(&mut model, "d"), []);
        assert_eq!(saved(typed(&mut model, "Wname<enter>")), (Some("name".into()), "jsonl", 5, "5 messages".into()));
        assert_eq!(saved(typed(&mut model, "g<enter>w")).1, "json");
        assert_eq!(typed(&mut model, "y"), [Effect::Copy(br#"{"price":10,"asset":"EUR"}"#.to_vec())]);
        assert_eq!(saved(typed(&mut model, "<esc>4w")), (None, "txt", 2, "2 lines".into()));
    }

    #[test]
    fn keys_lead_out_of_what_they_led_into() {
        let mut model = model();
        typed(&mut model, "?jjj");
        assert!(matches!(model.overlay, Overlay::Help(3)));
        typed(&mut model, "<esc><enter>h");
        assert!(matches!(&model.overlay, Overlay::Detail(detail) if detail.form == detail::Form::Hex));
        typed(&mut model, "<esc><up><up>");
        assert!(model.messages.is_held());
        typed(&mut model, "<esc>");
        assert!(!model.messages.is_held());
        assert_eq!(typed(&mut model, "q"), [Effect::Quit]);
        assert_eq!(typed(&mut model, "/q<c-c>"), [Effect::Interrupt]);
    }
}
