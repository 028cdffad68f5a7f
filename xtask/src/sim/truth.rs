//! What is known of the run: what was sent, acknowledged and seen; and the judge of what readers get.
//!
//! **What must hold**, per shard, with `sent` its changes in the order in which they were sent:
//!
//! 1. A page equals the oracle after *some* prefix of `sent`: not shorter than what was acknowledged, or seen by an earlier
//!    reader, when the read began; not longer than what was sent when it ended.
//! 2. A page that no prefix shorter than `p` explains has *seen* `p`: no crash may take that back.
//! 3. After a crash *all* partitions of the shard equal the oracle after *one* prefix, which holds all that was
//!    acknowledged and all that was seen. So nothing deleted returns, and there is no hole.
//! 4. A table has one layout after another, alteration by alteration, one at a time. A page shows *one* of them: not an older one
//!    than was answered, or seen by an earlier reader of the shard, when the read began; not a younger one than was begun when it
//!    ended. After a start the store says which it is, not older than what was answered or seen anywhere; that it stays, and all
//!    partitions are seen through it.
//!
//! 5. A snapshot is a store of its own. What it has of a table on a shard is the state after one prefix: not shorter than what was
//!    acknowledged, or seen, when it began; not longer than what was sent when it was made. So with its layouts. One that was not
//!    answered is whole, or is none.
//!
//! Several prefixes may look alike (a deletion of what was not there changes nothing that a reader sees, yet stands against
//! late writes). Then the shortest is taken as the state, and the changes up to the longest are sent again before anything else:
//! a change that is there already changes nothing, so the state is known again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::data::{Ask, Change, Key, PageView, PartitionIndex, PartitionKey, RowView, Span, TABLES};
use super::layout::{Alteration, Layout, Wish};
use super::node::{Homes, Trouble, Weather};
use super::oracle::{Moment, Partition};
use super::plan::NODE_TIME_BEGINS_S;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Open,
    Acknowledged,
    /// Certainly not written.
    Refused,
    /// Perhaps written.
    Unknown,
}

#[derive(Clone)]
struct Sent {
    change: Arc<Change>,
    outcome: Outcome,
}

#[derive(Clone, Default)]
struct ShardTruth {
    /// State at the last recovery; what is missing is empty.
    base: BTreeMap<PartitionIndex, Partition>,
    /// Since then, in order.
    sent: Vec<Sent>,
    /// Length of the shortest prefix that holds all that was acknowledged.
    acked: usize,
    /// Length of the shortest prefix that explains all that was seen.
    seen: usize,
    /// Length of a prefix that a flush has made durable.
    settled: usize,
    /// By table: the oldest layout that explains all that was seen.
    layout_seen: [usize; TABLES.len()],
}

/// What a table was at the last start, and what has become of it since.
struct TableTruth {
    layouts: Vec<Arc<Layout>>,
    /// The last that was answered; one more may have been begun, and whether it is there only a start tells.
    answered: usize,
}

impl TableTruth {
    fn at_rest(layout: Layout) -> TableTruth {
        TableTruth {
            layouts: vec![Arc::new(layout)],
            answered: 0,
        }
    }
}

/// All that was found in a partition: the static row, and the others in their order.
pub(crate) type Whole = (Option<RowView>, Vec<RowView>);

/// Snapshots of a run at most.
const SNAPSHOTS_MAX: u64 = 3;

/// A snapshot that was asked for since the last start.
struct Snapshot {
    name: String,
    /// By shard: what it must have at least.
    shortest: Vec<usize>,
    /// By table: the oldest layout that it may have.
    oldest: [usize; TABLES.len()],
    /// What it may have at most: changes by shard, layouts by table. `None` as long as it is not answered.
    made: Option<(Vec<usize>, [usize; TABLES.len()])>,
}

/// A snapshot, and all that it is to be judged by.
#[derive(Clone)]
pub(crate) struct Taken {
    pub name: String,
    /// It was said to be there.
    pub answered: bool,
    /// By shard: what was sent until the start after it, and the shortest and the longest of the prefixes that may be there.
    shards: Vec<(ShardTruth, usize, usize)>,
    /// By table: the layouts that may be there.
    layouts: [Vec<Arc<Layout>>; TABLES.len()],
}

