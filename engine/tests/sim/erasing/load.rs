//! Tables are dropped and truncated while others write, read, flush and compact.

use super::{Erasure, Ids, Verdict, config, files_match, ids, must_be};
use crate::common::{chat, key, message};
use crate::simulated::{both, run, simulator};
use model::Schema;
use runtime::sim::client_sleep;
use scrollback_engine::{Config, Error, Read, Store};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

const CHANNELS: i64 = 8;

/// A write, by steps of a clock that goes on with each event.
struct Write {
    channel: i64,
    id: i64,
    begun: u64,
    /// When it was acknowledged.
    done: Option<u64>,
}

#[derive(Default)]
struct Story {
    clock: Cell<u64>,
    writes: RefCell<Vec<Write>>,
    /// When an erasure was asked for and answered.
    erasures: RefCell<Vec<(u64, u64)>>,
    ended: Cell<bool>,
}

impl Story {
    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    /// What must be there, and what may be.
    fn bounds(&self) -> (Ids, Ids) {
        let erasures = self.erasures.borrow();
        let (asked, answered) = erasures.last().copied().unwrap_or_default();
        let (mut least, mut most) = (Ids::new(), Ids::new());
        for write in self.writes.borrow().iter() {
            if write.done.is_some() && write.begun > answered {
                least.entry(write.channel).or_default().insert(write.id);
            }
            if write.done.is_none_or(|done| done > asked) {
                most.entry(write.channel).or_default().insert(write.id);
            }
        }
        (least, most)
    }

    /// Reads everything: what was answered before must be there, what is written meanwhile may be.
    async fn look(&self, when: &str, store: &Store, schema: &Schema) -> Result<Ids, String> {
        let (least, _) = self.bounds();
        let found = ids(store, schema, CHANNELS).await;
        let (_, most) = self.bounds();
        for (channel, ids) in &found {
            let none = BTreeSet::new();
            let [least, most] = [&least, &most].map(|of| of.get(channel).unwrap_or(&none));
            if let Some(lost) = least.difference(ids).next() {
                return Err(format!("{when}: {channel}/{lost} is lost"));
            }
            if let Some(back) = ids.difference(most).next() {
                return Err(format!("{when}: {channel}/{back} is back"));
            }
        }
        Ok(found)
    }
}

async fn writer(store: &Store, story: &Story, nth: i64) -> Verdict {
    for n in 0..150 {
        let channel = (n * 7 + nth) % CHANNELS;
        let id = n * 10 + nth;
        let begun = story.tick();
        // Dropped and not created again.
        let Some(schema) = store.table("chat", "messages") else {
            client_sleep(Duration::from_micros(50)).await;
            continue;
        };
        let at = story.writes.borrow().len();
        let write = Write {
            channel,
            id,
            begun,
            done: None,
        };
        story.writes.borrow_mut().push(write);
        let text = "x".repeat(300 + 40 * (n % 20) as usize);
        match store.apply(message(&schema, channel, id, 1_000 - id, &text)).await {
            Ok(()) => story.writes.borrow_mut()[at].done = Some(story.tick()),
            Err(Error::Invalid { .. }) => {}
            Err(error) => return Err(format!("a write: {error}")),
        }
    }
    Ok(())
}

async fn reader(store: &Store, story: &Story) -> Verdict {
    let mut channel = 0;
    while !story.ended.get() {
        channel = (channel + 1) % CHANNELS;
        if let Some(schema) = store.table("chat", "messages") {
            let mut read = Read {
                limit_rows: 5,
                ..Read::partition(schema.id, key(channel))
            };
            loop {
                match store.read(read.clone()).await {
                    Ok(page) => match page.more() {
                        Some(rest) => read.slice = rest.clone(),
                        None => break,
                    },
                    Err(Error::Invalid { .. }) => break,
                    Err(error) => return Err(format!("a read: {error}")),
                }
            }
        }
        client_sleep(Duration::from_micros(30)).await;
    }
    Ok(())
}

