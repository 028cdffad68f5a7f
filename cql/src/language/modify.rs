//! `INSERT`, `UPDATE`, `DELETE`: what they write, and on which condition.
//!
//! 1. [`check`] knows the columns, the rows and what is done to each.
//! 2. [`Modification::bind`] evaluates keys, timestamp and TTL for one execution.
//! 3. [`Write::put`] adds what one partition gets to a [`MutationBuilder`]; statements of a batch add to the same one. Some need
//!    the row as it is ([`Modification::needs_read`]): whoever executes them holds the partition from the read to the write.

use super::columns::{self, ColumnRef, Place};
use super::condition::{self, Conditions};
use super::error::{Error, Result};
use super::expr::{Checker, Expr, Receiver, elements_of, fields_of};
use super::restrict::{self, Clustering, Partitions, Purpose, key_error};
use super::rows::field_of;
use super::selection::term_text;
use super::syntax::ast::{self, ModifyKind, Operation, Operator, Relation};
use super::time;
use super::types::text_of;
use super::values::{Evaluated, Execution};
use model::{ColumnId, CqlType, Deletion, Expiry, MutationBuilder, RowBuilder, RowRef, Schema, Slice, TTL_MAX};
use std::borrow::Cow;
use std::sync::Arc;

/// What is done to a column.
#[derive(Clone, PartialEq, Debug)]
enum Op {
    /// One value; of a collection that is not frozen all elements.
    Set(Expr),
    /// Elements of a collection are added.
    Add(Expr),
    /// Elements of a list are put before all others.
    Prepend(Expr),
    /// Elements are removed: of a map by their keys.
    Subtract(Expr),
    /// The element of a map of this key, or of a list at this index.
    SetElement(Expr, Expr),
    /// A field of a user-defined type.
    SetField(usize, Expr),
    /// All of it goes.
    Delete,
    /// The element of this key, or at this index, goes.
    DeleteElement(Expr),
    /// A field goes.
    DeleteField(usize),
}

#[derive(Clone, PartialEq, Debug)]
struct ColumnOp {
    column: ColumnRef,
    op: Op,
}

/// A checked modification.
#[derive(Clone, PartialEq, Debug)]
pub struct Modification {
    /// The table.
    pub table: Arc<Schema>,
    /// Which statement it is.
    pub kind: ModifyKind,
    /// Which partitions.
    pub partitions: Partitions,
    clustering: Clustering,
    operations: Vec<ColumnOp>,
    /// On which conditions it is applied.
    pub conditions: Conditions,
    timestamp: Option<Expr>,
    ttl: Option<Expr>,
    /// `USING TIMEOUT`
    pub timeout: Option<Expr>,
    statics_only: bool,
}

