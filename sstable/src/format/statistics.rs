//! Statistics: tagged records, so that a later version can add some without being misread.
//!
//! | tag | record |
//! |---|---|
//! | 0x8001 | counts |
//! | 0x8002 | timestamps and local deletion times |
//! | 0x8003 | first and last partition |
//! | 0x8004 | smallest and largest position |
//! | 0x0005 | drop times |
//! | 0x0006 | sizes |
//! | 0x0007 | epoch shares; there only if the writer was told them |
//!
//! Each: tag (2 bytes; bit 15: refuse the file if it is unknown), length (4 bytes), bytes.

use model::{Token, varint};

use super::tally::Tally;
use super::{What, get_usize, take};

const REQUIRED: u16 = 0x8000;
const COUNTS: u16 = REQUIRED | 1;
const TIMES: u16 = REQUIRED | 2;
const PARTITIONS: u16 = REQUIRED | 3;
const POSITIONS: u16 = REQUIRED | 4;
const DROP_TIMES: u16 = 5;
const SIZES: u16 = 6;
const EPOCHS: u16 = 7;

/// What an sstable holds, known without reading its data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Partitions.
    pub partitions: u64,
    /// Rows with a clustering key, row tombstones included.
    pub rows: u64,
    /// Of these, row tombstones and nothing else.
    pub dead_rows: u64,
    /// Static rows.
    pub static_rows: u64,
    /// Live, expiring and deleted cells of rows and static rows.
    pub cells: u64,
    /// Of these, expiring ones.
    pub expiring_cells: u64,
    /// Deleted cells and deleted collections.
    pub cell_tombstones: u64,
    /// Rows that carry a row deletion, alone or with cells.
    pub row_tombstones: u64,
    /// Range changes that open a deletion.
    pub range_tombstones: u64,
    /// Partitions with a deletion.
    pub partition_tombstones: u64,
    /// Smallest timestamp in the file, microseconds; `i64::MAX` if nothing has one.
    pub min_timestamp: i64,
    /// Largest timestamp in the file; `i64::MIN` if nothing has one.
    pub max_timestamp: i64,
    /// Smallest local deletion or expiry time, seconds; `u32::MAX` if nothing dies.
    pub min_local_deletion_time: u32,
    /// Largest local deletion or expiry time; `u32::MAX` if something lives for ever.
    pub max_local_deletion_time: u32,
    /// Largest timestamp of a deletion of any kind; `i64::MIN` if there is none.
    pub max_deletion_timestamp: i64,
    /// First partition.
    pub first: Option<(Token, Vec<u8>)>,
    /// Last partition.
    pub last: Option<(Token, Vec<u8>)>,
    /// Smallest and largest position of a row or range change over all partitions.
    pub clustering: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether some partition has a deletion or a static row.
    pub partition_heads: bool,
    /// When tombstones and expiring cells may go.
    pub drop_times: DropTimes,
    /// Bytes by kind.
    pub sizes: Sizes,
    /// What the file's writer said that it holds of each epoch; not counted by the file's own code.
    pub epochs: Option<EpochShares>,
}

/// What a file holds of each span of its clustering key's own time.
///
/// [`Writer::set_epochs`](crate::Writer::set_epochs) puts it into a file. It is an estimate, for whoever chooses files to compact; no read depends
/// on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EpochShares {
    /// The length of an epoch, at least 1.
    pub epoch_hours: u32,
    /// Ascending by epoch, each once.
    pub shares: Vec<EpochShare>,
}

/// What a file holds of one epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EpochShare {
    /// The number of the epoch: a later one is larger.
    pub epoch: i64,
    /// Bytes of the file that belong to it.
    pub bytes: u64,
    /// Bytes of it in other files that what is deleted or overwritten here makes useless.
    pub shadowed_bytes: u64,
}

impl EpochShares {
    /// Bytes that a share takes at least.
    const SHARE_LEN_MIN: usize = 3;

    /// Whether there is nothing wrong with it.
    pub(crate) fn is_sound(&self) -> bool {
        self.epoch_hours > 0 && self.shares.is_sorted_by(|a, b| a.epoch < b.epoch)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        varint::put_u64(out, u64::from(self.epoch_hours));
        varint::put_u64(out, self.shares.len() as u64);
        for share in &self.shares {
            varint::put_i64(out, share.epoch);
            varint::put_u64(out, share.bytes);
            varint::put_u64(out, share.shadowed_bytes);
        }
    }

