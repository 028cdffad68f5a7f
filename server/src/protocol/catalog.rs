//! The definitions that statements are checked against: those of the engine, and the node's own.

use super::system::System;
use cql::language::Catalog;
use engine::Definitions;
use model::{Keyspace, Schema, UserType};
use std::sync::Arc;

/// All definitions at one moment.
#[derive(Clone)]
pub(super) struct View {
    pub definitions: Arc<Definitions>,
    pub system: Arc<System>,
}

impl Catalog for View {
    fn keyspace(&self, name: &str) -> Option<Arc<Keyspace>> {
        let system = self.system.keyspace(name);
        system.or_else(|| self.definitions.keyspace(name).cloned())
    }

    fn table(&self, keyspace: &str, name: &str) -> Option<Arc<Schema>> {
        let system = self.system.table(keyspace, name);
        system.or_else(|| self.definitions.table(keyspace, name).cloned())
    }

    fn user_type(&self, keyspace: &str, name: &str) -> Option<Arc<UserType>> {
        self.definitions.user_type(keyspace, name).cloned()
    }
}

impl View {
    /// All keyspaces, the node's own included, by name.
    pub fn keyspaces(&self) -> Vec<Arc<Keyspace>> {
        let mut all: Vec<_> = self
            .system
            .keyspaces()
            .chain(self.definitions.keyspaces())
            .cloned()
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.name == b.name);
        all
    }

    /// All tables, by keyspace and name.
    pub fn tables(&self) -> Vec<Arc<Schema>> {
        let mut all: Vec<_> = self.system.tables().chain(self.definitions.tables()).cloned().collect();
        all.sort_by(|a, b| (&a.keyspace, &a.name).cmp(&(&b.keyspace, &b.name)));
        all.dedup_by(|a, b| a.keyspace == b.keyspace && a.name == b.name);
        all
    }
}
