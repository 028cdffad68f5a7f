//! How far the shard's log is applied, and who waits for it.
//!
//! Writers register in log order, as they append, and are woken in log order: one queue, no allocation per write.

use crate::error::{Error, Result};
use commitlog::LogPosition;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct Waiter {
    position: LogPosition,
    waker: Option<Waker>,
}

/// The frontier of applied records.
#[derive(Default)]
pub(crate) struct Applied {
    position: Cell<LogPosition>,
    waiters: RefCell<VecDeque<Waiter>>,
    /// Of records that are not applied: their ends and smallest timestamps, without those behind which a smaller one follows. Both
    /// ascend.
    pending: RefCell<VecDeque<(LogPosition, i64)>>,
    /// Sequence number of the first waiter in the queue.
    first: Cell<u64>,
    failed: RefCell<Option<Error>>,
}

impl Applied {
    /// Everything that ends at or before it is in a memtable, or in an sstable.
    pub fn position(&self) -> LogPosition {
        self.position.get()
    }

    /// Writers that wait.
    pub fn waiting(&self) -> usize {
        self.waiters.borrow().len()
    }

    /// Sets the frontier while nobody writes: during replay, and when the log is opened.
    pub fn start_at(&self, position: LogPosition) {
        assert!(self.waiters.borrow().is_empty(), "nobody writes before the log is open");
        self.position.set(position);
    }

    /// The smallest timestamp in records that are in the log and not applied; `i64::MAX` if there is none.
    pub fn pending_min_timestamp(&self) -> i64 {
        self.pending
            .borrow()
            .front()
            .map_or(i64::MAX, |&(_, timestamp)| timestamp)
    }

    /// Registers a writer whose record ends at `position` and has nothing older than `min_timestamp`; call in log order, right after
    /// the append.
    pub fn wait(self: &Rc<Self>, position: LogPosition, min_timestamp: i64) -> WaitApplied {
        let mut pending = self.pending.borrow_mut();
        while pending.back().is_some_and(|&(_, before)| before >= min_timestamp) {
            pending.pop_back();
        }
        pending.push_back((position, min_timestamp));
        let mut waiters = self.waiters.borrow_mut();
        assert!(
            waiters.back().is_none_or(|last| last.position < position),
            "writers register in log order"
        );
        waiters.push_back(Waiter { position, waker: None });
        let sequence = self.first.get() + waiters.len() as u64 - 1;
        WaitApplied {
            applied: Rc::clone(self),
            sequence,
        }
    }

    /// Raises the frontier and wakes those it has passed.
    pub fn advance(&self, position: LogPosition) {
        self.position.set(position);
        let mut pending = self.pending.borrow_mut();
        while pending.front().is_some_and(|&(end, _)| end <= position) {
            pending.pop_front();
        }
        drop(pending);
        loop {
            // The borrow ends before the wake: a woken task may run at once.
            let waker = {
                let mut waiters = self.waiters.borrow_mut();
                if waiters.front().is_none_or(|waiter| waiter.position > position) {
                    return;
                }
                self.first.set(self.first.get() + 1);
                waiters.pop_front().and_then(|waiter| waiter.waker)
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Ends every wait, now and later, with `error`.
    pub fn fail(&self, error: Error) {
        self.failed.borrow_mut().get_or_insert(error);
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        for waker in waiters.into_iter().filter_map(|waiter| waiter.waker) {
            waker.wake();
        }
    }
}

/// Resolves when the record is applied, or cannot be.
///
/// # Cancellation
/// Dropping it leaves the write under way: its outcome is then unknown to the caller.
pub(crate) struct WaitApplied {
    applied: Rc<Applied>,
    sequence: u64,
}

impl Future for WaitApplied {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let applied = &self.applied;
        if self.sequence < applied.first.get() {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = applied.failed.borrow().as_ref() {
            return Poll::Ready(Err(error.clone()));
        }
        let at = usize::try_from(self.sequence - applied.first.get()).expect("a queue in memory");
        let mut waiters = applied.waiters.borrow_mut();
        let waker = &mut waiters[at].waker;
        match waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_pending_timestamp_is_known() {
        let applied = Rc::new(Applied::default());
        let at = |offset| LogPosition { segment: 1, offset };
        assert_eq!(applied.pending_min_timestamp(), i64::MAX);
        let mut smallest = Vec::new();
        for (offset, timestamp) in [(1, 5), (2, 7), (3, 3), (4, 9), (5, 9), (6, 4)] {
            drop(applied.wait(at(offset), timestamp));
            smallest.push(applied.pending_min_timestamp());
        }
        assert_eq!(smallest, [5, 5, 3, 3, 3, 3]);
        let mut left = Vec::new();
        for offset in 1..=6 {
            applied.advance(at(offset));
            left.push(applied.pending_min_timestamp());
        }
        assert_eq!(left, [3, 3, 4, 4, 4, i64::MAX]);
    }
}
