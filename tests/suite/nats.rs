//! `nats://` against a real nats-server: order, acknowledgements, sharing, restarts, refusals; and an exact balance always.

use nix::sys::signal::Signal;

use crate::support::certs::Authority;
use crate::support::nats::{Nats, NatsClient};
use crate::support::numbers::{all_delivered, balance, lines, numbers};
use crate::support::proxies::stunnel;
use crate::support::{closed_port, require, run, scratch, write, wsp};

#[test]
fn lines_reach_a_subscriber_in_order_with_what_they_are() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let mut client = server.client();
    client.subscribe("lines.>");
    let output = run(&["relay", "-", &server.url("lines.one?headers")], numbers(1..=3000)).exits(0);
    all_delivered(&output.stderr, 3000);
    for number in 1..=3000_u32 {
        let message = client.receive();
        assert_eq!((message.subject.as_str(), message.text()), ("lines.one", number.to_string()));
        if number == 1 {
            for word in ["session: s", "time: 20", "trace: "] {
                assert!(message.headers.contains(word), "{}", message.headers);
            }
        }
    }
}

#[test]
fn what_is_published_is_received_and_binary_stays_binary() {
    if !require("nats") {
        return;
    }
    let mut server = Nats::start(&[]);
    let relay = wsp(["relay", &server.url("in.*"), "-", "--json"]).spawn();
    server.wait_for_subscriber("in.*");
    let events = "{\"type\":\"text\",\"text\":\"ä\"}\n{\"type\":\"binary\",\"base64\":\"AAH/\"}\n";
    run(&["relay", "-", &server.url("in.x"), "--input", "json"], events).exits(0);
    assert!(relay.wait_for_stdout("\"text\":\"ä\"").contains("\"type\":\"text\""));
    assert!(relay.wait_for_stdout("\"base64\":\"AAH/\"").contains("\"type\":\"binary\""));
    // What comes after the server was away is received all the same.
    server.stop();
    relay.wait_for_stderr("the connection was lost");
    server.go();
    relay.wait_for_stderr("reconnected");
    server.wait_for_subscriber("in.*");
    server.client().publish("in.y", "", "back");
    relay.wait_for_stdout("back");
    relay.signal(Signal::SIGTERM);
    all_delivered(&relay.outcome().exits(0).stderr, 3);
}

#[test]
fn a_queue_group_shares_the_messages() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let url = server.url("work?queue=q");
    let relays: Vec<_> = (0..2).map(|_| wsp(["relay", &url, "-"]).spawn()).collect();
    server.wait_for_subscribers("work", 2);
    run(&["relay", "-", &server.url("work")], numbers(1..=2000)).exits(0);
    // What is published last is received before the end, because draining takes in what is under way.
    let mut all = Vec::new();
    for relay in relays {
        relay.signal(Signal::SIGTERM);
        let output = relay.outcome().exits(0);
        let got = lines(output.stdout());
        assert!(got.len() > 200, "a fair share, not {}", got.len());
        assert!(got.is_sorted(), "in order");
        all.extend(got);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(1..=2000), "every number once");
}

#[test]
fn a_stream_has_every_message_once_and_in_order_though_its_server_was_killed() {
    if !require("nats") {
        return;
    }
    let mut server = Nats::start(&[]);
    server.client().create("S", "s.>");
    let mut relay = wsp(["relay", "-", &server.url("s.a?stream=S"), "--retry-delay", "50ms"]).spawn();
    relay.send(numbers(1..=20_000));
    // Somewhere in the midst of it.
    server.client().ask_until("STREAM.INFO.S", |info| info["state"]["messages"].as_u64() > Some(2000));
    server.stop();
    relay.wait_for_stderr("retrying in");
    server.go();
    relay.send(numbers(20_001..=21_000));
    let output = relay.finish().exits(0);
    all_delivered(&output.stderr, 21_000);
    let state = server.client().ask("STREAM.INFO.S", "");
    assert_eq!(state["state"]["messages"], 21_000);
    let stored = wsp(["relay", &server.url("s.a?stream=S&durable=D"), "-"]).spawn();
    stored.wait_for_stdout("21000");
    stored.signal(Signal::SIGTERM);
    assert!(lines(stored.outcome().exits(0).stdout()).into_iter().eq(1..=21_000));
}

