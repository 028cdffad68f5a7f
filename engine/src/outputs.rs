//! Table files that a flush or a compaction writes: one or several at once, one after the other.
//!
//! Each *target* of a [`Router`](compaction::Router) is one file at a time. A file begins with the first fragment that comes for it, and
//! ends when it is [sealed](Outputs::seal). Until all of them are part of the store, they belong to whoever writes them: what goes
//! wrong is [abandoned](Outputs::abandon), and no file is left.

use crate::error::{Error, Result};
use crate::large::{Counted, Limits};
use crate::layout;
use crate::manifest::state::FileRecord;
use crate::shard::Shard;
use crate::table::{Definition, LiveFile, TableState};
use compaction::{EpochShare, EpochTally, Sink};
use model::Fragment;
use sstable::{EpochShares, Writer};

/// What the files of a target are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    /// The shard that owns them.
    pub shard: u16,
    pub late: bool,
    /// Whether they make old data elsewhere useless, as deletions and edits do that are not merged with it yet.
    pub shadows: bool,
    /// Whether the files of the target are one run; else each stands alone.
    pub is_run: bool,
    /// The run that they belong to, if it is an older one.
    pub run: Option<u64>,
}

struct Target<'a> {
    kind: Kind,
    writing: Option<Writing<'a>>,
    /// The run of its files so far.
    run: Option<u64>,
    /// First token of the file that it is at.
    from: i64,
}

struct Writing<'a> {
    writer: Writer,
    generation: u64,
    tally: Option<EpochTally<'a>>,
}

/// Files that are being written, and those that are written.
pub(crate) struct Outputs<'a> {
    shard: &'a Shard,
    table: &'a TableState,
    definition: &'a Definition,
    targets: Vec<Target<'a>>,
    /// Room for a file that begins.
    estimate_bytes: u64,
    /// Bytes of a row elsewhere that a row tombstone makes useless.
    row_bytes: u64,
    /// Whole and synced, in the order in which they were sealed.
    written: Vec<FileRecord>,
    bytes: u64,
    /// The partition that is being written.
    partition: Counted,
    limits: Limits,
    ends_with_the_shard: bool,
}

