//! Random mutations against a naive memtable: content, snapshots, slices in both directions, order of arrival.

mod common;

use common::{Naive, NaivePartition, Seen, Source, drain, for_seeds};
use model::{DeadRows, Direction, Item, KeySeed, Mutation, Peek, RowRef, RowSource, Slice};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use scrollback_memtable::{Memtable, Partition};

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

fn compare_all(memtable: &Memtable, naive: &Naive) {
    let mut after: Option<Partition> = None;
    for ((token, key), expected) in &naive.partitions {
        let next = memtable
            .next_partition(after.as_ref().map(|p| (p.token(), p.key())))
            .expect("a partition is missing");
        assert_eq!((next.token(), next.key()), (*token, &key[..]));
        assert_eq!(NaivePartition::of(&next), expected.whole());
        assert_eq!(next.row_count(), expected.rows.len() as u64);
        let found = memtable
            .partition(*token, key)
            .expect("a partition is not found by its key");
        assert_eq!(found.key(), &key[..]);
        after = Some(next);
    }
    assert!(
        memtable
            .next_partition(after.as_ref().map(|p| (p.token(), p.key())))
            .is_none()
    );
    assert_eq!(memtable.partition_count(), naive.partitions.len() as u64);
    assert_eq!(
        memtable.row_count(),
        naive.partitions.values().map(|p| p.rows.len() as u64).sum::<u64>()
    );
}

/// The merge's way of passing over rows, on the naive walk: everything old up to the bound, but no range change.
fn skip_naively(left: &mut &[Seen], direction: Direction, timestamp: i64, until: Option<&[u8]>) -> u64 {
    let mut skipped = 0;
    while let [Seen::Row(key, body), rest @ ..] = left {
        let before = until.is_none_or(|until| match direction {
            Direction::Forward => &key[..] < until,
            Direction::Reverse => &key[..] >= until,
        });
        if !before || RowRef::trusted(body).max_timestamp() > timestamp {
            break;
        }
        *left = rest;
        skipped += 1;
    }
    skipped
}

fn seed() -> KeySeed {
    KeySeed::of_host(&[7; 16])
}

/// What lies before `until`, if it is row tombstones and nothing else.
fn dead_naively(left: &[Seen], direction: Direction, until: &[u8]) -> Option<DeadRows> {
    let mut dead = DeadRows::NONE;
    for seen in left {
        match (seen, direction) {
            (Seen::Row(key, _), Direction::Forward) if &key[..] >= until => break,
            (Seen::Row(key, _), Direction::Reverse) if &key[..] < until => break,
            (Seen::Change(position, _), Direction::Forward) if &position[..] >= until => break,
            (Seen::Change(position, _), Direction::Reverse) if &position[..] <= until => break,
            (Seen::Row(key, body), _) if RowRef::trusted(body).is_row_tombstone() => dead.add(&DeadRows {
                count: 1,
                digest: seed().digest(key),
                min_timestamp: RowRef::trusted(body).max_timestamp(),
            }),
            _ => return None,
        }
    }
    Some(dead)
}

fn compare_walk(source: &Source, partition: &Partition, expected: &NaivePartition, rng: &mut SmallRng) {
    let slice = source.slice(rng);
    for direction in DIRECTIONS {
        let walk = expected.walk(&slice, direction);
        let mut rows = partition.rows(&slice, direction);
        let count = walk.iter().filter(|seen| matches!(seen, Seen::Row(..))).count();
        assert_eq!(rows.rows_left(), count as u64, "{slice:?} {direction:?}");
        assert_eq!(drain(&mut rows), walk, "{slice:?} {direction:?}");
        rows.advance();
        assert_eq!(rows.peek(), Peek::End, "the end is the end");

        let mut rows = partition.rows(&slice, direction);
        let mut left = &walk[..];
        loop {
            if rng.random_bool(0.3) {
                let until = rng.random_bool(0.7).then(|| source.position(rng));
                let timestamp = source.timestamp(rng);
                let skipped = rows.skip_covered(timestamp, until.as_deref());
                let expected = skip_naively(&mut left, direction, timestamp, until.as_deref());
                assert_eq!(skipped, expected, "{slice:?} {direction:?} {timestamp} {until:?}");
            }
            let until = source.position(rng);
            let (found, expected) = (rows.dead_until(&until), dead_naively(left, direction, &until));
            let known = |dead: Option<DeadRows>| dead.map(|dead| (dead.count, dead.digest));
            assert_eq!(known(found), known(expected), "{slice:?} {direction:?} {until:?}");
            if let (Some(found), Some(expected)) = (found, expected) {
                assert!(found.min_timestamp <= expected.min_timestamp);
            }
            let Some((first, rest)) = left.split_first() else { break };
            let Peek::Item(item) = rows.peek() else {
                panic!("the walk ends before {first:?}")
            };
            assert_eq!(&Seen::of(item), first, "{slice:?} {direction:?}");
            rows.advance();
            left = rest;
        }
        assert_eq!(rows.peek(), Peek::End);
    }
}

