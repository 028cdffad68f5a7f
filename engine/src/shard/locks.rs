//! Locks of partitions: whoever reads a partition and writes what follows from that holds it meanwhile.
//!
//! A lock is there while somebody has it or waits for it. They have it in the order in which they came.

use super::Shard;
use super::write::Counted;
use crate::error::{Error, Hex, Result};
use model::TableId;
use runtime::sync::{Permit, Semaphore};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Tasks that may wait for the locks of a shard's partitions before further ones are refused at once.
const WAITING_MAX: usize = 10_000;
/// And for one partition's.
const WAITING_OF_PARTITION_MAX: usize = 1_000;

type Place = (TableId, Box<[u8]>);

struct Lock {
    turn: Semaphore,
    /// Those who have it or wait for it.
    users: usize,
}

/// The locks of a shard's partitions.
#[derive(Default)]
pub(super) struct Locks {
    by_place: RefCell<BTreeMap<Place, Lock>>,
    waiting: Cell<usize>,
}

/// Keeps a lock there.
struct User {
    locks: Rc<Locks>,
    place: Place,
}

impl Locks {
    fn enter(self: &Rc<Self>, place: Place) -> Result<(Semaphore, User)> {
        let mut by_place = self.by_place.borrow_mut();
        let new = || Lock {
            turn: Semaphore::new(1),
            users: 0,
        };
        let lock = by_place.entry(place.clone()).or_insert_with(new);
        if lock.users > WAITING_OF_PARTITION_MAX {
            return Err(Error::Overloaded {
                what: format!(
                    "{WAITING_OF_PARTITION_MAX} tasks wait for partition 0x{} of table {} already",
                    Hex(&place.1),
                    place.0.0
                ),
            });
        }
        lock.users += 1;
        let turn = lock.turn.clone();
        let locks = Rc::clone(self);
        Ok((turn, User { locks, place }))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut by_place = self.locks.by_place.borrow_mut();
        let lock = by_place.get_mut(&self.place).expect("a lock is there while it is used");
        lock.users -= 1;
        if lock.users == 0 {
            by_place.remove(&self.place);
        }
    }
}

/// A partition that nobody else has locked. Dropped, it lets the next one in.
///
/// [`Shard::lock_partition`] gives it.
#[must_use = "dropping the guard unlocks the partition at once"]
pub struct PartitionGuard {
    // Fields drop in this order: the next one is let in before the lock may vanish.
    _turn: Permit,
    _user: User,
}

impl Shard {
    /// Locks a partition of this shard among those who lock it too: in the order in which they came, each until its guard is dropped.
    /// Writers that do not lock it are not kept out.
    ///
    /// # Errors
    /// [`Error::Overloaded`]: too many wait already. [`Error::Closed`], [`Error::Poisoned`].
    ///
    /// # Panics
    /// If another shard owns the partition.
    ///
    /// # Cancellation
    /// Whoever no longer waits is passed over.
    pub async fn lock_partition(&self, table: TableId, key: &[u8]) -> Result<PartitionGuard> {
        let owner = self.owner(model::token_of(key));
        assert_eq!(owner, self.id, "a partition is locked on the shard that owns it");
        self.check_open()?;
        let (turn, user) = self.locks.enter((table, key.into()))?;
        let permit = match turn.try_acquire(1) {
            Some(permit) => permit,
            None if self.locks.waiting.get() >= WAITING_MAX => {
                let what = format!("{WAITING_MAX} tasks wait for partitions of shard {} already", self.id.0);
                return Err(Error::Overloaded { what });
            }
            None => {
                let _waiting = Counted::enter(&self.locks.waiting);
                turn.acquire(1).await
            }
        };
        Ok(PartitionGuard {
            _turn: permit,
            _user: user,
        })
    }

    /// Partitions that are locked at present.
    #[must_use]
    pub fn locked_partitions(&self) -> usize {
        self.locks.by_place.borrow().len()
    }
}
