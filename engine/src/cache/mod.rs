//! The row cache of a shard: for each of its active partitions the newest rows, as one run without a gap (DESIGN §7).
//!
//! The newest end is the first position in clustering order: the newest message where ids are `DESC`. Six rules keep it
//! true; each has its deliberate break.
//!
//! - (a) A run equals the merge of the table's sstables above its floor; memtables are merged over it. So a flush brings
//!   every run of its partitions up to date, or throws it away: [`Stage`].
//! - (b) Rows that are dead for ever are left out; their gap keeps the largest timestamp dropped. What a memtable has at or
//!   below it goes round the run ([`Parts`]). Rows that are kept keep their tombstones.
//! - (c) A flush starts a run only above the newest position of every sstable that may know the partition.
//! - (d) An sstable becomes visible, its memtable goes, and the runs change, in one step without an await:
//!   [`RowCache::publish`] sets a map of them before the cache, which is worked off in turns.
//! - (e) A fill whose partition was flushed, or is being flushed, meanwhile is thrown away.
//! - (f) Eviction only raises floors: runs lose their oldest chunk, or go as a whole.
//!
//! Which run goes is decided by `quick_cache` (scan-resistant, as for the block cache); no run takes more than an eighth of
//! the cache, so that one reader who scrolls through a channel does not take it all.
//!
//! Beside the runs stand the gaps that reads have found dead over all sources, memtables included: [`gaps`].

mod gaps;
mod parts;
mod rows;
mod run;
mod stage;
#[cfg(test)]
mod tests;

pub(crate) use gaps::{Between, DeadGaps, Finder};
pub(crate) use parts::Parts;
pub(crate) use rows::RunRows;
pub(crate) use run::{Builder, Run, after, look};
pub(crate) use stage::{Stage, is_judged};

use model::{TableId, Token};
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, OptionsBuilder, Weighter};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

/// No run takes more than this.
const RUN_BYTES_MAX: usize = 256 << 10;
/// No run takes more than this part of the cache.
const RUN_PART: usize = 8;
/// A chunk is closed when it has as much, or an eighth of the most that a run may have.
const CHUNK_BYTES_MAX: usize = 8 << 10;
/// What an entry takes beyond its run and its key.
const ENTRY_BYTES: usize = 128;
/// What an entry takes on average, for the cache's first table.
const ENTRY_BYTES_GUESS: usize = 16 << 10;
/// Runs moved into the cache between two looks at the clock.
const SETTLE_STEP: usize = 16;
/// This part of the cache is for gaps that are known to be dead.
const GAPS_PART: usize = 32;
/// Partitions that are filled at the same time.
const FILLS_MAX: usize = 16;

/// A partition of a table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    table: TableId,
    token: Token,
    key: Box<[u8]>,
}

impl Key {
    pub(crate) fn new(table: TableId, token: Token, key: &[u8]) -> Key {
        let key = key.into();
        Key { table, token, key }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef(self.table, self.token, &self.key).hash(state);
    }
}

struct KeyRef<'a>(TableId, Token, &'a [u8]);

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The token is a hash of the key already.
        state.write_u64(self.1.0 as u64 ^ u64::from(self.0.0).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.0, self.1, self.2) == (key.table, key.token, &*key.key)
    }
}

/// Mixes a word; the same in every run, as the simulator needs.
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

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Rc<Run>> for Bytes {
    fn weight(&self, key: &Key, run: &Rc<Run>) -> u64 {
        (key.key.len() + run.memory_bytes() + ENTRY_BYTES) as u64
    }
}

type Runs = Cache<Key, Rc<Run>, Bytes, BuildHasherDefault<Mix>, DefaultLifecycle<Key, Rc<Run>>>;

/// The row cache of a shard. See the module's page.
pub(crate) struct RowCache {
    capacity: usize,
    runs: RefCell<Runs>,
    /// What the last flush has made of runs, until it is in `runs`; `None`: the partition has no run any more.
    fresh: RefCell<BTreeMap<Key, Option<Rc<Run>>>>,
    filling: RefCell<BTreeSet<Key>>,
    pub gaps: DeadGaps,
    pub counters: Counters,
}

