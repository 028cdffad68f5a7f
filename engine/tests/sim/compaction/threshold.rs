//! Fewer files than `min_threshold` are left as they are.

use super::{Verdict, compacted, config, done, must_be, open};
use crate::common::{history, message};
use crate::simulated::simulator;
use runtime::sim::Outcome;

fn files_after_each_flush() -> Verdict {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    sim.set_step_limit(100_000);
    let outcome = sim.run(async move {
        let (store, schema) = open(handle, config(), &[]).await;
        // Four at a time, and what they become is one of the next four.
        for (flush, (files, compactions)) in (1..).zip([(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1), (1, 2)]) {
            let write = message(&schema, 1, flush, flush, "x");
            store.apply(write).await.expect("written");
            store.flush().await.expect("flushed");
            compacted(&store).await.expect("compacted");
            let found = store.statistics().await.expect("open")[0].sstables;
            must_be(&format!("files after flush {flush}"), &found, &files)?;
            must_be(
                &format!("compactions after flush {flush}"),
                &done(&store).await.len(),
                &compactions,
            )?;
            must_be(
                "messages",
                &history(&store, &schema, 1, 9).await.len(),
                &(flush as usize),
            )?;
        }
        store.close().await.map_err(|error| error.to_string())
    });
    match outcome {
        Outcome::Done(verdict) => verdict,
        Outcome::Crashed => unreachable!("no crash was asked for"),
        // One file alone is compacted for ever.
        Outcome::Stuck(why) => Err(why),
    }
}

#[test]
fn few_files_are_left_as_they_are() {
    files_after_each_flush().unwrap_or_else(|what| panic!("{what}"));
}

#[cfg(feature = "breaks")]
#[test]
fn a_compaction_of_few_files_is_noticed() {
    let what = runtime::with_break(runtime::Break::IgnoresMinThreshold, files_after_each_flush);
    println!("{}", what.expect_err("noticed"));
}
