//! The range tombstones of one partition: at every position the strongest deletion that any of them puts there.
//!
//! The tree holds boundaries. From each boundary up to the next, one deletion is in force, or none; that is how overlapping ranges become
//! intervals that do not overlap. The first boundary is the start of the partition, so that every position lies behind one.
//!
//! Raising a range to a deletion `d` must not cost more when there are many boundaries in it:
//!
//! 1. A boundary is added at the range's start and end, unless what is in force there is as strong as `d` already.
//! 2. All boundaries in the range are raised to at least `d`. For a child that lies wholly in the range this is a note in its parent, the
//!    child's `raise`; only the two edges are followed down to a leaf.
//! 3. What is in force behind a boundary is the strongest of its own deletion and of the raises on the way down to it. A raise stands for all
//!    entries of a child; when the child is split, both parts keep it; a boundary that is added takes over its predecessor's own deletion,
//!    and lies in the same leaf. So raises never have to be pushed down.
//!
//! A parent also keeps the weakest and the strongest deletion in each child. Where they are equal (after a raise over everything below)
//! readers pass over the child as one interval. So adding a range, and finding the next change, take time in the height of the tree.

use std::rc::Rc;

use model::Deletion;

use crate::arena::{Arena, Record};
use crate::meter::Meter;
use crate::tree::{Branch, Child, Entry, Key, Keyed, Note, Tree, own_inner, own_leaf, own_small, search};

/// A boundary.
#[derive(Debug, Clone, Default)]
pub(crate) struct RangeEntry {
    prefix: u64,
    /// The position.
    record: Record,
    /// In force from here to the next boundary, unless a raise above is stronger.
    own: Deletion,
}

impl Keyed for RangeEntry {
    #[inline]
    fn prefix(&self) -> u64 {
        self.prefix
    }
    #[inline]
    fn record(&self) -> Record {
        self.record
    }
}

/// What a parent knows of the boundaries under a child.
#[derive(Debug, Clone)]
pub(crate) struct RangeNote {
    /// At least this is in force behind every boundary of the child.
    raise: Deletion,
    /// The weakest and the strongest deletion in the child, `raise` left out; `None` if it is empty.
    bounds: Option<(Deletion, Deletion)>,
}

impl Default for RangeNote {
    fn default() -> Self {
        Self {
            raise: Deletion::LIVE,
            bounds: None,
        }
    }
}

fn rank(deletion: Deletion) -> (i64, u32) {
    (deletion.timestamp, deletion.local_deletion_time)
}

fn weaker(a: Deletion, b: Deletion) -> Deletion {
    if rank(a) <= rank(b) { a } else { b }
}

fn stronger(a: Deletion, b: Deletion) -> bool {
    rank(a) > rank(b)
}

impl Note for RangeNote {
    fn absorb(&mut self, other: &Self) {
        self.bounds = match (self.bounds, other.bounds) {
            (Some((low, high)), Some((other_low, other_high))) => Some((weaker(low, other_low), high.max(other_high))),
            (bounds, other) => bounds.or(other),
        };
    }

    fn lifted(&self) -> Self {
        let bounds = self
            .bounds
            .map(|(low, high)| (low.max(self.raise), high.max(self.raise)));
        Self {
            raise: Deletion::LIVE,
            bounds,
        }
    }

    fn inherit(&mut self, whole: &Self) {
        self.raise = whole.raise;
    }
}

impl RangeNote {
    /// The one deletion in force in all of the child, if there is one, under raises of `above`.
    fn uniform(&self, above: Deletion) -> Option<Deletion> {
        let (low, high) = self.bounds?;
        let floor = above.max(self.raise);
        (low.max(floor) == high.max(floor)).then_some(low.max(floor))
    }
}

impl Entry for RangeEntry {
    type Note = RangeNote;

    fn note(&self, _: Option<&Self>, _: &Arena) -> RangeNote {
        RangeNote {
            raise: Deletion::LIVE,
            bounds: Some((self.own, self.own)),
        }
    }
}

pub(crate) type RangeTree = Tree<RangeEntry>;

/// From `position` on, in the order of travel, `deletion` is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) position: Record,
    pub(crate) deletion: Deletion,
}

/// What is in force somewhere, and what the boundary there says of it by itself.
#[derive(Debug, Clone, Copy)]
struct InForce {
    effective: Deletion,
    own: Deletion,
}

const NOTHING: InForce = InForce {
    effective: Deletion::LIVE,
    own: Deletion::LIVE,
};

impl RangeTree {
    /// Puts `deletion` in force from `start` up to `end`, wherever nothing stronger is.
    pub(crate) fn delete(&mut self, start: &[u8], end: &[u8], deletion: Deletion, arena: &Arena, meter: &Rc<Meter>) {
        if start >= end || deletion.is_live() {
            return;
        }
        if self.is_empty() {
            self.upsert(Key::of(&[]), arena, meter, |_| Some(RangeEntry::default()));
        }
        if stronger(deletion, self.look_back(end, false, arena, meter).effective) {
            self.add_boundary(end, arena, meter);
        }
        if stronger(deletion, self.look_back(start, true, arena, meter).effective) {
            self.add_boundary(start, arena, meter);
        }
        let (start, end) = (Key::of(start), Key::of(end));
        match self {
            Self::Empty | Self::One(_) => {}
            Self::Small(leaf) => {
                let (from, to) = (
                    count_before(leaf.entries(), start, arena),
                    count_before(leaf.entries(), end, arena),
                );
                raise_all(&mut own_small(leaf)[from..to], deletion);
            }
            Self::Node(child) => raise_under(child, Some(start), Some(end), deletion, arena),
        }
    }

