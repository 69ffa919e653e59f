//! `exec:` at either end of `wsp relay`: lines in and out, programs that end too early, and nothing left behind.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::files::{read, wait_for_content, wait_until};
use crate::support::programs::{Program, children_of, of_group, wait_for_end_of_children, wait_for_end_of_group};
use crate::support::{listen, run, scratch, text, wsp};

fn numbers(from: usize, to: usize) -> String {
    (from..=to).map(|number| format!("{number}\n")).collect()
}

fn balance(stderr: &str) -> &str {
    stderr.lines().last().unwrap_or_default()
}

#[test]
fn a_program_gets_every_message_and_what_it_says_goes_to_stderr() {
    let directory = scratch();
    let out = text(&directory.path().join("out"));
    let to = format!("exec:cat > '{out}'; echo said; echo complained >&2");
    let output = run(&["relay", "-", &to, "-"], numbers(1, 20_000)).exits(0);
    assert_eq!(read(out.as_ref()), numbers(1, 20_000));
    assert_eq!(output.stdout(), numbers(1, 20_000), "only what was relayed is on standard output");
    for word in ["said", "complained"] {
        assert!(output.stderr.lines().any(|line| line.starts_with("exec:cat") && line.ends_with(word)), "{word}");
    }
    assert!(balance(&output.stderr).starts_with("received 20000 = delivered 20000 "), "{}", output.stderr);
}

#[test]
fn binary_goes_into_a_program_as_event_lines() {
    let directory = scratch();
    let out = text(&directory.path().join("out.jsonl"));
    run(&["relay", "-", &format!("exec:cat > '{out}'"), "--json"], b"\xff\nx\n").exits(0);
    run(&["relay", &format!("exec:cat '{out}'"), "-", "--input", "json", "--format", "hex"], "")
        .exits(0)
        .prints("ff\n78\n");
}

#[test]
fn what_a_program_prints_is_relayed_until_it_ends_well() {
    run(&["relay", "exec:seq 3; printf 'last'", "-"], "").exits(0).prints("1\n2\n3\nlast\n");
    let directory = scratch();
    let file = text(&directory.path().join("runs"));
    // It fails twice before it ends well.
    let from = format!("exec:echo x >> '{file}'; n=$(wc -l < '{file}'); echo run $n; [ $n -ge 3 ] || exit 7");
    let output = run(&["relay", &from, "-", "--retry-delay", "1ms"], "").exits(0);
    assert_eq!(output.stdout(), "run 1\nrun 2\nrun 3\n");
    assert_eq!(output.stderr.matches("exit status 7; restarting").count(), 2, "{}", output.stderr);
    let output = run(&["relay", "exec:echo x; kill -9 $$", "-", "--retry-delay", "1ms", "--reconnect=2"], "").exits(9);
    assert_eq!(output.stdout(), "x\nx\nx\n");
    assert!(output.stderr.contains("gave up after 2 retries: signal 9 (SIGKILL)"), "{}", output.stderr);
}

#[test]
fn what_a_program_has_not_read_goes_to_the_next_one() {
    let directory = scratch();
    let out = text(&directory.path().join("out"));
    // The shell's read takes one line and not a byte more.
    let to = format!("exec:read a; read b; echo \"$a $b\" >> '{out}'");
    let output = run(&["relay", "-", &to, "--retry-delay", "1ms"], numbers(1, 10)).exits(0);
    assert_eq!(read(out.as_ref()), "1 2\n3 4\n5 6\n7 8\n9 10\n");
    assert!(output.stderr.contains("exit status 0; restarting"), "{}", output.stderr);
    assert!(balance(&output.stderr).starts_with("received 10 = delivered 10 "), "{}", output.stderr);
}

