//! The life of a write on its shard (DESIGN §5):
//!
//! 1. *Admission*: room in the shard's memory and log, or a wait of at most `admission_timeout`, or what the caller gives, in a
//!    fair queue, or [`Error::Overloaded`].
//! 2. *Log*: the mutation's bytes are copied once, into the open group.
//! 3. *Apply*: when the group's synchronous write is done, its records go to the memtables in log order, so that no reader
//!    sees what a crash could take back. In periodic mode this happens at once.
//! 4. *Acknowledge*: in log order, after the apply.

use super::applied::WaitApplied;
use super::space::Shortage;
use super::{Shard, WAITING_WRITERS_MAX, add, micros};
use crate::config::SyncMode;
use crate::error::{Error, Result};
use commitlog::{AppendError, LogPosition};
use model::{KEY_BYTES_MAX, Mutation, MutationRef, TableId};
use runtime::sync::Pass;
use runtime::time::Instant;
use runtime::{Break, ShardId};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Applying this many records of one group, the task looks at the clock.
const RECORDS_PER_BREATH: usize = 8;

/// A write that is in the log. Resolves when it is durable (in periodic mode: at once) and every read sees it.
///
/// # Errors
/// [`Error::OutcomeUnknown`]: reopen and look.
///
/// # Cancellation
/// Dropping it leaves the write under way: its outcome is then unknown to the caller.
#[must_use = "a write is acknowledged when this resolves"]
pub struct Applying {
    shard: Rc<Shard>,
    wait: Option<WaitApplied>,
    started: Instant,
}

impl Future for Applying {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let written = match &mut self.wait {
            Some(wait) => ready!(Pin::new(wait).poll(context)),
            None => Ok(()),
        };
        let taken = micros(self.started.elapsed());
        self.shard.write_us.borrow_mut().add(taken);
        Poll::Ready(written)
    }
}

/// Refuses a partition key that no table has.
pub(super) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a partition key of {} bytes; at most {KEY_BYTES_MAX} are allowed",
            key.len()
        )));
    }
    Ok(())
}

impl Shard {
    /// Writes a mutation; when this returns it is durable (in periodic mode: logged) and every read sees it. Goes to the
    /// owner shard by itself.
    ///
    /// # Errors
    /// [`Error::Overloaded`]: nothing was written. [`Error::Invalid`]. [`Error::OutcomeUnknown`]: reopen and look.
    ///
    /// # Cancellation
    /// Dropped before its record is in the log, nothing is written; afterwards the write goes on and its outcome is
    /// unknown to the caller.
    pub async fn apply(self: &Rc<Self>, mutation: Mutation) -> Result<()> {
        self.apply_within(mutation, self.config.admission_timeout).await
    }

    /// As [`apply`](Self::apply), but it waits for room for at most `within`. Once there is room, the write takes as long as it
    /// takes.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    ///
    /// # Cancellation
    /// As [`apply`](Self::apply).
    pub async fn apply_within(self: &Rc<Self>, mutation: Mutation, within: Duration) -> Result<()> {
        let owner = self.owner(mutation.as_ref().token());
        if owner == self.id {
            return self.apply_here(&mutation, within).await;
        }
        let apply = move |shard: Rc<Shard>| async move { shard.apply_here(&mutation, within).await };
        crate::store::on_shard(owner, apply).await?
    }

    /// Writes mutations of one shard, in their order, and waits for the last: together they cost the log one or few
    /// groups. They are not atomic together.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), for the first that fails; those before it are written.
    ///
    /// # Cancellation
    /// As of [`apply`](Self::apply), for each of them.
    pub async fn apply_all(self: &Rc<Self>, mutations: Vec<Mutation>) -> Result<()> {
        let Some(first) = mutations.first() else {
            return Ok(());
        };
        let owner = self.owner(first.as_ref().token());
        if owner == self.id {
            return self.apply_all_here(&mutations).await;
        }
        crate::store::on_shard(
            owner,
            move |shard| async move { shard.apply_all_here(&mutations).await },
        )
        .await?
    }

