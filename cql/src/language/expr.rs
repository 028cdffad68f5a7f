//! Terms that were checked against the type of what receives them.

use super::catalog::Catalog;
use super::error::{Error, Result};
use super::functions::{self, Signature};
use super::literal;
use super::selection::term_text;
use super::syntax::ast::{Constant, Term};
use super::types::{self, text_of};
use super::values::{Evaluated, Execution};
use crate::frame::Value;
use model::CqlType;
use std::borrow::Cow;
use std::sync::Arc;

/// A bind marker: what a client is told of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Marker {
    /// Its own name, or that of what receives its value.
    pub name: String,
    /// The type of its values.
    pub ty: CqlType,
}

/// A checked term.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// Null.
    Null,
    /// These bytes.
    Constant(Arc<[u8]>),
    /// The value of a marker.
    Marker(u16, CqlType),
    /// A list, or a set: its type and elements.
    Elements(CqlType, Vec<Expr>),
    /// A map: its type, keys and values.
    Entries(CqlType, Vec<(Expr, Expr)>),
    /// A tuple, or a user-defined type; missing fields are null.
    Fields(Vec<Expr>),
    /// A function.
    Call(Box<Signature>, Vec<Expr>),
}

/// What receives a term's value: a name for messages, and a type.
#[derive(Clone, Debug)]
pub struct Receiver<'r> {
    /// The column, or what stands for one.
    pub name: Cow<'r, str>,
    /// Its type.
    pub ty: Cow<'r, CqlType>,
}

impl<'r> Receiver<'r> {
    /// A column, or what stands for one.
    pub fn new(name: impl Into<Cow<'r, str>>, ty: &'r CqlType) -> Receiver<'r> {
        Receiver {
            name: name.into(),
            ty: Cow::Borrowed(ty),
        }
    }
}

/// Checks terms and learns what the markers are.
pub struct Checker<'c> {
    /// The definitions.
    pub catalog: &'c dyn Catalog,
    /// Where user-defined types are looked up.
    pub keyspace: &'c str,
    /// The names of the statement's markers, where they have one.
    pub names: &'c [Option<String>],
    /// What the markers are found to be.
    pub markers: Vec<Option<Marker>>,
}

