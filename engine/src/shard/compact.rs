//! Compaction on its shard: what the table's strategy wants next is done, one job after the other (DESIGN §8).
//!
//! 1. The files of each table and what is known of them go to [`compaction::next_job`]; of the jobs of all tables the smallest is done.
//! 2. The inputs are merged partition by partition; what may go for good ([`PurgeRule`]) is left out.
//! 3. A job with one output is cut into *fragments*, at borders of tokens. Each fragment becomes part of the store by itself: one
//!    manifest edit adds it and narrows the inputs by its tokens, so that for each token either the inputs or the output is in force,
//!    whenever a crash comes. An input of which nothing is left in force goes, and its space with it.
//! 4. A job with several outputs (late data taken apart, a file that shards share) becomes part of the store in one edit at its end;
//!    late data taken apart are in fragments, too.
//!
//! What somebody has asked for ([`Store::compact`](crate::Store::compact)) is done before what the strategies want.
//!
//! What goes wrong leaves the store as it is: a damaged input is left alone from then on, and named, one that cannot be read for a while; a
//! failed manifest edit poisons the shard, because it may have happened.

use super::erase::Working;
use super::major::Major;
use super::{Shard, add};
use crate::compactions::{CompactionKind, CompactionRecord, RunningCompaction};
use crate::error::{Error, Result};
use crate::manifest::state::{Edit, FileRecord};
use crate::node::NotAdded;
use crate::outputs::{Kind, Outputs};
use crate::store::on_shard;
use crate::table::{Change, Definition, LiveFile, Marks, TableState};
use compaction::{
    Epoch, EpochShare, File, FileId, Job, JobKind, Merger, Now, Output, Router, Routes, RunId, Sink, major_job,
    next_job,
};
use model::{Columns, Fragment, PurgeRule, TableId, Token};
use runtime::disk;
use runtime::time::{Instant, timeout};
use runtime::{Break, ShardId, TaskClass};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often the strategies are asked although nothing has changed: some of what they want comes with time.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// First wait after a failed compaction; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// A partition from this size on gets fragments of its own, bytes: so its file goes when the partition is deleted.
const LARGE_PARTITION_BYTES: u64 = 16 << 20;
/// Where partitions have so many bytes on average, the size of each is looked up.
const LOOKED_UP_BYTES: u64 = 64 << 10;
/// A job that is not small has so many fragments, of at most so many bytes.
const FRAGMENTS: u64 = 16;
const FRAGMENT_BYTES_MAX: u64 = 1 << 30;
/// How often it is looked whether a file that is gone is still read, and how long that is waited for.
const READERS_WAIT: Duration = Duration::from_millis(5);
const READERS_WAIT_MAX: Duration = Duration::from_secs(10);
/// Jobs that are looked at for the backlog.
const BACKLOG_JOBS: usize = 16;
/// Compactions that are remembered.
const HISTORY: usize = 100;
/// Shares of compaction beside those of the other background work: at rest, and at most.
const SHARES_MIN: u32 = 100;
const SHARES_MAX: u32 = 1000;

/// What is to be done, and with which files.
struct Task {
    table: Rc<TableState>,
    kind: CompactionKind,
    work: Work,
    bytes: u64,
    inputs: Vec<Input>,
}

/// A file that a job has. The file itself is not held: it is closed as soon as nothing of it is in force, and its space comes back.
#[derive(Clone)]
struct Input {
    record: FileRecord,
    path: PathBuf,
    marks: Rc<Marks>,
}

impl Task {
    /// Whether its inputs are part of the table: they may have gone since it was chosen.
    fn is_current(&self) -> bool {
        let files = self.table.files.borrow();
        let is_there = |input: &Input| {
            let mut there = files.iter().map(|file| file.record.generation);
            input.marks.is_free() && there.any(|generation| generation == input.record.generation)
        };
        !self.table.stopped.get() && self.inputs.iter().all(is_there)
    }
}

impl Input {
    fn new(file: &Rc<LiveFile>) -> Input {
        Input {
            record: file.record.clone(),
            path: file.table.path().to_owned(),
            marks: Rc::clone(&file.marks),
        }
    }
}

enum Work {
    /// What the strategy wants.
    Job(Job),
    /// A file that several shards share is divided among them.
    Divide,
}

/// Marks the inputs of a job, for as long as it lives.
struct Busy<'a>(&'a [Input]);

impl<'a> Busy<'a> {
    fn mark(inputs: &'a [Input]) -> Busy<'a> {
        inputs.iter().for_each(|input| input.marks.busy.set(true));
        Busy(inputs)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|input| input.marks.busy.set(false));
    }
}

impl From<Error> for NotAdded {
    fn from(error: Error) -> NotAdded {
        NotAdded::GivenUp(error)
    }
}

impl Shard {
    /// Compacts what is to be compacted, until the shard closes.
    pub(super) async fn compact_tables(self: Rc<Self>) {
        self.compact_until_closed().await;
        self.majors.fail_all(&self.check_open().err().unwrap_or(Error::Closed));
    }

