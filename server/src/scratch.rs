//! Folders for stores that are made to be thrown away.

use crate::failure::{Done, Failure};
use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A folder for one store.
pub enum Folder {
    /// The user's own, kept.
    Given(PathBuf),
    /// A temporary one, removed at the end.
    Temporary(tempfile::TempDir),
}

impl Folder {
    /// The folder `given`, which must be empty or not there; else a temporary one, if possible with direct I/O.
    pub fn new(given: Option<&Path>, what: &str) -> Done<Folder> {
        let Some(dir) = given else { return temporary(what) };
        match fs::metadata(dir) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(Failure::new(format_args!("{}: not a directory", dir.display())));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Folder::Given(dir.to_owned())),
            Err(error) => return Err(Failure::file(dir, "cannot be looked into", error)),
        }
        #[expect(clippy::disallowed_methods, reason = "on the main thread, outside every shard")]
        let mut entries = fs::read_dir(dir).map_err(|error| Failure::file(dir, "cannot be looked into", error))?;
        match entries.next() {
            Some(_) => Err(Failure::new(format_args!(
                "{}: not empty; name a directory for this alone",
                dir.display()
            ))),
            None => Ok(Folder::Given(dir.to_owned())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Folder::Given(path) => path,
            Folder::Temporary(dir) => dir.path(),
        }
    }

    /// Keeps it, whatever it was.
    pub fn keep(self) -> PathBuf {
        match self {
            Folder::Given(path) => path,
            Folder::Temporary(dir) => dir.keep(),
        }
    }
}

fn temporary(what: &str) -> Done<Folder> {
    let places = [Some(std::env::temp_dir()), std::env::current_dir().ok()];
    let (mut refused, mut second_choice) = (None, None);
    for place in places.into_iter().flatten() {
        let made = tempfile::Builder::new()
            .prefix(&format!("scrollback-{what}-"))
            .tempdir_in(&place);
        match made {
            Ok(dir) if has_direct_io(dir.path()) => return Ok(Folder::Temporary(dir)),
            Ok(dir) => drop(second_choice.get_or_insert(dir)),
            Err(error) => drop(refused.get_or_insert(Failure::file(&place, "a store cannot be made here", error))),
        }
    }
    if let Some(dir) = second_choice {
        return Ok(Folder::Temporary(dir));
    }
    Err(refused.unwrap_or_else(|| Failure::new("there is no directory to make a store in; name one with --data")))
}

/// Whether files here can be opened for direct I/O.
#[expect(clippy::disallowed_methods, reason = "on the main thread, outside every shard")]
fn has_direct_io(dir: &Path) -> bool {
    let path = dir.join("direct-io");
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path);
    // A file system that refuses it may have created the file all the same.
    let _ = fs::remove_file(&path);
    opened.is_ok()
}
