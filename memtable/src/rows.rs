//! The rows of one partition: a tree that can be walked by rank and that knows the newest timestamp under each node.
//!
//! The rank of a row is the number of rows before it. A reader turns the bounds of its slice into two ranks once, and compares no key
//! after that; passing over rows is a search for the next rank with something newer, or with more than a tombstone.

use std::rc::Rc;

use model::{DeadRows, KeyDigest};

use crate::arena::Arena;
use crate::arena::Record;
use crate::meter::Meter;
use crate::tree::{Child, Entry, Key, Keyed, Leaf, Note, Tree, search};

/// One row.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowEntry {
    pub(crate) prefix: u64,
    /// The largest timestamp of anything in the row.
    pub(crate) max_timestamp: i64,
    /// It is a row tombstone and nothing else.
    pub(crate) is_dead: bool,
    /// The clustering key and the encoded row.
    pub(crate) record: Record,
}

impl Keyed for RowEntry {
    #[inline]
    fn prefix(&self) -> u64 {
        self.prefix
    }
    #[inline]
    fn record(&self) -> Record {
        self.record
    }
}

/// What a parent knows of the rows under a child.
#[derive(Debug, Clone)]
pub(crate) struct RowNote {
    rows: u64,
    /// Of these, row tombstones and nothing else; what an entry adds wraps around when it takes one away.
    dead: u64,
    /// Of the keys of those. They are hashed when they are written and when a node is split, and not kept.
    dead_digest: KeyDigest,
    /// None of those is older. It may have been of one that is there no longer.
    dead_min_timestamp: i64,
    max_timestamp: i64,
}

impl Default for RowNote {
    fn default() -> Self {
        Self {
            rows: 0,
            dead: 0,
            dead_digest: KeyDigest::EMPTY,
            dead_min_timestamp: i64::MAX,
            max_timestamp: i64::MIN,
        }
    }
}

#[cfg(test)]
impl RowNote {
    /// Whether this may be what is kept of a child of which `fresh` is what it says now.
    pub(crate) fn is_of(&self, fresh: &RowNote) -> bool {
        let known = |note: &RowNote| (note.rows, note.dead, note.dead_digest, note.max_timestamp);
        known(self) == known(fresh) && self.dead_min_timestamp <= fresh.dead_min_timestamp
    }
}

impl Note for RowNote {
    #[inline]
    fn absorb(&mut self, other: &Self) {
        self.rows += other.rows;
        self.dead = self.dead.wrapping_add(other.dead);
        self.dead_digest.add(other.dead_digest);
        self.dead_min_timestamp = self.dead_min_timestamp.min(other.dead_min_timestamp);
        self.max_timestamp = self.max_timestamp.max(other.max_timestamp);
    }

    fn lifted(&self) -> Self {
        self.clone()
    }

    fn inherit(&mut self, _: &Self) {}
}

impl Entry for RowEntry {
    type Note = RowNote;

    #[inline]
    fn note(&self, old: Option<&Self>, arena: &Arena) -> RowNote {
        let was_dead = old.is_some_and(|old| old.is_dead);
        let dead_digest = match (was_dead, self.is_dead) {
            (false, true) => self.digest(arena),
            (true, false) => self.digest(arena).negated(),
            (true, true) | (false, false) => KeyDigest::EMPTY,
        };
        RowNote {
            rows: u64::from(old.is_none()),
            dead: u64::from(self.is_dead).wrapping_sub(u64::from(was_dead)),
            dead_digest,
            dead_min_timestamp: if self.is_dead { self.max_timestamp } else { i64::MAX },
            max_timestamp: self.max_timestamp,
        }
    }
}

impl RowEntry {
    #[inline]
    fn digest(&self, arena: &Arena) -> KeyDigest {
        // SAFETY: the entry is, or will be, one of a tree that holds records of this arena alone.
        unsafe { arena.digest(self.record) }
    }
}

/// What a reader does not pass over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// Rows with something newer than this.
    Newer(i64),
    /// Rows that are more than a row tombstone.
    Alive,
}

impl Wanted {
    #[inline]
    pub(crate) fn is(self, row: &RowEntry) -> bool {
        match self {
            Self::Newer(timestamp) => row.max_timestamp > timestamp,
            Self::Alive => !row.is_dead,
        }
    }

    #[inline]
    fn may_be_under(self, note: &RowNote) -> bool {
        match self {
            Self::Newer(timestamp) => note.max_timestamp > timestamp,
            Self::Alive => note.dead < note.rows,
        }
    }
}