    async fn compact_until_closed(self: &Rc<Self>) {
        let mut retry = RETRY_MIN;
        self.find_deleted().await;
        loop {
            let wanted = self.compaction_wanted.notified();
            if self.closing.get() || self.poisoned.borrow().is_some() {
                return;
            }
            let bytes_max = self.room_for_compaction().await;
            let asked = self.next_asked(bytes_max);
            let is_asked = asked.is_some();
            let next = match asked {
                Some(asked) => Some(asked),
                None => self.next_task(bytes_max).await,
            };
            let Some(task) = next else {
                self.compaction_idle.notify_all();
                // Either is a reason to ask again.
                let _ended_early = timeout(ASK_EVERY, wanted).await;
                continue;
            };
            if !task.is_current() {
                continue; // The disk is asked in between.
            }
            match self.compact(&task).await {
                Ok(()) => retry = RETRY_MIN,
                Err(NotAdded::Unknown(error)) => return self.poison(&error),
                Err(NotAdded::GivenUp(Error::Closed)) => return,
                Err(NotAdded::GivenUp(_)) if task.table.stopped.get() => {}
                Err(NotAdded::GivenUp(error)) => {
                    let is_damaged = self.mark_damaged(&task.inputs, &error);
                    if is_asked && !is_damaged {
                        // Whoever asked is told, and the other tables have their turn.
                        self.majors.end_first(Err(error.clone()));
                    }
                    add(&self.counters.compaction_failures, 1);
                    let table = task.table.name();
                    if is_damaged {
                        tracing::error!(shard = self.id.0, table, %error, "a table file is damaged: it is kept and left alone; restore it from a backup");
                        continue;
                    }
                    if self.let_rest(&task.inputs, &error) {
                        tracing::warn!(shard = self.id.0, table, %error, "a table file cannot be read: compactions leave it alone for a while");
                        continue;
                    }
                    tracing::warn!(shard = self.id.0, table, %error, "a compaction failed and is tried again");
                    let closing = self.close_begins.notified();
                    if self.closing.get() {
                        return;
                    }
                    let _ended_early = timeout(retry, closing).await;
                    retry = (2 * retry).min(RETRY_MAX);
                }
            }
        }
    }

    /// Whether the error names a file of the inputs, which is no input from then on.
    fn mark_damaged(&self, inputs: &[Input], error: &Error) -> bool {
        let Error::Corrupt { path, .. } = error else {
            return false;
        };
        let damaged = inputs.iter().find(|input| input.path == *path);
        if let Some(file) = damaged {
            file.marks.damaged.set(true);
        }
        damaged.is_some()
    }

    /// Whether the error says that a file of the inputs could not be read; it is left alone for [`RETRY_MAX`], and others have their turn.
    fn let_rest(&self, inputs: &[Input], error: &Error) -> bool {
        let Error::Io { path, .. } = error else {
            return false;
        };
        let unreadable = inputs.iter().find(|input| input.path == *path);
        if let Some(file) = unreadable {
            file.marks.rests_until.set(Some(Instant::now() + RETRY_MAX));
        }
        unreadable.is_some()
    }

    /// Bytes that a job may read, and thus write, for there is room for them.
    async fn room_for_compaction(&self) -> u64 {
        match disk::space(&self.config.dir).await {
            Ok(space) => {
                let kept = super::space::kept_bytes(&self.config, space);
                space.free_bytes.saturating_sub(kept) / u64::from(self.count)
            }
            // A disk that does not tell has what is needed, until it says otherwise.
            Err(_) => u64::MAX,
        }
    }

    /// What is to be done next, of all tables: the smallest job. What waits decides how much of the CPU compaction has.
    async fn next_task(&self, bytes_max: u64) -> Option<Task> {
        let (smallest, _, backlog) = self.look_through(bytes_max).await;
        self.note_backlog(backlog);
        smallest
    }

    /// What waits, and what is left of the compaction that runs, decides how much of the CPU compaction has, and how fast writers may be.
    /// What somebody has asked for has nothing to do with writers.
    fn note_backlog(&self, waiting: u64) {
        let running = self.compaction_running.borrow();
        let running = running.as_ref().filter(|running| running.kind != CompactionKind::Major);
        let backlog = waiting + running.map_or(0, |running| running.left_bytes());
        let of_memtables = backlog / (self.config.memtable_bytes as u64).max(1);
        let shares = SHARES_MIN.saturating_add(u32::try_from(of_memtables).unwrap_or(u32::MAX).saturating_mul(25));
        runtime::set_shares(TaskClass::Compaction, shares.min(SHARES_MAX));
        if self.pace.set_backlog(backlog) {
            self.tell_pace();
        }
    }

    /// Looks at the backlog while a compaction runs: there is more by what was flushed.
    pub(super) async fn look_at_backlog(&self) {
        if self.config.compaction && self.compaction_running.borrow().is_some() {
            let (_, waiting) = self.waiting().await;
            self.note_backlog(waiting);
        }
    }

