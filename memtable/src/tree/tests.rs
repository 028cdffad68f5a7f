//! Structure of the tree: order, separators, notes, fill, copies.

use std::collections::BTreeMap;

use super::*;
use crate::rows::{RowEntry, RowTree, Wanted};
use model::{DeadRows, KeySeed};

fn is_dead(timestamp: i64) -> bool {
    timestamp % 25 != 0
}

fn seed() -> KeySeed {
    KeySeed::of_host(&[7; 16])
}

struct Bed {
    meter: Rc<Meter>,
    arena: Arena,
    tree: RowTree,
}

impl Bed {
    fn new() -> Self {
        let meter = Rc::new(Meter::default());
        Self {
            arena: Arena::new(Rc::clone(&meter), seed()),
            meter,
            tree: RowTree::default(),
        }
    }

    /// Rows of most timestamps are dead, so that a newer one may bring a row back, or away.
    fn insert(&mut self, key: &[u8], timestamp: i64) -> bool {
        let prefix = Key::of(key).prefix;
        self.tree.upsert(Key::of(key), &self.arena, &self.meter, |there| {
            let record = there.map_or_else(|| self.arena.add(key, &[]), |there| there.record);
            let max_timestamp = there.map_or(timestamp, |there| there.max_timestamp.max(timestamp));
            Some(RowEntry {
                prefix,
                max_timestamp,
                is_dead: is_dead(max_timestamp),
                record,
            })
        })
    }

    /// All keys with their timestamps, in the order of the tree.
    fn content(&self, tree: &RowTree) -> Vec<(Vec<u8>, i64)> {
        (0..tree.row_count())
            .map(|rank| {
                let run = tree.run_at(rank);
                let row = run.row(rank).expect("a rank below the count has a row");
                (key_of(row, &self.arena).to_vec(), row.max_timestamp)
            })
            .collect()
    }

    /// Checks what the module's page promises; returns (leaves, slots in use in leaves, height).
    fn check(&self) -> (usize, usize, usize) {
        match &self.tree {
            Tree::Empty => (0, 0, 0),
            Tree::One(_) => (1, 1, 1),
            Tree::Small(leaf) => {
                assert!(leaf.entries().len() >= 2);
                (1, leaf.entries().len(), 1)
            }
            Tree::Node(child) => self.check_under(child, true),
        }
    }

    fn check_under(&self, child: &Child<RowEntry>, left_edge: bool) -> (usize, usize, usize) {
        match child {
            Child::Leaf(leaf) => {
                let keys: Vec<&[u8]> = leaf.entries().iter().map(|e| key_of(e, &self.arena)).collect();
                assert!(!keys.is_empty() && keys.is_sorted_by(|a, b| a < b));
                (1, keys.len(), 1)
            }
            Child::Inner(inner) => {
                let mut sum = (0, 0, 0);
                assert!(!inner.branches().is_empty());
                for (at, branch) in inner.branches().iter().enumerate() {
                    let left_edge = left_edge && at == 0;
                    let below = self.check_under(branch.child(), left_edge);
                    let (note, expected) = (&branch.note, branch.child().note(&self.arena));
                    assert!(
                        note.is_of(&expected),
                        "a note is out of date: {note:?}, not {expected:?}"
                    );
                    if !left_edge {
                        let (prefix, record) = first_key(branch.child());
                        assert_eq!(
                            (branch.prefix, branch.record),
                            (prefix, record),
                            "a separator is not its child's first key"
                        );
                    }
                    assert!(sum.2 == 0 || sum.2 == below.2, "leaves lie at different depths");
                    sum = (sum.0 + below.0, sum.1 + below.1, below.2);
                }
                (sum.0, sum.1, sum.2 + 1)
            }
        }
    }
}

fn first_key(child: &Child<RowEntry>) -> (u64, Record) {
    match child {
        Child::Leaf(leaf) => (leaf.entries()[0].prefix, leaf.entries()[0].record),
        Child::Inner(inner) => first_key(inner.branches()[0].child()),
    }
}

