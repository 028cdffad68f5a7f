//! The whole crate over a real store, against a simple model.

use crate::*;
use engine::{Config, Store};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    task::Poll,
};

const E: i64 = Epoch::DEFAULT.unix_ms();
const HOUR: i64 = 3_600_000;

/// A directory on a file system with direct I/O, which the temporary one may not have.
fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("messages-")
        .tempdir_in(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
}

fn config(dir: &std::path::Path) -> Config {
    Config {
        shards: Some(2),
        pin: false,
        memtable_bytes: 1 << 20,
        log_segment_bytes: 4 << 20,
        ..Config::new(dir)
    }
}

async fn open(dir: &std::path::Path, options: Options) -> Messages {
    Messages::open_with(config(dir), options).await.unwrap()
}

fn hourly() -> Options {
    Options {
        window: Some(Window::from_hours(1).unwrap()),
        ..Options::default()
    }
}

/// Runs `test` over a new store.
fn with_store<F: Future<Output = ()>>(options: Options, test: impl FnOnce(Messages) -> F) {
    let dir = folder();
    runtime::block_on(async {
        let messages = open(dir.path(), options).await;
        test(messages.clone()).await;
        messages.close().await.unwrap();
    });
}

type Pinned<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Runs them all at the same time.
async fn join_all<T>(futures: Vec<Pinned<'_, T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(Ok).collect();
    std::future::poll_fn(move |context| {
        let mut pending = false;
        for slot in &mut running {
            if let Ok(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *slot = Err(Some(value)),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        let values = running
            .iter_mut()
            .map(|slot| slot.as_mut().err().and_then(Option::take).unwrap());
        Poll::Ready(values.collect())
    })
    .await
}

/// A small random source, so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn import_of(ms: i64, place: u32, content: &str) -> Import {
    Import {
        id: import_id(Epoch::DEFAULT, E + ms, place).unwrap(),
        unix_ms: E + ms,
        author: 5,
        content: content.to_owned(),
    }
}

/// All messages that pages of this size give, following the cursor.
async fn scroll(messages: &Messages, channel: i64, mut history: History) -> Vec<(MessageId, String, bool)> {
    let mut all = Vec::new();
    loop {
        let page = messages.history(channel, history).await.unwrap();
        assert!(page.len() <= history.limit);
        for message in page.messages() {
            let message = message.unwrap();
            all.push((message.id, message.content.to_owned(), message.edited_ms.is_some()));
        }
        let last = page.last_id().unwrap();
        assert_eq!(last, all.last().map(|(id, ..)| *id).filter(|_| !page.is_empty()));
        let Some(next) = page.next().unwrap() else {
            assert!(!page.has_more());
            return all;
        };
        assert!(page.len() == history.limit, "a page with more behind it is full");
        history = next;
    }
}

#[test]
fn model_history() {
    for seed in 0..4 {
        with_store(hourly(), |messages| async move {
            let random = &mut Random(seed);
            let mut model: BTreeMap<i64, BTreeMap<MessageId, (String, bool)>> = BTreeMap::new();
            let mut deleted = BTreeSet::new();
            for step in 0..400 {
                let channel = random.below(3) as i64;
                let of_channel = model.entry(channel).or_default();
                let some = |random: &mut Random, of: &BTreeMap<MessageId, (String, bool)>| {
                    of.keys().nth(random.below(of.len().max(1) as u64) as usize).copied()
                };
                match random.below(10) {
                    0..=1 => {
                        let content = format!("sent {step}");
                        let id = messages.send(channel, 7, content.clone()).await.unwrap();
                        assert!(of_channel.last_key_value().is_none_or(|(last, _)| *last < id));
                        of_channel.insert(id, (content, false));
                    }
                    2 => {
                        let contents: Vec<_> = (0..random.below(9)).map(|n| (7, format!("sent {step} {n}"))).collect();
                        let ids = messages.send_many(channel, contents.clone()).await.unwrap();
                        assert!(ids.is_sorted_by(|a, b| a < b) && ids.len() == contents.len());
                        assert!(
                            of_channel
                                .last_key_value()
                                .is_none_or(|(last, _)| ids.iter().all(|id| last < id))
                        );
                        of_channel.extend(
                            ids.into_iter()
                                .zip(contents)
                                .map(|(id, (_, content))| (id, (content, false))),
                        );
                    }
                    3..=4 => {
                        // Few places in many hours, so that some are there already, or were deleted.
                        let batch: BTreeMap<_, _> = (0..random.below(20))
                            .map(|_| import_of(random.below(40) as i64 * HOUR / 2, random.below(6) as u32, "imported"))
                            .map(|import| (import.id, import))
                            .collect();
                        let present =
                            |id: &&MessageId| of_channel.contains_key(*id) || deleted.contains(&(channel, **id));
                        let expected = batch.keys().filter(present).count() as u64;
                        let imported = messages
                            .import(channel, batch.values().cloned().collect())
                            .await
                            .unwrap();
                        assert_eq!(
                            imported,
                            Imported {
                                added: batch.len() as u64 - expected,
                                present: expected
                            }
                        );
                        for (id, import) in batch {
                            if !deleted.contains(&(channel, id)) {
                                of_channel.entry(id).or_insert((import.content, false));
                            }
                        }
                    }
                    5 => {
                        if let Some(id) = some(random, of_channel) {
                            messages
                                .edit(channel, id, None, format!("edited {step}"))
                                .await
                                .unwrap();
                            of_channel.insert(id, (format!("edited {step}"), true));
                        }
                    }
                    6 => {
                        if let Some(id) = some(random, of_channel) {
                            messages.delete(channel, id, None).await.unwrap();
                            of_channel.remove(&id);
                            deleted.insert((channel, id));
                        }
                    }
                    7 => {
                        if let Some((_, id)) = deleted
                            .iter()
                            .nth(random.below(deleted.len().max(1) as u64) as usize)
                            .filter(|(c, _)| *c == channel)
                        {
                            let edit = messages.edit(channel, *id, None, "revived".to_owned()).await;
                            assert!(matches!(edit, Err(Error::NotFound { .. })), "{edit:?}");
                            assert!(matches!(
                                messages.delete(channel, *id, None).await,
                                Err(Error::NotFound { .. })
                            ));
                        }
                    }
                    8 => {
                        if let Some(id) = some(random, of_channel) {
                            let one = messages.get(channel, id).await.unwrap().unwrap();
                            let (content, edited) = &of_channel[&id];
                            let message = one.message().unwrap();
                            assert_eq!(
                                (message.id, message.content, message.edited_ms.is_some()),
                                (id, content.as_str(), *edited)
                            );
                        }
                        if random.below(8) == 0 {
                            messages.store().flush().await.unwrap();
                        }
                    }
                    _ => {
                        let history = History {
                            before: some(random, of_channel).filter(|_| step % 3 == 0),
                            after: some(random, of_channel).filter(|_| step % 5 == 0),
                            oldest_first: random.below(2) == 0,
                            limit: 1 + random.below(30) as usize,
                        };
                        let within = of_channel.iter().filter(|(id, _)| {
                            history.before.is_none_or(|before| **id < before)
                                && history.after.is_none_or(|after| **id > after)
                        });
                        let mut expected: Vec<_> = within
                            .map(|(id, (content, edited))| (*id, content.clone(), *edited))
                            .collect();
                        if !history.oldest_first {
                            expected.reverse();
                        }
                        assert_eq!(
                            scroll(&messages, channel, history).await,
                            expected,
                            "seed {seed}, step {step}, {history:?}"
                        );
                    }
                }
            }
            for (channel, of_channel) in model {
                let summary = messages.summary(channel).await.unwrap();
                let ids = (of_channel.first_key_value(), of_channel.last_key_value());
                let expected = (of_channel.len() as u64, ids.0.map(|m| *m.0), ids.1.map(|m| *m.0));
                assert_eq!((summary.messages, summary.first, summary.last), expected);
            }
        });
    }
}

#[test]
fn readers_see_each_message_once_and_in_order_while_it_is_written() {
    with_store(hourly(), |messages| async move {
        const WRITERS: usize = 8;
        const EACH: usize = 40;
        let (channel, done) = (3, std::cell::Cell::new(0));
        let messages = &messages;
        let done = &done;
        let writer = |writer: usize| -> Pinned<'_, Vec<(MessageId, String)>> {
            Box::pin(async move {
                let mut sent = Vec::new();
                for i in 0..EACH {
                    let content = format!("{writer} {i}");
                    sent.push((
                        messages.send(channel, writer as i64, content.clone()).await.unwrap(),
                        content,
                    ));
                }
                done.set(done.get() + 1);
                sent
            })
        };
        let reader = |limit: usize| -> Pinned<'_, Vec<(MessageId, String)>> {
            Box::pin(async move {
                let mut history = History {
                    oldest_first: true,
                    ..History::newest(limit)
                };
                let mut seen = Vec::new();
                loop {
                    let ended = done.get() == WRITERS;
                    let page = messages.history(channel, history).await.unwrap();
                    for message in page.messages() {
                        let message = message.unwrap();
                        seen.push((message.id, message.content.to_owned()));
                    }
                    match page.last_id().unwrap() {
                        Some(last) => history = history.from(last),
                        None if ended => return seen,
                        None => {}
                    }
                }
            })
        };
        let tasks = (0..WRITERS).map(writer).chain([1, 3, 50].map(reader)).collect();
        let mut results = join_all(tasks).await;
        let seen = results.split_off(WRITERS);
        let mut sent: Vec<_> = results.into_iter().flatten().collect();
        sent.sort();
        for seen in seen {
            assert_eq!(seen, sent);
        }
    });
}

