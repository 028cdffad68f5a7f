//! The Cassandra protocol over the engine: sessions, the execution of statements, system tables.
//!
//! 1. [`Node`] is what all shards share: who the node is, and the [`Texts`] of statements that were prepared.
//! 2. [`Local`] is one shard's part: its prepared statements, its connections that want events.
//! 3. A [`Session`] is one connection without its socket: a frame in, a frame out. What executes a request runs on the connection's
//!    shard; reads go to the owner by themselves, writes without a timestamp and conditional ones are carried there.
//!
//! **Invariants.** A session computes no longer than the other tasks of its shard: loops over rows breathe. An answer is written only
//! when what it acknowledges is durable and visible.

mod batch_log;
mod catalog;
mod connection;
mod describe;
mod fail;
mod listen;
mod local;
mod modify;
mod node;
mod outcome;
mod prepared;
mod rows;
mod schema;
mod select;
mod session;
mod system;
mod texts;
mod trace;
mod values;

pub use batch_log::replay as replay_batches;
pub use connection::Limits;
pub use listen::{drain, listen};
pub use local::{Local, Push};
pub use node::{Identity, Node};
pub use session::Session;
pub use texts::Texts;
