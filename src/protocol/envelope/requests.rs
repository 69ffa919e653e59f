//! What a peer may request, and how it is written.
//!
//! Pure: a request's payload in, a call out. Leaves carrying it out to `super`. Invariant: what cannot be understood is
//! refused with the words that would have been.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::throttle::{Counted, Limit};
use crate::filter::PeerFilter;

pub(super) const METHODS: [&str; 5] = ["backpressure", "subscribe", "replay", "status", "capabilities"];
/// Units of a rate, as they are shown.
pub(super) const UNITS: [&str; 6] =
    ["messages/second", "messages/minute", "messages/hour", "bytes/second", "bytes/minute", "bytes/hour"];

/// A request, understood.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// Send no faster; without a limit as fast as may be.
    Backpressure(Option<Rate>),
    /// Send only what the filter matches; without one all.
    Subscribe(Option<Subscription>),
    /// Send messages again.
    Replay {
        /// Those published within these times, in milliseconds of Unix time.
        span: RangeInclusive<i64>,
        /// At most so many, the latest.
        most: usize,
    },
    /// Say how things are.
    Status,
    /// Say what is understood.
    Capabilities,
}

/// A limit and how it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rate {
    pub limit: Limit,
    /// `rate_limit` as it was written.
    pub asked: Value,
    /// The unit as it is shown.
    pub unit: &'static str,
}

/// A filter and its source.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    /// The compiled filter.
    pub filter: PeerFilter,
    /// The jq it was compiled from.
    pub source: String,
}

/// A method's name where it is one of ours, for counting.
pub(super) fn label(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("unknown")
}

/// The method a request names.
pub(super) fn method(payload: &Value) -> &str {
    payload.get("method").and_then(Value::as_str).unwrap_or_default()
}

impl Call {
    /// Reads the payload of a request.
    ///
    /// # Errors
    /// In words, when it asks for something there is not.
    pub(super) fn read(payload: &Value) -> Result<Self, String> {
        let nothing = Value::Null;
        let params = payload.get("params").unwrap_or(&nothing);
        if !params.is_null() && !params.is_object() {
            return Err("params must be an object".to_owned());
        }
        match method(payload) {
            "backpressure" => rate(params).map(Self::Backpressure),
            "subscribe" => subscription(params).map(Self::Subscribe),
            "replay" => replay(params),
            "status" => Ok(Self::Status),
            "capabilities" => Ok(Self::Capabilities),
            "" => Err(format!("method is missing; known are {}", METHODS.join(", "))),
            other => {
                let short: String = other.chars().take(40).collect();
                Err(format!("unknown method {short}; known are {}", METHODS.join(", ")))
            }
        }
    }
}

/// `{"last":N}`, `{"from":MS,"to":MS}` with either end left out, or both.
fn replay(params: &Value) -> Result<Call, String> {
    let given = |name: &str| params.get(name).filter(|value| !value.is_null());
    if ["last", "from", "to"].into_iter().all(|name| given(name).is_none()) {
        return Err("params.last or params.from and params.to are missing, for example {\"last\":10}".to_owned());
    }
    let most = given("last").map(|last| {
        let last = last.as_u64().ok_or("params.last must be a whole number, for example {\"last\":10}")?;
        Ok::<_, String>(usize::try_from(last).unwrap_or(usize::MAX))
    });
    let time = |name: &str, unless: i64| match given(name) {
        None => Ok(unless),
        Some(time) => time.as_i64().ok_or_else(|| {
            format!("params.{name} must be a time in milliseconds since 1970, for example 1767312000000")
        }),
    };
    let (from, to) = (time("from", i64::MIN)?, time("to", i64::MAX)?);
    if from > to {
        return Err("params.from must not be later than params.to".to_owned());
    }
    Ok(Call::Replay { span: from..=to, most: most.transpose()?.unwrap_or(usize::MAX) })
}

fn rate(params: &Value) -> Result<Option<Rate>, String> {
    let rate = match params.get("rate_limit") {
        Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        _ => return Err("params.rate_limit must be a number, or null for no limit".to_owned()),
    };
    let (counted, seconds, unit) = match params.get("unit") {
        None | Some(Value::Null) => (Counted::Messages, 1.0, UNITS[0]),
        Some(Value::String(text)) => {
            unit(text).ok_or_else(|| format!("params.unit must be one of {}", UNITS.join(", ")))?
        }
        Some(_) => return Err("params.unit must be a text".to_owned()),
    };
    let limit = rate.as_f64().and_then(|number| Limit::new(number, counted, seconds));
    match limit {
        Some(limit) => Ok(Some(Rate { limit, asked: Value::Number(rate.clone()), unit })),
        None => Err("params.rate_limit must be 0 for a pause, or at least one a day".to_owned()),
    }
}

