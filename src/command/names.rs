//! `--session-name`: the flag that says what sessions of a server are called.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use clap::Args;

use super::settings;
use crate::error::Error;
use crate::filter::Filter;

/// Names of sessions.
#[derive(Debug, Clone, Args)]
pub(crate) struct NameArgs {
    /// Name each session with this filter's output; a name works wherever an id does
    ///
    /// Several sessions may share a name; messages sent to it reach all of them. The filter gets {path, query, headers,
    /// peer,
    /// subject, claims, message}. subject is sub of the JSON Web Token, else the subject of the client's certificate;
    /// claims are
    /// the token's. A repeated header or query field is an array; secrets are omitted. Header names are in lower case.
    /// For example .path, .query.user, .headers.origin or .subject.
    ///
    /// The filter runs when the session opens, with message null (with --auth-message once the client is admitted). If
    /// that yields nothing, null, an empty text or an error, it runs once more with the first message: JSON, else a
    /// string, or null for binary. '.message.user' names a session by a field of it. The first output counts and the
    /// name stays.
    ///
    /// A name is text of at most 128 bytes; a number becomes its text. Anything else is counted as an error, and the
    /// session goes
    /// on without a name. Text that looks like an id (s7) always means the id. Event lines, $meta, /sessions and the
    /// dashboard show names.
    #[arg(long, value_name = "JQ", hide_short_help = true, help_heading = "Server sessions")]
    pub session_name: Option<String>,
}

impl NameArgs {
    /// The filter that names sessions.
    ///
    /// # Errors
    /// A filter that does not compile.
    pub(crate) fn filter(&self) -> Result<Option<Filter>, Error> {
        self.session_name.as_deref().map(|source| settings::filter("--session-name", source)).transpose()
    }
}
