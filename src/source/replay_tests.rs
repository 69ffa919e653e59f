//! Tests of the replay source: both kinds, cut and damaged recordings, the order of several sessions.

use super::*;
use crate::message::{Message, har};
use std::io::Write as _;

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(content).expect("written");
    file
}

/// Steps as `session:text`, notices and the failure of a recording.
fn all(content: &[u8], direction: Direction) -> Result<(Vec<String>, Vec<String>), String> {
    let file = file(content);
    let mut items = Recording::open(file.path(), direction)?.read();
    let (mut steps, mut notices) = (Vec::new(), Vec::new());
    while let Some(item) = items.blocking_recv() {
        match item {
            Item::Steps(batch) => steps.extend(batch.iter().map(|step| {
                let what = match &step.event {
                    InputEvent::Message(message) => String::from_utf8_lossy(message.payload()).into_owned(),
                    other => format!("{other:?}"),
                };
                step.session.map_or(format!("-:{what}"), |session| format!("{session}:{what}"))
            })),
            Item::Notice(text) => notices.push(text),
            Item::Failed(text) => return Err(text),
        }
    }
    Ok((steps, notices))
}

fn line(session: &str, dir: &str, text: &str) -> String {
    format!(
        "{{\"time\":\"2026-01-02T03:04:05.678901Z\",\"session\":\"{session}\",\"dir\":\"{dir}\",\"type\":\"text\",\"text\":\"{text}\"}}\n"
    )
}

#[test]
fn lines_of_the_wanted_direction_come_out() {
    let text =
        line("s1", "out", "a") + &line("s2", "in", "b") + "\n" + &line("s2", "out", "c") + &line("x", "out", "d");
    let (steps, notices) = all(text.as_bytes(), Direction::Out).expect("read");
    assert_eq!((steps, notices.len()), (vec!["0:a".to_owned(), "1:c".into(), "-:d".into()], 0));
    assert_eq!(all(text.as_bytes(), Direction::In).expect("read").0, ["1:b"]);
    assert_eq!(all(b"", Direction::In).expect("nothing in it"), (Vec::new(), Vec::new()));
}

#[test]
fn a_recording_cut_at_any_byte_gives_its_whole_lines() {
    let lines = [line("s1", "out", "a"), line("s1", "out", "b")];
    let text = lines.concat();
    // Without its newline a line may still be whole.
    for cut in lines[0].len()..text.len() - 1 {
        let (steps, notices) = all(&text.as_bytes()[..cut], Direction::Out).expect("read");
        assert_eq!(steps, ["0:a"], "cut at {cut}");
        assert_eq!(notices.len(), usize::from(cut > lines[0].len()), "cut at {cut}");
    }
}

#[test]
fn a_damaged_line_is_named_before_anything_is_sent() {
    let text = line("s1", "out", "a") + "{\"type\":\n" + &line("s1", "out", "b");
    let file = file(text.as_bytes());
    let error = Recording::open(file.path(), Direction::Out).expect_err("damaged");
    assert!(error.contains("line 2") && error.contains(&file.path().display().to_string()), "{error}");
    let no_time = line("s1", "out", "a").replace("\"time\"", "\"tim\"");
    assert!(all(no_time.as_bytes(), Direction::Out).expect_err("no time").contains("line 1"));
}

#[test]
fn a_damaged_line_of_a_large_recording_is_named_when_it_is_reached() {
    let good = line("s1", "out", &"x".repeat(1 << 16));
    let mut text = good.repeat(17);
    text += "damaged\n";
    assert!(text.len() as u64 > CHECKED);
    let error = all(text.as_bytes(), Direction::Out).expect_err("damaged");
    assert!(error.contains("line 18"), "{error}");
}

fn message(kind: &str, time: f64, text: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"time\":{time},\"opcode\":1,\"data\":\"{text}\"}}")
}

