//! The deadline wheel: all timers of one shard, cheap to set and to drop.
//!
//! 1. Time is cut into ticks of 5 ms. A deadline belongs to the first tick at or after it, so nothing fires early and
//!    everything fires at most one tick late.
//! 2. A tick belongs to one of 1024 slots (tick modulo 1024); each slot is a doubly linked list through a slab, so that
//!    setting and dropping a timer touch a handful of words. A bitmap tells which slots hold anything.
//! 3. [`Wheel::expire`] walks the slots from the last expired tick to now and takes what is due; what belongs to a later
//!    round stays. What fires together fires in the order of deadlines, then of setting.
//!
//! The wheel knows no clock: the body arms one timer for [`Wheel::next`] and calls back.

use std::task::Waker;

/// The resolution of every sleep and timeout.
pub(crate) const TICK_NS: u64 = 5_000_000;
const SLOTS: usize = 1024;
const NONE: u32 = u32::MAX;

/// Names one timer; the generation tells it from later users of the same place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerId {
    index: u32,
    generation: u32,
}

struct Entry {
    deadline: u64,
    sequence: u64,
    generation: u32,
    slot: u32,
    previous: u32,
    next: u32,
    /// `None`: the place is free, and `next` is the next free one.
    waker: Option<Waker>,
}

pub(crate) struct Wheel {
    entries: Vec<Entry>,
    free: u32,
    heads: Box<[u32; SLOTS]>,
    tails: Box<[u32; SLOTS]>,
    occupied: [u64; SLOTS / 64],
    /// Every tick up to this one has been expired.
    expired_tick: u64,
    sequence: u64,
    len: usize,
}

fn tick_of(deadline: u64) -> u64 {
    deadline.div_ceil(TICK_NS)
}

