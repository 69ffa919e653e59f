//! The `_bulk` request of OpenSearch and Elasticsearch: what is written, and what its answer says of each document (pure).
//!
//! Invariant: a document and the line before it belong together, and are written or left out together.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::settings::Action;
use crate::queue::end::Problem;
use crate::session::reconnect::RetryOn;
use crate::sink::line;

const MAX_REASON: usize = 300;
/// How often the server tries an update again that met another one.
const UPDATE_RETRIES: u32 = 3;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub index: String,
    pub id: Option<String>,
    pub routing: Option<String>,
}

/// Appends a document, which must be a JSON object, and the line that says what to do with it.
pub(super) fn append(body: &mut Vec<u8>, action: Action, target: &Target, document: &[u8]) {
    let mut fields = Map::new();
    fields.insert("_index".to_owned(), target.index.clone().into());
    fields.extend(target.id.clone().map(|id| ("_id".to_owned(), id.into())));
    fields.extend(target.routing.clone().map(|routing| ("routing".to_owned(), routing.into())));
    if action == Action::Update {
        fields.insert("retry_on_conflict".to_owned(), UPDATE_RETRIES.into());
    }
    body.extend_from_slice(json!({ action.name(): fields }).to_string().as_bytes());
    body.push(b'\n');
    if action == Action::Update {
        body.extend_from_slice(b"{\"doc_as_upsert\":true,\"doc\":");
    }
    let start = body.len();
    body.extend_from_slice(document);
    line::flatten(&mut body[start..]);
    if action == Action::Update {
        body.push(b'}');
    }
    body.push(b'\n');
}

#[derive(Deserialize)]
struct Bulk {
    items: Vec<Map<String, Value>>,
}

/// Reads what became of each document; `None` when the answer is not one to a `_bulk` request of so many.
pub(super) fn fates<'t>(
    answer: &[u8],
    action: Action,
    targets: &'t [Target],
    retry_on: &RetryOn,
) -> Option<Vec<Result<(), Problem>>> {
    let bulk: Bulk = serde_json::from_slice(answer).ok()?;
    if bulk.items.len() != targets.len() {
        return None;
    }
    // What comes behind a document with the same id that is written again must be written after it.
    let mut waiting: Vec<&'t Target> = Vec::new();
    let fate = |(item, target): (&Map<String, Value>, &'t Target)| {
        let result = item_fate(item, action, target, retry_on)?;
        let is_behind = target.id.is_some() && waiting.contains(&target);
        let result = match result {
            Ok(()) if is_behind => {
                Err(Problem::Again { reason: "an earlier one was rejected".to_owned(), after: None })
            }
            other => other,
        };
        if matches!(result, Err(Problem::Again { .. })) {
            waiting.push(target);
        }
        Some(result)
    };
    bulk.items.iter().zip(targets).map(fate).collect()
}

fn item_fate(
    item: &Map<String, Value>,
    action: Action,
    target: &Target,
    retry_on: &RetryOn,
) -> Option<Result<(), Problem>> {
    let outcome = item.values().next()?;
    let status = u16::try_from(outcome.get("status")?.as_u64()?).ok()?;
    let reason = || format!("{status}{}", error_text(outcome.get("error")));
    Some(match status {
        200..=299 => Ok(()),
        // It is there already: this is what an earlier try that was not answered leaves behind.
        409 if action == Action::Create && target.id.is_some() => Ok(()),
        // Others kept changing it.
        409 if action == Action::Update => Err(Problem::Again { reason: reason(), after: None }),
        status if retry_on.contains(status) => Err(Problem::Again { reason: reason(), after: None }),
        _ => Err(Problem::Never(reason())),
    })
}

