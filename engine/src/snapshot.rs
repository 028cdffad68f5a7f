//! Snapshots, backups, and what is restored from them.
//!
//! A *snapshot* is a folder below the store with hard links of its table files and a manifest that names them: a store without logs,
//! made by a running one. It holds every write that was acknowledged before it was asked for, and perhaps some that came while it was
//! made. It takes no space until its files are gone from the store.
//!
//! A *backup* is the same in a folder elsewhere: [`copy`] takes over the table files that are not there yet, verifies each copy, and
//! names them last, so that a backup that is cut off leaves the one before as it was. [`copy`] with [`Purpose::Restore`] is the way
//! back: it makes a new store of either.
//!
//! Layout and order of the steps: `docs/format/README.md`.

use crate::check::{list, map};
use crate::error::{Answer, Error, Result};
use crate::layout;
use crate::manifest::state::{FileRecord, State};
use crate::manifest::{self, Manifest};
use crate::store::Store;
use runtime::disk;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest name of a snapshot, bytes.
const NAME_MAX: usize = 128;
/// What a copy is called until it is whole.
const UNFINISHED: &str = "copying";

/// A snapshot that was made.
///
/// [`Store::snapshot`](crate::Store::snapshot) makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its folder.
    pub path: PathBuf,
    /// Table files in it.
    pub files: u64,
    /// Their bytes; they take no space of their own while the store has the same files.
    pub bytes: u64,
}

impl Store {
    /// Flushes everything and makes a snapshot in `snapshots/NAME` of the store's directory. Reads and writes go on; flushes wait while
    /// the files are linked, some tens of microseconds each.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the name is no file's name, or there is a snapshot of this name. [`Error::Io`]: it is not made; what is left
    /// of it is taken away by the next one of this name.
    ///
    /// # Cancellation
    /// The snapshot may or may not be made.
    pub fn snapshot(&self, name: &str) -> Answer<'_, Snapshot> {
        let name = name.to_owned();
        Box::pin(async move {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if name.is_empty() || name.len() > NAME_MAX || name.starts_with('.') || !name.bytes().all(plain) {
                return Err(Error::invalid(format!(
                    "a snapshot cannot be called {name:?}: 1 to {NAME_MAX} letters, digits, '-', '_' and '.', the first of them no '.'"
                )));
            }
            self.call(runtime::ShardId(0), move |shard| async move {
                shard.node().snapshot(&name).await
            })
            .await?
        })
    }
}

/// What a snapshot of this state says: the same files, and no logs.
fn without_logs(state: &State) -> State {
    State {
        logs: Default::default(),
        flushed: Default::default(),
        obsolete: Default::default(),
        ..state.clone()
    }
}

/// Links the files of `state` into `to` and names them. Nobody changes the store's files meanwhile.
pub(crate) async fn link(store: &Path, state: &State, to: &Path) -> Result<Snapshot> {
    if disk::exists(&to.join(manifest::FILE_NAME)).await? {
        return Err(Error::invalid(format!(
            "there is a snapshot in {} already; choose another name, or remove it",
            to.display()
        )));
    }
    let mut made = Snapshot {
        path: to.to_owned(),
        files: 0,
        bytes: 0,
    };
    for table in state.tables.keys() {
        let dir = layout::table_dir(to, *table);
        disk::create_dir_all(&dir).await?;
        // What an earlier attempt has left may be of files that are gone.
        for entry in disk::list(&dir).await? {
            disk::remove(&dir.join(entry.name)).await?;
        }
        for file in state.files.values().filter(|file| file.table == *table) {
            let [from, to] = [store, to].map(|of| layout::table_file(of, file.table, file.generation));
            disk::link(&from, &to).await?;
            made.files += 1;
            made.bytes += file.bytes;
            runtime::breathe().await;
        }
        disk::sync_dir(&dir).await?;
    }
    disk::create_dir_all(&layout::tables_dir(to)).await?;
    disk::sync_dir(&layout::tables_dir(to)).await?;
    // The manifest last: a folder without one is no snapshot.
    Manifest::write_new(to, without_logs(state)).await?.close().await?;
    disk::sync_dir(&layout::snapshots_dir(store)).await?;
    disk::sync_dir(store).await?;
    Ok(made)
}

