//! A B+tree with small nodes that readers share by cloning its root.
//!
//! 1. Entries are ordered by an inline prefix of eight bytes, then by the key in the arena. Nothing is ever removed.
//! 2. A node that only the tree holds is changed in place; one that a reader holds is copied first, and so is the path to it. A reader
//!    therefore sees the tree as it was when it cloned the root, and a tree without readers copies nothing.
//! 3. Trees of few entries are small: one entry lies in the root itself, then comes a leaf of 2, 4, 8, 16 slots. Full leaves have
//!    [`LEAF_SLOTS`], inner nodes [`INNER_SLOTS`].
//! 4. At both edges of the tree a full node is split where the new entry goes, so that ascending and descending ids leave full nodes behind
//!    them; elsewhere nodes are split in the middle.
//! 5. The parent keeps a [`Note`] of each child: what the child holds, summed up, so that whole subtrees can be passed over.
//!
//! Separators: the key of child `i > 0` is exactly the smallest key under it. That of child 0 is never consulted, and may be out of date
//! along the tree's left edge, where smaller keys arrive.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::arena::{Arena, Record};
use crate::meter::{Head, Meter, RC_HEADER_BYTES};

/// Slots of a full leaf.
pub(crate) const LEAF_SLOTS: usize = 32;
/// Slots of an inner node: fewer, because copying one touches the reference count of every child.
pub(crate) const INNER_SLOTS: usize = 16;

/// A key to search for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) prefix: u64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Key<'a> {
    /// A key whose prefix is its first eight bytes, padded with zeros: equal prefixes decide nothing, different ones everything.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let prefix = match bytes.first_chunk::<8>() {
            Some(first) => u64::from_be_bytes(*first),
            None => {
                let mut first = [0; 8];
                first[..bytes.len()].copy_from_slice(bytes);
                u64::from_be_bytes(first)
            }
        };
        Self { prefix, bytes }
    }

    #[inline]
    pub(crate) fn compare(self, to: &impl Keyed, arena: &Arena) -> Ordering {
        self.prefix
            .cmp(&to.prefix())
            .then_with(|| self.bytes.cmp(key_of(to, arena)))
    }
}

/// Something with a key: its prefix inline, the whole of it in the arena.
pub(crate) trait Keyed {
    fn prefix(&self) -> u64;
    fn record(&self) -> Record;
}

/// The key of an item of a tree, in the arena of that tree's memtable.
#[inline]
pub(crate) fn key_of<'a>(item: &impl Keyed, arena: &'a Arena) -> &'a [u8] {
    // SAFETY: trees hold records of their own memtable's arena only, and are only used together with it.
    unsafe { arena.key(item.record()) }
}

/// An entry of a leaf.
pub(crate) trait Entry: Keyed + Clone + Default {
    type Note: Note;
    /// What this entry adds to the notes above it; `old` is the one with the same key that it replaces.
    fn note(&self, old: Option<&Self>, arena: &Arena) -> Self::Note;
}

/// What a parent knows of a child; the default is that of an empty child.
pub(crate) trait Note: Clone + Default {
    /// Adds what `other` says of more entries.
    fn absorb(&mut self, other: &Self);
    /// This note as part of the note of the node it stands in.
    fn lifted(&self) -> Self;
    /// Makes this the note of one part of a child that was split, `whole` being the note before.
    fn inherit(&mut self, whole: &Self);
}

impl Note for () {
    fn absorb(&mut self, (): &()) {}
    fn lifted(&self) {}
    fn inherit(&mut self, (): &()) {}
}

/// A leaf of `[E; LEAF_SLOTS]`, or of fewer as the root of a small tree.
pub(crate) struct Leaf<A: ?Sized> {
    head: Head,
    slots: A,
}

impl<E> Leaf<[E]> {
    pub(crate) fn entries(&self) -> &[E] {
        &self.slots[..self.head.len as usize]
    }
}

impl<E> Leaf<[E; LEAF_SLOTS]> {
    pub(crate) fn meter(&self) -> &Rc<Meter> {
        self.head.meter()
    }

    pub(crate) fn entries(&self) -> &[E] {
        &self.slots[..self.head.len as usize]
    }

