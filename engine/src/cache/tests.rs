//! Runs against the memtable's reader, which gives the same items of the same rows and ranges.

use super::run::{Builder, Gaps, NOTHING_DROPPED, Run, after, look};
use super::{Parts, RunRows};
use memtable::{Memtable, Partition};
use model::{
    ColumnId, Deletion, Direction, Item, MutationBuilder, Peek, RowBuilder, RowSource, Slice, TableId, token_of,
};
use std::rc::Rc;

const KEY: &[u8] = b"channel";

/// Numbers from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn position(&mut self) -> Vec<u8> {
        let mut position = vec![1 + self.below(30) as u8];
        if self.below(3) == 0 {
            position.push(0xFF);
        }
        position
    }

    fn slice(&mut self) -> Slice {
        let mut edge = |other: Vec<u8>| if self.below(4) == 0 { other } else { self.position() };
        let (start, end) = (edge(Vec::new()), edge(vec![0xFF]));
        Slice { start, end }
    }

    fn direction(&mut self) -> Direction {
        if self.below(2) == 0 {
            Direction::Forward
        } else {
            Direction::Reverse
        }
    }
}

fn deletion(timestamp: i64) -> Deletion {
    Deletion::new(timestamp, 1)
}

/// A partition with some rows, some of them dead, and some ranges.
fn partition(numbers: &mut Numbers) -> Partition {
    let mut memtable = Memtable::new();
    for _ in 0..numbers.below(40) {
        let timestamp = 1 + numbers.below(20) as i64;
        let mut mutation = MutationBuilder::new(TableId(1), KEY);
        if numbers.below(6) == 0 {
            let slice = numbers.slice();
            if slice.is_empty() {
                continue;
            }
            mutation.delete_range(&slice.start, &slice.end, deletion(timestamp));
        } else {
            let mut row = RowBuilder::new();
            match numbers.below(3) {
                0 => row.deletion(deletion(timestamp)),
                _ => row.liveness(timestamp).cell(ColumnId(1), timestamp, &[7; 9]),
            };
            mutation.row(&[1 + numbers.below(30) as u8], row.finish());
        }
        memtable.apply(mutation.build().as_ref());
    }
    let mut end = MutationBuilder::new(TableId(1), KEY);
    end.row(&[200], RowBuilder::new().liveness(1).finish());
    memtable.apply(end.build().as_ref());
    memtable.partition(token_of(KEY), KEY).expect("it was written")
}

/// Items as they come, owned. A row is its position, its bytes and no deletion; a change has no bytes.
type Owned = (Vec<u8>, Option<Vec<u8>>, Deletion);

fn owned(item: Item<'_>) -> Owned {
    match item {
        Item::Row { clustering, row } => (clustering.to_vec(), Some(row.bytes().to_vec()), Deletion::LIVE),
        Item::RangeChange { position, deletion } => (position.to_vec(), None, deletion),
    }
}

fn items(mut source: impl RowSource) -> Vec<Owned> {
    let mut items = Vec::new();
    while let Peek::Item(item) = source.peek() {
        items.push(owned(item));
        source.advance();
    }
    assert_eq!(source.peek(), Peek::End);
    items
}

fn is_dead(item: &Owned) -> bool {
    item.1
        .as_deref()
        .is_some_and(|body| look(model::RowRef::trusted(body)).dead)
}

/// Feeds a builder with a slice of the partition, as a fill does.
fn feed(builder: &mut Builder, partition: &Partition, slice: &Slice) {
    let mut at_start = true;
    for (position, body, deletion) in items(partition.rows(slice, Direction::Forward)) {
        if std::mem::take(&mut at_start) && (body.is_some() || position != slice.start) {
            builder.change(&slice.start, Deletion::LIVE);
        }
        match body {
            Some(body) => builder.row(&position, model::RowRef::trusted(&body), NOTHING_DROPPED),
            None if position < slice.end => builder.change(&position, deletion),
            None => {}
        }
    }
    if at_start {
        builder.change(&slice.start, Deletion::LIVE);
    }
}

/// A run of the partition's rows above `floors`' last, extended at each of the others.
fn run_of(partition: &Partition, floors: &[Vec<u8>], chunk_bytes: usize) -> Rc<Run> {
    let mut run: Option<Run> = None;
    for floor in floors {
        let (start, open) = match &run {
            Some(run) => (run.floor().to_vec(), run.open_at_floor()),
            None => (Vec::new(), Deletion::LIVE),
        };
        let slice = Slice {
            start,
            end: floor.clone(),
        };
        let mut builder = Builder::new(&slice.start, open, chunk_bytes);
        feed(&mut builder, partition, &slice);
        let built = builder.finish(floor);
        run = Some(match run {
            Some(run) => run.extended(built),
            None => Run::new(built, Deletion::LIVE, None),
        });
    }
    Rc::new(run.expect("a floor"))
}

