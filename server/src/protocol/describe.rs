//! `DESCRIBE`: definitions as the statements that would make them again (`DescribeStatement.java`, `SchemaCQLHelper.java`).

use super::catalog::View;
use super::fail::{Done, Failure};
use super::local::Local;
use super::system::PARTITIONER;
use cql::frame::{Column, Metadata, Reply};
use cql::language::ddl;
use cql::language::syntax::ast::{Describe, Described, Name};
use cql::language::types::{quoted, text_of};
use model::{CqlType, Keyspace, Schema, UserType};
use std::fmt::Write;

/// A line of the answer.
struct Element {
    keyspace: String,
    kind: &'static str,
    name: String,
    create: Option<String>,
}

/// Executes a `DESCRIBE`.
pub(super) fn execute(
    local: &Local,
    describe: &Describe,
    keyspace: Option<&str>,
    reply: &Reply<'_>,
    out: &mut Vec<u8>,
) -> Done<()> {
    let view = local.view();
    if describe.what == Described::Cluster {
        return cluster(local, keyspace, reply, out);
    }
    let elements = elements(local, &view, &describe.what, keyspace)?;
    let with_statements = !matches!(
        describe.what,
        Described::Keyspaces | Described::Tables | Described::Types | Described::Functions | Described::Aggregates
    );
    let text = CqlType::Text;
    let names: &[&str] = match with_statements {
        true => &["keyspace_name", "type", "name", "create_statement"],
        false => &["keyspace_name", "type", "name"],
    };
    let metadata = metadata(names.iter().map(|name| (*name, &text)));
    let mut rows = reply.rows(out, &metadata, false);
    for element in &elements {
        rows.value(Some(quoted(&element.keyspace).as_bytes()));
        rows.value(Some(element.kind.as_bytes()));
        rows.value(Some(quoted(&element.name).as_bytes()));
        if with_statements {
            rows.value(element.create.as_ref().map(|create| create.as_bytes()));
        }
    }
    rows.finish(None);
    Ok(())
}

fn metadata<'a>(columns: impl Iterator<Item = (&'a str, &'a CqlType)> + Clone) -> Metadata {
    let columns: Vec<Column<'a>> = columns
        .map(|(name, ty)| Column {
            keyspace: "system",
            table: "describe",
            name,
            ty,
        })
        .collect();
    Metadata::new(columns)
}

fn cluster(local: &Local, keyspace: Option<&str>, reply: &Reply<'_>, out: &mut Vec<u8>) -> Done<()> {
    let text = CqlType::Text;
    let ranges = CqlType::Text.map(CqlType::Text.list().frozen());
    let mut columns = vec![("cluster", &text), ("partitioner", &text), ("snitch", &text)];
    let owned = keyspace.is_some_and(|keyspace| !ddl::is_system(keyspace));
    if owned {
        columns.push(("range_ownership", &ranges));
    }
    let metadata = metadata(columns.iter().copied());
    let mut rows = reply.rows(out, &metadata, false);
    rows.value(Some(local.node.identity.cluster.as_bytes()));
    rows.value(Some(PARTITIONER.rsplit('.').next().unwrap_or(PARTITIONER).as_bytes()));
    rows.value(Some(b"SimpleSnitch"));
    if owned {
        let address = local.node.identity.address.ip().to_string();
        let value = rows.open_value();
        let buffer = rows.buffer();
        buffer.extend_from_slice(&1_i32.to_be_bytes());
        cql::frame::put_bytes(buffer, Some(b"0"));
        let list = cql::frame::open_bytes(buffer);
        buffer.extend_from_slice(&1_i32.to_be_bytes());
        cql::frame::put_bytes(buffer, Some(address.as_bytes()));
        list.close(buffer);
        value.close(buffer);
    }
    rows.finish(None);
    Ok(())
}