#[test]
fn connections_of_a_har_come_out_in_the_order_of_their_times() {
    let entry = |messages: &[String], rest: &str| format!("{{\"_webSocketMessages\":[{}]{rest}}}", messages.join(","));
    let text = format!(
        "{{\n \"log\": {{\"entries\":[{},{{\"request\":{{}}}},{},{}]}}}}",
        entry(&[message("send", 1.0, "a"), message("receive", 1.5, "no"), message("send", 3.0, "c")], ""),
        entry(&[message("send", 2.0, "b"), message("send", 4.0, "d")], ""),
        entry(&[message("send", 0.5, "first"), message("error", 0.6, "no")], ",\"_session\":\"s9\""),
    );
    let (steps, notices) = all(text.as_bytes(), Direction::Out).expect("read");
    assert_eq!(steps, ["8:first", "0:a", "1:b", "0:c", "1:d"]);
    assert!(notices.is_empty());
    // Cut off in the middle of a message: what is whole before it comes out, with a notice.
    let cut = text.find("\"d\"").expect("the message");
    let (steps, notices) = all(&text.as_bytes()[..cut], Direction::Out).expect("read");
    assert_eq!(steps, ["0:a", "1:b", "0:c"]);
    assert_eq!(notices.len(), 1, "{notices:?}");
    let damaged = text.replace("\"data\":\"b\"", "\"data\":7");
    let error = all(damaged.as_bytes(), Direction::Out).expect_err("damaged");
    assert!(error.contains("message 1 of entry 3"), "{error}");
}

#[test]
fn a_long_connection_is_read_in_chunks() {
    let messages: Vec<_> =
        (0..5000).map(|number| message("send", f64::from(number), &format!("{number:0100}"))).collect();
    let text = format!("{{\"log\":{{\"entries\":[{{\"_webSocketMessages\":[{}]}}]}}}}", messages.join(","));
    let (steps, _) = all(text.as_bytes(), Direction::Out).expect("read");
    assert_eq!(steps.len(), 5000);
    assert!(steps.iter().enumerate().all(|(number, step)| *step == format!("0:{number:0100}")));
}

#[test]
fn what_is_passed_over_to_find_the_entries_is_read_all_the_same() {
    let mut ours = har::HEAD.as_bytes().to_vec();
    let (mut wanted, mut time) = (Vec::new(), 1_700_000_000_000_000);
    for (entry, session) in ["s1", "s2", "s3"].iter().enumerate() {
        let at = |time: i64| Timestamp::from_microsecond(time).expect("a time");
        if entry > 0 {
            ours.push(b',');
        }
        har::push_entry_head(&mut ours, session, "ws://h/", at(time), &har::Exchange::default());
        for number in 0..3000 {
            if number > 0 {
                ours.push(b',');
            }
            let text = format!("]\n],{entry} {number}\"}}\n]");
            if number % 7 == 3 {
                ours.push(b'\n');
                ours.extend(message("error", time as f64 / 1e6, "\\n]").as_bytes());
            } else {
                har::push_message(&mut ours, at(time), Direction::Out, &Message::text(text.clone()));
                wanted.push(format!("{entry}:{text}"));
            }
            time += 1;
        }
        har::push_entry_tail(&mut ours, har::Times::default(), 1.0);
    }
    let cut = ours.len() - 100;
    ours.extend_from_slice(har::FOOT.as_bytes());
    assert!(ours.len() as u64 > CHECKED / 2);
    let padding = " ".repeat(CHECKED as usize);
    let large = |document: &[u8]| [document, padding.as_bytes()].concat();
    let one_line: Vec<u8> = ours.iter().copied().filter(|byte| *byte != b'\n').collect();
    for (name, document) in [("short", &ours), ("large", &large(&ours)), ("a line", &large(&one_line))] {
        let (steps, notices) = all(document, Direction::Out).expect("read");
        let wrong = steps.iter().zip(&wanted).find(|(step, wanted)| step != wanted);
        assert_eq!((wrong, steps.len(), notices), (None, wanted.len(), Vec::new()), "{name}");
    }
    // Cut off in the last entry's messages, too large to be checked whole at first.
    let beginning = |document: &[u8]| document.iter().position(|byte| *byte == b'[').expect("entries") + 1;
    let first = beginning(&ours);
    let cut = [&ours[..first], padding.as_bytes(), &ours[first..cut]].concat();
    let (steps, notices) = all(&cut, Direction::Out).expect("what is whole");
    assert!(notices.len() == 1 && wanted.starts_with(&steps) && steps.len() > wanted.len() - 10, "{notices:?}");
}

#[test]
fn a_step_has_its_time() {
    let file = file(line("s1", "out", "a").as_bytes());
    let mut items = Recording::open(file.path(), Direction::Out).expect("opened").read();
    let Some(Item::Steps(steps)) = items.blocking_recv() else { panic!("steps") };
    assert_eq!(steps[0].time, "2026-01-02T03:04:05.678901Z".parse().expect("a time"));
    assert_eq!(steps[0].event, InputEvent::Message(Message::text("a")));
    assert_eq!(steps[0].read, file.path().metadata().expect("its length").len());
}
