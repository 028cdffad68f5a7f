//! Keyspaces, user-defined types, walks in the order of tokens, locks of partitions.

use crate::common::{key, message};
use crate::simulated::{both, open, run, simulator, small};
use model::{CqlType, Keyspace, Schema, Token, TypeAlteration, UserType, token_of};
use runtime::ShardId;
use runtime::sim::{Outcome, client_sleep};
use scrollback_engine::{DefinitionKind, Error, Result, Shard, Store, TokenPosition};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

fn address() -> UserType {
    UserType::new("chat", "address", [("street", CqlType::Text)])
}

/// A table with the type inside a type, and the other type.
fn people() -> (UserType, Schema) {
    let person = UserType::new("chat", "person", [("lives", CqlType::udt(address()).frozen())]);
    let people = Schema::builder("chat", "people")
        .partition_key("id", CqlType::BigInt)
        .regular("who", CqlType::udt(person.clone()).frozen().list())
        .build()
        .expect("legal");
    (person, people)
}

/// Every shard has what the store tells, and its epoch.
async fn on_every_shard(store: &Store) -> Vec<u64> {
    let mut epochs = Vec::new();
    for shard in (0..store.shards()).map(ShardId) {
        let of_shard = store.call(
            shard,
            |shard| async move { (shard.definitions(), shard.schema_epoch()) },
        );
        let (definitions, epoch) = of_shard.await.expect("open");
        assert_eq!(definitions, store.definitions(), "on shard {}", shard.0);
        epochs.push(epoch);
    }
    epochs
}

fn is_there<T: std::fmt::Debug>(kind: DefinitionKind, result: Result<T>) {
    assert!(
        matches!(&result, Err(Error::AlreadyExists { what, .. }) if *what == kind),
        "{result:?}"
    );
}

fn is_absent<T: std::fmt::Debug>(kind: DefinitionKind, result: Result<T>) {
    assert!(
        matches!(&result, Err(Error::NotFound { what, .. }) if *what == kind),
        "{result:?}"
    );
}

#[test]
fn keyspaces_and_types_are_defined_on_every_shard_and_kept() {
    let mut sim = simulator(1, 3);
    let handle = sim.start();
    let before = run(&mut sim, async move {
        let (store, _) = open(handle, small("/store")).await;
        let mut epochs = on_every_shard(&store).await;
        let names = |store: &Store| Vec::from_iter(store.keyspaces().iter().map(|of| of.name.clone()));
        assert_eq!(names(&store), ["chat"], "it has a table");
        assert_eq!(*store.keyspaces()[0], Keyspace::new("chat"));
        is_there(
            DefinitionKind::Keyspace,
            store.create_keyspace(Keyspace::new("chat"), false).await,
        );
        is_absent(
            DefinitionKind::Keyspace,
            store
                .create_type(UserType::new("more", "t", [("x", CqlType::Int)]), false)
                .await,
        );
        is_absent(
            DefinitionKind::Keyspace,
            store.alter_keyspace(Keyspace::new("more")).await,
        );
        assert!(
            store
                .create_keyspace(Keyspace::new("more"), false)
                .await
                .expect("created")
        );
        assert!(!store.create_keyspace(Keyspace::new("more"), true).await.expect("there"));
        is_there(
            DefinitionKind::Keyspace,
            store.create_keyspace(Keyspace::new("more"), false).await,
        );
        let mut altered = Keyspace::new("chat");
        altered.durable_writes = false;
        store.alter_keyspace(altered.clone()).await.expect("altered");
        let bad = store.create_keyspace(Keyspace::new("no name"), true).await;
        assert!(matches!(bad, Err(Error::Invalid { .. })), "{bad:?}");

        let (person, people) = people();
        assert!(store.create_type(address(), false).await.expect("created"));
        assert!(store.create_type(person, false).await.expect("created"));
        is_there(DefinitionKind::Type, store.create_type(address(), false).await);
        assert!(!store.create_type(address(), true).await.expect("there"));
        is_absent(DefinitionKind::Type, store.drop_type("chat", "none", false).await);
        assert!(!store.drop_type("chat", "none", true).await.expect("no type"));
        let people = store.create_table(people, false).await.expect("a table");
        is_there(
            DefinitionKind::Table,
            store.create_table((*people).clone(), false).await,
        );
        let used = store.drop_type("chat", "address", false).await.expect_err("used");
        assert!(used.to_string().ends_with("type chat.person uses it"), "{used}");
        let used = store.drop_type("chat", "person", false).await.expect_err("used");
        assert!(used.to_string().ends_with("table chat.people uses it"), "{used}");

        let changes = vec![
            TypeAlteration::add("city", CqlType::Text),
            TypeAlteration::rename("street", "road"),
        ];
        let address = store.alter_type("chat", "address", changes).await.expect("altered");
        let in_person = |ty: &UserType| ty.fields[0].ty.unfrozen().clone();
        let person = Arc::clone(store.definitions().user_type("chat", "person").expect("there"));
        assert_eq!(in_person(&person), CqlType::Udt(Arc::clone(&address)));
        let people = store.table("chat", "people").expect("there");
        assert_eq!(people.regulars[0].ty, CqlType::Udt(person).frozen().list());
        // Whoever knows the types of before gets those of now.
        let stale = self::people().1;
        let stale = Schema {
            name: "stale".to_owned(),
            ..stale
        };
        let stale = store.create_table(stale, false).await.expect("a table");
        assert_eq!(stale.regulars[0].ty, people.regulars[0].ty);
        let inside = CqlType::udt(self::people().0).frozen();
        let circle = store
            .alter_type("chat", "address", vec![TypeAlteration::add("of", inside)])
            .await;
        assert!(matches!(circle, Err(Error::Invalid { .. })), "{circle:?}");

        let ty = UserType::new("more", "t", [("x", CqlType::Int)]);
        store.create_type(ty, false).await.expect("created");
        assert!(store.drop_keyspace("more", false).await.expect("dropped"));
        is_absent(DefinitionKind::Keyspace, store.drop_keyspace("more", false).await);
        assert!(!store.drop_keyspace("more", true).await.expect("absent"));
        assert_eq!(store.user_types().len(), 2);
        let later = on_every_shard(&store).await;
        epochs.iter_mut().for_each(|epoch| *epoch += 9);
        assert_eq!(later, epochs, "one for each change");
        let keyspace = Arc::clone(&store.keyspaces()[0]);
        assert_eq!(*keyspace, altered);
        let definitions = store.definitions();
        store.close().await.expect("closed");
        definitions
    });
    let handle = sim.start();
    run(&mut sim, async move {
        let store = Store::open_on(handle, small("/store")).await.expect("opened");
        assert_eq!(store.definitions(), before);
        on_every_shard(&store).await;
        store.close().await.expect("closed");
    });
}

