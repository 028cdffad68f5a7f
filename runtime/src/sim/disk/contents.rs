//! The bytes of one file: what is durable, and the changes on top of it that are not.
//!
//! 1. `pages` and `durable_len` are what a crash cannot take. `pending` are the completed changes since, in order of
//!    completion; what a reader sees is the one with the others laid over it.
//! 2. A sync that was issued after change `seq` completed makes it durable: it is marked and folded into `pages` as soon as
//!    no change that it overlaps, and that is not durable, stands before it.
//! 3. A crash walks `pending` in order and keeps, drops or tears each change that is not marked.
//!
//! A change is *doubtful* if its operation failed, was in flight at the crash, or a sync over it failed: no later sync makes
//! it durable (the kernel marks pages clean after a failed fsync), and a crash decides by the seed whatever the mode.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::rng::Rng;
use super::super::stats::SimStats;
use super::fate::{Fate, Mood};

/// Bytes that a device writes or does not write as one.
const SECTOR: usize = 512;
pub(super) const PAGE: usize = 4096;

type Page = Rc<[u8]>;

struct Pending {
    seq: u64,
    durable: bool,
    doubtful: bool,
    change: Change,
}

enum Change {
    Write { first: u64, pages: Vec<Page> },
    SetLen(u64),
}

#[derive(Default)]
pub(super) struct Contents {
    pages: BTreeMap<u64, Page>,
    durable_len: u64,
    pending: Vec<Pending>,
    /// As readers see it.
    len: u64,
}

impl Change {
    fn overlaps(&self, other: &Change) -> bool {
        match (self, other) {
            (Change::Write { first: a, pages: x }, Change::Write { first: b, pages: y }) => {
                *a < b + y.len() as u64 && *b < a + x.len() as u64
            }
            _ => true,
        }
    }
}

