//! The merge against a model that keeps all rows and ranges in maps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Slice;
use crate::row::testing;
use crate::{RowBuilder, shadow_row};

/// What a source holds.
#[derive(Clone, Debug, Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    ranges: Vec<(Vec<u8>, Vec<u8>, Deletion)>,
}

/// An item with its own memory.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Row(Vec<u8>, Vec<u8>),
    Change(Vec<u8>, Deletion),
}

impl Owned {
    fn position(&self) -> &[u8] {
        match self {
            Owned::Row(position, _) | Owned::Change(position, _) => position,
        }
    }
}

/// The deletion that ranges put in force from the position `at` on, Forward.
fn in_force(contents: &[&Content], at: &[u8]) -> Deletion {
    let ranges = contents.iter().flat_map(|c| &c.ranges);
    ranges
        .filter(|(s, e, _)| s.as_slice() <= at && at < e.as_slice())
        .fold(Deletion::LIVE, |max, r| max.max(r.2))
}

/// The stream of some contents over a slice: rows by key, changes minimal, what `hidden` covers not among them.
fn stream(contents: &[&Content], slice: &Slice, direction: Direction, hidden: Deletion, shadowed: bool) -> Vec<Owned> {
    let mut rows: BTreeMap<&[u8], Vec<u8>> = BTreeMap::new();
    for (key, row) in contents
        .iter()
        .flat_map(|c| &c.rows)
        .filter(|(key, _)| slice.contains(key))
    {
        let mut merged = Vec::new();
        let before = rows
            .get(key.as_slice())
            .map_or(RowRef::EMPTY, |row| RowRef::trusted(row));
        merge_rows(before, RowRef::trusted(row), &mut merged);
        rows.insert(key, merged);
    }
    if shadowed {
        rows.retain(|key, row| {
            let mut left = Vec::new();
            match shadow_row(RowRef::trusted(row), in_force(contents, key).max(hidden), &mut left) {
                Shadowed::Unchanged => return true,
                Shadowed::Changed => *row = left,
                Shadowed::Gone => return false,
            }
            true
        });
    }
    // The bounds cut the slice into stretches with one deletion each.
    let mut cuts: Vec<&[u8]> = contents
        .iter()
        .flat_map(|c| &c.ranges)
        .flat_map(|(s, e, _)| [&s[..], e])
        .collect();
    cuts.retain(|cut| slice.start.as_slice() < *cut && *cut < slice.end.as_slice());
    cuts.extend([slice.start.as_slice(), &slice.end]);
    cuts.sort();
    cuts.dedup();
    let deletion_from = |cut: &[u8]| {
        let deletion = in_force(contents, cut);
        if hidden.covers(deletion.timestamp) {
            Deletion::LIVE
        } else {
            deletion
        }
    };
    let mut stretches: Vec<(&[u8], &[u8], Deletion)> = cuts
        .windows(2)
        .map(|pair| (pair[0], pair[1], deletion_from(pair[0])))
        .collect();
    if direction == Direction::Reverse {
        stretches.reverse();
    }
    let mut out = Vec::new();
    let mut now = Deletion::LIVE;
    for (start, end, deletion) in stretches {
        let first = if direction == Direction::Forward { start } else { end };
        if deletion != now {
            out.push(Owned::Change(first.to_vec(), deletion));
            now = deletion;
        }
        let inside = rows
            .range(start..end)
            .map(|(key, row)| Owned::Row(key.to_vec(), row.clone()));
        match direction {
            Direction::Forward => out.extend(inside),
            Direction::Reverse => out.extend(inside.rev()),
        }
    }
    if !now.is_live() {
        out.push(Owned::Change(slice.last(direction).to_vec(), Deletion::LIVE));
    }
    out
}

/// A source over a vector, which plays one that reads blocks.
struct Scripted {
    items: Vec<Owned>,
    next: usize,
    direction: Direction,
    /// Pending before the item of this index, at this position, until filled.
    pending: BTreeMap<usize, Vec<u8>>,
    skips: bool,
    fills: u64,
}

impl RowSource for Scripted {
    fn peek(&self) -> Peek<'_> {
        if let Some(position) = self.pending.get(&self.next) {
            return Peek::Pending { position };
        }
        match self.items.get(self.next) {
            None => Peek::End,
            Some(Owned::Row(key, row)) => Peek::Item(Item::Row {
                clustering: key,
                row: RowRef::trusted(row),
            }),
            Some(Owned::Change(position, deletion)) => Peek::Item(Item::RangeChange {
                position,
                deletion: *deletion,
            }),
        }
    }

    fn advance(&mut self) {
        assert!(matches!(self.peek(), Peek::Item(_)), "only an item is advanced over");
        self.next += 1;
    }

    fn skip_covered(&mut self, timestamp: i64, until: Option<&[u8]>) -> u64 {
        self.skip(|row| row.max_timestamp() <= timestamp, until)
    }

    fn skip_dead(&mut self, until: Option<&[u8]>) -> u64 {
        self.skip(|row| row.is_row_tombstone(), until)
    }
}

