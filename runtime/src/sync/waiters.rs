//! The queue behind every primitive: waiters in order of arrival, in reusable slots.
//!
//! A waiter owns its slot from `push` to `remove`, so a key never goes stale. A slot can be unlinked (it has been served
//! and no longer stands in the queue) and still belong to its waiter, who reads its mark and removes it at its next poll.

use std::task::Waker;

const NONE: u32 = u32::MAX;

/// Names one waiter's slot until `remove`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key(u32);

struct Slot<T> {
    data: Option<T>,
    waker: Option<Waker>,
    linked: bool,
    previous: u32,
    next: u32,
}

/// Waiters in order of arrival, each with a `T`.
pub(super) struct Waiters<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    head: u32,
    tail: u32,
}

impl<T> Waiters<T> {
    pub(super) const fn new() -> Self {
        Waiters {
            slots: Vec::new(),
            free: NONE,
            head: NONE,
            tail: NONE,
        }
    }

    /// Whether nobody stands in the queue (served waiters that have not looked yet do not count).
    pub(super) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    pub(super) fn push(&mut self, data: T, waker: Waker) -> Key {
        let slot = Slot {
            data: Some(data),
            waker: Some(waker),
            linked: true,
            previous: self.tail,
            next: NONE,
        };
        let index = if self.free != NONE {
            let index = self.free;
            self.free = self.slots[index as usize].next;
            self.slots[index as usize] = slot;
            index
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 waiters")
        };
        match self.tail {
            NONE => self.head = index,
            tail => self.slots[tail as usize].next = index,
        }
        self.tail = index;
        Key(index)
    }

    pub(super) fn get(&self, key: Key) -> &T {
        self.slots[key.0 as usize]
            .data
            .as_ref()
            .expect("a waiter's slot is its own until removed")
    }

    /// The first in the queue.
    pub(super) fn front(&mut self) -> Option<(Key, &mut T)> {
        match self.head {
            NONE => None,
            head => {
                let data = self.slots[head as usize]
                    .data
                    .as_mut()
                    .expect("a linked slot is occupied");
                Some((Key(head), data))
            }
        }
    }

    /// Keeps the waiter's newest waker; gives back the one to drop once no borrow is held.
    #[must_use = "drop the old waker outside of the borrow"]
    pub(super) fn set_waker(&mut self, key: Key, waker: &Waker) -> Option<Waker> {
        let slot = &mut self.slots[key.0 as usize];
        if slot.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            return None;
        }
        slot.waker.replace(waker.clone())
    }

    /// Takes a waiter out of the queue, leaves its slot to it, and gives its waker to be woken.
    #[must_use = "wake it outside of the borrow"]
    pub(super) fn unlink(&mut self, key: Key) -> Option<Waker> {
        let slot = &mut self.slots[key.0 as usize];
        let waker = slot.waker.take();
        if slot.linked {
            slot.linked = false;
            let (previous, next) = (slot.previous, slot.next);
            match previous {
                NONE => self.head = next,
                previous => self.slots[previous as usize].next = next,
            }
            match next {
                NONE => self.tail = previous,
                next => self.slots[next as usize].previous = previous,
            }
        }
        waker
    }

    /// Frees the waiter's slot. The waker comes back to be dropped outside of the borrow.
    pub(super) fn remove(&mut self, key: Key) -> (T, Option<Waker>) {
        let waker = self.unlink(key);
        let slot = &mut self.slots[key.0 as usize];
        let data = slot.data.take().expect("a waiter's slot is removed once");
        slot.next = self.free;
        self.free = key.0;
        (data, waker)
    }
}
