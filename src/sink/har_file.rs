//! The files behind a HAR recording: each is a whole document after every write.
//!
//! A block is written together with the end of the document, and the next one goes over that end: what a kill leaves
//! behind is a HAR up to the last block. The messages of a connection must stand together, so sessions that are open
//! at the same time have files of their own, `FILE.part2` and so on, until [`HarFiles::finish`] puts them behind the
//! first one's entries. Invariant: a file's entries are closed by its last write, whatever comes after.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::message::Message;
use crate::message::event::{Direction, Event, EventBody};
use crate::message::har::{self, Exchange, FOOT, HEAD, Times};

/// A block this large is written at once.
const BLOCK: usize = 64 * 1024;
/// Bytes copied at a time when files are put together.
const COPY: usize = 256 * 1024;

/// A failure with the file's name.
pub(super) type HarFailure = (String, io::Error);

#[derive(Debug)]
pub(super) struct HarFiles {
    path: PathBuf,
    files: Vec<HarFile>,
    /// Which file a session writes to, and its URL.
    sessions: HashMap<String, Session>,
    free: Vec<usize>,
    /// The file that was written to last: the next message is most likely of the same session.
    recent: usize,
}

#[derive(Debug, Default)]
struct Session {
    url: String,
    file: Option<usize>,
}

impl HarFiles {
    /// Creates the first file, or empties it.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn create(path: &Path) -> Result<Self, HarFailure> {
        let first = HarFile::create(path.to_owned())?;
        let (path, files) = (path.to_owned(), vec![first]);
        Ok(Self { path, files, sessions: HashMap::new(), free: vec![0], recent: 0 })
    }

    /// The URL of a session's entries.
    pub(super) fn name_session(&mut self, session: &str, url: &str) {
        self.sessions.insert(session.to_owned(), Session { url: url.to_owned(), file: None });
    }

    /// Another session may have its file.
    pub(super) fn forget_session(&mut self, session: &str) {
        if let Some(Session { file: Some(index), .. }) = self.sessions.remove(session) {
            self.files[index].end_entry();
            self.free.push(index);
        }
    }

    /// Begins an entry.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn open(&mut self, session: &str, time: Timestamp, exchange: &Exchange<'_>) -> Result<(), HarFailure> {
        let index = self.file_of(session)?;
        let url = self.sessions.get(session).map_or("", |session| session.url.as_str());
        self.files[index].begin_entry(session, url, time, exchange);
        self.files[index].wrote()
    }

    /// Appends a data message.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn message(
        &mut self,
        time: Timestamp,
        session: &str,
        dir: Direction,
        message: &Message,
    ) -> Result<(), HarFailure> {
        let file = self.in_entry(session, time)?;
        if let Some(entry) = &mut file.entry {
            if std::mem::replace(&mut entry.has_messages, true) {
                file.buffer.push(b',');
            }
            entry.last = time;
        }
        har::push_message(&mut file.buffer, time, dir, message);
        file.wrote()
    }

    /// Appends what an event says.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), HarFailure> {
        if matches!(event.body, EventBody::Open { .. }) {
            return self.open(&event.session, event.time, &Exchange::default());
        }
        let file = self.in_entry(&event.session, event.time)?;
        if let Some(entry) = &mut file.entry {
            har::push_event(&mut file.buffer, event, entry.has_messages);
            entry.has_messages = true;
            entry.last = event.time;
        }
        file.wrote()
    }

    /// The session's file, in an entry: what happens before the first connection gets one of its own.
    fn in_entry(&mut self, session: &str, time: Timestamp) -> Result<&mut HarFile, HarFailure> {
        let is_in_entry = |file: &HarFile| file.entry.as_ref().is_some_and(|entry| entry.session == session);
        if !self.files.get(self.recent).is_some_and(is_in_entry) {
            self.recent = self.file_of(session)?;
            if !is_in_entry(&self.files[self.recent]) {
                self.open(session, time, &Exchange::default())?;
            }
        }
        Ok(&mut self.files[self.recent])
    }

    fn file_of(&mut self, session: &str) -> Result<usize, HarFailure> {
        if let Some(Session { file: Some(index), .. }) = self.sessions.get(session) {
            return Ok(*index);
        }
        let index = if let Some(index) = self.free.pop() {
            index
        } else {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!(".part{}", self.files.len() + 1));
            self.files.push(HarFile::create(PathBuf::from(name))?);
            self.files.len() - 1
        };
        self.sessions.entry(session.to_owned()).or_default().file = Some(index);
        Ok(index)
    }

    /// Writes everything that waits.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn flush(&mut self) -> Result<(), HarFailure> {
        self.files.iter_mut().filter(|file| !file.buffer.is_empty()).try_for_each(HarFile::flush)
    }

    /// Writes everything, puts the files together and closes them.
    ///
    /// # Errors
    /// When that fails; then what was written stays in the files it is in.
    pub(super) fn finish(&mut self) -> Result<(), HarFailure> {
        let mut files = std::mem::take(&mut self.files).into_iter();
        self.sessions.clear();
        self.free.clear();
        let Some(mut first) = files.next() else { return Ok(()) };
        first.end_entry();
        first.flush()?;
        for mut part in files {
            part.end_entry();
            part.flush()?;
            first.take_over(&part)?;
            std::fs::remove_file(&part.path).map_err(|error| part.named(error))?;
        }
        let path = first.path.display().to_string();
        nix::unistd::close(first.file).map_err(|error| (path, error.into()))
    }
}