#[test]
fn calls_come_from_any_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    with_store(Options::default(), |messages| async move {
        let channel = messages.channel("c").await.unwrap();
        std::thread::scope(|scope| {
            for author in 0..4 {
                let messages = messages.clone();
                scope.spawn(move || {
                    for n in 0..20 {
                        block_on(is_send(messages.send(channel, author, format!("{author} {n}")))).unwrap();
                    }
                });
            }
        });
        let sent = scroll(&messages, channel, History::oldest(7)).await;
        for author in 0..4 {
            let own = sent.iter().filter(|m| m.1.starts_with(&format!("{author} ")));
            assert!(own.map(|m| m.1.clone()).eq((0..20).map(|n| format!("{author} {n}"))));
        }
    });
}

#[test]
fn edits_that_race_with_a_delete_never_revive() {
    with_store(Options::default(), |messages| async move {
        let messages = &messages;
        for round in 0..30 {
            let id = messages.send(1, 1, "first".to_owned()).await.unwrap();
            let edit = |n: usize| -> Pinned<'_, bool> {
                Box::pin(async move { messages.edit(1, id, Some(1), format!("edit {n}")).await.is_ok() })
            };
            let delete = || -> Pinned<'_, bool> { Box::pin(async move { messages.delete(1, id, None).await.is_ok() }) };
            let mut tasks: Vec<_> = (0..6).map(edit).collect();
            tasks.insert(round % 7, delete());
            tasks.insert(round % 3, delete());
            let ok = join_all(tasks).await;
            assert_eq!(
                [ok[round % 3], ok[round % 7 + usize::from(round % 3 <= round % 7)]]
                    .iter()
                    .filter(|ok| **ok)
                    .count(),
                1
            );
            assert!(messages.get(1, id).await.unwrap().is_none());
            assert!(messages.edit(1, id, None, "late".to_owned()).await.is_err());
            assert!(messages.get(1, id).await.unwrap().is_none());
        }
        assert!(messages.history(1, History::newest(10)).await.unwrap().is_empty());
    });
}

