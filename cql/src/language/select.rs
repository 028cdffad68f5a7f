//! `SELECT`: which rows, in which order, how many, and what of them.

use super::columns::{self, Place};
use super::error::{Error, Result};
use super::expr::{Checker, Expr, Receiver};
use super::filter::BoundFilter;
use super::restrict::{self, Partitions, Purpose, Restrictions, TokenRange};
use super::rows::RowView;
use super::selection::{self, ResultColumn, Selected};
use super::syntax::ast;
use super::values::{Evaluated, Execution};
use model::{CqlType, Schema, Slice};
use std::sync::Arc;

/// A checked `SELECT`.
#[derive(Clone, PartialEq, Debug)]
pub struct Select {
    /// The table.
    pub table: Arc<Schema>,
    /// The columns of the result.
    pub columns: Vec<ResultColumn>,
    /// `*`: it follows the table's changes.
    pub is_wildcard: bool,
    /// `DISTINCT`
    pub distinct: bool,
    /// `WHERE`
    pub restrictions: Restrictions,
    /// Against the clustering order.
    pub reversed: bool,
    /// Rows of several partitions are sorted together by `ORDER BY`.
    pub orders: bool,
    /// `USING TIMEOUT`
    pub timeout: Option<Expr>,
    limit: Option<Expr>,
    per_partition_limit: Option<Expr>,
}

/// Checks a `SELECT`.
///
/// # Errors
/// [`Error::Invalid`], with Cassandra's words where it has some.
pub fn check(select: &ast::Select, table: Arc<Schema>, checker: &mut Checker<'_>) -> Result<Select> {
    if select.json {
        return Err(Error::invalid("SELECT JSON is not supported"));
    }
    if select.group_by {
        return Err(Error::invalid("GROUP BY is not supported"));
    }
    let columns = selection::check(&select.selectors, &table, checker)?;
    let purpose = Purpose::Select {
        allow_filtering: select.allow_filtering,
    };
    let restrictions = restrict::check(&select.relations, &table, checker, purpose)?;
    check_statics(&columns, &restrictions)?;
    let is_aggregate = columns.iter().any(ResultColumn::is_aggregate);
    if select.distinct {
        check_distinct(select, &table, &columns, &restrictions)?;
    }
    if select.per_partition_limit.is_some() {
        if select.distinct {
            return Err(Error::invalid(
                "PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries",
            ));
        }
        if is_aggregate {
            return Err(Error::invalid(
                "PER PARTITION LIMIT is not allowed with aggregate queries.",
            ));
        }
    }
    let reversed = order(select, &table, &restrictions)?;
    let mut int = |term: &Option<ast::Term>, name: &str, ty: &CqlType| {
        term.as_ref()
            .map(|term| checker.term(term, &Receiver::new(name, ty)))
            .transpose()
    };
    Ok(Select {
        columns,
        is_wildcard: select.selectors.is_empty(),
        distinct: select.distinct,
        orders: !select.order.is_empty() && restrictions.partitions.is_in(),
        restrictions,
        reversed,
        per_partition_limit: int(&select.per_partition_limit, "[per_partition_limit]", &CqlType::Int)?,
        limit: int(&select.limit, "[limit]", &CqlType::Int)?,
        timeout: int(&select.timeout, "[timeout]", &CqlType::Duration)?,
        table,
    })
}

/// Static columns are one for all rows: whoever asks for them alone and for certain rows means something else.
fn check_statics(columns: &[ResultColumn], restrictions: &Restrictions) -> Result<()> {
    let mut selected = Vec::new();
    for column in columns {
        places(&column.selected, &mut selected);
    }
    let has_static = selected.iter().any(|(place, _)| matches!(place, Place::Static(_)));
    let is_of_partition = |place: Place| matches!(place, Place::Partition(_) | Place::Static(_));
    let clustering = !restrictions.clustering.is_empty()
        || restrictions
            .filters
            .iter()
            .any(|filter| matches!(filter.column.place, Place::Clustering(_)));
    if has_static && clustering && selected.iter().all(|(place, _)| is_of_partition(*place)) {
        return Err(Error::invalid(
            "Cannot restrict clustering columns when selecting only static columns",
        ));
    }
    Ok(())
}

