//! Files over glommio's direct I/O.
//!
//! Each operation runs in a detached task and hands its result over a local oneshot: a dropped glommio operation may land
//! later on another file, leak a descriptor, or write after its buffer is gone.

use std::future::Future;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use glommio::GlommioError;
use glommio::io::{Directory, DmaBuffer, DmaFile, OpenOptions, ReadResult};

use super::{InFlight, Shard};
use crate::context;
use crate::disk::{BLOCK, Buf, CreateOptions, Entry, ReadBuf, Space};
use crate::error::Error;
use crate::names;
use crate::sync::{OneshotReceiver, OneshotSender, oneshot};

/// An aligned buffer from the shard's arena.
pub(crate) struct DmaBuf(Rc<DmaBuffer>);

impl DmaBuf {
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut buffer = glommio::allocate_dma_buffer(len);
        buffer.as_bytes_mut().fill(0); // It comes uninitialised.
        Self(Rc::new(buffer))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        Rc::get_mut(&mut self.0)
            .expect("no write of this buffer is in flight")
            .as_bytes_mut()
    }
}

/// What a read brought, in the shard's arena.
pub(crate) struct DmaRead(ReadResult);

impl Deref for DmaRead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

fn plain<T>(error: GlommioError<T>) -> io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}

/// Begins an operation, which runs to its end whatever becomes of the caller.
fn uncancelled<F>(shard: &Rc<Shard>, operation: F) -> Outcome<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let (sender, receiver) = oneshot();
    let end = Some((shard.begin_io(), sender));
    glommio::spawn_local(Operation {
        future: operation,
        end,
        shard: Rc::clone(shard),
    })
    .detach();
    Outcome(receiver)
}

/// An operation in its own task. Written by hand because nested `async` blocks would store it four times.
struct Operation<F: Future> {
    /// Pinned.
    future: F,
    end: Option<(InFlight, OneshotSender<F::Output>)>,
    shard: Rc<Shard>,
}

impl<F: Future> Future for Operation<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `future` is never moved; `Operation` has no `Drop` and is not `Unpin` unless `F` is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above; `future` is structurally pinned.
        let future = unsafe { Pin::new_unchecked(&mut this.future) };
        let result = match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => Some(result),
            Err(payload) => {
                this.shard.real.panicked("file operation", &*payload);
                None
            }
        };
        if let Some((in_flight, sender)) = this.end.take() {
            drop(in_flight);
            if let Some(result) = result {
                // Nobody may be waiting any more.
                let _ = sender.send(result);
            }
        }
        Poll::Ready(())
    }
}

/// What becomes of an operation.
struct Outcome<T>(OneshotReceiver<T>);

impl<T> Future for Outcome<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Ready(Ok(result)) => Poll::Ready(result),
            // After a panic the shard ends, and this task is dropped soon.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// An open file.
#[derive(Clone)]
pub(crate) struct File {
    file: Rc<DmaFile>,
    path: Rc<Path>,
    shard: Rc<Shard>,
}

