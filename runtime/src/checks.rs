//! Checks at start, each failure one plain sentence for the operator.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::BLOCK;
use crate::error::Error;

/// How the name of a file begins that [`startup`] makes and removes: one is left behind if the process is killed in between.
pub const PROBE_PREFIX: &str = ".direct-io-check-";
/// The oldest kernel on which the real body was run.
const KERNEL_MIN: (u32, u32) = (5, 8);
/// Below this much locked memory no ring can be made.
const LOCKED_MIN: u64 = 512 << 10;
/// The smallest arena.
const ARENA_MIN: usize = 64 << 10;
/// The kernel counts an arena once for each ring of a shard.
const RINGS: u64 = 3;
/// What the rings themselves may take per shard.
const RINGS_BYTES: u64 = 256 << 10;
/// How often, every 10 ms, to ask again for locked memory: that of rings that were closed comes back a moment later.
pub(crate) const PATIENCE: u32 = 200;

/// What the checks found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// Locked memory that this process may have, in bytes; `None`: any amount.
    pub locked_memory_bytes: Option<u64>,
    /// The arena for direct I/O that each shard can have, in bytes, of the default 16 MiB.
    pub io_memory_bytes: usize,
    /// Open files that this process may have.
    pub files_max: u64,
    /// Sentences worth a line in the log: nothing fails, but something is slower than it could be.
    pub notes: Vec<String>,
}

/// Checks that `shards` shards can run here with their data in `dir`, which is created if it is missing.
///
/// Raises this process's soft limits of locked memory and open files as far as the hard limits allow.
///
/// # Errors
/// [`Error::Start`]: one plain sentence that says what is missing and what helps.
pub fn startup(dir: &Path, shards: usize) -> Result<Report, Error> {
    let kernel = kernel()?;
    let memory = io_memory(shards, 16 << 20)?;
    let files_max = open_files(shards)?;
    fs::create_dir_all(dir)
        .map_err(|error| Error::Start(format!("the directory {} can't be created: {error}", dir.display())))?;
    direct_io(dir)?;
    let mut notes = Vec::new();
    if memory.bytes_per_shard < 16 << 20 {
        notes.push(format!(
            "locked memory is limited to {} KiB, so each shard registers an I/O arena of {} KiB only; raise the limit (ulimit -l) for speed",
            memory.locked_bytes.unwrap_or(u64::MAX) >> 10,
            memory.bytes_per_shard >> 10
        ));
    }
    Ok(Report {
        kernel,
        locked_memory_bytes: memory.locked_bytes,
        io_memory_bytes: memory.bytes_per_shard,
        files_max,
        notes,
    })
}

/// The release of the kernel, if it has io_uring and lets us use it.
pub(crate) fn kernel() -> Result<String, Error> {
    let mut names = MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: `names` is writable; uname fills it entirely when it succeeds.
    let result = unsafe { libc::uname(names.as_mut_ptr()) };
    assert!(result == 0, "uname fails only for a bad address");
    // SAFETY: filled above.
    let names = unsafe { names.assume_init() };
    // SAFETY: the kernel ends each of the names with a zero byte.
    let release = unsafe { CStr::from_ptr(names.release.as_ptr()) }
        .to_string_lossy()
        .into_owned();
    if let Some(version) = version_of(&release)
        && version < KERNEL_MIN
    {
        return Err(Error::Start(format!(
            "Linux {release} is too old: {}.{} or later is needed for io_uring",
            KERNEL_MIN.0, KERNEL_MIN.1
        )));
    }
    let mut result = try_a_ring();
    for _ in 0..PATIENCE {
        if !result
            .as_ref()
            .is_err_and(|error| error.raw_os_error() == Some(libc::ENOMEM))
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        result = try_a_ring();
    }
    let Err(error) = result else { return Ok(release) };
    Err(Error::Start(match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel was built without io_uring, or a sandbox hides it".to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: by the container's seccomp profile or by kernel.io_uring_disabled".to_owned()
        }
        Some(libc::ENOMEM) => "there is not enough locked memory for io_uring; raise the limit (ulimit -l)".to_owned(),
        _ => format!("io_uring can't be set up: {error}"),
    }))
}

