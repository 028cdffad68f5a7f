//! The deliberate break `no-breathe-in-flush` shows: a flush that does not breathe keeps the shard for long stretches.
#![cfg(feature = "breaks")]

mod common;

use common::{chat, message};
use runtime::Break;
use scrollback_engine::{Config, Store};

/// Messages in the memtable that is flushed: some 20 MB.
const MESSAGES: i64 = 60_000;
/// A flush that does not breathe gives the shard back this many times less often, at least. (It does so only where it waits for
/// the device: ten times less often, measured.)
const FACTOR: u64 = 4;

/// Flushes a memtable on a real shard; returns how many turns its background tasks took meanwhile.
async fn turns_of_a_flush() -> u64 {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let config = Config {
        shards: Some(1),
        pin: false,
        memtable_bytes: 256 << 20,
        ..Config::new(root.path())
    };
    let store = Store::open(config).await.expect("opens");
    let schema = store.create_table(chat(), true).await.expect("a table");
    for first in (0..MESSAGES).step_by(1000) {
        let content = |id: i64| format!("{id:200}");
        let mutations = (first..first + 1000).map(|id| message(&schema, id % 7, id + 1, id + 1, &content(id)));
        store.apply_all(mutations.collect()).await.expect("written");
    }
    let before = store.statistics().await.expect("figures")[0].clone();
    store.flush().await.expect("flushed");
    let after = store.statistics().await.expect("figures")[0].clone();
    store.close().await.expect("closed");
    assert!((before.flushes, after.flushes) == (0, 1), "one memtable, one flush");
    after.runtime.turns - before.runtime.turns
}

/// Counted in turns, not timed: a busy machine stretches single turns at will and changes their number little.
#[test]
fn a_flush_that_does_not_breathe_is_seen() {
    runtime::block_on(async {
        let turns = turns_of_a_flush().await;
        runtime::set_break(Some(Break::NoBreatheInFlush));
        let broken = turns_of_a_flush().await;
        runtime::set_break(None);
        println!("{turns} turns; without breathing {broken}");
        assert!(
            turns >= FACTOR * broken,
            "a breathing flush takes {turns} turns, one that does not breathe {broken}"
        );
    });
}
