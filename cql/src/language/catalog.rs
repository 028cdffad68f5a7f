//! What a statement is checked against.

use model::{Keyspace, Schema, UserType};
use std::sync::Arc;

/// The definitions of a node, as they are at one moment.
pub trait Catalog {
    /// The keyspace of this name.
    fn keyspace(&self, name: &str) -> Option<Arc<Keyspace>>;
    /// The table of this name.
    fn table(&self, keyspace: &str, name: &str) -> Option<Arc<Schema>>;
    /// The user-defined type of this name.
    fn user_type(&self, keyspace: &str, name: &str) -> Option<Arc<UserType>>;
}
