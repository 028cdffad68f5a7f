//! The power is cut at each operation of the disk while a table is dropped or truncated: all of it is gone on all shards, or nothing; all
//! of it once it was answered; and nothing else.

use super::{Erasure, Ids, Verdict, config, files_match, ids, must_be, other};
use crate::common::{chat, message};
use crate::simulated::{run, simulator};
use model::Schema;
use runtime::sim::{Outcome, Tear};
use scrollback_engine::{Config, Result as EngineResult, Store, SyncMode};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

const CHANNELS: i64 = 6;
/// No write comes later than these.
const FUTURE: i64 = 1 << 60;

/// What the client knows.
#[derive(Default)]
struct Known {
    /// Acknowledged before it was asked for, in both tables.
    before: RefCell<Ids>,
    begun: Cell<bool>,
    answered: Cell<bool>,
    /// Acknowledged after it was answered.
    after: RefCell<Ids>,
}

async fn write(store: &Store, schema: &Schema, id: i64) -> EngineResult<()> {
    for channel in 0..CHANNELS {
        store.apply(message(schema, channel, id, FUTURE - id, "x")).await?;
    }
    Ok(())
}

fn note(all: &RefCell<Ids>, id: i64) {
    for channel in 0..CHANNELS {
        all.borrow_mut().entry(channel).or_default().insert(id);
    }
}

/// A life with files, with rows in memtables, with sealed ones; then the erasure, and rows after it.
async fn erase(store: &Store, what: Erasure, known: &Known) -> EngineResult<()> {
    let messages = store.table("chat", "messages").expect("there");
    let other = store.table("chat", "other").expect("there");
    for id in 10..13 {
        for schema in [&messages, &other] {
            write(store, schema, id).await?;
        }
        note(&known.before, id);
        if id == 11 {
            store.flush().await?;
        }
    }
    known.begun.set(true);
    match what {
        Erasure::Truncate => store.truncate(messages.id).await?,
        Erasure::Drop => drop(store.drop_table("chat", "messages", false).await?),
    }
    known.answered.set(true);
    let now = store.create_table(chat(), true).await?;
    assert_eq!(now.id == messages.id, what == Erasure::Truncate);
    write(store, &now, 20).await?;
    note(&known.after, 20);
    store.flush().await?;
    write(store, &now, 21).await?;
    note(&known.after, 21);
    Ok(())
}

/// Cuts the power after so many operations. Whether it came to its end before, and whether the table had its rows afterwards.
fn cut_after(what: Erasure, ops: u64, is_periodic: bool) -> Result<(bool, bool), String> {
    let config = move || Config {
        sync: match is_periodic {
            true => SyncMode::Periodic {
                period: Duration::from_secs(3600),
            },
            false => SyncMode::Group,
        },
        ..config()
    };
    let mut sim = simulator(ops, 2);
    sim.set_tear(if ops.is_multiple_of(2) {
        Tear::DropAll
    } else {
        Tear::Seeded
    });
    let handle = sim.start();
    run(&mut sim, async move {
        let store = Store::open_on(handle, config()).await.expect("opened");
        for schema in [chat(), other()] {
            let schema = store.create_table(schema, false).await.expect("a table");
            write(&store, &schema, 1).await.expect("written");
            store.flush().await.expect("flushed");
            write(&store, &schema, 2).await.expect("written");
        }
        store.close().await.expect("closed");
    });
    let known = Rc::new(Known::default());
    note(&known.before, 1);
    note(&known.before, 2);
    let in_file = known.before.borrow().clone();
    let handle = sim.start();
    sim.crash_at_op(Some(ops));
    let client = Rc::clone(&known);
    let outcome = sim.run(async move {
        let store = Store::open_on(handle, config()).await?;
        erase(&store, what, &client).await
    });
    let ended = match outcome {
        Outcome::Done(done) => done.map(|()| true).map_err(|error| error.to_string())?,
        Outcome::Crashed => false,
        Outcome::Stuck(why) => return Err(why),
    };
    sim.crash_at_op(None);
    sim.crash();
    let when = format!("{what:?}, the power is cut after {ops} operations");
    let mut kept = false;
    // Looked at by other numbers of shards, and twice: what is replayed is flushed.
    for (look, shards) in [(1, 1 + ops as usize % 3), (2, 2)] {
        sim.set_shards(shards);
        let handle = sim.start();
        let (when, known) = (format!("{when}, look {look}"), Rc::clone(&known));
        let in_file = in_file.clone();
        let seen: Result<bool, String> = run(&mut sim, async move {
            let store = Store::open_on(handle, config())
                .await
                .map_err(|error| format!("{when}: {error}"))?;
            let other = store.table("chat", "other").expect("there");
            let before = known.before.borrow().clone();
            // A write whose answer did not come may be there, too.
            let found = ids(&store, &other, CHANNELS).await;
            // A truncation waits for the log; what it leaves is what was sent before it.
            let is_durable = !is_periodic || known.answered.get() && what == Erasure::Truncate;
            let least = if is_durable { &before } else { &in_file };
            has_all(&format!("{when}: other"), &found, least)?;
            let Some(messages) = store.table("chat", "messages") else {
                let may = what == Erasure::Drop && known.begun.get();
                let none = known.after.borrow().is_empty();
                return match may && none {
                    true => Ok(false),
                    false => Err(format!("{when}: the table is gone")),
                };
            };
            let found = ids(&store, &messages, CHANNELS).await;
            let part = |of: &Ids, is_old: bool| {
                let of_channel = |(channel, ids): (&i64, &std::collections::BTreeSet<i64>)| {
                    (
                        *channel,
                        ids.iter().copied().filter(|id| (*id < 20) == is_old).collect(),
                    )
                };
                of.iter().map(of_channel).collect::<Ids>()
            };
            let (old, new) = (part(&found, true), part(&found, false));
            let is_empty = old.values().all(|ids| ids.is_empty());
            match (known.begun.get(), known.answered.get()) {
                (_, true) if !is_empty => return Err(format!("{when}: rows came back: {old:?}")),
                (true, _) if is_empty => {}
                _ => has_all(&when, &old, if is_periodic { &in_file } else { &before })?,
            }
            if !is_periodic {
                has_all(&when, &new, &known.after.borrow())?;
            }
            store.close().await.map_err(|error| error.to_string())?;
            Ok(!is_empty)
        });
        kept = seen?;
    }
    let handle = sim.start();
    let again: Verdict = run(&mut sim, async move {
        let store = Store::open_on(handle, config())
            .await
            .map_err(|error| error.to_string())?;
        if what == Erasure::Drop {
            let old = store
                .drop_table("chat", "messages", true)
                .await
                .map_err(|error| error.to_string())?;
            let new = store
                .create_table(chat(), false)
                .await
                .map_err(|error| error.to_string())?;
            assert!(old.is_none_or(|old| old.id < new.id));
            let found = ids(&store, &new, CHANNELS).await;
            must_be("a new table", &found.values().map(|ids| ids.len()).sum(), &0)?;
        }
        store.close().await.map_err(|error| error.to_string())
    });
    again.map_err(|what| format!("{when}: {what}"))?;
    // What is obsolete goes when the store is opened, at the latest.
    let handle = sim.start();
    run(&mut sim, async move {
        let store = Store::open_on(handle, config()).await.expect("opened");
        store.close().await.expect("closed");
    });
    files_match(&sim.disk()).map_err(|what| format!("{when}: {what}"))?;
    Ok((ended, kept))
}

