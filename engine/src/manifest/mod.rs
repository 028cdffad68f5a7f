//! The manifest: one append-only log of edits for the whole node, written by shard 0.
//!
//! 1. An edit is one aligned O_DSYNC write into the preallocated file, followed by a *vouch*, a second small write that
//!    says the first is durable. Only then has the edit happened: damage of an edit that counts is never mistaken for a
//!    torn tail.
//! 2. A full manifest is written anew: the state as one record into `MANIFEST.new`, synced, renamed over `MANIFEST`,
//!    the directory synced. Opening a store does the same, so a torn tail never stays.
//! 3. A failed write poisons the manifest: whether the edit happened is known only after reopening.
//!
//! Bytes: `docs/format/manifest.md`.

pub mod format;
pub mod state;

use crate::error::{Error, Result};
use format::{Damage, Inspection, Invalid, RecordKind};
use runtime::disk::{self, Buf, CreateOptions, File};
use state::{Edit, State};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Name of the manifest in the store's directory.
pub const FILE_NAME: &str = "MANIFEST";
pub(crate) const NEW_NAME: &str = "MANIFEST.new";
/// Smallest preallocation, bytes.
const CAPACITY_MIN: u64 = 1 << 20;
/// A manifest larger than this is foreign or damaged, bytes.
pub(crate) const FILE_MAX: u64 = 1 << 30;

/// The open manifest; only shard 0 has one.
pub struct Manifest {
    dir: PathBuf,
    file: File,
    id: u64,
    sequence: u64,
    offset: u64,
    capacity: u64,
    state: State,
    failed: bool,
}

/// Refuses a manifest that is too long to be one, before any of it is read.
pub(crate) fn check_len(path: &Path, len: u64) -> Result<()> {
    if len <= FILE_MAX {
        return Ok(());
    }
    Err(Error::Corrupt {
        path: path.to_owned(),
        offset: FILE_MAX,
        what: format!("a manifest of {len} bytes; it is never longer than {FILE_MAX}"),
    })
}

/// Turns damage of a manifest into the error that names it.
pub(crate) fn damaged(path: &Path, damage: Damage) -> Error {
    match damage.what {
        Invalid::Version(found) => Error::TooNew {
            path: path.to_owned(),
            found,
            newest_known: format::VERSION,
        },
        Invalid::Bytes(what) => Error::Corrupt {
            path: path.to_owned(),
            offset: damage.offset,
            what: what.to_owned(),
        },
    }
}

impl Manifest {
    /// Reads the manifest of the store in `dir`, if there is one, and what a walk over it found.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::TooNew`] or [`Error::Io`], each naming the file.
    pub async fn read(dir: &Path) -> Result<Option<(State, Inspection)>> {
        let path = dir.join(FILE_NAME);
        if !disk::exists(&path).await? {
            return Ok(None);
        }
        let file = File::open_read(&path).await?;
        let len = file.len().await?;
        check_len(&path, len)?;
        let mut bytes = Vec::with_capacity(usize::try_from(len).expect("at most FILE_MAX"));
        while (bytes.len() as u64) < len {
            let rest = usize::try_from(len - bytes.len() as u64).expect("at most FILE_MAX");
            bytes.extend_from_slice(&file.read(bytes.len() as u64, rest.min(1 << 20)).await?);
            runtime::breathe().await;
        }
        file.close().await?;
        let (state, found) = parse(&bytes).map_err(|damage| damaged(&path, damage))?;
        Ok(Some((state, found)))
    }

    /// Writes `state` as a new manifest of the store in `dir`, in place of the present one, and opens it.
    ///
    /// # Errors
    /// [`Error::Io`]: which of the two manifests holds is known only after reopening.
    pub async fn write_new(dir: &Path, state: State) -> Result<Manifest> {
        let manifest = Self::prepare(dir, state).await?;
        manifest.install().await?;
        Ok(manifest)
    }

    /// Writes `state` as a manifest beside the present one.
    ///
    /// # Errors
    /// [`Error::Io`]: the present manifest, if there is one, still holds.
    async fn prepare(dir: &Path, state: State) -> Result<Manifest> {
        let new_path = dir.join(NEW_NAME);
        if disk::exists(&new_path).await? {
            disk::remove(&new_path).await?;
        }
        let payload = state::encode_edits(&state.edits());
        let len = format::padded_len(payload.len());
        let capacity = (4 * len as u64).next_multiple_of(CAPACITY_MIN);
        let file = File::create(
            &new_path,
            CreateOptions {
                dsync: true,
                preallocate_bytes: capacity,
            },
        )
        .await?;
        let id = runtime::random::u64();
        let dir = dir.to_owned();
        let mut manifest = Manifest {
            dir,
            file,
            id,
            sequence: 0,
            offset: 0,
            capacity,
            state,
            failed: false,
        };
        manifest.write_record(RecordKind::Edits, &payload).await?;
        manifest.write_record(RecordKind::Vouch, &[]).await?;
        // The size and the blocks of the file are metadata that O_DSYNC covers only as far as the data need them.
        manifest.file.sync().await?;
        Ok(manifest)
    }