    /// Makes `position` a boundary that changes nothing.
    fn add_boundary(&mut self, position: &[u8], arena: &Arena, meter: &Rc<Meter>) {
        let own = self.look_back(position, true, arena, meter).own;
        let key = Key::of(position);
        self.upsert(key, arena, meter, |there| match there {
            Some(_) => None,
            None => Some(RangeEntry {
                prefix: key.prefix,
                record: arena.add(position, &[]),
                own,
            }),
        });
    }

    /// What is in force at `position`.
    pub(crate) fn deletion_at(&self, position: &[u8], arena: &Arena, meter: &Meter) -> Deletion {
        self.look_back(position, true, arena, meter).effective
    }

    /// What is in force just before `position`.
    pub(crate) fn deletion_before(&self, position: &[u8], arena: &Arena, meter: &Meter) -> Deletion {
        self.look_back(position, false, arena, meter).effective
    }

    /// The last boundary before `position`, or at it if that counts as well.
    fn look_back(&self, position: &[u8], or_at: bool, arena: &Arena, meter: &Meter) -> InForce {
        let key = Key::of(position);
        let in_leaf = |entries: &[RangeEntry], above: Deletion| {
            let end = match search(entries, key, arena) {
                Ok(at) => at + usize::from(or_at),
                Err(at) => at,
            };
            entries[..end].last().map_or(NOTHING, |last| InForce {
                effective: last.own.max(above),
                own: last.own,
            })
        };
        let mut above = Deletion::LIVE;
        let mut child = match self {
            Self::Empty => return NOTHING,
            Self::One(only) => return in_leaf(std::slice::from_ref(only), above),
            Self::Small(leaf) => return in_leaf(leaf.entries(), above),
            Self::Node(child) => child,
        };
        loop {
            meter.visited_node();
            match child {
                Child::Leaf(leaf) => return in_leaf(leaf.entries(), above),
                Child::Inner(inner) => {
                    let branch = &inner.branches()[child_back(inner.branches(), key, or_at, arena)];
                    above = above.max(branch.note.raise);
                    child = branch.child();
                }
            }
        }
    }

    /// Forward: the first change behind `after`, where `current` is in force.
    pub(crate) fn next_change(&self, after: &[u8], current: Deletion, arena: &Arena, meter: &Meter) -> Option<Change> {
        let walk = Walk {
            from: Key::of(after),
            current,
            arena,
            meter,
        };
        match self {
            Self::Empty => None,
            Self::One(only) => walk.next_in_leaf(std::slice::from_ref(only), true, Deletion::LIVE),
            Self::Small(leaf) => walk.next_in_leaf(leaf.entries(), true, Deletion::LIVE),
            Self::Node(child) => walk.next_under(child, true, Deletion::LIVE),
        }
    }

    /// Reverse: the first change before `below`, where `current` is in force.
    pub(crate) fn previous_change(
        &self,
        below: &[u8],
        current: Deletion,
        arena: &Arena,
        meter: &Meter,
    ) -> Option<Change> {
        let walk = Walk {
            from: Key::of(below),
            current,
            arena,
            meter,
        };
        let mut position = Record::NULL;
        let deletion = match self {
            Self::Empty => None,
            Self::One(only) => walk.previous_in_leaf(std::slice::from_ref(only), true, Deletion::LIVE, &mut position),
            Self::Small(leaf) => walk.previous_in_leaf(leaf.entries(), true, Deletion::LIVE, &mut position),
            Self::Node(child) => walk.previous_under(child, true, Deletion::LIVE, &mut position),
        }?;
        Some(Change { position, deletion })
    }
}

/// A search for the next place where something else than `current` is in force. The argument `edge` of its functions says that `from`
/// lies under the node: nodes off the edge are walked whole.
struct Walk<'a> {
    from: Key<'a>,
    current: Deletion,
    arena: &'a Arena,
    meter: &'a Meter,
}

