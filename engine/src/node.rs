//! The node: what its shards share. It lives on shard 0 and owns the manifest.

mod ddl;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::layout;
use crate::manifest::Manifest;
use crate::manifest::state::{Edit, FileRecord, LogRecord, State};
use crate::shard::{BOUND_AHEAD, Boot, Recovered, Shard};
use crate::snapshot::{self, Snapshot};
use crate::stats::Recovery;
use crate::store::{Shared, on_shard};
use model::TableId;
use runtime::sync::Mutex;
use runtime::{Break, ShardId, TaskClass, disk};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The owner of the manifest.
pub(crate) struct Node {
    /// `None` once closed.
    manifest: Mutex<Option<Manifest>>,
    /// Held while definitions change; taken before the manifest.
    changes: Mutex<()>,
    shared: Arc<Shared>,
    dir_faults: DirFaults,
    /// Generations of obsolete sstables whose files were removed, of which the manifest does not know yet.
    gone: RefCell<BTreeMap<TableId, Vec<u64>>>,
}

/// Failed syncs of directories of table files; grows only while the manifest is locked.
///
/// After a failed sync the names that it should have made durable are never sure again, not even when a later sync of the
/// directory succeeds, and not only those of the shard that asked for it. So a file counts only if no sync has failed since
/// before it was created.
pub(crate) type DirFaults = Arc<AtomicU64>;

/// Why a table file did not become part of the store.
pub(crate) enum NotAdded {
    /// The store is what it was: remove the file, write its rows again.
    GivenUp(Error),
    /// Whether the file is part of the store is known only when it is opened again.
    Unknown(Error),
}

impl Node {
    /// Opens the store on all shards; runs on shard 0.
    pub async fn open(config: Arc<Config>, shared: Arc<Shared>) -> Result<Vec<Recovery>> {
        let shards = shard_count();
        disk::create_dir_all(&config.dir).await?;
        let mut state = match Manifest::read(&config.dir).await? {
            Some((state, found)) => {
                if found.torn {
                    tracing::warn!(
                        offset = found.end,
                        "the manifest ends in an edit that a crash cut off; it never happened"
                    );
                }
                state
            }
            None => create(&config.dir, shards).await?,
        };
        check_belonging(&config.dir, &state).await?;
        forget_obsolete(&config.dir, &mut state).await?;
        make_table_dirs(&config.dir, state.tables.keys().copied()).await?;
        make_log_dirs(&config.dir, shards).await?;
        let given_up_to = state.timestamps_up_to;
        state.timestamps_up_to = given_up_to.max(runtime::time::unix_micros().saturating_add(BOUND_AHEAD));
        // Written anew before any file is moved: what was read may not be durable, if a write of it once failed.
        let manifest = Manifest::write_new(&config.dir, state).await?;
        let state = manifest.state().clone();
        remove_obsolete(&config.dir, &state).await?;
        let orphans = set_orphans_aside(&config.dir, &state).await?;
        shared.set(&state);
        let node = Rc::new(Node {
            manifest: Mutex::new(Some(manifest)),
            changes: Mutex::new(()),
            shared,
            dir_faults: DirFaults::default(),
            gone: RefCell::default(),
        });
        let definitions = node.shared.definitions();
        let state = Arc::new(state);
        let boots: Vec<Boot> = (0..shards)
            .map(|shard| Boot {
                config: Arc::clone(&config),
                host_id: state.host_id,
                shards,
                dir_faults: Arc::clone(&node.dir_faults),
                definitions: Arc::clone(&definitions),
                files: state
                    .files
                    .values()
                    .filter(|file| file.is_shared_by(shard, shards))
                    .cloned()
                    .collect(),
                generations: state
                    .files
                    .keys()
                    .chain(state.obsolete.keys())
                    .chain(&orphans)
                    .copied()
                    .collect(),
                log: state.log(shard),
                given_up_to,
                timestamps_up_to: state.timestamps_up_to,
            })
            .collect();
        let opened = node.boot(boots, &config.dir, &state, given_up_to).await;
        if opened.is_err() {
            abandon().await;
        }
        opened
    }

