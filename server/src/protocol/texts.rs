//! Prepared statements: what all shards know of them, and what outlives the node.
//!
//! An id is a function of keyspace and text alone. Whoever has prepared a statement may execute it by its id on each shard, and after a
//! restart: a text is a row of `system.prepared_statements` before its id leaves in an answer.
//!
//! Rows are sent without their columns only while all clients can have been told the same ones. A definition reaches the shards one after
//! the other, so two of them may tell different columns at the same time, in either order; that they have is known to all before the
//! second answer leaves, and outlives the node as well.

use super::fail::{Doing, Done, Failure};
use super::local::Local;
use super::prepared::Statement;
use cql::frame::WriteType;
use engine::{Read, Store};
use futures_util::future::BoxFuture;
use model::{CqlType, Insert, ModelError, Mutation, Schema, TableOptions, TypedRow, Value};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The table's keyspace and name.
pub(super) const TABLE: (&str, &str) = ("system", "prepared_statements");

/// A prepared statement's text and the keyspace that was in use.
pub(super) type Text = Arc<(Option<String>, String)>;
/// The id of a prepared statement: of its keyspace and text alone.
pub(super) type StatementId = [u8; 16];

/// Prepared texts that are remembered: beyond, the ones prepared longest ago are forgotten.
const TEXTS_MAX: usize = 50_000;
/// And bytes of them.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// The id of the row that says that some have been forgotten; no text has it but by chance.
const FORGOTTEN: StatementId = [0; 16];

/// The table: Cassandra's, and what is known of the columns.
pub(super) fn schema() -> Schema {
    Schema::builder(TABLE.0, TABLE.1)
        .partition_key("prepared_id", CqlType::Blob)
        .regular("first_result", CqlType::BigInt)
        .regular("has_changed", CqlType::Boolean)
        .regular("logged_keyspace", CqlType::Text)
        .regular("query_string", CqlType::Text)
        .options(TableOptions {
            // One node: no other one has to hear of what is forgotten.
            gc_grace_seconds: 0,
            ..TableOptions::default()
        })
        .build()
        .expect("our own definition is legal")
}

/// The id of a statement.
pub(super) fn id_of(keyspace: Option<&str>, text: &str) -> StatementId {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    // No name has a zero byte.
    hasher.update(keyspace.unwrap_or_default().as_bytes());
    hasher.update(&[0]);
    hasher.update(text.as_bytes());
    hasher.digest128().to_be_bytes()
}

/// What is known of a statement that was prepared.
struct Known {
    text: Text,
    /// The result's columns as they were first: a hash of them.
    first_result: u64,
    /// Others have been told since: whoever was told the first ones would misread rows without them.
    has_changed: Arc<AtomicBool>,
    /// The columns that were told when it was prepared last; `None`: it is to be prepared again.
    told_result: Option<u64>,
    /// What is on disk of it: `has_changed` as it was; `None`: nothing.
    saved: Option<bool>,
}

/// The prepared statements of a node.
#[derive(Default)]
pub struct Texts(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    by_id: BTreeMap<StatementId, Known>,
    by_age: BTreeMap<u64, StatementId>,
    next_age: u64,
    bytes: usize,
    /// Some have been forgotten: of one that is not known it is not known either which columns were told.
    has_forgotten: bool,
    /// Those of which there may be a row still.
    forgotten: BTreeSet<StatementId>,
}

/// What must be on disk before the statement's client is answered.
pub(super) struct Unsaved {
    id: StatementId,
    text: Text,
    first_result: u64,
    has_changed: bool,
    forgotten: BTreeSet<StatementId>,
}

impl Texts {
    /// Remembers a prepared statement for all shards, and that its client is told the columns that it has now.
    ///
    /// # Errors
    /// Another text has the same id, which nobody will see by chance.
    pub(super) fn remember(&self, statement: &Statement, keyspace: Option<&str>) -> Done<Option<Unsaved>> {
        let (id, result) = (statement.id, statement.result_hash);
        let mut inner = self.0.lock();
        match inner.by_id.get_mut(&id) {
            Some(known) => {
                if (known.text.0.as_deref(), known.text.1.as_str()) != (keyspace, &*statement.text) {
                    return Err(Failure::invalid(
                        "another statement has the same id; add a blank to one of them",
                    ));
                }
                if known.first_result != result {
                    known.has_changed.store(true, Ordering::Release);
                }
                known.told_result = Some(result);
            }
            None => {
                let known = Known {
                    text: Arc::new((keyspace.map(str::to_owned), statement.text.to_string())),
                    first_result: result,
                    has_changed: Arc::new(inner.has_forgotten.into()),
                    told_result: Some(result),
                    saved: None,
                };
                inner.insert(id, known);
            }
        }
        let Some(known) = inner.by_id.get(&id) else {
            return Err(Failure::invalid(
                "the text is too long to be remembered; send it as a query",
            ));
        };
        let has_changed = known.has_changed.load(Ordering::Acquire);
        let unsaved = || Unsaved {
            id,
            text: Arc::clone(&known.text),
            first_result: known.first_result,
            has_changed,
            forgotten: inner.forgotten.clone(),
        };
        Ok((known.saved != Some(has_changed)).then(unsaved))
    }