    /// Writes mutations of the shard `owner`, each on its own, and gives what became of each, in their order: one message to the owner and
    /// one back for all.
    ///
    /// # Cancellation
    /// As of [`apply`](Self::apply), for each of them.
    pub async fn apply_each(self: &Rc<Self>, owner: ShardId, mutations: Vec<Mutation>) -> Vec<Result<()>> {
        let count = mutations.len();
        let apply = move |shard: Rc<Shard>| async move { shard.apply_each_here(mutations).await };
        match owner == self.id {
            true => apply(Rc::clone(self)).await,
            false => crate::store::on_shard(owner, apply)
                .await
                .unwrap_or_else(|error| vec![Err(error); count]),
        }
    }

    async fn apply_each_here(self: Rc<Self>, mutations: Vec<Mutation>) -> Vec<Result<()>> {
        let started = Instant::now();
        let mut begun = Vec::with_capacity(mutations.len());
        for mutation in &mutations {
            begun.push(self.begin(mutation, self.config.admission_timeout).await);
            runtime::breathe().await;
        }
        let mut written = Vec::with_capacity(begun.len());
        for begun in begun {
            let ended = match begun {
                Ok(Some(wait)) => wait.await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            self.write_us.borrow_mut().add(micros(started.elapsed()));
            written.push(ended);
        }
        written
    }

    pub(crate) async fn apply_all_here(self: &Rc<Self>, mutations: &[Mutation]) -> Result<()> {
        let mut last = None;
        for mutation in mutations {
            last = Some(self.begin(mutation, self.config.admission_timeout).await?);
            runtime::breathe().await;
        }
        match last.flatten() {
            Some(wait) => wait.await,
            None => Ok(()),
        }
    }

    pub(crate) async fn apply_here(self: &Rc<Self>, mutation: &Mutation, within: Duration) -> Result<()> {
        let started = Instant::now();
        let written = match self.begin(mutation, within).await? {
            Some(wait) => wait.await,
            None => Ok(()),
        };
        self.write_us.borrow_mut().add(micros(started.elapsed()));
        written
    }

    /// Begins to write a mutation of this shard if nothing is in its way. `None`: nothing was begun, and [`apply`](Self::apply) does it,
    /// or tells why not.
    pub fn apply_at_once(self: &Rc<Self>, mutation: &Mutation) -> Option<Applying> {
        if self.owner(mutation.as_ref().token()) != self.id {
            return None;
        }
        let started = Instant::now();
        let _pass = self.admit(mutation).ok()?;
        let position = self.append_at_once(mutation.bytes()).ok()??;
        Some(Applying {
            wait: self.logged(mutation, position),
            shard: Rc::clone(self),
            started,
        })
    }

    /// Admits and logs a mutation. What it returns waits for the apply; `None` if it is applied already (periodic mode).
    async fn begin(self: &Rc<Self>, mutation: &Mutation, within: Duration) -> Result<Option<WaitApplied>> {
        let _pass = self.admit(mutation)?;
        let appended = match self.append_at_once(mutation.bytes()) {
            Ok(None) => {
                let table = mutation.as_ref().table();
                self.append_in_turn(table, mutation.bytes(), within).await
            }
            Ok(Some(position)) => Ok(position),
            Err(error) => Err(error),
        };
        Ok(self.logged(mutation, self.count_refusal(appended)?))
    }

    /// Looks whether a mutation may be written at all. While the pass lives, the shard does not close.
    fn admit(&self, mutation: &Mutation) -> Result<Pass> {
        let view = mutation.as_ref();
        let bytes = mutation.bytes().len();
        let max = self.config.largest_mutation();
        if bytes > max {
            return Err(Error::invalid(format!(
                "a mutation of {bytes} bytes; the largest allowed is {max}"
            )));
        }
        check_key(view.key())?;
        assert_eq!(
            self.owner(view.token()),
            self.id,
            "a mutation reaches the shard that owns its partition"
        );
        self.table(view.table())?;
        self.writers.enter().ok_or(Error::Closed)
    }

    /// A record was appended to the log, and ends at `position`.
    fn logged(&self, mutation: &Mutation, position: LogPosition) -> Option<WaitApplied> {
        let view = mutation.as_ref();
        let bytes = mutation.bytes().len();
        self.pace.wrote(bytes);
        add(&self.counters.writes, 1);
        add(&self.counters.written_bytes, bytes as u64);
        self.hot.written(view.table(), view.token(), view.key(), bytes);
        let at_once = matches!(self.config.sync, SyncMode::Periodic { .. }) || runtime::broken(Break::ApplyBeforeSync);
        if at_once {
            self.apply_record(position, mutation.bytes());
            if matches!(self.config.sync, SyncMode::Periodic { .. }) {
                self.applied.advance(position);
                return None;
            }
        }
        self.reserved.set(self.reserved.get() + bytes);
        Some(self.applied.wait(position, view.min_timestamp()))
    }

    /// Counts what is refused because something is full.
    pub(super) fn count_refusal<T>(&self, result: Result<T>) -> Result<T> {
        let refused = matches!(result, Err(Error::Overloaded { .. }));
        add(&self.counters.overloaded, u64::from(refused));
        result
    }

    /// Logs a record if nobody waits and there is room for it.
    fn append_at_once(&self, record: &[u8]) -> Result<Option<LogPosition>> {
        self.check_writable()?;
        if self.waiting_writers.get() > 0 || self.is_full(record.len()) || self.pace.wait().is_some() {
            return Ok(None);
        }
        match self.log().append(record) {
            Err(AppendError::Full) => Ok(None),
            appended => Ok(Some(appended.map_err(refused)?)),
        }
    }

    /// Waits for room in memory and in the log behind all who wait already, so that no write overtakes another, and logs the
    /// record.
    async fn append_in_turn(&self, table: TableId, record: &[u8], within: Duration) -> Result<LogPosition> {
        if self.waiting_writers.get() >= WAITING_WRITERS_MAX {
            return Err(Error::Overloaded {
                what: format!(
                    "{WAITING_WRITERS_MAX} writers wait for room in the memtables and the log of shard {} already",
                    self.id.0
                ),
            });
        }
        let _waiting = Counted::enter(&self.waiting_writers);
        let wait = async {
            let _turn = self.admission.lock().await;
            let mut slowed = Slowed::default();
            loop {
                if self.is_full(record.len()) {
                    self.seal_for_room();
                    self.room.notified().await;
                } else if let Some(wait) = self.pace.wait() {
                    slowed.begin(&self.counters);
                    // Whatever changes is a reason to look again.
                    let _ended_early = runtime::time::timeout(wait, self.room.notified()).await;
                } else {
                    break;
                }
                self.check_writable()?;
            }
            drop(slowed);
            loop {
                self.check_writable()?;
                // It may have been dropped meanwhile.
                self.table(table)?;
                match self.log().append(record) {
                    Err(AppendError::Full) => self.log_room(record.len()).await?,
                    appended => return appended.map_err(refused),
                }
            }
        };
        let appended = runtime::time::timeout(within, wait).await;
        appended.unwrap_or_else(|_| {
            let trouble = self
                .flush_trouble
                .borrow()
                .as_ref()
                .map(|trouble| format!(", and flushes fail: {trouble}"));
            let what = match self.pace.rate() {
                rate if rate > 0 && !self.is_full(record.len()) => format!(
                    "writes of shard {} are slowed to {rate} bytes a second: {}",
                    self.id.0,
                    self.pace.reason()
                ),
                _ => format!(
                    "the memtables or the log of shard {} are full{}",
                    self.id.0,
                    trouble.unwrap_or_default()
                ),
            };
            Err(Error::Overloaded { what })
        })
    }

    /// Waits until the log has room again: for a sync, for a flush that releases segments, or for space on the device.
    async fn log_room(&self, bytes: usize) -> Result<()> {
        if let Some(below) = self.log().over_limit() {
            self.seal_pinning(below);
            // What was released may not have been told, for want of space.
            self.release_unpinned().await?;
        }
        if let Some(trouble) = self.log().blocked() {
            let what = match std::error::Error::source(&trouble) {
                Some(cause) => format!("the log of shard {} cannot grow: {cause}", self.id.0),
                None => format!("the log of shard {} cannot grow: {trouble}", self.id.0),
            };
            return Err(Error::Overloaded { what });
        }
        Ok(self.log().room(bytes).await?)
    }

    pub(super) fn is_full(&self, bytes: usize) -> bool {
        let used = self.memory.get() + self.reserved.get();
        // One mutation always fits an empty shard, however small its budget.
        used > 0 && used + bytes > 2 * self.config.memtable_bytes
    }

    /// Sees to it that room comes: the largest memtable is flushed, unless a flush is under way. A large record may find no
    /// room although no memtable has its full size.
    pub(super) fn seal_for_room(&self) {
        let tables = self.all_tables();
        if tables.iter().all(|table| table.sealed.borrow().is_empty())
            && let Some(largest) = tables.iter().max_by_key(|table| table.active_bytes.get())
        {
            self.seal(largest, self.applied.position());
        }
    }

    fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if let Some(Shortage { free_bytes, kept_bytes }) = self.shortage.get() {
            let dir = self.config.dir.display();
            return Err(Error::Overloaded {
                what: format!(
                    "the disk of {dir} has {free_bytes} bytes free, and {kept_bytes} are kept back (`free_bytes_min`)"
                ),
            });
        }
        match self
            .flush_trouble
            .borrow()
            .as_ref()
            .filter(|trouble| trouble.is_no_space())
        {
            Some(trouble) => Err(Error::Overloaded {
                what: format!("the disk is full ({trouble})"),
            }),
            None => Ok(()),
        }
    }