    /// Brings all shards to life.
    async fn boot(
        self: &Rc<Self>,
        boots: Vec<Boot>,
        dir: &Path,
        old: &Arc<State>,
        given_up_to: i64,
    ) -> Result<Vec<Recovery>> {
        let shards = shard_count();
        // Shard 0 first: the flushes of the others' recoveries go through its manifest.
        for (to, boot) in (0..).map(ShardId).zip(boots) {
            if to == ShardId(0) {
                Shard::create(boot, Some(Rc::clone(self))).await?;
            } else {
                runtime::call(to, move || Shard::create(boot, None))
                    .await
                    .map_err(crate::store::stopped)??;
            }
        }
        if runtime::broken(Break::ReshardsEarly) && shards != old.shards {
            let next = |shard| (shard, old.log(shard).floor + 1);
            self.edit(served_edits(
                old,
                shards,
                &old.log_shards().map(next).collect::<Vec<_>>(),
            ))
            .await?;
        }
        // All logs are replayed before any shard flushes its last: records go to the shards that own them now.
        let replay = {
            let old = Arc::clone(old);
            move |shard: Rc<Shard>| async move { shard.recover(&old, given_up_to).await }
        };
        let mut recovered: Vec<Recovered> = on_all(replay).await?.into_iter().flatten().collect();
        recovered.sort_by_key(|recovered| recovered.recovery.shard);
        let started = runtime::time::Instant::now();
        let flush = |shard: Rc<Shard>| async move { shard.flush().await.map(|()| shard.last_timestamp()) };
        let given = on_all(flush).await?.into_iter().fold(0, i64::max);
        let flushed_in = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        // The old logs are in sstables: from here on they are spares. Then the new ones are made, and named.
        let next: Vec<_> = recovered
            .iter()
            .map(|of| (of.recovery.shard, of.next_segment))
            .collect();
        self.edit(served_edits(old, shards, &next)).await?;
        remove_old_logs(dir, old.log_shards(), shards).await?;
        let first_segments: Vec<_> = next.into_iter().filter(|(shard, _)| *shard < shards).collect();
        for &(shard, first) in &first_segments {
            on_shard(
                ShardId(shard),
                move |shard| async move { shard.serve(first, given).await },
            )
            .await??;
        }
        self.edit(log_edits(&first_segments, false)).await?;
        let told = |recovered: Recovered| Recovery {
            micros: recovered.recovery.micros.saturating_add(flushed_in),
            ..recovered.recovery
        };
        Ok(recovered.into_iter().map(told).collect())
    }

    /// Makes edits durable.
    pub async fn edit(&self, edits: Vec<Edit>) -> Result<()> {
        self.manifest
            .lock()
            .await
            .as_mut()
            .ok_or(Error::Closed)?
            .append(edits)
            .await
    }

    /// Makes table files, written and synced, part of the store: syncs their directory, then adds them to the manifest together with
    /// `edits`, in one step. `faults_seen` is the number of [`DirFaults`] from before the first of them was created.
    pub async fn add_files(
        &self,
        table: TableId,
        files: Vec<FileRecord>,
        faults_seen: u64,
        mut edits: Vec<Edit>,
    ) -> std::result::Result<(), NotAdded> {
        let mut manifest = self.manifest.lock().await;
        let Some(manifest) = manifest.as_mut() else {
            return Err(NotAdded::GivenUp(Error::Closed));
        };
        // Nothing is on its way into a table that is dropped; still, no file is left that belongs to none.
        if !manifest.state().tables.contains_key(&table) {
            return Err(NotAdded::GivenUp(Error::invalid(format!(
                "table {} was dropped",
                table.0
            ))));
        }
        let dir = layout::table_dir(manifest.dir(), table);
        if self.dir_faults.load(Ordering::Acquire) != faults_seen {
            return Err(NotAdded::GivenUp(Error::Io {
                op: "sync of directory",
                path: dir,
                offset: 0,
                source: Arc::new(std::io::Error::other(
                    "it failed after the table file was created; the file is written again",
                )),
            }));
        }
        // Before the sync: it need not reach what is removed while it is under way.
        let gone = match files.is_empty() {
            true => Vec::new(),
            false => self.gone.borrow_mut().remove(&table).unwrap_or_default(),
        };
        if !runtime::broken(Break::SkipDirSync)
            && !files.is_empty()
            && let Err(error) = disk::sync_dir(&dir).await
        {
            self.dir_faults.fetch_add(1, Ordering::Release);
            return Err(NotAdded::GivenUp(error.into()));
        }
        // The directory that has just been synced has lost them.
        edits.extend(gone.into_iter().map(|generation| Edit::ForgetFile { generation }));
        edits.extend(files.into_iter().map(Edit::AddFile));
        manifest.append(edits).await.map_err(|error| {
            if manifest.is_failed() {
                NotAdded::Unknown(error)
            } else {
                NotAdded::GivenUp(error)
            }
        })
    }

