//! The definitions of the node's own tables.

use model::{CqlType, Schema, SchemaBuilder, TableId};

/// Ids of these tables count down from here; the engine's count up from 1.
const LAST_ID: u32 = u32::MAX;

fn ty(name: &str) -> CqlType {
    use CqlType::{BigInt, Blob, Boolean, Double, Inet, Int, Text, TimeUuid, Timestamp, Uuid};
    match name {
        "text" => Text,
        "int" => Int,
        "bigint" => BigInt,
        "boolean" => Boolean,
        "double" => Double,
        "uuid" => Uuid,
        "timeuuid" => TimeUuid,
        "inet" => Inet,
        "blob" => Blob,
        "timestamp" => Timestamp,
        "set<text>" => Text.set(),
        "map<text,text>" => Text.map(Text),
        "map<uuid,blob>" => Uuid.map(Blob),
        "frozen<map<text,text>>" => Text.map(Text).frozen(),
        "frozen<map<text,blob>>" => Text.map(Blob).frozen(),
        "frozen<set<text>>" => Text.set().frozen(),
        "frozen<list<text>>" => Text.list().frozen(),
        _ => unreachable!("{name} is no type of these tables"),
    }
}

/// A table from its parts: columns of the partition key, clustering columns, others, each `name type`.
fn table(keyspace: &str, name: &str, key: &[&str], clustering: &[&str], regular: &[&str]) -> SchemaBuilder {
    let split = |column: &str| -> (String, CqlType) {
        let (name, of) = column.split_once(' ').expect("a name and a type");
        (name.to_owned(), ty(of))
    };
    let mut builder = Schema::builder(keyspace, name);
    for column in key {
        let (name, ty) = split(column);
        builder = builder.partition_key(&name, ty);
    }
    for column in clustering {
        let (name, ty) = split(column);
        builder = builder.clustering(&name, ty);
    }
    for column in regular {
        let (name, ty) = split(column);
        builder = builder.regular(&name, ty);
    }
    builder
}

const NODE: &[&str] = &[
    "bootstrapped text",
    "broadcast_address inet",
    "broadcast_port int",
    "cluster_name text",
    "cql_version text",
    "data_center text",
    "gossip_generation int",
    "host_id uuid",
    "listen_address inet",
    "listen_port int",
    "native_protocol_version text",
    "partitioner text",
    "rack text",
    "release_version text",
    "rpc_address inet",
    "rpc_port int",
    "schema_version uuid",
    "tokens set<text>",
    "truncated_at map<uuid,blob>",
];

const PEER: &[&str] = &[
    "data_center text",
    "host_id uuid",
    "preferred_ip inet",
    "rack text",
    "release_version text",
    "rpc_address inet",
    "schema_version uuid",
    "tokens set<text>",
];

const PEER_V2: &[&str] = &[
    "data_center text",
    "host_id uuid",
    "native_address inet",
    "native_port int",
    "preferred_ip inet",
    "preferred_port int",
    "rack text",
    "release_version text",
    "schema_version uuid",
    "tokens set<text>",
];

/// What `tables` and `views` have in common.
const OPTIONS: &[&str] = &[
    "additional_write_policy text",
    "allow_auto_snapshot boolean",
    "bloom_filter_fp_chance double",
    "caching frozen<map<text,text>>",
    "cdc boolean",
    "comment text",
    "compaction frozen<map<text,text>>",
    "compression frozen<map<text,text>>",
    "crc_check_chance double",
    "dclocal_read_repair_chance double",
    "default_time_to_live int",
    "extensions frozen<map<text,blob>>",
    "gc_grace_seconds int",
    "id uuid",
    "incremental_backups boolean",
    "max_index_interval int",
    "memtable text",
    "memtable_flush_period_in_ms int",
    "min_index_interval int",
    "read_repair text",
    "read_repair_chance double",
    "speculative_retry text",
];

const COLUMN: &[&str] = &[
    "clustering_order text",
    "column_name_bytes blob",
    "kind text",
    "position int",
    "type text",
];

const KEYSPACE_KEY: &[&str] = &["keyspace_name text"];
const TABLE_KEY: &[&str] = &["table_name text"];
const COLUMN_KEY: &[&str] = &["table_name text", "column_name text"];

