//! Scans: what is read front to back is what was written, whatever the tokens, the blocks and the way it is taken.
//!
//! `SCROLLBACK_SEED=17 cargo test -p scrollback-sstable --test files scan` repeats one seed.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "damages files behind the store's back")]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use model::{ColumnId, Deletion, Direction, Item, Merge, Peek, RowBuilder, RowRef, RowSource, Slice, Step, Token};
use runtime::ShardId;
use runtime::sim::{Config, Sim};
use scrollback_sstable::{BlockCache, Compression, Error, Scan, Summary, Table, Writer, WriterOptions};

use crate::common::{self, Owned, Partition, Rng, Thing, forge, frames, sample};

const EIO: i32 = 5;

const ALL: RangeInclusive<Token> = Token(i64::MIN)..=Token(i64::MAX);

async fn write(path: &Path, options: &WriterOptions, partitions: &[Partition]) -> Summary {
    let mut writer = Writer::create(path, options.clone(), 0).await.unwrap();
    for fragment in common::fragments(partitions) {
        writer.append(fragment.fragment()).await.unwrap();
    }
    writer.seal().await.unwrap()
}

async fn open(path: &Path, summary: &Summary) -> Table {
    let cache = Rc::new(BlockCache::new(1 << 20));
    Table::open(path, summary.generation, summary.file_bytes, cache)
        .await
        .unwrap()
}

fn thing(item: Item<'_>) -> Thing {
    match item {
        Item::Row { clustering, row } => Thing::Row(clustering.to_vec(), row.bytes().to_vec()),
        Item::RangeChange { position, deletion } => Thing::Change(position.to_vec(), deletion),
    }
}

fn owned(thing: Thing) -> Owned {
    match thing {
        Thing::Row(clustering, body) => Owned::Row(clustering, body),
        Thing::Change(position, deletion) => Owned::Change(position, deletion),
    }
}

/// The next item of the present partition; checks that no pending position promised too much.
async fn next(scan: &mut Scan) -> Result<Option<Thing>, Error> {
    let mut promised: Option<Vec<u8>> = None;
    loop {
        match scan.peek() {
            Peek::End => return Ok(None),
            Peek::Item(item) => {
                if let Some(promised) = promised {
                    assert!(
                        promised.as_slice() <= item.position(),
                        "{promised:02x?}, then {item:02x?}"
                    );
                }
                return Ok(Some(thing(item)));
            }
            Peek::Pending { position } => {
                assert!(promised.is_none_or(|promised| promised.as_slice() <= position));
                promised = Some(position.to_vec());
            }
        }
        scan.fill().await?;
    }
}

/// All that a scan gives, as fragments.
async fn read_all(scan: &mut Scan) -> Result<Vec<Owned>, Error> {
    let mut out = Vec::new();
    while scan.next_partition().await? {
        out.push(Owned::Start {
            token: scan.token(),
            key: scan.key().to_vec(),
            deletion: scan.deletion(),
        });
        out.extend(scan.static_row().map(|row| Owned::Static(row.bytes().to_vec())));
        while let Some(thing) = next(scan).await? {
            out.push(owned(thing));
            scan.advance();
        }
        out.push(Owned::End);
    }
    assert!(!scan.next_partition().await?, "a scan ends once");
    assert_eq!(scan.peek(), Peek::End);
    Ok(out)
}

/// Partitions, some of which share their token.
fn partitions(rng: &mut Rng) -> Vec<Partition> {
    let mut partitions = common::partitions(rng);
    if rng.one_in(3) {
        let shared = [Token(i64::MIN), Token(5), Token(i64::MAX)][rng.below(3) as usize];
        for p in &mut partitions {
            if rng.one_in(2) {
                p.token = shared;
            }
        }
        partitions.sort_by(|a, b| (a.token, &a.key).cmp(&(b.token, &b.key)));
    }
    partitions
}

