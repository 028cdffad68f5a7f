//! The log's face, and its tasks: two lanes that write groups, a housekeeper of segments, a clock.
//!
//! - **Lanes.** Each takes the next group, writes it, and reports it landed; so at most two are in flight, and the open group
//!   is sealed as soon as fewer are.
//! - **Housekeeper.** Keeps one spare segment ready: recycled from a released one, or made anew; closes full files; removes
//!   what is too much. Waits, and tries again, when the device is full.
//! - **Clock.** Group mode: writes the vouching record when the log goes quiet. Periodic mode: syncs.
//!
//! All run in class Request and are few steps of I/O; each ends when the log is closed or poisoned.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use runtime::disk;
use runtime::sync::{Mutex, Notify};
use runtime::time::{Instant, timeout};
use runtime::{Task, TaskClass};

use crate::LogPosition;
use crate::error::{AppendError, Error, Result};
use crate::format::{SegmentHeader, SegmentName};
use crate::group::Group;
use crate::options::{Options, SyncMode};
use crate::segments::{self, Failure};
use crate::state::{Phase, State, Vouching};
use crate::stats::LogStats;

/// First and longest wait before a segment is tried again on a full device.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// One shard's commit log; clones are the same log.
///
/// ```text
/// let position = log.append(&record)?;            // in the open group
/// while let Some(group) = log.next_group().await? // durable, in log order: apply, then acknowledge
/// log.release(flushed);                           // after the manifest says so
/// ```
///
/// One task must call [`next_group`](Self::next_group) all the time: what it has not taken counts against
/// [`Options::unsynced_bytes_max`]. [`close`](Self::close) it before its shard ends.
#[derive(Clone)]
pub struct Log(Rc<Inner>);

struct Inner {
    options: Options,
    state: RefCell<State>,
    /// For the lanes: there is something to write, or the log ends.
    work: Notify,
    /// For the housekeeper.
    house: Notify,
    /// For the clock.
    clock: Notify,
    /// For the one who takes groups.
    ready: Notify,
    /// For all who wait for durability, and for `close`.
    durable: Notify,
    /// For the first of those who wait for room.
    room: Notify,
    /// Those who wait for room, in order.
    room_turn: Mutex<()>,
    /// Ends the clock's sleep.
    stop: Notify,
    /// One `close` at a time.
    closing: Mutex<()>,
    tasks: RefCell<Vec<Task<()>>>,
    /// The name of the segment being prepared; kept over attempts, so that one id never has two names.
    preparing: Cell<Option<SegmentName>>,
}

impl Log {
    /// Opens a log that begins with the fresh segment `first_segment`; nothing is ever appended to an old one.
    ///
    /// `first_segment` is what [`replay`](crate::replay::replay) reported as `next_segment`, **after** the manifest's floor was
    /// raised to it: everything below is recycled.
    ///
    /// # Errors
    /// [`Error::Options`] for impossible options, or if a segment from `first_segment` on exists; [`Error::Io`], also if
    /// the device is full.
    /// # Panics
    /// Off-shard.
    pub async fn open(options: Options, first_segment: u64) -> Result<Log> {
        options.check()?;
        let dir = options.dir.clone();
        if !disk::exists(&dir).await? {
            disk::create_dir_all(&dir).await?;
        }
        if let Some(parent) = dir.parent() {
            // Always: an earlier start may have ended between making the folder and this.
            segments::sync_dir(parent)
                .await
                .map_err(|failure| Error::Io(failure.error))?;
        }
        let listing = segments::list(&dir).await?;
        for spare in listing.spares {
            disk::remove(&dir.join(spare)).await?;
        }
        let mut free = Vec::new();
        for (name, file_len) in listing.segments {
            if name.id >= first_segment {
                return Err(Error::Options(format!(
                    "commit log segment {name} is not older than {first_segment:016x}, where the log should begin: replay it"
                )));
            }
            if file_len == u64::from(options.segment_bytes) && free.len() < options.files_max() {
                free.push(name);
            } else {
                disk::remove(&segments::path(&dir, name)).await?;
            }
        }
        let header = new_header(&options, first_segment, first_segment);
        let dsync = options.sync == SyncMode::Group;
        let (first, created) = match free.pop() {
            Some(old) => (segments::recycle(&dir, old, &header, dsync).await, false),
            None => (segments::create(&dir, &header, dsync).await, true),
        };
        let first = first.map_err(|failure| Error::Io(failure.error))?;
        let mut state = State::new(options.clone(), first, free);
        count_segment(&mut state, created);
        let log = Log(Rc::new(Inner {
            options,
            state: RefCell::new(state),
            work: Notify::new(),
            house: Notify::new(),
            clock: Notify::new(),
            ready: Notify::new(),
            durable: Notify::new(),
            room: Notify::new(),
            room_turn: Mutex::new(()),
            stop: Notify::new(),
            closing: Mutex::new(()),
            tasks: RefCell::new(Vec::new()),
            preparing: Cell::new(None),
        }));
        let inner = || Rc::clone(&log.0);
        let tasks = vec![
            runtime::spawn(TaskClass::Request, "log lane", lane(inner())),
            runtime::spawn(TaskClass::Request, "log lane", lane(inner())),
            runtime::spawn(TaskClass::Request, "log segments", keep_house(inner())),
            match log.0.options.sync {
                SyncMode::Group => runtime::spawn(TaskClass::Request, "log clock", vouch_when_quiet(inner())),
                SyncMode::Periodic { period } => {
                    runtime::spawn(TaskClass::Request, "log clock", sync_periodically(inner(), period))
                }
            },
        ];
        log.0.tasks.replace(tasks);
        Ok(log)
    }