    /// For changes that leave keys and length alone.
    pub(crate) fn entries_mut(&mut self) -> &mut [E] {
        &mut self.slots[..self.head.len as usize]
    }
}

impl<E: Entry, const N: usize> Leaf<[E; N]> {
    fn with(meter: &Rc<Meter>, len: usize, mut entries: impl Iterator<Item = E>) -> Rc<Self> {
        let slots = std::array::from_fn(|_| entries.next().unwrap_or_default());
        Rc::new(Self {
            head: Head::new(meter, RC_HEADER_BYTES + size_of::<Self>(), len),
            slots,
        })
    }
}

pub(crate) type FullLeaf<E> = Leaf<[E; LEAF_SLOTS]>;

/// A child of an inner node, with its smallest key.
#[derive(Clone)]
pub(crate) struct Branch<E: Entry> {
    prefix: u64,
    record: Record,
    child: Option<Child<E>>,
    pub(crate) note: E::Note,
}

impl<E: Entry> Default for Branch<E> {
    fn default() -> Self {
        Self {
            prefix: 0,
            record: Record::NULL,
            child: None,
            note: E::Note::default(),
        }
    }
}

impl<E: Entry> Branch<E> {
    fn over(child: Child<E>, note: E::Note) -> Self {
        let (prefix, record) = child.first_key();
        Self {
            prefix,
            record,
            child: Some(child),
            note,
        }
    }

    pub(crate) fn child(&self) -> &Child<E> {
        self.child.as_ref().expect("a slot in use has a child")
    }

    /// The child and its note, both to be changed.
    pub(crate) fn parts_mut(&mut self) -> (&mut Child<E>, &mut E::Note) {
        (self.child.as_mut().expect("a slot in use has a child"), &mut self.note)
    }
}

impl<E: Entry> Keyed for Branch<E> {
    #[inline]
    fn prefix(&self) -> u64 {
        self.prefix
    }
    #[inline]
    fn record(&self) -> Record {
        self.record
    }
}

/// A node above the leaves.
pub(crate) struct Inner<E: Entry> {
    head: Head,
    slots: [Branch<E>; INNER_SLOTS],
}

impl<E: Entry> Inner<E> {
    fn with(meter: &Rc<Meter>, branches: &[Branch<E>]) -> Rc<Self> {
        Rc::new(Self {
            head: Head::new(meter, RC_HEADER_BYTES + size_of::<Self>(), branches.len()),
            slots: std::array::from_fn(|at| branches.get(at).cloned().unwrap_or_default()),
        })
    }

    pub(crate) fn meter(&self) -> &Rc<Meter> {
        self.head.meter()
    }

    pub(crate) fn branches(&self) -> &[Branch<E>] {
        &self.slots[..self.head.len as usize]
    }

    /// For changes that leave keys and length alone.
    pub(crate) fn branches_mut(&mut self) -> &mut [Branch<E>] {
        &mut self.slots[..self.head.len as usize]
    }

    /// The child under which `key` lies.
    #[inline]
    pub(crate) fn child_index(&self, key: Key<'_>, arena: &Arena) -> usize {
        let later = &self.branches()[1..];
        match search(later, key, arena) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }
}

/// A node.
pub(crate) enum Child<E: Entry> {
    Leaf(Rc<FullLeaf<E>>),
    Inner(Rc<Inner<E>>),
}

impl<E: Entry> Clone for Child<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(Rc::clone(leaf)),
            Self::Inner(inner) => Self::Inner(Rc::clone(inner)),
        }
    }
}

impl<E: Entry> Child<E> {
    fn first_key(&self) -> (u64, Record) {
        match self {
            Self::Leaf(leaf) => (leaf.slots[0].prefix(), leaf.slots[0].record()),
            Self::Inner(inner) => (inner.slots[0].prefix, inner.slots[0].record),
        }
    }

    /// The node's note, from what is in it.
    pub(crate) fn note(&self, arena: &Arena) -> E::Note {
        let mut note = E::Note::default();
        match self {
            Self::Leaf(leaf) => leaf
                .entries()
                .iter()
                .for_each(|entry| note.absorb(&entry.note(None, arena))),
            Self::Inner(inner) => inner
                .branches()
                .iter()
                .for_each(|branch| note.absorb(&branch.note.lifted())),
        }
        note
    }

