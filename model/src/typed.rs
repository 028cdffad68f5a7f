//! Rows as Rust values: [`TypedRow`] reads columns by name, [`Insert`] writes them.
//!
//! The column's type decides what a value may be; no macro is needed.

use crate::{
    CellKind, ColumnId, CqlType, Deletion, Expiry, ModelError, Mutation, MutationBuilder, RowBuilder, RowRef, Schema,
    Value,
};
use std::any::type_name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A Rust type that a value is read as. `Option` of it is read where there may be none.
///
/// [`TypedRow::get`] reads by it.
pub trait FromCql: Sized {
    /// The value; `None` if it is of another type.
    fn from_cql(value: Value) -> Option<Self>;

    /// What stands for no value; `None`: there must be one.
    fn absent() -> Option<Self> {
        None
    }
}

/// A Rust type that a value is written from. `None` of an `Option` deletes.
///
/// [`Insert::set`] writes by it.
pub trait ToCql {
    /// The value, for a column of this type; `None` if it is of another one.
    fn to_cql(&self, ty: &CqlType) -> Option<Value>;

    /// Whether there is no value.
    fn is_absent(&self) -> bool {
        false
    }
}

macro_rules! values {
    ($($rust:ty: $($value:ident),+;)+) => {$(
        impl FromCql for $rust {
            fn from_cql(value: Value) -> Option<Self> {
                match value {
                    $(Value::$value(value) => Some(value),)+
                    _ => None,
                }
            }
        }

        impl ToCql for $rust {
            fn to_cql(&self, ty: &CqlType) -> Option<Value> {
                match ty.unfrozen() {
                    $(CqlType::$value => Some(Value::$value(self.clone())),)+
                    _ => None,
                }
            }
        }
    )+};
}

values! {
    i8: TinyInt;
    i16: SmallInt;
    i32: Int;
    i64: BigInt, Timestamp, Time;
    u32: Date;
    f32: Float;
    f64: Double;
    bool: Boolean;
    String: Text, Ascii;
    Vec<u8>: Blob, Varint;
    uuid::Uuid: Uuid, TimeUuid;
    IpAddr: Inet;
    crate::Duration: Duration;
}

impl FromCql for Value {
    fn from_cql(value: Value) -> Option<Self> {
        Some(value)
    }
}

impl ToCql for Value {
    fn to_cql(&self, _: &CqlType) -> Option<Value> {
        Some(self.clone())
    }
}

impl ToCql for str {
    fn to_cql(&self, ty: &CqlType) -> Option<Value> {
        self.to_owned().to_cql(ty)
    }
}

impl<T: ToCql + ?Sized> ToCql for &T {
    fn to_cql(&self, ty: &CqlType) -> Option<Value> {
        (**self).to_cql(ty)
    }

    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }
}

