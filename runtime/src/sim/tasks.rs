//! Tasks and clients of a simulation: who owns them, and what was woken.

use parking_lot::Mutex;

pub(super) use crate::slots::Unit;
use crate::slots::{self, Slots};

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

impl slots::WokenList for WokenList {
    fn woken(&self, slot: u32, id: u64) {
        self.push(Woken::Task { slot, id });
    }
}

pub(super) type Tasks = Slots<Owner, WokenList>;