/// A unit, written with words in many ways: `messages_per_second`, `msg/s`, `per minute`, `bytes`.
fn unit(text: &str) -> Option<(Counted, f64, &'static str)> {
    let (mut counted, mut time) = (None, None);
    let lower = text.to_ascii_lowercase();
    for word in lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let (slot, value) = match word {
            "per" | "a" => continue,
            "message" | "messages" | "msg" | "msgs" => (&mut counted, 0),
            "byte" | "bytes" => (&mut counted, 1),
            "s" | "sec" | "second" | "seconds" => (&mut time, 0),
            "m" | "min" | "minute" | "minutes" => (&mut time, 1),
            "h" | "hour" | "hours" => (&mut time, 2),
            _ => return None,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    if counted.is_none() && time.is_none() {
        return None;
    }
    let (counted, time) = (counted.unwrap_or(0), time.unwrap_or(0));
    Some(([Counted::Messages, Counted::Bytes][counted], [1.0, 60.0, 3600.0][time], UNITS[counted * 3 + time]))
}

fn subscription(params: &Value) -> Result<Option<Subscription>, String> {
    match params.get("jq") {
        Some(Value::Null) => Ok(None),
        Some(Value::String(source)) if source.trim().is_empty() => Ok(None),
        Some(Value::String(source)) => {
            let filter = PeerFilter::compile(source).map_err(|error| format!("jq: {error}"))?;
            Ok(Some(Subscription { filter, source: source.clone() }))
        }
        _ => Err("params.jq must be a jq filter as text, or null for all".to_owned()),
    }
}

/// The payload of a reply.
pub(super) fn reply(result: Result<Value, String>) -> String {
    match result {
        Ok(result) => json!({"status": "ok", "result": result}),
        Err(error) => json!({"status": "error", "error": error}),
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, params: &Value) -> Result<String, String> {
        Call::read(&json!({"method": method, "params": params})).map(|call| format!("{call:?}"))
    }

    #[test]
    fn requests_are_understood() {
        for (method, params, wanted) in [
            ("status", Value::Null, "Status"),
            ("capabilities", json!({"ignored": 1}), "Capabilities"),
            ("replay", json!({"last": 10}), "Replay { span: -9223372036854775808..=9223372036854775807, most: 10 }"),
            ("replay", json!({"from": 5, "to": 5, "last": 0}), "Replay { span: 5..=5, most: 0 }"),
            ("replay", json!({"from": 5}), "Replay { span: 5..=9223372036854775807, most: 18446744073709551615 }"),
            ("subscribe", json!({"jq": null}), "Subscribe(None)"),
            ("subscribe", json!({"jq": " "}), "Subscribe(None)"),
            ("backpressure", json!({"rate_limit": null}), "Backpressure(None)"),
        ] {
            assert_eq!(read(method, &params).as_deref(), Ok(wanted));
        }
        assert!(read("subscribe", &json!({"jq": ".a > 1"})).unwrap().contains("source: \".a > 1\""));
        assert!(read("backpressure", &json!({"rate_limit": 1.50})).unwrap().contains("unit: \"messages/second\""));
        assert!(Call::read(&json!({"method": "status"})).is_ok());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (method, params, why) in [
            ("", Value::Null, "method is missing; known are backpressure, subscribe"),
            ("stop", Value::Null, "unknown method stop; known are"),
            ("status", json!([]), "params must be an object"),
            ("replay", Value::Null, "params.last"),
            ("replay", json!({"last": -1}), "params.last"),
            ("replay", json!({"last": "5"}), "params.last"),
            ("replay", json!({"last": 1.5}), "params.last"),
            ("replay", json!({"from": "today"}), "params.from must be a time in milliseconds"),
            ("replay", json!({"from": 2, "to": 1}), "not be later than params.to"),
            ("subscribe", json!({}), "params.jq"),
            ("subscribe", json!({"jq": 5}), "params.jq"),
            ("subscribe", json!({"jq": ".a |"}), "jq: expected term at column 5"),
            ("subscribe", json!({"jq": "def f: f; f"}), "may not use definitions"),
            ("backpressure", json!({}), "params.rate_limit must be a number"),
            ("backpressure", json!({"rate_limit": "10"}), "params.rate_limit must be a number"),
            ("backpressure", json!({"rate_limit": -1}), "0 for a pause"),
            ("backpressure", json!({"rate_limit": 0.00001}), "one a day"),
            ("backpressure", json!({"rate_limit": 1, "unit": "parsecs"}), "one of messages/second"),
            ("backpressure", json!({"rate_limit": 1, "unit": 5}), "must be a text"),
        ] {
            let error = read(method, &params).expect_err("an error");
            assert!(error.contains(why), "{method} {params}: {error}");
        }
        assert!(Call::read(&Value::Null).is_err() && Call::read(&json!("status")).is_err());
        assert!(read(&"x".repeat(10_000), &Value::Null).unwrap_err().len() < 200);
    }

    #[test]
    fn units_in_many_spellings() {
        for (text, shown) in [
            ("messages/second", UNITS[0]),
            ("messages_per_second", UNITS[0]),
            ("msg/s", UNITS[0]),
            ("per_second", UNITS[0]),
            ("Second", UNITS[0]),
            ("messages", UNITS[0]),
            ("messages per minute", UNITS[1]),
            ("msgs/min", UNITS[1]),
            ("per hour", UNITS[2]),
            ("bytes", UNITS[3]),
            ("bytes/s", UNITS[3]),
            ("bytes_per_minute", UNITS[4]),
            ("byte/h", UNITS[5]),
        ] {
            assert_eq!(unit(text).map(|(_, _, shown)| shown), Some(shown), "{text}");
        }
        for text in ["", "per", "/", "kilobytes", "second second", "messages bytes", "messages/fortnight"] {
            assert_eq!(unit(text), None, "{text}");
        }
        for shown in UNITS {
            assert_eq!(unit(shown).map(|(_, _, shown)| shown), Some(shown));
        }
    }

    #[test]
    fn labels_are_bounded() {
        assert_eq!((label("replay"), label("anything"), label("")), ("replay", "unknown", "unknown"));
    }
}
