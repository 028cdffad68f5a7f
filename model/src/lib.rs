//! Types, keys, rows, tombstones, tokens and the merge rule of Scrollback: pure, no I/O, no async.