impl Scripted {
    fn skip(&mut self, is_unwanted: impl Fn(RowRef<'_>) -> bool, until: Option<&[u8]>) -> u64 {
        let mut skipped = 0;
        while self.skips {
            let Some(Owned::Row(key, row)) = self.items.get(self.next) else {
                break;
            };
            let before = until.is_none_or(|until| match self.direction {
                Direction::Forward => key.as_slice() < until,
                Direction::Reverse => key.as_slice() >= until,
            });
            if !before || !is_unwanted(RowRef::trusted(row)) {
                break;
            }
            self.pending.remove(&self.next);
            self.next += 1;
            skipped += 1;
        }
        skipped
    }
}

fn component() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(4u8), Just(0xfb)].prop_flat_map(|marker| (0..4u8).prop_map(move |value| vec![marker, value]))
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    (component(), component()).prop_map(|(a, b)| [a, b].concat())
}

fn position() -> impl Strategy<Value = Vec<u8>> {
    (proptest::collection::vec(component(), 0..3), any::<bool>()).prop_map(|(parts, after)| {
        let mut position = parts.concat();
        if after {
            position.push(0xff);
        }
        position
    })
}

fn slice() -> impl Strategy<Value = Slice> {
    let some = (position(), position()).prop_map(|(a, b)| Slice {
        start: a.clone().min(b.clone()),
        end: a.max(b),
    });
    prop_oneof![Just(Slice::all()), some]
}

/// Rows as they are, or of one timestamp, so that whole runs are covered.
fn content() -> impl Strategy<Value = Content> {
    let plain = (0..6i64).prop_map(|timestamp| RowBuilder::new().liveness(timestamp).finish().to_vec());
    let dead = (0..6i64).prop_map(|timestamp| {
        RowBuilder::new()
            .deletion(Deletion::new(timestamp, 0))
            .finish()
            .to_vec()
    });
    let row = prop_oneof![2 => testing::row(), 3 => plain, 3 => dead];
    let rows = proptest::collection::btree_map(key(), row, 0..12);
    let range = (position(), position(), testing::deletion());
    let ranges = proptest::collection::vec(range, 0..4)
        .prop_map(|ranges| ranges.into_iter().filter(|(s, e, _)| s < e).collect::<Vec<_>>());
    (rows, ranges).prop_map(|(rows, ranges)| Content { rows, ranges })
}

#[derive(Clone, Debug)]
struct Case {
    contents: Vec<(Content, bool, Vec<u8>)>,
    slice: Slice,
    reverse: bool,
    partition: Deletion,
    skips_dead: bool,
    /// How many rows are taken as they lie, in turn: before each step.
    gives: Vec<u64>,
}

fn case() -> impl Strategy<Value = Case> {
    let pauses = proptest::collection::vec(0..6u8, 64);
    let contents = proptest::collection::vec((content(), any::<bool>(), pauses), 0..5);
    let partition = prop_oneof![2 => Just(Deletion::LIVE), 1 => testing::deletion()];
    let gives = proptest::collection::vec(0..4u64, 1..8);
    let case = (contents, slice(), any::<bool>(), partition, any::<bool>(), gives);
    case.prop_map(|(contents, slice, reverse, partition, skips_dead, gives)| Case {
        contents,
        slice,
        reverse,
        partition,
        skips_dead,
        gives,
    })
}

fn scripted(content: &Content, skips: bool, pauses: &[u8], slice: &Slice, direction: Direction) -> Scripted {
    let items = stream(&[content], slice, direction, Deletion::LIVE, false);
    let mut pending = BTreeMap::new();
    for index in 0..=items.len() {
        // Where a source may say it is: at the item to come, or anywhere from the last one on.
        let next = items.get(index).map_or(slice.last(direction), Owned::position);
        let last = index
            .checked_sub(1)
            .map_or(slice.first(direction), |index| items[index].position());
        match pauses[index % pauses.len()] {
            0 => drop(pending.insert(index, next.to_vec())),
            1 => drop(pending.insert(index, last.to_vec())),
            _ => {}
        }
    }
    Scripted {
        items,
        next: 0,
        direction,
        pending,
        skips,
        fills: 0,
    }
}