/// All definitions.
pub(super) fn all() -> Vec<Schema> {
    let of_schema = |name: &str, clustering: &[&str], regular: &[&str]| {
        table("system_schema", name, KEYSPACE_KEY, clustering, regular)
    };
    let of_virtual = |name: &str, clustering: &[&str], regular: &[&str]| {
        table("system_virtual_schema", name, KEYSPACE_KEY, clustering, regular)
    };
    let with_flags: Vec<&str> = OPTIONS.iter().copied().chain(["flags frozen<set<text>>"]).collect();
    let of_view: Vec<&str> = OPTIONS
        .iter()
        .copied()
        .chain([
            "base_table_id uuid",
            "base_table_name text",
            "include_all_columns boolean",
            "where_clause text",
        ])
        .collect();
    let function = [
        "argument_names frozen<list<text>>",
        "body text",
        "called_on_null_input boolean",
        "language text",
        "return_type text",
    ];
    let aggregate = [
        "final_func text",
        "initcond text",
        "return_type text",
        "state_func text",
        "state_type text",
    ];
    let builders = vec![
        table("system", "local", &["key text"], &[], NODE),
        table("system", "peers", &["peer inet"], &[], PEER),
        table("system", "peers_v2", &["peer inet"], &["peer_port int"], PEER_V2),
        table(
            "system",
            "size_estimates",
            KEYSPACE_KEY,
            &["table_name text", "range_start text", "range_end text"],
            &["mean_partition_size bigint", "partitions_count bigint"],
        ),
        of_schema(
            "keyspaces",
            &[],
            &["durable_writes boolean", "replication frozen<map<text,text>>"],
        ),
        of_schema("tables", TABLE_KEY, &with_flags),
        of_schema("columns", COLUMN_KEY, COLUMN),
        of_schema(
            "dropped_columns",
            COLUMN_KEY,
            &["dropped_time timestamp", "kind text", "type text"],
        ),
        of_schema(
            "types",
            &["type_name text"],
            &["field_names frozen<list<text>>", "field_types frozen<list<text>>"],
        ),
        of_schema("views", &["view_name text"], &of_view),
        of_schema(
            "indexes",
            &["table_name text", "index_name text"],
            &["kind text", "options frozen<map<text,text>>"],
        ),
        of_schema(
            "triggers",
            &["table_name text", "trigger_name text"],
            &["options frozen<map<text,text>>"],
        ),
        of_schema(
            "functions",
            &["function_name text", "argument_types frozen<list<text>>"],
            &function,
        ),
        of_schema(
            "aggregates",
            &["aggregate_name text", "argument_types frozen<list<text>>"],
            &aggregate,
        ),
        of_schema(
            "scylla_tables",
            TABLE_KEY,
            &[
                "cdc frozen<map<text,text>>",
                "in_memory boolean",
                "partitioner text",
                "version uuid",
            ],
        ),
        of_schema("scylla_keyspaces", &[], &["initial_tablets int", "consistency text"]),
        of_virtual("keyspaces", &[], &[]),
        of_virtual("tables", TABLE_KEY, &["comment text"]),
        of_virtual("columns", COLUMN_KEY, COLUMN),
        table(
            "system_traces",
            "sessions",
            &["session_id uuid"],
            &[],
            &[
                "client inet",
                "command text",
                "coordinator inet",
                "coordinator_port int",
                "duration int",
                "parameters map<text,text>",
                "request text",
                "started_at timestamp",
            ],
        ),
        table(
            "system_traces",
            "events",
            &["session_id uuid"],
            &["event_id timeuuid"],
            &[
                "activity text",
                "source inet",
                "source_elapsed int",
                "source_port int",
                "thread text",
            ],
        ),
        table(
            "system_views",
            "shards",
            &["shard int"],
            &[],
            &["connections int", "hops bigint", "requests bigint"],
        ),
    ];
    let id = |at: usize| TableId(LAST_ID - u32::try_from(at).expect("a few tables"));
    let builders = builders.into_iter().enumerate();
    builders
        .map(|(at, builder)| builder.id(id(at)).build().expect("our own definitions are legal"))
        .collect()
}
