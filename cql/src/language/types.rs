//! Names of types as types, and types as CQL text.

use super::catalog::Catalog;
use super::error::{Error, Result};
use super::syntax::ast::Type;
use model::CqlType;

/// The type that a name stands for, in this keyspace.
///
/// # Errors
/// [`Error::Invalid`]: it does not exist, is not served, or cannot be nested like that.
pub fn resolve(ty: &Type, keyspace: &str, catalog: &dyn Catalog) -> Result<CqlType> {
    let inside = |ty: &Type| resolve(ty, keyspace, catalog);
    Ok(match ty {
        Type::Named(name) => {
            if name.keyspace.is_none()
                && let Some(simple) = simple(&name.name)
            {
                return simple;
            }
            let of = name.keyspace.as_deref().unwrap_or(keyspace);
            if of != keyspace {
                let name = &name.name;
                return Err(Error::invalid(format!(
                    "Statement on keyspace {keyspace} cannot refer to a user type in keyspace {of}; user types can only be used in the \
                     keyspace they are defined in ({of}.{name})"
                )));
            }
            match catalog.user_type(of, &name.name) {
                Some(ty) => CqlType::Udt(ty),
                None => return Err(Error::invalid(format!("Unknown type {of}.{}", name.name))),
            }
        }
        Type::List(of) => CqlType::List(Box::new(element(ty, inside(of)?)?)),
        Type::Set(of) => ordered(CqlType::Set(Box::new(element(ty, inside(of)?)?)))?,
        Type::Map(key, of) => {
            let (key, of) = (element(ty, inside(key)?)?, element(ty, inside(of)?)?);
            ordered(CqlType::Map(Box::new(key), Box::new(of)))?
        }
        Type::Tuple(types) => CqlType::Tuple(types.iter().map(inside).collect::<Result<_>>()?),
        Type::Frozen(of) => match inside_frozen(of, keyspace, catalog)? {
            inner @ CqlType::Tuple(_) => inner,
            inner if inner.is_multi_cell() => CqlType::Frozen(Box::new(inner)),
            inner => {
                let inner = text_of(&inner);
                return Err(Error::invalid(format!(
                    "frozen<> is only allowed on collections, tuples, and user-defined types (got {inner})"
                )));
            }
        },
        Type::Unsupported(what) => return Err(Error::invalid(format!("the type {what} is not supported"))),
    })
}

/// Inside of `frozen<>` everything is frozen.
fn inside_frozen(ty: &Type, keyspace: &str, catalog: &dyn Catalog) -> Result<CqlType> {
    let inside = |ty: &Type| inside_frozen(ty, keyspace, catalog);
    Ok(match ty {
        Type::List(of) => CqlType::List(Box::new(inside(of)?)),
        Type::Set(of) => ordered(CqlType::Set(Box::new(inside(of)?)))?,
        Type::Map(key, of) => ordered(CqlType::Map(Box::new(inside(key)?), Box::new(inside(of)?)))?,
        Type::Tuple(types) => CqlType::Tuple(types.iter().map(inside).collect::<Result<_>>()?),
        _ => resolve(ty, keyspace, catalog)?,
    })
}

/// Durations have no order, which sets and keys of maps need.
fn ordered(ty: CqlType) -> Result<CqlType> {
    let place = match &ty {
        CqlType::Set(of) if of.has_duration() => "inside sets",
        CqlType::Map(key, _) if key.has_duration() => "as map keys",
        _ => return Ok(ty),
    };
    Err(Error::invalid(format!(
        "Durations are not allowed {place}: {}",
        text_of(&ty)
    )))
}

fn element(of: &Type, ty: CqlType) -> Result<CqlType> {
    if !ty.is_multi_cell() {
        return Ok(ty);
    }
    let what = match ty {
        CqlType::Udt(_) => "UDTs",
        _ => "collections",
    };
    let of = shown(of);
    Err(Error::invalid(format!(
        "Non-frozen {what} are not allowed inside collections: {of}"
    )))
}

/// A name of a type as it was written, more or less.
fn shown(ty: &Type) -> String {
    match ty {
        Type::Named(name) => name.name.clone(),
        Type::List(of) => format!("list<{}>", shown(of)),
        Type::Set(of) => format!("set<{}>", shown(of)),
        Type::Map(key, of) => format!("map<{}, {}>", shown(key), shown(of)),
        Type::Tuple(types) => format!("tuple<{}>", types.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Type::Frozen(of) => format!("frozen<{}>", shown(of)),
        Type::Unsupported(text) => text.clone(),
    }
}

/// The simple type of a name; an error for one that is known and not served.
fn simple(name: &str) -> Option<Result<CqlType>> {
    Some(Ok(match name {
        "ascii" => CqlType::Ascii,
        "bigint" => CqlType::BigInt,
        "blob" => CqlType::Blob,
        "boolean" => CqlType::Boolean,
        "date" => CqlType::Date,
        "decimal" => CqlType::Decimal,
        "double" => CqlType::Double,
        "duration" => CqlType::Duration,
        "float" => CqlType::Float,
        "inet" => CqlType::Inet,
        "int" => CqlType::Int,
        "smallint" => CqlType::SmallInt,
        "text" | "varchar" => CqlType::Text,
        "time" => CqlType::Time,
        "timestamp" => CqlType::Timestamp,
        "timeuuid" => CqlType::TimeUuid,
        "tinyint" => CqlType::TinyInt,
        "uuid" => CqlType::Uuid,
        "varint" => CqlType::Varint,
        "counter" => return Some(Err(Error::invalid("counters are not supported"))),
        _ => return None,
    }))
}

/// A type as CQL writes it: tuples frozen, names of user-defined types quoted where they must be.
#[must_use]
pub fn text_of(ty: &CqlType) -> String {
    match ty {
        CqlType::List(of) => format!("list<{}>", text_of(of)),
        CqlType::Set(of) => format!("set<{}>", text_of(of)),
        CqlType::Map(key, of) => format!("map<{}, {}>", text_of(key), text_of(of)),
        CqlType::Tuple(types) => {
            let types: Vec<String> = types.iter().map(text_of).collect();
            format!("frozen<tuple<{}>>", types.join(", "))
        }
        CqlType::Frozen(of) => format!("frozen<{}>", text_of(of)),
        CqlType::Udt(ty) => quoted(&ty.name),
        simple => simple.keyword().to_owned(),
    }
}

/// A name as it must be written: between quotes unless it is lower-case and no word of the language.
#[must_use]
pub fn quoted(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !super::syntax::is_reserved(name);
    match plain {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}
