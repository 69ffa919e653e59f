//! `--session-name` of `wsp listen` and of server ends of `wsp relay`: where a name comes from, and that it works wherever
//! an id does.
//!
//! Leaves the prompt to `listen_prompt`.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::sys::signal::Signal;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::files::{read, wait_until};
use crate::support::http::{admin_port, ask, get, sample, wait_for};
use crate::support::{Frame, Opcode, RawClient, Server, Socket, events, listen, run, scratch, text, write, wsp};

const KEY: &str = "s3cret-key-012345678901234567890123";

/// A token of this subject with a role, signed with the key.
fn token(subject: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let claims = json!({"sub": subject, "role": format!("{subject}-role"), "exp": now + 3600});
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A server that names sessions, takes tokens, and has an admin address.
fn server(filter: &str, arguments: &[&str]) -> (Server, u16) {
    let run = wsp(["listen", "127.0.0.1:0", "--session-name", filter, "--admin", "0"]).args(arguments);
    let server = Server::ready(run.env("K", KEY));
    let admin = admin_port(&server);
    (server, admin)
}

/// A client of this path, once the server has heard it.
fn client(server: &Server, path: &str) -> Socket {
    let mut client = RawClient::open(server.port, path, "").0;
    client.say(Frame::text(&format!("here is {path}")));
    server.process.wait_for_stdout(&format!("here is {path}"));
    client
}

/// The first event of this type and session.
fn first<'e>(events: &'e [Value], kind: &str, session: &str) -> &'e Value {
    let is_it = |event: &&Value| event["type"] == kind && event["session"] == session;
    events.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} of {session} in {events:?}"))
}

