//! The crate `scylla` against a server; see ../README.md.

use std::error::Error;
use std::fmt::Debug;
use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::Compression;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{
    CqlDate, CqlDecimal, CqlDuration, CqlTime, CqlTimestamp, CqlTimeuuid, CqlValue, CqlVarint, MaybeUnset, Row,
};

type Done<T> = Result<T, Box<dyn Error>>;

/// How often something is tried again while the driver connects, a twentieth of a second each.
const TRIES: u32 = 1200;

#[derive(Default)]
struct Checks {
    held: u32,
    failed: u32,
}

impl Checks {
    fn equal<T: PartialEq + Debug>(&mut self, what: &str, got: &T, expected: &T) {
        if got == expected {
            self.held += 1;
        } else {
            self.failed += 1;
            println!("FAILED {what}: expected {expected:?}, got {got:?}");
        }
    }

    fn refused<T>(&mut self, what: &str, text: &str, got: Result<T, impl std::fmt::Display>) {
        match got {
            Ok(_) => self.equal(what, &"went through", &text),
            Err(error) => self.equal(&format!("{what}: {error}"), &error.to_string().contains(text), &true),
        }
    }
}

/// The columns of the table of all types, and a value of each.
fn columns(keyspace: &str) -> Done<Vec<(&'static str, &'static str, CqlValue)>> {
    let text = |text: &str| CqlValue::Text(text.to_owned());
    let udt = |number: Option<i32>| CqlValue::UserDefinedType {
        keyspace: keyspace.to_owned(),
        name: "address".to_owned(),
        fields: vec![
            ("street".to_owned(), Some(text("Main street"))),
            ("number".to_owned(), number.map(CqlValue::Int)),
            ("tags".to_owned(), Some(CqlValue::Set(vec![text("home"), text("work")]))),
        ],
    };
    let mut varint = vec![0xff];
    varint.extend([0; 25]);
    Ok(vec![
        ("v_ascii", "ascii", CqlValue::Ascii("plain".to_owned())),
        ("v_bigint", "bigint", CqlValue::BigInt(i64::MIN)),
        ("v_blob", "blob", CqlValue::Blob(vec![0, 255, 128])),
        ("v_boolean", "boolean", CqlValue::Boolean(true)),
        ("v_date", "date", CqlValue::Date(CqlDate((1 << 31) + 16_558))),
        (
            "v_decimal",
            "decimal",
            CqlValue::Decimal(CqlDecimal::from_signed_be_bytes_slice_and_exponent(
                &[0x85, 1, 2, 3, 4],
                -3,
            )),
        ),
        ("v_double", "double", CqlValue::Double(2.5e-300)),
        (
            "v_duration",
            "duration",
            CqlValue::Duration(CqlDuration {
                months: -1,
                days: -2,
                nanoseconds: -3,
            }),
        ),
        ("v_float", "float", CqlValue::Float(0.15625)),
        ("v_inet", "inet", CqlValue::Inet("2001:db8::1".parse()?)),
        ("v_int", "int", CqlValue::Int(i32::MIN)),
        ("v_smallint", "smallint", CqlValue::SmallInt(i16::MIN)),
        ("v_text", "text", text("grüße 😀\n")),
        ("v_time", "time", CqlValue::Time(CqlTime(86_399_999_999_999))),
        (
            "v_timestamp",
            "timestamp",
            CqlValue::Timestamp(CqlTimestamp(1_430_659_854_234)),
        ),
        ("v_timeuuid", "timeuuid", CqlValue::Timeuuid(id(7))),
        ("v_tinyint", "tinyint", CqlValue::TinyInt(i8::MIN)),
        (
            "v_uuid",
            "uuid",
            CqlValue::Uuid("cfd66ccc-d857-4e90-b1e5-df98a3d40cd6".parse()?),
        ),
        ("v_varchar", "varchar", text("")),
        (
            "v_varint",
            "varint",
            CqlValue::Varint(CqlVarint::from_signed_bytes_be(varint)),
        ),
        (
            "v_list",
            "list<int>",
            CqlValue::List(vec![CqlValue::Int(3), CqlValue::Int(1), CqlValue::Int(3)]),
        ),
        ("v_set", "set<text>", CqlValue::Set(vec![text("a"), text("b")])),
        (
            "v_map",
            "map<text, bigint>",
            CqlValue::Map(vec![
                (text("a"), CqlValue::BigInt(1)),
                (text("b"), CqlValue::BigInt(-1)),
            ]),
        ),
        (
            "v_frozen_list",
            "frozen<list<text>>",
            CqlValue::List(vec![text("x"), text(""), text("y")]),
        ),
        (
            "v_frozen_map",
            "map<int, frozen<set<int>>>",
            CqlValue::Map(vec![(
                CqlValue::Int(1),
                CqlValue::Set(vec![CqlValue::Int(1), CqlValue::Int(2)]),
            )]),
        ),
        (
            "v_tuple",
            "tuple<int, text, boolean>",
            CqlValue::Tuple(vec![Some(CqlValue::Int(1)), Some(text("one")), None]),
        ),
        ("v_udt", "frozen<address>", udt(Some(5))),
        ("v_open_udt", "address", udt(None)),
        (
            "v_udts",
            "list<frozen<address>>",
            CqlValue::List(vec![udt(Some(1)), udt(None)]),
        ),
    ])
}

