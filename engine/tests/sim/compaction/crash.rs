//! The power is cut at each operation of the disk while files are compacted: then, and when compaction has gone on to its end, all
//! reads as before.

use super::{AT_REST, Messages, Verdict, compacted, config, files_match, histories, manifest_of, must_be, open, start};
use super::{NOW_S, done};
use crate::common::{clustering, column, key, message};
use crate::simulated::{run, simulator};
use model::{Deletion, Mutation, MutationBuilder, RowBuilder, Schema, token_of};
use runtime::sim::{Outcome, Tear};
use scrollback_engine::{Config, Read, Store};
use std::collections::BTreeSet;

const CHANNELS: i64 = 24;
const IDS: i64 = 6;

/// Channels in the order of their tokens, as a compaction meets them.
fn by_token() -> Vec<i64> {
    let mut channels: Vec<i64> = (0..CHANNELS).collect();
    channels.sort_by_key(|&channel| token_of(&key(channel)));
    channels
}

/// What is deleted in a channel: by its place among them, from 0 on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deleted {
    Row,
    Range,
    Channel,
    Nothing,
}

/// Deletions whose grace has passed lie in the first half only, so that their file is used up before those of what they delete.
fn deleted(place: usize) -> Deleted {
    [Deleted::Row, Deleted::Range, Deleted::Channel, Deleted::Nothing][place % 4]
}

fn text(channel: i64, id: i64, version: &str) -> String {
    format!("{version} {channel}/{id} {}", "x".repeat(80))
}

fn deletes(schema: &Schema, channel: i64, what: Deleted, timestamp: i64, at_s: u32) -> Option<Mutation> {
    let mut mutation = MutationBuilder::new(schema.id, &key(channel));
    let deletion = Deletion {
        timestamp,
        local_deletion_time: at_s,
    };
    match what {
        Deleted::Row => {
            let mut row = RowBuilder::new();
            row.deletion(deletion);
            mutation.row(&clustering(schema, 3), row.finish());
        }
        Deleted::Range => {
            let (start, mut end) = (clustering(schema, 5), clustering(schema, 3));
            end.push(0xFF);
            mutation.delete_range(&start, &end, deletion);
        }
        Deleted::Channel => {
            mutation.delete_partition(deletion);
        }
        Deleted::Nothing => return None,
    }
    Some(mutation.build())
}

fn topic(schema: &Schema, channel: i64, timestamp: i64) -> Mutation {
    let mut row = RowBuilder::new();
    row.cell(column(schema, "topic"), timestamp, b"weather");
    let mut mutation = MutationBuilder::new(schema.id, &key(channel));
    mutation.static_row(row.finish());
    mutation.build()
}

/// Four files. The last deletions have their grace before them.
async fn write_files(store: &Store, schema: &Schema) {
    let apply = async |mutation: Mutation| store.apply(mutation).await.expect("written");
    for channel in 0..CHANNELS {
        for id in 1..=IDS {
            apply(message(schema, channel, id, 100, &text(channel, id, "first"))).await;
        }
        apply(topic(schema, channel, 100)).await;
    }
    store.flush().await.expect("flushed");
    for channel in 0..CHANNELS {
        for id in 1..=2 {
            apply(message(schema, channel, id, 200, &text(channel, id, "second"))).await;
        }
    }
    store.flush().await.expect("flushed");
    let half = CHANNELS as usize / 2;
    for (place, &channel) in by_token().iter().enumerate().take(half) {
        if let Some(mutation) = deletes(schema, channel, deleted(place), 300, 1) {
            apply(mutation).await;
        }
    }
    store.flush().await.expect("flushed");
    for (place, &channel) in by_token().iter().enumerate() {
        apply(message(schema, channel, 9, 400, &text(channel, 9, "last"))).await;
        if place >= half
            && let Some(mutation) = deletes(schema, channel, deleted(place), 400, NOW_S)
        {
            apply(mutation).await;
        }
    }
    store.flush().await.expect("flushed");
}

/// What a reader must see of it: messages, and channels with a topic.
fn expected() -> (Messages, BTreeSet<i64>) {
    let mut topics: BTreeSet<i64> = (0..CHANNELS).collect();
    let half = CHANNELS as usize / 2;
    let mut all = Messages::new();
    for (place, &channel) in by_token().iter().enumerate() {
        let what = deleted(place);
        if what == Deleted::Channel {
            topics.remove(&channel);
        }
        let lives = |id: &i64| match what {
            Deleted::Row => *id != 3,
            Deleted::Range => !(3..=5).contains(id),
            // The deletion in the last file is as old as the message beside it, and wins.
            Deleted::Channel => *id == 9 && place < half,
            Deleted::Nothing => true,
        };
        let version = |id: i64| match id {
            1 | 2 => "second",
            9 => "last",
            _ => "first",
        };
        let ids = [9, 6, 5, 4, 3, 2, 1].into_iter().filter(lives);
        all.insert(channel, ids.map(|id| (id, text(channel, id, version(id)))).collect());
    }
    (all, topics)
}

