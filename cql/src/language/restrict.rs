//! `WHERE`: which partitions, which rows of them, and what is looked at row by row.
//!
//! 1. Each relation is checked against its column ([`check`]), after `StatementRestrictions.java`.
//! 2. Equal columns of the clustering key from the first on make prefixes; the one behind them may have bounds. Both become
//!    [`Slice`]s of positions, sorted and apart ([`Clustering::slices`]).
//! 3. What is left is a [`Filter`], for which `ALLOW FILTERING` is asked.

use super::columns::{self, ColumnRef, Place};
use super::error::{Error, Result};
use super::expr::{Checker, Expr, Receiver, fields_of};
use super::filter::{Filter, Test};
use super::selection::term_text;
use super::syntax::ast::{InValues, Operator, Relation, Term};
use super::values::{Evaluated, Execution};
use model::{CqlType, Schema, Slice, Token};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Keys and rows that one statement may name by `IN`.
const COMBINATIONS_MAX: usize = 65_535;

/// What filtering is refused with.
pub const NEEDS_FILTERING: &str = "Cannot execute this query as it might involve data filtering and thus may have unpredictable \
     performance. If you want to execute this query despite the performance unpredictability, use ALLOW FILTERING";

/// The values that a column, or several, may equal.
#[derive(Clone, PartialEq, Debug)]
pub enum OneOf {
    /// One.
    Eq(Expr),
    /// Any of these.
    In(Vec<Expr>),
    /// Any of a list that a marker brings.
    InMarker(Expr),
}

impl OneOf {
    /// The values; none may be null.
    fn values<'a>(&'a self, execution: &Execution<'a>, name: &str) -> Result<Vec<Cow<'a, [u8]>>> {
        match self {
            OneOf::Eq(expr) => Ok(vec![not_null(expr, execution, name)?]),
            OneOf::In(exprs) => exprs.iter().map(|expr| not_null(expr, execution, name)).collect(),
            OneOf::InMarker(expr) => {
                let list = not_null(expr, execution, name)?;
                Ok(super::expr::elements_of(&list)
                    .map(|value| Cow::Owned(value.to_vec()))
                    .collect())
            }
        }
    }

    fn is_in(&self) -> bool {
        !matches!(self, OneOf::Eq(_))
    }
}

/// A value of a condition, which may be neither null nor unset.
pub(super) fn not_null<'a>(expr: &'a Expr, execution: &Execution<'a>, name: &str) -> Result<Cow<'a, [u8]>> {
    match expr.evaluate(execution)? {
        Evaluated::Value(value) => Ok(value),
        Evaluated::Null => Err(Error::invalid(format!(
            "Invalid null value in condition for column {name}"
        ))),
        Evaluated::Unset => Err(Error::invalid(format!("Invalid unset value for column {name}"))),
    }
}

/// Which partitions.
#[derive(Clone, PartialEq, Debug)]
pub enum Partitions {
    /// Those whose key's columns equal these, one for each.
    Keys(Vec<OneOf>),
    /// All.
    All,
}

/// Bounds of the token: each with whether it is itself within.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct TokenBounds {
    start: Option<(Expr, bool)>,
    end: Option<(Expr, bool)>,
}

/// Equal clustering columns, one or several together.
#[derive(Clone, PartialEq, Debug)]
struct Equal {
    /// How many columns.
    columns: usize,
    /// Their name, for messages.
    name: String,
    /// Bytes of the column's type, or of a tuple's if they are several.
    values: OneOf,
    is_tuple: bool,
}

/// A bound behind the equal columns.
#[derive(Clone, PartialEq, Debug)]
struct Bounds {
    name: String,
    is_tuple: bool,
    bounds: Vec<Bound>,
}

/// One bound: of all columns together, or of the first ones.
#[derive(Clone, PartialEq, Debug)]
struct Bound {
    operator: Operator,
    value: Expr,
    columns: usize,
}

/// Which rows of a partition.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Clustering {
    equal: Vec<Equal>,
    bounds: Option<Bounds>,
}