    /// Jobs that wait, sixteen of them at most, and their bytes.
    pub(super) async fn waiting(&self) -> (u64, u64) {
        let (_, jobs, backlog) = self.look_through(u64::MAX).await;
        (jobs, backlog)
    }

    /// The smallest job of all tables, how many there are, and their bytes. Files may come and go meanwhile.
    async fn look_through(&self, bytes_max: u64) -> (Option<Task>, u64, u64) {
        let mut smallest: Option<Task> = None;
        let (mut jobs, mut all, mut backlog) = (0, 0, 0);
        for table in self.all_tables().into_iter().filter(|table| !table.stopped.get()) {
            let files = Rc::clone(&table.files.borrow());
            let shared = files.iter().find(|file| self.divides(file));
            let mut taken = BTreeSet::new();
            let mut consider = |work, kind, bytes, inputs: Vec<Input>| {
                backlog += bytes;
                all += 1;
                if smallest.as_ref().is_none_or(|task| bytes < task.bytes) {
                    smallest = Some(Task {
                        table: Rc::clone(&table),
                        kind,
                        work,
                        bytes,
                        inputs,
                    });
                }
            };
            if let Some(file) = shared.filter(|file| file.record.bytes <= bytes_max) {
                consider(
                    Work::Divide,
                    CompactionKind::Divide,
                    file.record.bytes,
                    vec![Input::new(file)],
                );
            }
            while jobs < BACKLOG_JOBS
                && let Some(job) = self.next_job_of(&table, &files, &taken, None, bytes_max)
            {
                jobs += 1;
                let is_input = |file: &&Rc<LiveFile>| job.inputs.contains(&FileId(file.record.generation));
                let inputs: Vec<_> = files.iter().filter(is_input).map(Input::new).collect();
                taken.extend(job.inputs.iter().map(|id| id.0));
                // Dropping takes no time.
                let bytes = if job.output == Output::Nothing { 0 } else { job.bytes };
                consider(Work::Job(job.clone()), CompactionKind::from(job.kind), bytes, inputs);
                runtime::breathe().await;
            }
        }
        (smallest, all, backlog)
    }

    /// What is to be done next because somebody asked that all of a table be compacted.
    fn next_asked(&self, bytes_max: u64) -> Option<Task> {
        while let Some(asked) = self.majors.first() {
            let table = self.table(asked.table);
            if let Err(error) = table.and_then(|table| table.check_goes_on()) {
                self.majors.end_first(Err(error));
                continue;
            }
            if let Some(task) = self.asked_task(&asked, bytes_max) {
                return Some(task);
            }
            self.majors.end_first(Ok(asked.has_divided.get()));
        }
        None
    }

    fn asked_task(&self, asked: &Major, bytes_max: u64) -> Option<Task> {
        let table = self.table(asked.table).ok()?;
        let files = Rc::clone(&table.files.borrow());
        let generations = asked.begin(&files);
        let task = |work, kind, bytes, inputs| Task {
            table: Rc::clone(&table),
            kind,
            work,
            bytes,
            inputs,
        };
        let mut divided = files.iter().filter(|file| self.may_divide(file));
        if let Some(file) = divided.find(|file| file.record.bytes <= bytes_max) {
            asked.has_divided.set(true);
            let bytes = file.record.bytes;
            return Some(task(
                Work::Divide,
                CompactionKind::Divide,
                bytes,
                vec![Input::new(file)],
            ));
        }
        let job = self.next_job_of(&table, &files, &BTreeSet::new(), Some(&generations), bytes_max)?;
        let is_input = |file: &&Rc<LiveFile>| job.inputs.contains(&FileId(file.record.generation));
        let inputs = files.iter().filter(is_input).map(Input::new).collect();
        Some(task(
            Work::Job(job.clone()),
            CompactionKind::from(job.kind),
            job.bytes,
            inputs,
        ))
    }

