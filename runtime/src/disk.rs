//! The disk: aligned blocks, direct I/O where there is any, never cancelled.
//!
//! Every operation belongs to a task of the runtime once it has begun: dropping the future that waits for it drops the
//! result, not the operation. A write keeps its buffer alive until the device is done with it. How many reads and writes
//! a class of tasks may have in flight is bounded; further ones wait in order.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::aligned::AlignedBuf;
use crate::body::Body;
use crate::context;
use crate::error::Error;
use crate::sim;
use crate::threads;
use crate::uring;

/// The block: offsets and lengths of writes are multiples of it, reads are rounded out to it.
pub const BLOCK: usize = 4096;

/// Whether `n` is a multiple of [`BLOCK`].
fn is_aligned(n: u64) -> bool {
    n.is_multiple_of(BLOCK as u64)
}

/// An aligned buffer of whole blocks, to be filled and written.
///
/// Over io_uring it comes from the shard's arena that is registered with the kernel. Keep few of them, and reuse them.
pub struct Buf {
    memory: Memory,
    /// At most what `memory` holds.
    len: usize,
}

enum Memory {
    Dma(uring::DmaBuf),
    /// Shared with a thread while it is written.
    Aligned(Arc<AlignedBuf>),
    Heap(Vec<u8>),
}

impl Buf {
    /// A buffer of `len` zero bytes.
    ///
    /// # Panics
    /// If `len` is not a positive multiple of [`BLOCK`].
    pub fn zeroed(len: usize) -> Self {
        assert!(
            len > 0 && len.is_multiple_of(BLOCK),
            "a buffer of {len} bytes is not whole blocks"
        );
        let memory = context::with_current(|c| match c.map(|c| &c.body) {
            Some(Body::Uring(_)) => Memory::Dma(uring::DmaBuf::zeroed(len)),
            Some(Body::Threads(_)) => Memory::Aligned(Arc::new(AlignedBuf::zeroed(len))),
            Some(Body::Sim(_)) | None => Memory::Heap(vec![0; len]),
        });
        Self { memory, len }
    }

    /// The most bytes it can hold: what it was made with.
    pub fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Dma(buf) => buf.bytes().len(),
            Memory::Aligned(buf) => buf.bytes().len(),
            Memory::Heap(bytes) => bytes.len(),
        }
    }

    /// Makes the buffer `len` bytes long; all bytes up to its capacity keep what they had.
    ///
    /// A write of a shortened buffer copies it once, into an arena buffer of its length.
    ///
    /// # Panics
    /// If `len` is not a positive multiple of [`BLOCK`], or above the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(
            len > 0 && len.is_multiple_of(BLOCK),
            "a buffer of {len} bytes is not whole blocks"
        );
        assert!(
            len <= self.capacity(),
            "a buffer of {} bytes can't hold {len}",
            self.capacity()
        );
        self.len = len;
    }

    /// The memory as the device takes it, unless the buffer was shortened.
    pub(crate) fn dma(&self) -> Option<&uring::DmaBuf> {
        match &self.memory {
            Memory::Dma(buf) if self.len == buf.bytes().len() => Some(buf),
            _ => None,
        }
    }

    /// The memory as another thread writes it.
    pub(crate) fn aligned(&self) -> Arc<AlignedBuf> {
        match &self.memory {
            Memory::Aligned(buf) => Arc::clone(buf),
            // Made elsewhere than on a shard of this body.
            Memory::Dma(_) | Memory::Heap(_) => {
                let mut copy = AlignedBuf::zeroed(self.len);
                copy.bytes_mut().copy_from_slice(self);
                Arc::new(copy)
            }
        }
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Dma(buf) => &buf.bytes()[..self.len],
            Memory::Aligned(buf) => &buf.bytes()[..self.len],
            Memory::Heap(bytes) => &bytes[..self.len],
        }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Dma(buf) => &mut buf.bytes_mut()[..self.len],
            Memory::Aligned(buf) => {
                let buf = Arc::get_mut(buf).expect("no write of this buffer is in flight");
                &mut buf.bytes_mut()[..self.len]
            }
            Memory::Heap(bytes) => &mut bytes[..self.len],
        }
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buf").field("len", &self.len()).finish()
    }
}

/// What a read brought: exactly the bytes asked for.
///
/// It may pin memory of the shard's arena: copy what is to be kept, and drop it soon.
pub struct ReadBuf(ReadMemory);

enum ReadMemory {
    Dma(uring::DmaRead),
    Heap { bytes: Vec<u8>, start: usize, len: usize },
}

impl ReadBuf {
    /// A buffer of its own.
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self::from_part(bytes, 0, len)
    }

    /// The `len` bytes from `start` on.
    pub(crate) fn from_part(bytes: Vec<u8>, start: usize, len: usize) -> Self {
        assert!(start + len <= bytes.len(), "a read returns what was read");
        Self(ReadMemory::Heap { bytes, start, len })
    }

    pub(crate) fn from_dma(read: uring::DmaRead) -> Self {
        Self(ReadMemory::Dma(read))
    }
}