/// What a run has met.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub sent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub pages: u64,
    pub rows_read: u64,
    pub recoveries: u64,
    pub recovered_changes: u64,
    pub lost_unacknowledged: u64,
    pub sent_again: u64,
    /// Starts with another number of shards than before that were judged.
    pub resharded: u64,
    pub altered: u64,
    /// Alterations that were not answered, and were there after the start, or not.
    pub alterations_kept: u64,
    pub alterations_lost: u64,
    pub snapshots: u64,
    /// Changes of which something ends by the table's default.
    pub ended_by_default: u64,
    pub troubles: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.pages += other.pages;
        self.rows_read += other.rows_read;
        self.recoveries += other.recoveries;
        self.recovered_changes += other.recovered_changes;
        self.lost_unacknowledged += other.lost_unacknowledged;
        self.sent_again += other.sent_again;
        self.resharded += other.resharded;
        self.altered += other.altered;
        self.alterations_kept += other.alterations_kept;
        self.alterations_lost += other.alterations_lost;
        self.snapshots += other.snapshots;
        self.ended_by_default += other.ended_by_default;
        self.troubles += other.troubles;
    }
}

struct Inner {
    universe: Arc<Vec<PartitionKey>>,
    homes: Homes,
    shards: Vec<ShardTruth>,
    tables: [TableTruth; TABLES.len()],
    /// An acknowledged change is durable; false: only what a flush settled is.
    durable_acks: bool,
    weather: Weather,
    /// By the nodes' clock.
    now_s: u32,
    /// Asked for since the last start, and before.
    snapshots: Vec<Snapshot>,
    taken: Vec<Taken>,
    violation: Option<String>,
    counts: Counts,
    /// Whether everything that happens is told on stderr.
    tell: bool,
}

/// The judge; every client holds a clone.
#[derive(Clone)]
pub(crate) struct Truth(Arc<Mutex<Inner>>);

/// When a read began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began {
    shard: usize,
    shortest: usize,
    layout: usize,
}

/// One burst's hand on the truth; goes with it to its shard.
#[derive(Clone)]
pub(crate) struct Slip {
    truth: Truth,
    shard: usize,
}

impl Slip {
    /// The change has its place among the shard's writes from now on.
    pub(crate) fn sent(&self, change: &Arc<Change>) -> Ticket {
        let mut inner = self.truth.inner();
        let shard = &mut inner.shards[self.shard];
        shard.sent.push(Sent {
            change: Arc::clone(change),
            outcome: Outcome::Open,
        });
        let place = shard.sent.len() - 1;
        inner.counts.sent += 1;
        let nth = self.shard;
        inner.tell(|inner| {
            format!(
                "shard {nth} #{place} sent to {}: {change:?}",
                inner.universe[change.partition]
            )
        });
        Ticket {
            truth: self.truth.clone(),
            shard: self.shard,
            place,
        }
    }

    /// The store failed a change before it had a place.
    pub(crate) fn failed_before_sent(&self, trouble: &Trouble) {
        let mut inner = self.truth.inner();
        inner.counts.refused += 1;
        inner.trouble("a write", trouble);
    }
}

/// A change that was sent.
pub(crate) struct Ticket {
    truth: Truth,
    shard: usize,
    place: usize,
}

impl Ticket {
    pub(crate) fn ended(self, outcome: &Result<(), Trouble>) {
        let mut inner = self.truth.inner();
        let shard = &mut inner.shards[self.shard];
        let mark = match outcome {
            Ok(()) => Outcome::Acknowledged,
            Err(Trouble::Refused(_)) => Outcome::Refused,
            Err(_) => Outcome::Unknown,
        };
        shard.sent[self.place].outcome = mark;
        match mark {
            Outcome::Acknowledged => {
                shard.acked = shard.acked.max(self.place + 1);
                inner.counts.acknowledged += 1;
            }
            Outcome::Refused => inner.counts.refused += 1,
            Outcome::Unknown | Outcome::Open => inner.counts.unknown += 1,
        }
        let (nth, place) = (self.shard, self.place);
        inner.tell(|_| format!("shard {nth} #{place}: {mark:?}"));
        if let Err(trouble) = outcome {
            inner.trouble("a write", trouble);
        }
    }
}

/// Walks the states of one partition, prefix by prefix.
struct Walk<'a> {
    partition: Partition,
    index: PartitionIndex,
    sent: &'a [Sent],
    at: Moment<'a>,
}