    fn decode(r: &mut &[u8]) -> Option<EpochShares> {
        let epoch_hours = varint::get_u32(r)?;
        let count = get_usize(r).filter(|count| *count <= r.len() / Self::SHARE_LEN_MIN)?;
        let mut shares = Vec::with_capacity(count);
        for _ in 0..count {
            shares.push(EpochShare {
                epoch: varint::get_i64(r)?,
                bytes: varint::get_u64(r)?,
                shadowed_bytes: varint::get_u64(r)?,
            });
        }
        Some(EpochShares { epoch_hours, shares }).filter(EpochShares::is_sound)
    }
}

/// Frames and their bytes, by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Data frames.
    pub data_frames: u64,
    /// Their bytes as stored.
    pub data_bytes: u64,
    /// Their keys sections, uncompressed.
    pub raw_key_bytes: u64,
    /// Their values sections, uncompressed.
    pub raw_value_bytes: u64,
    /// Index frames.
    pub index_frames: u64,
    /// Their bytes as stored.
    pub index_bytes: u64,
    /// The top index, as stored.
    pub top_bytes: u64,
    /// The filter, as stored.
    pub filter_bytes: u64,
}

impl Statistics {
    /// Uncompressed bytes of keys and values.
    pub fn raw_bytes(&self) -> u64 {
        self.sizes.raw_key_bytes + self.sizes.raw_value_bytes
    }

    /// Tombstones of all kinds.
    pub fn tombstones(&self) -> u64 {
        self.cell_tombstones + self.row_tombstones + self.range_tombstones + self.partition_tombstones
    }

    pub(crate) fn set_tally(&mut self, tally: &Tally) {
        self.partitions = tally.partitions;
        self.rows = tally.rows;
        self.dead_rows = tally.dead_rows;
        self.static_rows = tally.static_rows;
        self.cells = tally.cells;
        self.expiring_cells = tally.expiring_cells;
        self.cell_tombstones = tally.cell_tombstones;
        self.row_tombstones = tally.row_tombstones;
        self.range_tombstones = tally.range_tombstones;
        self.partition_tombstones = tally.partition_tombstones;
        self.min_timestamp = tally.min_timestamp;
        self.max_timestamp = tally.max_timestamp;
        self.min_local_deletion_time = tally.min_local_deletion_time;
        self.max_local_deletion_time = tally.max_local_deletion_time;
        self.max_deletion_timestamp = tally.deletion_timestamp;
        self.partition_heads = tally.static_rows + tally.partition_tombstones > 0;
    }

    /// Widens the clustering bounds.
    #[inline]
    pub(crate) fn position(&mut self, position: &[u8]) {
        match &mut self.clustering {
            Some((min, max)) => {
                if position < min.as_slice() {
                    min.clear();
                    min.extend_from_slice(position);
                } else if position > max.as_slice() {
                    max.clear();
                    max.extend_from_slice(position);
                }
            }
            None => self.clustering = Some((position.to_vec(), position.to_vec())),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut record = Vec::new();
        let mut put = |tag: u16, record: &mut Vec<u8>| {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&(record.len() as u32).to_le_bytes());
            out.append(record);
        };
        for value in [
            self.partitions,
            self.rows,
            self.dead_rows,
            self.static_rows,
            self.cells,
            self.expiring_cells,
            self.cell_tombstones,
            self.row_tombstones,
            self.range_tombstones,
            self.partition_tombstones,
        ] {
            varint::put_u64(&mut record, value);
        }
        put(COUNTS, &mut record);
        varint::put_i64(&mut record, self.min_timestamp);
        varint::put_i64(&mut record, self.max_timestamp);
        varint::put_u64(&mut record, u64::from(self.min_local_deletion_time));
        varint::put_u64(&mut record, u64::from(self.max_local_deletion_time));
        varint::put_i64(&mut record, self.max_deletion_timestamp);
        put(TIMES, &mut record);
        for (token, key) in self.first.iter().chain(&self.last) {
            record.extend_from_slice(&token.0.to_le_bytes());
            varint::put_bytes(&mut record, key);
        }
        put(PARTITIONS, &mut record);
        if let Some((min, max)) = &self.clustering {
            varint::put_bytes(&mut record, min);
            varint::put_bytes(&mut record, max);
        }
        put(POSITIONS, &mut record);
        self.drop_times.encode(&mut record);
        put(DROP_TIMES, &mut record);
        let s = &self.sizes;
        for value in [
            s.data_frames,
            s.data_bytes,
            s.raw_key_bytes,
            s.raw_value_bytes,
            s.index_frames,
            s.index_bytes,
            s.top_bytes,
            s.filter_bytes,
        ] {
            varint::put_u64(&mut record, value);
        }
        put(SIZES, &mut record);
        if let Some(epochs) = &self.epochs {
            epochs.encode(&mut record);
            put(EPOCHS, &mut record);
        }
        out
    }

