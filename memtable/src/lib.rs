//! One table's recent writes in order, with exact memory accounting. Synchronous, no I/O, no runtime.
//!
//! [`Memtable::apply`] merges mutations; [`Memtable::partition`] gives a [`Partition`], a snapshot that later writes do not touch;
//! [`Partition::rows`] walks a slice of it in either direction, as a [`model::RowSource`].
//!
//! How it is built, from the inside out:
//!
//! - `arena`: keys and row bodies in chunks, counted whole, freed whole.
//! - `tree`: a B+tree with small nodes, copied on write only where a reader holds them.
//! - `rows`, `ranges`, `partition`: what the tree holds: rows by clustering key with the newest timestamp under each node, range tombstones as
//!   intervals, partitions by (token, key).
//! - `reader`: the walk over a snapshot. `yard`: freeing by steps. `meter`: the count of bytes.
//!
//! **Invariants.** Nothing here awaits, and no operation but the one that a mutation's own size asks for takes more than a path through a
//! tree. Content does not depend on the order in which mutations are applied. [`Memtable::memory_bytes`] is what the allocator gave.

mod arena;
mod memtable;
mod meter;
mod partition;
mod ranges;
mod reader;
mod rows;
mod tree;
mod yard;

pub use memtable::Memtable;
pub use meter::Work;
pub use partition::Partition;
pub use reader::Rows;
