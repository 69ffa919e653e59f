//! The recipes in `docs/recipes`, run as they stand there with real peers; only addresses are replaced. And the page of
//! equivalents: each row names a test that exists.

use serde_json::Value;

use crate::support::pages;
#[cfg(all(feature = "nats", feature = "postgres"))]
use crate::support::peers::python;
use crate::support::process::Process;
use crate::support::{FakeServer, Frame, Server, events, listen, require, root, scratch, text, write, wsp};
use nix::sys::signal::Signal;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The blocks of a page in a language.
#[track_caller]
fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = format!("docs/recipes/{page}.md");
    let page = pages::all().into_iter().find(|page| page.path == path).expect("a page");
    let blocks = page.blocks().into_iter().filter(|block| block.language == language);
    blocks.map(|block| block.lines.join("\n") + "\n").collect()
}

/// The only block of a page in a language that contains this.
#[track_caller]
fn block(page: &str, language: &str, part: &str) -> String {
    let mut found: Vec<_> = blocks(page, language).into_iter().filter(|block| block.contains(part)).collect();
    assert_eq!(found.len(), 1, "{part} in {page}");
    found.remove(0)
}

/// A configuration with other addresses, each of which is there.
#[track_caller]
fn with(mut text: String, replaced: &[(&str, &str)]) -> String {
    for (old, new) in replaced {
        assert!(text.contains(old), "{old} in {text}");
        text = text.replace(old, new);
    }
    text
}

/// A relay of a configuration.
fn relay(directory: &tempfile::TempDir, name: &str, configuration: &str) -> crate::support::Run {
    let file = text(&write(directory, name, configuration));
    wsp(["relay", "-f", &file]).directory(directory.path()).env("WS_INGEST_TOKEN", "sk-1234567890abcdef")
}

/// Ends a relay as a service manager does; nothing may be left.
#[track_caller]
fn stop(relay: Process) {
    relay.signal(Signal::SIGTERM);
    relay.outcome().exits(0).complains("dropped 0 + dead-lettered 0 + waiting 0");
}

#[test]
fn every_configuration_is_in_order_as_it_stands() {
    for (page, count) in [("edge-to-cloud", 3), ("flume-source", 3), ("feed-container", 1)] {
        let configurations = blocks(page, "toml");
        assert_eq!(configurations.len(), count, "{page}");
        for configuration in configurations {
            let can_have = |scheme: &str, is_built: bool| is_built || !configuration.contains(scheme);
            if can_have("postgres:", cfg!(feature = "postgres")) && can_have("nats:", cfg!(feature = "nats")) {
                let directory = scratch();
                let output = relay(&directory, "relay.toml", &configuration).arg("--check").input("").exits(0);
                assert!(output.stderr.contains("1 pipeline, nothing wrong"), "{page}: {}", output.stderr);
            }
        }
    }
}

#[cfg(feature = "nats")]
mod edge_to_cloud {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::support::nats::{Nats, NatsClient};
    use crate::support::peers::{gorilla, gorilla_server};

    const COUNT: usize = 500;

    /// A broker, and somebody who has subscribed to what arrives there.
    fn cloud() -> (Nats, NatsClient) {
        let nats = Nats::start(&[]);
        let mut client = nats.client();
        client.subscribe("federated.data");
        (nats, client)
    }

    fn listening(nats: &Nats) -> String {
        let nats = format!("127.0.0.1:{}", nats.port);
        let replaced = [("0.0.0.0:8081", "127.0.0.1:0"), ("localhost:4222", &nats)];
        with(block("edge-to-cloud", "toml", "ws-listen://"), &replaced)
    }

    fn number(text: &str) -> usize {
        let payload: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(payload["sensor_id"], "temp-01", "{payload}");
        payload["value"].as_u64().and_then(|number| number.try_into().ok()).expect("a number")
    }

