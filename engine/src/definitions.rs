//! What keyspaces, tables and types there are, at one moment.

use crate::manifest::state::State;
use model::{Keyspace, Schema, TableId, UserType};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// By keyspace and name.
type Named<T> = BTreeMap<String, BTreeMap<String, Arc<T>>>;

/// All definitions at one moment. Never changed: a change puts another one in its place.
///
/// A keyspace that was never defined and has tables or types is there as [`Keyspace::new`] gives it.
///
/// [`Store::definitions`](crate::Store::definitions) gives it.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Definitions {
    keyspaces: BTreeMap<String, Arc<Keyspace>>,
    tables: Named<Schema>,
    by_id: BTreeMap<TableId, Arc<Schema>>,
    types: Named<UserType>,
}

/// What kind of thing a definition is of.
///
/// [`Error::AlreadyExists`](crate::Error::AlreadyExists) and [`Error::NotFound`](crate::Error::NotFound) have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefinitionKind {
    /// A keyspace.
    Keyspace,
    /// A table.
    Table,
    /// A user-defined type.
    Type,
}

impl fmt::Display for DefinitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DefinitionKind::Keyspace => "keyspace",
            DefinitionKind::Table => "table",
            DefinitionKind::Type => "type",
        })
    }
}

impl Definitions {
    /// What a state of the manifest defines; what is as it was `before` is shared with that.
    pub(crate) fn of(state: &State, before: &Definitions) -> Definitions {
        let mut now = Definitions::default();
        for (name, keyspace) in &state.keyspaces {
            let keyspace = shared(before.keyspaces.get(name), keyspace);
            now.keyspaces.insert(name.clone(), keyspace);
        }
        for (id, schema) in &state.tables {
            let schema = shared(before.by_id.get(id), schema);
            now.by_id.insert(*id, Arc::clone(&schema));
            let of_keyspace = now.tables.entry(schema.keyspace.clone()).or_default();
            of_keyspace.insert(schema.name.clone(), schema);
        }
        for ((keyspace, name), ty) in &state.types {
            let ty = shared(before.user_type(keyspace, name), ty);
            let of_keyspace = now.types.entry(keyspace.clone()).or_default();
            of_keyspace.insert(name.clone(), ty);
        }
        for name in now.tables.keys().chain(now.types.keys()) {
            let implicit = || shared(before.keyspaces.get(name), &Keyspace::new(name));
            now.keyspaces.entry(name.clone()).or_insert_with(implicit);
        }
        now
    }

    /// All keyspaces, by name.
    pub fn keyspaces(&self) -> impl Iterator<Item = &Arc<Keyspace>> {
        self.keyspaces.values()
    }

    /// The keyspace of that name.
    #[must_use]
    pub fn keyspace(&self, name: &str) -> Option<&Arc<Keyspace>> {
        self.keyspaces.get(name)
    }

    /// All tables, by id.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.by_id.values()
    }

    /// The tables of a keyspace, by name.
    pub fn tables_of(&self, keyspace: &str) -> impl Iterator<Item = &Arc<Schema>> {
        self.tables.get(keyspace).into_iter().flat_map(BTreeMap::values)
    }

    /// The table of that name.
    #[must_use]
    pub fn table(&self, keyspace: &str, name: &str) -> Option<&Arc<Schema>> {
        self.tables.get(keyspace)?.get(name)
    }

    /// The table of that id.
    #[must_use]
    pub fn table_of(&self, id: TableId) -> Option<&Arc<Schema>> {
        self.by_id.get(&id)
    }

    /// All user-defined types, by keyspace and name.
    pub fn user_types(&self) -> impl Iterator<Item = &Arc<UserType>> {
        self.types.values().flat_map(BTreeMap::values)
    }

    /// The user-defined types of a keyspace, by name.
    pub fn user_types_of(&self, keyspace: &str) -> impl Iterator<Item = &Arc<UserType>> {
        self.types.get(keyspace).into_iter().flat_map(BTreeMap::values)
    }

    /// The user-defined type of that name.
    #[must_use]
    pub fn user_type(&self, keyspace: &str, name: &str) -> Option<&Arc<UserType>> {
        self.types.get(keyspace)?.get(name)
    }

    /// The schema with the types in its columns as they are defined now; those without a definition stay.
    pub(crate) fn with_present_types(&self, mut schema: Schema) -> Schema {
        for ty in self.user_types() {
            if schema.uses_type(&ty.keyspace, &ty.name) {
                schema = schema.with_type(ty);
            }
        }
        schema
    }
}

/// What was there before, if it is the same.
fn shared<T: Clone + PartialEq>(before: Option<&Arc<T>>, now: &T) -> Arc<T> {
    match before.filter(|before| ***before == *now) {
        Some(before) => Arc::clone(before),
        None => Arc::new(now.clone()),
    }
}
