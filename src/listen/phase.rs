//! The life of a server session, from the upgrade to its Close (pure).
//!
//! Leaves what is sent to the session's peer. Invariants: a session opens at most once; nothing leads back from its
//! Close, and only what that waits for goes out before it.

use crate::net::connection::CloseReason;

/// Where a session is in its life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The handler has not seen the session yet.
    New,
    /// Messages go both ways.
    Open,
    /// It closes once what was sent before has gone out.
    Leaving(Box<PendingClose>),
    /// It closes once what its faults hold back has gone out; its handler sends nothing more.
    Held(Box<PendingClose>),
    /// Our Close has gone out.
    Closing {
        /// Whether messages are still accepted.
        accepts_messages: bool,
    },
    /// It ends without a word.
    Cut,
}

/// A Close that is wanted and has not gone out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PendingClose {
    close: CloseReason,
    /// Whether messages are accepted again once the Close has gone out.
    accepts_messages: bool,
}

impl Phase {
    /// Opens the session; false when it has been opened before, or leaves already.
    pub(super) fn open(&mut self) -> bool {
        let is_new = *self == Self::New;
        if is_new {
            *self = Self::Open;
        }
        is_new
    }

    /// Requests a Close for the handler; a later request does not change it.
    pub(super) fn leave(&mut self, close: CloseReason) {
        match self {
            Self::New | Self::Open => *self = Self::Leaving(Box::new(PendingClose { close, accepts_messages: true })),
            Self::Held(pending) => pending.accepts_messages = false,
            Self::Closing { accepts_messages } => *accepts_messages = false,
            Self::Leaving(_) | Self::Cut => {}
        }
    }

    /// Requests a Close for a violation; later messages of the session are ignored.
    pub(super) fn expel(&mut self, close: CloseReason) {
        match self {
            Self::New | Self::Open | Self::Leaving(_) | Self::Cut => {
                *self = Self::Leaving(Box::new(PendingClose { close, accepts_messages: false }));
            }
            Self::Held(pending) => pending.accepts_messages = false,
            Self::Closing { accepts_messages } => *accepts_messages = false,
        }
    }

    /// Ends the session without a Close, unless that is on its way.
    pub(super) fn cut(&mut self) {
        if matches!(self, Self::New | Self::Open | Self::Leaving(_)) {
            *self = Self::Cut;
        }
    }

    /// Keeps the Close back until the messages that faults delay have gone out.
    pub(super) fn hold(&mut self, close: CloseReason) {
        *self = match std::mem::replace(self, Self::Cut) {
            Self::New | Self::Open => Self::Held(Box::new(PendingClose { close, accepts_messages: true })),
            Self::Leaving(pending) => Self::Held(pending),
            other => other,
        };
    }

    /// Notes that the requested Close has gone out.
    pub(super) fn close_sent(&mut self) {
        match self {
            Self::New | Self::Open | Self::Cut => *self = Self::Closing { accepts_messages: true },
            Self::Leaving(pending) | Self::Held(pending) => {
                *self = Self::Closing { accepts_messages: pending.accepts_messages }
            }
            Self::Closing { .. } => {}
        }
    }

    /// Notes that another Close has gone out in place of the requested one.
    pub(super) fn close_at_once(&mut self) {
        match self {
            Self::New | Self::Open | Self::Cut => *self = Self::Closing { accepts_messages: true },
            Self::Leaving(_) | Self::Held(_) => *self = Self::Closing { accepts_messages: false },
            Self::Closing { .. } => {}
        }
    }

    /// Returns the Close to send after the messages sent before it.
    pub(super) fn pending_close(&self) -> Option<&CloseReason> {
        match self {
            Self::Leaving(pending) => Some(&pending.close),
            _ => None,
        }
    }

    /// Returns the Close to send after the messages that faults delay.
    pub(super) fn held(&self) -> Option<&CloseReason> {
        match self {
            Self::Held(pending) => Some(&pending.close),
            _ => None,
        }
    }

    /// Returns whether our Close has gone out.
    pub(super) fn has_closed(&self) -> bool {
        matches!(self, Self::Closing { .. })
    }

