//! Range tombstones against an array that holds the deletion of each single position.

use super::*;
use crate::tree::LEAF_SLOTS;

struct Bed {
    meter: Rc<Meter>,
    arena: Arena,
    tree: RangeTree,
    naive: Vec<Deletion>,
}

fn position(at: usize) -> Vec<u8> {
    if at == 0 {
        Vec::new()
    } else {
        [&[0x80][..], b"tie the prefix", &(at as u32).to_be_bytes()].concat()
    }
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 7
}

impl Bed {
    fn new(positions: usize) -> Self {
        let meter = Rc::new(Meter::default());
        let arena = Arena::new(Rc::clone(&meter), model::KeySeed::default());
        Self {
            meter,
            arena,
            tree: RangeTree::default(),
            naive: vec![Deletion::LIVE; positions],
        }
    }

    fn delete(&mut self, start: usize, end: usize, deletion: Deletion) {
        self.tree
            .delete(&position(start), &position(end), deletion, &self.arena, &self.meter);
        for cell in self.naive.iter_mut().take(end).skip(start) {
            *cell = cell.max(deletion);
        }
    }

    fn position_of(&self, change: Change) -> Vec<u8> {
        // SAFETY: the change comes from this bed's own tree and arena.
        unsafe { self.arena.key(change.position) }.to_vec()
    }

    /// Walks the whole tree in both directions, and compares with `naive`.
    fn check(&self, tree: &RangeTree, naive: &[Deletion]) {
        let forward: Vec<(Vec<u8>, Deletion)> = (1..naive.len())
            .filter(|&at| naive[at] != naive[at - 1])
            .map(|at| (position(at), naive[at]))
            .collect();
        let (mut at, mut current) = (Vec::new(), tree.deletion_at(&[], &self.arena, &self.meter));
        assert_eq!(current, naive[0]);
        for expected in &forward {
            let change = tree
                .next_change(&at, current, &self.arena, &self.meter)
                .expect("a change is missing");
            (at, current) = (self.position_of(change), change.deletion);
            assert_eq!((&at, current), (&expected.0, expected.1));
        }
        assert_eq!(tree.next_change(&at, current, &self.arena, &self.meter), None);

        let (mut at, mut current) = (vec![0xff], tree.deletion_before(&[0xff], &self.arena, &self.meter));
        assert_eq!(current, *naive.last().expect("there are positions"));
        for cut in (1..naive.len()).rev().filter(|&cut| naive[cut] != naive[cut - 1]) {
            let change = tree
                .previous_change(&at, current, &self.arena, &self.meter)
                .expect("a change is missing");
            (at, current) = (self.position_of(change), change.deletion);
            assert_eq!((&at, current), (&position(cut), naive[cut - 1]));
        }
        assert_eq!(tree.previous_change(&at, current, &self.arena, &self.meter), None);
    }

    /// Checks every note against what lies under it.
    fn check_notes(&self) {
        fn under(child: &Child<RangeEntry>, arena: &Arena) {
            if let Child::Inner(inner) = child {
                for branch in inner.branches() {
                    assert_eq!(
                        branch.note.bounds,
                        branch.child().note(arena).bounds,
                        "a note is out of date"
                    );
                    under(branch.child(), arena);
                }
            }
        }
        if let Tree::Node(child) = &self.tree {
            under(child, &self.arena);
        }
    }

    fn height(&self) -> u64 {
        fn under(child: &Child<RangeEntry>) -> u64 {
            match child {
                Child::Leaf(_) => 1,
                Child::Inner(inner) => 1 + under(inner.branches()[0].child()),
            }
        }
        match &self.tree {
            Tree::Node(child) => under(child),
            _ => 1,
        }
    }
}