fn elements(local: &Local, view: &View, what: &Described, in_use: Option<&str>) -> Done<Vec<Element>> {
    let named = |keyspace: &str, kind, name: &str| Element {
        keyspace: keyspace.to_owned(),
        kind,
        name: name.to_owned(),
        create: None,
    };
    let within = |keyspace: &str| in_use.is_none_or(|in_use| in_use == keyspace);
    Ok(match what {
        Described::Cluster => Vec::new(),
        Described::Keyspaces => view
            .keyspaces()
            .iter()
            .map(|of| named(&of.name, "keyspace", &of.name))
            .collect(),
        Described::Tables => view
            .tables()
            .iter()
            .filter(|of| within(&of.keyspace))
            .map(|of| named(&of.keyspace, "table", &of.name))
            .collect(),
        Described::Types => view
            .definitions
            .user_types()
            .filter(|of| within(&of.keyspace))
            .map(|of| named(&of.keyspace, "type", &of.name))
            .collect(),
        Described::Functions | Described::Aggregates => Vec::new(),
        Described::Schema(full) => {
            let mut all = Vec::new();
            for keyspace in view.keyspaces() {
                if *full {
                    all.extend(of_keyspace(view, &keyspace, false));
                } else if !ddl::is_system(&keyspace.name) {
                    all.extend(made_by_hand(local, view, &keyspace));
                }
            }
            all
        }
        Described::Keyspace(name, only) => {
            let name = name.as_deref().or(in_use);
            let name = name.ok_or_else(|| Failure::invalid("No keyspace specified and no current keyspace"))?;
            match keyspace(view, name) {
                Some(keyspace) => of_keyspace(view, &keyspace, *only),
                None => return Err(Failure::invalid(format!("'{name}' not found in keyspaces"))),
            }
        }
        Described::Table(name) => {
            let of = keyspace_of(name, in_use)?;
            must_have(view, of)?;
            match table(view, of, &name.name) {
                Some(table) => vec![of_table(&table)],
                None => {
                    return Err(Failure::invalid(format!(
                        "Table '{}' not found in keyspace '{of}'",
                        name.name
                    )));
                }
            }
        }
        Described::Type(name) => {
            let of = keyspace_of(name, in_use)?;
            must_have(view, of)?;
            match view.definitions.user_type(of, &name.name) {
                Some(ty) => vec![of_type(ty)],
                None => {
                    return Err(Failure::invalid(format!(
                        "User defined type '{}' not found in '{of}'",
                        name.name
                    )));
                }
            }
        }
        Described::Other(kind, name) => {
            let of = keyspace_of(name, in_use)?;
            return Err(Failure::invalid(match *kind {
                "index" => format!("Table for existing index '{}' not found in '{of}'", name.name),
                "materialized view" => format!("Materialized view '{}' not found in keyspace '{of}'", name.name),
                "function" => format!("User defined function '{}' not found in '{of}'", name.name),
                _ => format!("User defined aggregate '{}' not found in '{of}'", name.name),
            }));
        }
        Described::Any(name) => any(view, name, in_use)?,
    })
}

fn any(view: &View, name: &Name, in_use: Option<&str>) -> Done<Vec<Element>> {
    if name.keyspace.is_none()
        && let Some(keyspace) = keyspace(view, &name.name)
    {
        return Ok(of_keyspace(view, &keyspace, false));
    }
    let of = match name.keyspace.as_deref().or(in_use) {
        Some(of) => of,
        None => return Err(Failure::invalid(format!("'{}' not found in keyspaces", name.name))),
    };
    must_have(view, of)?;
    if let Some(table) = table(view, of, &name.name) {
        return Ok(vec![of_table(&table)]);
    }
    Err(Failure::invalid(format!(
        "'{}' not found in keyspace '{of}'",
        name.name
    )))
}

fn keyspace_of<'n>(name: &'n Name, in_use: Option<&'n str>) -> Done<&'n str> {
    let none = || Failure::invalid("No keyspace specified and no current keyspace");
    name.keyspace.as_deref().or(in_use).ok_or_else(none)
}

fn keyspace(view: &View, name: &str) -> Option<std::sync::Arc<Keyspace>> {
    cql::language::Catalog::keyspace(view, name)
}

fn table(view: &View, keyspace: &str, name: &str) -> Option<std::sync::Arc<Schema>> {
    cql::language::Catalog::table(view, keyspace, name)
}

fn must_have(view: &View, name: &str) -> Done<()> {
    match keyspace(view, name) {
        Some(_) => Ok(()),
        None => Err(Failure::invalid(format!("'{name}' not found in keyspaces"))),
    }
}

fn of_keyspace(view: &View, keyspace: &Keyspace, only: bool) -> Vec<Element> {
    let mut all = vec![Element {
        keyspace: keyspace.name.clone(),
        kind: "keyspace",
        name: keyspace.name.clone(),
        create: Some(create_keyspace(keyspace)),
    }];
    if !only {
        all.extend(sorted_types(view, &keyspace.name).into_iter().map(of_type));
        let tables = view.tables();
        all.extend(
            tables
                .iter()
                .filter(|of| of.keyspace == keyspace.name)
                .map(|of| of_table(of)),
        );
    }
    all
}

/// A keyspace without what every store makes by itself, to be made again in another one.
fn made_by_hand(local: &Local, view: &View, keyspace: &Keyspace) -> Vec<Element> {
    let tables = view.tables();
    let of_messages: Vec<&str> = tables
        .iter()
        .filter(|of| of.keyspace == keyspace.name && local.is_of_messages(of))
        .map(|of| of.name.as_str())
        .collect();
    let mut all = of_keyspace(view, keyspace, false);
    if !of_messages.is_empty() {
        all.retain(|of| of.kind != "keyspace" && !(of.kind == "table" && of_messages.contains(&of.name.as_str())));
    }
    all
}

