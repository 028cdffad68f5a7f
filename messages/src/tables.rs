//! The tables of message history, and the bytes of their keys and rows.
//!
//! ```text
//! messages.messages         ((channel_id bigint, bucket_id int), message_id bigint), message_id DESC
//!                           author_id bigint, content text, attachments frozen<list<text>>, edited_at timestamp, nonce text
//! messages.channel_buckets  (channel_id bigint, bucket_id int), bucket_id DESC: the directory
//!                           window_hours int
//! messages.channel_windows  (channel_id bigint, from_hour int), from_hour DESC: where the channel's window changes
//!                           window_hours int
//! messages.names            ((kind tinyint, id bigint))
//!                           name text
//! messages.nonces           (channel_id bigint, author_id bigint, nonce text): what was sent once, for ten minutes
//!                           sent_after bigint, message_id bigint
//! ```
//!
//! A message is an `INSERT`: its row has liveness. An edit is an `UPDATE`, without; so a row without liveness is what an
//! edit by other means left of a deleted message, and is no message.

use crate::{Bucket, Epoch, Error, MessageId, NameKind, Result, Window, WindowChange};
use model::{CellKind, ColumnId, CqlType, RowRef, Schema, Slice, TableId, TableOptions};

/// The keyspace of all of them.
pub(crate) const KEYSPACE: &str = "messages";
/// Tombstones are kept for an hour: one node, whose writes come in order.
const GRACE_SECONDS: u32 = 3600;
/// Epochs of the files are at least and at most so long, hours.
const EPOCH_HOURS_MIN: u32 = 24;
const EPOCH_HOURS_MAX: u32 = 87_600;

/// The marker of a value in a clustering key, inverted because the order is descending.
const DESC_VALUE: u8 = !0x04;

/// How the files of a table are compacted; by default by size.
fn options(compaction: &[(&str, &str)]) -> TableOptions {
    let compaction = compaction
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    TableOptions {
        gc_grace_seconds: GRACE_SECONDS,
        compaction: compaction.collect(),
        ..TableOptions::default()
    }
}

/// The definitions, with ids still to be assigned. Files of messages hold an epoch of their ids each, as long as a bucket's window by
/// default, or as several that have a day; what was sent once is forgotten an hour's file at a time.
pub(crate) fn schemas(epoch: Epoch, window: Window) -> [Schema; 5] {
    let hours = window.hours() * EPOCH_HOURS_MIN.div_ceil(window.hours());
    let (epoch_ms, hours) = (epoch.unix_ms().to_string(), hours.min(EPOCH_HOURS_MAX).to_string());
    let tiered = [
        ("class", "TimeTieredCompactionStrategy"),
        ("epoch_hours", hours.as_str()),
        ("snowflake_epoch_ms", epoch_ms.as_str()),
    ];
    let hourly = [
        ("class", "TimeWindowCompactionStrategy"),
        ("compaction_window_unit", "HOURS"),
        ("compaction_window_size", "1"),
    ];
    let messages = Schema::builder(KEYSPACE, "messages")
        .partition_key("channel_id", CqlType::BigInt)
        .partition_key("bucket_id", CqlType::Int)
        .clustering_desc("message_id", CqlType::BigInt)
        .regular("author_id", CqlType::BigInt)
        .regular("content", CqlType::Text)
        .regular(
            "attachments",
            CqlType::Frozen(Box::new(CqlType::List(Box::new(CqlType::Text)))),
        )
        .regular("edited_at", CqlType::Timestamp)
        .regular("nonce", CqlType::Text);
    let buckets = Schema::builder(KEYSPACE, "channel_buckets")
        .partition_key("channel_id", CqlType::BigInt)
        .clustering_desc("bucket_id", CqlType::Int)
        .regular("window_hours", CqlType::Int);
    let names = Schema::builder(KEYSPACE, "names")
        .partition_key("kind", CqlType::TinyInt)
        .partition_key("id", CqlType::BigInt)
        .regular("name", CqlType::Text);
    let nonces = Schema::builder(KEYSPACE, "nonces")
        .partition_key("channel_id", CqlType::BigInt)
        .clustering("author_id", CqlType::BigInt)
        .clustering("nonce", CqlType::Text)
        .regular("sent_after", CqlType::BigInt)
        .regular("message_id", CqlType::BigInt);
    let windows = Schema::builder(KEYSPACE, "channel_windows")
        .partition_key("channel_id", CqlType::BigInt)
        .clustering_desc("from_hour", CqlType::Int)
        .regular("window_hours", CqlType::Int);
    let by_size: &[(&str, &str)] = &[];
    [
        (messages, &tiered[..]),
        (buckets, by_size),
        (names, by_size),
        (nonces, &hourly[..]),
        (windows, by_size),
    ]
    .map(|(builder, compaction)| {
        builder
            .options(options(compaction))
            .build()
            .expect("our own definitions are legal")
    })
}

