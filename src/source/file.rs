//! A file as the source of a pipeline: a message a line, to its end, or on and on as `tail -F` follows it.
//!
//! A thread reads, because a file may be a pipe, or lie on a disk that hangs. Followed files are looked at in growing
//! intervals, which works on every file system. Invariants: every line is read once and in order, whatever is done to the
//! file: appending, cutting it to nothing, putting another in its place; of a followed file only whole lines are taken
//! while it may still grow.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::framing::Framing;
use super::lines::{Intake, LineKind};
use crate::exit::Exit;
use crate::message::io_text::io_text;
use crate::queue::end::{End, EndError, EndIo, LocalFuture};
use crate::queue::envelope::Origin;
use crate::queue::stop::Step;

/// Bytes of one read.
const CHUNK: usize = 64 * 1024;
/// Reads that may wait to be taken in.
const WAITING: usize = 4;
/// How soon a followed file is looked at again after something was read.
const SOON: Duration = Duration::from_millis(5);
/// How long it is left alone at most.
const LATE: Duration = Duration::from_millis(200);

/// Reads a file.
#[derive(Debug)]
pub(crate) struct FileSource {
    pub path: PathBuf,
    /// The endpoint as the user wrote it.
    pub name: String,
    /// The session's name in events.
    pub session: String,
    pub kind: LineKind,
    /// Whether it goes on at the end of the file.
    pub follow: bool,
    pub max_message_size: usize,
}

impl End for FileSource {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(self.read(io))
    }
}

impl FileSource {
    async fn read(self: Box<Self>, io: EndIo) -> Result<(), EndError> {
        let origin = Origin::new(self.session, self.name.clone());
        let Some(mut intake) = Intake::new(&io, origin, self.kind, Framing::Lines, self.max_message_size) else {
            return Ok(());
        };
        let mut pieces = read(self.path, self.follow);
        while let Some(piece) = io.stop.unless(Step::Draining, pieces.recv()).await {
            let goes_on = match piece {
                Some(Ok(Piece::Bytes(bytes))) => intake.take(bytes).await?,
                Some(Ok(Piece::EndOfFile)) => intake.finish().await?,
                Some(Ok(Piece::Missing)) => {
                    (io.notice)(format!("{} does not exist yet; waiting", self.name));
                    true
                }
                Some(Err(error)) => return Err(failure(&self.name, &error)),
                None => return Ok(()),
            };
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn failure(name: &str, error: &io::Error) -> EndError {
    let text = format!("cannot read {name}: {}", io_text(error));
    match error.kind() {
        io::ErrorKind::NotFound => EndError::new(Exit::Usage, text).hint("check the path; --follow waits for the file"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => {
            EndError::new(Exit::Usage, text).hint("name a readable file")
        }
        _ => EndError::new(Exit::Internal, text),
    }
}

enum Piece {
    Bytes(Vec<u8>),
    /// What follows, if anything, is in another file, or in the same from its beginning.
    EndOfFile,
    /// There is no file, and it is waited for.
    Missing,
}

/// Starts reading; the channel ends with the file, and never when it is followed. An error is the last item.
fn read(path: PathBuf, follow: bool) -> mpsc::Receiver<io::Result<Piece>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let reader = Reader { path, sender };
        let result = if follow { reader.follow() } else { reader.once() };
        if let Err(Stop::Failed(error)) = result {
            let _ = reader.sender.blocking_send(Err(error));
        }
    });
    receiver
}

enum Stop {
    Unwanted,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

struct Reader {
    path: PathBuf,
    sender: mpsc::Sender<io::Result<Piece>>,
}

impl Reader {
    fn send(&self, piece: Piece) -> Result<(), Stop> {
        self.sender.blocking_send(Ok(piece)).map_err(|_| Stop::Unwanted)
    }

    fn once(&self) -> Result<(), Stop> {
        let mut file = File::open(&self.path)?;
        self.read_to_end(&mut file)?;
        self.send(Piece::EndOfFile)
    }

    /// Sends all there is; whether that was anything.
    fn read_to_end(&self, file: &mut File) -> Result<bool, Stop> {
        let mut any = false;
        loop {
            let mut chunk = vec![0; CHUNK];
            let length = match file.read(&mut chunk) {
                Ok(0) => return Ok(any),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            any = true;
            chunk.truncate(length);
            if length < CHUNK / 4 {
                chunk.shrink_to_fit();
            }
            self.send(Piece::Bytes(chunk))?;
        }
    }

    fn follow(&self) -> Result<(), Stop> {
        let mut file = self.wait_for_file()?;
        let mut pause = SOON;
        loop {
            let mut changed = self.read_to_end(&mut file)?;
            match what_happened(&self.path, &mut file)? {
                Happened::Nothing => {}
                Happened::Cut => {
                    changed = true;
                    self.send(Piece::EndOfFile)?;
                    file.rewind()?;
                }
                Happened::Replaced(next) => {
                    changed = true;
                    // What was written between the last read and the first line of the new file.
                    self.read_to_end(&mut file)?;
                    self.send(Piece::EndOfFile)?;
                    file = next;
                }
            }
            pause = if changed { SOON } else { (pause * 2).min(LATE) };
            self.pause(pause)?;
        }
    }

    fn wait_for_file(&self) -> Result<File, Stop> {
        let mut told = false;
        loop {
            match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => return Ok(result?),
            }
            if !told {
                self.send(Piece::Missing)?;
                told = true;
            }
            self.pause(LATE / 2)?;
        }
    }

    fn pause(&self, time: Duration) -> Result<(), Stop> {
        if self.sender.is_closed() {
            return Err(Stop::Unwanted);
        }
        std::thread::sleep(time);
        Ok(())
    }
}

/// What has been done to a file that was read to its end.
enum Happened {
    Nothing,
    /// It is shorter than what was read of it.
    Cut,
    /// Another one is in its place, and something has been written there.
    Replaced(File),
}

fn what_happened(path: &Path, file: &mut File) -> io::Result<Happened> {
    let own = file.metadata()?;
    if own.is_file() && own.len() < file.stream_position()? {
        return Ok(Happened::Cut);
    }
    let there = match std::fs::metadata(path) {
        Ok(there) => there,
        // It was moved or deleted, and may still be written to.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Happened::Nothing),
        Err(error) => return Err(error),
    };
    // As long as the new file is empty, its writer may not have noticed and go on with the old one.
    if (there.dev(), there.ino()) == (own.dev(), own.ino()) || there.len() == 0 {
        return Ok(Happened::Nothing);
    }
    match File::open(path) {
        Ok(next) => Ok(Happened::Replaced(next)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Happened::Nothing),
        Err(error) => Err(error),
    }
}