    /// Adds a record to the open group and returns the position of its end. Copies it once; no I/O, no await.
    ///
    /// # Errors
    /// [`AppendError::Full`]: await [`room`](Self::room). Others are final.
    pub fn append(&self, record: &[u8]) -> std::result::Result<LogPosition, AppendError> {
        let mut state = self.0.state.borrow_mut();
        let had_spare = state.spare.is_some();
        let position = state.append(record)?;
        let took_spare = had_spare && state.spare.is_none();
        let small = state.open_is_small();
        drop(state);
        if !small {
            self.0.work.notify_one();
        }
        if took_spare {
            self.0.house.notify_one();
        }
        Ok(position)
    }

    /// Waits until a record of `bytes` can be appended; whoever asked first is let through first. The append must follow
    /// without an await between, or the room may be gone: then it is `Full` again.
    ///
    /// # Errors
    /// The log is poisoned or closed. While the device is too full for a further segment it waits:
    /// [`blocked`](Self::blocked) says so.
    pub async fn room(&self, bytes: usize) -> Result<()> {
        let inner = &*self.0;
        let _waiting = Waiting::new(inner);
        let _turn = inner.room_turn.lock().await;
        loop {
            {
                let mut state = inner.state.borrow_mut();
                inner.usable(&state)?;
                if state.has_room(bytes.min(inner.options.record_bytes_max())) {
                    state.let_through = true;
                    return Ok(());
                }
            }
            inner.room.notified().await;
        }
    }

    /// The next durable group, strictly in log order; `None` when the log was closed and all were taken. For one consumer.
    ///
    /// In periodic mode a group stands for what one sync made durable; it has no records.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: nothing more is handed over, whatever was in flight. The outcome of those writes is unknown.
    pub async fn next_group(&self) -> Result<Option<Group>> {
        let inner = &*self.0;
        loop {
            {
                let mut state = inner.state.borrow_mut();
                if let Some(first) = &state.poison {
                    return Err(Error::Poisoned(Arc::clone(first)));
                }
                if let Some(group) = state.take_ready() {
                    drop(state);
                    inner.room.notify_one();
                    return Ok(Some(group));
                }
                if state.phase == Phase::Closed {
                    return Ok(None);
                }
            }
            inner.ready.notified().await;
        }
    }

    /// Everything below is durable.
    pub fn durable(&self) -> LogPosition {
        self.0.state.borrow().durable
    }

    /// The end of the last record appended.
    pub fn appended(&self) -> LogPosition {
        self.0.state.borrow().appended
    }

