//! Imports go down only, and each library is seen in its own room.

use std::path::Path;

/// Every room and the rooms below it that it may use.
const ROOMS: [(&str, &[&str]); 26] = [
    ("rate", &[]),
    ("percent", &[]),
    ("exit", &[]),
    ("config", &["endpoint", "redact"]),
    ("host", &["message", "exit"]),
    ("endpoint", &["redact", "percent"]),
    ("redact", &["percent"]),
    ("message", &[]),
    ("filter", &["message", "percent", "host", "exit"]),
    ("queue", &["message", "observe", "filter", "rate", "redact", "exit"]),
    ("net", &["message", "endpoint", "percent", "redact"]),
    ("broker", &["net", "message", "session", "queue", "endpoint", "percent", "redact", "exit"]),
    ("session", &["net", "message"]),
    ("observe", &["net", "message", "endpoint", "percent"]),
    ("protocol", &["net", "message", "filter", "queue", "observe", "rate"]),
    ("source", &["broker", "session", "observe", "queue", "message", "net", "host", "exit"]),
    ("sink", &["broker", "session", "queue", "filter", "message", "net", "redact", "host", "error", "exit"]),
    ("process", &["source", "message", "host"]),
    ("client", &["session", "observe", "queue", "filter", "source", "sink", "net", "message", "host", "error", "exit"]),
    ("prompt", &["config", "message", "percent", "redact", "host"]),
    ("tui", &["bench", "observe", "filter", "net", "message", "host"]),
    ("error", &["exit", "host", "session", "queue", "net", "message"]),
    (
        "pipeline",
        &[
            "listen", "client", "process", "observe", "protocol", "session", "queue", "filter", "source", "sink",
            "broker", "net", "message", "host", "error", "exit",
        ],
    ),
    ("bench", &["client", "session", "filter", "net", "message", "endpoint", "host", "error", "exit"]),
    (
        "listen",
        &[
            "process", "observe", "protocol", "session", "queue", "filter", "source", "sink", "net", "message",
            "endpoint", "rate", "percent", "redact", "host", "error", "exit",
        ],
    ),
    (
        "command",
        &[
            "tui", "bench", "pipeline", "listen", "client", "observe", "broker", "protocol", "prompt", "session",
            "queue", "filter", "source", "sink", "net", "message", "endpoint", "redact", "host", "error", "exit",
            "config",
        ],
    ),
];

/// Libraries and the only places that may name them.
const LIBRARIES: [(&str, &[&str]); 37] = [
    ("clap", &["command/", "lib.rs"]),
    ("jaq_core", &["filter/jq"]),
    ("jaq_std", &["filter/jq"]),
    ("jaq_json", &["filter/jq"]),
    ("minijinja", &["filter/template"]),
    ("jsonschema", &["filter/schema"]),
    ("shell_words", &["command/curl.rs"]),
    ("tokio_tungstenite", &["net/connection.rs", "net/frames/"]),
    ("native_tls", &["net/tls"]),
    ("openssl", &["net/tls/", "net/self_signed/"]),
    ("jsonwebtoken", &["listen/guard/jwt.rs"]),
    ("ring", &["listen/guard/jwt.rs", "broker/nats/trust.rs"]),
    ("subtle", &["listen/guard/credentials.rs", "observe/admin/guard.rs"]),
    (
        "hyper",
        &[
            "net/head.rs",
            "net/upgrade.rs",
            "net/http.rs",
            "net/tunnel.rs",
            "net/http_client.rs",
            "net/post.rs",
            "net/fetch.rs",
        ],
    ),
    ("percent_encoding", &["percent.rs"]),
    ("brotli_decompressor", &["net/content.rs"]),
    ("httpdate", &["net/retry_after.rs"]),
    ("hyper_util", &["net/"]),
    ("tokio_socks", &["net/tunnel.rs"]),
    ("async_nats", &["broker/nats", "source/nats", "sink/nats.rs"]),
    ("rdkafka", &["broker/kafka/reach.rs", "source/kafka", "sink/kafka.rs"]),
    ("rustls", &["broker/nats/trust.rs"]),
    ("tokio_postgres", &["sink/postgres/"]),
    ("rustyline", &["prompt/"]),
    ("ratatui", &["tui/view", "tui/driver.rs", "tui/load.rs", "tui/terminal.rs"]),
    ("rcgen", &["net/self_signed/"]),
    (
        "nix",
        &[
            "sink/har_file.rs",
            "sink/line_file.rs",
            "sink/file/appender.rs",
            "observe/process.rs",
            "filter/apart/watch.rs",
            "filter/jq/peer_tests.rs",
            "host/last.rs",
            "net/credentials.rs",
            "prompt/terminal.rs",
            "tui/terminal.rs",
            "tui/driver.rs",
            "tui/load.rs",
            "process/",
            "net/dial.rs",
            "bench/machine.rs",
            "bench/shard/park.rs",
        ],
    ),
    ("hdrhistogram", &["bench/histogram.rs"]),
    ("toml", &["config/file.rs", "config/pipelines.rs", "config/toml_text.rs", "command/script.rs"]),
    ("prometheus", &["observe/metrics.rs", "observe/sample.rs", "observe/websocket_input.rs"]),
    ("rustix", &["host/stream.rs", "process/", "prompt/terminal.rs"]),
    ("redb", &["queue/spool/"]),
    ("tower_http", &["listen/site/files.rs"]),
    ("strsim", &["config/nearest.rs"]),
    ("hdrhistogram", &["bench/histogram.rs"]),
    ("rpassword", &["command/mod.rs"]),
    ("zip", &["source/replay/document.rs", "source/replay_tests.rs"]),
];

