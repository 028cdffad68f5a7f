//! The end of a store, which all who ask for it wait for together.

use crate::error::Result;
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Closes once, for many callers: whichever of them is there carries it on, so none depends on another to stay.
#[derive(Default)]
pub(crate) struct Closing {
    begun: AtomicBool,
    stage: Mutex<Stage>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Open,
    UnderWay(Pin<Box<dyn Future<Output = Result<()>> + Send>>),
    Ended(Result<()>),
}

/// The callers that wait.
#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    fn add(&self, waker: &Waker) {
        let mut wakers = self.0.lock();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Closing {
    /// Whether anybody has asked for the end.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits for the end, which the first call begins, and gives every caller its outcome.
    pub async fn end<F>(&self, begin: impl FnOnce() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut begin = Some(begin);
        poll_fn(|cx| {
            let mut stage = self.stage.lock();
            if let Stage::Open = *stage {
                self.begun.store(true, Ordering::Release);
                let begin = begin.take().expect("it is begun once");
                *stage = Stage::UnderWay(Box::pin(begin()));
            }
            let ended = match &mut *stage {
                Stage::Open => unreachable!("begun above"),
                Stage::Ended(outcome) => return Poll::Ready(outcome.clone()),
                Stage::UnderWay(closing) => {
                    self.waiting.add(cx.waker());
                    let waker = Waker::from(Arc::clone(&self.waiting));
                    closing.as_mut().poll(&mut Context::from_waker(&waker))
                }
            };
            if let Poll::Ready(outcome) = &ended {
                *stage = Stage::Ended(outcome.clone());
                drop(stage);
                Arc::clone(&self.waiting).wake();
            }
            ended
        })
        .await
    }
}
