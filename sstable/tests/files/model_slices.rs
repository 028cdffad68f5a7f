//! Random partitions, written with small blocks and read back by random slices in both directions, against a naive model.
//!
//! `SCROLLBACK_SEED=17 cargo test -p scrollback-sstable --test model_slices` repeats one seed.

#![allow(clippy::unwrap_used, reason = "tests")]

use crate::common;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::common::{Owned, Partition, Rng, Thing};
use model::{DeadRows, Direction, Item, KeyDigest, KeySeed, Peek, RowRef, RowSource, Slice};
use runtime::ShardId;
use runtime::sim::{Config, Sim};
use scrollback_sstable::{BlockCache, Cursor, Table, Writer, WriterOptions, offline};

/// How often the digests of an unread block were known, and that all up to a position is dead: over all seeds.
static KNOWN: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

fn thing(item: Item<'_>) -> Thing {
    match item {
        Item::Row { clustering, row } => Thing::Row(clustering.to_vec(), row.bytes().to_vec()),
        Item::RangeChange { position, deletion } => Thing::Change(position.to_vec(), deletion),
    }
}

fn place(thing: &Thing) -> &[u8] {
    match thing {
        Thing::Row(position, _) | Thing::Change(position, _) => position,
    }
}

/// The next item; checks that no pending position promised too much.
async fn next(cursor: &mut Cursor, direction: Direction) -> Option<Thing> {
    let mut promised: Option<Vec<u8>> = None;
    loop {
        match cursor.peek() {
            Peek::End => return None,
            Peek::Item(item) => {
                let got = thing(item);
                if let Some(promised) = promised {
                    assert!(
                        direction.compare(&promised, place(&got)).is_le(),
                        "pending at {promised:02x?}, then {got:02x?}"
                    );
                }
                return Some(got);
            }
            Peek::Pending { position } => {
                if let Some(promised) = &promised {
                    assert!(direction.compare(promised, position).is_le(), "a bound that goes back");
                }
                promised = Some(position.to_vec());
            }
        }
        cursor.fill().await.unwrap();
    }
}

async fn read(cursor: &mut Cursor, direction: Direction) -> Vec<Thing> {
    let mut out = Vec::new();
    while let Some(thing) = next(cursor, direction).await {
        out.push(thing);
        cursor.advance();
    }
    out
}

/// Reads with `skip_covered` thrown in at random: what is passed over must be rows that are covered and within the bound.
async fn read_skipping(cursor: &mut Cursor, direction: Direction, expected: &[Thing], rng: &mut Rng) {
    let mut at = 0;
    loop {
        if rng.one_in(3) {
            let timestamp = rng.below(230) as i64;
            let until = (!rng.one_in(3)).then(|| common::position(rng));
            let passed = cursor.skip_covered(timestamp, until.as_deref());
            // A pending cursor may have to be filled before it can pass over anything.
            let got = next(cursor, direction).await;
            let from = at;
            while at < expected.len() && Some(&expected[at]) != got.as_ref() {
                let Thing::Row(position, body) = &expected[at] else {
                    panic!("{:02x?} was passed over", expected[at])
                };
                let max = RowRef::parse(body).unwrap().max_timestamp();
                assert!(max <= timestamp, "a row of {max} was passed over at {timestamp}");
                if let Some(until) = &until {
                    let within = match direction {
                        Direction::Forward => position < until,
                        Direction::Reverse => position >= until,
                    };
                    assert!(within, "{position:02x?} was passed over, but the bound is {until:02x?}");
                }
                at += 1;
            }
            assert_eq!(got.as_ref(), expected.get(at));
            assert!(
                passed >= (at - from) as u64,
                "{passed} rows counted, {} passed over",
                at - from
            );
        }
        let got = next(cursor, direction).await;
        assert_eq!(got.as_ref(), expected.get(at));
        if got.is_none() {
            return;
        }
        at += 1;
        cursor.advance();
    }
}

/// What some rows come to: those that are more than a row tombstone, the largest timestamp of all, and the others.
fn tally<'a>(rows: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> (u64, KeyDigest, i64, DeadRows) {
    let seed = KeySeed::of_host(&common::options().host_id);
    let (mut alive, mut digest, mut max_timestamp, mut dead) = (0, KeyDigest::EMPTY, i64::MIN, DeadRows::NONE);
    for (position, body) in rows {
        let row = RowRef::parse(body).unwrap();
        max_timestamp = max_timestamp.max(row.max_timestamp());
        if row.is_row_tombstone() {
            dead.add(&DeadRows {
                count: 1,
                digest: seed.digest(position),
                min_timestamp: row.max_timestamp(),
            });
        } else {
            alive += 1;
            digest.add(seed.digest(position));
        }
    }
    (alive, digest, max_timestamp, dead)
}

