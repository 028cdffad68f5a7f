//! The commit log of one Scrollback shard: append, group commit, segments, replay.
