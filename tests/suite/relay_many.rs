//! `wsp relay -f`: many pipelines in one process, what is wrong with their file, and reading it again.

use nix::sys::signal::Signal;

use super::relay_admin::port_of;
use crate::support::files::{append, read, wait_for_content};
use crate::support::http::{Events, get, sample, wait_for};
use crate::support::process::Process;
use crate::support::{Recorder, listen, run, scratch, text, write, wsp};

fn numbers(from: usize, to: usize) -> String {
    (from..=to).map(|number| format!("{number}\n")).collect()
}

const NOTHING_LOST: &str = "+ dropped 0 + dead-lettered 0 + waiting 0";

#[test]
fn each_pipeline_of_a_file_has_its_own_options_and_account() {
    let directory = scratch();
    write(&directory, "in", numbers(1, 5));
    let file = write(
        &directory,
        "relay.toml",
        "[[pipeline]]\nname = 'doubled'\nfrom = '-'\nto = 'file:doubled'\njq = '. * 2'\n\n\
         [[pipeline]]\nname = 'copied'\nfrom = 'file:in'\nto = ['file:copied', 'null:']\n\
         route = ['. == 2 => file:two', '. == 3 => file:three']\n",
    );
    let path = text(&file);
    let relay = |arguments: &[&str]| {
        let all = [&["relay", "-f", &path], arguments].concat();
        wsp(all).directory(directory.path()).env("WSP_QUEUE_SIZE", "3")
    };
    let output = relay(&["--check"]).input("").exits(0);
    assert!(output.stderr.contains("2 pipelines, nothing wrong"), "{}", output.stderr);
    assert!(!directory.path().join("doubled").exists(), "a check opens nothing");
    let output = relay(&["--jq", ". + 0"]).input(numbers(1, 3)).exits(0);
    for (name, count) in [("doubled", 3), ("copied", 5)] {
        let expected = format!("{name}: received {count} = delivered {count} + filtered 0 {NOTHING_LOST}");
        assert!(output.stderr.lines().any(|line| line == expected), "{expected} in {}", output.stderr);
    }
    for (name, content) in [("doubled", "2\n4\n6\n"), ("copied", "1\n4\n5\n"), ("two", "2\n"), ("three", "3\n")] {
        assert_eq!(read(&directory.path().join(name)), content, "{name}");
    }
    // A single one needs no name.
    let file = write(&directory, "one.toml", "[[pipeline]]\nfrom = '-'\nto = '-'\n");
    let output = run(&["relay", "--file", &text(&file)], "x\n").exits(0).prints("x\n");
    assert_eq!(output.stderr, format!("received 1 = delivered 1 + filtered 0 {NOTHING_LOST}\n"));
}

#[test]
fn everything_wrong_with_a_file_is_told_at_once_with_its_line() {
    let directory = scratch();
    let file = write(
        &directory,
        "bad.toml",
        "[[pipeline]]\nname = 'a'\nfrom = '-'\nto = ['nulll:']\njq = '.a |'\nqueue-sise = 3\non-full = 'blok'\n\
         [[pipeline]]\nfrom = '-'\nto = ['-', '-']\nspool = 's'\nroute = ['noarrow']\ninsecure = 'yes'\nadmin = '0'\n\
         [[pipeline]]\nfrom = 'file:x'\nto = 'null:'\nspool = './s'\nschema = 'nothere.json'\n",
    );
    let output = run(&["relay", "-f", &text(&file), "--check"], "").exits(2);
    let expected = [
        "4: pipeline a: invalid endpoint 'nulll:'",
        "5: pipeline a: --jq: ",
        "6: pipeline a: queue-sise: no option has this name",
        "7: pipeline a: on-full: invalid value 'blok'; use one of block",
        "9: pipeline 2: standard input is used twice",
        "10: pipeline 2: standard output is used twice",
        "12: pipeline 2: --route 'noarrow' has no =>",
        "13: pipeline 2: insecure: expected true or false",
        "14: pipeline 2: admin: this applies to the whole run",
        "18: pipeline 3: the spool ",
        "19: pipeline 3: --schema: cannot read nothere.json",
    ];
    for part in expected {
        let part = format!("wsp: {}:{part}", text(&file));
        assert!(output.stderr.lines().any(|line| line.starts_with(&part)), "{part} in {}", output.stderr);
    }
    assert_eq!(output.stderr.lines().filter(|line| line.starts_with("wsp: ")).count(), expected.len());
    assert!(output.stderr.contains("did you mean 'queue-size'?"));
    let file = write(&directory, "jq.toml", "[[pipeline]]\nfrom = '-'\nto = '-'\njq = '.a |'\n");
    run(&["relay", "-f", &text(&file)], "").exits(7).complains("jq.toml:4: pipeline 1: --jq");
    let file = write(&directory, "gap.toml", "[[pipeline]]\nfrom = '-'\nto = '-'\non-full = 'spool'\n");
    run(&["relay", "-f", &text(&file)], "").exits(2).complains(
        "gap.toml:4: pipeline 1: --on-full spool requires \
    --spool",
    );
    run(&["relay", "-f", "no-such.toml"], "").exits(2).complains("no-such.toml");
    run(&["relay", "-f", &text(&file), "-", "-"], "").exits(2);
    run(&["relay", "--check", "-", "null:", "--jq", ".a |"], "").exits(7);
    run(&["relay", "--check", "-", "null:"], "").exits(0);
}

