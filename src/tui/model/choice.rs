//! Which messages are shown: by kind, direction, session, a text in them, and a jq program (pure).
//!
//! Leaves what is kept of them to `messages`. Invariant: whether one message is chosen is known within a bounded time.

use super::messages::Entry;
use crate::filter::{Json, PeerFilter};
use crate::message::MessageKind;
use crate::message::event::{Direction, Event, EventBody};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kinds {
    /// Text and binary.
    #[default]
    Data,
    Text,
    Binary,
    /// Pings, pongs and closes.
    Control,
    All,
}

impl Kinds {
    #[must_use]
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Data => Self::Text,
            Self::Text => Self::Binary,
            Self::Binary => Self::Control,
            Self::Control => Self::All,
            Self::All => Self::Data,
        }
    }

    /// As it is shown; empty for the usual.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Data => "",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Control => "control frames",
            Self::All => "all kinds",
        }
    }

    fn allows(self, event: &Event) -> bool {
        match (self, &event.body) {
            (Self::All, _) | (Self::Data, EventBody::Message(_)) => true,
            (Self::Text, EventBody::Message(message)) => message.kind() == MessageKind::Text,
            (Self::Binary, EventBody::Message(message)) => message.kind() == MessageKind::Binary,
            (Self::Control, body) => !matches!(body, EventBody::Message(_)),
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    /// The program, as it was typed, and compiled.
    pub jq: Option<(String, PeerFilter)>,
    /// A text that must be in it, in small letters.
    pub search: Option<String>,
    /// One way only.
    pub direction: Option<Direction>,
    /// Some kinds only.
    pub kinds: Kinds,
    /// One session only.
    pub session: Option<(usize, String)>,
}

impl Choice {
    /// Whether it takes no time to tell what is chosen.
    pub(crate) fn is_plain(&self) -> bool {
        self.jq.is_none() && self.search.is_none()
    }

    /// Whether a message is chosen.
    ///
    /// # Errors
    /// What the program failed with.
    pub(crate) fn allows(&self, entry: &Entry) -> Result<bool, String> {
        let event = &*entry.event;
        if !self.kinds.allows(event)
            || self.direction.is_some_and(|direction| event.dir != Some(direction))
            || self.session.as_ref().is_some_and(|(source, id)| *source != entry.source || *id != event.session)
        {
            return Ok(false);
        }
        if let Some(search) = &self.search
            && !holds(entry.payload(), search)
        {
            return Ok(false);
        }
        match &self.jq {
            None => Ok(true),
            Some((_, filter)) => match Json::parse(entry.payload()) {
                Ok(json) => filter.matches(&json),
                Err(_) => Ok(false),
            },
        }
    }
}

/// Whether a text is in there, whatever the case of its letters.
fn holds(payload: &[u8], small: &str) -> bool {
    String::from_utf8_lossy(payload).to_lowercase().contains(small)
}