    /// The files of these obsolete sstables were removed; the manifest is told once their directory is synced.
    pub fn files_are_gone(&self, table: TableId, generations: Vec<u64>) {
        self.gone.borrow_mut().entry(table).or_default().extend(generations);
    }

    /// Sets a property if it has no value; returns whether it had none.
    pub async fn set_property_if_absent(&self, key: String, value: Vec<u8>) -> Result<bool> {
        let mut manifest = self.manifest.lock().await;
        let manifest = manifest.as_mut().ok_or(Error::Closed)?;
        if self.shared.property(&key).is_some() {
            return Ok(false);
        }
        manifest
            .append(vec![Edit::Property {
                key: key.clone(),
                value: value.clone(),
            }])
            .await?;
        self.shared.set_property(key, value);
        Ok(true)
    }

    /// Makes durable that timestamps up to `to` may be given; returns up to which they may.
    pub async fn raise_timestamps(&self, to: i64) -> Result<i64> {
        let mut manifest = self.manifest.lock().await;
        let manifest = manifest.as_mut().ok_or(Error::Closed)?;
        if manifest.state().timestamps_up_to < to {
            manifest.append(vec![Edit::TimestampsUpTo { micros: to }]).await?;
        }
        Ok(manifest.state().timestamps_up_to)
    }

    /// Compacts all of a table, or of all tables, on all shards side by side; runs on shard 0. Where files were divided among shards, a
    /// second time: those have more then.
    pub async fn compact_all(&self, table: Option<TableId>) -> Result<()> {
        let compact = move |shard: Rc<Shard>| async move { shard.compact_here(table).await };
        if on_all(compact).await?.contains(&true) {
            on_all(compact).await?;
        }
        Ok(())
    }

    /// Flushes all shards side by side.
    pub async fn flush_all(&self) -> Result<()> {
        on_all(|shard| async move { shard.flush().await }).await?;
        Ok(())
    }

    /// Flushes everything and makes a snapshot of this name.
    pub async fn snapshot(&self, name: &str) -> Result<Snapshot> {
        if !runtime::broken(Break::SnapshotsUnflushed) {
            self.flush_all().await?;
        }
        let manifest = self.manifest.lock().await;
        let manifest = manifest.as_ref().ok_or(Error::Closed)?;
        let to = layout::snapshots_dir(manifest.dir()).join(name);
        snapshot::link(manifest.dir(), manifest.state(), &to).await
    }

