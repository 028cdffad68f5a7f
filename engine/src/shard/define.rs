//! What keyspaces, tables and types there are, as a shard knows them.

use super::Shard;
use crate::definitions::Definitions;
use crate::error::Result;
use crate::store::on_shard;
use crate::table::TableState;
use model::{Alteration, KeySeed, Keyspace, Schema, TypeAlteration, UserType};
use runtime::{Break, ShardId};
use std::rc::Rc;
use std::sync::Arc;

impl Shard {
    /// Grows whenever the definition of a keyspace, a table or a type has changed on this shard: what was made of them at one epoch
    /// holds as long as it lasts.
    #[must_use]
    pub fn schema_epoch(&self) -> u64 {
        self.schema_epoch.get()
    }

    /// All definitions, as this shard has them now.
    #[must_use]
    pub fn definitions(&self) -> Arc<Definitions> {
        Arc::clone(&self.definitions.borrow())
    }

    /// All keyspaces, by name.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<Arc<Keyspace>> {
        self.definitions.borrow().keyspaces().cloned().collect()
    }

    /// All user-defined types, by keyspace and name.
    #[must_use]
    pub fn user_types(&self) -> Vec<Arc<UserType>> {
        self.definitions.borrow().user_types().cloned().collect()
    }

    /// As [`Store::create_keyspace`](crate::Store::create_keyspace).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn create_keyspace(&self, keyspace: Keyspace, if_not_exists: bool) -> Result<bool> {
        let create = move |shard: Rc<Shard>| async move { shard.node().create_keyspace(keyspace, if_not_exists).await };
        on_shard(ShardId(0), create).await?
    }

    /// As [`Store::alter_keyspace`](crate::Store::alter_keyspace).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn alter_keyspace(&self, keyspace: Keyspace) -> Result<()> {
        let alter = move |shard: Rc<Shard>| async move { shard.node().alter_keyspace(keyspace).await };
        on_shard(ShardId(0), alter).await?
    }

    /// As [`Store::drop_keyspace`](crate::Store::drop_keyspace).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn drop_keyspace(&self, name: &str, if_exists: bool) -> Result<bool> {
        let name = name.to_owned();
        let drop = move |shard: Rc<Shard>| async move { shard.node().drop_keyspace(&name, if_exists).await };
        on_shard(ShardId(0), drop).await?
    }

    /// As [`Store::create_table`](crate::Store::create_table).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn create_table(&self, schema: Schema, if_not_exists: bool) -> Result<Arc<Schema>> {
        let create = move |shard: Rc<Shard>| async move { shard.node().create_table(schema, if_not_exists).await };
        on_shard(ShardId(0), create).await?
    }

    /// As [`Store::alter_table`](crate::Store::alter_table).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn alter_table(&self, keyspace: &str, name: &str, changes: Vec<Alteration>) -> Result<Arc<Schema>> {
        let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
        let alter = move |shard: Rc<Shard>| async move { shard.node().alter_table(&keyspace, &name, &changes).await };
        on_shard(ShardId(0), alter).await?
    }

    /// As [`Store::create_type`](crate::Store::create_type).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn create_type(&self, ty: UserType, if_not_exists: bool) -> Result<bool> {
        let create = move |shard: Rc<Shard>| async move { shard.node().create_type(ty, if_not_exists).await };
        on_shard(ShardId(0), create).await?
    }

    /// As [`Store::alter_type`](crate::Store::alter_type).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn alter_type(&self, keyspace: &str, name: &str, changes: Vec<TypeAlteration>) -> Result<Arc<UserType>> {
        let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
        let alter = move |shard: Rc<Shard>| async move { shard.node().alter_type(&keyspace, &name, &changes).await };
        on_shard(ShardId(0), alter).await?
    }

    /// As [`Store::drop_type`](crate::Store::drop_type).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn drop_type(&self, keyspace: &str, name: &str, if_exists: bool) -> Result<bool> {
        let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
        let drop = move |shard: Rc<Shard>| async move { shard.node().drop_type(&keyspace, &name, if_exists).await };
        on_shard(ShardId(0), drop).await?
    }

    /// These are the definitions from now on: tables that are new are there, those that are altered are what
    /// they are, those that were dropped are gone. One step.
    pub(crate) async fn define(self: Rc<Self>, definitions: Arc<Definitions>) {
        for table in self.all_tables() {
            if definitions.table_of(table.id).is_none() {
                self.drop_here(&table);
            }
        }
        for schema in definitions.tables() {
            let present = self.tables.borrow().get(&schema.id).cloned();
            match present {
                None => self.add_table(Arc::clone(schema)),
                Some(table) if !Arc::ptr_eq(&table.definition().schema, schema) => {
                    self.redefine(&table, Arc::clone(schema));
                }
                Some(_) => {}
            }
        }
        *self.definitions.borrow_mut() = definitions;
        self.schema_epoch.set(self.schema_epoch.get() + 1);
    }

    fn add_table(&self, schema: Arc<Schema>) {
        let table = TableState::new(schema, Vec::new(), KeySeed::of_host(&self.host_id));
        self.tables.borrow_mut().insert(table.id, Rc::new(table));
    }

    /// The table is this from now on: no read that begins later shares the page of one that began before.
    fn redefine(&self, table: &TableState, schema: Arc<Schema>) {
        if !runtime::broken(Break::JoinsUnalteredReads) {
            self.joined.strike_off_table(schema.id);
        }
        table.redefine(schema);
        self.compaction_wanted.notify_all();
    }
}