/// A small generator: tests of structure need no more.
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ (n >> 29)
}

fn key(id: u64) -> Vec<u8> {
    // Twelve bytes, the first ten often equal: prefixes tie.
    [
        &[0x80][..],
        b"ring",
        &(id / 5000).to_be_bytes()[5..],
        &(id % 5000).to_be_bytes()[4..],
    ]
    .concat()
}

#[test]
fn holds_its_structure_whatever_the_order() {
    type Order = fn(u64) -> u64;
    let orders: [(&str, Order); 5] = [
        ("ascending", |i| i),
        ("descending", |i| 1_000_000 - i),
        ("newest first, out of order", |i| 1_000_000 - i + mix(i) % 6),
        (
            "from the middle",
            |i| if i % 2 == 0 { 500_000 + i } else { 500_000 - i },
        ),
        ("random", |i| mix(i) % 20_000),
    ];
    let n = if cfg!(miri) { 110 } else { 6000 };
    for (name, order) in orders {
        let (mut bed, mut naive) = (Bed::new(), BTreeMap::new());
        for i in 0..n {
            let (key, timestamp) = (key(order(i)), (mix(i) % 1000) as i64);
            let newest = naive.get(&key).map_or(timestamp, |old: &i64| timestamp.max(*old));
            assert_eq!(
                bed.insert(&key, timestamp),
                naive.insert(key.clone(), newest).is_none(),
                "{name}"
            );
            if i % 97 == 0 || (i < 200 && !cfg!(miri)) {
                bed.check();
                assert_eq!(bed.tree.row_count(), naive.len() as u64);
            }
        }
        bed.check();
        assert_eq!(
            bed.content(&bed.tree),
            naive.clone().into_iter().collect::<Vec<_>>(),
            "{name}"
        );
        for i in 0..n {
            let key = key(order(i) + i % 3);
            let rank = naive.range(..key.clone()).count() as u64;
            if i % 31 == 0 {
                assert_eq!(bed.tree.rank_of(&key, &bed.arena), rank, "{name}");
                let found = bed.tree.get(Key::of(&key), &bed.arena).map(|e| e.max_timestamp);
                assert_eq!(found, naive.get(&key).copied());
                let next = bed
                    .tree
                    .first_after(Some(Key::of(&key)), &bed.arena)
                    .map(|e| key_of(e, &bed.arena).to_vec());
                assert_eq!(
                    next.as_ref(),
                    naive.range(key.clone()..).map(|(k, _)| k).find(|k| **k != key)
                );
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "needs more rows than the interpreter has time for")]
fn ids_at_an_edge_leave_full_leaves_behind() {
    let orders: [fn(u64) -> u64; 4] = [
        |i| i,
        |i| 1_000_000 - i,
        |i| i * 8 + mix(i) % 24,
        |i| 1_000_000 - i * 8 - mix(i) % 24,
    ];
    for (at, order) in orders.into_iter().enumerate() {
        let mut bed = Bed::new();
        for i in 0..5000 {
            bed.insert(&key(order(i)), 1);
        }
        let (leaves, slots, height) = bed.check();
        let fill = slots as f64 / (leaves * LEAF_SLOTS) as f64;
        assert!(
            fill > if at < 2 { 0.99 } else { 0.75 },
            "order {at}: leaves are {fill} full"
        );
        assert!(height <= 4, "height {height}");
    }
}

#[test]
fn copies_only_what_a_reader_holds() {
    let mut bed = Bed::new();
    for i in 0..if cfg!(miri) { 300 } else { 20_000 } {
        bed.insert(&key(mix(i) % 100_000), 1);
    }
    assert_eq!(
        bed.meter.work().nodes_copied,
        0,
        "a tree without readers copies nothing"
    );
    let (_, _, height) = bed.check();
    let before = bed.content(&bed.tree);
    let snapshot = bed.tree.clone();
    for i in 0..50 {
        let copied = bed.meter.work().nodes_copied;
        let _newest = bed.tree.clone();
        bed.insert(&key(mix(i + 77_777) % 100_000), 2);
        let copied = bed.meter.work().nodes_copied - copied;
        assert!(
            copied as usize <= height,
            "{copied} nodes copied for one write, height {height}"
        );
    }
    bed.check();
    assert_eq!(bed.content(&snapshot), before, "a snapshot changed");
}

#[test]
fn adds_up_dead_rows_like_a_scan() {
    let n = if cfg!(miri) { 120 } else { 6000 };
    // Of rows all of which are dead, and of such with some others between them that came back, or went.
    for alive in [false, true] {
        let mut bed = Bed::new();
        for i in 0..n {
            let timestamp = (mix(i * 3) % 500) as i64;
            let timestamp = if alive { timestamp } else { timestamp / 25 * 25 + 1 };
            bed.insert(&key(mix(i) % 9000), timestamp);
        }
        bed.check();
        let rows = bed.content(&bed.tree);
        let count = rows.len() as u64;
        let (mut all, mut some) = (0, 0);
        for i in 0..if cfg!(miri) { 50 } else { 3000 } {
            let from = mix(i) % (count + 1);
            let len = mix(i + 9999) % if i % 2 == 0 { 60 } else { count };
            let to = (from + len).min(count);
            let range = &rows[from as usize..to as usize];
            let found = bed.tree.dead(from, to, &bed.arena, &bed.meter);
            if range.iter().any(|(_, t)| !is_dead(*t)) {
                assert_eq!(found, None);
                some += 1;
                continue;
            }
            all += 1;
            let mut expected = DeadRows::NONE;
            for (key, t) in range {
                expected.add(&DeadRows {
                    count: 1,
                    digest: seed().digest(key),
                    min_timestamp: *t,
                });
            }
            let found = found.expect("all of them are dead");
            assert_eq!(
                (found.count, found.digest),
                (expected.count, expected.digest),
                "{from}..{to}"
            );
            // It may be that of a row that was replaced.
            assert!(found.min_timestamp <= expected.min_timestamp, "{from}..{to}");
            assert!(range.is_empty() || found.min_timestamp > 0 || alive, "{from}..{to}");
        }
        assert!(all > 20 && (some > 20) == alive, "{all} and {some}");
    }
}

#[test]
fn searches_for_newer_and_for_live_rows_like_a_scan() {
    let mut bed = Bed::new();
    let n = if cfg!(miri) { 120 } else { 4000 };
    for i in 0..n {
        bed.insert(&key(mix(i) % 9000), (mix(i * 3) % 500) as i64);
    }
    let rows = bed.content(&bed.tree);
    let count = rows.len() as u64;
    for i in 0..if cfg!(miri) { 50 } else { 2000 } {
        let (a, b) = (mix(i) % (count + 2), mix(i + 9999) % (count + 2));
        let (from, to) = (a.min(b).min(count), a.max(b).min(count));
        let timestamp = 500 - (mix(i * 7) % 30) as i64;
        let range = &rows[from as usize..to as usize];
        for wanted in [Wanted::Newer(timestamp), Wanted::Alive] {
            let is = |(_, t): &(Vec<u8>, i64)| match wanted {
                Wanted::Newer(timestamp) => *t > timestamp,
                Wanted::Alive => !is_dead(*t),
            };
            let first = range.iter().position(is).map_or(to, |at| from + at as u64);
            assert_eq!(bed.tree.first(from, to, wanted, &bed.meter), first);
            let last = range.iter().rposition(is).map_or(from, |at| from + at as u64 + 1);
            assert_eq!(bed.tree.last(from, to, wanted, &bed.meter), last);
        }
    }
}