/// All of `WHERE`.
#[derive(Clone, PartialEq, Debug)]
pub struct Restrictions {
    /// Which partitions.
    pub partitions: Partitions,
    /// Bounds of their tokens.
    pub token: TokenBounds,
    /// Which rows.
    pub clustering: Clustering,
    /// What is looked at row by row.
    pub filters: Vec<Filter>,
    /// Whether `ALLOW FILTERING` is needed.
    pub needs_filtering: bool,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A `SELECT`; whether it has `ALLOW FILTERING`.
    Select {
        /// It has.
        allow_filtering: bool,
    },
    /// A modification: its name for messages.
    Modify(&'static str),
}

impl Purpose {
    fn filters(self) -> bool {
        matches!(self, Purpose::Select { allow_filtering: true })
    }
}

/// What is known of one column, or of several that are compared together.
enum Found {
    OneOf(OneOf),
    Bounds(Vec<Bound>),
}

impl Found {
    fn bound(operator: Operator, value: Expr, columns: usize) -> Found {
        Found::Bounds(vec![Bound {
            operator,
            value,
            columns,
        }])
    }
}

/// The relations of the columns of one key, by the position of their first column.
struct KeyFound {
    first: usize,
    columns: usize,
    name: String,
    is_tuple: bool,
    found: Found,
}

/// Checks `WHERE`.
///
/// # Errors
/// [`Error::Invalid`], with Cassandra's words where it has some.
pub fn check(
    relations: &[Relation],
    schema: &Schema,
    checker: &mut Checker<'_>,
    purpose: Purpose,
) -> Result<Restrictions> {
    let mut keys: Vec<KeyFound> = Vec::new();
    let mut clustering: Vec<KeyFound> = Vec::new();
    let mut token = TokenBounds::default();
    let mut has_token = false;
    let mut filters: Vec<Filter> = Vec::new();
    for relation in relations {
        match relation {
            Relation::Compare(name, operator, term) => {
                let column = columns::find(schema, name)?;
                let expr = checker.term(term, &Receiver::new(name.as_str(), &column.ty))?;
                if *operator == Operator::Ne {
                    return Err(Error::invalid(format!(
                        "Unsupported \"!=\" relation: {name} != {}",
                        term_text(term)
                    )));
                }
                if expr == Expr::Null {
                    return Err(Error::invalid(format!(
                        "Invalid null value in condition for column {name}"
                    )));
                }
                check_comparable(&column, *operator)?;
                let found = match operator {
                    Operator::Eq => Found::OneOf(OneOf::Eq(expr)),
                    _ => Found::bound(*operator, expr, 1),
                };
                place(&mut keys, &mut clustering, &mut filters, column, found)?;
            }
            Relation::In(name, values) => {
                let column = columns::find(schema, name)?;
                if column.ty.is_multi_cell() {
                    return Err(collection_restricted(&column, "IN"));
                }
                let one_of = in_values(values, &column.ty, name, checker)?;
                place(&mut keys, &mut clustering, &mut filters, column, Found::OneOf(one_of))?;
            }
            Relation::Tuple(names, operator, term) => {
                let relation = || format!("({}) {} {}", names.join(", "), operator.text(), term_text(term));
                let (first, ty, shown) = tuple(names, schema, relation)?;
                let expr = checker.term(&*tuple_term(term, names.len())?, &Receiver::new(shown.as_str(), &ty))?;
                let found = match operator {
                    Operator::Eq => Found::OneOf(OneOf::Eq(expr)),
                    Operator::Ne => return Err(Error::invalid(format!("Unsupported \"!=\" relation: {}", relation()))),
                    _ => Found::bound(*operator, expr, names.len()),
                };
                add(&mut clustering, first, names.len(), shown, true, found)?;
            }
            Relation::TupleIn(names, values) => {
                let relation = || match values {
                    InValues::Terms(terms) => {
                        let terms: Vec<String> = terms.iter().map(term_text).collect();
                        format!("({}) IN ({})", names.join(", "), terms.join(", "))
                    }
                    InValues::Marker(_) => format!("({}) IN ?", names.join(", ")),
                };
                let (first, ty, shown) = tuple(names, schema, relation)?;
                if let InValues::Terms(terms) = values {
                    for term in terms {
                        tuple_term(term, names.len())?;
                    }
                }
                let one_of = in_values(values, &ty, &shown, checker)?;
                add(&mut clustering, first, names.len(), shown, true, Found::OneOf(one_of))?;
            }
            Relation::Token(names, operator, term) => {
                if let Purpose::Modify(statement) = purpose {
                    return Err(Error::invalid(format!(
                        "The token function cannot be used in WHERE clauses for {statement} statements"
                    )));
                }
                check_token(names, schema)?;
                let expr = token_term(term, schema, checker)?;
                has_token = true;
                let (start, end) = match operator {
                    Operator::Eq => (Some((expr.clone(), true)), Some((expr, true))),
                    Operator::Gt => (Some((expr, false)), None),
                    Operator::Ge => (Some((expr, true)), None),
                    Operator::Lt => (None, Some((expr, false))),
                    Operator::Le => (None, Some((expr, true))),
                    Operator::Ne => return Err(Error::invalid("Unsupported \"!=\" relation on token()")),
                };
                for (bound, place, which) in [(start, &mut token.start, "start"), (end, &mut token.end, "end")] {
                    if bound.is_some() {
                        if place.is_some() {
                            return Err(Error::invalid(format!(
                                "More than one restriction was found for the {which} bound on {}",
                                names.join(", ")
                            )));
                        }
                        *place = bound;
                    }
                }
            }
            Relation::Contains(name, term) | Relation::ContainsKey(name, term) => {
                let column = columns::find(schema, name)?;
                let is_key = matches!(relation, Relation::ContainsKey(..));
                let of = match (column.ty.unfrozen(), is_key) {
                    (CqlType::List(of) | CqlType::Set(of) | CqlType::Map(_, of), false) => (**of).clone(),
                    (CqlType::Map(key, _), true) => (**key).clone(),
                    (_, true) => {
                        return Err(Error::invalid(format!(
                            "Cannot use CONTAINS KEY on non-map column {name}"
                        )));
                    }
                    _ => {
                        return Err(Error::invalid(format!(
                            "Cannot use CONTAINS on non-collection column {name}"
                        )));
                    }
                };
                let what = if is_key { "key" } else { "value" };
                let expr = checker.term(term, &Receiver::new(format!("{what}({name})"), &of))?;
                let test = if is_key {
                    Test::ContainsKey(expr)
                } else {
                    Test::Contains(expr)
                };
                filters.push(Filter { column, test });
            }
            Relation::Element(name, key, operator, value) => {
                let column = columns::find(schema, name)?;
                let CqlType::Map(key_type, of) = column.ty.unfrozen().clone() else {
                    return Err(Error::invalid(format!("Column {name} cannot be used as a map")));
                };
                if *operator != Operator::Eq {
                    return Err(Error::invalid(format!(
                        "Only EQ relations are supported on map entries, but {name}[…]"
                    )));
                }
                let key = checker.term(key, &Receiver::new(format!("key({name})"), &key_type))?;
                let value = checker.term(value, &Receiver::new(format!("value({name})"), &of))?;
                let test = Test::Element(key, value);
                filters.push(Filter { column, test });
            }
            Relation::Unsupported(name, what) => {
                return Err(Error::invalid(format!(
                    "{what} restrictions are not supported, but {name} has one"
                )));
            }
        }
    }
    if let Purpose::Modify(_) = purpose {
        let names: Vec<&str> = filters
            .iter()
            .filter(|filter| !filter.column.place.is_key())
            .map(|filter| filter.column.name.as_str())
            .collect();
        if !names.is_empty() {
            return Err(Error::invalid(format!(
                "Non PRIMARY KEY columns found in where clause: {}",
                names.join(", ")
            )));
        }
    }
    let mut needs_filtering = !filters.is_empty();
    let partitions = partitions(keys, schema, has_token, purpose, &mut filters, &mut needs_filtering)?;
    let clustering = clustering_of(
        clustering,
        schema,
        purpose,
        &partitions,
        &mut filters,
        &mut needs_filtering,
    )?;
    if needs_filtering && !purpose.filters() {
        return Err(Error::invalid(NEEDS_FILTERING));
    }
    Ok(Restrictions {
        partitions,
        token,
        clustering,
        filters,
        needs_filtering,
    })
}

fn collection_restricted(column: &ColumnRef, by: &str) -> Error {
    Error::invalid(format!(
        "Collection column '{}' ({}) cannot be restricted by a '{by}' relation",
        column.name,
        super::types::text_of(&column.ty)
    ))
}

fn check_comparable(column: &ColumnRef, operator: Operator) -> Result<()> {
    if column.ty.is_multi_cell() {
        return Err(collection_restricted(column, operator.text()));
    }
    if operator != Operator::Eq && column.ty.has_duration() {
        return Err(Error::invalid(match column.ty {
            CqlType::Duration => "Slice restrictions are not supported on duration columns".to_owned(),
            _ => format!(
                "Slice restrictions are not supported on {} containing durations",
                column.ty.keyword()
            ),
        }));
    }
    Ok(())
}

/// Puts what was found of a column where it belongs.
fn place(
    keys: &mut Vec<KeyFound>,
    clustering: &mut Vec<KeyFound>,
    filters: &mut Vec<Filter>,
    column: ColumnRef,
    found: Found,
) -> Result<()> {
    match column.place {
        Place::Partition(at) => add(keys, at, 1, column.name, false, found),
        Place::Clustering(at) => add(clustering, at, 1, column.name, false, found),
        Place::Static(_) | Place::Regular(_) => {
            let test = match found {
                Found::OneOf(OneOf::Eq(expr)) => Test::Compare(Operator::Eq, expr),
                Found::OneOf(_) => {
                    return Err(Error::invalid(format!(
                        "IN predicates on non-primary-key columns ({}) is not yet supported",
                        column.name
                    )));
                }
                Found::Bounds(mut bounds) => {
                    let bound = bounds.remove(0);
                    Test::Compare(bound.operator, bound.value)
                }
            };
            filters.push(Filter { column, test });
            Ok(())
        }
    }
}

fn add(
    all: &mut Vec<KeyFound>,
    first: usize,
    columns: usize,
    name: String,
    is_tuple: bool,
    found: Found,
) -> Result<()> {
    for present in all.iter_mut() {
        let overlap = first < present.first + present.columns && present.first < first + columns;
        if !overlap {
            continue;
        }
        return match (&mut present.found, found) {
            (Found::Bounds(_), Found::Bounds(_)) if present.is_tuple != is_tuple => Err(Error::invalid(format!(
                "Column \"{}\" cannot be restricted by both a tuple notation inequality and a single column inequality",
                if is_tuple { &present.name } else { &name }
            ))),
            (Found::Bounds(_), Found::Bounds(_)) if present.first != first => Err(Error::invalid(format!(
                "{name} cannot be restricted by two inequalities not starting with the same column"
            ))),
            (Found::Bounds(bounds), Found::Bounds(more)) => {
                let is_start = |operator: Operator| matches!(operator, Operator::Gt | Operator::Ge);
                let of_more = is_start(more[0].operator);
                if bounds.iter().any(|bound| is_start(bound.operator) == of_more) {
                    let which = if of_more { "start" } else { "end" };
                    return Err(Error::invalid(format!(
                        "More than one restriction was found for the {which} bound on {name}"
                    )));
                }
                bounds.extend(more);
                present.columns = present.columns.max(columns);
                Ok(())
            }
            (Found::OneOf(one_of), _) if one_of.is_in() => Err(Error::invalid(format!(
                "{name} cannot be restricted by more than one relation if it includes a IN"
            ))),
            _ => Err(Error::invalid(format!(
                "{name} cannot be restricted by more than one relation if it includes an Equal"
            ))),
        };
    }
    all.push(KeyFound {
        first,
        columns,
        name,
        is_tuple,
        found,
    });
    Ok(())
}

fn in_values(values: &InValues, ty: &CqlType, name: &str, checker: &mut Checker<'_>) -> Result<OneOf> {
    Ok(match values {
        InValues::Terms(terms) => {
            let receiver = Receiver::new(name, ty);
            OneOf::In(
                terms
                    .iter()
                    .map(|term| checker.term(term, &receiver))
                    .collect::<Result<_>>()?,
            )
        }
        InValues::Marker(marker) => {
            let list = CqlType::List(Box::new(ty.clone()));
            let name = name.trim_start_matches('(').trim_end_matches(')');
            OneOf::InMarker(checker.marker(*marker, &Receiver::new(format!("in({name})"), &list)))
        }
    })
}

/// The first of the columns, the type of a tuple of them, and how they are written.
fn tuple(names: &[String], schema: &Schema, relation: impl Fn() -> String) -> Result<(usize, CqlType, String)> {
    let shown = format!("({})", names.join(", "));
    let mut first = None;
    let mut types = Vec::new();
    for (nth, name) in names.iter().enumerate() {
        let column = columns::find(schema, name)?;
        let Place::Clustering(at) = column.place else {
            return Err(Error::invalid(format!(
                "Multi-column relations can only be applied to clustering columns but was applied to: {name}"
            )));
        };
        if names[..nth].contains(name) {
            return Err(Error::invalid(format!(
                "Column \"{name}\" appeared twice in a relation: {}",
                relation()
            )));
        }
        let first = *first.get_or_insert(at);
        if at != first + nth {
            return Err(Error::invalid(format!(
                "Clustering columns must appear in the PRIMARY KEY order in multi-column relations: {}",
                relation()
            )));
        }
        types.push(column.ty);
    }
    Ok((first.unwrap_or(0), CqlType::Tuple(types), shown))
}

fn tuple_term(term: &Term, columns: usize) -> Result<Cow<'_, Term>> {
    match term {
        Term::Tuple(items) if items.len() == columns => Ok(Cow::Borrowed(term)),
        Term::Tuple(items) => Err(Error::invalid(format!(
            "Expected {columns} elements in value tuple, but got {}: {}",
            items.len(),
            term_text(term)
        ))),
        Term::Marker(_) => Ok(Cow::Borrowed(term)),
        // (a) = (1) may come with the parentheses taken for those of a term.
        other if columns == 1 => Ok(Cow::Owned(Term::Tuple(vec![other.clone()]))),
        _ => Err(Error::invalid("a relation of several columns needs a tuple")),
    }
}