/// A range of tokens whose ends are often those of partitions, or next to them.
fn tokens(rng: &mut Rng, partitions: &[Partition]) -> RangeInclusive<Token> {
    let mut end = || match rng.below(4) {
        0 => Token(rng.next() as i64),
        1 => [Token(i64::MIN), Token(i64::MAX)][rng.below(2) as usize],
        _ => {
            let of = partitions[rng.below(partitions.len() as u64) as usize].token.0;
            Token(of.saturating_add(rng.below(3) as i64 - 1))
        }
    };
    end()..=end()
}

/// Polls a future once, and drops it.
async fn once<T>(f: impl Future<Output = T>) -> Option<T> {
    let mut f = pin!(f);
    poll_fn(|context| match f.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// As `next_partition`, sometimes after it was dropped under way.
async fn next_partition(scan: &mut Scan, rng: &mut Rng) -> bool {
    while rng.one_in(2) {
        if let Some(next) = once(scan.next_partition()).await {
            return next.unwrap();
        }
        if rng.one_in(2) {
            runtime::next_pass().await;
        }
    }
    scan.next_partition().await.unwrap()
}

/// Takes partitions in all ways at once: item by item, in runs of live rows, passing over what is covered or dead, leaving early,
/// dropping futures.
async fn read_anyhow(scan: &mut Scan, expected: &[&Partition], rng: &mut Rng) {
    for p in expected {
        assert!(next_partition(scan, rng).await);
        assert_eq!(
            (scan.token(), scan.key(), scan.deletion()),
            (p.token, &p.key[..], p.deletion)
        );
        assert_eq!(scan.static_row().map(|row| row.bytes().to_vec()), p.static_row);
        let all = p.read(&Slice::all(), Direction::Forward);
        let mut left = &all[..];
        loop {
            let until = (!rng.one_in(3)).then(|| common::position(rng));
            let within = |key: &Vec<u8>| until.as_ref().is_none_or(|until| key < until);
            let way = rng.below(6);
            let by = rng.below(230) as i64;
            let passed = match way {
                0 => scan.skip_covered(by, until.as_deref()),
                1 => scan.skip_dead(until.as_deref()),
                2 => {
                    let most = rng.below(20);
                    let mut given = 0;
                    let got = scan.give_live(Direction::Forward, until.as_deref(), &mut |key, row| {
                        let Some((Thing::Row(k, body), rest)) = left.split_first() else {
                            panic!("{key:02x?} is no row")
                        };
                        assert_eq!((key, row.bytes()), (&k[..], &body[..]));
                        assert!(row.is_wholly_live() && within(k));
                        left = rest;
                        given += 1;
                        given < most
                    });
                    assert_eq!(got, given);
                    0
                }
                3 if rng.one_in(20) => break,
                _ => 0,
            };
            for _ in 0..passed {
                let Some((Thing::Row(key, body), rest)) = left.split_first() else {
                    panic!("{:02x?} was passed over", left.first())
                };
                let row = RowRef::parse(body).unwrap();
                assert!(if way == 0 {
                    row.max_timestamp() <= by
                } else {
                    row.is_row_tombstone()
                });
                assert!(within(key), "{key:02x?} was passed over, but the bound is {until:02x?}");
                left = rest;
            }
            match scan.peek() {
                Peek::End => {
                    assert_eq!(left, []);
                    break;
                }
                Peek::Pending { position } => {
                    let first = left.first().map(|thing| match thing {
                        Thing::Row(position, _) | Thing::Change(position, _) => position.as_slice(),
                    });
                    assert!(first.is_some_and(|first| position <= first));
                    match rng.one_in(3) {
                        true => once(scan.fill()).await.unwrap_or(Ok(())).unwrap(),
                        false => scan.fill().await.unwrap(),
                    }
                }
                Peek::Item(item) => {
                    let (first, rest) = left.split_first().unwrap();
                    assert_eq!(thing(item), *first);
                    left = rest;
                    scan.advance();
                }
            }
        }
    }
    assert!(!next_partition(scan, rng).await);
}

/// What the index says of the partitions that it names, and of the others.
async fn shares(table: &Table, tokens: RangeInclusive<Token>) -> (BTreeMap<Vec<u8>, u64>, u64) {
    let mut shares = BTreeMap::new();
    let take = |key: &[u8], bytes| *shares.entry(key.to_vec()).or_default() += bytes;
    let others = table.partition_shares(tokens, take).await.unwrap();
    (shares, others)
}

/// Writes, and reads in all ways.
async fn check(path: &Path, partitions: &[Partition], rng: &mut Rng) {
    let options = common::tiny_options(rng);
    let summary = write(path, &options, partitions).await;
    let table = open(path, &summary).await;

    let piece_bytes = rng.below(1 << 20);
    let mut scan = table.scan(ALL).in_pieces(piece_bytes);
    assert_eq!(scan.device_bytes(), 0);
    assert_eq!(read_all(&mut scan).await.unwrap(), common::fragments(partitions));
    let sizes = summary.statistics.sizes;
    assert!((sizes.data_bytes..=summary.file_bytes + sizes.index_bytes).contains(&scan.device_bytes()));

    for _ in 0..6 {
        let tokens = tokens(rng, partitions);
        let expected: Vec<&Partition> = partitions.iter().filter(|p| tokens.contains(&p.token)).collect();
        let fragments: Vec<Owned> = expected.iter().flat_map(|p| p.fragments()).collect();
        assert_eq!(
            read_all(&mut table.scan(tokens.clone())).await.unwrap(),
            fragments,
            "{tokens:?}"
        );
        let mut scan = table.scan(tokens.clone()).in_pieces(piece_bytes);
        read_anyhow(&mut scan, &expected, rng).await;
        assert!(table.bytes_between(*tokens.start(), *tokens.end()) <= summary.file_bytes);
    }
    assert_eq!(
        table.bytes_between(Token(i64::MIN), Token(i64::MAX)),
        summary.file_bytes
    );

    let mut sum = 0;
    for p in partitions {
        let bytes = table.partition_bytes(p.token, &p.key).await.unwrap();
        assert!((1..=sizes.data_bytes).contains(&bytes), "{bytes}");
        sum += bytes;
    }
    // Each frame is shared out among those in it; what is rounded off, or up, is little.
    assert!(sum <= sizes.data_bytes + partitions.len() as u64);

    // Those that the index names have the same; the others are what is left.
    let (shares, others) = shares(&table, ALL).await;
    let named: u64 = shares.values().sum();
    assert!((sizes.data_bytes..=sizes.data_bytes + partitions.len() as u64).contains(&(named + others)));
    for (key, share) in &shares {
        let p = partitions.iter().find(|p| p.key == *key).expect("a partition");
        assert_eq!(*share, table.partition_bytes(p.token, key).await.unwrap(), "{key:?}");
    }
    let frames = partitions.iter().filter(|p| !shares.contains_key(&p.key));
    for p in frames {
        let bytes = table.partition_bytes(p.token, &p.key).await.unwrap();
        assert!(bytes <= others, "one that is not named is within a frame: {bytes}");
    }
    let some = tokens(rng, partitions);
    let within = partitions.iter().filter(|p| some.contains(&p.token));
    let expected: Vec<_> = within.filter_map(|p| Some((&p.key, shares.get(&p.key)?))).collect();
    let (of_some, _) = self::shares(&table, some.clone()).await;
    let mut found: Vec<_> = of_some.iter().collect();
    found.sort_by_key(|(key, _)| partitions.iter().position(|p| p.key == **key));
    assert_eq!(found, expected, "{some:?}");
    table.close().await.unwrap();
}

#[test]
fn scans_of_random_partitions_on_a_shard() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        for seed in common::seeds(100) {
            eprintln!("SCROLLBACK_SEED={seed} cargo test -p scrollback-sstable --test files scan");
            let mut rng = Rng(seed ^ 0x5CA);
            let partitions = partitions(&mut rng);
            check(&path, &partitions, &mut rng).await;
            runtime::disk::remove(&path).await.unwrap();
        }
    });
}

