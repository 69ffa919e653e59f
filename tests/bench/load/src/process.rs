//! What a process has used, as the kernel tells it.
//!
//! CPU time is the run time of all threads in nanoseconds, which unlike clock ticks resolves a
//! benchmark of a second. Leaves who is to be asked to the caller.

use std::fs;

use crate::Outcome;

/// CPU time of all threads that still live, in microseconds.
pub fn cpu_us(pid: u32) -> Outcome<f64> {
    let mut nanoseconds = 0u64;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        let text = fs::read_to_string(&path)?;
        let run = text.split_whitespace().next().and_then(|run| run.parse::<u64>().ok());
        nanoseconds += run.ok_or_else(|| format!("{}: unexpected content", path.display()))?;
    }
    Ok(nanoseconds as f64 / 1000.0)
}

/// Resident memory in KiB.
pub fn resident_kib(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("process {pid} shows no VmRSS").into())
}
