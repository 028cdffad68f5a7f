//! Verification of every byte: checksums, structure, order, and that everything derived is what the rows give when counted again.

use std::cmp::Ordering;

use model::{Deletion, Fragment, KeySeed, RowRef, Token};

use super::{filter, index, statistics, unpack};
use crate::error::Damage;
use crate::format::data::{DataBlock, Step, Walk};
use crate::format::filter::{self as filter_format, FilterBuilder};
use crate::format::footer::{FOOTER_LEN, Footer, PARTITION_HEADS, Place};
use crate::format::frame::{Identity, Kind};
use crate::format::index::{First, IndexEntry};
use crate::format::statistics::Statistics;
use crate::format::tally::Tally;
use crate::format::{HEAD, What};

/// What was verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Bytes of the file, all of them checked.
    pub file_bytes: u64,
    /// Partitions found.
    pub partitions: u64,
    /// Rows found, static rows included.
    pub rows: u64,
    /// Frames of all kinds.
    pub frames: u64,
}

/// Checks every byte of a file (`docs/format/sstable.md`, section 8).
///
/// # Errors
/// The first damage found, with its offset. [`Damage::too_new`] if the file is only of a newer version.
pub fn verify(bytes: &[u8]) -> Result<Verified, Damage> {
    scan(bytes, &mut |_, _| {})
}

/// Goes through a file in its order and gives each fragment with the offset of its frame, checking everything on the way.
/// What was given before an error was sound.
pub fn scan(bytes: &[u8], visit: &mut dyn FnMut(u64, Fragment<'_>)) -> Result<Verified, Damage> {
    let footer = Footer::decode(bytes, bytes.len() as u64)?;
    if bytes[..HEAD.len()] != HEAD {
        return Err(Damage::new(0, "the file does not begin as an sstable"));
    }
    let identity = footer.identity();
    let found = statistics(bytes, &footer)?;
    let filter = filter(bytes, &footer)?;
    let top = index(bytes, footer.top, Kind::Top, identity)?;

    let mut scan = Scan::new(KeySeed::of_host(&footer.host_id));
    let mut verified = Verified {
        file_bytes: bytes.len() as u64,
        frames: 3,
        ..Verified::default()
    };
    let mut expected = HEAD.len() as u64;
    let mut total = Tally::new(false);
    for t in 0..top.len() {
        let group = top
            .get(t)
            .ok_or(Damage::new(footer.top.offset, "an index entry is not one"))?;
        let entries = index(bytes, group.place, Kind::Index, identity)?;
        let at_group = |what| Damage::new(group.place.offset, what);
        let mut group_tally = Tally::new(false);
        let mut group_raw = 0;
        if entries.len() == 0 {
            return Err(at_group("an index frame without entries"));
        }
        for i in 0..entries.len() {
            let entry = entries.get(i).ok_or(at_group("an index entry is not one"))?;
            if entry.place.offset != expected {
                return Err(Damage::new(expected, "a data frame is not where its index entry says"));
            }
            expected = entry.place.end();
            scan.block(bytes, &entry, identity, visit)
                .map_err(|what| Damage::new(entry.place.offset, what))?;
            let continues = entry.first.position.is_some();
            group_tally.absorb(&scan.tally, continues);
            total.absorb(&scan.tally, continues);
            group_raw += entry.raw_len;
            if i == 0 {
                scan.group.copy(&entry);
            }
            verified.frames += 1;
        }
        if group.place.offset != expected {
            return Err(Damage::new(expected, "an index frame is not where the top index says"));
        }
        expected = group.place.end();
        let counted = scan.group.entry(group.place, group_raw, &group_tally);
        if counted != group {
            return Err(Damage::new(
                footer.top.offset,
                "an entry of the top index is not what its blocks give",
            ));
        }
        verified.frames += 1;
    }
    if footer.top.offset != expected {
        return Err(Damage::new(
            expected,
            "the top index does not follow the last index frame",
        ));
    }
    if scan.open {
        return Err(Damage::new(expected, "the file ends inside a partition"));
    }
    scan.statistics.set_tally(&total);
    let sizes = &mut scan.statistics.sizes;
    sizes.index_frames = top.len() as u64;
    sizes.index_bytes = footer.top.offset - HEAD.len() as u64 - sizes.data_bytes;
    sizes.top_bytes = u64::from(footer.top.len);
    sizes.filter_bytes = u64::from(footer.filter.len);
    if !scan.hashes.is_empty() {
        scan.statistics.last = Some((scan.token, std::mem::take(&mut scan.key)));
    }
    // The rows do not tell: the writer was told.
    scan.statistics.epochs.clone_from(&found.epochs);
    if scan.statistics != found {
        return Err(Damage::new(
            footer.statistics.offset,
            "the statistics are not what the rows give",
        ));
    }
    let heads = footer.flags & PARTITION_HEADS != 0;
    if heads != scan.statistics.partition_heads {
        return Err(Damage::new(
            footer.file_bytes - FOOTER_LEN as u64,
            "the flag for partition heads is wrong",
        ));
    }
    let mut again = FilterBuilder::new(scan.hashes.len() as u64);
    again.add(&scan.hashes);
    if again.finish() != filter.bytes() {
        return Err(Damage::new(
            footer.filter.offset,
            "the filter is not what the partitions give",
        ));
    }
    verified.partitions = total.partitions;
    verified.rows = total.rows + total.static_rows;
    Ok(verified)
}

/// The beginning of a group of blocks, kept while its entry is counted.
struct Group {
    token: Token,
    key: Vec<u8>,
    position: Option<Vec<u8>>,
    static_row: bool,
    open: Deletion,
    partition_deletion: Deletion,
}

impl Group {
    fn copy(&mut self, entry: &IndexEntry<'_>) {
        self.token = entry.first.token;
        self.key = entry.first.key.to_vec();
        self.position = entry.first.position.map(<[u8]>::to_vec);
        self.static_row = entry.static_row;
        self.open = entry.open;
        self.partition_deletion = entry.partition_deletion;
    }

    fn entry<'a>(&'a self, place: Place, raw_len: u64, tally: &Tally) -> IndexEntry<'a> {
        let first = First {
            token: self.token,
            key: &self.key,
            position: self.position.as_deref(),
        };
        IndexEntry::from_tally(
            first,
            self.static_row,
            self.open,
            self.partition_deletion,
            place,
            raw_len,
            tally,
        )
    }
}

