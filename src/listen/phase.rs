//! The life of a session, from the gate to its Close (pure).
//!
//! Leaves what is sent to the session's peer. Invariants: a session opens at most once; nothing leads back from its
//! Close, and only what that waits for goes out before it.

use crate::net::connection::CloseReason;

/// Where a session is in its life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its handler has not been told of it yet.
    New,
    /// Messages go both ways.
    Open,
    /// It closes once what was sent before has gone out.
    Leaving(Box<Farewell>),
    /// It closes once what its faults hold back has gone out; its handler sends nothing more.
    Held(Box<Farewell>),
    /// Our Close has gone out.
    Closing {
        /// Whether messages still count.
        hears: bool,
    },
    /// It ends without a word.
    Cut,
}

/// How a session closes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    close: CloseReason,
    /// Whether messages count once the Close has gone out, until then they do not.
    hears: bool,
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

    /// The handler wants it closed; the first word counts.
    pub(super) fn leave(&mut self, close: CloseReason) {
        match self {
            Self::New | Self::Open => *self = Self::Leaving(Box::new(Farewell { close, hears: true })),
            Self::Held(farewell) => farewell.hears = false,
            Self::Closing { hears } => *hears = false,
            Self::Leaving(_) | Self::Cut => {}
        }
    }

    /// It did what it may not: nothing of it counts any more.
    pub(super) fn expel(&mut self, close: CloseReason) {
        match self {
            Self::New | Self::Open | Self::Leaving(_) | Self::Cut => {
                *self = Self::Leaving(Box::new(Farewell { close, hears: false }));
            }
            Self::Held(farewell) => farewell.hears = false,
            Self::Closing { hears } => *hears = false,
        }
    }

    /// The handler wants it ended without a word, unless its Close is on its way.
    pub(super) fn cut(&mut self) {
        if matches!(self, Self::New | Self::Open | Self::Leaving(_)) {
            *self = Self::Cut;
        }
    }

    /// Its Close waits for what faults hold back.
    pub(super) fn hold(&mut self, close: CloseReason) {
        *self = match std::mem::replace(self, Self::Cut) {
            Self::New | Self::Open => Self::Held(Box::new(Farewell { close, hears: true })),
            Self::Leaving(farewell) => Self::Held(farewell),
            other => other,
        };
    }

    /// The Close that it left with has gone out.
    pub(super) fn say_farewell(&mut self) {
        match self {
            Self::New | Self::Open | Self::Cut => *self = Self::Closing { hears: true },
            Self::Leaving(farewell) | Self::Held(farewell) => *self = Self::Closing { hears: farewell.hears },
            Self::Closing { .. } => {}
        }
    }

    /// Another Close has gone out, whatever it wanted to say.
    pub(super) fn close_at_once(&mut self) {
        match self {
            Self::New | Self::Open | Self::Cut => *self = Self::Closing { hears: true },
            Self::Leaving(_) | Self::Held(_) => *self = Self::Closing { hears: false },
            Self::Closing { .. } => {}
        }
    }

    /// What to close with behind what was sent before.
    pub(super) fn leaves_with(&self) -> Option<&CloseReason> {
        match self {
            Self::Leaving(farewell) => Some(&farewell.close),
            _ => None,
        }
    }

    /// What to close with behind what faults hold back.
    pub(super) fn held(&self) -> Option<&CloseReason> {
        match self {
            Self::Held(farewell) => Some(&farewell.close),
            _ => None,
        }
    }

    /// Whether our Close has gone out.
    pub(super) fn has_closed(&self) -> bool {
        matches!(self, Self::Closing { .. })
    }

    /// Whether a Close is wanted, and not yet on its way.
    pub(super) fn wants_close(&self) -> bool {
        match self {
            Self::New | Self::Open | Self::Cut => false,
            Self::Leaving(_) => true,
            Self::Held(farewell) => !farewell.hears,
            Self::Closing { hears } => !hears,
        }
    }

    /// Whether messages count.
    pub(super) fn hears(&self) -> bool {
        match self {
            Self::New | Self::Open | Self::Cut => true,
            Self::Leaving(_) | Self::Held(_) => false,
            Self::Closing { hears } => *hears,
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

    fn leaving(code: u16, hears: bool) -> Phase {
        Phase::Leaving(Box::new(Farewell { close: close(code), hears }))
    }

    fn held(code: u16, hears: bool) -> Phase {
        Phase::Held(Box::new(Farewell { close: close(code), hears }))
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
            Closing { hears: true },
            Closing { hears: false },
            Cut,
        ]
    }

    #[test]
    fn every_step_leads_from_every_phase_where_it_must() {
        type Step = fn(&mut Phase);
        let (heard, unheard) = (|| Closing { hears: true }, || Closing { hears: false });
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
                "say_farewell",
                Phase::say_farewell,
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
            let (leaves, held) = (phase.leaves_with().is_some(), phase.held().is_some());
            (phase.hears(), phase.wants_close(), leaves, held, phase.has_closed())
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
