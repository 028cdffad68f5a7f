//! Message history over the Scrollback engine: ids, buckets, history, edit, delete.
