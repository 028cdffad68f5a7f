//! The windows of a channel: how long its buckets last, and from when on.
//!
//! A channel begins with the window of its store. Each change names the first hour of the first bucket of another length; that
//! hour is a border of the buckets before it, so a bucket never ends in the middle. From it on the buckets follow each other
//! at their new length, counted from that border. In which bucket an id lies follows from this list alone.
//!
//! The rules: `docs/semantics/windows.md`.

use crate::{
    Bucket, Epoch, Error, MessageId, Result, Window,
    bucket::{HOUR_MS, hour_of},
};

/// Changes of a channel's window at most.
pub const WINDOW_CHANGES_MAX: usize = 32;

/// Another length for the buckets of a channel.
///
/// [`Windows`] shows how it comes about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowChange {
    /// The number of its first hour since the store's epoch, which is the id of its first bucket.
    pub from_hour: i32,
    /// How long buckets last from there on.
    pub window: Window,
}

impl WindowChange {
    /// The time from which on it is in force, Unix milliseconds.
    pub fn unix_ms(&self, epoch: Epoch) -> i64 {
        unix_ms_of(epoch, self.from_hour)
    }
}

/// The first millisecond of an hour since the epoch, Unix milliseconds.
pub(crate) fn unix_ms_of(epoch: Epoch, hour: i32) -> i64 {
    epoch.unix_ms() + i64::from(hour) * HOUR_MS as i64
}

/// How long the buckets of a channel last, at every time.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// use scrollback_messages::Window;
///
/// // A channel has grown: from the next border on a bucket is an hour.
/// let border = messages.window_border(7, 0).await?;
/// messages.set_window(7, Window::from_hours(1)?, border).await?;
/// println!("{:?}", messages.windows(7).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Windows {
    first: Window,
    /// Oldest first.
    changes: Vec<WindowChange>,
}

impl Windows {
    /// Those of a channel whose window has not been changed.
    pub fn unchanged(window: Window) -> Windows {
        Windows {
            first: window,
            changes: Vec::new(),
        }
    }

    /// With these changes, oldest first.
    ///
    /// # Errors
    /// [`Error::Malformed`]: they are too many, or one of them lies in the middle of a bucket, or not after the one before.
    pub(crate) fn with_changes(first: Window, changes: &[WindowChange]) -> Result<Windows> {
        let mut windows = Windows::unchanged(first);
        if changes.len() > WINDOW_CHANGES_MAX {
            return Err(Error::Malformed {
                what: format!("a channel's window changes more than {WINDOW_CHANGES_MAX} times"),
            });
        }
        for change in changes {
            let last = windows.changes.last().map_or(-1, |last| last.from_hour);
            if change.from_hour <= last || !windows.is_border(change.from_hour) {
                return Err(Error::Malformed {
                    what: format!(
                        "a channel's window changes at hour {}, within a bucket",
                        change.from_hour
                    ),
                });
            }
            windows.changes.push(*change);
        }
        Ok(windows)
    }

    /// The window with which the channel begins.
    pub fn first(&self) -> Window {
        self.first
    }

    /// What has changed since, oldest first; the last of them may lie in the future.
    pub fn changes(&self) -> &[WindowChange] {
        &self.changes
    }

    /// The bucket in which a message with this id lies.
    pub fn bucket_of(&self, id: MessageId) -> Bucket {
        self.bucket_at(hour_of(id))
    }

    /// The bucket that has this hour.
    pub(crate) fn bucket_at(&self, hour: i32) -> Bucket {
        let past = self.changes.partition_point(|change| change.from_hour <= hour);
        let (from, window) = match past.checked_sub(1) {
            None => (0, self.first),
            Some(last) => (self.changes[last].from_hour, self.changes[last].window),
        };
        let hours = window.hours() as i32;
        Bucket {
            id: from + (hour - from) / hours * hours,
            window,
        }
    }

    /// Whether a bucket begins with this hour.
    pub(crate) fn is_border(&self, hour: i32) -> bool {
        self.bucket_at(hour).id == hour
    }

    /// The first hour at or after this one with which a bucket begins.
    pub(crate) fn border_from(&self, hour: i32) -> i32 {
        match self.bucket_at(hour) {
            bucket if bucket.id == hour => hour,
            bucket => bucket.id + bucket.window.hours() as i32,
        }
    }

