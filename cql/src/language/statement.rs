//! A statement, checked against the definitions as they are.

use super::catalog::Catalog;
use super::error::{Error, Result};
use super::expr::{Checker, Expr, Marker, Receiver};
use super::modify::{self, Modification};
use super::restrict::{OneOf, Partitions};
use super::select::{self, Select};
use super::selection::ResultColumn;
use super::syntax;
use super::syntax::ast::{self, BatchKind, Describe, Name, SchemaChange};
use model::{CqlType, Schema};
use std::sync::Arc;

/// What a checked statement does.
#[derive(Clone, PartialEq, Debug)]
pub enum Statement {
    /// `SELECT`
    Select(Select),
    /// `INSERT`, `UPDATE`, `DELETE`
    Modify(Modification),
    /// `BEGIN … APPLY BATCH`
    Batch(Batch),
    /// `USE`
    Use(String),
    /// `TRUNCATE`
    Truncate(Arc<Schema>),
    /// A change of definitions, which is checked when it is executed: see [`ddl`](super::ddl).
    Schema(SchemaChange),
    /// `DESCRIBE`
    Describe(Describe),
}

/// Several modifications that are one statement.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// Its kind.
    pub kind: BatchKind,
    /// In order.
    pub statements: Vec<Modification>,
    /// `USING TIMESTAMP`
    pub timestamp: Option<Expr>,
}

impl Batch {
    /// Checks what concerns all statements together: those of a `BATCH` frame, too.
    ///
    /// # Errors
    /// [`Error::Invalid`], with Cassandra's words.
    pub fn check(&self) -> Result<()> {
        check_batch(self.kind, self.timestamp.is_some(), self.statements.iter())
    }
}

/// As [`Batch::check`], for statements that lie apart.
///
/// # Errors
/// As there.
pub fn check_batch<'m>(
    kind: BatchKind,
    has_timestamp: bool,
    statements: impl Iterator<Item = &'m Modification> + Clone,
) -> Result<()> {
    if kind == BatchKind::Counter && statements.clone().next().is_some() {
        return Err(Error::invalid(
            "Cannot include non-counter statement in a counter batch",
        ));
    }
    let conditional = statements.clone().any(|statement| !statement.conditions.is_none());
    if has_timestamp {
        if conditional {
            return Err(Error::invalid("Cannot provide custom timestamp for conditional BATCH"));
        }
        if statements.clone().any(Modification::has_timestamp) {
            return Err(Error::invalid(
                "Timestamp must be set either on BATCH or individual statements",
            ));
        }
    }
    if conditional {
        let mut tables = statements.clone().map(|statement| statement.table.id);
        let first = tables.next();
        if tables.any(|table| Some(table) != first) {
            return Err(Error::invalid("Batch with conditions cannot span multiple tables"));
        }
        if statements.clone().any(Modification::has_timestamp) {
            return Err(Error::invalid(
                "Cannot provide custom timestamp for conditional updates",
            ));
        }
    }
    Ok(())
}

/// A checked statement with its markers.
#[derive(Clone, PartialEq, Debug)]
pub struct Prepared {
    /// What it does.
    pub statement: Statement,
    /// What its markers take.
    pub markers: Vec<Marker>,
    /// Which marker is which column of the partition key; empty unless all of them are plain markers.
    pub key_markers: Vec<u16>,
}

impl Prepared {
    /// The table that its markers and its result are of.
    #[must_use]
    pub fn table(&self) -> Option<&Arc<Schema>> {
        match &self.statement {
            Statement::Select(select) => Some(&select.table),
            Statement::Modify(modify) => Some(&modify.table),
            Statement::Batch(batch) => batch.statements.first().map(|first| &first.table),
            Statement::Truncate(table) => Some(table),
            _ => None,
        }
    }

    /// All tables that it is about.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Schema>> {
        let of_batch = match &self.statement {
            Statement::Batch(batch) => batch.statements.as_slice(),
            _ => &[],
        };
        let one = match &self.statement {
            Statement::Batch(_) => None,
            _ => self.table(),
        };
        one.into_iter().chain(of_batch.iter().map(|statement| &statement.table))
    }

    /// The columns of its rows, if it has any whatever it finds.
    #[must_use]
    pub fn result(&self) -> Option<&[ResultColumn]> {
        match &self.statement {
            Statement::Select(select) => Some(&select.columns),
            _ => None,
        }
    }
}