#[test]
fn a_pipeline_that_fails_does_not_stop_the_others_and_the_gravest_code_wins() {
    let directory = scratch();
    let missing = text(&directory.path().join("no/such/folder"));
    let file = write(
        &directory,
        "relay.toml",
        format!(
            "[[pipeline]]\nname = 'bad'\nfrom = 'exec:echo x'\nto = 'file:{missing}'\n\
             [[pipeline]]\nname = 'good'\nfrom = '-'\nto = '-'\n"
        ),
    );
    let mut relay = wsp(["relay", "-f", &text(&file), "--admin", "0"]).spawn();
    let port = port_of(&relay);
    relay.wait_for_stderr("bad: received ");
    wait_for(port, "/health", |answer| answer.status == 503 && answer.json()["status"] == "retries-spent");
    relay.send("still here\n");
    relay.wait_for_stdout("still here");
    let output = relay.finish().exits(32);
    assert!(output.stderr.contains("good: received 1 = delivered 1 "), "{}", output.stderr);
}

/// A relay of pipelines that follow a file each.
struct Following {
    directory: tempfile::TempDir,
    relay: Process,
    port: u16,
}

impl Following {
    #[track_caller]
    fn start(names: &[&str], more: &str) -> Self {
        let directory = scratch();
        for name in ["a", "b", "c"] {
            write(&directory, name, "");
        }
        let file = write(&directory, "relay.toml", tables(names, more));
        let relay = wsp(["relay", "-f", &text(&file), "--follow", "--admin", "0"]).directory(directory.path()).spawn();
        let port = port_of(&relay);
        Self { directory, relay, port }
    }

    #[track_caller]
    fn reload(&self, content: &str, says: &str) {
        write(&self.directory, "relay.toml", content);
        self.relay.signal(Signal::SIGHUP);
        self.relay.wait_for_stderr(says);
    }

    fn say(&self, name: &str, line: &str) {
        append(&self.directory.path().join(name), line);
    }

    #[track_caller]
    fn arrives(&self, name: &str, content: &str) {
        wait_for_content(&self.directory.path().join(format!("{name}.out")), content);
    }
}

fn tables(names: &[&str], more: &str) -> String {
    let table =
        |name: &&str| format!("[[pipeline]]\nname = '{name}'\nfrom = 'file:{name}'\nto = 'file:{name}.out'\n{more}\n");
    names.iter().map(table).collect()
}