/// A message's id; later ones are greater.
fn id(at: u32) -> CqlTimeuuid {
    CqlTimeuuid::from_fields(0x1381_4000 + at, 0x1dd2, 0x11b2, &[0x80; 8])
}

async fn prepare(session: &Session, text: &str) -> Done<PreparedStatement> {
    Ok(session.prepare(text).await?)
}

fn rows(result: QueryResult) -> Done<Vec<Row>> {
    let result = result.into_rows_result()?;
    Ok(result.rows::<Row>()?.collect::<Result<Vec<_>, _>>()?)
}

async fn all(session: &Session, statement: &PreparedStatement, values: impl SerializeRow) -> Done<Vec<Row>> {
    rows(session.execute_unpaged(statement, values).await?)
}

/// Whether a conditional statement was applied, and what came with it.
async fn applied(
    session: &Session,
    statement: &PreparedStatement,
    values: impl SerializeRow,
) -> Done<(bool, Vec<Option<CqlValue>>)> {
    let row = all(session, statement, values).await?.into_iter().next();
    let mut columns = row.ok_or("no row of a conditional statement")?.columns;
    match columns.remove(0) {
        Some(CqlValue::Boolean(applied)) => Ok((applied, columns)),
        other => Err(format!("[applied] is {other:?}").into()),
    }
}

fn restart() -> Done<()> {
    println!("RESTART");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    match line.trim() {
        "RESTARTED" => Ok(()),
        other => Err(format!("the server was not started again: {other:?}").into()),
    }
}

