//! What this machine gives and what we take of it: processors, memory, ports, files, computing time.
//!
//! Owns every look at the system's own figures. Invariant: what cannot be learned is `None` or 0, never an error.

use std::fs;
use std::net::IpAddr;

use nix::time::{ClockId, clock_gettime};

/// Ports that are planned for one source address: connecting slows down when the range is nearly full.
pub(crate) const PORTS_PER_ADDRESS: usize = 20_000;

/// Processors this process may use.
#[must_use]
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Computing time of the calling thread, in nanoseconds.
#[must_use]
pub(crate) fn thread_cpu() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |time| {
        let part = |value: i64| u64::try_from(value).unwrap_or_default();
        part(time.tv_sec()) * 1_000_000_000 + part(time.tv_nsec())
    })
}

/// Time the calling thread was ready and had no processor, in nanoseconds.
#[must_use]
pub(crate) fn thread_waited() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Resident memory of this process in bytes.
#[must_use]
pub(crate) fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kibibytes(&text, "VmRSS:")
}

/// The machine's memory in bytes.
#[must_use]
pub(crate) fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kibibytes(&text, "MemTotal:")
}

fn kibibytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// The kernel's release.
#[must_use]
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The ports the system chooses from for connections of ours.
#[must_use]
pub(crate) fn port_range() -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// How many connections can wait to be accepted.
#[must_use]
pub(crate) fn backlog() -> Option<u64> {
    number("/proc/sys/net/core/somaxconn")
}

/// How many connections the packet filter keeps track of, if it does, and how many it has.
#[must_use]
pub(crate) fn tracked() -> Option<(u64, u64)> {
    Some((number("/proc/sys/net/netfilter/nf_conntrack_max")?, number("/proc/sys/net/netfilter/nf_conntrack_count")?))
}

/// Lets this process open as many files as it may, and tells how many that is.
#[must_use]
pub(crate) fn raise_files() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0)
}

/// Addresses of loopback to connect from, so many connections that one has not enough ports.
#[must_use]
pub(crate) fn loopback_sources(connections: usize) -> Vec<IpAddr> {
    let wanted = connections.div_ceil(PORTS_PER_ADDRESS).min(250);
    (0..wanted).map(|index| IpAddr::from([127, 0, 0, 2 + index as u8])).collect()
}
