//! Runs one seed: stretches of work, each ended by a crash or a shutdown, each followed by a start and a look at
//! everything.
//!
//! 1. The store is opened. What it shows of its tables is judged (`truth`, rule 4). All partitions are read whole and judged
//!    against all prefixes (rule 3). If the state is not known for certain, what may be missing is sent again.
//! 2. The clients run side by side: bursts, reads, flushes, alterations. Each page is judged as it comes (rules 1 and 2).
//! 3. The power is cut or the process killed, on the way or at the end; a shutdown before it must have left nothing in the air.
//!
//! At the end each snapshot that was made is opened as a store of its own, and judged (rule 5).
//!
//! A crash during 1 leaves what is known as it was: the next start is judged against the same prefixes.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use super::data::{Ask, Change, Key, PartitionIndex, PartitionKey, Span, TABLES};
use super::node::{Cut, Door, Ended, Homes, Node, SHARDS_MAX, Trouble, Weather, World};
use super::plan::{CLOSED_FOR_MAX, Generator, PERIOD_S, Profile, Step, Stretch, universe};
use super::truth::{Counts, Taken, Truth, Whole};
use crate::rng::Rng;

/// What a run did, beside what the judge counted.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Report {
    pub counts: Counts,
    pub stretches: u64,
    /// The cut came while something was being done.
    pub crashes_midway: u64,
    /// The cut came when the clients were done, without a shutdown.
    pub crashes_at_rest: u64,
    pub shutdowns: u64,
    /// Cuts that took the process alone.
    pub kills: u64,
    pub flushes: u64,
    pub stormy: u64,
    pub snapshots_opened: u64,
    /// Compactions, what they have purged, and those that failed, as far as they were counted before a crash.
    pub compacted: [u64; 3],
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.counts += other.counts;
        self.stretches += other.stretches;
        self.crashes_midway += other.crashes_midway;
        self.crashes_at_rest += other.crashes_at_rest;
        self.shutdowns += other.shutdowns;
        self.kills += other.kills;
        self.flushes += other.flushes;
        self.stormy += other.stormy;
        self.snapshots_opened += other.snapshots_opened;
        for (sum, more) in self.compacted.iter_mut().zip(other.compacted) {
            *sum += more;
        }
    }
}