impl<'a> Outputs<'a> {
    pub fn new(
        shard: &'a Shard,
        table: &'a TableState,
        definition: &'a Definition,
        kinds: Vec<Kind>,
        estimate_bytes: u64,
        row_bytes: u64,
    ) -> Outputs<'a> {
        let target = |kind: Kind| Target {
            run: kind.run,
            kind,
            writing: None,
            from: i64::MIN,
        };
        Outputs {
            shard,
            table,
            definition,
            targets: kinds.into_iter().map(target).collect(),
            estimate_bytes,
            row_bytes,
            written: Vec::new(),
            bytes: 0,
            partition: Counted::default(),
            limits: shard.large_limits(),
            ends_with_the_shard: false,
        }
    }

    /// A shard that closes does not wait for these: [`Error::Closed`] then.
    pub fn ending_with_the_shard(self) -> Self {
        Outputs {
            ends_with_the_shard: true,
            ..self
        }
    }

    /// Bytes of the file that a target is at.
    pub fn open_bytes(&self, target: usize) -> u64 {
        let writing = self.targets[target].writing.as_ref();
        writing.map_or(0, |writing| writing.writer.file_bytes())
    }

    /// Bytes of all files that were sealed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A deletion that goes to `target` makes so many bytes elsewhere useless. There is a file: the deletion was given before.
    pub fn shadowed(&mut self, target: usize, share: EpochShare) {
        if let Some(tally) = self.targets[target]
            .writing
            .as_mut()
            .and_then(|writing| writing.tally.as_mut())
        {
            tally.shadowed(share.epoch, share.shadowed_bytes);
        }
    }

    /// Completes the file that a target is at, if it is at one: it has the tokens up to `to`, and the next one those behind them.
    ///
    /// # Errors
    /// The file is gone.
    pub async fn seal(&mut self, target: usize, to: i64) -> Result<()> {
        // Files end between partitions.
        if let Some(large) = self.partition.end(self.limits) {
            self.shard.note_large(self.table.id, self.definition, large);
        }
        let of = &mut self.targets[target];
        let Some(mut writing) = of.writing.take() else {
            return Ok(());
        };
        if let (Some(tally), Some(epochs)) = (&writing.tally, &self.definition.epochs) {
            let shares = tally.shares(writing.writer.file_bytes(), self.row_bytes);
            let share = |share: &EpochShare| sstable::EpochShare {
                epoch: share.epoch.0,
                bytes: share.bytes,
                shadowed_bytes: if of.kind.shadows { share.shadowed_bytes } else { 0 },
            };
            writing.writer.set_epochs(EpochShares {
                epoch_hours: epochs.hours(),
                shares: shares.iter().map(share).collect(),
            });
        }
        let summary = writing.writer.seal().await?;
        let run = match of.kind {
            // One that is alone needs no run.
            Kind { is_run: true, .. } if to < i64::MAX || of.run.is_some() => {
                Some(*of.run.get_or_insert(writing.generation))
            }
            Kind { run, .. } => run,
        };
        let token_first = std::mem::replace(&mut of.from, to.saturating_add(1));
        self.bytes += summary.file_bytes;
        self.written.push(FileRecord {
            table: self.table.id,
            shard: of.kind.shard,
            shards: self.shard.count(),
            generation: writing.generation,
            bytes: summary.file_bytes,
            token_first,
            token_last: to,
            run,
            late: of.kind.late,
            created_s: runtime::time::unix_seconds(),
        });
        Ok(())
    }

    /// Completes all files, each the last of its target.
    ///
    /// # Errors
    /// Others may be left: they are to be abandoned.
    pub async fn seal_all(&mut self) -> Result<()> {
        for target in 0..self.targets.len() {
            self.seal(target, i64::MAX).await?;
        }
        Ok(())
    }

    /// Completes each file that has reached so many bytes; what follows has larger tokens than `to`.
    ///
    /// # Errors
    /// As [`seal_all`](Self::seal_all).
    pub async fn seal_from(&mut self, bytes: u64, to: i64) -> Result<()> {
        for target in 0..self.targets.len() {
            if self.open_bytes(target) >= bytes {
                self.seal(target, to).await?;
            }
        }
        Ok(())
    }

    /// Opens the files that were sealed since this was called last; they are the caller's then.
    ///
    /// # Errors
    /// None of them is the caller's.
    pub async fn open_sealed(&mut self) -> Result<Vec<LiveFile>> {
        let mut files: Vec<LiveFile> = Vec::new();
        for record in &self.written {
            match self.shard.open_written(record.clone()).await {
                Ok(file) => files.push(file),
                Err(error) => {
                    for file in files {
                        drop(file.table.close().await);
                    }
                    return Err(error);
                }
            }
        }
        self.written.clear();
        Ok(files)
    }

    /// The files that were sealed since this was called last; they are the caller's then.
    pub fn take_sealed(&mut self) -> Vec<FileRecord> {
        std::mem::take(&mut self.written)
    }

    /// Gives up what is not the caller's: no file is left. What cannot be removed is in no manifest: the next opening sets it aside.
    pub async fn abandon(self) {
        for writing in self.targets.into_iter().filter_map(|target| target.writing) {
            // The first error is the one to tell.
            drop(writing.writer.abort().await);
        }
        for record in self.written {
            self.shard.remove_table_file(record.table, record.generation).await;
        }
    }

    async fn begin(&mut self, target: usize) -> Result<()> {
        let generation = self.shard.draw_generation();
        let path = layout::table_file(&self.shard.config.dir, self.table.id, generation);
        let options = sstable::WriterOptions {
            block_bytes: self.shard.config.block_bytes,
            compression: match self.definition.schema.options.compression {
                model::Compression::None => sstable::Compression::None,
                _ => sstable::Compression::Lz4,
            },
            ..sstable::WriterOptions::new(self.table.id, self.shard.host_id, generation)
        };
        // A file that is there under this name is not ours to remove: nothing is, before this.
        let writer = Writer::create(&path, options, self.estimate_bytes).await?;
        self.targets[target].writing = Some(Writing {
            writer,
            generation,
            tally: self.definition.epochs.as_ref().map(EpochTally::new),
        });
        Ok(())
    }
}

impl Sink for Outputs<'_> {
    type Error = Error;

    async fn append(&mut self, target: usize, fragment: Fragment<'_>) -> Result<()> {
        self.table.check_goes_on()?;
        if self.ends_with_the_shard {
            self.shard.check_goes_on()?;
        }
        if self.targets[target].writing.is_none() {
            self.begin(target).await?;
        }
        if let Some(large) = self.partition.count(&fragment, self.limits) {
            self.shard.note_large(self.table.id, self.definition, large);
        }
        let writing = self.targets[target].writing.as_mut().expect("it has just begun");
        if let Some(tally) = &mut writing.tally
            && let Fragment::Row { clustering, row } = fragment
        {
            let bytes = clustering.len() + row.bytes().len();
            tally.row(clustering, bytes, row.is_row_tombstone(), !row.has_liveness());
        }
        Ok(writing.writer.append(fragment).await?)
    }
}
