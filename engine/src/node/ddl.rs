//! Changes of definitions: keyspaces, tables, user-defined types.
//!
//! 1. One at a time: each sees what the one before has made.
//! 2. One manifest edit makes all of a change durable.
//! 3. Then each shard follows, in a step of its own, and only then whoever asked is told.
//!
//! Tables that are dropped or truncated are stopped on all shards before: see `shard/erase.rs`.

use super::{Node, make_table_dirs, next_table_id, on_all, shard_count};
use crate::definitions::{DefinitionKind, Definitions};
use crate::error::{Error, Result};
use crate::manifest::state::{Edit, State};
use crate::shard::Shard;
use crate::store::on_shard;
use crate::table::compaction_options;
use model::{Alteration, Keyspace, ModelError, Schema, TableId, TypeAlteration, UserType};
use runtime::{Break, ShardId};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

impl Node {
    /// Makes edits of definitions durable, and has all shards follow.
    async fn define(&self, edits: Vec<Edit>) -> Result<Arc<Definitions>> {
        let before = self.shared.definitions();
        let is_drop = edits.iter().any(|edit| matches!(edit, Edit::DropTable { .. }));
        let next = {
            let mut manifest = self.manifest.lock().await;
            let manifest = manifest.as_mut().ok_or(Error::Closed)?;
            if runtime::broken(Break::AltersBeforeManifest) || is_drop && runtime::broken(Break::DropsBeforeManifest) {
                follow(&Arc::new(Definitions::of(&after(manifest.state(), &edits), &before))).await?;
            }
            manifest.append(edits).await?;
            Definitions::of(manifest.state(), &before)
        };
        let next = Arc::new(next);
        let told = follow(&next).await;
        self.shared.set_definitions(Arc::clone(&next));
        told.map(|()| next)
    }

    /// Creates a keyspace; whether it was created.
    pub async fn create_keyspace(&self, keyspace: Keyspace, if_not_exists: bool) -> Result<bool> {
        let _turn = self.changes.lock().await;
        keyspace.validate().map_err(refused)?;
        if self.shared.definitions().keyspace(&keyspace.name).is_some() {
            return match if_not_exists {
                true => Ok(false),
                false => Err(Error::already_exists(
                    DefinitionKind::Keyspace,
                    &keyspace.name,
                    &keyspace.name,
                )),
            };
        }
        self.define(vec![Edit::SetKeyspace(Box::new(keyspace))]).await?;
        Ok(true)
    }

    /// Changes a keyspace's definition.
    pub async fn alter_keyspace(&self, keyspace: Keyspace) -> Result<()> {
        let _turn = self.changes.lock().await;
        keyspace.validate().map_err(refused)?;
        self.keyspace_is_there(&keyspace.name)?;
        self.define(vec![Edit::SetKeyspace(Box::new(keyspace))]).await?;
        Ok(())
    }

    /// Drops a keyspace with all that is in it; whether it was there.
    pub async fn drop_keyspace(&self, name: &str, if_exists: bool) -> Result<bool> {
        let _turn = self.changes.lock().await;
        let present = self.shared.definitions();
        let Some(keyspace) = present.keyspace(name) else {
            return absent(if_exists, DefinitionKind::Keyspace, name, name).map(|()| false);
        };
        let tables: Vec<TableId> = present.tables_of(name).map(|table| table.id).collect();
        let mut edits = Vec::new();
        edits.extend(present.user_types_of(name).map(|ty| drop_type(ty)));
        edits.push(Edit::DropKeyspace {
            name: keyspace.name.clone(),
        });
        self.drop_tables(tables, edits).await?;
        Ok(true)
    }

    /// Drops a table; what it was, if it was there.
    pub async fn drop_table(&self, keyspace: &str, name: &str, if_exists: bool) -> Result<Option<Arc<Schema>>> {
        let _turn = self.changes.lock().await;
        let definitions = self.shared.definitions();
        let Some(table) = definitions.table(keyspace, name) else {
            return absent(if_exists, DefinitionKind::Table, keyspace, name).map(|()| None);
        };
        self.drop_tables(vec![table.id], Vec::new()).await?;
        Ok(Some(Arc::clone(table)))
    }

    /// Drops tables together with `edits`: all of it in one step.
    async fn drop_tables(&self, tables: Vec<TableId>, mut edits: Vec<Edit>) -> Result<()> {
        edits.extend(tables.iter().map(|&table| Edit::DropTable { table }));
        let tables: Arc<[TableId]> = tables.into();
        let dropped = async {
            stop(&tables).await?;
            self.define(edits).await
        };
        if let Err(error) = dropped.await {
            // Those that are gone all the same stay gone.
            resume(&tables).await;
            return Err(error);
        }
        release().await
    }

