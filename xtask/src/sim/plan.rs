//! What the simulated clients will do, drawn from the seed before they begin.

use std::sync::Arc;

use super::data::{
    Ask, CellEdit, Change, Edge, Key, NEVER, Name, Part, PartitionIndex, PartitionKey, RowEdit, Shape, Span, TABLES,
    Table, Ty, Val,
};
use super::layout::{OPTIONS, OPTIONS_WITH_TTL, Wish};
use super::node::{Cut, Homes, SHARDS_MAX, Weather};
use crate::rng::Rng;

/// Partitions of each table that are written.
const PARTITIONS: [usize; 3] = [5, 5, 3];
/// Microseconds since the Unix epoch at which the clients' time begins.
const TIME_BEGINS: i64 = 1_700_000_000_000_000;
/// The nodes' wall clock in the first stretch, seconds since the Unix epoch: where the simulator's begins.
pub(crate) const NODE_TIME_BEGINS_S: u32 = 1_704_067_200;
/// Between and within stretches time passes by so many seconds, or a multiple. What ends, ends in the middle of such a period:
/// whatever a stretch takes by itself, nothing ends while somebody looks.
pub(crate) const PERIOD_S: u32 = 100_000;
/// Periods that pass at most while the store is closed.
pub(crate) const CLOSED_FOR_MAX: u32 = 2;
/// What is deleted can be purged once so many periods have passed: more than pass until a change whose outcome is unknown has been
/// sent again, were it after four failed starts.
pub(crate) const GRACE_PERIODS: u32 = 10;

/// One step of a client.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Changes of one shard, sent in their order without waiting in between.
    Burst {
        shard: usize,
        changes: Vec<Arc<Change>>,
    },
    /// One change, sent from outside; the client waits for it. Only where no other client writes.
    Apply(Arc<Change>),
    /// A read, page by page until the span ends or this many pages are read.
    Scroll {
        ask: Ask,
        pages: usize,
    },
    Flush,
    Pause(u64),
    /// One `ALTER TABLE`.
    Alter {
        table: usize,
        wishes: Vec<Wish>,
    },
    /// A snapshot, unless there are enough.
    Snapshot,
}

/// What happens between two starts of the store.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    /// The machine has so many shards from now on; `None`: as many as before.
    pub shards: Option<usize>,
    /// The disk's, while the clients work.
    pub weather: Weather,
    /// The disk's, while the store opens and everything is read.
    pub weather_at_start: Weather,
    /// What ends it, on the way or when the clients are done.
    pub cut: Cut,
    /// While the store opens, the cut comes after this many disk operations.
    pub crash_in_start: Option<u64>,
    /// While the clients work, the cut comes after this many disk operations.
    pub crash_in_work: Option<u64>,
    pub clients: Vec<Vec<Step>>,
    /// Periods that pass before the store opens.
    pub closed_for: u32,
    /// When the clients are done, so many periods pass, and these follow.
    pub later: Option<Later>,
    /// Whether the store is shut down when the clients are done; else the cut comes with everything in the air.
    pub close: bool,
}

/// The second half of a stretch.
#[derive(Clone, Debug)]
pub(crate) struct Later {
    pub periods: u32,
    pub clients: Vec<Vec<Step>>,
    /// The cut comes after this many disk operations.
    pub crash: Option<u64>,
}

impl Stretch {
    /// A start, a look at everything, and a shutdown that must succeed.
    pub(crate) fn last_look() -> Self {
        Self {
            shards: None,
            weather: Weather::FAIR,
            weather_at_start: Weather::FAIR,
            cut: Cut::Power,
            crash_in_start: None,
            crash_in_work: None,
            clients: Vec::new(),
            closed_for: 0,
            later: None,
            close: true,
        }
    }
}

/// How the whole run is.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub shards: usize,
    pub stretches: usize,
    /// Values of kilobytes instead of tens of bytes.
    pub bulky: bool,
    /// Acknowledge before the sync.
    pub periodic: bool,
    /// Some of what is written ends by itself.
    pub expiring: bool,
    /// The options with which each table is created.
    pub options: [usize; TABLES.len()],
    /// The number of shards changes from start to start.
    pub resharding: bool,
    /// Tables are altered.
    pub altering: bool,
    /// Snapshots are made.
    pub snapshots: bool,
}

