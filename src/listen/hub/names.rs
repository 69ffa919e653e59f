//! Names of sessions: which sessions a word means.
//!
//! Invariants: what reads as an id is never a name; a name is known for as long as a session has it, and no longer.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Hub;
use crate::listen::mailbox::Mailbox;
use crate::listen::naming::Answer;
use crate::listen::session_id::session_number;
use crate::observe::counters::ErrorKind;

/// The numbers of sessions by their names.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<Rc<str>, BTreeSet<u64>>);

impl Names {
    /// A session has this name from now on.
    pub(super) fn add(&mut self, name: &Rc<str>, number: u64) {
        self.0.entry(Rc::clone(name)).or_default().insert(number);
    }

    /// A session with this name has left.
    pub(super) fn remove(&mut self, name: &str, number: u64) {
        if let Some(numbers) = self.0.get_mut(name) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.0.remove(name);
            }
        }
    }

    /// The sessions of this name, in the order they came.
    pub(super) fn of(&self, name: &str) -> impl Iterator<Item = u64> {
        self.0.get(name).into_iter().flatten().copied()
    }

    /// How many sessions have names.
    pub(super) fn sessions(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Whether no session has a name.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Hub {
    /// The sessions that a word means: the one of this id, else all of this name, in the order they came.
    pub(crate) fn named(&self, word: &str) -> Vec<Rc<Mailbox>> {
        match session_number(word) {
            Some(number) => self.session(number).into_iter().collect(),
            None => self.names.borrow().of(word).filter_map(|number| self.session(number)).collect(),
        }
    }

    /// How many sessions have names.
    pub(crate) fn named_sessions(&self) -> usize {
        self.names.borrow().sessions()
    }

    /// The name of a session, where it has one.
    pub(crate) fn name_of(&self, number: u64) -> Option<Rc<str>> {
        if self.names.borrow().is_empty() {
            return None;
        }
        self.sessions.borrow().get(&number).and_then(|mailbox| mailbox.name().cloned())
    }

    /// Takes what the filter says a session is called, asked with its first message or before that; whether it need not be
    /// asked again. Whatever is wrong with it, the session goes on without a name.
    pub(crate) fn take_name(&self, mailbox: &Mailbox, answer: Answer, with_message: bool) -> bool {
        match answer {
            Answer::Name(name) => {
                let name = Rc::from(name);
                self.names.borrow_mut().add(&name, mailbox.id);
                mailbox.set_name(name);
                self.changed.notify_waiters();
                return true;
            }
            Answer::None => return with_message,
            // It may want the message.
            Answer::Failed(error) if !with_message => {
                if self.settings.verbose {
                    self.notice(format!("{}: no name yet: {error}", self.label(mailbox.id)));
                }
                return false;
            }
            Answer::Failed(error) | Answer::Unfit(error) => self.unnamed(mailbox.id, &error),
        }
        true
    }

    /// A session gets no name: counted, an event and, the first time or under `-v`, told.
    fn unnamed(&self, number: u64, error: &str) {
        let text = format!("--session-name: {error}");
        if !self.settings.verbose && !self.told_unnamed.replace(true) {
            self.notice(format!("{}: {text}; later ones are counted only", self.label(number)));
        }
        self.offence(number, ErrorKind::Filter, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_as_long_as_a_session_has_it() {
        let (anna, bert) = (Rc::from("anna"), Rc::from("bert"));
        let of = |names: &Names, name: &str| names.of(name).collect::<Vec<_>>();
        let mut names = Names::default();
        assert!(names.is_empty() && of(&names, "anna").is_empty());
        for (name, number) in [(&anna, 3), (&bert, 2), (&anna, 1), (&anna, 1)] {
            names.add(name, number);
        }
        assert_eq!((of(&names, "anna"), of(&names, "bert"), names.sessions()), (vec![1, 3], vec![2], 3));
        assert_eq!((of(&names, "ann"), of(&names, "")), (vec![], vec![]));
        names.remove("anna", 2);
        names.remove("nobody", 1);
        assert_eq!((of(&names, "anna"), names.sessions()), (vec![1, 3], 3));
        names.remove("anna", 1);
        assert_eq!((of(&names, "anna"), names.0.len()), (vec![3], 2));
        names.remove("anna", 3);
        assert_eq!((of(&names, "anna"), names.0.len()), (vec![], 1));
        names.remove("bert", 2);
        assert!(names.is_empty());
    }
}
