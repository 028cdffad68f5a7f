//! The rows of the node's own tables.

use super::super::catalog::View;
use super::super::fail::{Doing, Done, Failure};
use super::super::local::Local;
use super::super::trace::Trace;
use super::{Partition, VIRTUAL};
use cql::language::ddl;
use cql::language::types::text_of;
use engine::Shard;
use model::{ClusteringColumn, Column, CqlType, Insert, ModelError, Mutation, Schema, ToCql, Value};
use runtime::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

/// What drivers and shells take the node for.
pub(crate) const RELEASE_VERSION: &str = "5.0.0";
/// The version of the language, as Cassandra 5.0 has it.
pub(crate) const CQL_VERSION: &str = "3.4.7";
/// How tokens are computed.
pub(crate) const PARTITIONER: &str = "org.apache.cassandra.dht.Murmur3Partitioner";

/// Rows that are made between two looks at the clock.
const ROWS_PER_BREATH: usize = 16;

/// Rows as they are made.
type Rows<'a> = Box<dyn Iterator<Item = Result<Mutation, ModelError>> + 'a>;

/// The rows of a partition, by clustering key.
type ByClustering = BTreeMap<Vec<u8>, Vec<u8>>;

/// The rows of a table, by token and key.
pub(crate) async fn rows(local: &Rc<Local>, table: &Schema) -> Done<Vec<Partition>> {
    let view = local.view();
    let rows: Rows<'_> = match (table.keyspace.as_str(), table.name.as_str()) {
        ("system", "local") => Box::new(std::iter::once_with(|| node(local, table, &view))),
        ("system_schema", "keyspaces") => Box::new(keyspaces(table, &view)),
        ("system_schema", "tables") => {
            let tables = view.tables().into_iter().filter(|of| !is_virtual(of));
            Box::new(tables.map(|of| one_table(local, table, &of)))
        }
        ("system_schema", "columns") => Box::new(columns(table, &view, false)),
        ("system_schema", "dropped_columns") => {
            let tables = view.tables().into_iter();
            Box::new(tables.flat_map(|of| dropped(table, &of)))
        }
        ("system_schema", "types") => Box::new(types(table, &view)),
        ("system_virtual_schema", "keyspaces") => {
            let names = VIRTUAL.iter();
            Box::new(names.map(|name| Row::of(table).set("keyspace_name", *name).done()))
        }
        ("system_virtual_schema", "tables") => {
            let tables = view.tables().into_iter().filter(|of| is_virtual(of));
            Box::new(tables.map(|of| {
                let row = Row::of(table)
                    .set("keyspace_name", of.keyspace.as_str())
                    .set("table_name", of.name.as_str());
                row.set("comment", "").done()
            }))
        }
        ("system_virtual_schema", "columns") => Box::new(columns(table, &view, true)),
        ("system_views", "shards") => Box::new(shards(local, table).await?.into_iter()),
        ("system_traces", name) => Box::new(traces(local, table, name == "events").await?.into_iter()),
        _ => Box::new(std::iter::empty()),
    };
    let mut partitions: BTreeMap<(model::Token, Vec<u8>), ByClustering> = BTreeMap::new();
    for (nth, mutation) in rows.enumerate() {
        if nth % ROWS_PER_BREATH == 0 {
            runtime::breathe().await;
        }
        let mutation = mutation.map_err(cql::language::Error::from)?;
        let mutation = mutation.as_ref();
        let of_key = partitions
            .entry((mutation.token(), mutation.key().to_vec()))
            .or_default();
        for (clustering, row) in mutation.rows() {
            of_key.insert(clustering.to_vec(), row.bytes().to_vec());
        }
    }
    let sorted = |((_, key), rows): (_, ByClustering)| Partition {
        key,
        rows: rows.into_iter().collect(),
    };
    Ok(partitions.into_iter().map(sorted).collect())
}

fn is_virtual(table: &Schema) -> bool {
    VIRTUAL.contains(&table.keyspace.as_str())
}

/// A row that is being made: the first error counts.
struct Row<'t>(Result<Insert<'t>, ModelError>);

impl<'t> Row<'t> {
    fn of(table: &'t Schema) -> Row<'t> {
        Row(Ok(Insert::into(table)))
    }

    fn set(self, name: &str, value: impl ToCql) -> Row<'t> {
        Row(self.0.and_then(|row| row.set(name, value)))
    }

    fn done(self) -> Result<Mutation, ModelError> {
        self.0.and_then(|row| row.at(1))
    }
}

/// A version of all definitions: the same ones have the same.
pub(crate) fn schema_version(view: &View) -> Uuid {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for keyspace in view.definitions.keyspaces() {
        hasher.update(&keyspace.encode());
    }
    for table in view.definitions.tables() {
        hasher.update(&table.encode());
    }
    for ty in view.definitions.user_types() {
        hasher.update(format!("{ty:?}").as_bytes());
    }
    uuid::Builder::from_random_bytes(hasher.digest128().to_be_bytes()).into_uuid()
}

