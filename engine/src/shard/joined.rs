//! Reads under way that others share (DESIGN §7.5): a channel that a million people open is read once.
//!
//! 1. A read that gives its page at once shares nothing and costs nothing here. One that has to wait, for the device or for
//!    its turn, is registered in the step in which it took its snapshot.
//! 2. An identical read that comes meanwhile waits for its page instead of reading.
//! 3. A write to the partition strikes its reads off: whoever comes later must see the write. What is waiting already
//!    began before it was acknowledged.

use crate::error::Result;
use crate::page::{Page, Read};
use model::{MutationRef, TableId, Token};
use runtime::Break;
use runtime::sync::Notify;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A partition, but for the rare case that two share a token: those strike each other's reads off.
type Place = (TableId, Token);

/// Reads under way on a shard that others may share.
#[derive(Default)]
pub(super) struct JoinedReads {
    by_place: RefCell<BTreeMap<Place, Vec<Rc<UnderWay>>>>,
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
    /// The same read, if it is under way.
    pub(super) fn find(&self, token: Token, read: &Read, now_s: u32) -> Option<Rc<UnderWay>> {
        let by_place = self.by_place.borrow();
        let of_place = by_place.get(&(read.table, token))?;
        let same = |other: &&Rc<UnderWay>| other.now_s == now_s && other.read == *read;
        of_place.iter().find(same).cloned()
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
        let mut by_place = self.by_place.borrow_mut();
        if !by_place.is_empty() && !runtime::broken(Break::JoinsStaleReads) {
            by_place.remove(&(written.table(), written.token()));
        }
    }

    /// Strikes all reads of a table off, whose definition changes in this step.
    pub(super) fn strike_off_table(&self, table: TableId) {
        self.by_place.borrow_mut().retain(|(of, _), _| *of != table);
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
    /// Gives the others what came of it.
    pub(super) fn end(self, outcome: &Result<Page>) {
        if self.under_way.is_awaited.get() {
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
