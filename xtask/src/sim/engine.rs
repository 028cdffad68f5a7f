//! The engine in the simulator's world: the adapter that the clients drive.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use engine::{CompactionKind, Config, Error, PastTombstones, Store, SyncMode};
use model::{Mutation, Schema, Slice};
use runtime::sim::{self, Faults, Outcome, Sim, Tear};
use runtime::{Handle, ShardId};

use super::convert::{self, KEYSPACE, MANY_TOMBSTONES};
use super::data::{Ask, Change, PageView, PartitionKey, TABLES};
use super::layout::{Alteration, Layout};
use super::node::{Cut, Door, Ended, Node, Trouble, Weather, World};
use super::plan::Profile;
use super::truth::Slip;
use crate::rng::Rng;

/// Where the store lies on the simulated disk.
pub(crate) const DIRECTORY: &str = "/store";

/// Sorts what the engine says into what its clients may expect.
fn trouble(error: Error) -> Trouble {
    let why = error.to_string();
    match error {
        Error::Overloaded { .. } => Trouble::Refused(why),
        Error::Io { .. } | Error::OutcomeUnknown { .. } | Error::Poisoned { .. } | Error::Closed => {
            Trouble::Failed(why)
        }
        _ => Trouble::Wrong(why),
    }
}

/// Settings small enough that a short history fills memtables, segments and caches.
fn config(profile: &Profile, rng: &mut Rng) -> Config {
    let mut config = Config::new(Path::new(DIRECTORY));
    config.shards = Some(profile.shards);
    config.memtable_bytes = 64 << 10;
    config.block_cache_bytes = *rng.pick(&[0, 8 << 10, 1 << 20]);
    // Runs of an eighth of it: a few rows, so that floors are raised again and again.
    config.row_cache_bytes = *rng.pick(&[0, 16 << 10, 64 << 10, 1 << 20]);
    config.tombstone_failure_threshold = *rng.pick(&[1, 4, 30, MANY_TOMBSTONES, MANY_TOMBSTONES]);
    // Few blocks in a segment and four segments in all: they are recycled again and again.
    config.log_segment_bytes = if profile.bulky {
        64 << 10
    } else {
        *rng.pick(&[16 << 10, 16 << 10, 32 << 10, 64 << 10])
    };
    config.log_bytes_max = 4 * u64::from(config.log_segment_bytes);
    config.block_bytes = *rng.pick(&[256, 1 << 10, 16 << 10]);
    config.fragment_bytes = *rng.pick(&[4 << 10, 4 << 10, 64 << 10]);
    if profile.periodic {
        config.sync = SyncMode::Periodic {
            period: Duration::from_millis(1 + rng.below(20) as u64),
        };
    }
    config
}

/// The way into a store on shards that run.
pub(crate) struct EngineDoor {
    handle: Handle,
    config: Config,
    /// The options with which each table is created.
    options: [usize; TABLES.len()],
}

impl Door for EngineDoor {
    type Node = EngineNode;

    async fn open(self, universe: Arc<Vec<PartitionKey>>) -> Result<EngineNode, Trouble> {
        let past_tombstones = match self.config.tombstone_failure_threshold {
            MANY_TOMBSTONES => PastTombstones::Fail,
            _ => PastTombstones::Cut,
        };
        let store = Store::open_on(self.handle, self.config).await.map_err(trouble)?;
        for (table, options) in TABLES.iter().zip(self.options) {
            if store.table(KEYSPACE, table.name).is_none() {
                let created = store.create_table(convert::schema(table, options), true).await;
                created.map_err(trouble)?;
            }
        }
        Ok(EngineNode {
            store,
            universe,
            past_tombstones,
        })
    }
}

/// An open store.
#[derive(Clone)]
pub(crate) struct EngineNode {
    store: Store,
    universe: Arc<Vec<PartitionKey>>,
    past_tombstones: PastTombstones,
}

