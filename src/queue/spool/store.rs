//! The store on disk: one redb file in the spool's directory, which only this process writes and others may look into.
//!
//! Owns the tables. `lanes` has a row for each destination: what waits for it and from where on; `blocks` has the messages,
//! by destination and position; `states` has what a fold knows, by key. Leaves threads and queues to others. Invariant: a group of changes is durable as a whole
//! when [`Store::commit`] returns, or not at all.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use redb::{
    ConcurrencyMode, Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};

use super::block::{self, Block, ReadBlock};
use super::error::{Cause, SpoolError};
use super::states::StateRows;

/// By name, and by how often the same name was given before.
const LANES: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("lanes");
/// By number of the lane and position of the first message.
const BLOCKS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("blocks");
const STATES: TableDefinition<&str, &[u8]> = TableDefinition::new("states");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

const FORMAT: u64 = 1;
const FILE: &str = "spool.redb";
/// Memory of the store for pages it has read or not yet written.
const CACHE: usize = 16 << 20;

/// Which destination a row is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneKey {
    /// The destination, without secrets.
    pub name: Arc<str>,
    /// From 1; more when the same destination is named more than once.
    pub ordinal: u32,
}

/// What the store knows of a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// What its blocks are found by.
    pub number: u32,
    /// Position of the next message.
    pub next: u64,
    /// No message before this position waits.
    pub front: u64,
    /// Messages that wait.
    pub messages: u64,
    pub bytes: u64,
    /// Positions from the front on that do not wait any more: the first and the one after the last of each range.
    pub settled: Vec<(u64, u64)>,
}

/// Changes for one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changes {
    pub lane: LaneKey,
    pub row: Row,
    pub append: Vec<Block>,
    /// First positions of blocks of which nothing waits any more.
    pub remove: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    /// Of which lane.
    pub number: u32,
    /// The first position.
    pub from: u64,
    /// The position after the last.
    pub to: u64,
    /// Enough once there are so many bytes.
    pub bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub lane: LaneKey,
    pub messages: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// When the first of them was received.
    pub since: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub waiting: Vec<Waiting>,
    /// States of a fold.
    pub states: u64,
}

/// The open store.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    directory: PathBuf,
    /// The number of this run.
    pub run: u64,
}

type Saved = Vec<(LaneKey, Row)>;
type StateTable = redb::ReadOnlyTable<&'static str, &'static [u8]>;

impl Store {
    /// Opens the store of a directory, which is made when it is not there, and says what it holds.
    ///
    /// # Errors
    /// [`SpoolError`]: it is in use, damaged, or cannot be read or written.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Saved), SpoolError> {
        let fail = |cause| SpoolError { directory: directory.to_owned(), cause };
        // Messages may be nobody else's business.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| fail(Cause::io("create the directory", &error)))?;
        let path = directory.join(FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        drop(file.map_err(|error| fail(Cause::io("open spool.redb", &error)))?);
        // What was altered is found out now, not half-way through.
        let opened = builder().set_check_integrity_on_open(true).create(&path);
        let database = opened.map_err(|error| fail(Cause::store("open spool.redb", &error.into())))?;
        Self::begin(database, directory)
    }

