//! The Cassandra query language, and the frames of its native protocol: pure functions on byte slices.
//!
//! - [`frame`] reads requests where they lie and writes answers to the end of a buffer: protocol version 4.
//! - [`language`] reads statements, checks them against the schema, and binds values to them.
//!
//! **Invariants.** No I/O, no clock, nothing awaits. Bytes from outside give errors, never panics, and no length is believed
//! before the bytes for it are there. Nothing here knows of sockets or of how the engine keeps anything.

pub mod frame;
pub mod language;
