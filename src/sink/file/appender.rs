//! A file that lines are appended to: opened, put aside, opened again, brought to disk. It may block.
//!
//! Leaves the thread it runs on and what happens to messages to `mod`, and when to put a file aside to `rotation`.
//! Invariants: a line is appended whole or not at all, as far as the system lets it; what a crash has torn is ended
//! with a newline before anything follows it; a file moved or deleted by others is opened anew.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};

use super::rotation::{Rotation, name_aside, surplus};

/// Lines to append.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub bytes: Vec<u8>,
    pub ends: Vec<usize>,
}

/// What failed on a file, and why.
#[derive(Debug)]
pub(super) struct Failure {
    /// As in "cannot … PATH".
    pub verb: &'static str,
    pub error: io::Error,
}

impl Failure {
    fn of(verb: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self { verb, error }
    }
}

#[derive(Debug)]
pub(super) struct Appender {
    path: PathBuf,
    rotation: Rotation,
    /// Whether names must be on disk as well as what is in the files.
    durable: bool,
    open: Option<Open>,
    /// When a file was put aside last.
    last_aside: Timestamp,
}

#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// Pipes and devices are not put aside, truncated or brought to disk.
    is_regular: bool,
    size: u64,
    period: u128,
    torn: bool,
    /// Something was written since it was last brought to disk.
    unsynced: bool,
}

impl Appender {
    /// For this path; nothing is opened yet.
    pub(super) fn new(path: PathBuf, rotation: Rotation, durable: bool) -> Self {
        Self { path, rotation, durable, open: None, last_aside: Timestamp::UNIX_EPOCH }
    }

    /// Opens the file, which is made where there is none.
    ///
    /// # Errors
    /// As the system has it.
    pub(super) fn open(&mut self) -> Result<(), Failure> {
        if self.rotation.is_wanted()
            && let Ok(path) = self.path.canonicalize()
        {
            // What is put aside is the file, not the link to it.
            self.path = path;
        }
        self.reopen(None)
    }