    /// Frees the node and gives its children and entries one by one; a node that a reader holds is left to the reader. Returns the
    /// number of slots that were in use.
    pub(crate) fn dismantle(self, mut each: impl FnMut(Part<E>)) -> usize {
        match self {
            Self::Leaf(leaf) => {
                if let Ok(mut leaf) = Rc::try_unwrap(leaf) {
                    let entries = leaf.entries_mut();
                    entries
                        .iter_mut()
                        .for_each(|entry| each(Part::Entry(std::mem::take(entry))));
                    return entries.len();
                }
            }
            Self::Inner(inner) => {
                if let Ok(mut inner) = Rc::try_unwrap(inner) {
                    let branches = inner.branches_mut();
                    branches
                        .iter_mut()
                        .filter_map(|branch| branch.child.take())
                        .for_each(|child| each(Part::Child(child)));
                    return branches.len();
                }
            }
        }
        1
    }
}

/// What a node was made of.
pub(crate) enum Part<E: Entry> {
    Child(Child<E>),
    Entry(E),
}

/// The leaf for changing: itself if no reader holds it, else a copy.
pub(crate) fn own_leaf<E: Entry>(leaf: &mut Rc<FullLeaf<E>>) -> &mut FullLeaf<E> {
    if Rc::strong_count(leaf) != 1 {
        let meter = leaf.head.meter();
        meter.copied_node();
        *leaf = Leaf::with(meter, leaf.entries().len(), leaf.entries().iter().cloned());
    }
    Rc::get_mut(leaf).expect("no one else holds this leaf")
}

/// The leaf of a small tree for changing its entries, not their number: itself if no reader holds it, else a copy.
pub(crate) fn own_small<E: Entry>(leaf: &mut Rc<Leaf<[E]>>) -> &mut [E] {
    if Rc::strong_count(leaf) != 1 {
        let meter = leaf.head.meter();
        meter.copied_node();
        *leaf = small_leaf(meter, leaf.entries().len(), leaf.entries().iter().cloned());
    }
    let leaf = Rc::get_mut(leaf).expect("no one else holds this leaf");
    &mut leaf.slots[..leaf.head.len as usize]
}

/// The inner node for changing: itself if no reader holds it, else a copy.
pub(crate) fn own_inner<E: Entry>(inner: &mut Rc<Inner<E>>) -> &mut Inner<E> {
    if Rc::strong_count(inner) != 1 {
        let meter = inner.head.meter();
        meter.copied_node();
        *inner = Inner::with(meter, inner.branches());
    }
    Rc::get_mut(inner).expect("no one else holds this node")
}

/// Finds `key` among ordered items; both ends are looked at first, because that is where ids of messages arrive.
#[inline]
pub(crate) fn search<K: Keyed>(items: &[K], key: Key<'_>, arena: &Arena) -> Result<usize, usize> {
    let [first, .., last] = items else {
        return match items.first().map(|only| key.compare(only, arena)) {
            None | Some(Ordering::Less) => Err(0),
            Some(Ordering::Equal) => Ok(0),
            Some(Ordering::Greater) => Err(1),
        };
    };
    match key.compare(first, arena) {
        Ordering::Less => return Err(0),
        Ordering::Equal => return Ok(0),
        Ordering::Greater => {}
    }
    match key.compare(last, arena) {
        Ordering::Greater => return Err(items.len()),
        Ordering::Equal => return Ok(items.len() - 1),
        Ordering::Less => {}
    }
    // items[low] < key < items[high]
    let (mut low, mut high) = (0, items.len() - 1);
    while high - low > 1 {
        let middle = low.midpoint(high);
        match key.compare(&items[middle], arena) {
            Ordering::Less => high = middle,
            Ordering::Equal => return Ok(middle),
            Ordering::Greater => low = middle,
        }
    }
    Err(high)
}

/// Whether a node lies on the left or the right edge of its tree.
#[derive(Clone, Copy)]
struct Edge {
    left: bool,
    right: bool,
}

