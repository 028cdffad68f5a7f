//! Frames of the native protocol, version 4.
//!
//! The protocol is Cassandra's (`doc/native_protocol_v4.spec` in its sources); modules cite the sections. What the text leaves open
//! is as Cassandra 5.0 does it.
//!
//! 1. [`Frames`] finds frames in what has been received, and refuses what is too long or of another version.
//! 2. [`decompress`] unpacks a body whose header says so.
//! 3. [`Request::parse`] reads a body where it lies; [`Values`] and [`Batch`] are walked in place.
//! 4. [`Reply`] appends answers to a buffer, [`RowsWriter`] rows cell by cell; [`Event::put`] appends events.
//! 5. [`Compressor`] packs a frame once it is written.
//!
//! [`client`] is the other side: it writes requests and reads answers.
//!
//! **Invariants.** Bytes from outside give an [`Error`], never a panic, and nothing is allocated by a length that they only claim.
//! Parsing a request allocates nothing, but for the name of an event that does not exist.

mod batch;
pub mod client;
mod columns;
mod compress;
mod consistency;
mod error;
mod event;
mod failure;
mod frames;
mod header;
mod read;
mod reply;
mod request;
mod rows;
#[cfg(test)]
mod tests;
mod types;
mod values;
mod write;

pub use batch::{Batch, BatchStatement, BatchStatements, BatchType};
pub use columns::{Column, Metadata, NamedColumn};
pub use compress::{Compressor, LZ4, decompress};
pub use consistency::{Consistency, WriteType};
pub use error::{Error, Result};
pub use event::{Change, Event, SchemaChange, Target};
pub use failure::{ErrorBody, ErrorCode};
pub use frames::{Frames, Step};
pub use header::{BODY_BYTES_MAX, EVENT_STREAM, Flags, HEADER_LEN, Header, Opcode, VERSION};
pub use reply::{Prepared, Reply, add_warnings};
pub use request::{Events, Parameters, Request, Startup};
pub use rows::RowsWriter;
pub use types::put_type;
pub use values::{Value, Values, ValuesIter};
pub use write::{OpenBytes, open_bytes, put_bytes};