/// Rows after a restart, as soon as the driver has connected again.
async fn all_in_the_end(session: &Session, statement: &PreparedStatement, values: impl SerializeRow) -> Done<Vec<Row>> {
    let mut tries = 0;
    loop {
        match all(session, statement, &values).await {
            Err(_) if tries < TRIES => tries += 1,
            done => return done,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn course(checks: &mut Checks, arguments: &[String]) -> Done<()> {
    let [host, port, keyspace, datacenter, shards] = arguments else {
        return Err("host, port, keyspace, data center, shards".into());
    };
    let shards: u16 = shards.parse()?;
    let policy = DefaultPolicy::builder()
        .prefer_datacenter(datacenter.clone())
        .token_aware(true)
        .build();
    let profile = ExecutionProfile::builder()
        .load_balancing_policy(policy)
        .request_timeout(Some(Duration::from_secs(20)))
        .build();
    let session = SessionBuilder::new()
        .known_node(format!("{host}:{port}"))
        .compression(Some(Compression::Lz4))
        .default_execution_profile_handle(profile.into_handle())
        .build()
        .await?;
    let session = &session;

    let ddl = format!(
        "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', '{datacenter}': 1}}"
    );
    session.query_unpaged(ddl.as_str(), &()).await?;
    checks.refused("a keyspace twice", keyspace, session.query_unpaged(ddl, &()).await);
    session.use_keyspace(keyspace, false).await?;
    let columns = columns(keyspace)?;
    let listed: Vec<String> = columns.iter().map(|(name, ty, _)| format!("{name} {ty}")).collect();
    for ddl in [
        "CREATE TYPE address (street text, number int, tags frozen<set<text>>)",
        &format!("CREATE TABLE all_types (id int PRIMARY KEY, {})", listed.join(", ")),
        "CREATE TABLE messages (channel_id bigint, bucket int, message_id timeuuid, author_id bigint, content text, \
         edited timestamp, attachments list<text>, topic text static, PRIMARY KEY ((channel_id, bucket), message_id)) \
         WITH CLUSTERING ORDER BY (message_id DESC)",
    ] {
        session.query_unpaged(ddl, &()).await?;
    }

    metadata(checks, session, keyspace, datacenter, shards, columns.len()).await?;
    let get_types = types(checks, session, &columns).await?;
    let (write, read, get) = pages(checks, session).await?;
    routing(checks, session, keyspace, &write, &get, shards).await?;
    changes(checks, session, &read, &get).await?;
    let once = conditions(checks, session).await?;
    batches(checks, session, &write, &read, &get).await?;

    // ALTER, TRUNCATE, DROP.
    let everything = prepare(
        session,
        "SELECT * FROM messages WHERE channel_id = ? AND bucket = ? LIMIT 1",
    )
    .await?;
    let before = all(session, &everything, (3_i64, 1)).await?;
    session
        .query_unpaged("ALTER TABLE messages ADD reactions map<text, int>", &())
        .await?;
    let after = all(session, &everything, (3_i64, 1)).await?;
    let widths = |rows: &[Row]| rows.iter().map(|row| row.columns.len()).collect::<Vec<_>>();
    checks.equal("columns before", &widths(&before), &vec![8]);
    checks.equal("a column more in what was prepared", &widths(&after), &vec![9]);
    session
        .query_unpaged("CREATE TABLE passing (id int PRIMARY KEY, v int)", &())
        .await?;
    session
        .query_unpaged("INSERT INTO passing (id, v) VALUES (1, 1)", &())
        .await?;
    session.query_unpaged("TRUNCATE passing", &()).await?;
    let left = rows(session.query_unpaged("SELECT * FROM passing", &()).await?)?;
    checks.equal("truncated", &left.len(), &0);
    session.query_unpaged("DROP TABLE passing", &()).await?;
    let state = session.get_cluster_state();
    let known = state.get_keyspace(keyspace).ok_or("no keyspace")?;
    checks.equal("dropped", &known.tables.contains_key("passing"), &false);

    // A trace.
    let mut traced = get.clone();
    traced.set_tracing(true);
    let traced = session.execute_unpaged(&traced, (1_i64, 1, id(0))).await?;
    let trace = session
        .get_tracing_info(&traced.tracing_id().ok_or("no tracing id")?)
        .await?;
    checks.equal("trace", &trace.duration.is_some(), &true);

    // The server goes and comes back; what was prepared still holds.
    let before = all(session, &read, (1_i64, 1)).await?;
    let types_before = all(session, &get_types, (1,)).await?;
    for turn in 0..2_i64 {
        restart()?;
        let after = all_in_the_end(session, &read, (1_i64, 1)).await?;
        checks.equal(&format!("rows after restart {turn}"), &after, &before);
        let values = (10 + turn, 1, id(0), 1_i64, "after", None::<Vec<String>>);
        let mut tries = 0;
        while let Err(error) = session.execute_unpaged(&write, &values).await {
            tries += 1;
            if tries > TRIES {
                return Err(error.into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let written = all(session, &get, (10 + turn, 1, id(0))).await?;
        checks.equal(&format!("written after restart {turn}"), &written.len(), &1);
        let types_after = all(session, &get_types, (1,)).await?;
        checks.equal(&format!("types after restart {turn}"), &types_after, &types_before);
        let again = applied(session, &once, (2_i64, 1, id(0), "x")).await?;
        checks.equal(&format!("once more, after restart {turn}"), &again.0, &false);
    }
    session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), &()).await?;
    Ok(())
}

/// What the driver knows of the schema and of the node.
async fn metadata(
    checks: &mut Checks,
    session: &Session,
    keyspace: &str,
    datacenter: &str,
    shards: u16,
    columns: usize,
) -> Done<()> {
    let state = session.get_cluster_state();
    let known = state.get_keyspace(keyspace).ok_or("the keyspace is not known")?;
    let table = known.tables.get("messages").ok_or("the table is not known")?;
    checks.equal(
        "partition key",
        &table.partition_key,
        &vec!["channel_id".to_owned(), "bucket".to_owned()],
    );
    checks.equal("clustering key", &table.clustering_key, &vec!["message_id".to_owned()]);
    let all_types = known.tables.get("all_types").ok_or("all_types is not known")?;
    checks.equal("columns", &all_types.columns.len(), &(columns + 1));
    let udt = known.user_defined_types.get("address").ok_or("the type is not known")?;
    let fields: Vec<&str> = udt.field_types.iter().map(|(name, _)| &**name).collect();
    checks.equal("fields", &fields, &vec!["street", "number", "tags"]);
    session.await_schema_agreement().await?;
    let agreed = session.check_schema_agreement().await?;
    checks.equal("schema agreement", &agreed.is_some(), &true);
    let nodes = state.get_nodes_info();
    checks.equal("nodes", &nodes.len(), &1);
    let node = Arc::clone(nodes.first().ok_or("no node")?);
    checks.equal("data center", &node.datacenter.as_deref(), &Some(datacenter));
    let sharder = node.sharder();
    checks.equal("shards", &sharder.as_ref().map(|of| of.nr_shards.get()), &Some(shards));
    checks.equal("bits left out", &sharder.map(|of| of.msb_ignore), &Some(12));
    Ok(())
}

/// Every type, written and read back; null, not set.
async fn types(checks: &mut Checks, session: &Session, columns: &[(&str, &str, CqlValue)]) -> Done<PreparedStatement> {
    let names: Vec<&str> = columns.iter().map(|(name, _, _)| *name).collect();
    let marks = vec!["?"; columns.len() + 1].join(", ");
    let insert = prepare(
        session,
        &format!("INSERT INTO all_types (id, {}) VALUES ({marks})", names.join(", ")),
    )
    .await?;
    checks.equal("routing key", &insert.is_token_aware(), &true);
    let select = prepare(
        session,
        &format!("SELECT {} FROM all_types WHERE id = ?", names.join(", ")),
    )
    .await?;
    let full: Vec<Option<CqlValue>> = columns.iter().map(|(_, _, value)| Some(value.clone())).collect();
    let nothing = vec![None; columns.len()];
    type Cell = MaybeUnset<Option<CqlValue>>;
    let with_key = |key: i32, values: Vec<Cell>| -> Vec<Cell> {
        std::iter::once(MaybeUnset::Set(Some(CqlValue::Int(key))))
            .chain(values)
            .collect()
    };
    let set = |values: &[Option<CqlValue>]| values.iter().cloned().map(MaybeUnset::Set).collect::<Vec<Cell>>();
    let unset = || (0..columns.len()).map(|_| Cell::Unset).collect::<Vec<_>>();

    let half: Vec<Cell> = (0..columns.len())
        .map(|at| match at % 2 {
            0 => Cell::Unset,
            _ => MaybeUnset::Set(None),
        })
        .collect();
    let half_left: Vec<Option<CqlValue>> = full
        .iter()
        .enumerate()
        .map(|(at, value)| value.clone().filter(|_| at % 2 == 0))
        .collect();
    for (what, key, values, expected) in [
        ("written", 1, set(&full), &full),
        ("null", 2, set(&nothing), &nothing),
        ("not set", 1, unset(), &full),
        ("half null", 1, half, &half_left),
    ] {
        session.execute_unpaged(&insert, with_key(key, values)).await?;
        let row = all(session, &select, (key,)).await?.into_iter().next();
        let row = row.ok_or("the row is missing")?;
        for ((name, got), expected) in names.iter().zip(&row.columns).zip(expected) {
            checks.equal(&format!("{what} {name}"), got, expected);
        }
    }
    let mut no_key = with_key(1, set(&full));
    no_key[0] = MaybeUnset::Set(None);
    checks.refused(
        "a key that is null",
        "null",
        session.execute_unpaged(&insert, no_key).await,
    );
    checks.refused(
        "an unknown column",
        "nope",
        session.prepare("SELECT nope FROM all_types").await,
    );
    Ok(select)
}

/// 100 rows in pages of 10.
async fn pages(
    checks: &mut Checks,
    session: &Session,
) -> Done<(PreparedStatement, PreparedStatement, PreparedStatement)> {
    let write = prepare(
        session,
        "INSERT INTO messages (channel_id, bucket, message_id, author_id, content, attachments) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .await?;
    for at in 0..100 {
        let values = (
            1_i64,
            1,
            id(at),
            i64::from(at % 7),
            format!("message {at}"),
            vec![format!("file {at}")],
        );
        session.execute_unpaged(&write, values).await?;
    }
    let mut read = prepare(
        session,
        "SELECT message_id, content FROM messages WHERE channel_id = ? AND bucket = ?",
    )
    .await?;
    read.set_page_size(10);
    let newest_first: Vec<Option<CqlValue>> = (0..100).rev().map(|at| Some(CqlValue::Timeuuid(id(at)))).collect();
    let mut seen = Vec::new();
    let mut state = PagingState::start();
    let mut pages = 0;
    while pages < 20 {
        let (page, next) = session.execute_single_page(&read, (1_i64, 1), state).await?;
        let page = rows(page)?;
        checks.equal("rows of a page", &page.len(), &10);
        seen.extend(page.into_iter().map(|mut row| row.columns.swap_remove(0)));
        pages += 1;
        match next {
            PagingStateResponse::HasMorePages { state: next } => state = next,
            PagingStateResponse::NoMorePages => break,
        }
    }
    checks.equal("pages", &pages, &10);
    checks.equal("rows in order", &seen, &newest_first);
    let older = prepare(
        session,
        "SELECT message_id FROM messages WHERE channel_id = ? AND bucket = ? AND message_id < ? LIMIT ?",
    )
    .await?;
    let older = all(session, &older, (1_i64, 1, id(50), 3)).await?;
    let older: Vec<_> = older.into_iter().map(|mut row| row.columns.swap_remove(0)).collect();
    checks.equal("older than", &older, &newest_first[50..53].to_vec());
    let counted = session
        .query_unpaged("SELECT count(*) FROM messages WHERE channel_id = 1 AND bucket = 1", &())
        .await?;
    let counted = rows(counted)?;
    checks.equal(
        "count",
        &counted.first().and_then(|row| row.columns[0].clone()),
        &Some(CqlValue::BigInt(100)),
    );
    let get = prepare(
        session,
        "SELECT author_id, content, edited, topic FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?",
    )
    .await?;
    Ok((write, read, get))
}

/// Reads and writes that the server has carried from the shard that was asked to another one.
async fn hops(session: &Session) -> Done<i64> {
    let counted = session
        .query_unpaged("SELECT hops FROM system_views.shards", &())
        .await?;
    let hops = rows(counted)?.into_iter().map(|row| match row.columns[0] {
        Some(CqlValue::BigInt(hops)) => Ok(hops),
        ref other => Err(format!("no number of hops: {other:?}")),
    });
    Ok(hops.sum::<Result<i64, String>>()?)
}

/// Requests go to the shard that has their partition.
async fn routing(
    checks: &mut Checks,
    session: &Session,
    keyspace: &str,
    write: &PreparedStatement,
    get: &PreparedStatement,
    shards: u16,
) -> Done<()> {
    checks.equal("token-aware", &get.is_token_aware(), &true);
    let before = hops(session).await?;
    let mut met = vec![0; usize::from(shards)];
    for channel in 0..32_i64 {
        let state = session.get_cluster_state();
        let owners = state.get_endpoints(keyspace, "messages", &(channel, 1))?;
        let shard = owners
            .first()
            .map(|(_, shard)| *shard)
            .ok_or("a token without an owner")?;
        let result = session.execute_unpaged(get, (channel, 1, id(0))).await?;
        checks.equal("the shard asked", &result.request_coordinator().shard(), &Some(shard));
        met[shard as usize] += 1;
        let values = (channel + 1000, 1, id(0), channel, "for its shard", vec!["none"]);
        session.execute_unpaged(write, values).await?;
    }
    checks.equal("hops of requests", &(hops(session).await? - before), &0);
    // One that the driver knows no partition of, on each connection's shard in turn: the counter counts.
    for channel in 0..32 {
        let text = format!("SELECT content FROM messages WHERE channel_id = {channel} AND bucket = 1");
        session.query_unpaged(text, &()).await?;
    }
    let unrouted = hops(session).await? - before;
    checks.equal(
        "hops of requests without a token",
        &(shards == 1 || unrouted > 0),
        &true,
    );
    checks.equal("each shard was asked", &met.iter().all(|count| *count > 0), &true);
    Ok(())
}

/// Edits, deletions, times to live.
async fn changes(
    checks: &mut Checks,
    session: &Session,
    read: &PreparedStatement,
    get: &PreparedStatement,
) -> Done<()> {
    let moment = CqlTimestamp(1_577_836_800_000);
    let edit = prepare(
        session,
        "UPDATE messages SET content = ?, edited = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?",
    )
    .await?;
    session
        .execute_unpaged(&edit, ("edited", moment, 1_i64, 1, id(0)))
        .await?;
    let edited = all(session, get, (1_i64, 1, id(0))).await?;
    let expected = vec![
        Some(CqlValue::BigInt(0)),
        Some(CqlValue::Text("edited".to_owned())),
        Some(CqlValue::Timestamp(moment)),
        None,
    ];
    checks.equal(
        "edited",
        &edited.into_iter().next().map(|row| row.columns),
        &Some(expected),
    );
    let delete = prepare(
        session,
        "DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?",
    )
    .await?;
    session.execute_unpaged(&delete, (1_i64, 1, id(1))).await?;
    checks.equal("deleted", &all(session, get, (1_i64, 1, id(1))).await?.len(), &0);
    let range = prepare(
        session,
        "DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id >= ? AND message_id < ?",
    )
    .await?;
    session.execute_unpaged(&range, (1_i64, 1, id(10), id(20))).await?;
    checks.equal("a range deleted", &all(session, read, (1_i64, 1)).await?.len(), &89);
    let live = prepare(
        session,
        "UPDATE messages USING TTL ? AND TIMESTAMP ? SET content = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?",
    )
    .await?;
    let stamp = 4_000_000_000_000_000_i64;
    session
        .execute_unpaged(&live, (1000, stamp, "soon", 1_i64, 1, id(3)))
        .await?;
    let left = prepare(
        session,
        "SELECT ttl(content), writetime(content) FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?",
    )
    .await?;
    let left = all(session, &left, (1_i64, 1, id(3))).await?.into_iter().next();
    let left = left.ok_or("no row")?.columns;
    let in_time = matches!(&left[0], Some(CqlValue::Int(left)) if (901..=1000).contains(left));
    checks.equal(&format!("ttl {:?}", left[0]), &in_time, &true);
    checks.equal("writetime", &left[1], &Some(CqlValue::BigInt(stamp)));
    Ok(())
}

/// Conditional statements, applied and not.
async fn conditions(checks: &mut Checks, session: &Session) -> Done<PreparedStatement> {
    let once = prepare(
        session,
        "INSERT INTO messages (channel_id, bucket, message_id, content) VALUES (?, ?, ?, ?) IF NOT EXISTS",
    )
    .await?;
    let first = applied(session, &once, (2_i64, 1, id(0), "first")).await?;
    checks.equal("if not exists", &first.0, &true);
    let second = applied(session, &once, (2_i64, 1, id(0), "second")).await?;
    checks.equal("if not exists, not applied", &second.0, &false);
    let text = |text: &str| Some(CqlValue::Text(text.to_owned()));
    checks.equal("what is there", &second.1.contains(&text("first")), &true);
    let swap = prepare(
        session,
        "UPDATE messages SET content = ? WHERE channel_id = ? AND bucket = ? AND message_id = ? IF content = ?",
    )
    .await?;
    let values = ("next", 2_i64, 1, id(0), "first");
    checks.equal("if", &applied(session, &swap, values).await?.0, &true);
    checks.equal(
        "if, not applied",
        &applied(session, &swap, values).await?,
        &(false, vec![text("next")]),
    );
    Ok(once)
}

/// Batches, logged and not.
async fn batches(
    checks: &mut Checks,
    session: &Session,
    write: &PreparedStatement,
    read: &PreparedStatement,
    get: &PreparedStatement,
) -> Done<()> {
    for (channel, kind) in [(3_i64, BatchType::Logged), (4, BatchType::Unlogged)] {
        let mut batch = Batch::new(kind);
        let mut values = Vec::new();
        for at in 0..5 {
            batch.append_statement(write.clone());
            values.push((channel, 1, id(at), 1_i64, "in a batch", None::<Vec<String>>));
        }
        session.batch(&batch, values).await?;
        let mut batch = Batch::new(kind);
        batch.append_statement(write.clone());
        batch.append_statement("DELETE FROM messages WHERE channel_id = 1 AND bucket = 1 AND message_id = ?");
        let deleted = id(30 + u32::try_from(channel)?);
        let first = (channel, 1, id(5), 1_i64, "in a batch", None::<Vec<String>>);
        session.batch(&batch, (first, (deleted,))).await?;
        checks.equal("batch", &all(session, read, (channel, 1)).await?.len(), &6);
        checks.equal(
            "batch deletes",
            &all(session, get, (1_i64, 1, deleted)).await?.len(),
            &0,
        );
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut checks = Checks::default();
    if let Err(error) = course(&mut checks, &arguments).await {
        checks.equal("the course", &error.to_string(), &"its end".to_owned());
    }
    match checks.failed {
        0 => {
            println!("OK {}", checks.held);
            ExitCode::SUCCESS
        }
        failed => {
            println!("rust-scylla: {failed} of {} checks failed", failed + checks.held);
            ExitCode::FAILURE
        }
    }
}
