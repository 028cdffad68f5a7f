//! Runs one seed: stretches of work, each ended by a crash or a shutdown, each followed by a start and a look at
//! everything.
//!
//! 1. The store is opened. All partitions are read whole and judged against all prefixes (`truth`, rule 3). If the state is
//!    not known for certain, what may be missing is sent again.
//! 2. The clients run side by side: bursts, reads, flushes. Each page is judged as it comes (rules 1 and 2).
//! 3. The power is cut, on the way or at the end; a shutdown before it must have left nothing in the air.
//!
//! A crash during 1 leaves what is known as it was: the next start is judged against the same prefixes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use super::data::{Ask, Key, PartitionIndex, PartitionKey, RowView, Span};
use super::node::{Door, Ended, Node, Trouble, Weather, World};
use super::plan::{Generator, Profile, Step, Stretch, universe};
use super::truth::{Counts, Truth};
use crate::rng::Rng;

/// What a run did, beside what the judge counted.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Report {
    pub counts: Counts,
    pub stretches: u64,
    /// The power was cut while something was being done.
    pub crashes_midway: u64,
    /// The power was cut when the clients were done, without a shutdown.
    pub crashes_at_rest: u64,
    pub shutdowns: u64,
    pub flushes: u64,
    pub stormy: u64,
}

