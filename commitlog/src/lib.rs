//! The commit log of one Scrollback shard: append, group commit, segments, replay.
//!
//! A shard appends opaque records; the log collects them in groups, writes each group with one synchronous, direct write into a
//! preallocated segment, and hands it over when it is durable, in log order, two groups in flight at most. The format is
//! `docs/format/commitlog.md`.
//!
//! **Invariants**
//! - What was handed over (or reported by [`Log::durable`]) is delivered by [`replay::replay`] after any crash; what is delivered is a
//!   prefix of what was appended.
//! - No file is created, renamed, extended or removed in the path of an append.
//! - After a failed write or sync nothing is acknowledged any more, and nothing is retried.
//! - The log knows nothing of rows or memtables.

mod buffer;
mod error;
pub mod format;
mod group;
pub mod inspect;
mod log;
mod options;
mod plan;
mod position;
pub mod replay;
mod segments;
mod state;
mod stats;
pub mod walk;

pub use error::{AppendError, Error, Result};
pub use group::{Group, Records};
pub use log::Log;
pub use options::{
    Options, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_BYTES_STEP, SEGMENTS_MAX, SEGMENTS_MIN, SyncMode,
    record_bytes_max,
};
pub use position::LogPosition;
pub use stats::{Latency, LogStats};