/// Checks a modification.
///
/// # Errors
/// [`Error::Invalid`], with Cassandra's words where it has some.
pub fn check(modify: &ast::Modify, table: Arc<Schema>, checker: &mut Checker<'_>) -> Result<Modification> {
    if modify.json {
        return Err(Error::invalid("INSERT … JSON is not supported"));
    }
    let (name, purpose) = match modify.kind {
        ModifyKind::Insert => ("INSERT", Purpose::Modify("INSERT")),
        ModifyKind::Update => ("UPDATE", Purpose::Modify("UPDATE")),
        ModifyKind::Delete => ("DELETE", Purpose::Modify("DELETE")),
    };
    // Markers are counted as they are written: USING of an UPDATE comes before its values, but only their names depend on it.
    let mut relations: Cow<'_, [Relation]> = Cow::Borrowed(&modify.relations);
    let mut operations = Vec::new();
    if modify.kind == ModifyKind::Insert {
        if modify
            .relations
            .iter()
            .any(|of| matches!(of, Relation::Unsupported(_, "VALUES")))
        {
            return Err(Error::invalid("Unmatched column names/values"));
        }
        let mut of_key = Vec::new();
        for (at, operation) in modify.operations.iter().enumerate() {
            let column = columns::find(&table, operation.column())?;
            if modify.operations[..at]
                .iter()
                .any(|before| before.column() == column.name)
            {
                return Err(Error::invalid("The column names contains duplicates"));
            }
            match operation {
                Operation::Set(_, term) if column.place.is_key() => {
                    of_key.push(Relation::Compare(column.name, Operator::Eq, term.clone()));
                }
                operation => operations.push(column_op(operation, column, checker)?),
            }
        }
        relations = Cow::Owned(of_key);
    } else {
        for operation in &modify.operations {
            let column = columns::find(&table, operation.column())?;
            if column.place.is_key() {
                return Err(Error::invalid(match modify.kind {
                    ModifyKind::Delete => {
                        format!(
                            "Invalid identifier {} for deletion (should not be a PRIMARY KEY part)",
                            column.name
                        )
                    }
                    _ => format!("PRIMARY KEY part {} found in SET part", column.name),
                }));
            }
            let whole = |op: &Op| matches!(op, Op::Set(_) | Op::Delete);
            let op = column_op(operation, column, checker)?;
            let mut others = operations
                .iter()
                .filter(|other: &&ColumnOp| other.column.name == op.column.name);
            if others.any(|other| whole(&other.op) || whole(&op.op)) {
                return Err(Error::invalid(format!(
                    "Multiple incompatible setting of column {}",
                    op.column.name
                )));
            }
            operations.push(op);
        }
    }
    let restrictions = restrict::check(&relations, &table, checker, purpose)?;
    let conditions = condition::check(&modify.conditions, &table, checker)?;
    let is_static = |op: &ColumnOp| matches!(op.column.place, Place::Static(_));
    let has_regular = !operations.iter().all(is_static);
    let statics_only =
        !operations.is_empty() && !has_regular && restrictions.clustering.is_empty() && !table.clustering.is_empty();
    let modification = Modification {
        kind: modify.kind,
        partitions: restrictions.partitions,
        clustering: restrictions.clustering,
        operations,
        timestamp: using(modify.timestamp.as_ref(), "[timestamp]", &CqlType::BigInt, checker)?,
        ttl: using(modify.ttl.as_ref(), "[ttl]", &CqlType::Int, checker)?,
        timeout: using(modify.timeout.as_ref(), "[timeout]", &CqlType::Duration, checker)?,
        conditions,
        statics_only,
        table,
    };
    modification.check_rows(name, has_regular)?;
    modification.check_conditions()?;
    Ok(modification)
}

fn using(term: Option<&ast::Term>, name: &str, ty: &CqlType, checker: &mut Checker<'_>) -> Result<Option<Expr>> {
    term.map(|term| checker.term(term, &Receiver::new(name, ty)))
        .transpose()
}

