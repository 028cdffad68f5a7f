//! What the engine's tests share: a chat table, mutations of it, a simulated store.

#![allow(dead_code, reason = "each test binary uses a part")]

use model::{ColumnId, CqlType, Deletion, Mutation, MutationBuilder, RowBuilder, Schema, TableId};
use scrollback_engine::{Page, Read, Store};

/// `chat.messages ((channel bigint), id bigint) … CLUSTERING ORDER BY (id DESC)`.
pub fn chat() -> Schema {
    Schema::builder("chat", "messages")
        .partition_key("channel", CqlType::BigInt)
        .clustering_desc("id", CqlType::BigInt)
        .static_column("topic", CqlType::Text)
        .regular("author", CqlType::BigInt)
        .regular("content", CqlType::Text)
        .build()
        .expect("a valid schema")
}

pub fn column(schema: &Schema, name: &str) -> ColumnId {
    schema.column(name).expect("a column of the table").id
}

pub fn clustering(schema: &Schema, id: i64) -> Vec<u8> {
    schema.encode_clustering(&[&id.to_be_bytes()]).expect("a bigint")
}

pub fn key(channel: i64) -> [u8; 8] {
    channel.to_be_bytes()
}

/// An insert of one message.
pub fn message(schema: &Schema, channel: i64, id: i64, timestamp: i64, content: &str) -> Mutation {
    let mut row = RowBuilder::new();
    row.liveness(timestamp);
    row.cell(column(schema, "author"), timestamp, &7_i64.to_be_bytes());
    row.cell(column(schema, "content"), timestamp, content.as_bytes());
    let mut mutation = MutationBuilder::new(schema.id, &key(channel));
    mutation.row(&clustering(schema, id), row.finish());
    mutation.build()
}

/// A deletion of one message.
pub fn delete(schema: &Schema, channel: i64, id: i64, timestamp: i64) -> Mutation {
    let mut row = RowBuilder::new();
    row.deletion(Deletion {
        timestamp,
        local_deletion_time: 1,
    });
    let mut mutation = MutationBuilder::new(schema.id, &key(channel));
    mutation.row(&clustering(schema, id), row.finish());
    mutation.build()
}

/// A deletion of a whole channel.
pub fn delete_channel(table: TableId, channel: i64, timestamp: i64) -> Mutation {
    let mut mutation = MutationBuilder::new(table, &key(channel));
    mutation.delete_partition(Deletion {
        timestamp,
        local_deletion_time: 1,
    });
    mutation.build()
}

/// A deletion of the messages from `newest` down to `oldest`.
pub fn delete_range(schema: &Schema, channel: i64, newest: i64, oldest: i64, timestamp: i64) -> Mutation {
    let (start, mut end) = (clustering(schema, newest), clustering(schema, oldest));
    end.push(0xFF);
    let mut mutation = MutationBuilder::new(schema.id, &key(channel));
    mutation.delete_range(
        &start,
        &end,
        Deletion {
            timestamp,
            local_deletion_time: 1,
        },
    );
    mutation.build()
}

/// The ids and contents of a page, in its order.
pub fn messages(schema: &Schema, page: &Page) -> Vec<(i64, String)> {
    let content = column(schema, "content");
    let rows = page.rows().map(|(clustering, row)| {
        let values = schema.decode_clustering(clustering).expect("a full key");
        let id = i64::from_be_bytes(values[0].as_slice().try_into().expect("a bigint"));
        let cell = row.cell(content).map(|cell| match cell.kind {
            model::CellKind::Live(value) | model::CellKind::Expiring { value, .. } => {
                String::from_utf8(value.to_vec()).expect("UTF-8")
            }
            other => panic!("a page has live cells: {other:?}"),
        });
        (id, cell.unwrap_or_default())
    });
    rows.collect()
}

/// All messages of a channel, newest first, read page by page.
pub async fn history(store: &Store, schema: &Schema, channel: i64, page_rows: usize) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    let mut read = Read {
        limit_rows: page_rows,
        ..Read::partition(schema.id, key(channel))
    };
    loop {
        let page = store.read(read.clone()).await.expect("a readable store");
        all.extend(messages(schema, &page));
        match page.more() {
            Some(rest) => read.slice = rest.clone(),
            None => return all,
        }
    }
}