    /// Puts a prepared manifest in the place of the present one.
    async fn install(&self) -> Result<()> {
        disk::rename(&self.dir.join(NEW_NAME), &self.dir.join(FILE_NAME)).await?;
        Ok(disk::sync_dir(&self.dir).await?)
    }

    /// Whether it takes no more edits: one of them has failed, and may have happened all the same.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// Directory of the store.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The state that all durable edits make.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Makes `edits` happen together: durable, and in [`state`](Self::state), when this returns.
    ///
    /// # Errors
    /// [`Error::Io`]: if the manifest [has failed](Self::is_failed), whether the edits happened is unknown, and it takes no
    /// more: reopen the store. Else there was no room for a longer manifest, and nothing has happened.
    pub async fn append(&mut self, edits: Vec<Edit>) -> Result<()> {
        if self.failed {
            return Err(Error::Poisoned {
                what: "an earlier write of the manifest failed; reopen the store".to_owned(),
            });
        }
        let payload = state::encode_edits(&edits);
        let need = (format::padded_len(payload.len()) + format::RECORD_ALIGN) as u64;
        // Until it has ended well, it may have happened or not: also if the caller goes away meanwhile.
        self.failed = true;
        if self.offset + need <= self.capacity {
            self.write_edits(&payload).await?;
        } else {
            self.rewrite_with(&edits).await?;
        }
        self.failed = false;
        apply(&mut self.state, edits);
        Ok(())
    }

    async fn write_edits(&mut self, payload: &[u8]) -> Result<()> {
        self.write_record(RecordKind::Edits, payload).await?;
        self.write_record(RecordKind::Vouch, &[]).await
    }

    /// Writes a new file that holds the state and `edits`; the caller applies them.
    async fn rewrite_with(&mut self, edits: &[Edit]) -> Result<()> {
        let mut next = self.state.clone();
        apply(&mut next, edits.to_vec());
        let mut new = Manifest::prepare(&self.dir, next).await.inspect_err(|error| {
            // The present manifest holds as it is.
            self.failed = !error.is_no_space();
        })?;
        new.install().await?;
        new.state = std::mem::take(&mut self.state);
        std::mem::replace(self, new).file.close().await?;
        Ok(())
    }

    async fn write_record(&mut self, kind: RecordKind, payload: &[u8]) -> Result<()> {
        let mut buf = Buf::zeroed(format::padded_len(payload.len()));
        format::encode(kind, self.id, self.sequence, self.offset, payload, &mut buf);
        let len = buf.len() as u64;
        self.file.write(self.offset, Rc::new(buf)).await?;
        self.sequence += 1;
        self.offset += len;
        Ok(())
    }

    /// Closes the file.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is lost by it.
    pub async fn close(self) -> Result<()> {
        Ok(self.file.close().await?)
    }
}

fn apply(state: &mut State, edits: Vec<Edit>) {
    for edit in edits {
        if let Err(what) = state.apply(edit) {
            panic!("an edit that contradicts the manifest: {what}");
        }
    }
}

/// Reads a whole manifest.
///
/// # Errors
/// The first damage.
pub fn parse(bytes: &[u8]) -> std::result::Result<(State, Inspection), Damage> {
    let mut state = State::default();
    let found = format::inspect(bytes, |record| match record.kind {
        RecordKind::Edits => state.apply_payload(record.payload),
        RecordKind::Vouch => Ok(()),
    })?;
    if state.shards == 0 {
        return Err(Damage {
            offset: 0,
            what: Invalid::Bytes("a manifest without the store's identity"),
        });
    }
    Ok((state, found))
}

/// Number of shards of the store in `dir`, if there is one: read before any shard runs, by whoever has locked the directory.
///
/// # Errors
/// As [`Manifest::read`].
#[expect(
    clippy::disallowed_methods,
    reason = "the number of shards is needed to start them, so no shard can read it"
)]
pub(crate) fn present_shards(dir: &Path) -> Result<Option<u16>> {
    let path = dir.join(FILE_NAME);
    let failed = |source| Error::Io {
        op: "read",
        path: path.clone(),
        offset: 0,
        source: Arc::new(source),
    };
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    check_len(&path, file.metadata().map_err(failed)?.len())?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let (state, _) = parse(&bytes).map_err(|damage| damaged(&path, damage))?;
    Ok(Some(state.shards))
}