/// The table of a name, in the keyspace that is in use.
///
/// # Errors
/// [`Error::Invalid`]: there is none, or no keyspace is in use.
pub fn table(name: &Name, keyspace: Option<&str>, catalog: &dyn Catalog) -> Result<Arc<Schema>> {
    let keyspace = keyspace_of(name, keyspace)?;
    if let Some(table) = catalog.table(keyspace, &name.name) {
        return Ok(table);
    }
    Err(Error::invalid(match catalog.keyspace(keyspace) {
        Some(_) => format!("table {} does not exist", name.name),
        None => format!("keyspace {keyspace} does not exist"),
    }))
}

/// The keyspace of a name.
///
/// # Errors
/// [`Error::Invalid`]: none is given, and none is in use.
pub fn keyspace_of<'n>(name: &'n Name, keyspace: Option<&'n str>) -> Result<&'n str> {
    let none =
        || Error::invalid("No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename");
    name.keyspace.as_deref().or(keyspace).ok_or_else(none)
}

/// Reads and checks a statement. `keyspace` is the one in use.
///
/// # Errors
/// [`Error::Syntax`], with its place; [`Error::Invalid`].
pub fn prepare(text: &str, keyspace: Option<&str>, catalog: &dyn Catalog) -> Result<Prepared> {
    let parsed = syntax::parse(text)?;
    let names = parsed.markers;
    let mut key_markers = Vec::new();
    let mut markers = Vec::new();
    let of_table = |name: &Name| -> Result<(Arc<Schema>, String)> {
        let table = table(name, keyspace, catalog)?;
        let of = table.keyspace.clone();
        Ok((table, of))
    };
    let statement = match parsed.statement {
        ast::Statement::Select(select) => {
            let (table, of) = of_table(&select.table)?;
            let mut checker = Checker::new(catalog, &of, &names);
            let select = select::check(&select, table, &mut checker)?;
            markers = all_markers(checker)?;
            key_markers = key_markers_of(&select.restrictions.partitions);
            Statement::Select(select)
        }
        ast::Statement::Modify(modify) => {
            let (table, of) = of_table(&modify.table)?;
            let mut checker = Checker::new(catalog, &of, &names);
            let modify = modify::check(&modify, table, &mut checker)?;
            markers = all_markers(checker)?;
            key_markers = key_markers_of(&modify.partitions);
            Statement::Modify(modify)
        }
        ast::Statement::Batch(batch) => {
            if batch.ttl.is_some() {
                return Err(Error::invalid("Global TTL on the BATCH statement is not supported."));
            }
            let mut statements = Vec::new();
            let mut found = vec![None; names.len()];
            let mut merge = |checker: Checker<'_>| {
                for (all, one) in found.iter_mut().zip(checker.markers) {
                    *all = one.or(all.take());
                }
            };
            for modify in &batch.statements {
                let (table, of) = of_table(&modify.table)?;
                let mut checker = Checker::new(catalog, &of, &names);
                statements.push(modify::check(modify, table, &mut checker)?);
                merge(checker);
            }
            let mut checker = Checker::new(catalog, keyspace.unwrap_or_default(), &names);
            let timestamp = match &batch.timestamp {
                Some(term) => Some(checker.term(term, &Receiver::new("[timestamp]", &CqlType::BigInt))?),
                None => None,
            };
            merge(checker);
            markers = whole(found)?;
            let batch = Batch {
                kind: batch.kind,
                statements,
                timestamp,
            };
            batch.check()?;
            // Whoever routes by the key can do so by the first statement's.
            if let Some(first) = batch.statements.first() {
                key_markers = key_markers_of(&first.partitions);
            }
            Statement::Batch(batch)
        }
        ast::Statement::Use(name) => Statement::Use(name),
        ast::Statement::Truncate(name) => Statement::Truncate(of_table(&name)?.0),
        ast::Statement::Schema(change) => Statement::Schema(*change),
        ast::Statement::Describe(describe) => Statement::Describe(describe),
        ast::Statement::Unsupported(what) => {
            return Err(Error::invalid(format!("{what} are not supported")));
        }
    };
    Ok(Prepared {
        statement,
        markers,
        key_markers,
    })
}

fn all_markers(checker: Checker<'_>) -> Result<Vec<Marker>> {
    whole(checker.markers)
}

fn whole(markers: Vec<Option<Marker>>) -> Result<Vec<Marker>> {
    let markers: Option<Vec<Marker>> = markers.into_iter().collect();
    markers.ok_or_else(|| Error::invalid("a bind marker stands where there can be none"))
}

fn key_markers_of(partitions: &Partitions) -> Vec<u16> {
    let Partitions::Keys(columns) = partitions else {
        return Vec::new();
    };
    let markers = columns.iter().map(|column| match column {
        OneOf::Eq(Expr::Marker(index, _)) => Some(*index),
        _ => None,
    });
    markers.collect::<Option<_>>().unwrap_or_default()
}
