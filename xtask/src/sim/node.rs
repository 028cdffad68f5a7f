//! What the harness needs of a store, and of the world that it runs in.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::data::{Ask, Change, PageView, PartitionKey};
use super::layout::{Alteration, Layout};
use super::truth::Slip;

/// Why a store did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Nothing was done; may be tried again.
    Refused(String),
    /// The device failed or was full, or the shard stopped because of it. What was in flight may be there or not.
    Failed(String),
    /// Never right, whatever the device did: damage found where only crashes happened, a panic, nonsense.
    Wrong(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Refused(why) => write!(f, "refused: {why}"),
            Trouble::Failed(why) => write!(f, "failed: {why}"),
            Trouble::Wrong(why) => write!(f, "wrong: {why}"),
        }
    }
}

/// An open store, as its clients hold it.
pub(crate) trait Node: Clone + 'static {
    /// Where a further page begins.
    type Rest: Clone + 'static;

    /// Sends changes that `shard` owns, in their order and without waiting in between; returns when each has its outcome.
    ///
    /// Each is marked on the slip at the moment from which its place among the shard's writes is fixed, and again when
    /// its outcome is known.
    fn burst(&self, shard: usize, changes: Vec<Arc<Change>>, slip: Slip) -> impl Future<Output = ()>;

    /// Sends one change from outside the shards and waits for its outcome.
    fn apply(&self, change: &Change) -> impl Future<Output = Result<(), Trouble>>;

    /// Reads one page; `rest`, if given, is where the page before it ended.
    fn read(&self, ask: &Ask, rest: Option<&Self::Rest>)
    -> impl Future<Output = Result<PageView<Self::Rest>, Trouble>>;

    /// Writes out all memtables.
    fn flush(&self) -> impl Future<Output = Result<(), Trouble>>;

    /// What the tables are, as the store shows them, in the order of `TABLES`.
    fn layouts(&self) -> Result<Vec<Layout>, Trouble>;

    /// Alters a table; gives what the store shows it to be then.
    fn alter(&self, table: usize, alterations: &[Alteration]) -> impl Future<Output = Result<Layout, Trouble>>;

    /// Makes a snapshot of this name.
    fn snapshot(&self, name: &str) -> impl Future<Output = Result<(), Trouble>>;

    /// Lets virtual time go by.
    fn pause(&self, micros: u64) -> impl Future<Output = ()>;

    /// Compactions since it was opened, what they have purged, and those that failed.
    fn compacted(&self) -> impl Future<Output = [u64; 3]>;

    /// Shuts down, leaving nothing to replay.
    fn close(self) -> impl Future<Output = Result<(), Trouble>>;
}

/// Opens the store on what the disk holds, and creates the tables that are not there.
pub(crate) trait Door: 'static {
    /// What is behind it.
    type Node: Node;

    fn open(self, universe: Arc<Vec<PartitionKey>>) -> impl Future<Output = Result<Self::Node, Trouble>>;
}

/// What the disk does to those who use it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Weather {
    /// Chance of an operation to fail.
    pub io_error: f64,
    /// Chance of a write to find the disk full.
    pub no_space: f64,
}

impl Weather {
    pub(crate) const FAIR: Weather = Weather {
        io_error: 0.0,
        no_space: 0.0,
    };

    pub(crate) fn is_fair(&self) -> bool {
        *self == Self::FAIR
    }
}

/// What ends a stretch between two starts of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// What was not synced may be lost.
    Power,
    /// The process alone: what it had written stays, and is no more durable than before.
    Kill,
}

/// How a stretch ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// The client was done.
    Done,
    /// The cut came on the way.
    Crashed,
    /// Nobody could go on and nobody was done.
    Stuck(String),
}

/// Most shards that a machine ever has.
pub(crate) const SHARDS_MAX: usize = 6;

/// Where each partition of the universe lives, among any number of shards.
#[derive(Clone, Debug)]
pub(crate) struct Homes(Arc<Vec<Vec<usize>>>);

impl Homes {
    pub(crate) fn new(universe: &[PartitionKey], shard_of: impl Fn(&PartitionKey, usize) -> usize) -> Homes {
        let among = |shards| universe.iter().map(|partition| shard_of(partition, shards)).collect();
        Homes(Arc::new((1..=SHARDS_MAX).map(among).collect()))
    }

    /// By partition: its shard, one of `shards`.
    pub(crate) fn among(&self, shards: usize) -> &[usize] {
        &self.0[shards - 1]
    }
}

/// A disk, and what lives on it from start to crash.
pub(crate) trait World {
    /// How the store is entered.
    type Door: Door;

    /// How many shards the machine has when it is started next.
    fn shards(&self) -> usize;

    fn set_shards(&mut self, shards: usize);

    /// Where a partition lives among so many shards.
    fn shard_of(&self, partition: &PartitionKey, shards: usize) -> usize;

    /// Lets so many seconds pass on the wall clock.
    fn pass(&mut self, seconds: u32);

    /// Starts the machine on what the disk kept.
    fn start(&mut self) -> Self::Door;

    /// Starts a machine with so many shards on a snapshot, as a store of its own; `None` if there is none of this name. No other
    /// store is opened after it.
    fn start_snapshot(&mut self, name: &str, shards: usize) -> Option<Self::Door>;

    /// Drives the machine and `client` until the client is done, or until the cut after so many more disk operations.
    fn drive(&mut self, weather: Weather, cut: (Cut, Option<u64>), client: Pin<Box<dyn Future<Output = ()>>>) -> Ended;

    /// Ends the machine, if that has not happened.
    fn cut(&mut self, cut: Cut);

    /// Disk operations since the beginning.
    fn ops(&self) -> u64;
}
