//! The merge: several files become one sorted stream, and what may go for good is left out of it.
//!
//! 1. Each input is read front to back, as far as its tokens are in force, past the block cache.
//! 2. [`Merger::next_partition`] goes to the smallest partition of all; the caller decides what may be purged of it, and where files
//!    are cut.
//! 3. [`Merger::give`] reconciles what the inputs have of it, purges ([`PurgeRule`]), and gives the rest to a [`Router`]. A partition of
//!    which nothing is left is given to nobody.
//!
//! **Invariant.** What comes out, merged with whatever was not an input, reads like what went in: the model test of this module.

use std::ops::RangeInclusive;

use model::{
    Columns, Deletion, Direction, Item, Merge, Peek, PurgeRule, RowRef, RowSource, Shadowed, Step, Token, merge_rows,
    purge_row,
};
use sstable::{Scan, Table};

use crate::{Router, Sink};

/// Rows taken between two looks at the clock.
const ROWS_PER_BREATH: u32 = 16;

/// What a merge has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MergeProgress {
    /// Partitions that were taken from the inputs, each once.
    pub partitions: u64,
    /// Rows that were given.
    pub rows: u64,
    /// Rows, deletions of partitions and ranges that were purged whole, and rows of which something was.
    pub purged: u64,
}

/// Merges partitions in order. See the module's page.
pub struct Merger {
    scans: Vec<Scan>,
    /// By scan: whether it has a partition, and whether that is the present one.
    at: Vec<Place>,
    /// Whether range deletions may cover rows of one input alone.
    has_ranges: bool,
    /// Read from inputs that have come to their end.
    ended_bytes: u64,
    progress: MergeProgress,
    scratch: Vec<u8>,
    steps: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// It is to go on.
    Taken,
    /// It has a partition that comes later.
    Ahead,
    /// It has the present partition.
    Present,
    /// It goes.
    End,
}

impl Merger {
    /// A merge of these tables, each as far as these tokens are in force.
    pub fn new(inputs: impl IntoIterator<Item = (Table, RangeInclusive<Token>)>) -> Merger {
        let mut has_ranges = false;
        let scan = |(table, tokens): (Table, _)| {
            has_ranges |= table.statistics().range_tombstones > 0;
            table.scan(tokens)
        };
        let scans: Vec<Scan> = inputs.into_iter().map(scan).collect();
        Merger {
            at: vec![Place::Taken; scans.len()],
            scans,
            has_ranges,
            ended_bytes: 0,
            progress: MergeProgress::default(),
            scratch: Vec::new(),
            steps: 0,
        }
    }

    /// What was done so far.
    pub fn progress(&self) -> MergeProgress {
        self.progress
    }

    /// Bytes read so far.
    pub fn device_bytes(&self) -> u64 {
        self.ended_bytes + self.scans.iter().map(Scan::device_bytes).sum::<u64>()
    }

    /// Goes to the next partition of all inputs. False at the end. What was not [given](Self::give) of the present one is left out.
    ///
    /// # Errors
    /// [`sstable::Error`] names the file.
    pub async fn next_partition(&mut self) -> Result<bool, sstable::Error> {
        for (scan, at) in self.scans.iter_mut().zip(&mut self.at) {
            if matches!(at, Place::Taken | Place::Present) {
                *at = match scan.next_partition().await? {
                    true => Place::Ahead,
                    false => Place::End,
                };
            }
        }
        // What is at its end is closed: its space may come back before the merge ends.
        for at in (0..self.scans.len()).rev() {
            if self.at[at] == Place::End {
                self.ended_bytes += self.scans.remove(at).device_bytes();
                self.at.remove(at);
            }
        }
        let ahead = || self.scans.iter().zip(&self.at).filter(|(_, at)| **at == Place::Ahead);
        let Some((token, key)) = ahead().map(|(scan, _)| (scan.token(), scan.key())).min() else {
            return Ok(false);
        };
        let present: Vec<bool> = self
            .scans
            .iter()
            .zip(&self.at)
            .map(|(scan, at)| *at == Place::Ahead && (scan.token(), scan.key()) == (token, key))
            .collect();
        for (at, is_present) in self.at.iter_mut().zip(present) {
            if is_present {
                *at = Place::Present;
            }
        }
        self.progress.partitions += 1;
        Ok(true)
    }

    fn present(&self) -> impl Iterator<Item = &Scan> {
        let present = self.scans.iter().zip(&self.at);
        present.filter(|(_, at)| **at == Place::Present).map(|(scan, _)| scan)
    }

    fn first(&self) -> &Scan {
        self.present().next().expect("next_partition gave true")
    }

    /// The token of the present partition.
    ///
    /// # Panics
    /// If there is none.
    pub fn token(&self) -> Token {
        self.first().token()
    }

    /// The key of the present partition.
    ///
    /// # Panics
    /// If there is none.
    pub fn key(&self) -> &[u8] {
        self.first().key()
    }

    /// The deletion of the present partition.
    pub fn deletion(&self) -> Deletion {
        self.present()
            .fold(Deletion::LIVE, |max, scan| max.max(scan.deletion()))
    }