impl ShardTruth {
    fn walk<'a>(&'a self, index: PartitionIndex, at: Moment<'a>) -> Walk<'a> {
        Walk {
            partition: self.base.get(&index).cloned().unwrap_or_default(),
            index,
            sent: &self.sent,
            at,
        }
    }
}

impl Walk<'_> {
    /// For each prefix from `shortest` to `longest`: why `page` cannot be its state, or `None` if it can.
    fn judge<R>(
        mut self,
        shortest: usize,
        longest: usize,
        ask: &Ask,
        after: Option<&Key>,
        page: &PageView<R>,
    ) -> Vec<Option<String>> {
        let mut verdicts = Vec::with_capacity(longest - shortest + 1);
        for length in 0..=longest {
            let changed = length > 0 && {
                let last = &self.sent[length - 1];
                let counts = last.change.partition == self.index && last.outcome != Outcome::Refused;
                if counts {
                    self.partition.apply(&last.change);
                }
                counts
            };
            if length < shortest {
                continue;
            }
            match verdicts.last() {
                Some(same) if !changed => verdicts.push(Option::<String>::clone(same)),
                _ => verdicts.push(self.partition.refutes(ask, after, page, self.at)),
            }
        }
        verdicts
    }
}

/// For each prefix of these lengths: why what was found of a partition cannot be its state.
fn judge_whole(
    shard: &ShardTruth,
    partition: PartitionIndex,
    at: Moment<'_>,
    lengths: std::ops::RangeInclusive<usize>,
    (statics, rows): &Whole,
) -> Vec<Option<String>> {
    let ask = Ask {
        partition,
        span: Span::ALL,
        reverse: false,
        limit_rows: usize::MAX,
        limit_bytes: usize::MAX,
    };
    let page = PageView::<()> {
        statics: statics.clone(),
        rows: rows.clone(),
        more: None,
        cut_at: None,
    };
    let walk = shard.walk(partition, at);
    walk.judge(*lengths.start(), *lengths.end(), &ask, None, &page)
}

impl Inner {
    /// The oldest layout of a table that somebody may see who comes now.
    fn oldest_layout(&self, table: usize) -> usize {
        let seen = self.shards.iter().map(|shard| shard.layout_seen[table]);
        seen.fold(self.tables[table].answered, usize::max)
    }

    /// What is there at most: changes by shard, layouts by table.
    fn may_have(&self) -> (Vec<usize>, [usize; TABLES.len()]) {
        let sent = self.shards.iter().map(|shard| shard.sent.len()).collect();
        (sent, self.tables.each_ref().map(|table| table.layouts.len() - 1))
    }

    fn shard_of(&self, partition: PartitionIndex) -> usize {
        self.homes.among(self.shards.len())[partition]
    }

    /// Deals the partitions out anew, when all that was sent is in their states.
    fn reshard(&mut self, shards: usize) {
        let old = std::mem::take(&mut self.shards);
        self.shards.resize_with(shards, ShardTruth::default);
        for shard in old {
            for (partition, state) in shard.base {
                let home = self.shard_of(partition);
                self.shards[home].base.insert(partition, state);
            }
        }
    }

    fn tell(&self, what: impl FnOnce(&Self) -> String) {
        if self.tell {
            eprintln!("{}", what(self));
        }
    }

    fn trouble(&mut self, during: &str, trouble: &Trouble) {
        self.counts.troubles += 1;
        self.tell(|_| format!("{during} {trouble}"));
        let expected = !self.weather.is_fair() && !matches!(trouble, Trouble::Wrong(_));
        if !expected && self.violation.is_none() {
            let weather = if self.weather.is_fair() {
                "without any fault of the disk"
            } else {
                ""
            };
            self.violation = Some(format!("{during} {trouble} {weather}").trim_end().to_owned());
        }
    }

    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }
}

