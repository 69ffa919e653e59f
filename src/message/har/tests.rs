//! Tests of the HAR codec: what is written is HAR, and comes back equal however it is cut into chunks.

use super::read::{Finder, Found, HarMessage, MessageReader, Scanner, parse_message};
use super::*;
use crate::message::event::InputEvent;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).expect("a time")
}

fn event(micros: i64, dir: Option<Direction>, body: EventBody) -> Event {
    Event { time: at(micros), session: "s1".into(), name: None, dir, body }
}

/// A document with an entry for each list of events.
fn document(entries: &[&[Event]], exchange: &Exchange<'_>) -> Vec<u8> {
    let mut out = HEAD.as_bytes().to_vec();
    for (index, events) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_entry_head(&mut out, &format!("s{}", index + 1), "ws://h/x?a=1&b", at(1_000_000), exchange);
        for (number, event) in events.iter().enumerate() {
            assert!(push_event(&mut out, event, number > 0));
        }
        push_entry_tail(&mut out, exchange.times, 1.5);
    }
    out.extend_from_slice(FOOT.as_bytes());
    out
}

/// Tells a closure of all that is found.
struct Each<F>(F);

impl<F: FnMut(Found<'_>)> Finder for Each<F> {
    fn found(&mut self, found: Found<'_>) {
        self.0(found);
    }
}

type Entry = (Option<String>, Vec<HarMessage>);

/// The messages of each entry with the session it names, read in chunks of `size`.
fn read(bytes: &[u8], size: usize) -> Result<Vec<Entry>, String> {
    let mut scanner = Scanner::new();
    let mut entries = Vec::new();
    let mut messages = Vec::new();
    let mut reader = MessageReader::default();
    for chunk in bytes.chunks(size) {
        let mut each = Each(|found: Found<'_>| match found {
            Found::Entry => messages.clear(),
            Found::Message(at, message) => {
                let text = &bytes[at as usize..];
                assert!(text.starts_with(message), "the place of a message");
                messages.push(reader.read(message).expect("a message"));
                assert_eq!(messages.last(), parse_message(message).ok().as_ref());
                if let Some((first, length)) = reader.read_first(text) {
                    assert_eq!((messages.last(), message.len()), (Some(&first), length));
                }
            }
            Found::EntryEnd(facts) => entries.push((facts.session, std::mem::take(&mut messages))),
        });
        scanner.push(chunk, &mut each)?;
    }
    assert!(scanner.is_whole());
    Ok(entries)
}

#[test]
fn an_entry_has_what_a_har_must_have() {
    let exchange = Exchange {
        request: "GET /x?a=1&b HTTP/1.1\nhost: h\nauthorization: [redacted]\n",
        response: "HTTP/1.1 101 Switching Protocols\nupgrade: websocket\n",
        address: "[::1]:8080",
        times: Times { dns: 1.0, tcp: 2.0, tls: 4.0, upgrade: 8.0 },
    };
    let har: Value = serde_json::from_slice(&document(&[&[]], &exchange)).expect("JSON");
    assert_eq!((&har["log"]["version"], &har["log"]["creator"]["name"]), (&"1.2".into(), &"wsp".into()));
    let entry = &har["log"]["entries"][0];
    assert_eq!(entry["_resourceType"], "websocket");
    assert_eq!(entry["startedDateTime"], "1970-01-01T00:00:01.000000Z");
    assert_eq!((&entry["serverIPAddress"], &entry["connection"]), (&"::1".into(), &"8080".into()));
    let request = &entry["request"];
    assert_eq!((&request["method"], &request["url"]), (&"GET".into(), &"ws://h/x?a=1&b".into()));
    assert_eq!(
        request["headers"],
        serde_json::json!([{"name": "host", "value": "h"}, {"name": "authorization", "value": "[redacted]"}])
    );
    assert_eq!(request["queryString"], serde_json::json!([{"name": "a", "value": "1"}, {"name": "b", "value": ""}]));
    let response = &entry["response"];
    assert_eq!((response["status"].as_u64(), &response["statusText"]), (Some(101), &"Switching Protocols".into()));
    assert_eq!(response["content"]["size"], 0);
    assert_eq!(entry["time"].as_f64(), Some(16.5));
    let timings = &entry["timings"];
    assert_eq!((timings["connect"].as_f64(), timings["ssl"].as_f64()), (Some(6.0), Some(4.0)));
    assert_eq!((timings["wait"].as_f64(), timings["receive"].as_f64()), (Some(8.0), Some(1.5)));
}