fn check_token(names: &[String], schema: &Schema) -> Result<()> {
    for name in names {
        let column = columns::find(schema, name)?;
        if !matches!(column.place, Place::Partition(_)) {
            return Err(Error::invalid(format!(
                "The token() function is only supported on the partition key, found on {name}"
            )));
        }
    }
    let keys: Vec<&str> = schema.partition_key.iter().map(|column| column.name.as_str()).collect();
    if names.len() != keys.len() {
        return Err(Error::invalid(
            "The token() function must be applied to all partition key components or none of them",
        ));
    }
    if names.iter().map(String::as_str).ne(keys.iter().copied()) {
        return Err(Error::invalid(format!(
            "The token function arguments must be in the partition key order: {}",
            keys.join(", ")
        )));
    }
    Ok(())
}

/// The right side of `token(…) < …`: a number, or the token of other values.
fn token_term(term: &Term, schema: &Schema, checker: &mut Checker<'_>) -> Result<Expr> {
    if let Term::Call(name, arguments) = term
        && name == "token"
    {
        return token_call(arguments, schema, checker);
    }
    checker.term(term, &Receiver::new("partition key token", &CqlType::BigInt))
}

fn token_call(arguments: &[Term], schema: &Schema, checker: &mut Checker<'_>) -> Result<Expr> {
    let types: Vec<CqlType> = schema.partition_key.iter().map(|column| column.ty.clone()).collect();
    if arguments.len() != types.len() {
        return Err(Error::invalid(format!(
            "Invalid number of arguments in call to function token: {} required but {} provided",
            types.len(),
            arguments.len()
        )));
    }
    checker.call_of(super::functions::token_of_key(types), arguments)
}