/// The types of a keyspace, each behind those that it is made of.
fn sorted_types<'v>(view: &'v View, keyspace: &str) -> Vec<&'v UserType> {
    let mut left: Vec<&UserType> = view.definitions.user_types_of(keyspace).map(|ty| &**ty).collect();
    let mut sorted: Vec<&UserType> = Vec::new();
    while !left.is_empty() {
        let is_ready = |ty: &&UserType| {
            ty.types().all(|of| {
                uses(of)
                    .iter()
                    .all(|name| !left.iter().any(|l| l.name == *name && l.name != ty.name))
            })
        };
        let (ready, rest): (Vec<_>, Vec<_>) = left.iter().copied().partition(is_ready);
        if ready.is_empty() {
            sorted.extend(rest);
            break;
        }
        sorted.extend(ready);
        left = rest;
    }
    sorted
}

fn uses(ty: &CqlType) -> Vec<&str> {
    match ty {
        CqlType::Udt(of) => vec![of.name.as_str()],
        CqlType::List(of) | CqlType::Set(of) | CqlType::Frozen(of) => uses(of),
        CqlType::Map(key, of) => [uses(key), uses(of)].concat(),
        CqlType::Tuple(types) => types.iter().flat_map(uses).collect(),
        _ => Vec::new(),
    }
}

fn of_type(ty: &UserType) -> Element {
    Element {
        keyspace: ty.keyspace.clone(),
        kind: "type",
        name: ty.name.clone(),
        create: Some(create_type(ty)),
    }
}

fn of_table(table: &Schema) -> Element {
    Element {
        keyspace: table.keyspace.clone(),
        kind: "table",
        name: table.name.clone(),
        create: Some(create_table(table)),
    }
}

fn create_keyspace(keyspace: &Keyspace) -> String {
    let mut replication = vec![format!(
        "'class': '{}'",
        short_class(keyspace.replication.get("class").map_or("", String::as_str))
    )];
    for (name, value) in keyspace.replication.iter().filter(|(name, _)| *name != "class") {
        replication.push(format!("'{name}': '{value}'"));
    }
    format!(
        "CREATE KEYSPACE {} WITH replication = {{{}}}  AND durable_writes = {};",
        quoted(&keyspace.name),
        replication.join(", "),
        keyspace.durable_writes
    )
}

fn short_class(class: &str) -> &str {
    class.strip_prefix("org.apache.cassandra.locator.").unwrap_or(class)
}

fn create_type(ty: &UserType) -> String {
    let mut out = format!("CREATE TYPE {}.{} (", quoted(&ty.keyspace), quoted(&ty.name));
    for (at, field) in ty.fields.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma}\n    {} {}", quoted(&field.name), text_of(&field.ty));
    }
    out.push_str("\n);");
    out
}

fn create_table(table: &Schema) -> String {
    let mut out = format!("CREATE TABLE {}.{} (\n", quoted(&table.keyspace), quoted(&table.name));
    let simple = table.partition_key.len() == 1 && table.clustering.is_empty();
    for column in cql::language::all_columns(table) {
        let is_static = matches!(column.place, cql::language::Place::Static(_));
        let _ = write!(out, "    {} {}", quoted(&column.name), text_of(&column.ty));
        if is_static {
            out.push_str(" static");
        }
        if simple && column.place.is_key() {
            out.push_str(" PRIMARY KEY");
        }
        out.push_str(",\n");
    }
    if simple {
        out.truncate(out.len() - 2);
        out.push_str("\n) WITH ");
    } else {
        let names = |columns: &[model::Column]| -> Vec<String> { columns.iter().map(|of| quoted(&of.name)).collect() };
        let mut key = names(&table.partition_key).join(", ");
        if table.partition_key.len() > 1 {
            key = format!("({key})");
        }
        for of in &table.clustering {
            let _ = write!(key, ", {}", quoted(&of.column.name));
        }
        let _ = write!(out, "    PRIMARY KEY ({key})\n) WITH ");
    }
    let mut first = true;
    if !table.clustering.is_empty() {
        let order: Vec<String> = table
            .clustering
            .iter()
            .map(|of| {
                format!(
                    "{} {}",
                    quoted(&of.column.name),
                    if of.descending { "DESC" } else { "ASC" }
                )
            })
            .collect();
        let _ = write!(out, "CLUSTERING ORDER BY ({})", order.join(", "));
        first = false;
    }
    for (name, value) in ddl::shown(&table.options) {
        let and = if first { "" } else { "\n    AND " };
        let _ = write!(out, "{and}{name} = {value}");
        first = false;
    }
    out.push(';');
    out
}