    /// The text of an id.
    pub(super) fn text_of(&self, id: &StatementId) -> Option<Text> {
        let inner = self.0.lock();
        let known = inner.by_id.get(id).filter(|known| known.told_result.is_some());
        known.map(|known| Arc::clone(&known.text))
    }

    /// Forgets a statement whose rows have other columns than were told, so that it is prepared again; false if they have not.
    ///
    /// Cassandra does so with all statements of a table that was altered, and there are drivers that never look at the columns that
    /// come with rows.
    pub(super) fn forget_changed(&self, statement: &Statement) -> bool {
        let mut inner = self.0.lock();
        let Some(known) = inner.by_id.get_mut(&statement.id) else {
            return true;
        };
        let is_told = known.told_result == Some(statement.result_hash);
        if !is_told {
            known.told_result = None;
        }
        !is_told
    }

    /// Whether nobody was told other columns than the statement's rows have.
    pub(super) fn has_one_result(&self, statement: &Statement) -> bool {
        let has_changed = statement.has_changed.get_or_init(|| {
            let inner = self.0.lock();
            match inner.by_id.get(&statement.id) {
                Some(known) if known.first_result == statement.result_hash => Arc::clone(&known.has_changed),
                // It was forgotten meanwhile, or checked while its table changes.
                _ => Arc::new(true.into()),
            }
        });
        !has_changed.load(Ordering::Acquire)
    }

    fn saved(&self, unsaved: &Unsaved) {
        let mut inner = self.0.lock();
        inner.forgotten.retain(|id| !unsaved.forgotten.contains(id));
        if let Some(known) = inner.by_id.get_mut(&unsaved.id) {
            // What was written later says more.
            known.saved = Some(unsaved.has_changed || known.saved == Some(true));
        }
    }
}

impl Inner {
    /// Enters a statement; those prepared longest ago make room for it.
    fn insert(&mut self, id: StatementId, known: Known) {
        let age = self.next_age;
        self.next_age += 1;
        self.bytes += known.text.1.len();
        self.by_age.insert(age, id);
        self.by_id.insert(id, known);
        self.forgotten.remove(&id);
        while self.by_id.len() > TEXTS_MAX || self.bytes > TEXT_BYTES_MAX {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                break;
            };
            let gone = self.by_id.remove(&oldest).expect("each has one age");
            self.bytes -= gone.text.1.len();
            // For whoever has it still: of what comes after it nothing is known.
            gone.has_changed.store(true, Ordering::Release);
            self.forgotten.insert(oldest);
            self.has_forgotten = true;
        }
    }
}

/// Writes what must be on disk before a statement's client is answered.
///
/// # Errors
/// As [`engine::Shard::apply`]; what was not written is written with the next statement.
pub(super) async fn save(local: &Local, unsaved: Unsaved) -> Done<()> {
    let of_table = |error: engine::Error| Failure::Engine(error, Doing::Write(WriteType::Simple));
    let Some(table) = local.shard.schema(TABLE.0, TABLE.1) else {
        return Err(Failure::invalid(
            "the table of prepared statements is missing; start the server again",
        ));
    };
    let timestamp = local.shard.timestamp().await.map_err(of_table)?;
    let mut mutations = Vec::new();
    if !unsaved.forgotten.is_empty() {
        let marker = Insert::into(&table).set("prepared_id", Value::Blob(FORGOTTEN.to_vec()));
        let marker = marker.and_then(|row| row.set("has_changed", true));
        mutations.push(marker.and_then(|row| row.at(timestamp)));
    }
    let of_gone = |id: &StatementId| Ok(super::batch_log::forget(&table, id, timestamp));
    mutations.extend(unsaved.forgotten.iter().map(of_gone));
    mutations.push(row_of(&table, &unsaved, timestamp));
    for mutation in mutations {
        let mutation = mutation.map_err(cql::language::Error::from)?;
        local.shard.apply(mutation).await.map_err(of_table)?;
    }
    local.node.texts.saved(&unsaved);
    Ok(())
}

