//! Random scripts of outcomes against what the policy promises, each promise checked on its own.

use std::time::Duration;

use super::*;

const SCRIPTS: u64 = 10_000;
const OUTCOMES: usize = 40;

fn settings(random: &mut fastrand::Rng) -> ReconnectSettings {
    let limits = [Limit::Off, Limit::UpTo(1), Limit::UpTo(2), Limit::UpTo(5), Limit::UpTo(20), Limit::Unlimited];
    let limit = |random: &mut fastrand::Rng| limits[random.usize(..limits.len())];
    let lists = ["default", "all", "none", "429,1011", "5xx", "1000-1005"];
    ReconnectSettings {
        retries: Retries { first: limit(random), later: limit(random) },
        backoff: Backoff {
            delay: Duration::from_millis(random.u64(0..5000)),
            max: Duration::from_millis(random.u64(0..90_000)),
            factor: [1.0, 1.5, 2.0, 10.0][random.usize(..4)],
            step: Duration::from_millis([0, 0, 100, 3000][random.usize(..4)]),
            jitter: if random.bool() { Jitter::Full } else { Jitter::None },
        },
        stable_after: Duration::from_millis(random.u64(0..20_000)),
        retry_on: RetryOn::parse(lists[random.usize(..lists.len())]).expect("a list"),
    }
}

fn outcome(random: &mut fastrand::Rng) -> Attempt {
    let cause = match random.u32(0..10) {
        0..5 => Cause::Passing,
        5..7 => Cause::Status([401, 404, 408, 429, 500, 503][random.usize(..6)]),
        7..9 => Cause::Close([1000, 1001, 1005, 1006, 1011, 4000][random.usize(..6)]),
        _ => Cause::Final,
    };
    match random.u32(0..10) {
        0 => Attempt::Asked,
        1..6 => Attempt::Ended { lived: Duration::from_millis(random.u64(0..25_000)), cause },
        _ => {
            let retry_after = random.bool().then(|| Duration::from_millis(random.u64(0..120_000)));
            Attempt::Failed { cause, retry_after }
        }
    }
}

/// Failures in a row after an outcome, counted from the whole history and not from state.
fn in_a_row(history: &[Attempt], stable_after: Duration) -> u32 {
    let mut failures = 0;
    for outcome in history.iter().rev() {
        failures += 1;
        match outcome {
            Attempt::Asked => break,
            Attempt::Ended { lived, .. } if *lived >= stable_after => break,
            _ => {}
        }
    }
    failures
}

/// The longest delay, step by step.
fn ceiling(backoff: &Backoff, attempt: u32) -> f64 {
    let mut growing = backoff.delay.as_secs_f64();
    let mut added = 0.0;
    for _ in 1..attempt {
        growing *= backoff.factor;
        added += backoff.step.as_secs_f64();
    }
    (growing + added).min(backoff.max.as_secs_f64())
}

#[test]
fn ten_thousand_random_scripts_keep_every_promise() {
    const CLOSE_TO: f64 = 1e-6;
    for seed in 0..SCRIPTS {
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = settings(&mut random);
        let backoff = settings.backoff;
        let mut policy = ReconnectPolicy::new(settings.clone());
        let mut history = Vec::new();
        for _ in 0..random.usize(1..OUTCOMES) {
            let outcome = outcome(&mut random);
            history.push(outcome);
            let decision = policy.next(outcome, random.f64());
            let told = format!("seed {seed}: {settings:?}\n{history:?}\n{decision:?}");

            let failures = in_a_row(&history, settings.stable_after);
            let was_open = history.iter().any(|outcome| matches!(outcome, Attempt::Ended { .. }));
            let limit = if was_open { settings.retries.later } else { settings.retries.first };
            let (cause, wanted) = match outcome {
                Attempt::Failed { cause, retry_after } => (cause, retry_after.unwrap_or_default()),
                Attempt::Ended { cause, .. } => (cause, Duration::ZERO),
                Attempt::Asked => (Cause::Passing, Duration::ZERO),
            };
            let wanted = wanted.min(backoff.max).as_secs_f64();
            match decision {
                Decision::Retry { attempt, delay } => {
                    let (delay, ceiling) = (delay.as_secs_f64(), ceiling(&backoff, failures));
                    assert!(settings.retry_on.lets_pass(cause), "ends for what may not pass: {told}");
                    assert_eq!(attempt, failures, "counts failures in a row: {told}");
                    assert!(Limit::UpTo(failures) <= limit, "N is respected: {told}");
                    assert!(delay <= backoff.max.as_secs_f64() + CLOSE_TO, "never longer than the maximum: {told}");
                    assert!(delay >= wanted - CLOSE_TO, "the server's wish is honoured: {told}");
                    assert!(delay <= ceiling.max(wanted) + CLOSE_TO, "never longer than the ceiling: {told}");
                    if backoff.jitter == Jitter::None {
                        assert!(delay >= ceiling - CLOSE_TO, "never faster than the policy allows: {told}");
                    }
                }
                Decision::End => {
                    assert!(limit == Limit::Off || !settings.retry_on.lets_pass(cause), "ends for a reason: {told}");
                    break;
                }
                Decision::Spent { retries } => {
                    assert!(
                        limit != Limit::Off && settings.retry_on.lets_pass(cause),
                        "ends for the right reason: {told}"
                    );
                    assert!(
                        Limit::UpTo(failures) > limit && retries == failures - 1,
                        "ends after N retries, no sooner: {told}"
                    );
                    break;
                }
            }
        }
    }
}