fn partitions(
    keys: Vec<KeyFound>,
    schema: &Schema,
    has_token: bool,
    purpose: Purpose,
    filters: &mut Vec<Filter>,
    needs_filtering: &mut bool,
) -> Result<Partitions> {
    let count = schema.partition_key.len();
    let is_slice = keys.iter().any(|key| matches!(key.found, Found::Bounds(_)));
    if is_slice && !purpose.filters() {
        return Err(Error::invalid(
            "Only EQ and IN relation are supported on the partition key (unless you use the token() function or allow filtering)",
        ));
    }
    if keys.len() < count || is_slice {
        if let Purpose::Modify(_) = purpose {
            let is_there = |name: &str| keys.iter().any(|key| key.name == name);
            let missing: Vec<&str> = schema
                .partition_key
                .iter()
                .map(|column| column.name.as_str())
                .filter(|name| !is_there(name))
                .collect();
            return Err(Error::invalid(format!(
                "Some partition key parts are missing: {}",
                missing.join(", ")
            )));
        }
        if !keys.is_empty() {
            if has_token && !purpose.filters() {
                return Err(Error::invalid(
                    "The token() function must be applied to all partition key components or none of them",
                ));
            }
            *needs_filtering = true;
            for key in keys {
                let column = columns::find(schema, &key.name)?;
                push_filters(column, key.found, filters);
            }
        }
        return Ok(Partitions::All);
    }
    let mut keys = keys;
    keys.sort_by_key(|key| key.first);
    let one_of = |key: KeyFound| match key.found {
        Found::OneOf(one_of) => one_of,
        Found::Bounds(_) => unreachable!("there are no slices here"),
    };
    Ok(Partitions::Keys(keys.into_iter().map(one_of).collect()))
}