#[test]
fn model_snapshots_and_slices() {
    for_seeds("model_snapshots_and_slices", 120, |_, rng| {
        let mut source = Source::new(rng);
        let (mut memtable, mut naive) = (Memtable::with_seed(seed()), Naive::default());
        let mut snapshots: Vec<(Partition, NaivePartition)> = Vec::new();
        for _ in 0..rng.random_range(1..400) {
            let mutation = source.mutation(rng);
            memtable.apply(mutation.as_ref());
            naive.apply(mutation.as_ref());
            if rng.random_bool(0.1) {
                let key = source.partition_key(rng);
                let token = model::token_of(&key);
                let partition = memtable.partition(token, &key);
                let expected = naive
                    .partitions
                    .get(&(token, key))
                    .filter(|p| **p != NaivePartition::default());
                assert_eq!(partition.is_some(), expected.is_some());
                if let (Some(partition), Some(expected)) = (partition, expected) {
                    compare_walk(&source, &partition, expected, rng);
                    snapshots.push((partition, expected.clone()));
                }
            }
            if snapshots.len() > 4 {
                let (partition, expected) = snapshots.swap_remove(rng.random_range(0..snapshots.len()));
                assert_eq!(NaivePartition::of(&partition), expected.whole(), "a snapshot changed");
                compare_walk(&source, &partition, &expected, rng);
            }
        }
        memtable.seal();
        compare_all(&memtable, &naive);
        // Snapshots outlive the memtable, freed by steps or at once.
        let by_steps = rng.random_bool(0.5);
        if by_steps {
            for _ in 0..20 {
                assert!(!memtable.drop_step(16) || snapshots.is_empty());
            }
        } else {
            drop(std::mem::take(&mut memtable));
        }
        for (partition, expected) in snapshots {
            assert_eq!(
                NaivePartition::of(&partition),
                expected.whole(),
                "a snapshot changed after its memtable went"
            );
        }
        while by_steps && !memtable.drop_step(16) {}
    });
}

#[test]
fn model_order_of_arrival_does_not_matter() {
    for_seeds("model_order_of_arrival_does_not_matter", 60, |_, rng| {
        let mut source = Source::new(rng);
        let mut mutations: Vec<Mutation> = (0..rng.random_range(1..150)).map(|_| source.mutation(rng)).collect();
        let mut first = Memtable::new();
        for mutation in &mutations {
            first.apply(mutation.as_ref());
        }
        // Some arrive twice, as after a replay.
        for _ in 0..mutations.len() / 4 {
            mutations.push(mutations[rng.random_range(0..mutations.len())].clone());
        }
        mutations.shuffle(rng);
        let mut second = Memtable::new();
        for mutation in &mutations {
            second.apply(mutation.as_ref());
        }
        assert_eq!(content(&first), content(&second));
        assert_eq!(
            (first.min_timestamp(), first.max_timestamp()),
            (second.min_timestamp(), second.max_timestamp())
        );
        assert_eq!(
            (first.min_clustering(), first.max_clustering()),
            (second.min_clustering(), second.max_clustering())
        );
    });
}

type Content = Vec<(Vec<u8>, (model::Deletion, Option<Vec<u8>>, Vec<Seen>, Vec<Seen>))>;

fn content(memtable: &Memtable) -> Content {
    let mut content = Content::new();
    let mut after: Option<Partition> = None;
    while let Some(next) = memtable.next_partition(after.as_ref().map(|p| (p.token(), p.key()))) {
        content.push((next.key().to_vec(), NaivePartition::of(&next)));
        after = Some(next);
    }
    content
}

#[test]
fn one_seed_gives_one_history() {
    let run = || {
        let rng = &mut SmallRng::seed_from_u64(7);
        let mut source = Source::new(rng);
        let mut memtable = Memtable::new();
        for _ in 0..200 {
            memtable.apply(source.mutation(rng).as_ref());
        }
        (content(&memtable), memtable.memory_bytes(), memtable.work())
    };
    assert_eq!(run(), run());
}

#[test]
fn bounds_and_timestamps_hold_everything() {
    for_seeds("bounds_and_timestamps_hold_everything", 30, |_, rng| {
        let mut source = Source::new(rng);
        let mut memtable = Memtable::new();
        let mut newest = i64::MIN;
        for _ in 0..50 {
            let mutation = source.mutation(rng);
            memtable.apply(mutation.as_ref());
            newest = newest.max(mutation.as_ref().max_timestamp());
        }
        assert_eq!(memtable.max_timestamp(), newest);
        let mut after: Option<Partition> = None;
        while let Some(next) = memtable.next_partition(after.as_ref().map(|p| (p.token(), p.key()))) {
            let mut rows = next.rows(&Slice::all(), Direction::Forward);
            while let Peek::Item(item) = rows.peek() {
                let at = item.position();
                assert!(memtable.min_clustering().unwrap() <= at && at <= memtable.max_clustering().unwrap());
                if let Item::Row { row, .. } = item {
                    assert!(memtable.min_timestamp() <= row.min_timestamp() && row.max_timestamp() <= newest);
                }
                rows.advance();
            }
            after = Some(next);
        }
    });
}
