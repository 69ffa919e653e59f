//! Tests of the event-line codec in `event.rs`, in a file of their own for its length.
//!
//! Owns the promise that every event survives being written and read, and that lines look as
//! documented. Leaves recordings and streams to the tests of those.

use super::*;
use proptest::prelude::*;

fn time() -> Timestamp {
    "2026-01-02T03:04:05.678901Z".parse().unwrap()
}

fn line(dir: Option<Direction>, body: EventBody) -> String {
    let mut out = Vec::new();
    Event { time: time(), session: "s1".into(), name: None, dir, body }.write_line(&mut out);
    String::from_utf8(out).unwrap()
}

const HEAD: &str = r#"{"time":"2026-01-02T03:04:05.678901Z","session":"s1","#;

fn input(line: &str) -> Result<InputEvent, String> {
    parse_input_line(line.as_bytes()).map(|line| line.event)
}

#[test]
fn lines_look_as_documented() {
    let text = Message::text("hello");
    assert_eq!(
        line(Some(Direction::In), EventBody::Message(text.clone())),
        "{\"time\":\"2026-01-02T03:04:05.678901Z\",\"session\":\"s1\",\"dir\":\"in\",\"type\":\"text\",\"size\":5,\"text\":\"hello\"}\n"
    );
    let cases = [
        (EventBody::Message(Message::binary(vec![0, 255])), r#""type":"binary","size":2,"base64":"AP8="}"#),
        (EventBody::Ping(Bytes::from("p")), r#""type":"ping","size":1,"text":"p"}"#),
        (EventBody::Pong(Bytes::from(vec![0xff])), r#""type":"pong","size":1,"base64":"/w=="}"#),
        (
            EventBody::Close { code: Some(1000), reason: "bye".into(), clean: true },
            r#""type":"close","code":1000,"reason":"bye","clean":true}"#,
        ),
        (
            EventBody::Close { code: None, reason: String::new(), clean: false },
            r#""type":"close","code":null,"reason":"","clean":false}"#,
        ),
        (EventBody::Error { error: "a\nb".into() }, r#""type":"error","error":"a\nb"}"#),
        (
            EventBody::Retry { attempt: 2, delay_ms: 1500, cause: "gone".to_owned() },
            r#""type":"retry","attempt":2,"delay_ms":1500,"cause":"gone"}"#,
        ),
        (
            EventBody::Open {
                url: Some("ws://h/".into()),
                peer: None,
                path: None,
                subprotocol: Some("p".into()),
                extensions: Some("permessage-deflate".into()),
                handshake_ms: Some(1.25),
                subject: Some("CN=anna".into()),
            },
            r#""type":"open","url":"ws://h/","subject":"CN=anna","subprotocol":"p","extensions":"permessage-deflate","handshake_ms":1.25}"#,
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(line(None, body), format!("{HEAD}{expected}\n"));
    }
    let mut fast = Vec::new();
    write_message_line(&mut fast, time(), "s1", Direction::In, &text);
    assert_eq!(fast, line(Some(Direction::In), EventBody::Message(text.clone())).into_bytes());
    fast.clear();
    write_dead_letter_line(&mut fast, time(), "s1", Direction::In, &text, "no");
    assert!(fast.ends_with(b",\"text\":\"hello\",\"error\":\"no\"}\n"));
    assert_eq!(Event::parse(&fast).unwrap().body, EventBody::Message(text));
}

#[test]
fn input_needs_only_type_and_payload() {
    assert_eq!(input(r#"{"type":"text","text":"a"}"#), Ok(InputEvent::Message(Message::text("a"))));
    assert_eq!(input(r#"{"type":"text","base64":"w6k="}"#), Ok(InputEvent::Message(Message::text("é"))));
    assert_eq!(input(r#"{"type":"binary","base64":"AP8"}"#), Ok(InputEvent::Message(Message::binary(vec![0, 255]))));
    assert_eq!(input(r#"{"type":"binary","text":"a","x":[{}]}"#), Ok(InputEvent::Message(Message::binary("a"))));
    assert_eq!(input(r#"{"type":"text","text":"","dir":"in"}"#), Ok(InputEvent::Message(Message::text(""))));
    assert_eq!(input(r#"{"type":"ping"}"#), Ok(InputEvent::Ping(Bytes::new())));
    assert_eq!(input(r#"{"type":"pong","text":"x"}"#), Ok(InputEvent::Pong(Bytes::from("x"))));
    assert_eq!(
        input(r#"{"type":"close","code":4000,"reason":"r"}"#),
        Ok(InputEvent::Close { code: Some(4000), reason: "r".into() })
    );
    for none in [
        r#"{"type":"close"}"#,
        r#"{"type":"close","code":null,"reason":"","clean":true}"#,
        r#"{"type":"close","code":1006}"#,
    ] {
        assert_eq!(input(none), Ok(InputEvent::Close { code: None, reason: String::new() }));
    }
    for kind in ["open", "error", "retry", "drop"] {
        assert_eq!(input(&format!(r#"{{"type":"{kind}"}}"#)), Ok(InputEvent::Ignored));
    }
    let named = parse_input_line(br#"{"session":"s2","type":"text","text":"a"}"#).unwrap();
    assert_eq!(named.session.as_deref(), Some("s2"));
}

#[test]
fn bad_input_is_named() {
    for (line, part) in [
        (r#"{"type":"texd","text":"a"}"#, "texd"),
        (r#"{"type":"text","base64":"/w=="}"#, "UTF-8"),
        (r#"{"type":"text"}"#, "payload"),
        (r#"{"type":"binary","base64":"!"}"#, "base64"),
        (r#"{"type":"text","text":"a","base64":""}"#, "both"),
        (r#"{"type":"text","text":1}"#, "string"),
        (r#"{"text":"a"}"#, "type"),
        (r#"{"type":"text","text":"a","dir":"up"}"#, "up"),
        (r#"{"type":"close","code":99}"#, "99"),
        (r#"["text"]"#, "object"),
        ("hello", "object"),
        ("", "object"),
        (r#"{"type":"text","text":"a"} x"#, "trailing"),
    ] {
        let error = input(line).unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
    let long = "x".repeat(126);
    assert!(input(&format!(r#"{{"type":"ping","text":"{long}"}}"#)).is_err());
    assert!(input(&format!(r#"{{"type":"close","code":1000,"reason":"{long}"}}"#)).is_err());
    assert!(parse_input_line(b"{\"type\":\"text\",\"text\":\"\xff\"}").is_err());
}

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn body() -> impl Strategy<Value = EventBody> {
    let some = || proptest::option::of(any::<String>());
    prop_oneof![
        any::<String>().prop_map(|text| EventBody::Message(Message::text(text))),
        bytes().prop_map(|payload| EventBody::Message(Message::binary(payload))),
        bytes().prop_map(EventBody::Ping),
        bytes().prop_map(EventBody::Pong),
        (proptest::option::of(any::<u16>()), any::<String>(), any::<bool>())
            .prop_map(|(code, reason, clean)| EventBody::Close { code, reason, clean }),
        any::<String>().prop_map(|error| EventBody::Error { error }),
        (any::<u32>(), any::<u64>(), any::<String>()).prop_map(|(attempt, delay_ms, cause)| EventBody::Retry {
            attempt,
            delay_ms,
            cause
        }),
        (any::<String>(), proptest::option::of(any::<usize>()))
            .prop_map(|(reason, size)| EventBody::Drop { reason: reason.into(), size }),
        (some(), some(), some(), some(), some(), proptest::option::of(0.0..1e9_f64)).prop_map(
            |(url, peer, subject, subprotocol, extensions, handshake_ms)| EventBody::Open {
                path: peer.clone(),
                url,
                peer,
                subprotocol,
                extensions,
                handshake_ms,
                subject
            }
        ),
    ]
}

proptest! {
    #[test]
    fn events_survive(
        micros in -60_000_000_000_000_000_i64..250_000_000_000_000_000,
        session in any::<String>(),
        name in proptest::option::of(any::<String>()),
        dir in prop_oneof![Just(None), Just(Some(Direction::In)), Just(Some(Direction::Out))],
        body in body(),
    ) {
        let event = Event { time: Timestamp::from_microsecond(micros).unwrap(), session, name, dir, body };
        let mut out = Vec::new();
        event.write_line(&mut out);
        prop_assert_eq!(out.iter().filter(|b| **b < 0x20).count(), 1);
        prop_assert_eq!(Event::parse(&out).unwrap(), event);
        // Whatever was recorded can be read as input, except frames that may not be sent.
        if let Err(error) = parse_input_line(&out) {
            prop_assert!(error.contains("close"), "{}", error);
        }
    }

    #[test]
    fn reading_never_panics(line in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse_input_line(&line);
        let _ = Event::parse(&line);
    }
}
