//! What is looked at row by row.

use super::columns::ColumnRef;
use super::error::Result;
use super::expr::{Expr, elements_of};
use super::restrict::not_null;
use super::rows::RowView;
use super::syntax::ast::Operator;
use super::values::Execution;
use model::CqlType;
use std::borrow::Cow;

/// A condition of one column.
#[derive(Clone, PartialEq, Debug)]
pub struct Filter {
    /// The column.
    pub column: ColumnRef,
    /// What must hold of it.
    pub test: Test,
}

/// What must hold of a column.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// `< a`
    Compare(Operator, Expr),
    /// `IN (a, b)`
    In(Vec<Expr>),
    /// `IN ?`
    InMarker(Expr),
    /// `CONTAINS a`
    Contains(Expr),
    /// `CONTAINS KEY a`
    ContainsKey(Expr),
    /// `[a] = b`
    Element(Expr, Expr),
}

/// A filter with the values of one execution.
#[derive(Clone, Debug)]
pub struct BoundFilter<'a> {
    column: &'a ColumnRef,
    test: &'a Test,
    values: Vec<Cow<'a, [u8]>>,
}

impl Filter {
    /// With the values of an execution.
    ///
    /// # Errors
    /// [`Error::Invalid`](super::Error::Invalid): a value that is null, or not of its type.
    pub fn bind<'a>(&'a self, execution: &Execution<'a>) -> Result<BoundFilter<'a>> {
        let name = &self.column.name;
        let value = |expr: &'a Expr| not_null(expr, execution, name);
        let values = match &self.test {
            Test::Compare(_, expr) | Test::Contains(expr) | Test::ContainsKey(expr) => vec![value(expr)?],
            Test::In(exprs) => exprs.iter().map(value).collect::<Result<_>>()?,
            Test::InMarker(expr) => {
                let list = value(expr)?;
                elements_of(&list).map(|value| Cow::Owned(value.to_vec())).collect()
            }
            Test::Element(key, of) => vec![value(key)?, value(of)?],
        };
        Ok(BoundFilter {
            column: &self.column,
            test: &self.test,
            values,
        })
    }
}

/// How two values compare, as an operator has it.
pub(super) fn holds(operator: Operator, ordering: std::cmp::Ordering) -> bool {
    match operator {
        Operator::Eq => ordering.is_eq(),
        Operator::Lt => ordering.is_lt(),
        Operator::Le => ordering.is_le(),
        Operator::Gt => ordering.is_gt(),
        Operator::Ge => ordering.is_ge(),
        Operator::Ne => ordering.is_ne(),
    }
}

impl BoundFilter<'_> {
    /// Whether the condition holds of a row. What is null fulfils none.
    #[must_use]
    pub fn admits(&self, row: &RowView<'_>) -> bool {
        let Some(value) = row.value(self.column) else {
            return false;
        };
        let ty = &self.column.ty;
        let first = || self.values.first().map_or(&[][..], |value| &**value);
        match self.test {
            Test::Compare(operator, _) => holds(*operator, ty.compare(&value, first())),
            Test::In(_) | Test::InMarker(_) => self.values.iter().any(|of| ty.compare(&value, of).is_eq()),
            Test::Contains(_) => contains(ty, &value, first(), false),
            Test::ContainsKey(_) => contains(ty, &value, first(), true),
            Test::Element(..) => {
                let (CqlType::Map(key, of), [wanted, with]) = (ty.unfrozen(), self.values.as_slice()) else {
                    return false;
                };
                let mut elements = elements_of(&value);
                while let (Some(k), Some(v)) = (elements.next(), elements.next()) {
                    if key.compare(k, wanted).is_eq() {
                        return of.compare(v, with).is_eq();
                    }
                }
                false
            }
        }
    }
}

/// Whether a collection has an element, or a map a value or key.
pub(super) fn contains(ty: &CqlType, collection: &[u8], element: &[u8], key: bool) -> bool {
    match ty.unfrozen() {
        CqlType::List(of) | CqlType::Set(of) if !key => elements_of(collection).any(|e| of.compare(e, element).is_eq()),
        CqlType::Map(k, v) => {
            let (of, skip) = if key { (k, 0) } else { (v, 1) };
            elements_of(collection)
                .skip(skip)
                .step_by(2)
                .any(|e| of.compare(e, element).is_eq())
        }
        _ => false,
    }
}