fn rows_of(things: &[Thing]) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
    things.iter().map(|thing| match thing {
        Thing::Row(position, body) => (position, body),
        Thing::Change(..) => panic!("{thing:02x?} was passed over"),
    })
}

/// Reads by stretches: what the index says of an unread block, and what is said to be dead, is what is there. Returns how often
/// either was known.
async fn read_by_digests(
    mut cursor: Cursor,
    p: &Partition,
    slice: &Slice,
    direction: Direction,
    expected: &[Thing],
    rng: &mut Rng,
) -> [usize; 2] {
    let mut left = expected;
    let mut known = [0; 2];
    let before = |thing: &Thing, until: &[u8]| match (thing, direction) {
        (_, Direction::Forward) => place(thing) < until,
        (Thing::Row(..), Direction::Reverse) => place(thing) >= until,
        (Thing::Change(..), Direction::Reverse) => place(thing) > until,
    };
    loop {
        let blocks = 1 + rng.below(4) as usize;
        if let Some((unread, behind)) = cursor.unread_run(blocks) {
            assert!(blocks > 1 || cursor.unread().as_ref() == Some(&unread));
            known[0] += 1;
            let (passed, rest) = left.split_at(left.iter().take_while(|thing| before(thing, &unread.until)).count());
            let (alive, digest, max_timestamp, dead) = tally(rows_of(passed));
            assert!(unread.max_timestamp >= max_timestamp);
            if *slice == Slice::all() {
                assert_eq!((unread.alive, unread.alive_digest), (alive, digest));
                assert_eq!((unread.dead.count, unread.dead.digest), (dead.count, dead.digest));
            }
            assert!(unread.alive >= alive && unread.dead.count >= dead.count);
            assert!(unread.dead.min_timestamp <= dead.min_timestamp);
            if rng.one_in(2) {
                match blocks {
                    1 => cursor.pass_unread(),
                    _ => cursor = behind,
                }
                left = rest;
            }
        }
        if rng.one_in(3) {
            let until = common::position(rng);
            let (passed, rest) = left.split_at(left.iter().take_while(|thing| before(thing, &until)).count());
            let (least, most) = (rng.below(4), rng.below(40));
            if let Some((dead, ahead)) = cursor.dead_until(&until, least, most).await.unwrap() {
                known[1] += 1;
                assert!((least..=most).contains(&dead.count));
                let (alive, _, _, of) = tally(rows_of(passed));
                // Blocks that are told whole may have rows outside the slice.
                let outside = p.rows.iter().filter(|(key, _)| !slice.contains(key)).count() as u64;
                assert!((of.count..=of.count + outside).contains(&dead.count));
                assert!(alive == 0 && (dead.digest == of.digest || dead.count > of.count));
                assert!(dead.min_timestamp <= of.min_timestamp);
                if rng.one_in(2) {
                    (cursor, left) = (ahead, rest);
                } else {
                    let mut ahead = ahead;
                    assert_eq!(next(&mut ahead, direction).await.as_ref(), rest.first());
                }
            }
        }
        match cursor.peek() {
            Peek::End => break,
            Peek::Pending { .. } => cursor.fill().await.unwrap(),
            Peek::Item(item) => {
                assert_eq!(Some(&thing(item)), left.first());
                left = &left[1..];
                cursor.advance();
            }
        }
    }
    assert_eq!(left, []);
    known
}

