//! Messages to send that may have a template in them, and the numbers they count by.

use std::cell::Cell;
use std::sync::Arc;

use super::template::{Template, TemplateError};
use crate::message::Message;
use crate::message::input::{InputKind, decode};

/// Something to send: text, perhaps with a template in it.
#[derive(Debug, Clone)]
pub(crate) enum Draft {
    Plain(Message),
    /// To be filled in each time; the result is written as the kind says.
    Template(Arc<Template>, InputKind),
}

impl Draft {
    /// Compiles a template; what it yields is written as `kind` says.
    ///
    /// # Errors
    /// [`DraftError::Template`].
    pub(crate) fn compile(source: &str, kind: InputKind) -> Result<Self, DraftError> {
        let template = Template::compile(source).map_err(DraftError::Template)?;
        Ok(Self::Template(Arc::new(template), kind))
    }
}

/// Why a draft did not become a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DraftError {
    /// The template cannot be filled in.
    #[error("--template: {0}")]
    Template(TemplateError),
    /// What it yields is not what its kind promises.
    #[error("{0}")]
    Input(String),
}

/// Fills drafts in; its numbers go on from draft to draft.
#[derive(Debug, Default)]
pub(crate) struct Filler {
    sequence: Cell<u64>,
}

impl Filler {
    /// The message to send now; a template is filled in with the next number. For a reply `value` is what its filter
    /// yielded.
    ///
    /// # Errors
    /// [`DraftError`].
    pub(crate) fn fill(&self, draft: &Draft, value: &str) -> Result<Message, DraftError> {
        match draft {
            Draft::Plain(message) => Ok(message.clone()),
            Draft::Template(template, kind) => {
                self.sequence.set(self.sequence.get() + u64::from(template.counts()));
                let text = template.render_reply(self.sequence.get(), value).map_err(DraftError::Template)?;
                decode(*kind, text.into_bytes()).map_err(DraftError::Input)
            }
        }
    }
}