impl Edge {
    fn of_child(self, index: usize, len: usize) -> Self {
        Self {
            left: self.left && index == 0,
            right: self.right && index + 1 == len,
        }
    }

    /// Where a full node of `len` is split for an item that goes to `index`: the place, and whether the item goes into the left part.
    fn split(self, index: usize, len: usize) -> (usize, bool) {
        if self.left && index <= len / 4 {
            (index, true)
        } else if self.right && index >= len - len / 4 {
            (index, false)
        } else {
            (len / 2, index <= len / 2)
        }
    }
}

fn insert_at<T>(slots: &mut [T], head: &mut Head, index: usize, item: T) {
    let len = head.len as usize;
    slots[index..=len].rotate_right(1);
    slots[index] = item;
    head.len += 1;
}

/// Splits full `slots` for `item`; returns the right part.
fn split_for<T: Default, const N: usize>(
    slots: &mut [T; N],
    head: &mut Head,
    index: usize,
    item: T,
    edge: Edge,
    node_bytes: usize,
) -> (Head, [T; N]) {
    let (at, goes_left) = edge.split(index, N);
    let mut right: [T; N] = std::array::from_fn(|_| T::default());
    for (to, from) in right.iter_mut().zip(&mut slots[at..]) {
        *to = std::mem::take(from);
    }
    let mut right_head = Head::new(head.meter(), node_bytes, N - at);
    head.len = at as u32;
    if goes_left {
        insert_at(slots, head, index, item);
    } else {
        insert_at(&mut right, &mut right_head, index - at, item);
    }
    (right_head, right)
}

/// What an insertion did below.
struct Inserted<E: Entry> {
    new: bool,
    /// What the notes above must absorb.
    note: E::Note,
    /// A new right sibling.
    split: Option<Child<E>>,
}

/// The root, which is the whole tree: cloning it takes a snapshot.
#[derive(Default)]
pub(crate) enum Tree<E: Entry> {
    #[default]
    Empty,
    One(E),
    Small(Rc<Leaf<[E]>>),
    Node(Child<E>),
}

impl<E: Entry> Clone for Tree<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::One(entry) => Self::One(entry.clone()),
            Self::Small(leaf) => Self::Small(Rc::clone(leaf)),
            Self::Node(child) => Self::Node(child.clone()),
        }
    }
}

/// A leaf for `len` entries of a tree that has no more.
fn small_leaf<E: Entry>(meter: &Rc<Meter>, len: usize, entries: impl Iterator<Item = E>) -> Rc<Leaf<[E]>> {
    match len {
        0..=2 => Leaf::<[E; 2]>::with(meter, len, entries),
        3..=4 => Leaf::<[E; 4]>::with(meter, len, entries),
        5..=8 => Leaf::<[E; 8]>::with(meter, len, entries),
        _ => Leaf::<[E; 16]>::with(meter, len, entries),
    }
}

impl<E: Entry> Tree<E> {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether dropping this handle frees many nodes: no one else holds the root, and there are nodes under it.
    pub(crate) fn is_last_of_many(&self) -> bool {
        matches!(self, Self::Node(Child::Inner(inner)) if Rc::strong_count(inner) == 1)
    }

    /// Takes the tree apart down to its root's node.
    pub(crate) fn dismantle(self, mut each: impl FnMut(Part<E>)) {
        match self {
            Self::Empty => {}
            Self::One(only) => each(Part::Entry(only)),
            Self::Small(mut leaf) => {
                if let Some(leaf) = Rc::get_mut(&mut leaf) {
                    leaf.slots
                        .iter_mut()
                        .take(leaf.head.len as usize)
                        .for_each(|entry| each(Part::Entry(std::mem::take(entry))));
                }
            }
            Self::Node(child) => each(Part::Child(child)),
        }
    }