fn check(case: &Case) -> MergeCounts {
    let direction = if case.reverse {
        Direction::Reverse
    } else {
        Direction::Forward
    };
    let contents: Vec<&Content> = case.contents.iter().map(|(content, _, _)| content).collect();
    let mut expected = stream(&contents, &case.slice, direction, case.partition, true);
    let sources: Vec<Scripted> = case
        .contents
        .iter()
        .map(|(c, skips, pauses)| scripted(c, *skips, pauses, &case.slice, direction))
        .collect();
    let mut merge = Merge::new(sources, direction, case.partition);
    if case.skips_dead {
        merge = merge.without_dead_runs();
    }
    let mut given = Vec::new();
    for wanted in case.gives.iter().cycle() {
        if *wanted > 0 {
            let mut got = 0;
            let passed = merge.give_live(
                |source| source < case.contents.len(),
                |clustering, row| {
                    assert!(row.is_wholly_live());
                    got += 1;
                    given.push(Owned::Row(clustering.to_vec(), row.bytes().to_vec()));
                    got < *wanted
                },
            );
            assert_eq!(passed, got);
        }
        match merge.step() {
            Step::End => break,
            Step::Item => given.push(match merge.item() {
                Item::Row { clustering, row } => Owned::Row(clustering.to_vec(), row.bytes().to_vec()),
                Item::RangeChange { position, deletion } => Owned::Change(position.to_vec(), deletion),
            }),
            Step::Pending(index) => {
                let here = place(&merge.sources()[index].peek()).unwrap();
                assert!(here.1 == Class::Pending, "source {index} is not pending");
                for source in merge.sources() {
                    if let Some((there, _)) = place(&source.peek()) {
                        assert!(
                            direction.compare(here.0, there).is_le(),
                            "source {index} was to be filled too early"
                        );
                    }
                }
                let source = merge.source_mut(index);
                source.pending.remove(&source.next);
                source.fills += 1;
            }
        }
    }
    if case.skips_dead {
        // Of the row tombstones any may be missing, of the rest nothing.
        let mut left = expected.iter();
        assert!(
            given.iter().all(|item| left.any(|other| other == item)),
            "{given:?} of {expected:?}"
        );
        for items in [&mut given, &mut expected] {
            items.retain(|item| !matches!(item, Owned::Row(_, row) if RowRef::trusted(row).is_row_tombstone()));
        }
    }
    assert_eq!(given, expected);
    let changes = given.iter().filter(|item| matches!(item, Owned::Change(..))).count() as u64;
    assert_eq!(merge.counts().range_bounds, changes);
    merge.counts()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 4_000 } else { 40_000 }))]

    #[test]
    fn prop_merge_is_the_model(case in case()) {
        check(&case);
    }
}

fn row(timestamp: i64) -> Vec<u8> {
    RowBuilder::new().liveness(timestamp).finish().to_vec()
}

/// Found in review: a step went on as long as the dead runs of two sources took turns.
#[test]
fn a_step_passes_over_few_dead_runs() {
    let tombstone = RowBuilder::new().deletion(Deletion::new(1, 0)).finish().to_vec();
    let of = |odd: u16| Content {
        rows: (0..1000_u16)
            .map(|n| ((2 * n + odd).to_be_bytes().to_vec(), tombstone.clone()))
            .collect(),
        ranges: Vec::new(),
    };
    for direction in [Direction::Forward, Direction::Reverse] {
        let sources = [of(0), of(1)]
            .map(|c| scripted(&c, true, &[9], &Slice::all(), direction))
            .into();
        let mut merge = Merge::new(sources, direction, Deletion::LIVE).without_dead_runs();
        let (mut before, mut steps) = (0, 0);
        while before < 2000 {
            merge.step();
            steps += 1;
            let met = merge.counts().rows_skipped + merge.counts().rows_merged;
            assert!(met - before <= 3, "{} rows in step {steps}", met - before);
            before = met;
        }
        assert_eq!(merge.step(), Step::End);
    }
}

