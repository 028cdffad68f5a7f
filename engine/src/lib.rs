//! Scrollback's storage engine: shards, the node, recovery, routing, and the API that programs embed.
//!
//! A [`Store`] is the engine from outside, from any thread; a [`Shard`] is it on a shard's own thread. A [`Mutation`] goes
//! through the log into a memtable; a flush turns memtables into sstables; a [`Read`] merges them into a [`Page`].
//!
//! Invariants: nothing is acknowledged or shown that a crash could take back (periodic mode apart, and it says so); the
//! manifest alone says what belongs to the store; a shard's data is touched on that shard's thread only.
//!
//! [`Mutation`]: model::Mutation

mod cache;
pub mod check;
mod closing;
mod compactions;
mod config;
mod copy_table;
mod definitions;
mod disk_usage;
mod error;
mod hot;
mod json;
mod large;
mod layout;
pub mod manifest;
mod node;
mod outputs;
mod page;
mod paging;
mod scan;
mod shard;
pub mod snapshot;
mod stats;
mod stats_socket;
mod store;
mod table;

pub use commitlog::{Latency, LogStats};
pub use compactions::{CompactionKind, CompactionRecord, ShardCompactions};
pub use config::{Body, Config, Size, SyncMode};
pub use copy_table::CopiedTable;
pub use definitions::{DefinitionKind, Definitions};
pub use disk_usage::{EpochUsage, PartitionUsage, TableUsage};
pub use error::{Answer, Error, ErrorKind, Result};
pub use hot::{HotPartition, Hottest};
pub use large::LargePartition;
pub use page::{Cost, Page, PastTombstones, Read};
pub use paging::PagingState;
pub use scan::{Pages, Scan};
pub use shard::{Applying, PartitionGuard, Shard, TokenPosition};
pub use stats::{Figure, FigureKind, Recovery, ShardStatistics, prometheus};
pub use stats_socket::{Request, STATISTICS_SOCKET, ask, read_statistics};
pub use store::{Store, is_store, must_be_store};