async fn all_is_there(store: &Store, schema: &Schema, when: &str) -> Verdict {
    let (messages, topics) = expected();
    let found = histories(store, schema, 0..CHANNELS).await;
    for (channel, of_channel) in &messages {
        must_be(&format!("{when}, channel {channel}"), &found[channel], of_channel)?;
    }
    let mut found = BTreeSet::new();
    for channel in 0..CHANNELS {
        let page = store.read(Read::partition(schema.id, key(channel))).await;
        if page.map_err(|error| error.to_string())?.static_row().is_some() {
            found.insert(channel);
        }
    }
    must_be(&format!("{when}, topics"), &found, &topics)
}

/// Cuts the power after so many operations of a life in which everything is compacted. Whether it came to its end before.
fn cut_after(ops: u64) -> Result<bool, String> {
    let mut sim = simulator(ops, 1);
    sim.set_tear(if ops.is_multiple_of(2) {
        Tear::DropAll
    } else {
        Tear::Seeded
    });
    let handle = sim.start();
    let written = run(&mut sim, async move {
        let (store, schema) = open(handle, config(), &AT_REST).await;
        write_files(&store, &schema).await;
        start(&store).await;
        store.close().await
    });
    written.map_err(|error| error.to_string())?;
    let disk = sim.disk();
    let inputs: BTreeSet<u64> = manifest_of(&disk).files.into_keys().collect();
    let handle = sim.start();
    sim.crash_at_op(Some(ops));
    let outcome = sim.run(async move {
        let store = Store::open_on(handle, config())
            .await
            .map_err(|error| error.to_string())?;
        compacted(&store).await.map_err(|error| error.to_string())
    });
    let ended = match outcome {
        Outcome::Done(done) => done.map(|()| true)?,
        Outcome::Crashed => false,
        Outcome::Stuck(why) => return Err(why),
    };
    sim.crash_at_op(None);
    sim.crash();
    let when = format!("the power is cut after {ops} operations");
    for look in ["at once", "when compaction has gone on", "at the end"] {
        let handle = sim.start();
        let when = format!("{when}, {look}");
        let seen = run(&mut sim, async move {
            let config = Config {
                compaction: look == "when compaction has gone on",
                ..config()
            };
            let store = Store::open_on(handle, config)
                .await
                .map_err(|error| error.to_string())?;
            let schema = store.table("chat", "messages").expect("the table is there");
            compacted(&store).await.map_err(|error| error.to_string())?;
            all_is_there(&store, &schema, &when).await?;
            store.close().await.map_err(|error| error.to_string())
        });
        seen?;
    }
    files_match(&disk).map_err(|what| format!("{when}: {what}"))?;
    let aside: Vec<_> = disk
        .list()
        .into_iter()
        .filter(|path| path.starts_with("/store/orphans"))
        .collect();
    let of_inputs = |generation: &u64| {
        aside
            .iter()
            .any(|path| path.to_string_lossy().ends_with(&format!("{generation:012}.sst")))
    };
    must_be(
        &format!("{when}: inputs set aside"),
        &inputs.into_iter().filter(of_inputs).collect(),
        &Vec::new(),
    )?;
    Ok(ended)
}

/// Cuts the power after 1, 2, 3 … operations, until all is done before.
fn every_cut() -> Result<u64, String> {
    for ops in 1.. {
        if cut_after(ops)? {
            return Ok(ops);
        }
    }
    unreachable!("a compaction ends")
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_and_brings_nothing_back() {
    let operations = every_cut().unwrap_or_else(|what| panic!("{what}"));
    println!("{operations} operations");
    assert!(operations > 100, "{operations} operations");
}

/// What the sweep is worth: files of all kinds of deletions become several fragments, and what may go has gone.
#[test]
fn what_is_cut_short_is_a_compaction_with_several_fragments_that_purges() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config(), &AT_REST).await;
        write_files(&store, &schema).await;
        start(&store).await;
        compacted(&store).await.expect("compacted");
        let done = done(&store).await;
        assert_eq!((done.len(), done[0].files_in), (1, 4), "{done:?}");
        all_is_there(&store, &schema, "compacted").await.expect("whole");
        store.close().await.expect("closed");
    });
    let files = super::statistics(&sim.disk());
    assert!(files.len() >= 3, "{} fragments", files.len());
    let sum = |of: fn(&sstable::Statistics) -> u64| files.values().map(of).sum::<u64>();
    let (partitions, of_each) = (CHANNELS as u64, CHANNELS as u64 / 8);
    assert_eq!(sum(|of| of.partitions), partitions);
    assert_eq!(
        (
            sum(|of| of.row_tombstones),
            sum(|of| of.range_tombstones),
            sum(|of| of.partition_tombstones)
        ),
        (of_each, of_each, of_each),
        "those with their grace before them"
    );
}

#[cfg(feature = "breaks")]
#[test]
fn a_break_is_noticed_by_a_power_cut() {
    use runtime::Break;
    for which in [Break::NarrowsNothing, Break::LosesFragments, Break::RemovesInputsEarly] {
        let noticed = runtime::with_break(which, every_cut);
        let what = noticed.err().unwrap_or_else(|| panic!("{which:?} is not noticed"));
        println!("{which:?}: {what}");
    }
}
