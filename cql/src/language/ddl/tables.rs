//! `CREATE`, `ALTER` and `DROP TABLE`.

use super::super::catalog::Catalog;
use super::super::error::{Error, Result};
use super::super::statement::keyspace_of;
use super::super::syntax::ast::{AlterTable, ColumnDefinition, CreateTable, Name};
use super::super::types::{resolve, text_of};
use super::options::set;
use super::{Action, Plan, check_name, must_have_keyspace, not_system};
use model::{Alteration, CqlType, Schema, TableOptions};

pub(super) fn create(create: &CreateTable, keyspace: Option<&str>, catalog: &dyn Catalog) -> Result<Plan> {
    let name = &create.table.name;
    let keyspace = keyspace_of(&create.table, keyspace)?;
    not_system(keyspace)?;
    must_have_keyspace(keyspace, catalog)?;
    check_name("Table", name)?;
    if catalog.table(keyspace, name).is_some() {
        return match create.if_not_exists {
            true => Ok(Plan::nothing()),
            false => Err(Error::AlreadyExists {
                keyspace: keyspace.to_owned(),
                table: name.clone(),
                what: format!("Cannot add already existing table \"{name}\" to keyspace \"{keyspace}\""),
            }),
        };
    }
    if create.compact_storage {
        return Err(Error::invalid(
            "COMPACT STORAGE tables are not allowed starting with version 4.0",
        ));
    }
    let mut columns: Vec<(&ColumnDefinition, CqlType)> = Vec::new();
    for definition in &create.columns {
        if columns.iter().any(|(of, _)| of.name == definition.name) {
            return Err(Error::invalid(format!(
                "Duplicate column '{}' declaration for table '{name}'",
                definition.name
            )));
        }
        let ty = resolve(&definition.ty, keyspace, catalog)?;
        check_column(&ty)?;
        columns.push((definition, ty));
    }
    let (partition, clustering) = match create.keys.as_slice() {
        [] => {
            return Err(Error::invalid(format!(
                "No PRIMARY KEY specifed for table '{name}' (exactly one required)"
            )));
        }
        [key] => key,
        _ => {
            return Err(Error::invalid(format!(
                "Multiple PRIMARY KEYs specified for table '{name}' (exactly one required)"
            )));
        }
    };
    let find = |column: &String| {
        let found = columns.iter().find(|(of, _)| of.name == *column);
        found.ok_or_else(|| {
            Error::invalid(format!(
                "Unknown column '{column}' referenced in PRIMARY KEY for table '{name}'"
            ))
        })
    };
    let mut builder = Schema::builder(keyspace, name);
    let mut keys: Vec<&String> = Vec::new();
    for column in partition.iter().chain(clustering) {
        if keys.contains(&column) {
            return Err(Error::invalid(format!(
                "Duplicate column '{column}' in PRIMARY KEY clause for table '{name}'"
            )));
        }
        keys.push(column);
        let (definition, ty) = find(column)?;
        check_key(column, ty, definition.is_static)?;
    }
    for column in partition {
        builder = builder.partition_key(column, find(column)?.1.clone());
    }
    if create.order.len() > clustering.len() {
        return Err(Error::invalid(
            "Only clustering key columns can be defined in CLUSTERING ORDER directive",
        ));
    }
    for (at, (column, _)) in create.order.iter().enumerate() {
        if clustering.iter().all(|of| of != column) {
            return Err(Error::invalid(format!(
                "Only clustering key columns can be defined in CLUSTERING ORDER directive: {column} are not clustering columns"
            )));
        }
        if clustering[at] != *column {
            return Err(Error::invalid(format!(
                "The order of columns in the CLUSTERING ORDER directive must match that of the clustering columns ({} != {column})",
                clustering[at]
            )));
        }
    }
    if !create.order.is_empty() && create.order.len() < clustering.len() {
        return Err(Error::invalid(format!(
            "Missing CLUSTERING ORDER for column {}",
            clustering[create.order.len()]
        )));
    }
    for (at, column) in clustering.iter().enumerate() {
        let ty = find(column)?.1.clone();
        builder = match create.order.get(at) {
            Some((_, true)) => builder.clustering_desc(column, ty),
            _ => builder.clustering(column, ty),
        };
    }
    for (definition, ty) in &columns {
        if keys.contains(&&definition.name) {
            continue;
        }
        if definition.is_static && clustering.is_empty() {
            return Err(Error::invalid(
                "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
            ));
        }
        builder = match definition.is_static {
            true => builder.static_column(&definition.name, ty.clone()),
            false => builder.regular(&definition.name, ty.clone()),
        };
    }
    let mut options = TableOptions::default();
    let warnings = set(&mut options, &create.properties)?;
    let schema = builder.options(options).build()?;
    Ok(Plan {
        warnings,
        ..Plan::of(Action::CreateTable(Box::new(schema)), create.if_not_exists)
    })
}

fn check_column(ty: &CqlType) -> Result<()> {
    match ty {
        CqlType::Udt(of) if of.fields.iter().any(|field| field.ty.is_multi_cell()) => Err(Error::invalid(
            "Non-frozen UDTs with nested non-frozen collections are not supported",
        )),
        _ => Ok(()),
    }
}

fn check_key(column: &str, ty: &CqlType, is_static: bool) -> Result<()> {
    let refuse = |what: String| Err(Error::invalid(what));
    if is_static {
        return refuse(format!("Static column '{column}' cannot be part of the PRIMARY KEY"));
    }
    if ty.has_duration() {
        return refuse(format!(
            "duration type is not supported for PRIMARY KEY column '{column}'"
        ));
    }
    if ty.is_multi_cell() {
        return refuse(match ty {
            CqlType::Udt(_) => format!("Invalid non-frozen user-defined type for PRIMARY KEY column '{column}'"),
            _ => format!(
                "Invalid non-frozen collection type {} for PRIMARY KEY column '{column}'",
                text_of(ty)
            ),
        });
    }
    Ok(())
}

