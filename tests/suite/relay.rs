//! `wsp relay` between simple endpoints: order, filters, routes, the balance, losing and finding a server again.

use nix::sys::signal::Signal;

use super::relay_admin::port_of;
use crate::support::http::{sample, wait_for};
use crate::support::{FakeServer, Frame, closed_port, listen, run, wsp};

fn numbers(count: usize) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

fn balance(stderr: &str) -> &str {
    stderr.lines().last().unwrap_or_default()
}

#[test]
fn lines_reach_a_server_in_order_and_the_balance_says_so() {
    let server = listen(&["--format", "raw"]);
    let output = run(&["relay", "-", &server.url], numbers(1000));
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(
        balance(&output.stderr),
        "received 1000 = delivered 1000 + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0"
    );
    let printed = server.stop();
    assert_eq!(printed.stdout(), numbers(1000));
}

#[test]
fn what_the_filter_leaves_out_is_filtered_and_what_it_makes_more_of_counts_once() {
    let output = run(
        &["relay", "-", "-", "--jq", "if .n > 2 then .n, .n else empty end"],
        "{\"n\":1}\nnot json\n{\"n\":3}\n{\"n\":4}\n",
    );
    assert_eq!((output.code, output.stdout()), (0, "3\n3\n4\n4\n"));
    assert_eq!(
        balance(&output.stderr),
        "received 4 = delivered 2 + filtered 2 + dropped 0 + dead-lettered 0 + waiting 0"
    );
}

#[test]
fn the_first_route_that_matches_takes_a_message_and_the_others_go_on() {
    let (high, low) = (listen(&["--format", "raw"]), listen(&["--format", "raw"]));
    let (first, second) = (format!(". > 7=>{}", high.url), format!(". > 3=>{}", low.url));
    let output = run(&["relay", "-", "-", "--route", &first, "--route", &second], numbers(9));
    assert_eq!((output.code, output.stdout()), (0, "1\n2\n3\n"), "{}", output.stderr);
    assert_eq!((high.stop().stdout(), low.stop().stdout()), ("8\n9\n", "4\n5\n6\n7\n"));
}

#[test]
fn each_of_several_destinations_gets_everything() {
    let (one, two) = (listen(&["--format", "raw"]), listen(&["--format", "raw"]));
    let output = run(&["relay", "-", &one.url, &two.url, "-"], numbers(50));
    assert_eq!((output.code, output.stdout()), (0, numbers(50).as_str()), "{}", output.stderr);
    assert_eq!((one.stop().stdout(), two.stop().stdout()), (numbers(50).as_str(), numbers(50).as_str()));
    assert!(balance(&output.stderr).starts_with("received 50 = delivered 50 "), "{}", output.stderr);
}

#[test]
fn a_stream_ends_when_its_server_closes() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for number in 1..=5 {
            socket.say(Frame::text(&number.to_string()));
        }
        socket.say(Frame::close(1000, "done"));
        socket.read_rest();
    });
    let output = run(&["relay", &server.url, "-"], "");
    assert_eq!((output.code, output.stdout()), (0, "1\n2\n3\n4\n5\n"), "{}", output.stderr);
    server.join();
}

#[test]
fn what_was_not_sent_goes_out_after_connecting_again() {
    let server = FakeServer::times(2, |number, request| {
        let mut socket = request.accept();
        if number == 0 {
            // It hangs up before it has read anything.
            return;
        }
        let mut last = 0;
        while last < 2000 {
            let frame = socket.read_frame().expect("a message");
            let number: u32 = String::from_utf8(frame.payload).expect("text").parse().expect("a number");
            assert!(last == 0 || number == last + 1, "{number} after {last}");
            last = number;
        }
        assert_eq!(socket.answer_close(), 1000);
    });
    // More than sockets hold, so that not all can have been written when it is noticed.
    let long: String = (1..=2000).map(|number| format!("{number:08000}\n")).collect();
    let output = run(&["relay", "-", &server.url, "--reconnect", "--retry-delay", "10ms"], long);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stderr.contains("reconnecting"), "{}", output.stderr);
    server.join();
}

#[test]
fn a_destination_that_is_not_there_is_named() {
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    let output = run(&["relay", "-", &url], "");
    assert_eq!(output.code, 14, "{}", output.stderr);
    assert!(output.stderr.contains("cannot connect to"), "{}", output.stderr);
}

