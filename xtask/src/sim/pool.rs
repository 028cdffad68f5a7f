//! Runs many small things on a few threads, in their order, until one fails.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The first thing that failed.
pub(crate) struct Failure {
    pub nth: u64,
    pub what: String,
}

/// Runs `each` for all of `range`, on `jobs` threads, and hands what it gives to `add`, one at a time. The smallest that
/// fails is returned; those after it may not have run.
pub(crate) fn pool<T: Send>(
    range: Range<u64>,
    jobs: usize,
    each: impl Fn(u64) -> (T, Option<String>) + Sync,
    add: impl FnMut(u64, T) + Send,
) -> Option<Failure> {
    let next = AtomicU64::new(range.start);
    let stop = AtomicBool::new(false);
    let gathered = Mutex::new((add, None::<Failure>));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= range.end {
                        return;
                    }
                    let (value, failed) = each(nth);
                    let (add, failure) = &mut *gathered.lock().unwrap_or_else(PoisonError::into_inner);
                    add(nth, value);
                    if let Some(what) = failed {
                        stop.store(true, Ordering::Relaxed);
                        if failure.as_ref().is_none_or(|failure| nth < failure.nth) {
                            *failure = Some(Failure { nth, what });
                        }
                    }
                }
            });
        }
    });
    gathered.into_inner().unwrap_or_else(PoisonError::into_inner).1
}

/// Runs `f`; a panic in it is what went wrong.
pub(crate) fn guard<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| format!("panicked: {}", message(panic.as_ref())))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_fails_is_told() {
        let mut sum = 0;
        let failure = pool(
            0..100,
            4,
            |nth| (nth, (nth % 10 == 7).then(|| format!("{nth}"))),
            |_, value| sum += value,
        );
        assert_eq!(
            failure.map(|failure| (failure.nth, failure.what)),
            Some((7, "7".to_owned()))
        );
        assert!(sum >= (0..=7).sum());
        assert!(pool(0..10, 2, |nth| (nth, None), |_, _| {}).is_none());
    }

    #[test]
    fn a_panic_is_a_failure() {
        assert_eq!(
            guard(|| -> () { panic!("on {}", "purpose") }),
            Err("panicked: on purpose".to_owned())
        );
    }
}
