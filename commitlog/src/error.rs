//! What can go wrong in the log.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// An error of the log.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The device or the file system refused.
    Io(runtime::Error),
    /// Bytes that had been durable contradict their checksum or the format. Retrying does not help: restore the file.
    Corrupt {
        /// The segment's file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A segment that is still needed is not in the folder. Put it back, or restore the store.
    Missing {
        /// The log's folder.
        dir: PathBuf,
        /// The id at the beginning of the file's name.
        segment: u64,
    },
    /// The manifest is older than the log: what the segments below `oldest` held is in tables that it does not know.
    /// Restore the manifest that belongs to the store.
    Stale {
        /// The segment whose header tells.
        path: PathBuf,
        /// The segment from which the log was needed when that one was prepared.
        oldest: u64,
        /// The segment from which the manifest wants it.
        from_segment: u64,
    },
    /// Written by a newer release; left untouched.
    TooNew {
        /// The segment's file.
        path: PathBuf,
        /// Its format version.
        found: u16,
        /// The newest version this release reads.
        newest_known: u16,
    },
    /// The options contradict themselves; one sentence.
    Options(String),
    /// An earlier write or sync failed, so nothing is acknowledged any more: reopen the store. Holds the first failure.
    Poisoned(Arc<Error>),
    /// The log was closed.
    Closed,
}

/// The result of an operation of the log.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the device is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::Io(source) => source.is_no_space(),
            Error::Poisoned(first) => first.is_no_space(),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(_) => f.write_str("commit log I/O failed"),
            Error::Corrupt { path, offset, what } => {
                write!(
                    f,
                    "commit log segment {} is damaged at offset {offset}: {what}",
                    path.display()
                )
            }
            Error::Missing { dir, segment } => {
                write!(f, "commit log segment {segment:016x} is missing from {}", dir.display())
            }
            Error::Stale {
                path,
                oldest,
                from_segment,
            } => write!(
                f,
                "the manifest is older than the commit log: it wants segments from {from_segment} on, and {} tells that those \
                 below {oldest} went into tables since; restore the manifest that belongs to the store",
                path.display()
            ),
            Error::TooNew {
                path,
                found,
                newest_known,
            } => write!(
                f,
                "commit log segment {} has format version {found}, this release reads up to {newest_known}",
                path.display()
            ),
            Error::Options(sentence) => f.write_str(sentence),
            Error::Poisoned(first) => write!(f, "commit log stopped after a failure: {}", Chain(first.as_ref())),
            Error::Closed => f.write_str("commit log is closed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(source) => Some(source),
            Error::Poisoned(first) => std::error::Error::source(first.as_ref()),
            _ => None,
        }
    }
}

/// An error with its cause behind it.
struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::Io(source) => write!(f, "{source}"),
            other => write!(f, "{other}"),
        }
    }
}

impl From<runtime::Error> for Error {
    fn from(source: runtime::Error) -> Self {
        Error::Io(source)
    }
}

/// Why a record was not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// Longer than [`record_bytes_max`](crate::Options::record_bytes_max): it will never fit.
    TooLarge {
        /// The record's length.
        bytes: usize,
        /// The longest that fits.
        bytes_max: usize,
    },
    /// No room now: await [`Log::room`](crate::Log::room), then try again.
    Full,
    /// An earlier write or sync failed; holds the first failure. Reopen the store.
    Poisoned(Arc<Error>),
    /// The log was closed.
    Closed,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::TooLarge { bytes, bytes_max } => {
                write!(f, "record of {bytes} bytes; the commit log takes at most {bytes_max}")
            }
            AppendError::Full => f.write_str("commit log is full at the moment"),
            AppendError::Poisoned(first) => write!(f, "commit log stopped after a failure: {}", Chain(first.as_ref())),
            AppendError::Closed => f.write_str("commit log is closed"),
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AppendError::Poisoned(first) => std::error::Error::source(first.as_ref()),
            _ => None,
        }
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Poisoned(first) => Error::Poisoned(first),
            AppendError::Closed => Error::Closed,
            refused => Error::Options(refused.to_string()),
        }
    }
}
