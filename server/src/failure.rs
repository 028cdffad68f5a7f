//! How a command ends when it does not end well: a status, and one sentence.

use crate::time_text::Timestamp;
use std::{fmt, path::Path};

/// The end of a command that was refused or failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit status: 1 refused or failed, 2 wrong usage.
    pub status: u8,
    /// What to tell; none if it has been told already.
    pub sentence: Option<String>,
}

/// The result of a command.
pub type Done<T = ()> = Result<T, Failure>;

impl Failure {
    /// Refused or failed.
    pub fn new(sentence: impl fmt::Display) -> Failure {
        Failure {
            status: 1,
            sentence: Some(sentence.to_string()),
        }
    }

    /// The command line makes no sense.
    pub fn usage(sentence: impl fmt::Display) -> Failure {
        Failure {
            status: 2,
            sentence: Some(sentence.to_string()),
        }
    }

    /// Failed, and the results already say how.
    pub fn told() -> Failure {
        Failure {
            status: 1,
            sentence: None,
        }
    }

    /// A file could not be used.
    pub fn file(path: &Path, what: &str, error: impl fmt::Display) -> Failure {
        Failure::new(format_args!("{}: {what}: {error}", path.display()))
    }
}

impl From<messages::Error> for Failure {
    fn from(error: messages::Error) -> Failure {
        match error {
            messages::Error::OtherEpoch { present_ms, asked_ms } => Failure::new(format_args!(
                "the store's epoch is {}, fixed when it was created; it cannot become {}",
                Timestamp(present_ms),
                Timestamp(asked_ms)
            )),
            messages::Error::NoBorder { unix_ms, next_ms } => Failure::new(format_args!(
                "the bucket window cannot change at {}, in the middle of a bucket; the next border is {}",
                Timestamp(unix_ms),
                Timestamp(next_ms)
            )),
            messages::Error::BorderTooEarly { unix_ms, next_ms } => Failure::new(format_args!(
                "the bucket window cannot change at {}, which is not a minute after every message of the channel; the first \
                 border that is: {}",
                Timestamp(unix_ms),
                Timestamp(next_ms)
            )),
            error => Failure::new(error),
        }
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Failure {
        Failure::new(error)
    }
}