impl Profile {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let expiring = rng.chance(1, 2);
        let options = |rng: &mut Rng| {
            if expiring && rng.chance(1, 3) {
                OPTIONS_WITH_TTL
            } else {
                0
            }
        };
        Self {
            shards: *rng.pick(&[1, 1, 1, 2, 2, 2, 2, 3, 4]),
            stretches: rng.within(3..6),
            bulky: rng.chance(1, 6),
            periodic: rng.chance(1, 5),
            expiring,
            options: std::array::from_fn(|_| options(rng)),
            resharding: rng.chance(1, 2),
            altering: rng.chance(1, 3),
            snapshots: rng.chance(1, 3),
        }
    }

    /// The values of one change together; a mutation has kilobytes beside them, and fits half a segment of the log.
    fn value_bytes_max(&self) -> usize {
        if self.bulky { 24 << 10 } else { 5 << 10 }
    }
}

/// The partitions that the clients of a run write and read.
pub(crate) fn universe(rng: &mut Rng) -> Vec<PartitionKey> {
    let mut universe = Vec::new();
    for (table, count) in PARTITIONS.iter().enumerate() {
        while universe.iter().filter(|p: &&PartitionKey| p.table == table).count() < *count {
            let key = TABLES[table].partition_key.iter().map(|ty| match ty {
                Ty::BigInt => Val::Big(rng.u64() as i64 >> rng.below(60)),
                Ty::Int => Val::Int(rng.below(3) as i32),
                // An empty key is not allowed in Cassandra's tables.
                Ty::Text => Val::Text(format!("p{}", "x".repeat(rng.below(5)))),
                Ty::TimeUuid => Val::TimeUuid([0; 16]),
            });
            let partition = PartitionKey {
                table,
                key: key.collect(),
            };
            if !universe.contains(&partition) {
                universe.push(partition);
            }
        }
    }
    universe
}

/// The partitions of each of so many shards.
fn owned(homes: &Homes, shards: usize) -> Vec<Vec<PartitionIndex>> {
    let mut owned = vec![Vec::new(); shards];
    for (partition, shard) in homes.among(shards).iter().enumerate() {
        owned[*shard].push(partition);
    }
    owned
}

/// Draws changes, reads and stretches.
pub(crate) struct Generator {
    rng: Rng,
    profile: Profile,
    universe: Vec<PartitionKey>,
    homes: Homes,
    /// The partitions of each shard.
    owned: Vec<Vec<PartitionIndex>>,
    /// Keys written so far, per partition; the last is the newest.
    used: Vec<Vec<Key>>,
    now: i64,
    /// No timestamp from now on is smaller.
    oldest: i64,
    /// The last stretch ends with a kill.
    killed: bool,
    /// Periods that have passed on the nodes.
    periods: u32,
    changes: u32,
    /// Bytes that the values of the present change may still have.
    room: usize,
    /// What several clients read at the same time.
    popular: Option<Ask>,
}

impl Generator {
    pub(crate) fn new(rng: Rng, profile: Profile, universe: Vec<PartitionKey>, homes: Homes) -> Self {
        let used = vec![Vec::new(); universe.len()];
        let owned = owned(&homes, profile.shards);
        Self {
            rng,
            profile,
            universe,
            homes,
            owned,
            used,
            now: TIME_BEGINS,
            oldest: 0,
            killed: false,
            periods: 0,
            changes: 0,
            room: 0,
            popular: None,
        }
    }

