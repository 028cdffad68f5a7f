//! Each primitive polled by hand: order, cancelling at every point, and re-entry from destructors.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A future with a waker of its own that counts.
struct Probe<F> {
    future: Pin<Box<F>>,
    count: Arc<Count>,
}

impl<F: Future> Probe<F> {
    fn new(future: F) -> Self {
        Probe {
            future: Box::pin(future),
            count: Arc::default(),
        }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.count));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> usize {
        self.count.0.load(Ordering::Relaxed)
    }
}

fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("expected to be ready at once"),
    }
}

#[test]
fn oneshot_sends_once_and_reports_a_lost_sender() {
    let (sender, receiver) = oneshot();
    let mut receiver = Probe::new(receiver);
    assert!(receiver.poll().is_pending());
    sender.send(7).unwrap();
    assert_eq!(receiver.woken(), 1);
    assert_eq!(receiver.poll(), Poll::Ready(Ok(7)));

    let (sender, receiver) = oneshot::<u8>();
    let mut receiver = Probe::new(receiver.recv());
    assert!(receiver.poll().is_pending());
    drop(sender);
    assert_eq!(receiver.woken(), 1);
    assert_eq!(receiver.poll(), Poll::Ready(Err(Canceled)));

    let (sender, receiver) = oneshot();
    assert!(!sender.is_canceled());
    drop(receiver);
    assert!(sender.is_canceled());
    assert_eq!(sender.send(9), Err(9));
}