/// The id that a table is shown with.
fn table_id(local: &Local, table: &Schema) -> Uuid {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(local.node.identity.host_id.as_bytes());
    hasher.update(&table.id.0.to_le_bytes());
    uuid::Builder::from_random_bytes(hasher.digest128().to_be_bytes()).into_uuid()
}

fn node(local: &Local, table: &Schema, view: &View) -> Result<Mutation, ModelError> {
    let identity = &local.node.identity;
    let address = identity.address.ip();
    let port = i32::from(identity.address.port());
    let datacenter = identity
        .topology
        .datacenters
        .first()
        .map_or("datacenter1", String::as_str);
    let tokens: BTreeSet<String> = ["0".to_owned()].into();
    Row::of(table)
        .set("key", "local")
        .set("bootstrapped", "COMPLETED")
        .set("broadcast_address", address)
        .set("broadcast_port", 7000)
        .set("cluster_name", identity.cluster.as_str())
        .set("cql_version", CQL_VERSION)
        .set("data_center", datacenter)
        .set("gossip_generation", 1)
        .set("host_id", identity.host_id)
        .set("listen_address", address)
        .set("listen_port", 7000)
        .set("native_protocol_version", "4")
        .set("partitioner", PARTITIONER)
        .set("rack", identity.rack.as_str())
        .set("release_version", RELEASE_VERSION)
        .set("rpc_address", address)
        .set("rpc_port", port)
        .set("schema_version", schema_version(view))
        .set("tokens", tokens)
        .done()
}

fn map_value(map: BTreeMap<String, String>) -> Value {
    Value::Map(
        map.into_iter()
            .map(|(key, value)| (Value::Text(key), Value::Text(value)))
            .collect(),
    )
}

fn keyspaces<'a>(table: &'a Schema, view: &View) -> impl Iterator<Item = Result<Mutation, ModelError>> + use<'a> {
    let all = view.keyspaces().into_iter();
    let real = all.filter(|keyspace| !VIRTUAL.contains(&keyspace.name.as_str()));
    real.map(|keyspace| {
        Row::of(table)
            .set("keyspace_name", keyspace.name.as_str())
            .set("durable_writes", keyspace.durable_writes)
            .set("replication", map_value(keyspace.replication.clone()))
            .done()
    })
}

fn one_table(local: &Local, table: &Schema, of: &Schema) -> Result<Mutation, ModelError> {
    let flags = Value::Set(vec![Value::Text("compound".to_owned())]);
    let mut row = Row::of(table)
        .set("keyspace_name", of.keyspace.as_str())
        .set("table_name", of.name.as_str())
        .set("flags", flags)
        .set("id", table_id(local, of))
        .set("dclocal_read_repair_chance", 0.0)
        .set("read_repair_chance", 0.0);
    for (name, text) in ddl::shown(&of.options) {
        let Some(column) = table.column(name) else { continue };
        row = match column.ty.unfrozen() {
            CqlType::Map(_, value) if **value == CqlType::Blob => row.set(name, Value::Map(Vec::new())),
            CqlType::Map(..) => row.set(name, map_value(ddl::map_of(&text))),
            CqlType::Boolean => row.set(name, text == "true"),
            CqlType::Int => row.set(name, text.parse::<i32>().unwrap_or_default()),
            CqlType::Double => row.set(name, text.parse::<f64>().unwrap_or_default()),
            _ => row.set(name, ddl::unquoted(&text)),
        };
    }
    row.done()
}

/// A column with what is said of its place.
fn one_column(
    table: &Schema,
    of: &Schema,
    column: &Column,
    (kind, position, order): (&str, usize, &str),
) -> Result<Mutation, ModelError> {
    let position = match kind {
        "partition_key" | "clustering" => i32::try_from(position).unwrap_or(i32::MAX),
        _ => -1,
    };
    Row::of(table)
        .set("keyspace_name", of.keyspace.as_str())
        .set("table_name", of.name.as_str())
        .set("column_name", column.name.as_str())
        .set("column_name_bytes", Value::Blob(column.name.as_bytes().to_vec()))
        .set("clustering_order", order)
        .set("kind", kind)
        .set("position", position)
        .set("type", text_of(&column.ty))
        .done()
}

fn columns<'a>(
    table: &'a Schema,
    view: &View,
    of_virtual: bool,
) -> impl Iterator<Item = Result<Mutation, ModelError>> + use<'a> {
    let tables = view.tables().into_iter().filter(move |of| is_virtual(of) == of_virtual);
    tables.flat_map(|of| columns_of(table, &of))
}

