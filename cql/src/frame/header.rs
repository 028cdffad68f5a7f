//! The nine bytes before each body (specification, section 2).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version, 4; the highest bit is set in answers |
//! | 1 | 1 | flags |
//! | 2 | 2 | stream, signed; the client's choice, events have -1 |
//! | 4 | 1 | opcode |
//! | 5 | 4 | length of the body, bytes |

use super::{Error, Result};

/// The version of the protocol that is spoken.
pub const VERSION: u8 = 4;
/// Length of a header, bytes.
pub const HEADER_LEN: usize = 9;
/// No body is longer, bytes: 256 MiB. A server's own limit lies below.
pub const BODY_BYTES_MAX: usize = 256 << 20;
/// The stream of events.
pub const EVENT_STREAM: i16 = -1;
/// Set in the version byte of answers.
pub(super) const ANSWER_BIT: u8 = 0x80;

/// What kind of message a body is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// An answer: the request failed.
    Error = 0x00,
    /// A request: the first of a connection but for `Options`.
    Startup = 0x01,
    /// An answer: go on.
    Ready = 0x02,
    /// An answer: say who you are.
    Authenticate = 0x03,
    /// A request: what is supported? Also the heartbeat of drivers.
    Options = 0x05,
    /// An answer to `Options`.
    Supported = 0x06,
    /// A request: run a text.
    Query = 0x07,
    /// An answer: what a statement gave.
    Result = 0x08,
    /// A request: keep a text under an id.
    Prepare = 0x09,
    /// A request: run what is kept under an id.
    Execute = 0x0a,
    /// A request: tell of events.
    Register = 0x0b,
    /// Sent without a request.
    Event = 0x0c,
    /// A request: run several statements as one.
    Batch = 0x0d,
    /// An answer: authentication goes on.
    AuthChallenge = 0x0e,
    /// A request: who the client is.
    AuthResponse = 0x0f,
    /// An answer: authenticated.
    AuthSuccess = 0x10,
}

impl Opcode {
    /// The message of this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Opcode> {
        Some(match code {
            0x00 => Opcode::Error,
            0x01 => Opcode::Startup,
            0x02 => Opcode::Ready,
            0x03 => Opcode::Authenticate,
            0x05 => Opcode::Options,
            0x06 => Opcode::Supported,
            0x07 => Opcode::Query,
            0x08 => Opcode::Result,
            0x09 => Opcode::Prepare,
            0x0a => Opcode::Execute,
            0x0b => Opcode::Register,
            0x0c => Opcode::Event,
            0x0d => Opcode::Batch,
            0x0e => Opcode::AuthChallenge,
            0x0f => Opcode::AuthResponse,
            0x10 => Opcode::AuthSuccess,
            _ => return None,
        })
    }

    /// Whether clients send it.
    #[must_use]
    pub fn is_request(self) -> bool {
        matches!(
            self,
            Opcode::Startup
                | Opcode::Options
                | Opcode::Query
                | Opcode::Prepare
                | Opcode::Execute
                | Opcode::Register
                | Opcode::Batch
                | Opcode::AuthResponse
        )
    }
}

/// The flags of a header; unknown ones are passed over, as Cassandra does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(pub u8);

impl Flags {
    /// The body is compressed.
    pub const COMPRESSED: u8 = 0x01;
    /// A request: trace it. An answer: the id of the trace comes first in the body.
    pub const TRACING: u8 = 0x02;
    /// The body has a custom payload before the message.
    pub const PAYLOAD: u8 = 0x04;
    /// An answer's body has warnings before the message.
    pub const WARNINGS: u8 = 0x08;

    /// Whether the body is compressed.
    #[must_use]
    pub fn compressed(self) -> bool {
        self.0 & Self::COMPRESSED != 0
    }

    /// Whether the request is to be traced, or the answer names its trace.
    #[must_use]
    pub fn tracing(self) -> bool {
        self.0 & Self::TRACING != 0
    }

    /// Whether there is a custom payload.
    #[must_use]
    pub fn payload(self) -> bool {
        self.0 & Self::PAYLOAD != 0
    }

    /// Whether there are warnings.
    #[must_use]
    pub fn warnings(self) -> bool {
        self.0 & Self::WARNINGS != 0
    }
}

/// The header of a frame of version 4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What else the body holds.
    pub flags: Flags,
    /// Which request it is, or answers: answers come in any order.
    pub stream: i16,
    /// What the body is.
    pub opcode: Opcode,
    /// Length of the body, bytes; at most [`BODY_BYTES_MAX`].
    pub length: u32,
}

impl Header {
    /// Reads the header of a request.
    ///
    /// # Errors
    /// [`Error::Version`], [`Error::Direction`], [`Error::BodyLength`]: the connection is of no use. [`Error::Opcode`]: the body can
    /// be passed over.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Header> {
        Header::of(bytes, true)
    }

    /// Reads the header of an answer or event.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_answer(bytes: &[u8; HEADER_LEN]) -> Result<Header> {
        Header::of(bytes, false)
    }

    /// The stream that is named, whatever else is wrong.
    pub(super) fn stream_of(bytes: &[u8; HEADER_LEN]) -> i16 {
        match bytes[0] {
            // A byte in the versions whose header had eight.
            1 | 2 => i16::from(bytes[2] as i8),
            _ => i16::from_be_bytes([bytes[2], bytes[3]]),
        }
    }

    /// The length that is named.
    pub(super) fn length_of(bytes: &[u8; HEADER_LEN]) -> i32 {
        i32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]])
    }

    pub(super) fn of(bytes: &[u8; HEADER_LEN], request: bool) -> Result<Header> {
        let [version, flags, _, _, code, ..] = *bytes;
        if version & !ANSWER_BIT != VERSION {
            return Err(Error::Version(version & !ANSWER_BIT));
        }
        if (version & ANSWER_BIT == 0) != request {
            return Err(Error::Direction(code));
        }
        let length = Header::length_of(bytes);
        if usize::try_from(length)
            .ok()
            .is_none_or(|length| length > BODY_BYTES_MAX)
        {
            return Err(Error::BodyLength(length));
        }
        let opcode = Opcode::from_code(code).ok_or(Error::Opcode(code))?;
        if opcode.is_request() != request {
            return Err(Error::Direction(code));
        }
        Ok(Header {
            flags: Flags(flags),
            stream: Header::stream_of(bytes),
            opcode,
            length: length as u32,
        })
    }
}
