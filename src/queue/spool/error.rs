//! What can be wrong with a spool, for the person who must act.

use std::io;
use std::path::PathBuf;

use crate::exit::Exit;
use crate::message::io_text::io_text;
use crate::queue::end::EndError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Another process writes it.
    #[error("another process has it open")]
    InUse,
    /// There is none.
    #[error("no such spool")]
    Missing,
    /// It was written by a version that does it differently.
    #[error("it has the format of another version of wsp ({0})")]
    Format(u64),
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The file system says no.
    #[error("cannot {doing}: {why}")]
    Io { doing: &'static str, why: String },
}

/// A spool that cannot be used, or not any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spool {}: {cause}", .directory.display())]
pub struct SpoolError {
    pub directory: PathBuf,
    pub cause: Cause,
}

impl SpoolError {
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.cause {
            Cause::InUse => "only one relay can use a spool; use another directory with --spool DIR",
            Cause::Missing => "use the directory the relay was started with",
            Cause::Format(_) => "deliver its messages with the version that wrote it, or use another directory",
            Cause::Damaged(_) => {
                "move the directory away and start with an empty one; queued messages stay in the \
            old one"
            }
            Cause::Io { .. } => {
                "free disk space or fix permissions, or use another directory with --spool DIR; stored messages are \
                 kept"
            }
        }
    }
}

impl From<SpoolError> for EndError {
    fn from(error: SpoolError) -> Self {
        Self::new(Exit::Storage, error.to_string()).hint(error.hint())
    }
}

impl Cause {
    /// From an error of the file system.
    pub(super) fn io(doing: &'static str, error: &io::Error) -> Self {
        Self::Io { doing, why: io_text(error) }
    }

    pub(super) fn store(doing: &'static str, error: &redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Self::Damaged(error.to_string()),
            redb::Error::Io(error) => Self::io(doing, error),
            redb::Error::Corrupted(text) => Self::Damaged(text.clone()),
            redb::Error::UpgradeRequired(version) => Self::Format(u64::from(*version)),
            other => Self::Io { doing, why: other.to_string() },
        }
    }
}
