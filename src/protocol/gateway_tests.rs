//! Conversations with a gateway, as tables.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

struct Client {
    gateway: Gateway,
    now: Now,
}

impl Client {
    fn new(settings: GatewaySettings) -> Self {
        let time = Timestamp::from_millisecond(1_767_323_045_678).unwrap();
        Self { gateway: Gateway::new(settings, "c-1".to_owned()), now: Now { instant: Instant::now(), time } }
    }

    fn behind(behind: Behind) -> Self {
        Self::new(GatewaySettings { behind, ..GatewaySettings::default() })
    }

    fn says(&mut self, message: Message) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.gateway.on_message(message, self.now, &mut effects);
        effects
    }

    fn learns(&mut self, ticket: Ticket, outcome: Outcome) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.gateway.on_outcome(ticket, outcome, self.now, &mut effects);
        effects
    }
}

fn sent(effect: &Effect) -> Value {
    match effect {
        Effect::Send(message) => serde_json::from_str(message.as_text().expect("text")).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

const HELLO: &str = r#"{"messageType":"USER","content":"hello","timestamp":1767323045000}"#;

#[test]
fn the_welcome_says_who_one_is() {
    let mut client = Client::behind(Behind::Others);
    let mut effects = Vec::new();
    client.gateway.on_open(client.now, &mut effects);
    assert_eq!(effects.len(), 1);
    let welcome = json!({"messageType": "SYSTEM", "content": "welcome; you are c-1", "clientId": "c-1", "timestamp": "2026-01-02T03:04:05.678000Z"});
    assert_eq!(sent(&effects[0]), welcome);
}

#[test]
fn a_message_goes_whole_to_the_others_and_is_acknowledged() {
    let mut client = Client::behind(Behind::Others);
    let odd = r#" {"extra":{"b":1.50,"a":[]}, "messageType":"USER","id":"m7","content":"é\n","timestamp":"2026-01-02T03:04:05+01:00"}"#;
    for (text, id, answers) in
        [(HELLO, Value::Null, json!(1_767_323_045_000_i64)), (odd, json!("m7"), json!("2026-01-02T03:04:05+01:00"))]
    {
        let effects = client.says(Message::text(text));
        assert_eq!(effects.len(), 2);
        assert_eq!(effects[0], Effect::Publish(Message::text(text)));
        let ack = sent(&effects[1]);
        assert_eq!((&ack["messageType"], &ack["clientId"]), (&json!("ACK"), &json!("c-1")));
        assert_eq!((&ack["id"], &ack["answers"]), (&id, &answers));
    }
}

#[test]
fn behind_a_broker_the_answer_waits_for_the_outcome() {
    let mut client = Client::behind(Behind::Broker);
    let second = HELLO.replace("hello", "second").replace('}', ",\"id\":2}");
    assert_eq!(client.says(Message::text(HELLO)), [Effect::Deliver(Message::text(HELLO), Some(1))]);
    assert_eq!(client.says(Message::text(second.as_str())), [Effect::Deliver(Message::text(second), Some(2))]);
    let error = client.learns(2, Outcome::Rejected("the broker is away".to_owned()));
    let error = sent(&error[0]);
    assert_eq!((&error["messageType"], &error["id"]), (&json!("ERROR"), &json!(2)));
    assert_eq!(error["content"], "not published: the broker is away");
    assert_eq!(sent(&client.learns(1, Outcome::Taken)[0])["messageType"], "ACK");
    assert_eq!(client.learns(1, Outcome::Taken), []);
    assert_eq!(client.learns(99, Outcome::Taken), []);
}

#[test]
fn messages_whose_outcome_is_open_are_bounded() {
    let settings = GatewaySettings { behind: Behind::Broker, max_unsettled: 2, ..GatewaySettings::default() };
    let mut client = Client::new(settings);
    client.says(Message::text(HELLO));
    client.says(Message::text(HELLO));
    let effects = client.says(Message::text(HELLO));
    assert_eq!(sent(&effects[0])["messageType"], "ERROR");
    assert!(matches!(effects[..], [_, Effect::Fault(_)]));
    client.learns(1, Outcome::Taken);
    assert!(matches!(client.says(Message::text(HELLO))[..], [Effect::Deliver(_, Some(3))]));
}

#[test]
fn what_cannot_be_published_is_explained() {
    let mut client = Client::behind(Behind::Others);
    let user = |fields: &str| format!(r#"{{"messageType":"USER",{fields}}}"#);
    let long = user(&format!(r#""content":"{}","timestamp":1"#, "x".repeat(64 * 1024 + 1)));
    let rows: Vec<(Message, &str)> = [
        (String::new(), "not JSON"),
        ("hello".to_owned(), "not JSON"),
        ("[]".to_owned(), "not a JSON object"),
        ("{}".to_owned(), "messageType is missing"),
        (r#"{"messageType":"SYSTEM","content":"x","timestamp":1}"#.to_owned(), "a client's messageType"),
        (r#"{"messageType":1,"content":"x","timestamp":1}"#.to_owned(), "a client's messageType"),
        (user(r#""timestamp":1"#), "content is missing"),
        (user(r#""content":5,"timestamp":1"#), "content must be a text"),
        (user(r#""content":null,"timestamp":1"#), "content must be a text"),
        (user(r#""content":" \n","timestamp":1"#), "content is empty"),
        (long, "65537 bytes"),
        (user(r#""content":"x""#), "timestamp is missing"),
        (user(r#""content":"x","timestamp":null"#), "timestamp must be"),
        (user(r#""content":"x","timestamp":"yesterday""#), "timestamp must be"),
        (user(r#""content":"x","timestamp":-1"#), "timestamp must be"),
        (user(r#""content":"x","timestamp":1e999"#), "timestamp must be"),
    ]
    .into_iter()
    .map(|(text, why)| (Message::text(text), why))
    .chain([(Message::binary(HELLO), "binary")])
    .collect();
    for (message, why) in rows {
        let effects = client.says(message.clone());
        assert_eq!(effects.len(), 2, "{message:?}");
        let answer = sent(&effects[0]);
        assert_eq!(answer["messageType"], "ERROR");
        assert!(answer["content"].as_str().is_some_and(|said| said.contains(why)), "{answer}");
        assert!(matches!(&effects[1], Effect::Fault(fault) if fault.contains(why)));
    }
}

#[test]
fn times_as_clients_write_them() {
    for good in [
        json!(0),
        json!(1_767_323_045_000_i64),
        json!(1.5),
        json!("2026-01-02T03:04:05Z"),
        json!("2026-01-02T03:04:05.678Z"),
        json!("2026-01-02T03:04:05+02:00"),
        json!("2026-01-02T03:04:05"),
        json!("2026-01-02 03:04:05"),
    ] {
        assert!(is_time(&good), "{good}");
    }
    for bad in [json!(""), json!("now"), json!("03:04"), json!(true), json!([1]), json!("1767323045000")] {
        assert!(!is_time(&bad), "{bad}");
    }
}

#[test]
fn what_comes_from_the_others_goes_to_the_client_as_it_is() {
    let mut client = Client::behind(Behind::Others);
    let mut effects = Vec::new();
    for message in [Message::text(HELLO), Message::text("anything"), Message::binary(vec![0, 255])] {
        client.gateway.on_outgoing(message.clone(), Some(4), client.now, &mut effects);
        assert_eq!(std::mem::take(&mut effects), [Effect::Send(message)]);
    }
}

proptest! {
    /// Every message gets exactly one answer, at once or after its outcome.
    #[test]
    fn every_message_is_answered_once(
        inputs in proptest::collection::vec((
            r#".{0,20}|\{"messageType":"USER","content":"(x)?","timestamp":(1|"x")(,"id":(1|"a"|\[\]))?\}"#, any::<bool>()
        ), 0..30),
        broker in any::<bool>(),
    ) {
        let behind = if broker { Behind::Broker } else { Behind::Others };
        let mut client = Client::new(GatewaySettings { behind, max_unsettled: 5, ..GatewaySettings::default() });
        let (mut answers, mut tickets, count) = (0, Vec::new(), inputs.len());
        let is_answer = |effect: &Effect| matches!(effect, Effect::Send(_));
        for (input, settle) in inputs {
            let effects = client.says(Message::text(input));
            answers += effects.iter().filter(|effect| is_answer(effect)).count();
            tickets.extend(effects.iter().filter_map(|effect| match effect {
                Effect::Deliver(_, ticket) => *ticket,
                _ => None,
            }));
            if settle && !tickets.is_empty() {
                answers += client.learns(tickets.remove(0), Outcome::Taken).len();
            }
        }
        for ticket in tickets {
            answers += client.learns(ticket, Outcome::Rejected("no".to_owned())).len();
        }
        prop_assert_eq!(answers, count);
    }
}
