//! What can go wrong in a call of this crate, told apart by what the caller can do about it.

use std::fmt;

/// The result of the calls of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Not an id of a message: 0, negative, or the largest integers that leave no room for a cursor after them.
    BadId(String),
    /// A time before the store's epoch.
    BeforeEpoch {
        /// The refused time, Unix milliseconds.
        unix_ms: i64,
        /// The store's epoch, Unix milliseconds.
        epoch_ms: i64,
    },
    /// A time that 41 bits of milliseconds since the store's epoch cannot hold.
    BeyondIds {
        /// The refused time, Unix milliseconds.
        unix_ms: i64,
        /// The store's epoch, Unix milliseconds.
        epoch_ms: i64,
    },
    /// An epoch that cannot be the start of a store's time.
    BadEpoch {
        /// The refused epoch, Unix milliseconds.
        epoch_ms: i64,
    },
    /// A bucket window of no hours or of more than ten years.
    BadWindow {
        /// The refused length, hours.
        hours: u32,
    },
    /// More messages in one millisecond than import ids can tell apart.
    MillisecondFull {
        /// The full millisecond, Unix milliseconds.
        unix_ms: i64,
    },
    /// Lines so far out of order of time that their places within each millisecond cannot be counted in bounded memory.
    OutOfOrder {
        /// How far behind the latest line before it the latest straggler comes, milliseconds.
        lateness_ms: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadId(text) => {
                write!(
                    f,
                    "{text} is not a message id: ids are whole numbers from 1 to {}",
                    crate::MessageId::MAX
                )
            }
            Error::BeforeEpoch { unix_ms, epoch_ms } => {
                write!(f, "the time {unix_ms} ms lies before the store's epoch, {epoch_ms} ms")
            }
            Error::BeyondIds { unix_ms, epoch_ms } => write!(
                f,
                "the time {unix_ms} ms is beyond the 41 bits of milliseconds that an id holds after the epoch, {epoch_ms} ms"
            ),
            Error::BadEpoch { epoch_ms } => write!(
                f,
                "an epoch of {epoch_ms} ms cannot be used: it must not lie before 1970, nor in the future, nor so long ago \
                 that 41 bits of milliseconds after it are over"
            ),
            Error::BadWindow { hours } => {
                write!(
                    f,
                    "a bucket window of {hours} hours cannot be used: it is 1 to {} hours",
                    crate::Window::HOURS_MAX
                )
            }
            Error::MillisecondFull { unix_ms } => write!(
                f,
                "more than {} messages in the millisecond {unix_ms}",
                crate::IMPORTS_PER_MILLISECOND
            ),
            Error::OutOfOrder { lateness_ms } => write!(
                f,
                "lines come up to {lateness_ms} ms out of order, with too many different times in between to count their \
                 places in bounded memory: sort them by time first"
            ),
        }
    }
}

impl std::error::Error for Error {}
