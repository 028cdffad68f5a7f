//! Operations of the disk: what the shard asks for, run by a thread that may block.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use crate::aligned::AlignedBuf;
use crate::disk::{BLOCK, Entry, Space};
use crate::names;

/// How much of a file is filled with zeros at once, where the file system can't allocate.
const ZEROS: usize = 1 << 20;

/// How a file is opened.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) create: bool,
    pub(super) write: bool,
    pub(super) dsync: bool,
    /// Direct I/O, where the file system has it.
    pub(super) direct: bool,
    pub(super) preallocate_bytes: u64,
}

/// An open descriptor, with what each write to it needs.
pub(super) struct Descriptor {
    file: File,
    /// The system's O_DSYNC does not reach the disk: each write is followed by a sync.
    sync_each: bool,
}

/// One operation.
pub(super) enum Op {
    Open {
        path: PathBuf,
        how: How,
    },
    /// Reads at least `needed` of the `size` bytes from `start`.
    Read {
        file: Arc<Descriptor>,
        start: u64,
        size: usize,
        needed: usize,
    },
    /// Writes the first `len` bytes.
    Write {
        file: Arc<Descriptor>,
        offset: u64,
        bytes: Arc<AlignedBuf>,
        len: usize,
    },
    Sync {
        file: Arc<Descriptor>,
    },
    SetLen {
        file: Arc<Descriptor>,
        len: u64,
    },
    Len {
        file: Arc<Descriptor>,
    },
    /// Closes the file, unless an operation is in flight on it: then that one does.
    Close {
        file: Arc<Descriptor>,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    CreateDirs {
        path: PathBuf,
    },
    SyncDir {
        path: PathBuf,
    },
    Exists {
        path: PathBuf,
    },
    List {
        path: PathBuf,
    },
    Space {
        path: PathBuf,
    },
}

/// What an operation gives.
pub(super) enum Output {
    Unit,
    Opened(Arc<Descriptor>),
    Bytes(AlignedBuf),
    Len(u64),
    Found(bool),
    Entries(Vec<Entry>),
    Space(Space),
}

/// Why an operation failed: what was tried, and what the system said.
pub(super) type Failure = (&'static str, io::Error);

/// An operation's end, on its way to the shard.
pub(super) struct Ended {
    pub(super) slot: u32,
    /// `Err`: it panicked.
    pub(super) result: std::thread::Result<Result<Output, Failure>>,
}

impl Op {
    /// What it is called in errors.
    fn name(&self) -> &'static str {
        match self {
            Op::Open { how, .. } if how.create => "create",
            Op::Open { .. } => "open",
            Op::Read { .. } => "read",
            Op::Write { .. } => "write",
            Op::Sync { .. } => "sync",
            Op::SetLen { .. } => "set the length of",
            Op::Len { .. } => "stat",
            Op::Close { .. } => "close",
            Op::Rename { .. } => "rename",
            Op::Link { .. } => "link",
            Op::Remove { .. } => "remove",
            Op::CreateDirs { .. } => "create directory",
            Op::SyncDir { .. } => "sync directory",
            Op::Exists { .. } => "stat",
            Op::List { .. } => "list",
            Op::Space { .. } => "ask for the space of",
        }
    }

    /// Does it, however long that takes. Everything that the operation held is let go of when this returns.
    pub(super) fn run(self) -> Result<Output, Failure> {
        let name = self.name();
        let unit = |()| Output::Unit;
        let result = match self {
            Op::Open { path, how } => return open(path, how).map(|file| Output::Opened(Arc::new(file))),
            Op::Read {
                file,
                start,
                size,
                needed,
            } => read(&file.file, start, size, needed).map(Output::Bytes),
            Op::Write {
                file,
                offset,
                bytes,
                len,
            } => write(&file, offset, &bytes.bytes()[..len]).map(unit),
            Op::Sync { file } => file.file.sync_data().map(unit),
            Op::SetLen { file, len } => file.file.set_len(len).map(unit),
            Op::Len { file } => file.file.metadata().map(|metadata| Output::Len(metadata.len())),
            // Errors of closing are those of writes that nobody synced.
            Op::Close { file } => {
                drop(file);
                Ok(Output::Unit)
            }
            Op::Rename { from, to } => fs::rename(from, to).map(unit),
            Op::Link { from, to } => fs::hard_link(from, to).map(unit),
            Op::Remove { path } => fs::remove_file(path).map(unit),
            Op::CreateDirs { path } => fs::create_dir_all(path).map(unit),
            Op::SyncDir { path } => File::open(path).and_then(|dir| dir.sync_all()).map(unit),
            Op::Exists { path } => path.try_exists().map(Output::Found),
            Op::List { path } => names::list(&path).map(Output::Entries),
            Op::Space { path } => names::space(&path).map(Output::Space),
        };
        result.map_err(|error| (name, error))
    }
}

fn open(path: PathBuf, how: How) -> Result<Descriptor, Failure> {
    let op = if how.create { "create" } else { "open" };
    let mut options = fs::OpenOptions::new();
    options.read(true).write(how.write).create_new(how.create).mode(0o644);
    // On other systems the flag leaves the data in the drive's cache; `sync_data` does not.
    let flag_reaches_disk = cfg!(target_os = "linux");
    if how.dsync && flag_reaches_disk {
        options.custom_flags(libc::O_DSYNC);
    }
    let file = options.open(&path).map_err(|error| (op, error))?;
    if how.direct {
        // Not with the open: a file system that refuses it may have created the file all the same.
        make_direct(&file).map_err(|error| (op, error))?;
    }
    if how.preallocate_bytes > 0
        && let Err(error) = preallocate(&file, how.preallocate_bytes)
    {
        drop(file);
        // The first error is the one to tell.
        let _ = fs::remove_file(&path);
        return Err(("preallocate", error));
    }
    Ok(Descriptor {
        file,
        sync_each: how.dsync && !flag_reaches_disk,
    })
}

/// Switches the file to direct I/O, and says whether the file system has it.
#[cfg(target_os = "linux")]
pub(crate) fn make_direct(file: &File) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    let fd = file.as_raw_fd();
    // SAFETY: the descriptor is open, and F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; F_SETFL takes an int.
    if unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_DIRECT) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::EOPNOTSUPP) => Ok(false),
        _ => Err(error),
    }
}

