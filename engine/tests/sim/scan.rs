//! A scan gives everything once, page by page, and goes on after errors and dropped calls.

use crate::common;
use crate::common::{chat, clustering, column, key, message};
use crate::simulated::{open, run, simulator, small};
use futures_util::TryStreamExt;
use model::{Direction, MutationBuilder, RowBuilder};
use scrollback_engine::{PagingState, Read};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

const CHANNELS: i64 = 300;

#[test]
fn a_scan_gives_everything_once() {
    let mut sim = simulator(1, 3);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        let mut expected: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for channel in 0..CHANNELS {
            for id in 1..=1 + channel % 7 {
                store
                    .apply(message(&schema, channel, id, id, "x"))
                    .await
                    .expect("written");
            }
            expected.insert(key(channel).to_vec(), 1 + channel as usize % 7);
            if channel == 200 {
                store.flush().await.expect("flushed");
            }
        }
        // A partition with a static row alone, and one in which everything is dead.
        let mut topic = RowBuilder::new();
        topic.cell(column(&schema, "topic"), 1, b"tea");
        let mut mutation = MutationBuilder::new(schema.id, &key(1_000));
        store
            .apply(mutation.static_row(topic.finish()).build())
            .await
            .expect("written");
        expected.insert(key(1_000).to_vec(), 0);
        store
            .apply(common::delete(&schema, 2_000, 1, 1))
            .await
            .expect("written");

        let three = Read {
            limit_rows: 3,
            ..Read::partition(schema.id, Vec::new())
        };
        let mut found: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut scan = store.scan_as(three);
        let mut calls = 0;
        loop {
            // Every third call is dropped on its way; nothing is lost by it.
            calls += 1;
            if calls % 3 == 0 {
                let mut dropped = pin!(scan.next());
                let polled = poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_pending())).await;
                assert!(polled, "it asks a shard");
            }
            let Some((key, page)) = scan.next().await.expect("a page") else {
                break;
            };
            assert!(page.len() <= 3);
            *found.entry(key).or_default() += page.len();
        }
        assert_eq!(found, expected);

        let stream = store.scan(schema.id).into_stream();
        let sum = stream.try_fold(0, async |sum, (_, page)| Ok(sum + page.len()));
        assert_eq!(sum.await.expect("pages"), expected.values().sum::<usize>());
        store.close().await.expect("closed");
    });
}

#[test]
fn a_paging_state_goes_on_behind_its_page_in_both_directions() {
    let mut sim = simulator(2, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, small("/store")).await;
        for id in 1..=50 {
            store.apply(message(&schema, 1, id, id, "x")).await.expect("written");
        }
        let mut other = chat();
        other.name = "other".to_owned();
        let other = store.create_table(other, true).await.expect("a table");
        for direction in [Direction::Forward, Direction::Reverse] {
            let first = || Read {
                direction,
                limit_rows: 7,
                ..Read::partition(schema.id, key(1))
            };
            let (mut read, mut rows) = (first(), Vec::new());
            loop {
                let page = store.read(read.clone()).await.expect("a page");
                rows.extend(page.rows().map(|(clustering, _)| clustering.to_vec()));
                let Some(state) = PagingState::after(&read, &page) else {
                    break;
                };
                // As a client keeps it.
                let kept = state.to_bytes();
                let state = || PagingState::from_bytes(&kept).expect("its own bytes");
                read = state().resume(first()).expect("the same read");
                let of_other = Read {
                    table: other.id,
                    ..first()
                };
                assert!(state().resume(of_other).is_err(), "of another table");
            }
            let mut expected: Vec<_> = (1..=50).map(|id| clustering(&schema, id)).collect();
            if direction == Direction::Forward {
                expected.reverse();
            }
            assert_eq!(rows, expected);
        }
        let mut pages = store.pages(Read {
            limit_rows: 20,
            ..Read::partition(schema.id, key(1))
        });
        let mut lens = Vec::new();
        while let Some(page) = pages.next().await.expect("a page") {
            lens.push(page.len());
        }
        assert_eq!(lens[..3], [20, 20, 10]);
        store.close().await.expect("closed");
    });
}