impl Deref for ReadBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            ReadMemory::Dma(read) => read,
            ReadMemory::Heap { bytes, start, len } => &bytes[*start..*start + *len],
        }
    }
}

impl AsRef<[u8]> for ReadBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for ReadBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadBuf").field("len", &self.len()).finish()
    }
}

/// How a new file is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CreateOptions {
    /// Each write is durable when it completes.
    pub dsync: bool,
    /// The size to give the file at once, in bytes; its content reads as zeros. 0: none.
    pub preallocate_bytes: u64,
}

/// An open file of this shard. Clones share the descriptor; it is closed with the last of them.
#[derive(Clone)]
pub struct File(FileBody);

#[derive(Clone)]
enum FileBody {
    Uring(uring::File),
    Threads(threads::File),
    Sim(sim::File),
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("path", &self.path()).finish()
    }
}

impl File {
    /// Creates a file that did not exist, for reading and writing.
    ///
    /// The name is durable after [`sync_dir`] of its directory. If the space can't be had the file is removed again.
    ///
    /// # Errors
    /// [`Error::Io`], with [`Error::is_already_exists`] if there is one.
    /// # Panics
    /// Off-shard, and if `preallocate_bytes` is not whole blocks.
    pub async fn create(path: &Path, o: CreateOptions) -> Result<File, Error> {
        assert!(
            is_aligned(o.preallocate_bytes),
            "a size of {} bytes is not whole blocks",
            o.preallocate_bytes
        );
        match &context::current().body {
            Body::Uring(shard) => uring::File::create(shard, path, o)
                .await
                .map(|f| File(FileBody::Uring(f))),
            Body::Threads(shard) => threads::File::create(shard, path, o)
                .await
                .map(|f| File(FileBody::Threads(f))),
            Body::Sim(shard) => sim::File::create(shard, path, o).await.map(|f| File(FileBody::Sim(f))),
        }
    }

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// [`Error::Io`], with [`Error::is_not_found`] if there is none.
    /// # Panics
    /// Off-shard.
    pub async fn open_read(path: &Path) -> Result<File, Error> {
        match &context::current().body {
            Body::Uring(shard) => uring::File::open_read(shard, path)
                .await
                .map(|f| File(FileBody::Uring(f))),
            Body::Threads(shard) => threads::File::open_read(shard, path)
                .await
                .map(|f| File(FileBody::Threads(f))),
            Body::Sim(shard) => sim::File::open_read(shard, path).await.map(|f| File(FileBody::Sim(f))),
        }
    }

    /// Opens an existing file for reading and writing; with `dsync` each write is durable when it completes.
    ///
    /// # Errors
    /// [`Error::Io`], with [`Error::is_not_found`] if there is none.
    /// # Panics
    /// Off-shard.
    pub async fn open_write(path: &Path, dsync: bool) -> Result<File, Error> {
        match &context::current().body {
            Body::Uring(shard) => uring::File::open_write(shard, path, dsync)
                .await
                .map(|f| File(FileBody::Uring(f))),
            Body::Threads(shard) => threads::File::open_write(shard, path, dsync)
                .await
                .map(|f| File(FileBody::Threads(f))),
            Body::Sim(shard) => sim::File::open_write(shard, path, dsync)
                .await
                .map(|f| File(FileBody::Sim(f))),
        }
    }

    /// Reads `len` bytes from `offset`, at any alignment; whole blocks are read underneath.
    ///
    /// # Errors
    /// [`Error::Io`]; with [`Error::is_unexpected_eof`] if the file ends before the last byte.
    pub async fn read(&self, offset: u64, len: usize) -> Result<ReadBuf, Error> {
        match &self.0 {
            FileBody::Uring(file) => file.read(offset, len).await,
            FileBody::Threads(file) => file.read(offset, len).await,
            FileBody::Sim(file) => file.read(offset, len).await,
        }
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// In flight the buffer is shared, so it stays readable; it is yours alone again after the write.
    ///
    /// # Errors
    /// [`Error::Io`]: any part may have been written; do not use the file further.
    /// # Cancellation
    /// The write goes on.
    /// # Panics
    /// If `offset` is not a multiple of [`BLOCK`].
    pub async fn write(&self, offset: u64, buf: Rc<Buf>) -> Result<(), Error> {
        assert!(is_aligned(offset), "a write at {offset} is not aligned");
        match &self.0 {
            FileBody::Uring(file) => file.write(offset, buf).await,
            FileBody::Threads(file) => file.write(offset, buf).await,
            FileBody::Sim(file) => file.write(offset, buf).await,
        }
    }

    /// Makes what was written durable. The kernel orders nothing: await the writes first.
    ///
    /// # Errors
    /// [`Error::Io`]: what is on the disk is unknown; a second sync may lie.
    pub async fn sync(&self) -> Result<(), Error> {
        match &self.0 {
            FileBody::Uring(file) => file.sync().await,
            FileBody::Threads(file) => file.sync().await,
            FileBody::Sim(file) => file.sync().await,
        }
    }

    /// Cuts the file to `len` bytes, or extends it with zeros.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn set_len(&self, len: u64) -> Result<(), Error> {
        match &self.0 {
            FileBody::Uring(file) => file.set_len(len).await,
            FileBody::Threads(file) => file.set_len(len).await,
            FileBody::Sim(file) => file.set_len(len).await,
        }
    }

