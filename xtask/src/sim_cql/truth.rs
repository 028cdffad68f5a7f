//! What the clients know of the tables, and the judge of what is read.
//!
//! 1. A write is a [`Part`] for each partition: what it puts and what it deletes there, with a timestamp of which at least is known what it is
//!    surely before. A value is the id of its part, so that whatever is read says who wrote it.
//! 2. A value may be read if its part had begun, and nothing that was answered (or seen) before surely covers it.
//! 3. A value that was answered (or seen) before a read may be missing only if something that had begun can cover it.
//! 4. What a crash cut off has happened or not; the look after the next start says which. Of a logged batch all parts, or none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::cas::Counters;
use super::client::Known;

pub(super) type Shared = Rc<RefCell<Truth>>;

/// The tables of ordinary writes: the first is only altered, the second truncated and dropped, the third goes with its keyspace.
pub(super) const TABLES: [&str; 3] = ["first.steady", "first.shaky", "second.messages"];
pub(super) const PARTITIONS: i32 = 5;
pub(super) const ROWS: i32 = 6;

/// A table and a partition of it.
pub(super) type At = (usize, i32);

/// What a row holds apart from its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Col {
    V,
    /// The column that is dropped and added again.
    X,
    /// An element of the set.
    Tag(i32),
}

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// That there is a row.
    Live(i32),
    Cell(i32, Col),
    Static,
}

/// What a deletion covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    Partition,
    /// From a row up to another, without it.
    Rows(i32, i32),
    Tags(i32),
    One(Place),
}

impl Scope {
    fn covers(self, place: Place) -> bool {
        match (self, place) {
            (Scope::Partition, _) => true,
            (Scope::Rows(from, to), Place::Live(row) | Place::Cell(row, _)) => (from..to).contains(&row),
            (Scope::Tags(of), Place::Cell(row, Col::Tag(_))) => of == row,
            (Scope::One(one), place) => one == place,
            _ => false,
        }
    }
}

/// The timestamp of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stamp {
    /// The client's, before all that the server gives.
    Past(i64),
    Server,
    /// The client's, after all that the server gives.
    Future(i64),
}

/// From here on timestamps are the future's.
pub(super) const FUTURE: i64 = 4_000_000_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// In flight.
    Pending,
    Answered,
    /// Cut off by a crash, or refused: it happened or not.
    Unknown,
    /// As before, and nothing that it put will be seen any more.
    Unseen,
}

/// What one request does to one partition.
#[derive(Clone, Debug)]
struct Part {
    id: i32,
    request: u64,
    logged: bool,
    stamp: Stamp,
    began: u64,
    answered: Option<u64>,
    seen: Option<u64>,
    /// Its timestamp was given before.
    latest: Option<u64>,
    fate: Fate,
    puts: Vec<Place>,
    kills: Vec<Scope>,
}

impl Part {
    /// Whether whoever reads from then on sees it.
    fn stands_at(&self, time: u64) -> bool {
        self.answered.is_some_and(|at| at < time) || self.seen.is_some_and(|at| at < time)
    }

    fn is_before(&self, other: &Part) -> bool {
        match (self.stamp, other.stamp) {
            (Stamp::Past(a), Stamp::Past(b)) | (Stamp::Future(a), Stamp::Future(b)) => a < b,
            (Stamp::Server, Stamp::Server) => self.latest.is_some_and(|latest| latest < other.began),
            (Stamp::Past(_), _) | (_, Stamp::Future(_)) => true,
            _ => false,
        }
    }

    fn kills_at(&self, place: Place) -> bool {
        self.kills.iter().any(|scope| scope.covers(place))
    }
}

/// A table or a column was emptied, whatever the timestamps.
#[derive(Clone, Debug)]
struct Wipe {
    table: usize,
    column_only: bool,
    began: u64,
    answered: Option<u64>,
    latest: Option<u64>,
}

impl Wipe {
    fn is_about(&self, table: usize, place: Place) -> bool {
        self.table == table && (!self.column_only || matches!(place, Place::Cell(_, Col::X)))
    }
}