    fn reopen(&mut self, like: Option<Permissions>) -> Result<(), Failure> {
        let open = Open::at(&self.path, &self.rotation, like).map_err(Failure::of("open"))?;
        if self.durable && open.is_regular {
            sync_directory(&self.path).map_err(Failure::of("open"))?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Appends lines; the number of those that are in the file, also when it fails after some.
    pub(super) fn append(&mut self, block: &Block, now: SystemTime) -> (usize, Result<(), Failure>) {
        let mut done = 0;
        let result = self.append_all(block, now, &mut done);
        (done, result)
    }

    fn append_all(&mut self, block: &Block, now: SystemTime, done: &mut usize) -> Result<(), Failure> {
        self.follow_moves()?;
        while *done < block.ends.len() {
            let start = done.checked_sub(1).map_or(0, |last| block.ends[last]);
            let ends = &block.ends[*done..];
            let Some(open) = &mut self.open else { return Err(Failure::of("write")(io::ErrorKind::NotFound.into())) };
            let count = if open.is_regular { self.rotation.fitting(open.size, start, ends) } else { ends.len() };
            let is_old = open.is_regular && open.size > 0 && self.rotation.period(now) != open.period;
            if is_old || count == 0 {
                self.put_aside(now)?;
                continue;
            }
            open.period = self.rotation.period(now);
            let (lines, result) = open.write(block, start, &ends[..count]);
            *done += lines;
            result.map_err(Failure::of("write"))?;
        }
        Ok(())
    }

    /// Puts the file aside when its period is over, so that it need not wait for the next line.
    ///
    /// # Errors
    /// As the system has it.
    pub(super) fn put_aside_if_old(&mut self, now: SystemTime) -> Result<(), Failure> {
        self.follow_moves()?;
        let is_old = |open: &Open| open.is_regular && open.size > 0 && self.rotation.period(now) != open.period;
        if self.open.as_ref().is_some_and(is_old) { self.put_aside(now) } else { Ok(()) }
    }

    /// How long until [`Appender::put_aside_if_old`] has something to do, if nothing is written before.
    pub(super) fn rest_of_period(&self, now: SystemTime) -> Option<Duration> {
        let open = self.open.as_ref().filter(|open| open.is_regular && open.size > 0)?;
        // What was written in an earlier period and is still there is late already.
        let is_old = self.rotation.period(now) != open.period;
        if is_old { self.rotation.every.map(|_| Duration::ZERO) } else { self.rotation.rest_of_period(now) }
    }

    /// Brings everything to disk.
    ///
    /// # Errors
    /// What the system says of the file; what was written since the last time may be lost.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        self.open.as_mut().map_or(Ok(()), Open::sync).map_err(Failure::of("bring to disk"))
    }

    /// Closes the file, which is when some file systems say that it did not fit.
    ///
    /// # Errors
    /// As the system has it.
    pub(super) fn close(&mut self) -> Result<(), Failure> {
        let Some(open) = self.open.take() else { return Ok(()) };
        nix::unistd::close(open.file).map_err(|error| Failure { verb: "close", error: error.into() })
    }

    /// When the path leads to another file than the one that is open, or to none, opens what is there now.
    fn follow_moves(&mut self) -> Result<(), Failure> {
        let Some(open) = &mut self.open else { return self.reopen(None) };
        if !open.is_regular {
            return Ok(());
        }
        match std::fs::metadata(&self.path) {
            Ok(meta) if (meta.dev(), meta.ino()) == (open.device, open.inode) => {
                if meta.len() < open.size {
                    open.torn = false;
                }
                open.size = meta.len();
                return Ok(());
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::of("find")(error)),
            _ => {}
        }
        if self.durable {
            self.sync()?;
        }
        self.reopen(None)
    }

    fn put_aside(&mut self, now: SystemTime) -> Result<(), Failure> {
        let failed = Failure::of("rotate");
        if self.durable {
            self.sync()?;
        }
        let permissions = std::fs::metadata(&self.path).map_err(&failed)?.permissions();
        let name = self.path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?.to_owned();
        // Names sort by age also where several files fill up at once.
        let tick = SignedDuration::from_micros(1);
        let mut time = Timestamp::try_from(now).unwrap_or_default().max(self.last_aside + tick);
        let mut aside = self.path.with_file_name(name_aside(&name, time));
        // Nothing is ever overwritten.
        while aside.symlink_metadata().is_ok() {
            time += tick;
            aside.set_file_name(name_aside(&name, time));
        }
        self.last_aside = time;
        std::fs::rename(&self.path, &aside).map_err(&failed)?;
        self.reopen(Some(permissions))?;
        if let Some(keep) = self.rotation.keep {
            let directory = directory_of(&self.path);
            let names =
                std::fs::read_dir(directory).map_err(&failed)?.filter_map(|entry| Some(entry.ok()?.file_name()));
            // Whatever the clock says, the youngest is the one just put aside.
            let others = names.filter(|other| Some(other.as_os_str()) != aside.file_name());
            for old in surplus(&name, others, keep.saturating_sub(1)) {
                match std::fs::remove_file(directory.join(old)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Open {
    fn at(path: &Path, rotation: &Rotation, like: Option<Permissions>) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o666).open(path)?;
        if let Some(permissions) = like {
            file.set_permissions(permissions)?;
        }
        let meta = file.metadata()?;
        let is_regular = meta.is_file();
        let size = if is_regular { meta.len() } else { 0 };
        let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            is_regular,
            size,
            period: rotation.period(written),
            torn: size > 0 && ends_within_a_line(path)?,
            unsynced: false,
            file,
        })
    }

    /// Writes the lines that end at `ends`, the first of which begins at `start`.
    fn write(&mut self, block: &Block, start: usize, ends: &[usize]) -> (usize, io::Result<()>) {
        if self.torn {
            if let Err(error) = self.file.write_all(b"\n") {
                return (0, Err(error));
            }
            self.size += 1;
            self.torn = false;
        }
        self.unsynced = true;
        let end = ends.last().copied().unwrap_or(start);
        let (written, result) = write_counted(&mut self.file, &block.bytes[start..end]);
        let lines = ends.partition_point(|end| end - start <= written);
        let whole = lines.checked_sub(1).map_or(0, |last| ends[last] - start);
        self.size += whole as u64;
        if whole < written && self.is_regular && self.file.set_len(self.size).is_err() {
            self.torn = true;
        }
        (lines, result)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced && self.is_regular {
            self.file.sync_data()?;
        }
        self.unsynced = false;
        Ok(())
    }
}

/// Whether the last byte of a file is not a newline; what cannot be read is taken for whole.
fn ends_within_a_line(path: &Path) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut last = [b'\n'];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Writes all, or says how much it wrote before it failed.
fn write_counted(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a directory says that is not made to be brought to disk.
const CANNOT: [io::ErrorKind; 3] =
    [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported, io::ErrorKind::PermissionDenied];

/// A new name is on disk only once its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(directory_of(path)).and_then(|directory| directory.sync_all()) {
        // Not every file system can, and not every directory may be opened.
        Err(error) if CANNOT.contains(&error.kind()) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: &[&str]) -> Block {
        let mut block = Block::default();
        for line in lines {
            block.bytes.extend_from_slice(line.as_bytes());
            block.bytes.push(b'\n');
            block.ends.push(block.bytes.len());
        }
        block
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    struct Scratch {
        directory: tempfile::TempDir,
        path: PathBuf,
    }

    impl Scratch {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("out");
            Self { directory, path }
        }

        fn appender(&self, rotation: Rotation) -> Appender {
            let mut appender = Appender::new(self.path.clone(), rotation, true);
            appender.open().expect("a file");
            appender
        }

        /// What is in all files, by name: those put aside in their order, the file itself first.
        fn contents(&self) -> Vec<String> {
            let mut names: Vec<_> = std::fs::read_dir(self.directory.path())
                .expect("the directory")
                .map(|entry| entry.expect("an entry").path())
                .collect();
            names.sort();
            names.iter().map(|path| std::fs::read_to_string(path).expect("text")).collect()
        }
    }

    fn write(appender: &mut Appender, lines: &[&str], seconds: u64) {
        let (done, result) = appender.append(&block(lines), at(seconds));
        result.expect("it is written");
        assert_eq!(done, lines.len());
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let scratch = Scratch::new();
        std::fs::write(&scratch.path, "whole\nto").expect("a file");
        let mut appender = scratch.appender(Rotation::default());
        assert_eq!(scratch.contents(), ["whole\nto"], "nothing is written before there is a line");
        write(&mut appender, &["a", "b"], 0);
        appender.close().expect("it closes");
        assert_eq!(scratch.contents(), ["whole\nto\na\nb\n"]);
        write(&mut scratch.appender(Rotation::default()), &["c"], 0);
        assert_eq!(scratch.contents(), ["whole\nto\na\nb\nc\n"]);
    }

    #[test]
    fn a_file_is_put_aside_before_it_grows_too_large_and_the_oldest_go() {
        let scratch = Scratch::new();
        let rotation = Rotation { size: Some(6), every: None, keep: Some(2) };
        let mut appender = scratch.appender(rotation);
        write(&mut appender, &["aa", "bb", "cc", "toolong", "dd", "ee"], 1);
        assert_eq!(scratch.contents(), ["dd\nee\n", "cc\n", "toolong\n"], "aa and bb are gone");
        // Several at once, more than are kept.
        write(&mut appender, &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], 1);
        assert_eq!(scratch.contents(), ["j\n", "d\ne\nf\n", "g\nh\ni\n"]);
        // The size counts from where the file was left.
        write(&mut scratch.appender(rotation), &["kkkkk"], 2);
        assert_eq!(scratch.contents(), ["kkkkk\n", "g\nh\ni\n", "j\n"]);
    }