    pub(crate) fn decode(mut input: &[u8], partition_heads: bool) -> Result<Statistics, What> {
        const BAD: What = "a statistics record is not one";
        let mut this = Statistics {
            partition_heads,
            ..Statistics::default()
        };
        let mut last_tag = 0;
        let mut seen = 0u16;
        while !input.is_empty() {
            let tag = u16::from_le_bytes(take(&mut input).ok_or(BAD)?);
            let len = u32::from_le_bytes(take(&mut input).ok_or(BAD)?) as usize;
            let (mut record, rest) = input.split_at_checked(len).ok_or(BAD)?;
            input = rest;
            let number = tag & !REQUIRED;
            if number <= last_tag {
                return Err("statistics records are out of order");
            }
            last_tag = number;
            let r = &mut record;
            let known = match tag {
                COUNTS => this.counts(r),
                TIMES => this.times(r),
                PARTITIONS => this.partitions(r),
                POSITIONS => this.positions(r),
                DROP_TIMES => DropTimes::decode(r).map(|d| this.drop_times = d),
                SIZES => this.sizes(r),
                EPOCHS => EpochShares::decode(r).map(|epochs| this.epochs = Some(epochs)),
                _ if tag & REQUIRED != 0 => return Err("a statistics record that must be known is not"),
                _ => continue,
            };
            if known.is_none() || !record.is_empty() {
                return Err(BAD);
            }
            seen |= 1 << number;
        }
        if seen & 0b11110 != 0b11110 {
            return Err("a statistics record is missing");
        }
        Ok(this)
    }

    fn counts(&mut self, r: &mut &[u8]) -> Option<()> {
        for field in [
            &mut self.partitions,
            &mut self.rows,
            &mut self.dead_rows,
            &mut self.static_rows,
            &mut self.cells,
            &mut self.expiring_cells,
            &mut self.cell_tombstones,
            &mut self.row_tombstones,
            &mut self.range_tombstones,
            &mut self.partition_tombstones,
        ] {
            *field = varint::get_u64(r)?;
        }
        Some(())
    }

    fn times(&mut self, r: &mut &[u8]) -> Option<()> {
        self.min_timestamp = varint::get_i64(r)?;
        self.max_timestamp = varint::get_i64(r)?;
        self.min_local_deletion_time = varint::get_u32(r)?;
        self.max_local_deletion_time = varint::get_u32(r)?;
        self.max_deletion_timestamp = varint::get_i64(r)?;
        Some(())
    }

    fn partitions(&mut self, r: &mut &[u8]) -> Option<()> {
        if r.is_empty() {
            return Some(());
        }
        for field in [&mut self.first, &mut self.last] {
            *field = Some((Token(i64::from_le_bytes(take(r)?)), varint::get_bytes(r)?.to_vec()));
        }
        Some(())
    }

    fn positions(&mut self, r: &mut &[u8]) -> Option<()> {
        if r.is_empty() {
            return Some(());
        }
        self.clustering = Some((varint::get_bytes(r)?.to_vec(), varint::get_bytes(r)?.to_vec()));
        Some(())
    }

    fn sizes(&mut self, r: &mut &[u8]) -> Option<()> {
        let s = &mut self.sizes;
        for field in [
            &mut s.data_frames,
            &mut s.data_bytes,
            &mut s.raw_key_bytes,
            &mut s.raw_value_bytes,
            &mut s.index_frames,
            &mut s.index_bytes,
            &mut s.top_bytes,
            &mut s.filter_bytes,
        ] {
            *field = varint::get_u64(r)?;
        }
        Some(())
    }
}

