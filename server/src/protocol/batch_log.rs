//! Logged batches over several partitions: all of it or nothing, at last.
//!
//! 1. The mutations are written as one row of `system.batches`; durable when that is answered.
//! 2. Each goes to its partition.
//! 3. The row is deleted, and the batch is answered. What a crash leaves between is applied when the node starts again: twice changes
//!    nothing.
//!
//! A batch that was answered is never replayed: meanwhile its tables may have been truncated, or what it wrote deleted and purged. One
//! that could not be applied (a shard had no room) is answered with an error, and finished in the background.

use super::fail::{Doing, Done, Failure};
use super::local::Local;
use super::modify::apply_all;
use cql::frame::WriteType;
use cql::language::Environment;
use engine::{Read, Store};
use futures_util::future::BoxFuture;
use model::{CqlType, Insert, Mutation, MutationBuilder, RowBuilder, Schema, TableOptions, Value};
use runtime::{Break, TaskClass};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The table's keyspace.
pub(super) const KEYSPACE: &str = "system";
/// Its name.
pub(super) const TABLE: &str = "batches";

/// How long a shard that has no room is left alone.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The table, as Cassandra has it.
pub(super) fn schema() -> Schema {
    Schema::builder(KEYSPACE, TABLE)
        .partition_key("id", CqlType::TimeUuid)
        .regular("mutations", CqlType::Blob.list().frozen())
        .regular("version", CqlType::Int)
        .options(TableOptions {
            // What is deleted is never written again.
            gc_grace_seconds: 0,
            ..TableOptions::default()
        })
        .build()
        .expect("our own definition is legal")
}

/// Applies mutations as one logged batch.
pub(super) async fn apply(local: &Rc<Local>, mutations: Vec<Mutation>) -> Done<()> {
    let of_log = |error: engine::Error| Failure::Engine(error, Doing::Write(WriteType::BatchLog));
    let Some(table) = local.shard.schema(KEYSPACE, TABLE) else {
        return Err(Failure::invalid(
            "the table of the batch log is missing; start the server again",
        ));
    };
    let id = uuid::Uuid::from_bytes(local.time_uuid());
    let blobs = mutations
        .iter()
        .map(|mutation| Value::Blob(mutation.bytes().to_vec()))
        .collect();
    let timestamp = local.shard.timestamp().await.map_err(of_log)?;
    let entry = Insert::into(&table)
        .set("id", id)
        .and_then(|row| row.set("version", 1_i32))
        .and_then(|row| row.set("mutations", Value::List(blobs)))
        .and_then(|row| row.at(timestamp))
        .map_err(cql::language::Error::from)?;
    if !runtime::broken(Break::BatchesWithoutLog) {
        local.shard.apply(entry).await.map_err(of_log)?;
    }
    let entry = Entry { table, id, timestamp };
    let applied = apply_all(local, mutations.clone(), WriteType::Batch).await;
    if applied.is_err() {
        // Its client is told that it takes longer; whatever was deleted meanwhile must not come back at the next start.
        let local = Rc::clone(local);
        let finish = async move { finish(&local, mutations, entry).await };
        drop(runtime::spawn(TaskClass::Request, "finish a batch", finish));
        return applied;
    }
    // Only then is it answered: a batch that is replayed later would bring back what was truncated, or deleted and purged, since.
    entry.remove(local).await.map_err(of_log)
}

/// An entry of the batch log.
struct Entry {
    table: Arc<Schema>,
    id: uuid::Uuid,
    timestamp: i64,
}

impl Entry {
    /// Removes it, however long there is no room for that.
    async fn remove(&self, local: &Local) -> engine::Result<()> {
        loop {
            let removal = forget(&self.table, self.id.as_bytes(), self.timestamp + 1);
            match local.shard.apply(removal).await {
                Err(engine::Error::Overloaded { .. }) => runtime::time::sleep(TRY_AGAIN_AFTER).await,
                removed => return removed,
            }
        }
    }
}

/// Applies what could not be applied at once, until it is, or the server ends: then the next start does it.
async fn finish(local: &Rc<Local>, mutations: Vec<Mutation>, entry: Entry) {
    for mutation in mutations {
        loop {
            match local.shard.apply(mutation.clone()).await {
                Err(engine::Error::Overloaded { .. }) => runtime::time::sleep(TRY_AGAIN_AFTER).await,
                // Its table is gone meanwhile.
                Ok(()) | Err(engine::Error::Invalid { .. }) => break,
                Err(error) => return tracing::warn!(%error, "a logged batch is finished at the next start"),
            }
        }
    }
    if let Err(error) = entry.remove(local).await {
        tracing::warn!(%error, "a logged batch is applied once more at the next start");
    }
}

/// The deletion of a row of a table of one-row partitions.
pub(super) fn forget(table: &Schema, id: &[u8], timestamp: i64) -> Mutation {
    let mut builder = MutationBuilder::new(table.id, id);
    let mut row = RowBuilder::new();
    row.deletion(model::Deletion::new(timestamp, runtime::time::unix_seconds()));
    builder.row(&[], row.finish());
    builder.build()
}

/// Applies what a crash has left; when this returns all logged batches are applied.
///
/// # Errors
/// As [`Store::apply`]; calling it again goes on.
pub fn replay(store: &Store) -> BoxFuture<'_, engine::Result<u64>> {
    Box::pin(async move {
        let table: Arc<Schema> = store.create_table(schema(), true).await?;
        let mut replayed = 0;
        let mut scan = store.scan_as(Read::partition(table.id, Vec::new()));
        while let Some((key, page)) = scan.next().await? {
            for (clustering, row) in page.rows() {
                let typed = model::TypedRow::new(&table, &key, clustering, row);
                let blobs: Vec<Value> = typed.get("mutations").map_err(corrupt)?;
                for blob in blobs {
                    let Value::Blob(bytes) = blob else { continue };
                    let mutation = Mutation::parse(bytes.into()).map_err(corrupt)?;
                    match store.apply(mutation).await {
                        // Its table is gone meanwhile.
                        Err(engine::Error::Invalid { .. }) => {}
                        applied => applied?,
                    }
                }
                let latest = row.max_timestamp() + 1;
                store.apply(forget(&table, &key, latest)).await?;
                replayed += 1;
            }
        }
        Ok(replayed)
    })
}

fn corrupt(error: model::ModelError) -> engine::Error {
    engine::Error::Invalid {
        what: format!("an entry of the batch log is damaged: {error}"),
    }
}