    /// Empties a table: what was acknowledged before is gone on all shards, in one step of the manifest.
    pub async fn truncate(&self, table: TableId) -> Result<()> {
        let _turn = self.changes.lock().await;
        if self.shared.definitions().table_of(table).is_none() {
            return Shard::current().dropped_or_unknown(table);
        }
        let tables: Arc<[TableId]> = vec![table].into();
        let truncated = self.truncate_stopped(&tables, table).await;
        if truncated.is_err() {
            resume(&tables).await;
        }
        truncated?;
        release().await
    }

    async fn truncate_stopped(&self, tables: &Arc<[TableId]>, table: TableId) -> Result<()> {
        if !runtime::broken(Break::FlushesOutliveTruncation) {
            stop(tables).await?;
        }
        let seal = move |shard: Rc<Shard>| async move { Ok((shard.id().0, shard.seal_to_truncate(table).await?)) };
        let positions: BTreeMap<u16, _> = on_all(seal).await?.into_iter().collect();
        let mut edits = vec![Edit::Truncate { table }];
        if !runtime::broken(Break::TruncatesWithoutLog) {
            edits.extend(
                positions
                    .iter()
                    .map(|(&shard, &position)| Edit::FlushedUpTo { shard, table, position }),
            );
        }
        self.edit(edits).await?;
        let positions = Arc::new(positions);
        on_all(move |shard| async move { shard.truncate_here(table, positions[&shard.id().0]) }).await?;
        Ok(())
    }

    /// Creates a table, or returns the one of that name.
    pub async fn create_table(&self, schema: Schema, if_not_exists: bool) -> Result<Arc<Schema>> {
        let _turn = self.changes.lock().await;
        let present = self.shared.definitions();
        if let Some(present) = present.table(&schema.keyspace, &schema.name) {
            return match if_not_exists {
                true => Ok(Arc::clone(present)),
                false => Err(Error::already_exists(
                    DefinitionKind::Table,
                    &schema.keyspace,
                    &schema.name,
                )),
            };
        }
        let mut schema = present.with_present_types(schema);
        {
            let manifest = self.manifest.lock().await;
            let manifest = manifest.as_ref().ok_or(Error::Closed)?;
            schema.id = next_table_id(manifest).await?;
            schema.validate().map_err(refused)?;
            check_compaction(&schema)?;
            make_table_dirs(manifest.dir(), std::iter::once(schema.id)).await?;
        }
        let id = schema.id;
        let now = self.define(vec![Edit::CreateTable(Box::new(schema))]).await?;
        Ok(Arc::clone(now.table_of(id).expect("it has just been created")))
    }

    /// Changes a table's definition.
    pub async fn alter_table(&self, keyspace: &str, name: &str, alterations: &[Alteration]) -> Result<Arc<Schema>> {
        let _turn = self.changes.lock().await;
        let definitions = self.shared.definitions();
        let present = definitions.table(keyspace, name);
        let present = present.ok_or_else(|| Error::not_found(DefinitionKind::Table, keyspace, name))?;
        let altered = present.altered(alterations, runtime::time::unix_micros());
        let altered = definitions.with_present_types(altered.map_err(refused)?);
        altered.validate().map_err(refused)?;
        check_compaction(&altered)?;
        let id = altered.id;
        let now = self.define(vec![Edit::CreateTable(Box::new(altered))]).await?;
        Ok(Arc::clone(now.table_of(id).expect("it has just been altered")))
    }

    /// Creates a user-defined type; whether it was created.
    pub async fn create_type(&self, ty: UserType, if_not_exists: bool) -> Result<bool> {
        let _turn = self.changes.lock().await;
        let present = self.shared.definitions();
        self.keyspace_is_there(&ty.keyspace)?;
        if present.user_type(&ty.keyspace, &ty.name).is_some() {
            return match if_not_exists {
                true => Ok(false),
                false => Err(Error::already_exists(DefinitionKind::Type, &ty.keyspace, &ty.name)),
            };
        }
        ty.validate().map_err(refused)?;
        let ty = with_present_types(ty, &present);
        ty.validate().map_err(refused)?;
        self.define(vec![Edit::SetType(Box::new(ty))]).await?;
        Ok(true)
    }

    /// Changes a user-defined type, and every type and table that uses it.
    pub async fn alter_type(&self, keyspace: &str, name: &str, changes: &[TypeAlteration]) -> Result<Arc<UserType>> {
        let _turn = self.changes.lock().await;
        let definitions = self.shared.definitions();
        let present = definitions.user_type(keyspace, name);
        let present = present.ok_or_else(|| Error::not_found(DefinitionKind::Type, keyspace, name))?;
        let altered = with_present_types(present.altered(changes).map_err(refused)?, &definitions);
        // Also with the others in it as they are now.
        altered.validate().map_err(refused)?;
        let altered = Arc::new(altered);
        let mut edits = vec![Edit::SetType(Box::new((*altered).clone()))];
        for other in definitions.user_types() {
            if other.types().any(|ty| ty.uses_type(keyspace, name)) {
                let other = other.with_type(&altered);
                other.validate().map_err(refused)?;
                edits.push(Edit::SetType(Box::new(other)));
            }
        }
        for table in definitions.tables() {
            let with = table.with_type(&altered);
            if with != **table {
                with.validate().map_err(refused)?;
                edits.push(Edit::CreateTable(Box::new(with)));
            }
        }
        self.define(edits).await?;
        Ok(altered)
    }