#[derive(Debug)]
struct Entry {
    session: String,
    times: Times,
    opened: Timestamp,
    last: Timestamp,
    has_messages: bool,
}

#[derive(Debug)]
struct HarFile {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    end: u64,
    /// What stands behind it: the end of the document.
    tail: Vec<u8>,
    has_entries: bool,
    entry: Option<Entry>,
}

impl HarFile {
    fn create(path: PathBuf) -> Result<Self, HarFailure> {
        // Readable too, for being put together with others.
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| (path.display().to_string(), error))?;
        let buffer = Vec::with_capacity(BLOCK + 4096);
        let mut this = Self { file, path, buffer, end: 0, tail: Vec::new(), has_entries: false, entry: None };
        this.buffer.extend_from_slice(HEAD.as_bytes());
        this.flush()?;
        Ok(this)
    }

    fn named(&self, error: io::Error) -> HarFailure {
        (self.path.display().to_string(), error)
    }

    fn begin_entry(&mut self, session: &str, url: &str, time: Timestamp, exchange: &Exchange<'_>) {
        self.end_entry();
        if std::mem::replace(&mut self.has_entries, true) {
            self.buffer.push(b',');
        }
        let times = exchange.times;
        let micros = (times.total() * 1e3).round() as i64;
        let started = Timestamp::from_microsecond(time.as_microsecond() - micros).unwrap_or(time);
        har::push_entry_head(&mut self.buffer, session, url, started, exchange);
        let session = session.to_owned();
        self.entry = Some(Entry { session, times, opened: time, last: time, has_messages: false });
    }

    fn end_entry(&mut self) {
        if let Some(entry) = self.entry.take() {
            push_tail(&mut self.buffer, &entry);
        }
    }

    fn wrote(&mut self) -> Result<(), HarFailure> {
        if self.buffer.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), HarFailure> {
        let mut tail = Vec::new();
        if let Some(entry) = &self.entry {
            push_tail(&mut tail, entry);
        }
        tail.extend_from_slice(FOOT.as_bytes());
        let block = self.buffer.len();
        self.buffer.extend_from_slice(&tail);
        let mut written = self.file.write_all_at(&self.buffer, self.end);
        if written.is_ok() && self.buffer.len() < self.tail.len() {
            written = self.file.set_len(self.end + self.buffer.len() as u64);
        }
        self.buffer.clear();
        if let Err(error) = written {
            self.restore();
            return Err(self.named(error));
        }
        self.end += block as u64;
        self.tail = tail;
        Ok(())
    }

    /// A block could not be written: the document ends before it, if that much can be done.
    fn restore(&mut self) {
        let _ = self.file.set_len(self.end).and_then(|()| self.file.write_all_at(&self.tail, self.end));
    }

    /// Appends the entries of another file, both of them whole.
    fn take_over(&mut self, part: &HarFile) -> Result<(), HarFailure> {
        let end = self.end;
        let copied = self.copy_entries(part);
        if copied.is_err() {
            self.end = end;
            self.restore();
        }
        copied
    }

    fn copy_entries(&mut self, part: &HarFile) -> Result<(), HarFailure> {
        let mut at = HEAD.len() as u64;
        if at < part.end && std::mem::replace(&mut self.has_entries, true) {
            self.buffer.push(b',');
        }
        while at < part.end {
            let before = self.buffer.len();
            self.buffer.resize(before + (part.end - at).min(COPY as u64) as usize, 0);
            part.file.read_exact_at(&mut self.buffer[before..], at).map_err(|error| part.named(error))?;
            at += (self.buffer.len() - before) as u64;
            if at < part.end {
                // In the middle of an entry the end of the document has no place.
                self.file.write_all_at(&self.buffer, self.end).map_err(|error| self.named(error))?;
                self.end += self.buffer.len() as u64;
                self.buffer.clear();
            }
        }
        self.flush()
    }
}

fn push_tail(out: &mut Vec<u8>, entry: &Entry) {
    let time = entry.last.duration_since(entry.opened).as_secs_f64().max(0.0) * 1e3;
    har::push_entry_tail(out, entry.times, time);
}