impl Wheel {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            entries: Vec::new(),
            free: NONE,
            heads: Box::new([NONE; SLOTS]),
            tails: Box::new([NONE; SLOTS]),
            occupied: [0; SLOTS / 64],
            expired_tick: now / TICK_NS,
            sequence: 0,
            len: 0,
        }
    }

    /// Timers that wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Sets a timer and returns its name and the time at which its tick is due.
    pub(crate) fn insert(&mut self, deadline: u64, waker: Waker) -> (TimerId, u64) {
        // A deadline in an expired tick fires with the next one.
        let tick = tick_of(deadline).max(self.expired_tick + 1);
        let slot = (tick % SLOTS as u64) as usize;
        self.sequence += 1;
        let tail = self.tails[slot];
        let entry = Entry {
            deadline,
            sequence: self.sequence,
            generation: 0,
            slot: slot as u32,
            previous: tail,
            next: NONE,
            waker: Some(waker),
        };
        let index = if self.free == NONE {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            let index = self.free;
            let place = &mut self.entries[index as usize];
            self.free = place.next;
            let generation = place.generation.wrapping_add(1);
            *place = Entry { generation, ..entry };
            index
        };
        if tail == NONE {
            self.heads[slot] = index;
            self.occupied[slot / 64] |= 1 << (slot % 64);
        } else {
            self.entries[tail as usize].next = index;
        }
        self.tails[slot] = index;
        self.len += 1;
        let generation = self.entries[index as usize].generation;
        (TimerId { index, generation }, tick.saturating_mul(TICK_NS))
    }

    /// Makes `waker` what the timer wakes. `None`: it has fired. Otherwise the waker it had, if that was another one.
    pub(crate) fn update(&mut self, id: TimerId, waker: &Waker) -> Option<Option<Waker>> {
        let entry = self.entries.get_mut(id.index as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        let kept = entry.waker.as_mut()?;
        if kept.will_wake(waker) {
            return Some(None);
        }
        Some(Some(std::mem::replace(kept, waker.clone())))
    }

    /// Drops a timer. One that has fired is not there any more; that is fine.
    pub(crate) fn remove(&mut self, id: TimerId) -> Option<Waker> {
        let entry = self.entries.get(id.index as usize)?;
        if entry.generation != id.generation || entry.waker.is_none() {
            return None;
        }
        self.unlink(id.index)
    }

    fn unlink(&mut self, index: u32) -> Option<Waker> {
        let entry = &mut self.entries[index as usize];
        let (slot, previous, next) = (entry.slot as usize, entry.previous, entry.next);
        let waker = entry.waker.take();
        entry.next = self.free;
        self.free = index;
        match previous {
            NONE => self.heads[slot] = next,
            p => self.entries[p as usize].next = next,
        }
        match next {
            NONE => self.tails[slot] = previous,
            n => self.entries[n as usize].previous = previous,
        }
        if self.heads[slot] == NONE {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
        self.len -= 1;
        waker
    }

    /// When [`expire`](Self::expire) should be called next: the first tick whose slot holds anything (possibly a timer of
    /// a later round).
    pub(crate) fn next(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let first = self.expired_tick + 1;
        let start = (first % SLOTS as u64) as usize;
        // The words from the start's own around to it again; its low bits count last.
        for step in 0..=self.occupied.len() {
            let word = (start / 64 + step) % self.occupied.len();
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == self.occupied.len() {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some((first + ahead as u64).saturating_mul(TICK_NS));
            }
        }
        None
    }

    /// Takes out everything due at `now`, in order, into `due`.
    pub(crate) fn expire(&mut self, now: u64, due: &mut Vec<Waker>) {
        let tick = now / TICK_NS;
        if tick <= self.expired_tick {
            return;
        }
        let mut fired: Vec<(u64, u64, Waker)> = Vec::new();
        let slots = (tick - self.expired_tick).min(SLOTS as u64);
        for step in 0..slots {
            if self.len == 0 {
                break;
            }
            let slot = ((self.expired_tick + 1 + step) % SLOTS as u64) as usize;
            let mut index = self.heads[slot];
            while index != NONE {
                let entry = &self.entries[index as usize];
                let (deadline, sequence, next) = (entry.deadline, entry.sequence, entry.next);
                if tick_of(deadline) <= tick
                    && let Some(waker) = self.unlink(index)
                {
                    fired.push((deadline, sequence, waker));
                }
                index = next;
            }
        }
        self.expired_tick = tick;
        fired.sort_unstable_by_key(|(deadline, sequence, _)| (*deadline, *sequence));
        due.extend(fired.into_iter().map(|(_, _, waker)| waker));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Recorder {
        at: AtomicUsize,
    }

    impl Wake for Recorder {
        fn wake(self: Arc<Self>) {
            self.at.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn recorder() -> (Arc<Recorder>, Waker) {
        let recorder = Arc::new(Recorder {
            at: AtomicUsize::new(0),
        });
        (Arc::clone(&recorder), Waker::from(recorder))
    }

    fn fire(wheel: &mut Wheel, now: u64) -> usize {
        let mut due = Vec::new();
        wheel.expire(now, &mut due);
        due.len()
    }

    #[test]
    fn fires_at_the_tick_never_early() {
        let mut wheel = Wheel::new(7 * TICK_NS + 3);
        let deadline = 8 * TICK_NS + 1;
        let (_, due) = wheel.insert(deadline, Waker::noop().clone());
        assert_eq!(due, 9 * TICK_NS);
        assert_eq!(wheel.next(), Some(9 * TICK_NS));
        assert_eq!(fire(&mut wheel, 9 * TICK_NS - 1), 0);
        assert_eq!(fire(&mut wheel, 9 * TICK_NS), 1);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn what_fires_together_fires_in_the_order_of_deadlines() {
        let mut wheel = Wheel::new(0);
        let wakers: Vec<_> = (0..40).map(|_| recorder().1).collect();
        // Deadlines that fall into three ticks, set out of order.
        let deadline = |i: usize| 1 + (i as u64 * 17 % 40) * (TICK_NS / 13);
        for (i, waker) in wakers.iter().enumerate() {
            wheel.insert(deadline(i), waker.clone());
        }
        let mut due = Vec::new();
        wheel.expire(100 * TICK_NS, &mut due);
        let mut expected: Vec<usize> = (0..40).collect();
        expected.sort_by_key(|i| deadline(*i));
        assert_eq!(due.len(), 40);
        for (waker, i) in due.iter().zip(expected) {
            assert!(waker.will_wake(&wakers[i]), "timer {i} fired out of order");
        }
    }

    #[test]
    fn removed_and_reused_places_do_not_mix() {
        let mut wheel = Wheel::new(0);
        let (a, _) = wheel.insert(TICK_NS, Waker::noop().clone());
        assert!(wheel.remove(a).is_some());
        let (b, _) = wheel.insert(2 * TICK_NS, Waker::noop().clone());
        assert!(wheel.remove(a).is_none(), "an old name dropped a new timer");
        assert!(wheel.update(a, Waker::noop()).is_none());
        assert!(wheel.update(b, Waker::noop()).is_some());
        assert_eq!(fire(&mut wheel, 2 * TICK_NS), 1);
        assert!(wheel.remove(b).is_none());
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn later_rounds_stay() {
        let mut wheel = Wheel::new(0);
        let far = (SLOTS as u64 * 3 + 5) * TICK_NS;
        wheel.insert(far, Waker::noop().clone());
        wheel.insert(far + TICK_NS * SLOTS as u64, Waker::noop().clone());
        let mut wakes = 0;
        let mut fired = 0;
        while fired < 2 {
            let next = wheel.next().expect("a timer waits");
            fired += fire(&mut wheel, next);
            wakes += 1;
            assert!(wakes < 20, "the wheel asks to be called without end");
            assert!(fired == 0 || next >= far);
        }
    }

    #[test]
    fn agrees_with_a_plain_list() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut wheel = Wheel::new(0);
        let mut list: Vec<(TimerId, u64)> = Vec::new();
        let mut now = 0;
        for _ in 0..20_000 {
            match random() % 4 {
                0 | 1 => {
                    let deadline = now + random() % (TICK_NS * 3000);
                    let (id, _) = wheel.insert(deadline, Waker::noop().clone());
                    // Never before the tick after the last expired one.
                    list.push((id, tick_of(deadline).max(now / TICK_NS + 1)));
                }
                2 if !list.is_empty() => {
                    let (id, _) = list.swap_remove(random() as usize % list.len());
                    assert!(wheel.remove(id).is_some());
                }
                _ => {
                    now += random() % (TICK_NS * 40);
                    let fired = fire(&mut wheel, now);
                    let before = list.len();
                    list.retain(|(_, tick)| *tick > now / TICK_NS);
                    assert_eq!(fired, before - list.len());
                    assert_eq!(wheel.len(), list.len());
                }
            }
            let next = wheel.next();
            assert_eq!(next.is_some(), !list.is_empty());
            if let Some(next) = next {
                assert!(
                    list.iter().all(|(_, tick)| tick * TICK_NS >= next),
                    "a timer lies before the next call"
                );
            }
        }
    }
}