#[test]
fn model_strongest_deletion_at_every_position() {
    let (rounds, positions, ranges) = if cfg!(miri) { (1, 300, 250) } else { (24, 3000, 1500) };
    for round in 0..rounds {
        let mut bed = Bed::new(positions);
        let mut snapshots = Vec::new();
        for i in 0..ranges {
            let n = round * 1_000_000 + i;
            let start = mix(n) as usize % (positions - 1);
            let longest = [2, 2, 6, 6, 100, positions][mix(n * 3) as usize % 6];
            let end = (start + 1 + mix(n * 5) as usize % longest).min(positions - 1);
            // Some rounds rise, some fall, some tie.
            let timestamp = match round % 4 {
                0 => mix(n * 7) % 1_000_000 + 1,
                1 => i + 1 + mix(n) % 50,
                2 => ranges - i,
                _ => mix(n * 7) % 4 + 1,
            };
            bed.delete(start, end, Deletion::new(timestamp as i64, mix(n * 9) as u32 % 2));
            let at = mix(n * 11) as usize % positions;
            assert_eq!(
                bed.tree.deletion_at(&position(at), &bed.arena, &bed.meter),
                bed.naive[at]
            );
            if at > 0 {
                assert_eq!(
                    bed.tree.deletion_before(&position(at), &bed.arena, &bed.meter),
                    bed.naive[at - 1]
                );
            }
            if mix(n * 13).is_multiple_of(100) {
                snapshots.push((bed.tree.clone(), bed.naive.clone()));
            }
            if i % 200 == 0 {
                bed.check(&bed.tree, &bed.naive);
                bed.check_notes();
            }
        }
        bed.check(&bed.tree, &bed.naive);
        bed.check_notes();
        for (tree, naive) in snapshots {
            bed.check(&tree, &naive);
        }
    }
}

#[test]
fn work_does_not_grow_with_the_boundaries_covered() {
    let count: u64 = if cfg!(miri) { 400 } else { 20_000 };
    let mut bed = Bed::new(0);
    for i in 0..count {
        let at = (mix(i) as usize % 1_000_000) * 2 + 1;
        bed.delete(at, at + 1, Deletion::new(i as i64 + 1, 1));
    }
    let height = bed.height();
    // An edge of the range, or of the part still to be searched, may be followed down on both sides.
    let bound = 8 * height;
    let visited = |bed: &Bed| bed.meter.work().nodes_visited;
    for i in 0..if cfg!(miri) { 5 } else { 200 } {
        let before = visited(&bed);
        let start = mix(i) as usize % 1000;
        bed.delete(start, 2_000_000 + start, Deletion::new((count / 200 * i) as i64, 2));
        assert!(
            visited(&bed) - before <= bound,
            "{} nodes for one range, height {height}",
            visited(&bed) - before
        );

        let before = visited(&bed);
        let start = position(mix(i * 3) as usize % 2_000_000);
        let current = bed.tree.deletion_at(&start, &bed.arena, &bed.meter);
        bed.tree.next_change(&start, current, &bed.arena, &bed.meter);
        let current = bed.tree.deletion_before(&start, &bed.arena, &bed.meter);
        bed.tree.previous_change(&start, current, &bed.arena, &bed.meter);
        assert!(
            visited(&bed) - before <= bound,
            "{} nodes for one step, height {height}",
            visited(&bed) - before
        );
    }
    // One range over all: walked as one interval.
    bed.delete(0, 5_000_000, Deletion::new(i64::MAX, 2));
    let before = visited(&bed);
    assert_eq!(
        bed.tree
            .previous_change(&position(4_000_000), Deletion::new(i64::MAX, 2), &bed.arena, &bed.meter),
        None
    );
    assert!(visited(&bed) - before <= bound);
}

#[test]
fn ranges_without_effect_add_nothing() {
    let mut bed = Bed::new(1000);
    bed.delete(0, 999, Deletion::new(10, 1));
    let held = bed.meter.bytes();
    for i in 0..LEAF_SLOTS * 10 {
        bed.delete(i, i + 2, Deletion::new(10 - (i % 2) as i64, 1));
    }
    assert_eq!(bed.meter.bytes(), held);
    bed.check(&bed.tree, &bed.naive);
}
