//! Names on a real disk: calls of the file system that block, for threads that may.

use std::io;
use std::path::Path;

use crate::disk::{Entry, Space};

/// The entries of a directory, sorted by name.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Removed since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Ok(name) = entry.file_name().into_string() {
            entries.push(Entry {
                name,
                len: metadata.len(),
                is_dir: metadata.is_dir(),
            });
        }
    }
    entries.sort();
    Ok(entries)
}

/// The space of the file system that holds `dir`.
pub(crate) fn space(dir: &Path) -> io::Result<Space> {
    let of = rustix::fs::statvfs(dir)?;
    Ok(Space {
        total_bytes: of.f_blocks.saturating_mul(of.f_frsize),
        free_bytes: of.f_bavail.saturating_mul(of.f_frsize),
    })
}

/// The whole blocks around `len` bytes at `offset`: where they begin, their length, and how many bytes of them lie before
/// `offset`. `None`: no file has them.
pub(crate) fn blocks_around(offset: u64, len: usize) -> Option<(u64, usize, usize)> {
    let block = crate::disk::BLOCK;
    let start = offset / block as u64 * block as u64;
    let before = (offset - start) as usize;
    let size = before.checked_add(len)?.checked_next_multiple_of(block)?;
    let end = i64::try_from(start).ok()?.checked_add(i64::try_from(size).ok()?);
    end.map(|_| (start, size, before))
}
