//! The merge: several files become one sorted stream, and what may go for good is left out of it.
//!
//! 1. Each input is read front to back, as far as its tokens are in force, past the block cache; from when its first token may be
//!    next until its last one has been. So of a run, whose files follow each other, one is read at a time.
//! 2. [`Merger::next_partition`] goes to the smallest partition of all; the caller decides what may be purged of it, and where files
//!    are cut.
//! 3. [`Merger::give`] reconciles what the inputs have of it, purges ([`PurgeRule`]), and gives the rest to a [`Router`]. A partition of
//!    which nothing is left is given to nobody.
//!
//! **Invariant.** What comes out, merged with whatever was not an input, reads like what went in: `tests/merge.rs`.

use std::ops::RangeInclusive;

use model::{
    Columns, Deletion, Direction, Item, Merge, Peek, PurgeRule, RowRef, RowSource, Shadowed, Step, Token, merge_rows,
    purge_row,
};
use sstable::{Scan, Table};

use crate::{Router, Sink};

/// Rows taken between two looks at the clock.
const ROWS_PER_BREATH: u32 = 16;
/// What all files that are read at once may have read ahead, bytes: each has two pieces, which are never less than 64 KiB, so that more
/// than 512 files have more.
const PIECES_BYTES: u64 = 64 << 20;

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
    /// What is read later, the next one last.
    waiting: Vec<Waiting>,
    open: Vec<Open>,
    /// The present partition.
    token: Token,
    key: Vec<u8>,
    /// Whether range deletions may cover rows of one input alone.
    has_ranges: bool,
    /// Read from inputs that have come to their end.
    ended_bytes: u64,
    progress: MergeProgress,
    scratch: Vec<u8>,
    steps: u32,
}

struct Waiting {
    table: Table,
    tokens: RangeInclusive<Token>,
    /// None of its partitions comes before it.
    first: Token,
}

struct Open {
    scan: Scan,
    /// It is to go on: what it has is the present partition, or it has only begun.
    is_present: bool,
}

impl Merger {
    /// A merge of these tables, each as far as these tokens are in force.
    pub fn new(inputs: impl IntoIterator<Item = (Table, RangeInclusive<Token>)>) -> Merger {
        let mut has_ranges = false;
        let wait = |(table, tokens): (Table, RangeInclusive<Token>)| {
            let statistics = table.statistics();
            has_ranges |= statistics.range_tombstones > 0;
            let lowest = statistics.first.as_ref().map_or(Token::MIN, |(token, _)| *token);
            let first = lowest.max(*tokens.start());
            Waiting { table, tokens, first }
        };
        let mut waiting: Vec<Waiting> = inputs.into_iter().map(wait).collect();
        waiting.sort_by_key(|waiting| std::cmp::Reverse(waiting.first));
        Merger {
            waiting,
            open: Vec::new(),
            token: Token::MIN,
            key: Vec::new(),
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
        self.ended_bytes + self.open.iter().map(|open| open.scan.device_bytes()).sum::<u64>()
    }

    /// Goes to the next partition of all inputs. False at the end. What was not [given](Self::give) of the present one is left out.
    ///
    /// # Errors
    /// [`sstable::Error`] names the file.
    ///
    /// # Cancellation
    /// Called again, it goes on.
    pub async fn next_partition(&mut self) -> Result<bool, sstable::Error> {
        self.go_on().await?;
        while self.begin_next() {
            self.go_on().await?;
        }
        let all = self.open.iter().map(|open| (open.scan.token(), open.scan.key()));
        let Some((token, key)) = all.min() else {
            return Ok(false);
        };
        self.token = token;
        self.key.clear();
        self.key.extend_from_slice(key);
        for open in &mut self.open {
            open.is_present = (open.scan.token(), open.scan.key()) == (self.token, self.key.as_slice());
        }
        self.progress.partitions += 1;
        Ok(true)
    }

    /// Takes the open ones to their next partition. What is at its end is closed: its space may come back before the merge ends.
    async fn go_on(&mut self) -> Result<(), sstable::Error> {
        for at in (0..self.open.len()).rev() {
            let open = &mut self.open[at];
            if !open.is_present {
                continue;
            }
            match open.scan.next_partition().await? {
                true => open.is_present = false,
                false => self.ended_bytes += self.open.swap_remove(at).scan.device_bytes(),
            }
        }
        Ok(())
    }

    /// Opens what may have the next partition, or one before it; false if nothing does.
    fn begin_next(&mut self) -> bool {
        let next = self.open.iter().map(|open| open.scan.token()).min();
        let Some(waiting) = self
            .waiting
            .pop_if(|waiting| next.is_none_or(|next| waiting.first <= next))
        else {
            return false;
        };
        let piece_bytes = PIECES_BYTES / 2 / (self.open.len() as u64 + 1);
        self.open.push(Open {
            scan: waiting.table.scan(waiting.tokens).in_pieces(piece_bytes),
            is_present: true,
        });
        true
    }

    fn present(&self) -> impl Iterator<Item = &Scan> {
        let present = self.open.iter().filter(|open| open.is_present);
        present.map(|open| &open.scan)
    }

    fn assert_present(&self) {
        assert!(self.present().next().is_some(), "next_partition gave true");
    }

    /// The token of the present partition.
    ///
    /// # Panics
    /// If there is none.
    pub fn token(&self) -> Token {
        self.assert_present();
        self.token
    }

    /// The key of the present partition.
    ///
    /// # Panics
    /// If there is none.
    pub fn key(&self) -> &[u8] {
        self.assert_present();
        &self.key
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
        router.partition(self.token(), self.key(), kept, also, sink).await?;
        let static_row = static_row(self.present(), deletion);
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
        if let Some(row) = static_row {
            left.static_row(RowRef::trusted(&row)).await?;
        }
        let present = self.open.iter_mut().filter(|open| open.is_present);
        let mut present: Vec<&mut Scan> = present.map(|open| &mut open.scan).collect();
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
fn static_row<'a>(present: impl Iterator<Item = &'a Scan>, deletion: Deletion) -> Option<Vec<u8>> {
    let mut merged: Option<Vec<u8>> = None;
    for row in present.filter_map(Scan::static_row) {
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
