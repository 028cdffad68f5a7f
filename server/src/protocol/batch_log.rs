//! Logged batches over several partitions: all of it or nothing, at last.
//!
//! 1. The mutations are written as one row of `system.batches`; durable when that is answered.
//! 2. Each goes to its partition.
//! 3. The row is deleted. What a crash leaves between is applied when the node starts again: twice changes nothing.

use super::fail::{Doing, Done, Failure};
use super::local::Local;
use super::modify::apply_all;
use cql::frame::WriteType;
use cql::language::Environment;
use engine::{Read, Store};
use model::{CqlType, Insert, Mutation, MutationBuilder, RowBuilder, Schema, TableOptions, Value};
use std::rc::Rc;
use std::sync::Arc;

/// The table's keyspace.
pub(super) const KEYSPACE: &str = "system";
/// Its name.
pub(super) const TABLE: &str = "batches";

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
    local.shard.apply(entry).await.map_err(of_log)?;
    apply_all(local, mutations, WriteType::Batch).await?;
    let done = forget(&table, id.as_bytes(), timestamp + 1);
    // The batch is applied; if the row stays, it is applied once more at the next start.
    if let Err(error) = local.shard.apply(done).await {
        tracing::warn!(%error, "the entry of a batch that is applied could not be removed from the batch log");
    }
    Ok(())
}

fn forget(table: &Schema, id: &[u8], timestamp: i64) -> Mutation {
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
pub async fn replay(store: &Store) -> engine::Result<u64> {
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
}

fn corrupt(error: model::ModelError) -> engine::Error {
    engine::Error::Invalid {
        what: format!("an entry of the batch log is damaged: {error}"),
    }
}