    /// What a table's strategy wants next, without the files that are `taken`; or what is next for whoever wants all of it compacted:
    /// the files with these `asked` numbers, and what compactions make of them.
    fn next_job_of(
        &self,
        table: &TableState,
        files: &[Rc<LiveFile>],
        taken: &BTreeSet<u64>,
        asked: Option<&BTreeSet<u64>>,
        bytes_max: u64,
    ) -> Option<Job> {
        // What a flush has written since; what compactions make of the others is not later.
        let is_later = |file: &LiveFile| {
            asked.is_some_and(|asked| file.marks.flushed.get() && !asked.contains(&file.record.generation))
        };
        if !self.config.compaction && asked.is_none() {
            return None;
        }
        let definition = table.definition();
        let now_s = runtime::time::unix_seconds();
        let check_expired = definition
            .compaction
            .expired_check_is_due(definition.expired_checked.get(), now_s);
        let now = Now {
            seconds: now_s,
            gc_grace_s: definition.schema.options.gc_grace_seconds,
            min_timestamp_outside: self.min_timestamp_in_memory(table),
            check_expired,
            first_open_epoch: match &definition.epochs {
                Some(epochs) if !table.flushing.get() => definition.open_epoch(epochs),
                _ => definition.first_open.get(),
            },
            bytes_max,
        };
        let shares: Vec<Vec<EpochShare>> = files.iter().map(|file| shares_of(file, &definition)).collect();
        let list = files.iter().zip(&shares).map(|(file, epochs)| File {
            id: FileId(file.record.generation),
            run: file.record.run.map(RunId),
            bytes: file.bytes_in_force(),
            created_s: file.record.created_s,
            first: file.first_token(),
            last: file.last_token(),
            late: file.record.late,
            epochs,
            deleted: file.marks.deleted.get(),
            flushed: file.marks.flushed.get(),
            busy: !file.marks.is_free()
                || self.is_shared(&file.record)
                || is_later(file)
                || taken.contains(&file.record.generation),
            statistics: file.table.statistics(),
        });
        let list: Vec<File<'_>> = list.collect();
        if asked.is_some() {
            return major_job(&list, &definition.compaction, &now);
        }
        let job = match runtime::broken(Break::IgnoresMinThreshold) {
            true => {
                let mut options = definition.compaction.clone();
                options.min_threshold = 1;
                next_job(&list, &options, &now)
            }
            false => next_job(&list, &definition.compaction, &now),
        };
        if check_expired && job.as_ref().is_none_or(|job| job.kind != JobKind::Expired) {
            definition.expired_checked.set(Some(now_s));
        }
        job
    }

    /// The smallest timestamp in the table's memtables and in what is on its way there.
    fn min_timestamp_in_memory(&self, table: &TableState) -> i64 {
        let sealed = table.sealed.borrow();
        let sealed = sealed.iter().map(|sealed| sealed.memtable.borrow().min_timestamp());
        sealed
            .chain([
                table.active.borrow().min_timestamp(),
                self.applied.pending_min_timestamp(),
            ])
            .fold(i64::MAX, i64::min)
    }

    /// The smallest timestamp of anything that may be of the partition and is no input.
    fn min_timestamp_outside(&self, table: &TableState, token: Token, key: &[u8], inputs: &BTreeSet<u64>) -> i64 {
        let mut min = i64::MAX;
        if !runtime::broken(Break::PurgesWithoutLog) {
            min = min.min(self.applied.pending_min_timestamp());
        }
        if !runtime::broken(Break::PurgesWithoutMemtables) {
            let active = table.active.borrow();
            if active.partition(token, key).is_some() {
                min = min.min(active.min_timestamp());
            }
            for sealed in table.sealed.borrow().iter() {
                let memtable = sealed.memtable.borrow();
                if memtable.partition(token, key).is_some() {
                    min = min.min(memtable.min_timestamp());
                }
            }
        }
        if !runtime::broken(Break::PurgesWithoutFiles) {
            let files = table.files.borrow();
            let others = files.iter().filter(|file| !inputs.contains(&file.record.generation));
            for file in others.filter(|file| file.admits(token, key)) {
                min = min.min(file.table.statistics().min_timestamp);
            }
        }
        min
    }

    /// Whether other shards have tokens of the file, too.
    fn is_shared(&self, record: &FileRecord) -> bool {
        (0..self.count).any(|shard| shard != self.id.0 && record.is_shared_by(shard, self.count))
    }

    /// Whether it is this shard that divides the file.
    fn divides(&self, file: &LiveFile) -> bool {
        self.config.compaction && self.may_divide(file)
    }

    fn may_divide(&self, file: &LiveFile) -> bool {
        file.marks.is_free() && self.is_shared(&file.record) && file.record.is_counted_by(self.id.0, self.count)
    }

    /// Does a task.
    async fn compact(self: &Rc<Self>, task: &Task) -> std::result::Result<(), NotAdded> {
        let _working = Working::begin(self, &task.table.compacting);
        let _busy = Busy::mark(&task.inputs);
        let running = Rc::new(RunningCompaction::new(
            task.table.name(),
            task.kind,
            task.inputs.len(),
            task.bytes,
        ));
        *self.compaction_running.borrow_mut() = Some(Rc::clone(&running));
        let done = match &task.work {
            Work::Divide => self.divide(task, &running).await,
            Work::Job(job) if job.output == Output::Nothing => self.drop_files(task).await,
            Work::Job(job) => self.merge(task, job, &running).await,
        };
        *self.compaction_running.borrow_mut() = None;
        if done.is_ok() {
            add(&self.counters.compactions, 1);
            let mut history = self.compaction_history.borrow_mut();
            if history.len() == HISTORY {
                history.pop_front();
            }
            history.push_back(running.record());
        }
        *self.compaction_written.borrow_mut().entry(task.kind).or_default() += running.written_bytes.get();
        self.pace
            .compacted(running.read_bytes.get(), Duration::from_micros(running.record().micros));
        add(&self.counters.compaction_read_bytes, running.read_bytes.get());
        add(&self.counters.compaction_written_bytes, running.written_bytes.get());
        self.compaction_wanted.notify_all();
        done
    }