fn column_op(operation: &Operation, column: ColumnRef, checker: &mut Checker<'_>) -> Result<ColumnOp> {
    let ty = column.ty.clone();
    let name = column.name.clone();
    let receiver = Receiver::new(name.as_str(), &ty);
    let no_collection = |shown: String| {
        Error::invalid(match ty.is_collection() {
            true => format!("Invalid operation ({name} = {shown}) for frozen collection column {name}"),
            false => format!("Invalid operation ({name} = {shown}) for non counter column {name}"),
        })
    };
    let op = match operation {
        Operation::Set(_, term) => Op::Set(checker.term(term, &receiver)?),
        Operation::Add(_, term) => match &ty {
            CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) => Op::Add(checker.term(term, &receiver)?),
            _ => return Err(no_collection(format!("{name} + {}", term_text(term)))),
        },
        Operation::Prepend(_, term) => match &ty {
            CqlType::List(_) => Op::Prepend(checker.term(term, &receiver)?),
            _ => return Err(no_collection(format!("{} + {name}", term_text(term)))),
        },
        Operation::Subtract(_, term) => {
            let of = match &ty {
                CqlType::List(_) | CqlType::Set(_) => ty.clone(),
                // A map loses entries by their keys.
                CqlType::Map(key, _) => CqlType::Set(key.clone()),
                _ => return Err(no_collection(format!("{name} - {}", term_text(term)))),
            };
            Op::Subtract(checker.term(term, &Receiver::new(name.as_str(), &of))?)
        }
        Operation::SetElement(_, key, value) => {
            let wrong = |kind: &str| {
                let (key, value) = (term_text(key), term_text(value));
                format!("Invalid operation ({name}[{key}] = {value}) for {kind} column {name}")
            };
            let (key_type, key_name, of) = element(&name, &ty, wrong)?;
            let key = checker.term(key, &Receiver::new(key_name, &key_type))?;
            let value = checker.term(value, &Receiver::new(format!("value({name})"), &of))?;
            Op::SetElement(key, value)
        }
        Operation::DeleteElement(_, key) => {
            let (key_type, key_name) = match &ty {
                CqlType::Set(of) => ((**of).clone(), format!("value({name})")),
                _ => {
                    let wrong = |kind: &str| format!("Invalid deletion operation for {kind} column {name}");
                    let (key, key_name, _) = element(&name, &ty, wrong)?;
                    (key, key_name)
                }
            };
            Op::DeleteElement(checker.term(key, &Receiver::new(key_name, &key_type))?)
        }
        Operation::SetField(_, field, term) => {
            let wrong = |kind: &str| {
                let value = term_text(term);
                format!("Invalid operation ({name}.{field} = {value}) for {kind} column {name}")
            };
            let (at, of) = field_at(&name, &ty, field, wrong)?;
            Op::SetField(at, checker.term(term, &Receiver::new(format!("{name}.{field}"), &of))?)
        }
        Operation::DeleteField(_, field) => {
            let wrong = |kind: &str| match kind {
                "non-UDT" => format!("Invalid field deletion operation for non-UDT column {name}"),
                _ => format!("Frozen UDT column {name} does not support field deletions"),
            };
            Op::DeleteField(field_at(&name, &ty, field, wrong)?.0)
        }
        Operation::Delete(_) => Op::Delete,
    };
    Ok(ColumnOp { column, op })
}

/// What an element of a map or a list is named by, what that is called, and the element's type.
fn element(name: &str, ty: &CqlType, wrong: impl Fn(&str) -> String) -> Result<(CqlType, String, CqlType)> {
    let kind = match ty {
        CqlType::List(of) => return Ok((CqlType::Int, format!("idx({name})"), (**of).clone())),
        CqlType::Map(key, of) => return Ok(((**key).clone(), format!("key({name})"), (**of).clone())),
        CqlType::Set(_) => "set",
        CqlType::Frozen(of) if of.is_collection() => "frozen collection",
        _ => "non collection",
    };
    Err(Error::invalid(wrong(kind)))
}

/// The place and type of a field of a user-defined type that is not frozen.
pub(super) fn field_at(
    name: &str,
    ty: &CqlType,
    field: &str,
    wrong: impl Fn(&str) -> String,
) -> Result<(usize, CqlType)> {
    let CqlType::Udt(of) = ty else {
        return Err(Error::invalid(match ty.unfrozen() {
            CqlType::Udt(_) => wrong("frozen UDT"),
            _ => wrong("non-UDT"),
        }));
    };
    let at = of.fields.iter().position(|of| of.name == field);
    let at = at.ok_or_else(|| {
        let ty = text_of(ty);
        Error::invalid(format!("UDT column {name} does not have a field named {field} ({ty})"))
    })?;
    Ok((at, of.fields[at].ty.clone()))
}

