//! Programs that a server under test has started, looked at from outside.
//!
//! Owns finding them by process group or parent and waiting for their end. Leaves starting and ending them to the server:
//! nothing here sends a signal.

use std::time::{Duration, Instant};

use super::DEADLINE;

/// A process as the kernel shows it.
#[derive(Debug)]
pub struct Program {
    pub id: u32,
    /// For what a failing test says.
    #[allow(dead_code)]
    pub name: String,
    pub parent: u32,
    pub group: u32,
    /// It has ended, and its parent has not looked yet.
    pub is_zombie: bool,
}

/// All there are.
fn all() -> Vec<Program> {
    let entries = std::fs::read_dir("/proc").expect("the processes");
    let read = |id: u32| {
        let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse().ok();
        let is_zombie = *words.first()? == "Z";
        Some(Program { id, name: name.to_owned(), parent: number(1)?, group: number(2)?, is_zombie })
    };
    entries.filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// The processes of a group that run.
pub fn of_group(group: u32) -> Vec<Program> {
    all().into_iter().filter(|program| program.group == group && !program.is_zombie).collect()
}

/// The children of a process, those that wait to be reaped included.
pub fn children_of(parent: u32) -> Vec<Program> {
    all().into_iter().filter(|program| program.parent == parent).collect()
}

/// Waits until nothing of a group runs.
#[track_caller]
pub fn wait_for_end_of_group(group: u32) {
    wait_until_empty(|| of_group(group));
}

/// Waits until a process has no children left.
#[track_caller]
pub fn wait_for_end_of_children(parent: u32) {
    wait_until_empty(|| children_of(parent));
}

#[track_caller]
fn wait_until_empty(list: impl Fn() -> Vec<Program>) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let left = list();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still there: {left:?}");
        // Looking is not free: nothing announces the end of somebody else's process.
        std::thread::sleep(Duration::from_millis(10));
    }
}
