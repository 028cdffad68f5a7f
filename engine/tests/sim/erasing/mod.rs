//! `DROP TABLE` and `TRUNCATE` on the simulated disk: what is gone stays gone, what stays is whole, whatever happens when.

mod crash;
mod load;
mod rest;

use crate::common::{chat, history};
use crate::simulated;
use model::Schema;
use scrollback_engine::{Config, Store, manifest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What `story` gives under a break; a panic is noticed, too.
#[cfg(feature = "breaks")]
fn broken<T>(which: runtime::Break, story: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let story = std::panic::AssertUnwindSafe(|| runtime::with_break(which, story));
    std::panic::catch_unwind(story).unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// What must hold, or why it does not.
type Verdict = Result<(), String>;

fn must_be<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Verdict {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, expected {expected:?}")),
    }
}

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Erasure {
    Drop,
    Truncate,
}

fn config() -> Config {
    simulated::small("/store")
}

fn other() -> Schema {
    Schema {
        name: "other".to_owned(),
        ..chat()
    }
}

/// Ids by channel.
type Ids = BTreeMap<i64, BTreeSet<i64>>;

async fn ids(store: &Store, schema: &Schema, channels: i64) -> Ids {
    let mut all = Ids::new();
    for channel in 0..channels {
        let of_channel = history(store, schema, channel, 7).await;
        all.insert(channel, of_channel.into_iter().map(|(id, _)| id).collect());
    }
    all
}

/// Table files that the manifest names and that are not there, or the other way round.
fn files_match(disk: &runtime::sim::SimDisk) -> Verdict {
    let bytes = disk.read_file("/store/MANIFEST").expect("a store");
    let state = manifest::parse(&bytes).expect("a whole manifest").0;
    let path = |table: u32, generation: u64| PathBuf::from(format!("/store/tables/{table:05}/{generation:012}.sst"));
    let named = state.files.into_values();
    let named: BTreeSet<PathBuf> = named.map(|file| path(file.table.0, file.generation)).collect();
    let files = disk.list().into_iter();
    let present: BTreeSet<PathBuf> = files.filter(|path| path.starts_with("/store/tables")).collect();
    must_be("files on disk", &present, &named)
}