impl Modification {
    fn check_rows(&self, name: &str, has_regular: bool) -> Result<()> {
        let table = &self.table;
        let missing = |from: usize| {
            let names: Vec<&str> = table.clustering[from..]
                .iter()
                .map(|of| of.column.name.as_str())
                .collect();
            Error::invalid(format!("Some clustering keys are missing: {}", names.join(", ")))
        };
        let equal = self.clustering.equal_columns();
        match self.kind {
            ModifyKind::Insert | ModifyKind::Update => {
                if self.clustering.is_full(table) {
                    let only_statics = self.kind == ModifyKind::Update
                        && !has_regular
                        && !self.operations.is_empty()
                        && !table.clustering.is_empty()
                        && !self.conditions.has_regular();
                    if only_statics {
                        return Err(Error::invalid(format!(
                            "Invalid restrictions on clustering columns since the {name} statement modifies only static columns"
                        )));
                    }
                    return Ok(());
                }
                if !self.clustering.is_empty() && equal < table.clustering.len() && !self.clustering.single_or_in() {
                    return Err(Error::invalid(format!(
                        "Slice restrictions are not supported on the clustering columns in {name} statements"
                    )));
                }
                match self.statics_only {
                    true => Ok(()),
                    false => Err(missing(equal)),
                }
            }
            ModifyKind::Delete => {
                let full = self.clustering.is_full(table);
                if self.operations.is_empty() {
                    return match !full && !self.conditions.is_none() {
                        true => Err(Error::invalid(
                            "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to delete non static columns",
                        )),
                        false => Ok(()),
                    };
                }
                if !has_regular && !self.clustering.is_empty() && !self.conditions.has_regular() {
                    return Err(Error::invalid(
                        "Invalid restrictions on clustering columns since the DELETE statement modifies only static columns",
                    ));
                }
                if full || self.statics_only {
                    return Ok(());
                }
                match self.clustering.is_empty() {
                    true => Err(missing(equal)),
                    false => Err(Error::invalid("Range deletions are not supported for specific columns")),
                }
            }
        }
    }

    fn check_conditions(&self) -> Result<()> {
        if self.conditions.is_none() {
            return Ok(());
        }
        if self.timestamp.is_some() {
            return Err(Error::invalid(
                "Cannot provide custom timestamp for conditional updates",
            ));
        }
        if self.partitions.is_in() {
            return Err(Error::invalid(
                "IN on the partition key is not supported with conditional updates",
            ));
        }
        if self.clustering.single_columns() < self.clustering.equal_columns() {
            return Err(Error::invalid(
                "IN on the clustering key columns is not supported with conditional updates",
            ));
        }
        if self.clustering.is_empty() && !self.table.clustering.is_empty() && self.conditions.has_regular() {
            let names: Vec<&str> = self.table.clustering.iter().map(|of| of.column.name.as_str()).collect();
            return Err(Error::invalid(format!(
                "Some clustering keys are missing: {}",
                names.join(", ")
            )));
        }
        Ok(())
    }

    /// Whether what it writes depends on what is there, or whether it is applied does.
    #[must_use]
    pub fn needs_read(&self) -> bool {
        let reads = |of: &ColumnOp| {
            matches!(of.column.ty, CqlType::List(_))
                && matches!(of.op, Op::SetElement(..) | Op::DeleteElement(_) | Op::Subtract(_))
        };
        !self.conditions.is_none() || self.operations.iter().any(reads)
    }

    /// Whether it has a timestamp of its own.
    #[must_use]
    pub fn has_timestamp(&self) -> bool {
        self.timestamp.is_some()
    }

    /// Evaluates what does not depend on the partition.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a value that is not of its type, null or unset in the key, a timestamp or TTL out of bounds.
    pub fn bind<'a>(&'a self, execution: Execution<'a>) -> Result<Write<'a>> {
        let keys = self.partitions.keys(&self.table, &execution)?;
        let keys = keys.expect("a modification names its partitions");
        let target = if self.statics_only {
            Target::Statics
        } else if self.clustering.is_full(&self.table) {
            Target::Rows(self.clustering.rows(&execution)?)
        } else if self.clustering.is_empty() {
            Target::Partition
        } else {
            Target::Slices(self.clustering.slices(&self.table, &execution)?)
        };
        let timestamp = match &self.timestamp {
            None => None,
            Some(expr) => timestamp_of(expr, &execution)?,
        };
        let ttl = match &self.ttl {
            None => None,
            Some(expr) => ttl_of(expr, &execution)?,
        };
        let expiry = match self.kind {
            ModifyKind::Delete => Expiry::NEVER,
            _ => self.table.options.expiry(ttl, execution.now_s()).map_err(|_| {
                Error::invalid(
                    "Request on table with a TTL exceeds the maximum supported expiration date of 2106-02-07T06:28:13+00:00. In order \
                     to avoid this use a lower TTL",
                )
            })?,
        };
        Ok(Write {
            modification: self,
            execution,
            keys,
            target,
            expiry,
            timestamp,
        })
    }
}

