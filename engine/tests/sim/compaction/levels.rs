//! What is deleted and what has ended gives its space back: after thirty days of an even load, the disk is as full as after twenty.
//!
//! Epochs and windows are days; what is deleted has an hour's grace, as the tables of messages have it.

use super::{NOW_S, compacted, config, files_match, histories, manifest_of, open, statistics};
use crate::common::{clustering, column, delete, delete_channel, delete_range, key, message};
use crate::simulated::{run, simulator};
use model::{Mutation, MutationBuilder, RowBuilder, Schema};
use runtime::sim::{SimDisk, client_now, client_sleep};
use scrollback_engine::Config;
use std::collections::BTreeMap;
use std::time::Duration;

const DAYS: i64 = 30;
const DAY_S: u32 = 86_400;
/// Flushes of a day.
const FLUSHES: i64 = 4;
/// Messages of a channel for a flush.
const MESSAGES: i64 = 8;
/// After so many days what was sent is deleted, or has ended.
const KEPT_DAYS: i64 = 3;

/// What becomes of the messages of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// They have a time to live.
    Ttl,
    /// Each is deleted.
    Rows,
    /// A day's are deleted together.
    Range,
    /// The channel is one day's, and deleted.
    Channel,
    /// They stay, for each is the same again.
    Overwritten,
}

const CHANNELS: [(i64, End); 5] = [
    (1, End::Ttl),
    (2, End::Rows),
    (3, End::Range),
    (4, End::Channel),
    (5, End::Overwritten),
];

/// The channel of a day.
fn channel_of(channel: i64, end: End, day: i64) -> i64 {
    match end {
        End::Channel => 100 * channel + day,
        _ => channel,
    }
}

/// The id of a message, a snowflake of its day.
fn id_of(end: End, day: i64, flush: i64, nth: i64) -> i64 {
    let ms = i64::from(NOW_S) * 1000 - 1_420_070_400_000;
    match end {
        End::Overwritten => (ms + flush * MESSAGES + nth) << 22,
        _ => (ms + day * i64::from(DAY_S) * 1000 + flush * MESSAGES + nth) << 22,
    }
}

fn ending(schema: &Schema, channel: i64, id: i64, timestamp: i64, text: &str) -> Mutation {
    let (ttl, now_s) = (KEPT_DAYS as u32 * DAY_S, (timestamp / 1_000_000) as u32);
    let mut row = RowBuilder::new();
    row.liveness_ttl(timestamp, ttl, now_s + ttl);
    row.cell_ttl(column(schema, "content"), timestamp, text.as_bytes(), ttl, now_s + ttl);
    let mut mutation = MutationBuilder::new(schema.id, &key(channel));
    mutation.row(&clustering(schema, id), row.finish());
    mutation.build()
}

/// Deletions of what a channel got on a day.
fn deletions(schema: &Schema, channel: i64, end: End, day: i64, timestamp: i64) -> Vec<Mutation> {
    let of = channel_of(channel, end, day);
    match end {
        End::Ttl | End::Overwritten => Vec::new(),
        End::Rows => {
            let each = (0..FLUSHES).flat_map(|flush| (0..MESSAGES).map(move |nth| id_of(end, day, flush, nth)));
            each.map(|id| delete(schema, of, id, timestamp)).collect()
        }
        End::Range => {
            let (oldest, newest) = (id_of(end, day, 0, 0), id_of(end, day, FLUSHES, 0));
            vec![delete_range(schema, of, newest, oldest, timestamp)]
        }
        End::Channel => vec![delete_channel(schema.id, of, timestamp)],
    }
}

fn bytes_of(disk: &SimDisk) -> u64 {
    manifest_of(disk).files.values().map(|file| file.bytes).sum()
}

