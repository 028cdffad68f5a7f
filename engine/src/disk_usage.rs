//! What lies on the disk: by table, by epoch, and the largest partitions.
//!
//! Sizes of partitions come from the index frames of the files, which name each partition that begins a data frame or goes on from one
//! to the next. What lies between, in partitions smaller than a block, is told as one sum. Nothing else is read.
//!
//! Memory is bounded: of a table [`NAMED_MAX`] partitions are remembered at a time, and as many values of the key's first column. With
//! more of them the smaller half is forgotten, so that what is told is never too much and, of the largest, seldom too little.

use crate::error::Result;
use crate::json::Object;
use crate::shard::{Shard, shares_of};
use crate::table::TableState;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Partitions, and values of the key's first column, that are remembered at a time.
const NAMED_MAX: usize = 1 << 13;
/// Of a longer key so much is kept, bytes.
const KEY_BYTES_MAX: usize = 1024;
/// Of these so many are told.
const TOLD: usize = 20;

/// What a table takes on the disk, all shards together.
///
/// ```no_run
/// # async fn example(store: scrollback_engine::Store) -> scrollback_engine::Result<()> {
/// for table in store.disk_usage().await? {
///     println!("{}: {} bytes in {} files", table.table, table.bytes, table.files);
///     for of in &table.largest_partitions {
///         println!("  {:02x?}: {} bytes", of.key, of.bytes);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TableUsage {
    /// Keyspace and name.
    pub table: String,
    /// Its files.
    pub files: u64,
    /// Their bytes, as far as they are in force.
    pub bytes: u64,
    /// Rows in them; a row that stands in several files counts several times, as the partitions and tombstones do.
    pub rows: u64,
    /// Partitions.
    pub partitions: u64,
    /// Tombstones of cells, rows, ranges and partitions.
    pub tombstones: u64,
    /// Length of an epoch, if the table is compacted by epochs.
    pub epoch_hours: Option<u32>,
    /// What is known to belong to which epoch, the oldest first.
    pub epochs: Vec<EpochUsage>,
    /// The largest partitions, the largest first: twenty at most.
    pub largest_partitions: Vec<PartitionUsage>,
    /// The same of all partitions with one value of the key's first column, where the key has several: of messages, by channel.
    pub largest_prefixes: Vec<PartitionUsage>,
    /// Bytes of partitions that are smaller than a block, which are not told apart.
    pub small_bytes: u64,
}

/// What an epoch takes.
///
/// [`TableUsage`] has it as a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochUsage {
    /// When it begins, milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// Bytes of all files that belong to it.
    pub bytes: u64,
}

/// What a partition takes, or all partitions with one value of the key's first column.
///
/// [`TableUsage`] has it as a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionUsage {
    /// The key's bytes, or those of the value: the first 1,024 at most.
    pub key: Vec<u8>,
    /// Bytes of its data frames in all files, as well as the indexes know.
    pub bytes: u64,
}

impl TableUsage {
    /// As one line of JSON: what the socket of a running store tells.
    #[must_use]
    pub fn to_json(&self) -> String {
        let of = |usage: &PartitionUsage| {
            Object::new()
                .bytes("key", &usage.key)
                .number("bytes", usage.bytes)
                .end()
        };
        let epoch = |usage: &EpochUsage| {
            Object::new()
                .number("first_ms", usage.first_ms)
                .number("bytes", usage.bytes)
                .end()
        };
        Object::new()
            .text("table", &self.table)
            .number("files", self.files)
            .number("bytes", self.bytes)
            .number("rows", self.rows)
            .number("partitions", self.partitions)
            .number("tombstones", self.tombstones)
            .number_or("epoch_hours", self.epoch_hours)
            .list("epochs", self.epochs.iter().map(epoch))
            .list("largest_partitions", self.largest_partitions.iter().map(of))
            .list("largest_prefixes", self.largest_prefixes.iter().map(of))
            .number("small_bytes", self.small_bytes)
            .end()
    }
}

/// Bytes by key.
#[derive(Default)]
pub(crate) struct Named(HashMap<Vec<u8>, u64>);

impl Named {
    fn add(&mut self, key: &[u8], bytes: u64) {
        let key = &key[..key.len().min(KEY_BYTES_MAX)];
        if let Some(sum) = self.0.get_mut(key) {
            *sum += bytes;
            return;
        }
        if self.0.len() >= NAMED_MAX {
            let mut all: Vec<u64> = self.0.values().copied().collect();
            let (_, &mut middle, _) = all.select_nth_unstable(NAMED_MAX / 2);
            self.0.retain(|_, sum| *sum > middle);
        }
        self.0.insert(key.to_vec(), bytes);
    }

    fn largest(self) -> Vec<PartitionUsage> {
        let mut all: Vec<PartitionUsage> = self
            .0
            .into_iter()
            .map(|(key, bytes)| PartitionUsage { key, bytes })
            .collect();
        all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.key.cmp(&b.key)));
        all.truncate(TOLD);
        all
    }
}