#[test]
fn an_id_from_the_message_keeps_duplicates_out_across_runs() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let url = server.url("ids?stream=IDS&create&id=.id");
    let input = "{\"id\":1}\n{\"id\":2}\n{\"id\":2}\n{\"noid\":3}\n";
    let output = run(&["relay", "-", &url], input).exits(0);
    let expected = "received 4 = delivered 3 + filtered 0 + dropped 1 (rejected 1) + dead-lettered 0 + waiting 0";
    assert_eq!(balance(&output.stderr), expected);
    run(&["relay", "-", &url], input).exits(0);
    assert_eq!(server.client().stored("IDS"), ["{\"id\":1}", "{\"id\":2}"]);
}

#[test]
fn a_message_is_acknowledged_once_its_destination_has_it() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let mut client = server.client();
    client.create("S", "s");
    run(&["relay", "-", &server.url("s?stream=S")], numbers(1..=50)).exits(0);
    // The destination is not there at first.
    let port = closed_port();
    let target = format!("ws://127.0.0.1:{port}/");
    let relay =
        wsp(["relay", &server.url("s?stream=S&durable=D"), &target, "--reconnect", "--retry-delay", "20ms"]).spawn();
    client.ask_until("CONSUMER.INFO.S.D", |info| info["num_ack_pending"] == 50);
    relay.wait_for_stderr("reconnecting");
    let info = client.ask("CONSUMER.INFO.S.D", "");
    assert_eq!((&info["ack_floor"]["stream_seq"], &info["num_ack_pending"]), (&0.into(), &50.into()), "{info}");
    let destination = crate::support::process::listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"]);
    client.ask_until("CONSUMER.INFO.S.D", |info| info["ack_floor"]["stream_seq"] == 50);
    relay.signal(Signal::SIGTERM);
    all_delivered(&relay.outcome().exits(0).stderr, 50);
    assert_eq!(destination.stop().stdout(), numbers(1..=50));
}

#[test]
fn a_consumer_goes_on_where_it_was_when_its_server_comes_back() {
    if !require("nats") {
        return;
    }
    let mut server = Nats::start(&[]);
    server.client().create("S", "s");
    let durable = wsp(["relay", &server.url("s?stream=S&durable=D"), "-", "--retry-delay", "50ms"]).spawn();
    let passing = wsp(["relay", &server.url("s?stream=S"), "-", "--retry-delay", "50ms"]).spawn();
    run(&["relay", "-", &server.url("s?stream=S")], numbers(1..=500)).exits(0);
    for relay in [&durable, &passing] {
        relay.wait_for_stdout("500");
    }
    server.client().ask_until("CONSUMER.INFO.S.D", |info| info["ack_floor"]["stream_seq"] == 500);
    // It writes down what was acknowledged before it goes.
    server.stop_gently();
    for relay in [&durable, &passing] {
        relay.wait_for_stderr("retrying in");
    }
    server.go();
    run(&["relay", "-", &server.url("s?stream=S")], numbers(501..=1000)).exits(0);
    for relay in [durable, passing] {
        relay.wait_for_stdout("1000");
        relay.signal(Signal::SIGTERM);
        assert!(lines(relay.outcome().exits(0).stdout()).into_iter().eq(1..=1000));
    }
}

