//! The face of the engine outside the shards: [`Store`], from any thread and any async runtime.

use crate::closing::Closing;
use crate::compactions::ShardCompactions;
use crate::config::{Body, Config, SHARDS_MAX};
use crate::definitions::Definitions;
use crate::disk_usage::{self, TableUsage};
use crate::error::{Answer, Error, Result};
use crate::layout;
use crate::manifest;
use crate::node::Node;
use crate::page::{Page, Read};
use crate::shard::{Shard, TokenPosition};
use crate::stats::{Recovery, ShardStatistics};
use crate::stats_socket::StatsSocket;
use model::{Alteration, Keyspace, Mutation, Schema, TableId, Token, TypeAlteration, UserType};
use parking_lot::{Mutex, RwLock};
use runtime::{Handle, Runtime, ShardId, Stopped, TaskClass};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long a shard that has nothing to do looks for messages of the others before it sleeps. Falling asleep and being woken
/// cost more CPU than that together: with writers on both of two shards, 8.6 us a message without, 7.9 with it.
const SPIN_BEFORE_PARK: std::time::Duration = std::time::Duration::from_micros(20);

/// What all threads of the process share of a store, off the data path.
#[derive(Default)]
pub(crate) struct Shared {
    definitions: RwLock<Arc<Definitions>>,
    properties: RwLock<BTreeMap<String, Vec<u8>>>,
}

impl Shared {
    pub fn set(&self, state: &manifest::state::State) {
        self.set_definitions(Arc::new(Definitions::of(state, &Definitions::default())));
        self.properties.write().clone_from(&state.properties);
    }

    pub fn definitions(&self) -> Arc<Definitions> {
        Arc::clone(&self.definitions.read())
    }

    pub fn set_definitions(&self, definitions: Arc<Definitions>) {
        *self.definitions.write() = definitions;
    }

    pub fn property(&self, key: &str) -> Option<Vec<u8>> {
        self.properties.read().get(key).cloned()
    }

    pub fn set_property(&self, key: String, value: Vec<u8>) {
        self.properties.write().insert(key, value);
    }
}

/// An open store. Cheap to clone; every clone is the same store.
///
/// Call [`close`](Self::close) when done: it leaves nothing to replay. A store that is merely dropped has lost nothing
/// either, and replays its log when it is opened again.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle,
    shards: u16,
    shared: Arc<Shared>,
    recoveries: Vec<Recovery>,
    closing: Closing,
    opened_at: runtime::time::Instant,
    announced: Mutex<BTreeMap<&'static str, String>>,
    /// None in the simulator, which owns the shards itself, and once the store is closing.
    runtime: Mutex<Option<Running>>,
}

/// What a store has beside its shards, in the order in which it is let go of.
struct Running {
    runtime: Runtime,
    socket: Option<StatsSocket>,
    lock: runtime::checks::DirectoryLock,
}

/// A store, if it is still there.
pub(crate) struct WeakStore(Weak<Inner>);

impl WeakStore {
    pub fn upgrade(&self) -> Option<Store> {
        self.0.upgrade().map(|inner| Store { inner })
    }
}

/// Whether `dir` holds a store.
///
/// [`must_be_store`] says what is wrong.
#[must_use]
pub fn is_store(dir: &Path) -> bool {
    dir.join(manifest::FILE_NAME).is_file()
}

/// Refuses a directory that holds no store, and says what it is instead.
///
/// # Errors
/// [`Error::Refused`]; [`Error::Missing`] if a store has lost its manifest.
pub fn must_be_store(dir: &Path) -> Result<()> {
    if is_store(dir) {
        return Ok(());
    }
    let what = match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => match layout::has_files(dir) {
            true => {
                let path = dir.join(manifest::FILE_NAME);
                return Err(Error::Missing { path });
            }
            false => "there is no store in this directory".to_owned(),
        },
        Ok(_) => "not a directory".to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no such directory".to_owned(),
        Err(error) => format!("cannot be looked into: {error}"),
    };
    Err(Error::Refused {
        what: format!("{}: {what}", dir.display()),
    })
}