    /// Drops files in which nothing is that anybody needs.
    async fn drop_files(self: &Rc<Self>, task: &Task) -> std::result::Result<(), NotAdded> {
        let changes: Vec<Change> = task.inputs.iter().map(|input| gone(&input.record)).collect();
        self.exchange(
            &task.table,
            Vec::new(),
            &changes,
            self.dir_faults.load(Ordering::Acquire),
        )
        .await
    }

    /// Makes `new` part of the store and changes its inputs, in one step; removes what goes.
    async fn exchange(
        self: &Rc<Self>,
        table: &Rc<TableState>,
        new: Vec<LiveFile>,
        changes: &[Change],
        faults_seen: u64,
    ) -> std::result::Result<(), NotAdded> {
        let mut records: Vec<FileRecord> = new.iter().map(|file| file.record.clone()).collect();
        if runtime::broken(Break::LosesFragments) {
            records.clear();
        }
        let edits = changes.iter().map(edit_of).collect();
        if runtime::broken(Break::RemovesInputsEarly) {
            for change in changes.iter().filter(|change| change.left.is_none()) {
                self.remove_table_file(table.id, change.generation).await;
            }
        }
        if let Err(error) = self.add_files(table.id, records, faults_seen, edits).await {
            for file in new {
                let generation = file.record.generation;
                drop(file.table.close().await);
                if matches!(error, NotAdded::GivenUp(_)) {
                    self.remove_table_file(table.id, generation).await;
                }
            }
            return Err(error);
        }
        let gone = table.replace(new, changes);
        // Whoever waits for the end of the compaction to drop the table does not wait for readers.
        self.remove_gone(table.id, gone, || table.stopped.get()).await;
        Ok(())
    }

    /// Closes and removes files that are no longer part of the store.
    pub(super) async fn remove_gone(&self, table: TableId, gone: Vec<Rc<LiveFile>>, hurries: impl Fn() -> bool) {
        let mut removed = Vec::new();
        for generation in self.close_gone(gone, hurries).await {
            if self.remove_table_file(table, generation).await {
                removed.push(generation);
            }
        }
        if !removed.is_empty() {
            let tell = move |shard: Rc<Shard>| async move { shard.node().files_are_gone(table, removed) };
            // A node that is closed has no more edits.
            drop(on_shard(ShardId(0), tell).await);
        }
    }

    /// Closes files that are no longer part of the store, when those who read them are done, and gives their numbers. Whoever closes a
    /// removed file last waits until the file system has freed its blocks: 3 ms for 16 MiB and 36 for 256 on ext4, where a read would
    /// stand still. So the last are closed here, and removed afterwards, which a thread beside the shard does. Readers who take
    /// longer than that, or than somebody `hurries`, keep it open all the same.
    pub(super) async fn close_gone(&self, gone: Vec<Rc<LiveFile>>, hurries: impl Fn() -> bool) -> Vec<u64> {
        let until = Instant::now() + READERS_WAIT_MAX;
        let mut generations = Vec::new();
        for file in gone {
            let is_read = || Rc::strong_count(&file) > 1 || file.table.is_shared();
            while is_read() && !self.closing.get() && !hurries() && Instant::now() < until {
                runtime::time::sleep(READERS_WAIT).await;
            }
            generations.push(file.record.generation);
            // What is said of a file that goes matters to nobody.
            drop(match Rc::try_unwrap(file) {
                Ok(file) => file.table.close().await,
                Err(read) => read.table.clone().close().await,
            });
        }
        generations
    }

    /// Merges the inputs of a job.
    async fn merge(
        self: &Rc<Self>,
        task: &Task,
        job: &Job,
        running: &Rc<RunningCompaction>,
    ) -> std::result::Result<(), NotAdded> {
        let definition = task.table.definition();
        let (routes, kinds) = self.outputs_of(job, &definition, &task.inputs);
        let is_cut = routes.targets() == 1;
        let estimate = match is_cut {
            true => task.bytes.min(self.fragment_bytes(task.bytes)),
            false => 0,
        };
        let row_bytes = task.table.row_bytes();
        let mut outputs =
            Outputs::new(self, &task.table, &definition, kinds, estimate, row_bytes).ending_with_the_shard();
        let merging = Merging {
            shard: self,
            table: &task.table,
            definition: &definition,
            generations: job.inputs.iter().map(|id| id.0).collect(),
            epochs: match &job.output {
                Output::ByEpoch(epochs) => epochs,
                _ => &[],
            },
            rest: routes.rest(),
            running,
            fragment_bytes: self.fragment_bytes(task.bytes),
            faults_seen: self.dir_faults.load(Ordering::Acquire),
        };
        let done = merging.run(routes, is_cut, &mut outputs).await;
        if done.is_err() {
            outputs.abandon().await;
        }
        done
    }

    /// Where a job's fragments end, bytes: a large one has sixteen or so, for each of them costs memory and a file that is open.
    fn fragment_bytes(&self, job_bytes: u64) -> u64 {
        let least = self.config.fragment_bytes;
        (job_bytes / FRAGMENTS).min(FRAGMENT_BYTES_MAX).max(least)
    }