#[test]
fn a_file_read_again_touches_only_what_has_changed() {
    let following = Following::start(&["a", "b"], "");
    following.say("a", "1\n");
    following.arrives("a", "1\n");
    following.say("b", "1\n");
    following.arrives("b", "1\n");
    let sessions = get(following.port, "/sessions").json();
    let since = |sessions: &serde_json::Value, name: &str| {
        let all = sessions.as_array().expect("sessions");
        let of_name: Vec<_> = all.iter().filter(|session| session["pipeline"] == name).collect();
        of_name.iter().map(|session| format!("{} {}", session["id"], session["since"])).collect::<Vec<_>>()
    };
    assert_eq!(since(&sessions, "a").len(), 2, "{sessions}");
    // Faults change nothing.
    following.reload("[[pipeline]]\nfrom = 3\n", "has errors: all pipelines keep running unchanged");
    // b changes, c comes.
    let changed = tables(&["a"], "") + &tables(&["b"], "jq = '. + 100'") + &tables(&["c"], "");
    following.reload(&changed, "read again: 1 unchanged, 1 changed, 1 new, 0 gone");
    following.relay.wait_for_stderr("b: received 1 = delivered 1 ");
    following.say("c", "7\n");
    following.arrives("c", "7\n");
    // What starts anew reads its file from the beginning.
    following.arrives("b", "1\n101\n");
    following.say("a", "2\n");
    following.arrives("a", "1\n2\n");
    let now = get(following.port, "/sessions").json();
    assert_eq!(since(&now, "a"), since(&sessions, "a"), "it was not touched");
    assert_ne!(since(&now, "b"), since(&sessions, "b"));
    let metrics = get(following.port, "/metrics");
    let received = sample(metrics.text(), "wsp_messages_total{direction=\"in\"}");
    assert!((received - 5.0).abs() < 1e-9, "what has ended stays in the sums: {received}");
    sample(metrics.text(), "wsp_queue_depth{queue=\"c: file:c.out\"}");
    // c goes.
    let fewer = tables(&["a"], "") + &tables(&["b"], "jq = '. + 100'");
    following.reload(&fewer, "read again: 2 unchanged, 0 changed, 0 new, 1 gone");
    following.relay.wait_for_stderr("c: received 1 = delivered 1 ");
    following.relay.signal(Signal::SIGTERM);
    let output = following.relay.outcome().exits(0);
    assert!(output.stderr.contains("a: received 2 = delivered 2 "), "{}", output.stderr);
}

#[test]
fn connections_of_pipelines_that_have_not_changed_stay_open() {
    let server = listen(&["--push", "50"]);
    let directory = scratch();
    let kept = format!("[[pipeline]]\nname = 'kept'\nfrom = '{}'\nto = 'null:'\n", server.url);
    let file = write(
        &directory,
        "relay.toml",
        format!("{kept}[[pipeline]]\nname = 'x'\nfrom = '{}'\nto = 'null:'\n", server.url),
    );
    let relay = wsp(["relay", "-f", &text(&file), "--admin", "0"]).spawn();
    let port = port_of(&relay);
    wait_for(port, "/metrics", |answer| answer.text().contains("wsp_connections_active 2\n"));
    let mut view = Events::open(port);
    std::fs::write(
        &file,
        format!("{kept}[[pipeline]]\nname = 'x'\nfrom = '{}'\nto = 'null:'\nqueue-size = 7\n", server.url),
    )
    .expect("the file");
    relay.signal(Signal::SIGHUP);
    relay.wait_for_stderr("read again: 1 unchanged, 1 changed, 0 new, 0 gone");
    view.wait_for(|_, data| data["type"] == "open");
    let metrics = wait_for(port, "/metrics", |answer| answer.text().contains("wsp_connections_active 2\n"));
    assert!((sample(metrics.text(), "wsp_connections_total") - 3.0).abs() < 1e-9, "{}", metrics.text());
    relay.signal(Signal::SIGTERM);
    relay.outcome().exits(0);
}

#[test]
fn a_changed_pipeline_delivers_what_waits_and_hands_its_spool_on() {
    let server = Recorder::start();
    let directory = scratch();
    let table = |more: &str| {
        format!("[[pipeline]]\nname = 'p'\nfrom = 'file:in'\nto = '{}'\nspool = 'spool'\n{more}\n", server.url)
    };
    write(&directory, "in", numbers(1, 500));
    let file = write(&directory, "relay.toml", table(""));
    let relay = wsp(["relay", "-f", &text(&file), "--follow"]).directory(directory.path()).spawn();
    server.wait("the first all arrive", |all| all.first().filter(|heard| heard.texts.len() == 500).map(drop));
    std::fs::write(&file, table("batch = 10")).expect("the file");
    relay.signal(Signal::SIGHUP);
    relay.wait_for_stderr("read again: 0 unchanged, 1 changed");
    let again = server.wait("they come once more", |all| {
        all.get(1).filter(|heard| heard.texts.len() == 500).map(|heard| heard.texts.concat())
    });
    assert_eq!(again, numbers(1, 500).replace('\n', ""));
    relay.signal(Signal::SIGTERM);
    let output = relay.outcome().exits(0);
    assert_eq!(output.stderr.matches(&format!("received 500 = delivered 500 + filtered 0 {NOTHING_LOST}")).count(), 2);
}
