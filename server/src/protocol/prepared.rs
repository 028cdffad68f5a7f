//! Checked statements with what is encoded of them once.

use super::catalog::View;
use super::texts::StatementId;
use cql::frame::{Column, Metadata};
use cql::language::{Prepared, prepare};
use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A checked statement.
pub(super) struct Statement {
    pub id: StatementId,
    /// The shard's epoch of definitions that it was checked at.
    pub epoch: u64,
    pub prepared: Arc<Prepared>,
    pub markers: Metadata,
    /// The columns of its rows, if it has any.
    pub result: Option<Metadata>,
    /// Of the columns of its rows.
    pub result_hash: u64,
    /// Whether others were told; asked for once.
    pub has_changed: OnceCell<Arc<AtomicBool>>,
    /// The text, for traces and warnings.
    pub text: Arc<str>,
}

impl Statement {
    pub fn check(
        text: &str,
        keyspace: Option<&str>,
        view: &View,
        id: StatementId,
        epoch: u64,
    ) -> cql::language::Result<Statement> {
        let prepared = prepare(text, keyspace, view)?;
        let (keyspace, table) = match prepared.table() {
            Some(table) => (table.keyspace.as_str(), table.name.as_str()),
            None => ("", ""),
        };
        let markers = Metadata::new(prepared.markers.iter().map(|marker| Column {
            keyspace,
            table,
            name: &marker.name,
            ty: &marker.ty,
        }));
        let result = prepared.result().map(|columns| {
            Metadata::new(columns.iter().map(|column| Column {
                keyspace,
                table,
                name: &column.name,
                ty: &column.ty,
            }))
        });
        let described = prepared.result().map(|columns| {
            let columns: Vec<_> = columns.iter().map(|column| (&column.name, &column.ty)).collect();
            format!("{columns:?}")
        });
        Ok(Statement {
            id,
            result_hash: xxhash_rust::xxh3::xxh3_64(described.unwrap_or_default().as_bytes()),
            has_changed: OnceCell::new(),
            epoch,
            markers,
            result,
            prepared: Arc::new(prepared),
            text: text.into(),
        })
    }
}