/// What the server says is wrong, and what it says caused that.
fn error_text(error: Option<&Value>) -> String {
    let Some(error) = error else { return String::new() };
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.get("type").and_then(Value::as_str);
        let reason = error.get("reason").and_then(Value::as_str).or_else(|| error.as_str());
        for part in kind.into_iter().chain(reason) {
            text.push_str(if text.is_empty() { " " } else { ": " });
            text.push_str(part);
        }
        next = error.get("caused_by");
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: Option<&str>) -> Target {
        Target { index: "i".to_owned(), id: id.map(str::to_owned), routing: None }
    }

    #[test]
    fn a_document_and_its_line_stand_together() {
        let written = |action, target: &Target, document: &str| {
            let mut body = Vec::new();
            append(&mut body, action, target, document.as_bytes());
            String::from_utf8(body).expect("text")
        };
        assert_eq!(
            written(Action::Index, &target(None), "{\"a\":\r\n 1}"),
            "{\"index\":{\"_index\":\"i\"}}\n{\"a\":   1}\n"
        );
        let routed = Target { routing: Some("r".to_owned()), ..target(Some("x\"y")) };
        assert_eq!(
            written(Action::Create, &routed, "{}"),
            "{\"create\":{\"_index\":\"i\",\"_id\":\"x\\\"y\",\"routing\":\"r\"}}\n{}\n"
        );
        assert_eq!(
            written(Action::Update, &target(Some("1")), "{\"a\":1}"),
            "{\"update\":{\"_index\":\"i\",\"_id\":\"1\",\"retry_on_conflict\":3}}\n{\"doc_as_upsert\":true,\"doc\":{\"a\":1}}\n"
        );
    }

    #[test]
    fn each_document_has_its_own_outcome() {
        let judged = |action: Action, id: Option<&str>, item: Value| {
            let answer = json!({ "errors": true, "items": [item] }).to_string();
            let fates = fates(answer.as_bytes(), action, &[target(id)], &RetryOn::default());
            match fates.map(|mut fates| fates.remove(0)) {
                None => "no answer".to_owned(),
                Some(Ok(())) => "taken".to_owned(),
                Some(Err(Problem::Again { reason, .. })) => format!("again {reason}"),
                Some(Err(Problem::Never(reason))) => format!("never {reason}"),
                Some(Err(Problem::Broken(error))) => format!("broken {error}"),
            }
        };
        let parsing = json!({"type": "mapper_parsing_exception", "reason": "failed to parse field [a]",
            "caused_by": {"type": "number_format_exception", "reason": "For input string: \"x\""}});
        let busy = json!({"type": "es_rejected_execution_exception", "reason": "queue is full"});
        let table = [
            (Action::Index, None, json!({"index": {"status": 201}}), "taken"),
            (
                Action::Index,
                None,
                json!({"index": {"status": 400, "error": parsing}}),
                "never 400 mapper_parsing_exception: failed to parse field [a]: number_format_exception: \
                 For input string: \"x\"",
            ),
            (
                Action::Index,
                None,
                json!({"index": {"status": 429, "error": busy}}),
                "again 429 es_rejected_execution_exception: queue is full",
            ),
            (Action::Index, None, json!({"index": {"status": 503}}), "again 503"),
            (Action::Create, Some("1"), json!({"create": {"status": 409}}), "taken"),
            (Action::Create, None, json!({"create": {"status": 409}}), "never 409"),
            (Action::Index, Some("1"), json!({"index": {"status": 409}}), "never 409"),
            (Action::Update, Some("1"), json!({"update": {"status": 409}}), "again 409"),
            (Action::Index, None, json!({"index": {"status": 404, "error": "gone\n"}}), "never 404 gone "),
            (Action::Index, None, json!({"index": {}}), "no answer"),
        ];
        for (action, id, item, expected) in table {
            assert_eq!(judged(action, id, item.clone()), expected, "{item}");
        }
        assert!(fates(b"{\"items\":[]}", Action::Index, &[target(None)], &RetryOn::default()).is_none());
        assert!(fates(b"<html>", Action::Index, &[], &RetryOn::default()).is_none());
    }

    #[test]
    fn what_has_the_same_id_stays_in_order() {
        let answer = br#"{"items":[{"index":{"status":429}},{"index":{"status":201}},{"index":{"status":201}}]}"#;
        let targets = [target(Some("a")), target(Some("b")), target(Some("a"))];
        let fates = fates(answer, Action::Index, &targets, &RetryOn::default()).expect("fates");
        assert_eq!(fates.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
        let targets = [target(None), target(None), target(None)];
        let fates = super::fates(answer, Action::Index, &targets, &RetryOn::default()).expect("fates");
        assert_eq!(fates.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true]);
    }
}
