//! The socket on which a running store tells its figures and takes what is asked of it: `statistics.sock` in its directory, for
//! `scrollback status`, `top`, `stats`, `compact`, `flush`, `snapshot`, `compaction-stats` and `disk-usage`, and whatever reads
//! Prometheus' text format.
//!
//! 1. Whoever connects sends one line, of 512 bytes at most: a [`Request`], or nothing. Who sends an empty line, ends its side, or is
//!    silent for a fifth of a second, is sent the [figures](crate::prometheus), after a heading, and the connection is closed.
//! 2. To a request the answer is a heading, lines of JSON, and at last `ok`, or `error` and a sentence. What takes long says `begun` first,
//!    and each second how far it is. It goes on if the peer goes away.
//!
//! A thread waits for peers, and each has a thread of its own, [`PEERS_MAX`] at most, that asks the shards by message: no shard and no
//! other peer waits for one. A peer that does not take what it is sent is left after a second, or ten if it takes it drop by drop. The socket is for the user who runs the
//! store alone, and goes when the store closes; one that a kill has left is replaced.

use crate::compactions::{CompactionRecord, ShardCompactions};
use crate::disk_usage::TableUsage;
use crate::error::{Error, Result};
use crate::json::Object;
use crate::snapshot::Snapshot;
use crate::stats::{ShardStatistics, prometheus};
use crate::store::{Store, WeakStore};
use std::fmt;
use std::fs::{self, File, Permissions};
use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The socket's name in the store's directory.
pub const STATISTICS_SOCKET: &str = "statistics.sock";
/// The first line of what it tells.
const HEADING: &str = "# scrollback statistics 1\n";
/// Longer names of sockets are taken by no system.
const NAME_MAX: usize = 100;
/// No answer is longer, bytes: 64 shards tell 2 MB.
const ANSWER_MAX: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(1);
/// The first line of an answer to a request.
const ANSWER: &str = "# scrollback answer 1\n";
/// No request is longer.
const REQUEST_BYTES_MAX: usize = 512;
/// Who has sent nothing for so long wants the figures.
const SILENCE: Duration = Duration::from_millis(200);
/// Peers that are served at a time; further ones wait.
const PEERS_MAX: usize = 16;
/// Things that are done at a time for peers, whether they are still there or not.
const WORKS_MAX: usize = 8;
/// What a peer is sent at once: it is all taken, or refused within a second.
const PART_BYTES: usize = 16 << 10;
const PEER_STACK_BYTES: usize = 512 << 10;

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
        let store = Arc::new(store);
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
fn serve(listener: &UnixListener, store: &Arc<WeakStore>, stop: &AtomicBool) {
    let (peers, works) = (Slots::new(PEERS_MAX), Slots::new(WORKS_MAX));
    for peer in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let Ok(mut peer) = peer else {
            // Out of descriptors, mostly: not for ever.
            thread::sleep(PATIENCE / 10);
            continue;
        };
        // Those before it have done within seconds, but for a few.
        let slot = loop {
            match peers.take() {
                Some(slot) => break slot,
                None if stop.load(Ordering::Acquire) => return,
                None => thread::sleep(PATIENCE / 50),
            }
        };
        let (store, works) = (Arc::clone(store), works.clone());
        let answer = move || {
            let _slot = slot;
            // A peer that has gone, or is slow, is no trouble of ours.
            let _not_taken = answer(&mut peer, &store, &works);
        };
        let thread = thread::Builder::new().name("scrollback-peer".to_owned());
        // Without a thread the peer is let go.
        drop(thread.stack_size(PEER_STACK_BYTES).spawn(answer));
    }
}

/// So many may do something at a time.
#[derive(Clone)]
struct Slots {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// Room for one, until it is dropped.
struct Slot(Arc<AtomicUsize>);

impl Slots {
    fn new(most: usize) -> Slots {
        let taken = Arc::default();
        Slots { taken, most }
    }

