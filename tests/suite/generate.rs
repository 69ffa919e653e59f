//! Help and man pages say the same: what is committed is what `wsp generate` makes today.
//!
//! Leaves where they are installed to `install`.

use crate::support::{root, run, scratch, text};

const SUBCOMMANDS: [&str; 10] =
    ["connect", "listen", "relay", "bench", "top", "demo", "config", "generate", "help", "version"];

/// Fails when the file in the repository differs, and tells how to refresh it.
#[track_caller]
fn is_fresh(path: &str, today: &[u8]) {
    let committed = std::fs::read(root().join(path)).unwrap_or_default();
    assert!(committed == today, "{path} is out of date: see `wsp generate --help`");
}

#[test]
fn the_committed_man_pages_are_fresh_and_none_is_left_over() {
    let directory = scratch();
    run(&["generate", "man", &text(directory.path())], "").exits(0);
    let names = |path: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(path).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let made = names(directory.path());
    assert_eq!(names(&root().join("man")), made);
    for name in made {
        let name = name.to_str().expect("a plain name");
        is_fresh(&format!("man/{name}"), &std::fs::read(directory.path().join(name)).expect("a page"));
    }
}

#[test]
fn the_committed_reference_of_flags_is_fresh() {
    let directory = scratch();
    run(&["generate", "reference", &text(directory.path())], "").exits(0);
    let made = std::fs::read(directory.path().join("flags.md")).expect("the page");
    is_fresh("docs/reference/flags.md", &made);
}

#[test]
fn every_subcommand_has_a_man_page_and_the_main_one_has_the_exit_codes() {
    for name in SUBCOMMANDS {
        assert!(root().join(format!("man/wsp-{name}.1")).is_file(), "{name}");
    }
    let page = std::fs::read_to_string(root().join("man/wsp.1")).expect("the page");
    for part in ["124", "143", "EXIT"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn help_begins_with_examples_and_the_short_one_fits_a_screen() {
    for name in ["connect", "listen", "relay", "bench"] {
        let long = run(&[name, "--help"], "").exits(0);
        let (before, _) = long.stdout().split_once("Usage:").expect("a usage line");
        let examples = before.lines().filter(|line| line.contains("wsp ")).count();
        assert!((3..=6).contains(&examples), "{name}: {examples} examples in {before}");
        let short = run(&[name, "-h"], "").exits(0);
        let lines = short.stdout().lines().count();
        assert!(lines <= 50, "{name} -h has {lines} lines");
    }
    let main = run(&["--help"], "").exits(0);
    assert!(main.stdout().contains("143"), "the exit codes are in `wsp --help`");
    let lines = run(&["-h"], "").exits(0).stdout().lines().count();
    assert!(lines <= 50, "-h has {lines} lines");
}

#[test]
fn the_version_is_that_of_the_package() {
    run(&["--version"], "").exits(0).prints(&format!("wsp {}\n", env!("CARGO_PKG_VERSION")));
}

/// What a bug report needs, in words and as JSON.
#[test]
fn a_bug_report_can_say_which_build_it_is_about() {
    let features = [
        ("kafka", cfg!(feature = "kafka")),
        ("nats", cfg!(feature = "nats")),
        ("postgres", cfg!(feature = "postgres")),
        ("tui", cfg!(feature = "tui")),
    ];
    let printed = run(&["version"], "").exits(0);
    let value = |name: &str| {
        let line = printed.stdout().lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}: {}", printed.stdout()))[name.len()..].trim().to_owned()
    };
    assert!(printed.stdout().starts_with(&format!("wsp {}\n", env!("CARGO_PKG_VERSION"))));
    for (name, is_in) in features {
        let list = value(if is_in { "features" } else { "left out" });
        assert!(list.split(", ").any(|feature| feature == name), "{name}: {}", printed.stdout());
    }
    let json = run(&["version", "--json"], "").exits(0);
    let json: serde_json::Value = serde_json::from_str(json.stdout()).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    for (key, name) in [("commit", "commit"), ("tls", "TLS"), ("target", "target")] {
        assert_eq!(json[key], value(name), "{key}");
    }
    if cfg!(target_os = "linux") {
        assert!(value("TLS").starts_with("OpenSSL "), "{}", printed.stdout());
        assert!(value("target").contains("linux"), "{}", printed.stdout());
    }
    // The sources are in a repository, or in a package that names its commit.
    if root().join(".git").exists() {
        let commit = value("commit");
        let id = commit.split(' ').next().expect("a word");
        assert!(id.len() >= 7 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
    }
}

#[test]
fn pages_on_topics_are_plain_text_that_fits_a_terminal() {
    let list = run(&["help"], "").exits(0);
    for (topic, holds) in [
        ("event-lines", "type"),
        ("exit-codes", "124   --timeout ran out"),
        ("filters", "$prev"),
        ("meta", "$meta"),
        ("recipes", "(chat-server)"),
        ("reconnect", "--retry-on"),
        ("settings", "WSP_CONNECT_TIMEOUT"),
        ("tls", "--cacert"),
        ("troubleshooting", "14"),
    ] {
        assert!(list.stdout().lines().any(|line| line.trim_start().starts_with(topic)), "{topic} is listed");
        let page = run(&["help", topic], "").exits(0);
        let text = page.stdout();
        assert!(text.contains(holds), "{topic}: {text}");
        for markup in ["](", "```", "|---", "**", "<!--"] {
            assert!(!text.contains(markup), "{topic} has {markup}: {text}");
        }
        let mut prose = text.lines().filter(|line| !line.starts_with("    ") && line.contains(' '));
        assert_eq!(prose.find(|line| line.chars().count() > 80), None, "{topic}");
    }
    let recipe = run(&["help", "recipes", "chat-server"], "").exits(0);
    assert!(recipe.stdout().starts_with("A CHAT SERVER\n") && recipe.stdout().contains("--broadcast"));
}
