//! Channels whose window changes, over a simulated store.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use engine::{Config, Store};
use runtime::{Handle, sim};
use scrollback_messages::{
    Bucket, Epoch, Error, Event, History, Import, Imported, MessageId, Messages, Options, WINDOW_CHANGES_MAX, Window,
    import_id,
};
use std::{cell::Cell, collections::BTreeMap, future::Future, pin::Pin, rc::Rc, task::Poll, time::Duration};

const HOUR: i64 = 3_600_000;

fn hours(hours: u32) -> Window {
    Window::from_hours(hours).unwrap()
}

fn simulator(seed: u64, shards: usize) -> sim::Sim {
    sim::Sim::new(sim::Config {
        seed,
        shards,
        ..sim::Config::default()
    })
}

/// Opens a store whose channels begin with windows of two hours.
async fn open(handle: Handle) -> Messages {
    let store = Store::open_on(handle, Config::new("/store"))
        .await
        .expect("the store opens");
    let options = Options {
        window: Some(hours(2)),
        ..Options::default()
    };
    Messages::over(store, options).await.expect("its tables are made")
}

/// Runs a client to its end.
fn run<T: 'static>(sim: &mut sim::Sim, client: impl Future<Output = T> + 'static) -> T {
    sim.run(client).done()
}

type Client = Pin<Box<dyn Future<Output = ()>>>;