    /// Begins a run on an open database.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(crate) fn begin(database: Database, directory: &Path) -> Result<(Self, Saved), SpoolError> {
        let mut store = Self { database, directory: directory.to_owned(), run: 0 };
        let (run, saved) = store.begin_run().map_err(|fault| store.error("write spool.redb", fault))?;
        store.run = run;
        Ok((store, saved))
    }

    fn begin_run(&self) -> Result<(u64, Saved), Fault> {
        let transaction = self.database.begin_write()?;
        let mut saved = Vec::new();
        let run;
        {
            let mut meta = transaction.open_table(META)?;
            let format = meta.get("format")?.map_or(FORMAT, |value| value.value());
            if format != FORMAT {
                return Err(Fault::Cause(Cause::Format(format)));
            }
            meta.insert("format", FORMAT)?;
            run = meta.get("run")?.map_or(0, |value| value.value()) + 1;
            meta.insert("run", run)?;
            let mut lanes = transaction.open_table(LANES)?;
            for (key, row) in read_rows(&lanes)? {
                if row.messages == 0 {
                    lanes.remove((&*key.name, key.ordinal))?;
                } else {
                    saved.push((key, row));
                }
            }
            transaction.open_table(BLOCKS)?;
        }
        transaction.commit()?;
        Ok((run, saved))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes all changes durable, or none.
    ///
    /// # Errors
    /// [`SpoolError`]; the store is of no further use then.
    pub(crate) fn commit(&self, changes: &[Changes], states: &StateRows) -> Result<(), SpoolError> {
        self.try_commit(changes, states).map_err(|fault| self.error("write spool.redb", fault))
    }

    fn try_commit(&self, changes: &[Changes], states: &StateRows) -> Result<(), Fault> {
        let transaction = self.database.begin_write()?;
        {
            let mut lanes = transaction.open_table(LANES)?;
            let mut blocks = transaction.open_table(BLOCKS)?;
            for change in changes {
                let number = change.row.number;
                for block in &change.append {
                    blocks.insert((number, block.first), block.bytes.as_slice())?;
                }
                for first in &change.remove {
                    blocks.remove((number, *first))?;
                }
                lanes.insert((&*change.lane.name, change.lane.ordinal), write_row(&change.row).as_slice())?;
            }
            if !states.is_empty() {
                let mut table = transaction.open_table(STATES)?;
                for (key, bytes) in states {
                    match bytes {
                        Some(bytes) => table.insert(&**key, bytes.as_slice())?,
                        None => table.remove(&**key)?,
                    };
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Reads all states.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(crate) fn states(&self) -> Result<Vec<(String, Vec<u8>)>, SpoolError> {
        self.try_states().map_err(|fault| self.error("read spool.redb", fault))
    }

    fn try_states(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let transaction = self.database.begin_read()?;
        let Some(table) = states_of(&transaction)? else { return Ok(Vec::new()) };
        let mut states = Vec::new();
        for entry in table.iter()? {
            let (key, bytes) = entry?;
            states.push((key.value().to_owned(), bytes.value().to_vec()));
        }
        Ok(states)
    }

    /// Reads blocks in order; at least one where there is one.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(crate) fn read(&self, read: Read) -> Result<Vec<ReadBlock>, SpoolError> {
        self.try_read(read).map_err(|fault| self.error("read spool.redb", fault))
    }

    fn try_read(&self, read: Read) -> Result<Vec<ReadBlock>, Fault> {
        let transaction = self.database.begin_read()?;
        let blocks = transaction.open_table(BLOCKS)?;
        read_blocks(&blocks, read)
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(crate) fn close(self) -> Result<(), SpoolError> {
        let is_empty = self.is_empty().map_err(|fault| self.error("read spool.redb", fault))?;
        let Self { mut database, directory, .. } = self;
        // What is empty takes up little; somebody who looks at it meanwhile is reason enough to leave it.
        if is_empty {
            let _ = database.compact();
        }
        database
            .close()
            .map_err(|error| SpoolError { directory, cause: Cause::store("close spool.redb", &error.into()) })
    }

    fn is_empty(&self) -> Result<bool, Fault> {
        let transaction = self.database.begin_read()?;
        Ok(transaction.open_table(BLOCKS)?.is_empty()?)
    }

    fn error(&self, doing: &'static str, fault: Fault) -> SpoolError {
        fault.into_error(&self.directory, doing)
    }
}

/// What the store of a directory holds, also while a relay works with it.
///
/// # Errors
/// [`SpoolError`].
pub(crate) fn status(directory: &Path) -> Result<Status, SpoolError> {
    let fail = |cause| SpoolError { directory: directory.to_owned(), cause };
    let path = directory.join(FILE);
    if let Err(error) = std::fs::metadata(&path) {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        return Err(fail(if missing { Cause::Missing } else { Cause::io("open spool.redb", &error) }));
    }
    let held = |transaction: &redb::ReadTransaction| {
        let states = states_of(transaction)?.map_or(Ok(0), |states| states.len())?;
        Ok(Status { waiting: waiting(transaction)?, states })
    };
    let read = |transaction| held(&transaction).map_err(|fault: Fault| fault.into_error(directory, "read spool.redb"));
    let looked = builder().open_read_only(&path).map_err(redb::Error::from);
    match looked.and_then(|database| Ok((database.begin_read()?, database))) {
        Ok((transaction, _database)) => read(transaction),
        // After a crash the file wants to be put in order first, which takes a writer.
        Err(redb::Error::RepairAborted) => {
            let opened = builder().open(&path).map_err(redb::Error::from);
            let begun = opened.and_then(|database| Ok((database.begin_read()?, database)));
            let (transaction, _database) = begun.map_err(|error| fail(Cause::store("open spool.redb", &error)))?;
            read(transaction)
        }
        Err(error) => Err(fail(Cause::store("open spool.redb", &error))),
    }
}

/// The states; none before the first fold.
fn states_of(transaction: &redb::ReadTransaction) -> Result<Option<StateTable>, Fault> {
    match transaction.open_table(STATES) {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}

fn waiting(transaction: &redb::ReadTransaction) -> Result<Vec<Waiting>, Fault> {
    // A spool that was made and never begun has no tables.
    let lanes = match transaction.open_table(LANES) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        lanes => lanes?,
    };
    let blocks = transaction.open_table(BLOCKS)?;
    let mut waiting = Vec::new();
    for (lane, row) in read_rows(&lanes)?.into_iter().filter(|(_, row)| row.messages > 0) {
        let read = Read { number: row.number, from: row.front, to: row.next, bytes: 1 };
        let waits = |position| !row.settled.iter().any(|(from, to)| (*from..*to).contains(&position));
        let since = read_blocks(&blocks, read)?.iter().find_map(|block| {
            let positions = (block.first..).zip(&block.records);
            positions.filter(|(at, _)| *at >= row.front && waits(*at)).map(|(_, record)| record.time).next()
        });
        waiting.push(Waiting { lane, messages: row.messages, bytes: row.bytes, since });
    }
    Ok(waiting)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_concurrency_mode(ConcurrencyMode::SingleWriter);
    builder
}

fn read_blocks(
    blocks: &impl redb::ReadableTable<(u32, u64), &'static [u8]>,
    read: Read,
) -> Result<Vec<ReadBlock>, Fault> {
    let Read { number, from, to, bytes } = read;
    // The first may begin before.
    let before = blocks.range((number, 0)..=(number, from))?.next_back().transpose()?;
    let start = before.map_or(from, |(key, _)| key.value().1);
    let (mut found, mut size) = (Vec::new(), 0);
    for entry in blocks.range((number, start)..(number, to))? {
        let (key, value) = entry?;
        let (first, value) = (key.value().1, value.value());
        let broken = || Fault::Cause(Cause::Damaged(format!("cannot read the block at {number}/{first}")));
        if first + block::count(value).ok_or_else(broken)? <= from {
            continue;
        }
        size += value.len();
        found.push(block::read(first, value.to_vec()).ok_or_else(broken)?);
        if size >= bytes {
            break;
        }
    }
    Ok(found)
}

fn read_rows(lanes: &impl redb::ReadableTable<(&'static str, u32), &'static [u8]>) -> Result<Saved, Fault> {
    let mut rows = Vec::new();
    for entry in lanes.iter()? {
        let (key, value) = entry?;
        let (name, ordinal) = key.value();
        let row = read_row(value.value())
            .ok_or_else(|| Fault::Cause(Cause::Damaged(format!("cannot read the messages for {name}"))))?;
        rows.push((LaneKey { name: name.into(), ordinal }, row));
    }
    Ok(rows)
}

fn write_row(row: &Row) -> Vec<u8> {
    let fixed = [u64::from(row.number), row.next, row.front, row.messages, row.bytes];
    let ranges = row.settled.iter().flat_map(|(from, to)| [*from, *to]);
    fixed.into_iter().chain(ranges).flat_map(u64::to_le_bytes).collect()
}

fn read_row(bytes: &[u8]) -> Option<Row> {
    let (words, rest) = bytes.as_chunks::<8>();
    let numbers: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let (&[number, next, front, messages, bytes], ranges) = numbers.split_first_chunk()?;
    let (ranges, odd) = ranges.as_chunks::<2>();
    let settled = ranges.iter().map(|range| (range[0], range[1])).collect();
    let number = u32::try_from(number).ok()?;
    (rest.is_empty() && odd.is_empty()).then_some(Row { number, next, front, messages, bytes, settled })
}

enum Fault {
    Store(redb::Error),
    Cause(Cause),
}

impl Fault {
    fn into_error(self, directory: &Path, doing: &'static str) -> SpoolError {
        let cause = match self {
            Self::Store(error) => Cause::store(doing, &error),
            Self::Cause(cause) => cause,
        };
        SpoolError { directory: directory.to_owned(), cause }
    }
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let row = Row { number: 3, next: 99, front: 7, messages: 80, bytes: 8000, settled: vec![(9, 11), (20, 21)] };
        assert_eq!(read_row(&write_row(&row)), Some(row));
        assert_eq!(read_row(&[0; 39]), None);
        assert_eq!(read_row(&[0; 48]), None);
    }
}
