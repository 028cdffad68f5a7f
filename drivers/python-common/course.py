"""What both Python drivers are asked; see ../README.md."""

import datetime
import decimal
import ipaddress
import sys
import time
import traceback
import uuid

from cassandra import ConsistencyLevel, InvalidRequest, AlreadyExists
from cassandra.cluster import Cluster, ExecutionProfile, EXEC_PROFILE_DEFAULT
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    RetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import (
    UNSET_VALUE,
    BatchStatement,
    BatchType,
    SimpleStatement,
    dict_factory,
)
from cassandra.util import Date, Duration, Time

WAIT_SECONDS = 60


class Failed(Exception):
    pass


class Checks:
    def __init__(self):
        self.held = 0
        self.failed = 0

    def equal(self, what, got, expected):
        if got == expected:
            self.held += 1
        else:
            self.failed += 1
            print(f"FAILED {what}: expected {expected!r}, got {got!r}", flush=True)

    def true(self, what, got):
        self.equal(what, bool(got), True)

    def raises(self, what, kind, text, call):
        try:
            got = call()
        except kind as error:
            self.true(f"{what}: {text!r} in {error!s:.300}", text in str(error))
        except Exception as error:  # noqa: BLE001: whatever it is, it is told
            self.equal(what, f"{type(error).__name__}: {error}", kind.__name__)
        else:
            self.equal(what, got, kind.__name__)


def restart():
    print("RESTART", flush=True)
    line = sys.stdin.readline().strip()
    if line != "RESTARTED":
        raise Failed(f"the server was not started again: {line!r}")


