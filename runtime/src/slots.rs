//! Where the futures of tasks are, and who wakes them: for the bodies that run tasks themselves, `Sim` and `Threads`.
//!
//! A waker is an `Arc` with a number: waking puts the number on the list of the woken, once until the task is polled. A
//! number is never used twice, so wakers that outlive their task, or the crash that dropped it, are harmless. Wakers may be
//! woken and dropped on any thread; the slots belong to one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

pub(crate) type Unit = Pin<Box<dyn Future<Output = ()>>>;

/// A list of tasks that are to be polled.
pub(crate) trait WokenList: Send + Sync + 'static {
    /// Puts a task at the end of the list; callable from any thread.
    fn woken(&self, slot: u32, id: u64);
}

struct Bell<L> {
    slot: u32,
    id: u64,
    rung: AtomicBool,
    list: Arc<L>,
}

impl<L: WokenList> Wake for Bell<L> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Whoever finds it rung has its writes seen by the poll that follows: `Slots::take` reads this swap's value.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.list.woken(self.slot, self.id);
        }
    }
}

struct Slot<O, L> {
    id: u64,
    owner: O,
    name: &'static str,
    /// Away while it is polled.
    future: Option<Unit>,
    bell: Arc<Bell<L>>,
    waker: Waker,
}

/// A task taken out to be polled.
pub(crate) struct Taken<O> {
    pub(crate) owner: O,
    pub(crate) name: &'static str,
    pub(crate) future: Unit,
    pub(crate) waker: Waker,
}

/// The tasks that live, each with its owner.
pub(crate) struct Slots<O, L> {
    slots: Vec<Option<Slot<O, L>>>,
    free: Vec<u32>,
    last_id: u64,
    list: Arc<L>,
}

impl<O: Copy, L: WokenList> Slots<O, L> {
    pub(crate) fn new(list: Arc<L>) -> Self {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
            last_id: 0,
            list,
        }
    }

    /// Enters a task, runnable at once. Gives its slot and number.
    pub(crate) fn add(&mut self, owner: O, name: &'static str, future: Unit) -> (u32, u64) {
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
        self.list.woken(slot, id);
        (slot, id)
    }

    /// Takes a task out to poll it; `None` if it has ended.
    pub(crate) fn take(&mut self, slot: u32, id: u64) -> Option<Taken<O>> {
        let slot = self
            .slots
            .get_mut(slot as usize)?
            .as_mut()
            .filter(|slot| slot.id == id)?;
        let future = slot.future.take()?;
        slot.bell.rung.swap(false, Ordering::AcqRel);
        Some(Taken {
            owner: slot.owner,
            name: slot.name,
            future,
            waker: slot.waker.clone(),
        })
    }

    /// Puts a task back that is not done. Gives the future back if the task was cancelled meanwhile.
    pub(crate) fn put_back(&mut self, slot: u32, id: u64, future: Unit) -> Option<Unit> {
        match self.slots[slot as usize].as_mut().filter(|slot| slot.id == id) {
            Some(slot) => {
                slot.future = Some(future);
                None
            }
            None => Some(future),
        }
    }

    /// Forgets a task; what is left of it is to be dropped by the caller, in the context of its owner.
    pub(crate) fn remove(&mut self, slot: u32, id: u64) -> Option<(O, Option<Unit>)> {
        let place = self.slots.get_mut(slot as usize)?;
        let slot_is = place.as_ref().is_some_and(|slot| slot.id == id);
        let removed = if slot_is { place.take() } else { None }?;
        self.free.push(slot);
        Some((removed.owner, removed.future))
    }

    /// Whether the task has not ended.
    pub(crate) fn lives(&self, slot: u32, id: u64) -> bool {
        self.slots
            .get(slot as usize)
            .and_then(Option::as_ref)
            .is_some_and(|slot| slot.id == id)
    }

    /// The first task from slot `from` on whose owner `wanted` names, for dropping them one by one.
    pub(crate) fn next_of(&self, from: u32, wanted: impl Fn(O) -> bool) -> Option<(u32, u64)> {
        let slots = self.slots.iter().enumerate().skip(from as usize);
        let mut found = slots.filter_map(|(at, slot)| slot.as_ref().map(|slot| (at as u32, slot)));
        found
            .find(|(_, slot)| wanted(slot.owner))
            .map(|(at, slot)| (at, slot.id))
    }

    /// Everything that lives: owner and name, in the order of slots.
    pub(crate) fn living(&self) -> impl Iterator<Item = (O, &'static str)> {
        self.slots.iter().flatten().map(|slot| (slot.owner, slot.name))
    }
}
