//! Writers that wait for room are served in the order in which they came: what survives a crash is a prefix of what was sent.

use crate::common::{history, message};
use crate::simulated::{open, run, simulator, small};
use runtime::ShardId;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// More than the memtables of a shard and its log may hold at a time.
const WRITES: i64 = 120;

/// Found by the histories of `cargo xtask sim`: a small write found room before a large one that had waited for it.
#[test]
fn no_write_overtakes_one_that_waits_for_room() {
    let mut cut_midway = 0;
    for seed in 0..60 {
        let mut sim = simulator(seed, 1);
        let handle = sim.start();
        sim.crash_at_op(Some(30 + 2 * seed));
        let outcome = sim.run(async move {
            let (store, schema) = open(handle, small("/store")).await;
            let all = store.call(ShardId(0), move |shard| async move {
                let mut writes: Vec<_> = (1..=WRITES)
                    .map(|id| {
                        let bytes = if id % 3 == 0 { 9_000 } else { 20 };
                        let write = message(&schema, 1, id, id, &"x".repeat(bytes));
                        let shard = std::rc::Rc::clone(&shard);
                        Some(Box::pin(async move { shard.apply(write).await }))
                    })
                    .collect();
                // Begun in the order of their ids, a few more whenever something has happened.
                let mut begun = 60;
                poll_fn(move |cx| {
                    begun = (begun + 2).min(writes.len());
                    for write in &mut writes[..begun] {
                        if write.as_mut().is_some_and(|write| Pin::new(write).poll(cx).is_ready()) {
                            *write = None;
                        }
                    }
                    if writes.iter().all(Option::is_none) {
                        return Poll::Ready(());
                    }
                    if writes[..begun].iter().all(Option::is_none) {
                        cx.waker().wake_by_ref();
                    }
                    Poll::Pending
                })
                .await;
            });
            all.await.expect("the shard serves");
        });
        cut_midway += u32::from(matches!(outcome, runtime::sim::Outcome::Crashed));
        sim.crash_at_op(None);
        if sim.is_running() {
            sim.crash();
        }
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            let mut ids: Vec<i64> = history(&store, &schema, 1, 50)
                .await
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            ids.reverse();
            assert_eq!(
                ids,
                (1..=ids.len() as i64).collect::<Vec<_>>(),
                "seed {seed}: not a prefix"
            );
            store.close().await.expect("closed");
        });
    }
    assert!(cut_midway > 20, "{cut_midway} power cuts came midway");
}