/// A `USING TIMESTAMP`, microseconds; `None` if it is not set.
///
/// # Errors
/// [`Error::Invalid`]: it is null, or the smallest number.
pub fn timestamp_of(expr: &Expr, execution: &Execution<'_>) -> Result<Option<i64>> {
    match expr.evaluate(execution)? {
        Evaluated::Unset => Ok(None),
        Evaluated::Null => Err(Error::invalid("Invalid null value of timestamp")),
        Evaluated::Value(value) => match <[u8; 8]>::try_from(&*value).map(i64::from_be_bytes) {
            Ok(i64::MIN) => Err(Error::invalid(format!(
                "{} is no timestamp: the smallest is one more",
                i64::MIN
            ))),
            Ok(timestamp) => Ok(Some(timestamp)),
            Err(_) => Err(Error::invalid("Invalid timestamp value")),
        },
    }
}

/// A `USING TTL`; `None` if it is not set.
fn ttl_of(expr: &Expr, execution: &Execution<'_>) -> Result<Option<i32>> {
    let value = match expr.evaluate(execution)? {
        Evaluated::Unset => return Ok(None),
        Evaluated::Null => return Ok(Some(0)),
        Evaluated::Value(value) if value.is_empty() => return Ok(Some(0)),
        Evaluated::Value(value) => value,
    };
    let ttl = <[u8; 4]>::try_from(&*value).map(i32::from_be_bytes);
    let ttl = ttl.map_err(|_| Error::invalid("Invalid TTL value"))?;
    if ttl < 0 {
        return Err(Error::invalid(format!(
            "A TTL must be greater or equal to 0, but was {ttl}"
        )));
    }
    if ttl.unsigned_abs() > TTL_MAX {
        return Err(Error::invalid(format!(
            "ttl is too large. requested ({ttl}) maximum ({TTL_MAX})"
        )));
    }
    Ok(Some(ttl))
}

/// Which rows of a partition are written.
#[derive(Clone, Debug)]
enum Target<'a> {
    /// These: the values of their clustering columns.
    Rows(Vec<Vec<Cow<'a, [u8]>>>),
    /// All within these positions are deleted.
    Slices(Vec<Slice>),
    /// The static row alone.
    Statics,
    /// The whole partition is deleted.
    Partition,
}

/// One execution of a modification.
#[derive(Debug)]
pub struct Write<'a> {
    modification: &'a Modification,
    execution: Execution<'a>,
    keys: Vec<Vec<u8>>,
    target: Target<'a>,
    expiry: Expiry,
    /// `USING TIMESTAMP`, microseconds.
    pub timestamp: Option<i64>,
}

/// The rows as they are, for what depends on them.
pub trait Present {
    /// The live cells at a clustering key.
    fn row(&self, clustering: &[u8]) -> Option<RowRef<'_>>;
    /// The live cells of the static row.
    fn statics(&self) -> Option<RowRef<'_>>;
}

/// Nothing is there, or nobody asks.
#[derive(Debug)]
pub struct Unread;

impl Present for Unread {
    fn row(&self, _: &[u8]) -> Option<RowRef<'_>> {
        None
    }

    fn statics(&self) -> Option<RowRef<'_>> {
        None
    }
}

