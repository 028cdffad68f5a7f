//! A table gets another strategy while its files are compacted.

use super::{AT_REST, Messages, alter, compacted, config, files_match, histories, open, start};
use crate::common::message;
use crate::simulated::{both, run, simulator};
use runtime::sim::client_sleep;
use std::time::Duration;

const CHANNELS: i64 = 12;

const STRATEGIES: [&[(&str, &str)]; 4] = [
    &AT_REST,
    &[("class", "TimeTieredCompactionStrategy"), ("epoch_hours", "1")],
    &[
        ("class", "TimeWindowCompactionStrategy"),
        ("compaction_window_unit", "MINUTES"),
        ("compaction_window_size", "1"),
        ("min_threshold", "2"),
    ],
    &[("class", "SizeTieredCompactionStrategy"), ("min_threshold", "3")],
];

#[test]
fn a_table_gets_another_strategy_at_any_moment() {
    let mut midway = 0;
    for (nth, after_us) in (0..8000).step_by(400).enumerate() {
        let strategy = STRATEGIES[nth % STRATEGIES.len()];
        let mut sim = simulator(after_us, 1);
        let handle = sim.start();
        let (sent, is_midway) = run(&mut sim, async move {
            let (store, schema) = open(handle, config(), &AT_REST).await;
            let mut sent = Messages::new();
            let mut send = async |store: &scrollback_engine::Store, round: i64| {
                for channel in 0..CHANNELS {
                    for id in [round, 1000] {
                        // Some of 2024, some of long ago.
                        let id = if channel % 2 == 0 {
                            (78_888 * 3_600_000 + id) << 22
                        } else {
                            id
                        };
                        let text = format!("{round} {}", "x".repeat(150));
                        let write = message(&schema, channel, id, round, &text);
                        store.apply(write).await.expect("written");
                        let of_channel = sent.entry(channel).or_default();
                        of_channel.retain(|(known, _)| *known != id);
                        of_channel.push((id, text));
                    }
                }
                store.flush().await.expect("flushed");
            };
            for round in 1..=8 {
                send(&store, round).await;
            }
            let begun = async {
                start(&store).await;
                compacted(&store).await.expect("compacted");
            };
            let altered = async {
                client_sleep(Duration::from_micros(after_us)).await;
                let shard = runtime::ShardId(0);
                let running = store
                    .call(shard, |shard| async move { shard.compactions().0.is_some() })
                    .await;
                alter(&store, strategy).await;
                running.expect("open")
            };
            let ((), is_midway) = both(begun, altered).await;
            for round in 9..=12 {
                send(&store, round).await;
            }
            compacted(&store).await.expect("compacted");
            let sent: Messages = sent
                .into_iter()
                .map(|(channel, mut of)| {
                    of.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
                    (channel, of)
                })
                .collect();
            let found = histories(&store, &schema, 0..CHANNELS).await;
            assert_eq!(found, sent, "after {after_us} us");
            (sent, is_midway)
        });
        midway += u32::from(is_midway);
        sim.crash();
        let handle = sim.start();
        run(&mut sim, async move {
            // Hours later, by its new strategy.
            let (store, schema) = open(handle, config(), strategy).await;
            client_sleep(Duration::from_secs(3 * 3600)).await;
            compacted(&store).await.expect("compacted");
            let found = histories(&store, &schema, 0..CHANNELS).await;
            assert_eq!(found, sent, "after {after_us} us and a power cut");
            store.close().await.expect("closed");
        });
        files_match(&sim.disk()).expect("no file is left over");
    }
    assert!(midway > 5, "{midway} came midway");
}
