//! What can go wrong below the engine.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::ShardId;

/// An error of the runtime.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The device or the file system refused `op`. After a failed write or sync nothing more should be written to this
    /// file: a retry may lie.
    Io {
        /// What was tried: `"read"`, `"write"`, `"sync"`, `"open"`, …
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Where in the file, in bytes; 0 where an offset means nothing.
        offset: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// A socket, or the connection over it, refused `op`.
    Net {
        /// What was tried: `"bind"`, `"accept"`, `"attach"`, `"receive"`, `"send"`.
        op: &'static str,
        /// The peer; of a listener its own address.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The node can't start here; one plain sentence for the operator.
    Start(String),
    /// A task of this shard panicked; the store is poisoned until it is opened again.
    Panicked {
        /// The shard that is gone.
        shard: ShardId,
        /// The task's name and the panic's message.
        message: String,
    },
}

impl Error {
    pub(crate) fn io(op: &'static str, path: &Path, offset: u64, source: io::Error) -> Self {
        Self::Io {
            op,
            path: path.to_path_buf(),
            offset,
            source,
        }
    }

    pub(crate) fn net(op: &'static str, addr: SocketAddr, source: io::Error) -> Self {
        Self::Net { op, addr, source }
    }

    /// Whether the device is full (or the quota used up): free some space and try again.
    pub fn is_no_space(&self) -> bool {
        self.errno()
            .is_some_and(|code| code == libc::ENOSPC || code == libc::EDQUOT)
    }

    /// Whether the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::NotFound)
    }

    /// Whether the file or directory exists already.
    pub fn is_already_exists(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::AlreadyExists)
    }

    /// Whether the file ends before the bytes that were asked for.
    pub fn is_unexpected_eof(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::UnexpectedEof)
    }

    /// The kind of the operating system's answer, if it was one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } | Self::Net { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } | Self::Net { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                op,
                path,
                offset,
                source,
            } => {
                write!(f, "{op} {}", path.display())?;
                if *offset != 0 {
                    write!(f, " at offset {offset}")?;
                }
                write!(f, ": {source}")
            }
            Self::Net { op, addr, source } => write!(f, "{op} {addr}: {source}"),
            Self::Start(sentence) => f.write_str(sentence),
            Self::Panicked { shard, message } => write!(f, "shard {shard} panicked: {message}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Net { source, .. } => Some(source),
            _ => None,
        }
    }
}
