//! Flags of `wsp listen` that make it behave badly on purpose.
//!
//! Owns their spelling and help, and turning them into settings. Leaves the faults to `listen/faults`.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::time::Duration;

use clap::Args;
use http::StatusCode;
use http::header::HeaderValue;

use super::values::{close, duration, frame_size, share};
use crate::listen::faults::{CloseAfter, FaultSettings};
use crate::net::connection::CloseReason;
use crate::net::head::SpelledName;
use crate::net::listener::Refuse;

/// What goes wrong on purpose.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Faults")]
pub(crate) struct FaultArgs {
    /// Delay each message by D, plus or minus up to J: 200ms, 200ms±50ms or 200ms+-50ms
    ///
    /// Delayed messages overlap and keep their order. Reading pauses when --queue-size or --queue-bytes is reached. All
    /// faults apply to messages the server sends, not to pings and close frames.
    #[arg(long, value_name = "D[±J]", value_parser = delay, hide_short_help = true)]
    pub delay: Option<(Duration, Duration)>,
    /// Drop this share of the messages: 5%, 0.05 or 1/20
    #[arg(long, value_name = "P", value_parser = share, hide_short_help = true)]
    pub loss: Option<f64>,
    /// Change a character or byte in this share of the messages
    #[arg(long, value_name = "P", value_parser = share, hide_short_help = true)]
    pub corrupt: Option<f64>,
    /// Send this share of the messages twice
    #[arg(long, value_name = "P", value_parser = share, hide_short_help = true)]
    pub duplicate: Option<f64>,
    /// Stop reading and writing periodically: '2s every 10s', first after 10 s of a session
    #[arg(long, value_name = "D every D", value_parser = stall, hide_short_help = true)]
    pub stall: Option<(Duration, Duration)>,
    /// Close each session after N messages (both directions together) or after D, once pending answers are sent
    #[arg(long, value_name = "N|D", value_parser = close_after, hide_short_help = true)]
    pub close_after: Option<CloseAfter>,
    /// Close with this code; without --close-after right after opening [default: 1000]
    #[arg(long, value_name = "CODE[:REASON]", value_parser = close, hide_short_help = true)]
    pub close: Option<CloseReason>,
    /// Answer every upgrade with this status, and BODY; -H adds headers
    #[arg(long, value_name = "STATUS[:BODY]", value_parser = reject, hide_short_help = true)]
    pub reject: Option<Refuse>,
    /// Do not answer pings
    #[arg(long, hide_short_help = true)]
    pub no_pong: bool,
    /// Send messages in frames of at most this many payload bytes, not in one each
    #[arg(long, value_name = "N", value_parser = frame_size, hide_short_help = true)]
    pub fragment: Option<usize>,
    /// Seed of the random faults; the same seed repeats them [default: random, printed]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub seed: Option<u64>,
}

impl FaultArgs {
    /// What goes wrong in sessions, when anything does.
    #[must_use]
    pub(crate) fn settings(&self) -> Option<FaultSettings> {
        let settings = FaultSettings {
            delay: self.delay,
            loss: self.loss.unwrap_or_default(),
            corrupt: self.corrupt.unwrap_or_default(),
            duplicate: self.duplicate.unwrap_or_default(),
            stall: self.stall,
            close_after: self.close_after,
            close: self.close.clone(),
            no_pong: self.no_pong,
            fragment: self.fragment,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
        };
        Some(settings).filter(FaultSettings::is_any)
    }

    /// The answer to every upgrade, with these headers.
    #[must_use]
    pub(crate) fn rejection(&self, headers: &[(SpelledName, HeaderValue)]) -> Option<Refuse> {
        let mut reject = self.reject.clone()?;
        reject.headers.extend_from_slice(headers);
        Some(reject)
    }
}

fn delay(text: &str) -> Result<(Duration, Duration), String> {
    let (time, jitter) = text.split_once('±').or_else(|| text.split_once("+-")).unwrap_or((text, "0"));
    let (time, jitter) = (duration(time.trim())?, duration(jitter.trim())?);
    if jitter > time {
        return Err("the part after ± must not exceed the part before it".to_owned());
    }
    Ok((time, jitter))
}