impl<'c> Checker<'c> {
    /// A checker that has seen nothing.
    pub fn new(catalog: &'c dyn Catalog, keyspace: &'c str, names: &'c [Option<String>]) -> Checker<'c> {
        Checker {
            catalog,
            keyspace,
            names,
            markers: vec![None; names.len()],
        }
    }

    /// Notes that a marker's value is received by `receiver`.
    pub fn marker(&mut self, index: u16, receiver: &Receiver<'_>) -> Expr {
        let at = usize::from(index);
        let name = self.names[at]
            .clone()
            .unwrap_or_else(|| receiver.name.clone().into_owned());
        let ty = receiver.ty.clone().into_owned();
        self.markers[at] = Some(Marker { name, ty: ty.clone() });
        Expr::Marker(index, ty)
    }

    /// A term whose value `receiver` gets.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it is of another type, or a function that does not exist.
    pub fn term(&mut self, term: &Term, receiver: &Receiver<'_>) -> Result<Expr> {
        let Receiver { name, ty } = receiver;
        let wrong = |what: &str| {
            Err(Error::invalid(format!(
                "Invalid {what} literal for {name} of type {}",
                text_of(ty)
            )))
        };
        match (term, ty.unfrozen()) {
            (Term::Marker(index), _) => Ok(self.marker(*index, receiver)),
            (Term::Null, _) => Ok(Expr::Null),
            (Term::Constant(constant), _) => {
                let bytes = literal::encode(constant, ty, name)?;
                Ok(Expr::Constant(bytes.into()))
            }
            (Term::Cast(to, inner), _) => {
                let to = types::resolve(to, self.keyspace, self.catalog)?;
                if !assignable(&to, ty) {
                    return Err(Error::invalid(format!(
                        "Cannot assign value {} to {name} of type {}",
                        term_text(term),
                        text_of(ty)
                    )));
                }
                let term = inner;
                self.term(term, &Receiver::new(name.clone(), &to))
            }
            (Term::Call(function, arguments), _) => self.call(function, arguments, receiver),
            (Term::List(items), CqlType::List(of)) => {
                let items = self.elements(items, "list", name, of)?;
                fold(Expr::Elements(ty.unfrozen().clone(), items))
            }
            (Term::Set(items), CqlType::Set(of)) => {
                let items = self.elements(items, "set", name, of)?;
                fold(Expr::Elements(ty.unfrozen().clone(), items))
            }
            (Term::Set(items), CqlType::Map(..)) if items.is_empty() => {
                fold(Expr::Entries(ty.unfrozen().clone(), Vec::new()))
            }
            (Term::Set(items), CqlType::Udt(_)) if items.is_empty() => Ok(Expr::Null),
            (Term::Map(entries), CqlType::Map(key, of)) => {
                let mut checked = Vec::new();
                for (k, v) in entries {
                    self.must_fit(k, key, "map", name, "key")?;
                    self.must_fit(v, of, "map", name, "value")?;
                    let k = self.element(k, &Receiver::new(format!("key({name})"), key))?;
                    let v = self.element(v, &Receiver::new(format!("value({name})"), of))?;
                    checked.push((k, v));
                }
                fold(Expr::Entries(ty.unfrozen().clone(), checked))
            }
            (Term::Tuple(items), CqlType::Tuple(of)) => {
                if items.len() > of.len() {
                    return Err(Error::invalid(format!(
                        "Invalid tuple literal for {name}: too many elements. Type {} expects {} but got {}",
                        text_of(ty),
                        of.len(),
                        items.len()
                    )));
                }
                let mut fields = Vec::new();
                // The columns of a relation are told one by one.
                let is_value = !name.starts_with('(');
                for (at, (item, of)) in items.iter().zip(of).enumerate() {
                    if is_value && !self.may_be(item, of) {
                        return Err(Error::invalid(format!(
                            "Invalid tuple literal for {name}: component {at} is not of type {}",
                            text_of(of)
                        )));
                    }
                    fields.push(self.term(item, &Receiver::new(format!("{name}[{at}]"), of))?);
                }
                fold(Expr::Fields(fields))
            }
            // One term between parentheses.
            (Term::Tuple(items), _) if items.len() == 1 => self.term(&items[0], receiver),
            (Term::Fields(fields), CqlType::Udt(of)) => {
                if let Some((unknown, _)) = fields
                    .iter()
                    .find(|(field, _)| of.fields.iter().all(|of| of.name != *field))
                {
                    return Err(Error::invalid(format!(
                        "Unknown field '{unknown}' in value of user defined type {}",
                        types::quoted(&of.name)
                    )));
                }
                let mut checked = Vec::new();
                for field in &of.fields {
                    let receiver = Receiver::new(format!("{name}.{}", field.name), &field.ty);
                    checked.push(match fields.iter().rev().find(|(name, _)| *name == field.name) {
                        Some((_, term)) if !self.may_be(term, &field.ty) => {
                            return Err(Error::invalid(format!(
                                "Invalid user type literal for {name}: field {} is not of type {}",
                                field.name,
                                text_of(&field.ty)
                            )));
                        }
                        Some((_, term)) => self.term(term, &receiver)?,
                        None => Expr::Null,
                    });
                }
                fold(Expr::Fields(checked))
            }
            // A map whose keys are words is written like fields.
            (Term::Fields(_), _) => wrong("user type"),
            (Term::List(_), _) => wrong("list"),
            (Term::Set(_), _) => wrong("set"),
            (Term::Map(_), _) => wrong("map"),
            (Term::Tuple(_), _) => wrong("tuple"),
        }
    }

    fn elements(&mut self, items: &[Term], kind: &str, name: &str, of: &CqlType) -> Result<Vec<Expr>> {
        for item in items {
            self.must_fit(item, of, kind, name, "value")?;
        }
        let receiver = Receiver::new(format!("value({name})"), of);
        items.iter().map(|item| self.element(item, &receiver)).collect()
    }

    /// Whether a part of a literal may be of a type.
    fn may_be(&self, item: &Term, of: &CqlType) -> bool {
        match item {
            Term::Constant(constant) => literal::fits(constant, of),
            item => self.fits(item, of),
        }
    }

    /// A part of a collection is told by itself, not by the first wrong constant in it.
    fn must_fit(&self, item: &Term, of: &CqlType, kind: &str, name: &str, part: &str) -> Result<()> {
        match self.may_be(item, of) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "Invalid {kind} literal for {name}: {part} {} is not of type {}",
                term_text(item),
                text_of(of)
            ))),
        }
    }

    fn element(&mut self, term: &Term, receiver: &Receiver<'_>) -> Result<Expr> {
        match self.term(term, receiver)? {
            Expr::Null => Err(Error::invalid("null is not supported inside collections")),
            checked => Ok(checked),
        }
    }

    fn call(&mut self, function: &str, arguments: &[Term], receiver: &Receiver<'_>) -> Result<Expr> {
        if function == "token" {
            return Err(Error::invalid(
                "token() stands on the left side of a restriction, or over all of the key's columns",
            ));
        }
        let signature = self.overload(function, arguments)?;
        if !assignable(&signature.returns, &receiver.ty) {
            return Err(Error::invalid(format!(
                "Type error: cannot assign result of function system.{function} (type {}) to {} (type {})",
                text_of(&signature.returns),
                receiver.name,
                text_of(&receiver.ty)
            )));
        }
        self.call_of(signature, arguments)
    }

    /// The call of a function whose arguments fit.
    pub(super) fn call_of(&mut self, signature: Signature, arguments: &[Term]) -> Result<Expr> {
        let mut checked = Vec::new();
        for (at, (argument, ty)) in arguments.iter().zip(&signature.arguments).enumerate() {
            let receiver = Receiver::new(format!("arg{at}(system.{})", signature.name), ty);
            checked.push(self.term(argument, &receiver)?);
        }
        fold(Expr::Call(Box::new(signature), checked))
    }

    /// The function of that name that takes these terms.
    pub(super) fn overload(&self, function: &str, arguments: &[Term]) -> Result<Signature> {
        let named = functions::named(function);
        if named.is_empty() {
            return Err(Error::invalid(format!("Unknown function '{function}'")));
        }
        let fits = |of: &&Signature| {
            of.arguments.len() == arguments.len()
                && of.arguments.iter().zip(arguments).all(|(ty, term)| self.fits(term, ty))
        };
        let mut fitting = named.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Ok(one.clone()),
            // A marker may be any of them; the first is what is meant nearly always.
            (Some(first), Some(_))
                if arguments
                    .iter()
                    .all(|term| matches!(term, Term::Marker(_) | Term::Null)) =>
            {
                Ok(first.clone())
            }
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "Ambiguous call to function {function}: use type casts to disambiguate"
            ))),
            (None, _) => {
                let takes: Vec<String> = named
                    .iter()
                    .map(|of| of.arguments.iter().map(text_of).collect::<Vec<_>>().join(", "))
                    .collect();
                Err(Error::invalid(format!(
                    "Invalid call to function {function}, none of its type signatures match (known type signatures: ({}))",
                    takes.join("), (")
                )))
            }
        }
    }

    /// Whether a term may be of a type.
    fn fits(&self, term: &Term, ty: &CqlType) -> bool {
        match term {
            Term::Marker(_) | Term::Null => true,
            Term::Constant(Constant::Integer(_)) if matches!(ty, CqlType::Date | CqlType::Time) => false,
            Term::Constant(constant) => literal::fits(constant, ty),
            Term::Cast(to, _) => types::resolve(to, self.keyspace, self.catalog).is_ok_and(|to| assignable(&to, ty)),
            Term::Call(name, arguments) => self
                .overload(name, arguments)
                .is_ok_and(|signature| assignable(&signature.returns, ty)),
            Term::List(_) => matches!(ty.unfrozen(), CqlType::List(_)),
            Term::Set(items) if items.is_empty() => {
                matches!(ty.unfrozen(), CqlType::Set(_) | CqlType::Map(..) | CqlType::Udt(_))
            }
            Term::Set(_) => matches!(ty.unfrozen(), CqlType::Set(_)),
            Term::Map(_) => matches!(ty.unfrozen(), CqlType::Map(..)),
            Term::Tuple(items) if items.len() == 1 && !matches!(ty.unfrozen(), CqlType::Tuple(_)) => {
                self.fits(&items[0], ty)
            }
            Term::Tuple(_) => matches!(ty.unfrozen(), CqlType::Tuple(_)),
            Term::Fields(_) => matches!(ty.unfrozen(), CqlType::Udt(_)),
        }
    }
}