/// What carries over from one block to the next.
struct Scan {
    seed: KeySeed,
    token: Token,
    key: Vec<u8>,
    deletion: Deletion,
    open: bool,
    force: Deletion,
    /// The last position in the open partition, and whether it was a row's.
    last: Option<(Vec<u8>, bool)>,
    tally: Tally,
    group: Group,
    hashes: Vec<u64>,
    statistics: Statistics,
}

impl Scan {
    fn new(seed: KeySeed) -> Self {
        Scan {
            seed,
            token: Token::MIN,
            key: Vec::new(),
            deletion: Deletion::LIVE,
            open: false,
            force: Deletion::LIVE,
            last: None,
            tally: Tally::new(false),
            group: Group {
                token: Token::MIN,
                key: Vec::new(),
                position: None,
                static_row: false,
                open: Deletion::LIVE,
                partition_deletion: Deletion::LIVE,
            },
            hashes: Vec::new(),
            statistics: Statistics::default(),
        }
    }

    fn block(
        &mut self,
        bytes: &[u8],
        entry: &IndexEntry<'_>,
        identity: Identity,
        visit: &mut dyn FnMut(u64, Fragment<'_>),
    ) -> Result<(), What> {
        let (keys, values) = unpack(bytes, entry.place, Kind::Data, identity).map_err(|damage| damage.what)?;
        let block = DataBlock::parse(keys, values)?;
        let (raw_keys, raw_values) = block.raw_lens();
        let sizes = &mut self.statistics.sizes;
        sizes.data_frames += 1;
        sizes.data_bytes += u64::from(entry.place.len);
        sizes.raw_key_bytes += raw_keys as u64;
        sizes.raw_value_bytes += raw_values as u64;

        let mut static_row = false;
        let mut first: Option<Option<Vec<u8>>> = None;
        let (mut open, mut partition_deletion, mut first_partition) = (Deletion::LIVE, Deletion::LIVE, None);
        let mut walk = Walk::new();
        while let Some(step) = walk.next(&block)? {
            let beginning = first.is_none();
            if beginning {
                let position = match step {
                    Step::Row { position, .. } | Step::RangeChange { position, .. } => Some(position.to_vec()),
                    _ => None,
                };
                if position.is_some() != self.open {
                    return Err("a block does not go on where the last one ended");
                }
                self.tally = Tally::new(position.is_some());
                open = self.force;
                if position.is_some() {
                    partition_deletion = self.deletion;
                    first_partition = Some((self.token, self.key.clone()));
                }
                first = Some(position);
            }
            let fragment = self.fragment(step)?;
            match (step, beginning) {
                (Step::PartitionStart { token, key, deletion }, true) => {
                    partition_deletion = deletion;
                    first_partition = Some((token, key.to_vec()));
                }
                (Step::StaticRow(_), _) if self.tally.parts == 1 => static_row = true,
                _ => {}
            }
            visit(entry.place.offset, fragment);
        }
        let (Some(position), Some((token, key))) = (first, first_partition) else {
            return Err("a block is empty");
        };
        let first = First {
            token,
            key: &key,
            position: position.as_deref(),
        };
        let raw = (raw_keys + raw_values) as u64;
        let counted = IndexEntry::from_tally(
            first,
            static_row,
            open,
            partition_deletion,
            entry.place,
            raw,
            &self.tally,
        );
        if counted != *entry {
            return Err("a block is not what its index entry says");
        }
        Ok(())
    }

    /// Checks one entry against what came before it, in earlier blocks too, and counts it.
    fn fragment<'a>(&mut self, step: Step<'a>) -> Result<Fragment<'a>, What> {
        let drops = &mut self.statistics.drop_times;
        match step {
            Step::PartitionStart { token, key, deletion } => {
                if !self.hashes.is_empty() && (self.token, self.key.as_slice()) >= (token, key) {
                    return Err("partitions are out of order");
                }
                self.token = token;
                self.key = key.to_vec();
                self.deletion = deletion;
                self.open = true;
                self.force = Deletion::LIVE;
                self.last = None;
                self.hashes.push(filter_format::hash(key));
                self.tally.partition_start(deletion, drops);
                if self.statistics.first.is_none() {
                    self.statistics.first = Some((token, key.to_vec()));
                }
                Ok(Fragment::PartitionStart { token, key, deletion })
            }
            Step::StaticRow(body) => {
                let row = RowRef::parse(body).map_err(|_| "a static row is not a row")?;
                self.tally.static_row(row, drops);
                Ok(Fragment::StaticRow(row))
            }
            Step::Row {
                position,
                body,
                tombstone_only,
            } => {
                let row = RowRef::parse(body).map_err(|_| "a row's body is not a row")?;
                if self.tally.row(position, row, self.seed, drops) != tombstone_only {
                    return Err("a row's tombstone flag is wrong");
                }
                self.position(position, true)?;
                Ok(Fragment::Row {
                    clustering: position,
                    row,
                })
            }
            Step::RangeChange {
                position,
                before,
                after,
            } => {
                if before != self.force {
                    return Err("a range change contradicts the one before it");
                }
                self.tally.range_change(after, drops);
                self.force = after;
                self.position(position, false)?;
                Ok(Fragment::RangeChange {
                    position,
                    deletion: after,
                })
            }
            Step::PartitionEnd => {
                if !self.force.is_live() {
                    return Err("a range deletion is left open");
                }
                self.open = false;
                Ok(Fragment::PartitionEnd)
            }
        }
    }

    fn position(&mut self, position: &[u8], row: bool) -> Result<(), What> {
        if let Some((last, was_row)) = &self.last {
            let in_order = match last.as_slice().cmp(position) {
                Ordering::Less => true,
                Ordering::Equal => !was_row && row,
                Ordering::Greater => false,
            };
            if !in_order {
                return Err("positions are out of order");
            }
        }
        let (mut last, _) = self.last.take().unwrap_or_default();
        last.clear();
        last.extend_from_slice(position);
        self.last = Some((last, row));
        self.statistics.position(position);
        Ok(())
    }
}
