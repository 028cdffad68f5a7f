"""cqlsh against a server; see ../README.md. CHAT names a file of chat, JSON lines, plain or gzip."""

import csv
import gzip
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from cassandra.cluster import Cluster

HOST, PORT, KEYSPACE, DATACENTER = sys.argv[1:5]
SHELL = pathlib.Path(sys.executable).with_name("cqlsh")
ROWS = 20_000
held = failed = 0


def equal(what, got, expected):
    global held, failed
    if got == expected:
        held += 1
    else:
        failed += 1
        print(f"FAILED {what}: expected {expected!r}, got {got!r}"[:2000], flush=True)


def cqlsh(*statements, folder=None):
    """What cqlsh says, errors included."""
    done = subprocess.run(
        [sys.executable, SHELL, "--no-color", HOST, PORT, "-e", "; ".join(statements)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        cwd=folder,
    )
    return done.stdout


def says(what, statements, *texts, but_not=()):
    said = cqlsh(*statements)
    for text in texts:
        equal(f"{what}: {text!r} in {said!r}", text in said, True)
    for text in but_not:
        equal(f"{what}: {text!r} not in {said!r}", text in said, False)
    return said


def ask(word):
    print(word, flush=True)
    line = sys.stdin.readline().strip()
    if line != "RESTARTED":
        raise RuntimeError(f"the server was not started again: {line!r}")


def definitions():
    replication = f"{{'class': 'NetworkTopologyStrategy', '{DATACENTER}': 1}}"
    return [
        f"CREATE KEYSPACE {KEYSPACE} WITH replication = {replication}",
        f"CREATE TYPE {KEYSPACE}.zip (code int, place text)",
        f"CREATE TYPE {KEYSPACE}.address (street text, zip frozen<zip>, \"Tags\" frozen<set<text>>)",
        f"CREATE TABLE {KEYSPACE}.everything (a ascii, b bigint, c blob, d boolean, e date, f decimal, g double, h duration, "
        "i float, j inet, k int, l smallint, m text, n time, o timestamp, p timeuuid, q tinyint, r uuid, s varint, "
        "t list<int>, u set<text>, v map<text, frozen<address>>, w frozen<tuple<int, text>>, x address static, "
        "PRIMARY KEY ((a, b), k, o)) WITH CLUSTERING ORDER BY (k DESC, o ASC) "
        "AND comment = 'it''s everything' AND default_time_to_live = 86400 AND gc_grace_seconds = 60",
        f"CREATE TABLE {KEYSPACE}.\"Quoted\" (\"Key\" int PRIMARY KEY, \"select\" text, plain int)",
        "CREATE KEYSPACE \"Other\" WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3} AND durable_writes = false",
        "CREATE TABLE \"Other\".windows (id int, at timestamp, PRIMARY KEY (id, at)) WITH compaction = {'class': "
        "'TimeWindowCompactionStrategy', 'compaction_window_unit': 'HOURS', 'compaction_window_size': 2}",
    ]


def descriptions():
    said = cqlsh(*definitions())
    equal("definitions", [line for line in said.splitlines() if "Error" in line or "Invalid" in line], [])
    says("CLUSTER", ["DESCRIBE CLUSTER"], "Cluster: ", "Partitioner: Murmur3Partitioner", "Snitch: ")
    says("KEYSPACES", ["DESCRIBE KEYSPACES"], KEYSPACE, '"Other"', "system_schema")
    says("TABLES", ["DESCRIBE TABLES"], f"Keyspace {KEYSPACE}", "everything", '"Quoted"', "windows")
    says("TABLES of one", [f"USE {KEYSPACE}", "DESCRIBE TABLES"], "everything", but_not=["windows"])
    says("TYPES", [f"USE {KEYSPACE}", "DESCRIBE TYPES"], "address", "zip")
    says("TYPE", [f"DESCRIBE TYPE {KEYSPACE}.address"], f"CREATE TYPE {KEYSPACE}.address (", "zip frozen<zip>", '"Tags"')
    says(
        "TABLE",
        [f"DESCRIBE TABLE {KEYSPACE}.everything"],
        f"CREATE TABLE {KEYSPACE}.everything (",
        "PRIMARY KEY ((a, b), k, o)",
        "CLUSTERING ORDER BY (k DESC, o ASC)",
        "x address static",
        "comment = 'it''s everything'",
        "default_time_to_live = 86400",
    )
    says("by name alone", [f'DESCRIBE {KEYSPACE}."Quoted"'], f'CREATE TABLE {KEYSPACE}."Quoted" (', '"Key" int PRIMARY KEY')
    says("KEYSPACE", [f"DESCRIBE KEYSPACE {KEYSPACE}"], "CREATE KEYSPACE", "CREATE TYPE", "CREATE TABLE")
    says("a table that there is not", [f"DESCRIBE TABLE {KEYSPACE}.nope"], f"Table 'nope' not found in keyspace '{KEYSPACE}'")
    schema = says("SCHEMA", ["DESCRIBE SCHEMA"], "everything", but_not=["CREATE TABLE system"])
    says("FULL SCHEMA", ["DESCRIBE FULL SCHEMA"], "everything", "CREATE TABLE system.local", "CREATE TABLE system_schema.columns")
    return schema


def again(schema, folder):
    """The same definitions, made by another server from what the first one says."""
    ask("FRESH")
    equal("nothing is there", KEYSPACE in cqlsh("DESCRIBE KEYSPACES"), False)
    file = folder / "schema.cql"
    file.write_text(schema)
    done = subprocess.run(
        [sys.executable, SHELL, "--no-color", HOST, PORT, "-f", file],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    said = [line for line in done.stdout.splitlines() if line.strip() and "replication factor" not in line]
    equal("what the definitions say", [line for line in said if "rror" in line or "exist" in line], [])
    equal("status", done.returncode, 0)
    equal("DESCRIBE SCHEMA again", cqlsh("DESCRIBE SCHEMA"), schema)


def rows():
    insert = f'INSERT INTO {KEYSPACE}."Quoted" ("Key", "select") VALUES'
    cqlsh(*(f"{insert} ({at}, 'row {at}')" for at in range(25)))
    said = cqlsh("PAGING 7", f'SELECT * FROM {KEYSPACE}."Quoted"')
    equal("rows in pages", sum(f"row {at}\n" in said or f"row {at} " in said for at in range(25)), 25)
    equal("their number", "(25 rows)" in said, True)
    said = says(
        "TRACING", ["TRACING ON", f'SELECT * FROM {KEYSPACE}."Quoted" LIMIT 1'], "(1 rows)", "Tracing session: ", "Request complete"
    )
    says("a syntax error", ["SELECT FROM WHERE"], "SyntaxException")
    says("JSON of nothing known", ["SELECT * FROM nope.nope"], "keyspace nope does not exist")


def chat():
    path = os.environ["CHAT"]
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        for nth, line in enumerate(file):
            if nth == ROWS:
                break
            of = json.loads(line)
            # COPY FROM of cqlsh reads so many lines at once: a row that is two of them is cut in two there.
            content = of["content"].replace("\n", " ").replace("\r", " ")
            yield [of["channel"], str(nth), str(of["ts_ms"]), of["author"], content]


def copies(folder):
    cqlsh(
        f"CREATE TABLE {KEYSPACE}.lines (channel text, nth int, ts_ms bigint, author text, content text, "
        "PRIMARY KEY (channel, nth))"
    )
    table = f"{KEYSPACE}.lines (channel, nth, ts_ms, author, content)"
    given = list(chat())
    with open(folder / "in.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(given)
    # Without NULL, an empty content would be null.
    options = "WITH ESCAPE = '\"' AND NULL = '(null)'"
    said = cqlsh(f"COPY {table} FROM 'in.csv' {options}", folder=folder)
    equal(f"imported: {said[-300:]}", f"{len(given)} rows imported from 1 files" in said, True)
    said = cqlsh(f"COPY {table} TO 'out.csv' {options}", folder=folder)
    equal(f"exported: {said[-300:]}", f"{len(given)} rows exported to 1 files" in said, True)
    same("what is there", stored("lines"), given)
    with open(folder / "out.csv", newline="", encoding="utf-8") as file:
        got = sorted(csv.reader(file), key=lambda row: int(row[1]))
    same("the export", got, [[shown(cell) for cell in row] for row in given])


def shown(text):
    """As cqlsh writes text, into files too: two backslashes for one, and escapes for what is not printed."""
    return re.sub("[\x00-\x1f\x7f-\xa0]", lambda of: repr(of.group())[1:-1], text.replace("\\", "\\\\"))


def stored(table):
    """All rows of a table of lines, by their numbers, as the driver reads them."""
    cluster = Cluster([HOST], port=int(PORT))
    try:
        rows = cluster.connect().execute(f"SELECT channel, nth, ts_ms, author, content FROM {KEYSPACE}.{table}")
        return sorted(([str(cell) for cell in row] for row in rows), key=lambda row: int(row[1]))
    finally:
        cluster.shutdown()


def same(what, got, expected):
    equal(f"{what}: rows", len(got), len(expected))
    equal(what, [(a, b) for a, b in zip(got, expected) if a != b][:3], [])


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            schema = descriptions()
            again(schema, folder)
            rows()
            copies(folder)
            ask("RESTART")
            equal("after a restart", "(25 rows)" in cqlsh(f'SELECT * FROM {KEYSPACE}."Quoted"'), True)
            said = cqlsh(f"DROP KEYSPACE {KEYSPACE}", 'DROP KEYSPACE "Other"', "DESCRIBE KEYSPACES")
            equal(f"dropped: {said}", KEYSPACE in said or "Other" in said, False)
        except Exception as error:  # noqa: BLE001: whatever it is, it is told
            equal("the course", f"{type(error).__name__}: {error}", "its end")
    if failed:
        print(f"cqlsh: {failed} of {failed + held} checks failed", flush=True)
        sys.exit(1)
    print(f"OK {held}", flush=True)


main()