impl Walk<'_> {
    fn next_in_leaf(&self, entries: &[RangeEntry], edge: bool, above: Deletion) -> Option<Change> {
        let first = match edge.then(|| search(entries, self.from, self.arena)) {
            None => 0,
            Some(Ok(at)) => at + 1,
            Some(Err(at)) => at,
        };
        let found = entries[first..]
            .iter()
            .find(|entry| entry.own.max(above) != self.current)?;
        Some(Change {
            position: found.record,
            deletion: found.own.max(above),
        })
    }

    fn next_under(&self, child: &Child<RangeEntry>, edge: bool, above: Deletion) -> Option<Change> {
        self.meter.visited_node();
        let inner = match child {
            Child::Leaf(leaf) => return self.next_in_leaf(leaf.entries(), edge, above),
            Child::Inner(inner) => inner,
        };
        let first = if edge {
            inner.child_index(self.from, self.arena)
        } else {
            0
        };
        inner.branches()[first..].iter().enumerate().find_map(|(at, branch)| {
            let edge = edge && at == 0;
            match branch.note.uniform(above) {
                Some(deletion) if deletion == self.current => None,
                Some(deletion) if !edge => Some(Change {
                    position: branch.record(),
                    deletion,
                }),
                _ => self.next_under(branch.child(), edge, above.max(branch.note.raise)),
            }
        })
    }

    /// Moves `position` to the first boundary from which `current` is in force, and gives what is in force before it.
    fn previous_in_leaf(
        &self,
        entries: &[RangeEntry],
        edge: bool,
        above: Deletion,
        position: &mut Record,
    ) -> Option<Deletion> {
        let end = if edge {
            count_before(entries, self.from, self.arena)
        } else {
            entries.len()
        };
        entries[..end].iter().rev().find_map(|entry| {
            let deletion = entry.own.max(above);
            if deletion == self.current {
                *position = entry.record;
                return None;
            }
            Some(deletion)
        })
    }

    fn previous_under(
        &self,
        child: &Child<RangeEntry>,
        edge: bool,
        above: Deletion,
        position: &mut Record,
    ) -> Option<Deletion> {
        self.meter.visited_node();
        let inner = match child {
            Child::Leaf(leaf) => return self.previous_in_leaf(leaf.entries(), edge, above, position),
            Child::Inner(inner) => inner,
        };
        let branches = inner.branches();
        let last = if edge {
            child_back(branches, self.from, false, self.arena)
        } else {
            branches.len() - 1
        };
        branches[..=last].iter().enumerate().rev().find_map(|(at, branch)| {
            let edge = edge && at == last;
            match branch.note.uniform(above) {
                Some(deletion) if deletion == self.current => {
                    *position = branch.record();
                    None
                }
                Some(deletion) if !edge => Some(deletion),
                _ => self.previous_under(branch.child(), edge, above.max(branch.note.raise), position),
            }
        })
    }
}

fn count_before<K: Keyed>(items: &[K], key: Key<'_>, arena: &Arena) -> usize {
    search(items, key, arena).unwrap_or_else(|at| at)
}

/// The child that holds the last boundary before `key`, or at it if that counts as well.
fn child_back(branches: &[Branch<RangeEntry>], key: Key<'_>, or_at: bool, arena: &Arena) -> usize {
    match search(&branches[1..], key, arena) {
        Ok(at) => at + usize::from(or_at),
        Err(at) => at,
    }
}

fn raise_all(entries: &mut [RangeEntry], deletion: Deletion) {
    for entry in entries {
        entry.own = entry.own.max(deletion);
    }
}

/// Raises all boundaries from `start` (`None`: from the first) up to `end` (`None`: to the last).
fn raise_under(
    child: &mut Child<RangeEntry>,
    start: Option<Key<'_>>,
    end: Option<Key<'_>>,
    deletion: Deletion,
    arena: &Arena,
) {
    match child {
        Child::Leaf(leaf) => {
            let leaf = own_leaf(leaf);
            leaf.meter().visited_node();
            let from = start.map_or(0, |key| count_before(leaf.entries(), key, arena));
            let to = end.map_or(leaf.entries().len(), |key| count_before(leaf.entries(), key, arena));
            raise_all(&mut leaf.entries_mut()[from..to], deletion);
        }
        Child::Inner(inner) => {
            let inner = own_inner(inner);
            inner.meter().visited_node();
            // Children `from..to` lie wholly in the range; the one before `from`, or the last before the end, in part.
            let (from, partly_before) = match start.map(|key| search(inner.branches(), key, arena)) {
                None => (0, None),
                Some(Ok(at)) => (at, None),
                Some(Err(at)) => (at, at.checked_sub(1)),
            };
            let (to, partly_behind) = match end.map(|key| search(inner.branches(), key, arena)) {
                None => (inner.branches().len(), None),
                Some(Ok(at)) => (at, None),
                Some(Err(at)) => (at.saturating_sub(1), at.checked_sub(1)),
            };
            let branches = inner.branches_mut();
            let mut descend = |at: usize, start, end| {
                let (child, note) = branches[at].parts_mut();
                raise_under(child, start, end, deletion, arena);
                let raise = note.raise;
                *note = child.note(arena);
                note.raise = raise;
            };
            match (partly_before, partly_behind) {
                (Some(before), Some(behind)) if before == behind => descend(before, start, end),
                (before, behind) => {
                    if let Some(at) = before {
                        descend(at, start, None);
                    }
                    if let Some(at) = behind {
                        descend(at, None, end);
                    }
                }
            }
            for branch in branches.get_mut(from..to).unwrap_or_default() {
                branch.note.raise = branch.note.raise.max(deletion);
            }
        }
    }
}

#[cfg(test)]
mod tests;
