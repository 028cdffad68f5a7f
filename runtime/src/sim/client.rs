//! What code outside of the shards uses while a simulation drives it: its clock, its sleep, its randomness.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::world::World;
use crate::time::Instant;

thread_local! {
    /// The simulation that drives this thread.
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Restores what drove the thread before.
pub(super) struct Driving(Option<Rc<World>>);

impl Drop for Driving {
    fn drop(&mut self) {
        let before = self.0.take();
        let left = WORLD.with(|world| world.replace(before));
        drop(left);
    }
}

/// Makes `world` the simulation that drives this thread.
pub(super) fn drive(world: &Rc<World>) -> Driving {
    Driving(WORLD.with(|current| current.replace(Some(Rc::clone(world)))))
}

fn world() -> Option<Rc<World>> {
    WORLD.with(|world| world.borrow().clone())
}

/// The virtual clock, if a simulation drives this thread.
pub(crate) fn now_ns() -> Option<u64> {
    world().map(|world| world.now())
}

/// The simulation's wall clock, if one drives this thread.
pub(crate) fn unix_micros() -> Option<i64> {
    world().map(|world| world.unix_micros())
}

/// A seeded number, if a simulation drives this thread.
pub(crate) fn random_u64() -> Option<u64> {
    world().map(|world| world.shard_rng.u64())
}

/// The virtual time, for clients.
///
/// # Panics
/// Outside of a simulation's run.
pub fn client_now() -> Instant {
    Instant::from_nanos(now_ns().expect("a simulation drives this thread"))
}

/// Waits for so long in virtual time, outside of the shards.
///
/// # Panics
/// When polled outside of a simulation's run.
pub fn client_sleep(duration: Duration) -> ClientSleep {
    ClientSleep { duration, alarm: None }
}

/// Future of [`client_sleep`]. The time counts from its first poll.
pub struct ClientSleep {
    duration: Duration,
    alarm: Option<(Rc<World>, u64)>,
}

impl Future for ClientSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((world, alarm)) = &self.alarm {
            return if world.keep_alarm(*alarm, cx.waker()) {
                Poll::Pending
            } else {
                Poll::Ready(())
            };
        }
        let world = world().expect("a simulation drives this thread");
        let ns = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX);
        let alarm = world.set_alarm(world.now().saturating_add(ns), cx.waker().clone());
        self.alarm = Some((world, alarm));
        Poll::Pending
    }
}

impl Drop for ClientSleep {
    fn drop(&mut self) {
        if let Some((world, alarm)) = self.alarm.take() {
            world.drop_alarm(alarm);
        }
    }
}
