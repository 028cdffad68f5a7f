//! Files that shards share are divided among them, and nothing is lost on the way.

use super::open;
use super::{AT_REST, Messages, Verdict, alter, compacted, config, done, files_match, histories, manifest_of, must_be};
use crate::common::{delete, message};
use crate::simulated::{run, simulator};
use runtime::sim::{Outcome, SimDisk, Tear};
use scrollback_engine::{CompactionKind, Config, Store};

const CHANNELS: i64 = 40;
const IDS: i64 = 6;

fn expected() -> Messages {
    let of = |channel: i64| {
        let ids = (1..=IDS).rev().filter(|id| (channel + id) % 5 != 0);
        ids.map(|id| (id, format!("{channel}/{id}"))).collect()
    };
    (0..CHANNELS).map(|channel| (channel, of(channel))).collect()
}

/// Files that more than one of so many shards may have rows of.
fn shared(disk: &SimDisk, shards: u16) -> usize {
    let files = manifest_of(disk).files.into_values();
    let owners = |file: &scrollback_engine::manifest::state::FileRecord| {
        (0..shards).filter(|&shard| file.is_shared_by(shard, shards)).count()
    };
    files.filter(|file| owners(file) > 1).count()
}

async fn all_is_there(store: &Store) -> Verdict {
    let schema = store.table("chat", "messages").expect("the table is there");
    let found = histories(store, &schema, 0..CHANNELS).await;
    for (channel, expected) in expected() {
        must_be(&format!("channel {channel}"), &found[&channel], &expected)?;
    }
    Ok(())
}

/// Written by two shards, divided among three, with the power cut after so many operations; whether all was done before.
fn divided(ops: u64) -> Result<bool, String> {
    let mut sim = simulator(ops, 2);
    sim.set_tear(if ops.is_multiple_of(2) {
        Tear::DropAll
    } else {
        Tear::Seeded
    });
    let disk = sim.disk();
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config(), &AT_REST).await;
        for channel in 0..CHANNELS {
            for id in 1..=IDS {
                let write = message(&schema, channel, id, 100, &format!("{channel}/{id}"));
                store.apply(write).await.expect("written");
            }
        }
        store.flush().await.expect("flushed");
        for channel in 0..CHANNELS {
            for id in (1..=IDS).filter(|id| (channel + id) % 5 == 0) {
                store.apply(delete(&schema, channel, id, 200)).await.expect("written");
            }
        }
        store.close().await.expect("closed");
    });
    sim.set_shards(3);
    let told = |error: scrollback_engine::Error| error.to_string();
    // The number of shards is changed in peace: another test cuts the power there.
    let off = Config {
        compaction: false,
        ..config()
    };
    let handle = sim.start();
    run(&mut sim, async move {
        let store = Store::open_on(handle, off).await.expect("opens");
        store.close().await.expect("closed");
    });
    let before = shared(&disk, 3);
    must_be("files shared before", &before, &4)?;
    let handle = sim.start();
    sim.crash_at_op(Some(ops));
    let outcome = sim.run(async move {
        let store = Store::open_on(handle, config()).await.map_err(told)?;
        compacted(&store).await.map_err(told)?;
        all_is_there(&store).await?;
        let divisions = done(&store)
            .await
            .into_iter()
            .filter(|done| done.kind == CompactionKind::Divide);
        must_be("files divided", &divisions.count(), &before)
    });
    let ended = match outcome {
        Outcome::Done(done) => done.map(|()| true)?,
        Outcome::Crashed => false,
        Outcome::Stuck(why) => return Err(why),
    };
    sim.crash_at_op(None);
    sim.crash();
    for goes_on in [false, true, false] {
        let handle = sim.start();
        let seen = run(&mut sim, async move {
            let config = Config {
                compaction: goes_on,
                ..config()
            };
            let store = Store::open_on(handle, config).await.map_err(told)?;
            compacted(&store).await.map_err(told)?;
            all_is_there(&store).await?;
            if goes_on {
                // What was divided is compacted as all is.
                alter(&store, &AT_REST[..2]).await;
                compacted(&store).await.map_err(told)?;
                all_is_there(&store).await?;
            }
            store.close().await.map_err(told)
        });
        seen.map_err(|what| format!("{ops} operations, goes on: {goes_on}: {what}"))?;
    }
    must_be("files shared", &shared(&disk, 3), &0)?;
    must_be("files", &manifest_of(&disk).files.len(), &3)?;
    files_match(&disk)?;
    Ok(ended)
}

#[test]
fn files_of_another_number_of_shards_are_divided_whenever_the_power_fails() {
    let mut cut_midway = 0;
    for ops in (1..).step_by(5) {
        match divided(ops).unwrap_or_else(|what| panic!("{ops} operations: {what}")) {
            true => break,
            false => cut_midway += 1,
        }
    }
    println!("{cut_midway} cut midway");
    assert!(cut_midway > 15, "{cut_midway} cut midway");
}