#[test]
fn an_author_changes_only_own_messages_and_content_is_bounded() {
    with_store(Options::default(), |messages| async move {
        let id = messages.send(1, 10, String::new()).await.unwrap();
        assert!(matches!(
            messages.edit(1, id, Some(11), "x".to_owned()).await,
            Err(Error::OtherAuthor { .. })
        ));
        assert!(matches!(
            messages.delete(1, id, Some(11)).await,
            Err(Error::OtherAuthor { .. })
        ));
        let longest = "x".repeat(CONTENT_BYTES_MAX);
        messages.edit(1, id, Some(10), longest.clone()).await.unwrap();
        assert_eq!(
            messages.get(1, id).await.unwrap().unwrap().message().unwrap().content,
            longest
        );
        let over = "x".repeat(CONTENT_BYTES_MAX + 1);
        assert!(matches!(
            messages.edit(1, id, None, over.clone()).await,
            Err(Error::ContentTooLong { bytes: 1_048_577 })
        ));
        assert!(matches!(
            messages.send(1, 10, over).await,
            Err(Error::ContentTooLong { .. })
        ));
        for n in 0..20 {
            messages.send(1, n, longest.clone()).await.unwrap();
        }
        let page = messages.history(1, History::newest(1000)).await.unwrap();
        assert!(
            page.has_more() && (8..=10).contains(&page.len()),
            "a page of long messages is cut: {}",
            page.len()
        );
    });
}

