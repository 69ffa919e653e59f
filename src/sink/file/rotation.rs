//! When a file is full or old enough to be put aside, and under which name (pure).
//!
//! Leaves renaming and deleting to `appender`. Invariants: a line is never cut; the name of a file put aside sorts behind
//! those put aside earlier; only names this would give are ever said to be surplus.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// What a name put aside looks like after the file's own and a hyphen; `d` stands for a digit.
const STAMP: &[u8] = b"ddddddddTdddddd.ddddddZ";

/// When a file is put aside, and how many of those are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Before it would grow beyond this.
    pub size: Option<u64>,
    /// When the next period of this length has begun; periods count from 1970 in UTC.
    pub every: Option<Duration>,
    /// Files put aside that are kept; all without it.
    pub keep: Option<usize>,
}

impl Rotation {
    /// Whether a file is ever put aside.
    pub(crate) fn is_wanted(&self) -> bool {
        self.size.is_some() || self.every.is_some()
    }

    /// The number of the period that `time` is in.
    pub(crate) fn period(&self, time: SystemTime) -> u128 {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.every.map_or(0, |every| since.as_nanos() / every.as_nanos().max(1))
    }

    /// How long the period that `now` is in still lasts.
    pub(crate) fn rest_of_period(&self, now: SystemTime) -> Option<Duration> {
        let every = self.every?.as_nanos().max(1);
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        Some(Duration::from_nanos(u64::try_from(every - since % every).unwrap_or(u64::MAX)))
    }

    /// How many of the lines that end at `ends`, counted from `start`, still belong into a file of `size` bytes. An empty
    /// file takes one of any length.
    pub(crate) fn fitting(&self, size: u64, start: usize, ends: &[usize]) -> usize {
        let Some(limit) = self.size else { return ends.len() };
        let fitting = ends.partition_point(|end| size + (end - start) as u64 <= limit);
        if size == 0 { fitting.max(1).min(ends.len()) } else { fitting }
    }
}

/// The name under which a file is put aside at `time`.
pub(super) fn name_aside(name: &OsStr, time: Timestamp) -> OsString {
    let mut aside = name.to_owned();
    aside.push(time.strftime("-%Y%m%dT%H%M%S%.6fZ").to_string());
    aside
}

/// Of the names in a directory those that were put aside from `name` and are more than `keep`, oldest first.
pub(super) fn surplus(name: &OsStr, names: impl Iterator<Item = OsString>, keep: usize) -> Vec<OsString> {
    let mut aside: Vec<OsString> = names.filter(|other| is_aside(name, other)).collect();
    aside.sort_unstable();
    aside.truncate(aside.len().saturating_sub(keep));
    aside
}

fn is_aside(name: &OsStr, other: &OsStr) -> bool {
    let stamp = other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes()).and_then(|rest| rest.strip_prefix(b"-"));
    let fits = |(byte, sign): (&u8, &u8)| if *sign == b'd' { byte.is_ascii_digit() } else { byte == sign };
    stamp.is_some_and(|stamp| stamp.len() == STAMP.len() && stamp.iter().zip(STAMP).all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn lines_go_in_while_they_fit_and_an_empty_file_takes_any() {
        let by_size = |size| Rotation { size: Some(size), ..Rotation::default() };
        let table: [(u64, u64, usize, &[usize], usize); 8] = [
            (10, 0, 0, &[5, 10, 15], 2),
            (10, 5, 0, &[5, 10, 15], 1),
            (10, 6, 0, &[5, 10, 15], 0),
            (10, 10, 0, &[5], 0),
            (10, 0, 0, &[11, 12], 1),
            (10, 0, 0, &[], 0),
            // The first lines of the block are written already.
            (10, 0, 100, &[104, 110, 111], 2),
            (10, 3, 100, &[104, 110], 1),
        ];
        for (limit, size, start, ends, fitting) in table {
            assert_eq!(by_size(limit).fitting(size, start, ends), fitting, "{limit} {size} {start} {ends:?}");
        }
        assert_eq!(Rotation::default().fitting(u64::MAX - 100, 0, &[5, 10]), 2);
    }

    #[test]
    fn periods_count_from_1970() {
        let hourly = Rotation { every: Some(Duration::from_secs(3600)), ..Rotation::default() };
        assert_eq!((hourly.period(at(3599)), hourly.period(at(3600))), (0, 1));
        assert_eq!(hourly.rest_of_period(at(3599)), Some(Duration::from_secs(1)));
        assert_eq!(hourly.rest_of_period(at(3600)), Some(Duration::from_secs(3600)));
        assert_eq!(Rotation::default().period(at(99)), 0);
        assert_eq!(Rotation::default().rest_of_period(at(99)), None);
    }

    #[test]
    fn names_sort_by_time_and_only_ours_are_surplus() {
        let name = |seconds: i64| {
            let time = Timestamp::from_second(seconds).expect("a time");
            name_aside(OsStr::new("out.jsonl"), time).into_string().expect("text")
        };
        assert_eq!(name(1_767_323_045), "out.jsonl-20260102T030405.000000Z");
        assert!(name(9) < name(10) && name(10) < name(1_767_323_045));
        let others = ["out.jsonl", "out.jsonl-", "out.jsonl-20260102", "x-20260102T030405.000000Z", "out.jsonl-old"];
        let ours = [name(30), name(10), name(20)];
        let all = || others.iter().map(|&text| text.to_owned()).chain(ours.clone()).map(OsString::from);
        let left = |keep| surplus(OsStr::new("out.jsonl"), all(), keep);
        assert_eq!(left(1), [OsString::from(name(10)), OsString::from(name(20))]);
        assert_eq!(left(0).len(), 3);
        assert_eq!(left(3), Vec::<OsString>::new());
    }
}
