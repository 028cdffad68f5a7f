//! An open sstable: footer, statistics, filter and top index in memory, the rest behind the block cache.

use std::cell::Cell;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;

use model::{Deletion, Direction, KeySeed, Slice, TableId, Token};
use runtime::disk::File;

use crate::cache::{BlockCache, FileKey};
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::format::data::DataBlock;
use crate::format::filter::{self, Filter};
use crate::format::footer::{FOOTER_LEN, Footer, PARTITION_HEADS, Place};
use crate::format::frame::{Identity, Kind, Unpacker};
use crate::format::index::{First, IndexBlock};
use crate::format::statistics::Statistics;
use crate::format::{PARTITION_END, What};
use crate::scan::Scan;

/// How much of the end is read at once when a file is opened: all of it, for most.
const TAIL_BYTES: u64 = 64 * 1024;

/// What reading cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Whether anything had to be looked at beyond what an open table keeps in memory.
    pub opened: bool,
    /// Data blocks looked at, from the cache or from the device.
    pub data_blocks: u64,
    /// Index blocks looked at, from the cache or from the device.
    pub index_blocks: u64,
    /// Reads that went to the device.
    pub device_reads: u64,
}

/// A partition's deletion and static row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The partition's tombstone, or `LIVE`.
    pub deletion: Deletion,
    /// The static row's bytes.
    pub static_row: Option<Vec<u8>>,
}

/// An open sstable. Clones share one file.
#[derive(Clone)]
pub struct Table(Rc<Inner>);

struct Inner {
    file: File,
    file_bytes: u64,
    host_id: [u8; 16],
    seed: KeySeed,
    table: TableId,
    identity: Identity,
    statistics: Statistics,
    filter: Filter,
    top: IndexBlock,
    cache: Rc<BlockCache>,
    key: FileKey,
    open_reads: Cell<u64>,
}

impl Table {
    /// Opens the file that the manifest names, and checks that it is the one: its length and generation.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the offset; [`Error::TooNew`]; [`Error::Io`].
    pub async fn open(path: &Path, generation: u64, expect_bytes: u64, cache: Rc<BlockCache>) -> Result<Table> {
        let file = File::open_read(path).await?;
        match Self::open_file(&file, generation, expect_bytes, cache).await {
            Ok(inner) => Ok(Table(Rc::new(inner))),
            Err(error) => {
                // The first error is the one that matters.
                let _ = file.close().await;
                Err(error)
            }
        }
    }