fn check_distinct(
    select: &ast::Select,
    table: &Schema,
    columns: &[ResultColumn],
    restrictions: &Restrictions,
) -> Result<()> {
    let is_of_partition = |place: Place| matches!(place, Place::Partition(_) | Place::Static(_));
    let filters = restrictions
        .filters
        .iter()
        .all(|filter| is_of_partition(filter.column.place));
    if !restrictions.clustering.is_empty() || !filters {
        return Err(Error::invalid(
            "SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or static columns.",
        ));
    }
    let mut selected = Vec::new();
    for column in columns {
        places(&column.selected, &mut selected);
    }
    if select.selectors.is_empty() || selected.iter().any(|(place, _)| !is_of_partition(*place)) {
        let name = selected
            .iter()
            .find(|(place, _)| !is_of_partition(*place))
            .map_or("*", |(_, name)| name);
        return Err(Error::invalid(format!(
            "SELECT DISTINCT queries must only request partition key columns and/or static columns (not {name})"
        )));
    }
    for (at, column) in table.partition_key.iter().enumerate() {
        let is_there = selected.iter().any(|(place, _)| *place == Place::Partition(at));
        // Where the partitions are named, nothing has to be grouped.
        if !is_there && matches!(restrictions.partitions, Partitions::All) {
            return Err(Error::invalid(format!(
                "SELECT DISTINCT queries must request all the partition key columns (missing {})",
                column.name
            )));
        }
    }
    Ok(())
}

fn places<'s>(selected: &'s Selected, out: &mut Vec<(Place, &'s str)>) {
    match selected {
        Selected::Column(column)
        | Selected::WriteTime(column)
        | Selected::MaxWriteTime(column)
        | Selected::Ttl(column) => out.push((column.place, &column.name)),
        Selected::Call(_, arguments) => arguments.iter().for_each(|argument| places(argument, out)),
        Selected::Field(of, _) | Selected::Element(of, ..) | Selected::Range(of, ..) | Selected::CountOf(of) => {
            places(of, out);
        }
        Selected::Term(_) | Selected::Count => {}
    }
}

/// Whether `ORDER BY` goes against the clustering order.
fn order(select: &ast::Select, table: &Schema, restrictions: &Restrictions) -> Result<bool> {
    if select.order.is_empty() {
        return Ok(false);
    }
    if matches!(restrictions.partitions, Partitions::All) {
        return Err(Error::invalid(
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.",
        ));
    }
    let mut next = 0;
    let mut reversed = None;
    let single = restrictions.clustering.single_columns();
    for (name, descending) in &select.order {
        let column = columns::find(table, name)?;
        let Place::Clustering(at) = column.place else {
            return Err(Error::invalid(format!(
                "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got {name}"
            )));
        };
        // Columns that are equal to one value may be left out.
        while next < at && next < single {
            next += 1;
        }
        if at != next {
            return Err(Error::invalid(
                "Order by currently only supports the ordering of columns following their declared order in the PRIMARY KEY",
            ));
        }
        next += 1;
        let is_reversed = *descending != table.clustering[at].descending;
        if *reversed.get_or_insert(is_reversed) != is_reversed {
            return Err(Error::invalid("Unsupported order by relation"));
        }
    }
    Ok(reversed.unwrap_or(false))
}

