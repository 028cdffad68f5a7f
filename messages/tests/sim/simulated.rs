//! Ids, borders of buckets and clocks, over a simulated store.

use engine::{Config, Store};
use runtime::{Handle, sim};
use scrollback_messages::{Epoch, History, Import, MessageId, Messages, Options, Window, import_id};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::Poll,
};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

fn simulator(seed: u64) -> sim::Sim {
    sim::Sim::new(sim::Config {
        seed,
        ..sim::Config::default()
    })
}

/// Runs a client to its end.
fn run<T: 'static>(sim: &mut sim::Sim, client: impl Future<Output = T> + 'static) -> T {
    sim.run(client).done()
}

/// Runs them all at the same time.
async fn together(futures: Vec<Pin<Box<dyn Future<Output = ()>>>>) {
    let mut running = futures;
    std::future::poll_fn(move |context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        match running.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

async fn open(handle: Handle) -> Messages {
    let config = Config {
        block_cache_bytes: 0,
        row_cache_bytes: 0,
        ..Config::new("/store")
    };
    let store = Store::open_on(handle, config).await.expect("the store opens");
    let hourly = Options {
        window: Some(Window::from_hours(1).expect("one hour")),
        ..Options::default()
    };
    Messages::over(store, hourly).await.expect("its tables are made")
}

/// The wall clock, Unix microseconds.
async fn now(messages: &Messages) -> i64 {
    let clock = messages.call(runtime::ShardId(0), |_| async { Ok(runtime::time::unix_micros()) });
    clock.await.expect("the shard serves")
}

fn import_at(micros: i64) -> Import {
    let unix_ms = micros / 1000;
    Import {
        id: import_id(Epoch::DEFAULT, unix_ms, 0).expect("within the ids"),
        unix_ms,
        author: 1,
        content: "imported".to_owned(),
    }
}

/// Found in review: a message imported imported hid from a reopened store which ids it had given.
#[test]
fn no_id_is_given_twice_whatever_is_imported_and_however_the_clock_is_set_back() {
    for (ahead, flushed) in [
        (0, false),
        (2 * DAY, false),
        (2 * DAY, true),
        (500 * DAY, false),
        (500 * DAY, true),
    ] {
        let mut sim = simulator(1);
        let handle = sim.start();
        let sent = run(&mut sim, async move {
            let messages = open(handle).await;
            if ahead > 0 {
                let file = vec![import_at(now(&messages).await + ahead)];
                messages.import(1, file).await.expect("imported");
            }
            let sent = messages.send(1, 1, "acknowledged").await.expect("sent");
            if flushed {
                messages.close().await.expect("closed");
            }
            sent
        });
        sim.crash();
        sim.step_wall_clock(-HOUR);
        let handle = sim.start();
        run(&mut sim, async move {
            let messages = open(handle).await;
            let again = messages.send(1, 1, "later").await.expect("sent");
            assert!(
                again > sent,
                "{again} is given after {sent}; imported {} days ahead, flushed: {flushed}",
                ahead / DAY
            );
            let ahead_ms = again.unix_ms(Epoch::DEFAULT) - sent.unix_ms(Epoch::DEFAULT);
            assert!(ahead_ms < 120_000, "ids run {ahead_ms} ms ahead of the last one given");
            messages.close().await.expect("closed");
        });
    }
}

/// Found in review: the bucket before a border could be read while a send into it was under way, and the one behind the
/// border after it had ended; the page then went past that message for ever.
#[test]
fn an_oldest_first_reader_meets_every_message_also_at_the_border_of_two_buckets() {
    let mut met = 0;
    for seed in 0..60 {
        let mut sim = simulator(seed);
        let handle = sim.start();
        let (messages, to_border) = run(&mut sim, async move {
            let messages = open(handle).await;
            let border = (now(&messages).await / HOUR + 1) * HOUR;
            // Both buckets are in the directory already, and reading them takes the disk's time.
            let file = [border - HOUR / 2, border + HOUR / 2].map(import_at).to_vec();
            messages.import(1, file).await.expect("imported");
            messages.store().flush().await.expect("flushed");
            let to_border = border - now(&messages).await;
            (messages, to_border)
        });
        sim.step_wall_clock(to_border - 1_500);
        let crossed = run(&mut sim, async move {
            let sending = Rc::new(Cell::new(4));
            let sent = Rc::new(std::cell::RefCell::new(BTreeSet::new()));
            let mut tasks: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
            for author in 0..4 {
                let (messages, sending, sent) = (messages.clone(), Rc::clone(&sending), Rc::clone(&sent));
                tasks.push(Box::pin(async move {
                    for n in 0..30 {
                        let id = messages.send(1, author, format!("{author} {n}")).await.expect("sent");
                        sent.borrow_mut().insert(id);
                    }
                    sending.set(sending.get() - 1);
                }));
            }
            for limit in [2, 50] {
                let (messages, sending, sent) = (messages.clone(), Rc::clone(&sending), Rc::clone(&sent));
                tasks.push(Box::pin(async move {
                    let mut seen = BTreeSet::<MessageId>::new();
                    let mut history = History::oldest(limit);
                    loop {
                        let (ended, before) = (sending.get() == 0, seen.len());
                        let page = messages.history(1, history).await.expect("a page");
                        for message in page.messages() {
                            let message = message.expect("a message");
                            // What was imported lies after all that is sent, and would be the last cursor.
                            if message.content != "imported" {
                                assert!(seen.last().is_none_or(|last| *last < message.id));
                                seen.insert(message.id);
                            }
                        }
                        match seen.last() {
                            _ if ended && seen.len() == before => break,
                            Some(last) => history = history.from(*last),
                            None => {}
                        }
                    }
                    let missed: Vec<_> = sent.borrow().difference(&seen).copied().collect();
                    assert!(missed.is_empty(), "seed {seed}, limit {limit}: passed over {missed:?}");
                }));
            }
            together(tasks).await;
            let buckets: BTreeSet<_> = sent.borrow().iter().map(|id| id.time_ms() / 3_600_000).collect();
            messages.close().await.expect("closed");
            buckets.len() == 2
        });
        met += usize::from(crossed);
    }
    assert!(met > 40, "{met} borders were met");
}

/// What a delete of the whole channel has answered for is gone, what is sent after it stays, through a power cut as well.
#[test]
fn a_channel_is_deleted_beside_those_who_send_into_it() {
    const WRITERS: usize = 4;
    let mut both = 0;
    for seed in 0..16 {
        let mut sim = simulator(seed);
        let handle = sim.start();
        // Before the delete began, and after it had ended.
        let (gone, kept) = run(&mut sim, async move {
            let messages = open(handle).await;
            let (gone, kept) = (
                Rc::new(RefCell::new(BTreeSet::new())),
                Rc::new(RefCell::new(BTreeSet::new())),
            );
            let stage = Rc::new(Cell::new(0));
            let mut all: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
            for writer in 0..WRITERS {
                let (messages, gone, kept, stage) =
                    (messages.clone(), Rc::clone(&gone), Rc::clone(&kept), Rc::clone(&stage));
                all.push(Box::pin(async move {
                    for n in 0..60 {
                        let began = stage.get();
                        let id = messages.send(1, writer as i64, n.to_string()).await.expect("sent");
                        match (began, stage.get()) {
                            (0, 0) => drop(gone.borrow_mut().insert(id)),
                            (2, _) => drop(kept.borrow_mut().insert(id)),
                            _ => {}
                        }
                    }
                }));
            }
            let (deleting, stage) = (messages.clone(), Rc::clone(&stage));
            all.push(Box::pin(async move {
                sim::client_sleep(std::time::Duration::from_millis(3)).await;
                stage.set(1);
                deleting.delete_channel(1).await.expect("deleted");
                stage.set(2);
            }));
            together(all).await;
            let (gone, kept) = (gone.take(), kept.take());
            check_deleted(&messages, &gone, &kept).await;
            (gone, kept)
        });
        both += u32::from(!gone.is_empty() && !kept.is_empty());
        sim.crash();
        let handle = sim.start();
        run(&mut sim, async move {
            let messages = open(handle).await;
            check_deleted(&messages, &gone, &kept).await;
            messages.close().await.expect("closed");
        });
    }
    assert!(
        both > 8,
        "in {both} histories there was something to lose on both sides"
    );
}

async fn check_deleted(messages: &Messages, gone: &BTreeSet<MessageId>, kept: &BTreeSet<MessageId>) {
    let mut there = BTreeSet::new();
    let mut next = Some(History::newest(50));
    while let Some(history) = next {
        let page = messages.history(1, history).await.expect("a page");
        there.extend(page.messages().map(|message| message.expect("well formed").id));
        next = page.next().expect("well formed");
    }
    assert!(there.is_disjoint(gone), "deleted messages are there");
    assert!(there.is_superset(kept), "messages sent later are not there");
}
