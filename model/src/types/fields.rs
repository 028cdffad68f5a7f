//! Tuples and user-defined types: a few values of different types, any of which may be null.

use super::CqlType;
use crate::varint;
use std::collections::BTreeSet;

/// The most fields.
pub(crate) const FIELDS_MAX: usize = i16::MAX as usize;

/// A user-defined type, as `CREATE TYPE` has it.
///
/// ```
/// use scrollback_model::{CqlType, UserType};
///
/// let address = UserType::new("chat", "address", [("street", CqlType::Text), ("number", CqlType::Int)]);
/// assert_eq!(CqlType::udt(address).frozen().to_string(), "frozen<address>");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UserType {
    /// The keyspace that it belongs to.
    pub keyspace: String,
    /// Its name, as written after folding.
    pub name: String,
    /// In the order of their definition; at least one.
    pub fields: Vec<UserField>,
}

/// A field of a user-defined type.
///
/// [`UserType`] shows how to name some.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UserField {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: CqlType,
}

impl UserType {
    /// The type of these fields.
    #[must_use]
    pub fn new<'n>(keyspace: &str, name: &str, fields: impl IntoIterator<Item = (&'n str, CqlType)>) -> UserType {
        let field = |(name, ty): (&str, CqlType)| UserField {
            name: name.to_owned(),
            ty,
        };
        UserType {
            keyspace: keyspace.to_owned(),
            name: name.to_owned(),
            fields: fields.into_iter().map(field).collect(),
        }
    }

    /// The types of its fields.
    pub fn types(&self) -> impl Iterator<Item = &CqlType> {
        self.fields.iter().map(|field| &field.ty)
    }

    pub(super) fn fault(&self) -> Option<&'static str> {
        let mut names = BTreeSet::new();
        if !(1..=FIELDS_MAX).contains(&self.fields.len()) {
            Some("has a user-defined type of none or more than 32767 fields")
        } else if self.name.is_empty() || self.fields.iter().any(|field| field.name.is_empty()) {
            Some("has a user-defined type with an empty name")
        } else if !self.fields.iter().all(|field| names.insert(&field.name)) {
            Some("has a user-defined type with two fields of one name")
        } else {
            None
        }
    }
}

/// A value of a tuple, or `None` for null.
pub(crate) type Field<'a> = Option<&'a [u8]>;

/// Walks the bytes of a tuple: for each field its length (32 bits, big-endian; negative: null) and bytes. Fields at the end may be
/// missing, and are null.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

/// The bytes are not a tuple.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    /// The next field that is there; `Ok(None)` at the end.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut rest = self.rest;
        let len = i32::from_be_bytes(varint::get_array(&mut rest).ok_or(Malformed)?);
        let field = match usize::try_from(len) {
            Err(_) => None,
            Ok(len) => {
                let (field, after) = rest.split_at_checked(len).ok_or(Malformed)?;
                rest = after;
                Some(field)
            }
        };
        self.rest = rest;
        Ok(Some(field))
    }
}

/// Appends a field.
pub(crate) fn put_field(out: &mut Vec<u8>, field: Field<'_>) {
    match field {
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(bytes) => {
            out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

impl CqlType {
    /// The types of a tuple's or user-defined type's fields.
    pub(crate) fn fields(&self) -> Option<Vec<&CqlType>> {
        match self {
            CqlType::Tuple(types) => Some(types.iter().collect()),
            CqlType::Udt(ty) => Some(ty.types().collect()),
            _ => None,
        }
    }
}
