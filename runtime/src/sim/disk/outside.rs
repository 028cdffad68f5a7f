//! The disk as a test sees it: to look at and to damage.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::contents::Contents;
use super::names::normal;
use super::{Disk, Targeted, whole_pages};

/// The simulated disk from outside; clones share it. Whatever is done here is done at once, durable, and not an operation.
///
/// Paths with and without a leading slash are the same; [`list`](Self::list) gives them with one.
#[derive(Clone)]
pub struct SimDisk(Rc<Disk>);

fn name_of(path: &Path) -> String {
    normal(path).unwrap_or_else(|| panic!("{} is no path of the simulated disk", path.display()))
}

impl SimDisk {
    pub(in crate::sim) fn new(disk: Rc<Disk>) -> Self {
        SimDisk(disk)
    }

    /// A file's bytes as a reader sees them now.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.0.state.borrow();
        let contents = state.names.file(&name_of(path.as_ref())).ok()?.contents.borrow();
        Some(contents.read(
            0,
            usize::try_from(contents.len()).expect("a simulated file fits in memory"),
        ))
    }

    /// Replaces a file's bytes, in place; makes it and the directories above it if they are not there.
    ///
    /// # Panics
    /// If it is a directory.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: Vec<u8>) {
        let name = name_of(path.as_ref());
        let state = &mut *self.0.state.borrow_mut();
        let contents = Contents::durable(&bytes);
        let known = state.names.file(&name).map(Rc::clone);
        let inode = match known {
            Ok(inode) => {
                *inode.contents.borrow_mut() = contents;
                inode
            }
            Err(libc::ENOENT) => state.new_inode(contents),
            Err(_) => panic!("{} is no file", path.as_ref().display()),
        };
        inode.reserve(whole_pages(bytes.len() as u64));
        state.names.place(&name, inode);
        self.0.trace.note_bytes(0x0075_1DE0, &bytes);
    }

    /// Removes a file, for good. False if there was none.
    pub fn remove(&self, path: impl AsRef<Path>) -> bool {
        self.0.state.borrow_mut().names.take(&name_of(path.as_ref()))
    }

    /// Makes a directory and those above it, for good.
    pub fn create_dir_all(&self, path: impl AsRef<Path>) {
        self.0.state.borrow_mut().names.place_dirs(&name_of(path.as_ref()));
    }

    /// All files, sorted.
    pub fn list(&self) -> Vec<PathBuf> {
        let files = self.0.state.borrow().names.files();
        files
            .into_iter()
            .map(|(path, _)| PathBuf::from(format!("/{path}")))
            .collect()
    }

    /// Bytes in use: files in whole blocks, with those that are removed but still open or that a crash would bring back.
    pub fn used_bytes(&self) -> u64 {
        self.0.state.borrow().used.get()
    }

    /// Limits the bytes in use; operations beyond fail with ENOSPC. `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.state.borrow_mut().capacity = bytes;
    }

    /// Makes the next `n` operations called `op_name` (`"write"`, `"sync"`, `"sync_dir"`, `"create"`, …; `""`: any) on a
    /// path that contains `path_contains` fail with `errno`. A rename or link is meant by either of its paths.
    pub fn fail_next(&self, op_name: &str, path_contains: &str, n: u64, errno: i32) {
        self.fail_after(op_name, path_contains, 0, n, errno);
    }

    /// As [`fail_next`](Self::fail_next), but the first `pass` of them succeed: "fail the write after the next three".
    pub fn fail_after(&self, op_name: &str, path_contains: &str, pass: u64, n: u64, errno: i32) {
        if n > 0 {
            self.0.state.borrow_mut().targeted.push(Targeted {
                op: op_name.to_owned(),
                path: path_contains.to_owned(),
                pass,
                fail: n,
                errno,
            });
        }
    }

    /// Forgets what [`fail_next`](Self::fail_next) has asked for and not met yet.
    pub fn clear_failures(&self) {
        self.0.state.borrow_mut().targeted.clear();
    }
}