async fn upkeep(store: &Store, story: &Story) -> Verdict {
    while !story.ended.get() {
        client_sleep(Duration::from_micros(700)).await;
        store.flush().await.map_err(|error| format!("a flush: {error}"))?;
        // Whoever asks for it while the table goes is told.
        match store.compact(None).await {
            Ok(()) | Err(Error::Invalid { .. }) => {}
            Err(error) => return Err(format!("a compaction: {error}")),
        }
    }
    Ok(())
}

async fn eraser(store: &Store, story: &Story, what: Erasure, pause_us: u64) -> Verdict {
    for nth in 0..4 {
        client_sleep(Duration::from_micros(pause_us * (nth + 1))).await;
        let schema = store.table("chat", "messages").expect("there");
        let asked = story.tick();
        let done = match what {
            Erasure::Truncate => store.truncate(schema.id).await,
            Erasure::Drop => store.drop_table("chat", "messages", false).await.map(drop),
        };
        done.map_err(|error| format!("{what:?}: {error}"))?;
        story.erasures.borrow_mut().push((asked, story.tick()));
        let now = store
            .create_table(chat(), true)
            .await
            .map_err(|error| error.to_string())?;
        story.look("at once", store, &now).await?;
    }
    Ok(())
}

fn history_of(seed: u64, what: Erasure) -> Verdict {
    let config = || Config {
        fragment_bytes: 4 << 10,
        memtable_bytes: 64 << 10,
        ..config()
    };
    let mut sim = simulator(seed, 2);
    let handle = sim.start();
    let seen: Result<Ids, String> = run(&mut sim, async move {
        let store = Store::open_on(handle, config())
            .await
            .map_err(|error| error.to_string())?;
        store
            .create_table(chat(), true)
            .await
            .map_err(|error| error.to_string())?;
        let story = Story::default();
        let work = async {
            let writers = both(writer(&store, &story, 0), writer(&store, &story, 1));
            let erased = eraser(&store, &story, what, 300 + 137 * (seed % 17));
            let ((one, other), erased) = both(writers, erased).await;
            story.ended.set(true);
            one.and(other).and(erased)
        };
        let beside = both(reader(&store, &story), upkeep(&store, &story));
        let (worked, (read, kept)) = both(work, beside).await;
        worked.and(read).and(kept)?;
        let schema = store.table("chat", "messages").expect("there");
        let found = story.look("in the end", &store, &schema).await?;
        Ok(found)
    });
    let found = seen.map_err(|what| format!("seed {seed}: {what}"))?;
    sim.crash();
    for shards in [3, 1] {
        sim.set_shards(shards);
        let handle = sim.start();
        let found = found.clone();
        run(&mut sim, async move {
            let store = Store::open_on(handle, config())
                .await
                .map_err(|error| error.to_string())?;
            let schema = store.table("chat", "messages").expect("there");
            must_be("after a power cut", &ids(&store, &schema, CHANNELS).await, &found)?;
            store.close().await.map_err(|error| error.to_string())
        })
        .map_err(|what| format!("seed {seed}, {shards} shards: {what}"))?;
    }
    files_match(&sim.disk())
}

fn histories(what: Erasure) -> Verdict {
    (0..30).try_for_each(|seed| history_of(seed, what))
}

#[test]
fn a_table_is_truncated_under_load() {
    histories(Erasure::Truncate).unwrap_or_else(|what| panic!("{what}"));
}

#[test]
fn a_table_is_dropped_under_load() {
    histories(Erasure::Drop).unwrap_or_else(|what| panic!("{what}"));
}

#[cfg(feature = "breaks")]
#[test]
fn a_break_is_noticed_under_load() {
    use runtime::Break;
    for which in [Break::FlushesOutliveTruncation, Break::RunsOutliveTruncation] {
        let noticed = super::broken(which, || histories(Erasure::Truncate));
        let what = noticed.err().unwrap_or_else(|| panic!("{which:?} is not noticed"));
        println!("{which:?}: {what}");
    }
}