fn push_filters(column: ColumnRef, found: Found, filters: &mut Vec<Filter>) {
    let tests = match found {
        Found::OneOf(OneOf::Eq(expr)) => vec![Test::Compare(Operator::Eq, expr)],
        Found::OneOf(OneOf::In(exprs)) => vec![Test::In(exprs)],
        Found::OneOf(OneOf::InMarker(expr)) => vec![Test::InMarker(expr)],
        Found::Bounds(bounds) => bounds
            .into_iter()
            .map(|bound| Test::Compare(bound.operator, bound.value))
            .collect(),
    };
    filters.extend(tests.into_iter().map(|test| Filter {
        column: column.clone(),
        test,
    }));
}

fn clustering_of(
    mut found: Vec<KeyFound>,
    schema: &Schema,
    purpose: Purpose,
    partitions: &Partitions,
    filters: &mut Vec<Filter>,
    needs_filtering: &mut bool,
) -> Result<Clustering> {
    found.sort_by_key(|key| key.first);
    // Rows of all partitions are looked at one by one when their clustering is restricted and their key is not.
    if matches!(partitions, Partitions::All) && !found.is_empty() {
        *needs_filtering = true;
    }
    let mut clustering = Clustering::default();
    let mut next = 0;
    let mut last = String::new();
    for key in found {
        let follows = key.first == next && clustering.bounds.is_none();
        if !follows {
            let column = schema.clustering[key.first].column.clone();
            if !purpose.filters() {
                if clustering.bounds.is_some() {
                    return Err(Error::invalid(format!(
                        "Clustering column \"{}\" cannot be restricted (preceding column \"{last}\" is restricted by a non-EQ relation)",
                        column.name
                    )));
                }
                let before = &schema.clustering[next].column.name;
                return Err(Error::invalid(format!(
                    "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{before}\" is not restricted",
                    column.name
                )));
            }
            if key.is_tuple {
                return Err(Error::invalid(format!(
                    "the multi-column relation of {} would have to be filtered, which is not supported",
                    key.name
                )));
            }
            *needs_filtering = true;
            let column = columns::find(schema, &column.name)?;
            push_filters(column, key.found, filters);
            continue;
        }
        last.clone_from(&key.name);
        match key.found {
            Found::OneOf(values) => {
                next = key.first + key.columns;
                clustering.equal.push(Equal {
                    columns: key.columns,
                    name: key.name,
                    values,
                    is_tuple: key.is_tuple,
                });
            }
            Found::Bounds(bounds) => {
                clustering.bounds = Some(Bounds {
                    name: key.name,
                    is_tuple: key.is_tuple,
                    bounds,
                });
            }
        }
    }
    Ok(clustering)
}