impl<'a> Write<'a> {
    /// The statement.
    #[must_use]
    pub fn modification(&self) -> &'a Modification {
        self.modification
    }

    /// The keys of the partitions written to.
    #[must_use]
    pub fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// The clustering keys of the rows that it names; empty if it names none one by one.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a value that cannot be of a key.
    pub fn rows(&self) -> Result<Vec<Vec<u8>>> {
        let Target::Rows(rows) = &self.target else {
            return Ok(Vec::new());
        };
        let table = &self.modification.table;
        let key = |row: &Vec<Cow<'_, [u8]>>| {
            let values: Vec<&[u8]> = row.iter().map(|value| &**value).collect();
            table.encode_clustering(&values).map_err(key_error)
        };
        rows.iter().map(key).collect()
    }

    /// Whether the conditions hold of a row; `row` is `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a condition with a value that it cannot have.
    pub fn applies(&self, row: Option<RowRef<'_>>, statics: Option<RowRef<'_>>) -> Result<bool> {
        self.modification.conditions.hold(row, statics, &self.execution)
    }

    /// Adds what the partition of `builder` gets, at `timestamp` (microseconds since the Unix epoch).
    ///
    /// # Errors
    /// [`Error::Invalid`]: a value that is not of its type, an element that is not there.
    pub fn put(
        &self,
        builder: &mut MutationBuilder,
        row: &mut RowBuilder,
        timestamp: i64,
        present: &dyn Present,
    ) -> Result<()> {
        let modification = self.modification;
        let table = &modification.table;
        let deletion = Deletion::new(timestamp, self.execution.now_s());
        match &self.target {
            Target::Partition => {
                builder.delete_partition(deletion);
                return Ok(());
            }
            Target::Slices(slices) => {
                for slice in slices {
                    builder.delete_range(&slice.start, &slice.end, deletion);
                }
                return Ok(());
            }
            Target::Statics | Target::Rows(_) => {}
        }
        let is_static = |op: &&ColumnOp| matches!(op.column.place, Place::Static(_));
        if modification.operations.iter().any(|op| is_static(&op)) {
            row.clear();
            for op in modification.operations.iter().filter(is_static) {
                self.apply(op, row, timestamp, present.statics())?;
            }
            if !row.is_empty() {
                builder.static_row(row.finish());
            }
        }
        let Target::Rows(rows) = &self.target else {
            return Ok(());
        };
        for values in rows {
            let values: Vec<&[u8]> = values.iter().map(|value| &**value).collect();
            let clustering = table.encode_clustering(&values).map_err(key_error)?;
            row.clear();
            match modification.kind {
                ModifyKind::Insert => {
                    row.liveness_ttl(timestamp, self.expiry.ttl, self.expiry.expires_at);
                }
                ModifyKind::Delete if modification.operations.is_empty() => {
                    row.deletion(deletion);
                }
                _ => {}
            }
            let mut of_row = modification.operations.iter().filter(|op| !is_static(op)).peekable();
            let present = of_row.peek().and_then(|_| present.row(&clustering));
            for op in of_row {
                self.apply(op, row, timestamp, present)?;
            }
            if row.is_empty() {
                continue;
            }
            if modification.kind != ModifyKind::Delete {
                row.key_forms(timestamp, &table.key_forms(&values)?);
            }
            builder.row(&clustering, row.finish());
        }
        Ok(())
    }

    /// Does to a column what is to be done.
    fn apply(&self, of: &'a ColumnOp, row: &mut RowBuilder, timestamp: i64, present: Option<RowRef<'_>>) -> Result<()> {
        let (Place::Static(id) | Place::Regular(id)) = of.column.place else {
            unreachable!("columns of the key are not written");
        };
        let ty = &of.column.ty;
        let now_s = self.execution.now_s();
        let Expiry { ttl, expires_at } = self.expiry;
        let before = Deletion {
            timestamp: timestamp.saturating_sub(1).max(i64::MIN + 1),
            local_deletion_time: now_s,
        };
        let evaluate = |expr: &'a Expr| expr.evaluate(&self.execution);
        match &of.op {
            Op::Set(expr) if ty.is_multi_cell() => {
                let value = match evaluate(expr)? {
                    Evaluated::Unset => return Ok(()),
                    Evaluated::Null => None,
                    Evaluated::Value(value) => Some(value),
                };
                row.complex_deletion(id, before);
                if let Some(value) = value {
                    self.add(row, id, ty, &value, timestamp)?;
                }
            }
            Op::Set(expr) => match evaluate(expr)? {
                Evaluated::Unset => {}
                Evaluated::Null => {
                    row.tombstone(id, timestamp, now_s);
                }
                Evaluated::Value(value) => {
                    row.cell_ttl(id, timestamp, &value, ttl, expires_at);
                }
            },
            Op::Add(expr) => {
                if let Evaluated::Value(value) = evaluate(expr)? {
                    self.add(row, id, ty, &value, timestamp)?;
                }
            }
            Op::Prepend(expr) => {
                if let Evaluated::Value(value) = evaluate(expr)? {
                    let elements: Vec<&[u8]> = elements_of(&value).collect();
                    // The last is placed first: each one lies before all that were placed earlier.
                    for element in elements.into_iter().rev() {
                        let path = list_path(mirrored(self.execution.environment.time_uuid()))?;
                        row.element_ttl(id, &path, timestamp, element, ttl, expires_at);
                    }
                }
            }
            Op::Subtract(expr) => {
                let Evaluated::Value(value) = evaluate(expr)? else {
                    return Ok(());
                };
                match ty {
                    CqlType::List(of) => {
                        for cell in live_cells(present, id) {
                            let gone = elements_of(&value).any(|value| of.compare(value, cell.1).is_eq());
                            if gone {
                                row.element_tombstone(id, cell.0, timestamp, now_s);
                            }
                        }
                    }
                    CqlType::Set(of) | CqlType::Map(of, _) => {
                        for element in elements_of(&value) {
                            row.element_tombstone(id, &path_of(of, element)?, timestamp, now_s);
                        }
                    }
                    _ => unreachable!("checked to be a collection"),
                }
            }
            Op::SetElement(key, value) => {
                let path = match self.element_path(key, ty, id, present, "set an element on")? {
                    Some(path) => path,
                    None => return Ok(()),
                };
                match evaluate(value)? {
                    Evaluated::Unset => {}
                    Evaluated::Null => {
                        row.element_tombstone(id, &path, timestamp, now_s);
                    }
                    Evaluated::Value(value) => {
                        row.element_ttl(id, &path, timestamp, &value, ttl, expires_at);
                    }
                }
            }
            Op::DeleteElement(key) => {
                if let Some(path) = self.element_path(key, ty, id, present, "delete an element from")? {
                    row.element_tombstone(id, &path, timestamp, now_s);
                }
            }
            Op::SetField(at, expr) => {
                let path = field_path(*at)?;
                match evaluate(expr)? {
                    Evaluated::Unset => {}
                    Evaluated::Null => {
                        row.element_tombstone(id, &path, timestamp, now_s);
                    }
                    Evaluated::Value(value) => {
                        row.element_ttl(id, &path, timestamp, &value, ttl, expires_at);
                    }
                }
            }
            Op::DeleteField(at) => {
                row.element_tombstone(id, &field_path(*at)?, timestamp, now_s);
            }
            Op::Delete if ty.is_multi_cell() => {
                row.complex_deletion(id, Deletion::new(timestamp, now_s));
            }
            Op::Delete => {
                row.tombstone(id, timestamp, now_s);
            }
        }
        Ok(())
    }

    /// Adds the elements of a whole value.
    fn add(&self, row: &mut RowBuilder, id: ColumnId, ty: &CqlType, value: &[u8], timestamp: i64) -> Result<()> {
        let Expiry { ttl, expires_at } = self.expiry;
        let mut put = |path: &[u8], value: &[u8]| {
            row.element_ttl(id, path, timestamp, value, ttl, expires_at);
        };
        match ty {
            CqlType::List(_) => {
                for element in elements_of(value) {
                    put(&list_path(self.execution.environment.time_uuid())?, element);
                }
            }
            CqlType::Set(of) => {
                for element in elements_of(value) {
                    put(&path_of(of, element)?, &[]);
                }
            }
            CqlType::Map(key, _) => {
                let mut elements = elements_of(value);
                while let (Some(k), Some(v)) = (elements.next(), elements.next()) {
                    put(&path_of(key, k)?, v);
                }
            }
            CqlType::Udt(_) => {
                for (at, field) in fields_of(value).enumerate() {
                    if let Some(field) = field {
                        put(&field_path(at)?, field);
                    }
                }
            }
            _ => unreachable!("only collections and user-defined types have several cells"),
        }
        Ok(())
    }

    /// The path of the element that a key or an index names; `None` if it is not set.
    fn element_path(
        &self,
        key: &'a Expr,
        ty: &CqlType,
        id: ColumnId,
        present: Option<RowRef<'_>>,
        verb: &str,
    ) -> Result<Option<Vec<u8>>> {
        let what = if matches!(ty, CqlType::List(_)) {
            "value for list index"
        } else {
            "map key"
        };
        let key = match key.evaluate(&self.execution)? {
            Evaluated::Value(value) => value,
            Evaluated::Unset => return Err(Error::invalid(format!("Invalid unset {what}"))),
            Evaluated::Null => return Err(Error::invalid(format!("Invalid null {what}"))),
        };
        match ty {
            CqlType::Map(of, _) | CqlType::Set(of) => path_of(of, &key).map(Some),
            CqlType::List(_) => {
                let cells = live_cells(present, id);
                let index = <[u8; 4]>::try_from(&*key).map(i32::from_be_bytes);
                let index = index.map_err(|_| Error::invalid("Invalid empty list index"))?;
                if cells.is_empty() {
                    return Err(Error::invalid(format!("Attempted to {verb} a list which is null")));
                }
                let cell = usize::try_from(index).ok().and_then(|index| cells.get(index));
                match cell {
                    Some((path, _)) => Ok(Some(path.to_vec())),
                    None => Err(Error::invalid(format!(
                        "List index {index} out of bound, list has size {}",
                        cells.len()
                    ))),
                }
            }
            _ => unreachable!("checked to be a collection"),
        }
    }
}

