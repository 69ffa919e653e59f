//! Tests of recordings on disk: a HAR is whole after every write, also of several sessions at once.

use std::future::poll_fn;

use super::*;
use crate::message::event::EventBody;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

fn texts(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).expect("the recording");
    let har: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let entries = har["log"]["entries"].as_array().expect("entries");
    let messages = |entry: &serde_json::Value| {
        let messages = entry["_webSocketMessages"].as_array().expect("messages");
        messages.iter().map(|message| message["data"].as_str().expect("data").to_owned()).collect()
    };
    entries.iter().map(messages).collect()
}

fn opened(recorder: &mut Recorder, session: &str) {
    let body = EventBody::Open {
        url: None,
        peer: None,
        path: None,
        subprotocol: None,
        extensions: None,
        handshake_ms: None,
        subject: None,
    };
    let event = Event { time: at(1), session: session.into(), name: None, dir: None, body };
    recorder.opened(&event, &Exchange::default());
}

async fn flush(recorder: &mut Recorder) {
    poll_fn(|cx| {
        recorder.poll_due(cx);
        if recorder.is_waiting() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

async fn finish(recorder: &mut Recorder) -> Result<(), RecordError> {
    poll_fn(|cx| recorder.poll_finish(cx)).await
}

#[tokio::test]
async fn a_har_is_whole_after_every_write() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("r.HAR");
    let mut recorder = Recorder::create(&path).expect("created");
    assert!(texts(&path).is_empty());
    recorder.name_session("s1", "ws://h/");
    opened(&mut recorder, "s1");
    flush(&mut recorder).await;
    assert_eq!(texts(&path), [Vec::<String>::new()]);
    for text in ["a", "b"] {
        recorder.message(at(2), "s1", Direction::Out, &Message::text(text));
        flush(&mut recorder).await;
    }
    assert_eq!(texts(&path), [["a", "b"]]);
    opened(&mut recorder, "s1");
    recorder.message(at(3), "s1", Direction::In, &Message::text("c"));
    flush(&mut recorder).await;
    assert_eq!(texts(&path), [vec!["a", "b"], vec!["c"]]);
    finish(&mut recorder).await.expect("closed");
    assert_eq!(texts(&path), [vec!["a", "b"], vec!["c"]]);
}

#[tokio::test]
async fn sessions_side_by_side_end_up_in_one_har() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("r.har");
    let mut recorder = Recorder::create(&path).expect("created");
    let long = "x".repeat(1 << 20);
    for session in ["s1", "s2", "s3"] {
        recorder.name_session(session, "ws://h/");
        opened(&mut recorder, session);
    }
    for text in ["a", long.as_str()] {
        for session in ["s1", "s2", "s3"] {
            recorder.message(at(2), session, Direction::Out, &Message::text(format!("{session}{text}")));
        }
    }
    flush(&mut recorder).await;
    assert_eq!(texts(&path).len(), 1);
    assert_eq!(texts(&directory.path().join("r.har.part2")), [["s2a".to_owned(), format!("s2{long}")]]);
    // A session that is over leaves its file to the next.
    recorder.forget_session("s2");
    recorder.name_session("s4", "ws://h/");
    recorder.message(at(3), "s4", Direction::In, &Message::text("d"));
    finish(&mut recorder).await.expect("closed");
    let all = texts(&path);
    assert_eq!(all.iter().map(|texts| texts[0].as_str()).collect::<Vec<_>>(), ["s1a", "s2a", "d", "s3a"]);
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1, "no parts are left");
}

#[tokio::test]
async fn lines_are_written_when_they_have_waited() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("r");
    let mut recorder = Recorder::create(&path).expect("created");
    recorder.message(at(2), "s1", Direction::Out, &Message::text("a"));
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "");
    flush(&mut recorder).await;
    assert_eq!(std::fs::read_to_string(&path).expect("read").lines().count(), 1);
    recorder.message(at(2), "s1", Direction::Out, &Message::text("b"));
    finish(&mut recorder).await.expect("closed");
    assert_eq!(std::fs::read_to_string(&path).expect("read").lines().count(), 2);
}

#[tokio::test]
async fn a_full_disk_is_a_failure_with_a_name() {
    for name in ["r.har", "r.jsonl"] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(name);
        std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
        let failure = match Recorder::create(&path) {
            Err(failure) => failure,
            Ok(mut recorder) => {
                recorder.message(at(2), "s1", Direction::Out, &Message::text("a"));
                finish(&mut recorder).await.expect_err("no room")
            }
        };
        assert_eq!(failure.path, path.display().to_string());
        assert!(failure.cause.contains("No space left"), "{failure}");
    }
}
