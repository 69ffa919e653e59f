//! `opensearch+http://` as TO of `wsp relay`, against a real OpenSearch, and against a server that answers as it is told to
//! where a real one does not when asked.

use serde_json::{Value, json};

use crate::support::balance::Balance;
use crate::support::files::read;
use crate::support::peers::{Told, http_server};
use crate::support::stores::{SOON, Search};
use crate::support::{Output, closed_port, require, run, scratch, text, wsp};

/// Runs a relay of these lines into an address.
fn relay(url: &str, more: &[&str], input: &str) -> Output {
    run(&[&["relay", "-", url], more, &SOON[..]].concat(), input)
}

fn letters(path: &str) -> Vec<Value> {
    read(path.as_ref()).lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

/// The lines of a request's body as JSON.
fn lines(told: &Told) -> Vec<Value> {
    told.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// An address at a server of `http_server`.
fn at(url: &str, rest: &str) -> String {
    format!("opensearch+{}", url.replace("/in", rest))
}

#[test]
fn messages_become_documents_and_each_that_is_refused_is_a_dead_letter() {
    if !require("opensearch") {
        return;
    }
    let server = Search::shared();
    let index = Search::index();
    server.ask("PUT", &format!("/{index}"), "{\"mappings\":{\"properties\":{\"n\":{\"type\":\"integer\"}}}}");
    let directory = scratch();
    let dead = text(&directory.path().join("dead"));
    let input =
        "{\"id\":\"a\",\"n\":1}\n{\"id\":\"b\",\"n\":\"many\"}\n{\"n\":3}\n[1]\nhello\n{\"id\":\"c\",\"n\":4}\n";
    let output = relay(&server.url(&format!("{index}?id=.id")), &["--dead-letter", &dead], input).exits(30);
    assert_eq!(Balance::of(&output), Balance { delivered: 2, dead_lettered: 4, ..Balance::all_delivered(6) });
    let one = |id: &str, n: u32| (id.to_owned(), json!({ "id": id, "n": n }));
    assert_eq!(server.documents(&index, "n"), [one("a", 1), one("c", 4)]);
    let letters = letters(&dead);
    let reasons = [
        ("{\"id\":\"b\",\"n\":\"many\"}", "400 mapper_parsing_exception: failed to parse field [n]"),
        ("{\"n\":3}", "id: the filter yields no value"),
        ("[1]", "not a JSON object"),
        ("hello", "not JSON"),
    ];
    assert_eq!(letters.len(), reasons.len());
    for (message, reason) in reasons {
        let letter = letters.iter().find(|letter| letter["text"] == message).expect(message);
        assert!(letter["error"].as_str().is_some_and(|error| error.contains(reason)), "{letter}");
    }
}

#[test]
fn documents_are_written_over_kept_or_changed_as_the_action_says() {
    if !require("opensearch") {
        return;
    }
    let server = Search::shared();
    let index = Search::index();
    let input = "{\"k\":1,\"a\":1}\n{\"k\":1,\"b\":2}\n{\"k\":2,\"a\":3}\n";
    for (action, expected) in [
        ("create", [json!({"k": 1, "a": 1}), json!({"k": 2, "a": 3})]),
        // Sent again it is what it was: with an id this is at least once without doubles.
        ("create", [json!({"k": 1, "a": 1}), json!({"k": 2, "a": 3})]),
        ("update", [json!({"k": 1, "a": 1, "b": 2}), json!({"k": 2, "a": 3})]),
        ("index", [json!({"k": 1, "b": 2}), json!({"k": 2, "a": 3})]),
    ] {
        let output = relay(&server.url(&format!("{index}?id=.k&action={action}")), &[], input).exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(3), "{action}");
        let found: Vec<Value> = server.documents(&index, "k").into_iter().map(|(_, document)| document).collect();
        assert_eq!(found, expected, "{action}");
    }
    // An index by content.
    let url = server.url(&format!("{index}-{{.symbol|ascii_downcase}}-{{.k/1|floor}}"));
    relay(&url, &[], "{\"symbol\":\"ABC\",\"k\":7}\n").exits(0);
    assert_eq!(server.documents(&format!("{index}-abc-7"), "k").len(), 1);
}

#[test]
fn a_server_that_is_killed_in_the_middle_loses_nothing() {
    const COUNT: u32 = 9000;

    if !require("opensearch") {
        return;
    }
    let mut server = Search::start();
    let index = Search::index();
    let url = server.url(&format!("{index}?id=.n&action=create"));
    let mut relay = wsp(["relay", "-", &url, "--batch", "50"]).args(SOON).spawn();
    let mut input = relay.take_input();
    let feeding = std::thread::spawn(move || {
        let lines: String = (1..=COUNT).map(|number| format!("{{\"n\":{number}}}\n")).collect();
        std::io::Write::write_all(&mut input, lines.as_bytes()).expect("all is fed");
    });
    crate::support::files::wait_until("some documents", || {
        let count = server.ask("GET", &format!("/{index}/_count"), "");
        (count["count"].as_u64()? > 500).then_some(())
    });
    server.kill();
    relay.wait_for_stderr("retrying in");
    server.go();
    feeding.join().expect("all is fed");
    assert_eq!(Balance::of(&relay.outcome().exits(0)), Balance::all_delivered(u64::from(COUNT)));
    let numbers: Vec<u64> =
        server.documents(&index, "n").iter().map(|(_, document)| document["n"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, (1..=u64::from(COUNT)).collect::<Vec<_>>());
}

#[test]
fn what_is_too_large_is_halved_and_pairs_stay_together() {
    if !require("python-websockets") {
        return;
    }
    let bulk = |count: usize| {
        let items: Vec<Value> = (0..count).map(|_| json!({"index": {"status": 201}})).collect();
        json!([200, {}, json!({"errors": false, "items": items}).to_string()])
    };
    let answers = json!([413, bulk(2), 413, bulk(1), 413]);
    let server = http_server(&json!({ "answers": answers }));
    let input = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n";
    let url = at(&server.url, "/prefix/i");
    let output =
        relay(&url, &["--batch", "4", "--batch-age", "10s", "-H", "Authorization: ApiKey abc"], input).exits(0);
    assert!(
        output.stderr.contains("delivered 3 ") && output.stderr.contains("dropped 1 (rejected 1)"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("413"), "{}", output.stderr);
    let told = server.stop();
    let documents: Vec<Vec<u64>> =
        told.iter().map(|request| lines(request).iter().filter_map(|line| line["n"].as_u64()).collect()).collect();
    assert_eq!(documents, [vec![1, 2, 3, 4], vec![1, 2], vec![3, 4], vec![3], vec![4]]);
    for request in &told {
        assert!(request.path.starts_with("/prefix/_bulk?filter_path="), "{}", request.path);
        assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
        assert_eq!(request.header("authorization"), Some("ApiKey abc"));
        let lines = lines(request);
        assert!(lines.chunks(2).all(|pair| pair.len() == 2 && pair[0]["index"]["_index"] == "i"), "{lines:?}");
    }
}

#[test]
fn only_what_may_be_taken_later_is_sent_again() {
    if !require("python-websockets") {
        return;
    }
    let items = |statuses: &[u16]| {
        let items: Vec<Value> = statuses.iter().map(|status| json!({"index": {"status": status}})).collect();
        json!([200, {}, json!({"errors": true, "items": items}).to_string()])
    };
    let answers = json!([503, items(&[201, 429, 400, 503, 200]), items(&[201, 201])]);
    let server = http_server(&json!({ "answers": answers }));
    let input = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n{\"n\":5}\n";
    let url = at(&server.url, "/i").replace("//", "//me:secret@");
    let output = relay(&url, &["--batch", "5", "--batch-age", "10s"], input).exits(0);
    assert!(
        output.stderr.contains("delivered 4 ") && output.stderr.contains("dropped 1 (rejected 1)"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("429; retrying in") && !output.stderr.contains("secret"), "{}", output.stderr);
    let told = server.stop();
    let again: Vec<u64> = lines(&told[2]).iter().filter_map(|line| line["n"].as_u64()).collect();
    assert_eq!((told.len(), again), (3, vec![2, 4]));
    assert_eq!(told[0].header("authorization"), Some("Basic bWU6c2VjcmV0"));
}

#[test]
fn what_does_not_work_is_named() {
    if !require("python-websockets") {
        return;
    }
    let server = http_server(&json!({ "answers": [[200, {}, "<html>"]] }));
    let output = relay(&at(&server.url, "/i"), &[], "{}\n").exits(30);
    assert!(output.stderr.contains("not from OpenSearch or Elasticsearch"), "{}", output.stderr);
    server.stop();
    let url = format!("opensearch+http://127.0.0.1:{}/i", closed_port());
    let output = relay(&url, &["--reconnect=1"], "{}\n").exits(30);
    assert!(output.stderr.contains("gave up after 1 retry"), "{}", output.stderr);
    for (url, reason) in [
        ("opensearch+http://h", "no index"),
        ("opensearch+http://h/i?action=upsert", "invalid ?action=upsert; use index, create or update"),
        ("elasticsearch+https://h/i?action=update", "requires ?id=JQ"),
        ("opensearch+ws://h/i", "invalid endpoint"),
    ] {
        run(&["relay", "-", url], "").exits(2).complains(reason);
    }
    run(&["relay", "-", "opensearch+http://h/i?id=.a["], "").exits(7).complains("?id");
    run(&["relay", "opensearch+http://h/i", "-"], "").exits(2).complains("provides no messages");
}