pub(super) fn alter(
    name: &Name,
    if_exists: bool,
    change: &AlterTable,
    keyspace: Option<&str>,
    catalog: &dyn Catalog,
) -> Result<Plan> {
    let keyspace = keyspace_of(name, keyspace)?;
    not_system(keyspace)?;
    let Some(table) = catalog.table(keyspace, &name.name) else {
        return match if_exists {
            true => Ok(Plan::nothing()),
            false => Err(Error::invalid(format!(
                "Table '{keyspace}.{}' doesn't exist",
                name.name
            ))),
        };
    };
    let mut warnings = Vec::new();
    let mut changes = Vec::new();
    match change {
        AlterTable::Add(columns, if_not_exists) => {
            for column in columns {
                if table.column(&column.name).is_some() {
                    if *if_not_exists {
                        continue;
                    }
                    return Err(Error::invalid(format!(
                        "Column with name '{}' already exists",
                        column.name
                    )));
                }
                if column.is_static && table.clustering.is_empty() {
                    return Err(Error::invalid(
                        "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
                    ));
                }
                let ty = resolve(&column.ty, keyspace, catalog)?;
                check_column(&ty)?;
                let mut before = table.dropped.iter().filter(|of| of.column.name == column.name);
                if let Some(dropped) = before.next_back().filter(|of| of.is_static != column.is_static) {
                    let kind = |is_static: bool| if is_static { "STATIC" } else { "REGULAR" };
                    return Err(Error::invalid(format!(
                        "Cannot re-add previously dropped column '{}' of kind {}, incompatible with previous kind {}",
                        column.name,
                        kind(column.is_static),
                        kind(dropped.is_static)
                    )));
                }
                if let Some(dropped) = table.dropped.iter().rfind(|of| of.column.name == column.name)
                    && dropped.column.ty != ty
                    && table.altered(&[Alteration::add(&column.name, ty.clone())], 0).is_err()
                {
                    return Err(Error::invalid(format!(
                        "Cannot re-add previously dropped column '{}' of type {}, incompatible with previous type {}",
                        column.name,
                        text_of(&ty),
                        text_of(&dropped.column.ty)
                    )));
                }
                changes.push(match column.is_static {
                    true => Alteration::add_static(&column.name, ty),
                    false => Alteration::add(&column.name, ty),
                });
            }
        }
        AlterTable::Drop(columns, if_exists) => {
            for column in columns {
                match table.column(column) {
                    None if *if_exists => continue,
                    None => {
                        return Err(Error::invalid(format!(
                            "Column {column} was not found in table '{keyspace}.{}'",
                            name.name
                        )));
                    }
                    Some(_) if is_key(&table, column) => {
                        return Err(Error::invalid(format!("Cannot drop PRIMARY KEY column {column}")));
                    }
                    Some(_) => changes.push(Alteration::drop(column)),
                }
            }
        }
        AlterTable::Rename(renames, if_exists) => {
            for (from, to) in renames {
                if table.column(from).is_none() {
                    if *if_exists {
                        continue;
                    }
                    return Err(Error::invalid(format!(
                        "Column {from} was not found in table '{keyspace}.{}'",
                        name.name
                    )));
                }
                if !is_key(&table, from) {
                    return Err(Error::invalid(format!("Cannot rename non PRIMARY KEY column {from}")));
                }
                if table.column(to).is_some() {
                    return Err(Error::invalid(format!(
                        "Cannot rename column {from} to {to} in table '{keyspace}.{}'; another column with that name already exists",
                        name.name
                    )));
                }
                changes.push(Alteration::rename(from, to));
            }
        }
        AlterTable::With(properties) => {
            let mut options = table.options.clone();
            warnings = set(&mut options, properties)?;
            changes.push(Alteration::Options(options));
        }
        AlterTable::Retype => return Err(Error::invalid("Altering column types is no longer supported")),
        AlterTable::DropCompactStorage => {
            return Err(Error::invalid(
                "Cannot DROP COMPACT STORAGE on table without COMPACT STORAGE",
            ));
        }
    }
    if changes.is_empty() {
        return Ok(Plan::nothing());
    }
    // What the model refuses is refused here, before anybody waits for the disk.
    table.altered(&changes, 0)?;
    Ok(Plan {
        warnings,
        ..Plan::of(
            Action::AlterTable(keyspace.to_owned(), name.name.clone(), changes),
            if_exists,
        )
    })
}

fn is_key(table: &Schema, column: &str) -> bool {
    let mut clustering = table.clustering.iter().map(|of| &of.column);
    table.partition_key.iter().any(|of| of.name == column) || clustering.any(|of| of.name == column)
}

pub(super) fn drop(name: &Name, if_exists: bool, keyspace: Option<&str>, catalog: &dyn Catalog) -> Result<Plan> {
    let keyspace = keyspace_of(name, keyspace)?;
    not_system(keyspace)?;
    match catalog.table(keyspace, &name.name) {
        Some(_) => Ok(Plan::of(
            Action::DropTable(keyspace.to_owned(), name.name.clone()),
            if_exists,
        )),
        None if if_exists => Ok(Plan::nothing()),
        None => Err(Error::invalid(format!(
            "Table '{keyspace}.{}' doesn't exist",
            name.name
        ))),
    }
}
