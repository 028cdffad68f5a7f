//! What has changed: events, and the answer to DDL (specification, section 4.2.6).

use std::net::SocketAddr;

use super::read::Reader;
use super::write::{open_frame, put_inet, put_string, put_string_list};
use super::{EVENT_STREAM, Error, Opcode, Result, VERSION};
use crate::frame::header::ANSWER_BIT;

/// What happened to a part of the schema.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// It is new.
    Created,
    /// It is another than before.
    Updated,
    /// It is gone.
    Dropped,
}

/// A part of a keyspace's schema.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target<'a> {
    /// The keyspace itself.
    Keyspace,
    /// A table or view; an index is a change of its table.
    Table(&'a str),
    /// A user-defined type.
    Type(&'a str),
    /// A function, and the types of its arguments.
    Function(&'a str, Vec<&'a str>),
    /// An aggregate, and the types of its arguments.
    Aggregate(&'a str, Vec<&'a str>),
}

/// What DDL did.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SchemaChange<'a> {
    /// What happened.
    pub change: Change,
    /// In which keyspace.
    pub keyspace: &'a str,
    /// To what.
    pub target: Target<'a>,
}

impl<'a> SchemaChange<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_string(
            out,
            match self.change {
                Change::Created => "CREATED",
                Change::Updated => "UPDATED",
                Change::Dropped => "DROPPED",
            },
        );
        let (target, name, arguments) = match &self.target {
            Target::Keyspace => ("KEYSPACE", None, None),
            Target::Table(name) => ("TABLE", Some(name), None),
            Target::Type(name) => ("TYPE", Some(name), None),
            Target::Function(name, arguments) => ("FUNCTION", Some(name), Some(arguments)),
            Target::Aggregate(name, arguments) => ("AGGREGATE", Some(name), Some(arguments)),
        };
        put_string(out, target);
        put_string(out, self.keyspace);
        if let Some(name) = name {
            put_string(out, name);
        }
        if let Some(arguments) = arguments {
            put_string_list(out, arguments);
        }
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<SchemaChange<'a>> {
        let change = match reader.string()? {
            "CREATED" => Change::Created,
            "UPDATED" => Change::Updated,
            "DROPPED" => Change::Dropped,
            _ => return Err(Error::Malformed("an unknown change of the schema")),
        };
        let target = reader.string()?;
        let keyspace = reader.string()?;
        let target = match target {
            "KEYSPACE" => Target::Keyspace,
            "TABLE" => Target::Table(reader.string()?),
            "TYPE" => Target::Type(reader.string()?),
            "FUNCTION" => Target::Function(reader.string()?, reader.string_list()?),
            "AGGREGATE" => Target::Aggregate(reader.string()?, reader.string_list()?),
            _ => return Err(Error::Malformed("an unknown part of the schema")),
        };
        Ok(SchemaChange {
            change,
            keyspace,
            target,
        })
    }
}

/// What connections are told that asked for it with `REGISTER`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A node has come.
    NewNode(SocketAddr),
    /// A node has gone.
    RemovedNode(SocketAddr),
    /// A node is up.
    Up(SocketAddr),
    /// A node is down.
    Down(SocketAddr),
    /// DDL was run.
    SchemaChange(SchemaChange<'a>),
}

impl<'a> Event<'a> {
    /// Appends the whole frame: the same bytes for every connection.
    pub fn put(&self, out: &mut Vec<u8>) {
        let frame = open_frame(out, ANSWER_BIT | VERSION, 0, EVENT_STREAM, Opcode::Event);
        let (kind, change, address) = match self {
            Event::NewNode(address) => ("TOPOLOGY_CHANGE", "NEW_NODE", address),
            Event::RemovedNode(address) => ("TOPOLOGY_CHANGE", "REMOVED_NODE", address),
            Event::Up(address) => ("STATUS_CHANGE", "UP", address),
            Event::Down(address) => ("STATUS_CHANGE", "DOWN", address),
            Event::SchemaChange(change) => {
                put_string(out, "SCHEMA_CHANGE");
                change.put(out);
                return frame.close(out);
            }
        };
        put_string(out, kind);
        put_string(out, change);
        put_inet(out, *address);
        frame.close(out);
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Event<'a>> {
        Ok(match reader.string()? {
            "TOPOLOGY_CHANGE" => match reader.string()? {
                "NEW_NODE" => Event::NewNode(reader.inet()?),
                "REMOVED_NODE" => Event::RemovedNode(reader.inet()?),
                _ => return Err(Error::Malformed("an unknown change of the topology")),
            },
            "STATUS_CHANGE" => match reader.string()? {
                "UP" => Event::Up(reader.inet()?),
                "DOWN" => Event::Down(reader.inet()?),
                _ => return Err(Error::Malformed("an unknown change of a node's status")),
            },
            "SCHEMA_CHANGE" => Event::SchemaChange(SchemaChange::parse(reader)?),
            name => return Err(Error::EventType(name.to_owned())),
        })
    }
}