fn row_of(table: &Schema, unsaved: &Unsaved, timestamp: i64) -> Result<Mutation, ModelError> {
    let mut row = Insert::into(table)
        .set("prepared_id", Value::Blob(unsaved.id.to_vec()))?
        .set("first_result", unsaved.first_result.cast_signed())?
        .set("query_string", unsaved.text.1.as_str())?;
    if let Some(keyspace) = &unsaved.text.0 {
        row = row.set("logged_keyspace", keyspace.as_str())?;
    }
    // Never unsaid: of two writers one may know less.
    if unsaved.has_changed {
        row = row.set("has_changed", true)?;
    }
    row.at(timestamp)
}

impl Texts {
    /// The statements that were prepared before the node started.
    ///
    /// # Errors
    /// As [`Store::create_table`] and [`Store::scan_as`]; [`engine::Error::Invalid`] for rows that are none of ours.
    pub fn load(store: &Store) -> BoxFuture<'_, engine::Result<Texts>> {
        Box::pin(async move {
            let table = store.create_table(schema(), true).await?;
            let mut found = Vec::new();
            let mut inner = Inner::default();
            let mut scan = store.scan_as(Read::partition(table.id, Vec::new()));
            while let Some((key, page)) = scan.next().await? {
                for (clustering, row) in page.rows() {
                    let id: StatementId = key
                        .as_slice()
                        .try_into()
                        .map_err(|_| damaged("an id is not 16 bytes"))?;
                    if id == FORGOTTEN {
                        inner.has_forgotten = true;
                        continue;
                    }
                    let typed = TypedRow::new(&table, &key, clustering, row);
                    found.push((row.max_timestamp(), id, known(&typed).map_err(damaged)?));
                }
            }
            // Those prepared longest ago first.
            found.sort_by_key(|(timestamp, id, _)| (*timestamp, *id));
            // Those that were forgotten when the node ended are so again, and their rows go with the next one that is saved.
            for (_, id, known) in found {
                inner.insert(id, known);
            }
            Ok(Texts(inner.into()))
        })
    }
}

fn known(row: &TypedRow<'_>) -> Result<Known, ModelError> {
    let first_result = row.get::<i64>("first_result")?.cast_unsigned();
    let has_changed = row.get::<Option<bool>>("has_changed")?.unwrap_or(false);
    Ok(Known {
        text: Arc::new((row.get("logged_keyspace")?, row.get("query_string")?)),
        first_result,
        has_changed: Arc::new(has_changed.into()),
        // Which of them was told last is not known.
        told_result: (!has_changed).then_some(first_result),
        saved: Some(has_changed),
    })
}

fn damaged(error: impl std::fmt::Display) -> engine::Error {
    engine::Error::Invalid {
        what: format!("a row of system.prepared_statements is damaged: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::View;
    use super::super::system::System;
    use super::*;

    fn statement(view: &View, text: &str) -> Statement {
        Statement::check(text, None, view, id_of(None, text), 0).expect("a legal text")
    }

    #[test]
    fn whose_text_makes_room_for_another_is_forgotten_for_good() {
        let view = View {
            definitions: Arc::default(),
            system: Arc::new(System::new()),
        };
        let texts = Texts::default();
        let remember = |statement: &Statement| texts.remember(statement, None).expect("another id");
        let oldest = statement(&view, "SELECT key FROM system.local");
        let saved = remember(&oldest).expect("it is new");
        assert!(!saved.has_changed && saved.forgotten.is_empty());
        texts.saved(&saved);
        assert!(remember(&oldest).is_none(), "it is on disk");
        assert!(texts.has_one_result(&oldest));
        // Few, and long.
        let long = |at: usize| {
            format!(
                "SELECT key FROM system.local /* {at} {} */",
                "x".repeat(TEXT_BYTES_MAX / 8)
            )
        };
        let more: Vec<Statement> = (0..8).map(|at| statement(&view, &long(at))).collect();
        let all: Vec<Unsaved> = more.iter().filter_map(remember).collect();
        assert_eq!(all.len(), 8, "each is new");
        assert!(texts.text_of(&oldest.id).is_none(), "there is no room for it");
        assert!(
            !texts.has_one_result(&oldest),
            "whoever has it still is told the columns"
        );
        // The last one could not be saved: its successor says what is to go.
        let last = remember(&more[7]).expect("it is not on disk");
        assert!(last.forgotten.contains(&oldest.id));
        assert!(!last.has_changed, "nothing had been forgotten before it came");
        texts.saved(&last);
        let again = remember(&oldest).expect("it is new again");
        assert!(again.has_changed, "which columns were told of it before is not known");
        assert!(!again.forgotten.contains(&oldest.id), "its row is not to go");
        assert!(!texts.has_one_result(&statement(&view, "SELECT key FROM system.local")));
    }
}