#[test]
fn scans_of_random_partitions_in_the_simulator() {
    for seed in common::seeds(400) {
        let mut rng = Rng(seed ^ 0x5CA1);
        let partitions = partitions(&mut rng);
        let mut sim = Sim::new(Config {
            seed,
            shards: 1,
            ..Config::default()
        });
        let node = sim.start();
        sim.run(async move {
            let run = move || async move { check(Path::new("/t.sst"), &partitions, &mut rng).await };
            node.call(ShardId(0), run).await.unwrap();
        })
        .done();
    }
}

/// Partitions that fill many pieces: `count` of them, of `rows` rows of about 1 KiB that do not compress.
fn large(count: u64, rows: u32) -> Vec<Partition> {
    let mut rng = Rng(1);
    let mut row = RowBuilder::new();
    let partition = |n: u64| {
        let mut p = Partition::new(&n.to_be_bytes());
        p.token = Token(n as i64 * 1000);
        p.rows = (0..rows)
            .map(|n| {
                row.clear().liveness(5).cell(ColumnId(1), 5, &rng.bytes(1000));
                ([&[0x10][..], &n.to_be_bytes()].concat(), row.finish().to_vec())
            })
            .collect();
        p
    };
    (0..count).map(partition).collect()
}

#[test]
fn a_narrow_scan_reads_its_frames_only_and_leaves_the_cache_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let partitions = large(40, 150);
        let options = WriterOptions {
            index_bytes: 500,
            ..common::options()
        };
        let summary = write(&path, &options, &partitions).await;
        let cache = Rc::new(BlockCache::new(1 << 20));
        let table = Table::open(&path, summary.generation, summary.file_bytes, cache.clone())
            .await
            .unwrap();
        let sizes = summary.statistics.sizes;
        let (frame, index) = (
            sizes.data_bytes / sizes.data_frames,
            sizes.index_bytes / sizes.index_frames,
        );
        for (first, last) in [(0, 39), (0, 0), (39, 39), (7, 7), (7, 20), (38, 39)] {
            let tokens = Token(first * 1000)..=Token(last * 1000);
            let part = summary.file_bytes * (last - first + 1) as u64 / 40;
            let mut scan = table.scan(tokens);
            let expected = common::fragments(&partitions[first as usize..=last as usize]);
            assert_eq!(read_all(&mut scan).await.unwrap(), expected);
            // A frame at either end, and the index frames twice.
            let most = part + 4 * frame + (part / frame / 5 + 3) * index * 2;
            let read = scan.device_bytes();
            assert!(
                (part * 98 / 100..=most).contains(&read),
                "{first} to {last}: {read} of {part}, at most {most}"
            );
            // As the top index knows, up to an index frame at either end.
            let between = table.bytes_between(Token(first * 1000), Token(last * 1000 + 999));
            let group = summary.file_bytes / sizes.index_frames;
            assert!(
                between.abs_diff(part) <= 3 * group,
                "{first} to {last}: {between} of {part}"
            );
        }
        // Between two partitions, and beyond them: nothing, or the one block that may have it.
        for token in [500, -1, 39_001] {
            let mut scan = table.scan(Token(token)..=Token(token));
            assert!(!scan.next_partition().await.unwrap());
            assert!(
                scan.device_bytes() <= frame * 2 + index * 2,
                "{token}: {}",
                scan.device_bytes()
            );
        }
        let mut scan = table.scan(Token(5)..=Token(4));
        assert!(!scan.next_partition().await.unwrap());
        assert_eq!(
            (scan.device_bytes(), cache.bytes(), cache.hits(), cache.misses()),
            (0, 0, 0, 0)
        );

        // Partitions that are left at once.
        let mut scan = table.scan(ALL);
        let mut keys = 0;
        while scan.next_partition().await.unwrap() {
            keys += 1;
        }
        assert_eq!(keys, 40);

        for (n, p) in partitions.iter().enumerate() {
            let bytes = table.partition_bytes(p.token, &p.key).await.unwrap();
            assert!(
                bytes.abs_diff(summary.file_bytes / 40) < 2 * frame,
                "partition {n}: {bytes}"
            );
        }
        assert_eq!(table.partition_bytes(Token(-7), b"none").await.unwrap(), 0);
    });
}