/// What the calls need to know of the tables and of the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables {
    pub epoch: Epoch,
    pub window: Window,
    pub messages: TableId,
    pub author_id: ColumnId,
    pub content: ColumnId,
    pub edited_at: ColumnId,
    pub buckets: TableId,
    pub window_hours: ColumnId,
    pub names: TableId,
    pub name: ColumnId,
    pub nonce: ColumnId,
    pub nonces: TableId,
    pub sent_after: ColumnId,
    pub message_id: ColumnId,
    pub windows: TableId,
    pub new_window_hours: ColumnId,
}

impl Tables {
    /// From the tables as they are in the store, in the order of [`schemas`].
    pub fn new(
        epoch: Epoch,
        window: Window,
        [messages, buckets, names, nonces, windows]: [&Schema; 5],
    ) -> Result<Tables> {
        let column = |schema: &Schema, table: &'static str, name: &str, ty: &CqlType| {
            let found = schema
                .regulars
                .iter()
                .find(|column| column.name == name && column.ty == *ty);
            found.map(|column| column.id).ok_or(Error::OtherTable { name: table })
        };
        for (wanted, present) in schemas(epoch, window)
            .iter()
            .zip([messages, buckets, names, nonces, windows])
        {
            let tables = ["messages", "names", "nonces", "channel_windows"];
            let table = tables
                .into_iter()
                .find(|table| *table == wanted.name)
                .unwrap_or("channel_buckets");
            let types = |columns: &[model::Column]| columns.iter().map(|c| c.ty.clone()).collect::<Vec<_>>();
            let order = |schema: &Schema| {
                schema
                    .clustering
                    .iter()
                    .map(|c| (c.column.ty.clone(), c.descending))
                    .collect::<Vec<_>>()
            };
            if types(&wanted.partition_key) != types(&present.partition_key) || order(wanted) != order(present) {
                return Err(Error::OtherTable { name: table });
            }
        }
        Ok(Tables {
            epoch,
            window,
            messages: messages.id,
            author_id: column(messages, "messages", "author_id", &CqlType::BigInt)?,
            content: column(messages, "messages", "content", &CqlType::Text)?,
            edited_at: column(messages, "messages", "edited_at", &CqlType::Timestamp)?,
            buckets: buckets.id,
            window_hours: column(buckets, "channel_buckets", "window_hours", &CqlType::Int)?,
            names: names.id,
            name: column(names, "names", "name", &CqlType::Text)?,
            nonce: column(messages, "messages", "nonce", &CqlType::Text)?,
            nonces: nonces.id,
            sent_after: column(nonces, "nonces", "sent_after", &CqlType::BigInt)?,
            message_id: column(nonces, "nonces", "message_id", &CqlType::BigInt)?,
            windows: windows.id,
            new_window_hours: column(windows, "channel_windows", "window_hours", &CqlType::Int)?,
        })
    }
}

/// The partition of a bucket.
pub(crate) fn bucket_key(channel: i64, bucket_id: i32) -> [u8; 18] {
    let mut key = [0; 18];
    key[1] = 8;
    key[2..10].copy_from_slice(&channel.to_be_bytes());
    key[12] = 4;
    key[13..17].copy_from_slice(&bucket_id.to_be_bytes());
    key
}

/// The partition of a channel in the directory and among the windows: its shard is the channel's home.
pub(crate) fn channel_key(channel: i64) -> [u8; 8] {
    channel.to_be_bytes()
}

/// The partition of a name.
pub(crate) fn name_key(kind: NameKind, id: i64) -> Vec<u8> {
    let mut key = vec![0, 1, kind as u8, 0, 0, 8];
    key.extend_from_slice(&id.to_be_bytes());
    key.push(0);
    key
}

/// Where a nonce of an author stands in the partition of its channel.
pub(crate) fn nonce_position(author: i64, nonce: &str) -> Vec<u8> {
    let mut position = Vec::with_capacity(nonce.len() + 12);
    let parts = [
        (CqlType::BigInt, &author.to_be_bytes()[..]),
        (CqlType::Text, nonce.as_bytes()),
    ];
    for (ty, value) in parts {
        ty.encode_path(value, &mut position).expect("a number and a text");
    }
    position
}

/// Where a message stands in its partition: newest first.
pub(crate) fn message_position(id: MessageId) -> [u8; 9] {
    let mut position = [DESC_VALUE; 9];
    position[1..].copy_from_slice(&(!(id.get() ^ i64::MIN)).to_be_bytes());
    position
}

/// The message that stands there.
pub(crate) fn message_at(position: &[u8]) -> Result<MessageId> {
    let value = match position {
        [DESC_VALUE, value @ ..] => value.try_into().ok().map(|bytes| !i64::from_be_bytes(bytes) ^ i64::MIN),
        _ => None,
    };
    let malformed = || Error::Malformed {
        what: format!("{position:02x?} is not the place of a message"),
    };
    MessageId::new(value.ok_or_else(malformed)?).map_err(|_| malformed())
}

