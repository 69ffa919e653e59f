//! Numbered load: numbers that go in, numbers that come out, and what a relay says became of them.
//!
//! Invariant: what a killed process wrote last may be torn, and is then not counted.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::files::list;

/// Numbers, a line each.
pub fn numbers(range: std::ops::RangeInclusive<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

/// The numbers of lines.
#[track_caller]
pub fn lines(text: &str) -> Vec<u32> {
    text.lines().map(|line| line.parse().expect("a number")).collect()
}

/// What a relay says at its end.
pub fn balance(stderr: &str) -> &str {
    stderr.lines().last().unwrap_or_default()
}

/// So many were received, and all of them delivered.
#[track_caller]
pub fn all_delivered(stderr: &str, count: u32) {
    let expected =
        format!("received {count} = delivered {count} + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0");
    assert_eq!(balance(stderr), expected, "{stderr}");
}

/// A number from the environment, for tests that may do more of the same.
#[track_caller]
pub fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Numbers in the files of a folder, which grow.
pub struct Tally {
    folder: PathBuf,
    read: HashMap<PathBuf, u64>,
    /// Those seen.
    pub seen: BTreeSet<u32>,
    /// How many lines said so.
    pub lines: u64,
}

impl Tally {
    /// Of the files in this folder.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), read: HashMap::new(), seen: BTreeSet::new(), lines: 0 }
    }

    /// Reads what has been written since; how many different numbers there are.
    #[track_caller]
    pub fn count(&mut self) -> usize {
        for path in list(&self.folder) {
            let from = self.read.entry(path.clone()).or_default();
            let mut file = std::fs::File::open(&path).expect("a file");
            file.seek(SeekFrom::Start(*from)).expect("a place in it");
            let mut text = String::new();
            file.read_to_string(&mut text).expect("text");
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            *from += whole as u64;
            let numbers = lines(&text[..whole]);
            self.lines += numbers.len() as u64;
            self.seen.extend(numbers);
        }
        self.seen.len()
    }

    /// Numbers up to this one that were not seen.
    pub fn missing(&self, last: u32) -> Vec<u32> {
        (1..=last).filter(|number| !self.seen.contains(number)).collect()
    }
}
