//! A disk for tests: it loses what was not synced, or a part of it, and can be full.

use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Medium {
    /// What a crash leaves for sure.
    synced: Vec<u8>,
    live: Vec<u8>,
    /// What was done since, and may be lost, in part or in whole.
    unsynced: Vec<Done>,
    /// Operations until it fails, when it is to fail.
    left: Option<u32>,
}

#[derive(Debug, Clone)]
enum Done {
    Write(u64, Vec<u8>),
    SetLength(u64),
}

impl Done {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLength(length) => bytes.resize(*length as usize, 0),
            Self::Write(offset, data) => {
                let end = *offset as usize + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(data);
            }
        }
    }
}

/// A disk in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeDisk(Arc<Mutex<Medium>>);

impl FakeDisk {
    /// After so many operations it is full.
    pub(super) fn fill_after(&self, operations: u32) {
        self.0.lock().expect("a disk").left = Some(operations);
    }

    fn act(&self) -> std::io::Result<std::sync::MutexGuard<'_, Medium>> {
        let mut medium = self.0.lock().expect("a disk");
        match &mut medium.left {
            Some(0) => return Err(std::io::ErrorKind::StorageFull.into()),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(medium)
    }

    /// What is left when the power fails: of what was not synced, any part. Who still has this disk does not reach that.
    pub(super) fn crashed(&self, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let medium = self.0.lock().expect("a disk");
        let mut left = medium.synced.clone();
        for done in &medium.unsynced {
            match done {
                _ if random.bool() => {}
                Done::Write(offset, data) => {
                    let torn = if random.bool() { data.len() } else { random.usize(0..=data.len()) };
                    Done::Write(*offset, data[..torn].to_vec()).apply(&mut left);
                }
                done @ Done::SetLength(_) => done.apply(&mut left),
            }
        }
        let medium = Medium { synced: left.clone(), live: left, unsynced: Vec::new(), left: None };
        Self(Arc::new(Mutex::new(medium)))
    }
}

impl redb::StorageBackend for FakeDisk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.lock().expect("a disk").live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let medium = self.0.lock().expect("a disk");
        let range = offset as usize..offset as usize + out.len();
        out.copy_from_slice(medium.live.get(range).ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        let mut medium = self.act()?;
        let done = Done::SetLength(length);
        done.apply(&mut medium.live);
        medium.unsynced.push(done);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let mut medium = self.act()?;
        medium.synced = medium.live.clone();
        medium.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let mut medium = self.act()?;
        let done = Done::Write(offset, data.to_vec());
        done.apply(&mut medium.live);
        medium.unsynced.push(done);
        Ok(())
    }
}