#[test]
fn semaphore_is_fair_to_large_requests() {
    let semaphore = Semaphore::new(3);
    let held = semaphore.try_acquire(2).unwrap();
    let mut large = Probe::new(semaphore.acquire(3));
    let mut small = Probe::new(semaphore.acquire(1));
    assert!(large.poll().is_pending());
    assert!(small.poll().is_pending(), "overtook one who came before");
    assert!(semaphore.try_acquire(1).is_none(), "overtook those who wait");
    drop(held);
    assert_eq!((large.woken(), small.woken()), (1, 0));
    assert_eq!(semaphore.available(), 0, "granted at once, before the poll");
    let Poll::Ready(permit) = large.poll() else {
        panic!("was granted")
    };
    drop(permit);
    assert_eq!(small.woken(), 1);
    assert!(matches!(small.poll(), Poll::Ready(permit) if permit.count() == 1));
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn semaphore_passes_a_dropped_grant_on() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire(1).unwrap();
    let mut first = Probe::new(semaphore.acquire(1));
    let mut second = Probe::new(semaphore.acquire(1));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    drop(held);
    assert_eq!((first.woken(), second.woken()), (1, 0));
    drop(first);
    assert_eq!(second.woken(), 1);
    assert!(second.poll().is_ready());
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn semaphore_serves_those_behind_a_large_one_that_gives_up() {
    let semaphore = Semaphore::new(2);
    let held = semaphore.try_acquire(1).unwrap();
    let mut large = Probe::new(semaphore.acquire(2));
    let mut small = Probe::new(semaphore.acquire(1));
    assert!(large.poll().is_pending() && small.poll().is_pending());
    drop(large);
    assert_eq!(small.woken(), 1);
    assert!(small.poll().is_ready());
    drop(held);
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn permits_split_merge_and_are_forgotten() {
    let semaphore = Semaphore::new(10);
    let mut permit = now(semaphore.acquire(6));
    let part = permit.split(2);
    assert_eq!((permit.count(), part.count(), semaphore.available()), (4, 2, 4));
    permit.merge(part);
    assert_eq!((permit.count(), semaphore.available()), (6, 4));
    permit.forget();
    assert_eq!(semaphore.available(), 4);
    semaphore.add_permits(6);
    assert_eq!(semaphore.available(), 10);
    assert_eq!(now(semaphore.acquire(0)).count(), 0);
}

#[test]
fn slots_of_waiters_are_reused() {
    let mut waiters = waiters::Waiters::new();
    let keys: Vec<_> = (0..4).map(|n| waiters.push(n, Waker::noop().clone())).collect();
    drop(waiters.unlink(keys[1]));
    drop(waiters.remove(keys[0]));
    assert_eq!(waiters.front().map(|(_, n)| *n), Some(2));
    assert_eq!(*waiters.get(keys[1]), 1, "an unlinked slot still belongs to its waiter");
    let again = waiters.push(9, Waker::noop().clone());
    assert_eq!(again, keys[0]);
    drop(waiters.remove(keys[2]));
    drop(waiters.remove(keys[3]));
    assert_eq!(waiters.front().map(|(_, n)| *n), Some(9));
    drop(waiters.remove(keys[1]));
    drop(waiters.remove(again));
    assert!(waiters.is_empty());
}

#[test]
fn mutex_is_handed_over_in_order() {
    let mutex = Mutex::new(Vec::new());
    let mut guard = now(mutex.lock());
    assert!(mutex.try_lock().is_none());
    let mut first = Probe::new(mutex.lock());
    let mut second = Probe::new(mutex.lock());
    assert!(first.poll().is_pending() && second.poll().is_pending());
    guard.push(1);
    drop(guard);
    assert!(
        mutex.try_lock().is_none(),
        "the lock was given to the first waiter already"
    );
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert!(second.poll().is_pending());
    let Poll::Ready(mut guard) = first.poll() else {
        panic!("was granted")
    };
    guard.push(2);
    drop(guard);
    let Poll::Ready(guard) = second.poll() else {
        panic!("was granted")
    };
    assert_eq!(*guard, [1, 2]);
    drop(guard);
    drop(second);
    drop(first);
    assert_eq!(mutex.into_inner(), [1, 2]);
}

#[test]
fn mutex_survives_a_waiter_that_gives_up_with_the_lock() {
    let mutex = Mutex::new(());
    let guard = now(mutex.lock());
    let mut first = Probe::new(mutex.lock());
    let mut second = Probe::new(mutex.lock());
    assert!(first.poll().is_pending() && second.poll().is_pending());
    drop(guard);
    drop(first);
    assert!(second.poll().is_ready());
    assert!(mutex.try_lock().is_some());
}

#[test]
fn notify_one_is_kept_once_for_the_next() {
    let notify = Notify::new();
    notify.notify_one();
    notify.notify_one();
    assert!(Probe::new(notify.notified()).poll().is_ready());
    let mut first = Probe::new(notify.notified());
    let mut second = Probe::new(notify.notified());
    assert!(first.poll().is_pending() && second.poll().is_pending());
    notify.notify_one();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    drop(first);
    assert_eq!(second.woken(), 1, "the wake-up of a dropped waiter was lost");
    assert!(second.poll().is_ready());
}

#[test]
fn notify_all_reaches_everyone_from_before() {
    let notify = Notify::new();
    let mut unpolled = Probe::new(notify.notified());
    let mut waiting = Probe::new(notify.notified());
    assert!(waiting.poll().is_pending());
    notify.notify_all();
    assert!(unpolled.poll().is_ready() && waiting.poll().is_ready());
    assert!(
        Probe::new(notify.notified()).poll().is_pending(),
        "notify_all is not kept"
    );
    let mut dropped = Probe::new(notify.notified());
    assert!(dropped.poll().is_pending());
    notify.notify_all();
    drop(dropped);
    assert!(
        Probe::new(notify.notified()).poll().is_pending(),
        "notify_all is not passed on"
    );
}

#[test]
fn notify_all_does_not_chase_those_who_come_back() {
    let notify = Notify::new();
    let mut waiting: Vec<_> = (0..3).map(|_| Probe::new(notify.notified())).collect();
    assert!(waiting.iter_mut().all(|probe| probe.poll().is_pending()));
    notify.notify_all();
    for probe in &mut waiting {
        assert!(probe.poll().is_ready());
        assert!(probe.poll().is_pending(), "a new wait is not served by an old round");
    }
    notify.notify_one();
    assert_eq!(waiting.iter().map(Probe::woken).collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn gate_waits_for_all_inside() {
    let gate = Gate::new();
    let pass = gate.enter().unwrap();
    let other = pass.clone();
    assert_eq!(gate.inside(), 2);
    let mut close = Probe::new(gate.close());
    let mut again = Probe::new(gate.close());
    assert!(gate.is_closed() && gate.enter().is_none());
    assert!(close.poll().is_pending() && again.poll().is_pending());
    let late = other.clone();
    drop((pass, other));
    assert!(close.poll().is_pending());
    drop(late);
    assert_eq!((close.woken(), again.woken()), (1, 1));
    assert!(close.poll().is_ready() && again.poll().is_ready());
    assert!(Probe::new(Gate::new().close()).poll().is_ready());
}

#[test]
fn channel_keeps_order_and_bound() {
    let (sender, mut receiver) = channel(2);
    now(sender.send(1)).unwrap();
    now(sender.send(2)).unwrap();
    assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
    let mut third = Probe::new(sender.send(3));
    let mut fourth = Probe::new(sender.send(4));
    assert!(third.poll().is_pending() && fourth.poll().is_pending());
    assert_eq!(receiver.len(), 2);
    assert_eq!(now(receiver.recv()), Some(1));
    assert_eq!((third.woken(), fourth.woken()), (1, 0));
    assert_eq!(
        sender.try_send(9),
        Err(TrySendError::Full(9)),
        "took the place granted to another"
    );
    drop(third);
    assert_eq!(fourth.woken(), 1);
    assert!(fourth.poll().is_ready());
    drop(fourth);
    let other = sender.clone();
    drop(sender);
    assert_eq!(now(receiver.recv()), Some(2));
    assert_eq!(now(receiver.recv()), Some(4));
    let mut waiting = Probe::new(receiver.recv());
    assert!(waiting.poll().is_pending());
    drop(other);
    assert_eq!(waiting.woken(), 1);
    assert_eq!(waiting.poll(), Poll::Ready(None));
}

#[test]
fn channel_gives_messages_back_when_the_receiver_goes() {
    let (sender, receiver) = channel(1);
    now(sender.send(1)).unwrap();
    let mut waiting = Probe::new(sender.send(2));
    assert!(waiting.poll().is_pending());
    drop(receiver);
    assert_eq!(waiting.woken(), 1);
    assert_eq!(waiting.poll(), Poll::Ready(Err(Closed(2))));
    assert_eq!(now(sender.send(3)), Err(Closed(3)));
    assert_eq!(sender.try_send(4), Err(TrySendError::Closed(4)));
    assert!(sender.is_closed());
}

#[test]
fn channel_place_granted_before_the_receiver_goes_leads_nowhere() {
    let (sender, mut receiver) = channel(1);
    now(sender.send(1)).unwrap();
    let mut waiting = Probe::new(sender.send(2));
    assert!(waiting.poll().is_pending());
    assert_eq!(receiver.try_recv(), Some(1));
    drop(receiver);
    assert_eq!(waiting.poll(), Poll::Ready(Err(Closed(2))));
}

#[test]
fn destructors_may_use_the_same_primitive() {
    struct Sneaky(Sender<Option<Box<Sneaky>>>);
    impl Drop for Sneaky {
        fn drop(&mut self) {
            assert!(self.0.try_send(None).is_err());
        }
    }
    let (sender, receiver) = channel(4);
    let sneaky = Sneaky(sender.clone());
    assert!(sender.try_send(Some(Box::new(sneaky))).is_ok());
    drop(receiver);
}