/// What [`copy`] is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To bring a backup up to date, or to begin one.
    Backup,
    /// To make a store where nothing is.
    Restore,
}

/// What a copy has done.
///
/// [`copy`] gives it.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Table files that were copied.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Table files that were there already, whole.
    pub present: u64,
    /// Table files that the backup no longer needs, removed.
    pub removed: u64,
}

/// Copies a snapshot or a backup in `from` to `to`, on the calling thread: table files that are not there yet, each verified as it was
/// read back, then the manifest. A file that is there is verified too, and copied again if it is damaged. `progress` is told of each
/// file and its length.
///
/// # Errors
/// [`Error::Refused`]: there is no snapshot in `from`; `to` is not empty ([`Purpose::Restore`]) or belongs to another store
/// ([`Purpose::Backup`]). [`Error::Corrupt`], [`Error::Missing`]: the snapshot is damaged, with the file; the backup in `to` is what it
/// was. [`Error::Io`].
pub fn copy(from: &Path, to: &Path, purpose: Purpose, mut progress: impl FnMut(&Path, u64)) -> Result<Copied> {
    let state = read_state(from)?;
    let before = match purpose {
        Purpose::Restore => {
            must_be_empty(to)?;
            None
        }
        Purpose::Backup => belonging(to, &state)?,
    };
    make_dir(&layout::tables_dir(to))?;
    let mut copied = Copied::default();
    for file in state.files.values() {
        let [source, target] = [from, to].map(|of| layout::table_file(of, file.table, file.generation));
        make_dir(&layout::table_dir(to, file.table))?;
        progress(&source, file.bytes);
        if target.exists() && verify(&target, file, &state).is_ok() {
            copied.present += 1;
            continue;
        }
        let unfinished = target.with_extension(UNFINISHED);
        copy_file(&source, &unfinished)?;
        if let Err(error) = verify(&unfinished, file, &state) {
            remove(&unfinished)?;
            // Whose fault it is: the one that was copied is read once more.
            verify(&source, file, &state)?;
            return Err(error);
        }
        rename(&unfinished, &target)?;
        copied.files += 1;
        copied.bytes += file.bytes;
    }
    for table in state.tables.keys() {
        let dir = layout::table_dir(to, *table);
        make_dir(&dir)?;
        sync(&dir)?;
    }
    sync(&layout::tables_dir(to))?;
    sync(to)?;
    // Every file that it names is there, whole and durable.
    let (source, named) = (from.join(manifest::FILE_NAME), to.join(manifest::NEW_NAME));
    copy_file(&source, &named)?;
    must_be_equal(&source, &named)?;
    rename(&named, &to.join(manifest::FILE_NAME))?;
    sync(to)?;
    if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync(parent)?;
    }
    let gone = before.iter().flat_map(|before| before.files.values());
    for file in gone.filter(|file| !state.files.contains_key(&file.generation)) {
        remove(&layout::table_file(to, file.table, file.generation))?;
        copied.removed += 1;
    }
    Ok(copied)
}

/// What the manifest of a snapshot or backup says.
pub(crate) fn read_state(dir: &Path) -> Result<State> {
    let path = dir.join(manifest::FILE_NAME);
    let bytes = match map(&path, manifest::FILE_MAX) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Refused {
                what: format!(
                    "{}: there is no snapshot and no backup here; one that was cut off has no {}",
                    dir.display(),
                    manifest::FILE_NAME
                ),
            });
        }
        bytes => bytes?,
    };
    let (state, _) = manifest::parse(&bytes).map_err(|damage| manifest::damaged(&path, damage))?;
    match state.logs.values().all(|log| log.clean) {
        true => Ok(state),
        false => Err(Error::Refused {
            what: format!(
                "{} is a store that was not closed, and its logs hold what no table file does: open and close it, or make a snapshot of it",
                dir.display()
            ),
        }),
    }
}

fn must_be_empty(dir: &Path) -> Result<()> {
    if list(dir)?.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        what: format!(
            "{} is not empty; restore into an empty or a new directory",
            dir.display()
        ),
    })
}

