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
            Item::Ended(_) => {}
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
    assert!(all(b"", Direction::In).expect_err("nothing in it").contains("it is empty"));
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
    // One that cannot be read keeps none of the others from being sent.
    for padding in [0, CHECKED as usize] {
        let damaged = damaged.clone() + &" ".repeat(padding);
        let (steps, notices) = all(damaged.as_bytes(), Direction::Out).expect("the others");
        assert_eq!(steps, ["8:first", "0:a", "0:c", "1:d"]);
        assert!(
            notices[0].contains("skipped 1 unreadable message") && notices[0].contains("message 1 of entry 3"),
            "{notices:?}"
        );
    }
    let worse = text.replace("\"opcode\":1", "\"opcode\":0");
    assert!(all(worse.as_bytes(), Direction::Out).expect_err("no message is good").contains("message 1 of entry 1"));
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

/// A HAR of these entries.
fn document(entries: &[&str]) -> String {
    format!("{{\"log\":{{\"version\":\"1.2\",\"entries\":[{}]}}}}", entries.join(","))
}

#[test]
fn messages_without_an_opcode_or_a_time_keep_their_order() {
    let text = document(&[
        r#"{"startedDateTime":"1970-01-01T00:00:05Z","_webSocketMessages":[{"type":"send","data":"c"},{"type":"send","data":"d"}]}"#,
        r#"{"_webSocketMessages":[{"type":"send","data":"a","time":-1},{"type":"receive","data":"no"},{"type":"send","data":"b"}],
            "startedDateTime":"1970-01-01T00:00:04Z"}"#,
    ]);
    let (steps, notices) = all(text.as_bytes(), Direction::Out).expect("read");
    assert_eq!((steps, notices), (["1:a", "1:b", "0:c", "0:d"].map(String::from).to_vec(), Vec::new()));
}

#[test]
fn a_har_without_a_websocket_says_so() {
    let other = r#"{"request":{"url":"https://h/"},"response":{"content":{"_file":"x.html"}}}"#;
    let empty = r#"{"request":{"url":"wss://h/"},"response":{"status":101}}"#;
    for (entries, what) in
        [(&[][..], "this HAR has no entries"), (&[other, other], "this HAR has no WebSocket connection among 2")]
    {
        let error = all(document(entries).as_bytes(), Direction::Out).expect_err(what);
        assert!(error.contains(what), "{error}");
    }
    let (steps, notices) = all(document(&[other, empty]).as_bytes(), Direction::Out).expect("a connection");
    assert!(steps.is_empty() && notices[0].contains("1 entry of WebSockets without messages"), "{notices:?}");
}

/// As Playwright writes it: the messages of each connection in a file of their own.
const ATTACHED: [(&str, &str); 4] = [
    (
        "har.har",
        r#"{"log":{"version":"1.2","entries":[
            {"request":{"url":"https://h/"},"response":{"content":{"_file":"page.html"}}},
            {"_resourceType":"websocket","response":{"content":{"size":-1,"_file":"one.jsonl"}}},
            {"_resourceType":"websocket","response":{"content":{"_file":"two.json"}}}]}}"#,
    ),
    ("page.html", "<p>"),
    (
        "one.jsonl",
        "{\"type\":\"send\",\"time\":1795255670185.5,\"opcode\":1,\"data\":\"a\"}\n{\"type\":\"send\",\"time\":1795255670187,\"opcode\":2,\"data\":\"Yw==\"}\n",
    ),
    (
        "two.json",
        r#"[{"type":"send","time":1795255670186,"opcode":1,"data":"b"},{"type":"receive","opcode":1,"data":"no"}]"#,
    ),
];

/// The steps of a recording at this path.
fn replayed(path: &Path) -> Result<Vec<String>, String> {
    let mut items = Recording::open(path, Direction::Out)?.read();
    let mut texts = Vec::new();
    while let Some(item) = items.blocking_recv() {
        match item {
            Item::Steps(steps) => texts.extend(steps.into_iter().map(|step| match step.event {
                InputEvent::Message(message) => String::from_utf8_lossy(message.payload()).into_owned(),
                other => format!("{other:?}"),
            })),
            Item::Failed(text) => return Err(text),
            Item::Notice(_) | Item::Ended(_) => {}
        }
    }
    Ok(texts)
}

#[test]
fn messages_kept_apart_are_found_beside_the_har_and_in_its_archive() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in ATTACHED {
        std::fs::write(folder.path().join(name), content).expect("written");
    }
    assert_eq!(replayed(&folder.path().join("har.har")).as_deref(), Ok(&["a", "b", "c"].map(String::from)[..]));
    let archive = |name: &str, files: &[(&str, &str)], method| {
        let path = folder.path().join(name);
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).expect("created"));
        for (name, content) in files {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            zip.start_file(*name, options).expect("started");
            zip.write_all(content.as_bytes()).expect("written");
        }
        zip.finish().expect("finished");
        path
    };
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let path = archive("all.zip", &ATTACHED, method);
        assert_eq!(replayed(&path).as_deref(), Ok(&["a", "b", "c"].map(String::from)[..]));
    }
    let stored = zip::CompressionMethod::Stored;
    for (files, what) in [
        (&ATTACHED[..2], "cannot read the messages in 'one.jsonl'"),
        (&ATTACHED[1..], "the archive contains no .har file"),
        (&[("a.har", ""), ("b.har", "")], "the archive contains 2 .har files"),
        (&[("a.har", "<html>")], "not a HAR"),
    ] {
        let error = replayed(&archive("bad.zip", files, stored)).expect_err(what);
        assert!(error.contains(what) && error.contains("bad.zip"), "{error}");
    }
    std::fs::write(folder.path().join("cut.zip"), b"PK\x03\x04...").expect("written");
    assert!(replayed(&folder.path().join("cut.zip")).expect_err("cut").contains("not a zip archive"));
    // What is missing is known before anything is sent, and nothing far away is read.
    std::fs::remove_file(folder.path().join("two.json")).expect("removed");
    assert!(Recording::open(&folder.path().join("har.har"), Direction::Out).expect_err("missing").contains("two.json"));
    let far = ATTACHED[0].1.replace("one.jsonl", "/etc/passwd");
    std::fs::write(folder.path().join("far.har"), far).expect("written");
    let error = Recording::open(&folder.path().join("far.har"), Direction::Out).expect_err("far away");
    assert!(error.contains("same directory as the HAR"), "{error}");
}

#[test]
fn a_large_file_that_is_no_recording_is_refused_at_once() {
    let text = "a,b,c\n".repeat(CHECKED as usize / 5);
    let file = file(text.as_bytes());
    assert!(Recording::open(file.path(), Direction::Out).expect_err("no recording").contains("line 1"));
}
