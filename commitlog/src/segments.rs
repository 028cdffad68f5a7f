//! Segment files: making, recycling and removing them, never in the path of an append.
//!
//! A segment gets its `.log` name when it is complete, header and all (`docs/format/commitlog.md`, "Files"); until then it is a
//! `.spare`, which means nothing.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use runtime::Break;
use runtime::disk::{self, Buf, CreateOptions, File};

use crate::format::{BLOCK, SegmentHeader, SegmentName};

/// The largest write of zeros.
const ZEROS_BYTES: usize = 1 << 20;

/// A segment that records can be written to.
pub(crate) struct Segment {
    pub name: SegmentName,
    pub file: Rc<File>,
}

pub(crate) fn path(dir: &Path, name: SegmentName) -> PathBuf {
    dir.join(name.to_string())
}

fn spare_path(dir: &Path, name: SegmentName) -> PathBuf {
    dir.join(name.spare())
}

/// Why a segment could not be made.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: runtime::Error,
    /// The device is full: it may be tried again, with the same name.
    pub retry: bool,
}

impl From<runtime::Error> for Failure {
    fn from(error: runtime::Error) -> Self {
        Failure {
            retry: error.is_no_space(),
            error,
        }
    }
}

/// Makes directory entries durable. A failure is final: a second sync may succeed without having written what the first lost.
pub(crate) async fn sync_dir(dir: &Path) -> Result<(), Failure> {
    if runtime::broken(Break::SkipDirSync) {
        return Ok(());
    }
    disk::sync_dir(dir)
        .await
        .map_err(|error| Failure { error, retry: false })
}

/// Makes a new segment: allocated, written with zeros, synced.
///
/// # Errors
/// What was begun is removed again, as far as possible.
pub(crate) async fn create(dir: &Path, header: &SegmentHeader, dsync: bool) -> Result<Segment, Failure> {
    let spare = spare_path(dir, header.name);
    if disk::exists(&spare).await? {
        // An attempt that failed, when even removing failed.
        disk::remove(&spare).await?;
    }
    match write_zeros(&spare, header).await {
        Ok(()) => publish(dir, header, dsync).await,
        Err(error) => {
            // The first error is the one to tell; a spare that stays is removed by the next attempt or the next start.
            let _ = disk::remove(&spare).await;
            Err(error.into())
        }
    }
}

async fn write_zeros(spare: &Path, header: &SegmentHeader) -> Result<(), runtime::Error> {
    let len = header.segment_bytes as usize;
    let options = CreateOptions {
        dsync: false,
        preallocate_bytes: len as u64,
    };
    let file = File::create(spare, options).await?;
    let written = async {
        // Not only allocated: a synchronous write into blocks that were never written also writes metadata.
        let mut offset = BLOCK;
        let mut zeros = Rc::new(Buf::zeroed(ZEROS_BYTES.min(len - BLOCK)));
        while offset < len {
            if zeros.len() > len - offset {
                zeros = Rc::new(Buf::zeroed(len - offset));
            }
            file.write(offset as u64, Rc::clone(&zeros)).await?;
            offset += zeros.len();
        }
        write_header(&file, header).await?;
        file.sync().await
    };
    let written = written.await;
    let closed = file.close().await;
    written.and(closed)
}

async fn write_header(file: &File, header: &SegmentHeader) -> Result<(), runtime::Error> {
    let mut block = Buf::zeroed(BLOCK);
    header.encode_into(&mut block);
    file.write(0, Rc::new(block)).await
}

/// Makes a segment of the released one called `old`. Its old records stay in it: they carry another id and another salt.
pub(crate) async fn recycle(
    dir: &Path,
    old: SegmentName,
    header: &SegmentHeader,
    dsync: bool,
) -> Result<Segment, Failure> {
    let spare = spare_path(dir, header.name);
    disk::rename(&path(dir, old), &spare).await?;
    // The old name must be gone for good before the file can have a new one: it must never have two.
    sync_dir(dir).await?;
    let file = File::open_write(&spare, false).await?;
    let written = async {
        write_header(&file, header).await?;
        file.sync().await
    };
    let written = written.await;
    let closed = file.close().await;
    written.and(closed)?;
    publish(dir, header, dsync).await
}

/// Gives a complete segment its name and opens it for records.
async fn publish(dir: &Path, header: &SegmentHeader, dsync: bool) -> Result<Segment, Failure> {
    let path = path(dir, header.name);
    disk::rename(&spare_path(dir, header.name), &path).await?;
    sync_dir(dir).await?;
    let dsync = dsync && !runtime::broken(Break::SkipLogSync);
    let file = File::open_write(&path, dsync).await?;
    Ok(Segment {
        name: header.name,
        file: Rc::new(file),
    })
}

/// What a log's folder holds.
#[derive(Default)]
pub(crate) struct Listing {
    /// Segments with the lengths of their files, in the order of their names.
    pub segments: Vec<(SegmentName, u64)>,
    /// Names of unfinished spares.
    pub spares: Vec<String>,
}

pub(crate) async fn list(dir: &Path) -> Result<Listing, runtime::Error> {
    let mut listing = Listing::default();
    for entry in disk::list(dir).await? {
        if entry.is_dir {
            continue;
        }
        if let Some(name) = SegmentName::parse(&entry.name) {
            listing.segments.push((name, entry.len));
        } else if SegmentName::is_spare(&entry.name) {
            listing.spares.push(entry.name);
        }
    }
    listing.segments.sort_by_key(|(name, _)| *name);
    Ok(listing)
}