#[test]
fn many_messages_are_deleted_at_once() {
    with_store(hourly(), |messages| async move {
        let file: Vec<_> = (0..700).map(|n| import_of(n * 20_000, 0, &n.to_string())).collect();
        messages.import(1, file.clone()).await.unwrap();
        let ids: Vec<MessageId> = file.iter().map(|message| message.id).collect();
        messages.delete(1, ids[3], None).await.unwrap();
        // Every other one, over four buckets and more than one write; one is gone, one never was, one is named twice.
        let mut some: Vec<MessageId> = ids.iter().copied().step_by(2).collect();
        some.extend([ids[3], ids[4], import_id(Epoch::DEFAULT, E + 7, 5).unwrap()]);
        assert_eq!(
            messages.delete_many(1, some.clone(), Some(6)).await.unwrap(),
            0,
            "another author's"
        );
        assert_eq!(messages.delete_many(1, some.clone(), Some(5)).await.unwrap(), 350);
        assert_eq!(messages.delete_many(1, some, None).await.unwrap(), 0, "deleted before");
        let left = scroll(&messages, 1, History::oldest(50)).await;
        let expected: Vec<String> = (1..700).step_by(2).filter(|n| *n != 3).map(|n| n.to_string()).collect();
        assert_eq!(
            left.iter().map(|(_, content, _)| content.clone()).collect::<Vec<_>>(),
            expected
        );
        let again = messages.import(1, file).await.unwrap();
        assert_eq!(again, Imported { added: 0, present: 700 });
    });
}

#[test]
fn a_bucket_a_range_and_a_channel_are_deleted() {
    with_store(hourly(), |messages| async move {
        // Four hours, and one message of a time to come.
        let file: Vec<_> = (0..720).map(|n| import_of(n * 20_000, 0, &n.to_string())).collect();
        messages.import(1, file.clone()).await.unwrap();
        let to_come = import_of(50 * 365 * 24 * HOUR, 0, "to come");
        let later = import_of(50 * 365 * 24 * HOUR, 1, "later");
        messages.import(1, vec![to_come.clone()]).await.unwrap();
        messages.import(2, file.clone()).await.unwrap();
        let contents = async |channel| {
            let all = scroll(&messages, channel, History::oldest(100)).await;
            all.into_iter().map(|(_, content, _)| content).collect::<Vec<_>>()
        };
        let expected = |kept: &dyn Fn(usize) -> bool| {
            let numbers = (0..720).filter(|n| kept(*n)).map(|n| n.to_string());
            numbers.chain(["to come".to_owned()]).collect::<Vec<_>>()
        };
        messages.delete_bucket(1, file[200].id).await.unwrap();
        assert_eq!(
            contents(1).await,
            expected(&|n| !(180..360).contains(&n)),
            "the second hour"
        );
        // From the third hour into the fourth, the ends not.
        messages
            .delete_between(1, Some(file[400].id), Some(file[600].id))
            .await
            .unwrap();
        let kept = |n| !(180..360).contains(&n) && !(401..600).contains(&n);
        assert_eq!(contents(1).await, expected(&kept));
        let between = async |after: Option<usize>, before: Option<usize>| {
            let id = |n: Option<usize>| n.map(|n| file[n].id);
            messages.delete_between(1, id(after), id(before)).await.unwrap();
        };
        for (after, before) in [(600, 400), (50, 40), (50, 50), (50, 51)] {
            between(Some(after), Some(before)).await;
            assert_eq!(
                contents(1).await,
                expected(&kept),
                "nothing lies between {after} and {before}"
            );
        }
        between(None, Some(10)).await;
        let kept = |n| kept(n) && n >= 10;
        assert_eq!(contents(1).await, expected(&kept));
        between(Some(700), None).await;
        let mut without = expected(&|n| kept(n) && n <= 700);
        without.pop();
        assert_eq!(contents(1).await, without, "the one to come as well");
        let sent = messages.send(1, 5, "sent".to_owned()).await.unwrap();
        messages.import(1, vec![later.clone()]).await.unwrap();
        messages.delete_channel(1).await.unwrap();
        assert_eq!(contents(1).await, Vec::<String>::new());
        assert!(messages.get(1, later.id).await.unwrap().is_none());
        assert!(messages.get(1, to_come.id).await.unwrap().is_none());
        assert!(matches!(
            messages.edit(1, sent, None, "back?".to_owned()).await,
            Err(Error::NotFound { .. })
        ));
        assert_eq!(contents(2).await.len(), 720, "the other channel is as it was");
        // Nothing comes back by a second import, and what is sent now stays.
        messages.import(1, vec![file[0].clone(), to_come]).await.unwrap();
        messages.send(1, 5, "new".to_owned()).await.unwrap();
        assert_eq!(contents(1).await, ["new"]);
    });
}

