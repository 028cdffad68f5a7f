"""cassandra-driver against a server; see ../README.md."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python-common"))

import course  # noqa: E402


def beyond(checks, cluster, session, shards, get):
    # It packs what it sends: lz4 is among its requirements here.
    pools = list(session.get_pools())
    checks.equal("pools", len(pools), 1)
    connection = pools[0]._connection if hasattr(pools[0], "_connection") else None
    checks.true("compression", connection is not None and connection.compressor is not None)


course.run("python-cassandra", beyond)
