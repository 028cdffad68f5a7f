#![doc = include_str!("../README.md")]
//!
//! # This crate
//!
//! The facade that programs add to their dependencies. Message history is at the root: [`Messages`] opens a store, and every
//! call can be made from any thread and any async runtime; [`block_on`] serves a program without one. [`wide`] is the
//! wide-column store below, for tables of other shapes.

pub use engine::{Body, Config, Cost, Size, SyncMode};
pub use messages::{
    Around, Bucket, BucketCount, CONTENT_BYTES_MAX, ChannelSummary, Epoch, Error, Event, History, HistoryPage, Import,
    Imported, Message, MessageId, Messages, NAME_BYTES_MAX, NONCE_BYTES_MAX, NONCE_SECONDS, NameKind, OneMessage,
    Options, Result, Sent, Subscription, WINDOW_CHANGES_MAX, Window, WindowChange, Windows, block_on, import_id,
};

/// The wide-column store below: partitions of rows in clustering order, cells with timestamps, tombstones.
///
/// ```
/// use scrollback::{Config, block_on, wide::*};
///
/// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir_in(".").expect("a folder");
/// # let dir = folder.path().join("sensors");
/// block_on(async {
///     let store = Store::open(Config { shards: Some(1), ..Config::new(dir) }).await?;
///     let schema = Schema::builder("lab", "readings")
///         .partition_key("sensor", CqlType::Int)
///         .clustering_desc("at_ms", CqlType::BigInt)
///         .regular("celsius", CqlType::Double)
///         .build()?;
///     let readings = store.create_table(schema, true).await?;
///
///     // One row a mutation; the timestamp, in microseconds, decides which write wins.
///     for at_ms in [2000_i64, 1000] {
///         let row = Insert::into(&readings).set("sensor", 7)?.set("at_ms", at_ms)?.set("celsius", 21.5)?;
///         store.apply(row.at(at_ms)?).await?; // durable, and every read sees it
///     }
///
///     // Page by page, each a row long, the newest first.
///     let sensor = readings.partition_key_bytes(&[&7_i32.to_be_bytes()])?;
///     let mut pages = store.pages(Read { limit_rows: 1, ..Read::partition(readings.id, sensor.clone()) });
///     let mut found = Vec::new();
///     while let Some(page) = pages.next().await? {
///         for (clustering, row) in page.rows() {
///             let row = TypedRow::new(&readings, &sensor, clustering, row);
///             found.push((row.get::<i64>("at_ms")?, row.get::<Option<f64>>("celsius")?));
///         }
///     }
///     assert_eq!(found, [(2000, Some(21.5)), (1000, Some(21.5))]);
///     store.close().await?;
/// #   Ok(())
/// })
/// # }
/// ```
pub mod wide {
    pub use engine::{
        Cost, Error, ErrorKind, Figure, FigureKind, HotPartition, Hottest, Latency, Page, Pages, PagingState,
        PastTombstones, Read, Recovery, Result, Scan, ShardStatistics, Store, prometheus, read_statistics,
    };
    pub use model::{
        Alteration, CellKind, CellRef, ColumnId, CqlType, Deletion, Direction, Expiry, FromCql, Insert, ModelError,
        Mutation, MutationBuilder, RowBuilder, RowRef, Schema, SchemaBuilder, Slice, TTL_MAX, TableId, TableOptions,
        ToCql, TypedRow, UserField, UserType, Value,
    };
}
