//! What is wrong with bytes from the other side, and how it is answered.

use std::fmt;

use super::ErrorCode;

/// Bytes from outside that are no message.
///
/// The display text is what a client is told: Cassandra's words where clients look for them.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A frame of another version of the protocol; drivers find the text and come again with version 4.
    Version(u8),
    /// An answer where a request is due, or the other way round; the opcode.
    Direction(u8),
    /// No message has this opcode.
    Opcode(u8),
    /// The length of a body is negative or above [`BODY_BYTES_MAX`](super::BODY_BYTES_MAX).
    BodyLength(i32),
    /// A frame, or what a compressed body claims to hold, is longer than the limit; both in bytes.
    TooBig {
        /// What there is, or is claimed to be.
        length: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The body ends inside of this.
    Short(&'static str),
    /// A string is not UTF-8.
    Utf8,
    /// The length of a value is below -2.
    ValueLength(i32),
    /// No consistency level has this code.
    Consistency(u16),
    /// The timestamp is `i64::MIN`.
    Timestamp,
    /// The page size is 0.
    PageSize,
    /// No batch has this type.
    BatchType(u8),
    /// A statement of a batch is neither text nor an id.
    BatchKind(u8),
    /// A batch with names for its values: the protocol cannot express it (CASSANDRA-10246).
    BatchNames,
    /// No event has this name.
    EventType(String),
    /// A compressed body that is none.
    Compressed(&'static str),
    /// Anything else that is not as the protocol has it.
    Malformed(&'static str),
}

impl Error {
    /// The code of the answer.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::TooBig { .. } => ErrorCode::Invalid,
            _ => ErrorCode::Protocol,
        }
    }

    /// Whether nothing that follows on the connection can be understood: it is closed once the answer has been sent. After all others
    /// the next frame is read.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Error::Version(_) | Error::Direction(_) | Error::BodyLength(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Version(version) => write!(
                f,
                "Invalid or unsupported protocol version ({version}); supported versions are (4/v4)"
            ),
            Error::Direction(opcode) => write!(f, "Wrong protocol direction for opcode {opcode}"),
            Error::Opcode(opcode) => write!(f, "Unknown opcode {opcode}"),
            Error::BodyLength(length) => {
                write!(f, "Invalid value for envelope header body length field: {length}")
            }
            Error::TooBig { length, limit } => write!(
                f,
                "Request is too big: length {length} exceeds maximum allowed length {limit}."
            ),
            Error::Short(what) => write!(f, "Not enough bytes to read {what}"),
            Error::Utf8 => write!(f, "Cannot decode string as UTF8"),
            Error::ValueLength(length) => write!(f, "Invalid ByteBuf length {length}"),
            Error::Consistency(code) => write!(f, "Unknown code {code} for a consistency level"),
            Error::Timestamp => write!(
                f,
                "Out of bound timestamp, must be in [{}, {}] (got {})",
                i64::MIN + 1,
                i64::MAX,
                i64::MIN
            ),
            Error::PageSize => write!(f, "The page size cannot be 0"),
            Error::BatchType(code) => write!(f, "Invalid BATCH message type {code}"),
            Error::BatchKind(kind) => {
                write!(f, "Invalid query kind in BATCH messages. Must be 0 or 1 but got {kind}")
            }
            Error::BatchNames => write!(f, "Named values are not supported in BATCH messages"),
            Error::EventType(name) => write!(f, "Invalid value '{name}' for Type"),
            Error::Compressed(what) => write!(f, "Cannot decompress the body: {what}"),
            Error::Malformed(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for Error {}

/// What reading frames gives.
pub type Result<T> = std::result::Result<T, Error>;