    /// The node that wrote the file; `None` if its footer is not that of an sstable which this release reads.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn writer_of(path: &Path) -> Result<Option<[u8; 16]>> {
        let file = File::open_read(path).await?;
        let read = async {
            let file_bytes = file.len().await?;
            let tail_len = file_bytes.min(FOOTER_LEN as u64);
            let tail = file.read(file_bytes - tail_len, tail_len as usize).await?;
            Ok(Footer::decode(&tail, file_bytes).ok().map(|footer| footer.host_id))
        };
        let writer = read.await;
        file.close().await?;
        writer
    }

    async fn open_file(file: &File, generation: u64, expect_bytes: u64, cache: Rc<BlockCache>) -> Result<Inner> {
        let corrupt = |offset, what| Error::Corrupt {
            path: file.path().to_path_buf(),
            offset,
            what,
        };
        let file_bytes = file.len().await?;
        if file_bytes != expect_bytes {
            return Err(corrupt(
                file_bytes.min(expect_bytes),
                "the file's length is not what is expected of it",
            ));
        }
        let tail_len = file_bytes.min(TAIL_BYTES);
        let tail = file.read(file_bytes - tail_len, tail_len as usize).await?;
        let footer = Footer::decode(&tail, file_bytes).map_err(|damage| damage.at(file.path()))?;
        if footer.generation != generation {
            return Err(corrupt(
                file_bytes - FOOTER_LEN as u64,
                "the file is of another generation than its name says",
            ));
        }
        let mut open_reads = 1;
        let mut sections = Vec::new();
        for (place, kind) in [
            (footer.statistics, Kind::Statistics),
            (footer.filter, Kind::Filter),
            (footer.top, Kind::Top),
        ] {
            let at = |what| corrupt(place.offset, what);
            let raw = match place.offset.checked_sub(file_bytes - tail_len) {
                Some(start) => {
                    let frame = &tail[start as usize..][..place.len as usize];
                    unpack(frame, kind, footer.identity(), place.offset).await.map_err(at)?
                }
                None => {
                    open_reads += 1;
                    let frame = file.read(place.offset, place.len as usize).await?;
                    unpack(&frame, kind, footer.identity(), place.offset)
                        .await
                        .map_err(at)?
                }
            };
            sections.push(raw.0);
        }
        let mut sections = sections.into_iter();
        let (Some(statistics), Some(filter), Some(top)) = (sections.next(), sections.next(), sections.next()) else {
            unreachable!("three sections were read")
        };
        let heads = footer.flags & PARTITION_HEADS != 0;
        Ok(Inner {
            file: file.clone(),
            file_bytes,
            host_id: footer.host_id,
            seed: KeySeed::of_host(&footer.host_id),
            table: TableId(footer.table_id),
            identity: footer.identity(),
            statistics: Statistics::decode(&statistics, heads)
                .map_err(|what| corrupt(footer.statistics.offset, what))?,
            filter: Filter::parse(filter).map_err(|what| corrupt(footer.filter.offset, what))?,
            top: IndexBlock::parse(top).map_err(|what| corrupt(footer.top.offset, what))?,
            key: cache.add_file(),
            cache,
            open_reads: Cell::new(open_reads),
        })
    }

    /// What the file holds.
    pub fn statistics(&self) -> &Statistics {
        &self.0.statistics
    }

    /// The node that wrote the file.
    pub fn host_id(&self) -> [u8; 16] {
        self.0.host_id
    }

    /// What the digests of its keys depend on.
    pub(crate) fn seed(&self) -> KeySeed {
        self.0.seed
    }

    /// The table whose rows it holds.
    pub fn table(&self) -> TableId {
        self.0.table
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.0.file_bytes
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.0.file.path()
    }

    /// Memory that the open table holds, blocks in the cache apart: filter and top index.
    pub fn memory_bytes(&self) -> usize {
        self.0.filter.bytes().len() + self.0.top.memory_bytes() + size_of::<Inner>()
    }

    /// Device reads that opening took.
    pub fn open_reads(&self) -> u64 {
        self.0.open_reads.get()
    }

    /// False only if the partition is not in the file. In about one case of eighty true although it is not.
    pub fn may_contain(&self, token: Token, key: &[u8]) -> bool {
        self.in_range(token, key) && self.0.filter.may_contain(filter::hash(key))
    }

    pub(crate) fn in_range(&self, token: Token, key: &[u8]) -> bool {
        let statistics = self.statistics();
        let (Some((first_token, first)), Some((last_token, last))) = (&statistics.first, &statistics.last) else {
            return false;
        };
        (*first_token, first.as_slice()) <= (token, key) && (token, key) <= (*last_token, last.as_slice())
    }

    /// A partition's deletion and static row; `None` if the partition is not in the file. There is something to be had only if
    /// [`Statistics::partition_heads`] is set.
    pub async fn head(&self, token: Token, key: &[u8]) -> Result<Option<Head>> {
        Ok(self.head_with_cost(token, key).await?.0)
    }

    /// As [`head`](Self::head), with what it cost.
    pub async fn head_with_cost(&self, token: Token, key: &[u8]) -> Result<(Option<Head>, Cost)> {
        let mut cost = Cost::default();
        if !self.in_range(token, key) {
            return Ok((None, cost));
        }
        let target = First {
            token,
            key,
            position: None,
        };
        let Some(group) = self.top().last_at(target) else {
            return Ok((None, cost));
        };
        let index = self.index(group, &mut cost).await?;
        let Some(entry) = index.last_at(target).and_then(|i| index.get(i)) else {
            return Ok((None, cost));
        };
        if entry.first.is_of(token, key) && !entry.static_row {
            return Ok((
                Some(Head {
                    deletion: entry.partition_deletion,
                    static_row: None,
                }),
                cost,
            ));
        }
        if !entry.first.is_of(token, key) && entry.several.is_none() {
            return Ok((None, cost));
        }
        let block = self.data(entry.place, &mut cost).await?;
        let head = block.find(token, key).map(|(restarts, deletion)| Head {
            deletion,
            static_row: block.static_row(restarts.start).map(<[u8]>::to_vec),
        });
        Ok((head, cost))
    }

    /// A cursor over one partition's rows and range changes. Does no I/O: it is pending at the first position that the file may
    /// have in the slice, as far as the statistics tell.
    pub fn cursor(&self, token: Token, key: &[u8], slice: Slice, direction: Direction) -> Cursor {
        Cursor::new(self.clone(), token, key, slice, direction)
    }

    /// All partitions whose token lies in `tokens`, in order, read from front to back past the block cache, for compaction.
    /// Does no I/O before [`Scan::next_partition`].
    pub fn scan(&self, tokens: RangeInclusive<Token>) -> Scan {
        Scan::new(self.clone(), tokens)
    }

    /// The first partition after (token, key), or of all.
    pub async fn next_partition(&self, after: Option<(Token, &[u8])>) -> Result<Option<(Token, Vec<u8>)>> {
        let mut cost = Cost::default();
        let own = |first: First<'_>| (first.token, first.key.to_vec());
        let Some((token, key)) = after else {
            return Ok(self.top().first(0).map(own));
        };
        let target = First {
            token,
            key,
            position: Some(PARTITION_END),
        };
        let Some(group) = self.top().last_at(target) else {
            return Ok(self.top().first(0).map(own));
        };
        let index = self.index(group, &mut cost).await?;
        let Some(i) = index.last_at(target) else {
            return Err(self.inconsistent(group));
        };
        let Some(entry) = index.get(i) else {
            return Err(self.inconsistent(group));
        };
        if entry.several.is_some() {
            let block = self.data(entry.place, &mut cost).await?;
            if let Some((token, key)) = block.partition_after(token, key) {
                return Ok(Some((token, key.to_vec())));
            }
        }
        Ok(index.first(i + 1).or_else(|| self.top().first(group + 1)).map(own))
    }

    /// Whether a clone, a cursor or a scan of it is there beside this one.
    pub fn is_shared(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    /// Closes the file if this is the last of its clones and cursors; they keep it open otherwise, until they are dropped.
    /// Its blocks leave the cache, as far as they can be found without I/O; the others age out of it.
    pub async fn close(self) -> Result<()> {
        for group in 0..self.top().len() {
            self.forget(group);
            runtime::breathe().await;
        }
        if let Ok(inner) = Rc::try_unwrap(self.0) {
            inner.file.close().await?;
        }
        Ok(())
    }

    /// Takes an index frame, and the data frames it names, out of the cache.
    fn forget(&self, group: usize) {
        let inner = &*self.0;
        let Some(place) = inner.top.get(group).map(|entry| entry.place) else {
            return;
        };
        let Some(index) = inner.cache.peek_index(inner.key, place.offset) else {
            return;
        };
        for entry in (0..index.len()).filter_map(|i| index.get(i)) {
            inner.cache.remove(inner.key, entry.place.offset);
        }
        inner.cache.remove(inner.key, place.offset);
    }

    pub(crate) fn file(&self) -> &File {
        &self.0.file
    }

    pub(crate) fn identity(&self) -> Identity {
        self.0.identity
    }

    pub(crate) fn top(&self) -> &IndexBlock {
        &self.0.top
    }

    /// Index frame number `group`.
    pub(crate) async fn index(&self, group: usize, cost: &mut Cost) -> Result<Rc<IndexBlock>> {
        let inner = &*self.0;
        cost.opened = true;
        cost.index_blocks += 1;
        let place = inner
            .top
            .get(group)
            .map(|entry| entry.place)
            .ok_or_else(|| self.inconsistent(group))?;
        if let Some(block) = inner.cache.index(inner.key, place.offset) {
            return Ok(block);
        }
        let (raw, _) = self.frame(place, Kind::Index, cost).await?;
        let block = Rc::new(self.parse_index(group, place, raw)?);
        inner.cache.put_index(inner.key, place.offset, &block);
        Ok(block)
    }

    /// Checks what index frame number `group`, at `place`, holds.
    pub(crate) fn parse_index(&self, group: usize, place: Place, raw: Vec<u8>) -> Result<IndexBlock> {
        let block = IndexBlock::parse(raw).map_err(|what| self.corrupt(place.offset, what))?;
        if block.first(0) != self.top().first(group) {
            return Err(self.corrupt(place.offset, "an index frame is not the one that the top index names"));
        }
        Ok(block)
    }

    /// The data frame at `place`.
    pub(crate) async fn data(&self, place: Place, cost: &mut Cost) -> Result<Rc<DataBlock>> {
        let inner = &*self.0;
        cost.opened = true;
        cost.data_blocks += 1;
        if let Some(block) = inner.cache.data(inner.key, place.offset) {
            return Ok(block);
        }
        let (keys, values) = self.frame(place, Kind::Data, cost).await?;
        let block = DataBlock::parse(keys, values).map_err(|what| self.corrupt(place.offset, what))?;
        let block = Rc::new(block);
        inner.cache.put_data(inner.key, place.offset, &block);
        Ok(block)
    }

    async fn frame(&self, place: Place, kind: Kind, cost: &mut Cost) -> Result<(Vec<u8>, Vec<u8>)> {
        let inner = &*self.0;
        if place.end() > inner.file_bytes {
            return Err(self.corrupt(place.offset, "a frame lies beyond the file"));
        }
        cost.device_reads += 1;
        let frame = inner.file.read(place.offset, place.len as usize).await?;
        unpack(&frame, kind, inner.identity, place.offset)
            .await
            .map_err(|what| self.corrupt(place.offset, what))
    }

    pub(crate) fn corrupt(&self, offset: u64, what: What) -> Error {
        Error::Corrupt {
            path: self.path().to_path_buf(),
            offset,
            what,
        }
    }

    /// The top index and index frame `group` contradict each other.
    pub(crate) fn inconsistent(&self, group: usize) -> Error {
        let offset = self.top().get(group).map_or(0, |entry| entry.place.offset);
        self.corrupt(offset, "the indexes contradict each other")
    }
}

/// Checks and decompresses a frame, pausing between steps.
pub(crate) async fn unpack(
    frame: &[u8],
    kind: Kind,
    identity: Identity,
    offset: u64,
) -> std::result::Result<(Vec<u8>, Vec<u8>), What> {
    unpack_into(frame, kind, identity, offset, [Vec::new(), Vec::new()]).await
}

/// As [`unpack`], into the memory of sections that are no longer needed.
pub(crate) async fn unpack_into(
    frame: &[u8],
    kind: Kind,
    identity: Identity,
    offset: u64,
    memory: [Vec<u8>; 2],
) -> std::result::Result<(Vec<u8>, Vec<u8>), What> {
    let mut unpacker = Unpacker::into_memory(frame, kind, identity, offset, memory)?;
    while !unpacker.step()? {
        runtime::breathe().await;
    }
    Ok(unpacker.finish())
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("path", &self.path())
            .field("file_bytes", &self.file_bytes())
            .finish()
    }
}