/// Found by `cargo xtask sim-chat`: in the bucket of the present, the messages between two were looked for behind the second.
#[test]
fn what_was_just_sent_is_deleted_between_two_messages() {
    with_store(Options::default(), |messages| async move {
        let contents = (0..5).map(|n: i32| (1, n.to_string())).collect();
        let ids = messages.send_many(1, contents).await.unwrap();
        let left = async || {
            let page = messages.history(1, History::oldest(9)).await.unwrap();
            page.messages()
                .map(|message| message.unwrap().content.to_owned())
                .collect::<Vec<_>>()
        };
        for (after, before) in [(3, 3), (4, 0), (1, 2)] {
            messages
                .delete_between(1, Some(ids[after]), Some(ids[before]))
                .await
                .unwrap();
            assert_eq!(left().await.len(), 5, "nothing lies between {after} and {before}");
        }
        messages.delete_between(1, Some(ids[0]), Some(ids[3])).await.unwrap();
        assert_eq!(left().await, ["0", "3", "4"]);
        messages.delete_between(1, None, Some(ids[3])).await.unwrap();
        assert_eq!(left().await, ["3", "4"]);
    });
}

/// Behind more tombstones than a page may meet it ends there, and the cursor goes on.
#[test]
fn scrolling_goes_on_behind_many_deleted_messages() {
    let dir = folder();
    runtime::block_on(async {
        let open = || {
            let config = Config {
                tombstone_failure_threshold: 20,
                ..config(dir.path())
            };
            Messages::open_with(config, hourly())
        };
        // Two buckets, in files; what is deleted is in memory, so that each message meets its tombstone only when read.
        let file = (0..300).map(|n| import_of(n * 20_000, 0, &n.to_string()));
        let messages = open().await.unwrap();
        messages.import(1, file.clone().collect()).await.unwrap();
        messages.close().await.unwrap();
        let messages = open().await.unwrap();
        for (n, message) in file.enumerate() {
            if n % 60 != 7 {
                messages.delete(1, message.id, None).await.unwrap();
            }
        }
        let kept: Vec<String> = (0..300).filter(|n| n % 60 == 7).map(|n| n.to_string()).collect();
        for oldest_first in [false, true] {
            let (mut found, mut short) = (Vec::new(), 0);
            let mut next = Some(History {
                oldest_first,
                ..History::newest(3)
            });
            while let Some(history) = next {
                let page = messages.history(1, history).await.unwrap();
                found.extend(page.messages().map(|message| message.unwrap().content.to_owned()));
                next = page.next().unwrap();
                assert_eq!(next.is_some(), page.has_more());
                short += u32::from(next.is_some() && page.len() < 3);
            }
            if !oldest_first {
                found.reverse();
            }
            assert_eq!(found, kept);
            // What one way has found dead, the other passes over.
            assert_eq!(short > 5, !oldest_first, "{short} pages were cut");
        }
        assert_eq!(messages.summary(1).await.unwrap().messages, 5);
        messages.close().await.unwrap();
    });
}

#[test]
fn many_messages_at_once_are_more_than_one_write() {
    const MANY: usize = 500_000; // empty ones exceed the largest mutation, too
    with_store(Options::default(), |messages| async move {
        let ids = messages.send_many(1, vec![(1, String::new()); MANY]).await.unwrap();
        assert!(ids.len() == MANY && ids.is_sorted_by(|a, b| a < b));
        let long = "x".repeat(CONTENT_BYTES_MAX);
        let file: Vec<_> = (0..20).map(|ms| import_of(ms, 0, &long)).collect();
        let twice = [file.clone(), file].concat();
        let expected = Imported { added: 20, present: 20 };
        assert_eq!(messages.import(2, twice).await.unwrap(), expected);
        assert_eq!(messages.summary(1).await.unwrap().messages, MANY as u64);
        assert_eq!(messages.summary(2).await.unwrap().messages, 20);
    });
}