    /// What a job's outputs are.
    fn outputs_of(&self, job: &Job, definition: &Definition, inputs: &[Input]) -> (Routes, Vec<Kind>) {
        let run = Kind {
            shard: self.id.0,
            late: false,
            shadows: false,
            is_run: true,
            run: None,
        };
        match (&job.output, &definition.epochs) {
            (Output::ByEpoch(own), Some(epochs)) => {
                let routes = Routes::by_epoch(epochs, own);
                let late = Kind {
                    late: true,
                    shadows: true,
                    ..run
                };
                let kinds = vec![late; routes.targets()];
                (routes, kinds)
            }
            (Output::InPlace, _) => {
                let input = &inputs.first().expect("a job has inputs").record;
                let kind = Kind {
                    late: input.late,
                    shadows: input.late,
                    is_run: input.run.is_none(),
                    run: input.run,
                    ..run
                };
                (Routes::one(), vec![kind])
            }
            (output, _) => {
                let late = *output == (Output::Run { late: true });
                let kind = Kind {
                    late,
                    shadows: late,
                    ..run
                };
                (Routes::one(), vec![kind])
            }
        }
    }

    /// Divides a file that several shards share among them.
    async fn divide(
        self: &Rc<Self>,
        task: &Task,
        running: &Rc<RunningCompaction>,
    ) -> std::result::Result<(), NotAdded> {
        let [file] = &task.inputs[..] else {
            unreachable!("one file is divided")
        };
        let faults_seen = self.dir_faults.load(Ordering::Acquire);
        let definition = task.table.definition();
        let owners: Vec<u16> = (0..self.count)
            .filter(|&shard| file.record.is_shared_by(shard, self.count))
            .collect();
        let kind = |&shard| Kind {
            shard,
            late: file.record.late,
            shadows: file.record.late,
            is_run: false,
            run: file.record.run,
        };
        let kinds = owners.iter().map(kind).collect();
        let row_bytes = task.table.row_bytes();
        let mut outputs = Outputs::new(self, &task.table, &definition, kinds, 0, row_bytes).ending_with_the_shard();
        let written = async {
            let held = task.table.files.borrow().iter().find_map(|held| {
                let is_that = held.record.generation == file.record.generation;
                is_that.then(|| (held.table.clone(), held.record.tokens()))
            });
            assert!(held.is_some(), "what is divided is part of the table");
            let mut merger = Merger::new(held);
            let mut router = Router::new(Routes::one());
            while merger.next_partition().await? {
                self.check_goes_on()?;
                task.table.check_goes_on()?;
                let owner = self.owner(merger.token()).0;
                let target = owners.binary_search(&owner).map_err(|_| Error::Corrupt {
                    path: file.path.clone(),
                    offset: 0,
                    what: "it has a token that the manifest says it cannot have".to_owned(),
                })?;
                let mut to = To {
                    outputs: &mut outputs,
                    target,
                };
                merger
                    .give(&PurgeRule::NEVER, Columns::All, &[], &mut router, &mut to)
                    .await?;
                running.read_bytes.set(merger.device_bytes());
            }
            outputs.seal_all().await
        };
        if let Err(error) = written.await {
            outputs.abandon().await;
            return Err(error.into());
        }
        running.written_bytes.set(outputs.bytes());
        let mut records = outputs.take_sealed();
        for record in &mut records {
            (record.token_first, record.token_last) = (file.record.token_first, file.record.token_last);
        }
        let generation = file.record.generation;
        let edits = vec![Edit::RemoveFile { generation }];
        let table = task.table.id;
        if let Err(error) = self.add_files(table, records.clone(), faults_seen, edits).await {
            if matches!(error, NotAdded::GivenUp(_)) {
                for record in records {
                    self.remove_table_file(table, record.generation).await;
                }
            }
            return Err(error);
        }
        for owner in owners {
            let of_owner = |record: &&FileRecord| record.shard == owner;
            let own: Vec<FileRecord> = records.iter().filter(of_owner).cloned().collect();
            let take = move |shard: Rc<Shard>| async move { shard.take_part(table, generation, own).await };
            // A shard that has closed opens its part when the store is opened again.
            drop(on_shard(ShardId(owner), take).await);
        }
        if self.remove_table_file(table, generation).await {
            let tell = move |shard: Rc<Shard>| async move { shard.node().files_are_gone(table, vec![generation]) };
            drop(on_shard(ShardId(0), tell).await);
        }
        Ok(())
    }

    /// Takes the parts of a file that was divided in its place.
    async fn take_part(&self, table: TableId, divided: u64, parts: Vec<FileRecord>) {
        let Ok(table) = self.table(table) else { return };
        let mut files = Vec::new();
        for part in parts {
            match self.open_written(part).await {
                Ok(file) => files.push(file),
                // The manifest has it, and not the file that it comes from.
                Err(error) => return self.poison(&error),
            }
        }
        let left = None;
        let gone = table.replace(
            files,
            &[Change {
                generation: divided,
                left,
            }],
        );
        self.close_gone(gone, || table.stopped.get()).await;
        self.compaction_wanted.notify_all();
    }

