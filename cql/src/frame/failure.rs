//! `ERROR` (specification, section 9): codes, and what follows the message.

use super::read::Reader;
use super::write::{put_consistency, put_i32, put_short_bytes, put_string, put_string_list};
use super::{Consistency, Error, Result, WriteType};

/// The code of an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum ErrorCode {
    /// Something unexpected.
    Server = 0x0000,
    /// The client broke the protocol.
    Protocol = 0x000a,
    /// Not who it says it is.
    BadCredentials = 0x0100,
    /// Too few replicas.
    Unavailable = 0x1000,
    /// Too much to do.
    Overloaded = 0x1001,
    /// Not yet a member.
    IsBootstrapping = 0x1002,
    /// `TRUNCATE` failed.
    Truncate = 0x1003,
    /// A write took too long.
    WriteTimeout = 0x1100,
    /// A read took too long.
    ReadTimeout = 0x1200,
    /// A read failed.
    ReadFailure = 0x1300,
    /// A user's function failed.
    FunctionFailure = 0x1400,
    /// A write failed.
    WriteFailure = 0x1500,
    /// The text is no statement.
    Syntax = 0x2000,
    /// Not allowed.
    Unauthorized = 0x2100,
    /// The statement makes no sense here.
    Invalid = 0x2200,
    /// Invalid for how the server is set.
    Config = 0x2300,
    /// What is to be created is there.
    AlreadyExists = 0x2400,
    /// No statement is prepared under the id.
    Unprepared = 0x2500,
}

/// An error with what its code carries after the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ErrorBody<'a> {
    /// Something unexpected.
    Server,
    /// The client broke the protocol.
    Protocol,
    /// Not who it says it is.
    BadCredentials,
    /// Too few replicas.
    Unavailable {
        /// The level asked for.
        consistency: Consistency,
        /// Replicas that it needs.
        required: i32,
        /// Replicas that there are.
        alive: i32,
    },
    /// Too much to do.
    Overloaded,
    /// Not yet a member.
    IsBootstrapping,
    /// `TRUNCATE` failed.
    Truncate,
    /// A write took too long.
    WriteTimeout {
        /// The level asked for.
        consistency: Consistency,
        /// Replicas that answered.
        received: i32,
        /// Answers that the level needs.
        block_for: i32,
        /// What was written.
        write_type: WriteType,
    },
    /// A read took too long.
    ReadTimeout {
        /// The level asked for.
        consistency: Consistency,
        /// Replicas that answered.
        received: i32,
        /// Answers that the level needs.
        block_for: i32,
        /// Whether the replica that was asked for the data answered.
        data_present: bool,
    },
    /// A read failed.
    ReadFailure {
        /// The level asked for.
        consistency: Consistency,
        /// Replicas that answered.
        received: i32,
        /// Answers that the level needs.
        block_for: i32,
        /// Replicas that failed.
        failures: i32,
        /// Whether the replica that was asked for the data answered.
        data_present: bool,
    },
    /// A user's function failed.
    FunctionFailure {
        /// Its keyspace.
        keyspace: &'a str,
        /// Its name.
        function: &'a str,
        /// The types of its arguments.
        arguments: Vec<&'a str>,
    },
    /// A write failed.
    WriteFailure {
        /// The level asked for.
        consistency: Consistency,
        /// Replicas that answered.
        received: i32,
        /// Answers that the level needs.
        block_for: i32,
        /// Replicas that failed.
        failures: i32,
        /// What was written.
        write_type: WriteType,
    },
    /// The text is no statement.
    Syntax,
    /// Not allowed.
    Unauthorized,
    /// The statement makes no sense here.
    Invalid,
    /// Invalid for how the server is set.
    Config,
    /// What is to be created is there.
    AlreadyExists {
        /// The keyspace.
        keyspace: &'a str,
        /// The table; empty if it is the keyspace that exists.
        table: &'a str,
    },
    /// No statement is prepared under the id.
    Unprepared {
        /// The id.
        id: &'a [u8],
    },
}

impl From<&Error> for ErrorBody<'_> {
    fn from(error: &Error) -> Self {
        match error.code() {
            ErrorCode::Invalid => ErrorBody::Invalid,
            _ => ErrorBody::Protocol,
        }
    }
}

