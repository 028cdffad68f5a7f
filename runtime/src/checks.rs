//! Checks at start, each failure one plain sentence for the operator.

use std::ffi::CStr;
use std::fs;
#[cfg(target_os = "linux")]
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::time::Duration;

use crate::aligned::AlignedBuf;
use crate::disk::BLOCK;
use crate::error::Error;
use crate::real::BodyKind;
use crate::threads::make_direct;

/// How the name of a file begins that [`startup`] makes and removes: one is left behind if the process is killed in between.
pub const PROBE_PREFIX: &str = ".direct-io-check-";
/// The oldest kernel on which io_uring was run.
#[cfg(target_os = "linux")]
const KERNEL_MIN: (u32, u32) = (5, 8);
/// From here on the rings themselves do not count as locked memory, and arenas that do not fit are not registered.
#[cfg(target_os = "linux")]
const RINGS_UNLOCKED: (u32, u32) = (5, 12);
/// Below this much locked memory no ring can be made.
const LOCKED_MIN: u64 = 512 << 10;
/// The smallest arena.
const ARENA_MIN: usize = 64 << 10;
/// The kernel counts an arena once for each ring of a shard.
const RINGS: u64 = 3;
/// What the rings themselves may take per shard.
const RINGS_BYTES: u64 = 256 << 10;
/// How often, every 10 ms, to ask again for locked memory: that of rings that were closed comes back a moment later.
#[cfg(target_os = "linux")]
pub(crate) const PATIENCE: u32 = 200;

/// What the checks found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// What the shards are to run on.
    pub body: BodyKind,
    /// If that is plain threads without having been asked for: why, and what is dearer. A line for the log.
    pub why_threads: Option<String>,
    /// Whether the directory's file system has direct I/O; io_uring needs it, plain threads use it.
    pub direct_io: bool,
    /// Locked memory that this process may have, in bytes; `None`: any amount.
    pub locked_memory_bytes: Option<u64>,
    /// The arena for direct I/O that each shard can have, in bytes, of the default 16 MiB. 0 on plain threads, which have none.
    pub io_memory_bytes: usize,
    /// Open files that this process may have.
    pub files_max: u64,
    /// Sentences worth a line in the log: nothing fails, but something is slower than it could be.
    pub notes: Vec<String>,
}

/// Checks that `shards` shards can run here with their data in `dir`, which is created if it is missing, and chooses what
/// they run on, unless `body` says it: io_uring, or plain threads where io_uring or direct I/O is not to be had.
///
/// Raises this process's soft limits of locked memory and open files as far as the hard limits allow.
///
/// # Errors
/// [`Error::Start`]: one plain sentence that says what is missing and what helps.
pub fn startup(dir: &Path, shards: usize, body: Option<BodyKind>) -> Result<Report, Error> {
    let (mut chosen, mut refused) = choose(shards, body)?;
    let files_max = open_files(shards)?;
    fs::create_dir_all(dir)
        .map_err(|error| Error::Start(format!("the directory {} can't be created: {error}", dir.display())))?;
    let direct_io = direct_io(dir)?;
    if !direct_io && chosen == BodyKind::Uring {
        let why = format!("the file system of {} has no direct I/O", dir.display());
        if body.is_some() {
            return Err(Error::Start(format!("{why}; use ext4 or xfs, for example")));
        }
        (chosen, refused) = (BodyKind::Threads, Some(why));
    }
    let mut notes = Vec::new();
    let (mut locked_memory_bytes, mut io_memory_bytes) = (None, 0);
    match chosen {
        BodyKind::Uring => {
            let memory = io_memory(shards, 16 << 20).map_err(Error::Start)?;
            (locked_memory_bytes, io_memory_bytes) = (memory.locked_bytes, memory.bytes_per_shard);
            if memory.bytes_per_shard < 16 << 20 {
                notes.push(format!(
                    "locked memory is limited to {} KiB, so each shard registers an I/O arena of {} KiB only; raise the limit (ulimit -l) for speed",
                    memory.locked_bytes.unwrap_or(u64::MAX) >> 10,
                    memory.bytes_per_shard >> 10
                ));
            }
        }
        BodyKind::Threads if !direct_io => notes.push(format!(
            "the file system of {} has no direct I/O, so its files also take memory of the kernel's cache",
            dir.display()
        )),
        BodyKind::Threads => {}
    }
    let why_threads = refused.map(|why| {
        format!(
            "{why}; the store runs on plain threads instead: the same promises, but every read and write is handed to \
             another thread, so what comes from disk takes about twice the CPU"
        )
    });
    Ok(Report {
        kernel: release(),
        body: chosen,
        why_threads,
        direct_io,
        locked_memory_bytes,
        io_memory_bytes,
        files_max,
        notes,
    })
}

/// What `shards` shards run on if `wanted` does not say it; and why not io_uring, if that was not asked for.
pub(crate) fn choose(shards: usize, wanted: Option<BodyKind>) -> Result<(BodyKind, Option<String>), Error> {
    if wanted == Some(BodyKind::Threads) {
        return Ok((BodyKind::Threads, None));
    }
    match uring_refused(shards) {
        None => Ok((BodyKind::Uring, None)),
        Some(why) if wanted == Some(BodyKind::Uring) => Err(Error::Start(why)),
        Some(why) => Ok((BodyKind::Threads, Some(why))),
    }
}

