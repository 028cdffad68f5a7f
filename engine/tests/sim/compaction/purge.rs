//! What is dead goes for good when its grace has passed and nothing is left that it hides; not before.

use super::{AT_REST, GRACE_S, NOW_S, Verdict, alter, compacted, config, must_be, open, start, statistics};
use crate::common::{clustering, column, delete_channel, key, message, messages};
use crate::simulated::{both, run, simulator};
use model::{Alteration, Deletion, Mutation, MutationBuilder, RowBuilder, Schema};
use runtime::ShardId;
use runtime::sim::client_sleep;
use scrollback_engine::{Read, Store};
use std::time::Duration;

/// What hides the message of channel 1.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Dead {
    Row,
    Cell,
    Range,
    Channel,
    Static,
    Expired,
}

const ALL: [Dead; 6] = [
    Dead::Row,
    Dead::Cell,
    Dead::Range,
    Dead::Channel,
    Dead::Static,
    Dead::Expired,
];

/// Where what it hides is besides the inputs.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Hidden {
    Nowhere,
    Memtable,
    OtherFile,
    /// In a memtable, but younger than what is dead: nothing is hidden.
    Younger,
}

/// What is written first and hidden then: an edit, or the topic.
fn old(schema: &Schema, dead: Dead, timestamp: i64) -> Mutation {
    let mut row = RowBuilder::new();
    let mut mutation = MutationBuilder::new(schema.id, &key(1));
    match dead {
        Dead::Static => {
            row.cell(column(schema, "topic"), timestamp, b"old");
            mutation.static_row(row.finish());
        }
        _ => {
            row.cell(column(schema, "content"), timestamp, b"old");
            mutation.row(&clustering(schema, 5), row.finish());
        }
    }
    mutation.build()
}

fn hides(schema: &Schema, dead: Dead, timestamp: i64, at_s: u32) -> Mutation {
    let deletion = Deletion {
        timestamp,
        local_deletion_time: at_s,
    };
    let mut row = RowBuilder::new();
    let mut mutation = MutationBuilder::new(schema.id, &key(1));
    let at = clustering(schema, 5);
    match dead {
        Dead::Row => {
            row.deletion(deletion);
            mutation.row(&at, row.finish());
        }
        Dead::Cell => {
            row.tombstone(column(schema, "content"), timestamp, at_s);
            mutation.row(&at, row.finish());
        }
        Dead::Range => {
            let mut end = at.clone();
            end.push(0xFF);
            mutation.delete_range(&at, &end, deletion);
        }
        Dead::Channel => {
            mutation.delete_partition(deletion);
        }
        Dead::Static => {
            row.tombstone(column(schema, "topic"), timestamp, at_s);
            mutation.static_row(row.finish());
        }
        Dead::Expired => {
            row.cell_ttl(column(schema, "content"), timestamp, b"gone", 1, at_s + 1);
            mutation.row(&at, row.finish());
        }
    }
    mutation.build()
}

/// What of the kind is in the files: tombstones, or what hides as one.
fn count(of: &sstable::Statistics, dead: Dead) -> u64 {
    match dead {
        Dead::Row => of.row_tombstones,
        Dead::Cell | Dead::Static => of.cell_tombstones,
        Dead::Range => of.range_tombstones,
        Dead::Channel => of.partition_tombstones,
        Dead::Expired => of.cell_tombstones + of.expiring_cells,
    }
}

/// Compacts one case, and says what a reader sees and how much that is dead is left. The inputs are two small files; another one is too
/// large to be taken with them.
fn case(dead: Dead, hidden: Hidden, grace_passed: bool) -> Verdict {
    let by_size = [
        ("class", "SizeTieredCompactionStrategy"),
        ("min_threshold", "2"),
        ("min_sstable_size", "0"),
    ];
    let at_s = if grace_passed {
        NOW_S - GRACE_S - 10
    } else {
        NOW_S - GRACE_S + 100
    };
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    let (rows, topic) = run(&mut sim, async move {
        let (store, schema) = open(handle, config(), &AT_REST).await;
        let apply = async |mutation: Mutation| store.apply(mutation).await.expect("written");
        for id in 0..60 {
            apply(message(&schema, 2, id, 1000, &"x".repeat(500))).await;
        }
        if hidden == Hidden::OtherFile {
            apply(old(&schema, dead, 100)).await;
        }
        store.flush().await.expect("flushed");
        // Something lives in both of the inputs.
        apply(message(&schema, 3, 1, 1000, "x")).await;
        apply(old(&schema, dead, 90)).await;
        store.flush().await.expect("flushed");
        apply(message(&schema, 3, 2, 1000, "x")).await;
        apply(hides(&schema, dead, 300, at_s)).await;
        store.flush().await.expect("flushed");
        match hidden {
            Hidden::Memtable => apply(old(&schema, dead, 100)).await,
            Hidden::Younger => apply(old(&schema, dead, 301)).await,
            Hidden::Nowhere | Hidden::OtherFile => {}
        }
        alter(&store, &by_size).await;
        compacted(&store).await.expect("compacted");
        let page = store.read(Read::partition(schema.id, key(1))).await.expect("read");
        let seen = (messages(&schema, &page), page.static_row().is_some());
        // Without a flush: what lies in memory stays in the log.
        drop(store);
        seen
    });
    let name = format!("{dead:?}, {hidden:?}, grace passed: {grace_passed}");
    let is_static = dead == Dead::Static;
    let expected = match hidden {
        Hidden::Younger if !is_static => vec![(5, "old".to_owned())],
        _ => Vec::new(),
    };
    must_be(&name, &rows, &expected)?;
    must_be(
        &format!("{name}, topic"),
        &topic,
        &(is_static && hidden == Hidden::Younger),
    )?;
    let of_files = statistics(&sim.disk());
    must_be(&format!("{name}, files"), &of_files.len(), &2)?;
    let left: u64 = of_files.values().map(|of| count(of, dead)).sum();
    let may_go = grace_passed && matches!(hidden, Hidden::Nowhere | Hidden::Younger);
    must_be(&format!("{name}, dead ones left"), &left, &u64::from(!may_go))
}