impl Contents {
    /// A file whose bytes are all durable.
    pub(super) fn durable(bytes: &[u8]) -> Self {
        let pages = bytes.chunks(PAGE).enumerate().map(|(number, chunk)| {
            let mut page = [0; PAGE];
            page[..chunk.len()].copy_from_slice(chunk);
            (number as u64, Page::from(page.as_slice()))
        });
        let len = bytes.len() as u64;
        Contents {
            pages: pages.collect(),
            durable_len: len,
            pending: Vec::new(),
            len,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Lays a completed write of whole pages over the file.
    pub(super) fn write(&mut self, seq: u64, offset: u64, bytes: &[u8], dsync: bool, doubtful: bool) {
        let pages = bytes.chunks_exact(PAGE).map(Page::from).collect();
        let change = Change::Write {
            first: offset / PAGE as u64,
            pages,
        };
        self.len = self.len.max(offset + bytes.len() as u64);
        let durable = dsync && !doubtful;
        if durable && !self.pending.iter().any(|before| before.change.overlaps(&change)) {
            self.fold(change);
        } else {
            self.pending.push(Pending {
                seq,
                durable,
                doubtful,
                change,
            });
        }
    }

    pub(super) fn set_len(&mut self, seq: u64, len: u64, doubtful: bool) {
        self.len = len;
        self.pending.push(Pending {
            seq,
            durable: false,
            doubtful,
            change: Change::SetLen(len),
        });
    }

    /// Makes durable what was completed up to `upto`.
    pub(super) fn sync(&mut self, upto: u64) {
        if self.pending.is_empty() {
            return;
        }
        let mut left: Vec<Pending> = Vec::new();
        for mut pending in std::mem::take(&mut self.pending) {
            pending.durable |= pending.seq <= upto && !pending.doubtful;
            if pending.durable && !left.iter().any(|before| before.change.overlaps(&pending.change)) {
                self.fold(pending.change);
            } else {
                left.push(pending);
            }
        }
        self.pending = left;
    }

    /// A sync failed: what it should have covered is never sure again.
    pub(super) fn doubt(&mut self, upto: u64) {
        for pending in &mut self.pending {
            pending.doubtful |= pending.seq <= upto && !pending.durable;
        }
    }

    /// The bytes from `offset` on as readers see them. The caller has checked the length.
    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        let end = offset + len as u64;
        // Base pages past `durable_len` do not exist: `fold` cuts them off.
        let first = offset / PAGE as u64;
        for (&number, page) in self.pages.range(first..end.div_ceil(PAGE as u64)) {
            lay(&mut out, offset, number * PAGE as u64, page);
        }
        for pending in &self.pending {
            match &pending.change {
                Change::Write { first, pages } => {
                    let start = first * PAGE as u64;
                    if start < end && offset < start + (pages.len() * PAGE) as u64 {
                        for (number, page) in (*first..).zip(pages) {
                            lay(&mut out, offset, number * PAGE as u64, page);
                        }
                    }
                }
                // Growing shows zeros, which are there already; shrinking makes what lies beyond zero for ever.
                Change::SetLen(cut) => {
                    let from = cut.saturating_sub(offset).min(len as u64) as usize;
                    out[from..].fill(0);
                }
            }
        }
        out
    }

    /// Makes one change part of what is durable.
    fn fold(&mut self, change: Change) {
        match change {
            Change::Write { first, pages } => {
                self.durable_len = self.durable_len.max((first + pages.len() as u64) * PAGE as u64);
                self.pages.extend((first..).zip(pages));
            }
            Change::SetLen(len) => {
                if len < self.durable_len {
                    let _cut = self.pages.split_off(&len.div_ceil(PAGE as u64));
                    let tail = (len % PAGE as u64) as usize;
                    if let Some(page) = self.pages.get_mut(&(len / PAGE as u64)).filter(|_| tail > 0) {
                        let mut bytes = page.to_vec();
                        bytes[tail..].fill(0);
                        *page = bytes.into();
                    }
                }
                self.durable_len = len;
            }
        }
    }

    /// Decides what of the pending changes was on the device when the power went.
    pub(super) fn crash(&mut self, mood: &Mood, rng: &Rng, counts: &mut SimStats) {
        for pending in std::mem::take(&mut self.pending) {
            let fate = if pending.durable {
                Fate::Keep
            } else {
                mood.of_write(pending.doubtful, rng)
            };
            match (pending.change, fate) {
                (Change::SetLen(_), Fate::Drop) => counts.sizes_dropped += 1,
                (Change::SetLen(_), Fate::Tear) if rng.coin() => counts.sizes_dropped += 1,
                (change @ Change::SetLen(_), _) => self.fold(change),
                (change, Fate::Keep) => {
                    counts.writes_kept += u64::from(!pending.durable);
                    self.fold(change);
                }
                (Change::Write { .. }, Fate::Drop) => counts.writes_dropped += 1,
                (Change::Write { first, pages }, Fate::Tear) => {
                    counts.writes_torn += 1;
                    self.tear(first, &pages, rng);
                }
            }
        }
        self.len = self.durable_len;
    }

    /// Keeps some sectors of a write and loses the others: at least one of each.
    fn tear(&mut self, first: u64, pages: &[Page], rng: &Rng) {
        let per_page = PAGE / SECTOR;
        let count = pages.len() * per_page;
        let style = rng.below(4);
        let cut = 1 + rng.index(count - 1);
        let mut last = 0;
        for (nth, page) in pages.iter().enumerate() {
            let number = first + nth as u64;
            let mut bytes = match self.pages.get(&number) {
                Some(old) => old.to_vec(),
                None => vec![0; PAGE],
            };
            let mut touched = false;
            for within in 0..per_page {
                let sector = nth * per_page + within;
                let kept = match style {
                    // The front arrived, the back arrived, or any.
                    0 | 1 => sector < cut,
                    2 => sector >= cut,
                    _ if sector == cut => false,
                    _ if sector == cut - 1 => true,
                    _ => rng.coin(),
                };
                if kept {
                    let at = within * SECTOR..(within + 1) * SECTOR;
                    bytes[at.clone()].copy_from_slice(&page[at]);
                    last = sector + 1;
                    touched = true;
                }
            }
            if touched {
                self.pages.insert(number, bytes.into());
            }
        }
        // The size may have been journaled for the whole write, or only for what arrived.
        let reached = if rng.coin() { count } else { last };
        self.durable_len = self.durable_len.max(first * PAGE as u64 + (reached * SECTOR) as u64);
    }
}

/// Copies the part of `page` (at `page_offset` in the file) that lies in `out` (at `offset`).
fn lay(out: &mut [u8], offset: u64, page_offset: u64, page: &[u8]) {
    let end = offset + out.len() as u64;
    let from = offset.max(page_offset);
    let to = end.min(page_offset + page.len() as u64);
    if from < to {
        out[(from - offset) as usize..(to - offset) as usize]
            .copy_from_slice(&page[(from - page_offset) as usize..(to - page_offset) as usize]);
    }
}
