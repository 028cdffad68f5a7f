//! Turns fragments into the bytes of a file: pure, synchronous, in small steps.
//!
//! 1. [`Encoder::append`] asserts the order, counts, and puts the fragment into the open block. When it says that work is
//!    waiting, [`Encoder::step`] is called until it is [`Step::Idle`]: each call compresses at most one chunk, or adds a few
//!    hundred keys to the filter, so that the caller can pause between them.
//! 2. [`Step::Bytes`] hands out the next bytes of the file, front to back.
//! 3. [`Encoder::finish`], and steps until idle: last block, indexes, filter, statistics, footer.
//!
//! Invariant: the bytes are a function of the fragments and the options alone, however the steps are timed.

use std::cmp::Ordering;

use model::{Deletion, Fragment, KeySeed, RowRef, TableId, Token};

use crate::format::data::DataBuilder;
use crate::format::filter::{self, FilterBuilder};
use crate::format::footer::{FOOTER_LEN, Footer, PARTITION_HEADS, Place};
use crate::format::frame::{Compression, Identity, Kind, Packer};
use crate::format::index::{First, IndexBuilder, IndexEntry};
use crate::format::statistics::{EpochShares, Statistics};
use crate::format::tally::Tally;
use crate::format::{HEAD, PARTITION_END};

/// What a file is to be.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// The table whose rows come.
    pub table: TableId,
    /// The node that writes.
    pub host_id: [u8; 16],
    /// Unique within the node.
    pub generation: u64,
    /// How blocks are stored.
    pub compression: Compression,
    /// Raw bytes of keys and values at which a block is closed. A run of rows that together are no longer lies in at most two
    /// blocks: with 16 KiB, 50 rows of 300 bytes. At least 1; at most 1 MiB.
    pub block_bytes: usize,
    /// Bytes of entries at which an index block is closed. At least 1; at most 1 MiB.
    pub index_bytes: usize,
}

impl WriterOptions {
    /// LZ4, blocks of 16 KiB, index blocks too.
    pub fn new(table: TableId, host_id: [u8; 16], generation: u64) -> Self {
        WriterOptions {
            table,
            host_id,
            generation,
            compression: Compression::Lz4,
            block_bytes: 16 * 1024,
            index_bytes: 16 * 1024,
        }
    }
}

/// Bytes of one row at most.
pub const ROW_BYTES_MAX: usize = 64 << 20;

/// Bytes of a partition key, and of a position, at most.
pub const KEY_BYTES_MAX: usize = 1 << 20;

/// Keys added to the filter in one step.
const FILTER_STEP: usize = 512;

/// What [`Encoder::step`] did.
pub(crate) enum Step<'a> {
    /// Nothing is waiting.
    Idle,
    /// Some work is done, more is waiting.
    Working,
    /// These are the next bytes of the file.
    Bytes(&'a [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Head,
    Nothing,
    /// A frame is in the packer.
    Frame(Kind),
    /// A frame was handed out; it is still to be entered where it belongs.
    Packed(Kind, Place),
    Filter(usize),
    Footer,
    Done,
}

/// What the partition has had so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Outside,
    Started,
    Static,
    Change,
    Row,
}

/// Where a block begins, kept until its entry can be written. Its memory is reused.
struct Begin {
    token: Token,
    key: Vec<u8>,
    position: Option<Vec<u8>>,
    static_row: bool,
    open: Deletion,
    partition_deletion: Deletion,
}

impl Begin {
    fn new() -> Self {
        Begin {
            token: Token(0),
            key: Vec::new(),
            position: None,
            static_row: false,
            open: Deletion::LIVE,
            partition_deletion: Deletion::LIVE,
        }
    }