#[test]
fn an_empty_file_has_nothing_to_scan() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let summary = write(&path, &common::options(), &[]).await;
        let table = open(&path, &summary).await;
        let mut scan = table.scan(ALL);
        assert_eq!(read_all(&mut scan).await.unwrap(), []);
        assert_eq!((scan.device_bytes(), table.bytes_between(Token(0), Token(9))), (0, 0));
        assert_eq!(table.partition_bytes(Token(0), b"k").await.unwrap(), 0);
    });
}

/// A row of more than a piece, between small ones.
#[test]
fn a_frame_may_be_longer_than_a_piece() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let mut partitions = large(3, 20);
        let mut row = RowBuilder::new();
        for (n, len) in [(3, 100_000), (7, 1_500_000), (8, 600_000)] {
            row.clear().liveness(5).cell(ColumnId(1), 5, &Rng(n).bytes(len));
            partitions[1].rows[n as usize].1 = row.finish().to_vec();
        }
        let summary = write(&path, &common::options(), &partitions).await;
        let table = open(&path, &summary).await;
        assert_eq!(
            read_all(&mut table.scan(ALL)).await.unwrap(),
            common::fragments(&partitions)
        );
    });
}

/// What a scan gives in its own order a merge of it and others takes, partition by partition.
#[test]
fn a_merge_borrows_scans() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let mut partitions = large(3, 60);
        // The second is deleted, and of the third all but the first ten rows.
        partitions[1].deletion = Deletion::new(9, 9);
        partitions[2].changes = vec![
            (vec![0x10, 0, 0, 0, 10], Deletion::new(8, 8)),
            (vec![0xFF], Deletion::LIVE),
        ];
        let options = common::options();
        let summary = write(&path, &options, &partitions).await;
        let table = open(&path, &summary).await;
        let mut scans = [table.scan(ALL), table.scan(Token(1)..=Token(i64::MAX))];
        assert!(scans[0].next_partition().await.unwrap());
        let mut rows = Vec::new();
        for p in &partitions {
            let [first, second] = &mut scans;
            let second = (p.token > Token(0)).then_some(second);
            let mut sources = vec![first];
            if let Some(second) = second {
                assert!(second.next_partition().await.unwrap());
                sources.push(second);
            }
            for source in &sources {
                assert_eq!((source.token(), source.key()), (p.token, &p.key[..]));
            }
            let deletion = sources[0].deletion();
            let mut merge = Merge::new(sources, Direction::Forward, deletion);
            let (mut count, mut changes) = (0, 0);
            loop {
                match merge.step() {
                    Step::End => break,
                    Step::Pending(source) => merge.source_mut(source).fill().await.unwrap(),
                    Step::Item => match merge.item() {
                        Item::Row { .. } => count += 1,
                        Item::RangeChange { .. } => changes += 1,
                    },
                }
            }
            rows.push((count, changes));
            drop(merge);
            assert_eq!(scans[0].next_partition().await.unwrap(), p.token < Token(2000));
        }
        assert_eq!(rows, [(60, 0), (0, 0), (10, 2)]);
    });
}

