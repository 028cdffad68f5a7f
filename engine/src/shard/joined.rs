//! Pages that identical reads share (DESIGN §7.5): a channel that a million people open is read once.
//!
//! 1. A read that has to wait, for the device or for its turn, is registered in the step in which it took its snapshot. An
//!    identical read that comes meanwhile waits for its page instead of reading.
//! 2. A page that others waited for, or that is asked for the second time within a second, is *hot*: it is kept, and given to
//!    whoever asks for the same before the second is over. So what ends by the clock ends in time. When `hot_page_bytes` or 256
//!    pages are reached, all are forgotten.
//! 3. Such pages are given in [turns](Turns), a few in each pass of the reactor: a crowd at one partition is served in order of
//!    arrival, and those who want something else are not kept waiting by it.
//! 4. A write to the partition strikes its reads and pages off: whoever comes later must see the write. What is waiting already
//!    began before it was acknowledged.

use crate::error::Result;
use crate::page::{Page, Read};
use model::{MutationRef, TableId, Token};
use runtime::sync::{Notify, Semaphore};
use runtime::{Break, TaskClass};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use xxhash_rust::xxh3::xxh3_64;

/// An odd number near 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A partition, but for the rare case that two share a token: those strike each other's reads off.
type Place = (TableId, Token);

/// Larger pages are not kept.
const HOT_PAGE_BYTES_MAX: usize = 256 << 10;
/// Hot pages of a shard: so few that all of them are forgotten between two breaths.
const HOT_PAGES_MAX: usize = 256;
/// And of a partition: they are looked through one by one.
const HOT_PAGES_OF_PARTITION_MAX: usize = 16;
/// What a hot page takes beside what can be counted, bytes.
const HOT_PAGE_OVERHEAD: usize = 256;
/// What is remembered of the reads of a second, to know the second of two.
const SEEN: usize = 1024;

/// Reads under way on a shard, and hot pages, that others may share.
pub(super) struct JoinedReads {
    by_place: RefCell<BTreeMap<Place, Vec<Rc<UnderWay>>>>,
    hot: RefCell<HotPages>,
}

struct HotPages {
    bytes_max: usize,
    bytes: usize,
    count: usize,
    /// The second whose expiries they show.
    now_s: u32,
    by_place: BTreeMap<Place, Vec<(Read, Page)>>,
    /// The reads of this second, by their hash.
    seen: Box<[u64; SEEN]>,
}

/// What an identical read has found.
pub(super) enum Found {
    Page(Page),
    UnderWay(Rc<UnderWay>),
}

/// A read under way.
pub(super) struct UnderWay {
    read: Read,
    /// The second whose expiries it sees.
    now_s: u32,
    outcome: RefCell<Option<Result<Page>>>,
    is_awaited: Cell<bool>,
    ended: Notify,
}

impl JoinedReads {
    /// `hot_page_bytes`: what hot pages take at most.
    pub(super) fn new(hot_page_bytes: usize) -> JoinedReads {
        let hot = HotPages {
            bytes_max: hot_page_bytes,
            bytes: 0,
            count: 0,
            now_s: 0,
            by_place: BTreeMap::new(),
            seen: Box::new([0; SEEN]),
        };
        JoinedReads {
            by_place: RefCell::default(),
            hot: RefCell::new(hot),
        }
    }

    /// The page of the same read, or that read if it is under way.
    pub(super) fn find(&self, token: Token, read: &Read, now_s: u32) -> Option<Found> {
        let place = (read.table, token);
        let hot = self.hot.borrow();
        if hot.now_s == now_s
            && let Some(pages) = hot.by_place.get(&place)
            && let Some((_, page)) = pages.iter().find(|(other, _)| other == read)
        {
            return Some(Found::Page(page.clone()));
        }
        let by_place = self.by_place.borrow();
        let same = |other: &&Rc<UnderWay>| other.now_s == now_s && other.read == *read;
        let found = by_place.get(&place)?.iter().find(same);
        found.map(|found| Found::UnderWay(Rc::clone(found)))
    }

    /// Keeps a page that shows its partition as it is in this step, if others waited for it or it was asked for before in this
    /// second.
    pub(super) fn keep(&self, token: Token, read: &Read, now_s: u32, page: &Page, is_awaited: bool) {
        let hot = &mut *self.hot.borrow_mut();
        let bytes = memory_bytes(read, page);
        if bytes > hot.bytes_max.min(HOT_PAGE_BYTES_MAX) {
            return;
        }
        let hash = hash_of(token, read, now_s);
        let seen = &mut hot.seen[hash as usize % SEEN];
        if std::mem::replace(seen, hash) != hash && !is_awaited {
            return;
        }
        if hot.now_s != now_s || hot.bytes + bytes > hot.bytes_max || hot.count == HOT_PAGES_MAX {
            hot.forget();
        }
        let place = (read.table, token);
        let of_place = hot.by_place.get(&place);
        if of_place.is_some_and(|pages| pages.len() == HOT_PAGES_OF_PARTITION_MAX) {
            hot.strike_off(place);
        }
        hot.now_s = now_s;
        hot.bytes += bytes;
        hot.count += 1;
        let pages = hot.by_place.entry(place).or_default();
        pages.push((read.clone(), page.clone().shared()));
    }