/// The lines of a source file but for what is made for tests alone: what those use is their own business.
pub fn without_tests(text: &str) -> Vec<&str> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push(line);
            continue;
        }
        let mut item = lines.by_ref().skip_while(|line| line.trim_start().starts_with("#["));
        let is_whole = item.next().is_some_and(|first| first.ends_with([';', ',', '}']));
        if !is_whole {
            item.find(|last| last.trim_start().starts_with('}') && indentation(last) == indentation(line));
        }
    }
    kept
}

#[test]
fn what_follows_a_test_in_a_file_is_looked_at_too() {
    let text = "use a;\n#[cfg(test)]\nuse b;\nfn c() {\n    #[cfg(test)]\n    d();\n}\n#[cfg(test)]\n#[path = \"e.rs\"]\nmod e {\n    fn f() {\n    }\n}\nuse g;\n";
    assert_eq!(without_tests(text), ["use a;", "fn c() {", "}", "use g;"]);
}

fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let code: Vec<&str> =
                without_tests(&text).into_iter().filter(|line| !line.trim_start().starts_with("//")).collect();
            let name = path.strip_prefix(crate::support::root().join("src")).expect("below src");
            found.push((name.display().to_string(), code.join("\n")));
        }
    }
}

#[test]
fn imports_go_down_only() {
    let mut files = Vec::new();
    sources(&crate::support::root().join("src"), &mut files);
    assert!(files.len() > 20, "the sources are found");
    let mut faults = Vec::new();
    for (file, code) in &files {
        let room = file.split(['/', '.']).next().unwrap_or_default();
        if room == "lib" || room == "main" {
            continue;
        }
        let (_, below) = ROOMS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("{file}: a new room"));
        for used in code.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let is_room = ROOMS.iter().any(|(name, _)| *name == used);
            if is_room && used != room && !below.contains(&used.as_str()) {
                faults.push(format!("{file} uses {used}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn rooms_form_no_circle() {
    /// Follows what a room may use; the way back to a room that is being followed.
    fn follow(room: &'static str, way: &mut Vec<&'static str>) -> Option<String> {
        way.push(room);
        let (_, below) = ROOMS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("{room} is a room"));
        for used in *below {
            let circle = if let Some(at) = way.iter().position(|before| before == used) {
                Some(format!("{} -> {used}", way[at..].join(" -> ")))
            } else {
                follow(used, way)
            };
            if circle.is_some() {
                return circle;
            }
        }
        way.pop();
        None
    }
    for (room, _) in ROOMS {
        assert_eq!(follow(room, &mut Vec::new()), None);
    }
}

#[test]
fn each_library_is_seen_in_its_own_room() {
    let mut files = Vec::new();
    sources(&crate::support::root().join("src"), &mut files);
    for (library, places) in LIBRARIES {
        let names_it = |code: &str| {
            let whole = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            code.match_indices(&format!("{library}::")).any(|(at, _)| whole(&code[..at]))
        };
        let users: Vec<_> = files.iter().filter(|(_, code)| names_it(code)).collect();
        assert!(!users.is_empty(), "{library} is used somewhere");
        for (file, _) in users {
            assert!(places.iter().any(|place| file.starts_with(place)), "{file} uses {library}");
        }
    }
}
