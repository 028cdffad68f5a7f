//! Writes one immutable sstable, for flush and for compaction: the [`Encoder`] over an [`Output`].

use std::fmt;
use std::path::Path;

use model::{Fragment, TableId};

use crate::encoder::{Encoder, Step, WriterOptions};
use crate::error::{Error, Result};
use crate::format::statistics::{EpochShares, Statistics};
use crate::output::{Output, breathe};

/// Fragments taken in between two looks at the clock: a few microseconds of work.
const BREATHE_EVERY: u32 = 16;

/// Writes one immutable sstable.
///
/// Partitions come in (token, key) order, everything inside them in clustering order, each position once. Bytes follow
/// `docs/format/sstable.md`, version 1. No reader sees the table before [`seal`](Self::seal) returns, because nobody has its
/// name before.
///
/// A writer ends with [`seal`](Self::seal) or [`abort`](Self::abort). One that is dropped leaves an unfinished file behind, which
/// ends without a footer; a store that finds it at its next start moves it away.
pub struct Writer {
    encoder: Encoder,
    output: Output,
    table: TableId,
    generation: u64,
    since_breath: u32,
    failed: bool,
}

/// A finished sstable.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// The table whose rows it holds.
    pub table: TableId,
    /// Its number within its node.
    pub generation: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// What it holds.
    pub statistics: Statistics,
}

impl Writer {
    /// Creates the file at `path`, which must not exist, with room for `estimate_bytes` (0: none; the file is cut to its size at the
    /// end).
    ///
    /// # Errors
    /// [`Error::Io`]: there is no file.
    pub async fn create(path: &Path, options: WriterOptions, estimate_bytes: u64) -> Result<Writer> {
        let (table, generation) = (options.table, options.generation);
        let output = Output::create(path, estimate_bytes).await?;
        let mut writer = Writer {
            encoder: Encoder::new(options),
            output,
            table,
            generation,
            since_breath: 0,
            failed: false,
        };
        match writer.drain().await {
            Ok(()) => Ok(writer),
            Err(error) => {
                let _ = writer.output.discard().await;
                Err(error)
            }
        }
    }

    /// Takes in the next fragment; pauses now and then.
    ///
    /// # Errors
    /// [`Error::Io`]: the writer stays failed; [`abort`](Self::abort) it and start a new generation.
    /// # Panics
    /// If the fragment does not come after the last one: an unsorted table is misread for ever.
    /// # Cancellation
    /// The writer must be aborted.
    pub async fn append(&mut self, fragment: Fragment<'_>) -> Result<()> {
        if self.failed {
            return Err(Error::Failed {
                path: self.output.path().to_path_buf(),
            });
        }
        if self.encoder.append(fragment) {
            // Unless all of it is done, also when the future is dropped.
            self.failed = true;
            self.drain().await?;
            self.failed = false;
        }
        self.since_breath += 1;
        if self.since_breath >= BREATHE_EVERY {
            self.since_breath = 0;
            breathe().await;
        }
        Ok(())
    }

    /// What the file is to say that it holds of each span of its clustering key's time; given again, it takes the place of what was given
    /// before.
    ///
    /// # Panics
    /// If the shares do not ascend by epoch, or an epoch has no hours.
    pub fn set_epochs(&mut self, shares: EpochShares) {
        self.encoder.set_epochs(shares);
    }

    /// Bytes of the file so far; the open block is not among them.
    pub fn file_bytes(&self) -> u64 {
        self.encoder.position()
    }

    /// The file being written.
    pub fn path(&self) -> &Path {
        self.output.path()
    }

    /// Completes the file, cuts it to its size, syncs and closes it. The caller syncs the directory.
    ///
    /// # Errors
    /// [`Error::Io`]: the file has been removed.
    /// # Panics
    /// If a partition is open.
    pub async fn seal(mut self) -> Result<Summary> {
        match self.complete().await {
            Ok(()) => {}
            Err(error) => {
                // The first error is the one that matters.
                let _ = self.output.discard().await;
                return Err(error);
            }
        }
        let file_bytes = self.encoder.position();
        // Synced already: what closing says changes nothing.
        let _ = self.output.close().await;
        Ok(Summary {
            table: self.table,
            generation: self.generation,
            file_bytes,
            statistics: self.encoder.into_statistics(),
        })
    }

    /// Gives up: waits for what is in flight and removes the file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file can't be removed.
    pub async fn abort(self) -> Result<()> {
        self.output.discard().await
    }

    async fn complete(&mut self) -> Result<()> {
        if self.failed {
            return Err(Error::Failed {
                path: self.output.path().to_path_buf(),
            });
        }
        self.encoder.finish();
        self.drain().await?;
        assert!(
            self.encoder.is_done(),
            "the encoder has no more work, but no footer either"
        );
        self.output.finish(self.encoder.position()).await
    }

    async fn drain(&mut self) -> Result<()> {
        loop {
            match self.encoder.step() {
                Step::Idle => return Ok(()),
                Step::Working => {}
                Step::Bytes(bytes) => self.output.write(bytes).await?,
            }
            breathe().await;
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.path())
            .field("file_bytes", &self.file_bytes())
            .finish()
    }
}