/// Runs them all at the same time.
async fn together(mut running: Vec<Client>) {
    std::future::poll_fn(move |context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        match running.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// The wall clock, Unix milliseconds.
async fn now_ms(messages: &Messages) -> i64 {
    let clock = messages.call(runtime::ShardId(0), |_| async { Ok(runtime::time::unix_micros()) });
    clock.await.expect("the shard serves") / 1000
}

fn import_at(unix_ms: i64, content: &str) -> Import {
    Import {
        id: import_id(Epoch::DEFAULT, unix_ms, 0).expect("within the ids"),
        unix_ms,
        author: 1,
        content: content.to_owned(),
    }
}

/// The number of a time's hour since the epoch.
fn hour_of(unix_ms: i64) -> i32 {
    ((unix_ms - Epoch::DEFAULT.unix_ms()) / HOUR) as i32
}

fn bucket(hour: i32, length: u32) -> Bucket {
    Bucket {
        id: hour,
        window: hours(length),
    }
}

async fn scroll(messages: &Messages, channel: i64, history: History) -> Vec<(MessageId, String)> {
    let mut found = Vec::new();
    let mut next = Some(history);
    while let Some(history) = next {
        let page = messages.history(channel, history).await.expect("a page");
        for message in page.messages() {
            let message = message.expect("well formed");
            found.push((message.id, message.content.to_owned()));
        }
        next = page.next().expect("well formed");
    }
    found
}

/// Holds every way to read the channel against what it has.
async fn check(messages: &Messages, channel: i64, expected: &BTreeMap<MessageId, String>) {
    let oldest_first: Vec<_> = expected.iter().map(|(id, content)| (*id, content.clone())).collect();
    let newest_first: Vec<_> = oldest_first.iter().rev().cloned().collect();
    for limit in [1, 3, 100] {
        assert_eq!(scroll(messages, channel, History::oldest(limit)).await, oldest_first);
        assert_eq!(scroll(messages, channel, History::newest(limit)).await, newest_first);
    }
    for (at, (id, content)) in oldest_first.iter().enumerate() {
        let one = messages.get(channel, *id).await.expect("read");
        let one = one.unwrap_or_else(|| panic!("{content:?} is looked for in another bucket"));
        assert_eq!(one.message().unwrap().content, content);
        let around = messages.around(channel, *id, 4).await.expect("read");
        let ids = |page: &scrollback_messages::HistoryPage| page.messages().map(|m| m.unwrap().id).collect::<Vec<_>>();
        let expected = |some: &[(MessageId, String)]| some.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let newer = &oldest_first[at + 1..];
        assert_eq!(ids(&around.newer), expected(&newer[..newer.len().min(2)]));
        let older = &newest_first[newest_first.len() - 1 - at..];
        assert_eq!(ids(&around.older), expected(&older[..older.len().min(3)]));
    }
}

async fn counts(messages: &Messages, channel: i64) -> Vec<(Bucket, u64)> {
    let counts = messages.bucket_counts(channel).await.expect("counted");
    counts.into_iter().map(|of| (of.bucket, of.messages)).collect()
}

#[test]
fn a_window_changes_at_a_border_and_everything_finds_its_bucket() {
    let mut sim = simulator(1, 2);
    let handle = sim.start();
    let (messages, border, sent) = run(&mut sim, async move {
        let messages = open(handle).await;
        let first = messages.send(1, 1, "before").await.expect("sent");
        let now = now_ms(&messages).await;
        let border = messages.window_border(1, now).await.expect("found");
        assert!(border > now && border % (2 * HOUR) == 0 && border <= now + 2 * HOUR + 60_000);
        for (from, expected) in [
            (border - 2 * HOUR, border),
            (now, border),
            (first.unix_ms(Epoch::DEFAULT), border),
        ] {
            let refused = messages.set_window(1, hours(5), from).await;
            assert!(
                matches!(refused, Err(Error::BorderTooEarly { unix_ms, next_ms }) if unix_ms == from && next_ms == expected),
                "{from}: {refused:?}"
            );
        }
        for from in [border + 1, border + HOUR] {
            let refused = messages.set_window(1, hours(5), from).await;
            let expected = border + 2 * HOUR;
            assert!(
                matches!(refused, Err(Error::NoBorder { unix_ms, next_ms }) if unix_ms == from && next_ms == expected),
                "{from}: {refused:?}"
            );
        }
        assert_eq!(messages.windows(1).await.expect("read").changes(), []);
        messages.set_window(1, hours(5), border).await.expect("set");
        let sent = BTreeMap::from([(first, "before".to_owned())]);
        (messages, border, sent)
    });
    let at = hour_of(border);
    // Sent in the hour before the border, and in each of the eleven after it.
    let mut sent = sent;
    let mut clock = run(&mut sim, {
        let messages = messages.clone();
        async move { now_ms(&messages).await }
    });
    for step in -1..11 {
        let to = border + step * HOUR + HOUR / 2;
        if to > clock {
            sim.step_wall_clock((to - clock) * 1000);
            clock = to;
        }
        let messages = messages.clone();
        let content = format!("sent {step}");
        let id = run(&mut sim, {
            let content = content.clone();
            async move { messages.send_many(1, vec![(1, content)]).await.expect("sent").remove(0) }
        });
        sent.insert(id, content);
    }
    run(&mut sim, async move {
        // Others come in by import: at the very border, in a bucket long ago and in one of a time to come.
        let times = [
            border - 1,
            border,
            border + 5 * HOUR - 1,
            border + 5 * HOUR,
            border - 100 * HOUR,
            border + 21 * HOUR,
        ];
        let file: Vec<_> = times
            .map(|ms| import_at(ms, &format!("imported {}", ms - border)))
            .to_vec();
        let imported = messages.import(1, file.clone()).await.expect("imported");
        assert_eq!(imported, Imported { added: 6, present: 0 });
        let again = messages.import(1, file.clone()).await.expect("imported");
        assert_eq!(again, Imported { added: 0, present: 6 });
        sent.extend(file.iter().map(|import| (import.id, import.content.clone())));
        check(&messages, 1, &sent).await;
        let before = sent
            .keys()
            .filter(|id| hour_of(id.unix_ms(Epoch::DEFAULT)) < at)
            .count() as u64;
        let expected = [
            (bucket(at + 20, 5), 1),
            (bucket(at + 10, 5), 1),
            (bucket(at + 5, 5), 6),
            (bucket(at, 5), 7),
            (bucket(at - 2, 2), before - 1),
            (bucket(at - 100, 2), 1),
        ];
        assert_eq!(counts(&messages, 1).await, expected);

        // The next border is one of the new windows, behind what was imported.
        let next = messages.window_border(1, 0).await.expect("found");
        assert_eq!(next, border + 25 * HOUR);
        let refused = messages.set_window(1, hours(1), border + 20 * HOUR).await;
        assert!(
            matches!(refused, Err(Error::BorderTooEarly { next_ms, .. }) if next_ms == next),
            "{refused:?}"
        );
        // The other channel is as it was.
        messages.import(2, file.clone()).await.expect("imported");
        assert_eq!(counts(&messages, 2).await[0].0, bucket(at + 20 - at.rem_euclid(2), 2));

        // Edits and deletes on both sides.
        let ids: Vec<MessageId> = sent.keys().copied().collect();
        for id in &ids {
            let content = format!("edited {id}");
            messages.edit(1, *id, Some(1), content.clone()).await.expect("edited");
            sent.insert(*id, content);
        }
        check(&messages, 1, &sent).await;
        let gone: Vec<MessageId> = ids.iter().copied().step_by(3).collect();
        assert_eq!(
            messages.delete_many(1, gone.clone(), None).await.expect("deleted"),
            gone.len() as u64
        );
        sent.retain(|id, _| !gone.contains(id));
        check(&messages, 1, &sent).await;
        let last = *sent
            .keys()
            .rfind(|id| hour_of(id.unix_ms(Epoch::DEFAULT)) < at + 5)
            .unwrap();
        messages.delete(1, last, None).await.expect("deleted");
        sent.remove(&last);
        let mut following = messages.subscribe(1, None).await.expect("joined");
        let of = import_id(Epoch::DEFAULT, border + 7 * HOUR, 9).unwrap();
        messages.delete_bucket(1, of).await.expect("deleted");
        let told = following.next().await.expect("told");
        let Some(Event::DeletedBetween {
            after: Some(after),
            before: Some(before),
        }) = told
        else {
            panic!("{told:?}")
        };
        assert_eq!(after.unix_ms(Epoch::DEFAULT) + 1, border + 5 * HOUR);
        assert_eq!(before.unix_ms(Epoch::DEFAULT), border + 10 * HOUR);
        let buckets = sent.len();
        sent.retain(|id, _| !(5..10).contains(&(hour_of(id.unix_ms(Epoch::DEFAULT)) - at)));
        assert!(sent.len() < buckets);
        check(&messages, 1, &sent).await;
        messages.delete_between(1, Some(ids[1]), None).await.expect("deleted");
        sent.retain(|id, _| *id <= ids[1]);
        check(&messages, 1, &sent).await;
        messages.close().await.expect("closed");
    });
}

#[test]
fn windows_are_the_same_after_a_reopening_and_a_later_change_can_be_undone() {
    let mut sim = simulator(2, 2);
    let handle = sim.start();
    let (border, windows, sent) = run(&mut sim, async move {
        let messages = open(handle).await;
        let border = messages.window_border(1, now_ms(&messages).await).await.expect("found");
        messages.set_window(1, hours(5), border).await.expect("set");
        messages
            .set_window(1, hours(100), border + 10 * HOUR)
            .await
            .expect("set");
        // The earlier border drops the later change; the window in force drops it and adds none.
        messages.set_window(1, hours(7), border + 5 * HOUR).await.expect("set");
        let refused = messages.set_window(1, hours(1), border + 10 * HOUR).await;
        assert!(matches!(refused, Err(Error::NoBorder { next_ms, .. }) if next_ms == border + 12 * HOUR));
        messages.set_window(1, hours(1), border + 12 * HOUR).await.expect("set");
        messages.set_window(1, hours(7), border + 12 * HOUR).await.expect("set");
        let file: Vec<_> = (-3..20)
            .map(|hour| import_at(border + hour * HOUR, &hour.to_string()))
            .collect();
        messages.import(1, file.clone()).await.expect("imported");
        let sent: BTreeMap<_, _> = file.into_iter().map(|import| (import.id, import.content)).collect();
        check(&messages, 1, &sent).await;
        (border, messages.windows(1).await.expect("read"), sent)
    });
    let at = hour_of(border);
    let changes: Vec<_> = windows
        .changes()
        .iter()
        .map(|change| (change.from_hour, change.window.hours()))
        .collect();
    assert_eq!(changes, [(at, 5), (at + 5, 7)]);
    // Cut off, then closed, then with other shards.
    for shards in [2, 2, 3] {
        sim.crash();
        sim.set_shards(shards);
        let handle = sim.start();
        let (windows, sent) = (windows.clone(), sent.clone());
        run(&mut sim, async move {
            let messages = open(handle).await;
            // Nothing is known of the channel yet.
            let id = *sent
                .keys()
                .rfind(|id| hour_of(id.unix_ms(Epoch::DEFAULT)) < at + 9)
                .unwrap();
            let one = messages
                .get(1, id)
                .await
                .expect("read")
                .expect("looked for in its bucket");
            assert_eq!(one.message().unwrap().content, "8");
            assert_eq!(messages.windows(1).await.expect("read"), windows);
            check(&messages, 1, &sent).await;
            let expected = [
                (at + 19, 1),
                (at + 12, 7),
                (at + 5, 7),
                (at, 5),
                (at - 2, 2),
                (at - 4, 1),
            ];
            let found: Vec<_> = counts(&messages, 1)
                .await
                .iter()
                .map(|(bucket, count)| (bucket.id, *count))
                .collect();
            assert_eq!(found, expected);
            messages.close().await.expect("closed");
        });
    }
}

#[test]
fn a_channel_has_a_bounded_number_of_windows() {
    let mut sim = simulator(3, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let messages = open(handle).await;
        let now = now_ms(&messages).await;
        let mut border = messages.window_border(1, now).await.expect("found");
        let earliest = border;
        for n in 0..WINDOW_CHANGES_MAX as u32 {
            messages.set_window(1, hours(1 + n % 2), border).await.expect("set");
            border += i64::from(1 + n % 2) * HOUR;
        }
        let refused = messages.set_window(1, hours(9), border).await;
        assert!(matches!(refused, Err(Error::TooManyWindows)), "{refused:?}");
        assert_eq!(
            messages.windows(1).await.expect("read").changes().len(),
            WINDOW_CHANGES_MAX
        );
        messages
            .set_window(1, hours(9), earliest)
            .await
            .expect("set: those behind it are dropped");
        assert_eq!(messages.windows(1).await.expect("read").changes().len(), 1);
        messages.close().await.expect("closed");
    });
}

/// Messages are imported behind the border while the window changes there: either they lie in the way of the change, or they are
/// in buckets of the new window.
#[test]
fn a_change_beside_imports_behind_its_border_leaves_no_message_in_a_wrong_bucket() {
    let (mut set, mut refused) = (0, 0);
    for seed in 0..24 {
        let mut sim = simulator(seed, 2);
        let handle = sim.start();
        let done = run(&mut sim, async move {
            let messages = open(handle).await;
            let border = messages.window_border(1, now_ms(&messages).await).await.expect("found");
            let file: Vec<_> = [6, 0, 3, 1]
                .map(|hour| import_at(border + hour * HOUR, &hour.to_string()))
                .to_vec();
            let sent: BTreeMap<_, _> = file.iter().map(|import| (import.id, import.content.clone())).collect();
            let done = Rc::new(Cell::new(None));
            let (changing, changed) = (messages.clone(), Rc::clone(&done));
            let mut all: Vec<Client> = vec![Box::pin(async move {
                sim::client_sleep(Duration::from_micros(seed * 37 % 300)).await;
                match changing.set_window(1, hours(5), border).await {
                    Ok(()) => changed.set(Some(true)),
                    Err(Error::BorderTooEarly { next_ms, .. }) => {
                        assert!(next_ms > border);
                        changed.set(Some(false));
                    }
                    Err(other) => panic!("{other:?}"),
                }
            })];
            for (import, late) in file.into_iter().zip([0, 110, 60, 20]) {
                let messages = messages.clone();
                all.push(Box::pin(async move {
                    sim::client_sleep(Duration::from_micros(100 + late)).await;
                    messages.import(1, vec![import]).await.expect("imported");
                }));
            }
            together(all).await;
            check(&messages, 1, &sent).await;
            let at = hour_of(border);
            let expected = match done.get() {
                Some(true) => vec![bucket(at + 5, 5), bucket(at, 5)],
                _ => vec![bucket(at + 6, 2), bucket(at + 2, 2), bucket(at, 2)],
            };
            let found: Vec<_> = counts(&messages, 1).await.iter().map(|(bucket, _)| *bucket).collect();
            assert!(found == expected, "seed {seed}: {found:?}");
            messages.close().await.expect("closed");
            done.get()
        });
        set += u32::from(done == Some(true));
        refused += u32::from(done == Some(false));
    }
    assert!(set > 3 && refused > 3, "{set} were set, {refused} refused");
}

/// The power is cut at each operation while the window is changed and used: the change is there or not, all of it.
#[test]
fn a_change_is_there_or_not_whatever_is_cut_off() {
    let (mut cut, mut kept) = (0, 0);
    for ops in 1.. {
        let mut sim = simulator(ops, 2);
        let handle = sim.start();
        let (messages, border) = run(&mut sim, async move {
            let messages = open(handle).await;
            let border = messages.window_border(1, now_ms(&messages).await).await.expect("found");
            messages.set_window(1, hours(5), border).await.expect("set");
            messages.set_window(1, hours(9), border + 20 * HOUR).await.expect("set");
            (messages, border)
        });
        sim.crash_at_op(Some(ops));
        let acknowledged = Rc::new(Cell::new((false, 0)));
        let reached = Rc::clone(&acknowledged);
        let outcome = sim.run(async move {
            messages.set_window(1, hours(3), border + 10 * HOUR).await.expect("set");
            reached.set((true, 0));
            for n in 0..4 {
                let import = import_at(border + (8 + 2 * n) * HOUR, &n.to_string());
                messages.import(1, vec![import]).await.expect("imported");
                reached.set((true, n + 1));
            }
        });
        let is_cut = outcome.is_crashed();
        cut += u32::from(is_cut);
        if !is_cut {
            sim.crash();
        }
        let handle = sim.start();
        let (is_set, imported) = acknowledged.get();
        let was_kept = run(&mut sim, async move {
            let messages = open(handle).await;
            let at = hour_of(border);
            let windows = messages.windows(1).await.expect("read");
            let changes: Vec<_> = windows
                .changes()
                .iter()
                .map(|change| (change.from_hour - at, change.window.hours()))
                .collect();
            let is_new = changes == [(0, 5), (10, 3)];
            assert!(
                is_new || (changes == [(0, 5), (20, 9)] && !is_set),
                "cut after {ops}: {changes:?}"
            );
            let there = scroll(&messages, 1, History::oldest(10)).await;
            assert!(there.len() >= imported as usize, "cut after {ops}: {there:?}");
            let there: BTreeMap<_, _> = there.into_iter().collect();
            check(&messages, 1, &there).await;
            messages.close().await.expect("closed");
            is_new
        });
        kept += u32::from(was_kept && is_cut);
        if !is_cut {
            break;
        }
    }
    assert!(cut > 5 && kept > 1, "{cut} cut off, in {kept} the change was there");
}
