use super::syntax::ast::ModifyKind;
use super::testing::World;
use super::*;
use crate::frame::Value;
use model::{CqlType, Keyspace, MutationBuilder, RowBuilder, Schema, Slice, TableId, UserType};
use std::sync::Arc;

/// One keyspace with a few tables.
struct Few;

fn messages() -> Schema {
    Schema::builder("chat", "messages")
        .id(TableId(1))
        .partition_key("channel_id", CqlType::BigInt)
        .partition_key("bucket_id", CqlType::Int)
        .clustering_desc("message_id", CqlType::TimeUuid)
        .regular("author_id", CqlType::BigInt)
        .regular("content", CqlType::Text)
        .regular("tags", CqlType::Text.set())
        .regular("marks", CqlType::Text.map(CqlType::Int))
        .regular("list", CqlType::Int.list())
        .static_column("topic", CqlType::Text)
        .build()
        .expect("legal")
}

fn grid() -> Schema {
    Schema::builder("chat", "grid")
        .id(TableId(2))
        .partition_key("k", CqlType::Int)
        .clustering("a", CqlType::Int)
        .clustering_desc("b", CqlType::Int)
        .clustering("c", CqlType::Int)
        .regular("v", CqlType::Int)
        .build()
        .expect("legal")
}

impl Catalog for Few {
    fn keyspace(&self, name: &str) -> Option<Arc<Keyspace>> {
        (name == "chat").then(|| Arc::new(Keyspace::new("chat")))
    }

    fn table(&self, keyspace: &str, name: &str) -> Option<Arc<Schema>> {
        let tables = [messages(), grid()];
        tables
            .into_iter()
            .find(|table| table.keyspace == keyspace && table.name == name)
            .map(Arc::new)
    }

    fn user_type(&self, keyspace: &str, name: &str) -> Option<Arc<UserType>> {
        (keyspace == "chat" && name == "address")
            .then(|| Arc::new(UserType::new("chat", "address", [("street", CqlType::Text)])))
    }
}

fn prepared(text: &str) -> Prepared {
    prepare(text, Some("chat"), &Few).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    prepare(text, Some("chat"), &Few).expect_err(text).to_string()
}