#[test]
fn programs_that_are_killed_lose_nothing_they_have_not_read() {
    let directory = scratch();
    let out = text(&directory.path().join("out"));
    let to = format!("exec:while read x; do echo $x >> '{out}'; done");
    let mut relay = wsp(["relay", "-", &to, "--retry-delay", "1ms", "--retry-max", "1ms"]).spawn();
    for number in 0..10 {
        relay.send(numbers(number * 200 + 1, number * 200 + 200));
        wait_until("some more lines", || (read(out.as_ref()).lines().count() >= number * 190 + 50).then_some(()));
        // Until it has a group of its own it belongs to ours.
        let is_ready = |one: &Program| !one.is_zombie && one.group == one.id;
        let program = wait_until("a program", || children_of(relay.id()).into_iter().find(is_ready));
        kill(Pid::from_raw(i32::try_from(program.id).expect("an id")), Signal::SIGKILL).expect("our grandchild");
        wait_for_end_of_group(program.group);
    }
    let output = relay.finish().exits(0);
    let got: Vec<usize> = read(out.as_ref()).lines().map(|line| line.parse().expect("a number")).collect();
    // A line may be read and its program killed before it wrote it down: one for each kill.
    let missing = (1..=2000).filter(|number| !got.contains(number)).count();
    assert!(missing <= 10, "{missing} missing");
    assert!(got.is_sorted(), "in order");
    assert!(balance(&output.stderr).starts_with("received 2000 = delivered 2000 "), "{}", output.stderr);
}

#[test]
fn a_program_is_joined_both_ways() {
    let output = run(&["relay", "-", "exec:sed -u 's/^/got /'", "--both"], numbers(1, 100)).exits(0);
    assert_eq!(output.stdout(), (1..=100).map(|number| format!("got {number}\n")).collect::<String>());
    let server = listen(&["--echo"]);
    // It says one word, reads the answer, and ends; the server may still say something.
    let directory = scratch();
    let out = text(&directory.path().join("out"));
    let from = format!("exec:echo hello; read answer; echo \"$answer\" > '{out}'");
    let relay = wsp(["relay", &from, &server.url, "--both"]).spawn();
    wait_for_content(out.as_ref(), "hello\n");
    wait_for_end_of_children(relay.id());
    relay.signal(Signal::SIGTERM);
    relay.outcome().exits(0);
}

#[test]
fn what_the_shell_cannot_run_is_named_at_once() {
    for arguments in [["relay", "exec:/nonexistent/x", "-"], ["relay", "-", "exec:/nonexistent/x"]] {
        let output = run(&arguments, "");
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(output.stderr.contains("the shell cannot run the command"), "{}", output.stderr);
    }
    let output = run(&["relay", "-", "exec:cat >/dev/null; exit 5"], "x\n").exits(9);
    assert!(output.stderr.contains("exit status 5, after all messages were written"), "{}", output.stderr);
}

#[test]
fn a_signal_ends_programs_and_what_they_started() {
    // One that would never end by itself, one that does not care for SIGTERM, and one that does not read.
    for (from, to) in [
        ("exec:sleep 1000 & while :; do echo x; sleep 0.01; done", "null:"),
        ("exec:trap '' TERM; while :; do echo x; sleep 0.01; done", "null:"),
        ("exec:while :; do echo x; sleep 0.01; done", "exec:trap '' TERM; sleep 1000 & sleep 1000"),
    ] {
        let relay = wsp(["relay", from, to, "-", "--grace", "300ms"]).spawn();
        relay.wait_for_stdout("x");
        let groups: Vec<u32> = children_of(relay.id()).iter().map(|program| program.group).collect();
        assert!(!groups.is_empty() && groups.iter().all(|group| !of_group(*group).is_empty()));
        let id = relay.id();
        relay.signal(Signal::SIGTERM);
        let output = relay.outcome();
        assert!([0, 30, 143].contains(&output.code), "{}: {}", output.code, output.stderr);
        for group in groups {
            assert!(of_group(group).is_empty(), "{from}: gone before the relay is");
        }
        wait_for_end_of_children(id);
    }
}