/// Scans everything, and passes over everything.
async fn scan_all(path: &Path, len: u64) -> Result<(), Error> {
    let table = Table::open(path, 42, len, Rc::new(BlockCache::new(0))).await?;
    let read = read_all(&mut table.scan(ALL)).await;
    let mut scan = table.scan(ALL);
    while scan.next_partition().await? {
        scan.skip_covered(i64::MAX, None);
    }
    read?;
    table.close().await
}

#[test]
fn a_scan_names_file_and_offset_of_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        for compression in [Compression::Lz4, Compression::None] {
            let (_, _, bytes) = sample(compression);
            std::fs::write(&path, &bytes).unwrap();
            scan_all(&path, bytes.len() as u64).await.unwrap();
            for (at, len) in frames(&bytes) {
                for byte in (at..at + len).step_by(7) {
                    let mut bad = bytes.clone();
                    bad[byte] ^= 0x10;
                    std::fs::write(&path, &bad).unwrap();
                    match scan_all(&path, bad.len() as u64).await {
                        Err(Error::Corrupt {
                            path: named, offset, ..
                        }) => assert_eq!((named, offset), (path.clone(), at as u64), "byte {byte}"),
                        other => panic!("byte {byte}: {other:?}"),
                    }
                }
            }
        }
    });
}