impl Partitions {
    /// The keys, each once, in the order of their columns' values; `None`: all.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a value that cannot be of a key.
    pub fn keys(&self, schema: &Schema, execution: &Execution<'_>) -> Result<Option<Vec<Vec<u8>>>> {
        let Partitions::Keys(columns) = self else {
            return Ok(None);
        };
        if let Some(key) = one_key(columns, schema, execution)? {
            return Ok(Some(vec![key]));
        }
        let mut parts: Vec<Vec<Cow<'_, [u8]>>> = Vec::with_capacity(columns.len());
        for (one_of, column) in columns.iter().zip(&schema.partition_key) {
            let mut values = one_of.values(execution, &column.name)?;
            if values.len() > 1 {
                values.sort_by(|a, b| column.ty.compare(a, b).then_with(|| a.cmp(b)));
                values.dedup();
            }
            parts.push(values);
        }
        let count = parts.iter().map(Vec::len).fold(1, usize::saturating_mul);
        if count > COMBINATIONS_MAX {
            return Err(too_many());
        }
        let mut keys = Vec::new();
        let mut key: Vec<&[u8]> = Vec::with_capacity(parts.len());
        combine(&parts, &mut key, &mut |key| {
            let bytes = schema.partition_key_bytes(key).map_err(key_error)?;
            keys.push(bytes);
            Ok(())
        })?;
        Ok(Some(keys))
    }

    /// Whether several keys may be named.
    #[must_use]
    pub fn is_in(&self) -> bool {
        matches!(self, Partitions::Keys(columns) if columns.iter().any(OneOf::is_in))
    }
}

/// The key, if each of its columns equals one value.
fn one_key(columns: &[OneOf], schema: &Schema, execution: &Execution<'_>) -> Result<Option<Vec<u8>>> {
    let mut values: SmallVec<[Cow<'_, [u8]>; 4]> = SmallVec::new();
    for (one_of, column) in columns.iter().zip(&schema.partition_key) {
        let OneOf::Eq(expr) = one_of else { return Ok(None) };
        values.push(not_null(expr, execution, &column.name)?);
    }
    let values: SmallVec<[&[u8]; 4]> = values.iter().map(|value| &**value).collect();
    schema.partition_key_bytes(&values).map(Some).map_err(key_error)
}

fn too_many() -> Error {
    Error::invalid(format!("the IN restrictions name more than {COMBINATIONS_MAX} keys"))
}

/// What is wrong with a key, in Cassandra's words.
pub(super) fn key_error(error: model::ModelError) -> Error {
    match error {
        model::ModelError::Key { what } if what.contains("empty") => Error::invalid("Key may not be empty"),
        model::ModelError::Key { what } if what.contains("65535") => {
            Error::invalid("Key length is longer than maximum of 65535")
        }
        other => other.into(),
    }
}

fn combine<'v>(
    parts: &'v [Vec<Cow<'_, [u8]>>],
    key: &mut Vec<&'v [u8]>,
    give: &mut dyn FnMut(&[&'v [u8]]) -> Result<()>,
) -> Result<()> {
    match parts.get(key.len()) {
        None => give(key),
        Some(values) => {
            for value in values {
                key.push(value);
                combine(parts, key, give)?;
                key.pop();
            }
            Ok(())
        }
    }
}

/// Tokens within bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenRange {
    /// The first.
    pub first: Token,
    /// The last.
    pub last: Token,
}

