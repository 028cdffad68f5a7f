//! `IF`: on what a modification depends.

use super::columns::{self, ColumnRef, Place};
use super::error::{Error, Result};
use super::expr::{Checker, Expr, Receiver, elements_of, fields_of};
use super::filter::{contains, holds};
use super::modify;
use super::rows::RowView;
use super::syntax::ast::{self, ConditionOf, ConditionTest, InValues, Operator};
use super::values::{Evaluated, Execution};
use model::{CqlType, RowRef, Schema};
use std::borrow::Cow;

/// On what a modification depends.
#[derive(Clone, PartialEq, Default, Debug)]
pub enum Conditions {
    /// On nothing.
    #[default]
    None,
    /// `IF NOT EXISTS`
    NotExists,
    /// `IF EXISTS`
    Exists,
    /// `IF a = b AND …`
    Columns(Vec<Condition>),
}

/// A condition of one column.
#[derive(Clone, PartialEq, Debug)]
pub struct Condition {
    /// The column.
    pub column: ColumnRef,
    of: Of,
    /// The type of what is compared.
    ty: CqlType,
    test: Test,
}

#[derive(Clone, PartialEq, Debug)]
enum Of {
    Whole,
    Element(Expr),
    Field(usize),
}

#[derive(Clone, PartialEq, Debug)]
enum Test {
    Compare(Operator, Expr),
    In(Vec<Expr>),
    InMarker(Expr),
    Contains(Expr),
    ContainsKey(Expr),
}

/// Checks `IF`.
pub(super) fn check(conditions: &ast::Conditions, table: &Schema, checker: &mut Checker<'_>) -> Result<Conditions> {
    Ok(match conditions {
        ast::Conditions::None => Conditions::None,
        ast::Conditions::NotExists => Conditions::NotExists,
        ast::Conditions::Exists => Conditions::Exists,
        ast::Conditions::Columns(conditions) => Conditions::Columns(
            conditions
                .iter()
                .map(|condition| check_one(condition, table, checker))
                .collect::<Result<_>>()?,
        ),
    })
}

fn check_one(condition: &ast::Condition, table: &Schema, checker: &mut Checker<'_>) -> Result<Condition> {
    let column = columns::find(table, &condition.column)?;
    let name = column.name.clone();
    if column.place.is_key() {
        return Err(Error::invalid(format!(
            "PRIMARY KEY column '{name}' cannot have IF conditions"
        )));
    }
    let (of, ty, shown) = match &condition.of {
        ConditionOf::Whole => (Of::Whole, column.ty.clone(), name.clone()),
        ConditionOf::Element(key) => {
            let (key_type, key_name, of) = match column.ty.unfrozen() {
                CqlType::List(of) => (CqlType::Int, format!("idx({name})"), (**of).clone()),
                CqlType::Map(key, of) => ((**key).clone(), format!("key({name})"), (**of).clone()),
                CqlType::Set(_) => {
                    return Err(Error::invalid(format!(
                        "Invalid element access syntax for set column {name}"
                    )));
                }
                _ => {
                    return Err(Error::invalid(format!(
                        "Invalid element access syntax for non-collection column {name}"
                    )));
                }
            };
            let key = checker.term(key, &Receiver::new(key_name, &key_type))?;
            (Of::Element(key), of, format!("value({name})"))
        }
        ConditionOf::Field(field) => {
            let wrong = |_: &str| format!("Invalid field access syntax for non-UDT column {name}");
            let (at, of) = modify::field_at(&name, column.ty.unfrozen(), field, wrong)?;
            (Of::Field(at), of, format!("{name}.{field}"))
        }
    };
    let collection = |key: bool| match (ty.unfrozen(), key) {
        (CqlType::List(of) | CqlType::Set(of) | CqlType::Map(_, of), false) | (CqlType::Map(of, _), true) => {
            Ok((**of).clone())
        }
        _ => Err(Error::invalid(format!(
            "Cannot use CONTAINS on non-collection column {name}"
        ))),
    };
    let test = match &condition.test {
        ConditionTest::Compare(operator, term) => {
            if !matches!(operator, Operator::Eq | Operator::Ne) && ty.has_duration() {
                return Err(Error::invalid("Slice conditions are not supported on durations"));
            }
            Test::Compare(*operator, checker.term(term, &Receiver::new(shown, &ty))?)
        }
        ConditionTest::In(InValues::Terms(terms)) => {
            let receiver = Receiver::new(shown, &ty);
            Test::In(
                terms
                    .iter()
                    .map(|term| checker.term(term, &receiver))
                    .collect::<Result<_>>()?,
            )
        }
        ConditionTest::In(InValues::Marker(marker)) => {
            let list = CqlType::List(Box::new(ty.clone()));
            Test::InMarker(checker.marker(*marker, &Receiver::new(format!("in({shown})"), &list)))
        }
        ConditionTest::Contains(term) => {
            let of = collection(false)?;
            Test::Contains(checker.term(term, &Receiver::new(format!("value({name})"), &of))?)
        }
        ConditionTest::ContainsKey(term) => {
            let of = collection(true)?;
            Test::ContainsKey(checker.term(term, &Receiver::new(format!("key({name})"), &of))?)
        }
    };
    Ok(Condition { column, of, ty, test })
}

