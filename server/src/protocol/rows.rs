//! Where rows come from: the engine, or the node's own tables.

use super::fail::{Doing, Done, Failure};
use super::local::Local;
use super::system::Partition;
use cql::language::TokenRange;
use engine::{Page, Read, Shard, TokenPosition};
use model::{Direction, RowRef, Schema, Slice, Token};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// Keys that a shard is asked for at once.
const KEYS: usize = 128;

/// Some rows of one partition.
pub(super) enum Chunk {
    Page(Page),
    Own {
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        statics: Option<Vec<u8>>,
        more: Option<Slice>,
    },
}

impl Chunk {
    /// The row at `index`.
    pub fn row(&self, index: usize) -> Option<(&[u8], RowRef<'_>)> {
        match self {
            Chunk::Page(page) => page.row(index),
            Chunk::Own { rows, .. } => rows.get(index).map(|(key, row)| (key.as_slice(), RowRef::trusted(row))),
        }
    }

    /// Bytes of its rows, about.
    pub fn bytes(&self) -> usize {
        match self {
            Chunk::Page(page) => page.bytes(),
            Chunk::Own { .. } => 0,
        }
    }

    pub fn statics(&self) -> Option<RowRef<'_>> {
        match self {
            Chunk::Page(page) => page.static_row(),
            Chunk::Own { statics, .. } => statics.as_deref().map(RowRef::trusted),
        }
    }

    pub fn more(&self) -> Option<&Slice> {
        match self {
            Chunk::Page(page) => page.more(),
            Chunk::Own { more, .. } => more.as_ref(),
        }
    }

    pub fn tombstones(&self) -> u64 {
        match self {
            Chunk::Page(page) => page.cost().tombstones,
            Chunk::Own { .. } => 0,
        }
    }
}

/// The rows of a table.
pub(super) enum Source {
    Engine,
    /// A table of the node's own: its partitions by token and key.
    Own(Vec<Partition>),
}

impl Source {
    /// Where the rows of a table are.
    pub async fn of(local: &Rc<Local>, table: &Schema) -> Done<Source> {
        match local.system.table(&table.keyspace, &table.name) {
            Some(_) => Ok(Source::Own(super::system::rows(local, table).await?)),
            None => Ok(Source::Engine),
        }
    }

    /// Rows of a slice of a partition.
    pub async fn read(&self, local: &Rc<Local>, read: Read) -> Done<Chunk> {
        match self {
            Source::Engine => {
                local.hop(local.shard.owner(model::token_of(&read.key)));
                let page = local.shard.read(read).await;
                page.map(Chunk::Page)
                    .map_err(|error| Failure::Engine(error, Doing::Read))
            }
            Source::Own(partitions) => {
                let partition = partitions.iter().find(|partition| partition.key == read.key);
                let all = partition.map(|partition| partition.rows.as_slice()).unwrap_or_default();
                let mut rows: Vec<_> = all
                    .iter()
                    .filter(|(key, _)| read.slice.contains(key))
                    .cloned()
                    .collect();
                if read.direction == Direction::Reverse {
                    rows.reverse();
                }
                let mut more = None;
                if rows.len() > read.limit_rows {
                    rows.truncate(read.limit_rows);
                    let last = rows.last().map(|(key, _)| key.clone()).unwrap_or_default();
                    more = Some(rest_after(&read.slice, &last, read.direction));
                }
                let statics = None;
                Ok(Chunk::Own { rows, statics, more })
            }
        }
    }

    /// The keys of a table's partitions within tokens, in order, from behind a key on.
    pub fn keys(&self, local: &Rc<Local>, table: &Arc<Schema>, tokens: TokenRange, after: Option<Vec<u8>>) -> Keys {
        let position = match &after {
            Some(key) => TokenPosition::AfterKey(model::token_of(key), key.clone()),
            None => TokenPosition::Before(tokens.first),
        };
        match self {
            Source::Engine => {
                let shards = local.node.identity.shards;
                let of_shard = |shard| OfShard {
                    shard: runtime::ShardId(shard),
                    keys: VecDeque::new(),
                    after: Some(position.clone()),
                };
                Keys::Engine {
                    table: table.id,
                    up_to: tokens.last,
                    shards: (0..shards).map(of_shard).collect(),
                }
            }
            Source::Own(partitions) => {
                let last = after.map(|key| (model::token_of(&key), key));
                let within = |partition: &&Partition| {
                    let token = model::token_of(&partition.key);
                    tokens.contains(token)
                        && last
                            .as_ref()
                            .is_none_or(|last| (token, &partition.key) > (last.0, &last.1))
                };
                Keys::Own(
                    partitions
                        .iter()
                        .filter(within)
                        .map(|partition| partition.key.clone())
                        .collect(),
                )
            }
        }
    }
}

fn rest_after(slice: &Slice, last: &[u8], direction: Direction) -> Slice {
    match direction {
        Direction::Forward => Slice {
            start: [last, &[0xFF]].concat(),
            end: slice.end.clone(),
        },
        Direction::Reverse => Slice {
            start: slice.start.clone(),
            end: last.to_vec(),
        },
    }
}

/// The keys that one shard has ready.
pub(super) struct OfShard {
    shard: runtime::ShardId,
    keys: VecDeque<(Token, Vec<u8>)>,
    /// Where it goes on; `None`: there are no more.
    after: Option<TokenPosition>,
}

/// Keys of partitions in the order of their tokens.
pub(super) enum Keys {
    Engine {
        table: model::TableId,
        up_to: Token,
        shards: Vec<OfShard>,
    },
    Own(VecDeque<Vec<u8>>),
}

impl Keys {
    /// The next key.
    pub async fn next(&mut self) -> Done<Option<Vec<u8>>> {
        let (table, up_to, shards) = match self {
            Keys::Own(keys) => return Ok(keys.pop_front()),
            Keys::Engine { table, up_to, shards } => (*table, *up_to, shards),
        };
        for of in shards.iter_mut() {
            if !of.keys.is_empty() {
                continue;
            }
            let Some(after) = of.after.take() else { continue };
            let found = Shard::partitions_from(of.shard, table, after, up_to, KEYS).await;
            let found = found.map_err(|error| Failure::Engine(error, Doing::Read))?;
            if found.len() == KEYS {
                let (token, key) = found.last().expect("there are some").clone();
                of.after = Some(TokenPosition::AfterKey(token, key));
            }
            of.keys = found.into();
        }
        let first = shards
            .iter_mut()
            .filter(|of| !of.keys.is_empty())
            .min_by(|a, b| a.keys[0].cmp(&b.keys[0]));
        Ok(first.and_then(|of| of.keys.pop_front()).map(|(_, key)| key))
    }
}