    /// Waits until everything below `position` is durable. In periodic mode the sync begins at once.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: it will never be known to be.
    /// # Panics
    /// If `position` lies behind [`appended`](Self::appended).
    pub async fn wait_durable(&self, position: LogPosition) -> Result<()> {
        let inner = &*self.0;
        loop {
            {
                let mut state = inner.state.borrow_mut();
                let end = state.appended.max(state.durable);
                assert!(position <= end, "waiting for {position}, but the log ends at {end}");
                if position <= state.durable {
                    return Ok(());
                }
                if let Some(first) = &state.poison {
                    return Err(Error::Poisoned(Arc::clone(first)));
                }
                state.sync_wanted = state.periodic();
            }
            inner.clock.notify_one();
            inner.durable.notified().await;
        }
    }

    /// Lets go of everything below a position: whole segments are used again. What is not durable yet is kept, until it is
    /// released again.
    ///
    /// Call it when all of it is in sstables, **and** the manifest says so and has durably raised the log's floor to
    /// `below.segment`.
    ///
    /// # Panics
    /// If `below` lies in a segment that nothing was appended to yet.
    pub fn release(&self, below: LogPosition) {
        self.0.state.borrow_mut().release(below);
        self.0.house.notify_one();
    }

    /// Bytes of segments in use: not released, the current one included.
    pub fn bytes_in_use(&self) -> u64 {
        self.0.state.borrow().held_count() as u64 * u64::from(self.0.options.segment_bytes)
    }

    /// If the log has grown past three quarters of its bound: flush the tables that pin positions below this one, then release.
    pub fn over_limit(&self) -> Option<LogPosition> {
        let state = self.0.state.borrow();
        let too_many = state
            .held_count()
            .checked_sub(self.0.options.held_max())
            .filter(|&n| n > 0)?;
        Some(LogPosition {
            segment: state.oldest_held() + too_many as u64,
            offset: 0,
        })
    }

    /// The id after the highest one in use: a floor for a manifest that has everything.
    pub fn next_segment(&self) -> u64 {
        self.0.state.borrow().next_segment
    }

    /// The first failure of a write or sync, if there was one.
    pub fn poisoned(&self) -> Option<Arc<Error>> {
        self.0.state.borrow().poison.clone()
    }

    /// Why there is no spare segment, while the device is full: appends wait until space returns.
    pub fn blocked(&self) -> Option<Arc<Error>> {
        self.0.state.borrow().spare_blocked.clone()
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> LogStats {
        self.0.state.borrow().stats
    }

    /// The settings it was opened with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Writes what is open, waits until it is durable, writes the last vouching record, ends all tasks and closes the files.
    /// Groups not yet taken can still be taken. Further calls wait for the first.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: what was not durable before the failure may be lost.
    pub async fn close(&self) -> Result<()> {
        let inner = &*self.0;
        let _turn = inner.closing.lock().await;
        if inner.state.borrow().phase != Phase::Closed {
            inner.state.borrow_mut().phase = Phase::Closing;
            inner.room.notify_all();
            inner.drain().await;
            inner.state.borrow_mut().phase = Phase::Closed;
            inner.wake_all();
        }
        loop {
            // Not all at once: a dropped `close` must leave the others to the next one.
            let Some(task) = inner.tasks.borrow_mut().pop() else {
                break;
            };
            task.await;
        }
        let files = inner.state.borrow_mut().take_files();
        let mut closed = Ok(());
        for file in files {
            let file = Rc::try_unwrap(file).expect("all that used the files have ended");
            closed = closed.and(file.close().await);
        }
        inner.not_poisoned(&inner.state.borrow())?;
        Ok(closed?)
    }
}

fn new_header(options: &Options, id: u64, oldest: u64) -> SegmentHeader {
    let name = SegmentName {
        id,
        salt: runtime::random::u64() as u32,
    };
    let Options {
        segment_bytes,
        shard,
        host_id,
        ..
    } = *options;
    SegmentHeader {
        name,
        oldest,
        segment_bytes,
        shard,
        host_id,
    }
}

fn count_segment(state: &mut State, created: bool) {
    if created {
        state.stats.segments_created += 1;
    } else {
        state.stats.segments_recycled += 1;
    }
}

/// One task in [`Log::room`].
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Self {
        let mut state = inner.state.borrow_mut();
        state.waiting += 1;
        state.stats.room_waits += 1;
        Waiting(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().waiting -= 1;
    }
}

impl Inner {
    fn not_poisoned(&self, state: &State) -> Result<()> {
        match &state.poison {
            Some(first) => Err(Error::Poisoned(Arc::clone(first))),
            None => Ok(()),
        }
    }

