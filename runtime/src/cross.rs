//! Calls from shard to shard.
//!
//! A call is one allocation, a packet, that travels to the other shard with the question and comes back with the answer:
//! so it is freed where it was made. The asker waits at a numbered place; the answer names it. How messages travel is the
//! body's business. Bounded: at most [`OUTSTANDING_MAX`] calls per ordered pair of shards are under way, further callers
//! wait for a place.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::context::{self, Context, ShardId};
use crate::handle::Stopped;
use crate::sync::{Permit, Semaphore};
use crate::task::TaskClass;

/// Calls under way from one shard to another.
pub(crate) const OUTSTANDING_MAX: usize = 8192;

/// Names one waiting caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    index: u32,
    generation: u32,
}

/// What travels between shards.
pub(crate) enum Message {
    /// A question for the receiver.
    Request {
        /// Who asked.
        from: ShardId,
        /// Where the asker waits.
        place: Place,
        /// The question.
        packet: Box<dyn Packet>,
    },
    /// An answer to the receiver.
    Reply {
        /// Where the receiver's caller waits.
        place: Place,
        /// The packet it sent, now with the answer.
        packet: Box<dyn Packet>,
    },
}

/// A question, and later its answer.
pub(crate) trait Packet: Send {
    /// Starts the task that computes the answer and sends the packet back.
    fn serve(self: Box<Self>, context: &Rc<Context>, from: ShardId, place: Place);
    /// For the asker, who knows the type.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

struct CallPacket<F, R> {
    question: Option<F>,
    answer: Option<R>,
}

impl<R, F, Fut> Packet for CallPacket<F, R>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    fn serve(mut self: Box<Self>, context: &Rc<Context>, from: ShardId, place: Place) {
        let question = self.question.take().expect("a packet is served once");
        let service = Service {
            future: question(),
            packet: Some(self),
            context: Rc::clone(context),
            from,
            place,
        };
        context.spawn_unit(TaskClass::Request, "call from another shard", service);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The task of a call on the shard that was asked.
struct Service<Fut: Future, F> {
    /// Pinned.
    future: Fut,
    packet: Option<Box<CallPacket<F, Fut::Output>>>,
    context: Rc<Context>,
    from: ShardId,
    place: Place,
}

impl<R, F, Fut> Future for Service<Fut, F>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        // SAFETY: `future` is never moved; `Service` has no `Drop` and is not `Unpin` unless `Fut` is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above; `future` is structurally pinned.
        let Poll::Ready(answer) = unsafe { Pin::new_unchecked(&mut this.future) }.poll(cx) else {
            return Poll::Pending;
        };
        if let Some(mut packet) = this.packet.take() {
            packet.answer = Some(answer);
            this.context.counters.messages.add(1);
            this.context.body.send(
                this.from,
                Message::Reply {
                    place: this.place,
                    packet,
                },
            );
        }
        Poll::Ready(())
    }
}

/// Takes a message in, on the shard it was sent to.
pub(crate) fn deliver(message: Message) {
    let context = context::current();
    match message {
        Message::Request { from, place, packet } => packet.serve(&context, from, place),
        Message::Reply { place, packet } => context.cross.answer(place, packet),
    }
}

/// The callers of one shard that wait for others.
pub(crate) struct Cross {
    places: RefCell<Places>,
    /// One per shard.
    outstanding: Vec<Semaphore>,
}

#[derive(Default)]
struct Places {
    places: Vec<Waiting>,
    free: Vec<u32>,
}

struct Waiting {
    generation: u32,
    to: ShardId,
    state: State,
    /// Held until the answer is there, even if the caller is gone: it bounds what the other shard has to do.
    permit: Option<Permit>,
}

enum State {
    /// Free, or its caller has taken the result and leaves.
    Free,
    Waiting(Option<Waker>),
    /// The caller is gone, the answer is not there yet.
    Abandoned,
    Answered(Box<dyn Packet>),
    Failed(Stopped),
}