#[test]
fn a_full_queue_stops_asking_for_more() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let mut client = server.client();
    client.create("S", "s");
    run(&["relay", "-", &server.url("s?stream=S")], numbers(1..=5000)).exits(0);
    let target = format!("ws://127.0.0.1:{}/", closed_port());
    let url = server.url("s?stream=S&durable=D");
    let relay = wsp(["relay", &url, &target, "--queue-size", "20", "--reconnect", "--retry-delay", "20ms"]).spawn();
    let info = client.ask_until("CONSUMER.INFO.S.D", |info| info["num_ack_pending"].as_u64() >= Some(20));
    relay.wait_for_stderr("(retry 5)");
    let later = client.ask("CONSUMER.INFO.S.D", "");
    for info in [info, later] {
        assert!(info["num_ack_pending"].as_u64() <= Some(60), "{info}");
    }
    relay.signal(Signal::SIGKILL);
}

/// A stream whose first message so many consumers of a durable one had and died of; the second is `fine`.
fn poisoned(times: usize) -> (Nats, NatsClient) {
    let server = Nats::start(&[]);
    let mut client = server.client();
    client.create("S", "s");
    client.ask(
        "CONSUMER.DURABLE.CREATE.S.D",
        "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"D\",\"ack_policy\":\"explicit\",\"deliver_policy\":\"all\",\"ack_wait\":50000000}}",
    );
    client.request("s", "poison");
    for _ in 0..times {
        let next = client.request("$JS.API.CONSUMER.MSG.NEXT.S.D", "{\"batch\":1,\"expires\":20000000000}");
        assert_eq!(next.text(), "poison");
    }
    client.request("s", "fine");
    (server, client)
}

#[test]
fn a_message_delivered_too_often_is_given_up() {
    if !require("nats") {
        return;
    }
    let (server, mut client) = poisoned(2);
    let relay = wsp(["relay", &server.url("s?stream=S&durable=D&max-deliver=2"), "-"]).spawn();
    relay.wait_for_stdout("fine");
    client.ask_until("CONSUMER.INFO.S.D", |info| info["ack_floor"]["stream_seq"] == 2);
    relay.signal(Signal::SIGTERM);
    let output = relay.outcome().exits(0).prints("fine\n");
    let expected = "received 2 = delivered 1 + filtered 0 + dropped 1 (retries-spent 1) + dead-lettered 0 + waiting 0";
    assert_eq!(balance(&output.stderr), expected);
}

#[test]
fn what_is_given_up_is_kept_in_the_dead_letters() {
    if !require("nats") {
        return;
    }
    let (server, mut client) = poisoned(3);
    let directory = scratch();
    let dead = crate::support::text(&directory.path().join("dead"));
    let url = server.url("s?stream=S&durable=D&max-deliver=3");
    let relay = wsp(["relay", &url, "-", "--dead-letter", &dead]).spawn();
    relay.wait_for_stdout("fine");
    client.ask_until("CONSUMER.INFO.S.D", |info| info["ack_floor"]["stream_seq"] == 2);
    relay.signal(Signal::SIGTERM);
    let output = relay.outcome().exits(30).prints("fine\n");
    let expected = "received 2 = delivered 1 + filtered 0 + dropped 0 + dead-lettered 1";
    assert!(balance(&output.stderr).starts_with(expected), "{}", output.stderr);
    let letter = std::fs::read_to_string(&dead).expect("dead letters");
    assert!(letter.contains("poison") && letter.contains("delivered 3 times"), "{letter}");
    // Into a server that is gone.
    let gone = format!("nats://127.0.0.1:{}/s?stream=S", closed_port());
    let flags = ["--reconnect=1", "--retry-delay", "1ms", "--dead-letter", &dead];
    let output = wsp(["relay", "-", &gone]).args(flags).input("a\nb\n").exits(30);
    assert!(balance(&output.stderr).contains("dead-lettered 2"), "{}", output.stderr);
}

