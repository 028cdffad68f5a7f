//! What `SELECT` gives: columns, and what is computed from them.

use super::columns::{self, ColumnRef, Place};
use super::error::{Error, Result};
use super::expr::{Checker, Expr, Receiver, assignable, elements_of, fields_of, put_value};
use super::functions::{self, Signature};
use super::rows::{Cells, RowView, put_collection};
use super::syntax::ast::{Constant, Selector, Term};
use super::types::{self, text_of};
use super::values::{Evaluated, Execution};
use crate::frame::RowsWriter;
use model::{CellKind, CellRef, CqlType, Schema};
use std::borrow::Cow;

/// What a column of the result is computed from.
#[derive(Clone, PartialEq, Debug)]
pub enum Selected {
    /// A column.
    Column(ColumnRef),
    /// When its cells were written, microseconds.
    WriteTime(ColumnRef),
    /// The latest of them.
    MaxWriteTime(ColumnRef),
    /// In how many seconds its cells end.
    Ttl(ColumnRef),
    /// A function.
    Call(Box<Signature>, Vec<Selected>),
    /// A field of a user-defined type.
    Field(Box<Selected>, usize),
    /// The element of this key, or at this index.
    Element(Box<Selected>, CqlType, Expr),
    /// The elements within these keys or indexes.
    Range(Box<Selected>, CqlType, Option<Expr>, Option<Expr>),
    /// Whatever the row is.
    Term(Expr),
    /// How many rows there are.
    Count,
    /// Of how many rows this is not null.
    CountOf(Box<Selected>),
}

/// A column of the result.
#[derive(Clone, PartialEq, Debug)]
pub struct ResultColumn {
    /// Its name, or its alias.
    pub name: String,
    /// The type of its values.
    pub ty: CqlType,
    /// What it is computed from.
    pub selected: Selected,
}

/// Checks what is selected; none: `*`.
pub(super) fn check(
    selectors: &[(Selector, Option<String>)],
    table: &Schema,
    checker: &mut Checker<'_>,
) -> Result<Vec<ResultColumn>> {
    if selectors.is_empty() {
        let column = |column: ColumnRef| ResultColumn {
            name: column.name.clone(),
            ty: column.ty.clone(),
            selected: Selected::Column(column),
        };
        return Ok(columns::all(table).into_iter().map(column).collect());
    }
    let mut result = Vec::new();
    for (selector, alias) in selectors {
        let (selected, ty) = check_one(selector, table, checker, None)?;
        let name = alias.clone().unwrap_or_else(|| name_of(selector));
        result.push(ResultColumn { name, ty, selected });
    }
    let counts = result.iter().filter(|column| column.is_aggregate()).count();
    if counts > 0 && counts < result.len() {
        // The first row's values stand beside the count, as in Cassandra.
        return Ok(result);
    }
    Ok(result)
}

impl ResultColumn {
    /// Whether it is computed from all rows.
    #[must_use]
    pub fn is_aggregate(&self) -> bool {
        matches!(self.selected, Selected::Count | Selected::CountOf(_))
    }
}

/// How a selector is called in the result.
fn name_of(selector: &Selector) -> String {
    match selector {
        Selector::Column(name) => name.clone(),
        Selector::Call(name, _) if name == "countrows" => "count".to_owned(),
        Selector::Call(name, arguments) => {
            let arguments: Vec<String> = arguments.iter().map(name_of).collect();
            let plain = ["writetime", "maxwritetime", "ttl"].contains(&name.as_str());
            let name = name.strip_prefix("system.").unwrap_or(name);
            format!("{}{name}({})", if plain { "" } else { "system." }, arguments.join(", "))
        }
        Selector::Cast(of, ty) => match ty {
            super::syntax::ast::Type::Named(ty) => format!("cast({} as {})", name_of(of), ty.name),
            _ => format!("cast({})", name_of(of)),
        },
        Selector::Field(of, field) => format!("{}.{field}", name_of(of)),
        Selector::Element(of, key) => format!("{}[{}]", name_of(of), term_text(key)),
        Selector::Range(of, from, to) => {
            let text = |term: &Option<Term>| term.as_ref().map(term_text).unwrap_or_default();
            format!("{}[{}..{}]", name_of(of), text(from), text(to))
        }
        Selector::Term(term) => term_text(term),
    }
}

