//! The timestamps that a shard gives.
//!
//! They rise, over a restart as well and whatever the wall clock does: the ids of messages follow from them. What is on disk
//! does not tell which of its timestamps were given here and which a client brought along, perhaps from the future. So the
//! manifest holds a bound, above which none is given until it has been raised: opened again, the store goes on after the
//! largest timestamp on disk or after the bound, whichever is smaller.

use super::Shard;
use crate::error::Result;
use runtime::sync::Mutex;
use runtime::{ShardId, TaskClass};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// How far the bound is put ahead, microseconds: after a restart, timestamps may run ahead of the wall clock by so much.
pub(crate) const BOUND_AHEAD: i64 = 60_000_000;
/// With less than this left, the bound is raised in the background, microseconds.
const ENOUGH: i64 = BOUND_AHEAD / 2;
/// A bound that could not be raised in the background is tried again after this.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Clock {
    /// The last timestamp given, or the floor that was found at opening.
    last: Cell<i64>,
    bound: Cell<i64>,
    raising: Mutex<()>,
    raising_soon: Cell<bool>,
}

impl Clock {
    /// A clock that may give timestamps up to `bound`.
    pub fn new(bound: i64) -> Clock {
        Clock {
            last: Cell::new(0),
            bound: Cell::new(bound),
            raising: Mutex::new(()),
            raising_soon: Cell::new(false),
        }
    }

    pub fn last(&self) -> i64 {
        self.last.get()
    }

    /// Goes on after this timestamp.
    pub fn go_on_after(&self, timestamp: i64) {
        self.last.set(self.last.get().max(timestamp));
    }
}

impl Shard {
    /// A timestamp in microseconds since the Unix epoch, larger than all that any shard of the store gave before it was
    /// opened and all that this shard has given since. Seldom more than a moment is waited: for a bound in the manifest,
    /// raised twice a minute.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Closed`](crate::Error::Closed): the
    /// bound cannot be raised.
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn timestamp(self: &Rc<Self>) -> Result<i64> {
        self.timestamps(1).await
    }

    /// The first of `count` timestamps that follow each other, as [`timestamp`](Self::timestamp).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    ///
    /// # Panics
    /// If `count` is 0 or more than a million.
    pub async fn timestamps(self: &Rc<Self>, count: u32) -> Result<i64> {
        assert!((1..=1_000_000).contains(&count), "{count} timestamps at once");
        loop {
            match self.next_timestamps(count) {
                Ok(first) => return Ok(first),
                Err(last) => self.raise_bound(last).await?,
            };
        }
    }

    /// As [`timestamp`](Self::timestamp), if one can be given at once; it nearly always can.
    #[must_use]
    pub fn timestamp_at_once(self: &Rc<Self>) -> Option<i64> {
        self.next_timestamps(1).ok()
    }

    /// The first of `count` timestamps; or, if the bound does not allow them, the last of them.
    fn next_timestamps(self: &Rc<Self>, count: u32) -> std::result::Result<i64, i64> {
        let first = runtime::time::unix_micros().max(self.clock.last() + 1);
        let last = first + i64::from(count) - 1;
        if last > self.clock.bound.get() {
            return Err(last);
        }
        if last + ENOUGH > self.clock.bound.get() {
            self.raise_bound_soon(last + ENOUGH);
        }
        self.clock.last.set(last);
        Ok(first)
    }

    /// From now on gives no timestamp up to this one, which another shard of the store has given and which a write here will have.
    pub fn go_on_after(&self, timestamp: i64) {
        self.clock.go_on_after(timestamp);
    }

    /// The last timestamp that the shard has given; if none yet, one that is not before any that the store gave earlier.
    #[must_use]
    pub fn last_timestamp(&self) -> i64 {
        self.clock.last()
    }

    fn raise_bound_soon(self: &Rc<Self>, least: i64) {
        let Some(pass) = self.writers.enter().filter(|_| !self.clock.raising_soon.replace(true)) else {
            return;
        };
        let shard = Rc::clone(self);
        runtime::spawn(TaskClass::Request, "raise the bound of timestamps", async move {
            let raised = shard.raise_bound(least).await;
            drop(pass);
            if let Err(error) = raised {
                tracing::warn!(shard = shard.id.0, %error, "the bound of timestamps is not raised; tried again");
                runtime::time::sleep(TRY_AGAIN_AFTER).await;
            }
            shard.clock.raising_soon.set(false);
        });
    }

    /// Makes a bound of at least this durable.
    async fn raise_bound(&self, least: i64) -> Result<()> {
        let _turn = self.clock.raising.lock().await;
        if least <= self.clock.bound.get() {
            return Ok(());
        }
        let to = least.saturating_add(BOUND_AHEAD);
        let bound = match &self.node {
            Some(node) => node.raise_timestamps(to).await?,
            None => {
                let raise = move |shard: Rc<Shard>| async move { shard.node().raise_timestamps(to).await };
                crate::store::on_shard(ShardId(0), raise).await??
            }
        };
        self.clock.bound.set(bound);
        Ok(())
    }
}
