//! The one error type of the crate.

use std::fmt;

/// What is wrong with bytes, a value or a schema that were handed in.
///
/// The caller knows where the bytes came from (file and offset, connection, statement) and adds it.
///
/// [`SchemaBuilder::build`](crate::SchemaBuilder::build) and [`Insert`](crate::Insert) give it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelError {
    /// Encoded bytes contradict their format. Retrying does not help.
    Corrupt {
        /// Which rule of the format is broken.
        what: &'static str,
    },
    /// Encoded bytes of a version that a newer release wrote; leave them untouched.
    TooNew {
        /// What was being decoded.
        what: &'static str,
        /// The version found.
        found: u8,
        /// The newest version that this release knows.
        newest_known: u8,
    },
    /// A type that this release does not serve: reserved for later, or unknown.
    UnknownType {
        /// Its tag (`docs/format/types.md`).
        tag: u8,
    },
    /// A value is not a legal value of its type; the request must be corrected.
    Value {
        /// The CQL name of the type.
        ty: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A key has the wrong number of parts, or a part that is too long; the request must be corrected.
    Key {
        /// What is wrong.
        what: &'static str,
    },
    /// A column cannot be read or written as asked; the request must be corrected.
    Column {
        /// Its name.
        column: String,
        /// What is wrong.
        what: String,
    },
    /// A table definition breaks a rule; the statement must be corrected.
    Schema {
        /// What is wrong, with the name it is about.
        what: String,
    },
}

impl ModelError {
    pub(crate) const fn corrupt(what: &'static str) -> Self {
        ModelError::Corrupt { what }
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelError::Corrupt { what } => write!(f, "corrupt bytes: {what}"),
            ModelError::TooNew {
                what,
                found,
                newest_known,
            } => {
                write!(
                    f,
                    "{what} has format version {found}, this release knows up to {newest_known}"
                )
            }
            ModelError::UnknownType { tag } => write!(f, "type tag {tag:#04x} is not served by this release"),
            ModelError::Value { ty, what } => write!(f, "not a legal {ty}: {what}"),
            ModelError::Key { what } => write!(f, "not a legal key: {what}"),
            ModelError::Column { column, what } => write!(f, "column {column}: {what}"),
            ModelError::Schema { what } => write!(f, "not a legal table: {what}"),
        }
    }
}

impl std::error::Error for ModelError {}