fn columns_of(table: &Schema, of: &Schema) -> Vec<Result<Mutation, ModelError>> {
    let mut rows = Vec::new();
    for (at, column) in of.partition_key.iter().enumerate() {
        rows.push(one_column(table, of, column, ("partition_key", at, "none")));
    }
    for (at, ClusteringColumn { column, descending }) in of.clustering.iter().enumerate() {
        let order = if *descending { "desc" } else { "asc" };
        rows.push(one_column(table, of, column, ("clustering", at, order)));
    }
    for column in &of.statics {
        rows.push(one_column(table, of, column, ("static", 0, "none")));
    }
    for column in &of.regulars {
        rows.push(one_column(table, of, column, ("regular", 0, "none")));
    }
    rows
}

fn dropped(table: &Schema, of: &Schema) -> Vec<Result<Mutation, ModelError>> {
    // Of columns of one name the last one is shown.
    let last: BTreeMap<&str, &model::DroppedColumn> = of
        .dropped
        .iter()
        .map(|dropped| (dropped.column.name.as_str(), dropped))
        .collect();
    let row = |(name, dropped): (&str, &model::DroppedColumn)| {
        let kind = if dropped.is_static { "static" } else { "regular" };
        Row::of(table)
            .set("keyspace_name", of.keyspace.as_str())
            .set("table_name", of.name.as_str())
            .set("column_name", name)
            .set("dropped_time", dropped.dropped_at / 1000)
            .set("kind", kind)
            .set("type", text_of(&dropped.column.ty))
            .done()
    };
    last.into_iter().map(row).collect()
}

fn types<'a>(table: &'a Schema, view: &'a View) -> impl Iterator<Item = Result<Mutation, ModelError>> + 'a {
    view.definitions.user_types().map(|ty| {
        let names: Vec<String> = ty.fields.iter().map(|field| field.name.clone()).collect();
        let types: Vec<String> = ty.fields.iter().map(|field| text_of(&field.ty)).collect();
        Row::of(table)
            .set("keyspace_name", ty.keyspace.as_str())
            .set("type_name", ty.name.as_str())
            .set("field_names", names)
            .set("field_types", types)
            .done()
    })
}

/// What each shard answers, in their order.
async fn of_each_shard<R: Send + 'static>(
    local: &Local,
    ask: impl Fn(&Local) -> R + Copy + Send + 'static,
) -> Done<Vec<R>> {
    let mut all = Vec::new();
    for shard in 0..local.node.identity.shards {
        let node = Arc::clone(&local.node);
        let of_shard = Shard::call(
            ShardId(shard),
            move |shard| async move { ask(&Local::of(&shard, &node)) },
        );
        all.push(of_shard.await.map_err(|error| Failure::Engine(error, Doing::Read))?);
    }
    Ok(all)
}

/// What connections have asked of the shards since the start.
async fn shards(local: &Rc<Local>, table: &Schema) -> Done<Vec<Result<Mutation, ModelError>>> {
    let counts = of_each_shard(local, |local| {
        (local.connections.len(), local.hops(), local.requests.get())
    });
    let row = |(shard, (connections, hops, requests)): (usize, (usize, u64, u64))| {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Row::of(table)
            .set("shard", i32::try_from(shard).unwrap_or(i32::MAX))
            .set("connections", i32::try_from(connections).unwrap_or(i32::MAX))
            .set("hops", count(hops))
            .set("requests", count(requests))
            .done()
    };
    Ok(counts.await?.into_iter().enumerate().map(row).collect())
}

async fn traces(local: &Rc<Local>, table: &Schema, events: bool) -> Done<Vec<Result<Mutation, ModelError>>> {
    let all: Vec<Vec<Trace>> = of_each_shard(local, |local| local.traces.all()).await?;
    let address = local.node.identity.address;
    let mut rows = Vec::new();
    for trace in all.into_iter().flatten() {
        if !events {
            let parameters: BTreeMap<String, String> = [("query".to_owned(), trace.query.clone())].into();
            rows.push(
                Row::of(table)
                    .set("session_id", trace.id)
                    .set("client", address.ip())
                    .set("command", "QUERY")
                    .set("coordinator", address.ip())
                    .set("coordinator_port", i32::from(address.port()))
                    .set("duration", trace.micros)
                    .set("parameters", parameters)
                    .set("request", trace.request)
                    .set("started_at", trace.started_micros / 1000)
                    .done(),
            );
            continue;
        }
        for step in trace.steps {
            rows.push(
                Row::of(table)
                    .set("session_id", trace.id)
                    .set("event_id", Uuid::from_bytes(step.id))
                    .set("activity", step.activity)
                    .set("source", address.ip())
                    .set("source_elapsed", step.micros_since)
                    .set("source_port", i32::from(address.port()))
                    .set("thread", "shard")
                    .done(),
            );
        }
    }
    Ok(rows)
}
