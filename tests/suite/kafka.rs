//! `kafka://` against a real Apache Kafka: order, keys, groups, positions, restarts, refusals; and an exact balance always.

use nix::sys::signal::Signal;

use super::relay_admin::port_of;
use crate::support::certs::Authority;
use crate::support::http::{Answer, sample, wait_for};
use crate::support::kafka::{Kafka, Other, SOON, shared};
use crate::support::numbers::{all_delivered, balance, lines, numbers};
use crate::support::process::listen_at;
use crate::support::{closed_port, require, run, scratch, wsp};

/// Whether they are the numbers from 1 on, in order.
fn are_numbers(records: &[serde_json::Value]) -> bool {
    let numbers = records.iter().map(|record| record["value"].as_str().and_then(|text| text.parse().ok()));
    numbers.eq((1..=u32::try_from(records.len()).expect("few")).map(Some))
}

#[test]
fn lines_reach_a_topic_in_order_with_what_they_are() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("order", 1, &[]);
    let url = format!("kafka://{server}/{topic}?compression=gzip");
    all_delivered(&run(&["relay", "-", &url], numbers(1..=5000)).exits(0).stderr, 5000);
    let records = other.read(&topic, 5000);
    assert!(are_numbers(&records), "in order");
    let headers = &records[0]["headers"];
    assert_eq!(headers["type"], "text");
    assert!(["session", "time", "trace"].iter().all(|name| headers[name].is_string()), "{headers}");
}

#[test]
fn a_key_decides_on_the_partition_as_it_does_for_others() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("keys", 7, &[]);
    let url = format!("kafka://{server}/{topic}");
    let input: String = (0..70).map(|n| format!("{{\"user\":\"u{}\",\"n\":{n}}}\n", n % 10)).collect();
    run(&["relay", "-", &url, "--key", ".user"], &input).exits(0);
    run(&["relay", "-", &format!("{url}?key=.user")], "{\"user\":\"u3\",\"n\":70}\nno json\n").exits(0);
    let records = other.read(&topic, 72);
    let mut places = std::collections::BTreeMap::new();
    for record in &records {
        let Some(key) = record["key"].as_str() else { continue };
        assert_eq!(*places.entry(key.to_owned()).or_insert(&record["partition"]), &record["partition"], "{key}");
    }
    assert_eq!(places.len(), 10);
    assert_eq!(records.iter().filter(|record| record["key"].is_null()).count(), 1);
    // What the partitioner of Kafka's own client says: murmur2("u3") & 0x7fffffff modulo 7.
    assert_eq!(places["u3"], &serde_json::json!(murmur2(b"u3") % 7));
}

/// As in Kafka's own client, made positive.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ u32::try_from(data.len()).expect("short");
    let (blocks, rest) = data.as_chunks::<4>();
    for block in blocks {
        let mut k = u32::from_le_bytes(*block).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (place, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)) & 0x7fff_ffff
}

#[test]
fn a_group_goes_on_where_it_was_and_binary_stays_binary() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("resume", 1, &[]);
    other.write(&topic, "one\ntwo\n");
    let url = format!("kafka://{server}/{topic}?group={topic}");
    let relay = wsp(["relay", &url, "-"]).spawn();
    relay.wait_for_stdout("two");
    relay.signal(Signal::SIGTERM);
    all_delivered(&relay.outcome().exits(0).prints("one\ntwo\n").stderr, 2);
    assert_eq!(other.committed(&topic, &topic), 2);
    let events = "{\"type\":\"text\",\"text\":\"ä\"}\n{\"type\":\"binary\",\"base64\":\"YQ==\"}\n";
    let target = format!("kafka://{server}/{topic}?compression=zstd");
    run(&["relay", "-", &target, "--input", "json"], events).exits(0);
    let relay = wsp(["relay", &url, "-", "--json"]).spawn();
    relay.wait_for_stdout("\"base64\":\"YQ==\"");
    relay.signal(Signal::SIGTERM);
    let output = relay.outcome().exits(0);
    assert!(!output.stdout().contains("two") && output.stdout().contains("\"text\":\"ä\""), "{}", output.stdout());
}

