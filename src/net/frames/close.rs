//! The payload of a Close frame: code and reason (RFC 6455, sections 5.5.1 and 7.4).

use tokio_tungstenite::tungstenite::error::ProtocolError;

use super::FrameError;
use crate::message::control::{MAX_CONTROL, MAX_REASON, may_be_sent};

/// Bytes of the code in front of the reason.
const CODE: usize = 2;

/// Code and reason of a Close frame (RFC 6455, sections 7.1.5 and 7.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloseReason {
    /// `None` when the frame carried no code (1005 in the APIs of others).
    pub code: Option<u16>,
    /// UTF-8, at most 123 bytes.
    pub reason: String,
}

impl CloseReason {
    /// Returns a reason with a code; the text is cut to what fits into a control frame.
    #[must_use]
    pub fn new(code: u16, reason: &str) -> Self {
        let mut end = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self { code: Some(code), reason: reason[..end].to_owned() }
    }

    /// Returns whether this is an orderly end: 1000, 1001 or no code at all.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        matches!(self.code, None | Some(1000 | 1001 | 1005))
    }

    /// Returns the payload of a Close frame that says so, at most 125 bytes.
    #[must_use]
    pub(crate) fn payload(&self) -> Vec<u8> {
        let Some(code) = self.code else { return Vec::new() };
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(self.reason.as_bytes());
        payload.truncate(MAX_CONTROL);
        payload
    }

    /// Reads the payload of a Close frame.
    ///
    /// # Errors
    /// A payload of one byte, a code that must not be sent, or a reason that is not UTF-8.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, FrameError> {
        let Some((code, reason)) = payload.split_first_chunk::<CODE>() else {
            return if payload.is_empty() {
                Ok(Self::default())
            } else {
                Err(ProtocolError::InvalidCloseSequence.into())
            };
        };
        let code = u16::from_be_bytes(*code);
        if !may_be_sent(code) {
            return Err(FrameError::CloseCode(code));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| FrameError::InvalidUtf8)?;
        Ok(Self { code: Some(code), reason: reason.to_owned() })
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.reason.is_empty()) {
            (None, _) => f.write_str("no code"),
            (Some(code), true) => write!(f, "{code}"),
            (Some(code), false) => write!(f, "{code} {}", self.reason.escape_debug()),
        }
    }
}
