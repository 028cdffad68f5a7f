//! Lets work in until it is closed, and then waits for what is inside.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::waiters::{Key, Waiters};

struct Shared {
    inside: Cell<usize>,
    closed: Cell<bool>,
    closers: RefCell<Waiters<()>>,
}

/// Counts the work that is under way on something that will be closed; clones share it.
#[derive(Clone)]
pub struct Gate(Rc<Shared>);

/// Proof of having entered a [`Gate`]; dropping it leaves.
#[must_use = "dropping a pass leaves the gate at once"]
pub struct Pass(Rc<Shared>);

/// Future of [`Gate::close`]. Dropping it leaves the gate closed.
#[must_use = "the gate is closed at once, but only awaiting waits for those inside"]
pub struct Close {
    shared: Rc<Shared>,
    key: Option<Key>,
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

impl Gate {
    /// An open gate.
    pub fn new() -> Self {
        Gate(Rc::new(Shared {
            inside: Cell::new(0),
            closed: Cell::new(false),
            closers: RefCell::new(Waiters::new()),
        }))
    }

    /// Enters, unless the gate is closed.
    pub fn enter(&self) -> Option<Pass> {
        if self.0.closed.get() {
            return None;
        }
        self.0.inside.set(self.0.inside.get() + 1);
        Some(Pass(Rc::clone(&self.0)))
    }

    /// Closes at once, and waits until every pass has been dropped. May be called again.
    pub fn close(&self) -> Close {
        self.0.closed.set(true);
        Close {
            shared: Rc::clone(&self.0),
            key: None,
        }
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.0.closed.get()
    }

    /// Passes in use.
    pub fn inside(&self) -> usize {
        self.0.inside.get()
    }
}

impl Clone for Pass {
    /// Another pass for the same visit: it works on a closed gate too.
    fn clone(&self) -> Self {
        self.0.inside.set(self.0.inside.get() + 1);
        Pass(Rc::clone(&self.0))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let inside = self.0.inside.get() - 1;
        self.0.inside.set(inside);
        if inside == 0 && self.0.closed.get() {
            loop {
                let waker = {
                    let mut closers = self.0.closers.borrow_mut();
                    match closers.front() {
                        Some((key, ())) => closers.unlink(key),
                        None => break,
                    }
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }
}

impl Future for Close {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.shared.inside.get() == 0 {
            return Poll::Ready(());
        }
        match this.key {
            None => this.key = Some(this.shared.closers.borrow_mut().push((), cx.waker().clone())),
            Some(key) => {
                let old = this.shared.closers.borrow_mut().set_waker(key, cx.waker());
                drop(old);
            }
        }
        Poll::Pending
    }
}

impl Drop for Close {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let removed = self.shared.closers.borrow_mut().remove(key);
            drop(removed);
        }
    }
}
