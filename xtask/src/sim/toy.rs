//! A store of toy size, right or wrong on purpose: it shows that the judge lets what is right pass, and bites.
//!
//! Per shard a list of changes is the log; a sync makes it durable up to where it was when the sync began; a power cut
//! keeps what is durable and, as the seed will, some of what follows. [`Fault`] names the ways of being wrong.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::data::{Ask, Change, Key, PageView, PartitionIndex, PartitionKey};
use super::layout::{Alteration, Layout};
use super::node::{Cut, Door, Ended, Node, Trouble, Weather, World};
use super::oracle::{Moment, Partition};
use super::plan::{NODE_TIME_BEGINS_S, Profile};
use super::run::{Run, run_seed};
use super::truth::Slip;
use crate::rng::Rng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    AcknowledgesBeforeSync,
    AppliesBeforeSync,
    LeavesHoles,
    ForgetsPartitionDeletions,
    ForgetsRangeDeletions,
    ForgetsStatics,
    RevivesDeletedRows,
    PagesOfTwoMoments,
    PagesForgetTheRest,
    PagesOverlap,
    ReverseMissesARow,
    ReadsStale,
    ShutdownLosesTheEnd,
    KeepsWhatItRefused,
    FlushSettlesNothing,
    DamageAfterCrash,
    FailsInFairWeather,
    Hangs,
    SeesWhatHasEnded,
    ForgetsAlterations,
    ShowsWhatWasDropped,
    SnapshotsEndEarly,
    SnapshotsGrow,
    LosesSnapshots,
}

impl Fault {
    const ALL: [Fault; 24] = [
        Fault::AcknowledgesBeforeSync,
        Fault::AppliesBeforeSync,
        Fault::LeavesHoles,
        Fault::ForgetsPartitionDeletions,
        Fault::ForgetsRangeDeletions,
        Fault::ForgetsStatics,
        Fault::RevivesDeletedRows,
        Fault::PagesOfTwoMoments,
        Fault::PagesForgetTheRest,
        Fault::PagesOverlap,
        Fault::ReverseMissesARow,
        Fault::ReadsStale,
        Fault::ShutdownLosesTheEnd,
        Fault::KeepsWhatItRefused,
        Fault::FlushSettlesNothing,
        Fault::DamageAfterCrash,
        Fault::FailsInFairWeather,
        Fault::Hangs,
        Fault::SeesWhatHasEnded,
        Fault::ForgetsAlterations,
        Fault::ShowsWhatWasDropped,
        Fault::SnapshotsEndEarly,
        Fault::SnapshotsGrow,
        Fault::LosesSnapshots,
    ];
}

#[derive(Default)]
struct Shard {
    log: Vec<Arc<Change>>,
    durable: usize,
    applied: usize,
    poisoned: bool,
    state: BTreeMap<PartitionIndex, Partition>,
}

/// What a disk holds: the logs of the shards, and what the tables are.
#[derive(Clone)]
struct Disk {
    logs: Vec<Vec<Arc<Change>>>,
    layouts: Vec<Layout>,
}

type Snapshots = Rc<RefCell<BTreeMap<String, Disk>>>;

/// The machine, from a start to a power cut.
struct Machine {
    fault: Fault,
    periodic: bool,
    weather: Cell<Weather>,
    rng: RefCell<Rng>,
    ops: Cell<u64>,
    crash_at: Cell<Option<u64>>,
    off: Cell<bool>,
    /// The client was done when it was last driven.
    at_rest: Cell<bool>,
    shards: Vec<RefCell<Shard>>,
    shard_of: RefCell<Vec<usize>>,
    now_s: Rc<Cell<u32>>,
    universe: Vec<PartitionKey>,
    layouts: RefCell<Vec<Layout>>,
    /// What a start will find.
    durable_layouts: Rc<RefCell<Vec<Layout>>>,
    snapshots: Snapshots,
    /// Runs on a snapshot; nothing of it is kept.
    of_snapshot: bool,
    /// Each partition as its last reader saw it.
    stale: RefCell<BTreeMap<PartitionIndex, Partition>>,
}

impl Machine {
    fn chance(&self, p: f64) -> bool {
        p > 0.0 && self.rng.borrow_mut().chance((p * 10_000.0) as usize, 10_000)
    }