/// Whether a table, or its column, is there.
#[derive(Clone, Default)]
pub(super) struct Presence {
    /// `None`: a crash came while that was changed.
    pub is: Option<bool>,
    absent: Vec<(u64, Option<u64>)>,
    gone: u64,
}

impl Presence {
    pub fn leaves(&mut self, now: u64) {
        self.is = None;
        self.absent.push((now, None));
    }

    pub fn has_come(&mut self, now: u64) {
        self.is = Some(true);
        if let Some((_, end)) = self.absent.last_mut() {
            end.get_or_insert(now);
        }
    }

    pub fn is_gone(&mut self, now: u64) {
        (self.is, self.gone) = (Some(false), now);
    }

    /// Whether it may have been missing between two moments.
    pub fn may_miss(&self, from: u64, to: u64) -> bool {
        self.absent
            .iter()
            .any(|(began, ended)| *began <= to && ended.is_none_or(|ended| ended >= from))
    }

    /// Whether it was missing all the time.
    fn is_missing(&self, from: u64) -> bool {
        self.is == Some(false) && self.gone < from
    }
}

/// What was met.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub answers: u64,
    pub prepared: u64,
    pub writes: u64,
    pub batches: u64,
    pub replayed: u64,
    pub refused: u64,
    pub unknown: u64,
    pub walks: u64,
    pub pages: u64,
    pub rows: u64,
    pub definitions: u64,
    pub steps: u64,
}

/// What is known.
#[derive(Default)]
pub(super) struct Truth {
    time: u64,
    last_id: i32,
    last_request: u64,
    parts: BTreeMap<At, Vec<Part>>,
    wipes: Vec<Wipe>,
    pub tables: [Presence; 3],
    /// The column `x` of each.
    pub columns: [Presence; 3],
    /// What clients were told when they prepared a text last; they go on with it when the server is another process.
    pub prepared: BTreeMap<String, Known>,
    pub counters: Counters,
    pub counts: Counts,
    /// When the node ended.
    pub ends: Vec<u64>,
    violation: Option<String>,
}

/// A write under way.
pub(super) struct Written {
    at: Vec<At>,
    request: u64,
    pub began: u64,
}

/// A part before it is sent.
pub(super) struct Draft {
    pub at: At,
    pub id: i32,
    pub puts: Vec<Place>,
    pub kills: Vec<Scope>,
}

/// A row as it was read.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// `None`: the static columns alone.
    pub clustering: Option<i32>,
    pub statics: Option<i32>,
    pub v: Option<i32>,
    /// `None`: there was no such column.
    pub x: Option<Option<i32>>,
    pub tags: Vec<i32>,
    /// When its page was asked for.
    pub asked: u64,
}

/// What was asked of a partition, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub at: At,
    /// Rows from one up to another; `None`: the whole partition.
    pub rows: Option<(i32, i32)>,
    pub from: u64,
    pub to: u64,
}

type Judged = Result<(), String>;

impl Truth {
    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub fn violation(&self) -> Option<&String> {
        self.violation.as_ref()
    }

    pub fn check(&mut self, judged: Judged) {
        if let Err(what) = judged {
            self.violate(what);
        }
    }