    /// These, and from a border on another window for ever: later changes are dropped.
    pub(crate) fn changed(&self, from_hour: i32, window: Window) -> Windows {
        let mut windows = self.clone();
        windows.changes.retain(|change| change.from_hour < from_hour);
        if windows.bucket_at(from_hour).window != window {
            windows.changes.push(WindowChange { from_hour, window });
        }
        windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hours(hours: u32) -> Window {
        Window::from_hours(hours).unwrap()
    }

    #[test]
    fn buckets_are_counted_from_the_border_at_which_their_window_began() {
        let windows = Windows::unchanged(hours(10))
            .changed(30, hours(7))
            .changed(44, hours(1));
        assert_eq!(windows.changes().len(), 2);
        for (hour, id, length) in [
            (0, 0, 10),
            (29, 20, 10),
            (30, 30, 7),
            (36, 30, 7),
            (37, 37, 7),
            (43, 37, 7),
            (44, 44, 1),
            (610_839, 610_839, 1),
        ] {
            let bucket = windows.bucket_at(hour);
            assert_eq!((bucket.id, bucket.window.hours()), (id, length), "hour {hour}");
        }
        assert_eq!([31, 37, 38, 45].map(|hour| windows.border_from(hour)), [37, 37, 44, 45]);
    }

    #[test]
    fn a_change_drops_those_behind_it_and_the_same_window_again_is_none() {
        let windows = Windows::unchanged(hours(10))
            .changed(30, hours(7))
            .changed(44, hours(1));
        let earlier = windows.changed(37, hours(5));
        let expected = [(30, hours(7)), (37, hours(5))].map(|(from_hour, window)| WindowChange { from_hour, window });
        assert_eq!(earlier.changes(), expected);
        assert_eq!(windows.changed(30, hours(10)), Windows::unchanged(hours(10)));
        assert_eq!(windows.changed(44, hours(1)), windows);
    }

    #[test]
    fn changes_within_a_bucket_or_out_of_order_are_malformed() {
        let of = |changes: &[(i32, u32)]| {
            let change = |(from_hour, length): &(i32, u32)| WindowChange {
                from_hour: *from_hour,
                window: hours(*length),
            };
            Windows::with_changes(hours(10), &changes.iter().map(change).collect::<Vec<_>>())
        };
        assert!(of(&[(30, 7), (44, 1), (45, 3)]).is_ok());
        for wrong in [
            &[(31, 7)][..],
            &[(30, 7), (40, 1)],
            &[(30, 7), (30, 1)],
            &[(30, 7), (20, 1)],
            &[(-10, 7)],
        ] {
            assert!(matches!(of(wrong), Err(Error::Malformed { .. })), "{wrong:?}");
        }
    }

    proptest! {
        /// Whatever is changed: an hour lies in one bucket, buckets follow each other without a gap, and what lies before a
        /// border does not know of the change.
        #[test]
        fn prop_buckets_cover_every_hour_once(
            first in 1u32..50,
            changes in prop::collection::vec((0i32..2000, 1u32..50), 0..8),
            at in 0i32..2500,
        ) {
            let mut windows = Windows::unchanged(hours(first));
            for (from, length) in changes {
                let (before, from) = (windows.clone(), windows.border_from(from));
                windows = windows.changed(from, hours(length));
                prop_assert_eq!(windows.bucket_at(from), Bucket { id: from, window: hours(length) });
                for hour in 0..from {
                    prop_assert_eq!(windows.bucket_at(hour), before.bucket_at(hour));
                }
            }
            let again = Windows::with_changes(hours(first), windows.changes()).unwrap();
            prop_assert_eq!(&again, &windows);
            let bucket = windows.bucket_at(at);
            let end = bucket.id + bucket.window.hours() as i32;
            prop_assert!((bucket.id..end).contains(&at));
            for hour in bucket.id..end {
                prop_assert_eq!(windows.bucket_at(hour), bucket);
            }
            prop_assert!(windows.is_border(end) && windows.border_from(bucket.id + 1) == end);
        }
    }
}