    /// One operation of the disk; others go on meanwhile.
    async fn op(&self) {
        self.ops.set(self.ops.get() + 1);
        if self.crash_at.get() == Some(self.ops.get()) {
            self.off.set(true);
        }
        let mut polls = self.rng.borrow_mut().below(4);
        poll_fn(|cx| {
            if polls == 0 && !self.off.get() {
                return Poll::Ready(());
            }
            polls = polls.saturating_sub(1);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn apply(&self, shard: usize, upto: usize) {
        let shard = &mut *self.shards[shard].borrow_mut();
        while shard.applied < upto {
            let change = &shard.log[shard.applied];
            shard.state.entry(change.partition).or_default().apply(change);
            shard.applied += 1;
        }
    }

    async fn sync(&self, shard: usize) -> Result<(), Trouble> {
        let upto = self.shards[shard].borrow().log.len();
        self.op().await;
        if self.shards[shard].borrow().poisoned || self.chance(self.weather.get().io_error) {
            self.shards[shard].borrow_mut().poisoned = true;
            return Err(Trouble::Failed("sync of the log: input/output error".to_owned()));
        }
        {
            let mut shard = self.shards[shard].borrow_mut();
            shard.durable = shard.durable.max(upto);
        }
        self.apply(shard, upto);
        Ok(())
    }

    /// Puts a change into the log, unless it is refused.
    fn append(&self, shard: usize, change: &Arc<Change>) -> Result<usize, Trouble> {
        if self.shards[shard].borrow().poisoned {
            return Err(Trouble::Failed("the shard is poisoned".to_owned()));
        }
        self.shards[shard].borrow_mut().log.push(Arc::clone(change));
        let length = self.shards[shard].borrow().log.len();
        if self.periodic || matches!(self.fault, Fault::AppliesBeforeSync | Fault::AcknowledgesBeforeSync) {
            self.apply(shard, length);
        }
        Ok(length)
    }

    async fn acknowledge(&self, shard: usize, length: usize) -> Result<(), Trouble> {
        if self.periodic || self.fault == Fault::AcknowledgesBeforeSync {
            return Ok(());
        }
        if self.fault == Fault::Hangs && self.chance(0.01) {
            std::future::pending::<()>().await;
        }
        while self.shards[shard].borrow().durable < length {
            self.sync(shard).await?;
        }
        match self.fault {
            Fault::KeepsWhatItRefused if !self.weather.get().is_fair() && self.chance(0.1) => {
                Err(Trouble::Refused("too busy".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Clone)]
struct Toy(Rc<Machine>);

impl Door for Toy {
    type Node = Toy;

    async fn open(self, universe: Arc<Vec<PartitionKey>>) -> Result<Toy, Trouble> {
        for nth in 0..self.0.shards.len() {
            self.0.op().await;
            let length = self.0.shards[nth].borrow().log.len();
            self.0.apply(nth, length);
            if self.0.fault == Fault::DamageAfterCrash && length > 20 && self.0.chance(0.1) {
                return Err(Trouble::Wrong("the log is damaged".to_owned()));
            }
        }
        assert_eq!(self.0.shard_of.borrow().len(), universe.len());
        Ok(self)
    }
}

impl Node for Toy {
    type Rest = Key;

    async fn burst(&self, shard: usize, changes: Vec<Arc<Change>>, slip: Slip) {
        let mut waiting = Vec::new();
        for change in &changes {
            match self.0.append(shard, change) {
                Ok(length) => waiting.push((slip.sent(change), length)),
                Err(trouble) => slip.failed_before_sent(&trouble),
            }
        }
        for (ticket, length) in waiting {
            ticket.ended(&self.0.acknowledge(shard, length).await);
        }
    }

    async fn apply(&self, change: &Change) -> Result<(), Trouble> {
        let shard = self.0.shard_of.borrow()[change.partition];
        let length = self.0.append(shard, &Arc::new(change.clone()))?;
        self.0.acknowledge(shard, length).await
    }

    async fn read(&self, ask: &Ask, rest: Option<&Key>) -> Result<PageView<Key>, Trouble> {
        let machine = &self.0;
        let now_s = match machine.fault {
            Fault::SeesWhatHasEnded => 0,
            _ => machine.now_s.get(),
        };
        if machine.fault == Fault::FailsInFairWeather && machine.chance(0.001) {
            return Err(Trouble::Failed("input/output error".to_owned()));
        }
        let shard = machine.shard_of.borrow()[ask.partition];
        let now = || {
            machine.shards[shard]
                .borrow()
                .state
                .get(&ask.partition)
                .cloned()
                .unwrap_or_default()
        };
        let table = machine.universe[ask.partition].table;
        let layout = || {
            let mut layout = machine.layouts.borrow()[table].clone();
            if machine.fault == Fault::ShowsWhatWasDropped {
                let columns = layout.statics.iter_mut().chain(&mut layout.regulars);
                columns.for_each(|column| column.dropped = false);
            }
            layout
        };
        let (before, layout_before) = (now(), layout());
        machine.op().await;
        let layout = layout();
        let at = |layout| Moment { now_s, layout };
        let after = now();
        let stale = machine.stale.borrow_mut().insert(ask.partition, after.clone());
        let state = match stale {
            Some(stale) if machine.fault == Fault::ReadsStale && machine.chance(0.05) => stale,
            _ => after,
        };
        let old: Vec<_> = before.rows(&ask.span, ask.reverse, rest, at(&layout_before)).collect();
        let mut rows: Vec<_> = state.rows(&ask.span, ask.reverse, rest, at(&layout)).collect();
        if machine.fault == Fault::PagesOfTwoMoments {
            // The first row as it was when the read began, the others as they are when it ends.
            if let (Some(first), Some(was)) = (rows.first_mut(), old.first()) {
                *first = was.clone();
            }
        }
        if machine.fault == Fault::ReverseMissesARow && ask.reverse && rows.len() > 2 && rest.is_some() {
            rows.remove(0);
        }
        let is_cut = rows.len() > ask.limit_rows;
        rows.truncate(ask.limit_rows);
        let mut more = rows.last().filter(|_| is_cut).map(|row| row.key.clone());
        if machine.fault == Fault::PagesForgetTheRest && rows.len() == 7 {
            more = None;
        }
        if machine.fault == Fault::PagesOverlap && rows.len() == 3 && more.is_some() {
            more = Some(rows[1].key.clone());
        }
        Ok(PageView {
            statics: state.statics(at(&layout)),
            rows,
            more,
            cut_at: None,
        })
    }

    async fn flush(&self) -> Result<(), Trouble> {
        if self.0.chance(self.0.weather.get().no_space) {
            return Err(Trouble::Failed("no space".to_owned()));
        }
        for shard in 0..self.0.shards.len() {
            if self.0.fault == Fault::FlushSettlesNothing && self.0.periodic {
                self.0.op().await;
                continue;
            }
            self.0.sync(shard).await?;
        }
        Ok(())
    }

    fn layouts(&self) -> Result<Vec<Layout>, Trouble> {
        Ok(self.0.layouts.borrow().clone())
    }

    async fn alter(&self, table: usize, alterations: &[Alteration]) -> Result<Layout, Trouble> {
        let mut layout = self.0.layouts.borrow()[table].clone();
        alterations.iter().for_each(|alteration| layout.alter(alteration));
        let endures = || {
            if self.0.fault != Fault::ForgetsAlterations {
                self.0.durable_layouts.borrow_mut()[table] = layout.clone();
            }
        };
        // Somewhere in the operation, which may be cut off or fail before or after that.
        let early = self.0.chance(0.5);
        if early {
            endures();
        }
        self.0.op().await;
        if self.0.chance(self.0.weather.get().io_error) {
            return Err(Trouble::Failed("write of the layout: input/output error".to_owned()));
        }
        if !early {
            endures();
        }
        self.0.layouts.borrow_mut()[table] = layout.clone();
        Ok(layout)
    }

    async fn snapshot(&self, name: &str) -> Result<(), Trouble> {
        let mut logs = Vec::new();
        for shard in 0..self.0.shards.len() {
            self.0.sync(shard).await?;
            let shard = self.0.shards[shard].borrow();
            let mut log = shard.log[..shard.durable].to_vec();
            if self.0.fault == Fault::SnapshotsEndEarly {
                log.pop();
            }
            logs.push(log);
        }
        if self.0.fault != Fault::LosesSnapshots || self.0.chance(0.9) {
            let layouts = self.0.layouts.borrow().clone();
            let disk = Disk { logs, layouts };
            self.0.snapshots.borrow_mut().insert(name.to_owned(), disk);
        }
        self.0.op().await;
        Ok(())
    }

    async fn pause(&self, _micros: u64) {
        self.0.op().await;
    }

    async fn compacted(&self) -> [u64; 3] {
        [0; 3]
    }

    async fn close(self) -> Result<(), Trouble> {
        self.flush().await
    }
}

/// The disk: per shard the changes that the log holds after the last power cut.
struct ToyWorld {
    fault: Fault,
    periodic: bool,
    rng: Rng,
    ops: u64,
    disk: Vec<Vec<Arc<Change>>>,
    layouts: Rc<RefCell<Vec<Layout>>>,
    snapshots: Snapshots,
    machine: Option<Rc<Machine>>,
    now_s: Rc<Cell<u32>>,
    universe: RefCell<Vec<PartitionKey>>,
}

impl ToyWorld {
    fn new(fault: Fault, profile: &Profile, rng: &mut Rng) -> Self {
        let disk = vec![Vec::new(); profile.shards];
        Self {
            fault,
            periodic: profile.periodic,
            rng: rng.fork(),
            ops: 0,
            disk,
            layouts: Rc::new(RefCell::new(Layout::of_all(profile.options).to_vec())),
            snapshots: Rc::default(),
            machine: None,
            now_s: Rc::new(Cell::new(NODE_TIME_BEGINS_S)),
            universe: RefCell::default(),
        }
    }

    /// What of a shard's log is left after the power was cut.
    fn survivors(&mut self, shard: &Shard) -> Vec<Arc<Change>> {
        let mut left: Vec<_> = shard.log[..shard.durable].to_vec();
        let torn = self.rng.below(shard.log.len() - shard.durable + 1);
        for change in &shard.log[shard.durable..][..torn] {
            if self.fault != Fault::LeavesHoles || self.rng.chance(1, 2) {
                left.push(Arc::clone(change));
            }
        }
        left.into_iter()
            .map(|change| {
                let mut changed = (*change).clone();
                match self.fault {
                    Fault::ForgetsPartitionDeletions => changed.deleted = None,
                    Fault::ForgetsRangeDeletions => changed.ranges.clear(),
                    Fault::ForgetsStatics => changed.statics = None,
                    Fault::RevivesDeletedRows => changed.rows.iter_mut().for_each(|(_, edit)| edit.deleted = None),
                    _ => return change,
                }
                Arc::new(changed)
            })
            .collect()
    }
}

/// The logs of so many shards that have the same changes.
fn dealt(logs: Vec<Vec<Arc<Change>>>, shards: usize) -> Vec<Vec<Arc<Change>>> {
    let mut dealt = vec![Vec::new(); shards];
    for change in logs.into_iter().flatten() {
        dealt[change.partition % shards].push(change);
    }
    dealt
}

impl ToyWorld {
    fn start_on(&mut self, logs: &[Vec<Arc<Change>>], layouts: Rc<RefCell<Vec<Layout>>>, of_snapshot: bool) -> Toy {
        let shards = logs.iter().map(|log| {
            RefCell::new(Shard {
                log: log.clone(),
                durable: log.len(),
                ..Shard::default()
            })
        });
        let homes = (0..self.universe.borrow().len()).map(|nth| nth % logs.len());
        let found = layouts.borrow().clone();
        let machine = Rc::new(Machine {
            fault: self.fault,
            periodic: self.periodic,
            weather: Cell::new(Weather::FAIR),
            rng: RefCell::new(self.rng.fork()),
            ops: Cell::new(0),
            crash_at: Cell::new(None),
            off: Cell::new(false),
            at_rest: Cell::new(false),
            now_s: Rc::clone(&self.now_s),
            universe: self.universe.borrow().clone(),
            layouts: RefCell::new(found),
            durable_layouts: layouts,
            snapshots: Rc::clone(&self.snapshots),
            of_snapshot,
            shards: shards.collect(),
            shard_of: RefCell::new(homes.collect()),
            stale: RefCell::default(),
        });
        self.machine = Some(Rc::clone(&machine));
        Toy(machine)
    }
}

impl World for ToyWorld {
    type Door = Toy;

    fn shards(&self) -> usize {
        self.disk.len()
    }

    fn pass(&mut self, seconds: u32) {
        self.now_s.set(self.now_s.get() + seconds);
    }

    fn set_shards(&mut self, shards: usize) {
        self.disk = dealt(std::mem::take(&mut self.disk), shards);
    }

    fn shard_of(&self, partition: &PartitionKey, shards: usize) -> usize {
        let mut universe = self.universe.borrow_mut();
        let known = universe.iter().position(|of| of == partition);
        let index = known.unwrap_or_else(|| {
            universe.push(partition.clone());
            universe.len() - 1
        });
        index % shards
    }

    fn start(&mut self) -> Toy {
        let logs = self.disk.clone();
        self.start_on(&logs, Rc::clone(&self.layouts), false)
    }

    fn start_snapshot(&mut self, name: &str, shards: usize) -> Option<Toy> {
        let mut snapshot = self.snapshots.borrow().get(name)?.clone();
        if self.fault == Fault::SnapshotsGrow {
            snapshot.logs.clone_from(&self.disk);
        }
        let logs = dealt(snapshot.logs, shards);
        Some(self.start_on(&logs, Rc::new(RefCell::new(snapshot.layouts)), true))
    }

    fn drive(
        &mut self,
        weather: Weather,
        (cut, after): (Cut, Option<u64>),
        mut client: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Ended {
        let machine = Rc::clone(self.machine.as_ref().expect("it was started"));
        machine.weather.set(weather);
        machine.crash_at.set(after.map(|ops| machine.ops.get() + ops));
        let mut cx = Context::from_waker(Waker::noop());
        let mut idle = 0;
        loop {
            let before = machine.ops.get();
            if client.as_mut().poll(&mut cx).is_ready() {
                machine.at_rest.set(true);
                return Ended::Done;
            }
            machine.at_rest.set(false);
            if machine.off.get() {
                drop(client);
                self.cut(cut);
                return Ended::Crashed;
            }
            idle = if machine.ops.get() == before { idle + 1 } else { 0 };
            if idle > 1_000 {
                return Ended::Stuck("no operation was begun for long".to_owned());
            }
        }
    }

    fn cut(&mut self, cut: Cut) {
        let Some(machine) = self.machine.take() else { return };
        self.ops += machine.ops.get();
        if machine.of_snapshot {
            return;
        }
        for nth in 0..self.disk.len() {
            let mut shard = machine.shards[nth].borrow_mut();
            if self.fault == Fault::ShutdownLosesTheEnd && machine.at_rest.get() {
                shard.durable = shard.durable.saturating_sub(1);
            }
            if cut == Cut::Kill {
                shard.durable = shard.log.len();
            }
            self.disk[nth] = self.survivors(&shard);
        }
    }

    fn ops(&self) -> u64 {
        self.ops
    }
}

fn run(fault: Fault, seed: u64) -> Run<ToyWorld> {
    run_seed(seed, false, |_, profile, rng| ToyWorld::new(fault, profile, rng))
}

#[test]
fn a_right_store_passes() {
    let (mut midway, mut again, mut lost) = (0, 0, 0);
    for seed in 0..400 {
        let run = run(Fault::None, seed);
        assert_eq!(run.violation, None, "seed {seed}");
        midway += run.report.crashes_midway;
        again += run.report.counts.sent_again;
        lost += run.report.counts.lost_unacknowledged;
    }
    // The runs are worth something: crashes fall into the work, and what was in the air is at times lost.
    assert!(
        midway > 200 && again > 0 && lost > 100,
        "{midway} crashes midway, {again} sent again, {lost} lost"
    );
}

#[test]
fn every_wrong_store_is_caught() {
    let mut caught = String::new();
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        match (0..400).find_map(|seed| run(fault, seed).violation.map(|what| (seed, what))) {
            Some((seed, what)) => {
                let line = what.lines().next().unwrap_or_default();
                caught.push_str(&format!("{fault:?}: seed {seed}: {line}\n"));
            }
            None => missed.push(fault),
        }
    }
    println!("{caught}");
    assert!(missed.is_empty(), "not caught: {missed:?}; caught:\n{caught}");
}

#[test]
fn a_seed_is_one_history() {
    for seed in [3, 77] {
        let [one, other] = [(); 2].map(|()| run(Fault::None, seed));
        assert_eq!(
            format!("{:?}", one.report),
            format!("{:?}", other.report),
            "seed {seed}"
        );
        assert_eq!(one.world.ops(), other.world.ops());
    }
}