    fn copy_from(&mut self, other: &Begin) {
        self.token = other.token;
        self.key.clone_from(&other.key);
        self.position.clone_from(&other.position);
        self.static_row = other.static_row;
        self.open = other.open;
        self.partition_deletion = other.partition_deletion;
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

/// See the module's page.
pub(crate) struct Encoder {
    options: WriterOptions,
    identity: Identity,
    seed: KeySeed,
    packer: Packer,
    work: Work,
    finishing: bool,
    /// Bytes of the file handed out so far, or about to be.
    position: u64,

    // The open partition.
    token: Token,
    key: Vec<u8>,
    partition_deletion: Deletion,
    stage: Stage,
    last: Vec<u8>,
    force: Deletion,

    // The open block, and the one in the packer.
    block: DataBuilder,
    begin: Begin,
    tally: Tally,
    closing: Begin,
    closing_tally: Tally,
    closing_raw: u64,

    // The open index frame, the one in the packer, and the top index.
    index: IndexBuilder,
    group: Begin,
    group_tally: Tally,
    group_raw: u64,
    top: IndexBuilder,

    total: Tally,
    hashes: Vec<u64>,
    filter: Option<FilterBuilder>,
    statistics: Statistics,
    footer: Footer,
    tail: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(options: WriterOptions) -> Self {
        for bytes in [options.block_bytes, options.index_bytes] {
            assert!(
                (1..=1 << 20).contains(&bytes),
                "a block of {bytes} bytes is not between 1 byte and 1 MiB"
            );
        }
        let identity = Identity::new(&options.host_id, options.generation);
        let footer = Footer {
            file_bytes: 0,
            generation: options.generation,
            host_id: options.host_id,
            table_id: options.table.0,
            flags: 0,
            top: Place::default(),
            filter: Place::default(),
            statistics: Place::default(),
            compression: options.compression,
        };
        Encoder {
            seed: KeySeed::of_host(&options.host_id),
            options,
            identity,
            packer: Packer::new(),
            work: Work::Head,
            finishing: false,
            position: 0,
            token: Token(i64::MIN),
            key: Vec::new(),
            partition_deletion: Deletion::LIVE,
            stage: Stage::Outside,
            last: Vec::new(),
            force: Deletion::LIVE,
            block: DataBuilder::new(),
            begin: Begin::new(),
            tally: Tally::new(false),
            closing: Begin::new(),
            closing_tally: Tally::new(false),
            closing_raw: 0,
            index: IndexBuilder::default(),
            group: Begin::new(),
            group_tally: Tally::new(false),
            group_raw: 0,
            top: IndexBuilder::default(),
            total: Tally::new(false),
            hashes: Vec::new(),
            filter: None,
            statistics: Statistics::default(),
            footer,
            tail: Vec::new(),
        }
    }

    /// Bytes of the file so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// What was counted; complete once the encoder is finished.
    pub(crate) fn into_statistics(self) -> Statistics {
        self.statistics
    }

    /// Whether all bytes have been handed out.
    pub(crate) fn is_done(&self) -> bool {
        self.work == Work::Done
    }

    /// What the file is to say that it holds of each epoch.
    ///
    /// # Panics
    /// If the fragments have ended, or if they are not in order.
    pub(crate) fn set_epochs(&mut self, epochs: EpochShares) {
        assert!(!self.finishing, "epoch shares after the last fragment");
        assert!(
            epochs.is_sound(),
            "epoch shares are out of order, or of no length: {epochs:?}"
        );
        self.statistics.epochs = Some(epochs);
    }

    /// Takes in one fragment. True if [`step`](Self::step) must now be called until it is idle.
    ///
    /// # Panics
    /// If the fragment does not come after the last one.
    pub(crate) fn append(&mut self, fragment: Fragment<'_>) -> bool {
        assert!(!self.finishing, "a fragment after the last one");
        assert!(self.work == Work::Nothing, "a fragment while work is waiting");
        match fragment {
            Fragment::Row { clustering, row } => self.row(clustering, row),
            Fragment::PartitionStart { token, key, deletion } => self.partition_start(token, key, deletion),
            Fragment::StaticRow(row) => self.static_row(row),
            Fragment::RangeChange { position, deletion } => self.range_change(position, deletion),
            Fragment::PartitionEnd => self.partition_end(),
        }
        self.work != Work::Nothing
    }

    fn partition_start(&mut self, token: Token, key: &[u8], deletion: Deletion) {
        assert!(
            self.stage == Stage::Outside,
            "a partition starts before the last one ended"
        );
        assert!(
            self.hashes.is_empty() || (self.token, self.key.as_slice()) < (token, key),
            "partition {key:02x?} does not come after {:02x?}",
            self.key
        );
        assert!(key.len() <= KEY_BYTES_MAX, "a partition key of {} bytes", key.len());
        if self.block.raw_len() * 2 >= self.options.block_bytes {
            self.cut();
        }
        self.token = token;
        self.key.clear();
        self.key.extend_from_slice(key);
        self.partition_deletion = deletion;
        self.stage = Stage::Started;
        self.last.clear();
        self.force = Deletion::LIVE;
        self.hashes.push(filter::hash(key));
        if self.block.is_empty() {
            self.begin_block(None);
        }
        self.block.partition_start(token, key, deletion);
        self.tally.partition_start(deletion, &mut self.statistics.drop_times);
        if self.statistics.first.is_none() {
            self.statistics.first = Some((token, key.to_vec()));
        }
    }

    fn static_row(&mut self, row: RowRef<'_>) {
        assert!(
            self.stage == Stage::Started,
            "a static row is not at its partition's start"
        );
        assert!(
            row.bytes().len() <= ROW_BYTES_MAX,
            "a row of {} bytes",
            row.bytes().len()
        );
        self.stage = Stage::Static;
        self.tally.static_row(row, &mut self.statistics.drop_times);
        self.block.static_row(row.bytes());
        // Only the partition that begins the block is known by the block's entry.
        if self.tally.parts == 1 {
            self.begin.static_row = true;
        }
    }

    #[inline]
    fn row(&mut self, clustering: &[u8], row: RowRef<'_>) {
        let body = row.bytes();
        assert!(body.len() <= ROW_BYTES_MAX, "a row of {} bytes", body.len());
        let shared = self.place(clustering, Stage::Row);
        let tombstone_only = self
            .tally
            .row(clustering, row, self.seed, &mut self.statistics.drop_times);
        self.block.row(clustering, shared, tombstone_only, body);
    }

    fn range_change(&mut self, position: &[u8], deletion: Deletion) {
        assert!(self.stage != Stage::Outside, "a range change outside a partition");
        if deletion == self.force {
            return;
        }
        let shared = self.place(position, Stage::Change);
        self.block.range_change(position, shared, self.force, deletion);
        self.tally.range_change(deletion, &mut self.statistics.drop_times);
        self.force = deletion;
    }

    fn partition_end(&mut self) {
        assert!(self.stage != Stage::Outside, "a partition ends that was not open");
        assert!(self.force.is_live(), "a partition ends with an open range deletion");
        if matches!(self.stage, Stage::Row | Stage::Change) {
            self.statistics.position(&self.last);
        }
        self.stage = Stage::Outside;
        self.block.partition_end();
    }

    /// Asserts that `position` is next, closes a full block, and gives how many bytes are shared with the last position.
    #[inline]
    fn place(&mut self, position: &[u8], stage: Stage) -> usize {
        let mut shared = common(&self.last, position);
        let mut same = false;
        if matches!(self.stage, Stage::Row | Stage::Change) {
            let in_order = match self.last[shared..].cmp(&position[shared..]) {
                Ordering::Less => true,
                Ordering::Equal => {
                    same = true;
                    self.stage == Stage::Change && stage == Stage::Row
                }
                Ordering::Greater => false,
            };
            assert!(
                in_order,
                "position {position:02x?} does not come after {:02x?}",
                self.last
            );
        } else {
            assert!(
                self.stage != Stage::Outside,
                "a row or range change outside a partition"
            );
            assert!(
                position <= PARTITION_END,
                "position {position:02x?} is beyond the partition's end"
            );
            self.statistics.position(position);
        }
        assert!(
            position.len() <= KEY_BYTES_MAX,
            "a position of {} bytes",
            position.len()
        );
        // A change and a row at one position stay together, so that no two blocks begin at the same place.
        if self.block.raw_len() >= self.options.block_bytes && !same {
            self.cut();
            shared = 0;
            self.begin_block(Some(position));
        }
        self.stage = stage;
        self.last.truncate(shared);
        self.last.extend_from_slice(&position[shared..]);
        shared
    }

    fn begin_block(&mut self, position: Option<&[u8]>) {
        self.begin.token = self.token;
        self.begin.key.clone_from(&self.key);
        self.begin.position = position.map(<[u8]>::to_vec);
        self.begin.static_row = false;
        self.begin.open = if position.is_some() { self.force } else { Deletion::LIVE };
        self.begin.partition_deletion = self.partition_deletion;
        self.tally = Tally::new(position.is_some());
    }

    /// Hands the open block to the packer.
    fn cut(&mut self) {
        self.block.finish();
        self.closing_raw = (self.block.keys.len() + self.block.values.len()) as u64;
        self.statistics.sizes.raw_key_bytes += self.block.keys.len() as u64;
        self.statistics.sizes.raw_value_bytes += self.block.values.len() as u64;
        self.packer
            .start(Kind::Data, &mut self.block.keys, &mut self.block.values);
        self.block.clear();
        std::mem::swap(&mut self.closing, &mut self.begin);
        std::mem::swap(&mut self.closing_tally, &mut self.tally);
        self.work = Work::Frame(Kind::Data);
    }

    /// No more fragments come. Then [`step`](Self::step) until it is idle.
    ///
    /// # Panics
    /// If a partition is open.
    pub(crate) fn finish(&mut self) {
        assert!(self.stage == Stage::Outside, "the file ends inside a partition");
        assert!(self.work == Work::Nothing, "the file ends while work is waiting");
        assert!(!self.finishing, "the file ends twice");
        self.finishing = true;
        if !self.hashes.is_empty() {
            self.statistics.last = Some((self.token, self.key.clone()));
        }
        self.next_work();
    }

    /// Does a little of what is waiting.
    pub(crate) fn step(&mut self) -> Step<'_> {
        match self.work {
            Work::Nothing | Work::Done => Step::Idle,
            Work::Head => {
                self.position = HEAD.len() as u64;
                self.work = Work::Nothing;
                Step::Bytes(&HEAD)
            }
            Work::Frame(kind) => {
                let compression = match kind {
                    // Random bits, and read once: nothing to gain.
                    Kind::Filter => Compression::None,
                    _ => self.options.compression,
                };
                let Some(len) = self
                    .packer
                    .step(compression, self.identity, self.position)
                    .map(<[u8]>::len)
                else {
                    return Step::Working;
                };
                let len = u32::try_from(len).expect("a frame is shorter than two sections at most");
                let place = Place {
                    offset: self.position,
                    len,
                };
                self.position = place.end();
                self.work = Work::Packed(kind, place);
                Step::Bytes(self.packer.bytes())
            }
            Work::Packed(kind, place) => {
                self.packed(kind, place);
                if self.work == Work::Nothing {
                    Step::Idle
                } else {
                    Step::Working
                }
            }
            Work::Filter(at) => {
                let filter = self
                    .filter
                    .get_or_insert_with(|| FilterBuilder::new(self.hashes.len() as u64));
                let end = self.hashes.len().min(at + FILTER_STEP);
                filter.add(&self.hashes[at..end]);
                self.work = Work::Filter(end);
                if end == self.hashes.len()
                    && let Some(filter) = self.filter.take()
                {
                    self.tail = filter.finish();
                    self.start(Kind::Filter);
                }
                Step::Working
            }
            Work::Footer => {
                self.position += FOOTER_LEN as u64;
                self.footer.file_bytes = self.position;
                self.footer.flags = if self.statistics.partition_heads {
                    PARTITION_HEADS
                } else {
                    0
                };
                self.tail.clear();
                self.tail.extend_from_slice(&self.footer.encode());
                self.work = Work::Done;
                Step::Bytes(&self.tail)
            }
        }
    }

    /// A frame is complete at `place`: enters it where it belongs, and chooses what comes next.
    fn packed(&mut self, kind: Kind, place: Place) {
        let sizes = &mut self.statistics.sizes;
        match kind {
            Kind::Data => {
                sizes.data_frames += 1;
                sizes.data_bytes += u64::from(place.len);
                let continues = self.closing.position.is_some();
                if self.index.is_empty() {
                    self.group.copy_from(&self.closing);
                    self.group_tally = Tally::new(false);
                    self.group_raw = 0;
                }
                self.group_tally.absorb(&self.closing_tally, continues);
                self.total.absorb(&self.closing_tally, continues);
                self.group_raw += self.closing_raw;
                self.index
                    .push(&self.closing.entry(place, self.closing_raw, &self.closing_tally));
            }
            Kind::Index => {
                sizes.index_frames += 1;
                sizes.index_bytes += u64::from(place.len);
                self.top
                    .push(&self.group.entry(place, self.group_raw, &self.group_tally));
            }
            Kind::Top => {
                sizes.top_bytes = u64::from(place.len);
                self.footer.top = place;
                self.work = Work::Filter(0);
                return;
            }
            Kind::Filter => {
                sizes.filter_bytes = u64::from(place.len);
                self.footer.filter = place;
                self.statistics.set_tally(&self.total);
                self.tail = self.statistics.encode();
                self.start(Kind::Statistics);
                return;
            }
            Kind::Statistics => {
                self.footer.statistics = place;
                self.work = Work::Footer;
                return;
            }
        }
        self.next_work();
    }

    /// After a data or index frame, or at the end of fragments.
    fn next_work(&mut self) {
        self.work = Work::Nothing;
        let full = self.index.bytes.len() >= self.options.index_bytes;
        if full || (self.finishing && self.block.is_empty() && !self.index.is_empty()) {
            self.index.finish();
            self.packer.start(Kind::Index, &mut self.index.bytes, &mut Vec::new());
            self.work = Work::Frame(Kind::Index);
        } else if self.finishing && !self.block.is_empty() {
            self.cut();
        } else if self.finishing {
            self.top.finish();
            self.packer.start(Kind::Top, &mut self.top.bytes, &mut Vec::new());
            self.work = Work::Frame(Kind::Top);
        }
    }

    fn start(&mut self, kind: Kind) {
        self.packer.start(kind, &mut self.tail, &mut Vec::new());
        self.work = Work::Frame(kind);
    }
}

/// How many bytes two strings have in common at their start.
#[inline]
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The bytes of a file, in one go: for tests, and where there is no device.
pub fn encode<'a>(options: WriterOptions, fragments: impl IntoIterator<Item = Fragment<'a>>) -> Vec<u8> {
    let mut encoder = Encoder::new(options);
    let mut out = Vec::new();
    let mut drain = |encoder: &mut Encoder| {
        loop {
            match encoder.step() {
                Step::Idle => break,
                Step::Working => {}
                Step::Bytes(bytes) => out.extend_from_slice(bytes),
            }
        }
    };
    drain(&mut encoder);
    for fragment in fragments {
        if encoder.append(fragment) {
            drain(&mut encoder);
        }
    }
    encoder.finish();
    drain(&mut encoder);
    assert!(
        encoder.is_done() && encoder.position() == out.len() as u64,
        "the file is not complete"
    );
    out
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use model::{ColumnId, RowBuilder, token_of};

    use super::*;
    use crate::format::statistics::EpochShare;

    /// Encodes one partition with `content`, unless it panics.
    fn partition(content: &[Fragment<'_>]) {
        let start = Fragment::PartitionStart {
            token: token_of(b"k"),
            key: b"k",
            deletion: Deletion::LIVE,
        };
        let fragments = std::iter::once(start)
            .chain(content.iter().copied())
            .chain([Fragment::PartitionEnd]);
        encode(WriterOptions::new(TableId(1), [0; 16], 1), fragments);
    }

    fn row(clustering: &[u8]) -> Fragment<'_> {
        Fragment::Row {
            clustering,
            row: RowRef::EMPTY,
        }
    }

    fn change(position: &[u8], timestamp: i64) -> Fragment<'_> {
        Fragment::RangeChange {
            position,
            deletion: Deletion::new(timestamp, 1),
        }
    }

    #[test]
    #[should_panic(expected = "does not come after")]
    fn rejects_rows_out_of_order() {
        partition(&[row(b"\x10\x02"), row(b"\x10\x01")]);
    }

    #[test]
    #[should_panic(expected = "does not come after")]
    fn rejects_a_row_twice() {
        partition(&[row(b"\x10"), row(b"\x10")]);
    }

    #[test]
    #[should_panic(expected = "does not come after")]
    fn rejects_a_range_change_after_its_row() {
        partition(&[row(b"\x10"), change(b"\x10", 1)]);
    }

    #[test]
    #[should_panic(expected = "open range deletion")]
    fn rejects_a_range_left_open() {
        partition(&[change(b"\x10", 1)]);
    }

    #[test]
    #[should_panic(expected = "not at its partition's start")]
    fn rejects_a_static_row_after_a_row() {
        partition(&[row(b"\x10"), Fragment::StaticRow(RowRef::EMPTY)]);
    }

    #[test]
    #[should_panic(expected = "beyond the partition's end")]
    fn rejects_a_row_beyond_the_end() {
        partition(&[row(b"\xFF\x01")]);
    }

    #[test]
    #[should_panic(expected = "outside a partition")]
    fn rejects_a_row_outside_a_partition() {
        partition(&[Fragment::PartitionEnd, row(b"\x10")]);
    }

    #[test]
    #[should_panic(expected = "before the last one ended")]
    fn rejects_a_partition_inside_another() {
        let start = Fragment::PartitionStart {
            token: token_of(b"l"),
            key: b"l",
            deletion: Deletion::LIVE,
        };
        partition(&[start]);
    }

    #[test]
    #[should_panic(expected = "does not come after")]
    fn rejects_partitions_out_of_order() {
        let start = |token| Fragment::PartitionStart {
            token: Token(token),
            key: b"k",
            deletion: Deletion::LIVE,
        };
        let options = WriterOptions::new(TableId(1), [0; 16], 1);
        encode(
            options,
            [start(2), Fragment::PartitionEnd, start(1), Fragment::PartitionEnd],
        );
    }

    #[test]
    #[should_panic(expected = "inside a partition")]
    fn rejects_an_end_inside_a_partition() {
        let start = Fragment::PartitionStart {
            token: token_of(b"k"),
            key: b"k",
            deletion: Deletion::LIVE,
        };
        encode(WriterOptions::new(TableId(1), [0; 16], 1), [start]);
    }

    #[test]
    fn rejects_epoch_shares_in_disorder() {
        let share = |epoch| EpochShare {
            epoch,
            ..EpochShare::default()
        };
        for (epoch_hours, epochs, sound) in [
            (1, vec![], true),
            (1, vec![-1, 0, 1], true),
            (0, vec![1], false),
            (1, vec![2, 1], false),
            (1, vec![2, 2], false),
        ] {
            let name = format!("{epochs:?} of {epoch_hours} hours");
            let shares = epochs.into_iter().map(share).collect();
            let mut encoder = Encoder::new(WriterOptions::new(TableId(1), [0; 16], 1));
            let set = AssertUnwindSafe(|| encoder.set_epochs(EpochShares { epoch_hours, shares }));
            assert_eq!(catch_unwind(set).is_ok(), sound, "{name}");
        }
    }

    #[test]
    fn a_change_that_changes_nothing_is_left_out() {
        let options = || WriterOptions::new(TableId(1), [0; 16], 1);
        let start = Fragment::PartitionStart {
            token: token_of(b"k"),
            key: b"k",
            deletion: Deletion::LIVE,
        };
        let live = |position| Fragment::RangeChange {
            position,
            deletion: Deletion::LIVE,
        };
        let plain = [start, change(b"\x10", 1), live(b"\x12"), Fragment::PartitionEnd];
        let wordy = [
            start,
            live(b"\x01"),
            change(b"\x10", 1),
            change(b"\x11", 1),
            live(b"\x12"),
            live(b"\x13"),
            Fragment::PartitionEnd,
        ];
        assert_eq!(encode(options(), plain), encode(options(), wordy));
    }

    #[test]
    fn statistics_count_everything() {
        let mut builder = RowBuilder::new();
        let live = builder
            .liveness(5)
            .cell(ColumnId(1), 6, b"x")
            .tombstone(ColumnId(2), 7, 70)
            .finish()
            .to_vec();
        let dead = builder.clear().deletion(Deletion::new(8, 80)).finish().to_vec();
        let ends = builder.clear().cell_ttl(ColumnId(1), 4, b"x", 10, 90).finish().to_vec();
        let fragments = [
            Fragment::PartitionStart {
                token: token_of(b"k"),
                key: b"k",
                deletion: Deletion::new(3, 30),
            },
            Fragment::StaticRow(RowRef::trusted(&ends)),
            Fragment::Row {
                clustering: b"\x10",
                row: RowRef::trusted(&live),
            },
            Fragment::Row {
                clustering: b"\x11",
                row: RowRef::trusted(&dead),
            },
            change(b"\x12", 9),
            Fragment::RangeChange {
                position: b"\x13",
                deletion: Deletion::LIVE,
            },
            Fragment::PartitionEnd,
        ];
        let bytes = encode(WriterOptions::new(TableId(1), [0; 16], 1), fragments);
        let s = crate::offline::stats(&bytes).unwrap().statistics;
        assert_eq!((s.partitions, s.rows, s.dead_rows, s.static_rows), (1, 2, 1, 1));
        assert_eq!((s.cells, s.expiring_cells, s.cell_tombstones), (3, 1, 1));
        assert_eq!(
            (s.row_tombstones, s.range_tombstones, s.partition_tombstones),
            (1, 1, 1)
        );
        assert_eq!((s.min_timestamp, s.max_timestamp, s.max_deletion_timestamp), (3, 9, 9));
        assert_eq!((s.min_local_deletion_time, s.max_local_deletion_time), (1, u32::MAX));
        assert_eq!(s.clustering, Some((b"\x10".to_vec(), b"\x13".to_vec())));
        assert_eq!(
            (s.first, s.last),
            (
                Some((token_of(b"k"), b"k".to_vec())),
                Some((token_of(b"k"), b"k".to_vec()))
            )
        );
        assert!(s.partition_heads);
        assert_eq!(s.drop_times.buckets().map(|(_, count)| count).sum::<u64>(), 5);
    }
}