    /// The file's size in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    #[expect(clippy::len_without_is_empty, reason = "it asks the file system")]
    pub async fn len(&self) -> Result<u64, Error> {
        match &self.0 {
            FileBody::Uring(file) => file.len().await,
            FileBody::Threads(file) => file.len().await,
            FileBody::Sim(file) => file.len().await,
        }
    }

    /// The path it was opened by; a rename does not change it.
    pub fn path(&self) -> &Path {
        match &self.0 {
            FileBody::Uring(file) => file.path(),
            FileBody::Threads(file) => file.path(),
            FileBody::Sim(file) => file.path(),
        }
    }

    /// Closes the file, or with other clones alive leaves that to the last of them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn close(self) -> Result<(), Error> {
        match self.0 {
            FileBody::Uring(file) => file.close().await,
            FileBody::Threads(file) => file.close().await,
            FileBody::Sim(file) => file.close().await,
        }
    }
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The name, without the directory. Names that are not UTF-8 are not listed: none of ours is.
    pub name: String,
    /// The size in bytes.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// The space of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Its size in bytes.
    pub total_bytes: u64,
    /// Bytes that this process may still use.
    pub free_bytes: u64,
}

/// Renames a file; an existing `to` is replaced. Durable after [`sync_dir`].
///
/// # Errors
/// [`Error::Io`].
/// # Panics
/// Off-shard.
pub async fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    match &context::current().body {
        Body::Uring(shard) => uring::rename(shard, from, to).await,
        Body::Threads(shard) => threads::rename(shard, from, to).await,
        Body::Sim(shard) => sim::rename(shard, from, to).await,
    }
}

/// Gives the file `from` a second name, `to`, which must not exist. Durable after [`sync_dir`].
///
/// # Errors
/// [`Error::Io`].
/// # Panics
/// Off-shard.
pub async fn link(from: &Path, to: &Path) -> Result<(), Error> {
    match &context::current().body {
        Body::Uring(shard) => uring::link(shard, from, to).await,
        Body::Threads(shard) => threads::link(shard, from, to).await,
        Body::Sim(shard) => sim::link(shard, from, to).await,
    }
}

/// Removes a file. Durable after [`sync_dir`].
///
/// # Errors
/// [`Error::Io`], with [`Error::is_not_found`] if there is none.
/// # Panics
/// Off-shard.
pub async fn remove(path: &Path) -> Result<(), Error> {
    match &context::current().body {
        Body::Uring(shard) => uring::remove(shard, path).await,
        Body::Threads(shard) => threads::remove(shard, path).await,
        Body::Sim(shard) => sim::remove(shard, path).await,
    }
}

/// Creates a directory and those above it, as far as they are missing.
///
/// # Errors
/// [`Error::Io`].
/// # Panics
/// Off-shard.
pub async fn create_dir_all(path: &Path) -> Result<(), Error> {
    match &context::current().body {
        Body::Uring(shard) => uring::create_dir_all(shard, path).await,
        Body::Threads(shard) => threads::create_dir_all(shard, path).await,
        Body::Sim(shard) => sim::create_dir_all(shard, path).await,
    }
}

/// Makes a directory's entries durable: call it after create, rename, link and remove.
///
/// # Errors
/// [`Error::Io`].
/// # Panics
/// Off-shard.
pub async fn sync_dir(dir: &Path) -> Result<(), Error> {
    match &context::current().body {
        Body::Uring(shard) => uring::sync_dir(shard, dir).await,
        Body::Threads(shard) => threads::sync_dir(shard, dir).await,
        Body::Sim(shard) => sim::sync_dir(shard, dir).await,
    }
}

/// Whether a file or directory of this name exists.
///
/// # Errors
/// [`Error::Io`].
/// # Panics
/// Off-shard.
pub async fn exists(path: &Path) -> Result<bool, Error> {
    match &context::current().body {
        Body::Uring(shard) => uring::exists(shard, path).await,
        Body::Threads(shard) => threads::exists(shard, path).await,
        Body::Sim(shard) => sim::exists(shard, path).await,
    }
}

/// The space of the file system that holds `dir`.
///
/// # Errors
/// [`Error::Io`].
/// # Panics
/// Off-shard.
pub async fn space(dir: &Path) -> Result<Space, Error> {
    match &context::current().body {
        Body::Uring(shard) => uring::space(shard, dir).await,
        Body::Threads(shard) => threads::space(shard, dir).await,
        Body::Sim(shard) => sim::space(shard, dir).await,
    }
}

/// The entries of a directory, sorted by name.
///
/// # Errors
/// [`Error::Io`].
/// # Panics
/// Off-shard.
pub async fn list(dir: &Path) -> Result<Vec<Entry>, Error> {
    match &context::current().body {
        Body::Uring(shard) => uring::list(shard, dir).await,
        Body::Threads(shard) => threads::list(shard, dir).await,
        Body::Sim(shard) => sim::list(shard, dir).await,
    }
}