impl TokenRange {
    /// All tokens.
    pub const ALL: TokenRange = TokenRange {
        first: Token::MIN,
        last: Token::MAX,
    };

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    /// Whether the token is within.
    #[must_use]
    pub fn contains(self, token: Token) -> bool {
        self.first <= token && token <= self.last
    }

    const EMPTY: TokenRange = TokenRange {
        first: Token::MAX,
        last: Token::MIN,
    };
}

impl TokenBounds {
    /// Whether there are any.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.start.is_some() || self.end.is_some()
    }

    /// The tokens within.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a bound that is null.
    pub fn range(&self, execution: &Execution<'_>) -> Result<TokenRange> {
        let bound = |of: &Option<(Expr, bool)>| -> Result<Option<(i64, bool)>> {
            let Some((expr, inclusive)) = of else { return Ok(None) };
            let value = not_null(expr, execution, "partition key token")?;
            let token = <[u8; 8]>::try_from(&*value).map(i64::from_be_bytes);
            let token = token.map_err(|_| Error::invalid("Invalid empty value for a token"))?;
            Ok(Some((token, *inclusive)))
        };
        let first = match bound(&self.start)? {
            None => i64::MIN,
            // The smallest token is nobody's: it stands for the end as well.
            Some((token, true)) => token,
            Some((i64::MAX, false)) => return Ok(TokenRange::EMPTY),
            Some((token, false)) => token + 1,
        };
        let last = match bound(&self.end)? {
            None => i64::MAX,
            Some((i64::MIN, false)) => return Ok(TokenRange::EMPTY),
            Some((token, true)) => token,
            Some((token, false)) => token - 1,
        };
        Ok(TokenRange {
            first: Token(first),
            last: Token(last),
        })
    }
}

impl Clustering {
    /// Whether nothing is asked of the clustering columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.equal.is_empty() && self.bounds.is_none()
    }

    /// Whether all clustering columns are named, each by one value or several.
    #[must_use]
    pub fn is_full(&self, schema: &Schema) -> bool {
        self.bounds.is_none() && self.equal_columns() == schema.clustering.len()
    }

    /// How many columns, from the first on, are equal to something.
    #[must_use]
    pub fn equal_columns(&self) -> usize {
        self.equal.iter().map(|equal| equal.columns).sum()
    }

    /// Whether no column has bounds.
    #[must_use]
    pub fn single_or_in(&self) -> bool {
        self.bounds.is_none()
    }

    /// How many columns, from the first on, are equal to one value.
    #[must_use]
    pub fn single_columns(&self) -> usize {
        let singles = self.equal.iter().take_while(|equal| !equal.values.is_in());
        singles.map(|equal| equal.columns).sum()
    }

    /// The keys of the rows, of which all clustering columns are named: the values of each.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a value that cannot be of a key.
    pub fn rows<'a>(&'a self, execution: &Execution<'a>) -> Result<Vec<Vec<Cow<'a, [u8]>>>> {
        let mut rows: Vec<Vec<Cow<'a, [u8]>>> = vec![Vec::new()];
        for equal in &self.equal {
            let mut choices: Vec<Vec<Cow<'a, [u8]>>> = Vec::new();
            for value in equal.values.values(execution, &equal.name)? {
                choices.push(match equal.is_tuple {
                    false => vec![value],
                    true => tuple_values(&value, equal.columns, &equal.name)?,
                });
            }
            if rows.len().saturating_mul(choices.len()) > COMBINATIONS_MAX {
                return Err(too_many());
            }
            rows = match choices.as_slice() {
                [one] if rows.len() == 1 => {
                    let mut row = rows.remove(0);
                    row.extend(one.iter().cloned());
                    vec![row]
                }
                _ => rows
                    .iter()
                    .flat_map(|row| choices.iter().map(move |choice| [row.as_slice(), choice].concat()))
                    .collect(),
            };
        }
        Ok(rows)
    }

    /// The rows as slices of positions, sorted and apart.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a value that cannot be of a key.
    pub fn slices(&self, schema: &Schema, execution: &Execution<'_>) -> Result<Vec<Slice>> {
        if self.is_empty() {
            return Ok(vec![Slice::all()]);
        }
        let mut prefixes = Vec::new();
        for row in self.rows(execution)? {
            let values: Vec<&[u8]> = row.iter().map(|value| &**value).collect();
            prefixes.push((schema.encode_clustering(&values).map_err(key_error)?, row));
        }
        prefixes.sort();
        prefixes.dedup_by(|a, b| a.0 == b.0);
        let Some(bounds) = &self.bounds else {
            let slices = prefixes.iter().map(|(prefix, _)| Slice::prefix(prefix));
            return Ok(slices.collect());
        };
        let mut slices = Vec::new();
        for (prefix, values) in &prefixes {
            let mut within = vec![match prefix.is_empty() {
                true => Slice::all(),
                false => Slice::prefix(prefix),
            }];
            for bound in &bounds.bounds {
                let value = not_null(&bound.value, execution, &bounds.name)?;
                let tuple = match bounds.is_tuple {
                    false => vec![value],
                    true => tuple_values(&value, bound.columns, &bounds.name)?,
                };
                let allowed = half(schema, values, bound.operator, &tuple)?;
                within = intersection(&within, &allowed);
            }
            slices.extend(within);
        }
        Ok(slices)
    }
}

