//! What control frames may carry (RFC 6455 sections 5.5 and 7.4): the one list of close codes.
//!
//! Leaves how a Close is written and read to `net/frames/close.rs`.

/// Longest payload of a control frame in bytes (RFC 6455 section 5.5).
pub(crate) const MAX_CONTROL: usize = 125;
/// Longest reason of a Close frame in bytes: what the code leaves.
pub(crate) const MAX_REASON: usize = MAX_CONTROL - 2;
/// The codes that may be sent, in words.
pub(crate) const SENDABLE: &str = "1000-1003, 1007-1014 or 3000-4999";

/// Returns whether a Close may carry this code (RFC 6455 section 7.4, and the registry it founded).
#[must_use]
pub(crate) fn may_be_sent(code: u16) -> bool {
    why_never_sent(code).is_none()
}

/// Returns why a Close may not carry this code, `None` if it may.
#[must_use]
pub(crate) fn why_never_sent(code: u16) -> Option<&'static str> {
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => None,
        1005 => Some("it means a close frame without a code"),
        1006 => Some("it means a connection that ended without a close frame"),
        1015 => Some("it means that TLS failed"),
        1004 | 1016..=2999 => Some("it is reserved"),
        _ => Some("it has no meaning"),
    }
}

/// Returns whether an application may close with this code, as in browsers: 1000, or 3000 to 4999.
#[must_use]
pub(crate) fn is_for_applications(code: u16) -> bool {
    matches!(code, 1000 | 3000..=4999)
}

/// Returns whether the code stands for the absence of one, as the programming interfaces of others tell it.
#[must_use]
pub(crate) fn stands_for_none(code: u16) -> bool {
    matches!(code, 1005 | 1006 | 1015)
}

/// Checks the reason of a Close frame.
///
/// # Errors
/// In words, if it is longer than [`MAX_REASON`] bytes.
pub(crate) fn check_reason(reason: &str) -> Result<(), String> {
    if reason.len() > MAX_REASON {
        return Err(format!("a close reason has at most {MAX_REASON} bytes, not {}", reason.len()));
    }
    Ok(())
}