impl Conditions {
    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Conditions::None
    }

    /// Whether they are about columns of a row. Whether a row exists is asked of the static one where only that is written.
    pub(super) fn has_regular(&self) -> bool {
        match self {
            Conditions::None | Conditions::NotExists | Conditions::Exists => false,
            Conditions::Columns(conditions) => conditions
                .iter()
                .any(|condition| !matches!(condition.column.place, Place::Static(_))),
        }
    }

    /// The columns that they are about, each once, in order.
    #[must_use]
    pub fn columns(&self) -> Vec<&ColumnRef> {
        let Conditions::Columns(conditions) = self else {
            return Vec::new();
        };
        let mut columns: Vec<&ColumnRef> = Vec::new();
        for condition in conditions {
            if columns.iter().all(|column| column.name != condition.column.name) {
                columns.push(&condition.column);
            }
        }
        columns
    }

    pub(super) fn hold(
        &self,
        row: Option<RowRef<'_>>,
        statics: Option<RowRef<'_>>,
        execution: &Execution<'_>,
    ) -> Result<bool> {
        let view = RowView {
            key: &[],
            clustering: &[],
            row: row.unwrap_or(RowRef::EMPTY),
            statics: statics.unwrap_or(RowRef::EMPTY),
        };
        Ok(match self {
            Conditions::None => true,
            Conditions::NotExists => row.is_none(),
            Conditions::Exists => row.is_some(),
            Conditions::Columns(conditions) => {
                let mut all = true;
                // Each is evaluated, so that what is wrong is told whatever the others say.
                for condition in conditions {
                    all &= condition.holds(&view, execution)?;
                }
                all
            }
        })
    }
}

impl Condition {
    /// What is compared; `None` is null.
    fn value<'r>(&self, row: &RowView<'r>, execution: &Execution<'_>) -> Result<Option<Cow<'r, [u8]>>> {
        let key = match &self.of {
            Of::Whole => return Ok(row.value(&self.column)),
            Of::Element(key) => match key.evaluate(execution)? {
                Evaluated::Value(key) => Some(key),
                _ => {
                    return Err(Error::invalid(format!(
                        "Invalid null value for an element of column {}",
                        self.column.name
                    )));
                }
            },
            Of::Field(_) => None,
        };
        let Some(value) = row.value(&self.column) else {
            return Ok(None);
        };
        let found = match (&self.of, self.column.ty.unfrozen()) {
            (Of::Field(at), _) => fields_of(&value).nth(*at).flatten().map(<[u8]>::to_vec),
            (_, CqlType::Map(of, _)) => {
                let mut elements = elements_of(&value);
                std::iter::from_fn(|| Some((elements.next()?, elements.next()?)))
                    .find(|(k, _)| key.as_ref().is_some_and(|key| of.compare(k, key).is_eq()))
                    .map(|(_, v)| v.to_vec())
            }
            _ => {
                let index = key
                    .and_then(|key| <[u8; 4]>::try_from(&*key).ok())
                    .map(i32::from_be_bytes);
                let index = index.and_then(|index| usize::try_from(index).ok());
                index
                    .and_then(|index| elements_of(&value).nth(index))
                    .map(<[u8]>::to_vec)
            }
        };
        Ok(found.map(Cow::Owned))
    }

    fn holds(&self, row: &RowView<'_>, execution: &Execution<'_>) -> Result<bool> {
        let value = self.value(row, execution)?;
        let name = &self.column.name;
        let evaluate = |expr: &Expr| -> Result<Option<Vec<u8>>> {
            match expr.evaluate(execution)? {
                Evaluated::Value(value) if value.is_empty() && self.ty.is_multi_cell() => Ok(None),
                // An empty collection that is not frozen is null.
                Evaluated::Value(value) if self.ty.is_multi_cell() && value[..] == [0; 4] => Ok(None),
                Evaluated::Value(value) => Ok(Some(value.into_owned())),
                Evaluated::Null => Ok(None),
                Evaluated::Unset => Err(Error::invalid(format!(
                    "Invalid 'unset' value in condition of column {name}"
                ))),
            }
        };
        let equal = |a: Option<&[u8]>, b: Option<&[u8]>| match (a, b) {
            (Some(a), Some(b)) => self.ty.compare(a, b).is_eq(),
            (None, None) => true,
            _ => false,
        };
        Ok(match &self.test {
            Test::Compare(operator, expr) => {
                let with = evaluate(expr)?;
                match operator {
                    Operator::Eq => equal(value.as_deref(), with.as_deref()),
                    Operator::Ne => !equal(value.as_deref(), with.as_deref()),
                    _ => {
                        let Some(with) = with else {
                            return Err(Error::invalid(format!(
                                "Invalid comparison with null for operator \"{}\"",
                                operator.text()
                            )));
                        };
                        value.is_some_and(|value| holds(*operator, self.ty.compare(&value, &with)))
                    }
                }
            }
            Test::In(exprs) => {
                let mut any = false;
                for expr in exprs {
                    any |= equal(value.as_deref(), evaluate(expr)?.as_deref());
                }
                any
            }
            Test::InMarker(expr) => match evaluate(expr)? {
                Some(list) => elements_of(&list).any(|with| equal(value.as_deref(), Some(with))),
                None => {
                    return Err(Error::invalid(format!(
                        "Invalid null list in IN condition of column {name}"
                    )));
                }
            },
            Test::Contains(expr) | Test::ContainsKey(expr) => {
                let key = matches!(self.test, Test::ContainsKey(_));
                match (value, evaluate(expr)?) {
                    (Some(value), Some(with)) => contains(&self.ty, &value, &with, key),
                    _ => false,
                }
            }
        })
    }
}