impl Cross {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            places: RefCell::default(),
            outstanding: (0..count).map(|_| Semaphore::new(OUTSTANDING_MAX)).collect(),
        }
    }

    fn open(&self, to: ShardId, permit: Permit) -> Place {
        let mut all = self.places.borrow_mut();
        let state = State::Waiting(None);
        match all.free.pop() {
            Some(index) => {
                let place = &mut all.places[index as usize];
                place.generation = place.generation.wrapping_add(1);
                place.to = to;
                place.state = state;
                place.permit = Some(permit);
                Place {
                    index,
                    generation: place.generation,
                }
            }
            None => {
                all.places.push(Waiting {
                    generation: 0,
                    to,
                    state,
                    permit: Some(permit),
                });
                Place {
                    index: (all.places.len() - 1) as u32,
                    generation: 0,
                }
            }
        }
    }

    /// How many places are not free.
    pub(crate) fn under_way(&self) -> usize {
        let all = self.places.borrow();
        all.places.len() - all.free.len()
    }

    /// The caller leaves, with or without its answer.
    fn close(&self, place: Place) {
        let mut all = self.places.borrow_mut();
        let waiting = &mut all.places[place.index as usize];
        let (old, permit) = if matches!(waiting.state, State::Waiting(_)) {
            (std::mem::replace(&mut waiting.state, State::Abandoned), None)
        } else {
            let old = std::mem::replace(&mut waiting.state, State::Free);
            let permit = waiting.permit.take();
            all.free.push(place.index);
            (old, permit)
        };
        drop(all);
        drop((old, permit));
    }

    fn poll(&self, place: Place, waker: &Waker) -> Poll<Result<Box<dyn Packet>, Stopped>> {
        let mut all = self.places.borrow_mut();
        let state = &mut all.places[place.index as usize].state;
        // Whoever has its result has nothing to wait for: `close` frees the place.
        match std::mem::replace(state, State::Free) {
            State::Answered(packet) => Poll::Ready(Ok(packet)),
            State::Failed(reason) => Poll::Ready(Err(reason)),
            State::Waiting(Some(old)) if old.will_wake(waker) => {
                *state = State::Waiting(Some(old));
                Poll::Pending
            }
            State::Waiting(old) => {
                *state = State::Waiting(Some(waker.clone()));
                drop(all);
                drop(old);
                Poll::Pending
            }
            State::Free | State::Abandoned => unreachable!("a caller polls its own place"),
        }
    }

    fn answer(&self, place: Place, packet: Box<dyn Packet>) {
        self.settle(place.index, place.generation, State::Answered(packet));
    }

    /// Gives a waiting caller its result, or frees the place if the caller is gone.
    fn settle(&self, index: u32, generation: u32, result: State) {
        let mut all = self.places.borrow_mut();
        let Some(waiting) = all.places.get_mut(index as usize) else {
            return;
        };
        if waiting.generation != generation {
            return;
        }
        let (old, permit) = match waiting.state {
            State::Waiting(_) => (std::mem::replace(&mut waiting.state, result), waiting.permit.take()),
            State::Abandoned => {
                waiting.state = State::Free;
                let permit = waiting.permit.take();
                all.free.push(index);
                (result, permit)
            }
            State::Free | State::Answered(_) | State::Failed(_) => return,
        };
        drop(all);
        // What was abandoned is dropped, and wakers run, when nothing is borrowed any more.
        drop(permit);
        if let State::Waiting(Some(waker)) = old {
            waker.wake();
        }
    }

    /// Ends every call to `to`, which will not answer any more.
    pub(crate) fn fail(&self, to: ShardId, reason: Stopped) {
        let lost: Vec<(u32, u32)> = {
            let all = self.places.borrow();
            let to_it = all.places.iter().enumerate().filter(|(_, waiting)| waiting.to == to);
            to_it
                .map(|(index, waiting)| (index as u32, waiting.generation))
                .collect()
        };
        for (index, generation) in lost {
            self.settle(index, generation, State::Failed(reason));
        }
    }
}

/// Frees the place however the caller ends.
struct Seat {
    context: Rc<Context>,
    place: Place,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.context.cross.close(self.place);
    }
}

/// Runs `f`, and the future that it gives, on shard `to` in class `Request`.
///
/// On the same shard it runs in place, without a hop. Calls from one shard to another begin in the order in which they
/// were first polled.
///
/// # Errors
/// [`Stopped`]: the other shard ended before it answered.
/// # Cancellation
/// Once sent, the call runs to its end on the other shard; its answer is dropped.
/// # Panics
/// Off-shard, and if the node has no such shard.
pub async fn call<R, F, Fut>(to: ShardId, f: F) -> Result<R, Stopped>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    let context = context::current();
    if to == context.id {
        return Ok(f().await);
    }
    assert!(
        usize::from(to.0) < context.count,
        "there is no shard {to}, only {}",
        context.count
    );
    let outstanding = &context.cross.outstanding[usize::from(to.0)];
    let permit = match outstanding.try_acquire(1) {
        Some(permit) => permit,
        None => outstanding.acquire(1).await,
    };
    if let Some(reason) = context.body.is_gone(to) {
        return Err(reason);
    }
    let place = context.cross.open(to, permit);
    let seat = Seat {
        context: Rc::clone(&context),
        place,
    };
    let packet = Box::new(CallPacket::<F, R> {
        question: Some(f),
        answer: None,
    });
    context.counters.messages.add(1);
    context.body.send(
        to,
        Message::Request {
            from: context.id,
            place,
            packet,
        },
    );
    let packet = std::future::poll_fn(|cx| context.cross.poll(place, cx.waker())).await?;
    drop(seat);
    let packet = packet.into_any().downcast::<CallPacket<F, R>>();
    let answer = packet.ok().and_then(|packet| packet.answer);
    Ok(answer.expect("a packet comes back as it was sent, with the answer"))
}
