//! Verification of every byte of a closed store, without opening it.
//!
//! The manifest is walked, each sstable that it names is read whole, each log from its floor on. Nothing is changed. Files are
//! mapped, so that none of them need fit in memory.

use crate::error::{Error, Result};
use crate::layout;
use crate::manifest::{self, state::State};
use commitlog::format::{SegmentHeader, SegmentName};
use commitlog::inspect::{LogDamage, inspect_log};
use sstable::offline::Map;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FOREIGN: &str = "written by another store than the manifest here";

/// A place where bytes contradict their checksum or format.
///
/// [`Checked`] has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The file.
    pub path: PathBuf,
    /// Where in it, bytes.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

/// What the verification found.
///
/// [`check`](fn@check) gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The damage; empty if the store is whole.
    pub damaged: Vec<Damaged>,
    /// Logs that end in a group, and manifests in an edit, that a crash cut off and that was never acknowledged.
    pub torn: u64,
}

/// Reads every byte of the store in `dir` and compares it with its checksum. `progress` is told of each file and its length.
///
/// # Errors
/// [`Error::Refused`]: there is no store, or it is open elsewhere. [`Error::Io`]: a file cannot be read. Damage is no error
/// but a finding.
pub fn check(dir: &Path, mut progress: impl FnMut(&Path, u64)) -> Result<Checked> {
    crate::must_be_store(dir)?;
    let _lock = runtime::checks::lock_directory(dir)?;
    let mut found = Checked::default();
    let path = dir.join(manifest::FILE_NAME);
    let bytes = map(&path, manifest::FILE_MAX)?;
    found.saw(&path, &bytes, &mut progress);
    let parsed = manifest::check_len(&path, bytes.len() as u64)
        .and_then(|()| manifest::parse(&bytes).map_err(|damage| manifest::damaged(&path, damage)));
    let state = match parsed {
        Ok((state, inspection)) => {
            found.torn += u64::from(inspection.torn);
            state
        }
        Err(Error::Corrupt { offset, what, .. }) => {
            found.damage(&path, offset, what);
            return Ok(found);
        }
        Err(error) => {
            found.damage(&path, 0, error.to_string());
            return Ok(found);
        }
    };
    for file in state.files.values() {
        let path = layout::table_file(dir, file.table, file.generation);
        let bytes = match map(&path, file.bytes) {
            Ok(bytes) => bytes,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                found.damage(&path, 0, "the manifest names this file and it is missing".to_owned());
                continue;
            }
            Err(error) => return Err(error),
        };
        found.saw(&path, &bytes, &mut progress);
        if bytes.len() as u64 != file.bytes {
            found.damage(
                &path,
                bytes.len() as u64,
                format!("{} bytes long, the manifest says {}", bytes.len(), file.bytes),
            );
        } else if let Err(damage) = sstable::offline::verify(&bytes) {
            found.damage(&path, damage.offset, damage.what.to_owned());
        } else if sstable::offline::stats(&bytes).is_ok_and(|stats| {
            (stats.host_id, stats.table, stats.generation) != (state.host_id, file.table, file.generation)
        }) {
            found.damage(&path, 0, FOREIGN.to_owned());
        }
    }
    for shard in state.log_shards() {
        check_log(dir, &state, shard, &mut found, &mut progress)?;
    }
    Ok(found)
}

fn check_log(
    dir: &Path,
    state: &State,
    shard: u16,
    found: &mut Checked,
    progress: &mut impl FnMut(&Path, u64),
) -> Result<()> {
    let folder = layout::log_dir(dir, shard);
    let log = state.log(shard);
    let mut segments: Vec<(SegmentName, Map)> = Vec::new();
    for name in list(&folder)? {
        let Some(segment) = SegmentName::parse(&name).filter(|segment| segment.id >= log.floor) else {
            continue;
        };
        let path = folder.join(&name);
        let bytes = map(&path, commitlog::SEGMENT_BYTES_MAX)?;
        found.saw(&path, &bytes, progress);
        if SegmentHeader::decode(&bytes).is_ok_and(|header| (header.host_id, header.shard) != (state.host_id, shard)) {
            found.damage(&path, 0, FOREIGN.to_owned());
            return Ok(());
        }
        segments.push((segment, bytes));
    }
    if segments.is_empty() {
        if !log.clean {
            found.damage(&folder, 0, format!("the log's segment {} is missing", log.floor));
        }
        return Ok(());
    }
    let views: Vec<(SegmentName, &[u8])> = segments.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
    match inspect_log(&views, log.floor, |_, _| {}) {
        Ok(inspected) => found.torn += u64::from(inspected.torn),
        Err(LogDamage::Corrupt { name, damage }) => {
            found.damage(&folder.join(name.to_string()), damage.offset, damage.what.to_owned());
        }
        Err(LogDamage::Missing { segment }) => {
            found.damage(&folder, 0, format!("the log's segment {segment} is missing"))
        }
        Err(LogDamage::Stale { name, oldest }) => {
            let what = format!("the manifest is older than the log, which is needed from segment {oldest} on only");
            found.damage(&folder.join(name.to_string()), 24, what);
        }
        Err(LogDamage::TooNew { name, found: version }) => {
            found.damage(
                &folder.join(name.to_string()),
                0,
                format!("format version {version} of a newer release"),
            );
        }
    }
    Ok(())
}

impl Checked {
    fn saw(&mut self, path: &Path, bytes: &[u8], progress: &mut impl FnMut(&Path, u64)) {
        self.files += 1;
        self.bytes += bytes.len() as u64;
        progress(path, bytes.len() as u64);
    }

    fn damage(&mut self, path: &Path, offset: u64, what: String) {
        self.damaged.push(Damaged {
            path: path.to_owned(),
            offset,
            what,
        });
    }
}

/// Maps a file, of which at most `len_max` bytes matter. These are read once before: a place that the device cannot read fails
/// a read, but would kill a process that meets it in a map.
#[expect(clippy::disallowed_methods, reason = "the store is closed: no shard runs")]
pub(crate) fn map(path: &Path, len_max: u64) -> Result<Map> {
    let failed = |source| Error::Io {
        op: "read",
        path: path.to_owned(),
        offset: 0,
        source: Arc::new(source),
    };
    let file = File::open(path).map_err(failed)?;
    let mut file = BufReader::with_capacity(1 << 20, file.take(len_max));
    io::copy(&mut file, &mut io::sink()).map_err(failed)?;
    Map::open(path).map_err(failed)
}

#[expect(clippy::disallowed_methods, reason = "the store is closed: no shard runs")]
pub(crate) fn list(folder: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::Io {
        op: "list",
        path: folder.to_owned(),
        offset: 0,
        source: Arc::new(source),
    };
    let mut names = Vec::new();
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                names.extend(entry.map_err(failed)?.file_name().into_string());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    names.sort();
    Ok(names)
}