    pub(crate) fn check_goes_on(&self) -> Result<()> {
        if self.closing.get() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Looks for files of which another one's deletion of a partition covers all: what was known of them was forgotten when the store was
    /// closed.
    async fn find_deleted(&self) {
        for table in self.all_tables() {
            let files = Rc::clone(&table.files.borrow());
            let deleting: Vec<&Rc<LiveFile>> = files
                .iter()
                .filter(|file| file.table.statistics().partition_tombstones > 0)
                .collect();
            for file in files.iter() {
                let Some((token, key)) = file.only_partition() else {
                    continue;
                };
                for other in deleting
                    .iter()
                    .filter(|other| !Rc::ptr_eq(other, file) && other.admits(token, key))
                {
                    // What cannot be read is told to whoever needs it.
                    if let Ok(Some(head)) = other.table.head(token, key).await
                        && file.is_covered(token, key, head.deletion)
                    {
                        file.marks.deleted.set(true);
                    }
                }
                runtime::breathe().await;
            }
        }
    }
}

/// What a file holds of each epoch, as far as its tokens are in force and as the table divides its keys now.
pub(crate) fn shares_of(file: &LiveFile, definition: &Definition) -> Vec<EpochShare> {
    let (Some(epochs), Some(of_file)) = (&definition.epochs, &file.table.statistics().epochs) else {
        return Vec::new();
    };
    if of_file.epoch_hours != epochs.hours() {
        return Vec::new();
    }
    let (all, in_force) = (u128::from(file.record.bytes.max(1)), u128::from(file.bytes_in_force()));
    let part = |bytes: u64| u64::try_from(u128::from(bytes) * in_force / all).unwrap_or(bytes);
    let share = |share: &sstable::EpochShare| EpochShare {
        epoch: Epoch(share.epoch),
        bytes: part(share.bytes),
        shadowed_bytes: part(share.shadowed_bytes),
    };
    of_file.shares.iter().map(share).collect()
}

fn gone(record: &FileRecord) -> Change {
    Change {
        generation: record.generation,
        left: None,
    }
}

fn edit_of(change: &Change) -> Edit {
    let generation = change.generation;
    match &change.left {
        None => Edit::RemoveFile { generation },
        Some(left) => Edit::NarrowFile {
            generation,
            token_first: *left.start(),
            token_last: *left.end(),
        },
    }
}

/// Everything goes to one target.
struct To<'a, 'b> {
    outputs: &'a mut Outputs<'b>,
    target: usize,
}

impl Sink for To<'_, '_> {
    type Error = Error;

    async fn append(&mut self, _: usize, fragment: Fragment<'_>) -> Result<()> {
        self.outputs.append(self.target, fragment).await
    }
}

/// A merge under way.
struct Merging<'a> {
    shard: &'a Rc<Shard>,
    table: &'a Rc<TableState>,
    definition: &'a Definition,
    generations: BTreeSet<u64>,
    /// Those that get files of their own.
    epochs: &'a [Epoch],
    rest: usize,
    running: &'a Rc<RunningCompaction>,
    /// Where a fragment ends, bytes.
    fragment_bytes: u64,
    faults_seen: u64,
}