impl<T: FromCql> FromCql for Option<T> {
    fn from_cql(value: Value) -> Option<Self> {
        T::from_cql(value).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: ToCql> ToCql for Option<T> {
    fn to_cql(&self, ty: &CqlType) -> Option<Value> {
        self.as_ref().and_then(|value| value.to_cql(ty))
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

/// A list of anything but bytes, which are a blob.
impl<T: FromCql + Ord> FromCql for BTreeSet<T> {
    fn from_cql(value: Value) -> Option<Self> {
        match value {
            Value::Set(elements) | Value::List(elements) => elements.into_iter().map(T::from_cql).collect(),
            _ => None,
        }
    }

    fn absent() -> Option<Self> {
        Some(BTreeSet::new())
    }
}

impl<T: ToCql> ToCql for BTreeSet<T> {
    fn to_cql(&self, ty: &CqlType) -> Option<Value> {
        match ty.unfrozen() {
            CqlType::Set(of) => self
                .iter()
                .map(|element| element.to_cql(of))
                .collect::<Option<_>>()
                .map(Value::Set),
            _ => None,
        }
    }
}

macro_rules! lists {
    ($($of:ty),+) => {$(
        impl FromCql for Vec<$of> {
            fn from_cql(value: Value) -> Option<Self> {
                match value {
                    Value::List(elements) | Value::Set(elements) => elements.into_iter().map(<$of>::from_cql).collect(),
                    _ => None,
                }
            }

            fn absent() -> Option<Self> {
                Some(Vec::new())
            }
        }

        impl ToCql for Vec<$of> {
            fn to_cql(&self, ty: &CqlType) -> Option<Value> {
                match ty.unfrozen() {
                    CqlType::List(of) => self.iter().map(|element| element.to_cql(of)).collect::<Option<_>>().map(Value::List),
                    CqlType::Set(of) => self.iter().map(|element| element.to_cql(of)).collect::<Option<_>>().map(Value::Set),
                    _ => None,
                }
            }
        }
    )+};
}

lists!(i32, i64, f32, f64, String, uuid::Uuid, Value);

impl<K: FromCql + Ord, V: FromCql> FromCql for BTreeMap<K, V> {
    fn from_cql(value: Value) -> Option<Self> {
        let Value::Map(entries) = value else { return None };
        let pair = |(key, value)| Some((K::from_cql(key)?, V::from_cql(value)?));
        entries.into_iter().map(pair).collect()
    }

    fn absent() -> Option<Self> {
        Some(BTreeMap::new())
    }
}

impl<K: ToCql, V: ToCql> ToCql for BTreeMap<K, V> {
    fn to_cql(&self, ty: &CqlType) -> Option<Value> {
        let CqlType::Map(key, value) = ty.unfrozen() else {
            return None;
        };
        let pair = |(k, v): (&K, &V)| Some((k.to_cql(key)?, v.to_cql(value)?));
        self.iter().map(pair).collect::<Option<_>>().map(Value::Map)
    }
}

/// Where a column stands.
enum Place {
    Partition(usize),
    Clustering(usize),
    Static,
    Regular,
}

fn place<'s>(schema: &'s Schema, name: &str) -> Result<(Place, ColumnId, &'s CqlType), ModelError> {
    let at = schema.columns().position(|column| column.name == name);
    let (Some(at), Some(column)) = (at, schema.column(name)) else {
        let columns: Vec<&str> = schema.columns().map(|column| column.name.as_str()).collect();
        return Err(ModelError::Column {
            column: name.to_owned(),
            what: format!(
                "{} has no such column, but {}",
                schema.qualified_name(),
                columns.join(", ")
            ),
        });
    };
    let keys = schema.partition_key.len();
    let place = match at {
        _ if at < keys => Place::Partition(at),
        _ if at < keys + schema.clustering.len() => Place::Clustering(at - keys),
        _ if at < keys + schema.clustering.len() + schema.statics.len() => Place::Static,
        _ => Place::Regular,
    };
    Ok((place, column.id, &column.ty))
}

fn of_column<T>(name: &str, result: Result<T, ModelError>) -> Result<T, ModelError> {
    result.map_err(|error| ModelError::Column {
        column: name.to_owned(),
        what: error.to_string(),
    })
}

/// A row of a table, read by the names of its columns. Cheap to make; it borrows everything.
///
/// ```
/// use scrollback_model::{CqlType, Insert, ModelError, RowRef, Schema, TypedRow};
///
/// struct Reading { at_ms: i64, celsius: Option<f64> }
///
/// impl Reading {
///     fn of(row: &TypedRow<'_>) -> Result<Reading, ModelError> {
///         Ok(Reading { at_ms: row.get("at_ms")?, celsius: row.get("celsius")? })
///     }
/// }
///
/// # fn main() -> Result<(), ModelError> {
/// let schema = Schema::builder("lab", "readings")
///     .partition_key("sensor", CqlType::Int)
///     .clustering_desc("at_ms", CqlType::BigInt)
///     .regular("celsius", CqlType::Double)
///     .build()?;
/// let insert = Insert::into(&schema).set("sensor", 7)?.set("at_ms", 1000_i64)?.set("celsius", 21.5)?.at(1)?;
/// let mutation = insert.as_ref();
/// let (clustering, row) = mutation.rows().next().expect("one row");
/// let reading = Reading::of(&TypedRow::new(&schema, mutation.key(), clustering, row))?;
/// assert_eq!((reading.at_ms, reading.celsius), (1000, Some(21.5)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TypedRow<'a> {
    schema: &'a Schema,
    key: &'a [u8],
    clustering: &'a [u8],
    row: RowRef<'a>,
}

impl<'a> TypedRow<'a> {
    /// A row of a page: of the partition `key`, at `clustering`. A static row has an empty `clustering`.
    pub fn new(schema: &'a Schema, key: &'a [u8], clustering: &'a [u8], row: RowRef<'a>) -> TypedRow<'a> {
        TypedRow {
            schema,
            key,
            clustering,
            row,
        }
    }

    /// The value of a column, of its key or of its cells; a collection that is not frozen is put together. Whether a cell has
    /// expired is not looked at: a page has live cells only.
    ///
    /// # Errors
    /// [`ModelError::Column`]: there is no such column; it is null, or another type's, other than what is asked for.
    pub fn get<T: FromCql>(&self, name: &str) -> Result<T, ModelError> {
        let (_, _, ty) = place(self.schema, name)?;
        let asked = || format!("{}, asked for as {}", ty.keyword(), type_name::<T>());
        match self.value(name)? {
            Some(value) => T::from_cql(value).ok_or_else(|| ModelError::Column {
                column: name.to_owned(),
                what: format!("it is {}", asked()),
            }),
            None => T::absent().ok_or_else(|| ModelError::Column {
                column: name.to_owned(),
                what: format!("it is null ({}); ask for an Option", asked()),
            }),
        }
    }

    /// The value of a column; `None`: it is null.
    ///
    /// # Errors
    /// [`ModelError::Column`]: there is no such column, or its bytes are not of its type.
    pub fn value(&self, name: &str) -> Result<Option<Value>, ModelError> {
        let (place, id, ty) = place(self.schema, name)?;
        let bytes = match place {
            Place::Partition(at) => of_column(name, self.schema.split_partition_key(self.key))?
                .get(at)
                .map(|part| part.to_vec()),
            Place::Clustering(_) if self.clustering.is_empty() => None,
            Place::Clustering(at) => of_column(name, self.schema.clustering_values(self.clustering, self.row))?
                .into_iter()
                .nth(at),
            Place::Static | Place::Regular if ty.is_multi_cell() => return of_column(name, self.collection(id, ty)),
            Place::Static | Place::Regular => match self.row.cell(id).map(|cell| cell.kind) {
                Some(CellKind::Live(value) | CellKind::Expiring { value, .. }) => Some(value.to_vec()),
                _ => None,
            },
        };
        let value = bytes.map(|bytes| Value::decode(ty, &bytes)).transpose();
        of_column(name, value)
    }

    /// The live elements of a collection; `None` if there are none, as in CQL.
    fn collection(&self, id: ColumnId, ty: &CqlType) -> Result<Option<Value>, ModelError> {
        let mut entries = Vec::new();
        for cell in self.row.cells().filter(|cell| cell.column == id) {
            let (Some(path), CellKind::Live(value) | CellKind::Expiring { value, .. }) = (cell.path, cell.kind) else {
                continue;
            };
            entries.push((path, value));
        }
        let value = match ty {
            CqlType::List(of) => entries
                .iter()
                .map(|(_, value)| Value::decode(of, value))
                .collect::<Result<_, _>>()
                .map(Value::List),
            CqlType::Set(of) => entries
                .iter()
                .map(|(path, _)| Value::decode(of, &of.decode_path(path)?))
                .collect::<Result<_, _>>()
                .map(Value::Set),
            CqlType::Map(key, of) => {
                let pair = |(path, value): &(&[u8], &[u8])| {
                    Ok((Value::decode(key, &key.decode_path(path)?)?, Value::decode(of, value)?))
                };
                entries.iter().map(pair).collect::<Result<_, _>>().map(Value::Map)
            }
            CqlType::Udt(of) => {
                let mut fields = vec![None; of.fields.len()];
                for (path, value) in &entries {
                    let at = field_of(path)?;
                    // A release that knows more fields may have written it.
                    if let (Some(field), Some(ty)) = (fields.get_mut(at), of.fields.get(at)) {
                        *field = Some(Value::decode(&ty.ty, value)?);
                    }
                }
                Ok(Value::Tuple(fields))
            }
            _ => return Err(ModelError::corrupt("elements of what is no collection")),
        };
        value.map(|value| (!entries.is_empty()).then_some(value))
    }
}

/// A value of a column; `None` deletes.
type Cell<'a> = (ColumnId, &'a CqlType, Option<Value>);