#[test]
fn where_to_begin_in_a_stream_can_be_said() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let mut client = server.client();
    client.create("S", "s");
    client.request("s", "old");
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(1);
    while jiff::Timestamp::now() <= time {}
    let late = wsp(["relay", &server.url("s?stream=S&durable=L&start=latest"), "-"]).spawn();
    client.ask_until("CONSUMER.INFO.S.L", |info| info.get("error").is_none());
    client.request("s", "new");
    let at = format!("s?stream=S&durable=T&start={time}");
    let all = ["s?stream=S&durable=A", "s?stream=S", "s?stream=S&durable=H&start=-1h"];
    let others: Vec<_> = all.into_iter().chain([at.as_str()]).collect();
    let mut relays = vec![(late, "new\n", "latest")];
    for rest in others {
        let expected = if rest == at { "new\n" } else { "old\nnew\n" };
        relays.push((wsp(["relay", &server.url(rest), "-"]).spawn(), expected, rest));
    }
    for (relay, expected, rest) in relays {
        relay.wait_for_stdout("new");
        relay.signal(Signal::SIGTERM);
        assert_eq!(relay.outcome().exits(0).stdout(), expected, "{rest}");
    }
}

#[test]
fn requests_are_answered_and_answers_come_back() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    // A WebSocket server that echoes answers requests made over NATS …
    let echo = crate::support::listen(&["--reply-jq", ".n + 1"]);
    let service = wsp(["relay", &server.url("svc?reply"), &echo.url, "--both"]).spawn();
    server.wait_for_subscriber("svc");
    assert_eq!(server.client().request("svc", "{\"n\":41}").text(), "42");
    // … also those of another relay, for which each message is a request.
    let input: String = (1..=100).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let mut asking = wsp(["relay", "-", &server.url("svc?request"), "--both"]).spawn();
    asking.send(&input);
    asking.wait_for_stdout("101");
    asking.signal(Signal::SIGTERM);
    let output = asking.outcome().exits(0).prints(&numbers(2..=101));
    assert!(output.stderr.contains("received 100 = delivered 100 "), "{}", output.stderr);
    service.signal(Signal::SIGTERM);
    service.outcome().exits(0);
}

#[test]
fn a_request_that_nobody_answers_is_said_to_be_undelivered() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let output =
        run(&["relay", "-", &server.url("nobody?request"), "--reconnect=2", "--retry-delay", "1ms"], "x\n").exits(30);
    assert!(output.stderr.contains("no one answers requests there"), "{}", output.stderr);
    assert!(balance(&output.stderr).ends_with("waiting 1"), "{}", output.stderr);
}

#[test]
fn a_message_the_server_will_never_take_is_rejected_and_the_others_go_on() {
    if !require("nats") {
        return;
    }
    let server = Nats::configured("max_payload: 2048\n");
    let mut client = server.client();
    client.create("S", "s");
    let large = "x".repeat(4000);
    for url in [server.url("plain"), server.url("s?stream=S")] {
        let output = run(&["relay", "-", &url], format!("a\n{large}\nb\n")).exits(0);
        let expected = "received 3 = delivered 2 + filtered 0 + dropped 1 (rejected 1) + dead-lettered 0 + waiting 0";
        assert_eq!(balance(&output.stderr), expected, "{url}");
        assert!(output.stderr.contains("the server accepts at most 2048"), "{}", output.stderr);
    }
    assert_eq!(client.stored("S"), ["a", "b"]);
}

#[test]
fn what_cannot_work_is_named() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let mut client = server.client();
    client.create("S", "s");
    let gone = format!("nats://127.0.0.1:{}/x", closed_port());
    let patience = ["--reconnect=2", "--retry-delay", "1ms"];
    for (url, code, words) in [
        (gone.clone(), 30, [gone.as_str(), "after 2 retries", "--reconnect=N"]),
        (server.url("s?stream=NONE"), 30, ["stream NONE does not exist", "?create", "waiting"]),
        (server.url("other?stream=S"), 30, ["does not include the subject other", "hint:", "waiting"]),
        (server.url("s?strem=S"), 2, ["?strem", "stream", "hint:"]),
        (server.url("s.*"), 2, ["s.*", "?publish", "hint:"]),
        (server.url(""), 2, ["no subject", "nats://", "hint:"]),
    ] {
        let output = wsp(["relay", "-", &url]).args(patience).input("x\n").exits(code);
        for word in words {
            assert!(output.stderr.contains(word), "{url}: no {word:?} in {}", output.stderr);
        }
    }
    // As a source too.
    for (url, code, word) in [
        (gone.clone(), 30, "after 2 retries"),
        (server.url("s?stream=NONE&durable=D"), 30, "stream NONE does not exist"),
    ] {
        let output = wsp(["relay", &url, "-"]).args(patience).input("").exits(code);
        assert!(output.stderr.contains(word), "{url}: {}", output.stderr);
    }
}