fn select(text: &str) -> Select {
    match prepared(text).statement {
        Statement::Select(select) => select,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_articles_statement_is_routed_and_its_markers_are_named() {
    let prepared = prepared(
        "SELECT channel_id, content FROM messages WHERE channel_id = ? AND bucket_id = ? AND message_id < maxTimeuuid(?) LIMIT ?",
    );
    let markers: Vec<(&str, &CqlType)> = prepared.markers.iter().map(|of| (of.name.as_str(), &of.ty)).collect();
    assert_eq!(
        markers,
        [
            ("channel_id", &CqlType::BigInt),
            ("bucket_id", &CqlType::Int),
            ("arg0(system.maxtimeuuid)", &CqlType::Timestamp),
            ("[limit]", &CqlType::Int),
        ]
    );
    assert_eq!(prepared.key_markers, [0, 1]);
    let world = World::default();
    let Statement::Select(select) = &prepared.statement else {
        panic!("a select")
    };
    let values = [
        Value::Bytes(&7_i64.to_be_bytes()),
        Value::Bytes(&3_i32.to_be_bytes()),
        Value::Bytes(&1000_i64.to_be_bytes()),
        Value::Bytes(&50_i32.to_be_bytes()),
    ];
    let execution = Execution {
        values: &values,
        environment: &world,
    };
    let query = select.bind(execution).expect("bound");
    assert_eq!((query.limit, query.keys.as_ref().map(Vec::len)), (Some(50), Some(1)));
    // Newest first: what is smaller lies behind it.
    let position = select
        .table
        .encode_clustering(&[&time::max_time_uuid(1000)])
        .expect("a key");
    assert_eq!(
        query.slices,
        [Slice {
            start: [&position[..], &[0xFF]].concat(),
            end: vec![0xFF]
        }]
    );
}

/// The rows of the grid that a statement selects, each clustering column from 0 to 2.
fn selected(condition: &str) -> Vec<(i32, i32, i32)> {
    let select = select(&format!("SELECT * FROM grid WHERE k = 1 AND {condition}"));
    let world = World::default();
    let execution = Execution {
        values: &[],
        environment: &world,
    };
    let slices = select.bind(execution).expect("bound").slices;
    assert!(
        slices.is_sorted_by(|a, b| a.end <= b.start),
        "{slices:?} are sorted and apart"
    );
    let mut found = Vec::new();
    for at in 0..27 {
        let (a, b, c) = (at / 9, at / 3 % 3, at % 3);
        let values = [a, b, c].map(i32::to_be_bytes);
        let key = select
            .table
            .encode_clustering(&[&values[0], &values[1], &values[2]])
            .expect("a key");
        if slices.iter().any(|slice| slice.contains(&key)) {
            found.push((a, b, c));
        }
    }
    found
}

#[test]
fn slices_are_the_rows_that_the_conditions_say() {
    let rows = |admits: &dyn Fn(i32, i32, i32) -> bool| -> Vec<(i32, i32, i32)> {
        (0..27)
            .map(|at| (at / 9, at / 3 % 3, at % 3))
            .filter(|&(a, b, c)| admits(a, b, c))
            .collect()
    };
    assert_eq!(selected("a = 1"), rows(&|a, _, _| a == 1));
    assert_eq!(selected("a IN (2, 0, 2)"), rows(&|a, _, _| a != 1));
    assert_eq!(selected("a > 0 AND a <= 2"), rows(&|a, _, _| a > 0));
    assert_eq!(selected("a = 1 AND b >= 1"), rows(&|a, b, _| a == 1 && b >= 1));
    assert_eq!(selected("a = 1 AND b < 1"), rows(&|a, b, _| a == 1 && b < 1));
    assert_eq!(selected("a = 1 AND b > 0 AND b < 2"), rows(&|a, b, _| a == 1 && b == 1));
    assert_eq!(
        selected("a IN (0, 2) AND b = 1 AND c > 0"),
        rows(&|a, b, c| a != 1 && b == 1 && c > 0)
    );
    assert_eq!(selected("(a, b) = (1, 2)"), rows(&|a, b, _| (a, b) == (1, 2)));
    assert_eq!(
        selected("(a, b) IN ((1, 2), (0, 0))"),
        rows(&|a, b, _| [(1, 2), (0, 0)].contains(&(a, b)))
    );
    assert_eq!(
        selected("(a, b, c) > (1, 1, 1)"),
        rows(&|a, b, c| (a, b, c) > (1, 1, 1))
    );
    assert_eq!(
        selected("(a, b, c) >= (1, 1, 1)"),
        rows(&|a, b, c| (a, b, c) >= (1, 1, 1))
    );
    assert_eq!(
        selected("(a, b) > (0, 1) AND (a, b) <= (2, 0)"),
        rows(&|a, b, _| (a, b) > (0, 1) && (a, b) <= (2, 0))
    );
    assert_eq!(
        selected("a = 1 AND (b, c) < (1, 2)"),
        rows(&|a, b, c| a == 1 && (b, c) < (1, 2))
    );
    assert_eq!(selected("a > 5 AND a < 3"), []);
    assert_eq!(selected("a IN ()"), []);
}

#[test]
fn what_makes_no_sense_is_told_in_cassandras_words() {
    for (text, says) in [
        (
            "SELECT x FROM messages",
            "Undefined column name x in table chat.messages",
        ),
        ("SELECT * FROM nothing", "table nothing does not exist"),
        ("SELECT * FROM other.nothing", "keyspace other does not exist"),
        ("SELECT * FROM messages WHERE channel_id = 1", "use ALLOW FILTERING"),
        ("SELECT * FROM messages WHERE content = 'x'", "use ALLOW FILTERING"),
        (
            "SELECT * FROM messages WHERE channel_id > 1 AND bucket_id = 1",
            "Only EQ and IN relation are supported on the partition key",
        ),
        (
            "SELECT * FROM grid WHERE k = 1 AND b = 1",
            "PRIMARY KEY column \"b\" cannot be restricted as preceding column \"a\" is not restricted",
        ),
        (
            "SELECT * FROM grid WHERE k = 1 AND a > 1 AND b = 1",
            "Clustering column \"b\" cannot be restricted (preceding column \"a\" is restricted by a non-EQ relation)",
        ),
        (
            "SELECT * FROM grid WHERE k = 1 AND a = 1 AND a = 2",
            "a cannot be restricted by more than one relation if it includes an Equal",
        ),
        (
            "SELECT * FROM grid WHERE k = 1 AND a > 1 AND a > 2",
            "More than one restriction was found for the start bound on a",
        ),
        (
            "SELECT * FROM grid WHERE k = 1 ORDER BY v",
            "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got v",
        ),
        (
            "SELECT * FROM grid WHERE k = 1 ORDER BY a, b",
            "Unsupported order by relation",
        ),
        (
            "SELECT * FROM grid ORDER BY a",
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.",
        ),
        (
            "SELECT writetime(k) FROM grid",
            "Cannot use selection function writetime on PRIMARY KEY part k",
        ),
        ("SELECT DISTINCT v FROM grid", "(not v)"),
        (
            "INSERT INTO grid (k, a, b) VALUES (1, 2, 3)",
            "Some clustering keys are missing: c",
        ),
        (
            "INSERT INTO grid (a, b, c) VALUES (1, 2, 3)",
            "Some partition key parts are missing: k",
        ),
        ("INSERT INTO grid (k, a) VALUES (1)", "Unmatched column names/values"),
        (
            "INSERT INTO grid (k, a, b, c, v) VALUES (1, 2, 3, 4, 'x')",
            "Invalid STRING constant (x) for \"v\" of type int",
        ),
        (
            "UPDATE grid SET a = 1 WHERE k = 1",
            "PRIMARY KEY part a found in SET part",
        ),
        (
            "UPDATE grid SET v = 1 WHERE k = 1 AND a = 1",
            "Some clustering keys are missing: b, c",
        ),
        (
            "UPDATE grid SET v = 1 WHERE k = 1 AND a = 1 AND b = 1 AND c = 1 AND v = 2",
            "Non PRIMARY KEY columns found in where clause: v",
        ),
        (
            "UPDATE grid SET v = v + 1 WHERE k = 1 AND a = 1 AND b = 1 AND c = 1",
            "Invalid operation (v = v + 1) for non counter column v",
        ),
        (
            "DELETE v FROM grid WHERE k = 1 AND a = 1",
            "Range deletions are not supported for specific columns",
        ),
        (
            "DELETE k FROM grid WHERE k = 1",
            "Invalid identifier k for deletion (should not be a PRIMARY KEY part)",
        ),
        (
            "UPDATE grid USING TIMESTAMP 1 SET v = 1 WHERE k = 1 AND a = 1 AND b = 1 AND c = 1 IF v = 1",
            "Cannot provide custom timestamp for conditional updates",
        ),
        (
            "UPDATE grid SET v = 1 WHERE k IN (1, 2) AND a = 1 AND b = 1 AND c = 1 IF v = 1",
            "IN on the partition key is not supported with conditional updates",
        ),
        (
            "SELECT * FROM grid WHERE token(a) > 1",
            "The token() function is only supported on the partition key, found on a",
        ),
        ("CREATE INDEX ON grid (v)", "secondary indexes are not supported"),
        ("SELECT nonsense(v) FROM grid", "Unknown function 'nonsense'"),
        (
            "BEGIN BATCH USING TIMESTAMP 1 INSERT INTO grid (k, a, b, c) VALUES (1, 1, 1, 1) USING TIMESTAMP 2; APPLY BATCH",
            "Timestamp must be set either on BATCH or individual statements",
        ),
    ] {
        let told = refused(text);
        assert!(told.contains(says), "{text}: {told}");
    }
}

fn executed(text: &str, values: &[Value<'_>]) -> Result<model::Mutation> {
    let prepared = prepared(text);
    let Statement::Modify(modify) = &prepared.statement else {
        panic!("a modification")
    };
    let world = World {
        now_micros: 5_000_000,
        ..World::default()
    };
    let execution = Execution {
        values,
        environment: &world,
    };
    let write = modify.bind(execution)?;
    let mut builder = MutationBuilder::new(modify.table.id, &write.keys()[0]);
    write.put(&mut builder, &mut RowBuilder::new(), 100, &Unread)?;
    Ok(builder.build())
}

#[test]
fn an_insert_has_liveness_and_an_update_has_none() {
    let text = "INSERT INTO grid (k, a, b, c, v) VALUES (1, 2, 3, 4, ?)";
    let bytes = 9_i32.to_be_bytes();
    let mutation = executed(text, &[Value::Bytes(&bytes)]).expect("written");
    let (_, row) = mutation.as_ref().rows().next().expect("a row");
    assert!(row.has_liveness());
    assert_eq!(row.cells().next().and_then(|cell| cell.value()), Some(&bytes[..]));
    let null = executed(text, &[Value::Null]).expect("written");
    let (_, row) = null.as_ref().rows().next().expect("a row");
    assert!(matches!(
        row.cells().next().expect("a cell").kind,
        model::CellKind::Tombstone { .. }
    ));
    let unset = executed(text, &[Value::Unset]).expect("written");
    assert_eq!(unset.as_ref().rows().next().expect("a row").1.cells().count(), 0);
    let update = executed("UPDATE grid SET v = 1 WHERE k = 1 AND a = 1 AND b = 1 AND c = 1", &[]).expect("written");
    assert!(!update.as_ref().rows().next().expect("a row").1.has_liveness());
    assert!(
        executed(text, &[Value::Bytes(b"12345")]).is_err(),
        "five bytes are no int"
    );
}

#[test]
fn deletes_of_every_form() {
    let of = |text: &str| executed(text, &[]).expect("written");
    let partition = of("DELETE FROM grid WHERE k = 1");
    assert!(!partition.as_ref().partition_deletion().is_live());
    let row = of("DELETE FROM grid WHERE k = 1 AND a = 1 AND b = 1 AND c = 1");
    assert!(row.as_ref().rows().next().expect("a row").1.is_row_tombstone());
    assert_eq!(
        of("DELETE FROM grid WHERE k = 1 AND a = 1").as_ref().ranges().count(),
        1
    );
    assert_eq!(
        of("DELETE FROM grid WHERE k = 1 AND a > 1 AND a < 3")
            .as_ref()
            .ranges()
            .count(),
        1
    );
    assert!(
        of("DELETE FROM grid WHERE k = 1 AND a > 3 AND a < 1")
            .as_ref()
            .is_empty()
    );
    assert_eq!(
        of("DELETE v FROM grid WHERE k = 1 AND a = 1 AND b = 1 AND c = 1")
            .as_ref()
            .rows()
            .count(),
        1
    );
}

#[test]
fn collections_are_written_element_by_element() {
    let key = "channel_id = 1 AND bucket_id = 1 AND message_id = 13814000-1dd2-11b2-8080-808080808080";
    let cells = |text: &str| -> Vec<bool> {
        let mutation = executed(&format!("UPDATE messages SET {text} WHERE {key}"), &[]).expect(text);
        let (_, row) = mutation.as_ref().rows().next().expect("a row");
        row.cells().map(|cell| cell.path.is_some()).collect()
    };
    assert_eq!(
        cells("tags = {'b', 'a', 'b'}"),
        [false, true, true],
        "what was there goes"
    );
    assert_eq!(cells("tags = tags + {'a'}"), [true]);
    assert_eq!(cells("tags = {}"), [false]);
    assert_eq!(cells("marks['x'] = 1, marks['y'] = null"), [true, true]);
    assert_eq!(cells("list = [1, 2] + list"), [true, true]);
    let prepended = executed(&format!("UPDATE messages SET list = [1, 2] + list WHERE {key}"), &[]).expect("written");
    let (_, row) = prepended.as_ref().rows().next().expect("a row");
    let values: Vec<&[u8]> = row.cells().filter_map(|cell| cell.value()).collect();
    assert_eq!(values, [1_i32.to_be_bytes(), 2_i32.to_be_bytes()], "in their order");
    let told = executed(&format!("UPDATE messages SET list[0] = 1 WHERE {key}"), &[])
        .expect_err("no list")
        .to_string();
    assert_eq!(told, "Attempted to set an element on a list which is null");
}

#[test]
fn timestamps_and_ttls_are_checked() {
    let bound = |using: &str| {
        let prepared = prepared(&format!(
            "INSERT INTO grid (k, a, b, c) VALUES (1, 1, 1, 1) USING {using}"
        ));
        let Statement::Modify(modify) = prepared.statement else {
            panic!("a modification")
        };
        assert_eq!(modify.kind, ModifyKind::Insert);
        let world = World::default();
        let execution = Execution {
            values: &[],
            environment: &world,
        };
        modify
            .bind(execution)
            .map(|write| write.timestamp)
            .map_err(|error| error.to_string())
    };
    assert_eq!(bound("TIMESTAMP 5"), Ok(Some(5)));
    assert_eq!(bound("TTL 0"), Ok(None));
    assert_eq!(
        bound("TTL -1"),
        Err("A TTL must be greater or equal to 0, but was -1".into())
    );
    assert_eq!(
        bound("TTL 630720001"),
        Err("ttl is too large. requested (630720001) maximum (630720000)".into())
    );
}

fn planned(text: &str) -> Result<ddl::Plan> {
    let Statement::Schema(change) = prepared(text).statement else {
        panic!("DDL")
    };
    let topology = ddl::Topology {
        datacenters: vec!["us-east-1a".into(), "us-east-1b".into(), "us-east-1c".into()],
    };
    ddl::plan(&change, Some("chat"), &Few, &topology)
}

#[test]
fn the_articles_keyspace_is_kept_with_warnings() {
    let plan = planned(
        "CREATE KEYSPACE discord_messaging WITH replication = {'class': 'NetworkTopologyStrategy', 'us-east-1a': 3, 'us-east-1b': 3, 'us-east-1c': 3}",
    )
    .expect("planned");
    assert_eq!(plan.warnings.len(), 3, "{:?}", plan.warnings);
    let ddl::Action::CreateKeyspace(keyspace) = plan.action else {
        panic!("a keyspace")
    };
    assert_eq!(
        keyspace.replication["class"],
        "org.apache.cassandra.locator.NetworkTopologyStrategy"
    );
    assert_eq!(keyspace.replication["us-east-1b"], "3");
}

#[test]
fn definitions_that_cannot_be_are_refused() {
    for (text, says) in [
        (
            "CREATE KEYSPACE chat WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "Cannot add existing keyspace \"chat\"",
        ),
        (
            "CREATE KEYSPACE x WITH replication = {'class': 'NetworkTopologyStrategy', 'mars': 1}",
            "Unrecognized strategy option {mars}",
        ),
        (
            "CREATE KEYSPACE x WITH replication = {'class': 'Nothing'}",
            "Unable to find replication strategy class",
        ),
        (
            "CREATE KEYSPACE x WITH durable_writes = true",
            "Missing mandatory option 'replication'",
        ),
        (
            "CREATE KEYSPACE x WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 'a'}",
            "Replication factor must be numeric; found a",
        ),
        (
            "CREATE TABLE grid (k int PRIMARY KEY)",
            "Cannot add already existing table \"grid\" to keyspace \"chat\"",
        ),
        (
            "CREATE TABLE t (k int)",
            "No PRIMARY KEY specifed for table 't' (exactly one required)",
        ),
        (
            "CREATE TABLE t (k int PRIMARY KEY, v list<list<int>>)",
            "Non-frozen collections are not allowed inside collections: list<list<int>>",
        ),
        (
            "CREATE TABLE t (k list<int> PRIMARY KEY)",
            "Invalid non-frozen collection type list<int> for PRIMARY KEY column 'k'",
        ),
        (
            "CREATE TABLE t (k int PRIMARY KEY, v counter)",
            "counters are not supported",
        ),
        (
            "CREATE TABLE t (k int PRIMARY KEY) WITH nonsense = 1",
            "Unknown property 'nonsense'",
        ),
        (
            "CREATE TABLE t (k int PRIMARY KEY) WITH gc_grace_seconds = -1",
            "gc_grace_seconds must be greater than or equal to 0",
        ),
        (
            "CREATE TABLE t (k int, v int, PRIMARY KEY (k)) WITH CLUSTERING ORDER BY (v DESC)",
            "Only clustering key columns can be defined",
        ),
        ("ALTER TABLE grid DROP a", "Cannot drop PRIMARY KEY column a"),
        ("ALTER TABLE grid ADD v text", "Column with name 'v' already exists"),
        ("DROP TABLE nothing", "Table 'chat.nothing' doesn't exist"),
        ("DROP KEYSPACE system", "system keyspace is not user-modifiable."),
        (
            "CREATE TYPE address (a int)",
            "A user type with name 'address' already exists",
        ),
    ] {
        let told = planned(text).expect_err(text).to_string();
        assert!(told.contains(says), "{text}: {told}");
    }
    for text in [
        "DROP TABLE IF EXISTS nothing",
        "CREATE TABLE IF NOT EXISTS grid (k int PRIMARY KEY)",
    ] {
        assert_eq!(planned(text).expect(text).action, ddl::Action::Nothing);
    }
}

#[test]
fn every_option_is_taken_and_shown() {
    let plan = planned(
        "CREATE TABLE t (k int PRIMARY KEY, v frozen<address>) WITH comment = 'it''s' AND gc_grace_seconds = 60 AND caching = {'keys': 'NONE'} AND \
         bloom_filter_fp_chance = 0.1 AND speculative_retry = 'MIN(99p,10ms)' AND compression = {'class': 'ZstdCompressor'} AND compaction = \
         {'class': 'LeveledCompactionStrategy'} AND cdc = true AND crc_check_chance = 0.5 AND additional_write_policy = 'ALWAYS' AND \
         memtable_flush_period_in_ms = 5 AND min_index_interval = 64 AND max_index_interval = 128 AND read_repair = 'NONE' AND \
         default_time_to_live = 7 AND extensions = {} AND incremental_backups = false AND memtable = 'default' AND allow_auto_snapshot = false",
    )
    .expect("planned");
    let ddl::Action::CreateTable(schema) = plan.action else {
        panic!("a table")
    };
    let shown = ddl::shown(&schema.options);
    let of = |name: &str| {
        shown
            .iter()
            .find(|(of, _)| *of == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(of("comment"), Some("'it''s'"));
    assert_eq!(of("caching"), Some("{'keys': 'NONE', 'rows_per_partition': 'NONE'}"));
    assert_eq!(
        of("compaction"),
        Some("{'class': 'org.apache.cassandra.db.compaction.LeveledCompactionStrategy'}")
    );
    assert_eq!(of("default_time_to_live"), Some("7"));
    assert_eq!(of("cdc"), Some("true"));
    assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
}