type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// Runs all futures side by side, those that can go on in an order that the seed draws.
async fn crowd(mut members: Vec<Local<()>>, mut rng: Rng) {
    poll_fn(move |cx| {
        rng.shuffle(&mut members);
        members.retain_mut(|member| member.as_mut().poll(cx).is_pending());
        if members.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// What the clients of one stretch share.
#[derive(Clone)]
struct Stage {
    truth: Truth,
    universe: Arc<Vec<PartitionKey>>,
    flushes: Arc<std::sync::atomic::AtomicU64>,
    /// A shutdown was asked for and granted.
    closed: Arc<AtomicBool>,
}

/// Pages a reader follows before it says that the store leads it in circles.
const PAGES_MAX: usize = 100_000;

impl Stage {
    /// Reads up to `pages` pages; `None` if the store would not, or if what it gave was wrong.
    async fn scroll<N: Node>(&self, node: &N, ask: &Ask, pages: usize) -> Option<()> {
        let mut after: Option<Key> = None;
        let mut rest = None;
        for _ in 0..pages {
            let began = self.truth.read_begins(ask.partition);
            match node.read(ask, rest.as_ref()).await {
                Ok(page) => {
                    self.truth.read_ends(began, ask, after.as_ref(), &page);
                    after = page.rows.last().map(|row| row.key.clone()).or(after);
                    rest = page.more;
                }
                Err(trouble) => {
                    self.truth.trouble("a read", &trouble);
                    return None;
                }
            }
            if rest.is_none() || self.truth.violation().is_some() {
                break;
            }
        }
        Some(())
    }

    /// The whole of one partition, gathered page by page while nobody writes.
    async fn whole<N: Node>(
        &self,
        node: &N,
        partition: PartitionIndex,
        rng: &mut Rng,
    ) -> Result<(Option<RowView>, Vec<RowView>), Trouble> {
        let reverse = rng.chance(1, 2);
        let limit_rows = *rng.pick(&[3, 20, 1000, 1000]);
        let ask = Ask {
            partition,
            span: Span::ALL,
            reverse,
            limit_rows,
            limit_bytes: 1 << 20,
        };
        let (mut statics, mut rows, mut rest) = (None, Vec::new(), None);
        for nth in 0..PAGES_MAX {
            let page = node.read(&ask, rest.as_ref()).await?;
            if nth == 0 {
                statics = page.statics;
            }
            rows.extend(page.rows);
            rest = page.more;
            if rest.is_none() {
                if reverse {
                    rows.reverse();
                }
                return Ok((statics, rows));
            }
        }
        Err(Trouble::Wrong(format!("no end after {PAGES_MAX} pages")))
    }

    async fn client<N: Node>(self, node: N, steps: Vec<Step>) {
        for step in steps {
            if self.truth.violation().is_some() {
                return;
            }
            match step {
                Step::Burst { shard, changes } => node.burst(shard, changes, self.truth.slip(shard)).await,
                Step::Apply(change) => {
                    let shard = self.truth.shard_of(change.partition);
                    let ticket = self.truth.slip(shard).sent(&change);
                    let outcome = node.apply(&change).await;
                    ticket.ended(&outcome);
                }
                Step::Scroll { ask, pages } => {
                    self.scroll(&node, &ask, pages).await;
                }
                Step::Flush => {
                    let acknowledged = self.truth.acknowledged();
                    match node.flush().await {
                        Ok(()) => {
                            self.truth.settled(&acknowledged);
                            self.flushes.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(trouble) => self.truth.trouble("a flush", &trouble),
                    }
                }
                Step::Pause(micros) => node.pause(micros).await,
            }
        }
    }

    /// One stretch, from the start of the store to its end. The power may be cut anywhere in it.
    async fn play<D: Door>(self, door: D, stretch: Stretch, mut rng: Rng) {
        let node = match door.open(Arc::clone(&self.universe)).await {
            Ok(node) => node,
            Err(trouble) => return self.truth.trouble("opening the store", &trouble),
        };
        let mut found = Vec::with_capacity(self.universe.len());
        for partition in 0..self.universe.len() {
            match self.whole(&node, partition, &mut rng).await {
                Ok(whole) => found.push(whole),
                Err(trouble) => return self.truth.trouble("a read after the start", &trouble),
            }
        }
        for (shard, changes) in self.truth.recovered(&found).into_iter().enumerate() {
            if !changes.is_empty() {
                node.burst(shard, changes, self.truth.slip(shard)).await;
            }
        }
        let members = stretch.clients.into_iter().map(|steps| {
            let client: Local<()> = Box::pin(self.clone().client(node.clone(), steps));
            client
        });
        crowd(members.collect(), rng.fork()).await;
        if stretch.close && self.truth.violation().is_none() {
            let acknowledged = self.truth.acknowledged();
            match node.close().await {
                Ok(()) => {
                    self.truth.settled(&acknowledged);
                    self.closed.store(true, Ordering::Relaxed);
                }
                Err(trouble) => self.truth.trouble("the shutdown", &trouble),
            }
        }
    }
}

/// The run of one seed: its world, what it did, what was wrong.
pub(crate) struct Run<W> {
    pub world: W,
    pub report: Report,
    pub violation: Option<String>,
}

/// Runs `seed` in the world that `make` gives for it.
pub(crate) fn run_seed<W: World>(seed: u64, make: impl FnOnce(u64, &Profile, &mut Rng) -> W) -> Run<W> {
    let mut rng = Rng::new(seed);
    let profile = Profile::draw(&mut rng);
    let universe = Arc::new(universe(&mut rng));
    let mut world = make(seed, &profile, &mut rng);
    let shard_of: Vec<usize> = universe.iter().map(|partition| world.shard_of(partition)).collect();
    let truth = Truth::new(
        Arc::clone(&universe),
        shard_of.clone(),
        world.shards(),
        !profile.periodic,
    );
    let stretches = profile.stretches;
    let mut generator = Generator::new(rng.fork(), profile, Arc::clone(&universe), &shard_of);
    let stage = Stage {
        truth: truth.clone(),
        universe,
        flushes: Arc::default(),
        closed: Arc::default(),
    };
    let mut report = Report::default();
    for nth in 0..=stretches {
        let mut stretch = generator.stretch(nth == stretches);
        if nth == stretches {
            // The last look: what the others left must be there.
            stretch.clients.clear();
        }
        let last = nth == stretches;
        play(&mut world, &stage, stretch, &mut rng, &mut report);
        if last && truth.violation().is_none() && !stage.closed.load(Ordering::Relaxed) {
            truth.violate("the last shutdown, in fair weather, did not end".to_owned());
        }
        if let Some(what) = truth.violation() {
            report.counts = truth.counts();
            return Run {
                world,
                report,
                violation: Some(format!("in stretch {nth} of {stretches}: {what}")),
            };
        }
    }
    report.counts = truth.counts();
    report.flushes = stage.flushes.load(Ordering::Relaxed);
    Run {
        world,
        report,
        violation: None,
    }
}

fn play<W: World>(world: &mut W, stage: &Stage, stretch: Stretch, rng: &mut Rng, report: &mut Report) {
    let rng = rng.fork();
    stage.truth.set_weather(stretch.weather);
    stage.closed.store(false, Ordering::Relaxed);
    report.stretches += 1;
    report.stormy += u64::from(stretch.weather != Weather::FAIR);
    let (weather, crash_after) = (stretch.weather, stretch.crash_after);
    let ended = world.stretch(weather, crash_after, |door| {
        Box::pin(stage.clone().play(door, stretch, rng))
    });
    match ended {
        Ended::Done if stage.closed.load(Ordering::Relaxed) => report.shutdowns += 1,
        Ended::Done => report.crashes_at_rest += 1,
        Ended::Crashed => report.crashes_midway += 1,
        Ended::Stuck(what) => stage.truth.violate(format!("nobody can go on: {what}")),
    }
}
