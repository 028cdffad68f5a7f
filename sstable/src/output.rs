//! The file under a writer: bytes in, aligned writes out, one in flight.
//!
//! 1. Bytes are copied into a buffer of the write size; when it is full it is written by a task of its own, and the next one is
//!    filled meanwhile. While one write is in flight the next one waits for it.
//! 2. [`Output::finish`] writes the rest, padded with zeros to a whole block, waits for all writes, cuts the file to its size
//!    and syncs it.
//! 3. [`Output::discard`] waits for all writes and removes the file. Writes are never cancelled.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use runtime::disk::{self, BLOCK, Buf, CreateOptions, File};
use runtime::{Break, Task};

use crate::error::{Error, Result};

/// Size of one write. Small, and alone in flight, because the log's synchronous writes queue behind it on the device: with two of
/// 512 KiB the p99 of durable writes was four times as long during a flush as without.
const WRITE_BYTES: usize = 128 * 1024;

/// Size of one write to a file that is to be smaller than [`WRITE_BYTES`].
const SMALL_WRITE_BYTES: usize = 64 * 1024;

/// Writes in flight.
const IN_FLIGHT_MAX: usize = 1;

type Written = (std::result::Result<(), runtime::Error>, Rc<Buf>);

/// See the module's page.
pub(crate) struct Output {
    file: File,
    path: PathBuf,
    write_bytes: usize,
    buf: Option<Buf>,
    filled: usize,
    offset: u64,
    in_flight: VecDeque<Task<Written>>,
    spare: Vec<Buf>,
    failed: bool,
}

impl Output {
    /// Creates the file, which must not exist, with room for `estimate_bytes`.
    pub(crate) async fn create(path: &Path, estimate_bytes: u64) -> Result<Output> {
        let preallocate_bytes = estimate_bytes.next_multiple_of(BLOCK as u64);
        let file = File::create(
            path,
            CreateOptions {
                dsync: false,
                preallocate_bytes,
            },
        )
        .await?;
        let small = estimate_bytes <= WRITE_BYTES as u64;
        Ok(Output {
            file,
            path: path.to_path_buf(),
            write_bytes: if small { SMALL_WRITE_BYTES } else { WRITE_BYTES },
            buf: None,
            filled: 0,
            offset: 0,
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            failed: false,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self) -> Error {
        Error::Failed {
            path: self.path.clone(),
        }
    }

    /// Takes the file's next bytes.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        if self.failed {
            return Err(self.failed());
        }
        while !bytes.is_empty() {
            let buf = match &mut self.buf {
                Some(buf) => buf,
                None => {
                    let spare = self.spare.pop().unwrap_or_else(|| Buf::zeroed(self.write_bytes));
                    self.buf.insert(spare)
                }
            };
            let n = bytes.len().min(buf.len() - self.filled);
            buf[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
            self.filled += n;
            bytes = &bytes[n..];
            if self.filled == buf.len()
                && let Some(buf) = self.buf.take()
            {
                self.filled = 0;
                self.submit(buf).await?;
            }
            breathe().await;
        }
        Ok(())
    }

    /// Writes a buffer, once fewer than [`IN_FLIGHT_MAX`] are in flight.
    async fn submit(&mut self, buf: Buf) -> Result<()> {
        while self.in_flight.len() >= IN_FLIGHT_MAX {
            self.oldest().await?;
        }
        let (file, offset, buf) = (self.file.clone(), self.offset, Rc::new(buf));
        self.offset += buf.len() as u64;
        self.in_flight
            .push_back(runtime::spawn(runtime::task_class(), "sstable write", async move {
                let written = file.write(offset, buf.clone()).await;
                (written, buf)
            }));
        Ok(())
    }

    /// Waits for the oldest write in flight.
    async fn oldest(&mut self) -> Result<()> {
        // The task stays in the queue until it is done, so that a dropped future loses none.
        let Some(task) = self.in_flight.front_mut() else {
            return Ok(());
        };
        let (written, buf) = task.await;
        self.in_flight.pop_front();
        if let Err(error) = written {
            self.failed = true;
            return Err(error.into());
        }
        if buf.len() == self.write_bytes
            && let Ok(buf) = Rc::try_unwrap(buf)
        {
            self.spare.push(buf);
        }
        Ok(())
    }

    /// Everything is on the disk when this returns, at exactly `file_bytes` bytes; the directory is for the caller to sync.
    pub(crate) async fn finish(&mut self, file_bytes: u64) -> Result<()> {
        if self.failed {
            return Err(self.failed());
        }
        assert!(
            self.offset + self.filled as u64 == file_bytes,
            "the file has not the bytes that were encoded"
        );
        // What fails from here on leaves the file undefined.
        self.failed = true;
        if let Some(buf) = self.buf.take()
            && self.filled > 0
        {
            let mut last = Buf::zeroed(self.filled.next_multiple_of(BLOCK));
            last[..self.filled].copy_from_slice(&buf[..self.filled]);
            drop(buf);
            self.submit(last).await?;
        }
        while !self.in_flight.is_empty() {
            self.oldest().await?;
        }
        self.file.set_len(file_bytes).await?;
        self.file.sync().await?;
        let found = self.file.len().await?;
        assert!(
            found == file_bytes,
            "the file has {found} bytes after it was cut to {file_bytes}"
        );
        self.failed = false;
        Ok(())
    }

    /// Closes the finished file.
    pub(crate) async fn close(self) -> Result<()> {
        assert!(
            self.in_flight.is_empty() && self.buf.is_none(),
            "a file is closed with bytes outstanding"
        );
        Ok(self.file.close().await?)
    }

    /// Removes the file, finished or not.
    pub(crate) async fn discard(mut self) -> Result<()> {
        while !self.in_flight.is_empty() {
            // A failed write is no reason to keep the file.
            let _ = self.oldest().await;
        }
        let path = self.path.clone();
        let closed = self.file.close().await;
        match disk::remove(&path).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(closed?),
        }
    }
}

/// A pause, if one is due.
pub(crate) async fn breathe() {
    if !runtime::broken(Break::NoBreatheInFlush) {
        runtime::breathe().await;
    }
}
