//! `CREATE`, `ALTER` and `DROP TYPE`.

use super::super::catalog::Catalog;
use super::super::error::{Error, Result};
use super::super::statement::keyspace_of;
use super::super::syntax::ast::{AlterType, Name, Type};
use super::super::types::resolve;
use super::{Action, Plan, check_name, must_have_keyspace, not_system};
use model::{CqlType, TypeAlteration, UserField, UserType};

pub(super) fn create(
    name: &Name,
    if_not_exists: bool,
    fields: &[(String, Type)],
    keyspace: Option<&str>,
    catalog: &dyn Catalog,
) -> Result<Plan> {
    let keyspace = keyspace_of(name, keyspace)?;
    not_system(keyspace)?;
    must_have_keyspace(keyspace, catalog)?;
    check_name("Type", &name.name)?;
    if catalog.user_type(keyspace, &name.name).is_some() {
        return match if_not_exists {
            true => Ok(Plan::nothing()),
            false => Err(Error::invalid(format!(
                "A user type with name '{}' already exists",
                name.name
            ))),
        };
    }
    let mut all: Vec<UserField> = Vec::new();
    for (field, ty) in fields {
        if all.iter().any(|of| of.name == *field) {
            return Err(Error::invalid(format!(
                "Duplicate field name '{field}' in type '{}'",
                name.name
            )));
        }
        let ty = resolve(ty, keyspace, catalog)?;
        check_field(field, &ty)?;
        all.push(UserField {
            name: field.clone(),
            ty,
        });
    }
    let ty = UserType {
        keyspace: keyspace.to_owned(),
        name: name.name.clone(),
        fields: all,
    };
    Ok(Plan::of(Action::CreateType(ty), if_not_exists))
}

fn check_field(field: &str, ty: &CqlType) -> Result<()> {
    match ty {
        CqlType::Udt(of) => Err(Error::invalid(format!(
            "A user type cannot contain non-frozen UDTs: {field} is of type {}",
            of.name
        ))),
        _ => Ok(()),
    }
}

pub(super) fn alter(
    name: &Name,
    if_exists: bool,
    change: &AlterType,
    keyspace: Option<&str>,
    catalog: &dyn Catalog,
) -> Result<Plan> {
    let keyspace = keyspace_of(name, keyspace)?;
    not_system(keyspace)?;
    let Some(present) = catalog.user_type(keyspace, &name.name) else {
        return match if_exists {
            true => Ok(Plan::nothing()),
            false => Err(Error::invalid(format!("Type {keyspace}.{} doesn't exist", name.name))),
        };
    };
    let has = |field: &str| present.fields.iter().any(|of| of.name == field);
    let changes = match change {
        AlterType::Add(field, ty, if_not_exists) => {
            if has(field) {
                return match if_not_exists {
                    true => Ok(Plan::nothing()),
                    false => Err(Error::invalid(format!(
                        "Cannot add field {field} to type {keyspace}.{}: a field with name {field} already exists",
                        name.name
                    ))),
                };
            }
            let ty = resolve(ty, keyspace, catalog)?;
            check_field(field, &ty)?;
            vec![TypeAlteration::add(field, ty)]
        }
        AlterType::Rename(renames) => {
            let mut changes = Vec::new();
            for (from, to) in renames {
                if !has(from) {
                    return Err(Error::invalid(format!(
                        "Unkown field {from} in user type {keyspace}.{}",
                        name.name
                    )));
                }
                changes.push(TypeAlteration::rename(from, to));
            }
            changes
        }
        AlterType::Retype => return Err(Error::invalid("Altering field types is no longer supported")),
    };
    Ok(Plan::of(
        Action::AlterType(keyspace.to_owned(), name.name.clone(), changes),
        if_exists,
    ))
}

pub(super) fn drop(name: &Name, if_exists: bool, keyspace: Option<&str>, catalog: &dyn Catalog) -> Result<Plan> {
    let keyspace = keyspace_of(name, keyspace)?;
    not_system(keyspace)?;
    match catalog.user_type(keyspace, &name.name) {
        Some(_) => Ok(Plan::of(
            Action::DropType(keyspace.to_owned(), name.name.clone()),
            if_exists,
        )),
        None if if_exists => Ok(Plan::nothing()),
        None => Err(Error::invalid(format!("Type '{keyspace}.{}' doesn't exist", name.name))),
    }
}
