//! Completions: what `wsp` offers for words that are being typed, and that bash, zsh and fish put it in place.

use crate::support::terminal::Terminal;
use crate::support::{require, root, run, scratch, text, write, wsp};

/// What is offered for the last of these words, without its meaning.
#[track_caller]
fn offered(words: &[&str]) -> Vec<String> {
    let output = run(&[&["generate", "candidates", "--"], words].concat(), "").exits(0);
    output.stdout().lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn options_are_offered_for_the_subcommand_that_is_meant() {
    let table: [(&[&str], &str); 13] = [
        (&["conn"], "connect"),
        (&["connect", "ws://h", "--insec"], "--insecure"),
        (&["ws://h", "--insec"], "--insecure"),
        (&["-k", "ws://h", "--head"], "--header"),
        (&["--insec"], "--insecure"),
        (&["listen", "8080", "--ech"], "--echo"),
        (&["bench", "ws://h", "--connec"], "--connections"),
        (&["bench", "rep"], "report"),
        (&["help", "rel"], "relay"),
        (&["help", "exit"], "exit-codes"),
        (&["relay", "-", "fi"], "file:"),
        (&["generate", "completions", "fi"], "fish"),
        (&["listen", "--on-full", "b"], "block"),
    ];
    for (words, expected) in table {
        let offered = offered(words);
        assert!(offered.iter().any(|word| word == expected), "{words:?}: {offered:?}");
    }
    for nothing in [&["help", "nosuch", ""][..], &["ws://h", "--nosuch"], &["@"]] {
        assert_eq!(offered(nothing), [""; 0], "{nothing:?}");
    }
    let meaning = run(&["generate", "candidates", "--", "ws://h", "--insecu"], "").exits(0);
    assert!(meaning.stdout().contains("--insecure\t"), "{}", meaning.stdout());
}

#[test]
fn files_are_offered_where_files_are_meant_and_profiles_where_addresses_are() {
    let folder = scratch();
    write(&folder, "a message.txt", "hello");
    std::fs::create_dir(folder.path().join("wscat-plus")).expect("a folder");
    write(&folder, "wscat-plus/config.toml", "[profile.prod]\nurl = \"wss://prod.test/\"\n");
    let offered = |words: &[&str]| -> String {
        let arguments = [&["generate", "candidates", "--"], words].concat();
        let run = wsp(arguments).directory(folder.path()).env("XDG_CONFIG_HOME", folder.path());
        run.spawn().outcome().exits(0).stdout().to_owned()
    };
    assert_eq!(offered(&["ws://h", "-x", "@a"]), "@a message.txt\n");
    assert_eq!(offered(&["relay", "-", "file:a"]), "file:a message.txt\n");
    assert_eq!(offered(&["ws://h", "--record", "a"]), "a message.txt\n");
    assert_eq!(offered(&["ws://h", "-x", "a"]), "");
    assert_eq!(offered(&["@p"]), "@prod\twss://prod.test/\n");
    assert_eq!(offered(&["bench", "@p"]), "@prod\twss://prod.test/\n");
    assert_eq!(offered(&["relay", "@p"]), "@prod\twss://prod.test/\n");
}

/// Types lines that end with a Tab into a shell and waits for what comes of them.
fn completes(shell: &str, start: &str, component: &str) {
    if !require(component) {
        return;
    }
    let folder = scratch();
    write(&folder, "a file.txt", "hello");
    let terminal = Terminal::open();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_wsp")).parent().expect("its folder");
    terminal.line(&format!("cd '{}'; PATH='{}':$PATH PS1='> ' {shell}", text(folder.path()), text(program)));
    terminal.line(&format!("{start}; echo rea''dy"));
    terminal.wait_for("ready");
    for (typed, expected) in [
        ("wsp ws://localhost:1/ --insec", "wsp ws://localhost:1/ --insecure"),
        ("wsp -k wss://localhost:1/ --show-p", "wsp -k wss://localhost:1/ --show-ping-pong"),
        ("wsp ws://h --record a", "wsp ws://h --record a\\ file.txt"),
        ("wsp relay - file:a", "wsp relay - file:a\\ file.txt"),
        ("wsp listen --ec", "wsp listen --echo"),
    ] {
        terminal.type_in(typed);
        terminal.keys(&["Tab"]);
        terminal.wait_for(expected);
        terminal.keys(&["C-c"]);
        terminal.keys(&["C-l"]);
    }
}

#[test]
fn bash_completes_options_behind_a_url_and_files() {
    let script = root().join("completions/wsp.bash");
    completes("bash --norc -i", &format!(". '{}'", text(&script)), "bash");
}

#[test]
fn zsh_completes_options_behind_a_url_and_files() {
    let folder = root().join("completions");
    completes(
        "zsh -f -i",
        &format!("fpath=('{}' $fpath); autoload -Uz compinit; compinit -u -D", text(&folder)),
        "zsh",
    );
}

#[test]
fn fish_completes_options_behind_a_url_and_files() {
    let script = root().join("completions/wsp.fish");
    completes("fish --no-config -i", &format!("source '{}'", text(&script)), "fish");
}
