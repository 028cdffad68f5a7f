//! The block cache of a shard: decompressed data and index frames, by bytes.
//!
//! The policy (scan-resistant, S3-FIFO like) is `quick_cache`'s. Files are known by a number that the cache gives out, so
//! that a generation used again on another path cannot meet old blocks.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::format::data::DataBlock;
use crate::format::index::IndexBlock;

/// Weight that an entry has beyond its bytes: key, links, allocator.
const ENTRY_BYTES: usize = 128;

/// What a block weighs on average, for the cache's first table.
const BLOCK_BYTES_GUESS: usize = 16 * 1024;

/// A file in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct FileKey(u64);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    file: u64,
    offset: u64,
}

#[derive(Clone)]
enum Block {
    Data(Rc<DataBlock>),
    Index(Rc<IndexBlock>),
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Block> for Bytes {
    fn weight(&self, _: &Key, block: &Block) -> u64 {
        let bytes = match block {
            Block::Data(block) => block.memory_bytes(),
            Block::Index(block) => block.memory_bytes(),
        };
        (bytes + ENTRY_BYTES) as u64
    }
}

/// Mixes two words; the same in every run, as the simulator needs.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mut h = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        h ^= h >> 32;
        h = h.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        self.0 = h ^ (h >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Blocks = Cache<Key, Block, Bytes, BuildHasherDefault<Mix>, DefaultLifecycle<Key, Block>>;

/// Decompressed blocks of one shard's sstables, up to a number of bytes.
pub struct BlockCache {
    blocks: RefCell<Blocks>,
    next_file: Cell<u64>,
    hits: Cell<u64>,
    misses: Cell<u64>,
}

impl BlockCache {
    /// A cache for at most `capacity_bytes`.
    pub fn new(capacity_bytes: usize) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity((capacity_bytes / BLOCK_BYTES_GUESS).max(16))
            .weight_capacity(capacity_bytes as u64)
            .build()
            .expect("both capacities are given");
        let blocks = Cache::with_options(
            options,
            Bytes,
            BuildHasherDefault::default(),
            DefaultLifecycle::default(),
        );
        BlockCache {
            blocks: RefCell::new(blocks),
            next_file: Cell::new(0),
            hits: Cell::new(0),
            misses: Cell::new(0),
        }
    }

    /// Blocks found.
    pub fn hits(&self) -> u64 {
        self.hits.get()
    }

    /// Blocks that had to be read.
    pub fn misses(&self) -> u64 {
        self.misses.get()
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.blocks.borrow().weight()
    }

    /// Bytes held at most.
    pub fn capacity_bytes(&self) -> u64 {
        self.blocks.borrow().capacity()
    }

    pub(crate) fn add_file(&self) -> FileKey {
        let file = self.next_file.get();
        self.next_file.set(file + 1);
        FileKey(file)
    }

    /// Forgets a block of a file that is no longer read.
    pub(crate) fn remove(&self, file: FileKey, offset: u64) {
        self.blocks.borrow_mut().remove(&Key { file: file.0, offset });
    }

    /// An index frame, if it is there; not counted as a use.
    pub(crate) fn peek_index(&self, file: FileKey, offset: u64) -> Option<Rc<IndexBlock>> {
        match self.blocks.borrow().peek(&Key { file: file.0, offset })? {
            Block::Index(block) => Some(block.clone()),
            Block::Data(_) => None,
        }
    }

    fn get(&self, file: FileKey, offset: u64) -> Option<Block> {
        let found = self.blocks.borrow().get(&Key { file: file.0, offset }).cloned();
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.set(count.get() + 1);
        found
    }

    pub(crate) fn data(&self, file: FileKey, offset: u64) -> Option<Rc<DataBlock>> {
        match self.get(file, offset)? {
            Block::Data(block) => Some(block),
            Block::Index(_) => None,
        }
    }

    pub(crate) fn index(&self, file: FileKey, offset: u64) -> Option<Rc<IndexBlock>> {
        match self.get(file, offset)? {
            Block::Index(block) => Some(block),
            Block::Data(_) => None,
        }
    }

    pub(crate) fn put_data(&self, file: FileKey, offset: u64, block: &Rc<DataBlock>) {
        self.blocks
            .borrow_mut()
            .insert(Key { file: file.0, offset }, Block::Data(block.clone()));
    }

    pub(crate) fn put_index(&self, file: FileKey, offset: u64, block: &Rc<IndexBlock>) {
        self.blocks
            .borrow_mut()
            .insert(Key { file: file.0, offset }, Block::Index(block.clone()));
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache")
            .field("bytes", &self.bytes())
            .field("capacity_bytes", &self.capacity_bytes())
            .field("hits", &self.hits())
            .field("misses", &self.misses())
            .finish()
    }
}