#[test]
fn a_position_advances_once_the_destination_has_the_message() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("settled", 1, &[]);
    other.write(&topic, &numbers(1..=3000));
    let (url, port) = (format!("kafka://{server}/{topic}?group={topic}"), closed_port());
    let target = format!("ws://127.0.0.1:{port}/");
    // It waits for its destination, with a queue that holds little.
    let flags = ["--queue-size", "50", "--reconnect", "--retry-delay", "20ms", "--retry-max", "100ms"];
    let relay = wsp(["relay", &url, &target]).args(flags).spawn();
    relay.wait_for_stderr("(retry 25)");
    assert_eq!(other.committed(&topic, &topic), 0);
    let destination = listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"]);
    other.wait_for_committed(&topic, &topic, 3000);
    relay.signal(Signal::SIGTERM);
    all_delivered(&relay.outcome().exits(0).stderr, 3000);
    assert!(lines(destination.stop().stdout()).into_iter().eq(1..=3000), "each once and in order");
}

#[test]
fn where_to_begin_can_be_said() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("begin", 2, &[]);
    other.write(&topic, "old\nold\nold\n");
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(1);
    while jiff::Timestamp::now() <= time {}
    let url = format!("kafka://{server}/{topic}");
    let (latest, at) = (format!("{url}?group={topic}-l&start=latest"), format!("{url}?group={topic}-t&start={time}"));
    let (all, everybody) = (format!("{url}?group={topic}-e"), format!("{url}?start=earliest"));
    let late = wsp(["relay", &latest, "-"]).spawn();
    // Its place at the end is its own once it is remembered or something comes: write until it has seen it.
    let deadline = std::time::Instant::now() + crate::support::DEADLINE;
    while !late.has_printed("new") {
        assert!(std::time::Instant::now() < deadline, "the newest messages are received");
        other.write(&topic, "new\n");
    }
    late.signal(Signal::SIGTERM);
    assert!(!late.outcome().exits(0).stdout().contains("old"));
    for (url, has_old) in [(&at, false), (&all, true), (&everybody, true)] {
        let relay = wsp(["relay", url, "-"]).spawn();
        relay.wait_for_stdout("new");
        if has_old {
            // It may be in another partition than what came first.
            relay.wait_for_stdout("old");
        }
        relay.signal(Signal::SIGTERM);
        assert_eq!(relay.outcome().exits(0).stdout().contains("old"), has_old, "{url}");
    }
}

#[test]
fn members_that_come_and_go_in_order_give_everything_once() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    for strategy in ["range", "cooperative-sticky"] {
        let topic = other.create(&format!("rebalance-{strategy}"), 4, &[]);
        let target = format!("kafka://{server}/{topic}");
        let url = format!("{target}?group={topic}&{SOON}&rdkafka.partition.assignment.strategy={strategy}");
        let mut source = wsp(["relay", "-", &target]).spawn();
        let first = wsp(["relay", &url, "-"]).spawn();
        source.send(numbers(1..=1000));
        first.wait_for_stdout("9");
        let second = wsp(["relay", &url, "-"]).spawn();
        let mut last = 1000;
        // Until the second has partitions of its own.
        let deadline = std::time::Instant::now() + crate::support::DEADLINE;
        while !second.has_printed("1") {
            assert!(std::time::Instant::now() < deadline, "the second member gets a share");
            source.send(numbers(last + 1..=last + 100));
            last += 100;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        first.signal(Signal::SIGTERM);
        let first = first.outcome().exits(0);
        source.finish().exits(0);
        other.wait_for_committed(&topic, &topic, u64::from(last));
        second.signal(Signal::SIGTERM);
        let mut got = [lines(first.stdout()), lines(second.outcome().exits(0).stdout())].concat();
        got.sort_unstable();
        assert!(got.into_iter().eq(1..=last), "{strategy}: every number once");
    }
}

#[test]
fn a_message_the_broker_will_never_take_is_rejected_and_its_neighbours_go_on() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("large", 1, &["max.message.bytes=2000"]);
    let (large, huge) = ("x".repeat(5000), "y".repeat(2_000_000));
    let input = format!("a\n{large}\n{}{huge}\nz\n", numbers(1..=3000));
    // Many batches are under way at a time, and none overtakes another.
    let output = run(&["relay", "-", &format!("kafka://{server}/{topic}"), "--batch-age", "0"], input).exits(0);
    let expected = "received 3004 = delivered 3002 + filtered 0 + dropped 2 (rejected 2) + dead-lettered 0 + waiting 0";
    assert_eq!(balance(&output.stderr), expected);
    let records = other.read(&topic, 3002);
    assert_eq!((&records[0]["value"], &records[3001]["value"]), (&"a".into(), &"z".into()));
    assert!(are_numbers(&records[1..3001]));
}

