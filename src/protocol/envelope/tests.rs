//! Sessions of the envelope protocol, as scripts.

use jiff::Timestamp;

use super::*;

/// One side at a pretended time, and what it wanted done since last asked.
pub(super) struct Side {
    pub envelope: Envelope,
    start: Instant,
    at: Duration,
    effects: Vec<Effect>,
}

impl Side {
    pub(super) fn with(settings: &Rc<EnvelopeSettings>, prefix: &str) -> Self {
        let envelope = Envelope::new(Rc::clone(settings), prefix.to_owned());
        Self { envelope, start: Instant::now(), at: Duration::ZERO, effects: Vec::new() }
    }

    fn limited(limits: Limits) -> Self {
        let mut side = Self::with(&Rc::new(EnvelopeSettings::new(limits, Vec::new())), "p");
        assert_eq!(side.opens(), []);
        side
    }

    pub(super) fn opened() -> Self {
        Self::limited(Limits::default())
    }

    fn now(&self) -> Now {
        Now { instant: self.start + self.at, time: Timestamp::from_millisecond(1000).unwrap() }
    }

    fn done(&mut self) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.effects);
        // Its own table says that it is counted.
        effects.retain(|effect| !matches!(effect, Effect::Measured(Measure::Envelope(_))));
        effects
    }

    /// What came of an action, without what was left of earlier ones.
    fn act(&mut self, action: impl FnOnce(&mut Envelope, Now, &mut Vec<Effect>)) -> Vec<Effect> {
        self.effects.clear();
        let now = self.now();
        action(&mut self.envelope, now, &mut self.effects);
        self.done()
    }

    pub(super) fn opens(&mut self) -> Vec<Effect> {
        self.act(Envelope::on_open)
    }

    pub(super) fn gets(&mut self, text: &str) -> Vec<Effect> {
        self.act(|envelope, now, effects| envelope.on_message(Message::text(text), now, effects))
    }

    pub(super) fn sends(&mut self, text: &str, ticket: Option<Ticket>) -> Vec<Effect> {
        self.act(|envelope, now, effects| envelope.on_outgoing(Message::text(text), ticket, now, effects))
    }

    pub(super) fn learns(&mut self, ticket: Ticket, outcome: Outcome) -> Vec<Effect> {
        self.act(|envelope, now, effects| envelope.on_outcome(ticket, outcome, now, effects))
    }

    fn wait(&mut self, time: Duration) -> Vec<Effect> {
        self.at += time;
        self.act(Envelope::on_time)
    }

    fn fills(&mut self, waiting: u64, capacity: u64) -> Vec<Effect> {
        self.act(|envelope, now, effects| envelope.on_depth(Depth { waiting, capacity }, now, effects))
    }

    pub(super) fn takes(&self) -> bool {
        self.envelope.takes_outgoing(self.now())
    }

    /// The reply to a request.
    fn asks(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        let effects = self.gets(
            &json!({"type": "request", "id": "r", "timestamp": 1, "payload": {"method": method, "params": params}})
                .to_string(),
        );
        assert!(matches!(effects[0], Effect::Measured(Measure::Request(Direction::In, _))), "{effects:?}");
        let reply = sent(&effects[1]);
        assert_eq!((&reply["type"], &reply["id"]), (&json!("reply"), &json!("r")));
        self.effects = effects[2..].to_vec();
        match reply["payload"]["status"].as_str() {
            Some("ok") => Ok(reply["payload"]["result"].clone()),
            _ => Err(reply["payload"]["error"].as_str().expect("an error").to_owned()),
        }
    }
}

