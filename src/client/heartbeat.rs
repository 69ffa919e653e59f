//! Tells answers to heartbeats from messages that mean something (pure).
//!
//! Invariants: no more answers are recognised than heartbeats were sent; what cannot be recognised is a message.

use serde_json::Value;

use crate::message::Message;

/// Longest message that may be an answer: heartbeats and their answers are short.
const LONGEST: usize = 4096;
/// The word that answers a ping, in every protocol that has one.
const PONG: &str = "pong";
/// Fields by which an answer names its question.
const NAMES: [&str; 4] = ["id", "ref", "reply_to", "req_id"];

/// Heartbeats that were sent and not answered.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats {
    last: Option<Message>,
    unanswered: u32,
}

impl Heartbeats {
    /// Notes that one was sent.
    pub(crate) fn sent(&mut self, message: &Message) {
        self.last = Some(message.clone());
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Notes a received message, and returns whether it answers a heartbeat.
    pub(crate) fn is_answer(&mut self, message: &Message) -> bool {
        let Some(last) = self.last.as_ref().filter(|_| self.unanswered > 0) else { return false };
        let is_answer = answers(last.payload(), message.payload());
        self.unanswered -= u32::from(is_answer);
        is_answer
    }
}

/// Whether it is the heartbeat itself, says pong, or names the heartbeat's id.
fn answers(heartbeat: &[u8], message: &[u8]) -> bool {
    if heartbeat == message {
        return true;
    }
    if message.len() > LONGEST {
        return false;
    }
    let says_pong = |text: &str| text.trim().eq_ignore_ascii_case(PONG);
    let Ok(answer) = serde_json::from_slice::<Value>(message) else {
        return std::str::from_utf8(message).is_ok_and(says_pong);
    };
    match &answer {
        Value::String(text) => says_pong(text),
        Value::Object(fields) => {
            if fields.contains_key(PONG) || fields.values().any(|value| value.as_str().is_some_and(says_pong)) {
                return true;
            }
            let Ok(Value::Object(asked)) = serde_json::from_slice(heartbeat) else { return false };
            let id = NAMES.iter().find_map(|name| asked.get(*name)).filter(|id| !id.is_null());
            id.is_some_and(|id| NAMES.iter().any(|name| fields.get(*name) == Some(id)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_messages() {
        for (heartbeat, message, expected) in [
            ("ping", "ping", true),
            ("ping", "pong", true),
            ("ping", "Pong\n", true),
            ("ping", "\"pong\"", true),
            (r#"{"op":"ping"}"#, r#"{"op":"pong"}"#, true),
            (r#"{"op":"ping"}"#, r#"{"success":true,"ret_msg":"pong","op":"ping"}"#, true),
            (r#"{"ping":1}"#, r#"{"pong":1}"#, true),
            (r#"{"id":7,"method":"ping"}"#, r#"{"id":7,"result":null}"#, true),
            (r#"{"id":1,"type":"ping"}"#, r#"{"reply_to":1,"type":"ok"}"#, true),
            (r#"{"id":7,"method":"ping"}"#, r#"{"id":8,"result":null}"#, false),
            (r#"{"id":null}"#, r#"{"id":null}  "#, false),
            (r#"{"op":"ping"}"#, r#"{"op":"trade","price":1}"#, false),
            (r#"{"op":"ping"}"#, r#"{"id":7}"#, false),
            ("ping", "pongs are not answers", false),
            ("ping", r#"["pong"]"#, false),
            ("ping", "7", false),
        ] {
            assert_eq!(answers(heartbeat.as_bytes(), message.as_bytes()), expected, "{heartbeat} {message}");
        }
    }

    #[test]
    fn there_are_no_more_answers_than_heartbeats() {
        let mut heartbeats = Heartbeats::default();
        let pong = Message::text("pong");
        assert!(!heartbeats.is_answer(&pong));
        heartbeats.sent(&Message::text("ping"));
        assert!(!heartbeats.is_answer(&Message::text("news")));
        assert!(heartbeats.is_answer(&pong));
        assert!(!heartbeats.is_answer(&pong));
    }
}
