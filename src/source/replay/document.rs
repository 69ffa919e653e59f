//! The file a HAR is read from, and those its entries keep their messages in: beside it, or in the same archive.
//!
//! Owns opening them. Invariants: what an archive holds is unpacked into files that have no name, so that nothing is left
//! behind; a file is read at places of the reader's own, by as many readers as there are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zip::ZipArchive;

use crate::message::io_text::io_text;

const ARCHIVE: &[u8] = b"PK\x03\x04";
/// The name under which Playwright puts the HAR into an archive.
const USUAL: &str = "har.har";
/// Most bytes that one file of an archive is unpacked to.
const LARGEST: u64 = 8 << 30;
/// Names that are tried for a file.
const NAMES: u32 = 16;

/// Whether a file is an archive, by its beginning.
pub(super) fn is_archive(beginning: &[u8]) -> bool {
    beginning.starts_with(ARCHIVE)
}

/// A file that can be read at any place.
#[derive(Debug, Clone)]
pub(super) struct Document {
    file: Rc<File>,
    beside: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Archive(PathBuf),
}

impl Document {
    /// Opens a HAR, which may lie in an archive.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|error| io_text(&error))?;
        let mut beginning = [0; ARCHIVE.len()];
        let length = file.read(&mut beginning).map_err(|error| io_text(&error))?;
        if !is_archive(&beginning[..length]) {
            let folder = path.parent().map(Path::to_owned).unwrap_or_default();
            return Ok(Self { file: Rc::new(file), beside: Place::Folder(folder) });
        }
        let mut archive = archive(file)?;
        let name = har_name(&archive)?;
        let file = unpacked(&mut archive, &name)?;
        Ok(Self { file: Rc::new(file), beside: Place::Archive(path.to_owned()) })
    }

    /// Opens a file that this one names.
    pub(super) fn open_named(&self, name: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("cannot read the messages in '{name}': {why}");
        let file = match &self.beside {
            Place::Archive(path) => {
                let file = File::open(path).map_err(|error| wrong(io_text(&error)))?;
                unpacked(&mut archive(file)?, name).map_err(wrong)?
            }
            Place::Folder(folder) => {
                if Path::new(name).is_absolute() {
                    return Err(wrong("it must be in the same directory as the HAR".to_owned()));
                }
                let file = File::open(folder.join(name)).map_err(|error| wrong(io_text(&error)))?;
                if !file.metadata().is_ok_and(|meta| meta.is_file()) {
                    return Err(wrong("it is not a file".to_owned()));
                }
                file
            }
        };
        Ok(Self { file: Rc::new(file), beside: self.beside.clone() })
    }

    /// Reads bytes at a place; 0 at the end.
    pub(super) fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<usize, String> {
        loop {
            match self.file.read_at(bytes, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| io_text(&error)),
            }
        }
    }
}

fn archive(file: File) -> Result<ZipArchive<File>, String> {
    ZipArchive::new(file).map_err(|error| format!("not a zip archive that can be read: {error}"))
}

fn har_name(archive: &ZipArchive<File>) -> Result<String, String> {
    let is_har = |name: &str| Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("har"));
    let names = archive.file_names().filter_map(Result::ok).map(String::from);
    let mut found: Vec<String> = names.filter(|name| is_har(name)).collect();
    found.sort_unstable();
    match &found[..] {
        several if several.iter().any(|name| name == USUAL) => Ok(USUAL.to_owned()),
        [only] => Ok(only.clone()),
        [] => Err("the archive contains no .har file".to_owned()),
        several => Err(format!("the archive contains {} .har files; unpack the one to use", several.len())),
    }
}

fn unpacked(archive: &mut ZipArchive<File>, name: &str) -> Result<File, String> {
    let mut packed = archive.by_name(name).map_err(|error| error.to_string())?;
    let mut file = nameless().map_err(|error| format!("cannot unpack it: {}", io_text(&error)))?;
    let length = io::copy(&mut (&mut packed).take(LARGEST + 1), &mut file)
        .and_then(|length| file.flush().map(|()| length))
        .map_err(|error| format!("cannot unpack it: {}", io_text(&error)))?;
    if length > LARGEST {
        return Err(format!("larger than {} GiB", LARGEST >> 30));
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| io_text(&error))?;
    Ok(file)
}

/// A file for a while, readable by nobody else, that ends with its last reader.
fn nameless() -> io::Result<File> {
    let folder = std::env::temp_dir();
    let mut failure = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..NAMES {
        let path = folder.join(format!("wsp-replay-{:016x}", fastrand::u64(..)));
        match File::options().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return std::fs::remove_file(&path).map(|()| file),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