#[test]
fn an_imported_message_that_was_deleted_stays_deleted() {
    with_store(Options::default(), |messages| async move {
        // The last one is of the future: later than the delete's own clock.
        let future = (runtime::time::unix_micros() / 1000 - E) + 5 * 365 * 24 * HOUR;
        let file: Vec<_> = [5, 6, 7, future].map(|ms| import_of(ms, 0, "x")).to_vec();
        assert_eq!(
            messages.import(1, file.clone()).await.unwrap(),
            Imported { added: 4, present: 0 }
        );
        for gone in [&file[1], &file[3]] {
            messages.edit(1, gone.id, None, "y".to_owned()).await.unwrap();
            messages.delete(1, gone.id, None).await.unwrap();
        }
        assert_eq!(
            messages.import(1, file.clone()).await.unwrap(),
            Imported { added: 0, present: 4 }
        );
        let left = scroll(&messages, 1, History::newest(10)).await;
        assert_eq!(left.iter().map(|m| m.0).collect::<Vec<_>>(), [file[2].id, file[0].id]);
        // Ids go on counting from today.
        let sent = messages.send(1, 1, String::new()).await.unwrap();
        assert!((sent.unix_ms(messages.epoch()) - runtime::time::unix_micros() / 1000).abs() < HOUR);
    });
}

#[test]
fn names_keep_their_ids_also_when_two_share_a_hash() {
    let dir = folder();
    runtime::block_on(async {
        let messages = open(dir.path(), Options::default()).await;
        let id = messages.intern(NameKind::Channel, "#a".to_owned()).await.unwrap();
        assert_eq!(id, names::first_candidate(NameKind::Channel, "#a"));
        // Another name sits where "#b" would: what a collision leaves.
        let (taken, tables) = (names::first_candidate(NameKind::Channel, "#b"), messages.tables());
        let mut row = model::RowBuilder::new();
        row.liveness(1).cell(tables.name, 1, b"#squatter");
        let mut mutation = model::MutationBuilder::new(tables.names, &tables::name_key(NameKind::Channel, taken));
        messages
            .store()
            .apply(mutation.row(&[], row.finish()).build())
            .await
            .unwrap();
        assert_eq!(messages.find(NameKind::Channel, "#b".to_owned()).await.unwrap(), None);
        let next = messages.intern(NameKind::Channel, "#b".to_owned()).await.unwrap();
        assert_eq!(next, names::next_candidate(taken));
        let together = (0..8).map(|_| -> Pinned<'_, i64> {
            Box::pin(async { messages.intern(NameKind::Author, "new".to_owned()).await.unwrap() })
        });
        let together: BTreeSet<_> = join_all(together.collect()).await.into_iter().collect();
        assert_eq!(together.len(), 1);
        // Two names that meet at one free id, at the same time.
        let claim = |name: &'static str| -> Pinned<'_, naming::Holder> {
            let call = messages.call(runtime::ShardId(0), move |local| async move {
                local.holder(NameKind::Author, 77, name, true).await
            });
            Box::pin(async { call.await.unwrap() })
        };
        let holders = join_all(vec![claim("one"), claim("two")]).await;
        assert!(
            holders.contains(&naming::Holder::This) && holders.contains(&naming::Holder::Another),
            "{holders:?}"
        );
        messages.close().await.unwrap();

        let messages = open(dir.path(), Options::default()).await;
        assert_eq!(messages.intern(NameKind::Channel, "#b".to_owned()).await.unwrap(), next);
        assert_eq!(
            messages.find(NameKind::Channel, "#a".to_owned()).await.unwrap(),
            Some(id)
        );
        assert_eq!(
            messages.name(NameKind::Channel, next).await.unwrap().as_deref(),
            Some("#b")
        );
        assert_eq!(messages.name(NameKind::Channel, 12345).await.unwrap(), None);
        assert!(matches!(
            messages.intern(NameKind::Author, String::new()).await,
            Err(Error::BadName { bytes: 0 })
        ));
        messages.close().await.unwrap();
    });
}

