//! Tasks and clients: where their futures are, and who wakes them.
//!
//! A waker is an `Arc` with a number: waking puts the number on the list of the woken, once until the task is polled. A
//! number is never used twice, so wakers that outlive their task, or the crash that dropped it, are harmless.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;

pub(super) type Unit = Pin<Box<dyn Future<Output = ()>>>;

/// Who a task belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Owner {
    Shard(u16),
    Client,
}

/// What became runnable outside of the scheduler's own doing.
#[derive(Clone, Copy)]
pub(super) enum Woken {
    Task { slot: u32, id: u64 },
    Inbox { shard: u16, boot: u64 },
}

/// The list of the woken. Behind a mutex because a `Waker` must be `Send`; one thread uses it.
#[derive(Default)]
pub(super) struct WokenList(Mutex<Vec<Woken>>);

impl WokenList {
    pub(super) fn push(&self, woken: Woken) {
        self.0.lock().push(woken);
    }

    /// Moves the list's content into `to`.
    pub(super) fn take(&self, to: &mut Vec<Woken>) {
        to.append(&mut self.0.lock());
    }
}

struct Bell {
    slot: u32,
    id: u64,
    rung: AtomicBool,
    list: Arc<WokenList>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // One thread: the order of memory does not matter.
        if !self.rung.swap(true, Ordering::Relaxed) {
            self.list.push(Woken::Task {
                slot: self.slot,
                id: self.id,
            });
        }
    }
}

struct Slot {
    id: u64,
    owner: Owner,
    name: &'static str,
    /// Away while it is polled.
    future: Option<Unit>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// A task taken out to be polled.
pub(super) struct Taken {
    pub(super) owner: Owner,
    pub(super) name: &'static str,
    pub(super) future: Unit,
    pub(super) waker: Waker,
}

pub(super) struct Tasks {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    last_id: u64,
    list: Arc<WokenList>,
}

impl Tasks {
    pub(super) fn new(list: Arc<WokenList>) -> Self {
        Tasks {
            slots: Vec::new(),
            free: Vec::new(),
            last_id: 0,
            list,
        }
    }

    /// Enters a task, runnable at once. Gives its slot and number.
    pub(super) fn add(&mut self, owner: Owner, name: &'static str, future: Unit) -> (u32, u64) {
        self.last_id += 1;
        let id = self.last_id;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 tasks")
            }
        };
        let bell = Arc::new(Bell {
            slot,
            id,
            rung: AtomicBool::new(true),
            list: Arc::clone(&self.list),
        });
        let waker = Waker::from(Arc::clone(&bell));
        self.slots[slot as usize] = Some(Slot {
            id,
            owner,
            name,
            future: Some(future),
            bell,
            waker,
        });
        self.list.push(Woken::Task { slot, id });
        (slot, id)
    }

    /// Takes a task out to poll it; `None` if it has ended.
    pub(super) fn take(&mut self, slot: u32, id: u64) -> Option<Taken> {
        let slot = self
            .slots
            .get_mut(slot as usize)?
            .as_mut()
            .filter(|slot| slot.id == id)?;
        let future = slot.future.take()?;
        slot.bell.rung.store(false, Ordering::Relaxed);
        Some(Taken {
            owner: slot.owner,
            name: slot.name,
            future,
            waker: slot.waker.clone(),
        })
    }

    /// Puts a task back that is not done. Gives the future back if the task was cancelled meanwhile.
    pub(super) fn put_back(&mut self, slot: u32, id: u64, future: Unit) -> Option<Unit> {
        match self.slots[slot as usize].as_mut().filter(|slot| slot.id == id) {
            Some(slot) => {
                slot.future = Some(future);
                None
            }
            None => Some(future),
        }
    }

    /// Forgets a task; what is left of it is to be dropped by the caller, in the context of its owner.
    pub(super) fn remove(&mut self, slot: u32, id: u64) -> Option<(Owner, Option<Unit>)> {
        let place = self.slots.get_mut(slot as usize)?;
        let slot_is = place.as_ref().is_some_and(|slot| slot.id == id);
        let removed = if slot_is { place.take() } else { None }?;
        self.free.push(slot);
        Some((removed.owner, removed.future))
    }

    /// Whether the task has not ended.
    pub(super) fn lives(&self, slot: u32, id: u64) -> bool {
        self.slots
            .get(slot as usize)
            .and_then(Option::as_ref)
            .is_some_and(|slot| slot.id == id)
    }

    /// The first task of any shard, for dropping them one by one.
    pub(super) fn next_of_node(&self, from: u32) -> Option<(u32, u64)> {
        let slots = self.slots.iter().enumerate().skip(from as usize);
        let mut found = slots.filter_map(|(at, slot)| slot.as_ref().map(|slot| (at as u32, slot)));
        found
            .find(|(_, slot)| slot.owner != Owner::Client)
            .map(|(at, slot)| (at, slot.id))
    }

    /// Everything that lives: owner and name, in the order of slots.
    pub(super) fn living(&self) -> impl Iterator<Item = (Owner, &'static str)> {
        self.slots.iter().flatten().map(|slot| (slot.owner, slot.name))
    }
}
