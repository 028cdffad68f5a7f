//! What can go wrong in a call of this crate, told apart by what the caller can do about it.

use crate::MessageId;
use futures_util::future::BoxFuture;
use std::fmt;

/// The result of the calls of this crate.
///
/// Its error is an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What a call from outside the shards gives, as [`engine::Answer`].
pub type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// What went wrong.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// use scrollback_messages::{Error, MessageId};
///
/// let id = MessageId::new(1_192_007_775_073_337_345)?;
/// match messages.edit(7, id, Some(1), "edited").await {
///     Err(Error::NotFound { .. }) => println!("it was deleted"),
///     Err(error) => println!("{error}"), // a sentence that says what to do
///     Ok(()) => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
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
    /// The store was created with another epoch. Its ids count from there for ever.
    OtherEpoch {
        /// The store's epoch, Unix milliseconds.
        present_ms: i64,
        /// The epoch asked for, Unix milliseconds.
        asked_ms: i64,
    },
    /// A bucket window of no hours or of more than ten years.
    BadWindow {
        /// The refused length, hours.
        hours: u32,
    },
    /// The store was created with another bucket window.
    OtherWindow {
        /// The store's window, hours.
        present_hours: u32,
        /// The window asked for, hours.
        asked_hours: u32,
    },
    /// A window cannot change in the middle of a bucket. Take the border that is named, or a later one.
    NoBorder {
        /// The refused time, Unix milliseconds.
        unix_ms: i64,
        /// The first usable border after it, Unix milliseconds.
        next_ms: i64,
    },
    /// A window cannot change where messages may lie already, nor within a minute of the ids. Take the border that is named, or a
    /// later one.
    BorderTooEarly {
        /// The refused time, Unix milliseconds.
        unix_ms: i64,
        /// The first usable border, Unix milliseconds.
        next_ms: i64,
    },
    /// The channel's window was changed [`WINDOW_CHANGES_MAX`](crate::WINDOW_CHANGES_MAX) times: it stays as it is.
    TooManyWindows,
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
    /// A file whose lines come later than the pass before has found: it was changed meanwhile.
    FileChanged,
    /// The message is not there, or was deleted.
    NotFound {
        /// The message.
        id: MessageId,
    },
    /// A message that is to be written into a bucket in which no history would look for it.
    OtherBucket {
        /// The message.
        id: MessageId,
        /// The bucket that was named.
        bucket_id: i32,
        /// The one that it belongs into.
        belongs: i32,
    },
    /// Somebody else wrote the message.
    OtherAuthor {
        /// The message.
        id: MessageId,
    },
    /// A content above [`CONTENT_BYTES_MAX`](crate::CONTENT_BYTES_MAX).
    ContentTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A name that is empty or above [`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX).
    BadName {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A nonce that is empty or above [`NONCE_BYTES_MAX`](crate::NONCE_BYTES_MAX).
    BadNonce {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A table of the store is not what this crate has made.
    OtherTable {
        /// The table's name.
        name: &'static str,
    },
    /// What the store holds about messages contradicts itself.
    Malformed {
        /// What.
        what: String,
    },
    /// The engine's own.
    Engine(engine::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadId(text) => {
                write!(
                    f,
                    "{text} is not a message id: ids are whole numbers from 1 to {}",
                    MessageId::MAX
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
            Error::OtherEpoch { present_ms, asked_ms } => write!(
                f,
                "the store's epoch is {present_ms} ms, fixed when it was created, and cannot become {asked_ms} ms"
            ),
            Error::BadWindow { hours } => {
                write!(
                    f,
                    "a bucket window of {hours} hours cannot be used: it is 1 to {} hours",
                    crate::Window::HOURS_MAX
                )
            }
            Error::OtherWindow {
                present_hours,
                asked_hours,
            } => write!(
                f,
                "the store's bucket window is {present_hours} hours, fixed when it was created, and cannot become {asked_hours}; \
                 that of a channel can be changed"
            ),
            Error::NoBorder { unix_ms, next_ms } => write!(
                f,
                "the bucket window cannot change at {unix_ms} ms, in the middle of a bucket; the next border is {next_ms} ms"
            ),
            Error::BorderTooEarly { unix_ms, next_ms } => write!(
                f,
                "the bucket window cannot change at {unix_ms} ms, which is not a minute after every message of the channel; the \
                 first border that is: {next_ms} ms"
            ),
            Error::OtherBucket { id, bucket_id, belongs } => write!(
                f,
                "message {id} belongs into bucket {belongs} of its channel, not {bucket_id}: a bucket is named by the first hour of its \
                 window, counted from the store's epoch"
            ),
            Error::TooManyWindows => write!(
                f,
                "the bucket window of this channel was changed {} times, and stays as it is",
                crate::WINDOW_CHANGES_MAX
            ),
            Error::MillisecondFull { unix_ms } => {
                write!(
                    f,
                    "more than {} messages in the millisecond {unix_ms}",
                    crate::IMPORTS_PER_MILLISECOND
                )
            }
            Error::OutOfOrder { lateness_ms } => write!(
                f,
                "lines come up to {lateness_ms} ms out of order, with too many different times in between to count their \
                 places in bounded memory: sort them by time first"
            ),
            Error::FileChanged => {
                f.write_str("the file changed during the import; run it again when nobody writes to it")
            }
            Error::NotFound { id } => write!(f, "there is no message {id} in this channel, or it was deleted"),
            Error::OtherAuthor { id } => write!(f, "somebody else wrote message {id}"),
            Error::ContentTooLong { bytes } => {
                write!(
                    f,
                    "a content of {bytes} bytes; at most {} are allowed",
                    crate::CONTENT_BYTES_MAX
                )
            }
            Error::BadName { bytes: 0 } => f.write_str("a name may not be empty"),
            Error::BadName { bytes } => write!(
                f,
                "a name of {bytes} bytes; at most {} are allowed",
                crate::NAME_BYTES_MAX
            ),
            Error::BadNonce { bytes: 0 } => f.write_str("a nonce may not be empty"),
            Error::BadNonce { bytes } => write!(
                f,
                "a nonce of {bytes} bytes; at most {} are allowed",
                crate::NONCE_BYTES_MAX
            ),
            Error::OtherTable { name } => {
                write!(
                    f,
                    "the store's table messages.{name} has other columns than messages need; use another store"
                )
            }
            Error::Malformed { what } => write!(f, "the store contradicts itself: {what}"),
            Error::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Engine(error) => error.source(),
            _ => None,
        }
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Error {
        Error::Engine(error)
    }
}
