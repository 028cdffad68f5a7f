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

    /// Registers a writer whose record ends at `position`; call in log order, right after the append.
    pub fn wait(self: &Rc<Self>, position: LogPosition) -> WaitApplied {
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
