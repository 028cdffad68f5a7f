//! Why a request fails, as the protocol tells it.

use cql::frame::{Consistency, ErrorBody, Reply, WriteType};
use std::borrow::Cow;

/// Why a request fails.
#[derive(Debug)]
pub enum Failure {
    /// The statement.
    Language(cql::language::Error),
    /// The frame.
    Frame(cql::frame::Error),
    /// The engine.
    Engine(engine::Error, Doing),
    /// An id that no statement is prepared under.
    Unprepared(Vec<u8>),
    /// Its timeout, or the node's, has passed.
    TimedOut(Doing),
}

/// What was being done, for failures that say so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// A read.
    Read,
    /// A write of this kind.
    Write(WriteType),
    /// `TRUNCATE`.
    Truncate,
    /// A change of definitions.
    Define,
}

/// Result of executing a request.
pub type Done<T> = Result<T, Failure>;

impl From<cql::language::Error> for Failure {
    fn from(error: cql::language::Error) -> Failure {
        Failure::Language(error)
    }
}

impl From<cql::frame::Error> for Failure {
    fn from(error: cql::frame::Error) -> Failure {
        Failure::Frame(error)
    }
}

impl Failure {
    /// A request that makes no sense, in one sentence.
    pub fn invalid(what: impl Into<String>) -> Failure {
        Failure::Language(cql::language::Error::invalid(what))
    }

    /// Writes the answer.
    pub fn reply(&self, reply: &Reply<'_>, consistency: Consistency, out: &mut Vec<u8>) {
        use cql::language::Error as Language;
        let (message, body): (Cow<'_, str>, ErrorBody<'_>) = match self {
            Failure::Frame(error) => return reply.refuse(out, error),
            Failure::Unprepared(id) => {
                let hex = cql::language::functions::hex(id);
                let message = format!(
                    "Prepared query with ID {hex} not found (either the query was not prepared on this host (maybe the host has been \
                     restarted?) or you have prepared too many queries and it has been evicted from the internal cache)"
                );
                return reply.error(out, &message, &ErrorBody::Unprepared { id });
            }
            Failure::Language(error) => {
                let message = error.to_string();
                let body = match error {
                    Language::Syntax(_) => ErrorBody::Syntax,
                    Language::Config(_) => ErrorBody::Config,
                    Language::Unauthorized(_) => ErrorBody::Unauthorized,
                    Language::Protocol(_) => ErrorBody::Protocol,
                    Language::AlreadyExists { keyspace, table, .. } => {
                        let body = ErrorBody::AlreadyExists { keyspace, table };
                        return reply.error(out, &message, &body);
                    }
                    _ => ErrorBody::Invalid,
                };
                (message.into(), body)
            }
            Failure::TimedOut(doing) => ("the request's timeout has passed".into(), doing.timeout(consistency)),
            Failure::Engine(error, doing) => of_engine(error, *doing, consistency),
        };
        reply.error(out, &message, &body);
    }
}

impl Doing {
    fn timeout(self, consistency: Consistency) -> ErrorBody<'static> {
        match self {
            Doing::Read => ErrorBody::ReadTimeout {
                consistency,
                received: 0,
                block_for: 1,
                data_present: false,
            },
            Doing::Write(write_type) => ErrorBody::WriteTimeout {
                consistency,
                received: 0,
                block_for: 1,
                write_type,
            },
            Doing::Truncate => ErrorBody::Truncate,
            Doing::Define => ErrorBody::Server,
        }
    }
}

fn of_engine(error: &engine::Error, doing: Doing, consistency: Consistency) -> (Cow<'static, str>, ErrorBody<'static>) {
    use engine::Error;
    let message = error.to_string();
    let body = match error {
        Error::TooManyTombstones { .. } => {
            let message = format!(
                "Operation failed - received 0 responses and 1 failures: READ_TOO_MANY_TOMBSTONES from /127.0.0.1:7000: {message}"
            );
            let body = ErrorBody::ReadFailure {
                consistency,
                received: 0,
                block_for: 1,
                failures: 1,
                data_present: false,
            };
            return (message.into(), body);
        }
        Error::Overloaded { .. } => ErrorBody::Overloaded,
        Error::Invalid { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. } => ErrorBody::Invalid,
        // It may be there after a restart, as after a timeout of Cassandra.
        Error::OutcomeUnknown { .. } => doing.timeout(consistency),
        _ => match doing {
            Doing::Read => ErrorBody::ReadFailure {
                consistency,
                received: 0,
                block_for: 1,
                failures: 1,
                data_present: false,
            },
            Doing::Write(write_type) => ErrorBody::WriteFailure {
                consistency,
                received: 0,
                block_for: 1,
                failures: 1,
                write_type,
            },
            Doing::Truncate => ErrorBody::Truncate,
            Doing::Define => ErrorBody::Server,
        },
    };
    (message.into(), body)
}
