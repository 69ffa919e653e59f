//! Files that a program under test writes, looked at from outside; and a disk that is soon full.
//!
//! Nothing announces that somebody else has written to a file, so it is looked at until it is as wanted. Invariant: every
//! wait ends at `DEADLINE`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process::{Run, wsp};
use super::{DEADLINE, text};

/// Waits until `found` yields something.
#[track_caller]
pub fn wait_until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a file holds exactly this.
#[track_caller]
pub fn wait_for_content(path: &Path, content: &str) {
    wait_until(&format!("{} holds {content:?}", path.display()), || (read(path) == content).then_some(()));
}

/// What is in a file; nothing where there is none.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The paths in a directory, by name.
pub fn list(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Appends to a file, which is made where there is none.
pub fn append(path: &Path, content: &str) {
    use std::io::Write as _;
    let file = std::fs::File::options().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes())).expect("appending to a test file");
}

/// A pipe with a name.
pub fn make_fifo(path: &Path) {
    Run::new("mkfifo").arg(path).input("").exits(0);
}

/// `wsp` with `directory` as a disk of so many KiB; what is in `name` there comes on stdout when it has ended.
pub fn wsp_on_small_disk(directory: &Path, kib: usize, name: &str, arguments: &[&str]) -> Run {
    let script = format!(
        "mount -t tmpfs -o size={kib}k none '{0}' && \"$@\"; code=$?; cat '{0}/{name}'; exit $code",
        text(directory)
    );
    wsp(arguments).within(["unshare", "-rm", "sh", "-c", &script, "sh"])
}