/// One row to be written, column by column. Columns that are not set are left as they are.
///
/// [`TypedRow`] shows what is read again.
#[derive(Clone, Debug)]
#[must_use = "it is written when its mutation is applied"]
pub struct Insert<'a> {
    schema: &'a Schema,
    key: Vec<Option<Vec<u8>>>,
    clustering: Vec<Option<Vec<u8>>>,
    statics: Vec<Cell<'a>>,
    regulars: Vec<Cell<'a>>,
    expiry: Expiry,
}

impl<'a> Insert<'a> {
    /// A row of this table.
    pub fn into(schema: &'a Schema) -> Insert<'a> {
        Insert {
            schema,
            key: vec![None; schema.partition_key.len()],
            clustering: vec![None; schema.clustering.len()],
            statics: Vec::new(),
            regulars: Vec::new(),
            expiry: Expiry::NEVER,
        }
    }

    /// When the row and all that is set in it end: [`TableOptions::expiry`](crate::TableOptions::expiry) of the table says it. What
    /// is deleted stays deleted.
    pub fn expiring(mut self, expiry: Expiry) -> Self {
        self.expiry = expiry;
        self
    }

    /// Sets a column. A collection that is not frozen is replaced as a whole; `None` deletes the column.
    ///
    /// # Errors
    /// [`ModelError::Column`]: there is no such column, it has another type, or it is of the key and may not be null.
    pub fn set(mut self, name: &str, value: impl ToCql) -> Result<Self, ModelError> {
        let (place, id, ty) = place(self.schema, name)?;
        let wrong = |what: String| ModelError::Column {
            column: name.to_owned(),
            what,
        };
        let value = match value.to_cql(ty) {
            Some(value) => Some(value),
            None if value.is_absent() => None,
            None => {
                return Err(wrong(format!(
                    "it is {}, and is given another type's value",
                    ty.keyword()
                )));
            }
        };
        let part = |value: Option<Value>| {
            let value = value.ok_or_else(|| wrong("a part of the key may not be null".to_owned()))?;
            of_column(name, value.encode(ty)).map(Some)
        };
        match place {
            Place::Partition(at) => self.key[at] = part(value)?,
            Place::Clustering(at) => self.clustering[at] = part(value)?,
            Place::Static => self.statics.push((id, ty, value)),
            Place::Regular => self.regulars.push((id, ty, value)),
        }
        Ok(self)
    }

    /// The mutation that writes the row at `timestamp`, in microseconds since the Unix epoch: the later one wins.
    ///
    /// # Errors
    /// [`ModelError::Column`] names a part of the key that was not set, or a value that is not legal; [`ModelError::Key`].
    pub fn at(self, timestamp: i64) -> Result<Mutation, ModelError> {
        let schema = self.schema;
        let missing = |column: &str| ModelError::Column {
            column: column.to_owned(),
            what: "a part of the key was not set".to_owned(),
        };
        let mut key = Vec::new();
        for (part, column) in self.key.iter().zip(&schema.partition_key) {
            key.push(part.as_deref().ok_or_else(|| missing(&column.name))?);
        }
        let mut mutation = MutationBuilder::new(schema.id, &schema.partition_key_bytes(&key)?);
        if !self.statics.is_empty() {
            let statics = cells(RowBuilder::new(), schema, self.statics, timestamp, self.expiry);
            mutation.static_row(statics?.finish());
        }
        // Static columns alone need no row.
        if self.clustering.iter().all(Option::is_none) && self.regulars.is_empty() && !schema.clustering.is_empty() {
            return Ok(mutation.build());
        }
        let mut clustering = Vec::new();
        for (part, column) in self.clustering.iter().zip(&schema.clustering) {
            clustering.push(part.as_deref().ok_or_else(|| missing(&column.column.name))?);
        }
        let mut row = RowBuilder::new();
        row.liveness_ttl(timestamp, self.expiry.ttl, self.expiry.expires_at);
        let mut row = cells(row, schema, self.regulars, timestamp, self.expiry)?;
        row.key_forms(timestamp, &schema.key_forms(&clustering)?);
        mutation.row(&schema.encode_clustering(&clustering)?, row.finish());
        Ok(mutation.build())
    }
}

fn cells(
    mut row: RowBuilder,
    schema: &Schema,
    mut cells: Vec<Cell<'_>>,
    timestamp: i64,
    expiry: Expiry,
) -> Result<RowBuilder, ModelError> {
    // Of a column that was set twice the last one counts.
    cells.reverse();
    cells.sort_by_key(|(id, ..)| *id);
    cells.dedup_by_key(|(id, ..)| *id);
    let seconds = u32::try_from(timestamp / 1_000_000).unwrap_or(0);
    for (id, ty, value) in cells {
        let name = || {
            schema
                .columns()
                .find(|column| column.id == id)
                .map_or("", |column| &column.name)
        };
        if ty.is_multi_cell() {
            // What was there before is older than the elements.
            row.complex_deletion(
                id,
                Deletion {
                    timestamp: timestamp - 1,
                    local_deletion_time: seconds,
                },
            );
            if let Some(value) = value {
                of_column(name(), elements(&mut row, id, ty, &value, (timestamp, expiry)))?;
            }
            continue;
        }
        match value {
            Some(value) => {
                let value = of_column(name(), value.encode(ty))?;
                row.cell_ttl(id, timestamp, &value, expiry.ttl, expiry.expires_at)
            }
            None => row.tombstone(id, timestamp, seconds),
        };
    }
    Ok(row)
}

/// Adds the elements of a collection that is not frozen, in the order of their paths.
fn elements(
    row: &mut RowBuilder,
    id: ColumnId,
    ty: &CqlType,
    value: &Value,
    (timestamp, expiry): (i64, Expiry),
) -> Result<(), ModelError> {
    let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let path = |of: &CqlType, element: &[u8]| {
        let mut path = Vec::new();
        of.encode_path(element, &mut path).map(|()| path)
    };
    match (ty, value) {
        (CqlType::List(of), Value::List(elements)) => {
            for (at, element) in elements.iter().enumerate() {
                found.insert(
                    path(&CqlType::TimeUuid, list_place(timestamp, at).as_bytes())?,
                    element.encode(of)?,
                );
            }
        }
        (CqlType::Set(of), Value::Set(elements)) => {
            for element in elements {
                found.insert(path(of, &element.encode(of)?)?, Vec::new());
            }
        }
        (CqlType::Map(key, of), Value::Map(entries)) => {
            for (k, v) in entries {
                found.insert(path(key, &k.encode(key)?)?, v.encode(of)?);
            }
        }
        (CqlType::Udt(of), Value::Tuple(fields)) if fields.len() <= of.fields.len() => {
            for (at, (field, ty)) in (0_i16..).zip(fields.iter().zip(of.types())) {
                if let Some(field) = field {
                    found.insert(path(&CqlType::SmallInt, &at.to_be_bytes())?, field.encode(ty)?);
                }
            }
        }
        _ => {
            return Err(ModelError::Value {
                ty: ty.keyword(),
                what: "a value of another type",
            });
        }
    }
    for (path, value) in found {
        row.element_ttl(id, &path, timestamp, &value, expiry.ttl, expiry.expires_at);
    }
    Ok(())
}

/// The field that an element's path names: its position is a `smallint`.
fn field_of(path: &[u8]) -> Result<usize, ModelError> {
    let position = CqlType::SmallInt.decode_path(path)?;
    let position = <[u8; 2]>::try_from(position).map(i16::from_be_bytes).ok();
    let position = position.and_then(|position| usize::try_from(position).ok());
    position.ok_or(ModelError::corrupt("the place of a field"))
}

/// The place of a list's element: a version 1 UUID of the write's time and the element's number, so that writing the same list again
/// at the same time changes nothing.
fn list_place(timestamp: i64, at: usize) -> uuid::Uuid {
    /// 100-ns ticks from 1582-10-15 to the Unix epoch.
    const TICKS_BEFORE: u64 = 0x01B2_1DD2_1381_4000;
    let ticks = (timestamp.max(0) as u64)
        .saturating_mul(10)
        .saturating_add(TICKS_BEFORE)
        .saturating_add(at as u64);
    let mut node = [0; 6];
    node[0] = 1; // Multicast: no network card's.
    uuid::Builder::from_gregorian_timestamp(ticks, 0, &node).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserType;

    fn schema() -> Schema {
        Schema::builder("k", "t")
            .partition_key("room", CqlType::Text)
            .partition_key("day", CqlType::Date)
            .clustering_desc("id", CqlType::BigInt)
            .static_column("topic", CqlType::Text)
            .regular("body", CqlType::Text)
            .regular("score", CqlType::Double)
            .regular("tags", CqlType::Text.set())
            .regular("seen", CqlType::BigInt.list())
            .regular("marks", CqlType::Text.map(CqlType::Int))
            .regular("frozen", CqlType::Int.list().frozen())
            .build()
            .expect("legal")
    }

    fn row_of<'a>(schema: &'a Schema, mutation: &'a Mutation) -> TypedRow<'a> {
        let view = mutation.as_ref();
        let (clustering, row) = view.rows().next().expect("a row");
        TypedRow::new(schema, view.key(), clustering, row)
    }

    #[test]
    fn what_is_written_is_read() {
        let schema = schema();
        let tags: BTreeSet<String> = ["b", "a"].map(str::to_owned).into();
        let marks: BTreeMap<String, i32> = [("x".to_owned(), 1), ("y".to_owned(), -1)].into();
        let seen = vec![3_i64, 1, 2, 1];
        let insert = Insert::into(&schema)
            .set("room", "kitchen")
            .and_then(|row| row.set("day", 19_000_u32))
            .and_then(|row| row.set("id", 5_i64))
            .and_then(|row| row.set("body", "overwritten"))
            .and_then(|row| row.set("body", Some("hello".to_owned())))
            .and_then(|row| row.set("tags", tags.clone()))
            .and_then(|row| row.set("seen", seen.clone()))
            .and_then(|row| row.set("marks", marks.clone()))
            .and_then(|row| row.set("frozen", vec![7_i32, 7]))
            .and_then(|row| row.set("topic", "food"))
            .expect("set");
        let mutation = insert.clone().at(10).expect("whole");
        assert_eq!(
            mutation.bytes(),
            insert.at(10).expect("whole").bytes(),
            "the same twice"
        );
        let row = row_of(&schema, &mutation);
        assert_eq!(row.get::<String>("room").as_deref(), Ok("kitchen"));
        assert_eq!(row.get("day"), Ok(19_000_u32));
        assert_eq!(row.get("id"), Ok(5_i64));
        assert_eq!(row.get("body"), Ok(Some("hello".to_owned())));
        assert_eq!(row.get("tags"), Ok(tags));
        assert_eq!(row.get("seen"), Ok(seen));
        assert_eq!(row.get("marks"), Ok(marks));
        assert_eq!(row.get("frozen"), Ok(vec![7_i32, 7]));
        assert_eq!(row.get("score"), Ok(None::<f64>));
        let statics = mutation.as_ref().static_row().expect("a static row");
        let statics = TypedRow::new(&schema, mutation.as_ref().key(), &[], statics);
        assert_eq!(statics.get::<String>("topic").as_deref(), Ok("food"));
        assert_eq!(statics.get("id"), Ok(None::<i64>));
    }

    /// What is written in another form than the key shows comes back as it was written.
    #[test]
    fn keys_come_back_in_their_own_form() {
        let place = UserType::new("k", "place", [("town", CqlType::Text), ("no", CqlType::Int)]);
        let pair = CqlType::tuple([CqlType::Decimal, CqlType::Text]);
        let schema = Schema::builder("k", "t")
            .partition_key("p", CqlType::Decimal)
            .clustering_desc("price", CqlType::Decimal)
            .clustering("pair", pair)
            .regular("place", CqlType::udt(place.clone()))
            .regular("frozen", CqlType::udt(place).frozen())
            .build()
            .expect("legal");
        let decimal = |scale, unscaled: &[u8]| Value::Decimal {
            scale,
            unscaled: unscaled.to_vec(),
        };
        let insert = |price: Value, pair: Vec<Option<Value>>| {
            let place = Value::Tuple(vec![None, Some(Value::Int(7))]);
            let end = Expiry { ttl: 9, expires_at: 99 };
            Insert::into(&schema)
                .set("p", decimal(2, &[100]))
                .and_then(|row| row.set("price", price))
                .and_then(|row| row.set("pair", Value::Tuple(pair)))
                .and_then(|row| row.set("place", place.clone()))
                .and_then(|row| row.set("frozen", place))
                .and_then(|row| row.expiring(end).at(5))
                .expect("whole")
        };
        let one = decimal(0, &[1]);
        let shown = insert(one.clone(), vec![Some(one.clone())]);
        let other = insert(decimal(2, &[0, 100]), vec![Some(decimal(1, &[10])), None]);
        let key = |mutation: &Mutation| mutation.as_ref().rows().next().map(|(key, _)| key.to_vec());
        assert_eq!(key(&shown), key(&other), "one key");
        let row = row_of(&schema, &shown);
        assert_eq!(row.value("price"), Ok(Some(one.clone())));
        assert_eq!(row.row.cells().filter(|cell| cell.column.is_key_form()).count(), 0);
        let row = row_of(&schema, &other);
        assert_eq!(row.value("p"), Ok(Some(decimal(2, &[100]))));
        assert_eq!(row.value("price"), Ok(Some(decimal(2, &[0, 100]))));
        assert_eq!(
            row.value("pair"),
            Ok(Some(Value::Tuple(vec![Some(decimal(1, &[10])), None])))
        );
        let place = Value::Tuple(vec![None, Some(Value::Int(7))]);
        assert_eq!(row.value("place"), Ok(Some(place.clone())));
        assert_eq!(row.value("frozen"), Ok(Some(place)));
        let (clustering, body) = other
            .as_ref()
            .rows()
            .next()
            .map(|(key, row)| (key.to_vec(), row.bytes().to_vec()))
            .expect("a row");
        let body = RowRef::parse(&body).expect("a row");
        assert!(body.is_live(98) && !body.is_live(99), "the forms keep no row alive");
        // A form of another value is not believed.
        let mut forged = RowBuilder::new();
        forged.key_forms(
            1,
            &[(ColumnId::key_form(0), &[0, 0, 0, 0, 2]), (ColumnId::key_form(1), &[9])],
        );
        let forged = forged.finish().to_vec();
        let values = schema.clustering_values(&clustering, RowRef::trusted(&forged));
        assert_eq!(values, schema.decode_clustering(&clustering));
    }

    #[test]
    fn nothing_deletes_and_an_empty_collection_is_none() {
        let schema = schema();
        let key = || {
            Insert::into(&schema)
                .set("room", "r")
                .and_then(|row| row.set("day", 1_u32))
                .and_then(|row| row.set("id", 1_i64))
        };
        let insert = key()
            .and_then(|row| row.set("body", None::<String>))
            .and_then(|row| row.set("tags", None::<BTreeSet<String>>));
        let mutation = insert.and_then(|insert| insert.at(9_000_000)).expect("whole");
        let row = row_of(&schema, &mutation);
        assert_eq!(row.get("body"), Ok(None::<String>));
        assert_eq!(row.get("tags"), Ok(BTreeSet::<String>::new()));
        let (_, body) = mutation.as_ref().rows().next().expect("a row");
        let kinds: Vec<_> = body.cells().map(|cell| cell.kind).collect();
        let deletion = Deletion {
            timestamp: 8_999_999,
            local_deletion_time: 9,
        };
        assert!(
            kinds.contains(&CellKind::Tombstone { local_deletion_time: 9 }),
            "{kinds:?}"
        );
        assert!(kinds.contains(&CellKind::ComplexDeletion(deletion)), "{kinds:?}");
        // Static columns alone make no row.
        let statics = Insert::into(&schema)
            .set("room", "r")
            .and_then(|row| row.set("day", 1_u32))
            .and_then(|row| row.set("topic", "t"));
        let statics = statics.and_then(|insert| insert.at(1)).expect("whole");
        assert_eq!(statics.as_ref().rows().count(), 0);
        assert!(statics.as_ref().static_row().is_some());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_column() {
        let schema = schema();
        let set = |name: &str, value: Value| {
            Insert::into(&schema)
                .set(name, value)
                .and_then(|insert| insert.at(1))
                .map(drop)
        };
        let says = |result: Result<(), ModelError>| result.expect_err("refused").to_string();
        assert_eq!(
            says(set("colour", Value::Int(1))),
            "column colour: k.t has no such column, but room, day, id, topic, body, score, tags, seen, marks, frozen"
        );
        assert_eq!(
            says(set("body", Value::Text("x".to_owned()))),
            "column room: a part of the key was not set"
        );
        assert_eq!(
            says(Insert::into(&schema).set("id", "five").map(drop)),
            "column id: it is bigint, and is given another type's value"
        );
        assert_eq!(
            says(Insert::into(&schema).set("id", None::<i64>).map(drop)),
            "column id: a part of the key may not be null"
        );
        assert_eq!(
            says(set("id", Value::Int(1))),
            "column id: not a legal bigint: a value of another type"
        );
        let mutation = Insert::into(&schema)
            .set("room", "r")
            .and_then(|row| row.set("day", 1_u32))
            .and_then(|row| row.set("id", 1_i64));
        let mutation = mutation.and_then(|insert| insert.at(1)).expect("whole");
        let row = row_of(&schema, &mutation);
        assert_eq!(
            says(row.get::<i32>("id").map(drop)),
            "column id: it is bigint, asked for as i32"
        );
        assert_eq!(
            says(row.get::<f64>("score").map(drop)),
            "column score: it is null (double, asked for as f64); ask for an Option"
        );
        let torn = TypedRow::new(&schema, b"\x00\x09", &[1], row.row);
        assert!(torn.get::<String>("room").is_err() && torn.get::<i64>("id").is_err());
    }
}