    /// A moment after all before.
    pub fn now(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    pub fn new_id(&mut self) -> i32 {
        // Above all keys, so that it is none of them.
        self.last_id = self.last_id.max(1_000) + 1;
        self.last_id
    }

    /// The ids of parts that a partition had.
    pub fn ids_at(&self, at: At) -> Vec<i32> {
        self.parts
            .get(&at)
            .map_or_else(Vec::new, |parts| parts.iter().map(|part| part.id).collect())
    }

    /// A write begins.
    pub fn begins(&mut self, drafts: Vec<Draft>, stamp: Stamp, logged: bool) -> Written {
        let began = self.now();
        self.last_request += 1;
        let at = drafts.iter().map(|draft| draft.at).collect();
        for draft in drafts {
            self.parts.entry(draft.at).or_default().push(Part {
                id: draft.id,
                request: self.last_request,
                logged,
                stamp,
                began,
                answered: None,
                seen: None,
                latest: None,
                fate: Fate::Pending,
                puts: draft.puts,
                kills: draft.kills,
            });
        }
        self.counts.writes += 1;
        Written {
            at,
            request: self.last_request,
            began,
        }
    }

    /// A write was answered: it stands, or what became of it is not known.
    pub fn ends(&mut self, written: &Written, stands: bool) {
        let now = self.now();
        for at in &written.at {
            let parts = self.parts.get_mut(at).into_iter().flatten();
            for part in parts.filter(|part| part.request == written.request) {
                part.latest = Some(now);
                match stands {
                    true => (part.answered, part.fate) = (Some(now), Fate::Answered),
                    false => part.fate = Fate::Unknown,
                }
            }
        }
    }

    /// Something is emptied; gives what [`is_wiped`](Self::is_wiped) asks for.
    pub fn wipes(&mut self, table: usize, column_only: bool) -> usize {
        let began = self.now();
        self.wipes.push(Wipe {
            table,
            column_only,
            began,
            answered: None,
            latest: None,
        });
        self.wipes.len() - 1
    }

    pub fn is_wiped(&mut self, wipe: usize) {
        let now = self.now();
        let wipe = &mut self.wipes[wipe];
        (wipe.answered, wipe.latest) = (Some(now), Some(now));
    }

    /// A table and its column are made if they are not there, which a crash may cut off; gives whether they were.
    pub fn may_be_made(&mut self, table: usize) -> (Option<bool>, Option<bool>) {
        let (was, had_x) = (self.tables[table].is, self.columns[table].is);
        if was != Some(true) {
            self.tables[table].is = None;
        }
        // A table that is made has its column, whether it had one when it went or not.
        if was != Some(true) || had_x != Some(true) {
            self.columns[table].is = None;
        }
        (was, had_x)
    }

    /// A table or column, of which it was known or not whether it is there, was found, or made anew.
    pub fn found(&mut self, table: usize, column_only: bool, was: Option<bool>, made: bool) {
        let now = self.now();
        let of = match column_only {
            true => &mut self.columns[table],
            false => &mut self.tables[table],
        };
        let what = format!("{}{}", TABLES[table], if column_only { ".x" } else { "" });
        match (was, made) {
            (Some(true), true) => self.violation = Some(format!("{what} was there, and is not")),
            (Some(false), false) => self.violation = Some(format!("{what} was dropped, and is there")),
            _ => {}
        }
        of.has_come(now);
        if made {
            // Whatever it was that began last and was cut off, it has happened.
            let cut =
                |wipe: &&mut Wipe| wipe.table == table && wipe.column_only == column_only && wipe.answered.is_none();
            for wipe in self.wipes.iter_mut().filter(cut) {
                wipe.answered = wipe.latest.or(Some(now));
            }
        }
    }

    /// The node has ended: what was in flight has happened or not.
    pub fn crashed(&mut self) {
        let now = self.now();
        self.ends.push(now);
        for part in self
            .parts
            .values_mut()
            .flatten()
            .filter(|part| part.fate == Fate::Pending)
        {
            (part.fate, part.latest) = (Fate::Unknown, Some(now));
            self.counts.unknown += 1;
        }
        for wipe in &mut self.wipes {
            wipe.latest.get_or_insert(now);
        }
    }

    /// What was read of all partitions after a start decides what has become of the writes that were cut off.
    pub fn settle(&mut self, read: &[(Asked, Vec<Row>)]) {
        let mut whole = Vec::new();
        let started = read.iter().map(|(asked, _)| asked.from - 1).min();
        // What is left of a logged batch is applied whenever there is room for it, at the latest by the start.
        let by = |part: &Part| {
            if part.logged {
                started.max(part.latest)
            } else {
                part.latest
            }
        };
        for (asked, rows) in read {
            let mut values: Vec<i32> = Vec::new();
            for row in rows {
                values.extend(
                    row.statics
                        .iter()
                        .chain(&row.v)
                        .chain(row.x.iter().flatten())
                        .chain(&row.tags),
                );
            }
            for part in self.parts.get_mut(&asked.at).into_iter().flatten() {
                if part.fate == Fate::Unknown && (part.seen.is_some() || values.contains(&part.id)) {
                    (part.fate, part.answered) = (Fate::Answered, by(part));
                    if part.logged {
                        whole.push(part.request);
                    }
                }
            }
        }
        for part in self
            .parts
            .values_mut()
            .flatten()
            .filter(|part| part.fate == Fate::Unknown)
        {
            match whole.contains(&part.request) {
                true => (part.fate, part.answered) = (Fate::Answered, by(part)),
                false => part.fate = Fate::Unseen,
            }
        }
    }

    /// Whether a part's value at a place is gone for all who read from then on.
    fn is_covered(&self, at: At, part: &Part, place: Place, from: u64) -> Option<String> {
        let by = self.parts[&at].iter().find(|other| {
            let covers = other.kills_at(place) || (other.puts.contains(&place) && !matches!(place, Place::Live(_)));
            other.id != part.id
                && other.stands_at(from)
                && covers
                && part.is_before(other)
                && !self.may_be_wiped(at.0, other, place, u64::MAX)
        });
        let wiped = self.wipes.iter().find(|wipe| {
            let before = |time: Option<u64>| time.is_some_and(|time| time < wipe.began);
            // A logged batch that was not answered may come again.
            let before = before(part.answered) || (!part.logged && (before(part.seen) || before(part.latest)));
            wipe.is_about(at.0, place) && wipe.answered.is_some_and(|answered| answered < from) && before
        });
        by.map(|by| format!("{by:?}"))
            .or_else(|| wiped.map(|wipe| format!("{wipe:?}")))
    }

    /// Whether what a part did at a place may have been emptied away until then.
    fn may_be_wiped(&self, table: usize, part: &Part, place: Place, to: u64) -> bool {
        self.wipes.iter().any(|wipe| {
            wipe.is_about(table, place) && wipe.began < to && wipe.latest.is_none_or(|latest| latest > part.began)
        })
    }

    /// A value was read.
    fn sees(&mut self, at: At, place: Place, id: i32, from: u64, to: u64) -> Judged {
        let what = || format!("{} p={} {place:?}: {id}", TABLES[at.0], at.1);
        let parts = self.parts.get(&at).map_or(&[][..], Vec::as_slice);
        let Some(part) = parts.iter().find(|part| part.id == id && part.puts.contains(&place)) else {
            return Err(format!("{}: nobody wrote it", what()));
        };
        if part.began > to || part.fate == Fate::Unseen {
            return Err(format!("{}: it comes too late: {part:?}", what()));
        }
        if let Some(by) = self.is_covered(at, part, place, from) {
            return Err(format!("{}: {part:?} was covered by {by}; read {from}..{to}", what()));
        }
        let parts = self.parts.get_mut(&at).expect("it has parts");
        let part = parts.iter_mut().find(|part| part.id == id).expect("it was found");
        part.seen = Some(part.seen.map_or(to, |seen| seen.min(to)));
        Ok(())
    }

    /// No value of a part was read.
    fn misses(&self, at: At, place: Place, from: u64, to: u64) -> Judged {
        let parts = self.parts.get(&at).map_or(&[][..], Vec::as_slice);
        for part in parts
            .iter()
            .filter(|part| part.puts.contains(&place) && part.stands_at(from))
        {
            let killed = parts.iter().any(|other| {
                other.id != part.id && other.kills_at(place) && other.began < to && !other.is_before(part)
            });
            if !killed && !self.may_be_wiped(at.0, part, place, to) {
                return Err(format!(
                    "{} p={} {place:?}: {part:?} is missing in a read {from}..{to}",
                    TABLES[at.0], at.1
                ));
            }
        }
        Ok(())
    }

    /// There is a row without a value.
    fn is_alive(&self, at: At, row: i32, from: u64, to: u64) -> Judged {
        let place = Place::Live(row);
        let parts = self.parts.get(&at).map_or(&[][..], Vec::as_slice);
        let mut inserts = parts
            .iter()
            .filter(|part| part.puts.contains(&place) && part.began < to);
        let alive = inserts.any(|part| part.fate != Fate::Unseen && self.is_covered(at, part, place, from).is_none());
        // What was cut off may have left a row whose values were deleted.
        let unseen = parts
            .iter()
            .any(|part| part.fate == Fate::Unseen && part.puts.contains(&place));
        match alive || unseen {
            true => Ok(()),
            false => Err(format!(
                "{} p={} c={row}: a row without reason, read {from}..{to}",
                TABLES[at.0], at.1
            )),
        }
    }

    /// Whether a row must be there, and whether it may.
    pub fn presence(&self, at: At, row: i32, from: u64, to: u64) -> (bool, bool) {
        let parts = self.parts.get(&at).map_or(&[][..], Vec::as_slice);
        let is_of = |place: &Place| matches!(place, Place::Live(of) | Place::Cell(of, _) if *of == row);
        let is_x = |place: &Place| matches!(place, Place::Cell(_, Col::X));
        let mut places: Vec<Place> = parts
            .iter()
            .flat_map(|part| &part.puts)
            .copied()
            .filter(is_of)
            .collect();
        places.dedup();
        // Whether `x` counts depends on whether there was such a column.
        let must = places
            .iter()
            .any(|place| !is_x(place) && self.misses(at, *place, from, to).is_err());
        let may = parts.iter().any(|part| part.began < to && part.puts.iter().any(is_of));
        (must, may)
    }

    /// Judges what was read of a partition.
    pub fn judge(&mut self, asked: Asked, rows: &[Row]) -> Judged {
        let Asked { at, from, to, .. } = asked;
        let (low, high) = asked.rows.unwrap_or((0, ROWS));
        self.counts.rows += rows.len() as u64;
        for row in rows {
            if let Some(id) = row.statics {
                self.sees(at, Place::Static, id, row.asked, to)?;
            } else {
                self.misses(at, Place::Static, row.asked, to)?;
            }
            let Some(c) = row.clustering else { continue };
            if !(low..high).contains(&c) {
                return Err(format!("{} p={}: row {c} was not asked for", TABLES[at.0], at.1));
            }
            for (col, value) in [(Col::V, Some(row.v)), (Col::X, row.x)] {
                match value {
                    Some(Some(id)) => self.sees(at, Place::Cell(c, col), id, row.asked, to)?,
                    Some(None) => self.misses(at, Place::Cell(c, col), row.asked, to)?,
                    None => {}
                }
            }
            for &id in &row.tags {
                self.sees(at, Place::Cell(c, Col::Tag(id)), id, row.asked, to)?;
            }
            for id in self.ids_at(at) {
                if !row.tags.contains(&id) {
                    self.misses(at, Place::Cell(c, Col::Tag(id)), row.asked, to)?;
                }
            }
            let is_empty = row.v.is_none() && row.x.flatten().is_none() && row.tags.is_empty();
            if is_empty {
                self.is_alive(at, c, row.asked, to)?;
            }
        }
        let is_there = |c| rows.iter().any(|row| row.clustering == Some(c));
        for c in (low..high).filter(|c| !is_there(*c)) {
            if self.presence(at, c, from, to).0 {
                return Err(format!(
                    "{} p={} c={c}: missing in a read {from}..{to}: {rows:?}",
                    TABLES[at.0], at.1
                ));
            }
        }
        if rows.is_empty() && asked.rows.is_none() {
            self.misses(at, Place::Static, from, to)?;
        }
        Ok(())
    }

    /// Judges whether a page of a table had to have the column `x`.
    pub fn judge_columns(&self, table: usize, has_x: bool, from: u64, to: u64) -> Judged {
        let of = &self.columns[table];
        let gone = self.tables[table].may_miss(from, to);
        match has_x {
            true if of.is_missing(from) && !gone => Err(format!("{}.x is read, and was dropped", TABLES[table])),
            false if !of.may_miss(from, to) && !gone => Err(format!("{}.x is not read, and is there", TABLES[table])),
            _ => Ok(()),
        }
    }

    /// A request was refused: something that it names was missing at times.
    pub fn may_be_refused(&self, tables: &[usize], names_x: bool, from: u64, to: u64) -> bool {
        tables
            .iter()
            .any(|&table| self.tables[table].may_miss(from, to) || (names_x && self.columns[table].may_miss(from, to)))
    }
}