    /// Draws what happens from one start to the next.
    pub(crate) fn stretch(&mut self) -> Stretch {
        let reshards = self.profile.resharding && self.rng.chance(2, 3);
        let shards = reshards.then(|| self.rng.within(1..SHARDS_MAX + 1));
        if let Some(shards) = shards {
            self.owned = owned(&self.homes, shards);
        }
        let weather = self.weather();
        let weather_at_start = if self.rng.chance(1, 8) {
            self.weather()
        } else {
            Weather::FAIR
        };
        let closed_for = self.pass(&[0, 0, 1, 1, CLOSED_FOR_MAX]);
        let clients = self.clients();
        let steps: usize = clients.iter().map(Vec::len).sum();
        let later = self.rng.chance(1, 3).then(|| {
            let (periods, clients) = (self.pass(&[0, 1, 2, GRACE_PERIODS, GRACE_PERIODS + 1]), self.clients());
            let crash = self.rng.chance(1, 3).then(|| self.rng.within(1..100) as u64);
            Later {
                periods,
                clients,
                crash,
            }
        });
        // What a killed process has left unsynced, only a cut while it is recovered can take.
        let (chance, ops) = if self.killed { (6, 1..250) } else { (1, 1..150) };
        let crash_in_start = self.rng.chance(chance, 8).then(|| self.rng.within(ops) as u64);
        let crash_in_work = self.rng.chance(3, 4).then(|| self.rng.within(1..2 + steps * 3) as u64);
        let close = self.rng.chance(1, 2);
        // What a failed sync has left undecided only a power cut decides.
        let is_needed = self.killed && crash_in_start.is_some();
        let may_be_killed = !is_needed && weather.is_fair() && weather_at_start.is_fair();
        let cut = if may_be_killed && self.rng.chance(1, 2) {
            Cut::Kill
        } else {
            Cut::Power
        };
        self.killed = cut == Cut::Kill;
        Stretch {
            shards,
            weather,
            weather_at_start,
            cut,
            crash_in_start,
            crash_in_work,
            clients,
            closed_for,
            later,
            close,
        }
    }

    /// Draws how much time passes.
    fn pass(&mut self, periods: &[u32]) -> u32 {
        let periods = *self.rng.pick(periods);
        self.periods += periods;
        if periods > 0 {
            self.now += 1;
            self.oldest = self.now;
        }
        periods
    }

    fn clients(&mut self) -> Vec<Vec<Step>> {
        self.popular = None;
        let alone = self.rng.chance(1, 5);
        let writers = if alone { 1 } else { self.rng.within(1..5) };
        let mut clients: Vec<Vec<Step>> = (0..writers).map(|_| self.writer(alone)).collect();
        clients.extend((0..self.rng.within(1..3)).map(|_| self.reader()).collect::<Vec<_>>());
        if self.profile.altering && self.rng.chance(2, 3) {
            clients.push(self.administrator());
        }
        if self.profile.snapshots && self.rng.chance(2, 3) {
            let pause = Step::Pause(self.rng.within(1..6_000) as u64);
            clients.push(vec![pause, Step::Snapshot]);
        }
        clients
    }

    /// Alters tables while the others write and read.
    fn administrator(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..self.rng.within(1..5) {
            steps.push(Step::Pause(self.rng.within(1..4_000) as u64));
            let nth = self.rng.below(TABLES.len());
            let wishes = (0..*self.rng.pick(&[1, 1, 1, 2, 3])).map(|_| self.wish(&TABLES[nth]));
            let wishes = wishes.collect();
            steps.push(Step::Alter { table: nth, wishes });
        }
        steps
    }

    fn wish(&mut self, table: &Table) -> Wish {
        let statics = table.statics.len() + table.more_statics.len();
        let regulars = table.regulars.len() + table.more_regulars.len();
        let keys = table.partition_key.len() + table.clustering.len();
        match self.rng.below(10) {
            0 => Wish::Rename {
                key: self.rng.below(keys),
            },
            1 => Wish::Options(self.rng.below(OPTIONS)),
            _ => {
                let name = self.rng.below(statics + regulars);
                let is_static = name < statics;
                Wish::Column {
                    is_static,
                    name: if is_static { name } else { name - statics },
                    renewed: self.rng.chance(1, 2),
                    as_blob: self.rng.chance(1, 4),
                }
            }
        }
    }

    /// What a table's columns hold, by name: those that it has from the beginning, and those that may be added.
    fn shapes(&self, shapes: &[Shape], more: &[Shape]) -> Vec<Shape> {
        let more = if self.profile.altering { more } else { &[] };
        [shapes, more].concat()
    }