/// Bytes of the table files at the end of each day.
fn thirty_days(compaction: &'static [(&str, &str)], ends: &'static [End]) -> Vec<u64> {
    let mut sim = simulator(5, 1);
    let handle = sim.start();
    let disk = sim.disk();
    let bytes = run(&mut sim, async move {
        // Nobody looks at the disk each second.
        let config = Config {
            free_bytes_min: Some(0),
            ..config()
        };
        let (store, schema) = open(handle, config, compaction).await;
        let began = client_now();
        let now = || i64::from(NOW_S) * 1_000_000 + began.elapsed().as_micros() as i64;
        let channels = || CHANNELS.into_iter().filter(|(_, end)| ends.contains(end));
        let mut sent: BTreeMap<i64, BTreeMap<i64, (i64, String)>> = BTreeMap::new();
        let mut bytes = Vec::new();
        for day in 0..DAYS {
            for flush in 0..FLUSHES {
                for (channel, end) in channels() {
                    let of = channel_of(channel, end, day);
                    for nth in 0..MESSAGES {
                        let (id, timestamp) = (id_of(end, day, flush, nth), now());
                        let text = format!("{timestamp} {}", "x".repeat(200));
                        let write = match end {
                            End::Ttl => ending(&schema, of, id, timestamp, &text),
                            _ => message(&schema, of, id, timestamp, &text),
                        };
                        store.apply(write).await.expect("written");
                        sent.entry(of).or_default().insert(id, (day, text));
                    }
                    if flush == 1 && day >= KEPT_DAYS {
                        let old = day - KEPT_DAYS;
                        for deletion in deletions(&schema, channel, end, old, now()) {
                            store.apply(deletion).await.expect("written");
                        }
                        if end != End::Overwritten && end != End::Ttl {
                            let of = sent.entry(channel_of(channel, end, old)).or_default();
                            of.retain(|_, (day, _)| *day != old);
                        }
                    }
                }
                store.flush().await.expect("flushed");
                compacted(&store).await.expect("compacted");
                client_sleep(Duration::from_secs(u64::from(DAY_S) / FLUSHES as u64)).await;
            }
            compacted(&store).await.expect("compacted");
            bytes.push(bytes_of(&disk));
            // What has ended is no more seen.
            let ended = now() - KEPT_DAYS * i64::from(DAY_S) * 1_000_000;
            let lives = |text: &str| {
                let at: i64 = text.split(' ').next().expect("a timestamp").parse().expect("a number");
                at / 1_000_000 > ended / 1_000_000
            };
            let found = histories(&store, &schema, sent.keys().copied()).await;
            for (&channel, of_channel) in &sent {
                let of_channel = of_channel.iter().rev();
                let kept = of_channel.filter(|(_, (_, text))| channel != 1 || lives(text));
                let expected: Vec<_> = kept.map(|(id, (_, text))| (*id, text.clone())).collect();
                assert!(
                    found[&channel] == expected,
                    "day {day}, channel {channel}, {compaction:?}"
                );
            }
        }
        store.close().await.expect("closed");
        bytes
    });
    files_match(&sim.disk()).expect("no file is left over");
    println!(
        "{}: {bytes:?}, {} files",
        compaction[0].1,
        statistics(&sim.disk()).len()
    );
    bytes
}

const ALL: &[End] = &[End::Ttl, End::Rows, End::Range, End::Channel, End::Overwritten];

/// How a table is compacted, and what is sent to it.
type Load = (&'static [(&'static str, &'static str)], &'static [End]);

const TABLES: [Load; 3] = [
    (&[("class", "SizeTieredCompactionStrategy")], ALL),
    (
        &[
            ("class", "TimeWindowCompactionStrategy"),
            ("compaction_window_unit", "DAYS"),
            ("compaction_window_size", "1"),
        ],
        // What is deleted, and was sent in another window, stays.
        &[End::Ttl],
    ),
    (&[("class", "TimeTieredCompactionStrategy"), ("epoch_hours", "24")], ALL),
];

#[test]
fn the_use_of_the_disk_levels_off() {
    for (compaction, ends) in TABLES {
        let bytes = thirty_days(compaction, ends);
        let mean = |days: &[u64]| days.iter().sum::<u64>() as f64 / days.len() as f64;
        let (before, last) = (mean(&bytes[10..20]), mean(&bytes[20..]));
        let is_level = |bytes: f64| (0.95..1.05).contains(&(bytes / last));
        assert!(is_level(before), "{compaction:?}: {bytes:?}");
        assert!(
            bytes[20..].iter().all(|&bytes| is_level(bytes as f64)),
            "{compaction:?}: {bytes:?}"
        );
    }
}