/// Paths and values of the live cells of a column.
fn live_cells(present: Option<RowRef<'_>>, id: ColumnId) -> Vec<(&[u8], &[u8])> {
    let row = present.unwrap_or(RowRef::EMPTY);
    let cells = row.cells().filter(|cell| cell.column == id);
    cells.filter_map(|cell| Some((cell.path?, cell.value()?))).collect()
}

fn path_of(of: &CqlType, element: &[u8]) -> Result<Vec<u8>> {
    let mut path = Vec::with_capacity(element.len() + 4);
    of.encode_path(element, &mut path)?;
    Ok(path)
}

fn list_path(uuid: [u8; 16]) -> Result<Vec<u8>> {
    path_of(&CqlType::TimeUuid, &uuid)
}

fn field_path(at: usize) -> Result<Vec<u8>> {
    let at = i16::try_from(at).expect("a type has at most 32,767 fields");
    let path = path_of(&CqlType::SmallInt, &at.to_be_bytes())?;
    debug_assert_eq!(field_of(&path), usize::try_from(at).ok());
    Ok(path)
}

/// 2010-01-01, milliseconds since the Unix epoch: what is prepended is placed as long before it as it is after it.
const PREPENDED_BEFORE_MS: i64 = 1_262_304_000_000;

fn mirrored(uuid: [u8; 16]) -> [u8; 16] {
    let ticks = time::ticks_of(&uuid).expect("the surroundings give version 1");
    let mut rest = [0; 8];
    rest.copy_from_slice(&uuid[8..]);
    time::time_uuid(2 * PREPENDED_BEFORE_MS * 10_000 - ticks, rest)
}