    /// Drops a user-defined type that nothing uses; whether it was there.
    pub async fn drop_type(&self, keyspace: &str, name: &str, if_exists: bool) -> Result<bool> {
        let _turn = self.changes.lock().await;
        let definitions = self.shared.definitions();
        let Some(ty) = definitions.user_type(keyspace, name) else {
            return absent(if_exists, DefinitionKind::Type, keyspace, name).map(|()| false);
        };
        let uses = |ty: &Arc<UserType>| ty.types().any(|ty| ty.uses_type(keyspace, name));
        let types = definitions.user_types().filter(|ty| uses(ty));
        let types = types.map(|ty| format!("type {}", ty.qualified_name()));
        let tables = definitions.tables().filter(|table| table.uses_type(keyspace, name));
        let tables = tables.map(|table| format!("table {}", table.qualified_name()));
        if let Some(user) = types.chain(tables).next() {
            let what = format!("type {} cannot be dropped: {user} uses it", ty.qualified_name());
            return Err(Error::invalid(what));
        }
        self.define(vec![drop_type(ty)]).await?;
        Ok(true)
    }

    fn keyspace_is_there(&self, name: &str) -> Result<()> {
        let definitions = self.shared.definitions();
        let present = definitions.keyspace(name).map(drop);
        present.ok_or_else(|| Error::not_found(DefinitionKind::Keyspace, name, name))
    }
}

fn refused(error: ModelError) -> Error {
    Error::invalid(error.to_string())
}

fn absent(if_exists: bool, what: DefinitionKind, keyspace: &str, name: &str) -> Result<()> {
    match if_exists {
        true => Ok(()),
        false => Err(Error::not_found(what, keyspace, name)),
    }
}

fn drop_type(ty: &UserType) -> Edit {
    Edit::DropType {
        keyspace: ty.keyspace.clone(),
        name: ty.name.clone(),
    }
}

/// A type with those in its fields as they are defined now.
fn with_present_types(mut ty: UserType, definitions: &Definitions) -> UserType {
    for other in definitions.user_types() {
        if ty.types().any(|of| of.uses_type(&other.keyspace, &other.name)) {
            ty = ty.with_type(other);
        }
    }
    ty
}

/// Refuses a table whose files could not be compacted as it says.
fn check_compaction(schema: &Schema) -> Result<()> {
    let allowed = Shard::current().config.allow_unsafe_aggressive_sstable_expiration;
    let checked = compaction_options(schema, allowed);
    checked
        .map(drop)
        .map_err(|error| Error::invalid(format!("table {}: {error}", schema.qualified_name())))
}

/// All shards have these definitions from now on, or are closed.
async fn follow(definitions: &Arc<Definitions>) -> Result<()> {
    let mut result = Ok(());
    for shard in 0..shard_count() {
        let definitions = Arc::clone(definitions);
        let followed = on_shard(
            ShardId(shard),
            move |shard| async move { shard.define(definitions).await },
        );
        result = result.and(followed.await);
    }
    result
}

/// Stops flushes and compactions of tables on all shards.
async fn stop(tables: &Arc<[TableId]>) -> Result<()> {
    let tables = Arc::clone(tables);
    let stop = move |shard: Rc<Shard>| async move {
        for &table in tables.iter() {
            shard.stop_table(table).await?;
        }
        Ok(())
    };
    on_all(stop).await.map(drop)
}

/// Flushes and compactions of tables that were stopped go on.
async fn resume(tables: &Arc<[TableId]>) {
    let tables = Arc::clone(tables);
    let resume = move |shard: Rc<Shard>| async move {
        tables.iter().for_each(|&table| shard.resume_table(table));
        Ok(())
    };
    // Of a shard that has panicked nothing goes on.
    drop(on_all(resume).await);
}

/// All shards release their logs as far as nothing needs them any more.
async fn release() -> Result<()> {
    on_all(|shard| async move { shard.release_unpinned().await })
        .await
        .map(drop)
}

/// The state with these edits: for a deliberate break.
fn after(state: &State, edits: &[Edit]) -> State {
    let mut state = state.clone();
    for edit in edits {
        state
            .apply(edit.clone())
            .expect("edits of definitions follow from the state");
    }
    state
}