/// The release of the kernel.
fn release() -> String {
    let mut names = MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: `names` is writable; uname fills it entirely when it succeeds.
    let result = unsafe { libc::uname(names.as_mut_ptr()) };
    assert!(result == 0, "uname fails only for a bad address");
    // SAFETY: filled above.
    let names = unsafe { names.assume_init() };
    // SAFETY: the kernel ends each of the names with a zero byte.
    unsafe { CStr::from_ptr(names.release.as_ptr()) }
        .to_string_lossy()
        .into_owned()
}

/// Why io_uring is not to be had here.
#[cfg(not(target_os = "linux"))]
fn uring_refused(_: usize) -> Option<String> {
    Some("io_uring is a part of Linux, and this is another system".to_owned())
}

/// Why io_uring is not to be had here, by `shards` shards; `None`: it is.
#[cfg(target_os = "linux")]
fn uring_refused(shards: usize) -> Option<String> {
    let release = release();
    let version = version_of(&release);
    if let Some(version) = version
        && version < KERNEL_MIN
    {
        return Some(format!(
            "Linux {release} is too old: {}.{} or later is needed for io_uring",
            KERNEL_MIN.0, KERNEL_MIN.1
        ));
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
    if let Err(error) = result {
        return Some(match error.raw_os_error() {
            Some(libc::ENOSYS) => "this kernel was built without io_uring, or a sandbox hides it".to_owned(),
            Some(libc::EPERM | libc::EACCES) => {
                "io_uring is forbidden here: by the container's seccomp profile or by kernel.io_uring_disabled"
                    .to_owned()
            }
            Some(libc::ENOMEM) => {
                "there is not enough locked memory for io_uring; raise the limit (ulimit -l)".to_owned()
            }
            _ => format!("io_uring can't be set up: {error}"),
        });
    }
    let memory = match io_memory(shards, ARENA_MIN) {
        Ok(memory) => memory,
        Err(why) => return Some(why),
    };
    let needed = shards as u64 * (RINGS_BYTES + RINGS * ARENA_MIN as u64);
    match memory.locked_bytes {
        Some(limit) if version.is_some_and(|version| version < RINGS_UNLOCKED) && limit < needed => Some(format!(
            "locked memory is limited to {} KiB, {shards} shards need at least {} KiB for io_uring; raise the limit (ulimit -l)",
            limit >> 10,
            needed >> 10
        )),
        _ => None,
    }
}

/// Makes the smallest ring and closes it.
#[cfg(target_os = "linux")]
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

#[cfg(any(target_os = "linux", test))]
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
///
/// `Err`: why there is not enough for io_uring.
pub(crate) fn io_memory(shards: usize, wanted: usize) -> Result<IoMemory, String> {
    let limit = raise(libc::RLIMIT_MEMLOCK);
    if limit < LOCKED_MIN {
        return Err(format!(
            "locked memory is limited to {} KiB, at least {} KiB are needed for io_uring; raise the limit (ulimit -l)",
            limit >> 10,
            LOCKED_MIN >> 10
        ));
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

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = libc::c_int;

/// Raises a soft limit to its hard limit and returns what holds then.
fn raise(resource: Resource) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid and writable.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return 0;
    }
    // Apple's hard limit of open files is no limit, and may not be asked for.
    if cfg!(target_vendor = "apple") {
        limit.rlim_max = limit.rlim_max.min(10_240);
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

/// Writes one block into a file that is removed again, and says whether that can be done with direct I/O.
fn direct_io(dir: &Path) -> Result<bool, Error> {
    let path = dir.join(format!(
        "{PROBE_PREFIX}{}-{:016x}",
        std::process::id(),
        crate::random::os_u64()
    ));
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path);
    let result = opened.and_then(|file| {
        let block = AlignedBuf::zeroed(BLOCK);
        // Through the cache first: what fails here is not for want of direct I/O.
        file.write_all_at(block.bytes(), 0)?;
        if !make_direct(&file)? {
            return Ok(false);
        }
        match file.write_all_at(block.bytes(), 0) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(false),
            other => other.map(|()| true),
        }
    });
    let _ = fs::remove_file(&path);
    result.map_err(|error| {
        Error::Start(match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => {
                format!("there is no space left in {}; make room and try again", dir.display())
            }
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => format!(
                "the directory {} can't be written: {error}; a store needs one that it may write",
                dir.display()
            ),
            _ => format!("a file in {} can't be written: {error}", dir.display()),
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

/// The processors that this thread may run on; none where the system does not tell.
#[cfg(target_os = "linux")]
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

/// Keeps this thread on these processors, as far as the system lets it: it is only faster.
#[cfg(target_os = "linux")]
pub(crate) fn run_on(cpus: &[usize]) {
    if cpus.is_empty() {
        return;
    }
    // SAFETY: a set of no processors, which is valid, is all zeros.
    let mut set = unsafe { MaybeUninit::<libc::cpu_set_t>::zeroed().assume_init() };
    for cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the number is below the size of the set.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    // SAFETY: `set` is readable for the size given.
    let _ = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn cpus() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run_on(_: &[usize]) {}

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