    fn usable(&self, state: &State) -> Result<()> {
        self.not_poisoned(state)?;
        if state.phase == Phase::Open {
            Ok(())
        } else {
            Err(Error::Closed)
        }
    }

    /// Whether the tasks should end.
    fn has_ended(&self) -> bool {
        let state = self.state.borrow();
        state.phase == Phase::Closed || state.poison.is_some()
    }

    /// Keeps the first failure and stops everything. Nothing is retried: after a failed sync a second one may succeed without
    /// having written what the first lost.
    fn poison(&self, error: Error) {
        {
            let mut state = self.state.borrow_mut();
            if state.phase == Phase::Closed {
                // All is durable, and nothing more will be: only a spare can have failed, and nobody needs it.
                return;
            }
            state.poison.get_or_insert_with(|| Arc::new(error));
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        for notify in [
            &self.work,
            &self.house,
            &self.clock,
            &self.ready,
            &self.durable,
            &self.room,
            &self.stop,
        ] {
            notify.notify_all();
            // Kept for who is not waiting at this moment: it must see the change too.
            notify.notify_one();
        }
    }

    /// Something has become durable.
    fn tell_durable(&self) {
        self.ready.notify_one();
        self.durable.notify_all();
        self.room.notify_one();
    }

    /// Waits until `reached`, or until the log is poisoned.
    async fn until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            {
                let state = self.state.borrow();
                if state.poison.is_some() || reached(&state) {
                    return;
                }
            }
            self.durable.notified().await;
        }
    }

    /// Closing: writes everything, makes it durable, and has the last word vouch for it.
    async fn drain(&self) {
        self.settle().await;
        {
            let mut state = self.state.borrow_mut();
            if state.needs_vouching() && state.vouching == Vouching::No {
                state.vouching = Vouching::Wanted;
            }
        }
        self.work.notify_one();
        self.until(|state| state.vouching != Vouching::Wanted).await;
        self.settle().await;
    }

    async fn settle(&self) {
        self.work.notify_one();
        self.until(State::is_idle).await;
        {
            let mut state = self.state.borrow_mut();
            state.sync_wanted = state.periodic();
        }
        self.clock.notify_one();
        self.until(|state| state.durable >= state.written).await;
    }
}

/// Writes one group after the other.
async fn lane(inner: Rc<Inner>) {
    loop {
        if inner.has_ended() {
            return;
        }
        let (next, decided) = {
            let mut state = inner.state.borrow_mut();
            let wanted = state.vouching == Vouching::Wanted;
            (state.next_write(), wanted && state.vouching != Vouching::Wanted)
        };
        if decided {
            // `drain` waits for it.
            inner.durable.notify_all();
        }
        let Some(write) = next else {
            inner.work.notified().await;
            continue;
        };
        let begun = Instant::now();
        let written = write.file.write(write.offset, write.buf).await;
        drop(write.file);
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Err(error) = written {
            inner.poison(error.into());
            return;
        }
        inner.state.borrow_mut().landed(write.number, took_us);
        inner.tell_durable();
        inner.clock.notify_one();
        // The other lane may have waited for this group, too.
        inner.work.notify_one();
        if !inner.state.borrow().retired.is_empty() {
            inner.house.notify_one();
        }
    }
}

/// Group mode: the vouching record when the log has gone quiet.
async fn vouch_when_quiet(inner: Rc<Inner>) {
    let quiet = inner.options.quiet;
    loop {
        let seen = loop {
            if inner.has_ended() {
                return;
            }
            {
                let state = inner.state.borrow();
                if state.needs_vouching() && state.vouching == Vouching::No {
                    break state.appended;
                }
            }
            inner.clock.notified().await;
        };
        if timeout(quiet, inner.stop.notified()).await.is_ok() {
            continue;
        }
        {
            let mut state = inner.state.borrow_mut();
            if state.appended != seen || !state.is_idle() || state.vouching != Vouching::No {
                continue;
            }
            state.vouching = Vouching::Wanted;
        }
        inner.work.notify_one();
        inner.clock.notified().await;
    }
}