    #[test]
    fn a_file_is_put_aside_when_its_period_is_over() {
        let scratch = Scratch::new();
        let mut appender = scratch.appender(Rotation { size: None, every: Some(Duration::from_secs(10)), keep: None });
        write(&mut appender, &["a"], 1);
        write(&mut appender, &["b"], 9);
        assert_eq!(appender.rest_of_period(at(9)), Some(Duration::from_secs(1)));
        write(&mut appender, &["c"], 10);
        assert_eq!(scratch.contents(), ["c\n", "a\nb\n"]);
        appender.put_aside_if_old(at(19)).expect("nothing to do");
        assert_eq!(appender.rest_of_period(at(21)), Some(Duration::ZERO));
        appender.put_aside_if_old(at(21)).expect("it is put aside");
        assert_eq!(appender.rest_of_period(at(21)), None, "an empty file stays");
        appender.put_aside_if_old(at(31)).expect("nothing to do");
        assert_eq!(scratch.contents(), ["", "a\nb\n", "c\n"]);
    }

    #[test]
    fn what_others_move_or_cut_is_followed() {
        let scratch = Scratch::new();
        let mut appender = scratch.appender(Rotation::default());
        write(&mut appender, &["a"], 0);
        std::fs::rename(&scratch.path, scratch.path.with_file_name("out.1")).expect("a move");
        write(&mut appender, &["b"], 0);
        assert_eq!(scratch.contents(), ["b\n", "a\n"]);
        std::fs::remove_file(&scratch.path).expect("a removal");
        write(&mut appender, &["c"], 0);
        std::fs::write(&scratch.path, "").expect("cut to nothing");
        write(&mut appender, &["d"], 0);
        assert_eq!(scratch.contents(), ["d\n", "a\n"]);
    }

    #[test]
    fn a_new_file_has_the_mode_of_the_one_put_aside() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = Scratch::new();
        let mut appender = scratch.appender(Rotation { size: Some(1), every: None, keep: None });
        write(&mut appender, &["a"], 0);
        std::fs::set_permissions(&scratch.path, Permissions::from_mode(0o600)).expect("a mode");
        write(&mut appender, &["b"], 0);
        let mode = std::fs::metadata(&scratch.path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_full_device_is_named_and_nothing_counts_as_written() {
        let mut appender = Appender::new("/dev/full".into(), Rotation::default(), true);
        appender.open().expect("it opens");
        let (done, result) = appender.append(&block(&["a", "b"]), at(0));
        assert_eq!(done, 0);
        assert_eq!(result.expect_err("it is full").error.kind(), io::ErrorKind::StorageFull);
        appender.sync().expect("a device is not brought to disk");
    }
}