/// The backup in `dir`, if there is one; refuses a directory that is something else.
fn belonging(dir: &Path, state: &State) -> Result<Option<State>> {
    let names = list(dir)?;
    if !names.iter().any(|name| name == manifest::FILE_NAME) {
        layout::must_be_ours(dir, names)?;
        return Ok(None);
    }
    if names.iter().any(|name| name == "log") {
        let what = format!(
            "{} is a store of its own, no backup; name another directory",
            dir.display()
        );
        return Err(Error::Refused { what });
    }
    let before = read_state(dir)?;
    match before.host_id == state.host_id {
        true => Ok(Some(before)),
        false => Err(Error::Refused {
            what: format!("{} is a backup of another store; name another directory", dir.display()),
        }),
    }
}

/// Compares every byte of a table file with its checksum, and what it is with what the manifest says.
fn verify(path: &Path, file: &FileRecord, state: &State) -> Result<()> {
    let corrupt = |offset: u64, what: String| Error::Corrupt {
        path: path.to_owned(),
        offset,
        what,
    };
    let bytes = match map(path, file.bytes + 1) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing { path: path.to_owned() });
        }
        bytes => bytes?,
    };
    if bytes.len() as u64 != file.bytes {
        let what = format!("{} bytes long, the manifest says {}", bytes.len(), file.bytes);
        return Err(corrupt(file.bytes.min(bytes.len() as u64), what));
    }
    sstable::offline::verify(&bytes).map_err(|damage| corrupt(damage.offset, damage.what.to_owned()))?;
    let stats = sstable::offline::stats(&bytes).map_err(|damage| corrupt(damage.offset, damage.what.to_owned()))?;
    match (stats.host_id, stats.table, stats.generation) == (state.host_id, file.table, file.generation) {
        true => Ok(()),
        false => Err(Error::foreign(path)),
    }
}

/// Compares the copy of a manifest with what was copied, byte by byte.
fn must_be_equal(source: &Path, copy: &Path) -> Result<()> {
    let [of, is] = [map(source, manifest::FILE_MAX)?, map(copy, manifest::FILE_MAX)?];
    if of[..] == is[..] {
        return Ok(());
    }
    let same = of.iter().zip(&is[..]).take_while(|(a, b)| a == b).count();
    Err(Error::Corrupt {
        path: copy.to_owned(),
        offset: same as u64,
        what: format!("the copy differs from {}; copy again", source.display()),
    })
}

fn failed(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::NotFound if op == "open" => Error::Missing { path },
        _ => Error::Io {
            op,
            path,
            offset: 0,
            source: Arc::new(source),
        },
    }
}

#[expect(clippy::disallowed_methods, reason = "between closed stores: no shard runs")]
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(failed("open", from))?;
    let mut target = File::create(to).map_err(failed("create", to))?;
    io::copy(&mut source, &mut target).map_err(failed("copy to", to))?;
    target.sync_all().map_err(failed("sync", to))
}

#[expect(clippy::disallowed_methods, reason = "between closed stores: no shard runs")]
fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(failed("create directory", dir))
}

#[expect(clippy::disallowed_methods, reason = "between closed stores: no shard runs")]
fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(failed("rename", from))
}

#[expect(clippy::disallowed_methods, reason = "between closed stores: no shard runs")]
fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(failed("remove", path))
}

#[expect(clippy::disallowed_methods, reason = "between closed stores: no shard runs")]
fn sync(dir: &Path) -> Result<()> {
    let opened = File::open(dir).map_err(failed("open", dir))?;
    opened.sync_all().map_err(failed("sync of directory", dir))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "no shard runs")]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_differs_is_named_with_the_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let [source, copy] = ["source", "copy"].map(|name| dir.path().join(name));
        fs::write(&source, b"manifest").expect("written");
        for (bytes, place) in [(&b"manifest"[..], None), (b"manifesT", Some(7)), (b"manif", Some(5))] {
            fs::write(&copy, bytes).expect("written");
            let offset = match must_be_equal(&source, &copy) {
                Ok(()) => None,
                Err(Error::Corrupt { offset, path, .. }) if path == copy => Some(offset),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(offset, place);
        }
    }
}