/// The example of the module's page.
#[test]
fn worked_example_in_both_directions() {
    let at = |name: &u8| vec![*name];
    let content = |rows: &[(u8, i64)], ranges: &[(u8, u8, i64)]| Content {
        rows: rows.iter().map(|(key, timestamp)| (at(key), row(*timestamp))).collect(),
        ranges: ranges
            .iter()
            .map(|(s, e, t)| (at(s), at(e), Deletion::new(*t, 0)))
            .collect(),
    };
    let a = content(&[(b'a', 9), (b'c', 6), (b'e', 8)], &[(b'b', b'e', 5)]);
    let b = content(&[(b'c', 4), (b'e', 6), (b'f', 1)], &[(b'c', b'd', 3), (b'd', b'f', 7)]);
    for (direction, expected) in [
        (Direction::Forward, "a@9 b:5 c@6 d:7 e@8 f:-"),
        (Direction::Reverse, "f:7 e@8 d:5 c@6 b:- a@9"),
    ] {
        let sources = [&a, &b]
            .map(|c| scripted(c, true, &[9], &Slice::all(), direction))
            .into();
        let mut merge = Merge::new(sources, direction, Deletion::new(2, 0));
        let mut given = Vec::new();
        while merge.step() == Step::Item {
            given.push(match merge.item() {
                Item::Row { clustering, row } => format!("{}@{}", clustering[0] as char, row.max_timestamp()),
                Item::RangeChange { position, deletion } if deletion.is_live() => format!("{}:-", position[0] as char),
                Item::RangeChange { position, deletion } => {
                    format!("{}:{}", position[0] as char, deletion.timestamp)
                }
            });
        }
        assert_eq!(given.join(" "), expected, "{direction:?}");
    }
}

/// A range deletion in one source over many rows of a pending one: its blocks are passed over, never filled. The pending
/// one has nothing before its first key, at which the range begins too.
#[test]
fn a_range_that_begins_at_the_first_pending_key_lets_all_blocks_be_passed_over() {
    let many = Content {
        rows: (0..200u8).map(|id| (vec![4, id], row(1))).collect(),
        ranges: Vec::new(),
    };
    let range = Content {
        rows: BTreeMap::new(),
        ranges: vec![(vec![4, 0], vec![4, 0xff], Deletion::new(5, 1))],
    };
    let mut blocks = scripted(&many, true, &[9], &Slice::all(), Direction::Forward);
    blocks.pending = [0, 50, 100, 150].map(|id| (usize::from(id), vec![4, id])).into();
    let sources = vec![blocks, scripted(&range, true, &[9], &Slice::all(), Direction::Forward)];
    let mut merge = Merge::new(sources, Direction::Forward, Deletion::LIVE);
    loop {
        match merge.step() {
            Step::End => break,
            Step::Item => assert!(matches!(merge.item(), Item::RangeChange { .. })),
            Step::Pending(_) => panic!("a block that the range covers was to be read"),
        }
    }
    assert_eq!(merge.counts().rows_skipped, 200);
}

/// A range deletion in one source over many rows of a pending one: its blocks are passed over, never filled.
#[test]
fn covered_blocks_are_never_filled() {
    let rows = (0..200u8).map(|id| (vec![4, id], row(1))).collect();
    let many = Content {
        rows,
        ranges: Vec::new(),
    };
    let range = Content {
        rows: [(vec![4, 250], row(9))].into(),
        ranges: vec![(vec![4], vec![4, 0xff], Deletion::new(5, 1))],
    };
    for direction in [Direction::Forward, Direction::Reverse] {
        let sources = vec![
            scripted(&range, true, &[9], &Slice::all(), direction),
            scripted(&many, true, &[0, 9, 9, 9, 9, 9, 9, 9], &Slice::all(), direction),
        ];
        let mut merge = Merge::new(sources, direction, Deletion::LIVE);
        let mut rows = 0;
        loop {
            match merge.step() {
                Step::End => break,
                Step::Item => rows += u32::from(matches!(merge.item(), Item::Row { .. })),
                Step::Pending(index) => {
                    let source = merge.source_mut(index);
                    source.pending.remove(&source.next);
                    source.fills += 1;
                }
            }
        }
        assert_eq!(rows, 1, "{direction:?}");
        assert!(
            merge.sources()[1].fills <= 1,
            "{direction:?}: {} blocks were read",
            merge.sources()[1].fills
        );
        assert_eq!(merge.counts().rows_skipped, 200, "{direction:?}");
    }
}

/// Sources that the first items do not reach stay as they are.
#[test]
fn sources_beyond_the_page_stay_pending() {
    let newer = Content {
        rows: (0..50u8).map(|id| (vec![4, id], row(1))).collect(),
        ranges: Vec::new(),
    };
    let older = Content {
        rows: (50..100u8).map(|id| (vec![4, id], row(1))).collect(),
        ranges: Vec::new(),
    };
    let sources = [&newer, &older]
        .map(|c| scripted(c, true, &[0], &Slice::all(), Direction::Forward))
        .into();
    let mut merge = Merge::new(sources, Direction::Forward, Deletion::LIVE);
    let mut rows = 0;
    while rows < 50 {
        match merge.step() {
            Step::End => panic!("there are 100 rows"),
            Step::Item => rows += 1,
            Step::Pending(index) => {
                assert_eq!(index, 0, "the older source was to be filled after {rows} rows");
                let source = merge.source_mut(index);
                source.pending.remove(&source.next);
            }
        }
    }
}