    /// Inserts or replaces the entry of `key`. `make` gets the one that is there, and gives the one to be there, or `None` to leave
    /// all as it is. Returns true if the key is new.
    pub(crate) fn upsert(
        &mut self,
        key: Key<'_>,
        arena: &Arena,
        meter: &Rc<Meter>,
        make: impl FnOnce(Option<&E>) -> Option<E>,
    ) -> bool {
        match self {
            Self::Empty => match make(None) {
                Some(entry) => {
                    *self = Self::One(entry);
                    true
                }
                None => false,
            },
            Self::One(only) => {
                let order = key.compare(only, arena);
                if order == Ordering::Equal {
                    if let Some(entry) = make(Some(only)) {
                        *only = entry;
                    }
                    return false;
                }
                let Some(entry) = make(None) else { return false };
                let pair = if order == Ordering::Less {
                    [entry, only.clone()]
                } else {
                    [only.clone(), entry]
                };
                *self = Self::Small(small_leaf(meter, 2, pair.into_iter()));
                true
            }
            Self::Small(leaf) => {
                let place = search(leaf.entries(), key, arena);
                let Some(entry) = make(place.ok().map(|at| &leaf.entries()[at])) else {
                    return false;
                };
                let shared = Rc::strong_count(leaf) != 1;
                match place {
                    Ok(at) => {
                        own_small(leaf)[at] = entry;
                        false
                    }
                    Err(at) => {
                        let room = leaf.slots.len() > leaf.head.len as usize;
                        if room && !shared {
                            let leaf = Rc::get_mut(leaf).expect("no one else holds this leaf");
                            insert_at(&mut leaf.slots, &mut leaf.head, at, entry);
                            return true;
                        }
                        if shared {
                            meter.copied_node();
                        }
                        let len = leaf.entries().len() + 1;
                        let (before, behind) = leaf.entries().split_at(at);
                        let entries = before.iter().cloned().chain([entry]).chain(behind.iter().cloned());
                        *self = if len <= LEAF_SLOTS / 2 {
                            Self::Small(small_leaf(meter, len, entries))
                        } else {
                            Self::Node(Child::Leaf(Leaf::with(meter, len, entries)))
                        };
                        true
                    }
                }
            }
            Self::Node(child) => {
                let inserted = upsert_under(
                    child,
                    Edge {
                        left: true,
                        right: true,
                    },
                    key,
                    arena,
                    make,
                );
                if let Some(right) = inserted.split {
                    let left = child.clone();
                    let branches = [
                        Branch::over(left.clone(), left.note(arena)),
                        Branch::over(right.clone(), right.note(arena)),
                    ];
                    *child = Child::Inner(Inner::with(meter, &branches));
                }
                inserted.new
            }
        }
    }

    /// The entry of `key`, for changes that leave its key alone. The tree must have no readers and its notes must not depend on the change.
    pub(crate) fn get_mut(&mut self, key: Key<'_>, arena: &Arena) -> Option<&mut E> {
        let mut child = match self {
            Self::Empty => return None,
            Self::One(only) => return (key.compare(only, arena) == Ordering::Equal).then_some(only),
            Self::Small(leaf) => {
                let at = search(leaf.entries(), key, arena).ok()?;
                return Some(&mut Rc::get_mut(leaf).expect("this tree has no readers").slots[at]);
            }
            Self::Node(child) => child,
        };
        loop {
            match child {
                Child::Inner(inner) => {
                    let inner = Rc::get_mut(inner).expect("this tree has no readers");
                    let at = inner.child_index(key, arena);
                    child = inner.slots[at].child.as_mut().expect("a slot in use has a child");
                }
                Child::Leaf(leaf) => {
                    let at = search(leaf.entries(), key, arena).ok()?;
                    return Some(&mut Rc::get_mut(leaf).expect("this tree has no readers").slots[at]);
                }
            }
        }
    }

    pub(crate) fn get(&self, key: Key<'_>, arena: &Arena) -> Option<&E> {
        let mut child = match self {
            Self::Empty => return None,
            Self::One(only) => return (key.compare(only, arena) == Ordering::Equal).then_some(only),
            Self::Small(leaf) => return search(leaf.entries(), key, arena).ok().map(|at| &leaf.entries()[at]),
            Self::Node(child) => child,
        };
        loop {
            match child {
                Child::Inner(inner) => child = inner.branches()[inner.child_index(key, arena)].child(),
                Child::Leaf(leaf) => return search(leaf.entries(), key, arena).ok().map(|at| &leaf.entries()[at]),
            }
        }
    }