    /// Draws when a write ends: as the table has it, never, long ago, soon, or after the run.
    fn ends(&mut self) -> Option<u32> {
        let is_named = self.profile.expiring && self.rng.chance(1, 3);
        is_named.then(|| {
            if self.rng.chance(1, 8) {
                return NEVER;
            }
            let periods = self.periods + *self.rng.pick(&[0, 1, 1, 1, 2, 3, 100]);
            NODE_TIME_BEGINS_S + periods * PERIOD_S - PERIOD_S / 2
        })
    }

    fn weather(&mut self) -> Weather {
        let fair = Weather::FAIR;
        match self.rng.below(9) {
            0 => Weather { io_error: 0.03, ..fair },
            1 => Weather { io_error: 0.01, ..fair },
            2 => Weather {
                io_error: 0.003,
                ..fair
            },
            3 => Weather { no_space: 0.2, ..fair },
            4 => Weather {
                io_error: 0.01,
                no_space: 0.05,
            },
            _ => fair,
        }
    }

    fn writer(&mut self, alone: bool) -> Vec<Step> {
        let shards: Vec<usize> = (0..self.owned.len())
            .filter(|shard| !self.owned[*shard].is_empty())
            .collect();
        let mut steps = Vec::new();
        for _ in 0..self.rng.within(4..14) {
            let shard = *self.rng.pick(&shards);
            let count = if alone { 1 } else { *self.rng.pick(&[1, 1, 2, 3, 5, 8]) };
            let changes: Vec<_> = (0..count)
                .map(|_| {
                    let partition = *self.rng.pick(&self.owned[shard]);
                    Arc::new(self.change(partition))
                })
                .collect();
            match changes.first() {
                Some(change) if alone => steps.push(Step::Apply(Arc::clone(change))),
                _ => steps.push(Step::Burst { shard, changes }),
            }
            match self.rng.below(12) {
                0 => steps.push(Step::Flush),
                1 | 2 => steps.push(Step::Pause(self.rng.within(1..2_000) as u64)),
                // One's own write must be there.
                3 | 4 => {
                    let partition = *self.rng.pick(&self.owned[shard]);
                    steps.push(self.scroll(partition));
                }
                _ => {}
            }
        }
        steps
    }

    fn reader(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..self.rng.within(4..14) {
            let partition = self.rng.below(self.universe.len());
            steps.push(self.scroll(partition));
            if self.rng.chance(1, 2) {
                steps.push(Step::Pause(self.rng.within(1..1_000) as u64));
            }
        }
        steps
    }

    fn scroll(&mut self, partition: PartitionIndex) -> Step {
        let pages = *self.rng.pick(&[1, 2, 4]);
        if let Some(ask) = self.popular.clone().filter(|_| self.rng.chance(1, 3)) {
            return Step::Scroll { ask, pages };
        }
        let span = if self.rng.chance(1, 2) {
            Span::ALL
        } else {
            self.span(partition).unwrap_or(Span::ALL)
        };
        let limit_rows = *self.rng.pick(&[1, 2, 3, 7, 50, 1000]);
        let limit_bytes = *self.rng.pick(&[1, 100, 1 << 12, 1 << 20, 1 << 20]);
        let ask = Ask {
            partition,
            span,
            reverse: self.rng.chance(1, 2),
            limit_rows,
            limit_bytes,
        };
        self.popular.get_or_insert_with(|| ask.clone());
        Step::Scroll { ask, pages }
    }

    /// Draws a change of one partition: mostly one thing, at times several with one timestamp.
    pub(crate) fn change(&mut self, partition: PartitionIndex) -> Change {
        self.changes += 1;
        self.room = self.profile.value_bytes_max();
        let mut change = Change {
            id: self.changes,
            partition,
            at_s: 0,
            deleted: None,
            statics: None,
            rows: Vec::new(),
            ranges: Vec::new(),
        };
        let timestamp = self.timestamp();
        for _ in 0..*self.rng.pick(&[1, 1, 1, 1, 2, 4]) {
            self.part(&mut change, timestamp);
        }
        change
    }

