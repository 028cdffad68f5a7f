//! The node's own tables: what drivers and shells read of it. Their rows are made when they are asked for.
//!
//! Names and columns are those of Cassandra 5.0 (`SystemKeyspace.java`, `SchemaKeyspace.java`, `VirtualSchemaKeyspace.java`,
//! `TraceKeyspace.java`), the two of ScyllaDB that its drivers ask for, and one of our own, `system_views.shards`.

mod contents;
mod tables;

pub(super) use contents::rows;
pub(super) use contents::{CQL_VERSION, PARTITIONER};

use model::{Keyspace, Schema};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The node's own keyspaces and tables.
pub(super) struct System {
    keyspaces: BTreeMap<String, Arc<Keyspace>>,
    tables: BTreeMap<(String, String), Arc<Schema>>,
}

/// Keyspaces whose tables are made of what the node is, which drivers know to be so.
pub(super) const VIRTUAL: &[&str] = &["system_views", "system_virtual_schema"];

impl System {
    pub fn new() -> System {
        let mut system = System {
            keyspaces: BTreeMap::new(),
            tables: BTreeMap::new(),
        };
        for schema in tables::all() {
            let keyspace = system.keyspaces.entry(schema.keyspace.clone());
            keyspace.or_insert_with(|| {
                let mut keyspace = Keyspace::new(&schema.keyspace);
                let class = (
                    "class".to_owned(),
                    "org.apache.cassandra.locator.LocalStrategy".to_owned(),
                );
                keyspace.replication = [class].into();
                Arc::new(keyspace)
            });
            let name = (schema.keyspace.clone(), schema.name.clone());
            system.tables.insert(name, Arc::new(schema));
        }
        system
    }

    pub fn keyspace(&self, name: &str) -> Option<Arc<Keyspace>> {
        self.keyspaces.get(name).cloned()
    }

    pub fn table(&self, keyspace: &str, name: &str) -> Option<Arc<Schema>> {
        self.tables.get(&(keyspace.to_owned(), name.to_owned())).cloned()
    }

    pub fn keyspaces(&self) -> impl Iterator<Item = &Arc<Keyspace>> {
        self.keyspaces.values()
    }

    pub fn tables(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.tables.values()
    }
}

/// A clustering key and a row.
pub(super) type OwnRow = (Vec<u8>, Vec<u8>);

/// A partition of one of these tables.
pub(super) struct Partition {
    pub key: Vec<u8>,
    /// In order.
    pub rows: Vec<OwnRow>,
}