#[test]
fn what_a_topic_takes_beyond_the_usual_goes_there_and_comes_back() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("roomy", 1, &["max.message.bytes=5000000"]);
    let input = format!("a\n{}\n{}z\n", "y".repeat(2_000_000), numbers(1..=100));
    let url = format!("kafka://{server}/{topic}");
    let output = run(&["relay", "-", &url], input.clone()).exits(0);
    assert!(balance(&output.stderr).starts_with("received 103 = delivered 103 "), "{}", output.stderr);
    let relay = wsp(["relay", &format!("{url}?group={topic}"), "-"]).spawn();
    other.wait_for_committed(&topic, &topic, 103);
    relay.signal(Signal::SIGTERM);
    assert!(relay.outcome().exits(0).stdout() == input, "the same comes back");
}

#[test]
fn what_is_given_up_is_kept_in_the_dead_letters() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let topic = Other(&server).create("dead", 1, &["max.message.bytes=2000"]);
    let directory = scratch();
    let dead = crate::support::text(&directory.path().join("dead"));
    let input = format!("a\n{}\nz\n", "x".repeat(5000));
    let arguments = ["relay", "-", &format!("kafka://{server}/{topic}"), "--dead-letter", &dead];
    let output = run(&arguments, input).exits(30);
    let expected = "received 3 = delivered 2 + filtered 0 + dropped 0 + dead-lettered 1";
    assert!(balance(&output.stderr).starts_with(expected), "{}", output.stderr);
    let letter = std::fs::read_to_string(&dead).expect("dead letters");
    assert!(letter.contains("xxxx") && letter.contains("too large"), "{} bytes", letter.len());
    let gone = format!("kafka://127.0.0.1:{}/x", closed_port());
    let flags = ["--reconnect=1", "--retry-delay", "1ms", "--dead-letter", &dead];
    let output = wsp(["relay", "-", &gone]).args(flags).input("b\nc\n").exits(30);
    assert!(balance(&output.stderr).contains("dead-lettered 2"), "{}", output.stderr);
}

#[test]
fn every_kind_of_compression_is_spoken() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("compressed", 1, &[]);
    let url = format!("kafka://{server}/{topic}");
    for kind in ["gzip", "snappy", "lz4", "zstd"] {
        run(&["relay", "-", &format!("{url}?compression={kind}")], numbers(1..=1000)).exits(0);
    }
    // They come back as they went, to us and, where it knows the kind, to the other client.
    let relay = wsp(["relay", &format!("{url}?group={topic}"), "-"]).spawn();
    other.wait_for_committed(&topic, &topic, 4000);
    relay.signal(Signal::SIGTERM);
    assert_eq!(relay.outcome().exits(0).stdout(), numbers(1..=1000).repeat(4));
    let gzip = other.read(&topic, 1000);
    assert!(are_numbers(&gzip));
}

#[test]
fn partitions_of_a_member_that_is_stuck_are_given_back_with_what_it_could_not_deliver() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("stuck", 4, &[]);
    other.write(&topic, &numbers(1..=400));
    let url = format!("kafka://{server}/{topic}?group={topic}&{SOON}");
    // Its destination is not there.
    let target = format!("ws://127.0.0.1:{}/", closed_port());
    let flags = ["--reconnect", "--retry-delay", "20ms", "--retry-max", "100ms", "--grace", "0"];
    let stuck = wsp(["relay", &url, &target]).args(flags).spawn();
    stuck.wait_for_stderr("(retry 5)");
    let next = wsp(["relay", &url, "-"]).spawn();
    // Half of the partitions come with all they hold, though the first has taken them in and settled nothing.
    next.wait_for_stdout("1");
    stuck.signal(Signal::SIGTERM);
    stuck.outcome();
    other.wait_for_committed(&topic, &topic, 400);
    next.signal(Signal::SIGTERM);
    let mut got = lines(next.outcome().exits(0).stdout());
    got.sort_unstable();
    assert!(got.into_iter().eq(1..=400), "each once, though another had all of them before");
}