    /// Mostly later than all before; at times the same again, or older.
    fn timestamp(&mut self) -> i64 {
        match self.rng.below(10) {
            0 => self.now,
            // Never from before the time that passed: what is purged by then would not be there to hide it.
            1 => (self.now - self.rng.below(2_000) as i64).max(self.oldest),
            _ => {
                self.now += 1 + self.rng.below(100) as i64;
                self.now
            }
        }
    }

    fn part(&mut self, change: &mut Change, timestamp: i64) {
        let table = &TABLES[self.universe[change.partition].table];
        let statics = self.shapes(table.statics, table.more_statics);
        let regulars = self.shapes(table.regulars, table.more_regulars);
        match self.rng.below(100) {
            0..3 => change.deleted = Some(timestamp),
            3..12 if !table.clustering.is_empty() => {
                if let Some(span) = self.span(change.partition) {
                    change.ranges.push((span, timestamp));
                }
            }
            12..22 if !statics.is_empty() => {
                let mut edit = RowEdit {
                    ends: self.ends(),
                    ..RowEdit::default()
                };
                self.cells(&mut edit, &statics, timestamp, change.id);
                change.statics = Some(edit);
            }
            22..34 => {
                let key = self.old_key(change.partition);
                self.row(
                    change,
                    key,
                    RowEdit {
                        deleted: Some(timestamp),
                        ..RowEdit::default()
                    },
                );
            }
            34..54 => {
                // An edit: no insert, perhaps of a row that is gone.
                let key = self.old_key(change.partition);
                let mut edit = RowEdit {
                    ends: self.ends(),
                    ..RowEdit::default()
                };
                self.cells(&mut edit, &regulars, timestamp, change.id);
                self.row(change, key, edit);
            }
            _ => {
                let key = self.new_key(change.partition);
                let mut edit = RowEdit {
                    inserted: Some(timestamp),
                    ends: self.ends(),
                    ..RowEdit::default()
                };
                self.cells(&mut edit, &regulars, timestamp, change.id);
                self.row(change, key, edit);
            }
        }
        // Something at least: an empty mutation is none.
        if change.deleted.is_none() && change.statics.is_none() && change.rows.is_empty() && change.ranges.is_empty() {
            let key = self.new_key(change.partition);
            self.row(
                change,
                key,
                RowEdit {
                    inserted: Some(timestamp),
                    ..RowEdit::default()
                },
            );
        }
    }

    fn row(&mut self, change: &mut Change, key: Key, edit: RowEdit) {
        if !change.rows.iter().any(|(other, _)| *other == key) {
            self.used[change.partition].push(key.clone());
            change.rows.push((key, edit));
        }
    }

    /// Says something of one or more of `shapes`' columns.
    fn cells(&mut self, edit: &mut RowEdit, shapes: &[Shape], timestamp: i64, id: u32) {
        let certain = self.rng.below(shapes.len());
        for (column, shape) in shapes.iter().enumerate() {
            if column != certain && self.rng.chance(1, 2) {
                continue;
            }
            match shape.element() {
                None if self.rng.chance(1, 6) => edit.cells.push(CellEdit::Delete {
                    column,
                    element: None,
                    timestamp,
                }),
                None => {
                    let value = self.value(*shape, id);
                    edit.cells.push(CellEdit::Put {
                        column,
                        element: None,
                        timestamp,
                        value,
                        ends: edit.ends,
                    });
                }
                Some(ty) => self.elements(edit, column, *shape, ty, timestamp, id),
            }
        }
    }

    fn elements(&mut self, edit: &mut RowEdit, column: Name, shape: Shape, ty: Ty, timestamp: i64, id: u32) {
        match self.rng.below(6) {
            // Overwritten as a whole: what was there goes, what is new is one tick later.
            0 => edit.cells.push(CellEdit::DeleteCollection {
                column,
                timestamp: timestamp - 1,
            }),
            1 => {
                edit.cells.push(CellEdit::DeleteCollection { column, timestamp });
                return;
            }
            _ => {}
        }
        let mut names = Vec::new();
        for nth in 0..self.rng.within(1..4) {
            let name = match ty {
                Ty::TimeUuid => time_uuid(self.rng.below(12) as u64, nth as u64),
                _ => Val::Text((*self.rng.pick(&["", "a", "b", "c\0d", "ü", "zz"])).to_owned()),
            };
            if names.contains(&name) {
                continue;
            }
            names.push(name.clone());
            edit.cells.push(if self.rng.chance(1, 4) {
                CellEdit::Delete {
                    column,
                    element: Some(name),
                    timestamp,
                }
            } else {
                let value = match shape {
                    Shape::MapOfTextToBigInt => self.value(Shape::BigInt, id),
                    Shape::ListOfText => self.value(Shape::Text, id),
                    _ => Vec::new(),
                };
                CellEdit::Put {
                    column,
                    element: Some(name),
                    timestamp,
                    value,
                    ends: edit.ends,
                }
            });
        }
    }