    /// Takes durable groups off the log, in order, and applies them; ends when the log is closed.
    pub(super) async fn apply_groups(self: Rc<Self>) {
        loop {
            let group = match self.log().next_group().await {
                Ok(Some(group)) => group,
                Ok(None) => return,
                Err(error) => return self.poison(&error.into()),
            };
            let periodic = matches!(self.config.sync, SyncMode::Periodic { .. });
            if !periodic {
                for (at, (position, record)) in group.records().enumerate() {
                    if !runtime::broken(Break::ApplyBeforeSync) {
                        self.apply_record(position, record);
                    }
                    self.reserved.set(self.reserved.get() - record.len());
                    self.applied.advance(position);
                    if at % RECORDS_PER_BREATH == RECORDS_PER_BREATH - 1 {
                        runtime::breathe().await;
                    }
                }
            }
            if let Some(below) = self.log().over_limit() {
                self.seal_pinning(below);
            }
            // What was reserved is in memory now, and may have to be flushed for whoever waits.
            if self.waiting_writers.get() > 0 {
                self.room.notify_all();
            }
        }
    }

    /// Merges one logged record into its memtable, and seals the largest memtable when memory is used up.
    pub(super) fn apply_record(&self, end: LogPosition, record: &[u8]) {
        let mutation = MutationRef::trusted(record);
        // A write that was under way when its table was dropped came before that.
        let Ok(table) = self.table(mutation.table()) else {
            return;
        };
        let record_len = u32::try_from(record.len()).expect("at most 16 MiB");
        let start = LogPosition {
            segment: end.segment,
            offset: end.offset.saturating_sub(record_len),
        };
        self.joined.strike_off(mutation);
        self.rows.gaps.written(mutation);
        let added = table.apply(mutation, start);
        self.memory.set(self.memory.get() + added);
        self.active_memory.set(self.active_memory.get() + added);
        if self.active_memory.get() >= self.config.memtable_bytes {
            let tables = self.tables.borrow();
            let largest = tables.values().max_by_key(|table| table.active_bytes.get());
            // The record itself is in: what is sealed covers everything up to its end.
            self.seal(largest.expect("one has just been written to"), end);
        }
    }
}

fn refused(error: AppendError) -> Error {
    match error {
        AppendError::Poisoned(first) => Error::Poisoned {
            what: first.to_string(),
        },
        AppendError::Closed => Error::Closed,
        other => Error::invalid(other.to_string()),
    }
}

/// Counts a write that is slowed, and for how long.
#[derive(Default)]
struct Slowed<'a>(Option<(&'a super::Counters, Instant)>);

impl<'a> Slowed<'a> {
    fn begin(&mut self, counters: &'a super::Counters) {
        if self.0.is_none() {
            add(&counters.writes_slowed, 1);
            self.0 = Some((counters, Instant::now()));
        }
    }
}

impl Drop for Slowed<'_> {
    fn drop(&mut self) {
        if let Some((counters, since)) = self.0 {
            add(&counters.writes_slowed_us, micros(since.elapsed()));
        }
    }
}

/// Counts one more for as long as it lives.
pub(super) struct Counted<'a>(&'a std::cell::Cell<usize>);

impl<'a> Counted<'a> {
    pub(super) fn enter(count: &'a std::cell::Cell<usize>) -> Counted<'a> {
        count.set(count.get() + 1);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
