//! The CQL types that are served, and their stable tags.
//!
//! Values are the bytes that the native protocol carries and Cassandra stores: big-endian numbers, raw text, collections
//! as a count and length-prefixed elements. An empty value (no bytes) is legal in every type but `duration`, and sorts before all
//! others.
//! The tags stand in `docs/format/types.md`, reserved ones included.

mod compare;
pub(crate) mod decimal;
mod duration;
mod elements;
mod fields;
pub(crate) mod integer;
mod tags;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod validate;
mod value;

pub(crate) use compare::{TIMEUUID_SIGN_FLIP, reorder_back_time, reorder_time};
pub use duration::Duration;
pub(crate) use elements::Elements;
pub(crate) use fields::{Fields, put_field};
pub use fields::{UserField, UserType};
pub use value::Value;

use std::fmt;
use std::sync::Arc;

/// How deeply types may be nested.
pub const TYPE_DEPTH_MAX: usize = 16;

/// A CQL type.
///
/// [`SchemaBuilder`](crate::SchemaBuilder) shows columns of some.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CqlType {
    /// 64-bit signed integer.
    BigInt,
    /// 32-bit signed integer.
    Int,
    /// 16-bit signed integer.
    SmallInt,
    /// 8-bit signed integer.
    TinyInt,
    /// One byte; anything but 0 is true.
    Boolean,
    /// IEEE 754, 32 bits.
    Float,
    /// IEEE 754, 64 bits.
    Double,
    /// UTF-8; `text` and `varchar`.
    Text,
    /// Bytes below 0x80.
    Ascii,
    /// Any bytes.
    Blob,
    /// Any UUID.
    Uuid,
    /// A UUID of version 1, ordered by its time.
    TimeUuid,
    /// Milliseconds since the Unix epoch, 64-bit signed.
    Timestamp,
    /// Days, 32 bits unsigned; 1970-01-01 is the middle, 2^31.
    Date,
    /// Nanoseconds since midnight.
    Time,
    /// An IPv4 or IPv6 address.
    Inet,
    /// An integer of any length.
    Varint,
    /// A number with digits behind the point, of up to 616 digits.
    Decimal,
    /// Months, days and nanoseconds; has no order.
    Duration,
    /// A list; a plain one is stored element by element.
    List(Box<CqlType>),
    /// A set; a plain one is stored element by element.
    Set(Box<CqlType>),
    /// A map; a plain one is stored entry by entry.
    Map(Box<CqlType>, Box<CqlType>),
    /// A few values, any of which may be null; always stored as one.
    Tuple(Vec<CqlType>),
    /// A user-defined type; a plain one is stored field by field.
    Udt(Arc<UserType>),
    /// A collection or user-defined type stored as one value.
    Frozen(Box<CqlType>),
}

impl CqlType {
    /// `frozen<self>`.
    pub fn frozen(self) -> CqlType {
        CqlType::Frozen(Box::new(self))
    }

    /// `list<self>`.
    pub fn list(self) -> CqlType {
        CqlType::List(Box::new(self))
    }

    /// `set<self>`.
    pub fn set(self) -> CqlType {
        CqlType::Set(Box::new(self))
    }

    /// `map<self, value>`.
    pub fn map(self, value: CqlType) -> CqlType {
        CqlType::Map(Box::new(self), Box::new(value))
    }

    /// `tuple<types>`.
    pub fn tuple(types: impl IntoIterator<Item = CqlType>) -> CqlType {
        CqlType::Tuple(types.into_iter().collect())
    }

    /// A user-defined type.
    pub fn udt(ty: UserType) -> CqlType {
        CqlType::Udt(Arc::new(ty))
    }