impl File {
    pub(crate) async fn create(shard: &Rc<Shard>, path: &Path, o: CreateOptions) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o644);
        if o.dsync {
            options.custom_flags(libc::O_DSYNC);
        }
        let file = Self::open(shard, path, "create", options).await?;
        if o.preallocate_bytes > 0
            && let Err(error) = file.preallocate(o.preallocate_bytes).await
        {
            let path = Rc::clone(&file.path);
            let _ = file.close().await;
            let _ = remove(shard, &path).await;
            return Err(error);
        }
        Ok(file)
    }

    pub(crate) async fn open_read(shard: &Rc<Shard>, path: &Path) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        options.read(true);
        Self::open(shard, path, "open", options).await
    }

    pub(crate) async fn open_write(shard: &Rc<Shard>, path: &Path, dsync: bool) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if dsync {
            options.custom_flags(libc::O_DSYNC);
        }
        Self::open(shard, path, "open", options).await
    }

    async fn open(shard: &Rc<Shard>, path: &Path, op: &'static str, options: OpenOptions) -> Result<File, Error> {
        let path: Rc<Path> = Rc::from(path);
        let name = Rc::clone(&path);
        let opened = uncancelled(shard, async move { options.dma_open(&*name).await }).await;
        match opened {
            Ok(file) => Ok(File {
                file: Rc::new(file),
                path,
                shard: Rc::clone(shard),
            }),
            Err(error) => Err(Error::io(op, &path, 0, plain(error))),
        }
    }

    fn error(&self, op: &'static str, offset: u64, source: io::Error) -> Error {
        Error::io(op, &self.path, offset, source)
    }

    async fn preallocate(&self, bytes: u64) -> Result<(), Error> {
        let file = Rc::clone(&self.file);
        let result = uncancelled(&self.shard, async move {
            file.pre_allocate(bytes, false).await.map_err(plain)
        })
        .await;
        match result {
            // A file system without fallocate still gives the size.
            Err(source) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => self.set_len(bytes).await,
            other => other.map_err(|source| self.error("preallocate", 0, source)),
        }
    }

    pub(crate) async fn read(&self, offset: u64, len: usize) -> Result<ReadBuf, Error> {
        if len == 0 {
            return Ok(ReadBuf::from_vec(Vec::new()));
        }
        // What lies beyond any file is past its end.
        let (start, size, before) = names::blocks_around(offset, len)
            .ok_or_else(|| self.error("read", offset, io::ErrorKind::UnexpectedEof.into()))?;
        let permit = self.shard.real.io_permit().await;
        let file = Rc::clone(&self.file);
        let result = uncancelled(&self.shard, async move {
            let result = read_blocks(&file, start, size, before + len).await;
            drop(permit);
            result
        })
        .await;
        let counters = &context::current().counters;
        counters.device_reads.add(1);
        match result {
            Ok(Blocks::Whole(read)) => {
                counters.read_bytes.add(read.len() as u64);
                let part = ReadResult::slice(&read, before, len).expect("the read is long enough");
                Ok(ReadBuf::from_dma(DmaRead(part)))
            }
            Ok(Blocks::Pieces(bytes)) => {
                counters.read_bytes.add(bytes.len() as u64);
                Ok(ReadBuf::from_part(bytes, before, len))
            }
            Err(source) => Err(self.error("read", offset, source)),
        }
    }

    pub(crate) async fn write(&self, offset: u64, buf: Rc<Buf>) -> Result<(), Error> {
        let len = buf.len() as u64;
        let permit = self.shard.real.io_permit().await;
        let file = Rc::clone(&self.file);
        let result = uncancelled(&self.shard, async move {
            let result = write_blocks(&file, offset, &buf).await;
            drop(buf);
            drop(permit);
            result
        })
        .await;
        let counters = &context::current().counters;
        counters.device_writes.add(1);
        counters.written_bytes.add(len);
        result.map_err(|source| self.error("write", offset, source))
    }

    pub(crate) async fn sync(&self) -> Result<(), Error> {
        let file = Rc::clone(&self.file);
        let result = uncancelled(&self.shard, async move { file.fdatasync().await }).await;
        context::current().counters.syncs.add(1);
        result.map_err(|error| self.error("sync", 0, plain(error)))
    }

    pub(crate) async fn set_len(&self, len: u64) -> Result<(), Error> {
        let file = Rc::clone(&self.file);
        let result = uncancelled(&self.shard, async move { file.truncate(len).await }).await;
        result.map_err(|error| self.error("set the length of", 0, plain(error)))
    }

    pub(crate) async fn len(&self) -> Result<u64, Error> {
        let file = Rc::clone(&self.file);
        let result = uncancelled(&self.shard, async move { file.file_size().await }).await;
        result.map_err(|error| self.error("stat", 0, plain(error)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn close(self) -> Result<(), Error> {
        let File { file, path, shard } = self;
        let result = uncancelled(&shard, async move {
            match Rc::try_unwrap(file) {
                Ok(file) => file.close().await.map_err(plain),
                Err(_) => Ok(()),
            }
        })
        .await;
        result.map_err(|source| Error::io("close", &path, 0, source))
    }
}

enum Blocks {
    /// As one read brought it.
    Whole(ReadResult),
    /// Put together.
    Pieces(Vec<u8>),
}

/// Reads at least `needed` bytes of the `size` from `start`.
async fn read_blocks(file: &DmaFile, start: u64, size: usize, needed: usize) -> io::Result<Blocks> {
    let first = file.read_at_aligned(start, size).await.map_err(plain)?;
    if first.len() >= needed {
        return Ok(Blocks::Whole(first));
    }
    // Either the file ends here, or the kernel gave less than it has: go on from the last whole block until it says so.
    let mut bytes = first.to_vec();
    drop(first);
    loop {
        bytes.truncate(bytes.len() / BLOCK * BLOCK);
        let more = file
            .read_at_aligned(start + bytes.len() as u64, size - bytes.len())
            .await
            .map_err(plain)?;
        bytes.extend_from_slice(&more);
        if bytes.len() >= needed {
            return Ok(Blocks::Pieces(bytes));
        }
        if more.len() < BLOCK {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Writes all of `buf`; a short write goes on where it ended.
async fn write_blocks(file: &DmaFile, offset: u64, buf: &Rc<Buf>) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        let at = offset + done as u64;
        let whole = if done == 0 { buf.dma() } else { None };
        let written = match whole {
            Some(dma) => file.write_rc_at(Rc::clone(&dma.0), at).await,
            None => {
                let mut rest = glommio::allocate_dma_buffer(buf.len() - done);
                rest.as_bytes_mut().copy_from_slice(&buf[done..]);
                file.write_at(rest, at).await
            }
        };
        let written = written.map_err(plain)? / BLOCK * BLOCK;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        done += written;
    }
    Ok(())
}

/// Runs a call of the file system in the shard's pool of plain threads.
async fn blocking<T: Send + 'static>(
    shard: &Rc<Shard>,
    op: &'static str,
    path: &Path,
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let result = uncancelled(shard, async move { glommio::executor().spawn_blocking(call).await }).await;
    result.map_err(|source| Error::io(op, path, 0, source))
}

pub(crate) async fn rename(shard: &Rc<Shard>, from: &Path, to: &Path) -> Result<(), Error> {
    let (old, new) = (from.to_path_buf(), to.to_path_buf());
    blocking(shard, "rename", from, move || std::fs::rename(old, new)).await
}

pub(crate) async fn link(shard: &Rc<Shard>, from: &Path, to: &Path) -> Result<(), Error> {
    let (old, new) = (from.to_path_buf(), to.to_path_buf());
    blocking(shard, "link", from, move || std::fs::hard_link(old, new)).await
}

pub(crate) async fn remove(shard: &Rc<Shard>, path: &Path) -> Result<(), Error> {
    let name = path.to_path_buf();
    blocking(shard, "remove", path, move || std::fs::remove_file(name)).await
}

pub(crate) async fn create_dir_all(shard: &Rc<Shard>, path: &Path) -> Result<(), Error> {
    let name = path.to_path_buf();
    blocking(shard, "create directory", path, move || std::fs::create_dir_all(name)).await
}

pub(crate) async fn sync_dir(shard: &Rc<Shard>, dir: &Path) -> Result<(), Error> {
    // The executor opens directories, other than files, relative to nothing at all.
    let name = std::path::absolute(dir).map_err(|source| Error::io("sync directory", dir, 0, source))?;
    let result = uncancelled(shard, async move {
        let directory = Directory::open(&name).await.map_err(plain)?;
        let synced = directory.sync().await.map_err(plain);
        let closed = directory.close().await.map_err(plain);
        synced.and(closed)
    })
    .await;
    context::current().counters.syncs.add(1);
    result.map_err(|source| Error::io("sync directory", dir, 0, source))
}

pub(crate) async fn exists(shard: &Rc<Shard>, path: &Path) -> Result<bool, Error> {
    let name = path.to_path_buf();
    blocking(shard, "stat", path, move || name.try_exists()).await
}

pub(crate) async fn list(shard: &Rc<Shard>, dir: &Path) -> Result<Vec<Entry>, Error> {
    let name = dir.to_path_buf();
    blocking(shard, "list", dir, move || names::list(&name)).await
}

pub(crate) async fn space(shard: &Rc<Shard>, dir: &Path) -> Result<Space, Error> {
    let name = dir.to_path_buf();
    blocking(shard, "ask for the space of", dir, move || names::space(&name)).await
}
