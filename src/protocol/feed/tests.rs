//! Conversations with a feed, as tables.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

/// A session at a pretended time, and what it wanted done since last asked.
struct Client {
    feed: Feed,
    start: Instant,
    at: Duration,
    effects: Vec<Effect>,
}

impl Client {
    fn of(settings: &Rc<FeedSettings>) -> Self {
        let feed = Feed::new(Rc::clone(settings));
        Self { feed, start: Instant::now(), at: Duration::ZERO, effects: Vec::new() }
    }

    fn opened() -> Self {
        let mut client = Self::of(&Rc::new(FeedSettings::default()));
        client.open();
        client
    }

    fn now(&self) -> Now {
        Now { instant: self.start + self.at, time: Timestamp::UNIX_EPOCH }
    }

    fn open(&mut self) -> Vec<Effect> {
        self.feed.on_open(self.now(), &mut self.effects);
        self.done()
    }

    fn done(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn says(&mut self, text: &str) -> Vec<Effect> {
        self.feed.on_message(Message::text(text), self.now(), &mut self.effects);
        self.done()
    }

    fn event(&mut self, text: &str) -> Vec<Effect> {
        self.feed.on_outgoing(Message::text(text), None, self.now(), &mut self.effects);
        self.done()
    }

    fn passes(&mut self, text: &str) -> bool {
        match &self.event(text)[..] {
            [Effect::Send(message)] if message.as_text() == Some(text) => true,
            [Effect::Filtered] => false,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, time: Duration) -> Vec<Effect> {
        self.at += time;
        self.feed.on_time(self.now(), &mut self.effects);
        self.done()
    }
}

fn sent(effect: &Effect) -> Value {
    match effect {
        Effect::Send(message) => serde_json::from_str(message.as_text().expect("text")).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_welcome_shows_how_to_register() {
    let mut client = Client::of(&Rc::new(FeedSettings::default()));
    assert!(!client.feed.takes_outgoing(client.now()) && client.feed.deadline().is_none());
    let effects = client.open();
    assert_eq!(effects.len(), 1);
    let welcome = sent(&effects[0]);
    assert_eq!(welcome["type"], "welcome");
    assert!(welcome["message"].as_str().is_some_and(|message| message.contains("within 10 s")));
    assert_eq!(
        welcome["format"],
        json!({"type": "register", "filters": {"types": [], "account_ids": [], "asset_codes": [], "min_amount": ""}})
    );
    // What it shows can be sent as it stands.
    let answer = client.says(&welcome["format"].to_string());
    assert_eq!(sent(&answer[0])["type"], "registered");
    assert_eq!(sent(&answer[0])["filters"], welcome["format"]["filters"]);
    assert!(client.passes("anything"));
}

#[test]
fn events_wait_for_the_registration_and_pass_its_filters() {
    let mut client = Client::opened();
    assert!(!client.feed.takes_outgoing(client.now()));
    let answer = client.says(r#"{"type":"register","filters":{"types":["payment"],"min_amount":"10.00"}}"#);
    let answer = sent(&answer[0]);
    assert!(answer["message"].is_string());
    assert_eq!(
        answer["filters"],
        json!({"types": ["payment"], "account_ids": [], "asset_codes": [], "min_amount": "10.00"})
    );
    assert!(client.feed.takes_outgoing(client.now()) && client.feed.deadline().is_none());
    for (event, passes) in [
        (r#"{"type":"payment","amount":10}"#, true),
        (r#"{"type":"payment","amount":"9.99"}"#, false),
        (r#"{"type":"refund","amount":10}"#, false),
        (r#"{"type":"payment"}"#, false),
        ("no JSON", false),
    ] {
        assert_eq!(client.passes(event), passes, "{event}");
    }
}

#[test]
fn a_new_registration_replaces_the_filters() {
    let mut client = Client::opened();
    client.says(r#"{"type":"register","filters":{"types":["a"]}}"#);
    assert!(client.passes(r#"{"type":"a"}"#) && !client.passes(r#"{"type":"b","asset_code":"EUR"}"#));
    client.says(r#"{"type":"register","filters":{"asset_codes":["EUR"]}}"#);
    assert!(!client.passes(r#"{"type":"a"}"#) && client.passes(r#"{"type":"b","asset_code":"EUR"}"#));
    client.says(r#"{"type":"register"}"#);
    assert!(client.passes(r#"{"type":"a"}"#) && client.passes("x"));
}

#[test]
fn bad_input_is_explained_and_changes_nothing() {
    let mut client = Client::opened();
    client.says(r#"{"type":"register","filters":{"types":["a"]}}"#);
    let long = format!(r#"{{"type":"register","pad":"{}"}}"#, "x".repeat(MAX_INPUT));
    for (input, error) in [
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("[]", "no type"),
        (r#"["register",{}]"#, "no type"),
        ("12", "no type"),
        ("{}", "no type"),
        (r#"{"type":5}"#, "no type"),
        (r#"{"type":"subscribe"}"#, "unknown type subscribe"),
        (r#"{"type":"register","filters":[]}"#, "filters must be an object"),
        (r#"{"type":"register","filters":{"types":"b"}}"#, "types must be a list"),
        (r#"{"type":"register","filters":{"min_amount":"much"}}"#, "invalid min_amount"),
        (&long, "too long"),
    ] {
        let effects = client.says(input);
        assert_eq!(effects.len(), 2, "{input}: {effects:?}");
        let answer = sent(&effects[0]);
        assert_eq!(answer["type"], "error");
        assert!(answer["error"].as_str().is_some_and(|said| said.contains(error)), "{input}: {answer}");
        assert!(answer["details"].is_string());
        assert!(matches!(&effects[1], Effect::Fault(fault) if fault.contains(error)));
        assert!(client.passes(r#"{"type":"a"}"#) && !client.passes(r#"{"type":"b"}"#), "{input}");
    }
}

#[test]
fn who_does_not_register_in_time_is_closed() {
    let mut client = Client::opened();
    assert_eq!(client.feed.deadline(), Some(client.start + Duration::from_secs(10)));
    assert_eq!(client.wait(Duration::from_millis(9999)), []);
    // Neither bad input nor a ping is a registration.
    client.says("hello");
    client.says(r#"{"type":"ping"}"#);
    assert_eq!(client.feed.deadline(), Some(client.start + Duration::from_secs(10)));
    let effects = client.wait(Duration::from_millis(1));
    assert_eq!(effects.len(), 3);
    assert_eq!(sent(&effects[0])["type"], "error");
    assert!(
        matches!(&effects[2], Effect::Close(reason) if reason.code == Some(1008) && reason.reason.contains("10 s"))
    );
    assert!(client.feed.deadline().is_none() && !client.feed.takes_outgoing(client.now()));
    assert_eq!(client.says(r#"{"type":"register"}"#), []);
    assert_eq!(client.wait(Duration::from_secs(100)), []);
}

#[test]
fn who_registers_in_time_has_all_the_time() {
    let mut client = Client::opened();
    client.wait(Duration::from_secs(9));
    client.says(r#"{"type":"register"}"#);
    assert_eq!(client.wait(Duration::from_secs(1000)), []);
    // A new connection begins anew.
    client.feed.on_lost();
    assert!(!client.feed.takes_outgoing(client.now()));
    client.open();
    assert!(!client.feed.takes_outgoing(client.now()) && client.feed.deadline().is_some());
}

#[test]
fn pings_are_answered() {
    let mut client = Client::opened();
    assert_eq!(client.says(r#"{"type":"ping"}"#), [Effect::Send(Message::text(r#"{"type":"pong"}"#))]);
}

#[test]
fn fields_can_be_mapped() {
    let mut settings = FeedSettings::new(Duration::from_millis(500));
    settings.map_field("types=.event.kind", &crate::filter::Filter::compile).unwrap();
    settings.map_field("regions=.regions[]", &crate::filter::Filter::compile).unwrap();
    settings.map_field("min_amount=.a == 1", &crate::filter::Filter::compile).unwrap();
    settings.map_field("min_amount=[.price, .value] | max", &crate::filter::Filter::compile).unwrap();
    for wrong in ["types", "=.x", "a b=.x", "types=", "types= "] {
        assert_eq!(settings.map_field(wrong, &crate::filter::Filter::compile), Err(FieldError::Shape), "{wrong}");
    }
    assert!(matches!(settings.map_field("types=.a |", &crate::filter::Filter::compile), Err(FieldError::Filter(_))));
    let mut client = Client::of(&Rc::new(settings));
    let welcome = sent(&client.open()[0]);
    assert!(welcome["message"].as_str().is_some_and(|message| message.contains("within 0.5 s")));
    assert_eq!(welcome["format"]["filters"]["regions"], json!([]));
    client.says(r#"{"type":"register","filters":{"types":["x"],"regions":["eu"],"min_amount":5}}"#);
    assert!(client.passes(r#"{"event":{"kind":"x"},"regions":["us","eu"],"price":1,"value":6}"#));
    assert!(!client.passes(r#"{"event":{"kind":"x"},"regions":["us"],"price":1,"value":6}"#));
    assert!(!client.passes(r#"{"type":"x","regions":["eu"],"amount":6}"#));
}

#[test]
fn an_event_is_shared_by_clients_with_different_filters() {
    let settings = Rc::new(FeedSettings::default());
    let mut clients: Vec<_> = (0..10).map(|_| Client::of(&settings)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.open();
        client.says(&format!(r#"{{"type":"register","filters":{{"account_ids":[{n}]}}}}"#));
    }
    let events: Vec<_> = (0..10).map(|n| Message::text(format!(r#"{{"account_id":"{n}"}}"#))).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        for (m, event) in events.iter().enumerate() {
            client.feed.on_outgoing(event.clone(), None, client.now(), &mut client.effects);
            let wanted = if n == m { Effect::Send(event.clone()) } else { Effect::Filtered };
            assert_eq!(client.done(), [wanted]);
        }
    }
}

proptest! {
    /// Whatever a client sends is answered by exactly one message and closes nothing; every event has one effect.
    #[test]
    fn any_input_is_answered(inputs in proptest::collection::vec(
        prop_oneof![
            ".{0,40}",
            r#"\{"type":"(register|ping|x)"(,"filters":\{"(types|min_amount|nope)":(\[\]|\["a"\]|5|null|"1e5")\})?\}"#,
        ], 0..20)
    ) {
        let mut client = Client::opened();
        for input in inputs {
            let effects = client.says(&input);
            prop_assert!(matches!(effects[..], [Effect::Send(_)] | [Effect::Send(_), Effect::Fault(_)]), "{:?}", effects);
            prop_assert_eq!(client.event(&input).len(), 1);
        }
    }
}