    /// Closes all shards and the manifest; runs on shard 0.
    pub async fn close(self: Rc<Self>, flush: bool) -> Result<()> {
        // A change of definitions needs all shards.
        let _turn = self.changes.lock().await;
        let mut result = Ok(());
        let mut edits = Vec::new();
        // Shard 0 last: the others need the manifest to flush.
        for id in (0..shard_count()).rev() {
            let closed = on_shard(ShardId(id), move |shard| async move { shard.close_here(flush).await }).await;
            match closed.and_then(|closed| closed) {
                Ok(Some(floor)) => edits.push(Edit::Log {
                    shard: id,
                    log: LogRecord { floor, clean: true },
                }),
                Ok(None) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        if result.is_ok() && !edits.is_empty() {
            result = self.edit(edits).await;
        }
        match self.manifest.lock().await.take() {
            Some(manifest) => result.and(manifest.close().await),
            None => result,
        }
    }
}

fn shard_count() -> u16 {
    u16::try_from(runtime::shard_count()).expect("at most 64 shards")
}

/// Runs `f` on all shards side by side and returns what each gave, or the first error once all have ended.
async fn on_all<R, F, Fut>(f: F) -> Result<Vec<R>>
where
    F: FnOnce(Rc<Shard>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<R>> + 'static,
    R: Send + 'static,
{
    let calls = (0..shard_count())
        .map(|shard| runtime::spawn(TaskClass::Request, "on all shards", on_shard(ShardId(shard), f.clone())));
    let mut all = Vec::new();
    let mut failed = None;
    for call in calls.collect::<Vec<_>>() {
        match call.await.flatten() {
            Ok(one) => all.push(one),
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    failed.map_or(Ok(all), Err)
}

/// All logs are in sstables, and the store has `shards` from now on: one step, for a log that is replayed by token is flushed
/// by all shards, and needed until all have.
fn served_edits(old: &State, shards: u16, next: &[(u16, u64)]) -> Vec<Edit> {
    let mut edits = log_edits(next, true);
    if shards != old.shards {
        edits.push(Edit::Identity {
            host_id: old.host_id,
            shards,
        });
    }
    edits
}

/// Logs, each with its first segment that is not in sstables.
fn log_edits(floors: &[(u16, u64)], clean: bool) -> Vec<Edit> {
    let edit = |&(shard, floor): &(u16, u64)| Edit::Log {
        shard,
        log: LogRecord { floor, clean },
    };
    floors.iter().map(edit).collect()
}

/// Removes the segments of logs that no shard has any more; nothing of them is needed.
async fn remove_old_logs(dir: &Path, logs: Range<u16>, shards: u16) -> Result<()> {
    for shard in logs.skip(usize::from(shards)) {
        let folder = layout::log_dir(dir, shard);
        for entry in list_or_none(&folder).await? {
            disk::remove(&folder.join(entry.name)).await?;
        }
    }
    Ok(())
}

/// Ends the shards of a store that could not be opened.
async fn abandon() {
    for shard in (0..shard_count()).rev() {
        let close = || async {
            if let Some(shard) = Shard::running() {
                drop(shard.close_here(false).await);
            }
        };
        let _ = runtime::call(ShardId(shard), close).await;
    }
}

/// A table id that no table has had, and no directory has either: one that a failed or interrupted creation left behind may not be
/// durable, whatever a later sync says.
async fn next_table_id(manifest: &Manifest) -> Result<TableId> {
    let mut last = manifest.state().table_ids_up_to.0;
    for entry in disk::list(&layout::tables_dir(manifest.dir())).await? {
        last = last.max(entry.name.parse().unwrap_or(0));
    }
    let next = last.checked_add(1);
    next.map(TableId)
        .ok_or_else(|| Error::invalid("no table id is left".to_owned()))
}

/// Makes the directories of tables durable, before the manifest names the tables or any file in them.
async fn make_table_dirs(dir: &Path, tables: impl Iterator<Item = TableId>) -> Result<()> {
    for table in tables {
        disk::create_dir_all(&layout::table_dir(dir, table)).await?;
    }
    Ok(disk::sync_dir(&layout::tables_dir(dir)).await?)
}

/// Makes the directories of the shards' logs durable.
async fn make_log_dirs(dir: &Path, shards: u16) -> Result<()> {
    for shard in 0..shards {
        disk::create_dir_all(&layout::log_dir(dir, shard)).await?;
    }
    Ok(disk::sync_dir(&dir.join("log")).await?)
}

/// The first state of a new store in `dir`.
async fn create(dir: &Path, shards: u16) -> Result<State> {
    // What a crash during creation may have left is fine; anything else is somebody's.
    let names = disk::list(dir).await?.into_iter().map(|entry| entry.name);
    layout::must_be_ours(dir, names)?;
    // A manifest is written before the first log segment and the first sstable: either without it is a store that lost it.
    for folder in ["tables", "log"] {
        for entry in list_or_none(&dir.join(folder))
            .await?
            .into_iter()
            .filter(|entry| entry.is_dir)
        {
            if !disk::list(&dir.join(folder).join(&entry.name)).await?.is_empty() {
                return Err(Error::Missing {
                    path: dir.join(crate::manifest::FILE_NAME),
                });
            }
        }
    }
    disk::create_dir_all(&layout::tables_dir(dir)).await?;
    disk::create_dir_all(&layout::orphans_dir(dir)).await?;
    make_log_dirs(dir, shards).await?;
    disk::sync_dir(dir).await?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk::sync_dir(parent).await?;
    }
    let mut host_id = [0; 16];
    runtime::random::fill(&mut host_id);
    Ok(State {
        host_id,
        shards,
        ..State::default()
    })
}

async fn list_or_none(dir: &Path) -> Result<Vec<disk::Entry>> {
    if disk::exists(dir).await? {
        Ok(disk::list(dir).await?)
    } else {
        Ok(Vec::new())
    }
}

/// A file in a table's folder that the manifest does not name.
struct Unnamed {
    /// The table's folder.
    table: String,
    name: String,
}

impl Unnamed {
    fn path(&self, store: &Path) -> PathBuf {
        layout::tables_dir(store).join(&self.table).join(&self.name)
    }

    fn generation(&self) -> Option<u64> {
        layout::generation_in(&self.name)
    }
}

async fn unnamed_files(dir: &Path, state: &State) -> Result<Vec<Unnamed>> {
    let tables = layout::tables_dir(dir);
    let mut unnamed = Vec::new();
    for table in list_or_none(&tables).await?.into_iter().filter(|entry| entry.is_dir) {
        for entry in disk::list(&tables.join(&table.name)).await? {
            let file = Unnamed {
                table: table.name.clone(),
                name: entry.name,
            };
            let record = file.generation().and_then(|generation| state.files.get(&generation));
            if record.is_none_or(|of| layout::table_file(dir, of.table, of.generation) != file.path(dir)) {
                unnamed.push(file);
            }
        }
    }
    Ok(unnamed)
}

/// Refuses a directory whose manifest and files do not belong together, before anything in it is changed: a file that the
/// manifest names is missing, or one that it does not name, or a segment of a log, was written by another store.
async fn check_belonging(dir: &Path, state: &State) -> Result<()> {
    for file in state.files.values() {
        let path = layout::table_file(dir, file.table, file.generation);
        if !disk::exists(&path).await? {
            return Err(Error::Missing { path });
        }
    }
    for unnamed in unnamed_files(dir, state).await? {
        let path = unnamed.path(dir);
        let writer = sstable::Table::writer_of(&path).await?;
        if writer.is_some_and(|writer| writer != state.host_id) {
            return Err(Error::foreign(&path));
        }
    }
    for shard in state.log_shards() {
        let folder = layout::log_dir(dir, shard);
        if let Some(path) = commitlog::replay::foreign(&folder, state.host_id, shard).await? {
            return Err(Error::foreign(&path));
        }
    }
    Ok(())
}

/// Obsolete sstables whose files are gone need not be known any more.
async fn forget_obsolete(dir: &Path, state: &mut State) -> Result<()> {
    for (generation, table) in std::mem::take(&mut state.obsolete) {
        if disk::exists(&layout::table_file(dir, table, generation)).await? {
            state.obsolete.insert(generation, table);
        }
    }
    Ok(())
}

/// Removes the files of obsolete sstables: a crash came before that was done. The manifest says durably that they are obsolete.
async fn remove_obsolete(dir: &Path, state: &State) -> Result<()> {
    for (&generation, &table) in &state.obsolete {
        disk::remove(&layout::table_file(dir, table, generation)).await?;
    }
    for table in state.obsolete.values().copied().collect::<BTreeSet<_>>() {
        disk::sync_dir(&layout::table_dir(dir, table)).await?;
    }
    Ok(())
}

/// Moves table files that the manifest does not name into `orphans/`, and returns their generations: they are not used
/// again.
async fn set_orphans_aside(dir: &Path, state: &State) -> Result<BTreeSet<u64>> {
    let orphans_dir = layout::orphans_dir(dir);
    let mut found = BTreeSet::new();
    let mut moved = 0_u64;
    for unnamed in unnamed_files(dir, state).await? {
        found.extend(unnamed.generation());
        disk::create_dir_all(&orphans_dir).await?;
        let aside = orphans_dir.join(format!("{}-{}", unnamed.table, unnamed.name));
        disk::rename(&unnamed.path(dir), &aside).await?;
        disk::sync_dir(&layout::tables_dir(dir).join(&unnamed.table)).await?;
        moved += 1;
    }
    if moved > 0 {
        disk::sync_dir(&orphans_dir).await?;
        tracing::warn!(files = moved, folder = %orphans_dir.display(), "files that the manifest does not name were set aside");
    }
    for entry in list_or_none(&orphans_dir).await? {
        let generation = entry
            .name
            .rsplit_once('-')
            .and_then(|(_, name)| layout::generation_in(name));
        found.extend(generation);
    }
    Ok(found)
}