impl EngineNode {
    /// The definition in force: at least what the clients know of it.
    fn schema(&self, table: usize) -> Arc<Schema> {
        let schema = self.store.table(KEYSPACE, TABLES[table].name);
        schema.expect("it was created when the store was opened")
    }

    fn mutation(&self, change: &Change) -> Mutation {
        let partition = &self.universe[change.partition];
        convert::mutation(&self.schema(partition.table), partition, change)
    }
}

fn layout(schema: &Schema) -> Result<Layout, Trouble> {
    convert::layout(schema).ok_or_else(|| Trouble::Wrong(format!("a definition that was never asked for: {schema:?}")))
}

type Write = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

impl Node for EngineNode {
    type Rest = Slice;

    async fn burst(&self, shard: usize, changes: Vec<Arc<Change>>, slip: Slip) {
        let mutations: Vec<Mutation> = changes.iter().map(|change| self.mutation(change)).collect();
        let unheard = slip.clone();
        // All writes are begun in one go on their own shard: the order in which they are first polled is the order of the
        // log.
        let done = self.store.call(ShardId(shard as u16), move |shard| async move {
            let mut writes: Vec<_> = mutations
                .into_iter()
                .zip(&changes)
                .map(|(mutation, change)| {
                    let shard = std::rc::Rc::clone(&shard);
                    let write: Write = Box::pin(async move { shard.apply(mutation).await });
                    (Some(write), Arc::clone(change), None)
                })
                .collect();
            poll_fn(move |cx| {
                let mut waiting = false;
                for (write, change, ticket) in &mut writes {
                    let Some(future) = write else { continue };
                    let is_first = ticket.is_none();
                    match future.as_mut().poll(cx).map_err(trouble) {
                        // Refused before it had a place.
                        Poll::Ready(Err(why)) if is_first => {
                            slip.failed_before_sent(&why);
                            *write = None;
                        }
                        Poll::Ready(outcome) => {
                            ticket.take().unwrap_or_else(|| slip.sent(change)).ended(&outcome);
                            *write = None;
                        }
                        Poll::Pending => {
                            waiting = true;
                            if is_first {
                                *ticket = Some(slip.sent(change));
                            }
                        }
                    }
                }
                if waiting { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        });
        if let Err(error) = done.await {
            unheard.failed_before_sent(&trouble(error));
        }
    }

    async fn apply(&self, change: &Change) -> Result<(), Trouble> {
        self.store.apply(self.mutation(change)).await.map_err(trouble)
    }

    async fn read(&self, ask: &Ask, rest: Option<&Slice>) -> Result<PageView<Slice>, Trouble> {
        let partition = &self.universe[ask.partition];
        let read = convert::read(
            &self.schema(partition.table),
            partition,
            ask,
            rest,
            self.past_tombstones,
        );
        let page = self.store.read(read).await.map_err(trouble)?;
        // The table may have been altered meanwhile; what it had before is still known.
        convert::page(&self.schema(partition.table), &TABLES[partition.table], &page)
    }

    async fn flush(&self) -> Result<(), Trouble> {
        self.store.flush().await.map_err(trouble)
    }

    fn layouts(&self) -> Result<Vec<Layout>, Trouble> {
        (0..TABLES.len()).map(|table| layout(&self.schema(table))).collect()
    }

    async fn alter(&self, table: usize, alterations: &[Alteration]) -> Result<Layout, Trouble> {
        let changes = alterations
            .iter()
            .map(|of| convert::alteration(&TABLES[table], of))
            .collect();
        let altered = self.store.alter_table(KEYSPACE, TABLES[table].name, changes).await;
        altered.map_err(trouble)?;
        layout(&self.schema(table))
    }

    async fn snapshot(&self, name: &str) -> Result<(), Trouble> {
        self.store.snapshot(name).await.map(drop).map_err(trouble)
    }

    async fn pause(&self, micros: u64) {
        sim::client_sleep(Duration::from_micros(micros)).await;
    }

    async fn compacted(&self) -> [u64; 3] {
        let statistics = self.store.statistics().await.unwrap_or_default();
        let sum = |of: fn(&engine::ShardStatistics) -> u64| statistics.iter().map(of).sum();
        for shard in 0..self.store.shards() {
            let of_shard = self
                .store
                .call(ShardId(shard), |shard| async move { shard.compactions().1 });
            let of_shard = of_shard.await.unwrap_or_default();
            let too_few = of_shard
                .iter()
                .find(|of| of.kind == CompactionKind::Tier && of.files_in < 2);
            assert!(too_few.is_none(), "no table has a min_threshold below 2: {too_few:?}");
        }
        [
            sum(|of| of.compactions),
            sum(|of| of.compaction_purged),
            sum(|of| of.compaction_failures),
        ]
    }

    async fn close(self) -> Result<(), Trouble> {
        self.store.close().await.map_err(trouble)
    }
}

/// The simulated machine with the engine on it.
pub(crate) struct EngineWorld {
    pub sim: Sim,
    config: Config,
    options: [usize; TABLES.len()],
}

impl EngineWorld {
    /// The world of a seed.
    pub(crate) fn of_seed(seed: u64, profile: &Profile, rng: &mut Rng) -> Self {
        let tear = match rng.below(8) {
            0 => Tear::KeepAll,
            1 => Tear::DropAll,
            2 => Tear::TornSectors,
            _ => Tear::Seeded,
        };
        Self::new(seed, profile, tear, rng)
    }

    pub(crate) fn new(seed: u64, profile: &Profile, tear: Tear, rng: &mut Rng) -> Self {
        let sim = Sim::new(sim::Config {
            seed,
            shards: profile.shards,
            io_delay_us: 20..400,
            p_io_error: 0.0,
            p_no_space: 0.0,
            tear,
        });
        Self {
            sim,
            config: config(profile, rng),
            options: profile.options,
        }
    }
}

impl World for EngineWorld {
    type Door = EngineDoor;

    fn shards(&self) -> usize {
        self.config.shards.unwrap_or(1)
    }

    fn set_shards(&mut self, shards: usize) {
        self.sim.set_shards(shards);
        self.config.shards = Some(shards);
    }

    fn shard_of(&self, partition: &PartitionKey, shards: usize) -> usize {
        let token = model::token_of(&convert::partition_key(partition));
        usize::from(model::shard_of(token, shards as u16))
    }

    fn pass(&mut self, seconds: u32) {
        self.sim.step_wall_clock(i64::from(seconds) * 1_000_000);
    }

    fn start(&mut self) -> EngineDoor {
        EngineDoor {
            handle: self.sim.start(),
            config: self.config.clone(),
            options: self.options,
        }
    }

    fn start_snapshot(&mut self, name: &str, shards: usize) -> Option<EngineDoor> {
        let dir = Path::new(DIRECTORY).join("snapshots").join(name);
        let files = self.sim.disk().list();
        if !files.contains(&dir.join("MANIFEST")) {
            return None;
        }
        self.set_shards(shards);
        self.config.dir = dir;
        Some(self.start())
    }

    fn drive(
        &mut self,
        weather: Weather,
        (cut, after): (Cut, Option<u64>),
        client: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Ended {
        let usual = self.sim.faults();
        self.sim.set_faults(Faults {
            p_io_error: weather.io_error,
            p_no_space: weather.no_space,
            ..usual
        });
        match cut {
            Cut::Power => self.sim.crash_at_op(after),
            Cut::Kill => self.sim.kill_at_op(after),
        }
        match self.sim.run(client) {
            Outcome::Done(()) => Ended::Done,
            Outcome::Crashed => Ended::Crashed,
            Outcome::Stuck(what) => Ended::Stuck(what),
        }
    }

    fn cut(&mut self, cut: Cut) {
        match cut {
            _ if !self.sim.is_running() => {}
            Cut::Power => self.sim.crash(),
            Cut::Kill => self.sim.stop(),
        }
    }

    fn ops(&self) -> u64 {
        self.sim.ops()
    }
}
