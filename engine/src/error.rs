//! What can go wrong, and what the caller can do about it.

use crate::definitions::DefinitionKind;
use futures_util::future::BoxFuture;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Result of the engine's operations.
///
/// Its error is an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What a call from outside the shards gives: any thread and any async runtime can await it. Boxed, so that the engine is compiled once, and
/// not again by everyone who calls it (decision 0008).
pub type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// An error of the engine. [`kind`](Error::kind) says what the caller can do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The device refused `op`.
    Io {
        /// What was being done.
        op: &'static str,
        /// To which file.
        path: PathBuf,
        /// Where in it, bytes.
        offset: u64,
        /// What the device said.
        source: Arc<io::Error>,
    },
    /// Bytes on disk contradict their checksum or format. Retrying does not help; the file is left as it is.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, bytes.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Written by a newer release; left untouched.
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The newest version that this release reads.
        newest_known: u16,
    },
    /// A file that the manifest names is not there.
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The store cannot be opened so: one sentence that says why and what to do.
    Refused {
        /// The sentence.
        what: String,
    },
    /// The request contradicts the schema or a limit.
    Invalid {
        /// What is wrong with it.
        what: String,
    },
    /// What was to be created is there already.
    AlreadyExists {
        /// A keyspace, a table or a type.
        what: DefinitionKind,
        /// The keyspace.
        keyspace: String,
        /// The name; of a keyspace its own.
        name: String,
    },
    /// What was to be altered, dropped or added to is not there.
    NotFound {
        /// A keyspace, a table or a type.
        what: DefinitionKind,
        /// The keyspace.
        keyspace: String,
        /// The name; of a keyspace its own.
        name: String,
    },
    /// A page met more tombstones than the table's `tombstone_failure_threshold`.
    TooManyTombstones {
        /// The table, with its keyspace.
        table: String,
        /// The partition key's bytes.
        key: Vec<u8>,
        /// The position at which it met the last of them, clustering bytes.
        position: Vec<u8>,
        /// How many it had met.
        tombstones: u64,
        /// How many it may meet.
        limit: u64,
    },
    /// A budget, a queue or the disk is full; nothing was read or written. Try again later.
    Overloaded {
        /// What is full.
        what: String,
    },
    /// The write was begun and its end is not known: it may be there after the store is opened again, or not.
    OutcomeUnknown {
        /// Why.
        what: String,
    },
    /// An earlier write of the log or of the manifest failed: the shard serves reads, takes no writes.
    Poisoned {
        /// The first failure.
        what: String,
    },
    /// The store is closed, or closing.
    Closed,
    /// A shard panicked: a defect of this program. The other shards serve on; reopen the store.
    Panicked {
        /// The shard.
        shard: u16,
    },
}

/// What the caller can do.
///
/// [`Error::kind`] gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// Try again later.
    Retry,
    /// Change the request or the configuration.
    Fix,
    /// Bytes are lost or unreadable: restore them.
    Restore,
    /// The outcome is unknown, or the store must be reopened.
    Reopen,
}