#[test]
fn a_name_comes_from_the_request() {
    let table = [
        (r#".path | split("/")[2]"#, "/chat/anna?x=1", "", json!("anna")),
        (r#".headers["x-user"]"#, "/", "X-User: bert\r\n", json!("bert")),
        (r#".headers["x-user"] | join("+")"#, "/", "X-User: a\r\nX-USER: b\r\n", json!("a+b")),
        (".query.user", "/?user=caf%C3%A9+noir", "", json!("café noir")),
        (".query.user | tonumber", "/?user=42", "", json!("42")),
        (r#".peer | split(":")[0]"#, "/", "", json!("127.0.0.1")),
        (".query.user // empty", "/", "", Value::Null),
        // What holds secrets is not there.
        (".query.token", "/?token=s3cret", "", Value::Null),
        (".headers | .authorization // .cookie", "/", "Authorization: Basic czNjcmV0\r\nCookie: a=b\r\n", Value::Null),
        (".subject, .claims", "/", "", Value::Null),
    ];
    for (filter, path, more, name) in table {
        let (server, _) = server(filter, &["--json"]);
        let (mut client, _) = RawClient::open(server.port, path, more);
        client.say(Frame::text("hello"));
        server.process.wait_for_stdout("hello");
        drop(client);
        let output = server.stop().exits(0);
        let events = events(output.stdout());
        for kind in ["open", "text"] {
            assert_eq!(first(&events, kind, "s1")["name"], name, "{filter}, {kind}: {}", output.stdout());
        }
        assert!(!output.stdout().contains("s3cret"), "{}", output.stdout());
    }
}

#[test]
fn a_token_says_whose_session_it_is_in_its_request_or_first_message() {
    let flags = ["--json", "--auth-jwt-secret-env", "K", "-v", "--ack", "[$meta.name, $meta.subject]"];
    let (server_, admin) = server(".claims.role", &flags);
    let bearer = format!("Authorization: Bearer {}\r\n", token("user-1"));
    let (mut client, head) = RawClient::open(server_.port, "/", &bearer);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    client.say(Frame::text("hello"));
    assert_eq!(client.read_text(), r#"["user-1-role","user-1"]"#);
    let listed = get(admin, "/sessions").json()[0].clone();
    assert_eq!((&listed["name"], &listed["subject"]), (&json!("user-1-role"), &json!("user-1")));
    drop(client);
    let output = server_.stop().exits(0).complains("connected, /, user-1");
    let lines = events(output.stdout());
    assert_eq!(first(&lines, "open", "s1")["subject"], "user-1");
    assert!(!output.stdout().contains("eyJ") && !output.stderr.contains("eyJ"), "the token is not shown");

    // By message it is known once the client is let in; before that it has no name, whatever its request says.
    let (server_, admin) = server(".subject // .path", &[&flags[..], &["--auth-message"]].concat());
    let mut client = RawClient::open(server_.port, "/path", "").0;
    let unnamed = wait_for(admin, "/sessions", |answer| answer.json()[0]["id"] == "s1").json()[0].clone();
    assert_eq!((&unnamed["name"], &unnamed["subject"]), (&Value::Null, &Value::Null));
    ask(admin, "POST", "/sessions/%2Fpath/messages", "", b"too early").is(404);
    client.say(Frame::text(&json!({"type": "auth", "token": token("user-2")}).to_string()));
    assert_eq!(client.read_text(), r#"{"type":"auth","status":"ok"}"#);
    client.say(Frame::text("hello"));
    assert_eq!(client.read_text(), r#"["user-2","user-2"]"#);
    let listed = get(admin, "/sessions").json()[0].clone();
    assert_eq!((&listed["name"], &listed["subject"]), (&json!("user-2"), &json!("user-2")));
    ask(admin, "POST", "/sessions/user-2/messages", "", b"to you").is(200);
    assert_eq!(client.read_text(), "to you");
    drop(client);
    server_.stop().exits(0).complains("s1: named user-2");
}

#[test]
fn a_first_message_names_a_session_that_its_request_has_not_named() {
    // Without a message it fails, which is no fault yet.
    let (server, admin) = server(".message.user | ascii_downcase", &["--json", "--ack", "$meta.name"]);
    let mut client = RawClient::connect(server.port);
    wait_for(admin, "/sessions", |answer| answer.json()[0]["id"] == "s1" && answer.json()[0]["name"].is_null());
    client.say(Frame::text(r#"{"user":"ANNA"}"#));
    assert_eq!(client.read_text(), "anna");
    // It keeps that name.
    client.say(Frame::text(r#"{"user":"BERT"}"#));
    assert_eq!(client.read_text(), "anna");
    // Whoever says nothing of it in the first message has none.
    let mut other = RawClient::connect(server.port);
    other.say(Frame::text("no JSON"));
    assert_eq!(other.read_text(), "null");
    other.say(Frame::text(r#"{"user":"CARL"}"#));
    assert_eq!(other.read_text(), "null");
    assert_eq!(get(admin, "/sessions").json()[1]["name"], Value::Null);
    drop((client, other));
    let output = server.stop().exits(0).complains("s2: --session-name: ");
    let lines = events(output.stdout());
    assert_eq!(first(&lines, "open", "s1")["name"], Value::Null);
    let of_first: Vec<_> = lines.iter().filter(|event| event["session"] == "s1" && event["type"] == "text").collect();
    assert!(of_first.len() == 4 && of_first.iter().all(|event| event["name"] == "anna"), "{}", output.stdout());
    assert_eq!(lines.iter().filter(|event| event["type"] == "error").count(), 1, "{}", output.stdout());
    let plain = output.stdout().lines().next().expect("a line").replace(' ', "");
    assert!(plain.contains(r#""session":"s1","type":"open""#), "{plain}");
    assert!(output.stdout().contains(r#""session":"s1","name":"anna","dir":"in","type":"text""#));
}

#[test]
fn a_name_reaches_all_that_have_it_and_an_id_wins() {
    let (mut server, admin) = server(".path[1:]", &["--input", "json", "--json"]);
    let [mut first, mut second, mut other] = ["/anna", "/anna", "/s1"].map(|path| client(&server, path));
    let line = |to: &str, text: &str| format!("{{\"type\":\"text\",{to},\"text\":\"{text}\"}}\n");
    server.process.send(line(r#""session":"anna""#, "both"));
    server.process.send(line(r#""name":"anna""#, "both again"));
    server.process.send(line(r#""session":"s1","name":"anna""#, "the first by its id"));
    server.process.send(line(r#""session":"s3""#, "the third"));
    server.process.send("{\"type\":\"ping\",\"session\":\"anna\",\"text\":\"?\"}\n");
    assert_eq!(
        [first.read_text(), first.read_text(), first.read_text()],
        ["both", "both again", "the first by its id"]
    );
    assert_eq!([second.read_text(), second.read_text()], ["both", "both again"]);
    assert!(second.read_frame().expect("a ping").is(Opcode::Ping));
    assert_eq!(other.read_text(), "the third", "what it calls itself is the id of another");
    drop(first);
    wait_for(admin, "/sessions", |answer| answer.json().as_array().is_some_and(|sessions| sessions.len() == 2));
    server.process.send(line(r#""session":"anna""#, "one is left"));
    server.process.send(line(r#""session":"s1""#, "an id is never a name"));
    assert_eq!(second.read_text(), "one is left");
    server.process.send("{\"type\":\"close\",\"session\":\"anna\",\"code\":4000}\n");
    assert_eq!(second.answer_close(), 4000);
    wait_for(admin, "/sessions", |answer| answer.json().as_array().is_some_and(|sessions| sessions.len() == 1));
    server.process.send(line(r#""session":"anna""#, "nobody"));
    server.process.send(line(r#""session":"s3""#, "the last"));
    assert_eq!(other.read_text(), "the last");
    drop(other);
    let output = server.stop().exits(0).complains("no session anna;").complains("no session s1;");
    assert!(output.stderr.contains("dropped 2 (no-receiver 2)"), "{}", output.stderr);
}

#[test]
fn names_work_in_the_admin_interface() {
    let (server, admin) = server(".query.user", &["--json"]);
    let [mut first, mut second, mut third] =
        ["/?user=an%20na", "/?user=an%20na", "/?user=a%2Fb"].map(|path| client(&server, path));
    let names: Vec<_> = get(admin, "/sessions").json().as_array().expect("a list").clone();
    assert_eq!(names.iter().map(|session| &session["name"]).collect::<Vec<_>>(), ["an na", "an na", "a/b"]);
    let sent = ask(admin, "POST", "/sessions/an%20na/messages", "", b"hello").is(200).json();
    assert_eq!(sent, json!({"sent": 2, "dropped": 0, "displaced": 0}));
    ask(admin, "POST", "/sessions/a%2Fb/messages", "", b"slash").is(200);
    assert_eq!([first.read_text(), second.read_text(), third.read_text()], ["hello", "hello", "slash"]);
    for unknown in ["an", "an%20na%20", "AN%20NA", "s9", "%00"] {
        ask(admin, "POST", &format!("/sessions/{unknown}/messages"), "", b"x").is(404);
    }
    ask(admin, "POST", "/sessions/an%20na/pause", "", b"").is(200);
    let states = get(admin, "/sessions").json();
    assert_eq!([&states[0]["state"], &states[1]["state"], &states[2]["state"]], ["paused", "paused", "open"]);
    ask(admin, "POST", "/sessions/an%20na/limit?rate=5", "", b"").is(200);
    let closed = ask(admin, "DELETE", "/sessions/an%20na?code=4001", "", b"").is(200).json();
    assert_eq!(closed, json!({"id": "an na", "code": 4001}));
    assert_eq!((first.answer_close(), second.answer_close()), (4001, 4001));
    wait_for(admin, "/sessions", |answer| answer.json().as_array().is_some_and(|sessions| sessions.len() == 1));
    ask(admin, "DELETE", "/sessions/an%20na", "", b"").is(404);
    let metrics = get(admin, "/metrics");
    assert!(!metrics.text().contains("an na") && !metrics.text().contains("a/b"), "{}", metrics.text());
    drop(third);
    server.stop().exits(0);
}

#[test]
fn scripts_forward_to_names() {
    let files = scratch();
    let rules = "[[rule]]\nwhen = '.to'\nforward = '.to'\nreply = '[$meta.name, $meta.session]'\n";
    let script = text(&write(&files, "rules.toml", rules));
    let (server, _) = server(".path[1:]", &["--script", &script]);
    let mut clients = ["/anna", "/anna", "/bert"].map(|path| RawClient::open(server.port, path, "").0);
    // All are there once each has been answered.
    for (number, client) in clients.iter_mut().enumerate() {
        client.say(Frame::text(r#"{"to":"nobody"}"#));
        let name = if number < 2 { "anna" } else { "bert" };
        assert_eq!(client.read_text(), format!("[\"{name}\",\"s{}\"]", number + 1));
    }
    clients[2].say(Frame::text(r#"{"to":"anna"}"#));
    assert_eq!([clients[0].read_text(), clients[1].read_text()], [r#"{"to":"anna"}"#; 2]);
    drop(clients);
    let output = server.stop().exits(0).complains("no session nobody;");
    assert!(output.stderr.contains("no-receiver 3"), "{}", output.stderr);
}

#[test]
fn whatever_a_client_says_a_session_goes_on() {
    let filter =
        r".query | if .fail then error(.fail) elif .list then [1] elif .slow then (def f: f; f) else .user end";
    let (server, admin) = server(filter, &["--echo", "--json", "-v", "--jq-timeout", "100ms"]);
    let long = format!("/?user={}", "x".repeat(129));
    let longest = format!("/?user={}", "y".repeat(128));
    let paths = ["/?user=%1B%5B31m%0Ascarlet", &long, &longest, "/?list=1", "/?fail=%1B%5B2Jno", "/?slow=1"];
    for (number, path) in paths.iter().enumerate() {
        let mut client = RawClient::open(server.port, path, "").0;
        client.say(Frame::text("hello"));
        assert_eq!(client.read_text(), "hello", "{path}");
        let listed = get(admin, "/sessions").json();
        let session = listed.as_array().and_then(|all| all.iter().find(|one| one["id"] == format!("s{}", number + 1)));
        let name = session.expect("the session")["name"].clone();
        let expected = [json!("\u{1b}[31m\nscarlet"), Value::Null, json!("y".repeat(128))];
        assert_eq!(name, expected.get(number).cloned().unwrap_or_default(), "{path}");
    }
    let metrics = get(admin, "/metrics");
    assert!((sample(metrics.text(), "wsp_errors_total{kind=\"filter\"}") - 4.0).abs() < 1e-9, "{}", metrics.text());
    assert!(!metrics.text().contains("scarlet") && !metrics.text().contains("yyy"), "{}", metrics.text());
    let output = server.stop().exits(0);
    assert!(!output.stdout().contains('\u{1b}') && !output.stderr.contains('\u{1b}'), "nothing drives a terminal");
    for told in [
        r"s1 (\u{1b}[31m\nscarlet) 127.0.0.1:",
        "s2: --session-name: a name of 129 bytes is too long; at most 128 are allowed",
        "s4: --session-name: expected a name as text, got array",
        "s5: no name yet: ",
        "s5: --session-name: ",
        "s6: --session-name: the filter ran longer than 100ms (--jq-timeout)",
    ] {
        assert!(output.stderr.contains(told), "{told} in {}", output.stderr);
    }
}

#[test]
fn without_details_the_first_fault_alone_is_told() {
    let (server, admin) = server("[.path]", &["--echo"]);
    for _ in 0..3 {
        run(&["connect", &server.url, "-n", "1"], "hello\n").exits(0).prints("hello\n");
    }
    let is_counted = |text: &str| (sample(text, "wsp_errors_total{kind=\"filter\"}") - 3.0).abs() < 1e-9;
    wait_for(admin, "/metrics", |answer| is_counted(answer.text()));
    let output = server.stop().exits(0);
    assert_eq!(output.stderr.matches("--session-name: expected a name as text").count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("later ones are counted only"), "{}", output.stderr);
    run(&["listen", "0", "--session-name", ".path |"], "").exits(7).complains("--session-name");
}

#[test]
fn a_slow_filter_holds_up_its_own_session_and_keeps_the_order() {
    let filter = r#"if .message.slow then (last(range(300000)) | "late") else null end"#;
    let (server, _) = server(filter, &["--ack", "[$meta.name, $meta.seq]", "--echo", "--jq-timeout", "0"]);
    let mut slow = RawClient::connect(server.port);
    slow.say(Frame::text(r#"{"slow":true}"#));
    slow.say(Frame::text("second"));
    let mut other = RawClient::connect(server.port);
    other.say(Frame::text("hello"));
    assert_eq!([other.read_text(), other.read_text()], ["hello", "[null,1]"]);
    let expected = [r#"{"slow":true}"#, r#"["late",1]"#, "second", r#"["late",2]"#];
    assert_eq!([(); 4].map(|()| slow.read_text()), expected);
    drop((slow, other));
    server.stop().exits(0);
}

#[test]
fn a_server_ends_while_a_session_waits_for_its_name() {
    let filter = "if .message then (def f: f; f) else null end";
    let (server, admin) = server(filter, &["--echo", "--jq-timeout", "0"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("hello"));
    wait_for(admin, "/sessions", |answer| answer.json()[0]["id"] == "s1");
    server.process.signal(Signal::SIGTERM);
    let output = server.process.finish().exits(0);
    assert!(output.stderr.contains("received 1, sent 1") || output.stderr.contains("received 1, sent 0"));
}

#[test]
fn a_server_end_of_a_relay_names_its_clients() {
    let files = scratch();
    let (of_anna, rest) = (files.path().join("anna"), files.path().join("rest"));
    let run = wsp(["relay", "ws-listen://127.0.0.1:0", &format!("file:{}", rest.display()), "--json", "--admin", "0"])
        .args(["--auth-jwt-secret-env", "K", "--session-name", ".message.user // .subject", "--raw-input", "-v"])
        .args(["--route", &format!("$meta.name == \"user-1\" => file:{}", of_anna.display())]);
    let server = Server::ready(run.env("K", KEY));
    let admin = admin_port(&server);
    let bearer = |subject: &str| format!("Authorization: Bearer {}\r\n", token(subject));
    let mut clients = ["user-1", "user-1", "user-2"].map(|user| RawClient::open(server.port, "/", &bearer(user)).0);
    for client in &mut clients {
        client.say(Frame::text("hello"));
    }
    let (of_anna, rest) = (wait_for_lines(&of_anna, 2), wait_for_lines(&rest, 1));
    for line in of_anna.iter().chain(&rest) {
        assert_eq!(line["name"], line["subject"], "{line}");
    }
    assert_eq!((&of_anna[0]["name"], &rest[0]["name"]), (&json!("user-1"), &json!("user-2")));
    let listed =
        wait_for(admin, "/sessions", |answer| answer.json().as_array().is_some_and(|all| all.len() == 6)).json();
    let named = listed.as_array().expect("a list").iter().filter(|one| one["name"] == "user-1");
    let ids: Vec<_> = named.map(|one| (one["id"].clone(), one["subject"].clone())).collect();
    assert_eq!(ids, [(json!("s1.1"), json!("user-1")), (json!("s1.2"), json!("user-1"))]);
    let sent = ask(admin, "POST", "/sessions/user-1/messages", "", b"to both").is(200).json();
    assert_eq!(sent["sent"], 2);
    ask(admin, "POST", "/sessions/s1.3/messages", "", b"to one").is(200);
    let [first, second, third] = &mut clients;
    assert_eq!([first.read_text(), second.read_text(), third.read_text()], ["to both", "to both", "to one"]);
    ask(admin, "POST", "/sessions/nobody/messages", "", b"x").is(404);
    ask(admin, "DELETE", "/sessions/user-1", "", b"").is(200);
    let [first, second, third] = clients;
    assert_eq!((first.answer_close(), second.answer_close()), (1000, 1000));
    wait_for(admin, "/sessions", |answer| answer.json().as_array().is_some_and(|all| all.len() == 4));
    ask(admin, "DELETE", "/sessions/user-1", "", b"").is(404);
    drop(third);
    let output = server.stop().exits(0).complains("s1.1 (user-1) 127.0.0.1:");
    assert!(!output.stderr.contains("eyJ"), "the token is not shown");
}

/// The event lines of a file, once there are so many.
fn wait_for_lines(path: &std::path::Path, count: usize) -> Vec<Value> {
    let whole = |content: &String| content.matches('\n').count() >= count;
    events(&wait_until("the lines", || Some(read(path)).filter(whole)))
}

#[test]
fn a_recorded_name_is_read_back() {
    let files = scratch();
    let record = text(&files.path().join("all.jsonl"));
    let (server, _) = server(".path[1:]", &["--record", &record, "--echo", "--json"]);
    let mut named = client(&server, "/anna");
    named.read_text();
    drop(named);
    server.stop().exits(0);
    let lines = events(&std::fs::read_to_string(&record).expect("the recording"));
    assert!(lines.len() >= 3 && lines.iter().all(|line| line["name"] == "anna"), "{lines:?}");
    // A replay sends what was sent, and takes names as they come.
    let sink = listen(&["--format", "raw"]);
    let limit = Duration::from_secs(60);
    wsp(["connect", &sink.url, "--replay", &record, "--dir", "in", "--speed", "max"]).limit(limit).input("").exits(0);
    assert_eq!(sink.stop().exits(0).stdout(), "here is /anna\n");
}