/// Whether a value of one type is one of another.
pub(super) fn assignable(from: &CqlType, to: &CqlType) -> bool {
    let (from, to) = (from.unfrozen(), to.unfrozen());
    from == to
        || matches!(
            (from, to),
            (CqlType::TimeUuid, CqlType::Uuid)
                | (CqlType::Ascii, CqlType::Text)
                | (CqlType::BigInt, CqlType::Timestamp)
        )
}

/// What does not depend on an execution becomes a constant.
fn fold(expr: Expr) -> Result<Expr> {
    let is_constant = |of: &Expr| matches!(of, Expr::Constant(_) | Expr::Null);
    let all_constant = match &expr {
        Expr::Elements(_, items) | Expr::Fields(items) => items.iter().all(is_constant),
        Expr::Entries(_, entries) => entries
            .iter()
            .all(|(key, value)| is_constant(key) && is_constant(value)),
        Expr::Call(signature, arguments) => signature.is_pure() && arguments.iter().all(is_constant),
        _ => false,
    };
    if !all_constant {
        return Ok(expr);
    }
    let execution = Execution {
        values: &[],
        environment: &Nowhere,
    };
    Ok(match expr.evaluate(&execution)? {
        Evaluated::Value(value) => Expr::Constant(value.into_owned().into()),
        _ => Expr::Null,
    })
}

