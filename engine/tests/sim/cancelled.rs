//! Blocks of which every row was deleted after the flush are passed over unread, wherever the tombstones are, and hide nothing.

use crate::common::{clustering, column, delete, delete_range, key, message, messages};
use crate::simulated::{open, run, simulator, small};
use model::{Direction, Mutation, MutationBuilder, RowBuilder, Schema};
use scrollback_engine::{Config, Cost, PastTombstones, Read, Store};
use std::collections::BTreeSet;

/// Messages with even ids to this one; those behind `KEPT` are deleted after their flush.
const LAST: i64 = 1200;
const KEPT: i64 = 200;
const SENT: i64 = 100;
const DELETED: i64 = 200;

/// Where the tombstones are when it is read.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Tombstones {
    Memory,
    File,
    /// The odd half of them in one file, the even in another.
    TwoFiles,
    FileAndMemory,
}

const EVERYWHERE: [Tombstones; 4] = [
    Tombstones::Memory,
    Tombstones::File,
    Tombstones::TwoFiles,
    Tombstones::FileAndMemory,
];

/// What is other than plain.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Before the flush: when a message was sent, if not at `SENT`.
    sent: fn(i64) -> Option<i64>,
    /// When a message is deleted, if it is.
    deleted: fn(i64) -> Option<i64>,
    /// Written with the tombstones.
    more: fn(&Schema) -> Vec<Mutation>,
    /// Messages that live although they are newer than `KEPT`.
    live: &'static [i64],
    /// Messages up to `KEPT` that do not.
    dead: &'static [i64],
}

fn plain() -> Case {
    Case {
        name: "plain",
        sent: |_| Some(SENT),
        deleted: |_| Some(DELETED),
        more: |_| Vec::new(),
        live: &[],
        dead: &[],
    }
}

fn edit(schema: &Schema, id: i64, timestamp: i64) -> Mutation {
    let mut row = RowBuilder::new();
    row.cell(column(schema, "content"), timestamp, b"edited");
    let mut mutation = MutationBuilder::new(schema.id, &key(1));
    mutation.row(&clustering(schema, id), row.finish());
    mutation.build()
}

fn topic(schema: &Schema) -> Mutation {
    let mut row = RowBuilder::new();
    row.cell(column(schema, "topic"), SENT, b"topic");
    let mut mutation = MutationBuilder::new(schema.id, &key(1));
    mutation.static_row(row.finish());
    mutation.build()
}

fn cases() -> Vec<Case> {
    vec![
        plain(),
        Case {
            name: "a live one between",
            deleted: |id| (id != 600).then_some(DELETED),
            live: &[600],
            ..plain()
        },
        Case {
            name: "as many tombstones, one of another key",
            deleted: |id| (id != 600).then_some(DELETED),
            more: |schema| vec![delete(schema, 1, 601, DELETED)],
            live: &[600],
            ..plain()
        },
        Case {
            name: "one more tombstone",
            more: |schema| vec![delete(schema, 1, 601, DELETED)],
            ..plain()
        },
        Case {
            name: "equal timestamps",
            deleted: |_| Some(SENT),
            ..plain()
        },
        Case {
            name: "a tombstone older than its row",
            sent: |id| Some(if id == 600 { DELETED + 1 } else { SENT }),
            live: &[600],
            ..plain()
        },
        Case {
            name: "a tombstone older than the others",
            deleted: |id| Some(if id == 600 { SENT - 1 } else { DELETED }),
            live: &[600],
            ..plain()
        },
        Case {
            name: "an edit newer than the tombstone",
            more: |schema| vec![edit(schema, 600, DELETED + 1)],
            live: &[600],
            ..plain()
        },
        Case {
            name: "an edit older than the tombstone",
            more: |schema| vec![edit(schema, 600, DELETED - 1)],
            ..plain()
        },
        Case {
            name: "a late message between",
            more: |schema| vec![message(schema, 1, 601, SENT, "late")],
            live: &[601],
            ..plain()
        },
        Case {
            name: "a range tombstone that adds nothing",
            more: |schema| vec![delete_range(schema, 1, 700, 500, SENT - 1)],
            ..plain()
        },
        Case {
            name: "a range tombstone around a live one",
            deleted: |id| (id != 600).then_some(DELETED),
            more: |schema| vec![delete_range(schema, 1, 700, 500, SENT - 1)],
            live: &[600],
            ..plain()
        },
        Case {
            name: "a range tombstone over all of some",
            deleted: |id| (!(500..=700).contains(&id)).then_some(DELETED),
            more: |schema| vec![delete_range(schema, 1, 700, 500, DELETED)],
            ..plain()
        },
        Case {
            name: "a range tombstone into what stays",
            more: |schema| vec![delete_range(schema, 1, 600, KEPT - 10, DELETED)],
            dead: &[KEPT - 10, KEPT - 8, KEPT - 6, KEPT - 4, KEPT - 2, KEPT],
            ..plain()
        },
        Case {
            name: "a static row",
            more: |schema| vec![topic(schema)],
            ..plain()
        },
    ]
}

/// Files that the messages are in, beside one another or through one another.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Files {
    One,
    Older,
    Mixed,
}

