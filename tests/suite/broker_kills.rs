//! Numbered load through message brokers while relays and brokers are killed: every number arrives.
//!
//! `WSP_TEST_KILLS` says how often, `WSP_TEST_SEED` whom and when.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::brokers::{BROKERS, Broker};
use crate::support::numbers::{Tally, numbers, variable};
use crate::support::process::{Process, Run};
use crate::support::{DEADLINE, require, scratch, wsp};

/// They are patient: a broker may need a while to come back on a busy machine.
const PATIENCE: [&str; 5] = ["--reconnect", "--retry-delay", "50ms", "--retry-max", "500ms"];

/// A relay that appends to a file of its own.
fn receiver(from: &str, folder: &Path, number: usize) -> Process {
    let path = folder.join(number.to_string());
    let command =
        format!("exec {} relay '{from}' - {} >>{}", env!("CARGO_BIN_EXE_wsp"), PATIENCE.join(" "), path.display());
    Run::new("sh").arg("-c").arg(command).limit(Duration::from_secs(7200)).spawn()
}

fn carrier(from: &str, to: &str) -> Process {
    wsp(["relay", from, to]).args(PATIENCE).limit(Duration::from_secs(7200)).spawn()
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    // A broker that was killed may need longer than anything else.
    let deadline = Instant::now() + 6 * DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// One of the two that share the second place.
    Receiver(usize),
    /// What carries from the first place to the second.
    Carrier,
    /// The broker itself; then it comes back.
    Broker,
}

/// A relay publishes numbers, a second one carries them to another place, two more share that; all but the first are killed,
/// and the broker, which they have to find again.
#[allow(clippy::print_stderr)] // The figures are for whoever runs it.
#[track_caller]
fn no_kill_loses_anything(broker: &mut dyn Broker, victims: &[Victim], kills: u64) {
    let (name, seed, began) = (broker.name(), variable("WSP_TEST_SEED", 7), Instant::now());
    let mut random = fastrand::Rng::with_seed(seed);
    broker.make("one", 2);
    broker.make("two", 4);
    let (one, two) = (broker.from("one", "g1"), broker.from("two", "g2"));
    let directory = scratch();
    let mut tally = Tally::of(directory.path());
    let (mut files, mut died) = (2, [0_u64; 3]);
    let mut source = carrier("-", &broker.to("one"));
    let mut middle = carrier(&one, &broker.to("two"));
    let mut receivers = [0, 1].map(|number| receiver(&two, directory.path(), number));
    let mut sent = 0;
    for kill in 1..=kills {
        let more = random.u32(500..3000);
        source.send(numbers(sent + 1..=sent + more));
        // Wherever they stand: what was sent before need not have arrived, and what is sent now need not be under way.
        let wanted = random.usize(tally.count()..=sent as usize + 1);
        wait_for(&format!("{name}: nothing arrives before kill {kill} of seed {seed}"), || {
            tally.count() >= wanted.min(sent as usize)
        });
        sent += more;
        match victims[random.usize(..victims.len())] {
            Victim::Receiver(place) => {
                died[0] += 1;
                receivers[place].signal(Signal::SIGKILL);
                receivers[place] = receiver(&two, directory.path(), files);
                files += 1;
            }
            Victim::Carrier => {
                died[1] += 1;
                middle.signal(Signal::SIGKILL);
                middle = carrier(&one, &broker.to("two"));
            }
            Victim::Broker => {
                died[2] += 1;
                broker.kill();
                broker.come_back();
            }
        }
    }
    let deadline = Instant::now() + 6 * DEADLINE;
    while tally.count() < sent as usize && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let missing = tally.missing(sent);
    assert!(missing.is_empty(), "{name}, seed {seed}: {} of {sent} are missing: {missing:?}", missing.len());
    wait_for(&format!("{name}: all is settled"), || broker.has_settled("one", "g1", u64::from(sent)));
    let output = source.finish().exits(0);
    let expected = format!("received {sent} = delivered {sent} + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0");
    assert_eq!(output.stderr.lines().last(), Some(expected.as_str()), "{}", output.stderr);
    for relay in receivers.into_iter().chain([middle]) {
        relay.signal(Signal::SIGTERM);
        relay.outcome().exits(0);
    }
    eprintln!(
        "{name}, seed {seed}: {} receivers, {} carriers and {} brokers killed in {:.0} s; {sent} numbers, {} lines, none missing",
        died[0],
        died[1],
        died[2],
        began.elapsed().as_secs_f64(),
        tally.lines
    );
}

#[test]
fn no_number_is_lost_whoever_is_killed() {
    let victims = [Victim::Receiver(0), Victim::Receiver(1), Victim::Carrier, Victim::Broker];
    for (component, make) in BROKERS {
        if require(component) {
            no_kill_loses_anything(&mut *make(), &victims, variable("WSP_TEST_KILLS", 6));
        }
    }
}

#[test]
fn relays_that_share_a_group_share_the_work_and_lose_nothing_when_one_is_killed() {
    for (component, make) in BROKERS {
        if !require(component) {
            continue;
        }
        let mut broker = make();
        broker.make("work", 4);
        let (from, directory) = (broker.from("work", "g"), scratch());
        let mut tally = Tally::of(directory.path());
        let (first, second) = (receiver(&from, directory.path(), 0), receiver(&from, directory.path(), 1));
        let mut source = carrier("-", &broker.to("work"));
        let share = |number: usize| {
            let text = std::fs::read_to_string(directory.path().join(number.to_string()));
            text.unwrap_or_default().lines().count()
        };
        let mut sent = 0;
        wait_for(&format!("{component}: both get a share"), || {
            source.send(numbers(sent + 1..=sent + 100));
            sent += 100;
            share(0) >= 100 && share(1) >= 100
        });
        source.send(numbers(sent + 1..=sent + 3000));
        sent += 3000;
        first.signal(Signal::SIGKILL);
        let third = receiver(&from, directory.path(), 2);
        wait_for(&format!("{component}: every number"), || tally.count() == sent as usize);
        source.finish().exits(0);
        for relay in [second, third] {
            relay.signal(Signal::SIGTERM);
            relay.outcome().exits(0);
        }
    }
}