#[test]
fn messages_look_as_in_chrome() {
    let (send, receive) = (Some(Direction::Out), Some(Direction::In));
    let table = [
        (
            send,
            EventBody::Message(Message::text("a\"é")),
            r#"{"type":"send","time":1.000002,"opcode":1,"data":"a\"é"}"#,
        ),
        (
            receive,
            EventBody::Message(Message::binary(vec![0, 255])),
            r#"{"type":"receive","time":1.000002,"opcode":2,"data":"AP8="}"#,
        ),
        (send, EventBody::Ping(Bytes::from("p")), r#"{"type":"send","time":1.000002,"opcode":9,"data":"cA=="}"#),
        (receive, EventBody::Pong(Bytes::new()), r#"{"type":"receive","time":1.000002,"opcode":10,"data":""}"#),
        (
            receive,
            EventBody::Close { code: Some(1000), reason: "x".into(), clean: true },
            r#"{"type":"receive","time":1.000002,"opcode":8,"data":"A+h4"}"#,
        ),
        (
            None,
            EventBody::Close { code: None, reason: "lost".into(), clean: false },
            r#"{"type":"error","time":1.000002,"opcode":-1,"data":"lost"}"#,
        ),
        (
            None,
            EventBody::Retry { attempt: 1, delay_ms: 20, cause: "gone".to_owned() },
            r#"{"type":"error","time":1.000002,"opcode":-1,"data":"gone; reconnecting in 20 ms (retry 1)","_attempt":1,"_delay_ms":20}"#,
        ),
    ];
    for (dir, body, expected) in table {
        let mut out = Vec::new();
        assert!(push_event(&mut out, &event(1_000_002, dir, body), true));
        assert_eq!(String::from_utf8_lossy(&out), format!(",\n{expected}"));
    }
}

#[test]
fn messages_of_others_are_read_and_wrong_ones_named() {
    let read = |text: &str| MessageReader::default().read(text.as_bytes());
    let milliseconds =
        read(r#"{"type":"send","time":1795255670185.5,"opcode":1,"data":"x","more":[1]}"#).expect("Playwright's");
    assert_eq!(milliseconds.time, Some(at(1_795_255_670_185_500)));
    let bare = read(r#"{"type":"receive","time":1,"opcode":8,"data":""}"#).expect("a Close without a code");
    assert_eq!(bare.event, InputEvent::Close { code: None, reason: String::new() });
    for (text, time) in [
        (r#"{"type":"send","data":"x"}"#, None),
        (r#"{"type":"send","data":"x","time":null,"opcode":null}"#, None),
        (r#"{"type":"send","data":"x","time":-1,"opcode":1}"#, None),
        (r#"{"type":"send","data":"x","time":"1970-01-01T00:00:01Z"}"#, Some(at(1_000_000))),
        (r#"{"type":"send","data":"x","time":"1.5"}"#, Some(at(1_500_000))),
    ] {
        let message = read(text).expect("without an opcode or a time");
        assert_eq!((message.time, message.event), (time, InputEvent::Message(Message::text("x"))), "{text}");
    }
    for (text, why) in [
        (r#"{"type":"sent","time":1,"opcode":1,"data":""}"#, "unknown type"),
        (r#"{"type":"send","time":1,"opcode":3,"data":""}"#, "unknown opcode 3"),
        (r#"{"type":"send","time":1,"opcode":2,"data":"?"}"#, "data"),
        (r#"{"type":"send","time":1e300,"opcode":2,"data":""}"#, "time"),
        (r#"{"type":"send","time":"soon","opcode":2,"data":""}"#, "time"),
        (r#"{"type":"send","time":1,"opcode":1}"#, "no \"data\""),
        (r#"{"type":"send","time":1,"opcode":8,"data":"AA=="}"#, "close frame of one byte"),
        (r#"{"type":"send","time":1,"opcode":8,"data":"AAE="}"#, "invalid close code 1"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn only_messages_in_their_place_are_found() {
    let text = r#"{"log":{"x":{"_webSocketMessages":[{"no":1}]},"entries":[
        {"request":{"_webSocketMessages":[{"no":2}],"postData":{"text":"]}\"\\"}},"response":{"content":{"text":"{\"_webSocketMessages\":[{}]}"}}},
        {"_webSocketMessages":[{"type":"send","time":2,"opcode":1,"data":"yes"}],"_session":"s7"},
        {"_webSocketMessages":{"no":[{"no":3}]}}],"comment":"entries"}}"#;
    for size in [1, 2, 3, 7, 1000] {
        let entries = read(text.as_bytes(), size).expect("read");
        let counts: Vec<_> = entries.iter().map(|(session, messages)| (session.as_deref(), messages.len())).collect();
        assert_eq!(counts, [(None, 0), (Some("s7"), 1), (None, 0)], "chunks of {size}");
    }
    for wrong in [r#"{"log":{"entries":[}"#, "{}{", "{]", "x"] {
        assert!(Scanner::new().push(wrong.as_bytes(), &mut Each(|_: Found<'_>| {})).is_err(), "{wrong}");
    }
    let mut cut = Scanner::new();
    cut.push(&text.as_bytes()[..300], &mut Each(|_: Found<'_>| {})).expect("so far so good");
    assert!(!cut.is_whole());
}

#[test]
fn what_an_entry_says_of_itself_is_found_in_any_order() {
    let text = r#"{"log":{"entries":[
        {"response":{"headers":[{"_file":"no"}],"content":{"_file":"a/b.jsonl","text":"{\"_file\":1}"}},"startedDateTime":
         "1970-01-01T00:00:01Z","_resourceType":"websocket","x":{"content":{"_file":"no"}}},
        {"request":{"url":"wss://h/","_file":"no"},"_session":"s2"},
        {"request":{"url":"https://h/ws://"},"response":{"_resourceType":"websocket"}},
        {"_webSocketMessages":[]}]}}"#;
    for size in [1, 7, 1000] {
        let mut found = Vec::new();
        let mut scanner = Scanner::new();
        for chunk in text.as_bytes().chunks(size) {
            let mut each = Each(|item: Found<'_>| {
                if let Found::EntryEnd(facts) = item {
                    found.push((facts.file, facts.session, facts.started.is_some(), facts.is_websocket));
                }
            });
            scanner.push(chunk, &mut each).expect("read");
        }
        let expected = [
            (Some("a/b.jsonl".to_owned()), None, true, true),
            (None, Some("s2".to_owned()), false, true),
            (None, None, false, false),
            (None, None, false, true),
        ];
        assert_eq!(found, expected, "chunks of {size}");
    }
}

fn body() -> impl Strategy<Value = EventBody> {
    let control = || prop::collection::vec(any::<u8>(), 0..125).prop_map(Bytes::from);
    prop_oneof![
        any::<String>().prop_map(|text| EventBody::Message(Message::text(text))),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| EventBody::Message(Message::binary(bytes))),
        control().prop_map(EventBody::Ping),
        control().prop_map(EventBody::Pong),
        (1000_u16..5000, "[a-zé\"]{0,20}")
            .prop_filter("not sent", |(code, _)| ![1005, 1006, 1015].contains(code))
            .prop_map(|(code, reason)| EventBody::Close { code: Some(code), reason, clean: true }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_comes_back(
        bodies in prop::collection::vec((0_i64..4_000_000_000_000_000, any::<bool>(), body()), 0..20),
        size in 1_usize..300,
    ) {
        let events: Vec<_> = bodies
            .into_iter()
            .map(|(time, out, body)| event(time, Some(if out { Direction::Out } else { Direction::In }), body))
            .collect();
        let entries = read(&document(&[&events, &[]], &Exchange::default()), size).expect("read");
        prop_assert_eq!(entries.len(), 2);
        prop_assert_eq!(entries[0].0.as_deref(), Some("s1"));
        let expected: Vec<_> = events
            .into_iter()
            .map(|event| HarMessage {
                time: Some(event.time),
                dir: event.dir.expect("a direction"),
                event: match event.body {
                    EventBody::Message(message) => InputEvent::Message(message),
                    EventBody::Ping(payload) => InputEvent::Ping(payload),
                    EventBody::Pong(payload) => InputEvent::Pong(payload),
                    EventBody::Close { code, reason, .. } => InputEvent::Close { code, reason },
                    other => panic!("{other:?} is not among them"),
                },
            })
            .collect();
        prop_assert_eq!(&entries[0].1, &expected);
    }

    #[test]
    fn a_changed_message_means_what_a_general_parser_says(
        time in 1_700_000_000_000_000_i64..1_800_000_000_000_000,
        text in prop::option::of("[a-z\"\\\\ \n\té€]{0,60}"),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let message = text.map_or_else(|| Message::binary(vec![7; 20]), Message::text);
        let mut out = Vec::new();
        push_message(&mut out, at(time), Direction::Out, &message);
        let mut bytes = out.split_off(1);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert_eq!(MessageReader::default().read(&bytes).ok(), parse_message(&bytes).ok());
    }
}