impl<'a> ErrorBody<'a> {
    /// Its code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            ErrorBody::Server => ErrorCode::Server,
            ErrorBody::Protocol => ErrorCode::Protocol,
            ErrorBody::BadCredentials => ErrorCode::BadCredentials,
            ErrorBody::Unavailable { .. } => ErrorCode::Unavailable,
            ErrorBody::Overloaded => ErrorCode::Overloaded,
            ErrorBody::IsBootstrapping => ErrorCode::IsBootstrapping,
            ErrorBody::Truncate => ErrorCode::Truncate,
            ErrorBody::WriteTimeout { .. } => ErrorCode::WriteTimeout,
            ErrorBody::ReadTimeout { .. } => ErrorCode::ReadTimeout,
            ErrorBody::ReadFailure { .. } => ErrorCode::ReadFailure,
            ErrorBody::FunctionFailure { .. } => ErrorCode::FunctionFailure,
            ErrorBody::WriteFailure { .. } => ErrorCode::WriteFailure,
            ErrorBody::Syntax => ErrorCode::Syntax,
            ErrorBody::Unauthorized => ErrorCode::Unauthorized,
            ErrorBody::Invalid => ErrorCode::Invalid,
            ErrorBody::Config => ErrorCode::Config,
            ErrorBody::AlreadyExists { .. } => ErrorCode::AlreadyExists,
            ErrorBody::Unprepared { .. } => ErrorCode::Unprepared,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>, message: &str) {
        put_i32(out, self.code() as i32);
        put_string(out, message);
        let numbers = |out: &mut Vec<u8>, consistency, numbers: &[i32]| {
            put_consistency(out, consistency);
            for number in numbers {
                put_i32(out, *number);
            }
        };
        match *self {
            ErrorBody::Unavailable {
                consistency,
                required,
                alive,
            } => numbers(out, consistency, &[required, alive]),
            ErrorBody::WriteTimeout {
                consistency,
                received,
                block_for,
                write_type,
            } => {
                numbers(out, consistency, &[received, block_for]);
                put_string(out, write_type.name());
            }
            ErrorBody::ReadTimeout {
                consistency,
                received,
                block_for,
                data_present,
            } => {
                numbers(out, consistency, &[received, block_for]);
                out.push(u8::from(data_present));
            }
            ErrorBody::ReadFailure {
                consistency,
                received,
                block_for,
                failures,
                data_present,
            } => {
                numbers(out, consistency, &[received, block_for, failures]);
                out.push(u8::from(data_present));
            }
            ErrorBody::FunctionFailure {
                keyspace,
                function,
                ref arguments,
            } => {
                put_string(out, keyspace);
                put_string(out, function);
                put_string_list(out, arguments);
            }
            ErrorBody::WriteFailure {
                consistency,
                received,
                block_for,
                failures,
                write_type,
            } => {
                numbers(out, consistency, &[received, block_for, failures]);
                put_string(out, write_type.name());
            }
            ErrorBody::AlreadyExists { keyspace, table } => {
                put_string(out, keyspace);
                put_string(out, table);
            }
            ErrorBody::Unprepared { id } => put_short_bytes(out, id),
            ErrorBody::Server
            | ErrorBody::Protocol
            | ErrorBody::BadCredentials
            | ErrorBody::Overloaded
            | ErrorBody::IsBootstrapping
            | ErrorBody::Truncate
            | ErrorBody::Syntax
            | ErrorBody::Unauthorized
            | ErrorBody::Invalid
            | ErrorBody::Config => {}
        }
    }

    /// The message and the rest.
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<(&'a str, ErrorBody<'a>)> {
        const NUMBER: &str = "a number of replicas";
        let code = reader.i32("the code of an error")?;
        let message = reader.string()?;
        let body = match code {
            0x0000 => ErrorBody::Server,
            0x000a => ErrorBody::Protocol,
            0x0100 => ErrorBody::BadCredentials,
            0x1000 => ErrorBody::Unavailable {
                consistency: reader.consistency()?,
                required: reader.i32(NUMBER)?,
                alive: reader.i32(NUMBER)?,
            },
            0x1001 => ErrorBody::Overloaded,
            0x1002 => ErrorBody::IsBootstrapping,
            0x1003 => ErrorBody::Truncate,
            0x1100 => ErrorBody::WriteTimeout {
                consistency: reader.consistency()?,
                received: reader.i32(NUMBER)?,
                block_for: reader.i32(NUMBER)?,
                write_type: write_type(reader)?,
            },
            0x1200 => ErrorBody::ReadTimeout {
                consistency: reader.consistency()?,
                received: reader.i32(NUMBER)?,
                block_for: reader.i32(NUMBER)?,
                data_present: reader.u8("whether there is data")? != 0,
            },
            0x1300 => ErrorBody::ReadFailure {
                consistency: reader.consistency()?,
                received: reader.i32(NUMBER)?,
                block_for: reader.i32(NUMBER)?,
                failures: reader.i32(NUMBER)?,
                data_present: reader.u8("whether there is data")? != 0,
            },
            0x1400 => ErrorBody::FunctionFailure {
                keyspace: reader.string()?,
                function: reader.string()?,
                arguments: reader.string_list()?,
            },
            0x1500 => ErrorBody::WriteFailure {
                consistency: reader.consistency()?,
                received: reader.i32(NUMBER)?,
                block_for: reader.i32(NUMBER)?,
                failures: reader.i32(NUMBER)?,
                write_type: write_type(reader)?,
            },
            0x2000 => ErrorBody::Syntax,
            0x2100 => ErrorBody::Unauthorized,
            0x2200 => ErrorBody::Invalid,
            0x2300 => ErrorBody::Config,
            0x2400 => ErrorBody::AlreadyExists {
                keyspace: reader.string()?,
                table: reader.string()?,
            },
            0x2500 => ErrorBody::Unprepared {
                id: reader.short_bytes()?,
            },
            _ => return Err(Error::Malformed("an error of an unknown code")),
        };
        Ok((message, body))
    }
}

fn write_type(reader: &mut Reader<'_>) -> Result<WriteType> {
    WriteType::from_name(reader.string()?).ok_or(Error::Malformed("an unknown type of a write"))
}