    /// Registers a read that has taken its snapshot in this step.
    pub(super) fn begin(self: &Rc<Self>, token: Token, read: &Read, now_s: u32) -> Leading {
        let under_way = Rc::new(UnderWay {
            read: read.clone(),
            now_s,
            outcome: RefCell::default(),
            is_awaited: Cell::new(false),
            ended: Notify::new(),
        });
        let place = (read.table, token);
        let mut by_place = self.by_place.borrow_mut();
        by_place.entry(place).or_default().push(Rc::clone(&under_way));
        Leading {
            joined: Rc::clone(self),
            place,
            under_way,
        }
    }

    /// Strikes the reads of a partition off, which is written to in this step.
    pub(super) fn strike_off(&self, written: MutationRef<'_>) {
        let place = (written.table(), written.token());
        let mut by_place = self.by_place.borrow_mut();
        if !by_place.is_empty() && !runtime::broken(Break::JoinsStaleReads) {
            by_place.remove(&place);
        }
        let mut hot = self.hot.borrow_mut();
        if hot.count > 0 && !runtime::broken(Break::KeepsStalePages) {
            hot.strike_off(place);
        }
    }

    /// Strikes all reads of a table off, whose definition changes in this step.
    pub(super) fn strike_off_table(&self, table: TableId) {
        self.by_place.borrow_mut().retain(|(of, _), _| *of != table);
        self.hot.borrow_mut().forget();
    }
}

impl HotPages {
    fn forget(&mut self) {
        self.by_place.clear();
        (self.bytes, self.count) = (0, 0);
    }

    fn strike_off(&mut self, place: Place) {
        for (read, page) in self.by_place.remove(&place).into_iter().flatten() {
            self.bytes -= memory_bytes(&read, &page);
            self.count -= 1;
        }
    }
}

/// What a hot page takes, bytes.
fn memory_bytes(read: &Read, page: &Page) -> usize {
    let read_bytes = read.key.len() + read.slice.start.len() + read.slice.end.len();
    HOT_PAGE_OVERHEAD + read_bytes + page.memory_bytes()
}

/// Tells reads of one second apart, nearly always.
fn hash_of(token: Token, read: &Read, now_s: u32) -> u64 {
    let numbers = [
        token.0 as u64,
        u64::from(read.table.0) << 32 | u64::from(now_s),
        read.limit_rows as u64,
        xxh3_64(&read.slice.start),
    ];
    numbers.into_iter().fold(0, |hash: u64, number| {
        (hash ^ number).wrapping_mul(SPREAD).rotate_left(29)
    })
}

/// Shared pages given between two passes of the reactor: with what is done with each, about as much as a shard computes between
/// them.
const SHARED_PER_PASS: usize = 32;

/// Deals shared pages out, so many in each pass.
pub(super) struct Turns {
    left: Semaphore,
    taken: Cell<usize>,
    /// A task gives back in the next pass what has been taken.
    refilled: Cell<bool>,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns {
            left: Semaphore::new(SHARED_PER_PASS),
            taken: Cell::new(0),
            refilled: Cell::new(false),
        }
    }

    /// Waits until it is this page's turn; whether it had to.
    ///
    /// # Cancellation
    /// Another has the turn.
    pub(super) async fn take(self: &Rc<Self>) -> bool {
        let at_once = self.left.try_acquire(1);
        let waited = at_once.is_none();
        match at_once {
            Some(turn) => turn.forget(),
            None => self.left.acquire(1).await.forget(),
        }
        self.taken.set(self.taken.get() + 1);
        if !self.refilled.replace(true) {
            let turns = Rc::clone(self);
            drop(runtime::spawn(
                TaskClass::Request,
                "deal out shared pages",
                async move {
                    runtime::next_pass().await;
                    turns.left.add_permits(turns.taken.take());
                    turns.refilled.set(false);
                },
            ));
        }
        waited
    }
}

impl UnderWay {
    /// Waits for its end; `None` if it was dropped before.
    pub(super) async fn outcome(&self) -> Option<Result<Page>> {
        self.is_awaited.set(true);
        self.ended.notified().await;
        self.outcome.borrow().clone()
    }
}

/// Held by the read that the others wait for. Dropped, it lets them go.
pub(super) struct Leading {
    joined: Rc<JoinedReads>,
    place: Place,
    under_way: Rc<UnderWay>,
}

impl Leading {
    /// Whether others wait for it.
    pub(super) fn is_awaited(&self) -> bool {
        self.under_way.is_awaited.get()
    }

    /// Whether the partition is as the read saw it: it was not written to since.
    pub(super) fn is_current(&self) -> bool {
        let by_place = self.joined.by_place.borrow();
        let of_place = by_place.get(&self.place);
        of_place.is_some_and(|of_place| of_place.iter().any(|other| Rc::ptr_eq(other, &self.under_way)))
    }

    /// Gives the others what came of it.
    pub(super) fn end(self, outcome: &Result<Page>) {
        if self.is_awaited() {
            *self.under_way.outcome.borrow_mut() = Some(outcome.clone());
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        let mut by_place = self.joined.by_place.borrow_mut();
        if let Some(of_place) = by_place.get_mut(&self.place) {
            of_place.retain(|other| !Rc::ptr_eq(other, &self.under_way));
            if of_place.is_empty() {
                by_place.remove(&self.place);
            }
        }
        self.under_way.ended.notify_all();
    }
}
