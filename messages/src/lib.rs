//! Message history over the Scrollback engine: ids, buckets, history, edit, delete.
//!
//! What the engine does not know and this crate does: that the key of a message carries its time ([`MessageId`]), that the
//! partitions of a channel are windows of that time ([`Bucket`]), and which of them exist (the directory, [`schema`]).

mod bucket;
mod error;
mod import_ids;
pub mod names;
mod snowflake;

pub use bucket::{Bucket, Window};
pub use error::{Error, Result};
pub use import_ids::{IMPORT_WORKERS, IMPORTS_PER_MILLISECOND, ImportIds, OrderScan, import_id};
pub use names::NameKind;
pub use snowflake::{Epoch, Generator, MessageId, TIME_MS_MAX};

/// Largest content of one message, bytes.
pub const CONTENT_BYTES_MAX: usize = 1 << 20;
/// Largest name of a channel or an author, bytes.
pub const NAME_BYTES_MAX: usize = 1024;