#[test]
fn who_had_no_room_for_long_goes_on_after_others_came_and_there_is_room() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let other = Other(&server);
    let topic = other.create("paused", 4, &[]);
    other.write(&topic, &numbers(1..=400));
    let url = format!("kafka://{server}/{topic}?group={topic}&{SOON}");
    let port = closed_port();
    let target = format!("ws://127.0.0.1:{port}/");
    let flags = ["--queue-size", "5", "--reconnect", "--retry-delay", "50ms", "--retry-max", "50ms", "--admin", "0"];
    let paused = wsp(["relay", &url, &target]).args(flags).spawn();
    let admin = port_of(&paused);
    let retries = |answer: &Answer| sample(answer.text(), "wsp_errors_total{kind=\"handshake\"}");
    // Long enough without room that it has told the brokers.
    let full = wait_for(admin, "/metrics", |answer| sample(answer.text(), "wsp_waiting") > 4.9);
    wait_for(admin, "/metrics", |answer| retries(answer) > retries(&full) + 60.0);
    let next = wsp(["relay", &url, "-"]).spawn();
    next.wait_for_stdout("1");
    let destination = listen_at(&format!("127.0.0.1:{port}"), &["--sink"]);
    other.wait_for_committed(&topic, &topic, 400);
    for relay in [paused, next] {
        relay.signal(Signal::SIGTERM);
        relay.outcome().exits(0);
    }
    destination.stop();
}

#[test]
fn what_cannot_work_is_named() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let gone = format!("kafka://127.0.0.1:{}/x", closed_port());
    let at = |rest: &str| format!("kafka://{server}/{rest}");
    let patience = ["--reconnect=2", "--retry-delay", "1ms"];
    for (url, code, words) in [
        (gone.clone(), 30, [gone.as_str(), "after 2 retries", "hint:"]),
        (at("nosuchtopic"), 30, ["topic nosuchtopic does not exist", "hint:", "waiting 1"]),
        (at("t?grop=g"), 2, ["?grop", "group", "hint:"]),
        (at("t?rdkafka.no.such=1"), 2, ["no.such", "configuration", "hint:"]),
        (at("t?user=u"), 2, ["password", "hint:", "kafka://"]),
        (at(""), 2, ["no topic", "kafka://", "hint:"]),
    ] {
        let output = wsp(["relay", "-", &url]).args(patience).input("x\n").exits(code);
        for word in words {
            assert!(output.stderr.contains(word), "{url}: no {word:?} in {}", output.stderr);
        }
    }
    for (url, word) in
        [(gone.clone(), "after 2 retries"), (at("nosuchtopic?group=g"), "topic nosuchtopic does not exist")]
    {
        let output = wsp(["relay", &url, "-"]).args(patience).input("").exits(30);
        assert!(output.stderr.contains(word), "{url}: {}", output.stderr);
    }
}

#[test]
fn a_broker_that_was_killed_and_comes_back_has_every_message_once_and_gives_all() {
    if !require("kafka") {
        return;
    }
    let mut broker = Kafka::start(|_, _| String::new(), "");
    let server = broker.server();
    let other = Other(&server);
    let topic = other.create("back", 1, &[]);
    let flags = ["--retry-delay", "200ms", "--retry-max", "1s", "--reconnect=200"];
    let url = format!("kafka://{server}/{topic}");
    let mut sending = wsp(["relay", "-", &url]).args(flags).limit(std::time::Duration::from_secs(90)).spawn();
    let receiving = wsp(["relay", &format!("{url}?group=g"), "-"]).args(flags);
    let receiving = receiving.limit(std::time::Duration::from_secs(90)).spawn();
    sending.send(numbers(1..=1000));
    receiving.wait_for_stdout("1000");
    sending.send(numbers(1001..=6000));
    broker.stop();
    sending.send(numbers(6001..=7000));
    sending.wait_for_stderr("retrying in");
    receiving.wait_for_stderr("retrying in");
    broker.go();
    sending.send(numbers(7001..=8000));
    receiving.wait_for_stdout("8000");
    all_delivered(&sending.finish().exits(0).stderr, 8000);
    receiving.signal(Signal::SIGTERM);
    let output = receiving.outcome().exits(0);
    // A position that could not be committed any more is taken up where it was: again, but never with a gap.
    let mut last = 0;
    for number in lines(output.stdout()) {
        assert!(number <= last + 1, "{number} after {last}");
        last = last.max(number);
    }
    assert_eq!(last, 8000);
    let records = other.read(&topic, 8000);
    assert!(are_numbers(&records), "each once");
}