/// Turns the end of a call into the shard into an error.
pub(crate) fn stopped(stopped: Stopped) -> Error {
    match stopped {
        Stopped::Stopped => Error::Closed,
        Stopped::Panicked(shard) => Error::Panicked { shard: shard.0 },
    }
}

/// Runs `f` on a shard, from a shard.
pub(crate) async fn on_shard<R, F, Fut>(to: ShardId, f: F) -> Result<R>
where
    F: FnOnce(Rc<Shard>) -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    runtime::call(to, move || with_shard(f)).await.map_err(stopped)?
}

/// Runs `f` with the running thread's shard, unless the store was closed meanwhile.
async fn with_shard<R, Fut: Future<Output = R>>(f: impl FnOnce(Rc<Shard>) -> Fut) -> Result<R> {
    let shard = Shard::running().ok_or(Error::Closed)?;
    Ok(f(shard).await)
}

impl Store {
    /// Opens the store in `config.dir`, or creates it, and starts its shards. Replays the logs and flushes them before it
    /// returns: seconds per GB of log.
    ///
    /// Starting the threads blocks the caller for a few milliseconds.
    ///
    /// # Errors
    /// [`Error::Refused`] says in one sentence what to change; [`Error::Corrupt`], [`Error::Missing`] and [`Error::TooNew`]
    /// name the file, which stays as it is; [`Error::Io`].
    ///
    /// Nothing is lost by a failed opening. Settings out of bounds, and a directory that is somebody else's or in use, leave
    /// the disk as it was. What fails later may come after the directory and its lock were made, the manifest written anew
    /// with the same content, files that it does not name moved to `orphans/`, and sound logs flushed into tables.
    ///
    /// # Cancellation
    /// Dropping the future leaves the store as a crash would: nothing is lost.
    pub fn open(mut config: Config) -> Answer<'static, Store> {
        Box::pin(async move {
            config.validate().map_err(|what| Error::Refused { what })?;
            let lock = lock(&config.dir)?;
            // Nobody else writes the manifest now.
            let present = manifest::present_shards(&config.dir)?;
            let shards = config.shards.or(present.map(usize::from)).unwrap_or_else(|| {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                cores.min(usize::from(SHARDS_MAX))
            });
            config.shards = Some(shards);
            let checks = runtime::checks::startup(&config.dir, shards, config.body)?;
            if let Some(why) = &checks.why_threads {
                tracing::warn!("{why}");
            }
            for note in &checks.notes {
                tracing::info!("{note}");
            }
            let options = runtime::Options {
                shards,
                pin: config.pin,
                body: Some(checks.body),
                io_memory_bytes: checks.io_memory_bytes.min(config.io_memory_bytes),
                direct_io: checks.direct_io,
                spin_before_park: SPIN_BEFORE_PARK,
                name: "scrollback".to_owned(),
            };
            let runtime = Runtime::start(options)?;
            let dir = config.statistics_socket.then(|| config.dir.clone());
            let opened = Store::open_on(runtime.handle(), config).await;
            match opened {
                Ok(store) => {
                    let socket = dir.and_then(|dir| store.open_socket(&dir));
                    *store.inner.runtime.lock() = Some(Running { runtime, socket, lock });
                    Ok(store)
                }
                Err(error) => {
                    runtime.stop()?;
                    Err(error)
                }
            }
        })
    }

    /// Opens the store on shards that run already: those of the simulator.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Cancellation
    /// As [`open`](Self::open).
    pub fn open_on(handle: Handle, config: Config) -> Answer<'static, Store> {
        Box::pin(async move {
            config.validate().map_err(|what| Error::Refused { what })?;
            let shared = Arc::new(Shared::default());
            let of_node = Arc::clone(&shared);
            let config = Arc::new(config);
            let open = handle.call(ShardId(0), move || Node::open(config, of_node));
            let recoveries = open.await.map_err(stopped)??;
            let shards = u16::try_from(handle.shard_count()).expect("at most 64 shards");
            let runtime = Mutex::new(None);
            let inner = Inner {
                handle,
                shards,
                shared,
                recoveries,
                closing: Closing::default(),
                opened_at: runtime::time::Instant::now(),
                announced: Mutex::default(),
                runtime,
            };
            Ok(Store { inner: Arc::new(inner) })
        })
    }

    pub(crate) fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.inner))
    }

    /// Says something of the program that has the store to whoever asks for its [status](crate::Request::Status), as where it listens. A
    /// name that was announced before has the new value.
    pub fn announce(&self, name: &'static str, value: impl Into<String>) {
        self.inner.announced.lock().insert(name, value.into());
    }

    pub(crate) fn announced(&self) -> BTreeMap<&'static str, String> {
        self.inner.announced.lock().clone()
    }

    pub(crate) fn opened_at(&self) -> runtime::time::Instant {
        self.inner.opened_at
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.inner.shards
    }

    /// What the shards run on; `None` in the simulator, and once the store is closing.
    #[must_use]
    pub fn body(&self) -> Option<Body> {
        self.inner.runtime.lock().as_ref().map(|running| running.runtime.body())
    }

    /// The shard that owns a partition.
    #[must_use]
    pub fn shard_of(&self, partition_key: &[u8]) -> ShardId {
        self.shard_of_token(model::token_of(partition_key))
    }

    fn shard_of_token(&self, token: Token) -> ShardId {
        ShardId(model::shard_of(token, self.inner.shards))
    }

    /// What opening found in the logs, shard by shard.
    #[must_use]
    pub fn recoveries(&self) -> &[Recovery] {
        &self.inner.recoveries
    }

    /// The table of that name.
    #[must_use]
    pub fn table(&self, keyspace: &str, name: &str) -> Option<Arc<Schema>> {
        self.inner.shared.definitions().table(keyspace, name).cloned()
    }

    /// The table of this name, written as `keyspace.table`.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there is none, and which there are.
    pub fn table_called(&self, name: &str) -> Result<Arc<Schema>> {
        let table = name
            .split_once('.')
            .and_then(|(keyspace, name)| self.table(keyspace, name));
        table.ok_or_else(|| {
            let all: Vec<String> = self.tables().iter().map(|table| table.qualified_name()).collect();
            Error::invalid(format!("there is no table {name:?}; there are {}", all.join(", ")))
        })
    }

    /// All tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Arc<Schema>> {
        self.definitions().tables().cloned().collect()
    }

    /// All definitions, as they are now: of keyspaces, tables and user-defined types.
    #[must_use]
    pub fn definitions(&self) -> Arc<Definitions> {
        self.inner.shared.definitions()
    }

    /// All keyspaces, by name; one that has tables and was never defined as [`Keyspace::new`] gives it.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<Arc<Keyspace>> {
        self.definitions().keyspaces().cloned().collect()
    }

    /// All user-defined types, by keyspace and name.
    #[must_use]
    pub fn user_types(&self) -> Vec<Arc<UserType>> {
        self.definitions().user_types().cloned().collect()
    }

    /// Creates a keyspace; returns whether it was created. Durable, and known to every shard, when this returns.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], unless `if_not_exists`; also if it was never defined and has tables. [`Error::Invalid`]: its name.
    /// [`Error::Poisoned`], [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancellation
    /// The keyspace may or may not come to exist.
    pub fn create_keyspace(&self, keyspace: Keyspace, if_not_exists: bool) -> Answer<'_, bool> {
        Box::pin(async move {
            let create = move |shard: Rc<Shard>| async move { shard.create_keyspace(keyspace, if_not_exists).await };
            self.call(ShardId(0), create).await?
        })
    }

    /// Changes a keyspace's definition to this one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Poisoned`], [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancellation
    /// The keyspace may or may not be changed.
    pub fn alter_keyspace(&self, keyspace: Keyspace) -> Answer<'_, ()> {
        Box::pin(async move {
            let alter = move |shard: Rc<Shard>| async move { shard.alter_keyspace(keyspace).await };
            self.call(ShardId(0), alter).await?
        })
    }

    /// Drops a keyspace with its tables and user-defined types, all in one step; returns whether it was there.
    ///
    /// # Errors
    /// [`Error::NotFound`], unless `if_exists`. [`Error::Poisoned`], [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancellation
    /// All of it is dropped, or nothing.
    pub fn drop_keyspace(&self, name: &str, if_exists: bool) -> Answer<'_, bool> {
        let name = name.to_owned();
        Box::pin(async move {
            let drop = move |shard: Rc<Shard>| async move { shard.drop_keyspace(&name, if_exists).await };
            self.call(ShardId(0), drop).await?
        })
    }

    /// Creates a user-defined type; returns whether it was created. Types in its fields that are defined are taken as they are now.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], unless `if_not_exists`; [`Error::NotFound`]: its keyspace; [`Error::Invalid`];
    /// [`Error::Poisoned`], [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancellation
    /// The type may or may not come to exist.
    pub fn create_type(&self, ty: UserType, if_not_exists: bool) -> Answer<'_, bool> {
        Box::pin(async move {
            let create = move |shard: Rc<Shard>| async move { shard.create_type(ty, if_not_exists).await };
            self.call(ShardId(0), create).await?
        })
    }

    /// Changes a user-defined type, and with it all types and tables that use it: all of them or none. Gives the new one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]: it, or what uses it, cannot be changed like that; [`Error::Poisoned`],
    /// [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancellation
    /// The type may or may not be changed.
    pub fn alter_type(&self, keyspace: &str, name: &str, changes: Vec<TypeAlteration>) -> Answer<'_, Arc<UserType>> {
        let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
        Box::pin(async move {
            let alter = move |shard: Rc<Shard>| async move { shard.alter_type(&keyspace, &name, changes).await };
            self.call(ShardId(0), alter).await?
        })
    }

    /// Drops a user-defined type; returns whether it was there.
    ///
    /// # Errors
    /// [`Error::NotFound`], unless `if_exists`; [`Error::Invalid`]: a table or a type uses it, and which; [`Error::Poisoned`],
    /// [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancellation
    /// The type may or may not be dropped.
    pub fn drop_type(&self, keyspace: &str, name: &str, if_exists: bool) -> Answer<'_, bool> {
        let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
        Box::pin(async move {
            let drop = move |shard: Rc<Shard>| async move { shard.drop_type(&keyspace, &name, if_exists).await };
            self.call(ShardId(0), drop).await?
        })
    }

    /// Creates a table; its id is assigned. With `if_not_exists`, a table of that name is returned as it is. User-defined types in its
    /// columns that are [defined](Self::create_type) are taken as they are now; its keyspace need not be.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::Invalid`]: the schema breaks a rule; [`Error::Poisoned`], [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancellation
    /// The table may or may not come to exist.
    pub fn create_table(&self, schema: Schema, if_not_exists: bool) -> Answer<'_, Arc<Schema>> {
        Box::pin(async move {
            self.call(ShardId(0), move |shard| async move {
                shard.node().create_table(schema, if_not_exists).await
            })
            .await?
        })
    }

    /// Changes a table's definition and returns the new one, which reads see from then on. Rows are not touched: what dropped
    /// columns hold is passed over, also if a column of that name is added again.
    ///
    /// ```no_run
    /// # async fn example(store: scrollback_engine::Store) -> Result<(), scrollback_engine::Error> {
    /// use model::{Alteration, CqlType};
    ///
    /// let changes = vec![Alteration::drop("subject"), Alteration::add("pinned", CqlType::Boolean)];
    /// let schema = store.alter_table("chat", "messages", changes).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]: the table cannot be changed like that; [`Error::Poisoned`], [`Error::Io`],
    /// [`Error::Closed`].
    ///
    /// # Cancellation
    /// The table may or may not be changed.
    pub fn alter_table(&self, keyspace: &str, name: &str, changes: Vec<Alteration>) -> Answer<'_, Arc<Schema>> {
        let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
        Box::pin(async move {
            let alter =
                move |shard: Rc<Shard>| async move { shard.node().alter_table(&keyspace, &name, &changes).await };
            self.call(ShardId(0), alter).await?
        })
    }

    /// Drops a table with all that is in it; gives what it was, if it was there. One that is created under its name later is another,
    /// and empty. Reads under way end as they began, writes under way as if they had come before; later ones are refused.
    ///
    /// # Errors
    /// [`Error::NotFound`], unless `if_exists`. [`Error::Poisoned`], [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancellation
    /// The table is dropped on all shards, or on none.
    pub fn drop_table(&self, keyspace: &str, name: &str, if_exists: bool) -> Answer<'_, Option<Arc<Schema>>> {
        let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
        Box::pin(async move {
            let drop = move |shard: Rc<Shard>| async move { shard.drop_table(&keyspace, &name, if_exists).await };
            self.call(ShardId(0), drop).await?
        })
    }

    /// Empties a table. What was acknowledged before the call is gone for good when this returns, whatever its timestamps; writes that
    /// begin then are kept; those in between are kept or gone.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there is no such table. [`Error::Poisoned`], [`Error::Io`]: whether it was emptied is known when the store is
    /// opened again. [`Error::Closed`].
    ///
    /// # Cancellation
    /// The table is emptied on all shards, or on none.
    pub fn truncate(&self, table: TableId) -> Answer<'_, ()> {
        Box::pin(async move {
            self.call(ShardId(0), move |shard| async move { shard.truncate(table).await })
                .await?
        })
    }

    /// A small value that a layer above keeps with the store.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<Vec<u8>> {
        self.inner.shared.property(key)
    }

    /// Sets a property that has no value yet; returns whether it had none. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancellation
    /// The property may or may not be set.
    pub fn set_property_if_absent(&self, key: &str, value: Vec<u8>) -> Answer<'_, bool> {
        let key = key.to_owned();
        Box::pin(async move {
            self.call(ShardId(0), move |shard| async move {
                shard.node().set_property_if_absent(key, value).await
            })
            .await?
        })
    }

    /// Writes a mutation; when this returns it is durable and every read sees it.
    ///
    /// # Errors
    /// [`Error::Overloaded`]: nothing was written, try later. [`Error::Invalid`]. [`Error::OutcomeUnknown`]: it may be
    /// there after a reopening.
    ///
    /// # Cancellation
    /// Dropping the future leaves the outcome unknown.
    pub fn apply(&self, mutation: Mutation) -> Answer<'_, ()> {
        Box::pin(async move {
            let owner = self.owner(&mutation);
            let apply = move |shard: Rc<Shard>| async move {
                let within = shard.config.admission_timeout;
                shard.apply_here(&mutation, within).await
            };
            self.call(owner, apply).await?
        })
    }

    /// As [`apply`](Self::apply), but on its shard it waits for room for at most `within`. Once there is room, the write takes as
    /// long as it takes.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    ///
    /// # Cancellation
    /// As [`apply`](Self::apply).
    pub fn apply_within(&self, mutation: Mutation, within: Duration) -> Answer<'_, ()> {
        Box::pin(async move {
            let owner = self.owner(&mutation);
            self.call(
                owner,
                move |shard| async move { shard.apply_here(&mutation, within).await },
            )
            .await?
        })
    }

    /// Writes mutations, each on its own, and returns when all are durable and visible. Those of one shard are applied in
    /// their order.
    ///
    /// # Errors
    /// The first error; the others may be written.
    ///
    /// # Cancellation
    /// Dropping the future leaves the outcome unknown.
    pub fn apply_all(&self, mutations: Vec<Mutation>) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut by_shard: Vec<Vec<Mutation>> = vec![Vec::new(); usize::from(self.inner.shards)];
            for mutation in mutations {
                by_shard[usize::from(self.owner(&mutation).0)].push(mutation);
            }
            let calls: Vec<_> = (0..)
                .map(ShardId)
                .zip(by_shard)
                .filter(|(_, mutations)| !mutations.is_empty())
                .collect();
            let calls = calls.into_iter().map(|(to, mutations)| {
                self.call(to, move |shard| async move { shard.apply_all_here(&mutations).await })
            });
            let mut result = Ok(());
            for call in calls.collect::<Vec<_>>() {
                let applied = call.await.and_then(|applied| applied);
                result = result.and(applied);
            }
            result
        })
    }

    /// Reads one page.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Corrupt`] and [`Error::Io`] name the file.
    ///
    /// # Cancellation
    /// Changes nothing.
    pub fn read(&self, read: Read) -> Answer<'_, Page> {
        Box::pin(async move {
            let token = model::token_of(&read.key);
            let page = move |shard: Rc<Shard>| async move {
                let within = shard.config.admission_timeout;
                shard.read_here(&read, token, within).await
            };
            self.call(self.shard_of_token(token), page).await?
        })
    }

    /// As [`read`](Self::read), but on its shard it waits for its turn for at most `within`. Once it is read, it takes as long as
    /// it takes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    /// As [`read`](Self::read).
    pub fn read_within(&self, read: Read, within: Duration) -> Answer<'_, Page> {
        Box::pin(async move {
            let token = model::token_of(&read.key);
            let page = move |shard: Rc<Shard>| async move { shard.read_here(&read, token, within).await };
            self.call(self.shard_of_token(token), page).await?
        })
    }

    /// The keys of up to `limit` partitions of one shard after `after`, in token order: those that have anything, live or
    /// dead.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Corrupt`] and [`Error::Io`] name the file.
    ///
    /// # Cancellation
    /// Changes nothing.
    pub fn partitions(
        &self,
        shard: ShardId,
        table: TableId,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Answer<'_, Vec<Vec<u8>>> {
        Box::pin(async move {
            self.call(shard, move |shard| async move {
                shard.partitions_here(table, after, limit).await
            })
            .await?
        })
    }

    /// As [`Shard::partitions_from`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// Changes nothing.
    pub fn partitions_from(
        &self,
        shard: ShardId,
        table: TableId,
        after: TokenPosition,
        up_to: Token,
        limit: usize,
    ) -> Answer<'_, Vec<(Token, Vec<u8>)>> {
        Box::pin(async move {
            let walk =
                move |shard: Rc<Shard>| async move { shard.partitions_from_here(table, after, up_to, limit).await };
            self.call(shard, walk).await?
        })
    }

    /// Flushes every memtable of every shard.
    ///
    /// # Errors
    /// The first shard's error; nothing is lost by it.
    ///
    /// # Cancellation
    /// What has begun is flushed all the same.
    pub fn flush(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.call(ShardId(0), |shard| async move { shard.node().flush_all().await })
                .await?
        })
    }

    /// Compacts all of a table, or of every table: flushes what is in memory, divides files that shards share, and merges what is there, as
    /// the table's strategy has it: into one run, one for each window, or one for each epoch. What has been deleted or has ended goes for
    /// good, if its grace has passed. It takes about as long as reading and writing the table once, comes before other compactions, and
    /// leaves out what the disk has no room for, damaged files, and what is written meanwhile.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there is no such table. [`Error::Poisoned`], [`Error::Closed`]; or what made a flush or a merge fail: the shard
    /// goes on with the next table, and the store is as it was.
    ///
    /// # Cancellation
    /// It goes on all the same; closing the store ends it, and what was merged so far stays.
    pub fn compact(&self, table: Option<TableId>) -> impl Future<Output = Result<()>> + Send + use<> {
        let compact = self.call(
            ShardId(0),
            move |shard| async move { shard.node().compact_all(table).await },
        );
        async move { compact.await? }
    }

    /// What is compacted now, what waits, and what was done, shard by shard.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Panicked`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub fn compactions(&self) -> Answer<'_, Vec<ShardCompactions>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for shard in 0..self.inner.shards {
                let of_shard = self.call(ShardId(shard), |shard| async move { shard.compactions_here().await });
                all.push(of_shard.await?);
            }
            Ok(all)
        })
    }

    /// What each table takes on the disk, by epoch and by partition: by name. Reads the index frames of all table files.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`] name the file; [`Error::Closed`], [`Error::Panicked`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub fn disk_usage(&self) -> Answer<'_, Vec<TableUsage>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for shard in 0..self.inner.shards {
                let of_shard = self.call(ShardId(shard), |shard| async move {
                    let look = async move { shard.disk_usage_here().await };
                    runtime::spawn(TaskClass::Maintenance, "disk usage", look).await
                });
                all.push(of_shard.await??);
            }
            Ok(disk_usage::together(all))
        })
    }

    /// Figures, shard by shard.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Panicked`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub fn statistics(&self) -> Answer<'_, Vec<ShardStatistics>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for shard in 0..self.inner.shards {
                all.push(
                    self.call(ShardId(shard), |shard| async move { shard.statistics() })
                        .await?,
                );
            }
            Ok(all)
        })
    }

    /// Runs `f` on a shard's own thread and returns what it gives. `f` must not block; it breathes in its loops.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Panicked`].
    ///
    /// # Cancellation
    /// Once begun, `f` runs to its end, whether or not the future is dropped.
    pub fn call<R, F, Fut>(&self, to: ShardId, f: F) -> impl Future<Output = Result<R>> + Send + use<R, F, Fut>
    where
        F: FnOnce(Rc<Shard>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
        R: Send + 'static,
    {
        let open = !self.inner.closing.has_begun();
        let call = open.then(|| self.inner.handle.call(to, move || with_shard(f)));
        async move {
            match call {
                Some(call) => call.await.map_err(stopped)?,
                None => Err(Error::Closed),
            }
        }
    }

    /// Closes the store: writes under way end, everything is flushed, the logs are closed, the threads have ended. Other
    /// clones then get [`Error::Closed`].
    ///
    /// A second call waits for the first to end, and gives what that gave.
    ///
    /// # Errors
    /// What kept it from closing cleanly: the first of the shards' errors, or [`Error::Poisoned`] if an earlier write had
    /// failed. The threads have ended all the same, and nothing acknowledged is lost: the next opening replays the logs.
    ///
    /// # Cancellation
    /// The store stays half closed. Call it again, and it goes on from there; or drop the store.
    pub fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.inner.shut(true).await })
    }

    fn owner(&self, mutation: &Mutation) -> ShardId {
        ShardId(model::shard_of(mutation.as_ref().token(), self.inner.shards))
    }
}

