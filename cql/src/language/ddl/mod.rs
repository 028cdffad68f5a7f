//! Statements that change definitions: what they come to, given the definitions as they are.

mod keyspaces;
mod options;
mod tables;
mod types;

pub use options::{Shown, map_of, shown, unquoted};

use super::catalog::Catalog;
use super::error::{Error, Result};
use super::syntax::ast::SchemaChange;
use model::{Alteration, Keyspace, Schema, TypeAlteration, UserType};

/// What is known of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    /// The names of all data centers, this node's first.
    pub datacenters: Vec<String>,
}

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Nothing: `IF [NOT] EXISTS` does not hold.
    Nothing,
    /// A new keyspace.
    CreateKeyspace(Keyspace),
    /// Another definition of a keyspace.
    AlterKeyspace(Keyspace),
    /// A keyspace goes, with all that is in it.
    DropKeyspace(String),
    /// A new table.
    CreateTable(Box<Schema>),
    /// Changes of a table: keyspace, name, changes.
    AlterTable(String, String, Vec<Alteration>),
    /// A table goes: keyspace, name.
    DropTable(String, String),
    /// A new type.
    CreateType(UserType),
    /// Changes of a type: keyspace, name, changes.
    AlterType(String, String, Vec<TypeAlteration>),
    /// A type goes: keyspace, name.
    DropType(String, String),
}

/// What a statement comes to.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// What is to be done.
    pub action: Action,
    /// Whether it must be refused if somebody else has been faster, or not.
    pub if_exists_or_not: bool,
    /// What the client is to be told.
    pub warnings: Vec<String>,
}

impl Plan {
    fn of(action: Action, if_exists_or_not: bool) -> Plan {
        Plan {
            action,
            if_exists_or_not,
            warnings: Vec::new(),
        }
    }

    fn nothing() -> Plan {
        Plan::of(Action::Nothing, true)
    }
}

/// Names of keyspaces and tables.
const NAME_CHARS_MAX: usize = 48;

/// Keyspaces that belong to the node.
#[must_use]
pub fn is_system(keyspace: &str) -> bool {
    keyspace == "system" || keyspace.starts_with("system_")
}

fn not_system(keyspace: &str) -> Result<()> {
    match is_system(keyspace) {
        true => Err(Error::Unauthorized(format!(
            "{keyspace} keyspace is not user-modifiable."
        ))),
        false => Ok(()),
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let legal = (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match legal {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "{what} name must not be empty, more than {NAME_CHARS_MAX} characters long, or contain non-alphanumeric-underscore characters \
             (got \"{name}\")"
        ))),
    }
}

/// Checks a change. `keyspace` is the one in use.
///
/// # Errors
/// [`Error::Syntax`], [`Error::Invalid`], [`Error::Config`], [`Error::AlreadyExists`], [`Error::Unauthorized`], as Cassandra has them.
pub fn plan(change: &SchemaChange, keyspace: Option<&str>, catalog: &dyn Catalog, topology: &Topology) -> Result<Plan> {
    match change {
        SchemaChange::CreateKeyspace {
            name,
            if_not_exists,
            properties,
        } => keyspaces::create(name, *if_not_exists, properties, catalog, topology),
        SchemaChange::AlterKeyspace {
            name,
            if_exists,
            properties,
        } => keyspaces::alter(name, *if_exists, properties, catalog, topology),
        SchemaChange::DropKeyspace { name, if_exists } => {
            not_system(name)?;
            match catalog.keyspace(name) {
                Some(_) => Ok(Plan::of(Action::DropKeyspace(name.clone()), *if_exists)),
                None if *if_exists => Ok(Plan::nothing()),
                None => Err(Error::invalid(format!("Keyspace '{name}' doesn't exist"))),
            }
        }
        SchemaChange::CreateTable(create) => tables::create(create, keyspace, catalog),
        SchemaChange::AlterTable {
            table,
            if_exists,
            change,
        } => tables::alter(table, *if_exists, change, keyspace, catalog),
        SchemaChange::DropTable { table, if_exists } => tables::drop(table, *if_exists, keyspace, catalog),
        SchemaChange::CreateType {
            name,
            if_not_exists,
            fields,
        } => types::create(name, *if_not_exists, fields, keyspace, catalog),
        SchemaChange::AlterType {
            name,
            if_exists,
            change,
        } => types::alter(name, *if_exists, change, keyspace, catalog),
        SchemaChange::DropType { name, if_exists } => types::drop(name, *if_exists, keyspace, catalog),
    }
}

fn must_have_keyspace(keyspace: &str, catalog: &dyn Catalog) -> Result<()> {
    match catalog.keyspace(keyspace) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!("Keyspace '{keyspace}' doesn't exist"))),
    }
}
