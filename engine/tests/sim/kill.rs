//! The process is killed, and what it had written was not synced; then the power is cut while the store recovers.

use crate::common::{chat, history, message};
use crate::simulated::{open, run, simulator, small};
use runtime::sim::Tear;
use scrollback_engine::{Config, Store, SyncMode};
use std::time::Duration;

const WRITES: i64 = 40;

/// Found in review: recovery flushed one table, and the power cut took the log with the records of the other, which had been
/// written before.
#[test]
fn recovery_keeps_nothing_whose_forerunners_a_power_cut_may_take() {
    let mut cut_midway = 0;
    for ops in 1..120 {
        let config = || Config {
            sync: SyncMode::Periodic {
                period: Duration::from_secs(3600),
            },
            ..small("/store")
        };
        let mut sim = simulator(ops, 1);
        sim.set_tear(Tear::DropAll);
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, messages) = open(handle, config()).await;
            let mut other = chat();
            other.name = "other".to_owned();
            let other = store.create_table(other, true).await.expect("the table is made");
            for id in 1..=WRITES {
                let schema = if id % 2 == 0 { &messages } else { &other };
                store.apply(message(schema, 1, id, id, "x")).await.expect("written");
            }
        });
        sim.stop();
        let handle = sim.start();
        sim.crash_at_op(Some(ops));
        let outcome = sim.run(async move { Store::open_on(handle, config()).await.map(drop).expect("recovers") });
        cut_midway += u32::from(outcome.is_crashed());
        if !outcome.is_crashed() {
            sim.crash();
        }
        let handle = sim.start();
        run(&mut sim, async move {
            let store = Store::open_on(handle, config()).await.expect("recovers");
            let mut ids = Vec::new();
            for table in ["messages", "other"] {
                let schema = store.table("chat", table).expect("the table is there");
                ids.extend(history(&store, &schema, 1, 100).await.into_iter().map(|(id, _)| id));
            }
            ids.sort_unstable();
            let prefix: Vec<i64> = (1..=ids.len() as i64).collect();
            assert_eq!(ids, prefix, "after {ops} operations: not a prefix of what was sent");
            store.close().await.expect("closed");
        });
    }
    assert!(cut_midway > 20, "{cut_midway} power cuts came midway");
}