fn stall(text: &str) -> Result<(Duration, Duration), String> {
    let (time, every) =
        text.split_once(" every ").ok_or_else(|| format!("invalid stall '{text}'; use e.g. '2s every 10s'"))?;
    let (time, every) = (duration(time.trim())?, duration(every.trim())?);
    if time.is_zero() || time >= every {
        return Err("a stall must be longer than 0 and shorter than its interval".to_owned());
    }
    Ok((time, every))
}

fn close_after(text: &str) -> Result<CloseAfter, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(count) = text.parse()
    {
        return Ok(CloseAfter::Messages(count));
    }
    duration(text).map(CloseAfter::Time).map_err(|_| {
        format!(
            "invalid value '{text}'; use a number of messages or a \
    duration"
        )
    })
}

fn reject(text: &str) -> Result<Refuse, String> {
    let (status, body) = text.split_once(':').map_or((text, None), |(status, body)| (status, Some(body)));
    let status = status.trim().parse::<u16>().ok().filter(|status| (200..=599).contains(status));
    let status = status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| format!("invalid status '{text}'; it must start with 200-599"))?;
    let has_none = matches!(status.as_u16(), 204 | 205 | 304);
    if has_none && body.is_some_and(|body| !body.is_empty()) {
        return Err(format!("a {} response has no body", status.as_u16()));
    }
    let body = body.or(Some("").filter(|_| has_none)).map(|body| body.to_owned().into());
    Ok(Refuse { body, ..Refuse::new(status, "rejected on purpose") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn reads_delays_and_stalls() {
        for (text, expected) in [
            ("200ms", Some((200 * MS, Duration::ZERO))),
            ("1s±50ms", Some((1000 * MS, 50 * MS))),
            ("1s+-50ms", Some((1000 * MS, 50 * MS))),
            ("1s ± 1s", Some((1000 * MS, 1000 * MS))),
            ("1", Some((1000 * MS, Duration::ZERO))),
            ("1s±2s", None),
            ("±2s", None),
            ("1s±", None),
            ("", None),
        ] {
            assert_eq!(delay(text).ok(), expected, "{text}");
        }
        for (text, expected) in [
            ("2s every 10s", Some((2000 * MS, 10_000 * MS))),
            ("100ms  every  1m", Some((100 * MS, 60_000 * MS))),
            ("2s", None),
            ("2s every", None),
            ("0 every 1s", None),
            ("1s every 1s", None),
            ("2s every 1s", None),
        ] {
            assert_eq!(stall(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn reads_ends() {
        for (text, expected) in [
            ("5", Some(CloseAfter::Messages(5))),
            ("0", Some(CloseAfter::Messages(0))),
            ("5s", Some(CloseAfter::Time(5000 * MS))),
            ("1.5", Some(CloseAfter::Time(1500 * MS))),
            ("-1", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(close_after(text).ok(), expected, "{text}");
        }
        assert_eq!(close("4000"), Ok(CloseReason::new(4000, "")));
        assert_eq!(close("1011:a: b"), Ok(CloseReason::new(1011, "a: b")));
        for (text, complaint) in [
            ("1005", "without a code"),
            ("1006", "without a close frame"),
            ("1015", "TLS"),
            ("1004", "reserved"),
            ("2000", "reserved"),
            ("999", "no meaning"),
            ("5000", "no meaning"),
            ("70000", "invalid close code"),
            ("x", "invalid close code"),
            ("", "invalid close code"),
        ] {
            assert!(close(text).is_err_and(|error| error.contains(complaint)), "{text}: {:?}", close(text));
        }
        assert!(close(&format!("1000:{}", "x".repeat(124))).is_err());
    }

    #[test]
    fn reads_rejections() {
        let read = |text| reject(text).map(|refuse| (refuse.status.as_u16(), refuse.body));
        assert_eq!(read("503"), Ok((503, None)));
        assert_eq!(read("429:{\"a\":1}"), Ok((429, Some("{\"a\":1}".into()))));
        assert_eq!(read("200:"), Ok((200, Some("".into()))));
        assert_eq!(read("204"), Ok((204, Some("".into()))));
        for text in ["204:x", "101", "100", "600", "0", "x", "", "-1", "99999"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