    /// Whether it is a list, set or map, frozen or not.
    pub fn is_collection(&self) -> bool {
        matches!(self.unfrozen(), CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..))
    }

    /// Whether a column of this type has a cell per element or field: a collection or user-defined type that is not frozen.
    pub fn is_multi_cell(&self) -> bool {
        matches!(
            self,
            CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) | CqlType::Udt(_)
        )
    }

    /// The type without `frozen<>` around it.
    pub fn unfrozen(&self) -> &CqlType {
        let mut ty = self;
        while let CqlType::Frozen(inner) = ty {
            ty = inner;
        }
        ty
    }

    /// The types directly inside this one.
    pub(crate) fn inside(&self) -> Vec<&CqlType> {
        match self {
            CqlType::List(of) | CqlType::Set(of) | CqlType::Frozen(of) => vec![of],
            CqlType::Map(key, value) => vec![key, value],
            CqlType::Tuple(types) => types.iter().collect(),
            CqlType::Udt(ty) => ty.types().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether there is a `duration` in it: it has no order, and cannot be in a key.
    pub fn has_duration(&self) -> bool {
        *self == CqlType::Duration || self.inside().into_iter().any(CqlType::has_duration)
    }

    /// Whether values that compare equal may differ in their bytes: in a key one form stands for all of them, and the row keeps
    /// the one that was written ([`Schema::key_forms`](crate::Schema::key_forms)).
    pub(crate) fn has_forms(&self) -> bool {
        match self {
            CqlType::Boolean | CqlType::Float | CqlType::Double | CqlType::Varint | CqlType::Decimal => true,
            CqlType::Tuple(_) | CqlType::Udt(_) => true,
            _ => self.inside().into_iter().any(CqlType::has_forms),
        }
    }

    /// The keyword of the outermost type, for messages.
    pub fn keyword(&self) -> &'static str {
        match self {
            CqlType::BigInt => "bigint",
            CqlType::Int => "int",
            CqlType::SmallInt => "smallint",
            CqlType::TinyInt => "tinyint",
            CqlType::Boolean => "boolean",
            CqlType::Float => "float",
            CqlType::Double => "double",
            CqlType::Text => "text",
            CqlType::Ascii => "ascii",
            CqlType::Blob => "blob",
            CqlType::Uuid => "uuid",
            CqlType::TimeUuid => "timeuuid",
            CqlType::Timestamp => "timestamp",
            CqlType::Date => "date",
            CqlType::Time => "time",
            CqlType::Inet => "inet",
            CqlType::Varint => "varint",
            CqlType::Decimal => "decimal",
            CqlType::Duration => "duration",
            CqlType::List(_) => "list",
            CqlType::Set(_) => "set",
            CqlType::Map(..) => "map",
            CqlType::Tuple(_) => "tuple",
            CqlType::Udt(_) => "user-defined type",
            CqlType::Frozen(inner) => inner.keyword(),
        }
    }

    /// Whether a column may have this type: `frozen<>` only around collections, tuples and user-defined types; collections and
    /// user-defined types inside plain ones frozen; tuples and user-defined types of 1 to 32,767 fields; nested at most [`TYPE_DEPTH_MAX`] deep. Says what is wrong otherwise.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        self.fault_within(false, TYPE_DEPTH_MAX)
    }

    fn fault_within(&self, inside_plain: bool, depth: usize) -> Option<&'static str> {
        if depth == 0 {
            return Some("is nested too deeply");
        }
        if inside_plain && self.is_multi_cell() {
            return Some("has a collection or user-defined type inside one that is not frozen");
        }
        if let Some(what) = self.own_fault() {
            return Some(what);
        }
        let inside = |ty: &CqlType| ty.fault_within(true, depth - 1);
        match self {
            CqlType::List(of) | CqlType::Set(of) => inside(of),
            CqlType::Map(key, value) => inside(key).or_else(|| inside(value)),
            CqlType::Udt(ty) => ty.types().find_map(inside),
            CqlType::Tuple(_) => self.frozen_fault(depth),
            CqlType::Frozen(inner) => match &**inner {
                CqlType::Tuple(_) => inner.frozen_fault(depth - 1),
                inner if inner.is_multi_cell() => inner.frozen_fault(depth - 1),
                _ => Some("has frozen<> around something that is neither collection, tuple nor user-defined type"),
            },
            _ => None,
        }
    }

    /// What is wrong with the type itself, whatever is around it.
    fn own_fault(&self) -> Option<&'static str> {
        match self.unfrozen() {
            CqlType::Tuple(types) if !(1..=fields::FIELDS_MAX).contains(&types.len()) => {
                Some("has a tuple of none or more than 32767 fields")
            }
            CqlType::Udt(ty) => ty.fault(),
            CqlType::Set(of) if of.has_duration() => Some("has durations, which have no order, in a set"),
            CqlType::Map(key, _) if key.has_duration() => Some("has durations, which have no order, as keys of a map"),
            _ => None,
        }
    }

    /// As [`fault`](Self::fault), where everything is frozen already by what is around it.
    fn frozen_fault(&self, depth: usize) -> Option<&'static str> {
        if depth == 0 {
            return Some("is nested too deeply");
        }
        if let Some(what) = self.own_fault() {
            return Some(what);
        }
        match self {
            CqlType::Frozen(_) => self.fault_within(false, depth),
            _ => self.inside().into_iter().find_map(|ty| ty.frozen_fault(depth - 1)),
        }
    }
}

/// As CQL writes it.
impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CqlType::List(of) => write!(f, "list<{of}>"),
            CqlType::Set(of) => write!(f, "set<{of}>"),
            CqlType::Map(key, value) => write!(f, "map<{key}, {value}>"),
            CqlType::Frozen(inner) => write!(f, "frozen<{inner}>"),
            CqlType::Tuple(types) => {
                for (at, ty) in types.iter().enumerate() {
                    let before = if at == 0 { "tuple<" } else { ", " };
                    write!(f, "{before}{ty}")?;
                }
                f.write_str(">")
            }
            CqlType::Udt(ty) => f.write_str(&ty.name),
            simple => f.write_str(simple.keyword()),
        }
    }
}