/// The surroundings of what does not ask for any.
struct Nowhere;

impl super::values::Environment for Nowhere {
    fn now_micros(&self) -> i64 {
        unreachable!("asked for by a pure function")
    }

    fn time_uuid(&self) -> [u8; 16] {
        unreachable!("asked for by a pure function")
    }

    fn random_uuid(&self) -> [u8; 16] {
        unreachable!("asked for by a pure function")
    }
}

impl Expr {
    /// What it comes to. Values of markers are checked against their type.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a value that is none of its type, or null where none may be.
    pub fn evaluate<'a>(&'a self, execution: &Execution<'a>) -> Result<Evaluated<'a>> {
        Ok(match self {
            Expr::Null => Evaluated::Null,
            Expr::Constant(bytes) => Evaluated::Value(Cow::Borrowed(bytes)),
            Expr::Marker(index, ty) => match execution.values.get(usize::from(*index)) {
                Some(Value::Bytes(value)) => {
                    // Checked; a set somewhere in it is sorted.
                    Evaluated::Value(ty.canonical(value)?)
                }
                Some(Value::Unset) => Evaluated::Unset,
                Some(Value::Null) => Evaluated::Null,
                None => return Err(Error::invalid("Invalid amount of bind variables")),
            },
            Expr::Elements(ty, items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    values.push(element(item, execution)?);
                }
                Evaluated::Value(Cow::Owned(collection(ty, values.len(), &values)?))
            }
            Expr::Entries(ty, entries) => {
                let mut values = Vec::with_capacity(entries.len() * 2);
                for (key, value) in entries {
                    values.push(element(key, execution)?);
                    values.push(element(value, execution)?);
                }
                Evaluated::Value(Cow::Owned(collection(ty, entries.len(), &values)?))
            }
            Expr::Fields(fields) => {
                let mut out = Vec::new();
                for field in fields {
                    put_value(&mut out, field.evaluate(execution)?.value().as_deref())?;
                }
                Evaluated::Value(Cow::Owned(out))
            }
            Expr::Call(signature, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(argument.evaluate(execution)?.value());
                }
                let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
                match signature.call(&values, execution.environment)? {
                    Some(value) => Evaluated::Value(Cow::Owned(value)),
                    None => Evaluated::Null,
                }
            }
        })
    }
}

fn element<'a>(item: &'a Expr, execution: &Execution<'a>) -> Result<Cow<'a, [u8]>> {
    match item.evaluate(execution)? {
        Evaluated::Value(value) => Ok(value),
        Evaluated::Null => Err(Error::invalid("null is not supported inside collections")),
        Evaluated::Unset => Err(Error::invalid("unset value is not supported inside collections")),
    }
}

/// A collection's bytes: sorted, each element once, as its type has it.
fn collection(ty: &CqlType, count: usize, elements: &[Cow<'_, [u8]>]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let count = i32::try_from(count).map_err(|_| Error::invalid("a collection of too many elements"))?;
    out.extend_from_slice(&count.to_be_bytes());
    for element in elements {
        put_value(&mut out, Some(element))?;
    }
    Ok(ty.canonical(&out)?.into_owned())
}

/// Appends a value with its length.
pub(super) fn put_value(out: &mut Vec<u8>, value: Option<&[u8]>) -> Result<()> {
    match value {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some(value) => {
            let len = i32::try_from(value.len()).map_err(|_| Error::invalid("a value above 2 GiB"))?;
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(value);
        }
    }
    Ok(())
}

/// The elements of a collection's bytes that were checked; keys and values of a map one after the other.
pub(super) fn elements_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes.get(4..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let (element, after) = after.split_at_checked(usize::try_from(i32::from_be_bytes(*len)).ok()?)?;
        rest = after;
        Some(element)
    })
}

/// The fields of a tuple's bytes that were checked; those missing at the end are not given.
pub(super) fn fields_of(bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<4>()?;
        match usize::try_from(i32::from_be_bytes(*len)) {
            Err(_) => {
                rest = after;
                Some(None)
            }
            Ok(len) => {
                let (field, after) = after.split_at_checked(len)?;
                rest = after;
                Some(Some(field))
            }
        }
    })
}