/// One execution of a `SELECT`.
#[derive(Debug)]
pub struct Query<'a> {
    /// The statement.
    pub select: &'a Select,
    /// Its execution.
    pub execution: Execution<'a>,
    /// The keys of the partitions, each once, in the order in which they are given; `None`: all partitions.
    pub keys: Option<Vec<Vec<u8>>>,
    /// Tokens of the partitions.
    pub tokens: TokenRange,
    /// Which rows of each partition, in clustering order.
    pub slices: Vec<Slice>,
    filters: Vec<BoundFilter<'a>>,
    /// How many rows at most.
    pub limit: Option<u32>,
    /// How many rows of each partition at most.
    pub per_partition_limit: Option<u32>,
}

impl Select {
    /// Whether the result is one row that all rows are counted for.
    #[must_use]
    pub fn is_aggregate(&self) -> bool {
        self.columns.iter().any(ResultColumn::is_aggregate)
    }

    /// Whether clustering columns are selected or looked at.
    #[must_use]
    pub fn shows_clustering(&self) -> bool {
        let is_clustering = |place: Place| matches!(place, Place::Clustering(_));
        let mut selected = Vec::new();
        for column in &self.columns {
            match &column.selected {
                // Nearly always; and without a list of them.
                Selected::Column(column) if is_clustering(column.place) => return true,
                Selected::Column(_) => {}
                other => places(other, &mut selected),
            }
        }
        selected.iter().any(|(place, _)| is_clustering(*place))
            || self
                .restrictions
                .filters
                .iter()
                .any(|filter| is_clustering(filter.column.place))
    }

    /// Whether a partition that has a static row and no other is given as one row: only where whole partitions are asked for.
    #[must_use]
    pub fn gives_statics_alone(&self) -> bool {
        let of_rows = |place: Place| matches!(place, Place::Clustering(_) | Place::Regular(_));
        self.restrictions.clustering.is_empty()
            && !self
                .restrictions
                .filters
                .iter()
                .any(|filter| of_rows(filter.column.place))
    }

    /// Evaluates what does not depend on rows.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a value that is not of its type, null where none may be, a limit below 1.
    pub fn bind<'a>(&'a self, execution: Execution<'a>) -> Result<Query<'a>> {
        let restrictions = &self.restrictions;
        let mut keys = restrictions.partitions.keys(&self.table, &execution)?;
        let mut tokens = TokenRange::ALL;
        if restrictions.token.is_some() {
            tokens = restrictions.token.range(&execution)?;
            if let Some(keys) = &mut keys {
                keys.retain(|key| tokens.contains(model::token_of(key)));
            }
        }
        let filters = restrictions.filters.iter().map(|filter| filter.bind(&execution));
        Ok(Query {
            filters: filters.collect::<Result<_>>()?,
            slices: restrictions.clustering.slices(&self.table, &execution)?,
            limit: limit(self.limit.as_ref(), "LIMIT", &execution)?,
            per_partition_limit: limit(self.per_partition_limit.as_ref(), "PER PARTITION LIMIT", &execution)?,
            select: self,
            execution,
            keys,
            tokens,
        })
    }
}

fn limit(expr: Option<&Expr>, name: &str, execution: &Execution<'_>) -> Result<Option<u32>> {
    let Some(expr) = expr else { return Ok(None) };
    match expr.evaluate(execution)? {
        Evaluated::Unset => Ok(None),
        Evaluated::Null => Err(Error::invalid(format!("Invalid null value of {}", name.to_lowercase()))),
        Evaluated::Value(value) => match <[u8; 4]>::try_from(&*value).map(i32::from_be_bytes) {
            Ok(limit) if limit > 0 => Ok(Some(limit.unsigned_abs())),
            Ok(_) => Err(Error::invalid(format!("{name} must be strictly positive"))),
            Err(_) => Err(Error::invalid(format!("Invalid {} value", name.to_lowercase()))),
        },
    }
}

impl Query<'_> {
    /// Whether all that is looked at row by row holds of a row.
    #[must_use]
    pub fn admits(&self, row: &RowView<'_>) -> bool {
        self.filters.iter().all(|filter| filter.admits(row))
    }
}
