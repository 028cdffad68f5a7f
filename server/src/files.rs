//! Plain files, for commands that read what is not a store: outside every shard, so blocking is right here.

use std::{fs, io, path::Path};

/// Opens a file for reading.
#[expect(
    clippy::disallowed_methods,
    reason = "a user's file read on the main thread, outside every shard"
)]
pub fn open(path: &Path) -> io::Result<fs::File> {
    let file = fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(file)
}