async fn build(store: &Store, schema: &Schema, case: &Case, files: Files, tombstones: Tombstones) {
    let apply = async |mutation: Mutation| store.apply(mutation).await.expect("written");
    let flush = async || store.flush().await.expect("flushed");
    let parts: Vec<fn(i64) -> bool> = match files {
        Files::One => vec![|_| true],
        Files::Older => vec![|id| id < 500, |id| id >= 500],
        Files::Mixed => vec![|id| id % 100 < 40, |id| id % 100 >= 40],
    };
    for part in parts {
        for id in (2..=LAST).step_by(2).filter(|id| part(*id)) {
            if let Some(sent) = (case.sent)(id) {
                apply(message(schema, 1, id, sent, "sent")).await;
            }
        }
        flush().await;
    }
    let halves: Vec<fn(i64) -> bool> = match tombstones {
        Tombstones::Memory | Tombstones::File => vec![|_| true],
        Tombstones::TwoFiles => vec![|id| id % 4 == 0, |id| id % 4 != 0],
        Tombstones::FileAndMemory => vec![|id| id < 800, |id| id >= 800],
    };
    let count = halves.len();
    for (n, half) in halves.into_iter().enumerate() {
        for id in (KEPT + 2..=LAST).step_by(2).filter(|id| half(*id)) {
            if let Some(timestamp) = (case.deleted)(id) {
                apply(delete(schema, 1, id, timestamp)).await;
            }
        }
        if n == 0 {
            for mutation in (case.more)(schema) {
                apply(mutation).await;
            }
        }
        if tombstones != Tombstones::Memory && (n + 1 < count || tombstones != Tombstones::FileAndMemory) {
            flush().await;
        }
    }
}

async fn look(
    store: &Store,
    schema: &Schema,
    direction: Direction,
    past_tombstones: PastTombstones,
) -> (Vec<i64>, Cost) {
    let mut read = Read {
        direction,
        past_tombstones,
        limit_rows: 40,
        ..Read::partition(schema.id, key(1))
    };
    let (mut ids, mut cost) = (Vec::new(), Cost::default());
    loop {
        let page = store.read(read.clone()).await.expect("a page");
        ids.extend(messages(schema, &page).into_iter().map(|(id, _)| id));
        cost += page.cost();
        match page.more() {
            Some(rest) => read.slice = rest.clone(),
            None => return (ids, cost),
        }
    }
}

/// Reads it in both directions, with and without passing over.
fn check(case: &Case, files: Files, tombstones: Tombstones, row_cache_bytes: usize) -> [Cost; 2] {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    let mut expected: BTreeSet<i64> = (2..=KEPT).step_by(2).chain(case.live.iter().copied()).collect();
    case.dead.iter().for_each(|id| assert!(expected.remove(id)));
    let what = format!("{}, messages in {files:?}, tombstones in {tombstones:?}", case.name);
    let case = *case;
    run(&mut sim, async move {
        let config = Config {
            row_cache_bytes,
            memtable_bytes: 1 << 20,
            log_bytes_max: 16 << 20,
            ..small("/store")
        };
        let (store, schema) = open(handle, config).await;
        build(&store, &schema, &case, files, tombstones).await;
        let mut costs = [Cost::default(); 2];
        for (direction, cost) in [Direction::Forward, Direction::Reverse].into_iter().zip(&mut costs) {
            let mut expected: Vec<i64> = expected.iter().copied().collect();
            if direction == Direction::Forward {
                expected.reverse();
            }
            for past_tombstones in [PastTombstones::Cut, PastTombstones::Fail, PastTombstones::Cut] {
                let (ids, of) = look(&store, &schema, direction, past_tombstones).await;
                assert_eq!(ids, expected, "{direction:?} {past_tombstones:?}: {what}");
                if past_tombstones == PastTombstones::Cut {
                    *cost = of;
                }
            }
        }
        store.close().await.expect("closed");
        costs
    })
}

#[test]
fn nothing_is_hidden() {
    for case in cases() {
        for tombstones in EVERYWHERE {
            for files in [Files::One, Files::Older, Files::Mixed] {
                check(&case, files, tombstones, 0);
            }
            check(&case, Files::One, tombstones, 1 << 20);
        }
    }
}

#[test]
fn blocks_of_dead_rows_are_not_merged() {
    const DEAD: u64 = (LAST - KEPT) as u64 / 2;
    for case in cases() {
        let all_dead = case.live.is_empty() && !case.name.starts_with("a range");
        // A row and its tombstone count twice. A block of 1 KiB has about 15 rows; those at the ends of the file, and where
        // something is other than plain, are read.
        // What lies around range tombstones in a file is merged, too.
        let merged_max = if case.name.starts_with("a range") { 4 } else { 3 } * DEAD / 5;
        for tombstones in EVERYWHERE {
            for cost in check(&case, Files::One, tombstones, 0) {
                let dead_merged = cost.rows_merged.saturating_sub(KEPT as u64 / 2);
                assert!(
                    dead_merged <= merged_max || (!all_dead && tombstones == Tombstones::TwoFiles),
                    "{dead_merged} of {DEAD} rows are merged: {}, {tombstones:?}: {cost:?}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn reads_that_count_count_as_ever() {
    let mut sim = simulator(2, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let config = Config {
            row_cache_bytes: 0,
            memtable_bytes: 1 << 20,
            log_bytes_max: 16 << 20,
            ..small("/store")
        };
        let (store, schema) = open(handle, config).await;
        build(&store, &schema, &plain(), Files::One, Tombstones::Memory).await;
        let (_, cost) = look(&store, &schema, Direction::Forward, PastTombstones::Fail).await;
        assert!(cost.rows_merged >= (LAST - KEPT) as u64, "{cost:?}");
        // Dead rows are asked for: they are given.
        let dead = Read {
            include_dead: true,
            past_tombstones: PastTombstones::Cut,
            limit_rows: 10_000,
            ..Read::partition(schema.id, key(1))
        };
        let page = store.read(dead).await.expect("a page");
        assert_eq!(page.len() as i64, LAST / 2);
        store.close().await.expect("closed");
    });
}