#[test]
fn a_signal_says_what_waits_and_how_to_end_at_once() {
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    let retries = ["--reconnect", "--retry-delay", "10ms", "--retry-factor", "1", "--grace", "1h"];
    let mut relay = wsp(["relay", "-", "-", &url]).args(retries).spawn();
    relay.send(numbers(3));
    relay.wait_for_stdout("3");
    relay.signal(Signal::SIGINT);
    relay.wait_for_stderr(
        "wsp: 3 messages not delivered yet: waiting up to 3600s (--grace); press Ctrl-C again to stop now",
    );
    relay.signal_again(Signal::SIGINT);
    let output = relay.outcome().exits(30);
    assert!(balance(&output.stderr).ends_with("waiting 3"), "{}", output.stderr);
    // With nothing that waits there is nothing to say.
    let mut relay = wsp(["relay", "-", "null:", "--admin", "0"]).spawn();
    let port = port_of(&relay);
    relay.send(numbers(1));
    wait_for(port, "/metrics", |answer| sample(answer.text(), "wsp_delivered_total") > 0.9);
    relay.signal(Signal::SIGINT);
    let output = relay.outcome().exits(0);
    assert!(!output.stderr.contains("--grace"), "{}", output.stderr);
}

#[test]
fn what_was_taken_in_and_not_delivered_is_said_to_wait() {
    // The upgrade is refused only once the input has been taken in.
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::once(move |request| {
        may_go.recv().expect("a word from the test");
        request.refuse("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    });
    let mut relay = wsp(["relay", "-", &server.url, "-"]).spawn();
    relay.send(numbers(3));
    relay.wait_for_stdout("3");
    go.send(()).expect("a server");
    let output = relay.finish();
    server.join();
    assert_eq!(output.code, 30, "{}", output.stderr);
    assert!(balance(&output.stderr).contains("received 3 "), "{}", output.stderr);
    assert!(balance(&output.stderr).ends_with("waiting 3"), "{}", output.stderr);
}

#[test]
fn what_cannot_be_an_endpoint_is_named() {
    for (arguments, word) in [
        (["relay", "gopher://x/", "-"], "gopher://x/"),
        (["relay", "-", "plain"], "plain"),
        (["relay", "null:", "-"], "null:"),
        (["relay", "-", "ws://h/#fragment"], "fragment"),
    ] {
        let output = run(&arguments, "");
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(output.stderr.contains(word) && output.stderr.contains("hint:"), "{}", output.stderr);
    }
}

#[test]
fn no_more_than_the_rate_leaves_for_all_destinations_together() {
    let took = |arguments: &[&str], count| {
        let output = run(&[&["relay", "-"], arguments].concat(), numbers(count)).exits(0);
        assert!(balance(&output.stderr).starts_with(&format!("received {count} = delivered {count} ")));
        output.took.as_millis()
    };
    // The first goes at once; twenty milliseconds may be made up for.
    let one = took(&["-", "--rate", "100/s"], 41);
    assert!((380..4000).contains(&one), "{one} ms");
    let both = took(&["-", "null:", "--rate", "100"], 21);
    assert!((380..4000).contains(&both), "{both} ms");
    let many = took(&["exec:cat >/dev/null", "--rate", "20k"], 10_001);
    assert!((480..5000).contains(&many), "{many} ms");
    assert_eq!(run(&["relay", "-", "-", "--rate", "0"], "").code, 2);
}

#[test]
fn what_comes_faster_than_the_rate_is_dropped_where_that_is_the_policy() {
    let output = run(
        &["relay", "-", "-", "--rate", "10", "--queue-size", "3", "--on-full", "drop-oldest", "--fail-on-drop"],
        numbers(1000),
    )
    .exits(31);
    assert!(output.stdout().ends_with("998\n999\n1000\n"), "{}", output.stdout());
    let count = output.stdout().lines().count();
    assert!(count < 100, "{count}");
    assert!(balance(&output.stderr).contains(&format!("delivered {count} ")), "{}", output.stderr);
    assert!(balance(&output.stderr).contains(&format!("dropped {0} (queue-full {0})", 1000 - count)));
}

#[test]
fn a_run_ends_in_time_and_delivers_what_it_has() {
    let mut relay = wsp(["relay", "-", "-", "--timeout", "200ms"]).spawn();
    relay.send("1\n2\n");
    relay.wait_for_stdout("2");
    let output = relay.outcome().exits(124);
    assert!(output.stderr.contains("--timeout ran out"), "{}", output.stderr);
    assert!(balance(&output.stderr).starts_with("received 2 = delivered 2 "), "{}", output.stderr);
}

#[test]
fn a_time_limit_holds_for_the_grace_time() {
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    let limits = ["--timeout", "300ms", "--grace", "1h", "--reconnect", "--retry-delay", "1h"];
    let mut relay = wsp(["relay", "-", &url]).args(limits).spawn();
    relay.send(numbers(3));
    let output = relay.outcome().exits(30);
    assert!(output.stderr.contains("wsp: --timeout ran out"), "{}", output.stderr);
    assert!(balance(&output.stderr).ends_with("waiting 3"), "{}", output.stderr);
}

#[test]
fn a_quiet_relay_gives_its_account_only_where_something_is_wrong() {
    let output = run(&["relay", "-", "-", "-q"], numbers(3)).exits(0);
    assert_eq!(output.stderr, "");
    let output = run(&["relay", "-", "-", "-q", "--jq", ".a"], "x\n");
    assert!(output.code == 0 || !output.stderr.is_empty(), "{}", output.code);
}