/// Where a bucket stands in the directory, and a change among the windows: newest first.
pub(crate) fn bucket_position(id: i32) -> [u8; 5] {
    let mut position = [DESC_VALUE; 5];
    position[1..].copy_from_slice(&(!(id ^ i32::MIN)).to_be_bytes());
    position
}

fn bucket_at(position: &[u8]) -> Option<i32> {
    match position {
        [DESC_VALUE, value @ ..] => value.try_into().ok().map(|bytes| !i32::from_be_bytes(bytes) ^ i32::MIN),
        _ => None,
    }
}

/// The slice of one key.
pub(crate) fn only(position: &[u8]) -> Slice {
    Slice {
        start: position.to_vec(),
        end: after(position),
    }
}

/// The position after this key.
pub(crate) fn after(position: &[u8]) -> Vec<u8> {
    [position, &[0xFF]].concat()
}

/// The value of a live cell.
pub(crate) fn value<'a>(row: RowRef<'a>, column: ColumnId) -> Option<&'a [u8]> {
    match row.cell(column)?.kind {
        CellKind::Live(value) | CellKind::Expiring { value, .. } => Some(value),
        CellKind::Tombstone { .. } | CellKind::ComplexDeletion(_) => None,
    }
}

/// A bucket as the directory has it.
pub(crate) fn bucket_of_row(tables: &Tables, position: &[u8], row: RowRef<'_>) -> Result<Bucket> {
    let malformed = || Error::Malformed {
        what: "a row of the channel directory has no bucket or no window".to_owned(),
    };
    let id = bucket_at(position).ok_or_else(malformed)?;
    let window = window_in(row, tables.window_hours).ok_or_else(malformed)?;
    Ok(Bucket { id, window })
}

/// A change of a channel's window as its row has it.
pub(crate) fn change_of_row(tables: &Tables, position: &[u8], row: RowRef<'_>) -> Result<WindowChange> {
    let malformed = || Error::Malformed {
        what: "a row of a channel's windows has no hour or no window".to_owned(),
    };
    let from_hour = bucket_at(position).ok_or_else(malformed)?;
    let window = window_in(row, tables.new_window_hours).ok_or_else(malformed)?;
    Ok(WindowChange { from_hour, window })
}

fn window_in(row: RowRef<'_>, column: ColumnId) -> Option<Window> {
    let hours = value(row, column)?.try_into().ok().map(u32::from_be_bytes)?;
    Window::from_hours(hours).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tables_that_are_not_ours_are_refused() {
        let [messages, buckets, names, nonces, windows] = schemas(Epoch::DEFAULT, Window::DEFAULT);
        let of = |m: &Schema| {
            Tables::new(
                Epoch::DEFAULT,
                Window::DEFAULT,
                [m, &buckets, &names, &nonces, &windows],
            )
        };
        assert!(of(&messages).is_ok());
        let mut ascending = messages.clone();
        ascending.clustering[0].descending = false;
        let mut other_type = messages.clone();
        other_type.regulars[1].ty = CqlType::Blob;
        for other in [ascending, other_type] {
            assert!(matches!(of(&other), Err(Error::OtherTable { name: "messages" })));
        }
    }

    proptest! {
        #[test]
        fn prop_keys_are_what_the_schema_makes_of_them(
            channel: i64,
            bucket: i32,
            id in 1..i64::MAX,
            nonce in "[\\x00-\\x02a-zß]{0,8}",
        ) {
            let [messages, buckets, names, nonces, windows] = schemas(Epoch::DEFAULT, Window::DEFAULT);
            let position = nonces.encode_clustering(&[&channel.to_be_bytes(), nonce.as_bytes()]).unwrap();
            prop_assert_eq!(nonce_position(channel, &nonce), position);
            let (c, b, i) = (channel.to_be_bytes(), bucket.to_be_bytes(), id.to_be_bytes());
            prop_assert_eq!(bucket_key(channel, bucket).to_vec(), messages.partition_key_bytes(&[&c, &b]).unwrap());
            prop_assert_eq!(channel_key(channel).to_vec(), buckets.partition_key_bytes(&[&c]).unwrap());
            prop_assert_eq!(name_key(NameKind::Author, id), names.partition_key_bytes(&[&[2], &i]).unwrap());
            let id = MessageId::new(id).unwrap();
            prop_assert_eq!(message_position(id).to_vec(), messages.encode_clustering(&[&i]).unwrap());
            prop_assert_eq!(message_at(&message_position(id)).unwrap(), id);
            prop_assert_eq!(bucket_position(bucket).to_vec(), buckets.encode_clustering(&[&b]).unwrap());
            prop_assert_eq!(bucket_position(bucket).to_vec(), windows.encode_clustering(&[&b]).unwrap());
            prop_assert_eq!(channel_key(channel).to_vec(), windows.partition_key_bytes(&[&c]).unwrap());
            prop_assert_eq!(bucket_at(&bucket_position(bucket)), Some(bucket));
        }

        #[test]
        fn prop_positions_of_anything_else_are_errors(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(id) = message_at(&bytes) {
                prop_assert_eq!(message_position(id).to_vec(), bytes);
            }
        }
    }
}
