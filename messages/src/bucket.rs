//! Buckets: a channel's messages lie in one partition per window of time.
//!
//! A bucket's id is the number of its window's first hour since the store's epoch, so that buckets of different window
//! lengths can follow each other in one channel and still sort by time. Which one an id lies in, the channel's
//! [`Windows`](crate::Windows) tell.

use crate::{Error, MessageId, Result};

/// Milliseconds of an hour.
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// How long one bucket of a channel lasts, in hours.
///
/// ```
/// use scrollback_messages::Window;
///
/// assert_eq!(Window::from_hours(24)?.hours(), 24);
/// assert!(Window::from_hours(0).is_err());
/// # Ok::<(), scrollback_messages::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window(u32);

impl Window {
    /// 10 days.
    pub const DEFAULT: Window = Window(240);
    /// Ten years.
    pub const HOURS_MAX: u32 = 87_660;

    /// A window of this many hours.
    ///
    /// # Errors
    /// [`Error::BadWindow`] outside `1..=`[`HOURS_MAX`](Self::HOURS_MAX).
    pub fn from_hours(hours: u32) -> Result<Window> {
        if (1..=Self::HOURS_MAX).contains(&hours) {
            Ok(Window(hours))
        } else {
            Err(Error::BadWindow { hours })
        }
    }

    /// The length in hours.
    pub fn hours(self) -> u32 {
        self.0
    }
}

/// One bucket: its id and its window's length.
///
/// [`BucketCount`](crate::BucketCount) shows how to list those of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// The number of the window's first hour since the store's epoch.
    pub id: i32,
    /// How long it lasts.
    pub window: Window,
}

impl Bucket {
    /// The first millisecond, since the epoch, that is not in the bucket any more.
    pub(crate) fn end_ms(self) -> u64 {
        self.start_ms() + u64::from(self.window.0) * HOUR_MS
    }

    /// The bucket's first millisecond since the epoch.
    fn start_ms(self) -> u64 {
        self.id.max(0) as u64 * HOUR_MS
    }

    /// The ids between which its messages lie: `None` where no id lies beyond.
    pub fn between(self) -> (Option<MessageId>, Option<MessageId>) {
        let first = MessageId::from_parts(self.start_ms(), 0, 0);
        let after = first.and_then(|id| MessageId::new(id.get() - 1).ok());
        (after, MessageId::from_parts(self.end_ms(), 0, 0))
    }

    /// Does a message with this id lie here?
    pub fn contains(self, id: MessageId) -> bool {
        (self.start_ms()..self.end_ms()).contains(&id.time_ms())
    }

    /// Do all its messages come before `id`?
    pub fn is_before(self, id: MessageId) -> bool {
        self.end_ms() <= id.time_ms()
    }

    /// Do all its messages come after `id`?
    pub fn is_after(self, id: MessageId) -> bool {
        self.start_ms() > id.time_ms()
    }
}

/// The number of the id's hour since the epoch. 41 bits of milliseconds are fewer than 2^20 hours.
pub(crate) fn hour_of(id: MessageId) -> i32 {
    (id.time_ms() / HOUR_MS) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Windows;
    use proptest::prelude::*;

    fn bucket_of(id: MessageId, window: Window) -> Bucket {
        Windows::unchanged(window).bucket_of(id)
    }

    fn at_ms(time_ms: u64) -> MessageId {
        MessageId::from_parts(time_ms, 1, 1).unwrap()
    }

    #[test]
    fn windows_begin_at_multiples_of_their_length() {
        let ten_days = 240 * HOUR_MS;
        for (time_ms, bucket) in [
            (0, 0),
            (ten_days - 1, 0),
            (ten_days, 240),
            (3 * ten_days - 1, 480),
            (3 * ten_days, 720),
        ] {
            assert_eq!(bucket_of(at_ms(time_ms), Window::DEFAULT).id, bucket, "{time_ms}");
        }
        let last = bucket_of(MessageId::MAX, Window::from_hours(1).unwrap());
        assert_eq!(last.id, 610_839);
        assert!(last.contains(MessageId::MAX));
    }

    #[test]
    fn rejects_a_window_of_nothing() {
        assert!(matches!(Window::from_hours(0), Err(Error::BadWindow { hours: 0 })));
        assert!(Window::from_hours(Window::HOURS_MAX).is_ok());
        assert!(Window::from_hours(Window::HOURS_MAX + 1).is_err());
    }

    proptest! {
        #[test]
        fn prop_a_message_lies_in_its_bucket_and_in_no_other(a in 1..i64::MAX, b in 1..i64::MAX, hours in 1..=Window::HOURS_MAX) {
            let (a, b) = (MessageId::new(a).unwrap(), MessageId::new(b).unwrap());
            let window = Window::from_hours(hours).unwrap();
            let bucket = bucket_of(a, window);
            prop_assert!(bucket.contains(a) && !bucket.is_before(a) && !bucket.is_after(a));
            prop_assert_eq!([bucket.contains(b), bucket.is_before(b), bucket.is_after(b)].iter().filter(|x| **x).count(), 1);
            prop_assert_eq!(bucket.contains(b), bucket_of(b, window) == bucket);
            prop_assert!(bucket.contains(b) || bucket.is_before(b) == (a < b));
            let (after, before) = bucket.between();
            let is_between = after.is_none_or(|after| b > after) && before.is_none_or(|before| b < before);
            prop_assert_eq!(bucket.contains(b), is_between);
        }
    }
}