/// A term as it was written, nearly.
pub(super) fn term_text(term: &Term) -> String {
    let all = |terms: &[Term]| terms.iter().map(term_text).collect::<Vec<_>>().join(", ");
    match term {
        Term::Marker(_) => "?".to_owned(),
        Term::List(items) => format!("[{}]", all(items)),
        Term::Set(items) => format!("{{{}}}", all(items)),
        Term::Tuple(items) => format!("({})", all(items)),
        Term::Map(entries) => {
            let entry = |(key, value): &(Term, Term)| format!("{}: {}", term_text(key), term_text(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Term::Fields(fields) => {
            let field = |(name, value): &(String, Term)| format!("{name}: {}", term_text(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Term::Constant(Constant::String(text)) => format!("'{text}'"),
        Term::Constant(Constant::Integer(text) | Constant::Float(text) | Constant::Uuid(text)) => text.clone(),
        Term::Constant(Constant::Blob(digits)) => format!("0x{digits}"),
        Term::Constant(Constant::Boolean(value)) => value.to_string(),
        Term::Constant(Constant::Duration(_)) => "duration".to_owned(),
        Term::Null => "null".to_owned(),
        Term::Cast(ty, term) => match ty {
            super::syntax::ast::Type::Named(name) => format!("({}){}", name.name, term_text(term)),
            _ => term_text(term),
        },
        Term::Call(name, arguments) => format!("system.{name}({})", all(arguments)),
    }
}

fn check_one(
    selector: &Selector,
    table: &Schema,
    checker: &mut Checker<'_>,
    wanted: Option<&CqlType>,
) -> Result<(Selected, CqlType)> {
    match selector {
        Selector::Column(name) => {
            let column = columns::find(table, name)?;
            let ty = column.ty.clone();
            Ok((Selected::Column(column), ty))
        }
        Selector::Call(name, arguments) => check_call(name, arguments, table, checker),
        Selector::Cast(of, ty) => {
            let (of, from) = check_one(of, table, checker, None)?;
            let to = types::resolve(ty, checker.keyspace, checker.catalog)?;
            let Some(signature) = functions::cast(from.unfrozen(), &to) else {
                let (from, to) = (text_of(&from), text_of(&to));
                return Err(Error::invalid(format!("{from} cannot be cast to {to}")));
            };
            Ok((Selected::Call(Box::new(signature), vec![of]), to))
        }
        Selector::Field(of, field) => {
            let (of, ty) = check_one(of, table, checker, None)?;
            let CqlType::Udt(udt) = ty.unfrozen() else {
                return Err(Error::invalid(format!(
                    "Invalid field selection: {} of type {} is not a user type",
                    name_of(selector).trim_end_matches(field).trim_end_matches('.'),
                    text_of(&ty)
                )));
            };
            let at = udt.fields.iter().position(|of| of.name == *field);
            let at = at.ok_or_else(|| {
                Error::invalid(format!(
                    "{} of type {} has no field {field}",
                    name_of(selector),
                    text_of(&ty)
                ))
            })?;
            let of_field = udt.fields[at].ty.clone();
            Ok((Selected::Field(Box::new(of), at), of_field))
        }
        Selector::Element(of, key) => {
            let shown = name_of(of);
            let (of, ty) = check_one(of, table, checker, None)?;
            let (key_type, element) = element_types(&ty, &shown)?;
            let key = checker.term(key, &Receiver::new(shown, &key_type))?;
            Ok((Selected::Element(Box::new(of), ty, key), element))
        }
        Selector::Range(of, from, to) => {
            let shown = name_of(of);
            let (of, ty) = check_one(of, table, checker, None)?;
            let (key_type, _) = element_types(&ty, &shown)?;
            let receiver = Receiver::new(shown, &key_type);
            let mut bound = |term: &Option<Term>| term.as_ref().map(|term| checker.term(term, &receiver)).transpose();
            let (from, to) = (bound(from)?, bound(to)?);
            let result = match ty.unfrozen() {
                inner if ty.is_multi_cell() => inner.clone(),
                _ => ty.clone(),
            };
            Ok((Selected::Range(Box::new(of), ty, from, to), result))
        }
        Selector::Term(term) => check_term(term, checker, wanted),
    }
}

fn element_types(ty: &CqlType, shown: &str) -> Result<(CqlType, CqlType)> {
    match ty.unfrozen() {
        CqlType::Map(key, of) => Ok(((**key).clone(), (**of).clone())),
        CqlType::Set(of) => Ok(((**of).clone(), (**of).clone())),
        CqlType::List(of) => Ok((CqlType::Int, (**of).clone())),
        _ => Err(Error::invalid(format!(
            "Invalid element selection: {shown} is of type {} is not a collection",
            text_of(ty)
        ))),
    }
}

/// A term that is selected has the type that its form suggests.
fn check_term(term: &Term, checker: &mut Checker<'_>, wanted: Option<&CqlType>) -> Result<(Selected, CqlType)> {
    let ty = match (term, wanted) {
        (_, Some(wanted)) => wanted.clone(),
        (Term::Cast(ty, _), None) => types::resolve(ty, checker.keyspace, checker.catalog)?,
        (Term::Call(name, arguments), None) => checker.overload(name, arguments)?.returns,
        (Term::Constant(constant), None) => match constant {
            Constant::String(_) => CqlType::Text,
            Constant::Integer(text) if text.parse::<i32>().is_ok() => CqlType::Int,
            Constant::Integer(text) if text.parse::<i64>().is_ok() => CqlType::BigInt,
            Constant::Integer(_) => CqlType::Varint,
            Constant::Float(_) => CqlType::Double,
            Constant::Uuid(_) => CqlType::Uuid,
            Constant::Boolean(_) => CqlType::Boolean,
            Constant::Blob(_) => CqlType::Blob,
            Constant::Duration(_) => CqlType::Duration,
        },
        _ => {
            return Err(Error::invalid(format!(
                "Cannot infer type for term {} in selection clause (try using a cast to force a type)",
                term_text(term)
            )));
        }
    };
    let checked = checker.term(term, &Receiver::new("[selection]", &ty))?;
    Ok((Selected::Term(checked), ty))
}

fn check_call(
    name: &str,
    arguments: &[Selector],
    table: &Schema,
    checker: &mut Checker<'_>,
) -> Result<(Selected, CqlType)> {
    let plain = name.strip_prefix("system.").unwrap_or(name);
    match plain {
        "countrows" => return Ok((Selected::Count, CqlType::BigInt)),
        "count" => {
            let [of] = arguments else {
                return Err(Error::invalid("Invalid call to function count: one argument is needed"));
            };
            let (of, _) = check_one(of, table, checker, None)?;
            return Ok((Selected::CountOf(Box::new(of)), CqlType::BigInt));
        }
        "writetime" | "maxwritetime" | "ttl" => return check_meta(plain, arguments, table),
        "min" | "max" | "sum" | "avg" => {
            return Err(Error::invalid(format!("the aggregate {plain}() is not supported")));
        }
        "token" => {
            let names: Vec<&str> = arguments
                .iter()
                .map(|argument| match argument {
                    Selector::Column(name) => name.as_str(),
                    _ => "",
                })
                .collect();
            let keys: Vec<&str> = table.partition_key.iter().map(|column| column.name.as_str()).collect();
            if names.len() != keys.len() {
                return Err(Error::invalid(format!(
                    "Invalid number of arguments in call to function token: {} required but {} provided",
                    keys.len(),
                    names.len()
                )));
            }
            let types = table.partition_key.iter().map(|column| column.ty.clone()).collect();
            let mut checked = Vec::new();
            for (argument, column) in arguments.iter().zip(&table.partition_key) {
                checked.push(check_one(argument, table, checker, Some(&column.ty))?.0);
            }
            let signature = functions::token_of_key(types);
            return Ok((Selected::Call(Box::new(signature), checked), CqlType::BigInt));
        }
        _ => {}
    }
    let named = functions::named(name);
    if named.is_empty() {
        return Err(Error::invalid(format!("Unknown function '{name}'")));
    }
    for signature in &named {
        if signature.arguments.len() != arguments.len() {
            continue;
        }
        let (seen, mut checked) = (checker.markers.clone(), Vec::new());
        for (argument, ty) in arguments.iter().zip(&signature.arguments) {
            let wanted = matches!(argument, Selector::Term(_)).then_some(ty);
            match check_one(argument, table, checker, wanted) {
                Ok((selected, of)) if assignable(&of, ty) => checked.push(selected),
                // What is undefined is told, whatever the function takes.
                Err(error) if named.len() == 1 => return Err(error),
                _ => break,
            }
        }
        if checked.len() == arguments.len() {
            return Ok((
                Selected::Call(Box::new(signature.clone()), checked),
                signature.returns.clone(),
            ));
        }
        checker.markers = seen;
    }
    for argument in arguments {
        check_one(argument, table, checker, None)?;
    }
    let takes: Vec<String> = named
        .iter()
        .map(|of| of.arguments.iter().map(text_of).collect::<Vec<_>>().join(", "))
        .collect();
    Err(Error::invalid(format!(
        "Invalid call to function {name}, none of its type signatures match (known type signatures: ({}))",
        takes.join("), (")
    )))
}

fn check_meta(name: &str, arguments: &[Selector], table: &Schema) -> Result<(Selected, CqlType)> {
    let [Selector::Column(of)] = arguments else {
        return Err(Error::invalid(format!("{name}() takes a column")));
    };
    let column = columns::find(table, of)?;
    if column.place.is_key() {
        return Err(Error::invalid(format!(
            "Cannot use selection function {name} on PRIMARY KEY part {of}"
        )));
    }
    let one = if name == "ttl" { CqlType::Int } else { CqlType::BigInt };
    let ty = match column.ty.is_multi_cell() && name != "maxwritetime" {
        true => CqlType::List(Box::new(one)),
        false => one,
    };
    let selected = match name {
        "writetime" => Selected::WriteTime(column),
        "maxwritetime" => Selected::MaxWriteTime(column),
        _ => Selected::Ttl(column),
    };
    Ok((selected, ty))
}

fn number_of(cell: &CellRef<'_>, ttl: bool, now_s: u32) -> Option<Vec<u8>> {
    match (cell.kind, ttl) {
        (CellKind::Expiring { expires_at, .. }, true) => {
            let left = i32::try_from(expires_at.saturating_sub(now_s)).unwrap_or(i32::MAX);
            Some(left.to_be_bytes().to_vec())
        }
        (_, true) => None,
        (_, false) => Some(cell.timestamp.to_be_bytes().to_vec()),
    }
}

impl Selected {
    /// What it is for a row; `None` is null.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a function cannot take what the row has.
    pub fn evaluate<'r>(&self, row: &RowView<'r>, execution: &Execution<'_>) -> Result<Option<Cow<'r, [u8]>>> {
        let owned = |value: Option<Vec<u8>>| Ok(value.map(Cow::Owned));
        match self {
            Selected::Column(column) => Ok(row.value(column)),
            Selected::WriteTime(column) | Selected::Ttl(column) => {
                let ttl = matches!(self, Selected::Ttl(_));
                let now_s = execution.now_s();
                let mut cells = row.cells(column).peekable();
                if cells.peek().is_none() {
                    return Ok(None);
                }
                if !column.ty.is_multi_cell() {
                    return owned(cells.next().and_then(|cell| number_of(&cell, ttl, now_s)));
                }
                let numbers: Vec<Option<Vec<u8>>> = cells.map(|cell| number_of(&cell, ttl, now_s)).collect();
                let mut out = i32::try_from(numbers.len()).unwrap_or(i32::MAX).to_be_bytes().to_vec();
                for number in &numbers {
                    put_value(&mut out, number.as_deref())?;
                }
                owned(Some(out))
            }
            Selected::MaxWriteTime(column) => {
                let latest = row.cells(column).map(|cell| cell.timestamp).max();
                owned(latest.map(|latest| latest.to_be_bytes().to_vec()))
            }
            Selected::Call(signature, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(argument.evaluate(row, execution)?);
                }
                let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
                owned(signature.call(&values, execution.environment)?)
            }
            Selected::Field(of, at) => {
                let of = of.evaluate(row, execution)?;
                owned(of.and_then(|of| fields_of(&of).nth(*at).flatten().map(<[u8]>::to_vec)))
            }
            Selected::Element(of, ty, key) => {
                let (of, key) = (of.evaluate(row, execution)?, key.evaluate(execution)?.value());
                let (Some(of), Some(key)) = (of, key) else {
                    return Ok(None);
                };
                owned(element(ty, &of, &key).map(<[u8]>::to_vec))
            }
            Selected::Range(of, ty, from, to) => {
                let Some(of) = of.evaluate(row, execution)? else {
                    return Ok(None);
                };
                let bound = |expr: &Option<Expr>| -> Result<Option<Vec<u8>>> {
                    let Some(expr) = expr else { return Ok(None) };
                    Ok(expr.evaluate(execution)?.value().map(Cow::into_owned))
                };
                owned(range(ty, &of, bound(from)?, bound(to)?)?)
            }
            Selected::Term(expr) => match expr.evaluate(execution)? {
                Evaluated::Value(value) => owned(Some(value.into_owned())),
                _ => Ok(None),
            },
            // Whoever has all rows puts the number in.
            Selected::Count | Selected::CountOf(_) => Ok(None),
        }
    }

    /// Appends what it is for a row, whose cells are given as well.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    #[inline]
    pub fn write<'r>(
        &self,
        row: &RowView<'r>,
        cells: &mut Cells<'r>,
        execution: &Execution<'_>,
        out: &mut RowsWriter<'_>,
    ) -> Result<()> {
        let Selected::Column(column) = self else {
            out.value(self.evaluate(row, execution)?.as_deref());
            return Ok(());
        };
        let (of, id) = match column.place {
            Place::Partition(at) => {
                out.value(row.key.get(at).copied());
                return Ok(());
            }
            Place::Clustering(at) => {
                out.value(row.clustering.get(at).map(Vec::as_slice));
                return Ok(());
            }
            Place::Regular(id) if !column.ty.is_multi_cell() => {
                out.value(cells.value(id));
                return Ok(());
            }
            Place::Static(id) if !column.ty.is_multi_cell() => {
                out.value(row.statics.cell(id).and_then(|cell| cell.value()));
                return Ok(());
            }
            Place::Static(id) => (row.statics, id),
            Place::Regular(id) => (row.row, id),
        };
        let value = out.open_value();
        let buffer = out.buffer();
        match put_collection(of, id, &column.ty, buffer) {
            true => value.close(buffer),
            false => value.close_as_null(buffer),
        }
        Ok(())
    }
}

fn element<'v>(ty: &CqlType, collection: &'v [u8], key: &[u8]) -> Option<&'v [u8]> {
    let mut elements = elements_of(collection);
    match ty.unfrozen() {
        CqlType::Map(of, _) => {
            let mut entries = std::iter::from_fn(|| Some((elements.next()?, elements.next()?)));
            entries.find(|(k, _)| of.compare(k, key).is_eq()).map(|(_, v)| v)
        }
        CqlType::Set(of) => elements.find(|element| of.compare(element, key).is_eq()),
        _ => {
            let index = i32::from_be_bytes(key.try_into().ok()?);
            elements.nth(usize::try_from(index).ok()?)
        }
    }
}

fn range(ty: &CqlType, collection: &[u8], from: Option<Vec<u8>>, to: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    let (of, pairs) = match ty.unfrozen() {
        CqlType::Map(key, _) => ((**key).clone(), true),
        CqlType::Set(of) => ((**of).clone(), false),
        _ => return Err(Error::invalid("slices of lists are not supported")),
    };
    let within = |key: &[u8]| {
        from.as_ref().is_none_or(|from| of.compare(key, from).is_ge())
            && to.as_ref().is_none_or(|to| of.compare(key, to).is_le())
    };
    let mut out = vec![0; 4];
    let mut count = 0_i32;
    let mut elements = elements_of(collection);
    while let Some(key) = elements.next() {
        let value = if pairs { elements.next() } else { None };
        if within(key) {
            put_value(&mut out, Some(key))?;
            if pairs {
                put_value(&mut out, value)?;
            }
            count += 1;
        }
    }
    out[..4].copy_from_slice(&count.to_be_bytes());
    Ok(Some(out))
}