impl Inner {
    async fn shut(&self, flush: bool) -> Result<()> {
        let begin = || {
            let close = move |shard: Rc<Shard>| async move { shard.node().close(flush).await };
            let close = self.handle.call(ShardId(0), move || with_shard(close));
            let runtime = self.runtime.lock().take();
            async move {
                let closed = close.await.map_err(stopped).flatten().flatten();
                let stopped = match runtime {
                    Some(Running { runtime, socket, lock }) => {
                        let stopped = runtime.stop().map_err(Error::from);
                        drop(socket);
                        drop(lock);
                        stopped
                    }
                    None => Ok(()),
                };
                closed.and(stopped)
            }
        };
        self.closing.end(begin).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let running = self.runtime.lock().is_some();
        if running {
            // As after a crash: no flush, the log has everything.
            let shut = runtime::block_on(self.shut(false));
            if let Err(error) = shut {
                tracing::warn!(%error, "a store was dropped without being closed, and could not be stopped in order");
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the directory is locked before a shard runs")]
fn create_dir(dir: &Path) -> Result<()> {
    let failed = |source| Error::Io {
        op: "create directory",
        path: dir.to_owned(),
        offset: 0,
        source: Arc::new(source),
    };
    std::fs::create_dir_all(dir).map_err(failed)
}

#[expect(clippy::disallowed_methods, reason = "looked into before a shard runs")]
fn entries(dir: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::Io {
        op: "list",
        path: dir.to_owned(),
        offset: 0,
        source: Arc::new(source),
    };
    let entries = std::fs::read_dir(dir).map_err(failed)?;
    let names = entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// Locks the directory, which is created if it is not there.
fn lock(dir: &Path) -> Result<runtime::checks::DirectoryLock> {
    match std::fs::metadata(dir) {
        Ok(metadata) if !metadata.is_dir() => {
            return Err(Error::Refused {
                what: format!("{}: not a directory", dir.display()),
            });
        }
        // Not even a lock is put into a directory that is somebody else's.
        Ok(_) if !is_store(dir) => layout::must_be_ours(dir, entries(dir)?)?,
        Ok(_) => {}
        Err(_) => create_dir(dir)?,
    }
    Ok(runtime::checks::lock_directory(dir)?)
}
