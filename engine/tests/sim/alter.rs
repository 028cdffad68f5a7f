//! `ALTER TABLE`: what was dropped is never shown again and keeps no row alive, wherever it lies and whenever the power fails.

use crate::common::{clustering, column, key, message, messages};
use crate::simulated::{open, run, simulator, small};
use model::{Alteration, CellKind, CqlType, Mutation, MutationBuilder, RowBuilder, Schema};
use runtime::sim::Outcome;
use scrollback_engine::{DefinitionKind, Error, Read, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// An edit: it makes no row of its own.
fn edit(schema: &Schema, channel: i64, id: i64, timestamp: i64, content: &str) -> Mutation {
    let mut row = RowBuilder::new();
    row.cell(column(schema, "content"), timestamp, content.as_bytes());
    let mut mutation = MutationBuilder::new(schema.id, &key(channel));
    mutation.row(&clustering(schema, id), row.finish());
    mutation.build()
}

fn topic(schema: &Schema, channel: i64, timestamp: i64, topic: &str) -> Mutation {
    let mut row = RowBuilder::new();
    row.cell(column(schema, "topic"), timestamp, topic.as_bytes());
    let mut mutation = MutationBuilder::new(schema.id, &key(channel));
    mutation.static_row(row.finish());
    mutation.build()
}

/// Drops the column and adds it again, in one statement.
fn renewed(name: &str) -> Vec<Alteration> {
    let again = match name {
        "topic" => Alteration::add_static(name, CqlType::Text),
        _ => Alteration::add(name, CqlType::Text),
    };
    vec![Alteration::drop(name), again]
}

async fn seen(store: &Store, schema: &Schema, channel: i64) -> (Vec<(i64, String)>, Option<String>) {
    let page = store
        .read(Read::partition(schema.id, key(channel)))
        .await
        .expect("a page");
    let topic = column(schema, "topic");
    let text = |cell: model::CellRef<'_>| match cell.kind {
        CellKind::Live(value) => String::from_utf8(value.to_vec()).expect("UTF-8"),
        other => panic!("a live cell: {other:?}"),
    };
    let topic = page.static_row().and_then(|row| row.cell(topic).map(text));
    (messages(schema, &page), topic)
}

fn rows(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(id, text)| (*id, (*text).to_owned())).collect()
}

#[test]
fn what_was_dropped_stays_dropped() {
    for flushed in [false, true] {
        let mut sim = simulator(1, 2);
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, schema) = open(handle, small("/store")).await;
            let apply = async |mutation: Mutation| store.apply(mutation).await.expect("written");
            apply(message(&schema, 1, 1, 5, "inserted")).await;
            apply(edit(&schema, 1, 2, 5, "edited only")).await;
            apply(topic(&schema, 1, 5, "weather")).await;
            if flushed {
                store.flush().await.expect("flushed");
            }
            let before = rows(&[(2, "edited only"), (1, "inserted")]);
            // Twice, so that the row cache has it.
            for _ in 0..2 {
                assert_eq!(
                    seen(&store, &schema, 1).await,
                    (before.clone(), Some("weather".to_owned()))
                );
            }
            let alter = async |changes: Vec<Alteration>| store.alter_table("chat", "messages", changes).await;
            let without = alter(vec![Alteration::drop("content"), Alteration::drop("topic")]).await;
            let without = without.expect("altered");
            assert_eq!(store.table("chat", "messages"), Some(Arc::clone(&without)));
            let page = store.read(Read::partition(schema.id, key(1))).await.expect("a page");
            assert_eq!(
                (page.len(), page.static_row()),
                (1, None),
                "the insert keeps its row, the edit none"
            );
            assert_eq!(page.rows().next().map(|(_, row)| row.cells().count()), Some(1));
            let dead = Read {
                include_dead: true,
                ..Read::partition(schema.id, key(1))
            };
            assert_eq!(store.read(dead).await.expect("a page").len(), 2, "nothing was erased");
            // A writer that does not know of it yet changes nothing.
            apply(edit(&schema, 1, 3, 9, "late")).await;
            let changes = vec![
                Alteration::add("content", CqlType::Text),
                Alteration::add_static("topic", CqlType::Text),
                Alteration::rename("id", "message_id"),
            ];
            let again = alter(changes).await.expect("altered");
            assert_eq!(seen(&store, &again, 1).await, (rows(&[(1, "")]), None));
            // Older than what was dropped: it is another column.
            apply(edit(&again, 1, 2, 1, "anew")).await;
            apply(topic(&again, 1, 1, "music")).await;
            let expected = (rows(&[(2, "anew"), (1, "")]), Some("music".to_owned()));
            assert_eq!(seen(&store, &again, 1).await, expected);
            store.flush().await.expect("flushed");
            assert_eq!(seen(&store, &again, 1).await, expected);
            let refused = alter(vec![Alteration::drop("message_id")])
                .await
                .expect_err("a key column");
            assert!(
                matches!(&refused, Error::Invalid { what } if what.contains("primary key")),
                "{refused}"
            );
            let none = store.alter_table("chat", "none", renewed("content")).await;
            assert!(
                matches!(
                    &none,
                    Err(Error::NotFound {
                        what: DefinitionKind::Table,
                        ..
                    })
                ),
                "{none:?}"
            );
            store.close().await.expect("closed");
        });
        let handle = sim.start();
        run(&mut sim, async move {
            let store = Store::open_on(handle, small("/store")).await.expect("opened");
            let schema = store.table("chat", "messages").expect("there");
            assert_eq!(schema.clustering[0].column.name, "message_id");
            let expected = (rows(&[(2, "anew"), (1, "")]), Some("music".to_owned()));
            assert_eq!(seen(&store, &schema, 1).await, expected, "flushed: {flushed}");
            store.close().await.expect("closed");
        });
    }
}

