//! The store of the spool in a bare loop: what can be durable a second when nothing else is done.
//!
//! A transaction made durable for each group: its messages go in, those of an earlier group go out. With `--packed` they
//! are put together into values of 64 KiB, else each is one.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use redb::{ConcurrencyMode, Database, TableDefinition};

use crate::Outcome;
use crate::options::Options;

const BLOCKS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("blocks");
/// Groups that stay before they go.
const LAG: usize = 5;
const BLOCK: usize = 64 * 1024 - 512;
/// Bytes a message has in the spool beside its payload.
const OVERHEAD: usize = 35;

/// Prints messages a second.
pub fn run(options: &Options) -> Outcome<()> {
    let directory: PathBuf = options.must("directory")?;
    let (count, group) = (options.or("count", 1_000_000_u64)?, options.or("group", 5000_u64)?);
    let size: usize = options.or("size", 200)?;
    let per_value = if options.has("packed") { (BLOCK / (size + OVERHEAD)) as u64 } else { 1 };
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("bare.redb");
    let _ = std::fs::remove_file(&path);
    let database = Database::builder()
        .set_cache_size(16 << 20)
        .set_concurrency_mode(ConcurrencyMode::SingleWriter)
        .create(&path)?;
    let value = vec![b'x'; (size + OVERHEAD) * per_value as usize];
    let mut groups = VecDeque::new();
    let (begin, mut next) = (Instant::now(), 0);
    while next < count {
        let keys: Vec<u64> = (next..next + group).step_by(per_value as usize).collect();
        next += group;
        let transaction = database.begin_write()?;
        {
            let mut blocks = transaction.open_table(BLOCKS)?;
            for key in &keys {
                let messages = per_value.min(next - key) as usize;
                blocks.insert((1, *key), &value[..messages * (size + OVERHEAD)])?;
            }
            groups.push_back(keys);
            if groups.len() > LAG {
                for key in groups.pop_front().unwrap_or_default() {
                    blocks.remove((1, key))?;
                }
            }
        }
        transaction.commit()?;
    }
    let rate = next as f64 / begin.elapsed().as_secs_f64();
    drop(database);
    std::fs::remove_file(&path)?;
    println!("{{\"rate\":{rate:.0}}}");
    Ok(())
}
