//! `--schema`: what arrives is checked, told and counted, and printed all the same.

use crate::support::process::Output;
use crate::support::{FakeServer, Frame, Opcode, closed_port, events, run, scratch, text, write, wsp};

const PRICE: &str = r##"{
    "type": "object",
    "required": ["price"],
    "properties": {"price": {"$ref": "#/$defs/positive"}},
    "$defs": {"positive": {"type": "number", "exclusiveMinimum": 0}}
}"##;

/// A server that says these and closes.
fn saying(messages: &'static [&'static str]) -> FakeServer {
    FakeServer::once(move |request| {
        let mut socket = request.accept();
        for message in messages {
            socket.say(Frame::text(message));
        }
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    })
}

/// What `connect` makes of these messages, with the schema and further arguments.
fn checked(messages: &'static [&'static str], arguments: &[&str]) -> Output {
    let directory = scratch();
    let schema = text(&write(&directory, "price.json", PRICE));
    let server = saying(messages);
    let output = wsp(["connect", &server.url, "--schema", &schema, "-w", "-1"]).args(arguments).input("");
    server.join();
    output
}

#[test]
fn what_does_not_match_is_printed_told_and_counted() {
    let output = checked(&[r#"{"price":1}"#, r#"{"price":"1"}"#, "hello", r#"{"price":2}"#], &[]).exits(0);
    let output = output.prints("{\"price\":1}\n{\"price\":\"1\"}\nhello\n{\"price\":2}\n");
    let output =
        output.complains(r#"message 2 does not match the schema: /price: expected a number, not the string "1""#);
    let output = output.complains("message 3 does not match the schema: not JSON");
    let output = output.complains("2 of 4 messages did not match the schema");
    assert!(!output.stderr.contains("message 1 ") && !output.stderr.contains("message 4 "), "{}", output.stderr);
}

#[test]
fn it_is_an_error_event_right_after_the_message() {
    let output = checked(&[r#"{"price":1}"#, r#"{"price":0}"#], &["--json"]).exits(0);
    let events = events(output.stdout());
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["open", "text", "text", "error", "close"]);
    let error = events[3]["error"].as_str().expect("an error");
    assert!(error.starts_with("message 2 does not match the schema: /price: expected more than 0"), "{error}");
}

#[test]
fn quiet_says_nothing() {
    let output = checked(&[r#"{"price":0}"#], &["-q"]).exits(0).prints("{\"price\":0}\n");
    assert_eq!(output.stderr, "");
}

#[test]
fn the_message_is_checked_and_not_what_a_filter_makes_of_it() {
    checked(&[r#"{"price":3}"#], &["-j", ".price", "--fail-on-invalid"]).exits(0).prints("3\n");
}

#[test]
fn the_first_that_does_not_match_ends_the_run_where_that_is_asked_for() {
    let directory = scratch();
    let schema = text(&write(&directory, "price.json", PRICE));
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text(r#"{"price":1}"#));
        socket.say(Frame::new(Opcode::Binary, *b"\xff"));
        assert_eq!(socket.answer_close(), 1000);
    });
    let client = wsp(["connect", &server.url, "--schema", &schema, "--fail-on-invalid", "--json"]).spawn();
    let output = client.outcome().exits(42).complains("1 of 2 messages did not match");
    assert!(output.stdout().contains("message 2 does not match"), "{}", output.stdout());
    server.join();
}

#[test]
fn a_message_that_is_expected_must_match_too() {
    let directory = scratch();
    let schema = text(&write(&directory, "price.json", PRICE));
    for (message, code) in [(r#"{"price":1}"#, 0), (r#"{"price":-1}"#, 42)] {
        let server = FakeServer::once(move |request| {
            let mut socket = request.accept();
            socket.say(Frame::text(message));
            socket.answer_close();
        });
        let arguments = ["connect", &server.url, "--schema", &schema, "--fail-on-invalid", "--expect", ".price"];
        wsp(arguments).spawn().outcome().exits(code);
        server.join();
    }
}

#[test]
fn a_schema_is_read_and_compiled_before_connecting() {
    let directory = scratch();
    // Whoever connects first ends with 14.
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binding a port");
    listener.set_nonblocking(true).expect("not waiting");
    let remote = format!(r#"{{"$ref":"http://{}/schema.json"}}"#, listener.local_addr().expect("its address"));
    for (source, expected) in [
        ("{", "not JSON"),
        (r#"{"type":"strin"}"#, "/type: "),
        (r#"{"pattern":"("}"#, "pattern"),
        (r#"{"$ref":"missing.json"}"#, "missing.json"),
        (&remote, "schema.json"),
    ] {
        let schema = text(&write(&directory, "schema.json", source));
        let output = run(&["connect", &url, "--schema", &schema], "").exits(7).complains("wsp: --schema: ");
        output.complains(expected);
    }
    assert!(listener.accept().is_err(), "nothing is fetched");
    let missing = text(&directory.path().join("missing.json"));
    run(&["connect", &url, "--schema", &missing], "").exits(2).complains(&missing);
    run(&["connect", &url, "--fail-on-invalid"], "").exits(2).complains("--schema");
}

#[test]
fn a_schema_may_refer_to_files_beside_it() {
    let directory = scratch();
    write(&directory, "positive.json", r#"{"$defs":{"number":{"type":"number","exclusiveMinimum":0}}}"#);
    let main = r#"{"properties":{"price":{"$ref":"positive.json#/$defs/number"}}}"#;
    let schema = text(&write(&directory, "main.json", main));
    let server = saying(&[r#"{"price":1}"#, r#"{"price":-1}"#]);
    let output = run(&["connect", &server.url, "--schema", &schema, "-w", "-1"], "").exits(0);
    output.complains("message 2 does not match the schema: /price: expected more than 0, not the number -1");
    server.join();
}

const TRADE: &str = r#"{"type":"record","name":"Trade","namespace":"com.example","fields":[
    {"name":"symbol","type":"string"},
    {"name":"price","type":["null","double"],"default":null},
    {"name":"side","type":{"type":"enum","name":"Side","symbols":["BUY","SELL"]}}
]}"#;

#[test]
fn an_avro_schema_is_used_as_it_is_and_printed_as_json_schema() {
    let directory = scratch();
    let right = "{\"symbol\":\"A\",\"side\":\"BUY\"}\n{\"symbol\":\"A\",\"price\":1.5,\"side\":\"SELL\"}\n";
    let input = format!("{right}{{\"symbol\":\"A\",\"side\":\"HOLD\"}}\n{{\"symbol\":1,\"side\":\"BUY\"}}\nhello\n");
    // By what it says, or by the ending of its name.
    let avro = ["trade.json", "trade.avsc"].map(|name| text(&write(&directory, name, TRADE)));
    let printed = run(&["generate", "schema", &avro[0]], "").exits(0);
    let parsed: serde_json::Value = serde_json::from_str(printed.stdout()).expect("JSON");
    assert_eq!(parsed["$defs"]["com.example.Side"]["enum"], serde_json::json!(["BUY", "SELL"]));
    let converted = text(&write(&directory, "converted.json", printed.stdout()));
    for schema in [&avro[0], &avro[1], &converted] {
        let dead = text(&directory.path().join("dead"));
        let output = run(&["relay", "-", "-", "--schema", schema, "--dead-letter", &dead], &input).exits(30);
        assert_eq!(output.stdout(), right, "{schema}");
        let dead = std::fs::read_to_string(&dead).and_then(|text| std::fs::remove_file(&dead).map(|()| text));
        let dead = dead.expect("dead letters");
        for reason in ["/side: expected one of", "/symbol: expected a string, not the number 1", "not JSON"] {
            assert!(dead.contains(reason), "{schema}: {reason}: {dead}");
        }
        assert_eq!(dead.lines().count(), 3, "{schema}");
    }
    let wrong = TRADE.replace("\"double\"", "\"dubble\"");
    let wrong = text(&write(&directory, "wrong.avsc", wrong));
    let place = "/fields/1/type/1: unknown Avro type 'dubble'";
    run(&["relay", "-", "-", "--schema", &wrong], "").exits(7).complains(place);
    run(&["generate", "schema", &wrong], "").exits(7).complains(place);
    run(&["generate", "schema", "nowhere.avsc"], "").exits(2).complains("nowhere.avsc");
}