/// What one client has written, and knows to be there.
#[derive(Clone, Default)]
struct Known {
    /// By channel and id: whether it was inserted, and its content.
    rows: BTreeMap<(i64, i64), (bool, Option<String>)>,
    topics: BTreeMap<i64, String>,
}

impl Known {
    fn seen(&self, channel: i64) -> (Vec<(i64, String)>, Option<String>) {
        let of_channel = self.rows.iter().rev().filter(|((of, _), _)| *of == channel);
        let seen = of_channel.filter_map(|((_, id), (inserted, content))| match content {
            Some(content) => Some((*id, content.clone())),
            None => inserted.then(|| (*id, String::new())),
        });
        (seen.collect(), self.topics.get(&channel).cloned())
    }

    fn without(mut self, column: &str) -> Known {
        match column {
            "topic" => self.topics.clear(),
            _ => self.rows.values_mut().for_each(|(_, content)| *content = None),
        }
        self
    }
}

#[derive(Default)]
struct History {
    known: Known,
    /// What is there if the operation under way has happened.
    pending: Option<Known>,
    /// Columns dropped: answered, begun.
    dropped: (usize, usize),
}

const CHANNELS: i64 = 3;

/// Numbers below what is asked for (xorshift).
fn drawn(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// Operations of one client, drawn from `random`, until the power fails or there were enough of them.
async fn operate(store: Store, history: Arc<Mutex<History>>, mut random: impl FnMut(u64) -> u64, mut timestamp: i64) {
    for _ in 0..60 {
        let schema = store.table("chat", "messages").expect("there");
        let (channel, id) = (random(CHANNELS as u64) as i64, random(6) as i64);
        let known = history.lock().unwrap_or_else(PoisonError::into_inner).known.clone();
        let mut next = known.clone();
        timestamp += 1;
        let text = format!("at {timestamp}");
        let mut renews = None;
        let mutation = match random(12) {
            0..3 => {
                next.rows.insert((channel, id), (true, Some(text.clone())));
                Some(message(&schema, channel, id, timestamp, &text))
            }
            3..6 => {
                next.rows.entry((channel, id)).or_default().1 = Some(text.clone());
                Some(edit(&schema, channel, id, timestamp, &text))
            }
            6 => {
                next.topics.insert(channel, text.clone());
                Some(topic(&schema, channel, timestamp, &text))
            }
            7 => {
                renews = Some(if random(2) == 0 { "content" } else { "topic" });
                next = next.without(renews.expect("one of them"));
                None
            }
            8 => {
                if store.flush().await.is_err() {
                    return;
                }
                continue;
            }
            _ => {
                let seen = seen(&store, &schema, channel).await;
                assert_eq!(seen, known.seen(channel));
                continue;
            }
        };
        {
            let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
            history.pending = Some(next.clone());
            history.dropped.1 += usize::from(renews.is_some());
        }
        let done = match (mutation, renews) {
            (Some(mutation), _) => store.apply(mutation).await,
            (None, column) => {
                let changes = renewed(column.expect("one of them"));
                store.alter_table("chat", "messages", changes).await.map(drop)
            }
        };
        if done.is_err() {
            return;
        }
        let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
        (history.known, history.pending) = (next, None);
        history.dropped.0 += usize::from(renews.is_some());
    }
}

#[test]
fn a_power_cut_brings_nothing_back_that_was_dropped() {
    let (mut crashes, mut midway) = (0, 0);
    for seed in 0..150_u64 {
        let mut random = drawn(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut sim = simulator(seed, 2);
        let history = Arc::new(Mutex::new(History::default()));
        for life in 0..4 {
            let handle = sim.start();
            // The first life makes the table in peace.
            let power_fails = life % 2 == 1;
            if power_fails {
                sim.crash_at_op(Some(30 + random(250)));
            }
            let shared = Arc::clone(&history);
            let draws = random(u64::MAX) | 1;
            let outcome = sim.run(async move {
                let (store, schema) = open(handle, small("/store")).await;
                let mut present = Vec::new();
                for channel in 0..CHANNELS {
                    present.push(seen(&store, &schema, channel).await);
                }
                {
                    let mut history = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let dropped = schema.dropped.len();
                    let (answered, begun) = history.dropped;
                    assert!(
                        (answered..=begun).contains(&dropped),
                        "{dropped} of {:?}",
                        history.dropped
                    );
                    let of = |known: &Known| (0..CHANNELS).map(|channel| known.seen(channel)).collect::<Vec<_>>();
                    match history.pending.take() {
                        Some(pending) if present == of(&pending) => history.known = pending,
                        _ => assert_eq!(present, of(&history.known)),
                    }
                    history.dropped = (dropped, dropped);
                }
                operate(store.clone(), shared, drawn(draws), 1_000 * (life + 1)).await;
                store.close().await.is_ok()
            });
            match outcome {
                Outcome::Done(_) => {}
                Outcome::Crashed => {
                    crashes += 1;
                    let history = history.lock().unwrap_or_else(PoisonError::into_inner);
                    midway += u32::from(history.dropped.0 != history.dropped.1);
                }
                Outcome::Stuck(why) => panic!("seed {seed}: stuck: {why}"),
            }
            sim.crash_at_op(None);
        }
    }
    assert!(
        crashes > 100 && midway > 2,
        "{crashes} crashes, {midway} of them in an alteration"
    );
}
