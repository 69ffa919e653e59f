//! What the admin address answers.
//!
//! Owns paths, methods, statuses and bodies. Leaves who may ask to `guard` and the live view to `events`. Invariant:
//! an answer is JSON or plain text that no browser takes for anything else, and is never kept by a cache.

use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use serde::Serialize;
use serde_json::json;
use url::form_urlencoded;

use super::guard::{self, Denied};
use super::{State, events};
use crate::message::Message;
use crate::message::clock::now;
use crate::message::control::{MAX_REASON, is_for_applications};
use crate::net::connection::CloseReason;
use crate::net::http::{Body, BodyError, RequestBody};
use crate::observe::control::{Intake, Refusal, Steer};
use crate::observe::health::Status;
use crate::observe::metrics::{self, Names};
use crate::percent::decode;

const INDEX: &str = "\
GET    /metrics                for Prometheus
GET    /health                 200 when well, 503 when not
GET    /sessions               lists the sessions
POST   /sessions/ID/messages   sends the body to a session, or to all with that name
POST   /sessions/ID/reconnect  reconnects a session that this side opened
POST   /sessions/ID/pause      pauses reading from it; /resume continues
POST   /sessions/ID/limit      limits reading to messages per second (?rate=10; 0: no limit)
DELETE /sessions/ID            closes a session, or all with that name (?code=1000&reason=…)
POST   /broadcast              sends the body to all sessions
GET    /events                 streams events
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'p> {
    Index,
    Metrics,
    Health,
    Sessions,
    Events,
    Broadcast,
    Session(&'p str),
    Messages(&'p str),
    Reconnect(&'p str),
    /// Reading from it, paused or not.
    Pause(&'p str, bool),
    Limit(&'p str),
}

impl<'p> Route<'p> {
    fn of(path: &'p str) -> Option<Self> {
        Some(match path {
            "/" => Self::Index,
            "/metrics" => Self::Metrics,
            "/health" => Self::Health,
            "/sessions" => Self::Sessions,
            "/events" => Self::Events,
            "/broadcast" => Self::Broadcast,
            _ => {
                let rest = path.strip_prefix("/sessions/")?;
                match rest.split_once('/') {
                    None if !rest.is_empty() => Self::Session(rest),
                    Some((id, "messages")) if !id.is_empty() => Self::Messages(id),
                    Some((id, "reconnect")) if !id.is_empty() => Self::Reconnect(id),
                    Some((id, "pause")) if !id.is_empty() => Self::Pause(id, true),
                    Some((id, "resume")) if !id.is_empty() => Self::Pause(id, false),
                    Some((id, "limit")) if !id.is_empty() => Self::Limit(id),
                    _ => return None,
                }
            }
        })
    }

    /// The methods it knows, as the Allow header names them.
    fn allows(self) -> &'static str {
        match self {
            Self::Broadcast | Self::Messages(_) | Self::Reconnect(_) | Self::Pause(..) | Self::Limit(_) => "POST",
            Self::Session(_) => "DELETE",
            _ => "GET, HEAD",
        }
    }

    fn knows(self, method: &Method) -> bool {
        self.allows().split(", ").any(|known| known == method.as_str())
    }
}

pub(super) async fn answer(state: Rc<State>, request: Request<RequestBody>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let checked = guard::check(&head.method, &head.uri, &head.headers, state.is_loopback, state.token.as_deref());
    if let Err(denied) = checked {
        return deny(denied);
    }
    let Some(route) = Route::of(head.uri.path()) else {
        return fault(StatusCode::NOT_FOUND, "unknown path; GET / lists all paths");
    };
    if !route.knows(&head.method) {
        let mut response = fault(StatusCode::METHOD_NOT_ALLOWED, "method not allowed for this path");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(route.allows()));
        return response;
    }
    match route {
        Route::Index => plain(StatusCode::OK, "text/plain; charset=utf-8", Body::whole(INDEX)),
        Route::Metrics => {
            let started = state.started.as_millisecond() as f64 / 1000.0;
            plain(StatusCode::OK, metrics::CONTENT_TYPE, Body::whole(metrics::text(&*state.run, &state.names, started)))
        }
        Route::Health => health(&state),
        Route::Sessions => as_json(StatusCode::OK, &state.run.sessions(usize::MAX)),
        Route::Events if head.method == Method::HEAD => plain(StatusCode::OK, events::CONTENT_TYPE, Body::whole("")),
        Route::Events => match events::body(state) {
            Some(body) => plain(StatusCode::OK, events::CONTENT_TYPE, body),
            None => fault(StatusCode::SERVICE_UNAVAILABLE, "too many open event streams"),
        },
        Route::Broadcast | Route::Messages(_) => {
            let message = match message(&state, &head.headers, body).await {
                Ok(message) => message,
                Err(response) => return response,
            };
            let delivering = match route {
                Route::Messages(id) => Rc::clone(&state.run).send(&decode(id), message),
                _ => Ok(Rc::clone(&state.run).broadcast(message)),
            };
            match delivering {
                Ok(delivering) => as_json(StatusCode::OK, &delivering.await),
                Err(refusal) => refuse(refusal),
            }
        }
        Route::Session(id) => close(&state, &decode(id), &head.uri),
        Route::Reconnect(id) if state.run.reconnect(id) => as_json(StatusCode::OK, &json!({ "id": id })),
        Route::Pause(id, paused) => pause(&state, &decode(id), paused),
        Route::Limit(id) => limit(&state, &decode(id), &head.uri),
        Route::Reconnect(_) => fault(StatusCode::NOT_FOUND, "no session with this id was opened by this side"),
    }
}

/// The health of a run as JSON, and its status.
pub(super) fn health_of(state: &State) -> (Status, serde_json::Value) {
    let (run, now) = (&state.run, now());
    let queues = run.queues();
    let depth: usize = queues.iter().map(|queue| queue.depth).sum();
    let utilization = queues.iter().map(|queue| queue.utilization).fold(0.0, f64::max);
    let health = state.health.borrow();
    let status = health.status(now);
    let rate = health.rate(now, state.messages());
    let (word, mode) = match state.names {
        Names::Own => (status.as_str(), run.mode()),
        Names::WebsocketInput { .. } => {
            let word = match status {
                Status::Ok if run.active() > 0 => "connected",
                Status::Ok => "disconnected",
                _ => status.as_str(),
            };
            (word, if run.is_server() { "server" } else { "client" })
        }
    };
    let value = json!({
        "healthy": status == Status::Ok,
        "status": word,
        "details": {
            "mode": mode,
            "connections": { "active": run.active(), "total": run.counters().connections.get() },
            "queue": { "depth": depth, "utilization": rounded(utilization) },
            "throughput": { "messages_per_second": rate.map(rounded) },
        },
    });
    (status, value)
}

/// To three places: more says nothing.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn health(state: &State) -> Response<Body> {
    let (status, value) = health_of(state);
    as_json(if status == Status::Ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &value)
}

/// The message that a request's body is.
async fn message(state: &State, headers: &http::HeaderMap, body: RequestBody) -> Result<Message, Response<Body>> {
    let is_binary = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"application/octet-stream")
    });
    let read = async {
        if body.is_larger_than(state.max_body) {
            return Err(BodyError::TooLarge(state.max_body));
        }
        // One body at a time is as large as the limit; four of them are what this may cost.
        let _place = state.bodies.acquire().await.map_err(|_| BodyError::Broken)?;
        body.read(state.max_body).await
    };
    let payload = read.await.map_err(|error| {
        let status = match error {
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken => StatusCode::BAD_REQUEST,
        };
        let mut response = fault(status, &error.to_string());
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    })?;
    if is_binary {
        return Ok(Message::binary(payload));
    }
    Message::text_from_bytes(payload).map_err(|_| {
        let text = "the body is not UTF-8; use Content-Type: application/octet-stream for a binary message";
        fault(StatusCode::BAD_REQUEST, text)
    })
}