    fn value(&mut self, shape: Shape, id: u32) -> Vec<u8> {
        let len = match (self.profile.bulky, self.rng.below(20)) {
            (_, 0) => 0,
            (true, 1..12) => self.rng.within(500..6_000),
            (false, 1) => self.rng.within(200..3_000),
            _ => self.rng.within(1..24),
        };
        let len = len.min(self.room);
        self.room -= len;
        match shape {
            Shape::BigInt => (i64::from(id) << 8 | self.rng.below(256) as i64).to_be_bytes().to_vec(),
            Shape::Blob => self.rng.bytes(len),
            _ => {
                let words = format!("change {id} ");
                words.bytes().cycle().take(len).collect()
            }
        }
    }

    /// A key that is likely to be new; the newest messages have the largest ids.
    fn new_key(&mut self, partition: PartitionIndex) -> Key {
        let table = &TABLES[self.universe[partition].table];
        let newest = self.used[partition].iter().filter_map(|key| match key.first() {
            Some(Part { val: Val::Big(id), .. }) => Some(*id),
            _ => None,
        });
        let newest = newest.max().map_or(100, |id| id.max(100));
        let vals = table.clustering.iter().map(|(ty, descending)| {
            let val = match ty {
                Ty::BigInt if self.rng.chance(1, 5) => Val::Big(self.rng.below(newest as usize + 3) as i64 - 1),
                Ty::BigInt => Val::Big(newest + 1 + self.rng.below(3) as i64),
                Ty::Int => Val::Int(self.rng.below(5) as i32 - 2),
                _ if self.rng.chance(1, 2) => {
                    Val::Text((*self.rng.pick(&["", "a", "a\0", "a\0b", "ab", "b", "ÿ", "\u{10FFFF}"])).to_owned())
                }
                _ => Val::Text(format!("k{}", self.rng.below(30))),
            };
            Part {
                val,
                descending: *descending,
            }
        });
        vals.collect()
    }

    /// A key that is likely to be there.
    fn old_key(&mut self, partition: PartitionIndex) -> Key {
        if self.used[partition].is_empty() || self.rng.chance(1, 10) {
            return self.new_key(partition);
        }
        let used = &self.used[partition];
        // The recent ones more often, as with messages.
        let recent = used.len().min(8);
        let at = if self.rng.chance(1, 2) {
            used.len() - 1 - self.rng.below(recent)
        } else {
            self.rng.below(used.len())
        };
        used[at].clone()
    }

    /// A span that is not empty as such.
    fn span(&mut self, partition: PartitionIndex) -> Option<Span> {
        let (one, other) = (self.edge(partition), self.edge(partition));
        match one.cmp(&other) {
            std::cmp::Ordering::Less => Some(Span { from: one, to: other }),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Span { from: other, to: one }),
        }
    }

    fn edge(&mut self, partition: PartitionIndex) -> Edge {
        match self.rng.below(10) {
            0 => Edge::START,
            1 => Edge::END,
            _ => {
                let mut prefix = self.old_key(partition);
                if prefix.len() > 1 && self.rng.chance(1, 3) {
                    prefix.truncate(1);
                }
                Edge {
                    prefix,
                    after: self.rng.chance(1, 2),
                }
            }
        }
    }
}

/// A version-1 uuid of the given time.
fn time_uuid(time: u64, node: u64) -> Val {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&(time as u32).to_be_bytes());
    bytes[6] = 0x10;
    bytes[8] = 0x80;
    bytes[15] = node as u8;
    Val::TimeUuid(bytes)
}
