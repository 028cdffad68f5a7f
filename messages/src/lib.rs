//! Message history over the Scrollback engine: ids, buckets, history, edit, delete.
//!
//! What the engine does not know and this crate does: that the key of a message carries its time ([`MessageId`]), that the
//! partitions of a channel are windows of that time ([`Bucket`]), and which of them exist (the directory, an ordinary table).
//! [`Messages`] is the face outside the shards, [`Local`] the one on them.
//!
//! Each channel has a home, the shard of its row in the directory. It gives the ids, writes the directory's row before a
//! bucket's first message, and runs conditional edits and deletes one after the other.
//!
//! Invariants: messages of a channel become visible in the order of their ids; every bucket that holds a message is in the
//! directory; an edit never brings back a deleted message; the same file imported twice gives the same ids.

mod admit;
mod around;
mod bucket;
mod bulk;
mod error;
mod feed;
mod history;
mod home;
mod import_ids;
mod local;
mod names;
mod naming;
mod nonce;
mod remove;
mod snowflake;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod window_change;
mod windows;

pub use admit::TableRole;
pub use around::{Around, BucketCount};
pub use bucket::{Bucket, Window};
pub use bulk::{Import, Imported};
pub use error::{Answer, Error, Result};
pub use feed::{Event, Sent, Subscription};
pub use history::{History, HistoryPage, Message, OneMessage};
pub use import_ids::{IMPORT_WORKERS, IMPORTS_PER_MILLISECOND, ImportIds, OrderScan, import_id};
pub use local::Local;
pub use names::NameKind;
pub use nonce::NONCE_SECONDS;
pub use runtime::block_on;
pub use snowflake::{Epoch, Generator, MessageId, TIME_MS_MAX};
pub use store::{ChannelSummary, Messages, Options};
pub use windows::{WINDOW_CHANGES_MAX, WindowChange, Windows};

/// Largest content of one message, bytes.
pub const CONTENT_BYTES_MAX: usize = 1 << 20;
/// Largest nonce of a message, bytes.
pub const NONCE_BYTES_MAX: usize = 255;
/// Largest name of a channel or an author, bytes.
pub const NAME_BYTES_MAX: usize = 1024;