/// Periodic mode: the syncs.
async fn sync_periodically(inner: Rc<Inner>, period: Duration) {
    loop {
        loop {
            if inner.has_ended() {
                return;
            }
            if inner.state.borrow().has_unsynced() {
                break;
            }
            inner.clock.notified().await;
        }
        let due = async {
            while !inner.has_ended() && !inner.state.borrow().sync_is_due() {
                inner.clock.notified().await;
            }
        };
        // Out of time is as good as due.
        let _ = timeout(period, due).await;
        let job = inner.state.borrow_mut().begin_sync();
        for file in &job.files {
            if let Err(error) = file.sync().await {
                inner.poison(error.into());
                return;
            }
        }
        {
            let mut state = inner.state.borrow_mut();
            if state.poison.is_some() {
                return;
            }
            state.synced(&job);
            if state.needs_vouching() && state.is_idle() && state.vouching == Vouching::No {
                state.vouching = Vouching::Wanted;
            }
        }
        drop(job);
        inner.tell_durable();
        inner.work.notify_one();
        inner.house.notify_one();
    }
}

/// What the housekeeper does next.
enum Chore {
    Recycle(SegmentName),
    Create,
    Remove(SegmentName),
    Nothing,
}

/// Keeps one spare segment ready, closes full files, removes superfluous ones.
async fn keep_house(inner: Rc<Inner>) {
    let dir = inner.options.dir.clone();
    let dsync = inner.options.sync == SyncMode::Group;
    let mut retry = RETRY_MIN;
    loop {
        if inner.has_ended() {
            return;
        }
        close_retired(&inner).await;
        let (chore, header) = {
            let mut state = inner.state.borrow_mut();
            let files_max = inner.options.files_max();
            let chore = if state.spare.is_some() {
                let superfluous = if state.file_count() > files_max {
                    state.free.pop()
                } else {
                    None
                };
                superfluous.map_or(Chore::Nothing, Chore::Remove)
            } else if let Some(old) = state.free.pop() {
                Chore::Recycle(old)
            } else if state.file_count() < files_max {
                Chore::Create
            } else {
                Chore::Nothing
            };
            let mut header = new_header(&inner.options, state.next_segment, state.oldest_held());
            header.name = inner.preparing.get().unwrap_or(header.name);
            (chore, header)
        };
        let (made, created) = match chore {
            Chore::Nothing => {
                inner.house.notified().await;
                continue;
            }
            Chore::Remove(name) => {
                if let Err(error) = disk::remove(&segments::path(&dir, name)).await {
                    inner.poison(error.into());
                }
                continue;
            }
            Chore::Recycle(old) => {
                inner.preparing.set(Some(header.name));
                (segments::recycle(&dir, old, &header, dsync).await, false)
            }
            Chore::Create => {
                inner.preparing.set(Some(header.name));
                (segments::create(&dir, &header, dsync).await, true)
            }
        };
        match made {
            Ok(spare) => {
                inner.preparing.set(None);
                retry = RETRY_MIN;
                {
                    let mut state = inner.state.borrow_mut();
                    state.put_spare(spare);
                    count_segment(&mut state, created);
                }
                inner.room.notify_one();
            }
            Err(Failure { error, retry: true }) => {
                inner.state.borrow_mut().spare_blocked = Some(Arc::new(error.into()));
                // A release brings a file that needs no space.
                let _ = timeout(retry, inner.house.notified()).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
            Err(Failure { error, retry: false }) => inner.poison(error.into()),
        }
    }
}

/// Closes the files of full segments whose last write is done.
async fn close_retired(inner: &Inner) {
    let retired = std::mem::take(&mut inner.state.borrow_mut().retired);
    for file in retired {
        match Rc::try_unwrap(file) {
            // All it held is synced: whatever closing says changes nothing.
            Ok(file) => drop(file.close().await),
            Err(file) => inner.state.borrow_mut().retired.push(file),
        }
    }
}