#[test]
fn what_is_dead_goes_when_its_grace_has_passed_and_it_hides_nothing() {
    for dead in ALL {
        for hidden in [Hidden::Nowhere, Hidden::Memtable, Hidden::OtherFile, Hidden::Younger] {
            for grace_passed in [true, false] {
                case(dead, hidden, grace_passed).unwrap_or_else(|what| panic!("{what}"));
            }
        }
    }
}

#[cfg(feature = "breaks")]
#[test]
fn a_purge_of_what_is_needed_is_noticed() {
    use runtime::Break;
    for (which, hidden, grace_passed) in [
        (Break::PurgesWithoutMemtables, Hidden::Memtable, true),
        (Break::PurgesWithoutFiles, Hidden::OtherFile, true),
        (Break::PurgesWithoutGrace, Hidden::Nowhere, false),
    ] {
        for dead in ALL {
            let noticed = runtime::with_break(which, || case(dead, hidden, grace_passed));
            let what = noticed
                .err()
                .unwrap_or_else(|| panic!("{which:?} is not noticed: {dead:?}"));
            println!("{which:?}: {what}");
        }
    }
}

/// Partitions whose old rows are written again while they are merged.
const CHANNELS: i64 = 12;

/// Old rows are written, again, so many microseconds after a compaction is asked for that may purge their deletions. `None`: they came
/// when it had begun; else those that are seen.
fn rows_under_way(after_us: u64) -> Option<usize> {
    let mut sim = simulator(after_us, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config(), &AT_REST).await;
        for name in ["one", "other"] {
            for channel in 0..CHANNELS {
                let deletion = delete_channel(schema.id, channel, 300);
                store.apply(deletion).await.expect("written");
            }
            store
                .apply(message(&schema, CHANNELS, 1, 1, name))
                .await
                .expect("written");
            store.flush().await.expect("flushed");
        }
        let write = async {
            client_sleep(Duration::from_micros(after_us)).await;
            let old: Vec<Mutation> = (0..CHANNELS)
                .map(|channel| message(&schema, channel, 1, 100, "old"))
                .collect();
            let apply = async move |shard: std::rc::Rc<scrollback_engine::Shard>| {
                // They are in the log before anything else happens on the shard.
                let (running, ended) = shard.compactions();
                let is_early = ended.is_empty() && running.is_none_or(|running| running.read_bytes == 0);
                shard.apply_all(old).await.map(|()| is_early)
            };
            store.call(ShardId(0), apply).await.expect("open").expect("written")
        };
        let compact = async {
            start(&store).await;
            compacted(&store).await.expect("compacted");
        };
        let (is_early, ()) = both(write, compact).await;
        let mut seen = 0;
        for channel in 0..CHANNELS {
            let page = store
                .read(Read::partition(schema.id, key(channel)))
                .await
                .expect("read");
            seen += page.len();
        }
        store.close().await.expect("closed");
        is_early.then_some(seen)
    })
}

fn rows_under_way_stay_dead() -> Verdict {
    let mut early = 0;
    for after_us in (0..1200).step_by(10) {
        if let Some(seen) = rows_under_way(after_us) {
            early += 1;
            must_be(&format!("rows that come back, written after {after_us} us"), &seen, &0)?;
        }
    }
    match early {
        20.. => Ok(()),
        _ => panic!("{early} writes came before the merge"),
    }
}

/// A record of the log that is not applied yet is in no memtable, and counts.
#[test]
fn what_is_under_way_to_a_memtable_stays_hidden() {
    rows_under_way_stay_dead().unwrap_or_else(|what| panic!("{what}"));
}

#[cfg(feature = "breaks")]
#[test]
fn a_purge_of_what_the_log_still_needs_is_noticed() {
    let noticed = runtime::with_break(runtime::Break::PurgesWithoutLog, rows_under_way_stay_dead);
    println!("{}", noticed.expect_err("noticed"));
}

#[test]
fn cells_of_dropped_columns_are_gone_from_the_files() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config(), &AT_REST).await;
        for timestamp in 1..=2 {
            for id in 1..=10 {
                let write = message(&schema, 1, id, timestamp, "secret");
                store.apply(write).await.expect("written");
            }
            store.flush().await.expect("flushed");
        }
        let dropped = store
            .alter_table("chat", "messages", vec![Alteration::drop("content")])
            .await;
        dropped.expect("altered");
        start(&store).await;
        compacted(&store).await.expect("compacted");
        rows_are(&store, &schema, 10).await;
        store.close().await.expect("closed");
    });
    let disk = sim.disk();
    let of_files = statistics(&disk);
    let of: Vec<_> = of_files.values().collect();
    assert_eq!((of.len(), of[0].rows, of[0].cells), (1, 10, 10), "the authors");
    let has_secret = |path: &std::path::PathBuf| {
        let bytes = disk.read_file(path).expect("a file");
        bytes.windows(6).any(|window| window == b"secret")
    };
    let with: Vec<_> = disk
        .list()
        .into_iter()
        .filter(|path| path.starts_with("/store/tables") && has_secret(path))
        .collect();
    assert_eq!(with, Vec::<std::path::PathBuf>::new());
}

async fn rows_are(store: &Store, schema: &Schema, rows: usize) {
    let page = store.read(Read::partition(schema.id, key(1))).await.expect("read");
    assert_eq!(page.len(), rows);
}