fn floors(numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let mut floors: Vec<_> = (0..1 + numbers.below(4)).map(|_| numbers.position()).collect();
    floors.sort();
    floors.dedup();
    if numbers.below(2) == 0 {
        floors.push(vec![0xFF]);
    }
    floors
}

/// Changes that say again what is in force, and those at one position but the last, say nothing.
fn without_repetition(items: Vec<Owned>) -> Vec<Owned> {
    let mut force = Deletion::LIVE;
    let mut told: Vec<Owned> = Vec::new();
    let mut pending: Option<Owned> = None;
    let mut settle = |pending: &mut Option<Owned>, told: &mut Vec<Owned>| {
        if let Some(change) = pending.take().filter(|change| change.2 != force) {
            force = change.2;
            told.push(change);
        }
    };
    for item in items {
        let same_place = pending.as_ref().is_some_and(|change| change.0 == item.0);
        if !(same_place && item.1.is_none()) {
            settle(&mut pending, &mut told);
        }
        match item.1 {
            None => pending = Some(item),
            Some(_) => told.push(item),
        }
    }
    settle(&mut pending, &mut told);
    told
}

#[test]
fn prop_a_run_gives_what_its_partition_has_above_the_floor() {
    for seed in 0..3_000 {
        let mut numbers = Numbers(seed);
        let partition = partition(&mut numbers);
        let run = run_of(&partition, &floors(&mut numbers), 1 << numbers.below(9));
        for _ in 0..8 {
            let (mut slice, direction) = (numbers.slice(), numbers.direction());
            slice.end = slice.end.min(run.floor().to_vec());
            if slice.is_empty() {
                continue;
            }
            let mut expected = items(partition.rows(&slice, direction));
            expected.retain(|item| !is_dead(item));
            let found = items(RunRows::new(Rc::clone(&run), slice.clone(), direction));
            let (found, expected) = (without_repetition(found), without_repetition(expected));
            assert_eq!(found, expected, "seed {seed}, {slice:?} {direction:?} of {run:?}");
        }
    }
}

#[test]
fn prop_what_was_dropped_is_known_at_its_key_and_nothing_where_nothing_was() {
    for seed in 0..3_000 {
        let mut numbers = Numbers(seed);
        let partition = partition(&mut numbers);
        let run = run_of(&partition, &floors(&mut numbers), 1 << numbers.below(9));
        let all = items(partition.rows(&Slice::all(), Direction::Forward));
        for (position, body, _) in all.iter().filter(|item| item.0.as_slice() < run.floor()) {
            let Some(body) = body else { continue };
            let looks = look(model::RowRef::trusted(body));
            let dropped = run.dropped_at(position);
            if looks.dead {
                assert!(dropped >= looks.max_timestamp, "seed {seed}, {position:?} of {run:?}");
            } else {
                assert_eq!(dropped, NOTHING_DROPPED, "seed {seed}, {position:?} of {run:?}");
            }
        }
        if !all.iter().any(is_dead) {
            assert!(!run.has_dropped());
        }
    }
}

#[test]
fn prop_trimming_raises_the_floor_and_changes_nothing_above_it() {
    for seed in 0..2_000 {
        let mut numbers = Numbers(seed);
        let partition = partition(&mut numbers);
        let floors = floors(&mut numbers);
        let whole = run_of(&partition, &floors, 64);
        let again = Rc::into_inner(run_of(&partition, &floors, 64)).expect("one owner");
        let bytes_max = whole.memory_bytes() * numbers.below(100) as usize / 100;
        let Some(trimmed) = again.trimmed(bytes_max) else {
            continue;
        };
        assert!(trimmed.memory_bytes() <= bytes_max && trimmed.floor() < whole.floor());
        let slice = Slice {
            start: Vec::new(),
            end: trimmed.floor().to_vec(),
        };
        let of = |run: Rc<Run>| items(RunRows::new(run, slice.clone(), Direction::Forward));
        assert_eq!(of(Rc::new(trimmed)), of(whole), "seed {seed}");
    }
}