    /// The first entry after `key`, or the very first.
    pub(crate) fn first_after(&self, key: Option<Key<'_>>, arena: &Arena) -> Option<&E> {
        fn place<K: Keyed>(items: &[K], key: Option<Key<'_>>, arena: &Arena) -> usize {
            key.map_or(0, |key| search(items, key, arena).map_or_else(|at| at, |at| at + 1))
        }
        fn under<'a, E: Entry>(child: &'a Child<E>, key: Option<Key<'_>>, arena: &Arena) -> Option<&'a E> {
            match child {
                Child::Leaf(leaf) => leaf.entries().get(place(leaf.entries(), key, arena)),
                Child::Inner(inner) => {
                    let at = key.map_or(0, |key| inner.child_index(key, arena));
                    // All keys under the next child are larger, so the second look ends at its first entry.
                    under(inner.branches()[at].child(), key, arena)
                        .or_else(|| under(inner.branches().get(at + 1)?.child(), None, arena))
                }
            }
        }
        match self {
            Self::Empty => None,
            Self::One(only) => key
                .is_none_or(|key| key.compare(only, arena) == Ordering::Less)
                .then_some(only),
            Self::Small(leaf) => leaf.entries().get(place(leaf.entries(), key, arena)),
            Self::Node(child) => under(child, key, arena),
        }
    }
}

fn upsert_under<E: Entry>(
    child: &mut Child<E>,
    edge: Edge,
    key: Key<'_>,
    arena: &Arena,
    make: impl FnOnce(Option<&E>) -> Option<E>,
) -> Inserted<E> {
    match child {
        Child::Leaf(leaf) => {
            let place = search(leaf.entries(), key, arena);
            let Some(entry) = make(place.ok().map(|at| &leaf.entries()[at])) else {
                return Inserted {
                    new: false,
                    note: E::Note::default(),
                    split: None,
                };
            };
            let leaf = own_leaf(leaf);
            let note = entry.note(place.ok().map(|at| &leaf.entries()[at]), arena);
            match place {
                Ok(at) => {
                    leaf.slots[at] = entry;
                    Inserted {
                        new: false,
                        note,
                        split: None,
                    }
                }
                Err(at) if (leaf.head.len as usize) < LEAF_SLOTS => {
                    insert_at(&mut leaf.slots, &mut leaf.head, at, entry);
                    Inserted {
                        new: true,
                        note,
                        split: None,
                    }
                }
                Err(at) => {
                    let bytes = RC_HEADER_BYTES + size_of::<FullLeaf<E>>();
                    let (head, slots) = split_for(&mut leaf.slots, &mut leaf.head, at, entry, edge, bytes);
                    Inserted {
                        new: true,
                        note,
                        split: Some(Child::Leaf(Rc::new(Leaf { head, slots }))),
                    }
                }
            }
        }
        Child::Inner(inner) => {
            let inner = own_inner(inner);
            let at = inner.child_index(key, arena);
            let edge_below = edge.of_child(at, inner.head.len as usize);
            let branch = &mut inner.slots[at];
            let below = branch.child.as_mut().expect("a slot in use has a child");
            let Inserted { new, note, split } = upsert_under(below, edge_below, key, arena, make);
            let Some(right) = split else {
                branch.note.absorb(&note);
                return Inserted { new, note, split: None };
            };
            let mut left_note = below.note(arena);
            left_note.inherit(&branch.note);
            let mut right_note = right.note(arena);
            right_note.inherit(&branch.note);
            branch.note = left_note;
            let sibling = Branch::over(right, right_note);
            if (inner.head.len as usize) < INNER_SLOTS {
                insert_at(&mut inner.slots, &mut inner.head, at + 1, sibling);
                return Inserted { new, note, split: None };
            }
            let bytes = RC_HEADER_BYTES + size_of::<Inner<E>>();
            let (head, slots) = split_for(&mut inner.slots, &mut inner.head, at + 1, sibling, edge, bytes);
            Inserted {
                new,
                note,
                split: Some(Child::Inner(Rc::new(Inner { head, slots }))),
            }
        }
    }
}

#[cfg(test)]
mod tests;