#[derive(Default)]
pub(crate) struct Counters {
    /// Pages that asked no sstable because a run knew all.
    pub hits: Cell<u64>,
    /// Pages that had to ask sstables.
    pub misses: Cell<u64>,
    pub fills: Cell<u64>,
    /// Fills thrown away because the partition was flushed meanwhile.
    pub fills_stale: Cell<u64>,
}

impl RowCache {
    /// A cache of at most `capacity` bytes; of 0, none.
    pub(crate) fn new(capacity: usize) -> RowCache {
        let options = OptionsBuilder::new()
            .estimated_items_capacity((capacity / ENTRY_BYTES_GUESS).max(16))
            .weight_capacity((capacity - capacity / GAPS_PART) as u64)
            .build()
            .expect("both capacities are given");
        let hasher = BuildHasherDefault::default();
        RowCache {
            capacity,
            runs: RefCell::new(Cache::with_options(options, Bytes, hasher, DefaultLifecycle::default())),
            fresh: RefCell::default(),
            filling: RefCell::default(),
            gaps: DeadGaps::new(capacity / GAPS_PART),
            counters: Counters::default(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.capacity > 0
    }

    /// The most that a run may take.
    pub(crate) fn run_bytes_max(&self) -> usize {
        RUN_BYTES_MAX.min(self.capacity / RUN_PART)
    }

    pub(crate) fn chunk_bytes(&self) -> usize {
        CHUNK_BYTES_MAX.min(self.run_bytes_max() / 8)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        let fresh = self.fresh.borrow();
        self.runs.borrow().weight()
            + self.gaps.bytes()
            + fresh
                .values()
                .flatten()
                .map(|run| run.memory_bytes() as u64)
                .sum::<u64>()
    }

    /// Partitions that have a run.
    pub(crate) fn partitions(&self) -> u64 {
        self.runs.borrow().len() as u64
    }

    /// The partition's run.
    pub(crate) fn get(&self, table: TableId, token: Token, key: &[u8]) -> Option<Rc<Run>> {
        let fresh = self.fresh.borrow();
        if !fresh.is_empty()
            && let Some(run) = fresh.get(&Key::new(table, token, key))
        {
            return run.clone();
        }
        self.runs.borrow().get(&KeyRef(table, token, key)).cloned()
    }

    /// Sets or removes the partition's run.
    pub(crate) fn set(&self, key: Key, run: Option<Rc<Run>>) {
        self.fresh.borrow_mut().remove(&key);
        let mut runs = self.runs.borrow_mut();
        match run {
            Some(run) => runs.insert(key, run),
            None => drop(runs.remove(&key)),
        }
    }

    /// Makes what a flush has staged the runs of its partitions: in the same step as its sstable becomes visible. One
    /// pointer is set; [`settle`](Self::settle) does the rest.
    pub(crate) fn publish(&self, stage: Stage) {
        let mut fresh = self.fresh.borrow_mut();
        assert!(fresh.is_empty(), "one flush is settled before the next is published");
        *fresh = stage.into_runs();
    }

    /// Forgets all of a table, in one step: some nanoseconds for each partition that has a run.
    pub(crate) fn forget(&self, table: TableId) {
        self.fresh.borrow_mut().retain(|key, _| key.table != table);
        self.runs.borrow_mut().retain(|key, _| key.table != table);
        self.gaps.forget(table);
    }

    /// Moves what was published into the cache, in turns.
    pub(crate) async fn settle(&self) {
        loop {
            for _ in 0..SETTLE_STEP {
                let Some((key, run)) = self.fresh.borrow_mut().pop_first() else {
                    return;
                };
                self.set(key, run);
            }
            runtime::breathe().await;
        }
    }

    /// Lets one fill of the partition in, and not too many in all.
    pub(crate) fn begin_fill(self: &Rc<Self>, key: Key) -> Option<Filling> {
        let mut filling = self.filling.borrow_mut();
        (self.is_on() && filling.len() < FILLS_MAX && filling.insert(key.clone())).then(|| Filling {
            cache: Rc::clone(self),
            key,
        })
    }
}

/// A partition that is being filled.
pub(crate) struct Filling {
    cache: Rc<RowCache>,
    key: Key,
}

impl Filling {
    /// Sets the run.
    pub(crate) fn set(&self, run: Option<Rc<Run>>) {
        self.cache.set(self.key.clone(), run);
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.cache.filling.borrow_mut().remove(&self.key);
    }
}
