//! Looks at a whole file that no store has open: verification of every byte, a text dump, figures.
//!
//! Pure functions over the file's bytes; [`Map`] maps a file so that it need not fit in memory.

mod dump;
mod verify;

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use model::TableId;

pub use dump::dump;
pub use verify::{Verified, scan, verify};

use crate::error::Damage;
use crate::format::filter::Filter;
use crate::format::footer::{Footer, Place};
use crate::format::frame::{self, Compression, Identity, Kind};
use crate::format::index::IndexBlock;
use crate::format::statistics::{EpochShare, Statistics};

/// What footer and statistics say of a file.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Length of the file.
    pub file_bytes: u64,
    /// Its number within its node.
    pub generation: u64,
    /// The node that wrote it.
    pub host_id: [u8; 16],
    /// The table whose rows it holds.
    pub table: TableId,
    /// How its blocks were to be stored.
    pub compression: Compression,
    /// What it holds.
    pub statistics: Statistics,
}

impl fmt::Display for Stats {
    /// One `name: value` a line. Bytes are hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.statistics;
        writeln!(f, "file_bytes: {}", self.file_bytes)?;
        writeln!(f, "generation: {}", self.generation)?;
        writeln!(f, "host_id: {}", Hex(&self.host_id))?;
        writeln!(f, "table: {}", self.table.0)?;
        writeln!(f, "compression: {:?}", self.compression)?;
        for (name, value) in [
            ("partitions", s.partitions),
            ("rows", s.rows),
            ("dead_rows", s.dead_rows),
            ("static_rows", s.static_rows),
            ("cells", s.cells),
            ("expiring_cells", s.expiring_cells),
            ("cell_tombstones", s.cell_tombstones),
            ("row_tombstones", s.row_tombstones),
            ("range_tombstones", s.range_tombstones),
            ("partition_tombstones", s.partition_tombstones),
        ] {
            writeln!(f, "{name}: {value}")?;
        }
        writeln!(f, "partition_heads: {}", s.partition_heads)?;
        writeln!(f, "min_timestamp: {}", s.min_timestamp)?;
        writeln!(f, "max_timestamp: {}", s.max_timestamp)?;
        writeln!(f, "min_local_deletion_time: {}", s.min_local_deletion_time)?;
        writeln!(f, "max_local_deletion_time: {}", s.max_local_deletion_time)?;
        writeln!(f, "max_deletion_timestamp: {}", s.max_deletion_timestamp)?;
        for (name, partition) in [("first_partition", &s.first), ("last_partition", &s.last)] {
            if let Some((token, key)) = partition {
                writeln!(f, "{name}: token {} key {}", token.0, Hex(key))?;
            }
        }
        if let Some((min, max)) = &s.clustering {
            writeln!(f, "min_position: {}", Hex(min))?;
            writeln!(f, "max_position: {}", Hex(max))?;
        }
        for (from, count) in s.drop_times.buckets() {
            writeln!(f, "drop_times: {count} from {from} for {} s", s.drop_times.width_s())?;
        }
        for (name, value) in [
            ("data_frames", s.sizes.data_frames),
            ("data_bytes", s.sizes.data_bytes),
            ("raw_key_bytes", s.sizes.raw_key_bytes),
            ("raw_value_bytes", s.sizes.raw_value_bytes),
            ("index_frames", s.sizes.index_frames),
            ("index_bytes", s.sizes.index_bytes),
            ("top_bytes", s.sizes.top_bytes),
            ("filter_bytes", s.sizes.filter_bytes),
        ] {
            writeln!(f, "{name}: {value}")?;
        }
        if let Some(epochs) = &s.epochs {
            writeln!(f, "epoch_hours: {}", epochs.epoch_hours)?;
            for share in &epochs.shares {
                let EpochShare {
                    epoch,
                    bytes,
                    shadowed_bytes,
                } = share;
                writeln!(f, "epoch: {bytes} bytes of {epoch}, {shadowed_bytes} shadowed")?;
            }
        }
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads footer and statistics of a file; its data is not looked at.
pub fn stats(bytes: &[u8]) -> Result<Stats, Damage> {
    let footer = Footer::decode(bytes, bytes.len() as u64)?;
    let statistics = statistics(bytes, &footer)?;
    Ok(Stats {
        file_bytes: footer.file_bytes,
        generation: footer.generation,
        host_id: footer.host_id,
        table: TableId(footer.table_id),
        compression: footer.compression,
        statistics,
    })
}

/// Unpacks the frame at `place`.
fn unpack(bytes: &[u8], place: Place, kind: Kind, identity: Identity) -> Result<(Vec<u8>, Vec<u8>), Damage> {
    let frame = usize::try_from(place.offset)
        .ok()
        .and_then(|start| bytes.get(start..)?.get(..place.len as usize))
        .ok_or(Damage::new(place.offset, "a frame lies beyond the file"))?;
    frame::unpack(frame, kind, identity, place.offset).map_err(|what| Damage::new(place.offset, what))
}

fn statistics(bytes: &[u8], footer: &Footer) -> Result<Statistics, Damage> {
    let (first, _) = unpack(bytes, footer.statistics, Kind::Statistics, footer.identity())?;
    let heads = footer.flags & crate::format::footer::PARTITION_HEADS != 0;
    Statistics::decode(&first, heads).map_err(|what| Damage::new(footer.statistics.offset, what))
}

fn filter(bytes: &[u8], footer: &Footer) -> Result<Filter, Damage> {
    let (first, _) = unpack(bytes, footer.filter, Kind::Filter, footer.identity())?;
    Filter::parse(first).map_err(|what| Damage::new(footer.filter.offset, what))
}

fn index(bytes: &[u8], place: Place, kind: Kind, identity: Identity) -> Result<IndexBlock, Damage> {
    let (first, _) = unpack(bytes, place, kind, identity)?;
    IndexBlock::parse(first).map_err(|what| Damage::new(place.offset, what))
}

/// A file's bytes, mapped into memory.
pub struct Map(Option<memmap2::Mmap>);

impl Map {
    /// Maps the file at `path` for reading.
    ///
    /// The file must not be cut while the map lives: the process would be killed by a signal. Sstables are never changed,
    /// and this is for tools outside a running store.
    pub fn open(path: &Path) -> io::Result<Map> {
        #[expect(clippy::disallowed_methods, reason = "offline tools have no shard, and map the file")]
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Map(None));
        }
        // SAFETY: the map is read-only; that the file does not shrink meanwhile is the documented duty of the caller, and
        // sstables are written once.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Map(Some(map)))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}
