"""scylla-driver against a server; see ../README.md."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python-common"))

import course  # noqa: E402


def beyond(checks, cluster, session, shards, get):
    def stats():
        return next(iter(cluster.shard_aware_stats().values()))

    checks.true("shard-aware", cluster.is_shard_aware())
    checks.equal("shards", stats()["shards_count"], shards)
    course.until("a connection to each shard", lambda: connected(stats(), shards))
    checks.equal("connections", stats()["connected"], shards)
    pool = next(iter(session.get_pools()))
    checks.equal("their shards", sorted(pool._connections), list(range(shards)))
    info = pool.host.sharding_info
    checks.equal("algorithm", info.sharding_algorithm, "biased-token-round-robin")
    checks.equal("partitioner", info.partitioner, "org.apache.cassandra.dht.Murmur3Partitioner")
    for connection in pool._connections.values():
        checks.true("compression", connection.compressor is not None)


def connected(stats, shards):
    if stats["connected"] != shards:
        raise course.Failed(f"connected: {stats}")


course.run("python-scylla", beyond)