    /// Returns whether the session is to be closed, as handlers see it.
    pub(super) fn wants_close(&self) -> bool {
        match self {
            Self::New | Self::Open | Self::Cut => false,
            Self::Leaving(_) => true,
            Self::Held(pending) => !pending.accepts_messages,
            Self::Closing { accepts_messages } => !accepts_messages,
        }
    }

    /// Returns whether messages of the session are accepted.
    pub(super) fn accepts_messages(&self) -> bool {
        match self {
            Self::New | Self::Open | Self::Cut => true,
            Self::Leaving(_) | Self::Held(_) => false,
            Self::Closing { accepts_messages } => *accepts_messages,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Phase::{Closing, Cut, New, Open};
    use super::*;

    fn close(code: u16) -> CloseReason {
        CloseReason::new(code, "")
    }

    fn leaving(code: u16, accepts_messages: bool) -> Phase {
        Phase::Leaving(Box::new(PendingClose { close: close(code), accepts_messages }))
    }

    fn held(code: u16, accepts_messages: bool) -> Phase {
        Phase::Held(Box::new(PendingClose { close: close(code), accepts_messages }))
    }

    /// One of each, in the order of the rows below.
    fn all() -> [Phase; 9] {
        [
            New,
            Open,
            leaving(1, true),
            leaving(1, false),
            held(1, true),
            held(1, false),
            Closing { accepts_messages: true },
            Closing { accepts_messages: false },
            Cut,
        ]
    }

    #[test]
    fn every_step_leads_from_every_phase_where_it_must() {
        type Step = fn(&mut Phase);
        let (heard, unheard) = (|| Closing { accepts_messages: true }, || Closing { accepts_messages: false });
        let open: Step = |phase| {
            phase.open();
        };
        let table: [(&str, Step, [Phase; 9]); 7] = [
            ("open", open, {
                let mut phases = all();
                phases[0] = Open;
                phases
            }),
            (
                "leave",
                |phase| phase.leave(close(2)),
                [
                    leaving(2, true),
                    leaving(2, true),
                    leaving(1, true),
                    leaving(1, false),
                    held(1, false),
                    held(1, false),
                    unheard(),
                    unheard(),
                    Cut,
                ],
            ),
            (
                "expel",
                |phase| phase.expel(close(2)),
                [
                    leaving(2, false),
                    leaving(2, false),
                    leaving(2, false),
                    leaving(2, false),
                    held(1, false),
                    held(1, false),
                    unheard(),
                    unheard(),
                    leaving(2, false),
                ],
            ),
            ("cut", Phase::cut, [Cut, Cut, Cut, Cut, held(1, true), held(1, false), heard(), unheard(), Cut]),
            (
                "hold",
                |phase| phase.hold(close(2)),
                [
                    held(2, true),
                    held(2, true),
                    held(1, true),
                    held(1, false),
                    held(1, true),
                    held(1, false),
                    heard(),
                    unheard(),
                    Cut,
                ],
            ),
            (
                "close_sent",
                Phase::close_sent,
                [heard(), heard(), heard(), unheard(), heard(), unheard(), heard(), unheard(), heard()],
            ),
            (
                "close_at_once",
                Phase::close_at_once,
                [heard(), heard(), unheard(), unheard(), unheard(), unheard(), heard(), unheard(), heard()],
            ),
        ];
        for (name, step, expected) in table {
            for ((mut phase, before), expected) in all().into_iter().zip(all()).zip(expected) {
                step(&mut phase);
                assert_eq!(phase, expected, "{name} from {before:?}");
            }
        }
    }

    #[test]
    fn a_phase_says_who_is_heard_and_what_is_said() {
        let row = |phase: &Phase| {
            let (leaves, held) = (phase.pending_close().is_some(), phase.held().is_some());
            (phase.accepts_messages(), phase.wants_close(), leaves, held, phase.has_closed())
        };
        let expected = [
            (true, false, false, false, false),
            (true, false, false, false, false),
            (false, true, true, false, false),
            (false, true, true, false, false),
            (false, false, false, true, false),
            (false, true, false, true, false),
            (true, false, false, false, true),
            (false, true, false, false, true),
            (true, false, false, false, false),
        ];
        for (phase, expected) in all().iter().zip(expected) {
            assert_eq!(row(phase), expected, "{phase:?}");
        }
    }

    #[test]
    fn a_session_opens_once() {
        let mut phase = New;
        assert!(phase.open() && !phase.open());
    }
}