#[test]
fn a_stream_that_is_to_be_received_from_is_made_where_that_is_asked_for() {
    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let mut client = server.client();
    for (stream, more) in [("ONE", "&durable=D"), ("TWO", "")] {
        let subject = format!("{stream}.*");
        let url = server.url(&format!("{subject}?stream={stream}{more}"));
        let output = run(&["relay", &url, "-"], "").exits(30);
        assert!(output.stderr.contains(&format!("stream {stream} does not exist")), "{}", output.stderr);
        assert!(output.stderr.contains("hint: use ?create to create it"), "{}", output.stderr);
        // The hint helps.
        let relay = wsp(["relay", &format!("{url}&create"), "-"]).spawn();
        let info = client.ask_until(&format!("STREAM.INFO.{stream}"), |info| info["state"]["consumer_count"] == 1);
        assert_eq!(info["config"]["subjects"][0], *subject);
        client.publish(&format!("{stream}.a"), "", "hello");
        relay.wait_for_stdout("hello");
        relay.signal(Signal::SIGTERM);
        all_delivered(&relay.outcome().exits(0).stderr, 1);
    }
}

#[test]
fn who_we_are_is_said_in_every_way() {
    if !require("nats") {
        return;
    }
    let password = Nats::configured("authorization { user: ann, password: secret }\n");
    let token = Nats::configured("authorization { token: secret }\n");
    let limited = Nats::configured(
        "authorization { users = [{ user: ann, password: secret, permissions: { publish: [\"ok\", \"_INBOX.>\"], \
         subscribe: [\"_INBOX.>\"] } }] }\n",
    );
    let nkey = Nats::configured(
        "authorization { users = [{ nkey: UCKMFTNXI42ZBI3HFOGJYFAW4X2QQHH37NNYLOS5WSFNBO37OIZHASMJ }] }\n",
    );
    let directory = scratch();
    // A key of this test alone, made for it.
    let text = "SUAFKN64CO7OZBSKW5UWIQTLK6HQXVJY3X24SF3G3BLESUBIPMBFY7O4RU";
    let seed = write(&directory, "user.nk", format!("{text}\n"));
    let say = |url: &str| wsp(["relay", "-", url]).env("NATS_SECRET", "secret").env("NATS_SEED", text).input("x\n");
    let with_user = |server: &Nats, user: &str, rest: &str| format!("nats://{user}127.0.0.1:{}/{rest}", server.port);
    for url in [
        with_user(&password, "ann:secret@", "s"),
        with_user(&password, "", "s?user=ann&password-env=NATS_SECRET"),
        with_user(&token, "secret@", "s"),
        with_user(&token, "", "s?token-env=NATS_SECRET"),
        with_user(&limited, "ann:secret@", "ok"),
        with_user(&nkey, "", &format!("s?nkey={}", seed.display())),
        with_user(&nkey, "", "s?nkey-env=NATS_SEED"),
    ] {
        all_delivered(&say(&url).exits(0).stderr, 1);
    }
    for (url, word) in [
        (with_user(&password, "ann:wrong@", "s"), "refused the credentials"),
        (with_user(&password, "", "s"), "refused the credentials"),
        (with_user(&token, "wrong@", "s"), "refused the credentials"),
        (with_user(&nkey, "", "s"), "refused the credentials"),
        (with_user(&limited, "ann:secret@", "other"), "ermissions"),
    ] {
        let output = say(&url).exits(30).complains(word).complains("hint:");
        assert!(!output.stderr.contains("secret") && !output.stderr.contains("wrong@"), "{}", output.stderr);
    }
}