fn close(state: &State, id: &str, uri: &Uri) -> Response<Body> {
    match close_of(uri.query().unwrap_or_default()) {
        Ok(close) => {
            let code = close.code;
            match state.run.steer(id, &Steer::Close(close)) {
                Ok(()) => as_json(StatusCode::OK, &json!({ "id": id, "code": code })),
                Err(refusal) => refuse(refusal),
            }
        }
        Err(text) => fault(StatusCode::BAD_REQUEST, text),
    }
}

fn pause(state: &State, id: &str, paused: bool) -> Response<Body> {
    match state.run.steer(id, &Steer::Intake(Intake::Paused(paused))) {
        Ok(()) => as_json(StatusCode::OK, &json!({ "id": id, "paused": paused })),
        Err(refusal) => refuse(refusal),
    }
}

fn limit(state: &State, id: &str, uri: &Uri) -> Response<Body> {
    match limit_of(uri.query().unwrap_or_default()) {
        Ok(rate) => match state.run.steer(id, &Steer::Intake(Intake::Limited(rate))) {
            Ok(()) => as_json(StatusCode::OK, &json!({ "id": id, "rate": rate })),
            Err(refusal) => refuse(refusal),
        },
        Err(text) => fault(StatusCode::BAD_REQUEST, text),
    }
}