/// A histogram of local deletion and expiry times: how many tombstones and expiring cells may go, and when.
///
/// Buckets have one width, an hour times a power of two, the smallest with which 64 of them are enough; it follows from the
/// first and the last time alone, whatever the order in which they came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DropTimes {
    width: u64,
    /// Bucket number (time / width) and count, ascending.
    buckets: Vec<(u64, u64)>,
}

impl DropTimes {
    const WIDTH_MIN: u64 = 3600;
    const BUCKETS_MAX: u64 = 64;

    /// Width of a bucket in seconds.
    pub fn width_s(&self) -> u64 {
        self.width
    }

    /// Start of each bucket in seconds since 1970, and its count, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().map(|(number, count)| (number * self.width, *count))
    }

    /// At least how many have their time before `seconds`.
    pub fn before(&self, seconds: u32) -> u64 {
        let full = self
            .buckets
            .iter()
            .filter(|(number, _)| (number + 1) * self.width <= u64::from(seconds));
        full.map(|(_, count)| count).sum()
    }

    /// Counts `count` tombstones or expiring cells with the time `seconds`.
    pub fn add(&mut self, seconds: u32, count: u64) {
        let mut number = u64::from(seconds) / self.width;
        if let (Some((first, _)), Some((last, _))) = (self.buckets.first(), self.buckets.last()) {
            let (mut low, mut high) = (number.min(*first), number.max(*last));
            while high - low >= Self::BUCKETS_MAX {
                self.widen();
                (low, high, number) = (low / 2, high / 2, number / 2);
            }
        }
        let at = self.buckets.partition_point(|(n, _)| *n < number);
        match self.buckets.get_mut(at) {
            Some((n, c)) if *n == number => *c += count,
            _ => self.buckets.insert(at, (number, count)),
        }
    }

    fn widen(&mut self) {
        self.width *= 2;
        for (number, _) in &mut self.buckets {
            *number /= 2;
        }
        self.buckets.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
    }

    fn encode(&self, out: &mut Vec<u8>) {
        varint::put_u64(out, self.width);
        varint::put_u64(out, self.buckets.len() as u64);
        for (number, count) in &self.buckets {
            varint::put_u64(out, *number);
            varint::put_u64(out, *count);
        }
    }

    fn decode(r: &mut &[u8]) -> Option<DropTimes> {
        let width = varint::get_u64(r)?;
        if width % Self::WIDTH_MIN != 0 || !(width / Self::WIDTH_MIN).is_power_of_two() {
            return None;
        }
        let count = get_usize(r).filter(|n| *n as u64 <= Self::BUCKETS_MAX)?;
        let mut buckets: Vec<(u64, u64)> = Vec::with_capacity(count);
        for _ in 0..count {
            let (number, n) = (varint::get_u64(r)?, varint::get_u64(r)?);
            let in_order = buckets.last().is_none_or(|(last, _)| *last < number);
            if !in_order || number > u64::from(u32::MAX) / width {
                return None;
            }
            buckets.push((number, n));
        }
        Some(DropTimes { width, buckets })
    }
}