fn has_all(when: &str, found: &Ids, expected: &Ids) -> Verdict {
    for (channel, ids) in expected {
        let of_channel = found.get(channel).cloned().unwrap_or_default();
        if !of_channel.is_superset(ids) {
            return Err(format!(
                "{when}, channel {channel}: {of_channel:?} lacks some of {ids:?}"
            ));
        }
    }
    Ok(())
}

/// Cuts the power after 1, 2, 3 … operations, until all is done before. How many there were, and after how many the rows were kept.
fn every_cut(what: Erasure, is_periodic: bool) -> Result<(u64, u64), String> {
    let mut kept_in = 0;
    for ops in 1.. {
        let (ended, kept) = cut_after(what, ops, is_periodic)?;
        kept_in += u64::from(kept);
        if ended {
            return Ok((ops, kept_in));
        }
    }
    unreachable!("it ends")
}

#[test]
fn a_power_cut_at_any_operation_truncates_all_or_nothing() {
    let (ops, kept) = every_cut(Erasure::Truncate, false).unwrap_or_else(|what| panic!("{what}"));
    println!("{ops} operations, kept by {kept}");
    assert!(ops > 60 && kept > 40 && ops - kept > 5, "{ops}, {kept}");
}

#[test]
fn a_power_cut_at_any_operation_drops_all_or_nothing() {
    let (ops, kept) = every_cut(Erasure::Drop, false).unwrap_or_else(|what| panic!("{what}"));
    println!("{ops} operations, kept by {kept}");
    assert!(ops > 60 && kept > 40 && ops - kept > 5, "{ops}, {kept}");
}

#[test]
fn nothing_that_a_truncation_relies_on_is_lost_where_the_log_is_synced_later() {
    let (ops, kept) = every_cut(Erasure::Truncate, true).unwrap_or_else(|what| panic!("{what}"));
    assert!(ops > 40 && kept > 30, "{ops}, {kept}");
    every_cut(Erasure::Drop, true).unwrap_or_else(|what| panic!("{what}"));
}

#[cfg(feature = "breaks")]
#[test]
fn a_break_is_noticed_by_a_power_cut() {
    use runtime::Break;
    for (which, what) in [
        (Break::TruncatesWithoutLog, Erasure::Truncate),
        (Break::DropsBeforeManifest, Erasure::Drop),
    ] {
        let noticed = super::broken(which, || every_cut(what, false));
        let what = noticed.err().unwrap_or_else(|| panic!("{which:?} is not noticed"));
        println!("{which:?}: {what}");
    }
}