#[test]
fn a_credentials_file_says_who_we_are() {
    if !require("nats") {
        return;
    }
    let data = crate::support::root().join("tests/data/nats");
    let server = Nats::plain(&["-c", &crate::support::text(&data.join("operator.conf"))]);
    let creds = crate::support::text(&data.join("user.creds"));
    let relay = wsp(["relay", &server.url(&format!("s?creds={creds}")), "-"]).spawn();
    server.wait_for_subscriber("s");
    all_delivered(&run(&["relay", "-", &server.url(&format!("s?creds={creds}"))], "x\n").exits(0).stderr, 1);
    relay.wait_for_stdout("x");
    relay.signal(Signal::SIGTERM);
    relay.outcome().exits(0);
    run(&["relay", "-", &server.url("s")], "x\n").exits(30).complains("refused the credentials");
    let directory = scratch();
    let other = write(&directory, "other.creds", "no credentials\n");
    let output = run(&["relay", "-", &server.url(&format!("s?creds={}", other.display()))], "x\n").exits(2);
    output.complains("?creds").complains("JWT");
}

#[test]
fn tls_is_set_as_for_every_other_end() {
    if !require("nats") {
        return;
    }
    let authority = Authority::new();
    let (identity, client) = (authority.server(&["127.0.0.1"]), authority.client());
    let tls = |verify: &str| {
        Nats::configured(&format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\"{verify} }}\n",
            identity.cert,
            identity.key,
            authority.ca()
        ))
    };
    let (open, strict) = (tls(""), tls(", verify: true"));
    let say = |server: &Nats, flags: &[&str]| wsp(["relay", "-", &server.url("s?tls")]).args(flags).input("x\n");
    let ca = authority.ca();
    all_delivered(&say(&open, &["--cacert", &ca]).exits(0).stderr, 1);
    all_delivered(&say(&open, &["-k"]).exits(0).stderr, 1);
    all_delivered(&say(&open, &["--cacert", &ca, "--tls-min", "1.3"]).exits(0).stderr, 1);
    let shown = ["--cacert", &ca, "--cert", &client.cert, "--key", &client.key];
    all_delivered(&say(&strict, &shown).exits(0).stderr, 1);
    for (server, flags) in [(&open, &[][..]), (&strict, &["--cacert", ca.as_str()][..])] {
        let output = say(server, flags);
        assert!([8, 30].contains(&output.code), "{}", output.stderr);
        assert!(output.stderr.contains("TLS") && output.stderr.contains("--cert"), "{}", output.stderr);
    }
}

#[test]
fn tls_may_come_before_the_servers_first_word() {
    if !require("nats") || !require("stunnel") {
        return;
    }
    let authority = Authority::new();
    let server = Nats::plain(&[]);
    let front = stunnel(&authority.server(&["127.0.0.1"]), server.port);
    let say = |parameter: &str| {
        let url = format!("nats://127.0.0.1:{}/s?{parameter}", front.port);
        wsp(["relay", "-", &url, "--cacert", &authority.ca(), "--connect-timeout", "1"]).input("x\n")
    };
    let mut client = server.client();
    client.subscribe("s");
    all_delivered(&say("tls-first").exits(0).stderr, 1);
    assert_eq!(client.receive().text(), "x");
    // Where each waits for the other to begin, time runs out.
    say("tls").exits(30).complains("timed out connecting");
}

#[test]
fn streams_of_another_domain_are_asked_for_by_its_name() {
    if !require("nats") {
        return;
    }
    let server = Nats::configured("jetstream { domain: hub }\n");
    for domain in ["", "&domain=hub"] {
        let url = server.url(&format!("s.>?stream=S&create{domain}&publish=s.x"));
        all_delivered(&run(&["relay", "-", &url], numbers(1..=10)).exits(0).stderr, 10);
    }
    let output = run(&["relay", "-", &server.url("s?stream=S&domain=nowhere")], "x\n").exits(30);
    output.complains("no JetStream answered in domain nowhere").complains("?domain");
}
