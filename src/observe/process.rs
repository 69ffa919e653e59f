//! What this process uses, as far as it is cheap to know.
//!
//! Owns reading it from the system. Leaves names and formats to `metrics`. Invariant: what the system does not tell is
//! left out, not guessed.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// Every open file descriptor of this process is a name here.
const DESCRIPTORS: &str = "/dev/fd";

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ProcessReading {
    /// User and system time.
    pub cpu: Option<Duration>,
    /// Resident memory, in bytes.
    pub resident: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    pub max_files: Option<u64>,
}

impl ProcessReading {
    #[must_use]
    pub(crate) fn now() -> Self {
        Self {
            cpu: getrusage(UsageWho::RUSAGE_SELF).ok().map(|usage| time(usage.user_time()) + time(usage.system_time())),
            resident: std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident),
            open_files: std::fs::read_dir(DESCRIPTORS).ok().map(|names| names.count() as u64),
            max_files: rlimit::Resource::NOFILE.get_soft().ok(),
        }
    }
}

fn time(value: nix::sys::time::TimeVal) -> Duration {
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    // The type of microseconds differs between systems.
    #[allow(clippy::useless_conversion)]
    let micros = i64::from(value.tv_usec());
    Duration::from_secs(part(value.tv_sec())) + Duration::from_micros(part(micros))
}

/// The resident size in what Linux says of a process.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let reading = ProcessReading::now();
        assert!(reading.cpu.is_some());
        assert!(reading.open_files.is_some_and(|count| count > 2));
        assert!(reading.max_files >= reading.open_files);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
