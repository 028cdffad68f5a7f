//! Frames in a stream of bytes, as a state machine that owns no bytes.

use std::ops::Range;

use super::{BODY_BYTES_MAX, Error, HEADER_LEN, Header, VERSION};

/// Finds the frames in what has been received.
///
/// 1. Give [`next`](Self::next) all bytes that have been received and not been used.
/// 2. [`Step::Need`]: receive more, and ask again with them at the end.
/// 3. After any other step, so many bytes from the front are used as [`Step::used`] says: drop them, and ask again with the rest.
///
/// A frame above the limit is refused at once, on its stream; its body is passed over as it arrives, and the connection goes on.
#[derive(Debug)]
pub struct Frames {
    limit: usize,
    requests: bool,
    /// Bytes of a refused body that have not arrived yet.
    skip: usize,
}

/// What the bytes received so far are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing whole: at least so many bytes more are needed. Never above the limit.
    Need(usize),
    /// A frame.
    Frame {
        /// Its header.
        header: Header,
        /// Where its body lies in what was received.
        body: Range<usize>,
    },
    /// A frame that is not read.
    Refused {
        /// The stream to answer on.
        stream: i16,
        /// Why. If it [is fatal](Error::is_fatal), answer and close.
        error: Error,
        /// The bytes that are used up.
        used: usize,
    },
    /// So many bytes are of a body that was refused before.
    Skip(usize),
}

impl Step {
    /// How many bytes from the front are used up by the step.
    #[must_use]
    pub fn used(&self) -> usize {
        match self {
            Step::Need(_) => 0,
            Step::Frame { body, .. } => body.end,
            Step::Refused { used, .. } | Step::Skip(used) => *used,
        }
    }
}

impl Frames {
    /// Of what a client sends. `limit` is the most bytes of a frame, header included; Cassandra has 16 MiB.
    #[must_use]
    pub fn of_requests(limit: usize) -> Frames {
        Frames {
            limit: limit.clamp(HEADER_LEN, HEADER_LEN + BODY_BYTES_MAX),
            requests: true,
            skip: 0,
        }
    }

    /// Of what a server sends.
    #[must_use]
    pub fn of_answers(limit: usize) -> Frames {
        Frames {
            requests: false,
            ..Frames::of_requests(limit)
        }
    }

    /// The most bytes of a frame, header included.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What `received` begins with.
    pub fn next(&mut self, received: &[u8]) -> Step {
        if self.skip > 0 {
            let arrived = self.skip.min(received.len());
            self.skip -= arrived;
            return if arrived == 0 {
                Step::Need(1)
            } else {
                Step::Skip(arrived)
            };
        }
        let Some(head) = received.first_chunk::<HEADER_LEN>() else {
            return self.short(received);
        };
        let header = match Header::of(head, self.requests) {
            Ok(header) => header,
            Err(error) => {
                let used = if error.is_fatal() {
                    received.len()
                } else {
                    // `Header::of` has seen that the length is one.
                    self.pass_over(received.len(), Header::length_of(head) as usize)
                };
                let stream = match error {
                    // As Cassandra, which has not read that far: gocql 2 tries an earlier version only if it is told so there. All
                    // other drivers begin with this stream.
                    Error::Version(_) => 0,
                    _ => Header::stream_of(head),
                };
                return Step::Refused { stream, error, used };
            }
        };
        let whole = HEADER_LEN + header.length as usize;
        if whole > self.limit {
            let error = Error::TooBig {
                length: whole as u64,
                limit: self.limit as u64,
            };
            let used = self.pass_over(received.len(), header.length as usize);
            let stream = header.stream;
            return Step::Refused { stream, error, used };
        }
        match whole.checked_sub(received.len()) {
            None | Some(0) => Step::Frame {
                header,
                body: HEADER_LEN..whole,
            },
            Some(more) => Step::Need(more),
        }
    }

    /// Less than a header. Versions 1 and 2 had eight bytes of it, and a stream of one: they wait for an answer and send no more.
    fn short(&self, received: &[u8]) -> Step {
        if let [version @ (1 | 2), _, stream, _, _, _, _, _, ..] = *received
            && self.requests
            && version != VERSION
        {
            return Step::Refused {
                stream: i16::from(stream as i8),
                error: Error::Version(version),
                used: received.len(),
            };
        }
        Step::Need(HEADER_LEN - received.len())
    }

    /// Remembers what of a body has not arrived; gives how many of the bytes received belong to the frame.
    fn pass_over(&mut self, received: usize, length: usize) -> usize {
        let used = received.min(HEADER_LEN + length);
        self.skip = HEADER_LEN + length - used;
        used
    }
}