pub(crate) type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// Runs all futures side by side, those that can go on in an order that the seed draws.
pub(crate) async fn crowd(mut members: Vec<Local<()>>, mut rng: Rng) {
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
    compacted: Rc<Cell<[u64; 3]>>,
    /// A shutdown was asked for and granted.
    closed: Arc<AtomicBool>,
    /// Shards of the machine that runs.
    shards: usize,
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
                    after = page.end().cloned().or(after);
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
    async fn whole<N: Node>(&self, node: &N, partition: PartitionIndex, rng: &mut Rng) -> Result<Whole, Trouble> {
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

    /// The whole of every partition, while nobody writes.
    async fn everything<N: Node>(&self, node: &N, rng: &mut Rng) -> Result<Vec<Whole>, Trouble> {
        let mut found = Vec::with_capacity(self.universe.len());
        for partition in 0..self.universe.len() {
            found.push(self.whole(node, partition, rng).await?);
        }
        Ok(found)
    }

    /// Opens a snapshot, judges all that is in it, and closes it.
    async fn look_into<D: Door>(self, door: D, taken: Rc<Taken>, mut rng: Rng) {
        let look = async {
            let node = door.open(Arc::clone(&self.universe)).await?;
            let layouts = node.layouts()?;
            let found = self.everything(&node, &mut rng).await?;
            self.truth.snapshot_opened(&taken, &layouts, &found);
            node.close().await
        };
        if let Err(trouble) = look.await {
            self.truth
                .violate(format!("{} as a store of its own: {trouble}", taken.name));
        }
    }

    async fn client<N: Node>(self, node: N, steps: Vec<Step>) {
        let mut layouts = self.truth.layouts();
        let now_s = self.truth.now_s();
        for step in steps {
            if self.truth.violation().is_some() {
                return;
            }
            let writes = matches!(step, Step::Burst { .. } | Step::Apply(_));
            let known = |change: Arc<Change>| {
                let known = layouts[self.universe[change.partition].table].known(&change, now_s)?;
                self.truth.drawn_and_known(&change, &known);
                Some(known)
            };
            match step {
                Step::Burst { shard, changes } => {
                    let changes: Vec<_> = changes.into_iter().filter_map(known).collect();
                    node.burst(shard, changes, self.truth.slip(shard)).await;
                }
                Step::Apply(change) => {
                    if let Some(change) = known(change) {
                        let shard = self.truth.shard_of(change.partition);
                        let ticket = self.truth.slip(shard).sent(&change);
                        let outcome = node.apply(&change).await;
                        ticket.ended(&outcome);
                    }
                }
                Step::Scroll { ask, pages } => {
                    self.scroll(&node, &ask, pages).await;
                }
                Step::Flush => {
                    let acknowledged = self.truth.acknowledged();
                    match node.flush().await {
                        Ok(()) => {
                            self.truth.tell(|| "a flush is done".to_owned());
                            self.truth.settled(&acknowledged);
                            self.flushes.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(trouble) => self.truth.trouble("a flush", &trouble),
                    }
                }
                Step::Pause(micros) => node.pause(micros).await,
                Step::Snapshot => {
                    if let Some(name) = self.truth.snapshot_begins() {
                        let outcome = node.snapshot(&name).await;
                        self.truth.snapshot_ends(&name, &outcome);
                    }
                }
                Step::Alter { table, wishes } => {
                    if let Some(alterations) = self.truth.alteration_begins(table, &wishes) {
                        let outcome = node.alter(table, &alterations).await;
                        self.truth.alteration_ends(table, &outcome);
                    }
                }
            }
            // Who writes knows of a table what it was when he last did something else: at times it is another by now.
            if !writes {
                layouts = self.truth.layouts();
            }
        }
    }

    /// Opens the store, looks at everything in it, and sends again what may be missing. The cut may come anywhere.
    async fn open<D: Door>(self, door: D, mut rng: Rng, opened: Rc<RefCell<Option<D::Node>>>) {
        let node = match door.open(Arc::clone(&self.universe)).await {
            Ok(node) => node,
            Err(trouble) => return self.truth.trouble("opening the store", &trouble),
        };
        match node.layouts() {
            Ok(layouts) => self.truth.shown(layouts),
            Err(trouble) => return self.truth.trouble("a look at the tables", &trouble),
        }
        let found = match self.everything(&node, &mut rng).await {
            Ok(found) => found,
            Err(trouble) => return self.truth.trouble("a read after the start", &trouble),
        };
        for (shard, changes) in self.truth.recovered(&found, self.shards).into_iter().enumerate() {
            if !changes.is_empty() {
                node.burst(shard, changes, self.truth.slip(shard)).await;
            }
        }
        *opened.borrow_mut() = Some(node);
    }

    /// Lets the clients work side by side, and shuts the store down if that is asked for. The cut may come anywhere.
    async fn work<N: Node>(self, node: N, clients: Vec<Vec<Step>>, close: bool, rng: Rng) {
        let members = clients.into_iter().map(|steps| {
            let client: Local<()> = Box::pin(self.clone().client(node.clone(), steps));
            client
        });
        crowd(members.collect(), rng).await;
        let more = node.compacted().await;
        let sum = self.compacted.get();
        self.compacted.set(std::array::from_fn(|of| sum[of] + more[of]));
        if close && self.truth.violation().is_none() {
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

/// What is done in one run, from an empty disk to the last look.
pub(crate) struct Course {
    pub universe: Vec<PartitionKey>,
    pub homes: Homes,
    /// The options with which each table is created.
    pub options: [usize; TABLES.len()],
    /// An acknowledged change is durable; false: only after a flush.
    pub durable_acks: bool,
    pub stretches: Vec<Stretch>,
}

/// A run that has ended: its world, what it did, what was wrong.
pub(crate) struct Run<W> {
    pub world: W,
    pub report: Report,
    /// Disk operations of each stretch: until everything was read, and after it.
    pub ops: Vec<[u64; 2]>,
    pub violation: Option<String>,
}

/// Runs `seed` in the world that `make` gives for it.
pub(crate) fn run_seed<W: World>(seed: u64, tell: bool, make: impl FnOnce(u64, &Profile, &mut Rng) -> W) -> Run<W> {
    let mut rng = Rng::new(seed);
    let profile = Profile::draw(&mut rng);
    let universe = universe(&mut rng);
    let world = make(seed, &profile, &mut rng);
    let homes = Homes::new(&universe, |partition, shards| world.shard_of(partition, shards));
    let (count, durable_acks, options) = (profile.stretches, !profile.periodic, profile.options);
    let mut generator = Generator::new(rng.fork(), profile, universe.clone(), homes.clone());
    let stretches = (0..count).map(|_| generator.stretch()).collect();
    run_course(
        world,
        Course {
            universe,
            homes,
            options,
            durable_acks,
            stretches,
        },
        rng,
        tell,
    )
}

/// Runs a course, and after it takes a last look in fair weather: what the others left must be there.
pub(crate) fn run_course<W: World>(mut world: W, course: Course, mut rng: Rng, tell: bool) -> Run<W> {
    let universe = Arc::new(course.universe);
    let truth = Truth::new(
        Arc::clone(&universe),
        course.homes,
        course.options,
        world.shards(),
        course.durable_acks,
    );
    let mut stage = Stage {
        truth: truth.clone(),
        universe,
        flushes: Arc::default(),
        compacted: Rc::default(),
        closed: Arc::default(),
        shards: world.shards(),
    };
    if tell {
        truth.tell_all();
    }
    let count = course.stretches.len();
    let mut report = Report::default();
    let mut ops = Vec::with_capacity(count + 1);
    let mut violation = None;
    for (nth, stretch) in course.stretches.into_iter().chain([Stretch::last_look()]).enumerate() {
        if let Some(shards) = stretch.shards {
            world.set_shards(shards);
            stage.shards = shards;
        }
        ops.push(play(&mut world, &stage, stretch, &mut rng, &mut report));
        if nth == count && !stage.closed.load(Ordering::Relaxed) {
            truth.violate("the last shutdown, in fair weather, did not end".to_owned());
        }
        violation = truth
            .violation()
            .map(|what| format!("in stretch {} of {count}: {what}", nth + 1));
        if violation.is_some() {
            break;
        }
    }
    if violation.is_none() {
        open_snapshots(&mut world, &stage, &mut rng, &mut report);
        violation = truth.violation();
    }
    report.counts = truth.counts();
    report.flushes = stage.flushes.load(Ordering::Relaxed);
    report.compacted = stage.compacted.get();
    Run {
        world,
        report,
        ops,
        violation,
    }
}

/// Opens all snapshots of the run, with any number of shards, and judges them. Of those that were not answered there may be some.
fn open_snapshots<W: World>(world: &mut W, stage: &Stage, rng: &mut Rng, report: &mut Report) {
    stage.truth.set_weather(Weather::FAIR);
    for taken in stage.truth.snapshots() {
        let shards = rng.within(1..SHARDS_MAX + 1);
        let Some(door) = world.start_snapshot(&taken.name, shards) else {
            if taken.answered {
                stage
                    .truth
                    .violate(format!("{} was made, and is not there", taken.name));
            }
            continue;
        };
        report.snapshots_opened += 1;
        let name = taken.name.clone();
        stage.truth.tell(|| format!("{name} is opened with {shards} shards"));
        let look = stage.clone().look_into(door, Rc::new(taken), rng.fork());
        let ended = world.drive(Weather::FAIR, (Cut::Power, None), Box::pin(look));
        if ended != Ended::Done {
            stage.truth.violate(format!("{name} as a store of its own: {ended:?}"));
        }
        world.cut(Cut::Power);
    }
}

/// One stretch, from the start of the store to the cut; gives the disk operations of its two parts.
fn play<W: World>(world: &mut W, stage: &Stage, stretch: Stretch, rng: &mut Rng, report: &mut Report) -> [u64; 2] {
    let (before, looking, working) = (world.ops(), rng.fork(), rng.fork());
    report.stretches += 1;
    stage.closed.store(false, Ordering::Relaxed);
    stage.truth.tell(|| {
        let Stretch {
            shards,
            clients: _,
            closed_for,
            later,
            weather,
            weather_at_start,
            cut,
            crash_in_start,
            crash_in_work,
            close,
        } = &stretch;
        format!(
            "after {closed_for} periods start, {shards:?} shards: {weather_at_start:?} {crash_in_start:?}, then {weather:?} {crash_in_work:?}, \
             after {:?} periods {:?}, shutdown: {close}, {cut:?}",
            later.as_ref().map(|later| later.periods),
            later.as_ref().and_then(|later| later.crash),
        )
    });
    let pass = |world: &mut W, periods: u32| {
        world.pass(periods * PERIOD_S);
        stage.truth.pass(periods * PERIOD_S);
    };
    pass(world, stretch.closed_for);
    let door = world.start();
    let opened = Rc::new(RefCell::new(None));
    stage.truth.set_weather(stretch.weather_at_start);
    let open = Box::pin(stage.clone().open(door, looking, Rc::clone(&opened)));
    let cut = stretch.cut;
    let mut ended = world.drive(stretch.weather_at_start, (cut, stretch.crash_in_start), open);
    let between = world.ops();
    let node = opened.borrow_mut().take();
    if let Some(node) = node.filter(|_| ended == Ended::Done && stage.truth.violation().is_none()) {
        if !stretch.weather.is_fair() {
            // After a stormy start a fair day may still bring its wreckage.
            stage.truth.set_weather(stretch.weather);
        }
        report.stormy += u64::from(stretch.weather != Weather::FAIR);
        let (weather, close) = (stretch.weather, stretch.close);
        let (now, later) = (stretch.clients, stretch.later);
        let close_now = close && later.is_none();
        let work = stage.clone().work(node.clone(), now, close_now, working);
        ended = world.drive(weather, (cut, stretch.crash_in_work), Box::pin(work));
        if let Some(later) = later.filter(|_| ended == Ended::Done && stage.truth.violation().is_none()) {
            // What is sent again must not meet what was purged meanwhile.
            let periods = match stage.truth.has_unknown() {
                true => later.periods.min(CLOSED_FOR_MAX),
                false => later.periods,
            };
            pass(world, periods);
            let work = stage.clone().work(node, later.clients, close, rng.fork());
            ended = world.drive(weather, (cut, later.crash), Box::pin(work));
        }
    }
    let after = world.ops();
    stage.truth.tell(|| {
        format!(
            "{ended:?} after {} and {} operations; {cut:?}",
            between - before,
            after - between
        )
    });
    world.cut(cut);
    stage.truth.snapshots_are_history();
    report.kills += u64::from(cut == Cut::Kill);
    match ended {
        Ended::Done if stage.closed.load(Ordering::Relaxed) => report.shutdowns += 1,
        Ended::Done => report.crashes_at_rest += 1,
        Ended::Crashed => report.crashes_midway += 1,
        Ended::Stuck(what) => stage.truth.violate(format!("nobody can go on: {what}")),
    }
    [between - before, after - between]
}