#[test]
fn prop_gaps_are_kept_by_a_run_that_is_made_again_and_do_not_spread() {
    for seed in 0..3_000 {
        let mut numbers = Numbers(seed);
        let partition = partition(&mut numbers);
        let floors = floors(&mut numbers);
        let run = run_of(&partition, &floors, 1 << numbers.below(9));
        let all = Slice {
            start: Vec::new(),
            end: run.floor().to_vec(),
        };
        let mut gaps = Gaps::new(Rc::clone(&run));
        let mut builder = Builder::new(&[], Deletion::LIVE, 1 << numbers.below(9));
        for (position, body, deletion) in items(RunRows::new(Rc::clone(&run), all.clone(), Direction::Forward)) {
            if position >= all.end {
                continue;
            }
            builder.dropped(gaps.up_to(&position, body.is_some()));
            match body {
                Some(body) => builder.row(&position, model::RowRef::trusted(&body), run.dropped_at(&position)),
                None => builder.change(&position, deletion),
            }
        }
        builder.dropped(gaps.up_to_floor());
        let again = Run::new(builder.finish(&all.end), Deletion::LIVE, None);
        for byte in 0..=255 {
            for position in [vec![byte], vec![byte, 0]] {
                if position.as_slice() < run.floor() {
                    let (before, now) = (run.dropped_at(&position), again.dropped_at(&position));
                    // A gap that ended at a former floor may go on to the next item.
                    let kept = if floors.len() > 1 { now >= before } else { now == before };
                    assert!(kept, "seed {seed}, {position:?}: {run:?} and {again:?}");
                }
            }
        }
    }
}

#[test]
fn skips_rows_that_are_covered_and_stops_at_what_is_not() {
    let mut builder = Builder::new(&[], Deletion::LIVE, 40);
    for id in 1..20_u8 {
        let mut row = RowBuilder::new();
        let body = row.liveness(i64::from(id)).finish();
        builder.row(&[id], model::RowRef::trusted(body), NOTHING_DROPPED);
    }
    let run = Rc::new(Run::new(builder.finish(&[0xFF]), Deletion::LIVE, None));
    let mut forward = RunRows::new(Rc::clone(&run), Slice::all(), Direction::Forward);
    assert_eq!(forward.skip_covered(9, Some(&[5])), 4, "up to the row at 5");
    assert_eq!(forward.skip_covered(9, None), 5, "up to the row that is younger");
    assert!(matches!(forward.peek(), Peek::Item(Item::Row { clustering: [10], .. })));
    let mut reverse = RunRows::new(run, Slice::all(), Direction::Reverse);
    assert_eq!(reverse.skip_covered(9, None), 0);
    assert_eq!(
        reverse.skip_covered(99, Some(&[5])),
        15,
        "down to the row at 5, it included"
    );
}

/// Slices of the parts, and whether the run knows them.
fn parts_of(parts: &mut Parts) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
    let next = std::iter::from_fn(|| parts.next());
    next.map(|part| (part.slice.start, part.slice.end, part.run.is_some()))
        .collect()
}

#[test]
fn a_slice_is_cut_at_the_floor_and_around_a_row_that_goes_round() {
    let run = Rc::new(Run::new(
        Builder::new(&[], Deletion::LIVE, 40).finish(&[10]),
        Deletion::LIVE,
        None,
    ));
    let slice = || Slice {
        start: vec![3],
        end: vec![20],
    };
    let (cached, beyond) = ((vec![3], vec![10], true), (vec![10], vec![20], false));
    let mut parts = Parts::new(slice(), Direction::Forward, Some(Rc::clone(&run)));
    assert_eq!(parts_of(&mut parts), [cached.clone(), beyond.clone()]);
    let mut parts = Parts::new(slice(), Direction::Reverse, Some(Rc::clone(&run)));
    assert_eq!(parts_of(&mut parts), [beyond.clone(), cached]);
    let mut parts = Parts::new(slice(), Direction::Forward, None);
    assert_eq!(parts_of(&mut parts), [(vec![3], vec![20], false)]);

    let mut parts = Parts::new(slice(), Direction::Forward, Some(Rc::clone(&run)));
    let first = parts.next().expect("the run's part");
    parts.go_round(&first, &[5]);
    let round = (vec![5], after(&[5]), false);
    assert_eq!(
        parts_of(&mut parts),
        [round.clone(), (after(&[5]), vec![10], true), beyond]
    );

    let mut parts = Parts::new(slice(), Direction::Reverse, Some(run));
    parts.next().expect("what the run does not know");
    let second = parts.next().expect("the run's part");
    parts.go_round(&second, &[5]);
    assert_eq!(parts_of(&mut parts), [round, (vec![3], vec![5], true)]);
}