pub(crate) type RowTree = Tree<RowEntry>;

/// The rows around a rank, held for reading.
#[derive(Clone, Default)]
pub(crate) struct Run {
    held: Held,
    first_rank: u64,
}

#[derive(Clone, Default)]
enum Held {
    #[default]
    Nothing,
    One(RowEntry),
    Leaf(Rc<Leaf<[RowEntry]>>),
}

impl Run {
    /// The row of `rank`, if it is in this run.
    #[inline]
    pub(crate) fn row(&self, rank: u64) -> Option<&RowEntry> {
        let at = usize::try_from(rank.checked_sub(self.first_rank)?).ok()?;
        match &self.held {
            Held::Nothing => None,
            Held::One(only) => (at == 0).then_some(only),
            Held::Leaf(leaf) => leaf.entries().get(at),
        }
    }
}

impl RowTree {
    pub(crate) fn row_count(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Small(leaf) => leaf.entries().len() as u64,
            Self::Node(Child::Leaf(leaf)) => leaf.entries().len() as u64,
            Self::Node(Child::Inner(inner)) => inner.branches().iter().map(|branch| branch.note.rows).sum(),
        }
    }

    /// The number of rows before `position`.
    pub(crate) fn rank_of(&self, position: &[u8], arena: &Arena) -> u64 {
        fn before<K: Keyed>(items: &[K], key: Key<'_>, arena: &Arena) -> u64 {
            search(items, key, arena).unwrap_or_else(|at| at) as u64
        }
        let key = Key::of(position);
        let mut child = match self {
            Self::Empty => return 0,
            Self::One(only) => return before(std::slice::from_ref(only), key, arena),
            Self::Small(leaf) => return before(leaf.entries(), key, arena),
            Self::Node(child) => child,
        };
        let mut rank = 0;
        loop {
            match child {
                Child::Leaf(leaf) => return rank + before(leaf.entries(), key, arena),
                Child::Inner(inner) => {
                    let (earlier, from) = inner.branches().split_at(inner.child_index(key, arena));
                    rank += earlier.iter().map(|branch| branch.note.rows).sum::<u64>();
                    child = from[0].child();
                }
            }
        }
    }

    /// The leaf in which `rank` lies.
    pub(crate) fn run_at(&self, rank: u64) -> Run {
        let mut child = match self {
            Self::Empty => return Run::default(),
            Self::One(only) => {
                return Run {
                    held: Held::One(only.clone()),
                    first_rank: 0,
                };
            }
            Self::Small(leaf) => {
                return Run {
                    held: Held::Leaf(Rc::clone(leaf)),
                    first_rank: 0,
                };
            }
            Self::Node(child) => child,
        };
        let mut first_rank = 0;
        loop {
            match child {
                Child::Leaf(leaf) => {
                    let leaf: Rc<Leaf<[RowEntry]>> = leaf.clone();
                    return Run {
                        held: Held::Leaf(leaf),
                        first_rank,
                    };
                }
                Child::Inner(inner) => {
                    let branches = inner.branches();
                    let mut at = 0;
                    while at + 1 < branches.len() && first_rank + branches[at].note.rows <= rank {
                        first_rank += branches[at].note.rows;
                        at += 1;
                    }
                    child = branches[at].child();
                }
            }
        }
    }

    /// The first rank in `from..to` whose row `wanted` wants, else `to`.
    pub(crate) fn first(&self, from: u64, to: u64, wanted: Wanted, meter: &Meter) -> u64 {
        fn in_leaf(entries: &[RowEntry], first: u64, from: u64, to: u64, wanted: Wanted) -> Option<u64> {
            let skip = from.saturating_sub(first);
            let take = to.saturating_sub(first);
            (first..)
                .zip(entries)
                .take(take as usize)
                .skip(skip as usize)
                .find(|(_, row)| wanted.is(row))
                .map(|(rank, _)| rank)
        }
        fn under(
            child: &Child<RowEntry>,
            mut first: u64,
            (from, to): (u64, u64),
            wanted: Wanted,
            meter: &Meter,
        ) -> Option<u64> {
            meter.visited_node();
            match child {
                Child::Leaf(leaf) => in_leaf(leaf.entries(), first, from, to, wanted),
                Child::Inner(inner) => {
                    for branch in inner.branches() {
                        let next = first + branch.note.rows;
                        if first >= to {
                            break;
                        }
                        if next > from && wanted.may_be_under(&branch.note) {
                            let found = under(branch.child(), first, (from, to), wanted, meter);
                            if found.is_some() {
                                return found;
                            }
                        }
                        first = next;
                    }
                    None
                }
            }
        }
        if from >= to {
            return to;
        }
        match self {
            Self::Empty => None,
            Self::One(only) => in_leaf(std::slice::from_ref(only), 0, from, to, wanted),
            Self::Small(leaf) => in_leaf(leaf.entries(), 0, from, to, wanted),
            Self::Node(child) => under(child, 0, (from, to), wanted, meter),
        }
        .unwrap_or(to)
    }

    /// One more than the last rank in `from..to` whose row `wanted` wants, else `from`.
    pub(crate) fn last(&self, from: u64, to: u64, wanted: Wanted, meter: &Meter) -> u64 {
        fn in_leaf(entries: &[RowEntry], first: u64, from: u64, to: u64, wanted: Wanted) -> Option<u64> {
            let skip = from.saturating_sub(first) as usize;
            let take = (to.saturating_sub(first) as usize).min(entries.len());
            (skip..take)
                .rev()
                .find(|&at| wanted.is(&entries[at]))
                .map(|at| first + at as u64 + 1)
        }
        fn under(
            child: &Child<RowEntry>,
            first: u64,
            (from, to): (u64, u64),
            wanted: Wanted,
            meter: &Meter,
        ) -> Option<u64> {
            meter.visited_node();
            match child {
                Child::Leaf(leaf) => in_leaf(leaf.entries(), first, from, to, wanted),
                Child::Inner(inner) => {
                    let mut next = first + inner.branches().iter().map(|branch| branch.note.rows).sum::<u64>();
                    for branch in inner.branches().iter().rev() {
                        let first = next - branch.note.rows;
                        if next <= from {
                            break;
                        }
                        if first < to && wanted.may_be_under(&branch.note) {
                            let found = under(branch.child(), first, (from, to), wanted, meter);
                            if found.is_some() {
                                return found;
                            }
                        }
                        next = first;
                    }
                    None
                }
            }
        }
        if from >= to {
            return from;
        }
        match self {
            Self::Empty => None,
            Self::One(only) => in_leaf(std::slice::from_ref(only), 0, from, to, wanted),
            Self::Small(leaf) => in_leaf(leaf.entries(), 0, from, to, wanted),
            Self::Node(child) => under(child, 0, (from, to), wanted, meter),
        }
        .unwrap_or(from)
    }

    /// The rows of `from..to`, if all of them are row tombstones and nothing else.
    pub(crate) fn dead(&self, from: u64, to: u64, arena: &Arena, meter: &Meter) -> Option<DeadRows> {
        fn in_leaf(
            entries: &[RowEntry],
            first: u64,
            (from, to): (u64, u64),
            arena: &Arena,
            dead: &mut DeadRows,
        ) -> bool {
            let skip = from.saturating_sub(first) as usize;
            let take = to.saturating_sub(first) as usize;
            for row in entries.iter().take(take).skip(skip) {
                if !row.is_dead {
                    return false;
                }
                dead.add(&DeadRows {
                    count: 1,
                    digest: row.digest(arena),
                    min_timestamp: row.max_timestamp,
                });
            }
            true
        }
        fn under(
            child: &Child<RowEntry>,
            mut first: u64,
            (from, to): (u64, u64),
            (arena, meter): (&Arena, &Meter),
            dead: &mut DeadRows,
        ) -> bool {
            meter.visited_node();
            match child {
                Child::Leaf(leaf) => in_leaf(leaf.entries(), first, (from, to), arena, dead),
                Child::Inner(inner) => {
                    for branch in inner.branches() {
                        let (note, next) = (&branch.note, first + branch.note.rows);
                        if first >= to {
                            break;
                        }
                        if from <= first && next <= to {
                            if note.dead != note.rows {
                                return false;
                            }
                            dead.add(&DeadRows {
                                count: note.dead,
                                digest: note.dead_digest,
                                min_timestamp: note.dead_min_timestamp,
                            });
                        } else if next > from && !under(branch.child(), first, (from, to), (arena, meter), dead) {
                            return false;
                        }
                        first = next;
                    }
                    true
                }
            }
        }
        let mut dead = DeadRows::NONE;
        let all = from >= to
            || match self {
                Self::Empty => true,
                Self::One(only) => in_leaf(std::slice::from_ref(only), 0, (from, to), arena, &mut dead),
                Self::Small(leaf) => in_leaf(leaf.entries(), 0, (from, to), arena, &mut dead),
                Self::Node(child) => under(child, 0, (from, to), (arena, meter), &mut dead),
            };
        all.then_some(dead)
    }
}