    fn take(&self) -> Option<Slot> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.is_ok().then(|| Slot(Arc::clone(&self.taken)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What can be asked of a running store beside its figures.
///
/// [`ask`] asks it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Request {
    /// [`Store::compact`], of this table (`keyspace.table`) or of all.
    Compact {
        /// The table.
        table: Option<String>,
    },
    /// [`Store::flush`].
    Flush,
    /// [`Store::compactions`]: a line for each shard.
    Compactions,
    /// [`Store::disk_usage`]: a line for each table.
    DiskUsage,
    /// [`Store::snapshot`]: a line that says where it is, and how large.
    Snapshot {
        /// Its name.
        name: String,
    },
    /// That it runs, for how long, how much it has, and what was [announced](Store::announce): one line.
    Status,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Compact { table: None } => f.write_str("compact"),
            Request::Compact { table: Some(table) } => write!(f, "compact {table}"),
            Request::Flush => f.write_str("flush"),
            Request::Compactions => f.write_str("compactions"),
            Request::DiskUsage => f.write_str("disk-usage"),
            Request::Snapshot { name } => write!(f, "snapshot {name}"),
            Request::Status => f.write_str("status"),
        }
    }
}

impl Request {
    fn parse(line: &str) -> Option<Request> {
        Some(match line.split_once(' ') {
            Some(("compact", table)) => Request::Compact {
                table: Some(table.to_owned()),
            },
            Some(("snapshot", name)) => Request::Snapshot { name: name.to_owned() },
            None if line == "status" => Request::Status,
            None if line == "compact" => Request::Compact { table: None },
            None if line == "flush" => Request::Flush,
            None if line == "compactions" => Request::Compactions,
            None if line == "disk-usage" => Request::DiskUsage,
            _ => return None,
        })
    }
}

/// The line that a peer sends; empty: it wants the figures.
#[expect(clippy::disallowed_methods, reason = "a thread of its own")]
fn request(peer: &mut UnixStream) -> io::Result<std::result::Result<String, String>> {
    let mut line = Vec::new();
    let mut part = [0; 128];
    let asked = Instant::now();
    loop {
        let patience = if line.is_empty() { SILENCE } else { PATIENCE };
        let left = patience.saturating_sub(asked.elapsed()).max(Duration::from_millis(1));
        peer.set_read_timeout(Some(left))?;
        match peer.read(&mut part) {
            Ok(0) => break,
            Ok(len) => line.extend_from_slice(&part[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It is silent.
            Err(error) if line.is_empty() && is_timeout(&error) => break,
            Err(error) => return Err(error),
        }
        if line.contains(&b'\n') {
            break;
        }
        if line.len() > REQUEST_BYTES_MAX {
            return Ok(Err(format!("a request is no longer than {REQUEST_BYTES_MAX} bytes")));
        }
        if asked.elapsed() > PATIENCE {
            return Ok(Err("the request does not end".to_owned()));
        }
    }
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(line).map(|line| line.trim().to_owned());
    Ok(text.map_err(|_| "a request is text".to_owned()))
}

/// Sends a peer something, for as long as it takes it.
#[expect(clippy::disallowed_methods, reason = "a thread of its own")]
fn send(peer: &mut UnixStream, text: &str) -> io::Result<()> {
    let began = Instant::now();
    for part in text.as_bytes().chunks(PART_BYTES) {
        peer.write_all(part)?;
        if began.elapsed() > 10 * PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Answers a peer.
fn answer(peer: &mut UnixStream, store: &WeakStore, works: &Slots) -> io::Result<()> {
    peer.set_write_timeout(Some(PATIENCE))?;
    let line = match request(peer)? {
        Ok(line) if line.is_empty() => {
            let Some(open) = store.upgrade() else { return Ok(()) };
            let told = runtime::block_on(open.statistics());
            drop(open);
            let Ok(shards) = told else { return Ok(()) };
            return send(peer, &(HEADING.to_owned() + &prometheus(&shards)));
        }
        line => line,
    };
    let wrong = |line: String| {
        Request::parse(&line).ok_or_else(|| {
            format!("there is no request {line:?}; there are status, compact [KEYSPACE.TABLE], flush, snapshot NAME, compactions, disk-usage")
        })
    };
    let request = match line.and_then(wrong) {
        Ok(request) => request,
        Err(what) => return send(peer, &format!("{ANSWER}error {what}\n")),
    };
    send(peer, ANSWER)?;
    let end = match carry_out(peer, store, works, request)? {
        Ok(()) => "ok\n".to_owned(),
        // One line, whatever is in it.
        Err(error) => format!("error {}\n", error.to_string().replace('\n', " ")),
    };
    send(peer, &end)
}

/// Does what is asked, and tells its lines.
fn carry_out(peer: &mut UnixStream, store: &WeakStore, works: &Slots, request: Request) -> io::Result<Result<()>> {
    let Some(open) = store.upgrade() else {
        return Ok(Err(Error::Closed));
    };
    match request {
        Request::Compactions => {
            let told = runtime::block_on(open.compactions());
            drop(open);
            told.map_or_else(
                |error| Ok(Err(error)),
                |shards| tell(peer, shards.iter().map(ShardCompactions::to_json)),
            )
        }
        Request::DiskUsage => {
            let usage = async move { open.disk_usage().await };
            match work(peer, works, usage, || None)? {
                Ok(tables) => tell(peer, tables.iter().map(TableUsage::to_json)),
                Err(error) => Ok(Err(error)),
            }
        }
        Request::Flush => {
            let flush = async move { open.flush().await };
            work(peer, works, flush, || None)
        }
        Request::Snapshot { name } => {
            let snapshot = async move { open.snapshot(&name).await };
            let line = |made: Snapshot| {
                let object = Object::new().text("snapshot", &made.path.display().to_string());
                object.number("files", made.files).number("bytes", made.bytes).end()
            };
            match work(peer, works, snapshot, || None)? {
                Ok(made) => tell(peer, std::iter::once(line(made))),
                Err(error) => Ok(Err(error)),
            }
        }
        Request::Status => {
            let told = status(&open);
            drop(open);
            told.map_or_else(|error| Ok(Err(error)), |line| tell(peer, std::iter::once(line)))
        }
        Request::Compact { table } => {
            let table = match table.map(|name| open.table_called(&name)).transpose() {
                Ok(table) => table.map(|table| table.id),
                Err(error) => return Ok(Err(error)),
            };
            let compact = open.compact(table);
            drop(open);
            work(peer, works, compact, || progress(store))
        }
    }
}

/// That a store runs, as one line.
fn status(store: &Store) -> Result<String> {
    let shards = runtime::block_on(store.statistics())?;
    let sum = |of: fn(&ShardStatistics) -> u64| shards.iter().map(of).sum::<u64>();
    let object = Object::new()
        .text("version", env!("CARGO_PKG_VERSION"))
        .number("pid", std::process::id())
        .number("uptime_s", store.opened_at().elapsed().as_secs())
        .number("shards", shards.len() as u64)
        .number("tables", store.tables().len() as u64)
        .number("sstables", sum(|of| of.sstables))
        .number("sstable_bytes", sum(|of| of.sstable_bytes))
        .number("memtable_bytes", sum(|of| of.memtable_bytes))
        .number("log_bytes", sum(|of| of.log_bytes));
    let announced = store.announced().into_iter();
    Ok(announced
        .fold(object, |object, (name, value)| object.text(name, &value))
        .end())
}

/// How far compactions are, as one line.
fn progress(store: &WeakStore) -> Option<String> {
    let shards = runtime::block_on(store.upgrade()?.compactions()).ok()?;
    let running = shards.iter().filter_map(|shard| shard.running.as_ref());
    let asked: usize = shards.iter().map(|shard| shard.asked.len()).sum();
    let object = Object::new().number("asked", asked as u64);
    Some(object.list("running", running.map(CompactionRecord::to_json)).end())
}

fn tell(peer: &mut UnixStream, lines: impl Iterator<Item = String>) -> io::Result<Result<()>> {
    for line in lines {
        send(peer, &(line + "\n"))?;
    }
    Ok(Ok(()))
}

/// Does something that may take long, and tells the peer each second that it goes on. It does so whether or not the peer is still there.
fn work<T: Send + 'static>(
    peer: &mut UnixStream,
    works: &Slots,
    work: impl Future<Output = Result<T>> + Send + 'static,
    progress: impl Fn() -> Option<String>,
) -> io::Result<Result<T>> {
    let Some(slot) = works.take() else {
        return Ok(Err(Error::Overloaded {
            what: format!("{WORKS_MAX} things that were asked for are still being done; try again"),
        }));
    };
    let (end, ended) = mpsc::channel();
    let work = move || {
        let _slot = slot;
        // Nobody may be there to be told.
        drop(end.send(runtime::block_on(work)));
    };
    let thread = thread::Builder::new().name("scrollback-work".to_owned());
    thread.stack_size(PEER_STACK_BYTES).spawn(work)?;
    send(peer, "begun\n")?;
    loop {
        match ended.recv_timeout(PATIENCE) {
            Ok(end) => return Ok(end),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(Err(Error::Closed)),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let line = progress().unwrap_or_else(|| "{}".to_owned());
                send(peer, &(line + "\n"))?;
            }
        }
    }
}

/// Connects to the running store in `dir`; `None`: none runs there.
fn connect(dir: &Path) -> io::Result<Option<UnixStream>> {
    let connect = || {
        let Name(short, _through) = name(dir)?;
        UnixStream::connect(short)
    };
    match connect() {
        Ok(peer) => Ok(Some(peer)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks something of the store that runs in `dir`; `None`: none runs there. `take` is given each line of JSON that it tells, and `begun`,
/// if it takes long, and says whether to go on listening: what was asked for goes on in any case. Blocks the calling thread until the
/// store has done it, or does not answer for 10 s.
///
/// ```no_run
/// use scrollback_engine::{Request, ask};
///
/// let usage = ask("./store".as_ref(), &Request::DiskUsage, |line| {
///     println!("{line}");
///     true
/// })?;
/// assert!(usage.is_some(), "no store runs there");
/// # Ok::<(), scrollback_engine::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`]: the store does not answer. [`Error::Refused`]: it does not do it, and says why; or what answers is no store of this
/// version. [`Error::Closed`]: it was closed meanwhile.
pub fn ask(dir: &Path, request: &Request, mut take: impl FnMut(&str) -> bool) -> Result<Option<()>> {
    let path = dir.join(STATISTICS_SOCKET);
    let failed = |source: io::Error| {
        let source = match is_timeout(&source) {
            true => io::Error::new(
                io::ErrorKind::TimedOut,
                "nobody answers; if no store runs there, remove this file",
            ),
            false => source,
        };
        Error::Io {
            op: "ask the running store on",
            path: path.clone(),
            offset: 0,
            source: Arc::new(source),
        }
    };
    let Some(mut peer) = connect(dir).map_err(failed)? else {
        return Ok(None);
    };
    peer.set_read_timeout(Some(10 * PATIENCE)).map_err(failed)?;
    if peer.write_all(format!("{request}\n").as_bytes()).is_err() {
        // It closes.
        return Ok(None);
    }
    let mut lines = BufReader::new(peer.take(ANSWER_MAX));
    let mut line = String::new();
    let mut is_first = true;
    loop {
        line.clear();
        match lines.read_line(&mut line) {
            // It closes.
            Ok(0) if is_first => return Ok(None),
            Err(error) if is_first && error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) if is_timeout(&error) => return Err(failed(error)),
            Ok(0) | Err(_) => return Err(Error::Closed),
            Ok(_) => {}
        }
        if is_first {
            if line != ANSWER {
                return Err(Error::Refused {
                    what: format!("what answers on {} is no store of this version", path.display()),
                });
            }
            is_first = false;
            continue;
        }
        match line.trim_end() {
            "ok" => return Ok(Some(())),
            told => match told.strip_prefix("error ") {
                Some(what) => return Err(Error::Refused { what: what.to_owned() }),
                None if !take(told) => return Ok(Some(())),
                None => {}
            },
        }
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
    let Some(mut peer) = connect(dir).map_err(failed)? else {
        return Ok(None);
    };
    if peer.write_all(b"\n").is_err() {
        // It closes.
        return Ok(None);
    }
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