#[test]
fn a_type_and_its_tables_change_together_whenever_the_power_fails() {
    let (mut old, mut new) = (0, 0);
    for ops in 1..200 {
        let mut sim = simulator(ops, 2);
        let handle = sim.start();
        run(&mut sim, async move {
            let (store, _) = open(handle, small("/store")).await;
            let (person, people) = people();
            store.create_type(address(), false).await.expect("created");
            store.create_type(person, false).await.expect("created");
            store.create_table(people, false).await.expect("a table");
            store.close().await.expect("closed");
        });
        let handle = sim.start();
        sim.crash_at_op(Some(ops));
        let outcome = sim.run(async move {
            let store = Store::open_on(handle, small("/store")).await?;
            let added = vec![TypeAlteration::add("city", CqlType::Text)];
            store.alter_type("chat", "address", added).await?;
            Ok::<_, Error>(())
        });
        let done = matches!(outcome, Outcome::Done(Ok(())));
        sim.crash_at_op(None);
        sim.crash();
        let handle = sim.start();
        let fields = run(&mut sim, async move {
            let store = Store::open_on(handle, small("/store")).await.expect("opened");
            let definitions = store.definitions();
            let address = definitions.user_type("chat", "address").expect("there");
            let person = definitions.user_type("chat", "person").expect("there");
            assert_eq!(person.fields[0].ty.unfrozen(), &CqlType::Udt(Arc::clone(address)));
            let people = definitions.table("chat", "people").expect("there");
            assert_eq!(people.regulars[0].ty, CqlType::Udt(Arc::clone(person)).frozen().list());
            address.fields.len()
        });
        assert!(fields == 2 || !done, "an answered change is lost");
        old += u32::from(fields == 1);
        new += u32::from(fields == 2);
        if done {
            break;
        }
    }
    assert!(old > 5 && new >= 1, "{old} and {new}");
}