    #[test]
    fn the_cloud_listens_for_a_gorilla_client() {
        if !(require("nats") && require("gorilla")) {
            return;
        }
        let (directory, (nats, mut client)) = (scratch(), cloud());
        let server = Server::ready(relay(&directory, "relay.toml", &listening(&nats)));
        let url = server.url.clone();
        assert!(url.ends_with("/ingest"), "{url}");
        let sending = |token: &str| {
            let count = COUNT.to_string();
            gorilla().args(["envelope-client", &url, &count, "50"]).env("WSP_TEST_TOKEN", token).input("")
        };
        let refused = sending("another").exits(1);
        assert!(refused.stdout().contains("401 Unauthorized"), "{}", refused.stdout());
        let output = sending("sk-1234567890abcdef").exits(0);
        let report: Value = serde_json::from_str(output.stdout()).expect("JSON");
        let expected = json!({"done": COUNT, "acks": COUNT, "slow": 0, "resent": 0, "connections": 1});
        assert_eq!(report, expected, "an ack for each");
        let got: Vec<usize> = (0..COUNT).map(|_| number(&client.receive().text())).collect();
        assert_eq!(got, (1..=COUNT).collect::<Vec<_>>());
        stop(server.process);
    }

    #[test]
    fn the_cloud_fetches_from_a_gorilla_server_that_loses_the_connection() {
        if !(require("nats") && require("gorilla")) {
            return;
        }
        let (directory, (nats, mut client)) = (scratch(), cloud());
        let server = gorilla_server(&["envelope-server", &COUNT.to_string(), "50"]);
        let (edge, broker) = (format!("127.0.0.1:{}", server.port), format!("127.0.0.1:{}", nats.port));
        let replaced = [("edge-instance:8080", &*edge), ("localhost:4222", &broker), ("\"1s\"", "\"20ms\"")];
        let fetching = with(block("edge-to-cloud", "toml", "edge-instance"), &replaced);
        let relay = relay(&directory, "relay.toml", &fetching).spawn();
        let report = server.process.wait_for_stdout("\"done\"");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!((&report["done"], &report["connections"]), (&json!(COUNT), &json!(2)), "{report}");
        assert!(relay.count_said("reconnected after 1 retry") == 1);
        // At least once: what was not acknowledged when the connection was lost came again, if at all, later.
        let mut got = BTreeSet::new();
        while got.len() < COUNT {
            let number = number(&client.receive().text());
            assert!(number <= got.len() + 1, "{number} after {}", got.len());
            got.insert(number);
        }
        stop(relay);
    }

    #[test]
    fn an_edge_sends_to_the_cloud() {
        if !require("nats") {
            return;
        }
        let (directory, (nats, mut client)) = (scratch(), cloud());
        let cloud = Server::ready(relay(&directory, "cloud.toml", &listening(&nats)));
        let (address, broker) = (format!("127.0.0.1:{}", cloud.port), format!("127.0.0.1:{}", nats.port));
        let replaced = [("cloud:8081", &*address), ("localhost:4222", &broker)];
        let sending = with(block("edge-to-cloud", "toml", "name = \"edge\""), &replaced);
        let edge = relay(&directory, "edge.toml", &sending).spawn();
        nats.wait_for_subscriber("sensors");
        for number in 1..=100 {
            client.publish("sensors", "", &format!("{{\"n\":{number}}}"));
        }
        for number in 1..=100 {
            assert_eq!(client.receive().text(), format!("{{\"n\":{number}}}"));
        }
        stop(edge);
        stop(cloud.process);
    }
}

#[test]
fn an_echo_comes_again_after_every_closure_as_flumes_does() {
    let server = FakeServer::times(3, |number, request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "hello world");
        socket.say(Frame::text(&format!("hello world {number}")));
        if number < 2 {
            // A normal Close as well as a lost connection.
            if number == 0 {
                socket.say(Frame::close(1000, ""));
                socket.answer_close();
            }
            return;
        }
        socket.answer_close();
    });
    let directory = scratch();
    let replaced = [("ws://echo.websocket.org", &*server.url), ("\"5s\"", "\"20ms\"")];
    let configuration = with(block("flume-source", "toml", "echo.websocket.org"), &replaced);
    let relay = relay(&directory, "relay.toml", &configuration).spawn();
    relay.wait_for_stdout("hello world 2");
    assert_eq!(relay.count_said("reconnecting in"), 2);
    relay.signal(Signal::SIGTERM);
    relay.outcome().exits(0).prints("hello world 0\nhello world 1\nhello world 2\n");
    server.join();
}