#[test]
fn what_the_broker_does_not_allow_is_said_at_once() {
    if !require("kafka") {
        return;
    }
    let sasl = closed_port();
    let more = |port: u16, controller: u16| {
        format!(
            "listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl}\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS\n\
             sasl.enabled.mechanisms=PLAIN\n\
             listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_eve=\"secret\";\n"
        )
    };
    let broker = Kafka::start(more, "");
    let server = broker.server();
    let topic = Other(&server).create("walled", 1, &[]);
    let url = format!("kafka://eve:secret@127.0.0.1:{sasl}/{topic}");
    for (from, to) in [("-", url.as_str()), (&format!("{url}?group=g"), "-")] {
        let output = wsp(["relay", from, to]).input("x\n").exits(30).complains("not allowed").complains("hint:");
        assert!(!output.stderr.contains("secret"), "{}", output.stderr);
    }
}

#[test]
fn tls_and_passwords_are_set_as_for_every_other_end() {
    if !require("kafka") {
        return;
    }
    let authority = Authority::new();
    let (identity, client) = (authority.server(&["127.0.0.1", "localhost"]), authority.client());
    let directory = scratch();
    let pem = |name: &str, parts: &[&str]| {
        let text: String = parts.iter().map(|part| std::fs::read_to_string(part).expect("a file")).collect();
        crate::support::text(&crate::support::write(&directory, name, text))
    };
    let (keystore, ca) = (pem("broker.pem", &[&identity.key, &identity.cert]), authority.ca());
    let (tls, sasl) = (closed_port(), closed_port());
    let more = |port: u16, controller: u16| {
        format!(
            "listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{tls},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{tls},SASL_PLAINTEXT://127.0.0.1:{sasl}\n\
             ssl.keystore.type=PEM\nssl.keystore.location={keystore}\n\
             ssl.truststore.type=PEM\nssl.truststore.location={ca}\nssl.client.auth=required\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_ann=\"secret\";\n\
             listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
        )
    };
    let scram =
        "--add-scram SCRAM-SHA-256=[name=bob,password=secret] --add-scram SCRAM-SHA-512=[name=cas,password=secret]";
    let broker = Kafka::start(more, scram);
    let server = broker.server();
    let topic = Other(&server).create("secure", 1, &[]);
    let say = |url: &str, flags: &[&str]| {
        let patience = ["--reconnect=1", "--retry-delay", "1ms"];
        wsp(["relay", "-", url]).args(patience).args(flags).env("KAFKA_SECRET", "secret").input("x\n")
    };
    let secure = format!("kafka://127.0.0.1:{tls}/{topic}?tls");
    let own = ["--cert", &client.cert, "--key", &client.key];
    all_delivered(&say(&secure, &[&["--cacert", ca.as_str()][..], &own[..]].concat()).exits(0).stderr, 1);
    all_delivered(&say(&secure, &[&["-k"][..], &own[..]].concat()).exits(0).stderr, 1);
    for flags in [&own[..], &["--cacert", ca.as_str()][..]] {
        let output = say(&secure, flags);
        assert!([8, 30].contains(&output.code), "{}", output.stderr);
        assert!(output.stderr.contains("SSL") || output.stderr.contains("TLS"), "{}", output.stderr);
    }
    let plain = format!("127.0.0.1:{sasl}/{topic}");
    for url in [
        format!("kafka://ann:secret@{plain}"),
        format!("kafka://{plain}?user=ann&password-env=KAFKA_SECRET"),
        format!("kafka://{plain}?user=bob&password-env=KAFKA_SECRET&sasl=scram-sha-256"),
        format!("kafka://{plain}?user=cas&password-env=KAFKA_SECRET&sasl=scram-sha-512"),
    ] {
        all_delivered(&say(&url, &[]).exits(0).stderr, 1);
    }
    let output = say(&format!("kafka://ann:wrong@{plain}"), &[]).exits(30);
    let output = output.complains("refused the credentials").complains("?user=U");
    assert!(!output.stderr.contains("wrong"), "{}", output.stderr);
    assert_eq!(Other(&server).read(&topic, 6).len(), 6);
    // Sources are secured the same way.
    let from = [
        (format!("{secure}&group=tls"), [&["--cacert", ca.as_str()][..], &own[..]].concat()),
        (format!("kafka://{plain}?user=cas&password-env=KAFKA_SECRET&sasl=scram-sha-512&group=scram"), Vec::new()),
    ];
    for (url, flags) in from {
        let relay = wsp(["relay", &url, "-"]).args(flags).env("KAFKA_SECRET", "secret").spawn();
        relay.wait_for_stdout("x");
        relay.signal(Signal::SIGTERM);
        assert_eq!(relay.outcome().exits(0).stdout(), "x\n".repeat(6), "{url}");
    }
}