/// Keeps the file out of the cache, which is the nearest there is to direct I/O.
#[cfg(target_vendor = "apple")]
pub(crate) fn make_direct(file: &File) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open, and F_NOCACHE takes an int.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_NOCACHE, 1) };
    Ok(result != -1)
}

/// There is none.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn make_direct(_: &File) -> io::Result<bool> {
    Ok(false)
}

fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    let len = i64::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    match allocate(file, len) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => fill(file, bytes),
        other => other,
    }
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, len: i64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    loop {
        // SAFETY: the descriptor is open, and fallocate takes no pointer.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: i64) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Takes the space by writing zeros.
fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let zeros = AlignedBuf::zeroed(ZEROS);
    let mut at = 0;
    while at < bytes {
        let len = (bytes - at).min(ZEROS as u64);
        write_blocks(file, at, &zeros.bytes()[..len as usize])?;
        at += len;
    }
    Ok(())
}

/// Reads at least `needed` bytes of the `size` from `start`.
fn read(file: &File, start: u64, size: usize, needed: usize) -> io::Result<AlignedBuf> {
    let mut buf = AlignedBuf::zeroed(size);
    let mut have = 0;
    loop {
        // Either the file ends here, or the kernel gave less than it has: on from the last whole block until it says so.
        have = have / BLOCK * BLOCK;
        let more = match file.read_at(&mut buf.bytes_mut()[have..], start + have as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        have += more;
        if have >= needed {
            return Ok(buf);
        }
        if more < BLOCK {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn write(file: &Descriptor, offset: u64, bytes: &[u8]) -> io::Result<()> {
    write_blocks(&file.file, offset, bytes)?;
    match file.sync_each {
        true => file.file.sync_data(),
        false => Ok(()),
    }
}

/// Writes all of it; a short write goes on from its last whole block.
fn write_blocks(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let written = match file.write_at(&bytes[done..], offset + done as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let whole = written / BLOCK * BLOCK;
        if whole == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        done += whole;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_system_cannot_allocate_is_filled_with_zeros() {
        let dir = tempfile::tempdir().expect("a directory");
        for direct in [false, true] {
            let path = dir.path().join(direct.to_string());
            let file = File::create_new(&path).expect("a file");
            if direct {
                make_direct(&file).expect("asked for");
            }
            let bytes = (2 * ZEROS + 3 * BLOCK) as u64;
            fill(&file, bytes).expect("filled");
            let content = fs::read(&path).expect("there");
            assert!(content.len() as u64 == bytes && content.iter().all(|byte| *byte == 0));
        }
    }
}