impl Truth {
    pub(crate) fn new(
        universe: Arc<Vec<PartitionKey>>,
        homes: Homes,
        options: [usize; TABLES.len()],
        shards: usize,
        durable_acks: bool,
    ) -> Self {
        let shards = (0..shards).map(|_| ShardTruth::default()).collect();
        Truth(Arc::new(Mutex::new(Inner {
            universe,
            homes,
            shards,
            tables: Layout::of_all(options).map(TableTruth::at_rest),
            durable_acks,
            weather: Weather::FAIR,
            now_s: NODE_TIME_BEGINS_S,
            snapshots: Vec::new(),
            taken: Vec::new(),
            violation: None,
            counts: Counts::default(),
            tell: false,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everything that happens from now on, on stderr.
    pub(crate) fn tell_all(&self) {
        self.inner().tell = true;
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        self.inner().tell(|_| what());
    }

    pub(crate) fn slip(&self, shard: usize) -> Slip {
        Slip {
            truth: self.clone(),
            shard,
        }
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.inner().weather = weather;
    }

    /// The nodes' clock.
    pub(crate) fn now_s(&self) -> u32 {
        self.inner().now_s
    }

    /// Takes note of how a change is made that was drawn like that.
    pub(crate) fn drawn_and_known(&self, drawn: &Change, known: &Change) {
        let ends = |change: &Change| change.rows.iter().map(|(_, edit)| edit.ends).collect::<Vec<_>>();
        let by_default = !drawn.rows.is_empty() && ends(drawn).contains(&None) && !ends(known).contains(&None);
        self.inner().counts.ended_by_default += u64::from(by_default);
    }

    /// So many seconds have passed.
    pub(crate) fn pass(&self, seconds: u32) {
        self.inner().now_s += seconds;
    }

    /// Takes note of an error: expected in bad weather, a violation in fair.
    pub(crate) fn trouble(&self, during: &str, trouble: &Trouble) {
        self.inner().trouble(during, trouble);
    }

    pub(crate) fn violate(&self, what: String) {
        self.inner().violate(what);
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.inner().violation.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.inner().counts
    }

    pub(crate) fn shard_of(&self, partition: PartitionIndex) -> usize {
        self.inner().shard_of(partition)
    }

    /// Length of what each shard has acknowledged: pass to [`settled`](Self::settled) when a flush that began now is done.
    pub(crate) fn acknowledged(&self) -> Vec<usize> {
        self.inner().shards.iter().map(|shard| shard.acked).collect()
    }

    /// A flush has made these prefixes durable.
    pub(crate) fn settled(&self, lengths: &[usize]) {
        for (shard, length) in self.inner().shards.iter_mut().zip(lengths) {
            shard.settled = shard.settled.max(*length);
        }
    }

    pub(crate) fn read_begins(&self, partition: PartitionIndex) -> Began {
        let inner = self.inner();
        let (nth, table) = (inner.shard_of(partition), inner.universe[partition].table);
        let shard = &inner.shards[nth];
        Began {
            shard: nth,
            shortest: shard.acked.max(shard.seen),
            layout: inner.tables[table].answered.max(shard.layout_seen[table]),
        }
    }

    /// The layouts that were answered.
    pub(crate) fn layouts(&self) -> Vec<Arc<Layout>> {
        let inner = self.inner();
        let answered = inner
            .tables
            .iter()
            .map(|table| Arc::clone(&table.layouts[table.answered]));
        answered.collect()
    }

    /// What is to be asked of the store to fulfil the wishes; `None` if what became of the last alteration is not known yet.
    pub(crate) fn alteration_begins(&self, table: usize, wishes: &[Wish]) -> Option<Vec<Alteration>> {
        let mut inner = self.inner();
        let known = &mut inner.tables[table];
        if known.layouts.len() > known.answered + 1 {
            return None;
        }
        let (alterations, after) = known.layouts[known.answered].wished(&TABLES[table], wishes);
        known.layouts.push(Arc::new(after));
        inner.tell(|_| format!("{} is altered: {alterations:?}", TABLES[table].name));
        Some(alterations)
    }

    /// The alteration was answered, with what the store shows since; or its outcome is open.
    pub(crate) fn alteration_ends(&self, table: usize, outcome: &Result<Layout, Trouble>) {
        let mut inner = self.inner();
        match outcome {
            Ok(shown) => {
                let known = &mut inner.tables[table];
                known.answered += 1;
                let expected = &known.layouts[known.answered];
                let wrong = (**expected != *shown).then(|| format!("expected {expected:?}, got {shown:?}"));
                inner.counts.altered += 1;
                inner.tell(|_| format!("{} was altered", TABLES[table].name));
                if let Some(wrong) = wrong {
                    inner.violate(format!("{} after an alteration: {wrong}", TABLES[table].name));
                }
            }
            Err(trouble) => inner.trouble("an alteration", trouble),
        }
    }

    /// Judges what a store that was opened shows of its tables (rule 4).
    pub(crate) fn shown(&self, shown: Vec<Layout>) {
        let inner = &mut *self.inner();
        for (nth, shown) in shown.into_iter().enumerate() {
            let oldest = inner.oldest_layout(nth);
            let (table, name) = (&mut inner.tables[nth], TABLES[nth].name);
            let begun = table.layouts.len() - 1;
            let Some(found) = (oldest..=begun).rev().find(|place| *table.layouts[*place] == shown) else {
                let what = format!(
                    "{name} was altered {begun} times since the last start, {oldest} of them answered or seen; what the store shows is \
                     none of the layouts since then\n  expected: {:?}\n  or: {:?}\n  got: {shown:?}",
                    table.layouts[oldest], table.layouts[begun],
                );
                return inner.violate(what);
            };
            if begun > table.answered {
                inner.counts.alterations_kept += u64::from(found == begun);
                inner.counts.alterations_lost += u64::from(found < begun);
            }
            *table = TableTruth::at_rest(shown);
        }
        for shard in &mut inner.shards {
            shard.layout_seen = [0; TABLES.len()];
        }
    }

    /// The name of a snapshot that begins now; `None` if there are enough.
    pub(crate) fn snapshot_begins(&self) -> Option<String> {
        let inner = &mut *self.inner();
        let nth = (inner.taken.len() + inner.snapshots.len()) as u64;
        if nth >= SNAPSHOTS_MAX {
            return None;
        }
        let name = format!("snapshot-{nth}");
        inner.tell(|_| format!("{name} begins"));
        inner.snapshots.push(Snapshot {
            name: name.clone(),
            shortest: inner.shards.iter().map(|shard| shard.acked.max(shard.seen)).collect(),
            oldest: std::array::from_fn(|table| inner.oldest_layout(table)),
            made: None,
        });
        Some(name)
    }

    /// The snapshot of this name was made; or its outcome is open.
    pub(crate) fn snapshot_ends(&self, name: &str, outcome: &Result<(), Trouble>) {
        let inner = &mut *self.inner();
        inner.tell(|_| format!("{name}: {outcome:?}"));
        match outcome {
            Ok(()) => {
                let made = inner.may_have();
                let mut asked = inner.snapshots.iter_mut();
                let snapshot = asked.find(|snapshot| snapshot.name == name);
                snapshot.expect("it has begun").made = Some(made);
                inner.counts.snapshots += 1;
            }
            Err(trouble) => inner.trouble("a snapshot", trouble),
        }
    }

    /// The machine has ended, and what became of the changes that were sent is known as far as it ever will be.
    pub(crate) fn snapshots_are_history(&self) {
        let inner = &mut *self.inner();
        let whole = inner.may_have();
        for snapshot in std::mem::take(&mut inner.snapshots) {
            let answered = snapshot.made.is_some();
            let (longest, newest) = snapshot.made.unwrap_or_else(|| whole.clone());
            let shards = inner.shards.iter().cloned();
            let shards = shards.zip(snapshot.shortest).zip(longest);
            let layouts = |table: usize| inner.tables[table].layouts[snapshot.oldest[table]..=newest[table]].to_vec();
            inner.taken.push(Taken {
                name: snapshot.name,
                answered,
                shards: shards
                    .map(|((shard, shortest), longest)| (shard, shortest, longest))
                    .collect(),
                layouts: std::array::from_fn(layouts),
            });
        }
    }

    /// All snapshots of machines that have ended.
    pub(crate) fn snapshots(&self) -> Vec<Taken> {
        self.inner().taken.clone()
    }

    /// Judges what a snapshot shows of its tables and has in its partitions (rule 5).
    pub(crate) fn snapshot_opened(&self, taken: &Taken, shown: &[Layout], found: &[Whole]) {
        let inner = &mut *self.inner();
        for (table, shown) in shown.iter().enumerate() {
            let candidates = &taken.layouts[table];
            if !candidates.iter().any(|layout| **layout == *shown) {
                let what = format!(
                    "{}: {} is none of the {} layouts that it had meanwhile\n  expected: {:?}\n  got: {shown:?}",
                    taken.name,
                    TABLES[table].name,
                    candidates.len(),
                    candidates[0],
                );
                return inner.violate(what);
            }
            let at = Moment {
                now_s: inner.now_s,
                layout: shown,
            };
            for (nth, (shard, shortest, longest)) in taken.shards.iter().enumerate() {
                let homes = inner.homes.among(taken.shards.len());
                let is_here = |index: &usize| homes[*index] == nth && inner.universe[*index].table == table;
                let partitions = (0..inner.universe.len()).filter(is_here);
                let verdicts: Vec<_> = partitions
                    .map(|partition| judge_whole(shard, partition, at, *shortest..=*longest, &found[partition]))
                    .collect();
                let wrong = |length: usize| verdicts.iter().filter_map(move |of| of[length].as_ref());
                let lengths = 0..=longest - shortest;
                let nearest = lengths.min_by_key(|length| wrong(*length).count()).unwrap_or(0);
                if let Some(why) = wrong(nearest).next() {
                    let what = format!(
                        "{}: what it has of {} on shard {nth} is the state of no prefix between {shortest} (acknowledged or seen when \
                         it began) and {longest} (sent when it was made)\n  nearest is {}; against it: {why}",
                        taken.name,
                        TABLES[table].name,
                        shortest + nearest,
                    );
                    return inner.violate(what);
                }
            }
        }
    }

    /// Judges a page (rules 1 and 2).
    pub(crate) fn read_ends<R>(&self, began: Began, ask: &Ask, after: Option<&Key>, page: &PageView<R>) {
        let mut inner = self.inner();
        inner.counts.pages += 1;
        inner.counts.rows_read += page.rows.len() as u64;
        let shard = &inner.shards[began.shard];
        let longest = shard.sent.len();
        let table = inner.universe[ask.partition].table;
        let layouts = &inner.tables[table].layouts[began.layout..];
        // By layout, by prefix.
        let verdicts: Vec<_> = layouts
            .iter()
            .map(|layout| {
                let now_s = inner.now_s;
                let walk = shard.walk(ask.partition, Moment { now_s, layout });
                walk.judge(began.shortest, longest, ask, after, page)
            })
            .collect();
        inner.tell(|_| format!("page of {} rows after {after:?} for {ask:?}", page.rows.len()));
        let explains = |verdicts: &Vec<Option<String>>| verdicts.iter().position(Option::is_none);
        if let Some(first) = verdicts.iter().filter_map(explains).min() {
            let layout = verdicts.iter().take_while(|of| explains(of).is_none()).count();
            let shard = &mut inner.shards[began.shard];
            shard.seen = shard.seen.max(began.shortest + first);
            shard.layout_seen[table] = shard.layout_seen[table].max(began.layout + layout);
        } else {
            let why = |verdict: Option<&Option<String>>| verdict.cloned().flatten().unwrap_or_default();
            let (layouts, verdicts) = (verdicts.len(), verdicts.concat());
            let partition = inner.universe[ask.partition].clone();
            inner.violate(format!(
                "a page of {partition} is the state of no prefix between {} (acknowledged or seen when the read began) and {longest} \
                 (sent when it ended), in none of {layouts} layouts of its table\n  read: {ask:?}, after {after:?}\n  against the shortest: {}\n  \
                 against the longest: {}",
                began.shortest,
                why(verdicts.first()),
                why(verdicts.last()),
            ));
        }
        if page.rows.len() > ask.limit_rows {
            let got = page.rows.len();
            inner.violate(format!("a page of {} rows was asked for, {got} came", ask.limit_rows));
        }
    }

    /// Judges what was found after a start with so many shards, all partitions whole (rule 3): against what each shard was sent
    /// that there was before. Gives the changes that are to be sent again, shard by shard, before anything else.
    pub(crate) fn recovered(&self, found: &[Whole], shards: usize) -> Vec<Vec<Arc<Change>>> {
        let mut inner = self.inner();
        inner.counts.recoveries += 1;
        let again = Self::judge_start(&mut inner, found);
        if shards == inner.shards.len() {
            return again;
        }
        inner.counts.resharded += 1;
        inner.reshard(shards);
        let mut dealt = vec![Vec::new(); shards];
        for change in again.into_iter().flatten() {
            dealt[inner.shard_of(change.partition)].push(change);
        }
        dealt
    }

    /// Whether a crash may leave the outcome of a change unknown, so that it is sent again.
    pub(crate) fn has_unknown(&self) -> bool {
        let inner = self.inner();
        let is_unknown = |sent: &Sent| match sent.outcome {
            Outcome::Unknown | Outcome::Open => true,
            Outcome::Acknowledged => !inner.durable_acks,
            Outcome::Refused => false,
        };
        inner.shards.iter().flat_map(|shard| &shard.sent).any(is_unknown)
    }

    fn judge_start(inner: &mut Inner, found: &[Whole]) -> Vec<Vec<Arc<Change>>> {
        let durable_acks = inner.durable_acks;
        (0..inner.shards.len())
            .map(|nth| {
                let shard = &inner.shards[nth];
                let shortest = if durable_acks {
                    shard.acked.max(shard.seen).max(shard.settled)
                } else {
                    shard.settled
                };
                let longest = shard.sent.len();
                let verdicts = Self::judge_shard(inner, nth, found);
                let alike = |range: std::ops::RangeInclusive<usize>| {
                    range
                        .filter(|length| verdicts.iter().all(|v| v[*length].is_none()))
                        .collect::<Vec<_>>()
                };
                let fits = alike(shortest..=longest);
                let (Some(&first), Some(&last)) = (fits.first(), fits.last()) else {
                    let report = Self::report(inner, nth, shortest, &verdicts, &alike(0..=longest));
                    inner.violate(report);
                    return Vec::new();
                };
                let shard = &mut inner.shards[nth];
                let mut sent = std::mem::take(&mut shard.sent);
                let again: Vec<_> = sent[first..last]
                    .iter()
                    .filter(|sent| sent.outcome != Outcome::Refused)
                    .map(|sent| Arc::clone(&sent.change))
                    .collect();
                sent.truncate(first);
                for sent in sent.iter().filter(|sent| sent.outcome != Outcome::Refused) {
                    shard.base.entry(sent.change.partition).or_default().apply(&sent.change);
                }
                (shard.acked, shard.seen, shard.settled) = (0, 0, 0);
                inner.tell(|_| format!("shard {nth}: recovered {first} (or {last}) of {longest} changes"));
                inner.counts.recovered_changes += first as u64;
                inner.counts.lost_unacknowledged += (longest - last) as u64;
                inner.counts.sent_again += again.len() as u64;
                again
            })
            .collect()
    }

    /// Per partition of the shard, per prefix from 0: why what was found cannot be its state.
    fn judge_shard(inner: &Inner, nth: usize, found: &[Whole]) -> Vec<Vec<Option<String>>> {
        let shard = &inner.shards[nth];
        let partitions = (0..inner.universe.len()).filter(|index| inner.shard_of(*index) == nth);
        partitions
            .map(|partition| {
                let table = &inner.tables[inner.universe[partition].table];
                let at = Moment {
                    now_s: inner.now_s,
                    layout: &table.layouts[table.answered],
                };
                let verdicts = judge_whole(shard, partition, at, 0..=shard.sent.len(), &found[partition]);
                let name = |why: String| format!("{}: {why}", inner.universe[partition]);
                verdicts.into_iter().map(|verdict| verdict.map(name)).collect()
            })
            .collect()
    }

    fn report(inner: &Inner, nth: usize, shortest: usize, verdicts: &[Vec<Option<String>>], fits: &[usize]) -> String {
        let shard = &inner.shards[nth];
        let longest = shard.sent.len();
        let known = format!(
            "shard {nth}: {longest} changes sent, {} acknowledged, {} seen by readers, {} settled by a flush",
            shard.acked, shard.seen, shard.settled
        );
        if let Some(length) = fits.last() {
            let lost = &shard.sent[*length].change;
            return format!(
                "what was acknowledged or seen is lost: after the restart the state is that after {length} changes, it must be that \
                 after {shortest} at least\n  {known}\n  first lost: {lost:?}, a change of {}",
                inner.universe[lost.partition]
            );
        }
        let wrong = |length: usize| verdicts.iter().filter_map(move |v| v[length].as_ref());
        let nearest = (shortest..=longest)
            .min_by_key(|length| wrong(*length).count())
            .unwrap_or(longest);
        let findings = wrong(nearest)
            .take(3)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n  ");
        format!(
            "after the restart the state is that of no prefix\n  {known}\n  nearest is {nearest}; against it:\n  {findings}"
        )
    }
}
