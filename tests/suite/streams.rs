//! The standard streams as other programs leave them: readers that have gone, non-blocking pipes, closed streams.
//!
//! Owns what is the same for every subcommand. Leaves framings, formats and the end of input to `connect_pipes`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::files::wait_until;
use crate::support::process::sending_without_end;
use crate::support::{Process, Run, Server, closed_port, listen, run, scratch, wsp};

/// A shell that pipes what it is given into `grep -q ready` and says how that ended.
const UNTIL_READY: [&str; 7] =
    ["timeout", "-k", "1", "60", "sh", "-c", r#"{ "$0" "$@"; echo "ended $?" >&2; } | grep -q ready"#];

#[track_caller]
fn ended_with_zero(process: Process) {
    let stderr = process.outcome().stderr;
    assert!(stderr.contains("ended 0"), "{stderr}");
}

/// A server that sends one message and is silent then.
fn silent_after_ready() -> Server {
    let mut server = listen(&[]);
    server.process.send("ready\n");
    server
}

#[test]
fn a_run_ends_with_its_reader_though_nothing_more_arrives() {
    for arguments in [
        &["connect", "URL"][..],
        &["connect", "URL", "-w", "-1", "--reconnect"],
        &["relay", "URL", "-"],
        &["relay", "exec:echo ready; exec sleep 1000", "-"],
    ] {
        let server = silent_after_ready();
        let arguments = arguments.iter().map(|word| if *word == "URL" { &server.url } else { *word });
        ended_with_zero(wsp(arguments).within(UNTIL_READY).spawn());
    }
}

#[test]
fn a_server_that_prints_ends_with_its_reader_though_nothing_more_arrives() {
    let server = Server::ready(wsp(["listen", "127.0.0.1:0"]).within(UNTIL_READY));
    run(&["connect", &server.url, "-x", "ready", "-w", "0"], "").exits(0);
    ended_with_zero(server.process);
}

#[test]
fn a_load_test_ends_with_the_reader_of_its_seconds() {
    let server = listen(&["--echo"]);
    let until_first = r#"{ "$0" "$@"; echo "ended $?" >&2; } | head -n 1"#;
    let bench = wsp(["bench", &server.url, "--ndjson", "-d", "1h", "-c", "1", "--rate", "10"]);
    ended_with_zero(bench.within(["timeout", "-k", "1", "60", "sh", "-c", until_first]).spawn());
}

fn make_non_blocking(stream: impl AsFd) {
    fcntl(stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("setting a flag");
}

fn is_non_blocking(stream: impl AsFd) -> bool {
    let flags = fcntl(stream, FcntlArg::F_GETFL).expect("its flags");
    OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK)
}

#[test]
fn streams_that_a_neighbour_made_non_blocking_lose_nothing_and_stay_so() {
    let server = listen(&["--echo"]);
    let lines: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
    for arguments in [&["relay", "-", "-"][..], &["connect", &server.url, "-n", "50000"]] {
        let (stdin, mut feed) = std::io::pipe().expect("a pipe");
        let (mut printed, stdout) = std::io::pipe().expect("a pipe");
        let (mut told, stderr) = std::io::pipe().expect("a pipe");
        for stream in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            make_non_blocking(stream);
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_wsp"))
            .args(arguments)
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .stdin(stdin.try_clone().expect("another handle"))
            .stdout(stdout.try_clone().expect("another handle"))
            .stderr(stderr)
            .spawn()
            .expect("running wsp");
        let kept = [OwnedFd::from(stdin), OwnedFd::from(stdout)];
        let sent = lines.clone();
        let feeding = std::thread::spawn(move || feed.write_all(sent.as_bytes()));
        let mut all = vec![0; lines.len()];
        printed.read_exact(&mut all).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert!(all == lines.as_bytes(), "{arguments:?}");
        feeding.join().expect("it ends").expect("all was read");
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{arguments:?}");
        assert!(kept.iter().all(is_non_blocking), "the flags belong to the neighbour");
        let mut said = String::new();
        told.read_to_string(&mut said).expect("its stderr");
        assert!(!said.contains("cannot"), "{said}");
    }
}

/// Runs it with this redirection in a shell.
fn redirected(arguments: &[&str], redirection: &str) -> Run {
    let script = format!(r#"exec "$0" "$@" {redirection}"#);
    wsp(arguments).within(["sh", "-c", &script])
}

/// Runs it with a pipe for output that nobody reads, and signals it once that is full; what it told.
#[track_caller]
fn signalled_unread(arguments: &[&str], end: Signal, begin: impl FnOnce()) -> String {
    let (unread, output) = std::io::pipe().expect("a pipe");
    fcntl(&output, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let end_of_output = output.try_clone().expect("another handle");
    let mut child = Command::new(env!("CARGO_BIN_EXE_wsp"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .expect("running wsp");
    begin();
    let is_full = || {
        let mut room = [PollFd::new(end_of_output.as_fd(), PollFlags::POLLOUT)];
        (poll(&mut room, PollTimeout::ZERO) == Ok(0)).then_some(())
    };
    wait_until("a full pipe", is_full);
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a process")), end).expect("a signal");
    let status = wait_until("its end", || child.try_wait().expect("its status"));
    assert_eq!(status.code(), Some(128 + end as i32));
    let mut told = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut told).expect("its text");
    drop(unread);
    told
}

#[test]
fn a_signal_ends_a_client_whose_output_nobody_reads() {
    // A message that is larger than the pipe: what does not fit is still to be written.
    let server = listen(&["--push", "50", "--payload-size", "100000"]);
    for end in [Signal::SIGINT, Signal::SIGTERM] {
        let told = signalled_unread(&["connect", &server.url, "-w", "-1"], end, || ());
        assert!(told.contains("standard output was not read in time") || told.contains("ended by force"), "{told}");
    }
}

#[test]
fn a_server_whose_output_nobody_reads_ends_with_the_grace_time_and_says_what_is_lost() {
    let folder = scratch();
    let path = folder.path().join("socket");
    let mut sender = None;
    let arguments = ["listen", &format!("unix:{}", path.display()), "--grace", "300ms"];
    let told = signalled_unread(&arguments, Signal::SIGTERM, || {
        wait_until("the socket", || path.exists().then_some(()));
        sender = Some(sending_without_end(&path));
    });
    assert!(told.contains("standard output was not read in time"), "{told}");
}

#[test]
fn a_closed_stdout_is_an_error_before_connecting() {
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    let table: [&[&str]; 9] = [
        &["connect", &url],
        &["listen", "127.0.0.1:0"],
        &["listen", "127.0.0.1:0", "--echo", "--json"],
        &["relay", &url, "-"],
        &["bench", &url],
        &["demo"],
        &["config", "sample"],
        &["generate", "completions", "bash"],
        &["--help"],
    ];
    for arguments in table {
        let output = redirected(arguments, ">&-").input("");
        output.exits(2).complains("wsp: standard output is closed").complains("hint: redirect it");
    }
}

#[test]
fn a_closed_stdout_is_no_matter_where_nothing_is_printed() {
    let server = Server::ready(redirected(&["listen", "127.0.0.1:0", "--echo"], ">&-"));
    redirected(&["relay", "-", &server.url], ">&-").input("one\n").exits(0).complains("delivered 1");
    drop(server);
}

#[test]
fn a_closed_stderr_is_an_error_unless_it_is_silenced() {
    let server = listen(&["--echo"]);
    for arguments in [&["connect", &server.url][..], &["relay", "-", &server.url], &["bench", &server.url, "-n", "1"]] {
        redirected(arguments, "2>&-").input("one\n").exits(2).prints("");
    }
    redirected(&["connect", &server.url, "-q"], "2>&-").input("one\n").exits(0).prints("one\n");
}

#[test]
fn a_closed_stdin_is_an_empty_one() {
    let server = listen(&["--echo"]);
    redirected(&["connect", &server.url, "-w", "0"], "<&-").input("one\n").exits(0).prints("");
    redirected(&["relay", "-", "-"], "<&-").input("one\n").exits(0).complains("received 0 ");
}

#[test]
fn output_that_is_discarded_on_purpose_is_not_taken_for_closed() {
    let server = listen(&["--echo"]);
    // Node and Python open it so for their children, as the standard library does for closed streams.
    let null = || OpenOptions::new().read(true).write(true).open("/dev/null").expect("/dev/null");
    let mut client = Command::new(env!("CARGO_BIN_EXE_wsp"))
        .args(["connect", &server.url, "-x", "one", "-n", "1"])
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdin(null())
        .stdout(null())
        .stderr(Stdio::from(File::from(OwnedFd::from(null()))))
        .spawn()
        .expect("running wsp");
    let ended = wait_until("its end", || client.try_wait().expect("its status"));
    assert_eq!(ended.code(), Some(0));
}