def until(what, call):
    """Calls until it succeeds: the driver connects again by itself, and that takes it a moment."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return call()
        except Exception as error:  # noqa: BLE001
            if time.monotonic() > deadline:
                raise Failed(f"{what}: {type(error).__name__}: {error}") from error
            time.sleep(0.05)


SIMPLE = [
    ("v_ascii", "ascii", "plain"),
    ("v_bigint", "bigint", -(2**63)),
    ("v_blob", "blob", b"\x00\xff\x80"),
    ("v_boolean", "boolean", True),
    ("v_date", "date", Date(datetime.date(2015, 5, 3))),
    ("v_decimal", "decimal", decimal.Decimal("-12345678901234567890.0123456789")),
    ("v_double", "double", 2.5e-300),
    ("v_duration", "duration", Duration(-1, -2, -3)),
    ("v_float", "float", 0.15625),
    ("v_inet", "inet", "2001:db8::1"),
    ("v_int", "int", -(2**31)),
    ("v_smallint", "smallint", -(2**15)),
    ("v_text", "text", "grüße 😀\n"),
    ("v_time", "time", Time(86_399_999_999_999)),
    ("v_timestamp", "timestamp", datetime.datetime(2015, 5, 3, 13, 30, 54, 234000)),
    ("v_timeuuid", "timeuuid", uuid.UUID("f0d4a4c0-1c2a-11e5-8080-808080808080")),
    ("v_tinyint", "tinyint", -128),
    ("v_uuid", "uuid", uuid.UUID("cfd66ccc-d857-4e90-b1e5-df98a3d40cd6")),
    ("v_varchar", "varchar", ""),
    ("v_varint", "varint", -(2**200)),
]

COLLECTIONS = [
    ("v_list", "list<int>", [3, 1, 3]),
    ("v_set", "set<text>", {"b", "a"}),
    ("v_map", "map<text, bigint>", {"a": 1, "b": -1}),
    ("v_frozen_list", "frozen<list<text>>", ["x", "", "y"]),
    ("v_frozen_map", "map<int, frozen<set<int>>>", {1: {1, 2}, 2: {3}}),
    ("v_tuple", "tuple<int, text, boolean>", (1, "one", None)),
]


class Address:
    def __init__(self, street, number, tags, city=None):
        self.street, self.number, self.tags, self.city = street, number, tags, city

    def __eq__(self, other):
        return (self.street, self.number, set(self.tags or ())) == (
            other.street,
            other.number,
            set(other.tags or ()),
        )

    def __repr__(self):
        return f"Address({self.street!r}, {self.number!r}, {self.tags!r})"


def run(name, before=None):
    """Goes the whole way. `before(checks, cluster, session, shards)` is what one driver is asked beyond."""
    host, port, keyspace, datacenter, shards = sys.argv[1:6]
    checks = Checks()
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(datacenter)),
        request_timeout=20,
        retry_policy=RetryPolicy(),
    )
    cluster = Cluster(
        [host],
        port=int(port),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ConstantReconnectionPolicy(0.2, max_attempts=None),
        compression=True,
        connect_timeout=10,
    )
    session = cluster.connect()
    try:
        course(checks, cluster, session, keyspace, int(shards), datacenter, before)
    except Exception as error:  # noqa: BLE001: whatever it is, it is told
        traceback.print_exc()
        checks.equal("the course", f"{type(error).__name__}: {error}", "its end")
    finally:
        cluster.shutdown()
    if checks.failed:
        print(f"{name}: {checks.failed} of {checks.failed + checks.held} checks failed", flush=True)
        sys.exit(1)
    print(f"OK {checks.held}", flush=True)


def course(checks, cluster, session, keyspace, shards, datacenter, before):
    checks.equal("protocol version", cluster.protocol_version, 4)

    # Keyspaces, types, tables.
    ddl = (
        f"CREATE KEYSPACE {keyspace} WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{datacenter}': 1}}"
    )
    session.execute(ddl)
    checks.raises("a keyspace twice", AlreadyExists, keyspace, lambda: session.execute(ddl))
    session.set_keyspace(keyspace)
    session.execute("CREATE TYPE address (street text, number int, tags frozen<set<text>>)")
    columns = [(column, kind) for column, kind, _ in SIMPLE + COLLECTIONS]
    columns += [("v_udt", "frozen<address>"), ("v_open_udt", "address"), ("v_udts", "list<frozen<address>>")]
    listed = ", ".join(f"{column} {kind}" for column, kind in columns)
    session.execute(f"CREATE TABLE all_types (id int PRIMARY KEY, {listed})")
    session.execute(
        "CREATE TABLE messages (channel_id bigint, bucket int, message_id timeuuid, author_id bigint, content text, "
        "edited timestamp, attachments list<text>, topic text static, PRIMARY KEY ((channel_id, bucket), message_id)) "
        "WITH CLUSTERING ORDER BY (message_id DESC) AND comment = 'it''s chat'"
    )
    cluster.register_user_type(keyspace, "address", Address)

    # What the driver knows.
    of = cluster.metadata.keyspaces[keyspace]
    checks.equal("tables", sorted(of.tables), ["all_types", "messages"])
    checks.equal("types", sorted(of.user_types), ["address"])
    checks.equal("fields", list(of.user_types["address"].field_names), ["street", "number", "tags"])
    table = of.tables["messages"]
    checks.equal("partition key", [column.name for column in table.partition_key], ["channel_id", "bucket"])
    checks.equal("clustering key", [column.name for column in table.clustering_key], ["message_id"])
    checks.equal("descending", table.columns["message_id"].is_reversed, True)
    checks.equal("static", table.columns["topic"].is_static, True)
    checks.equal("compact", bool(table.is_compact_storage), False)
    checks.equal("comment", table.options["comment"], "it's chat")
    kinds = {name: column.cql_type for name, column in of.tables["all_types"].columns.items()}
    # The names as the system tables have them.
    spelled = {"varchar": "text", "tuple<int, text, boolean>": "frozen<tuple<int, text, boolean>>"}
    for column, kind in columns:
        checks.equal(f"type of {column}", kinds[column], spelled.get(kind, kind))
    checks.equal("tokens", cluster.metadata.token_map is not None, True)
    checks.equal("replicas", len(cluster.metadata.get_replicas(keyspace, b"\x00\x00\x00\x01")), 1)
    checks.true("schema agreement", cluster.control_connection.wait_for_schema_agreement())
    host = next(iter(cluster.metadata.all_hosts()))
    checks.equal("data center", host.datacenter, datacenter)
    checks.true("export", "CREATE TABLE" in of.export_as_string())

    # Every type, written and read back; null, not set.
    names = ["id"] + [column for column, _ in columns]
    insert = session.prepare(
        f"INSERT INTO all_types ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    )
    select = session.prepare("SELECT * FROM all_types WHERE id = ?")
    checks.equal("routing key", list(insert.routing_key_indexes or []), [0])
    home = Address("Main street", 5, {"home", "work"})
    udts = [home, home, [home, Address(None, None, None)]]
    full = [value for _, _, value in SIMPLE + COLLECTIONS] + udts

    def one(key):
        return session.execute(select, [key], execution_profile=EXEC_PROFILE_DEFAULT).one()

    def compare(what, row, expected):
        for (column, _), value in zip(columns, expected):
            got = getattr(row, column)
            if column in ("v_set",):
                got = set(got) if got is not None else None
            elif column == "v_frozen_map" and got is not None:
                got = {k: set(v) for k, v in got.items()}
            elif column == "v_map" and got is not None:
                got = dict(got)
            elif column == "v_tuple" and got is not None:
                got = tuple(got)
            elif column == "v_inet" and got is not None:
                got = str(ipaddress.ip_address(got))
            checks.equal(f"{what} {column}", got, value)

    session.execute(insert, [1] + full)
    compare("written", one(1), full)
    nothing = [None] * len(columns)
    session.execute(insert, [2] + nothing)
    compare("null", one(2), nothing)
    session.execute(insert, [1] + [UNSET_VALUE] * len(columns))
    compare("not set", one(1), full)
    half = [None if at % 2 else UNSET_VALUE for at in range(len(columns))]
    session.execute(insert, [1] + half)
    compare("half null", one(1), [None if at % 2 else value for at, value in enumerate(full)])
    checks.raises(
        "a key that is null", InvalidRequest, "null", lambda: session.execute(insert, [None] + full)
    )
    checks.raises(
        "an unknown column", InvalidRequest, "nope", lambda: session.prepare("SELECT nope FROM all_types")
    )

    # Literals as the driver writes them.
    session.execute(
        "UPDATE all_types SET v_text = %s, v_list = v_list + %s, v_map[%s] = %s, v_set = v_set + %s WHERE id = %s",
        ["it's", [9], "c", 7, {"c"}, 2],
    )
    row = one(2)
    checks.equal(
        "collections edited",
        (row.v_text, row.v_list, dict(row.v_map), set(row.v_set)),
        ("it's", [9], {"c": 7}, {"c"}),
    )
    session.execute("UPDATE all_types SET v_list[0] = 8 WHERE id = 2")
    session.execute("DELETE v_map['c'] FROM all_types WHERE id = 2")
    row = one(2)
    checks.equal("an element", (row.v_list, row.v_map), ([8], None))
    session.execute("UPDATE all_types SET v_open_udt.number = 6 WHERE id = 2")
    checks.equal("a field", one(2).v_open_udt.number, 6)

    # Pages.
    write = session.prepare(
        "INSERT INTO messages (channel_id, bucket, message_id, author_id, content, attachments) VALUES (?, ?, ?, ?, ?, ?)"
    )
    checks.equal("routing key of two", list(write.routing_key_indexes or []), [0, 1])
    base = uuid.UUID("13814000-1dd2-11b2-8080-808080808080")
    ids = [uuid.UUID(fields=(base.time_low + at,) + base.fields[1:]) for at in range(100)]
    futures = [
        session.execute_async(write, [1, 1, message_id, at % 7, f"message {at}", [f"file {at}"]])
        for at, message_id in enumerate(ids)
    ]
    for future in futures:
        future.result()
    read = session.prepare(
        "SELECT message_id, content FROM messages WHERE channel_id = ? AND bucket = ?"
    )
    read.fetch_size = 10
    pages, seen = 0, []
    result = session.execute(read, [1, 1])
    while True:
        pages += 1
        seen += [row.message_id for row in result.current_rows]
        if not result.has_more_pages or pages > 20:
            break
        checks.equal("rows of a page", len(result.current_rows), 10)
        result = session.execute(read, [1, 1], paging_state=result.paging_state)
    checks.equal("pages", pages, 10)
    checks.equal("rows in order", seen, ids[::-1])
    checks.equal("rows by the driver's own pages", len(list(session.execute(read, [1, 1]))), 100)
    scan = SimpleStatement("SELECT * FROM messages", fetch_size=10)
    checks.equal("a scan in pages", len(list(session.execute(scan))), 100)
    newest = session.prepare(
        "SELECT message_id FROM messages WHERE channel_id = ? AND bucket = ? AND message_id < ? LIMIT ?"
    )
    checks.equal(
        "older than",
        [row.message_id for row in session.execute(newest, [1, 1, ids[50], 3])],
        [ids[49], ids[48], ids[47]],
    )
    count = session.execute("SELECT count(*) FROM messages WHERE channel_id = 1 AND bucket = 1").one()[0]
    checks.equal("count", count, 100)

    # Edits, deletions, timestamps, time to live.
    edit = session.prepare(
        "UPDATE messages SET content = ?, edited = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?"
    )
    moment = datetime.datetime(2020, 1, 1)
    session.execute(edit, ["edited", moment, 1, 1, ids[0]])
    get = session.prepare("SELECT * FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?")
    row = session.execute(get, [1, 1, ids[0]]).one()
    checks.equal("edited", (row.content, row.edited, row.author_id), ("edited", moment, 0))
    delete = session.prepare("DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?")
    session.execute(delete, [1, 1, ids[1]])
    checks.equal("deleted", session.execute(get, [1, 1, ids[1]]).one(), None)
    session.execute(
        "DELETE FROM messages WHERE channel_id = 1 AND bucket = 1 AND message_id >= %s AND message_id < %s",
        [ids[10], ids[20]],
    )
    checks.equal("a range deleted", len(list(session.execute(read, [1, 1]))), 89)
    session.execute("UPDATE messages SET topic = 'talk' WHERE channel_id = 1 AND bucket = 1")
    checks.equal("static", session.execute(get, [1, 1, ids[2]]).one().topic, "talk")
    session.execute(
        "UPDATE messages USING TTL 1000 AND TIMESTAMP 4000000000000000 SET content = 'soon' "
        "WHERE channel_id = 1 AND bucket = 1 AND message_id = %s",
        [ids[3]],
    )
    row = session.execute(
        "SELECT ttl(content), writetime(content) FROM messages WHERE channel_id = 1 AND bucket = 1 AND message_id = %s",
        [ids[3]],
    ).one()
    checks.true("ttl", 900 < row[0] <= 1000)
    checks.equal("writetime", row[1], 4000000000000000)

    # Conditions.
    once = session.prepare(
        "INSERT INTO messages (channel_id, bucket, message_id, content) VALUES (?, ?, ?, ?) IF NOT EXISTS"
    )
    checks.equal("if not exists", session.execute(once, [2, 1, ids[0], "first"]).was_applied, True)
    result = session.execute(once, [2, 1, ids[0], "second"])
    checks.equal("if not exists, not applied", result.was_applied, False)
    checks.equal("what is there", result.one().content, "first")
    swap = session.prepare(
        "UPDATE messages SET content = ? WHERE channel_id = ? AND bucket = ? AND message_id = ? IF content = ?"
    )
    checks.equal("if", session.execute(swap, ["next", 2, 1, ids[0], "first"]).was_applied, True)
    result = session.execute(swap, ["next", 2, 1, ids[0], "first"])
    checks.equal("if, not applied", (result.was_applied, result.one().content), (False, "next"))
    gone = SimpleStatement(
        f"DELETE FROM messages WHERE channel_id = 2 AND bucket = 1 AND message_id = {ids[0]} IF EXISTS",
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
    )
    checks.equal("if exists", session.execute(gone).was_applied, True)
    checks.equal("if exists, not applied", session.execute(gone).was_applied, False)

    # Batches.
    for at, kind in enumerate([BatchType.LOGGED, BatchType.UNLOGGED]):
        batch = BatchStatement(batch_type=kind)
        for message_id in ids[:5]:
            batch.add(write, [3 + at, 1, message_id, 1, "in a batch", None])
        batch.add(SimpleStatement(f"DELETE FROM messages WHERE channel_id = 1 AND bucket = 1 AND message_id = {ids[30 + at]}"))
        session.execute(batch)
        checks.equal(f"batch {at}", len(list(session.execute(read, [3 + at, 1]))), 5)
        checks.equal(f"batch {at} deletes", session.execute(get, [1, 1, ids[30 + at]]).one(), None)
    batch = BatchStatement()
    batch.add(once, [9, 1, ids[0], "a"])
    batch.add(once, [9, 1, ids[1], "b"])
    checks.equal("batch with conditions", session.execute(batch).was_applied, True)
    checks.equal("the same again", session.execute(batch).was_applied, False)

    # ALTER is seen by those who have prepared.
    everything = session.prepare("SELECT * FROM messages WHERE channel_id = ? AND bucket = ? LIMIT 1")
    session.execute(everything, [3, 1])
    session.execute("ALTER TABLE messages ADD reactions map<text, int>")
    checks.true("a column more", "reactions" in cluster.metadata.keyspaces[keyspace].tables["messages"].columns)
    row = session.execute(everything, [3, 1]).one()
    checks.equal("a column more in what was prepared", getattr(row, "reactions", "missing"), None)
    session.execute("ALTER TYPE address ADD city text")
    checks.equal(
        "a field more",
        list(cluster.metadata.keyspaces[keyspace].user_types["address"].field_names),
        ["street", "number", "tags", "city"],
    )

    # Tables emptied and dropped.
    session.execute("CREATE TABLE passing (id int PRIMARY KEY, v int)")
    session.execute("INSERT INTO passing (id, v) VALUES (1, 1)")
    session.execute("TRUNCATE passing")
    checks.equal("truncated", list(session.execute("SELECT * FROM passing")), [])
    session.execute("DROP TABLE passing")
    checks.true("dropped", "passing" not in cluster.metadata.keyspaces[keyspace].tables)

    # A trace.
    traced = session.execute(SimpleStatement("SELECT * FROM messages LIMIT 1"), trace=True)
    trace = traced.get_query_trace(max_wait_sec=10)
    checks.true("trace", trace is not None and trace.duration is not None)

    if before is not None:
        before(checks, cluster, session, shards, get)

    # The server goes and comes back; what was prepared still holds.
    rows_before = sorted(str(row) for row in session.execute(read, [1, 1]))
    for turn in range(2):
        restart()
        rows_after = until(
            "after a restart", lambda: sorted(str(row) for row in session.execute(read, [1, 1]))
        )
        checks.equal(f"rows after restart {turn}", rows_after, rows_before)
        until("a write", lambda turn=turn: session.execute(write, [10 + turn, 1, ids[0], 1, "after", None]))
        checks.equal(
            f"written after restart {turn}", session.execute(get, [10 + turn, 1, ids[0]]).one().content, "after"
        )
        compare(f"types after restart {turn}", one(2), [getattr(one(2), column) for column, _ in columns])
        checks.equal(f"once more, after restart {turn}", session.execute(once, [9, 1, ids[0], "a"]).was_applied, False)
    session.execute(f"DROP KEYSPACE {keyspace}")
    checks.true("keyspace dropped", keyspace not in cluster.metadata.keyspaces)