impl Error {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Overloaded { .. } => ErrorKind::Retry,
            Error::Invalid { .. }
            | Error::AlreadyExists { .. }
            | Error::NotFound { .. }
            | Error::Refused { .. }
            | Error::TooNew { .. }
            | Error::TooManyTombstones { .. } => ErrorKind::Fix,
            Error::Corrupt { .. } | Error::Missing { .. } => ErrorKind::Restore,
            Error::Io { .. }
            | Error::OutcomeUnknown { .. }
            | Error::Poisoned { .. }
            | Error::Closed
            | Error::Panicked { .. } => ErrorKind::Reopen,
        }
    }

    /// Whether the device is full, or the quota used up.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// The file at `path` was written by another store.
    pub(crate) fn foreign(path: &Path) -> Error {
        let what = format!(
            "{} belongs to another store than the manifest here; put back the one that belongs to this store",
            path.display()
        );
        Error::Refused { what }
    }

    pub(crate) fn already_exists(what: DefinitionKind, keyspace: &str, name: &str) -> Error {
        Error::AlreadyExists {
            what,
            keyspace: keyspace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn not_found(what: DefinitionKind, keyspace: &str, name: &str) -> Error {
        Error::NotFound {
            what,
            keyspace: keyspace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::Invalid { what: what.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io {
                op,
                path,
                offset,
                source,
            } => {
                let next = match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room and try again",
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                        "; a store needs a directory that it may write"
                    }
                    _ => "",
                };
                write!(f, "{op} of {} at byte {offset}: {source}{next}", path.display())
            }
            Error::Corrupt { path, offset, what } => {
                write!(
                    f,
                    "{} is damaged at byte {offset}: {what}; restore it from a backup",
                    path.display()
                )
            }
            Error::TooNew {
                path,
                found,
                newest_known,
            } => write!(
                f,
                "{} has format version {found}, this release reads up to {newest_known}; use a newer release",
                path.display()
            ),
            Error::Missing { path } => {
                write!(
                    f,
                    "{} is missing, and the store needs it; restore it from a backup",
                    path.display()
                )
            }
            Error::Refused { what } | Error::Invalid { what } => f.write_str(what),
            Error::AlreadyExists { what, keyspace, name } => {
                write!(f, "{what} {} exists already", called(*what, keyspace, name))
            }
            Error::NotFound { what, keyspace, name } => {
                write!(f, "{what} {} does not exist", called(*what, keyspace, name))
            }
            Error::TooManyTombstones {
                table,
                key,
                position,
                tombstones,
                limit,
            } => {
                write!(
                    f,
                    "a page of {table}, partition 0x{}, met {tombstones} tombstones up to position 0x{}, and {limit} are allowed; \
                     read a narrower slice, or raise the table's tombstone_failure_threshold",
                    Hex(key),
                    Hex(position)
                )
            }
            Error::Overloaded { what } => write!(f, "overloaded: {what}; nothing was done, try again later"),
            Error::OutcomeUnknown { what } => {
                write!(
                    f,
                    "the outcome of the write is unknown: {what}; reopen the store and look"
                )
            }
            Error::Poisoned { what } => write!(f, "the store takes no writes: {what}"),
            Error::Closed => f.write_str("the store is closed"),
            Error::Panicked { shard } => {
                write!(f, "shard {shard} stopped on a defect of this program; reopen the store")
            }
        }
    }
}

fn called(what: DefinitionKind, keyspace: &str, name: &str) -> String {
    match what {
        DefinitionKind::Keyspace => name.to_owned(),
        DefinitionKind::Table | DefinitionKind::Type => format!("{keyspace}.{name}"),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

impl From<runtime::Error> for Error {
    fn from(error: runtime::Error) -> Error {
        match error {
            runtime::Error::Io {
                op,
                path,
                offset,
                source,
            } => Error::Io {
                op,
                path,
                offset,
                source: Arc::new(source),
            },
            runtime::Error::Start(what) => Error::Refused { what },
            runtime::Error::Panicked { shard, .. } => Error::Panicked { shard: shard.0 },
            other => Error::Poisoned {
                what: other.to_string(),
            },
        }
    }
}

impl From<sstable::Error> for Error {
    fn from(error: sstable::Error) -> Error {
        match error {
            sstable::Error::Io(error) => error.into(),
            sstable::Error::Corrupt { path, offset, what } => Error::Corrupt {
                path,
                offset,
                what: what.to_owned(),
            },
            sstable::Error::TooNew {
                path,
                found,
                newest_known,
            } => Error::TooNew {
                path,
                found,
                newest_known,
            },
            other => Error::Poisoned {
                what: other.to_string(),
            },
        }
    }
}

impl From<commitlog::replay::ReplayError<Error>> for Error {
    fn from(error: commitlog::replay::ReplayError<Error>) -> Error {
        match error {
            commitlog::replay::ReplayError::Log(error) => error.into(),
            commitlog::replay::ReplayError::Consumer(error) => error,
        }
    }
}

impl From<commitlog::Error> for Error {
    fn from(error: commitlog::Error) -> Error {
        match error {
            commitlog::Error::Io(error) => error.into(),
            commitlog::Error::Corrupt { path, offset, what } => Error::Corrupt {
                path,
                offset,
                what: what.to_owned(),
            },
            commitlog::Error::TooNew {
                path,
                found,
                newest_known,
            } => Error::TooNew {
                path,
                found,
                newest_known,
            },
            commitlog::Error::Missing { dir, segment } => Error::Missing {
                path: dir.join(format!("{segment:016x}-*.log")),
            },
            stale @ commitlog::Error::Stale { .. } => Error::Refused {
                what: stale.to_string(),
            },
            commitlog::Error::Options(what) => Error::Refused { what },
            commitlog::Error::Closed => Error::Closed,
            other => Error::Poisoned {
                what: other.to_string(),
            },
        }
    }
}