    /// Gives what is left of the present partition. `also`: targets that need its deletion, too.
    ///
    /// # Errors
    /// Of a file that cannot be read, and of the sink.
    ///
    /// # Cancellation
    /// The merge cannot go on.
    pub async fn give<S>(
        &mut self,
        rule: &PurgeRule,
        columns: Columns<'_>,
        also: &[usize],
        router: &mut Router,
        sink: &mut S,
    ) -> Result<(), S::Error>
    where
        S: Sink,
        S::Error: From<sstable::Error>,
    {
        let deletion = self.deletion();
        let kept = match rule.purges(deletion) {
            true => Deletion::LIVE,
            false => deletion,
        };
        self.progress.purged += u64::from(kept != deletion);
        let (token, key) = (self.token(), self.key().to_vec());
        router.partition(token, &key, kept, also, sink).await?;
        let mut out = std::mem::take(&mut self.scratch);
        let mut left = Left {
            rule,
            columns,
            router,
            sink,
            out: &mut out,
            force: Deletion::LIVE,
            progress: &mut self.progress,
        };
        if let Some(row) = static_row(&self.scans, &self.at, deletion) {
            left.static_row(RowRef::trusted(&row)).await?;
        }
        let present = self.scans.iter_mut().zip(&self.at);
        let mut present: Vec<&mut Scan> = present
            .filter(|(_, at)| **at == Place::Present)
            .map(|(scan, _)| scan)
            .collect();
        match &mut present[..] {
            // Nothing is to be reconciled.
            [scan] if deletion.is_live() && !self.has_ranges => loop {
                match scan.peek() {
                    Peek::End => break,
                    Peek::Pending { .. } => {
                        scan.fill().await?;
                        continue;
                    }
                    Peek::Item(item) => left.item(item).await?,
                }
                scan.advance();
                breathe(&mut self.steps).await;
            },
            _ => {
                let mut merge = Merge::new(present, Direction::Forward, deletion);
                loop {
                    match merge.step() {
                        Step::End => break,
                        Step::Pending(index) => merge.source_mut(index).fill().await?,
                        Step::Item => left.item(merge.item()).await?,
                    }
                    breathe(&mut self.steps).await;
                }
            }
        }
        router.end(sink).await?;
        self.scratch = out;
        Ok(())
    }
}

async fn breathe(steps: &mut u32) {
    *steps += 1;
    if steps.is_multiple_of(ROWS_PER_BREATH) {
        runtime::breathe().await;
    }
}

/// What the inputs have of the present partition's static row, less what `deletion` covers.
fn static_row(scans: &[Scan], at: &[Place], deletion: Deletion) -> Option<Vec<u8>> {
    let present = scans.iter().zip(at).filter(|(_, at)| **at == Place::Present);
    let mut merged: Option<Vec<u8>> = None;
    for row in present.filter_map(|(scan, _)| scan.static_row()) {
        let mut out = Vec::new();
        match &merged {
            Some(before) => merge_rows(RowRef::trusted(before), row, &mut out),
            None => out.extend_from_slice(row.bytes()),
        }
        merged = Some(out);
    }
    let merged = merged?;
    let mut out = Vec::new();
    match model::shadow_row(RowRef::trusted(&merged), deletion, &mut out) {
        Shadowed::Unchanged => Some(merged),
        Shadowed::Changed => Some(out),
        Shadowed::Gone => None,
    }
}

/// What is left of a partition.
struct Left<'a, S> {
    rule: &'a PurgeRule,
    columns: Columns<'a>,
    router: &'a mut Router,
    sink: &'a mut S,
    out: &'a mut Vec<u8>,
    /// The range deletion that was given last.
    force: Deletion,
    progress: &'a mut MergeProgress,
}

impl<S: Sink> Left<'_, S> {
    async fn static_row(&mut self, row: RowRef<'_>) -> Result<(), S::Error> {
        match purge_row(row, self.rule, self.columns, self.out) {
            Shadowed::Unchanged => self.router.static_row(row, self.sink).await,
            Shadowed::Changed => self.router.static_row(RowRef::trusted(self.out), self.sink).await,
            Shadowed::Gone => Ok(()),
        }
    }

    async fn item(&mut self, item: Item<'_>) -> Result<(), S::Error> {
        match item {
            Item::Row { clustering, row } => {
                let row = match purge_row(row, self.rule, self.columns, self.out) {
                    Shadowed::Unchanged => row,
                    Shadowed::Changed => {
                        self.progress.purged += 1;
                        RowRef::trusted(self.out)
                    }
                    Shadowed::Gone => {
                        self.progress.purged += 1;
                        return Ok(());
                    }
                };
                self.progress.rows += 1;
                self.router.row(clustering, row, self.sink).await
            }
            Item::RangeChange { position, deletion } => {
                let kept = match self.rule.purges(deletion) {
                    true => Deletion::LIVE,
                    false => deletion,
                };
                self.progress.purged += u64::from(kept != deletion);
                if std::mem::replace(&mut self.force, kept) == kept {
                    return Ok(());
                }
                self.router.range_change(position, kept, self.sink).await
            }
        }
    }
}