#[test]
fn a_subscription_over_tls_is_made_as_flumes_is() {
    let server = listen(&["--tls", "--json"]);
    let directory = scratch();
    let url = server.url.trim_end_matches('/').to_owned();
    let replaced = [("wss://ws-feed.pro.coinbase.com", &*url)];
    let configuration = with(block("flume-source", "toml", "coinbase"), &replaced);
    // Without trust in every certificate there is no connection.
    let strict = with(configuration.clone(), &[("insecure = true\n", ""), ("reconnect = true", "reconnect = 1")]);
    let strict = with(strict, &[("\"5s\"", "\"20ms\"")]);
    relay(&directory, "strict.toml", &strict).input("").exits(8).complains("certificate");
    let relay = relay(&directory, "relay.toml", &configuration).spawn();
    let wanted = r#"{"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["level2"]}"#;
    let line = server.process.wait_for_stdout("subscribe");
    assert_eq!(events(&line)[0]["text"], wanted);
    stop(relay);
    server.stop().exits(0);
}

#[test]
fn cookies_are_sent_as_flume_sends_them() {
    let server = FakeServer::once(|request| {
        let cookies = "some-cookie-name=data-for-cookie1; another-cookie-name=data-for-cookie2";
        assert_eq!(request.header("cookie"), Some(cookies));
        let mut socket = request.accept();
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let directory = scratch();
    let configuration = with(block("flume-source", "toml", "cookie ="), &[("wss://HOST/PATH", &server.url)]);
    relay(&directory, "relay.toml", &configuration).input("").exits(0);
    server.join();
}

#[cfg(all(feature = "nats", feature = "postgres"))]
mod container {
    use super::*;
    use crate::support::http::{admin_port, wait_for};
    use crate::support::nats::Nats;
    use crate::support::peers::gorilla;
    use crate::support::stores::Postgres;

    const PAGE: &str = "feed-container";

    fn parsed(directory: &tempfile::TempDir, yaml: &str) -> Value {
        let path = text(&write(directory, "parsed.yaml", yaml));
        serde_json::from_str(python("yaml_to_json.py").arg(path).input("").exits(0).stdout()).expect("JSON")
    }

    fn words(list: &Value) -> Vec<&str> {
        list.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word")).collect()
    }

    #[test]
    fn the_feed_starts_as_its_container_starts_it() {
        if !["nats", "postgres", "gorilla", "python-websockets"].map(require).into_iter().all(|has| has) {
            return;
        }
        let (directory, nats, postgres) = (scratch(), Nats::start(&[]), Postgres::start());
        let compose = parsed(&directory, &block(PAGE, "yaml", "services:"));
        let (feed, database) = (&compose["services"]["feed"], &compose["services"]["postgres"]);
        let database = database["environment"]["POSTGRES_DB"].as_str().expect("a name");
        postgres.ask(compose["configs"]["tables"]["content"].as_str().expect("a statement"));
        assert_eq!(database, "stellar_events");
        let (events, table) = (format!("127.0.0.1:{}", nats.port), postgres.url("/"));
        let replaced = [
            ("0.0.0.0:8080", "127.0.0.1:0"),
            ("nats:4222", &*events),
            ("postgres://postgres@postgres/stellar_events/", &table),
        ];
        let file = write(&directory, "feed.toml", with(block(PAGE, "toml", "feed"), &replaced));
        // The command line and the environment of the container, but for the places of the file and of the admin address.
        let dockerfile = block(PAGE, "dockerfile", "ENTRYPOINT");
        let entrypoint = dockerfile.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).expect("an entry point");
        assert_eq!(
            serde_json::from_str::<Value>(entrypoint).expect("the form that no shell reads"),
            serde_json::json!(["wsp"])
        );
        let mount = words(&feed["volumes"])[0].split(':').nth(1).expect("where it is mounted");
        let command =
            words(&feed["command"]).into_iter().map(|word| if word == mount { text(&file) } else { word.into() });
        let mut run = wsp(command);
        for (name, value) in feed["environment"].as_object().expect("variables") {
            let value = if name == "WSP_ADMIN" { "127.0.0.1:0" } else { value.as_str().expect("text") };
            run = run.env(name, value);
        }
        let server = Server::ready(run);
        assert!(server.url.ends_with("/ws"), "{}", server.url);
        let admin = admin_port(&server);
        nats.wait_for_subscriber("events");
        let filters = r#"{"types":["payment"],"account_ids":[],"asset_codes":["USDC"],"min_amount":"100"}"#;
        let client = gorilla().args(["feed", &server.url, filters, "2"]).spawn();
        client.wait_for_stdout("registered");
        // What the variable says holds for each client.
        wait_for(admin, "/sessions", |answer| answer.text().contains(r#""capacity":5000"#));
        let mut producer = nats.client();
        for (kind, amount) in [("payment", "99.9"), ("payment", "250"), ("trade", "500"), ("payment", "100")] {
            let event = format!(r#"{{"type":"{kind}","asset_code":"USDC","amount":"{amount}","ledger":1454282}}"#);
            producer.publish("events", "", &event);
        }
        let output = client.outcome().exits(0);
        let amounts: Vec<Value> = crate::support::events(output.stdout())
            .into_iter()
            .filter_map(|line| Some(line.get("event")?["amount"].clone()))
            .collect();
        assert_eq!(amounts, ["250", "100"], "{}", output.stdout());
        crate::support::files::wait_until("all rows", || {
            (postgres.ask("SELECT count(*) FROM events") == "4").then_some(())
        });
        let rows = postgres.ask("SELECT DISTINCT type, ledger FROM events ORDER BY type");
        assert_eq!(rows, "payment|1454282\ntrade|1454282");
        server.stop().exits(0);
    }

    #[test]
    fn the_image_is_that_of_the_compose_file_and_has_every_library() {
        if !require("python-websockets") {
            return;
        }
        let directory = scratch();
        let dockerfile = block(PAGE, "dockerfile", "FROM");
        let compose = parsed(&directory, &read("tests/compose/compose.yaml"));
        let inline = compose["x-wsp"]["build"]["dockerfile_inline"].as_str().expect("a Dockerfile");
        assert_eq!(inline.trim(), dockerfile.trim(), "both images are made alike");
        if !cfg!(target_os = "linux") {
            return;
        }
        let output = crate::support::Run::new("ldd").arg(env!("CARGO_BIN_EXE_wsp")).input("").exits(0);
        // What comes with every Debian image needs no package.
        let packages = [
            ("linux-vdso", ""),
            ("ld-linux", ""),
            ("libc.so", ""),
            ("libm.so", ""),
            ("libgcc_s.so", ""),
            ("libssl.so.3", "libssl3"),
            ("libcrypto.so.3", "libssl3"),
            ("libz.so.1", "zlib1g"),
        ];
        for library in output.stdout().lines().map(str::trim) {
            let package = packages.iter().find(|(name, _)| library.contains(name));
            let (_, package) = package.unwrap_or_else(|| panic!("no package is known for {library}"));
            assert!(dockerfile.contains(package), "{package} for {library}");
        }
    }
}

/// Whether a test of this name exists: a path below `tests/suite`, or below `src`.
fn exists(name: &str) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else { return false };
    let top = module.split("::").next().unwrap_or_default();
    let suite = root().join("tests/suite").join(format!("{top}.rs"));
    let mut below_src: Vec<&str> = module.split("::").collect();
    // A file of tests, or a module of them at the end of a file.
    let files = [format!("{}.rs", below_src.join("/")), {
        below_src.pop();
        format!("{}.rs", below_src.join("/"))
    }];
    let sources = files.map(|file| root().join("src").join(file));
    let is_test = |text: &str| {
        let at = text.find(&format!("fn {function}()"));
        at.is_some_and(|at| text[..at].trim_end().lines().rev().take(3).any(|line| line.trim().ends_with("test]")))
    };
    [suite].iter().chain(&sources).filter_map(|file| std::fs::read_to_string(file).ok()).any(|text| is_test(&text))
}

#[test]
fn every_row_of_the_equivalents_names_tests_that_exist() {
    assert!(exists("recipes::every_row_of_the_equivalents_names_tests_that_exist"));
    assert!(!exists("recipes::exists") && !exists("recipes::no_such_test"));
    let page = read("docs/reference/equivalents.md");
    let (mut rows, mut last) = (0, String::new());
    for line in page.lines().filter(|line| line.starts_with('|')) {
        // A | inside code is written \|.
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if cells.len() == 1 || cells[0].starts_with("property") {
            last.clear();
            continue;
        }
        assert_eq!(cells.len(), 3, "{line}");
        assert!(!line.contains("partly"), "{line}");
        let tests: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            assert!(cells[2] == "the same" && !last.is_empty(), "a row without a test: {line}");
        } else {
            let missing: Vec<_> = tests.iter().filter(|test| !exists(test)).collect();
            assert!(missing.is_empty(), "{missing:?} in {line}");
            last = tests.concat();
        }
        rows += 1;
    }
    assert!(rows > 70, "{rows} rows");
}
