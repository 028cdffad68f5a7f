//! Errors of the crate, with the place in them.

use std::fmt;
use std::path::PathBuf;

/// What can go wrong with an sstable.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The device or the file system refused. A writer that met this stays failed: abort it and start a new generation.
    Io(runtime::Error),
    /// Bytes contradict their checksum or the format. Retrying does not help.
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where the damaged frame or field begins, in bytes from the start of the file.
        offset: u64,
        /// What is wrong, as a short phrase.
        what: &'static str,
    },
    /// Written by a newer release; left untouched.
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version it says it has.
        found: u16,
        /// The newest version that this release reads.
        newest_known: u16,
    },
    /// An earlier write of this writer failed, so it takes no more.
    Failed {
        /// The unfinished file.
        path: PathBuf,
    },
}

/// The result of the crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(source) => write!(f, "{source}"),
            Error::Corrupt { path, offset, what } => {
                write!(f, "sstable {} is damaged at offset {offset}: {what}", path.display())
            }
            Error::TooNew {
                path,
                found,
                newest_known,
            } => {
                write!(
                    f,
                    "sstable {} has version {found}, this release reads up to {newest_known}",
                    path.display()
                )
            }
            Error::Failed { path } => write!(f, "an earlier write to sstable {} failed", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(source) => Some(source),
            _ => None,
        }
    }
}

impl From<runtime::Error> for Error {
    fn from(source: runtime::Error) -> Self {
        Error::Io(source)
    }
}

/// Damage found in the bytes of a file, without its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where the damaged frame or field begins, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong, as a short phrase.
    pub what: &'static str,
    /// The version of the file, if the only fault is that it is newer than this release.
    pub too_new: Option<u16>,
}

impl Damage {
    pub(crate) fn new(offset: u64, what: &'static str) -> Self {
        Damage {
            offset,
            what,
            too_new: None,
        }
    }

    /// The same, with the file's name.
    pub fn at(self, path: impl Into<PathBuf>) -> Error {
        match self.too_new {
            Some(found) => Error::TooNew {
                path: path.into(),
                found,
                newest_known: crate::format::VERSION,
            },
            None => Error::Corrupt {
                path: path.into(),
                offset: self.offset,
                what: self.what,
            },
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.too_new {
            Some(found) => write!(
                f,
                "version {found}, this release reads up to {}",
                crate::format::VERSION
            ),
            None => write!(f, "offset {}: {}", self.offset, self.what),
        }
    }
}

impl std::error::Error for Damage {}