#[test]
fn epoch_and_window_are_fixed_when_the_store_is_created() {
    let dir = folder();
    runtime::block_on(async {
        let early = Options {
            epoch_ms: Some(1_072_915_200_000),
            window: Some(Window::from_hours(24).unwrap()),
        };
        let messages = open(dir.path(), early).await;
        let id = messages.send(1, 1, "x".to_owned()).await.unwrap();
        messages.close().await.unwrap();

        let store = Store::open(config(dir.path())).await.unwrap();
        let other = Options {
            epoch_ms: Some(0),
            window: None,
        };
        let refused = Messages::over(store.clone(), other).await.err().unwrap();
        assert!(
            matches!(
                refused,
                Error::OtherEpoch {
                    present_ms: 1_072_915_200_000,
                    asked_ms: 0
                }
            ),
            "{refused:?}"
        );
        let other = Options {
            epoch_ms: None,
            window: Some(Window::DEFAULT),
        };
        let refused = Messages::over(store.clone(), other).await.err().unwrap();
        assert!(
            matches!(
                refused,
                Error::OtherWindow {
                    present_hours: 24,
                    asked_hours: 240
                }
            ),
            "{refused:?}"
        );
        let messages = Messages::over(store, Options::default()).await.unwrap();
        assert_eq!(
            (messages.epoch().unix_ms(), messages.window().hours()),
            (1_072_915_200_000, 24)
        );
        assert!(messages.get(1, id).await.unwrap().is_some());
        assert!(messages.send(1, 1, "y".to_owned()).await.unwrap() > id);
        messages.close().await.unwrap();
    });
}

#[test]
fn channels_are_listed_once_each() {
    with_store(hourly(), |messages| async move {
        for channel in 0..40 {
            messages
                .import(channel, vec![import_of(0, 0, "x"), import_of(5 * HOUR, 0, "x")])
                .await
                .unwrap();
        }
        let mut all = BTreeSet::new();
        for shard in 0..messages.store().shards() {
            let mut after = None;
            loop {
                let some = messages.channels(runtime::ShardId(shard), after, 7).await.unwrap();
                assert!(some.iter().all(|channel| all.insert(*channel)));
                match some.last() {
                    Some(last) => after = Some(*last),
                    None => break,
                }
            }
        }
        assert!(all.into_iter().eq(0..40));
    });
}

/// A mutation that writes one message as a row, as a client of the table does.
fn row_of(messages: &Messages, channel: i64, bucket: i32, id: i64) -> model::Mutation {
    let table = messages.store().table("messages", "messages").unwrap();
    let row = model::Insert::into(&table)
        .set("channel_id", channel)
        .and_then(|row| row.set("bucket_id", bucket))
        .and_then(|row| row.set("message_id", id))
        .and_then(|row| row.set("content", "by other means"));
    row.and_then(|row| row.at(1)).unwrap()
}

async fn admitted(messages: &Messages, mutation: model::Mutation) -> Result<()> {
    let table = messages.store().table("messages", "messages").unwrap();
    messages
        .call(runtime::ShardId(0), move |local| async move {
            local.admit(&table, mutation.as_ref()).await
        })
        .await
}

#[test]
fn a_row_that_is_written_by_other_means_is_found_and_lies_where_its_id_says() {
    with_store(hourly(), |messages| async move {
        let table = messages.store().table("messages", "channel_buckets").unwrap();
        assert_eq!(messages.role_of(table.id), Some(TableRole::Kept));
        let id = MessageId::from_parts(5 * HOUR as u64 + 7, 1, 1).unwrap();
        let elsewhere = row_of(&messages, 9, 4, id.get());
        let refused = admitted(&messages, elsewhere).await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::OtherBucket {
                    bucket_id: 4,
                    belongs: 5,
                    ..
                }
            ),
            "{refused}"
        );
        assert!(admitted(&messages, row_of(&messages, 9, 5, -1)).await.is_err(), "no id");
        let row = row_of(&messages, 9, 5, id.get());
        admitted(&messages, row.clone()).await.unwrap();
        messages.store().apply(row).await.unwrap();
        let page = messages.history(9, History::newest(10)).await.unwrap();
        let found: Vec<(MessageId, i64, String)> = page
            .messages()
            .map(|message| message.map(|of| (of.id, of.author, of.content.to_owned())).unwrap())
            .collect();
        // It names no author, and keeps no other message from being read.
        assert_eq!(found, [(id, 0, "by other means".to_owned())]);
    });
}