impl Default for DropTimes {
    fn default() -> Self {
        DropTimes {
            width: Self::WIDTH_MIN,
            buckets: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Statistics {
        let mut s = Statistics {
            partitions: 3,
            rows: 1000,
            min_timestamp: -5,
            max_timestamp: i64::MAX,
            min_local_deletion_time: 7,
            max_local_deletion_time: u32::MAX,
            max_deletion_timestamp: i64::MIN,
            first: Some((Token(i64::MIN), vec![1])),
            last: Some((Token(9), vec![2; 300])),
            partition_heads: true,
            ..Statistics::default()
        };
        s.position(&[5]);
        s.position(&[3, 1]);
        s.position(&[0xFF]);
        s.drop_times.add(1_700_000_000, 3);
        s.drop_times.add(1_800_000_000, 1);
        s.sizes.filter_bytes = 70_000;
        s
    }

    #[test]
    fn round_trip() {
        for s in [sample(), Statistics::default()] {
            assert_eq!(Statistics::decode(&s.encode(), s.partition_heads), Ok(s));
        }
        assert_eq!(sample().clustering, Some((vec![3, 1], vec![0xFF])));
    }

    /// A record of epoch shares alone, behind those that must be there.
    fn with_epochs(record: &[u8]) -> Result<Option<EpochShares>, What> {
        let mut bytes = Statistics::default().encode();
        bytes.extend_from_slice(&[7, 0]);
        bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
        bytes.extend_from_slice(record);
        Statistics::decode(&bytes, false).map(|s| s.epochs)
    }

    #[test]
    fn epoch_shares_have_these_bytes() {
        let share = |epoch, bytes, shadowed_bytes| EpochShare {
            epoch,
            bytes,
            shadowed_bytes,
        };
        let shares = |epoch_hours, shares: &[EpochShare]| {
            Some(EpochShares {
                epoch_hours,
                shares: shares.to_vec(),
            })
        };
        // An epoch is zigzag: -1 is 1, 64 is 0x80 0x01.
        let record = [168, 1, 3, 1, 5, 0, 0, 0, 6, 128, 1, 129, 1, 127];
        let all = shares(168, &[share(-1, 5, 0), share(0, 0, 6), share(64, 129, 127)]);
        assert_eq!(with_epochs(&record), Ok(all.clone()));
        let s = Statistics {
            epochs: all,
            ..Statistics::default()
        };
        assert!(s.encode().ends_with(&[&[7, 0, 14, 0, 0, 0], &record[..]].concat()));
        assert_eq!(with_epochs(&[1, 0]), Ok(shares(1, &[])));
        assert_eq!(
            Statistics::decode(&Statistics::default().encode(), false).map(|s| s.epochs),
            Ok(None)
        );

        let bad = Err("a statistics record is not one");
        for (record, why) in [
            (&[][..], "empty"),
            (&[1], "no count"),
            (&[0, 0], "epochs of no length"),
            (&[128, 128, 128, 128, 16, 0], "a length of 2^32 hours"),
            (&[1, 1, 0, 0], "a share that is cut off"),
            (&[1, 1, 0, 0, 0, 0], "a byte too many"),
            (&[1, 1, 0, 0, 0, 0, 0, 0], "a share too many"),
            (&[1, 2, 0, 0, 0, 0, 0, 0], "an epoch twice"),
            (&[1, 2, 2, 0, 0, 1, 0, 0], "disorder"),
            (&[1, 3, 0, 0, 0, 2, 0, 0], "a share too few"),
            (
                &[1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0],
                "2^64 - 1 shares",
            ),
        ] {
            assert_eq!(with_epochs(record), bad, "{why}");
        }
    }

    #[test]
    fn unknown_records_are_passed_over_or_refused() {
        let s = sample();
        let mut bytes = s.encode();
        bytes.extend_from_slice(&[9, 0, 2, 0, 0, 0, 1, 1]);
        assert_eq!(Statistics::decode(&bytes, true), Ok(s));
        let at = bytes.len() - 7;
        bytes[at] = 0x80;
        assert_eq!(
            Statistics::decode(&bytes, true),
            Err("a statistics record that must be known is not")
        );
    }

    #[test]
    fn cut_bytes_are_refused_at_every_length() {
        let bytes = sample().encode();
        let sizes = bytes.len() - 6 - 10; // the last record may be missing
        let ok: Vec<usize> = (0..bytes.len())
            .filter(|n| Statistics::decode(&bytes[..*n], true).is_ok())
            .collect();
        assert!(ok.iter().all(|n| *n >= sizes - 30), "{ok:?}");
    }

    #[test]
    fn drop_times_do_not_depend_on_order() {
        let times = [
            1_700_000_000u32,
            1_699_000_000,
            1_700_003_600,
            0,
            1_650_000_000,
            u32::MAX - 1,
            1_700_000_001,
        ];
        let build = |order: &[usize]| {
            let mut d = DropTimes::default();
            order.iter().for_each(|i| d.add(times[*i], 1));
            d
        };
        let a = build(&[0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(a, build(&[6, 5, 4, 3, 2, 1, 0]));
        assert_eq!(a, build(&[3, 0, 5, 6, 1, 2, 4]));
        assert!(a.buckets().count() <= 64);
        assert_eq!(a.buckets().map(|(_, n)| n).sum::<u64>(), 7);
        assert_eq!(a.before(1_000_000_000), 1);
        assert_eq!(build(&[0, 2]).width_s(), 3600);
    }
}
