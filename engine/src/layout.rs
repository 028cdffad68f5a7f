//! Where the files of a store lie, and what they are called.
//!
//! ```text
//! DIR/LOCK                      held while the store is open
//! DIR/MANIFEST                  what belongs to the store
//! DIR/log/SHARD/…               a shard's commit log
//! DIR/tables/TABLE/GEN.sst      sstables
//! DIR/snapshots/NAME/…          snapshots: each a MANIFEST and tables/, as here
//! DIR/orphans/                  files that were found and that the manifest does not name
//! ```

use crate::error::{Error, Result};
use model::TableId;
use std::path::{Path, PathBuf};

/// Generations step by this much, so that each shard draws its own: `sequence * GENERATION_STEP + shard`.
pub(crate) const GENERATION_STEP: u64 = 1024;
/// Generations read from disk are lower; a shard would get there with its 2^52nd flush, and is far from an overflow then.
pub(crate) const GENERATIONS_END: u64 = 1 << 62;

pub(crate) fn tables_dir(store: &Path) -> PathBuf {
    store.join("tables")
}

pub(crate) fn table_dir(store: &Path, table: TableId) -> PathBuf {
    tables_dir(store).join(format!("{:05}", table.0))
}

pub(crate) fn table_file_name(generation: u64) -> String {
    format!("{generation:012}.sst")
}

/// The generation in a table file's name; `None` if no shard can have drawn it.
pub(crate) fn generation_in(name: &str) -> Option<u64> {
    let generation = name.strip_suffix(".sst")?.parse().ok()?;
    (generation < GENERATIONS_END).then_some(generation)
}

pub(crate) fn table_file(store: &Path, table: TableId, generation: u64) -> PathBuf {
    table_dir(store, table).join(table_file_name(generation))
}

pub(crate) fn log_dir(store: &Path, shard: u16) -> PathBuf {
    store.join("log").join(format!("{shard:03}"))
}

pub(crate) fn snapshots_dir(store: &Path) -> PathBuf {
    store.join("snapshots")
}

pub(crate) fn orphans_dir(store: &Path) -> PathBuf {
    store.join("orphans")
}

/// Whether a table's or a log's folder has files: then the directory is a store, with a manifest or without.
#[expect(clippy::disallowed_methods, reason = "looked into before a shard runs")]
pub(crate) fn has_files(store: &Path) -> bool {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    [tables_dir(store), store.join("log")]
        .iter()
        .flat_map(|folder| entries(folder))
        .any(|folder| entries(&folder.path()).next().is_some())
}

/// Refuses a directory without a manifest that holds anything but what the beginning of a store leaves there.
pub(crate) fn must_be_ours(dir: &Path, names: impl IntoIterator<Item = String>) -> Result<()> {
    let ours = ["LOCK", "MANIFEST.new", "log", "tables", "orphans"];
    let is_ours = |name: &str| ours.contains(&name) || name.starts_with(runtime::checks::PROBE_PREFIX);
    match names.into_iter().find(|name| !is_ours(name)) {
        None => Ok(()),
        Some(name) => Err(Error::Refused {
            what: format!(
                "{} is not a store: it holds {name} and no manifest; name an empty directory or a store",
                dir.display()
            ),
        }),
    }
}

/// The generation that the same shard draws next.
pub(crate) fn generation_after(generation: u64) -> u64 {
    generation + GENERATION_STEP
}

/// The first generation of `shard` that is larger than all of `used`.
pub(crate) fn first_generation(shard: u16, used: impl Iterator<Item = u64>) -> u64 {
    let sequence = used
        .map(|generation| generation / GENERATION_STEP + 1)
        .max()
        .unwrap_or(1);
    sequence * GENERATION_STEP + u64::from(shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_generation_that_nothing_can_follow_has_none() {
        assert_eq!(generation_in(&table_file_name(7 << 40)), Some(7 << 40));
        assert_eq!(generation_in(&table_file_name(u64::MAX)), None);
        assert_eq!(generation_in(&table_file_name(GENERATIONS_END)), None);
        let last = first_generation(1023, [GENERATIONS_END - 1].into_iter());
        assert_eq!(last, GENERATIONS_END + 1023);
    }

    #[test]
    fn generations_of_shards_never_meet() {
        let first = first_generation(3, [1024, 4099, 2048].into_iter());
        assert_eq!(first, 5 * GENERATION_STEP + 3);
        assert_eq!(generation_after(first) % GENERATION_STEP, 3);
        assert_eq!(first_generation(0, std::iter::empty()), GENERATION_STEP);
    }
}
