//! Futures under way at the same time, on the main thread.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Futures under way, whose results come in the order in which they were added.
pub struct InFlight<'a, T> {
    slots: VecDeque<Slot<'a, T>>,
}

enum Slot<'a, T> {
    Running(Boxed<'a, T>),
    Done(T),
}

impl<'a, T> InFlight<'a, T> {
    /// None yet.
    pub fn new() -> InFlight<'a, T> {
        InFlight { slots: VecDeque::new() }
    }

    /// How many have results still to be taken.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Adds one. It runs while [`next`](Self::next) is awaited.
    pub fn push(&mut self, future: impl Future<Output = T> + 'a) {
        self.slots.push_back(Slot::Running(Box::pin(future)));
    }

    /// The result of the one that was added first; none if there is none.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|context| {
            for slot in &mut self.slots {
                if let Slot::Running(future) = slot
                    && let Poll::Ready(value) = future.as_mut().poll(context)
                {
                    *slot = Slot::Done(value);
                }
            }
            match self.slots.pop_front() {
                None => Poll::Ready(None),
                Some(Slot::Done(value)) => Poll::Ready(Some(value)),
                Some(running) => {
                    self.slots.push_front(running);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// All results, or the first error.
pub async fn join_all<T, E, F: Future<Output = Result<T, E>>>(
    futures: impl IntoIterator<Item = F>,
) -> Result<Vec<T>, E> {
    let mut running = InFlight::new();
    futures.into_iter().for_each(|future| running.push(future));
    let mut results = Vec::with_capacity(running.len());
    while let Some(result) = running.next().await {
        results.push(result?);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn results_come_in_order_and_all_run_at_once() {
        let started = Cell::new(0);
        let started = &started;
        runtime::block_on(async {
            let mut running = InFlight::new();
            for number in 0..5 {
                running.push(async move {
                    started.set(started.get() + 1);
                    let mut rounds = 5 - number;
                    poll_fn(|context| {
                        rounds -= 1;
                        context.waker().wake_by_ref();
                        if rounds == 0 { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                    number
                });
            }
            for number in 0..5 {
                assert_eq!(running.next().await, Some(number));
                assert_eq!(started.get(), 5);
            }
            assert_eq!(running.next().await, None);
        });
    }
}