/// Writes and reads; the file stays.
async fn check(path: &Path, partitions: &[Partition], rng: &mut Rng) -> WriterOptions {
    let options = common::tiny_options(rng);
    let fragments = common::fragments(partitions);
    let mut writer = Writer::create(path, options.clone(), rng.below(100_000)).await.unwrap();
    for fragment in &fragments {
        writer.append(fragment.fragment()).await.unwrap();
    }
    let summary = writer.seal().await.unwrap();

    let cache = Rc::new(BlockCache::new([0, 1 << 12, 1 << 20][rng.below(3) as usize]));
    let table = Table::open(path, options.generation, summary.file_bytes, cache)
        .await
        .unwrap();
    assert_eq!(table.statistics(), &summary.statistics);
    let heads = partitions
        .iter()
        .any(|p| p.static_row.is_some() || !p.deletion.is_live());
    assert_eq!(summary.statistics.partition_heads, heads);

    let mut after: Option<(model::Token, Vec<u8>)> = None;
    for p in partitions {
        assert!(table.may_contain(p.token, &p.key));
        let next = table
            .next_partition(after.as_ref().map(|(t, k)| (*t, k.as_slice())))
            .await
            .unwrap();
        assert_eq!(next, Some((p.token, p.key.clone())));
        after = next;
        let head = table.head(p.token, &p.key).await.unwrap().unwrap();
        assert_eq!((head.deletion, &head.static_row), (p.deletion, &p.static_row));
    }
    assert_eq!(
        table
            .next_partition(after.as_ref().map(|(t, k)| (*t, k.as_slice())))
            .await
            .unwrap(),
        None
    );

    // Partitions that are not there, next to those that are.
    for p in partitions {
        for other in [[&p.key[..], &[0]].concat(), p.key[..p.key.len() - 1].to_vec()] {
            if partitions.iter().any(|p| p.key == other) {
                continue;
            }
            let mut cursor = table.cursor(p.token, &other, Slice::all(), Direction::Forward);
            assert_eq!(read(&mut cursor, Direction::Forward).await, []);
            let mut cursor = table.cursor(p.token, &other, Slice::all(), Direction::Reverse);
            assert_eq!(read(&mut cursor, Direction::Reverse).await, []);
            assert_eq!(table.head(p.token, &other).await.unwrap(), None);
            let next = table.next_partition(Some((p.token, &other))).await.unwrap();
            let expected = partitions.iter().find(|q| (q.token, &q.key) > (p.token, &other));
            assert_eq!(next, expected.map(|q| (q.token, q.key.clone())));
        }
    }

    for _ in 0..30 {
        let p = &partitions[rng.below(partitions.len() as u64) as usize];
        let slice = common::slice(rng);
        for direction in [Direction::Forward, Direction::Reverse] {
            let expected = p.read(&slice, direction);
            let mut cursor = table.cursor(p.token, &p.key, slice.clone(), direction);
            assert_eq!(
                read(&mut cursor, direction).await,
                expected,
                "{slice:02x?} {direction:?} of {p:02x?}"
            );
            let mut cursor = table.cursor(p.token, &p.key, slice.clone(), direction);
            read_skipping(&mut cursor, direction, &expected, rng).await;
            let cursor = table.cursor(p.token, &p.key, slice.clone(), direction);
            let known = read_by_digests(cursor, p, &slice, direction, &expected, rng).await;
            for (of, times) in KNOWN.iter().zip(known) {
                of.fetch_add(times, Relaxed);
            }
        }
    }
    table.close().await.unwrap();

    options
}

/// What the writer streamed is what the encoder gives at once, and it verifies.
fn check_bytes(on_disk: &[u8], options: WriterOptions, partitions: &[Partition]) {
    let bytes = common::encode(options, partitions);
    assert!(on_disk == &bytes[..], "the writer's bytes are not the encoder's");
    let mut again = Vec::new();
    let verified = offline::scan(&bytes, &mut |_, fragment| again.push(Owned::of(fragment))).unwrap();
    assert_eq!(verified.partitions, partitions.len() as u64);
    assert!(
        again == common::fragments(partitions),
        "what was read in order is not what was written"
    );
}

#[test]
fn slices_of_random_partitions_on_real_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        for seed in common::seeds(100) {
            eprintln!("SCROLLBACK_SEED={seed} cargo test -p scrollback-sstable --test model_slices");
            let mut rng = Rng(seed);
            let partitions = common::partitions(&mut rng);
            let options = check(&path, &partitions, &mut rng).await;
            check_bytes(&offline::Map::open(&path).unwrap(), options, &partitions);
            runtime::disk::remove(&path).await.unwrap();
        }
        let known = KNOWN.each_ref().map(|of| of.load(Relaxed));
        assert!(
            known.iter().all(|times| *times > 1000) || common::seeds(100).count() < 100,
            "{known:?}"
        );
    });
}

#[test]
fn slices_of_random_partitions_in_the_simulator() {
    for seed in common::seeds(100) {
        eprintln!("SCROLLBACK_SEED={seed} cargo test -p scrollback-sstable --test model_slices");
        let mut rng = Rng(seed ^ 0x5EED);
        let partitions = common::partitions(&mut rng);
        let mut sim = Sim::new(Config {
            seed,
            shards: 1,
            ..Config::default()
        });
        let node = sim.start();
        let path = Path::new("/t.sst");
        let (on_shard, mut rng) = (partitions.clone(), Rng(rng.next()));
        let options = sim
            .run(async move {
                let run = move || async move { check(path, &on_shard, &mut rng).await };
                node.call(ShardId(0), run).await.unwrap()
            })
            .done();
        check_bytes(&sim.disk().read_file(path).unwrap(), options, &partitions);
    }
}
