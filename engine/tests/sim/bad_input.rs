//! What a caller may get wrong, in a table: each is refused in one sentence, and what is just allowed is kept.

use crate::common;
use crate::common::{clustering, column, history, key, message};
use crate::simulated::{open, run, simulator, small};
use model::{Mutation, MutationBuilder, RowBuilder, Schema, Slice, TableId};
use scrollback_engine::{Config, Error, Read};

const KEY_BYTES_MAX: usize = 65_535;

fn config() -> Config {
    Config {
        memtable_bytes: 64 << 20,
        mutation_bytes_max: Some(16 << 20),
        log_segment_bytes: 33_558_528,
        log_bytes_max: 4 * 33_558_528,
        ..small("/store")
    }
}

/// A message in the partition of this key.
fn in_partition(schema: &Schema, key: &[u8], content: &str) -> Mutation {
    let mut row = RowBuilder::new();
    row.liveness(1).cell(column(schema, "content"), 1, content.as_bytes());
    let mut mutation = MutationBuilder::new(schema.id, key);
    mutation.row(&clustering(schema, 1), row.finish());
    mutation.build()
}

#[test]
fn what_is_too_large_or_names_nothing_is_refused() {
    let mut sim = simulator(1, 1);
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config()).await;
        let around = in_partition(&schema, &key(1), "").bytes().len();
        let of_bytes = |bytes: usize| in_partition(&schema, &key(1), &"x".repeat(bytes));
        // Two lengths take three bytes more each once they are long.
        let largest = (16 << 20) - around - 6;
        assert_eq!(of_bytes(largest).bytes().len(), 16 << 20);
        let unknown = MutationBuilder::new(TableId(99), &key(1)).build();
        for (mutation, says) in [
            (
                of_bytes(largest + 1),
                "a mutation of 16777217 bytes; the largest allowed is 16777216",
            ),
            (
                in_partition(&schema, &[7; KEY_BYTES_MAX + 1], "x"),
                "a partition key of 65536 bytes; at most 65535 are allowed",
            ),
            (unknown, "table 99 does not exist"),
        ] {
            let refused = store.apply(mutation).await.expect_err("refused");
            assert!(
                matches!(&refused, Error::Invalid { what } if what == says),
                "{refused:?}: not {says:?}"
            );
        }
        let whole = || Read::partition(schema.id, key(1));
        let backwards = Slice {
            start: vec![9],
            end: vec![1],
        };
        for (read, says) in [
            (
                Read::partition(schema.id, vec![7; KEY_BYTES_MAX + 1]),
                "a partition key of 65536 bytes; at most 65535 are allowed",
            ),
            (Read::partition(TableId(99), key(1)), "table 99 does not exist"),
            (
                Read {
                    limit_rows: 0,
                    ..whole()
                },
                "a page of no rows",
            ),
            (
                Read {
                    slice: backwards,
                    ..whole()
                },
                "a slice that ends before it starts",
            ),
        ] {
            let refused = store.read(read).await.expect_err("refused");
            assert!(
                matches!(&refused, Error::Invalid { what } if what == says),
                "{refused:?}: not {says:?}"
            );
        }
        let long_key = vec![7; KEY_BYTES_MAX];
        store.apply(of_bytes(largest)).await.expect("as large as may be");
        store
            .apply(in_partition(&schema, &long_key, "long"))
            .await
            .expect("as long as may be");
        store
            .apply(message(&schema, 2, 1, 1, "beside them"))
            .await
            .expect("written");
        for flushed in [false, true] {
            let page = store
                .read(Read::partition(schema.id, long_key.clone()))
                .await
                .expect("a page");
            assert_eq!(common::messages(&schema, &page), [(1, "long".to_owned())]);
            let all = history(&store, &schema, 1, 10).await;
            assert_eq!(
                all.iter().map(|(_, content)| content.len()).collect::<Vec<_>>(),
                [largest]
            );
            assert_eq!(history(&store, &schema, 2, 10).await, [(1, "beside them".to_owned())]);
            if !flushed {
                store.flush().await.expect("flushed");
            }
        }
    });
    let handle = sim.start();
    run(&mut sim, async move {
        let (store, schema) = open(handle, config()).await;
        let page = store
            .read(Read::partition(schema.id, vec![7; KEY_BYTES_MAX]))
            .await
            .expect("a page");
        assert_eq!(page.len(), 1);
        assert_eq!(history(&store, &schema, 1, 10).await.len(), 1);
        store.close().await.expect("closed");
    });
}

#[test]
fn keys_that_are_too_long_have_no_bytes() {
    let schema = common::chat();
    let text = Schema::builder("k", "t")
        .partition_key("p", model::CqlType::Text)
        .partition_key("q", model::CqlType::Text)
        .clustering("c", model::CqlType::Text)
        .build()
        .expect("legal");
    let long = vec![b'x'; KEY_BYTES_MAX + 1];
    assert!(text.partition_key_bytes(&[&long, b"q"]).is_err(), "one part");
    assert!(
        text.partition_key_bytes(&[&long[2..], b"q"]).is_err(),
        "all parts together"
    );
    assert!(text.encode_clustering(&[&long]).is_err());
    assert!(text.encode_clustering(&[&long[1..]]).is_ok());
    assert!(schema.partition_key_bytes(&[&long]).is_err());
}
