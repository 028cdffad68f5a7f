//! Nonces and subscriptions over a simulated store.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use engine::{Config, Store};
use runtime::{Handle, sim};
use scrollback_messages::{Event, History, MessageId, Messages, NONCE_SECONDS, Options, Window};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::Poll,
};

type Client = Pin<Box<dyn Future<Output = ()>>>;

fn simulator(seed: u64) -> sim::Sim {
    sim::Sim::new(sim::Config {
        seed,
        ..sim::Config::default()
    })
}

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

async fn open(handle: Handle) -> Messages {
    let store = Store::open_on(handle, Config::new("/store"))
        .await
        .expect("the store opens");
    let hourly = Options {
        window: Some(Window::from_hours(1).expect("one hour")),
        ..Options::default()
    };
    Messages::over(store, hourly).await.expect("its tables are made")
}

async fn all(messages: &Messages, channel: i64) -> Vec<(MessageId, String)> {
    let mut found = Vec::new();
    let mut next = Some(History::oldest(7));
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

/// The power is cut at each operation while a message is sent with a nonce among others; whoever asks again gets the one
/// message that is there.
#[test]
fn a_nonce_sends_one_message_whatever_is_cut_off() {
    let (mut cut, mut found) = (0, 0);
    for ops in 1.. {
        let mut sim = simulator(ops);
        let handle = sim.start();
        let messages = run(&mut sim, async move {
            let messages = open(handle).await;
            messages.send(1, 1, "before").await.expect("sent");
            messages
        });
        sim.crash_at_op(Some(ops));
        let sent = Rc::new(Cell::new(None));
        let acknowledged = Rc::clone(&sent);
        let outcome = sim.run(async move {
            let other = messages.clone();
            let once: Client = Box::pin(async move {
                let id = messages.send_once(1, 7, "n", "once").await.expect("sent");
                acknowledged.set(Some(id));
            });
            let beside: Client = Box::pin(async move {
                for n in 0..5 {
                    other.send(1, 1, n.to_string()).await.expect("sent");
                }
            });
            together(vec![once, beside]).await;
        });
        let is_cut = outcome.is_crashed();
        cut += u32::from(is_cut);
        if !is_cut {
            sim.crash();
        }
        let handle = sim.start();
        let sent = sent.get();
        let was_there = run(&mut sim, async move {
            let messages = open(handle).await;
            let before = all(&messages, 1).await;
            let was_there = before.iter().any(|(_, content)| content == "once");
            let again = messages.send_once(1, 7, "n", "not this").await.expect("sent");
            assert!(
                sent.is_none_or(|sent| sent == again),
                "cut after {ops}: another id than was acknowledged"
            );
            let now = all(&messages, 1).await;
            let of_nonce: Vec<_> = now
                .iter()
                .filter(|(_, content)| ["once", "not this"].contains(&content.as_str()))
                .collect();
            assert_eq!(of_nonce.len(), 1, "cut after {ops}: {of_nonce:?}");
            assert_eq!(of_nonce[0].0, again);
            assert_eq!(messages.send_once(1, 7, "n", "nor this").await.expect("sent"), again);
            for (author, nonce) in [(8, "n"), (7, "o")] {
                let other = messages.send_once(1, author, nonce, "other").await.expect("sent");
                assert_ne!(other, again, "nonces are an author's own");
            }
            messages.close().await.expect("closed");
            was_there
        });
        found += u32::from(was_there && is_cut);
        if !is_cut {
            break;
        }
    }
    assert!(cut > 5 && found > 1, "{cut} cut off, in {found} the message was there");
}

#[test]
fn a_nonce_is_forgotten_after_its_time() {
    let mut sim = simulator(1);
    let handle = sim.start();
    let (messages, first) = run(&mut sim, async move {
        let messages = open(handle).await;
        let sends = |n: i32| {
            let messages = messages.clone();
            async move { messages.send_once(1, 7, "n", n.to_string()).await.expect("sent") }
        };
        let ids = Rc::new(RefCell::new(Vec::new()));
        let clients = (0..5).map(|n| {
            let (send, ids) = (sends(n), Rc::clone(&ids));
            let client: Client = Box::pin(async move {
                let id = send.await;
                ids.borrow_mut().push(id);
            });
            client
        });
        together(clients.collect()).await;
        let ids: BTreeSet<_> = ids.take().into_iter().collect();
        assert_eq!((ids.len(), all(&messages, 1).await.len()), (1, 1), "at the same time");
        for bad in ["", &"x".repeat(256)] {
            assert!(messages.send_once(1, 7, bad, "x").await.is_err(), "{} bytes", bad.len());
        }
        (messages, ids.into_iter().next().unwrap())
    });
    sim.step_wall_clock(i64::from(NONCE_SECONDS - 2) * 1_000_000);
    let (messages, again) = run(&mut sim, async move {
        let again = messages.send_once(1, 7, "n", "again").await.expect("sent");
        (messages, again)
    });
    assert_eq!(first, again);
    sim.step_wall_clock(4_000_000);
    run(&mut sim, async move {
        let later = messages.send_once(1, 7, "n", "later").await.expect("sent");
        assert!(later > first, "it is another message");
        messages.close().await.expect("closed");
    });
}

/// Those who join while others send are told each message that they have not seen, once and in order.
#[test]
fn a_subscriber_is_told_each_message_once_and_in_order() {
    for seed in 0..40 {
        let mut sim = simulator(seed);
        let handle = sim.start();
        run(&mut sim, async move {
            let messages = open(handle).await;
            let (sending, joining) = (Rc::new(Cell::new(4)), Rc::new(Cell::new(4)));
            let mut clients: Vec<Client> = Vec::new();
            for author in 0..4 {
                let (messages, sending, joining) = (messages.clone(), Rc::clone(&sending), Rc::clone(&joining));
                clients.push(Box::pin(async move {
                    for n in 0..12 {
                        messages.send(1, author, format!("{author} {n}")).await.expect("sent");
                    }
                    sending.set(sending.get() - 1);
                    while sending.get() == 0 && joining.get() > 0 {
                        sim::client_sleep(std::time::Duration::from_millis(1)).await;
                    }
                    if sending.get() == 0 {
                        messages.send(1, author, "the end").await.expect("sent");
                    }
                }));
            }
            // The first joins while sends are under way that began before anybody followed the channel.
            let first = 100 + seed * 97 % 1_500;
            for joins_after_us in [first, first + 500, first + 800, first + 1_500] {
                let (messages, joining) = (messages.clone(), Rc::clone(&joining));
                clients.push(Box::pin(async move {
                    sim::client_sleep(std::time::Duration::from_micros(joins_after_us)).await;
                    let from_the_first = joins_after_us == first + 500;
                    let after = from_the_first.then(|| MessageId::new(1).unwrap());
                    let mut following = messages.subscribe(1, after).await.expect("joined");
                    joining.set(joining.get() - 1);
                    let from = following.last();
                    let mut told = Vec::new();
                    while told.last().is_none_or(|(_, content)| content != "the end") {
                        match following.next().await.expect("told").expect("open") {
                            Event::Sent(sent) => told.push((sent.id, sent.content.to_string())),
                            other => panic!("nothing else happens: {other:?}"),
                        }
                    }
                    let mut there = all(&messages, 1).await;
                    there.retain(|(id, _)| from.is_none_or(|from| *id > from));
                    assert_eq!(told, there, "seed {seed}, joined after {joins_after_us} us");
                }));
            }
            together(clients).await;
            messages.close().await.expect("closed");
        });
    }
}

#[test]
fn edits_and_deletes_are_told_and_a_slow_subscriber_is_told_of_its_gap() {
    let mut sim = simulator(1);
    let handle = sim.start();
    run(&mut sim, async move {
        let messages = open(handle).await;
        let mut following = messages.subscribe(1, None).await.expect("joined");
        let first = messages.send_once(1, 7, "n", "first").await.expect("sent");
        messages.edit(1, first, None, "edited").await.expect("edited");
        messages.delete(1, first, None).await.expect("deleted");
        let ids = messages
            .send_many(1, vec![(1, "a".into()), (1, "b".into())])
            .await
            .expect("sent");
        messages.delete_many(1, ids.clone(), None).await.expect("deleted");
        messages.delete_between(1, Some(first), None).await.expect("deleted");
        messages.send(2, 1, "elsewhere").await.expect("sent");
        let mut events = Vec::new();
        for _ in 0..8 {
            events.push(following.next().await.expect("told").expect("open"));
        }
        let Event::Sent(sent) = &events[0] else {
            panic!("{events:?}")
        };
        assert_eq!(
            (sent.id, sent.author, &*sent.content, sent.nonce.as_deref()),
            (first, 7, "first", Some("n"))
        );
        assert!(matches!(&events[1], Event::Edited { id, content, .. } if *id == first && &**content == "edited"));
        assert_eq!(events[2], Event::Deleted { id: first });
        assert!(matches!(&events[3..5], [Event::Sent(a), Event::Sent(b)] if [a.id, b.id] == ids[..]));
        let deleted = events[5..7].iter().map(|event| match event {
            Event::Deleted { id } => *id,
            other => panic!("{other:?}"),
        });
        assert_eq!(deleted.collect::<BTreeSet<_>>(), ids.iter().copied().collect());
        let (after, before) = (Some(first), None);
        assert_eq!(events[7], Event::DeletedBetween { after, before });

        // More than a feed keeps: what the subscriber has not taken follows from the store.
        let mut sent = Vec::new();
        for n in 0..50 {
            sent.extend(
                messages
                    .send_many(1, vec![(1, n.to_string()); 100])
                    .await
                    .expect("sent"),
            );
        }
        assert_eq!(following.next().await.expect("told"), Some(Event::Gap));
        let last = messages.send(1, 1, "last").await.expect("sent");
        sent.push(last);
        let mut told = Vec::new();
        while told.last() != Some(&last) {
            match following.next().await.expect("told").expect("open") {
                Event::Sent(sent) => told.push(sent.id),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, sent);

        // Resumed by id.
        let mut resumed = messages.subscribe(1, Some(sent[4990])).await.expect("joined");
        for id in &sent[4991..] {
            let told = resumed.next().await.expect("told").expect("open");
            assert!(matches!(told, Event::Sent(sent) if sent.id == *id));
        }
        messages.close().await.expect("closed");
        assert!(matches!(following.next().await, Ok(None)), "the store is closed");
    });
}

#[test]
fn what_lies_around_a_message_and_what_each_bucket_holds() {
    let mut sim = simulator(1);
    let handle = sim.start();
    let messages = run(&mut sim, async move {
        let messages = open(handle).await;
        messages.send_many(1, vec![(1, "x".into()); 20]).await.expect("sent");
        messages
    });
    sim.step_wall_clock(3_600_000_000);
    run(&mut sim, async move {
        messages.send_many(1, vec![(1, "y".into()); 10]).await.expect("sent");
        let ids: Vec<MessageId> = all(&messages, 1).await.into_iter().map(|(id, _)| id).collect();
        for (at, limit) in [(0, 6), (18, 6), (29, 5), (15, 0), (15, 100)] {
            let around = messages.around(1, ids[at], limit).await.expect("found");
            let of = |page: &scrollback_messages::HistoryPage| {
                page.messages()
                    .map(|message| message.expect("well formed").id)
                    .collect::<Vec<_>>()
            };
            let older: Vec<_> = ids[..=at].iter().rev().take(limit - limit / 2 + 1).copied().collect();
            // A page has one message at least.
            let newer: Vec<_> = ids[at + 1..].iter().take((limit / 2).max(1)).copied().collect();
            assert_eq!(
                (of(&around.older), of(&around.newer)),
                (older, newer),
                "around {at}, {limit}"
            );
        }
        messages.delete(1, ids[3], None).await.expect("deleted");
        let counts = messages.bucket_counts(1).await.expect("counted");
        assert_eq!(counts.iter().map(|of| of.messages).collect::<Vec<_>>(), [10, 19]);
        assert!(counts[0].bucket.contains(ids[20]) && counts[1].bucket.contains(ids[0]));
        messages.close().await.expect("closed");
    });
}

/// Runs a client to its end.
fn run<T: 'static>(sim: &mut sim::Sim, client: impl Future<Output = T> + 'static) -> T {
    sim.run(client).done()
}