/// The values of a tuple, none of them null.
fn tuple_values<'a>(tuple: &[u8], columns: usize, name: &str) -> Result<Vec<Cow<'a, [u8]>>> {
    let mut values = Vec::with_capacity(columns);
    for field in fields_of(tuple) {
        let null = || Error::invalid(format!("Invalid null value in condition for columns: {name}"));
        values.push(Cow::Owned(field.ok_or_else(null)?.to_vec()));
    }
    match values.len() == columns {
        true => Ok(values),
        false => Err(Error::invalid(format!(
            "Expected {columns} elements in value tuple, but got {}",
            values.len()
        ))),
    }
}

/// The positions behind `prefix` whose next columns compare to `tuple` like that; sorted and apart.
fn half(schema: &Schema, prefix: &[Cow<'_, [u8]>], operator: Operator, tuple: &[Cow<'_, [u8]>]) -> Result<Vec<Slice>> {
    let first = prefix.len();
    let descending: Vec<bool> = schema.clustering[first..first + tuple.len()]
        .iter()
        .map(|of| of.descending)
        .collect();
    if descending.iter().all(|of| *of == descending[0]) {
        return Ok(vec![bound(schema, prefix, operator, tuple, descending[0])?]);
    }
    // (a, b) > (x, y) is a > x, and a = x with b > y.
    let strict = match operator {
        Operator::Gt | Operator::Ge => Operator::Gt,
        _ => Operator::Lt,
    };
    let mut slices = Vec::new();
    for at in 0..tuple.len() {
        let prefix = [prefix, &tuple[..at]].concat();
        let operator = if at + 1 == tuple.len() { operator } else { strict };
        slices.push(bound(schema, &prefix, operator, &tuple[at..=at], descending[at])?);
    }
    slices.sort_by(|a, b| a.start.cmp(&b.start));
    Ok(slices)
}

/// As [`half`], of columns that are sorted alike.
fn bound(
    schema: &Schema,
    prefix: &[Cow<'_, [u8]>],
    operator: Operator,
    tuple: &[Cow<'_, [u8]>],
    descending: bool,
) -> Result<Slice> {
    let encode = |values: &[&[u8]]| schema.encode_clustering(values).map_err(key_error);
    let before: Vec<&[u8]> = prefix.iter().map(|value| &**value).collect();
    let all: Vec<&[u8]> = before
        .iter()
        .copied()
        .chain(tuple.iter().map(|value| &**value))
        .collect();
    let before = encode(&before)?;
    let at = encode(&all)?;
    let behind = |mut position: Vec<u8>| {
        position.push(0xFF);
        position
    };
    let is_after = matches!(operator, Operator::Gt | Operator::Ge) != descending;
    let inclusive = matches!(operator, Operator::Ge | Operator::Le);
    Ok(match is_after {
        true => Slice {
            start: if inclusive { at } else { behind(at) },
            end: behind(before),
        },
        false => Slice {
            start: before,
            end: if inclusive { behind(at) } else { at },
        },
    })
}

fn intersection(a: &[Slice], b: &[Slice]) -> Vec<Slice> {
    let mut out = Vec::new();
    for a in a {
        for b in b {
            let start = a.start.cmp(&b.start);
            let slice = Slice {
                start: if start == Ordering::Less {
                    b.start.clone()
                } else {
                    a.start.clone()
                },
                end: a.end.clone().min(b.end.clone()),
            };
            if slice.start < slice.end {
                out.push(slice);
            }
        }
    }
    out
}
