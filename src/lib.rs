#![doc = include_str!("../README.md")]
//!
//! # This crate
//!
//! The facade that programs add to their dependencies. Message history is at the root: [`Messages`] opens a store, and every
//! call can be made from any thread and any async runtime; [`block_on`] serves a program without one. [`wide`] is the
//! wide-column store below, for tables of other shapes.

pub use engine::{Body, Config, Cost, SyncMode};
pub use messages::{
    Around, Bucket, BucketCount, CONTENT_BYTES_MAX, ChannelSummary, Epoch, Error, Event, History, HistoryPage, Import,
    Imported, Message, MessageId, Messages, NAME_BYTES_MAX, NONCE_BYTES_MAX, NONCE_SECONDS, NameKind, OneMessage,
    Options, Result, Sent, Subscription, Window, block_on, import_id,
};

/// The wide-column store below: partitions of rows in clustering order, cells with timestamps, tombstones.
///
/// ```
/// use scrollback::{Config, block_on, wide::*};
///
/// # fn main() -> Result<()> {
/// # let folder = tempfile::tempdir_in(".").expect("a folder");
/// # let dir = folder.path().join("sensors");
/// block_on(async {
///     let store = Store::open(Config { shards: Some(1), ..Config::new(dir) }).await?;
///     let schema = Schema::builder("lab", "readings")
///         .partition_key("sensor", CqlType::Int)
///         .clustering_desc("at_ms", CqlType::BigInt)
///         .regular("celsius", CqlType::Double)
///         .build()
///         .expect("a legal schema");
///     let readings = store.create_table(schema, true).await?;
///     let celsius = readings.column("celsius").expect("a column of the table").id;
///     let sensor = readings.partition_key_bytes(&[&7_i32.to_be_bytes()]).expect("one int");
///
///     // One mutation of one partition; its rows in clustering order. The timestamp decides which write wins.
///     let mut mutation = MutationBuilder::new(readings.id, &sensor);
///     for at_ms in [2000_i64, 1000] {
///         let mut row = RowBuilder::new();
///         row.liveness(at_ms).cell(celsius, at_ms, &21.5_f64.to_be_bytes());
///         let position = readings.encode_clustering(&[&at_ms.to_be_bytes()]).expect("one bigint");
///         mutation.row(&position, row.finish());
///     }
///     store.apply(mutation.build()).await?; // durable, and every read sees it
///
///     // Page by page, each a row long.
///     let mut read = Read { limit_rows: 1, ..Read::partition(readings.id, sensor) };
///     let mut rows = 0;
///     loop {
///         let page = store.read(read.clone()).await?;
///         rows += page.len();
///         match page.more() {
///             Some(rest) => read.slice = rest.clone(),
///             None => break,
///         }
///     }
///     assert_eq!(rows, 2);
///     store.close().await
/// })
/// # }
/// ```
pub mod wide {
    pub use engine::{Cost, Error, ErrorKind, Page, PastTombstones, Read, Recovery, Result, ShardStatistics, Store};
    pub use model::{
        CellKind, CellRef, ColumnId, CqlType, Deletion, Direction, Expiry, ModelError, Mutation, MutationBuilder,
        RowBuilder, RowRef, Schema, SchemaBuilder, Slice, TTL_MAX, TableId, TableOptions,
    };
}