/// A table on one shard.
#[derive(Default)]
pub(crate) struct ShardUsage {
    usage: TableUsage,
    epochs: BTreeMap<i64, u64>,
    partitions: Named,
    prefixes: Named,
}

/// The tables of all shards, put together.
pub(crate) fn together(shards: Vec<Vec<ShardUsage>>) -> Vec<TableUsage> {
    let mut tables: BTreeMap<String, ShardUsage> = BTreeMap::new();
    for of in shards.into_iter().flatten() {
        let sum = tables.entry(of.usage.table.clone()).or_default();
        sum.usage.table.clone_from(&of.usage.table);
        sum.usage.epoch_hours = of.usage.epoch_hours;
        for (sum, of) in [
            (&mut sum.usage.files, of.usage.files),
            (&mut sum.usage.bytes, of.usage.bytes),
            (&mut sum.usage.rows, of.usage.rows),
            (&mut sum.usage.partitions, of.usage.partitions),
            (&mut sum.usage.tombstones, of.usage.tombstones),
            (&mut sum.usage.small_bytes, of.usage.small_bytes),
        ] {
            *sum += of;
        }
        for (first_ms, bytes) in of.epochs {
            *sum.epochs.entry(first_ms).or_default() += bytes;
        }
        of.partitions
            .0
            .iter()
            .for_each(|(key, bytes)| sum.partitions.add(key, *bytes));
        of.prefixes
            .0
            .iter()
            .for_each(|(key, bytes)| sum.prefixes.add(key, *bytes));
    }
    let table = |of: ShardUsage| TableUsage {
        epochs: of
            .epochs
            .into_iter()
            .map(|(first_ms, bytes)| EpochUsage { first_ms, bytes })
            .collect(),
        largest_partitions: of.partitions.largest(),
        largest_prefixes: of.prefixes.largest(),
        ..of.usage
    };
    tables.into_values().map(table).collect()
}

impl Shard {
    /// What each table has on this shard.
    pub(crate) async fn disk_usage_here(&self) -> Result<Vec<ShardUsage>> {
        let mut all = Vec::new();
        for table in self.all_tables() {
            all.push(self.usage_of(&table).await?);
        }
        Ok(all)
    }

    async fn usage_of(&self, table: &TableState) -> Result<ShardUsage> {
        let definition = table.definition();
        let has_prefix = definition.schema.partition_key.len() > 1;
        let mut of = ShardUsage::default();
        of.usage.table = table.name();
        of.usage.epoch_hours = definition.epochs.as_ref().map(compaction::Epochs::hours);
        let files = Rc::clone(&table.files.borrow());
        let counted = files
            .iter()
            .filter(|file| file.record.is_counted_by(self.id().0, self.count()));
        for file in counted {
            let statistics = file.table.statistics();
            of.usage.files += 1;
            of.usage.bytes += file.bytes_in_force();
            of.usage.rows += statistics.rows;
            of.usage.partitions += statistics.partitions;
            of.usage.tombstones += statistics.cell_tombstones
                + statistics.row_tombstones
                + statistics.range_tombstones
                + statistics.partition_tombstones;
            if let Some(epochs) = &definition.epochs {
                for share in shares_of(file, &definition) {
                    *of.epochs.entry(epochs.first_ms(share.epoch)).or_default() += share.bytes;
                }
            }
            let tokens = file.record.tokens();
            let (partitions, prefixes) = (&mut of.partitions, &mut of.prefixes);
            let take = |key: &[u8], bytes| {
                partitions.add(key, bytes);
                if let Some(first) = first_component(key).filter(|_| has_prefix) {
                    prefixes.add(first, bytes);
                }
            };
            of.usage.small_bytes += file.table.partition_shares(tokens, take).await?;
        }
        Ok(of)
    }
}

/// The first value of a key of several: a length of two bytes stands before each.
fn first_component(key: &[u8]) -> Option<&[u8]> {
    let (len, rest) = key.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_stay_and_no_more_than_fit_are_remembered() {
        let mut named = Named::default();
        for round in 0..3_u64 {
            for key in 0..NAMED_MAX as u64 {
                named.add(&(round << 32 | key).to_be_bytes(), 1 + key % 7);
                named.add(&(key % 30).to_be_bytes(), 100);
                assert!(named.0.len() <= NAMED_MAX);
            }
        }
        let largest = named.largest();
        assert_eq!(largest.len(), TOLD);
        assert!(largest.windows(2).all(|pair| pair[0].bytes >= pair[1].bytes));
        assert!(largest.iter().all(|of| of.bytes > 50_000), "{largest:?}");
    }

    #[test]
    fn a_key_that_is_cut_has_no_first_value() {
        assert_eq!(first_component(&[0, 2, 7, 8, 0, 0, 1, 5, 0]), Some(&[7, 8][..]));
        assert_eq!(first_component(&[0, 0, 0]), Some(&[][..]));
        assert_eq!(first_component(&[0, 3, 1, 1]), None);
        assert_eq!(first_component(&[0]), None);
    }
}
