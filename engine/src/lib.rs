//! Scrollback's storage engine: a shard, the node, recovery, routing and the embedded API.