#[test]
fn an_error_at_any_read_is_told() {
    let path = Path::new("/t.sst");
    let partitions = large(3, 400);
    let mut failures = 0;
    for n in 0.. {
        let mut sim = Sim::new(Config {
            seed: n,
            shards: 1,
            ..Config::default()
        });
        let node = sim.start();
        let written = partitions.clone();
        let job = move || async move { write(path, &common::options(), &written).await.file_bytes };
        let len = sim.run(async move { node.call(ShardId(0), job).await.unwrap() }).done();
        sim.disk().fail_after("read", "t.sst", n, 1, EIO);
        let node = sim.start();
        let job = move || async move { scan_all(path, len).await };
        match sim.run(async move { node.call(ShardId(0), job).await.unwrap() }).done() {
            Ok(()) => break,
            Err(Error::Io(_)) => failures += 1,
            Err(error) => panic!("read {n}: {error}"),
        }
    }
    // Opening, one index frame, pieces of 1.2 MB.
    assert!(failures >= 5, "{failures} reads");
}

/// What a scan gives of forged frames is sorted, so that a writer takes it.
#[test]
fn a_scan_of_forged_frames_is_an_error_or_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.sst");
    common::on_shard(move || async move {
        let (mut refused, mut sorted) = (0, 0);
        for seed in common::seeds(1000) {
            let mut rng = Rng(seed);
            let (options, _, bytes) = sample(Compression::None);
            let forged = forge(&bytes, &options, &mut rng);
            std::fs::write(&path, &forged).unwrap();
            let _ = scan_all(&path, forged.len() as u64).await;
            let Ok(table) = Table::open(&path, 42, forged.len() as u64, Rc::new(BlockCache::new(0))).await else {
                refused += 1;
                continue;
            };
            match read_all(&mut table.scan(ALL)).await {
                Ok(fragments) => {
                    sorted += 1;
                    let fragments = fragments.iter().map(|fragment| match fragment {
                        // Not every body is a row: that is for its checksum.
                        Owned::Row(key, _) => Owned::Row(key.clone(), Vec::new()),
                        Owned::Static(_) => Owned::Static(Vec::new()),
                        other => other.clone(),
                    });
                    let fragments: Vec<Owned> = fragments.collect();
                    let empty = RowBuilder::new().finish().to_vec();
                    let fragments = fragments.iter().map(|fragment| match fragment {
                        Owned::Row(clustering, _) => model::Fragment::Row {
                            clustering,
                            row: RowRef::trusted(&empty),
                        },
                        Owned::Static(_) => model::Fragment::StaticRow(RowRef::trusted(&empty)),
                        other => other.fragment(),
                    });
                    scrollback_sstable::encode(common::options(), fragments);
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 300 && sorted > 30, "{refused} refused, {sorted} sorted");
    });
}
