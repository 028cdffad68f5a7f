//! Types, keys, rows, tombstones, tokens and the merge rule of Scrollback: pure, no I/O, no async.
//!
//! The crate holds what every other part of the engine must agree on, as functions on byte slices:
//!
//! - [`token_of`] and [`shard_of`] place a partition; [`Schema`] names its columns and turns keys into bytes that
//!   sort as CQL sorts them, so that everything above compares with `memcmp`.
//! - A row is a string of bytes ([`RowRef`], built by [`RowBuilder`]), canonical and self-contained; it travels unchanged
//!   from the commit log to the memtable, the sstable and the reader. [`merge_rows`] reconciles two of them,
//!   [`shadow_row`] applies a deletion to one, [`live_row`] leaves what a reader may see, [`purge_row`]
//!   what compaction must keep.
//! - A [`Mutation`] is what one write changes in one partition, as the bytes that the commit log keeps.
//! - A [`RowSource`] streams one partition in either [`Direction`]; [`Merge`] reconciles several of them.
//!
//! **Invariants.** Nothing here does I/O, reads a clock or awaits. Bytes from outside give errors, never panics, and no
//! length is believed before the bytes for it are there. The merge rule is written out in `docs/semantics/conflicts.md`,
//! the order of keys in `docs/semantics/clustering-order.md`, the bytes in `docs/format/row.md`, `mutation.md`,
//! `schema.md` and `types.md` beside it.

mod clustering;
mod deletion;
mod digest;
mod error;
mod ids;
mod merge;
mod mutation;
mod row;
mod schema;
mod stream;
mod token;
mod ttl;
mod typed;
mod types;
pub mod varint;

pub use deletion::Deletion;
pub use digest::{DeadRows, KeyDigest, KeySeed};
pub use error::ModelError;
pub use ids::{ColumnId, TableId};
pub use merge::{Merge, MergeCounts, Step};
pub use mutation::{Mutation, MutationBuilder, MutationRef, RangeIter, RowIter};
pub use row::{
    CellIter, CellKind, CellRef, Columns, Live, LiveRow, Liveness, PurgeRule, ReadTime, RowBuilder, RowRef, Shadowed,
    live_row, merge_rows, purge_row, shadow_row,
};
pub use schema::{
    Alteration, ClusteringColumn, Column, Compression, DroppedColumn, KEY_BYTES_MAX, Keyspace, Schema, SchemaBuilder,
    TableOptions, TypeAlteration,
};
pub use stream::{Direction, Fragment, Item, Peek, RowSource, Slice};
pub use token::{IGNORE_MSB, Token, next_token_of, shard_of, token_of};
pub use ttl::{Expiry, TTL_MAX};
pub use typed::{FromCql, Insert, ToCql, TypedRow};
pub use types::{CqlType, Duration, TYPE_DEPTH_MAX, UserField, UserType, Value};
