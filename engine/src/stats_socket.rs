//! The socket on which a running store tells its figures: `statistics.sock` in its directory, for `scrollback top`, `scrollback
//! stats` and whatever reads Prometheus' text format.
//!
//! Whoever connects is sent the [figures](crate::prometheus) and the connection is closed; nothing is read from it. Peers are served
//! one after the other, by a thread of their own that asks the shards by message, so no shard waits for a peer. A peer that does not
//! take what it is sent is left after a second. The socket is for the user who runs the store alone, and goes when the store closes;
//! one that a kill has left is replaced.

use crate::error::{Error, Result};
use crate::stats::prometheus;
use crate::store::{Store, WeakStore};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The socket's name in the store's directory.
pub const STATISTICS_SOCKET: &str = "statistics.sock";
/// The first line of what it tells.
const HEADING: &str = "# scrollback statistics 1\n";
/// Longer names of sockets are taken by no system.
const NAME_MAX: usize = 100;
/// No answer is longer, bytes: 64 shards tell 2 MB.
const ANSWER_MAX: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket of an open store; it goes when this is dropped.
pub(crate) struct StatsSocket {
    dir: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A name of the socket that is short enough, and what it is good through.
struct Name(PathBuf, Option<File>);

#[expect(clippy::disallowed_methods, reason = "off the shards")]
fn name(dir: &Path) -> io::Result<Name> {
    let name = dir.join(STATISTICS_SOCKET);
    if name.as_os_str().len() <= NAME_MAX {
        return Ok(Name(name, None));
    }
    // Through the open directory; where the system has no such names, the long one is refused with its own words.
    let dir = File::open(dir)?;
    let through = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let name = if through.exists() {
        through.join(STATISTICS_SOCKET)
    } else {
        name
    };
    Ok(Name(name, Some(dir)))
}

#[expect(clippy::disallowed_methods, reason = "off the shards")]
impl StatsSocket {
    /// Opens the socket in `dir`, whose lock the caller has.
    pub(crate) fn open(dir: &Path, store: WeakStore) -> io::Result<StatsSocket> {
        let Name(path, through) = name(dir)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        drop(through);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = move || serve(&listener, &store, &stopped);
        let thread = thread::Builder::new()
            .name("scrollback-stats".to_owned())
            .spawn(serve)?;
        let (dir, thread) = (dir.to_owned(), Some(thread));
        Ok(StatsSocket { dir, stop, thread })
    }
}

#[expect(clippy::disallowed_methods, reason = "off the shards")]
impl Drop for StatsSocket {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let Ok(Name(path, _through)) = name(&self.dir) else {
            return;
        };
        // It wakes the thread, if that waits for a peer.
        let woken = UnixStream::connect(&path).is_ok();
        let _gone_already = fs::remove_file(&path);
        let Some(thread) = self.thread.take() else { return };
        // The thread itself may hold the last handle of the store.
        if woken && thread.thread().id() != thread::current().id() {
            let _panicked = thread.join();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own")]
fn serve(listener: &UnixListener, store: &WeakStore, stop: &AtomicBool) {
    for peer in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let Ok(mut peer) = peer else {
            // Out of descriptors, mostly: not for ever.
            thread::sleep(PATIENCE / 10);
            continue;
        };
        let Some(store) = store.upgrade() else { return };
        let told = runtime::block_on(store.statistics());
        drop(store);
        let Ok(shards) = told else { continue };
        let answer = HEADING.to_owned() + &prometheus(&shards);
        // A peer that has gone, or is slow, is no trouble of ours.
        let _not_taken = peer
            .set_write_timeout(Some(PATIENCE))
            .and_then(|()| peer.write_all(answer.as_bytes()));
    }
}

/// Asks the running store in `dir` for its figures, in Prometheus' text format; `None`: none runs there. Blocks the calling thread
/// for a few milliseconds, 10 s at most.
///
/// # Errors
/// [`Error::Io`]: the store does not answer. [`Error::Refused`]: what answers is no store of this version.
pub fn read_statistics(dir: &Path) -> Result<Option<String>> {
    let path = dir.join(STATISTICS_SOCKET);
    let failed = |source: io::Error| Error::Io {
        op: "ask for the figures on",
        path: path.clone(),
        offset: 0,
        source: Arc::new(source),
    };
    let connect = || {
        let Name(short, _through) = name(dir)?;
        UnixStream::connect(short)
    };
    let peer = match connect() {
        Ok(peer) => peer,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    peer.set_read_timeout(Some(10 * PATIENCE)).map_err(failed)?;
    let mut answer = String::new();
    peer.take(ANSWER_MAX).read_to_string(&mut answer).map_err(failed)?;
    if answer.is_empty() {
        // It closes.
        return Ok(None);
    }
    match answer.strip_prefix(HEADING) {
        Some(figures) => Ok(Some(figures.to_owned())),
        None => Err(Error::Refused {
            what: format!("what answers on {} is no store of this version", path.display()),
        }),
    }
}

impl Store {
    /// Has the store tell its figures on a socket in `dir`, unless that cannot be.
    pub(crate) fn open_socket(&self, dir: &Path) -> Option<StatsSocket> {
        StatsSocket::open(dir, self.downgrade())
            .inspect_err(|error| {
                let path = dir.join(STATISTICS_SOCKET);
                tracing::warn!(path = %path.display(), %error, "no socket for the figures of the store; it works all the same");
            })
            .ok()
    }
}
