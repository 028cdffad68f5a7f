//! Why a statement is refused.

use super::syntax::SyntaxError;
use model::ModelError;
use std::fmt;

/// A statement that is refused, with what the client is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// It is no statement; code 0x2000.
    Syntax(SyntaxError),
    /// It makes no sense for this schema, or with these values; code 0x2200.
    Invalid(String),
    /// Options of a definition contradict each other or do not exist; code 0x2300.
    Config(String),
    /// What it creates is there already; code 0x2400.
    AlreadyExists {
        /// The keyspace.
        keyspace: String,
        /// The table; empty if it is a keyspace.
        table: String,
        /// The message.
        what: String,
    },
    /// Not for this client; code 0x2100.
    Unauthorized(String),
    /// A paging state, or something else of the protocol, is wrong; code 0x000A.
    Protocol(String),
}

impl Error {
    /// [`Error::Invalid`]
    pub fn invalid(what: impl Into<String>) -> Error {
        Error::Invalid(what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Syntax(error) => error.fmt(f),
            Error::Invalid(what)
            | Error::Config(what)
            | Error::AlreadyExists { what, .. }
            | Error::Unauthorized(what)
            | Error::Protocol(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Syntax(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SyntaxError> for Error {
    fn from(error: SyntaxError) -> Error {
        Error::Syntax(error)
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Error {
        Error::Invalid(error.to_string())
    }
}

/// Result of the language's functions.
///
/// Its error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