impl Merging<'_> {
    async fn run(
        mut self,
        routes: Routes,
        is_cut: bool,
        outputs: &mut Outputs<'_>,
    ) -> std::result::Result<(), NotAdded> {
        let mut router = Router::new(routes);
        let now_s = runtime::time::unix_seconds();
        let before_s = now_s.saturating_sub(self.definition.schema.options.gc_grace_seconds);
        let before_s = if runtime::broken(Break::PurgesWithoutGrace) {
            now_s
        } else {
            before_s
        };
        let inputs = self.inputs();
        assert_eq!(
            inputs.len(),
            self.generations.len(),
            "what is merged is part of the table"
        );
        let may_purge = self.may_purge(&inputs, now_s);
        let of_each = |file: &Rc<LiveFile>| file.record.bytes / file.table.statistics().partitions.max(1);
        let are_looked_up = inputs.iter().map(of_each).sum::<u64>() >= LOOKED_UP_BYTES;
        // From here on the merger alone holds them, beside the table, until it is through with them.
        let input = |file: Rc<LiveFile>| (file.table.clone(), file.record.tokens());
        let mut merger = Merger::new(inputs.into_iter().map(input));
        let mut last: Option<(Token, bool)> = None;
        while merger.next_partition().await.map_err(Error::from)? {
            self.shard.check_goes_on()?;
            self.table.check_goes_on()?;
            let token = merger.token();
            let is_large = are_looked_up && self.is_large(token, merger.key()).await?;
            if let Some((before, was_large)) = last
                && before < token
            {
                let least = if is_large || was_large { 0 } else { self.fragment_bytes };
                if !is_cut {
                    outputs.seal_from(least, token.0 - 1).await?;
                } else if outputs.open_bytes(0) >= least {
                    self.publish(outputs, token.0 - 1).await?;
                }
            }
            last = Some((token, is_large));
            let rule = PurgeRule {
                now_s,
                before_s,
                below: match may_purge {
                    true => self
                        .shard
                        .min_timestamp_outside(self.table, token, merger.key(), &self.generations),
                    false => i64::MIN,
                },
            };
            let (deletion, mut also, mut shadow) = (merger.deletion(), Vec::new(), Vec::new());
            if !deletion.is_live() && self.definition.epochs.is_some() {
                let is_input = |generation| self.generations.contains(&generation);
                // What cannot be read is told to whoever needs it.
                if let Ok(found) = self.table.shadow(token, merger.key(), deletion, is_input).await {
                    shadow = found.shares;
                }
                let target = |share: &EpochShare| self.epochs.binary_search(&share.epoch).ok();
                also = shadow.iter().filter_map(target).collect();
                also.sort_unstable();
                also.dedup();
            }
            merger
                .give(&rule, self.definition.columns(), &also, &mut router, outputs)
                .await?;
            for share in shadow {
                let target = self.epochs.binary_search(&share.epoch).unwrap_or(self.rest);
                outputs.shadowed(target, share);
            }
            // Where partitions are small, what is asked of all files for each of them is most of the work.
            runtime::breathe().await;
            self.running.read_bytes.set(merger.device_bytes());
            self.running.written_bytes.set(outputs.bytes() + outputs.open_bytes(0));
        }
        self.running.purged.set(merger.progress().purged);
        add(&self.shard.counters.compaction_purged, merger.progress().purged);
        self.publish(outputs, i64::MAX).await?;
        self.running.written_bytes.set(outputs.bytes());
        Ok(())
    }

    /// The inputs of which something is in force.
    fn inputs(&self) -> Vec<Rc<LiveFile>> {
        let files = self.table.files.borrow();
        let is_input = |file: &&Rc<LiveFile>| self.generations.contains(&file.record.generation);
        files.iter().filter(is_input).cloned().collect()
    }

    /// Whether anything in the inputs may go for good: something is dead. What ends has its grace from its write on, so that it may go as
    /// soon as it has ended.
    fn may_purge(&self, inputs: &[Rc<LiveFile>], now_s: u32) -> bool {
        let dies = |file: &Rc<LiveFile>| file.table.statistics().min_local_deletion_time <= now_s;
        !self.definition.compaction.only_purge_repaired_tombstones && inputs.iter().any(dies)
    }

    async fn is_large(&self, token: Token, key: &[u8]) -> Result<bool> {
        let mut bytes = 0;
        for file in self.inputs().iter().filter(|file| file.admits(token, key)) {
            bytes += file.table.partition_bytes(token, key).await?;
        }
        Ok(bytes >= LARGE_PARTITION_BYTES)
    }

    /// Makes what was written part of the store, and takes tokens up to `to` from the inputs.
    async fn publish(&mut self, outputs: &mut Outputs<'_>, to: i64) -> std::result::Result<(), NotAdded> {
        for target in 0..=self.rest {
            outputs.seal(target, to).await?;
        }
        let files = outputs.open_sealed().await?;
        let mut changes = Vec::new();
        // As they are now: earlier fragments have narrowed them.
        for file in self.table.files.borrow().iter() {
            let record = &file.record;
            if !self.generations.contains(&record.generation) || record.token_first > to {
                continue;
            }
            let highest = file
                .table
                .statistics()
                .last
                .as_ref()
                .map_or(i64::MIN, |(token, _)| token.0);
            let left = (record.token_last > to && highest > to).then(|| to + 1..=record.token_last);
            let left = match runtime::broken(Break::NarrowsNothing) && left.is_some() {
                true => Some(record.token_first..=record.token_last),
                false => left,
            };
            changes.push(Change {
                generation: record.generation,
                left,
            });
        }
        if files.is_empty() && changes.is_empty() {
            return Ok(());
        }
        self.shard
            .exchange(self.table, files, &changes, self.faults_seen)
            .await?;
        self.faults_seen = self.shard.dir_faults.load(Ordering::Acquire);
        Ok(())
    }
}

impl Shard {
    /// The compaction that runs, if one does, and the last hundred that have ended, oldest first.
    pub fn compactions(&self) -> (Option<CompactionRecord>, Vec<CompactionRecord>) {
        let running = self
            .compaction_running
            .borrow()
            .as_ref()
            .map(|running| running.record());
        (running, self.compaction_history.borrow().iter().cloned().collect())
    }

    /// Returns when nothing is left to be compacted, as things are now.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Poisoned`].
    ///
    /// # Cancellation
    /// Compaction goes on.
    pub async fn compacted(&self) -> Result<()> {
        loop {
            let idle = self.compaction_idle.notified();
            self.check_open()?;
            self.compaction_wanted.notify_all();
            // The shard may have closed meanwhile.
            let _ended_early = timeout(ASK_EVERY, idle).await;
            let is_done = self.compaction_running.borrow().is_none() && self.majors.first().is_none();
            if is_done && self.next_task(self.room_for_compaction().await).await.is_none() {
                return Ok(());
            }
        }
    }
}
