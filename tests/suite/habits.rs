//! What people type who are used to other tools: the error says what to write.
//!
//! Leaves wscat's whole command line to `wscat` and URLs without a subcommand to `connect_life`. The table of flags is tested
//! beside itself, in `src/command/habits.rs`.

use crate::support::run;

#[test]
fn a_flag_of_another_tool_is_answered_with_the_right_one_not_the_one_that_sounds_alike() {
    let table: [(&[&str], &str); 13] = [
        (&["bench", "ws://127.0.0.1:1", "--vus", "3"], "for --vus write --connections N"),
        (&["bench", "ws://127.0.0.1:1", "-q", "50"], "write --rate 50"),
        (&["bench", "ws://127.0.0.1:1", "--out", "x.json"], "--json > FILE"),
        (&["bench", "-z", "10s", "ws://127.0.0.1:1"], "for -z write --duration DURATION"),
        (&["listen", "--port", "80"], "wsp listen 0.0.0.0:8080"),
        (&["listen", "--port=80"], "wsp listen 0.0.0.0:8080"),
        (&["listen", "--bind", "0.0.0.0"], "wsp listen 0.0.0.0:8080"),
        (&["listen", "--cert", "c.pem"], "for --cert write --tls-cert FILE --tls-key FILE"),
        (&["connect", "ws://127.0.0.1:1", "--max-time", "3"], "for --max-time write --timeout SECONDS"),
        (&["ws://127.0.0.1:1", "--no-check"], "for --no-check write --insecure"),
        (&["ws://127.0.0.1:1", "-d", "hello"], "for -d write --execute MESSAGE"),
        (&["relay", "ws://127.0.0.1:1", "-", "--autoreconnect"], "for --autoreconnect write --reconnect"),
        (&["ws://127.0.0.1:1", "-E"], "for -E write nothing: the end of input ends it"),
    ];
    for (words, tip) in table {
        let output = run(words, "").exits(2).complains(tip);
        let offered = output.stderr.matches("similar").count();
        assert_eq!(offered, 0, "{}", output.stderr);
        assert!(!output.stderr.contains("--user <U:P>"), "{}", output.stderr);
    }
    run(&["ws://127.0.0.1:1", "--insecur"], "").exits(2).complains("--insecure");
    let unheard = run(&["listen", "--cuckoo"], "").exits(2);
    assert!(!unheard.stderr.contains("tip:"), "{}", unheard.stderr);
}

#[test]
fn an_address_of_the_wrong_kind_is_answered_with_the_right_kind() {
    let table: [(&[&str], &str); 8] = [
        (&["listen", "ws://localhost:8085"], "write localhost:8085"),
        (&["listen", "ws://localhost:8085/path"], "write localhost:8085"),
        (
            &["relay", "localhost:8080", "-"],
            "ws://localhost:8080 connects to a server, ws-listen://localhost:8080 is one",
        ),
        (&["relay", "8080", "-"], "ws://localhost:8080 connects to a server, ws-listen://8080 is one"),
        (&["relay", "-", "out.txt"], "file:out.txt is the file of that name"),
        (&["relay", "-", "./a/b"], "file:./a/b is the file of that name"),
        (
            &["connect", "ws://127.0.0.1:1/", "-o", "out.txt"],
            "to save messages to a file use > out.txt or --record out.txt",
        ),
        (&["connect", "ws://127.0.0.1:1/", "-o", "/tmp/x"], "'/tmp/x' looks like a file name"),
    ];
    for (words, tip) in table {
        run(words, "").exits(2).complains(tip);
    }
    run(&["connect", "ws://127.0.0.1:1/", "-o", "example.com"], "").exits(14);
}
