//! What a run of client sessions goes by. Code that builds it has checked and compiled everything: no illegal setting
//! can exist.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::opening::OpeningPlan;
use super::replay::ReplayPlan;
use crate::error::Error;
use crate::filter::{Draft, DraftError, Filter, Fold, Schema};
use crate::message::Message;
use crate::message::input::InputKind;
use crate::message::render::Format;
use crate::session::keepalive::KeepaliveSettings;
use crate::session::reconnect::ReconnectSettings;
use crate::source::framing::Framing;

/// For who has written a message in another way than the flags say.
pub(crate) const HOW_INPUT_IS_WRITTEN: &str = "--binary, --hex, --base64 and --input json say how input is written";

/// What happens to a message the filter cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonJson {
    Drop,
    Pass,
    /// The run fails.
    Error,
}

#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Not at all.
    None,
    Echo,
    /// With what the filter yields.
    Filter(Filter),
}

/// How long to keep receiving after the input has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until no message came for this long.
    Quiet(Duration),
    /// Until the peer closes.
    UntilClosed,
}

/// The validated plan of a run of client sessions.
pub(crate) struct Plan {
    /// What is said by itself: init messages, heartbeats.
    pub opening: Rc<OpeningPlan>,
    /// `-x` messages; `None` reads stdin.
    pub execute: Option<Vec<Draft>>,
    /// Everything that happens is recorded here.
    pub record: Option<PathBuf>,
    /// Sent instead of stdin.
    pub replay: Option<ReplayPlan>,
    pub input: InputKind,
    pub framing: Framing,
    /// Fill in templates in what stdin brings.
    pub template: bool,
    /// After the input has ended.
    pub wait: Wait,
    /// Messages do not begin the wait anew.
    pub fixed_wait: bool,
    /// Finish after so many messages.
    pub count: Option<u64>,
    /// Finish when this matches.
    pub expect: Option<Filter>,
    /// Time limit for `expect`.
    pub within: Option<Duration>,
    pub filter: Option<Filter>,
    /// State from message to message, behind the filter.
    pub fold: Option<Fold>,
    /// Print strings from the filter without quotes.
    pub raw_output: bool,
    /// Messages the filter cannot read.
    pub non_json: NonJson,
    pub reply: Reply,
    /// Shape of what arrives.
    pub schema: Option<Schema>,
    /// The first message without that shape ends the run.
    pub fail_on_invalid: bool,
    /// Most payload bytes in a frame we send.
    pub fragment: Option<usize>,
    pub format: Format,
    /// Whether stdout is a terminal, where control characters are escaped.
    pub to_terminal: bool,
    /// Several sessions, which are distinguished where a person reads.
    pub several: bool,
    /// Colours on stdout.
    pub colour: bool,
    /// Whether each message is prefixed with its time.
    pub timestamps: bool,
    /// Pings and pongs on stderr.
    pub show_ping_pong: bool,
    /// Handshake on stderr.
    pub verbose: bool,
    /// Only errors on stderr.
    pub quiet: bool,
    /// How long to wait for the peer's close frame.
    pub close_timeout: Duration,
    pub timeout: Option<Duration>,
    /// Pings and idle time.
    pub keepalive: KeepaliveSettings,
    /// Whether and when a session is connected again.
    pub reconnect: ReconnectSettings,
    /// End of input closes at once: a person typed Ctrl-D.
    pub interactive: bool,
    /// A dashboard shows everything, and a person says when it ends.
    pub dashboard: bool,
}

impl Plan {
    /// The message to send now; a template is filled in with the next number.
    ///
    /// # Errors
    /// A template that cannot be filled in, or yields what `--hex` or `--base64` cannot read.
    pub(crate) fn fill(&self, draft: &Draft) -> Result<Message, Error> {
        self.opening.filler.fill(draft, "").map_err(draft_error)
    }

    /// Whether every message's time matters, so that the clock is read for each.
    pub(crate) fn needs_clock(&self) -> bool {
        matches!(self.wait, Wait::Quiet(wait) if !wait.is_zero()) && !self.fixed_wait
    }

    /// Whether what arrives must be parsed, a filter for the output aside.
    pub(crate) fn needs_json(&self) -> bool {
        self.fold.is_some()
            || self.expect.is_some()
            || self.opening.marks.needs_json()
            || matches!(self.reply, Reply::Filter(_))
    }
}

/// Input that is not what the flags promised, with a hint.
pub(crate) fn input_error(text: impl Into<String>) -> Error {
    Error::usage(text, HOW_INPUT_IS_WRITTEN)
}

/// A draft that did not become a message.
pub(crate) fn draft_error(error: DraftError) -> Error {
    match error {
        DraftError::Template(error) => Error::Compile { flag: "--template", reason: error.to_string() },
        DraftError::Input(text) => input_error(text),
    }
}
