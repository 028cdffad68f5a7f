//! The sstable format of Scrollback: writer, reader, filter, index, verification.
//!
//! An sstable is one immutable file of sorted partitions, written once from front to back (`docs/format/sstable.md`).
//!
//! - [`Writer`] streams fragments into a new file; [`WriterOptions`] says what kind of file.
//! - [`Table`] is an open file: footer, statistics, filter and top index stay in memory, everything else goes through the
//!   [`BlockCache`]. A [`Cursor`] is a [`model::RowSource`] over one partition, in either direction, that may pass over blocks
//!   without reading them.
//! - [`Scan`] reads partition after partition past the cache, for compaction.
//! - [`offline`] verifies, dumps and sums up files that no store has open, as pure functions over their bytes.
//! - [`encode`] gives a file's bytes without a device.
//!
//! **Invariants.** The crate knows nothing of who feeds it, of the manifest or of CQL. Every byte of a file lies under a
//! CRC-32 or is a constant that is compared; every checksum is verified at every read from the device. Bytes that contradict
//! themselves are an error that names file and offset, never a panic, never an allocation of an unchecked length. An unsorted
//! stream given to the writer is a panic.

mod cache;
mod cursor;
mod encoder;
mod error;
mod format;
pub mod offline;
mod output;
mod pieces;
mod scan;
mod share;
mod table;
mod writer;

pub use cache::BlockCache;
pub use cursor::{Cursor, Unread};
pub use encoder::{KEY_BYTES_MAX, ROW_BYTES_MAX, WriterOptions, encode};
pub use error::{Damage, Error, Result};
pub use format::frame::Compression;
pub use format::statistics::{DropTimes, EpochShare, EpochShares, Sizes, Statistics};
pub use scan::Scan;
pub use table::{Cost, Head, Table};
pub use writer::{Summary, Writer};