#[test]
fn partitions_are_walked_in_the_order_of_the_ring() {
    const CHANNELS: i64 = 500;
    let mut sim = simulator(4, 3);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        let mut expected = Vec::new();
        for channel in 0..CHANNELS {
            // In one file, in two, in a file and in memory.
            for id in 0..1 + channel % 3 {
                store
                    .apply(message(&schema, channel, id, id, "x"))
                    .await
                    .expect("written");
            }
            if channel % 200 == 150 {
                store.flush().await.expect("flushed");
            }
            expected.push((token_of(&key(channel)), key(channel).to_vec()));
        }
        for channel in 100..300 {
            store
                .apply(message(&schema, channel, 9, 9, "x"))
                .await
                .expect("written");
        }
        expected.sort();
        let from = async |after: &TokenPosition, up_to: Token, limit: usize| {
            let mut all = Vec::new();
            for shard in (0..store.shards()).map(ShardId) {
                let found = store
                    .partitions_from(shard, schema.id, after.clone(), up_to, limit)
                    .await;
                all.push(found.expect("keys"));
            }
            all
        };
        let all = from(&TokenPosition::START, Token(i64::MAX), 1000).await.concat();
        assert_eq!(all.len(), expected.len());
        for limit in [1, 7, 100] {
            let mut walked = Vec::new();
            let mut after = TokenPosition::START;
            loop {
                let lists = from(&after, Token(i64::MAX), limit).await;
                assert!(lists.iter().all(|list| list.len() <= limit && list.is_sorted()));
                let mut page = lists.concat();
                page.sort();
                page.truncate(limit);
                let Some((token, key)) = page.last().cloned() else {
                    break;
                };
                walked.extend(page);
                after = TokenPosition::AfterKey(token, key);
            }
            assert_eq!(walked, expected, "in pages of {limit}");
        }
        let (low, high) = (expected[100].0, expected[400].0);
        for (after, first) in [
            (TokenPosition::Before(low), 100),
            (TokenPosition::After(low), 101),
            (TokenPosition::AfterKey(low, expected[100].1.clone()), 101),
        ] {
            let mut found = from(&after, high, 1000).await.concat();
            found.sort();
            assert_eq!(found, expected[first..=400], "{after:?}");
        }
        let none = from(&TokenPosition::After(Token(i64::MAX)), Token(i64::MAX), 10).await;
        assert!(none.concat().is_empty());
        store.close().await.expect("closed");
    });
}

#[test]
fn a_partition_is_locked_in_the_order_of_arrival() {
    let mut sim = simulator(5, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        let table = schema.id;
        let order = store.call(ShardId(0), move |shard| async move {
            let order = Rc::new(RefCell::new(Vec::new()));
            let first = shard.lock_partition(table, b"a").await.expect("locked");
            let other = shard.lock_partition(table, b"b").await.expect("another partition");
            drop(other);
            let mut given_up = Box::pin(shard.lock_partition(table, b"a"));
            let polled = poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx).is_pending())).await;
            assert!(polled, "it waits");
            let wait = |name: u32| {
                let (shard, order) = (Rc::clone(&shard), Rc::clone(&order));
                async move {
                    let guard = shard.lock_partition(table, b"a").await.expect("locked");
                    order.borrow_mut().push(name);
                    runtime::time::sleep(Duration::from_millis(1)).await;
                    order.borrow_mut().push(name);
                    drop(guard);
                }
            };
            let release = async {
                runtime::time::sleep(Duration::from_millis(1)).await;
                drop(given_up);
                assert!(order.borrow().is_empty());
                drop(first);
            };
            both(both(wait(1), wait(2)), release).await;
            assert_eq!(shard.locked_partitions(), 0);
            Rc::try_unwrap(order).expect("nobody has it").into_inner()
        });
        assert_eq!(order.await.expect("open"), [1, 1, 2, 2]);
        // A thousand may wait for one partition.
        let refused = store.call(ShardId(0), move |shard: Rc<Shard>| async move {
            let _first = shard.lock_partition(table, b"a").await.expect("locked");
            let mut waiting: Vec<_> = (0..1_001)
                .map(|_| Box::pin(shard.lock_partition(table, b"a")))
                .collect();
            let mut refused = 0;
            for wait in &mut waiting {
                let polled = poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await;
                if let Poll::Ready(result) = polled {
                    assert!(matches!(result, Err(Error::Overloaded { .. })));
                    refused += 1;
                }
            }
            refused
        });
        assert_eq!(refused.await.expect("open"), 1);
        let mut asleep = pin!(client_sleep(Duration::from_micros(1)));
        asleep.as_mut().await;
        store.close().await.expect("closed");
    });
}