fn sent(effect: &Effect) -> Value {
    match effect {
        Effect::Send(message) => serde_json::from_str(message.as_text().expect("text")).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

fn sending(text: &str) -> Effect {
    Effect::Send(Message::text(text))
}

fn payloads(effects: &[Effect]) -> Vec<Value> {
    let data = effects.iter().filter(|effect| matches!(effect, Effect::Send(_))).map(sent);
    data.filter(|envelope| envelope["type"] == "data").map(|envelope| envelope["payload"].clone()).collect()
}

#[test]
fn data_is_sent_and_settled_by_its_answer() {
    let mut side = Side::opened();
    assert_eq!(
        side.sends(r#"{"a":1}"#, Some(7)),
        [sending(r#"{"type":"data","id":"p-1","timestamp":1000,"payload":{"a":1}}"#)]
    );
    assert_eq!(side.sends("two", None), [sending(r#"{"type":"data","id":"p-2","timestamp":1000,"payload":"two"}"#)]);
    assert_eq!(side.sends("three", Some(9))[..].len(), 1);
    assert_eq!(side.envelope.unsettled(), 3);
    assert_eq!(side.gets(r#"{"type":"ack","id":"p-2","timestamp":1}"#), [Effect::Settled(None, Outcome::Taken)]);
    assert_eq!(side.gets(r#"{"type":"ack","id":"p-1","timestamp":1}"#), [Effect::Settled(Some(7), Outcome::Taken)]);
    let why = Outcome::Rejected("full: no room".to_owned());
    let nack = r#"{"type":"nack","id":"p-3","timestamp":1,"payload":{"reason":"full","error":"no room"}}"#;
    assert_eq!(side.gets(nack), [Effect::Settled(Some(9), why)]);
    // Answers that come twice, or to what was never asked, change nothing.
    for again in [
        nack,
        r#"{"type":"ack","id":"p-1"}"#,
        r#"{"type":"ack","id":"q-1"}"#,
        r#"{"type":"ack","id":7}"#,
        r#"{"type":"reply","id":"p-1"}"#,
    ] {
        assert_eq!(side.gets(again), []);
    }
    assert_eq!(side.envelope.unsettled(), 0);
}

#[test]
fn data_is_delivered_and_answered_by_its_outcome() {
    let mut side = Side::opened();
    let first = r#"{"type":"data","id":"a","timestamp":1,"payload":{"n": 1.50}}"#;
    let second = r#"{"type":"data","id":8,"timestamp":1,"payload":"text"}"#;
    assert_eq!(side.gets(first), [Effect::Deliver(Message::text(r#"{"n": 1.50}"#), Some(1))]);
    assert_eq!(side.gets(second), [Effect::Deliver(Message::text("text"), Some(2))]);
    // Sent again before it is decided: nothing is known that could be said.
    assert_eq!(side.gets(first), []);
    let nack = r#"{"type":"nack","id":8,"timestamp":1000,"payload":{"reason":"rejected","error":"disk full"}}"#;
    assert_eq!(side.learns(2, Outcome::Rejected("disk full".to_owned())), [sending(nack)]);
    assert_eq!(side.learns(1, Outcome::Taken), [sending(r#"{"type":"ack","id":"a","timestamp":1000}"#)]);
    assert_eq!(side.learns(1, Outcome::Taken), []);
    // What was taken is acknowledged again, what was rejected is tried again.
    assert_eq!(side.gets(first), [sending(r#"{"type":"ack","id":"a","timestamp":1000}"#)]);
    assert_eq!(side.gets(second), [Effect::Deliver(Message::text("text"), Some(3))]);
    // The same id with other content is another message, from a peer that counts anew.
    let other = r#"{"type":"data","id":"a","timestamp":1,"payload":{"n": 2}}"#;
    assert_eq!(side.gets(other), [Effect::Deliver(Message::text(r#"{"n": 2}"#), Some(4))]);
}

#[test]
fn what_was_taken_is_remembered_for_a_while() {
    let mut side = Side::limited(Limits { remembered: 2, ..Limits::default() });
    let data = |id: u64| format!(r#"{{"type":"data","id":{id},"timestamp":1,"payload":1}}"#);
    for id in 1..=3 {
        side.gets(&data(id));
        side.learns(id, Outcome::Taken);
    }
    assert!(matches!(side.gets(&data(3))[..], [Effect::Send(_)]));
    assert!(matches!(side.gets(&data(1))[..], [Effect::Deliver(_, Some(4))]));
}

#[test]
fn malformed_envelopes_are_refused_where_they_have_an_id() {
    let mut side = Side::opened();
    let effects = side.gets(r#"{"type":"datum","id":"a","timestamp":1,"payload":1}"#);
    let nack = sent(&effects[0]);
    assert_eq!(
        (&nack["type"], &nack["id"], &nack["payload"]["reason"]),
        (&json!("nack"), &json!("a"), &json!("malformed"))
    );
    assert!(nack["payload"]["error"].as_str().is_some_and(|error| error.contains("unknown type datum")));
    assert!(matches!(effects[1..], [Effect::Fault(_)]));
    for nameless in ["hello", "[]", "{}", r#"{"type":"data","payload":1}"#, r#"{"type":"ack"}"#] {
        assert!(matches!(side.gets(nameless)[..], [Effect::Fault(_)]), "{nameless}");
    }
    let effects = side.act(|envelope, now, effects| envelope.on_message(Message::binary("{}"), now, effects));
    assert!(matches!(effects[..], [Effect::Fault(_)]));
}

#[test]
fn what_is_not_acknowledged_goes_out_again_on_the_next_connection() {
    let mut side = Side::opened();
    let sent: Vec<_> = (1..=4).flat_map(|n| side.sends(&n.to_string(), Some(n))).collect();
    side.gets(r#"{"type":"ack","id":"p-2"}"#);
    side.envelope.on_lost();
    assert!(!side.takes());
    // Handed over all the same: it waits for the connection.
    assert_eq!(side.sends("5", Some(5)), []);
    let again = side.opens();
    assert_eq!(again[..3], [sent[0].clone(), sent[2].clone(), sent[3].clone()]);
    assert_eq!(payloads(&again), [json!(1), json!(3), json!(4), json!(5)]);
    assert!(side.takes());
    for id in [1, 3, 4, 5] {
        let settled = side.gets(&format!(r#"{{"type":"ack","id":"p-{id}"}}"#));
        assert_eq!(settled, [Effect::Settled(Some(id), Outcome::Taken)]);
    }
    assert_eq!(side.opens(), []);
}

#[test]
fn an_outcome_without_connection_is_told_when_the_peer_asks_again() {
    let mut side = Side::opened();
    let data = r#"{"type":"data","id":"a","timestamp":1,"payload":1}"#;
    side.gets(data);
    side.envelope.on_lost();
    assert_eq!(side.learns(1, Outcome::Taken), []);
    side.opens();
    assert_eq!(side.gets(data), [sending(r#"{"type":"ack","id":"a","timestamp":1000}"#)]);
}

#[test]
fn the_window_holds_the_sender_up() {
    let mut side = Side::limited(Limits { window: 2, ..Limits::default() });
    side.sends("1", None);
    assert!(side.takes());
    side.sends("2", None);
    assert!(!side.takes());
    side.gets(r#"{"type":"ack","id":"p-1"}"#);
    assert!(side.takes());
    let mut side = Side::limited(Limits { window_bytes: 100, ..Limits::default() });
    side.sends(&"x".repeat(200), None);
    assert!(!side.takes());
    side.gets(r#"{"type":"nack","id":"p-1"}"#);
    assert!(side.takes());
    assert!(!Side::with(&Rc::new(EnvelopeSettings::default()), "p").takes());
}

#[test]
fn a_filling_queue_is_told_once() {
    let mut side = Side::opened();
    let mut told = |waiting| side.fills(waiting, 1000);
    assert_eq!(told(800), []);
    let slow = told(801);
    let slow_text = r#"{"type":"slow","id":"p-1","timestamp":1000,"payload":{"queue_depth":801,"queue_capacity":1000,"utilization":0.801}}"#;
    assert_eq!(slow, [sending(slow_text)]);
    for depth in [802, 1000, 700, 900, 600, 1000] {
        assert_eq!(told(depth), [], "{depth}");
    }
    assert_eq!(told(599), []);
    assert_eq!(told(850).len(), 1);
    // A new connection learns it too.
    let again = side.opens();
    assert_eq!(sent(&again[0])["type"], "slow");
    assert_eq!(side.fills(0, 0), []);
}

#[test]
fn a_slow_peer_is_sent_half_as_much() {
    let mut side = Side::limited(Limits { window: 10, ..Limits::default() });
    for number in 1..=8 {
        side.sends(&number.to_string(), None);
    }
    assert!(side.takes());
    assert_eq!(side.gets(r#"{"type":"slow","id":"r-1","timestamp":1,"payload":{"queue_depth":9,"queue_capacity":10,"utilization":0.9}}"#), []);
    for number in 1..=4 {
        assert!(!side.takes(), "{number}");
        side.gets(&format!(r#"{{"type":"ack","id":"p-{number}"}}"#));
    }
    // The round of answers has made it wider by one.
    assert!(side.takes());
    assert_eq!(side.asks("status", &json!({})).unwrap()["slowed"], 1);
    side.gets(r#"{"type":"slow","id":"r-2"}"#);
    assert!(!side.takes());
    side.opens();
    assert!(side.takes(), "a new connection is told anew");
}

#[test]
fn backpressure_is_obeyed() {
    let mut side = Side::opened();
    let unit = "messages_per_second";
    assert_eq!(
        side.asks("backpressure", &json!({"rate_limit": 10, "unit": unit})),
        Ok(json!({"adjusted_to": 10, "rate_limit": 10, "unit": "messages/second"}))
    );
    assert!(side.takes());
    side.sends("1", None);
    assert!(!side.takes());
    assert_eq!(side.envelope.deadline(), Some(side.start + Duration::from_millis(100)));
    side.wait(Duration::from_millis(99));
    assert!(!side.takes());
    side.wait(Duration::from_millis(1));
    assert!(side.takes() && side.envelope.deadline().is_none());
    // 0 is a pause, which answers and requests do not mind.
    assert!(side.asks("backpressure", &json!({"rate_limit": 0})).is_ok());
    side.wait(Duration::from_secs(1000));
    assert!(!side.takes() && side.envelope.deadline().is_none());
    assert_eq!(side.asks("status", &json!({})).unwrap()["rate_limit"], 0);
    assert_eq!(
        side.asks("backpressure", &json!({"rate_limit": null})),
        Ok(json!({"adjusted_to": null, "rate_limit": null}))
    );
    assert!(side.takes());
    assert!(side.asks("backpressure", &json!({"rate_limit": "fast"})).is_err());
    // It holds for the connection it came on.
    side.asks("backpressure", &json!({"rate_limit": 0})).unwrap();
    side.opens();
    assert!(side.takes());
}

#[test]
fn a_subscription_chooses_what_is_sent() {
    let mut side = Side::opened();
    assert_eq!(
        side.asks("subscribe", &json!({"jq": "select(.price > 100)"})),
        Ok(json!({"jq": "select(.price > 100)"}))
    );
    for (message, passes) in [
        (r#"{"price":101}"#, true),
        (r#"{"price":100}"#, false),
        (r#"{"price":"much"}"#, true),
        ("[1]", false),
        ("no JSON", false),
        (r#"{"price":101.5,"more":[]}"#, true),
    ] {
        let effects = side.sends(message, None);
        assert_eq!(matches!(effects[..], [Effect::Send(_)]), passes, "{message}: {effects:?}");
        assert!(passes || effects == [Effect::Filtered]);
    }
    assert!(side.asks("subscribe", &json!({"jq": "def f: f; f"})).unwrap_err().contains("definitions"));
    assert_eq!(side.sends(r#"{"price":1}"#, None), [Effect::Filtered]);
    assert_eq!(side.asks("subscribe", &json!({"jq": "test(\"^no\")"})), Ok(json!({"jq": "test(\"^no\")"})));
    assert!(matches!(side.sends("no JSON", None)[..], [Effect::Send(_)]));
    assert_eq!(side.asks("subscribe", &json!({"jq": null})), Ok(json!({"jq": null})));
    assert!(matches!(side.sends("1", None)[..], [Effect::Send(_)]));
    let effects = side.act(|envelope, now, effects| envelope.on_outgoing(Message::binary("x"), None, now, effects));
    assert!(matches!(effects[..], [Effect::Send(_)]));
}

#[test]
fn the_last_messages_can_be_had_again() {
    let settings = Rc::new(EnvelopeSettings::new(Limits { replay: 5, window: 3, ..Limits::default() }, Vec::new()));
    for n in 1..=9 {
        settings.remember(&Message::text(format!(r#"{{"n":{n}}}"#)));
    }
    let mut side = Side::with(&settings, "p");
    side.opens();
    let n = |n: u64| json!({"n": n});
    assert_eq!(side.asks("replay", &json!({"last": 2})), Ok(json!({"messages": 2})));
    let effects = side.done();
    assert_eq!(payloads(&effects), [n(8), n(9)]);
    assert!(effects.contains(&Effect::Measured(Measure::RequestTime("replay", Duration::ZERO))));
    // They are acknowledged like any other, and nobody else is told of it.
    assert_eq!(
        (side.gets(r#"{"type":"ack","id":"p-1"}"#), side.gets(r#"{"type":"ack","id":"p-2"}"#)),
        (vec![], vec![])
    );
    // More than the window takes: the rest follows as it opens, and what is handed over waits until then.
    side.asks("subscribe", &json!({"jq": ".n != 6"})).unwrap();
    assert_eq!(side.asks("replay", &json!({"last": 100})), Ok(json!({"messages": 4})));
    let effects = side.done();
    assert_eq!(payloads(&effects), [n(5), n(7), n(8)]);
    side.wait(Duration::from_millis(70));
    assert!(!side.takes());
    let effects = side.gets(r#"{"type":"ack","id":"p-3"}"#);
    assert_eq!(payloads(&effects), [n(9)]);
    assert!(effects.contains(&Effect::Measured(Measure::RequestTime("replay", Duration::from_millis(70)))));
    side.gets(r#"{"type":"ack","id":"p-4"}"#);
    assert!(side.takes());
    assert_eq!(side.asks("replay", &json!({"last": 0})), Ok(json!({"messages": 0})));
    assert!(side.takes());
}

#[test]
fn requests_under_way_are_bounded() {
    let settings =
        Rc::new(EnvelopeSettings::new(Limits { window: 1, max_requests: 2, ..Limits::default() }, Vec::new()));
    settings.remember(&Message::text("1"));
    settings.remember(&Message::text("2"));
    let mut side = Side::with(&settings, "p");
    side.opens();
    assert!(side.asks("replay", &json!({"last": 2})).is_ok());
    assert!(side.asks("replay", &json!({"last": 2})).is_ok());
    assert!(side.asks("replay", &json!({"last": 2})).unwrap_err().contains("2 requests pending"));
    assert!(side.asks("status", &json!({})).is_ok());
    for id in 1..=3 {
        side.gets(&format!(r#"{{"type":"ack","id":"p-{id}"}}"#));
    }
    assert!(side.asks("replay", &json!({"last": 1})).is_ok());
}

#[test]
fn status_and_capabilities() {
    let mut side = Side::opened();
    side.sends("1", None);
    side.sends("2", None);
    side.gets(r#"{"type":"ack","id":"p-1"}"#);
    side.gets(r#"{"type":"data","id":"a","payload":1}"#);
    side.fills(5, 10);
    side.wait(Duration::from_secs(2));
    let status = side.asks("status", &Value::Null).unwrap();
    for (name, value) in [
        ("connected_ms", json!(2000)),
        ("sent", json!(2)),
        ("acknowledged", json!(1)),
        ("unacknowledged", json!(1)),
        ("received", json!(1)),
        ("undecided", json!(1)),
        ("queue_depth", json!(5)),
        ("utilization", json!(0.5)),
        ("jq", Value::Null),
    ] {
        assert_eq!(status[name], value, "{name} of {status}");
    }
    let capabilities = side.asks("capabilities", &json!({})).unwrap();
    assert_eq!(capabilities["methods"], json!(["backpressure", "subscribe", "replay", "status", "capabilities"]));
    assert_eq!(capabilities["limits"]["request_timeout_ms"], 30_000);
    assert!(side.asks("stop", &json!({})).unwrap_err().contains("unknown method stop"));
    let effects = side.gets(r#"{"type":"request","id":5}"#);
    assert_eq!(effects[0], Effect::Measured(Measure::Request(Direction::In, "unknown")));
    assert_eq!(sent(&effects[1])["id"], 5);
    assert_eq!(effects[2], Effect::Measured(Measure::Reply { dir: Direction::Out, ok: false }));
}

#[test]
fn requests_of_ours_have_a_time_limit_and_a_number_at_a_time() {
    let limits = Limits { max_requests: 2, request_timeout: Duration::from_secs(3), ..Limits::default() };
    let request = |method: &str, params| Request { method: method.to_owned(), params };
    let requests = vec![
        request("subscribe", json!({"jq": ".a"})),
        request("backpressure", json!({"rate_limit": 5})),
        request("custom", json!({})),
    ];
    let mut side = Side::with(&Rc::new(EnvelopeSettings::new(limits, requests)), "p");
    let effects = side.opens();
    assert_eq!(effects.len(), 4);
    assert_eq!(sent(&effects[0])["payload"], json!({"method": "subscribe", "params": {"jq": ".a"}}));
    assert_eq!(effects[1], Effect::Measured(Measure::Request(Direction::Out, "subscribe")));
    assert_eq!(sent(&effects[2])["id"], "p-2");
    assert_eq!(side.envelope.deadline(), Some(side.start + Duration::from_secs(3)));
    side.wait(Duration::from_secs(1));
    // A reply makes room for the next one.
    let effects = side.gets(r#"{"type":"reply","id":"p-1","timestamp":1,"payload":{"status":"ok","result":{}}}"#);
    let took = Effect::Measured(Measure::RequestTime("subscribe", Duration::from_secs(1)));
    assert_eq!(effects[..2], [Effect::Measured(Measure::Reply { dir: Direction::In, ok: true }), took]);
    assert_eq!(sent(&effects[2])["payload"]["method"], "custom");
    assert_eq!(effects[3], Effect::Measured(Measure::Request(Direction::Out, "unknown")));
    let effects = side.wait(Duration::from_secs(2));
    assert_eq!(effects[0], Effect::Measured(Measure::RequestTimeout));
    assert!(matches!(&effects[1], Effect::Fault(why) if why == "no reply to the request backpressure within 3 s"));
    let effects = side.gets(r#"{"type":"reply","id":"p-3","payload":{"status":"error","error":"no"}}"#);
    assert!(matches!(&effects[2], Effect::Fault(why) if why == "the peer refused the request custom: no"));
    assert!(side.envelope.deadline().is_none());
    // What was asked for to be known is shown.
    let settings = EnvelopeSettings::new(Limits::default(), vec![request("status", json!({}))]);
    let mut asking = Side::with(&Rc::new(settings), "p");
    asking.opens();
    let effects = asking.gets(r#"{"type":"reply","id":"p-1","payload":{"status":"ok","result":{"sent":5}}}"#);
    assert!(matches!(&effects[2], Effect::Answered(text) if text == "status: {\"sent\":5}"), "{effects:?}");
    // A reply that comes too late is not a reply.
    assert_eq!(side.gets(r#"{"type":"reply","id":"p-2","payload":{"status":"ok"}}"#), []);
    // They are made anew on the next connection.
    assert_eq!(sent(&side.opens()[0])["payload"]["method"], "subscribe");
    // A peer that knows no requests says so.
    let effects = side.gets(r#"{"type":"nack","id":"p-4","payload":{"reason":"malformed"}}"#);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Fault(why) if why.contains("malformed"))));
}