/// Makes the smallest ring and closes it.
fn try_a_ring() -> io::Result<()> {
    // The structure io_uring_params has 120 bytes, and zeros ask for nothing special.
    let mut params = [0u64; 15];
    // SAFETY: the kernel reads and writes the 120 bytes of `params`.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1u32, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is ours and used nowhere else.
    unsafe { libc::close(fd as libc::c_int) };
    Ok(())
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The arenas that fit into the locked memory.
pub(crate) struct IoMemory {
    pub(crate) locked_bytes: Option<u64>,
    pub(crate) bytes_per_shard: usize,
}

/// Raises the limit of locked memory and shares it out: at most `wanted` bytes a shard.
pub(crate) fn io_memory(shards: usize, wanted: usize) -> Result<IoMemory, Error> {
    let limit = raise(libc::RLIMIT_MEMLOCK);
    if limit < LOCKED_MIN {
        return Err(Error::Start(format!(
            "locked memory is limited to {} KiB, at least {} KiB are needed; raise the limit (ulimit -l)",
            limit >> 10,
            LOCKED_MIN >> 10
        )));
    }
    let wanted = wanted.max(ARENA_MIN);
    if limit == libc::RLIM_INFINITY || may_lock_any_amount() {
        return Ok(IoMemory {
            locked_bytes: None,
            bytes_per_shard: wanted,
        });
    }
    Ok(IoMemory {
        locked_bytes: Some(limit),
        bytes_per_shard: arena(limit, shards, wanted),
    })
}

/// The largest power of two that fits for every shard, at most `wanted`.
fn arena(limit: u64, shards: usize, wanted: usize) -> usize {
    let shards = shards.max(1) as u64;
    let share = limit.saturating_sub(RINGS_BYTES * shards) / (RINGS * shards);
    let share = usize::try_from(share).unwrap_or(usize::MAX);
    if share >= wanted {
        return wanted;
    }
    // Below the smallest arena glommio goes on without registering it.
    if share < ARENA_MIN {
        ARENA_MIN
    } else {
        1 << share.ilog2()
    }
}

/// Whether the process has CAP_IPC_LOCK, to which the limit does not apply.
fn may_lock_any_amount() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|capabilities| capabilities & (1 << CAP_IPC_LOCK) != 0)
}

/// Raises a soft limit to its hard limit and returns what holds then.
fn raise(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid and writable.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return 0;
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        // SAFETY: `raised` is valid.
        if unsafe { libc::setrlimit(resource, &raw const raised) } == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}

fn open_files(shards: usize) -> Result<u64, Error> {
    let limit = raise(libc::RLIMIT_NOFILE);
    let needed = 64 + 64 * shards as u64;
    if limit < needed {
        return Err(Error::Start(format!(
            "only {limit} open files are allowed, {shards} shards need at least {needed}; raise the limit (ulimit -n)"
        )));
    }
    Ok(limit)
}

/// A block of zeros at an aligned address.
#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// Writes one block with direct I/O into a file that is removed again.
fn direct_io(dir: &Path) -> Result<(), Error> {
    let path = dir.join(format!(
        "{PROBE_PREFIX}{}-{:016x}",
        std::process::id(),
        crate::random::os_u64()
    ));
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_DIRECT | libc::O_CLOEXEC)
        .open(&path);
    let result = opened.and_then(|file| {
        let block = Box::new(Block([0; BLOCK]));
        file.write_all_at(&block.0, 0)
    });
    // A file system that refuses O_DIRECT may have created the file all the same.
    let _ = fs::remove_file(&path);
    result.map_err(|error| {
        Error::Start(match error.raw_os_error() {
            Some(libc::EINVAL | libc::EOPNOTSUPP) => {
                format!(
                    "the file system of {} has no direct I/O; use ext4 or xfs, for example",
                    dir.display()
                )
            }
            Some(libc::ENOSPC | libc::EDQUOT) => {
                format!("there is no space left in {}; make room and try again", dir.display())
            }
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => format!(
                "the directory {} can't be written: {error}; a store needs one that it may write",
                dir.display()
            ),
            _ => format!("direct I/O in {} fails: {error}", dir.display()),
        })
    })
}

/// Keeps other processes, and other stores of this one, out of a directory until it is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    /// The lock goes with the descriptor, however the process ends.
    _file: fs::File,
}

impl DirectoryLock {
    /// The lock's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Locks a directory by its file `LOCK`.
///
/// # Errors
/// [`Error::Start`]: it is locked already, or can't be written.
pub fn lock_directory(dir: &Path) -> Result<DirectoryLock, Error> {
    let path = dir.join("LOCK");
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = file.map_err(|error| {
        Error::Start(match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => format!(
                "the directory {} can't be written: {error}; a store needs one that it may write",
                dir.display()
            ),
            _ => format!("the lock {} can't be opened: {error}", path.display()),
        })
    })?;
    match file.try_lock() {
        Ok(()) => Ok(DirectoryLock { path, _file: file }),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Start(format!(
            "the directory {} is in use by another process; end that one first, or name another directory",
            dir.display()
        ))),
        Err(fs::TryLockError::Error(error)) => Err(Error::Start(format!(
            "the directory {} can't be locked: {error}",
            dir.display()
        ))),
    }
}

/// The processors that this process may run on.
pub(crate) fn cpus() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: `set` is writable for the size given.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: zeroed at first, then filled by the kernel; every bit pattern is valid.
    let set = unsafe { set.assume_init() };
    // SAFETY: the numbers are below the size of the set.
    (0..libc::CPU_SETSIZE as usize)
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arenas_are_shared_out() {
        assert_eq!(arena(8 << 20, 2, 16 << 20), 1 << 20);
        assert_eq!(arena(8 << 20, 1, 16 << 20), 2 << 20);
        assert_eq!(arena(1 << 30, 2, 16 << 20), 16 << 20);
        assert_eq!(arena(512 << 10, 64, 16 << 20), ARENA_MIN);
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(version_of("6.18.44-generic"), Some((6, 18)));
        assert_eq!(version_of("5.4.0"), Some((5, 4)));
        assert_eq!(version_of("nonsense"), None);
    }
}
