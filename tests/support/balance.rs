//! The balance of a relay, read back from its last line on stderr.
//!
//! Invariant: what is read adds up, or the test fails.

use super::process::Output;

/// The account of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    pub received: u64,
    pub delivered: u64,
    pub filtered: u64,
    pub dropped: u64,
    pub dead_lettered: u64,
    pub waiting: u64,
}

impl Balance {
    /// The one in the last line.
    #[track_caller]
    pub fn of(output: &Output) -> Self {
        let line = output.stderr.lines().last().unwrap_or_default();
        let field = |name: &str| -> u64 {
            let rest =
                line.split(&format!("{name} ")).nth(1).unwrap_or_else(|| panic!("no balance: {}", output.stderr));
            rest.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no number: {line}"))
        };
        let balance = Self {
            received: field("received"),
            delivered: field("= delivered"),
            filtered: field("+ filtered"),
            dropped: field("+ dropped"),
            dead_lettered: field("+ dead-lettered"),
            waiting: field("+ waiting"),
        };
        let settled = balance.delivered + balance.filtered + balance.dropped + balance.dead_lettered;
        assert_eq!(balance.received, settled + balance.waiting, "{line}");
        balance
    }

    /// Everything was delivered.
    pub fn all_delivered(count: u64) -> Self {
        Self { received: count, delivered: count, filtered: 0, dropped: 0, dead_lettered: 0, waiting: 0 }
    }
}