/// How many messages a second a query allows; none where that is 0.
fn limit_of(query: &str) -> Result<Option<f64>, &'static str> {
    let mut given = form_urlencoded::parse(query.as_bytes());
    let (Some((name, value)), None) = (given.next(), given.next()) else {
        return Err("expected exactly one \
    parameter, rate");
    };
    let rate: Option<f64> = value.parse().ok().filter(|rate: &f64| name == "rate" && rate.is_finite() && *rate >= 0.0);
    let rate = rate.ok_or("rate must be a number of messages per second, 0 for no limit")?;
    Ok((rate > 0.0).then_some(rate))
}

/// What a query asks to close with: 1000 unless it says otherwise.
fn close_of(query: &str) -> Result<CloseReason, &'static str> {
    let mut close = CloseReason::new(1000, "");
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "code" => {
                let code = value.parse().ok().filter(|code| is_for_applications(*code));
                close.code = Some(code.ok_or("use close code 1000 or 3000-4999")?);
            }
            "reason" if value.len() > MAX_REASON => return Err("the close reason may have at most 123 bytes"),
            "reason" => close.reason = value.into_owned(),
            _ => return Err("unknown parameter; use code and reason"),
        }
    }
    Ok(close)
}

fn refuse(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::Unknown => fault(StatusCode::NOT_FOUND, "no session with this id or name"),
        Refusal::Unfit(text) => fault(StatusCode::CONFLICT, text),
    }
}

fn deny(denied: Denied) -> Response<Body> {
    match denied {
        Denied::Host => fault(StatusCode::FORBIDDEN, "on loopback the Host header must be localhost or an IP address"),
        Denied::Origin => fault(StatusCode::FORBIDDEN, "requests from pages of other origins are not allowed"),
        Denied::Token => {
            let mut response = fault(StatusCode::UNAUTHORIZED, "token required: Authorization: Bearer TOKEN");
            let challenge = HeaderValue::from_static("Bearer realm=\"wsp admin\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            response
        }
    }
}

fn fault(status: StatusCode, text: &str) -> Response<Body> {
    as_json(status, &json!({ "error": text }))
}

fn as_json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    plain(status, "application/json", Body::whole(text))
}

fn plain(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_what_it_says() {
        let table = [
            ("/", Some(Route::Index)),
            ("/metrics", Some(Route::Metrics)),
            ("/sessions", Some(Route::Sessions)),
            ("/sessions/s1", Some(Route::Session("s1"))),
            ("/sessions/s1/messages", Some(Route::Messages("s1"))),
            ("/sessions/s1/pause", Some(Route::Pause("s1", true))),
            ("/sessions/s1/resume", Some(Route::Pause("s1", false))),
            ("/sessions/s1/limit", Some(Route::Limit("s1"))),
            ("/sessions//limit", None),
            ("/sessions/", None),
            ("/sessions//messages", None),
            ("/sessions/s1/", None),
            ("/sessions/s1/messages/", None),
            ("/metrics/", None),
            ("//metrics", None),
            ("", None),
        ];
        for (path, route) in table {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn a_limit_is_a_number_or_none() {
        let table = [
            ("rate=10", Ok(Some(10.0))),
            ("rate=0.5", Ok(Some(0.5))),
            ("rate=0", Ok(None)),
            ("rate=-1", Err(())),
            ("rate=inf", Err(())),
            ("rate=x", Err(())),
            ("speed=1", Err(())),
            ("rate=1&rate=2", Err(())),
            ("", Err(())),
        ];
        for (query, expected) in table {
            assert_eq!(limit_of(query).map_err(|_| ()), expected, "{query}");
        }
    }

    #[test]
    fn only_close_codes_of_applications_are_sent() {
        let table = [
            ("", Some((1000, ""))),
            ("code=1000", Some((1000, ""))),
            ("code=3000&reason=b%20ye+%C3%BC", Some((3000, "b ye ü"))),
            ("code=4999", Some((4999, ""))),
            ("code=1001", None),
            ("code=1005", None),
            ("code=999", None),
            ("code=5000", None),
            ("code=", None),
            ("code=x", None),
            ("cod=1000", None),
        ];
        for (query, expected) in table {
            let close = close_of(query).ok().map(|close| (close.code.expect("a code"), close.reason));
            assert_eq!(close, expected.map(|(code, reason)| (code, reason.to_owned())), "{query}");
        }
        assert!(close_of(&format!("reason={}", "x".repeat(123))).is_ok());
        assert!(close_of(&format!("reason={}", "x".repeat(124))).is_err());
    }
}
